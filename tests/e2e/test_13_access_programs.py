"""Access control programs: asked before any server hears of the client."""
import os
import time

import pytest

from lib import processes
from lib.peers import ask, connect, gets_reset, read_all, read_exactly
from lib.ports import free_port
from lib.waiting import wait_for


@pytest.fixture
def asked(start, directory, service):
    """asked(script text, directives): the port of an echo that the program guards."""
    def make(body, directives="", function=None):
        port = free_port()
        make.target = service(function) if function else service()
        make.program = directory.script("acp", body)
        make.proxy = start(config=f"acp {make.program}\n{directives}\nport {port}\nserver {make.target.spelt}\n")
        return port
    return make


def test_exit_0_grants(asked):
    port = asked("exit 0")
    assert ask(port, b"hello") == b"hello"
    assert asked.proxy.wait_record().end == "client-fin"


@pytest.mark.parametrize("body", ["exit 1", "exit 77", "kill -9 $$", "kill -SEGV $$"])
def test_anything_else_denies(asked, body):
    port = asked(body)
    with connect(port) as s:
        try:
            assert read_all(s) == b""
        except ConnectionResetError:
            pass
    assert asked.target.served == 0, "no server has heard of it"
    assert asked.proxy.wait_record().end == "denied"


def test_a_program_that_cannot_be_started_denies_and_is_logged(start, service, directory):
    port, target, missing = free_port(), service(), directory / "missing"
    proxy = start("-b", port, "-a", missing, target.spelt)
    with connect(port) as s:
        try:
            assert read_all(s) == b""
        except ConnectionResetError:
            pass
    proxy.wait_log(f"{missing}")
    assert proxy.wait_record().end == "denied" and target.served == 0


def test_what_it_says_goes_to_the_client_and_a_refusal_ends_with_fin(asked):
    port = asked("echo 554 go away; exit 1")
    with connect(port) as s:
        assert read_all(s) == b"554 go away\n"
    assert asked.target.served == 0


def test_a_refusal_ends_with_fin_although_the_client_has_spoken(asked):
    """Unread bytes of the client must not turn the banner into a reset."""
    port = asked("echo 554 go away; exit 1")
    for _ in range(20):
        with connect(port) as s:
            s.sendall(b"HELO you\r\n" * 1000)
            assert read_all(s) == b"554 go away\n"


def test_a_denied_client_is_given_time_to_take_a_long_banner(asked):
    """Longer than a pipe; the client needs a second for it."""
    port = asked("/usr/bin/seq 1 100000; exit 1")
    wanted = "".join(f"{i}\n" for i in range(1, 100_001)).encode()
    with connect(port, small=True) as s:
        got, begin = b"", time.monotonic()
        while chunk := s.recv(16 * 1024):
            got += chunk
            if time.monotonic() - begin < 1:
                time.sleep(0.01)
        assert got == wanted


def test_what_it_says_before_granting_comes_before_the_servers_bytes(asked):
    port = asked("echo welcome; exit 0", function=lambda s: s.sendall(b"220 ready\n"))
    for _ in range(10):
        with connect(port) as s:
            assert read_all(s) == b"welcome\n220 ready\n"


def test_what_the_client_said_meanwhile_is_not_lost(asked):
    port = asked("sleep 0.3; exit 0")
    assert ask(port, b"hello") == b"hello"


def test_stdin_is_empty(asked):
    port = asked('[ -z "$(cat)" ]')
    with connect(port) as s:
        s.sendall(b"hello")
        assert read_exactly(s, 5) == b"hello"


def test_stderr_goes_to_the_log(asked):
    port = asked("echo looking at $PROXY_CLIENT >&2; printf unfinished >&2")
    assert ask(port, b"x") == b"x"
    asked.proxy.wait_log("looking at 127.0.0.1")
    asked.proxy.wait_log("unfinished")


def test_its_environment(asked):
    port = asked("env >&2")
    assert ask(port, b"x") == b"x"
    asked.proxy.wait_log("PROXY_CLIENT=127.0.0.1")
    asked.proxy.wait_log(f"PROXY_PORT={port}")
    asked.proxy.wait_log("PROXY_SERVER=127.0.0.1")
    asked.proxy.wait_log(f"PROXY_SERVERPORT={asked.target.port}")


def test_acp_timeout_kills_it_and_denies(asked):
    port = asked("echo $$ >&2; exec sleep 30", "acp-timeout 500ms")
    begin = time.monotonic()
    with connect(port) as s:
        try:
            assert read_all(s) == b""
        except ConnectionResetError:
            pass
    assert 0.4 < time.monotonic() - begin < 6
    assert asked.proxy.wait_record().end == "denied" and asked.target.served == 0
    wait_for(lambda: not any(processes.title(p).startswith("sleep") for pid in asked.proxy.pids()
                             for p in processes.children(pid)), "the program is gone")


def test_a_program_that_ended_in_time_counts_though_the_spawner_looks_late(asked, directory):
    go = directory / "go"
    port = asked(f"echo waiting for you >&2; until [ -e {go} ]; do sleep 0.02; done", "acp-timeout 2")
    with connect(port) as s:
        begin = time.monotonic()
        asked.proxy.wait_log("waiting for you")
        spawner, = asked.proxy.role("spawner")
        with processes.stopped(spawner):
            directory.write("go", "")
            wait_for(lambda: processes.zombies([spawner]), "the program has ended")
            assert time.monotonic() - begin < 2, "in time"
            time.sleep(begin + 2.5 - time.monotonic())
        s.sendall(b"hello")
        assert read_exactly(s, 5) == b"hello"


def test_it_never_blocks_other_connections(start, directory, service):
    port = free_port()
    acp = directory.script("acp", 'case $PROXY_CLIENT in 127.0.0.9) exec sleep 30;; esac')
    start("-b", port, "--acp", acp, service().spelt)
    waiting = [connect(port, source="127.0.0.9") for _ in range(20)]
    begin = time.monotonic()
    for _ in range(10):
        assert ask(port, b"hello") == b"hello"
    assert time.monotonic() - begin < 8
    for s in waiting:
        s.close()


def test_a_client_that_gives_up_meanwhile_is_let_go(asked):
    port = asked("exec sleep 30")
    client = connect(port)
    client.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0
    client.close()
    assert asked.proxy.wait_record().end == "client-reset"


def test_rules_and_limits_come_before_the_program(start, directory, service):
    port, ran = free_port(), directory / "ran"
    os.chmod(directory.path, 0o777)
    acp = directory.script("acp", f"touch {ran}")
    proxy = start("-b", port, "-a", acp, "-o", "deny all", service().spelt)
    assert gets_reset(port)
    proxy.wait_record()
    assert not os.path.exists(ran)


def test_it_guards_handlers_too(start, directory):
    port = free_port()
    acp = directory.script("acp", 'case $PROXY_CLIENT in 127.0.0.9) echo no; exit 1;; esac; echo yes')
    start("-b", port, "-a", acp, "/bin/echo served")
    with connect(port) as s:
        assert read_all(s) == b"yes\nserved\n"
    with connect(port, source="127.0.0.9") as s:
        assert read_all(s) == b"no\n"


def test_in_inetd_mode_a_refusal_exits_3(directory, server):
    import subprocess
    from lib.peers import tcp_pair
    target, (client, accepted) = server(), tcp_pair()
    acp = directory.script("acp", "echo 554 go away; exit 1")
    p = subprocess.Popen([directory.program, "-a", acp, target.spelt], stdin=accepted, stdout=accepted,
                         stderr=subprocess.DEVNULL, env=directory.environment())
    accepted.close()
    assert read_all(client) == b"554 go away\n"
    client.close()
    assert p.wait(5) == 3 and target.idle()
