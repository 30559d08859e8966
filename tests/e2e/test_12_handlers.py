"""Handler programs: started for each connection in the way inetd does it."""
import os
import re
import socket
import struct
import time

import pytest

from lib import processes
from lib.peers import answer, ask, connect, data, gets_reset, is_reset, read_all, read_exactly
from lib.ports import free_port
from lib.waiting import wait_for


@pytest.fixture
def handler(start, directory):
    """handler(script text, option...): the port where it answers."""
    def make(body, *options, **more):
        port = free_port()
        make.proxy = start("-b", port, *options, directory.script("handler", body), **more)
        return port
    return make


def environment(text):
    return dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)


# -- stdin, stdout, stderr


def test_the_socket_is_stdin_and_stdout(handler):
    port = handler("read line; echo you said $line")
    with connect(port) as s:
        s.sendall(b"hello\n")
        assert read_all(s) == b"you said hello\n"
    record = handler.proxy.wait_record()
    assert (record.end, record["server"], record.up, record.down) == (
        "handler-exit", handler.proxy.argv[-1], 6, 15)


def test_a_handler_may_have_arguments(start):
    port = free_port()
    start("-b", port, "/bin/echo one two")
    assert answer(port) == b"one two\n"


def test_exec_in_a_file_is_the_same_as_server(start):
    first, second = free_port(), free_port()
    start(config=f'port {first}\nexec /bin/echo "one  two" three\nport {second}\nserver /bin/echo four\n')
    assert answer(first) == b"one  two three\n" and answer(second) == b"four\n"


def test_a_relative_program_is_a_program_too(start, directory):
    directory.script("here", "echo here")
    port = free_port()
    start("-b", port, "./here")
    assert answer(port) == b"here\n"


def test_stderr_goes_to_the_log_line_by_line_never_to_the_client(handler):
    port = handler("echo first >&2; echo answer; echo second >&2; printf unfinished >&2")
    assert answer(port) == b"answer\n"
    for word in ("first", "second", "unfinished"):
        handler.proxy.wait_log(word)
    lines = [line for line in handler.proxy.log().splitlines() if "first" in line or "second" in line]
    assert len(lines) == 2


def test_the_socket_is_a_socket_and_blocks(handler):
    """In the way inetd does it: getpeername() works, and nobody has to poll."""
    port = handler('exec /usr/bin/python3 -c "import os,socket;s=socket.socket(fileno=0);'
                   'print(s.getpeername()[0], os.get_blocking(0), os.get_blocking(1), flush=True)"')
    assert answer(port).split()[1:] == [b"True", b"True"]


def test_bytes_pass_untouched_through_a_handler(handler):
    port = handler("exec cat")
    octets = data(300_000)
    with connect(port) as s:
        s.sendall(octets[:1000])
        assert read_exactly(s, 1000) == octets[:1000]
        s.shutdown(socket.SHUT_WR)
        assert read_all(s) == b""


def test_a_request_that_came_with_the_connection_is_not_lost(handler):
    port = handler("exec cat")
    for _ in range(20):
        assert ask(port, b"hello") == b"hello"


# -- environment


def test_the_environment_of_1999(handler):
    port = handler("env")
    with connect(port, source="127.0.0.9") as s:
        mine = s.getsockname()
        env = environment(read_all(s))
    assert env["PROXY_PORT"] == str(port)
    assert env["PROXY_INTERFACE"] == "127.0.0.1"
    assert env["PROXY_CLIENT"] == "127.0.0.9"
    assert env["PROXY_CLIENTPORT"] == str(mine[1])
    assert "PROXY_CLIENTNAME" in env


def test_the_environment_of_ucspi(handler):
    port = handler("env", "-n")
    with connect(port) as s:
        mine = s.getsockname()
        env = environment(read_all(s))
    assert env["PROTO"] == "TCP"
    assert (env["TCPLOCALIP"], env["TCPLOCALPORT"]) == ("127.0.0.1", str(port))
    assert (env["TCPREMOTEIP"], env["TCPREMOTEPORT"]) == ("127.0.0.1", str(mine[1]))


def test_the_environment_of_an_ipv6_client(handler):
    port = handler("env", "-n")
    env = environment(answer(port, "::1"))
    assert env["PROXY_CLIENT"] == env["PROXY_INTERFACE"] == "::1"
    assert env["PROTO"] == "TCP6" and env["TCP6REMOTEIP"] == env["TCP6LOCALIP"] == "::1"
    assert env["TCP6LOCALPORT"] == str(port)


@pytest.mark.parametrize("option", [["-v", "MAIL_"], ["--prefix", "MAIL_"], ["-o", "setenv MAIL_"]], ids=" ".join)
def test_the_prefix_changes(handler, option):
    env = environment(answer(handler("env", *option)))
    assert "MAIL_CLIENT" in env and not any(name.startswith("PROXY_") for name in env)


def test_variables_of_the_file(start):
    port = free_port()
    start(config=f'env GREETING="hello you"\nport {port}\nenv EXTRA=1\nexec /usr/bin/env\n')
    assert environment(answer(port))["EXTRA"] == "1"


def test_nothing_else_of_ours_is_inherited(handler):
    env = environment(answer(handler("env", env={"SECRET": "x", "LISTEN_FDS": "0", "LD_LIBRARY_PATH": "/none"})))
    assert not {"SECRET", "LISTEN_FDS", "LISTEN_PID", "LD_LIBRARY_PATH", "NOTIFY_SOCKET"} & set(env)
    assert env["PATH"]


# -- what a program finds


def test_exactly_three_descriptors(handler):
    port = handler("ls -l /proc/self/fd")
    lines = [line.split() for line in answer(port).decode().splitlines() if "->" in line]
    assert [line[-3] for line in lines][:3] == ["0", "1", "2"]
    assert len(lines) == 4 and "/proc/" in lines[3][-1], "ls has opened the directory, and that is all"


def test_signals_at_their_defaults_and_none_blocked(handler):
    port = handler("exec cat /proc/self/status")
    status = dict(line.split(":\t", 1) for line in answer(port).decode().splitlines())
    assert all(int(status[key], 16) == 0 for key in ("SigBlk", "SigIgn", "SigCgt", "SigPnd")), status


def test_cwd_is_the_root_and_the_session_its_own(handler):
    port = handler('pwd; echo $$; cut -d " " -f 6 /proc/self/stat')
    cwd, pid, session = answer(port).decode().split()
    assert cwd == "/" and pid == session


def test_it_runs_as_the_service_user(handler):
    assert answer(handler("id -un; id -gn; id -Gn")) == b"nobody\nnogroup\nnogroup\n"


def test_the_limit_of_descriptors_is_the_one_we_were_given(handler):
    port = handler("ulimit -Sn; ulimit -Hn", wrap=["prlimit", "--nofile=512:4096"])
    assert answer(port) == b"512\n4096\n"


def test_umask_and_nice_are_as_we_were_started(handler):
    port = handler("umask; nice; cat /proc/self/oom_score_adj", wrap=["nice", "-n", "3"], umask=0o027)
    umask, nice, oom = answer(port).split()
    assert (umask, int(nice)) == (b"0027", os.nice(0) + 3) and oom == open("/proc/self/oom_score_adj", "rb").read().strip()


# -- ends


def test_when_the_handler_ends_the_client_gets_a_fin(handler):
    port = handler("echo bye; exit 3")
    assert answer(port) == b"bye\n"
    assert handler.proxy.wait_record().end == "handler-exit"


def test_a_background_child_keeps_the_client_as_under_inetd(handler):
    port = handler("(sleep 0.5; echo late) & echo early")
    assert answer(port) == b"early\nlate\n"


def test_what_a_handler_leaves_behind_is_heard_as_long_as_it_lives(handler, directory):
    """It fills no pipe that nobody reads, and when it has gone it costs no descriptor."""
    os.mkfifo(directory / "fifo")
    written = directory.write("written", "", 0o666)
    port = handler(f"(read x; exec >&-; head -c 102400 /dev/zero | tr '\\0' x >&2; echo yes >{written}) <{directory / 'fifo'} & exit 0")
    both = [handler.proxy.pid, *handler.proxy.role("spawner")]
    before = [len(processes.descriptors(pid)) for pid in both]
    with connect(port), open(directory / "fifo", "w") as fifo:
        time.sleep(5.2)  # as long as it was once listened to
        fifo.write("\n")
    wait_for(lambda: os.path.getsize(written), "it has written more than a pipe holds")
    # what came faster than it could be written is counted
    wait_for(lambda: handler.proxy.log().count(" id=1: xxx") +
             sum(map(int, re.findall(r"spawner: (\d+) log lines are lost", handler.proxy.log()))) == 100, "each line")
    wait_for(lambda: [len(processes.descriptors(pid)) for pid in both] == before, "its descriptors are closed")


def test_the_handler_sees_the_clients_fin(handler):
    port = handler("cat > /dev/null; echo you are done")
    assert ask(port, b"x" * 1000) == b"you are done\n"


def test_the_idle_time_limit_ends_a_silent_handler(handler):
    port = handler("exec sleep 30", "-t", "0.5")
    with connect(port) as s:
        assert is_reset(s)
    assert handler.proxy.wait_record().end == "idle-timeout"
    wait_for(lambda: not programs(handler.proxy), "the program is gone")


def programs(proxy):
    ours = proxy.pids()
    return [p for pid in ours for p in processes.children(pid) if p not in ours]


def test_a_program_that_cannot_be_started_is_logged_with_its_path(start, directory):
    port, missing = free_port(), directory / "missing"
    proxy = start("-b", port, missing)
    assert gets_reset(port)
    proxy.wait_log(f"{missing}")
    assert proxy.wait_record().end == "connect-failed"


def test_a_program_that_may_not_be_run_is_logged_too(start, directory):
    port, path = free_port(), directory.write("text", "no program\n", 0o644)
    proxy = start("-b", port, path)
    assert gets_reset(port)
    proxy.wait_log(f"{path}")


# -- nobody is harmed


def test_a_hanging_handler_harms_nobody(handler):
    port = handler('read line; [ "$line" = hang ] && exec sleep 30; echo $line')
    hanging = [connect(port) for _ in range(30)]
    for s in hanging:
        s.sendall(b"hang\n")
    begin = time.monotonic()
    for _ in range(10):
        assert ask(port, b"hello\n") == b"hello\n"
    assert time.monotonic() - begin < 8
    for s in hanging:
        s.close()


def test_no_zombie_and_no_descriptor_is_left(handler):
    port = handler("echo $$")
    proxy = handler.proxy

    def descriptors():
        return {pid: len(processes.descriptors(pid)) for pid in proxy.pids()}
    for _ in range(10):
        answer(port)
    proxy.wait_records(10)
    wait_for(lambda: not processes.zombies(proxy.pids()), "no zombie")
    before = descriptors()
    for _ in range(100):
        answer(port)
    proxy.wait_records(110)
    wait_for(lambda: not processes.zombies(proxy.pids()), "no zombie")
    wait_for(lambda: all(n <= before[pid] + 2 for pid, n in descriptors().items()), f"no more than {before}")


@pytest.mark.slow
@pytest.mark.limit(120)
def test_a_thousand_handlers_at_once(start, directory):
    """Each says its number when told, and not before; all of them run at the same time."""
    port = free_port()
    proxy = start("-b", port, "-n", "/bin/cat")
    clients = []
    for i in range(1000):
        clients.append(connect(port, timeout=30))
        clients[-1].sendall(struct.pack("!I", i))
    for i, s in enumerate(clients):
        assert read_exactly(s, 4) == struct.pack("!I", i)
    assert sum(processes.title(p) == "/bin/cat" for p in programs(proxy)) == 1000
    for s in clients:
        s.shutdown(socket.SHUT_WR)
        assert read_all(s) == b""
        s.close()
    assert len(proxy.wait_records(1000, 30)) == 1000


# -- service routing, as in 1999


ROUTER = """
case $PROXY_CLIENT in
127.168.1.*) exec tcpproxy {internal} ;;
*) exec tcpproxy {external} ;;
esac
"""


@pytest.fixture
def routed(start, service, directory):
    port = free_port()
    script = directory.script("smtp-handler", ROUTER.format(
        internal=service(lambda s: s.sendall(b"220 internal\r\n" + read_all(s))).spelt,
        external=service(lambda s: s.sendall(b"220 external\r\n" + read_all(s))).spelt))
    start("-b", port, script)
    return port


@pytest.mark.parametrize("source, wanted", [("127.168.1.7", b"220 internal\r\nhello"), ("127.0.0.1", b"220 external\r\nhello")])
def test_service_routing_by_a_script(routed, source, wanted):
    for _ in range(5):
        with connect(routed, source=source) as s:
            s.sendall(b"hello")
            s.shutdown(socket.SHUT_WR)
            assert read_all(s) == wanted


def test_a_routed_connection_ends_as_truthfully(start, server, directory):
    """The reset of the server behind the script's tcpproxy reaches the client."""
    port, target = free_port(), server()
    start("-b", port, directory.script("route", f"exec tcpproxy {target.spelt}"))
    client = connect(port)
    s = target.accept()
    s.sendall(b"cut")
    assert read_exactly(client, 3) == b"cut"
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    assert is_reset(client)
