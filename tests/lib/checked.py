"""Servers that are asked whether they are well: played, so that a test says what they answer, and sees how they are left."""
import collections
import json
import os
import re
import selectors
import socket
import threading
import time

from . import processes
from .peers import ask, read_all
from .ports import free_port
from .waiting import wait_for

ASKS = 'send "WELL?\\r\\n" expect-begin "YES\\r\\n"'
_QUESTION = b"WELL?\r\n"


def trickle(s):
    """A byte a second, and never a line."""
    while True:
        s.sendall(b"Y")
        time.sleep(1)


def nonsense(s):
    """1 MB that means nothing."""
    s.sendall(b"\x00\xffnonsense" * 100_000)
    read_all(s)


def silent(s):
    read_all(s)


class Checked:
    """Tells checks from clients by what they say first. Checks get "YES" while it is `well`, else "NO", or what `answer` does; clients
    its name, then an echo to their end."""

    def __init__(self, name="a", host="127.0.0.1", port=None, path=None, well=True):
        self.name, self.well, self.answer = name, well, None
        self.one_yes_in = self.one_no_in = None  # of so many answers, instead
        self.host, self.path = host, path
        self.port = None if path else port or free_port()
        self.spelt = f"unix:{path}" if path else f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.came = []       # when each connection was accepted, and from where
        self.checks = 0      # questions
        self.clients = 0
        self.resets = 0      # of anybody
        self.listener = None
        self.listen()

    def listen(self):
        """From now on it takes connections, again."""
        if self.path:
            if os.path.exists(self.path):
                os.unlink(self.path)
            s = socket.socket(socket.AF_UNIX)
            s.bind(self.path)
            os.chmod(self.path, 0o777)
        else:
            s = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((self.host, self.port))
        s.listen(256)
        self.listener = s
        threading.Thread(target=self._run, args=(s,), daemon=True).start()

    def refuse(self):
        """The port refuses."""
        listener, self.listener = self.listener, None
        if listener:
            try:
                listener.shutdown(socket.SHUT_RDWR)  # whoever waits in accept() is woken
            except OSError:
                pass
            listener.close()

    def _run(self, listener):
        while True:
            try:
                s, peer = listener.accept()
            except OSError:
                return
            self.came.append((time.monotonic(), peer))
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        s.settimeout(60)
        with s:
            try:
                first = s.recv(100)
                if first.startswith(_QUESTION):
                    self._answer(s)
                elif first:
                    self.clients += 1
                    s.sendall(self.name.encode())
                    while chunk := s.recv(65536):
                        s.sendall(chunk)
            except ConnectionResetError:
                self.resets += 1
            except OSError:
                pass

    def _answer(self, s):
        self.checks += 1
        if self.answer:
            self.answer(s)
        else:
            s.sendall(b"YES\r\n" if self._is_well() else b"NO\r\n")
            read_all(s)

    def _is_well(self):
        if self.one_yes_in:
            return self.checks % self.one_yes_in == 0
        if self.one_no_in:
            return self.checks % self.one_no_in != 0
        return self.well

    def wait_asked(self, n=1):
        """n times more."""
        wanted = self.checks + n
        wait_for(lambda: self.checks >= wanted, f"{n} checks of {self.name}, not {self.checks - wanted + n}")

    def close(self):
        self.refuse()


class Many:
    """A port at every address of this machine, which answers each check with a yes, or a no, and ends when the other does: 127.1.0.1
    and its kin are servers of their own. One thread, no more than one turn for each."""

    def __init__(self):
        self.port, self.well = free_port(), True
        self.came = []      # when, and at which address
        self.down = set()   # addresses that say no
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("0.0.0.0", self.port))
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.over = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except BlockingIOError:
                return
            s.setblocking(False)
            self.came.append((time.monotonic(), s.getsockname()[0]))
            self.selector.register(s, selectors.EVENT_READ)

    def _hear(self, s):
        try:
            heard = s.recv(4096)
        except OSError:
            heard = b""
        if heard.startswith(_QUESTION):
            s.send(b"NO\r\n" if s.getsockname()[0] in self.down or not self.well else b"YES\r\n")
        elif heard:
            s.send(s.getsockname()[0].encode())
        else:
            self.selector.unregister(s)
            s.close()

    def _run(self):
        while not self.over:
            for key, _ in self.selector.select(0.2):
                if key.fileobj is self.listener:
                    self._accept()
                else:
                    self._hear(key.fileobj)
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()

    def asked(self):
        """How often each was."""
        return collections.Counter(host for _, host in list(self.came))

    def close(self):
        self.over = True
        self.thread.join()


# -- what the proxy makes of it

_CHANGE = re.compile(r"^tcpproxy: server service=(\S+) server=(\S+)(?: address=(\S+))? state=(\S+) was=(\S+)"
                     r'(?: why=("(?:[^"\\]|\\.)*"|\S+))? up=(\d+) of=(\d+)$', re.M)


def changes(proxy, server=None):
    """[(server, state, was, why)] of all lines of changes so far."""
    def text(value):
        return json.loads(value) if value and value.startswith('"') else value or ""
    return [(m[2], m[4], m[5], text(m[6])) for m in _CHANGE.finditer(proxy.log())
            if server is None or m[2] == server.spelt]


def wait_state(admin, server, state):
    """The server is said to be that."""
    return wait_for(lambda: (it := admin.server(server.spelt))["health"] == state and it, f"{server.spelt} is {state}")


class Clients:
    """Clients that come one after the other in each of n threads, all the time. Whoever came while one of the servers was known to be
    down, and was known to be it all the time, is not to meet it."""

    def __init__(self, port, servers, n=4):
        self.port, self.names = port, {s.name.encode(): s for s in servers}
        self.known_down = {}  # name of a server: since when, as a number of its own
        self.met, self.wrong = {}, []
        self.over = False
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(n)]
        for t in self.threads:
            t.start()

    def _run(self):
        while not self.over:
            down = dict(self.known_down)
            try:
                said = ask(self.port, b"client")
            except OSError as e:
                said = repr(e).encode()
            self.met[said] = self.met.get(said, 0) + 1
            if said in down and self.known_down.get(said) is down[said]:
                self.wrong.append(f"a client met {said.decode()}, which is down")
            if said not in self.names:
                self.wrong.append(f"a client met nobody: {said.decode()}")

    def goes_down(self, server):
        """It is known to be, from now on."""
        self.known_down[server.name.encode()] = object()

    def comes_up(self, server):
        """It may be, from now on."""
        self.known_down.pop(server.name.encode(), None)

    def wait_some(self, n=40):
        wanted = sum(self.met.values()) + n
        wait_for(lambda: sum(self.met.values()) >= wanted, f"{n} clients more")

    def stop(self):
        self.over = True
        for t in self.threads:
            t.join()
        assert not self.wrong, self.wrong[:5]


def checkers(proxy):
    """Processes that check, of all supervisors that there were."""
    return [pid for pid in proxy.pids() if processes.title(pid) == "tcpproxy: checker"]


def wait_checkers(proxy, n):
    return wait_for(lambda: len(found := checkers(proxy)) == n and (found or True), f"{n} checkers, not {proxy.tree()}")
