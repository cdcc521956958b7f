"""Stores that a tracker let in though somebody may know better: until everybody was asked.

A store that has lived before, and whose name was another's meanwhile, may have been handed over in
that life: its tombstone, under the name that it derives, may be forgotten by now. Whoever holds its
counts refuses it as soon as he hears of it. And where several starts of one store come to a tracker
that has not heard it, another member may know which of them is the store. The rule: it stays
strange, over all of its starts, until each expected member lives and has acknowledged the news of
it; a member that is not there may be the one who knows.
"""

from typing import Final

from tracker.admission import Admitted
from tracker.members import FIRST_EPOCH, Member
from tracker.table import Table

STRANGERS_MAX: Final = 1_024
"""Strange stores that are remembered; the oldest is forgotten first."""


class Strangers:
    """The stores that are strange to one tracker."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._stores: dict[bytes, None] = {}

    def judge(self, admitted: Admitted, before: Member | None) -> bool:
        """Say whether a store that was let in is strange; `before` is who had its name."""
        member = admitted.member
        has_lived = member.epoch > FIRST_EPOCH
        if has_lived and before is not None and admitted.event == "joined":
            self._note(member.store)
        return member.store in self._stores

    def meet(self, member: Member, known: Member | None) -> None:
        """Take note of a store that comes with counts of its own for a name that is another's."""
        if member.epoch > FIRST_EPOCH and known is None:
            self._note(member.store)

    def contested(self, store: bytes) -> None:
        """Take note of a store of which several starts have come that were not heard before."""
        self._note(store)

    def _note(self, store: bytes) -> None:
        self._stores[store] = None
        if len(self._stores) > STRANGERS_MAX:
            del self._stores[next(iter(self._stores))]

    def may_announce(self, store: bytes, links: int) -> bool:
        """Whether nobody is missing who may know better; `links` members are registered here."""
        return store not in self._stores or self._table.living == self._table.expected == links

    def announced(self, store: bytes) -> None:
        """Take a store for known by everybody."""
        self._stores.pop(store, None)
