"""Logs: one record when a connection ends, as text or as JSON, to several places."""
import datetime
import fcntl
import json
import os
import re
import signal
import socket
import struct
import termios
import time

import pytest

from lib import build, processes, records
from lib.peers import answer, ask, connect, data, gets_reset, read_exactly
from lib.ports import free_port
from lib.waiting import outlast_fuser, wait_for


def read(path):
    with open(path, errors="replace") as f:
        return f.read()


@pytest.fixture
def logged(start, service, directory):
    """logged(target...): the port of an echo whose log goes there."""
    def make(*targets, **more):
        port = free_port()
        make.target = service()
        argv = [word for t in targets for word in ("-l", t)]
        make.proxy = start("-b", port, *argv, make.target.spelt, **more)
        return port
    return make


# -- the record


def test_the_record_has_these_keys_in_this_order(logged):
    port = logged("stderr")
    with connect(port) as s:
        client = "%s:%d" % s.getsockname()
        s.sendall(data(1234))
        assert read_exactly(s, 1234)
    record = logged.proxy.wait_record()
    assert list(record) == [k for k in records.KEYS if k not in records.IF_ANY]
    assert record["port"] == str(port) and record["interface"] == "127.0.0.1"
    assert record["client"] == client and record["server"] == record["target"] == logged.target.spelt
    assert (record.up, record.down, record.end) == (1234, 1234, "client-fin")
    assert re.fullmatch(r"\d+\.\d{3}", record["connect"]) and re.fullmatch(r"\d+\.\d{3}", record["duration"])
    assert int(record["id"]) > 0


def test_the_time_is_local_with_its_offset(logged):
    port = logged("stderr", env={"TZ": "Etc/GMT-2"})
    before = time.time()
    assert ask(port, b"x") == b"x"
    when = logged.proxy.wait_record().time
    assert when.endswith("+02:00")
    assert before - 0.01 <= datetime.datetime.fromisoformat(when).timestamp() <= time.time()


def test_ipv6_addresses_are_in_brackets(start, service):
    port, target = free_port(), service(kind="tcp6")
    proxy = start("-b", port, target.spelt)
    with connect(port, "::1") as s:
        mine = s.getsockname()[1]
        s.sendall(b"x")
        assert read_exactly(s, 1)
    record = proxy.wait_record()
    assert (record["interface"], record["client"], record["server"]) == ("[::1]", f"[::1]:{mine}", target.spelt)


def test_missing_values_are_a_dash(logged):
    port = logged("stderr")
    logged.target.close()
    assert gets_reset(port)
    record = logged.proxy.wait_record()
    assert record.end == "connect-failed" and record["connect"] == "-"


def test_ids_are_unique(logged):
    port = logged("stderr")
    for _ in range(40):
        ask(port, b"x")
    assert len({r["id"] for r in logged.proxy.wait_records(40)}) == 40


def test_the_rule_is_a_place_in_the_file(start, service, directory):
    port = free_port()
    directory.write("inner.conf", f"# inner\nport {port}\nserver {service().spelt}\n")
    proxy = start(config="include inner.conf\n", wait=False)
    wait_for(lambda: proxy.tree().get("tcpproxy: spawner"), "the start")
    assert ask(port, b"x") == b"x"
    assert re.fullmatch(re.escape(str(directory / "inner.conf")) + r":[23]", proxy.wait_record()["rule"])


def test_duration_and_bytes_are_those_of_the_connection(logged):
    port = logged("stderr")
    with connect(port) as s:
        s.sendall(data(3_000_000)[:200_000])
        assert read_exactly(s, 200_000)
        time.sleep(0.5)
    record = logged.proxy.wait_record()
    assert record.up == record.down == 200_000
    assert 0.5 <= float(record["duration"]) < 5


def test_an_error_line_says_what_was_being_done_and_for_whom(logged):
    port = logged("stderr")
    logged.target.close()
    assert gets_reset(port)
    logged.proxy.wait_log(rf"connecting 127\.0\.0\.1:\d+ to {re.escape(logged.target.spelt)}: Connection refused")


def id_of(proxy, pattern):
    """The id in a line of the log, and that of the one record."""
    return proxy.wait_log(pattern)[1], proxy.wait_record()["id"]


def test_an_error_line_about_a_connection_has_its_id(start, names):
    dead, port = free_port(), free_port()
    proxy = start("-b", port, f"127.0.0.1:{dead}")
    assert gets_reset(port)
    line, record = id_of(proxy, r"^tcpproxy: connecting 127\.0\.0\.1:\d+ to \S+: Connection refused, id=(\d+)$")
    assert line == record
    proxy = start("-b", free_port(), "-o", f"resolver {names.spelt}", "gone.test:25")
    assert gets_reset(proxy.ports()[0])
    line, record = id_of(proxy, r"connecting \S+ to gone\.test:25: the name does not resolve, id=(\d+)$")
    assert line == record


def test_a_line_about_a_program_has_the_id_of_its_connection(start, directory):
    port, absent = free_port(), directory / "absent"
    proxy = start("-b", port, absent)
    assert gets_reset(port)
    line, record = id_of(proxy, rf"cannot start handler {absent} for 127\.0\.0\.1:\d+ id=(\d+): No such file or directory$")
    assert line == record
    port = free_port()
    proxy = start("-b", port, directory.script("handler", "echo hello >&2"))
    assert answer(port) == b""
    line, record = id_of(proxy, r"handler \S+ for \S+ id=(\d+): hello$")
    assert line == record
    port = free_port()
    proxy = start("-b", port, "-a", directory.script("acp", "exit 7"), absent)
    assert answer(port) == b""
    line, record = id_of(proxy, r"access program \S+ for \S+ id=(\d+): denied, exit status 7$")
    assert line == record


# -- JSON


def test_json_has_the_same_names_as_keys(logged):
    port = logged("stderr+json")
    assert ask(port, b"hello") == b"hello"
    wait_for(lambda: '"close"' in logged.proxy.log(), "the record")
    lines = [json.loads(line) for line in logged.proxy.log().splitlines()]
    assert all(isinstance(line, dict) for line in lines), "every line is an object"
    record, = [line for line in lines if line.get("event") == "close"]
    assert list(record) == ["time", "event", *records.KEYS]
    assert record["service"] == str(port) and record["target"] == logged.target.spelt
    assert record["name"] is None and record["why"] is None
    assert record["up"] == record["down"] == 5 and isinstance(record["duration"], (int, float))
    assert record["end"] == "client-fin"
    assert datetime.datetime.fromisoformat(record["time"])


def test_errors_are_json_too_whatever_is_in_them(start, directory):
    port = free_port()
    handler = directory.script("handler", r"""printf 'a "quoted" \\ back\tslash \001 \377 end\n' >&2""")
    proxy = start("-b", port, "-l", "stderr+json", handler)
    assert answer(port) == b""
    proxy.wait_log("quoted")
    lines = [json.loads(line) for line in proxy.log().splitlines()]
    assert any('"quoted"' in str(line) for line in lines)


def test_control_characters_of_a_program_do_not_reach_the_log(start, directory):
    port = free_port()
    proxy = start("-b", port, directory.script("handler", r"printf 'red\033[31m bell\007\r end\n' >&2"))
    assert answer(port) == b""
    proxy.wait_log("red")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", proxy.log())


# Terminals obey U+009B as they do ESC [, and some readers of lines end one at U+0085 and U+2028.
UNFIT = "red\u009b31m next\u0085line \u2028 \u2029 ".encode() + b"raw\x9b\xff bad " + "fine: \u00e4\u20ac\n".encode()
FIT = "red?31m next?line ? ? raw?? bad fine: \u00e4\u20ac".encode()


@pytest.mark.parametrize("target", ["stderr", "own.log"])
def test_what_a_client_says_through_a_program_moves_no_cursor(start, directory, target):
    directory.write("own.log", "", mode=0o666)
    port = free_port()
    proxy = start("-b", port, "-l", target if target == "stderr" else directory / target,
                  directory.script("handler", "exec cat >&2"))
    assert ask(port, UNFIT) == b""

    def written():
        with open(proxy.log_path if target == "stderr" else directory / target, "rb") as f:
            return f.read()
    wait_for(lambda: FIT in written(), "the cleaned line")


# -- files


def test_a_file_by_name_and_by_path(logged, directory):
    first, second = directory / "first.log", directory / "second.log"
    port = logged(f"file:{first}", f"{second}+json")
    assert ask(port, b"x") == b"x"
    wait_for(lambda: " close id=" in read(first), "the text record")
    wait_for(lambda: '"close"' in read(second), "the JSON record")
    assert all(json.loads(line) for line in read(second).splitlines())


def test_a_file_is_opened_before_the_user_is_changed_and_appended_to(logged, directory):
    os.mkdir(directory / "private", 0o700)
    path = directory.write("private/log", "old line\n", 0o600)
    port = logged(f"file:{path}")
    assert ask(port, b"x") == b"x"
    wait_for(lambda: " close id=" in read(path), "the record")
    assert read(path).startswith("old line\n")


def test_a_file_that_cannot_be_opened_is_said_at_start(directory):
    run = directory.run("-b", free_port(), "-l", "file:/no/such/directory/log", "127.0.0.1:1")
    assert run.returncode == 2 and "/no/such/directory/log" in run.stderr


def test_a_full_disk_stops_no_client(logged):
    port = logged("file:/dev/full")
    for _ in range(50):
        assert ask(port, b"hello") == b"hello"


def test_a_fifo_that_nobody_reads_stops_no_client(logged, directory):
    fifo = directory / "fifo"
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    port = logged(f"file:{fifo}")
    for _ in range(50):
        assert ask(port, b"hello") == b"hello"
    wait_for(lambda: b" close id=" in os.read(reader, 1 << 20), "records in the fifo")
    os.close(reader)  # now writing to it is EPIPE
    for _ in range(50):
        assert ask(port, b"hello") == b"hello"


def test_a_full_pipe_as_stderr_stops_no_client(start, service):
    port = free_port()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    proxy = start("-b", port, service().spelt, wrap=["sh", "-c", 'exec "$@" 2>&9 9>&-', "sh"], pass_fds=[9],
                  preexec_fn=lambda: os.dup2(writer, 9))
    os.close(writer)
    for _ in range(50):
        assert ask(port, b"hello") == b"hello"
    proxy.stop()
    os.close(reader)


# -- syslog


@pytest.fixture
def syslog(directory):
    """A datagram socket, and the command that runs a program which finds it at /dev/log."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(directory / "log.sock")
    os.chmod(directory / "log.sock", 0o666)
    s.settimeout(5)
    body = ('mount -t tmpfs -o mode=755 none /dev || exit 1\n'
            'for n in "null 1 3" "zero 1 5" "urandom 1 9"; do set -- $n "$@"; mknod -m 666 /dev/$1 c $2 $3; shift 3; done\n'
            f'ln -s {directory / "log.sock"} /dev/log\nexec "$@"')
    yield s, ["unshare", "-m", directory.script("with-syslog", body)]
    s.close()


def test_syslog_gets_the_records_with_facility_and_name(start, service, syslog):
    s, wrap = syslog
    port = free_port()
    proxy = start("-b", port, "-l", "syslog:mail", service().spelt, wrap=wrap)
    assert ask(port, b"x") == b"x"
    while True:
        message = s.recv(65536).decode()
        if "close id=" in message:
            break
    facility = int(re.match(r"<(\d+)>", message)[1]) >> 3
    assert facility == 2 and f"tcpproxy[{proxy.pid}]:" in message


def test_nor_does_it_in_syslog(start, directory, syslog):
    s, wrap = syslog
    port = free_port()
    start("-b", port, "-l", "syslog", directory.script("handler", "exec cat >&2"), wrap=wrap)
    assert ask(port, UNFIT) == b""
    while True:
        message = s.recv(65536)
        if b"red" in message:
            break
    assert FIT in message


def test_a_syslog_that_comes_back_is_found_again(start, service, syslog, directory):
    s, wrap = syslog
    port = free_port()
    start("-b", port, "-l", "syslog:daemon", service().spelt, wrap=wrap)
    assert ask(port, b"x") == b"x"
    s.recv(65536)
    s.close()
    os.unlink(directory / "log.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(directory / "log.sock")
        os.chmod(directory / "log.sock", 0o666)
        again.settimeout(0.2)

        def heard():
            assert ask(port, b"x") == b"x"
            try:
                return again.recv(65536)
            except TimeoutError:
                return None
        wait_for(heard, "a message to the new daemon")


def test_no_syslog_stops_no_client(start, service, syslog):
    s, wrap = syslog
    s.close()
    port = free_port()
    start("-b", port, "-l", "syslog", service().spelt, wrap=wrap)
    for _ in range(20):
        assert ask(port, b"hello") == b"hello"


def test_a_syslog_that_does_not_read_stops_no_client(start, service, syslog):
    _, wrap = syslog
    port = free_port()
    start("-b", port, "-l", "syslog", service().spelt, wrap=wrap)
    for _ in range(100):  # its queue holds ten
        assert ask(port, b"hello") == b"hello"


# -- what our own processes write to stderr

def stderr_of(pid):
    return processes.descriptors(pid)[2]


def say(pid, text):
    """As that process would, or the C library in it."""
    with open(f"/proc/{pid}/fd/2", "w") as f:
        f.write(text)


@pytest.mark.parametrize("title, who", [("worker 0", "worker 0"), ("keeper 0", "worker 0"), ("spawner", "spawner"),
                                        pytest.param("admin", "admin", marks=pytest.mark.skipif(
                                            not build.has_page(), reason="built without a page"))])
def test_stderr_of_our_processes_is_a_line_of_the_log(start, service, directory, title, who):
    """No terminal, no file: a pipe."""
    page = ("-o", f"admin 127.0.0.1:{free_port()}") if title == "admin" else ()
    proxy = start("-b", free_port(), "-o", "workers 1", *page, "-l", f"file:{directory / 'own.log'}", service().spelt)
    pid = wait_for(lambda: proxy.role(title), title)[0]
    assert stderr_of(pid).startswith("pipe:")
    say(pid, "*** stack smashing detected \x1b[2J***\nand a rest")
    wait_for(lambda: re.search(rf"error.*{who}: \*\*\* stack smashing detected \?\[2J\*\*\*", read(directory / "own.log")), "its line")
    if title != "keeper 0":
        proxy.expect_deaths()
        os.kill(pid, signal.SIGKILL)
    if title in ("spawner", "admin"):  # its pipe ends with it
        wait_for(lambda: f"{who}: and a rest" in read(directory / "own.log"), "the rest")


def test_the_next_supervisor_reads_the_stderr_of_the_trios(start, service):
    proxy = start("-b", free_port(), "-o", "workers 1", service().spelt)
    before = stderr_of(proxy.workers()[0])
    proxy.kill_supervisor()
    outlast_fuser()
    say_nothing = proxy.workers()[0]
    proxy.start_again()
    wait_for(lambda: stderr_of(say_nothing) not in (before, None), "another pipe")
    for pid in proxy.workers() + proxy.keepers():
        assert stderr_of(pid) != before
        say(pid, f"here is {pid}\n")
        proxy.wait_log(f"worker 0: here is {pid}")
    proxy.born = proxy.wait_whole()


def unread(pipe):
    """Bytes in it."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def test_lines_of_programs_that_are_lost_are_counted(start, directory, admin):
    """The supervisor does not read for a while; nobody waits for it. The last lines are counted, too: nothing follows them."""
    port = free_port()
    proxy = start("-b", port, "-o", admin.option, directory.script("handler", "echo $$; read x; seq 3000 >&2; echo done"))
    with connect(port) as s:
        handler = int(s.makefile("rb", buffering=0).readline())
        os.kill(proxy.pid, signal.SIGSTOP)
        with open(f"/proc/{handler}/fd/2", "w") as pipe:
            s.sendall(b"\n")
            assert read_exactly(s, 5) == b"done\n"
            wait_for(lambda: unread(pipe) == 0, "the spawner has read all, and found no room for it")
        os.kill(proxy.pid, signal.SIGCONT)

    def all_of_them():
        lost = sum(map(int, re.findall(r"spawner: (\d+) log lines are lost", proxy.log())))
        return lost > 0 and lost + len(re.findall(r"handler .* id=1: \d+$", proxy.log(), re.M)) == 3000 and lost
    lost = wait_for(all_of_them, "each line is there, or counted")
    assert admin.json("status")["log_lines_lost"] == lost
