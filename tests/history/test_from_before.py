"""USR2 from an earlier commit to this program and back: built from the history, so it is run by tools/test-long.sh."""
import os
import shutil
import signal
import subprocess
import threading

import pytest

from lib import processes
from lib import proxy as proxies
from lib.peers import ask, connect, refused, talk
from lib.ports import free_port
from lib.proxy import BINARY, FILES, ROOT
from lib.waiting import wait_for

BEFORE = "b1e6f8a"  # the helper for files of root's knows no list, keepers carry no capability, the memory has another layout
SAME = "9aca2e6"
pytestmark = pytest.mark.limit(300)  # one of them builds each program


def program_of(commit):
    built = f"{os.path.dirname(BINARY)}-{commit}"
    if not os.path.exists(f"{built}/tcpproxy"):
        source = f"{built}/source"
        os.makedirs(source, exist_ok=True)
        archive = subprocess.Popen(["git", "-C", ROOT, "archive", commit], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", source], stdin=archive.stdout, check=True)
        if archive.wait() != 0:
            pytest.skip(f"this clone has no history back to {commit}")
        subprocess.run(["meson", "setup", "-Dtests=false", built, source], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["ninja", "-C", built, "--quiet", "tcpproxy"], check=True)
    return f"{built}/tcpproxy"


@pytest.fixture
def before(monkeypatch):
    """The program of that commit, whose spares have a pidfd less."""
    monkeypatch.setattr(proxies, "PIDFDS", 6)
    return program_of(BEFORE)


@pytest.fixture
def same_layout():
    return program_of(SAME)


def install(proxy, program):
    fresh = proxy.directory.program + ".new"
    shutil.copy2(program, fresh)
    os.rename(fresh, proxy.directory.program)


class Story:
    def __init__(self, start, service, directory, program):
        os.mkdir(directory / "private", 0o700)
        self.pidfile, self.log_path = directory / "private/pid", directory / "private/log"
        self.port, self.upgrades = free_port(), 0
        self.text = (f"pidfile {self.pidfile}\nlog file:{self.log_path}\nport {self.port}\nserver {service().spelt}\n")
        os.unlink(directory.program)
        shutil.copy2(program, directory.program)
        self.proxy = start(config=self.text)
        os.chmod(self.proxy.config_path, 0o600)
        self.proxy.expect_deaths()
        self.clients = [connect(self.port) for _ in range(40)]
        self.service = service

    def log(self):
        return open(self.log_path).read()

    def upgrade(self, program):
        self.upgrades += 1
        install(self.proxy, program)
        self.proxy.signal(signal.SIGUSR2)
        wait_for(lambda: self.log().count("upgrade: done") == self.upgrades, f"upgrade {self.upgrades}:\n{self.log()}", 20)

    def still_there(self):
        for c in self.clients:
            talk(c)
        assert ask(self.port, b"new") == b"new"

    def add_port(self, number):
        self.text += f"port {number}\nserver {self.service().spelt}\n"
        self.proxy.rewrite(self.text)
        os.chmod(self.proxy.config_path, 0o600)
        self.proxy.signal(signal.SIGHUP)
        wait_for(lambda: not refused(number), f"port {number}:\n{self.log()}")


def test_there_and_back_with_private_files(start, service, directory, before):
    s = Story(start, service, directory, before)
    s.upgrade(BINARY)
    s.still_there()
    assert s.log().count('restart once: "tcpproxy: files" is of an older version') == 1
    s.add_port(741)
    os.unlink(s.pidfile)  # written by nobody: it is still the same process
    s.upgrade(BINARY)
    s.still_there()
    s.upgrade(before)
    s.still_there()
    s.add_port(742)
    s.upgrade(BINARY)
    s.still_there()
    assert s.proxy.role("supervisor") == [s.proxy.pid]


def test_from_here_there_and_back(start, service, directory, before):
    s = Story(start, service, directory, BINARY)
    s.upgrade(before)
    s.still_there()
    s.add_port(743)
    s.upgrade(BINARY)
    s.still_there()
    assert "restart once" not in s.log().split("upgrade: done")[-1]


def test_after_a_restart_nothing_of_it_is_left(start, service, directory, before):
    """The next start makes the helper anew."""
    s = Story(start, service, directory, before)
    s.upgrade(BINARY)
    s.proxy.wait_whole()  # what was handed over has been, and who has given it is gone
    helper = s.proxy.tree()[FILES]
    s.proxy.kill_supervisor()
    s.proxy.start_again()
    wait_for(lambda: "took over" in s.log(), "the workers are taken over")
    [fresh] = s.proxy.tree()[FILES]
    assert fresh not in helper and int(processes.status(fresh)["CapEff"], 16) == 0b1011
    s.still_there()
    os.rename(s.log_path, s.log_path + ".1")
    s.proxy.signal(signal.SIGUSR1)
    wait_for(lambda: os.path.exists(s.log_path), "a new log")
    s.still_there()


class Load:
    """Clients that come and talk, one after the other, and one that talks all the time."""

    def __init__(self, port):
        self.port, self.stopped, self.errors, self.served = port, threading.Event(), [], 0
        self.threads = [threading.Thread(target=self.run, args=(work,)) for work in (self.come_and_go, self.stay)]
        for t in self.threads:
            t.start()

    def run(self, work):
        try:
            work()
        except (OSError, AssertionError) as error:
            self.errors.append(error)

    def come_and_go(self):
        while not self.stopped.is_set():
            assert ask(self.port, b"x" * 1000) == b"x" * 1000
            self.served += 1

    def stay(self):
        with connect(self.port) as c:
            while not self.stopped.is_set():
                talk(c)

    def end(self):
        self.stopped.set()
        for t in self.threads:
            t.join()
        assert not self.errors and self.served > 100


def test_of_the_same_layout_each_takes_over_from_the_other_under_load(start, service, directory, same_layout):
    """The processes of the trios go on; nothing is retired, and no connection notices."""
    s = Story(start, service, directory, same_layout)
    workers = set(s.proxy.workers())
    load = Load(s.port)
    try:
        for program, port in ((BINARY, 744), (same_layout, 745), (BINARY, 746), (same_layout, 747), (BINARY, 748)):
            s.upgrade(program)
            s.still_there()
            s.add_port(port)
    finally:
        load.end()
    assert "accept nothing more" not in s.log() and len(s.proxy.workers()) == len(workers)
