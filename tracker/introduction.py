"""What a newcomer does whom no tracker has announced: it tells others itself.

A tracker may have taken it in, and let it see the list, and died before anybody else heard of it.
Or none can be reached, and the newcomer was gone before, or given up, and knows a list of its own.
Those others find no tracker, trust their lists, and would answer without it. One who knows is
enough: an answer is complete only with the reply of every expected member, and replies tell by
their roll that somebody knows of more. The rule: it waits for one such word before it acknowledges
anything, and not without end; who reaches none of those it knows is cut off, and nobody can know.

One may also know of another start of its store (`counter.newcomers`): it is a copy, or there is
one. Then it acknowledges nothing, answers nothing, and asks again from time to time.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import Final

from tracker.config import shown_endpoint
from tracker.machine import Address, Effect, Send
from tracker.members import ALIVE, Member, View, position
from tracker.messages import Introduce

TRIES_MAX: Final = 5
TRY_S: Final = 0.2
WAIT_TRIES: Final = 3
"""Longest pauses between tries for which a copy leaves a tracker that is back to the other one."""
AGAIN_S: Final = 2.0
"""Seconds until a newcomer that was not believed asks again: the other one may have ended."""
TOLD_AT_ONCE_MAX: Final = 3


class Introduction:
    """One newcomer's own word to the members it knows. Times in seconds."""

    __slots__ = ("_due", "_tries", "_witness", "cluster", "is_confirmed", "is_over", "why")

    def __init__(self) -> None:
        self.is_over = False
        # Whether another node has said that it knows of this one.
        self.is_confirmed = False
        self.cluster = ""
        self._tries = 0
        self._due: float | None = None
        # Who knows of another start of this store, and what it says of that.
        self._witness: Address | None = None
        self.why = ""

    def look(self, member: Member, view: View, now: float) -> list[Effect]:
        """Tell the next few others, those first who are believed to live; end if it was in vain."""
        if self.is_over or (self._due is not None and now < self._due):
            return []
        first = self._tries * TOLD_AT_ONCE_MAX
        turn = range(first, first + TOLD_AT_ONCE_MAX)
        others = list(islice(_others(member, view), turn.stop))
        if not others or self._tries >= TRIES_MAX:
            self.end()
            return []
        self._tries += 1
        self._due = now + TRY_S
        told = {others[index % len(others)].endpoint: None for index in turn}
        return [Send(endpoint, Introduce(member, self.cluster)) for endpoint in told]

    def confirmed(self, sender: Address) -> None:
        """Take the word of another node that it knows of this one now: one is enough.

        Unless somebody knew of another start of this store: then that one has to say it.
        """
        if self._witness in (None, sender):
            self.is_confirmed = True
            self.settled()
            self.end()

    def doubled(self, other: Member, witness: Address, now: float) -> bool:
        """Take it that another start of this store is known; returns whether that is news."""
        why = f"another start of its store is known at {shown_endpoint(other.endpoint)}"
        is_news = why != self.why
        self.why, self._witness, self.is_over = why, witness, False
        self._due = now + AGAIN_S
        return is_news

    @property
    def is_doubled(self) -> bool:
        """Whether somebody knows of another start of this store, and nobody has judged since."""
        return self._witness is not None

    def again(self, member: Member, now: float) -> list[Effect]:
        """Ask the one who knew of another start whether it still does, if that is due."""
        if self._witness is None or self._due is None or now < self._due:
            return []
        self._due = now + AGAIN_S
        return [Send(self._witness, Introduce(member, self.cluster))]

    def settled(self) -> None:
        """Doubt no more: a tracker has judged, or whoever had doubts has none."""
        self._witness, self.why = None, ""

    def end(self) -> None:
        """Wait no longer: somebody knows, or nobody needs to be told."""
        self.is_over = True
        self._due = None

    def deadline(self) -> float | None:
        """Say when `look` is wanted."""
        return self._due


def _others(member: Member, view: View) -> Iterator[Member]:
    """Yield whom a newcomer knows: first those who know best, or are most likely to hear."""
    # Whoever runs where its store last was knows best whether it has moved.
    last = view.owner_of(member.store[:8])
    if last is not None and last.expected and last.endpoint != member.endpoint:
        yield last
    # A thousand that begin at once tell each its own neighbours, not all of them the same three.
    own_place = bisect_left(view.positions, position(member.name))
    turn = view.ring[own_place:] + view.ring[:own_place]
    for is_alive in (True, False):
        for other in turn:
            is_other = member.store != other.store and member.endpoint != other.endpoint
            if is_other and (other.status == ALIVE) is is_alive:
                yield other
