"""`intercept`: connections that are meant for others come to us. Three hosts: a client, tcpproxy as its gateway, a server."""
import os
import re
import signal
import socket
import subprocess

import pytest

from lib.hosts import CLIENT, HERE, NEAR, SERVER, Hosts, say_who
from lib.peers import connect, data, echo, gets_reset, read_all, refused, say, talk
from lib.waiting import outlast_fuser, wait_for
from test_source_client import BACK, PORT, run  # noqa: F401 # a fixture

BOTH = pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
HOW = pytest.mark.parametrize("how", ["tproxy", "redirect"])


@pytest.fixture
def hosts():
    h = Hosts()
    yield h
    h.close()


def ask(hosts, six=False, port=BACK, host=None, who="client"):
    def talk_there():
        with connect(port, host or SERVER[six]) as s:
            return read_all(s).decode()
    return hosts.enter(who, talk_there)


@BOTH
@HOW
def test_where_it_wanted_to_go(hosts, run, how, six):  # noqa: F811
    """Pitfall 25. The record, and the server, are those that the client meant."""
    hosts.serve("server", BACK, SERVER[six])
    r = run(f"port {PORT}\nintercept {how} to {BACK}\nserver original\n")
    assert ask(hosts, six).split()[0] == NEAR[six]  # we have called, not the client
    record = r.proxy.wait_record()
    assert (record["port"], record["interface"].strip("[]"), record["target"]) == (str(BACK), SERVER[six], "original")
    assert record["server"] == (f"[{SERVER[1]}]:{BACK}" if six else f"{SERVER[0]}:{BACK}")
    assert record["client"].startswith(f"[{CLIENT[1]}]:" if six else f"{CLIENT[0]}:")


@BOTH
def test_nobody_sees_that_somebody_is_between(hosts, run, six):  # noqa: F811
    hosts.serve("server", BACK, SERVER[six])
    run(f"port {PORT}\nsource client\nintercept tproxy to {BACK}\nserver original\n")
    assert ask(hosts, six).split()[0] == CLIENT[six]


@BOTH
@HOW
def test_another_server_instead(hosts, run, how, six):  # noqa: F811
    """Sections are chosen by where the client wanted to go."""
    hosts.serve("proxy", BACK, "127.0.0.1", say("ours"))
    hosts.serve("proxy", BACK + 1, "127.0.0.1", say("special"))
    r = run(f"port {PORT} as caught\nintercept {how} to 80 8000-8010\nserver 127.0.0.1:{BACK}\n"
            f"interface {SERVER[six]}\nserver 127.0.0.1:{BACK + 1}\n")
    elsewhere = ("203.0.113.9", "2001:db8:9::9")[six]
    assert ask(hosts, six, 80) == "special" and ask(hosts, six, 8005) == "special"
    assert ask(hosts, six, 8010, elsewhere) == "ours"  # which nobody has
    assert {(record["port"], record["interface"].strip("[]")) for record in r.proxy.wait_records(3)} == \
        {("80", SERVER[six]), ("8005", SERVER[six]), ("8010", elsewhere)}
    assert {record.get("service") for record in r.proxy.records()} == {"caught"}


@BOTH
@HOW
def test_what_is_not_asked_for_passes(hosts, run, how, six):  # noqa: F811
    """Ports, interfaces and networks; and what is meant for this machine itself."""
    hosts.serve("server", BACK, SERVER[six], say("direct"))
    hosts.serve("proxy", BACK, NEAR[six], say("the machine itself"))
    hosts.serve("proxy", BACK + 1, "127.0.0.1", say("caught"))
    net, other = (f"{CLIENT[six]}/{120 if six else 24}", ("192.0.2.0/24", "2001:db8:77::/64")[six])
    for words, wanted in ((f"to {BACK + 5}", "direct"), (f"to {BACK} on s0", "direct"), (f"to {BACK} from {other}", "direct"),
                          (f"to {BACK} on s0 c0 from {other} {net}", "caught"), (f"to {BACK} on c*", "caught")):
        r = run(f"port {PORT}\nintercept {how} {words}\nserver 127.0.0.1:{BACK + 1}\n")
        assert ask(hosts, six) == wanted, words
        assert ask(hosts, six, host=NEAR[six]) == "the machine itself"
        r.proxy.stop()
    assert ask(hosts, six) == "direct"


@BOTH
@HOW
def test_who_calls_the_port_itself(hosts, run, how, six):  # noqa: F811
    """Pitfall 26. It has no original, and must not lead to us again."""
    r = run(f"port {PORT}\nintercept {how} to {BACK}\nserver original\n")
    for host in (HERE[six], NEAR[six]):
        assert hosts.enter("client", gets_reset, PORT, host)
    assert hosts.enter("proxy", gets_reset, PORT, ("127.0.0.1", "::1")[six])
    assert {(record.end, record["why"]) for record in r.proxy.wait_records(3)} == {("denied", "not-intercepted")}


@BOTH
def test_connections_of_a_user_of_this_machine(hosts, run, six):  # noqa: F811
    hosts.serve("server", BACK, SERVER[six], say("direct"))
    hosts.serve("proxy", BACK + 1, "127.0.0.1", say("caught"))
    r = run(f"port {PORT}\nintercept redirect to {BACK} of daemon\nserver 127.0.0.1:{BACK + 1}\n")

    def as_user(name):
        code = f"import socket; s = socket.create_connection(('{SERVER[six]}', {BACK}), 10); print(s.recv(100).decode())"
        return hosts.on("proxy", "setpriv", f"--reuid={name}", "--clear-groups", "/usr/bin/python3", "-c", code).strip()
    assert (as_user("daemon"), as_user("games"), ask(hosts, six)) == ("caught", "direct", "direct")
    record = r.proxy.wait_record()
    assert (record["port"], record["interface"].strip("[]")) == (str(BACK), SERVER[six])


def test_our_own_connections_are_never_caught(hosts, run):  # noqa: F811
    """Pitfall 27."""
    code, log = run(f"user daemon\nport {PORT}\nintercept redirect to {BACK} of daemon\nserver original\n", fails=True)
    assert code == 2 and "that is the user as which tcpproxy runs: its own connections would be caught" in log
    code, log = run(f"port {PORT}\nintercept redirect to {BACK} of nobody-knows\nserver original\n", fails=True)
    assert code == 2 and "nobody-knows" in log


@HOW
def test_it_survives_deaths_and_leaves_nothing(hosts, run, how):  # noqa: F811
    """Rules and connections, over the death of whoever; at the end all is as before."""
    hosts.serve("server", BACK, SERVER[0], echo)
    before = hosts.network()
    r = run(f"port {PORT}\nintercept {how} to {BACK}\nserver original\n")
    during = hosts.network()
    assert during != before
    with hosts.enter("client", connect, BACK, SERVER[0]) as s:
        talk(s)
        r.proxy.kill_workers()
        talk(s)
        for _ in range(2):
            pids = r.sockets()
            os.kill(pids[0], signal.SIGKILL)
            wait_for(lambda: pids[0] not in r.sockets(), "it is dead")
            r.proxy.wait_whole()
        assert hosts.network() == during
        outlast_fuser()
        r.proxy.kill_supervisor()
        talk(s)
        assert hosts.network() == during
        with hosts.enter("client", connect, BACK, SERVER[0]) as other:
            talk(other)
        r.proxy.start_again()
        assert hosts.network() == during
        assert r.ctl("upgrade").returncode == 0
        for one in (s, hosts.enter("client", connect, BACK, SERVER[0])):
            talk(one)
            one.close()
    assert len([record for record in r.proxy.wait_records(3) if record["interface"] == SERVER[0]]) == 3
    r.proxy.stop()
    assert hosts.network() == before


@HOW
def test_killed_at_one_moment_what_is_left_is_cleaned(hosts, run, how):  # noqa: F811
    before = hosts.network()
    r = run(f"port {PORT}\nintercept {how} to {BACK}\nserver original\n")
    r.kill()
    done = subprocess.run(["ip", "netns", "exec", hosts.names["proxy"], os.environ["TCPPROXY"], "--clean-network"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and "table 27182, its rules and what belonged to it were taken away" in done.stderr
    assert hosts.network() == before


def test_somebody_takes_the_rules_away(hosts, run):  # noqa: F811
    r = run(f"port {PORT}\nintercept tproxy to {BACK}\nserver original\n")
    during = hosts.network()
    hosts.on("proxy", "nft", "flush", "ruleset")
    hosts.on("proxy", "ip", "rule", "del", "priority", "100")
    r.proxy.wait_log("somebody has taken away what .intercept. needs, and it was put back: IPv4 rule, table inet tcpproxy-27182 of nft")
    assert hosts.network() == during


def test_a_reload_cannot_change_what_is_caught(hosts, run):  # noqa: F811
    hosts.serve("server", BACK, SERVER[0])
    hosts.serve("proxy", BACK, "127.0.0.1", say("other"))
    r = run(f"port {PORT}\nintercept redirect to {BACK}\nserver original\n")
    config = r.proxy.config
    for changed in (config.replace(f"to {BACK}", f"to {BACK} 80"), config.replace(f"intercept redirect to {BACK}\nserver original", "server a:1")):
        r.proxy.rewrite(changed)
        done = r.ctl("reload")
        assert done.returncode == 1 and "\"intercept\" takes effect at the next start" in done.stderr
        assert ask(hosts).split()[0] == NEAR[0]
    r.proxy.rewrite(config.replace("server original", f"server 127.0.0.1:{BACK}"))
    done = r.ctl("reload")
    assert done.returncode == 0, done.stderr
    assert ask(hosts) == "other"


@HOW
def test_without_the_right(hosts, run, how):  # noqa: F811
    code, log = run(f"port {PORT}\nintercept {how} to {BACK}\nserver original\n", fails=True,
                    wrap=["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"])
    assert code == 2 and log.splitlines()[-1] == "tcpproxy: \"intercept\" needs root at start (CAP_NET_ADMIN)"


def test_by_hand_nothing_is_touched(hosts, run):  # noqa: F811
    hosts.serve("server", BACK, SERVER[0])
    before = hosts.network()
    r = run(f"routes by=hand\nport {PORT}\nintercept redirect to {BACK}\nserver original\n")
    assert hosts.network() == before
    hosts.on("proxy", "nft", "add table ip t; add chain ip t c { type nat hook prerouting priority -100; };"
             f"add rule ip t c tcp dport {BACK} redirect to :{PORT}")
    assert ask(hosts).split()[0] == NEAR[0]
    assert r.proxy.wait_record()["interface"] == SERVER[0]


def test_both_beside_source_client(hosts, run):  # noqa: F811
    """tcp_fwmark_accept is 1 then: what answers an intercepted client must not come back to us."""
    hosts.serve("server", BACK, SERVER[0])
    hosts.serve("proxy", BACK + 1, "127.0.0.1")
    run(f"port {PORT}\nintercept tproxy to {BACK}\nserver original\nport {PORT + 1}\nsource client\nserver 127.0.0.1:{BACK + 1}\n")
    assert hosts.on("proxy", "sysctl", "-n", "net.ipv4.tcp_fwmark_accept").strip() == "1"
    assert ask(hosts).split()[0] == NEAR[0]
    assert hosts.ask(PORT + 1).split()[0] == CLIENT[0]
