"""Waiting for a state, never for a time."""
import time

PATIENCE = 20.0
"""Seconds until a state that does not come is a failure. Passing tests never wait that long."""


def wait_for(condition, what, timeout=PATIENCE):
    """Asks `condition` until it is true, and returns its answer; fails with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def outlast_fuser():
    """Members of a trio that die within a second of each other, or of the supervisor, mean that somebody wants all of them gone, as
    `fuser -k` does (takeover/keeper.h). Here time itself is the state."""
    time.sleep(1.2)


def stays(condition, what, seconds):
    """The opposite: `condition` must hold all the time for `seconds`. For what must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"did not last {seconds} s: {what}"
        time.sleep(0.01)
