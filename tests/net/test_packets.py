"""What the packets of a connection are like: their DSCP, the interface by which they go."""
import os
import re
import signal
import subprocess

import pytest

from lib import processes
from lib.hosts import CLIENT, HERE, NEAR, SERVER, Hosts, say_who
from lib.peers import gets_reset
from lib.waiting import wait_for
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
    hosts.serve("server", BACK, SERVER[0])
    run(f"port {PORT}\nserver {SERVER[0]}:{BACK}\nsource client\ndevice s0\ndscp ef\n")
    assert hosts.ask(PORT).split()[0] == CLIENT[0]


def only_with_the_mark(hosts):
    """The machine's rules let only what is marked go to the server."""
    for family, server in zip(("-4", "-6"), SERVER):
        hosts.on("proxy", "ip", family, "route", "add", "prohibit", server, "table", "9")
        hosts.on("proxy", "ip", family, "rule", "add", "not", "fwmark", "0x10/0xf0", "lookup", "9", "priority", "80")


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("more", ["", "source client\n"], ids=["", "source-client"])
def test_mark(hosts, run, six, more):  # noqa: F811
    """Alone it needs no routing of ours; beside `source client` both hold."""
    hosts.serve("server", BACK, SERVER[six])
    only_with_the_mark(hosts)
    spelt = f"[{SERVER[1]}]:{BACK}" if six else f"{SERVER[0]}:{BACK}"
    before = hosts.network()
    r = run(f"{more}port {PORT}\nserver {spelt}\nmark 0x10/0xf0\nport {PORT + 1}\nserver {spelt}\nport {PORT + 2}\nserver {spelt}\nmark 32\n")
    assert hosts.ask(PORT, HERE[six]).split()[0] == (CLIENT if more else NEAR)[six]
    for port in (PORT + 1, PORT + 2):
        assert hosts.enter("client", gets_reset, port, HERE[six])
    assert more or hosts.network() == before
    r.proxy.wait_records(3)
    r.proxy.expect_deaths()
    for pid in r.sockets():  # it takes its place
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: pid not in r.sockets(), "it is dead")
        r.proxy.wait_whole()
    r.proxy.kill_workers()
    assert hosts.ask(PORT, HERE[six]).split()[0] == (CLIENT if more else NEAR)[six]
    assert r.ctl("upgrade").returncode == 0
    assert hosts.ask(PORT, HERE[six]).split()[0] == (CLIENT if more else NEAR)[six]


def test_a_mark_that_is_new(hosts, run):  # noqa: F811
    """It needs a process that is started as root."""
    hosts.serve("server", BACK, SERVER[0])
    only_with_the_mark(hosts)
    r = run(f"port {PORT}\nserver {SERVER[0]}:{BACK}\nmark 0x10\n")
    r.proxy.rewrite(r.proxy.config.replace("0x10", "0x30"))
    done = r.ctl("reload")
    assert done.returncode == 1 and "\"mark\" takes effect at the next start" in done.stderr
    r.proxy.rewrite(r.proxy.config.replace("mark 0x30", "mark off"))
    assert r.ctl("reload").returncode == 0
    assert hosts.enter("client", gets_reset, PORT, HERE[0])
    r.proxy.rewrite(r.proxy.config.replace("mark off", "mark 16"))
    assert r.ctl("reload").returncode == 0
    assert hosts.ask(PORT).split()[0] == NEAR[0]


def test_a_mark_without_the_right(hosts, run):  # noqa: F811
    code, log = run(f"port {PORT}\nserver {SERVER[0]}:{BACK}\nmark 7\n", fails=True,
                    wrap=["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"])
    assert code == 2 and log.splitlines()[-1] == "tcpproxy: \"mark\" needs root at start (CAP_NET_ADMIN)"


@pytest.mark.parametrize("words, state", [("mark 0x10", "up"), ("mark 0x20", "down"), ("", "down"), ("mark 0x10\ndevice s0", "up"),
                                          ("mark 0x10\ndevice c0", "down")])
def test_checks_go_the_way_that_clients_go(hosts, run, words, state):  # noqa: F811
    hosts.serve("server", BACK, SERVER[0])
    only_with_the_mark(hosts)
    r = run(f"check every=200ms timeout=100ms tcp\nport {PORT}\nserver {SERVER[0]}:{BACK} as one\n{words}\n"
            f"port {PORT + 1}\nserver {SERVER[0]}:{BACK} as other\nmark 0x10\n")
    for name, wanted in (("one", state), ("other", "up")):  # each for itself
        done = r.ctl("wait", f"{PORT if name == 'one' else PORT + 1}/{name}", wanted)
        assert done.returncode == 0, done.stderr


def test_checks_have_the_dscp_of_clients(hosts, run):  # noqa: F811
    """Behind a router that lets nothing else through."""
    hosts.serve("server", BACK, SERVER[0])
    hosts.on("server", "nft", "add table ip t; add chain ip t c { type filter hook input priority 0; };"
             f"add rule ip t c tcp dport {BACK} ip dscp != ef drop")
    r = run(f"check every=200ms timeout=100ms tcp\nport {PORT}\nserver {SERVER[0]}:{BACK} as one\ndscp cs1 ef\n"
            f"port {PORT + 1}\nserver {SERVER[0]}:{BACK} as other\ndscp ef\n")
    for name, wanted in ((f"{PORT}/one", "down"), (f"{PORT + 1}/other", "up")):  # each for itself
        done = r.ctl("wait", name, wanted)
        assert done.returncode == 0, done.stderr


# -- another namespace

@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_netns(hosts, run, six):  # noqa: F811
    """A server that listens on its own loopback only, two machines further as it seems; asked whether it is well there, too."""
    where = ("127.0.0.1", "::1")[six]
    hosts.serve("server", BACK, where)
    spelt = f"[::1]:{BACK}" if six else f"127.0.0.1:{BACK}"
    r = run(f"check every=200ms tcp\nport {PORT}\nserver {spelt} as there\nnetns {hosts.names['server']}\n"
            f"port {PORT + 1}\nserver {spelt} as here\n")
    assert r.ctl("wait", "there", "up").returncode == 0 and r.ctl("wait", "here", "down").returncode == 0
    assert hosts.ask(PORT, HERE[six]).split()[0] == where
    pids = r.sockets()
    for pid in pids:
        caps = int(processes.status(pid)["CapEff"], 16)
        assert caps == 1 << 12 | 1 << 21  # NET_ADMIN, SYS_ADMIN
    r.proxy.expect_deaths()
    os.kill(pids[0], signal.SIGKILL)
    wait_for(lambda: pids[0] not in r.sockets(), "it is dead")
    r.proxy.wait_whole()
    assert hosts.ask(PORT, HERE[six]).split()[0] == where


def test_a_namespace_that_comes_and_goes(hosts, run):  # noqa: F811
    """Pitfall 28. While it is not there clients are told at once."""
    name = f"tcpp-more-{os.getpid()}"
    hosts.names["more"] = name  # removed at the end
    r = run(f"port {PORT}\nserver 127.0.0.1:{BACK}\nnetns {name}\n")
    assert hosts.enter("client", gets_reset, PORT, HERE[0])
    record = r.proxy.wait_record()
    assert (record.end, record["why"]) == ("connect-failed", "netns")
    r.proxy.wait_log(f"the network namespace /run/netns/{name} does not exist")
    for _ in range(2):
        hosts.on("proxy", "true")
        subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        server = hosts.serve("more", BACK, "127.0.0.1")

        def served():
            try:
                return hosts.ask(PORT).split()[0] == "127.0.0.1"
            except ConnectionResetError:
                return False
        wait_for(served, "it is found")
        server.close()
        subprocess.run(["ip", "netns", "del", name], check=True)
        wait_for(lambda: hosts.enter("client", gets_reset, PORT, HERE[0]) and r.proxy.records()[-1].get("why") == "netns", "it is gone")


def test_netns_without_the_right(hosts, run):  # noqa: F811
    code, log = run(f"port {PORT}\nserver {SERVER[0]}:{BACK}\nnetns blue\n", fails=True,
                    wrap=["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"])
    assert code == 2 and log.splitlines()[-1] == "tcpproxy: \"netns\" needs root at start (CAP_SYS_ADMIN)"
