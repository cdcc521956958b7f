"""The event heap: what happens next, on a clock that nobody waits for.

The rule: events happen by time, and those of one moment in the order in which they were
scheduled. Nothing else decides, so the same calls give the same run on every machine.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

PENDING_MAX = 20_000_000

Action = Callable[..., None]


class SimulationError(Exception):
    """A simulated machine, or the situation it was put in, cannot go on: a bug to fix."""


class Agenda:
    """A virtual clock in seconds, and the actions that are due at some time on it."""

    __slots__ = ("_heap", "_sequence", "now", "pending_max")

    def __init__(self, *, start_s: float = 0.0, pending_max: int = PENDING_MAX) -> None:
        self.now = start_s
        self.pending_max = pending_max
        self._heap: list[tuple[float, int, Action, tuple[Any, ...]]] = []
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def scheduled(self) -> int:
        """How many actions were ever scheduled: the size of a run."""
        return self._sequence

    @property
    def next_at(self) -> float | None:
        """When the next action is due; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def at(self, time: float, action: Action, *arguments: Any) -> None:
        """Call `action(*arguments)` at `time`, which is not before `now`."""
        if len(self._heap) >= self.pending_max:
            raise SimulationError(f"{self.pending_max} events wait at {self.now:g} s: a storm")
        self._sequence = sequence = self._sequence + 1
        heappush(self._heap, (time, sequence, action, arguments))

    def run_to(self, time: float) -> None:
        """Carry out everything due up to and including `time`, and set the clock to it."""
        heap = self._heap
        while heap and heap[0][0] <= time:
            self.now, _, action, arguments = heappop(heap)
            action(*arguments)
        if self.now < time:
            self.now = time

    def run_until(self, is_done: Callable[[], bool], time_max: float) -> bool:
        """Carry out one action after another until `is_done()`; False at `time_max`."""
        heap = self._heap
        while not is_done():
            if not heap or heap[0][0] > time_max:
                self.now = max(self.now, time_max)
                return is_done()
            self.now, _, action, arguments = heappop(heap)
            action(*arguments)
        return True
