"""What we end: connect, idle and half-close time limits. Always a reset on both sides."""
import os
import socket
import time

import pytest

from lib.peers import KIB, connect, data, is_reset, read_all, read_exactly
from lib.ports import free_port
from lib.processes import stopped
from lib.waiting import wait_for


def hears_the_end(s):
    """A reset; on a Unix socket the end."""
    return is_reset(s) or s.family == socket.AF_UNIX


class Timer:
    def __enter__(self):
        self.begin = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.begin


# -- idle


def test_an_idle_connection_is_ended(relay):
    r = relay("-t", "0.5")
    with Timer() as t:
        client, server = r.pair()
        client.sendall(b"x")
        server.recv(1)
        assert is_reset(client) and hears_the_end(server)
    assert 0.4 < t.seconds < 4
    assert r.proxy.wait_record().end == "idle-timeout"


@pytest.mark.parametrize("sender", ["client", "server"])
def test_bytes_in_one_direction_are_life_for_both(relay, sender):
    client, server = relay("-t", "1").pair()
    source, sink = (client, server) if sender == "client" else (server, client)
    for _ in range(6):
        time.sleep(0.25)
        source.sendall(b"x")
        assert read_exactly(sink, 1) == b"x"
    assert is_reset(client) and hears_the_end(server)


def test_what_a_slow_reader_acknowledges_is_life(relay4):
    """Everything is in our kernel's buffers, the sender has long ended; the reader goes on."""
    client, server = relay4("-t", "0.8").pair(small=True, receive=64 * KIB)
    server.sendall(data(768 * KIB))
    with Timer() as t:
        got = 0
        while got < 768 * KIB:
            time.sleep(0.05)
            got += len(client.recv(16 * KIB))
    assert t.seconds > 1.6
    assert is_reset(client)


def test_a_stuck_reader_is_not_life(relay4):
    """Data is queued, nothing is acknowledged: both sides are told."""
    r = relay4("-t", "0.5", small=True)
    client, server = r.pair()
    client.settimeout(0.2)
    try:
        while True:
            client.send(data(64 * KIB))
    except TimeoutError:
        client.settimeout(5)
        assert is_reset(client)
    except ConnectionResetError:  # it is told once
        pass
    assert is_reset(server)
    assert r.proxy.wait_record().end == "idle-timeout"


def test_without_a_timeout_silence_is_fine(relay4):
    client, server = relay4().pair()
    time.sleep(1.5)
    client.sendall(b"x")
    assert read_exactly(server, 1) == b"x"


def test_an_idle_half_closed_connection_is_ended_too(relay4):
    r = relay4("-t", "0.5")
    client, server = r.pair()
    client.shutdown(socket.SHUT_WR)
    assert read_all(server) == b""
    assert is_reset(client)
    assert r.proxy.wait_record().end == "idle-timeout"


# -- half-close


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_peer_that_never_ends_is_ended(relay, first):
    r = relay("-o", "half-close-timeout 500ms")
    client, server = r.pair()
    ender, other = (client, server) if first == "client" else (server, client)
    with Timer() as t:
        ender.shutdown(socket.SHUT_WR)
        assert other.recv(1) == b""
        assert hears_the_end(ender)
    assert 0.4 < t.seconds < 4
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            other.send(b"x")
            time.sleep(0.01)
    assert r.proxy.wait_record().end == "half-close-timeout"


@pytest.mark.parametrize("how", [["-w"], ["-o", "wait yes"], ["-o", "half-close-timeout 0"]], ids=" ".join)
def test_w_waits_as_long_as_it_takes(relay4, how):
    options = ["-o", "half-close-timeout 300ms", *how] if how == ["-w"] else how
    client, server = relay4(*options).pair()
    client.shutdown(socket.SHUT_WR)
    assert read_all(server) == b""
    time.sleep(1.2)
    server.sendall(b"late answer")
    server.close()
    assert read_all(client) == b"late answer"


def test_before_the_first_fin_it_does_not_count(relay4):
    client, server = relay4("-o", "half-close-timeout 300ms").pair()
    time.sleep(1)
    client.sendall(b"x")
    assert read_exactly(server, 1) == b"x"


# -- connect


@pytest.fixture
def stuck(server):
    """A server whose queue is full: it answers no SYN."""
    s = server(backlog=0)
    s.fillers = []
    while len(s.fillers) < 8:
        try:
            s.fillers.append(connect(s.port, timeout=0.2))
        except TimeoutError:
            break
    return s


def test_a_server_that_does_not_answer_is_given_up(start, stuck):
    port = free_port()
    proxy = start("-b", port, "-o", "connect-timeout 400ms", stuck.spelt)
    with Timer() as t, connect(port) as s:
        assert is_reset(s)
    assert 0.3 < t.seconds < 3
    assert proxy.wait_record().end == "connect-timeout"


def test_the_next_server_is_tried_after_the_time_limit(start, service, stuck):
    port = free_port()
    start("-b", port, "-o", "connect-timeout 400ms", "-o", f"server {service().spelt} backup", stuck.spelt)
    with Timer() as t, connect(port) as s:
        s.sendall(b"x")
        assert read_exactly(s, 1) == b"x"
    assert t.seconds < 3


def test_a_client_that_gives_up_while_connecting_is_let_go(start, stuck):
    port = free_port()
    proxy = start("-b", port, stuck.spelt)
    client = connect(port)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert proxy.wait_record(3).end == "client-reset"


# -- what happened in time counts, though the worker only looks when the time is over


BEYOND = 1.6  # seconds: longer than the limit of 1 s in these tests


@pytest.fixture
def paused(start, server):
    """paused(directive): a connection, and the worker that is to be stopped for a while."""
    def make(directive, kind="tcp4"):
        port, target = free_port(), server(kind)
        proxy = start("-b", port, "-o", directive, "-o", "workers 1", target.spelt)
        return connect(port), target.accept(), proxy.workers()[0]
    return make


def test_bytes_that_came_while_the_worker_was_stopped_are_life(paused):
    client, server, worker = paused("timeout 1")
    with stopped(worker):
        client.sendall(b"in time")
        time.sleep(BEYOND)
    assert read_exactly(server, 7) == b"in time"
    server.sendall(b"answer")
    assert read_exactly(client, 6) == b"answer"
    with Timer() as t:
        assert is_reset(client) and is_reset(server)
    assert t.seconds > 0.4, "the limit still holds"


def test_an_answer_that_came_while_the_worker_was_stopped_is_delivered(paused):
    client, server, worker = paused("half-close-timeout 1")
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    with stopped(worker):
        server.sendall(b"answer")
        server.close()
        time.sleep(BEYOND)
    assert read_all(client) == b"answer"


def test_after_a_fin_that_came_while_the_worker_was_stopped_there_is_time_to_answer(paused):
    client, server, worker = paused("half-close-timeout 1", kind="unix")
    with stopped(worker):
        client.shutdown(socket.SHUT_WR)
        time.sleep(BEYOND)
    assert server.recv(1) == b""
    time.sleep(0.2)  # an answer takes its time
    server.sendall(b"answer")
    server.close()
    assert read_all(client) == b"answer"


def test_a_server_that_accepted_while_the_worker_was_stopped_serves(start, stuck):
    port, fillers = free_port(), {s.getsockname() for s in stuck.fillers}
    proxy = start("-b", port, "-o", "connect-timeout 3", "-o", "workers 1", stuck.spelt)
    begin = time.monotonic()
    client = connect(port)
    wait_for(lambda: syn_sent(stuck.port), "the worker connects")
    with stopped(proxy.workers()[0]):
        server = stuck.accept()
        while server.getpeername() in fillers:
            server = stuck.accept()
        assert time.monotonic() - begin < 3, "accepted in time"
        time.sleep(begin + 3.5 - time.monotonic())
    client.sendall(b"x")
    assert read_exactly(server, 1) == b"x"
    server.sendall(b"y")
    assert read_exactly(client, 1) == b"y"


def syn_sent(port):
    """Is anybody connecting to this port, and has no answer?"""
    with open("/proc/self/net/tcp") as f:
        lines = [line.split() for line in f.readlines()[1:]]
    return any(fields[3] == "02" and int(fields[2].split(":")[1], 16) == port for fields in lines)


# -- keepalive


def keepalive_of(port, client):
    """Timer of the proxy's established socket at this port, from /proc/net/tcp: 2 is keepalive. That table is read in
    pieces while others come and go, so a line may stand there twice."""
    lines = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/self/net/{table}") as f:
            lines += [line.split() for line in f.readlines()[1:]]
    ends = [port, client.getsockname()[1]]
    found = [fields[5].split(":") for fields in lines
             if fields[3] == "01" and [int(end.split(":")[1], 16) for end in fields[1:3]] == ends]
    return found[0] if found else None


@pytest.mark.parametrize("options, low, high", [([], 250, 301), (["-o", "keepalive 60"], 50, 61), (["-o", "keepalive 0"], 0, 0)])
def test_keepalive_is_5_minutes_by_default(relay4, options, low, high):
    r = relay4(*options)
    client, server = r.pair()
    client.sendall(b"x")
    assert read_exactly(server, 1) == b"x"
    timer, when = wait_for(lambda: keepalive_of(r.port, client), "the proxy's side of the connection")
    seconds = int(when, 16) / os.sysconf("SC_CLK_TCK")
    if high == 0:
        assert timer == "00"
    else:
        assert timer == "02" and low <= seconds <= high
