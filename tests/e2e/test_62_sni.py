"""Clients of TLS come to a section by the name that they ask for, and not a byte of theirs is touched."""
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time

import pytest

from lib.doors import Doors
from lib.hello import NO_NAME, SSL2, alpn, extension, hello, message, of_python, padding, records, sni, vector
from lib.peers import connect, gets_reset, is_reset, read_all, read_exactly, tcp_pair
from lib.ports import free_port
from lib.proxy_header import AUTHORITY, tlv, v1, v2
from lib.waiting import wait_for


def reload(proxy, text):
    proxy.rewrite(text)
    proxy.signal(signal.SIGHUP)
    proxy.wait_log("in force")


@pytest.fixture
def doors(start, server):
    def make(*sections, **more):
        return Doors(start, server, sections, **more)
    return make


# -- which name

def test_by_its_name(doors):
    d = doors("sni a.test", "sni b.test")
    for name, to in (("a.test", "a.test"), ("b.test", "b.test"), ("c.test", "own"), (None, "own")):
        d.leads(of_python(name), to)
    record = d.record(of_python("b.test", ["h2", "http/1.1"]), "b.test")
    assert (record["sni"], record["alpn"], record["protocol"]) == ("b.test", "h2,http/1.1", "tls")
    assert record.up == len(of_python("b.test", ["h2", "http/1.1"]))


def test_exact_beats_the_longer_pattern_beats_none(doors):
    d = doors("sni *.example.com", "sni *.deep.example.com", "sni www.example.com", "sni .example.net", "sni none", own=False)
    for name, to in ((b"www.example.com", "www.example.com"), (b"x.example.com", "*.example.com"),
                     (b"a.b.example.com", "*.example.com"), (b"x.deep.example.com", "*.deep.example.com"),
                     (b"deep.example.com", "*.example.com"), (b"example.net", ".example.net"), (b"a.example.net", ".example.net")):
        d.leads(hello(name), to)
    for said in (NO_NAME, records(message()), SSL2):
        d.leads(said, "none")
    for name in (b"example.com", b"notexample.net", b"com", b"wwwxexample.com"):
        assert d.ends(hello(name), "no-route", "sni")["sni"] == name.decode()


def test_neither_case_nor_a_final_dot_matters(doors):
    d = doors("sni WWW.Example.com.", own=False)
    for name in (b"www.example.com", b"WWW.EXAMPLE.COM", b"www.example.com."):
        d.leads(hello(name), "WWW.Example.com.")


def test_sections_whose_protocols_fit_are_asked_first(doors):
    d = doors("sni a.test", "sni *.test alpn=h2,x", "sni a.test alpn=acme-tls/1", "sni none alpn=h2")
    for said, to in ((hello(b"a.test"), "a.test"), (hello(b"a.test", alpn(b"http/1.1")), "a.test"),
                     (hello(b"a.test", alpn(b"http/1.1", b"x")), "alpn=h2,x"),
                     (hello(b"a.test", alpn(b"acme-tls/1")), "alpn=acme-tls/1"),
                     (hello(b"b.test"), "own"), (hello(b"b.test", alpn(b"h2")), "alpn=h2,x"),
                     (NO_NAME, "alpn=h2"), (records(message()), "own")):
        d.leads(said, to)


def test_an_address_as_name_is_a_name_like_others(doors):
    d = doors("sni a.test", "sni 192.0.2.1")
    d.leads(hello(b"192.0.2.1"), "192.0.2.1")
    d.leads(hello(b"::1"), "own")


def test_the_first_host_counts(doors):
    d = doors("sni a.test", "sni b.test")
    d.leads(records(message(sni(b"b.test", b"a.test"))), "b.test")
    d.leads(records(message(extension(0, vector(2, b"\x07" + vector(2, b"a.test") + b"\0" + vector(2, b"b.test"))))), "b.test")


# -- how it comes

@pytest.mark.parametrize("size", [1, 2, 7, 100, 16384])
def test_in_records_of_any_size(doors, size):
    d = doors("sni a.test", own=False)
    d.leads(records(message(sni(b"a.test"), alpn(b"h2"), extension(0x1a1a, b"")), size), "a.test")


def test_byte_by_byte(doors):
    d = doors("sni a.test", own=False)
    said = of_python("a.test", ["h2"]) + b"early data"
    client = d.connect()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i in range(len(said)):
        client.sendall(said[i:i + 1])
        if i % 50 == 0:
            time.sleep(0.001)  # so that some are looked at
    assert read_exactly(d.servers["a.test"].accept(), len(said)) == said


def test_in_every_split(doors):
    d = doors("sni a.test", own=False)
    said = hello(b"a.test", alpn(b"h2"), size=20) + b"data"
    clients = [d.connect() for _ in range(len(said))]
    for i, client in enumerate(clients):
        client.sendall(said[:i])
    done = [d.servers["a.test"].accept() for _ in b"data"]  # the last ones, whose hello is whole: so all halves have been looked at
    for i, client in enumerate(clients):
        client.sendall(said[i:])
        client.shutdown(socket.SHUT_WR)
    for s in done + [d.servers["a.test"].accept() for _ in clients[len(done):]]:
        with s:
            assert read_all(s) == said


@pytest.mark.parametrize("size", [16384, 300])
def test_a_large_hello(doors, size):
    """As with 8 KiB of tickets, and to the last byte that may be."""
    d = doors("sni a.test", own=False)
    short = len(message(sni(b"a.test"), padding(0))) - 4
    for n in (1216, 8192, 16384 - short):
        d.leads(records(message(sni(b"a.test"), padding(n)), size), "a.test")
    d.ends(records(message(sni(b"a.test"), padding(16385 - short)), size), "bad-tls", "size")
    d.ends(records(message(sni(b"a.test"), padding(16000)), 10), "bad-tls", "size")


def test_behind_a_large_header(doors):
    """What was taken of a segment leaves no room for the rest, unless room is made."""
    d = doors("sni a.test", own=False, section_words="accept-proxy from all\nspeak-timeout 1h")
    said = records(message(sni(b"a.test"), padding(16000)), 900)
    client = d.connect()
    client.sendall(v2(tlvs=tlv(0xE0, bytes(60000))) + said)
    assert read_exactly(d.servers["a.test"].accept(), len(said)) == said


def test_with_a_small_buffer(doors, server):
    """Slowly, so that each record is a segment of its own."""
    d = doors("sni a.test", own=False)
    said = records(message(sni(b"a.test"), padding(15000)), 50)
    client = d.connect(small=True)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(0, len(said), 55):
        client.sendall(said[at:at + 55])
    assert read_exactly(d.servers["a.test"].accept(), len(said)) == said


def test_behind_a_header_of_the_proxy_protocol(doors):
    d = doors("sni a.test;deny 192.0.2.9", "sni b.test", own=False, section_words="accept-proxy from 127.0.0.1")
    for header, to in ((v1(), "a.test"), (v2(), "b.test")):
        client = d.connect()
        client.sendall(header + hello(to.encode()))
        s = d.servers[to].accept()
        assert read_exactly(s, len(hello(to.encode()))) == hello(to.encode())
    client = d.connect()
    client.sendall(v1("192.0.2.9") + hello(b"a.test"))
    assert is_reset(client)
    wait_for(lambda: [r for r in d.proxy.records() if r["client"].startswith("192.0.2.9:") and r["why"] == "deny"], "denied")


def test_what_they_ask_for_is_seen_while_they_are_there(doors, admin):
    d = doors("sni a.test", "sni b.test", own=False, before=admin.line, section_words="accept-proxy from 127.0.0.1")
    for header, said, to in ((v2(tlvs=tlv(AUTHORITY, b"x.test")), of_python("a.test", ["h2"]), "a.test"), (v1(), hello(b"b.test"), "b.test")):
        client = d.connect()
        client.sendall(header + said)
        d.clients += client, d.servers[to].accept()
    admin.wait_connections(2, "state=relay")
    found = {c["sni"]: c for c in admin.connections()}
    assert [found["a.test"].get(k) for k in ("alpn", "protocol", "authority", "uid")] == ["h2", "tls", "x.test", None]
    assert [found["b.test"].get(k) for k in ("alpn", "protocol", "authority", "uid")] == [None, "tls", None, None]
    assert [c["id"] for c in admin.connections("sni=B.test")] == [found["b.test"]["id"]]
    assert admin.connections("sni=c.test") == []
    assert "service=" in admin.refused("tap", "sni=b.test")
    admin.ask("kill", "sni=b.test")
    assert is_reset(d.clients[2])
    assert [c["sni"] for c in admin.wait_connections(1)] == ["a.test"]


# -- what is wrong

WRONG = {
    "hello": [b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\x00\x00", b"\x16\x03\x01\xff\xff", records(message(kind=2)),
              records(message(sni(b"a.test")), 20)[:25] + b"\x15\x03\x01\0\2\1\0", records(message(session=bytes(33))),
              records(message(suites=b"")), records(message(extension(0, b"\0\0"))), records(message(extension(16, b"\0\1\0")))],
    "name": [records(message(sni(b"a.test"), sni(b"a.test"))), hello(b"a\0.test"), hello(b""), hello(b"x" * 256), hello(b"../a"),
             hello(b"a b"), hello(b"a\r\nend=x"), hello(b"\xff\xfe"), hello(b"$(id)")],
    "size": [b"\x16\x03\x01\x40\x00\x01\x00\x40\x01" + bytes(100)],
}


@pytest.mark.parametrize("why, said", [(w, s) for w, list_ in WRONG.items() for s in list_])
def test_a_broken_hello_is_reset(doors, why, said):
    d = doors("sni a.test")
    record = d.ends(said, "bad-tls", why)
    assert record["protocol"] == "tls"


def test_a_bad_name_is_shown_in_digits(doors):
    d = doors("sni a.test")
    assert d.ends(hello(b"a b"), "bad-tls", "name")["sni"] == "0x612062"
    assert d.ends(hello(b"a=b"), "bad-tls", "name")["sni"] == "0x613d62"


@pytest.mark.parametrize("said", [b"", b"\x16", hello(b"a.test")[:50]])
def test_a_client_that_goes_before(doors, said):
    d = doors("sni a.test")
    client = d.connect()
    client.sendall(said)
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b"" if not said else True
    record = d.record_of(client)
    assert (record.end, record["target"]) == ("client-fin", "-")


@pytest.mark.parametrize("said", [b"", hello(b"a.test")[:50]])
def test_a_client_that_resets_before(doors, said, admin):
    d = doors("sni a.test", before=admin.line)
    client = d.connect()
    client.sendall(said)
    admin.wait_connection(state="sniffing")
    name = "%s:%d" % client.getsockname()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    wait_for(lambda: [r for r in d.proxy.records() if r["client"] == name and r.end == "client-reset" and r["target"] == "-"],
             "its record")


def test_a_fin_right_behind_the_hello_comes_through(doors):
    d = doors("sni a.test", own=False)
    client = d.connect()
    client.sendall(hello(b"a.test"))
    client.shutdown(socket.SHUT_WR)
    s = d.servers["a.test"].accept()
    assert read_all(s) == hello(b"a.test")
    s.sendall(b"bye")
    s.close()
    assert read_all(client) == b"bye"


# -- what a section says for itself

def test_a_list_of_its_own_is_asked_in_addition(doors):
    d = doors("sni a.test;allow 127.0.0.0/8", "sni b.test;deny 127.0.0.1", "sni c.test", section_words="deny 127.0.0.2")
    d.leads(hello(b"a.test"), "a.test")
    assert d.ends(hello(b"b.test"), "denied", "deny")["sni"] == "b.test"
    d.leads(hello(b"c.test"), "c.test")
    assert gets_reset(d.port, source="127.0.0.2")
    wait_for(lambda: [r for r in d.proxy.records() if r["client"].startswith("127.0.0.2:") and "sni" not in r], "its record")


def test_the_port_denies_before_a_word_is_said(doors):
    d = doors("sni a.test", section_words="deny all")
    assert gets_reset(d.port)


def test_interfaces(start, server):
    port, servers = free_port(), {n: server() for n in "abcdef"}
    start(config=f"port {port}\nserver {servers['a'].spelt}\nsni a.test\nserver {servers['b'].spelt}\n"
                 f"interface 127.0.0.2\nserver {servers['c'].spelt}\n"
                 f"interface 127.0.0.3\nserver {servers['d'].spelt}\nsni a.test\nserver {servers['e'].spelt}\n"
                 f"interface 127.0.0.4\ndeny 192.0.2.1\n")
    for host, name, to in (("127.0.0.1", b"a.test", "b"), ("127.0.0.1", b"b.test", "a"), ("127.0.0.2", b"a.test", "c"),
                           ("127.0.0.3", b"a.test", "e"), ("127.0.0.3", b"b.test", "d"), ("127.0.0.4", b"a.test", "b"),
                           ("127.0.0.4", b"b.test", "a")):
        client = connect(port, host)
        client.sendall(hello(name))
        assert read_exactly(servers[to].accept(), len(hello(name))) == hello(name), (host, name)
    connect(port, "127.0.0.2")  # waits for no word
    servers["c"].accept()


def test_a_service_without_servers_of_its_own_binds_all_the_same(doors):
    d = doors("sni a.test", own=False)
    client = connect(d.port, "127.0.0.7")
    client.sendall(hello(b"a.test"))
    d.servers["a.test"].accept()


def test_settings_are_inherited(doors, server):
    d = doors("sni a.test", "sni b.test;timeout 0.3", section_words="timeout 1h", own=False)
    a, _ = d.leads(hello(b"a.test"), "a.test")
    b, _ = d.leads(hello(b"b.test"), "b.test")
    assert is_reset(b)
    assert d.record_of(b).end == "idle-timeout"
    a.sendall(b"x")


def test_limits_count_while_it_waits(doors):
    d = doors("sni a.test", section_words="max-connections 1\nspeak-timeout 60")
    first = d.connect()
    assert gets_reset(d.port)
    assert d.proxy.wait_record()["why"] == "max-connections"
    d.leads(hello(b"a.test"), "a.test", first)


def test_who_waits_for_a_place_speaks_then(doors, admin):
    d = doors("sni a.test", "sni b.test", before=admin.line, section_words="max-connections 1\nqueue 60", own=False)
    first, s = d.leads(hello(b"a.test"), "a.test")
    second = d.connect()
    second.sendall(hello(b"b.test"))
    admin.wait_connection("state=queued")
    first.close()
    s.close()
    assert read_exactly(d.servers["b.test"].accept(), len(hello(b"b.test"))) == hello(b"b.test")


# -- who hears of it

def test_programs_get_all_of_it(start, directory):
    port, said = free_port(), hello(b"a.test", alpn(b"h2", b"x y"))
    access = directory.script("access", f"env | grep '^PROXY_[SAP][NLR]' | sort > {directory / 'access.env'}; test $PROXY_SNI = a.test")
    handler = directory.script("handler", f"env | grep '^PROXY_[SAP][NLR]' | sort > {directory / 'handler.env'}; head -c {len(said)}")
    os.chmod(directory.path, 0o777)
    start(config=f"workers 1\nacp {access}\nport {port}\nsni a.test\nexec {handler}\nsni b.test\nexec {handler}\n")
    client = connect(port)
    client.sendall(said)
    assert read_exactly(client, len(said)) == said
    wanted = "PROXY_ALPN=0x68322c782079\nPROXY_PROTOCOL=tls\nPROXY_SNI=a.test\n"
    for name in ("access.env", "handler.env"):
        with open(directory / name) as f:
            assert f.read() == wanted, name
    client = connect(port)
    client.sendall(hello(b"b.test"))
    assert read_all(client) == b""


def test_the_server_is_told_the_name(doors):
    d = doors("sni a.test;send-proxy v2 authority", own=False)
    client = d.connect()
    client.sendall(hello(b"A.test"))
    s = d.servers["a.test"].accept()
    header = read_exactly(s, 16)
    rest = read_exactly(s, int.from_bytes(header[14:16], "big"))
    assert tlv(AUTHORITY, b"A.test") in rest
    assert read_exactly(s, len(hello(b"A.test"))) == hello(b"A.test")


def test_json_and_formats(doors, server, start):
    d = doors("sni a.test", options=("-l", "stderr+json"))
    record = d.record(hello(b"a.test", alpn(b"h2")), "a.test")
    assert (record["sni"], record["alpn"], record["protocol"]) == ("a.test", "h2", "tls")
    d = doors("sni a.test", options=("-o", 'log-format "<{sni} {alpn} {protocol}> {client}"'))
    client, s = d.leads(hello(b"a.test"), "a.test")
    client.close()
    s.close()
    d.proxy.wait_log("<a.test - tls> ")


def test_a_section_with_a_name_is_a_service(doors, admin):
    d = doors("sni a.test as mail", before=admin.line)
    client, s = d.leads(hello(b"a.test"), "mail")
    assert admin.wait_connection(service="mail")["client"] == "%s:%d" % client.getsockname()
    assert admin.metric("tcpproxy_client_connections_total", service="mail") == 1
    s.close()
    client.shutdown(socket.SHUT_WR)
    assert d.record_of(client)["service"] == "mail"
    assert any(v["service"] == "mail" for v in admin.json("status")["services"])
    admin.ask("disable", "mail")
    d.ends(hello(b"a.test"), "denied", "disabled")
    d.leads(hello(b"b.test"), "own")


def test_servers_are_added_to_a_section_with_a_name(doors, admin, server):
    """And stay there over a reload."""
    d, more = doors("sni a.test as mail", "sni b.test as web", before=admin.line, own=False), server()
    admin.ask("add", "mail", more.spelt)
    admin.ask("disable", f"mail/{d.servers['mail'].spelt}")
    for _ in range(2):
        client = d.connect()
        client.sendall(hello(b"a.test"))
        assert read_exactly(more.accept(), len(hello(b"a.test"))) == hello(b"a.test")
        reload(d.proxy, d.text + "\n")
    d.leads(hello(b"b.test"), "web")


def test_a_server_that_speaks_first_is_warned_of(directory):
    path = directory.write("t.conf", "port 4\nserver mail.test:25\nsni a.test\nserver b:1\n")
    assert "mail.test:25 speaks first" in directory.run("-C", "-f", path).stderr
    path = directory.write("t.conf", "port 4\nsni a.test\nserver b:1\nprotocol silent\nserver mail.test:3306\n")
    assert "mail.test:3306 speaks first" in directory.run("-C", "-f", path).stderr
    path = directory.write("t.conf", "port 4\nspeak-timeout 0.2\nserver mail.test:25\nsni a.test\nserver b:1\nprotocol ssh\nserver c:22\n")
    assert directory.run("-C", "-f", path).stderr == ""


def test_a_server_that_stands_further_left_is_warned_of(directory):
    path = directory.write("t.conf", "port 4\n  sni a\n    server b:1\n  sni c\nserver d:1\n")
    done = directory.run("-C", "-f", path)
    assert f'tcpproxy: warning: {path}:5:1: "server" belongs to "sni c" (line 4), though it stands further left' in done.stderr
    assert done.stderr.count("further left") == 1 and done.returncode == 0


def test_explain(doors, admin, directory):
    d = doors("sni a.test", "sni *.b.test alpn=h2", before=admin.line, own=False)
    said = admin.ask("explain", "192.0.2.1", str(d.port), "sni=A.test")
    assert "sni a.test" in said and f"server: {d.servers['a.test'].spelt}" in said
    said = admin.ask("explain", "192.0.2.1", str(d.port), "sni=x.b.test", "alpn=x,h2")
    assert f"server: {d.servers['alpn=h2'].spelt}" in said
    done = admin.run("explain", "192.0.2.1", str(d.port), "sni=x.b.test")
    assert done.returncode == 3 and "why=sni" in done.stdout


# -- deaths, reloads, upgrades

@pytest.mark.parametrize("said", [b"", b"\x16", hello(b"a.test")[:50]])
def test_a_worker_dies_while_the_hello_comes(doors, admin, said):
    d = doors("sni a.test", own=False, before=admin.line, section_words="speak-timeout 60")
    client = d.connect()
    client.sendall(said)
    admin.wait_connection(state="sniffing")
    for _ in range(3):
        d.proxy.kill_workers()
    whole = hello(b"a.test") + b"data"
    client.sendall(whole[len(said):])
    assert read_exactly(d.servers["a.test"].accept(), len(whole)) == whole


def test_a_worker_dies_after_the_decision(start, server, admin):
    """It waits for a server of its section, which comes when all have died."""
    port, target = free_port(), free_port()
    proxy = start(config=f"{admin.line}workers 1\nport {port}\nsni a.test\nserver 127.0.0.1:{target}\non-down hold 60\n")
    client = connect(port)
    client.sendall(hello(b"a.test"))
    admin.wait_connection(state="held")
    proxy.kill_workers()
    admin.wait_connection(state="held")
    s = server(port=target).accept()
    assert read_exactly(s, len(hello(b"a.test"))) == hello(b"a.test")
    client.close()
    s.close()
    assert proxy.wait_record()["sni"] == "a.test"


def test_many_at_a_time_and_workers_that_die(doors):
    d = doors("sni a.test", "sni b.test", own=False, section_words="speak-timeout 60")
    said = {n: hello(n.encode(), alpn(b"h2"), size=30) for n in ("a.test", "b.test")}
    clients = [(n, d.connect()) for n in said for _ in range(20)]
    for part in range(4):
        for n, client in clients:
            size = len(said[n]) // 4 + 1
            client.sendall(said[n][part * size:(part + 1) * size])
        d.proxy.kill_workers()
    for n, client in clients:
        client.shutdown(socket.SHUT_WR)
        with d.servers[n].accept() as s:
            assert read_all(s) == said[n]


def test_a_reload_decides_anew(doors, admin, server):
    d = doors("sni a.test", own=False, before=admin.line, section_words="speak-timeout 60")
    said, other = hello(b"a.test"), server()
    client = d.connect()
    client.sendall(said[:40])
    admin.wait_connection(state="sniffing")
    reload(d.proxy, d.text.replace(f"server {d.servers['a.test'].spelt}", f"server {other.spelt}"))
    client.sendall(said[40:])
    assert read_exactly(other.accept(), len(said)) == said


def test_a_reload_that_waits_for_nobody(doors, admin, server):
    d = doors("sni a.test", own=False, before=admin.line, section_words="speak-timeout 60")
    other = server()
    client = d.connect()
    admin.wait_connection(state="sniffing")
    reload(d.proxy, f"workers 1\n{admin.line}port {d.port}\nserver {other.spelt}\n")
    other.accept()
    client.close()


def test_a_service_without_such_sections_never_waits(start, server):
    target, port = server(), free_port()
    start(config=f"port {port}\nserver {target.spelt}\nspeak-timeout 60\n")
    connect(port)
    target.accept()


# -- real clients

REAL = {
    "openssl": "openssl s_client -connect 127.0.0.1:{port} -servername {name} -alpn h2",
    "openssl-1.2": "openssl s_client -connect 127.0.0.1:{port} -servername {name} -tls1_2",
    "curl": "curl -sk --connect-to {name}:443:127.0.0.1:{port} https://{name}/",
    "gnutls": "gnutls-cli --insecure --sni-hostname={name} -p {port} 127.0.0.1",
    "chromium": "chromium --headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
                "--disable-component-update --disable-sync --disable-dev-shm-usage --user-data-dir={home} "
                "'--host-resolver-rules=MAP * 127.0.0.1:{port}' https://{name}/",
}


def test_one_connection_of_inetd(directory, server):
    own, a = server(), server()
    for name, wanted in ((b"a.test", a), (b"b.test", own)):
        client, accepted = tcp_pair()
        p = subprocess.Popen([directory.program, "-o", "sni a.test", "-o", f"server {a.spelt}", "-l", "stderr", own.spelt],
                             stdin=accepted, stdout=accepted, stderr=subprocess.PIPE, env=directory.environment())
        accepted.close()
        said = hello(name)
        client.sendall(said[:10])
        client.sendall(said[10:])
        s = wanted.accept()
        assert read_exactly(s, len(said)) == said
        client.close()
        s.close()
        assert f" sni={name.decode()} " in p.communicate(timeout=10)[1].decode()


@pytest.mark.limit(120)
@pytest.mark.parametrize("command", REAL.values(), ids=REAL)
def test_a_real_client(doors, command, tmp_path):
    """They offer keys of many bytes, extensions that nobody knows, and what GREASE makes up."""
    if not shutil.which(command.split()[0]):
        pytest.skip(f"no {command.split()[0]}")
    d = doors("sni a.test", "sni b.test")
    for name in ("a.test", "b.test"):
        words = shlex.split(command.format(port=d.port, name=name, home=tmp_path / name))
        client = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  start_new_session=True)
        try:
            with d.servers[name].accept(timeout=60) as s:
                assert s.recv(3)[:2] == b"\x16\x03"
        finally:
            os.killpg(client.pid, signal.SIGKILL)
            client.wait()
            client.stdin.close()
