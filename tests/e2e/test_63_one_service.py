"""tcpproxyctl ... SERVICE/SERVER: a server without a name is changed in one of the services that have it."""
import os
import signal

import pytest

from lib.peers import ask, connect, gets_reset, say, talk
from lib.ports import free_port
from lib.waiting import wait_for


class Two:
    """The services one and two with the same servers a and b, each of which says who it is."""

    def __init__(self, start, service, admin):
        self.admin, self.begin = admin, start
        self.servers = service(say("a")), service(say("b"))
        self.a, self.b = (s.spelt for s in self.servers)
        self.one, self.two = free_port(), free_port()
        self.proxy = None

    def text(self, head="", one="", two="", a="", names=(" as one", " as two")):
        return head + self.admin.line + "".join(
            f"port {port}{name}\nserver {self.a} {said}\nserver {self.b}\n{more}\n"
            for port, name, said, more in ((self.one, names[0], a, one), (self.two, names[1], "", two)))

    def run(self, **more):
        self.proxy = self.begin(config=self.text(**more))
        return self

    def reload(self, **more):
        self.proxy.rewrite(self.text(**more))
        assert "in force" in self.admin.ask("reload")

    def who(self, port, n=8):
        return "".join(sorted({ask(port).decode() for _ in range(n)}))

    def both(self):
        return self.who(self.one), self.who(self.two)

    def member(self, service, server):
        return next(s for s in self.admin.json("servers", service)["servers"] if s["server"] == server)

    def changes(self):
        return self.admin.ask("changes").splitlines()


@pytest.fixture
def two(start, service, admin):
    return Two(start, service, admin)


# -- there, and only there

@pytest.mark.parametrize("command", ["disable", "drain"])
def test_out_in_one_service_only(two, command):
    two.run()
    two.admin.ask(command, f"one/{two.a}")
    assert two.both() == ("b", "ab") and two.changes() == [f"{command} one/{two.a}"]
    assert two.member("one", two.a)["changed"] == [f"{command} one/{two.a}"] and two.member("two", two.a)["changed"] == []
    assert f"not {two.a}: it is {command}" in two.admin.ask("explain", "127.0.0.1", str(two.one))
    assert f"not {two.a}: it is {command}" not in two.admin.ask("explain", "127.0.0.1", str(two.two))
    assert two.admin.server(two.a)["state"] == "enabled"  # somewhere
    two.admin.ask(command, f"two/{two.a}")
    assert two.admin.server(two.a)["state"] in ("disabled", "drained")
    two.admin.ask("enable", f"one/{two.a}")
    assert two.both() == ("ab", "b")
    two.admin.ask("forget", f"two/{two.a}")
    assert two.both() == ("ab", "ab") and two.changes() == []


def test_the_service_may_stand_before_it_or_be_a_port(two):
    two.run(names=("", ""))
    two.admin.ask("disable", f"service={two.one}", two.a)
    two.admin.ask("disable", f"{two.two}/{two.b}")
    assert two.both() == ("b", "a")
    assert two.changes() == [f"disable {two.one}/{two.a}", f"disable {two.two}/{two.b}"] or two.changes() == [
        f"disable {two.two}/{two.b}", f"disable {two.one}/{two.a}"]
    two.admin.ask("forget", "all")
    assert two.both() == ("ab", "ab") and two.changes() == []


def test_weight_and_max_in_one_service_only(two):
    two.run()
    two.admin.ask("weight", f"one/{two.a}", "7")
    two.admin.ask("max", f"two/{two.a}", "3")
    found = [(two.member(s, two.a)["weight"], two.member(s, two.a)["max"]) for s in ("one", "two")]
    assert found == [(7, 0), (1, 3)]
    assert sorted(two.changes()) == [f"max two/{two.a} 3", f"weight one/{two.a} 7"]
    two.admin.ask("weight", f"one/{two.a}", "0")
    assert two.both() == ("b", "ab")
    two.admin.ask("weight", f"one/{two.a}", "file")
    two.admin.ask("max", f"two/{two.a}", "file")
    assert two.both() == ("ab", "ab") and two.changes() == []


def test_forced_down_in_one_service_it_is_told_there(two):
    two.run()
    two.admin.ask("force", f"one/{two.a}", "down")
    assert two.both() == ("b", "ab")
    assert (two.member("one", two.a)["state"], two.member("two", two.a)["state"]) != ("down", "down")
    two.proxy.wait_log(f"server service=one server={two.a} .*state=down .*forced")
    two.admin.ask("force", f"one/{two.a}", "auto")
    two.proxy.wait_log(f"server service=one server={two.a} .*was=down")
    two.admin.ask("force", two.a, "down")
    two.proxy.wait_log(f"server service=two server={two.a} .*state=down .*forced")
    log = two.proxy.log()
    assert log.count(f"service=one server={two.a} address={two.a} state=down") == 2
    assert log.count(f"service=two server={two.a} address={two.a} state=down") == 1


def test_connections_end_where_it_is_forced_down(start, service, admin):
    echo, one, two = service(), free_port(), free_port()
    proxy = start(config=f"{admin.line}on-server-down kill\nport {one} as one\nserver {echo.spelt}\n"
                         f"port {two} as two\nserver {echo.spelt}\n")
    with connect(one) as a, connect(two) as b:
        talk(a)
        talk(b)
        admin.ask("force", f"one/{echo.spelt}", "down")
        wait_for(lambda: [r.end for r in proxy.records()] == ["server-down"], "the one has ended")
        talk(b)
        admin.ask("force", echo.spelt, "down")
        wait_for(lambda: [r.end for r in proxy.records()] == ["server-down"] * 2, "the other, too")


def test_a_drain_of_one_service_ends_its_connections(start, service, admin):
    echo, one, two = service(), free_port(), free_port()
    proxy = start(config=f"{admin.line}port {one} as one\nserver {echo.spelt}\nport {two} as two\nserver {echo.spelt}\n")
    with connect(one) as a, connect(two) as b:
        talk(a)
        talk(b)
        assert admin.run("wait", f"one/{echo.spelt}", "drained", "0.1").returncode == 3
        admin.ask("drain", f"one/{echo.spelt}", "within", "0.3")
        wait_for(lambda: [r.end for r in proxy.records()] == ["killed"], "the one has ended")
        assert admin.run("wait", f"one/{echo.spelt}", "drained", "30s").returncode == 0
        assert admin.run("wait", echo.spelt, "drained", "0.1").returncode == 3
        talk(b)


# -- what counts

def test_what_is_said_of_it_there_beats_what_is_said_of_it_everywhere(two):
    two.run(a="weight=2")
    two.admin.ask("weight", f"one/{two.a}", "5")
    assert two.admin.ask("weight", two.a, "3").endswith("; in 1 service it keeps what was said of it there\n")
    assert [two.member(s, two.a)["weight"] for s in ("one", "two")] == [5, 3]
    two.admin.ask("weight", f"one/{two.a}", "file")
    assert [two.member(s, two.a)["weight"] for s in ("one", "two")] == [2, 3]
    assert two.changes() == [f"weight {two.a} 3", f"weight one/{two.a} file"]
    assert f"but for what was said of {two.a}" in two.admin.ask("forget", f"one/{two.a}")
    assert [two.member(s, two.a)["weight"] for s in ("one", "two")] == [3, 3]
    two.admin.ask("force", f"one/{two.a}", "down")
    two.admin.ask("forget", two.a)
    assert two.changes() == [] and two.both() == ("ab", "ab")


def test_out_everywhere_is_everywhere(two):
    two.run()
    two.admin.ask("enable", f"one/{two.a}")
    two.admin.ask("disable", two.a)
    assert two.both() == ("b", "b") and two.changes() == [f"disable {two.a}"]
    two.admin.ask("enable", f"one/{two.a}")
    assert two.both() == ("ab", "b") and two.changes() == [f"disable {two.a}", f"enable one/{two.a}"]
    two.admin.ask("enable", two.a)
    assert two.both() == ("ab", "ab") and two.changes() == []


def test_a_section_with_a_name_is_a_part_of_its_service(start, service, admin):
    a, b, port = service(say("a")), service(say("b")), free_port()
    start(config=f"{admin.line}port {port} as db\nserver {a.spelt}\nserver {b.spelt}\n"
                 f"interface 127.0.0.1 as lan\nserver {a.spelt}\nserver {b.spelt}\n"
                 f"interface 127.0.0.2\nserver {a.spelt}\nserver {b.spelt}\n")

    def who(host):
        return "".join(sorted({ask(port, host=host).decode() for _ in range(8)}))
    admin.ask("disable", f"lan/{a.spelt}")
    assert (who("127.0.0.1"), who("127.0.0.2")) == ("b", "ab")
    admin.ask("disable", f"db/{b.spelt}")
    assert gets_reset(port) and who("127.0.0.2") == "a"
    admin.ask("enable", f"lan/{b.spelt}")
    assert (who("127.0.0.1"), who("127.0.0.2")) == ("b", "a")
    admin.ask("enable", f"db/{a.spelt}")  # all of it
    assert (who("127.0.0.1"), who("127.0.0.2")) == ("ab", "a")
    admin.ask("forget", f"db/{b.spelt}")
    assert (who("127.0.0.1"), who("127.0.0.2")) == ("ab", "ab")
    assert admin.ask("changes") == ""


def test_a_line_that_stands_for_many_in_one_service(two, start, service, names):
    first = service(say("1"), host="127.0.0.11")
    service(say("2"), host="127.0.0.12", port=first.port)
    service(say("3"), host="127.0.0.13", port=first.port)
    names.add("many.test", "127.0.0.11", "127.0.0.12")
    name = f"many.test:{first.port}"
    two.proxy = start(config=f"resolver {names.spelt}\n{two.admin.line}port {two.one} as one\nserver {name} each\n"
                             f"port {two.two} as two\nserver {name} each\n")
    wait_for(lambda: len(two.admin.json("servers")["servers"]) == 4, "they are there")
    two.admin.ask("weight", f"one/{name}", "7")
    one = f"127.0.0.11:{first.port}"
    two.admin.ask("disable", f"one/{one}")
    assert (two.who(two.one), two.who(two.two)) == ("2", "12")
    names.add("many.test", "127.0.0.11", "127.0.0.12", "127.0.0.13")
    wait_for(lambda: len(two.admin.json("servers")["servers"]) == 6, "one more")
    assert [two.member(s, f"127.0.0.13:{first.port}")["weight"] for s in ("one", "two")] == [7, 1]
    assert two.changes() == [f"weight one/{name} 7", f"disable one/{one}"]
    two.admin.ask("enable", one)  # everywhere
    two.admin.ask("disable", f"one/{name}")
    assert gets_reset(two.one) and two.who(two.two, 16) == "123"
    two.admin.ask("force", f"two/{name}", "down")
    two.proxy.wait_log(f"server service=two server={one} .*state=down .*forced")
    assert gets_reset(two.two)
    assert "service=one" not in "".join(line for line in two.proxy.log().splitlines() if "state=down" in line)
    two.admin.ask("forget", f"two/{name}")
    two.admin.ask("forget", f"one/{name}")
    assert two.who(two.one, 16) == "123" and two.changes() == []


# -- what it survives

def test_it_survives(two):
    two.run()
    two.admin.ask("disable", f"one/{two.a}")
    two.admin.ask("weight", f"two/{two.b}", "0")
    two.admin.ask("max", f"two/{two.a}", "9")
    wanted = sorted([f"disable one/{two.a}", f"weight two/{two.b} 0", f"max two/{two.a} 9"])

    def holds():
        assert two.both() == ("b", "a") and sorted(two.changes()) == wanted
    holds()
    two.admin.ask("reload")
    two.proxy.wait_log(f"reload: one/{two.a} still differs from the file: disable one/{two.a}")
    holds()
    two.proxy.kill_supervisor()
    assert two.both() == ("b", "a")
    two.proxy.start_again()
    holds()
    two.proxy.kill_workers()
    holds()
    two.admin.ask("upgrade")
    holds()


def test_the_file_wins_where_it_speaks_of_that_service(two):
    two.run()
    two.admin.ask("weight", f"one/{two.a}", "7")
    two.admin.ask("weight", f"two/{two.a}", "8")
    two.reload(a="max=3")
    assert two.changes() == [f"weight two/{two.a} 8"]
    two.proxy.wait_log(f"the file says something else of one/{two.a} now, so it holds; .*weight one/{two.a} 7")
    two.admin.ask("disable", f"one/{two.b}")
    two.proxy.rewrite(f"{two.admin.line}port {two.one} as one\nserver {two.a}\nport {two.two} as two\nserver {two.b}\n")
    two.admin.ask("reload")
    assert two.changes() == []
    two.proxy.wait_log(f"two/{two.a} is no server any more; .*weight two/{two.a} 8")
    two.reload()
    assert two.changes() == [f"disable one/{two.b}"]  # as of any server


def test_it_is_kept_in_a_file(two, directory):
    home = directory / "home"
    os.mkdir(home)
    os.chmod(home, 0o777)
    head = f"state {home}/state\n"
    two.run(head=head)
    two.admin.ask("disable", f"one/{two.a}")
    two.admin.ask("weight", f"two/{two.b}", "0")
    before = two.changes()
    two.proxy.signal(signal.SIGTERM)
    assert two.proxy.wait_exit() == 0
    two.proxy.wait_gone()
    two.proxy._run()
    two.proxy.wait_ready()
    assert two.changes() == before and two.both() == ("b", "a")
    two.proxy.signal(signal.SIGTERM)
    assert two.proxy.wait_exit() == 0
    two.proxy.wait_gone()
    two.proxy.rewrite(two.text(head=head, a="weight=3 disabled"))
    two.proxy._run()
    two.proxy.wait_ready()
    assert two.changes() == [f"weight two/{two.b} 0"]
    two.proxy.wait_log(f"the file says something else of one/{two.a} now")
