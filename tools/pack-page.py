#!/usr/bin/python3
"""pack-page.py - makes the page one text: style and scripts go into the document, the document into a C file.

    tools/pack-page.py OUTPUT WEB [CHARTS.js CHARTS.css LICENCE]

Nothing in it is loaded from anywhere; its policy names the hashes of what may run. Without the charts it works, too:
the page says that they are missing."""
import base64
import hashlib
import pathlib
import re
import sys


def policy(scripts, styles):
    def hashes(texts):
        return " ".join("'sha256-" + base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() + "'" for t in texts)
    return (f"default-src 'none'; script-src {hashes(scripts)}; style-src {hashes(styles)}; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


def charts(script, style, licence):
    """The licence, which is to go with every copy, in place of the line that says where it can be read."""
    code = re.sub(r"^/\*!.*?\*/\s*", "", pathlib.Path(script).read_text(), flags=re.S)
    code = re.sub(r"^//# sourceMappingURL.*$", "", code, flags=re.M)
    css = re.sub(r"/\*#.*?\*/", "", pathlib.Path(style).read_text(), flags=re.S)
    terms = pathlib.Path(licence).read_text().replace("*/", "* /")
    assert "</script" not in code and "</style" not in css and "</script" not in terms
    return f"/*\n{terms}*/\n{code.strip()}\n", css.strip() + "\n"


def main():
    output, web, *library = sys.argv[1:]
    web = pathlib.Path(web)
    code, css = charts(*library) if library else ("", "")
    style = css + (web / "page.css").read_text()
    script = (web / "page.js").read_text()
    page = (web / "page.html").read_text()
    for mark, text in (("STYLE", style), ("CHARTS", code), ("SCRIPT", script)):
        page = page.replace(f"/*{mark}*/", text, 1)
    data = page.encode()
    rows = (",".join(map(str, data[i:i + 32])) for i in range(0, len(data), 32))
    pathlib.Path(output).write_text(
        '#include "page/page_text.h"\n\nconst char page_text[] = {\n' + ",\n".join(rows) + "};\n"
        f"const size_t page_text_len = {len(data)};\n"
        f'const char page_policy[] = "{policy([code, script], [style])}";\n')


main()
