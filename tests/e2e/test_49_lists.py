"""servers file:PATH: lists that are read again when they change, whole or not at all."""
import os
import pathlib
import re
import socket
import subprocess
import time

import pytest

from lib import kernel
from lib.peers import ask, connect, gets_reset, read_all, refused, say, talk
from lib.ports import free_port
from lib.waiting import stays, wait_for


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


# -- how a list changes

def test_in_place_renamed_over_and_behind_a_link_that_is_swapped(listed, directory):
    """As Kubernetes does it: pool.list -> ..data/pool.list, ..data -> a directory, which is swapped."""
    first, second = (pathlib.Path(directory / name) for name in ("..first", "..second"))
    for folder, spelt in ((first, listed.a), (second, listed.b)):
        folder.mkdir()
        (folder / "pool.list").write_text(f"{spelt}\n")
    os.symlink("..first", directory / "..data")
    os.symlink("..data/pool.list", listed.path)
    listed.run()
    assert listed.pool() == [listed.a]
    os.symlink("..second", directory / "..tmp")
    os.rename(directory / "..tmp", directory / "..data")
    listed.becomes(listed.b)
    (second / "pool.list").write_text(f"{listed.c}\n")
    listed.becomes(listed.c)
    listed.replace(listed.a)  # over the link
    listed.becomes(listed.a)
    os.unlink(listed.path)
    listed.proxy.wait_log("cannot read .*pool.list: No such file")
    assert listed.pool() == [listed.a]
    listed.write(listed.b)
    listed.becomes(listed.b)


def test_each_change_is_seen_within_a_second(listed):
    """Ten of them in a row: what is only looked at now and then would take longer."""
    listed.run(listed.a)
    began = time.monotonic()
    for i in range(10):
        spelt = (listed.b, listed.a)[i % 2]
        listed.replace(spelt)
        listed.becomes(spelt)
    assert time.monotonic() - began < 10 * 2


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_a_file_of_roots_alone(listed, directory):
    listed.run(listed.a)
    listed.proxy.stop()
    private = pathlib.Path(directory / "private")
    private.mkdir(mode=0o700)
    listed.path = private / "pool.list"
    listed.run(listed.a)
    assert listed.pool() == [listed.a]
    listed.replace(listed.b)
    listed.becomes(listed.b)


# -- whole or not at all

@pytest.mark.parametrize("text, why", [
    ("", "1:1: the list is empty"),
    ("{b}\n{c}", "2:[0-9]+: the last line does not end in a newline"),
    ("{b}\n{c} weight=1001\n", "2:[0-9]+: .*weight"),
    ("# {b}\n", "1:1: there is no server"),
    ("none\n{b}\n", "2:1: \"none\" says that there are no servers"),
    ("{b}\n/bin/cat\n", "2:1: \"/bin/cat\" is no server of a list"),
])
def test_what_is_wrong_changes_nothing_and_is_logged_once(listed, text, why):
    listed.run(listed.a)
    wrong = text.format(b=listed.b, c=listed.c)
    for _ in range(3):
        listed.path.write_text(wrong)
        listed.proxy.wait_log(f"{listed.path}:{why}")
        listed.admin.ask("reload")
    assert listed.pool() == [listed.a] and listed.who() == "a"
    lines = [line for line in listed.proxy.log().splitlines() if re.search(f"{listed.path}:{why}", line)]
    assert len(lines) == 1, lines
    listed.replace(listed.b)
    listed.becomes(listed.b)
    listed.path.write_text(wrong)  # once more: this is another change
    wait_for(lambda: len(re.findall(f"{listed.path}:{why}", listed.proxy.log())) == 2, "it is logged again")


def test_a_file_that_is_written_slowly_is_never_half_taken(listed):
    """Pitfalls 83, 85: truncated, written in pieces, for ever."""
    listed.run(listed.a, listed.b, listed.c)
    whole = f"{listed.a}\n{listed.b}\n{listed.c}\n"
    pools = set()
    for _ in range(20):
        with open(listed.path, "w") as f:
            for at in range(0, len(whole), 7):
                f.write(whole[at:at + 7])
                f.flush()
                if not whole[at:at + 7].endswith("\n"):
                    pools.add(tuple(listed.pool()))
    assert pools == {(listed.a, listed.b, listed.c)}


# -- with others in a pool

def test_lists_and_lines_make_one_pool(listed, start, service, directory):
    listed.more = f"\tserver {listed.c}\n\tservers file:{directory / 'other.list'}\n"
    pathlib.Path(directory / "other.list").write_text(f"{listed.b}\n{listed.a}\n")
    listed.run(listed.a)
    assert listed.pool() == [listed.a, listed.c, listed.b]
    listed.write("none")
    listed.becomes(listed.c, listed.b, listed.a)


def test_a_section_inherits_a_list(listed):
    listed.more = "\tinterface 127.0.0.1 as home\n\t\ttimeout 60\n"
    listed.run(listed.a)
    listed.write(listed.b)
    wait_for(lambda: listed.pool() == [listed.b, listed.b], "both have it")
    assert listed.who() == "b"


def test_one_of_a_list_is_removed_and_one_is_added(listed):
    listed.run(listed.a, listed.b)
    listed.admin.ask("remove", listed.port, listed.b)
    listed.admin.ask("add", listed.port, listed.c)
    assert listed.pool() == [listed.a, listed.c]
    listed.write(listed.b, listed.a)
    listed.write(listed.b, listed.a, "127.0.0.9:9 backup")
    listed.becomes(listed.a, "127.0.0.9:9", listed.c)
    listed.write(f"{listed.b} weight=2", listed.a, listed.c)
    listed.becomes(listed.b, listed.a, listed.c)
    assert listed.admin.ask("changes") == ""


def test_changes_of_a_server_that_stays_are_kept(listed):
    listed.run(listed.a, listed.b)
    listed.admin.ask("weight", listed.a, 3)
    listed.admin.ask("disable", listed.b)
    listed.write(listed.c, listed.b, listed.a)
    listed.becomes(listed.c, listed.b, listed.a)
    assert listed.admin.ask("changes").splitlines() == [f"weight {listed.a} 3", f"disable {listed.b}"]


# -- checks, clients

def test_a_new_server_gets_no_client_before_its_first_check(listed, directory):
    """Pitfalls 46 and 47: a dead one is added under load; it is checked as its section says."""
    listed.more = "\tcheck every=100ms rise=1 fall=1 tcp\n"
    listed.run(listed.a)
    listed.admin.ask("wait", listed.a, "up")
    dead = f"127.0.0.1:{free_port()}"
    listed.write(dead, listed.a)

    def there():
        assert ask(listed.port) == b"a"
        return dead in listed.pool()
    wait_for(there, "the dead one is in the pool")
    for _ in range(50):
        assert ask(listed.port) == b"a"
    listed.admin.ask("wait", dead, "down")
    listed.admin.ask("add", listed.port, f"127.0.0.2:{free_port()}")
    for _ in range(50):
        assert ask(listed.port) == b"a"
    checks = {s["server"]: s["check"] for s in listed.admin.json("servers")["servers"]}
    assert set(checks.values()) == {"tcp"} and len(checks) == 3


@pytest.mark.parametrize("balance", ["round-robin", "least-connections", "random", "source", "hash", "first"])
def test_an_empty_pool_is_filled(listed, balance):
    """Pitfall 48."""
    listed.more = f"\tbalance {balance}\n"
    listed.run("none")
    assert gets_reset(listed.port)
    listed.write(listed.a, listed.b)
    listed.becomes(listed.a, listed.b)
    listed.admin.ask("add", listed.port, listed.c)
    found = "".join(ask(listed.port).decode() for _ in range(60))
    assert len(found) == 60 and set(found) <= set("abc")
    if balance == "round-robin":
        assert all(18 <= found.count(name) <= 22 for name in "abc"), found
    elif balance == "least-connections":
        assert set(found) == set("abc")


def test_clients_wait_for_the_first_server(listed):
    listed.more = "\ton-down hold 20\n"
    listed.run("none")
    with connect(listed.port) as c:
        listed.admin.wait_connection(state="held")
        listed.write(listed.a)
        assert c.recv(1) == b"a"


def test_the_port_refuses_while_a_list_is_empty(listed):
    listed.more = "\ton-down refuse\n\tcheck every=100ms rise=1 fall=1 tcp\n"
    listed.run(listed.a)
    wait_for(lambda: not refused(listed.port) and ask(listed.port) == b"a", "it accepts")
    listed.write("none")
    wait_for(lambda: refused(listed.port), "it refuses again")


def test_connections_go_on_while_all_servers_change(start, service, admin, directory):
    """Pitfall 49."""
    one, two = service(), service()
    path, port = pathlib.Path(directory / "pool.list"), free_port()
    path.write_text(f"{one.spelt}\n")
    start(config=f"{admin.line}port {port}\nservers file:{path}\n")
    with connect(port) as c:
        talk(c)
        for i in range(10):
            spelt = (two, one)[i % 2].spelt
            path.write_text(f"{spelt}\n")
            wait_for(lambda: admin.json("servers")["servers"][0]["server"] == spelt, "it is another one")
            talk(c)
        (found,) = admin.connections()
        assert found["server"] == one.spelt


# -- what they survive

def test_lists_survive_a_reload_and_an_upgrade(listed):
    listed.run(listed.a)
    listed.path.write_text("not whole")
    listed.proxy.wait_log("does not end in a newline")
    listed.admin.ask("reload")
    assert listed.pool() == [listed.a]
    listed.proxy.expect_deaths()
    listed.admin.ask("upgrade")
    assert listed.pool() == [listed.a] and listed.who() == "a"
    listed.write(listed.b)
    listed.becomes(listed.b)


def test_a_reload_brings_a_list_and_takes_it_away(listed):
    listed.run("none")
    listed.write(listed.b)
    listed.becomes(listed.b)
    other = listed.path.with_name("other.list")
    other.write_text(f"{listed.a}\n{listed.c}\n")
    listed.proxy.rewrite(listed.text().replace("pool.list", "other.list"))
    listed.admin.ask("reload")
    assert listed.pool() == [listed.a, listed.c]
    listed.proxy.rewrite(f"{listed.admin.line}port {listed.port}\nserver {listed.b}\n")
    listed.admin.ask("reload")
    assert listed.pool() == [listed.b] and listed.who() == "b"
    other.write_text(f"{listed.a}\n")
    stays(lambda: listed.pool() == [listed.b], "no list is wanted", 0.5)


# -- one connection on stdin

def test_one_connection_has_the_servers_of_a_list(listed, directory):
    listed.write("127.0.0.1:1 disabled", listed.a)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = connect(port)
        accepted, _ = listener.accept()
    path = directory.write("one.conf", f"standalone no\nport {port}\nservers file:{listed.path}\n")
    with client, accepted:
        client.shutdown(socket.SHUT_WR)
        assert subprocess.run([directory.program, "-f", path], stdin=accepted, stdout=accepted).returncode == 0
        accepted.close()
        assert read_all(client) == b"a"
