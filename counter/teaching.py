"""Epochs of keys, told to whoever has just begun by those who were there before.

A store that begins, or begins again, knows nothing of the resets meanwhile; what it counts in an
epoch that is over is in no total any more. The members next to its place on the ring tell it of
every key that was ever reset. The rule: they do so before they acknowledge the news of it to a
tracker, or to itself; and it acknowledges nothing before all who live have
(`tracker.announcement`), or one of them (`tracker.introduction`).

A datagram may be lost, and nobody says whether it came. So each page is sent TEACHERS_MAX times, by
as many members; where fewer live each of them sends it more often.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain, islice
from math import ceil
from typing import Final

from counter.epochs import Epochs
from counter.moves import pages_of
from tracker.machine import Effect, Send
from tracker.members import ALIVE, Member, View, position

TEACHERS_MAX: Final = 8
"""Members that tell a newcomer, and how often it is told at least: some may know nothing yet."""
LOOKED_MAX: Final = 64
"""Places of the ring at which teachers are looked for."""

_UNASKED: Final = bytes(16)


def lessons(epochs: Epochs, before: View, view: View, own: Member) -> list[Effect]:
    """Return what a member tells those who have begun between two views of its own."""
    if not epochs.names or before.owner_of(own.store[:8]) is None:
        return []
    said: list[Effect] = []
    for newcomer in _begun(before, view, own):
        times = _times(before, own, newcomer)
        said += lesson(epochs, newcomer) * times if times else []
    return said


def lesson(epochs: Epochs, newcomer: Member) -> list[Effect]:
    """Return all that is known of epochs, for somebody who has begun."""
    rows = [entry.row() for entry in epochs.below("")]
    pages = pages_of(_UNASKED, rows, is_page=True)
    return [Send(newcomer.endpoint, page) for page in pages]


def _begun(before: View, view: View, own: Member) -> Iterator[Member]:
    for member in view:
        if member.status == ALIVE and member.store != own.store:
            known = before.owner_of(member.store[:8])
            if known is None or (known.epoch, known.boot) != (member.epoch, member.boot):
                yield member


def _times(before: View, own: Member, newcomer: Member) -> int:
    """Say how often a member is to tell a newcomer: 0 if enough others are next to its place."""
    first = bisect_left(before.positions, position(newcomer.name))
    around = chain(islice(before.ring, first, None), islice(before.ring, first))
    stores = [
        member.store
        for member in islice(around, LOOKED_MAX)
        if member.store == own.store or (member.status == ALIVE and member.store != newcomer.store)
    ]
    teachers = stores[:TEACHERS_MAX]
    return ceil(TEACHERS_MAX / len(teachers)) if own.store in teachers else 0
