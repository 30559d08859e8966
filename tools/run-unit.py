#!/usr/bin/python3
"""Runs the unit tests of a build directory (meson knows them), each a cmocka program or a corpus replayed.

run-unit.py BUILD RESULTS: writes JUnit XML files into RESULTS; exit 1 if a program broke without saying why.
"""
import json
import os
import subprocess
import sys
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


def main(build, results):
    listing = subprocess.run(["meson", "introspect", "--tests", build], capture_output=True, text=True, check=True)
    tests = json.loads(listing.stdout)
    results = os.path.abspath(results)
    bad = 0
    for test in tests:
        xml = os.path.join(results, f"unit-{os.path.basename(os.path.abspath(build))}-{test['name']}.xml")
        bad += not run(test, xml)
    print(f"{len(tests)} programs, {bad} with failures")


main(*sys.argv[1:])
