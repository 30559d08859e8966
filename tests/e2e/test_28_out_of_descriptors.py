"""Out of descriptors: whoever comes waits in the queue, nobody spins, what there is goes on, and then it is his turn."""
import os
import socket
import subprocess
import time

import pytest

from lib import build, processes
from lib.page import Page
from lib.peers import ask, connect, read_exactly
from lib.ports import free_port
from lib.waiting import PATIENCE, wait_for


class Shortage:
    """While the block runs, this process can open nothing more."""

    def __init__(self, pid):
        self.pid = pid
        self.user = int(processes.status(pid)["Uid"].split()[0])
        with open(f"/proc/{pid}/limits") as f:
            self.before = next(line.split()[3] for line in f if line.startswith("Max open files"))

    def limit(self, soft):
        """By its own user: not every root may do that to others."""
        subprocess.run(["prlimit", "--pid", str(self.pid), f"--nofile={soft}:"], check=True,
                       **({"user": self.user, "group": self.user, "extra_groups": []} if os.geteuid() == 0 else {}))

    def __enter__(self):
        held = processes.descriptors(self.pid)
        self.limit(next(n for n in range(len(held) + 1) if n not in held))
        return self

    def __exit__(self, *_):
        self.limit(self.before)

    def assert_sleeps(self, seconds=1.5):
        """It takes less than a twentieth of a processor. There is no state to wait for: nothing is to happen."""
        before = processes.cpu_seconds(self.pid)
        time.sleep(seconds)
        took = processes.cpu_seconds(self.pid) - before
        assert took < seconds / 20, f"{processes.title(self.pid)} took {took:.2f} s of {seconds} s"


@pytest.fixture
def proxy(start, service, admin):
    proxy = start("-b", free_port(), "-o", "workers 1", "-o", admin.option, service().spelt)
    proxy.port = proxy.ports()[0]
    return proxy


def door_of(pid):
    """The name of the socket at which this worker waits for the next supervisor."""
    inodes = {x[8:-1] for x in processes.descriptors(pid).values() if x.startswith("socket:[")}
    with open("/proc/net/unix") as f:
        for line in f:
            fields = line.split()
            if fields[6] in inodes and fields[4] == "0005" and len(fields) > 7 and fields[3] == "00010000":
                return fields[7].replace("@", "\0", 1) if fields[7].startswith("@") else fields[7]
    raise AssertionError("no door")


def test_a_worker_at_whose_door_somebody_knocks(proxy):
    worker, = proxy.workers()
    with connect(proxy.port) as old:
        with Shortage(worker) as shortage:
            knocking = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
            for s in knocking:
                s.settimeout(PATIENCE)
                s.connect(door_of(worker))
            shortage.assert_sleeps()
            proxy.wait_log("accepting at the door for the next supervisor: no descriptors left")
            old.sendall(b"goes on")
            assert read_exactly(old, 7) == b"goes on"
        for s in knocking:
            assert s.recv(1000), "a greeting"
            s.close()
    assert proxy.log().count("at the door") == 1


def test_a_worker_to_whom_clients_come(proxy):
    worker, = proxy.workers()
    with connect(proxy.port) as old:
        old.sendall(b"x")
        assert old.recv(1) == b"x"
        with Shortage(worker) as shortage:
            new = connect(proxy.port)
            new.sendall(b"new")
            shortage.assert_sleeps()
            proxy.wait_log("accepting connections: no descriptors left")
            old.sendall(b"goes on")
            assert read_exactly(old, 7) == b"goes on"
        assert read_exactly(new, 3) == b"new"
        new.close()


def test_a_supervisor_who_is_asked(proxy, admin):
    with Shortage(proxy.pid) as shortage:
        asking = [admin.connect() for _ in range(3)]
        for s in asking:
            s.sendall(b"counters\n")
        shortage.assert_sleeps()
        proxy.wait_log("accepting at the admin socket: no descriptors left")
        assert ask(proxy.port, b"x") == b"x"
    for s in asking:
        assert s.recv(5) == b"ok 0 "
        s.close()
    assert proxy.log().count("at the admin socket") == 1


def has_connections(pid):
    held = set(processes.descriptors(pid).values())
    with open("/proc/net/tcp") as f:
        connections = [line.split() for line in f.readlines()[1:]]
    return any(c[3] != "0A" and f"socket:[{c[9]}]" in held for c in connections)


@pytest.mark.skipif(not build.has_page(), reason="this build has no page")
def test_a_page_that_is_looked_at(start, service):
    page = Page()
    proxy = start("-b", free_port(), "-o", page.option, service().spelt)
    page.wait_answers()
    admin, = proxy.role("admin")
    wait_for(lambda: not has_connections(admin), "the connections of before are closed")
    with Shortage(admin) as shortage:
        looking = [page.connect() for _ in range(3)]
        for s in looking:
            s.sendall(b"GET /api/config HTTP/1.1\r\nHost: localhost\r\n\r\n")
        shortage.assert_sleeps()
        proxy.wait_log("accepting at the page: no descriptors left")
    for s in looking:
        assert s.recv(12) == b"HTTP/1.1 200"
        s.close()
