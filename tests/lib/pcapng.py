"""Reading pcapng with nothing but the standard library: enough to see what a tap wrote, and whether it is right."""
import ipaddress
import struct

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


class Packet:
    def __init__(self, when, octets):
        self.when, v6 = when, octets[0] >> 4 == 6
        head = 40 if v6 else 20
        span = (8, 24, 40) if v6 else (12, 16, 20)
        self.source, self.dest = (ipaddress.ip_address(octets[a:b]) for a, b in zip(span, span[1:]))
        tcp = octets[head:]
        self.sport, self.dport, self.seq, self.ack, offset, self.flags = struct.unpack("!HHIIBB", tcp[:14])
        self.data = tcp[offset >> 4 << 2:]
        pseudo = self.source.packed + self.dest.packed + struct.pack("!II", len(tcp), 6)
        assert checksum(pseudo + tcp) == 0, "a wrong TCP checksum"
        if not v6:
            assert checksum(octets[:20]) == 0 and struct.unpack("!H", octets[2:4])[0] == len(octets)

    @property
    def ends(self):
        return (str(self.source), self.sport), (str(self.dest), self.dport)


def checksum(octets):
    octets += b"\0" * (len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packets(octets):
    """All packets; every block must be right. One that is just being written is left out."""
    found, at = [], 0
    while at + 8 <= len(octets):
        kind, length = struct.unpack("<II", octets[at:at + 8])
        if at + length > len(octets):
            break
        assert length % 4 == 0 and octets[at + length - 4:at + length] == struct.pack("<I", length), "a broken block"
        if kind == 6:
            _, high, low, captured, whole = struct.unpack("<IIIII", octets[at + 8:at + 28])
            assert captured == whole
            found.append(Packet((high << 32 | low) / 1e6, octets[at + 28:at + 28 + captured]))
        at += length
    return found


def streams(octets):
    """{(source, destination): bytes} of each direction, put together by their numbers; gaps fail."""
    found = {}
    for p in packets(octets):
        start, data = found.get(p.ends, (None, b""))
        if p.data:
            start = p.seq if start is None else start
            assert p.seq == (start + len(data)) & 0xFFFFFFFF, "a gap"
            data += p.data
        found[p.ends] = (start, data)
    return {ends: data for ends, (_, data) in found.items()}
