"""Clients that wait: until a server is usable (on-down hold), or until there is a place for them (queue)."""
import os
import re
import signal
import socket
import threading
import time

import pytest

from lib.peers import (Server, Service, connect, echo, gets_reset, is_reset, kill_connection, read_all, read_exactly,
                       say, talk)
from lib.ports import free_port
from lib.waiting import stays, wait_for


@pytest.fixture
def servers():
    """servers(port): a server of the test at this port, by a function; closed in the end."""
    made = []

    def make(port, function=echo):
        made.append(Service(function, port=port))
        return made[-1]
    yield make
    for s in made:
        s.close()


@pytest.fixture
def waiting(start, admin):
    """waiting(line..., workers=2): a service with these lines. waiting.port, waiting.proxy."""
    def make(*lines, workers=2, more=""):
        make.port = free_port()
        make.config = f"{admin.line}workers {workers}\n{more}port {make.port}\n" + "".join(f"{line}\n" for line in lines)
        make.proxy = start(config=make.config)
        return make
    return make


def clients_of(port, n, first=b"hello"):
    """So many, who speak first, and come one after the other."""
    clients = []
    for _ in range(n):
        c = connect(port)
        c.sendall(first)
        clients.append(c)
    return clients


def served(clients, first=b"hello"):
    for c in clients:
        assert read_exactly(c, len(first)) == first
        talk(c)
        c.close()


def done(clients):
    """Each reads what it is told, and ends: whoever is served first."""
    answers = []

    def end(c):
        with c:
            c.settimeout(50)
            answers.append(read_all(c))
    threads = [threading.Thread(target=end, args=(c,)) for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert answers == [b"done"] * len(clients)


CHECKED = ["", "check every=100ms rise=1 fall=1 tcp"]


# -- on-down hold

@pytest.mark.parametrize("check", CHECKED, ids=["unchecked", "checked"])
def test_a_restart_of_the_server_is_not_seen(waiting, servers, admin, check):
    behind = free_port()
    w = waiting(f"server 127.0.0.1:{behind}", "on-down hold 30", check)
    clients = clients_of(w.port, 20)
    admin.wait_connections(20, "state=held")
    servers(behind)
    served(clients)
    records = w.proxy.wait_records(20)
    assert {r.end for r in records} == {"client-fin"} and all(float(r["waited"]) > 0 for r in records)


def test_what_the_client_sent_before_is_all_there(waiting, servers, admin):
    behind = free_port()
    w = waiting(f"server 127.0.0.1:{behind}", "on-down hold 30")
    sent = os.urandom(100_000)
    with connect(w.port) as c:
        sender = threading.Thread(target=lambda: (c.sendall(sent), c.shutdown(socket.SHUT_WR)))
        sender.start()
        admin.wait_connection(state="held")
        stays(admin.connections, "it is there: held, or tried for an instant", 0.3)
        servers(behind)
        assert read_all(c) == sent
        sender.join()


def test_hold_begins_when_all_servers_have_failed(waiting, servers, admin):
    """One of them only; the client gets it, or waits."""
    behind = free_port()
    w = waiting(f"server 127.0.0.1:{free_port()}", f"server 127.0.0.1:{behind}", "on-down hold 30")
    first = servers(behind)
    served(clients_of(w.port, 4))
    first.close()
    clients = clients_of(w.port, 4)
    admin.wait_connections(4, "state=held")
    servers(behind)
    served(clients)


@pytest.mark.parametrize("check", CHECKED, ids=["unchecked", "checked"])
def test_a_client_that_has_waited_its_time_is_reset(waiting, check):
    w = waiting(f"server 127.0.0.1:{free_port()}", "on-down hold 0.5", check)
    began = time.monotonic()
    assert gets_reset(w.port)
    assert time.monotonic() - began >= 0.5
    record = w.proxy.wait_record()
    assert (record.end, record["why"]) == ("no-server", "hold-timeout")
    assert float(record["waited"]) >= 0.4  # trying is not waiting, and each try takes some milliseconds


def test_servers_are_tried_at_a_pace_and_little_is_said(waiting, admin):
    """Not by each client: by the oldest of each worker, after 100, 200, 400, 800, 1000 ms; a message each second."""
    w = waiting(f"server 127.0.0.1:{free_port()}", "on-down hold 3", workers=1)
    clients = clients_of(w.port, 30)
    for c in clients:
        assert is_reset(c)
    records = w.proxy.wait_records(30)
    assert {(r.end, r["why"]) for r in records} == {("no-server", "hold-timeout")}
    failed = re.findall(r"Connection refused, id=(\d+)$", w.proxy.log(), re.M)
    assert len(failed) - len(set(failed)) <= 4  # but for those that found nobody waiting when they came


def test_no_more_are_held_than_allowed(waiting, servers, admin):
    behind = free_port()
    w = waiting(f"server 127.0.0.1:{behind}", "on-down hold 30 max=3")
    clients = clients_of(w.port, 3)
    admin.wait_connections(3, "state=held")
    assert gets_reset(w.port)
    record = w.proxy.wait_record()
    assert (record.end, record["why"]) == ("limit", "queue-full") and "waited" not in record
    assert admin.service(w.port)["waiting"] == 3
    assert admin.metric("tcpproxy_service_waiting", service=str(w.port)) == 3
    servers(behind)
    served(clients)
    wait_for(lambda: admin.service(w.port)["waiting"] == 0, "nobody waits")


def test_held_clients_count_for_their_own_limit_only(waiting, servers, admin):
    behind = free_port()
    w = waiting(f"server 127.0.0.1:{behind}", "on-down hold 30", "max-connections 2", "max-connections-per-client 4")
    clients = clients_of(w.port, 1)
    admin.wait_connections(1, "state=held")
    clients += clients_of(w.port, 3)
    admin.wait_connections(4, "state=held")
    assert gets_reset(w.port)
    assert w.proxy.wait_record()["why"] == "max-connections-per-client"
    servers(behind)
    for a, b in (clients[:2], clients[2:]):
        served([a, b])


def test_a_disabled_pool_holds_until_it_is_enabled(waiting, servers, admin):
    behind = free_port()
    servers(behind)
    w = waiting(f"server 127.0.0.1:{behind} disabled", "on-down hold 30")
    clients = clients_of(w.port, 2)
    admin.wait_connections(2, "state=held")
    admin.ask("enable", f"127.0.0.1:{behind}")
    served(clients)


def test_a_name_that_has_no_address_yet_is_waited_for(waiting, servers, admin, names):
    behind = free_port()
    servers(behind)
    w = waiting(f"server db.test:{behind}", "on-down hold 30", more=f"resolver {names.spelt}\n")
    clients = clients_of(w.port, 2)
    admin.wait_connections(2, "state=held")
    names.add("db.test", "127.0.0.1")
    served(clients)


# -- who goes meanwhile, and who stays

@pytest.fixture(params=["held", "queued"])
def one_waits(request, waiting, servers, admin):
    """One client that waits; one_waits.release() lets it go on."""
    class Scene:
        state = request.param
    s = Scene()
    behind = free_port()
    if s.state == "held":
        w = waiting(f"server 127.0.0.1:{behind}", "on-down hold 30 max=1")
        s.release = lambda: servers(behind)
    else:
        servers(behind)
        w = waiting(f"server 127.0.0.1:{behind} max=1", "queue 30 max=1")
        first = connect(w.port)
        talk(first)
        s.release = first.close
    s.port, s.proxy, s.config = w.port, w.proxy, w.config
    s.client, = clients_of(w.port, 1)
    admin.wait_connections(1, f"state={s.state}")
    return s


def test_a_reset_ends_the_wait_at_once_though_bytes_came_before(one_waits, admin):
    kill_connection(one_waits.client)
    admin.wait_connections(0, f"state={one_waits.state}")
    record = one_waits.proxy.wait_record()
    assert record.end == "client-reset" and float(record["waited"]) > 0
    another = clients_of(one_waits.port, 1)  # max=1: its place is free
    admin.wait_connections(1, f"state={one_waits.state}")
    one_waits.release()
    served(another)


def test_a_fin_does_not_end_the_wait(one_waits, admin):
    it, = admin.wait_connections(1, f"state={one_waits.state}")
    one_waits.client.shutdown(socket.SHUT_WR)
    # a try in between is another state for an instant
    stays(lambda: it["id"] in [c["id"] for c in admin.connections()], "it waits on, longer than any look takes", 0.5)
    admin.wait_connections(1, f"state={one_waits.state}")
    one_waits.release()
    assert read_all(one_waits.client) == b"hello"


def test_kill_resets_who_waits(one_waits, admin):
    it, = admin.wait_connections(1, f"state={one_waits.state}")
    admin.ask("kill", it["id"])
    assert is_reset(one_waits.client)
    record = one_waits.proxy.wait_records(1)[0]
    assert record.end == "killed" and float(record["waited"]) > 0


def test_TERM_resets_who_waits(one_waits):
    one_waits.proxy.signal(signal.SIGTERM)
    assert is_reset(one_waits.client)
    assert one_waits.proxy.wait_exit() == 0


def test_QUIT_serves_who_waits(one_waits):
    one_waits.proxy.signal(signal.SIGQUIT)
    one_waits.proxy.wait_log("graceful stop")
    one_waits.release()
    served([one_waits.client])
    assert one_waits.proxy.wait_exit() == 0


def test_the_death_of_its_worker_ends_no_wait(one_waits, admin):
    one_waits.proxy.kill_workers()
    admin.wait_connections(1, f"state={one_waits.state}")
    assert gets_reset(one_waits.port)  # max=1: it is still counted
    one_waits.release()
    served([one_waits.client])


def test_who_resets_while_there_is_no_worker_is_seen_by_the_next(one_waits, admin):
    workers = one_waits.proxy.workers()
    one_waits.proxy.expect_deaths()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    kill_connection(one_waits.client)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    admin.wait_connections(0, f"state={one_waits.state}")
    one_waits.proxy.wait_whole()


def test_a_reload_ends_no_wait(one_waits, admin):
    admin.ask("reload")
    admin.wait_connections(1, f"state={one_waits.state}")
    one_waits.release()
    served([one_waits.client])


def test_a_reload_without_waiting_ends_it(one_waits, admin):
    lines = [line for line in one_waits.config.splitlines() if not line.startswith(("on-down", "queue"))]
    one_waits.proxy.rewrite("\n".join(lines) + "\n")
    admin.ask("reload")
    assert is_reset(one_waits.client)


def test_a_reload_may_make_place(waiting, servers, admin):
    """Nobody waits any more, but there is nothing to wait for, either."""
    behind = free_port()
    servers(behind)
    w = waiting(f"server 127.0.0.1:{behind} max=1", "queue 50")
    first, = clients_of(w.port, 1)
    admin.wait_connections(1, "state=relay")
    others = clients_of(w.port, 3)
    admin.wait_connections(3, "state=queued")
    w.proxy.rewrite(w.config.replace(" max=1", "").replace("queue 50\n", ""))
    admin.ask("reload")
    served([*others, first])


def test_the_death_of_the_supervisor_ends_no_wait(one_waits):
    one_waits.proxy.kill_supervisor()
    one_waits.proxy.start_again()
    one_waits.release()
    served([one_waits.client])


def test_an_upgrade_ends_no_wait(one_waits, admin):
    one_waits.proxy.expect_deaths()
    admin.ask("upgrade")
    admin.wait_connections(1, f"state={one_waits.state}")
    one_waits.release()
    served([one_waits.client])


# -- queue

class Counting:
    """Servers' function: says that it is there, and notes how many were at the same time. Whose turn it was."""

    def __init__(self, seconds=0.0):
        self.lock, self.now, self.most, self.order, self.seconds = threading.Lock(), 0, 0, [], seconds

    def __call__(self, s):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        name = s.recv(100)
        self.order.append(int(name))
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        s.sendall(b"done")


def test_one_place_for_many_clients(waiting, servers, admin):
    """Never two at once; all are served, first come first served, though two workers have accepted them."""
    behind, counting = free_port(), Counting(0.01)
    servers(behind, counting)
    w = waiting(f"server 127.0.0.1:{behind} max=1", "queue 50")
    first = connect(w.port)
    admin.wait_connection(state="relay")
    clients = []
    for i in range(40):
        clients += clients_of(w.port, 1, b"%d" % i)
        admin.wait_connections(i + 1, "state=queued")
    workers = {c["worker"] for c in admin.connections("state=queued")}
    assert workers == {0, 1}
    first.sendall(b"-1")
    assert read_all(first) == b"done"
    first.close()
    done(clients)
    assert counting.most == 1
    assert counting.order == [-1, *range(40)]


def test_a_burst_of_short_connections_never_exceeds_the_limit(waiting, servers):
    behind, counting = free_port(), Counting()
    servers(behind, counting)
    w = waiting(f"server 127.0.0.1:{behind} max=3", "queue 50")
    failed = []

    def many():
        for i in range(50):
            try:
                with connect(w.port, timeout=50) as c:
                    c.sendall(b"1")
                    assert read_all(c) == b"done"
            except (OSError, AssertionError) as e:
                failed.append(e)
    threads = [threading.Thread(target=many) for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed and counting.most <= 3


def test_the_queue_has_a_length_and_a_time(waiting, servers, admin):
    behind = free_port()
    servers(behind)
    w = waiting(f"server 127.0.0.1:{behind} max=1", "queue 3 max=2")
    with connect(w.port) as first:
        talk(first)
        clients = clients_of(w.port, 2)
        admin.wait_connections(2, "state=queued")
        assert gets_reset(w.port)
        for c in clients:
            assert is_reset(c)
        full, *late = w.proxy.wait_records(3)
        assert (full.end, full["why"]) == ("limit", "queue-full")
        assert {(r.end, r["why"]) for r in late} == {("limit", "queue-timeout")}
        assert all(float(r["waited"]) >= 1 for r in late)
        talk(first)


def test_nobody_waits_for_a_worker_that_is_stopped(waiting, servers, admin):
    """It has the one that came first; the others go on after a second."""
    behind = free_port()
    servers(behind)
    w = waiting(f"server 127.0.0.1:{behind} max=40", "queue 50")
    served_now = clients_of(w.port, 40)
    admin.wait_connections(40, "state=relay")
    clients = clients_of(w.port, 60)
    queue = admin.wait_connections(60, "state=queued")
    first = min(queue, key=lambda c: c["id"])["worker"]

    def there(state, worker, of):
        ports = {int(c["client"].rpartition(":")[2]) for c in admin.connections(f"state={state}")
                 if c["worker"] == worker}
        return [c for c in of if c.getsockname()[1] in ports]
    others, goes = there("queued", 1 - first, clients), there("relay", 1 - first, served_now)[:1]
    assert others and goes
    stopped = w.proxy.role(f"worker {first}")[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        served([*goes, *others])
    finally:
        os.kill(stopped, signal.SIGCONT)
    served([c for c in clients if c not in others])


def test_who_waits_for_a_place_is_told_when_there_is_no_server_any_more(waiting, servers, admin):
    behind, health = free_port(), free_port()
    servers(behind)
    well = servers(health)
    w = waiting(f"server 127.0.0.1:{behind} max=1", "queue 50", f"check every=100ms fall=1 port={health} tcp")
    first, = clients_of(w.port, 1)
    admin.wait_connections(1, "state=relay")
    clients = clients_of(w.port, 3)
    admin.wait_connections(3, "state=queued")
    well.close()
    for c in clients:
        assert is_reset(c)
    assert {r.end for r in w.proxy.wait_records(3)} == {"no-server"}
    served([first])


def test_max_connections_of_a_service(waiting, servers, admin):
    behind = free_port()
    servers(behind)
    w = waiting(f"server 127.0.0.1:{behind}", "max-connections 2", "queue 50")
    first, second = clients_of(w.port, 2)
    admin.wait_connections(2, "state=relay")
    others = []
    for i in range(5):  # one after the other in the line, too, for they are served in this order
        others += clients_of(w.port, 1)
        admin.wait_connections(i + 1, "state=queued")
    served([first])
    admin.wait_connections(4, "state=queued")
    assert len(admin.connections("state=relay")) == 2
    served([second, *others])


def test_max_connections_comes_before_the_access_program(waiting, servers, admin, directory):
    behind, asked = free_port(), directory.write("asked", "", 0o666)
    servers(behind)
    access = directory.script("access", f"echo asked >> {asked}")
    w = waiting(f"server 127.0.0.1:{behind}", f"acp {access}", "max-connections 1", "queue 50")
    first, = clients_of(w.port, 1)
    admin.wait_connections(1, "state=relay")
    second, = clients_of(w.port, 1)
    admin.wait_connections(1, "state=queued")
    assert open(asked).read().count("asked") == 1
    served([first])
    served([second])
    assert open(asked).read().count("asked") == 2


def test_a_limit_of_a_server_comes_behind_the_access_program(waiting, servers, admin, directory):
    behind, asked = free_port(), directory.write("asked", "", 0o666)
    servers(behind, Counting())
    access = directory.script("access", f"echo asked >> {asked}")
    w = waiting(f"server 127.0.0.1:{behind} max=1", f"acp {access}", "queue 50")
    first = connect(w.port)
    admin.wait_connections(1, "state=relay")
    others = clients_of(w.port, 3, b"1")
    admin.wait_connections(3, "state=queued")
    assert open(asked).read().count("asked") == 4
    first.sendall(b"1")
    done([first, *others])


def test_a_backup_is_for_those_whose_time_is_over(waiting, servers, admin):
    one, two = free_port(), free_port()
    servers(one, lambda s: (s.sendall(b"primary"), read_all(s)))
    servers(two, say("backup"))
    w = waiting(f"server 127.0.0.1:{one} max=1", f"server 127.0.0.1:{two} backup", "queue 3")
    first = connect(w.port)
    assert read_exactly(first, 7) == b"primary"
    second = connect(w.port)
    admin.wait_connections(1, "state=queued")
    assert read_all(second) == b"backup"
    third = connect(w.port)
    admin.wait_connections(1, "state=queued")
    first.close()
    assert read_exactly(third, 7) == b"primary"


def test_each_has_a_time_of_its_own(waiting, servers, admin):
    """Who has waited for a place in vain, and finds no server then, is held as long as one who comes now."""
    behind, health = free_port(), free_port()
    servers(behind)
    well = servers(health)
    w = waiting(f"server 127.0.0.1:{behind} max=1", f"check every=100ms timeout=9s rise=1 fall=1 port={health} tcp", "queue 4",
                "on-down hold 8")
    wait_for(lambda: admin.server(f"127.0.0.1:{behind}")["health"] == "up", "it is up")
    first, = clients_of(w.port, 1)
    assert read_exactly(first, 5) == b"hello"
    late, = clients_of(w.port, 1)
    admin.wait_connection("state=queued")
    well.close()
    wait_for(lambda: admin.server(f"127.0.0.1:{behind}")["health"] == "down", "it is down")
    admin.wait_connection("state=held")
    time.sleep(4.5)  # longer than both together, if both began with the first
    servers(health)
    wait_for(lambda: admin.server(f"127.0.0.1:{behind}")["health"] == "up", "it is up")
    first.close()
    served([late])


def test_hold_and_queue_together(waiting, servers, admin):
    """When the server is back, they come in as it has room."""
    behind, counting = free_port(), Counting(0.01)
    w = waiting(f"server 127.0.0.1:{behind} max=2", "on-down hold 50", "queue 50")
    clients = clients_of(w.port, 20, b"1")
    wait_for(lambda: admin.service(w.port)["waiting"] == 20, "all wait, for the one or the other")
    servers(behind, counting)
    done(clients)
    assert counting.most <= 2


def test_the_queue_outlives_workers_and_keeps_its_order(waiting, servers, admin):
    behind, counting = free_port(), Counting()
    servers(behind, counting)
    w = waiting(f"server 127.0.0.1:{behind} max=1", "queue 50")
    first = connect(w.port)
    admin.wait_connection(state="relay")
    clients = []
    for i in range(20):
        clients += clients_of(w.port, 1, b"%d" % i)
        admin.wait_connections(i + 1, "state=queued")
    w.proxy.kill_workers()
    admin.wait_connections(20, "state=queued")
    first.sendall(b"-1")
    assert read_all(first) == b"done"
    first.close()
    done(clients)
    assert counting.most == 1
    assert counting.order == [-1, *range(20)]


# -- what is said

def test_waited_in_a_format_of_ones_own_and_in_json(waiting, servers, admin, directory):
    behind = free_port()
    log = directory / "access.json"
    w = waiting(f"server 127.0.0.1:{behind}", "on-down hold 30", 'log-format "end={end} waited={waited}"',
                more=f"log file:{log}+json\nlog stderr\n")
    client, = clients_of(w.port, 1)
    admin.wait_connections(1, "state=held")
    servers(behind)
    served([client])
    w.proxy.wait_log(r"end=client-fin waited=\d+\.\d{3}")
