"""Real servers behind `source client`: OpenSSH on another host, nginx on our own. What they say of their clients is what counts."""
import subprocess

import pytest

import servers
from lib.hosts import CLIENT, HERE, SERVER, Hosts


@pytest.fixture
def hosts():
    h = Hosts()
    yield h
    h.close()


def test_ssh_and_http(hosts, start, folder):
    (folder / "ssh").mkdir()
    (folder / "www").mkdir()
    sshd = hosts.enter("server", servers.Sshd, start, folder / "ssh", "0.0.0.0")
    nginx = hosts.enter("proxy", servers.Nginx, start, folder / "www", "", "location / { return 200 $remote_addr:$remote_port; }")
    config = folder / "tcpproxy.conf"
    config.write_text(f"source client\nport 2200\nserver {SERVER[0]}:{sshd.port}\nport 8000\nserver 127.0.0.1:{nginx.port}\n"
                      f"port 8001\nserver 127.0.0.1:{nginx.port}\nsource client port\n")
    before = hosts.network()
    proxy = hosts.enter("proxy", start, "tcpproxy", [servers.TCPPROXY, "-f", config])
    for port in (2200, 8000, 8001):
        hosts.enter("proxy", proxy.wait_port, port)
    said = hosts.on("client", "ssh", *sshd.options(), "-p", 2200, f"root@{HERE[0]}", "echo $SSH_CLIENT; head -c 3000000 /dev/zero | wc -c")
    assert said.split()[0] == CLIENT[0] and said.split()[-1] == "3000000"
    assert hosts.on("client", "curl", "-s", f"http://{HERE[0]}:8000/").startswith(f"{CLIENT[0]}:")
    assert hosts.on("client", "curl", "-s", "--local-port", "45678", f"http://{HERE[0]}:8001/") == f"{CLIENT[0]}:45678"
    assert hosts.on("proxy", "curl", "-s", f"http://127.0.0.1:{nginx.port}/").startswith("127.0.0.1:")  # directly
    hosts.enter("proxy", proxy.stop)
    servers.wait_for(lambda: hosts.network() == before, "nothing is left")
    assert subprocess.run(["ip", "-n", hosts.names["proxy"], "route", "show", "table", "27182"], capture_output=True, text=True,
                          check=False).stdout == ""
