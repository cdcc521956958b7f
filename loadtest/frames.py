"""One frame of the screen of a run, as lines of text, made from what its watcher was told.

The rule: a frame is never wider or higher than it was told, and what has no room is left out
from the bottom: how far the run is comes first, then the numbers, then the pictures.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from counter import live
from loadtest import graphs
from loadtest.curves import Curves
from loadtest.latency import Histogram
from loadtest.plan import Plan
from loadtest.report import (
    NARROW_COLUMNS,
    QueryRecord,
    bar,
    grouped,
    increments_row,
    percentile_head,
    percentile_row,
    reasons,
)
from loadtest.watching import Rate
from tracker.text import printable

RATES_SHOWN_MAX: Final = 60
HAPPENINGS_SHOWN_MAX: Final = 3
REASONS_SHOWN_MAX: Final = 3
BAR_CELLS: Final = 20
BAR_CELLS_NARROW: Final = 8


class Seen:
    """What was told of a run so far, as much of it as a screen shows."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.up = 0
        self.boot_s: float | None = None
        self.load_s = 0.0
        self.acked = 0
        self.asked = 0
        self.heard: int | None = None
        self.rates: deque[Rate] = deque(maxlen=RATES_SHOWN_MAX)
        self.happenings: deque[str] = deque(maxlen=HAPPENINGS_SHOWN_MAX)
        self.reasons: dict[str, int] = {}
        self.queries_ms = Histogram()
        self.curves = Curves()

    def ended(self, record: QueryRecord) -> None:
        """Add a query that has ended."""
        self.reasons[record.reason] = self.reasons.get(record.reason, 0) + 1
        if record.is_answered:
            self.queries_ms.record(record.stop_ms)
        self.curves.add(record.heard_ms or ())

    def lines(self, columns: int, rows: int) -> list[str]:
        """Return the frame."""
        width = BAR_CELLS if columns >= NARROW_COLUMNS else BAR_CELLS_NARROW
        lines = self._progress(width, columns)
        if self.boot_s is not None:
            numbers = self._numbers(is_narrow=columns < NARROW_COLUMNS)
            pictures = self._pictures(columns, rows - len(lines) - len(numbers) - 2)
            lines += numbers + pictures
        return [line[:columns] for line in lines[: max(1, rows)]]

    def _progress(self, width: int, columns: int) -> list[str]:
        plan = self.plan
        up, nodes = grouped(self.up), grouped(plan.nodes)
        took = "" if self.boot_s is None else f"      {self.boot_s:.1f} s"
        lines = [f"nodes    {bar(self.up / plan.nodes, width)} {up}/{nodes} up{took}"]
        if self.boot_s is None:
            return lines
        if self.heard is not None:
            shown = f"{grouped(self.heard)}/{nodes}"
            lines.append(f"heard    {bar(self.heard / plan.nodes, width)} {shown}")
        else:
            lines.append(self._writes(width, columns))
        share = self.asked / max(1, plan.queries)
        shown = f"{grouped(self.asked)}/{grouped(plan.queries)}"
        few = dict(sorted(self.reasons.items())[:REASONS_SHOWN_MAX])
        return [*lines, f"queries  {bar(share, width)} {shown}    {reasons(few)}".rstrip()]

    def _writes(self, width: int, columns: int) -> str:
        share = self.load_s / self.plan.duration_s
        line = f"writes   {bar(share, width)} {grouped(self.acked)} counted"
        if self.rates:
            line += f"    {grouped(self.rates[-1].acked_per_s)} /s "
            line += sparks([rate.acked_per_s for rate in self.rates], columns - len(line) - 1)
        return line.rstrip()

    def _numbers(self, *, is_narrow: bool) -> list[str]:
        if not self.queries_ms.count and not self.rates:
            return []
        lines = [percentile_head(is_narrow=is_narrow)]
        if self.queries_ms.count:
            times = self.queries_ms.percentiles()
            lines.append(percentile_row("query (ms)", times, 1, is_narrow=is_narrow))
        if self.rates and self.rates[-1].p50_us is not None:
            last = self.rates[-1]
            times = {"p50": last.p50_us, "p99": last.p99_us, "max": last.slowest_us}
            row = increments_row(times, is_narrow=is_narrow)
            lines.append(f"{row}      in the last second")
        return lines + [f"done     {printable(what, 100)}" for what in self.happenings]

    def _pictures(self, columns: int, rows: int) -> list[str]:
        """Return as many pictures as have room below an empty line."""
        shown: list[str] = []
        choices = (
            graphs.coverage(self.curves, min(columns, graphs.WIDTH_MAX)),
            graphs.histogram(self.queries_ms, "queries, by ms until the end", columns),
        )
        for lines in choices:
            if lines and len(shown) + 1 + len(lines) <= rows:
                shown += ["", *lines]
        return shown


def sparks(rates: Sequence[float], cells_max: int) -> str:
    """Return the last rates as a row of small bars; nothing where there is no room."""
    return live.bars(rates, cells_max) if cells_max > 0 else ""
