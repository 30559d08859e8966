"""What every test can ask for. See lib/ for the tools.

Environment: TCPPROXY, the program under test (default build/tcpproxy); REPEAT, how often the runs of the
ends of streams are repeated (default 5; 100 finds the rare ones).
"""
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lib.dns import NameServer  # noqa: E402
from lib.peers import Server, Service, echo  # noqa: E402
from lib.proxy import Directory, Proxy  # noqa: E402

LIMIT = 60  # seconds; no test may hang


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than five seconds")
    config.addinivalue_line("markers", "limit(seconds): this test may take so long")


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    if outcome.get_result().failed:
        item.failed = True


@pytest.fixture(autouse=True)
def no_test_hangs(request):
    mark = request.node.get_closest_marker("limit")
    seconds = mark.args[0] if mark else LIMIT

    def too_long(*_):
        raise TimeoutError(f"the test did not end within {seconds} s")
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def directory():
    d = Directory()
    yield d
    d.remove()


@pytest.fixture
def start(directory, request):
    """start('-b', port, server) or start(config='port ...'): a Proxy that is ready. At the end of the test
    each is stopped with TERM and must be gone, with exit code 0 and no process left."""
    started = []

    def start_one(*argv, **more):
        more.setdefault("log", f"stderr{len(started)}.log")
        own = Directory() if started else directory
        more.setdefault("wait", True)
        wait, more["wait"] = more["wait"], False
        proxy = Proxy(own, *argv, **more)
        started.append(proxy)
        if wait:
            proxy.wait_ready()
        return proxy
    yield start_one
    failed = getattr(request.node, "failed", False)
    try:
        for proxy in started:
            if failed:
                print(f"--- log of {proxy.argv}:\n{proxy.log()}")
            elif proxy.process.poll() is None or proxy.pids():
                proxy.stop()
    finally:
        for proxy in started:
            if proxy.pids() or proxy.process.poll() is None:
                proxy.kill()
            if proxy.directory is not directory:
                proxy.directory.remove()


@pytest.fixture
def server(directory):
    """server(kind): a listening socket of the test."""
    made = []

    def make(kind="tcp4", **more):
        made.append(Server(kind, directory, **more))
        return made[-1]
    yield make
    for s in made:
        s.close()


@pytest.fixture
def service(directory):
    """service(function): a server that runs by itself; an echo by default."""
    made = []

    def make(function=echo, kind="tcp4", **more):
        made.append(Service(function, kind, directory, **more))
        return made[-1]
    yield make
    for s in made:
        s.close()


@pytest.fixture
def names():
    """A name server that the test fills."""
    with NameServer() as n:
        yield n


@pytest.fixture(params=["tcp4", "tcp6", "unix"])
def kind(request):
    """The three kinds of server."""
    return request.param


@pytest.fixture
def host(kind):
    """Where the client connects: over IPv6 if the server is an IPv6 one."""
    return "::1" if kind == "tcp6" else "127.0.0.1"


