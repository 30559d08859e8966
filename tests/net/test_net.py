"""Real addresses, on a pair of virtual Ethernet devices between two network namespaces of the test's own: `in`,
where tcpproxy runs, and `out`, where its peers are."""
import os
import signal
import socket
import subprocess
import threading

import pytest

from lib import netns, ports
from lib.peers import connect, is_reset, read_all
from lib.proxy import Proxy
from lib.waiting import wait_for


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
        return netns.enter(name, function, *args)

    def out(self, function, *args):
        return self.enter(self.outside, function, *args)

    def listeners(self, port):
        return self.enter(self.inside, ports.listeners, port, "thread-self")

    def close(self):
        for name in (self.inside, self.outside):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


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


def sysctl(name, value):
    """Of the namespace of who calls it: net.enter()."""
    with open("/proc/sys/" + name.replace(".", "/"), "w") as f:
        f.write(value)


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


def test_a_dead_server_is_not_connected_to_itself(net, inside):
    """Its port is one of those that the kernel gives to callers; here to every caller."""
    ports_before = net.enter(net.inside, lambda: open("/proc/sys/net/ipv4/ip_local_port_range").read())
    net.enter(net.inside, sysctl, "net.ipv4.ip_local_port_range", "21500 21500")
    proxy = inside("port 25\nserver 127.0.0.1:21500\nport 26\nserver [::1]:21500\n")

    def reset(port, host):
        try:
            with connect(port, host) as s:
                s.sendall(b"echo?")
                s.shutdown(socket.SHUT_WR)
                return is_reset(s)
        except OSError:  # a quick one is heard of at any step
            return True
    for port in 25, 26, 25, 26:
        assert net.out(reset, port, "10.9.0.1")
    assert [r.end for r in proxy.wait_records(4)] == ["connect-failed"] * 4
    assert "to 127.0.0.1:21500: Connection refused" in proxy.log()
    # nothing keeps the server from its port, and then it is served
    net.enter(net.inside, sysctl, "net.ipv4.ip_local_port_range", ports_before)

    def listen():
        s = socket.socket()
        s.bind(("127.0.0.1", 21500))
        s.listen()
        s.settimeout(10)
        return s
    listener = net.enter(net.inside, listen)
    client = net.out(connect, 25, "10.9.0.1")
    peer, _ = listener.accept()
    peer.sendall(b"the server")
    peer.close()
    assert read_all(client) == b"the server"
    client.close()
    listener.close()


# -- addresses of one link: an interface that comes, goes, and comes with another index


def link(net):
    """ve0 inside, ve1 outside, made anew: with indexes that nobody had before."""
    subprocess.run(["ip", "-n", net.inside, "link", "del", "ve0"], capture_output=True)
    ip("link", "add", "ve0", "type", "veth", "peer", "name", "ve1", "netns", net.outside, netns=net.inside)
    for name, device, address in ((net.inside, "ve0", "fe80::a/64"), (net.outside, "ve1", "fe80::b/64")):
        ip("link", "set", device, "addrgenmode", "none", netns=name)
        ip("link", "set", device, "up", netns=name)
        ip("addr", "add", address, "dev", device, "nodad", netns=name)


def greet(net, text):
    """A server of the other side of the link, which greets its next client."""
    def listen():
        s = socket.socket(socket.AF_INET6)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.settimeout(10)
        s.bind(("fe80::b", 99, 0, socket.if_nametoindex("ve1")))
        s.listen()
        return s
    listener = net.out(listen)
    seen = []

    def run():
        peer, address = listener.accept()
        seen.append(address[0])
        peer.sendall(text)
        peer.close()
        listener.close()
    threading.Thread(target=run, daemon=True).start()
    return seen


def over_the_link(port, connected=read_all):
    with socket.socket(socket.AF_INET6) as s:
        s.settimeout(5)
        s.connect(("fe80::a", port, 0, socket.if_nametoindex("ve1")))
        return connected(s)


def was_reset(port, host):
    try:
        with connect(port, host) as s:
            return is_reset(s)
    except ConnectionResetError:
        return True


def test_a_server_on_a_link_that_is_made_anew(net, inside):
    proxy = inside("port 25\nserver [fe80::b%ve0]:99\nport 26\nserver [fe80::b%ve0]:99\nsource fe80::a%ve0\n"
                   "port 27\nserver 10.9.0.2\nserver [fd09::2]:99\nsource fe80::a%ve9\n")
    assert net.out(was_reset, 25, "10.9.0.1")  # it is not there yet, which is no error of the file
    proxy.wait_log(r"to \[fe80::b%ve0\]:99: this host has no interface ve0")
    assert net.out(was_reset, 27, "10.9.0.1")
    proxy.wait_log(r"to \[fd09::2\]:99: this host has no interface ve9")
    for text in (b"first", b"another index"):
        link(net)
        for port in (25, 26):
            seen = greet(net, text)
            assert net.out(answer, port, "10.9.0.1") == text
            assert [a.split("%")[0] for a in seen] == ["fe80::a"]


def test_an_interface_section_on_a_link_that_is_made_anew(net, inside):
    proxy = inside(f"port 25\ninterface fe80::a%ve0\n{SAY.format('link')}interface 10.9.0.1\n{SAY.format('other')}"
                   f"port 26\n{SAY.format('own')}interface fe80::a%ve0\n{SAY.format('link')}")
    assert net.listeners(25) == ["10.9.0.1"]
    for _ in range(2):
        link(net)
        # a listener on every address is there already; which section it is, is looked at when somebody comes
        assert net.out(over_the_link, 26) == b"link\n"
        proxy.signal(1)
        wait_for(lambda: proxy.log().count("is in force") > _, "the reload")
        assert net.out(over_the_link, 25) == b"link\n"
        assert net.out(answer, 25, "10.9.0.1") == b"other\n" and net.out(answer, 26, "10.9.0.1") == b"own\n"


def test_an_access_rule_of_a_link_that_is_made_anew(net, inside):
    link(net)
    inside(f"port 25\n{SAY.format('welcome')}allow fe80::b%ve0\nport 26\n{SAY.format('welcome')}deny fe80::%ve0/64\n")
    for _ in range(2):
        assert net.out(over_the_link, 25) == b"welcome\n"
        with pytest.raises(ConnectionResetError):
            net.out(over_the_link, 26)
        assert net.out(answer, 26, "10.9.0.1") == b"welcome\n" and net.out(was_reset, 25, "10.9.0.1")
        link(net)


def test_the_canonical_text_names_the_interface(net, directory):
    link(net)
    path = directory.write("tcpproxy.conf",
                           "port 25\ninterface fe80::a%ve0\nserver [fe80::b%ve0]:99\nsource fe80::a%ve0\n")
    done = subprocess.run(["ip", "netns", "exec", net.inside, directory.program, "-C", "-f", path], capture_output=True,
                          text=True, env=directory.environment())
    assert done.stdout == "port 25\n\tinterface fe80::a%ve0\n\t\tserver [fe80::b%ve0]:99\n\t\tsource fe80::a%ve0\n"
    done = subprocess.run(["ip", "netns", "exec", net.inside, directory.program, "-f", path, "--explain", "fe80::b%ve0",
                           "[fe80::a%ve0]:25"], capture_output=True, text=True, env=directory.environment())
    assert "interface fe80::a%ve0" in done.stdout and done.returncode == 0, done


def test_thousands_of_ports_are_served(inside, net):
    """2,500 ports without an interface are 5,000 listening sockets: the first and the last of them, in both families, also of
    another program that takes them over."""
    first, last = 10000, 12499
    proxy = inside(f"port {first}-{last}\n" + SAY.format("here"))

    def all_answer():
        for port in (first, first + 2048, first + 2049, last):
            assert net.out(answer, port, "10.9.0.1") == net.out(answer, port, "fd09::1") == b"here\n"
    all_answer()
    proxy.expect_deaths()
    proxy.signal(signal.SIGUSR2)
    proxy.wait_log("upgrade: done")
    all_answer()
@pytest.mark.parametrize("address", ["10.9.0.1", "[fd09::1]"])
def test_a_server_at_an_address_of_ours_is_ourselves(net, directory, address):
    path = directory.write("tcpproxy.conf", f"port 25\nserver {address}\n")
    run = subprocess.run(["ip", "netns", "exec", net.inside, directory.program, "-C", "-f", path], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith(f'tcpproxy: {path}:2:8: "{address}" leads back to this port itself'), run.stderr
    elsewhere = subprocess.run([directory.program, "-C", "-f", path], capture_output=True, text=True)
    assert (elsewhere.returncode, elsewhere.stderr) == (0, "")


@pytest.mark.parametrize("host", ["10.9.0.1", "fd09::1"])
def test_a_loop_over_real_addresses(net, inside, host):
    spelt = f"[{host}]" if ":" in host else host
    proxy = inside(f"workers 2\nport 25\nserver {spelt}:26\nport 26\nserver {spelt}:25\nport 27\n{SAY.format('good')}")
    for _ in range(3):
        assert net.out(was_reset, 25, host)
        assert net.out(answer, 27, host) == b"good\n"
    proxy.wait_log("end=denied")
    assert len(proxy.records()) < 50, proxy.log()


@pytest.mark.parametrize("vip", ["10.9.0.50", "fd09::50"])
def test_a_loop_over_an_address_that_comes_later(net, inside, vip):
    """It is another machine's at the start, so there is nothing to say. Each worker learns that it is ours."""
    spelt = f"[{vip}]" if ":" in vip else vip
    proxy = inside(f"workers 2\nconnect-timeout 1\nport 25\nserver {spelt}\nport 27\n{SAY.format('good')}")
    assert "itself" not in proxy.log()
    net.add(vip + ("/64" if ":" in vip else "/24"))
    for _ in range(5):
        assert net.out(was_reset, 25, vip)
        assert net.out(answer, 27, "10.9.0.1") == b"good\n"
    proxy.wait_log("end=denied")
    assert len(proxy.records()) < 100, proxy.log()


def test_a_loop_over_a_link_local_address(net, inside):
    wait_for(lambda: "tentative" not in ip("-6", "addr", "show", "dev", "wan0", netns=net.inside), "the address is ready")
    shown = ip("-6", "-br", "addr", "show", "dev", "wan0", netns=net.inside).split()
    index = net.enter(net.inside, socket.if_nametoindex, "wan0")
    address = next(a.split("/")[0] for a in shown if a.startswith("fe80"))
    proxy = inside(f"workers 2\nport 25\nserver [{address}%{index}]:26\nport 26\nserver [{address}%{index}]:25\n"
                   f"port 27\n{SAY.format('good')}")
    for _ in range(3):
        assert net.out(was_reset, 25, "10.9.0.1")
        assert net.out(answer, 27, "10.9.0.1") == b"good\n"
    proxy.wait_log("end=denied")
    assert len(proxy.records()) < 50, proxy.log()
