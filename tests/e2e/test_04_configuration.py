"""The configuration file."""

import pytest

from lib.peers import answer, ask, refused
from lib.ports import free_port, free_ports, listeners
from lib.waiting import wait_for


@pytest.fixture
def named(service):
    """named(text): a server that says its name and ends."""
    def make(text, **more):
        return service(lambda s: s.sendall(text.encode()), **more).spelt
    return make


# -- the seed's example, with addresses of this host


def test_the_example_of_1999(start, named):
    """Mail from the one side goes to the one server, from the other side to the other."""
    port = free_port()
    proxy = start(config=f"""
    port {port}
    interface 127.7.100.114
    server {named("internal")}
    interface 127.168.1.1
    server {named("provider")}
    """)
    assert answer(port, "127.7.100.114") == b"internal"
    assert answer(port, "127.168.1.1") == b"provider"
    assert refused(port, "127.0.0.1") and refused(port, "::1")
    rules = [r["rule"] for r in proxy.wait_records(2)]
    assert rules[0].startswith(proxy.config_path + ":") and rules[0] != rules[1]


def test_the_example_as_it_stands_is_understood(directory):
    path = directory.write("tcpproxy.conf", "port 25\ninterface 192.7.100.114\nserver mail.internal.com\n"
                                            "interface 192.168.1.1\nserver mail.provider.com\n")
    assert directory.run("-f", path, "-C").returncode == 0
    assert "mail.provider.com" in directory.run("-f", path, "--explain", "192.168.1.7", "192.168.1.1:25").stdout


# -- port


def test_a_service_may_have_several_ports_and_ranges(start, named):
    first, other = free_ports(3), free_port()
    start(config=f"port {first}-{first + 2} {other}\nserver {named('me')}\n")
    for port in (first, first + 1, first + 2, other):
        assert answer(port) == b"me"


def test_a_port_may_have_a_name(start, named):
    start(config=f"port finger\ninterface 127.77.0.4\nserver {named('me')}\n")
    wait_for(lambda: listeners(79), "port 79")
    assert answer(79, "127.77.0.4") == b"me"


def test_a_service_without_an_interface_takes_every_address(start, named):
    port = free_port()
    start(config=f"port {port}\nserver {named('me')}\n")
    for host in ("127.0.0.1", "127.3.2.1", "::1"):
        assert answer(port, host) == b"me"


# -- interface


def test_an_address_on_which_nothing_is_configured_refuses(start, named):
    port = free_port()
    start(config=f"port {port}\ninterface 127.0.0.5\nserver {named('five')}\n")
    assert answer(port, "127.0.0.5") == b"five"
    assert refused(port, "127.0.0.6") and refused(port, "::1")


def test_an_interface_beside_the_services_own_server(start, named):
    port = free_port()
    start(config=f"port {port}\nserver {named('any')}\ninterface 127.0.0.5\nserver {named('five')}\n"
                 f"interface ::1\nserver {named('six')}\n")
    assert answer(port, "127.0.0.5") == b"five"
    assert answer(port, "127.0.0.6") == b"any"
    assert answer(port, "::1") == b"six"


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "in reverse"])
def test_the_exact_address_beats_the_longer_network_beats_the_shorter_beats_a_name(start, named, turned):
    """Whatever their order in the file is."""
    port = free_port()
    sections = [f"interface 127.0.0.5\nserver {named('exact')}\n", f"interface 127.0.0.0/24\nserver {named('long')}\n",
                f"interface 127.0.0.0/8\nserver {named('short')}\n", f"interface lo\nserver {named('name')}\n"]
    own = f"server {named('own')}\n"
    start(config=f"port {port}\n{own}" + "".join(sections[::-1] if turned else sections))
    assert answer(port, "127.0.0.5") == b"exact"
    assert answer(port, "127.0.0.6") == b"long"
    assert answer(port, "127.9.9.9") == b"short"
    assert answer(port, "::1") == b"name"


def test_a_network_binds_every_present_address_in_it(start, named):
    port = free_port()
    start(config=f"port {port}\ninterface 127.0.0.0/8\nserver {named('net')}\n")
    assert listeners(port) == ["127.0.0.1"]
    assert answer(port) == b"net"


def test_an_interface_by_its_name(start, named):
    port = free_port()
    start(config=f"port {port}\ninterface lo\nserver {named('lo')}\n")
    assert listeners(port) == ["127.0.0.1", "::1"]
    assert answer(port) == answer(port, "::1") == b"lo"


def test_an_address_that_this_host_does_not_have_yet_is_bound(start, named):
    port = free_port()
    start(config=f"port {port}\ninterface 192.0.2.77\nserver {named('x')}\ninterface 2001:db8::77\nserver {named('y')}\n")
    assert listeners(port) == ["192.0.2.77", "2001:db8::77"]


def test_sections_of_one_port_in_two_services(start, named):
    port = free_port()
    start(config=f"port {port}\ninterface 127.0.0.5\nserver {named('five')}\n"
                 f"port {port}\ninterface 127.0.0.6\nserver {named('six')}\n")
    assert answer(port, "127.0.0.5") == b"five" and answer(port, "127.0.0.6") == b"six"


# -- nesting


def test_the_nearest_directive_wins(start, service):
    """A prefix for all, another for one service, a third for one interface."""
    port, other = free_ports(2), None
    other = port + 1
    proxy = start(config=f"""setenv ALL_
        port {port}
            setenv SERVICE_
            exec /usr/bin/env
            interface 127.0.0.5
                setenv NEAR_
                exec /usr/bin/env
        port {other}
            exec /usr/bin/env
        """)
    assert b"\nSERVICE_PORT=" in b"\n" + ask(port)
    assert b"\nNEAR_PORT=" in b"\n" + ask(port, host="127.0.0.5")
    assert b"\nALL_PORT=" in b"\n" + ask(other)
    assert proxy.wait_records(3)


def test_the_nearest_access_list_replaces_an_outer_one(start, named):
    port = free_port()
    start(config=f"deny all\nport {port}\nserver {named('any')}\ninterface 127.0.0.5\nallow all\nserver {named('five')}\n")
    assert answer(port, "127.0.0.5") == b"five"
    with pytest.raises(ConnectionResetError):
        answer(port)


# -- text


def test_comments_quotes_and_indentation(start, named):
    port = free_port()
    start(config=f'\n# comment\n\n\t port   {port} # behind\n  "server"   "{named("me")}"# tight\n\n')
    assert answer(port) == b"me"


def test_a_last_line_without_a_newline_and_lines_with_crlf(start, named):
    port = free_port()
    start(config=f"port {port}\r\nserver {named('me')}")
    assert answer(port) == b"me"


def test_include_takes_a_glob_in_sorted_order_relative_to_the_file(start, named, directory):
    first, second = free_port(), free_port()
    directory.write("conf.d/20-b.conf", f"server {named('first')}\nport {second}\n")
    directory.write("conf.d/10-a.conf", f"port {first}\n")
    directory.write("conf.d/30-c.conf", f"server {named('second')}\n")
    start(config="include conf.d/*.conf\ninclude nothing.d/*.conf\n", wait=False)
    wait_for(lambda: listeners(second), "the second port")
    assert answer(first) == b"first" and answer(second) == b"second"


def test_a_plain_name_to_include_must_exist(directory):
    path = directory.write("tcpproxy.conf", "port 8025\nserver a.test\ninclude gone.conf\n")
    run = directory.run("-f", path, "-C")
    assert run.returncode == 1 and f"{path}:3:9: " in run.stderr and "gone.conf" in run.stderr


def test_an_error_in_an_included_file_names_that_file(directory):
    inner = directory.write("inner.conf", "port 8025\nserver a.test\nbogus\n")
    run = directory.run("-f", directory.write("tcpproxy.conf", "include inner.conf\n"), "-C")
    assert run.returncode == 1 and f"tcpproxy: {inner}:3:1: " in run.stderr


def test_a_file_that_includes_itself_is_an_error(directory):
    run = directory.run("-f", directory.write("tcpproxy.conf", "include tcpproxy.conf\n"), "-C")
    assert run.returncode == 1 and "tcpproxy.conf:1:" in run.stderr


@pytest.mark.parametrize("text, place, words", [
    ("port 25\nsever a.test\n", "2:1", ["server"]),
    ("port 25\nserver a.test\nuser nobody\n", "3:1", ["user"]),
    ("server a.test\n", "1:1", ["port"]),
    ("port 25\nserver a.test\ntimeout fast\n", "3:9", ["fast"]),
    ("port 25\nserver a.test\ntimeout\n", "3:8", []),
    ("port 25\nserver a.test weight=1001\n", "2:15", ["weight"]),
    ("port 25\nserver a.test\nbalance roundrobin\n", "3:", []),
    ("port 25\nserver a.test\nadmin 127.0.0.1:1\n", "3:1", []),
    ("listen 25\n", "1:1", ["port"]),
    ("port 25\nserver a.test\nmaxconn 5\n", "3:1", ["max-connections"]),
    ("port 25\nserver a.test\nproxy_pass b.test\n", "3:1", ["server"]),
    ("port 25\nserver a.test\nonly_from 10.0.0.0/8\n", "3:1", ["allow"]),
    ("port 25\nserver a.test\nallow 10.0.0.0/33\n", "3:7", []),
    ("port 25\nserver a.test\nallow 10.0.0.1/8x\n", "3:7", []),
    ("port 25\ninterface 10.0.0.1\nserver a.test\ninterface 10.0.0.1\nserver b.test\n", "4:", ["25"]),
    ("port 25\nserver a.test\nport 25\nserver b.test\n", "3:", ["25"]),
    ("port 25\nserver \"a.test\n", "2:8", []),
    ("port 0\nserver a.test\n", "1:6", []),
    ("port 30-20\nserver a.test\n", "1:6", []),
    ("port 25\n", "1:", []),
    ("standalone maybe\n", "1:12", ["yes", "no"]),
    ("port 25\nserver a.test\nexec bin/x\n", "3:6", []),
    ("port 25\nserver a.test\nallow file:gone\n", "3:7", ["gone"]),
    ("port 25\nserver a.test\nlog nowhere\n", "3:", []),
])
def test_errors_name_the_place_and_what_is_allowed(directory, text, place, words):
    path = directory.write("tcpproxy.conf", text)
    run = directory.run("-C", "-f", path)
    assert run.returncode == 1
    first = run.stderr.splitlines()[0]
    assert first.startswith(f"tcpproxy: {path}:{place}"), first
    for word in words:
        assert word in run.stderr


@pytest.mark.parametrize("directive", ["bandwidth 1m",
                                       "max-rate-per-client 10/s", "route /bin/x", "acp-cache 5"])
def test_a_directive_whose_time_has_not_come_says_not_yet(directory, directive):
    run = directory.run("-C", "-f", directory.write("tcpproxy.conf", f"port 25\nserver a.test\n{directive}\n"))
    assert run.returncode == 1 and "not yet" in run.stderr


@pytest.mark.parametrize("text", ["\0\0\0", "\xff\xfe port", "port " + "9" * 5000, '"' * 3000, "port 25\n" * 2000,
                                  "include " + "x" * 5000, "port 1-65535\nserver a.test\n" * 3, "a" * 200_000])
def test_bad_text_never_crashes_or_hangs(directory, text):
    with open(directory / "tcpproxy.conf", "wb") as f:
        f.write(text.encode("latin-1"))
    run = directory.run("-C", "-f", directory / "tcpproxy.conf", timeout=10)
    assert run.returncode == 1 and run.stderr.startswith("tcpproxy: ")


@pytest.mark.parametrize("spelt, ok", [("0", True), ("1.5", True), ("250ms", True), ("2s", True), ("3m", True),
                                       ("1h", True), ("1d", True), ("1w", False), ("-1", False), ("1,5", False)])
def test_times(directory, spelt, ok):
    run = directory.run("-C", "-f", directory.write("tcpproxy.conf", f"timeout {spelt}\nport 25\nserver a.test\n"))
    assert run.returncode == (0 if ok else 1), run
