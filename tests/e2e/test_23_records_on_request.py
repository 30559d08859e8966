"""Which records are written, and their form: access-log and log-format."""
import json
import os
import re
import signal
import time

import pytest

from lib.peers import ask, connect, gets_reset, read_exactly
from lib.ports import free_port
from lib.waiting import stays, wait_for


@pytest.fixture
def served(start, service):
    """served(directive...): the port of an echo by these directives."""
    def make(*directives, log=None):
        port = served.port = free_port()
        options = [w for d in directives for w in ("-o", d)] + (["-l", log] if log else [])
        served.proxy = start("-b", port, *options, service().spelt)
        return port
    served = make
    return make


def events(proxy):
    return [r.event for r in proxy.records()]


def test_end_is_the_default(served):
    port = served("access-log end")
    assert ask(port, b"x") == b"x"
    served.proxy.wait_records(1)
    assert events(served.proxy) == ["close"]


def test_open_writes_one_at_the_start_and_one_at_the_end(served):
    port = served("access-log open")
    with connect(port) as s:
        first = wait_for(served.proxy.records, "a record")[0]
        assert first.event == "open" and first["client"] == "%s:%d" % s.getsockname()
        assert first["server"] != "-" and first["end"] == "-" and (first.up, first.down) == (0, 0)
        s.sendall(b"hello")
        assert read_exactly(s, 5) == b"hello"
    last = served.proxy.wait_record()
    assert last["id"] == first["id"] and (last.up, last.end) == (5, "client-fin")
    assert events(served.proxy) == ["open", "close"]


def test_off_writes_nothing(served, tmp_path):
    port = served("access-log off")
    for _ in range(5):
        assert ask(port, b"x") == b"x"
    served.proxy.stop()
    assert served.proxy.records() == []


def test_errors_writes_what_did_not_end_well(served):
    port = served("access-log errors", "allow 127.0.0.1", "allow 127.0.0.2", "max-connections-per-client 1")
    assert ask(port, b"x") == b"x"
    with connect(port, source="127.0.0.2") as s:  # the first one may not be quite over
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        assert gets_reset(port, source="127.0.0.2")
    assert gets_reset(port, source="127.0.0.3")
    ends = [r.end for r in served.proxy.wait_records(2)]
    served.proxy.stop()
    assert sorted(ends) == ["denied", "limit"]
    # one whose client has just closed may be cut off by the stop, which is no good end either
    assert [r.end for r in served.proxy.records() if r.end != "stopped"] == ends


def test_interval_tells_of_those_that_go_on(served):
    port = served("access-log interval 0.2")
    with connect(port) as s:
        s.sendall(b"12345")
        assert read_exactly(s, 5) == b"12345"
        wait_for(lambda: len(served.proxy.records()) >= 3, "three records")
    served.proxy.wait_records(1)
    found = served.proxy.records()
    assert [r.event for r in found[:3]] == ["interval"] * 3 and found[-1].event == "close"
    assert len({r["id"] for r in found}) == 1
    assert found[2].up == 5 and found[2]["end"] == "-"
    # a busy machine makes them late, never early
    assert all(float(r["duration"]) >= 0.2 * n - 0.01 for n, r in enumerate(found[:3], 1))


def test_the_pace_is_kept_by_the_next_worker(served):
    """A worker that began to count when it was born would write the second record 1.6 s after the first."""
    port = served("access-log interval 1", "workers 1")
    with connect(port):
        wait_for(served.proxy.records, "a record")
        served.proxy.expect_deaths()
        time.sleep(0.6)
        os.kill(served.proxy.workers()[0], signal.SIGKILL)
        wait_for(lambda: len(served.proxy.records()) >= 2, "another record")
    served.proxy.wait_whole()
    first, second = [float(r["duration"]) for r in served.proxy.records()[:2]]
    assert second - first < 1.5


def test_interval_counts_what_a_handler_moves(start, directory):
    port = free_port()
    handler = directory.script("handler", "echo hello; exec sleep 60")
    proxy = start("-b", port, "-o", "access-log interval 0.2", handler)
    with connect(port) as s:
        assert read_exactly(s, 6) == b"hello\n"
        wait_for(lambda: any(r.event == "interval" and r.down == 6 for r in proxy.records()), "bytes in a record")


def test_each_service_by_its_own(start, service):
    quiet, loud = free_port(), free_port()
    a = service()
    proxy = start(config=f"access-log off\nport {quiet}\nserver {a.spelt}\nport {loud}\naccess-log open\nserver {a.spelt}\n")
    assert ask(quiet, b"x") == b"x"
    assert ask(loud, b"x") == b"x"
    proxy.wait_records(1)
    assert [(r["port"], r.event) for r in proxy.records()] == [(str(loud), "open"), (str(loud), "close")]


def test_from_inetd_the_exit_code_does_not_depend_on_the_records(directory, service):
    dead = free_port()
    done = directory.run("-o", "access-log off", "-l", f"file:{directory / 'log'}", f"127.0.0.1:{dead}", stdin=open("/dev/null"))
    assert done.returncode == 4
    with open(directory / "log") as f:
        assert "close id=" not in f.read()


# -- log-format

def test_a_format_of_one_s_own(served, directory):
    path = directory / "own.log"
    port = served('log-format "{client-ip} -> {server-port} {up}/{down} {end} {name}"', log=f"file:{path}")
    assert ask(port, b"hello") == b"hello"

    def line():
        with open(path) as f:
            return re.search(r"^127\.0\.0\.1 -> \d+ 5/5 client-fin -$", f.read(), re.M)
    wait_for(line, "the line")


def test_a_format_of_haproxy(served):
    port = served('log-format "%ci:%cp [%t] %fp %si:%sp %Tc/%Tt %U %B %ts %ID 100%%"')
    with connect(port) as s:
        mine = s.getsockname()[1]
        s.sendall(b"hello")
        assert read_exactly(s, 5) == b"hello"
    served.proxy.wait_log(rf"^127\.0\.0\.1:{mine} \[20[^ ]+\] {port} 127\.0\.0\.1:\d+ \d+/\d+ 5 5 client-fin 1 100%$")


def test_every_key_can_be_written(served):
    keys = ["time", "epoch", "event", "id", "service", "port", "interface", "client", "client-ip", "client-port", "name",
            "rule", "target", "server", "server-ip", "server-port", "up", "down", "connect", "connect-ms", "duration", "duration-ms", "end", "why", "waited"]
    port = served('log-format "own ' + "|".join("{%s}" % k for k in keys) + '"')
    assert ask(port, b"x") == b"x"
    values = dict(zip(keys, served.proxy.wait_log("^own (.*)$")[1].split("|"), strict=True))
    assert abs(int(values["epoch"]) - time.time()) < 60 and values["event"] == "close"
    assert values["client"] == f"{values['client-ip']}:{values['client-port']}"
    assert values["server"] == f"{values['server-ip']}:{values['server-port']}"
    assert values["rule"] == f"-b:{port}" and values["name"] == values["why"] == "-"
    assert values["service"] == values["port"] and values["target"] == values["server"]


def test_braces_and_per_cent_signs(served):
    port = served('log-format "{{{id}}} 50%% {{x}}"')
    assert ask(port, b"x") == b"x"
    served.proxy.wait_log(r"^\{1\} 50% \{x\}$")


def test_json_stays_as_it_is(served, directory):
    path = directory / "log.json"
    port = served('log-format "{id}"', log=f"file:{path}+json")
    assert ask(port, b"x") == b"x"

    def record():
        with open(path) as f:
            return [r for r in map(json.loads, f.read().splitlines()) if r["event"] == "close"]
    assert wait_for(record, "a record")[0]["id"] == 1


def test_a_reload_changes_the_form_at_once(start, service, admin):
    port, a = free_port(), service()
    proxy = start(config=f"{admin.line}port {port}\nserver {a.spelt}\nlog-format \"one {{id}}\"\n")
    with connect(port) as s:
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        proxy.rewrite(f"{admin.line}port {port}\nserver {a.spelt}\nlog-format \"two {{id}}\"\n")
        admin.ask("reload")
    proxy.wait_log("^two 1$")


# -- what is lost

def test_what_could_not_be_written_is_counted(start, service, admin):
    port = free_port()
    start("-b", port, "-o", admin.option, "-l", "file:/dev/full", service().spelt)
    assert admin.json("status")["log_lines_lost"] >= 0
    for _ in range(3):
        assert ask(port, b"x") == b"x"
    wait_for(lambda: admin.metric("tcpproxy_log_lines_lost_total") >= 3, "lost lines")
    stays(lambda: ask(port, b"x") == b"x", "the service", 0.1)
