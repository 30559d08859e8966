"""Connections move from one worker to another while they live, and nobody notices."""
import collections
import os
import re
import signal
import socket
import struct
import threading

import pytest

from lib import processes
from lib.peers import MIB, connect, gets_reset, read_exactly, talk
from lib.ports import free_port
from lib.waiting import wait_for

MOVED = r"(\d+) connections were handed over from worker (\d)"


def holders(proxy, port):
    """{port of a client: title of the worker that has its connection}"""
    inodes = {}
    with open(f"/proc/{proxy.pid}/net/tcp") as f:
        for line in f.readlines()[1:]:
            words = line.split()
            if int(words[1].split(":")[1], 16) == port and words[3] != "0A":  # no listener
                inodes[f"socket:[{words[9]}]"] = int(words[2].split(":")[1], 16)
    found = {}
    for pid in proxy.workers():
        for link in processes.descriptors(pid).values():
            if link in inodes:
                found[inodes[link]] = processes.title(pid)
    return found


def uneven(proxy, port, clients):
    """Closes those of the worker that has fewer; returns the others, and the title of who has them."""
    ports = {c.getsockname()[1] for c in clients}
    wait_for(lambda: ports <= set(holders(proxy, port)), "all to be accepted")
    held = holders(proxy, port)
    rich = collections.Counter(held.values()).most_common(1)[0][0]
    stay = [c for c in clients if held[c.getsockname()[1]] == rich]
    for c in clients:
        if c not in stay:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.close()
    wait_for(lambda: len(holders(proxy, port)) == len(stay), "the others to be gone")
    return stay, rich


def provoke(proxy, port, pattern=MOVED):
    """New connections come until a worker notices that it has more than its share."""
    def moved():
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(b"x")
            s.shutdown(socket.SHUT_WR)
            assert s.recv(1)
        return re.search(pattern, proxy.log())
    return wait_for(moved, f"connections to be handed over\n{proxy.log()}", 15)


@pytest.fixture(params=["tcp4", "unix"])
def echoing(request, start, service):
    port = free_port()
    return port, start("-b", port, "-o", "workers 2", service(kind=request.param).spelt)


def test_a_uneven_load_is_evened_out(echoing):
    port, proxy = echoing
    clients = [connect(port) for _ in range(80)]
    for c in clients:
        talk(c, b"before")
    stay, rich = uneven(proxy, port, clients)
    provoke(proxy, port)
    held = holders(proxy, port)
    numbers = [held[c.getsockname()[1]] for c in stay]
    assert abs(numbers.count(rich) - len(stay) / 2) <= 8, numbers
    for c in stay:
        talk(c, b"after!")
    for c in stay:
        c.shutdown(socket.SHUT_WR)
        assert c.recv(1) == b""
        c.close()
    wait_for(lambda: sum(r.up == 12 for r in proxy.records()) == len(stay), "a record for each that stayed")
    ended = [r for r in proxy.records() if r.up == 12]
    assert {(r.down, r.end) for r in ended} == {(12, "client-fin")}
    assert len({r["id"] for r in proxy.records()}) == len(proxy.records()) >= len(clients)


def test_who_has_moved_counts_once(start, service):
    """Against limits: neither twice, nor not at all."""
    port, most = free_port(), 60
    proxy = start(config=f"workers 2\nport {port}\nserver {service().spelt}\nmax-connections {most}\n")
    clients = [connect(port) for _ in range(most)]
    for c in clients:
        talk(c)
    clients, _ = uneven(proxy, port, clients)
    provoke(proxy, port)
    for _ in range(2):
        wait_for(lambda: len(holders(proxy, port)) == len(clients), "those who came for a moment to be gone")
        clients += [connect(port) for _ in range(most - len(clients))]
        for c in clients:
            talk(c)
        assert gets_reset(port)
        while clients:
            clients.pop().close()


def test_bytes_under_way_and_half_closed_streams_move_too(start, service):
    """Some clients do not read what they are sent, some have said all they want."""
    port = free_port()
    blob = os.urandom(4 * MIB)
    go_on = threading.Event()

    def serve(s):
        word = s.recv(1)
        if word == b"b":
            s.sendall(blob)
        if word == b"h":
            go_on.wait(60)
        while more := s.recv(65536):
            word += more
        s.sendall(b"you said " + word)
        s.close()

    proxy = start("-b", port, "-o", "workers 2", service(serve).spelt)
    clients = [connect(port) for _ in range(60)]
    for i, c in enumerate(clients):
        c.sendall([b"b", b"half", b"open"][i % 3])
        if i % 3 == 1:
            c.shutdown(socket.SHUT_WR)
    stay, rich = uneven(proxy, port, clients)
    provoke(proxy, port)
    assert len(set(holders(proxy, port).values())) == 2
    go_on.set()
    for c in stay:
        if clients.index(c) % 3 != 1:
            c.shutdown(socket.SHUT_WR)
    for c in stay:
        i = clients.index(c)
        if i % 3 == 0:
            assert read_exactly(c, len(blob)) == blob
        said = b"you said " + [b"b", b"half", b"open"][i % 3]
        assert read_exactly(c, len(said)) == said
        assert c.recv(1) == b""


@pytest.mark.parametrize("who", ["worker 0", "worker 1", "keeper 0", "keeper 1"])
def test_a_death_while_connections_move(start, service, who):
    port = free_port()
    proxy = start("-b", port, "-o", "workers 2", service().spelt)
    clients = [connect(port) for _ in range(300)]
    for c in clients:
        talk(c, b"before")
    stay, _ = uneven(proxy, port, clients)
    stop = threading.Event()

    def kill_often():
        while not stop.is_set():
            for pid in proxy.role(who)[:1]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            stop.wait(0.05)

    proxy.expect_deaths()
    killer = threading.Thread(target=kill_often)
    killer.start()
    try:
        provoke(proxy, port)
    finally:
        stop.set()
        killer.join()
    for c in stay:
        talk(c, b"after!")
