"""USR2: the binary now at the path replaces the running one; no connection notices, and one that is bad changes nothing."""
import contextlib
import os
import random
import signal
import threading
import time

import pytest

from lib import kernel, processes
from lib.peers import MIB, ask, connect, exchange_slowly, fin, is_reset, read_all, read_exactly, refused, talk
from lib.ports import free_port
from lib.upgrades import replace, roll_back, upgrade
from lib.waiting import wait_for


def test_the_new_file_is_run_by_all_under_the_same_pid(start, service):
    port = free_port()
    proxy = start("-b", port, service().spelt)
    clients = [connect(port) for _ in range(20)]
    for c in clients:
        talk(c)
    replace(proxy)
    upgrade(proxy)
    proxy.wait_whole()
    assert proxy.role("supervisor") == [proxy.pid]
    old = [p for p in proxy.everybody() if processes.executable(p) != proxy.directory.program]
    wait_for(lambda: not [p for p in old if os.path.exists(f"/proc/{p}")], "nobody runs the old file")
    for c in clients:
        talk(c)
    assert ask(port, b"new") == b"new"
    for c in clients:
        c.close()
    assert {r.end for r in proxy.wait_records(21)} == {"client-fin"}


BAD = {
    "is no program": "no program at all\n",
    "fails": "#!/bin/sh\necho broken >&2\nexit 1\n",
    "does nothing": "#!/bin/sh\nexit 0\n",
    "crashes": "#!/bin/sh\nkill -SEGV $$\n",
}


@pytest.mark.parametrize("script", BAD.values(), ids=BAD.keys())
def test_a_program_that_fails_its_trial_changes_nothing(start, service, script):
    port = free_port()
    proxy = start("-b", port, service().spelt)
    before = proxy.wait_whole()
    with connect(port) as c:
        talk(c)
        replace(proxy, script)
        proxy.signal(signal.SIGUSR2)
        proxy.wait_log("upgrade: .*nothing has changed")
        talk(c)
    os.rename(f"{proxy.directory.program}.kept", proxy.directory.program)
    wait_for(lambda: proxy.whole() == before, "the same processes")
    assert ask(port, b"x") == b"x"


def test_a_long_configuration_is_one_too(start, service, directory):
    """What --check prints begins with 9,000 rules."""
    port = free_port()
    networks = "".join(f"10.{n // 256}.{n % 256}.0/24\n" for n in range(9000))
    listed = directory.write("networks", networks + "127.0.0.0/8\n")
    proxy = start(config=f"allow file:{listed}\nport {port}\nserver {service().spelt}\n")
    upgrade(proxy)
    assert ask(port, b"new") == b"new"


def test_a_worker_whose_keepers_it_had_to_start_itself_goes_on_with_the_old_program(start, service):
    """They may execute nothing, so nobody tries; and it is no death that could count."""
    port = free_port()
    proxy = start(config=f"workers 1\nport {port}\nserver {service().spelt}\n")
    proxy.expect_deaths()
    with connect(port) as c:
        talk(c)
        keepers = proxy.keepers()
        for pid in keepers:
            os.kill(pid, signal.SIGSTOP)  # so that neither replaces the other
        for pid in keepers:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: proxy.whole() and not set(keepers) & set(proxy.keepers()), "two other keepers")
        members = proxy.keepers() + proxy.workers()
        replace(proxy)
        upgrade(proxy)
        proxy.wait_log("worker 0 goes on with the old program: both its keepers had died at once")
        proxy.wait_log("upgrade: done: .* 0 of 1 workers")
        talk(c)
        assert all(os.path.exists(f"/proc/{pid}") for pid in members)
        assert ask(port, b"new") == b"new"


def test_a_missing_program_changes_nothing(start, service):
    port = free_port()
    proxy = start("-b", port, service().spelt)
    os.rename(proxy.directory.program, proxy.directory.program + ".kept")
    proxy.signal(signal.SIGUSR2)
    proxy.wait_log("upgrade: .*nothing has changed")
    os.rename(proxy.directory.program + ".kept", proxy.directory.program)
    assert ask(port, b"x") == b"x"


@pytest.mark.parametrize("what", ["exit 3", "kill -SEGV $$", "echo READY"])
def test_a_program_that_ends_instead_of_serving_changes_nothing(start, service, what):
    """It passes --check, and is tried as it would serve, too."""
    port = free_port()
    proxy = start("-b", port, service().spelt)
    before = proxy.wait_whole()
    with connect(port) as c:
        talk(c)
        replace(proxy, f'#!/bin/sh\n[ "$1" = --check ] && exec REAL "$@"\n{what}\n')
        proxy.signal(signal.SIGUSR2)
        proxy.wait_log("upgrade: .* ends instead of serving.*: nothing has changed")
        talk(c)
    os.rename(f"{proxy.directory.program}.kept", proxy.directory.program)
    wait_for(lambda: proxy.whole() == before, "the same processes")
    assert ask(port, b"x") == b"x"


@pytest.mark.parametrize("before", ["", '[ "$1" = --check ] && exec REAL "$@"'], ids=["check", "rehearsal"])
def test_a_stop_ends_a_trial(start, service, directory, before):
    port = free_port()
    proxy = start("-b", port, service().spelt)
    os.chmod(directory.path, 0o777)  # the service user tells its pid
    replace(proxy, f"#!/bin/sh\n{before}\necho $$ >{directory.path}/pid\nexec sleep 60\n")
    proxy.signal(signal.SIGUSR2)
    told = directory / "pid"
    wait_for(lambda: os.path.exists(told) and open(told).read(), "the trial begins")
    proxy.signal(signal.SIGTERM)
    proxy.wait_exit()
    wait_for(lambda: not processes.alive(int(open(told).read())), "the trial ends")


@pytest.fixture
def rolled_back(start, service):
    """rolled_back(...): after an upgrade that was rolled back: the proxy that goes on, its client, and its supervisor
    now."""
    def make(port, *argv, **more):
        proxy = start("-b", port, *argv, service().spelt, **more)
        client = connect(port)
        talk(client)
        supervisor = roll_back(proxy)
        talk(client)
        # a child has its name until it says what it is
        wait_for(lambda: [p for p, title in proxy.everybody().items() if title == "tcpproxy: supervisor"] == [supervisor],
                 "one supervisor")
        return proxy, client, supervisor
    return make


def test_a_program_that_dies_after_its_trials_is_rolled_back(rolled_back):
    """The old program goes on, and so do the connections."""
    port = free_port()
    proxy, client, supervisor = rolled_back(port)
    assert ask(port, b"new") == b"new"
    os.kill(supervisor, signal.SIGTERM)
    wait_for(lambda: not proxy.everybody(), "all of it ends", 5)
    wait_for(lambda: refused(port), "the port refuses")
    client.close()


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_the_pidfile_names_the_process_that_goes_on(rolled_back, directory):
    """A process that has died does not come back; scripts find the other one, in a directory of root's, too."""
    private = directory / "private"
    os.mkdir(private, 0o700)
    proxy, client, supervisor = rolled_back(free_port(), "-p", f"{private}/pid")
    assert supervisor != proxy.pid
    wait_for(lambda: open(f"{private}/pid").read() == f"{supervisor}\n", "its number in the file")
    os.kill(supervisor, signal.SIGTERM)
    wait_for(lambda: not proxy.everybody(), "all of it ends", 5)
    assert not os.path.exists(f"{private}/pid")
    client.close()


def test_a_stop_in_the_middle(start, service):
    """Whoever has become whom: TERM ends all of it, and nobody comes back."""
    server = service().spelt
    for n in range(12):
        port = free_port()
        proxy = start("-b", port, server)
        with connect(port) as c:
            talk(c)
            proxy.expect_deaths()
            proxy.signal(signal.SIGUSR2)
            if n % 3:
                wait_for(lambda: "upgrade: becoming" in proxy.log(), "the new program begins")
                time.sleep(random.uniform(0, 0.03))
            proxy.signal(signal.SIGTERM)
            assert proxy.wait_exit() == 0
            wait_for(lambda: not proxy.everybody(), f"all of it ends: {proxy.everybody()}")
            wait_for(lambda: refused(port), "the port refuses")


@pytest.mark.parametrize("kind", ["tcp4", "unix"])
def test_transfers_go_on_through_many_upgrades(relay, kind):
    r = relay(kind=kind)
    stop, enough = threading.Event(), threading.Event()
    done = []

    def upgrader():
        while not stop.is_set():
            replace(r.proxy)
            upgrade(r.proxy, len(done) + 1)
            done.append(True)
            if len(done) == 3:
                enough.set()
    n = 2 * MIB
    pairs = [r.pair() for _ in range(10)]
    thread = threading.Thread(target=upgrader)
    thread.start()
    try:
        exchange_slowly(pairs, n, 0.02, enough)
    finally:
        stop.set()
        thread.join()
    r.proxy.wait_whole()
    assert all(rec.up == rec.down == n for rec in r.proxy.wait_records(10))


def test_handlers_survive(start, directory):
    port = free_port()
    proxy = start("-b", port, directory.script("handler", "echo here; read x; echo woe >&2; echo bye $x"))
    with connect(port) as s:
        assert read_exactly(s, 5) == b"here\n"
        upgrade(proxy)
        s.sendall(b"me\n")
        assert read_all(s) == b"bye me\n"
    proxy.wait_log("woe")  # said by a program of the spawner before
    assert ask(port, b"you\n") == b"here\nbye you\n"


def test_a_handler_s_time_limit_goes_on_counting(start, directory):
    port = free_port()
    proxy = start("-b", port, "-t", "1.5", directory.script("handler", "echo $$; exec sleep 60"))
    with connect(port) as s:
        pid = int(s.makefile().readline())
        upgrade(proxy)
        assert is_reset(s)
        wait_for(lambda: not processes.alive(pid), "the program is ended")
    assert proxy.wait_record().end == "idle-timeout"


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_what_only_root_could_do_is_still_done(start, service, directory):
    """A private file is read, the pidfile goes at exit, a log in root's directory is opened again, a low port can be
    added."""
    os.chmod(directory.path, 0o755)
    private = directory / "private"
    os.mkdir(private)
    port, low, target = free_port(), 733, service()
    text = f"pidfile {private}/pid\nlog file:{private}/log\nport {port}\nserver {target.spelt}\n"
    proxy = start(config=text, log="stderr.log")
    os.chmod(private, 0o700)
    os.chmod(proxy.config_path, 0o600)
    proxy.expect_deaths()
    proxy.signal(signal.SIGUSR2)
    log = f"{private}/log"
    wait_for(lambda: "upgrade: done" in open(log).read(), "the upgrade is done", 10)
    os.rename(log, log + ".1")
    proxy.signal(signal.SIGUSR1)
    wait_for(lambda: os.path.exists(log), "a new log")
    assert ask(port, b"x") == b"x"
    wait_for(lambda: "close id=" in open(log).read(), "the new log is written")
    proxy.rewrite(text + f"port {low}\nserver {target.spelt}\n")
    proxy.signal(signal.SIGHUP)
    wait_for(lambda: not refused(low), "the low port is served")
    assert open(f"{private}/pid").read() == f"{proxy.pid}\n"
    proxy.stop()
    assert not os.path.exists(f"{private}/pid")


def test_any_one_may_be_killed_in_the_middle(start, service):
    port = free_port()
    proxy = start("-b", port, service().spelt)
    clients = [connect(port) for _ in range(10)]
    order = random.Random(17)
    proxy.expect_deaths()
    for i in range(15):
        proxy.signal(signal.SIGUSR2)
        threading.Event().wait(order.uniform(0, 0.06))  # somewhere in it: the instant is the point
        victims = [p for p, title in proxy.everybody().items() if "worker" in title or "keeper" in title]
        with contextlib.suppress(ProcessLookupError):  # it has just been replaced
            os.kill(order.choice(victims), signal.SIGKILL)
        wait_for(lambda: proxy.whole(), f"it is whole again:\n{proxy.log()}", 15)
        wait_for(lambda: proxy.log().count("upgrade: done") == i + 1, "the upgrade has ended", 15)
        for c in clients:
            talk(c)
    assert ask(port, b"new") == b"new"


def test_a_client_whose_access_program_runs_is_let_in(start, service, directory):
    """The spawner that started it gives the answer, though another one starts the next."""
    port = free_port()
    acp = directory.script("acp", f"echo wait; while [ ! -e {directory.path}/go ]; do sleep 0.02; done; echo in")
    proxy = start("-b", port, "-a", acp, service().spelt)
    with connect(port) as s:
        assert read_exactly(s, 5) == b"wait\n"
        upgrade(proxy, 1)
        upgrade(proxy, 2)
        for worker in proxy.workers():  # nor does it matter that a worker dies meanwhile
            with contextlib.suppress(ProcessLookupError):  # one of the upgrade before
                os.kill(worker, signal.SIGKILL)
        proxy.wait_log("worker 0 .* is replaced")
        directory.write("go", "")
        assert read_exactly(s, 3) == b"in\n"
        talk(s)
    assert ask(port, b"x") == b"wait\nin\nx"
    proxy.wait_whole()
