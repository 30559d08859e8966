"""Changing servers while it runs: weight, max, force, check, wait, drain within, changes, forget; and when the file wins."""
import os
import shlex
import signal
import subprocess
import time
from collections import Counter

import pytest

from lib import build
from lib.admin import CTL
from lib.page import Page
from lib.peers import Service, ask, connect, gets_reset, is_reset, refused, say, talk
from lib.ports import free_port
from lib.waiting import wait_for

KEYS = {"service": str, "server": str, "address": str, "state": str, "since": str, "check": str, "why": str, "weight": int,
        "weight_file": int, "connections": int, "max": int, "max_file": int, "waiting": int, "failures": int,
        "ejections": int, "changed": list}
TOKEN = "a-token-of-this-test-0123456789"
CHECK = "check every=100ms rise=1 fall=2 port={} tcp\n"


class Pool:
    """Two servers that say who they are, behind one port; a and b are their lines in the file."""

    def __init__(self, start, service, admin):
        self.admin, self.port = admin, free_port()
        self.servers = service(say("a")), service(say("b"))
        self.a, self.b = (s.spelt for s in self.servers)
        self.proxy = start(config=self.text())

    def text(self, a="", b=""):
        return f"{self.admin.line}port {self.port}\nserver {self.a} {a}\nserver {self.b} {b}\n"

    def reload(self, text):
        self.proxy.rewrite(text)
        return self.admin.ask("reload")

    def shares(self, n=12):
        return Counter(ask(self.port).decode() for _ in range(n))

    def fair(self, **wanted):
        """One that was away for less than two turns may still have them."""
        got = self.shares(sum(wanted.values()))
        assert all(abs(got[k] - n) <= 2 for k, n in wanted.items()), got

    def changed(self):
        return self.admin.ask("changes").splitlines()


@pytest.fixture
def pool(start, service, admin):
    return Pool(start, service, admin)


class Health:
    """A port that says whether a server is well."""

    def __init__(self):
        self.port = free_port()
        self.well()

    def well(self):
        self.service = Service(lambda s: None, port=self.port)

    def ill(self):
        self.service.close()


@pytest.fixture
def health():
    h = Health()
    yield h
    h.ill()


def servers(admin, *words):
    return admin.json("servers", *words)["servers"]


def server(admin, spelt):
    return next(s for s in servers(admin) if s["server"] == spelt)


# -- what there is

def test_servers_are_listed_with_all_that_is_known(start, service, admin, health):
    a, b, port, other = service(), service(), free_port(), free_port()
    start(config=f"{admin.line}port {port} as db\nserver {a.spelt} weight=3 max=9 as db1\n{CHECK.format(health.port)}"
                 f"port {other}\nserver {b.spelt} backup\n")
    assert admin.ask("wait", "db1", "up")
    found = servers(admin)
    assert [(s["service"], s["server"]) for s in found] == [("db", "db1"), (str(other), b.spelt)]
    for s in found:
        assert {k: type(v) for k, v in s.items()} == KEYS
    with connect(port) as c:
        talk(c)
        db1 = servers(admin, "db")[0]
        assert (db1["weight"], db1["weight_file"], db1["max"], db1["max_file"]) == (3, 3, 9, 9)
        assert (db1["state"], db1["address"], db1["connections"]) == ("up", a.spelt, 1)
        assert db1["check"] == f"port={health.port} tcp" and db1["since"].startswith("20")
    assert found[1]["state"] == "untried" and found[1]["check"] == found[1]["since"] == found[1]["why"] == ""
    for word, server_there in ((port, "db1"), ("db", "db1"), (other, b.spelt)):
        assert [s["server"] for s in servers(admin, word)] == [server_there]
    admin.ask("weight", "db1", "50%")
    (db1,) = servers(admin, "db")
    assert (db1["weight"], db1["weight_file"], db1["changed"]) == (1, 3, ["weight db/db1 50%"])
    text = admin.ask("servers")
    assert "WEIGHT" in text and "1 (3)" in text and "weight db/db1 50%" in text
    assert "no service" in admin.refused("servers", "nobody")
    assert "too much" in admin.refused("servers", "db", "db1")


# -- weight, max

def test_a_weight_counts_from_the_next_client(pool, admin):
    assert pool.shares() == {"a": 6, "b": 6}
    assert admin.ask("weight", pool.a, 3) == f"{pool.a} has the weight 3\n"
    assert pool.shares() == {"a": 9, "b": 3}
    admin.ask("weight", pool.a, 0)
    assert pool.shares() == {"b": 12}
    admin.ask("weight", pool.a, "500%")
    pool.fair(a=30, b=6)
    admin.ask("weight", pool.a, "1%")  # never below 1 but for a 0 that was said
    assert server(admin, pool.a)["weight"] == 1
    admin.ask("weight", pool.a, "0%")
    assert pool.shares() == {"b": 12}
    admin.ask("weight", pool.a, "file")
    pool.fair(a=6, b=6)
    assert pool.changed() == []
    pool.proxy.wait_log(f"tcpproxyctl: {pool.a} has the weight 3$")
    pool.proxy.wait_log(f"command: weight {pool.a} 3, uid=0 ")


def test_a_weight_of_1_to_300_is_no_silence_and_no_burst(pool, admin):
    pool.shares(5)
    admin.ask("weight", pool.b, 300)
    assert pool.shares(10)["b"] >= 9
    admin.ask("weight", pool.b, 1)
    assert pool.shares(10)["a"] in (4, 5, 6)


def test_one_that_comes_back_has_no_backlog(pool, admin):
    admin.ask("disable", pool.a)
    assert pool.shares(40) == {"b": 40}
    admin.ask("enable", pool.a)
    pool.fair(a=10, b=10)


def test_weight_0_in_the_file(start, service, admin):
    port, a, b = free_port(), service(say("a")), service(say("b"))
    start(config=f"{admin.line}port {port}\nserver {a.spelt} weight=0\nserver {b.spelt}\n")
    assert {ask(port) for _ in range(6)} == {b"b"}
    assert "of weight 0" in admin.ask("explain", "127.0.0.1", port)
    admin.ask("disable", b.spelt)
    assert gets_reset(port)
    admin.ask("weight", a.spelt, 1)
    assert ask(port) == b"a"
    admin.ask("forget", a.spelt)
    assert gets_reset(port)


def test_max_holds_from_the_next_client(start, service, admin):
    port, a = free_port(), service()
    start(config=f"{admin.line}port {port}\nserver {a.spelt} max=3\n")
    with connect(port) as one:
        talk(one)
        admin.ask("max", a.spelt, 1)
        assert gets_reset(port)
        talk(one)
        admin.ask("max", a.spelt, 0)
        with connect(port) as two, connect(port) as three, connect(port) as four:
            for c in (two, three, four):
                talk(c)
            admin.ask("max", a.spelt, "file")
            assert gets_reset(port)


@pytest.mark.parametrize("words, says", [
    (("weight", "{a}", "1001"), "0 to 1000"), (("weight", "{a}", "-1"), "0 to 1000"), (("weight", "{a}", "1001%"), "0 to 1000"),
    (("weight", "{a}", "%"), "0 to 1000"), (("weight", "{a}"), "0 to 1000"), (("weight", "{a}", "1", "2"), "0 to 1000"),
    (("max", "{a}", "few"), "a number of connections"), (("force", "{a}", "on"), "up|down|auto"),
    (("weight", "nobody", "1"), '"nobody" is no server'), (("forget", "nobody"), '"nobody" is no server'),
    (("forget",), "takes one word"), (("changes", "now"), "too much"), (("check", "{a}"), "is not checked"),
    (("check",), "takes one word"), (("wait", "{a}"), "wait SERVER"), (("wait", "{a}", "there"), "nothing to wait for"),
    (("wait", "{a}", "up", "soon"), "wait SERVER"), (("wait", "nobody", "up"), '"nobody" is no server'),
    (("drain", "{a}", "within", "soon"), "is no time"), (("drain", "{port}", "within", "1"), "is no server"),
])
def test_what_is_wrong_is_refused(pool, admin, words, says):
    assert says in admin.refused(*(w.format(a=pool.a, port=pool.port) for w in words))
    assert pool.changed() == []


# -- force

def test_force_beats_the_checks(start, service, admin, health):
    port, a, b = free_port(), service(say("a")), service(say("b"))
    start(config=f"{admin.line}port {port}\nserver {a.spelt}\nserver {b.spelt} backup\n{CHECK.format(health.port)}")
    assert admin.ask("wait", a.spelt, "up")
    assert ask(port) == b"a"
    admin.ask("force", a.spelt, "down")
    assert ask(port) == b"b"
    s = server(admin, a.spelt)
    assert (s["state"], s["why"], s["changed"]) == ("down", "forced (tcpproxyctl)", [f"force {a.spelt} down"])
    admin.ask("force", a.spelt, "auto")
    assert ask(port) == b"a"
    health.ill()
    admin.ask("wait", a.spelt, "down")
    admin.ask("wait", b.spelt, "down")
    assert gets_reset(port)
    admin.ask("force", a.spelt, "up")
    assert server(admin, a.spelt)["state"] == "up"
    assert ask(port) == b"a"
    admin.ask("forget", a.spelt)
    assert gets_reset(port)


def test_force_down_is_down_for_on_down_and_on_server_down(start, service, admin):
    port, a = free_port(), service()
    proxy = start(config=f"{admin.line}port {port}\nserver {a.spelt}\non-server-down kill\n")
    with connect(port) as c:
        talk(c)
        admin.ask("force", a.spelt, "down")
        assert is_reset(c)
    assert proxy.wait_record().end == "server-down"
    assert gets_reset(port)
    proxy.rewrite(f"{admin.line}port {port}\nserver {a.spelt}\non-down try\n")
    admin.ask("reload")
    assert ask(port, b"x") == b"x"  # as the last resort


@pytest.mark.parametrize("words, back", [(("force", "{a}", "down"), ("force", "{a}", "auto")), (("weight", "{a}", 0), ("forget", "{a}")),
                                         (("drain", "{a}"), ("enable", "{a}"))])
def test_a_port_refuses_for_what_was_changed_too(start, service, admin, words, back):
    port, a = free_port(), service()
    start(config=f"{admin.line}port {port}\nserver {a.spelt}\ncheck every=100ms tcp\non-down refuse\n")
    admin.ask("wait", a.spelt, "up")
    admin.ask(*(str(w).format(a=a.spelt) for w in words))
    wait_for(lambda: refused(port), "it refuses")
    admin.ask(*(str(w).format(a=a.spelt) for w in back))
    wait_for(lambda: not refused(port), "it accepts again")
    assert ask(port, b"x") == b"x"


# -- check, wait

def test_check_asks_now(start, service, admin, health):
    port, a = free_port(), service()
    start(config=f"{admin.line}port {port}\nserver {a.spelt} as db1\ncheck every=1h fall=9 port={health.port} tcp\n")
    assert admin.ask("wait", "db1", "up")
    assert admin.ask("check", "db1") == "db1: up\n"
    health.ill()
    for _ in range(2):  # each time it is asked
        done = admin.run("check", f"{port}/db1")
        assert (done.returncode, done.stderr) == (3, "") and done.stdout.startswith(f"{port}/db1: down")
    assert server(admin, "db1")["state"] == "up"  # of nine
    health.well()
    assert admin.ask("check", a.spelt) == f"{a.spelt}: up\n"


def test_all_that_a_server_is_asked_must_be_a_yes(start, service, admin, health):
    one, two, a = free_port(), free_port(), service()
    start(config=f"{admin.line}port {one} as one\nserver {a.spelt}\ncheck every=1h tcp\n"
                 f"port {two} as two\nserver {a.spelt}\ncheck every=1h tcp\ncheck every=1h fall=9 port={health.port} tcp\n")
    assert admin.ask("wait", a.spelt, "up")
    assert admin.ask("check", a.spelt)
    health.ill()
    assert admin.run("check", a.spelt).returncode == 3


def test_wait_ends_when_it_is_so_or_time_is_over(start, service, admin, health):
    port, a = free_port(), service()
    start(config=f"{admin.line}port {port}\nserver {a.spelt}\n{CHECK.format(health.port)}")
    assert admin.ask("wait", a.spelt, "up") == f"{a.spelt} is up\n"
    began = time.monotonic()
    done = admin.run("wait", a.spelt, "down", "300ms")
    assert (done.returncode, done.stdout) == (3, f"{a.spelt} is not down\n") and time.monotonic() - began >= 0.3
    waiting = subprocess.Popen([CTL, "-s", admin.path, "wait", a.spelt, "down"])
    health.ill()
    assert waiting.wait(30) == 0
    assert admin.run("wait", a.spelt, "drained", "0").returncode == 3
    admin.ask("force", a.spelt, "up")
    with connect(port) as c:
        talk(c)
        admin.ask("drain", a.spelt)
        assert admin.run("wait", a.spelt, "drained", "200ms").returncode == 3
        waiting = subprocess.Popen([CTL, "-s", admin.path, "wait", a.spelt, "drained"])
    assert waiting.wait(30) == 0


# -- drain within

def test_drain_within_ends_those_that_are_left(pool, admin):
    held = [connect(pool.port) for _ in range(4)]
    for s in held:
        assert s.recv(1) in (b"a", b"b")
    assert "left then are ended" in admin.ask("drain", pool.a, "within", "1h")
    (command,) = pool.changed()
    assert command.startswith(f"drain {pool.a} within ")
    admin.ask("drain", pool.a)  # without an end again
    assert pool.changed() == [f"drain {pool.a}"]


def test_drain_within_ends_connections_of_that_server_only(start, service, admin):
    port, a, b = free_port(), service(), service()
    proxy = start(config=f"{admin.line}port {port}\nserver {a.spelt}\nserver {b.spelt}\n")
    held = [connect(port) for _ in range(4)]
    for s in held:
        talk(s)
    admin.ask("drain", a.spelt, "within", "0.2")
    assert {r.end for r in proxy.wait_records(2)} == {"killed"}
    assert {r["server"] for r in proxy.records()} == {a.spelt}
    admin.wait_connections(2, f"server={b.spelt}")
    assert admin.ask("wait", a.spelt, "drained")
    for s in held:
        s.close()


def test_the_end_of_a_drain_survives_the_supervisor(start, service, admin):
    port, a = free_port(), service()
    proxy = start(config=f"{admin.line}port {port}\nserver {a.spelt}\n")
    with connect(port) as c:
        talk(c)
        admin.ask("drain", a.spelt, "within", "1")
        proxy.kill_supervisor()
        proxy.start_again()
        assert is_reset(c)
    assert proxy.wait_record().end == "killed"


def test_an_enabled_server_s_drain_has_no_end(start, service, admin):
    a = service()
    start(config=f"{admin.line}port {free_port()}\nserver {a.spelt}\n")
    admin.ask("drain", a.spelt, "within", "1h")
    admin.ask("enable", a.spelt)
    assert admin.ask("changes") == ""
    admin.ask("drain", a.spelt)
    assert admin.ask("changes") == f"drain {a.spelt}\n"


# -- changes, forget

def test_changes_are_commands_that_would_do_it_again(start, service, admin):
    port, a, b, c = free_port(), service(), service(), service()
    start(config=f"{admin.line}port {port} as db\nserver {a.spelt} disabled as db1\nserver {b.spelt}\nserver {c.spelt}\n")
    commands = [["enable", "db1"], ["weight", "db1", "25%"], ["max", b.spelt, "7"], ["force", b.spelt, "down"],
                ["weight", c.spelt, "0"], ["disable", c.spelt], ["drain", "db"]]
    for words in commands:
        admin.ask(*words)
    wanted = ["drain db", "enable db/db1", "weight db/db1 25%", f"max {b.spelt} 7", f"force {b.spelt} down",
              f"disable {c.spelt}", f"weight {c.spelt} 0"]
    assert admin.ask("changes").splitlines() == wanted
    assert admin.ask("forget", "all") == "all is as the file says\n"
    assert admin.ask("changes") == ""
    for line in wanted:
        admin.ask(*shlex.split(line))
    assert admin.ask("changes").splitlines() == wanted
    admin.ask("forget", b.spelt)
    assert admin.ask("changes").splitlines() == [w for w in wanted if b.spelt not in w]


def test_changes_are_quoted_for_sh(start, admin, directory):
    port = free_port()
    program = directory.script("it's here", "cat")
    start(config=f'{admin.line}port {port}\nexec "{program}" -x "a b"\n')
    word = server(admin, servers(admin)[0]["server"])["server"]
    admin.ask("disable", word)
    (line,) = admin.ask("changes").splitlines()
    assert shlex.split(line) == ["disable", word]


# -- one of several services

def test_a_server_of_one_service_is_meant_there_only(start, service, admin):
    one, two, a = free_port(), free_port(), service()
    start(config=f"{admin.line}port {one} as one\nserver {a.spelt} as x\nport {two} as two\nserver {a.spelt} as x\n")
    admin.ask("weight", "one/x", 0)
    assert gets_reset(one) and ask(two, b"y") == b"y"
    admin.ask("weight", "x", 0)
    assert gets_reset(two)
    assert admin.ask("changes").splitlines() == ["weight one/x 0", "weight two/x 0"]


def test_a_server_without_a_name_is_the_same_in_all_services(start, service, admin):
    """In one of them: test_63_one_service.py."""
    one, two, a = free_port(), free_port(), service()
    start(config=f"{admin.line}port {one} as one\nserver {a.spelt}\nport {two} as two\nserver {a.spelt}\n")
    admin.ask("weight", a.spelt, 0)
    assert gets_reset(one) and gets_reset(two)


# -- what survives what

def change_all(pool, admin):
    admin.ask("weight", pool.a, 3)
    admin.ask("max", pool.b, 5)
    admin.ask("force", pool.b, "up")
    admin.ask("drain", pool.b)
    return [f"weight {pool.a} 3", f"drain {pool.b}", f"max {pool.b} 5", f"force {pool.b} up"]


def test_changes_survive_a_reload(pool, admin):
    wanted = change_all(pool, admin)
    pool.reload(pool.text() + f"port {free_port()}\nserver {pool.a}\n")  # one more section that says the same
    assert pool.changed() == wanted
    pool.proxy.wait_log(rf"reload: {pool.a} still differs from the file: weight {pool.a} 3 \(tcpproxyctl forget {pool.a}\)")
    assert pool.shares() == {"a": 12}


def test_changes_survive_the_death_of_each(pool, admin):
    wanted = change_all(pool, admin)
    pool.proxy.kill_supervisor()
    pool.proxy.start_again()
    assert pool.changed() == wanted
    for pid in pool.proxy.workers() + pool.proxy.role("spawner"):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(w["takeovers"] for w in admin.json("status")["workers"]), "new workers")
    pool.proxy.wait_whole()
    assert pool.changed() == wanted
    assert pool.shares() == {"a": 12}
    admin.ask("forget", pool.b)
    pool.fair(a=9, b=3)


def test_the_file_wins_at_a_start_after_a_crash_too(pool, admin):
    change_all(pool, admin)
    pool.proxy.kill_supervisor()
    pool.proxy.rewrite(pool.text(a="weight=2"))
    pool.proxy.start_again()
    assert server(admin, pool.a)["weight"] == 2
    assert pool.changed() == [f"drain {pool.b}", f"max {pool.b} 5", f"force {pool.b} up"]


def test_changes_survive_an_upgrade(pool, admin):
    wanted = change_all(pool, admin)
    assert "serves" in admin.ask("upgrade")
    assert pool.changed() == wanted
    assert pool.shares() == {"a": 12}
    pool.proxy.expect_deaths()  # they are other processes now
    pool.proxy.wait_whole()


def test_a_stop_forgets_them(pool, admin):
    change_all(pool, admin)
    pool.proxy.signal(signal.SIGTERM)
    pool.proxy.wait_exit()
    pool.proxy.wait_gone()
    pool.proxy._run()
    pool.proxy.wait_ready()
    assert pool.changed() == []


# -- the file wins where it speaks

def test_a_changed_line_beats_what_was_changed(pool, admin):
    change_all(pool, admin)
    pool.reload(pool.text(b="max=9"))
    assert pool.changed() == [f"weight {pool.a} 3", f"drain {pool.b}"]  # who was taken out stays so
    assert server(admin, pool.b)["max"] == 9
    pool.proxy.wait_log(f"the file says something else of {pool.b} now, so it holds; changes by tcpproxyctl that are "
                        f"forgotten: .*max {pool.b} 5, force {pool.b} up$")
    pool.reload(pool.text(a="weight=2", b="max=9"))
    assert pool.changed() == [f"drain {pool.b}"]
    assert server(admin, pool.a)["weight"] == 2


def test_weight_0_and_a_changed_line(pool, admin):
    """Not stuck at 0 for ever."""
    admin.ask("weight", pool.a, 0)
    pool.reload(pool.text(a="weight=5"))
    pool.fair(a=30, b=6)
    admin.ask("weight", pool.a, 0)
    admin.ask("forget", pool.a)
    pool.fair(a=30, b=6)


def test_the_word_disabled_of_the_file_beats_enable_and_disable(pool, admin):
    admin.ask("disable", pool.a)
    pool.reload(pool.text(b="disabled"))
    assert gets_reset(pool.port)
    admin.ask("enable", pool.b)
    assert pool.shares() == {"b": 12}
    pool.reload(pool.text(a="disabled", b="disabled"))
    assert pool.changed() == [f"enable {pool.b}"]
    pool.reload(pool.text(b="disabled"))
    assert pool.changed() == [f"enable {pool.b}"]
    pool.fair(a=6, b=6)


def test_a_line_that_goes_takes_its_changes_along(pool, admin):
    change_all(pool, admin)
    pool.reload(f"{admin.line}port {pool.port}\nserver {pool.b}\n")
    pool.proxy.wait_log(f"forgotten: weight {pool.a} 3$")
    assert pool.changed() == [f"drain {pool.b}", f"max {pool.b} 5", f"force {pool.b} up"]
    assert "is no server" in admin.refused("weight", pool.a, 1)
    pool.reload(pool.text())
    assert server(admin, pool.a)["weight"] == 1


def test_another_port_is_another_server(pool, admin, service):
    admin.ask("weight", pool.a, 0)
    other = service(say("c"))
    pool.reload(pool.text().replace(pool.a, other.spelt))
    pool.fair(c=6, b=6)
    pool.proxy.wait_log(f"forgotten: weight {pool.a} 0$")


# -- the page

@pytest.mark.skipif(not build.has_page(), reason="this build has no page")
def test_the_page_takes_these_commands(start, service, admin, directory, health):
    port, a = free_port(), service()
    page = Page(directory.write("token", TOKEN + "\n", mode=0o600))
    start(config=f"{admin.line}{page.line}port {port}\nserver {a.spelt}\n{CHECK.format(health.port)}")
    for command in (f"weight {a.spelt} 5", f"max {a.spelt} 3", f"force {a.spelt} down"):
        assert page.command(command, TOKEN)[0] == 200
    assert server(admin, a.spelt)["changed"] == [f"weight {a.spelt} 5", f"max {a.spelt} 3", f"force {a.spelt} down"]
    assert page.command(f"forget {a.spelt}", TOKEN)[0] == 200
    assert admin.ask("changes") == ""
    assert page.command(f"check {a.spelt}", TOKEN) == (200, f"{a.spelt}: up")
    health.ill()
    status, text = page.command(f"check {a.spelt}", TOKEN)
    assert status == 200 and text.startswith(f"{a.spelt}: down")
    status, text = page.command("check nobody", TOKEN)
    assert status == 409 and "is no server" in text


def test_what_a_check_sends_may_be_a_password(start, service, admin):
    port, server = free_port(), service()
    start(config=f'{admin.line}port {port}\nserver {server.spelt} weight=7\ncheck send "AUTH xyzzy\\r\\n" expect OK\n')
    one, = admin.json("servers")["servers"]
    assert one["check"] == "send *** expect OK"
    assert "xyzzy" not in admin.ask("servers")
    assert f'tcpproxy_backend_weight{{server="{server.spelt}"}} 7' in admin.ask("metrics").splitlines()
