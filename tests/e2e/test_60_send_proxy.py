"""What a server hears first: who its client is, by the PROXY protocol."""
import signal
import socket
import struct
import subprocess

import pytest

from lib.peers import Server, connect, expect, expect_fin, fin, is_reset, play, read_all, read_exactly, send, tcp_pair
from lib.ports import free_port
from lib.proxy_header import AUTHORITY, Header, UNIQUE_ID, name_of
from lib.waiting import wait_for


# -- its bytes


@pytest.mark.parametrize("version", [1, 2])
def test_it_comes_first_and_names_both_ends(relay, version):
    r = relay("-o", f"send-proxy v{version}")
    client, s = r.pair()
    h = Header(s)
    assert (h.version, h.local, h.tlvs) == (version, False, [])
    assert (h.source, h.to) == (name_of(client.getsockname()), name_of(client.getpeername()))
    client.sendall(b"hello")
    assert read_exactly(s, 5) == b"hello"
    s.sendall(b"who")
    assert read_exactly(client, 3) == b"who"
    client.close()
    assert read_all(s) == b""
    s.close()
    record = r.proxy.wait_record()
    assert (record.up, record.down, record.end) == (5, 3, "client-fin")  # ours are not the client's
    assert "uid" not in record and "via" not in record


@pytest.mark.parametrize("version", [1, 2])
def test_a_server_that_speaks_first_has_it_before(relay, version):
    """Nobody waits for a byte of the client."""
    r = relay("-o", f"send-proxy v{version}")
    client, s = r.pair()
    assert Header(s).version == version
    s.sendall(b"220 ready\r\n")
    assert read_exactly(client, 11) == b"220 ready\r\n"


def test_streams_go_through_whole_behind_it(relay):
    r = relay("-o", "send-proxy v2 crc")
    client, s = r.pair()
    assert Header(s).crc
    play(client, [send(3_000_000), fin(), expect(1_000_000, seed=2), expect_fin()],
         s, [expect(3_000_000), expect_fin(), send(1_000_000, seed=2), fin()])
    record = r.proxy.wait_record()
    assert (record.up, record.down) == (3_000_000, 1_000_000)


def test_what_the_client_has_said_already_comes_behind_it(start, server):
    """Its bytes are there before there is a server."""
    target = server()
    port = free_port()
    start(config=f"port {port}\nserver {target.spelt}\nsend-proxy v1\n")
    client = connect(port)
    client.sendall(b"early")
    client.shutdown(socket.SHUT_WR)
    s = target.accept()
    assert Header(s).version == 1
    assert read_all(s) == b"early"


def test_the_family_of_the_server_does_not_matter(start, server):
    target = server("tcp6")
    port = free_port()
    start("-b", port, "-o", "send-proxy v1", target.spelt)
    client = connect(port)
    h = Header(target.accept())
    assert h.source == name_of(client.getsockname()) and h.bytes.startswith(b"PROXY TCP4 ")


# -- words


def test_the_unique_id_is_in_the_record_too(relay):
    r = relay("-o", "send-proxy v2 unique-id")
    for _ in range(2):
        client, s = r.pair()
        said = Header(s).tlv(UNIQUE_ID).decode()
        client.close()
        s.close()
        wait_for(lambda: any(x["uid"] == said for x in r.proxy.records()), said)
        assert len(said) == 32 and set(said) <= set("0123456789abcdef")
    first, second = (x["uid"] for x in r.proxy.wait_records(2))
    assert first[:16] == second[:16] and first != second


def test_words_are_said_in_their_order_with_a_right_checksum(relay4):
    r = relay4("-o", 'send-proxy v2 crc unique-id authority tlv=0xE1:one "tlv=0xE0:two words"')
    h = Header(r.pair()[1])
    assert h.crc is True
    assert [kind for kind, _ in h.tlvs] == [UNIQUE_ID, 0xE1, 0xE0]
    assert (h.tlv(0xE1), h.tlv(0xE0), h.tlv(AUTHORITY)) == (b"one", b"two words", None)


# -- where it is said


def test_the_nearest_holds_and_servers_may_say_otherwise(start, server):
    targets = [server() for _ in range(6)]
    ports = [free_port() for _ in range(6)]
    words = ["", "send-proxy off", "send-proxy v1", "", "send-proxy off", ""]
    options = ["", "", "", " send-proxy=off", " send-proxy=v2", " send-proxy=v1"]
    start(config="send-proxy v2 tlv=0xE0:x\n" + "".join(
        f"port {p}\n{w}\nserver {t.spelt}{o}\n" for p, t, w, o in zip(ports, targets, words, options)))
    heard = []
    for port, target in zip(ports, targets):
        client, s = connect(port), target.accept()
        client.sendall(b"QQ")
        if s.recv(2, socket.MSG_PEEK) == b"QQ":
            heard.append(None)
        else:
            h = Header(s)
            heard.append((h.version, h.tlv(0xE0)))
    assert heard == [(2, b"x"), None, (1, None), None, (2, b"x"), (1, None)]


def test_a_program_gets_none(start):
    port = free_port()
    start("-b", port, "-o", "send-proxy v1", "/bin/cat")
    with connect(port) as c:
        c.sendall(b"mine")
        c.shutdown(socket.SHUT_WR)
        assert read_all(c) == b"mine"


def test_after_a_reload(start, server):
    target, port = server(), free_port()
    proxy = start(config=f"port {port}\nserver {target.spelt}\n")
    proxy.rewrite(f"port {port}\nserver {target.spelt}\nsend-proxy v2\n")
    proxy.signal(signal.SIGHUP)
    proxy.wait_log("in force")
    connect(port)
    assert Header(target.accept()).version == 2


def test_one_connection_of_inetd(directory, server, kind):
    target = server(kind)
    client, accepted = tcp_pair()
    p = subprocess.Popen([directory.program, "-o", "send-proxy v1", target.spelt], stdin=accepted, stdout=accepted,
                         stderr=subprocess.DEVNULL, env=directory.environment())
    accepted.close()
    s = target.accept()
    h = Header(s)
    assert h.version == 1 and h.source == name_of(client.getsockname()) and h.to == name_of(client.getpeername())
    client.sendall(b"x")
    assert read_exactly(s, 1) == b"x"
    client.close()
    s.close()
    assert p.wait(5) == 0


@pytest.mark.parametrize("version", [1, 2])
def test_pipes_have_no_address(directory, server, version):
    target = server()
    p = subprocess.Popen([directory.program, "-o", f"send-proxy v{version}", target.spelt], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=directory.environment())
    s = target.accept()
    h = Header(s)
    assert (h.version, h.local, h.source) == (version, False, None)
    s.close()
    p.communicate(timeout=5)


# -- servers that fail


def resetting(listener):
    """Accepts one, reads a part of the header, resets it."""
    s = listener.accept()
    read_exactly(s, 5)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def test_the_next_server_hears_all_of_it(start, server):
    target, port = server(), free_port()
    start(config=f"send-proxy v2 unique-id\nport {port}\nserver 127.0.0.1:{free_port()}\nserver {target.spelt}\n")
    for _ in range(4):
        client = connect(port)
        h = Header(target.accept())
        assert h.source == name_of(client.getsockname())


def test_one_that_resets_after_half_a_header_ends_that_connection(relay4):
    """It had been connected: nobody else is called."""
    r = relay4("-o", "send-proxy v1")
    client = r.connect()
    resetting(r.server)
    assert is_reset(client)
    assert r.proxy.wait_record().end == "server-reset"


# -- deaths


def test_a_workers_death_neither_doubles_nor_loses_it(relay):
    r = relay("-o", "send-proxy v2 unique-id crc", "-o", "workers 1")
    pairs = [r.pair() for _ in range(5)]
    for client, _ in pairs:
        client.sendall(b"before")
    r.proxy.kill_workers()
    for client, s in pairs:
        client.sendall(b"after")
        client.shutdown(socket.SHUT_WR)
        h = Header(s)
        assert h.crc and h.source == name_of(client.getsockname())
        assert read_all(s) == b"beforeafter"
        s.close()
        client.close()
        wait_for(lambda uid=h.tlv(UNIQUE_ID).decode(): uid in r.proxy.log(), "its record")
    assert {x.up for x in r.proxy.wait_records(5)} == {11}


def test_a_death_while_it_is_being_connected(start, directory):
    """Clients wait for a full queue; the next worker sends it when there is room."""
    with Server("unix", directory, backlog=0) as full:
        blockers = []
        while True:
            b = socket.socket(socket.AF_UNIX)
            b.setblocking(False)
            blockers.append(b)
            try:
                b.connect(full.spelt[5:])
            except BlockingIOError:
                break
        port = free_port()
        proxy = start("-b", port, "-o", "workers 1", "-o", "send-proxy v1", full.spelt)
        client = connect(port)
        client.sendall(b"x")
        proxy.kill_workers()
        for _ in blockers[:-1]:
            full.accept()
        s = full.accept()
        assert Header(s).source == name_of(client.getsockname())
        assert read_exactly(s, 1) == b"x"


# -- checks


@pytest.mark.parametrize("version", [1, 2])
def test_a_check_begins_with_one_that_names_nobody(start, service, version):
    heard, port = [], free_port()

    def serve(s):
        heard.append(Header(s))
        if s.recv(4) == b"PING":
            s.sendall(b"PONG")
    start(config=f"port {port}\nserver {service(serve).spelt}\nsend-proxy v{version}\n"
                 "check every=100ms send PING expect PONG\n")
    wait_for(lambda: heard, "a check")
    h = heard[0]
    assert (h.version, h.local, h.source, h.tlvs) == (version, version == 2, None, [])


@pytest.mark.parametrize("words, version", [("proxy=no", 0), ("", 0), ("proxy=yes", 2)], ids=["no", "other-port", "yes"])
def test_a_check_at_another_port_has_none_unless_it_is_wanted(start, server, service, words, version):
    target, heard, port = server(), [], free_port()
    probe = service(lambda s: heard.append(s.recv(16)))
    own = "" if words == "proxy=no" else f"port={probe.port} "
    to = probe.spelt if words == "proxy=no" else target.spelt
    start(config=f"port {port}\nserver {to}\nsend-proxy v2\ncheck every=100ms {own}{words} send PING\n")
    wait_for(lambda: heard, "a check")
    assert heard[0].startswith(b"\r\n\r\n\0" if version else b"PING")
