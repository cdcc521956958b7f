"""How many records a commit waits for, and how long, where very many clients count at once.

With a few clients a commit begins as soon as the last one has ended: whoever waits is soon
everybody. Of hundreds, a few come while a sync runs, and a commit for each few of them costs more
processor time than their increments do, time that all others wait for. So a commit of a crowd
rests until a part of it is there, a moment at most.

    clients answered in a period     a commit begins
    up to CROWD                      at once
    more                             with a quarter of them, or after REST_S

The rule: it only says when. A commit that rests loses nothing, and nothing is said before it.
"""

from collections.abc import Iterable
from typing import Final

PERIOD_S: Final = 0.1
CROWD: Final = 128
"""Clients answered within a period, above which they are a crowd."""
PART: Final = 4
REST_S: Final = 0.001
SEEN_MAX: Final = 4_096
"""Clients that are told apart within a period."""


class Pace:
    """Who was answered lately, and what follows from that for the next commit."""

    __slots__ = ("_crowd", "_ends_at", "_seen")

    def __init__(self) -> None:
        """Begin with nobody."""
        self._seen: set[int] = set()
        self._crowd = 0
        self._ends_at = 0.0

    def answered(self, clients: Iterable[int], now: float) -> None:
        """Note who was told that a record is safe; `now` in s."""
        if now >= self._ends_at:
            # What is too long ago says nothing of who counts now.
            self._crowd = len(self._seen) if now < self._ends_at + PERIOD_S else 0
            self._seen.clear()
            self._ends_at = now + PERIOD_S
        if len(self._seen) < SEEN_MAX:
            self._seen.update(clients)

    def enough(self, now: float) -> int:
        """Return with how many records a commit begins at once; 0: with any."""
        is_crowd = self._crowd > CROWD and now < self._ends_at + PERIOD_S
        return self._crowd // PART if is_crowd else 0
