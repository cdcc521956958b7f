"""Members that speak another version of gossip, as there are while a cluster is upgraded.

    a datagram of theirs came            told once
    an ask came back from them unread    the same; the query waits for them no longer and says why

The rule: nothing that another version says is read. Whoever speaks it stays expected, so that no
answer without it is complete.
"""

from collections.abc import Mapping
from typing import Final

from counter.messages import Ask
from counter.rounds import Round
from tracker.config import shown_endpoint
from tracker.machine import Effect, Emit, Foreign
from tracker.members import View, position
from tracker.wire import GOSSIP_VERSION

FOREIGNERS_MAX: Final = 256
"""Starts of other members that are told of, one line each; of more nothing is said."""


class Foreigners:
    """Whom one node has met that speaks another version."""

    def __init__(self) -> None:
        self._told: set[tuple[bytes, int]] = set()

    def met(self, met: Foreign, view: View, running: Mapping[bytes, Round]) -> list[Effect]:
        """Note it for the query that asked, and say so once for each start of a listed member."""
        member = view.listed_at(met.peer)
        if member is None:
            return []
        asked = running.get(met.message.query) if isinstance(met.message, Ask) else None
        pending = asked.query.pending.get(position(member.name)) if asked is not None else None
        if pending is not None and pending.member.endpoint == met.peer:
            pending.speaks = met.version
        start = (member.store, member.epoch)
        if start in self._told or len(self._told) >= FOREIGNERS_MAX:
            return []
        self._told.add(start)
        details = {
            "name": member.name,
            "address": shown_endpoint(met.peer),
            "gossip": met.version,
            "here": GOSSIP_VERSION,
        }
        return [Emit("other-gossip", details)]
