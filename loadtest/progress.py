"""How far a run is: bars on a terminal, a plain line now and then in a pipe.

The rule: it writes to stderr only, and never while a query is under way: a frame takes some
milliseconds, which would be measured as slowness of the cluster.
"""

import sys
from time import monotonic
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from loadtest.plan import Plan
from loadtest.report import grouped
from loadtest.watching import Quiet

FRAMES_PER_S_MAX = 5.0
LINES_PER_S_MAX = 0.5
BAR_COLUMNS = 20


class Lines(Quiet):
    """Plain lines, for a pipe or a file."""

    def __init__(self, plan: Plan, stream: TextIO) -> None:
        self._plan = plan
        self._stream = stream
        self._began = monotonic()
        self._due = self._began + 1 / LINES_PER_S_MAX

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
            self._say(f"writes {acked} counted, queries {queries}/{self._plan.queries}")

    def hearing(self, heard: int, queries: int) -> None:
        """Say how many members the query under way has heard."""
        if self._is_due():
            plan = self._plan
            self._say(f"heard {heard}/{plan.nodes}, queries {queries}/{plan.queries}")

    def close(self) -> None:
        """Say nothing more."""

    def _is_due(self) -> bool:
        now = monotonic()
        if now < self._due:
            return False
        self._due = now + 1 / LINES_PER_S_MAX
        return True

    def _say(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class Bars(Quiet):
    """Bars on a terminal; gone when the run is over, the report takes their place."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._due = self._began = monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(BAR_COLUMNS),
            TextColumn("{task.fields[told]}"),
            console=console,
            # No thread: it would take its time from the nodes, in the middle of a query.
            auto_refresh=False,
            transient=True,
        )
        self._nodes = self._bar("nodes   ", plan.nodes)
        self._writes: TaskID | None = None
        self._heard: TaskID | None = None
        self._queries: TaskID | None = None
        self._show(self._nodes, 0, f"0/{grouped(plan.nodes)} up")
        self._progress.start()

    def booting(self, up: int) -> None:
        """Show how many nodes are up."""
        self._show(self._nodes, up, f"{grouped(up)}/{grouped(self._plan.nodes)} up")
        self._frame(always=up == self._plan.nodes)

    def booted(self) -> None:
        """Show the bars of the load."""
        self._began = monotonic()
        self._writes = self._bar("writes  ", self._plan.duration_s)
        self._queries = self._bar("queries ", max(1, self._plan.queries))
        self._frame(always=True)

    def loading(self, acked: int, queries: int) -> None:
        """Show how far the load is."""
        if self._writes is None or self._queries is None or monotonic() < self._due:
            return
        seconds = monotonic() - self._began
        self._show(self._writes, seconds, f"{grouped(acked)} counted")
        self._show(self._queries, queries, f"{grouped(queries)}/{grouped(self._plan.queries)}")
        self._frame()

    def hearing(self, heard: int, queries: int) -> None:
        """Show how many members the query under way has heard."""
        if monotonic() < self._due:
            return
        if self._writes is not None:
            self._progress.remove_task(self._writes)
            self._writes = None
            self._heard = self._bar("heard   ", self._plan.nodes)
        if self._heard is None or self._queries is None:
            return
        nodes, asked = grouped(self._plan.nodes), grouped(self._plan.queries)
        self._show(self._heard, heard, f"{grouped(heard)}/{nodes}")
        self._show(self._queries, queries, f"{grouped(queries)}/{asked}")
        self._frame()

    def close(self) -> None:
        """Take the bars away."""
        self._progress.stop()

    def _bar(self, what: str, total: float) -> TaskID:
        return self._progress.add_task(what, total=total, told="")

    def _show(self, bar: TaskID, done: float, told: str) -> None:
        self._progress.update(bar, completed=done, told=told)

    def _frame(self, *, always: bool = False) -> None:
        now = monotonic()
        if always or now >= self._due:
            self._due = now + 1 / FRAMES_PER_S_MAX
            self._progress.refresh()


def shown(plan: Plan) -> Lines | Bars:
    """Return what suits stderr."""
    if sys.stderr.isatty():
        return Bars(plan, Console(stderr=True))
    return Lines(plan, sys.stderr)
