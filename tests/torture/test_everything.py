"""All that is known of servers at once, under kills; and the proof that what must not be would be seen."""
import errno
import os
import re
import sys
import types

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from everything import Comer, Counting, named, torture_everything  # noqa: E402
from lib.peers import Service, connect, kill_connection, read_all  # noqa: E402
from lib.waiting import wait_for  # noqa: E402

RESET = rf"Error\(({errno.ECONNRESET}|{errno.EPIPE}|{errno.ENOTCONN}),"  # by a read, a write, or before either
SEED = int(os.environ.get("SEED", "5"))


@pytest.mark.slow
@pytest.mark.limit(300)
def test_40_kills_with_everything_on():
    wrong, summary = torture_everything(seed=SEED, kills=40)
    assert not wrong, wrong[:10]
    print(summary)


@pytest.mark.parametrize("serve, words", [(named("b"), r"AssertionError\(b'b'\)"), (kill_connection, RESET)],
                         ids=["another server", "a reset"])
def test_it_notices_what_a_client_meets(serve, words):
    server = Service(serve)
    comer = Comer("comer", server.port, [b"a"])
    wait_for(lambda: comer.wrong, "that it is seen")
    assert re.search(words, comer.wrong[0])
    server.close()


def test_it_notices_one_too_many():
    counting = Counting(types.SimpleNamespace(random=lambda: 1.0))
    server = Service(counting)
    counting.seconds = 1
    clients = [connect(server.port) for _ in range(3)]
    for c in clients:
        c.sendall(b"1")
    for c in clients:
        assert read_all(c) == b"done"
    assert counting.most == 3
    server.close()
