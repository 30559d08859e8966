"""Access records, as text and as JSON."""
import json
import re

KEYS = ["id", "service", "port", "interface", "client", "name", "via", "announced", "uid", "authority", "rule", "sni", "alpn", "protocol", "target",
        "server", "up", "down", "connect", "duration", "end", "why", "waited"]
# left out of text if there is nothing to say
IF_ANY = ("service", "name", "via", "announced", "uid", "authority", "sni", "alpn", "protocol", "why", "waited")
ENDS = ["client-fin", "server-fin", "client-reset", "server-reset", "denied", "connect-failed", "connect-timeout",
        "unresolved", "idle-timeout", "half-close-timeout", "limit", "killed", "stopped", "handler-exit", "poisoned",
        "lost"]
WHYS = ["deny", "no-allow", "acp", "disabled", "max-connections", "max-connections-per-client", "server-max"]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(?:[+-]\d\d:\d\d|Z)"
_PAIR = re.compile(r'([a-z]+)=("(?:[^"\\]|\\.)*"|\S*)(?: |$)')  # a value with a space is quoted
_TEXT = re.compile(rf"({TIME}) (open|close|interval) (id=.*)$")


class Record(dict):
    """{key: text}, with `time` and `event`; `up` and `down` as numbers."""

    def __init__(self, time, event, pairs):
        super().__init__(pairs)
        self.time, self.event = time, event
        self.up, self.down = int(self["up"]), int(self["down"])

    @property
    def end(self):
        return self["end"]


def parse_text(line):
    """The record in a line of the log, or None."""
    m = _TEXT.search(line)
    if not m:
        return None
    return Record(m[1], m[2], [(key, value.strip('"')) for key, value in _PAIR.findall(m[3])])


def parse_json(line):
    """The same from a JSON log. Every line must be an object."""
    fields = json.loads(line)
    assert isinstance(fields, dict), line
    if "id" not in fields:
        return None
    return Record(fields["time"], fields["event"], {k: v for k, v in fields.items() if k not in ("time", "event")})


def parse(text):
    """Of a log that is being written: its last line may be a part of one."""
    found = []
    for line in text.split("\n")[:-1]:
        record = parse_json(line) if line.startswith("{") else parse_text(line)
        if record:
            found.append(record)
    return found
