"""Started by the programs that start servers: inetds, UCSPI servers, systemd. And the clients that go with them.

What each test asks for is the SHA-256 sum of an upload: it comes back only when the client's end of stream
passed through, and the answer's direction stayed open.
"""

import hashlib
import os
import subprocess

import pytest

import servers
from servers import EXAMPLES, TCPPROXY, command, unpacked

UPLOAD = os.urandom(2_000_000)


@pytest.fixture
def server(start):
    """Port of the server that digests."""
    return servers.Digest(start).port


def ask(argv):
    """An upload through a client that talks on stdin and stdout; the sum that came back."""
    done = subprocess.run([str(a) for a in argv], input=UPLOAD, capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode().split()[0] if done.stdout else None


def nc(port, host="127.0.0.1"):
    return [command("nc"), "-N", host, port]


def socat(port):
    return [command("socat"), "-t", "20", "-", f"TCP:127.0.0.1:{port}"]


SUM = hashlib.sha256(UPLOAD).hexdigest()


@pytest.mark.parametrize("client", [nc, socat])
def test_clients_half_close(server, proxy, client):
    assert ask(client(proxy(f"127.0.0.1:{server}"))) == SUM


def test_pipes(server):
    """tcpproxy itself as the client, between two pipes."""
    assert ask([TCPPROXY, f"127.0.0.1:{server}"]) == SUM


def test_xinetd(start, folder, server):
    port = servers.free_port()
    (folder / "xinetd.conf").write_text(f"""
service proxied
{{
    type = UNLISTED
    port = {port}
    bind = 127.0.0.1
    socket_type = stream
    protocol = tcp
    wait = no
    user = root
    server = {TCPPROXY}
    server_args = 127.0.0.1:{server}
}}
""")
    start("xinetd", [unpacked("xinetd", "usr/sbin/xinetd"), "-dontfork", "-stayalive", "-pidfile",
                     folder / "xinetd.pid", "-filelog", folder / "messages",
                     "-f", folder / "xinetd.conf"]).wait_port(port)
    assert ask(nc(port)) == SUM


def test_openbsd_inetd(start, folder, server):
    """With a configuration file: the rule is found by the socket's local port."""
    port = servers.free_port()
    rules = folder / "tcpproxy.conf"
    rules.write_text(f"standalone no\nport {port}\nserver 127.0.0.1:{server}\n")
    (folder / "inetd.conf").write_text(f"127.0.0.1:{port} stream tcp nowait root {TCPPROXY} tcpproxy -f {rules}\n")
    start("inetd", [unpacked("openbsd-inetd", "usr/sbin/inetd"), "-i", folder / "inetd.conf"]).wait_port(port)
    assert ask(nc(port)) == SUM


def test_tcpserver(start, server):
    port = servers.free_port()
    start("tcpserver", [command("tcpserver"), "-HR", "-l0", "127.0.0.1", port, TCPPROXY,
                        f"127.0.0.1:{server}"]).wait_port(port)
    assert ask(nc(port)) == SUM


def test_tcpsvd(start, server):
    port = servers.free_port()
    start("tcpsvd", [command("tcpsvd"), "127.0.0.1", port, TCPPROXY, f"127.0.0.1:{server}"]).wait_port(port)
    assert ask(nc(port)) == SUM


def activate(start, port, *args):
    start("activate", [command("systemd-socket-activate"), "-l", f"127.0.0.1:{port}", *args]).wait_port(port)


def test_systemd_listening_socket(start, folder, server):
    """The socket that systemd opened is ours; a configured port that it did not open is bound as usual."""
    port, own = servers.free_port(), servers.free_port()
    rules = folder / "tcpproxy.conf"
    rules.write_text(f"port {port} {own}\ninterface 127.0.0.1\nserver 127.0.0.1:{server}\n")
    activate(start, port, TCPPROXY, "-f", rules)
    assert ask(nc(port)) == SUM
    assert ask(nc(own)) == SUM
    assert ask(nc(port)) == SUM


def test_systemd_accepted_socket(start, server):
    """As from a socket unit with Accept=yes: besides stdin and stdout there is the same socket once more, as
    descriptor 3. It must not keep the connection open."""
    port = servers.free_port()
    activate(start, port, "--accept", command("sh"), "-c", f"exec {TCPPROXY} 127.0.0.1:{server} <&3 >&3")
    assert ask(nc(port)) == SUM


def test_systemd_accepted_stdin(start, server):
    port = servers.free_port()
    activate(start, port, "--accept", "--inetd", TCPPROXY, f"127.0.0.1:{server}")
    assert ask(nc(port)) == SUM


def test_service_routing(start, folder, server, proxy, binary):
    """The example of the README: a script looks at the client's address and becomes the proxy."""
    other = servers.free_port()
    start("other", [command("tcpsvd"), "127.0.0.1", other, command("echo"), "other server"]).wait_port(other)
    script = (EXAMPLES / "smtp-handler").read_text()
    for shipped, here in (("192.168.1.*", "127.0.0.1"), ("mail.provider.com:25", f"127.0.0.1:{server}"),
                          ("mail.internal.com:25", f"127.0.0.1:{other}"), ("exec tcpproxy", f"exec {binary}")):
        assert shipped in script, shipped
        script = script.replace(shipped, here)
    handler = folder / "smtp-handler"
    handler.write_text(script)
    handler.chmod(0o755)
    port = proxy(handler)
    assert ask(nc(port)) == SUM
    outside = subprocess.run([command("nc"), "-d", "-s", "127.0.0.2", "127.0.0.1", str(port)], capture_output=True,
                             timeout=20)
    assert outside.stdout == b"other server\n"
