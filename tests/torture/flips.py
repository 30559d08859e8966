#!/usr/bin/python3
"""Servers that go down and come up again, in front of them clients all the time, while workers, the checker and the supervisor are
killed and the configuration is read again: no client meets a server that is known to be down, none meets nobody, and no
byte of a connection that goes on is lost, whatever becomes of its server's state.

usage: flips.py [--seed N] [--kills N]
"""
import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib import processes  # noqa: E402
from lib.admin import Admin  # noqa: E402
from lib.checked import ASKS, Checked, Clients, checkers  # noqa: E402
from lib.peers import connect, data, read_exactly  # noqa: E402
from lib.ports import free_port  # noqa: E402
from lib.proxy import Directory, Proxy  # noqa: E402
from lib.waiting import outlast_fuser, wait_for  # noqa: E402

SERVERS, COMERS, TALKERS = 3, 4, 6
WHAT = ["worker"] * 8 + ["checker"] * 6 + ["reload"] * 6 + ["supervisor"]
PIECE = 20_000


class Talkers:
    """Connections over which something goes each way, again and again, and from time to time another one."""

    def __init__(self, port, seed):
        self.port, self.over, self.wrong, self.pieces = port, False, [], 0
        self.threads = [threading.Thread(target=self._run, args=(random.Random(f"{seed} {i}"),), daemon=True)
                        for i in range(TALKERS)]
        for t in self.threads:
            t.start()

    def _run(self, dice):
        while not self.over:
            try:
                self._talk(dice)
            except (OSError, AssertionError) as e:
                self.wrong.append(f"a connection that was established: {e!r}")

    def _talk(self, dice):
        with connect(self.port, timeout=30) as s:
            s.sendall(b"client")
            read_exactly(s, 1)
            for _ in range(dice.choice([5, 50, 500])):
                piece = data(PIECE, seed=dice.randrange(1000))
                s.sendall(piece)
                if read_exactly(s, PIECE) != piece:
                    raise AssertionError("wrong bytes")
                self.pieces += 1
                if self.over:
                    return
                time.sleep(0.01)

    def stop(self):
        self.over = True
        for t in self.threads:
            t.join()


class Flipper:
    """One server after the other goes down, and comes up before the next one does."""

    def __init__(self, admin, servers, clients, seed):
        self.admin, self.servers, self.clients = admin, servers, clients
        self.dice, self.over, self.flips, self.wrong = random.Random(seed), False, 0, []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _state(self, server):
        """None: there is no supervisor just now to ask."""
        done = self.admin.run("status", "-j")
        if done.returncode != 0:
            return None
        return next(s["health"] for s in json.loads(done.stdout)["servers"] if s["server"] == server.spelt)

    def _wait(self, server, state):
        wait_for(lambda: self._state(server) == state, f"{server.spelt} is {state}", 30)

    def _flip(self, server):
        server.well = False
        self._wait(server, "down")
        self.clients.goes_down(server)
        time.sleep(self.dice.random() / 2)
        self.clients.comes_up(server)
        server.well = True
        self._wait(server, "up")
        self.flips += 1

    def _run(self):
        while not self.over:
            try:
                self._flip(self.dice.choice(self.servers))
            except (AssertionError, subprocess.TimeoutExpired) as e:
                self.wrong.append(str(e))
                return

    def stop(self):
        self.over = True
        self.thread.join()


class Killer:
    def __init__(self, proxy, seed):
        self.proxy, self.dice, self.done = proxy, random.Random(seed), collections.Counter()
        proxy.expect_deaths()

    def one(self):
        what = self.dice.choice(WHAT)
        getattr(self, what)()
        self.done[what] += 1

    def _replaced(self, find):
        before = wait_for(find, "somebody to kill")
        victim = self.dice.choice(before)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(now := find()) == len(before) and victim not in now, f"another one\n{self.proxy.tree()}", 20)

    def worker(self):
        self._replaced(lambda: found if len(found := self.proxy.workers()) == self.proxy.trios else [])

    def checker(self):
        self._replaced(lambda: checkers(self.proxy))

    def reload(self):
        n = self.proxy.log().count(" is in force")
        self.proxy.signal(signal.SIGHUP)
        wait_for(lambda: self.proxy.log().count(" is in force") > n, "it is read", 20)

    def supervisor(self):
        outlast_fuser()
        self.proxy.kill_supervisor()
        time.sleep(self.dice.random() / 2)
        self.proxy.start_again()
        wait_for(lambda: len(found := checkers(self.proxy)) == 1 and processes.parent(found[0]) == self.proxy.pid, "one checker", 20)
        outlast_fuser()


def torture_flips(seed=1, kills=40):
    """Returns what went wrong, and a summary."""
    directory, dice = Directory(), random.Random(seed)
    admin, port = Admin(directory / "admin.sock"), free_port()
    servers = [Checked(name) for name in "abcdef"[:SERVERS]]
    proxy, wrong = None, []
    try:
        proxy = Proxy(directory, config=f"admin unix:{admin.path}\nworkers 2\nport {port}\n" + "".join(
            f"server {s.spelt}\n" for s in servers) + f"check every=100ms timeout=10 {ASKS}\n")
        wait_for(lambda: {s["health"] for s in admin.json("status")["servers"]} == {"up"}, "all are up")
        killer = Killer(proxy, dice.random())
        clients, talkers = Clients(port, servers, COMERS), Talkers(port, seed)
        flipper = Flipper(admin, servers, clients, dice.random())
        try:
            for _ in range(kills):
                killer.one()
            wait_for(lambda: flipper.flips or flipper.wrong, "a flip", 60)
        finally:
            for part in (flipper, talkers):
                part.stop()
            clients.over = True
            for t in clients.threads:
                t.join()
        wrong = flipper.wrong + talkers.wrong + clients.wrong
        summary = (f"{dict(killer.done)}, {flipper.flips} flips, {sum(clients.met.values())} clients, "
                   f"{talkers.pieces * PIECE >> 20} MiB each way")
        proxy.stop()
        return wrong, summary
    finally:
        if proxy:
            proxy.kill()
        for s in servers:
            s.close()
        directory.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=40)
    args = parser.parse_args()
    begin = time.monotonic()
    wrong, summary = torture_flips(args.seed, args.kills)
    for line in wrong[:20]:
        print(line)
    print(f"{summary}; {len(wrong)} FAIL, seed {args.seed}, {time.monotonic() - begin:.1f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
