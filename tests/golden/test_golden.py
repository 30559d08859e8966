"""The configuration language from outside: texts and what -C says about them.

TCPPROXY names the binary; else it is build/tcpproxy.
"""

import os
import pathlib
import pty
import random
import re
import socket
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TCPPROXY = os.environ.get("TCPPROXY", str(HERE / "../../build/tcpproxy"))
PLACE = re.compile(rb"^tcpproxy: [^ :]+:[1-9]\d*:[1-9]\d*: \S", re.M)


def run(*args, cwd=HERE, env=None):
    return subprocess.run([TCPPROXY, *args], cwd=cwd, stdin=subprocess.DEVNULL, timeout=20, env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)


def has_page():
    with open(TCPPROXY, "rb") as f:
        return b"MHD_start_daemon" in f.read()


def files_with(suffix):
    """Those about the page only if the build has one."""
    there = sorted(p for p in HERE.glob("*.conf") if p.with_suffix(suffix).exists())
    return [pytest.param(p, id=p.stem, marks=pytest.mark.skipif(p.stem.startswith("lookin") and not has_page(),
                                                                reason="this build has no page")) for p in there]


@pytest.mark.parametrize("path", files_with(".out"))
def test_canonical_text(path):
    r = run("-C", "-f", path.name)
    assert r.stderr == b""
    assert r.stdout == path.with_suffix(".out").read_bytes()
    assert r.returncode == 0


@pytest.mark.parametrize("path", files_with(".out"))
def test_round_trip(path, tmp_path):
    first = run("-C", "-f", path.name)
    copy = tmp_path / "copy.conf"
    copy.write_bytes(first.stdout)
    second = run("-C", "-f", str(copy))
    assert second.returncode == 0
    assert second.stdout == first.stdout


@pytest.mark.parametrize("path", files_with(".err"))
def test_messages(path):
    r = run("-C", "-f", path.name)
    got = r.stderr.decode().replace(f"{HERE}/", "")
    assert got == path.with_suffix(".err").read_text()
    assert r.stdout == b""
    assert r.returncode == 1


def test_there_are_broken_files():
    assert len(list((HERE / "broken").glob("*.conf"))) >= 200


@pytest.mark.parametrize("path", sorted((HERE / "broken").glob("*.conf")), ids=lambda p: p.stem)
def test_broken_file(path):
    r = run("-C", "-f", path.name, cwd=path.parent)
    assert r.returncode == 1
    assert r.stdout == b""
    lines = r.stderr.splitlines(keepends=True)
    assert lines
    for line in lines:
        assert PLACE.match(line), line


def test_broken_files_are_those_of_the_script(tmp_path):
    subprocess.run([sys.executable, str(HERE / "mutate.py"), str(tmp_path)], check=True,
                   stdout=subprocess.DEVNULL)
    made = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    kept = {p.name: p.read_bytes() for p in (HERE / "broken").iterdir()}
    assert made == kept


# ---- the command line ----

CANONICAL = [
    (["-b", "8080", "mail:25"], "port 8080\n\tserver mail:25\n"),
    (["-b", "smtp", "mail"], "port 25\n\tserver mail\n"),
    (["-b", "*:8000-8010", "[::1]:25"], "port 8000-8010\n\tserver [::1]:25\n"),
    (["-b", "127.0.0.1:80", "-b", "[::1]:80", "a:1"],
     "port 80\n\tinterface 127.0.0.1\n\t\tserver a:1\n\tinterface ::1\n\t\tserver a:1\n"),
    (["-b", "lo:80", "-b", "80", "a:1"],
     "port 80\n\tserver a:1\n\tinterface lo\n\t\tserver a:1\n"),
    (["-b", "80", "/bin/h -x 'a \"b c\""], "port 80\n\texec /bin/h -x 'a \"b c\"\n"),
    (["-b", "80", "a:1", "-o", "server b:1 backup", "-o", "timeout 5", "-o", "workers 2"],
     "workers 2\ntimeout 5\n\nport 80\n\tserver a:1\n\tserver b:1 backup\n"),
    (["-b", "80", "-o", "max-connections 3", "a:1"],
     "port 80\n\tserver a:1\n\tmax-connections 3\n"),
    (["-b", "80", "-b", "81", "a:1", "-o", "starttls smtp", "-o", "proxy-timeout 2", "-o", "sni x.test", "-o", "server b:1", "-o", "protocol ssh",
      "-o", "servers file:/s", "-o", "timeout 5"],
     "timeout 5\n\n" + "\n".join(f"port {port}\n\tserver a:1\n\tproxy-timeout 2\n\tstarttls smtp\n\tsni x.test\n\t\tserver b:1\n"
                                 "\tprotocol ssh\n\t\tservers file:/s\n" for port in (80, 81))),
    (["-b", "80", "-o", "intercept redirect to 25", "-o", "server original"], "port 80\n\tserver original\n\tintercept redirect to 25\n"),
    (["-b", "80", "a:1", "-w", "-n", "-t", "1.5", "-v", "X_", "-q", "::1", "-l", "journal",
      "-u", "nobody:nogroup", "-p", "/run/p", "-a", "/bin/acp -x"],
     "user nobody\ngroup nogroup\npidfile /run/p\nlog journal\nacp /bin/acp -x\nsetenv X_\n"
     "numeric yes\ntimeout 1.5\nhalf-close-timeout 0\nsource ::1\n\nport 80\n\tserver a:1\n"),
    (["-b", "80", "-t", "5", "-t", "6", "a:1"], "timeout 6\n\nport 80\n\tserver a:1\n"),
    (["-f", "seed.conf", "-t", "5", "-u", "nobody"],
     "user nobody\ntimeout 5\n\n" + (HERE / "seed.out").read_text()),
    (["-f", "pool.conf", "-u", "daemon", "-l", "stderr"],
     (HERE / "pool.out").read_text().replace("user nobody\ngroup nogroup", "user daemon")
     .replace("log syslog:mail\nlog file:/var/log/tcpproxy.log+json", "log stderr")),
]


@pytest.mark.parametrize("args,text", CANONICAL, ids=lambda v: " ".join(v) if isinstance(v, list)
                         else "")
def test_options_as_text(args, text):
    r = run("-C", *args)
    assert r.stderr == b""
    assert r.stdout.decode() == text
    assert r.returncode == 0


WRONG = [
    (["-c", "-f", "x.conf"], "-C -f FILE"),
    (["-f", "seed.conf", "a:1"], "exclude each other"),
    (["-f", "seed.conf", "-b", "80"], "exclude each other"),
    (["-f", "no-such-file"], "no-such-file"),
    (["-l", "8080", "a:1"], "-b"),
    (["-p", "8080", "a:1"], "-b 8080"),
    (["8080"], "-b 8080"),
    (["-w", "5", "a:1"], "-t 5"),
    (["-b", "80", "a:1", "-t"], "-t needs a value"),
    (["-t", "-b", "80", "a:1"], "-t needs a value"),
    (["-v"], "-V"),
    (["-v", "-b", "80", "a:1"], "-V"),
    (["-b", "80"], "a server is missing"),
    (["-b", "80", "-D", "-l", "stderr", "a:1"], "stderr"),
    (["-D", "a:1"], "-D needs"),
    (["-b", "80", "-u", "root", "a:1"], "never serves as root"),
    (["-b", "80", "-u", "0", "a:1"], "never serves as root"),
    (["--timeuot", "5", "a:1"], "--timeout"),
    (["-k", "a:1"], "unknown option -k"),
    (["--wait=5", "a:1"], "takes no value"),
    (["a:1", "b:1"], "more than one server"),
    (["-b", "80", "/bin/x", "y"], "quoted"),
    (["-b", "0", "a:1"], "-b 0"),
    (["-b", "70000", "a:1"], "-b 70000"),
    (["-b", "127.0.0.1", "a:1"], "127.0.0.1:PORT"),
    (["-b", "::1:80", "a:1"], "[::1:80]:PORT"),
    (["-b", "1:2:zz", "a:1"], "brackets"),
    (["-b", ":80", "a:1"], "host is missing"),
    (["-b", "80", "-b", "80", "a:1"], "opened twice"),
    (["-b", "80", "-b", "70-90", "a:1"], "opened twice"),
    (["-b", "80", "-o", "serverr x", "a:1"], "tcpproxy: -o 'serverr x': unknown directive"),
    (["-b", "80", "-o", "port 81", "a:1"], "-o 'port 81'"),
    (["-b", "80", "-o", "bandwidth 1m", "a:1"], "not yet"),
    (["--dump", "a:1"], "beside -b"),
    (["-D", "-b", "80", "--dump", "a:1"], "--dump=FILE"),
    (["-b", "80", "a:99999"], "port"),
    (["-z", "a:1"], "-z"),
    (["--explain", "1.2.3.4"], "two arguments"),
    (["-f", "seed.conf", "--explain", "mail", "25"], "address of a client"),
    (["-f", "seed.conf", "--explain", "1.2.3.4", "mail:x"], "[LOCAL:]PORT"),
]


@pytest.mark.parametrize("args,words", WRONG, ids=lambda v: " ".join(v) if isinstance(v, list)
                         else "")
def test_wrong_usage(args, words):
    r = run(*args)
    assert r.returncode == 1
    assert r.stdout == b""
    text = r.stderr.decode()
    assert words in text
    assert all(line.startswith("tcpproxy: ") for line in text.splitlines())
    assert text.count("\n") == 1


def test_all_wrong_options_are_said_at_once():
    r = run("-b", "80", "-t", "soon", "-o", "serverr x", "-q", "host", "a:1")
    assert r.returncode == 1
    assert len(r.stderr.splitlines()) == 3


def test_messages_name_the_program_whatever_it_is_called(tmp_path):
    other = tmp_path / "redirect"
    other.symlink_to(os.path.abspath(TCPPROXY))
    r = subprocess.run([str(other), "-x"], stderr=subprocess.PIPE, check=False)
    assert r.stderr.startswith(b"tcpproxy: ")


def test_nothing_is_written_to_a_client_on_stderr():
    ours, theirs = socket.socketpair()
    r = subprocess.run([TCPPROXY, "-x", "a:1"], stdin=theirs, stdout=theirs, stderr=theirs,
                       check=False, timeout=20)
    theirs.close()
    assert r.returncode == 1
    assert ours.recv(100) == b""


def test_ports():
    r = run("-z", "-b", "25", "-b", "8000-8002", "-b", "1.2.3.4:25", "-b", "9", "a:1")
    assert (r.returncode, r.stdout) == (0, b"9\n25\n8000\n8001\n8002\n")
    r = run("-z", "-f", "inetd.conf")
    assert (r.returncode, r.stdout) == (0, b"2525\n")


EXPLAIN = [
    (["10.1.2.3", "10.0.0.5:110"], 0, ["rule: access.conf:13", "allow 10.0.0.0/8",
                                       "/usr/local/lib/acp", "server: pop.example.com:110"]),
    (["[fd00::1]:99", "10.0.0.5:110"], 0, ["granted by \"allow fd00::/8\""]),
    (["192.0.2.1:5", "110"], 3, ["rule: access.conf:9 (port 110)", "denied by \"deny 192.0.2.0/24\""]),
    (["192.0.3.1", "110"], 0, ["granted by \"allow all\""]),
    (["1.2.3.4", "10.0.0.5:110"], 3, ["denied: no rule"]),
    (["1.2.3.4", "111"], 1, ["rule: none"]),
    (["1.2.3.4", "imap2"], 0, ["server: imap.example.com:1143"]),
]


@pytest.mark.parametrize("args,code,words", EXPLAIN, ids=lambda v: " ".join(v)
                         if isinstance(v, list) else str(v))
def test_explain(args, code, words):
    r = run("-f", "access.conf", "--explain", *args)
    text = r.stdout.decode()
    assert r.returncode == code, text
    for w in words:
        assert w in text


def test_rules_of_the_command_line_have_names():
    args = ["-b", "127.0.0.1:80", "-b", "80", "-b", "*:81", "a", "--explain", "1.2.3.4"]
    assert "rule: -b:80 (port 80)" in run(*args, "80").stdout.decode()
    assert "rule: -b:*:81 (port 81)" in run(*args, "81").stdout.decode()
    assert "rule: -b:127.0.0.1:80 (" in run(*args, "127.0.0.1:80").stdout.decode()


def test_a_directory_with_the_letters_of_a_pattern(tmp_path):
    odd = tmp_path / "a[b]*"
    odd.mkdir()
    (odd / "t.conf").write_text("port 80\ninclude x.inc\ninclude y*.inc\n")
    (odd / "x.inc").write_text("server a:1\n")
    (odd / "y1.inc").write_text("server b:1\n")
    r = run("-C", "-f", str(odd / "t.conf"))
    assert r.stdout == b"port 80\n\tserver a:1\n\tserver b:1\n", r.stderr
    (odd / "x.inc").unlink()
    assert run("-C", "-f", str(odd / "t.conf")).returncode == 1


def test_a_terminal_is_told_that_it_is_relayed():
    # A closed port: the connection itself does not matter here.
    ours, theirs = pty.openpty()
    r = subprocess.run([TCPPROXY, "127.0.0.1:1"], stdin=theirs, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False, timeout=20)
    os.close(ours)
    os.close(theirs)
    assert b"tcpproxy: without -b, this terminal is relayed to 127.0.0.1:1" in r.stderr


def test_help_and_version():
    text = run("--help").stdout.decode()
    for option in ("bind config list-ports wait acp option pidfile user group timeout prefix source "
                   "numeric log daemon check explain dump version help").split():
        assert f"--{option}" in text
    assert run("-V").stdout.startswith(b"tcpproxy ")


def test_random_bytes_in_every_option():
    rng = random.Random(42)
    alphabet = bytes(range(1, 256))
    shapes = [b"0", b":", b"[", b"]", b"/", b".", b"-", b'"', b"#", b"\n", b"server ", b"port ",
              b"allow ", b"file:", b"unix:", b"include ", b"*"]
    options = ["-b", "-f", "-a", "-o", "-p", "-u", "-g", "-t", "-v", "-q", "-l", "--explain", None]
    for i in range(400):
        def word():
            parts = [rng.choice(shapes) if rng.random() < 0.5 else
                     bytes(rng.choices(alphabet, k=rng.randrange(1, 6)))
                     for _ in range(rng.randrange(1, 6))]
            return b"".join(parts)
        args = [rng.choice([b"-C", b"-z"])]
        if rng.random() < 0.7:
            args += [b"-b", b"80", b"a:1"]
        for _ in range(rng.randrange(1, 4)):
            option = rng.choice(options)
            args += [word()] if option is None else [option.encode(), word()]
        r = run(*args)
        assert r.returncode in (0, 1, 2, 3), (i, args, r)


@pytest.mark.parametrize("text", [
    b"port 1-65535\nserver a:1\n" * 50,
    b"".join(b"port %d\ninterface 10.%d.%d.%d\nserver a:1\n"
             % (i % 65535 + 1, i >> 16, i >> 8 & 255, i & 255) for i in range(100000)),
    b"timeout " + b"9" * 1000000 + b"\n",
    b"port 1\nserver a:1\nallow " + b"10.0.0.1 " * 120000 + b"\n",
    random.Random(7).randbytes(1000000),
    b"\0" * 100000,
    b"include self.conf\n" * 1000,
    b"include *.conf\n" * 1000,
    b"",
    b"port 80\nserver a:1\ninclude .\n",
], ids=["overlapping-ranges", "many-sections", "long-line", "long-list", "random", "zeros",
        "include-loop", "include-loop-by-glob", "empty", "directory"])
def test_what_is_huge_or_no_text(tmp_path, text):
    path = tmp_path / "self.conf"
    path.write_bytes(text)
    r = run("-C", "-f", str(path))
    assert r.returncode in (0, 1)
    if r.returncode:
        assert PLACE.match(r.stderr), r.stderr[:300]
