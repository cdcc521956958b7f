"""How far a run is: a screen on a terminal, a plain line now and then in a pipe.

The rule: it must not disturb what is measured. It writes to stderr only, and no frame follows
before the time that the last one took is less than SHARE_MAX of what has passed; what all of
them took is told in the log. Runs call it between queries, where they ask one after another.
"""

import os
import sys
from contextlib import suppress
from time import monotonic
from typing import Any, Final, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from loadtest.frames import Seen
from loadtest.plan import Plan
from loadtest.report import QueryRecord
from loadtest.watching import Quiet, Rate
from tracker.text import printable

FRAMES_PER_S_MAX = 5.0
LINES_PER_S_MAX = 0.5
SHARE_MAX: Final = 0.02
"""Share of the time that showing a run may take."""
COLUMNS_MIN: Final = 24
"""A terminal narrower than this gets plain lines."""


class Lines(Quiet):
    """Plain lines, for a pipe or a file."""

    def __init__(self, plan: Plan, stream: TextIO) -> None:
        self._plan = plan
        self._stream = stream
        self._began = monotonic()
        self._due = self._began + 1 / LINES_PER_S_MAX
        self._per_s: float | None = None

    def booting(self, up: int) -> None:
        """Say how many nodes are up."""
        if self._is_due():
            self._say(f"nodes {up}/{self._plan.nodes} up")

    def booted(self) -> None:
        """Say that the load begins."""
        nodes, seconds = self._plan.nodes, monotonic() - self._began
        self._say(f"nodes {nodes}/{nodes} up after {seconds:.1f} s")
        self._due = monotonic() + 1 / LINES_PER_S_MAX

    def loading(self, acked: int, queries: int) -> None:
        """Say how far the load is."""
        if self._is_due():
            rate = "" if self._per_s is None else f" ({self._per_s:.0f} /s)"
            self._say(f"writes {acked} counted{rate}, queries {queries}/{self._plan.queries}")

    def hearing(self, heard: int, queries: int) -> None:
        """Say how many members the query under way has heard."""
        if self._is_due():
            plan = self._plan
            self._say(f"heard {heard}/{plan.nodes}, queries {queries}/{plan.queries}")

    def rated(self, rate: Rate) -> None:
        """Keep the rate for the next line."""
        self._per_s = rate.acked_per_s

    def happened(self, what: str) -> None:
        """Say what was done to the cluster."""
        self._say(printable(what))

    def close(self) -> None:
        """Say nothing more."""

    def cost(self) -> dict[str, Any] | None:
        """Return nothing: a line in two seconds costs nothing that could be told."""
        return None

    def _is_due(self) -> bool:
        now = monotonic()
        if now < self._due:
            return False
        self._due = now + 1 / LINES_PER_S_MAX
        return True

    def _say(self, text: str) -> None:
        # Whoever read along may be gone; the run is not.
        with suppress(OSError):
            self._stream.write(text + "\n")
            self._stream.flush()


class Terminal(Console):
    """A terminal that may hang up: nothing more is shown then, and the run goes on."""

    def on_broken_pipe(self) -> None:
        """Show nothing more."""
        self.quiet = True


class Screen(Quiet):
    """A screen on a terminal; gone when the run is over, the report takes its place."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._seen = Seen(plan)
        self._console = console
        self._due = self._began = self._booted = monotonic()
        self._frames = 0
        self._took_s = 0.0
        # No thread: it would take its time from the nodes, in the middle of a query.
        self._live = Live(console=console, auto_refresh=False, transient=True)
        with suppress(OSError):
            self._live.start()
        self._frame(always=True)

    def booting(self, up: int) -> None:
        """Show how many nodes are up."""
        self._seen.up = up
        self._frame(always=up == self._seen.plan.nodes)

    def booted(self) -> None:
        """Show the load."""
        self._booted = monotonic()
        self._seen.boot_s = self._booted - self._began
        self._seen.up = self._seen.plan.nodes
        self._frame(always=True)

    def loading(self, acked: int, queries: int) -> None:
        """Show how far the load is."""
        self._seen.acked, self._seen.asked = acked, queries
        self._frame()

    def hearing(self, heard: int, queries: int) -> None:
        """Show how many members the query under way has heard."""
        self._seen.heard, self._seen.asked = heard, queries
        self._frame()

    def rated(self, rate: Rate) -> None:
        """Keep the rates of the last minute; the time is that of the load, or the simulator's."""
        self._seen.rates.append(rate)
        self._seen.load_s = rate.at_s

    def ended(self, record: QueryRecord) -> None:
        """Keep what is shown of queries."""
        self._seen.ended(record)

    def happened(self, what: str) -> None:
        """Keep what was done to the cluster."""
        self._seen.happenings.append(what)

    def close(self) -> None:
        """Take the screen away."""
        with suppress(OSError):
            self._live.stop()

    def cost(self) -> dict[str, Any]:
        """Return what all frames took, for the log: how many, in s, as a share of the run."""
        passed = monotonic() - self._began
        share = self._took_s / passed if passed > 0.0 else 0.0
        return {"frames": self._frames, "took_s": round(self._took_s, 3), "share": round(share, 4)}

    def _frame(self, *, always: bool = False) -> None:
        now = monotonic()
        if not always and now < self._due:
            return
        columns, rows = self._console.size
        lines = self._seen.lines(columns - 1, rows - 2)
        with suppress(OSError):
            self._live.update(_coloured(lines), refresh=True)
        took = monotonic() - now
        self._frames += 1
        self._took_s += took
        self._due = now + max(1 / FRAMES_PER_S_MAX, took / SHARE_MAX)


def _coloured(lines: list[str]) -> Text:
    text = Text("\n".join(lines), no_wrap=True, overflow="crop")
    text.highlight_regex("[━█▏▎▍▌▋▊▉]+", "green")
    text.highlight_regex("[\u2801-\u28ff▁▂▃▄▅▆▇]+", "cyan")
    text.highlight_regex("─+", "bright_black")
    return text


def shown(plan: Plan) -> Lines | Screen:
    """Return what suits stderr."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        console = Terminal(stderr=True)
        if not console.is_dumb_terminal and console.width >= COLUMNS_MIN:
            return Screen(plan, console)
    return Lines(plan, sys.stderr)
