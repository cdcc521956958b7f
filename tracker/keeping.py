"""When a tracker writes down what must survive its restart, and what that is.

    the list of members     soon after each change; a thousand members twice a second at most
    the marks of stores     (how much of each was safe, `tracker.written`) with the list, and for
                            themselves every MARKS_GAP_S: they change with every increment

The rule: one record at a time, and the latest is the only one that matters. A mark that was not
written yet makes an old backup harder to notice, and nobody wrong. But nobody with a disk is
announced before the list that holds it is safe (`is_safe`): its counts survive a power cut of
everything, so the knowledge that they are missing has to survive it, too.
"""

from collections.abc import Collection, Iterable
from typing import Final

from tracker.machine import Persist
from tracker.members import Member
from tracker.pages import Mark, kept_to_record

MEMBERS_KIND: Final = "members"
PERSIST_GAP_S: Final = 0.05
PERSIST_GAP_PER_MEMBER_S: Final = 0.0005
"""What each member adds to the least time between two records: it is written as a whole."""
PERSIST_RETRY_S: Final = 5.0
MARKS_GAP_S: Final = 10.0
"""Longest time, in seconds, that a mark waits to be written down."""


class Keeping:
    """The state of one tracker's file; `token` is that of the last record."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.is_wanted = False
        self.is_in_flight = False
        self._at = float("-inf")
        self._marks_at: float | None = None
        # The version of the list that is safe, and of the one that is on its way.
        self._safe = self._under_way = 0

    def begin(self, version: int) -> None:
        """Note that what is known now is what was read."""
        self.is_wanted, self._safe = False, version

    def is_safe(self, version: int) -> bool:
        """Whether a list of this version, or a later one, would survive a restart."""
        return version <= self._safe

    def marked(self, now: float) -> None:
        """Note that a mark has changed."""
        if self._marks_at is None:
            self._marks_at = now + MARKS_GAP_S

    def written(self) -> None:
        """Note that the record on its way is safe."""
        self.is_in_flight = False
        self._safe = self._under_way

    def failed(self, now: float) -> None:
        """Note that it is not, and try again later.

        It is said to people, and nobody waits for this disk any longer.
        """
        self.written()
        self.is_in_flight, self.is_wanted = False, True
        self._at = now + PERSIST_RETRY_S

    def hurry(self, now: float) -> None:
        """Write what is not written yet: the tracker is about to end."""
        self._at = now
        self.is_wanted = self.is_wanted or self._marks_at is not None

    def deadline(self) -> float | None:
        """Say when `is_due` may become true."""
        if self.is_in_flight:
            return None
        if self.is_wanted:
            return self._at
        return None if self._marks_at is None else max(self._at, self._marks_at)

    def is_due(self, now: float) -> bool:
        """Whether it is time to write."""
        at = self.deadline()
        return at is not None and now >= at

    def record(
        self, members: Collection[Member], version: int, marks: Iterable[Mark], now: float
    ) -> Persist:
        """Return all of it, to be written; `version` is that of the list."""
        self.is_wanted, self.is_in_flight, self._marks_at = False, True, None
        self._at = now + PERSIST_GAP_S + PERSIST_GAP_PER_MEMBER_S * len(members)
        self._under_way = version
        self.token += 1
        return Persist(self.token, MEMBERS_KIND, kept_to_record(members, marks))
