"""Stores on disks that were handed over, and must never be told by those disks again.

Whoever holds what such a store counted may have summed it up with other shares (`folding`): told
once more by an old backup of its disk, it would count twice. A tombstone tells of it, under its own
name or the one that it derives, only as long as there is room for it; so every holder remembers the
stores themselves, for ever, and hands them on with the counts::

    noted      its giver has said that nobody else holds it (`Sole`): its own disk is empty by now
    finished   the view expected it no more since; or it had been noted in an earlier life
    claimed    the view expects it, and it had finished or lives no more: this node teaches all
               trackers that it was handed over, and they refuse it

The rule: a claim is on its way before this node has acknowledged the news of whom it is about. A
store that is strange to the trackers answers nobody, and acknowledges nothing, before every
expected member has acknowledged it (`tracker.strangers`): nobody has heard it when it is refused.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from counter.messages import RETIRED_PER_PAGE, retired_in
from tracker import wire
from tracker.machine import Emit
from tracker.members import ALIVE, Member, View

RETIRED_MAX: Final = 65_536
"""Stores on disks of which a cluster remembers that they were handed over; the oldest go first."""


class Retired:
    """The stores that one node holds the counts of, and whose disks are to be refused."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._stores: dict[bytes, None] = {}
        # By store: those that may still be seen while they finish.
        self._finishing: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._stores)

    def has(self, store: bytes) -> bool:
        """Whether a store is refused for ever."""
        return store in self._stores

    def note(self, stores: Sequence[bytes], *, finishing: bool = False) -> None:
        """Refuse these for ever, from their end on if they are about to finish."""
        self._stores.update(dict.fromkeys(stores))
        if finishing:
            self._finishing.update(dict.fromkeys(stores))
        while len(self._stores) > RETIRED_MAX:
            oldest = next(iter(self._stores))
            del self._stores[oldest]
            self._finishing.pop(oldest, None)

    # -- those that come back -----------------------------------------------------------------

    def claims(self, view: View, finals: Collection[bytes]) -> list[Member]:
        """Return the records that refuse whoever is expected with a store that was handed over.

        `finals` are the stores in memory that nobody but this node holds.
        """
        claimed = []
        for member in view.ring if self._stores or finals else ():
            store = member.store
            if store not in self._stores and store not in finals:
                continue
            is_finishing = store in self._finishing or store not in self._stores
            if not is_finishing or member.status != ALIVE:
                claimed.append(member.handed_over(self.name))
        for store in [s for s in self._finishing if not _is_expected(view, s)]:
            del self._finishing[store]
        return claimed

    # -- records and pages ---------------------------------------------------------------------

    def restore(self, fields: list[Any]) -> None:
        """Take in one record."""
        self.note(fields[0])

    def records(self) -> list[list[Any]]:
        """Return the fields of the records that say the same."""
        stores = list(self._stores)
        size = RETIRED_PER_PAGE
        return [["retired", stores[at : at + size]] for at in range(0, len(stores), size)]

    def pages(self) -> list[bytes]:
        """Return what goes to an heir, page by page."""
        return [wire.packed(fields) for fields in self.records()]

    def take(self, body: bytes) -> None:
        """Take in a page of a giver that was sealed; raises FrameError."""
        self.note(retired_in(wire.unpacked(body)))


def _is_expected(view: View, store: bytes) -> bool:
    member = view.owner_of(store[:8])
    return member is not None and member.expected and member.store == store


def told(claimed: Sequence[Member]) -> list[Emit]:
    """Return the events that tell of claims."""
    return [Emit("handed-over-already", {"name": m.name, "heir": m.heir}) for m in claimed]
