"""Servers go down and come up while processes are killed; and the proof that a client who meets one that is down would be seen."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from flips import torture_flips  # noqa: E402
from lib.checked import Checked, Clients  # noqa: E402
from lib.waiting import wait_for  # noqa: E402

SEED = int(os.environ.get("SEED", "3"))


@pytest.mark.slow
@pytest.mark.limit(120)
def test_40_kills_while_servers_go_down_and_up():
    wrong, summary = torture_flips(seed=SEED, kills=40)
    assert not wrong, wrong[:10]
    print(summary)


def test_it_notices():
    """A client who comes while a server is known to be down, and meets it."""
    server = Checked("a")
    clients = Clients(server.port, [server], 1)
    clients.wait_some(5)
    clients.goes_down(server)
    wait_for(lambda: clients.wrong, "a client who should not be there")
    with pytest.raises(AssertionError, match="which is down"):
        clients.stop()
    server.close()
