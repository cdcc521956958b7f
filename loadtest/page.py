"""The report of a run as one HTML file: the table, the plots, and where it was made.

The rule: one file, nothing fetched, no script. Whatever stands in a log is text on the page: it
is made printable and escaped, however it came there.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from loadtest.differences import SITUATION
from loadtest.logbook import Logbook
from tracker.text import printable

FACTS_MAX: Final = 60
LINE_MAX: Final = 400

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  background: #ffffff; color: #24292f; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
pre { background: #f3f5f7; padding: 1rem; overflow-x: auto; line-height: 1.35; }
figure { margin: 1.5rem 0; } figure svg { width: 100%; height: auto; }
table { border-collapse: collapse; } td, th { padding: .15rem 1rem .15rem 0; text-align: left;
  vertical-align: top; font-weight: normal; }
th { opacity: .7; } .cut { border-left: .3rem solid #c93c37; padding: .2rem 1rem; }
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3; } pre { background: #161b22; }
}
"""


def html(book: Logbook, table: Sequence[str], drawings: Sequence[str]) -> str:
    """Return the page: the lines of the table, the SVG of each plot, the facts of the head."""
    title = _title(book)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        " style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{text(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{text(title)}</h1>",
    ]
    if book.is_cut:
        parts.append(f'<p class="cut">{text(CUT)}</p>')
    parts += ["<pre>", *[text(line) for line in table], "</pre>"]
    parts += [f"<figure>{drawing}</figure>" for drawing in drawings]
    parts += ["<h2>What was asked for</h2>", _facts(_asked(book))]
    parts += ["<h2>Where and with what</h2>", _facts(book.run), "</body></html>"]
    return "\n".join(parts) + "\n"


CUT: Final = (
    "This log was cut: the run ended without its summary. What is shown was seen,"
    " and nothing was checked."
)


def text(value: object) -> str:
    """Return a value of a log as text on a page."""
    return escape(printable(str(value), LINE_MAX), quote=True)


def _asked(book: Logbook) -> Mapping[str, Any]:
    """Return what the head of a log says, or its summary, where that is all there is."""
    told = book.summary or {}
    return book.header or {name: told[name] for name in SITUATION if name in told}


def _title(book: Logbook) -> str:
    asked = _asked(book)
    nodes, mode = asked.get("nodes", "?"), asked.get("mode") or asked.get("scenario", "")
    started = book.run.get("started_at", "")
    return f"Load test: {nodes} nodes, {mode}" + (f", {started}" if started else "")


def _facts(facts: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><th>{text(name)}</th><td>{text(_shown(value))}</td></tr>"
        for name, value in list(facts.items())[:FACTS_MAX]
    ]
    return "\n".join(["<table>", *rows, "</table>"])


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join([f"{name} {part}" for name, part in value.items()])
    return "unknown" if value is None else str(value)
