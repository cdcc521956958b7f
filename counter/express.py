"""The shortest ways for the two plainest messages: bytes in, the bytes of what follows out.

Most of what a node does is two things: in memory, the next operation of a known client raises a
known key (`increments`); and an ask of a query it has not seen is answered and passed on
(`asks`). On the common way (decode, machine, effects, encode) that costs twice as much. The
rule: these ways take only what the common way would take without a second look, change exactly
what it would change, draw the same dice and answer the same bytes; everything else they leave
alone.
"""

from collections.abc import Callable
from typing import Any, Final

import msgpack

from counter.config import AGE_MAX, CHATTER_MAX, DEADLINE_MS_MAX, VISITS_MAX
from counter.crdt import Counters
from counter.ledger import Ledger
from counter.messages import (
    ACK_MEMORY,
    DECREASED,
    LEAF,
    RING,
    SKIP_MAX,
    Ask,
    Counted,
    Increment,
    Reply,
)
from counter.relay import Relay, Seen
from tracker.errors import FrameError
from tracker.machine import Endpoint
from tracker.members import View
from tracker.membership import Membership
from tracker.wire import AMOUNT_MAX, KEY_BYTES_MAX, SHARE_MAX, endpoint

Datagram = tuple[Endpoint, bytes]
"""Where to, and the body."""

# Arrays of as many fields as the message has and its tag, which they begin with.
_INCREMENT_BEGINS: Final = bytes([0x95, Increment.TAG])
_ASK_BEGINS: Final = bytes([0x9F, Ask.TAG])
_ASK_TYPES: Final = [int, bytes, int, str, list, *[int] * 7, list, list, int]

_pack = msgpack.Packer(autoreset=True).pack
_unpack = msgpack.unpackb


def increments(ledger: Ledger) -> Callable[[bytes], bytes | None]:
    """Return the way into this ledger: what it makes of a frame's body, None for most."""
    totals = ledger.counters.own.positive
    follows = ledger.sessions.follows
    if ledger.durable:
        return lambda body: None

    def count(body: bytes) -> bytes | None:
        if body[:2] != _INCREMENT_BEGINS:
            return None
        try:
            _, session, sequence, (key, amount), ack = _unpack(body)
        except (ValueError, TypeError, msgpack.UnpackException):
            return None
        if (
            type(key) is not str
            or type(amount) is not int
            or not 0 <= amount <= AMOUNT_MAX
            or type(session) is not bytes
            or type(sequence) is not int
            or type(ack) is not int
            or not 0 <= ack <= ACK_MEMORY
            or ledger.is_leaving
            or ledger.is_held
        ):
            return None
        total = totals.get(key)
        if total is None or total + amount > SHARE_MAX:
            return None
        if not follows(session, sequence, (key, amount)):
            return None
        totals[key] = total + amount
        ledger.operations += 1
        reply: bytes = _pack((Counted.TAG, sequence, False, False))
        return reply

    return count


def asks(
    relay: Relay, counters: Counters, is_own: Callable[[bytes], bool], membership: Membership
) -> Callable[[bytes, float], list[Datagram] | None]:
    """Return the way into this relay: what a datagram's body leads to, None for most kinds.

    Taken is the first ask of a query of somebody else that is well formed, names an ASCII key,
    and has nobody late in its arc; and not before it is known that this is no old backup.
    """
    own, known = counters.own, relay.seen
    tag, me, store, epoch = Reply.TAG, relay.position, relay.store, relay.epoch

    def answer(body: bytes, now: float) -> list[Datagram] | None:
        if body[:2] != _ASK_BEGINS:
            return None
        try:
            values = _unpack(body)
        except (ValueError, TypeError, msgpack.UnpackException):
            return None
        if [*map(type, values)] != _ASK_TYPES:
            return None
        (
            _, query, share, key, home, chatter, visits, age, age_max, budget_ms,
            low, high, skip, late, flags,
        ) = values  # fmt: skip
        is_leaf = flags == LEAF
        if (
            len(query) != 16
            or not 0 <= share < 2**32
            or not (key.isascii() and key.isprintable() and 0 < len(key) <= KEY_BYTES_MAX)
            or not (0 < chatter <= CHATTER_MAX and 0 < visits <= VISITS_MAX)
            or not (0 <= age <= AGE_MAX and 0 < age_max <= AGE_MAX)
            or not 0 < budget_ms <= DEADLINE_MS_MAX
            or not (low >= 0 and (high >= 0 if is_leaf else flags == 0 and low < (high or RING)))
            or late
            or (skip and not _are_positions(skip))
            or query in known
            or (membership.is_doubted or is_own(query))
        ):
            return None
        try:
            to = endpoint(home)
        except FrameError:
            return None
        value, has_decreased = own.positive.get(key, 0), 0
        if own.negative or counters.others:
            value = counters.value(key)
            has_decreased = DECREASED if own.has_decreased(key) else 0
        seen = relay.remember(query, value, has_decreased, budget_ms, now)
        onward: list[Datagram] = []
        members = membership.view
        if not is_leaf:
            seen.shares = (share,)
            if not relay.is_alone(members, low, high or RING):
                onward = _passed_on(relay, seen, members, values)
        roll = relay.roll_of(members)
        reply = (tag, query, me, store, epoch, value, age, has_decreased, seen.cut, (), roll)
        onward.insert(0, (to, _pack(reply)))
        return onward

    return answer


def _are_positions(skip: list[Any]) -> bool:
    return len(skip) <= SKIP_MAX and not [p for p in skip if type(p) is not int or p < 0]


def _passed_on(relay: Relay, seen: Seen, view: View, values: list[Any]) -> list[Datagram]:
    """Return the asks of the parts of an arc: the ask that came, with what differs."""
    tag, query, _, key, home, chatter, visits, age, age_max, budget_ms, low, high, skip, *_ = values
    arc = (low, high or RING, tuple(skip), ())
    onward = []
    for part in relay.share_out(seen, view, arc, chatter, visits, age_max - age):
        ask = (
            tag,
            query,
            relay.new_share(),
            key,
            home,
            chatter,
            visits,
            age + part.turn,
            age_max,
            budget_ms,
            part.low,
            part.high & (RING - 1),
            part.skip[:-1],
            part.late,
            LEAF if part.is_leaf else 0,
        )
        onward.append((part.head.endpoint, _pack(ask)))
    return onward
