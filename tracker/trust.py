"""How long those whom a tracker does not reach may still trust the list that they have of it.

A node takes its list for the cluster's for a while after it last heard its tracker
(`tracker.standing`). If all who were there are cut off from their tracker at once, nobody among
them can tell the others of a newcomer. The rule: nothing is announced (`tracker.announcement`)
before everybody has heard of it who may trust a list without it: also one who is suspect by now,
and, for as long after a start, those who were there when the tracker before this one ended.
"""

from collections.abc import Iterable
from typing import Final

from tracker.contact import SILENT_INTERVALS
from tracker.members import ALIVE, SUSPECT, Member

TRUSTED_S: Final = 3.0
"""Time for which a list is trusted unheard, where three heartbeats are not longer: in seconds.
No node trusts it longer (`GossipConfig.view_fresh_s`)."""


class Trust:
    """What the members of one tracker may take for granted, at the time `now`, in seconds."""

    __slots__ = ("_absent", "_until", "now", "trusted_s")

    def __init__(self, interval_s: float) -> None:
        self.trusted_s = max(TRUSTED_S, SILENT_INTERVALS * interval_s)
        self.now = 0.0
        self._absent: set[str] = set()
        self._until = 0.0

    def begin(self, saved: Iterable[Member], now: float) -> None:
        """Begin with the members of the list that was saved: those there lately may trust it."""
        self._absent = {member.name for member in saved if member.status in (ALIVE, SUSPECT)}
        self._until = now + self.trusted_s

    def registered(self, name: str) -> None:
        """Note that a member is here: from now on it has to acknowledge what is new."""
        self._absent.discard(name)

    def may_trust(self, member: Member, heard_at: float) -> bool:
        """Whether a member that is registered may trust a list older than this tracker's.

        `heard_at` is when its last beat came. It heard nothing later that it would trust.
        """
        return member.status == ALIVE or self.now < heard_at + self.trusted_s

    @property
    def is_everybody_here(self) -> bool:
        """Whether nobody who is not registered may trust the list of the tracker before."""
        return not self._absent or self.now >= self._until
