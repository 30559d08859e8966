"""The completion of bash."""

import subprocess

import pytest

from servers import TCPPROXY, TOP, command

COMPLETION = TOP / "packaging/completion/tcpproxy.bash"
ASK = """
compopt() { :; }
. "$1"
program=$2
shift 2
COMP_WORDS=(tcpproxy "$@")
COMP_CWORD=$#
_tcpproxy "$program"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(*words):
    done = subprocess.run([command("bash"), "-c", ASK, "bash", COMPLETION, TCPPROXY, *words], capture_output=True,
                          text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize("words, offered", [
    (["--expl"], ["--explain"]),
    (["-b", "80", "--conf"], ["--config"]),
    (["-u", "nobod"], ["nobody"]),
    (["-l", "j"], ["journal"]),
    (["-f", "/etc/servic"], ["/etc/services"]),
    (["/etc/servic"], ["/etc/services"]),
])
def test_completion(words, offered):
    assert complete(*words) == offered


def test_every_option_is_offered():
    assert {"-b", "-f", "-c", "-z", "--bind", "--dump", "--log", "--wait", "-h"} <= set(complete("-"))
