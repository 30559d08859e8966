"""The files of packaging/examples, as shipped, and the demo."""

import os
import signal
import subprocess
import urllib.request

import pytest

import servers
from servers import EXAMPLES, TCPPROXY, TOP, command


@pytest.mark.parametrize("name", ["gateway.conf", "demo.conf"])
def test_configuration_is_right(name):
    done = subprocess.run([TCPPROXY, "--check", "-f", EXAMPLES / name], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("client, local, verdict, server", [
    ("192.168.1.7", "192.168.1.1:25", 0, "mail.provider.com"),
    ("192.7.100.9", "192.168.1.1:25", 3, ""),
    ("192.7.100.9", "192.7.100.114:25", 0, "mail.internal.com"),
    ("192.7.100.9", "192.7.100.114:26", 1, ""),
])
def test_gateway_routes(client, local, verdict, server):
    done = subprocess.run([TCPPROXY, "--explain", client, local, "-f", EXAMPLES / "gateway.conf"],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == verdict, done.stdout + done.stderr
    assert server in done.stdout


def test_access_program(start, folder, proxy):
    server = servers.free_port()
    start("server", [command("tcpsvd"), "127.0.0.1", server, command("echo"), "220 welcome"]).wait_port(server)
    acp = folder / "acp-example.sh"
    acp.write_bytes((EXAMPLES / "acp-example.sh").read_bytes())
    acp.chmod(0o755)

    def greeting(*options):
        port = proxy("-a", acp, *options, f"127.0.0.1:{server}")
        return subprocess.run([command("nc"), "-d", "127.0.0.1", str(port)], capture_output=True, timeout=20).stdout

    assert greeting("--numeric") == b"554 no name for 127.0.0.1\r\n"
    assert greeting() == b"220 welcome\n"  # localhost, of /etc/hosts


@pytest.fixture
def demo(folder):
    """The demo on free ports, in its own process group; (process, port, handler's port, output)."""
    for program in ("busybox", "curl", "ss"):
        command(program)
    ports = [servers.free_port() for _ in range(3)]
    environment = dict(zip(("DEMO_PORT", "DEMO_HTTP_PORT", "DEMO_HANDLER_PORT"), map(str, ports)),
                       TCPPROXY=str(TCPPROXY))
    output = folder / "demo.log"
    with open(output, "wb") as log:
        process = subprocess.Popen([TOP / "tools/run-demo.sh"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   env={**os.environ, **environment}, start_new_session=True)
    yield process, ports, output
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    print(output.read_text())


def test_demo(demo):
    process, (port, http, handler), output = demo

    def started():
        assert process.poll() is None, output.read_text()
        return "It works." in output.read_text()
    servers.wait_for(started, "the demo starts", 30)
    assert "tcpproxy: 3 takeovers, 0 dropped, checksum equal, longest stall " in output.read_text()
    page = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/", timeout=10)
    assert b"behind tcpproxy" in page.read()
    talk = subprocess.run([command("nc"), "-N", "127.0.0.1", str(handler)], input=b"Ada\n", capture_output=True,
                          timeout=10)
    assert talk.stdout.startswith(b"Hello 127.0.0.1,") and talk.stdout.endswith(b"Good day, Ada!\n")
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(5)
    assert not any(servers.listens(p) for p in (port, http, handler))


def test_demo_names_the_port_in_use(start):
    taken = servers.free_port()
    start("server", [command("tcpsvd"), "127.0.0.1", taken, command("true")]).wait_port(taken)
    done = subprocess.run([TOP / "tools/run-demo.sh"], capture_output=True, text=True, timeout=20,
                          env={**os.environ, "DEMO_PORT": str(taken), "TCPPROXY": str(TCPPROXY)})
    assert done.returncode != 0
    assert f"port {taken} is in use" in done.stderr and "DEMO_PORT=" in done.stderr
