"""Members of trios are killed while many connections are under way; and the proof that a fault would be seen."""
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import talks  # noqa: E402
from kills import torture_forwarder, torture_proxy  # noqa: E402

FORWARDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "forwarder.py")
SEED = int(os.environ.get("SEED", "1"))


@pytest.mark.limit(180)
def test_300_kills_cost_no_connection_no_byte_and_no_end():
    run = torture_proxy(seed=SEED, kills=300)
    assert not run.failures, run.failures[:10]
    print(run.summary)


@pytest.mark.limit(120)
def test_reloads_upgrades_and_kills_at_system_calls():
    """mostly members; p, b: at their system calls; S: the supervisor; u, U: upgrades, and kills inside them."""
    run = torture_proxy(seed=SEED, kills=60, n=24, whom="mmmm2dpbshuSU")
    assert not run.failures, run.failures[:10]
    print(run.summary)


@pytest.mark.limit(120)
def test_handlers_and_access_programs_go_on():
    run = torture_proxy(seed=SEED, kills=60, n=6, programs=12, whom="mmw2dhpbu")
    assert not run.failures, run.failures[:10]
    print(run.summary)


@pytest.mark.limit(120)
def test_headers_of_the_proxy_protocol_are_whole_and_said_once():
    """Sent by one service, taken by the other; a byte of them too many, or too few, is a wrong byte at an end."""
    run = torture_proxy(seed=SEED, kills=100, n=24, headers=True)
    assert not run.failures, run.failures[:10]
    print(run.summary)


@pytest.mark.limit(120)
def test_servers_are_called_from_the_clients_addresses():
    """And those that make the sockets for it are killed, too."""
    done = subprocess.run([sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kills.py"), "--source-client", "--seed", str(SEED),
                           "--kills", "60", "--slots", "24"], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)


@pytest.mark.limit(120)
def test_what_is_said_before_tls_is_said_once():
    """By clients of each protocol of `starttls`; and the records say the bytes behind it alone."""
    failures, summary = talks.torture(seed=SEED, kills=60)
    assert not failures, failures[:10]
    print(summary)


@pytest.mark.parametrize("fault, words", [
    ("wrong-byte", "a wrong byte"),
    ("lost-reset", "a FIN instead of a reset"),
    ("early-end", "an end before the last byte"),
])
@pytest.mark.limit(120)
def test_it_notices(fault, words):
    failures, _ = torture_forwarder(f"{FORWARDER} {{port}} {{target}} {fault}", seed=SEED)
    assert any(words in line for line in failures), failures[:10]
