"""What there is to one parked increment: its identity, its state, and the record that keeps it.

The rule: nothing here decides; `parking` alone moves an increment from state to state.
"""

from typing import Any, Final

from tracker.machine import Link
from tracker.wire import packed

PARKED_TAG, SETTLED_TAG = 2, 3
"""What records begin with: an increment is parked, and is so no longer."""

WRITING, WAITING, SETTLING, STUCK = range(4)

BEFORE_START: Final = -1.0
"""When an increment was parked that was there already when the node started."""

Identity = tuple[bytes, bytes, int]
"""Home, session, sequence."""

Life = tuple[bytes, bytes]
"""A store, and the boot of one of its lives; empty where that is not known."""


class Entry:
    """One parked increment."""

    __slots__ = ("askers", "identity", "life", "name", "pairs", "since", "state", "ticket")

    def __init__(
        self,
        ticket: int,
        identity: Identity,
        pairs: tuple[Any, ...],
        name: str,
        life: bytes = b"",
    ) -> None:
        self.ticket = ticket
        self.identity = identity
        self.pairs = pairs
        self.name = name
        # The boot of the life of its home that it was first sent to, if that was told.
        self.life = life
        self.state = WAITING
        self.since = BEFORE_START
        self.askers: list[tuple[Link, int, bool]] = []

    @property
    def home(self) -> Life:
        """The store it was first sent to, and in which life."""
        return self.identity[0], self.life


def record_of(entry: Entry) -> bytes:
    """Return the record that keeps a parked increment."""
    life = (entry.life,) if entry.life else ()
    return packed((PARKED_TAG, entry.ticket, *entry.identity, entry.pairs, entry.name, *life))
