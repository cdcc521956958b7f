"""What the origin of a query keeps of each answer, and how those are named who gave none.

The rule: nothing is decided here. An answer is kept under its store, of which `Heard.store` has
the first 8 bytes, since the same name or address may be somebody else a moment later.
"""

from collections.abc import Iterable

from counter.pending import Pending, why_silent
from tracker.classes import dataclass
from tracker.members import Member

Held = tuple[tuple[bytes, int, int], ...]
"""What a member holds of others' shares: (first 8 bytes of the store, epoch, value) of each."""


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


def who_is_silent(
    pending: Iterable[Pending], cut: Iterable[Member], moved: Iterable[Member]
) -> list[tuple[Member, str]]:
    """Return who has not answered, and why that may be, by name."""
    rows = [(waiting.member, why_silent(waiting)) for waiting in pending]
    rows += [(member, "cut off by age") for member in cut]
    rows += [(member, "handed its counts over meanwhile") for member in moved]
    return sorted(rows, key=lambda row: row[0].name)
