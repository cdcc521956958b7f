"""What a newcomer does whom no tracker has announced: it tells others itself.

A tracker may have taken it in, and let it see the list, and died before anybody else heard of it.
Or none can be reached, and the newcomer was gone before, or given up, and knows a list of its own.
Those others find no tracker, trust their lists, and would answer without it. One who knows is
enough: an answer is complete only with the reply of every expected member, and replies tell by
their roll that somebody knows of more. The rule: it waits for one such word before it acknowledges
anything, and not without end; who reaches none of those it knows is cut off, and nobody can know.
"""

from typing import Final

from tracker.machine import Address, Effect, Send
from tracker.members import ALIVE, Member, View
from tracker.messages import Introduce

TRIES_MAX: Final = 5
TRY_S: Final = 0.2
TOLD_AT_ONCE_MAX: Final = 3


class Introduction:
    """One newcomer's own word to the members it knows. Times in seconds."""

    __slots__ = ("_due", "_tries", "cluster", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        self.cluster = ""
        self._tries = 0
        self._due: float | None = None

    def look(self, member: Member, view: View, now: float) -> list[Effect]:
        """Tell the next few others, those first who are believed to live; end if it was in vain."""
        if self.is_over or (self._due is not None and now < self._due):
            return []
        others = [other for other in view.ring if other.store != member.store]
        others.sort(key=lambda other: other.status != ALIVE)
        if not others or self._tries >= TRIES_MAX:
            self.end()
            return []
        first = self._tries * TOLD_AT_ONCE_MAX
        self._tries += 1
        self._due = now + TRY_S
        turn = range(first, first + TOLD_AT_ONCE_MAX)
        told = {others[index % len(others)].endpoint: None for index in turn}
        return [Send(endpoint, Introduce(member, self.cluster)) for endpoint in told]

    def confirmed(self, sender: Address) -> None:
        """Take the word of another node that it knows of this one now: one is enough."""
        self.end()

    def end(self) -> None:
        """Wait no longer: somebody knows, or nobody needs to be told."""
        self.is_over = True
        self._due = None

    def deadline(self) -> float | None:
        """Say when `look` is wanted."""
        return self._due
