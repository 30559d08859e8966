"""Headers of the PROXY protocol, made and read by its document alone: nothing here knows our C."""
import ipaddress
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL = 1, 2, 3, 4, 5, 0x20


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def v1(source="192.0.2.7", port=4711, to="198.51.100.1", to_port=25):
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {to} {port} {to_port}\r\n".encode()


def tlv(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def v2(source="192.0.2.7", port=4711, to="198.51.100.1", to_port=25, tlvs=b"", crc=False, command=1, family=None,
       kind=1, version=2, addresses=None):
    if addresses is None:
        a, b = ipaddress.ip_address(source), ipaddress.ip_address(to)
        addresses = a.packed + b.packed + struct.pack("!HH", port, to_port)
        family = family or (2 if a.version == 6 else 1)
    body = addresses + tlvs + (tlv(CRC32C, b"\0" * 4) if crc else b"")
    header = SIGNATURE + bytes([version << 4 | command, (family or 0) << 4 | (kind if family else 0)])
    header += struct.pack("!H", len(body)) + body
    return header[:-4] + struct.pack("!I", crc32c(header)) if crc else header


LOCAL = SIGNATURE + b"\x20\x00\0\0"


def exactly(s, n):
    got = b""
    while len(got) < n:
        more = s.recv(n - len(got))
        assert more, f"the end after {got!r}"
        got += more
    return got


class Header:
    """What a server hears first: `version`, `local`, `source` and `to` as "ADDR:PORT" (None: not known), `tlvs` in order."""

    def __init__(self, s):
        self.bytes = exactly(s, 1)
        if self.bytes == b"P":
            self.read_1(s)
        else:
            self.bytes += exactly(s, 15)
            self.read_2(s)

    def read_1(self, s):
        self.version, self.local, self.tlvs, self.crc = 1, False, [], None
        while not self.bytes.endswith(b"\r\n"):
            self.bytes += exactly(s, 1)
        assert len(self.bytes) <= 107
        words = self.bytes[:-2].decode().split(" ")
        assert words[0] == "PROXY"
        self.source = self.to = None
        if words[1] != "UNKNOWN":
            a, b = (ipaddress.ip_address(w) for w in words[2:4])
            assert {"TCP4": 4, "TCP6": 6}[words[1]] == a.version == b.version
            self.set(a, b, int(words[4]), int(words[5]))

    def read_2(self, s):
        assert self.bytes[:12] == SIGNATURE
        command, family, length = struct.unpack("!BBH", self.bytes[12:])
        body = exactly(s, length)
        self.bytes += body
        self.version, self.local, self.crc = command >> 4, command & 15 == 0, None
        self.source = self.to = None
        size = {0: 0, 1: 12, 2: 36}[family >> 4]
        if size:
            ip = 4 if size == 12 else 16
            ports = struct.unpack("!HH", body[2 * ip:size])
            self.set(ipaddress.ip_address(body[:ip]), ipaddress.ip_address(body[ip:2 * ip]), *ports)
        self.tlvs, at = [], size
        while at < length:
            kind, n = struct.unpack("!BH", body[at:at + 3])
            value = body[at + 3:at + 3 + n]
            assert len(value) == n, "a TLV that is longer than the header"
            if kind == CRC32C:
                start = 16 + at + 3
                zeroed = self.bytes[:start] + b"\0" * 4 + self.bytes[start + 4:]
                self.crc = struct.unpack("!I", value)[0] == crc32c(zeroed)
            else:
                self.tlvs.append((kind, value))
            at += 3 + n

    def set(self, a, b, port, to_port):
        self.source, self.to = spell(a, port), spell(b, to_port)

    def tlv(self, kind):
        return dict(self.tlvs).get(kind)


def spell(ip, port):
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def name_of(address):
    """As we spell what socket.getsockname() says."""
    return spell(ipaddress.ip_address(address[0]), address[1])
