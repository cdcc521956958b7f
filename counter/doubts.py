"""What queries are told of increments in doubt: how much a key may still lose or gain.

Only a node that holds parked increments of what is asked for says so, with `Uncertain` or
`UncertainMany` around its reply, so that the plain reply costs nothing. Who comes to be the head
of a cell tells it in the batches, beside the answers.

The rule: what is uncertain is told as it was at first sight of the query, when the value is read
or before, and as often as the value is told; both are one truth, and never added up.
"""

from collections.abc import Callable
from typing import Any, Protocol

from counter.doubtful import Doubted
from counter.messages import (
    GOSSIP,
    WORKING,
    Ask,
    Delegate,
    Reply,
    ReplyMany,
    ShortReply,
    Traced,
    Uncertain,
    UncertainMany,
)
from counter.parking import Parking
from counter.relay import Relay
from counter.tables import Tables
from tracker.errors import FrameError
from tracker.machine import Effect, Effects, Endpoint, Send

Handler = Callable[[Any, Any, float], list[Effect]]


class Origin(Protocol):
    """The origin's side of the same node, or that of the head of a cell."""

    doubted: Callable[[Any], Doubted | None]

    def offer(self, query: bytes, told: Doubted | None, now: float) -> None:
        """Take what the next reply to a query says is in doubt, if the query is its."""


class Doubts:
    """The doubts that one node tells and hears of."""

    def __init__(
        self,
        parking: Parking,
        relay: Relay,
        origin: Origin,
        heads: Origin,
        tables: Tables,
        receive: Handler,
    ) -> None:
        self._known = parking.in_doubt
        self._seen = relay.seen
        # Each is known of a query that was seen, or was until lately.
        self.doubts_max = 2 * relay.config.queries_max
        self._origin = origin
        self._heads = heads
        self._receive = receive
        self._by_query: dict[bytes, Doubted] = {}
        origin.doubted = self._known.about
        heads.doubted = self._by_query.get
        relay.doubtful = self._known.by_key
        tables.reserved_bytes = self._reserved_bytes

    def __len__(self) -> int:
        return len(self._by_query)

    def handlers(self) -> dict[type, Handler]:
        """Return what it takes from other nodes."""
        return {Uncertain: self._heard, UncertainMany: self._heard_many}

    # -- telling ------------------------------------------------------------------------------

    def telling(self, handler: Handler) -> Handler:
        """Return a handler of asks whose reply says what is in doubt here, if anything is."""
        seen, known = self._seen, self._by_query

        def take(sender: Any, ask: Ask | Delegate, now: float) -> Effects:
            query = ask.query
            is_first = query not in seen
            if is_first and self._known.by_key:
                self._note(query, ask.key, now)
            effects = handler(sender, ask, now)
            doubted = known.get(query)
            if doubted is None:
                return effects
            if query not in seen:
                # It was not answered.
                del known[query]
            return [_wrapped(effect, doubted) for effect in effects]

        return take

    def told(self, effects: list[Effect]) -> list[Effect]:
        """Return effects whose answers to questions say what is in doubt here, if anything is."""
        known = self._by_query
        return [_wrapped(effect, known.get(_query_in(effect))) for effect in effects]

    def _note(self, query: bytes, text: str, now: float) -> None:
        """Remember what is in doubt as a query is first seen."""
        doubted = self._known.about(text, now)
        if doubted is None:
            return
        known = self._by_query
        if len(known) >= self.doubts_max:
            for over in [other for other in known if other not in self._seen]:
                del known[over]
        known[query] = doubted.fitted()

    def _reserved_bytes(self, query: bytes) -> int:
        doubted = self._by_query.get(query)
        return 0 if doubted is None else doubted.room_bytes

    # -- hearing ------------------------------------------------------------------------------

    def _heard(self, sender: Endpoint, message: Uncertain, now: float) -> list[Effect]:
        try:
            outer = GOSSIP.decode(message.reply)
            reply = GOSSIP.decode(outer.reply) if isinstance(outer, Traced) else outer
        except FrameError:
            return []
        if not isinstance(reply, Reply | ShortReply):
            return []
        amounts = message.minus, message.plus, message.count
        told = Doubted(*amounts, (), faded=message.faded)
        return self._heard_with(told, reply.query, sender, outer, now)

    def _heard_many(self, sender: Endpoint, message: UncertainMany, now: float) -> list[Effect]:
        try:
            reply = GOSSIP.decode(message.reply)
        except FrameError:
            return []
        if not isinstance(reply, ReplyMany):
            return []
        amounts = message.minus, message.plus, message.count
        rests = message.left_out, message.rest_minus, message.rest_plus
        told = Doubted(*amounts, message.rows, *rests, message.faded)
        return self._heard_with(told, reply.query, sender, reply, now)

    def _heard_with(
        self, told: Doubted, query: bytes, sender: Endpoint, message: Any, now: float
    ) -> list[Effect]:
        """Hear a reply: what it says is in doubt counts if the reply does, and only then."""
        for side in (self._heads, self._origin):
            side.offer(query, told, now)
        effects = self._receive(sender, message, now)
        for side in (self._heads, self._origin):
            side.offer(query, None, now)
        return effects


def _query_in(effect: Effect) -> bytes:
    """Return the query that an effect answers with what is found of many keys, if it does."""
    message = effect.message if isinstance(effect, Send) else None
    return message.query if isinstance(message, ReplyMany) else b""


def _wrapped(effect: Effect, doubted: Doubted | None) -> Effect:
    """Return a reply with what is in doubt around it; any other effect as it is."""
    match effect:
        case Send(to, Reply() | ShortReply() | Traced() as plain) if doubted is not None:
            return Send(to, Uncertain(GOSSIP.encode(plain), *doubted.amounts, doubted.faded))
        case Send(to, ReplyMany(flags=flags) as plain) if doubted and not flags & WORKING:
            return Send(to, UncertainMany(GOSSIP.encode(plain), *doubted))
    return effect
