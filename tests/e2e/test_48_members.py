"""Servers that come and go while it runs: tcpproxyctl add and remove."""
import os
import signal
from collections import Counter

import pytest

from lib.page import Page
from lib.peers import ask, connect, gets_reset, say, talk
from lib.ports import free_port
from lib.waiting import outlast_fuser

TOKEN = "a-token-of-this-test-0123456789"


class Pool:
    """A port with the server a; b and c are there, too. Each says who it is."""

    def __init__(self, start, service, admin):
        self.admin, self.port = admin, free_port()
        self.all = {name: service(say(name)) for name in "abc"}
        self.a, self.b, self.c = (s.spelt for s in self.all.values())
        self.proxy = start(config=self.text())

    def text(self, *lines):
        return f"{self.admin.line}port {self.port} as db\n" + "".join(f"server {line}\n" for line in lines or (self.a,))

    def reload(self, text):
        self.proxy.rewrite(text)
        return self.admin.ask("reload")

    def shares(self, n=12):
        return Counter(ask(self.port).decode() for _ in range(n))

    def who(self):
        return "".join(sorted(self.shares()))

    def list(self, *words):
        return [s["server"] for s in self.admin.json("servers", *words)["servers"]]

    def changes(self):
        return self.admin.ask("changes").splitlines()


@pytest.fixture
def pool(start, service, admin):
    return Pool(start, service, admin)


# -- add

def test_one_more_server(pool, admin):
    assert admin.ask("add", "db", f"{pool.b} weight=2 max=9") == f"{pool.b} is a server of db now\n"
    assert pool.list() == [pool.a, pool.b]
    assert pool.shares(12) == {"a": 4, "b": 8}
    b = admin.json("servers")["servers"][1]
    assert (b["weight"], b["weight_file"], b["max"], b["state"]) == (2, 2, 9, "up")
    assert b["changed"] == [f"add db '{pool.b} weight=2 max=9'"]
    assert pool.changes() == [f"add db '{pool.b} weight=2 max=9'"]
    admin.ask("add", pool.port, pool.c, "backup")
    assert pool.list() == [pool.a, pool.b, pool.c]


def test_what_cannot_be_added(pool, admin, start):
    assert "no service" in admin.refused("add", "web", pool.b)
    assert "already" in admin.refused("add", "db", pool.a)
    assert "weight" in admin.refused("add", "db", f"{pool.b} weight=1001")
    assert "is no server" in admin.refused("add", "db", "not:a:server")
    assert "add SERVICE" in admin.refused("add", "db")
    assert "no server" in admin.refused("remove", "db", pool.b)
    assert "remove SERVICE SERVER" in admin.refused("remove", "db")
    assert pool.changes() == [] and pool.list() == [pool.a]


def test_the_only_pool_of_a_service_may_be_that_of_its_interface(start, service, admin):
    """It needs no name: who reads "db" beside its servers means these."""
    port = free_port()
    a, b, c = (service(say(name)) for name in "abc")
    text = f"{admin.line}port {port} as db\ninterface 127.0.0.1\nserver {a.spelt}\n"
    proxy = start(config=text)
    admin.ask("add", "db", b.spelt)
    assert Counter(ask(port) for _ in range(6)) == {b"a": 3, b"b": 3}
    assert admin.ask("changes") == f"add db {b.spelt}\n"
    admin.ask("remove", "db", b.spelt)
    assert admin.ask("changes") == "" and ask(port) == b"a"
    proxy.rewrite(text + f"interface 127.0.0.2\nserver {c.spelt}\n")
    admin.ask("reload")
    assert "give them names (interface ADDRESS as NAME)" in admin.refused("add", "db", b.spelt)


def test_one_that_was_added_is_removed(pool, admin):
    admin.ask("add", "db", pool.b)
    with connect(pool.port) as c, connect(pool.port) as d:
        assert {c.recv(1), d.recv(1)} == {b"a", b"b"}
        assert "no server of db any more" in admin.ask("remove", "db", pool.b)
    assert pool.list() == [pool.a] and pool.who() == "a" and pool.changes() == []
    admin.ask("add", "db", pool.b)
    assert f"{pool.b} is as the file says" in admin.ask("forget", pool.b)
    assert pool.list() == [pool.a]


def test_commands_of_an_added_server(pool, admin):
    admin.ask("add", "db", f"{pool.b} as two")
    admin.ask("weight", "two", 3)
    assert pool.changes() == [f"add db '{pool.b} as two'", "weight db/two 3"]
    admin.ask("disable", "two")
    assert pool.who() == "a"
    admin.ask("forget", "all")
    assert pool.changes() == [] and pool.list() == [pool.a]


# -- remove

def test_one_of_the_file_is_removed_until_it_is_forgotten(pool, admin):
    pool.reload(pool.text(pool.a, f"{pool.b} as two"))
    assert pool.who() == "ab"
    admin.ask("remove", "db", "two")
    assert pool.who() == "a" and pool.list() == [pool.a]
    assert pool.changes() == ["remove db two"]
    assert "already" in admin.refused("remove", "db", "two")
    pool.reload(pool.text(pool.a, f"{pool.b} as two"))
    pool.proxy.wait_log(r"two is still removed \(tcpproxyctl forget two\)")
    assert pool.who() == "a"
    admin.ask("forget", "two")
    assert pool.who() == "ab" and pool.changes() == []


def test_connections_of_one_that_is_removed_stay(start, service, admin):
    echo, port = service(), free_port()
    start(config=f"{admin.line}port {port}\nserver {echo.spelt}\n")
    with connect(port) as c:
        talk(c)
        admin.ask("remove", port, echo.spelt)
        assert gets_reset(port)
        talk(c)
        admin.ask("forget", echo.spelt)
        with connect(port) as d:
            talk(d)
        talk(c)


def test_the_file_wins_where_it_speaks(pool, admin):
    pool.reload(pool.text(pool.a, pool.b))
    admin.ask("remove", "db", pool.b)
    admin.ask("add", "db", pool.c)
    pool.reload(pool.text(pool.a, f"{pool.b} weight=2", pool.c))
    assert pool.changes() == [] and pool.list() == [pool.a, pool.b, pool.c]
    pool.proxy.wait_log(f"forgotten: remove db {pool.b}")
    pool.proxy.wait_log(f"{pool.c} of db, which tcpproxyctl had added, is in the file now")
    pool.reload(pool.text(pool.a, pool.b))
    assert pool.list() == [pool.a, pool.b]


def test_adding_one_again_that_was_removed_brings_it_back(pool, admin):
    pool.reload(pool.text(pool.a, f"{pool.b} weight=2"))
    admin.ask("remove", "db", pool.b)
    assert "forget" in admin.refused("add", "db", f"{pool.b} weight=3")
    admin.ask("add", "db", f"{pool.b} weight=2")
    assert pool.changes() == [] and pool.list() == [pool.a, pool.b]


# -- what it survives

def changed(pool):
    pool.admin.ask("add", "db", f"{pool.b} weight=2")
    pool.admin.ask("add", "db", pool.c)
    pool.admin.ask("remove", "db", pool.a)
    return [f"add db '{pool.b} weight=2'", f"add db {pool.c}", f"remove db {pool.a}"]


def as_changed(pool, changes):
    assert pool.changes() == changes
    assert pool.list() == [pool.b, pool.c] and pool.who() == "bc"


def test_changes_survive_the_death_of_each(pool):
    changes = changed(pool)
    pool.proxy.expect_deaths()
    for pid in pool.proxy.workers() + pool.proxy.role("spawner"):
        os.kill(pid, signal.SIGKILL)
    pool.proxy.wait_whole()
    as_changed(pool, changes)
    outlast_fuser()
    pool.proxy.kill_supervisor()
    pool.proxy.start_again()
    as_changed(pool, changes)


def test_changes_survive_a_reload_and_an_upgrade(pool):
    changes = changed(pool)
    pool.reload(pool.text())
    as_changed(pool, changes)
    pool.proxy.expect_deaths()
    pool.admin.ask("upgrade")
    as_changed(pool, changes)


# -- from outside

def test_the_page_adds_and_removes(start, service, directory):
    page, a, b, port = Page(directory.write("token", TOKEN + "\n", mode=0o600)), service(say("a")), service(say("b")), free_port()
    start(config=f"{page.line}\nport {port}\nserver {a.spelt}\n")
    assert page.command(f"add {port} {b.spelt}", TOKEN) == (200, f"{b.spelt} is a server of {port} now")
    assert {ask(port) for _ in range(4)} == {b"a", b"b"}
    assert page.command(f"remove {port} {a.spelt}", TOKEN)[0] == 200
    assert {ask(port) for _ in range(4)} == {b"b"}
