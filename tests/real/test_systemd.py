"""As a service of the real systemd, with the units as they are installed; and what systemd is told.

The machine is booted once for all (manager.py). Where it cannot be, each test says why.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

import manager
import servers
from manager import CONFIG, answers, main_pid, workers
from servers import TCPPROXY, TOP, wait_for

STOPS_WITHIN = 4.0
IMPATIENT = "[Service]\nWatchdogSec=1\nTimeoutAbortSec=500ms\n"


def test_units_are_right(machine):
    units = [f"/mnt/folder/units/{u}" for u in ("tcpproxy.service", "tcpproxy-inetd.socket", "tcpproxy-inetd@.service")]
    done = machine.run("systemd-analyze", "verify", "--man=no", *units, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_is_active_when_it_serves(service):
    """`systemctl start` returns when clients are served: no second look is needed."""
    with service.connect(8080) as c:
        assert answers(c, b"hello")
    assert service.show("tcpproxy", "ActiveState") == "active"
    assert service.show("tcpproxy", "StatusText") == "services: 1, listening sockets: 2, workers: 2"
    status = service.run("cat", f"/proc/{main_pid(service)}/status").stdout
    user = service.run("id", "-u", "tcpproxy").stdout.strip()
    assert re.search(r"^Uid:\s+(\d+)", status, re.M)[1] == user


def test_journal_has_priorities(service):
    service.connect(8080).close()
    service.wait_log("end=client-fin")
    machine_pid = str(main_pid(service))
    said = {e["MESSAGE"]: e for e in service.entries() if e["_PID"] == machine_pid}
    line = next(e for m, e in said.items() if "listening on port 8080" in m)
    assert line["PRIORITY"] == "6"
    service.kill(signal.SIGKILL, workers(service)[0])
    service.wait_log("was killed by signal 9")
    line = next(e for e in service.entries() if "was killed by signal 9" in e["MESSAGE"])
    assert line["PRIORITY"] == "3"


def test_a_start_that_fails_says_so(machine):
    machine.begin_log()
    machine.etc("tcpproxy.conf", CONFIG + "sever x\n")
    assert machine.systemctl("start", "tcpproxy", check=False).returncode != 0
    assert machine.show("tcpproxy", "ActiveState") == "failed"
    assert machine.show("tcpproxy", "NRestarts") == "0"
    machine.wait_log("/etc/tcpproxy.conf:6:1: unknown directive")
    machine.systemctl("reset-failed")


def test_reload(service):
    with service.connect(8080) as c:
        assert answers(c, b"before")
        pid = main_pid(service)
        service.etc("tcpproxy.conf", CONFIG + "port 8081\nserver 127.0.0.1:9000\n")
        service.systemctl("reload", "tcpproxy")
        wait_for(lambda: service.show("tcpproxy", "StatusText").startswith("services: 2,"), "both are served")
        assert answers(c, b"after")
        with service.connect(8081) as d:
            assert answers(d, b"new")
        assert service.show("tcpproxy", "ActiveState") == "active"
        assert main_pid(service) == pid


def test_reload_that_fails(service):
    """`systemctl reload` fails, and nothing has changed; a HUP shows in the status."""
    service.etc("tcpproxy.conf", CONFIG + "sever x\n")
    assert service.systemctl("reload", "tcpproxy", check=False).returncode != 0
    assert service.show("tcpproxy", "StatusText").startswith("services: 1,")
    service.kill(signal.SIGHUP, main_pid(service))
    wait_for(lambda: service.show("tcpproxy", "StatusText").startswith(
        "reload failed, nothing has changed: /etc/tcpproxy.conf:6:1: "), "the status says why")
    wait_for(lambda: service.show("tcpproxy", "ActiveState") == "active", "active again")
    with service.connect(8080) as c:
        assert answers(c, b"still there")


@pytest.fixture
def minimal(service):
    """Debian without the packages that are not always there: whoever executes one of their programs is refused."""
    packages = ["procps", "psmisc"]
    files = subprocess.run(["dpkg", "--listfiles", *packages], capture_output=True, text=True).stdout.split()
    programs = [f for f in files if re.match("(/usr)?/s?bin/.", f)]
    if not programs:
        pytest.skip(f"{' and '.join(packages)} are not installed as packages")
    for path in programs:
        service.run("mount", "--bind", "/dev/null", path)
    yield service
    for path in programs:
        service.run("umount", path)


def test_the_unit_needs_no_package_but_systemd(minimal):
    assert minimal.run("kill", "--version", check=False).returncode != 0
    with minimal.connect(8080) as c:
        assert answers(c, b"before")
        minimal.etc("tcpproxy.conf", CONFIG + "port 8081\nserver 127.0.0.1:9000\n")
        minimal.systemctl("reload", "tcpproxy")
        wait_for(lambda: minimal.show("tcpproxy", "StatusText").startswith("services: 2,"), "both are served")
        minimal.systemctl("restart", "tcpproxy")
        assert answers(c, b"after")
    minimal.systemctl("stop", "tcpproxy")
    assert minimal.processes() == {}


def test_killed_supervisor(service):
    """systemd starts another one, which takes over the workers with their connections."""
    with service.connect(8080) as c:
        assert answers(c, b"before")
        pid, serving = main_pid(service), workers(service)
        service.kill(signal.SIGKILL, pid)
        wait_for(lambda: main_pid(service) not in (0, pid) and service.show("tcpproxy", "ActiveState") == "active",
                 "another supervisor")
        service.wait_log("took over 2 workers")
        assert service.show("tcpproxy", "NRestarts") == "1"
        assert workers(service) == serving
        assert answers(c, b"after")
        with service.connect(8080) as d:
            assert answers(d, b"new")


def test_a_supervisor_that_cannot_be_started_again(service):
    """With a broken configuration nobody tries for ever; workers go on, and the next start finds them."""
    with service.connect(8080) as c:
        assert answers(c, b"before")
        workers(service)
        service.etc("tcpproxy.conf", CONFIG + "sever x\n")
        service.kill(signal.SIGKILL, main_pid(service))
        wait_for(lambda: service.show("tcpproxy", "ActiveState") == "failed", "given up")
        assert answers(c, b"alone")
        service.etc("tcpproxy.conf", CONFIG)
        service.systemctl("start", "tcpproxy")
        service.wait_log("took over 2 workers")
        assert answers(c, b"after")
        service.etc("tcpproxy.conf", CONFIG + "sever x\n")
        service.kill(signal.SIGKILL, main_pid(service))
        wait_for(lambda: service.show("tcpproxy", "ActiveState") == "failed", "given up")
        service.systemctl("kill", "--kill-who=all", "--signal=KILL", "tcpproxy")
        wait_for(lambda: service.processes() == {}, "all have ended")


def test_a_worker_that_does_not_answer_its_next_supervisor(service):
    """systemd tries until it does: nothing is lost meanwhile, and nobody else takes its port."""
    with service.connect(8080) as c:
        assert answers(c, b"before")
        pid, serving = main_pid(service), workers(service)
        for worker in serving:
            service.kill(signal.SIGSTOP, worker)
        service.kill(signal.SIGKILL, pid)
        service.wait_log("does not answer")
        for worker in serving:
            service.kill(signal.SIGCONT, worker)
        service.wait_log("took over 2 workers")
        wait_for(lambda: service.show("tcpproxy", "ActiveState") == "active", "active again")
        assert workers(service) == serving
        assert answers(c, b"after")


def test_upgrade(service):
    """The new program is the same main process, and says so."""
    with service.connect(8080) as c:
        assert answers(c, b"before")
        pid = main_pid(service)
        service.systemctl("kill", "--kill-who=main", "--signal=USR2", "tcpproxy")
        service.wait_log("upgrade: done")
        assert service.show("tcpproxy", "ActiveState") == "active"
        assert main_pid(service) == pid
        assert service.show("tcpproxy", "NRestarts") == "0"
        assert answers(c, b"after")


# it passes its trials, but has no supervisor's place to die in
NO_GOOD = """#!/bin/sh
case "$TCPPROXY_UPGRADE" in
"") exec /usr/local/sbin/good "$@" ;;
esac
exit 1
"""


@pytest.mark.parametrize("drop_in", [IMPATIENT], indirect=True, ids=["impatient"])
def test_upgrade_that_fails(drop_in, service):
    """The new program ends at once: the old one goes on as another process, and the service with it."""
    program, good = service.folder / "bin/tcpproxy", service.folder / "bin/good"
    program.rename(good)
    try:
        program.write_text(NO_GOOD)
        program.chmod(0o755)
        with service.connect(8080) as c:
            assert answers(c, b"before")
            pid = main_pid(service)
            service.systemctl("kill", "--kill-who=main", "--signal=USR2", "tcpproxy")
            service.wait_log("the old program goes on")
            assert service.show("tcpproxy", "ActiveState") == "active"
            assert main_pid(service) not in (0, pid)
            fed = service.show("tcpproxy", "WatchdogTimestampMonotonic")
            wait_for(lambda: service.show("tcpproxy", "WatchdogTimestampMonotonic") != fed, "the watchdog is fed")
            assert service.show("tcpproxy", "NRestarts") == "0"
            assert answers(c, b"after")
        # systemd did not start this process, so it does not wait for its end
        service.systemctl("stop", "tcpproxy")
        wait_for(lambda: service.processes() == {}, "all have ended", STOPS_WITHIN)
    finally:
        good.rename(program)


def test_stop(service):
    """Within 4 s, with a connection and a program that does not want to end; nothing is left."""
    service.etc("tcpproxy.conf", CONFIG + "port 8082\nexec /bin/sh -c \"trap '' TERM; echo ready; while :; do sleep 1; done\"\n")
    service.systemctl("restart", "tcpproxy")
    with service.connect(8080) as c, service.connect(8082) as d:
        assert answers(c, b"before")
        assert d.recv(100) == b"ready\n"
        begin = time.monotonic()
        service.systemctl("stop", "tcpproxy")
        assert time.monotonic() - begin < STOPS_WITHIN
        assert service.processes() == {}
        assert service.show("tcpproxy", "ActiveState") == "inactive"
        assert service.show("tcpproxy", "Result") == "success"
        with pytest.raises(ConnectionResetError):
            c.recv(1)


def test_a_program_gets_what_inetd_would_give(service):
    """No confinement of ours, no descriptor limit of ours; /etc can be written by whom it belongs to."""
    service.etc("tcpproxy.conf", CONFIG + "port 8083\n"
                "exec /bin/sh -c \"grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; ulimit -n; "
                "grep ' /etc ' /proc/self/mounts\"\n")
    service.systemctl("reload", "tcpproxy")
    service.wait_log("is in force")
    with service.connect(8083) as c, c.makefile() as f:
        said = f.read().split("\n")
    assert said[:3] == ["NoNewPrivs:\t0", "Seccomp:\t0", "1024"]
    assert " rw" in said[3]


@pytest.mark.parametrize("drop_in", [IMPATIENT], indirect=True, ids=["impatient"])
def test_watchdog(drop_in, service):
    """It is fed, and a supervisor that hangs is replaced; the connection goes on."""
    with service.connect(8080) as c:
        assert answers(c, b"before")
        pid = main_pid(service)
        fed = service.show("tcpproxy", "WatchdogTimestampMonotonic")
        wait_for(lambda: service.show("tcpproxy", "WatchdogTimestampMonotonic") != fed, "the watchdog is fed")
        service.kill(signal.SIGSTOP, pid)
        wait_for(lambda: main_pid(service) not in (0, pid) and service.show("tcpproxy", "ActiveState") == "active",
                 "another supervisor")
        service.wait_log("took over 2 workers")
        assert answers(c, b"after")


@pytest.mark.parametrize("drop_in", [(manager.UNITS / "hardening.conf").read_text()], indirect=True, ids=["hardened"])
def test_hardened(drop_in, service):
    """All that forwarding needs is left: low ports, the log file in root's directory, a reload, a take-over."""
    exposure = service.run("systemd-analyze", "security", "--no-pager", "tcpproxy.service").stdout
    assert float(re.search(r"Overall exposure level for tcpproxy.service: ([0-9.]+)", exposure)[1]) < 3
    log = "/var/log/tcpproxy/tcpproxy.log"
    config = CONFIG.replace("log stderr\n", f"log stderr\nlog file:{log}\n")
    service.etc("tcpproxy.conf", config)
    service.systemctl("restart", "tcpproxy")
    service.etc("tcpproxy.conf", config + "port 80\nserver 127.0.0.1:9000\n")
    service.systemctl("reload", "tcpproxy")
    wait_for(lambda: service.show("tcpproxy", "StatusText").startswith("services: 2,"), "both are served")
    with service.connect(80) as c:
        assert answers(c, b"low")
        service.kill(signal.SIGKILL, main_pid(service))
        service.wait_log("took over 2 workers")
        assert answers(c, b"after")
    wait_for(lambda: "end=client-fin" in service.run("cat", log).stdout, "a record in the log file")
    service.run("mv", log, log + ".1")
    service.systemctl("kill", "--kill-who=main", "--signal=USR1", "tcpproxy")
    wait_for(lambda: service.run("test", "-e", log, check=False).returncode == 0, "the log file is opened again")


def logged(machine, name):
    return machine.run("cat", f"/var/log/tcpproxy/{name}", check=False).stdout.count("end=client-fin")


def test_logrotate(service):
    """The real one, with the file that is installed: later records go to the new file, and none is lost."""
    shutil.copy2(servers.unpacked("logrotate", "usr/sbin/logrotate"), service.folder / "bin/logrotate")
    service.etc("logrotate-tcpproxy", (TOP / "packaging/logrotate.conf").read_text())
    service.etc("tcpproxy.conf", CONFIG.replace("log stderr\n", "log stderr\nlog file:/var/log/tcpproxy/access.log\n"))
    service.systemctl("restart", "tcpproxy")

    def visit(n):
        for _ in range(n):
            with service.connect(8080) as c:
                assert answers(c, b"hello")
    visit(3)
    wait_for(lambda: logged(service, "access.log") == 3, "three records")
    rotate = ["/usr/local/sbin/logrotate", "--force", "--state", "/var/log/tcpproxy/state", "/etc/logrotate-tcpproxy"]
    for earlier in range(2):
        done = service.run(*rotate)
        assert done.stdout + done.stderr == ""
        wait_for(lambda: service.run("test", "-e", "/var/log/tcpproxy/access.log", check=False).returncode == 0,
                 "there is a new file")
        visit(2)
        wait_for(lambda: logged(service, "access.log") == 2, "the new records are in the new file")
        assert logged(service, "access.log.1") == (2 if earlier else 3)
    owner = service.run("stat", "--format=%U", "/var/log/tcpproxy/access.log").stdout.strip()
    assert owner in ("root", "tcpproxy")
    service.run("rm", "-r", "/var/log/tcpproxy/access.log", "/var/log/tcpproxy/access.log.1")


def test_a_service_for_each_connection(machine):
    """The socket unit with Accept=yes."""
    machine.systemctl("start", "tcpproxy-inetd.socket")
    try:
        with machine.connect(2525) as c:
            assert answers(c, b"hello")
            assert "tcpproxy-inetd@" in machine.systemctl("list-units", "--plain", "tcpproxy-inetd@*").stdout
            c.shutdown(socket.SHUT_WR)
            assert c.recv(1) == b""
        wait_for(lambda: "tcpproxy-inetd@" not in machine.systemctl("list-units", "--plain", "tcpproxy-inetd@*").stdout,
                 "the service has ended, and not as a failed one")
    finally:
        machine.systemctl("stop", "tcpproxy-inetd.socket")


# ---- without systemd: what it would be told ----

@pytest.fixture
def told(folder):
    """A socket like systemd's, and told(N): the next N messages, each as a dictionary."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(folder / "notify"))
        (folder / "notify").chmod(0o777)
        s.settimeout(servers.PATIENCE)

        def read(n):
            return [dict(line.split("=", 1) for line in s.recv(4096).decode().split("\n")) for _ in range(n)]
        yield read


def test_what_systemd_is_told(start, folder, told):
    port = servers.free_port()
    config = folder / "tcpproxy.conf"
    config.write_text(f"workers 1\nport {port}\ninterface 127.0.0.1\nserver 127.0.0.1:9\n")
    proxy = start("tcpproxy", [TCPPROXY, "-f", config], {"NOTIFY_SOCKET": str(folder / "notify")})
    pid = str(proxy.process.pid)
    status = "services: 1, listening sockets: 1, workers: 1"
    ready = {"READY": "1", "MAINPID": pid, "STATUS": status}
    assert told(1) == [ready]
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    proxy.process.send_signal(signal.SIGHUP)
    reloading, after = told(2)
    assert reloading.pop("RELOADING") == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert after == ready
    config.write_text("sever x\nrever y\n")
    proxy.process.send_signal(signal.SIGHUP)
    reloading, after = told(2)
    assert after["READY"] == "1"
    assert after["STATUS"].startswith(f"reload failed, nothing has changed: {config}:1:1: unknown directive")
    assert after["STATUS"].endswith(f"; {status}")
    proxy.process.send_signal(signal.SIGQUIT)
    graceful, stopping = told(2)
    assert list(graceful) == ["STATUS"]
    assert stopping["STOPPING"] == "1"
    assert proxy.process.wait(STOPS_WITHIN) == 0


@pytest.mark.parametrize("reads", [True, False], ids=["drops", "does-not-read"])
def test_a_manager_that_keeps_nothing(start, folder, told, reads):
    """TERM ends everything, as without one: what was sent to be kept is not."""
    port = servers.free_port()
    proxy = start("tcpproxy", [TCPPROXY, "-b", f"127.0.0.1:{port}", "/bin/cat"],
                  {"NOTIFY_SOCKET": str(folder / "notify")}).wait_port(port)
    with socket.create_connection(("127.0.0.1", port), servers.PATIENCE) as c:
        assert answers(c, b"served")
        begin = time.monotonic()
        proxy.process.send_signal(signal.SIGTERM)
        if reads:
            said = told(4)
            assert [list(m)[0] for m in said] == ["READY", "STOPPING", "FDSTORE", "BARRIER"]
            assert said[2] == {"FDSTORE": "1", "FDNAME": "lifeline", "FDPOLL": "0"}
        assert proxy.process.wait(STOPS_WITHIN) == 0
        assert time.monotonic() - begin < STOPS_WITHIN
        assert servers.members(proxy.folder) == {}


@pytest.mark.parametrize("whose", ["ours", "anybody's"])
def test_watchdog_is_fed(start, folder, told, whose):
    argv = [TCPPROXY, "-b", f"127.0.0.1:{servers.free_port()}", "127.0.0.1:9"]
    env = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "200000"}
    if whose == "ours":
        argv = ["/bin/sh", "-c", 'WATCHDOG_PID=$$ exec "$@"', "sh", *argv]
    start("tcpproxy", argv, env)
    assert [list(m)[0] for m in told(4)] == ["READY", "WATCHDOG", "WATCHDOG", "WATCHDOG"]


# ---- what is installed ----

@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    build = TCPPROXY.parent
    if not (build / "build.ninja").exists():
        pytest.skip(f"{build} is not a build directory")
    root = tmp_path_factory.mktemp("root")
    subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", root], check=True)
    return root


def find(root, name):
    paths = [p for p in root.rglob(name) if "doc" not in p.parts]
    assert len(paths) == 1, paths
    return paths[0]


def test_the_installed_unit_names_the_installed_files(installed):
    text = find(installed, "tcpproxy.service").read_text()
    assert "@" not in text
    program, config = re.search(r"^ExecStart=(\S+) -f (\S+)$", text, re.M).groups()
    assert os.access(installed / program.lstrip("/"), os.X_OK)
    assert (installed / config.lstrip("/")).read_text() == (TOP / "packaging/tcpproxy.conf").read_text()


def test_files_of_etc_that_are_there_stay(installed):
    config = installed / find(installed, "tcpproxy.service").read_text().split(" -f ")[1].split()[0].lstrip("/")
    before = config.read_text()
    config.write_text("mine\n")
    subprocess.run(["meson", "install", "-C", TCPPROXY.parent, "--no-rebuild", "--quiet", "--destdir", installed],
                   check=True)
    assert config.read_text() == "mine\n"
    config.write_text(before)


def test_the_first_configuration_file(folder):
    """Nothing is served until a port is opened; each example in it is right."""
    text = (TOP / "packaging/tcpproxy.conf").read_text()
    file = folder / "tcpproxy.conf"
    file.write_text(text)

    def check():
        return subprocess.run([TCPPROXY, "--check", "-f", file], capture_output=True, text=True, timeout=20)
    assert "no port is opened" in check().stderr
    file.write_text(re.sub(r"^#(?=[a-z])", "", text, flags=re.M))
    done = check()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\nport ") == 4
