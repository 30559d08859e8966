"""`check` and the servers it is made for: up while they run, down when they do not, and no word of it in their logs."""

import http.server
import os
import re
import signal
import socket
import threading

import pytest

import servers
from lib.admin import Admin
from servers import wait_for

COMPLAINTS = ("reset", "broken pipe", "unexpected", "incomplete", "lost connection", "prematurely", "aborted connection",
              "kex_exchange", "did not receive identification", "could not receive", "fatal", "bad packet", "too many")


class Watched:
    """A real server behind a tcpproxy that checks it. What the server is made of is started by `start`, which is ours."""

    def __init__(self, start, proxy):
        self._start, self._proxy = start, proxy
        self.program, self.log, self.starts = None, "", 0

    def start(self, name, argv, env=None):
        self.program = self._start(name, argv, env)
        return self.program

    def check(self, port, *checks):
        self.port = port
        self.admin = Admin(f"{self.program.folder}/admin.sock")
        self._proxy(config=f"admin unix:{self.admin.path}\nport {{port}}\nserver 127.0.0.1:{port}\n" + "".join(
            f"check every=100ms timeout=2 fall=2 {check}\n" for check in checks))
        self.proxy = self._proxy.running[-1]
        self.wait("up")

    def refused(self, port, check):
        """The server says no, from the beginning; why."""
        self._proxy(config=f"port {{port}}\nserver 127.0.0.1:{port}\ncheck every=200ms timeout=10 {check}\n")
        self.proxy = self._proxy.running[-1]
        return self.wait("down")

    def states(self):
        return re.findall(r" state=(\S+) was=\S+ (?:why=(\"(?:[^\"\\]|\\.)*\"|\S+) )?up=", self.proxy.output())

    def wait(self, state):
        """The last change is that; returns why."""
        def last():
            found = self.states()
            return found and found[-1][0] == state and found[-1]
        return wait_for(last, f"it is {state}: {self.proxy.output()}", 20)[1].strip('"')

    def stop(self):
        """It is asked to end, and does."""
        self.program.stop()
        self.log += self.program.output()

    def again(self):
        self.starts += 1
        self.program = self._start(self.program.name, self.program.argv, self.program.env)

    def halted_stopped_and_again(self):
        """A server that hangs, goes on, ends and is started again."""
        os.killpg(self.program.pid, signal.SIGSTOP)
        try:
            assert "timed out" in (why := self.wait("down")) or "time is over" in why, why
        finally:
            os.killpg(self.program.pid, signal.SIGCONT)
        self.wait("up")
        self.stop()
        self.wait("down")
        wait_for(lambda: not servers.listens(self.port), "its port is free")
        self.again()
        self.wait("up")

    def wait_asked(self, n):
        """n times more, and each time it says yes."""
        before = self._asked()
        wait_for(lambda: self._asked() >= before + n, f"{n} checks", 60)

    def _asked(self):
        return self.admin.metric("tcpproxy_backend_checks_total", server=f"127.0.0.1:{self.port}", result="up")

    def no_complaint(self, *allowed):
        """In all that the server has said."""
        said = self.log + self.program.output()
        lines = [line for line in said.splitlines() if any(word in line.lower() for word in COMPLAINTS)
                 and not any(word in line for word in allowed)]
        assert not lines, lines[:5]


@pytest.fixture
def watched(start, proxy):
    return Watched(start, proxy)


@pytest.mark.parametrize("check", ["pgsql user=check", "pgsql", "pgsql user=nobody", "tcp"])
def test_postgresql(watched, folder, check):
    """15, which asks for a password by SCRAM. Who needs none, and has no database of that name, is let in and then told so."""
    db = servers.Postgres(watched.start, folder)
    watched.check(db.port, check)
    watched.wait_asked(20)
    watched.no_complaint('database "nobody" does not exist')
    if check == "pgsql user=check":
        watched.halted_stopped_and_again()


def test_postgresql_without_such_a_user(watched, folder):
    """One whom no line of pg_hba.conf lets in."""
    db = servers.Postgres(watched.start, folder)
    assert "no pg_hba.conf entry" in watched.refused(db.port, "pgsql user=joe")


def mysql(watched, folder):
    return servers.MariaDB(watched.start, folder, errors=5)


def test_mariadb(watched, folder):
    db = mysql(watched, folder)
    watched.check(db.port, "from=127.0.0.9 mysql user=check")
    watched.halted_stopped_and_again()


def test_mariadb_blocks_nobody_who_checks(watched, folder):
    """200 checks where five broken connections in a row are enough; and that they are."""
    db = mysql(watched, folder)
    watched.check(db.port, *(f"rise={n} from=127.0.0.9 mysql user=check" for n in range(2, 6)))
    watched.wait_asked(200)
    assert [state for state, _ in watched.states()] == ["up"]
    watched.no_complaint()
    for _ in range(12):
        with socket.create_connection(("127.0.0.1", db.port), source_address=("127.0.0.9", 0)) as s:
            s.recv(1)
    assert "blocked" in watched.wait("down")


def test_mariadb_knows_no_such_user(watched, folder):
    db = mysql(watched, folder)
    assert "Access denied for user" in watched.refused(db.port, "mysql user=nobody")


@pytest.mark.parametrize("options", [[], ["--requirepass", "secret"]], ids=["open", "requirepass"])
def test_redis(watched, folder, options):
    redis = servers.Redis(watched.start, folder, *options)
    watched.check(redis.port, "redis")
    watched.halted_stopped_and_again()
    watched.no_complaint()


def test_nginx(watched, folder):
    nginx = servers.Nginx(watched.start, folder)
    (nginx.root / "well").write_text("yes\n")
    watched.check(nginx.port, "http /well status=200 host=example.com")
    watched.halted_stopped_and_again()
    (nginx.root / "well").rename(nginx.root / "ill")
    assert "404" in watched.wait("down")
    (nginx.root / "ill").rename(nginx.root / "well")
    watched.wait("up")
    watched.no_complaint("No such file")


def test_openssh(watched, folder):
    sshd = servers.Sshd(watched.start, folder)
    watched.check(sshd.port, "ssh")
    watched.no_complaint()
    watched.halted_stopped_and_again()


def test_dovecot(watched, folder):
    dovecot = servers.Dovecot(watched.start, folder, "From: a@example.com\n\nhello\n", imap=True)
    watched.check(dovecot.port, "pop3", f"port={dovecot.imap_port} imap")
    watched.wait_asked(20)
    watched.no_complaint()
    watched.halted_stopped_and_again()


def test_exim(watched, folder):
    exim = servers.Exim(watched.start, folder)
    watched.check(exim.ports[0], "smtp")
    watched.wait_asked(20)
    watched.log += "".join(p.read_text() for p in (folder / "spool").glob("log-*"))
    watched.no_complaint()
    watched.halted_stopped_and_again()


# -- Patroni: who is the leader says a port beside the database

class Node:
    """A database, played by its name, and Patroni's port beside it, which says 200 to /primary on the leader alone."""

    PORTS = [0, 0]  # of the database, of Patroni: the same on all machines

    def __init__(self, name, host):
        self.name, self.host, self.leader = name, host, False
        self.database = socket.create_server((host, Node.PORTS[0]), backlog=64)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        node = self

        class Patroni(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if node.leader and self.path == "/primary" else 503)
                self.end_headers()

            def log_message(self, *_):
                pass
        self.patroni = http.server.ThreadingHTTPServer((host, Node.PORTS[1]), Patroni)
        threading.Thread(target=self.patroni.serve_forever, args=(0.05,), daemon=True).start()

    def _serve(self):
        while True:
            try:
                s, _ = self.database.accept()
            except OSError:
                return
            with s:
                s.sendall(self.name.encode())

    def close(self):
        self.patroni.shutdown()
        self.patroni.server_close()
        # else the thread waits on, at whatever socket has this number next
        self.database.shutdown(socket.SHUT_RDWR)
        self.thread.join(servers.PATIENCE)
        self.database.close()


@pytest.fixture
def nodes():
    Node.PORTS = [servers.free_port(), servers.free_port()]
    made = [Node("db1", "127.0.0.2"), Node("db2", "127.0.0.3")]
    yield made
    for n in made:
        n.close()


def test_patroni(proxy, nodes):
    database, patroni = Node.PORTS
    nodes[0].leader = True
    port = proxy(config=f"port {{port}}\nserver 127.0.0.2:{database}\nserver 127.0.0.3:{database}\n"
                        f"check every=200ms timeout=5 fast=100ms port={patroni} http /primary\n")
    log = proxy.running[-1].output

    def who():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
                return s.recv(10).decode()
        except ConnectionResetError:
            return None
    wait_for(lambda: "server=127.0.0.3" in log() and "server=127.0.0.2" in log(), "both are known")
    for leader in (0, 1, 0, None):
        for i, n in enumerate(nodes):
            n.leader = i == leader
        wanted = nodes[leader].name if leader is not None else None
        # the new one has risen before the old one has fallen
        wait_for(lambda: {who() for _ in range(10)} == {wanted}, f"clients come to {wanted}")
    address = f"127.0.0.2:{database}"
    assert f'server={address} address={address} state=down was=up why="check http: status 503"' in log()
