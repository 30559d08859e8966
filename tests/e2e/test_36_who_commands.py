"""Who gave an administrator's command stands in the log."""
import os
import re
import signal
import subprocess

import pytest

from lib import build
from lib.admin import CTL
from lib.page import Page
from lib.peers import connect, read_exactly
from lib.ports import free_port
from lib.waiting import wait_for


class Steered:
    def __init__(self, start, service, admin):
        self.port = free_port()
        self.proxy = start(config=f"{admin.line}port {self.port} as echo\nserver {service().spelt} as e1\n")

    def given(self):
        """[(command, who)] of the log."""
        return re.findall(r"^tcpproxy: command: (.*), ((?:uid|page)=.*)$", self.proxy.log(), re.M)

    def wait_given(self, n):
        return wait_for(lambda: len(self.given()) >= n and self.given(), f"{n} commands")


@pytest.fixture
def steered(start, service, admin):
    return Steered(start, service, admin)


def as_another(admin, words, name=None, user=None):
    """A process of that name and user gives the command, by itself."""
    def become():
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
    program = ("import ctypes, socket, sys\n"
               "name = bytes.fromhex(sys.argv[1])\n"
               "if name: ctypes.CDLL(None).prctl(15, name, 0, 0, 0)\n"
               "s = socket.socket(socket.AF_UNIX)\n"
               "s.connect(sys.argv[2])\n"
               "s.sendall(sys.argv[3].encode() + b'\\n')\n"
               "sys.stdout.write(s.recv(1000).decode())\n")
    done = subprocess.run(["/usr/bin/python3", "-c", program, (name or b"").hex(), admin.path, words], capture_output=True,
                          text=True, timeout=20, preexec_fn=become)
    assert done.returncode == 0, done
    return done.stdout


def test_who_gave_a_command_is_logged(steered, admin):
    with connect(steered.port) as s:
        s.sendall(b"x")
        assert read_exactly(s, 1) == b"x"
        admin.wait_connections(1, "state=relay")
        for n, words in enumerate([["disable", "e1"], ["enable", "service=echo", "e1"], ["drain", steered.port], ["enable", "echo"],
                                   ["kill", "service=echo"], ["reload"], ["upgrade"], ["log", "level", "debug"]]):
            admin.ask(*words)
            command, who = steered.wait_given(n + 1)[n]
            assert command == " ".join(map(str, words))
            assert re.fullmatch(rf"uid={os.geteuid()} pid=\d+ program=tcpproxyctl", who)
    steered.proxy.expect_deaths()  # they are other processes since the upgrade
    steered.proxy.wait_whole()


def test_a_tap_is_one(steered, admin, tmp_path):
    t = subprocess.Popen([CTL, "-s", admin.path, "tap", "-w", tmp_path / "x", "service=echo"])
    (command, who), = steered.wait_given(1)
    assert command == "tap service=echo" and who == f"uid={os.geteuid()} pid={t.pid} program=tcpproxyctl"
    steered.proxy.wait_log("looks at connections")
    t.send_signal(signal.SIGINT)
    assert t.wait(10) == 0


def test_looking_is_none(steered, admin):
    for words in (["status"], ["connections"], ["counters"], ["metrics"], ["explain", "192.0.2.1", steered.port], ["log", "level"]):
        admin.run(*words)
    admin.ask("disable", "e1")
    assert [command for command, _ in steered.wait_given(1)] == ["disable e1"]


def test_one_that_is_refused_is_logged_too(steered, admin):
    admin.refused("disable", "nobody")
    admin.refused("kill", "client=192.0.2.1")
    assert [command for command, _ in steered.wait_given(2)] == ["disable nobody", "kill client=192.0.2.1"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_the_service_user_is_told_from_root(steered, admin):
    assert as_another(admin, "disable e1", user=65534).startswith("ok 0")
    (_, who), = steered.wait_given(1)
    assert re.fullmatch(r"uid=65534 pid=\d+ program=python3\S*", who)


@pytest.mark.parametrize("name, shown", [(b"a b\"c=d\n", "a?b?c?d?"), (b"\x1b]0;x\x07", "?]0;x?"), ("\u00e4".encode(), "??"),
                                         (b"x" * 15, "x" * 15)])
def test_whatever_a_program_calls_itself_is_one_word(steered, admin, name, shown):
    as_another(admin, "disable e1", name=name)
    (_, who), = steered.wait_given(1)
    assert who.endswith(f" program={shown}"), who


def test_a_long_command_is_cut_but_not_who_gave_it(steered, admin):
    admin.refused("disable", "x" * 3000)
    (command, who), = steered.wait_given(1)
    assert command.startswith("disable xxx") and command.endswith("...") and len(command) < 600
    assert who.endswith("program=tcpproxyctl")


def test_words_cannot_pretend_to_be_somebody_else(steered, admin):
    admin.refused("disable", "e1, uid=0 pid=1 program=init")
    (command, who), = steered.wait_given(1)
    assert command == 'disable "e1, uid=0 pid=1 program=init"' and who.endswith("program=tcpproxyctl")


@pytest.mark.skipif(not build.has_page(), reason="this build has no page")
def test_by_the_page_it_is_where_it_came_from(start, service, directory):
    page, port = Page(directory.write("token", "secret\n", mode=0o600)), free_port()
    proxy = start(config=f"{page.line}port {port}\nserver {service().spelt}\n")
    page.wait_answers()
    with page.connect() as s:
        mine = "%s:%d" % s.getsockname()
        s.sendall(b"POST /api/command HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\nContent-Length: %d\r\n\r\n"
                  b"disable %d" % (len(f"disable {port}"), port))
        assert b"200 OK" in s.recv(1000)
    proxy.wait_log(rf"^tcpproxy: command: disable {port}, page={re.escape(mine)}$")
    page.command("disable 1", "wrong")
    assert len(re.findall("command: ", proxy.log())) == 1, "who has no token gave none"
