"""Looking at the bytes of connections: tcpproxyctl tap, and --dump."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import pytest

from lib import pcapng, processes
from lib.admin import CTL
from lib.peers import MIB, ask, connect, data, kill_connection, read_exactly
from lib.ports import free_port
from lib.waiting import PATIENCE, stays, wait_for


@pytest.fixture
def echo(start, service, admin):
    """echo(kind): a port in front of an echo."""
    def make(kind="tcp4", *options):
        echo.port, echo.server = free_port(), service(kind=kind)
        echo.proxy = start("-b", echo.port, "-o", admin.option, *options, echo.server.spelt)
        return echo.port
    echo = make
    return make


class Tap:
    """A running `tcpproxyctl tap`."""

    def __init__(self, admin, *words, file=None):
        self.path = file
        self.words = [CTL, "-s", admin.path, "tap", *map(str, words)] + (["-w", file] if file else [])
        self.stdout = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.words, stdout=self.stdout, stderr=subprocess.PIPE)

    def octets(self):
        with open(self.path, "rb") as f:
            return f.read()

    def streams(self):
        return pcapng.streams(self.octets())

    def printed(self):
        """What went to its standard output so far."""
        return os.pread(self.stdout.fileno(), 1 << 20, 0)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=10)
        assert (self.process.returncode, err) == (0, b"")


@pytest.fixture
def tap(admin, tmp_path):
    """tap(word...): a tap that is in force, into a file."""
    made = []

    def make(*words, file=True, ready=True):
        t = Tap(admin, *words, file=str(tmp_path / f"{len(made)}.pcapng") if file is True else file)
        made.append(t)
        if ready:
            wait_for(lambda: "looks at connections" in admin_log(admin), "the tap")
        return t

    def admin_log(_):
        return make.proxy.log()
    yield make
    for t in made:
        if t.process.poll() is None:
            t.process.kill()
            t.process.communicate()
        t.stdout.close()


def talk(s, octets):
    s.sendall(octets)
    assert read_exactly(s, len(octets)) == octets


def both(s, port):
    client = s.getsockname()
    return (client, ("127.0.0.1", port)), (("127.0.0.1", port), client)


# -- of one connection, from now on

@pytest.mark.parametrize("kind", ["tcp4", "unix"])
def test_a_tap_holds_the_later_bytes_of_that_connection_only(echo, admin, tap, kind):
    port = echo(kind)
    tap.proxy = echo.proxy
    with connect(port) as one, connect(port) as other:
        talk(one, b"before")
        talk(other, b"before")
        (c,) = admin.wait_connections(1, "client=%s:%d" % one.getsockname())
        t = tap(c["id"])
        wait_for(lambda: pcapng.packets(t.octets()), "its begin")
        talk(one, b"hello")
        talk(other, b"not this")
        up, down = both(one, port)
        wait_for(lambda: t.streams().get(down) == b"hello", "the bytes")
        talk(one, data(100_000))
        wait_for(lambda: len(t.streams()[down]) == 100_005, "the bytes")
        t.stop()
        assert t.streams() == {up: b"hello" + data(100_000), down: b"hello" + data(100_000)}
        talk(one, b"after")


def test_the_file_is_written_at_once(echo, admin, tap):
    port = echo()
    tap.proxy = echo.proxy
    with connect(port) as s:
        talk(s, b"x")
        t = tap(admin.wait_connections(1)[0]["id"])
        wait_for(lambda: pcapng.packets(t.octets()), "its begin")
        talk(s, b"hello")
        times = []
        for n in range(1, 6):
            begin = time.monotonic()
            wait_for(lambda: t.streams().get(both(s, port)[1]) == b"hello" * n, "the bytes")
            times.append(time.monotonic() - begin)
            talk(s, b"hello")
        assert min(times) < 0.5, times


def test_bulk_is_seen_whole(echo, admin, tap):
    """Through pipes: 8 MiB each way."""
    port = echo()
    tap.proxy = echo.proxy
    t = tap(f"service={port}")
    octets = data(4 * MIB) + data(4 * MIB, seed=2)
    assert ask_while_reading(port, octets) == octets
    wait_for(lambda: sum(map(len, t.streams().values())) == 2 * len(octets), "all of it")
    assert set(t.streams().values()) == {octets}


def ask_while_reading(port, octets):
    with connect(port) as s:
        writer = threading.Thread(target=lambda: (s.sendall(octets), s.shutdown(1)))
        writer.start()
        got = b""
        while chunk := s.recv(1 << 18):
            got += chunk
        writer.join(10)
        return got


# -- with a filter: those that come later, too

def test_a_filter_sees_later_connections_from_their_first_byte(start, service, admin, tap):
    one, two, a = free_port(), free_port(), service()
    tap.proxy = start(config=f"{admin.line}port {one}\nserver {a.spelt}\nport {two}\nserver {a.spelt}\n")
    t = tap(f"service={one}")
    assert ask(one, b"first") == b"first"
    assert ask(two, b"other") == b"other"
    assert ask(one, b"second") == b"second"
    wait_for(lambda: sorted(t.streams().values()) == [b"first", b"first", b"second", b"second"], "both")
    flags = [p.flags for p in pcapng.packets(t.octets())]
    assert flags.count(pcapng.SYN) == 2 and flags.count(pcapng.SYN | pcapng.ACK) == 2
    wait_for(lambda: [p.flags & pcapng.FIN for p in pcapng.packets(t.octets())].count(pcapng.FIN) == 4, "the ends")


def test_filters_by_client_and_by_server(start, service, admin, tap):
    port, a, b = free_port(), service(), service()
    tap.proxy = start(config=f"{admin.line}port {port}\nserver {a.spelt}\nserver {b.spelt}\n")
    by_client = tap("client=127.0.0.9")
    by_server = Tap(admin, f"server={b.spelt}", file=by_client.path + ".2")
    wait_for(lambda: tap.proxy.log().count("looks at connections") == 2, "both taps")
    with connect(port, source="127.0.0.9") as s:
        talk(s, b"nine")
    for _ in range(4):
        assert ask(port, b"one") == b"one"
    wait_for(lambda: sorted(by_client.streams().values()) == [b"nine", b"nine"], "by its client")
    wait_for(lambda: b.served * 2 == len(by_server.streams()), "by their server")
    by_server.stop()


def test_a_reset_is_seen_as_one(echo, admin, tap):
    port = echo()
    tap.proxy = echo.proxy
    t = tap(f"service={port}")
    s = connect(port)
    talk(s, b"hello")
    kill_connection(s)
    wait_for(lambda: [p for p in pcapng.packets(t.octets()) if p.flags & pcapng.RST], "a reset")


def test_ipv6(echo, admin, tap):
    port = echo("tcp6")
    tap.proxy = echo.proxy
    t = tap(f"service={port}")
    assert ask(port, b"six", host="::1") == b"six"
    wait_for(lambda: sorted(t.streams().values()) == [b"six", b"six"], "the bytes")


# -- as text

def test_as_text(echo, admin, tap):
    port = echo()
    tap.proxy = echo.proxy
    t = tap(f"service={port}", file=None)
    assert ask(port, b"GET / HTTP/1.0\r\n\r\n\x00\xff") == b"GET / HTTP/1.0\r\n\r\n\x00\xff"
    wait_for(lambda: b"end=client-fin" in t.printed(), "its end")
    t.stop()
    text = t.printed().decode()
    assert re.search(rf"^20\S+ id=1 127\.0\.0\.1:\d+ > {re.escape(echo.server.spelt)} open$", text, re.M)
    assert re.search(r"> \S+ 20 bytes at 0$\n000000  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 30 0d 0a  GET / HTTP/1\.0\.\.$"
                     r"\n000010  0d 0a 00 ff +\.\.\.\.$", text, re.M)
    assert re.search(r"< \S+ 20 bytes at 0$", text, re.M) and re.search(r"end=client-fin$", text, re.M)


def test_to_standard_output(echo, admin, tap):
    port = echo()
    tap.proxy = echo.proxy
    t = tap(f"service={port}", "-w", "-", file=None)
    assert ask(port, b"hello") == b"hello"
    wait_for(lambda: sorted(pcapng.streams(t.printed()).values()) == [b"hello", b"hello"], "the bytes")
    t.stop()


# -- what may go wrong

def test_what_cannot_be_tapped(echo, admin, tmp_path, directory, start):
    port = echo()
    assert "no connection 99" in admin.refused("tap", 99)
    assert "which connections" in admin.refused("tap")
    assert "neither an id nor a filter" in admin.refused("tap", "nonsense")
    assert "no server" in admin.refused("tap", "server=nobody")
    assert "-w needs" in admin.refused("tap", f"service={port}", "-w")
    assert "No such file" in admin.refused("tap", f"service={port}", "-w", "/nonexistent/x")


def test_a_program_s_connection_cannot_be_tapped(start, admin, directory):
    port = free_port()
    start("-b", port, "-o", admin.option, directory.script("handler", "exec sleep 60"))
    with connect(port):
        (c,) = admin.wait_connections(1, "state=handler")
        assert "is a program's" in admin.refused("tap", c["id"])
        admin.ask("kill", c["id"])


def test_a_reader_that_is_killed_leaves_nothing_behind(echo, admin, tap):
    port = echo()
    tap.proxy = echo.proxy
    pids = [echo.proxy.pid, *echo.proxy.workers()]
    with connect(port) as s:
        talk(s, b"x")
        before = [len(processes.descriptors(p)) for p in pids]
        t = tap(f"service={port}")
        wait_for(lambda: pcapng.packets(t.octets()), "its begin")
        t.process.kill()
        # the pipe for tee stays for the next tap
        wait_for(lambda: all(len(processes.descriptors(p)) <= n + 2 for p, n in zip(pids, before)), "closed descriptors")
        talk(s, data(100_000))
        for i in range(3):
            again = Tap(admin, f"service={port}", file=f"{t.path}.{i}")
            wait_for(lambda: os.path.exists(again.path) and pcapng.packets(again.octets()), "the next tap")
            again.stop()


def test_a_stopped_reader_holds_nobody_up(echo, admin, tap):
    port = echo()
    tap.proxy = echo.proxy
    t = tap(f"service={port}")
    t.process.send_signal(signal.SIGSTOP)
    memory = {p: processes.memory(p) for p in echo.proxy.workers()}
    octets = data(4 * MIB)
    for _ in range(12):  # more than the rings hold
        assert ask_while_reading(port, octets) == octets
    for p, before in memory.items():
        assert processes.memory(p) - before < 4 * MIB
    t.process.send_signal(signal.SIGCONT)
    t.process.send_signal(signal.SIGINT)
    _, err = t.process.communicate(timeout=10)
    assert t.process.returncode == 0 and b"records are lost" in err
    assert pcapng.packets(t.octets())


def test_a_tap_survives_the_death_of_a_worker(echo, admin, tap):
    port = echo("tcp4", "-o", "workers 1")
    tap.proxy = echo.proxy
    with connect(port) as s:
        talk(s, b"x")
        t = tap(f"service={port}")
        talk(s, b"before")
        echo.proxy.expect_deaths()
        os.kill(echo.proxy.workers()[0], signal.SIGKILL)
        wait_for(lambda: admin.json("status")["workers"][0]["takeovers"] == 1, "a takeover")
        talk(s, b"after")
        wait_for(lambda: t.streams().get(both(s, port)[1]) == b"beforeafter", "the bytes")
        assert ask(port, b"later") == b"later"
        wait_for(lambda: b"later" in t.streams().values(), "a later one")
    echo.proxy.wait_whole()


def written_by(pid):
    """Bytes of write calls, to wherever."""
    with open(f"/proc/{pid}/io") as f:
        return int(re.search(r"^wchar: (\d+)", f.read(), re.M)[1])


def test_a_tap_of_a_busy_connection_ends_when_it_is_told(echo, admin, tap):
    port = echo()
    tap.proxy = echo.proxy
    busy = threading.Event()
    with connect(port) as s:
        def keep_busy():
            octets = data(200_000)
            while not busy.is_set():
                s.sendall(octets)
        writer = threading.Thread(target=keep_busy, daemon=True)
        reader = threading.Thread(target=lambda: [None for _ in iter(lambda: s.recv(1 << 18), b"")], daemon=True)
        writer.start()
        reader.start()
        for _ in range(3):
            t = tap(f"service={port}", "-w", "/dev/null", file=None)
            wait_for(lambda: written_by(t.process.pid) > 1 << 20, "it is busy")
            begin = time.monotonic()
            t.process.send_signal(signal.SIGINT)
            t.process.communicate(timeout=10)
            assert t.process.returncode == 0 and time.monotonic() - begin < 5
        busy.set()
        writer.join(10)
        s.shutdown(1)
        reader.join(10)


def test_the_end_of_tcpproxy_ends_the_tap(echo, admin, tap):
    port = echo()
    tap.proxy = echo.proxy
    t = tap(f"service={port}")
    assert ask(port, b"hello") == b"hello"
    echo.proxy.stop()
    assert t.process.wait(PATIENCE) == 0
    assert sorted(t.streams().values()) == [b"hello", b"hello"]


# -- other readers

@pytest.mark.skipif(not shutil.which("tshark"), reason="no tshark")
def test_tshark_reads_an_http_exchange(start, service, admin, tap):
    def page(s):
        s.recv(65536)
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    port, a = free_port(), service(page)
    tap.proxy = start("-b", port, "-o", admin.option, a.spelt)
    t = tap(f"service={port}")
    assert b"hello" in ask(port, b"GET /index.html HTTP/1.1\r\nHost: example.com\r\n\r\n")
    wait_for(lambda: len([p for p in pcapng.packets(t.octets()) if p.flags & pcapng.FIN]) == 2, "the end")
    t.stop()
    done = subprocess.run(["tshark", "-r", t.path, "-d", f"tcp.port=={port},http", "-o", "tcp.check_checksum:TRUE",
                           "-T", "fields", "-e", "http.request.uri", "-e", "http.response.code", "-e", "_ws.expert.message"],
                          capture_output=True, text=True, timeout=30)
    words = done.stdout.split()
    assert "/index.html" in words and "200" in words
    assert "incorrect" not in done.stdout and "segment not captured" not in done.stdout


# -- --dump

def test_dump_shows_everything_on_stderr(start, service):
    port = free_port()
    proxy = start("-b", port, "--dump", service().spelt, wait=False)
    wait_for(lambda: ask_or_none(port), "a service")
    proxy.wait_log(r"> \S+ open$")
    proxy.wait_log(r"^000000  68 65 6c 6c 6f +hello$")
    proxy.wait_log(r"end=client-fin$")


def ask_or_none(port):
    try:
        return ask(port, b"hello") == b"hello"
    except OSError:
        return None


def test_dump_into_a_file(start, service, directory):
    port, path = free_port(), directory / "dump.pcapng"
    proxy = start("-b", port, f"--dump={path}", service().spelt, wait=False)
    wait_for(lambda: ask_or_none(port), "a service")
    with connect(port) as s:
        talk(s, b"first byte")

        def seen():
            with open(path, "rb") as f:
                return b"first byte" in pcapng.streams(f.read()).values()
        wait_for(seen, "the bytes")
    proxy.signal(signal.SIGTERM)
    assert proxy.wait_exit() == 0
    proxy.wait_gone()
    with open(path, "rb") as f:
        assert b"first byte" in pcapng.streams(f.read()).values()


def test_dump_belongs_to_b(directory):
    assert directory.run("--dump", "127.0.0.1:1").returncode == 1
    config = directory.write("t.conf", "port 1\nserver a\n")
    assert "-b" in directory.run("--dump", "-f", config).stderr
    assert "-D" in directory.run("-D", "--dump", "-b", free_port(), "127.0.0.1:1").stderr
    assert "/nonexistent" in directory.run("--dump=/nonexistent/x", "-b", free_port(), "127.0.0.1:1").stderr


def test_a_killed_dump_costs_no_connection(start, service, directory):
    port = free_port()
    proxy = start("-b", port, f"--dump={directory / 'd'}", service().spelt, wait=False)
    wait_for(lambda: ask_or_none(port), "a service")
    with connect(port) as s:
        talk(s, b"x")
        (pid,) = proxy.role("dump")
        os.kill(pid, signal.SIGKILL)
        stays(lambda: talk(s, b"y") is None, "the connection", 0.2)
    proxy.wait_log("what --dump shows ends here")
    proxy.signal(signal.SIGTERM)
    assert proxy.wait_exit() == 0
