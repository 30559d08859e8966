#!/usr/bin/python3
"""All that is known of servers at once: checks that flip, ejection, slow start, sticking, limits with a queue, holding, a list in a
file, commands of an operator; while workers, the checker, the spawner and the supervisor are killed, the configuration is read again,
and the program is replaced. Nobody meets a server that is known to be down, or nobody; no server has more connections than its
limit; whoever waits is served; no byte is lost; in the end nothing is left.

usage: everything.py [--seed N] [--kills N]
"""
import argparse
import collections
import errno
import itertools
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from flips import Flipper, Killer, Talkers  # noqa: E402
from lib.admin import Admin  # noqa: E402
from lib.checked import ASKS, Checked, Clients  # noqa: E402
from lib.peers import Service, connect, read_all  # noqa: E402
from lib.ports import free_port  # noqa: E402
from lib.proxy import Directory, Proxy  # noqa: E402
from lib.waiting import wait_for  # noqa: E402

MAX, PATIENCE = 2, 60


class Part(threading.Thread):
    """Something that goes on until it is over. What is wrong ends it."""

    def __init__(self, name):
        super().__init__(name=name, daemon=True)
        self.over, self.wrong, self.turns = False, [], 0
        self.start()

    def run(self):
        try:
            while not self.over:
                self.turn()
                self.turns += 1
        except (OSError, AssertionError, subprocess.TimeoutExpired) as e:
            self.wrong.append(f"{self.name}: {e!r}")

    def turn(self):
        raise NotImplementedError

    def stop(self):
        self.over = True
        self.join()


def named(name):
    """A server's function: it reads, or the kernel would reset its clients."""
    def serve(s):
        s.recv(100)
        s.sendall(name.encode())
    return serve


class Comer(Part):
    """A client of a service, and then the next one."""

    def __init__(self, name, port, said, source=None, lenient=False):
        """lenient: its server may reset it (the records must say that it was the server)."""
        self.port, self.said, self.source, self.lenient = port, said, source, lenient
        super().__init__(name)

    def turn(self):
        try:
            self.come()
        except OSError as e:
            if not self.lenient or e.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                raise

    def come(self):
        with connect(self.port, timeout=PATIENCE, source=self.source) as s:
            s.sendall(b"1")
            s.shutdown(socket.SHUT_WR)
            said = read_all(s)
        assert said in self.said, said


class Counting:
    """A server's function: how many were there at the same time. They count from their first byte: of one whose worker was killed while it
    was being made, which is made anew, the end may be heard of late."""

    def __init__(self, dice):
        self.lock, self.now, self.most, self.dice, self.seconds = threading.Lock(), 0, 0, dice, 0.02

    def __call__(self, s):
        if not s.recv(100):
            return
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.dice.random() * self.seconds)
        with self.lock:
            self.now -= 1
        s.sendall(b"done")


class Blinking(Part):
    """A server whose port refuses now and then, for less than a second. Whom it has not accepted by then is reset by the kernel."""

    def __init__(self, name, dice):
        self.server, self.dice = Checked(name), dice
        super().__init__(f"blinking {name}")

    def turn(self):
        time.sleep(self.dice.random())
        self.server.refuse()
        time.sleep(self.dice.random() / 2)
        self.server.listen()

    def stop(self):
        super().stop()
        self.server.close()


class Listing(Part):
    """A list of servers, another one each time; never empty."""

    def __init__(self, path, spelt, dice):
        self.path, self.spelt, self.dice = pathlib.Path(path), spelt, dice
        self.write()
        super().__init__("list")

    def write(self):
        chosen = self.dice.sample(self.spelt, self.dice.randint(1, len(self.spelt)))
        new = self.path.with_suffix(".new")
        new.write_text("".join(f"{s} weight={self.dice.randint(1, 9)}\n" for s in chosen))
        new.chmod(0o644)
        os.rename(new, self.path)

    def turn(self):
        time.sleep(self.dice.random() / 2)
        self.write()


class Operator(Part):
    """Changes servers of a service by command, never more than one of them for the worse."""

    def __init__(self, admin, service, servers, spare, dice):
        self.admin, self.service, self.servers, self.spare, self.dice = admin, service, servers, spare, dice
        super().__init__("operator")

    def _command(self, *words):
        """Until there is a supervisor who hears it. One that died before it answered may have done it."""
        tries = itertools.count()

        def is_done():
            again = next(tries) > 0
            if again and words[0] in ("add", "remove") and self._is_there(words[-1]) == (words[0] == "add"):
                return True
            return self.admin.run(*words, timeout=20).returncode == 0
        wait_for(is_done, f"{words} is done", PATIENCE)

    def _is_there(self, spelt):
        """None: nobody says."""
        done = self.admin.run("servers", self.service)
        return f" {spelt} " in done.stdout if done.returncode == 0 else None

    def turn(self):
        server = self.dice.choice(self.servers).spelt
        what = self.dice.choice(["weight", "disable", "drain", "add"])
        if what == "weight":
            self._command("weight", server, self.dice.randint(1, 100))
        elif what == "add":
            self._command("add", self.service, self.spare)
            time.sleep(self.dice.random() / 2)
            self._command("remove", self.service, self.spare)
        else:
            self._command(what, server)
            time.sleep(self.dice.random() / 4)
            self._command("enable", server)


class Scene:
    """The services, their servers, and who makes them change."""

    def __init__(self, seed):
        dice = self.dice = random.Random(seed)
        self.directory = Directory()
        os.chmod(self.directory.path, 0o755)
        self.admin = Admin(self.directory / "admin.sock")
        self.checked, self.limited, self.blinks, self.held, self.listed = (free_port() for _ in range(5))
        self.servers, self.spare = [Checked(name) for name in "abc"], Checked("d")
        self.counting = [Counting(random.Random(dice.random())) for _ in range(2)]
        self.places = [Service(c) for c in self.counting]
        self.members = [Service(named(name)) for name in "lmn"]
        self.steady = Checked("s")
        self.blinking = [Blinking(name, random.Random(dice.random())) for name in "xy"]
        self.list = Listing(self.directory / "list", [m.spelt for m in self.members], random.Random(dice.random()))
        self.proxy = Proxy(self.directory, config=self.text())
        wait_for(lambda: {self.admin.server(s.spelt)["health"] for s in self.servers} == {"up"}, "all are up")
        self.parts = self.begin(seed)

    def text(self):
        return "\n".join([
            f"admin unix:{self.admin.path}", "workers 2", "slow-start 1",
            f"port {self.checked} as checked", *(f"server {s.spelt}" for s in self.servers),
            f"check every=100ms timeout=10 {ASKS}", "eject for 1 after 5", "stick 10",
            f"port {self.limited} as limited", *(f"server {s.spelt} max={MAX}" for s in self.places),
            f"queue {PATIENCE}", "balance least-connections",
            f"port {self.blinks} as blinks", f"server {self.blinking[0].server.spelt}", f"server {self.steady.spelt}",
            "eject for 1 after 2 early 1", "balance random",
            f"port {self.held} as held", f"server {self.blinking[1].server.spelt}", f"on-down hold {PATIENCE}",
            f"port {self.listed} as listed", "servers file:list", "stick 1m", ""])

    def begin(self, seed):
        self.killer = Killer(self.proxy, self.admin, self.dice.random())
        self.clients, self.talkers = Clients(self.checked, [*self.servers, self.spare], 3), Talkers(self.checked, seed)
        return [Flipper(self.admin, self.servers, self.clients, self.dice.random()),
                Operator(self.admin, "checked", self.servers, self.spare.spelt, random.Random(self.dice.random())),
                *(Comer(f"limited {i}", self.limited, [b"done"]) for i in range(6)),
                *(Comer(f"blinks {i}", self.blinks, [b"x", b"s"], lenient=True) for i in range(2)),
                *(Comer(f"held {i}", self.held, [b"y"], lenient=True) for i in range(3)),
                *(Comer(f"listed {i}", self.listed, [b"l", b"m", b"n"], source=f"127.0.0.{i + 2}") for i in range(3))]

    def end(self):
        """What is wrong."""
        for part in [*self.parts, self.talkers]:
            part.stop()
        self.clients.over = True
        for t in self.clients.threads:
            t.join()
        wrong = [w for part in [*self.parts, *self.blinking, self.list, self.talkers, self.clients] for w in part.wrong]
        wrong += [f"{c.most} connections at a time, of {MAX} at most" for c in self.counting if c.most > MAX]
        if not wrong:
            wait_for(lambda: not self.admin.connections(), "no connection is left")
            wrong += [f"{s['service']}: {s['waiting']} wait" for s in self.admin.json("status")["services"] if s["waiting"]]
            self.proxy.stop()
            wrong += self.odd_ends()
        return wrong

    def odd_ends(self):
        """Of connections, that nobody has made who may."""
        may = {"checked": {"client-fin", "server-fin", "client-reset"}, "limited": {"client-fin", "server-fin"}, "listed": {"client-fin", "server-fin"},
               "blinks": {"client-fin", "server-fin", "server-reset"}, "held": {"client-fin", "server-fin", "server-reset"}}
        ends = collections.Counter(re.findall(r" close id=\d+ service=(\w+) .* end=(\S+)", self.proxy.log()))
        return [f"{service}: {n} connections ended by {end}" for (service, end), n in ends.items() if end not in may[service]]

    def summary(self):
        flipper, operator, *comers = self.parts
        return (f"{dict(self.killer.done)}, {flipper.flips} flips, {operator.turns} commands, {self.list.turns} lists, "
                f"{sum(c.turns for c in comers) + sum(self.clients.met.values())} clients")

    def release(self):
        self.proxy.kill()
        for one in [self.list, *self.blinking]:
            one.stop()
        for one in [*self.servers, self.spare, self.steady, *self.places, *self.members]:
            one.close()
        self.directory.remove()


def torture_everything(seed=1, kills=40):
    """Returns what went wrong, and a summary."""
    scene = Scene(seed)
    try:
        try:
            for _ in range(kills):
                scene.killer.one()
        finally:
            wrong = scene.end()
        if os.environ.get("KEEP_LOG"):
            pathlib.Path(os.environ["KEEP_LOG"]).write_text(scene.proxy.log())
        return wrong, scene.summary()
    finally:
        scene.release()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=40)
    args = parser.parse_args()
    begin = time.monotonic()
    wrong, summary = torture_everything(args.seed, args.kills)
    for line in wrong[:20]:
        print(line)
    print(f"{summary}; {len(wrong)} FAIL, seed {args.seed}, {time.monotonic() - begin:.1f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
