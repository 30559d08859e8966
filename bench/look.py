#!/usr/bin/python3
"""look.py - what it costs the busy connections that somebody lists them all.

    bench/look.py [--idle 5000] [--busy 64] [--rate 10000] [--rounds 30] [--seconds 2] [--every 1]
                  [--ask "connections -j"]

So many idle connections, and busy ones that send requests of 64 bytes at fixed times, so many in a second. In each round there
are two windows, forwards and backwards in turn: in one of them tcpproxyctl asks again and again. Told are the latencies of
both, their ratio in pairs, and how long tcpproxyctl took. Runs in a network namespace of its own, before all else that the
machine does; needs root. A worker has room for a third of its descriptors' hard limit.
"""
import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from bench import WARMUP, enter_namespace  # noqa: E402
from measures import spread  # noqa: E402
from peers import LOAD  # noqa: E402
from lib.admin import CTL  # noqa: E402
from lib.ports import free_port  # noqa: E402
from lib.proxy import Directory, Proxy  # noqa: E402

FIGURES = ("p50", "p99", "max")


class Scene:
    def __init__(self, idle):
        self.directory = Directory()
        self.socket = self.directory / "admin.sock"
        self.port, server = free_port(), free_port()
        self.server = subprocess.Popen([LOAD, "serve", str(server), "1"], stdout=subprocess.PIPE, text=True)
        self.server.stdout.readline()
        self.proxy = Proxy(self.directory, config=f"workers 1\naccess-log off\nadmin unix:{self.socket}\n"
                                                  f"port {self.port}\nserver 127.0.0.1:{server}\n")
        self.idle = subprocess.Popen([LOAD, "drive", "--to", str(self.port), "--mode", "idle", "--connections", str(idle)],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.idle.stdout.readline() != "ready\n":
            sys.exit(f"look: no {idle} connections\n{self.proxy.log()[-2000:]}")

    def ask(self, words):
        """Seconds until the whole answer is there."""
        begin = time.monotonic()
        subprocess.run([CTL, "-s", self.socket, *words], stdout=subprocess.DEVNULL, check=True)
        return time.monotonic() - begin

    def window(self, o, looking):
        """Latencies in ms, and how long each answer took."""
        over, took = threading.Event(), []

        def look():
            while not over.wait(o.every - (took[-1] if took else o.every / 2)):
                took.append(self.ask(o.ask.split()))
        looker = threading.Thread(target=look)
        if looking:
            looker.start()
        try:
            done = subprocess.run([LOAD, "drive", "--to", str(self.port), "--mode", "exchange", "--connections",
                                   str(o.busy), "--rate", str(o.rate), "--warmup", str(WARMUP), "--seconds",
                                   str(o.seconds)], stdout=subprocess.PIPE, text=True, check=True)
        finally:
            over.set()
            if looking:
                looker.join()
        got = json.loads(done.stdout)
        return {f: got[f] / 1e6 for f in FIGURES}, took

    def stop(self):
        self.idle.kill()
        self.server.kill()
        self.proxy.kill()
        self.directory.remove()


def go_before_others():
    """Whatever else this machine does has to wait: the kernel shares it out by sessions, then by niceness."""
    child = os.fork()
    if child:
        try:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        except KeyboardInterrupt:
            os.kill(child, signal.SIGINT)
            os.waitpid(child, 0)
            sys.exit(130)
    os.setsid()
    os.nice(-20)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as f:
        f.write("-20")


def tell(name, values, unit=""):
    print(f"  {name + unit:28}" + "{:8.2f}   ({:.2f} - {:.2f})".format(*spread(values)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=5000)
    parser.add_argument("--busy", type=int, default=64)
    parser.add_argument("--rate", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--every", type=float, default=1)
    parser.add_argument("--ask", default="connections -j")
    o = parser.parse_args()
    enter_namespace()
    go_before_others()
    scene = Scene(o.idle)
    pairs, took = [], []
    try:
        for r in range(o.rounds):
            pair = {}
            for looking in (False, True) if r % 2 == 0 else (True, False):
                pair[looking], times = scene.window(o, looking)
                took += times
            pairs.append(pair)
    finally:
        scene.stop()
    print(f"{o.idle:,} idle connections, {o.busy} busy ones with {o.rate:,} requests in a second, {o.rounds} rounds; "
          f"medians (quartiles)")
    for figure in FIGURES:
        tell(figure, [p[False][figure] for p in pairs], ", ms")
        tell("  while somebody looks", [p[True][figure] for p in pairs])
        tell("  ratio of pairs", [p[True][figure] / p[False][figure] for p in pairs])
    tell(f"tcpproxyctl {o.ask}", [1000 * t for t in took], ", ms")
    print(f"  {'  the longest':28}{1000 * max(took):8.2f}")


if __name__ == "__main__":
    main()
