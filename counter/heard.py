"""What the origin of a query keeps of each answer, and how those are named who gave none.

The rule: nothing is decided here. An answer is kept under its store, of which `Heard.store` has
the first 8 bytes, since the same name or address may be somebody else a moment later.
"""

from collections.abc import Iterable

from counter.messages import DECREASED, Reply, ReplyMany
from counter.parts import part_end
from counter.pending import Pending, why_silent
from tracker.classes import dataclass
from tracker.members import Member

HeldRow = tuple[bytes, int, int] | tuple[bytes, int, int, bytes]
Held = tuple[HeldRow, ...]
"""What a member holds of others' shares: (first 8 bytes of the store, epoch, value) of each.

The epoch of a part of a share is that of `counter.parts`; its stem stands behind the value, as far
as there is room for it."""


def stem_in(row: HeldRow) -> bytes:
    """Return the stem of a part that is told, or the end of one of which no life is told."""
    if len(row) == 4 and row[3]:
        return row[3]
    return part_end(row[1])


@dataclass(slots=True)
class Heard:
    """One answer. `store` is the first 8 bytes of the store id, `at_s` since the start."""

    name: str
    store: bytes
    epoch: int
    value: int
    hops: int
    at_s: float
    has_decreased: bool


def heard_in(reply: Reply | ReplyMany, name: str, at_s: float) -> Heard:
    """Return the answer that a reply brings, of whom it is said to come from."""
    has_decreased = bool(reply.flags & DECREASED)
    return Heard(name, reply.store, reply.epoch, reply.value, reply.age, at_s, has_decreased)


def who_is_silent(
    pending: Iterable[Pending], cut: Iterable[Member], moved: Iterable[Member]
) -> list[tuple[Member, str]]:
    """Return who has not answered, and why that may be, by name."""
    rows = [(waiting.member, why_silent(waiting)) for waiting in pending]
    rows += [(member, "cut off by age") for member in cut]
    rows += [(member, "handed its counts over meanwhile") for member in moved]
    return sorted(rows, key=lambda row: row[0].name)
