"""The admin socket itself: who may speak, what is no request, and who is slow."""
import contextlib
import os
import pty
import random
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

from lib import kernel, processes
from lib.admin import CTL, Admin, read_all
from lib.peers import ask, connect
from lib.ports import free_port
from lib.waiting import wait_for


@pytest.fixture
def proxy(start, service, admin):
    proxy = start("-b", free_port(), "-o", admin.option, service().spelt)
    proxy.port = proxy.ports()[0]
    return proxy


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_the_socket_is_there_while_it_runs_and_no_longer(proxy, admin):
    assert stat.S_ISSOCK(os.stat(admin.path).st_mode)
    proxy.stop()
    assert not os.path.exists(admin.path)


def test_without_admin_there_is_no_socket(start, service, directory, admin):
    start("-b", free_port(), service().spelt)
    assert not os.path.exists(admin.path)
    assert "is tcpproxy running there" in admin.refused("status", code=2)


def test_a_directory_is_made_for_it(start, service, directory):
    admin = Admin(directory / "run/admin.sock")
    proxy = start("-b", free_port(), "-o", f"admin unix:{admin.path}", service().spelt)
    assert admin.json("status")["pid"] == proxy.pid


def test_two_sockets(start, service, directory):
    both = [Admin(directory / "a.sock"), Admin(directory / "b.sock")]
    words = [w for a in both for w in ("-o", f"admin unix:{a.path}")]
    proxy = start("-b", free_port(), *words, service().spelt)
    assert [a.json("status")["pid"] for a in both] == [proxy.pid] * 2


def test_a_relative_path_starts_where_we_are(start, service, directory):
    proxy = start("-b", free_port(), "-o", "admin unix:./a.sock", service().spelt)
    assert Admin(directory / "a.sock").json("status")["pid"] == proxy.pid


def test_one_that_was_left_behind_is_replaced(start, service, admin):
    port, a = free_port(), service()
    old = socket.socket(socket.AF_UNIX)
    old.bind(admin.path)
    old.close()
    proxy = start("-b", port, "-o", admin.option, a.spelt)
    assert admin.json("status")["pid"] == proxy.pid


@pytest.mark.parametrize("what", ["a file", "somebody who answers"])
def test_what_is_in_its_place_stays(start, service, admin, directory, what):
    if what == "a file":
        directory.write("admin.sock", "precious")
    else:
        other = socket.socket(socket.AF_UNIX)
        other.bind(admin.path)
        other.listen()
    done = directory.run("-b", free_port(), "-o", admin.option, service().spelt)
    assert done.returncode == 2 and admin.path in done.stderr
    assert os.path.exists(admin.path)


def test_it_is_there_again_when_a_killed_supervisor_is_started_again(proxy, admin):
    proxy.kill_supervisor()
    assert "Connection refused" in admin.refused("status", code=2)
    proxy.start_again()
    wait_for(lambda: admin.run("status").returncode == 0, "the socket")
    assert admin.json("status")["pid"] == proxy.pid


# -- who may speak

@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
def test_root_and_the_service_user_may_speak_and_others_are_told(proxy, admin):
    def as_user(uid):
        return admin.run("status", user=uid, group=uid, extra_groups=[])
    assert as_user(65534).returncode == 0
    other = as_user(12345)
    assert other.returncode == 1 and "only root and the user" in other.stderr and other.stdout == ""


# -- what is no request

@pytest.mark.parametrize("request_, answer", [
    (b"\n", b"error a request begins with a command"),
    (b"nonsense\n", b'error unknown command "nonsense"'),
    (b"stauts\n", b'error unknown command "stauts"; did you mean "status"?'),
    (b"status more\n", b'error "more" is not understood here'),
    (b'status "\n', b"error this quote is not closed"),
    (b"status\0\n", b"error a request is text"),
    (b"status\x01\n", b"error a control character"),
    (b"\xff\xfe\n", b"error unknown command"),
    (b"x " * 100 + b"\n", b"error a request has at most 64 words"),
    (b"x" * 5000, b"error a request has at most 4096 bytes"),
    (b"kill " + b"9" * 100 + b"\n", b"error"),
    (b"connections sort=" + b"x" * 3000 + b"\n", b"error there is no column"),
])
def test_what_is_no_request_is_answered_with_an_error(proxy, admin, request_, answer):
    got = admin.raw(request_)
    assert got.startswith(answer) and got.endswith(b"\n") and got.count(b"\n") == 1
    assert admin.json("status")


def test_an_answer_tells_its_length(proxy, admin):
    head, _, body = admin.raw(b"status\n").partition(b"\n")
    assert head == b"ok 0 %d" % len(body)
    assert admin.raw(b"status\nmore of this").startswith(b"ok 0 ")
    assert admin.raw(b"status\r\n").startswith(b"ok 0 ")


def test_a_half_closed_client_gets_its_answer(proxy, admin):
    """As socat and nc -N do."""
    for command in (b"status\n", b"connections\n"):
        with admin.connect() as s:
            s.sendall(command)
            s.shutdown(socket.SHUT_WR)
            assert read_all(s).startswith(b"ok 0 ")


def test_clients_that_leave_are_forgotten(proxy, admin):
    before = len(processes.descriptors(proxy.pid))
    for i in range(300):
        with admin.connect() as s:
            if i % 3 == 0:
                s.sendall(b"connections -j\n")
            elif i % 3 == 1:
                s.sendall(b"conne")
    assert admin.json("status")
    wait_for(lambda: len(processes.descriptors(proxy.pid)) == before, "closed descriptors")


PLACES = 32


def test_half_requests_make_room_and_nobody_suffers(proxy, admin):
    held = [admin.connect() for _ in range(PLACES + 8)]
    for s in held:
        with contextlib.suppress(BrokenPipeError):  # the oldest may have made room already
            s.sendall(b"stat")
    begin = time.monotonic()
    assert admin.json("status")["pid"] == proxy.pid
    assert ask(proxy.port, b"x") == b"x"
    assert time.monotonic() - begin < 5, "that is sooner than they are given up"
    wait_for(lambda: len(processes.descriptors(proxy.pid)) < 32 + PLACES, "some of them are closed")
    # the youngest may still say the rest
    held[-1].sendall(b"us\n")
    assert held[-1].recv(5) == b"ok 0 "
    assert held[0].recv(1) == b"", "the oldest has made room"
    for s in held:
        s.close()


def test_answers_that_are_not_taken_make_no_room_for_each_other(proxy, admin):
    """Root's: whoever comes then waits."""
    n = 700  # so long an answer stays in no socket's buffer
    sockets = [connect(proxy.port) for _ in range(n)]
    wait_for(lambda: len(admin.connections()) == n, "all to be accepted")
    deaf = [admin.connect() for _ in range(PLACES)]
    for s in deaf:
        s.sendall(b"connections -j\n")
    for s in deaf:
        assert s.recv(5, socket.MSG_PEEK) == b"ok 0 "
    with admin.connect() as s:
        s.sendall(b"status\n")
        s.settimeout(0.3)
        with pytest.raises(TimeoutError):
            s.recv(1)
        assert ask(proxy.port, b"x") == b"x"
        deaf.pop().close()
        s.settimeout(8)
        assert s.recv(5) == b"ok 0 "
    for s in deaf + sockets:
        s.close()


HALF_REQUESTS = """import socket, sys
held = []
while len(held) < int(sys.argv[2]):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.sendall(b'stat')
    held.append(s)
print(flush=True)
sys.stdin.read()
"""


class HalfRequests:
    """So many of them by this user, as long as the block runs."""

    def __init__(self, path, n, uid):
        self.process = subprocess.Popen([sys.executable, "-c", HALF_REQUESTS, path, str(n)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, user=uid, group=uid, extra_groups=[])

    def __enter__(self):
        return self.process.stdout.readline()

    def __exit__(self, *_):
        self.process.communicate()


SERVICE = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
@pytest.mark.parametrize("uid", [0, SERVICE])
def test_the_service_user_cannot_lock_anybody_out(proxy, admin, uid):
    with HalfRequests(admin.path, 300, SERVICE):
        begin = time.monotonic()
        for _ in range(3):
            done = admin.run("status", user=uid, group=uid, extra_groups=[])
            assert (done.returncode, done.stderr) == (0, "")
        assert time.monotonic() - begin < 5


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
def test_root_does_not_give_way_to_the_service_user(proxy, admin):
    with HalfRequests(admin.path, PLACES, 0):
        done = admin.run("status", user=SERVICE, group=SERVICE, extra_groups=[])
        assert done.returncode == 1 and "too many ask here at once" in done.stderr
        assert admin.json("status")["pid"] == proxy.pid


@pytest.mark.slow
def test_a_silent_client_is_sent_away(proxy, admin):
    with admin.connect() as s:
        s.sendall(b"stat")
        s.settimeout(15)
        begin = time.monotonic()
        assert s.recv(10) == b""
        assert 5 < time.monotonic() - begin < 14


def test_who_does_not_take_its_answer_holds_nobody_up(proxy, admin):
    sockets = [connect(proxy.port) for _ in range(200)]
    wait_for(lambda: len(admin.connections()) == 200, "all to be accepted")
    deaf = [admin.connect() for _ in range(8)]
    for s in deaf:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        s.sendall(b"connections -j\n")
    for _ in range(20):
        begin = time.monotonic()
        assert len(admin.connections()) >= 200  # the one of the round before may not be quite over
        assert ask(proxy.port, b"x") == b"x"
        assert time.monotonic() - begin < 4
    for s in deaf + sockets:
        s.close()


def test_a_stopped_worker_holds_nobody_up(proxy, admin):
    with connect(proxy.port) as s:
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        for pid in proxy.workers():
            os.kill(pid, signal.SIGSTOP)
        try:
            begin = time.monotonic()
            (c,) = admin.connections()
            assert time.monotonic() - begin < 3 and c["client_rtt"] is None
        finally:
            for pid in proxy.workers():
                os.kill(pid, signal.SIGCONT)
        s.sendall(b"y")
        assert s.recv(1) == b"y"


def test_noise_changes_nothing(proxy, admin):
    rng = random.Random(6)
    memory = processes.memory(proxy.pid)
    words = [b"status", b"connections", b"kill", b"-j", b"sort=up", b'"', b"\\", b"client=", b"10.0.0.0/8", b"\xff",
             b"service=1", b"limit=3", b"explain", b"1.2.3.4", b"counters", b"log", b"level", b"drain", b" "]
    with connect(proxy.port) as s:
        for _ in range(1500):
            line = b" ".join(rng.choice(words) for _ in range(rng.randrange(6)))
            if b"kill" in line and b"10.0.0.0/8" not in line:
                continue
            got = admin.raw(line + b"\n")
            assert got.startswith((b"ok ", b"error ")), (line, got)
        s.sendall(b"x")
        assert s.recv(1) == b"x"
    assert processes.memory(proxy.pid) - memory < 8 << 20


# -- tcpproxyctl

def test_help_lists_every_command(admin):
    text = admin.ask("--help")
    for command in ("status", "connections", "kill", "drain", "disable", "enable", "reload", "upgrade", "log", "explain",
                    "counters", "metrics"):
        assert f"\n  {command}" in text


def test_errors_of_tcpproxyctl(admin, proxy):
    def run(*words):
        done = subprocess.run([CTL, *words], capture_output=True, text=True, timeout=20)
        assert done.stderr.startswith("tcpproxyctl: ")
        return done.returncode
    assert run() == 1
    assert run("--nonsense") == 1
    assert run("-s") == 1
    assert run("-s", "/nonexistent/a.sock", "status") == 2
    assert run("-s", "/" + "x" * 200, "status") == 2
    assert run("-s", admin.path, "status", "a\nb") == 1
    assert "did you mean" in admin.refused("conections")


def test_an_answer_that_cannot_be_written_is_an_error(admin, proxy):
    with open("/dev/full", "w") as full:
        done = subprocess.run([CTL, "-s", admin.path, "status"], stdout=full, stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == 1 and done.stderr


SOMEBODY_ELSE = """import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
s.listen()
print(flush=True)
while True:
    c, _ = s.accept()
    if c.recv(100):
        c.sendall(eval(sys.argv[2]))
    c.close()
"""


class SomebodyElse:
    """A server of another kind at this path, run by this user."""

    def __init__(self, path, answer, uid=None):
        user = {"user": uid, "group": uid, "extra_groups": []} if uid else {}
        self.process = subprocess.Popen([sys.executable, "-c", SOMEBODY_ELSE, path, repr(answer)], stdout=subprocess.PIPE,
                                        **user)

    def __enter__(self):
        return self.process.stdout.readline()

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def on_a_terminal(*argv):
    """(exit code, what the terminal gets)"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(argv[0], argv)
    got = b""
    try:
        while chunk := os.read(terminal, 4096):
            got += chunk
    except OSError:  # its end
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), got


EVIL = b"\x1b]0;title\x07 \x9b2J \xc2\x9b31m \xe2\x80\xae fine: \xc3\xbc\n"


def test_an_answer_does_not_steer_a_terminal(admin):
    with SomebodyElse(admin.path, b"ok 0 %d\n" % len(EVIL) + EVIL):
        assert on_a_terminal(CTL, "-s", admin.path, "status") == (
            0, b"?]0;title? ?2J ??31m ??? fine: \xc3\xbc\r\n")
        done = subprocess.run([CTL, "-s", admin.path, "status"], capture_output=True, timeout=20)
        assert done.stdout == EVIL, "to a file or a program it goes as it came"


def test_an_error_does_not_steer_a_terminal(admin):
    with SomebodyElse(admin.path, b"error " + EVIL):
        done = subprocess.run([CTL, "-s", admin.path, "status"], capture_output=True, timeout=20)
        assert done.returncode == 1 and done.stderr == b"tcpproxyctl: ?]0;title? ?2J ??31m ??? fine: \xc3\xbc\n"


def test_a_tap_that_brings_no_descriptors(admin):
    with SomebodyElse(admin.path, b"ok 0 5\nhello"):
        assert "descriptors" in admin.refused("tap", 1, code=2)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
def test_root_asks_only_whom_the_socket_belongs_to(admin, directory):
    os.chmod(directory.path, 0o777)
    with SomebodyElse(admin.path, b"ok 0 5\nhello", uid=12345):
        assert admin.ask("status") == "hello", "who listens there owns it"
        os.chown(admin.path, SERVICE, SERVICE)
        assert "user 12345 listens there" in admin.refused("status", code=2)
        assert admin.run("status", user=12346, group=12346, extra_groups=[]).stdout == "hello", "others have nothing to lose"
        os.chown(admin.path, 0, 0)
        admin.refused("status", code=2)


def test_somebody_else_behind_the_socket(admin):
    script = ("import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nprint(flush=True)\n"
              "for answer in (b'hello\\n', b'ok 0 100\\nshort', b''):\n c,_=s.accept()\n c.recv(100)\n c.sendall(answer)\n c.close()\n")
    with subprocess.Popen([sys.executable, "-c", script, admin.path], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert "is no tcpproxy" in admin.refused("status", code=2)
        assert "cut off after 5 of 100 bytes" in admin.refused("status", code=2)
        assert "no answer" in admin.refused("status", code=2)
