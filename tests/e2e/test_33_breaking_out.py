"""A hostile process of the service user, as any handler or any other daemon of that user may be one: it gets into none
of our processes at any instant, and has nothing of root's read, made, emptied or removed for it."""
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading

import pytest

from lib import kernel, processes
from lib.admin import Admin
from lib.peers import ask, connect, refused, talk
from lib.ports import free_low_port, free_port
from lib.proxy import Directory
from lib.upgrades import replace, roll_back, upgrade
from lib.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="what is root's is to be protected")

SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "breakout", "breakout.c")
SERVICE = pwd.getpwnam("nobody")
AS_SERVICE = {"user": SERVICE.pw_uid, "group": SERVICE.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def breakout():
    """The program that tries."""
    place = tempfile.mkdtemp(prefix="tcpproxy-breakout-")
    os.chmod(place, 0o755)
    program = os.path.join(place, "breakout")
    subprocess.run(["cc", "-std=gnu17", "-O2", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-o", program, SOURCE], check=True)
    yield program
    shutil.rmtree(place)


@pytest.fixture
def directory():
    """The program has a name of its own here: what it is called is all that others may know of a process."""
    d = Directory(f"break{secrets.token_hex(4)}")
    yield d
    d.remove()


class Attacker:
    """breakout, as the service user."""

    def __init__(self, program, scene):
        self.process = subprocess.Popen([program, *scene.attack], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, cwd="/", **AS_SERVICE)
        self.successes = []

    def look(self, also=""):
        """Everything is tried at everybody once more, and at the process `also`, which has lost its name. Returns the
        pids of those."""
        self.process.stdin.write(f"{also}\n")
        self.process.stdin.flush()
        return looked(self.process.stdout, self.successes)

    def stop(self):
        try:
            lines = self.process.communicate(timeout=PATIENCE)[0].splitlines()
        finally:
            self.process.kill()
        assert " successes" in lines[-1]
        self.successes += lines[:-1]


def looked(lines, successes):
    for line in lines:
        if line.startswith("looked: "):
            return set(map(int, line.split()[1:]))
        successes.append(line.strip())
    raise AssertionError("the attacker has ended")


def snapshot(top):
    """{path: {what: ...}}: all that can be seen of everything below `top`. When a file was last read, too."""
    found = {}
    for parent, _, files in os.walk(top):
        for path in [parent, *(os.path.join(parent, name) for name in files)]:
            st = os.lstat(path)
            seen = found[path] = {"mode": oct(st.st_mode), "owner": st.st_uid, "group": st.st_gid,
                                  "written": st.st_mtime_ns}
            if path == parent:
                seen["names"] = sorted(os.listdir(path))
                continue
            seen["read"] = st.st_atime_ns
            with open(os.open(path, os.O_RDONLY | os.O_NOATIME), "rb") as f:
                seen["content"] = f.read()
    return found


class Scene:
    """A proxy, and files of root's beside it. roots/ is root's. The proxy has files of its own there, and so it has the
    helper for them, which might open all that is below. Nothing may happen to roots/deep. theirs/ is the service
    user's."""

    def __init__(self, directory, start, service, way):
        self.directory, self.way, self._start = directory, way, start
        self.port, self.echo = free_port(), service()
        self.roots, self.deep, self.theirs = directory / "roots", directory / "roots/deep", directory / "theirs"
        directory.write("roots/deep/shadow", "root:secret\n", 0o600)
        directory.write("roots/deep/sub/victim", "precious\n")
        os.mkdir(self.theirs)
        os.chown(self.theirs, SERVICE.pw_uid, SERVICE.pw_gid)
        for name in ("shadow", "sub/victim"):  # read before it was written: only then is a read noted
            os.utime(f"{self.deep}/{name}", ns=(10 ** 18, 11 * 10 ** 17))
        self.before = snapshot(self.deep)
        self.attack = ["-e", self.deep, os.path.basename(directory.program)]
        self.pidfile = f"pidfile {self.roots}/pid"

    def start(self, *lines, handler=None, **more):
        """With these directives, by a file or without one."""
        if self.way == "-f":
            target = f"exec {handler}" if handler else f"server {self.echo.spelt}"
            more["config"] = "\n".join(["workers 1", *lines, f"port {self.port}", target]) + "\n"
            self.proxy = self._start(**more)
        else:
            options = [word for line in ("workers 1", *lines) for word in ("-o", line)]
            self.proxy = self._start("-b", self.port, *options, handler or self.echo.spelt, **more)
        return self.proxy

    def damage(self):
        """What has happened to root's files."""
        now, found = snapshot(self.deep), []
        for path in sorted({*self.before, *now}):
            was, is_ = self.before.get(path), now.get(path)
            if not was or not is_:
                found.append(f"{path} is {'new' if is_ else 'gone'}: {is_ or was}")
            else:
                found += [f"{path}: {key} {was[key]} -> {is_[key]}" for key in was if was[key] != is_[key]]
        return found

    def assert_held(self, successes=()):
        trouble = [*successes, *self.damage()]
        if trouble:
            pytest.fail("broken out:\n" + "\n".join(trouble))

    def members(self):
        """{pid: title} of all our processes that belong to the service user."""
        uid = str(SERVICE.pw_uid)
        return {pid: title for pid, title in self.proxy.everybody().items()
                if processes.status(pid).get("Uid", "0").split()[0] == uid}

    def wait_members(self):
        """Those, once all are there, and the supervisor is not root any more."""
        wanted = {f"tcpproxy: {who}" for who in ("supervisor", "spawner", "worker 0", "keeper 0")}

        def all_of_them():
            found = self.members()
            return wanted <= set(found.values()) and found
        return set(wait_for(all_of_them, f"{wanted} of the service user's"))

    def assert_all_were_tried(self, members, tried):
        """Those that were members before, and still are: a child of the spawner was about to become a handler."""
        missed = (members & set(self.members())) - tried
        assert not missed, f"nobody has tried {missed} of {self.proxy.everybody()}"

    def serve_through(self, action):
        """Connections are talked on while action() does something, and none of them notices."""
        over, failures = threading.Event(), []
        clients = [connect(self.port) for _ in range(4)]

        def talk_on():
            try:
                while not over.is_set():
                    for c in clients:
                        talk(c)
                    over.wait(0.002)
            except (OSError, AssertionError) as e:
                failures.append(repr(e))
        thread = threading.Thread(target=talk_on)
        thread.start()
        try:
            action()
        finally:
            over.set()
            thread.join()
            for c in clients:
                c.close()
        assert not failures

    def end(self, supervisor):
        """That of the proxy whose supervisor is no child of ours."""
        os.kill(supervisor, signal.SIGTERM)
        wait_for(lambda: not self.proxy.everybody(), "all of it ends")


@pytest.fixture
def scene_of(directory, start, service):
    return lambda way: Scene(directory, start, service, way)


@pytest.fixture(params=["-f", "-b"])
def scene(request, scene_of):
    """With a configuration file, which can be loaded again; and without one: then no right seems to be needed later."""
    return scene_of(request.param)


@pytest.fixture
def attacked(breakout):
    """with attacked(scene): all that happens in there is attacked, and in vain. The last thing is a look at all."""
    @contextlib.contextmanager
    def attack(scene):
        attacker = Attacker(breakout, scene)
        try:
            yield attacker
            members = scene.wait_members()
            tried = attacker.look()
        finally:
            attacker.stop()  # whatever has failed may have failed by it
            scene.assert_held(attacker.successes)
        scene.assert_all_were_tried(members, tried)
    return attack


# -- another daemon of the same user

def test_nobody_gets_in_while_it_serves(scene, attacked):
    scene.start(scene.pidfile)
    with attacked(scene) as attacker:
        scene.serve_through(lambda: [attacker.look() for _ in range(100)])


def test_nobody_gets_in_by_an_upgrade(scene, attacked):
    """A process is dumpable when it has just become another program; and trials are processes, too."""
    proxy = scene.start(scene.pidfile)

    def upgrade_often():
        for n in range(5):
            replace(proxy)
            upgrade(proxy, n + 1)
        proxy.wait_whole()
    with attacked(scene):
        scene.serve_through(upgrade_often)


def test_nobody_gets_in_by_an_upgrade_that_is_rolled_back(scene, attacked):
    supervisors = []
    scene.start(scene.pidfile)
    with attacked(scene) as attacker:
        scene.serve_through(lambda: supervisors.append(roll_back(scene.proxy)))
        attacker.look(*supervisors)
    scene.end(*supervisors)


def test_nobody_gets_in_by_a_start_after_a_crash(scene, attacked):
    proxy = scene.start(scene.pidfile)

    def crash():
        proxy.kill_supervisor()
        proxy.start_again()
    with attacked(scene):
        scene.serve_through(crash)


def test_a_low_port_is_added_after_a_rollback_and_nobody_gets_in(scene_of, attacked):
    """The capability for it is also what keeps others out."""
    scene, low = scene_of("-f"), free_low_port()
    proxy = scene.start(scene.pidfile)
    with attacked(scene) as attacker:
        supervisor = roll_back(proxy)
        attacker.look(supervisor)
        proxy.rewrite(f"{proxy.config}port {low}\nserver {scene.echo.spelt}\n")
        os.kill(supervisor, signal.SIGHUP)
        wait_for(lambda: not refused(low), f"port {low} is served:\n{proxy.log()}")
        assert ask(low, b"x") == b"x"
    scene.end(supervisor)


# -- a handler

def test_a_handler_does_not_get_in(scene, breakout):
    """It comes from one of our processes, which has to keep back what others must not have."""
    successes = []
    proxy = scene.start(scene.pidfile, handler=" ".join([breakout, *scene.attack]))
    try:
        with connect(scene.port) as s, s.makefile() as lines:
            for n in range(3):
                members = scene.wait_members()
                s.sendall(b"\n")
                scene.assert_all_were_tried(members, looked(lines, successes))
                replace(proxy)
                upgrade(proxy, n + 1)
            s.sendall(b"\n")
            looked(lines, successes)
            s.shutdown(socket.SHUT_WR)
            *rest, summary = lines.read().splitlines()
            successes += rest
            assert " successes" in summary
    finally:
        scene.assert_held(successes)  # whatever has failed may have failed by it


# -- the doors of trios

KNOCK = """
import os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
    s.settimeout(1)
    s.connect(chr(0) + sys.argv[1])
    try:
        while True:
            data, fds, _, _ = socket.recv_fds(s, 65536, 64)
            if not data:
                break
            for fd in fds:
                print(os.readlink(f"/proc/self/fd/{fd}"))
    except (TimeoutError, ConnectionError):
        pass
"""


def door_of(pid):
    """The name of its abstract socket, by which a supervisor finds it after a crash."""
    sockets = set(processes.descriptors(pid).values())
    with open("/proc/net/unix") as f:
        named = [(line.split()[6], line.split()[7]) for line in f if " @tcpproxy/" in line]
    return next(name[1:] for inode, name in named if f"socket:[{inode}]" in sockets)


def test_a_door_gives_nothing_away_to_the_service_user(scene):
    """It may kill the supervisor, and knock before the next one does."""
    proxy = scene.start(scene.pidfile)
    door = door_of(proxy.workers()[0])
    proxy.kill_supervisor()
    given = subprocess.run([sys.executable, "-c", KNOCK, door], stdout=subprocess.PIPE, text=True, cwd="/", check=True,
                           **AS_SERVICE).stdout
    proxy.start_again()
    assert given == ""


# -- links

def as_service(*argv):
    """Done by the service user; returns whether it could."""
    return subprocess.run(argv, stderr=subprocess.DEVNULL, **AS_SERVICE).returncode == 0


def put_link(path, to):
    """By the service user, in its own directory, in place of what is there."""
    if os.path.lexists(path):
        assert as_service("mv", path, path + ".old")
    assert as_service("ln", "-s", to, path)


opens_files_of_root = pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)


@pytest.fixture(params=["shadow", "profile.sh"], ids=["to a file", "to nothing"])
def goal(request, scene):
    """Where a link leads: to a file of root's, or to one that would be new."""
    return os.path.join(scene.deep, request.param)


def outcome(proxy):
    """Its exit code; None: it serves."""
    wait_for(lambda: proxy.process.poll() is not None or proxy.whole(), f"it serves or ends:\n{proxy.log()}")
    return proxy.process.poll()


def assert_link_was_named(proxy):
    """In words for a human; those of ELOOP speak of too many links."""
    assert "symbolic link" in proxy.log() and "Too many levels" not in proxy.log()


def reopen_logs(scene, last):
    """USR1. The last one of the logs is the last that is opened again."""
    os.rename(last, last + ".old")
    scene.proxy.signal(signal.SIGUSR1)
    wait_for(lambda: os.path.exists(last), f"{last} is opened again")
    assert ask(scene.port, b"x") == b"x"
    wait_for(lambda: "close id=" in open(last).read(), "a record in it")


@opens_files_of_root
def test_a_log_that_is_opened_again_follows_no_link(scene, goal):
    log, last = f"{scene.theirs}/t.log", f"{scene.roots}/last.log"
    scene.start("log stderr", f"log file:{log}", f"log file:{last}")
    put_link(log, goal)
    reopen_logs(scene, last)
    scene.assert_held()


@opens_files_of_root
def test_a_log_is_opened_again_in_the_directory_where_it_was(scene):
    """Not in the one that the service user has put in its place."""
    inner, last = f"{scene.theirs}/inner", f"{scene.roots}/last.log"
    assert as_service("mkdir", inner)
    scene.start("log stderr", f"log file:{inner}/t.log", f"log file:{last}")
    put_link(inner, scene.deep)
    reopen_logs(scene, last)
    scene.assert_held()


def test_a_start_follows_no_link_to_a_log(scene, goal):
    put_link(f"{scene.theirs}/t.log", goal)
    proxy = scene.start("log stderr", f"log file:{scene.theirs}/t.log", wait=False)
    code = outcome(proxy)
    scene.assert_held()
    assert code == 2
    assert_link_was_named(proxy)


def test_a_start_follows_no_link_to_the_pidfile(scene, goal):
    """The link itself may be replaced."""
    path = f"{scene.theirs}/pid"
    put_link(path, goal)
    proxy = scene.start(f"pidfile {path}", wait=False)
    code = outcome(proxy)
    scene.assert_held()
    if code is None:
        assert stat.S_ISREG(os.lstat(path).st_mode) and open(path).read() == f"{proxy.pid}\n"
        proxy.stop()
        scene.assert_held()
    else:
        assert code == 2
        assert_link_was_named(proxy)


@opens_files_of_root
def test_the_pidfile_is_written_after_a_rollback_and_follows_no_link(scene, goal):
    path = f"{scene.theirs}/pid"
    proxy = scene.start("log stderr", f"log file:{scene.roots}/log", f"pidfile {path}")
    put_link(path, goal)
    supervisor = roll_back(proxy)
    scene.assert_held()
    scene.end(supervisor)
    scene.assert_held()


def test_the_pidfile_is_removed_from_the_directory_where_it_was(scene):
    inner = f"{scene.theirs}/inner"
    assert as_service("mkdir", inner)
    proxy = scene.start("log stderr", f"log file:{scene.roots}/log", f"pidfile {inner}/victim")
    put_link(inner, f"{scene.deep}/sub")
    proxy.stop()
    scene.assert_held()


def test_the_directory_that_is_made_for_the_admin_socket_is_root_s(scene):
    """The service user may go in, and put nothing there: the next start would believe in it."""
    run = scene.directory / "run"
    admin = Admin(f"{run}/admin.sock")
    proxy = scene.start(f"admin unix:{admin.path}")
    assert not as_service("touch", f"{run}/file") and not as_service("ln", "-s", scene.deep, f"{run}/link")
    assert not as_service("mv", admin.path, f"{run}/other") and not as_service("rm", "-f", admin.path)
    st = os.stat(run)
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (0, SERVICE.pw_gid, 0o750)
    assert os.stat(admin.path).st_uid == SERVICE.pw_uid
    for who in ({}, AS_SERVICE):
        assert admin.run("status", **who).returncode == 0
    assert admin.json("status")["pid"] == proxy.pid
