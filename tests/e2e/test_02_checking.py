"""Asking before doing: -z, -C and --explain."""
import pytest

from lib.ports import free_port

FILE = """
port 8025 8110
interface 127.0.0.1
server 127.0.0.1:25
port smtp 8000-8003
server 127.0.0.1:99
port 8001-8002
interface 127.0.0.5
server 127.0.0.1:98
"""


# -- -z


def test_z_lists_the_ports_of_a_file_each_once_and_ascending(directory):
    path = directory.write("tcpproxy.conf", FILE)
    for argv in (["-z", "-f", path], ["--list-ports", "-c", path], ["-zf", path]):
        run = directory.run(*argv)
        assert run.returncode == 0
        assert run.stdout.split("\n") == ["25", "8000", "8001", "8002", "8003", "8025", "8110", ""]


def test_z_works_for_the_command_line_too(directory):
    run = directory.run("-z", "-b", "pop3", "-b", "127.0.0.1:26", "-b", "[::1]:24-26", "127.0.0.1:25")
    assert (run.returncode, run.stdout) == (0, "24\n25\n26\n110\n")


def test_z_of_a_bad_file_exits_1_and_prints_no_port(directory):
    run = directory.run("-z", "-f", directory.write("bad.conf", "port 25\nbogus\n"))
    assert (run.returncode, run.stdout) == (1, "")


# -- -C


FULL = """# everything at once
standalone yes
user daemon
group mail
workers 3
timeout 1h
include conf.d/*.conf
port 8025   # mail
  allow 10.0.0.0/8 file:friends
  deny all
  interface 127.0.0.1
    server one.test:25 weight=3 max=10
    server "two.test" backup
    setenv MAIL_
    env A="b c"
  interface 10.0.0.0/8
    exec /bin/echo "two words" three
  interface eth0
    server unix:/run/mail.sock disabled
    connect-timeout 1500ms
    half-close-timeout 2.5
    keepalive 0
"""


def test_C_prints_what_it_understood_and_that_parses_back_to_itself(directory):
    path = directory.write("tcpproxy.conf", FULL)
    directory.write("friends", "# friends\n192.168.0.0/16\n::1\n")
    directory.write("conf.d/a.conf", "numeric yes\n")
    first = directory.run("-C", "-f", path)
    assert first.returncode == 0, first.stderr
    for word in ("numeric yes", "192.168.0.0/16", "one.test:25", "two words", "8025"):
        assert word in first.stdout
    assert "include" not in first.stdout and "file:" not in first.stdout
    again = directory.run("--check", "-f", directory.write("canonical.conf", first.stdout))
    assert (again.returncode, again.stdout) == (0, first.stdout)


def test_C_works_while_the_ports_are_in_use(start, service, directory):
    proxy = start(config=f"port {free_port()}\nserver {service().spelt}\n")
    run = directory.run("-C", "-f", proxy.config_path)
    assert run.returncode == 0, run.stderr


def test_C_works_for_the_command_line(directory):
    run = directory.run("-C", "-b", "127.0.0.1:8025", "-o", "allow 10.0.0.0/8", "mail.test:25")
    assert run.returncode == 0
    assert "8025" in run.stdout and "mail.test:25" in run.stdout and "allow 10.0.0.0/8" in run.stdout
    again = directory.run("-C", "-f", directory.write("canonical.conf", run.stdout))
    assert again.stdout == run.stdout


def test_C_reports_all_the_errors_of_a_file(directory):
    path = directory.write("bad.conf", "bogus 1\nport 25\nserver a b c\ntimeout soon\nport x\n")
    run = directory.run("-C", "-f", path)
    assert run.returncode == 1
    lines = run.stderr.splitlines()
    for start in (f"tcpproxy: {path}:1:1: ", f"tcpproxy: {path}:3:", f"tcpproxy: {path}:4:9: ", f"tcpproxy: {path}:5:6: "):
        assert any(line.startswith(start) for line in lines), (start, run.stderr)


# -- --explain


RULES = """port http-alt
server 127.0.0.1:27
port 8025
server 127.0.0.1:25
deny 192.0.2.0/24
interface 127.0.0.5
server 127.0.0.1:26
"""


@pytest.mark.parametrize("client, port, code, words", [
    ("10.0.0.1", "8025", 0, ["127.0.0.1:25"]),
    ("10.0.0.1:5000", "8025", 0, ["127.0.0.1:25"]),
    ("10.0.0.1", "127.0.0.5:8025", 0, ["127.0.0.1:26", "tcpproxy.conf:6"]),
    ("192.0.2.9", "8025", 3, ["192.0.2.0/24"]),
    ("2001:db8::1", "8025", 0, ["127.0.0.1:25"]),
    ("[2001:db8::1]:77", "[::1]:8025", 0, ["127.0.0.1:25"]),
    ("10.0.0.1", "8026", 1, ["8026"]),
    ("10.0.0.1", "http-alt", 0, ["127.0.0.1:27"]),
    ("10.0.0.1:smtp", "127.0.0.1:http-alt", 0, ["127.0.0.1:27"]),
])
def test_explain_says_which_rule_serves_a_client(directory, client, port, code, words):
    path = directory.write("tcpproxy.conf", RULES)
    run = directory.run("-f", path, "--explain", client, port)
    assert run.returncode == code, run
    for word in words:
        assert word in run.stdout + run.stderr


def test_explain_names_an_access_program_and_does_not_run_it(directory):
    ran = directory / "ran"
    acp = directory.script("acp", f"touch {ran}")
    path = directory.write("tcpproxy.conf", f"port 8025\nacp {acp}\nserver 127.0.0.1:25\n")
    run = directory.run("-f", path, "--explain", "10.0.0.1", "8025")
    import os
    assert run.returncode == 0 and acp in run.stdout and not os.path.exists(ran)
