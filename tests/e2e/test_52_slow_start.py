"""slow-start TIME: a server that comes back, or is new, begins with a tenth of its weight and max, which grow to all."""
import os
import re
import signal
import time
from collections import Counter

import pytest

from lib.peers import Service, ask, connect, gets_reset, say, talk
from lib.ports import free_port
from lib.waiting import wait_for


class Pool:
    """Three servers that say who they are; the third one is not in the file at first."""

    def __init__(self, start, service, admin, text, more):
        self.admin, self.port, self.more = admin, free_port(), more
        self.servers = [service(say(name)) for name in "abc"]
        self.spelt = {name: s.spelt for name, s in zip("abc", self.servers)}
        self.text = text
        self.proxy = start(config=self.config("ab"))

    def config(self, names):
        servers = "".join(f"server {self.spelt[n]} {self.more}\n" for n in names)
        return f"{self.admin.line}port {self.port}\n{servers}{self.text}\n"

    def reload(self, names):
        self.proxy.rewrite(self.config(names))
        self.admin.ask("reload")

    def view(self, name):
        return next(s for s in self.admin.json("servers")["servers"] if s["server"] == self.spelt[name])

    def weight(self, name):
        return self.view(name)["weight"]

    def shares(self, n):
        return Counter(ask(self.port).decode() for _ in range(n))


@pytest.fixture
def pool(start, service, admin):
    return lambda text, more="weight=100": Pool(start, service, admin, text, more)


def back(p, name):
    p.admin.ask("disable", p.spelt[name])
    p.admin.ask("enable", p.spelt[name])


# -- when

def test_not_at_the_start_of_the_program(pool):
    p = pool("slow-start 1h")
    assert p.weight("a") == p.weight("b") == 100
    assert p.shares(10) == {"a": 5, "b": 5}


def test_after_it_was_disabled_or_drained(pool):
    p = pool("slow-start 1h")
    for word in ("disable", "drain"):
        p.admin.ask(word, p.spelt["a"])
        assert p.shares(4) == {"b": 4}
        p.admin.ask("enable", p.spelt["a"])
        assert 10 <= p.weight("a") < 11 and p.weight("b") == 100
        text = p.admin.ask("servers")
        assert re.search(r" 10(\.\d+)? \(100\) ", text), text
        listed = p.admin.server(p.spelt["a"])
        assert 10 <= listed["weight"] < 11 and listed["weight_file"] == 100
        assert re.search(r"^tcpproxy_backend_weight\{server=\"%s\"\} 10(\.\d+)?$" % re.escape(p.spelt["a"]), p.admin.ask("metrics"), re.M)


def test_after_it_was_forced_down(pool):
    p = pool("slow-start 1h")
    p.admin.ask("force", p.spelt["a"], "down")
    p.admin.ask("force", p.spelt["a"], "auto")
    assert 10 <= p.weight("a") < 11


def test_when_a_reload_adds_it_and_no_other_reload(pool):
    p = pool("slow-start 1h")
    p.admin.ask("reload")
    p.reload("abc")
    assert 10 <= p.weight("c") < 11 and p.weight("a") == p.weight("b") == 100
    p.admin.ask("reload")
    assert 10 <= p.weight("c") < 11 and p.weight("a") == 100
    p.reload("bc")
    p.reload("abc")
    assert 10 <= p.weight("a") < 11


def test_when_the_file_no_longer_calls_it_disabled(pool):
    p = pool("slow-start 1h")
    p.proxy.rewrite(p.config("ab").replace(f"server {p.spelt['a']} ", f"server {p.spelt['a']} disabled "))
    p.admin.ask("reload")
    assert p.shares(3) == {"b": 3}
    p.reload("ab")
    assert 10 <= p.weight("a") < 11


def test_after_it_was_down(pool, admin):
    p = pool("slow-start 1h\ncheck every=100ms rise=1 fall=1 tcp")
    admin.ask("wait", p.spelt["a"], "up")
    admin.ask("wait", p.spelt["b"], "up")
    assert p.weight("a") == 100  # the first answer is no coming back
    port = p.servers[0].port
    p.servers[0].close()
    admin.ask("wait", p.spelt["a"], "down")
    again = Service(say("a"), port=port)
    admin.ask("wait", p.spelt["a"], "up")
    assert 10 <= p.weight("a") < 11
    again.close()


def test_after_it_was_ejected(pool):
    p = pool("slow-start 1h\neject for 0.5 after 1")
    p.servers[0].close()
    wait_for(lambda: p.shares(2) and p.view("a")["state"] == "ejected", "it is ejected")
    wait_for(lambda: p.view("a")["state"] != "ejected", "that is over")
    assert 10 <= p.weight("a") < 11


def test_deaths_and_an_upgrade_change_nothing(pool):
    p = pool("slow-start 1h")
    back(p, "a")
    p.proxy.kill_supervisor()
    p.proxy.start_again()
    assert 10 <= p.weight("a") < 11 and p.weight("b") == 100
    p.admin.ask("upgrade")
    assert 10 <= p.weight("a") < 11 and p.weight("b") == 100
    for pid in p.proxy.workers():
        os.kill(pid, signal.SIGKILL)
    p.proxy.wait_whole()
    assert 10 <= p.weight("a") < 11


# -- how

def test_it_grows_in_a_line(pool):
    """Pitfall 78. What is shown is looked at between two looks at the clock."""
    p = pool("slow-start 4")
    before = time.monotonic()
    back(p, "a")
    after = time.monotonic()
    looks = 0

    def grown():
        nonlocal looks
        began = time.monotonic()
        weight = p.weight("a")
        ended = time.monotonic()
        assert min(100, 10 + 90 * (began - after) / 4) - 10 <= weight <= min(100, 10 + 90 * (ended - before) / 4) + 10
        looks += 1
        return weight == 100
    wait_for(grown, "it is grown")
    assert looks > 5


@pytest.mark.parametrize("balance, most", [("round-robin", 8), ("least-connections", 25)])
def test_no_burst_for_one_that_comes_back(pool, balance, most):
    """Pitfall 77: a tenth of what the other gets; by connections more, where the last one has not ended yet when the next one comes."""
    p = pool(f"slow-start 1h\nbalance {balance}", more="")
    p.shares(20)
    p.admin.ask("disable", p.spelt["a"])
    p.shares(20)
    p.admin.ask("enable", p.spelt["a"])
    assert 4 <= p.shares(66)["a"] <= most  # 6


def test_no_burst_for_one_that_is_added(pool):
    p = pool("slow-start 1h", more="")
    p.shares(50)
    p.reload("abc")
    assert 2 <= p.shares(84)["c"] <= 5  # 4


def test_max_grows_too(pool):
    p = pool("slow-start 1h", more="max=20")
    p.admin.ask("disable", p.spelt["b"])
    back(p, "a")
    assert (p.view("a")["max"], p.view("a")["max_file"]) == (2, 20)
    p.servers[0].function = lambda s: s.recv(1)
    with connect(p.port), connect(p.port):
        wait_for(lambda: p.view("a")["connections"] == 2, "both are there")
        gets_reset(p.port)


def test_one_section_may_lift_it(pool, start, service, admin):
    port, other, a = free_port(), free_port(), service()
    start(config=f"{admin.line}slow-start 1h\nport {port}\nserver {a.spelt} weight=100\n"
                 f"port {other}\nserver {a.spelt} weight=100\nslow-start 0\n")
    admin.ask("disable", a.spelt)
    admin.ask("enable", a.spelt)
    weights = {s["service"]: s["weight"] for s in admin.json("servers")["servers"]}
    assert 10 <= weights[str(port)] < 11 and weights[str(other)] == 100
