"""check program: a program of the administrator's says whether a server is well."""
import os
import signal

import pytest

from lib import processes
from lib.peers import gets_reset, talk, connect
from lib.ports import free_port
from lib.waiting import wait_for


class Checked:
    """One server, and a script that does as the test has written to `mood`."""

    def __init__(self, start, service, admin, directory, options="every=100ms rise=1 fall=1", argument="", more=""):
        self.admin, self.server, self.port = admin, service(), free_port()
        self.mood, self.seen, self.begun = directory / "mood", directory / "seen", directory / "begun"
        os.chmod(directory.path, 0o777)
        self.say("exit 0")
        self.script = directory.script("check", f'echo >> {self.begun}; env > {self.seen}.$$; echo "$@" >> {self.seen}.$$; '
                                                f'mv {self.seen}.$$ {self.seen}; . {self.mood}')
        self.proxy = start(config=f"{admin.line}{more}port {self.port}\nserver {self.server.spelt}\n"
                                  f"check {options} program {self.script} {argument}\n")

    def say(self, text):
        new = f"{self.mood}.new"
        with open(new, "w") as f:
            f.write(text + "\n")
        os.chmod(new, 0o644)
        os.rename(new, self.mood)

    def health(self):
        s, = self.admin.json("status")["servers"]
        return s["health"], s["why"]

    def wait(self, health, why=None):
        wait_for(lambda: self.health() == (health, why), f"{health}: {why}, not {self.health()}")

    def runs(self):
        return os.path.getsize(self.begun) if os.path.exists(self.begun) else 0

    def children(self):
        return [p for p in processes.pids() if self.script in processes.title(p)]


@pytest.fixture
def checked(start, service, admin, directory):
    def make(*args, **more):
        return Checked(start, service, admin, directory, *args, **more)
    return make


def test_exit_0_is_a_yes_all_else_a_no(checked):
    c = checked()
    c.wait("up")
    with connect(c.port) as s:
        talk(s)
    for mood, why in (("exit 3", "exit status 3"), ("kill -TERM $$", "signal 15"),
                      ("echo lags 30 s; echo and more; exit 1", "lags 30 s")):
        c.say(mood)
        c.wait("down", f"check program: {why}")
        assert gets_reset(c.port)
        c.say("exit 0")
        c.wait("up")


def test_what_it_is_told(checked):
    c = checked(argument='one "two words"', more="env COLOUR=blue\n")
    c.wait("up")
    host, port = c.server.spelt.split(":")
    lines = open(c.seen).read().splitlines()
    for line in (f"PROXY_SERVER={host}", f"PROXY_SERVERPORT={port}", f"PROXY_SERVERADDR={host}", "COLOUR=blue", "one two words"):
        assert line in lines
    assert any(line.startswith("PROXY_STATE=") for line in lines)
    wait_for(lambda: "PROXY_STATE=up" in open(c.seen).read(), "the state it has now")
    assert not any(line.startswith("PROXY_CLIENT") for line in lines)


def test_one_that_takes_too_long_is_ended_with_all_it_has_started(checked):
    c = checked("every=100ms timeout=300ms rise=1 fall=1")
    c.wait("up")
    length = 1000000 + os.getpid()
    c.say(f"sleep {length} & sleep {length}")
    c.wait("down", "check program: time is over")
    c.say("exit 0")
    c.wait("up")
    wait_for(lambda: not [p for p in processes.pids() if f"sleep {length}" in processes.title(p)], "no sleep is left")


def test_one_that_prints_without_end(checked):
    c = checked("every=100ms timeout=1s rise=1 fall=1")
    c.say("yes 'much ado'")
    c.wait("down", "check program: time is over")
    c.say("yes | head -100000; exit 0")
    c.wait("up")


def test_children_that_it_leaves_behind_hold_nothing_up(checked):
    c = checked()
    c.say("sleep 20 & exit 0")
    c.wait("up")
    c.say("sleep 20 & exit 1")
    c.wait("down", "check program: exit status 1")


def test_one_that_cannot_be_started_is_no_news(checked):
    """The log says so; what is known of the server stays."""
    c = checked()
    c.wait("up")
    os.rename(c.script, c.script + ".away")
    c.proxy.wait_log(r"cannot start check program .*: No such file")
    assert c.health()[0] == "up"
    os.rename(c.script + ".away", c.script)
    c.say("exit 1")
    c.wait("down", "check program: exit status 1")


@pytest.mark.parametrize("role", ["spawner", "checker"])
def test_the_death_of_who_runs_it_or_asks(checked, role):
    c = checked()
    c.wait("up")
    c.proxy.expect_deaths()
    victim, = c.proxy.role(role)
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: c.proxy.role(role) not in ([], [victim]), "another one")
    c.say("exit 1")
    c.wait("down", "check program: exit status 1")
    c.say("exit 0")
    c.wait("up")


def test_a_reload_that_changes_the_program(checked, directory):
    c = checked()
    c.wait("up")
    other = directory.script("other", "echo as the other says; exit 1")
    c.proxy.rewrite(c.proxy.config.replace(c.script, other))
    c.proxy.signal(signal.SIGHUP)
    c.wait("down", "check program: as the other says")


def test_many_at_once(start, admin, service, directory):
    """At most 32 at a time; all are asked."""
    port, server = free_port(), service()
    script = directory.script("slow", "sleep 0.3")
    names = [f"127.0.1.{i + 1}:{server.port}" for i in range(60)]
    config = f"{admin.line}port {port}\n" + "".join(f"server {n}\n" for n in names)
    start(config=f"{config}check every=2s timeout=8s rise=1 program {script}\n")
    most = 0

    def all_up():
        nonlocal most
        most = max(most, len([p for p in processes.pids() if script in processes.title(p)]))
        return all(s["health"] == "up" for s in admin.json("status")["servers"])
    wait_for(all_up, "all are up", 30)
    assert 1 < most <= 32


def test_programs_of_a_spawner_that_was_killed_are_ended_by_the_next_one(checked):
    """With what they have started."""
    c = checked("every=100ms timeout=10s rise=1 fall=1")
    c.wait("up")
    length = 1000000 + os.getpid()
    c.say(f"sleep {length} & sleep {length}")

    def left():
        return [p for p in processes.pids() if f"sleep {length}" in processes.title(p)]
    wait_for(lambda: len(left()) >= 2, "it runs")
    before = c.children()
    c.say("exit 0")
    c.proxy.expect_deaths()
    victim, = c.proxy.role("spawner")
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: c.proxy.role("spawner") not in ([], [victim]), "another one")
    wait_for(lambda: not left() and not set(before) & set(c.children()), "none of them is left")
    c.wait("up")
