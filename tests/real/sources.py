"""Where tcpproxy-servers gets its lists from: a real etcd, and a Consul that is played, since Debian 12 has none.

Both run as long as the test; what tcpproxy-servers prints is read as `servers program` would read it."""

import base64
import contextlib
import http.server
import json
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from servers import TCPPROXY, free_port, unpacked, wait_for

PROGRAM = TCPPROXY.parent / "tcpproxy-servers"


def b64(text):
    return base64.b64encode(text.encode()).decode()


class Etcd:
    """One server of etcd, which may be stopped and started again with what it knows; spoken to over its JSON gateway."""

    def __init__(self, start, folder, name="etcd", run=True):
        self._start, self.folder, self.name = start, folder, name
        self.binary = unpacked("etcd-server", "usr/bin/etcd")
        self.url, self.peer = (f"http://127.0.0.1:{free_port()}" for _ in "ab")
        self.token = None
        self.cluster = f"{name}={self.peer}"
        if run:
            self.run()
            self.wait_well()

    def run(self):
        self.program = self._start(self.name, [
            self.binary, "--name", self.name, "--data-dir", self.folder / f"{self.name}.data", "--unsafe-no-fsync",
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url, "--listen-peer-urls", self.peer,
            "--initial-advertise-peer-urls", self.peer, "--initial-cluster", self.cluster])

    def wait_well(self):
        wait_for(self.is_well, f"{self.name} answers: {self.program.output()}", 40)

    def is_well(self):
        try:
            return self.ask("kv/range", key=b64("x"))
        except (OSError, urllib.error.URLError):
            return False

    def ask(self, path, **body):
        request = urllib.request.Request(f"{self.url}/v3/{path}", json.dumps(body).encode(),
                                         {"Authorization": self.token} if self.token else {})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def put(self, key, value=""):
        return int(self.ask("kv/put", key=b64(key), value=b64(value))["header"]["revision"])

    def delete(self, key):
        self.ask("kv/deleterange", key=b64(key))

    def compact(self, revision):
        self.ask("kv/compaction", revision=str(revision), physical=True)


class EtcdCluster:
    """Three servers that elect a leader: without two of them there is none."""

    def __init__(self, start, folder):
        self.members = [Etcd(start, folder, name, run=False) for name in ("one", "two", "three")]
        for member in self.members:
            member.cluster = ",".join(f"{m.name}={m.peer}" for m in self.members)
            member.run()
        for member in self.members:
            member.wait_well()


class Between:
    """A forwarder to a server of HTTP that can fall silent: on the connections of which something was asked that begins so, from
    the server to the client."""

    def __init__(self, url):
        self.port = int(url.rpartition(":")[2])
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.silent = None
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                asked = [b""]
                for args in ((client, server, asked, True), (server, client, asked, False)):
                    threading.Thread(target=self._forward, args=args, daemon=True).start()

    def _forward(self, source, target, asked, up):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if up:
                    asked[0] += data
                if up or self.silent is None or not asked[0].startswith(self.silent):
                    target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Consul:
    """What a Consul answers to the one question: the test says what, and sees who asks. Blocks as it does."""

    def __init__(self, tls=None):
        consul = self
        self.changed = threading.Condition()
        self.index, self.instances, self.asked, self.answered, self.ended = 10, [], [], 0, False
        self.answer = None  # or a function (handler, query) that answers instead

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
                with consul.changed:
                    consul.asked.append((time.monotonic(), url.path, query, dict(self.headers)))
                    consul.changed.notify_all()
                (consul.answer or consul.as_it_is)(self, query)
                with consul.changed:
                    consul.answered += 1

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # whoever asked has gone

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_port}"
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def as_it_is(self, handler, query):
        known = int(query.get("index", 0))
        with self.changed:
            if known:
                self.changed.wait_for(lambda: self.index != known or self.ended or self.answer, 60)
            index, text = self.index, json.dumps(self.instances)
        self.send(handler, text, index)

    @staticmethod
    def send(handler, text, index, status=200, **headers):
        handler.send_response(status)
        if index is not None:
            handler.send_header("X-Consul-Index", str(index))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text.encode())

    def set(self, *instances, index=None):
        with self.changed:
            self.instances = [
                {"Node": {"Address": "10.9.9.9"}, "Service": {"ID": f"i{n}", "Address": host, "Port": port, "Weights": {"Passing": weight}}}
                for n, (host, port, weight) in enumerate(instances)]
            self.index = self.index + 1 if index is None else index
            self.changed.notify_all()

    def set_answer(self, answer):
        with self.changed:
            self.answer = answer
            self.changed.notify_all()

    def wait_asked(self, n):
        wait_for(lambda: len(self.asked) >= n, f"{n} questions: {self.asked}")

    def stop(self):
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()


class Lists:
    """tcpproxy-servers, and the lists that it has printed, whole ones."""

    def __init__(self, start, folder, *argv, name="tcpproxy-servers"):
        self.program = start(name, ["/bin/sh", "-c", f'exec "$0" "$@" >{folder}/{name}.lists', PROGRAM, *argv])
        self.file = Path(folder, f"{name}.lists")

    def all(self):
        text = self.file.read_text() if self.file.exists() else ""
        return [part.splitlines() for part in text.split(".\n")[:-1]]

    def wait(self, *lines, patience=20):
        def last():
            lists = self.all()
            return lists and lists[-1] == list(lines)
        wait_for(last, f"the list {lines}: {self.all()[-3:]} {self.program.output()}", patience)

    def wait_said(self, words, times=1, patience=20):
        wait_for(lambda: self.program.output().count(words) >= times, f"{words}: {self.program.output()}", patience)


def hole():
    """A port that takes connections, and says nothing."""
    s = socket.create_server(("127.0.0.1", 0))
    return s, f"http://127.0.0.1:{s.getsockname()[1]}"
