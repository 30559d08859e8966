"""The program under test: started in a directory of its own, watched, and stopped without a trace."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from . import ports, processes, records
from .waiting import PATIENCE, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(os.environ.get("TCPPROXY", os.path.join(ROOT, "build", "tcpproxy")))
FILES = "tcpproxy: files"  # there only when it may be needed: opens what the service user may not
CHECKER = "tcpproxy: checker"
SOCKETS = "tcpproxy: sockets"
STOPS_WITHIN = 4.0  # seconds, by the manual: test_08 measures it; elsewhere a busy machine may take longer


class Directory:
    """A directory that the service user may read, with a `tcpproxy` of its own in it, under any name: whoever runs
    that program belongs to this test."""

    def __init__(self, name="tcpproxy"):
        self.path = tempfile.mkdtemp(prefix="tcpproxy-test-")
        os.chmod(self.path, 0o755)
        self.program = self / name
        try:
            os.link(BINARY, self.program)
        except OSError:
            shutil.copy2(BINARY, self.program)

    def __truediv__(self, name):
        return os.path.join(self.path, name)

    def write(self, name, text, mode=0o644):
        path = self / name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def script(self, name, body, shell="/bin/sh"):
        """A program that anybody may run."""
        return self.write(name, f"#!{shell}\n{body}\n", 0o755)

    def environment(self, extra=None):
        env = {"PATH": f"{self.path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TCPPROXY_FLOW"):
            if name in os.environ:
                env[name] = os.environ[name]
        env.update(extra or {})
        return env

    def run(self, *argv, timeout=PATIENCE, env=None, **more):
        """Runs the program to its end; text in and out."""
        return subprocess.run([self.program, *map(str, argv)], capture_output=True, text=True, errors="replace",
                              timeout=timeout, env=self.environment(env), cwd=self.path, **more)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


PIDFDS = 7  # in the table that a trio shares: each of the three watches both others, and all of them the supervisor


def watched(worker):
    return sum("pidfd" in leads_to for leads_to in processes.descriptors(worker).values()) >= PIDFDS


class Proxy:
    """A tcpproxy that serves. `config` is the text of its file; `argv` what else it is told."""

    def __init__(self, directory, *argv, config=None, env=None, log="stderr.log", wrap=(), wait=True, **popen):
        self.directory = directory
        self.argv = list(map(str, argv))
        self.config_path = None
        if config is not None:
            self.config_path = directory.write("tcpproxy.conf", config)
            self.argv = ["-f", self.config_path, *self.argv]
        self.config = config or ""
        self.log_path = directory / log
        self._stderr = open(self.log_path, "ab")
        self._popen = dict(args=[*wrap, directory.program, *self.argv], stdin=subprocess.DEVNULL,
                           stdout=self._stderr, stderr=self._stderr, env=directory.environment(env),
                           cwd=directory.path, **popen)
        self._run()
        self.born = {}
        self.casualties = False
        self.planted = any(name.endswith("_SPINS") for name in env or ())
        told = re.search(r"^\s*workers (\d+)", "\n".join([self.config, *self.argv]), re.M)
        self.trios = int(told[1]) if told else len(os.sched_getaffinity(0))
        if wait:
            self.wait_ready()

    def _run(self):
        self.process = subprocess.Popen(**self._popen)
        self.pid = self.process.pid

    def kill_supervisor(self):
        self.expect_deaths()
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()

    def kill_workers(self):
        """All of them; others go on in their place."""
        self.expect_deaths()
        old = set(self.workers())
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.whole() and not old & set(self.workers()), "other workers")

    def start_again(self):
        """The same command once more, after its supervisor was killed."""
        self._run()
        # those of before are still there: it has taken them over when it has a spawner of its own
        wait_for(lambda: self.process.poll() is not None or
                 any(processes.parent(pid) == self.pid for pid in self.role("spawner")), f"it serves:\n{self.log()}")
        self.wait_whole()

    # -- what it is told, what it says

    def ports(self):
        """Every port that the command line and the file name."""
        words = [self.argv[i + 1] for i, a in enumerate(self.argv[:-1]) if a in ("-b", "--bind")]
        words = [w.rpartition(":")[2] for w in words]
        words += [w for w in re.findall(r"^\s*port\s+(.*)$", self.config, re.M) if "netns=" not in w]
        numbers = []
        for word in " ".join(words).split():
            first, _, last = word.partition("-")
            if first.isdigit():
                numbers += range(int(first), int(last or first) + 1)
        return numbers

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wait_log(self, pattern, timeout=PATIENCE):
        """Waits for a line that matches; returns the match."""
        return wait_for(lambda: re.search(pattern, self.log(), re.M), f"a log line like {pattern!r} in:\n{self.log()}",
                        timeout)

    def records(self):
        return records.parse(self.log())

    def wait_records(self, n, timeout=PATIENCE):
        def enough():
            found = [r for r in self.records() if r.event == "close"]
            return found if len(found) >= n else None
        return wait_for(enough, f"{n} access records", timeout)

    def wait_record(self, timeout=PATIENCE):
        """The one record that there is."""
        found = self.wait_records(1, timeout)
        assert len(found) == 1, found
        return found[0]

    # -- processes

    def pids(self):
        return processes.running(self.directory.program)

    def everybody(self):
        """{pid: title} of all members, whatever file they run."""
        return {pid: processes.title(pid) for pid in processes.pids()
                if processes.title(pid).startswith("tcpproxy: ")
                and self.directory.path in processes.executable(pid)}

    def tree(self):
        """{title: [pid, ...]} of all our processes."""
        found = {}
        for pid in self.pids():
            title = processes.title(pid)
            if title.startswith("tcpproxy: "):  # else one that a script has started
                found.setdefault(title, []).append(pid)
        return {title: sorted(p) for title, p in found.items()}

    def role(self, name):
        """Those of this title; a spawner's child that is about to become a program has it, too, and is none."""
        pids = self.tree().get(f"tcpproxy: {name}", [])
        return [pid for pid in pids if processes.parent(pid) not in pids] if name == "spawner" else pids

    def workers(self):
        return sorted(pid for title, p in self.tree().items() if title.startswith("tcpproxy: worker ") for pid in p)

    def keepers(self):
        return sorted(pid for title, p in self.tree().items() if title.startswith("tcpproxy: keeper ") for pid in p)

    def whole(self):
        """The tree if it is complete: a supervisor, a spawner, for each worker two keepers, who serves the page, and who checks
        servers."""
        tree = self.tree()
        wanted = {"tcpproxy: supervisor": 1, "tcpproxy: spawner": 1}
        if re.search(r"^\s*admin (?!unix:)", "\n".join([self.config, *self.argv]), re.M):
            wanted["tcpproxy: admin"] = 1
        if re.search(r"^\s*check (?!off)", "\n".join([self.config, *self.argv]), re.M):
            wanted[CHECKER] = 1
        for i in range(self.trios):
            wanted[f"tcpproxy: worker {i}"] = 1
            wanted[f"tcpproxy: keeper {i}"] = 2
        counts = {title: len(p) for title, p in tree.items()}
        if counts.get(CHECKER) == 1:  # it is there for names of servers, too
            wanted[CHECKER] = 1
        if counts.get(FILES) == 1:
            del counts[FILES]
        said = "\n".join([self.config, *self.argv])
        if re.search(r"^\s*(source client|(mark|netns) (?!off)|port .*netns=)", said, re.M) or \
                (re.search(r"^\s*intercept ", said, re.M) and "by=hand" not in said):
            wanted.update({SOCKETS: 1, f"{SOCKETS} (watches)": 1})
        return tree if counts == wanted and all(map(watched, self.workers())) else None

    def is_as_born(self):
        tree = self.tree()
        if CHECKER not in self.born:  # where it is there for names alone, it comes when all others are
            tree.pop(CHECKER, None)
        return tree == self.born

    def wait_whole(self, timeout=PATIENCE):
        return wait_for(self.whole, f"a complete process tree, not {self.tree()}\n{self.log()}", timeout)

    def wait_ready(self):
        wanted = self.ports()

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.log()}")
            return all(ports.listening(p) for p in wanted)
        wait_for(ready, f"listening on {wanted}\n{self.log()}")
        self.born = self.wait_whole()

    def expect_deaths(self):
        """This test kills processes of ours; else one that was replaced is a crash that takeover hid."""
        self.casualties = True

    # -- the end

    def signal(self, number):
        self.process.send_signal(number)

    def rewrite(self, config):
        self.config = config
        self.directory.write("tcpproxy.conf", config)

    def wait_exit(self, timeout=PATIENCE):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {timeout} s:\n{self.log()}") from None

    def wait_gone(self, timeout=PATIENCE):
        wait_for(lambda: not self.pids(), f"no process left, but there are {self.tree()}", timeout)

    def stop(self):
        """TERM: exit code 0, no process left, and nobody died or span meanwhile."""
        if self.process.poll() is None:
            if self.born and not self.casualties:
                wait_for(self.is_as_born, f"processes were replaced:\n{self.log()}", 2)
            self.signal(signal.SIGTERM)
        code = self.wait_exit()
        self.wait_gone()
        assert code == 0, f"exit code {code}:\n{self.log()}"
        assert self.planted or "a fault of this program" not in self.log(), self.log()
        self._stderr.close()

    def kill(self):
        """For a test that failed: nothing of it may stay."""
        for pid in {self.pid, *self.pids()}:
            try:
                if pid != self.pid or self.process.poll() is None:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        # a keeper may just have started another one
        deadline = time.monotonic() + 2
        while self.pids() and time.monotonic() < deadline:
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.01)
        self.process.poll() is None and self.process.wait()
        self._stderr.close()
