"""The admin socket itself: who may speak, what is no request, and who is slow."""
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

from lib import processes
from lib.admin import CTL, Admin, read_all
from lib.peers import ask, connect
from lib.ports import free_port
from lib.waiting import wait_for


@pytest.fixture
def proxy(start, service, admin):
    proxy = start("-b", free_port(), "-o", admin.option, service().spelt)
    proxy.port = proxy.ports()[0]
    return proxy


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


def test_too_many_clients_wait_and_nobody_else_suffers(proxy, admin):
    held = [admin.connect() for _ in range(40)]
    wait_for(lambda: len(processes.descriptors(proxy.pid)) > 32, "many clients")
    with admin.connect() as s:
        s.sendall(b"status\n")
        s.settimeout(0.3)
        with pytest.raises(TimeoutError):
            s.recv(1)
        assert ask(proxy.port, b"x") == b"x"
        for h in held:
            h.close()
        s.settimeout(8)
        assert s.recv(5) == b"ok 0 "


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


def test_somebody_else_behind_the_socket(admin):
    script = ("import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nprint(flush=True)\n"
              "for answer in (b'hello\\n', b'ok 0 100\\nshort', b''):\n c,_=s.accept()\n c.recv(100)\n c.sendall(answer)\n c.close()\n")
    with subprocess.Popen([sys.executable, "-c", script, admin.path], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert "is no tcpproxy" in admin.refused("status", code=2)
        assert "cut off after 5 of 100 bytes" in admin.refused("status", code=2)
        assert "no answer" in admin.refused("status", code=2)
