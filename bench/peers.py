"""Who is measured: tcpproxy, the programs it is compared with, and two limits. Each is set up as its own manual tells
for plain forwarding, with one worker, and runs on one CPU."""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests"))

from lib.ports import listening  # noqa: E402
from lib.waiting import wait_for  # noqa: E402

REAL = os.environ.get("TCPPROXY_REAL", os.path.join(TOP, "build", "real"))
TCPPROXY = os.path.abspath(os.environ.get("TCPPROXY", os.path.join(TOP, "build", "tcpproxy")))
LOAD = os.path.join(os.path.dirname(TCPPROXY), "bench", "load")
PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/lib/systemd"


def find(program, package):
    """An installed program, or the one that tools/deps.sh bench has unpacked."""
    return shutil.which(program, path=PATH) or \
        shutil.which(program, path=":".join(os.path.join(REAL, package, d) for d in ("usr/sbin", "usr/bin")))


# -- a tree of processes

def tree(root):
    """Pids of `root` and all below it."""
    found, new = [], [root]
    while new:
        pid = new.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as f:
                    new += map(int, f.read().split())
        except OSError:
            pass
    return found


def pss(pids):
    """Bytes that these processes occupy; what several share is counted once."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += 1024 * int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M)[1])
        except (OSError, TypeError):
            pass
    return total


def end_tree(process):
    """TERM, then KILL, each process by its number, from the leaves up."""
    for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        for pid in reversed(tree(process.pid)[1:]):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if process.poll() is not None:
            return
    process.kill()
    process.wait()


# -- the peers

class Peer:
    """One program. `port` is where it listens, `server` the port that it forwards to."""
    key = name = package = program = None
    asks_version = ("-v",)
    by_process = False  # one process for each connection
    variables = {}      # more of the environment

    def __init__(self, folder, port, server):
        self.folder, self.port, self.server = folder, port, server
        self.process = None
        self.path = self.find()

    @classmethod
    def find(cls):
        return find(cls.program, cls.package)

    @property
    def pid(self):
        """The root of its tree, for the load; 0 if there is none."""
        return self.process.pid if self.process else 0

    def version(self):
        told = subprocess.run([self.path, *self.asks_version], capture_output=True, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, timeout=5, check=False)
        found = re.search(r"\d+\.\d+(\.\d+)*", told.stdout + told.stderr)
        return found[0] if found else ""

    def write(self, text):
        path = os.path.join(self.folder, f"{self.key}.conf")
        with open(path, "w") as f:
            f.write(text)
        return path

    def command(self):
        raise NotImplementedError

    def start(self, cpu):
        with open(os.path.join(self.folder, f"{self.key}.log"), "wb") as log:
            self.process = subprocess.Popen([LOAD, "hold", str(cpu), *map(str, self.command())], cwd=self.folder,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **self.variables})

        def up():
            if self.process.poll() is not None:
                with open(os.path.join(self.folder, f"{self.key}.log"), errors="replace") as f:
                    raise AssertionError(f"{self.name} ended:\n{f.read()}")
            return listening(self.port)
        wait_for(up, f"{self.name} to listen on port {self.port}")

    def stop(self):
        if self.process:
            end_tree(self.process)
            self.process = None


class Ours(Peer):
    key = name = program = "tcpproxy"
    asks_version = ("-V",)
    binary = TCPPROXY
    more = ""

    @classmethod
    def find(cls):
        return cls.binary if os.access(cls.binary, os.X_OK) else None

    def command(self):
        # as the others: a connection is not logged
        text = f"workers 1\n{self.more}port {self.port}\ninterface 127.0.0.1\nserver 127.0.0.1:{self.server}\n"
        file = self.write("access-log off\n" + text)
        if subprocess.run([self.path, "-C", "-f", file], capture_output=True, check=False).returncode:
            file = self.write("log file:/dev/null\n" + text)
        return [self.path, "-f", file]


class HAProxy(Peer):
    key = program = package = "haproxy"
    name = "HAProxy"
    options = ("splice-auto",)

    def command(self):
        options = "".join(f"\toption {o}\n" for o in self.options)
        return [self.path, "-db", "-f", self.write(
            "global\n\tnbthread 1\n"
            "defaults\n\tmode tcp\n\ttimeout connect 5s\n\ttimeout client 1h\n\ttimeout server 1h\n" + options +
            f"listen bench\n\tbind 127.0.0.1:{self.port}\n\tserver s 127.0.0.1:{self.server}\n")]


class HAProxySplice(HAProxy):
    key = "haproxy-splice"
    name = "HAProxy, forced splice"
    options = ("splice-request", "splice-response")


class Nginx(Peer):
    key = program = package = "nginx"
    name = "nginx stream"

    @staticmethod
    def module():
        places = ("/usr/lib/nginx/modules", f"{REAL}/libnginx-mod-stream/usr/lib/nginx/modules")
        there = [os.path.join(p, "ngx_stream_module.so") for p in places]
        return next((m for m in there if os.path.exists(m)), None)

    @classmethod
    def find(cls):
        return super().find() if cls.module() else None

    def command(self):
        return [self.path, "-p", self.folder, "-e", "stderr", "-c", self.write(
            f"load_module {self.module()};\ndaemon off;\nworker_processes 1;\npid {self.folder}/nginx.pid;\n"
            "worker_rlimit_nofile 16384;\nevents { worker_connections 16384; }\n"
            f"stream {{ server {{ listen 127.0.0.1:{self.port}; proxy_pass 127.0.0.1:{self.server}; }} }}\n")]


class Rinetd(Peer):
    key = name = program = package = "rinetd"

    def command(self):
        return [self.path, "-f", "-c", self.write(f"127.0.0.1 {self.port} 127.0.0.1 {self.server}\n")]


class SocketProxyd(Peer):
    key, name, package = "socket-proxyd", "systemd-socket-proxyd", "systemd"
    program = "systemd-socket-proxyd"
    asks_version = ("--version",)

    def version(self):  # "systemd 252 (252.x)"
        return re.search(r"\d+", subprocess.run([self.path, "--version"], capture_output=True, text=True,
                                                check=False).stdout)[0]

    @classmethod
    def find(cls):
        return super().find() if find("systemd-socket-activate", "systemd") else None

    def command(self):
        return [find("systemd-socket-activate", "systemd"), "-l", f"127.0.0.1:{self.port}", self.path,
                "--connections-max=8192", f"127.0.0.1:{self.server}"]


class Pen(Peer):
    key = name = program = package = "pen"

    def version(self):
        return ""

    def command(self):
        return [self.path, "-f", "-r", "-x", "4096", f"127.0.0.1:{self.port}", f"127.0.0.1:{self.server}"]


class Socat(Peer):
    key = name = program = package = "socat"
    asks_version = ("-V",)
    by_process = True

    def command(self):
        return [self.path, f"TCP-LISTEN:{self.port},bind=127.0.0.1,reuseaddr,fork,backlog=1024",
                f"TCP:127.0.0.1:{self.server}"]


class Redir(Peer):
    key = name = program = package = "redir"
    by_process = True

    def command(self):
        return [self.path, "-n", f"127.0.0.1:{self.port}", f"127.0.0.1:{self.server}"]


class Xinetd(Peer):
    key = name = program = package = "xinetd"
    asks_version = ("-version",)
    by_process = True

    def command(self):
        return [self.path, "-dontfork", "-pidfile", f"{self.folder}/xinetd.pid", "-f", self.write(
            "defaults\n{\n\tinstances = UNLIMITED\n\tper_source = UNLIMITED\n\tcps = 0 0\n}\n"
            "service bench\n{\n\ttype = UNLISTED\n\tsocket_type = stream\n\tprotocol = tcp\n\twait = no\n"
            f"\tuser = nobody\n\tbind = 127.0.0.1\n\tport = {self.port}\n\tredirect = 127.0.0.1 {self.server}\n}}\n")]


class Simpleproxy(Peer):
    key = name = program = package = "simpleproxy"
    asks_version = ("-V",)
    by_process = True

    def command(self):
        return [self.path, "-L", f"127.0.0.1:{self.port}", "-R", f"127.0.0.1:{self.server}"]


class Kernel(Peer):
    """A redirect by nftables: the client is told to talk to the server, packet by packet."""
    key, name, program, package = "kernel", "kernel redirect", "nft", "nftables"
    limit = True

    def start(self, cpu):
        rules = (f"table ip bench {{\n chain output {{\n type nat hook output priority -100;\n"
                 f" ip daddr 127.0.0.1 tcp dport {self.port} redirect to :{self.server}\n }}\n}}\n")
        subprocess.run([self.path, "-f", "-"], input=rules, text=True, check=True, capture_output=True)

    def stop(self):
        subprocess.run([self.path, "delete", "table", "ip", "bench"], check=False, capture_output=True)


class Direct(Peer):
    """No proxy: what client and server themselves cost."""
    key = name = "direct"
    limit = True

    @classmethod
    def find(cls):
        return "none"

    def version(self):
        return ""

    def start(self, cpu):
        self.port = self.server

    def stop(self):
        pass


class Baseline(Ours):
    """Another build of tcpproxy, to compare two of them: BASELINE=/path/to/tcpproxy."""
    key = name = "baseline"
    binary = os.path.abspath(os.environ.get("BASELINE", "/nonexistent"))


class Alone(Ours):
    """The same program without anybody who could take over: a build with -Dfaults=true can do that (TCPPROXY must
    be one). Only if it is asked for."""
    key = "alone"
    name = "without keepers"
    variables = {"TCPPROXY_ALONE": "1"}

    @classmethod
    def find(cls):
        path = super().find()
        if path:
            with open(path, "rb") as f:
                return path if b"TCPPROXY_ALONE" in f.read() else None
        return None


# In this order they are measured in each round, backwards in every other: neighbours are compared best.
ALL = [Ours, Alone, Baseline, HAProxy, HAProxySplice, Nginx, SocketProxyd, Rinetd, Pen, Socat, Redir, Xinetd,
       Simpleproxy, Kernel, Direct]
HOW = "tools/deps.sh bench (as root) fetches those that Debian has; nothing is installed that would start by itself"
