"""The README's way to shut the services down: fuser -k -n tcp $(tcpproxy -z)."""

import os
import subprocess

import servers
from servers import TCPPROXY, command


def test_fuser(start, folder):
    first, second = servers.free_port(), servers.free_port()
    rules = folder / "tcpproxy.conf"
    rules.write_text(f"port {first} {second}\ninterface 127.0.0.1\nserver 127.0.0.1:1\n")
    program = start("tcpproxy", [TCPPROXY, "-f", rules]).wait_port(second)
    listed = subprocess.run([TCPPROXY, "-z", "-f", rules], capture_output=True, text=True, check=True, timeout=10)
    ports = listed.stdout.split()
    assert ports == [str(p) for p in sorted((first, second))]
    servers.wait_for(lambda: len(servers.members(folder)) > 5, "they are all there")
    subprocess.run([command("fuser"), "-k", "-n", "tcp", *ports], capture_output=True, check=True, timeout=10)
    servers.wait_for(lambda: not servers.members(folder), "every process ends")
    assert not servers.listens(first) and not servers.listens(second)
    assert os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
