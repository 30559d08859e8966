"""Looking at processes through /proc, and stopping them for a while."""
import contextlib
import os
import signal

from .waiting import wait_for


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(pid, name):
    try:
        with open(f"/proc/{pid}/{name}", "rb") as f:
            return f.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def status(pid):
    """/proc/PID/status as a dictionary; empty when the process is gone."""
    lines = _read(pid, "status").decode().splitlines()
    return dict((key, value.strip()) for key, _, value in (line.partition(":") for line in lines))


def alive(pid):
    """Runs, and is no zombie."""
    return status(pid).get("State", "Z")[0] not in "ZX"


def parent(pid):
    return int(status(pid).get("PPid", "0"))


def title(pid):
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def environment(pid):
    entries = _read(pid, "environ").decode(errors="replace").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def executable(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def running(path):
    """Every live process whose program is `path`."""
    return [pid for pid in pids() if executable(pid) in (path, path + " (deleted)") and alive(pid)]


def children(pid):
    return [p for p in pids() if parent(p) == pid]


def zombies(of):
    """The dead that their parents, the processes `of`, have not buried."""
    return [p for p in pids() if status(p).get("State", "")[:1] == "Z" and parent(p) in of]


def descriptors(pid):
    """{number: what it leads to}"""
    found = {}
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                pass
    except OSError:
        pass
    return found


def memory(pid):
    """Private resident memory in bytes: what the process itself has grown to."""
    fields = _read(pid, "statm").split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def terminal(pid):
    """The number of its controlling terminal; 0: none."""
    return int(_read(pid, "stat").rpartition(b")")[2].split()[4])


def cpu_seconds(pid):
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


@contextlib.contextmanager
def stopped(pid):
    """SIGSTOP, and SIGCONT at the end of the block."""
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: status(pid).get("State", "T").startswith("T"), f"process {pid} is stopped")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
