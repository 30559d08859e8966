"""A port may be a Unix socket, with a file or without one."""
import os
import grp
import pwd
import re
import signal
import socket
import stat
import threading

import pytest

from lib import kernel
from lib.peers import (MIB, ask, connect, data, exchange_slowly, expect, expect_fin, expect_reset, fin, play, read_all,
                       read_exactly, reset, send, talk)
from lib.ports import free_port
from lib.proxy_header import v1, v2
from lib.upgrades import replace, upgrade
from lib.waiting import wait_for

AS_ROOT = os.getuid() == 0
ME = f"unix:{os.getpid()}/{os.getuid()}"


class UnixPort:
    """A proxy that listens at a socket in the test's directory, in front of one server."""

    def __init__(self, start, server, directory, options="", more="", head="", **others):
        self.path, self.server = f"{directory}/port.sock", server
        self.head = f"workers 2\n{head}"
        self.proxy = start(config=self.text(options, more), **others)
        wait_for(lambda: os.path.exists(self.path), "the socket")

    def text(self, options="", more=""):
        return f"{self.head}port unix:{self.path} {options}\n server {self.server.spelt}\n{more}"

    def pair(self):
        return connect(self.path), self.server.accept()


@pytest.fixture
def unix_port(start, server, directory):
    def make(options="", more="", kind="tcp4", **others):
        return UnixPort(start, server(kind), directory.path, options, more, **others)
    return make


@pytest.fixture
def echoing(start, service, directory):
    def make(options="", more="", **others):
        return UnixPort(start, service(), directory.path, options, more, **others)
    return make


# -- both streams, to their ends


@pytest.mark.parametrize("kind", ["tcp4", "tcp6", "unix"])
@pytest.mark.parametrize("client_does, server_does", [
    ([send(3 * MIB), fin(), expect(2 * MIB, seed=2), expect_fin()],
     [expect(3 * MIB), expect_fin(), send(2 * MIB, seed=2), fin()]),
    ([expect(2 * MIB, seed=2), expect_fin(), send(3 * MIB), fin()],
     [send(2 * MIB, seed=2), fin(), expect(3 * MIB), expect_fin()]),
    ([send(1000), expect_reset()], [expect(1000), reset()]),
], ids=["the client ends first", "the server does", "a reset ends it"])
def test_streams_and_their_ends(unix_port, kind, client_does, server_does):
    r = unix_port(kind=kind)
    for _ in range(3):
        one, other = r.pair()
        play(one, client_does, other, server_does)
    found = r.proxy.wait_records(3)
    assert len({record.end for record in found}) == 1
    assert [(record.up, record.down) for record in found] == 3 * [(found[0].up, found[0].down)]


def test_a_kill_of_its_worker_costs_no_byte(unix_port):
    r = unix_port()
    r.proxy.expect_deaths()
    pairs = [r.pair() for _ in range(4)]

    def kill():
        for pid in r.proxy.workers():
            os.kill(pid, signal.SIGKILL)
    timer = threading.Timer(0.3, kill)
    timer.start()
    exchange_slowly(pairs, 4 * MIB, 0.01)
    timer.join()
    assert {record.end for record in r.proxy.wait_records(4)} <= {"client-fin", "server-fin"}
    r.proxy.wait_whole()


# -- what is said of it


@pytest.mark.parametrize("json", [False, True])
def test_the_record_says_who_came_and_where(echoing, json):
    r = echoing("as back-office", head="log stderr+json\n" if json else "")
    with connect(r.path) as s:
        talk(s)
    record = r.proxy.wait_record()
    assert (record["service"], record["port"], record["interface"], record["client"]) == \
        ("back-office", f"unix:{r.path}", r.path, ME)


def test_without_a_name_it_is_called_by_its_socket(echoing, admin):
    r = echoing(head=admin.line)
    with connect(r.path) as s:
        talk(s)
        found = admin.wait_connection(state="relay")
        assert (found["service"], found["port"], found["interface"], found["client"]) == \
            (f"unix:{r.path}", f"unix:{r.path}", r.path, ME)
        assert admin.metric("tcpproxy_connections", service=f"unix:{r.path}") == 1
        assert f"unix:{r.path}" in admin.ask("status")
        assert len(admin.connections(f"service=unix:{r.path}")) == 1
        admin.ask("disable", f"unix:{r.path}")
        with connect(r.path) as refused:
            assert refused.recv(1) == b""
        admin.ask("enable", f"unix:{r.path}")
        with connect(r.path) as other:
            talk(other)
    r.proxy.wait_log(f"listening on unix:{re.escape(r.path)}, leading to")


def test_programs_are_told(start, directory):
    path = f"{directory.path}/port.sock"
    start(config=f"port unix:{path}\nexec /usr/bin/env\n")
    found = dict(line.split("=", 1) for line in ask(path).decode().splitlines())
    wanted = {"PROXY_CLIENT": ME, "PROXY_CLIENTNAME": ME, "PROXY_INTERFACE": path, "PROXY_PORT": f"unix:{path}",
              "PROTO": "UNIX", "UNIXLOCALPATH": path, "UNIXREMOTEPID": str(os.getpid()),
              "UNIXREMOTEEUID": str(os.getuid())}
    assert {name: found.get(name) for name in wanted} == wanted
    assert not [name for name in found if name.startswith("TCP")]


# -- its file


def test_its_rights_and_whose_it_is(echoing):
    r = echoing()
    st = os.stat(r.path)
    assert stat.S_IMODE(st.st_mode) == 0o660
    if AS_ROOT:
        assert st.st_uid == pwd.getpwnam("nobody").pw_uid


@pytest.mark.skipif(not AS_ROOT, reason="gives a file away")
def test_the_line_may_say_both(echoing):
    r = echoing("mode=0606 owner=daemon:mail")
    st = os.stat(r.path)
    assert stat.S_IMODE(st.st_mode) == 0o606
    assert (st.st_uid, st.st_gid) == (pwd.getpwnam("daemon").pw_uid, grp.getgrnam("mail").gr_gid)


@pytest.mark.skipif(not AS_ROOT, reason="gives a file away")
def test_an_owner_that_there_is_not(directory):
    path = f"{directory.path}/port.sock"
    done = directory.run("-f", directory.write("c", f"port unix:{path} owner=nobody-knows\nserver 127.0.0.1:9\n"))
    assert done.returncode == 2 and "no such user or group as owner=nobody-knows" in done.stderr
    assert not os.path.exists(path)


def test_its_rights_change_with_a_reload(echoing):
    r = echoing()
    r.proxy.rewrite(r.text("mode=0600"))
    r.proxy.signal(signal.SIGHUP)
    r.proxy.wait_log("is in force")
    assert stat.S_IMODE(os.stat(r.path).st_mode) == 0o600
    with connect(r.path) as s:
        talk(s)


def test_what_a_killed_one_has_left_is_replaced(start, service, directory):
    path = f"{directory.path}/port.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
    start(config=f"port unix:{path}\nserver {service().spelt}\n")
    with connect(path) as s:
        talk(s)


@pytest.mark.parametrize("there", ["a server", "a file"])
def test_what_else_is_there_stays(directory, there):
    path = f"{directory.path}/port.sock"
    with socket.socket(socket.AF_UNIX) as s:
        if there == "a server":
            s.bind(path)
            s.listen()
        else:
            open(path, "w").close()
        done = directory.run("-f", directory.write("c", f"port unix:{path}\nserver 127.0.0.1:9\n"))
    assert done.returncode == 2
    assert f"port unix:{path}: cannot listen there: somebody answers there, or a file is in its place" in done.stderr
    assert os.path.exists(path)


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_it_goes_with_us(echoing):
    r = echoing()
    r.proxy.stop()
    assert not os.path.exists(r.path)


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_at_a_graceful_stop_it_goes_at_once(echoing):
    r = echoing()
    with connect(r.path) as s:
        talk(s)
        r.proxy.signal(signal.SIGQUIT)
        wait_for(lambda: not os.path.exists(r.path), "no file")
        talk(s)
    assert r.proxy.wait_exit() == 0


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_it_stays_over_the_death_of_a_supervisor(echoing):
    r = echoing()
    with connect(r.path) as s:
        r.proxy.kill_supervisor()
        talk(s)
        with connect(r.path) as other:
            talk(other)
        r.proxy.start_again()
        with connect(r.path) as other:
            for one in (s, other):
                talk(one)
    r.proxy.stop()
    assert not os.path.exists(r.path)


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_and_over_an_upgrade(echoing):
    r = echoing()
    with connect(r.path) as s:
        replace(r.proxy)
        upgrade(r.proxy)
        with connect(r.path) as other:
            for one in (s, other):
                talk(one)
    r.proxy.wait_records(2)
    r.proxy.stop()
    assert not os.path.exists(r.path)


def test_a_port_that_a_reload_takes_away_has_no_file_any_more(echoing, service, directory):
    r = echoing(more="")
    other, more = f"{directory.path}/other.sock", free_port()
    if AS_ROOT:
        os.chmod(directory.path, 0o777)
    before = r.proxy.config
    r.proxy.rewrite(f"workers 2\nport unix:{other}\nserver {service().spelt}\nport {more}\nserver 127.0.0.1:9\n")
    with connect(r.path) as s:
        talk(s)
        r.proxy.signal(signal.SIGHUP)
        wait_for(lambda: r.proxy.log().count("is in force") == 1, "reloaded")
        assert not os.path.exists(r.path)
        talk(s)
        with connect(other) as new:
            talk(new)
    r.proxy.rewrite(before)
    r.proxy.signal(signal.SIGHUP)
    wait_for(lambda: r.proxy.log().count("is in force") == 2, "and back")
    assert not os.path.exists(other)
    with connect(r.path) as s:
        talk(s)


def test_a_reload_that_fails_leaves_no_file(echoing, directory):
    r = echoing()
    other = f"{directory.path}/other.sock"
    if AS_ROOT:
        os.chmod(directory.path, 0o777)
    r.proxy.rewrite(r.text(more=f"port unix:{other}\n server 127.0.0.1:9\n"
                                f"port unix:{directory.path}/not/there.sock\n server 127.0.0.1:9\n"))
    r.proxy.signal(signal.SIGHUP)
    r.proxy.wait_log("reload: nothing has changed")
    assert not os.path.exists(other)
    with connect(r.path) as s:
        talk(s)


def test_a_file_that_was_removed_comes_again_with_a_reload(echoing, directory):
    if AS_ROOT:
        os.chmod(directory.path, 0o777)
    r = echoing()
    os.unlink(r.path)
    r.proxy.signal(signal.SIGHUP)
    r.proxy.wait_log("is in force")
    with connect(r.path) as s:
        talk(s)


# -- who may come


def test_addresses_do_not_concern_its_clients(echoing):
    r = echoing(more="deny all\n")
    with connect(r.path) as s:
        talk(s)


def test_a_client_is_a_user(unix_port):
    r = unix_port(more="max-connections-per-client 2\n")
    pairs = [r.pair() for _ in range(2)]
    with connect(r.path) as s:
        assert s.recv(1) == b""
    record = r.proxy.wait_record()
    assert (record.end, record["why"], record["client"]) == ("limit", "max-connections-per-client", ME)
    for one in pairs[0]:
        one.close()
    r.proxy.wait_records(2)
    for one in r.pair():
        one.close()


@pytest.mark.parametrize("header", [v1(), v2(), v2(crc=True)])
def test_it_may_be_somebody_elses_client(unix_port, header):
    r = unix_port(more="accept-proxy from 10.0.0.0/8\n")
    client = connect(r.path)
    client.sendall(header + b"hello")
    s = r.server.accept()
    assert read_exactly(s, 5) == b"hello"
    client.close()
    s.close()
    record = r.proxy.wait_record()
    assert (record["client"], record["via"], record.up) == ("192.0.2.7:4711", ME, 5)


def test_what_it_says_first_may_lead_on(start, service, directory):
    path = f"{directory.path}/port.sock"
    start(config=f"port unix:{path}\nserver {service(lambda s: s.sendall(b'other')).spelt}\n"
                 f"protocol http\nserver {service(lambda s: s.sendall(b'http')).spelt}\n")
    for words, wanted in ((b"GET / HTTP/1.0\r\n\r\n", b"http"), (b"quit\r\n", b"other")):
        with connect(path) as s:
            s.sendall(words)
            assert read_all(s) == wanted


def test_its_server_is_told_that_nobody_knows(unix_port):
    r = unix_port(more="send-proxy v1\n")
    client, s = r.pair()
    client.sendall(b"hello")
    assert read_exactly(s, 20) == b"PROXY UNKNOWN\r\nhello"
    for one in (client, s):
        one.close()


# -- without a file


@pytest.fixture
def abstract(request):
    return f"@test_64.{os.getpid()}.{free_port()}"


def test_a_name_without_a_file(start, service, abstract):
    proxy = start(config=f"port unix:{abstract}\nserver {service().spelt}\n")
    with connect(abstract) as s:
        talk(s)
    record = proxy.wait_record()
    assert (record["port"], record["interface"]) == (f"unix:{abstract}", abstract)


def test_a_server_without_a_file(start, abstract):
    port = free_port()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(abstract.replace("@", "\0"))
        listener.listen()
        proxy = start(config=f"port {port}\nserver unix:{abstract}\ncheck tcp\n")
        wait_for(lambda: listener.accept()[0].close() or True, "the check")
        with connect(port) as s:
            s.sendall(b"hello")
            while True:
                served = listener.accept()[0]
                if served.recv(5) == b"hello":
                    break
                served.close()
            served.close()
        assert proxy.wait_record()["server"] == f"unix:{abstract}"


def test_the_first_of_them_may_come_with_a_reload(start, service, abstract):
    """What a worker was forbidden it is so for good: others follow."""
    old, new = free_port(), free_port()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(abstract.replace("@", "\0"))
        listener.listen()
        text = f"workers 2\nport {old}\nserver {service().spelt}\n"
        proxy = start(config=text)
        with connect(old) as s:
            talk(s)
            proxy.rewrite(f"{text}port {new}\nserver unix:{abstract}\n")
            proxy.signal(signal.SIGHUP)
            proxy.wait_log("is in force")

            def served():
                with connect(new) as client:
                    client.sendall(b"x")
                    listener.settimeout(0.2)
                    try:
                        return listener.accept()[0].recv(1) == b"x"
                    except TimeoutError:
                        return False
            wait_for(served, "a server without a file")
            talk(s)
        proxy.born = proxy.wait_whole()
