"""Several server lines make a pool."""
import time
from collections import Counter

import pytest

from lib.peers import answer, connect, gets_reset, read_all, read_exactly
from lib.ports import free_port
from lib.waiting import wait_for


@pytest.fixture
def named(service):
    def make(text, **more):
        return service(lambda s: s.sendall(text.encode()), **more).spelt
    return make


@pytest.fixture
def held(service):
    """held(text): says its name, and ends when the client does."""
    def make(text):
        return service(lambda s: (s.sendall(text.encode()), read_all(s))).spelt
    return make


@pytest.fixture
def pool(start):
    """pool(line...): the port of a service with these server lines."""
    def make(*lines, more=""):
        port = free_port()
        make.proxy = start(config=f"{more}\nport {port}\n" + "".join(f"server {line}\n" for line in lines))
        return port
    return make


def counted(port, n):
    return Counter(answer(port).decode() for _ in range(n))


def about(n):
    """Each worker counts for itself."""
    return pytest.approx(n, abs=3)


def test_round_robin_by_default(pool, named):
    assert counted(pool(named("a"), named("b"), named("c")), 60) == {"a": about(20), "b": about(20), "c": about(20)}


def test_weights(pool, named):
    assert counted(pool(named("a") + " weight=3", named("b")), 40) == {"a": about(30), "b": about(10)}


def test_servers_of_all_kinds_in_one_pool(pool, named):
    counts = counted(pool(named("a"), named("b", kind="unix"), named("c", kind="tcp6")), 30)
    assert counts == {"a": about(10), "b": about(10), "c": about(10)}


def test_a_program_serves_alone(directory):
    path = directory.write("tcpproxy.conf", "port 8025\nserver 127.0.0.1:25\nexec /bin/cat\n")
    run = directory.run("-C", "-f", path)
    assert run.returncode == 1 and f"{path}:3:1: " in run.stderr


def test_a_disabled_server_gets_nobody(pool, named):
    assert counted(pool(named("a"), named("b") + " disabled"), 20) == {"a": 20}


def test_a_pool_of_disabled_servers_resets(pool, named):
    assert gets_reset(pool(named("a") + " disabled"))


def test_a_backup_is_used_only_when_all_others_fail(pool, named):
    closed = f"127.0.0.1:{free_port()}"
    assert counted(pool(named("a"), named("b") + " backup", closed), 20) == {"a": 20}
    assert counted(pool(closed, named("b") + " backup"), 20) == {"b": 20}


def test_the_next_server_is_tried_when_one_refuses(pool, named):
    port = pool(f"127.0.0.1:{free_port()}", f"127.0.0.2:{free_port()}", named("a"), "unix:/no/such/socket")
    assert counted(port, 20) == {"a": 20}
    assert {r.end for r in pool.proxy.wait_records(20)} == {"server-fin"}


def test_one_that_failed_is_tried_last_for_a_while(pool, service, server):
    """A server that is too slow to answer costs its connect-timeout once, not for every client."""
    stuck = server(backlog=0)
    fillers = []
    while len(fillers) < 8:
        try:
            fillers.append(connect(stuck.port, timeout=0.2))
        except TimeoutError:
            break
    port = pool(stuck.spelt, service(lambda s: s.sendall(b"a")).spelt, more="connect-timeout 0.5\nworkers 1")
    begin = time.monotonic()
    assert counted(port, 20) == {"a": 20}
    assert time.monotonic() - begin < 4  # half a second each would be ten


def test_the_next_address_of_a_name_is_tried(start, named, names):
    port = free_port()
    target = named("a", host="127.0.0.3")
    names.add("mail.test", "127.0.0.4", "127.0.0.3")
    start(config=f"resolver {names.spelt}\nport {port}\nserver mail.test:{target.rpartition(':')[2]}\n")
    for _ in range(10):
        assert answer(port) == b"a"


def test_all_servers_refuse_and_the_client_is_reset(pool):
    port = pool(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
    assert gets_reset(port)
    assert pool.proxy.wait_record().end == "connect-failed"


def test_max_is_kept_over_all_workers(pool, held):
    port = pool(held("a") + " max=2", held("b") + " max=3")
    clients = [connect(port) for _ in range(5)]
    assert Counter(read_exactly(c, 1) for c in clients) == {b"a": 2, b"b": 3}
    assert gets_reset(port), "all are at their maximum"
    clients[0].close()
    wait_for(lambda: not gets_reset_quickly(port), "room for one again")
    for c in clients[1:]:
        c.close()


def gets_reset_quickly(port):
    try:
        with connect(port) as s:
            return not s.recv(1)
    except ConnectionResetError:
        return True


def test_a_backup_takes_what_is_beyond_max(pool, held):
    port = pool(held("a") + " max=1", held("b") + " backup")
    first = connect(port)
    assert read_exactly(first, 1) == b"a"
    second = connect(port)
    assert read_exactly(second, 1) == b"b"
    first.close()
    second.close()


def test_the_record_names_the_server_that_served(pool, named):
    target = named("a")
    port = pool(f"127.0.0.1:{free_port()}", target)
    assert answer(port) == b"a"
    assert pool.proxy.wait_record()["server"] == target
