"""Arcs that heads have acknowledged, as the origin of a wide query watches over them.

The rule: a ward is told once every batch up to the last has come, whatever came twice. What is
lost stays listed, so that its late batches are known for what they are.
"""

from collections.abc import Iterator
from typing import Final

from counter.delegation import Arc
from counter.messages import DONE, Batch
from tracker.classes import dataclass, field
from tracker.machine import Endpoint

ENOUGH_PARTS: Final = (3, 4)
"""Of the cells that have ended three quarters had asked no more often than is enough for all."""


@dataclass(slots=True)
class Ward:
    """An arc for which a head has taken responsibility."""

    share: int
    arc: Arc
    head: Endpoint
    due: float
    is_collected: bool
    is_closed: bool = False
    is_lost: bool = False
    cell: int = 0
    probes: int = 0
    heard: set[int] = field(default_factory=set)
    last: int | None = None
    messages: int = 0
    evidence: tuple[int, int] = (0, 0)
    asks: int = 0
    """How often its head asked the silent, once it has ended."""

    @property
    def is_open(self) -> bool:
        """Whether something is still to be heard of it."""
        return not (self.is_closed or self.is_lost)

    def told(self, batch: Batch, asks_max: int) -> bool:
        """Note what a batch says of the cell; returns whether it is the last that was missing."""
        self.heard.add(batch.sequence)
        if batch.messages >= self.messages:
            self.messages, self.evidence = batch.messages, (batch.again, batch.before)
            self.asks = min(batch.asks, asks_max)
        if batch.flags & DONE and self.last is None:
            self.last = batch.sequence
        if self.last is None or len(self.heard) <= self.last or self.is_closed:
            return False
        self.is_closed = True
        return True


class Wards(dict[int, Ward]):
    """The wards of one query by share."""

    def open(self) -> list[Ward]:
        """Return those of which something is still to be heard."""
        return [ward for ward in self.values() if ward.is_open]

    def collected(self) -> list[tuple[int, int]]:
        """Return the arcs that heads have taken as their own cells, and not lost."""
        wards = [ward for ward in self.values() if ward.is_collected and not ward.is_lost]
        return [(ward.arc.low, ward.arc.high) for ward in wards]

    def close_passed_on(self, standing: list[tuple[int, int]]) -> None:
        """Close what was passed on, if these sorted arcs cover all of it."""
        for ward in self.values():
            if not ward.is_collected and not any(gaps(ward.arc.low, ward.arc.high, standing)):
                ward.is_closed = True

    def messages(self) -> int:
        """Return how many messages the cells cost, by the word of their heads."""
        return sum([ward.messages for ward in self.values()])

    def evidence(self) -> tuple[int, int]:
        """Return what was found by further asks, in all cells."""
        told = [ward.evidence for ward in self.values()]
        return sum([again for again, _ in told]), sum([before for _, before in told])

    def asks_of_ended(self) -> int:
        """Return how often heads whose cells have ended asked their silent; 0 if none has ended.

        One that saw bursts asked more often than the evidence of all cells together wants, since
        that does not tell of them. If more than a few have, it is so everywhere.
        """
        asks = sorted([ward.asks for ward in self.values() if ward.asks])
        part, whole = ENOUGH_PARTS
        return asks[part * len(asks) // whole] if asks else 0


def gaps(low: int, high: int, covered: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield what is left of [low, high) without the arcs of a sorted list."""
    for begin, end in covered:
        if begin > low:
            if begin >= high:
                break
            yield low, begin
        low = max(low, end)
        if low >= high:
            return
    yield low, high
