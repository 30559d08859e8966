"""check agent: a program beside the server speaks for it."""
import pytest

from lib.peers import Service, connect, gets_reset, is_reset, talk
from lib.ports import free_port
from lib.waiting import stays, wait_for


class Agent:
    """Answers each connection with what it is to say; None: it is not there."""

    def __init__(self):
        self.port = free_port()
        self.words = "up"
        self.asked = 0
        self.service = None
        self.begin()

    def _say(self, s):
        self.asked += 1
        s.sendall(self.words.encode() + b"\n")
        s.recv(1)

    def begin(self):
        self.service = Service(self._say, port=self.port)

    def end(self):
        self.service.close()


@pytest.fixture
def agent():
    a = Agent()
    yield a
    a.end()


class Scene:
    def __init__(self, start, service, admin, agent, more="", options="every=100ms rise=1 fall=2"):
        self.admin, self.agent, self.server, self.port = admin, agent, service(), free_port()
        self.proxy = start(config=f"{admin.line}port {self.port}\nserver {self.server.spelt}\n"
                                  f"check {options} agent {agent.port}\n{more}")
        wait_for(lambda: agent.asked > 0, "it is asked")

    def status(self):
        status = self.admin.json("status")
        server, = status["servers"]
        pool, = status["pools"]
        return server["health"], pool["usable"]

    def says(self, words, health, usable):
        self.agent.words = words
        wait_for(lambda: self.status() == (health, usable), f"{words}: {health}, {usable}, not {self.status()}")


@pytest.fixture
def scene(start, service, admin, agent):
    def make(*args, **more):
        return Scene(start, service, admin, agent, *args, **more)
    return make


def works(port):
    with connect(port) as s:
        talk(s)


def test_up_and_down(scene):
    s = scene()
    works(s.port)
    s.says("down", "down", False)
    assert gets_reset(s.port)
    s.proxy.wait_log('state=down was=up why="check agent: down"')
    s.says("nothing that makes sense", "down", False)
    s.says("up", "up", True)
    works(s.port)
    s.proxy.wait_log("the agent of .* says: up")


@pytest.mark.parametrize("word", ["drain", "maint"])
def test_no_new_connections(scene, word):
    s = scene()
    with connect(s.port) as old:
        talk(old)
        s.says(word, "up", False)
        assert gets_reset(s.port)
        talk(old, b"still here")
        s.says("up", "up", False)  # which takes back other words
        s.says("ready", "up", True)
        works(s.port)


def test_it_is_up_until_its_agent_says_otherwise(scene, agent):
    agent.end()
    agent.asked = 1  # nobody is there
    s = scene()
    works(s.port)
    stays(lambda: s.status() == ("up", True), "up", 0.7)
    agent.begin()
    s.says("down", "down", False)


def test_one_that_falls_silent_is_forgotten_with_all_it_said(scene, agent):
    s = scene()
    s.says("down drain", "down", False)
    agent.end()
    s.proxy.wait_log("the agent of .* does not answer: what it has said is forgotten")
    wait_for(lambda: s.status() == ("up", True), "it is as if it had said nothing")
    works(s.port)


def test_it_makes_nothing_up_that_another_check_calls_down(scene, agent):
    port = free_port()
    s = scene(more=f"check every=100ms port={port} rise=1 fall=1 tcp\n")
    s.says("up ready 100%", "down", False)
    other = Service(lambda c: c.recv(1), port=port)
    s.says("up", "up", True)
    s.says("down", "down", False)
    other.close()


def test_on_server_down_kill_holds_for_it(scene):
    s = scene(more="on-server-down kill\n")
    client = connect(s.port)
    talk(client)
    s.agent.words = "stopped"
    assert is_reset(client)
    assert s.proxy.wait_record().end == "server-down"


def test_a_program_may_speak_so(start, service, admin, directory):
    server, port = service(), free_port()
    mood = directory / "mood"
    directory.write("mood", "")
    script = directory.script("check", f"cat {mood}")
    start(config=f"{admin.line}port {port}\nserver {server.spelt}\ncheck every=100ms rise=1 fall=1 program {script}\n")
    wait_for(lambda: admin.json("status")["servers"][0]["health"] == "up", "it is up")
    works(port)
    directory.write("mood", "drain\n")
    wait_for(lambda: not admin.json("status")["pools"][0]["usable"], "it is drained")
    assert admin.json("status")["servers"][0]["health"] == "up"
    assert gets_reset(port)


def test_an_agent_that_talks_without_end(start, service, admin):
    server, port, flood = service(), free_port(), Service(lambda s: [s.sendall(b"x" * 65536) for _ in range(200)])
    start(config=f"{admin.line}port {port}\nserver {server.spelt}\ncheck every=100ms agent {flood.port}\n")
    wait_for(lambda: flood.served > 3, "it is asked")
    works(port)
    flood.close()
