"""The usual scene: one port, one server of the test behind it."""
import os

import pytest

from lib import build
from lib.admin import Admin
from lib.page import Page
from lib.peers import connect, play_all
from lib.ports import free_port


class Relay:
    """A proxy in front of one server of the test."""

    def __init__(self, start, server, kind, options):
        self.kind, self.server = kind, server
        self.host = "::1" if kind == "tcp6" else "127.0.0.1"
        self.port = free_port()
        self.proxy = start("-b", self.port, *options, server.spelt)

    def connect(self, **more):
        return connect(self.port, self.host, **more)

    def pair(self, **more):
        """A client and the server's side of the same connection."""
        return self.connect(**more), self.server.accept()

    def play(self, client_steps, server_steps, times=1, **more):
        """Plays both scripts on so many connections at the same time."""
        pairs = [self.pair(**more) for _ in range(times)]
        play_all([(client, client_steps, server, server_steps) for client, server in pairs])


@pytest.fixture
def relay(start, server, kind):
    """relay(option...): for each of the three kinds of server."""
    def make(*options, kind=kind, **more):
        return Relay(start, server(kind, **more), kind, options)
    return make


@pytest.fixture
def relay4(start, server):
    """The same over IPv4 only."""
    def make(*options, **more):
        return Relay(start, server("tcp4", **more), "tcp4", options)
    return make


@pytest.fixture
def repeat():
    """How often a run is repeated: REPEAT=100 finds the rare faults."""
    return int(os.environ.get("REPEAT", "5"))


@pytest.fixture
def admin(directory):
    """The admin socket of what this test starts: name `admin.line` in its configuration, or `admin.option` with -o."""
    a = Admin(directory / "admin.sock")
    a.option = f"admin unix:{a.path}"
    a.line = a.option + "\n"
    return a


class Programs:
    """A client that a handler serves, and one about whom an access program is asked until grant()."""

    NAME = "nine.test"  # of both

    def __init__(self, start, server, directory, admin, names):
        names.add_reverse("127.0.0.9", self.NAME)
        names.add(self.NAME, "127.0.0.9")
        self.page = Page()
        self.granted = directory / "granted"
        access = directory.script("access", f"until [ -e {self.granted} ]; do sleep 0.02; done")
        self.handled, self.asked = free_port(), free_port()
        self.proxy = start(config=f"resolver {names.spelt}\n{admin.line}{self.page.line if build.has_page() else ''}"
                                  f"port {self.handled}\nexec /bin/cat\n"
                                  f"port {self.asked}\nacp {access}\nserver {server.spelt}\n")
        self.clients = [connect(port, source="127.0.0.9") for port in (self.handled, self.asked)]

    def grant(self):
        with open(self.granted, "w"):
            pass


@pytest.fixture
def programs(start, server, directory, admin, names):
    made = Programs(start, server(), directory, admin, names)
    yield made
    for s in made.clients:
        s.close()
