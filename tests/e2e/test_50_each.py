"""`server HOST each` and `server srv:...`: names that stand for many servers, which come and go."""
import os
import random
import signal
import socket
import subprocess
import threading

import pytest

from lib.peers import answer, ask, connect, gets_reset, read_all, say, talk
from lib.ports import free_port
from lib.proxy import BINARY
from lib.waiting import stays, wait_for

SRV = "_mail._tcp.test"


class Many:
    """Eight servers at 127.0.0.11 to 18, all at one port: each says which it is. A pool by a name."""

    def __init__(self, start, service, admin, names):
        self.start, self.admin, self.names = start, admin, names
        first = service(say("1"), host="127.0.0.11")
        self.target = first.port
        self.servers = [first] + [service(say(str(i)), host=f"127.0.0.{10 + i}", port=self.target)
                                  for i in range(2, 9)]
        self.port = free_port()

    @staticmethod
    def address(i):
        return f"127.0.0.{10 + i}"

    def spelt(self, i):
        return f"{self.address(i)}:{self.target}"

    def add(self, *numbers, name="many.test"):
        self.names.add(name, *map(self.address, numbers))

    def text(self, *lines, head="", more=""):
        lines = lines or (f"many.test:{self.target} each",)
        return (f"resolver {self.names.spelt}\n{head}\n{self.admin.line}port {self.port} as pool\n"
                + "".join(f"\tserver {line}\n" for line in lines) + more)

    def run(self, *lines, wait=True, **more):
        self.proxy = self.start(config=self.text(*lines, **more), wait=wait)
        return self

    def pool(self):
        return sorted(s["server"] for s in self.admin.json("servers")["servers"])

    def becomes(self, *numbers, timeout=30):
        wanted = sorted(map(self.spelt, numbers))
        wait_for(lambda: self.pool() == wanted, f"the pool is {wanted}", timeout)

    def server(self, i):
        return next(s for s in self.admin.json("servers")["servers"] if s["server"] == self.spelt(i))

    def who(self, n=16):
        return "".join(sorted({ask(self.port).decode() for _ in range(n)}))

    def service(self, *records, ttl=1):
        self.names.ttl = ttl
        self.names.add_service(SRV, *records)


@pytest.fixture
def many(start, service, admin, names):
    return Many(start, service, admin, names)


# -- each


def test_each_address_is_a_server(many):
    many.add(3, 1, 2)
    many.run()
    many.becomes(1, 2, 3)
    assert many.who() == "123"
    assert {r["target"] for r in many.proxy.wait_records(16)} == set(map(many.spelt, (1, 2, 3)))


def test_the_words_hold_for_each(many):
    many.add(1, 2)
    many.run(f"many.test:{many.target} each weight=3 max=7")
    many.becomes(1, 2)
    assert [(s["weight"], s["max"]) for s in map(many.server, (1, 2))] == [(3, 7)] * 2


def test_addresses_come(many):
    many.add(1)
    many.run()
    many.becomes(1)
    many.add(1, 2)
    many.becomes(1, 2)
    assert many.who() == "12"


def test_and_go_and_their_connections_stay(many, start, service, admin, names):
    echo = service(host="127.0.0.21")
    names.add("echo.test", "127.0.0.21")
    many.run(f"echo.test:{echo.port} each", head="name-hold 1s")
    wait_for(lambda: many.pool() == [echo.spelt], "the only one")
    with connect(many.port) as s:
        talk(s)
        names.add("echo.test", "127.0.0.22")
        wait_for(lambda: many.pool() == [f"127.0.0.22:{echo.port}"], "another one", 30)
        talk(s)


def test_without_a_port_it_is_the_client_s(many, start, service, admin, names):
    port = free_port()
    server = service(say("a"), host="127.0.0.21", port=port)
    names.add("same.test", "127.0.0.21")
    many.proxy = start(config=f"resolver {names.spelt}\n{admin.line}port {port}\n\tinterface 127.0.0.1\n"
                              "\t\tserver same.test each\n")
    wait_for(lambda: many.pool() == [server.spelt], "the member has a port")
    assert ask(port) == b"a"


def test_the_hosts_file_counts(many, service):
    target = service(say("a"))
    many.run(f"localhost:{target.port} each")
    wait_for(lambda: target.spelt in many.pool(), "localhost")
    assert ask(many.port) == b"a"


def test_both_families(many):
    many.names.add("many.test", "127.0.0.11", "::1")
    many.run()
    wait_for(lambda: many.pool() == sorted([many.spelt(1), f"[::1]:{many.target}"]), "both")


def test_a_member_that_is_a_line_too_is_there_once(many):
    many.add(1, 2)
    many.run(f"{many.spelt(1)} weight=5", f"many.test:{many.target} each")
    many.becomes(1, 2)
    assert many.server(1)["weight"] == 5


def test_thousands(many):
    many.names.add("many.test", *(f"10.{i >> 8}.{i & 255}.1" for i in range(1500)))
    many.run()
    wait_for(lambda: len(many.pool()) == 1500, "all of them", 60)
    assert many.names.by_tcp >= 1


# -- names that nobody answers for


def test_without_an_answer_there_are_no_servers(many):
    many.run()
    assert gets_reset(many.port)
    wait_for(lambda: any(r.end == "no-server" for r in many.proxy.records()), "the record says why")
    many.proxy.wait_log("looking up the servers of many.test")
    many.add(1)
    many.becomes(1)
    assert many.who() == "1"


@pytest.mark.parametrize("how", ["nxdomain", "empty", "servfail", "silence"])
def test_what_was_good_is_kept(many, how):
    """Pitfall 53: nor does health change."""
    many.add(1, 2)
    many.run(more="\tcheck every=200ms tcp\n")
    many.becomes(1, 2)
    wait_for(lambda: all(many.server(i)["state"] == "up" for i in (1, 2)), "both are up")
    asked = len(many.names.questions("many.test"))
    if how == "nxdomain":
        del many.names.addresses["many.test"]
    elif how == "empty":
        many.add()
    else:
        (many.names.failing if how == "servfail" else many.names.silent).add("many.test")
    wait_for(lambda: len(many.names.questions("many.test")) >= asked + 4, "it is asked again", 30)
    assert many.pool() == [many.spelt(1), many.spelt(2)] and many.who() == "12"
    assert many.proxy.log().count(" state=") == 2


def test_a_name_that_has_ceased_ends_after_a_while(many):
    many.add(1)
    many.run(head="name-keep 2s")
    many.becomes(1)
    del many.names.addresses["many.test"]
    many.becomes()
    many.proxy.wait_log("has not existed for 2 s")
    assert gets_reset(many.port)


def test_answers_that_show_a_part_each_time_do_not_flap(many):
    """Pitfall 52: four of eight, the others in the next answer."""
    many.add(*range(1, 9))
    many.names.shown["many.test"] = 4
    many.run()
    many.becomes(*range(1, 9))
    asked = len(many.names.questions("many.test"))
    generation = many.admin.json("status")["generation"]
    wait_for(lambda: len(many.names.questions("many.test")) >= asked + 8, "four answers more", 30)
    assert len(many.pool()) == 8 and many.admin.json("status")["generation"] == generation


def test_one_that_is_missing_longer_goes(many):
    many.add(1, 2)
    many.run(head="name-hold 2s")
    many.becomes(1, 2)
    many.add(1)
    many.becomes(1)


def test_answers_in_odd_case(many):
    """Pitfall 55."""
    many.names.odd_case = True
    many.add(1, 2, name="a.test")
    many.service((10, 1, many.target, "A.test."))
    many.run(f"srv:{SRV.upper().replace('_TCP', '_tcp')}", "a.test.".replace("test.", "test") + f":{many.target} each")
    many.becomes(1, 2)


# -- services


def test_the_records_of_a_service(many, service, names):
    other = service(say("x"), host="127.0.0.31")
    many.add(1, 2, name="a.test")
    names.add("b.test", "127.0.0.31")
    many.service((10, 5, many.target, "a.test"), (10, 0, other.port, "b.test"))
    many.run(f"srv:{SRV} max=9")
    wanted = sorted([many.spelt(1), many.spelt(2), other.spelt])
    wait_for(lambda: many.pool() == wanted, "port and host of each record")
    assert {s["server"]: (s["weight"], s["max"]) for s in many.admin.json("servers")["servers"]} == {
        many.spelt(1): (5, 9), many.spelt(2): (5, 9), other.spelt: (1, 9)}
    assert many.who(40) == "12x"


def test_the_lowest_priority_serves_the_next_ones_are_its_backups(many):
    for i in (1, 2, 3):
        many.add(i, name=f"{i}.test")
    many.service((10, 1, many.target, "1.test"), (20, 1, many.target, "2.test"), (30, 1, many.target, "3.test"))
    many.run(f"srv:{SRV}", more="\tcheck every=200ms fall=1 rise=1 tcp\n")
    many.becomes(1, 2, 3)
    assert many.who() == "1"
    many.admin.ask("force", many.spelt(1), "down")
    assert many.who() == "2"
    many.admin.ask("force", many.spelt(2), "down")
    assert many.who() == "3"
    many.admin.ask("force", many.spelt(1), "auto")
    wait_for(lambda: many.who() == "1", "the first one again")


def test_a_priority_that_changes_holds_at_once(many):
    for i in (1, 2):
        many.add(i, name=f"{i}.test")
    many.service((10, 1, many.target, "1.test"), (20, 1, many.target, "2.test"))
    many.run(f"srv:{SRV}")
    many.becomes(1, 2)
    assert many.who() == "1"
    many.service((20, 1, many.target, "1.test"), (10, 1, many.target, "2.test"))
    wait_for(lambda: many.who(4) == "2", "the other one", 20)


def test_a_backup_is_behind_all_priorities(many):
    for i in (1, 2):
        many.add(i, name=f"{i}.test")
    many.service((10, 1, many.target, "1.test"), (20, 1, many.target, "2.test"))
    many.run(f"srv:{SRV}", f"{many.spelt(3)} backup")
    many.becomes(1, 2, 3)
    many.admin.ask("disable", many.spelt(1))
    assert many.who() == "2"
    many.admin.ask("disable", many.spelt(2))
    assert many.who() == "3"


def test_a_target_of_a_dot_says_that_there_are_none(many):
    many.add(1, name="a.test")
    many.service((10, 1, many.target, "a.test"))
    many.run(f"srv:{SRV}")
    many.becomes(1)
    many.service((0, 0, 0, "."))
    many.becomes()
    assert gets_reset(many.port)


def test_an_answer_that_is_too_long_for_udp(many):
    many.add(1, name="a.test")
    many.service((10, 1, many.target, "a.test"))
    many.names.truncated.update([SRV, "a.test"])
    many.run(f"srv:{SRV}")
    many.becomes(1)
    assert many.names.by_tcp >= 2


def test_a_target_that_nobody_answers_for_holds_up_none(many):
    many.add(1, name="a.test")
    many.names.silent.add("b.test")
    many.service((10, 1, many.target, "a.test"), (10, 1, many.target, "b.test"))
    many.run(f"srv:{SRV}")
    many.becomes(1, timeout=5)


def test_port_and_target_change_together(many, service, names):
    """Pitfall 54: two records in turn, twenty times a second, each with a port of its own: nobody connects to a mix."""
    other = service(say("b"), host="127.0.0.42")
    first = service(say("a"), host="127.0.0.41")
    mixed = [service(say("mix"), host="127.0.0.41", port=other.port), service(say("mix"), host="127.0.0.42", port=first.port)]
    names.add("a.test", "127.0.0.41")
    names.add("b.test", "127.0.0.42")
    records = [(10, 1, first.port, "a.test"), (10, 1, other.port, "b.test")]
    many.service(records[0], ttl=0)
    over = threading.Event()

    def change():
        turn = 0
        while not over.wait(0.05):
            turn += 1
            names.add_service(SRV, records[turn % 2])
    many.run(f"srv:{SRV}", head="name-hold 1s")
    wait_for(lambda: many.pool(), "the first answer")
    thread = threading.Thread(target=change)
    thread.start()
    try:
        seen = set()
        wait_for(lambda: seen.update([ask(many.port)]) or len(names.questions(SRV)) > 6, "six changes", 40)
    finally:
        over.set()
        thread.join()
    assert seen <= {b"a", b"b"} and seen and mixed
    assert {r.end for r in many.proxy.records()} <= {"client-fin", "server-fin"}


def test_nobody_is_refused_while_addresses_change(many):
    """Pitfall 56."""
    many.names.ttl = 0
    many.add(1, 2)
    many.run(head="name-hold 1s")
    many.becomes(1, 2)
    over = threading.Event()

    def change():
        while not over.wait(0.1):  # others than before whenever they are asked for
            many.add(*random.choice(((1, 2), (2, 3), (3, 4), (4, 1))))
    thread = threading.Thread(target=change)
    thread.start()
    try:
        generation = many.admin.json("status")["generation"]

        def changed_often():
            for _ in range(50):
                assert ask(many.port) in (b"1", b"2", b"3", b"4")
            return many.admin.json("status")["generation"] >= generation + 4
        wait_for(changed_often, "the servers have changed four times", 60)
    finally:
        over.set()
        thread.join()


def test_one_that_is_new_gets_no_client_before_its_check(many):
    """Pitfall 46: 127.0.0.99 is nobody."""
    many.add(1)
    many.run(more="\tcheck every=300ms fall=1 tcp\n")
    many.becomes(1)
    wait_for(lambda: many.server(1)["state"] == "up", "it is up")
    many.names.add("many.test", many.address(1), "127.0.0.99")
    wait_for(lambda: ask(many.port) == b"1" and len(many.pool()) == 2, "there are two", 20)
    assert {ask(many.port) for _ in range(50)} == {b"1"}
    metric = many.admin.metric("tcpproxy_backend_connect_failures_total",
                               server=f"many.test:{many.target}/127.0.0.99:{many.target}")
    assert not metric


# -- tcpproxyctl, and what is seen


def test_one_of_them_is_meant_by_its_address(many):
    many.add(1, 2)
    many.run()
    many.becomes(1, 2)
    many.admin.ask("drain", many.spelt(1))
    assert many.who() == "2"
    many.admin.ask("enable", many.spelt(1))
    many.admin.ask("weight", many.spelt(2), "0")
    assert many.who() == "1"
    many.admin.ask("max", many.spelt(1), "3")
    assert many.server(1)["max"] == 3
    assert many.admin.run("wait", many.spelt(2), "drained", "10s").returncode == 0


def test_the_name_means_all_also_those_that_come_later(many):
    many.add(1, 2)
    name = f"many.test:{many.target}"
    many.run(f"{name} each", many.spelt(8))
    many.becomes(1, 2, 8)
    many.admin.ask("disable", name)
    assert many.who() == "8"
    many.add(1, 2, 3)
    many.becomes(1, 2, 3, 8)
    assert many.who() == "8"
    assert f"disable {name}\n" in many.admin.ask("changes")
    many.admin.ask("enable", name)
    assert many.who(32) == "1238"


@pytest.mark.parametrize("change, key, now", [("weight {} 7", "weight", 7), ("max {} 5", "max", 5),
                                              ("force {} down", "state", "down")])
def test_the_name_s_weight_max_and_force_are_those_of_later_ones_too(many, change, key, now):
    many.add(1, 2)
    name = f"many.test:{many.target}"
    many.run(f"{name} each", many.spelt(8))
    many.becomes(1, 2, 8)
    before = many.server(8)[key]
    command = change.format(name)
    many.admin.ask(*command.split())
    many.add(1, 2, 3)
    many.becomes(1, 2, 3, 8)
    assert [many.server(i)[key] for i in (1, 2, 3, 8)] == [now] * 3 + [before]
    assert many.admin.ask("changes") == command + "\n"
    assert many.server(3)["changed"] == [command] and many.server(8)["changed"] == []
    many.admin.ask("forget", name)
    assert many.server(3)[key] == many.server(8)[key] == before and many.admin.ask("changes") == ""


def test_what_is_said_of_an_address_beats_what_is_said_of_the_name(many):
    """Whichever came first."""
    many.add(1, 2)
    name = f"many.test:{many.target}"
    many.run(f"{name} each weight=2")
    many.becomes(1, 2)
    many.admin.ask("weight", many.spelt(1), "0")
    assert many.admin.ask("weight", name, "50%").endswith("; 1 of its addresses keeps what was said of it\n")
    assert [many.server(i)["weight"] for i in (1, 2)] == [0, 1] and many.who() == "2"
    many.admin.ask("weight", many.spelt(1), "file")
    assert many.admin.ask("changes") == f"weight {name} 50%\nweight {many.spelt(1)} file\n"
    assert [many.server(i)["weight"] for i in (1, 2)] == [2, 1]
    assert f"but for what was said of {name}" in many.admin.ask("forget", many.spelt(1))
    assert [many.server(i)["weight"] for i in (1, 2)] == [1, 1]
    many.admin.ask("force", name, "down")
    many.admin.ask("force", many.spelt(2), "auto")
    assert many.who() == "2"
    many.admin.ask("weight", name, "file")
    many.admin.ask("force", name, "auto")
    assert [many.server(i)["weight"] for i in (1, 2)] == [2, 2] and many.who() == "12"


def test_out_and_in_by_the_name_is_of_all_that_are_there(many):
    many.add(1, 2)
    name = f"many.test:{many.target}"
    many.run(f"{name} each", many.spelt(8))
    many.becomes(1, 2, 8)
    many.admin.ask("enable", many.spelt(1))
    many.admin.ask("disable", name)
    assert many.who() == "8" and many.admin.ask("changes") == f"disable {name}\n"
    assert {s["server"]: s["state"] for s in many.admin.json("status")["servers"]} == {
        many.spelt(1): "disabled", many.spelt(2): "disabled", many.spelt(8): "enabled"}
    assert f"not {many.spelt(1)}: it is disabled (tcpproxyctl)" in many.admin.ask("explain", "127.0.0.1", str(many.port))
    many.admin.ask("enable", many.spelt(1))
    assert many.who() == "18" and many.admin.ask("changes") == f"disable {name}\nenable {many.spelt(1)}\n"


def test_a_drain_by_the_name_ends_what_is_left(many, start, service, admin, names):
    echo = service(host="127.0.0.21")
    names.add("echo.test", "127.0.0.21")
    many.run(f"echo.test:{echo.port} each", many.spelt(8))
    wait_for(lambda: echo.spelt in many.pool(), "it is there")
    many.admin.ask("disable", many.spelt(8))
    with connect(many.port) as s:
        talk(s)
        many.admin.ask("drain", f"echo.test:{echo.port}", "within", "0.2")
        wait_for(lambda: any(r.end == "killed" for r in many.proxy.records()), "it is ended")
        assert many.admin.run("wait", f"echo.test:{echo.port}", "drained", "30s").returncode == 0


def test_connections_end_where_the_name_is_forced_down(many, start, service, admin, names):
    echo = service(host="127.0.0.21")
    names.add("echo.test", "127.0.0.21")
    many.run(f"echo.test:{echo.port} each", more="\ton-server-down kill\n")
    wait_for(lambda: many.pool() == [echo.spelt], "it is there")
    with connect(many.port) as s:
        talk(s)
        many.admin.ask("force", f"echo.test:{echo.port}", "down")
        wait_for(lambda: any(r.end == "server-down" for r in many.proxy.records()), "it is ended")
    many.proxy.wait_log(f"server service=pool server={echo.spelt} address={echo.spelt} state=down .*forced")


def test_what_was_said_of_the_name_survives(many):
    many.add(1, 2)
    name = f"many.test:{many.target}"
    many.run(f"{name} each")
    many.becomes(1, 2)
    many.admin.ask("weight", name, "7")
    many.admin.ask("weight", many.spelt(1), "3")

    def holds():
        assert many.admin.ask("changes") == f"weight {name} 7\nweight {many.spelt(1)} 3\n"
        assert [many.server(i)["weight"] for i in (1, 2)] == [3, 7]
    many.admin.ask("reload")
    holds()
    many.proxy.expect_deaths()
    many.proxy.kill_supervisor()
    many.proxy.start_again()
    holds()
    many.admin.ask("upgrade")
    holds()
    many.proxy.rewrite(many.text(f"{name} each max=9"))
    many.admin.ask("reload")
    assert many.admin.ask("changes") == ""
    many.proxy.wait_log(f"the file says something else of {name} now, so it holds; .*weight {name} 7")


def test_what_is_in_a_file_waits_for_addresses(many, directory):
    name, home = f"many.test:{many.target}", os.path.join(directory.path, "home")
    os.mkdir(home)
    os.chmod(home, 0o777)
    many.run(f"{name} each", f"away.test:{many.target} each", head=f"state {home}/state")
    many.admin.ask("weight", name, "7")
    many.add(2, 3)
    many.becomes(2, 3)
    many.admin.ask("drain", many.spelt(2))
    many.admin.ask("remove", "pool", many.spelt(3))
    many.add()
    many.admin.ask("remove", "pool", f"away.test:{many.target}")
    many.proxy.signal(signal.SIGTERM)
    assert many.proxy.wait_exit() == 0
    many.proxy.wait_gone()
    many.proxy._run()
    many.proxy.wait_ready()
    many.add(1, 2, 3)
    wanted = sorted([f"drain {many.spelt(2)}", f"remove pool away.test:{many.target}", f"remove pool {many.spelt(3)}", f"weight {name} 7"])
    wait_for(lambda: sorted(many.admin.ask("changes").splitlines()) == wanted, "all of it, when they are there", 30)
    many.becomes(1, 2)
    assert many.server(1)["weight"] == 7 and many.who() == "1"
    assert "is left out" not in many.proxy.log()


@pytest.mark.parametrize("line", ["many.test:{} each weight=2", "srv:" + SRV])
def test_all_that_a_line_brings_is_removed_until_it_is_forgotten(many, line):
    """Those that come later, too."""
    many.add(1, 2)
    many.service((10, 1, many.target, "many.test"))
    line = line.format(many.target)
    name = line.split()[0]
    many.run(line, many.spelt(8))
    many.becomes(1, 2, 8)
    assert f"{name} brings pool no servers any more" in many.admin.ask("remove", "pool", name)
    many.becomes(8)
    assert many.who() == "8" and many.admin.ask("changes") == f"remove pool {name}\n"
    assert "already" in many.admin.refused("remove", "pool", name)
    many.add(1, 2, 3)
    wait_for(lambda: len(many.names.questions("many.test")) > 6, "it is asked on", 30)
    assert many.pool() == [many.spelt(8)]
    many.admin.ask("reload")
    many.proxy.wait_log(f"reload: {name} is still removed")
    many.proxy.expect_deaths()
    many.proxy.kill_supervisor()
    many.proxy.start_again()
    assert many.who() == "8"
    many.admin.ask("upgrade")
    assert many.who() == "8" and many.admin.ask("changes") == f"remove pool {name}\n"
    many.admin.ask("forget", name)
    many.becomes(1, 2, 3, 8)
    assert many.who(32) == "1238" and many.admin.ask("changes") == ""


def test_a_line_that_says_something_else_is_there_again(many):
    many.add(1, 2)
    name = f"many.test:{many.target}"
    many.run(f"{name} each as them", many.spelt(8))
    many.becomes(1, 2, 8)
    many.admin.ask("remove", "pool", many.spelt(2))
    many.admin.ask("remove", "pool", "them")
    many.becomes(8)
    assert many.admin.ask("changes") == f"remove pool {many.spelt(2)}\nremove pool them\n"
    many.proxy.rewrite(many.text(f"{name} each weight=3 as them", many.spelt(8)))
    many.admin.ask("reload")
    many.proxy.wait_log("forgotten: remove pool them")
    many.becomes(1, 2, 8)
    assert many.admin.ask("changes") == ""


def test_waiting_for_the_name_is_waiting_for_its_servers(many):
    name = f"many.test:{many.target}"
    many.run(f"{name} each", more="\tcheck every=200ms tcp\n")
    assert many.admin.run("wait", name, "up", "1s").returncode == 3
    many.add(1, 2)
    assert many.admin.run("wait", name, "up", "30s").returncode == 0
    assert many.pool() == [many.spelt(1), many.spelt(2)]


def test_a_service_by_its_name(many):
    many.add(1, 2, name="a.test")
    many.service((10, 1, many.target, "a.test"))
    many.run(f"srv:{SRV} as mail", many.spelt(8))
    many.becomes(1, 2, 8)
    many.admin.ask("disable", "mail")
    assert many.who() == "8"
    many.admin.ask("enable", "pool/mail")
    assert many.who(32) == "128"


def test_its_metrics_are_by_name_and_address(many):
    many.add(1, 2)
    many.run()
    many.becomes(1, 2)
    assert many.who() == "12"
    for i in (1, 2):
        wait_for(lambda i=i: many.admin.metric("tcpproxy_backend_connections_total",
                                               server=f"many.test:{many.target}/{many.spelt(i)}"), "its connections")
    assert f'server="many.test:{many.target}"' not in many.admin.ask("metrics")
    assert [s["server"] for s in many.admin.json("status")["servers"]] == [many.spelt(1), many.spelt(2)]


def test_one_that_comes_back_has_its_counters_again(many):
    many.add(1, 2)
    many.run(head="name-hold 1s")
    many.becomes(1, 2)
    assert many.who() == "12"
    label = f"many.test:{many.target}/{many.spelt(2)}"
    wait_for(lambda: many.admin.metric("tcpproxy_backend_connections_total", server=label), "it is counted")
    before = many.admin.metric("tcpproxy_backend_connections_total", server=label)
    many.add(1)
    many.becomes(1)
    many.add(1, 2)
    many.becomes(1, 2)
    assert many.admin.metric("tcpproxy_backend_connections_total", server=label) >= before


def test_each_is_checked(many):
    many.names.add("many.test", many.address(1), "127.0.0.99")
    many.run(more="\tcheck every=200ms fall=1 tcp\n")
    wait_for(lambda: {s["state"] for s in many.admin.json("servers")["servers"]} == {"up", "down"}, "one is down", 20)
    assert many.who() == "1"
    many.proxy.wait_log(f"server service=pool server=127.0.0.99:{many.target}")


# -- what survives


def test_a_reload_keeps_them(many):
    many.names.ttl = 86400
    many.add(1, 2)
    many.run()
    many.becomes(1, 2)
    many.names.silent.add("many.test")
    many.proxy.rewrite(many.text(more="\ttimeout 77\n"))
    assert "in force" in many.admin.ask("reload")
    assert many.pool() == [many.spelt(1), many.spelt(2)] and many.who() == "12"


def test_the_next_supervisor_has_them_before_the_first_answer(many):
    many.add(1, 2)
    many.run()
    many.becomes(1, 2)
    many.names.silent.add("many.test")
    many.proxy.expect_deaths()
    many.proxy.kill_supervisor()
    assert many.who() == "12"
    many.proxy.start_again()
    assert many.pool() == [many.spelt(1), many.spelt(2)] and many.who() == "12"


def test_so_does_the_next_program(many):
    many.add(1, 2)
    many.run()
    many.becomes(1, 2)
    many.admin.ask("disable", many.spelt(2))
    many.names.silent.add("many.test")
    many.proxy.expect_deaths()
    many.admin.ask("upgrade")
    assert many.pool() == [many.spelt(1), many.spelt(2)] and many.who() == "1"


def test_the_next_checker_goes_on_with_them(many):
    many.add(1, 2, name="a.test")
    many.service((10, 1, many.target, "a.test"))
    many.run(f"srv:{SRV}")
    many.becomes(1, 2)
    checker, = many.proxy.role("checker")
    many.proxy.expect_deaths()
    many.names.silent.update(["a.test"])
    os.kill(checker, signal.SIGKILL)
    wait_for(lambda: many.proxy.role("checker") not in ([], [checker]), "another one")
    asked = len(many.names.questions("a.test"))
    wait_for(lambda: len(many.names.questions("a.test")) > asked, "which asks")
    assert many.pool() == [many.spelt(1), many.spelt(2)]
    many.names.silent.clear()
    many.add(1, 2, 3, name="a.test")
    many.becomes(1, 2, 3)


def test_a_reload_brings_and_takes_them(many):
    many.add(1, 2)
    many.run(many.spelt(8))
    assert many.proxy.role("checker") == []
    many.proxy.rewrite(many.text())
    many.admin.ask("reload")
    many.becomes(1, 2)
    many.proxy.rewrite(many.text(many.spelt(8)))
    many.admin.ask("reload")
    many.becomes(8)
    asked = len(many.names.questions("many.test"))
    stays(lambda: len(many.names.questions("many.test")) <= asked + 2, "nobody asks", 2)


def test_a_worker_that_dies_finds_them(many):
    many.add(1, 2)
    many.run()
    many.becomes(1, 2)
    many.proxy.expect_deaths()
    for pid in many.proxy.workers():
        os.kill(pid, signal.SIGKILL)
    assert many.who() == "12"


# -- when all are gone


def test_with_no_servers_the_port_may_refuse(many):
    many.run(more="\ton-down refuse\n", wait=False)
    many.proxy.wait_log("it refuses clients now")

    def refuses():
        try:
            with connect(many.port):
                return False
        except ConnectionRefusedError:
            return True
    wait_for(refuses, "nobody is there")
    many.add(1)
    wait_for(lambda: not refuses() and answer(many.port) == b"1", "it accepts", 30)


def test_a_client_may_be_held_until_there_is_one(many):
    many.run(more="\ton-down hold 60\n")
    with connect(many.port, timeout=60) as s:
        many.admin.wait_connection(state="held")
        many.add(1)
        assert read_all(s) == b"1"


def test_its_connections_are_found_by_the_name(many, service, names):
    echo = service(host="127.0.0.21")
    names.add("echo.test", "127.0.0.21")
    name = f"echo.test:{echo.port}"
    many.run(f"{name} each")
    wait_for(lambda: many.pool() == [echo.spelt], "the only one")
    with connect(many.port) as s:
        talk(s)
        many.admin.wait_connections(1, f"server={name}")
        many.admin.wait_connections(1, f"server={echo.spelt}")
        many.admin.ask("kill", f"server={name}")
        many.admin.wait_connections(0)


# -- one connection on stdin


@pytest.mark.parametrize("line", ["many.test:{port} each", "srv:_mail._tcp.test"])
def test_one_connection(directory, names, service, line):
    """The way of inetd: what the line stands for is tried in turn."""
    target = service(say("hello"))
    names.add("many.test", "127.0.0.99", "127.0.0.1")
    names.add_service(SRV, (20, 1, target.port, "many.test"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        config = directory.write("one.conf", f"standalone no\nresolver {names.spelt}\nport {port}\nserver "
                                 + line.format(port=target.port) + "\n")
        with connect(port) as client, listening.accept()[0] as s:
            p = subprocess.Popen([BINARY, "-f", config], stdin=s, stdout=s, stderr=subprocess.PIPE,
                                 env=directory.environment())
            s.close()
            assert read_all(client) == b"hello", p.stderr.read()
    assert p.wait(20) == 0, p.stderr.read()
    p.stderr.close()
