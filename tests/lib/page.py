"""The page over HTTP, as a program asks it."""
import http.client
import json
import socket

from .ports import free_port
from .waiting import PATIENCE, wait_for


class Page:
    """The page at a port of 127.0.0.1: name `page.line` in a configuration, or `page.option` with -o."""

    def __init__(self, token_file=None):
        self.port = free_port()
        self.option = f"admin 127.0.0.1:{self.port}" + (f" token={token_file}" if token_file else "")
        self.line = self.option + "\n"

    def ask(self, path, method="GET", body=None, headers=None, timeout=PATIENCE, address="127.0.0.1"):
        """(status, headers, text)"""
        c = http.client.HTTPConnection(address, self.port, timeout=timeout)
        try:
            c.request(method, path, body=body, headers=headers or {})
            r = c.getresponse()
            return r.status, r.headers, r.read().decode()
        finally:
            c.close()

    def get(self, path):
        status, _, text = self.ask(path)
        assert status == 200, (path, status, text)
        return text

    def json(self, path):
        return json.loads(self.get(path))

    def command(self, words, token=None):
        """(status, text)"""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        status, _, text = self.ask("/api/command", "POST", words, headers)
        return status, text.strip()

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port))
        s.settimeout(PATIENCE)
        return s

    def answers(self):
        try:
            return self.ask("/api/status")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def wait_answers(self):
        wait_for(self.answers, "an answer of the page")

    def samples(self):
        """{'name{labels}': value} of /metrics"""
        lines = [line for line in self.get("/metrics").splitlines() if line and line[0] != "#"]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def total(self, name):
        """Of all that have this name."""
        return sum(v for k, v in self.samples().items() if k.partition("{")[0] == name)
