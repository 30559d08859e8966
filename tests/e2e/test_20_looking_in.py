"""Looking in: tcpproxyctl status, connections, counters, metrics, explain."""
import datetime
import json
import os
import re
import signal
import subprocess
import time

import pytest

from lib.admin import promtool
from lib.peers import Service, ask, connect, data, gets_reset, read_all, read_exactly, say
from lib.ports import free_port
from lib.waiting import outlast_fuser, wait_for


@pytest.fixture
def echo(start, service, admin):
    """echo(): a port in front of an echo."""
    def make(*lines):
        echo.port, echo.server = free_port(), service()
        echo.proxy = start("-b", echo.port, "-o", admin.option, *lines, echo.server.spelt)
        return echo.port
    echo = make
    return make


def talk(port, n=1000):
    """A connection that goes on, over which n bytes went both ways."""
    s = connect(port)
    s.sendall(data(n))
    assert read_exactly(s, n) == data(n)
    return s


# -- connections

def test_connections_are_listed_with_the_keys_of_the_record(echo, admin):
    port = echo()
    with talk(port, 1000) as s:
        c = admin.wait_connection(up=1000, down=1000, state="relay")
        assert c["client"] == "%s:%d" % s.getsockname()
        assert (c["port"], c["interface"], c["server"]) == (port, "127.0.0.1", echo.server.spelt)
        assert c["rule"] == f"-b:{port}" and c["name"] is None
        assert 0 <= c["connect"] < 5 and 0 < c["duration"] < 60
        assert 0 < c["client_rtt"] < 1 and 0 < c["server_rtt"] < 1
        assert c["client_retransmits"] >= 0 and c["server_retransmits"] >= 0
    admin.wait_connections(0)
    assert int(echo.proxy.wait_record()["id"]) == c["id"]


def test_ids_are_unique_and_the_text_shows_them(echo, admin):
    port = echo()
    sockets = [talk(port, 10) for _ in range(20)]
    found = admin.wait_connections(20)
    assert len({c["id"] for c in found}) == 20
    lines = admin.ask("connections").splitlines()
    assert lines[0].split()[:4] == ["ID", "SERVICE", "CLIENT", "SERVER"]
    assert {int(line.split()[0]) for line in lines[1:]} == {c["id"] for c in found}
    for s in sockets:
        s.close()


def test_filters_must_all_fit(start, service, admin):
    one, two = free_port(), free_port()
    a, b = service(), service()
    start(config=f"{admin.line}port {one}\nserver {a.spelt}\nport {two}\nserver {b.spelt}\n")
    first, second = talk(one), connect(two, source="127.0.0.9")
    admin.wait_connections(2, "state=relay")
    client = "%s:%d" % first.getsockname()

    def ports(*words):
        return [c["port"] for c in admin.connections(*words)]
    assert ports(f"service={one}") == [one]
    assert ports(f"port={two}") == [two]
    assert ports("client=127.0.0.9") == [two]
    assert sorted(ports("client=127.0.0.0/8")) == sorted([one, two])
    assert ports(f"client={client}") == [one]
    assert ports(f"server={b.spelt}") == [two]
    assert ports(f"server={b.spelt}", f"service={one}") == []
    assert sorted(ports("state=relay")) == sorted([one, two]) and ports("state=handler") == []
    found = admin.connections(f"service={one}")[0]["id"]
    assert ports(found) == [one] and ports(f"id={found}") == [one]
    for wrong in ("service=x", "client=1.2.3", "nonsense", "sort=colour", "limit=x"):
        assert wrong.split("=")[-1] in admin.refused("connections", wrong)
    first.close()
    second.close()


def test_sorting_and_a_limit(echo, admin):
    port = echo()
    sockets = [talk(port, n) for n in (10, 3000, 200)]
    for key in ("up", "down"):
        wait_for(lambda: [c[key] for c in admin.connections(f"sort={key}")] == [3000, 200, 10], f"the order by {key}")
    assert [c["up"] for c in admin.connections("sort=down", "limit=1")] == [3000]
    assert [c["up"] for c in admin.connections("sort=age")] == [10, 3000, 200]
    ids = [c["id"] for c in admin.connections()]
    assert ids == sorted(ids)
    for s in sockets:
        s.close()


def test_the_rate_is_that_since_the_last_look(echo, admin):
    port = echo()
    with talk(port, 10) as s:
        admin.wait_connections(1)

        def fast():
            s.sendall(data(200_000))
            assert read_exactly(s, 200_000)
            return admin.connections()[0]["rate_up"] > 100_000
        wait_for(fast, "a rate")

        def slow():  # silence of more than the shortest look
            return admin.connections()[0]["rate_up"] == 0
        wait_for(slow, "no rate")


def test_the_states_of_a_connection(start, service, server, admin, directory):
    """Before it is connected, half-closed, and with a program."""
    relayed, programs = free_port(), free_port()
    listening = server()
    handler = directory.script("handler", "read line; echo $line; exec sleep 60")
    start(config=f"{admin.line}port {relayed}\nserver {listening.spelt}\nport {programs}\nexec {handler}\n")
    with connect(relayed) as s:
        accepted = listening.accept()
        s.shutdown(1)
        assert accepted.recv(1) == b""
        wait_for(lambda: admin.connections()[0]["state"] == "half-closed", "half-closed")
        accepted.close()
    with connect(programs) as s:
        s.sendall(b"hello\n")
        assert s.recv(10) == b"hello\n"
        c = admin.wait_connection("state=handler", up=6, down=6)
        assert c["server"] == c["target"] == handler
        assert admin.run("kill", c["id"]).returncode == 0


def test_connections_go_on_being_listed_under_the_next_worker(echo, admin):
    port = echo("-o", "workers 1")
    with talk(port) as s:
        before = admin.wait_connections(1)[0]
        echo.proxy.expect_deaths()
        os.kill(echo.proxy.workers()[0], signal.SIGKILL)
        wait_for(lambda: admin.json("status")["workers"][0]["takeovers"] == 1, "a takeover")
        s.sendall(b"more")
        assert read_exactly(s, 4) == b"more"
        after = admin.wait_connection(up=1004, down=1004)
        assert (after["id"], after["client"]) == (before["id"], before["client"])
        wait_for(lambda: admin.service(port)["client_bytes"] == 1004, "all bytes")
        assert admin.service(port)["connections"] == 1
        echo.proxy.wait_whole()


def test_connections_of_programs_are_listed_with_the_names_of_their_clients(programs, admin):
    before = programs.proxy.wait_whole()

    def states():
        found = admin.connections()
        assert {c["name"] for c in found} <= {None, programs.NAME}, found
        return {c["port"]: c["state"] for c in found if c["name"]}
    wait_for(lambda: states() == {programs.handled: "handler", programs.asked: "verdict"}, f"both, not {states()}")
    programs.grant()
    wait_for(lambda: states() == {programs.handled: "handler", programs.asked: "relay"}, f"both, not {states()}")
    assert programs.proxy.tree() == before


@pytest.mark.slow
@pytest.mark.limit(120)
def test_five_thousand_connections_are_listed_quickly(echo, admin):
    port = echo()
    sockets = [connect(port) for _ in range(5000)]
    wait_for(lambda: admin.service(port)["active"] == 5000, "all of them", 30)

    def once():
        begin = time.monotonic()
        text = admin.ask("connections", "-j")
        return time.monotonic() - begin, text
    took, text = min(once() for _ in range(30))  # others may be busy on this machine
    found = json.loads(text)
    assert len(found) == 5000 and all(c["client_rtt"] is not None for c in found)
    print(f"listed in {took * 1000:.0f} ms")
    assert took < 0.1  # 15 ms on a machine that does nothing else
    for s in sockets:
        s.close()


# -- status

def test_status_says_what_runs(start, service, admin):
    port, other = free_port(), free_port()
    a = service()
    proxy = start(config=f"{admin.line}workers 2\nport {port} {other}\nserver {a.spelt}\nserver 127.0.0.1:1 backup disabled\n")
    with talk(port):
        admin.wait_connections(1)
        s = admin.json("status")
        assert s["pid"] == proxy.pid and s["configuration"] == proxy.config_path and s["generation"] == 1
        (one,) = s["services"]
        assert (one["service"], one["active"], one["state"]) == (f"{port},{other}", 1, "enabled")
        states = {x["server"]: (x["state"], x["health"], x["active"]) for x in s["servers"]}
        assert states == {a.spelt: ("enabled", "up", 1), "127.0.0.1:1": ("disabled", "untried", 0)}
        assert {w["pid"] for w in s["workers"]} == set(proxy.workers())
        assert [(w["keepers"], w["serving"]) for w in s["workers"]] == [(2, True)] * 2
        assert [(p["server"], p["backup"], p["disabled"]) for p in s["pools"]] == [
            (a.spelt, False, False), ("127.0.0.1:1", True, True)]
        text = admin.ask("status")
        assert f"process {proxy.pid}" in text and a.spelt in text


def test_a_server_that_does_not_answer_is_shown(start, service, admin):
    port, dead = free_port(), free_port()
    start("-b", port, "-o", admin.option, f"127.0.0.1:{dead}")
    assert gets_reset(port)
    s = admin.server(f"127.0.0.1:{dead}")
    assert (s["health"], s["connect_failures"], s["connections"]) == ("failed", 1, 0)
    assert admin.service(port)["ends"]["connect-failed"] == 1


def health(admin, key):
    """(health, why, since) and the metric"""
    v = admin.server(key)
    return (v["health"], v["why"]), admin.metric("tcpproxy_backend_up", server=key)


def test_nothing_is_known_of_a_server_before_its_first_client(echo, admin):
    port = echo()
    assert health(admin, echo.server.spelt) == (("untried", None), None)
    assert admin.server(echo.server.spelt)["since"] is None
    assert ask(port, b"x") == b"x"
    assert health(admin, echo.server.spelt) == (("up", None), 1)
    assert re.search(rf"^{echo.server.spelt} +enabled +up +.* +-$", admin.ask("status"), re.M)


def test_a_server_fails_until_it_answers_once(start, admin):
    port, number = free_port(), free_port()
    proxy = start("-b", port, "-o", admin.option, f"127.0.0.1:{number}")
    key = f"127.0.0.1:{number}"
    assert gets_reset(port)
    assert health(admin, key) == (("failed", "Connection refused"), 0)
    first = admin.server(key)
    assert datetime.datetime.fromisoformat(first["since"]).timestamp() == pytest.approx(time.time(), abs=5)
    assert re.search(rf"^{key} +enabled +failed +.* \d+\.\d(s|ms) +Connection refused$", admin.ask("status"), re.M)
    labels = {"server": key, "why": "Connection refused"}
    assert 0 <= admin.metric("tcpproxy_backend_failed_seconds", **labels) < 60
    before = admin.metric("tcpproxy_backend_failed_seconds", **labels)
    assert gets_reset(port)
    wait_for(lambda: admin.metric("tcpproxy_backend_failed_seconds", **labels) > before + 0.1, "that it is counted from the first one")
    proxy.expect_deaths()
    for pid in proxy.workers():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(w["takeovers"] == 1 for w in admin.json("status")["workers"]), "new workers")
    assert health(admin, key) == (("failed", "Connection refused"), 0)
    back = Service(lambda s: s.sendall(b"x"), port=number)
    try:
        assert ask(port) == b"x"
        assert health(admin, key) == (("up", None), 1)
        assert admin.metric("tcpproxy_backend_failed_seconds", **labels) is None
    finally:
        back.close()
    proxy.wait_whole()


def test_the_health_of_a_program_is_whether_it_starts(start, admin, directory):
    good, bad, absent = free_port(), free_port(), directory / "absent"
    start(config=f"{admin.line}port {good}\nexec /bin/cat\nport {bad}\nexec {absent}\n")
    assert health(admin, "/bin/cat") == (("untried", None), None)
    with connect(good) as s:
        s.sendall(b"x")
        assert read_exactly(s, 1) == b"x"
        # it may answer before its worker knows that it has started
        wait_for(lambda: health(admin, "/bin/cat") == (("up", None), 1), "while it runs")
    assert gets_reset(bad)
    wait_for(lambda: health(admin, absent) == (("failed", "No such file or directory"), 0), "why it is not")


def test_the_health_of_a_name(start, service, admin, names):
    port, target = free_port(), service()
    start("-b", port, "-o", admin.option, "-o", f"resolver {names.spelt}", f"gone.test:{target.port}")
    key = f"gone.test:{target.port}"
    assert gets_reset(port)
    assert health(admin, key) == (("unresolved", "the name does not resolve"), 0)
    names.add("gone.test", "127.0.0.1")
    wait_for(lambda: admin.server(key)["health"] == "failed", "an address")
    assert ask(port, b"x") == b"x"
    assert health(admin, key) == (("up", None), 1)


# -- counters and metrics

def test_counters_count(echo, admin):
    port = echo()
    for _ in range(10):
        assert ask(port, data(500)) == data(500)
    wait_for(lambda: admin.service(port)["ends"]["client-fin"] == 10, "ten ends")
    s, t = admin.service(port), admin.server(echo.server.spelt)
    assert (s["connections"], s["client_bytes"], s["server_bytes"]) == (10, 5000, 5000)
    assert (t["connections"], t["client_bytes"], t["server_bytes"]) == (10, 5000, 5000)
    assert s["active"] == t["active"] == 0
    assert re.search(rf"^service +{port} +client_bytes +5000$", admin.ask("counters"), re.M)
    assert admin.json("counters")["services"][0]["client_bytes"] == 5000


def test_bytes_are_counted_while_they_come(echo, admin):
    port = echo()
    with talk(port, 100_000):
        wait_for(lambda: admin.service(port)["client_bytes"] == 100_000, "all bytes")
        assert admin.metric("tcpproxy_client_bytes_total", service=str(port)) == 100_000
        assert admin.metric("tcpproxy_connections", service=str(port)) == 1


def test_a_denied_client_is_counted_by_its_reason(echo, admin):
    port = echo("-o", "deny 127.0.0.1")
    assert gets_reset(port)
    assert admin.metric("tcpproxy_connections_ended_total", service=str(port), reason="denied") == 1
    assert admin.metric("tcpproxy_client_connections_total", service=str(port)) == 1


def test_histograms_add_up(echo, admin):
    port = echo()
    for _ in range(5):
        assert ask(port, b"x") == b"x"
    wait_for(lambda: admin.service(port)["ends"]["client-fin"] == 5, "five ends")
    for name in ("tcpproxy_connect_duration_seconds", "tcpproxy_connection_duration_seconds"):
        assert admin.metric(f"{name}_count", service=str(port)) == 5
        assert admin.metric(f"{name}_bucket", service=str(port), le="+Inf") == 5
        assert 0 < admin.metric(f"{name}_sum", service=str(port)) < 50


def test_counters_survive_workers_and_supervisor_and_upgrades(echo, admin):
    port = echo("-o", "workers 1")
    echo.proxy.expect_deaths()
    assert ask(port, data(100)) == data(100)
    os.kill(echo.proxy.workers()[0], signal.SIGKILL)
    wait_for(lambda: admin.json("status")["workers"][0]["takeovers"] == 1, "a takeover")
    echo.proxy.wait_whole()
    assert ask(port, data(100)) == data(100)
    outlast_fuser()
    echo.proxy.kill_supervisor()
    echo.proxy.start_again()
    assert ask(port, data(100)) == data(100)
    admin.ask("upgrade")
    assert ask(port, data(100)) == data(100)
    wait_for(lambda: admin.service(port)["ends"]["client-fin"] == 4, "four ends")
    s = admin.service(port)
    assert (s["connections"], s["client_bytes"], s["server_bytes"]) == (4, 400, 400)
    assert admin.json("status")["upgrades"] == 1


def test_every_metric_is_explained_and_well_formed(echo, admin):
    port = echo()
    assert ask(port, b"x") == b"x"
    explained, typed = set(), {}
    for line in admin.ask("metrics").splitlines():
        if m := re.fullmatch(r"# HELP (tcpproxy_\w+) \S.*\.", line):
            explained.add(m[1])
        elif m := re.fullmatch(r"# TYPE (tcpproxy_\w+) (counter|gauge|histogram)", line):
            assert m[1] in explained and m[1] not in typed
            typed[m[1]] = m[2]
            assert m[1].endswith("_total") == (m[2] == "counter")
        else:
            m = re.fullmatch(r'(tcpproxy_\w+)(\{\w+="[^"\n]*"(,\w+="[^"\n]*")*\})? \d+(\.\d+)?', line)
            assert m, line
            assert m[1] in typed or re.sub("_(bucket|sum|count)$", "", m[1]) in typed, line


@pytest.mark.skipif(not promtool(), reason="no promtool")
def test_promtool_finds_nothing_wrong(echo, admin):
    port = echo()
    assert ask(port, b"x") == b"x"
    done = subprocess.run([promtool(), "check", "metrics"], input=admin.ask("metrics"), capture_output=True, text=True,
                          timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- explain

def test_explain_names_rule_and_server(start, service, admin):
    port = free_port()
    a, b = service(), service()
    proxy = start(config=f"{admin.line}port {port}\ndeny 10.0.0.0/8\nserver {a.spelt}\nserver {b.spelt} backup\n")
    text = admin.ask("explain", "192.0.2.7", port)
    assert f"{proxy.config_path}:2" in text and f"server: {a.spelt}" in text
    denied = admin.run("explain", "10.1.2.3:4000", f"127.0.0.1:{port}")
    assert denied.returncode == 3 and "deny 10.0.0.0/8" in denied.stdout
    nothing = admin.run("explain", "192.0.2.7", free_port())
    assert nothing.returncode == 1 and "is not configured" in nothing.stdout
    assert "no address" in admin.refused("explain", "nobody", port)
    assert "two words" in admin.refused("explain", "192.0.2.7")
    admin.ask("disable", a.spelt)
    text = admin.ask("explain", "192.0.2.7", port)
    assert f"not {a.spelt}: it is disabled" in text and f"server: {b.spelt}" in text


def test_explain_names_the_states_and_who_comes_later(start, service, admin):
    port, ill = free_port(), free_port()
    a, b, c = service(), service(), service()
    start(config=f"{admin.line}port {port}\nserver {a.spelt}\nserver {b.spelt} backup\nserver 127.0.0.1:{ill}\nserver {c.spelt}\n"
                 "check every=100ms timeout=9s rise=1 fall=1 tcp\n")
    wait_for(lambda: [admin.server(k)["health"] for k in (a.spelt, b.spelt, f"127.0.0.1:{ill}", c.spelt)]
             == ["up", "up", "down", "up"], "all are known")
    text = admin.ask("explain", "192.0.2.7", port)
    assert re.search(rf"^server: ({a.spelt}|{c.spelt}) \(the next of 2, which take turns\), up$", text, re.M)
    assert f"server: not {b.spelt}: it is a backup, and up\n" in text
    assert f"server: not 127.0.0.1:{ill}: it is down: check tcp: connection refused\n" in text
    admin.ask("force", a.spelt, "down")
    text = admin.ask("explain", "192.0.2.7", port)
    assert f"server: not {a.spelt}: it is down (tcpproxyctl force)\n" in text and f"server: {c.spelt} (the best one), up\n" in text
    admin.ask("force", c.spelt, "down")
    text = admin.ask("explain", "192.0.2.7", port)
    assert f"server: {b.spelt} (a backup), up\n" in text
    admin.ask("force", b.spelt, "down")
    assert "server: none is left\n" in admin.run("explain", "192.0.2.7", port).stdout


@pytest.mark.parametrize("way", ["source", "hash"])
def test_explain_names_the_server_of_a_key(start, service, admin, way):
    """And that is the one which the client meets."""
    port = free_port()
    servers = [service(say(name)) for name in "abcd"]
    start(config=f"{admin.line}port {port}\nbalance {way}\n" + "".join(f"server {s.spelt}\n" for s in servers))
    met = set()
    for host in range(1, 9):
        text = admin.ask("explain", f"127.0.3.{host}", f"127.0.0.1:{port}")
        with connect(port, source=f"127.0.3.{host}") as c:
            name = read_all(c)
        said = servers["abcd".index(name.decode())].spelt
        by = "by the client's address" if way == "source" else "by its key"
        assert re.search(rf"^server: {said} \({by}, of [1-4]\), (untried|up)$", text, re.M), text
        met.add(name)
    assert len(met) > 1


def test_explain_of_one_who_would_wait(start, service, admin):
    port = free_port()
    s = service()
    start(config=f"{admin.line}port {port}\nserver {s.spelt} max=1\nqueue 50\n")
    assert "waits" not in admin.ask("explain", "192.0.2.7", port)
    clients = [connect(port) for _ in range(4)]
    wait_for(lambda: admin.service(port)["waiting"] == 3, "three wait")
    text = admin.ask("explain", "192.0.2.7", port)
    assert "\nwaits: all servers at max (3 waiting before)\n" in text
    assert f"server: not {s.spelt}: it is up, and at max\n" in text
    member, = admin.json("servers", "-j")["servers"]
    assert member["waiting"] == 3
    for c in clients:
        c.close()


def test_explain_where_no_server_is_usable(start, admin):
    held, reset, ill = free_port(), free_port(), free_port()
    start(config=f"{admin.line}check every=100ms timeout=9s rise=1 fall=1 tcp\nport {held}\nserver 127.0.0.1:{ill}\non-down hold 20\n"
                 f"port {reset}\nserver 127.0.0.1:{ill}\n")
    wait_for(lambda: admin.server(f"127.0.0.1:{ill}")["health"] == "down", "it is down")
    assert "\nwaits: no server is usable (0 waiting before)\n" in admin.ask("explain", "192.0.2.7", held)
    denied = admin.run("explain", "192.0.2.7", reset)
    assert denied.returncode == 3 and "server: none is left\n" in denied.stdout


def test_a_server_with_a_long_list_of_services_does_not_mix_them_up(start, admin):
    """Each service has its own counters, whatever their order in the file after a reload."""
    one, two = free_port(), free_port()
    a, b = Service(lambda s: s.sendall(b"a")), Service(lambda s: s.sendall(b"b"))
    try:
        proxy = start(config=f"{admin.line}port {one}\nserver {a.spelt}\nport {two}\nserver {b.spelt}\n")
        assert ask(one) == b"a"
        proxy.rewrite(f"{admin.line}port {two}\nserver {b.spelt}\nport {one}\nserver {a.spelt}\n")
        admin.ask("reload")
        assert ask(two) == b"b" and ask(two) == b"b"
        wait_for(lambda: admin.service(two)["connections"] == 2, "both")
        assert admin.service(one)["connections"] == 1
        assert admin.server(a.spelt)["connections"] == 1 and admin.server(b.spelt)["connections"] == 2
    finally:
        a.close()
        b.close()
