"""notify: a program that is told when a server's state changes; and the lines of the log about that."""
import json
import os
import re
import signal

import pytest

from lib import processes
from lib.checked import ASKS, Checked, changes
from lib.peers import connect, gets_reset
from lib.ports import free_port
from lib.waiting import stays, wait_for

CHECK = f"check every=100ms timeout=9s rise=1 fall=1 {ASKS}\n"


class Told:
    """A script that writes down what it is told, each in a line; then does as `mood` says."""

    def __init__(self, directory):
        os.chmod(directory.path, 0o777)
        self.path, self.mood = directory / "told", directory / "mood"
        self.say(":")
        self.script = directory.script(
            "tell", f'echo "$@ $PROXY_SERVER:$PROXY_SERVERPORT $PROXY_SERVERADDR $PROXY_WAS-$PROXY_STATE $PROXY_PORT '
                    f'$PROXY_UP/$PROXY_OF $PROXY_WHY" >> {self.path}; env > {self.path}.env; . {self.mood}')

    def say(self, text):
        with open(f"{self.mood}.new", "w") as f:
            f.write(text + "\n")
        os.chmod(f"{self.mood}.new", 0o644)
        os.rename(f"{self.mood}.new", self.mood)

    def lines(self):
        return open(self.path).read().splitlines() if os.path.exists(self.path) else []

    def states(self):
        return [m[1] for line in self.lines() if (m := re.search(r" (\w+-\w+) \d+ ", line))]

    def wait(self, *states):
        wait_for(lambda: self.states() == list(states), f"{states} is told, not {self.lines()}")

    def run(self):
        return [p for p in processes.pids() if self.script in processes.title(p)]


@pytest.fixture
def told(directory):
    return Told(directory)


@pytest.fixture
def server():
    s = Checked()
    yield s
    s.close()


@pytest.fixture
def up(start, admin, told, server):
    """A proxy in front of that server, which is up."""
    def make(more="", arguments=""):
        make.port = free_port()
        proxy = start(config=f"{admin.line}{more}port {make.port}\nserver {server.spelt}\n{CHECK}notify {told.script} {arguments}\n")
        told.wait("unknown-up")
        return proxy
    return make


# -- what it is told

def test_each_change(up, told, server):
    proxy = up(arguments='one "two words"')
    server.well = False
    told.wait("unknown-up", "up-down")
    server.well = True
    told.wait("unknown-up", "up-down", "down-up")
    host, port = server.spelt.split(":")
    first, down, again = told.lines()
    assert first == f"one two words {host}:{port} {host} unknown-up {up.port} 1/1 "
    assert down == f"one two words {host}:{port} {host} up-down {up.port} 0/1 " + changes(proxy)[1][3]
    assert again == f"one two words {host}:{port} {host} down-up {up.port} 1/1 "
    assert [c[1:3] for c in changes(proxy)] == [("up", "unknown"), ("down", "up"), ("up", "down")]


def test_its_environment(start, told, server):
    start(config=f"setenv SHOP_\nenv COLOUR=blue\nport {free_port()}\nserver {server.spelt}\n{CHECK}notify {told.script}\n")
    wait_for(lambda: "COLOUR=blue" in (os.path.exists(f"{told.path}.env") and open(f"{told.path}.env").read() or ""), "it is told")
    names = {line.split("=")[0] for line in open(f"{told.path}.env").read().splitlines()}
    assert {"SHOP_SERVER", "SHOP_STATE", "SHOP_WAS", "SHOP_WHY", "SHOP_PORT", "SHOP_UP", "SHOP_OF", "COLOUR", "PATH"} <= names
    assert not {n for n in names if n.startswith("PROXY_") or n.startswith("TCPPROXY")}


def test_each_service_for_itself(start, admin, told, server):
    """The nearest notify wins; a service without one is told of to nobody."""
    inner = [free_port() for _ in range(3)]
    start(config=f"{admin.line}{CHECK}notify {told.script} outer\n" + "".join(f"port {p}\nserver {server.spelt}\n" for p in inner)
                 + f"notify {told.script} inner\n")
    wait_for(lambda: len(told.lines()) == 3, "three are told")
    assert sorted((line.split()[0], line.split()[4]) for line in told.lines()) == \
        sorted([("outer", str(inner[0])), ("outer", str(inner[1])), ("inner", str(inner[2]))])


def test_its_descriptors_and_its_words(up, told):
    told.say("echo on stdout; echo on stderr >&2; sleep 20")
    proxy = up()
    proxy.wait_log(r"notify \S+/tell for \S+: on stdout")
    proxy.wait_log(r"notify \S+/tell for \S+: on stderr")
    fds = processes.descriptors(told.run()[0])
    assert fds[0] == "/dev/null" and fds[1] == fds[2] and fds[1].startswith("pipe:")
    assert all(number < 3 or str(told.path).rpartition('/')[0] in to for number, to in fds.items())  # the shell's own


# -- how it goes wrong

def test_one_that_cannot_be_started_or_fails_is_counted(start, admin, server):
    port = free_port()
    proxy = start(config=f"{admin.line}port {port}\nserver {server.spelt}\n{CHECK}notify /nonexistent/tell\n")
    proxy.wait_log(r"cannot start notify /nonexistent/tell for \S+: No such file or directory")
    assert admin.metric("tcpproxy_programs_failed_total", kind="notify") == 1
    proxy.rewrite(proxy.config.replace("/nonexistent/tell", "/bin/false"))
    proxy.signal(signal.SIGHUP)
    proxy.wait_log("is in force")
    server.well = False
    proxy.wait_log(r"notify /bin/false for \S+: exit status 1")
    assert admin.metric("tcpproxy_programs_failed_total", kind="notify") == 2


def test_one_that_hangs_keeps_nobody_but_its_server_waiting(up, told, server, directory):
    go = directory / "go"
    told.say(f"while ! test -e {go}; do sleep 0.05; done")
    proxy = up()
    for well in (False, True, False):
        n = len(changes(proxy))
        server.well = well
        wait_for(lambda: len(changes(proxy)) == n + 1, "the log says so")
    assert told.states() == ["unknown-up"]
    open(go, "w").close()
    told.wait("unknown-up", "up-down")


def test_at_most_32_at_once(start, admin, told, directory):
    go = directory / "go"
    told.say(f"while ! test -e {go}; do sleep 0.1; done")
    servers = [Checked(host=f"127.0.2.{i + 1}") for i in range(40)]
    port = free_port()
    start(config=f"{admin.line}port {port}\n{CHECK}notify {told.script}\n" + "".join(f"server {s.spelt}\n" for s in servers))
    wait_for(lambda: len(told.lines()) == 32, "32 run")
    stays(lambda: len(told.lines()) == 32, "no more", 1)
    open(go, "w").close()
    wait_for(lambda: len(told.lines()) == 40, "all are told")
    for s in servers:
        s.close()


# -- who may die

def test_a_reload_while_it_runs_and_others_wait(up, told, server, directory):
    go = directory / "go"
    told.say(f"while ! test -e {go}; do sleep 0.05; done")
    proxy = up()
    server.well = False
    wait_for(lambda: len(changes(proxy)) == 2, "the log says so")
    proxy.rewrite("# another line\n" + proxy.config)
    proxy.signal(signal.SIGHUP)
    proxy.wait_log("is in force")
    open(go, "w").close()
    told.wait("unknown-up", "up-down")


def test_the_death_of_the_spawner(up, told, server, directory):
    """What runs goes on, and the next one waits for it; what was not started is."""
    go = directory / "go"
    told.say(f"while ! test -e {go}; do sleep 0.05; done; echo done >> {told.path}.done")
    proxy = up()
    server.well = False
    wait_for(lambda: len(changes(proxy)) == 2, "the log says so")
    proxy.expect_deaths()
    victim, = proxy.role("spawner")
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: proxy.role("spawner") not in ([], [victim]), "another one")
    stays(lambda: told.states() == ["unknown-up"], "one at a time", 1)
    open(go, "w").close()
    told.wait("unknown-up", "up-down")
    wait_for(lambda: len(open(f"{told.path}.done").readlines()) == 2, "both have ended by themselves")


def test_a_change_while_there_is_no_supervisor(up, told, server):
    proxy = up()
    proxy.expect_deaths()
    proxy.kill_supervisor()
    server.well = False
    server.wait_asked(2)
    proxy.start_again()
    told.wait("unknown-up", "up-down")
    wait_for(lambda: [c[1:3] for c in changes(proxy)][-1] == ("down", "up"), "the log says so")


def test_what_was_logged_but_not_told_when_the_supervisor_died(up, told, server, directory):
    go = directory / "go"
    told.say(f"while ! test -e {go}; do sleep 0.05; done")
    proxy = up()
    server.well = False
    wait_for(lambda: len(changes(proxy)) == 2, "the log says so")
    proxy.expect_deaths()
    proxy.kill_supervisor()
    open(go, "w").close()
    proxy.start_again()
    told.wait("unknown-up", "up-down")
    assert len(changes(proxy)) == 2


# -- lines without checks

def test_a_server_without_checks(start, admin, told, server):
    """What clients find; within a minute once."""
    port = free_port()
    proxy = start(config=f"{admin.line}port {port}\nserver {server.spelt}\nnotify {told.script}\n")
    with connect(port) as c:
        c.sendall(b"hello")
        assert c.recv(1)
    told.wait("untried-up")
    assert changes(proxy) == [(server.spelt, "up", "untried", "")]
    server.refuse()
    assert gets_reset(port)
    stays(lambda: len(changes(proxy)) == 1, "a minute is not over", 2)


def test_failed(start, admin, told, server):
    port = free_port()
    server.refuse()
    proxy = start(config=f"{admin.line}port {port}\nserver {server.spelt}\nnotify {told.script}\n")
    assert gets_reset(port)
    told.wait("untried-failed")
    assert changes(proxy) == [(server.spelt, "failed", "untried", "Connection refused")]
    assert re.search(r"^tcpproxy: server .* state=failed .* up=1 of=1$", proxy.log(), re.M)


def test_forced(up, told, admin, server):
    proxy = up()
    admin.ask("force", server.spelt, "down")
    told.wait("unknown-up", "up-down")
    admin.ask("force", server.spelt, "auto")
    told.wait("unknown-up", "up-down", "down-up")
    assert [c[3] for c in changes(proxy)] == ["", "forced (tcpproxyctl)", ""]


def test_json(start, directory, server):
    log = directory / "log"
    start(config=f"log file:{log}+json\nport {free_port()}\nserver {server.spelt}\n{CHECK}")
    wait_for(lambda: '"event":"server"' in open(log).read(), "an event")
    event = next(e for e in map(json.loads, open(log)) if e["event"] == "server")
    assert (event["level"], event["state"], event["was"], event["up"], event["of"]) == ("info", "up", "unknown", 1, 1)


def test_a_name_that_does_not_resolve_is_told_always(start, names, told, server):
    """However often: unlike what clients find."""
    port = free_port()
    proxy = start(config=f"resolver {names.spelt}\nname-ttl 1s 1s\nname-keep 1s\nport {port}\nserver db.test:{server.port}\n"
                         f"notify {told.script}\n")
    told.wait("untried-unresolved")
    assert changes(proxy)[0] == (f"db.test:{server.port}", "unresolved", "untried", "the name does not resolve")
    assert re.search(r"^tcpproxy: server .* state=unresolved .* up=0 of=1$", proxy.log(), re.M)
    names.add("db.test", "127.0.0.1")
    told.wait("untried-unresolved", "unresolved-untried")
    del names.addresses["db.test"]
    told.wait("untried-unresolved", "unresolved-untried", "untried-unresolved")


def test_it_is_ended_after_30_seconds(up, told, server):
    """With its group; and is counted."""
    length = 1000000 + os.getpid()
    told.say(f"sleep {length} & sleep {length}")
    proxy = up()
    proxy.wait_log(r"notify \S+ for \S+: has not ended within 30 s, and is ended", 60)
    wait_for(lambda: not told.run() and not [p for p in processes.pids() if f"sleep {length}" in processes.title(p)], "none is left")
    told.say(":")
    server.well = False
    told.wait("unknown-up", "up-down")
