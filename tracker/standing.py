"""What a node may conclude from how its trackers stand to it: how current its view is, and more.

    known_until   up to when its view is that of the cluster
    displaced     whether somebody else counts under its name, or in its store
    Regarded      the plain facts: who has taken it in, who is out of reach

The rule: silence proves nothing. Only a tracker that speaks, one that cannot be reached, or one
that says no lets anything follow. Times in seconds.
"""

from collections.abc import Sequence
from typing import Any, Final

from tracker.admission import COPY_CODES, HANDED_OVER, NAME_LOST, OLD_BACKUP
from tracker.again import Standing, same
from tracker.config import shown_endpoint
from tracker.contact import JOINED, JOINING, OPENING, REFUSED, Contact
from tracker.contacts import Contacts
from tracker.introduction import Introduction
from tracker.machine import Effect, Endpoint
from tracker.members import FIRST_EPOCH, Member
from tracker.unheard import Unheard

DISPLACING_CODES: Final = frozenset(
    {"in-use", "clone", OLD_BACKUP, HANDED_OVER, NAME_LOST, "name-taken", "name-kept"}
)
"""Refusals by which what a node counts is in no total, or is not expected there."""


def known_until(
    trackers: Sequence[Contact], now: float, fresh_s: float, *, is_cut_off: bool
) -> float:
    """Say up to when the view is that of the cluster, as far as anybody knows.

    Infinity while a tracker speaks, heard within `fresh_s`. Without one, after one was
    heard at all: when the last look at all of them began that reached none. Whoever was
    in reach of a tracker before may have let others in, so a stream that was lost, or is
    open but silent, proves nothing (minus infinity).
    """
    is_heard = False
    for tracker in trackers:
        if tracker.heard_at is not None:
            is_heard = True
            is_open = tracker.state == JOINED and tracker.is_caught_up
            if is_open and now - tracker.heard_at <= max(fresh_s, tracker.silent_s):
                return float("inf")
    if not is_heard or not is_cut_off:
        return float("-inf")
    # Who was refused for good looks no more; that tracker will tell nothing.
    looked = [t.missed_at for t in trackers if t.state != REFUSED]
    return min(looked, default=float("inf"))


def displaced(trackers: Sequence[Contact]) -> str:
    """Return which tracker refuses this node for somebody else's sake, while none has it."""
    if any(tracker.state == JOINED for tracker in trackers):
        return ""
    refusing = [tracker for tracker in trackers if tracker.refusal in DISPLACING_CODES]
    if not refusing:
        return ""
    return f"{refusing[0].refusal}, says the tracker at {shown_endpoint(refusing[0].endpoint)}"


class Regarded:
    """A node, as far as its trackers regard it; whoever inherits this keeps their contacts."""

    # Where answers that stand look each second (`Membership.stands`).
    __slots__ = (
        *("_is_departing", "activity", "is_doubted", "is_unheard_of", "member", "outdone"),
        "written",
    )

    _trackers: list[Contact]
    # Why somebody else is in this node's place by the view, if so.
    _usurped: str
    _contacts: Contacts
    _interval_s: float
    _unheard: Unheard
    introduction: Introduction
    member: Member
    is_doubted: bool
    """Whether this may be an old backup, or a copy: a tracker is yet to take it in, or refuses to,
    or others know of another start, or of none."""
    outdone: str
    """Who tells what this node tells, in a few words, if it has given up for that."""
    is_unheard_of: bool
    """Whether it is that for nothing else than that others have yet to hear of this start."""

    def unjudged(self, *, is_doubtful: bool) -> None:
        """Take it that no tracker is there to judge; with `is_doubtful` there is, or will be.

        Then others have to know of this start first, if the store has lived before: one of them
        may know of another one.
        """
        is_news = self.member.epoch > FIRST_EPOCH and not self.introduction.is_over
        self.is_unheard_of = self.is_doubted and is_news and not is_doubtful
        self.is_doubted = self.is_doubted and (is_doubtful or is_news)

    def heard_of(self) -> None:
        """Take it that others know of this start, or that none of them can be told."""
        self.is_doubted = self.is_doubted and not self.is_unheard_of
        self.is_unheard_of = False

    def disprove(self) -> None:
        """Take it that this is an old backup, or a copy, until a tracker says that it is not."""
        self.is_doubted, self.is_unheard_of = True, False

    def withdraw(self, why: str, last: Any = None) -> list[Effect]:
        """Leave all trackers for good: somebody else tells what this node had counted."""
        self.outdone = why
        return self._contacts.withdraw(HANDED_OVER, last)

    def rests(self) -> tuple[Standing, float] | None:
        """Say how long after each heartbeat of its only tracker this node wants to be called, and
        while that is so; None where more may be due."""
        if len(self._trackers) != 1 or self._unheard.deadline() is not None:
            return None
        return same(self._unheard, "due_at"), self._trackers[0].rest_s(self._interval_s)

    @property
    def is_usurped(self) -> bool:
        """Whether a later record gives this node's name to another store, or a tracker says so.

        Or that it is a copy, while none has it.
        """
        is_other = self.displaced or self.introduction.is_doubled
        return bool(is_other) or any(t.refusal == NAME_LOST for t in self._trackers)

    @property
    def displaced(self) -> str:
        """Why somebody else counts in this node's place, in a few words; empty as a rule."""
        others = self._usurped or self.introduction.why or displaced(self._trackers)
        return self.outdone or others

    @property
    def is_second(self) -> bool:
        """Whether others know of another start of this node's store, which is to be heard first.

        It may be on its way back to a tracker that was not there.
        """
        is_refused = any(tracker.refusal in COPY_CODES for tracker in self._trackers)
        return is_refused or self.introduction.is_doubled

    @property
    def tracker(self) -> Endpoint | None:
        """The tracker that has taken this node in and was heard last; None if none has."""
        joined = [t for t in self._trackers if t.state == JOINED and t.heard_at is not None]
        return max(joined, key=lambda t: t.heard_at or 0.0).endpoint if joined else None

    @property
    def heard_at(self) -> float | None:
        """When a tracker was last heard; None before the first heartbeat."""
        times = [tracker.heard_at for tracker in self._trackers if tracker.heard_at is not None]
        return max(times, default=None)

    @property
    def is_registered(self) -> bool:
        """Whether at least one tracker has taken this node in, and is connected."""
        return any(tracker.state == JOINED for tracker in self._trackers)

    @property
    def is_seeking(self) -> bool:
        """Whether a tracker is being tried that may take this node in."""
        return any(tracker.state in (OPENING, JOINING) for tracker in self._trackers)

    @property
    def is_cut_off(self) -> bool:
        """Whether every tracker is known to be out of reach right now."""
        return all(tracker.is_down for tracker in self._trackers)
