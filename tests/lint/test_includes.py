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
    # libraries, from the ground up
    "base": "",
    "config": "base",
    "os": "base",
    "event": "os base",
    "stats": "base",
    "program": "event config os base",
    "takeover": "program stats event os base",
    "ipc": "takeover program stats event config os base",
    "servers": "ipc event config os base",
    "log": "stats config os base",
    "files": "log os base",
    "network": "config os base",
    "proxy": "ipc program takeover stats event config os base",
    "admin": "stats event config os base",
    "cmdline": "files config os base",
    # a room for each process
    "checker": "servers ipc program takeover config event os base",
    "spawner": "ipc program takeover event config os base",
    "page": "ipc takeover stats event config os base",
    "worker": "proxy ipc program takeover stats event config os base",
    "single": "proxy spawner servers log ipc program takeover stats event config os base",
    # the supervisor
    "children": "worker spawner page checker servers files log ipc program proxy takeover stats event config os base",
    "restart": "children worker page files network log ipc program takeover stats event config os base",
    "supervisor": "restart children admin files network log servers ipc program proxy takeover stats event config os base",
    "ctl": "os base",
    "sources": "event config os base",
    "": "supervisor restart single worker cmdline children files network config os base",
}
# tcpproxyctl knows the commands, and nothing of what obeys them.
ALSO = {("ctl", "admin/commands.def")}
# A folder's own: nobody else sees it.
PRIVATE = {"supervisor/state.h"}

STEPS = {"access", "verdict", "dial", "relay", "handler", "linger", "preamble", "route", "sniffing", "waiting"}

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
        assert other == own or other in MAY[own].split() or (own, include) in ALSO, (
            f'{own}/ may not include "{include}"')
        assert include not in PRIVATE or other == own, f'{own}/ may not see "{include}"'


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


def test_all_is_formatted_alike():
    """By clang-format of Debian 12, whose versions do not agree with each other."""
    files = subprocess.run(["git", "ls-files", "*.c", "*.h"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = [f for f in files if f.startswith(("src/", "tests/", "bench/"))]
    assert len(files) > 300
    done = subprocess.run(["clang-format-14", "--dry-run", "-Werror", *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
