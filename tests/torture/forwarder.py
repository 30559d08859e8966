#!/usr/bin/python3
"""A forwarder in the plainest way, one thread for each direction, with faults to order. The tests show with it
that they notice them.

usage: forwarder.py PORT HOST:PORT|unix:PATH [wrong-byte|lost-reset|early-end]
"""
import fcntl
import random
import socket
import struct
import sys
import termios
import threading
import time

TCP_CLOSE = 7


def dial(target):
    if target.startswith("unix:"):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(target[5:])
        return s
    host, _, port = target.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)))


def reset(s):
    """After what was sent has been acknowledged."""
    for _ in range(2000):
        try:
            if s.family != socket.AF_UNIX and s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE:
                break
            if struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, b"\0" * 4))[0] == 0:
                break
        except OSError:
            break
        time.sleep(0.005)
    if s.family != socket.AF_UNIX:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Connection:
    def __init__(self, client, target, fault):
        self.client, self.fault = client, fault
        try:
            self.server = dial(target)
        except OSError:
            reset(client)
            client.close()
            return
        self.left = 2
        self.lock = threading.Lock()
        for source, sink in ((self.client, self.server), (self.server, self.client)):
            threading.Thread(target=self.move, args=(source, sink), daemon=True).start()

    def move(self, source, sink):
        moved = 0
        try:
            while chunk := source.recv(65536):
                if self.fault == "wrong-byte" and random.random() < 0.01:
                    chunk = chunk[:-1] + bytes([chunk[-1] ^ 1])
                sink.sendall(chunk)
                moved += len(chunk)
                if self.fault == "early-end" and moved > 200_000:
                    break
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort(sink)
        with self.lock:
            self.left -= 1
            if not self.left:
                self.client.close()
                self.server.close()

    def abort(self, sink):
        if self.fault != "lost-reset":
            reset(sink)
        for s in (self.client, self.server):
            try:
                if self.fault == "lost-reset":
                    s.shutdown(socket.SHUT_WR)
                else:
                    reset(s)
                    s.shutdown(socket.SHUT_RD)
            except OSError:
                pass


def main():
    port, target, fault = int(sys.argv[1]), sys.argv[2], (sys.argv[3:] or [""])[0]
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::", port))
    listener.listen(1024)
    while True:
        client, _ = listener.accept()
        Connection(client, target, fault)


if __name__ == "__main__":
    main()
