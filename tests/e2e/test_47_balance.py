"""balance: which of several servers gets the next client."""
import collections

import pytest

from lib.peers import connect, read_exactly
from lib.ports import free_port


class Pool:
    """A service with some servers, each of which says its letter."""

    def __init__(self, start, service, admin, text, words=("", "", "")):
        self.servers = [service(self.saying(i)) for i in range(len(words))]
        self.port = free_port()
        lines = "".join(f"server {s.spelt} {w}\n" for s, w in zip(self.servers, words))
        self.proxy = start(config=f"{admin.line}port {self.port}\n{text}\n{lines}")

    @staticmethod
    def saying(i):
        def talk(s):
            s.sendall(bytes([ord("a") + i]))
            s.recv(1)
        return talk

    def hold(self, n):
        """So many clients, one after the other, and the letter of each."""
        held, letters = [], []
        for _ in range(n):
            held.append(connect(self.port))
            letters.append(read_exactly(held[-1], 1))
        return held, letters

    def who(self, **more):
        with connect(self.port, **more) as s:
            return read_exactly(s, 1)


@pytest.fixture
def pool(start, service, admin):
    def make(*args, **more):
        return Pool(start, service, admin, *args, **more)
    return make


def test_least_connections(pool):
    p = pool("balance least-connections")
    held, letters = p.hold(9)
    assert collections.Counter(letters) == {b"a": 3, b"b": 3, b"c": 3}
    for s, letter in zip(held, letters):
        if letter == b"b":
            s.close()
    p.proxy.wait_records(3)
    assert p.who() == b"b"


@pytest.mark.parametrize("text", ["balance source", "balance hash", "balance source bounded=10000"])
def test_a_client_keeps_its_server(pool, text):
    p = pool(text)
    sources = [f"127.0.0.{i}" for i in range(10, 40)]
    first = [p.who(source=s) for s in sources]
    assert [p.who(source=s) for s in sources] == first
    assert len(set(first)) == 3


def test_bounded(pool):
    """All are one client: no server gets more than a quarter above the average."""
    p = pool("balance source bounded=125")
    held, letters = p.hold(40)
    assert max(collections.Counter(letters).values()) <= 17
    for s in held:
        s.close()


def test_first_fills_one_after_the_other(pool):
    p = pool("balance first", words=("max=2", "max=1", ""))
    held, letters = p.hold(5)
    assert letters == [b"a", b"a", b"b", b"c", b"c"]
    for s in held:
        s.close()


def test_random_reaches_all(pool):
    p = pool("balance random")
    assert {p.who() for _ in range(60)} == {b"a", b"b", b"c"}


def test_one_that_goes_takes_only_its_clients_along(pool, admin):
    p = pool("balance source")
    sources = [f"127.0.0.{i}" for i in range(10, 50)]
    first = {s: p.who(source=s) for s in sources}
    admin.ask("disable", p.servers[1].spelt)
    now = {s: p.who(source=s) for s in sources}
    assert all(now[s] == first[s] for s in sources if first[s] != b"b")
    assert b"b" not in now.values()
    admin.ask("enable", p.servers[1].spelt)
    assert {s: p.who(source=s) for s in sources} == first

