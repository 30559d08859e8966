"""eject for TIME after N: servers that fail for clients are left alone for a while, by all workers together; and come back."""
import os
import re
import signal
import socket
import threading
import time

import pytest

from lib.peers import Service, ask, connect, kill_connection, say, talk
from lib.ports import free_port
from lib.waiting import wait_for

LINE = r"server service={service} server={server} address={server} state={state} was={was} why=\"{why}\" up={up} of={of}"


def line(server, state, was, why, up, of, service=r"\S+"):
    return LINE.format(**locals())


class Pool:
    """Servers behind one port that say their names; those named in `dead` refuse until they are born."""

    def __init__(self, start, admin, names, dead, text, before):
        self.admin, self.port = admin, free_port()
        self.ports = {name: free_port() for name in names}
        self.running = {}
        for name in names:
            if name not in dead:
                self.live(name)
        servers = "".join(f"server {self.spelt(name)}{' backup' if name.startswith('backup') else ''}\n" for name in names)
        self.text = f"{admin.line}{before}port {self.port}\n{servers}{text}\n"
        self.proxy = start(config=self.text)

    def spelt(self, name):
        return f"127.0.0.1:{self.ports[name]}"

    def live(self, name, function=None):
        self.running[name] = Service(function or say(name), port=self.ports[name])

    def die(self, name):
        self.running.pop(name).close()

    def view(self, name):
        return next(s for s in self.admin.json("servers")["servers"] if s["server"] == self.spelt(name))

    def state(self, name):
        return self.view(name)["state"]

    def wait_state(self, name, state):
        wait_for(lambda: self.state(name) == state, f"{name} is {state}")

    def clients(self, n):
        return [ask(self.port).decode() for _ in range(n)]

    def clients_one_by_one(self, n):
        """Each when the one before has been counted: its worker may be a moment behind what the client has seen."""
        for i in range(len(self.proxy.records()), len(self.proxy.records()) + n):
            self.clients(1)
            self.proxy.wait_records(i + 1)

    def until_ejected(self, name):
        def ejected():
            self.clients(2)
            return self.state(name) == "ejected"
        wait_for(ejected, f"{name} is ejected")

    def failures(self, name):
        return self.view(name)["failures"]


@pytest.fixture
def pool(start, admin):
    made = []

    def make(names, dead=(), text="", before=""):
        made.append(Pool(start, admin, names, dead, text, before))
        return made[-1]
    yield make
    for p in made:
        for server in p.running.values():
            server.close()


# -- refused

def test_a_server_that_fails_again_and_again_is_left_alone_and_comes_back(pool, admin):
    p = pool("ab", dead="a", text="eject for 2 after 3")
    assert p.clients(20) == ["b"] * 20
    assert p.failures("a") == 3  # no client was sent there any more
    a = p.view("a")
    assert (a["state"], a["ejections"]) == ("ejected", 1)
    assert re.fullmatch(r"clients could not connect: Connection refused, [0-9.]+ s left", a["why"])
    assert admin.server(p.spelt("a"))["health"] == "ejected"
    assert "ejected" in admin.ask("status") and "ejected" in admin.ask("servers")
    p.proxy.wait_log(line(p.spelt("a"), "ejected", r"\w+", "clients could not connect: Connection refused, for 2 s", 1, 2,
                          service=p.port))
    p.live("a")
    p.proxy.wait_log(line(p.spelt("a"), "failed", "ejected", "its time is over", 2, 2, service=p.port))
    wait_for(lambda: "a" in p.clients(2), "it has its turn again")
    assert p.state("a") == "up"


def test_one_failure_is_none(pool):
    """Where eject stands, a server keeps its turn until then: it is not put last for ten seconds."""
    p = pool("ab", dead="a", text="eject for 1m after 3")
    for n in (1, 2):
        assert p.clients(1) == ["b"] and p.failures("a") == n
    p.live("a")
    wait_for(lambda: "a" in p.clients(1), "it has its turn")  # and the row has ended
    p.die("a")
    wait_for(lambda: p.clients(1) and p.failures("a") == 4, "it failed twice")
    assert p.state("a") == "failed"
    wait_for(lambda: p.clients(1) and p.failures("a") == 5, "once more")
    assert p.state("a") == "ejected"


def test_an_ejected_one_is_tried_when_no_other_is_left(pool):
    p = pool(["a", "b", "backup"], dead=["a"], text="eject for 1m after 2")
    p.until_ejected("a")
    p.live("a")
    p.die("b")
    assert p.clients(4) == ["backup"] * 4  # backups are before it
    p.die("backup")
    assert p.clients(4) == ["a"] * 4
    assert p.state("a") == "ejected"  # a client's success does not end it


def test_soon_again_it_is_twice_as_long(pool):
    p = pool("ab", dead="a", text="eject for 0.5 after 2 max 1.5")
    for seconds in ("0.5", "1", "1.5", "1.5"):
        p.until_ejected("a")
        p.proxy.wait_log(rf"state=ejected was=\w+ why=\"clients could not connect: Connection refused, for {seconds} s\"")
        wait_for(lambda: p.state("a") != "ejected", "it is over")
    assert p.view("a")["ejections"] == 4


# -- how many at a time

def test_no_more_than_the_share(pool):
    """Pitfall 67: a tenth of two is none."""
    p = pool("ab", dead="a", text="eject for 1m after 1 share 10%")
    p.clients(10)
    assert p.state("a") == "failed" and p.failures("a") == 10


def test_half_of_the_pool_by_default(pool, admin):
    p = pool("abcde", dead="abcd", text="eject for 1m after 1")
    p.clients(20)
    assert sorted(p.state(name) for name in "abcd").count("ejected") == 2
    assert p.clients(1) == ["e"]
    assert sum(admin.metric("tcpproxy_backend_ejections_total", server=p.spelt(name)) for name in "abcde") == 2


def test_the_only_one_never_is(pool):
    p = pool("a", dead="a", text="eject for 1m after 1 share 100%")
    for _ in range(4):
        with pytest.raises(OSError):
            ask(p.port)
    assert p.state("a") == "failed"


def test_the_last_one_is_an_error(pool):
    p = pool("ab", dead="a", text="eject for 1m after 1 share 100%", before="log stderr+json\n")
    p.clients(1)
    p.proxy.wait_log(r'"event":"server","level":"warning",.*"state":"ejected".*"up":1,"of":2')
    p.die("b")
    with pytest.raises(OSError):
        ask(p.port)
    p.proxy.wait_log(r'"event":"server","level":"error",.*"state":"ejected".*"up":0,"of":2')


# -- a port that accepts for nobody

def closes(s):
    s.close()


def test_early_ends_are_failures(pool):
    p = pool("ab", dead="a", text="eject for 2 after 3 early 5")
    p.live("a", closes)
    wait_for(lambda: "" not in p.clients(4) and p.state("a") == "ejected", "it is ejected")
    assert p.running["a"].served == 3
    p.proxy.wait_log(line(p.spelt("a"), "ejected", r"\w+", "it ended connections before its first byte, for 2 s", 1, 2))


def test_an_early_reset_is_one_too(pool):
    p = pool("ab", dead="a", text="eject for 1m after 2 early 5")
    p.live("a", kill_connection)

    def ejected():
        for _ in range(2):
            try:
                ask(p.port)
            except OSError:
                pass
        return p.state("a") == "ejected"
    wait_for(ejected, "it is ejected")


def test_a_byte_ends_the_row(pool):
    p = pool("ab", text="eject for 1m after 2 early 1m")
    p.die("a")
    kinds = [closes, say("a"), closes, say("a"), closes]

    def serve(s):
        kinds.pop(0)(s)
    p.live("a", serve)
    p.clients_one_by_one(10)
    assert kinds == [] and p.state("a") == "up"


def test_so_does_a_connection_that_outlives_the_time(pool):
    p = pool("ab", text="eject for 1m after 2 early 0.3")
    p.die("a")
    open_end = threading.Event()
    kinds = [closes, lambda s: open_end.wait(60), closes]

    def serve(s):
        kinds.pop(0)(s)
    p.live("a", serve)
    clients = []
    while len(kinds) == 3:
        clients.append(connect(p.port))
        clients[-1].recv(1)
    while len(kinds) == 2:  # the one that stays
        clients.append(connect(p.port))
        time.sleep(0.05)
    time.sleep(0.5)  # longer than early; nothing else shows that it has passed
    p.clients(2)
    assert kinds == [] and p.state("a") == "up"
    open_end.set()


# -- checks

CHECK = "check every=100ms rise=1 fall=100 {}"


def test_a_yes_of_a_check_ends_it(pool, admin):
    p = pool("ab", text="eject for 1h after 2\n" + CHECK.format("tcp"))
    admin.ask("wait", p.spelt("a"), "up")
    p.die("a")
    p.until_ejected("a")
    p.live("a")
    p.proxy.wait_log(line(p.spelt("a"), r"\w+", "ejected", "a check says that it is well", 2, 2))
    wait_for(lambda: "a" in p.clients(2), "it has its turn again")


def test_of_early_ends_a_connect_says_nothing(pool, admin):
    """That is what it had failed in spite of."""
    p = pool("ab", text="eject for 1h after 2 early 5\n" + CHECK.format("tcp"))
    p.die("a")
    p.live("a", closes)
    wait_for(lambda: p.clients(2) and p.state("a") == "ejected", "it is ejected")
    asked = lambda: admin.metric("tcpproxy_backend_checks_total", server=p.spelt("a"), result="up")
    before = asked()
    wait_for(lambda: asked() > before + 2, "it was asked again")
    assert p.state("a") == "ejected"


def test_but_a_byte_does(pool, admin):
    p = pool(["x1", "x2"], text="eject for 1h after 2 early 5\n" + CHECK.format("expect x"))
    admin.ask("wait", p.spelt("x1"), "up")
    p.die("x1")
    p.live("x1", closes)
    wait_for(lambda: p.clients(2) and p.state("x1") == "ejected", "it is ejected")
    p.die("x1")
    p.live("x1")
    p.proxy.wait_log("was=ejected why=\"a check says that it is well\"")


# -- deaths, reloads

def test_workers_that_die_forget_nothing(pool):
    p = pool("ab", dead="a", text="eject for 1m after 3")
    p.clients(2)
    assert p.failures("a") == 2
    p.proxy.expect_deaths()
    for pid in p.proxy.workers():
        os.kill(pid, signal.SIGKILL)
    p.proxy.wait_whole()
    p.clients(2)
    assert p.state("a") == "ejected"
    for pid in p.proxy.workers():
        os.kill(pid, signal.SIGKILL)
    p.proxy.wait_whole()
    before = p.failures("a")
    assert p.clients(4) == ["b"] * 4 and p.failures("a") == before


def test_a_connection_on_probation_outlives_its_worker(pool):
    p = pool("ab", text="eject for 1m after 1 early 1m")
    p.die("a")
    go = threading.Event()

    def serve(s):
        go.wait(60)
    p.live("a", serve)
    clients = [connect(p.port), connect(p.port)]
    wait_for(lambda: p.running["a"].served == 1, "one of them is there")
    p.proxy.expect_deaths()
    for pid in p.proxy.workers():
        os.kill(pid, signal.SIGKILL)
    p.proxy.wait_whole()
    go.set()
    p.wait_state("a", "ejected")
    for c in clients:
        c.close()


def test_a_supervisor_that_dies_tells_the_end(pool):
    p = pool("ab", dead="a", text="eject for 4 after 2")
    p.until_ejected("a")
    p.proxy.wait_log("state=ejected was=\\w+")
    p.proxy.kill_supervisor()
    p.proxy.start_again()
    assert p.state("a") == "ejected"
    p.proxy.wait_log("was=ejected why=\"its time is over\"")
    assert len(re.findall("state=ejected", p.proxy.log())) == 1


def test_a_reload_keeps_it_and_an_upgrade_does(pool, admin):
    p = pool("ab", dead="a", text="eject for 1h after 2")
    p.until_ejected("a")
    admin.ask("reload")
    assert p.state("a") == "ejected"
    p.proxy.expect_deaths()  # they are other processes then
    admin.ask("upgrade")
    assert p.state("a") == "ejected"
    before = p.failures("a")
    assert p.clients(4) == ["b"] * 4 and p.failures("a") == before
    p.proxy.rewrite(p.text.replace("eject for 1h after 2", ""))
    admin.ask("reload")
    assert p.state("a") == "failed"  # nothing ejects any more


def test_one_section_may_lift_it(pool, admin, start, service):
    port, other, dead = free_port(), free_port(), free_port()
    live = service(say("b"))
    start(config=f"{admin.line}eject for 1m after 2\n"
                 f"port {port}\nserver 127.0.0.1:{dead}\nserver {live.spelt}\n"
                 f"port {other}\nserver 127.0.0.1:{dead}\nserver {live.spelt}\neject off\n")

    def states():
        return {s["service"]: s["state"] for s in admin.json("servers")["servers"] if s["server"].endswith(f":{dead}")}

    def ejected():
        ask(port)
        return states()[str(port)] == "ejected"
    wait_for(ejected, "it is ejected")
    assert states()[str(other)] == "failed"


def test_where_it_stands_for_several_services_each_is_told(pool, admin, start, service):
    port, other, dead = free_port(), free_port(), free_port()
    live = service(say("b"))
    proxy = start(config=f"{admin.line}eject for 1m after 2\n"
                         f"port {port}\nserver 127.0.0.1:{dead}\nserver {live.spelt}\n"
                         f"port {other}\nserver 127.0.0.1:{dead}\nserver {live.spelt}\n")
    for _ in range(4):
        ask(port)
    for p in (port, other):
        proxy.wait_log(rf"server service={p} server=127.0.0.1:{dead} .*state=ejected was=\w+")
    assert ask(other) == ask(other) == b"b"
    assert next(s for s in admin.json("servers", other)["servers"] if s["server"].endswith(f":{dead}"))["failures"] == 2


# -- explain

def test_explain_tells_who_comes_later_and_why(pool, admin):
    p = pool(["a", "b", "backup"], dead=["a"], text="eject for 1m after 2")
    p.until_ejected("a")
    text = admin.ask("explain", "127.0.0.1", p.port)
    assert re.search(rf"^server: not {p.spelt('a')}: it is ejected: clients could not connect: Connection refused, [0-9.]+ s left$",
                     text, re.M), text
    assert f"server: not {p.spelt('backup')}: it is a backup, and " in text
    assert f"server: {p.spelt('b')} (the best one), up" in text
