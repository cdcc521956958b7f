"""Whoever follows a run: what they are told, and the pulse that is told once a second.

The rule: what is told of a second is the difference between two looks at the same numbers that
the report is made from, so that the seconds of a log add up to its summary.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from loadtest.latency import Histogram
from loadtest.report import Queries, QueryRecord, Writes
from tracker.classes import dataclass

PERIOD_S: Final = 1.0
"""How often the rates are told."""
RATES_MAX: Final = 10_000
"""Rates in one log; a run of PERIOD_S times this, three hours, is longer than any may be."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What happened up to `at_s`, in s since the load began, in the `period_s` before it.

    `acked`, `unknown` and `queries` are totals; `in_flight` are increments that were sent and of
    which nothing is known yet, `late` all that were begun too late, or not at all. Rates are of
    this period, and so are the times in µs, from its increments alone: None without any.
    """

    at_s: float
    period_s: float
    acked: int
    unknown: int
    queries: int
    in_flight: int
    late: int
    acked_per_s: float
    queries_per_s: float
    p50_us: float | None
    p99_us: float | None
    slowest_us: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the line of the log."""
        fields = {name: getattr(self, name) for name in _RATE_FIELDS}
        return {"rates": fields}


_RATE_FIELDS: Final = (
    "at_s", "period_s", "acked", "unknown", "queries", "in_flight", "late", "acked_per_s",
    "queries_per_s", "p50_us", "p99_us", "slowest_us",
)  # fmt: skip


class Watcher(Protocol):
    """Whoever shows a run while it goes on."""

    def booting(self, up: int) -> None:
        """Say how many nodes are up."""

    def booted(self) -> None:
        """Say that the load begins."""

    def loading(self, acked: int, queries: int) -> None:
        """Say how far the load is; called often."""

    def hearing(self, heard: int, queries: int) -> None:
        """Say how far a query is that takes long; called often."""

    def rated(self, rate: Rate) -> None:
        """Say what happened in the last second."""

    def ended(self, record: QueryRecord) -> None:
        """Say how a query ended."""

    def happened(self, what: str) -> None:
        """Say what was done to the cluster."""


class Quiet:
    """Shows nothing."""

    def booting(self, up: int) -> None:
        """Show nothing."""

    def booted(self) -> None:
        """Show nothing."""

    def loading(self, acked: int, queries: int) -> None:
        """Show nothing."""

    def hearing(self, heard: int, queries: int) -> None:
        """Show nothing."""

    def rated(self, rate: Rate) -> None:
        """Show nothing."""

    def ended(self, record: QueryRecord) -> None:
        """Show nothing."""

    def happened(self, what: str) -> None:
        """Show nothing."""


class Pulse:
    """Looks at the numbers of a run once a second, and tells what changed since the last look."""

    def __init__(self, writes: Writes, queries: Queries, tell: Callable[[Rate], None]) -> None:
        self._writes = writes
        self._queries = queries
        self._tell = tell
        self._clock: Callable[[], float] | None = None
        self._began = 0.0
        self._last = 0.0
        self._told = 0
        self._acked = 0
        self._asked = 0
        self._times = Histogram()

    def begin(self, began: float, clock: Callable[[], float]) -> None:
        """Note when the load began, by a clock that is real or of the simulator, in s."""
        self._began = self._last = began
        self._clock = clock

    def now_s(self) -> float | None:
        """Return how long the load has lasted; None before it, or where nothing tells."""
        return None if self._clock is None else max(0.0, self._clock() - self._began)

    def look(self, in_flight: int, late: int, *, is_last: bool = False) -> None:
        """Tell of the time since the last look, once it is a period; the last is as it comes.

        The last one ends with the load, whatever was done after it.
        """
        if self._clock is None or self._told >= RATES_MAX:
            return
        now = self._clock()
        if is_last and self._writes.elapsed_s:
            now = min(now, self._began + self._writes.elapsed_s)
        period_s = now - self._last
        if period_s < PERIOD_S and not (is_last and period_s > 0.0):
            return
        writes, count = self._writes, self._queries.count
        times = writes.latency_us.since(self._times)
        self._told += 1
        self._tell(
            Rate(
                at_s=round(now - self._began, 3),
                period_s=round(period_s, 3),
                acked=writes.acked,
                unknown=writes.unknown,
                queries=count,
                in_flight=in_flight,
                late=late,
                acked_per_s=round((writes.acked - self._acked) / period_s, 1),
                queries_per_s=round((count - self._asked) / period_s, 2),
                p50_us=_rounded(times.percentile(0.50)),
                p99_us=_rounded(times.percentile(0.99)),
                slowest_us=_rounded(times.max if times.count else None),
            )
        )
        self._last, self._acked, self._asked = now, writes.acked, count
        self._times = writes.latency_us.copy()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
