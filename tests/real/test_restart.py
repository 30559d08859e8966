"""`systemctl restart` under the real systemd: connections go on; and all that may come between a stop and a start."""

import contextlib
import hashlib
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from manager import CONFIG, UNITS, answers, main_pid, workers
from servers import wait_for

STOPS_WITHIN = 4.0
# What the unit says about a stop is taken out: it is systemd's own TERM then.
PLAIN = "[Service]\nExecStop=\n"
# A start waits as long as there is the file.
HOLD = "[Service]\nExecStartPre=/bin/sh -c 'while test -e /run/hold; do sleep 0.02; done'\n"
STUBBORN = "port 8082\nexec /bin/sh -c \"trap 'echo terminated >&2' TERM; echo ready; while :; do sleep 1; done\"\n"

plain = pytest.mark.parametrize("drop_in", [PLAIN], indirect=True, ids=["without ExecStop"])
held = pytest.mark.parametrize("drop_in", [PLAIN + HOLD], indirect=True, ids=["held"])


class Stream(threading.Thread):
    """Sends numbered blocks through an echo server and back, and compares their sums at the end."""

    def __init__(self, connection):
        super().__init__(daemon=True)
        self.connection = connection
        self.blocks = 0
        self.done = threading.Event()
        self.error = None
        self.start()

    def run(self):
        sent, got = hashlib.sha256(), hashlib.sha256()
        try:
            self.connection.settimeout(10)
            while not self.done.is_set():
                block = hashlib.sha256(str(self.blocks).encode()).digest() * 1024
                sent.update(block)
                self.connection.sendall(block)
                left = len(block)
                while left:
                    data = self.connection.recv(left)
                    if not data:
                        raise AssertionError("the stream ended")
                    got.update(data)
                    left -= len(data)
                self.blocks += 1
            assert sent.digest() == got.digest(), "other bytes came back"
        except (OSError, AssertionError) as e:
            self.error = e

    def finish(self):
        self.done.set()
        self.join(15)
        assert not self.is_alive() and self.error is None, f"after {self.blocks} blocks: {self.error!r}"


class Visitors(threading.Thread):
    """New clients all the time: none may be refused."""

    def __init__(self, machine):
        super().__init__(daemon=True)
        self.machine = machine
        self.served = 0
        self.done = threading.Event()
        self.error = None
        self.start()

    def run(self):
        try:
            while not self.done.is_set():
                with self.machine.connect(8080) as c:
                    c.settimeout(10)
                    assert answers(c, b"new"), "a new client was not served"
                self.served += 1
        except (OSError, AssertionError) as e:
            self.error = e

    def finish(self):
        self.done.set()
        self.join(15)
        assert not self.is_alive() and self.error is None, f"after {self.served} clients: {self.error!r}"
        assert self.served > 0


def titles(machine):
    return sorted(machine.processes().values())


def wait_titles(machine, workers=2):
    """Those of a service at rest, once what was before has gone."""
    wanted = sorted(["tcpproxy: supervisor", "tcpproxy: files", "tcpproxy: spawner"] +
                    [f"tcpproxy: {what} {n}" for n in range(workers) for what in ("worker", "keeper", "keeper")])
    try:
        wait_for(lambda: titles(machine) == wanted, "those of a service at rest")
    except AssertionError as e:
        raise AssertionError(f"{e}\n{titles(machine)}\n{machine.log()}") from None


def records(machine, end):
    return re.findall(rf" close id=(\d+) .* end={end}$", machine.log(), re.M)


def caretaker(machine):
    def find():
        return [pid for pid, title in machine.processes().items() if title == "tcpproxy: caretaker"]
    return wait_for(find, "a caretaker")[0]


@contextlib.contextmanager
def held_restart(machine):
    """Between the stop and the start of a restart; the start comes with the end of the block."""
    machine.run("touch", "/run/hold")
    try:
        machine.systemctl("restart", "--no-block", "tcpproxy")
        wait_for(lambda: machine.show("tcpproxy", "SubState") == "start-pre", "the start waits")
        yield
    finally:
        machine.run("rm", "-f", "/run/hold")
    wait_for(lambda: machine.show("tcpproxy", "ActiveState") == "active", "active again")


def test_restart_keeps_connections(service):
    """Twenty times: a stream that is compared, sessions that are idle, and new clients all the while."""
    before = main_pid(service)
    with contextlib.ExitStack() as sockets:
        idle = [sockets.enter_context(service.connect(8080)) for _ in range(10)]
        stream = Stream(sockets.enter_context(service.connect(8080)))
        visitors = Visitors(service)
        assert all(answers(c, b"before") for c in idle)
        for n in range(20):
            service.systemctl("restart", "tcpproxy")
            assert service.show("tcpproxy", "Result") == "success"
            pid, before = before, main_pid(service)
            assert pid != before
            assert answers(idle[n % len(idle)], b"between")
        assert all(answers(c, b"after") for c in idle)
        stream.finish()
        visitors.finish()
        wait_for(lambda: service.log().count("took over 2 workers of before the restart") == 20, "as many lines")
        wait_for(lambda: "restart: done: version" in service.log().rpartition("took over 2 workers")[2],
                 "the workers are new, too")
        assert records(service, "(?!client-fin).*") == []
        wait_titles(service)
        assert service.show("tcpproxy", "NFileDescriptorStore") == "0"


def test_the_workers_are_the_new_program(service):
    """A restart is how an administrator brings in new files."""
    program = service.folder / "bin/tcpproxy"
    with service.connect(8080) as c:
        assert answers(c, b"before")
        data = program.read_bytes()
        program.unlink()
        program.write_bytes(data)
        program.chmod(0o755)
        service.systemctl("restart", "tcpproxy")
        service.wait_log("restart: done: version")
        assert answers(c, b"after")
        wait_titles(service)
        for pid in service.processes():
            assert service.run("readlink", f"/proc/{pid}/exe").stdout.strip() == "/usr/local/sbin/tcpproxy"


@plain
def test_restart_by_term_alone(drop_in, service):
    """systemd's TERM is the same for a restart and a stop: the store tells them apart."""
    with service.connect(8080) as c:
        assert answers(c, b"before")
        for _ in range(3):
            service.systemctl("restart", "tcpproxy")
            assert answers(c, b"after")
            wait_titles(service)
            for pid in workers(service):
                service.kill(signal.SIGKILL, pid)
            assert answers(c, b"after a kill")
        wait_titles(service)


@pytest.mark.parametrize("drop_in", ["", PLAIN], indirect=True, ids=["as installed", "without ExecStop"])
def test_stop_ends_all_and_logs_it(drop_in, service):
    service.etc("tcpproxy.conf", CONFIG + STUBBORN)
    service.systemctl("reload", "tcpproxy")
    service.wait_log("is in force")
    with contextlib.ExitStack() as sockets:
        sessions = [sockets.enter_context(service.connect(8080)) for _ in range(50)]
        assert all(answers(c, b"before") for c in sessions)
        handler = sockets.enter_context(service.connect(8082))
        assert handler.recv(100) == b"ready\n"
        begin = time.monotonic()
        service.systemctl("stop", "tcpproxy")
        wait_for(lambda: service.processes() == {}, "nothing is left", STOPS_WITHIN)
        assert time.monotonic() - begin < STOPS_WITHIN + 0.5
        for c in sessions:
            with pytest.raises(ConnectionResetError):
                c.recv(1)
    assert service.show("tcpproxy", "Result") == "success"
    assert service.show("tcpproxy", "ActiveState") == "inactive"
    wait_for(lambda: len(set(records(service, "stopped"))) == 51, "a record of each")
    service.wait_log("terminated")


@pytest.mark.parametrize("drop_in", [PLAIN + "FileDescriptorStoreMax=0\n"], indirect=True, ids=["no store"])
def test_without_a_store_a_restart_is_a_stop(drop_in, service):
    with service.connect(8080) as c:
        assert answers(c, b"before")
        service.systemctl("restart", "tcpproxy")
        with pytest.raises(ConnectionResetError):
            c.recv(1)
    wait_for(lambda: len(records(service, "stopped")) == 1, "its record")
    assert "leaving" not in service.log()


def test_term_by_hand_is_a_stop(service):
    """No start follows, so systemd drops what it kept."""
    with service.connect(8080) as c:
        assert answers(c, b"before")
        service.kill(signal.SIGTERM, main_pid(service))
        wait_for(lambda: service.processes() == {}, "nothing is left", STOPS_WITHIN)
        with pytest.raises(ConnectionResetError):
            c.recv(1)
    assert service.show("tcpproxy", "ActiveState") == "inactive"
    assert service.show("tcpproxy", "NRestarts") == "0"
    wait_for(lambda: len(records(service, "stopped")) == 1, "its record")


def test_a_start_that_fails_after_a_restart(service):
    """It changes nothing, as a reload that fails: the workers go on as they were, and the next start has them again."""
    with service.connect(8080) as c:
        assert answers(c, b"before")
        service.etc("tcpproxy.conf", CONFIG + "sever x\n")
        assert service.systemctl("restart", "tcpproxy", check=False).returncode != 0
        assert service.show("tcpproxy", "ActiveState") == "failed"
        service.wait_log("the workers of before go on without a supervisor")
        wait_for(lambda: "tcpproxy: caretaker" not in titles(service), "nobody waits for systemd any more")
        assert answers(c, b"alone")
        with service.connect(8080) as d:
            assert answers(d, b"new")
        service.etc("tcpproxy.conf", CONFIG)
        service.systemctl("start", "tcpproxy")
        service.wait_log("took over 2 workers")
        assert answers(c, b"after")
        # and what was said then is no longer in force
        service.systemctl("stop", "tcpproxy")
        with pytest.raises(ConnectionResetError):
            c.recv(1)


@held
def test_between_stop_and_start(drop_in, service):
    """Clients are served, a worker that dies is replaced, and no record is lost."""
    with service.connect(8080) as c:
        assert answers(c, b"before")
        with held_restart(service):
            caretaker(service)
            service.kill(signal.SIGKILL, workers(service)[0])
            workers(service)
            assert answers(c, b"alone")
            with service.connect(8080) as d:
                assert answers(d, b"new")
        assert answers(c, b"after")
        service.wait_log("took over 2 workers of before the restart")
        wait_for(lambda: len(records(service, "client-fin")) == 1, "its record")
        wait_titles(service)


@held
def test_stopped_between_stop_and_start(drop_in, service):
    """The start does not come: all ends, as at any stop."""
    with contextlib.ExitStack() as sockets:
        sessions = [sockets.enter_context(service.connect(8080)) for _ in range(20)]
        assert all(answers(c, b"before") for c in sessions)
        service.run("touch", "/run/hold")
        service.systemctl("restart", "--no-block", "tcpproxy")
        caretaker(service)
        service.systemctl("stop", "tcpproxy")
        service.run("rm", "/run/hold")
        wait_for(lambda: service.processes() == {}, "nothing is left", STOPS_WITHIN)
        for c in sessions:
            with pytest.raises(ConnectionResetError):
                c.recv(1)
    wait_for(lambda: len(set(records(service, "stopped"))) == 20, "a record of each")


@held
def test_killed_between_stop_and_start(drop_in, service):
    """Without its caretaker a trio is like one whose supervisor died: the next start finds it."""
    with service.connect(8080) as c:
        assert answers(c, b"before")
        with held_restart(service):
            service.kill(signal.SIGKILL, caretaker(service))
            assert answers(c, b"alone")
        service.wait_log("took over 2 workers")
        assert answers(c, b"after")
        wait_titles(service)
        service.systemctl("restart", "tcpproxy")
        assert answers(c, b"again")


def test_restart_while_an_upgrade_runs(service):
    with service.connect(8080) as c:
        assert answers(c, b"before")
        for n in range(6):
            service.systemctl("kill", "--kill-who=main", "--signal=USR2", "tcpproxy")
            if n % 2:
                service.wait_log("upgrade: becoming")
            service.systemctl("restart", "tcpproxy")
            assert answers(c, b"after")
        wait_titles(service)


def test_stop_while_an_upgrade_runs(service):
    with service.connect(8080) as c:
        assert answers(c, b"before")
        service.systemctl("kill", "--kill-who=main", "--signal=USR2", "tcpproxy")
        service.systemctl("stop", "tcpproxy")
        wait_for(lambda: service.processes() == {}, "nothing is left", STOPS_WITHIN)
        with pytest.raises(ConnectionResetError):
            c.recv(1)


def test_workers_of_another_version(service):
    """Workers whose memory cannot be taken over are replaced; their connections move."""
    with contextlib.ExitStack() as sockets:
        sessions = [sockets.enter_context(service.connect(8080)) for _ in range(20)]
        assert all(answers(c, b"before") for c in sessions)
        before, pid = workers(service), main_pid(service)
        links = service.run("find", f"/proc/{pid}/fd", "-lname", "/memfd:tcpproxy-trio*").stdout.split()
        assert len(links) >= 2
        for link in links:
            with open(Path(f"/proc/{service.pid}/root") / link.lstrip("/"), "r+b") as f:
                f.seek(8)  # struct trio: magic, version
                f.write((0x7fff).to_bytes(4, "little"))
        service.systemctl("restart", "tcpproxy")
        service.wait_log("has another layout")
        assert all(answers(c, b"after") for c in sessions)
        with service.connect(8080) as d:
            assert answers(d, b"new")
        wait_titles(service)
        assert not set(before) & set(workers(service))
    wait_for(lambda: len(set(records(service, "client-fin"))) == 21, "every record, once")
    assert service.show("tcpproxy", "NFileDescriptorStore") == "0"


@pytest.mark.parametrize("what,now", [("user tcpproxy", "user nobody"), ("workers 2", "workers 3"),
                                      ("workers 2", "workers 1")],
                         ids=["user", "more workers", "fewer workers"])
def test_what_takes_effect_at_the_next_start(service, what, now):
    """A restart is one: other workers serve, and the connections move to them."""
    with contextlib.ExitStack() as sockets:
        sessions = [sockets.enter_context(service.connect(8080)) for _ in range(20)]
        assert all(answers(c, b"before") for c in sessions)
        before = workers(service)
        service.etc("tcpproxy.conf", CONFIG.replace(what, now))
        service.systemctl("restart", "tcpproxy")
        service.wait_log(f'"{what.split()[0]}" has changed')
        assert all(answers(c, b"after") for c in sessions)
        with service.connect(8080) as d:
            assert answers(d, b"new")
        wait_titles(service, workers=int(now.split()[1]) if what == "workers 2" else 2)
        assert not set(before) & set(service.processes())
        user = service.run("id", "-u", "nobody" if "nobody" in now else "tcpproxy").stdout.strip()
        for pid in service.processes():
            status = service.run("cat", f"/proc/{pid}/status").stdout
            assert re.search(r"^Uid:\s+(\d+)", status, re.M)[1] == user
    wait_for(lambda: len(set(records(service, "client-fin"))) == 21, "every record, once")



def cpu_seconds(machine):
    """Of each process of the service."""
    def ticks(pid):
        fields = machine.run("cat", f"/proc/{pid}/stat", check=False).stdout.rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12]) if fields else 0
    return {pid: ticks(pid) / 100 for pid in machine.processes()}


UNIX = "admin unix:/run/tcpproxy/admin.sock\n"
ADMIN_LINES = {"none": "", "unix": UNIX, "page": "admin 127.0.0.1:9090\n", "both": UNIX + "admin 127.0.0.1:9090\n",
               "token": UNIX + "admin 127.0.0.1:9090 token=/etc/tcpproxy.token\n", "two pages": "admin 127.0.0.1:9090\nadmin [::1]:9090\n"}
RESTARTS = int(os.environ.get("RESTARTS", "3"))  # make test-long: 50, of each kind
HARDENED = (UNITS / "hardening.conf").read_text()
KINDS = ([(d, name) for d in ("", HARDENED) for name in ADMIN_LINES] if RESTARTS > 3 else
         [("", "page"), ("", "both"), (HARDENED, "token")])


@pytest.mark.parametrize("drop_in, lines", KINDS, indirect=["drop_in"],
                         ids=[f"{'hardened' if d else 'plain'}-{name}" for d, name in KINDS])
def test_restarts_with_every_admin_line(drop_in, service, lines):
    """Their addresses are free again when the next supervisor comes; no connection notices, none is refused, and nobody spins over
    those who have gone. After a start that failed a good one goes on."""
    config = CONFIG.replace("log stderr\n", "log stderr\n" + ADMIN_LINES[lines])
    service.etc("tcpproxy.token", "secret\n")
    service.etc("tcpproxy.conf", config)
    service.systemctl("restart", "tcpproxy")
    stream, visitors = Stream(service.connect(8080)), Visitors(service)
    for i in range(RESTARTS):
        service.systemctl("restart", "tcpproxy")
        assert service.show("tcpproxy", "Result") == "success"
        if i % 10 == 1:
            service.systemctl("reload", "tcpproxy")
        if i % 10 == 2:
            service.etc("tcpproxy.conf", config + "sever x\n")
            assert service.systemctl("restart", "tcpproxy", check=False).returncode != 0
            service.etc("tcpproxy.conf", config)
            service.systemctl("start", "tcpproxy")
    visitors.finish()
    stream.finish()
    if "9090" in config:
        with service.connect(9090) as page:
            page.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert page.recv(64).startswith(b"HTTP/1.")
    assert "a fault of this program" not in service.log() and "is replaced" not in service.log()

    def quiet():  # once all are the new program
        before = cpu_seconds(service)
        threading.Event().wait(1)
        return max(seconds - before.get(pid, seconds) for pid, seconds in cpu_seconds(service).items()) <= 0.01
    wait_for(quiet, "none takes more than 1 % of a core")
    service.systemctl("stop", "tcpproxy")
    wait_for(lambda: service.processes() == {}, "nothing is left", STOPS_WITHIN)
