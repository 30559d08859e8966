"""A port that leads to itself, in one step or in several: refused where it can be seen, and no danger where it cannot."""
import os
import re
import signal

import pytest

from lib import build, processes
from lib.peers import ask, connect, gets_reset, is_reset, say, talk
from lib.ports import free_port
from lib.waiting import wait_for

ITSELF = "leads? back to this port itself"


# -- what can be seen before it starts


@pytest.mark.parametrize("server", ["localhost", "127.0.0.1", "[::1]", "0.0.0.0", "[::]", "localhost:{}", "127.0.0.2:{}"])
def test_a_port_that_leads_to_itself_is_refused(directory, server):
    port = free_port()
    for mode in ([], ["-C"], ["-D"]):
        run = directory.run(*mode, "-b", port, server.format(port))
        assert run.returncode == 1
        assert re.search(rf'^tcpproxy: server: "{re.escape(server.format(port))}" {ITSELF}', run.stderr), run.stderr


def test_the_place_in_the_file_is_told(directory):
    port = free_port()
    path = directory.write("tcpproxy.conf", f"port {port}\ninterface 127.0.0.1\n  server localhost.test\n"
                                            f"interface ::1\n  server [::1]:{port}\n  server [::1] backup\n")
    for mode in ([], ["-C"]):
        run = directory.run(*mode, "-f", path)
        assert run.returncode == 1
        assert re.search(rf'^tcpproxy: {path}:5:10: "\[::1\]:{port}" and all other servers here {ITSELF}', run.stderr), run.stderr
        assert run.stdout == ""


def test_the_same_port_of_another_address_is_somebody_else(directory, start, server):
    """As with a daemon at the loopback address, and us in front of it."""
    behind = server(host="127.0.0.2")
    run = directory.run("-C", "-b", f"127.0.0.1:{behind.port}", behind.spelt)
    assert (run.returncode, run.stderr) == (0, "")
    start("-b", f"127.0.0.1:{behind.port}", "127.0.0.2")
    with connect(behind.port) as client:
        talk_through(client, behind.accept())


def talk_through(client, server):
    client.sendall(b"there")
    assert server.recv(9) == b"there"
    server.sendall(b"back")
    assert client.recv(9) == b"back"
    server.close()


def test_one_connection_is_not_asked(directory):
    """From inetd we do not know who listens, and where."""
    run = directory.run("localhost", input="")
    assert "itself" not in run.stderr
    path = directory.write("inetd.conf", "standalone no\nport 8080\nserver localhost\n")
    assert directory.run("-C", "-f", path).returncode == 0


def test_another_port_of_ours_is_told_at_each_start(directory, start, service):
    first, second = free_port(), free_port()
    config = f"port {first}\nserver 127.0.0.1:{second}\nport {second}\nserver {service(say('hello')).spelt}\n"
    path = directory.write("tcpproxy.conf", config)
    warning = (f'{path}:2:8: "127.0.0.1:{second}" is a port of this tcpproxy itself ({path}:3): its clients pass through '
               "both services, and one that comes back to a service is reset")
    run = directory.run("-C", "-f", path)
    assert (run.returncode, run.stderr) == (0, f"tcpproxy: warning: {warning}\n")
    canonical = directory.run("-C", "-f", directory.write("again.conf", run.stdout))
    assert canonical.stdout == run.stdout

    proxy = start(config=config)
    assert proxy.log().count(warning) == 1 and f"tcpproxy: warning: {warning}\n" in proxy.log()
    assert ask(first) == b"hello"


def test_the_log_is_told_too(directory, start, service):
    first, second = free_port(), free_port()
    config = (f"log file:{directory.path}/the.log\nport {first}\nserver localhost:{second}\n"
              f"port {second}\nserver {service().spelt}\n")
    os.chmod(directory.path, 0o777)
    proxy = start(config=config)

    def told():
        with open(directory / "the.log") as f:
            return re.findall(rf" warning {proxy.config_path}:3:8: .* is a port of this tcpproxy itself", f.read())
    assert len(told()) == 1
    assert proxy.log().count("tcpproxy: warning: ") == 1
    proxy.signal(signal.SIGHUP)
    wait_for(lambda: len(told()) == 2, "said again at a reload")


def test_a_reload_that_would_make_a_loop_changes_nothing(start, service):
    port = free_port()
    proxy = start(config=f"port {port}\nserver {service(say('good')).spelt}\n")
    proxy.rewrite(f"port {port}\nserver localhost\n")
    proxy.signal(signal.SIGHUP)
    proxy.wait_log(rf"{proxy.config_path}:2:8: .*{ITSELF}")
    proxy.wait_log("nothing has changed")
    assert ask(port) == b"good"


# -- what cannot be seen, or is a warning only


class Loop:
    """Services of one file, each leading to the next one, the last one to the first; and a good one beside them."""

    def __init__(self, start, service, names, server, length=2, more="", workers=2):
        for family in ("127.0.0.1", "::1"):
            names.add("loop.test", family)
        self.ports = [free_port() for _ in range(length)]
        self.good = free_port()
        config = f"{more}workers {workers}\nresolver {names.spelt}\n"
        for port, to in zip(self.ports, self.ports[1:] + self.ports[:1]):
            config += f"port {port}\nserver {server}:{to}\n"
        config += f"port {self.good}\nserver {service(say('good')).spelt}\n"
        self.proxy = start(config=config)

    def records(self):
        return [r for r in self.proxy.records() if int(r["port"]) in self.ports]

    def sockets(self):
        return sum(leads.startswith("socket:") for pid in self.proxy.workers()
                   for leads in processes.descriptors(pid).values())


SERVERS = ["127.0.0.1", "[::1]", "localhost", "0.0.0.0", "[::]", "loop.test"]


@pytest.mark.parametrize("server,length", [(s, n) for n in (2, 5) for s in SERVERS] + [("loop.test", 1)])
def test_one_client_of_a_loop_harms_nobody(start, service, names, server, length):
    """It is reset, others are served, and no socket is left."""
    loop = Loop(start, service, names, server, length)
    before = loop.sockets()
    for _ in range(5):
        assert gets_reset(loop.ports[0])
        assert ask(loop.good) == b"good"
    assert gets_reset(loop.ports[-1], "::1")
    wait_for(lambda: loop.sockets() == before, "all sockets are gone")
    # each has come through all of them once, and is denied where it came in
    wait_for(lambda: len(loop.records()) == 6 * (length + 1), f"records of all\n{loop.proxy.log()}")
    assert sum(r.end == "denied" for r in loop.records()) == 6
    told = re.findall(r"denying \S+ at \S+ \(\S+\): it has come through this service already", loop.proxy.log())
    assert 1 <= len(told) <= 2, loop.proxy.log()  # once a minute, by each worker


def test_a_client_that_says_something_at_once_is_reset_too(start, service, names):
    loop = Loop(start, service, names, "127.0.0.1")
    try:
        client = connect(loop.ports[0])
        client.sendall(b"x" * 100_000)
        assert is_reset(client)
    except (ConnectionResetError, BrokenPipeError):
        pass  # already
    wait_for(lambda: any(r.end == "denied" for r in loop.records()), "it is denied")


def test_a_pool_with_itself_in_it_still_serves(start, service, names):
    """One turn leads back, and is denied; the next one is served."""
    port = free_port()
    proxy = start(config=f"workers 1\nport {port}\nserver 127.0.0.1\nserver {service(say('good')).spelt}\n")
    proxy.wait_log(r"warning: .*:3:8: \"127.0.0.1\" leads back to this port itself")
    answers = []
    for _ in range(8):
        try:
            answers.append(ask(port))
        except ConnectionResetError:
            answers.append(None)
    assert answers.count(b"good") >= 2
    assert all(a in (b"good", None) for a in answers)


def test_a_loop_after_a_reload(start, service, names):
    loop = Loop(start, service, names, "127.0.0.1")
    assert gets_reset(loop.ports[0])
    loop.proxy.rewrite("# a line more\n" + loop.proxy.config)
    loop.proxy.signal(signal.SIGHUP)
    loop.proxy.wait_log("is in force")
    for _ in range(3):
        assert gets_reset(loop.ports[0])
        assert ask(loop.good) == b"good"


# -- chains that end somewhere go on to work


class Held:
    """Two services in a circle; the second one asks about the client until go()."""

    def __init__(self, start, directory, more="", **options):
        self.first, self.second = free_port(), free_port()
        self.granted = directory / "granted"
        access = directory.script("access", f"until [ -e {self.granted} ]; do sleep 0.02; done")
        self.proxy = start(config=f"{more}port {self.first}\nserver 127.0.0.1:{self.second}\n"
                                  f"port {self.second}\nacp {access}\nserver 127.0.0.1:{self.first}\n", **options)
        self.client = connect(self.first)
        wait_for(lambda: [p for p in processes.pids() if access in processes.title(p)], "the program is asked")

    def go(self):
        with open(self.granted, "w"):
            pass
        assert is_reset(self.client)
        ends = sorted((int(r["port"]), r.end) for r in self.proxy.wait_records(3))
        wanted = [(self.first, "denied"), (self.first, "server-reset"), (self.second, "server-reset")]
        assert ends == sorted(wanted), self.proxy.log()


def test_the_next_worker_knows_the_links_of_the_last_one(start, directory):
    held = Held(start, directory, "workers 1\n")
    victim = held.proxy.workers()[0]
    held.proxy.expect_deaths()
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: held.proxy.whole() and victim not in held.proxy.workers(), "another worker")
    held.go()


def worker_of(proxy, link):
    return [pid for pid in proxy.workers() if link in processes.descriptors(pid).values()]


@pytest.mark.skipif(not build.has_faults(), reason="only a build with -Dfaults=true moves connections to order")
def test_a_link_moves_with_its_connection(start, directory):
    held = Held(start, directory, "workers 2\n", env={"TCPPROXY_MOVES": "3"})
    inode = wait_for(lambda: inode_of(held.first, held.client), "its socket")
    seen = set()
    wait_for(lambda: seen.update(worker_of(held.proxy, inode)) or len(seen) == 2, "it has been with both workers")
    held.go()


def inode_of(port, client):
    """What the descriptor of the proxy's end leads to. The client's port alone does not tell: a connection to another
    port may have the same, and one that has ended is listed for a minute."""
    ends = [f"0100007F:{n:04X}" for n in (port, client.getsockname()[1])]
    with open("/proc/net/tcp") as f:
        return next((f"socket:[{w[9]}]" for w in (line.split() for line in f) if w[1:4] == [*ends, "01"]), None)


@pytest.fixture(params=["127.0.0.1", "[::1]", "localhost"])
def chain(request, start, service):
    """The first port of five in a row, before an echo; and its proxy."""
    ports = [free_port() for _ in range(5)]
    config = "workers 2\n"
    for port, to in zip(ports, ports[1:]):
        config += f"port {port}\nserver {request.param}:{to}\n"
    proxy = start(config=config + f"port {ports[-1]}\nserver {service().spelt}\n")
    return ports[0], proxy


def test_a_chain_of_services_works(chain):
    port, proxy = chain
    clients = [connect(port) for _ in range(40)]
    for c in clients:
        talk(c)
    for c in clients:
        c.close()
    assert ask(port, b"hello") == b"hello"
    assert "denied" not in proxy.log()


def test_a_chain_survives_its_workers(chain):
    port, proxy = chain
    clients = [connect(port) for _ in range(10)]
    for c in clients:
        talk(c)
    proxy.expect_deaths()
    for pid in proxy.workers():
        os.kill(pid, signal.SIGKILL)
    for c in clients:
        talk(c, b"after")
    assert ask(port, b"new") == b"new"
    assert "denied" not in proxy.log()


def test_sections_of_one_service_may_be_chained(start, service):
    port = free_port()
    start(config=f"port {port}\ninterface 127.0.0.1\nserver 127.0.0.2\ninterface 127.0.0.2\nserver 127.0.0.3\n"
                 f"interface 127.0.0.3\nserver {service().spelt}\n")
    assert ask(port, b"through three") == b"through three"


def test_a_client_of_this_host_is_no_loop(start, service):
    """Somebody else here may call as often as he likes, also by a port that a connection of ours had."""
    port = free_port()
    start("-b", port, service().spelt)
    for _ in range(20):
        assert ask(port, b"x", "127.0.0.5") == b"x"
