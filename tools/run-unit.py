#!/usr/bin/python3
"""Runs the unit tests of a build directory (meson knows them), each a cmocka program or a corpus replayed.

run-unit.py BUILD RESULTS [JOBS]: writes JUnit XML files into RESULTS; exit 1 if a program broke without saying why. JOBS (3): programs at
a time; most of them wait for time to pass.
"""
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from xml.sax.saxutils import quoteattr

LIMIT = 180  # seconds for one program


def write_verdict(path, name, ok):
    failure = "" if ok else "<failure/>"
    with open(path, "w") as f:
        f.write(f"<testsuites><testsuite name={quoteattr(name)}><testcase name={quoteattr(name)}>{failure}"
                "</testcase></testsuite></testsuites>")


def run(test, xml):
    """True if it went well. A program that is no cmocka test is one test by itself."""
    environment = os.environ | test["env"] | {"CMOCKA_MESSAGE_OUTPUT": "xml", "CMOCKA_XML_FILE": xml}
    try:
        done = subprocess.run(test["cmd"], env=environment, capture_output=True, text=True, errors="replace",
                              timeout=LIMIT, cwd=test["workdir"] or None)
        ok, said = done.returncode == 0, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        ok, said = False, f"not ended after {LIMIT} s\n"
    if not ok:
        print(f"-- {test['name']}\n{said}")
    if not os.path.exists(xml) or (not ok and "<failure" not in open(xml).read()):
        write_verdict(xml, test["name"], ok)
    return ok


def main(build, results, jobs="3"):
    listing = subprocess.run(["meson", "introspect", "--tests", build], capture_output=True, text=True, check=True)
    tests = json.loads(listing.stdout)
    build, results = os.path.basename(os.path.abspath(build)), os.path.abspath(results)
    with ThreadPoolExecutor(int(jobs)) as pool:
        went_well = list(pool.map(lambda test: run(test, os.path.join(results, f"unit-{build}-{test['name']}.xml")), tests))
    bad = went_well.count(False)
    print(f"{len(tests)} programs, {bad} with failures")


main(*sys.argv[1:])
