"""The house rules that a compiler does not check: who may include whom, how long a file may be, what a
header needs, and what must not stand in a source."""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SRC = ROOT / "src"

# Each folder and those it may lean on, itself left out. "" is src/ itself.
MAY = {
    "base": set(),
    "config": {"base"},
    "os": {"base"},
    "event": {"os", "base"},
    "stats": {"base"},
    "takeover": {"stats", "event", "os", "base"},
    "program": {"event", "os", "base", "config"},
    "proxy": {"program", "takeover", "stats", "event", "os", "base", "config"},
    "daemon": {"admin", "proxy", "program", "takeover", "stats", "event", "os", "base", "config"},
    "admin": {"stats", "event", "os", "base", "config"},
    "ctl": {"os", "base"},
    "": {"daemon", "proxy", "program", "takeover", "event", "os", "base", "config"},
}
# A row of the shared table holds a question to a program: its layout is all that takeover may know. tcpproxyctl knows the
# commands, and nothing of what obeys them.
ALSO = {("takeover", "program/question.h"), ("ctl", "admin/commands.def")}

STEPS = {"access", "verdict", "dial", "relay", "handler", "parting", "route"}

SOURCES = sorted(p for p in SRC.rglob("*") if p.suffix in (".c", ".h", ".def"))
HEADERS = [p for p in SOURCES if p.suffix == ".h"]
TEXTS = SOURCES + sorted(
    p for p in (ROOT / "tests").rglob("*") if p.suffix in (".c", ".h", ".py")
)


def name(path):
    return str(path.relative_to(ROOT))


def folder(path):
    parent = path.parent.relative_to(SRC).as_posix()
    return "" if parent == "." else parent


def includes(path):
    return re.findall(r'^\s*#\s*include\s*"([^"]+)"', path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_folder_leans_only_on_those_below(path):
    own = folder(path)
    assert own in MAY, f"{own}: a new folder; say here what it may include"
    for include in includes(path):
        assert (SRC / include).exists(), f'"{include}" is not named from src/'
        other = include.rpartition("/")[0]
        assert other == own or other in MAY[own] or (own, include) in ALSO, (
            f'{own}/ may not include "{include}"')


@pytest.mark.parametrize("path", [p for p in SOURCES if folder(p) == "proxy"], ids=name)
def test_a_step_knows_neither_the_session_nor_another_step(path):
    if path.stem not in STEPS:
        return
    for include in includes(path):
        other = pathlib.PurePath(include)
        if other.parent.as_posix() != "proxy" or other.stem == path.stem:
            continue
        assert other.stem not in STEPS | {"session", "session_parts", "listener", "engine"}, f'includes "{include}"'


@pytest.mark.parametrize("path", [p for p in SOURCES if p.suffix != ".def"], ids=name)
def test_a_file_has_one_job(path):
    assert len(path.read_text().splitlines()) <= 700


@pytest.mark.parametrize("path", HEADERS, ids=name)
def test_a_header_stands_alone(path, tmp_path):
    source = tmp_path / "alone.c"
    include = path.relative_to(SRC).as_posix()
    source.write_text(f'#include "{include}"\n#include "{include}"\n')
    done = subprocess.run(
        ["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wundef", "-Werror",
         "-fsyntax-only", f"-I{SRC}", str(source)],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_nothing_is_left_undone(path):
    marks = "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3))
    for number, line in enumerate(path.read_text().splitlines(), 1):
        assert not re.search(rf"\b({marks})\b", line), f"{number}: {line}"
        assert line == line.rstrip(), f"{number}: ends in a space"
