"""The shortest way for the plainest ask: bytes in, the bytes of what follows out.

An ask of a query that a node has not seen is answered and passed on. On the common way (decode,
machine, effects, encode) that costs twice as much. The rule: this way takes only what the common
way would take without a second look, changes exactly what it would change, draws the same dice
and answers the same bytes; everything else it leaves alone. `counter.counting` has the shortest
ways of increments.
"""

from collections.abc import Callable
from typing import Any, Final

import msgpack

from counter.config import AGE_MAX, CHATTER_MAX, DEADLINE_MS_MAX, VISITS_MAX
from counter.crdt import Counters
from counter.messages import (
    DECREASED,
    LEAF,
    RING,
    SKIP_MAX,
    Ask,
    Reply,
    ShortReply,
    ends_of,
    swapped,
)
from counter.relay import Relay, Seen
from tracker.errors import FrameError
from tracker.machine import Endpoint
from tracker.members import View
from tracker.membership import Membership
from tracker.wire import KEY_BYTES_MAX, place

Datagram = tuple[Endpoint, bytes]
"""Where to, and the body."""

# Arrays of as many fields as the message has and its tag, which they begin with. The plainest
# asks end before `skip`, or behind it.
_ASK_BEGINS: Final = (bytes([0x9C, Ask.TAG]), bytes([0x9D, Ask.TAG]))
_ASK_TYPES: Final = [int, bytes, str, bytes, *[int] * 8]
_ASK_TYPES_SKIPPING: Final = [*_ASK_TYPES, list]

_pack = msgpack.Packer(autoreset=True).pack
_unpack = msgpack.unpackb


def asks(
    relay: Relay, counters: Counters, is_own: Callable[[bytes], bool], membership: Membership
) -> Callable[[bytes, float], list[Datagram] | None]:
    """Return the way into this relay: what a datagram's body leads to, None for most kinds.

    Taken is the first ask of a query of somebody else that is well formed, names an ASCII key
    that was never reset, and has nobody late in its arc; by a node that holds nothing of others,
    and not before it is known that this is no old backup.
    """
    own, names, known = counters.own, counters.names, relay.seen
    doubtful = relay.doubtful
    long, short = Reply.TAG, ShortReply.TAG
    me, store, epoch = relay.position, relay.store, relay.epoch

    def answer(body: bytes, now: float) -> list[Datagram] | None:
        if body[:2] not in _ASK_BEGINS or counters.others:
            return None
        values = _plainest(body)
        if values is None:
            return None
        _, query, key, home, _, _, age, _, budget_ms, roll, low, high, _ = values
        if (
            query in known
            or key in doubtful
            or membership.is_doubted
            or now >= relay.mute_at
            or is_own(query)
            or (names and key in names)
        ):
            return None
        try:
            to = place(home)
        except FrameError:
            return None
        value, has_decreased = own.positive.get(key, 0), 0
        if own.negative:
            value = own.value(key)
            has_decreased = DECREASED if own.has_decreased(key) else 0
        seen = relay.remember(query, value, has_decreased, budget_ms, now)
        onward: list[Datagram] = []
        members = membership.view
        if not relay.is_alone(members, low, high):
            seen.arcs = ((low, high),)
            onward = _passed_on(relay, seen, members, values)
        where = None if seen.cut else relay.place_in(members, roll)
        reply: tuple[Any, ...]
        if where is None:
            reply = (
                long, query, me, store, epoch, value, age, has_decreased, seen.cut, (),
                relay.roll_of(members),
            )  # fmt: skip
        elif has_decreased:
            reply = (short, query, where, epoch, value, age, has_decreased)
        else:
            reply = (short, query, where, epoch, value, age)
        onward.insert(0, (to, _pack(reply)))
        return onward

    return answer


def _plainest(body: bytes) -> list[Any] | None:
    """Return the tag and the fields of an ask up to `skip`, if they are as they should be."""
    try:
        values: list[Any] = _unpack(body)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    types = [*map(type, values)]
    if types == _ASK_TYPES:
        values.append(())
    elif types != _ASK_TYPES_SKIPPING:
        return None
    _, query, key, _, chatter, visits, age, age_max, budget_ms, roll, low, high, skip = values
    if (
        len(query) != 16
        or not (key.isascii() and key.isprintable() and 0 < len(key) <= KEY_BYTES_MAX)
        or not (0 < chatter <= CHATTER_MAX and 0 < visits <= VISITS_MAX)
        or not (0 <= age <= AGE_MAX and 0 < age_max <= AGE_MAX)
        or not (0 < budget_ms <= DEADLINE_MS_MAX and 0 <= roll < 2**32)
        or low < 0
        or high < 0
        or (skip and not _are_positions(skip))
    ):
        return None
    values[10], values[11] = low, high = swapped(low), swapped(high) or RING
    return values if low < high else None


def _are_positions(skip: list[Any]) -> bool:
    return len(skip) <= SKIP_MAX and not [p for p in skip if type(p) is not int or p < 0]


def _passed_on(relay: Relay, seen: Seen, view: View, values: list[Any]) -> list[Datagram]:
    """Return the asks of the parts of an arc: the ask that came, with what differs."""
    tag, query, key, home, chatter, visits, age, age_max, budget_ms, roll, low, high, skip = values
    arc = (low, high, tuple(skip), ())
    onward = []
    for part in relay.share_out(seen, view, arc, chatter, visits, age_max - age):
        ask = (
            tag,
            query,
            key,
            home,
            chatter,
            visits,
            age + part.turn,
            age_max,
            budget_ms,
            roll,
            swapped(part.low),
            swapped(part.high),
            *ends_of(part.skip[:-1], part.late, LEAF if part.is_leaf else 0),
        )
        onward.append((part.head.endpoint, _pack(ask)))
    return onward
