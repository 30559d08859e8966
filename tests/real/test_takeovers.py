"""Real clients whose sessions are open while workers are killed, and the proxy is reloaded and upgraded, again and again.

TAKEOVERS says how often in each test (default: 15).
"""

import filecmp
import itertools
import os
import random
import re
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import servers
from servers import command, wait_for

TAKEOVERS = int(os.environ.get("TAKEOVERS", "15"))
CONFIG = "workers 2\nport {port}\ninterface 127.0.0.1\nserver 127.0.0.1:SERVER\n"


class Front:
    """tcpproxy in front of a server."""

    def __init__(self, proxy, server_port):
        self.port = proxy(config=CONFIG.replace("SERVER", str(server_port)))
        self.program = proxy.running[-1]
        self.upgrades = self.reloads = 0

    def workers(self):
        found = {title: pid for pid, title in servers.members(self.program.folder).items() if title.startswith("tcpproxy: worker")}
        return found if len(found) == 2 else None

    def kill(self):
        before = wait_for(self.workers, "two workers")
        title, pid = random.choice(sorted(before.items()))
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: (self.workers() or before)[title] != pid, "another worker")

    def reload(self):
        self.reloads += 1
        os.kill(self.program.pid, signal.SIGHUP)
        wait_for(lambda: self.program.output().count(" is in force") == self.reloads, "the configuration is read")

    def upgrade(self):
        self.upgrades += 1
        os.kill(self.program.pid, signal.SIGUSR2)
        wait_for(lambda: self.program.output().count("upgrade: done") == self.upgrades, "the upgrade is done")

    def takeovers(self, n=TAKEOVERS):
        """n of them, one after the other; the number of each."""
        for i, happen in zip(range(n), itertools.cycle((self.kill, self.reload, self.upgrade))):
            happen()
            yield i
        ends = set(re.findall(r" end=(\S+)", self.program.output()))
        assert ends <= {"client-fin", "server-fin"}, self.program.output()


class Talk:
    """A client that answers each line with a line."""

    def __init__(self, argv, env=None):
        self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, bufsize=0, env={**os.environ, **(env or {})})
        self.rest = b""

    def line(self):
        while b"\n" not in self.rest:
            assert select.select([self.process.stdout], [], [], servers.PATIENCE)[0], f"no answer: {self.rest!r}"
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, f"it has ended: {self.rest!r}"
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()

    def ask(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        return self.line()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(servers.PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


def test_ssh(start, folder, proxy):
    """A session that is open all the while; no key is exchanged anew, no line is lost."""
    sshd = servers.Sshd(start, folder)
    front = Front(proxy, sshd.port)
    argv = [command("ssh"), *sshd.options(), "-p", front.port, "root@127.0.0.1",
            'echo $SSH_CONNECTION; while read -r line; do echo "$line"; done']
    with Talk(argv) as session:
        assert session.line().startswith("127.0.0.1 ")
        for i in front.takeovers():
            assert session.ask(f"line {i}") == f"line {i}"
    assert session.process.returncode == 0


def grow(tree):
    """Files of all sizes, some in folders."""
    choice = random.Random(1)
    for i in range(400):
        path = tree / f"{i % 7}" / f"file {i}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(choice.randbytes(choice.choice((0, 1, 1000, 30_000, 200_000))))


def same(one, two):
    compared = filecmp.dircmp(one, two, ignore=[])
    assert not compared.left_only and not compared.right_only and not compared.funny_files
    assert filecmp.cmpfiles(one, two, compared.common_files, shallow=False)[1:] == ([], [])
    for name in compared.common_dirs:
        same(Path(one) / name, Path(two) / name)


def test_rsync(start, folder, proxy):
    """A tree is fetched, slowly; if it is there before all have happened, once more."""
    rsync = servers.Rsync(start, folder)
    grow(rsync.tree)
    front = Front(proxy, rsync.port)

    def fetch(n):
        argv = [rsync.client(), "-rt", "--bwlimit=6m", f"rsync://127.0.0.1:{front.port}/tree/", folder / f"copy{n}/"]
        return start(f"rsync-{n}", argv)
    runs = [fetch(0)]
    for _ in front.takeovers():
        if runs[-1].ended():
            runs.append(fetch(len(runs)))
    for n, run in enumerate(runs):
        wait_for(run.ended, "rsync ends", 60)
        assert run.stop() == 0, run.output()
        same(rsync.tree, folder / f"copy{n}")


def test_redis_cli(start, folder, proxy):
    redis = servers.Redis(start, folder)
    front = Front(proxy, redis.port)
    with Talk([redis.client(), "-p", front.port]) as cli:
        me = cli.ask("client id")
        for i in front.takeovers():
            assert cli.ask(f"set key{i} value{i}") == "OK"
            assert cli.ask(f"get key{i}") == f"value{i}"
        assert cli.ask("client id") == me
        assert cli.ask("dbsize") == str(TAKEOVERS)
    assert cli.process.returncode == 0


def words(*args):
    """A command as the protocol of redis wants it."""
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)


def test_redis_pipelined(start, folder, proxy):
    """Hundreds of commands are always under way in one connection; every answer is right, and in order."""
    redis = servers.Redis(start, folder)
    front = Front(proxy, redis.port)
    batch = 300
    with socket.create_connection(("127.0.0.1", front.port), servers.PATIENCE) as s, s.makefile("rb") as answers:
        def send(number):
            value = b"%d" % number * 50
            s.sendall(b"".join(words(b"SET", b"k%d" % n, value) + words(b"GET", b"k%d" % n) for n in range(batch)))
            return b"".join(b"+OK\r\n$%d\r\n%s\r\n" % (len(value), value) for _ in range(batch))
        expected = send(0)
        for i in front.takeovers():
            following = send(i + 1)
            assert answers.read(len(expected)) == expected
            expected = following
        assert answers.read(len(expected)) == expected


def test_psql(start, folder, proxy):
    """One transaction, in one session."""
    postgres = servers.Postgres(start, folder)
    front = Front(proxy, postgres.port)
    argv = [postgres.client(), "-h", "127.0.0.1", "-p", front.port, "-U", "nobody", "-d", "postgres", "-qAtX",
            "-v", "ON_ERROR_STOP=1"]
    with Talk(argv, {"PGCONNECT_TIMEOUT": "10"}) as psql:
        me = psql.ask("begin; create temp table t (n int); select pg_backend_pid(), txid_current();")
        for i in front.takeovers():
            assert psql.ask(f"insert into t values ({i}) returning n;") == str(i)
        assert psql.ask("select pg_backend_pid(), txid_current();") == me
        assert psql.ask("commit; select count(*), sum(n) from t;") == f"{TAKEOVERS}|{sum(range(TAKEOVERS))}"
    assert psql.process.returncode == 0
