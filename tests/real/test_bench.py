"""The benchmark measures, and would notice a proxy that changes or loses bytes. Its figures are not judged here."""

import json
import os
import re
import socket
import subprocess
import sys
import threading

import pytest

import servers
from servers import TCPPROXY, TOP

LOAD = TCPPROXY.parent / "bench/load"


@pytest.fixture
def load_server():
    if not LOAD.exists():
        pytest.fail(f"{LOAD} is not built")
    port = servers.free_port()
    process = subprocess.Popen([LOAD, "serve", str(port), "1"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield port
    process.kill()
    process.wait()


def drive(port, mode, *more):
    return subprocess.run([LOAD, "drive", "--to", str(port), "--mode", mode, "--warmup", "0.05", "--seconds", "0.1",
                           *more], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("mode", ["exchange", "short", "down", "up", "both"])
def test_load_counts_what_it_did(load_server, mode):
    done = drive(load_server, mode, "--connections", "4")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["bytes"] > 10_000 and told["client"] > 0 and told["seconds"] >= 0.1
    assert (told["done"] > 0) == (mode in ("exchange", "short"))


def test_load_tells_latencies(load_server):
    told = json.loads(drive(load_server, "exchange", "--connections", "8", "--rate", "1000").stdout)
    assert 0 < told["p50"] <= told["p99"] <= told["max"]
    assert 500 < told["done"] / told["seconds"] < 1500


class BadRelay:
    """Relays one connection, and spoils what the server says from byte `after` on."""

    def __init__(self, server, after, spoil):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.server, self.after, self.spoil = server, after, spoil
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(("127.0.0.1", self.server))
        threading.Thread(target=self.up, args=(client, server), daemon=True).start()
        seen = 0
        try:
            while some := server.recv(65536):
                if seen <= self.after < seen + len(some):
                    some = self.spoil(some, self.after - seen)
                seen += len(some)
                client.sendall(some)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    @staticmethod
    def up(client, server):
        try:
            while some := client.recv(65536):
                server.sendall(some)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def flip(some, at):
    return some[:at] + bytes([some[at] ^ 1]) + some[at + 1:]


def drop(some, at):
    return some[:at] + some[at + 1:]


@pytest.mark.parametrize("mode", ["exchange", "down"])
@pytest.mark.parametrize("spoil", [flip, drop])
def test_load_notices_a_wrong_byte(load_server, mode, spoil):
    done = drive(BadRelay(load_server, 5000, spoil).port, mode)
    assert done.returncode == 1 and "wrong bytes" in done.stderr


def test_late_answer(load_server):
    told = json.loads(drive(load_server, "late").stdout)
    assert told == {"wanted": 2 << 20, "got": 2 << 20, "reset": False}
    cut = BadRelay(load_server, 100_000, lambda some, at: some[:at])
    assert json.loads(drive(cut.port, "late").stdout)["got"] < 2 << 20


def test_the_benchmark_runs(folder):
    done = subprocess.run([sys.executable, TOP / "bench/bench.py", "ONLY=requests-64-64,short-64,bulk-down-1,latency,memory",
                           "PEERS=direct", "ROUNDS=1", "SECONDS=0.1", f"OUT={folder}"], capture_output=True, text=True,
                          timeout=60, env={**os.environ, "TCPPROXY": str(TCPPROXY)})
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((folder / "bench.json").read_text())
    measured = {s["measure"] for s in results["samples"] if s["peer"] == "tcpproxy"}
    assert measured == {"requests-64-64", "short-64", "bulk-down-1", "latency", "memory"}
    assert all(s["cpu"] > 0 for s in results["samples"] if s["peer"] == "tcpproxy" and "cpu" in s)
    assert "\n64 B requests, 64 connections\n" in done.stdout
    page = (folder / "bench.html").read_text()
    assert "<svg" in page and not re.search(r"(src|href)=|url\(|@import", page)
    for text in (page, (folder / "bench.json").read_text()):
        assert str(TOP) not in text and socket.gethostname() not in text


def test_the_benchmark_says_what_it_knows():
    done = subprocess.run([sys.executable, TOP / "bench/bench.py", "PEERS=nonsense"], capture_output=True, text=True,
                          timeout=20)
    assert done.returncode == 1 and "haproxy" in done.stderr
