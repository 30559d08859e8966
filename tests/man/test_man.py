"""The manual: complete, clean, and its examples work.

TCPPROXY names the binary; else it is build/tcpproxy.
"""

import os
import pathlib
import re
import shlex
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MAN = ROOT / "docs/man"
PAGES = sorted(MAN.iterdir())
TCPPROXY = os.environ.get("TCPPROXY", str(ROOT / "build/tcpproxy"))
LEVELS = {"GLOBAL": "global", "SERVICE": "behind port", "ANYWHERE": "anywhere", "SERVICE | INTERFACE": "behind port or interface",
          "BEHIND": "behind port, interface, sni or protocol", "BEFORE": "anywhere but behind sni or protocol"}


def run(*argv, cwd="/"):
    return subprocess.run([TCPPROXY, *argv], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=20, check=False)


def section(page, title):
    """The lines below one .Sh of a page."""
    text = (MAN / page).read_text()
    return re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", text, re.M | re.S)[1]


def items(text):
    """What stands behind .It; one that is continued by Xo is joined."""
    text = re.sub(r"^\.It Xo\n(.*?)^\.Xc\n", lambda m: ".It " + m[1].lstrip(".").replace("\n.", " ").replace("\n", " ") + "\n", text, flags=re.M | re.S)
    return re.findall(r"^\.It (.*)", text, re.M)


# ---- the command line ----

def options_of_help():
    """{"-b", "--bind", ...}"""
    lines = re.findall(r"^ {2}(-.|  )[, ] (--[a-z-]+)?", run("--help").stdout, re.M)
    return {word for line in lines for word in line if word.strip()}


def options_of_page(page, title):
    found = set()
    for item in items(section(page, title)):
        found.update("-" + o for o in re.findall(r"\bFl ([A-Za-z])\b", item))
        found.update("--" + o for o in re.findall(r"\bFl Fl ([a-z-]+)", item))
    return found


def test_every_option_is_documented_and_no_other():
    assert len(options_of_help()) > 20
    assert options_of_page("tcpproxy.8", "OPTIONS") == options_of_help()


def test_every_option_that_is_mentioned_exists():
    known = options_of_help()
    for page in PAGES:
        if page.name.startswith(("tcpproxyctl", "tcpproxy-servers")):
            continue
        text = page.read_text()
        mentioned = {"--" + o for o in re.findall(r"\bFl Fl ([a-z-]+)", text)}
        mentioned |= {"-" + o for o in re.findall(r"\bFl ([A-Za-z])\b", text)}
        assert mentioned <= known, page.name


def test_tcpproxyctl():
    out = subprocess.run([str(pathlib.Path(TCPPROXY).parent / "tcpproxyctl"), "--help"], capture_output=True, text=True,
                         check=True).stdout
    options = re.findall(r"^ {2}(-.), (--[a-z]+)", out, re.M)
    assert options_of_page("tcpproxyctl.8", "DESCRIPTION") - {"-o"} == {o for pair in options for o in pair}


def test_tcpproxy_servers():
    program = pathlib.Path(TCPPROXY).parent / "tcpproxy-servers"
    if not program.exists():
        pytest.skip("this build has no tcpproxy-servers")
    out = subprocess.run([str(program), "--help"], capture_output=True, text=True, check=True).stdout
    options = {word for line in re.findall(r"^ {2}(?:(-.),|   ) (--[a-z-]+)", out, re.M) for word in line if word}
    assert len(options) > 8
    assert options_of_page("tcpproxy-servers.8", "DESCRIPTION") == options


def test_every_command_of_tcpproxyctl_is_documented_and_no_other():
    """The page shows each with the arguments of the table, in the same order."""
    text = (ROOT / "src/admin/commands.def").read_text()
    rows = re.findall(r'^(?:COMMAND|HERE)\("([a-z]+)", "([^"]*)"', text, re.M)
    shown = [plain(item) for item in items(section("tcpproxyctl.8", "COMMANDS")) if item.startswith("Cm")]
    shown = [item for item in shown if item.split("=")[0].split()[0] in dict(rows)]
    assert shown == [f"{name} {arguments}".strip() for name, arguments in rows]


def plain(item):
    """An mdoc line as a reader sees it."""
    out, glue = "", True
    stack = []
    for word in item.split():
        if word in ("Cm", "Ar"):
            continue
        if word in ("Op", "Oo"):
            out += ("" if glue else " ") + "["
            glue = True
            stack.append(word)
        elif word == "Oc":
            out += "]"
            stack.pop()
            glue = False
        elif word == "Ns":
            glue = True
        elif word == "Fl":
            out += ("" if glue else " ") + "-"
            glue = True
        elif word == "|":
            out += "|"
            glue = True
        else:
            out += ("" if glue else " ") + word
            glue = False
    return (out + "]" * len(stack)).replace(" ...", "...").replace(" :", ":")


# ---- the directives ----

def directives():
    """{keyword: where} of the table that the program is made from."""
    text = (ROOT / "src/config/options.def").read_text()
    rows = re.findall(r'^DIRECTIVE\("([a-z-]+)",\s*([A-Z |]+?),', text, re.M)
    return {keyword: LEVELS[where] for keyword, where in rows}


def documented_directives():
    found = {}
    for item in items(section("tcpproxy.conf.5", "DIRECTIVES")):
        m = re.match(r"Ic ([a-z-]+) .*\bPq (.+)$", item)
        if m:
            assert found.setdefault(m[1], m[2].strip()) == m[2].strip(), m[1]
    return found


def test_every_directive_is_documented_where_it_is_allowed_and_no_other():
    assert len(directives()) > 30
    assert documented_directives() == directives()


def test_every_directive_that_is_mentioned_exists():
    for page in PAGES:
        mentioned = set(re.findall(r"\bIc ([a-z-]+)", page.read_text()))
        assert mentioned <= set(directives()), page.name


def reserved():
    later = re.findall(r'^DIRECTIVE\("([a-z-]+)",[^,]*,[^,]*,[^,]*, later,', (ROOT / "src/config/options.def").read_text(),
                       re.M)
    text = section("tcpproxy.conf.5", "DIRECTIVES")
    described = items(text[text.index(".Ss Reserved"):])
    return set(later), {re.match(r"Ic ([a-z-]+)", i)[1] for i in described}


def test_the_reserved_ones_are_those_that_say_not_yet():
    later, described = reserved()
    assert later
    assert described == later


# ---- the log ----

def test_every_end_of_a_record_and_every_reason_is_explained():
    text = (ROOT / "src/base/record.c").read_text()
    ends = set(re.findall(r'\[END_[A-Z_]+\] = "([a-z-]+)"', text)) - {"-"}
    whys = set(re.findall(r'\[WHY_[A-Z_]+\] = "([a-z-]+)"', text))
    keys = re.findall(r'field_\w+\(&f, "([a-z]+)"', text)
    explained = {m for i in items(section("tcpproxy.8", "LOG")) for m in re.findall(r"^Cm ([a-z-]+)", i)}
    assert len(ends) > 10 and len(whys) > 5
    assert explained == ends | whys | set(keys) | {"time", "event"}


# ---- the pages themselves ----

@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_lint(page):
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(page)], capture_output=True, text=True,
                          check=False)
    assert (lint.stdout, lint.returncode) == ("", 0)


def test_all_pages_are_installed():
    listed = re.findall(r"'man/([^']+)'", (ROOT / "docs/meson.build").read_text())
    assert sorted(listed) == [p.name for p in PAGES]


# ---- examples ----

def literal_blocks(page):
    blocks = re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed", (MAN / page).read_text(), re.M | re.S)
    return [b.replace("\\e", "\\") for b in blocks]


def code_blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.M | re.S)


def check(text, tmp_path):
    conf = tmp_path / "tcpproxy.conf"
    conf.write_text(text)
    (tmp_path / "blocked.list").write_text("192.0.2.0/24\n")
    result = run("-C", "-f", str(conf))
    assert (result.stderr, result.returncode) == ("", 0), text


@pytest.mark.parametrize("text", literal_blocks("tcpproxy.conf.5"), ids=lambda t: t.split("\n")[0])
def test_examples_of_the_manual_are_right(text, tmp_path):
    if re.search(r"^admin [^u]", text, re.M) and b"MHD_start_daemon" not in pathlib.Path(TCPPROXY).read_bytes():
        pytest.skip("this build has no page")
    check(text, tmp_path)


def test_there_are_examples():
    assert len(literal_blocks("tcpproxy.conf.5")) > 8


def commands(text):
    """Words of each command line that starts tcpproxy as it stands. Backslashes join lines."""
    for line in text.replace("\\\n", "").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words and words[0] in ("exec", "sudo"):
            words = words[1:]
        if words and words[0].split("/")[-1] == "tcpproxy":
            yield words[1:]


def parses(words, tmp_path):
    """The same command with -C: what it says is right, and nothing is served."""
    if "-f" in words:
        words = list(words)
        conf = tmp_path / "file.conf"
        conf.write_text("port 25\ninterface 192.168.1.1\nserver mail.provider.com\n")
        words[words.index("-f") + 1] = str(conf)
    if "--explain" in words or "-z" in words or "-C" in words or "-V" in words or "--help" in words:
        if "-f" not in words:
            return
        result = run(*words)
    else:
        if not set(words) - {"-D"}:
            return  # it reads /etc/tcpproxy.conf
        result = run("-C", *words)
    assert (result.stderr, result.returncode) == ("", 0), words


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_of_the_manual_are_right(page, tmp_path):
    text = page.read_text().replace("\\e", "\\")
    lines = re.findall(r"^\.Dl (.*)", text, re.M)
    for words in commands("\n".join(lines)):
        parses(words, tmp_path)


def test_commands_of_the_readme_are_right(tmp_path):
    found = [words for text in code_blocks(ROOT / "README.md", "sh") for words in commands(text)]
    assert len(found) > 5
    for words in found:
        parses(words, tmp_path)


def test_configurations_of_the_readme_are_right(tmp_path):
    texts = code_blocks(ROOT / "README.md", "conf")
    assert texts
    for text in texts:
        check(text, tmp_path)


def test_links_of_the_documents_lead_somewhere():
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_tests_that_the_documents_name_exist():
    sources = "\n".join(p.read_text() for p in (ROOT / "tests").rglob("*.py"))
    for path in sorted((ROOT / "docs").glob("*.md")):
        for name in re.findall(r"`(test_[A-Za-z0-9_]+)`", path.read_text()):
            assert f"def {name}(" in sources, f"{path.name}: {name}"
