#!/usr/bin/python3
"""stall.py - how long a busy client waits when a worker is killed, the configuration read again, the program replaced.

    bench/stall.py [--idle 1000] [--workers 1] [--times 100] [--realtime]

One connection asks (64 bytes) and is answered again and again, beside so many idle ones; told is the longest round trip
around each kill of all workers, each reload, each upgrade. In the end every idle connection must answer. A worker has
room for a third of its descriptors' hard limit: for more connections, more workers (or ulimit -Hn). On a machine that is
busy with something else, --realtime puts client, server and proxy before all that (as root): what is left is the
proxy's own time.
"""
import argparse
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from measures import spread  # noqa: E402
from peers import LOAD  # noqa: E402
from lib.ports import free_port  # noqa: E402
from lib.proxy import Directory, Proxy  # noqa: E402

WATCH = 0.25     # seconds around each trouble
PAUSE = 0.0002   # between two round trips
UPGRADES = 20.0  # seconds that one may take
REQUEST = b"?" * 64


class Busy:
    """The connection that is watched. The other end is a plain echo, in a process of its own."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def trip(self):
        begin = time.monotonic()
        self.socket.sendall(REQUEST)
        missing = len(REQUEST)
        while missing:
            got = len(self.socket.recv(missing))
            if not got:
                sys.exit("stall: the busy connection was dropped")
            missing -= got
        return 1000 * (time.monotonic() - begin)

    def longest(self, over, at_least=WATCH):
        """Of the round trips until `over()`, and for some time."""
        begin, worst, looked = time.monotonic(), 0.0, 0.0
        while True:
            worst = max(worst, self.trip())
            time.sleep(PAUSE)  # the processors are for the others, too
            now = time.monotonic()
            if now - looked > 0.02:  # looking costs time, too
                if now - begin > at_least and over():
                    return worst
                looked = time.monotonic()
            if now - begin > UPGRADES:
                sys.exit("stall: it does not come to an end")


def echo_server(port):
    """A child that echoes to one client after the other."""
    listener = socket.create_server(("127.0.0.1", port))
    pid = os.fork()
    if pid:
        listener.close()
        return pid
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while some := client.recv(4096):
            client.sendall(some)


class Scene:
    def __init__(self, idle, workers, realtime):
        if realtime:  # the clients before the proxy, or they wait for it on their own processors
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
        self.directory = Directory()
        port, busy_port, server, echo = (free_port() for _ in range(4))
        self.echo = echo_server(echo)
        self.server = subprocess.Popen([LOAD, "serve", str(server), "1"], stdout=subprocess.PIPE, text=True)
        self.server.stdout.readline()
        self.proxy = Proxy(self.directory, config=f"workers {workers}\nport {port}\nserver 127.0.0.1:{server}\n"
                                                  f"port {busy_port}\nserver 127.0.0.1:{echo}\n",
                           wrap=("chrt", "-r", "1") if realtime else ())
        self.proxy.expect_deaths()
        self.idle = subprocess.Popen([LOAD, "drive", "--to", str(port), "--mode", "idle", "--connections", str(idle)],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.idle.stdout.readline() != "ready\n":
            sys.exit(f"stall: no {idle} connections; more workers?\n{self.proxy.log()[-2000:]}")
        self.busy = Busy(busy_port)

    def all_answer(self):
        self.idle.stdin.write("\n")
        self.idle.stdin.flush()
        return self.idle.stdout.readline() == "all answered\n"

    def stop(self):
        self.idle.kill()
        self.server.kill()
        os.kill(self.echo, signal.SIGKILL)
        self.proxy.kill()
        self.directory.remove()

    # -- the troubles: each begins one, and returns what tells when it is over

    def none(self):
        return lambda: True

    def _logged(self, text):
        before = self.proxy.log().count(text)
        return lambda: self.proxy.log().count(text) > before

    def kill(self):
        killed = self.proxy.workers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        return lambda: not set(killed) & set(self.proxy.workers()) and self.proxy.whole()

    def reload(self):
        over = self._logged("is in force")
        self.proxy.signal(signal.SIGHUP)
        return over

    def upgrade(self):
        over = self._logged("upgrade: done")
        new = self.directory / "new"
        shutil.copy2(self.directory.program, new)
        os.rename(new, self.directory.program)
        self.proxy.signal(signal.SIGUSR2)
        return over


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--realtime", action="store_true")
    o = parser.parse_args()
    scene = Scene(o.idle, o.workers, o.realtime)
    try:
        print(f"{o.idle:,} idle connections, {o.workers} worker{'s' * (o.workers > 1)}, {o.times} times each; ms")
        print(f"  {'':10}{'median':>8}{'90 %':>8}{'99 %':>8}{'worst':>8}")
        for what in ("none", "kill", "reload", "upgrade"):
            worst = sorted(scene.busy.longest(getattr(scene, what)()) for _ in range(o.times))
            at = [worst[math.ceil(len(worst) * q) - 1] for q in (0.9, 0.99)]
            print(f"  {what:10}" + "".join(f"{x:8.1f}" for x in (spread(worst)[0], *at, worst[-1])), flush=True)
        if not scene.all_answer():
            sys.exit("stall: an idle connection was dropped")
        print("  every idle connection answers")
    finally:
        scene.stop()


if __name__ == "__main__":
    main()
