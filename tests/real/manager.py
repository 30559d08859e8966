"""The real systemd, booted in namespaces of its own (boot-systemd.sh). It sees units of the test only, and
nothing of this machine's but its programs."""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from servers import TCPPROXY, TOP, command, wait_for

SCRIPT = Path(__file__).with_name("boot-systemd.sh")
UNITS = TOP / "packaging/systemd"
PATHS = {"@sbindir@": "/usr/local/sbin", "@confdir@": "/etc"}
SYSTEM = Path("/lib/systemd/system")
TARGETS = ["sysinit", "basic", "shutdown", "sockets", "network-online", "nss-lookup", "multi-user"]
DEFAULT = """[Unit]
Requires=systemd-journald.service systemd-journald.socket
"""
CLONE_NEWNET = 0x40000000
CONFIG = """user tcpproxy
workers 2
log stderr
port 8080
server 127.0.0.1:9000
"""

libc = ctypes.CDLL(None, use_errno=True)


def unit(name):
    """The text of a unit as it is installed."""
    path = UNITS / name
    if path.exists():
        return path.read_text()
    text = (UNITS / f"{name}.in").read_text()
    for mark, value in PATHS.items():
        text = text.replace(mark, value)
    return text


class Systemd:
    """`units`: {name: text} beside those it needs to boot."""

    def __init__(self, units):
        self.folder = Path(tempfile.mkdtemp(prefix="systemd.", dir="/tmp"))
        self.folder.chmod(0o755)
        self.since = self.pid = None
        self.cgroup = f"tcpproxy-test-{os.getpid()}"
        (self.folder / "bin").mkdir()
        shutil.copy2(TCPPROXY, self.folder / "bin/tcpproxy")
        self._write_units(units)
        self._unshare = command("unshare")
        with open(self.folder / "boot", "wb") as out:
            self.process = subprocess.Popen(
                [self._unshare, "--fork", "--pid", "--mount", "--uts", "--ipc", "--net", "--kill-child", SCRIPT,
                 self.folder, self.cgroup], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            self._wait_booted()
        except BaseException:
            self.close()
            raise

    def _write_units(self, units):
        folder = self.folder / "units"
        folder.mkdir()
        texts = {f"{t}.target": "[Unit]\n" for t in TARGETS} | {"default.target": DEFAULT} | units
        for name in ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"):
            texts[name] = (SYSTEM / name).read_text()
        for name, text in texts.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)

    def said(self):
        return "".join((self.folder / f).read_text(errors="replace") for f in ("boot", "console")
                       if (self.folder / f).exists())

    def _wait_booted(self):
        def booted():
            if self.process.poll() is not None or "Freezing execution" in self.said():
                pytest.skip(f"systemd cannot be booted here: {self.said().strip() or 'it ended at once'}")
            self.pid = self._first_process()
            if not self.pid:
                return False
            done = self.run("systemctl", "is-system-running", check=False)
            return done.stdout.strip() in ("running", "degraded")
        try:
            wait_for(booted, "systemd has booted")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.said()}") from None

    def _first_process(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n" else None

    def close(self):
        self.process.send_signal(signal.SIGKILL)  # the first process dies with it, and all with that
        self.process.wait()
        clean = [self._unshare, "--mount", SCRIPT, "clean", self.cgroup]
        wait_for(lambda: subprocess.run(clean, capture_output=True).returncode == 0 or self.pid is None,
                 "the control group is empty")
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- from outside

    def run(self, *argv, check=True, timeout=20):
        done = subprocess.run(["nsenter", "--all", "--target", str(self.pid), *map(str, argv)], text=True,
                              capture_output=True, timeout=timeout)
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}\n{self.log()}"
        return done

    def systemctl(self, *argv, **more):
        return self.run("systemctl", *argv, **more)

    def show(self, name, what):
        return self.systemctl("show", "--value", "--property", what, name).stdout.strip()

    def etc(self, name, text):
        """Writes a file in its /etc."""
        (Path(f"/proc/{self.pid}/root/etc") / name).write_text(text)

    def begin_log(self):
        """What is in the journal already is no concern of this test."""
        self.run("journalctl", "--sync")
        self.since = re.search("-- cursor: (.*)", self.run("journalctl", "--lines=0", "--show-cursor").stdout)[1]

    def entries(self, name="tcpproxy"):
        self.run("journalctl", "--sync", check=False)
        # The unit is not asked for: journalctl then takes the first entry that fits for the one at the cursor.
        after = [f"--after-cursor={self.since}"] if self.since else []
        out = self.run("journalctl", "--output", "json", "--all", *after).stdout
        entries = [json.loads(line) for line in out.splitlines()]
        return [e for e in entries if e.get("_SYSTEMD_UNIT") == f"{name}.service"]

    def log(self, name="tcpproxy"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return "\n".join(str(e["MESSAGE"]) for e in self.entries(name))
        return ""

    def wait_log(self, text, name="tcpproxy"):
        wait_for(lambda: text in self.log(name), f"{text!r} in the journal:\n{self.log(name)}")

    def processes(self, name="tcpproxy"):
        """{pid: title} of a service's control group, as its machine numbers them."""
        path = f"/sys/fs/cgroup/system.slice/{name}.service/cgroup.procs"
        done = self.run("cat", path, check=False)
        found = {}
        for pid in done.stdout.split():
            title = self.run("cat", f"/proc/{pid}/cmdline", check=False).stdout
            found[int(pid)] = title.replace("\0", " ").strip()
        return found

    def kill(self, number, pid):
        self.run("kill", f"-{int(number)}", pid)

    # -- its network

    def inside(self, function):
        """Runs it in a thread that is in the network of that machine; sockets made there stay there."""
        result = []

        def enter():
            try:
                with open(f"/proc/{self.pid}/ns/net") as ns:
                    if libc.setns(ns.fileno(), CLONE_NEWNET) < 0:
                        raise OSError(ctypes.get_errno(), "setns")
                result.append(function())
            except BaseException as e:  # handed to the caller
                result.append(e)
        t = threading.Thread(target=enter)
        t.start()
        t.join()
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]

    def connect(self, port):
        return self.inside(lambda: socket.create_connection(("127.0.0.1", port), 10))

    def serve_echo(self, port):
        listener = self.inside(lambda: socket.create_server(("127.0.0.1", port)))

        def serve(s):
            with s, contextlib.suppress(OSError):
                while data := s.recv(65536):
                    s.sendall(data)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        return listener


def service_machine():
    """A machine with the units of tcpproxy, its user, and an echo server on port 9000."""
    inetd = unit("tcpproxy-inetd@.service")
    assert inetd.count("mail.example.com:25") == 1
    m = Systemd({
        "tcpproxy.service": unit("tcpproxy.service"),
        "tcpproxy-inetd.socket": unit("tcpproxy-inetd.socket"),
        "tcpproxy-inetd@.service": inetd.replace("mail.example.com:25", "127.0.0.1:9000"),
    })
    try:
        (m.folder / "sysusers.conf").write_text((UNITS / "sysusers.conf").read_text())
        m.run("systemd-sysusers", "/mnt/folder/sysusers.conf")
        m.echo = m.serve_echo(9000)
    except BaseException:
        m.close()
        raise
    return m


def answers(connection, word):
    connection.sendall(word)
    said = connection.recv(100)
    if said != word:
        print(f"{word} was answered by {said}")
    return said == word


def main_pid(machine):
    return int(machine.show("tcpproxy", "MainPID"))


def workers(machine):
    def both():
        found = sorted(pid for pid, title in machine.processes().items() if title.startswith("tcpproxy: worker"))
        return found if len(found) == 2 else None
    return wait_for(both, "two workers")
