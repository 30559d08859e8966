"""A header of the PROXY protocol comes first, and says who the client is: from then on he is that one."""
import re
import select
import signal
import socket
import struct
import subprocess
import time

import pytest

from lib.peers import connect, expect, expect_fin, fin, is_reset, play, read_all, read_exactly, send, tcp_pair
from lib.ports import free_port
from lib.proxy_header import (ALPN, AUTHORITY, CRC32C, Header, LOCAL, NOOP, SIGNATURE, UNIQUE_ID, name_of, tlv, v1, v2)
from lib.waiting import wait_for

CLIENT, WANTED = "192.0.2.7:4711", "198.51.100.1:25"
HEADERS = {"v1": v1(), "v2": v2(), "v2-crc": v2(crc=True), "v2-tlvs": v2(tlvs=tlv(AUTHORITY, b"a.test"), crc=True)}
SIX = v2("2001:db8::7", 4711, "2001:db8::1", 25)


@pytest.fixture
def accepting(relay4):
    def make(words="", *options):
        return relay4("-o", f"accept-proxy {words}", "-o", "workers 1", *options)
    return make


def said(r, header, more=b"hello"):
    client = r.connect()
    client.sendall(header + more)
    s = r.server.accept()
    assert read_exactly(s, len(more)) == more
    return client, s


def record_of(r, header):
    before = len(r.proxy.records())
    client, s = said(r, header)
    client.close()
    s.close()
    return r.proxy.wait_records(before + 1)[-1]


# -- who the client is


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_the_announced_one_is_the_client(accepting, header):
    r = accepting("from all")
    client, s = said(r, header)
    via = name_of(client.getsockname())
    s.sendall(b"who")
    assert read_exactly(client, 3) == b"who"
    client.close()
    s.close()
    record = r.proxy.wait_record()
    assert (record["client"], record["via"], record["announced"]) == (CLIENT, via, WANTED)
    assert (record.up, record.down, record.end) == (5, 3, "client-fin")


def test_of_both_families(accepting):
    r = accepting()
    assert record_of(r, SIX)["client"] == "[2001:db8::7]:4711"
    assert record_of(r, v1("2001:db8::7", 4711, "2001:db8::1", 25))["announced"] == "[2001:db8::1]:25"
    assert record_of(r, v2("::ffff:192.0.2.7", 1, "::ffff:198.51.100.1", 2))["client"] == "192.0.2.7:1"


@pytest.mark.parametrize("header", [
    LOCAL, b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN what ever follows\r\n", v2(command=0, tlvs=tlv(UNIQUE_ID, b"x"), crc=True),
    v2(addresses=b"", family=0), v2(addresses=b"\0" * 216, family=3), v2(kind=0), v2("2001:db8::7", 1, "2001:db8::1", 2, kind=0),
    SIGNATURE + b"\x21\x01\0\0"],
    ids=["local", "unknown", "unknown-more", "local-with-addresses", "unspec", "unix", "no-kind", "no-kind-of-ipv6", "no-family"])
def test_of_what_is_nobodys_but_its_own_nothing_is_taken(accepting, header):
    r = accepting()
    record = record_of(r, header)
    assert record["client"].startswith("127.0.0.1:")
    assert not {"via", "announced", "uid", "authority"} & set(record)


def test_what_else_it_says_is_in_the_record(accepting):
    r = accepting()
    record = record_of(r, v2(tlvs=tlv(NOOP, b"...") + tlv(UNIQUE_ID, b"abc-1") + tlv(AUTHORITY, b"mail.test")))
    assert (record["uid"], record["authority"]) == ("abc-1", "mail.test")
    record = record_of(r, v2(tlvs=tlv(UNIQUE_ID, b"\0\xff") + tlv(AUTHORITY, b'a"b')))
    assert (record["uid"], record["authority"]) == ("0x00ff", "0x612262")


def test_json_and_formats_have_it_too(relay4):
    r = relay4("-o", "accept-proxy", "-l", "stderr+json")
    record = record_of(r, v2(tlvs=tlv(AUTHORITY, b"a.test")))
    assert (record["client"], record["announced"], record["uid"], record["authority"]) == (CLIENT, WANTED, None, "a.test")
    assert record["via"].startswith("127.0.0.1:")
    r = relay4("-o", "accept-proxy", "-o", 'log-format "{client} {announced} {uid} {authority} <{via}>"')
    client, s = said(r, v1())
    client.close()
    s.close()
    r.proxy.wait_log(rf"^{CLIENT} {WANTED} - - <127.0.0.1:\d+>$")


# -- how it comes


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_byte_by_byte(accepting, header):
    r = accepting()
    client = r.connect()
    for i in range(len(header)):
        client.sendall(header[i:i + 1])
        time.sleep(0.001)  # so that each is looked at
    client.sendall(b"data")
    s = r.server.accept()
    assert read_exactly(s, 4) == b"data"


@pytest.mark.parametrize("header", [v1(), v2(tlvs=tlv(AUTHORITY, b"a.test"), crc=True)], ids=["v1", "v2"])
def test_in_every_split_with_data_behind_it(accepting, header):
    r = accepting()
    whole = header + b"data"
    clients = [r.connect() for _ in range(len(whole))]
    for i, client in enumerate(clients):
        client.sendall(whole[:i])
    done = [r.server.accept() for _ in b"data"]  # the last ones, whose header is whole: so all halves have been looked at
    for i, client in enumerate(clients):
        client.sendall(whole[i:])
        client.shutdown(socket.SHUT_WR)
    for s in done + [r.server.accept() for _ in clients[len(done):]]:
        with s:
            assert read_all(s) == b"data"


def test_streams_go_through_whole_behind_it(accepting):
    r = accepting()
    client = r.connect()
    client.sendall(v2())
    s = r.server.accept()
    play(client, [send(3_000_000), fin(), expect(1_000_000, seed=2), expect_fin()],
         s, [expect(3_000_000), expect_fin(), send(1_000_000, seed=2), fin()])
    record = r.proxy.wait_record()
    assert (record.up, record.down) == (3_000_000, 1_000_000)


def test_a_second_one_is_data(accepting):
    r = accepting()
    said(r, v1(), v1(port=1) + v2())


def test_a_header_of_64_kb(accepting):
    """Part of its TLVs has no room: that is said."""
    r = accepting()
    body = tlv(AUTHORITY, b"a.test") + b"".join(tlv(0xE0, bytes(4000)) for _ in range(16))
    body += tlv(0xEF, bytes(65535 - 12 - len(body) - 3))
    header = v2(tlvs=body)
    assert len(header) == 65551
    client = r.connect()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(0, len(header), 100):
        client.sendall(header[at:at + 100])
    client.sendall(b"data")
    s = r.server.accept()
    assert read_exactly(s, 4) == b"data"
    client.close()
    s.close()
    assert r.proxy.wait_record()["authority"] == "a.test"
    r.proxy.wait_log("more than 4096 bytes of TLVs")


@pytest.mark.slow
def test_a_header_of_64_kb_byte_by_byte(accepting):
    r = accepting("", "-o", "timeout 1h")
    header = v2(tlvs=tlv(0xE0, bytes(65535 - 12 - 3)))
    client = r.connect()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i in range(len(header)):
        client.send(header[i:i + 1])
    client.sendall(b"data")
    assert read_exactly(r.server.accept(), 4) == b"data"


@pytest.mark.parametrize("n", [1000, 2000, 60000])
def test_a_long_header_with_data_right_behind_it(accepting, n):
    """What was looked at ended with the header, and what is behind it was there already."""
    r = accepting()
    client, s = said(r, v2(tlvs=tlv(0xE0, bytes(n))), b"data" * 100)
    client.close()
    s.close()


def test_a_server_that_speaks_first_is_called_at_once(accepting):
    r = accepting()
    client = r.connect()
    client.sendall(v1())
    s = r.server.accept()
    s.sendall(b"220 ready\r\n")
    assert read_exactly(client, 11) == b"220 ready\r\n"


# -- who has to send one


def test_who_is_not_listed_is_an_ordinary_client(accepting):
    """Whatever his bytes look like."""
    r = accepting("from 10.0.0.0/8 192.0.2.0/24")
    client, s = said(r, b"", v1())
    client.close()
    assert read_all(s) == b""
    s.close()
    record = r.proxy.wait_record()
    assert record["client"].startswith("127.0.0.1:") and "via" not in record


def test_the_nearest_holds(start, server):
    target, ports = server(), [free_port() for _ in range(3)]
    start(config=f"accept-proxy from 127.0.0.1\nport {ports[0]}\nserver {target.spelt}\n"
                 f"port {ports[1]}\nserver {target.spelt}\naccept-proxy off\n"
                 f"port {ports[2]}\nserver {target.spelt}\ninterface 127.0.0.2\nserver {target.spelt}\naccept-proxy off\n")
    for port, host, wanted in ((ports[0], "127.0.0.1", b"x"), (ports[1], "127.0.0.1", v1()), (ports[2], "127.0.0.2", v1()),
                               (ports[2], "127.0.0.1", b"x")):
        client = connect(port, host)
        client.sendall(v1() + b"x")
        s = target.accept()
        assert read_exactly(s, len(wanted)) == wanted


def test_optional_lets_others_begin(accepting):
    r = accepting("from 127.0.0.1 optional")
    client, s = said(r, b"", b"GET / HTTP/1.0\r\n\r\n")
    client.close()
    s.close()
    assert "via" not in r.proxy.wait_record()
    assert record_of(r, v1())["client"] == CLIENT


def test_optional_and_silent(start, server):
    target, port = server(), free_port()
    start(config=f"port {port}\nserver {target.spelt}\naccept-proxy from 127.0.0.1 optional\nproxy-timeout 0.2\n")
    client = connect(port)
    s = target.accept()
    s.sendall(b"220 ready")
    assert read_exactly(client, 9) == b"220 ready"


def test_optional_is_not_for_a_broken_one(accepting):
    r = accepting("from 127.0.0.1 optional")
    client = r.connect()
    client.sendall(b"PROXY TCP4 x\r\n")
    assert is_reset(client) and r.proxy.wait_record()["why"] == "syntax"


# -- what is wrong

WRONG = {
    "syntax": [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00", b"PROXY TCP4 1.2.3.4 5.6.7.8 080 80\r\n",
               b"PROXY TCP4 1.2.3.4 5.6.7.8 80 80 \r\n", b"PROXY TCP4  1.2.3.4 5.6.7.8 80 80\r\n",
               b"PROXY TCP4 " + b"1" * 100, b"PROXY TCP6 1.2.3.4 5.6.7.8 80 80\r\n", b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
               v2(command=2)],
    "version": [v2(version=1), v2(version=3)],
    "datagram": [v2(kind=2)],
    "crc": [v2(tlvs=tlv(CRC32C, b"\0\0\0\1")), v2(tlvs=tlv(CRC32C, b"\0\0\0"))],
    "tlv": [v2(tlvs=b"\xe0\0\5abc"), v2(tlvs=b"\xe0\0")],
}


@pytest.mark.parametrize("why, header", [(w, h) for w, hs in WRONG.items() for h in hs])
def test_a_wrong_one_is_reset(accepting, why, header):
    r = accepting("from 127.0.0.1")
    client = r.connect()
    client.sendall(header)
    assert is_reset(client)
    record = r.proxy.wait_record()
    assert (record.end, record["why"], record.up, record["server"]) == ("bad-proxy", why, 0, "-")
    assert r.server.idle()
    r.proxy.wait_log(r"PROXY header from 127\.0\.0\.1:\d+: ")


def test_it_is_shown_what_came_instead(accepting):
    r = accepting()
    client = r.connect()
    client.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert is_reset(client)
    name = name_of(client.getsockname())
    r.proxy.wait_log(re.escape(f'PROXY header from {name}: not a header (begins "\\x16\\x03\\x01")'))


def test_the_log_is_told_of_an_address_once_a_second(accepting):
    r = accepting()
    for _ in range(20):
        client = r.connect()
        client.sendall(b"nonsense")
        assert is_reset(client)
    assert len(r.proxy.wait_records(20)) == 20
    assert 1 <= r.proxy.log().count("PROXY header from") < 20


@pytest.mark.parametrize("bytes_", [b"", b"PROXY TC"], ids=["silent", "half"])
def test_one_that_does_not_come_in_time(start, server, bytes_):
    target, port = server(), free_port()
    proxy = start(config=f"port {port}\nserver {target.spelt}\naccept-proxy from 127.0.0.1\nproxy-timeout 0.3\n")
    client = connect(port)
    client.sendall(bytes_)
    assert is_reset(client)
    record = proxy.wait_record()
    assert (record.end, record["why"]) == ("bad-proxy", "timeout")
    assert target.idle()


def test_a_probe_that_only_connects_has_no_record(accepting, admin):
    r = accepting("", "-o", admin.option)
    for reset in (False, True):
        client = r.connect()
        admin.wait_connection(state="preamble")
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        wait_for(lambda: not admin.json("connections"), "it is gone")
    r.proxy.wait_log("PROXY header from .*: it only connected")
    record_of(r, v1())
    assert len(r.proxy.records()) == 1


def test_a_fin_in_the_middle_of_it(accepting):
    r = accepting()
    client = r.connect()
    client.sendall(v2()[:20])
    client.shutdown(socket.SHUT_WR)
    record = r.proxy.wait_record()
    assert (record.end, record["why"]) == ("bad-proxy", "fin")


# -- from here on he is the client


def test_rules_and_limits_are_about_the_announced_one(start, server):
    target, port = server(), free_port()
    proxy = start(config=f"port {port}\nserver {target.spelt}\naccept-proxy\nallow 192.0.2.0/24\ndeny all\n"
                         "max-connections-per-client 1\n")

    def try_as(source):
        client = connect(port)
        client.sendall(v1(source) + b"x")
        return client
    denied = try_as("203.0.113.1")
    assert is_reset(denied) and proxy.wait_record()["why"] == "deny"
    first, second = try_as("192.0.2.1"), try_as("192.0.2.2")
    for _ in range(2):
        assert read_exactly(target.accept(), 1) == b"x"
    again = try_as("192.0.2.1")
    assert is_reset(again)
    assert proxy.wait_records(2)[-1]["why"] == "max-connections-per-client"
    first.close()
    second.close()


def test_programs_are_told(start):
    port = free_port()
    start("-b", port, "-o", "accept-proxy", "-n", "/usr/bin/env")
    client = connect(port)
    client.sendall(v2(tlvs=tlv(AUTHORITY, b"a.test") + tlv(UNIQUE_ID, b"id7") + tlv(0xE1, b"\1\2"), crc=True))
    env = dict(line.split("=", 1) for line in read_all(client).decode().splitlines())
    assert (env["PROXY_CLIENT"], env["PROXY_CLIENTPORT"]) == ("192.0.2.7", "4711")
    assert (env["TCPREMOTEIP"], env["TCPREMOTEPORT"]) == ("192.0.2.7", "4711")
    assert (env["TCPLOCALIP"], env["TCPLOCALPORT"]) == ("198.51.100.1", "25")
    assert (env["PROXY_INTERFACE"], env["PROXY_PORT"]) == ("127.0.0.1", str(port))
    assert env["PROXY_VIA"] == name_of(client.getsockname())
    assert (env["PROXY_AUTHORITY"], env["PROXY_UNIQUE_ID"], env["PROXY_TLV_E1"]) == ("a.test", "id7", "0102")


def test_an_access_program_is_told(start, server, directory):
    target, port = server(), free_port()
    acp = directory.script("acp", 'test "$PROXY_CLIENT" = 192.0.2.7 -a -n "$PROXY_VIA"')
    start(config=f"port {port}\nserver {target.spelt}\naccept-proxy\nacp {acp}\nnumeric yes\n")
    client = connect(port)
    client.sendall(v1() + b"x")
    assert read_exactly(target.accept(), 1) == b"x"


def test_an_echo_program_has_what_is_behind_it(start):
    port = free_port()
    proxy = start("-b", port, "-o", "accept-proxy", "/bin/cat")
    with connect(port) as client:
        client.sendall(v1() + b"mine")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"mine"
    record = proxy.wait_record()
    assert (record.up, record.down) == (4, 4)


def test_one_connection_of_inetd(directory, server):
    target = server()
    client, accepted = tcp_pair()
    p = subprocess.Popen([directory.program, "-o", "accept-proxy from 127.0.0.1", "-l", "stderr", target.spelt],
                         stdin=accepted, stdout=accepted, stderr=subprocess.PIPE, env=directory.environment())
    accepted.close()
    client.sendall(v1() + b"x")
    s = target.accept()
    assert read_exactly(s, 1) == b"x"
    client.close()
    s.close()
    assert f"client={CLIENT} via=" in p.communicate(timeout=5)[1].decode()


# -- passed on


def test_passed_on_to_the_server(start, server):
    target, port = server(), free_port()
    start(config=f"port {port}\nserver {target.spelt}\naccept-proxy\nsend-proxy v2 crc unique-id pass\n")
    tlvs = [(0xE1, b"one"), (ALPN, b"h2"), (0xE0, b"two"), (UNIQUE_ID, b"theirs"), (AUTHORITY, b"a.test")]
    client = connect(port)
    client.sendall(v2(tlvs=tlv(NOOP, b"x") + b"".join(tlv(*t) for t in tlvs), crc=True) + b"data")
    s = target.accept()
    h = Header(s)
    assert (h.source, h.to, h.crc) == (CLIENT, WANTED, True)
    assert h.tlvs == [(UNIQUE_ID, b"theirs"), (0xE1, b"one"), (ALPN, b"h2"), (0xE0, b"two"), (AUTHORITY, b"a.test")]
    assert read_exactly(s, 4) == b"data"


def test_some_of_it_is(start, server):
    target, port = server(), free_port()
    start(config=f"port {port}\nserver {target.spelt}\naccept-proxy\n"
                 "send-proxy v2 authority alpn pass=0xE1 tlv=0xE0:mine\n")
    client = connect(port)
    client.sendall(v2(tlvs=tlv(0xE1, b"one") + tlv(0xE0, b"theirs") + tlv(ALPN, b"h2") + tlv(AUTHORITY, b"a.test")))
    assert Header(target.accept()).tlvs == [(AUTHORITY, b"a.test"), (ALPN, b"h2"), (0xE1, b"one"), (0xE0, b"mine")]


def test_two_of_ours_in_a_row(start, server):
    target, inner, outer = server(), free_port(), free_port()
    proxy = start(config=f"port {outer}\nserver 127.0.0.1:{inner}\nsend-proxy v2 unique-id crc\n"
                         f"port {inner}\nserver {target.spelt}\naccept-proxy from 127.0.0.1\n", wait=True)
    client = connect(outer)
    client.sendall(b"x")
    s = target.accept()
    assert read_exactly(s, 1) == b"x"
    client.close()
    s.close()
    a, b = proxy.wait_records(2)
    assert a["client"] == b["client"] and a["uid"] == b["uid"]
    assert {a.up, b.up} == {1}


# -- nobody is kept out by silence


def test_an_eighth_of_the_places_may_wait(start, server, admin):
    target, port = server(), free_port()
    proxy = start(config=f"workers 1\n{admin.line}port {port}\nserver {target.spelt}\naccept-proxy\nproxy-timeout 1h\n",
                  wrap=["/bin/sh", "-c", 'ulimit -n 900; exec "$@"', "sh"])
    slots = admin.json("status")["workers"][0]["slots"]
    silent = [connect(port) for _ in range(slots // 8 + 20)]
    records = proxy.wait_records(20)
    assert {(r.end, r["why"]) for r in records} == {("bad-proxy", "crowd")}
    gone = {r["client"] for r in records}
    assert gone == {name_of(s.getsockname()) for s in silent[:20]}  # the oldest
    client = connect(port)
    client.sendall(v1() + b"x")
    assert read_exactly(target.accept(), 1) == b"x"


# -- deaths, reloads, moves


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_workers_death_while_it_is_awaited(accepting, header):
    r = accepting()
    clients = [r.connect() for _ in range(len(header))]
    for i, client in enumerate(clients):
        client.sendall(header[:i])
    r.proxy.kill_workers()
    for i, client in enumerate(clients):
        client.sendall(header[i:] + b"data")
        client.shutdown(socket.SHUT_WR)
    for client in clients:
        with r.server.accept() as s:
            assert read_all(s) == b"data"
        client.close()
    records = r.proxy.wait_records(len(clients))
    assert {(x["client"], x.up) for x in records} == {(CLIENT, 4)}


def test_a_workers_death_behind_it(accepting):
    r = accepting()
    pairs = [said(r, v2(tlvs=tlv(UNIQUE_ID, b"id"))) for _ in range(10)]
    r.proxy.kill_workers()
    for client, s in pairs:
        client.sendall(b"after")
        assert read_exactly(s, 5) == b"after"
        client.shutdown(socket.SHUT_WR)
        assert read_all(s) == b""
        s.close()
        client.close()
    assert {(x.up, x["uid"], x["client"]) for x in r.proxy.wait_records(10)} == {(10, "id", CLIENT)}


def test_a_reload_while_it_is_awaited(start, server):
    """Whoever is not expected to send one any more is an ordinary client; the others are still waited for."""
    target, ports = server(), [free_port(), free_port()]
    one = "port {}\nserver " + target.spelt + "\nproxy-timeout 1h\naccept-proxy from {}\n"
    proxy = start(config=one.format(ports[0], "127.0.0.1") + one.format(ports[1], "127.0.0.1"))
    begun, silent, waits = connect(ports[0]), connect(ports[0]), connect(ports[1])
    begun.sendall(b"PROXY")
    waits.sendall(b"PROXY TCP4 192.0.2.7 ")
    proxy.rewrite(one.format(ports[0], "10.0.0.0/8") + one.format(ports[1], "127.0.0.0/8"))
    proxy.signal(signal.SIGHUP)
    both = [target.accept(), target.accept()]
    ready = select.select(both, [], [], 20)[0]
    assert read_exactly(ready[0], 5) == b"PROXY"
    waits.sendall(b"198.51.100.1 4711 25\r\nx")
    assert read_exactly(target.accept(), 1) == b"x"
    silent.close()


def test_connections_that_change_workers_keep_it(start, server, admin):
    """By an upgrade of all: every one goes on in another program."""
    target, port = server(), free_port()
    proxy = start(config=f"workers 2\n{admin.line}port {port}\nserver {target.spelt}\naccept-proxy\n"
                         "send-proxy v2 unique-id\n")
    pairs = []
    for _ in range(8):
        client = connect(port)
        client.sendall(v2(tlvs=tlv(AUTHORITY, b"a.test")) + b"x")
        s = target.accept()
        assert Header(s).source == CLIENT and read_exactly(s, 1) == b"x"
        pairs.append((client, s))
    proxy.rewrite(proxy.config.replace("workers 2", "workers 1"))
    proxy.signal(signal.SIGHUP)
    proxy.wait_log("in force")
    for client, s in pairs:
        client.sendall(b"y")
        assert read_exactly(s, 1) == b"y"
        client.close()
        s.close()
    records = proxy.wait_records(8)
    assert {(x["client"], x["authority"], x.up) for x in records} == {(CLIENT, "a.test", 2)}
    assert len({x["uid"] for x in records}) == 8


# -- looking in


def test_connections_are_found_by_who_has_announced_them(start, server, admin):
    target, port = server(), free_port()
    start(config=f"{admin.line}port {port}\nserver {target.spelt}\naccept-proxy from 127.0.0.1\n")
    announced, plain = connect(port, source="127.0.0.1"), connect(port, source="127.0.0.2")
    announced.sendall(v1() + b"x")
    served = [target.accept() for _ in range(2)]
    wait_for(lambda: len(admin.json("connections", "state=relay")) == 2, "both")
    found = admin.json("connections", "via=127.0.0.1")
    assert [(c["client"], c["via"]) for c in found] == [(CLIENT, name_of(announced.getsockname()))]
    assert [c["via"] for c in admin.json("connections", "client=127.0.0.2")] == [None]
    assert len(admin.json("connections", "client=192.0.2.0/24")) == 1
    for s in (*served, plain):
        s.close()


def test_metrics_count_them(start, server, admin):
    target, port = server(), free_port()
    start(config=f"{admin.line}port {port}\nserver {target.spelt}\naccept-proxy from 127.0.0.1 optional\n")
    for header in (v1(), v2(), v2(), LOCAL, b"", b"PROXY nonsense\r\n"):
        client = connect(port)
        client.sendall(header + b"data")
        if header.startswith(b"PROXY n"):
            assert is_reset(client)
        else:
            target.accept()
    connect(port).close()

    def counted():
        text = admin.ask("metrics")
        return dict(re.findall(r'^tcpproxy_proxy_headers_total\{service="\d+",version="(\w+)"\} (\d+)$', text, re.M))
    wait_for(lambda: counted() == {"1": "1", "2": "2", "local": "1", "none": "1", "probe": "1"}, "all are counted")
    assert f'tcpproxy_proxy_header_errors_total{{service="{port}",why="syntax"}} 1\n' in admin.ask("metrics")


def test_it_is_explained(directory):
    config = directory.write("tcpproxy.conf", "port 443\naccept-proxy from 10.0.0.0/8\nallow 192.0.2.0/24\nserver 10.9.9.9:443\n"
                                              "send-proxy v2\nport 80\nserver 10.9.9.9:80\n")

    def explain(*words):
        return directory.run("-f", config, "--explain", *words)
    told = explain("192.0.2.7", "443", "via=10.0.0.1")
    assert told.returncode == 0 and "header: 10.0.0.1 must send a PROXY header first" in told.stdout
    assert "first: PROXY v2, 28 bytes" in told.stdout
    assert "header: 10.0.0.1 must send a PROXY header" in explain("10.0.0.1", "443").stdout
    told = explain("192.0.2.7", "443", "via=203.0.113.1")
    assert told.returncode == 3 and "203.0.113.1 sends no PROXY header" in told.stdout
    assert "header" not in explain("192.0.2.7", "80").stdout
