"""What a client of TLS says first: of a real library, and made by hand."""
import ssl
import struct


def of_python(name=None, alpn=(), most=None):
    """The ClientHello of Python's OpenSSL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    if most:
        context.maximum_version = most
    said = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), said, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return said.read()


def vector(size, value):
    return struct.pack(">I", len(value))[4 - size:] + value


def extension(kind, value):
    return struct.pack(">H", kind) + vector(2, value)


def sni(*names, kind=0):
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


def alpn(*protocols):
    return extension(16, vector(2, b"".join(vector(1, p) for p in protocols)))


def padding(n):
    return extension(21, bytes(n))


def message(*extensions, suites=b"\x13\x01\x13\x02", session=b"", version=b"\3\3", kind=1):
    body = version + bytes(32) + vector(1, session) + vector(2, suites) + b"\1\0"
    if extensions:
        body += vector(2, b"".join(extensions))
    return bytes([kind]) + vector(3, body)


def records(handshake, size=16384, version=b"\3\1"):
    """In records of so many bytes each."""
    return b"".join(b"\x16" + version + vector(2, handshake[at:at + size]) for at in range(0, len(handshake), size))


def hello(name=b"a.test", *extensions, size=16384, **more):
    return records(message(sni(name), *extensions, **more), size)


NO_NAME = records(message(alpn(b"h2")))
SSL2 = b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + bytes(37)
