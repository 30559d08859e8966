"""Sockets that systemd has opened, by their names: port fd:NAME."""
import os
import signal
import socket

import pytest

from lib import processes
from lib.peers import connect, gets_reset, read_all, talk
from lib.ports import free_port
from lib.upgrades import replace, upgrade
from lib.waiting import wait_for

FIRST = 3


class Passed:
    """Listening sockets of the test, which a proxy is given as systemd does."""

    def __init__(self):
        self.sockets = []

    def tcp(self):
        s = socket.create_server(("127.0.0.1", free_port()))
        self.sockets.append(s)
        return s.getsockname()[1]

    def unix(self, path):
        s = socket.socket(socket.AF_UNIX)
        s.bind(path.replace("@", "\0", 1))
        s.listen()
        self.sockets.append(s)
        return path

    def how(self, names):
        """For Popen."""
        fds = [s.fileno() for s in self.sockets]

        def arrange():
            high = [os.dup(fd) for fd in fds]
            high = [os.dup2(fd, 200 + i) for i, fd in enumerate(high)]
            for i, fd in enumerate(high):
                os.dup2(fd, FIRST + i)
        say = f'exec env LISTEN_FDS={len(fds)} LISTEN_PID=$$ LISTEN_FDNAMES={names} "$@"'
        return dict(preexec_fn=arrange, pass_fds=range(FIRST, FIRST + len(fds)), wrap=["/bin/sh", "-c", say, "sh"])

    def close(self):
        for s in self.sockets:
            s.close()


@pytest.fixture
def passed():
    p = Passed()
    yield p
    p.close()


def answers(port):
    with connect(port) as s:
        return read_all(s)


@pytest.fixture
def named(service):
    return lambda name: service(lambda s: s.sendall(name)).spelt


def test_each_is_found_by_its_name(start, passed, named, directory):
    web, mail = passed.tcp(), passed.tcp()
    path = passed.unix(f"{directory.path}/passed.sock")
    proxy = start(config=f"workers 2\nport fd:mail\nserver {named(b'mail')}\nport fd:local\nserver {named(b'local')}\n"
                         f"port fd:web as site\nserver {named(b'web')}\n", **passed.how("web:mail:local"))
    wait_for(lambda: answers(web) == b"web", "it serves")
    assert (answers(mail), answers(path)) == (b"mail", b"local")
    found = proxy.wait_records(3)
    assert {(r.get("service"), r["port"], r["interface"]) for r in found} >= {("site", str(web), "127.0.0.1")}
    proxy.wait_log("listening on fd:web \\(site\\), leading to")


def test_several_may_have_one_name(start, passed, named):
    ports = [passed.tcp() for _ in range(3)]
    proxy = start(config=f"port fd:all\nserver {named(b'one')}\n", **passed.how("all:other:all"))
    wait_for(lambda: answers(ports[0]) == b"one", "it serves")
    assert answers(ports[2]) == b"one"
    proxy.stop()


def test_what_no_other_port_takes_goes_to_the_nameless_one(start, passed, named):
    ports = [passed.tcp() for _ in range(4)]
    start(config=f"port fd:web\nserver {named(b'web')}\nport fd:\nserver {named(b'rest')}\n"
                 f"port {ports[2]}\ninterface 127.0.0.1\nserver {named(b'number')}\n",
          **passed.how("web:x.socket:x.socket:"))
    assert [answers(p) for p in ports] == [b"web", b"rest", b"number", b"rest"]


def test_none_of_that_name_was_passed(directory, passed):
    done = directory.run("-f", directory.write("c", "port fd:web\nserver 127.0.0.1:9\n"))
    assert done.returncode == 2
    assert "port fd:web: no socket of that name was passed to us" in done.stderr
    assert "FileDescriptorName=web" in done.stderr
    done = directory.run("-f", directory.write("c", "port fd:\nserver 127.0.0.1:9\n"))
    assert done.returncode == 2 and "no socket was passed to us that no other port takes" in done.stderr


def test_it_is_the_same_over_deaths_and_reloads(start, passed, service, named):
    port, own = passed.tcp(), free_port()
    text = f"workers 2\nport fd:web\nserver {service().spelt}\n"
    proxy = start(config=text, **passed.how("web"))
    proxy.wait_whole()
    with connect(port) as s:
        talk(s)
        proxy.kill_workers()
        talk(s)
        proxy.rewrite(f"{text}port {own}\nserver {named(b'own')}\n")
        proxy.signal(signal.SIGHUP)
        proxy.wait_log("is in force")
        assert answers(own) == b"own"
        with connect(port) as other:
            talk(other)
        proxy.rewrite(f"{text}port fd:more\nserver {named(b'more')}\n")
        proxy.signal(signal.SIGHUP)
        proxy.wait_log("reload: port fd:more: no socket of that name was passed to us")
        talk(s)


def test_another_supervisor_knows_them_by_what_the_workers_tell(start, passed, service, directory):
    port = passed.tcp()
    path = passed.unix(f"{directory.path}/passed.sock")
    proxy = start(config=f"workers 2\nport fd:web\nserver {service().spelt}\n"
                         f"port fd:local\nserver {service().spelt}\n", **passed.how("web:local"))
    proxy.wait_whole()
    with connect(port) as s, connect(path) as t:
        talk(s)
        talk(t)
        proxy.kill_supervisor()
        proxy.start_again()
        for one in (s, t):
            talk(one)
        for where in (port, path):
            with connect(where) as new:
                talk(new)
        # what systemd passes once more is what we have: not a second descriptor for each
        listeners = [fd for fd, leads_to in processes.descriptors(proxy.workers()[0]).items() if "socket" in leads_to]
        replace(proxy)
        upgrade(proxy)
        for where in (port, path):
            with connect(where) as new:
                talk(new)
        talk(s)
        talk(t)
        assert len(listeners) < 12
    proxy.stop()
    assert os.path.exists(path)  # it is systemd's


def test_a_port_that_leads_to_itself_ends(start, passed):
    """Which port that is the configuration does not say."""
    port = passed.tcp()
    proxy = start(config=f"workers 2\nport fd:web\nserver 127.0.0.1:{port}\n", **passed.how("web"))
    proxy.wait_whole()
    assert gets_reset(port)
    wait_for(lambda: any(r.get("why") == "loop" for r in proxy.records()), "the loop is seen")
    assert len(proxy.records()) < 20
