"""What services and servers are called, and why a client was refused: still understood a year later."""
import json
import os
import re
import signal
import socket
import subprocess

import pytest

from lib import build, pcapng, records
from lib.admin import CTL, promtool
from lib.page import Page
from lib.peers import answer, ask, connect, gets_reset, is_reset, read_exactly, say
from lib.ports import free_port, free_ports
from lib.waiting import wait_for


class Named:
    """Two services with names, the first of them with a section of its own; and one without."""

    def __init__(self, start, service, admin, more=""):
        self.a, self.b, self.c = service(say("a")), service(say("b")), service(say("c"))
        self.mail, self.web, self.plain = free_port(), free_port(), free_port()
        self.proxy = start(config=f"{admin.line}{more}"
                                  f"port {self.mail} as mail\nserver {self.a.spelt} as db1\n"
                                  f"interface 127.0.0.2 as inside\nserver {self.b.spelt} as db2\n"
                                  f"port {self.web} as web\nserver {self.c.spelt} as db1\n"
                                  f"port {self.plain}\nserver {self.a.spelt}\n")

    def record(self, port, host="127.0.0.1"):
        """Of a new connection."""
        before = len(self.proxy.records())
        ask(port, host=host)
        return self.proxy.wait_records(before + 1)[-1]


@pytest.fixture
def named(start, service, admin):
    return Named(start, service, admin)


# -- names in the record

def test_the_record_calls_service_and_server_by_their_names(named):
    r = named.record(named.mail)
    assert list(r)[:3] == ["id", "service", "port"]
    assert (r["service"], r["port"], r["target"], r["server"]) == ("mail", str(named.mail), "db1", named.a.spelt)
    assert re.search(r" rule=\S+:2 target=db1 server=", named.proxy.log())
    r = named.record(named.mail, "127.0.0.2")
    assert (r["service"], r["interface"], r["target"], r["server"]) == ("inside", "127.0.0.2", "db2", named.b.spelt)
    r = named.record(named.web)
    assert (r["service"], r["target"], r["server"]) == ("web", "db1", named.c.spelt)


def test_without_a_name_text_has_no_service_and_target_is_as_spelt(named):
    r = named.record(named.plain)
    assert list(r) == [k for k in records.KEYS if k not in records.IF_ANY]
    assert r["target"] == r["server"] == named.a.spelt


def test_json_always_has_service_and_target(start, service, directory):
    first = free_ports(2)
    path = directory / "log.json"
    start(config=f"log file:{path}+json\nport {first}-{first + 1}\nserver {service(say('a')).spelt}\n"
                 f"port {free_port()} as other\nserver 127.0.0.1:1\n")
    ask(first + 1)

    def record():
        with open(path) as f:
            return next((r for r in map(json.loads, f) if r["event"] == "close"), None)
    r = wait_for(record, "the record")
    assert (r["service"], r["port"]) == (f"{first}-{first + 1}", first + 1)
    assert r["target"] == r["server"] and r["why"] is None


def test_a_new_name_holds_from_the_reload_on(named, admin):
    with connect(named.plain) as s:
        assert read_exactly(s, 1) == b"a"
        named.proxy.rewrite(named.proxy.config.replace(f"port {named.plain}\n", f"port {named.plain} as plain\n"))
        admin.ask("reload")
        assert named.record(named.plain)["service"] == "plain"
    # of one that began before it, what it was then called
    wait_for(lambda: len(named.proxy.records()) == 2, "both records")
    assert "service" not in named.proxy.records()[1]


def test_names_outlive_a_worker_and_an_upgrade(named, admin):
    named.proxy.expect_deaths()
    with connect(named.mail) as s:
        admin.wait_connection(state="half-closed")
        for pid in named.proxy.workers():
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: all(w["takeovers"] == 1 for w in admin.json("status")["workers"]), "new workers")
        named.proxy.wait_whole()
        admin.ask("upgrade")
        assert read_exactly(s, 1) == b"a"
    r = named.proxy.wait_record()
    assert (r["service"], r["target"], r["end"]) == ("mail", "db1", "server-fin")
    named.proxy.wait_whole()


def test_an_open_record_has_the_names(start, service):
    port = free_port()
    proxy = start(config=f"access-log open\nport {port} as web\nserver {service().spelt} as w1\n")
    with connect(port):
        proxy.wait_log(r" open id=1 service=web port=\d+ .* target=w1 server=\S+ ")


def test_names_as_keys_of_a_format(start, service):
    port = free_port()
    proxy = start(config=f'log-format "own {{service}} {{target}} {{why}}"\nport {port} as web\n'
                         f"deny 127.0.0.9\nserver {service(say('x')).spelt} as w1\n")
    ask(port)
    proxy.wait_log("^own web w1 -$")
    assert gets_reset(port, source="127.0.0.9")
    proxy.wait_log("^own web - deny$")


# -- the server that was tried last

def test_the_server_of_a_failure_is_the_address_tried_last(start, admin):
    port, dead = free_port(), free_ports(2)
    proxy = start(config=f"port {port}\nserver 127.0.0.1:{dead} as one\nserver 127.0.0.1:{dead + 1} backup\n")
    assert gets_reset(port)
    r = proxy.wait_record()
    last = f"127.0.0.1:{dead + 1}"
    assert (r.end, r["target"], r["server"], r["connect"]) == ("connect-failed", last, last, "-")


def test_the_server_of_a_failure_without_an_address(start, directory):
    port, sock, absent = free_port(), free_port(), directory / "absent"
    proxy = start(config=f"port {port}\nexec {absent} -x\nport {sock}\nserver unix:{absent} as socket\n")
    assert gets_reset(port)
    r = proxy.wait_record()
    assert (r.end, r["target"], r["server"]) == ("connect-failed", f"{absent} -x", str(absent))
    assert gets_reset(sock)
    r = proxy.wait_records(2)[1]
    assert (r.end, r["target"], r["server"]) == ("connect-failed", "socket", f"unix:{absent}")


def test_a_name_without_an_address_has_a_target_but_no_server(start, names):
    port = free_port()
    proxy = start(config=f"resolver {names.spelt}\nport {port}\nserver gone.test:25 as gone\n")
    assert gets_reset(port)
    r = proxy.wait_record()
    assert (r.end, r["target"], r["server"]) == ("unresolved", "gone", "-")


def test_a_connection_under_way_shows_the_address_it_tries(start, server, admin):
    port, stuck = free_port(), server(backlog=0)
    waiting = []  # until its queue is full
    for _ in range(3):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", stuck.port))
        waiting.append(s)
    proxy = start(config=f"{admin.line}port {port}\nserver {stuck.spelt} as stuck\nconnect-timeout 2\n")
    with connect(port) as s:
        c = admin.wait_connection(state="connecting")
        assert (c["target"], c["server"], c["connect"]) == ("stuck", stuck.spelt, None)
        assert is_reset(s)
    r = proxy.wait_record()
    assert (r.end, r["target"], r["server"]) == ("connect-timeout", "stuck", stuck.spelt)
    for s in waiting:
        s.close()


LATER = ("announced", "uid", "authority", "sni", "alpn", "protocol", "end", "why", "waited")  # in the record alone


def test_connections_are_listed_with_the_keys_of_the_record_in_its_order(named, admin):
    with connect(named.mail) as s:
        assert read_exactly(s, 1) == b"a"
        c = admin.wait_connection(state="half-closed")
        assert [k for k in c if k in records.KEYS] == [k for k in records.KEYS if k not in LATER]
        assert (c["service"], c["target"], c["server"]) == ("mail", "db1", named.a.spelt)


# -- why

def why(proxy):
    r = proxy.wait_record()
    assert list(r)[-2:] == ["end", "why"], "they stand last"
    return r.end, r["why"]


@pytest.mark.parametrize("rules, reason", [("deny all", "deny"), ("deny 127.0.0.0/8\nallow all", "deny"),
                                           ("allow 10.0.0.0/8", "no-allow"), ("deny 10.1.1.1\nallow 10.0.0.0/8", "no-allow")])
def test_a_rule_or_that_there_is_none(start, rules, reason):
    port = free_port()
    proxy = start(config=f"port {port}\nserver 127.0.0.1:1\n{rules}\n")
    assert gets_reset(port)
    assert why(proxy) == ("denied", reason)


@pytest.mark.parametrize("body", ["echo go away; exit 1", "kill -9 $$"])
def test_an_access_program(start, directory, body):
    port = free_port()
    proxy = start(config=f"port {port}\nserver 127.0.0.1:1\nacp {directory.script('acp', body)}\n")
    with connect(port) as s:
        is_reset(s)
    assert why(proxy) == ("denied", "acp")


def test_one_that_the_access_program_let_in_has_no_reason(start, service, directory):
    port = free_port()
    proxy = start(config=f"port {port}\nserver {service(say('x')).spelt}\nacp {directory.script('acp', 'exit 0')}\n")
    ask(port)
    r = proxy.wait_record()
    assert "why" not in r and r.end in ("client-fin", "server-fin")


@pytest.mark.parametrize("command", ["disable", "drain"])
def test_a_disabled_service(start, admin, command):
    port = free_port()
    proxy = start(config=f"{admin.line}port {port}\nserver 127.0.0.1:1\n")
    admin.ask(command, port)
    assert gets_reset(port)
    assert why(proxy) == ("denied", "disabled")


def test_all_servers_disabled(start):
    port = free_port()
    proxy = start(config=f"port {port}\nserver 127.0.0.1:1 disabled\nserver 127.0.0.1:2 disabled backup\n")
    assert gets_reset(port)
    assert why(proxy) == ("connect-failed", "disabled")


@pytest.mark.parametrize("prologue, limit, reason", [
    ("", "max-connections 1", "max-connections"),
    ("max-connections 1\n", "", "max-connections"),
    ("", "max-connections-per-client 1", "max-connections-per-client"),
    ("", "", "server-max"),
])
def test_a_limit(start, service, prologue, limit, reason):
    port = free_port()
    most = "" if limit or prologue else " max=1"
    proxy = start(config=f"{prologue}port {port}\nserver {service().spelt}{most}\n{limit}\n")
    with connect(port) as first:
        first.sendall(b"x")
        assert read_exactly(first, 1) == b"x"
        assert gets_reset(port)
        assert why(proxy) == ("limit", reason)


def test_a_killed_worker_forgets_no_reason(start, directory, admin):
    """The reason stands in the row, whoever writes the record."""
    port = free_port()
    script = directory.script("acp", "echo go away; exit 1")
    proxy = start(config=f"{admin.line}workers 1\nport {port}\nserver 127.0.0.1:1\nacp {script}\n")
    proxy.expect_deaths()
    with connect(port) as s:
        assert read_exactly(s, 8) == b"go away\n"
        admin.wait_connection(state="linger")  # until the client ends, too
        os.kill(proxy.workers()[0], signal.SIGKILL)
        wait_for(lambda: admin.json("status")["workers"][0]["takeovers"] == 1, "a takeover")
    assert why(proxy) == ("denied", "acp")
    proxy.wait_whole()



# -- tcpproxyctl

def test_status_and_metrics_call_them_so(named, admin):
    ask(named.mail)
    ask(named.mail, host="127.0.0.2")
    wait_for(lambda: admin.service("inside")["connections"] == 1, "both are counted")
    s = admin.json("status")
    assert {(v["service"], v["ports"], v["within"]) for v in s["services"]} == {
        ("mail", str(named.mail), None), ("inside", str(named.mail), "mail"), ("web", str(named.web), None),
        (str(named.plain), str(named.plain), None)}
    assert {(v["server"], v["spelt"], v["service"]) for v in s["servers"]} == {
        ("mail/db1", named.a.spelt, "mail"), ("db2", named.b.spelt, "mail"), ("web/db1", named.c.spelt, "web"),
        (named.a.spelt, named.a.spelt, None)}
    assert {(v["service"], v["server"]) for v in s["pools"]} == {
        ("mail", "mail/db1"), ("inside", "db2"), ("web", "web/db1"), (str(named.plain), named.a.spelt)}
    text = admin.ask("status")
    assert re.search(r"^inside +enabled ", text, re.M) and re.search(r"^db2 +enabled ", text, re.M)
    assert admin.metric("tcpproxy_client_connections_total", service="mail") == 1
    assert admin.metric("tcpproxy_client_connections_total", service="inside") == 1
    assert admin.metric("tcpproxy_backend_connections_total", server="db2") == 1
    assert admin.metric("tcpproxy_backend_connections_total", server="mail/db1") == 1
    assert admin.metric("tcpproxy_backend_connections_total", server=named.a.spelt) == 0
    assert re.search(r"^server +db2 +connections +1$", admin.ask("counters"), re.M)


def test_a_name_alone_where_there_is_no_other(start, service, admin):
    port = free_port()
    start(config=f"{admin.line}port {port} as mail\nserver {service(say('a')).spelt} as db1\n")
    ask(port)
    wait_for(lambda: admin.metric("tcpproxy_backend_connections_total", server="db1") == 1, "it is counted")
    assert admin.server("db1")["state"] == "enabled" and admin.service("mail")["state"] == "enabled"


def check_samples(admin):
    text = admin.ask("metrics")
    found = [line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"]
    assert len(found) == len(set(found)), "a sample stands twice"
    if promtool():
        done = subprocess.run([promtool(), "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_sample_stands_twice_whatever_is_renamed_and_moved(named, admin):
    config = named.proxy.config
    for change in [("as db2", "as db3"), (f"port {named.web} as web\n", f"port {free_port()} as web\n"),
                   (f"server {named.c.spelt} as db1", f"server {named.b.spelt} as db1"), ("as web", "as www"),
                   (" as mail", ""), (" as inside", " as mail"), (" as db1", ""), (" as mail", "")]:
        config = config.replace(*change)
        named.proxy.rewrite(config)
        admin.ask("reload")
        check_samples(admin)


def test_counters_go_on_under_a_name(named, admin):
    """To another port, to another host: it is the same service and the same server still."""
    ask(named.mail)
    ask(named.web)
    moved = free_port()
    config = named.proxy.config.replace(f"port {named.web} as web\nserver {named.c.spelt}",
                                        f"port {moved} as web\nserver {named.b.spelt}")
    named.proxy.rewrite(config)
    admin.ask("reload")
    ask(moved)
    wait_for(lambda: admin.service("web")["connections"] == 2, "both")
    assert admin.metric("tcpproxy_client_connections_total", service="web") == 2
    assert admin.metric("tcpproxy_backend_connections_total", server="web/db1") == 2
    assert (admin.service("web")["ports"], admin.server("web/db1")["spelt"]) == (str(moved), named.b.spelt)
    check_samples(admin)


def test_filters_by_name(named, admin):
    held = [connect(named.mail), connect(named.mail, "127.0.0.2"), connect(named.web), connect(named.plain)]
    for s in held:
        read_exactly(s, 1)
    wait_for(lambda: len(admin.connections("state=half-closed")) == 4, "all of them")

    def found(*words):
        return sorted((c["service"], c["target"]) for c in admin.connections(*words))
    mail, inside, web, plain = ("mail", "db1"), ("inside", "db2"), ("web", "db1"), (str(named.plain), named.a.spelt)
    assert found("service=mail") == sorted([mail, inside]), "with its section"
    assert found("service=inside") == [inside]
    assert found(f"service={named.mail}") == sorted([mail, inside])
    assert found("server=db1") == sorted([mail, web])
    assert found("server=db1", "service=web") == found("server=web/db1") == [web]
    assert found(f"server={named.a.spelt}") == sorted([mail, plain])
    for word in ("service=nobody", "server=nobody", "service=mail/db1"):
        assert word.partition("=")[2] in admin.refused("connections", word)
        assert word.partition("=")[2] in admin.refused("kill", word)
    assert "killed 1" in admin.ask("kill", "service=web", "server=db1")
    assert named.proxy.wait_record()["service"] == "web" and named.proxy.wait_record().end == "killed"
    for s in held:
        s.close()


def test_a_server_is_disabled_in_one_service_or_in_all(named, admin):
    admin.ask("disable", "service=mail", "db1")
    assert gets_reset(named.mail) and answer(named.web) == b"c" and answer(named.plain) == b"a"
    assert admin.server("mail/db1")["state"] == "disabled" and admin.server("web/db1")["state"] == "enabled"
    assert admin.metric("tcpproxy_backend_enabled", server="mail/db1") == 0
    admin.ask("enable", "mail/db1")
    assert answer(named.mail) == b"a"
    assert admin.ask("disable", "db1").startswith("db1 is disabled")
    assert gets_reset(named.mail) and gets_reset(named.web)
    assert answer(named.mail, "127.0.0.2") == b"b" and answer(named.plain) == b"a"
    admin.ask("enable", "db1")
    assert answer(named.mail) == b"a" and answer(named.web) == b"c"
    admin.ask("drain", "service=inside", "db2")
    assert gets_reset(named.mail, "127.0.0.2")
    # as it is spelt, with and without a name
    admin.ask("disable", named.a.spelt)
    assert gets_reset(named.mail) and gets_reset(named.plain)


def test_a_service_is_disabled_by_its_name(named, admin):
    admin.ask("disable", "inside")
    assert gets_reset(named.mail, "127.0.0.2") and answer(named.mail) == b"a"
    admin.ask("enable", "inside")
    assert answer(named.mail, "127.0.0.2") == b"b"
    admin.ask("disable", "mail")
    assert gets_reset(named.mail) and gets_reset(named.mail, "127.0.0.2"), "with its section"
    assert answer(named.web) == b"c"
    admin.ask("enable", named.mail)
    assert answer(named.mail) == b"a" and answer(named.mail, "127.0.0.2") == b"b"
    admin.ask("drain", "service=web")
    assert gets_reset(named.web)


def test_what_is_disabled_stays_so_when_it_is_given_a_name(named, admin):
    admin.ask("disable", named.plain)
    named.proxy.rewrite(named.proxy.config.replace(f"port {named.plain}\nserver {named.a.spelt}",
                                                   f"port {named.plain} as plain\nserver {named.a.spelt} as p1"))
    admin.ask("reload")
    assert admin.service("plain")["state"] == "disabled" and gets_reset(named.plain)
    admin.ask("enable", "plain")
    assert answer(named.plain) == b"a"
    admin.ask("disable", "p1")
    named.proxy.rewrite(named.proxy.config.replace("as p1", "as p2"))
    admin.ask("reload")
    assert admin.server("p2")["state"] == "disabled" and gets_reset(named.plain)


def test_words_that_mean_nothing_or_too_much(named, admin, service):
    for words in (["nobody"], ["service=nobody"], ["service=mail", "db9"], ["service=nobody", "db1"], ["mail/db9"], ["web/db2"]):
        why = admin.refused("disable", *words)
        assert words[-1].partition("=")[2] or words[-1] in why, why
    assert "takes one word" in admin.refused("disable", "db1", "db2")
    assert "takes one word" in admin.refused("disable", "service=mail", "service=web")
    named.proxy.rewrite(named.proxy.config.replace(" as db1", ""))
    admin.ask("reload")
    admin.ask("disable", "service=mail", named.a.spelt)  # in that one only
    assert gets_reset(named.mail) and answer(named.plain) == b"a"
    admin.ask("disable", "service=web", named.c.spelt)  # of that one only
    assert gets_reset(named.web)


def test_explain_names_service_and_server(named, admin):
    text = admin.ask("explain", "192.0.2.1", f"127.0.0.1:{named.mail}")
    assert f"(service mail, port {named.mail})" in text and f"server: db1, {named.a.spelt} (the only one)" in text
    text = admin.ask("explain", "192.0.2.1", f"127.0.0.2:{named.mail}")
    assert f"(service inside, port {named.mail}, interface 127.0.0.2)" in text and "server: db2, " in text
    admin.ask("disable", "db2")
    assert "not db2: it is disabled" in admin.run("explain", "192.0.2.1", f"127.0.0.2:{named.mail}").stdout
    admin.ask("disable", "mail")
    for host in ("127.0.0.1", "127.0.0.2"):
        done = admin.run("explain", "192.0.2.1", f"{host}:{named.mail}")
        assert done.returncode == 3 and "is disabled or drained (tcpproxyctl)" in done.stdout
    offline = named.proxy.directory.run("-f", named.proxy.config_path, "--explain", "192.0.2.1", f"127.0.0.1:{named.mail}")
    assert "service mail" in offline.stdout and "server: db1, " in offline.stdout


def test_a_tap_by_name(named, admin, tmp_path):
    path = tmp_path / "tap.pcapng"
    process = subprocess.Popen([CTL, "-s", admin.path, "tap", "-w", path, "service=mail", "server=db1"],
                               stderr=subprocess.PIPE)
    named.proxy.wait_log("looks at connections")
    for port, host in ((named.mail, "127.0.0.1"), (named.mail, "127.0.0.2"), (named.web, "127.0.0.1")):
        answer(port, host)
    named.proxy.wait_records(3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    ports = {end[1] for ends in pcapng.streams(path.read_bytes()) for end in ends}
    assert named.mail in ports and named.web not in ports
    hosts = {end[0] for ends in pcapng.streams(path.read_bytes()) for end in ends}
    assert "127.0.0.2" not in hosts
    assert "several services" in admin.refused("tap", "server=db1")
    assert "no service" in admin.refused("tap", "service=nobody")


def test_the_log_calls_them_so(start, admin):
    port, dead = free_port(), free_port()
    proxy = start(config=f"port {port} as mail\nserver 127.0.0.1:{dead} as db1\n")
    proxy.wait_log(rf"listening on port {port} \(mail\) on every address, leading to db1 \(127\.0\.0\.1:{dead}\)$")
    assert gets_reset(port)
    proxy.wait_log(rf"connecting 127\.0\.0\.1:\d+ to db1 \(127\.0\.0\.1:{dead}\): Connection refused")


# -- the page

@pytest.mark.skipif(not build.has_page(), reason="this build has no page")
def test_the_page_calls_them_so(start, service, admin, directory):
    page = Page(directory.write("token", "secret\n", mode=0o600))
    port, dead = free_port(), free_port()
    start(config=f"{admin.line}{page.line}port {port} as mail\nserver 127.0.0.1:{dead} as db1\n")
    page.wait_answers()
    assert gets_reset(port)
    assert page.json("/api/status")["services"][0]["service"] == "mail"

    def error():
        return next((e for e in page.json("/api/errors")["errors"] if "end" in e), None)
    e = wait_for(error, "the error")
    assert (e["service"], e["port"], e["server"]) == ("mail", port, "db1")
    assert page.samples()['tcpproxy_backend_connect_failures_total{server="db1"}'] == 1
    for words in ("disable service=mail db1", "enable db1", "drain mail"):
        assert page.command(words, "secret")[0] == 200
    assert admin.service("mail")["state"] == "drained"
