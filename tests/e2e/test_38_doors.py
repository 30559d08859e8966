"""Where the next supervisor finds the trios of a dead one: strangers cannot keep it from that."""
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from lib import processes
from lib.peers import ask, connect, talk
from lib.ports import free_port
from lib.waiting import outlast_fuser, stays, wait_for

STRANGER = "daemon"


def door(proxy, number=0):
    """The usual name, as python spells abstract ones."""
    return f"\\0tcpproxy/{os.stat('/proc/self/ns/net').st_ino}/{os.path.realpath(proxy.config_path)}/{number}"


def names():
    with open("/proc/net/unix") as f:
        return [line.split(" @", 1)[1].rstrip("\n") for line in f if " @tcpproxy/" in line]


@contextlib.contextmanager
def stranger(script, n=1, user=STRANGER):
    """Processes of another user that run this python, once they have said that they are ready."""
    if os.geteuid() != 0:
        pytest.skip("needs another user: root")
    head = "import signal, socket, time\nSEQ = (socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
    running = [subprocess.Popen([sys.executable, "-c", head + script], user=user, group="nogroup", extra_groups=[],
                                stdout=subprocess.PIPE, cwd="/") for _ in range(n)]
    try:
        for p in running:
            assert p.stdout.readline() == b"ready\n"
        yield running
    finally:
        for p in running:
            p.kill()
            p.wait()
            p.stdout.close()


def takes(name, then="time.sleep(60)", room=8):
    return f"s = socket.socket(*SEQ)\ns.bind('{name}')\ns.listen({room})\nprint('ready', flush=True)\n{then}\n"


@pytest.fixture
def scene(start, service):
    """A configuration with one worker, not started yet; scene.start()."""
    class Scene:
        port = free_port()
        config = f"workers 1\nport {port}\nserver {service().spelt}\n"

        def start(self, **more):
            self.proxy = start(config=self.config, **more)
            self.client = connect(self.port)
            talk(self.client)
            return self.proxy

        def take_over(self):
            serving = self.proxy.workers()
            self.proxy.kill_supervisor()
            outlast_fuser()
            self.proxy.start_again()
            self.proxy.wait_log("took over 1 worker")
            assert self.proxy.workers() == serving
            talk(self.client)
            assert ask(self.port, b"new") == b"new"
    return Scene()


def name_as_bytes(name):
    return b"\0" + name[2:].encode()


@pytest.fixture
def known(scene, start, directory):
    """The name of the door of the scene, before there is a process."""
    path = directory.write("tcpproxy.conf", scene.config)
    return f"\\0tcpproxy/{os.stat('/proc/self/ns/net').st_ino}/{os.path.realpath(path)}/0"


def test_a_name_that_a_stranger_has_taken(scene, known):
    """Said with who it is; the trio is found all the same."""
    with stranger(takes(known)) as others:
        proxy = scene.start()
        proxy.wait_log(rf"worker 0: somebody else has the name .*\(uid=1 pid={others[0].pid} program=python.*\): it gets another one")
        assert len([n for n in names() if n.startswith(known[2:] + "~")]) == 1
        scene.take_over()
        scene.take_over()


def test_names_that_only_look_like_ours(scene, known):
    """Any number of them."""
    more = ("more = []\nfor i in range(300):\n    m = socket.socket(*SEQ)\n"
            f"    m.bind('{known}~%016x' % i)\n    m.listen()\n    more.append(m)\n")
    with stranger(more + takes(known)):
        scene.start()
        scene.take_over()


def test_strangers_that_knock_without_end(scene):
    """Faster than they can be sent away."""
    proxy = scene.start()
    knock = ("print('ready', flush=True)\nwhile True:\n    s = socket.socket(*SEQ)\n    s.setblocking(False)\n"
             f"    try:\n        s.connect('{door(proxy)}')\n    except OSError:\n        pass\n")
    with stranger(knock, n=3):
        scene.take_over()


def test_a_strangers_door_where_there_is_no_room_ends_no_start(scene, known):
    full = ("more = []\nfor i in range(10):\n    c = socket.socket(*SEQ)\n    c.setblocking(False)\n    more.append(c)\n"
            f"    try:\n        c.connect('{known}')\n    except OSError:\n        break\ntime.sleep(60)")
    with stranger(takes(known, full, 0)):
        proxy = scene.start()
        proxy.wait_log("worker 0: somebody else has the name")


def test_a_stranger_of_the_service_user_is_told_no_key(scene, known):
    """It has the name of a worker that is not there, and asks whoever knocks to say who he is."""
    ask = (f"more = []\nfor i in range(1, 4):\n    d = socket.socket(*SEQ)\n    d.bind('{known[:-1]}' + str(i))\n    d.listen()\n"
           "    d.setblocking(False)\n    more.append(d)\nwhile True:\n    for d in more:\n        try:\n            c = d.accept()[0]\n"
           "            c.send(b'100cppct')\n            c.settimeout(2)\n            print('heard', len(c.recv(4096)), flush=True)\n"
           "        except OSError:\n            pass\n    time.sleep(0.005)\n")
    proxy = scene.start()
    with stranger(takes(known + "x", ask), user="nobody") as others:
        os.set_blocking(others[0].stdout.fileno(), False)
        proxy.signal(signal.SIGUSR2)
        proxy.wait_log("upgrade: done")
        knocks = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
        for i, knock in enumerate(knocks, 1):
            knock.connect(name_as_bytes(known)[:-1] + b"%d" % i)
            knock.send(b"we, the last")
        heard = b""

        def all_were_heard():
            nonlocal heard
            heard += others[0].stdout.read() or b""
            return heard.count(b"heard 12\n") == len(knocks)
        wait_for(all_were_heard, "those who came before are heard")
        for knock in knocks:
            knock.close()
        assert set(heard.splitlines()) <= {b"heard 0", b"heard 12"}, heard
    talk(scene.client)
    proxy.born = proxy.wait_whole()


def test_a_worker_that_does_not_answer(scene):
    """It is stopped: the start ends with 75, which says that it may go well in a moment, and has changed nothing."""
    proxy = scene.start()
    worker = proxy.workers()[0]
    proxy.kill_supervisor()
    outlast_fuser()
    os.kill(worker, signal.SIGSTOP)
    begin = time.monotonic()
    proxy._run()
    assert proxy.wait_exit(15) == 75
    assert time.monotonic() - begin < 8
    assert "worker 0, which serves this configuration already, does not answer" in proxy.log()
    os.kill(worker, signal.SIGCONT)
    talk(scene.client)
    proxy.start_again()
    proxy.wait_log("took over 1 worker")
    assert proxy.workers() == [worker]
    talk(scene.client)


def test_a_worker_that_answers_late_is_taken_over(scene):
    proxy = scene.start()
    worker = proxy.workers()[0]
    proxy.kill_supervisor()
    outlast_fuser()
    os.kill(worker, signal.SIGSTOP)
    proxy._run()
    stays(lambda: proxy.process.poll() is None, "it waits", 1)
    os.kill(worker, signal.SIGCONT)
    proxy.wait_log("took over 1 worker")
    proxy.born = proxy.wait_whole()
    talk(scene.client)
