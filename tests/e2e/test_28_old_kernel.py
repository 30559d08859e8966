"""A kernel without landlock, io_uring and close_range: what is missing is said, and everything else works."""
import os
import re
import signal

import pytest

from lib import build, kernel, processes
from lib.page import Page
from lib.peers import ask, connect, talk
from lib.ports import free_port
from lib.proxy import FILES
from lib.waiting import outlast_fuser, wait_for

pytestmark = [pytest.mark.skipif(not os.access(kernel.OLD_KERNEL, os.X_OK), reason="the tests were not built"),
              pytest.mark.skipif(os.geteuid() != 0, reason="only root can set such a filter")]


@pytest.fixture
def begin(start, service, directory):
    """begin(wrap): a proxy with a page, a worker, a relayed port and one with handlers; a client of each."""
    clients = []

    def make(*wrap):
        page, relayed, handled = Page(), free_port(), free_port()
        web = page.line if build.has_page() else ""
        proxy = start(config=f"{web}workers 1\nport {relayed}\nserver {service().spelt}\nport {handled}\nexec /bin/cat\n",
                      wrap=wrap)
        if web:
            page.wait_answers()
        proxy.relayed, proxy.handled = relayed, handled
        clients.extend(connect(port) for port in (relayed, handled))
        for c in clients[-2:]:
            talk(c)
        return proxy
    yield make
    for c in clients:
        c.close()


def kinds(pid):
    """What it holds, by kind, but for the ring: ["pipe", "socket", "socket", ...]"""
    held = (re.sub(r"^(socket|pipe):.*|.*(stderr)\d*\.log$", r"\1\2", x) for x in processes.descriptors(pid).values())
    return sorted(x for x in held if "io_uring" not in x)


def holdings(proxy):
    """{title: what each of them holds}. The supervisor is the source: it has all, and one who opens files or not."""
    spawner, = proxy.role("spawner")
    everybody = proxy.tree() | {"handlers": processes.children(spawner)}
    return {title: [kinds(pid) for pid in pids] for title, pids in everybody.items()
            if title not in ("tcpproxy: supervisor", FILES)}


def test_nobody_holds_more_than_on_a_new_one(begin):
    old, new = begin(kernel.OLD_KERNEL), begin()
    wait_for(lambda: holdings(old) == holdings(new), f"the same descriptors: {holdings(old)} instead of {holdings(new)}")


def lines(proxy, word):
    return [line for line in proxy.log().splitlines() if word in line]


def test_what_is_missing_is_said_once_with_what_follows(begin):
    proxy = begin(kernel.OLD_KERNEL)
    proxy.expect_deaths()
    os.kill(proxy.workers()[0], signal.SIGKILL)
    for pid in proxy.role("admin"):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(lines(proxy, "replaced")) == (2 if build.has_page() else 1), "both are replaced")
    proxy.wait_whole()
    ring, = lines(proxy, "io_uring cannot be used here")
    assert "each message takes system calls of its own" in ring
    files, = lines(proxy, "the right to read and write files of root is given up")
    assert "removing the pidfile and Unix sockets, reopening logs, reloading and reading lists of servers work only where nobody may do it" in files
    without = lines(proxy, "without landlock")
    assert len(without) == 1 + build.has_page() and all("files are kept away" in line for line in without), without
    assert len(lines(proxy, "landlock")) == len(without) + 1


def test_connections_survive_workers_and_upgrades(begin):
    proxy = begin(kernel.OLD_KERNEL)
    proxy.expect_deaths()
    with connect(proxy.relayed) as relayed, connect(proxy.handled) as handled:
        talk(relayed), talk(handled)
        before = proxy.workers()
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda: proxy.workers() not in ([], before), "another worker")
        talk(relayed), talk(handled)
        outlast_fuser()
        proxy.signal(signal.SIGUSR2)
        proxy.wait_log("upgrade: done: .*, 1 of 1 workers run it")
        talk(relayed), talk(handled)
    assert ask(proxy.relayed, b"x") == b"x"
