"""Names of servers and of clients, looked up without anybody waiting. The name server is the test's own."""
import os
import signal
import subprocess
import time

import pytest

from lib.dns import A, AAAA, NameServer
from lib.peers import answer, connect, gets_reset, read_all
from lib.ports import free_port
from lib.waiting import stays, wait_for


@pytest.fixture
def named(service):
    def make(text, **more):
        return service(lambda s: s.sendall(text.encode()), **more)
    return make


@pytest.fixture
def by_name(start, names):
    """by_name(server, ...): the port of a service with this pool, resolved by the test's name server."""
    def make(*lines, more=""):
        port = free_port()
        make.proxy = start(config=f"resolver {names.spelt}\n{more}\nport {port}\n"
                                  + "".join(f"server {line}\n" for line in lines))
        return port
    return make


def serves(port, text):
    try:
        return answer(port) == text
    except OSError:
        return False


# -- names of servers


def test_a_name_is_resolved(by_name, names, named):
    names.add("mail.test", "127.0.0.1")
    assert answer(by_name(f"mail.test:{named('a').port}")) == b"a"


def test_a_name_with_an_ipv6_address(by_name, names, named):
    names.add("mail.test", "::1")
    assert answer(by_name(f"mail.test:{named('a', kind='tcp6').port}")) == b"a"


def test_both_families_are_tried(by_name, names, named):
    """The IPv6 address refuses; the IPv4 one serves."""
    names.add("mail.test", "::1", "127.0.0.1")
    assert answer(by_name(f"mail.test:{named('a').port}")) == b"a"


def test_numeric_addresses_are_not_asked_for(by_name, names, named):
    assert answer(by_name(named("a").spelt)) == b"a"
    assert not names.asked


def test_the_hosts_file_counts(by_name, named):
    assert answer(by_name(f"localhost:{named('a').port}")) == b"a"


def test_a_name_that_does_not_resolve_at_start_is_not_fatal(by_name, names, named):
    target = named("a")
    port = by_name(f"later.test:{target.port}")
    assert gets_reset(port, timeout=16)
    assert by_name.proxy.wait_record().end == "unresolved"
    by_name.proxy.wait_log("later.test")
    names.add("later.test", "127.0.0.1")

    def resolved():
        try:
            return answer(port) == b"a"
        except OSError:
            return False
    wait_for(resolved, "the name is asked for again", 20)


def test_how_questions_for_names_end_is_counted(by_name, names, named, admin):
    target = named("a")
    names.add("mail.test", "127.0.0.1")
    names.failing.add("broken.test")
    by_name(f"mail.test:{target.port}", f"never.test:{target.port}", f"broken.test:{target.port}", more=admin.option)

    def counted(result):
        return admin.metric("tcpproxy_names_total", result=result)
    for result in ("answer", "none", "failed"):
        wait_for(lambda: counted(result) >= 2, f"{result} is counted", 15)
    before = counted("answer")
    by_name.proxy.expect_deaths()
    os.kill(by_name.proxy.role("checker")[0], signal.SIGKILL)
    wait_for(lambda: counted("answer") > before, "the next one goes on counting", 15)


def test_an_unresolved_name_does_not_hinder_the_others(by_name, named):
    begin = time.monotonic()
    port = by_name("never.test:25", named("a").spelt)
    assert answer(port) == b"a" and answer(port) == b"a"
    assert time.monotonic() - begin < 5


@pytest.mark.slow
def test_a_name_server_that_is_silent_costs_its_clients_at_most_15_s(by_name, names, named):
    names.silent.add("slow.test")
    port = by_name("slow.test:25")
    begin = time.monotonic()
    assert gets_reset(port, timeout=16)
    assert time.monotonic() - begin < 15.5


@pytest.mark.parametrize("answered, silent, address", [(A, AAAA, "127.0.0.1"), (AAAA, A, "::1")], ids=["A", "AAAA"])
def test_a_family_that_is_not_answered_does_not_hide_the_other(by_name, names, named, answered, silent, address):
    names.add("half.test", address)
    names.late["half.test", silent] = None
    target = named("a", kind="tcp6" if ":" in address else "tcp4")
    begin = time.monotonic()
    port = by_name(f"half.test:{target.port}")
    assert answer(port) == b"a"
    assert answer(port) == b"a"
    assert time.monotonic() - begin < 5


def test_nor_for_one_connection(directory, names, service):
    """The way of inetd and of ssh's ProxyCommand."""
    names.add("half.test", "127.0.0.1")
    names.late["half.test", AAAA] = None
    begin = time.monotonic()
    p = directory.run("-o", f"resolver {names.spelt}", f"half.test:{service().port}", input="hello")
    assert (p.returncode, p.stdout) == (0, "hello"), p.stderr
    assert time.monotonic() - begin < 5


def test_a_late_answer_adds_its_addresses(by_name, names, named):
    """The IPv4 address is there at once, and refuses."""
    names.add("late.test", "127.0.0.1", "::1")
    names.late["late.test", AAAA] = 0.7
    port = by_name(f"late.test:{named('a', kind='tcp6').port}")
    assert answer(port) == b"a"


@pytest.mark.slow
def test_what_was_good_of_one_family_is_kept_when_its_answers_cease(by_name, names, named):
    names.add("mail.test", "127.0.0.1", "::1")
    port = by_name(f"mail.test:{named('a', kind='tcp6').port}")
    assert answer(port) == b"a"
    names.late["mail.test", AAAA] = None
    asked = len(names.questions("mail.test"))
    wait_for(lambda: len(names.questions("mail.test")) >= asked + 3, "it is asked again, and once more for the silent one", 20)
    for _ in range(5):
        assert answer(port) == b"a"


def test_a_silent_name_server_harms_nobody_else(start, names, named):
    names.silent.add("slow.test")
    slow, quick = free_port(), free_port()
    begin = time.monotonic()
    start(config=f"resolver {names.spelt}\nport {slow}\nserver slow.test:25\nport {quick}\nserver {named('a').spelt}\n")
    waiting = connect(slow)
    for _ in range(10):
        assert answer(quick) == b"a"
    assert time.monotonic() - begin < 3
    waiting.close()


def test_a_client_that_came_before_the_answer_is_served(by_name, names, named):
    """It waits for the name, at most 15 s."""
    target = named("a")
    names.silent.add("slow.test")
    port = by_name(f"slow.test:{target.port}")
    with connect(port, timeout=16) as s:
        names.add("slow.test", "127.0.0.1")
        names.silent.clear()
        assert read_all(s) == b"a"


@pytest.mark.slow
def test_a_name_that_changes_is_followed(by_name, names, named):
    first, port = named("first", host="127.0.0.2"), None
    named("second", host="127.0.0.3", port=first.port)
    names.add("moving.test", "127.0.0.2")
    port = by_name(f"moving.test:{first.port}")
    assert answer(port) == b"first"
    names.add("moving.test", "127.0.0.3")
    wait_for(lambda: answer(port) == b"second", "the new address", 30)


@pytest.mark.parametrize("how", ["nxdomain", "servfail", "silence"])
def test_what_was_good_is_kept_when_the_name_goes_away(by_name, names, named, how):
    names.add("mail.test", "127.0.0.1")
    port = by_name(f"mail.test:{named('a').port}")
    assert answer(port) == b"a"
    asked = len(names.questions("mail.test"))
    if how == "nxdomain":
        del names.addresses["mail.test"]
    else:
        (names.failing if how == "servfail" else names.silent).add("mail.test")
    wait_for(lambda: len(names.questions("mail.test")) >= asked + 2, "it is asked for again", 20)
    for _ in range(5):
        assert answer(port) == b"a"


def test_a_short_ttl_does_not_make_a_flood(by_name, names, named):
    names.ttl = 0
    names.add("mail.test", "127.0.0.1")
    port = by_name(f"mail.test:{named('a').port}")
    for _ in range(50):
        assert answer(port) == b"a"
    stays(lambda: len(names.questions("mail.test")) <= 8, "at most eight questions", 1)


def test_an_answer_that_is_too_long_for_udp_is_asked_for_by_tcp(by_name, names, named):
    names.add("long.test", "127.0.0.1")
    names.truncated.add("long.test")
    assert answer(by_name(f"long.test:{named('a').port}")) == b"a"
    assert names.by_tcp >= 1


# -- answers that show a part each time; names that cease


def rotating(by_name, names, named, more):
    """A name of two addresses, of which the answers show one now: only the other one serves."""
    second = named("second", host="127.0.0.3")
    names.add("parts.test", "127.0.0.2", "127.0.0.3")
    port = by_name(f"parts.test:{second.port}", more=more)
    assert answer(port) == b"second"
    names.add("parts.test", "127.0.0.2")
    asked = len(names.questions("parts.test"))
    wait_for(lambda: len(names.questions("parts.test")) >= asked + 4, "it is asked again, both families, twice", 20)
    return port


def test_an_address_that_is_missing_in_an_answer_is_used_on(by_name, names, named):
    port = rotating(by_name, names, named, "name-hold 1h")
    for _ in range(5):
        assert answer(port) == b"second"


def test_but_for_so_long_only(by_name, names, named):
    port = rotating(by_name, names, named, "name-hold 2s")
    wait_for(lambda: not serves(port, b"second"), "it is used no more", 20)
    names.add("parts.test", "127.0.0.2", "127.0.0.3")
    wait_for(lambda: serves(port, b"second"), "it is back", 20)


def test_a_name_that_has_ceased_is_kept_for_so_long_only(by_name, names, named):
    names.add("mail.test", "127.0.0.1")
    port = by_name(f"mail.test:{named('a').port}", more="name-keep 3s")
    assert answer(port) == b"a"
    del names.addresses["mail.test"]
    by_name.proxy.wait_log("keeping its last addresses")
    wait_for(lambda: gets_reset(port, timeout=16), "its clients are refused", 30)
    wait_for(lambda: any(r.end == "unresolved" for r in by_name.proxy.records()), "a record that says why")
    by_name.proxy.wait_log("has not existed for 3 s")
    names.add("mail.test", "127.0.0.1")
    wait_for(lambda: serves(port, b"a"), "it is there again", 40)


@pytest.mark.parametrize("how", ["servfail", "silence"])
def test_but_that_nobody_answers_ends_nothing(by_name, names, named, how):
    names.add("mail.test", "127.0.0.1")
    port = by_name(f"mail.test:{named('a').port}", more="name-keep 1ms")
    assert answer(port) == b"a"
    asked = len(names.questions("mail.test"))
    (names.failing if how == "servfail" else names.silent).add("mail.test")
    wait_for(lambda: len(names.questions("mail.test")) >= asked + 4, "it is asked for again", 20)
    for _ in range(5):
        assert answer(port) == b"a"


def test_an_answer_holds_as_long_as_we_say(by_name, names, named):
    names.ttl = 1
    names.add("mail.test", "127.0.0.1")
    port = by_name(f"mail.test:{named('a').port}", more="name-ttl 10m")
    assert answer(port) == b"a"
    asked = len(names.questions("mail.test"))
    stays(lambda: len(names.questions("mail.test")) == asked, "no question", 2.5)


def test_an_answer_of_a_day_is_asked_for_again(by_name, names, named):
    names.ttl = 86400
    names.add("mail.test", "127.0.0.1")
    port = by_name(f"mail.test:{named('a').port}", more="name-ttl 1s 1s")
    assert answer(port) == b"a"
    wait_for(lambda: len(names.questions("mail.test")) >= 6, "it is asked for again, and again", 20)


# -- who asks


def test_names_are_the_checker_s(by_name, names, named):
    names.add("mail.test", "127.0.0.1")
    port = by_name(f"mail.test:{named('a').port}")
    assert answer(port) == b"a"
    checker, = by_name.proxy.role("checker")
    by_name.proxy.expect_deaths()
    os.kill(checker, signal.SIGKILL)
    assert answer(port) == b"a"
    names.ttl = 86400
    asked = len(names.questions("mail.test"))
    wait_for(lambda: by_name.proxy.role("checker") not in ([], [checker]), "another one")
    wait_for(lambda: len(names.questions("mail.test")) > asked, "which asks")
    assert answer(port) == b"a"


def test_where_there_are_none_nobody_is_there_for_them(start, named):
    proxy = start("-b", free_port(), named("a").spelt)
    assert proxy.role("checker") == []


def test_a_reload_brings_the_first_name(start, names, named):
    port, target = free_port(), named("a")
    names.add("mail.test", "127.0.0.1")
    head = f"resolver {names.spelt}\nport {port}\n"
    proxy = start(config=f"{head}server {target.spelt}\n")
    assert proxy.role("checker") == []
    proxy.rewrite(f"{head}server mail.test:{target.port}\n")
    proxy.signal(signal.SIGHUP)
    proxy.wait_log("is in force")
    assert answer(port) == b"a"
    assert len(proxy.role("checker")) == 1
    proxy.rewrite(f"{head}server {target.spelt}\n")
    proxy.signal(signal.SIGHUP)
    wait_for(lambda: proxy.role("checker") == [], "nobody is needed")
    assert answer(port) == b"a"


# -- names of clients


@pytest.fixture
def client_name(start, names):
    def make(*options):
        port = free_port()
        make.proxy = start("-b", port, "-o", f"resolver {names.spelt}", *options,
                           "/usr/bin/printenv PROXY_CLIENTNAME")

        def ask_for(source="127.0.0.9"):
            with connect(port, source=source) as s:
                return read_all(s).decode().strip()
        return ask_for
    return make


def test_a_name_that_resolves_back_is_told(client_name, names):
    names.add_reverse("127.0.0.9", "nine.test")
    names.add("nine.test", "127.0.0.1", "127.0.0.9")
    assert client_name()() == "nine.test"
    assert client_name.proxy.wait_record()["name"] == "nine.test"


def test_an_unknown_client_is_its_address(client_name):
    assert client_name()() == "127.0.0.9"


def test_a_forged_name_is_not_believed(client_name, names):
    names.add_reverse("127.0.0.9", "bank.test")
    names.add("bank.test", "127.0.0.10")
    assert client_name()() == "127.0.0.9"


@pytest.mark.parametrize("name", ["evil name.test", "evil\nname.test", "a=b;rm.test", "-x.test"])
def test_a_name_that_is_no_host_name_is_not_believed(client_name, names, name):
    names.add_reverse("127.0.0.9", name)
    names.add(name, "127.0.0.9")
    assert client_name()() == "127.0.0.9"


def test_with_n_nothing_is_asked(client_name, names):
    names.add_reverse("127.0.0.9", "nine.test")
    names.add("nine.test", "127.0.0.9")
    assert client_name("-n")() == "127.0.0.9"
    assert not names.asked


@pytest.mark.slow
def test_a_slow_answer_is_not_awaited_longer_than_5_s(client_name, names):
    names.silent.add("9.0.0.127.in-addr.arpa")
    ask_for = client_name()
    begin = time.monotonic()
    assert ask_for() == "127.0.0.9"
    assert 3 < time.monotonic() - begin < 6.5


def test_a_slow_answer_harms_nobody_else(client_name, names):
    names.silent.add("9.0.0.127.in-addr.arpa")
    names.add_reverse("127.0.0.8", "eight.test")
    names.add("eight.test", "127.0.0.8")
    ask_for = client_name("-o", "workers 1")
    import threading
    slow = threading.Thread(target=ask_for)
    slow.start()
    begin = time.monotonic()
    for _ in range(5):
        assert ask_for("127.0.0.8") == "eight.test"
    assert time.monotonic() - begin < 2
    slow.join()


# -- the system's files: who is asked, and the hosts file


class Files:
    """/etc/resolv.conf or /etc/hosts as the proxy sees it: a file of the test, in a mount namespace of its own."""

    def __init__(self, directory, path):
        self.here, self.there = directory / os.path.basename(path), path
        self.directory = directory
        self.write("")
        self.wrap = ["unshare", "-m", "--propagation", "private", "sh", "-c",
                     f'mount --bind "$0" {self.there} && exec "$@"', self.here]

    def write(self, text):
        self.directory.write(os.path.basename(self.there), text)

    def works(self):
        return subprocess.run([*self.wrap, "true"], capture_output=True).returncode == 0


@pytest.fixture
def system_file(directory):
    def make(path):
        files = Files(directory, path)
        if not files.works():
            pytest.skip("needs a mount namespace")
        return files
    return make


@pytest.fixture
def two_servers():
    """Two name servers at the usual port, which resolv.conf cannot change."""
    net = f"127.53.{os.getpid() % 250}"
    with NameServer(f"{net}.1", 53) as first, NameServer(f"{net}.2", 53) as second:
        yield first, second


@pytest.fixture
def resolv_conf(system_file, two_servers):
    """A file that names the first of two name servers; ask(n) names another."""
    f = system_file("/etc/resolv.conf")
    f.servers = two_servers
    f.ask = lambda n, more="": f.write(f"nameserver {two_servers[n].address}\n{more}")
    f.ask(0)
    return f


def test_a_changed_resolv_conf_is_noticed(start, resolv_conf, named):
    """As after a start before the network is there. Nobody says so."""
    resolv_conf.servers[1].add("late.test", "127.0.0.1")
    port = free_port()
    proxy = start(config=f"port {port}\nserver late.test:{named('a').port}\n", wrap=resolv_conf.wrap)
    assert gets_reset(port)
    resolv_conf.ask(1)
    wait_for(lambda: serves(port, b"a"), "the other name server is asked", 20)
    line = f"looking up names of servers: /etc/resolv.conf has changed, asking {resolv_conf.servers[1].address}"
    assert proxy.log().count(line) == 1


@pytest.mark.parametrize("how", ["file", "-b"])
def test_at_HUP_all_names_are_asked_again(start, resolv_conf, named, how):
    first = named("first", host="127.0.0.2")
    named("second", host="127.0.0.3", port=first.port)
    for server, address in zip(resolv_conf.servers, ("127.0.0.2", "127.0.0.3")):
        server.ttl = 3600
        server.add("mail.test", address)
    port, target = free_port(), f"mail.test:{first.port}"
    if how == "file":
        proxy = start(config=f"port {port}\nserver {target}\n", wrap=resolv_conf.wrap)
    else:
        proxy = start("-b", port, target, wrap=resolv_conf.wrap)
    wait_for(lambda: serves(port, b"first"), "the first name server's answer")
    resolv_conf.ask(1)
    proxy.signal(signal.SIGHUP)
    wait_for(lambda: serves(port, b"second"), "the second name server's answer")
    asked = len(resolv_conf.servers[1].asked)
    proxy.signal(signal.SIGHUP)  # and if nothing has changed, nobody
    wait_for(lambda: proxy.log().count("reload: ") == 2, "the second reload")
    assert serves(port, b"second") and len(resolv_conf.servers[1].asked) == asked


def test_a_changed_search_list_is_noticed(start, resolv_conf, named):
    resolv_conf.servers[0].add("mail.here.test", "127.0.0.1")
    port = free_port()
    start("-b", port, f"mail:{named('a').port}", wrap=resolv_conf.wrap)
    assert gets_reset(port)
    resolv_conf.ask(0, "search here.test\n")
    wait_for(lambda: serves(port, b"a"), "the search list", 20)


def test_the_names_of_clients_are_asked_of_the_new_one(start, resolv_conf):
    for server, name in zip(resolv_conf.servers, ("one.test", "two.test")):
        server.add_reverse("127.0.0.9", name)
        server.add(name, "127.0.0.9")
    port = free_port()
    start("-b", port, "/usr/bin/printenv PROXY_CLIENTNAME", wrap=resolv_conf.wrap)

    def client_name():
        with connect(port, source="127.0.0.9") as s:
            return read_all(s).decode().strip()
    assert client_name() == "one.test"
    resolv_conf.ask(1)
    assert client_name() == "two.test"


def test_with_a_resolver_of_its_own_the_file_is_not_looked_at(start, resolv_conf, names, named):
    names.add("mail.test", "127.0.0.1")
    port = free_port()
    proxy = start(config=f"resolver {names.spelt}\nport {port}\nserver mail.test:{named('a').port}\n",
                  wrap=resolv_conf.wrap)
    assert answer(port) == b"a"
    resolv_conf.ask(1)
    proxy.signal(signal.SIGHUP)
    proxy.wait_log("in force")
    assert answer(port) == b"a"
    assert not resolv_conf.servers[0].asked and not resolv_conf.servers[1].asked
    assert "resolv.conf" not in proxy.log()


def test_the_hosts_file_is_read_anew(start, system_file, named):
    hosts = system_file("/etc/hosts")
    first, port = named("first", host="127.0.0.2"), free_port()
    named("second", host="127.0.0.3", port=first.port)
    hosts.write("127.0.0.2 mail.test\n")
    start("-b", port, f"mail.test:{first.port}", wrap=hosts.wrap)
    assert answer(port) == b"first"
    hosts.write("127.0.0.3 mail.test\n")
    wait_for(lambda: serves(port, b"second"), "the new line")


def test_a_reload_may_name_other_resolvers(start, names, service):
    """For the names of clients, too."""
    names.add_reverse("127.0.0.9", "nine.test")
    names.add("nine.test", "127.0.0.9")
    port = free_port()
    config = f"resolver {{}}\nport {port}\nserver /usr/bin/printenv PROXY_CLIENTNAME\n"
    with NameServer() as empty:
        proxy = start(config=config.format(empty.spelt))

        def client_name():
            with connect(port, source="127.0.0.9") as s:
                return read_all(s).decode().strip()
        assert client_name() == "127.0.0.9"
        proxy.rewrite(config.format(names.spelt))
        proxy.signal(signal.SIGHUP)
        proxy.wait_log("in force")
        wait_for(lambda: client_name() == "nine.test", "the new name server is asked")
