"""What our own processes do that have been taken over, or have a fault: planted in a build with -Dfaults=true."""
import re
import time

import pytest

from lib import build, processes
from lib.peers import connect, gets_reset, talk
from lib.ports import free_port
from lib.waiting import wait_for

pytestmark = pytest.mark.skipif(not build.has_faults(), reason="only a build with -Dfaults=true has planted faults")


def test_the_admin_socket_answers_no_member_of_a_trio(start, service, admin):
    """By its session: what a worker or keeper starts is refused, too."""
    proxy = start("-b", free_port(), "-o", admin.option, "-o", "workers 1", service().spelt,
                  env={"TCPPROXY_FAULT_ASKS": admin.path})
    assert proxy.wait_log("tcpproxy: worker 0: a member of a trio has asked: (.*)")[1].startswith("error only root")
    proxy.wait_log(r"refused at the admin socket: pid \d+, which is a worker's or a keeper's")
    assert admin.json("status")["pid"] == proxy.pid


# -- a loop of ours that is woken again and again, and gets nothing done

def idle(pids):
    """None of them takes a processor: over a quarter of a second, less than a tenth of it. pids: who they are now."""
    def quiet():
        now = pids()
        before = sum(processes.cpu_seconds(pid) for pid in now)
        time.sleep(0.25)
        after = sum(processes.cpu_seconds(pid) for pid in now)
        return now and pids() == now and after - before < 0.025  # none of them has been followed by another
    wait_for(quiet, f"{pids()} are quiet")


def told(proxy):
    return re.findall(r"a fault of this program: (.*)", proxy.log())


@pytest.mark.parametrize("what, then", [("ready", "it is not watched any more"),
                                        ("stale", "poll() knows nothing of that.*successor takes up the connections")])
def test_a_worker_that_spins_ends_that(start, service, what, then):
    port = free_port()
    proxy = start("-b", port, "-o", "workers 1", service().spelt, env={"TCPPROXY_WORKER_SPINS": what}, wait=False)
    proxy.wait_log(r"a fault of this program: .*500 turns in a row \(IN")
    assert re.search(re.escape(then).replace(r"\.\*", ".*"), told(proxy)[0])
    clients = [connect(port) for _ in range(5)]
    for c in clients:
        talk(c)
    idle(proxy.workers)
    for c in clients:
        talk(c)
        c.close()
    assert len(told(proxy)) == 1
    assert {r.end for r in proxy.wait_records(5)} == {"client-fin"}
    assert "died" not in proxy.log() and "killed" not in proxy.log()


def test_connections_go_on_when_a_worker_leaves_its_epoll_instance(start, service):
    """It begins to spin when they are there, or, on a busy machine, a little before."""
    port = free_port()
    proxy = start("-b", port, "-o", "workers 1", service().spelt, env={"TCPPROXY_WORKER_SPINS": "stale later"})
    clients = [connect(port) for _ in range(20)]
    for c in clients:
        talk(c)
    wait_for(lambda: told(proxy), "it spins")
    assert "a successor takes up the connections" in told(proxy)[0]
    proxy.wait_whole()
    for c in clients:
        talk(c, b"after")
    idle(proxy.workers)
    for c in clients:
        talk(c, b"still")
        c.close()
    assert {r.end for r in proxy.wait_records(20)} == {"client-fin"}
    proxy.born = proxy.wait_whole()


@pytest.mark.parametrize("what, then", [("ready", "it is not watched any more"), ("stale", "looks 50 times a second")])
def test_so_does_the_supervisor(start, service, admin, what, then):
    proxy = start("-b", free_port(), "-o", admin.option, service().spelt, env={"TCPPROXY_SUPERVISOR_SPINS": what})
    proxy.wait_log("a fault of this program: .*" + then)
    idle(lambda: [proxy.pid])
    assert admin.json("status")["pid"] == proxy.pid
    assert len(told(proxy)) == 1


def test_a_connection_that_spins_is_ended(start, service):
    port = free_port()
    proxy = start("-b", port, "-o", "workers 1", service().spelt, env={"TCPPROXY_ROW_SPINS": "1"})
    assert gets_reset(port)
    assert proxy.wait_record().end == "lost"
    assert re.search(r"a connection's socket, id=1 .*OUT.*the connection is ended", told(proxy)[0])
    idle(proxy.workers)
