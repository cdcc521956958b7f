"""What of the increments waits for the disk: no state, only what such an entry is and adds up to.

The rule: what waits has its part of a counter's range already, so that nothing taken beside it
leaves the range once everything is on disk.
"""

from collections.abc import Iterable
from typing import Any

from counter.crdt import Share
from counter.messages import Counted
from tracker import wire
from tracker.classes import dataclass
from tracker.machine import Link
from tracker.messages import Refused


@dataclass(slots=True)
class Waiting:
    """An increment whose record is on its way to the disk. Made as often as a message."""

    token: int
    link: Link
    operation: tuple[bytes, int]
    pairs: tuple[Any, ...]
    counts_later: bool
    magnitude: int


@dataclass(slots=True)
class Late:
    """A reply that waits for its turn; a retry's has no message until its increment is settled."""

    to: Link
    sequence: int
    message: Counted | Refused | None = None


def magnitude_of(pairs: tuple[Any, ...]) -> int:
    """Return by how much, at most, any one total moves with these pairs."""
    return sum(map(abs, pairs[1::2]))


def due(waiting: Iterable[Waiting], adopting: Iterable[tuple[int, tuple[Any, ...]]]) -> Share:
    """Return what counts as soon as it is on disk: increments, and what was parked here."""
    share = Share(0)
    for entry in waiting:
        if entry.counts_later:
            share.add_all(entry.pairs)
    for _, pairs in adopting:
        share.add_all(pairs)
    return share


def leaves_range(own: Share, waits: Share, pairs: tuple[Any, ...]) -> bool:
    """Say whether one of these keys would pass 2^62, up or down, with all that waits for it.

    `waits` is taken over: nobody else may look at it afterwards.
    """
    waits.add_all(pairs)
    return any(
        own.positive.get(key, 0) + waits.positive.get(key, 0) > wire.SHARE_MAX
        or own.negative.get(key, 0) + waits.negative.get(key, 0) > wire.SHARE_MAX
        for key in pairs[::2]
    )
