"""The README's way to shut the services down: fuser -k -n tcp $(tcpproxy -z)."""

import os
import subprocess
from pathlib import Path

import servers
from servers import TCPPROXY, command


def session(leader):
    """Processes of the session that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = entry.read_text().rpartition(") ")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(sid) == leader and state != "Z":
            found.append(int(entry.parent.name))
    return found


def test_fuser(start, folder):
    first, second = servers.free_port(), servers.free_port()
    rules = folder / "tcpproxy.conf"
    rules.write_text(f"port {first} {second}\ninterface 127.0.0.1\nserver 127.0.0.1:1\n")
    program = start("tcpproxy", [TCPPROXY, "-f", rules]).wait_port(second)
    listed = subprocess.run([TCPPROXY, "-z", "-f", rules], capture_output=True, text=True, check=True, timeout=10)
    ports = listed.stdout.split()
    assert ports == [str(p) for p in sorted((first, second))]
    subprocess.run([command("fuser"), "-k", "-n", "tcp", *ports], capture_output=True, check=True, timeout=10)
    servers.wait_for(lambda: not session(program.pid), "every process ends")
    assert not servers.answers(first) and not servers.answers(second)
    assert os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
