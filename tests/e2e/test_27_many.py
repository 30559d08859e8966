"""Many connections: shared evenly between workers, small while they are idle, and each of them still answers."""
import os
import re
import resource
import select
import signal
import socket
import time

import pytest

from lib import build, processes
from lib.peers import connect
from lib.ports import free_port
from lib.waiting import wait_for


def allow(wanted):
    """Raises the limit of open files as far as it goes; returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (wanted, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, limit), max(hard, limit)))
            break
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Echo:
    """A process that sends back what comes to any of its ports."""

    def __init__(self, n_ports):
        listeners = []
        for _ in range(n_ports):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", 0))
            s.listen(4096)
            listeners.append(s)
        self.ports = [s.getsockname()[1] for s in listeners]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.serve({s.fileno(): s for s in listeners})
            finally:
                os._exit(0)
        for s in listeners:
            s.close()

    @staticmethod
    def serve(listeners):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(600)
        ready = select.epoll()
        for fd in listeners:
            ready.register(fd, select.EPOLLIN)
        clients = {}
        while True:
            for fd, _ in ready.poll():
                if fd in listeners:
                    s, _ = listeners[fd].accept()
                    clients[s.fileno()] = s
                    ready.register(s.fileno(), select.EPOLLIN)
                    continue
                try:
                    data = clients[fd].recv(4096)
                    clients[fd].sendall(data)
                except OSError:
                    data = b""
                if not data:
                    clients.pop(fd).close()

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def echoes():
    made = []

    def make(n_ports=1):
        made.append(Echo(n_ports))
        return made[-1]
    yield make
    for e in made:
        e.close()


def shares(proxy, before):
    """Connections of each worker: each has two sockets."""
    return [(sockets(pid) - before[pid]) // 2 for pid in proxy.workers()]


def sockets(pid):
    return sum(1 for what in processes.descriptors(pid).values() if what.startswith("socket:"))


@pytest.mark.parametrize("pause", [0, 0.002], ids=["all at once", "one after the other"])
@pytest.mark.limit(120)
def test_workers_share_evenly(start, echoes, pause):
    """1,000 equal connections; 20 percent is what one worker may have more or less than its half."""
    if allow(4096) < 4096:
        pytest.skip("needs 4096 open files")
    port = free_port()
    proxy = start("-b", f"127.0.0.1:{port}", "-o", "workers 2", f"127.0.0.1:{echoes().ports[0]}")
    before = {pid: sockets(pid) for pid in proxy.workers()}
    clients = []
    for _ in range(1000):
        clients.append(connect(port))
        time.sleep(pause)
    wait_for(lambda: sum(shares(proxy, before)) == 1000, "all are connected", 20)
    got = shares(proxy, before)
    assert max(got) <= 600, got
    for s in clients:
        s.close()


def memory(proxy):
    """The sum of the proportional set sizes of all its processes, in bytes, without the pages of files: how much of the
    libraries counts as ours depends on who else has them mapped."""
    total = 0
    for pid in proxy.pids():
        with open(f"/proc/{pid}/smaps_rollup") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return total * 1024


class Herd:
    """A process that holds n connections to a port, each of which has been answered."""

    def __init__(self, n, port, source):
        self.ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.ours.close()
                self.live(theirs, n, port, source)
            except (OSError, AssertionError) as e:
                print(f"the connections from {source}: {e!r}", flush=True)
            finally:
                os._exit(0)
        theirs.close()
        self.n = n
        self.ours.settimeout(300)

    @staticmethod
    def live(told, n, port, source):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(600)
        clients = []
        while word := told.recv(1):
            if word == b"c":
                for i in range(n):
                    clients.append(connect(port, source=source, timeout=60))
                    clients[-1].sendall(b"%06d" % i)
                    assert clients[-1].recv(6) == b"%06d" % i
            else:
                for s in clients:
                    s.sendall(b"again!")
                for s in clients:
                    assert s.recv(6) == b"again!"
            told.sendall(word)

    def tell(self, word):
        self.ours.sendall(word)

    def has_done(self, word):
        return self.ours.recv(1) == word

    def close(self):
        self.ours.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def herds():
    made = []

    def make(*what):
        made.append(Herd(*what))
        return made[-1]
    yield make
    for h in made:
        h.close()


@pytest.mark.limit(600)
def test_idle_connections_are_small_and_each_answers(start, echoes, herds):
    """CONNECTIONS says how many (default: 9,000). However few files a process may open: workers, servers and clients
    are as many as that takes."""
    if build.is_sanitized():
        pytest.skip("a sanitizer has memory of its own")
    n, few = int(os.environ.get("CONNECTIONS", "9000")), 500
    files = allow(n * 3) - 1000
    if files < 3000:
        pytest.skip(f"only {resource.getrlimit(resource.RLIMIT_NOFILE)[1]} files may be open")
    each = min(files, 16_000)  # of servers and clients: what one address has ports for
    ports = [echoes().ports[0] for _ in range(0, n, each)]
    workers = max(2, -(-n * 9 // (files * 3 - files // 4)))  # three files for a connection; no worker is quite full
    port = free_port()
    proxy = start(config=f"workers {workers}\naccess-log off\nport {port}\n" +
                  "".join(f"server 127.0.0.1:{p}\n" for p in ports))
    if workers == 2:
        assert memory(proxy) < 5 << 19  # the whole tree, before anybody came

    def grow(*herd):
        for h in herd:
            h.tell(b"c")
        for h in herd:
            assert h.has_done(b"c"), f"only some of {n} connections were answered"
    grow(herds(few, port, "127.0.1.1"))
    before = memory(proxy)
    left = [herds(min(each, n - few - i), port, f"127.0.1.{2 + i // each}") for i in range(0, n - few, each)]
    grow(*left)
    moved = sum(map(int, re.findall(r"(\d+) connections were handed over", proxy.log())))  # each has had two places
    grown = (memory(proxy) - before) / (n - few + moved)
    print(f"{n} connections in {workers} workers, {moved} of them moved, {grown:.0f} bytes for each place")
    assert grown < 650  # 570, and pages that are not full
    for h in left:
        h.tell(b"a")
        assert h.has_done(b"a"), "not every connection still answers"


@pytest.mark.parametrize("what", ["-C", "start"])
def test_more_ports_than_can_be_served_are_refused_whole(directory, what):
    done = directory.run(*(["-C"] if what == "-C" else []), "-b", "20000-39999", "127.0.0.1:9")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "40000 sockets would have to listen" in done.stderr and "at most 32768" in done.stderr


def test_more_ports_than_descriptors_are_refused_whole(directory):
    done = directory.run("-b", "20000-20999", "127.0.0.1:9", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "2000 sockets would have to listen, and a process may open 1024 descriptors here" in done.stderr
