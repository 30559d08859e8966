"""What the packets of a connection are like: their DSCP, the interface by which they go."""
import re

import pytest

from lib.hosts import HERE, NEAR, SERVER, Hosts, say_who
from lib.peers import read_all
from test_source_client import BACK, PORT, run  # noqa: F401 # a fixture


@pytest.fixture
def hosts():
    h = Hosts()
    yield h
    h.close()


def stays_open(s):
    say_who(s)
    s.recv(1)


def dscp_of(hosts, port):
    """Of the established sockets of tcpproxy's host whose peer, or self, has this port."""
    told = hosts.on("proxy", "ss", "-Htn", "--tos", "state", "established", f"( sport = :{port} or dport = :{port} )")
    return [int(found, 16) >> 2 for found in re.findall(r"tos:(0x[0-9a-f]+)", told)]


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("words, server, client", [("ef", 46, 0), ("cs1 af41", 8, 34), ("0 12", 0, 12), ("off", 0, 0)])
def test_dscp(hosts, run, six, words, server, client):  # noqa: F811
    hosts.serve("server", BACK, SERVER[six], stays_open)
    spelt = f"[{SERVER[1]}]:{BACK}" if six else f"{SERVER[0]}:{BACK}"
    run(f"dscp cs7\nport {PORT}\nserver {spelt}\ndscp {words}\n")
    with hosts.connect(PORT, HERE[six]) as s:
        assert s.recv(100)
        assert dscp_of(hosts, BACK) == ([server] if server else [])
        assert dscp_of(hosts, PORT) == ([client] if client else [])


def test_device(hosts, run):  # noqa: F811
    """A server that is reached by one interface is not by another."""
    hosts.serve("server", BACK, SERVER[0])
    r = run(f"connect-timeout 1s\nport {PORT}\nserver {SERVER[0]}:{BACK}\ndevice s0\n"
            f"port {PORT + 1}\nserver {SERVER[0]}:{BACK}\ndevice c0\n"
            f"port {PORT + 2}\nserver {SERVER[0]}:{BACK}\ndevice nosuch0\n")
    assert hosts.ask(PORT).split()[0] == NEAR[0]
    for port in (PORT + 1, PORT + 2):
        with pytest.raises(ConnectionResetError):
            hosts.ask(port)
    assert {record.end for record in r.proxy.wait_records(3)} <= {"server-fin", "connect-failed", "connect-timeout"}
    r.proxy.wait_log("this host has no interface nosuch0 \\(ip link\\)")


def test_source_client_by_a_device(hosts, run):  # noqa: F811
    from lib.hosts import CLIENT
    hosts.serve("server", BACK, SERVER[0])
    run(f"port {PORT}\nserver {SERVER[0]}:{BACK}\nsource client\ndevice s0\ndscp ef\n")
    assert hosts.ask(PORT).split()[0] == CLIENT[0]
