"""A small name server: A, AAAA, SRV and PTR, filled and changed by the test."""
import ipaddress
import socket
import struct
import threading
import time

A, PTR, AAAA, SRV = 1, 12, 28, 33
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3
UDP_MAX = 1232  # bytes of an answer


def _encode(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".") if label) + b"\0"


def _decode(message, at):
    labels = []
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode().lower())
        at += 1 + message[at]
    return ".".join(labels), at + 1


def _bind(address, port):
    """UDP and TCP at the same port; 0: at one that is free for both."""
    for left in range(100, -1, -1):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((address, port))
        try:
            return udp, socket.create_server(udp.getsockname())
        except OSError:
            udp.close()
            if port or not left:
                raise


class NameServer:
    """`add("mail.test", "127.0.0.1")` for both ways; `addresses`, `reverse` and `failing` may be changed at any
    time. A name that is not there does not exist; one in `silent` gets no answer at all; `late[name, A]` is after
    how many seconds a question is answered, None for never. The answers for one in `truncated` are too long for UDP.
    `shown[name]`: so many of its addresses or records stand in each answer, the next ones in the next. With `odd_case`
    names in answers are spelt as no one has asked for them."""

    def __init__(self, address="127.0.0.1", port=0):
        self.socket, self.listening = _bind(address, port)
        self.address = address
        self.spelt = "%s:%d" % self.socket.getsockname()
        self.by_tcp = 0
        self.addresses, self.reverse = {}, {}
        self.failing, self.silent, self.truncated, self.late = set(), set(), set(), {}
        self.services = {}  # of each name: (priority, weight, port, target)
        self.shown, self._turn = {}, {}
        self.odd_case = False
        self.ttl = 1
        self.asked = []  # (time, name, type)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.tcp_thread = threading.Thread(target=self._run_tcp, daemon=True)

    def add(self, name, *addresses):
        self.addresses[name] = list(addresses)

    def add_service(self, name, *records):
        self.services[name] = list(records)

    def add_reverse(self, address, *names):
        self.reverse[ipaddress.ip_address(address).reverse_pointer] = list(names)

    def questions(self, name):
        return [q for q in self.asked if q[1] == name]

    def _answers(self, name, kind):
        """The data of the answers, or None for a name that does not exist."""
        if name in self.reverse:
            return [_encode(n) for n in self.reverse[name]] if kind == PTR else []
        if name in self.services:
            records = self._part(name, self.services[name]) if kind == SRV else []
            return [struct.pack("!3H", *r[:3]) + _encode(self._spell(r[3])) for r in records]
        if name not in self.addresses:
            return None
        all_of_them = map(ipaddress.ip_address, self.addresses[name])
        return self._part((name, kind), [a.packed for a in all_of_them if kind == {4: A, 6: AAAA}.get(a.version)])

    def _spell(self, name):
        return "".join(c.upper() if i % 2 else c for i, c in enumerate(name)) if self.odd_case else name

    def _part(self, key, all_of_them):
        """Those whose turn it is."""
        n = self.shown.get(key[0] if isinstance(key, tuple) else key)
        if not n or n >= len(all_of_them):
            return all_of_them
        at = self._turn.get(key, 0)
        self._turn[key] = at + n
        return [all_of_them[(at + i) % len(all_of_them)] for i in range(n)]

    def _run_tcp(self):
        while True:
            try:
                s, _ = self.listening.accept()
            except OSError:
                return
            with s, s.makefile("rb") as questions:
                s.settimeout(5)
                try:
                    while len(head := questions.read(2)) == 2:
                        reply, _ = self._reply(questions.read(struct.unpack("!H", head)[0]), tcp=True)
                        if reply is None:
                            break
                        self.by_tcp += 1
                        s.sendall(struct.pack("!H", len(reply)) + reply)
                except OSError:
                    pass  # it has gone

    def _reply(self, message, tcp=False):
        ident, _, _, _, _, _ = struct.unpack("!6H", message[:12])
        name, at = _decode(message, 12)
        kind, _ = struct.unpack("!HH", message[at:at + 4])
        self.asked.append((time.monotonic(), name, kind))
        delay = self.late.get((name, kind), 0)
        if name in self.silent or delay is None:
            return None, 0
        answers = None if name in self.failing else self._answers(name, kind)
        code = SERVFAIL if name in self.failing else NXDOMAIN if answers is None else NOERROR
        answers = answers or []
        flags = 0x8580 | code
        if name in self.truncated and not tcp:
            answers, flags = [], flags | 0x0200
        reply = struct.pack("!6H", ident, flags, 1, len(answers), 0, 0) + message[12:at + 4]
        owner = _encode(self._spell(name)) if self.odd_case else b"\xc0\x0c"
        for octets in answers:
            reply += owner + struct.pack("!HHIH", kind, 1, self.ttl, len(octets)) + octets
        if len(reply) > UDP_MAX and not tcp:
            reply = struct.pack("!6H", ident, flags | 0x0200, 1, 0, 0, 0) + message[12:at + 4]
        return reply, delay

    def _send(self, reply, peer):
        try:
            self.socket.sendto(reply, peer)
        except OSError:
            pass  # the test is over

    def _run(self):
        while True:
            try:
                message, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            if not message:
                return
            reply, delay = self._reply(message)
            if reply and delay:
                threading.Timer(delay, self._send, (reply, peer)).start()
            elif reply:
                self._send(reply, peer)

    def __enter__(self):
        self.thread.start()
        self.tcp_thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"", self.socket.getsockname())
        self.thread.join(5)
        self.socket.close()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.tcp_thread.join(5)
        self.listening.close()
