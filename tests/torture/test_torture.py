"""The torture, and the proof that it notices what it is made for."""
import asyncio
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from torture import MIB, torture  # noqa: E402

FORWARDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "forwarder.py")
SEED = int(os.environ.get("SEED", "1"))


@pytest.mark.slow
@pytest.mark.limit(900)
def test_500_connections_every_byte_every_end_and_flat_memory():
    failures, growth = asyncio.run(torture(seed=SEED, connections=500, rounds=5))
    assert not failures, failures[:10]
    assert all(g < 4 * MIB for g in growth), growth


def test_a_faithful_forwarder_passes():
    """It is a plain one: a reset that a write hears of is lost on the thread that reads."""
    failures, _ = asyncio.run(torture(seed=SEED, connections=60, early=False, command=f"{FORWARDER} {{port}} {{target}}"))
    assert not failures, failures[:10]


@pytest.mark.parametrize("fault, words", [
    ("wrong-byte", "wrong byte"),
    ("lost-reset", "a FIN instead of a reset"),
    ("early-end", "end after"),
])
@pytest.mark.limit(120)
def test_it_notices(fault, words):
    failures, _ = asyncio.run(torture(seed=SEED, connections=60, command=f"{FORWARDER} {{port}} {{target}} {fault}"))
    assert any(words in line for line in failures), failures[:10]
