"""No -b, but a server: the one connection on stdin and stdout, as from inetd."""
import fcntl
import os
import pty
import signal
import socket
import subprocess
import threading

import pytest

from lib import processes
from lib.peers import (KIB, MIB, connect, data, delivered, expect, expect_fin, expect_reset, fin, is_reset,
                       kill_connection, play, read_all, read_exactly, reset, send, tcp_pair, together, wait)
from lib.ports import free_port


@pytest.fixture
def run(directory):
    """run(argv..., stdin=, stdout=): the program on these descriptors."""
    started = []

    def popen(*argv, env=None, **more):
        more.setdefault("stderr", subprocess.PIPE)
        more.setdefault("cwd", directory.path)
        p = subprocess.Popen([directory.program, *map(str, argv)], env=directory.environment(env), **more)
        started.append(p)
        return p
    yield popen
    for p in started:
        if p.poll() is None:
            p.kill()
        p.wait()
        for pipe in (p.stdin, p.stdout, p.stderr):
            if pipe:
                pipe.close()


@pytest.fixture
def inetd(run):
    """inetd(argv...): what inetd does for one client; returns the client's socket and the process."""
    def accept(*argv, host="127.0.0.1", stderr=subprocess.PIPE, **more):
        client, accepted = tcp_pair(host)
        p = run(*argv, stdin=accepted, stdout=accepted, stderr=accepted if stderr == "client" else stderr, **more)
        accepted.close()
        return client, p
    return accept


def ends(p, code=0, timeout=5):
    assert p.wait(timeout) == code, p.stderr and p.stderr.read()


# -- a socket as stdin and stdout


def test_a_client_of_inetd_is_served(inetd, server, kind):
    target = server(kind)
    client, p = inetd(target.spelt)
    s = target.accept()
    play(client, [together([send(MIB), fin()], [expect(MIB, seed=2), expect_fin()])],
         s, [together([send(MIB, seed=2), fin()], [expect(MIB), expect_fin()])])
    ends(p)


def test_half_close_in_both_orders(inetd, server):
    target = server()
    client, p = inetd(target.spelt)
    play(client, [send(1000), fin(), expect(MIB, seed=2), expect_fin()],
         target.accept(), [expect(1000), expect_fin(), wait(0.5), send(MIB, seed=2), fin()])
    ends(p)
    client, p = inetd(target.spelt)
    play(client, [expect(1000, seed=2), expect_fin(), wait(0.5), send(MIB), fin()],
         target.accept(), [send(1000, seed=2), fin(), expect(MIB), expect_fin()])
    ends(p)


def test_resets_in_both_directions(inetd, server):
    target = server()
    client, p = inetd(target.spelt)
    play(client, [expect(1000, seed=2), expect_reset()], target.accept(), [send(1000, seed=2), delivered(), reset()])
    ends(p)
    client, p = inetd(target.spelt)
    play(client, [send(1000), delivered(), reset()], target.accept(), [expect(1000), expect_reset()])
    ends(p)


def test_without_a_port_the_server_has_the_one_of_the_socket(run, service):
    target = service(host="127.0.0.2")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", target.port))
        listener.listen()
        client = connect(target.port)
        accepted, _ = listener.accept()
    p = run("127.0.0.2", stdin=accepted, stdout=accepted)
    accepted.close()
    client.sendall(b"hello")
    client.shutdown(socket.SHUT_WR)
    assert read_all(client) == b"hello"
    ends(p)


def test_no_server_reached_exits_4_and_the_client_is_reset(inetd):
    client, p = inetd(f"127.0.0.1:{free_port()}")
    assert is_reset(client)
    ends(p, 4)


def test_refused_by_an_access_rule_exits_3(inetd, server):
    target = server()
    client, p = inetd("-o", "deny all", target.spelt)
    assert is_reset(client)
    ends(p, 3)
    assert target.idle()


def test_a_handler_may_serve_the_connection(inetd, directory):
    client, p = inetd(directory.script("handler", "read x; echo got $x from $PROXY_CLIENT"))
    client.sendall(b"this\n")
    assert read_all(client) == b"got this from 127.0.0.1\n"
    ends(p)


def test_it_does_not_serve_as_root_here_either(inetd, server):
    target = server()
    client, p = inetd(target.spelt)
    s = target.accept()
    assert "0" not in processes.status(p.pid)["Uid"].split()
    client.close()
    s.close()
    ends(p)


def test_it_is_one_process(inetd, server):
    target = server()
    client, p = inetd(target.spelt)
    s = target.accept()
    assert processes.children(p.pid) == []
    client.close()
    s.close()
    ends(p)


def test_nothing_is_written_to_a_stderr_that_is_the_clients_socket(inetd, service):
    client, p = inetd(f"127.0.0.1:{free_port()}", stderr="client")
    with pytest.raises(ConnectionResetError):
        assert client.recv(1) == b"nothing"
    ends(p, 4)
    client, p = inetd("-l", "stderr", service().spelt, stderr="client")
    client.sendall(b"hello")
    client.shutdown(socket.SHUT_WR)
    assert read_all(client) == b"hello"
    ends(p)


def test_O_NONBLOCK_is_not_left_on_what_was_inherited(run, service):
    client, accepted = tcp_pair()
    accepted.setblocking(True)
    p = run(service().spelt, stdin=accepted, stdout=accepted)
    client.sendall(b"hello")
    assert read_exactly(client, 5) == b"hello"
    assert not fcntl.fcntl(accepted, fcntl.F_GETFL) & os.O_NONBLOCK
    client.shutdown(socket.SHUT_WR)
    assert read_all(client) == b""
    ends(p)
    assert not fcntl.fcntl(accepted, fcntl.F_GETFL) & os.O_NONBLOCK
    accepted.close()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_HUP_INT_and_TERM_simply_end_it(inetd, server, number):
    target = server()
    client, p = inetd(target.spelt)
    s = target.accept()
    p.send_signal(number)
    p.wait(4)
    for peer in (client, s):
        try:
            assert read_all(peer) == b""
        except ConnectionResetError:
            pass


def test_ignored_signals_are_not_obeyed_from_the_caller(inetd, server):
    """xinetd leaves SIGPIPE, others SIGCHLD ignored."""
    target = server()

    def ignore():
        for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    client, p = inetd(target.spelt, preexec_fn=ignore)
    s = target.accept()
    kill_connection(client)
    assert is_reset(s)
    ends(p)


# -- pipes, files, terminals


def test_pipes_as_with_an_ssh_proxy_command(run, server):
    target = server()
    p = run(target.spelt, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    s = target.accept()
    feeder = threading.Thread(target=lambda: (p.stdin.write(data(MIB)), p.stdin.close()))
    feeder.start()
    assert read_exactly(s, MIB) == data(MIB) and s.recv(1) == b""
    answerer = threading.Thread(target=lambda: (s.sendall(data(MIB, 2)), s.close()))
    answerer.start()
    assert p.stdout.read() == data(MIB, 2)
    feeder.join()
    answerer.join()
    ends(p)


def test_small_messages_through_pipes_are_not_held_back(run, service):
    p = run(service().spelt, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for i in range(20):
        message = b"message %d" % i
        p.stdin.write(message)
        p.stdin.flush()
        assert os.read(p.stdout.fileno(), 100) == message
    p.stdin.close()
    ends(p)


def test_the_servers_fin_closes_stdout_while_stdin_goes_on(run, server):
    target = server()
    p = run(target.spelt, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    s = target.accept()
    s.sendall(b"banner")
    s.shutdown(socket.SHUT_WR)
    assert p.stdout.read() == b"banner", "read to the end, with stdin still open"
    p.stdin.write(data(100_000))
    p.stdin.close()
    assert read_all(s) == data(100_000)
    s.close()
    ends(p)


def test_a_closed_stdout_is_a_client_that_reset(run, server):
    target = server()
    p = run(target.spelt, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    s = target.accept()
    p.stdout.close()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        for _ in range(10_000):
            s.sendall(data(64 * KIB))
    p.stdin.close()
    p.wait(5)


def test_dev_null_as_stdin_is_a_client_with_nothing_to_say(run, service):
    p = run(service(lambda s: s.sendall(b"banner")).spelt, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert p.stdout.read() == b"banner"
    ends(p)


def test_dev_null_as_stdout_swallows_the_answer(run, server):
    target = server()
    p = run(target.spelt, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    s = target.accept()
    s.sendall(data(MIB))
    assert read_all(s) == b""
    s.close()
    ends(p)


def test_plain_files(run, service, directory):
    with open(directory / "in", "wb") as f:
        f.write(data(300_000))
    with open(directory / "in", "rb") as source, open(directory / "out", "wb") as sink:
        p = run(service().spelt, stdin=source, stdout=sink)
        ends(p)
    with open(directory / "out", "rb") as f:
        assert f.read() == data(300_000)


def test_two_different_sockets(run, service):
    """stdin and stdout need not be the same."""
    (talk, stdin), (listen, stdout) = socket.socketpair(), socket.socketpair()
    p = run(service().spelt, stdin=stdin, stdout=stdout)
    stdin.close()
    stdout.close()
    talk.sendall(b"hello")
    talk.shutdown(socket.SHUT_WR)
    listen.settimeout(5)
    assert read_all(listen) == b"hello"
    ends(p)


def test_on_a_terminal_it_says_that_it_relays_it(run, server):
    target = server()
    outside, inside = pty.openpty()
    p = run(target.spelt, stdin=inside, stdout=inside)
    os.close(inside)
    s = target.accept()
    assert b"terminal" in p.stderr.readline()
    s.sendall(b"banner\n")
    assert b"banner" in os.read(outside, 100)
    s.close()
    os.write(outside, b"\x04")
    p.wait(5)
    os.close(outside)


def test_O_NONBLOCK_of_a_shared_pipe_is_left_alone(run, service):
    """The other holder of the pipe, a shell say, would be surprised."""
    reader, writer = os.pipe()
    p = run(service().spelt, stdin=subprocess.PIPE, stdout=writer)
    p.stdin.write(b"hello")
    p.stdin.flush()
    assert os.read(reader, 5) == b"hello"
    assert not fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK
    p.stdin.close()
    ends(p)
    os.close(reader)
    os.close(writer)


def test_a_pipe_that_the_caller_made_nonblocking_works_too(run, service):
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    p = run(service().spelt, stdin=reader, stdout=subprocess.PIPE)
    for part in (b"one", b"two"):
        os.write(writer, part)
        assert os.read(p.stdout.fileno(), 10) == part
    os.close(writer)
    ends(p)
    os.close(reader)


# -- descriptors that are closed at the start


def closed(*numbers):
    """For a shell's <&- and >&-."""
    def close():
        for n in numbers:
            os.close(n)
    return close


def test_a_closed_stdin_is_an_end_of_input(run, server):
    target = server()
    p = run(target.spelt, stdout=subprocess.PIPE, preexec_fn=closed(0))
    s = target.accept()
    assert read_all(s) == b"", "a FIN at once"
    s.sendall(b"banner")
    s.close()
    assert p.stdout.read() == b"banner"
    ends(p)


def test_a_closed_stdin_of_a_handler(run, directory):
    p = run(directory.script("handler", "cat; echo the end"), stdout=subprocess.PIPE, preexec_fn=closed(0))
    assert p.stdout.read() == b"the end\n"
    ends(p)


@pytest.mark.parametrize("numbers", [(1,), (0, 1), (1, 2), (0, 1, 2)])
def test_a_stdout_that_is_closed_at_the_start_is_a_client_that_is_gone(run, server, directory, numbers):
    """It ends at once, though stdin goes on and the server says nothing."""
    target = server()
    p = run("-l", f"file:{directory / 'log'}", target.spelt, stdin=subprocess.PIPE, preexec_fn=closed(*numbers))
    ends(p)
    with open(directory / "log") as f:
        text = f.read()
    assert "end=client-reset" in text and "stdout was closed" in text
    try:
        with target.accept(0.2) as s:
            assert is_reset(s)
    except TimeoutError:
        pass  # it was not even called


def test_TERM_ends_one_whose_stdin_is_closed(run, server):
    target = server()
    p = run(target.spelt, stdout=subprocess.PIPE, preexec_fn=closed(0, 2))
    s = target.accept()
    assert read_all(s) == b""
    p.terminate()
    ends(p, -signal.SIGTERM)


def test_a_daemon_may_be_started_without_any(start, service):
    port = free_port()
    start("-b", port, "-l", "syslog", service().spelt, preexec_fn=closed(0, 1, 2))
    with connect(port) as s:
        s.sendall(b"hello")
        assert read_exactly(s, 5) == b"hello"


# -- by the rules of a file


STANDALONE_NO = """standalone no
port {port}
interface 127.0.0.5
server {first}
interface 127.0.0.6
server {second}
"""


def test_standalone_no_finds_the_rule_by_the_local_address(run, service, directory):
    port = free_port()
    path = directory.write("tcpproxy.conf", STANDALONE_NO.format(
        port=port, first=service(lambda s: s.sendall(b"five")).spelt,
        second=service(lambda s: s.sendall(b"six")).spelt))
    for host, answer, code in (("127.0.0.5", b"five", 0), ("127.0.0.6", b"six", 0), ("127.0.0.7", None, 1)):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen()
            client = connect(port, host)
            accepted, _ = listener.accept()
        p = run("-f", path, stdin=accepted, stdout=accepted)
        accepted.close()
        client.shutdown(socket.SHUT_WR)
        if answer:
            assert read_all(client) == answer
        else:
            try:
                assert read_all(client) == b""
            except ConnectionResetError:
                pass
        ends(p, code)


def test_standalone_no_without_a_connection_says_so(directory):
    path = directory.write("inetd.conf", "standalone no\nport 25\nserver 127.0.0.1\n")
    done = directory.run("-f", path, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and done.stderr.startswith("tcpproxy: ") and "stdin is none" in done.stderr


# -- systemd


def listen_fds(first, *argv):
    """A shell that says, as systemd does, that descriptor 3 is ours."""
    return ["/bin/sh", "-c", f'exec env LISTEN_FDS={first} LISTEN_PID=$$ "$@"', "sh", *argv]


def test_sockets_of_systemd_are_matched_to_the_ports(start, service, directory):
    """The port is passed, not bound: the socket is there before and after."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        passed, own = listener.getsockname()[1], free_port()
        os.dup2(listener.fileno(), 63)

        def as_fd_3():
            os.dup2(63, 3)
        try:
            proxy = start(config=f"port {passed}\ninterface 127.0.0.1\nserver {service().spelt}\n"
                                 f"port {own}\nserver {service().spelt}\n", pass_fds=[3],
                          preexec_fn=as_fd_3, wrap=listen_fds(1)[:-1] + ["sh"])
        finally:
            os.close(63)
        for port in (passed, own):
            with connect(port) as s:
                s.sendall(b"hello")
                assert read_exactly(s, 5) == b"hello"
        proxy.stop()
        client = connect(passed)  # still listening: it is systemd's
        listener.accept()[0].close()
        client.close()


def test_LISTEN_FDS_of_another_process_is_not_ours(start, service):
    port = free_port()
    start("-b", port, service().spelt, env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    with connect(port) as s:
        s.sendall(b"hello")
        assert read_exactly(s, 5) == b"hello"


def test_the_extra_descriptor_of_accept_yes_does_not_hold_the_connection(directory, server):
    """systemd passes the same socket as 0, 1 and 3."""
    target = server()
    client, accepted = tcp_pair()
    os.dup2(accepted.fileno(), 63)
    p = subprocess.Popen(listen_fds(1, directory.program, target.spelt), stdin=accepted, stdout=accepted,
                         stderr=subprocess.PIPE, env=directory.environment(), pass_fds=[3],
                         preexec_fn=lambda: os.dup2(63, 3))
    os.close(63)
    accepted.close()
    s = target.accept()
    s.sendall(b"banner")
    s.shutdown(socket.SHUT_WR)
    assert read_all(client) == b"banner", "the FIN arrives"
    client.close()
    assert read_all(s) == b""
    s.close()
    ends(p)
    p.stderr.close()
