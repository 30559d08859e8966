"""USR2 to a program whose shared memory is laid out otherwise, as another version's may be, and back: connections that
can move do, the others end with the old workers."""
import os
import shutil
import signal
import threading

import pytest

from lib import kernel
from lib.peers import MIB, ask, connect, exchange_slowly, fin, read_all, read_exactly, refused, talk
from lib.ports import free_port
from lib.proxy import BINARY
from lib.waiting import wait_for

OTHER = os.environ.get("OTHER_LAYOUT") or BINARY.replace("/build/", "/build-clang/")

pytestmark = pytest.mark.skipif(OTHER == BINARY or not os.path.exists(OTHER),
                                reason="no program of another layout (meson setup -Dmemory_layout=3; OTHER_LAYOUT)")


def install(proxy, program):
    fresh = proxy.directory.program + ".new"
    shutil.copy2(program, fresh)
    os.rename(fresh, proxy.directory.program)


def upgrade(proxy, n, program):
    install(proxy, program)
    proxy.expect_deaths()
    proxy.signal(signal.SIGUSR2)
    wait_for(lambda: proxy.log().count("upgrade: done") >= n, f"upgrade {n} is done:\n{proxy.log()}", 15)


def wait_old_gone(proxy, timeout=15):
    wait_for(lambda: not [t for t in proxy.everybody().values() if "retired" in t or "last reader" in t],
             f"the old workers end, not {proxy.everybody()}\n{proxy.log()}", timeout)


def test_there_and_back(start, service):
    port = free_port()
    proxy = start("-b", port, "-o", "workers 2", service().spelt)
    clients = [connect(port) for _ in range(60)]
    for c in clients:
        talk(c)
    for n, program in enumerate([OTHER, BINARY, OTHER], 1):
        upgrade(proxy, n, program)
        for c in clients:
            talk(c)
        assert ask(port, b"new") == b"new"
        wait_old_gone(proxy)
        for c in clients:
            talk(c)
    assert proxy.role("supervisor") == [proxy.pid]
    assert proxy.whole()
    for c in clients:
        c.shutdown(1)
        assert c.recv(1) == b""
    records = proxy.wait_records(63)
    assert len({r["id"] for r in records}) == 63
    assert {r.end for r in records} == {"client-fin"}
    assert sum(r.up == 35 and r.down == 35 for r in records) == 60
    assert {r["rule"] for r in records} == {records[0]["rule"]}


@pytest.mark.parametrize("kind", ["tcp4", "unix"])
def test_transfers_go_on(relay, kind):
    r = relay(kind=kind)
    n = 12 * MIB
    pairs = [r.pair() for _ in range(10)]
    stop, enough = threading.Event(), threading.Event()
    done = []

    def upgrader():
        while not stop.is_set():
            upgrade(r.proxy, len(done) + 1, [OTHER, BINARY][len(done) % 2])
            done.append(True)
            if len(done) == 2:
                enough.set()
            wait_old_gone(r.proxy)
    thread = threading.Thread(target=upgrader)
    thread.start()
    try:
        exchange_slowly(pairs, n, 0.02, enough)
    finally:
        stop.set()
        thread.join()
    assert all(rec.up == rec.down == n for rec in r.proxy.wait_records(10))


def test_a_handler_ends_with_the_old_worker(start, directory):
    port = free_port()
    proxy = start("-b", port, directory.script("handler", "echo here; read x; echo woe >&2; echo bye $x"))
    with connect(port) as s:
        assert read_exactly(s, 5) == b"here\n"
        upgrade(proxy, 1, OTHER)
        assert ask(port, b"you\n") == b"here\nbye you\n"
        assert [t for t in proxy.everybody().values() if "retired" in t]
        s.sendall(b"me\n")
        assert read_all(s) == b"bye me\n"
    wait_old_gone(proxy)
    assert len(proxy.wait_records(2)) == 2
    wait_for(lambda: proxy.log().count("woe") == 2, "what both have said")


def test_a_stop_ends_the_old_ones_too(start, directory):
    port = free_port()
    proxy = start("-b", port, directory.script("handler", "echo here; read x"))
    with connect(port) as s:
        assert read_exactly(s, 5) == b"here\n"
        upgrade(proxy, 1, OTHER)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait_exit() == 0
        wait_for(lambda: not proxy.everybody(), f"all end, not {proxy.everybody()}")
        proxy.wait_records(1)
    assert refused(port)


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_a_process_for_files_of_another_version_is_told_of(start, service, directory):
    private = directory / "private"
    os.mkdir(private, 0o700)
    proxy = start("-b", free_port(), "-p", f"{private}/pid", service().spelt)
    upgrade(proxy, 1, OTHER)
    proxy.stop()
    assert f'{private}/pid: "tcpproxy: files" is still of the version that was started' in proxy.log()
    assert f"cannot remove the pidfile {private}/pid: " in proxy.log()


@pytest.mark.parametrize("who", ["retired worker", "keeper", "worker 1"])
def test_deaths_while_the_old_ones_hand_over(start, service, who):
    port = free_port()
    proxy = start("-b", port, "-o", "workers 2", service().spelt)
    clients = [connect(port) for _ in range(200)]
    for c in clients:
        talk(c)
    stop = threading.Event()

    def kill_often():
        while not stop.is_set():
            for pid in [p for p, t in proxy.everybody().items() if who in t][:1]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            stop.wait(0.02)
    killer = threading.Thread(target=kill_often)
    proxy.expect_deaths()
    if who == "retired worker":
        killer.start()
        upgrade(proxy, 1, OTHER)
    else:
        upgrade(proxy, 1, OTHER)
        killer.start()
    try:
        for c in clients:
            talk(c)
        wait_for(lambda: not [t for t in proxy.everybody().values() if "retired" in t],
                 f"the old workers end:\n{proxy.log()}", 15)
    finally:
        stop.set()
        killer.join()
    for c in clients:
        talk(c)
