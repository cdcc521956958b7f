"""How the answers of a query come in: the time by which each share of the members was heard. Pure.

The rule: a share that was never heard has no time. It is left out of what is told of several
queries, and how many reached it is told beside.
"""

from collections.abc import Sequence
from math import ceil
from typing import Final

from loadtest.latency import Histogram

SHARES: Final = tuple(range(5, 101, 5))
"""The shares of a curve, in percent of the members that were up."""

Curve = Sequence[float | None]


def curve(times_ms: Sequence[float], expected: int) -> list[float | None]:
    """Return when each of SHARES of `expected` members had answered, in ms; None for never.

    `times_ms` are the times of all answers, in their order.
    """
    places = [max(1, ceil(share * expected / 100)) for share in SHARES]
    return [times_ms[place - 1] if place <= len(times_ms) else None for place in places]


class Curves:
    """The curves of many queries, in a bounded space: a histogram for each share."""

    def __init__(self) -> None:
        self.count = 0
        self._times = [Histogram() for _ in SHARES]

    def add(self, curve: Curve) -> None:
        """Add the curve of one query; of one with more or fewer shares, nothing."""
        if len(curve) != len(SHARES):
            return
        self.count += 1
        for time_ms, histogram in zip(curve, self._times, strict=True):
            if time_ms is not None:
                histogram.record(time_ms)

    def points(self, share: float) -> list[tuple[float, float]]:
        """Return (ms, percent heard): by then, of `share` (0 to 1) of all queries at least.

        Of all queries: where fewer than `share` of them ever got so far, the curve ends.
        """
        found: list[tuple[float, float]] = []
        for percent, histogram in zip(SHARES, self._times, strict=True):
            wanted = max(1, ceil(round(share * self.count, 6)))
            if not self.count or histogram.count < wanted:
                break
            time_ms = histogram.percentile(wanted / histogram.count)
            found.append((time_ms or 0.0, float(percent)))
        return found
