"""Clients come to a section by the protocol that they speak, as soon as their first bytes allow it, or by their silence."""
import shutil
import signal
import socket
import subprocess
import time

import pytest

from lib import build
from lib.doors import Doors
from lib.hello import alpn, hello
from lib.peers import connect, is_reset, read_all, read_exactly
from lib.ports import free_port
from lib.waiting import wait_for

TLS = hello(b"a.test")
POSTGRES = {"ssl": b"\0\0\0\x08\x04\xd2\x16\x2f", "gss": b"\0\0\0\x08\x04\xd2\x16\x30",
            "cancel": b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1\0\0\0\2", "plain": b"\0\0\0\x13\0\3\0\0user\0postgr\0\0"}
WORDS = {
    "tls": [TLS, b"\x16\x03\x01", b"\x80\x2e\x01\x03\x01"],
    "ssh": [b"SSH-", b"SSH-2.0-OpenSSH_9.2\r\n"],
    "http": [b"GET ", b"POST /x HTTP/1.0\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"OPTIONS * HTTP/1.1\r\n"],
    "socks": [b"\5\1\0", b"\4\1\0\x50\1\2\3\4\0"],
    "postgres": list(POSTGRES.values()),
    "redis": [b"*1\r\n$4\r\nPING\r\n", b"PING\r\n"],
    "other": [b"\xff\xff\xff", b"EHLO me\r\n", b"\x16\x03\x09", b"get /", b"\0\0\0\x08\x04\xd2\x16\x31", b"HELLO"],
}


@pytest.fixture
def doors(start, server):
    def make(*sections, **more):
        return Doors(start, server, sections, **more)
    return make


@pytest.fixture
def all_words(doors):
    return doors(*(f"protocol {w}" for w in WORDS), "protocol silent", own=False, section_words="speak-timeout 60")


# -- which protocol

def test_each_as_soon_as_it_is_known(all_words):
    """Nothing more is said, and nobody waits for speak-timeout."""
    for word, list_ in WORDS.items():
        for said in list_:
            record = all_words.record(said, word)
            assert record["protocol"] == word
            assert "sni" not in record or said == TLS
            assert record.up == len(said)


def test_byte_by_byte(all_words):
    for word, list_ in WORDS.items():
        for said in list_:
            if word == "other":
                continue
            client = all_words.connect()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(said)):
                client.sendall(said[i:i + 1])
                if i < 40:
                    time.sleep(0.001)  # so that each is looked at
            assert read_exactly(all_words.servers[word].accept(), len(said)) == said


def test_a_client_that_says_nothing_is_silent(doors):
    d = doors("protocol ssh", "protocol silent", section_words="speak-timeout 0.2")
    client = d.connect()
    s = d.servers["silent"].accept()
    s.sendall(b"220 ready\r\n")
    assert read_exactly(client, 11) == b"220 ready\r\n"
    client.sendall(b"EHLO me\r\n")
    assert read_exactly(s, 9) == b"EHLO me\r\n"
    s.close()
    client.shutdown(socket.SHUT_WR)
    assert d.record_of(client)["protocol"] == "silent"


def test_without_such_a_section_the_silent_come_to_the_servers_of_the_port(doors):
    d = doors("protocol ssh", section_words="speak-timeout 0.2")
    client = d.connect()
    d.servers["own"].accept()
    d = doors("sni a.test", section_words="speak-timeout 0.2")
    other = d.connect()
    d.servers["own"].accept()
    client.close()
    other.close()


def test_where_nothing_fits_it_is_reset(doors):
    d = doors("protocol ssh", "protocol http", own=False, section_words="speak-timeout 0.2")
    assert d.ends(b"\xff\xfe", "no-route", "protocol")["protocol"] == "other"
    assert d.ends(TLS, "no-route", "protocol")["protocol"] == "tls"
    assert d.ends(b"", "no-route", "silent")["protocol"] == "silent"
    assert d.ends(b"SS", "no-route", "timeout")
    assert d.ends(b"GE", "no-route", "timeout")
    d = doors("sni a.test", own=False, section_words="speak-timeout 0.2")
    assert d.ends(b"GET / HTTP/1.0\r\n\r\n", "no-route", "protocol")["protocol"] == "http"
    assert d.ends(hello(b"b.test"), "no-route", "sni")
    assert d.ends(TLS[:30], "no-route", "timeout")


def test_half_of_something_is_not_what_is_left(doors):
    """Though there are servers, also of others: who knows what he wanted?"""
    d = doors("protocol ssh", "protocol other", section_words="speak-timeout 0.2")
    d.ends(b"SSH", "no-route", "timeout")
    d.leads(b"SSL", "other")


def test_other_is_for_what_no_section_is_for(doors):
    d = doors("protocol http", "protocol other")
    for said in (b"SSH-2.0-x\r\n", b"\5\1\0", TLS):
        d.leads(said, "other")
    d = doors("sni a.test", "protocol other")
    d.leads(hello(b"b.test"), "own")
    d.leads(b"SSH-2.0-x\r\n", "other")


def test_names_beside_protocols(doors):
    d = doors("sni a.test", "protocol tls", "protocol ssh", "protocol hex:16", own=False)
    for said, to in ((TLS, "a.test"), (hello(b"b.test"), "hex:16"), (b"SSH-2.0-x\r\n", "ssh")):
        d.leads(said, to)
    d = doors("sni a.test", "protocol tls", own=False)
    d.leads(hello(b"b.test"), "tls")


def test_a_name_is_in_the_record_if_it_was_there(doors):
    """Where only the protocol matters nobody waits for it."""
    d = doors("protocol tls", own=False, section_words="speak-timeout 60")
    assert d.record(TLS, "tls")["sni"] == "a.test"
    assert "sni" not in d.record(TLS[:20], "tls")


def test_bytes(doors):
    d = doors("protocol hex:16030?", 'protocol "text:GET /a"', 'protocol text:"GET /ab"', "protocol http", "protocol hex:??ff", own=False,
              section_words="speak-timeout 0.3")
    servers = list(d.servers)
    for said, to in ((b"\x16\x03\x07", 0), (b"GET /a HTTP", 1), (b"GET /abc", 2), (b"GET /b", 3), (b"\1\xff", 4), (b"POST /a", 3)):
        d.leads(said, servers[to])
    d.leads(b"GET /", servers[3])  # when it is clear that it does not go on
    d.leads(b"GET /a", servers[1])
    d.ends(b"\1\xfe", "no-route", "protocol")


def test_several_words_in_a_line(doors):
    d = doors('protocol ssh text:"HELO " redis as many', own=False)
    for said in (b"SSH-2.0-x\r\n", b"HELO me\r\n", b"PING\r\n"):
        record = d.record(said, "many")
        assert record["service"] == "many"


REAL = {
    "ssh": "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -p {port} 127.0.0.1",
    "postgres": "psql -w -h 127.0.0.1 -p {port} -c select",
    "http": "curl -s http://127.0.0.1:{port}/",
    "tls": "openssl s_client -connect 127.0.0.1:{port}",
    "socks": "curl -s --socks5 127.0.0.1:{port} http://a.test/",
    "redis": "redis-cli -p {port} PING",
}


@pytest.mark.parametrize("word", REAL)
def test_a_real_client(all_words, word):
    if not shutil.which(REAL[word].split()[0]):
        pytest.skip(f"no {REAL[word].split()[0]}")
    client = subprocess.Popen(REAL[word].format(port=all_words.port).split(), stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with all_words.servers[word].accept() as s:
        assert s.recv(1)
    client.kill()
    client.wait()
    client.stdin.close()


# -- what the end of a stream says

def test_a_fin_behind_what_is_known_comes_through(doors):
    d = doors("protocol http", own=False)
    client = d.connect()
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    s = d.servers["http"].accept()
    assert read_all(s) == b"GET / HTTP/1.0\r\n\r\n"


def test_a_fin_before_anything_is_known(doors):
    d = doors("protocol http", "protocol silent", "protocol other")
    for said in (b"", b"GE"):
        client = d.connect()
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        record = d.record_of(client)
        assert (record.end, record["target"]) == ("client-fin", "-")


def test_what_comes_just_when_the_time_is_over(doors):
    """Whoever is taken for silent has all his bytes passed on, and none is lost or doubled."""
    d = doors("protocol ssh", "protocol silent", own=False, section_words="speak-timeout 0.1")
    for late in range(20):
        client = d.connect()
        time.sleep(0.09 + late / 1000)
        client.sendall(b"SSH-2.0-x\r\n")
        client.shutdown(socket.SHUT_WR)
    found = []
    for name in ("ssh", "silent"):
        listener = d.servers[name]
        while len(found) < 20:
            try:
                s = listener.accept(timeout=1)
            except (TimeoutError, AssertionError, socket.timeout):
                break
            found.append(read_all(s))
            s.close()
    assert found == [b"SSH-2.0-x\r\n"] * 20


# -- who waits

def test_silent_clients_keep_nobody_out(doors, admin):
    """Of many more than may wait each is reset in turn, the oldest first, and one that speaks is served."""
    d = doors("sni a.test", own=False, before=admin.line, section_words="speak-timeout 1h", nofile=400)
    silent = [d.connect() for _ in range(150)]
    d.leads(TLS, "a.test")
    wait_for(lambda: len([r for r in d.proxy.records() if r.end == "no-route" and r["why"] == "crowd"]) > 100, "many are reset")
    assert is_reset(silent[0])
    worker = admin.json("status")["workers"][0]
    assert 0 < worker["early"] <= worker["early_max"] < 60
    assert admin.metric("tcpproxy_worker_early_connections_max", worker="0") == worker["early_max"]
    heads, line = [text.split() for text in admin.ask("status").splitlines()][-2:]
    assert line[heads.index("EARLY")].endswith(f"/{worker['early_max']}")
    admin.wait_connection("state=sniffing", "limit=1")


def test_headers_and_first_words_share_the_room(doors, admin):
    d = doors("sni a.test", own=False, before=admin.line, nofile=400,
              section_words="speak-timeout 1h\nproxy-timeout 1h\naccept-proxy from 127.0.0.1")
    for i in range(60):
        client = d.connect(source=f"127.0.0.{1 + i % 2}")
        d.clients.append(client)
    wait_for(lambda: {r.end for r in d.proxy.records() if r["why"] == "crowd"} == {"no-route", "bad-proxy"}, "both are reset")


# -- deaths, reloads, upgrades

def test_a_worker_dies_while_a_client_is_silent(doors, admin):
    """The time goes on."""
    d = doors("protocol ssh", "protocol silent", own=False, before=admin.line, section_words="speak-timeout 2")
    client = d.connect()
    admin.wait_connection(state="sniffing")
    d.proxy.kill_workers()
    s = d.servers["silent"].accept()
    s.sendall(b"220")
    assert read_exactly(client, 3) == b"220"


def test_all_members_of_a_trio_but_one_die(doors, admin):
    d = doors("protocol ssh", own=False, before=admin.line, section_words="speak-timeout 1h")
    client = d.connect()
    client.sendall(b"SS")
    admin.wait_connection(state="sniffing")
    d.proxy.kill_workers()
    client.sendall(b"H-2.0-x\r\n")
    assert read_exactly(d.servers["ssh"].accept(), 11) == b"SSH-2.0-x\r\n"


def test_an_upgrade_while_it_speaks(doors, admin):
    d = doors("protocol ssh", own=False, before=admin.line, section_words="speak-timeout 1h")
    client, quiet = d.connect(), d.connect()
    client.sendall(b"SS")
    admin.wait_connections(2, "state=sniffing")
    d.proxy.expect_deaths()
    admin.ask("upgrade")
    admin.wait_connections(2, "state=sniffing")
    client.sendall(b"H-2.0-x\r\n")
    assert read_exactly(d.servers["ssh"].accept(), 11) == b"SSH-2.0-x\r\n"
    quiet.sendall(b"SSH-")
    assert read_exactly(d.servers["ssh"].accept(), 4) == b"SSH-"


def test_who_was_silent_stays_so_over_a_reload(doors, admin, server):
    d = doors("protocol ssh", "protocol silent", own=False, before=admin.line, section_words="speak-timeout 0.1")
    client = d.connect()
    s = d.servers["silent"].accept()
    d.proxy.rewrite(d.text + "\n")
    d.proxy.signal(signal.SIGHUP)
    d.proxy.wait_log("in force")
    client.sendall(b"SSH-2.0-x\r\n")
    assert read_exactly(s, 11) == b"SSH-2.0-x\r\n"


def say_goodbye(d, client, s):
    client.sendall(b"x")
    assert read_exactly(s, 1) == b"x"
    s.close()
    client.shutdown(socket.SHUT_WR)
    return d.record_of(client)


def test_what_it_was_is_kept_over_an_upgrade(doors, admin):
    d = doors("sni a.test", own=False, before=admin.line)
    client, s = d.leads(TLS, "a.test")
    d.proxy.expect_deaths()
    admin.ask("upgrade")
    record = say_goodbye(d, client, s)
    assert (record["sni"], record["protocol"]) == ("a.test", "tls")


@pytest.mark.skipif(not build.has_faults(), reason="only a build with -Dfaults=true moves connections to order")
def test_what_it_was_is_kept_when_a_connection_moves(doors, admin):
    d = doors("sni a.test", own=False, before=admin.line, workers=2, env={"TCPPROXY_MOVES": "3"})
    client, s = d.leads(hello(b"a.test", alpn(b"h2")), "a.test")
    seen = set()
    wait_for(lambda: seen.update(c["worker"] for c in admin.connections()) or len(seen) == 2, "it has been with both workers")
    record = say_goodbye(d, client, s)
    assert (record["sni"], record["alpn"], record["protocol"]) == ("a.test", "h2", "tls")


def test_refuse_means_all_that_is_reached(start, server):
    """The port refuses while nothing behind it is usable, and not while one section has a server."""
    port, a, b = free_port(), free_port(), server()
    proxy = start(config=f"workers 1\nport {port}\non-down refuse\ncheck every=0.1 fast=0.1 slow=0.1 fall=1 rise=1 tcp\n"
                         f"protocol ssh\nserver 127.0.0.1:{a}\nprotocol http\nserver {b.spelt}\n")
    proxy.wait_log(f"server=127.0.0.1:{a} .*state=down")
    proxy.wait_log(f"server={b.spelt} .*state=up")
    client = connect(port)
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    wait_for(lambda: b.accept().recv(4) == b"GET ", "it is served, between the checks")
