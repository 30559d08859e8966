"""What is measured, what is made of it, and what it should be."""
import math
import statistics


class Measure:
    """One kind of load. `per` says what CPU time is counted by: "done" (requests, connections) or "bytes"; `windows`,
    how many of them in a round: what a single stall of the machine can spoil wants many short ones."""

    def __init__(self, key, group, title, per="done", quick=False, windows=1, **options):
        self.key, self.group, self.title, self.per, self.quick = key, group, title, per, quick
        self.windows = windows
        self.options = options  # of `load drive`
        self.connections = options.get("connections", 1)

    @property
    def unit(self):
        return {"done": "us", "bytes": "s/GB"}[self.per]

    def cost(self, ns, raw):
        """CPU time `ns` of one window, for each piece of work."""
        count = raw[self.per]
        return ns / count / (1e3 if self.per == "done" else 1.0) if count else math.nan

    def speed(self, raw):
        """Pieces of work, or GB, in a second."""
        return raw[self.per] / raw["seconds"] / (1e9 if self.per == "bytes" else 1)


def _size(n):
    return f"{n} B" if n < 1024 else f"{n // 1024} KiB"


def _many(n):
    return f"{n:,} connection{'s' * (n > 1)}"


OFFERED = 10000  # requests in a second, where latency is measured
IDLE = 3000      # connections where memory is

MEASURES = [
    Measure(f"requests-{size}-{n}", "requests", f"{_size(size)} requests, {_many(n)}",
            mode="exchange", size=size, connections=n, quick=size == 64 and n > 1)
    for size in (64, 4096, 65536) for n in (1, 64, 1000)
] + [
    Measure(f"short-{n}", "short", f"short connections, {n} at a time", mode="short", size=64, connections=n,
            quick=n > 1)
    for n in (1, 64)
] + [
    Measure(f"bulk-{way}-{n}", "bulk", f"bulk {word}, {_many(n)}", per="bytes", mode=way, connections=n,
            quick=way == "down" or (way, n) == ("up", 1))
    for n in (1, 16) for way, word in (("down", "download"), ("up", "upload"), ("both", "both ways"))
] + [
    Measure("latency", "latency", f"64 B requests, 64 connections, {OFFERED:,} in a second", mode="exchange", size=64,
            connections=64, rate=OFFERED, quick=True, windows=6),
]
GROUPS = ["requests", "short", "bulk", "latency", "memory"]


class Target:
    """A figure of ours divided by a peer's. `figure`: "cpu", "p99" of a measure; "growth", "tree" of memory. It is met
    by the median of the ratios, or by their lower quartile."""

    def __init__(self, title, measures, figure, peer, target, moonshot, by="median"):
        self.title, self.measures, self.figure, self.peer = title, measures, figure, peer
        self.target, self.moonshot, self.by = target, moonshot, by


def _bulk(*numbers):
    return [f"bulk-{way}-{n}" for n in numbers for way in ("down", "up", "both")]


TARGETS = [
    Target("CPU per 64 B request, 64 connections", ["requests-64-64"], "cpu", "haproxy", 0.85, 0.70),
    Target("CPU per 64 B request, 1,000 connections", ["requests-64-1000"], "cpu", "haproxy", 0.75, 0.55),
    Target("CPU per short connection", ["short-64"], "cpu", "haproxy", 0.90, 0.70),
    Target("CPU per GB, one bulk connection", _bulk(1), "cpu", "haproxy", 0.25, 0.18),
    Target("CPU per GB, 16 bulk connections", _bulk(16), "cpu", "haproxy", 0.30, 0.23),
    Target("CPU per GB", _bulk(1, 16), "cpu", "haproxy-splice", 0.80, 0.60),
    Target("memory growth per idle connection", ["memory"], "growth", "haproxy", 0.15, 0.08),
    Target("memory of all processes per idle connection", ["memory"], "tree", "haproxy", 0.50, 0.25),
    Target("p99 latency at the same offered load", ["latency"], "p99", "haproxy", 1.0, 0.8),
] + [
    Target(title, keys, figure, "nginx", 1.0, None) for title, keys, figure in (
        ("CPU per 64 B request, 64 connections", ["requests-64-64"], "cpu"),
        ("CPU per 64 B request, 1,000 connections", ["requests-64-1000"], "cpu"),
        ("CPU per short connection", ["short-64"], "cpu"),
        ("CPU per GB, one bulk connection", _bulk(1), "cpu"),
        ("CPU per GB, 16 bulk connections", _bulk(16), "cpu"),
        ("memory growth per idle connection", ["memory"], "growth"),
        ("memory of all processes per idle connection", ["memory"], "tree"),
        ("p99 latency at the same offered load", ["latency"], "p99"))
] + [
    Target(title, keys, "cpu", "alone", 1.03, None, "lower quartile") for title, keys in (
        ("CPU per 64 B request, 64 connections", ["requests-64-64"]),
        ("CPU per short connection", ["short-64"]),
        ("CPU per GB", _bulk(1, 16)))
]


# -- samples: one dictionary for each window; keys measure, peer, round, and figures

def select(samples, measure, peer):
    return {s["round"]: s for s in samples if s["measure"] == measure and s["peer"] == peer}


def spread(values):
    """(median, lower quartile, upper quartile), or None."""
    values = sorted(v for v in values if v is not None and not math.isnan(v))
    if not values:
        return None
    if len(values) < 3:
        return statistics.median(values), values[0], values[-1]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


def ratios(samples, keys, figure, peer, ours="tcpproxy", clock=False):
    """Ours / the peer's, paired by measure and round. With `clock`, each divided by the load's own CPU first: what
    slowed the machine down for one of the two then falls out."""
    found = []
    for key in keys:
        mine, theirs = select(samples, key, ours), select(samples, key, peer)
        for r in mine.keys() & theirs.keys():
            a, b = mine[r].get(figure), theirs[r].get(figure)
            if clock and a and b:
                a, b = a / mine[r]["load"], b / theirs[r]["load"]
            if a and b:
                found.append(a / b)
    return found
