#!/usr/bin/python3
"""`starttls` while workers die: each client says what its protocol says before TLS, in random pieces, and is answered once; then bytes go to
its server and back, each once. In a build with -Dfaults=true workers end themselves between any two steps; else they are killed.

usage: talks.py [--seed N] [--kills N] [--faults N]
"""
import argparse
import collections
import os
import random
import re
import signal
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib.peers import Service, data, read_exactly  # noqa: E402
from lib.ports import free_port  # noqa: E402
from lib.proxy import Directory, Proxy  # noqa: E402
from lib.waiting import wait_for  # noqa: E402

CLIENTS = 8
SSL, GSS = struct.pack("!II", 8, 80877103), struct.pack("!II", 8, 80877104)
# what a client says, and how many lines (or bytes, of Postgres) it is answered
TALKS = {
    "postgres": [(GSS, b"N"), (SSL, b"S")],
    "smtp": [(b"", b"220 "), (b"EHLO a.test\r\n", b"250-"), (b"", b"250 STARTTLS"), (b"NOOP\r\n", b"250 "), (b"STARTTLS\r\n", b"220 ")],
    "imap": [(b"", b"* OK"), (b"a1 CAPABILITY\r\n", b"* CAPABILITY"), (b"", b"a1 OK"), (b"a2 STARTTLS\r\n", b"a2 OK")],
    "pop3": [(b"", b"+OK"), (b"USER x\r\n", b"-ERR"), (b"STLS\r\n", b"+OK")],
}


def received(s, n):
    """Some of n bytes. A server that was called, and of which a death then knew nothing, sees an end."""
    got = s.recv(n)
    if not got:
        raise ConnectionError("it has ended")
    return got


def line_of(s):
    line = b""
    while not line.endswith(b"\n"):
        line += received(s, 1)
    return line


def serve(protocol):
    """Its side of that, and then an echo."""
    def side(s):
        if protocol == "postgres":
            asked = b""
            while len(asked) < 8:
                asked += received(s, 8 - len(asked))
            if asked != SSL:
                raise ConnectionError(f"{asked} is not what asks for TLS")
            s.sendall(b"S")
        else:
            greeting, asked, answer = {"smtp": (b"220 x\r\n", (b"EHLO ", b"STARTTLS"), (b"250-x\r\n250 STARTTLS\r\n", b"220 x\r\n")),
                                       "imap": (b"* OK x\r\n", (b"t STARTTLS",), (b"t OK x\r\n",)),
                                       "pop3": (b"+OK x\r\n", (b"STLS",), (b"+OK x\r\n",))}[protocol]
            s.sendall(greeting)
            for wanted, said in zip(asked, answer):
                if not line_of(s).startswith(wanted):
                    raise ConnectionError(f"not {wanted}")
                s.sendall(said)
        while chunk := s.recv(65536):
            s.sendall(chunk)
    return side


class Run:
    def __init__(self, seed, faults):
        self.directory = Directory()
        self.dice = random.Random(seed)
        self.services = {name: Service(serve(name)) for name in TALKS}
        self.ports = {name: free_port() for name in TALKS}
        config = "workers 2\nconnect-timeout 30s\n" + "".join(
            f"port {self.ports[name]}\nstarttls {name}\nspeak-timeout 30s\nserver {self.services[name].spelt}\n" for name in TALKS)
        self.proxy = Proxy(self.directory, config=config, env={"TCPPROXY_FAULTS": str(faults)} if faults else None)
        self.proxy.expect_deaths()
        self.failures, self.done, self.over = [], collections.Counter(), False

    def talk(self, dice, s, name):
        for said, answer in TALKS[name]:
            while said:  # in pieces
                n = dice.choice([len(said), 1, 3])
                s.sendall(said[:n])
                said = said[n:]
                if said and dice.random() < 0.3:
                    time.sleep(0.002)
            got = s.recv(1) if name == "postgres" else line_of(s)
            assert got.startswith(answer), f"{name}: {got} instead of {answer}"

    def client(self, dice):
        name = dice.choice(list(TALKS))
        sent = data(dice.choice([1, 100, 5000, 60000]), dice.randrange(50))
        with socket.create_connection(("127.0.0.1", self.ports[name]), 30) as s:
            s.settimeout(30)
            self.talk(dice, s, name)
            s.sendall(sent)
            got = read_exactly(s, len(sent))
            assert got == sent, f"{name}: other bytes came back"
            s.shutdown(socket.SHUT_WR)
            assert s.recv(1) == b"", f"{name}: a byte too many"
        self.done[name, len(sent)] += 1

    def clients(self, seed):
        dice = random.Random(seed)
        while not self.over:
            try:
                self.client(dice)
            except (AssertionError, OSError) as e:
                self.failures.append(repr(e))

    def deaths(self):
        return self.proxy.log().count("is replaced")

    def kill(self):
        for pid in self.proxy.workers():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(self.dice.random() * 0.1)

    def wrong_records(self):
        """One for each connection, with what went through it."""
        wanted = sum(self.done.values())
        wait_for(lambda: len(re.findall(r" close id=", self.proxy.log())) >= wanted, "all records")
        found = collections.Counter()
        for m in re.finditer(r" close id=.*? up=(\d+) down=(\d+) .* end=(\S+)", self.proxy.log()):
            found[m[1], m[2], m[3]] += 1
        counts = collections.Counter()
        for (_, n), times in self.done.items():
            counts[n] += times
        right = {(str(n), str(n), end) for n in counts for end in ("client-fin", "server-fin")}
        wrong = [f"{times} records {record}" for record, times in found.items() if record not in right]
        for n, times in counts.items():
            if sum(found[str(n), str(n), end] for end in ("client-fin", "server-fin")) != times:
                wrong.append(f"{times} clients sent {n} bytes, which so many records do not say")
        return wrong

    def end(self):
        self.proxy.kill()
        for service in self.services.values():
            service.close()
        self.directory.remove()


def torture(seed, kills, faults=None):
    run = Run(seed, faults)
    try:
        threads = [threading.Thread(target=run.clients, args=(seed * 1000 + i,), daemon=True) for i in range(CLIENTS)]
        for t in threads:
            t.start()
        deadline = time.monotonic() + 30 + kills
        enough = lambda: run.deaths() >= kills or len(run.failures) >= 20  # noqa: E731
        if faults:  # they kill themselves
            wait_for(enough, f"{kills} deaths", 30 + kills)
        while not enough() and time.monotonic() < deadline:
            run.kill()
        run.over = True
        for t in threads:
            t.join(60)
        failures = run.failures + (run.wrong_records() if not run.failures else [])
        return failures, f"{sum(run.done.values())} clients, {run.deaths()} deaths"
    finally:
        run.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--faults", type=int, help="a build with -Dfaults=true: workers live N steps at most")
    args = parser.parse_args()
    failures, summary = torture(args.seed, args.kills, args.faults)
    for line in failures[:20]:
        print(line)
    print(f"{summary}; {len(failures)} FAIL, seed {args.seed}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
