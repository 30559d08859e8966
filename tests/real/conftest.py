"""Fixtures for the tests with real programs."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

import manager
import servers


@pytest.fixture(autouse=True)
def _as_root():
    if os.geteuid() != 0:
        pytest.skip("real servers change their users: needs root")


@pytest.fixture
def folder():
    """A folder that every user may enter (pytest's own is for its user only)."""
    path = Path(tempfile.mkdtemp(prefix="real.", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start(folder):
    """start(NAME, ARGV, ENV): a program that runs until the end of the test."""
    with contextlib.ExitStack() as running:
        def start_program(name, argv, env=None):
            program = servers.Program(name, argv, folder, env)
            running.callback(program.stop)
            return program
        yield start_program


@pytest.fixture
def proxy(start, folder):
    """proxy(ARG...): tcpproxy in front of something, on a free port of 127.0.0.1; returns the port.
    proxy(config=TEXT) runs a configuration file, in which {port} stands for the port.
    proxy.running holds the processes."""
    if not servers.TCPPROXY.exists():
        pytest.fail(f"{servers.TCPPROXY} is not built")
    running = []

    def start_proxy(*args, config=None):
        port = servers.free_port()
        name = f"tcpproxy-{len(running)}"
        if config is None:
            args = ["-b", f"127.0.0.1:{port}", *args]
        else:
            file = folder / f"{name}.conf"
            file.write_text(config.replace("{port}", str(port)))
            args = ["-f", file, *args]
        program = start(name, [servers.TCPPROXY, *args]).wait_port(port)
        running.append(program)
        return port

    start_proxy.running = running
    yield start_proxy
    for program in running:
        assert program.stop() == 0, "tcpproxy did not end cleanly"


@pytest.fixture
def binary(folder):
    """tcpproxy where every user may run it."""
    if not servers.TCPPROXY.exists():
        pytest.fail(f"{servers.TCPPROXY} is not built")
    path = folder / "bin/tcpproxy"
    path.parent.mkdir()
    shutil.copy2(servers.TCPPROXY, path)
    path.chmod(0o755)
    return path


# ---- the real systemd, see manager.py

@pytest.fixture(scope="module")
def machine():
    if os.geteuid() != 0:
        pytest.skip("booting systemd needs root")
    if not os.path.exists("/lib/systemd/systemd"):
        pytest.skip("systemd is not installed (tools/deps.sh test)")
    m = manager.service_machine()
    yield m
    m.close()


@pytest.fixture
def service(machine):
    """It runs; at the end of the test it is stopped, and nothing of it is left."""
    machine.begin_log()
    machine.etc("tcpproxy.conf", manager.CONFIG)
    machine.systemctl("start", "tcpproxy")
    yield machine
    machine.systemctl("stop", "tcpproxy")
    machine.systemctl("reset-failed", check=False)
    left = []
    with contextlib.suppress(AssertionError):
        servers.wait_for(lambda: not left.append(machine.processes()) and left[-1] == {}, "nothing is left", 4)
    assert left[-1] == {}


@pytest.fixture
def drop_in(machine, request):
    """The text of the mark is added to the service."""
    path = machine.folder / "units/tcpproxy.service.d/test.conf"
    path.parent.mkdir()
    path.write_text(request.param)
    machine.systemctl("daemon-reload")
    yield
    path.unlink()
    path.parent.rmdir()
    machine.systemctl("daemon-reload")
