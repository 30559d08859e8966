"""Files that only root may touch, after root was given up: what works, what is refused, and who may not lead us astray."""
import grp
import os
import signal
import stat
import subprocess
import time

import pytest

from lib import processes
from lib.admin import Admin
from lib.peers import answer, ask, refused
from lib.ports import free_port
from lib.proxy import FILES
from lib.waiting import wait_for

NOBODY, NOGROUP = 65534, 65534


@pytest.fixture(autouse=True)
def with_landlock(directory):
    """Without it there is no process for files of root's."""
    rc = subprocess.run(["/usr/bin/python3", "-c", "import ctypes, sys\n"
                         "sys.exit(ctypes.CDLL(None, use_errno=True).syscall(444, 0, 0, 1) < 1)"]).returncode
    if rc:
        pytest.skip("this kernel has no landlock")


def named(service, text):
    return service(lambda s: s.sendall(text)).spelt


def reload(proxy, says="is in force", n=1):
    before = proxy.log().count(says)
    proxy.signal(signal.SIGHUP)
    wait_for(lambda: proxy.log().count(says) >= before + n, f"{says!r} in:\n{proxy.log()}")


def facts(path):
    st = os.lstat(path)
    return st.st_uid, grp.getgrgid(st.st_gid).gr_name, oct(st.st_mode & 0o7777)


def test_a_private_directory_of_includes(start, service, directory):
    """Of a pattern, files that are new since the start are found, too."""
    a, b = free_port(), free_port()
    os.mkdir(directory / "conf.d", 0o700)
    directory.write("conf.d/a.conf", f"port {a}\nserver {named(service, b'a')}\n", 0o600)
    os.chmod(directory / "conf.d", 0o700)
    proxy = start(config="include conf.d/*.conf\n", wait=False)
    wait_for(lambda: not refused(a), "the first port")
    proxy.born = proxy.wait_whole()
    directory.write("conf.d/b.conf", f"port {b}\nserver {named(service, b'b')}\n", 0o600)
    directory.write("conf.d/not.this", "nonsense\n", 0o600)
    reload(proxy)
    wait_for(lambda: not refused(b), "the second port")
    assert answer(a) == b"a" and answer(b) == b"b"
    os.unlink(directory / "conf.d/b.conf")
    reload(proxy)
    wait_for(lambda: refused(b), "the second port is gone")


def test_and_an_upgrade_finds_them(start, service, directory):
    port = free_port()
    directory.write("conf.d/a.conf", f"port {port}\nserver {named(service, b'a')}\n", 0o600)
    os.chmod(directory / "conf.d", 0o700)
    proxy = start(config="include conf.d/*.conf\n", wait=False)
    wait_for(lambda: not refused(port), "the port")
    proxy.born = proxy.wait_whole()
    proxy.expect_deaths()
    proxy.signal(signal.SIGUSR2)
    proxy.wait_log("upgrade: done")
    assert answer(port) == b"a"


def test_what_is_new_since_the_start_needs_a_restart(start, service, directory):
    port = free_port()
    proxy = start(config=f"port {port}\nserver {named(service, b'old')}\n")
    path = directory.write("new.conf", f"port {free_port()}\nserver {service().spelt}\n", 0o600)
    proxy.rewrite(proxy.config + f"include {path}\n")
    reload(proxy, "nothing has changed")
    assert f'cannot read "{path}": only root may read it' in proxy.log()
    assert f"{path} can be read after the next restart" in proxy.log()
    assert answer(port) == b"old"


def test_a_link_of_root_s_is_followed_wherever_it_leads(start, service, directory):
    """As Kubernetes puts a new configuration in place: one link is renamed over another."""
    port = free_port()
    for name in ("old", "new"):
        directory.write(f"mount/..{name}/tcpproxy.conf", f"port {port}\nserver {named(service, name.encode())}\n", 0o600)
    os.symlink("..old", directory / "mount/..data")
    os.symlink("..data/tcpproxy.conf", directory / "mount/tcpproxy.conf")
    proxy = start("-f", directory / "mount/tcpproxy.conf", wait=False)
    wait_for(lambda: not refused(port), "the port")
    proxy.born = proxy.wait_whole()
    os.symlink("..new", directory / "mount/fresh")
    os.rename(directory / "mount/fresh", directory / "mount/..data")
    reload(proxy)
    wait_for(lambda: answer(port) == b"new", "the new configuration")


def test_a_link_that_others_can_change_is_not(start, service, directory):
    """A list in a directory of the service user's: at a reload he leads it elsewhere."""
    port = free_port()
    secret = directory.write("secret", "port 1\n", 0o600)
    folder = directory / "theirs"
    os.mkdir(folder)
    listed = directory.write("theirs/list", f"port {port}\nserver {named(service, b'x')}\n", 0o600)
    os.chown(folder, NOBODY, NOGROUP)
    proxy = start(config=f"include {listed}\n", wait=False)
    wait_for(lambda: not refused(port), "the port")
    proxy.born = proxy.wait_whole()
    os.unlink(listed)
    os.symlink(secret, listed)
    os.lchown(listed, NOBODY, NOGROUP)
    reload(proxy, "nothing has changed")
    assert f'cannot read "{listed}": it is a symbolic link that others than root can change' in proxy.log()
    assert answer(port) == b"x"


def test_a_log_that_is_a_link_of_root_s(start, service, directory):
    """It is made anew where the link leads, by root, for administrators to read."""
    os.mkdir(directory / "private", 0o700)
    os.mkdir(directory / "disk", 0o700)
    log, real = directory / "private/log", directory / "disk/real"
    os.symlink("../disk/real", log)
    port = free_port()
    proxy = start("-b", port, "-l", f"file:{log}", service().spelt)
    assert facts(real) == (0, "adm", "0o640")
    os.rename(real, real + ".1")
    proxy.signal(signal.SIGUSR1)
    wait_for(lambda: os.path.exists(real), "a new file")
    assert facts(real) == (0, "adm", "0o640")
    assert ask(port, b"x") == b"x"
    wait_for(lambda: " close id=" in open(real).read(), "the record")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_log_to_a_stream_of_ours(start, service, directory, stream):
    port = free_port()
    proxy = start("-b", port, "-l", f"file:/dev/{stream}", service().spelt)
    assert ask(port, b"x") == b"x"
    proxy.wait_log(" close id=")
    proxy.signal(signal.SIGUSR1)
    assert ask(port, b"x") == b"x"
    wait_for(lambda: proxy.log().count(" close id=") == 2, "the second record")
    assert "cannot be opened" not in proxy.log()


def test_a_fifo_as_log_in_a_private_directory(start, service, directory):
    os.mkdir(directory / "private", 0o700)
    fifo, port = directory / "private/fifo", free_port()
    os.mkfifo(fifo, 0o600)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    proxy = start("-b", port, "-l", f"file:{fifo}", service().spelt)
    proxy.signal(signal.SIGUSR1)
    assert ask(port, b"x") == b"x"
    text = b""

    def record():
        nonlocal text
        try:
            text += os.read(reader, 65536)
        except BlockingIOError:
            pass
        return b" close id=" in text
    wait_for(record, "the record in the FIFO")
    os.close(reader)
    assert b"cannot be opened" not in text


def test_log_files_are_for_administrators_also_after_a_rotation(start, service, directory):
    os.mkdir(directory / "private", 0o700)
    log, port = directory / "private/log", free_port()
    proxy = start("-b", port, "-l", f"file:{log}", service().spelt)
    assert facts(log) == (0, "adm", "0o640")
    os.rename(log, log + ".1")
    proxy.signal(signal.SIGUSR1)
    wait_for(lambda: os.path.exists(log), "a new file")
    wait_for(lambda: facts(log) == (0, "adm", "0o640"), f"root's, not {facts(log)}")


def test_a_device_in_place_of_the_pidfile_stays(start, service, directory):
    """It is neither replaced by a file, nor removed: -p /dev/null."""
    null = directory / "null"
    os.mknod(null, 0o666 | stat.S_IFCHR, os.stat("/dev/null").st_rdev)
    proxy = start("-b", free_port(), "-p", null, service().spelt)
    proxy.stop()
    assert stat.S_ISCHR(os.stat(null).st_mode)
    assert "cannot" not in proxy.log()


def test_the_directory_of_an_admin_socket_goes_with_it(start, service, directory):
    admin = Admin(directory / "run/admin.sock")
    proxy = start("-b", free_port(), "-o", f"admin unix:{admin.path}", service().spelt)
    assert facts(directory / "run")[::2] == (0, "0o750")
    assert os.stat(directory / "run").st_gid == os.stat(admin.path).st_gid == NOGROUP
    assert os.stat(admin.path).st_uid == NOBODY
    proxy.expect_deaths()
    proxy.signal(signal.SIGUSR2)
    proxy.wait_log("upgrade: done")
    assert admin.json("status")["pid"] == proxy.pid
    proxy.stop()
    assert not os.path.exists(directory / "run")


def stopped(pid):
    return processes.status(pid).get("State", "")[:1] == "T"


def test_a_helper_that_stands_still_costs_two_seconds_whatever_is_asked(start, service, directory):
    """15 private files, a reload, logs to be opened: nobody waits for each of them, and no answer is taken for another's."""
    os.mkdir(directory / "private")
    port = free_port()
    for i in range(15):
        directory.write(f"private/{i}.conf", f"port {free_port()}\nserver {service().spelt}\n", 0o600)
    logs = [directory / f"private/{name}.log" for name in "ab"]
    text = "".join(f"include private/{i}.conf\n" for i in range(15)) + "".join(f"log file:{path}\n" for path in logs)
    main = directory.write("main.conf", f"port {port}\nserver {named(service, b'old')}\n", 0o600)
    os.chmod(directory / "private", 0o700)
    proxy = start(config="".join(sorted(text.splitlines(True), reverse=True)) + f"include {main}\n", wait=False)
    wait_for(lambda: not refused(port), "the port")
    proxy.born = proxy.wait_whole()
    [helper] = proxy.tree()[FILES]

    def log():
        return open(logs[0]).read()
    os.kill(helper, signal.SIGSTOP)
    wait_for(lambda: stopped(helper), "it stands still")
    try:
        began = time.monotonic()
        for _ in range(3):
            n = log().count("nothing has changed")
            proxy.signal(signal.SIGHUP)
            wait_for(lambda: log().count("nothing has changed") == n + 1, f"a reload that fails:\n{log()}", 20)
        proxy.signal(signal.SIGUSR1)
        wait_for(lambda: log().count("cannot be opened") >= 1, "neither are the logs opened")
        assert time.monotonic() - began < 5, "waited for more than once"
        assert log().count("does not answer") == 1
    finally:
        os.kill(helper, signal.SIGCONT)
    wait_for(lambda: not stopped(helper), "it goes on")
    directory.write("main.conf", f"port {port}\nserver {named(service, b'new')}\n", 0o600)

    def in_force():
        proxy.signal(signal.SIGHUP)
        return answer(port) == b"new"
    wait_for(in_force, "the next reload works")
    for path in logs:
        os.rename(path, path + ".1")
    proxy.signal(signal.SIGUSR1)
    wait_for(lambda: all(os.path.exists(path) for path in logs), "both logs are opened")
    assert answer(port) == b"new"
    wait_for(lambda: all(" close id=" in open(path).read() for path in logs), "and written")


def test_reopening_in_the_middle_of_an_upgrade(start, service, directory):
    """The trial asks for files at the same time."""
    os.mkdir(directory / "private", 0o700)
    log, port = directory / "private/log", free_port()
    proxy = start(config=f"log file:{log}\nport {port}\nserver {service().spelt}\n")
    os.chmod(proxy.config_path, 0o600)
    proxy.expect_deaths()
    for n in range(1, 6):
        proxy.signal(signal.SIGUSR2)
        for _ in range(10):
            proxy.signal(signal.SIGUSR1)
            time.sleep(0.002)  # spread over the upgrade
        wait_for(lambda: open(log).read().count("upgrade: done") == n, f"upgrade {n}:\n{open(log).read()}", 10)
    assert "cannot" not in open(log).read()
    assert ask(port, b"x") == b"x"
