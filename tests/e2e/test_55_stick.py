"""stick: a client that comes again gets its server again, in all workers, over reloads, deaths and upgrades."""
import collections
import os
import signal
import time

import pytest

from lib import processes
from lib.peers import connect, read_exactly
from lib.ports import free_port
from lib.upgrades import replace, upgrade
from lib.waiting import wait_for

SOURCES = [f"127.0.0.{i}" for i in range(10, 22)]


def saying(letter):
    def talk(s):
        s.sendall(letter)
        s.recv(1)
    return talk


class Pool:
    """Servers that say their letters, behind one port; what stands in the section can be changed."""

    def __init__(self, start, service, admin, text, words=("", "", ""), top="workers 2\n"):
        self.admin, self.top, self.words = admin, top, list(words)
        self.servers = [service(saying(b"abcdefgh"[i:i + 1])) for i in range(len(words))]
        self.port = free_port()
        self.proxy = start(config=self.text(text))

    def text(self, text):
        lines = "".join(f"server {s.spelt} {w}\n" for s, w in zip(self.servers, self.words))
        return f"{self.admin.line}{self.top}port {self.port}\n{text}\n{lines}"

    def reload(self, text):
        self.proxy.rewrite(self.text(text))
        assert "in force" in self.admin.ask("reload")

    def who(self, source):
        with connect(self.port, source=source) as s:
            return read_exactly(s, 1)

    def all(self):
        return {s: self.who(s) for s in SOURCES}

    def spelt(self, letter):
        return self.servers[b"abcdefgh".index(letter)].spelt


@pytest.fixture
def pool(start, service, admin):
    def make(*args, **more):
        return Pool(start, service, admin, *args, **more)
    return make


def memory(proxy):
    """Which of our processes have the memory of those who stick."""
    return [pid for pid in proxy.everybody() if any("tcpproxy-stick" in d for d in processes.descriptors(pid).values())]


def test_a_client_gets_its_server_again(pool):
    p = pool("stick 60")
    first = p.all()
    assert set(first.values()) == {b"a", b"b", b"c"}
    for _ in range(3):
        assert p.all() == first


def test_without_it_there_is_no_memory_and_no_sticking(pool):
    p = pool("")
    assert len({p.who(SOURCES[0]) for _ in range(6)}) == 3
    assert memory(p.proxy) == []


def test_it_may_stand_anywhere_and_off_lifts_it(start, service, admin):
    servers = [service(saying(b"a")), service(saying(b"b"))]
    lines = "".join(f"server {s.spelt}\n" for s in servers)
    on, off = free_port(), free_port()
    start(config=f"stick 60\n{admin.line}port {on}\n{lines}port {off}\nstick off\n{lines}")

    def letters(port):
        found = set()
        for _ in range(6):
            with connect(port) as s:
                found.add(read_exactly(s, 1))
        return found
    assert len(letters(on)) == 1
    assert len(letters(off)) == 2


def test_each_port_for_itself(start, service, admin):
    servers = [service(saying(b"a")), service(saying(b"b"))]
    lines = "".join(f"server {s.spelt}\n" for s in servers)
    ports = [free_port() for _ in range(8)]
    start(config="workers 1\nstick 60\nbalance random\n" + "".join(f"port {p}\n{lines}" for p in ports))
    first = []
    for port in ports:
        with connect(port) as s:
            first.append(read_exactly(s, 1))
    for port, letter in zip(ports, first):
        with connect(port) as s:
            assert read_exactly(s, 1) == letter


def test_when_its_time_is_over_the_balance_decides(pool):
    p = pool("stick 2")
    first = p.who(SOURCES[0])
    assert p.who(SOURCES[0]) == first
    time.sleep(2.1)
    assert p.who(SOURCES[0]) != first  # the next one's turn


def test_the_time_begins_with_the_end_of_a_connection(pool):
    p = pool("stick 2")
    held = connect(p.port, source=SOURCES[0])
    first = read_exactly(held, 1)
    time.sleep(2.5)  # longer than its time, which has not begun
    held.close()
    p.proxy.wait_records(1)
    assert p.who(SOURCES[0]) == first


@pytest.mark.parametrize("command", ["drain", "disable", "weight"])
def test_a_server_that_is_out_gets_none_of_its_clients_again(pool, admin, command):
    p = pool("stick 60")
    first = p.all()
    out = first[SOURCES[0]]
    admin.ask(command, p.spelt(out), *(["0"] if command == "weight" else []))
    now = p.all()
    assert out not in now.values()
    assert all(now[s] == first[s] for s in SOURCES if first[s] != out)
    admin.ask("forget", p.spelt(out))
    assert p.all() == now  # the new one sticks


def test_a_server_that_is_down(pool, admin):
    p = pool("stick 60")
    first = p.all()
    admin.ask("force", p.spelt(first[SOURCES[0]]), "down")
    second = p.who(SOURCES[0])
    assert second != first[SOURCES[0]]
    admin.ask("force", p.spelt(first[SOURCES[0]]), "auto")
    assert {p.who(SOURCES[0]) for _ in range(4)} == {second}


def test_a_server_that_cannot_be_reached(pool):
    p = pool("stick 60")
    first = p.who(SOURCES[0])
    p.servers[b"abc".index(first)].close()
    second = p.who(SOURCES[0])
    assert second != first
    assert {p.who(SOURCES[0]) for _ in range(4)} == {second}


def test_a_server_at_its_limit_is_not_waited_for(pool):
    p = pool("stick 60\nqueue 30", words=("max=1", "max=1", "max=1"))
    with connect(p.port, source=SOURCES[0]) as held:
        first = read_exactly(held, 1)
        assert p.who(SOURCES[0]) != first


def test_a_backup_keeps_those_that_came_to_it(pool, admin):
    p = pool("stick 60", words=("", "backup"))
    assert p.who(SOURCES[0]) == b"a"
    admin.ask("disable", p.spelt(b"a"))
    assert p.who(SOURCES[0]) == b"b"
    admin.ask("enable", p.spelt(b"a"))
    assert p.who(SOURCES[0]) == b"b"
    assert p.who(SOURCES[1]) == b"a"


def test_no_more_clients_than_were_asked_for(pool):
    """By turns: who is remembered takes none."""
    p = pool("stick 60 size=2", top="workers 1\n")
    came = []

    def who(source):
        """Each clearly later than the one before, whose end is seen, too."""
        came.append(p.who(source))
        p.proxy.wait_records(len(came))
        time.sleep(0.05)
        return came[-1]
    assert [who(s) for s in SOURCES[:3]] == [b"a", b"b", b"c"]
    assert [who(s) for s in SOURCES[1:3]] == [b"b", b"c"]
    assert who(SOURCES[0]) == b"a"  # forgotten; it is the first one's turn
    assert who(SOURCES[1]) == b"b"  # forgotten for it; likewise
    assert who(SOURCES[0]) == b"a"


def test_beside_another_balance(pool):
    p = pool("stick 60\nbalance least-connections")
    first = p.all()
    assert p.all() == first


# -- what survives

def test_it_survives_a_reload_and_more_room(pool):
    p = pool("stick 60 size=20")
    first = p.all()
    p.reload("stick 50 size=20")
    assert p.all() == first
    p.reload("stick 60 size=100000")
    assert p.all() == first
    p.reload("")
    p.reload("stick 60 size=20")
    assert p.all() == first


def test_the_first_reload_that_wants_it(pool):
    p = pool("")
    assert memory(p.proxy) == []
    p.reload("stick 60")
    first = p.all()
    assert p.all() == first
    assert len(memory(p.proxy)) >= 3


def kill(proxy, role):
    pid, = proxy.role(role)
    proxy.expect_deaths()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: proxy.role(role) not in ([], [pid]) and proxy.whole(), f"another {role}")


def test_it_survives_the_deaths_of_workers(pool):
    p = pool("stick 60")
    first = p.all()
    for role in ("worker 0", "worker 1"):
        kill(p.proxy, role)
        assert p.all() == first


def test_it_survives_the_death_of_the_supervisor(pool):
    p = pool("stick 60")
    first = p.all()
    p.proxy.kill_supervisor()
    assert p.all() == first
    p.proxy.start_again()
    assert p.all() == first
    kill(p.proxy, "worker 0")
    assert p.all() == first
    p.reload("stick 60 size=70000")
    assert p.all() == first


def test_it_survives_an_upgrade(pool):
    p = pool("stick 60")
    first = p.all()
    replace(p.proxy)
    upgrade(p.proxy)
    p.proxy.wait_whole()
    assert p.all() == first
    kill(p.proxy, "worker 1")
    assert p.all() == first


def test_it_survives_a_server_more_and_one_less(pool, service):
    p = pool("stick 60")
    first = p.all()
    p.servers.append(service(saying(b"d")))
    p.words.append("")
    p.reload("stick 60")
    assert p.all() == first
    gone = p.servers.pop(0)
    p.words.pop(0)
    p.servers.reverse()
    p.reload("stick 60")
    now = p.all()
    assert all(now[s] == first[s] for s in SOURCES if first[s] != b"a")
    assert b"a" not in now.values()
    gone.close()


# -- what is said

def test_explain_says_to_whom_a_client_sticks(pool, admin):
    p = pool("stick 30m")
    before = admin.ask("explain", SOURCES[0], p.port)
    assert "stick: a client gets its server again for 30m after its last connection" in before
    assert "to which this client sticks" not in before
    letters = collections.Counter()
    for source in SOURCES[:4]:
        letter = p.who(source)
        letters[letter] += 1
        assert f"server: {p.spelt(letter)} (to which this client sticks), " in admin.ask("explain", source, p.port)
    assert len(letters) == 3
    admin.ask("disable", p.spelt(letter))
    text = admin.ask("explain", source, p.port)
    assert f"not {p.spelt(letter)}: it is disabled" in text and "to which this client sticks" not in text
