"""Newcomers that are not announced yet, since a member has something to tell them first.

A newcomer acknowledges nothing before it is announced (`tracker.announcement`), so what it has to
know before it counts is told until then, by whoever knows it; that needs no word of the tracker's
but this one. The rule: a member that acknowledges the news of a newcomer has asked for this before,
on the same stream, or wants nothing. It waits for all who asked and may yet live; after PATIENCE_S
one who has told it all is enough, as the line to another may be cut. A member that registers again
has to ask again: it may have told everything meanwhile.
"""

from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 10.0
"""Seconds for which each of those is waited for that have something to tell a newcomer."""
WITHHELD_MAX: Final = 100_000
"""Newcomers that may wait at a time: as many as a tracker takes members."""


class _Wait:
    """One newcomer, those who have not told it everything yet, and whether another one has."""

    __slots__ = ("is_told", "names", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.names: set[str] = set()
        self.is_told = False


class Withheld:
    """The stores whose announcement waits for members. Times in seconds."""

    def __init__(self) -> None:
        self._waits: dict[bytes, _Wait] = {}

    def note(self, name: str, store: bytes, now: float, *, is_wanted: bool) -> None:
        """Take the word of a member that it has something to tell, or has told it."""
        wait = self._waits.get(store)
        if is_wanted:
            if wait is None and len(self._waits) < WITHHELD_MAX:
                wait = self._waits[store] = _Wait(now)
            if wait is not None:
                wait.names.add(name)
        elif wait is not None and name in wait.names:
            wait.is_told = True
            self._left(store, wait, name)

    def registered(self, name: str) -> None:
        """Wait for this member no longer, unless it asks for that again."""
        for store, wait in list(self._waits.items()):
            self._left(store, wait, name)

    def _left(self, store: bytes, wait: _Wait, name: str) -> None:
        wait.names.discard(name)
        if not wait.names:
            del self._waits[store]

    def may_announce(self, store: bytes, now: float, may_live: Callable[[str], bool]) -> bool:
        """Say whether nobody who may live has anything to tell this store first."""
        wait = self._waits.get(store)
        if wait is None or (wait.is_told and now >= wait.since + PATIENCE_S):
            return True
        if any(map(may_live, wait.names)):
            return False
        del self._waits[store]
        return True
