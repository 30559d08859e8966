"""Logs: one record when a connection ends, as text or as JSON, to several places."""
import datetime
import json
import os
import re
import socket
import time

import pytest

from lib import records
from lib.peers import answer, ask, connect, data, gets_reset, read_exactly
from lib.ports import free_port
from lib.waiting import wait_for


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
    assert list(record) == [k for k in records.KEYS if k != "name"]
    assert record["port"] == str(port) and record["interface"] == "127.0.0.1"
    assert record["client"] == client and record["server"] == logged.target.spelt
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


# -- JSON


def test_json_has_the_same_names_as_keys(logged):
    port = logged("stderr+json")
    assert ask(port, b"hello") == b"hello"
    wait_for(lambda: '"close"' in logged.proxy.log(), "the record")
    lines = [json.loads(line) for line in logged.proxy.log().splitlines()]
    assert all(isinstance(line, dict) for line in lines), "every line is an object"
    record, = [line for line in lines if line.get("event") == "close"]
    keys = [k for k in record if k not in ("time", "event", "name")]
    assert keys == [k for k in records.KEYS if k != "name"]
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
