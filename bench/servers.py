#!/usr/bin/python3
"""servers.py - what it costs to know the servers, and what clients see of one that dies.

    bench/servers.py [choice] [checks] [failover] [reload] [ROUNDS=5] [SECONDS=0.4] [BASELINE=/path/to/tcpproxy]

choice    CPU of a short connection where 1, 64 and 4,096 servers are to choose from, each way of `balance`, all checked; divided by
          that of one server that is not checked (of BASELINE, if it is given), paired. They are checked each minute only, for all these
          programs stand on one CPU: what checks cost is told by `checks`
checks    2,000 servers checked each two seconds: the checker's CPU and memory, the p99 of the relay without and with it
failover  one of two servers is killed under 500 clients a second, `check every=200ms fall=2`: who fails, how long. With HAProxy,
          if it is there, set up alike. At last the only server, with `on-down hold`, started again after a second
reload    one of two servers is ill: it takes clients and gives no answer, and its check says so. The configuration is read again: who
          comes to it

In a network namespace of its own, as bench.py; needs root. The first two run on one CPU, the others on all.
"""
import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bench  # noqa: E402
import peers  # noqa: E402
from lib import processes  # noqa: E402
from lib.waiting import wait_for  # noqa: E402
from measures import spread  # noqa: E402

KINDS = ("choice", "checks", "failover", "reload")
BALANCES = ("round-robin", "least-connections", "random", "source", "first")
FRONT, BACK = 2000, 3000  # ports
TWO = ("127.0.0.1", "127.0.0.2")
RATE = 500                # clients in a second
CHECK = 100               # so much above its own is the port at which a server is checked
PATIENCE = 20.0           # seconds that a client waits


def pool(n):
    """So many servers, each an address of its own."""
    return "".join(f"server 127.1.{i // 250}.{1 + i % 250}:{BACK}\n" for i in range(n))


# -- programs under test

class Pool(peers.Ours):
    """One worker, a pool of servers."""

    def __init__(self, folder, port, title, lines, binary=peers.TCPPROXY):
        self.title, self.lines, self.key = title, lines, f"p{port}"
        super().__init__(folder, port, BACK)
        self.path = binary

    def command(self):
        return [self.path, "-f", self.write(f"access-log off\nworkers 1\nlog file:{self.folder}/{self.key}.said\nport {self.port}\n"
                                            f"interface 127.0.0.1\n{self.lines}")]


class Kept:
    """What failover and reload want of a program: one port, two servers that are checked each 200 ms."""
    servers = tuple(f"{address}:{BACK}" for address in TWO)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def start(self, folder):
        self.folder = folder
        self.process = subprocess.Popen([peers.LOAD, "hold", str(max(os.sched_getaffinity(0))), *self.command()], cwd=folder,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: peers.listening(FRONT), f"{self.name} to listen")
        time.sleep(1)  # first checks

    def stop(self):
        peers.end_tree(self.process)

    def reload(self):
        os.kill(peers.tree(self.process.pid)[1], self.reload_signal)


class KeptOurs(Kept):
    name, reload_signal = "tcpproxy", signal.SIGHUP

    def __init__(self, servers=Kept.servers, more=""):
        self.servers, self.more = servers, more

    def command(self):
        lines = "".join(f"server {s}\n" for s in self.servers)
        return [peers.TCPPROXY, "-f", self.write("kept.conf", f"log file:{self.folder}/kept.said\nport {FRONT}\ninterface 127.0.0.1\n{lines}"
                                                 f"check every=200ms fall=2 port={BACK + CHECK} tcp\n{self.more}")]


class KeptHAProxy(Kept):
    name, reload_signal = "HAProxy", signal.SIGUSR2

    @classmethod
    def find(cls):
        return peers.HAProxy.find()

    def command(self):
        lines = "".join(f"\tserver s{i} {s} check port {BACK + CHECK} inter 200ms fall 2\n" for i, s in enumerate(self.servers))
        return [self.find(), "-W", "-f", self.write(
            "kept.cfg", "global\n\tnbthread 2\ndefaults\n\tmode tcp\n\ttimeout connect 5s\n\ttimeout client 1h\n\ttimeout server 1h\n"
            f"\toption redispatch 1\n\tretries 3\nlisten kept\n\tbind 127.0.0.1:{FRONT}\n{lines}")]


# -- servers and clients of our own: a byte, and another one

def serve(address, well=True):
    """Forks a server, of clients and checks; its pid. An ill one takes clients, and its check is refused."""
    listeners = [socket.create_server((address, port), backlog=1024) for port in (BACK, BACK + CHECK)[:1 + well]]
    pid = os.fork()
    if pid == 0:
        try:
            serve_all(listeners, well)
        finally:
            os._exit(1)  # what the parent has to clean up is not ours
    for listener in listeners:
        listener.close()
    return pid


def serve_all(listeners, well):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        for listener in select.select(listeners, [], [])[0]:
            client, _ = listener.accept()
            try:
                if well and listener is listeners[0] and client.recv(1):
                    client.sendall(b"!")
            except OSError:
                pass
            client.close()


def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


class Clients:
    """RATE of them in a second, whether or not they are answered; how it went with each: (begun, took, why it failed)."""

    def __init__(self, seconds, events=()):
        self.seconds, self.events, self.all = seconds, events, []
        asyncio.run(self._all())

    async def _one(self):
        loop, begin, why = asyncio.get_running_loop(), time.monotonic(), None
        s = socket.socket()
        s.setblocking(False)
        try:
            async with asyncio.timeout(PATIENCE):
                await loop.sock_connect(s, ("127.0.0.1", FRONT))
                await loop.sock_sendall(s, b"?")
                if await loop.sock_recv(s, 1) != b"!":
                    why = "no answer"
        except (OSError, TimeoutError) as e:
            why = type(e).__name__
        s.close()
        self.all.append((begin, time.monotonic() - begin, why))

    async def _all(self):
        begin, running, events = time.monotonic(), set(), list(self.events)
        for i in range(int(self.seconds * RATE)):
            await asyncio.sleep(max(0.0, begin + i / RATE - time.monotonic()))
            while events and time.monotonic() - begin >= events[0][0]:
                events.pop(0)[1]()
            task = asyncio.create_task(self._one())
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    def tell(self, name, since=0.0):
        failed = [c for c in self.all if c[2]]
        slowest = max(took for _, took, _ in self.all)
        window = max((begin for begin, _, _ in failed), default=since) - since
        slow = sum(took > 0.5 for _, took, _ in self.all)
        bench.say(f"  {name:26}{len(self.all):>8}{len(failed):>8}{1000 * window if failed else 0:>16.0f}{slow:>13}{1000 * slowest:>13.0f}")


def tell_head(title):
    bench.say(f"\n{title}", f"  {'':26}{'clients':>8}{'failed':>8}{'last after, ms':>16}{'over 500 ms':>13}{'slowest, ms':>13}")


# -- the measurements

def drive(scene, peer, **options):
    raw = bench.Scene.drive(scene, peer, warmup=bench.WARMUP, seconds=scene.seconds, **options)
    return raw, raw["proxy"] / raw["done"] / 1e3


class Scene:
    """Many addresses of one server, everything on one CPU."""

    def __init__(self, folder, seconds):
        self.folder, self.seconds, self.peers = folder, seconds, []
        self.cpu = max(os.sched_getaffinity(0))
        self.server = subprocess.Popen(["taskset", "-c", str(self.cpu), peers.LOAD, "serve", str(BACK), "1", "anywhere"],
                                       stdout=subprocess.PIPE, text=True)
        self.server.stdout.readline()

    def add(self, title, lines, **more):
        peer = Pool(self.folder, FRONT + len(self.peers), title, lines, **more)
        self.peers.append(peer)
        peer.start(self.cpu)
        return peer

    def stop(self):
        for peer in self.peers:
            peer.stop()
        self.server.kill()
        self.server.wait()


def choice(folder, rounds, seconds, baseline):
    scene = Scene(folder, seconds)
    try:
        scene.add("one server, not checked" + (", baseline" if baseline else ""), pool(1), binary=baseline or peers.TCPPROXY)
        scene.add("one server", pool(1) + "check every=1m tcp\n")
        for n in (64, 4096):
            for balance in BALANCES:
                scene.add(f"{n:,}, {balance}", f"balance {balance}\n{pool(n)}check every=1m tcp\n")
        time.sleep(10)  # first checks of all
        cost = {p.title: [] for p in scene.peers}
        for r in range(rounds):
            for peer in scene.peers if r % 2 == 0 else scene.peers[::-1]:
                cost[peer.title].append(drive(scene, peer, mode="short", size=64, connections=64)[1])
        first = cost[scene.peers[0].title]
        bench.say("\nchoice: CPU of a short connection, us", f"  {'':36}{'median':>8}{'ratio':>8}  (quartiles)")
        for title, values in cost.items():
            ratio = spread([a / b for a, b in zip(values, first)])
            bench.say(f"  {title:36}{spread(values)[0]:>8.1f}{ratio[0]:>8.2f}  ({ratio[1]:.2f} - {ratio[2]:.2f})")
    finally:
        scene.stop()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def checks(folder, rounds, seconds, _baseline):
    scene = Scene(folder, seconds)
    try:
        plain = scene.add("one server, not checked", pool(1))
        many = scene.add("2,000 servers, checked", f"{pool(2000)}check every=2s tcp\n")
        checker = wait_for(lambda: next((p for p in peers.tree(many.pid) if processes.title(p) == "tcpproxy: checker"), None), "the checker")
        time.sleep(5)
        before, begin = cpu_seconds(checker), time.monotonic()
        time.sleep(20)
        share = 100 * (cpu_seconds(checker) - before) / (time.monotonic() - begin)
        bench.say("\nchecks: 2,000 servers, each 2 s", f"  checker: {share:.1f} % of a core, {peers.pss([checker]) / 1e6:.1f} MB")
        p99 = {p.title: [] for p in (plain, many)}
        for r in range(rounds * 3):
            for peer in (plain, many) if r % 2 == 0 else (many, plain):
                p99[peer.title].append(drive(scene, peer, mode="exchange", size=64, connections=64, rate=bench.measures.OFFERED)[0]["p99"] / 1e3)
        for title, values in p99.items():
            bench.say(f"  p99 of 64 B requests, {title:26}{spread(values)[0]:>8.0f} us")
        ratio = spread([a / b for a, b in zip(p99[many.title], p99[plain.title])])
        bench.say(f"  ratio {ratio[0]:.2f}  ({ratio[1]:.2f} - {ratio[2]:.2f})")
    finally:
        scene.stop()


def kinds_kept():
    return [KeptOurs()] + ([KeptHAProxy()] if KeptHAProxy.find() else [])


def failover(folder, rounds, _seconds, _baseline):
    tell_head("failover: one of two servers is killed after a second, back two seconds later")
    for program in kinds_kept():
        for _ in range(rounds):
            servers = {address: serve(address) for address in TWO}
            killed = []

            def kill(servers=servers, killed=killed):
                end(servers.pop(TWO[0]))
                killed.append(time.monotonic())

            def again(servers=servers):
                servers[TWO[0]] = serve(TWO[0])
            try:
                program.start(folder)
                Clients(5, [(1, kill), (3, again)]).tell(program.name, killed[0] if killed else 0.0)
            finally:
                program.stop()
                for pid in servers.values():
                    end(pid)
    tell_head("failover: the only server, on-down hold 10, away for a second")
    for _ in range(rounds):
        servers = [serve(TWO[0])]
        program = KeptOurs(Kept.servers[:1], "on-down hold 10 max=5000\n")
        try:
            program.start(folder)
            Clients(5, [(1, lambda: end(servers.pop())), (2, lambda: servers.append(serve(TWO[0])))]).tell("tcpproxy, hold")
        finally:
            program.stop()
            end(servers.pop())


def reload(folder, rounds, _seconds, _baseline):
    tell_head("reload: one of two servers is ill, and its check says so")
    for program in kinds_kept():
        for _ in range(rounds):
            servers = [serve(TWO[0]), serve(TWO[1], well=False)]
            try:
                program.start(folder)
                Clients(4, [(1, program.reload)]).tell(program.name)
            finally:
                program.stop()
                for pid in servers:
                    end(pid)


def main(argv):
    wanted, options = bench.choose(argv, KINDS, ("ROUNDS", "SECONDS", "BASELINE"))
    bench.enter_namespace()
    with bench.scratch() as folder:
        for word in wanted:
            globals()[word](folder, int(options.get("ROUNDS", 5)), float(options.get("SECONDS", 0.4)), options.get("BASELINE"))


if __name__ == "__main__":
    main(sys.argv[1:])
