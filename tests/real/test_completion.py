"""The completion of bash."""

import re
import subprocess

import pytest

from servers import TCPPROXY, TOP, command

COMPLETION = TOP / "packaging/completion/tcpproxy.bash"
CTL_COMPLETION = TOP / "packaging/completion/tcpproxyctl.bash"
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


def complete_ctl(*words):
    ask = ASK.replace("_tcpproxy \"$program\"", "_tcpproxyctl").replace("COMP_WORDS=(tcpproxy ", 'COMP_WORDS=("$program" ')
    ctl = str(TCPPROXY) + "ctl"
    done = subprocess.run([command("bash"), "-c", ask, "bash", CTL_COMPLETION, ctl, *words], capture_output=True, text=True,
                          timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_every_command_of_tcpproxyctl_is_offered():
    table = (TOP / "src/admin/commands.def").read_text()
    commands = set(re.findall(r'^(?:COMMAND|HERE)\("([a-z]+)"', table, re.M))
    assert len(commands) > 10 and commands <= set(complete_ctl(""))
    assert complete_ctl("conn") == ["connections"]
    assert complete_ctl("-s", "/etc/servic") == ["/etc/services"]
    assert complete_ctl("log", "level", "deb") == ["debug"]
    assert "client=" in complete_ctl("kill", "")
