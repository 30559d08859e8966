"""Ports that are not this host's, or not of each of its interfaces: netns=, device=; and such at which clients speak MPTCP."""
import os
import socket
import subprocess
import threading

import pytest

from lib.hosts import HERE, NEAR, SERVER, Hosts
from lib.peers import MIB, Server, connect, data, echo, gets_reset, read_all, read_exactly, refused, say, talk
from lib.waiting import outlast_fuser, wait_for
from test_source_client import BACK, PORT, run  # noqa: F401 # a fixture


@pytest.fixture
def hosts():
    h = Hosts()
    yield h
    h.close()


def asked(hosts, who, port, host="127.0.0.1"):
    def talk_there():
        with connect(port, host) as s:
            return read_all(s).decode()
    return hosts.enter(who, talk_there)


def both(hosts):
    """The same port here and there, each with a server of its own."""
    hosts.serve("proxy", BACK, "127.0.0.1", say("here"))
    hosts.serve("proxy", BACK + 1, "127.0.0.1", say("there"))
    return (f"port {PORT}\nserver 127.0.0.1:{BACK}\n"
            f"port {PORT} netns={hosts.names['client']} as far\nserver 127.0.0.1:{BACK + 1}\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_same_port_here_and_there(hosts, run, host):  # noqa: F811
    r = run(both(hosts))
    assert asked(hosts, "client", PORT, host) == "there"
    assert asked(hosts, "proxy", PORT, host) == "here"
    assert hosts.ask(PORT) == "here"  # by the network
    found = [record for record in r.proxy.wait_records(3) if record.get("service") == "far"]
    assert [(record["port"], record["interface"].strip("[]")) for record in found] == [(str(PORT), host)]
    r.proxy.wait_log(f"listening on port {PORT} in the network namespace /run/netns/{hosts.names['client']} \\(far\\) on every address")


def test_without_a_name_it_is_called_by_both(hosts, run):  # noqa: F811
    r = run(both(hosts).replace(" as far", ""))
    name = f"{PORT},netns={hosts.names['client']}"
    assert name in r.ctl("status").stdout
    assert r.ctl("disable", name).returncode == 0
    assert hosts.enter("client", gets_reset, PORT)
    assert asked(hosts, "proxy", PORT) == "here"


def test_it_survives_what_others_do(hosts, run):  # noqa: F811
    hosts.serve("proxy", BACK, "127.0.0.1", echo)
    r = run(f"port {PORT} netns={hosts.names['client']}\nserver 127.0.0.1:{BACK}\n")
    with hosts.enter("client", connect, PORT) as s:
        talk(s)
        r.proxy.kill_workers()
        talk(s)
        outlast_fuser()
        r.proxy.kill_supervisor()
        talk(s)
        r.proxy.start_again()
        talk(s)
        with hosts.enter("client", connect, PORT) as other:
            talk(other)
        assert r.ctl("upgrade").returncode == 0
        talk(s)
        with hosts.enter("client", connect, PORT) as other:
            talk(other)


def test_a_reload_may_open_more_there(hosts, run):  # noqa: F811
    """The supervisor may not go there any more: another process makes the socket."""
    r = run(both(hosts))
    before = r.proxy.config
    r.proxy.rewrite(f"{before}port {PORT + 1} netns={hosts.names['client']}\nserver 127.0.0.1:{BACK + 1}\n"
                    f"port 99 netns={hosts.names['client']}\nserver 127.0.0.1:{BACK}\n")
    done = r.ctl("reload")
    assert done.returncode == 0, done.stderr
    assert (asked(hosts, "client", PORT + 1), asked(hosts, "client", 99)) == ("there", "here")
    r.proxy.rewrite(f"{before}port {PORT + 2} netns={hosts.names['server']}\nserver 127.0.0.1:{BACK + 1}\n")
    done = r.ctl("reload")
    assert done.returncode == 1 and "\"netns\" takes effect at the next start" in done.stderr
    assert asked(hosts, "client", PORT + 1) == "there"
    r.proxy.rewrite(before)
    assert r.ctl("reload").returncode == 0
    assert hosts.enter("client", refused, PORT + 1)


def test_a_namespace_that_was_made_anew(hosts, run):  # noqa: F811
    """Pitfall 28. What listens in the old one lives on until a reload finds the new one."""
    name = f"tcpp-more-{os.getpid()}"
    hosts.names["more"] = name  # removed at the end
    hosts.serve("proxy", BACK, "127.0.0.1", echo)

    def make():
        subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    make()
    r = run(f"port {PORT} netns={name}\nserver 127.0.0.1:{BACK}\n")
    with hosts.enter("more", connect, PORT) as s:
        talk(s)
        subprocess.run(["ip", "netns", "del", name], check=True)
        talk(s)
        done = r.ctl("reload")
        assert done.returncode == 1
        assert f"tcpproxy.conf:3:{len(f'port {PORT} ') + 1}: namespace \"{name}\" does not exist (/run/netns/{name})" in done.stderr
        talk(s)
        make()
        assert hosts.enter("more", refused, PORT)
        done = r.ctl("reload")
        assert done.returncode == 0, done.stderr
        with hosts.enter("more", connect, PORT) as other:
            talk(other)
        talk(s)


@pytest.mark.parametrize("words, why, wanted", [("netns=nowhere", "namespace \"nowhere\" does not exist (/run/netns/nowhere)", 1),
                                                ("netns=/etc/hosts", "in the network namespace /etc/hosts: there is no such namespace", 2),
                                                ("device=nosuch0", "there is no such interface (ip link)", 2)])
def test_what_is_not_there(hosts, run, words, why, wanted):  # noqa: F811
    code, log = run(f"port {PORT} {words}\nserver 127.0.0.1:{BACK}\n", fails=True)
    assert code == wanted and why in log


def test_netns_without_the_right(hosts, run):  # noqa: F811
    code, log = run(f"port {PORT} netns={hosts.names['client']}\nserver 127.0.0.1:{BACK}\n", fails=True,
                    wrap=["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"])
    assert code == 2 and "\"netns=\" needs root at the start (CAP_SYS_ADMIN)" in log


# -- one interface


def test_one_port_for_each_interface(hosts, run):  # noqa: F811
    for i, name in enumerate(("clients", "servers", "loopback")):
        hosts.serve("proxy", BACK + i, "127.0.0.1", say(name))
    r = run(f"port {PORT} device=c0\nserver 127.0.0.1:{BACK}\nport {PORT} device=s0 as other\nserver 127.0.0.1:{BACK + 1}\n")
    assert hosts.ask(PORT) == "clients"
    assert asked(hosts, "server", PORT, NEAR[0]) == "servers"
    assert hosts.enter("proxy", refused, PORT)
    r.proxy.rewrite(f"{r.proxy.config}port {PORT}\nserver 127.0.0.1:{BACK + 2}\n")
    done = r.ctl("reload")
    assert done.returncode == 0, done.stderr
    assert asked(hosts, "proxy", PORT) == "loopback"
    assert (hosts.ask(PORT), asked(hosts, "server", PORT, NEAR[1])) == ("clients", "servers")
    r.proxy.kill_workers()
    assert (hosts.ask(PORT), asked(hosts, "proxy", PORT)) == ("clients", "loopback")
    found = r.proxy.wait_records(6)
    assert [record.get("service") for record in found if record["interface"] == NEAR[0]] == ["other"]


def test_all_of_them_at_the_start(hosts, run):  # noqa: F811
    for i, name in enumerate(("clients", "others")):
        hosts.serve("proxy", BACK + i, "127.0.0.1", say(name))
    run(f"port {PORT}\nserver 127.0.0.1:{BACK + 1}\nport {PORT} device=c0\nserver 127.0.0.1:{BACK}\n")
    assert (hosts.ask(PORT), asked(hosts, "proxy", PORT)) == ("clients", "others")


def test_an_interface_that_was_made_anew(hosts, run):  # noqa: F811
    hosts.serve("proxy", BACK, "127.0.0.1", say("there"))

    def make():
        hosts.on("proxy", "ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1")
        hosts.on("proxy", "ip", "addr", "add", "192.0.2.1/24", "dev", "d0")
        hosts.on("proxy", "ip", "link", "set", "d0", "up")
    make()
    r = run(f"port {PORT} device=d0\nserver 127.0.0.1:{BACK}\n")
    hosts.on("proxy", "ip", "link", "del", "d0")
    assert r.ctl("reload").returncode == 0  # there is nothing better
    make()
    assert r.ctl("reload").returncode == 0
    bound = hosts.on("proxy", "ss", "-Hltn", f"( sport = :{PORT} )")
    assert bound.count("%d0") == 2, bound  # else it would be called by its number


# -- MPTCP

def call(protocol):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    s.settimeout(20)
    s.connect((HERE[0], PORT))
    return s


HAS_MPTCP = os.path.exists("/proc/sys/net/mptcp/enabled")


@pytest.mark.skipif(not HAS_MPTCP, reason="this kernel has no MPTCP")
@pytest.mark.parametrize("protocol", [socket.IPPROTO_TCP, socket.IPPROTO_MPTCP], ids=["TCP", "MPTCP"])
def test_mptcp(hosts, run, protocol):  # noqa: F811
    """Clients that speak it, and those that do not; over deaths of workers, to each end."""
    hosts.serve("proxy", BACK, "127.0.0.1", echo)
    r = run(f"port {PORT} mptcp\nserver 127.0.0.1:{BACK}\n")
    with hosts.enter("client", call, protocol) as s:
        talk(s)
        told = hosts.on("proxy", "ss", "-HtnM", "state", "established", f"( sport = :{PORT} )")
        assert (told.count("mptcp") > 0) == (protocol == socket.IPPROTO_MPTCP), told
        r.proxy.kill_workers()
        wanted = data(3 * MIB)
        sender = threading.Thread(target=lambda: (s.sendall(wanted), s.shutdown(socket.SHUT_WR)))
        sender.start()
        got = read_exactly(s, MIB)
        r.proxy.kill_workers()
        got += read_all(s)
        sender.join()
        assert got == wanted
    record = r.proxy.wait_record()
    assert (record.end, record.up, record.down) == ("client-fin", 3 * MIB + 5, 3 * MIB + 5)


@pytest.mark.skipif(not HAS_MPTCP, reason="this kernel has no MPTCP")
def test_a_client_of_mptcp_is_told_of_a_reset(hosts, run):  # noqa: F811
    server = hosts.enter("proxy", Server, "tcp4", port=BACK)
    r = run(f"port {PORT} mptcp\nserver 127.0.0.1:{BACK}\n")
    with server, hosts.enter("client", call, socket.IPPROTO_MPTCP) as s:
        served = server.accept()
        s.sendall(b"hello")
        assert read_exactly(served, 5) == b"hello"
        served.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        served.close()
        with pytest.raises(ConnectionResetError):
            read_all(s)
    assert r.proxy.wait_record().end == "server-reset"


# -- servers, each with a way of its own


def test_servers_of_one_pool_in_several_namespaces(hosts, run):  # noqa: F811
    hosts.serve("client", BACK, "127.0.0.1", say("client"))
    hosts.serve("server", BACK, "127.0.0.1", say("server"))
    hosts.serve("proxy", BACK, "127.0.0.1", say("proxy"))
    r = run(f"port {PORT}\nnetns {hosts.names['client']}\ncheck every=200ms tcp\n"
            f"server 127.0.0.1:{BACK} as one\nserver 127.0.0.1:{BACK} netns={hosts.names['server']} as two\n"
            f"server 127.0.0.1:{BACK} netns=off as three\n")
    for name in ("one", "two", "three"):
        assert r.ctl("wait", f"{PORT}/{name}", "up").returncode == 0
    assert {hosts.ask(PORT) for _ in range(9)} == {"client", "server", "proxy"}
    assert {(record["target"], record.down) for record in r.proxy.wait_records(9)} == {("one", 6), ("two", 6), ("three", 5)}


def test_servers_of_one_pool_by_several_interfaces(hosts, run):  # noqa: F811
    hosts.serve("server", BACK, SERVER[0], say("far"))
    r = run(f"connect-timeout 1s\nport {PORT}\nserver {SERVER[0]}:{BACK} device=c0 as wrong\nserver {SERVER[0]}:{BACK} device=s0 as right\n")
    assert {hosts.ask(PORT) for _ in range(4)} == {"far"}
    assert {record["target"] for record in r.proxy.wait_records(4)} == {"right"}
    r.proxy.wait_log("to wrong ")


@pytest.mark.skipif(not HAS_MPTCP, reason="this kernel has no MPTCP")
def test_a_server_that_speaks_mptcp(hosts, run):  # noqa: F811
    """To its ends, over deaths of workers; and one that does not speak it is served all the same."""
    def listen(protocol):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((SERVER[0], BACK))
        s.listen()
        s.settimeout(20)
        return s
    r = run(f"port {PORT}\nserver {SERVER[0]}:{BACK} mptcp\n")
    for i, protocol in enumerate((socket.IPPROTO_MPTCP, socket.IPPROTO_TCP)):
        wanted = data(2 * MIB, seed=i)
        with hosts.enter("server", listen, protocol) as listener, hosts.connect(PORT) as s:
            served = listener.accept()[0]
            served.settimeout(20)
            talk_both(s, served)
            told = hosts.on("server", "ss", "-HtnM", "state", "established", f"( sport = :{BACK} )")
            assert (told.count("mptcp") > 0) == (protocol == socket.IPPROTO_MPTCP), told
            sender = threading.Thread(target=lambda: (served.sendall(wanted), served.shutdown(socket.SHUT_WR)))
            sender.start()
            got = read_exactly(s, MIB)
            r.proxy.kill_workers()
            assert got + read_all(s) == wanted
            sender.join()
            s.sendall(b"and back")
            s.shutdown(socket.SHUT_WR)
            assert read_all(served) == b"and back"
            served.close()
    assert [(record.end, record.up, record.down) for record in r.proxy.wait_records(2)] == \
        2 * [("server-fin", 8 + 5, 2 * MIB + 5)]


def talk_both(one, other):
    for a, b in ((one, other), (other, one)):
        a.sendall(b"hello")
        assert read_exactly(b, 5) == b"hello"
