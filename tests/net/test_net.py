"""Real addresses, on a pair of virtual Ethernet devices between two network namespaces of the test's own: `in`,
where tcpproxy runs, and `out`, where its peers are."""
import os
import socket
import subprocess
import threading

import pytest

from lib import ports
from lib.peers import connect, is_reset, read_all
from lib.proxy import Proxy
from lib.waiting import wait_for

CLONE_NEWNET = 0x40000000


def ip(*words, netns=None):
    argv = ["ip", *(["-n", netns] if netns else []), *words]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


class Net:
    """Both namespaces. `enter(name)` runs a function in one of them."""

    def __init__(self):
        self.inside, self.outside = f"tcpp-in-{os.getpid()}", f"tcpp-out-{os.getpid()}"
        for name in (self.inside, self.outside):
            ip("netns", "add", name)
            ip("link", "set", "lo", "up", netns=name)
        ip("link", "add", "wan0", "type", "veth", "peer", "name", "peer0", "netns", self.outside, netns=self.inside)
        for name, device, four, six in ((self.inside, "wan0", "10.9.0.1/24", "fd09::1/64"),
                                        (self.outside, "peer0", "10.9.0.2/24", "fd09::2/64")):
            ip("addr", "add", four, "dev", device, netns=name)
            ip("addr", "add", six, "dev", device, "nodad", netns=name)
            ip("link", "set", device, "up", netns=name)

    def add(self, address, device="wan0"):
        ip("addr", "add", address, "dev", device, *(["nodad"] if ":" in address else []), netns=self.inside)

    def remove(self, address, device="wan0"):
        ip("addr", "del", address, "dev", device, netns=self.inside)

    def enter(self, name, function, *args):
        """A thread of its own: setns() is for one thread."""
        result = []

        def run():
            try:
                fd = os.open(f"/run/netns/{name}", os.O_RDONLY)
                libc_setns(fd)
                os.close(fd)
                result.append(function(*args))
            except BaseException as e:  # handed to the caller
                result.append(e)
        t = threading.Thread(target=run)
        t.start()
        t.join(20)
        if not result or isinstance(result[0], BaseException):
            raise result[0] if result else TimeoutError(name)
        return result[0]

    def out(self, function, *args):
        return self.enter(self.outside, function, *args)

    def listeners(self, port):
        return self.enter(self.inside, ports.listeners, port, "thread-self")

    def close(self):
        for name in (self.inside, self.outside):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def libc_setns(fd):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture
def net():
    n = Net()
    yield n
    n.close()


@pytest.fixture
def inside(net, directory, request):
    """inside(config): tcpproxy in the namespace `in`."""
    started = []

    def start(config):
        proxy = Proxy(directory, config=config, wrap=["ip", "netns", "exec", net.inside], wait=False)
        started.append(proxy)
        wait_for(lambda: proxy.process.poll() is not None or proxy.whole(), "the start")
        assert proxy.process.poll() is None, proxy.log()
        return proxy
    yield start
    for proxy in started:
        try:
            if not getattr(request.node, "failed", False):
                proxy.stop()
            else:
                print(proxy.log())
        finally:
            proxy.kill()


SAY = "exec /bin/echo {}\n"


def answer(port, host):
    with connect(port, host) as s:
        return read_all(s)


def refused(port, host):
    try:
        connect(port, host).close()
    except ConnectionRefusedError:
        return True
    return False


def test_two_addresses_of_one_device_lead_to_two_servers(net, inside):
    """The example of 1999, with addresses that are real."""
    net.add("192.168.1.1/24")
    inside(f"port 25\ninterface 10.9.0.1\n{SAY.format('internal')}interface 192.168.1.1\n{SAY.format('provider')}")
    ip("route", "add", "192.168.1.0/24", "dev", "peer0", netns=net.outside)
    assert net.out(answer, 25, "10.9.0.1") == b"internal\n"
    assert net.out(answer, 25, "192.168.1.1") == b"provider\n"


def test_ipv6_and_ipv4_clients_from_outside(net, inside):
    inside("port 25\nexec /usr/bin/env\n")
    assert b"\nPROXY_CLIENT=10.9.0.2\n" in net.out(answer, 25, "10.9.0.1")
    text = net.out(answer, 25, "fd09::1")
    assert b"\nPROXY_CLIENT=fd09::2\n" in text and b"\nPROXY_INTERFACE=fd09::1\n" in text


def test_a_link_local_address(net, inside):
    import ipaddress
    inside(f"port 25\n{SAY.format('here')}")
    shown = ip("-6", "-br", "addr", "show", "dev", "wan0", netns=net.inside).split()
    address = next(a.split("/")[0] for a in shown if a.startswith("fe80"))

    def ask():
        s = socket.socket(socket.AF_INET6)
        s.settimeout(5)
        s.connect((address, 25, 0, socket.if_nametoindex("peer0")))
        return read_all(s)
    wait_for(lambda: "tentative" not in ip("-6", "addr", "show", "dev", "wan0", netns=net.inside), "the address is ready")
    assert ipaddress.ip_address(address).is_link_local and net.out(ask) == b"here\n"


def test_an_address_that_appears_later_is_served_then(net, inside):
    """A VIP: bound all the time, and it works as soon as the host has it."""
    inside(f"port 25\ninterface 10.9.0.50\n{SAY.format('vip')}")
    assert net.listeners(25) == ["10.9.0.50"]
    net.add("10.9.0.50/24")
    assert net.out(answer, 25, "10.9.0.50") == b"vip\n"
    assert net.out(refused, 25, "10.9.0.1")
    net.remove("10.9.0.50/24")
    net.add("10.9.0.50/24")
    assert net.out(answer, 25, "10.9.0.50") == b"vip\n"


def test_an_interface_by_name_binds_what_it_has_at_each_reload(net, inside):
    proxy = inside(f"port 25\ninterface wan0\n{SAY.format('wan')}")
    assert net.out(answer, 25, "10.9.0.1") == b"wan\n"
    assert net.enter(net.inside, refused, 25, "127.0.0.1")
    net.add("10.9.0.60/24")
    assert net.out(refused, 25, "10.9.0.60")
    proxy.signal(1)
    wait_for(lambda: not net.out(refused, 25, "10.9.0.60"), "the new address is served")
    assert net.out(answer, 25, "10.9.0.60") == b"wan\n"


def test_a_network_binds_what_matches_at_each_reload(net, inside):
    proxy = inside(f"port 25\ninterface 10.9.0.0/24\n{SAY.format('net')}")
    assert net.listeners(25) == ["10.9.0.1"]
    net.add("10.9.0.61/24")
    net.add("10.8.0.1/24")
    proxy.signal(1)
    wait_for(lambda: net.listeners(25) == ["10.9.0.1", "10.9.0.61"], "both addresses of the network")


def test_a_device_that_comes_later(net, inside):
    """A tunnel, say: not there at start; a reload finds it."""
    proxy = inside(f"port 25\ninterface tun7\n{SAY.format('tunnel')}port 26\n{SAY.format('other')}")
    assert net.out(answer, 26, "10.9.0.1") == b"other\n"
    ip("link", "add", "tun7", "type", "veth", "peer", "name", "tun8", netns=net.inside)
    net.add("10.7.0.1/24", "tun7")
    ip("link", "set", "tun7", "up", netns=net.inside)
    proxy.signal(1)
    wait_for(lambda: net.listeners(25) == ["10.7.0.1"], "its address is bound")


def test_rules_see_the_real_clients(net, inside):
    inside(f"deny 10.9.0.2 fd09::/64\nport 25\n{SAY.format('welcome')}")

    def reset(host):
        try:
            with connect(25, host) as s:
                return is_reset(s)
        except ConnectionResetError:
            return True
    assert net.out(reset, "10.9.0.1") and net.out(reset, "fd09::1")
    assert net.enter(net.inside, answer, 25, "127.0.0.1") == b"welcome\n"


def test_a_source_address_towards_the_server(net, inside):
    net.add("10.9.0.70/24")

    def serve():
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("10.9.0.2", 99))
        s.listen()
        s.settimeout(10)
        return s
    listener = net.out(serve)
    inside("source 10.9.0.70\nport 25\nserver 10.9.0.2:99\n")

    def ask():
        client = connect(25, "10.9.0.1")
        peer, address = listener.accept()
        peer.close()
        client.close()
        return address[0]
    assert net.out(ask) == "10.9.0.70"
    listener.close()
