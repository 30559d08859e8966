"""state FILE: what tcpproxyctl has changed is kept in a file, and taken up at a start that finds nothing of before."""
import contextlib
import os
import signal
import stat
import time

import pytest

from lib import kernel
from lib.peers import ask, connect, gets_reset, say, talk
from lib.ports import free_port
from lib.upgrades import replace, upgrade
from lib.waiting import wait_for

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Pool:
    """Two servers that say who they are, a and b, and a file for the state."""

    def __init__(self, start, service, admin, directory, line="state {}\n", more="", wait=True):
        self.admin, self.port, self.start = admin, free_port(), start
        self.home = directory / "home"
        os.mkdir(self.home)
        os.chmod(self.home, 0o777)
        self.file = os.path.join(self.home, "state")
        self.servers = service(say("a")), service(say("b"))
        self.a, self.b = (s.spelt for s in self.servers)
        self.line, self.more = line, more
        self.proxy = None
        if wait:
            self.begin()

    def text(self, a="", b="", line=None):
        line = (self.line if line is None else line).format(self.file)
        return f"{line}{self.admin.line}{self.more}port {self.port} as db\nserver {self.a} {a}\nserver {self.b} {b}\n"

    def begin(self, **more):
        self.proxy = self.start(config=self.text(**more))

    def again(self, end=signal.SIGTERM, **more):
        """Stopped, perhaps all at once, and started anew, perhaps with other lines."""
        before = self.admin.ask("changes")
        if end == signal.SIGKILL:
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in self.proxy.everybody():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
            self.proxy.process.wait()
            wait_for(lambda: not self.proxy.pids(), "nobody is left")
        else:
            self.proxy.signal(end)
            assert self.proxy.wait_exit() == 0
            self.proxy.wait_gone()
        self.go_on(self.text(**more))
        return before

    def go_on(self, text):
        self.proxy.rewrite(text)
        self.proxy._run()
        self.proxy.wait_ready()

    def written(self):
        """What stands in the file but for comments."""
        with open(self.file, errors="replace") as f:
            return [line for line in f.read().splitlines() if not line.startswith("#")]

    def wait_written(self, *lines):
        wait_for(lambda: os.path.exists(self.file) and self.written() == list(lines), f"{lines} in the file, not "
                 f"{os.path.exists(self.file) and self.written()}:\n{self.proxy.log()}")

    def changed(self):
        return self.admin.ask("changes").splitlines()

    def put(self, text, age=0):
        with open(self.file, "w") as f:
            f.write(text)
        os.chmod(self.file, 0o644)
        os.utime(self.file, (time.time() - age,) * 2)


@pytest.fixture
def pool(start, service, admin, directory):
    def make(**more):
        return Pool(start, service, admin, directory, **more)
    return make


ALL = ["weight {a} 3", "max {a} 7", "force {a} up", "disable {b}", "weight {b} 50%"]


def change_all(p):
    for command in ALL:
        p.admin.ask(*command.format(a=p.a, b=p.b).split())
    return p.changed()


def test_the_file_has_the_lines_of_changes(pool):
    p = pool()
    p.wait_written()
    p.wait_written(*change_all(p))
    assert stat.S_IMODE(os.stat(p.file).st_mode) == 0o640
    assert os.listdir(p.home) == ["state"]
    p.admin.ask("forget", p.a)
    p.wait_written(*p.changed())
    p.admin.ask("forget", "all")
    p.wait_written()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_they_are_taken_up_at_a_start(pool, end):
    p = pool()
    p.wait_written(*change_all(p))
    before = p.again(end)
    assert p.admin.ask("changes") == before
    assert {ask(p.port) for _ in range(6)} == {b"a"}
    p.proxy.wait_log(f"took up 5 changes by tcpproxyctl from {p.file}$")
    assert "left out" not in p.proxy.log()


def test_a_stop_waits_for_what_is_not_written_yet(pool):
    p = pool()
    p.wait_written()
    p.admin.ask("weight", p.a, 9)
    p.again()
    assert p.changed() == [f"weight {p.a} 9"]


def test_a_service_that_is_disabled_stays_so(pool):
    p = pool()
    p.admin.ask("disable", "db")
    p.wait_written("disable db")
    p.again(signal.SIGKILL)
    assert gets_reset(p.port)
    p.admin.ask("enable", "db")
    assert ask(p.port)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_servers_that_were_added_and_removed(pool, service, end):
    p = pool()
    p.wait_written()
    third = service(say("c")).spelt
    p.admin.ask("add", "db", f"{third} weight=2")
    p.admin.ask("remove", "db", p.a)
    p.admin.ask("max", third, "9")
    wait_for(lambda: len(p.written()) == 3, f"three lines:\n{p.proxy.log()}")
    before = p.again(end)
    assert p.admin.ask("changes") == before and f"remove db {p.a}" in before
    assert {ask(p.port) for _ in range(9)} == {b"b", b"c"}


def test_many_commands_are_written_once(pool):
    p = pool()
    p.wait_written()
    first = os.stat(p.file).st_ino
    for n in range(1, 60):
        p.admin.ask("weight", p.a, n)
    p.wait_written(f"weight {p.a} 59")
    assert os.stat(p.file).st_ino != first


def test_without_it_a_stop_forgets(pool):
    p = pool(line="")
    p.admin.ask("weight", p.a, 9)
    p.again()
    assert p.changed() == []


# -- the file of the configuration wins where it speaks

def test_a_server_whose_line_has_changed_is_as_the_file_says(pool):
    p = pool()
    p.wait_written(*change_all(p))
    p.again(a="weight=5")
    assert p.changed() == [f"disable {p.b}", f"weight {p.b} 50%"]
    p.proxy.wait_log(f"the file says something else of {p.a} now, so it holds; changes by tcpproxyctl that are forgotten: "
                     f"weight {p.a} 3, max {p.a} 7, force {p.a} up")
    p.wait_written(*p.changed())


def test_who_was_taken_out_does_not_come_back_with_another_weight(pool):
    p = pool()
    p.admin.ask("drain", p.a)
    p.admin.ask("weight", p.a, 4)
    p.wait_written(*p.changed())
    p.again(a="weight=5")
    assert p.changed() == [f"drain {p.a}"]
    p.again(a="weight=5 disabled")
    assert p.changed() == []
    p.again(a="weight=5")
    assert p.changed() == []


def test_a_weight_of_0_does_not_stay_for_ever(pool):
    p = pool()
    p.admin.ask("weight", p.a, 0)
    p.wait_written(*p.changed())
    p.again()
    assert {ask(p.port) for _ in range(4)} == {b"b"}
    p.admin.ask("forget", p.a)
    p.wait_written()
    p.again(signal.SIGKILL)
    assert p.changed() == []
    assert {ask(p.port) for _ in range(4)} == {b"a", b"b"}


def test_a_server_that_is_gone_is_left_out(pool):
    p = pool()
    p.wait_written(*change_all(p))
    p.proxy.signal(signal.SIGTERM)
    p.proxy.wait_exit()
    p.proxy.wait_gone()
    p.go_on(p.text().replace(f"server {p.a}", f"server 127.0.0.1:{free_port()}"))
    assert p.changed() == [f"disable {p.b}", f"weight {p.b} 50%"]
    p.proxy.wait_log(f"{p.file}:[0-9]+: \"weight {p.a} 3\" is left out: \"{p.a}\" is no server of the configuration")


# -- which start

@pytest.mark.parametrize("age, taken", [(50, True), (200, False)])
def test_max_age(pool, age, taken):
    p = pool(line="state {} max-age=100\n", wait=False)
    p.put(f"weight {p.a} 5\n", age)
    p.begin()
    assert p.changed() == ([f"weight {p.a} 5"] if taken else [])
    if not taken:
        p.proxy.wait_log(f"the state in {p.file} is not taken up: it is .* old, and max-age is 100")
        p.wait_written()


def test_its_age_is_the_time_since_we_were_there(pool):
    p = pool(line="state {} max-age=4\n")
    p.admin.ask("weight", p.a, 5)
    p.wait_written(f"weight {p.a} 5")
    first = os.stat(p.file).st_mtime
    wait_for(lambda: os.stat(p.file).st_mtime > first + 4, "it is written anew", 20)
    p.again(signal.SIGKILL)
    assert p.changed() == [f"weight {p.a} 5"]


def test_living_memory_counts_for_more_than_the_file(pool):
    p = pool()
    p.admin.ask("weight", p.a, 5)
    p.wait_written(f"weight {p.a} 5")
    p.proxy.kill_supervisor()
    p.put(f"weight {p.a} 7\n")
    p.proxy.start_again()
    assert p.changed() == [f"weight {p.a} 5"]
    p.wait_written(f"weight {p.a} 5")


def test_an_upgrade_goes_on_writing(pool):
    p = pool()
    p.admin.ask("weight", p.a, 5)
    p.wait_written(f"weight {p.a} 5")
    replace(p.proxy)
    upgrade(p.proxy)
    assert p.changed() == [f"weight {p.a} 5"]
    p.admin.ask("weight", p.b, 6)
    p.wait_written(f"weight {p.a} 5", f"weight {p.b} 6")


def test_a_reload_names_another_file(pool):
    p = pool()
    p.admin.ask("weight", p.a, 5)
    p.wait_written(f"weight {p.a} 5")
    old = p.file
    p.file = os.path.join(p.home, "other")
    p.proxy.rewrite(p.text())
    p.admin.ask("reload")
    p.wait_written(f"weight {p.a} 5")
    p.admin.ask("weight", p.a, 6)
    p.wait_written(f"weight {p.a} 6")
    with open(old) as f:
        assert f"weight {p.a} 5\n" in f.read()
    p.proxy.rewrite(p.text(b="weight=2"))
    p.admin.ask("reload")
    p.admin.ask("weight", p.b, 6)
    p.wait_written(f"weight {p.a} 6", f"weight {p.b} 6")
    p.proxy.rewrite(p.text(b="weight=3"))
    p.admin.ask("reload")
    p.wait_written(f"weight {p.a} 6")


# -- anybody may have written it

HOSTILE = [
    "kill all", "reload", "weight", "weight {a}", "weight {a} 1001", "weight {a} 5 6", "weight nobody 5", "max {a} -1", "force {a} sideways",
    "drain {a} within never", "drain", "'weight", "weight \"{a}", "forget all", "upgrade", "log level debug", "\x01\x02", "#: {a} zzz",
    "#: {a} 0123456789abcdef nonsense", "#:", "weight {a} 5\\", "x" * 5000, "disable 'no such; rm -rf /'", "tap {a}", "drain nobody/{a}",
]


def test_what_is_wrong_costs_a_message(pool):
    p = pool(wait=False)
    p.put("".join(line.format(a=p.a) + "\n" for line in HOSTILE) + f"weight {p.a} 5 # fine\n\nmax '{p.b}' 7")
    p.begin()
    assert p.changed() == [f"weight {p.a} 5", f"max {p.b} 7"]
    p.proxy.wait_log(f"{p.file}:1: \"kill all\" is left out: it is no command that changes a server or a service for good$")
    p.proxy.wait_log(f"{p.file}:5: .* is left out: this is \"weight SERVER N\"")
    assert p.proxy.log().count(" is left out: ") == 20
    p.proxy.wait_log(f"{p.file}: [0-9]+ lines more are left out")
    assert ask(p.port)


@pytest.mark.parametrize("kind", ["bytes", "directory", "fifo", "large", "link"])
def test_what_is_no_file_of_ours(pool, kind):
    p = pool(wait=False)
    if kind == "bytes":
        with open(p.file, "wb") as f:
            f.write(os.urandom(100000))
    elif kind == "directory":
        os.mkdir(p.file)
    elif kind == "fifo":
        os.mkfifo(p.file)
    elif kind == "large":
        p.put(f"weight {p.a} 5\n" * 100000)
    else:
        os.symlink("/etc/passwd", p.file)
    p.begin()
    assert p.changed() == []
    assert ask(p.port)
    p.admin.ask("weight", p.a, 3)
    if kind in ("directory", "fifo"):
        p.proxy.wait_log(f"cannot write the state to {p.file}: ")
        if kind == "directory":
            os.rmdir(p.file)
        else:
            os.unlink(p.file)
        p.admin.ask("weight", p.a, 4)
        p.proxy.wait_log(f"the state is written to {p.file} again")
        p.wait_written(f"weight {p.a} 4")
    else:
        p.wait_written(f"weight {p.a} 3")
        assert not os.path.islink(p.file)
    with open("/etc/passwd") as f:
        assert "weight" not in f.read()


def test_a_directory_that_is_not_there_costs_a_line(pool, directory):
    p = pool(wait=False)
    p.file = os.path.join(directory.path, "nowhere", "state")
    p.begin()
    p.admin.ask("weight", p.a, 3)
    p.proxy.wait_log(f"cannot write the state to {p.file}: No such file or directory: until it can be, changes by tcpproxyctl live")
    p.admin.ask("weight", p.a, 4)
    assert ask(p.port)
    os.mkdir(os.path.dirname(p.file))
    os.chmod(os.path.dirname(p.file), 0o777)
    p.admin.ask("weight", p.a, 5)
    p.wait_written(f"weight {p.a} 5")
    assert p.proxy.log().count("cannot write the state") == 1


@as_root
@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_in_a_directory_of_root_s(pool):
    p = pool(wait=False)
    os.chmod(p.home, 0o700)
    p.begin()
    p.wait_written(*change_all(p))
    before = p.again(signal.SIGKILL)
    assert p.admin.ask("changes") == before
    replace(p.proxy)
    upgrade(p.proxy)
    p.admin.ask("forget", "all")
    p.wait_written()
    assert os.listdir(p.home) == ["state"]


@as_root
def test_a_disk_that_is_full_costs_a_line(pool):
    p = pool(wait=False)
    os.rmdir(p.home)
    os.mkdir(p.home)
    if os.system(f"mount -t tmpfs -o size=64k,mode=777 none {p.home}"):
        pytest.skip("nothing can be mounted here")
    try:
        p.begin()
        p.wait_written()
        with contextlib.suppress(OSError), open(os.path.join(p.home, "filling"), "wb", buffering=0) as f:
            while f.write(b"x" * 4096):
                pass
        p.admin.ask("weight", p.a, 3)
        p.proxy.wait_log(f"cannot write the state to {p.file}: No space left on device: ")
        assert p.written() == []  # the old one
        os.unlink(os.path.join(p.home, "filling"))
        p.admin.ask("weight", p.a, 4)
        p.wait_written(f"weight {p.a} 4")
        p.proxy.stop()
    finally:
        os.system(f"umount -l {p.home}")


def test_connections_do_not_notice(pool, service):
    p = pool()
    echo = service()
    p.servers += (echo,)
    p.proxy.rewrite(p.text() + f"port {free_port()}\nserver {echo.spelt}\n")
    p.admin.ask("reload")
    with connect(int(p.proxy.config.split("port ")[-1].split()[0])) as c:
        talk(c)
        p.admin.ask("weight", p.a, 3)
        p.wait_written(f"weight {p.a} 3")
        talk(c)
