"""servers file:PATH: lists that are read again when they change, whole or not at all."""
import os
import pathlib

import pytest

from lib.peers import ask, connect, gets_reset, say
from lib.ports import free_port
from lib.waiting import wait_for


class Listed:
    """A port whose servers stand in a list; a, b, c say who they are."""

    def __init__(self, start, service, admin, directory, more=""):
        self.admin, self.port = admin, free_port()
        self.servers = {name: service(say(name)) for name in "abc"}
        self.a, self.b, self.c = (s.spelt for s in self.servers.values())
        self.path = pathlib.Path(directory / "pool.list")
        self.more = more
        self.start = start

    def text(self, more=""):
        return f"{self.admin.line}port {self.port}\n\tservers file:{self.path}\n{self.more}{more}"

    def run(self, *lines, **options):
        if lines:
            self.write(*lines)
        self.proxy = self.start(config=self.text(), **options)
        return self

    def write(self, *lines):
        self.path.write_text("".join(f"{line}\n" for line in lines))

    def replace(self, *lines):
        new = self.path.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in lines))
        os.rename(new, self.path)

    def pool(self):
        return [s["server"] for s in self.admin.json("servers")["servers"]]

    def becomes(self, *spelt):
        wait_for(lambda: self.pool() == list(spelt), f"the pool is {spelt}")

    def who(self, n=6):
        return "".join(sorted({ask(self.port).decode() for _ in range(n)}))


@pytest.fixture
def listed(start, service, admin, directory):
    return Listed(start, service, admin, directory)


def test_the_servers_of_a_list_serve(listed):
    listed.run(f"{listed.a} # the first", "", "# and another", f"\t{listed.b} weight=2 max=7")
    assert listed.pool() == [listed.a, listed.b]
    assert listed.who() == "ab"
    b = listed.admin.json("servers")["servers"][1]
    assert (b["weight"], b["max"]) == (2, 7)


def test_a_list_is_read_again_when_it_changes(listed):
    listed.run(listed.a)
    with connect(listed.port) as c:
        assert c.recv(1) == b"a"
        listed.write(listed.b)
        listed.becomes(listed.b)
        assert listed.who() == "b"
        listed.replace(listed.b, listed.c)
        listed.becomes(listed.b, listed.c)
        assert listed.who() == "bc"


def test_an_empty_list_is_none(listed):
    listed.run("none")
    assert listed.pool() == []
    assert gets_reset(listed.port)
    listed.write(listed.a)
    listed.becomes(listed.a)
    assert listed.who() == "a"


def test_a_missing_list_is_no_error(listed):
    listed.run()
    assert listed.pool() == []
    listed.write(listed.a)
    listed.becomes(listed.a)


def test_a_wrong_list_keeps_the_old(listed):
    listed.run(listed.a)
    listed.write(listed.b, "not:a:server")
    listed.proxy.wait_log(rf"{listed.path}:2:1: .*not:a:server")
    assert listed.pool() == [listed.a]


def test_the_members_survive_their_supervisor(listed):
    listed.run(listed.a, listed.b)
    os.unlink(listed.path)
    listed.proxy.wait_log("cannot read")
    listed.proxy.kill_supervisor()
    listed.proxy.start_again()
    assert listed.pool() == [listed.a, listed.b]
    assert listed.who() == "ab"
