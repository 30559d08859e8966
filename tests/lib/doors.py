"""A port with sections for what clients say first, and a server behind each."""
import socket

from .peers import connect, is_reset, read_all, read_exactly
from .ports import free_port
from .waiting import wait_for


class Doors:
    """A port with sections, each with a server of its own; "own": the port's."""

    def __init__(self, start, server, sections, before="", own=True, options=(), section_words="", nofile=None, workers=1,
                 **popen):
        self.port = free_port()
        self.servers = {}
        text = f"workers {workers}\n{before}port {self.port}\n{section_words}\n"
        if own:
            self.servers["own"] = server()
            text += f"server {self.servers['own'].spelt}\n"
        for line in sections:
            words, _, more = line.partition(";")
            name = words.split()[-1]
            self.servers[name] = server()
            text += f"{words}\n" + "".join(f"{m.strip()}\n" for m in more.split(";"))
            text += f"server {self.servers[name].spelt}\n"
        self.text = text
        self.clients = []
        if nofile:
            popen["wrap"] = ["prlimit", f"--nofile={nofile}:{nofile}"]
        self.proxy = start(*options, config=text, **popen)

    def connect(self, **more):
        return connect(self.port, **more)

    def leads(self, said, to, client=None):
        """They reach this server as they are. Returns both ends."""
        client = client or self.connect()
        client.sendall(said)
        s = self.servers[to].accept()
        assert read_exactly(s, len(said)) == said
        return client, s

    def record_of(self, client):
        name = "%s:%d" % client.getsockname()[:2]
        return wait_for(lambda: [r for r in self.proxy.records() if r["client"] == name and r.event == "close"],
                        f"the record of {name}:\n{self.proxy.log()}")[0]

    def record(self, said, to):
        client, s = self.leads(said, to)
        s.sendall(b"ok")
        assert read_exactly(client, 2) == b"ok"
        client.shutdown(socket.SHUT_WR)
        assert read_all(s) == b""
        s.close()
        return self.record_of(client)

    def ends(self, said, end, why=None):
        """No server hears of it."""
        client = self.connect()
        client.sendall(said)
        assert is_reset(client)
        record = self.record_of(client)
        assert (record.end, record.get("why")) == (end, why)
        assert record["target"] == "-"
        return record
