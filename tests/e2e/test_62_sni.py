"""Clients of TLS come to a section by the name that they ask for, and not a byte of theirs is touched."""
import socket
import time

import pytest

from lib.hello import NO_NAME, SSL2, alpn, extension, hello, message, of_python, padding, records, sni
from lib.peers import connect, is_reset, read_all, read_exactly
from lib.ports import free_port
from lib.proxy_header import v1
from lib.waiting import wait_for


class Doors:
    """A port with sections, each with a server of its own; "own": the port's."""

    def __init__(self, start, server, sections, before="", own=True, options=()):
        self.port = free_port()
        self.servers = {}
        text = f"workers 1\n{before}port {self.port}\n"
        if own:
            self.servers["own"] = server()
            text += f"server {self.servers['own'].spelt}\n"
        for line in sections:
            words, _, more = line.partition(";")
            name = words.split()[-1]
            self.servers[name] = server()
            more = "".join(f"{m.strip()}\n" for m in more.split(";"))
            text += f"{words}\n{more}server {self.servers[name].spelt}\n" if words[0] != "=" else f"{words[1:]}\n"
        self.proxy = start(*options, config=text)

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


@pytest.fixture
def doors(start, server):
    def make(*sections, **more):
        return Doors(start, server, sections, **more)
    return make


def test_by_its_name(doors):
    d = doors("sni a.test", "sni b.test")
    for name, to in (("a.test", "a.test"), ("b.test", "b.test"), ("c.test", "own"), (None, "own")):
        d.leads(of_python(name), to)
    record = d.record(of_python("b.test", ["h2", "http/1.1"]), "b.test")
    assert (record["sni"], record["alpn"], record["protocol"]) == ("b.test", "h2,http/1.1", "tls")
    assert record.up == len(of_python("b.test", ["h2", "http/1.1"]))
