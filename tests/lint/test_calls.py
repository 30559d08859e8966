"""Who calls whom, from the symbols of the objects: what an include table does not see."""

import collections
import os
import pathlib
import subprocess

import pytest

from test_includes import MAY

pytestmark = pytest.mark.xdist_group("calls")  # one look at the symbols
BUILD = pathlib.Path(os.environ.get("TCPPROXY", "build/tcpproxy")).resolve().parent / "src"

def symbols():
    """({symbol: (folder, file)}, [(folder, file, symbol used)])"""
    defined, used = {}, []
    paths = list(BUILD.glob("*/lib*.a.p/*.o"))
    for line in subprocess.run(["nm", "-A", *paths], capture_output=True, text=True, check=True).stdout.splitlines():
        path, rest = line.split(":", 1)
        path = pathlib.Path(path)
        here = (path.parent.parent.name, path.name.split(".")[0])
        kind, symbol = rest.split()[-2:]
        if kind == "U":
            used.append((*here, symbol))
        elif kind in "TDBRC":
            defined[symbol] = here
    return defined, used


@pytest.fixture(scope="module")
def calls():
    """{(folder, file): {(folder, file)}}"""
    defined, used = symbols()
    assert len(defined) > 500, f"no objects in {BUILD}"
    found = collections.defaultdict(set)
    for folder, file, symbol in used:
        if symbol in defined:
            found[folder, file].add(defined[symbol])
    return found


def test_no_call_leads_upward(calls):
    wrong = {f"{a[0]}/{a[1]}.c -> {b[0]}/{b[1]}.c" for a, to in calls.items() for b in to
             if a[0] != b[0] and b[0] not in MAY[a[0]].split()}
    assert not wrong


def circles(graph):
    """Strongly connected components with more than one member (Tarjan)."""
    index, low, stack, on, found = {}, {}, [], set(), []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        on.add(v)
        for w in graph.get(v, ()):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            group = set()
            while not group or w != v:
                w = stack.pop()
                on.discard(w)
                group.add(w)
            if len(group) > 1:
                found.append(group)
    for v in list(graph):
        if v not in index:
            visit(v)
    return found


def test_no_file_calls_in_a_circle(calls):
    for folder in {a[0] for a in calls}:
        graph = {a[1]: {b[1] for b in to if b[0] == folder and b[1] != a[1]} for a, to in calls.items() if a[0] == folder}
        assert not circles(graph), f"{folder}: a circle"
