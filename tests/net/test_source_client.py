"""`source client`: servers see the client's own address. Three hosts: a client, tcpproxy, a server whose gateway it is."""
import os
import re
import signal
import subprocess

import pytest

from lib import build, processes
from lib.hosts import CLIENT, HERE, NEAR, NUMBERS, SERVER, Hosts, say_who
from lib.peers import Server, gets_reset, read_all
from lib.proxy import SOCKETS, Directory, Proxy
from lib.waiting import outlast_fuser, stays, wait_for

PORT, BACK = 3000, 2222
RULE = r"fwmark 0x100000/0x100000 lookup 27182 proto 217"


@pytest.fixture
def hosts():
    h = Hosts()
    yield h
    h.close()


class Running:
    def __init__(self, hosts, directory, config, wrap=(), **more):
        self.hosts = hosts
        self.socket = directory / "admin.sock"
        self.proxy = Proxy(directory, config=f"admin unix:{self.socket}\nworkers 2\n{config}",
                           wrap=["ip", "netns", "exec", hosts.names["proxy"], *wrap], wait=False, **more)

    def wait(self):
        wait_for(lambda: self.proxy.process.poll() is not None or self.proxy.whole(), f"the start: {self.proxy.tree()}\n{self.proxy.log()}")
        assert self.proxy.process.poll() is None, self.proxy.log()
        self.proxy.born = self.proxy.tree()
        return self

    def ctl(self, *words):
        return subprocess.run([f"{os.path.dirname(os.path.abspath(os.environ['TCPPROXY']))}/tcpproxyctl", "-s", self.socket, *words],
                              capture_output=True, text=True, timeout=30)

    def sockets(self):
        """The process that makes them, and the one that watches it."""
        return self.proxy.role("sockets") + self.proxy.role("sockets (watches)")

    def kill(self):
        """All of it, at one moment: those who live longer than the others clean up."""
        for pid in self.sockets():
            os.kill(pid, signal.SIGSTOP)
        self.proxy.kill()


@pytest.fixture
def run(hosts, directory, request):
    """run(config): tcpproxy on its host, which serves; run(config, fails=True): what it says, and its exit code."""
    started, made = [], []

    def start(config, fails=False, **more):
        own = directory if not started else Directory()
        if own is not directory:
            made.append(own)
        r = Running(hosts, own, config, **more)
        started.append(r)
        return (r.proxy.wait_exit(), r.proxy.log()) if fails else r.wait()
    yield start
    try:
        for r in started:
            if getattr(request.node, "failed", False):
                print(r.proxy.log())
            elif r.proxy.process.poll() is None or r.proxy.pids():
                r.proxy.stop()
    finally:
        for r in started:
            r.proxy.kill()
        for d in made:
            d.remove()


def service(server, more="", port=PORT):
    spelt = f"[{server}]:{BACK}" if ":" in server else f"{server}:{BACK}"
    return f"port {port}\nsource client\nserver {spelt}\n{more}"


# -- who is seen

@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("where", ["elsewhere", "loopback", "own"])
def test_the_server_sees_the_client(hosts, run, six, where):
    """Pitfall 23. And whoever calls that server directly goes on being served."""
    server = {"elsewhere": SERVER, "loopback": ("127.0.0.1", "::1"), "own": NEAR}[where][six]
    hosts.serve("server" if where == "elsewhere" else "proxy", BACK, server)
    r = run(service(server))
    assert hosts.ask(PORT, HERE[six]).split()[0] == CLIENT[six]
    record = r.proxy.wait_record()
    assert record.end == "server-fin" and record["client"].startswith(f"[{CLIENT[six]}]:" if six else f"{CLIENT[six]}:")
    if where != "loopback":
        assert hosts.ask(BACK, server).split()[0] == CLIENT[six]
    assert hosts.on("proxy", "ip", "-6" if six else "-4", "rule").count("proto 217") == 1


def test_a_client_of_the_other_family(hosts, run):
    hosts.serve("server", BACK, SERVER[1])
    r = run(service(SERVER[1]))
    for _ in range(3):
        assert hosts.ask(PORT, HERE[0]).split()[0] == NEAR[1]
    assert len(re.findall(rf"source client: {CLIENT[0]} cannot be the source towards \[{SERVER[1]}\]", r.proxy.log())) == 1


def test_a_client_of_this_machine_and_a_server_elsewhere(hosts, run):
    hosts.serve("server", BACK, SERVER[0])
    run(service(SERVER[0]))
    told = hosts.on("proxy", "nc", "-N", "127.0.0.1", PORT, text="")
    assert told.split()[0] == NEAR[0]


def test_its_port_if_that_is_free(hosts, run):
    """Pitfall 24: and the client may come again from the same port at once."""
    hosts.serve("server", BACK, SERVER[0])
    run(service(SERVER[0]).replace("source client", "source client port"))

    def again(port):
        with hosts.enter("client", bound, port) as s:
            s.connect((HERE[0], PORT))
            return read_all(s).decode()
    assert again(40123) == f"{CLIENT[0]} 40123"
    address, _ = again(40123).split()
    assert address == CLIENT[0]


def test_a_port_from_which_the_server_is_called_still(hosts, run):
    """It can be bound to, and not be called from: so it is for a moment, too, when a client comes again at once."""
    def stay(s):
        say_who(s)
        s.recv(1)
    hosts.serve("server", BACK, SERVER[0], stay)
    run(service(SERVER[0]).replace("source client", "source client port").replace(f"port {PORT}", f"port {PORT} {PORT + 1}"))
    with hosts.enter("client", bound, 40123) as one, hosts.enter("client", bound, 40123) as other:
        one.connect((HERE[0], PORT))
        assert one.recv(100).decode() == f"{CLIENT[0]} 40123"
        other.connect((HERE[0], PORT + 1))
        address, port = other.recv(100).decode().split()
        assert address == CLIENT[0] and port != "40123"


def bound(port):
    import socket
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(20)
    s.bind((CLIENT[0], port))
    return s


def test_whoever_was_announced(hosts, run):
    hosts.serve("server", BACK, SERVER[0])
    r = run(service(SERVER[0], "accept-proxy from 198.51.100.0/24\n"))
    with hosts.connect(PORT) as s:
        s.sendall(b"PROXY TCP4 198.51.100.77 10.0.0.9 4711 80\r\n")
        hosts.on("client", "ip", "addr", "add", "198.51.100.77/24", "dev", "eth0")
        assert read_all(s).decode().split()[0] == "198.51.100.77"
    assert r.proxy.wait_record()["client"] == "198.51.100.77:4711"


def test_no_server_there(hosts, run):
    """It is refused at once, here and elsewhere."""
    r = run(service(SERVER[0]) + service("127.0.0.1", port=PORT + 1))
    for port in (PORT, PORT + 1):
        assert hosts.enter("client", gets_reset, port, HERE[0])
    assert [record.end for record in r.proxy.wait_records(2)] == ["connect-failed"] * 2
    assert r.proxy.log().count("Connection refused") == 2


def test_section_by_section(hosts, run):
    hosts.serve("server", BACK, SERVER[0])
    run(f"source client\n{service(SERVER[0])}port {PORT + 1}\nsource auto\nserver {SERVER[0]}:{BACK}\n")
    assert hosts.ask(PORT).split()[0] == CLIENT[0]
    assert hosts.ask(PORT + 1).split()[0] == NEAR[0]


# -- what it leaves behind

def prepare(hosts):
    """What an administrator may have set up."""
    for family in ("-4", "-6"):
        hosts.on("proxy", "ip", family, "rule", "add", "fwmark", "0x7", "lookup", "4711", "priority", "90")
    hosts.on("proxy", "nft", "-f", "-", text="table inet mine {\n chain in {\n type filter hook input priority 0; policy accept;\n"
                                             " tcp dport 1 drop\n }\n}\n")
    return hosts.network()


def test_it_leaves_nothing(hosts, run):
    """Pitfall 21."""
    before = prepare(hosts)
    r = run(service(SERVER[0]))
    now = hosts.network()
    assert len(re.findall(RULE, now)) == 2 and now.count("table inet tcpproxy-27182") == 1
    assert all(f"{name} = 1" in now for name in NUMBERS)
    r.proxy.stop()
    assert hosts.network() == before


def test_numbers_that_were_set_stay_so(hosts, run):
    hosts.on("proxy", "sysctl", "-qw", f"{NUMBERS[0]}=1")
    before = hosts.network()
    run(service(SERVER[0])).proxy.stop()
    assert hosts.network() == before


@pytest.mark.parametrize("victims", ["sockets", "sockets (watches)", "supervisor", "worker 0", "keeper 0", "files"])
def test_the_death_of_any_process(hosts, run, victims):
    hosts.serve("server", BACK, SERVER[0], echo_who)
    before = prepare(hosts)
    r = run(service(SERVER[0]))
    r.proxy.expect_deaths()
    with hosts.connect(PORT) as s:
        assert s.recv(100).decode().split()[0] == CLIENT[0]
        for pid in r.proxy.role(victims):
            os.kill(pid, signal.SIGKILL)
        if victims == "supervisor":
            r.proxy.process.wait()
            outlast_fuser()
            r.proxy.start_again()
        if victims != "files":
            r.proxy.wait_whole()
        assert len(re.findall(RULE, hosts.network())) == 2
        s.sendall(b"still there")
        assert s.recv(100) == b"still there"
        assert hosts.enter("client", first_words, PORT).split()[0] == CLIENT[0]
    r.proxy.stop()
    assert hosts.network() == before


def may_open(pid, limit):
    """As its own user: root may do that with a right which containers seldom have."""
    status = processes.status(pid)
    user, group = status["Uid"].split()[0], status["Gid"].split()[0]
    subprocess.run(["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "prlimit", f"--nofile={limit}", f"--pid={pid}"],
                   check=True)


def test_there_are_never_two_that_make_sockets(hosts, run):
    """Nor is another one started to watch, while there is no descriptor by which to look at it."""
    hosts.serve("server", BACK, SERVER[0])
    prepare(hosts)
    r = run(service(SERVER[0]))
    r.proxy.expect_deaths()
    (maker,), (watcher,) = r.proxy.role("sockets"), r.proxy.role("sockets (watches)")
    may_open(maker, "3:")
    os.kill(watcher, signal.SIGKILL)
    wait_for(lambda: r.proxy.role("sockets (watches)") == [], "it is dead")
    stays(lambda: r.sockets() == [maker], "one makes them, and none watches", 2.5)
    may_open(maker, "200:")
    watcher, = wait_for(lambda: r.proxy.role("sockets (watches)"), "one watches again")
    os.kill(maker, signal.SIGKILL)
    wait_for(lambda: r.proxy.role("sockets") == [watcher], "it makes them now")
    assert hosts.ask(PORT).split()[0] == CLIENT[0]


def echo_who(s):
    say_who(s)
    while chunk := s.recv(4096):
        s.sendall(chunk)


def first_words(port):
    from lib.peers import connect
    with connect(port, HERE[0]) as s:
        return s.recv(100).decode()


def test_what_a_killed_one_has_left_is_taken_over(hosts, run):
    before = prepare(hosts)
    r = run(service(SERVER[0]))
    whole = hosts.network()
    r.kill()
    assert hosts.network() == whole != before
    again = run(service(SERVER[0]))
    assert hosts.network() == whole
    again.proxy.stop()
    assert hosts.network() == before


def test_what_somebody_takes_away_is_put_back(hosts, run):
    before = hosts.network()
    r = run(service(SERVER[0]))
    now = hosts.network()
    hosts.on("proxy", "ip", "-4", "rule", "del", "priority", "100")
    wait_for(lambda: hosts.network() == now, "the rule is back")
    r.proxy.wait_log("taken away what \"source client\" needs, and it was put back: IPv4 rule$")
    hosts.on("proxy", "nft", "flush", "ruleset")
    wait_for(lambda: hosts.network() == now, "the table is back")
    r.proxy.wait_log("put back: table inet tcpproxy-27182 of nft$")
    r.proxy.stop()
    assert hosts.network() == before


def test_two_of_them(hosts, run):
    """Each has its own; what both need is put back by the last."""
    hosts.serve("proxy", BACK, "127.0.0.1")
    before = hosts.network()
    one = run(service("127.0.0.1"))
    code, log = run(service("127.0.0.1", port=PORT + 1), fails=True)
    assert code == 2 and f"the routing table 27182 is used by another tcpproxy, pid {one.proxy.pid}: \"routes table=N\"" in log
    code, log = run("routes table=5\n" + service("127.0.0.1", port=PORT + 1), fails=True)
    assert code == 2 and f"the mark 0x100000 is used by another tcpproxy, pid {one.proxy.pid}: \"routes mark=N\"" in log
    other = run("routes table=5 mark=0x4/0xf priority=101\n" + service("127.0.0.1", port=PORT + 1))
    assert hosts.ask(PORT).split()[0] == hosts.ask(PORT + 1).split()[0] == CLIENT[0]
    one.proxy.stop()
    assert hosts.ask(PORT + 1).split()[0] == CLIENT[0]
    other.proxy.stop()
    assert hosts.network() == before


def test_a_table_of_others(hosts, run):
    hosts.on("proxy", "ip", "route", "add", "10.99.0.0/16", "via", SERVER[0], "table", "27182")
    before = hosts.network()
    code, log = run(service(SERVER[0]), fails=True)
    assert code == 2 and "the routing table 27182 has routes that are not ours (ip -4 route show table 27182)" in log
    assert hosts.network() == before


def test_by_hand(hosts, run):
    hosts.serve("server", BACK, SERVER[0])
    hosts.on("proxy", "ip", "rule", "add", "fwmark", "0x100000/0x100000", "lookup", "8", "priority", "50")
    hosts.on("proxy", "ip", "route", "add", "local", "default", "dev", "lo", "table", "8")
    hosts.on("proxy", "nft", "-f", "-", text="table ip hand {\n chain pre {\n type filter hook prerouting priority mangle;\n"
                                             " socket transparent 1 meta mark set 0x100000\n }\n}\n")
    before = hosts.network()
    r = run("routes by=hand\n" + service(SERVER[0]))
    assert hosts.ask(PORT).split()[0] == CLIENT[0]
    assert hosts.network() == before
    r.proxy.stop()
    assert hosts.network() == before


def test_one_connection_under_inetd(hosts, directory):
    """By hand, for nobody stays; from here the client's address is that of the socket which is stdin."""
    hosts.serve("server", BACK, SERVER[0])
    config = directory.write("inetd.conf", f"standalone no\nlog stderr\nsource client\nport {PORT}\nserver {SERVER[0]}:{BACK}\n")
    by_hand = directory.write("hand.conf", f"standalone no\nlog stderr\nroutes by=hand\nsource client\nport {PORT}\nserver {SERVER[0]}:{BACK}\n")
    hosts.on("proxy", "ip", "rule", "add", "fwmark", "0x100000/0x100000", "lookup", "8", "priority", "50")
    hosts.on("proxy", "ip", "route", "add", "local", "default", "dev", "lo", "table", "8")
    hosts.on("proxy", "nft", "-f", "-", text="table ip hand {\n chain pre {\n type filter hook prerouting priority mangle;\n"
                                             " socket transparent 1 meta mark set 0x100000\n }\n}\n")
    listener = hosts.enter("proxy", Server, host=HERE[0], port=PORT)

    def serve(path):
        with hosts.connect(PORT) as s:
            with listener.accept() as accepted:
                process = subprocess.Popen(["ip", "netns", "exec", hosts.names["proxy"], directory.program, "-f", path], stdin=accepted,
                                           stdout=accepted, stderr=subprocess.PIPE, text=True)
            told = read_all(s).decode()
            s.close()
            _, said = process.communicate(timeout=30)
            return process.returncode, said, told
    code, said, _ = serve(config)
    assert code == 2 and "\"source client\" for one connection needs \"routes by=hand\"" in said
    code, said, told = serve(by_hand)
    assert code == 0 and told.split()[0] == CLIENT[0], said
    listener.close()


# -- changes

def test_an_upgrade(hosts, run):
    hosts.serve("server", BACK, SERVER[0], echo_who)
    before = hosts.network()
    r = run(service(SERVER[0]))
    pids = r.sockets()
    with hosts.connect(PORT) as s:
        assert s.recv(100).decode().split()[0] == CLIENT[0]
        assert r.ctl("upgrade").returncode == 0
        r.proxy.wait_whole()
        assert r.sockets() == pids
        s.sendall(b"on")
        assert s.recv(10) == b"on"
        for _ in range(4):
            assert hosts.enter("client", first_words, PORT).split()[0] == CLIENT[0]
    r.proxy.expect_deaths()  # they have become another program
    r.proxy.stop()
    assert hosts.network() == before


def test_a_reload(hosts, run):
    hosts.serve("server", BACK, SERVER[0])
    r = run(f"port {PORT}\nserver {SERVER[0]}:{BACK}\n")
    before = r.proxy.config
    r.proxy.rewrite(before + "source client\n")
    done = r.ctl("reload")
    assert done.returncode == 1 and "\"source client\" takes effect at the next start" in done.stderr
    assert hosts.ask(PORT).split()[0] == NEAR[0]
    r.proxy.rewrite(before)
    r.proxy.stop()
    with_it = run(before.split("workers 2\n")[1] + "source client\n")
    assert hosts.ask(PORT).split()[0] == CLIENT[0]
    with_it.proxy.rewrite(with_it.proxy.config.replace("source client", "source auto"))
    assert with_it.ctl("reload").returncode == 0
    assert hosts.ask(PORT).split()[0] == NEAR[0]
    with_it.proxy.rewrite(with_it.proxy.config.replace("source auto", "source client"))
    assert with_it.ctl("reload").returncode == 0
    assert hosts.ask(PORT).split()[0] == CLIENT[0]


def test_without_the_right(hosts, run):
    code, log = run(service(SERVER[0]), fails=True, wrap=["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"])
    assert code == 2 and log.splitlines()[-1] == "tcpproxy: \"source client\" needs root at start (CAP_NET_ADMIN)"


def test_those_that_make_sockets_are_stopped(hosts, run):
    """What lies ready is used up; clients wait within their time to connect; once there are more, they are served."""
    hosts.serve("server", BACK, SERVER[0])
    r = run(service(SERVER[0], "connect-timeout 1s\n"))
    hosts.ask(PORT)
    makers = r.sockets()
    for pid in makers:
        os.kill(pid, signal.SIGSTOP)

    def one():
        return hosts.enter("client", gets_reset, PORT, HERE[0])
    for _ in range(5000):
        if one():
            break
    else:
        pytest.fail("there is no end of sockets")
    wait_for(lambda: r.proxy.records()[-1].end == "connect-timeout", "its record")
    for pid in makers:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: not one(), "there are sockets again")
    assert hosts.ask(PORT).split()[0] == CLIENT[0]


def test_its_processes(hosts, run):
    r = run(service(SERVER[0]))
    for pid in r.sockets():
        status = processes.status(pid)
        assert status["Uid"].split()[0] != "0" and int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 << 12
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == ("2" if build.has_filter() else "0")
    for pid in r.proxy.workers():
        assert int(processes.status(pid)["CapPrm"], 16) == 0
    assert len(r.proxy.role(SOCKETS.removeprefix("tcpproxy: "))) == 1


def test_a_server_whose_answers_take_another_way(hosts, run):
    hosts.serve("server", BACK, SERVER[0])
    hosts.on("server", "ip", "route", "replace", "default", "via", "10.0.0.99")
    r = run(service(SERVER[0], "connect-timeout 1s\n"))
    assert hosts.enter("client", gets_reset, PORT, HERE[0])
    assert r.proxy.wait_record().end == "connect-timeout"
    r.proxy.wait_log(rf"source client: {SERVER[0]}:{BACK} answers this machine's own address, .*: no answer comes back: is this machine its gateway\?")


# -- before it starts

def look(hosts, directory, config):
    directory.write("look.conf", config)
    done = subprocess.run(["ip", "netns", "exec", hosts.names["proxy"], directory.program, "-C", "--network", "-f", directory / "look.conf"],
                          capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr.splitlines()


def test_nothing_is_in_the_way(hosts, directory):
    before = hosts.network()
    assert look(hosts, directory, service(SERVER[0]) + service("127.0.0.1", port=PORT + 1)) == (0, [])
    assert hosts.network() == before


def test_what_is_in_the_way(hosts, directory):
    hosts.on("proxy", "sysctl", "-qw", "net.ipv4.conf.s0.rp_filter=1", "net.ipv4.conf.all.src_valid_mark=1")
    hosts.on("proxy", "ip", "rule", "add", "from", "all", "lookup", "main", "priority", "99")
    hosts.on("proxy", "ip", "route", "add", "10.3.0.0/16", "via", SERVER[0])
    hosts.on("proxy", "nft", "-f", "-", text="table ip mine {\n chain out {\n type nat hook postrouting priority 100;\n"
                                             " oifname \"s0\" masquerade\n }\n}\n")
    code, lines = look(hosts, directory, service(SERVER[0], "server 10.3.0.7:22\n"))
    assert code == 1 and all(line.startswith("tcpproxy: ") for line in lines)
    said = [line.removeprefix("tcpproxy: ") for line in lines]
    assert said[0] == "another rule at priority 99 catches them (ip -4 rule): \"routes priority=N\" puts ours before it"
    assert said[1].startswith("net.ipv4.conf.s0.rp_filter is 1: answers of servers there are dropped; it must be 0 or 2")
    assert said[2] == "net.ipv4.conf.all.src_valid_mark is 1: answers of servers there are dropped; it must be 0"
    assert said[3] == "10.3.0.7 is reached through s0, but its answers may take another way: we must be its gateway"
    assert said[4].startswith("a rule of nft changes the source of what leaves (oifname \"s0\" masquerade)") and len(said) == 5


def test_what_is_missing_by_hand(hosts, directory):
    code, lines = look(hosts, directory, "routes by=hand mark=0x8\n" + service(SERVER[0]))
    assert code == 1 and len(lines) == 4
    assert "no rule leads the mark 0x8/0x8 to a table (ip -4 rule add fwmark 0x8/0x8 lookup N)" in lines[0]
    assert "net/ipv4/tcp_fwmark_accept is 0" in lines[2]


def test_what_is_in_the_way_is_a_warning_at_start(hosts, run):
    hosts.on("proxy", "ip", "rule", "add", "from", "all", "lookup", "main", "priority", "99")
    r = run(service(SERVER[0]))
    r.proxy.wait_log("^tcpproxy: another rule at priority 99 catches them")


def test_cleaning(hosts, run, directory):
    before = hosts.network()
    r = run("routes table=77\n" + service(SERVER[0]))

    def clean():
        done = subprocess.run(["ip", "netns", "exec", hosts.names["proxy"], directory.program, "--clean-network"],
                              capture_output=True, text=True, timeout=30)
        assert done.returncode == 0
        return done.stderr
    now = hosts.network()
    assert clean() == "tcpproxy: table 77 is used by a tcpproxy that lives, and stays\n" and hosts.network() == now
    r.kill()
    assert hosts.network() == now
    assert clean() == "tcpproxy: table 77, its rules and what belonged to it were taken away\n" and hosts.network() == before
    assert clean() == ""
