#!/usr/bin/python3
"""Connections of many kinds over IPv4, IPv6 and Unix sockets, every byte and every end checked (peers.c), while
members of trios are killed (killer.c). Afterwards: exactly one access record for each connection, with the right
end and the right counts; no descriptor more than before; no process left.

usage: kills.py [--seed N] [--kills N] [--slots N] [--whom LETTERS] [--faults N] [--keeper-faults N] [--spare-faults N]
                [--moves MS] [--programs N] [--headers] [--source-client]
                [--forwarder 'COMMAND {port} {target}']
"""
import argparse
import collections
import datetime
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib import processes  # noqa: E402
from lib.ports import free_port, listening  # noqa: E402
from lib.proxy import BINARY, Directory, Proxy  # noqa: E402
from lib.waiting import stays, wait_for  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
KINDS = ["tcp4", "tcp6", "unix"]
WHOM = "mmmmmmww22ddsh"  # see killer.c
GROWTH_KIB = 8 * 1024  # pages that had not been touched before: rows, rings
SANITIZED_KIB = 64 * 1024  # what is freed is kept there for a while


def build(directory, name, *flags):
    """The C programs of the torture need nothing but a compiler."""
    program = directory / name
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, os.path.join(HERE, name + ".c"), *flags], check=True)
    return program


class Slots:
    def __init__(self, directory, n, programs=0, headers=False, as_client=False):
        """headers: each connection goes through two services, of which the one tells the other who the client is. as_client: by sockets
        that another process makes."""
        self.words, self.config, self.ports, self.pairs = [], "", [], []
        self.inner = set()
        for i in range(n):
            kind, port = KINDS[i % 3], free_port()
            target = directory / f"{i}.sock" if kind == "unix" else str(free_port())
            spelt = {"tcp4": f"127.0.0.1:{target}", "tcp6": f"[::1]:{target}", "unix": f"unix:{target}"}[kind]
            self.pairs.append((port, spelt))
            rule = f"server {spelt}"
            if headers:
                inner = str(free_port())
                self.inner.add(inner)
                self.config += f"port {inner}\naccept-proxy from 127.0.0.0/8\nserver {spelt}\n"
                rule = f"server 127.0.0.1:{inner}\nsend-proxy {['v1', 'v2 unique-id crc', 'v2 tlv=0xE0:' + 'x' * 900][i % 3]}"
            if as_client and kind != "unix":
                rule += "\nsource client"
            self.add(f"{kind}:{port}:{target}", port, rule)
        if programs:
            acp = directory.script("acp", 'echo "port $TCPREMOTEPORT"\nexit $((TCPREMOTEPORT % 2))')
        for i in range(programs):
            port, target = free_port(), free_port()
            if i % 2:
                self.add(f"acp:{port}:{target}", port, f"acp {acp}\nserver 127.0.0.1:{target}")
            else:
                self.add(f"exec:{port}:-", port, "exec /bin/cat")

    def add(self, word, port, rule):
        self.words.append(word)
        self.ports.append(port)
        self.config += f"port {port}\n{rule}\n"


def open_sockets(proxy):
    """What each worker holds: sockets, ends of pipes, others."""
    found = {}
    for pid in proxy.workers():
        kinds = collections.Counter(re.split(r"[:\[]", d)[0] for d in processes.descriptors(pid).values())
        found[processes.title(pid)] = kinds
    return found


def replace_workers(proxy):
    """What the dead left open is closed by the next worker: let there be one."""
    old = set(proxy.workers())
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: proxy.whole() and not old & set(proxy.workers()), "other workers")


def wrong_descriptors(before, after, spare=0):
    """A pipe for copying may be there or not; and `spare` others of each kind."""
    wrong = []
    for title, had in before.items():
        has = after.get(title, {})
        for kind in ("socket", "pipe", "anon_inode", "/memfd"):
            more = 2 if kind == "pipe" else spare
            least = had[kind] - more if kind == "socket" else 0
            if not least <= has.get(kind, 0) <= had[kind] + more:
                wrong.append(f"{title}: {has.get(kind, 0)} descriptors {kind}, there were {had[kind]}")
    return wrong


def sanitized():
    with open(BINARY, "rb") as f:
        return b"__asan_init" in f.read()


def memory(proxy):
    """Of our processes by their titles, shared pages counted once, in KiB."""
    found = collections.Counter()
    for pid in proxy.pids():
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                found[processes.title(pid)] += int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M)[1])
        except (OSError, TypeError):
            pass  # it has just ended
    return found


def wrong_records(log, lines, twice=0, inner=()):
    """Compares what peers.c says with the records: per client's address, in order. A supervisor that is killed while
    it writes leaves the record to the next one: so many may stand there twice."""
    again = 0
    wanted, found, wrong = collections.defaultdict(list), collections.defaultdict(list), []
    for line in lines:
        _, client, port, up, down, ends = line.split()
        wanted[client, port].append((int(up), int(down), ends.split(",")))
    for m in re.finditer(r" close id=(\S+) port=(\d+) .*?client=(\S+) .* up=(\d+) down=(\d+) .*end=(\S+)", log):
        record = (int(m[4]), int(m[5]), m[6], m[0].strip())
        if m[2] in inner:  # its client is the same one; how it ended is seen by the other service
            if m[3] not in {client for client, _ in wanted} or " via=" not in m[0]:
                wrong.append(f"nobody's: {m[0].strip()}")
            continue
        if record in found[m[3], m[2]] and again < twice:
            again += 1
        else:
            found[m[3], m[2]].append(record)
    for key in wanted.keys() | found.keys():
        if len(wanted[key]) != len(found[key]):
            wrong.append(f"{key}: {len(found[key])} records of {len(wanted[key])} connections: {found[key]}")
            continue
        for (up, down, ends), (got_up, got_down, end, text) in zip(wanted[key], found[key]):
            if end not in ends or up not in (-1, got_up) or down not in (-1, got_down):
                wrong.append(f"up={up} down={down} end={'|'.join(ends)} is what was done: {text}")
    ids = [m for m in re.findall(r" close id=(\S+) ", log)]
    if len(ids) != len(set(ids)) + again:
        wrong.append(f"{len(ids) - len(set(ids))} numbers of connections come twice")
    return wrong


class Deaths:
    """Hears where members end themselves: in a build with -Dfaults=true."""

    def __init__(self):
        self.name = f"tcpproxy-torture-{os.getpid()}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.name)
        self.places, self.heard = collections.Counter(), []
        threading.Thread(target=self.listen, daemon=True).start()  # few words wait in the socket

    def listen(self):
        while word := self.socket.recv(300).decode():
            place, pid = word.split()
            self.places[place] += 1
            self.heard.append(f"{datetime.datetime.now().isoformat()} {pid} ended itself at {place}\n")

    def count(self):
        return sum(self.places.copy().values())

    @staticmethod
    def possible():
        n = 0
        for folder, _, names in os.walk(os.path.join(ROOT, "src")):
            for name in names:
                with open(os.path.join(folder, name), encoding="utf-8") as f:
                    n += len(re.findall(r"^\s+FAULT_POINT\(\);", f.read(), re.M))
        return n


class Run:
    """What came of one run."""

    def __init__(self):
        self.failures, self.summary, self.log = [], "", ""


def load(peers, seed, slots, action):
    """Runs the peers while action() does something; returns what they say, line by line."""
    with open(peers + ".out", "w+") as out:  # a pipe would be full while nobody reads
        p = subprocess.Popen([peers, str(seed), *slots.words], stdout=out)
        try:
            action(p)
            p.terminate()
            p.wait(60)
        finally:
            p.kill()
            p.wait()
        out.seek(0)
        return out.read().splitlines()


def killing(run, directory, proxy, seed, kills, whom):
    killer = build(directory, "killer", "-lm")
    argv = [killer, str(seed), whom, str(kills), str(proxy.trios), directory.program, proxy.log_path, *proxy.argv]

    def action(_):
        p = subprocess.run(argv, stdout=subprocess.PIPE, text=True, cwd=directory.path, env=directory.environment())
        out = p.stdout.splitlines()
        for i, line in enumerate(out):
            if line.startswith("FAIL"):
                run.failures += out[max(0, i - 2):i + 1]
        if p.returncode not in (0, 1):
            run.failures.append(f"the killer ended with {p.returncode}")
        run.summary = " ".join(line for line in out if line.startswith("killed"))
    return action


def stop(proxy):
    """QUIT to whoever is the supervisor now: it ends when the last row is free, and nothing of it stays."""
    supervisors = proxy.role("supervisor")
    assert len(supervisors) == 1, f"supervisors {supervisors}: {proxy.tree()}"
    os.kill(supervisors[0], signal.SIGQUIT)
    proxy.process.poll()
    proxy.wait_gone()


def killing_makers(proxy, action):
    """While that goes on, one of those that make blank sockets, or watch that, is killed again and again."""
    def both(peers):
        over = threading.Event()

        def kill():
            choose = random.Random(1)
            while not over.wait(0.2):
                pids = proxy.role("sockets") + proxy.role("sockets (watches)")
                if len(pids) == 2:  # both at once mean the end of them
                    try:
                        os.kill(choose.choice(pids), signal.SIGKILL)
                    except ProcessLookupError:
                        pass
        thread = threading.Thread(target=kill)
        thread.start()
        try:
            action(peers)
        finally:
            over.set()
            thread.join()
    return both


def into_a_namespace():
    """Of the network: what the routing is set up for is this run alone. Starts the program again, there."""
    if not os.environ.get("KILLS_IN_NAMESPACE"):
        os.execvpe("unshare", ["unshare", "-n", sys.executable, *sys.argv], {**os.environ, "KILLS_IN_NAMESPACE": "1"})
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def torture_proxy(seed=1, kills=300, n=48, whom=WHOM, workers=2, faults=None, keeper_faults=None, spare_faults=None,
                  moves=None, programs=0, options="", headers=False, as_client=False):
    """Returns a Run. faults and their kin, moves: only with a build of -Dfaults=true. With faults of workers nobody
    else kills; those of keepers come when a member is killed."""
    run, directory = Run(), Directory()
    deaths = Deaths() if faults or keeper_faults or spare_faults else None
    env = {"TCPPROXY_FAULTS": faults, "TCPPROXY_KEEPER_FAULTS": keeper_faults, "TCPPROXY_SPARE_FAULTS": spare_faults,
           "TCPPROXY_FAULTS_TO": deaths and deaths.name, "TCPPROXY_MOVES": moves}
    slots = Slots(directory, n, programs, headers, as_client)
    proxy = None
    try:
        peers = build(directory, "peers")
        config = f"workers {workers}\n{options}" + slots.config
        proxy = Proxy(directory, config=config, env={k: str(v) for k, v in env.items() if v}, wait=not faults)
        proxy.expect_deaths()
        if faults:  # they kill themselves
            wait_for(lambda: all(listening(p) for p in slots.ports), "listening")

            def action(_):
                wait_for(lambda: deaths.count() >= kills, f"{kills} deaths", 600)
        else:
            replace_workers(proxy)
            before, memory_before = open_sockets(proxy), memory(proxy)
            action = killing(run, directory, proxy, seed, kills, whom)
            if as_client:
                action = killing_makers(proxy, action)
        lines = load(peers, seed, slots, action)
        done = [line for line in lines if line.startswith("conn")]
        run.failures += [line for line in lines if line.startswith("FAIL")]
        run.summary += " " + lines[-1]
        if not run.failures:
            records = len(done) * (2 if headers else 1)
            proxy.wait_records(records, 10)
            supervisors = re.search(r"supervisors (\d+).* in an upgrade (\d+)", run.summary)
            twice = sum(map(int, supervisors.groups())) if supervisors else 0
            stays(lambda: proxy.log().count(" close id=") <= records + twice, "no record too many", 0.2)
            run.failures += wrong_records(proxy.log(), done, twice, slots.inner)
            if not faults:
                replace_workers(proxy)
                # spares that die all the time let no worker look at what is left
                spare = deaths.count() if spare_faults else 1 if moves else 0
                try:  # a worker that is just being replaced shows none
                    wait_for(lambda: not wrong_descriptors(before, open_sockets(proxy), spare), "all is closed", 3)
                except AssertionError:
                    run.failures += wrong_descriptors(before, open_sockets(proxy), spare)
                memory_after = memory(proxy)
                growth = sum(memory_after.values()) - sum(memory_before.values())
                run.summary += f" memory {growth:+d} KiB"
                if growth > (SANITIZED_KIB if sanitized() else GROWTH_KIB):
                    run.failures.append(f"{growth} KiB of memory more than before: {memory_before}, {memory_after}")
        run.log = proxy.log()
        if deaths:
            run.summary += f" deaths {deaths.count()} at {len(deaths.places)} of {deaths.possible()} places"
        handed = sum(int(n) for n in re.findall(r"^tcpproxy: (\d+) connections were handed over", run.log, re.M))
        run.summary += f" handed over {handed}" if handed else ""
        run.summary += f" takeovers {len(re.findall(r'worker [0-9]+ .pid.*is replaced', run.log))}"
        stop(proxy)
    except AssertionError as e:
        run.failures.append(str(e)[-2000:])
    finally:
        if proxy:
            proxy.kill()
            run.log = proxy.log()
            run.log += "".join(deaths.heard) if deaths else ""
        directory.remove()
    return run


def torture_forwarder(command, seed=1, seconds=4, n=12):
    """The same connections through some other forwarder, without kills. Returns what failed."""
    directory = Directory()
    slots = Slots(directory, n)
    running = []
    try:
        peers = build(directory, "peers")
        for port, spelt in slots.pairs:
            running.append(subprocess.Popen([w.format(port=port, target=spelt) for w in command.split()]))
        wait_for(lambda: all(listening(p) for p in slots.ports), "the forwarders")
        lines = load(peers, seed, slots, lambda p: time.sleep(seconds))
        return [line for line in lines if line.startswith("FAIL")], lines[-1]
    finally:
        for p in running:
            p.kill()
            p.wait()
        directory.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--slots", type=int, default=48)
    parser.add_argument("--whom", default=WHOM)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--faults", type=int, help="a build with -Dfaults=true: workers live N steps at most")
    parser.add_argument("--keeper-faults", type=int, help="likewise the keepers that replace others; with kills")
    parser.add_argument("--spare-faults", type=int, help="likewise the others; with kills of keepers only")
    parser.add_argument("--moves", type=int, help="likewise: some connections change workers every so many ms")
    parser.add_argument("--headers", action="store_true", help="through two services, by the PROXY protocol")
    parser.add_argument("--source-client", action="store_true", help="servers are called from the clients' addresses; in a network namespace")
    parser.add_argument("--programs", type=int, default=0, help="so many slots more, with handlers and access programs")
    parser.add_argument("--forwarder")
    parser.add_argument("--log", help="where the log is kept if something failed")
    args = parser.parse_args()
    begin = time.monotonic()
    if args.source_client:
        into_a_namespace()
    if args.forwarder:
        failures, summary = torture_forwarder(args.forwarder, args.seed, 10, args.slots)
    else:
        run = torture_proxy(args.seed, args.kills, args.slots, args.whom, args.workers, args.faults,
                            args.keeper_faults, args.spare_faults, args.moves,
                            args.programs, headers=args.headers, as_client=args.source_client)
        failures, summary = run.failures, run.summary
        if args.log and failures:
            with open(args.log, "w") as f:
                f.write(run.log)
    for line in failures[:20]:
        print(line)
    print(f"{summary}; {len(failures)} FAIL, seed {args.seed}, {time.monotonic() - begin:.1f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
