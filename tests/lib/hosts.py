"""Three hosts of the test's own, each a network namespace: a client, tcpproxy, and a server, which have the one in the middle as their
gateway."""
import os
import subprocess

from . import netns
from .peers import Service, connect, read_all
from .waiting import wait_for

CLIENT, SERVER = ("198.51.100.7", "2001:db8:c::7"), ("10.0.0.9", "2001:db8:5::9")
HERE, NEAR = ("198.51.100.1", "2001:db8:c::1"), ("10.0.0.1", "2001:db8:5::1")  # tcpproxy's, towards the client and the server
NUMBERS = ("net.ipv4.tcp_fwmark_accept", "net.ipv4.fwmark_reflect", "net.ipv6.fwmark_reflect")


def run(*argv, text=None, check=True):
    done = subprocess.run([str(word) for word in argv], input=text, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{' '.join(map(str, argv))}: {done.stderr}"
    return done.stdout


def say_who(s):
    """A server that says who has called, as it sees it."""
    address, port = s.getpeername()[:2]
    s.sendall(f"{address.removeprefix('::ffff:')} {port}".encode())


class Hosts:
    """client, proxy, server: names for `on()` and `enter()`."""

    def __init__(self):
        self.names = {who: f"tcpp-{who}-{os.getpid()}" for who in ("client", "proxy", "server")}
        self.services = []
        for name in self.names.values():
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for device, other, host, ours, theirs in (("c0", "eth0", "client", HERE, CLIENT), ("s0", "eth0", "server", NEAR, SERVER)):
            run("ip", "-n", self.names["proxy"], "link", "add", device, "type", "veth", "peer", "name", other, "netns", self.names[host])
            self._address("proxy", device, ours)
            self._address(host, other, theirs)
            for family, address in zip(("-4", "-6"), ours):
                self.on(host, "ip", family, "route", "add", "default", "via", address)
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.on("proxy", "sysctl", "-qw", f"{name}=1")
        self.meet()

    def _address(self, who, device, addresses):
        for address in addresses:
            more = ("nodad",) if ":" in address else ()
            self.on(who, "ip", "addr", "add", f"{address}/{64 if ':' in address else 24}", "dev", device, *more)
        self.on(who, "ip", "link", "set", device, "up")

    def on(self, who, *argv, **more):
        """A command there; what it prints."""
        return run("ip", "netns", "exec", self.names[who], *argv, **more)

    def enter(self, who, function, *args, **more):
        """A function there."""
        return netns.enter(self.names[who], function, *args, **more)

    def serve(self, who, port, host, function=say_who):
        """A server there, until the end of the test."""
        kind = "tcp6" if ":" in host else "tcp4"
        self.services.append(self.enter(who, Service, function, kind, host=host, port=port))
        return self.services[-1]

    def ask(self, port, host=HERE[0], source=None):
        """What the client is told there, as text."""
        def talk():
            with connect(port, host, source=source) as s:
                return read_all(s).decode()
        return self.enter("client", talk)

    def connect(self, port, host=HERE[0], **more):
        return self.enter("client", connect, port, host, **more)

    def network(self):
        """All that tcpproxy could have changed of its host, as text."""
        asked = [self.on("proxy", "ip", family, *words) for family in ("-4", "-6")
                 for words in (("rule",), ("route", "show", "table", "all", "proto", "217"))]
        return "\n".join([*asked, self.on("proxy", "nft", "list", "ruleset"), self.on("proxy", "sysctl", *NUMBERS)])

    def meet(self):
        """The first packets of IPv6 may go before the neighbours know each other: until each host is answered."""
        def answered(host):
            try:
                connect(9, host, timeout=1).close()
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
        for who, addresses in (("client", HERE), ("server", NEAR)):
            for host in addresses:
                wait_for(lambda: self.enter(who, answered, host), f"{who} reaches {host}")

    def close(self):
        for service in self.services:
            service.close()
        for name in self.names.values():
            run("ip", "netns", "del", name, check=False)
