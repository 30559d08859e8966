#!/usr/bin/python3
"""Writes broken/: configuration files with one mistake each, made from the good ones.

Every mistake is one by construction, so each file must give a message with its place and exit
code 1. The seed is fixed: the same files come out each time.

usage: mutate.py [DIRECTORY]
"""

import pathlib
import random
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
DEFINITIONS = HERE / "../../src/config"
GOOD = ["seed", "pool", "inetd", "eject"]
ROUNDS = 6

TIMES = {"timeout", "stop-timeout", "connect-timeout", "half-close-timeout", "keepalive"}
COUNTS = {"workers", "max-connections", "max-connections-per-client"}
ANSWERS = {"standalone", "wait", "numeric"}


def table(name, macro):
    """Keywords of options.def or peers.def."""
    text = (DEFINITIONS / name).read_text()
    return re.findall(rf'^{macro}\("([^"]+)"', text, re.M)


def later():
    text = (DEFINITIONS / "options.def").read_text()
    return re.findall(r'^DIRECTIVE\("([^"]+)",[^,]*,[^,]*,[^,]*, later,', text, re.M)


KEYWORDS = set(table("options.def", "DIRECTIVE"))
GLOBAL = ["standalone yes", "user nobody", "pidfile /run/x", "log journal", "workers 2",
          "resolver 127.0.0.1"]


def lines_with(lines, keywords):
    found = [i for i, l in enumerate(lines) if l.split() and l.split()[0] in keywords]
    return found or None


def change(lines, i, text):
    return lines[:i] + [text] + lines[i + 1:]


def misspell(rng, lines):
    i = rng.choice(lines_with(lines, KEYWORDS))
    word = lines[i].split()[0]
    while True:
        at = rng.randrange(len(word))
        wrong = rng.choice([word[:at] + word[at + 1:], word[:at] + word[at] + word[at:],
                            word[:at] + "x" + word[at + 1:], word.upper()])
        if wrong and wrong not in KEYWORDS:
            return change(lines, i, lines[i].replace(word, wrong, 1))


def no_value(rng, lines):
    i = rng.choice(lines_with(lines, KEYWORDS))
    return change(lines, i, lines[i].split()[0] + rng.choice(["", " ", " # later"]))


def too_much(rng, lines):
    i = lines_with(lines, TIMES | COUNTS | ANSWERS | {"user", "pidfile", "log", "source",
                                                      "interface"})
    if i is None:
        return None
    i = rng.choice(i)
    return change(lines, i, lines[i] + " and more")


def bad_value(rng, lines):
    wrong = {}
    wrong.update(dict.fromkeys(TIMES, ["soon", "-1", "5x", "1e3", "1.2.3", "99999999999999999999"]))
    wrong.update(dict.fromkeys(COUNTS, ["many", "-1", "1.5", "99999999999", "0x10"]))
    wrong.update(dict.fromkeys(ANSWERS, ["maybe", "on", "1", "Yes"]))
    wrong["port"] = ["0", "65536", "no-such-service", "80,81", "20-10", "1-70000", "-5", "*:80"]
    wrong["interface"] = ["10.0.0.1:80", "10.0.0.0/33", "*", "a/b", "averyverylongname", "[::1"]
    wrong["server"] = ["8080", "a:b:c", "h:0", "h:65536", "h:", ":25", "[::1", "[a]:1", "1.2.3",
                       "h weight=-1", "h weight=1001", "h max=x", "h backups", "h i", "unix:",
                       "srv:x", "a..b:1", "a/b:1", "unix:/" + "x" * 107]
    wrong["user"] = ["root", "0", ":x", "a:", "root:root"]
    wrong["log"] = ["8080", "syslog:nowhere", "file:", "stdout", "+json"]
    wrong["source"] = ["host", "10.0.0.1:5", "10.0.0.0/8"]
    wrong["pidfile"] = ["8080", '""']
    i = rng.choice(lines_with(lines, set(wrong)))
    word = lines[i].split()[0]
    return change(lines, i, f"{word} {rng.choice(wrong[word])}")


def no_server(rng, lines):
    return [l for l in lines if not l.split() or l.split()[0] not in ("server", "exec")]


def no_port(rng, lines):
    return [l for l in lines if not l.split() or l.split()[0] != "port"]


def port_twice(rng, lines):
    start = lines_with(lines, {"port"})[0]
    return lines + lines[start:]


def wrong_place(rng, lines):
    return lines + [rng.choice(GLOBAL)]


def too_early(rng, lines):
    return [rng.choice(["server a:1", "exec /bin/x", "interface lo"])] + lines


def not_yet(rng, lines):
    return lines + [rng.choice(later()) + " 1"]


def peers_word(rng, lines):
    return lines + [rng.choice(table("peers.def", "PEER")) + " 1"]


def open_quote(rng, lines):
    i = rng.choice(lines_with(lines, KEYWORDS))
    words = lines[i].split(None, 1)
    return change(lines, i, f'{words[0]} "{words[1] if len(words) > 1 else ""}')


def control_character(rng, lines):
    i = rng.choice(lines_with(lines, KEYWORDS))
    at = rng.randrange(len(lines[i]))
    return change(lines, i, lines[i][:at] + rng.choice("\x01\x07\x1b\x7f\0") + lines[i][at:])


def said_twice(rng, lines):
    word = rng.choice(["timeout 7", "setenv X_", "numeric yes", "source ::1"])
    return lines + [word, word]


def missing_file(rng, lines):
    return lines + [rng.choice(["include no-such-file", "deny file:no-such-file", "include ."])]


def mixed_pool(rng, lines):
    return lines + ["server a:1", "exec /bin/x"]


MUTATIONS = [misspell, no_value, too_much, bad_value, bad_value, bad_value, no_server, no_port,
             port_twice, wrong_place, too_early, not_yet, peers_word, peers_word, open_quote,
             control_character, said_twice, missing_file, mixed_pool]


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "broken"
    out.mkdir(exist_ok=True)
    rng = random.Random(1999)
    seen, number = set(), 0
    for good in GOOD:
        lines = (HERE / f"{good}.conf").read_text().splitlines()
        for _ in range(ROUNDS):
            for mutation in MUTATIONS:
                broken = mutation(rng, list(lines))
                # inetd.conf may do without a port.
                if broken is None or (mutation is no_port and good == "inetd"):
                    continue
                text = "\n".join(broken) + "\n"
                if text in seen:
                    continue
                seen.add(text)
                number += 1
                name = mutation.__name__.replace("_", "-")
                (out / f"{number:03d}-{name}.conf").write_text(text)
    print(f"{number} files")


if __name__ == "__main__":
    main()
