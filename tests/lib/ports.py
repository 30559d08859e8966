"""Port numbers that no other test on this machine gets, and a look at who listens."""
import fcntl
import os
import socket
import tempfile

FIRST, LAST = 10000, 31999  # below the range of ephemeral ports
FIRST_LOW, LAST_LOW = 800, 1023  # root's, and hardly anybody's
_COUNTER = os.path.join(tempfile.gettempdir(), f"tcpproxy-tests-ports.{os.getuid()}")


def _bindable(port):
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with socket.socket(family, socket.SOCK_STREAM) as s:
            try:
                if family == socket.AF_INET6:
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                s.bind((address, port))
            except OSError:
                return False
    return True


def _next(n, first, last, counter):
    """The first of `n` ports in a row. A counter in a locked file keeps parallel runs apart."""
    with open(counter, "a+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.seek(0)
        port = int(f.read() or first)
        while True:
            if port + n > last:
                port = first
            if all(_bindable(p) for p in range(port, port + n)):
                break
            port += 1
        f.seek(0)
        f.truncate()
        f.write(str(port + n))
        return port


def free_ports(n):
    return _next(n, FIRST, LAST, _COUNTER)


def free_port():
    return free_ports(1)


def free_low_port():
    """One that only root, or a capability, may bind."""
    return _next(1, FIRST_LOW, LAST_LOW, _COUNTER + ".low")


def _address(text):
    host, port = text.split(":")
    raw = bytes.fromhex(host)
    raw = b"".join(raw[i:i + 4][::-1] for i in range(0, len(raw), 4))
    family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, raw), int(port, 16)


def listeners(port, pid="self"):
    """The local addresses on which somebody listens at `port`."""
    found = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{table}") as f:
            for line in f.readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    address, p = _address(fields[1])
                    if p == port:
                        found.append(address)
    return sorted(found)


def listening(port):
    return bool(listeners(port))
