"""Runs of increments, as connections bring them: what several come to, and what is answered. Pure.

The rule: each increment is answered with what was held right after it, as if each had been counted
for itself. They are counted together, so the values are found from the last one backwards.

`counter/native/runs.c` does the same in C.
"""

from collections.abc import Callable
from typing import Any, Protocol

from counter.frontends.redis import resp
from tracker.wire import AMOUNT_MAX

Run = list[tuple[str, int]]
"""Keys, or names under which a share counts them, and what to add to each."""

Placed = list[tuple[Run, Any]]
"""Runs, each with the place of its replies, which says in which protocol they are spelled."""


class Reckoner(Protocol):
    """Who reckons at one node."""

    held: Callable[[str], int]
    """What the node holds of a key."""

    def pairs(self, runs: Placed) -> tuple[Any, ...]:
        """Return what several runs come to, in pairs: one for each key and sign."""

    def replies(self, runs: Placed) -> list[bytes]:
        """Return what is answered to each run once all of them are counted, and nothing else."""


class PlainReckoner:
    """The reckoner in Python."""

    def __init__(self, held: Callable[[str], int]) -> None:
        self.held = held

    def pairs(self, runs: Placed) -> tuple[Any, ...]:
        """Return what several runs come to.

        What would be more than an increment may hold becomes another pair of that key.
        """
        pairs: list[Any] = []
        places: dict[tuple[str, bool], int] = {}
        for run, _ in runs:
            for key, amount in run:
                at = places.get((key, amount < 0))
                if at is not None and abs(pairs[at] + amount) <= AMOUNT_MAX:
                    pairs[at] += amount
                else:
                    places[key, amount < 0] = len(pairs) + 1
                    pairs += [key, amount]
        return tuple(pairs)

    def replies(self, runs: Placed) -> list[bytes]:
        """Return what is answered to each run."""
        values: dict[str, int] = {}
        told: list[bytes] = []
        for run, place in reversed(runs):
            replies = []
            for key, amount in reversed(run):
                value = values.get(key)
                if value is None:
                    value = self.held(key)
                replies.append(resp.integer(value, place.protocol))
                values[key] = value - amount
            told.append(b"".join(replies[::-1]))
        return told[::-1]
