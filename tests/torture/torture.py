#!/usr/bin/python3
"""Hundreds of connections at once, each by a random plan: how much goes each way, in which pieces, with which
pauses, how slowly it is read, who ends first, by FIN or by reset. Every byte and every end is checked.

The plans come from the seed alone, so a run that failed can be repeated.

usage: torture.py [--seed N] [--connections N] [--seconds N] [--rounds N] [--forwarder 'COMMAND {port} {target}']
"""
import argparse
import asyncio
import os
import random
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib import processes  # noqa: E402
from lib.peers import FAMILIES, KIB, MIB, data, unsent  # noqa: E402
from lib.ports import free_port, listening  # noqa: E402
from lib.proxy import Directory, Proxy  # noqa: E402
from lib.waiting import wait_for  # noqa: E402

KINDS = ["tcp4", "tcp6", "unix"]
SIZES = [0, 1, 100, 1400, 4 * KIB, 16 * KIB, 70_000, 300_000, MIB, 3 * MIB]
WEIGHTS = [4, 4, 8, 8, 8, 8, 8, 8, 3, 1]
PATIENCE = 60  # seconds without any progress of a connection; all share the processors with whatever else runs


class Direction:
    """What one side sends and how, and how the other side reads it."""

    def __init__(self, dice, seed):
        self.seed = seed
        self.size = dice.choices(SIZES, WEIGHTS)[0]
        if self.size > 1:
            self.size += dice.randrange(self.size // 10 + 1)
        self.chunk = dice.choice([self.size or 1, 64 * KIB, 5000, max(1, self.size // 7)])
        self.chunk = max(self.chunk, self.size // 200, 1)
        self.pause = dice.choice([0, 0, 0, 0.001, 0.01])
        self.read_size = dice.choice([256 * KIB, 256 * KIB, 16 * KIB])
        self.read_pause = dice.choice([0, 0, 0, 0.002, 0.02])
        self.read_delay = dice.choice([0, 0, 0, 0.2, 0.5])


class Plan:
    def __init__(self, dice, number):
        self.number = number
        self.kind = dice.choice(KINDS)
        self.up, self.down = Direction(dice, 2 * number), Direction(dice, 2 * number + 1)
        self.small = dice.random() < 0.3  # the client has a small receive buffer
        self.start = dice.random() * 2
        # who waits with its end for the end of the other
        self.order = dice.choice(["both", "both", "client first", "server first"])
        # who resets once its own data was acknowledged; early: without having read what the other sends
        self.resetter = dice.choices([None, "client", "server"], [4, 1, 1])[0]
        self.early = dice.random() < 0.5
        if self.resetter and self.kind == "unix":
            self.resetter = "client"  # a Unix socket cannot

    def __str__(self):
        return (f"connection {self.number} ({self.kind}, up {self.up.size}, down {self.down.size}, {self.order}, "
                f"reset by {self.resetter}{' early' if self.early else ''})")


class Wrong(Exception):
    """What a peer saw is not what was sent."""


async def patiently(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE)


class Side:
    """One end of a connection, played by its plan."""

    def __init__(self, plan, name, s):
        self.plan, self.name, self.socket = plan, name, s
        self.out, self.into = (plan.up, plan.down) if name == "client" else (plan.down, plan.up)
        self.loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()  # we have seen the other's end
        self.told = False  # a write was answered with the reset; a read will not hear of it again
        s.setblocking(False)

    async def write_data(self):
        octets = memoryview(data(self.out.size, self.out.seed))
        for i in range(0, self.out.size, self.out.chunk):
            await patiently(self.loop.sock_sendall(self.socket, octets[i:i + self.out.chunk]))
            if self.out.pause:
                await asyncio.sleep(self.out.pause)

    async def write_until_reset(self):
        try:
            await self.write_data()
        except (ConnectionResetError, BrokenPipeError):
            if not self.plan.early:
                raise
            self.told = True

    async def write_and_end(self):
        await self.write_data()
        if self.plan.order == ("server first" if self.name == "client" else "client first"):
            await patiently(self.ended.wait())
        self.socket.shutdown(socket.SHUT_WR)

    async def read_data(self):
        wanted, got, pauses = memoryview(data(self.into.size, self.into.seed)), 0, 0
        await asyncio.sleep(self.into.read_delay)
        while got < self.into.size:
            chunk = await patiently(self.loop.sock_recv(self.socket, min(self.into.read_size, self.into.size - got)))
            if not chunk:
                raise Wrong(f"{self.name}: end after {got} of {self.into.size} bytes")
            if chunk != wanted[got:got + len(chunk)]:
                raise Wrong(f"{self.name}: wrong byte between {got} and {got + len(chunk)}")
            got += len(chunk)
            if self.into.read_pause and pauses < 100:
                pauses += 1
                await asyncio.sleep(self.into.read_pause)

    async def read_end(self, reset):
        try:
            more = await patiently(self.loop.sock_recv(self.socket, 1))
        except ConnectionResetError:
            if reset:
                return
            raise Wrong(f"{self.name}: a reset instead of a FIN") from None
        if more:
            raise Wrong(f"{self.name}: more bytes than were sent")
        if reset and not self.told and self.socket.family != socket.AF_UNIX:
            raise Wrong(f"{self.name}: a FIN instead of a reset")
        self.ended.set()

    async def play(self):
        if self.plan.resetter == self.name:
            await asyncio.gather(self.write_data(), *([] if self.plan.early else [self.read_data()]))
            deadline = time.monotonic() + PATIENCE
            while unsent(self.socket):
                if time.monotonic() > deadline:
                    raise Wrong(f"{self.name}: data that is never acknowledged")
                await asyncio.sleep(0.005)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self.plan.resetter:
            # it keeps its own direction open, so that the reset has something to end
            await asyncio.gather(self.write_until_reset(), self.read_data())
            await self.read_end(reset=True)
        else:
            await asyncio.gather(self.write_and_end(), self.read_and_end())
        self.socket.close()

    async def read_and_end(self):
        await self.read_data()
        await self.read_end(reset=False)


class Target:
    """A listening socket of ours, the port of the forwarder that leads to it."""

    def __init__(self, kind, directory):
        self.kind, self.port = kind, free_port()
        self.socket = socket.socket(FAMILIES[kind], socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind == "unix":
            path = directory / "torture.sock"
            self.socket.bind(path)
            os.chmod(path, 0o777)
            self.spelt = f"unix:{path}"
        else:
            host, port = ("127.0.0.1" if kind == "tcp4" else "::1"), free_port()
            self.socket.bind((host, port))
            self.spelt = f"{host}:{port}" if kind == "tcp4" else f"[{host}]:{port}"
        self.socket.listen(1024)
        self.socket.setblocking(False)
        self.lock = asyncio.Lock()
        self.lost = False

    async def pair(self, plan):
        """Connects and accepts as one step, so that it is known who belongs to whom. Once one has not come through, it
        may still come: then nobody knows any more."""
        loop = asyncio.get_running_loop()
        client = socket.socket(socket.AF_INET6 if plan.kind == "tcp6" else socket.AF_INET)
        if plan.small:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        async with self.lock:
            if self.lost:
                raise ConnectionError("not tried: one before has not come through")
            try:
                await patiently(loop.sock_connect(client, ("::1" if plan.kind == "tcp6" else "127.0.0.1", self.port)))
                server, _ = await patiently(loop.sock_accept(self.socket))
            except (OSError, asyncio.TimeoutError):
                self.lost = True
                raise
        return client, server


async def run_plan(plan, target, failures):
    await asyncio.sleep(plan.start)
    try:
        client, server = await target.pair(plan)
    except (OSError, asyncio.TimeoutError) as e:
        failures.append(f"{plan}: not connected: {e!r}")
        return
    sides = Side(plan, "client", client), Side(plan, "server", server)
    tasks = [asyncio.create_task(s.play()) for s in sides]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in pending:  # its peer has failed: it would wait in vain
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    failures += [f"{plan}: {task.exception()!r}" for task in done if task.exception()]
    for s in sides:
        s.socket.close()


async def run_all(plans, targets, seconds):
    failures = []
    tasks = [asyncio.create_task(run_plan(p, targets[p.kind], failures)) for p in plans]
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    if late:
        failures.append(f"{len(late)} connections did not end within {seconds} s")
        await asyncio.gather(*late, return_exceptions=True)
    return failures


class Subject:
    """What is tortured: a tcpproxy, or any command that forwards a port."""

    def __init__(self, directory, targets, command=None):
        self.commands, self.proxy = [], None
        if command:
            for t in targets.values():
                argv = [word.format(port=t.port, target=t.spelt) for word in command.split()]
                self.commands.append(subprocess.Popen(argv))
            wait_for(lambda: all(listening(t.port) for t in targets.values()), "the forwarders")
        else:
            config = "".join(f"port {t.port}\nserver {t.spelt}\n" for t in targets.values())
            self.proxy = Proxy(directory, config=config)

    def memory(self):
        return {pid: processes.memory(pid) for pid in self.proxy.workers()} if self.proxy else {}

    def stop(self):
        for c in self.commands:
            c.kill()
            c.wait()
        if self.proxy:
            self.proxy.stop()

    def kill(self):
        if self.proxy:
            self.proxy.kill()


async def torture(seed=1, connections=500, seconds=300, command=None, rounds=1, early=True):
    """Returns a list of what went wrong, and the growth of each worker's memory in bytes from the end of the
    first round to the end of the last. Without `early`, resets come only after all data of both sides."""
    dice = random.Random(seed)
    directory = Directory()
    targets = {kind: Target(kind, directory) for kind in KINDS}
    subject = Subject(directory, targets, command)
    failures, growth = [], []
    try:
        for i in range(rounds):
            plans = [Plan(dice, n) for n in range(i * connections, (i + 1) * connections)]
            for p in plans:
                p.early &= early
            failures += await run_all(plans, targets, seconds)
            if i == 0:
                first = subject.memory()
        last = subject.memory()
        growth = [last[pid] - first[pid] for pid in first if pid in last]
        if subject.proxy and not failures:
            failures += wrong_records(subject.proxy, connections * rounds)
        subject.stop()
    finally:
        subject.kill()
        for t in targets.values():
            t.socket.close()
        directory.remove()
    return failures, growth


def wrong_records(proxy, n):
    """Every connection has exactly one record, with an end that somebody has made."""
    found = [r for r in proxy.wait_records(n, 10) if r.event == "close"]
    ends = {r.end for r in found}
    if len(found) != n or len({r["id"] for r in found}) != n:
        return [f"{len(found)} records of {n} connections"]
    if not ends <= {"client-fin", "server-fin", "client-reset", "server-reset"}:
        return [f"ended by {ends}"]
    return []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--forwarder")
    args = parser.parse_args()
    begin = time.monotonic()
    failures, growth = asyncio.run(torture(args.seed, args.connections, args.seconds, args.forwarder, args.rounds))
    for line in failures[:20]:
        print(line)
    print(f"{len(failures)} of {args.connections * args.rounds} connections went wrong, seed {args.seed}, "
          f"{time.monotonic() - begin:.1f} s, memory grew by {growth}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
