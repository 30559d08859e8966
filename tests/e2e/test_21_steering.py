"""Steering: tcpproxyctl kill, drain, disable, enable, reload, upgrade, log level."""
import os
import signal

import pytest

from lib import build, kernel, processes
from lib.peers import ask, connect, gets_reset, is_reset, read_exactly, say
from lib.ports import free_port
from lib.waiting import wait_for


@pytest.fixture
def pool(start, service, admin):
    """Two servers that say who they are, behind one port."""
    pool.port = free_port()
    pool.a, pool.b = service(say("a")), service(say("b"))
    pool.proxy = start(config=f"{admin.line}port {pool.port}\nserver {pool.a.spelt}\nserver {pool.b.spelt}\n")
    return pool


def answers(port, n=8):
    return {ask(port).decode() for _ in range(n)}


# -- kill

def test_kill_resets_both_sides(start, server, admin, kind):
    listening, port = server(kind), free_port()
    proxy = start("-b", port, "-o", admin.option, listening.spelt)
    client = connect(port)
    accepted = listening.accept()
    client.sendall(b"hello")
    assert read_exactly(accepted, 5) == b"hello"
    (c,) = admin.wait_connections(1)
    assert admin.ask("kill", c["id"]) == "killed 1 connection\n"
    assert is_reset(client)
    if kind == "unix":  # it cannot carry a reset
        assert accepted.recv(1) == b""
    else:
        assert is_reset(accepted)
    record = proxy.wait_record()
    assert (record.end, record.up, int(record["id"])) == ("killed", 5, c["id"])
    admin.wait_connections(0)
    assert f"no connection {c['id']}" in admin.refused("kill", c["id"])
    client.close()
    accepted.close()


def test_kill_by_a_filter_leaves_the_others(start, service, admin):
    one, two = free_port(), free_port()
    a = service()
    proxy = start(config=f"{admin.line}port {one}\nserver {a.spelt}\nport {two}\nserver {a.spelt}\n")
    meant = [connect(one) for _ in range(70)]  # more than one message to the workers holds
    other = connect(two)
    admin.wait_connections(71)
    assert admin.ask("kill", f"service={one}") == "killed 70 connections\n"
    for s in meant:
        assert is_reset(s)
        s.close()
    other.sendall(b"x")
    assert other.recv(1) == b"x"
    other.close()
    assert [r.end for r in proxy.wait_records(71)].count("killed") == 70


@pytest.mark.skipif(not build.has_faults(), reason="only a build with -Dfaults=true moves connections to order")
def test_kill_finds_connections_that_go_from_worker_to_worker(start, service, admin):
    port, n = free_port(), 150
    start(config=f"{admin.line}workers 2\nport {port}\nserver {service().spelt}\n", env={"TCPPROXY_MOVES": "1"})
    clients = [connect(port) for _ in range(n)]
    for c in admin.wait_connections(n)[: n // 2]:
        assert admin.ask("kill", c["id"]) == "killed 1 connection\n"
    admin.wait_connections(n - n // 2)
    admin.ask("kill", f"service={port}")
    for s in clients:
        assert is_reset(s)
        s.close()
    admin.wait_connections(0)


def test_kill_wants_to_know_which(pool, admin):
    assert "which connection" in admin.refused("kill")
    assert "no connection is meant" in admin.refused("kill", "client=192.0.2.1")
    assert "no connection 12345" in admin.refused("kill", 12345)
    assert "neither an id nor a filter" in admin.refused("kill", "all")


def test_kill_ends_a_connection_that_is_still_being_dialled(start, admin, server):
    """One whose server does not answer: nobody accepts, and the queue is full."""
    listening, port = server(backlog=0), free_port()
    start("-b", port, "-o", admin.option, listening.spelt)
    sockets = [connect(port) for _ in range(6)]
    (c, *_) = wait_for(lambda: admin.connections("state=connecting"), "one that waits")
    admin.ask("kill", c["id"])
    wait_for(lambda: c["id"] not in [x["id"] for x in admin.connections()], "its end")
    for s in sockets:
        s.close()


def test_kill_ends_a_handler_s_connection(start, admin, directory):
    port = free_port()
    handler = directory.script("handler", "echo $$; exec sleep 60")
    proxy = start("-b", port, "-o", admin.option, handler)
    with connect(port) as s:
        pid = int(s.makefile().readline())
        (c,) = admin.wait_connections(1, "state=handler")
        admin.ask("kill", c["id"])
        assert proxy.wait_record().end == "killed"
        assert is_reset(s)
        wait_for(lambda: not processes.alive(pid), "the program is ended")


# -- drain, disable, enable

def test_a_disabled_server_gets_no_new_connection(pool, admin):
    assert answers(pool.port) == {"a", "b"}
    admin.ask("disable", pool.a.spelt)
    assert answers(pool.port) == {"b"}
    assert admin.server(pool.a.spelt)["state"] == "disabled"
    assert admin.metric("tcpproxy_backend_enabled", server=pool.a.spelt) == 0
    admin.ask("enable", pool.a.spelt)
    assert answers(pool.port) == {"a", "b"}


def test_with_all_servers_disabled_clients_are_reset(pool, admin):
    admin.ask("disable", pool.a.spelt)
    admin.ask("disable", pool.b.spelt)
    assert gets_reset(pool.port)
    admin.ask("enable", pool.b.spelt)
    assert answers(pool.port) == {"b"}


def test_established_connections_go_on_while_a_server_drains(start, service, admin):
    port, a = free_port(), service()
    start("-b", port, "-o", admin.option, a.spelt)
    with connect(port) as s:
        admin.wait_connections(1, "state=relay")
        admin.ask("drain", a.spelt)
        assert admin.server(a.spelt)["state"] == "draining"
        assert gets_reset(port)
        s.sendall(b"still here")
        assert read_exactly(s, 10) == b"still here"
    wait_for(lambda: admin.server(a.spelt)["state"] == "drained", "the last to end")


def test_a_disabled_service_resets_its_clients(pool, admin):
    admin.ask("disable", pool.port)
    assert gets_reset(pool.port)
    assert pool.proxy.wait_record().end == "denied"
    assert admin.service(pool.port)["state"] == "disabled"
    denied = admin.run("explain", "127.0.0.1", pool.port)
    assert denied.returncode == 3 and "tcpproxyctl" in denied.stdout
    admin.ask("enable", pool.port)
    assert answers(pool.port) == {"a", "b"}


def test_enable_counts_for_more_than_disabled_in_the_file(start, service, admin):
    port, a, b = free_port(), service(say("a")), service(say("b"))
    start(config=f"{admin.line}port {port}\nserver {a.spelt} disabled\nserver {b.spelt}\n")
    assert answers(port) == {"b"}
    admin.ask("enable", a.spelt)
    assert answers(port) == {"a", "b"}


def test_what_was_disabled_stays_so_over_reloads_and_deaths(pool, admin):
    admin.ask("disable", pool.a.spelt)
    admin.ask("reload")
    assert answers(pool.port) == {"b"}
    pool.proxy.expect_deaths()
    for pid in pool.proxy.workers():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(w["takeovers"] == 1 for w in admin.json("status")["workers"]), "new workers")
    assert answers(pool.port) == {"b"}
    pool.proxy.wait_whole()


def test_a_pool_member_that_is_not_there(pool, admin):
    for word in ("127.0.0.1:1", "nobody", "1", "70000"):
        assert f'"{word}" is neither' in admin.refused("disable", word)
    assert "takes one word" in admin.refused("drain")


# -- reload

def test_reload_says_how_it_went(start, service, admin):
    port, a, b = free_port(), service(say("a")), service(say("b"))
    proxy = start(config=f"{admin.line}port {port}\nserver {a.spelt}\n")
    proxy.rewrite(f"{admin.line}port {port}\nserver {b.spelt}\n")
    assert proxy.config_path in admin.ask("reload")
    assert answers(port) == {"b"}
    proxy.rewrite(f"{admin.line}port {port}\nsever {a.spelt}\n")
    why = admin.refused("reload")
    assert f"{proxy.config_path}:3:1: unknown directive" in why and "nothing has changed" in why
    assert answers(port) == {"b"}
    s = admin.json("status")
    assert (s["reloads"], s["reloads_failed"], s["last_reload_failed"]) == (1, 1, True)
    assert admin.metric("tcpproxy_last_reload_successful") == 0


def test_a_reload_without_a_file_is_refused(start, service, admin):
    start("-b", free_port(), "-o", admin.option, service().spelt)
    assert "no configuration file" in admin.refused("reload")


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_the_admin_socket_itself_is_reloaded(start, service, admin, directory):
    port, a = free_port(), service()
    rest = f"port {port}\nserver {a.spelt}\n"
    proxy = start(config=admin.line + rest)
    os.mkdir(directory / "more", 0o755)
    os.chown(directory / "more", 65534, 65534)
    second = type(admin)(directory / "more/second.sock")
    proxy.rewrite(f"{admin.line}admin unix:{second.path}\n{rest}")
    admin.ask("reload")
    assert second.json("status")["pid"] == proxy.pid
    proxy.rewrite(f"admin unix:{second.path}\n{rest}")
    admin.ask("reload")
    wait_for(lambda: not os.path.exists(admin.path), "the old one gone")
    assert second.json("status")["pid"] == proxy.pid
    proxy.rewrite(f"admin unix:{second.path}\nadmin unix:/proc/none.sock\n{rest}")
    assert "/proc/none.sock cannot be bound" in second.refused("reload")
    assert second.json("status")["pid"] == proxy.pid


# -- upgrade

def test_upgrade_says_how_it_went(start, service, admin, directory):
    port, a = free_port(), service()
    proxy = start("-b", port, "-o", admin.option, a.spelt)
    with connect(port) as s:
        s.sendall(b"before")
        assert read_exactly(s, 6) == b"before"
        text = admin.ask("upgrade")
        assert "serves" in text and "workers run it" in text
        s.sendall(b"after")
        assert read_exactly(s, 5) == b"after"
        assert admin.json("status")["pid"] == proxy.pid
        assert len(admin.connections()) == 1
    proxy.expect_deaths()  # they are other processes now
    proxy.wait_whole()


def test_an_upgrade_that_fails_says_why(start, service, admin, directory):
    port, a = free_port(), service()
    proxy = start("-b", port, "-o", admin.option, a.spelt)
    keep = proxy.directory / "kept"
    os.rename(proxy.directory.program, keep)
    proxy.directory.script("tcpproxy", "exit 3")
    why = admin.refused("upgrade")
    assert "does not accept the running configuration (exit status 3): nothing has changed" in why
    assert ask(port, b"x") == b"x"
    s = admin.json("status")
    assert (s["upgrades"], s["upgrades_failed"]) == (0, 1)
    os.rename(keep, proxy.directory.program)


# -- the log's level

def test_the_level_of_the_log(pool, admin):
    assert admin.ask("log", "level") == "info\n"
    assert admin.ask("log", "level", "error") == "error\n"
    admin.ask("reload")
    assert ask(pool.port)
    pool.proxy.wait_records(1)  # records stand apart from that
    assert "is in force" not in pool.proxy.log()
    assert admin.ask("log", "level", "info") == "info\n"
    admin.ask("reload")
    pool.proxy.wait_log("is in force")
    assert "is no level" in admin.refused("log", "level", "loud")
    assert "log level" in admin.refused("log")


def test_debug_tells_of_every_connection(pool, admin):
    admin.ask("log", "level", "debug")
    assert ask(pool.port)
    pool.proxy.wait_log(rf"accepted 127\.0\.0\.1:\d+ at 127\.0\.0\.1:{pool.port}")
    pool.proxy.wait_log(r"connecting 127\.0\.0\.1:\d+ to 127\.0\.0\.1:\d+")
