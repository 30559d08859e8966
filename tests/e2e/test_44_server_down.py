"""on-server-down: what becomes of the connections of a server that a check calls down. It is checked at another port than its
clients use, as Patroni has one, so that it can be down while they are served."""
import signal

import pytest

from lib.checked import changes
from lib.peers import Service, connect, echo, gets_reset, is_reset, talk
from lib.ports import free_port
from lib.waiting import wait_for


class Health:
    """A port that says whether a server is well."""

    def __init__(self):
        self.port = free_port()
        self.well()

    def well(self):
        self.service = Service(echo, port=self.port)

    def ill(self):
        self.service.close()


@pytest.fixture
def health():
    h = Health()
    yield h
    h.ill()


CHECK = "check every=100ms rise=1 fall=2 port={} tcp\n"


def state(admin, server):
    return next(s["health"] for s in admin.json("status")["servers"] if s["server"] == server)


def one_port(more, health, service, admin):
    port = free_port()
    return port, f"{admin.line}port {port}\nserver {service.spelt}\n{more}" + CHECK.format(health.port)


def test_connections_of_a_server_that_goes_down_are_reset(start, service, admin, health):
    s = service()
    port, config = one_port("on-server-down kill\n", health, s, admin)
    proxy = start(config=config)
    clients = [connect(port) for _ in range(20)]
    for c in clients:
        talk(c)
    health.ill()
    for c in clients:
        assert is_reset(c)
    assert {r.end for r in proxy.wait_records(20)} == {"server-down"}
    proxy.wait_log(r"20 connections are ended: on-server-down kill")
    health.well()
    wait_for(lambda: state(admin, s.spelt) == "up", "it is well again")
    with connect(port) as c:
        talk(c)


def test_by_default_they_go_on(start, service, admin, health):
    s = service()
    port, config = one_port("", health, s, admin)
    proxy = start(config=config)
    with connect(port) as c:
        talk(c)
        health.ill()
        wait_for(lambda: state(admin, s.spelt) == "down", "it is down")
        talk(c, b"still here")
        assert gets_reset(port)
    assert sorted(r.end for r in proxy.wait_records(2)) == ["client-fin", "no-server"]


def test_each_section_and_each_server_for_itself(start, service, admin, health):
    """One section keeps, one kills; a server that is well keeps its connections in both."""
    ill, well = service(), service()
    kills, keeps, other = free_port(), free_port(), free_port()
    proxy = start(config=f"{admin.line}{CHECK.format(health.port)}"
                         f"port {kills}\nserver {ill.spelt}\non-server-down kill\n"
                         f"port {keeps}\nserver {ill.spelt}\n"
                         f"port {other}\nserver {well.spelt}\ncheck every=100ms tcp\non-server-down kill\n")
    killed, kept, others = connect(kills), connect(keeps), connect(other)
    for c in (killed, kept, others):
        talk(c)
    health.ill()
    assert is_reset(killed)
    assert proxy.wait_record().end == "server-down"
    for c in (kept, others):
        talk(c, b"after")
        c.close()


def test_after_a_reload_that_moved_its_line(start, service, admin, health):
    s = service()
    port, config = one_port("on-server-down kill\n", health, s, admin)
    proxy = start(config=config)
    client = connect(port)
    talk(client)
    proxy.rewrite("# two\n# lines more\n" + config)
    proxy.signal(signal.SIGHUP)
    proxy.wait_log("is in force")
    health.ill()
    assert is_reset(client)
    assert proxy.wait_record().end == "server-down"


def test_a_server_that_goes_down_while_there_is_no_supervisor(start, service, admin, health):
    """The next one tells of it, and ends its connections, once."""
    s = service()
    port, config = one_port("on-server-down kill\n", health, s, admin)
    proxy = start(config=config)
    client = connect(port)
    talk(client)
    wait_for(lambda: state(admin, s.spelt) == "up", "it is up")
    proxy.kill_supervisor()
    health.ill()
    proxy.start_again()
    assert is_reset(client)
    assert proxy.wait_record().end == "server-down"
    assert [c[1:3] for c in changes(proxy)] == [("up", "unknown"), ("down", "up")]
