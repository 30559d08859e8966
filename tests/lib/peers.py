"""Clients and servers that follow a script, over IPv4, IPv6 and Unix sockets; every byte is checked.

A script is a list of steps, each a function of a socket:

    play(client, [send(300_000), fin(), expect(2 * MIB, seed=2), expect_fin()],
         server, [expect(300_000), expect_fin(), wait(2.0), send(2 * MIB, seed=2), fin()])
"""
import fcntl
import os
import random
import socket
import struct
import termios
import threading
import time

from .ports import free_port
from .waiting import PATIENCE, wait_for

KIB, MIB = 1024, 1024 * 1024
_BLOCK = random.Random(1999).randbytes(4 * MIB + 251)


def data(n, seed=1):
    """The first `n` bytes of the stream number `seed`."""
    start = seed * 7919 % len(_BLOCK)
    return (_BLOCK[start:] + _BLOCK * (n // len(_BLOCK) + 1))[:n]


# -- endpoints

FAMILIES = {"tcp4": socket.AF_INET, "tcp6": socket.AF_INET6, "unix": socket.AF_UNIX}


class Server:
    """A listening socket. `spelt` is how a configuration names it."""

    def __init__(self, kind="tcp4", directory=None, host=None, port=None, backlog=128, small=False):
        self.kind = kind
        self.socket = socket.socket(FAMILIES[kind], socket.SOCK_STREAM)
        if small:  # receives little at a time
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        if kind == "unix":
            path = directory / f"server{self.socket.fileno()}.sock"
            self.socket.bind(path)
            os.chmod(path, 0o777)
            self.spelt = f"unix:{path}"
        else:
            host = host or {"tcp4": "127.0.0.1", "tcp6": "::1"}[kind]
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.port = port or free_port()
            self.socket.bind((host, self.port))
            self.spelt = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.socket.listen(backlog)
        self.socket.settimeout(PATIENCE)

    def accept(self, timeout=PATIENCE):
        self.socket.settimeout(timeout)
        s, _ = self.socket.accept()
        s.settimeout(PATIENCE)
        return s

    def idle(self):
        """Nobody is waiting to be accepted."""
        self.socket.setblocking(False)
        try:
            self.socket.accept()[0].close()
            return False
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Service:
    """A server that serves each of its clients with `function(socket)`, in threads, until it is closed."""

    def __init__(self, function, *args, **kwargs):
        self.server = Server(*args, **kwargs)
        self.spelt = self.server.spelt
        self.port = getattr(self.server, "port", None)
        self.function = function
        self.served = 0
        self.sockets = set()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.server.socket.settimeout(None)
        self.thread.start()

    def _run(self):
        while True:
            try:
                s, _ = self.server.socket.accept()
            except OSError:
                return
            self.served += 1
            self.sockets.add(s)
            s.settimeout(60)
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        try:
            self.function(s)
        except OSError:
            pass
        finally:
            self.sockets.discard(s)
            s.close()

    def close(self):
        try:
            self.server.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.server.close()
        self.thread.join(PATIENCE)
        for s in list(self.sockets):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def echo(s):
    """Sends back what comes, and ends when the client does."""
    while chunk := s.recv(65536):
        s.sendall(chunk)


def say(text):
    """A server that says `text` and ends."""
    def serve(s):
        s.sendall(text.encode())
    return serve


IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: a port is needed for each server only, not one of the machine's


def connect(port, host="127.0.0.1", small=False, source=None, timeout=PATIENCE, receive=4096):
    """A client; of a port, or of a Unix socket: "/PATH", "@NAME". `small`: with a receive buffer of only `receive` bytes."""
    there = port.replace("@", "\0", 1) if isinstance(port, str) else (host, port)
    family = socket.AF_UNIX if isinstance(port, str) else socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    if small:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    s.settimeout(timeout)
    if source:
        s.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        s.bind((source, 0))
    try:
        s.connect(there)
    except OSError:
        s.close()
        raise
    return s


def refused(port, host="127.0.0.1"):
    """Nobody listens there."""
    try:
        connect(port, host).close()
        return False
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # somebody did a moment ago
        return False


# -- looking at a socket

def unsent(s):
    """Bytes that the other side's kernel has not yet acknowledged."""
    return struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, b"\0" * 4))[0]


def read_exactly(s, n):
    chunks, got = [], 0
    while got < n:
        chunk = s.recv(min(n - got, 1 << 18))
        if not chunk:
            raise AssertionError(f"end of stream after {got} of {n} bytes")
        chunks.append(chunk)
        got += len(chunk)
    return b"".join(chunks)


def read_all(s):
    """Everything up to the FIN. A reset is ConnectionResetError."""
    chunks = []
    while chunk := s.recv(1 << 18):
        chunks.append(chunk)
    return b"".join(chunks)


def ask(port, request=b"", host="127.0.0.1"):
    """Sends the request and a FIN, and reads the answer to its end."""
    with connect(port, host) as s:
        if request:
            s.sendall(request)
        s.shutdown(socket.SHUT_WR)
        return read_all(s)


def answer(port, host="127.0.0.1"):
    """What the server says by itself, to its end."""
    with connect(port, host) as s:
        return read_all(s)


def is_reset(s):
    """Reads until the end; true if that is a reset. What came before it is dropped."""
    try:
        read_all(s)
        return False
    except ConnectionResetError:
        return True


def gets_reset(port, host="127.0.0.1", **more):
    """A new client is answered with a reset, not with a clean end of stream. A quick one is heard of already by
    connect()."""
    try:
        with connect(port, host, **more) as s:
            return is_reset(s)
    except ConnectionResetError:
        return True


def kill_connection(s):
    """A reset, at once."""
    if s.family != socket.AF_UNIX:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


# -- steps

def _step(name):
    def named(function):
        function.__name__ = name
        return function
    return named


def send(n, seed=1, chunk=None, every=0.0):
    """`n` bytes of stream `seed`; in pieces of `chunk` bytes, one each `every` seconds."""
    @_step(f"send({n}, seed={seed})")
    def step(s):
        octets = data(n, seed)
        for i in range(0, n, chunk or max(n, 1)):
            s.sendall(octets[i:i + (chunk or n)])
            if every:
                time.sleep(every)
    return step


def send_until_refused(limit=256 * MIB):
    """Writes until the other side's end is felt: a reset or a closed reader."""
    @_step("send_until_refused()")
    def step(s):
        octets, sent = data(64 * KIB), 0
        try:
            while sent < limit:
                sent += s.send(octets)
        except (ConnectionResetError, BrokenPipeError):
            return
        raise AssertionError(f"{sent} bytes went out and nobody minded")
    return step


def expect(n, seed=1, at_most=1 << 18, every=0.0):
    """Exactly these bytes next; reading `at_most` at a time, once each `every` seconds: a slow reader."""
    @_step(f"expect({n}, seed={seed})")
    def step(s):
        wanted, got = memoryview(data(n, seed)), 0
        while got < n:
            chunk = s.recv(min(n - got, at_most))
            assert chunk, f"end of stream after {got} of {n} bytes"
            if chunk != wanted[got:got + len(chunk)]:
                at = next(i for i, b in enumerate(chunk) if b != wanted[got + i])
                raise AssertionError(f"wrong byte at {got + at} of {n}")
            got += len(chunk)
            if every:
                time.sleep(every)
    return step


@_step("fin()")
def _fin(s):
    s.shutdown(socket.SHUT_WR)


def fin():
    return _fin


@_step("expect_fin()")
def _expect_fin(s):
    try:
        more = s.recv(1)
    except ConnectionResetError:
        raise AssertionError("a reset instead of a FIN") from None
    assert not more, "bytes instead of a FIN"


def expect_fin():
    return _expect_fin


@_step("reset()")
def _reset(s):
    kill_connection(s)


def reset():
    """SO_LINGER 0: the kernel drops what it has not sent; delivered() first if that matters."""
    return _reset


@_step("expect_reset()")
def _expect_reset(s):
    if s.family == socket.AF_UNIX:  # it cannot carry one: the descriptor is closed
        try:
            assert not s.recv(1), "bytes instead of the end"
        except ConnectionResetError:
            pass
        return
    try:
        more = s.recv(1)
    except ConnectionResetError:
        return
    raise AssertionError("bytes instead of a reset" if more else "a FIN instead of a reset")


def expect_reset():
    return _expect_reset


@_step("close()")
def _close(s):
    s.close()


def close():
    return _close


@_step("delivered()")
def _delivered(s):
    wait_for(lambda: unsent(s) == 0, "acknowledged data")


def delivered():
    """Waits until everything sent was acknowledged."""
    return _delivered


def wait(seconds):
    """A pause that is part of the story: longer than any internal timer."""
    @_step(f"wait({seconds})")
    def step(_):
        time.sleep(seconds)
    return step


def until(event, timeout=PATIENCE):
    """Pauses until told: until somebody sets the threading.Event."""
    @_step("until(event)")
    def step(_):
        assert event.wait(timeout), "nobody told us to go on"
    return step


def tell(event):
    @_step("tell(event)")
    def step(_):
        event.set()
    return step


def together(*scripts):
    """Several scripts at once on one socket: writing and reading do not wait for each other."""
    @_step("together()")
    def step(s):
        failures = []

        def run(i, steps):
            for n, one in enumerate(steps):
                try:
                    one(s)
                except (AssertionError, OSError) as e:
                    failures.append(f"part {i + 1}, step {n + 1}, {one.__name__}: {e!r}")
                    return
        threads = [threading.Thread(target=run, args=(i, steps), daemon=True) for i, steps in enumerate(scripts)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        assert not failures, "; ".join(failures)
    return step


def run_steps(name, s, steps, failures):
    for i, step in enumerate(steps):
        try:
            step(s)
        except (AssertionError, OSError) as e:
            failures.append(f"{name}, step {i + 1}, {step.__name__}: {e!r}")
            kill_connection(s)  # so that the other side does not wait for ever
            return
    s.close()


def play(client, client_steps, server, server_steps):
    """Both scripts at the same time; fails with the step that failed. Closes both sockets."""
    play_all([(client, client_steps, server, server_steps)])


def play_all(plays):
    """Many of them at the same time."""
    failures = []
    threads = []
    for i, (client, client_steps, server, server_steps) in enumerate(plays):
        for name, s, steps in (("client", client, client_steps), ("server", server, server_steps)):
            args = (f"{name} {i}", s, steps, failures)
            threads.append(threading.Thread(target=run_steps, args=args, daemon=True))
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
        assert not t.is_alive(), "a script that does not end"
    assert not failures, "; ".join(failures)


def tcp_pair(host="127.0.0.1"):
    """Both ends of one TCP connection."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.bind((host, 0))
        listener.listen(1)
        client = connect(listener.getsockname()[1], host)
        accepted, _ = listener.accept()
    accepted.settimeout(PATIENCE)
    return client, accepted


def talk(s, word=b"hello"):
    """To an echo, and back."""
    s.sendall(word)
    assert read_exactly(s, len(word)) == word


def exchange_slowly(pairs, n, every, enough=None):
    """n bytes each way through all pairs at once, read in small pieces with pauses, every byte and end checked. With
    `enough`, an Event, no stream ends before it is set."""
    slow = {"at_most": 64 * 1024, "every": every}
    for s in (s for pair in pairs for s in pair):
        s.settimeout(50)  # for all that it has to send, beside many others
    last = [until(enough, 30), fin()] if enough else [fin()]
    end = [until(enough, 30), expect_fin()] if enough else [expect_fin()]
    play_all([(client, [together([send(n, seed=i), *last], [expect(n, seed=i + 50, **slow), *end])],
               server, [together([send(n, seed=i + 50), *last], [expect(n, seed=i, **slow), *end])])
              for i, (client, server) in enumerate(pairs)])
