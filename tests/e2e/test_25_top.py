"""tcpproxyctl top, on a terminal."""
import os
import re
import shutil
import subprocess

import pytest

from lib.admin import CTL
from lib.peers import ask, connect, data, gets_reset, is_reset, read_exactly
from lib.ports import free_port
from lib.waiting import wait_for

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="no tmux")


class Terminal:
    """A terminal of tmux's that runs a command."""

    def __init__(self, directory, command, width=120, height=24):
        self.tmux = ["tmux", "-S", directory / "tmux.sock", "-f", "/dev/null"]
        self.status = directory / f"status.{id(self)}"  # tmux may lose it
        command = ["sh", "-c", '"$@"; echo $? >"$0.new"; mv "$0.new" "$0"', self.status, *command]
        self.run("new-session", "-d", "-x", str(width), "-y", str(height), *command, ";",
                 "set-option", "-g", "remain-on-exit", "on")

    def run(self, *words):
        return subprocess.run([*self.tmux, *words], capture_output=True, text=True, timeout=20,
                              env={**os.environ, "TERM": "xterm", "LANG": "C.UTF-8"})

    def screen(self):
        return self.run("capture-pane", "-p").stdout

    def wait(self, pattern):
        return wait_for(lambda: re.search(pattern, self.screen(), re.M), f"{pattern!r} in:\n{self.screen()}")

    def keys(self, *keys):
        self.run("send-keys", *keys)

    def resize(self, width, height):
        self.run("resize-window", "-x", str(width), "-y", str(height))

    def wait_end(self):
        """The command has ended, with exit code 0."""
        def ended():
            try:
                with open(self.status) as f:
                    return f.read()
            except FileNotFoundError:
                return None
        assert wait_for(ended, "its end") == "0\n"

    def close(self):
        self.run("kill-server")


@pytest.fixture
def terminal(admin, directory):
    """terminal(): one with a top."""
    made = []

    def make(*words, **size):
        made.append(Terminal(directory, [CTL, "-s", admin.path, "top", "-d", "0.2", *words], **size))
        return made[-1]
    yield make
    for t in made:
        t.close()


@pytest.fixture
def top(terminal, start, service, admin):
    """top(): a terminal with a top of an echo's connections."""
    terminal.port = free_port()
    terminal.proxy = start("-b", terminal.port, "-o", admin.option, service().spelt)
    return terminal


def talk(port, n):
    s = connect(port)
    s.sendall(data(n))
    assert read_exactly(s, n)
    return s


def test_it_is_live(top):
    t = top()
    t.wait("^tcpproxyctl top: 0 connections by id")
    with talk(top.port, 1000):
        t.wait(f"^ *1 +{top.port} +127.0.0.1:[0-9]+ .* relay .* 1000 +1000 ")
    t.wait("^tcpproxyctl top: 0 connections")
    t.keys("q")
    t.wait_end()


def test_sorting_by_a_key(top):
    sockets = [talk(top.port, n) for n in (10, 3000, 200)]
    t = top()
    t.wait("3 connections by id")
    for _ in range(6):
        t.keys(">")
    t.wait("3 connections by up")
    wait_for(lambda: re.findall(r"relay +\S+ +(\d+)", t.screen()) == ["3000", "200", "10"], "the largest first")
    t.keys("<")
    t.wait("3 connections by age")
    for s in sockets:
        s.close()


def test_a_key_ends_the_chosen_connection(top):
    sockets = [talk(top.port, 10) for _ in range(3)]
    t = top()
    t.wait("3 connections")
    t.keys("k")
    t.wait("choose a connection")
    t.keys("Down", "Down", "k")
    t.wait(r"end connection 2\? y/n")
    t.keys("n")
    t.wait("arrows choose")
    t.keys("k")
    t.wait(r"end connection 2\? y/n")
    t.keys("y")
    t.wait("connection 2 is ended")
    assert is_reset(sockets[1])
    t.wait("2 connections")
    for s in (sockets[0], sockets[2]):
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        s.close()


def test_servers_that_fail_are_shown(start, service, admin, terminal):
    port, other, dead = free_port(), free_port(), free_port()
    start(config=f"{admin.line}port {port} as web\nserver 127.0.0.1:{dead} as w1\n"
                 f"port {other}\nserver 127.0.0.1:{dead}\n")
    t = terminal()
    t.wait("0 connections")
    assert "failed" not in t.screen()
    assert gets_reset(port)
    t.wait(r"^failed: w1 for \d+\.\d(s|ms): Connection refused *$")
    assert gets_reset(other)
    t.wait(rf"^failed: w1 for \S+: Connection refused; 127\.0\.0\.1:{dead} for \S+: Connection refused *$")
    service(port=dead)
    with talk(port, 10), talk(other, 10):
        t.wait("^ *[0-9]+ +web +127.0.0.1:[0-9]+ +w1 +relay ")
        wait_for(lambda: "failed:" not in t.screen(), "that neither is shown any more")


def test_a_server_that_is_ejected_is_shown(start, service, admin, terminal):
    port, dead = free_port(), free_port()
    start(config=f"{admin.line}port {port}\nserver 127.0.0.1:{dead} as w1\nserver {service().spelt} as w2\neject for 60 after 1\n")
    t = terminal()
    t.wait("0 connections")
    for _ in range(2):
        ask(port, b"x")
    assert admin.server("w1")["health"] == "ejected"
    t.wait(r"^failed: w1 for \d+\.\d(s|ms): clients could not connect: Connection refused *$")


def test_connections_of_programs(programs, admin, terminal):
    pids = programs.proxy.wait_whole()
    t = terminal()
    t.wait(f"^ *[0-9]+ +{programs.handled} +127.0.0.9:[0-9]+ .* handler ")
    t.wait(f"^ *[0-9]+ +{programs.asked} +127.0.0.9:[0-9]+ .* verdict ")
    programs.grant()
    t.wait(f"^ *[0-9]+ +{programs.asked} +127.0.0.9:[0-9]+ .* relay ")
    assert programs.proxy.tree() == pids


def test_it_scrolls_and_resizes(top):
    sockets = [talk(top.port, 10) for _ in range(40)]
    t = top(height=20)
    t.wait("40 connections")

    def rows():
        return [int(n) for n in re.findall(r"^ *(\d+) +%d " % top.port, t.screen(), re.M)]
    wait_for(lambda: rows() == list(range(1, 18)), f"what fits, not {rows()}")
    t.keys("NPage", "NPage")
    wait_for(lambda: len(rows()) == 17 and 1 not in rows(), f"further down, not {rows()}")
    t.resize(60, 10)
    wait_for(lambda: len(rows()) == 7, f"fewer rows, not {rows()}")
    assert all(len(line) <= 60 for line in t.screen().splitlines())
    t.resize(5, 3)
    wait_for(lambda: len(t.screen().splitlines()) <= 3, "hardly anything")
    t.resize(120, 30)
    wait_for(lambda: len(rows()) == 27, f"more rows, not {rows()}")
    for s in sockets:
        s.close()


def test_it_says_when_tcpproxy_ends(top):
    t = top()
    t.wait("0 connections")
    top.proxy.stop()
    t.wait("is tcpproxy running there")
    t.keys("q")
    t.wait_end()


def test_without_a_terminal(top, admin):
    assert "needs a terminal" in admin.refused("top")
    assert "-d takes" in admin.refused("top", "-d", "x")
