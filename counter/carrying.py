"""What a store that was alone has counted of a key, carried along into the epoch that it hears of.

It was counted under the name of an epoch that others had ended before; nobody else holds it, and
no reset was told it (`counter.alone`). So it belongs to the present epoch as well as to any. That
two records can never tell different stories of it, it goes with the record of the epoch itself::

    noted     the later epoch was heard of; nothing of that key is taken until the next step
    carried   the record is on disk: what was counted in the one is counted in the other

The rule: what is carried is what the share holds when the record is settled, or met again in the
log: all that was counted before it, and nothing that came after. Nothing is left where it was, so
to do it again changes nothing.
"""

from collections.abc import Callable, Iterable
from typing import Final

from counter.ledger import Ledger
from counter.messages import name_of

LEAPS_MAX: Final = 8
"""Leaps of one key that wait for the disk; until then it hears of no later epoch."""

Leaps = tuple[tuple[int, int], ...]
"""From which epoch to which, in order."""


class Carrying:
    """The leaps of one node's keys that are not on disk; they stand in `Ledger.moving`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        # Told of each name and the one in its place, where more than the own share is kept.
        self.beside: Callable[[str, str], None] = lambda name, later: None

    def has_room(self, key: str) -> bool:
        """Whether one more leap of a key may be noted."""
        return len(self.of(key)) < LEAPS_MAX

    def of(self, key: str) -> Leaps:
        """Return the leaps of a key that have yet to be on disk."""
        return self._ledger.moving.get(key, ())

    def note(self, key: str, before: int, epoch: int, *, is_first: bool = False) -> None:
        """Note that a key leaps from an epoch to a later one, if this store is alone.

        Or if whoever says so had not heard of this store before, `is_first`: nor had whoever ended
        that epoch, as far as can be known, unless what is counted here is on its way to others.
        """
        ledger = self._ledger
        is_unheard = ledger.is_alone or (is_first and not ledger.is_leaving)
        if is_unheard and before < epoch:
            ledger.moving[key] = (*self.of(key), (before, epoch))

    def settle(self, key: str, leaps: Leaps) -> None:
        """Carry what is counted, now that these leaps are on disk."""
        if not leaps:
            return
        self.carry(key, leaps)
        left = tuple([leap for leap in self.of(key) if leap not in leaps])
        if left:
            self._ledger.moving[key] = left
        else:
            self._ledger.moving.pop(key, None)

    def carry(self, key: str, leaps: Iterable[Iterable[int]]) -> None:
        """Count what the own share holds of a key where these leaps lead."""
        for before, epoch in leaps:
            name, later = name_of(key, before), name_of(key, epoch)
            self._ledger.counters.own.carry(name, later)
            self.beside(name, later)
