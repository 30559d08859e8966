"""What the supervisor cannot start now - no process, no descriptor is to be had - it starts as soon as it can."""
import contextlib
import os
import re
import shutil
import signal
import subprocess

import pytest

from lib import build, kernel, processes
from lib.page import Page
from lib.peers import ask, connect, talk
from lib.ports import free_port, listening
from lib.waiting import wait_for

REASONS = {"no process": ("Resource temporarily unavailable", "ulimit -u"),
           "no descriptor": ("Too many open files", "ulimit -n")}
any_reason = pytest.mark.parametrize("nothing", REASONS)


def limit(pid, nothing, most):
    """As the service user: root may be without the capability for it."""
    what = {"no process": "nproc", "no descriptor": "nofile"}[nothing]
    subprocess.run(["prlimit", f"--pid={pid}", f"--{what}={most}:"], check=True, user="nobody", group="nogroup",
                   extra_groups=[])


@contextlib.contextmanager
def refused(pid, nothing):
    """The kernel gives it no other process, or no descriptor."""
    with open(f"/proc/{pid}/limits") as f:
        before = re.search({"no process": r"Max processes +(\d+)", "no descriptor": r"Max open files +(\d+)"}[nothing],
                           f.read())[1]
    limit(pid, nothing, 3 if nothing == "no descriptor" else 1)
    yield
    if processes.alive(pid):
        limit(pid, nothing, before)


@pytest.fixture(autouse=True)
def as_root():
    if os.geteuid() != 0:
        pytest.skip("the limit of processes binds the service user: needs root")


def kill(proxy, *roles):
    """All of them at once: nobody is replaced meanwhile."""
    proxy.expect_deaths()
    pids = [pid for role in roles for pid in proxy.role(role)]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)


def wait_told(proxy, who, nothing):
    """What failed, why, what to do; said once for all tries."""
    why, limit = REASONS[nothing]
    proxy.wait_log(rf"{who} cannot be started: {why} \(.*{limit}.*\): it is tried again until it can be$")


def assert_told_once(proxy, who):
    proxy.wait_log(rf"{who} is started now, at try [2-9]")
    assert proxy.log().count(f"{who} cannot be started") == 1


@any_reason
def test_a_trio(start, service, nothing):
    """All three members are dead; clients wait in the queue, and are served."""
    port = free_port()
    proxy = start("-b", port, "-o", "workers 1", service().spelt)
    with refused(proxy.pid, nothing):
        kill(proxy, "worker 0", "keeper 0")
        wait_told(proxy, "worker 0", nothing)
        assert not proxy.workers()
        client = connect(port)
    talk(client)
    assert_told_once(proxy, "worker 0")
    assert ask(port, b"new") == b"new"
    proxy.wait_whole()


@any_reason
def test_the_spawner(start, nothing):
    port = free_port()
    proxy = start("-b", port, "/bin/cat")
    with refused(proxy.pid, nothing):
        kill(proxy, "spawner")
        wait_told(proxy, "the spawner", nothing)
        client = connect(port)
    talk(client)
    assert_told_once(proxy, "the spawner")
    client.close()
    proxy.wait_whole()


@pytest.mark.skipif(not build.has_page(), reason="built without the page")
@any_reason
def test_the_page(start, service, nothing):
    page = Page()
    proxy = start("-b", free_port(), "-o", page.option, service().spelt)
    page.wait_answers()
    with refused(proxy.pid, nothing):
        kill(proxy, "admin")
        wait_told(proxy, "the admin process", nothing)
    page.wait_answers()
    assert_told_once(proxy, "the admin process")


def injected(call, error, when):
    """A command line before that of the program: some calls of the main process fail."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed (tools/deps.sh test)")
    return ["strace", "-D", "-qqq", "-o", "/dev/null", "-e", f"inject={call}:error={error}:when={when}"]


PAIRS = 3  # of sockets that a supervisor with one worker makes at its start: for the worker, for the spawner, for these two


@pytest.mark.skipif(build.is_sanitized(), reason="a sanitizer does not bear strace")
def test_a_channel_between_worker_and_spawner(start):
    """There is another spawner, but none of its channel to the worker."""
    port = free_port()
    proxy = start("-b", port, "-o", "workers 1", "/bin/cat", wrap=injected("socketpair", "EMFILE", PAIRS + 2))
    kill(proxy, "spawner")
    wait_told(proxy, "the spawner", "no descriptor")
    spawner = proxy.role("spawner")
    client = connect(port)
    talk(client)
    client.close()
    proxy.wait_log("the spawner is started now, at try 2")
    assert proxy.role("spawner") == spawner, "it was there already"


def start_again(proxy, wrap):
    plain = proxy._popen["args"]
    proxy._popen["args"] = [*wrap, *plain]
    proxy._run()
    proxy._popen["args"] = plain


def test_the_dump(start, service, directory):
    """The connections are served meanwhile."""
    port = free_port()
    proxy = start("-b", port, "--dump=" + directory / "dump.pcapng", service().spelt, wrap=injected("clone", "EAGAIN", 1),
                  wait=False)
    proxy.wait_log("the process for --dump cannot be started: Resource temporarily unavailable")
    wait_for(lambda: proxy.role("dump"), "another try")
    assert ask(port, b"hello") == b"hello"
    proxy.wait_record()
    wait_for(lambda: b"hello" in open(directory / "dump.pcapng", "rb").read(), "it is shown")


@pytest.mark.parametrize("call,error,why", [("clone", "EAGAIN", "Resource temporarily unavailable"),
                                            ("eventfd2", "EMFILE", "Too many open files")])
def test_a_start_without(start, service, call, error, why):
    """Nothing is served, so it ends, and its exit code says that another try is worth while."""
    proxy = start("-b", free_port(), service().spelt, wrap=injected(call, error, "1+"), wait=False)
    assert proxy.wait_exit() == 75
    assert f"cannot start: {why}" in proxy.log()
    proxy.wait_gone()


def test_a_next_supervisor_that_cannot_begin(start, service):
    """Those that serve are left as they are, for the one after it."""
    port = free_port()
    proxy = start("-b", port, service().spelt)
    client = connect(port)
    talk(client)
    proxy.kill_supervisor()
    start_again(proxy, injected("pidfd_open", "EMFILE", "1+"))
    assert proxy.wait_exit() == 75
    talk(client)
    proxy.start_again()
    proxy.wait_log("took over .* workers")
    talk(client)
    assert ask(port, b"new") == b"new"


@any_reason
def test_a_graceful_stop_does_not_wait_for_it(start, service, nothing):
    """Nobody is left who could have connections."""
    port = free_port()
    proxy = start("-b", port, "-o", "workers 1", service().spelt)
    with refused(proxy.pid, nothing):
        kill(proxy, "worker 0", "keeper 0")
        wait_told(proxy, "worker 0", nothing)
        proxy.signal(signal.SIGQUIT)
        assert proxy.wait_exit() == 0


def test_a_trio_that_dies_in_a_graceful_stop(start, service):
    port = free_port()
    proxy = start("-b", port, "-o", "workers 1", service().spelt)
    with connect(port) as client:
        talk(client)
        proxy.signal(signal.SIGQUIT)
        wait_for(lambda: not listening(port), "nobody listens")
        kill(proxy, "worker 0", "keeper 0")
        assert proxy.wait_exit() == 0
    assert proxy.wait_record().end == "lost"


def test_a_stop_that_has_no_spawner_to_end_the_programs(start, directory):
    """It says so, and does not wait."""
    port = free_port()
    proxy = start("-b", port, directory.script("handler", "echo $$; exec sleep 60"))
    with connect(port) as client:
        pid = int(client.makefile().readline())
        with refused(proxy.pid, "no process"):
            kill(proxy, "spawner")
            wait_told(proxy, "the spawner", "no process")
            proxy.signal(signal.SIGTERM)
            assert proxy.wait_exit() == 0
        proxy.wait_log("stopping without a spawner: handler programs that run are not ended")
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("what", ["worker", "spawner"])
def test_the_next_supervisor_without_processes(start, service, admin, what):
    """It has taken over the connections of a worker, which must not end because there is no process for another one."""
    port = free_port()
    proxy = start("-b", port, "-o", "workers 2", "-o", admin.option, service().spelt)
    client = connect(port)
    talk(client)
    holder = admin.wait_connections(1)[0]["worker"]
    proxy.kill_supervisor()
    if what == "worker":
        kill(proxy, f"worker {1 - holder}", f"keeper {1 - holder}")
        wait_for(lambda: not proxy.role(f"worker {1 - holder}"), "all three are dead")
    start_again(proxy, injected("clone", "EAGAIN", "2..3" if kernel.has_landlock() else "1..2"))  # else the first is for root's files
    proxy.wait_log(rf"{f'worker {1 - holder}' if what == 'worker' else 'the spawner'} cannot be started: ")
    talk(client)
    proxy.wait_log("took over .* workers")
    proxy.wait_whole()
    talk(client)
    assert ask(port, b"new") == b"new"
