"""TERM, INT, QUIT and USR1. (HUP has a chapter of its own.)"""
import os
import signal
import subprocess
import time

import pytest

from lib import kernel, processes
from lib.admin import CTL
from lib.peers import answer, connect, data, is_reset, read_all, read_exactly, refused, talk
from lib.ports import free_port
from lib.proxy import STOPS_WITHIN
from lib.waiting import stays, wait_for


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_TERM_and_INT_stop_it_and_leave_nothing(start, server, number):
    target, port = server(), free_port()
    proxy = start("-b", port, target.spelt)
    clients = [connect(port) for _ in range(20)]
    servers = [target.accept() for _ in clients]
    proxy.signal(number)
    assert proxy.wait_exit() == 0
    proxy.wait_gone()
    assert all(is_reset(s) for s in clients + servers), "what we end, ends with a reset on both sides"
    wait_for(lambda: refused(port), "the port refuses")
    assert [r.end for r in proxy.records()] == ["stopped"] * 20


def test_TERM_ends_programs_and_2_s_later_kills_them(start, directory):
    port = free_port()
    polite = directory.script("polite", "trap 'echo bye; exit' TERM; echo $$; while :; do sleep 0.05; done")
    stubborn = directory.script("stubborn", "trap '' TERM; echo $$; while :; do sleep 0.05; done")
    proxy = start(config=f"port {port}\ninterface 127.0.0.1\nexec {polite}\ninterface 127.0.0.2\nexec {stubborn}\n")
    first, second = connect(port), connect(port, "127.0.0.2")
    pids = [int(s.makefile().readline()) for s in (first, second)]
    begin = time.monotonic()
    proxy.signal(signal.SIGTERM)
    assert proxy.wait_exit() == 0
    assert time.monotonic() - begin < STOPS_WITHIN
    wait_for(lambda: not any(map(processes.alive, pids)), "both programs are gone", 1)


def test_TERM_to_a_process_with_a_thousand_clients_is_quick(start, server):
    target, port = server(backlog=1024), free_port()
    proxy = start("-b", port, target.spelt)
    clients = [connect(port) for _ in range(1000)]
    servers = [target.accept() for _ in clients]
    proxy.stop()
    for s in clients + servers:
        s.close()


def test_QUIT_finishes_what_runs_and_takes_nobody_new(start, service):
    port = free_port()
    proxy = start("-b", port, service().spelt)
    client = connect(port)
    client.sendall(b"a")
    assert read_exactly(client, 1) == b"a"
    proxy.signal(signal.SIGQUIT)
    wait_for(lambda: refused(port), "new clients are refused")
    client.sendall(data(1_000_000)[:100_000])
    assert read_exactly(client, 100_000) == data(100_000)
    stays(lambda: proxy.process.poll() is None, "it runs while there is a client", 0.5)
    client.close()
    assert proxy.wait_exit() == 0
    proxy.wait_gone()
    mine, = [r for r in proxy.wait_records(1) if r.up]
    assert mine.end == "client-fin" and mine.up == mine.down == 100_001


def test_QUIT_without_clients_ends_at_once(start, service):
    proxy = start("-b", free_port(), service().spelt)
    proxy.signal(signal.SIGQUIT)
    assert proxy.wait_exit() == 0
    proxy.wait_gone()


def test_QUIT_waits_for_handlers_too(start, directory):
    port = free_port()
    proxy = start("-b", port, directory.script("handler", "echo hello; read x; echo $x"))
    client = connect(port)
    assert read_exactly(client, 6) == b"hello\n"
    proxy.signal(signal.SIGQUIT)
    wait_for(lambda: refused(port), "new clients are refused")
    client.sendall(b"bye\n")
    assert read_all(client) == b"bye\n"
    assert proxy.wait_exit() == 0


def test_TERM_still_ends_it_after_QUIT(start, server):
    target, port = server(), free_port()
    proxy = start("-b", port, target.spelt)
    client = connect(port)
    s = target.accept()
    proxy.signal(signal.SIGQUIT)
    wait_for(lambda: refused(port), "new clients are refused")
    proxy.signal(signal.SIGTERM)
    assert proxy.wait_exit() == 0
    assert is_reset(client) and is_reset(s)


def test_stop_timeout_bounds_QUIT(start, server):
    target, port = server(), free_port()
    proxy = start("-b", port, "-o", "stop-timeout 300ms", target.spelt)
    client, s = connect(port), target.accept()
    proxy.signal(signal.SIGQUIT)
    assert proxy.wait_exit() == 0
    assert is_reset(client) and is_reset(s)
    assert proxy.wait_record().end == "stopped"


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_USR1_opens_the_log_file_again(start, service, directory):
    """What logrotate does: the file is moved away, then we are told."""
    port, log = free_port(), directory / "access.log"
    proxy = start("-b", port, "-l", f"file:{log}", service(lambda s: s.sendall(b"x")).spelt)
    assert answer(port) == b"x"
    wait_for(lambda: " close id=" in open(log).read(), "the first record")
    os.rename(log, log + ".1")
    proxy.signal(signal.SIGUSR1)
    wait_for(lambda: os.path.exists(log), "a new file")
    assert answer(port) == b"x"
    wait_for(lambda: open(log).read().count(" close id=") == 1, "the second record in the new file")
    assert open(log + ".1").read().count(" close id=") == 1


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_USR1_opens_a_log_file_where_only_root_may_write(start, service, directory):
    os.mkdir(directory / "private", 0o700)
    port, log = free_port(), directory / "private/access.log"
    proxy = start("-b", port, "-l", f"file:{log}", service(lambda s: s.sendall(b"x")).spelt)
    os.rename(log, log + ".1")
    proxy.signal(signal.SIGUSR1)
    wait_for(lambda: os.path.exists(log), "a new file")
    assert answer(port) == b"x"
    wait_for(lambda: " close id=" in open(log).read(), "the record in the new file")


def test_other_signals_to_the_supervisor_do_no_harm(start, service):
    port = free_port()
    proxy = start("-b", port, service().spelt)
    for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT, signal.SIGURG):
        proxy.signal(number)
    with connect(port) as s:
        s.sendall(b"x")
        assert read_exactly(s, 1) == b"x"


@pytest.fixture
def draining(start, service, admin):
    """One client is left after QUIT."""
    port = free_port()
    proxy = start(config=f"{admin.line}workers 1\nport {port}\nserver {service().spelt}\n")
    proxy.port, proxy.client = port, connect(port)
    talk(proxy.client)
    proxy.signal(signal.SIGQUIT)
    wait_for(lambda: refused(port), "new clients are refused")
    yield proxy
    talk(proxy.client)
    proxy.client.close()
    assert proxy.wait_exit() == 0


WHY = "a graceful stop is under way: nothing new is accepted any more"


def test_a_reload_after_QUIT_is_refused(draining, admin):
    """By whomever: it would open ports again that nobody accepts at."""
    assert WHY in admin.refused("reload")
    draining.signal(signal.SIGHUP)
    wait_for(lambda: draining.log().count(f"reload: {WHY}") == 2, "it is said for each")
    assert refused(draining.port) and "is in force" not in draining.log()
    assert admin.json("status")["pid"] == draining.pid


def test_an_upgrade_after_QUIT_is_refused(draining, admin):
    assert WHY in admin.refused("upgrade")
    draining.signal(signal.SIGUSR2)
    wait_for(lambda: draining.log().count(f"upgrade: {WHY}") == 2, "it is said for each")


def test_an_upgrade_that_QUIT_overtakes_is_answered(start, service, admin, directory):
    """The asker hears of it, though the trial went well."""
    port = free_port()
    proxy = start(config=f"{admin.line}workers 1\nport {port}\nserver {service().spelt}\n")
    client = connect(port)
    talk(client)
    real = directory.program + ".real"
    os.rename(directory.program, real)
    directory.script(os.path.basename(directory.program), f"while ! test -e {directory / 'go'}; do sleep 0.02; done; exec {real} \"$@\"")
    asker = subprocess.Popen([CTL, "-s", admin.path, "upgrade"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any("sh" in processes.executable(pid) or "dash" in processes.executable(pid)
                         for pid in processes.children(proxy.pid)), "the trial runs")
    proxy.signal(signal.SIGQUIT)
    wait_for(lambda: refused(port), "new clients are refused")
    directory.write("go", "")
    assert asker.wait(10) == 1 and WHY in asker.stderr.read()
    client.close()
    assert proxy.wait_exit() == 0
