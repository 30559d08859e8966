"""kill -9 of any one of our processes costs no established connection and no byte."""
import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest

from lib import build, processes
from lib.peers import (MIB, answer, ask, connect, exchange_slowly, fin, is_reset, read_all, read_exactly, refused,
                       talk)
from lib.ports import free_port, listening
from lib.proxy import ROOT
from lib.waiting import PATIENCE, outlast_fuser, wait_for

REPLACED_WITHIN = 4.0


def kill(proxy, *pids):
    proxy.expect_deaths()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it may end with the one before
            os.kill(pid, signal.SIGKILL)


def wait_replaced(proxy, *pids, timeout=PATIENCE):
    """The tree is whole again, without those."""
    def whole():
        tree = proxy.whole()
        return tree and not set(pids) & {p for members in tree.values() for p in members}
    wait_for(whole, f"a whole tree without {pids}, not {proxy.tree()}\n{proxy.log()}", timeout)


@pytest.fixture
def echoing(start, service):
    """The port of an echo, and its proxy."""
    port = free_port()
    proxy = start("-b", port, "-o", "workers 2", service().spelt)
    return port, proxy


@pytest.mark.skipif(build.is_sanitized() or not shutil.which("cc"), reason="needs a plain build and a compiler")
def test_a_worker_that_cannot_wait_for_events_is_replaced(start, service, directory):
    port, broken = free_port(), directory / "broken_wait.so"
    source = os.path.join(ROOT, "tests", "lib", "broken_wait.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", broken, source, "-ldl"], check=True)
    proxy = start("-b", port, "-o", "workers 1", service().spelt, env={"LD_PRELOAD": broken})
    proxy.expect_deaths()
    client = connect(port)
    for _ in range(300):
        talk(client)
    proxy.wait_log("waiting for events: Cannot allocate memory")
    proxy.wait_log("worker 0 .* killed by signal 6 .* replaced")


ROLES = ["worker 0", "worker 1", "keeper 0", "keeper 1", "spawner"]


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_process_is_replaced_and_nobody_notices(echoing, role):
    port, proxy = echoing
    clients = [connect(port) for _ in range(20)]
    for c in clients:
        talk(c)
    victim = proxy.role(role)[0]
    kill(proxy, victim)
    for c in clients:
        talk(c, b"during")
    assert ask(port, b"new") == b"new"
    wait_replaced(proxy, victim, timeout=REPLACED_WITHIN)
    for c in clients:
        talk(c, b"after")
        c.close()
    proxy.wait_records(21)
    assert {r.end for r in proxy.records()} == {"client-fin"}


def test_either_keeper_may_go(echoing):
    port, proxy = echoing
    client = connect(port)
    for i in (0, 1, 0, 1):
        victim = proxy.role("keeper 0")[i]
        kill(proxy, victim)
        wait_replaced(proxy, victim)
        talk(client)


@pytest.mark.parametrize("victim", ["worker", "other keeper"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_keeper_that_is_stopped_keeps_nobody_waiting(start, service, which, victim):
    """By a debugger, a freezer, SIGSTOP: it is not dead, and replaces nobody. Whichever of the two has that to do."""
    port = free_port()
    proxy = start("-b", port, "-o", "workers 1", service().spelt)
    client = connect(port)
    talk(client)
    keepers = proxy.keepers()
    os.kill(keepers[which], signal.SIGSTOP)
    dies = proxy.workers()[0] if victim == "worker" else keepers[1 - which]
    kill(proxy, dies)
    wait_replaced(proxy, dies, timeout=REPLACED_WITHIN)
    kill(proxy, *proxy.workers())
    talk(client)
    assert ask(port, b"new") == b"new"
    # one that had nothing to do may still be stopped
    for pid in set(keepers) & set(proxy.keepers()):
        os.kill(pid, signal.SIGCONT)
    proxy.born = proxy.wait_whole()


@pytest.mark.parametrize("pair", [("worker 0", "keeper 0"), ("keeper 0", "keeper 0"), ("worker 0", "worker 1"),
                                  ("worker 1", "spawner")], ids=" and ".join)
def test_two_at_once_may_go(echoing, pair):
    """Any two of a trio, or one of each of two."""
    port, proxy = echoing
    clients = [connect(port) for _ in range(20)]
    for c in clients:
        talk(c)
    tree = proxy.tree()
    victims = []
    for role in pair:
        victims.append(next(p for p in tree[f"tcpproxy: {role}"] if p not in victims))
    kill(proxy, *victims)
    wait_replaced(proxy, *victims)
    for c in clients:
        talk(c)
    assert ask(port, b"new") == b"new"


def test_the_supervisor_may_go_and_relaying_goes_on(echoing, directory):
    port, proxy = echoing
    client = connect(port)
    talk(client)
    kill(proxy, proxy.pid)
    proxy.process.wait()
    outlast_fuser()
    talk(client)
    assert ask(port, b"new") == b"new"
    worker = proxy.workers()[0]
    kill(proxy, worker)
    wait_for(lambda: worker not in proxy.workers() and len(proxy.workers()) == 2, "its successor")
    talk(client)
    proxy.kill()


@pytest.mark.parametrize("kind", ["tcp4", "tcp6", "unix"])
def test_not_a_byte_is_lost_while_workers_die(relay, kind, repeat):
    """Ten transfers both ways, while the workers are killed one after the other; every byte and FIN is checked."""
    r = relay(kind=kind)
    stop = threading.Event()
    r.proxy.expect_deaths()

    def killer():
        order = random.Random(17)
        while not stop.is_set():
            victims = r.proxy.workers()
            if victims:
                try:
                    os.kill(order.choice(victims), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            stop.wait(0.1)
    n = 3 * MIB
    pairs = [r.pair() for _ in range(10)]
    thread = threading.Thread(target=killer)
    thread.start()
    try:
        exchange_slowly(pairs, n, 0.01)
    finally:
        stop.set()
        thread.join()
    r.proxy.wait_whole()
    assert len(r.proxy.wait_records(10)) == 10
    assert all(rec.up == rec.down == n for rec in r.proxy.records())


def test_ends_are_told_after_a_death(relay):
    """A FIN that had passed is not told twice; one that comes later is told."""
    r = relay()
    client, server = r.pair()
    client.sendall(b"request")
    client.shutdown(1)
    assert read_all(server) == b"request"
    victims = r.proxy.workers()
    kill(r.proxy, *victims)
    wait_replaced(r.proxy, *victims)
    server.sendall(b"answer")
    server.close()
    assert read_all(client) == b"answer"


def test_handlers_outlive_workers_and_spawner(start, directory):
    port = free_port()
    proxy = start("-b", port, directory.script("handler", "echo here; read x; echo bye $x"))
    with connect(port) as s:
        assert read_exactly(s, 5) == b"here\n"
        victims = [*proxy.workers(), *proxy.role("spawner")]
        kill(proxy, *victims)
        wait_replaced(proxy, *victims)
        s.sendall(b"me\n")
        assert read_all(s) == b"bye me\n"
    assert ask(port, b"you\n") == b"here\nbye you\n"


def test_no_client_is_refused_while_workers_die(echoing):
    port, proxy = echoing
    end = time.monotonic() + 2
    last = 0.0
    while time.monotonic() < end:
        if time.monotonic() - last > 0.2:
            kill(proxy, *proxy.workers()[:1])
            last = time.monotonic()
        assert ask(port, b"hello") == b"hello"


def test_after_many_deaths_it_still_stops_clean(echoing):
    port, proxy = echoing
    for _ in range(5):
        for role in ("worker 0", "keeper 0", "spawner", "keeper 1", "worker 1"):
            victims = proxy.role(role)[:1]
            kill(proxy, *victims)
            wait_replaced(proxy, *victims)
    assert ask(port, b"hello") == b"hello"
    proxy.stop()


def test_limits_are_right_after_a_death(start, service):
    """What a dead worker had counted is given back when its clients end."""
    port = free_port()
    proxy = start("-b", port, "-o", "max-connections 4", service().spelt)
    clients = [connect(port) for _ in range(4)]
    for c in clients:
        talk(c)
    victims = proxy.workers()
    kill(proxy, *victims)
    wait_replaced(proxy, *victims)
    for c in clients:
        talk(c)
        c.close()

    def another():
        c = connect(port)
        try:
            talk(c)
        except (ConnectionResetError, BrokenPipeError):
            return None
        return c
    for c in [wait_for(another, "room for one") for _ in range(4)]:
        c.close()


def test_limits_are_right_after_all_three_have_died(start, service):
    """Their connections are lost, and count no more."""
    port = free_port()
    proxy = start("-b", port, "-o", "workers 1", "-o", "max-connections 1", service().spelt)
    client = connect(port)
    talk(client)
    members = proxy.workers() + proxy.keepers()
    for pid in members:
        os.kill(pid, signal.SIGSTOP)
    kill(proxy, *members)
    wait_replaced(proxy, *members)
    client.close()
    assert ask(port, b"another") == b"another"


# -- but who means all of us, gets all of us


@pytest.mark.parametrize("round", range(10))
def test_fuser_k_leaves_nothing_that_serves_the_port(start, service, round):
    port = free_port()
    proxy = start("-b", port, service().spelt)
    ports = subprocess.run([proxy.directory.program, "-z", *proxy.argv], capture_output=True, text=True).stdout.split()
    assert ports == [str(port)]
    clients = [connect(port) for _ in range(round)]
    for c in clients:
        talk(c)
    proxy.expect_deaths()
    subprocess.run(["fuser", "-k", "-n", "tcp", *ports], capture_output=True, timeout=10)
    wait_for(lambda: not listening(port), "nobody listens")
    proxy.wait_gone()
    wait_for(lambda: refused(port), "the port refuses")
    proxy.process.wait()
    for c in clients:
        c.close()


def test_a_killed_group_of_all_our_processes_stays_dead(echoing):
    port, proxy = echoing
    kill(proxy, *proxy.pids())
    proxy.wait_gone()
    wait_for(lambda: refused(port), "the port refuses")  # the last of them may still be closing it
    proxy.process.wait()


def test_a_handler_may_go_on_complaining_when_the_spawner_is_dead(start, directory):
    """Its stderr is read on: no SIGPIPE ends it, and the log has its lines."""
    port = free_port()
    handler = directory.script("handler", "echo ready; read x; echo complaint >&2; echo after $x")
    proxy = start("-b", port, handler)
    with connect(port) as s:
        assert read_exactly(s, 6) == b"ready\n"
        kill(proxy, *proxy.role("spawner"))
        s.sendall(b"all\n")
        assert read_all(s) == b"after all\n"
    proxy.wait_log("complaint")


def kill_spawner(proxy):
    victim = proxy.role("spawner")
    kill(proxy, *victim)
    wait_replaced(proxy, *victim)


def test_programs_of_a_dead_spawner_end_at_a_stop(start, directory):
    """TERM, and 2 s later KILL: as if the spawner had started them that is there now."""
    port = free_port()
    proxy = start("-b", port, directory.script("handler", "trap 'exit 3' TERM\n[ $PROXY_CLIENT = 127.0.0.2 ] && trap '' TERM\n"
                                               "echo $$\nexec <&-\nwhile :; do sleep 0.05; done"))
    with connect(port) as mild, connect(port, source="127.0.0.2") as stubborn:
        pids = [int(s.makefile().readline()) for s in (mild, stubborn)]
        kill_spawner(proxy)
        proxy.signal(signal.SIGTERM)
        wait_for(lambda: not processes.alive(pids[0]), "it obeys TERM", 1.5)
        assert processes.alive(pids[1])
        proxy.wait_exit()
        assert not processes.alive(pids[1])


@pytest.mark.parametrize("n", range(2))
def test_a_stop_right_after_the_death_of_the_spawner(start, directory, n):
    """There is none at that moment, or one that has just begun."""
    port = free_port()
    proxy = start("-b", port, directory.script("handler", "echo $$; exec sleep 60"))
    with connect(port) as s:
        pid = int(s.makefile().readline())
        for i in range(n + 1):  # the second is not replaced at once
            kill(proxy, *wait_for(lambda: proxy.role("spawner"), "a spawner"))
            wait_for(lambda: proxy.log().count("the spawner was killed") > i, "it is dead")
        proxy.signal(signal.SIGTERM)
        proxy.wait_exit()
        wait_for(lambda: not processes.alive(pid), "the program is ended", 1)


def test_a_silent_program_of_a_dead_spawner_meets_its_time_limit(start, directory):
    port = free_port()
    proxy = start("-b", port, "-t", "1.5", directory.script("handler", "echo $$; exec sleep 60"))
    with connect(port) as s:
        pid = int(s.makefile().readline())
        kill_spawner(proxy)
        assert is_reset(s)
        wait_for(lambda: not processes.alive(pid), "the program is ended")
    assert proxy.wait_record().end == "idle-timeout"


def test_an_access_program_of_a_dead_spawner_is_ended(start, service, directory):
    """Its client is denied, so nobody waits for it."""
    port = free_port()
    proxy = start("-b", port, "-a", directory.script("acp", "echo $$; exec sleep 60"), service().spelt)
    with connect(port) as s:
        pid = int(s.makefile().readline())
        kill_spawner(proxy)
        assert read_all(s) == b""
        wait_for(lambda: not processes.alive(pid), "the program is ended")
    assert proxy.wait_record().end == "denied"


# ---- the supervisor dies, and is started again ----

def members(proxy):
    return [*proxy.workers(), *proxy.keepers()]


def test_the_next_supervisor_takes_over_what_a_killed_one_left(start, service):
    port, target = free_port(), service()
    proxy = start("-b", port, target.spelt)
    clients = [connect(port) for _ in range(20)]
    for c in clients:
        talk(c)
    serving = members(proxy)
    proxy.kill_supervisor()
    for c in clients:
        talk(c)
    assert ask(port, b"orphan") == b"orphan"
    proxy.start_again()
    proxy.wait_log("took over .* workers")
    assert members(proxy) == serving, "the same processes serve"
    for c in clients:
        talk(c)
    assert ask(port, b"new") == b"new"
    for c in clients:
        c.close()
    assert {r.end for r in proxy.wait_records(22)} == {"client-fin"}


def test_it_brings_its_own_configuration(start, service):
    """Ports that are gone refuse, new ones are served, established connections go on."""
    kept, gone, fresh = free_port(), free_port(), free_port()
    target, other = service(), service(lambda s: s.sendall(b"other"))
    proxy = start(config=f"port {kept}\nserver {target.spelt}\nport {gone}\nserver {target.spelt}\n")
    clients = [connect(kept), connect(gone)]
    for c in clients:
        talk(c)
    proxy.kill_supervisor()
    proxy.rewrite(f"port {kept}\nserver {other.spelt}\nport {fresh}\nserver {target.spelt}\n")
    proxy.start_again()
    wait_for(lambda: refused(gone), "the port that is gone refuses")
    wait_for(lambda: not refused(fresh), "the new port is served")
    assert ask(fresh, b"x") == b"x"
    wait_for(lambda: ask(kept) == b"other", "the kept port has its new server")
    for c in clients:
        talk(c)


def test_again_and_again_and_then_it_stops(start, service):
    port = free_port()
    proxy = start("-b", port, service().spelt)
    with connect(port) as c:
        for i in range(5):
            talk(c)
            proxy.kill_supervisor()
            proxy.start_again()
            wait_for(lambda: proxy.log().count("took over") == i + 1, "it is taken over")
        talk(c)
        kill(proxy, *proxy.workers())  # they are still replaced
        proxy.wait_whole()
        talk(c)


def test_fuser_still_ends_all_of_it(start, service):
    port = free_port()
    proxy = start("-b", port, service().spelt)
    proxy.kill_supervisor()
    proxy.start_again()
    subprocess.run(["fuser", "-k", "-n", "tcp", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    proxy.wait_gone()
    wait_for(lambda: refused(port), "the port refuses")


def test_a_live_supervisor_keeps_its_ports(start, service, directory):
    port, target = free_port(), service()
    proxy = start("-b", port, target.spelt)
    second = directory.run("-b", port, target.spelt)
    assert second.returncode == 2 and f"port {port}" in second.stderr
    assert ask(port, b"x") == b"x"
    proxy.wait_whole()


def test_handlers_survive_a_new_supervisor(start, directory):
    port = free_port()
    proxy = start("-b", port, directory.script("handler", "echo here; read x; echo woe >&2; echo bye $x"))
    with connect(port) as s:
        assert read_exactly(s, 5) == b"here\n"
        proxy.kill_supervisor()
        proxy._run()
        proxy.wait_log("took over .* workers")
        s.sendall(b"me\n")
        assert read_all(s) == b"bye me\n"
    proxy.wait_whole()  # the old spawner has ended with its last program
    assert ask(port, b"you\n") == b"here\nbye you\n"


def test_a_program_of_the_dead_spawner_ends_with_the_rest(start, directory):
    """TERM ends the programs that were started before the supervisor was killed, too, even stubborn ones."""
    port = free_port()
    proxy = start("-b", port, directory.script("handler", "trap '' TERM\necho $$\nread x\nexec cat"))
    with connect(port) as s:
        pid = int(s.makefile().readline())
        proxy.kill_supervisor()
        proxy._run()
        proxy.wait_log("took over .* workers")
        proxy.stop()
        assert not os.path.exists(f"/proc/{pid}")


def test_a_worker_killed_during_a_graceful_stop(echoing):
    port, proxy = echoing
    clients = [connect(port) for _ in range(20)]
    for c in clients:
        talk(c)
    proxy.signal(signal.SIGQUIT)
    wait_for(lambda: refused(port), "the port refuses")
    for role in ("worker 0", "worker 1"):
        victim = proxy.role(role)[0]
        kill(proxy, victim)
        wait_for(lambda: proxy.role(role) and victim not in proxy.role(role), "another worker")
        for c in clients:
            talk(c, b"after")
    for c in clients:
        c.close()
    assert proxy.process.wait(8) == 0


# ---- no memory

def take_memory(pid):
    """From now on it gets no more than it has."""
    script = ("import os, resource\n"
              f"size = int(open('/proc/{pid}/statm').read().split()[0]) * os.sysconf('SC_PAGE_SIZE')\n"
              f"uid = int(next(l.split()[1] for l in open('/proc/{pid}/status') if l.startswith('Uid:')))\n"
              f"gid = int(next(l.split()[1] for l in open('/proc/{pid}/status') if l.startswith('Gid:')))\n"
              # who is the same user needs no right for this
              f"os.setresgid(gid, gid, gid); os.setresuid(uid, uid, uid)\n"
              f"resource.prlimit({pid}, resource.RLIMIT_AS, (size, size))\n")
    subprocess.run(["/usr/bin/python3", "-c", script], check=True)


@pytest.mark.skipif(build.is_sanitized(), reason="a sanitizer has memory of its own")
def test_a_supervisor_that_finds_no_memory_dies_of_a_signal(start, service, admin):
    """An exit code of 2 would tell systemd that it is no use to start it again. The log knows why it ended."""
    port = free_port()
    proxy = start("-b", port, "-o", admin.option, service().spelt)
    clients = [connect(port) for _ in range(1000)]
    for c in clients:
        talk(c)
    proxy.expect_deaths()
    take_memory(proxy.pid)
    admin.run("connections", "-j")
    assert proxy.wait_exit() == -signal.SIGABRT
    proxy.wait_log(rf"out of memory \(\d+ bytes wanted\): process {proxy.pid} ends itself")
    for c in clients:
        talk(c)
    proxy.start_again()
    proxy.wait_log("took over")
    assert len(admin.connections()) == 1000
    for c in clients:
        c.close()


def oom_score(pid):
    with open(f"/proc/{pid}/oom_score_adj") as f:
        return int(f.read())


@pytest.mark.skipif(os.getuid() != 0, reason="only root may lower it")
def test_when_memory_is_short_programs_go_before_connections(start, directory, admin):
    """Before and after an upgrade. From 700 on down anybody may go; from 0 only who has CAP_SYS_RESOURCE."""
    port = free_port()
    handler = directory.script("handler", "cat /proc/self/oom_score_adj; cat >&2")
    proxy = start("-b", port, "-o", "workers 2", "-o", admin.option, handler,
                  wrap=["choom", "-n", "700", "--"])
    for round in ("started", "upgraded"):
        with connect(port) as s:
            assert read_exactly(s, 4) == b"700\n", round
            scores = {title: {oom_score(p) for p in pids} for title, pids in proxy.tree().items()}
            protected = {title for title, found in scores.items() if found == {200}}
            assert protected == {"tcpproxy: supervisor", "tcpproxy: worker 0", "tcpproxy: worker 1", "tcpproxy: keeper 0",
                                 "tcpproxy: keeper 1"}, (round, scores)
            assert all(found == {700} for title, found in scores.items() if title not in protected), (round, scores)
        if round == "started":
            admin.ask("upgrade")
            proxy.born = proxy.wait_whole()
