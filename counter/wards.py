"""Arcs that heads have acknowledged, as the origin of a wide query watches over them.

The rule: a ward is told once every batch up to the last has come, whatever came twice. What is
lost stays listed, so that its late batches are known for what they are.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from counter.delegation import Arc
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


def asks_of_ended(wards: Iterable[Ward]) -> int:
    """Return how often heads whose cells have ended asked their silent; 0 if none has ended.

    One that saw bursts asked more often than the evidence of all cells together wants, since that
    does not tell of them. If more than a few have, it is so everywhere.
    """
    asks = sorted([ward.asks for ward in wards if ward.asks])
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
