"""HUP reads the configuration again."""
import concurrent.futures
import os
import re
import resource
import signal
import threading
import time

import pytest

from lib import build, kernel, processes
from lib.peers import answer, ask, connect, gets_reset, read_all, read_exactly, refused, talk
from lib.ports import free_port, listening
from lib.waiting import wait_for


@pytest.fixture
def named(service):
    def make(text, **more):
        return service(lambda s: s.sendall(text.encode()), **more).spelt
    return make


def reload(proxy, config):
    """A new file, and HUP."""
    proxy.rewrite(config)
    proxy.signal(signal.SIGHUP)


def wait_answer(port, text, host="127.0.0.1"):
    def it_is():
        try:
            return ask(port, host=host) == text
        except OSError:
            return False
    wait_for(it_is, f"{text} from port {port}")


def test_a_port_is_added(start, named):
    old, new = free_port(), free_port()
    proxy = start(config=f"port {old}\nserver {named('old')}\n")
    reload(proxy, f"port {old}\nserver {named('old')}\nport {new}\nserver {named('new')}\n")
    wait_answer(new, b"new")
    assert answer(old) == b"old"


def test_HUP_during_the_start_is_heard_after_it(start, named, directory):
    """Whoever sees the port open may ask for a reload: a slow pidfile keeps the start waiting behind it."""
    old, new = free_port(), free_port()
    os.mkfifo(directory / "pid")
    proxy = start(config=f"pidfile {directory / 'pid'}\nport {old}\nserver {named('old')}\n", wait=False)
    wait_for(lambda: listening(old), "the port is open")
    proxy.rewrite(f"pidfile {directory / 'pid'}\nport {old}\nserver {named('old')}\nport {new}\n"
                  f"server {named('new')}\n")
    proxy.signal(signal.SIGHUP)
    with open(directory / "pid") as f:
        assert f.read() == f"{proxy.pid}\n"
    wait_answer(new, b"new")
    assert answer(old) == b"old"


def test_a_port_is_removed(start, named):
    kept, gone = free_port(), free_port()
    proxy = start(config=f"port {kept}\nserver {named('kept')}\nport {gone}\nserver {named('gone')}\n")
    reload(proxy, f"port {kept}\nserver {named('kept')}\n")
    wait_for(lambda: refused(gone), "the removed port refuses")
    assert answer(kept) == b"kept"


def test_the_server_of_a_port_is_changed(start, named):
    port = free_port()
    proxy = start(config=f"port {port}\nserver {named('one')}\n")
    assert answer(port) == b"one"
    reload(proxy, f"port {port}\nserver {named('two')}\n")
    wait_answer(port, b"two")


def test_a_port_that_was_removed_a_moment_ago_is_added_again(start, named):
    """No worker has closed its socket yet: that must not keep anybody from the port."""
    stays, comes = free_port(), free_port()
    without = f"workers 2\nport {stays}\nserver {named('stays')}\n"
    proxy = start(config=f"{without}port {comes}\nserver {named('before')}\n")
    workers = proxy.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    for i, text in enumerate((without, f"{without}port {comes}\nserver {named('after')}\n")):
        reload(proxy, text)
        wait_for(lambda: proxy.log().count("holds, but not yet for worker 0, worker 1") == 1 + i, "reloaded")
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    wait_answer(comes, b"after")
    for _ in range(10):
        assert answer(comes) == b"after" and answer(stays) == b"stays"


def test_an_interface_section_is_added_and_removed(start, named):
    port, any_, five = free_port(), named("any"), named("five")
    with_five = f"port {port}\nserver {any_}\ninterface 127.0.0.5\nserver {five}\n"
    proxy = start(config=f"port {port}\nserver {any_}\n")
    reload(proxy, with_five)
    wait_answer(port, b"five", "127.0.0.5")
    assert answer(port) == b"any"
    reload(proxy, f"port {port}\nserver {any_}\n")
    wait_answer(port, b"any", "127.0.0.5")


def test_from_the_wildcard_to_one_address_and_back(start, named):
    port, me = free_port(), named("me")
    proxy = start(config=f"port {port}\nserver {me}\n")
    reload(proxy, f"port {port}\ninterface 127.0.0.5\nserver {me}\n")
    wait_for(lambda: refused(port, "127.0.0.6"), "the other addresses refuse")
    wait_answer(port, b"me", "127.0.0.5")
    reload(proxy, f"port {port}\nserver {me}\n")
    wait_answer(port, b"me", "127.0.0.6")
    assert answer(port, "127.0.0.5") == b"me"


def test_a_privileged_port_is_added_after_root_is_gone(start, named):
    port = free_port()
    proxy = start(config=f"port {port}\nserver {named('x')}\nport 107\ninterface 127.77.0.5\nserver {named('y')}\n")
    reload(proxy, f"port {port}\nserver {named('x')}\nport 107 105\ninterface 127.77.0.5\nserver {named('y')}\n")
    wait_answer(105, b"y", "127.77.0.5")


def test_established_connections_go_on(start, service, named):
    port, gone = free_port(), free_port()
    target = service()
    proxy = start(config=f"port {port}\nserver {target.spelt}\nport {gone}\nserver {target.spelt}\n")
    clients = [connect(port), connect(gone)]
    for c in clients:
        c.sendall(b"a")
        assert read_exactly(c, 1) == b"a"
    reload(proxy, f"port {port}\nserver {named('new')}\n")
    wait_answer(port, b"new")
    for c in clients:
        c.sendall(b"b")
        assert read_exactly(c, 1) == b"b"
        c.close()


def test_access_rules_and_lists_are_read_again(start, service, directory):
    port, target = free_port(), service()
    directory.write("foes", "127.0.0.9\n")
    text = f"port {port}\nserver {target.spelt}\ndeny file:foes\n"
    proxy = start(config=text)
    assert ask(port, b"x") == b"x"
    directory.write("foes", "127.0.0.1\n")
    proxy.signal(signal.SIGHUP)

    def denied():
        try:
            return ask(port, b"x") != b"x"
        except OSError:
            return True
    wait_for(denied, "the new list to hold")


@pytest.mark.parametrize("bad, place", [
    ("port {port}\nserver {target}\nbogus\n", ":3:1: "),
    ("", ""),
    ("port {port}\nserver {target}\ninclude gone.conf\n", ":3:9: "),
])
def test_a_bad_file_changes_nothing_and_says_why(start, named, bad, place):
    port, target = free_port(), named("old")
    proxy = start(config=f"port {port}\nserver {target}\n")
    reload(proxy, bad.format(port=port, target=named("new")))
    proxy.wait_log(f"{proxy.config_path}{place}")
    assert answer(port) == b"old"


def test_a_missing_file_changes_nothing(start, named):
    port = free_port()
    proxy = start(config=f"port {port}\nserver {named('old')}\n")
    os.unlink(proxy.config_path)
    proxy.signal(signal.SIGHUP)
    proxy.wait_log(f"{proxy.config_path}")
    assert answer(port) == b"old"


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_a_private_file_is_read_again_without_root(start, named, directory):
    port = free_port()
    os.mkdir(directory / "private", 0o700)
    path = directory.write("private/tcpproxy.conf", f"port {port}\nserver {named('old')}\n", 0o600)
    proxy = start("-f", path, wait=False)
    wait_for(lambda: listening(port), "the port")
    proxy.born = proxy.wait_whole()
    directory.write("private/tcpproxy.conf", f"port {port}\nserver {named('new')}\n", 0o600)
    proxy.signal(signal.SIGHUP)
    wait_answer(port, b"new")


def test_a_port_in_use_changes_nothing_and_is_named(start, named, server):
    port, other, taken = free_port(), free_port(), server()
    proxy = start(config=f"port {port}\nserver {named('old')}\n")
    reload(proxy, f"port {port}\nserver {named('new')}\nport {other}\nserver {named('x')}\n"
                  f"port {taken.port}\nserver {named('y')}\n")
    proxy.wait_log(f"{taken.port}")
    assert answer(port) == b"old" and refused(other)


ALL, BESIDE = "port {port}\nserver {me}\n", "port {other}\nserver {me}\n"
ONE = "port {port}\ninterface 127.0.0.5\nserver {me}\n"


@pytest.mark.parametrize("hosts, texts, times", [
    (["127.0.0.1", "127.0.0.5", "::1"], [ALL, ALL + BESIDE, ALL + "interface 127.0.0.5\nserver {me}\n"], 20),
    (["127.0.0.5"], [ALL, ONE], 200),
], ids=["the ports beside it", "all addresses and one"])
def test_no_client_is_refused_during_reloads(start, named, hosts, texts, times):
    """A loop of connects while one HUP follows the other, and what is listened on beside it comes and goes."""
    port, other, me = free_port(), free_port(), named("me")
    texts = [text.format(port=port, other=other, me=me) for text in texts]
    proxy = start(config=texts[0])
    failures, stop, served = [], threading.Event(), [0]

    def loop(host):
        while not stop.is_set():
            try:
                if answer(port, host) != b"me":
                    failures.append("no answer")
                served[0] += 1
            except OSError as e:
                failures.append(repr(e))
    threads = [threading.Thread(target=loop, args=(host,)) for host in hosts for _ in range(2)]
    for t in threads:
        t.start()
    end = time.monotonic() + 5  # a busy machine does not come so far
    for i in range(times):
        if time.monotonic() > end:
            break
        seen = served[0]
        reload(proxy, texts[i % len(texts)])
        wait_for(lambda: served[0] > seen + 5 or failures, "some more clients")
    stop.set()
    for t in threads:
        t.join()
    assert not failures, failures[:5]


def test_what_takes_effect_at_the_next_start_only_is_said(start, named, directory):
    port = free_port()
    base = f"port {port}\nserver {named('me')}\n"
    proxy = start(config=f"workers 1\n{base}")
    tree = proxy.tree()
    reload(proxy, f"workers 2\nuser daemon\npidfile {directory / 'pid'}\n{base}")
    for word in ("workers", "user", "pidfile"):
        proxy.wait_log(rf"{word}.*next start")
    assert proxy.tree() == tree


def test_HUP_without_a_file_changes_nothing(start, named):
    port = free_port()
    proxy = start("-b", port, named("me"))
    before = len(proxy.log())
    proxy.signal(signal.SIGHUP)
    wait_for(lambda: len(proxy.log()) > before, "a word about it")
    assert answer(port) == b"me"


def test_handlers_survive(start, directory):
    port = free_port()
    handler = directory.script("handler", "echo here; read x; echo still here $x")
    proxy = start(config=f"port {port}\nexec {handler}\n")
    with connect(port) as s:
        assert read_exactly(s, 5) == b"here\n"
        reload(proxy, f"port {port}\nexec /bin/echo new\n")
        wait_answer(port, b"new\n")
        s.sendall(b"me\n")
        assert read_all(s) == b"still here me\n"


def test_many_reloads_leak_nothing(start, named):
    port, other, me = free_port(), free_port(), named("me")
    texts = [f"port {port}\nserver {me}\nport {other}\nserver {me}\n", f"port {port}\nserver {me}\n"]
    proxy = start(config=texts[0])

    def cycle(n):
        for _ in range(n):
            reload(proxy, texts[1])
            wait_for(lambda: refused(other), "the port goes")
            reload(proxy, texts[0])
            wait_answer(other, b"me")

    def count(pid):  # workers keep some pipes, one more, another fewer
        return sum(1 for what in processes.descriptors(pid).values() if not what.startswith("pipe:"))

    def descriptors():
        return {pid: count(pid) for pid in proxy.pids()}
    cycle(5)
    wait_answer(port, b"me")
    # one of the workers may not have heard of the last reload yet: then it has fewer than the other
    wait_for(lambda: len({count(pid) for pid in proxy.workers()}) == 1, "all have the same")
    before = descriptors()
    cycle(15)
    wait_for(lambda: all(n <= before[pid] + 1 for pid, n in descriptors().items()),
             f"no more descriptors than {before}: {descriptors()}")


# ---- the first server "unix:PATH": the filter of a worker forbids these sockets if there is none, and stays for good

@pytest.fixture
def before_unix(start, service, named):
    """A proxy that has no such server yet, and the configuration that has one, of a port of its own."""
    old, new = free_port(), free_port()
    text = f"workers 2\nport {old}\nserver {service().spelt}\n"
    proxy = start(config=text)
    proxy.old, proxy.new, proxy.text = old, new, text
    proxy.with_unix = f"{text}port {new}\nserver {named('unix', kind='unix')}\n"
    return proxy


GIVES_WAY = r"worker \d: it may not connect to such servers"


@pytest.mark.skipif(not build.has_filter(), reason="this build has no filter of system calls")
def test_the_first_unix_server_is_for_other_workers(before_unix):
    """Each is followed by one that may connect to it: no connection notices, and no death is told of."""
    proxy = before_unix
    clients = [connect(proxy.old) for _ in range(40)]
    for c in clients:
        talk(c)
    workers, keepers = proxy.workers(), proxy.keepers()
    reload(proxy, proxy.with_unix)
    wait_answer(proxy.new, b"unix")
    wait_for(lambda: not set(workers) & set(proxy.workers()) and proxy.whole(), "other workers")
    for c in clients:
        talk(c)
    for _ in range(20):
        assert ask(proxy.new) == b"unix" and ask(proxy.old, b"x") == b"x"
    wait_for(lambda: len(re.findall(GIVES_WAY, proxy.log())) == 2, "both have said why")
    assert proxy.keepers() == keepers
    assert not re.search("died|killed|error", proxy.log())
    # and from now on they are the right ones
    proxy.born = proxy.wait_whole()
    for i, text in enumerate((proxy.text, proxy.with_unix)):
        reload(proxy, text)
        wait_for(lambda: proxy.log().count("is in force") == 2 + i, "reloaded")
    wait_answer(proxy.new, b"unix")
    for c in clients:
        talk(c)
        c.close()
    assert {r.end for r in proxy.wait_records(40 + 20)} <= {"client-fin", "server-fin"}


@pytest.mark.skipif(not build.has_filter(), reason="this build has no filter of system calls")
def test_one_worker_goes_after_the_other_and_nobody_waits_for_ever(before_unix):
    proxy = before_unix
    first, second = (proxy.role(f"worker {i}")[0] for i in range(2))
    with connect(proxy.old) as client:  # whoever has it, the other one waits for its turn
        os.kill(first, signal.SIGSTOP)
        reload(proxy, proxy.with_unix)
        wait_for(lambda: proxy.role("worker 1") not in ([second], []), "the second goes on, after a while")
        assert proxy.role("worker 0") == [first]
        os.kill(first, signal.SIGCONT)
        wait_for(lambda: proxy.role("worker 0") not in ([first], []), "so does the first")
        talk(client)
    wait_answer(proxy.new, b"unix")
    proxy.born = proxy.wait_whole()


@pytest.mark.skipif(not build.has_filter(), reason="this build has no filter of system calls")
def test_whose_keepers_descend_from_a_worker_says_that_it_cannot(start, service, named):
    old, new = free_port(), free_port()
    text = f"workers 1\nport {old}\nserver {service().spelt}\n"
    proxy = start(config=text)
    proxy.expect_deaths()
    keepers = proxy.keepers()
    for sig in (signal.SIGSTOP, signal.SIGKILL):  # at once: neither replaces the other
        for pid in keepers:
            os.kill(pid, sig)
    wait_for(lambda: not set(keepers) & set(proxy.keepers()) and proxy.whole(), "other keepers")
    worker = proxy.workers()
    reload(proxy, f"{text}port {new}\nserver {named('unix', kind='unix')}\n")
    proxy.wait_log("worker 0 cannot connect to such servers .unix:PATH.: both its keepers had died at once")
    wait_for(lambda: gets_reset(new), "the new port is served, as far as it can be")
    assert ask(old, b"x") == b"x"
    assert proxy.workers() == worker


# -- a worker that does not read: nobody waits for it, and it goes by the latest when it goes on

@pytest.fixture
def two_workers(start, named, admin):
    """One of two workers is stopped, and has not been told to serve `changed` instead of `first`."""
    port = free_port()

    def text(name, *more):
        return "".join([f"{admin.line}workers 2\nport {port}\nserver {named(name)}\n", *more])
    proxy = start(config=text("first"))
    proxy.port, proxy.text = port, text
    proxy.stopped = proxy.role("worker 0")[0]
    os.kill(proxy.stopped, signal.SIGSTOP)
    yield proxy
    proxy.born = proxy.wait_whole()


def answers_of(port, n=40):
    """Both workers are asked."""
    return {ask(port) for _ in range(n)}


def test_in_force_is_said_when_all_have_it_or_who_has_not(two_workers, admin):
    proxy = two_workers
    proxy.rewrite(proxy.text("changed"))
    begin = time.monotonic()
    said = admin.refused("reload")
    assert 1.5 < time.monotonic() - begin < 5
    assert "holds, but not yet for worker 0: no answer (stopped?)" in said and "in force" not in said
    os.kill(proxy.stopped, signal.SIGCONT)
    proxy.wait_log("worker 0 goes by the configuration that is in force now")
    assert answers_of(proxy.port) == {b"changed"}
    assert admin.ask("reload").endswith(" is in force\n")


def test_what_it_was_told_waits_in_no_socket_that_is_full(two_workers, named, admin):
    """As many requests as fill it; no reload is lost. Ports come and go meanwhile."""
    proxy, ports = two_workers, [free_port() for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        list(pool.map(lambda _: admin.ask("connections"), range(300)))
    for i, port in enumerate(ports):
        proxy.rewrite(proxy.text("changed", f"port {port}\nserver {named(f'port {i}')}\n"))
        assert "not yet for worker 0" in admin.refused("reload")
    os.kill(proxy.stopped, signal.SIGCONT)
    proxy.wait_log("worker 0 goes by the configuration that is in force now")
    assert answers_of(proxy.port) == {b"changed"}
    assert answers_of(ports[-1]) == {b"port 1"}
    assert all(refused(port) for port in ports[:-1])


def test_ten_thousand_ports_for_one_that_is_stopped(start, named, admin):
    """More than its socket takes."""
    first = free_port()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 20000:
        pytest.skip("so many ports need as many descriptors")
    lines = f"{admin.line}workers 2\nport {first}\nserver {named('first')}\n"
    proxy = start(config=lines)
    stopped = proxy.role("worker 0")[0]
    os.kill(stopped, signal.SIGSTOP)
    server, base = named("many"), 40000
    host = f"127.77.{first >> 8}.{first & 255}"  # nobody else's: the port is ours alone
    proxy.rewrite(f"{lines}port {base}-{base + 9999}\ninterface {host}\nserver {server}\n")
    assert "not yet for worker 0" in admin.refused("reload")
    os.kill(stopped, signal.SIGCONT)
    proxy.wait_log("worker 0 goes by the configuration that is in force now", timeout=20)
    assert {ask(port, host=host) for port in range(base, base + 10000, 500)} == {b"many"}
    proxy.rewrite(lines)
    admin.run("reload")  # "not yet" where closing so many takes its time
    wait_for(lambda: refused(base, host) and refused(base + 9999, host), "they are gone")
    proxy.born = proxy.wait_whole()
