"""How many system calls it takes: none in vain. docs/performance.md says what each is for."""
import collections
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

from lib import processes
from lib.peers import answer, connect, read_exactly, say
from lib.ports import free_port
from lib.waiting import wait_for

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


class Count:
    """The calls of one process while the block runs: count["recvfrom"], count.sum."""

    def __init__(self, pid, directory):
        self.path = directory / "calls"
        self.argv = ["strace", "-qq", "-o", self.path, "-p", str(pid)]
        self.pid = pid

    def __enter__(self):
        self.strace = subprocess.Popen(self.argv, stderr=subprocess.DEVNULL)
        wait_for(lambda: processes.status(self.pid).get("TracerPid", "0") != "0", "strace looks on")
        return self

    def __exit__(self, *_):
        self.strace.send_signal(signal.SIGINT)
        self.strace.wait(10)
        with open(self.path, errors="replace") as f:
            self.lines = f.read().splitlines()
        names = (re.match(r"(\w+)\(", line) for line in self.lines)
        self.calls = collections.Counter(m[1] for m in names if m)
        del self.calls["restart_syscall"]  # the wait in which it was found

    @property
    def sum(self):
        """But for the shared wait."""
        return sum(n for name, n in self.calls.items() if name != "epoll_wait")


@pytest.fixture
def one_worker(start, directory):
    """one_worker(spelt): a proxy with one worker; its port, and a counter of that worker's calls."""
    def make(spelt):
        port = free_port()
        proxy = make.proxy = start("-b", f"127.0.0.1:{port}", "-o", "workers 1", "-o", "access-log off", spelt)
        return port, lambda: Count(proxy.workers()[0], directory)
    return make


def echo_64(s):
    while data := s.recv(64):
        s.sendall(data)


def test_a_request_takes_four(one_worker, service):
    """Received twice, sent twice; nothing is asked again, no timer moved."""
    port, count = one_worker(service(echo_64).spelt)
    client = connect(port)
    for _ in range(3):  # what is done once is done
        client.sendall(b"x" * 64)
        read_exactly(client, 64)
    with count() as c:
        for _ in range(100):
            client.sendall(b"x" * 64)
            assert read_exactly(client, 64) == b"x" * 64
    assert c.calls["recvfrom"] == c.calls["sendto"] == 200, c.calls
    assert c.sum <= 402, c.calls  # and a look at the load each second
    client.close()


def test_messages_of_many_take_few(one_worker, service):
    """Those that are there at once are received by one call and sent by another, up to 64 in each."""
    heard = queue.Queue()

    def listen(s):
        while data := s.recv(64):
            heard.put(data)
    port, count = one_worker(service(listen).spelt)
    if "io_uring" in one_worker.proxy.log():
        pytest.skip("io_uring cannot be used here")
    clients = [connect(port) for _ in range(64)]

    def all_say(text):
        for client in clients:
            client.sendall(text)
        for _ in clients:
            assert heard.get(timeout=10) == text
    all_say(b"once")
    all_say(b"what is done once is done")
    worker = one_worker.proxy.workers()[0]
    os.kill(worker, signal.SIGSTOP)
    wait_for(lambda: processes.status(worker)["State"].startswith("T"), "the worker is stopped")
    for client in clients:
        client.sendall(b"all")
    with count() as c:
        os.kill(worker, signal.SIGCONT)
        for _ in clients:
            assert heard.get(timeout=10) == b"all"
    assert c.calls["recvfrom"] == c.calls["sendto"] == 0, c.calls
    assert c.sum <= 6, c.calls
    for client in clients:
        client.close()


def test_a_short_connection_takes_eighteen(one_worker, service):
    """connect, a request, its answer, the end. See docs/performance.md for each."""
    def answer(s):
        s.sendall(read_exactly(s, 64))
        s.recv(1)  # until the client ends
    port, count = one_worker(service(answer).spelt)
    n = 50

    def once():
        with connect(port) as s:
            s.sendall(b"x" * 64)
            assert read_exactly(s, 64) == b"x" * 64
            s.shutdown(1)
            assert s.recv(1) == b""
    once()
    with count() as c:
        for _ in range(n):
            once()
    assert c.calls["connect"] == n, c.calls
    assert c.calls["setsockopt"] <= n and c.calls["shutdown"] <= n, c.calls
    assert c.calls["getsockname"] <= n and "getpeername" not in c.calls and "fcntl" not in c.calls, c.calls
    # one more accept here and there, a look at what is not acknowledged yet
    assert c.sum <= 19.5 * n, c.calls


def test_a_chain_of_services_asks_for_one_name_more(start, service, directory):
    """Each socket that is connected is asked whether it is connected to itself; only where the server is one of our own ports
    once more, for the chain."""
    ports = [free_port() for _ in range(2)]
    proxy = start(config=f"workers 1\naccess-log off\nport {ports[0]}\ninterface 127.0.0.1\nserver 127.0.0.1:{ports[1]}\n"
                         f"port {ports[1]}\ninterface 127.0.0.1\nserver {service(say('hello')).spelt}\n")
    n = 50
    assert answer(ports[0]) == b"hello"
    with Count(proxy.workers()[0], directory) as c:
        for _ in range(n):
            assert answer(ports[0]) == b"hello"
    assert c.calls["connect"] == 2 * n and c.calls["getsockname"] == 3 * n, c.calls


def test_an_idle_connection_takes_none(one_worker, service):
    port, count = one_worker(service(echo_64).spelt)
    clients = [connect(port) for _ in range(20)]
    for client in clients:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    with count() as c:
        time.sleep(3)  # nothing is to happen: there is no state to wait for
    assert c.sum <= 3, c.calls  # the worker's own
    assert c.calls["epoll_wait"] <= 8, c.calls
    for client in clients:
        client.close()


def test_bulk_takes_large_pieces(one_worker, service):
    """A download is spliced: two calls for each piece, no copying, and few pieces."""
    size = 64 << 20
    block = b"x" * (1 << 20)
    go = threading.Event()

    def send(s):
        go.wait(20)
        for _ in range(size // len(block)):
            s.sendall(block)
    port, count = one_worker(service(send).spelt)
    client = connect(port)
    with count() as c:
        go.set()
        assert len(read_exactly(client, size)) == size
    assert c.calls["splice"] > 0, c.calls
    assert c.calls["recvfrom"] <= 20, c.calls
    assert c.sum <= size // 16384, c.calls
    client.close()
