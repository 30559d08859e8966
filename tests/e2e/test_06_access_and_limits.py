"""Who is let in, and how many."""
import signal
import socket

import pytest

from lib import processes
from lib.peers import answer, connect, gets_reset, is_reset, read_exactly, say, talk
from lib.ports import free_port
from lib.waiting import PATIENCE, wait_for


@pytest.fixture
def guarded(start, server, service):
    """guarded(directives): the port of a service with these; `guarded.target` must stay idle when denied."""
    def make(directives, prologue=""):
        port = free_port()
        make.target = service()
        make.proxy = start(config=f"{prologue}\nport {port}\nserver {make.target.spelt}\n{directives}\n")
        return port
    return make


def let_in(port, source, host="127.0.0.1"):
    try:
        with connect(port, host, source=source) as s:
            s.sendall(b"hello")
            return s.recv(5) == b"hello"
    except (ConnectionResetError, BrokenPipeError):
        return False


# -- allow and deny


@pytest.mark.parametrize("rules, admitted, denied", [
    ("", ["127.0.0.1", "127.9.9.9"], []),
    ("allow 127.0.0.0/24", ["127.0.0.1", "127.0.0.200"], ["127.0.1.1"]),
    ("deny 127.0.0.0/24", ["127.0.1.1"], ["127.0.0.1"]),
    ("deny 127.0.0.7\nallow 127.0.0.0/24", ["127.0.0.1"], ["127.0.0.7", "127.0.1.1"]),
    ("allow 127.0.0.7\ndeny 127.0.0.0/24\nallow all", ["127.0.0.7", "127.0.1.1"], ["127.0.0.1"]),
    ("allow 127.0.0.7 127.0.0.8", ["127.0.0.7", "127.0.0.8"], ["127.0.0.9"]),
    ("deny all", [], ["127.0.0.1"]),
    ("allow 127.0.0.128/25", ["127.0.0.128", "127.0.0.255"], ["127.0.0.127"]),
])
def test_the_first_match_decides(guarded, rules, admitted, denied):
    port = guarded(rules)
    for source in admitted:
        assert let_in(port, source), source
    for source in denied:
        assert not let_in(port, source), source
    assert guarded.target.served == len(admitted), "no server hears of those who are not let in"


def test_ipv6_clients_have_rules_of_their_own(guarded):
    port = guarded("deny ::1\nallow all")
    assert let_in(port, "127.0.0.1")
    assert not let_in(port, "::1", "::1")


def test_an_ipv4_client_of_a_dual_stack_socket_is_an_ipv4_client(guarded):
    """Never ::ffff:127.0.0.7, to which no rule would apply."""
    port = guarded("deny 127.0.0.7\nallow all")
    assert not let_in(port, "127.0.0.7")
    assert guarded.proxy.wait_record()["client"].startswith("127.0.0.7:")


def test_a_list_in_a_file(guarded, directory):
    directory.write("friends", "# friends\n127.0.0.7\n\n127.0.1.0/24  # a network\n::1\n")
    port = guarded("allow file:friends")
    assert let_in(port, "127.0.0.7") and let_in(port, "127.0.1.9") and let_in(port, "::1", "::1")
    assert not let_in(port, "127.0.0.8")


def test_a_denied_client_is_reset_and_recorded(guarded):
    port = guarded("deny all")
    assert gets_reset(port)
    record = guarded.proxy.wait_record()
    assert (record.end, record["server"], record["connect"], record.up, record.down) == ("denied", "-", "-", 0, 0)


def test_who_is_refused_is_counted_by_the_reason_that_the_record_says(guarded, admin):
    port = guarded("deny 127.0.0.7\nallow all\nmax-connections 1", admin.line)
    assert not let_in(port, "127.0.0.7") and not let_in(port, "127.0.0.7")
    with connect(port) as s:
        talk(s)
        assert gets_reset(port)
        guarded.proxy.kill_workers()
        assert gets_reset(port, source="127.0.0.7")
        assert sorted(r["why"] for r in guarded.proxy.wait_records(4)) == ["deny"] * 3 + ["max-connections"]
        assert admin.metric("tcpproxy_refused_total", service=str(port), why="deny") == 3
        assert admin.metric("tcpproxy_refused_total", service=str(port), why="max-connections") == 1
        assert admin.metric("tcpproxy_refused_total", service=str(port), why="no-allow") is None


def test_refused_clients_leave_no_descriptor(guarded):
    port = guarded("deny all")
    assert gets_reset(port)

    def descriptors():
        return {pid: len(processes.descriptors(pid)) for pid in guarded.proxy.pids()}
    before = descriptors()
    for _ in range(300):
        assert gets_reset(port)
    guarded.proxy.wait_records(301)
    wait_for(lambda: descriptors() == before, f"as many descriptors as before: {before}, not {descriptors()}")


# -- limits


def hold(port, n, **more):
    """n clients that are being served."""
    clients = []
    for _ in range(n):
        s = connect(port, **more)
        s.sendall(b"x")
        assert read_exactly(s, 1) == b"x"
        clients.append(s)
    return clients


def beyond(port, **more):
    try:
        s = connect(port, **more)
        s.sendall(b"x")
        return is_reset(s)
    except (ConnectionResetError, BrokenPipeError):
        return True


def test_max_connections_of_a_service(guarded):
    port = guarded("max-connections 4")
    clients = hold(port, 4)
    assert beyond(port) and beyond(port, source="127.0.0.9")
    assert [r.end for r in guarded.proxy.wait_records(2)] == ["limit", "limit"]
    clients.pop().close()
    wait_for(lambda: let_in(port, None), "room for one")
    for c in clients:
        c.close()


def test_max_connections_of_all(guarded):
    port = guarded("", prologue="max-connections 4")
    clients = hold(port, 4)
    try:
        assert beyond(port)
    finally:
        for c in clients:
            c.close()
    wait_for(lambda: let_in(port, None), "room again")


def test_max_connections_per_client(guarded):
    port = guarded("max-connections-per-client 2")
    clients = hold(port, 2, source="127.0.0.7") + hold(port, 2, source="127.0.0.8")
    assert beyond(port, source="127.0.0.7") and beyond(port, source="127.0.0.8")
    clients.pop(0).close()
    wait_for(lambda: let_in(port, "127.0.0.7"), "room for one of 127.0.0.7")
    assert beyond(port, source="127.0.0.8")
    for c in clients:
        c.close()


@pytest.mark.parametrize("spelt", ["max-connections {}", "max-connections-per-client {}", "max={}"])
def test_a_reload_changes_limits_and_counts_who_is_there(start, service, spelt):
    port, told = free_port(), free_port()
    target, marks = service().spelt, {}

    def config(n):
        mark = marks.setdefault(n, service(say(f"{n}")))
        limit = spelt.format(n) if n else ""
        return (f"workers 1\nport {told}\nserver {mark.spelt}\n"
                f"port {port}\nserver {target} {limit if '=' in limit else ''}\n{'' if '=' in limit else limit}\n")

    def reload(n):
        proxy.rewrite(config(n))
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: answer(told) == f"{n}".encode(), f"the limit {n} is in force")
    proxy = start(config=config(2))
    clients = hold(port, 2)
    assert beyond(port)
    reload(1)
    clients.pop().close()
    proxy.wait_log("close id=.* port=%s .* end=client-fin" % port)
    assert beyond(port), "one of one is left"
    reload(2)
    clients += hold(port, 1)
    reload(0)  # none
    clients += hold(port, 3)
    reload(6)
    clients += hold(port, 1)
    assert beyond(port), "six are there"
    for c in clients:
        c.close()


def test_out_of_descriptors_clients_wait_and_nothing_spins(start, service):
    """As many as there are places for are served, the others when there is room again; nobody is refused."""
    port = free_port()
    proxy = start("-b", port, "-o", "workers 1", service().spelt, wrap=["prlimit", "--nofile=120:120"])
    clients = [connect(port) for _ in range(60)]
    proxy.wait_log("accepting connections: all [0-9]+ places of this worker are taken")
    served = int(proxy.wait_log("all ([0-9]+) places")[1])
    assert 5 < served < 40
    for c in clients[:served]:
        talk(c)
    before = sum(processes.cpu_seconds(pid) for pid in proxy.workers())
    clients[served].settimeout(1)
    clients[served].sendall(b"x")
    with pytest.raises(TimeoutError):
        clients[served].recv(1)
    assert sum(processes.cpu_seconds(pid) for pid in proxy.workers()) - before < 0.2
    talk(clients[0])
    clients[served].settimeout(PATIENCE)
    for c in clients[:served]:
        c.close()
    assert clients[served].recv(1) == b"x"
    for c in clients[served:]:
        talk(c)
        c.close()
    proxy.wait_records(60)
    assert proxy.log().count("places of this worker are taken") < 5


def test_limits_are_given_back_by_every_way_to_end(guarded):
    """FIN, reset, and a server that is gone: 50 times more clients than the limit."""
    port = guarded("max-connections-per-client 3\nmax-connections 3")
    for i in range(150):
        with connect(port) as s:
            s.sendall(b"x")
            try:
                got = s.recv(1)
            except ConnectionResetError:
                got = b""
            if i % 3 == 0:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wait_for(lambda: len(guarded.proxy.records()) >= i + 1, "its record")
        assert got == b"x", f"client {i}"
