"""Increments in doubt at both ends: those parked here, and those this node is the home of.

The rule: what happens to an operation is decided in `parking` and `fences` alone; here their
messages, records and streams only find their way.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from counter.fences import FENCES_TAG, Fences
from counter.ledger import Ledger
from counter.leftovers import Leftovers
from counter.messages import Disown, Disowned, Park
from counter.parking import Parking
from tracker.machine import (
    Closed,
    Effect,
    Link,
    Opened,
    Persisted,
    PersistFailed,
    Unreachable,
)
from tracker.members import View
from tracker.wire import unpacked

_TAGS_END = 0x80
"""A small number, as the first field of a record: those of others begin with text or bytes."""


class Failover:
    """One node's part in increments that it is unknown which node counted."""

    def __init__(self, ledger: Ledger, view: View, rng: Random) -> None:
        self.fences = Fences(ledger)
        self.parking = Parking(ledger, view, rng)
        self.leftovers = Leftovers(ledger, self.parking)

    def handlers(self) -> dict[type, Callable[[Any, Any, float], list[Effect]]]:
        """Return what it takes, from clients and from other nodes."""
        return {
            Park: self.parking.park,
            Disown: lambda link, message, now: self.fences.disown(link, message),
            Disowned: self._disowned,
            **self.leftovers.handlers(),
        }

    def _disowned(self, link: Link, message: Disowned, now: float) -> list[Effect]:
        # One that comes after its time says nothing that cannot be asked again.
        return self.parking.disowned(link, message, now) if self.parking.homes.owns(link) else []

    def streamed(self, event: Opened | Unreachable | Closed, now: float) -> list[Effect] | None:
        """Take the life of a stream to a home; None if it is another's."""
        parking = self.parking
        match event:
            case Opened(link, to) if parking.homes.opens(to):
                return parking.opened(link)
            case Unreachable(to) if parking.homes.opens(to):
                return parking.failed(now)
            case Closed(link) if parking.homes.owns(link):
                return parking.failed(now)
        return None

    def settled(self, event: Persisted | PersistFailed) -> list[Effect]:
        """Take the word of the disk, after the ledger."""
        dropped = self.leftovers.settled(event)
        if isinstance(event, Persisted):
            return self.parking.persisted(event) + self.fences.persisted(event) + dropped
        return self.parking.persist_failed(event) + self.fences.persist_failed(event) + dropped

    def restore(self, kind: str, record: bytes) -> bool:
        """Take in a record that was kept; says whether it was one of these."""
        if record[1] >= _TAGS_END:
            return False
        values = unpacked(record)
        if values[0] == FENCES_TAG:
            self.fences.restore(values[1], is_state=kind == "state")
        else:
            self.parking.restore(values)
        return True

    def dump(self) -> list[bytes]:
        """Return the records that a snapshot has to hold, beside those of the ledger."""
        return self.fences.records() + self.parking.records()
