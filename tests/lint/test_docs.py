"""What the documents name is there: files, functions, folders, parts. And the examples of docs/hacking.md still apply."""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
DOCS = sorted((ROOT / "docs").glob("*.md"))
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)

# What a path may begin at; and where a name without a folder may be.
BASES = [ROOT, SRC, ROOT / "tests", ROOT / "tools"]
FOLDERS = BASES + [p for top in BASES[1:] for p in top.rglob("*") if p.is_dir()]


def name(path):
    return path.name


# ---- files ----

def in_backticks(text):
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


def alternatives(path):
    """base/record.{c,h}: base/record.c and base/record.h; base/record.[ch]: the same."""
    m = re.search(r"\{([^{}]*)\}", path.replace("[ch]", "{c,h}"))
    if not m:
        return [path]
    path = path.replace("[ch]", "{c,h}")
    return [p for word in m[1].split(",") for p in alternatives(path[:m.start()] + word + path[m.end():])]


def named_files(text):
    """Sources, and folders with a slash inside."""
    source = r"[\w.*{}\[\],-][\w./*{}\[\],-]*\.(?:c|h|\[ch\]|\{c,h\}|def|py|sh|css|js)"
    for phrase in in_backticks(text):
        for word in phrase.split():
            if re.fullmatch(rf"{source}|\w+(?:/[\w-]+)+/", word):
                yield from alternatives(word)


def is_there(path):
    return any(any(top.glob(path)) for top in (BASES if "/" in path.rstrip("/") else FOLDERS))


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_files_that_a_document_names_exist(path):
    assert not {f for f in named_files(path.read_text()) if not is_there(f)}


def test_names_of_files_are_found():
    assert set(named_files("`base/record.[ch]`, `a/{b,c}.py -k x`, `flow_*.c`, `tests/fuzz/`, `live/`, `/etc/x.c`")) == {
        "base/record.c", "base/record.h", "a/b.py", "a/c.py", "flow_*.c", "tests/fuzz/"}


# ---- functions ----

def functions(text):
    return {f for phrase in in_backticks(text) for f in re.findall(r"\b([A-Za-z_]\w+)\(\)", phrase)}


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_functions_that_a_document_names_exist(path):
    """Those of an example stand in its diff. A word in capitals stands for any: do_NAME()."""
    text = path.read_text()
    sources = [p.read_text() for p in SRC.rglob("*") if p.suffix in (".c", ".h", ".def")]
    sources += [block for language, block in BLOCK.findall(text) if language == "diff"]
    known = set(re.findall(r"\b(\w+)\(", "\n".join(sources)))
    for f in functions(text) - known:
        pattern = re.compile(re.sub(r"(?<=_)[A-Z]+$", "[a-z_]+", f))
        assert any(pattern.fullmatch(k) for k in known), f


# ---- the map ----

def test_the_map_has_every_folder_and_no_other():
    table = re.search(r"^## Folders\n(.*?)^#", ARCHITECTURE, re.M | re.S)[1]
    folders = re.findall(r"^\| \[?`(\w+)/`", table, re.M)
    assert sorted(folders) == sorted(p.name for p in SRC.iterdir() if p.is_dir())


@pytest.mark.parametrize("folder", ["children", "restart", "supervisor", "worker", "proxy"])
def test_the_map_has_every_part(folder):
    """In the first column of the folder's table; a header stands for itself where it has no .c."""
    table = re.search(rf"^### {folder}/\n(.*?)^##", ARCHITECTURE, re.M | re.S)[1]
    rows = re.findall(r"^\| (`[^|]*) \|", table, re.M)
    parts = sorted(f for row in rows for f in named_files(row))
    sources = {p.name for p in (SRC / folder).glob("*.c")}
    alone = {p.name for p in (SRC / folder).glob("*.h") if p.with_suffix(".c").name not in sources}
    assert parts == sorted(sources | alone)


# ---- the examples ----

def examples():
    """The parts of each, under its heading."""
    text = (ROOT / "docs/hacking.md").read_text()
    for title, body in re.findall(r"^### ([^\n]*)\n(.*?)(?=^##)", text, re.M | re.S):
        blocks = [block for language, block in BLOCK.findall(body) if language == "diff"]
        yield from (pytest.param(block, id=f"{title}, {i}") for i, block in enumerate(blocks, 1))


def test_there_are_examples():
    assert len({p.id.split(",")[0] for p in examples()}) >= 3


@pytest.mark.parametrize("diff", examples())
def test_an_example_applies(diff):
    done = subprocess.run(["git", "apply", "--check", "-"], cwd=ROOT, input=diff, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
