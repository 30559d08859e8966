#!/usr/bin/python3
"""demo-takeovers.py - what a download and an open session notice of the proxy's worst moments.

    tools/demo-takeovers.py [tcpproxy] [haproxy]        (default: both, if HAProxy can be found)

Both run through the proxy while its workers are killed (kill -9), its configuration is read again and its program is
replaced. Every byte of the download is checked; the session, a small request and its answer again and again, tells the
longest time without an answer. TCPPROXY is the binary (default: build/tcpproxy); HAProxy is looked for in PATH and where
`tools/deps.sh bench` unpacks it.

Exit 0 if tcpproxy dropped nothing.
"""
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests"))

from lib.ports import free_port, listening  # noqa: E402
from lib.proxy import Directory, Proxy  # noqa: E402
from lib.waiting import wait_for  # noqa: E402

REAL = os.environ.get("TCPPROXY_REAL", os.path.join(TOP, "build", "real"))
PATIENCE = 8.0  # seconds; a stream that is silent for so long counts as dropped
SETTLE = 0.3    # seconds of watching after each trouble
BLOCK = 1 << 16
PACE = 0.004    # seconds between two blocks of the download: 16 MB/s


def say(*words):
    print(*words, flush=True)


# -- the two ends

class Server:
    """Behind the proxy. The first byte says what a client wants: a download, or a session."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.finish = threading.Event()
        self.sums = []  # of downloads that were sent to their ends
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.socket.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if client.recv(1) == b"d":
                self._download(client)
            else:
                while request := client.recv(4096):
                    client.sendall(request)
        except OSError:
            pass
        client.close()

    def _download(self, client):
        whole = hashlib.sha256()
        while not self.finish.is_set():
            block = os.urandom(BLOCK)
            whole.update(block)
            client.sendall(block)
            time.sleep(PACE)
        self.sums.append(whole.hexdigest())
        client.shutdown(socket.SHUT_WR)
        client.recv(1)


class Stream(threading.Thread):
    """A client in a thread of its own. `dropped` if it ended other than by our wish."""

    def __init__(self, port, kind):
        super().__init__(daemon=True)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(kind)
        self.dropped = False
        self.heard = 0  # how often something came
        self.start()

    def run(self):
        try:
            self.talk()
        except OSError:
            self.dropped = True
        self.socket.close()

    def lives(self):
        """Waits for one more sign of life."""
        before = self.heard
        wait_for(lambda: self.dropped or self.heard > before, "an answer", PATIENCE + 1)
        return not self.dropped


class Download(Stream):
    def __init__(self, port, server):
        self.server, self.whole = server, hashlib.sha256()
        super().__init__(port, b"d")

    def talk(self):
        while block := self.socket.recv(BLOCK):
            self.whole.update(block)
            self.heard += 1
        self.dropped = not self.server.finish.is_set()

    def equal(self):
        return not self.dropped and self.whole.hexdigest() in self.server.sums


class Session(Stream):
    def __init__(self, port):
        self.over, self.longest, self.asked = False, 0.0, time.monotonic()
        super().__init__(port, b"s")

    def talk(self):
        request = b"?" * 64
        while not self.over:
            self.asked = time.monotonic()
            self.socket.sendall(request)
            missing = len(request)
            while missing:
                got = self.socket.recv(missing)
                if not got:
                    raise ConnectionResetError
                missing -= len(got)
            self.longest = max(self.longest, time.monotonic() - self.asked)
            self.heard += 1

    def take_longest(self):
        longest, self.longest = self.longest, 0.0
        return longest


# -- the proxies; each trouble returns when it is over

class OurProxy:
    name = "tcpproxy"

    def __init__(self, server_port):
        self.directory, self.port = Directory(), free_port()
        self.proxy = Proxy(self.directory, config=f"port {self.port}\ninterface 127.0.0.1\n"
                                                  f"server 127.0.0.1:{server_port}\n")
        self.proxy.expect_deaths()

    def kill(self):
        killed = self.proxy.workers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.proxy.whole() and not set(killed) & set(self.proxy.workers()), "new workers")

    def reload(self):
        self.proxy.signal(signal.SIGHUP)
        self.proxy.wait_log("reload: .* is in force")

    def upgrade(self):
        new = self.directory / "new"
        shutil.copy2(self.directory.program, new)
        os.rename(new, self.directory.program)
        self.proxy.signal(signal.SIGUSR2)
        self.proxy.wait_log("upgrade: done")

    def stop(self):
        try:
            self.proxy.stop()
        finally:
            self.proxy.kill()
            self.directory.remove()


class HAProxy:
    """In master-worker mode, as its service runs it, and started again when it ends, as its service is."""

    CONFIG = ("defaults\n\tmode tcp\n\ttimeout connect 5s\n\ttimeout client 1h\n\ttimeout server 1h\n"
              "listen demo\n\tbind 127.0.0.1:{port}\n\tserver s 127.0.0.1:{server_port}\n")

    @staticmethod
    def find():
        return shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:{REAL}/haproxy/usr/sbin")

    def __init__(self, server_port):
        self.directory, self.port = Directory(), free_port()
        self.program = self.directory / "haproxy"
        shutil.copy2(self.find(), self.program)
        told = subprocess.run([self.program, "-v"], capture_output=True, text=True, check=True).stdout
        self.name = "HAProxy " + told.split()[2].split("-")[0]
        self.config = self.directory.write("haproxy.cfg", self.CONFIG.format(port=self.port, server_port=server_port))
        self._start()

    def _start(self):
        with open(self.directory / "log", "ab") as log:
            self.master = subprocess.Popen([self.program, "-W", "-f", self.config], stdout=log, stderr=log)
        wait_for(lambda: self._workers() and listening(self.port), "HAProxy")

    def _workers(self):
        with open(f"/proc/{self.master.pid}/task/{self.master.pid}/children") as f:
            return {int(pid) for pid in f.read().split()}

    def kill(self):
        for pid in self._workers():
            os.kill(pid, signal.SIGKILL)
        self.master.wait(PATIENCE)  # it ends, too
        self._start()

    def reload(self):
        before = self._workers()
        self.master.send_signal(signal.SIGUSR2)
        wait_for(lambda: self._workers() - before, "a new worker")

    def upgrade(self):  # the master executes the program anew at each reload
        new = self.directory / "new"
        shutil.copy2(self.program, new)
        os.rename(new, self.program)
        self.reload()

    def stop(self):
        self.master.terminate()
        self.master.wait(PATIENCE)
        self.directory.remove()

    def remark(self):
        return (f"{self.name} leaves old streams to old processes, which stay until those have ended: "
                f"{len(self._workers()) - 1} beside the new one here.")


# -- the story

TROUBLES = (("kill", "every worker killed (kill -9)"), ("reload", "configuration read again"),
            ("upgrade", "program replaced by a new one"))


class Outcome:
    def __init__(self, name):
        self.name, self.kept, self.dropped, self.longest, self.cells = name, 0, 0, 0.0, []
        self.equal, self.remark = False, None

    def sum(self):
        checksum = "equal" if self.equal else "none, the download was cut" if self.dropped else "WRONG"
        return (f"{self.kept} takeovers, {self.dropped} dropped, checksum {checksum}, "
                f"longest stall {1000 * self.longest:.0f} ms")


def endure(proxy):
    """A download and a session through the three troubles; what was dropped is opened again for the next."""
    server, outcome = proxy.server, Outcome(proxy.name)
    download, session = Download(proxy.port, server), Session(proxy.port)
    session.lives() and download.lives()
    first = download
    for verb, _ in TROUBLES:
        session.take_longest()
        getattr(proxy, verb)()
        time.sleep(SETTLE)
        dropped = (not session.lives()) + (not download.lives())
        outcome.dropped += dropped
        stall = session.take_longest()
        if session.dropped:
            session = Session(proxy.port)
        else:
            outcome.longest = max(outcome.longest, stall)
        outcome.cells.append(f"{dropped} of 2 dropped" if dropped else f"0 dropped, {1000 * stall:.1f} ms")
        outcome.kept += not dropped
        if download.dropped:
            download = Download(proxy.port, server)
    if hasattr(proxy, "remark"):
        outcome.remark = proxy.remark()
    session.over = True
    server.finish.set()
    session.join(PATIENCE)
    download.join(PATIENCE)
    outcome.equal = download is first and download.equal()
    return outcome


def run(kind):
    server = Server()
    proxy = kind(server.port)
    proxy.server = server
    try:
        return endure(proxy)
    finally:
        proxy.stop()


def main(names):
    kinds = {"tcpproxy": OurProxy, "haproxy": HAProxy}
    if unknown := set(names) - set(kinds):
        sys.exit(f"demo-takeovers: {' '.join(unknown)}: not one of {' '.join(kinds)}")
    if "haproxy" in names and not HAProxy.find():
        sys.exit("demo-takeovers: HAProxy is not installed: apt-get install haproxy, or tools/deps.sh bench")
    names = names or [n for n in kinds if n != "haproxy" or HAProxy.find()]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # the proxies are stopped on the way out
    sys.setswitchinterval(0.0005)  # the session must not wait for the other threads' turns
    outcomes = [run(kinds[name]) for name in names]
    say("A download and an open session through the proxy: what was dropped, how long the session was still.\n")
    rows = [["", *(o.name for o in outcomes)]]
    rows += [[what, *(o.cells[i] for o in outcomes)] for i, (_, what) in enumerate(TROUBLES)]
    for what, *cells in rows:
        say((f"  {what:32}" + "".join(f"{cell:22}" for cell in cells)).rstrip())
    say()
    for o in outcomes:
        say(f"{o.name}: {o.sum()}")
    for o in outcomes:
        o.remark and say(o.remark)
    return any(o.dropped or not o.equal for o in outcomes if o.name == "tcpproxy")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
