"""Two servers measured in turns on a machine that others use too, and what that machine did.

The rule: what is compared was measured next to each other, so a ratio is taken within a round; the
median of the rounds stands with its quartiles, and beside it what a bare sync took and what others
took of the processors in the same run. A number whose quartiles span its floor decides nothing.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.machine import TICKS_PER_S, Row

BLOCK = b"\1" * 4_096
SYNCS_MAX = 10_000
Cost = TypeVar("Cost")


@dataclass(frozen=True, slots=True)
class Ratio:
    """A median over rounds, and its lower and upper quartile."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def spread(values: list[float]) -> Ratio:
    """Return median and quartiles of at least two values."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Ratio(median, low, high)


def in_turns(
    theirs: Callable[[], Cost], ours: Callable[[], Cost], rounds: int
) -> list[tuple[Cost, Cost]]:
    """Measure both, in each round the other one first: (theirs, ours) by round."""
    found = []
    for number in range(rounds):
        if number % 2:
            own = ours()
            found.append((theirs(), own))
        else:
            found.append((theirs(), ours()))
    return found


class Sync:
    """What the disk takes for 4 KiB appended to a file and synced, while others are measured."""

    def __init__(self, directory: str) -> None:
        """Make the file, on the disk that the servers use."""
        self._file = os.open(Path(directory, "syncs"), os.O_WRONLY | os.O_CREAT, 0o600)
        self.took_s: list[float] = []

    def measure(self, count: int) -> None:
        """Take some more samples."""
        for _ in range(min(count, SYNCS_MAX - len(self.took_s))):
            began = time.perf_counter()
            os.pwrite(self._file, BLOCK, len(self.took_s) * len(BLOCK))
            getattr(os, "fdatasync", os.fsync)(self._file)
            self.took_s.append(time.perf_counter() - began)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def row(self, command: str) -> Row:
        """Return what the samples tell."""
        parts = statistics.quantiles([took * 1e3 for took in self.took_s], n=100)
        what = "the disk, meanwhile: 4 KiB written and synced, p50, p99 and p99/p50"
        shown = f"{parts[49]:.2f}, {parts[98]:.2f} ms, {parts[98] / parts[49]:.0f}"
        return Row(what, shown, "", command)


class Others:
    """How much of the processors went to somebody else between two moments."""

    def __init__(self) -> None:
        """Begin now."""
        self._began = time.monotonic()
        self._busy_s, self._stolen_s = _busy_s()
        self._own_s = _own_s()

    def row(self, own_s: float, command: str) -> Row:
        """Return the share of others, less `own_s` that the servers used, and this process."""
        wall_s = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        busy_s, stolen_s = _busy_s()
        own_s += _own_s() - self._own_s
        others = max(0.0, busy_s - self._busy_s - own_s) / wall_s
        stolen = (stolen_s - self._stolen_s) / wall_s
        what = "the processors, meanwhile: taken by other programs, by other machines"
        return Row(what, f"{others:.0%}, {stolen:.0%}", "", command)


def _busy_s() -> tuple[float, float]:
    """Return what all processors have worked since they started, and what was stolen from them."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _, _, interrupts, soft, stolen = fields[:8]
    return (user + nice + system + interrupts + soft) / TICKS_PER_S, stolen / TICKS_PER_S


def _own_s() -> float:
    times = os.times()
    return times.user + times.system
