"""Who was asked for certain, and has not answered: the best witness of how often asks fail.

Most of those whom repair finds were never asked before, because the ask of whoever was to ask them
was lost, or had a dead head. Of some the origin knows that they were asked: those that it asked
itself, and the members of an arc so small that its head asks each of them, if that head has
answered. If one of them is found by repair, an ask or its answer has failed before; and if a second
one failed as well, that tells of bursts, as nothing else does so soon.

The rule: it is settled once, when the first wave leaves, and tells of living members only, since
only those are ever found.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from counter.selection import Part
from tracker.classes import dataclass, field
from tracker.members import View, position

CERTAIN_LEAST: Final = 5
"""As many first answers of those who were asked for certain tell how often asks fail."""


@dataclass(slots=True)
class Certain:
    """Those who were asked for certain: who answered, and after how many repair asks others did."""

    parts: Sequence[Part] = ()
    heard: int = 0
    """Who had answered when the first wave left."""
    silent: dict[int, None] = field(default_factory=dict)
    """Who had not, by position."""
    firsts: list[int] = field(default_factory=list)
    """By the repair asks that it took, how many of these were found."""

    def settle(self, pending: Iterable[int], view: View, chatter: int) -> None:
        """Tell them apart, when the first wave leaves; `pending` has not answered."""
        missing = dict.fromkeys(pending)
        for part in self.parts:
            head = position(part.head.name)
            if head in missing:
                self.silent[head] = None
                continue
            self.heard += 1
            begin, end = view.span(part.low, part.high)
            if part.is_leaf or end - begin - len(part.skip) > chatter:
                continue
            for pos in view.positions[begin:end]:
                if pos in missing:
                    self.silent[pos] = None
                elif pos not in part.skip:
                    self.heard += 1
        self.parts = ()

    def found(self, place: int, asks: int) -> None:
        """Note that somebody has answered for the first time, after so many repair asks.

        With none the answer was only late.
        """
        if place not in self.silent:
            return
        del self.silent[place]
        if not asks:
            self.heard += 1
        else:
            self.firsts += [0] * (asks + 1 - len(self.firsts))
            self.firsts[asks] += 1

    @property
    def tells(self) -> bool:
        """Whether these are enough to tell how often asks fail."""
        return self.heard >= CERTAIN_LEAST

    def failure(self) -> float:
        """Return the share of the living among them that the first ask did not reach."""
        found = sum(self.firsts)
        return found / (self.heard + found)
