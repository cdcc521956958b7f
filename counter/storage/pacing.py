"""When a commit begins, and how the loop waits for it, where many clients count at once.

With a few clients a commit begins as soon as the last one has ended: whoever waits is soon
everybody. Of many, each wakes the loop while a sync runs, only to wait for the next one; of
hundreds a few come meanwhile, and a commit for each few of them costs more processor time than
their increments do, time that all others wait for.

    clients answered in a period     a commit begins                 while it is under way
    up to GROUP                      at once                         the loop serves who comes
    up to CROWD                      once what has come is read      it sleeps, LULL_S at a time
    more                             so, and after REST_S of sleep   it sleeps, LULL_S at a time
                                     unless a quarter is there

The rule: it only says when. A commit that rests loses nothing, and nothing is said before it.
"""

from collections.abc import Iterable
from typing import Final

PERIOD_S: Final = 0.1
GROUP: Final = 16
CROWD: Final = 128
"""Clients answered within a period, above which they are a group, and a crowd."""
PART: Final = 4
REST_S: Final = 0.001
LULL_S: Final = 0.002
"""Longest that a loop sleeps before it looks around; see `lull`."""
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

    def is_group(self, now: float) -> bool:
        """Whether so many count that the loop gains by sleeping until the disk has spoken."""
        return self._crowd > GROUP and now < self._ends_at + PERIOD_S
