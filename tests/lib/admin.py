"""Looking into a running proxy as its users do: tcpproxyctl, and the words of the admin socket."""
import json
import os
import re
import shutil
import socket
import subprocess

from .proxy import BINARY, ROOT
from .waiting import PATIENCE, wait_for

CTL = os.path.join(os.path.dirname(BINARY), "tcpproxyctl")


class Admin:
    """The admin socket at `path`."""

    def __init__(self, path):
        self.path = path

    def run(self, *words, timeout=30, **more):
        """tcpproxyctl, to its end."""
        return subprocess.run([CTL, "-s", self.path, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout, **more)

    def ask(self, *words):
        """What it prints; it must work."""
        done = self.run(*words)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def refused(self, *words, code=1):
        """Why it does not work."""
        done = self.run(*words)
        assert done.returncode == code and done.stdout == "", done
        assert done.stderr.startswith("tcpproxyctl: ") and done.stderr.count("\n") == 1, done
        return done.stderr.strip()

    def json(self, *words):
        return json.loads(self.ask(*words, "-j"))

    def connections(self, *words):
        return self.json("connections", *words)

    def wait_connections(self, n, *words):
        def those():
            found = self.connections(*words)
            return (found or True) if len(found) == n else None
        found = wait_for(those, f"{n} connections")
        return [] if found is True else found

    def wait_connection(self, *words, **wanted):
        """The one connection, once it has these values: its worker may be a moment behind what its peers have seen."""
        def it():
            found = self.connections(*words)
            return len(found) == 1 and all(found[0][k] == v for k, v in wanted.items()) and found[0]
        return wait_for(it, f"one connection with {wanted}")

    def service(self, port):
        return next(s for s in self.json("status")["services"] if s["service"] == str(port))

    def server(self, key):
        return next(s for s in self.json("status")["servers"] if s["server"] == key)

    def metric(self, name, **labels):
        """The value of one sample; None: there is none."""
        for line in self.ask("metrics").splitlines():
            m = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if m and m[1] == name and dict(re.findall(r'(\w+)="([^"]*)"', m[2] or "")) == labels:
                return float(m[3])
        return None

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(PATIENCE)
        s.connect(self.path)
        return s

    def raw(self, request):
        """The whole answer to these bytes."""
        with self.connect() as s:
            s.sendall(request)
            return read_all(s)


def read_all(s):
    chunks = []
    try:
        while chunk := s.recv(1 << 16):
            chunks.append(chunk)
    except ConnectionResetError:
        pass
    return b"".join(chunks)


def promtool():
    """The checker of metrics; None: it is not there."""
    unpacked = os.path.join(os.environ.get("TCPPROXY_REAL", os.path.join(ROOT, "build/real")), "prometheus/usr/bin/promtool")
    return shutil.which("promtool") or (unpacked if os.access(unpacked, os.X_OK) else None)
