"""How many operations a node did in the last while: what its beats tell clients who choose.

The rule: a node at rest keeps nothing and pays nothing for this.
"""

from typing import Final

from counter.line import Line

ACTIVITY_S: Final = 30
ACTIVITY_SAMPLES_MAX: Final = ACTIVITY_S + 2


class Activity:
    """The operations of the last ACTIVITY_S seconds, told by a total that only grows."""

    __slots__ = ("_counted", "_samples")

    def __init__(self) -> None:
        # Empty while nothing was done for so long; `_counted` is how much had been done then.
        self._samples: Line[tuple[float, int]] = Line()
        self._counted = 0

    def start(self, operations: int) -> None:
        """Begin: what was done before is no activity."""
        self._counted = operations

    def look(self, operations: int, now: float) -> int:
        """Return how many operations were done lately; `operations` is how many ever."""
        samples = self._samples
        if not samples:
            if operations == self._counted:
                return 0
            samples.append((now, self._counted))
        if now - samples[-1][0] >= 1.0:
            samples.append((now, operations))
        # The newest sample is less than a second old: one always stays.
        while now - samples[0][0] > ACTIVITY_S or len(samples) > ACTIVITY_SAMPLES_MAX:
            samples.popleft()
        activity = operations - samples[0][1]
        if not activity:
            samples.clear()
            self._counted = operations
        return activity
