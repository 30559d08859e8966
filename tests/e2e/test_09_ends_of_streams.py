"""The end of a stream is told truthfully: FIN stays FIN, after all data, each direction by itself; a reset stays
a reset, both ways, after the data that came before it."""
import errno
import socket
import threading

import pytest

from lib.peers import (KIB, MIB, close, connect, data, delivered, expect, expect_fin, expect_reset, fin, gets_reset,
                       is_reset, kill_connection, play, read_all, reset, send, send_until_refused, tell, together,
                       until, wait)
from lib.ports import free_port
from lib.waiting import wait_for

SLOW = {"at_most": 32 * KIB, "every": 0.005}


# -- FIN


def test_bytes_arrive_unchanged_in_both_directions(relay):
    relay().play([together([send(3 * MIB), fin()], [expect(3 * MIB, seed=2), expect_fin()])],
                 [together([send(3 * MIB, seed=2), fin()], [expect(3 * MIB), expect_fin()])])


def test_the_client_ends_first_and_the_server_still_answers(relay, repeat):
    """Run A: the answer comes two seconds after the client's FIN."""
    relay().play([send(300_000), fin(), expect(2 * MIB, seed=2), expect_fin()],
                 [expect(300_000), expect_fin(), wait(2), send(2 * MIB, seed=2), fin()], times=repeat)


def test_the_server_ends_first_and_the_client_still_uploads(relay, repeat):
    """Run C."""
    relay().play([expect(100_000, seed=2), expect_fin(), wait(2), send(MIB), fin()],
                 [send(100_000, seed=2), fin(), expect(MIB), expect_fin()], times=repeat)


def test_an_early_answer_reaches_a_client_that_is_still_uploading(relay, repeat):
    """Run K: the answer and its FIN arrive while the upload is stuck; the upload goes on when the server reads."""
    plays, r = [], relay()
    for _ in range(repeat):
        answered = threading.Event()
        client, server = r.pair()
        plays.append((client, [together([send(16 * MIB), fin()],
                                        [expect(500_000, seed=2), expect_fin(), tell(answered)])],
                      server, [expect(64 * KIB), send(500_000, seed=2), fin(), until(answered),
                               _rest_of_upload(16 * MIB, 64 * KIB), expect_fin()]))
    for one in plays:
        play(*one)


def _rest_of_upload(n, done):
    def step(s):
        wanted, got = memoryview(data(n))[done:], 0
        while got < len(wanted):
            chunk = s.recv(1 << 18)
            assert chunk and chunk == wanted[got:got + len(chunk)], f"wrong or no bytes at {done + got}"
            got += len(chunk)
    step.__name__ = "the rest of the upload"
    return step


def test_each_direction_is_shut_by_itself_at_once(relay):
    """The FIN is passed on when it comes, not when the other side ends too."""
    told = threading.Event()
    relay().play([fin(), until(told), send_nothing_more, expect(5, seed=2), expect_fin()],
                 [expect_fin(), tell(told), send(5, seed=2), fin()])


def send_nothing_more(s):
    with pytest.raises(BrokenPipeError):
        s.send(b"x")


@pytest.mark.parametrize("sender", ["client", "server"])
def test_a_fin_behind_queued_data_comes_after_all_of_it(relay, sender):
    """FIN together with the last data, while the slow reader still has 1 MiB to take."""
    fast = [send(MIB), fin(), expect_fin()]
    slow = [wait(0.3), expect(MIB, **SLOW), expect_fin(), fin()]
    relay(small=True).play(fast if sender == "client" else slow, slow if sender == "client" else fast, small=True)


def test_both_ended_and_everything_is_still_delivered(relay, repeat):
    """Both sides have sent their FIN long before the slow client has read."""
    relay().play([send(300_000), fin(), wait(0.3), expect(MIB, seed=2, **SLOW), expect_fin()],
                 [expect(300_000), expect_fin(), send(MIB, seed=2), fin()], times=repeat, small=True)


def test_a_server_that_closes_at_once_after_its_last_block(relay, repeat):
    """close() right behind 1 MiB: no lingering of ours may cut the last block."""
    relay().play([expect(MIB, seed=2, **SLOW), expect_fin()], [send(MIB, seed=2), close()], times=repeat)


def test_a_client_that_closes_at_once_after_its_last_block(relay, repeat):
    relay().play([send(MIB), close()], [expect(MIB, **SLOW), expect_fin()], times=repeat)


def test_a_banner_and_a_fin_before_the_first_look(start, service, kind, host):
    """The server has accepted, answered and closed before anybody asks epoll."""
    port = free_port()
    start("-b", port, service(lambda s: s.sendall(b"banner"), kind).spelt)
    for _ in range(50):
        with connect(port, host) as s:
            assert read_all(s) == b"banner"


def test_a_connection_without_data_is_two_fins(relay):
    r = relay()
    r.play([fin(), expect_fin()], [expect_fin(), fin()])
    r.play([expect_fin(), fin()], [fin(), expect_fin()])
    first, second = r.proxy.wait_records(2)
    assert (first.up, first.down, first.end) == (0, 0, "client-fin")
    assert (second.up, second.down, second.end) == (0, 0, "server-fin")


@pytest.mark.parametrize("kind", ["tcp4", "tcp6"])
def test_request_and_fin_while_the_server_is_still_being_connected(start, server, kind, host):
    """A full backlog delays the connection; what the client said meanwhile is not lost, nor its FIN."""
    target, port = server(kind, backlog=0), free_port()
    start("-b", port, target.spelt)
    target_host = "::1" if kind == "tcp6" else "127.0.0.1"
    fillers = []
    while len(fillers) < 8:  # until the kernel answers no more
        try:
            fillers.append(connect(target.port, target_host, timeout=0.2))
        except TimeoutError:
            break
    client = connect(port, host)
    client.sendall(data(1000))
    client.shutdown(socket.SHUT_WR)
    for _ in fillers:
        target.accept().close()
    while True:
        s = target.accept()
        got = read_all(s)
        if got:
            break
    assert got == data(1000)
    s.sendall(b"answer")
    s.close()
    assert read_all(client) == b"answer"


def test_many_at_once_find_a_unix_server_with_a_short_queue(start, service, directory):
    """connect() to a Unix socket says EAGAIN when the queue is full: that is not a failure."""
    port = free_port()
    start("-b", port, service(kind="unix", backlog=1).spelt)
    clients = [connect(port) for _ in range(100)]
    for c in clients:
        c.sendall(b"hello")
        c.shutdown(socket.SHUT_WR)
    assert all(read_all(c) == b"hello" for c in clients)


# -- reset


def test_a_reset_of_the_server_is_a_reset_for_the_client(relay, repeat):
    """Run E: the client must not take a cut transfer for a complete one. (A Unix server resets by closing with
    the client's byte unread.)"""
    relay().play([send(1), expect(200_000, seed=2), expect_reset()],
                 [arrived, send(200_000, seed=2), delivered(), reset()], times=repeat)


def arrived(s):
    """Something can be read, and is left there."""
    assert s.recv(1, socket.MSG_PEEK)


def test_a_reset_of_the_client_is_a_reset_for_the_server(relay, repeat):
    """Run F."""
    relay().play([send(200_000), delivered(), reset()], [expect(200_000), expect_reset()], times=repeat)


def test_a_reset_right_behind_data_comes_after_the_data(relay, repeat):
    """1000 bytes and the reset are there before anybody has looked."""
    r = relay()
    r.play([send(1), expect(1000, seed=2), expect_reset()], [arrived, send(1000, seed=2), reset()], times=repeat)
    r.play([send(1000), reset()], [expect(1000), expect_reset()], times=repeat)


def test_a_reset_waits_until_a_slow_reader_has_the_data(relay):
    relay().play([send(1), wait(0.5), expect(MIB, seed=2, **SLOW), expect_reset()],
                 [arrived, send(MIB, seed=2), delivered(), reset()], small=True)


def test_a_reset_of_the_client_waits_until_a_slow_server_has_the_data(relay):
    relay(small=True).play([send(MIB), delivered(), reset()], [wait(0.5), expect(MIB, **SLOW), expect_reset()])


def test_a_reset_after_a_complete_exchange_is_passed_on(relay):
    relay().play([send(1000), expect(1000, seed=2), reset()], [expect(1000), send(1000, seed=2), expect_reset()])


def test_a_reset_takes_nothing_back_of_a_direction_that_had_ended(relay):
    """The server has sent everything and its FIN, then resets: the client still gets all of it as a clean end."""
    ended = threading.Event()
    relay().play([send(1), wait(0.3), expect(300_000, seed=2), expect_fin(), tell(ended), send_until_refused()],
                 [arrived, send(300_000, seed=2), fin(), until(ended), reset()], small=True)


@pytest.mark.parametrize("kind", ["tcp4", "tcp6"])  # a Unix socket forgets the FIN
def test_a_reset_behind_a_fin_that_nobody_has_read_yet(relay, repeat):
    relay().play([send(1), wait(0.3), expect(300_000, seed=2), expect_fin()],
                 [arrived, send(300_000, seed=2), fin(), delivered(), reset()], times=repeat, small=True)


def test_a_server_that_closes_with_bytes_unread_has_reset(relay, repeat):
    """The answer arrives, then the reset that its kernel made of close()."""
    relay().play([send(10_000), expect(100_000, seed=2), expect_reset()],
                 [expect(1), arrived, send(100_000, seed=2), delivered(), close()], times=repeat)


def test_a_client_that_closes_with_bytes_unread_has_reset(relay, repeat):
    relay().play([send(10_000), arrived, close()], [expect(10_000), send(10_000, seed=2), delivered(), expect_reset()],
                 times=repeat)


@pytest.mark.parametrize("kind", ["unix"])
def test_a_write_error_does_not_stop_the_other_direction(relay, kind):
    """The server no longer reads; what it still says is delivered to the end."""
    relay().play([together([send_quietly(MIB)], [expect(2 * MIB, seed=2, **SLOW)])],
                 [expect(1), shut_reading, wait(0.2), send(2 * MIB, seed=2), fin(), wait(1)], small=True)


def send_quietly(n):
    def step(s):
        try:
            s.sendall(data(n))
        except OSError:
            pass
    step.__name__ = f"send_quietly({n})"
    return step


def shut_reading(s):
    s.shutdown(socket.SHUT_RD)


def test_the_sender_of_a_reset_direction_is_told_too(relay):
    """The client goes on writing to a server that has reset: it must not wait for ever."""
    relay().play([send_until_refused()], [expect(100), reset()])
    relay().play([expect(100, seed=2), reset()], [together([send(100, seed=2), send_until_refused()])])


def test_a_server_that_cannot_be_reached_is_a_reset(start, directory, kind, host):
    port, nobody = free_port(), free_port()
    missing = {"tcp4": f"127.0.0.1:{nobody}", "tcp6": f"[::1]:{nobody}", "unix": f"unix:{directory / 'none'}"}
    proxy = start("-b", port, missing[kind])
    assert gets_reset(port, host)
    assert proxy.wait_record().end == "connect-failed"


def test_a_request_with_its_fin_to_nobody_is_a_reset_too(start):
    port = free_port()
    start("-b", port, f"127.0.0.1:{free_port()}")
    for _ in range(20):
        try:
            with connect(port) as s:
                s.sendall(b"request")
                s.shutdown(socket.SHUT_WR)
                assert is_reset(s)
        except OSError as e:  # it was faster
            assert e.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)


# -- who ended it is written down


@pytest.mark.parametrize("how", ["client-fin", "server-fin", "client-reset", "server-reset"])
def test_the_record_says_who_ended_it_first_and_how(relay4, how):
    r = relay4()
    client, server = r.pair()
    first, second = (client, server) if how.startswith("client") else (server, client)
    first.sendall(data(1234))
    wait_for(lambda: len(second.recv(1234, socket.MSG_PEEK)) == 1234, "the data")
    if how.endswith("fin"):
        first.shutdown(socket.SHUT_WR)
        assert read_all(second) == data(1234)
        second.sendall(data(77, 2))
        second.shutdown(socket.SHUT_WR)
        assert read_all(first) == data(77, 2)
    else:
        kill_connection(first)
        assert is_reset(second)
    first.close()
    second.close()
    record = r.proxy.wait_record()
    back = 77 if how.endswith("fin") else 0
    assert record.end == how
    assert (record.up, record.down) == ((1234, back) if first is client else (back, 1234))
