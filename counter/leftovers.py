"""What is parked at one node, as an operator sees it: listed, and given up on his word.

An increment whose home will never say what became of it stays uncertain for good. To count it
here would count it twice, should that home have counted it and come back; so nobody does, and
all that can be decided about it is that it is lost::

    its home belongs to the cluster     refused: it will say, sooner or later
    its home is gone, or has another    given up, on disk before the reply
    store, is known to nobody, or said
    that it cannot tell
    its home's word is being done       refused: ask again

The rule: nothing is given up here without being asked for by its own ticket.
"""

from collections.abc import Callable
from typing import Any

from counter.ledger import Ledger
from counter.line import Line
from counter.messages import (
    AT_WORK,
    HOME_MAY_SAY,
    PARKED_PAIRS_SHOWN,
    PARKED_ROWS_PER_PAGE,
    DropParked,
    ListParked,
    ParkedDropped,
    ParkedList,
    ParkedRow,
)
from counter.parked import BEFORE_START, Entry
from counter.parking import Parking
from tracker.machine import Effect, Link, Persisted, PersistFailed, Send
from tracker.messages import Refused

WRITES_MAX = 1_024
"""Given up and on their way to the disk; past it an operator hears `busy`."""


class Leftovers:
    """An operator's way to the increments parked at one node. Times in seconds."""

    def __init__(self, ledger: Ledger, parking: Parking) -> None:
        self._ledger = ledger
        self._parking = parking
        self._written: Line[tuple[int, Link, int]] = Line()

    def handlers(self) -> dict[type, Callable[[Any, Any, float], list[Effect]]]:
        """Return what it takes from clients."""
        return {ListParked: self._list, DropParked: self._drop}

    def _list(self, link: Link, message: ListParked, now: float) -> list[Effect]:
        rows = [self._row(entry, now) for entry in self._parking.entries()]
        starts = range(0, max(1, len(rows)), PARKED_ROWS_PER_PAGE)
        pages = [tuple(rows[at : at + PARKED_ROWS_PER_PAGE]) for at in starts]
        last = len(pages) - 1
        return [
            Send(link, ParkedList(message.request, number == last, page))
            for number, page in enumerate(pages)
        ]

    def _row(self, entry: Entry, now: float) -> ParkedRow:
        pairs, hope = entry.pairs, self._parking.hope_of(entry)
        age_s = -1.0 if entry.since == BEFORE_START else max(0.0, now - entry.since)
        home, session, sequence = entry.identity
        shown, count = pairs[: 2 * PARKED_PAIRS_SHOWN], len(pairs) // 2
        return (entry.ticket, home, entry.name, session, sequence, shown, count, hope, age_s)

    def _drop(self, link: Link, message: DropParked, now: float) -> list[Effect]:
        request = message.request
        entry = self._parking.ticketed(message.ticket)
        if entry is None:
            return [Send(link, Refused(request, "unknown", "nothing is parked under this ticket"))]
        hope = self._parking.hope_of(entry)
        if hope == HOME_MAY_SAY:
            asked = self._parking.homes.asks_of(entry)
            assert asked is not None
            is_heir = asked.store != entry.identity[0]
            what = f"holds what {entry.name} had counted" if is_heir else "belongs to the cluster"
            text = f"{asked.name} {what}, and will say what became of it"
            return [Send(link, Refused(request, "awaited", text))]
        if hope == AT_WORK or len(self._written) >= WRITES_MAX:
            text = "it is being written at this moment; come back in 1 s"
            return [Send(link, Refused(request, "busy", text))]
        effects = self._parking.give_up(entry)
        if not self._ledger.durable:
            return [*effects, Send(link, ParkedDropped(request))]
        self._written.append((self._ledger.token, link, request))
        return effects

    # -- what the disk says -------------------------------------------------------------------

    def settled(self, event: Persisted | PersistFailed) -> list[Effect]:
        """Tell what was given up, or that it will be parked again after a restart."""
        effects: list[Effect] = []
        while self._written and self._written[0][0] <= event.token:
            _, link, request = self._written.popleft()
            if isinstance(event, Persisted):
                effects.append(Send(link, ParkedDropped(request)))
            else:
                text = f"given up until this node starts again, not on disk: {event.reason}"
                effects.append(Send(link, Refused(request, "disk", text)))
        return effects
