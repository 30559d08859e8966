"""on-down refuse: the kernel refuses clients while no server behind a port is usable."""
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from lib import processes, upgrades
from lib.peers import Service, ask, connect, echo, gets_reset, refused, talk
from lib.ports import free_port
from lib.waiting import outlast_fuser, stays, wait_for

CHECK = "check every=100ms rise=1 fall=1 tcp\n"


class Backend:
    """A server that comes and goes, always at the same port."""

    def __init__(self):
        self.port = free_port()
        self.spelt = f"127.0.0.1:{self.port}"
        self.service = None

    def up(self):
        self.service = Service(echo, port=self.port)

    def down(self):
        if self.service:
            self.service.close()
            self.service = None


@pytest.fixture
def backend():
    b = Backend()
    b.up()
    yield b
    b.down()


class Port:
    """A port that refuses while its only server is down."""

    def __init__(self, start, backend, admin, more="", check=CHECK):
        self.port, self.backend, self.admin = free_port(), backend, admin
        self.head = f"{admin.line}{more}"
        self.rest = f"port {self.port}\nserver {backend.spelt}\n{check}"
        self.config = self.head + self.rest + "on-down refuse\n"
        self.proxy = start(config=self.config)

    def without(self):
        return self.head + self.rest

    def wait_refuses(self):
        wait_for(lambda: refused(self.port), f"the port refuses\n{self.proxy.log()}", 20)

    def wait_accepts(self):
        wait_for(lambda: not refused(self.port), f"the port accepts\n{self.proxy.log()}", 20)

    def wait_serves(self):
        def serves():
            try:
                return ask(self.port, b"word") == b"word"
            except OSError:  # it is reset, perhaps before the client has ended its stream
                return False
        wait_for(serves, f"the port serves\n{self.proxy.log()}", 20)

    def down(self):
        self.backend.down()
        self.wait_refuses()

    def up(self):
        self.backend.up()
        self.wait_serves()


@pytest.fixture
def port(start, backend, admin):
    return Port(start, backend, admin)


# -- it refuses, it accepts

def test_the_port_refuses_while_its_server_is_down(port, admin):
    port.wait_serves()
    kept = connect(port.port)
    talk(kept)
    for _ in range(3):
        port.down()
        wait_for(lambda: admin.service(port.port)["refusing"], "status says so")
        assert admin.metric("tcpproxy_service_refusing", service=str(port.port)) == 1
        assert "refusing" in admin.ask("status")
        port.up()
        wait_for(lambda: not admin.service(port.port)["refusing"], "status says so")
        assert admin.metric("tcpproxy_service_refusing", service=str(port.port)) == 0
    kept.close()
    log = port.proxy.log()
    assert log.count(f"service {port.port}: no server is usable: it refuses clients now") == 3
    assert log.count(f"service {port.port}: it accepts clients again") == 3


def test_clients_that_wait_are_reset_and_connections_go_on(port, admin, service):
    """One server is disabled: its connections live, and the port refuses."""
    port.wait_serves()
    kept = connect(port.port)
    talk(kept)
    admin.ask("disable", port.backend.spelt)
    port.wait_refuses()
    talk(kept)
    admin.ask("enable", port.backend.spelt)
    port.wait_serves()
    talk(kept)
    kept.close()


def test_no_usable_server_from_the_start(start, backend, admin):
    port = free_port()
    proxy = start(config=f"{admin.line}port {port}\nserver {backend.spelt} disabled\non-down refuse\n", wait=False)
    proxy.wait_log(f"service {port}: no server is usable: it refuses clients now")
    proxy.wait_log('"on-down refuse" without a "check": the servers are checked with "check tcp"')
    assert refused(port)
    admin.ask("enable", backend.spelt)
    wait_for(lambda: not refused(port), "it accepts")
    assert ask(port, b"word") == b"word"


def test_the_port_accepts_while_the_first_check_is_open(start, service):
    failed, port = threading.Event(), free_port()

    def silent(s):
        failed.wait(60)

    asked = service(silent)
    proxy = start(config=f"port {port}\nserver {asked.spelt}\ncheck every=100ms timeout=60s expect X\non-down refuse\n")
    wait_for(lambda: asked.served, "it is asked")
    stays(lambda: not refused(port), "the port accepts", 0.5)
    failed.set()
    proxy.wait_log("refuses clients now")
    assert refused(port)


def test_nobody_spins_and_nobody_takes_the_port(port):
    port.wait_serves()
    port.down()
    pids = [*port.proxy.workers(), *port.proxy.role("checker")]
    before = [processes.cpu_seconds(pid) for pid in pids]
    time.sleep(1.5)  # so long it could have spun
    for pid, at in zip(pids, before):
        assert processes.cpu_seconds(pid) - at < 0.5, processes.title(pid)
    taker = ("import socket, sys\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
             f"s.bind(('', {port.port}))\ns.listen()\n")
    as_others = [None, 65534] if os.geteuid() == 0 else [None]
    for user in as_others:
        done = subprocess.run(["/usr/bin/python3", "-c", taker], user=user, capture_output=True, text=True, check=False)
        assert "Address already in use" in done.stderr, done
    port.up()


def test_workers_sleep_while_it_refuses(port):
    """A look a second, in case nobody wakes them; and they are woken at once."""
    def looks():
        return sum(int(processes.status(pid)["voluntary_ctxt_switches"]) for pid in port.proxy.workers())
    port.wait_serves()
    port.down()
    before, began = looks(), time.monotonic()
    stays(lambda: True, "time", 3)
    each = (looks() - before) / len(port.proxy.workers()) / (time.monotonic() - began)
    assert each < 4, f"{each} a second"
    port.up()


def test_many_changes(port, admin):
    port.wait_serves()
    for _ in range(50):
        admin.raw(f"disable {port.backend.spelt}\n".encode())
        port.wait_refuses()
        admin.raw(f"enable {port.backend.spelt}\n".encode())
        port.wait_accepts()
    port.wait_serves()
    assert port.proxy.log().count("it accepts clients again") == 50


# -- several sections at one port

def test_sockets_of_their_own_refuse_by_themselves(start, backend, service):
    port = free_port()
    proxy = start(config=f"port {port}\ninterface 127.0.0.1\nserver {backend.spelt}\n{CHECK}on-down refuse\n"
                         f"interface 127.0.0.2\nserver {service(echo).spelt}\n")
    assert ask(port, b"word") == b"word"
    backend.down()
    wait_for(lambda: refused(port), "one refuses")
    proxy.wait_log(f"it refuses clients now at 127.0.0.1:{port}")
    assert ask(port, b"word", host="127.0.0.2") == b"word"
    backend.up()
    wait_for(lambda: not refused(port), "it accepts")


def test_a_port_of_which_one_section_would_not_refuse(start, backend, service, admin):
    port = free_port()
    other = service(echo)
    config = (f"{admin.line}port {port}\nserver {other.spelt}\n{CHECK}ROOT"
              f"interface 127.0.0.1\nserver {backend.spelt}\non-down refuse\n")
    proxy = start(config=config.replace("ROOT", ""))
    assert ask(port, b"word") == b"word"
    backend.down()
    wait_for(lambda: admin.server(backend.spelt)["health"] == "down", "it is down")
    stays(lambda: gets_reset(port), "it accepts, and resets", 0.5)
    proxy.rewrite(config.replace("ROOT", "on-down refuse\n"))
    admin.ask("reload")
    stays(lambda: gets_reset(port), "the other section has a server", 0.5)
    admin.ask("disable", other.spelt)
    wait_for(lambda: refused(port), "all would refuse")
    admin.ask("enable", other.spelt)
    wait_for(lambda: not refused(port, "127.0.0.2"), "it accepts")
    assert ask(port, b"word", host="127.0.0.2") == b"word"


# -- deaths

def test_workers_that_die_while_it_refuses(port):
    port.wait_serves()
    port.down()
    port.proxy.expect_deaths()
    for pid in port.proxy.workers():
        os.kill(pid, signal.SIGKILL)
        outlast_fuser()
    port.proxy.wait_whole()
    assert refused(port.port)
    port.up()
    for pid in port.proxy.workers():
        os.kill(pid, signal.SIGKILL)
        outlast_fuser()
    port.proxy.wait_whole()
    port.down()
    port.up()


def new_checker(proxy, old):
    return wait_for(lambda: next((p for p in proxy.role("checker") if p != old), None), "another checker")


def kill_checker(proxy):
    (old,) = proxy.role("checker")
    os.kill(old, signal.SIGKILL)
    return old


def test_a_checker_that_dies_changes_nothing(port):
    port.wait_serves()
    port.proxy.expect_deaths()
    port.down()
    old = kill_checker(port.proxy)
    stays(lambda: refused(port.port), "it refuses", 1)
    new_checker(port.proxy, old)
    assert refused(port.port)
    outlast_fuser()
    old = kill_checker(port.proxy)
    port.backend.up()  # while there is none
    port.wait_serves()
    old = new_checker(port.proxy, old)
    outlast_fuser()
    kill_checker(port.proxy)
    port.backend.down()
    port.wait_refuses()
    port.up()


def test_a_checker_killed_at_any_moment(port, admin):
    """Wherever it is killed, the next one goes on from there."""
    port.wait_serves()
    port.proxy.expect_deaths()
    for i in range(8):
        admin.raw(f"{'enable' if i % 2 else 'disable'} {port.backend.spelt}\n".encode())
        (old,) = port.proxy.role("checker")
        time.sleep(0.02 * i)  # anywhere in its turn
        os.kill(old, signal.SIGKILL)
        new_checker(port.proxy, old)
        (port.wait_serves if i % 2 else port.wait_refuses)()


def test_a_supervisor_that_dies_while_it_refuses(port):
    port.wait_serves()
    port.down()
    port.proxy.kill_supervisor()
    port.wait_accepts()  # whoever comes may not know that it refuses
    port.proxy.start_again()
    port.wait_refuses()
    wait_for(lambda: len(port.proxy.role("checker")) == 1, "the old checker goes")
    assert refused(port.port)
    port.up()


def test_all_but_the_workers_die_while_it_refuses(port):
    """Nobody has been able to give the port back: the next supervisor does."""
    port.wait_serves()
    port.down()
    config = port.without()
    port.proxy.expect_deaths()
    (checker,) = port.proxy.role("checker")
    os.kill(port.proxy.pid, signal.SIGSTOP)
    os.kill(checker, signal.SIGKILL)
    port.proxy.kill_supervisor()
    assert refused(port.port)
    port.proxy.rewrite(config)
    port.proxy.start_again()
    port.wait_accepts()
    assert gets_reset(port.port)
    port.up()


def test_a_checker_that_is_stopped_while_another_supervisor_comes(port):
    port.wait_serves()
    port.down()
    (old,) = port.proxy.role("checker")
    os.kill(old, signal.SIGSTOP)
    port.proxy.kill_supervisor()
    port.proxy._run()  # there are two checkers for a while
    port.proxy.wait_log("took over .* whose supervisor had died")
    port.wait_refuses()
    new_checker(port.proxy, old)
    os.kill(old, signal.SIGCONT)
    wait_for(lambda: old not in port.proxy.role("checker"), "the old checker goes")
    assert refused(port.port)
    port.up()


# -- other rules, other programs

def test_a_reload_without_the_directive(port, admin):
    port.wait_serves()
    port.proxy.expect_deaths()  # without checks there is no checker
    port.down()
    port.proxy.rewrite(port.without())
    admin.ask("reload")
    assert gets_reset(port.port)
    wait_for(lambda: not admin.service(port.port)["refusing"], "status says so")
    port.proxy.rewrite(port.config)
    admin.ask("reload")
    port.wait_refuses()
    port.proxy.rewrite(port.head + f"port {port.port}\nserver {port.backend.spelt}\n")  # and no check: no checker
    admin.ask("reload")
    port.wait_accepts()
    assert gets_reset(port.port)
    assert port.proxy.role("checker") == []
    port.up()


def test_a_reload_while_the_checker_is_stopped(port, admin):
    port.wait_serves()
    port.down()
    (checker,) = port.proxy.role("checker")
    os.kill(checker, signal.SIGSTOP)
    port.proxy.rewrite(port.without())
    admin.ask("reload")
    port.wait_accepts()
    os.kill(checker, signal.SIGCONT)
    stays(lambda: not refused(port.port), "it accepts", 0.5)
    port.up()


def test_a_reload_between_one_address_and_all(start, backend, admin):
    port = free_port()
    wide = f"{admin.line}port {port}\nserver {backend.spelt}\n{CHECK}on-down refuse\n"
    narrow = f"{admin.line}port {port}\ninterface 127.0.0.1\nserver {backend.spelt}\n{CHECK}on-down refuse\n"
    proxy = start(config=wide)
    assert ask(port, b"word") == b"word"
    backend.down()
    for config in (narrow, wide, narrow):
        wait_for(lambda: refused(port), f"it refuses\n{proxy.log()}")
        proxy.rewrite(config)
        admin.ask("reload")
    wait_for(lambda: refused(port), f"it refuses\n{proxy.log()}")
    backend.up()
    wait_for(lambda: not refused(port), f"it accepts\n{proxy.log()}")
    assert ask(port, b"word") == b"word"
    assert "cannot listen" not in proxy.log()
    proxy.rewrite(wide)  # two sockets are left, of which neither could begin again beside the other
    admin.ask("reload")
    proxy.wait_log(f":{port} and 1 more cannot refuse clients, .*two sockets serve this port")
    admin.ask("disable", backend.spelt)
    stays(lambda: gets_reset(port), "clients are reset", 0.5)
    admin.ask("enable", backend.spelt)
    assert ask(port, b"word") == b"word"


def test_an_upgrade_while_it_refuses(port):
    port.wait_serves()
    port.down()
    for n in (1, 2):
        upgrades.replace(port.proxy)
        upgrades.upgrade(port.proxy, n)
        port.wait_refuses()
    port.up()
    port.down()
    port.up()


def test_an_upgrade_that_is_rolled_back_while_it_refuses(port):
    port.wait_serves()
    port.down()
    (checker,) = port.proxy.role("checker")
    os.kill(checker, signal.SIGSTOP)  # it cannot give anything back
    seen = port.proxy.directory / "notes/seen"
    pid = upgrades.roll_back(port.proxy, f"cat /proc/net/tcp >{seen}")
    with open(seen) as f:
        assert f":{port.port:04X} 00000000:0000 0A" in f.read()  # the other program got a socket that listens
    port.wait_refuses()
    port.up()
    port.down()
    os.kill(pid, signal.SIGTERM)
    port.proxy.wait_gone()


def test_a_graceful_stop_leaves_the_port(port):
    port.wait_serves()
    client = connect(port.port)
    talk(client)
    port.proxy.signal(signal.SIGQUIT)
    port.proxy.wait_log("graceful stop: no new connections")

    def taken():
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("", port.port))
                s.listen()
                return True
            except OSError:
                return False
    wait_for(taken, "the port is free")
    talk(client)
    client.close()
    assert port.proxy.wait_exit() == 0


def test_clients_are_held_before_it_refuses(start, backend, admin):
    port = free_port()
    proxy = start(config=f"{admin.line}port {port}\nserver {backend.spelt}\n{CHECK}on-down hold 4 then refuse\n")
    wait_for(lambda: admin.json("status")["servers"][0]["health"] == "up", "it is up")
    backend.down()
    wait_for(lambda: admin.json("status")["servers"][0]["health"] == "down", "it is down")
    with connect(port) as held:
        admin.wait_connections(1, "state=held")
        backend.up()
        talk(held, b"as if nothing had been")
    backend.down()
    proxy.wait_log("it refuses clients now")
    assert refused(port)
    backend.up()
    wait_for(lambda: not refused(port), "it accepts again")
    assert ask(port, b"word") == b"word"


def test_a_socket_that_was_passed_cannot_refuse(start, backend, admin):
    with socket.socket() as passed:
        passed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        passed.bind(("127.0.0.1", free_port()))
        passed.listen()
        port = passed.getsockname()[1]
        config = f"{admin.line}port {port}\ninterface 127.0.0.1\nserver {backend.spelt}\n{CHECK}on-down refuse\n"
        os.dup2(passed.fileno(), 63)
        try:
            proxy = start(config=config, pass_fds=[3], preexec_fn=lambda: os.dup2(63, 3),
                          wrap=["/bin/sh", "-c", 'exec env LISTEN_FDS=1 LISTEN_PID=$$ "$@"', "sh"])
        finally:
            os.close(63)
        proxy.wait_log(f"127.0.0.1:{port} cannot refuse clients, as \"on-down refuse\" wants: .*systemd")
        wait_for(lambda: admin.server(backend.spelt)["health"] == "up", "it is up")
        backend.down()
        wait_for(lambda: admin.server(backend.spelt)["health"] == "down", "it is down")
        stays(lambda: gets_reset(port), "they are reset", 0.5)
        proxy.expect_deaths()
        upgrades.replace(proxy)
        upgrades.upgrade(proxy)
        assert proxy.log().count("cannot refuse clients") == 2
        stays(lambda: gets_reset(port), "they are reset", 0.5)
