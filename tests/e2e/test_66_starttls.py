"""starttls: what comes before the hello of TLS is spoken by us, then sni applies, and the same is said to the server."""
import ssl
import struct
import subprocess

import pytest

from lib.peers import connect, data, is_reset, read_all, read_exactly, tcp_pair
from lib.ports import free_port
from lib.waiting import wait_for

SSL, GSS, CANCEL = 80877103, 80877104, 80877102


def request(code, more=b""):
    return struct.pack("!II", 8 + len(more), code) + more


STARTUP = b"user\0test\0\0"
PLAIN = struct.pack("!II", 8 + len(STARTUP), 196608) + STARTUP


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    d = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=a.example.com", "-keyout", d / "key", "-out", d / "cert"], check=True, capture_output=True)
    return str(d / "cert"), str(d / "key")


def lines(s):
    """The next line, byte by byte: what is behind it stays."""
    line = b""
    while not line.endswith(b"\n"):
        c = s.recv(1)
        if not c:
            raise ConnectionError("it has ended")
        line += c
    return line


def server_side(protocol, s):
    """What a server says before TLS."""
    if protocol == "postgres":
        assert read_exactly(s, 8) == request(SSL)
        s.sendall(b"S")
    elif protocol == "smtp":
        s.sendall(b"220-first line\r\n220 server.test ESMTP\r\n")
        assert lines(s).startswith(b"EHLO ")
        s.sendall(b"250-server.test\r\n250-SIZE 10000\r\n")
        s.sendall(b"250-STARTTLS\r\n250 8BITMIME\r\n")
        assert lines(s) == b"STARTTLS\r\n"
        s.sendall(b"220 go ahead\r\n")
    elif protocol == "imap":
        s.sendall(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] server ready\r\n")
        assert lines(s) == b"t STARTTLS\r\n"
        s.sendall(b"t OK begin\r\n")
    elif protocol == "pop3":
        s.sendall(b"+OK ready <1@server>\r\n")
        assert lines(s) == b"STLS\r\n"
        s.sendall(b"+OK begin\r\n")


def client_side(protocol, s):
    if protocol == "postgres":
        s.sendall(request(SSL))
        assert s.recv(10) == b"S"
    elif protocol == "smtp":
        assert lines(s).startswith(b"220 ")
        s.sendall(b"EHLO client.test\r\n")
        assert lines(s).startswith(b"250-") and lines(s) == b"250 STARTTLS\r\n"
        s.sendall(b"STARTTLS\r\n")
        assert lines(s).startswith(b"220 ")
    elif protocol == "imap":
        assert lines(s).startswith(b"* OK [CAPABILITY IMAP4rev1 STARTTLS")
        s.sendall(b"a1 CAPABILITY\r\n")
        assert lines(s).startswith(b"* CAPABILITY ") and lines(s).startswith(b"a1 OK")
        s.sendall(b"a.2 starttls\r\n")
        assert lines(s).startswith(b"a.2 OK")
    elif protocol == "pop3":
        assert lines(s).startswith(b"+OK")
        s.sendall(b"CAPA\r\n")
        assert [lines(s) for _ in range(3)] == [b"+OK\r\n", b"STLS\r\n", b".\r\n"]
        s.sendall(b"STLS\r\n")
        assert lines(s).startswith(b"+OK")


PROTOCOLS = ["postgres", "smtp", "imap", "pop3"]


@pytest.fixture
def tls_server(service, certificate):
    """tls_server(protocol, name): ends TLS after what comes before it, says its name, and answers with what it gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def make(protocol, name):
        def serve(s):
            server_side(protocol, s)
            with context.wrap_socket(s, server_side=True) as t:
                t.sendall(name + b"\n")
                while chunk := t.recv(65536):
                    t.sendall(chunk)
        return service(serve)
    return make


def over_tls(s, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(s, server_hostname=name)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_name_leads_to_the_server(start, tls_server, protocol):
    port = free_port()
    proxy = start(config=f"port {port}\nstarttls {protocol}\nserver {tls_server(protocol, b'other').spelt}\n"
                         f"sni a.example.com\nserver {tls_server(protocol, b'a').spelt}\n")
    for name, wanted in (("a.example.com", b"a"), ("b.example.com", b"other"), ("a.example.com", b"a")):
        s = connect(port)
        client_side(protocol, s)
        with over_tls(s, name) as t:
            assert lines(t) == wanted + b"\n"
            for seed in range(4):
                sent = data(50_000, seed)
                t.sendall(sent)
                assert read_exactly(t, len(sent)) == sent
    found = proxy.wait_records(3)
    assert [r.get("sni") for r in found] == ["a.example.com", "b.example.com", "a.example.com"]
    assert all(r.up > 200_000 and r.down > 200_000 for r in found)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("when", ["before a word", "in the middle", "before the hello", "afterwards"])
def test_a_kill_of_the_worker_costs_nothing(start, tls_server, protocol, when):
    port = free_port()
    proxy = start(config=f"workers 1\nport {port}\nstarttls {protocol}\nserver {tls_server(protocol, b'x').spelt}\n")
    s = connect(port)
    if when == "before a word":
        proxy.kill_workers()
    elif when == "in the middle" and protocol == "postgres":
        s.sendall(request(GSS))
        assert s.recv(10) == b"N"
        proxy.kill_workers()
    elif when == "in the middle":
        line = {"smtp": b"NOOP\r\n", "imap": b"x NOOP\r\n", "pop3": b"USER x\r\n"}[protocol]
        greeting = lines(s)
        s.sendall(line[:3])
        proxy.kill_workers()
        s.sendall(line[3:])
        assert lines(s).startswith({"smtp": b"250", "imap": b"x OK", "pop3": b"-ERR STLS"}[protocol])
        proxy.kill_workers()
        assert greeting
        client_after_greeting(protocol, s)
    if when != "in the middle" or protocol == "postgres":
        client_side(protocol, s)
    if when == "before the hello":
        proxy.kill_workers()
    with over_tls(s, "a.example.com") as t:
        assert lines(t) == b"x\n"
        if when == "afterwards":
            proxy.kill_workers()
        t.sendall(b"hello")
        assert read_exactly(t, 5) == b"hello"
    assert proxy.wait_record().end in ("client-fin", "server-fin")


def client_after_greeting(protocol, s):
    s.sendall({"smtp": b"STARTTLS\r\n", "imap": b"b STARTTLS\r\n", "pop3": b"STLS\r\n"}[protocol])
    assert lines(s).startswith({"smtp": b"220", "imap": b"b OK", "pop3": b"+OK"}[protocol])


# -- Postgres


def test_postgres_gss_first(start, tls_server):
    """Pitfall 38: libpq asks for GSS before, and goes on when it is told no."""
    port = free_port()
    start(config=f"port {port}\nstarttls postgres\nserver {tls_server('postgres', b'x').spelt}\n")
    s = connect(port)
    s.sendall(request(GSS))
    assert s.recv(10) == b"N"
    client_side("postgres", s)
    with over_tls(s, "a.example.com") as t:
        assert lines(t) == b"x\n"


def test_postgres_without_tls(start, service):
    """The server is asked nothing, and gets every byte."""
    port = free_port()

    def serve(s):
        s.sendall(read_exactly(s, len(PLAIN)))
    proxy = start(config=f"port {port}\nstarttls postgres\nserver {service(serve).spelt}\n"
                         "sni a.example.com\nserver 127.0.0.1:9\n")
    with connect(port) as s:
        s.sendall(PLAIN[:5])
        s.sendall(PLAIN[5:])
        assert read_all(s) == PLAIN
    assert proxy.wait_record().up == len(PLAIN)


def test_postgres_tls_at_once(start, service, certificate):
    """sslnegotiation=direct: nobody is asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def serve(s):
        with context.wrap_socket(s, server_side=True) as t:
            t.sendall(b"direct\n")
    port = free_port()
    start(config=f"port {port}\nstarttls postgres\nserver 127.0.0.1:9\nsni a.example.com\nserver {service(serve).spelt}\n")
    with over_tls(connect(port), "a.example.com") as t:
        assert lines(t) == b"direct\n"


def test_postgres_a_request_to_cancel_goes_to_every_server(start, service):
    got = []

    def serve(s):
        got.append(read_all(s))
    port, asked = free_port(), request(CANCEL, struct.pack("!II", 4711, 0xdeadbeef))
    proxy = start(config=f"port {port}\nstarttls postgres\nserver {service(serve).spelt}\nserver {service(serve).spelt}\nserver 127.0.0.1:9\n"
                         f"sni a.example.com\nserver {service(serve).spelt}\n")
    with connect(port) as s:
        s.sendall(asked)
        assert read_all(s) == b""
    wait_for(lambda: got == 3 * [asked], "all have heard of it")
    assert proxy.wait_record().end == "client-fin"


def test_a_server_without_tls_is_passed_over(start, service, tls_server):
    def no(s):
        read_exactly(s, 8)
        s.sendall(b"N")
        s.recv(1)
    port = free_port()
    proxy = start(config=f"workers 1\nport {port}\nstarttls postgres\nserver {service(no).spelt}\nserver {tls_server('postgres', b'yes').spelt}\n")
    for _ in range(2):
        s = connect(port)
        client_side("postgres", s)
        with over_tls(s, "a.example.com") as t:
            assert lines(t) == b"yes\n"
    proxy.wait_log("it does not go on with TLS \\(starttls\\)")


@pytest.mark.parametrize("protocol, behind", [("postgres", request(SSL) + b"x"), ("smtp", b"STARTTLS\r\nMAIL FROM:<x>\r\n"),
                                              ("imap", b"a STARTTLS\r\nb LOGIN x y\r\n"), ("pop3", b"STLS\r\nUSER x\r\n")])
def test_nothing_may_stand_behind_the_request(start, service, protocol, behind):
    port = free_port()
    proxy = start(config=f"port {port}\nstarttls {protocol}\nserver {service().spelt}\n")
    with connect(port) as s:
        if protocol != "postgres":
            lines(s)
        s.sendall(behind)
        assert is_reset(s)
    record = proxy.wait_record()
    assert (record.end, record["why"]) == ("bad-tls", "injection")


@pytest.mark.parametrize("protocol, said, why", [("postgres", b"GET / HTTP/1.1\r\n", "protocol"), ("postgres", b"\0\0\0", "timeout"),
                                                 ("postgres", b"", "silent"), ("imap", b"(a b\r\n", "protocol"), ("smtp", b"", "silent"),
                                                 ("smtp", 40 * b"NOOP\r\n", "protocol"), ("pop3", 3000 * b"x", "protocol")])
def test_who_speaks_otherwise_or_not_at_all(start, service, protocol, said, why):
    port = free_port()
    proxy = start(config=f"port {port}\nstarttls {protocol}\nspeak-timeout 500ms\nserver {service().spelt}\n")
    with connect(port) as s:
        s.sendall(said)
        assert is_reset(s)
    record = proxy.wait_record()
    assert (record.end, record["why"]) == ("no-route", why)


@pytest.mark.parametrize("protocol, said, answer", [("smtp", b"QUIT\r\n", b"221 2.0.0 Bye\r\n"), ("imap", b"a LOGOUT\r\n", b"* BYE\r\na OK done\r\n"),
                                                    ("pop3", b"QUIT\r\n", b"+OK bye\r\n")])
def test_who_takes_his_leave(start, service, protocol, said, answer):
    port = free_port()
    proxy = start(config=f"port {port}\nstarttls {protocol}\nserver {service().spelt}\n")
    with connect(port) as s:
        lines(s)
        s.sendall(said)
        assert read_all(s) == answer
    assert proxy.wait_record().end == "client-fin"


def test_behind_a_header_and_before_one(start, service, certificate):
    """PROXY headers on both sides: each is before what starttls is about."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def serve(s):
        assert lines(s) == b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"
        server_side("smtp", s)
        with context.wrap_socket(s, server_side=True) as t:
            t.sendall(b"x\n")
    port = free_port()
    proxy = start(config=f"port {port}\naccept-proxy\nsend-proxy v1\nstarttls smtp\nserver {service(serve).spelt}\n")
    s = connect(port)
    s.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n")
    client_side("smtp", s)
    with over_tls(s, "a.example.com") as t:
        assert lines(t) == b"x\n"
    assert proxy.wait_record()["client"] == "192.0.2.7:4711"


# -- the one connection of inetd


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_connection_of_inetd(directory, tls_server, protocol):
    client, accepted = tcp_pair()
    p = subprocess.Popen([directory.program, "-o", f"starttls {protocol}", "-o", "sni a.example.com",
                          "-o", f"server {tls_server(protocol, b'a').spelt}", "-l", "stderr", tls_server(protocol, b"other").spelt],
                         stdin=accepted, stdout=accepted, stderr=subprocess.PIPE, env=directory.environment())
    accepted.close()
    client_side(protocol, client)
    with over_tls(client, "a.example.com") as t:
        assert lines(t) == b"a\n"
        t.sendall(b"hello")
        assert read_exactly(t, 5) == b"hello"
    assert " sni=a.example.com " in p.communicate(timeout=10)[1].decode()
