"""Bytes are never changed, reordered, lost or doubled; a slow reader slows its own sender only; nothing spins."""
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

import pytest

from lib import processes
from lib.peers import KIB, MIB, connect, data, expect, expect_fin, fin, read_all, read_exactly, send, together
from lib.ports import free_port
from lib.waiting import wait_for


def cpu(proxy):
    return sum(processes.cpu_seconds(pid) for pid in proxy.pids())


def quiet(proxy, seconds=1.0, share=0.1):
    """Uses nearly no time of the processor. On a busy machine not each second is counted rightly; who spins, spins in all."""
    used = []
    while not used or (used[-1] > share * seconds and len(used) < 3):
        before = cpu(proxy)
        time.sleep(seconds)
        used.append(cpu(proxy) - before)
    assert used[-1] <= share * seconds, f"it spins: {used} s of {seconds} s"


@pytest.mark.parametrize("size", [1, 2, 1447, 4095, 4096, 4097, 65535, 65536, 65537, 262_145, 5 * MIB + 3])
def test_every_size_both_ways(relay, size):
    relay().play([together([send(size), fin()], [expect(size, seed=2), expect_fin()])],
                 [together([send(size, seed=2), fin()], [expect(size), expect_fin()])])


def test_small_messages_are_never_held_back(relay):
    """A ping-pong of 300; Nagle or a cork would cost 40 or 200 ms each."""
    client, server = relay().pair()
    for s in (client, server):
        if s.family != socket.AF_UNIX:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times = []
    for i in range(300):
        begin = time.monotonic()
        client.sendall(b"ping")
        assert read_exactly(server, 4) == b"ping"
        server.sendall(b"pong")
        assert read_exactly(client, 4) == b"pong"
        times.append(time.monotonic() - begin)
    assert statistics.median(times) < 0.03


def test_small_messages_after_bulk_are_not_held_back(relay):
    """However bulk was moved, a short message behind it leaves at once, also in two pieces."""
    client, server = relay().pair()
    sender = threading.Thread(target=client.sendall, args=(data(8 * MIB),))
    sender.start()
    assert read_exactly(server, 8 * MIB) == data(8 * MIB)
    sender.join()
    times = []
    for _ in range(20):
        begin = time.monotonic()
        client.sendall(b"pi")
        client.sendall(b"ng")
        assert read_exactly(server, 4) == b"ping"
        server.sendall(b"pong")
        assert read_exactly(client, 4) == b"pong"
        times.append(time.monotonic() - begin)
    assert statistics.median(times) < 0.1


def test_one_byte_segments_into_a_stalled_reader(relay):
    """A pipe is full after so many slots, not bytes: it must neither spin nor stall."""
    r = relay(small=True)
    client, server = r.pair()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    octets = data(60_000)
    sender = threading.Thread(target=lambda: [client.send(octets[i:i + 1]) for i in range(len(octets))], daemon=True)
    sender.start()
    time.sleep(0.5)
    quiet(r.proxy, share=0.7)  # it still takes bytes from the sender
    assert read_exactly(server, 60_000) == octets
    sender.join()


def kernel_room():
    """What two connections may have under way in the kernel's own buffers, in bytes."""
    room = 0
    for name in ("tcp_rmem", "tcp_wmem"):
        with open(f"/proc/sys/net/ipv4/{name}", encoding="ascii") as f:
            room += 2 * int(f.read().split()[2])
    return room


def test_a_stalled_reader_costs_nothing(relay):
    """Nobody reads: the sender is stopped, and we sleep."""
    r = relay(small=True)
    client, server = r.pair()
    client.settimeout(0.3)
    sent, bound = 0, kernel_room() + 2 * MIB  # more would be an unbounded buffer of ours
    with pytest.raises(TimeoutError):
        while sent < bound:
            sent += client.send(data(64 * KIB))
    quiet(r.proxy)
    client.settimeout(5)
    assert len(read_exactly(server, sent)) == sent


def test_a_stalled_reader_of_a_half_closed_connection_costs_nothing(relay):
    r = relay()
    client, server = r.pair()
    client.shutdown(socket.SHUT_WR)
    assert read_all(server) == b""
    server.settimeout(0.3)
    with pytest.raises(TimeoutError):
        while True:
            server.send(data(64 * KIB))
    quiet(r.proxy)


def test_a_half_closed_connection_costs_nothing(relay):
    r = relay()
    client, server = r.pair()
    server.shutdown(socket.SHUT_WR)
    assert read_all(client) == b""
    quiet(r.proxy)


def test_an_idle_proxy_sleeps(start, service):
    quiet(start("-b", free_port(), service().spelt), share=0.03)


def test_memory_is_flat_with_a_slow_reader(relay4):
    """4 kB at a time against a sender that never waits."""
    r = relay4(small=True)
    client, server = r.pair()
    stop = threading.Event()

    def pour():
        try:
            while not stop.is_set():
                client.send(data(64 * KIB))
        except OSError:
            pass
    sender = threading.Thread(target=pour, daemon=True)
    sender.start()
    server.recv(4096)
    before = {pid: processes.memory(pid) for pid in r.proxy.pids()}
    for _ in range(100):
        server.recv(4096)
        time.sleep(0.01)
    after = {pid: processes.memory(pid) for pid in r.proxy.pids()}
    stop.set()
    server.close()
    sender.join(5)
    assert all(after[pid] - before[pid] < MIB for pid in before), (before, after)


def test_a_slow_reader_slows_its_own_sender_only(relay4):
    r = relay4()
    stuck = [r.pair() for _ in range(10)]
    for client, _ in stuck:
        client.setblocking(False)
        try:
            while True:
                client.send(data(64 * KIB))
        except BlockingIOError:
            pass
    begin = time.monotonic()
    r.play([send(4 * MIB), fin(), expect_fin()], [expect(4 * MIB), expect_fin(), fin()])
    assert time.monotonic() - begin < 6
    for pair in stuck:
        for s in pair:
            s.close()


def test_one_direction_does_not_starve_the_other(relay4):
    """Both at full speed: neither gets less than a tenth of what the other gets."""
    client, server = relay4().pair()
    got, stop = {"up": 0, "down": 0}, threading.Event()

    def pour(s):
        try:
            while not stop.is_set():
                s.send(data(64 * KIB))
        except OSError:
            pass

    def drain(s, name):
        try:
            while not stop.is_set():
                got[name] += len(s.recv(256 * KIB))
        except OSError:
            pass
    threads = [threading.Thread(target=f, args=a, daemon=True) for f, a in
               ((pour, (client,)), (pour, (server,)), (drain, (server, "up")), (drain, (client, "down")))]
    for t in threads:
        t.start()
    wait_for(lambda: sum(got.values()) > 256 * MIB, "much has come")
    stop.set()
    up, down = got["up"], got["down"]
    client.close()
    server.close()
    assert min(up, down) > max(up, down) / 10, got


def test_a_busy_connection_does_not_starve_others(relay4):
    r = relay4()
    client, server = r.pair()
    stop = threading.Event()

    def pour():
        try:
            while not stop.is_set():
                client.send(data(256 * KIB))
        except OSError:
            pass

    def drain():
        try:
            while server.recv(256 * KIB) and not stop.is_set():
                pass
        except OSError:
            pass
    for f in (pour, drain):
        threading.Thread(target=f, daemon=True).start()
    begin = time.monotonic()
    for _ in range(20):
        r.play([send(100), fin(), expect(100, seed=2), expect_fin()], [expect(100), send(100, seed=2), fin(), expect_fin()])
    assert time.monotonic() - begin < 6
    stop.set()
    client.close()
    server.close()


# -- server first


def test_a_server_that_speaks_first_is_heard_at_once(relay):
    client, server = relay().pair()
    begin = time.monotonic()
    server.sendall(b"220 mail.test ESMTP\r\n")
    assert read_exactly(client, 21) == b"220 mail.test ESMTP\r\n"
    assert time.monotonic() - begin < 2


# -- out of descriptors


# What is under way is counted for each user, so tests that run beside each other need a user each; all others' is nobody.


@pytest.mark.parametrize("limit, user", [(80, "games"), (120, "news")])
def test_out_of_descriptors_it_pauses_without_spinning_and_resumes(start, service, limit, user):
    port, target = free_port(), service()
    proxy = start("-b", port, "-o", "workers 1", "-o", f"user {user}", target.spelt,
                  wrap=["prlimit", f"--nofile={limit}:{limit}"])
    clients = [connect(port) for _ in range(100)]  # the rest waits in the backlog
    served = []
    for c in clients:
        c.sendall(b"a")
        c.settimeout(1)
        try:
            assert c.recv(1) == b"a"
            served.append(c)
        except TimeoutError:
            break
    assert 0 < len(served) < 100
    quiet(proxy)
    for c in served:  # the old ones go on
        c.settimeout(5)
        c.sendall(b"b")
        assert read_exactly(c, 1) == b"b"
    waiting = [c for c in clients if c not in served]
    for c in served:
        c.close()
    waiting[0].settimeout(5)
    assert read_exactly(waiting[0], 1) == b"a", "accepting resumes"
    for c in waiting:
        c.close()


HOLD = """
import socket, sys
ends = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(4)]
for one, _ in ends:
    socket.send_fds(one, [b"-"], [0] * 100)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes processes of another user")
def test_while_too_many_descriptors_are_under_way_nothing_spins_and_nothing_is_lost(start, directory, service):
    """The kernel sends none for a user who has more of them in sockets than a process of his may open."""
    port, programs, target, user = free_port(), free_port(), service(), "uucp"
    handler = directory.script("answer", "echo handled")
    holder = subprocess.Popen([sys.executable, "-c", HOLD], user=user, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        proxy = start(config=f"user {user}\nworkers 1\nport {port}\n  server {target.spelt}\nport {programs}\n  exec {handler}\n",
                      wrap=["prlimit", "--nofile=300:300"])
        client = connect(port)
        client.sendall(b"a")
        quiet(proxy)
        proxy.signal(signal.SIGHUP)
        quiet(proxy)
    finally:
        holder.communicate()
    assert read_exactly(client, 1) == b"a"
    client.close()
    with connect(programs) as s:
        assert read_all(s) == b"handled\n"


# -- who holds what


def sockets(pid):
    return {where for where in processes.descriptors(pid).values() if where.startswith("socket:")}


def test_only_a_worker_and_its_keepers_hold_a_clients_socket(start, server):
    target, port = server(), free_port()
    proxy = start("-b", port, "-o", "workers 2", target.spelt)
    before = {pid: sockets(pid) for pid in proxy.pids()}
    client = connect(port)
    s = target.accept()
    wait_for(lambda: any(sockets(pid) - before[pid] for pid in proxy.workers()), "a worker with new sockets")
    holders = {pid for pid in proxy.pids() if sockets(pid) - before[pid]}
    tree = proxy.tree()
    trios = [set(tree[f"tcpproxy: worker {i}"] + tree[f"tcpproxy: keeper {i}"]) for i in (0, 1)]
    assert holders in trios
    client.close()
    s.close()


def test_a_thousand_connections_leave_no_descriptor_and_no_memory(start, service):
    port = free_port()
    proxy = start("-b", port, service().spelt)

    def use(n):
        for i in range(n):
            with connect(port) as s:
                s.sendall(data(1 + i * 37 % 5000))
                s.shutdown(socket.SHUT_WR)
                assert len(read_all(s)) == 1 + i * 37 % 5000

    def descriptors():
        return {pid: len(processes.descriptors(pid)) for pid in proxy.pids()}
    use(200)
    wait_for(lambda: len(proxy.records()) == 200, "all records")
    memory = {pid: processes.memory(pid) for pid in proxy.pids()}
    before = descriptors()
    use(1000)
    wait_for(lambda: len(proxy.records()) == 1200, "all records")
    wait_for(lambda: all(n <= before[pid] + 2 for pid, n in descriptors().items()),
             f"no more descriptors than {before}: {descriptors()}")
    assert all(processes.memory(pid) < memory[pid] + MIB for pid in memory)
