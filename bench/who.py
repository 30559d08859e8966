#!/usr/bin/python3
"""who.py - what it costs to say and to hear who the client is, and what it asks for.

    bench/who.py [out] [in] [sni] [source] [ROUNDS=9] [SECONDS=0.4]

CPU of a short connection (64 bytes there and back), each row beside a plain one of the same program, paired; with HAProxy and nginx, if they
are there, set up alike.

out       the server hears a header of the PROXY protocol first (nginx: version 1, it knows no other)
in        the client has said one
sni       the client begins with a hello of TLS, and its name chooses the server; divided by the same of HAProxy and nginx
source    the server, of this machine, is called from the client's address (tcpproxy alone)

In a network namespace of its own, as bench.py; needs root. Everything is on one CPU.
"""
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bench  # noqa: E402
import peers  # noqa: E402
import servers  # noqa: E402
from lib import hello  # noqa: E402
from measures import spread  # noqa: E402

BACK, FRONT = servers.BACK, servers.FRONT
NAME = "www.example.com"
HEADER = b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, 0x11]) + struct.pack(">H4s4sHH", 12, bytes([192, 0, 2, 7]), bytes([192, 0, 2, 1]), 4711, 443)


class HAProxy(peers.HAProxy):
    """`lines` of its section `listen`; `more`: other sections."""

    def __init__(self, folder, port, title, lines="", bind="", server="", more=""):
        self.title, self.lines, self.bind, self.server_words, self.more_sections = title, lines, bind, server, more
        super().__init__(folder, port, BACK)
        self.key = f"haproxy{port}"

    def command(self):
        serves = "" if self.more_sections else f"\tserver s 127.0.0.1:{BACK} {self.server_words}\n"
        return [self.path, "-db", "-f", self.write(
            "global\n\tnbthread 1\ndefaults\n\tmode tcp\n\ttimeout connect 5s\n\ttimeout client 1h\n\ttimeout server 1h\n"
            f"listen bench\n\tbind 127.0.0.1:{self.port} {self.bind}\n{self.lines}{serves}{self.more_sections}")]


class Nginx(peers.Nginx):
    def __init__(self, folder, port, title, lines="", listen="", to=f"127.0.0.1:{BACK}", more=""):
        self.title, self.lines, self.listen, self.to, self.more_blocks = title, lines, listen, to, more
        super().__init__(folder, port, BACK)
        self.key = f"nginx{port}"

    def command(self):
        return [self.path, "-p", self.folder, "-e", "stderr", "-c", self.write(
            f"load_module {self.module()};\ndaemon off;\nworker_processes 1;\npid {self.folder}/{self.key}.pid;\n"
            "worker_rlimit_nofile 16384;\nevents { worker_connections 16384; }\n"
            f"stream {{ {self.more_blocks} server {{ listen 127.0.0.1:{self.port} {self.listen}; {self.lines} proxy_pass {self.to}; }} }}\n")]


class Rows(servers.Scene):
    """Programs, and what each of their clients says first."""

    def __init__(self, folder, seconds):
        super().__init__(folder, seconds)
        self.first = {}

    def put(self, peer, first=b""):
        self.peers.append(peer)
        peer.start(self.cpu)
        self.first[peer.title] = first
        return peer.title

    def ours(self, title, lines, first=b""):
        return self.put(servers.Pool(self.folder, self.port(), title, lines), first)

    def port(self):
        return FRONT + len(self.peers)

    def others(self, kind, title, first=b"", **more):
        return self.put(kind(self.folder, self.port(), title, **more), first) if kind.find() else None

    def measure(self, rounds):
        cost = {p.title: [] for p in self.peers}
        for r in range(rounds):
            for peer in self.peers if r % 2 == 0 else self.peers[::-1]:
                more = {"first": self.first[peer.title].hex()} if self.first[peer.title] else {}
                cost[peer.title].append(servers.drive(self, peer, mode="short", size=64, connections=64, **more)[1])
        return cost


def tell(title, cost, pairs):
    bench.say(f"\n{title}: CPU of a short connection, us", f"  {'':40}{'median':>8}{'ratio':>8}  (quartiles)  to")
    for row, base in pairs:
        if row not in cost:
            continue
        line = f"  {row:40}{spread(cost[row])[0]:>8.1f}"
        if base in cost:
            ratio = spread([a / b for a, b in zip(cost[row], cost[base])])
            line += f"{ratio[0]:>8.2f}  ({ratio[1]:.2f} - {ratio[2]:.2f})  {base}"
        bench.say(line)


def both_ways(title, rows, rounds, ours, haproxy, nginx, first=b""):
    """A plain row and another one, of each program."""
    one = f"server 127.0.0.1:{BACK}\n"
    rows.ours("tcpproxy", one)
    rows.ours(f"tcpproxy, {ours.strip()}", one + ours, first)
    rows.others(HAProxy, "HAProxy")
    rows.others(HAProxy, f"HAProxy, {title}", first, **haproxy)
    rows.others(Nginx, "nginx")
    rows.others(Nginx, f"nginx, {title}", first, **nginx)
    mine = f"tcpproxy, {ours.strip()}"
    tell(title, rows.measure(rounds), [("tcpproxy", None), (mine, "tcpproxy"), ("HAProxy", None), (f"HAProxy, {title}", "HAProxy"), ("nginx", None),
                                       (f"nginx, {title}", "nginx"), (mine, f"HAProxy, {title}"), (mine, f"nginx, {title}")])


def out_(rows, rounds):
    both_ways("header out", rows, rounds, "send-proxy v2\n", {"server": "send-proxy-v2"}, {"lines": "proxy_protocol on;"})


def in_(rows, rounds):
    both_ways("header in", rows, rounds, "accept-proxy from 127.0.0.0/8\n", {"bind": "accept-proxy"}, {"listen": "proxy_protocol"}, HEADER)


def sni(rows, rounds):
    """The same hello through all; a plain tcpproxy besides, which does not look at it."""
    first = hello.of_python(NAME, ["h2", "http/1.1"])
    where = f"127.0.0.1:{BACK}"
    rows.ours("tcpproxy, not looked at", f"server {where}\n", first)
    mine = rows.ours("tcpproxy, sni", f"sni {NAME} *.example.net\nserver {where}\nsni none\nserver 127.0.0.1:9\n", first)
    rows.others(HAProxy, "HAProxy, req.ssl_sni", first,
                lines="\ttcp-request inspect-delay 5s\n\ttcp-request content accept if { req.ssl_hello_type 1 }\n"
                      f"\tuse_backend named if {{ req.ssl_sni -i {NAME} }}\n\tdefault_backend other\n",
                more=f"backend named\n\tserver s {where}\nbackend other\n\tserver s 127.0.0.1:9\n")
    rows.others(Nginx, "nginx, ssl_preread", first, lines="ssl_preread on;", to="$to",
                more=f"map $ssl_preread_server_name $to {{ {NAME} {where}; default 127.0.0.1:9; }}")
    tell("sni", rows.measure(rounds), [("tcpproxy, not looked at", None), (mine, "tcpproxy, not looked at"), ("HAProxy, req.ssl_sni", None),
                                       ("nginx, ssl_preread", None), (mine, "HAProxy, req.ssl_sni"), (mine, "nginx, ssl_preread")])


def source(rows, rounds):
    one = f"server 127.0.0.1:{BACK}\n"
    rows.ours("tcpproxy", one)
    rows.ours("tcpproxy, source client", f"{one}source client\n")
    tell("source client", rows.measure(rounds), [("tcpproxy", None), ("tcpproxy, source client", "tcpproxy")])


KINDS = {"out": out_, "in": in_, "sni": sni, "source": source}


def main(argv):
    wanted, options = bench.choose(argv, KINDS, ("ROUNDS", "SECONDS"))
    bench.enter_namespace()
    with bench.scratch() as folder:
        for word in wanted:
            rows = Rows(folder, float(options.get("SECONDS", 0.4)))
            try:
                KINDS[word](rows, int(options.get("ROUNDS", 9)))
            finally:
                rows.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
