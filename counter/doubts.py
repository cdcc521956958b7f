"""What queries are told of increments in doubt: how much a key may still lose or gain.

Only a node that holds parked increments of the asked key says so, with `Uncertain` around its
reply, so that the plain reply costs nothing. The rule: what is uncertain is told as it was when
the value was read, at first sight of the query; both are one truth, and never added up.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from counter.messages import (
    GOSSIP,
    Amounts,
    Ask,
    Reply,
    ShortReply,
    Traced,
    Uncertain,
    key_in,
)
from counter.parking import Parking
from counter.relay import Relay
from tracker.errors import FrameError
from tracker.machine import Effect, Endpoint, Send

Handler = Callable[[Any, Any, float], list[Effect]]

DOUBTS_MAX: Final = 1_024
"""Queries of others whose doubts are remembered for repeated asks."""


class Origin(Protocol):
    """The origin's side of the same node."""

    uncertain: Callable[[str], Amounts]

    def is_own(self, query: bytes) -> bool:
        """Whether this node asks it."""

    def whole(self, short: ShortReply) -> Reply | None:
        """Return the reply that a short one stands for; None for a query that is not its."""

    def doubt(self, query: bytes, position: int, amounts: Amounts) -> None:
        """Take in what a member holds in doubt for a query of this node."""


class Doubts:
    """The doubts that one node tells and hears of."""

    def __init__(
        self,
        parking: Parking,
        origin: Origin,
        relay: Relay,
        receive: Handler,
    ) -> None:
        origin.uncertain = lambda key: parking.uncertain(key_in(key))
        relay.doubtful = parking.amounts
        self._parking = parking
        self._seen = relay.seen
        self._origin = origin
        self._receive = receive
        self._by_query: dict[bytes, Amounts] = {}

    def __len__(self) -> int:
        return len(self._by_query)

    def handlers(self) -> dict[type, Handler]:
        """Return what it takes from other nodes."""
        return {Uncertain: self._heard}

    def telling(self, handler: Handler) -> Handler:
        """Return a handler of asks whose reply says what is in doubt here, if anything is."""

        def take(sender: Any, ask: Any, now: float) -> list[Effect]:
            is_first = ask.query not in self._seen
            effects = handler(sender, ask, now)
            is_sighted = is_first and ask.query in self._seen
            return self._told(ask, effects, is_sighted=is_sighted)

        return take

    def _told(self, ask: Ask, effects: list[Effect], *, is_sighted: bool) -> list[Effect]:
        known = self._by_query
        key = key_in(ask.key)
        if is_sighted and key in self._parking.amounts:
            if len(known) >= DOUBTS_MAX:
                del known[next(iter(known))]
            known[ask.query] = self._parking.uncertain(key)
        amounts = known.get(ask.query)
        if amounts is None:
            return effects
        told: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Reply | ShortReply | Traced):
                effect = Send(effect.to, Uncertain(GOSSIP.encode(effect.message), *amounts))
            told.append(effect)
        return told

    def _heard(self, sender: Endpoint, message: Uncertain, now: float) -> list[Effect]:
        try:
            outer = GOSSIP.decode(message.reply)
            reply = GOSSIP.decode(outer.reply) if isinstance(outer, Traced) else outer
        except FrameError:
            return []
        if not isinstance(reply, Reply | ShortReply):
            return []
        origin, amounts = self._origin, (message.minus, message.plus, message.count)
        if origin.is_own(reply.query):
            whole = origin.whole(reply) if isinstance(reply, ShortReply) else reply
            if whole is not None:
                origin.doubt(whole.query, whole.position, amounts)
        return self._receive(sender, outer, now)
