"""The page and the metrics over HTTP: what is answered, to whom, and what no client of it can do."""
import json
import os
import random
import re
import signal
import socket
import subprocess
import time

import pytest

from lib import build, kernel, processes
from lib.admin import promtool
from lib.page import Page
from lib.peers import ask, connect, gets_reset, is_reset, read_all, refused
from lib.ports import free_port
from lib.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.skipif(not build.has_page(), reason="this build has no page")

TOKEN = "correct horse battery"


@pytest.fixture
def page():
    return Page()


@pytest.fixture
def proxy(start, service, page):
    proxy = start("-b", free_port(), "-o", page.option, service().spelt)
    proxy.port = proxy.ports()[0]
    page.wait_answers()
    return proxy


@pytest.fixture
def steered(start, service, directory):
    """(page, proxy, server): one that may be steered; it reads a file, so that it can be reloaded."""
    page = Page(directory.write("token", TOKEN + "\n", mode=0o600))
    server = service()
    port = free_port()
    proxy = start(config=f"{page.line}port {port}\nserver {server.spelt}\n")
    proxy.port = port
    page.wait_answers()
    return page, proxy, server


# -- the process

def test_a_process_of_its_own(proxy):
    pid, = proxy.role("admin")
    assert processes.parent(pid) == proxy.pid
    with open(f"/proc/{pid}/status") as f:
        status = f.read()
    assert re.search(r"^CapPrm:\s+0+$", status, re.M) and re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    if os.geteuid() == 0:
        assert re.search(r"^Uid:\s+65534\s", status, re.M)


@pytest.mark.skipif(not build.has_filter(), reason="this build has no filter of system calls")
def test_who_speaks_with_strangers_has_few_system_calls(proxy):
    for pid in proxy.role("admin") + proxy.workers():
        with open(f"/proc/{pid}/status") as f:
            assert re.search(r"^Seccomp:\s+2$", f.read(), re.M), processes.title(pid)
    assert not kernel.has_landlock() or "does not have" not in proxy.log()


def maps(pid):
    with open(f"/proc/{pid}/maps") as f:
        return f.read()


def test_it_may_write_nothing_that_others_rely_on(proxy):
    shared = re.findall(r"^\S+ (\S+) .*memfd:tcpproxy-(\w+)", maps(proxy.role("admin")[0]), re.M)
    assert {name for _, name in shared} == {"world", "said", "trio", "history"}
    assert {mode for mode, name in shared if name != "history"} == {"r--s"}


def test_only_it_loads_the_web_library(proxy):
    having = {title for title, pids in proxy.tree().items() for pid in pids if "libmicrohttpd" in maps(pid)}
    assert having == {"tcpproxy: admin"}


def test_without_an_address_there_is_no_such_process(start, service, admin):
    proxy = start("-b", free_port(), "-o", admin.option, service().spelt)
    assert proxy.role("admin") == []


def test_it_holds_no_listening_socket_of_the_proxy(proxy):
    """Else `fuser -k` of the served ports would end it, and the port would stay open behind our backs."""
    pid, = proxy.role("admin")
    held = {x for x in processes.descriptors(pid).values() if x.startswith("socket:")}
    assert held and not held & set(processes.descriptors(proxy.workers()[0]).values())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_is_replaced_and_nobody_else_notices(proxy, page, number):
    proxy.expect_deaths()
    client = connect(proxy.port)
    before = {t: p for t, p in proxy.tree().items() if t != "tcpproxy: admin"}
    first, = proxy.role("admin")
    os.kill(first, number)
    wait_for(lambda: proxy.role("admin") not in ([], [first]), "another admin process")
    page.wait_answers()
    assert page.json("/api/connections")["total"] == 1
    assert {t: p for t, p in proxy.tree().items() if t != "tcpproxy: admin"} == before
    proxy.wait_log("the admin process was killed")
    client.close()


def test_it_goes_with_a_killed_supervisor_and_comes_back(proxy, page):
    proxy.kill_supervisor()
    wait_for(lambda: proxy.role("admin") == [], "no admin process")
    proxy.start_again()
    page.wait_answers()


def test_an_upgrade_refuses_nobody(proxy, page):
    proxy.expect_deaths()
    first, = proxy.role("admin")
    proxy.signal(signal.SIGUSR2)
    begin = time.monotonic()
    while "upgrade: done" not in proxy.log():
        assert time.monotonic() < begin + PATIENCE, proxy.log()
        page.json("/api/status")
    wait_for(lambda: len(proxy.role("admin")) == 1 and proxy.role("admin") != [first], "one new admin process")
    page.json("/api/status")


def test_the_port_is_in_use(start, service, directory, page):
    s = socket.create_server(("127.0.0.1", page.port))
    done = directory.run("-b", free_port(), "-o", page.option, service().spelt)
    s.close()
    assert done.returncode == 2 and f"admin 127.0.0.1:{page.port}" in done.stderr and "in use" in done.stderr


def test_a_port_alone_is_of_the_loopback_address(directory):
    for spelt in ("9090", "localhost:9090", "127.0.0.1:9090"):
        done = directory.run("-b", free_port(), "-o", f"admin {spelt}", "-C", "127.0.0.1:1")
        assert "admin 127.0.0.1:9090\n" in done.stdout, done


# -- reload

def test_a_reload_adds_moves_and_removes_it(start, service, directory):
    a, b, port = Page(), Page(), free_port()
    rest = f"port {port}\nserver {service().spelt}\n"
    proxy = start(config=rest)
    proxy.expect_deaths()

    def reload(text):
        proxy.rewrite(text)
        done = proxy.log().count("is in force")
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: proxy.log().count("is in force") > done, "a reload")
    reload(a.line + rest)
    a.wait_answers()
    reload(b.line + rest)
    b.wait_answers()
    wait_for(lambda: refused(a.port), "its old port refuses")
    reload(rest)
    wait_for(lambda: proxy.role("admin") == [], "no admin process")
    wait_for(lambda: refused(b.port), "its port refuses")


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_a_reload_is_seen_by_the_same_process(steered):
    page, proxy, server = steered
    first = proxy.role("admin")
    proxy.rewrite(f"{page.line}timeout 77\nport {proxy.port}\nserver {server.spelt}\n")
    proxy.signal(signal.SIGHUP)
    wait_for(lambda: "timeout 77" in page.json("/api/config")["text"], "the new configuration")
    assert proxy.role("admin") == first


def test_a_reload_with_a_missing_token_file_changes_nothing(steered):
    page, proxy, server = steered
    proxy.rewrite(f"admin 127.0.0.1:{page.port} token=/nonexistent\nport {proxy.port}\nserver {server.spelt}\n")
    proxy.signal(signal.SIGHUP)
    proxy.wait_log("/nonexistent.*nothing has changed")
    assert page.answers()


@pytest.mark.parametrize("text, why", [(None, "No such file"), ("\n", "nothing in its first line")])
def test_a_token_file_that_is_none(service, directory, text, why):
    path = directory.write("token", text) if text else directory / "missing"
    done = directory.run("-b", free_port(), "-o", Page(path).option, service().spelt)
    assert done.returncode == 2 and path in done.stderr and why in done.stderr


# -- what is answered

def test_the_page_is_one_document_and_loads_nothing(proxy, page):
    status, headers, text = page.ask("/")
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    assert not re.search(r"""(?:src|href|action)\s*=\s*["']?(?!#|data:)[^"'\s>]*//""", text)
    assert not re.search(r"@import|url\(", text)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


@pytest.mark.parametrize("path", ["/nope", "/index.html", "/api", "/api/", "/metrics/", "/../etc/passwd"])
def test_unknown_paths(proxy, page, path):
    assert page.ask(path)[0] == 404


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/status", "/nope"])
def test_head_is_get_without_the_body(proxy, page, path):
    status, headers, _ = page.ask(path)
    head, head_headers, text = page.ask(path, "HEAD")
    assert (head, text, head_headers["Content-Type"]) == (status, "", headers["Content-Type"])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_methods_that_change_something(proxy, page, method):
    for path in ("/", "/metrics", "/api/connections"):
        status, headers, _ = page.ask(path, method, body="x")
        assert status == 405 and headers["Allow"] == "GET, HEAD"


def test_metrics(proxy, page):
    assert page.ask("/metrics")[1]["Content-Type"].startswith("text/plain")
    before = page.samples()
    assert all(name.startswith("tcpproxy_") for name in before)
    ask(proxy.port, b"hello")
    wait_for(lambda: page.total("tcpproxy_client_connections_total") == 1, "a connection to be counted")
    wait_for(lambda: page.total("tcpproxy_client_bytes_total") >= 5, "its bytes")
    wait_for(lambda: page.total("tcpproxy_server_bytes_total") >= 5, "the answer's")


@pytest.mark.skipif(not promtool(), reason="no promtool")
def test_prometheus_likes_the_metrics(proxy, page):
    ask(proxy.port, b"hello")
    done = subprocess.run([promtool(), "check", "metrics"], input=page.get("/metrics"), capture_output=True, text=True,
                          check=False, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_status(proxy, page):
    status = page.json("/api/status")
    assert status["pid"] == proxy.pid
    assert [s["service"] for s in status["services"]] == [str(proxy.port)]
    assert [w["worker"] for w in status["workers"]] == list(range(proxy.trios))
    assert all(w["serving"] for w in status["workers"])


def test_connections_are_searched_sorted_and_cut(proxy, page):
    clients = [connect(proxy.port, source=f"127.0.0.{i}") for i in (21, 22, 23, 24)]
    found = wait_for(lambda: (c := page.json("/api/connections?search=relay"))["found"] == 4 and c, "four connections")
    assert [c["id"] for c in found["connections"]] == sorted(c["id"] for c in found["connections"])
    found = page.json("/api/connections?search=127.0.0.22")
    assert found["total"] == 4 and found["found"] == 1 and found["connections"][0]["client"].startswith("127.0.0.22:")
    assert page.json("/api/connections?search=127.0.0.22%20RELAY")["found"] == 1
    assert page.json("/api/connections?search=nowhere")["connections"] == []
    cut = page.json("/api/connections?sort=age&limit=2")
    assert (cut["found"], len(cut["connections"])) == (4, 2)
    assert page.ask("/api/connections?sort=colour")[0] == 400
    assert page.ask("/api/connections?limit=many")[0] == 400
    for c in clients:
        c.close()
    wait_for(lambda: page.json("/api/connections")["total"] == 0, "none left")


def test_connections_of_programs(programs):
    """It only reads what it shows: a store ends it."""
    page, proxy = programs.page, programs.proxy
    page.wait_answers()
    before = proxy.wait_whole()

    def states():
        found = page.json("/api/connections")["connections"]
        return {c["port"]: (c["name"], c["state"]) for c in found}
    both = {programs.handled: (programs.NAME, "handler"), programs.asked: (programs.NAME, "verdict")}
    wait_for(lambda: states() == both, f"both, not {states()}")
    programs.grant()
    both[programs.asked] = programs.NAME, "relay"
    wait_for(lambda: states() == both, f"both, not {states()}")
    assert page.json(f"/api/connections?search={programs.NAME}")["found"] == 2
    assert proxy.tree() == before


def test_what_tcp_says_is_there_the_next_time(proxy, page):
    client = connect(proxy.port)
    wait_for(lambda: [c["client_rtt"] for c in page.json("/api/connections")["connections"]] not in ([], [None]),
             "a round-trip time")
    client.close()


def test_errors_with_their_reasons(start, page):
    port, closed = free_port(), free_port()
    start(config=f"{page.line}port {port}\nserver 127.0.0.1:{closed}\n")
    page.wait_answers()
    assert gets_reset(port)
    def of_connections():
        return [e for e in page.json("/api/errors")["errors"] if "end" in e]
    mine = wait_for(of_connections, "an error")
    found = wait_for(lambda: (f := page.json("/api/errors"))["reasons"] and f, "its reason")
    assert found["reasons"] == [{"end": "connect-failed", "reason": "no server took the connection", "count": 1}]
    assert [e["level"] for e in found["errors"] if "end" not in e and e["level"] != "warning"] == ["error"], "and the line of the log"
    assert len(mine) == 1 and mine[0]["end"] == "connect-failed" and mine[0]["port"] == port and mine[0]["client"].startswith("127.0.0.1:")
    assert page.json(f"/api/errors?since={found['last']}")["errors"] == []


def test_errors_are_kept_when_the_process_is_replaced(start, page):
    port = free_port()
    proxy = start(config=f"{page.line}port {port}\nserver 127.0.0.1:{free_port()}\n")
    proxy.expect_deaths()
    page.wait_answers()
    gets_reset(port)
    wait_for(lambda: [e for e in page.json("/api/errors")["errors"] if "end" in e], "an error")
    first, = proxy.role("admin")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: proxy.role("admin") not in ([], [first]), "another admin process")
    page.wait_answers()
    assert "connect-failed" in [e.get("end") for e in page.json("/api/errors")["errors"]]


def test_history_grows_by_the_second(proxy, page):
    wait_for(lambda: len(page.json("/api/history")["time"]) >= 2, "two seconds")
    all_of_it = page.json("/api/history")
    assert set(map(len, all_of_it.values())) == {len(all_of_it["time"])}
    later = page.json(f"/api/history?since={all_of_it['time'][0]}")
    assert later["time"][0] == all_of_it["time"][1]


def test_the_effective_configuration(proxy, page):
    shown = page.json("/api/config")
    checked = proxy.directory.run(*proxy.argv, "-C")
    assert shown == {"text": checked.stdout, "steering": False}


SECRET = "env PASSWORD=xyzzy \"B=x y\"\n"


@pytest.mark.parametrize("shown", [None, "", "wrong", TOKEN])
def test_secrets_are_for_those_who_have_the_token(start, service, directory, shown):
    page = Page(directory.write("token", TOKEN + "\n", mode=0o600))
    proxy = start(config=f"{page.line}port {free_port()}\nserver {service().spelt}\n{SECRET}")
    page.wait_answers()
    checked = proxy.directory.run(*proxy.argv, "-C").stdout
    assert "\tenv PASSWORD=xyzzy\n\tenv \"B=x y\"\n" in checked
    if shown != TOKEN:
        checked = checked.replace("=xyzzy", "=***").replace('"B=x y"', "B=***")
    headers = {"Authorization": f"Bearer {shown}"} if shown is not None else {}
    assert json.loads(page.ask("/api/config", headers=headers)[2]) == {"text": checked, "steering": True}


def test_secrets_are_nobodys_without_a_token(start, service, page):
    start(config=f"{page.line}port {free_port()}\nserver {service().spelt}\n{SECRET}")
    page.wait_answers()
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"}):
        assert "xyzzy" not in page.ask("/api/config", headers=headers)[2]
    for path in ("/", "/metrics", "/api/status", "/api/connections", "/api/history", "/api/errors"):
        assert "xyzzy" not in page.get(path)


# -- steering

def test_looking_only(proxy, page):
    status, text = page.command("reload", TOKEN)
    assert status == 403 and "token=FILE" in text


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x"])
def test_not_without_the_token(steered, token):
    page, proxy, _ = steered
    assert page.command("reload", token)[0] == 403
    assert "is in force" not in proxy.log()


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_reload(steered):
    page, proxy, server = steered
    status, text = page.command("reload", TOKEN)
    assert status == 200 and "is in force" in text
    proxy.rewrite("nonsense\n")
    status, text = page.command("reload", TOKEN)
    assert status == 409 and "nothing has changed" in text and "tcpproxy.conf:1:1" in text


def test_a_reload_that_moves_the_page_is_still_answered(steered):
    page, proxy, server = steered
    proxy.expect_deaths()
    other = Page()
    proxy.rewrite(f"{other.line}port {proxy.port}\nserver {server.spelt}\n")
    assert page.command("reload", TOKEN)[0] == 200
    other.wait_answers()
    wait_for(lambda: len(proxy.role("admin")) == 1, "the old process to end")


def test_kill(steered):
    page, proxy, _ = steered
    client = connect(proxy.port)
    found = wait_for(lambda: page.json("/api/connections")["connections"], "the connection")
    assert page.command(f"kill {found[0]['id']}", TOKEN) == (200, "killed 1 connection")
    assert is_reset(client)
    # its client has heard of it before its record is written
    again = wait_for(lambda: (said := page.command(f"kill {found[0]['id']}", TOKEN)) and said[0] == 409 and said, "it is no more")
    assert "there is no connection" in again[1]


def test_drain_disable_enable(steered):
    page, proxy, server = steered
    assert page.command(f"disable {proxy.port}", TOKEN)[0] == 200
    assert gets_reset(proxy.port)
    assert page.json("/api/status")["services"][0]["state"] == "disabled"
    assert page.command(f"enable {proxy.port}", TOKEN)[0] == 200
    ask(proxy.port, b"x")
    assert page.command(f"drain {server.spelt}", TOKEN)[0] == 200
    wait_for(lambda: page.json("/api/status")["servers"][0]["state"] == "drained", "the last to end")
    assert page.command("drain nobody:1", TOKEN)[0] == 409


@pytest.mark.parametrize("words", ["", "status", "upgrade", '"upgrade"', "log level debug", "reload\nupgrade", "kill\r\n", "killall"])
def test_only_these_commands(steered, words):
    page, proxy, _ = steered
    assert page.command(words, TOKEN)[0] == 400


def test_a_command_that_is_too_long(steered):
    assert steered[0].command("kill " + "1" * 5000, TOKEN)[0] == 413


# -- clients that are no good

def test_another_name_for_this_host_is_refused(proxy, page):
    """A page of somebody else's, whose name was pointed here, would ask for that name."""
    assert page.ask("/api/status", headers={"Host": "evil.example:80"})[0] == 403
    for host in ("localhost", f"localhost:{page.port}", "127.0.0.1", "[::1]:80"):
        assert page.ask("/api/status", headers={"Host": host})[0] == 200, host


@pytest.mark.parametrize("address", ["0.0.0.0", "[::]", "127.0.0.2"])
def test_another_name_is_refused_at_every_address(start, service, directory, address):
    port, page = free_port(), Page()
    page.option = f"admin {address}:{page.port} name=Proxy.example.com"
    at = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(address, address)
    page.ask = lambda *words, **more: Page.ask(page, *words, address=at, **more)
    rest = f"port {port}\nserver {service().spelt}\n"
    proxy = start(config=f"{page.option}\n{rest}")
    page.wait_answers()
    proxy.expect_deaths()

    def status(host):
        return page.ask("/metrics", headers={"Host": host})[0]
    for host in ("evil.example", f"evil.example:{page.port}", "localhost.evil.example", "127.0.0.1.evil.example", "", "[evil]",
                 "example.com", "x" * 300):
        assert status(host) == 403, host
    for host in ("localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "10.1.2.3:80", "[::1]", "[fe80::1%nosuchif]:80",
                 socket.gethostname(), f"{socket.gethostname()}:{page.port}", "proxy.example.com", "Proxy.Example.com.:80"):
        assert status(host) == 200, host
    text = page.ask("/", headers={"Host": "evil.example"})[2]
    assert "name=HOST" in text
    proxy.rewrite(f"admin {address}:{page.port} name=other.example\n{rest}")
    proxy.signal(signal.SIGHUP)
    wait_for(lambda: status("other.example") == 200, "the new name")
    assert status("proxy.example.com") == 403


def test_who_says_no_name_is_no_browser(proxy, page):
    with page.connect() as s:
        s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b"200 OK" in read_all(s)


def test_nonsense(proxy, page):
    for junk in (b"\x00" * 100, b"GET\r\n\r\n", b"\xff\xfe / HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 2000,
                 b"POST /api/command HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
                 b"POST /api/command HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"):
        with page.connect() as s:
            s.sendall(junk)
            s.shutdown(socket.SHUT_WR)
            read_all(s)
    assert page.answers()


@pytest.mark.parametrize("seed", range(4))
def test_requests_with_faults(proxy, page, seed):
    """Requests of which some bytes are others, missing or doubled."""
    dice = random.Random(seed)
    pid = proxy.role("admin")
    good = [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /api/connections?search=a%20b&sort=id&limit=3 HTTP/1.1\r\n\r\n",
            b"GET /api/history?since=17 HTTP/1.0\r\n\r\n", b"HEAD /api/errors?since=18446744073709551615 HTTP/1.1\r\nHost: [::1]:1\r\n\r\n",
            b"POST /api/command HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nContent-Length: 6\r\n\r\nreload",
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
    for _ in range(150):
        text = bytearray(dice.choice(good))
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(text))
            piece = dice.choice([b"", bytes([dice.randrange(256)]), text[at:at + 20] * dice.randint(1, 40), b"\r\n", b"%", b"9" * 30])
            text[at:at + dice.randint(0, 3)] = piece
        with page.connect() as s:
            s.sendall(text)
            s.shutdown(socket.SHUT_WR)
            try:
                s.settimeout(0.02)
                s.recv(1 << 16)
            except OSError:
                pass
    assert page.answers() and proxy.role("admin") == pid


def test_a_header_that_never_ends(proxy, page):
    with page.connect() as s:
        answer = b""
        try:
            for _ in range(1000):
                s.sendall(b"X-Filler: " + b"y" * 500 + b"\r\n" if _ else b"GET / HTTP/1.1\r\n")
        except OSError:
            pass
        try:
            answer = s.recv(100)
        except OSError:
            pass
        assert not answer or answer.split()[1] in (b"431", b"413", b"414", b"400")
    assert page.answers()


def test_silent_clients_keep_nobody_out(proxy, page):
    """More than there is room for: the oldest make room."""
    silent = [page.connect() for _ in range(400)]
    begin = time.monotonic()
    for _ in range(5):
        assert page.answers()
    assert time.monotonic() - begin < 5
    for s in silent:
        s.close()


@pytest.mark.slow
def test_a_slow_request_is_cut_off(proxy, page):
    with page.connect() as s:
        s.settimeout(0.2)
        begin = time.monotonic()
        for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"z" * 500:
            try:
                s.sendall(bytes([byte]))
                if s.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert 8 < time.monotonic() - begin < 20


def test_nobody_who_takes_no_answer_stops_the_others(proxy, page):
    lazy = []
    for _ in range(20):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", page.port))
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        lazy.append(s)
    begin = time.monotonic()
    for _ in range(5):
        assert page.answers()
    assert time.monotonic() - begin < 5
    for s in lazy:
        s.close()


def test_descriptors_and_memory_come_back(proxy, page):
    pid, = proxy.role("admin")

    def load():
        for _ in range(150):
            page.get("/")
            with page.connect() as s:
                s.sendall(b"GET / HT")
    load()
    wait_for(lambda: len(processes.descriptors(pid)) < 30, "closed descriptors")
    before, memory = len(processes.descriptors(pid)), processes.memory(pid)
    load()
    wait_for(lambda: len(processes.descriptors(pid)) <= before, "closed descriptors")
    assert processes.memory(pid) - memory < 2_000_000


def test_without_the_library_the_rest_goes_on(start, service, page):
    """It is only loaded, not linked: it may be missing."""
    libraries = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    path = re.search(r"libmicrohttpd\.so\.12 .*=> (\S+)", libraries)[1]
    hide = ("unshare", "-m", "sh", "-c", f'mount --bind /dev/null {path} && exec "$0" "$@"')
    if subprocess.run([*hide, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot hide a library: no mount namespaces here")
    port = free_port()
    proxy = start("-b", port, "-o", page.option, service().spelt, wrap=hide, wait=False)
    proxy.wait_log("the page is not served: .*libmicrohttpd12")
    wait_for(lambda: proxy.role("admin") == [], "no admin process")
    wait_for(lambda: refused(page.port), "nobody to listen there")
    assert ask(port, b"still there") == b"still there"
    assert proxy.log().count("the page is not served") == 1
