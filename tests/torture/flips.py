"""Parts of everything.py: connections over which something goes all the time, servers that go down and come up again, and who kills
the processes of a tcpproxy."""
import collections
import json
import os
import random
import signal
import subprocess
import threading
import time

from lib import processes
from lib.checked import checkers
from lib.peers import connect, data, read_exactly
from lib.waiting import outlast_fuser, wait_for

TALKERS = 6
WHAT = ["worker"] * 8 + ["checker"] * 4 + ["spawner"] * 2 + ["reload"] * 5 + ["supervisor", "upgrade"]
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
    def __init__(self, proxy, admin, seed):
        self.proxy, self.admin, self.dice, self.done = proxy, admin, random.Random(seed), collections.Counter()
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

    def spawner(self):
        self._replaced(lambda: self.proxy.role("spawner"))

    def upgrade(self):
        self.admin.ask("upgrade")
        self.proxy.wait_whole()

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
