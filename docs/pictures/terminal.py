#!/usr/bin/python3
"""terminal.py < TRANSCRIPT > PICTURE.svg - a terminal as a picture.

Lines that begin with "$ " are what was typed; long lines are broken as a terminal of 100 columns does."""
import html
import re
import sys

COLUMNS, WIDTH, HEIGHT, MARGIN, BAR = 100, 8.2, 19, 14, 26
STYLE = ("text{font:13px/1 'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#d8dee3;white-space:pre}"
         ".typed{fill:#fff;font-weight:bold}.prompt{fill:#8fbf7f}.end{fill:#f2c14e}")


def span(style, text):
    return f'<tspan class="{style}">{html.escape(text)}</tspan>' if style else html.escape(text)


def colour(line, typed):
    if typed:
        return span("prompt", "$ ") + span("typed", line[2:])
    return re.sub(r"(end=[a-z-]+)", r'<tspan class="end">\1</tspan>', html.escape(line))


def main():
    rows = []
    for line in sys.stdin.read().rstrip("\n").split("\n"):
        line = line.expandtabs(8)
        typed = line.startswith("$ ")
        for at in range(0, max(len(line), 1), COLUMNS):
            rows.append(colour(line[at:at + COLUMNS], typed and at == 0))
    width, height = round(COLUMNS * WIDTH + 2 * MARGIN), BAR + len(rows) * HEIGHT + MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">')
    print(f'<style>{STYLE}</style><rect width="{width}" height="{height}" rx="7" fill="#1d2429"/>')
    for i, fill in enumerate(("#e06c5a", "#f2c14e", "#8fbf7f")):
        print(f'<circle cx="{MARGIN + 4 + 16 * i}" cy="14" r="5" fill="{fill}"/>')
    for i, row in enumerate(rows):
        print(f'<text x="{MARGIN}" y="{BAR + 13 + i * HEIGHT}" xml:space="preserve">{row}</text>')
    print("</svg>")


main()
