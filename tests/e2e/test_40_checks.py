"""`check`: servers are asked whether they are well, and clients get those that are."""
import contextlib
import json
import os
import re
import signal
import socket
import threading
import time

import pytest

from lib import processes, upgrades
from lib.checked import (ASKS, Checked, Clients, Many, changes, checkers, nonsense, silent, trickle, wait_checkers,
                         wait_state)
from lib.peers import ask, connect, gets_reset, read_all, unsent
from lib.ports import free_port
from lib.waiting import outlast_fuser, stays, wait_for

QUICK = "every=100ms timeout=5"  # the time that a check may take is not what is tested: the machine may be busy


@pytest.fixture
def played():
    """played(name): a server that is asked."""
    made = []

    def make(*args, **more):
        made.append(Checked(*args, **more))
        return made[-1]
    yield make
    for s in made:
        s.close()


class Pool:
    """A proxy whose one service has these servers."""

    def __init__(self, start, admin, servers, check, more="", words=()):
        self.port, self.servers, self.admin = free_port(), servers, admin
        self.head = f"{admin.line}workers 2\n{more}\nport {self.port}\n"
        self.lines = "".join(f"server {s.spelt} {word}\n" for s, word in zip(servers, [*words, *[""] * len(servers)]))
        self.check = check
        self.proxy = start(config=self.text(check))

    def text(self, check):
        return self.head + self.lines + "".join(f"check {line}\n" for line in ([check] if isinstance(check, str) else check))

    def reload(self, check=None):
        n = self.proxy.log().count(" is in force")
        self.proxy.rewrite(self.text(self.check if check is None else check))
        os.kill(self.proxy.role("supervisor")[0], signal.SIGHUP)
        wait_for(lambda: self.proxy.log().count(" is in force") > n, f"a reload\n{self.proxy.log()}")
        if not self.proxy.casualties:
            self.proxy.born = self.proxy.wait_whole()

    def wait(self, *states):
        for server, state in zip(self.servers, states):
            wait_state(self.admin, server, state)

    def health(self):
        return [self.admin.server(s.spelt)["health"] for s in self.servers]

    def met(self, n=20):
        return {ask(self.port, b"client").decode() for _ in range(n)}


@pytest.fixture
def pool(start, admin):
    """pool(server..., check=...): a Pool."""
    def make(*servers, check=f"{QUICK} {ASKS}", **more):
        return Pool(start, admin, servers, check, **more)
    return make


# -- up and down

def test_the_first_answer_counts_alone(pool, played):
    a, b = played("a"), played("b", well=False)
    p = pool(a, b, check=f"{QUICK} rise=50 fall=50 {ASKS}")
    p.wait("up", "down")
    assert p.met() == {"a"}
    assert changes(p.proxy, a) == [(a.spelt, "up", "unknown", "")]
    assert changes(p.proxy, b) == [(b.spelt, "down", "unknown", 'check send: expected at the beginning "YES", got "NO"')]


def test_before_the_first_answer_clients_do_not_wait(pool, played):
    a, b = played("a"), played("b")
    a.answer = b.answer = silent
    p = pool(a, b, check=f"every=1 timeout=1m {ASKS}")
    wait_for(lambda: a.checks and b.checks, "both are asked")
    assert p.health() == ["unknown", "unknown"] and p.met() == {"a", "b"}
    p.reload(check=[f"every=1 timeout=1m {ASKS}", f"{QUICK} tcp"])
    p.wait("unknown", "unknown")


def test_who_is_up_comes_before_who_is_unknown(pool, played):
    a, b = played("a"), played("b")
    a.answer = silent
    p = pool(a, b, check=f"every=1 timeout=1m {ASKS}")
    p.wait("unknown", "up")
    assert p.met() == {"b"}


def test_fall_counts_answers_in_a_row(pool, played):
    a = played("a")
    p = pool(a, check=f"every=100ms timeout=5 fall=4 {ASKS}")
    p.wait("up")
    a.one_yes_in = 4  # three times no, then yes
    a.wait_asked(17)
    assert p.health() == ["up"]
    a.one_yes_in = None
    a.wait_asked(2)
    said, a.well = a.checks, False
    p.wait("down")
    assert a.checks - said >= 4


def test_rise_counts_answers_in_a_row(pool, played):
    a = played("a", well=False)
    p = pool(a, check=f"every=100ms timeout=5 rise=3 {ASKS}")
    p.wait("down")
    a.one_no_in = 3
    a.wait_asked(13)
    assert p.health() == ["down"]
    a.one_no_in = None
    a.wait_asked(2)
    said, a.well = a.checks, True
    p.wait("up")
    assert a.checks - said >= 3


def test_all_lines_must_say_yes(pool, played):
    a, b = played("a"), played("agent")
    p = pool(a, check=[f"{QUICK} {ASKS}", f"{QUICK} port={b.port} {ASKS}"])
    p.wait("up")
    b.well = False
    p.wait("down")
    assert gets_reset(p.port)
    a.well, b.well = False, True
    b.wait_asked(5)
    assert p.health() == ["down"]
    a.well = True
    p.wait("up")
    assert p.met(5) == {"a"}


def test_check_off_in_an_interface(start, admin, played):
    a, port = played("a", well=False), free_port()
    start(config=f"{admin.line}check {QUICK} {ASKS}\nport {port}\nserver {a.spelt}\n"
                 f"interface 127.0.0.2\nserver {a.spelt}\ncheck off\n")
    wait_state(admin, a, "down")
    assert gets_reset(port)
    assert ask(port, b"client", "127.0.0.2") == b"a"


# -- what is said

def told(p, server, state, was, why, up, of):
    why = f'why="{why}" ' if why else ""
    return (f"server service={p.port} server={server.spelt} address={server.spelt} state={state} was={was} {why}"
            f"up={up} of={of}")


def test_each_change_is_one_line(pool, played):
    a, b = played("a"), played("b")
    p = pool(a, b)
    p.wait("up", "up")
    for s in (a, b):
        s.refuse()
        wait_state(p.admin, s, "down")
    b.listen()
    p.wait("down", "up")
    p.proxy.wait_log(re.escape(told(p, b, "up", "down", None, 1, 2)))
    lines = [line.removeprefix("tcpproxy: ") for line in p.proxy.log().splitlines() if " state=" in line]
    assert len([line for line in lines[:2] if " state=up was=unknown up=" in line and line.endswith(" of=2")]) == 2
    assert lines[2:] == [told(p, a, "down", "up", "check send: connection refused", 1, 2),
                         told(p, b, "down", "up", "check send: connection refused", 0, 2),
                         told(p, b, "up", "down", None, 1, 2)]


def test_the_last_usable_server_is_an_error_and_JSON_says_so(pool, played, directory):
    a, b = played("a"), played("b")
    log = directory / "log"
    os.mkdir(log)
    os.chmod(log, 0o777)
    p = pool(a, b, more=f"log {log}/all.log+json")
    p.wait("up", "up")
    for s in (a, b):
        s.refuse()
        wait_state(p.admin, s, "down")

    def objects():
        with open(f"{log}/all.log") as f:
            return [o for o in map(json.loads, f.read().splitlines()) if o.get("event") == "server"]
    found = wait_for(lambda: len(o := objects()) == 4 and o, "four changes")
    assert [o["level"] for o in found] == ["info", "info", "warning", "error"]
    time_of = found[3].pop("time")
    assert re.fullmatch(r"\d{4}-.*", time_of)
    assert found[3] == {"event": "server", "level": "error", "service": str(p.port), "server": b.spelt,
                        "address": b.spelt, "state": "down", "was": "up", "why": "check send: connection refused",
                        "up": 0, "of": 2}


def test_a_service_that_has_the_server_twice_is_told_once(start, admin, played):
    a, one, two = played("a"), free_port(), free_port()
    proxy = start(config=f"{admin.line}check {QUICK} {ASKS}\nport {one}\nserver {a.spelt}\ninterface 127.0.0.2\nserver {a.spelt}\n"
                         f"port {two}\nserver {a.spelt}\n")
    wait_state(admin, a, "up")
    wait_for(lambda: len(changes(proxy)) >= 2, "two lines")
    a.well = False
    wait_state(admin, a, "down")
    wait_for(lambda: len(changes(proxy)) >= 4, "two lines more")
    services = re.findall(r"server service=(\d+) ", proxy.log())
    assert sorted(services) == sorted(map(str, [one, one, two, two]))


def test_status_and_metrics(pool, played):
    a, b = played("a"), played("b", well=False)
    p = pool(a, b)
    p.wait("up", "down")
    assert p.admin.metric("tcpproxy_service_servers_usable", service=str(p.port)) == 1
    assert [p.admin.service(p.port)[key] for key in ("usable", "servers")] == [1, 2]
    assert re.search(rf"^{p.port} .* 1/2$", p.admin.ask("status"), re.M)
    for server, state, up in ((a, "up", 1), (b, "down", 0)):
        seen = p.admin.server(server.spelt)
        assert (seen["health"], seen["checked"]) == (state, True)
        assert (seen["why"] is None) == (state == "up"), seen
        assert p.admin.metric("tcpproxy_backend_up", server=server.spelt) == up
        for other in ("up", "down", "unknown"):
            assert p.admin.metric("tcpproxy_backend_state", server=server.spelt, state=other) == (other == state)
        assert p.admin.metric("tcpproxy_backend_changes_total", server=server.spelt, to=state) == 1
        assert p.admin.metric("tcpproxy_backend_checks_total", server=server.spelt, result=state) >= 1
        assert 0 <= p.admin.metric("tcpproxy_backend_check_duration_seconds", server=server.spelt) < 5
    assert [m["usable"] for m in p.admin.json("status")["pools"]] == [True, False]
    assert re.search(rf"^{re.escape(b.spelt)} +enabled +down .*check send: expected", p.admin.ask("status"), re.M)


# -- who gets a client

def test_no_client_is_sent_to_a_server_that_is_down(pool, played):
    a, b = played("a"), played("b")
    p = pool(a, b)
    p.wait("up", "up")
    clients = Clients(p.port, [a, b])
    for flip in range(6):
        b.well = False
        wait_state(p.admin, b, "down")
        clients.goes_down(b)
        clients.wait_some()
        clients.comes_up(b)
        b.well = True
        wait_state(p.admin, b, "up")
        clients.wait_some(5)
    clients.stop()
    assert clients.met[b"b"] > 0, "it was never used at all"


def test_nobody_is_left_no_server(pool, played):
    a = played("a", well=False)
    p = pool(a)
    p.wait("down")
    assert gets_reset(p.port)
    record = p.proxy.wait_record()
    assert (record.end, a.clients) == ("no-server", 0)
    assert record["server"] == "-", record


def test_on_down_try(pool, played):
    a, b = played("a", well=False), played("b")
    p = pool(a, b, more="on-down try")
    p.wait("down", "up")
    assert p.met() == {"b"}
    b.well = False
    p.wait("down", "down")
    assert p.met() == {"a", "b"}


def test_backups(pool, played):
    a, b = played("a"), played("b")
    p = pool(a, b, words=["", "backup"])
    p.wait("up", "up")
    assert p.met() == {"a"}
    a.well = False
    p.wait("down", "up")
    assert p.met() == {"b"}
    a.well = True
    p.wait("up", "up")
    assert p.met() == {"a"}


# -- how it is asked

def test_the_same_check_is_done_once(start, admin, played):
    """Of two sections, and of services in which the server has a name of its own."""
    a, ports = played("a"), [free_port() for _ in range(3)]
    check = f"check every=1 timeout=5 {ASKS}\n"
    start(config=admin.line + "".join(f"port {p}\nserver {a.spelt}{called}\n{check}interface 127.0.0.2\nserver {a.spelt}\n{check}"
                                      for p, called in zip(ports, ("", " as one", " as two"))))
    wait_state(admin, a, "up")
    begun, first = time.monotonic(), a.checks
    a.wait_asked(4)
    took = time.monotonic() - begun
    assert a.checks - first <= took / 0.9 + 2, (a.checks - first, took)
    assert len(a.came) == a.checks


def test_another_port(pool, played):
    a, beside = played("a", well=False), played("beside")
    p = pool(a, check=f"{QUICK} port={beside.port} {ASKS}")
    p.wait("up")
    assert p.met(4) == {"a"} and a.checks == 0
    beside.refuse()
    p.wait("down")
    p.proxy.wait_log("state=down was=up why=\"check send: connection refused\"")


def test_another_source(pool, played):
    a = played("a")
    p = pool(a, check=f"{QUICK} from=127.0.0.9 {ASKS}")
    p.wait("up")
    assert {peer[0] for _, peer in a.came} == {"127.0.0.9"}


def test_the_source_of_the_section_is_that_of_its_checks(pool, played):
    a = played("a")
    pool(a, more="source 127.0.0.8").wait("up")
    assert {peer[0] for _, peer in a.came} == {"127.0.0.8"}


def test_a_name_with_several_addresses(start, admin, names, played):
    """One that says yes is enough; the log says which."""
    b, port = played("b", host="127.0.0.3"), free_port()
    names.add("db.test", "127.0.0.2", "127.0.0.3")
    proxy = start(config=f"{admin.line}resolver {names.spelt}\nport {port}\nserver db.test:{b.port}\ncheck {QUICK} {ASKS}\n")
    proxy.wait_log(f"server=db.test:{b.port} address=127.0.0.3:{b.port} state=up was=")
    b.well = False
    proxy.wait_log(f"server=db.test:{b.port} address=.* state=down was=up")
    assert gets_reset(port)


def test_a_unix_server(pool, played, directory):
    a, b = played("a", path=directory / "a.sock"), played("b")
    p = pool(a, b)
    p.wait("up", "up")
    a.refuse()
    p.wait("down", "up")
    assert p.met() == {"b"}
    a.listen()
    p.wait("up", "up")
    assert p.met() == {"a", "b"}


def test_an_IPv6_server(pool, played):
    a = played("a", host="::1")
    p = pool(a)
    p.wait("up")
    a.refuse()
    p.wait("down")
    p.proxy.wait_log(re.escape(f"server={a.spelt} address={a.spelt} state=down"))


@pytest.mark.parametrize("answer", [silent, trickle], ids=lambda f: f.__name__)
def test_one_that_takes_too_long_is_down_and_holds_nobody_up(pool, played, answer):
    a, b = played("a"), played("b")
    p = pool(a, b, check='every=200ms timeout=1 fall=1 send "WELL?\\r\\n" expect "YES"')
    p.wait("up", "up")
    a.answer = answer
    asked = b.checks
    p.wait("down", "up")
    assert b.checks > asked, "the other one had to wait"
    assert "time is over" in p.admin.server(a.spelt)["why"]
    assert p.met() == {"b"}
    assert p.admin.metric("tcpproxy_backend_checks_total", server=a.spelt, result="timeout") >= 1


def test_nonsense(pool, played):
    a, b = played("a"), played("b")
    a.answer = nonsense
    p = pool(a, b)
    p.wait("down", "up")
    a.wait_asked(3)
    assert len(checkers(p.proxy)) == 1 and p.met() == {"b"}
    assert processes.memory(checkers(p.proxy)[0]) < 32 << 20
    assert all(c.isprintable() or c == "\n" for c in p.proxy.log())


def greeted(ends, greeting=b"220 here\r\n" * 2000):
    """A server that speaks first, says good-bye after the other's FIN, and notes whether anything of that was answered with a reset."""
    def serve(s):
        try:
            s.sendall(greeting)
            read_all(s)
            s.sendall(b"221 bye\r\n")
            wait_for(lambda: unsent(s) == 0, "it has arrived")
            ends.append(os.strerror(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
        except OSError as e:
            ends.append(e.strerror)
    return serve


@pytest.mark.parametrize("check", ["tcp", "smtp", "ssh", 'expect "nobody says this"'], ids=["tcp", "smtp", "ssh", "expect"])
def test_a_check_never_resets(start, admin, service, check):
    """Whether it says yes or no, and whatever it has not read."""
    ends, port = [], free_port()
    server = service(greeted(ends))
    start(config=f"{admin.line}port {port}\nserver {server.spelt}\ncheck every=100ms timeout=300ms {check}\n")
    wait_for(lambda: len(ends) >= 10, "ten checks")
    assert set(ends) == {os.strerror(0)}


def test_a_check_that_is_no_longer_wanted_ends_politely(pool, played):
    a, ended = played("a"), []
    a.answer = lambda s: (read_all(s), ended.append("fin"))
    p = pool(a, check=f"every=1 timeout=1m {ASKS}")
    wait_for(lambda: a.checks, "it is asked")
    p.reload(check=f"every=1 timeout=1m tcp")
    wait_for(lambda: ended == ["fin"], "a FIN")


def test_a_client_without_luck_hurries_the_check(pool, played):
    a, b = played("a"), played("b")
    p = pool(a, b, check=f"every=1m timeout=5 fall=1 fast=100ms {ASKS}")
    p.wait("up", "up")
    a.refuse()
    assert p.met() == {"b"}  # somebody has tried the other one
    p.wait("down", "up")
    a.listen()
    assert a.checks == 1


def test_clients_that_fail_all_the_time_are_no_storm_of_checks(pool, played):
    a = played("a")
    p = pool(a, check="every=1m timeout=5 fall=100 fast=500ms tcp")
    p.wait("up")
    a.refuse()
    begun = time.monotonic()

    def said_no():
        assert gets_reset(p.port)  # each of them has tried, for there is no other
        return p.admin.metric("tcpproxy_backend_checks_total", server=a.spelt, result="down")
    wait_for(lambda: said_no() >= 3, "three checks")
    assert time.monotonic() - begun >= 2 * 0.45


# -- what outlives what

def test_fifty_reloads_send_nobody_to_a_server_that_is_down(pool, played):
    a, b = played("a"), played("b", well=False)
    p = pool(a, b)
    p.wait("up", "down")
    clients = Clients(p.port, [a, b])
    clients.goes_down(b)
    for _ in range(50):
        p.reload()
    clients.wait_some(5)
    clients.stop()
    assert b.clients == 0
    assert len(changes(p.proxy)) == 2, changes(p.proxy)


def test_another_pace_is_the_same_question(pool, played):
    a, b = played("a"), played("b", well=False)
    p = pool(a, b)
    p.wait("up", "down")
    p.reload(check=f"every=150ms timeout=4 rise=4 {ASKS}")
    assert p.health() == ["up", "down"] and len(changes(p.proxy)) == 2
    asked = b.checks
    b.well = True
    p.wait("up", "up")
    assert b.checks - asked >= 4


def test_another_question_is_another_state(pool, played):
    a, b = played("a"), played("b", well=False)
    p = pool(a, b)
    p.wait("up", "down")
    p.reload(check=f"{QUICK} tcp")
    p.wait("up", "up")
    assert p.met() == {"a", "b"}


def test_reloads_with_and_without_checks(pool, played):
    a, b = played("a"), played("b", well=False)
    p = pool(a, b, check="off")
    assert not checkers(p.proxy) and p.met() == {"a", "b"}
    p.reload(check=f"{QUICK} {ASKS}")
    p.wait("up", "down")
    assert len(checkers(p.proxy)) == 1 and p.met() == {"a"}
    p.reload(check="off")
    wait_checkers(p.proxy, 0)
    assert p.met() == {"a", "b"}
    asked = a.checks
    stays(lambda: a.checks == asked, "nobody asks", 0.5)
    p.reload(check=f"{QUICK} {ASKS}")
    p.wait("up", "down")
    assert p.met() == {"a"}


def test_who_is_checked_by_nobody_has_no_checker(pool, played, start):
    p = pool(played("a"), check="off")
    assert not checkers(p.proxy)
    handler = start(config=f"check tcp\nport {free_port()}\nexec /bin/cat\n", wait=False)
    wait_for(lambda: "listening on" in handler.log() and handler.workers(), "it serves")
    stays(lambda: not checkers(handler), "nothing is checked", 0.3)
    handler.config = ""
    handler.wait_ready()


def kill(proxy, *pids):
    proxy.expect_deaths()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def other_checker(proxy, before):
    return wait_for(lambda: len(now := checkers(proxy)) == 1 and now != before and now, f"another checker\n{proxy.log()}")


def test_the_checker_is_replaced_and_knows_what_was_known(pool, played):
    a, b = played("a"), played("b", well=False)
    p = pool(a, b, check=f"every=100ms timeout=5 rise=6 fall=6 {ASKS}")
    p.wait("up", "down")
    clients = Clients(p.port, [a, b])
    clients.goes_down(b)
    for _ in range(5):
        before = checkers(p.proxy)
        kill(p.proxy, *before)
        other_checker(p.proxy, before)
        assert p.health() == ["up", "down"]
    clients.stop()
    assert b.clients == 0 and len(changes(p.proxy)) == 2


def test_counts_go_on_where_the_dead_checker_was(pool, played):
    """It is killed after each two answers of six that are needed."""
    a, b = played("a"), played("b")
    p = pool(a, b, check=f"every=100ms timeout=5 fall=6 {ASKS}")
    p.wait("up", "up")
    b.well = False
    asked = b.checks
    for _ in range(2):
        b.wait_asked(3)  # two of them have been heard
        before = checkers(p.proxy)
        kill(p.proxy, *before)
        other_checker(p.proxy, before)
    p.wait("up", "down")
    assert b.checks - asked <= 6 + 2 * 2, "it has begun to count anew"


def test_the_supervisor_dies(pool, played):
    a, b = played("a"), played("b", well=False)
    p = pool(a, b)
    p.wait("up", "down")
    outlast_fuser()
    p.proxy.kill_supervisor()
    b.wait_asked(3)  # they go on
    assert p.met() == {"a"}
    a.well, b.well = False, True
    wait_for(lambda: p.met(4) == {"b"}, "what is found out meanwhile holds")
    p.proxy.start_again()
    assert p.met() == {"b"}
    wait_checkers(p.proxy, 1)
    assert processes.parent(checkers(p.proxy)[0]) == p.proxy.pid
    assert p.health() == ["down", "up"]
    asked, begun = b.checks, time.monotonic()
    b.wait_asked(10)
    assert b.checks - asked <= (time.monotonic() - begun) / 0.08 + 2, "two ask"


def test_the_next_supervisor_checks_nothing(pool, played):
    """Then nobody does, though the checker has outlived the one before."""
    a, b = played("a"), played("b", well=False)
    p = pool(a, b)
    p.wait("up", "down")
    outlast_fuser()
    p.proxy.kill_supervisor()
    p.proxy.rewrite(p.text("off"))
    p.proxy.start_again()
    wait_checkers(p.proxy, 0)
    assert p.met() == {"a", "b"}


def test_workers_die(pool, played):
    a, b = played("a"), played("b", well=False)
    p = pool(a, b)
    p.wait("up", "down")
    for _ in range(5):
        before = p.proxy.workers()
        kill(p.proxy, *before)
        assert p.met(10) == {"a"}
        wait_for(lambda: p.proxy.whole() and not set(before) & set(p.proxy.workers()), "other workers")
    assert b.clients == 0


def test_an_upgrade_keeps_what_is_known(pool, played):
    a, b = played("a"), played("b", well=False)
    p = pool(a, b)
    p.wait("up", "down")
    clients = Clients(p.port, [a, b])
    clients.goes_down(b)
    for n in range(2):
        upgrades.replace(p.proxy)
        upgrades.upgrade(p.proxy, n + 1)
        assert p.health() == ["up", "down"]
    clients.wait_some(5)
    clients.stop()
    wait_checkers(p.proxy, 1)
    assert b.clients == 0
    a.well = False
    p.wait("down", "down")


def test_the_end_is_quick_whoever_is_silent(pool, played):
    a = played("a")
    a.answer = silent
    p = pool(a, check=f"every=1 timeout=1m {ASKS}")
    wait_for(lambda: a.checks, "it is asked")
    p.proxy.stop()  # in its usual time


# -- many

@pytest.fixture
def many():
    m = Many()
    yield m
    m.close()


def hosts(n):
    return [f"127.1.{i // 250}.{i % 250 + 1}" for i in range(n)]


def test_500_servers_are_known_soon_and_there_is_no_storm(start, admin, many):
    n, port = 500, free_port()
    many.down = set(hosts(n)[::50])
    servers = "".join(f"server {h}:{many.port}\n" for h in hosts(n))
    proxy = start(config=f"{admin.line}port {port}\n{servers}check every=2 timeout=10 {ASKS}\n")
    wait_for(lambda: not [s for s in admin.json("status")["servers"] if s["health"] == "unknown"], "all are known")
    first = {}
    for when, host in list(many.came):
        first.setdefault(host, when)
    times = sorted(first.values())
    assert len(times) == n
    took = times[-1] - times[0]
    crowd = max(sum(1 for t in times[i:i + 150] if t - times[i] < 0.05) for i in range(n))
    assert took < 4 and crowd <= 100, (took, crowd)
    health = {s["server"]: s["health"] for s in admin.json("status")["servers"]}
    assert [h for h, state in health.items() if state == "down"] == [f"{h}:{many.port}" for h in sorted(
        many.down, key=hosts(n).index)]
    wait_for(lambda: len(changes(proxy)) == n, f"{n} lines, not {len(changes(proxy))}")
    met = {ask(port, b"client").decode() for _ in range(100)}
    assert not met & many.down


def test_500_servers_change_at_once_and_every_line_is_there(start, admin, many):
    n, port = 500, free_port()
    servers = "".join(f"server {h}:{many.port}\n" for h in hosts(n))
    proxy = start(config=f"{admin.line}port {port}\n{servers}check every=500ms timeout=10 fall=1 rise=1 {ASKS}\n")
    wait_for(lambda: len(changes(proxy)) == n, "all are known", 15)
    many.well = False
    wait_for(lambda: len(changes(proxy)) == 2 * n, f"{2 * n} lines", 15)
    assert re.search(r"state=down .* up=0 of=500$", proxy.log(), re.M)
    assert gets_reset(port)


def test_a_supervisor_that_is_stopped_hears_of_every_server_later(start, admin, many):
    """More changes than a socket holds; of one that has changed more than once, from what it was to what it is."""
    n = 300
    servers = "".join(f"server {h}:{many.port}\n" for h in hosts(n))
    proxy = start(config=f"{admin.line}port {free_port()}\n{servers}check every=200ms timeout=10 fall=1 rise=1 {ASKS}\n")
    wait_for(lambda: len(changes(proxy)) == n, "all are known", 15)
    with processes.stopped(proxy.pid):
        for well in (False, True, False):
            many.well = well
            asked = many.asked()
            wait_for(lambda: all(now >= asked[h] + 3 for h, now in many.asked().items()), "each has been asked", 20)
    wait_for(lambda: {s["health"] for s in admin.json("status")["servers"]} == {"down"}, "all are down")

    def all_told():
        state = {}
        for server, now, was, _ in changes(proxy):
            assert state.get(server, "unknown") == was != now, (server, was, now)
            state[server] = now
        return len(state) == n and set(state.values()) == {"down"}
    wait_for(all_told, "the log says so, too")


def test_workers_that_are_busy_change_nothing(pool, played):
    a, b = played("a"), played("b")
    p = pool(a, b, check=f"every=200ms {ASKS}")
    p.wait("up", "up")
    over = threading.Event()

    def load():
        octets = bytes(1 << 20)
        while not over.is_set():
            with connect(p.port) as s:
                s.sendall(b"client")
                s.recv(1)
                for _ in range(20):
                    s.sendall(octets[:65536])
                    s.recv(65536)
    threads = [threading.Thread(target=load, daemon=True) for _ in range(8)]
    for t in threads:
        t.start()
    asked = a.checks
    a.wait_asked(10)
    over.set()
    for t in threads:
        t.join()
    assert a.checks - asked >= 10 and len(changes(p.proxy)) == 2, p.proxy.log()
