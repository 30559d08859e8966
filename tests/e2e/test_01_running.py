"""Running it: tcpproxy [options] [server]"""
import fcntl
import os
import pty
import pwd
import re
import signal
import socket
import subprocess
import termios

import pytest

from lib import build, kernel, processes
from lib.kernel import without_ipv6
from lib.page import Page
from lib.peers import ask, connect, refused
from lib.ports import free_port, free_ports, listeners, listening
from lib.waiting import wait_for

HIGH = "192.0.2.77"  # an address for documentation, which no host has


# -- -b: where it listens


def test_b_listens_on_every_address_of_both_families(start, service):
    port = free_port()
    start("-b", port, service().spelt)
    for host in ("127.0.0.1", "127.8.9.10", "::1"):
        assert ask(port, b"hello", host) == b"hello"


def test_at_start_it_says_what_it_listens_on_and_where_that_leads(start, service):
    port, target = free_port(), service()
    proxy = start("-b", port, target.spelt)
    proxy.wait_log(rf"{port}.*{re.escape(target.spelt)}")


def test_b_may_be_given_several_times(start, service):
    first, second = free_port(), free_port()
    start("-b", first, "--bind", second, service().spelt)
    assert ask(first, b"a") == b"a" and ask(second, b"b") == b"b"


def test_b_takes_a_range(start, service):
    first = free_ports(4)
    start("-b", f"{first}-{first + 3}", service().spelt)
    for port in range(first, first + 4):
        assert ask(port, b"hello") == b"hello"


@pytest.mark.parametrize("spelt, served, refusing", [
    ("127.0.0.2:{}", ["127.0.0.2"], ["127.0.0.1", "::1"]),
    ("[::1]:{}", ["::1"], ["127.0.0.1"]),
    ("localhost:{}", ["127.0.0.1"], ["127.0.0.2"]),
    ("*:{}", ["127.0.0.1", "127.0.0.2", "::1"], []),
])
def test_b_takes_an_address_and_other_addresses_refuse(start, service, spelt, served, refusing):
    port = free_port()
    start("-b", spelt.format(port), service().spelt)
    for host in served:
        assert ask(port, b"hello", host) == b"hello"
    for host in refusing:
        assert refused(port, host)


@pytest.mark.parametrize("spelt", ["{}", "*:{}", "localhost:{}", "lo:{}"])
def test_without_ipv6_a_name_means_what_can_be_had_of_it(start, service, spelt):
    port, page = free_port(), free_port()
    proxy = start("-b", spelt.format(port), "-o", f"admin localhost:{page}", service().spelt, preexec_fn=without_ipv6)
    assert ask(port, b"hello") == b"hello"
    assert listeners(port) == ["127.0.0.1" if "lo" in spelt else "0.0.0.0"]
    assert listeners(page) == ["127.0.0.1"]
    if "local" in spelt:
        proxy.wait_log(rf"not listening on port {port} on ::1: this kernel has no IPv6")
        assert f"listening on port {port} on ::1, leading" not in proxy.log()


def test_without_ipv6_what_was_said_in_numbers_must_be_had(directory, service):
    port, other, target = free_port(), free_port(), service()
    for binds in (["-b", f"[::1]:{port}"], ["-b", f"[::2]:{port}", "-b", f"127.0.0.1:{port}"],
                  ["-b", f"[::1]:{port}", "-b", f"127.0.0.1:{other}"]):
        done = directory.run(*binds, target.spelt, preexec_fn=without_ipv6)
        assert done.returncode == 2 and f"cannot listen on [::{binds[1][3]}]:{port}" in done.stderr
        assert not listening(port)


def test_localhost_of_which_nothing_can_be_had_is_an_error(directory, service):
    with socket.socket() as s:
        s.bind(("127.0.0.1", free_port()))
        s.listen()
        port = s.getsockname()[1]
        done = directory.run("-b", f"localhost:{port}", service().spelt, preexec_fn=without_ipv6)
    assert done.returncode == 2 and f"127.0.0.1:{port}: Address already in use" in done.stderr


def test_an_address_that_this_host_does_not_have_yet_is_bound(start, service):
    port = free_port()
    start("-b", f"{HIGH}:{port}", service().spelt)
    assert listeners(port) == [HIGH]


def test_port_names_work_wherever_a_number_does(start, service):
    """gopher is 70, pop3 110."""
    target = service(host="127.77.0.2", port=110)
    start("-b", "127.77.0.1:gopher", "127.77.0.2:pop3")
    wait_for(lambda: listening(70), "port 70")
    assert ask(70, b"hello", "127.77.0.1") == b"hello"
    assert target.served == 1


@pytest.mark.parametrize("target, host", [("127.0.0.2", "127.0.0.2"), ("[::1]", "::1")])
def test_without_a_port_the_server_has_the_one_the_client_came_in_on(start, service, target, host):
    port = free_port()
    service(kind="tcp6" if ":" in host else "tcp4", host=host, port=port)
    start("-b", f"127.0.0.1:{port}", target)
    assert ask(port, b"hello") == b"hello"


def test_each_port_of_a_range_leads_to_its_own(start, service):
    first = free_ports(2)
    for port in (first, first + 1):
        service(lambda s, p=port: s.sendall(str(p).encode()), host="127.0.0.2", port=port)
    start("-b", f"127.0.0.1:{first}-{first + 1}", "127.0.0.2")
    assert ask(first) == str(first).encode() and ask(first + 1) == str(first + 1).encode()


def test_servers_of_three_kinds(start, service, kind):
    port = free_port()
    start("-b", port, service(kind=kind).spelt)
    assert ask(port, b"hello") == b"hello"


def test_o_gives_a_directive_to_what_b_opened(start, service):
    port = free_port()
    proxy = start("-b", port, "-o", "deny 127.0.0.7", "-o", "max-connections 1000", service().spelt)
    assert ask(port, b"hello") == b"hello"
    with pytest.raises(ConnectionResetError):
        with connect(port, source="127.0.0.7") as s:
            s.recv(1)
    assert {r.end for r in proxy.wait_records(2)} == {"client-fin", "denied"}


def test_a_source_address_towards_the_server(start, service):
    port = free_port()
    start("-b", port, "-q", "127.0.0.44", service(lambda s: s.sendall(s.getpeername()[0].encode())).spelt)
    assert ask(port) == b"127.0.0.44"


# -- nothing is half started


def test_either_every_port_is_bound_or_none_is_served(directory, service, server):
    free, taken = free_port(), server()
    run = directory.run("-b", free, "-b", taken.port, service().spelt)
    assert run.returncode == 2
    assert str(taken.port) in run.stderr and run.stderr.startswith("tcpproxy: ")
    assert refused(free)


def test_a_port_that_another_tcpproxy_serves_is_in_use(start, service, directory):
    port = free_port()
    start("-b", port, service().spelt)
    run = directory.run("-b", port, service().spelt)
    assert run.returncode == 2 and str(port) in run.stderr
    assert ask(port, b"hello") == b"hello"


def test_started_again_on_the_same_port_at_once(start, service):
    port, target = free_port(), service()
    for _ in range(5):
        proxy = start("-b", port, target.spelt)
        assert ask(port, b"hello") == b"hello"
        proxy.stop()


# -- exit codes and messages


def fails(run, code, *words):
    assert run.returncode == code, run
    lines = run.stderr.splitlines()
    assert lines and all(line.startswith("tcpproxy: ") for line in lines), run.stderr
    for word in words:
        assert str(word) in run.stderr, run.stderr
    return run.stderr


@pytest.mark.parametrize("argv, words", [
    (["--no-such-option"], ["no-such-option"]),
    (["-b", "8080"], ["server"]),
    (["-b", "70000", "127.0.0.1:1"], ["70000"]),
    (["-b", "no-such-port-name", "127.0.0.1:1"], ["no-such-port-name"]),
    (["-b", "8080", "127.0.0.1:99999"], ["99999"]),
    (["-f", "/no/such/file"], ["/no/such/file"]),
    (["-b", "8080", "127.0.0.1:1", "127.0.0.1:2"], []),
    (["-b", "8080", "-o", "no-such-directive", "127.0.0.1:1"], ["no-such-directive"]),
])
def test_bad_usage_and_bad_configuration_exit_1(directory, argv, words):
    fails(directory.run(*argv), 1, *words)


@pytest.mark.parametrize("argv, word", [
    (["-u", "no-such-user"], "no-such-user"),
    (["-g", "no-such-group"], "no-such-group"),
    (["-p", "/no/such/directory/pid"], "/no/such/directory/pid"),
])
def test_what_could_not_be_started_exits_2_and_names_it(directory, argv, word):
    port = free_port()
    fails(directory.run("-b", port, *argv, "127.0.0.1:1"), 2, word)
    assert refused(port)


def test_an_error_of_a_file_names_its_line_and_column(directory):
    path = directory.write("bad.conf", "port 8080\n  servr 127.0.0.1:1\n")
    fails(directory.run("-f", path), 1, f"tcpproxy: {path}:2:3: ", "server")


def test_messages_begin_with_tcpproxy_whatever_it_was_called_as(directory):
    os.symlink(directory.program, directory / "other")
    run = subprocess.run([directory / "other", "-b", "8080"], capture_output=True, text=True, timeout=5)
    fails(run, 1)


@pytest.mark.parametrize("argv", [
    ["-c", "-f", "FILE"],
    ["-f", "FILE", "127.0.0.1:80"],
    ["-l", "8080", "127.0.0.1:80"],
    ["-b", "8080", "-p", "1234", "127.0.0.1:80"],
    ["-b", "8080", "9090"],
    ["9090"],
    ["-b", "8080", "-w", "5", "127.0.0.1:80"],
    ["-b", "8080", "127.0.0.1:80", "-t"],
    ["-b", "8080", "127.0.0.1:80", "-v"],
    ["-b", "8080", "-D", "-l", "stderr", "127.0.0.1:80"],
], ids=" ".join)
def test_habits_of_other_programs_are_caught_not_obeyed(directory, argv):
    path = directory.write("some.conf", "port 8080\nserver 127.0.0.1:1\n")
    message = fails(directory.run(*[path if a == "FILE" else a for a in argv], stdin=subprocess.DEVNULL), 1)
    assert len(message) > len("tcpproxy: ") + 20, "names what was probably meant"


@pytest.mark.parametrize("option", ["-t", "-v"])
def test_an_option_that_took_the_server_for_its_value_is_named(directory, option):
    assert f"{option} needs a value" in fails(directory.run("-b", "8080", option, "127.0.0.1:80"), 1)


def test_version_and_help_go_to_stdout(directory):
    version = directory.run("-V")
    assert version.returncode == 0 and re.match(r"tcpproxy \d+\.\d+", version.stdout) and not version.stderr
    assert directory.run("--version").stdout == version.stdout
    usage = directory.run("--help")
    assert usage.returncode == 0 and usage.stdout == directory.run("-h").stdout
    for option in ("bind config list-ports wait acp option pidfile user group timeout prefix source numeric log daemon "
                   "check explain version help").split():
        assert f"--{option}" in usage.stdout


# -- whom it runs as


def identities(proxy):
    ids = []
    for pid in proxy.pids():
        status = processes.status(pid)
        ids.append((status["Uid"].split(), status["Gid"].split(), status["Groups"].split()))
    return ids


def test_started_by_root_it_serves_as_nobody(start, service):
    port = free_port()
    proxy = start("-b", port, service().spelt)
    assert ask(port, b"hello") == b"hello"
    nobody = pwd.getpwnam("nobody")
    for uids, gids, groups in identities(proxy):
        assert set(uids) == {str(nobody.pw_uid)} and set(gids) == {str(nobody.pw_gid)}
        assert set(groups) <= {str(nobody.pw_gid)}, "no group of root's is kept"


@pytest.mark.parametrize("argv, user, group", [
    (["-u", "daemon"], "daemon", "daemon"),
    (["-u", "daemon:mail"], "daemon", "mail"),
    (["-u", "daemon", "-g", "mail"], "daemon", "mail"),
])
def test_user_and_group_may_be_named(start, service, argv, user, group):
    import grp
    proxy = start("-b", free_port(), *argv, service().spelt)
    for uids, gids, _ in identities(proxy):
        assert set(uids) == {str(pwd.getpwnam(user).pw_uid)} and set(gids) == {str(grp.getgrnam(group).gr_gid)}


@pytest.mark.parametrize("name", ["root", "0"])
def test_it_never_serves_as_root_not_even_when_told(directory, start, service, name):
    port = free_port()
    proxy = start("-b", port, "-u", name, service().spelt, wait=False)
    wait_for(lambda: proxy.process.poll() is not None or listening(port), "an end or a start")
    if proxy.process.poll() is None:
        proxy.wait_whole()
    for uids, gids, _ in identities(proxy):
        assert "0" not in uids
    if proxy.process.poll() is not None:
        assert proxy.process.returncode in (1, 2) and "root" in proxy.log()


def capabilities(pid):
    status = processes.status(pid)
    return {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")}


@pytest.mark.parametrize("upgrades", [0, 1])
def test_workers_have_no_capability(start, service, upgrades):
    """Keepers may not use the one that protects them when they are executed (docs/privileges.md)."""
    proxy = start("-b", free_port(), service().spelt)
    for _ in range(upgrades):
        proxy.expect_deaths()
        proxy.signal(signal.SIGUSR2)
        proxy.wait_log("upgrade: done")
        proxy.wait_whole()
    none = dict.fromkeys(("CapEff", "CapPrm", "CapInh", "CapAmb"), 0)
    for pid in [*proxy.workers(), *proxy.role("spawner")]:
        assert capabilities(pid) == none
    for pid in [*proxy.keepers(), *proxy.role("supervisor")]:
        assert capabilities(pid) == none | {"CapPrm": 1 << 10}
    for pid in [*proxy.workers(), *proxy.keepers()]:
        assert processes.status(pid)["NoNewPrivs"] == "1"


def test_started_by_another_user_it_serves_as_that(start, service):
    port = free_port()
    proxy = start("-b", port, service().spelt, wrap=["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups"])
    assert ask(port, b"hello") == b"hello"
    assert all(set(uids) == {str(pwd.getpwnam("daemon").pw_uid)} for uids, _, _ in identities(proxy))


def test_a_privileged_port_is_bound_before_root_is_given_up(start, service):
    start("-b", "127.77.0.3:79", service().spelt)
    assert ask(79, b"hello", "127.77.0.3") == b"hello"


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_the_pidfile_is_written_as_root_and_removed_at_exit(start, service, directory):
    """In a directory where only root may write or even look."""
    os.mkdir(directory / "private", 0o700)
    path = directory / "private/tcpproxy.pid"
    proxy = start("-b", free_port(), "-p", path, service().spelt)
    with open(path) as f:
        assert f.read() == f"{proxy.pid}\n"
    proxy.stop()
    assert not os.path.exists(path)


def test_a_second_start_does_not_take_the_pidfile_of_the_first(start, service, directory):
    port, path = free_port(), directory / "tcpproxy.pid"
    proxy = start("-b", port, "-p", path, service().spelt)
    assert directory.run("-b", port, "-p", path, service().spelt).returncode == 2
    with open(path) as f:
        assert f.read() == f"{proxy.pid}\n"


# -- processes


def test_each_process_shows_what_it_is(start, service):
    proxy = start("-b", free_port(), "-o", "workers 2", service().spelt)
    counts = {title: len(pids) for title, pids in proxy.wait_whole().items()}
    assert counts == {"tcpproxy: supervisor": 1, "tcpproxy: spawner": 1, "tcpproxy: worker 0": 1,
                      "tcpproxy: keeper 0": 2, "tcpproxy: worker 1": 1, "tcpproxy: keeper 1": 2}
    assert proxy.role("supervisor") == [proxy.pid]


def test_one_trio_for_each_core(start, service):
    proxy = start("-b", free_port(), service().spelt)
    assert len(proxy.workers()) == len(os.sched_getaffinity(0))


def test_the_limit_of_descriptors_is_raised(start, service):
    proxy = start("-b", free_port(), service().spelt, wrap=["prlimit", "--nofile=256:4096"])
    for pid in proxy.workers():
        with open(f"/proc/{pid}/limits") as f:
            assert re.search(r"Max open files\s+4096\s+4096", f.read())


def test_nothing_that_was_open_at_start_stays_open(start, service):
    """A stray descriptor of the caller's would keep files and pipes alive."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    proxy = start("-b", free_port(), service().spelt, pass_fds=[writer])
    pipe = os.readlink(f"/proc/self/fd/{writer}")
    for pid in [*proxy.workers(), *proxy.keepers(), *proxy.role("spawner")]:
        assert pipe not in processes.descriptors(pid).values()
    os.close(reader)
    os.close(writer)


# -- -D: in the background


@pytest.fixture
def daemon(directory):
    """Starts with -D; the background process is ended after the test."""
    path = directory / "daemon.pid"

    def run(*argv):
        done = directory.run("-D", "-p", path, "-l", f"file:{directory / 'daemon.log'}", *argv)
        if done.returncode:
            return done, None
        with open(path) as f:
            return done, int(f.read())
    yield run
    for pid in processes.running(directory.program):
        try:
            if processes.title(pid) == "tcpproxy: supervisor":
                os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
    wait_for(lambda: not processes.running(directory.program), "no process left")


def test_with_D_it_returns_once_every_port_is_bound(daemon, service):
    port = free_port()
    run, pid = daemon("-b", port, service().spelt)  # returns only when its output has been closed by all
    assert run.returncode == 0
    assert ask(port, b"hello") == b"hello"
    assert os.getsid(pid) != os.getsid(0)
    for fd in (0, 1, 2):
        assert processes.descriptors(pid).get(fd, "/dev/null") == "/dev/null"


def test_a_terminal_has_the_supervisor_only(start, service, directory):
    """Whoever takes over one of the others can neither type into it nor be told anything by it."""
    leader, follower = pty.openpty()

    def have_terminal():
        os.setsid()
        fcntl.ioctl(follower, termios.TIOCSCTTY, 0)
    page = ["-o", Page().option] if build.has_page() else []
    proxy = start("-b", free_port(), "--dump=" + (directory / "dump.pcapng"), *page, service().spelt, wait=False,
                  preexec_fn=have_terminal, pass_fds=[follower])
    os.close(follower)
    roles = {"supervisor", "spawner", "dump", *(["admin"] if page else []),
             *(f"{role} {i}" for i in range(proxy.trios) for role in ("worker", "keeper"))}
    wait_for(lambda: roles <= {title.removeprefix("tcpproxy: ") for title in proxy.tree()}, f"all of {roles}")

    def with_terminal():
        return [title for title, pids in proxy.tree().items() for pid in pids if processes.terminal(pid)]
    wait_for(lambda: with_terminal() == ["tcpproxy: supervisor"], f"one that has it, not {with_terminal()}")
    sessions = {title: {os.getsid(pid) for pid in pids} for title, pids in proxy.tree().items()}
    assert all(len(s) == 1 for s in sessions.values()), "a session for each"
    os.write(leader, b"\x03")  # Ctrl-C
    assert proxy.wait_exit() == 0
    proxy.wait_gone()
    os.close(leader)


def test_with_D_an_error_is_told_by_the_foreground_process(daemon, server):
    taken = server()
    run, pid = daemon("-b", taken.port, "127.0.0.1:1")
    assert run.returncode == 2 and str(taken.port) in run.stderr and pid is None


@pytest.mark.skipif(not kernel.has_landlock(), reason=kernel.NO_FILES)
def test_with_D_TERM_ends_it_and_the_pidfile_goes(daemon, service, directory):
    _, pid = daemon("-b", free_port(), service().spelt)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not processes.running(directory.program), "no process left")
    assert not os.path.exists(directory / "daemon.pid")
