"""Upgrades by USR2: another file at the path of the program."""
import os
import shutil
import signal

from .waiting import wait_for


def replace(proxy, script=None):
    """The same program once more, in another file, or a script in its place. REAL in it is the program."""
    path = proxy.directory.program
    kept = f"{path}.kept"
    if not os.path.exists(kept):
        os.link(path, kept)
    fresh = f"{path}.new"
    if script is None:
        shutil.copy2(kept, fresh)
    else:
        with open(fresh, "w") as f:
            f.write(script.replace("REAL", kept))
        os.chmod(fresh, 0o755)
    os.rename(fresh, path)


def upgrade(proxy, n=1, timeout=15):
    proxy.expect_deaths()
    proxy.signal(signal.SIGUSR2)
    wait_for(lambda: proxy.log().count("upgrade: done") >= n, f"upgrade {n} is done:\n{proxy.log()}", timeout)


def roll_back(proxy, first=":"):
    """An upgrade to a program that passes both trials, and ends in the place of the supervisor, after a command. Returns the pid of
    the supervisor that goes on. It is no child of ours: a test has to end it itself."""
    notes = proxy.directory / "notes"
    os.mkdir(notes)
    os.chmod(notes, 0o777)  # the service user notes which trials there were
    replace(proxy, f"""#!/bin/sh
for trial in check rehearsal; do
    [ -e {notes}/$trial ] || {{ : >{notes}/$trial; exec REAL "$@"; }}
done
{first}
exit 3
""")
    proxy.expect_deaths()
    proxy.signal(signal.SIGUSR2)
    proxy.process.wait(10)
    found = proxy.wait_log("upgrade: .* ended before it was ready: the old program goes on, as process ([0-9]+)")
    return int(found[1])
