#!/usr/bin/python3
"""bench.py - tcpproxy and its peers side by side; `make bench` runs it.

    bench/bench.py [ONLY=requests,short-64,...] [PEERS=haproxy,nginx,...] [ROUNDS=5] [SECONDS=0.4] [QUICK=1] [OUT=DIRECTORY]

ONLY     groups (requests short bulk latency memory) or single measures; default: all
PEERS    who is measured beside tcpproxy; default: all that are there. Unknown ones are answered with the list
ROUNDS   how often everything is measured (default 5; QUICK 3)
SECONDS  of each window
BASELINE another build of tcpproxy that is measured, too
OUT      where the JSON and the page go (default: bench/results)

Runs in a network namespace of its own with reno as congestion control, proxy and load together on one CPU; needs root.
docs/performance.md says why it measures as it does.
"""
import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import measures  # noqa: E402
import page  # noqa: E402
import peers  # noqa: E402
from measures import GROUPS, IDLE, MEASURES  # noqa: E402

INSIDE = "TCPPROXY_BENCH_INSIDE"
FIRST_PORT = 2000
WARMUP = 0.15
FEW = 300          # connections at most, where a peer has a process for each
SYSCTLS = (("net/ipv4/tcp_congestion_control", "reno"), ("net/ipv4/ip_local_port_range", "10000 65535"),
           ("net/core/somaxconn", "8192"), ("net/ipv4/tcp_max_syn_backlog", "8192"))


def say(*words, sep="\n"):
    print(*words, sep=sep, flush=True)


def fail(text):
    sys.exit(f"bench: {text}")


class Knobs:
    """What was asked for, from NAME=VALUE arguments and the environment."""
    NAMES = ("ONLY", "PEERS", "ROUNDS", "SECONDS", "QUICK", "OUT", "BASELINE")

    def __init__(self, argv):
        given = {n: os.environ[n] for n in self.NAMES if os.environ.get(n)}
        for word in argv:
            name, is_one, value = word.partition("=")
            if not is_one or name not in self.NAMES:
                fail(f"{word}: not one of {'= '.join(self.NAMES)}=")
            given[name] = value
        os.environ.update(given)  # for the run inside
        self.quick = given.get("QUICK", "0") not in ("", "0", "no")
        self.rounds = int(given.get("ROUNDS") or (3 if self.quick else 5))
        self.seconds = float(given.get("SECONDS") or (0.25 if self.quick else 0.4))
        self.out = given.get("OUT") or os.path.join(HERE, "results")
        self.only = (given.get("ONLY") or "").replace(",", " ").split()
        self.peers = (given.get("PEERS") or "").replace(",", " ").split()
        self._check()

    def _check(self):
        keys = [m.key for m in MEASURES] + GROUPS
        for word in self.only:
            if word not in keys:
                fail(f"ONLY={word}: not one of {' '.join(GROUPS + keys[:len(MEASURES)])}")
        known = [p.key for p in peers.ALL]
        for word in self.peers:
            if word not in known:
                fail(f"PEERS={word}: not one of {' '.join(known)}")

    def wants(self, measure):
        return (measure.key in self.only or measure.group in self.only) if self.only else \
            measure.quick or not self.quick

    def wants_memory(self):
        return "memory" in self.only if self.only else True

    def wants_peer(self, kind):
        if kind in (peers.Ours, peers.Baseline):
            return True
        if kind is peers.Alone:
            return kind.key in self.peers
        if self.peers:
            return kind.key in self.peers
        return not self.quick or kind in (peers.HAProxy, peers.HAProxySplice, peers.Nginx, peers.Direct)


# -- the scene

def enter_namespace():
    """A network of our own, so that no setting of the machine's matters and none is changed."""
    if os.environ.get(INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for name, value in SYSCTLS:
            with open(f"/proc/sys/{name}", "w") as f:
                f.write(value)
        return
    if os.geteuid() != 0:
        fail("needs root, for a network namespace of its own")
    os.execvpe("unshare", ["unshare", "--net", "--", sys.executable, *sys.argv], {**os.environ, INSIDE: "1"})


class Scene:
    """The server of the load and all peers, started; everything on one CPU."""

    def __init__(self, knobs):
        self.cpu = max(os.sched_getaffinity(0))
        self.folder = tempfile.mkdtemp(prefix="tcpproxy-bench-")
        os.chmod(self.folder, 0o755)
        self.missing = [k.name for k in peers.ALL if k not in (peers.Alone, peers.Baseline) and not k.find()]
        kinds = [k for k in peers.ALL if knobs.wants_peer(k) and k.find()]
        if peers.Ours not in kinds:
            fail(f"{peers.TCPPROXY} is not built: run make first")
        for key in knobs.peers:
            if key not in [k.key for k in kinds]:
                fail(f"{key} is not there; {peers.HOW}")
        first_server = FIRST_PORT + len(kinds)
        self.server = subprocess.Popen(["taskset", "-c", str(self.cpu), peers.LOAD, "serve", str(first_server),
                                        str(len(kinds))], stdout=subprocess.PIPE, text=True)
        if self.server.stdout.readline() != "ready\n":
            fail("the server of the load does not start")
        self.peers = [k(self.folder, FIRST_PORT + i, first_server + i) for i, k in enumerate(kinds)]
        self.notes = {}

    def start(self):
        for peer in list(self.peers):
            try:
                peer.start(self.cpu)
                self.check(peer)
            except (AssertionError, OSError, subprocess.SubprocessError) as e:
                if peer.key == "tcpproxy":
                    raise
                say(f"{peer.name} is left out: {e}")
                peer.stop()
                self.peers.remove(peer)

    def drive(self, peer, **options):
        """One run of the load through a peer; its report."""
        argv = ["taskset", "-c", str(self.cpu), peers.LOAD, "drive", "--to", peer.port, "--server", self.server.pid,
                "--proxy", peer.pid]
        for name, value in options.items():
            argv += [f"--{name}", value]
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise AssertionError(done.stderr.strip() or f"load ended with {done.returncode}")
        return json.loads(done.stdout)

    def check(self, peer):
        """Do its bytes arrive when the client is the first to end, and the answer comes later?"""
        got = self.drive(peer, mode="late")
        self.notes[peer.key] = "" if got["got"] == got["wanted"] else \
            f"loses the answer of a server when the client has half-closed ({got['got']} of {got['wanted']} bytes)"

    def stop(self):
        for peer in self.peers:
            peer.stop()
        self.server.terminate()
        self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


# -- measuring

def measure_once(scene, knobs, measure, peer):
    options = dict(measure.options)
    if peer.by_process:
        options["connections"] = min(options.get("connections", 1), FEW)
    raw = scene.drive(peer, warmup=WARMUP, seconds=knobs.seconds, **options)
    sample = {"cpu": measure.cost(raw["proxy"], raw), "load": measure.cost(raw["client"] + raw["server"], raw),
              "speed": measure.speed(raw)}
    for name in ("p50", "p99"):
        if name in raw:
            sample[name] = raw[name] / 1e3
    return sample


def measure_memory(scene, peer):
    """Bytes of all its processes before and after many idle connections, for each of them."""
    n = FEW if peer.by_process else IDLE
    before = peers.pss(peers.tree(peer.pid)[1:])
    idle = subprocess.Popen([peers.LOAD, "drive", "--to", str(peer.port), "--mode", "idle", "--connections", str(n)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if idle.stdout.readline() != "ready\n":
            raise AssertionError(f"it does not serve {n:,} connections at a time")
        after = peers.pss(peers.tree(peer.pid)[1:])
    finally:
        idle.stdin.close()
        idle.wait(30)
    return {"growth": (after - before) / n, "tree": after / n, "empty": before, "connections": n}


def run(scene, knobs):
    """All samples. A peer that fails at a measure is left out there."""
    samples, wanted = [], [m for m in MEASURES if knobs.wants(m)]
    failed = set()
    if knobs.wants_memory():  # first: nobody has any history yet
        say("memory ...")
        for peer in (p for p in scene.peers if not getattr(p, "limit", False)):
            try:
                samples.append({"measure": "memory", "peer": peer.key, "round": 0, **measure_memory(scene, peer)})
            except AssertionError as e:
                say(f"  {peer.name} fails at memory: {e}")
    for r in range(knobs.rounds):
        say(f"round {r + 1} of {knobs.rounds} ...")
        for measure, window in ((m, r * m.windows + i) for m in wanted for i in range(m.windows)):
            for peer in scene.peers if window % 2 == 0 else scene.peers[::-1]:
                if (measure.key, peer.key) in failed:
                    continue
                try:
                    got = measure_once(scene, knobs, measure, peer)
                except (AssertionError, subprocess.TimeoutExpired) as e:
                    failed.add((measure.key, peer.key))
                    say(f"  {peer.name} fails at {measure.title}: {e}")
                    if peer.key == "tcpproxy":
                        raise
                    continue
                samples.append({"measure": measure.key, "peer": peer.key, "round": window, **got})
    return samples


# -- telling

def choose(argv, kinds, names):
    """For benches of several kinds. Returns those that are wanted, all if none is named, and NAME=VALUE as a dict."""
    options = dict(word.split("=", 1) for word in argv if "=" in word)
    wanted = [word for word in argv if "=" not in word] or list(kinds)
    for word in wanted:
        if word not in kinds:
            fail(f"{word}: not one of {' '.join(kinds)}")
    for name in options:
        if name not in names:
            fail(f"{name}=: not one of {' '.join(f'{n}=' for n in names)}")
    return wanted, options


@contextlib.contextmanager
def scratch():
    """A folder that others can read, until the end, also by SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = tempfile.mkdtemp(prefix="tcpproxy-bench-")
    os.chmod(folder, 0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def number(x, digits=3):
    if x is None or math.isnan(x):
        return "-"
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.{digits}g}"


def tell_measure(measure, who, samples):
    lines = []
    for peer in who:
        mine = measures.select(samples, measure.key, peer.key).values()
        if not mine:
            continue
        name = f"{peer.name} ({FEW})" if peer.by_process and measure.connections > FEW else peer.name
        cpu = measures.spread([s["cpu"] for s in mine])
        load = measures.spread([s["load"] for s in mine])
        speed = measures.spread([s["speed"] for s in mine])
        line = f"  {name:24}{number(cpu[0]):>8}  ({number(cpu[1])} - {number(cpu[2])})".ljust(54)
        line += f"{number(load[0]):>8}{number(speed[0]):>11}"
        if measure.group == "latency":
            line += "".join(f"{number(measures.spread([s[p] for s in mine])[0]):>9}" for p in ("p50", "p99"))
        ratio = measures.spread(measures.ratios(samples, [measure.key], "cpu", peer.key))
        if ratio and peer.key != "tcpproxy":
            clock = measures.spread(measures.ratios(samples, [measure.key], "cpu", peer.key, clock=True))
            line += f"{ratio[0]:>9.2f}  ({ratio[1]:.2f} - {ratio[2]:.2f}) {clock[0]:>6.2f}"
        lines.append(line)
    if lines:
        speeds = "GB/s" if measure.per == "bytes" else "per s"
        latency = f"{'p50 us':>9}{'p99 us':>9}" if measure.group == "latency" else ""
        say(f"\n{measure.title}", f"  {'':24}{'CPU, ' + measure.unit:>8}  (quartiles)".ljust(54) +
            f"{'load':>8}{speeds:>11}{latency}{'ratio':>9}  (quartiles)   clock", *lines, sep="\n")


def tell_memory(who, samples):
    rows = [(p, s) for p in who for s in measures.select(samples, "memory", p.key).values()]
    if rows:
        say("\nmemory of idle connections, bytes for each", f"  {'':24}{'growth':>9}{'all':>9}{'at':>7}{'empty, MB':>11}")
        for peer, s in rows:
            say(f"  {peer.name:24}{s['growth']:>9,.0f}{s['tree']:>9,.0f}{s['connections']:>7,}{s['empty'] / 1e6:>11.2f}")


def judge(samples):
    """[(Target, (median, quartiles), word)] for what was measured."""
    judged = []
    for t in measures.TARGETS:
        got = measures.spread(measures.ratios(samples, t.measures, t.figure, t.peer))
        if got:
            value = got[1] if t.by == "lower quartile" else got[0]
            word = "moonshot" if t.moonshot and value <= t.moonshot else "met" if value <= t.target else "missed"
            judged.append((t, got, word))
    return judged


def tell_targets(judged, names):
    if judged:
        say("\ntargets: ours / theirs, median of paired ratios (quartiles)",
            f"  {'':46}{'against':24}{'target':>7}{'moonshot':>9}{'ratio':>7}")
    for t, (median, low, high), word in judged:
        say(f"  {t.title:46}{names.get(t.peer, t.peer):24}{t.target:>7}{t.moonshot or '':>9}{median:>7.2f}  "
            f"({low:.2f} - {high:.2f})  {word}")


def write_results(scene, knobs, samples, took):
    """The JSON and the page; no name of this machine, no path."""
    about = {
        "rounds": knobs.rounds, "seconds": knobs.seconds, "warmup": WARMUP, "congestion": SYSCTLS[0][1],
        "kernel": ".".join(os.uname().release.split("-")[0].split(".")[:2]), "minutes": round(took / 60, 1),
        "peers": [{"key": p.key, "name": p.name, "version": p.version(), "note": scene.notes.get(p.key, "")}
                  for p in scene.peers],
        "measures": [{"key": m.key, "group": m.group, "title": m.title, "unit": m.unit} for m in MEASURES],
        "targets": [{"title": t.title, "against": t.peer, "target": t.target, "moonshot": t.moonshot,
                     "ratio": [round(x, 4) for x in got], "is": word} for t, got, word in judge(samples)],
    }
    rounded = [{k: round(v, 5) if isinstance(v, float) else v for k, v in s.items()} for s in samples]
    os.makedirs(knobs.out, exist_ok=True)
    path = os.path.join(knobs.out, "bench.json")
    with open(path, "w") as f:
        f.write(json.dumps({"about": about, "samples": "@"}, indent=1).replace(
            '"@"', "[\n" + ",\n".join(json.dumps(s) for s in rounded) + "\n]") + "\n")
    with open(os.path.join(knobs.out, "bench.html"), "w") as f:
        f.write(page.render({"about": about, "samples": rounded}))
    return os.path.join(knobs.out, "bench.html")


def main(argv):
    knobs = Knobs(argv)
    enter_namespace()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    begin = time.monotonic()
    scene = Scene(knobs)
    try:
        scene.start()
        say("measured: " + ", ".join(f"{p.name} {p.version()}".strip() for p in scene.peers))
        if scene.missing:
            say("not there: " + ", ".join(scene.missing) + f"; {peers.HOW}")
        for peer in scene.peers:
            if scene.notes.get(peer.key):
                say(f"{peer.name} {scene.notes[peer.key]}")
        samples = run(scene, knobs)
        for measure in MEASURES:
            tell_measure(measure, scene.peers, samples)
        tell_memory(scene.peers, samples)
        tell_targets(judge(samples), {p.key: p.name for p in scene.peers})
        say(f"\nresults: {write_results(scene, knobs, samples, time.monotonic() - begin)}")
    finally:
        scene.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
