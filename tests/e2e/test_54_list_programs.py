"""servers program: a program that stays and prints lists of servers, each ended by a line ".", taken whole or not at all."""
import os
import pathlib
import signal

import pytest

from lib import processes
from lib.peers import ask, connect, gets_reset, say
from lib.ports import free_port
from lib.waiting import wait_for

# Prints the file `list` whenever it has changed, as the tests write it: whole lists, halves, garbage.
SCRIPT = """
echo $$ >> {begun}
env > {begun}.env
echo "$@" > {begun}.arguments
[ -e {once} ] && . {once}
last=
while :; do
    now=$(cat {list} 2>/dev/null; echo x)
    [ "$now" = "$last" ] || {{ printf '%s' "${{now%x}}"; echo >> {begun}.printed; }}
    last=$now
    sleep 0.05
done
"""


class Listed:
    """A port whose servers a program names; a, b, c say who they are."""

    def __init__(self, start, service, admin, directory, more="", arguments="", sections=""):
        os.chmod(directory.path, 0o777)
        self.admin, self.port, self.more, self.directory = admin, free_port(), more, directory
        self.servers = {name: service(say(name)) for name in "abc"}
        self.a, self.b, self.c = (s.spelt for s in self.servers.values())
        self.list, self.begun, self.once = (pathlib.Path(directory / name) for name in ("list", "begun", "once"))
        self.script = directory.script("lists", SCRIPT.format(list=self.list, begun=self.begun, once=self.once))
        self.arguments, self.sections = arguments, sections
        self.write(f"{self.a}\n.\n")
        self.proxy = start(config=self.text())

    def text(self, more=""):
        return (f"{self.admin.line}{self.more}port {self.port}\n\tservers program {self.script} {self.arguments}\n"
                f"{self.sections.replace('SCRIPT', self.script)}{more}")

    def write(self, text):
        new = self.list.with_suffix(".new")
        new.write_text(text)
        new.chmod(0o644)
        os.rename(new, self.list)

    def pool(self, port=None):
        """Of the sections of a port; a service without servers is not listed."""
        name = str(port or self.port)
        return [s["server"] for s in self.admin.json("servers")["servers"] if s["service"].split("/")[0] == name]

    def becomes(self, *spelt):
        wait_for(lambda: self.pool() == list(spelt), f"the pool is {spelt}, not {self.pool()}\n{self.proxy.log()}")

    def who(self, n=6):
        return "".join(sorted({ask(self.port).decode() for _ in range(n)}))

    def starts(self):
        return len(self.begun.read_text().splitlines()) if self.begun.exists() else 0

    def printed(self):
        return len(self.begun.with_suffix(".printed").read_text().splitlines())

    def programs(self):
        return [p for p in processes.pids() if self.script in processes.title(p) and processes.alive(p)
                and processes.title(p).startswith("/bin/sh")]

    def program(self):
        return wait_for(lambda: len(self.programs()) == 1 and self.programs()[0], "the program runs")

    def failed(self):
        return int(self.proxy_metric('tcpproxy_programs_failed_total{kind="servers"}'))

    def proxy_metric(self, name):
        for line in self.admin.ask("metrics").splitlines():
            if line.startswith(name + " "):
                return line.split()[-1]
        raise AssertionError(f"no {name}")


@pytest.fixture
def listed(start, service, admin, directory):
    def make(**more):
        return Listed(start, service, admin, directory, **more)
    return make


def test_the_servers_that_it_names_serve(listed):
    s = listed()
    s.becomes(s.a)
    assert s.who() == "a"
    with connect(s.port) as client:
        assert client.recv(1) == b"a"
        s.write(f"# all of them\n{s.b} weight=3\n\n{s.c}\n.\n")
        s.becomes(s.b, s.c)
        assert s.who() == "bc"
    s.write("none\n.\n")
    s.becomes()
    assert gets_reset(s.port)
    assert s.starts() == 1


def test_what_it_finds(listed):
    s = listed(more="env COLOUR=blue\n", arguments='one "two  words"')
    s.becomes(s.a)
    env = s.begun.with_suffix(".env").read_text().splitlines()
    assert "COLOUR=blue" in env
    assert not any(line.startswith("PROXY_") for line in env)
    assert s.begun.with_suffix(".arguments").read_text() == "one two  words\n"
    assert processes.descriptors(s.program())[0] == "/dev/null"


def test_what_it_complains_of_is_logged(listed):
    s = listed()
    s.becomes(s.a)
    s.once.write_text("echo what a day >&2\n")
    os.kill(s.program(), signal.SIGKILL)
    s.proxy.wait_log(r"list program \S+/lists: what a day")


@pytest.mark.parametrize("text", ["not a server\n.\n", "{b}\n{b} x=1\n.\n", ".\n", "\n\n.\n", "none\n{b}\n.\n", "/bin/sh\n.\n",
                                  "\x01\x02\x7f\n.\n"])
def test_a_wrong_list_changes_nothing(listed, text):
    s = listed()
    s.becomes(s.a)
    before = s.failed()
    s.write(text.format(b=s.b))
    s.proxy.wait_log(r"lists: the servers stay as they were")
    assert s.pool() == [s.a]
    assert s.failed() == before + 1
    s.write(f"{s.b}\n.\n")
    s.becomes(s.b)


def test_a_nul_hides_nothing(listed):
    s = listed()
    s.becomes(s.a)
    s.once.write_text(f"printf '{s.b}\\000 x=1\\n.\\n'\n")
    os.kill(s.program(), signal.SIGKILL)
    s.proxy.wait_log(r"lists:1:\d+: a control character")
    s.once.write_text("")
    assert s.pool() == [s.a]


def test_half_a_list_is_none(listed):
    s = listed()
    s.becomes(s.a)
    s.write(f"{s.b}\n{s.c}\n")
    wait_for(lambda: s.printed() == 2, "it is printed")
    before = s.starts()
    os.kill(s.program(), signal.SIGKILL)
    s.proxy.wait_log("ended in the middle of a list, which is dropped")
    assert s.pool() == [s.a]
    s.write(f"{s.b}\n.\n")
    wait_for(lambda: s.starts() > before, "it is started again")
    s.becomes(s.b)


def test_of_several_lists_the_last_counts(listed):
    s = listed()
    s.becomes(s.a)
    s.write(f"{s.b}\n.\nnone\n.\n{s.c}\n.\n{s.b}\n")
    s.becomes(s.c)


def test_one_that_ends_is_started_again_after_a_while_and_its_list_stays(listed):
    s = listed()
    s.becomes(s.a)
    for n, pause in enumerate((1, 2, 4), 1):
        os.kill(s.program(), signal.SIGTERM)
        s.proxy.wait_log(rf"is started again in {pause} s")
        assert s.pool() == [s.a] and s.who() == "a"
        wait_for(lambda n=n: s.starts() == n + 1, "it is started again")
    assert s.failed() == 3


def test_one_that_cannot_be_started(listed):
    s = listed()
    s.becomes(s.a)
    os.rename(s.script, s.script + ".away")
    os.kill(s.program(), signal.SIGKILL)
    s.proxy.wait_log(r"cannot start list program \S+: No such file or directory")
    assert s.pool() == [s.a]
    os.rename(s.script + ".away", s.script)
    s.write(f"{s.b}\n.\n")
    s.becomes(s.b)


def test_a_flood_without_an_end(listed):
    s = listed()
    s.becomes(s.a)
    s.once.write_text("yes 10.0.0.1:80\n")
    os.kill(s.program(), signal.SIGKILL)
    s.proxy.wait_log("its list is longer than 4 MiB")
    assert s.pool() == [s.a]
    s.once.unlink()
    s.write(f"{s.b}\n.\n")
    s.becomes(s.b)
    assert not [p for p in processes.pids() if processes.title(p) == "yes 10.0.0.1:80" and processes.parent(p) == 1]


def test_a_flood_of_lists_does_not_keep_others_waiting(listed):
    s = listed()
    s.becomes(s.a)
    s.once.write_text(f"yes '{s.b}\n.'\n")
    os.kill(s.program(), signal.SIGKILL)
    s.becomes(s.b)
    spawner, = s.proxy.role("spawner")
    before = processes.status(spawner)
    assert before and s.who() == "b"
    assert s.admin.ask("status")


def test_more_servers_than_a_pool_has(listed):
    s = listed()
    s.becomes(s.a)
    s.write("".join(f"10.1.{n // 250}.{n % 250}:80\n" for n in range(4096)) + ".\n")
    wait_for(lambda: len(s.pool()) == 4096, "4096 servers")


def test_one_process_for_the_same_line(listed):
    other = free_port()
    s = listed(sections=f"port {other}\n\tservers program SCRIPT\n\tinterface 127.0.0.9\n\t\tservers program SCRIPT\n"
                        f"port {free_port()}\n\tservers program SCRIPT other\n")
    s.becomes(s.a)
    wait_for(lambda: len(s.programs()) == 2, "one for each line")
    wait_for(lambda: s.pool(other) == [s.a], "the other port has them, too")
    s.write(f"{s.b}\n.\n")
    s.becomes(s.b)
    wait_for(lambda: s.pool(other) == [s.b], "the other port has them, too")
    assert s.starts() == 2


def test_a_reload(listed):
    """It goes on when its line stays, is another one when that changes, and ends when that goes."""
    s = listed()
    s.becomes(s.a)
    first = s.program()
    s.proxy.rewrite(s.text(f"port {free_port()}\nserver {s.b}\n"))
    s.admin.ask("reload")
    assert s.program() == first and s.starts() == 1
    s.arguments = "another"
    s.proxy.rewrite(s.text())
    s.admin.ask("reload")
    wait_for(lambda: not processes.alive(first), "the old one is ended")
    assert s.program() != first
    s.becomes(s.a)
    assert s.failed() == 0
    s.proxy.rewrite(f"{s.admin.line}port {s.port}\nserver {s.c}\n")
    s.admin.ask("reload")
    wait_for(lambda: not s.programs(), "it is ended")
    assert s.who() == "c"


def test_another_environment_is_another_program(listed):
    s = listed(more="env COLOUR=blue\n")
    s.becomes(s.a)
    first = s.program()
    s.more = "env COLOUR=red\n"
    s.proxy.rewrite(s.text())
    s.admin.ask("reload")
    wait_for(lambda: not processes.alive(first), "the old one is ended")
    assert processes.environment(s.program())["COLOUR"] == "red"
    assert s.pool() == [s.a]


@pytest.mark.parametrize("role", ["spawner", "supervisor"])
def test_a_death(listed, role):
    s = listed()
    s.becomes(s.a)
    first = s.program()
    s.proxy.expect_deaths()
    if role == "supervisor":
        s.proxy.kill_supervisor()
        assert s.who() == "a"
        s.proxy.start_again()
    else:
        os.kill(s.proxy.role("spawner")[0], signal.SIGKILL)
    wait_for(lambda: not processes.alive(first), "the old one is ended")
    assert s.pool() == [s.a] and s.who() == "a"
    s.program()
    s.write(f"{s.b}\n.\n")
    s.becomes(s.b)
    assert s.who() == "b"


def test_an_upgrade(listed):
    s = listed()
    s.becomes(s.a)
    s.proxy.expect_deaths()
    s.admin.ask("upgrade")
    assert s.pool() == [s.a]
    wait_for(lambda: len(s.programs()) == 1 and s.starts() == 2, "a new one")
    s.write(f"{s.b}\n.\n")
    s.becomes(s.b)


def test_one_that_does_not_end_is_killed_at_the_stop(listed):
    s = listed()
    s.once.write_text("trap '' TERM HUP\n")
    s.becomes(s.a)
    os.kill(s.program(), signal.SIGKILL)
    wait_for(lambda: s.starts() == 2, "it is started again")
    stubborn = s.program()
    s.proxy.stop()
    assert not processes.alive(stubborn)


def test_what_is_wrong_with_the_line(directory):
    conf = directory.write("wrong.conf", "port 25\nservers program\nport 26\nservers program lists\nport 27\nservers programm /x\n")
    done = directory.run("-C", "-f", conf)
    assert done.returncode == 1
    assert "wrong.conf:2:1" in done.stderr
    assert 'wrong.conf:4:17: "lists" is no path: a program begins with / or .' in done.stderr
    assert "wrong.conf:6:9" in done.stderr
