#!/usr/bin/python3
"""page.py - the results as a page with charts: one file, nothing from outside, light and dark.

    bench/page.py RESULTS.json >PAGE.html
    bench/page.py --tables RESULTS.json      the same in short, for docs/performance.md
"""
import html
import json
import sys

import measures
from measures import select, spread

STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfa; --ink: #1c2328; --faint: #68737b; --line: #dfe3e2;
  --ours: #1a6e8e; --theirs: #9aa5ab; --good: #2c7a4b; --bad: #b04a2f; }
@media (prefers-color-scheme: dark) { :root { --paper: #161b1f; --ink: #dde3e6; --faint: #93a0a8; --line: #2c343a;
  --ours: #58b4d6; --theirs: #6c7880; --good: #6cc08b; --bad: #e58a6c; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p { max-width: 48rem; } .faint, figcaption small { color: var(--faint); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1.2rem 2rem; }
figure { margin: 0; } figcaption { font-weight: 600; margin-bottom: .2rem; } svg { width: 100%; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); } svg .faint { fill: var(--faint); }
.ours { fill: var(--ours); } .theirs { fill: var(--theirs); } .load { opacity: .3; }
.axis { stroke: var(--line); stroke-width: 1; } .whisker { stroke: var(--ink); stroke-width: 1; }
.mark { stroke: var(--faint); stroke-width: 2; } .one { stroke: var(--faint); stroke-width: 1; stroke-dasharray: 3 3; }
.good { fill: var(--good); } .bad { fill: var(--bad); }
svg text.good { fill: var(--good); } svg text.bad { fill: var(--bad); }
"""
NAME, BAR, VALUE, ROW, TOP = 152, 190, 62, 19, 4  # pixels of a chart's columns and rows
CLIP = 4.0  # a bar is cut at so many times ours, or the median: one bad peer must not flatten the others


def number(x):
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">{html.escape(words)}</text>'


def bars(rows):
    """An SVG of horizontal bars; rows of (name, is it ours, (median, low, high), load or 0)."""
    all_of_them = [m[0] + load for _, _, m, load in rows]
    ours = next((m[0] + load for _, mine, m, load in rows if mine), 0)
    scale = min(max(all_of_them), CLIP * max(ours, spread(all_of_them)[0])) or 1
    width, height = NAME + BAR + VALUE, TOP + ROW * len(rows) + 4
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img">']
    for i, (name, mine, (median, low, high), load) in enumerate(rows):
        y = TOP + i * ROW
        kind = "ours" if mine else "theirs"
        cut = median + load > scale * 1.0001
        solid = BAR * min(median, scale) / scale
        faint = BAR * min(median + load, scale) / scale - solid
        parts.append(text(NAME - 6, y + 13, name, anchor="end"))
        parts.append(f'<rect class="{kind}" x="{NAME}" y="{y + 2}" width="{solid:.1f}" height="13"/>')
        if faint > 0:
            parts.append(f'<rect class="{kind} load" x="{NAME + solid:.1f}" y="{y + 2}" width="{faint:.1f}" height="13"/>')
        if median and high <= scale:
            parts.append(f'<line class="whisker" x1="{NAME + BAR * low / scale:.1f}" x2="{NAME + BAR * high / scale:.1f}" '
                         f'y1="{y + 8.5}" y2="{y + 8.5}"/>')
        parts.append(text(NAME + BAR + 6, y + 13, (number(median) if median else "-") + (" \u2192" if cut else ""),
                          "" if mine else "faint"))
    parts.append(f'<line class="axis" x1="{NAME}" x2="{NAME}" y1="0" y2="{height}"/></svg>')
    return "".join(parts)


def figure(title, small, rows):
    return f"<figure><figcaption>{html.escape(title)} <small>{html.escape(small)}</small></figcaption>{bars(rows)}</figure>" \
        if rows else ""


def target_chart(targets, names):
    """Each ratio as a dot on a common scale, with its target and, if there is one, its moonshot as strokes."""
    left, width, top = 420, 400, 24
    most = max(1.3, *(min(t["ratio"][0], 2.5) for t in targets))
    height = top + 22 * len(targets) + 6

    def at(x):
        return left + width * min(x, most) / most
    parts = [f'<svg viewBox="0 0 {left + width + 130} {height}" role="img">']
    for x in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line class="{"one" if x == 1 else "axis"}" x1="{at(x):.1f}" x2="{at(x):.1f}" y1="{top - 6}" '
                     f'y2="{height}"/>' + text(at(x), 12, f"{x:g}", "faint", "middle"))
    for i, t in enumerate(targets):
        y = top + 22 * i
        median, low, high = t["ratio"]
        kind = "bad" if t["is"] == "missed" else "good"
        parts.append(text(left - 8, y + 14, f"{t['title']}, against {names.get(t['against'], t['against'])}", anchor="end"))
        for goal in filter(None, (t["target"], t["moonshot"])):
            parts.append(f'<line class="mark" x1="{at(goal):.1f}" x2="{at(goal):.1f}" y1="{y + 3}" y2="{y + 17}"/>')
        parts.append(f'<line class="whisker" x1="{at(low):.1f}" x2="{at(high):.1f}" y1="{y + 10}" y2="{y + 10}"/>'
                     f'<circle class="{kind}" cx="{at(median):.1f}" cy="{y + 10}" r="5"/>')
        parts.append(text(left + width + 12, y + 14, f"{median:.2f}  {t['is']}", kind))
    return "".join(parts) + "</svg>"


def rows_of(results, key, figure_name, load=False):
    rows = []
    for p in results["about"]["peers"]:
        mine = select(results["samples"], key, p["key"]).values()
        got = spread([s.get(figure_name) for s in mine])
        if got:
            more = spread([s["load"] for s in mine])[0] if load else 0
            rows.append((p["name"], p["key"] == "tcpproxy", got, more))
    return rows


GROUP_TITLES = {
    "requests": ("Requests and answers", "Each connection asks again as soon as it is answered."),
    "short": ("Short connections", "Connect, ask 64 bytes, be answered, close."),
    "bulk": ("Bulk", "As fast as it goes."),
    "latency": ("Latency", "At the same offered load for all; the time counts from when a request should have been sent."),
}


def render(results):
    about, names = results["about"], {p["key"]: p["name"] for p in results["about"]["peers"]}
    out = ["<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
           f"<title>tcpproxy and its peers</title><style>{STYLE}</style></head><body>",
           "<h1>tcpproxy and its peers</h1>",
           f"<p class=\"faint\">{html.escape(', '.join(p['name'] + ' ' * bool(p['version']) + p['version'] for p in about['peers']))}. "
           f"{about['rounds']} rounds of {about['seconds']} s, Linux {about['kernel']}, {about['congestion']}, all on one CPU.</p>",
           "<p>Bars are medians, the thin line spans the quartiles; the solid part is the CPU time of the proxy's processes, "
           "the faint part that of client and server meanwhile. Less is better. An arrow: the bar is cut.</p>"]
    if about["targets"]:
        out.append("<h2>Targets</h2><p>Ours divided by theirs, median of the ratios of neighbouring runs; the strokes are "
                   f"target and moonshot.</p>{target_chart(about['targets'], names)}")
    for group, (title, words) in GROUP_TITLES.items():
        figures = []
        for m in (m for m in about["measures"] if m["group"] == group):
            unit = {"us": "\u00b5s of CPU for each", "s/GB": "s of CPU for a GB"}[m["unit"]]
            figures.append(figure(m["title"], unit, rows_of(results, m["key"], "cpu", load=True)))
            if group == "bulk":
                figures.append(figure(m["title"], "GB/s; more is better", rows_of(results, m["key"], "speed")))
            for p in ("p50", "p99") if group == "latency" else ():
                figures.append(figure(m["title"], f"{p}, \u00b5s", rows_of(results, m["key"], p)))
        if any(figures):
            out.append(f"<h2>{title}</h2><p>{words}</p><div class=\"grid\">{''.join(figures)}</div>")
    memory = [figure("Memory of an idle connection", words, rows_of(results, "memory", name)) for name, words in
              (("growth", f"bytes of growth, at {measures.IDLE:,}"), ("tree", "bytes, all processes"))]
    if any(memory):
        out.append(f"<h2>Memory</h2><p>Proportional set size of all processes; the kernel's sockets are not in it. "
                   f"Programs with a process for each connection were measured with fewer.</p><div class=\"grid\">{''.join(memory)}</div>")
    notes = [f"<li>{html.escape(p['name'])} {html.escape(p['note'])}</li>" for p in about["peers"] if p["note"]]
    if notes:
        out.append(f"<h2>Remarks</h2><ul>{''.join(notes)}</ul>")
    return "\n".join(out) + "\n</body></html>\n"


# -- in short

IN_TABLES = ("tcpproxy", "haproxy", "haproxy-splice", "nginx", "direct")


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] +
                     ["| " + " | ".join(row) + " |" for row in rows])


def tables(results):
    about = results["about"]
    who = [p for p in about["peers"] if p["key"] in IN_TABLES]
    names = {p["key"]: p["name"] for p in about["peers"]}
    targets = [[t["title"], names.get(t["against"], t["against"]), f"{t['ratio'][0]:.2f} ({t['ratio'][1]:.2f} - {t['ratio'][2]:.2f})",
                f"{t['target']:.2f}", f"{t['moonshot']:.2f}" if t["moonshot"] else "", t["is"]] for t in about["targets"]]
    costs = []
    for m in about["measures"]:
        got = [spread([s["cpu"] + (s["load"] if p["key"] == "direct" else 0)
                       for s in select(results["samples"], m["key"], p["key"]).values()]) for p in who]
        if any(got):
            costs.append([f"{m['title']}, {m['unit']}", *(number(g[0]) if g else "" for g in got)])
    return "\n\n".join((
        ", ".join(f"{p['name']} {p['version']}".strip() for p in about["peers"]) +
        f"; {about['rounds']} rounds, Linux {about['kernel']}.",
        "Ours divided by theirs, median of the paired ratios and quartiles:",
        table(["", "against", "ratio", "target", "moonshot", ""], targets),
        "CPU of all processes, medians; for the direct connection what client and server use:",
        table(["", *(p["name"] for p in who)], costs))) + "\n"


def main(argv):
    with open(argv[-1]) as given:
        results = json.load(given)
    sys.stdout.write(tables(results) if argv[0] == "--tables" else render(results))


if __name__ == "__main__":
    main(sys.argv[1:])
