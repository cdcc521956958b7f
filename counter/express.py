"""The shortest way for the plainest ask: bytes in, the bytes of what follows out.

An ask of a query that a node has not seen is answered and passed on. On the common way (decode,
machine, effects, encode) that costs three times as much. The rule: this way takes only what the
common way would take without a second look, changes exactly what it would change, draws the same
dice and answers the same bytes; everything else it leaves alone. `counter.hearing` has the
shortest way of answers, `counter.counting` those of increments. `counter/native/asks.c` does the
same in C for the plainest of these.

Most asks are laid out alike, and are read in three pieces. What stands between key and arc is the
same for all asks of one origin that are as old, and is decoded once (`Leg`)::

    9c 01 c4 10 · query · a0 + n · key · c4 06 home chatter visits age age-max cd budget ce roll
        16 bytes       n bytes   20 bytes, the leg
    · ce low · ce high               upper halves of 4 bytes; with one position in `skip` the ask
                                     begins with 9d, and 91 cf · position stands behind
"""

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

import msgpack

from counter.asker import Asker
from counter.config import AGE_MAX, CHATTER_MAX, DEADLINE_MS_MAX, VISITS_MAX
from counter.crdt import Counters
from counter.heads import Heads
from counter.hearing import HEAD as ANSWER
from counter.hearing import answers
from counter.messages import DECREASED, RING, SKIP_MAX, Ask, Reply, ShortReply, swapped
from counter.passing import Datagram, PlainAsk, passed_on
from counter.relay import HOP_MS, Relay, Seen, Stand
from tracker.errors import FrameError
from tracker.machine import Endpoint
from tracker.membership import Membership
from tracker.wire import KEY_BYTES_MAX, place, wire_place

LEGS_MAX: Final = 1_024
"""Legs that are remembered; at the limit all of them are forgotten."""

# Arrays of as many fields as the message has and its tag, which they begin with. The plainest
# asks end before `skip`, or behind it.
ASK: Final = bytes([0x9C, Ask.TAG])
ASK_SKIPPING: Final = bytes([0x9D, Ask.TAG])
_ASK_TYPES: Final = [int, bytes, str, bytes, *[int] * 8]
_ASK_TYPES_SKIPPING: Final = [*_ASK_TYPES, list]

_QUERY_FOLLOWS: Final = b"\xc4\x10"
_QUERY_AT, _KEY_SIZE_AT, _KEY_AT = 4, 20, 21
_SHORT_TEXT, _SHORT_TEXT_END = 0xA0, 0xC0
_LEG_BYTES, _AGE_AT = 20, 10
_END_BYTES: Final = {0xCD: 2, 0xCE: 4}
"""How many bytes most ends of arcs take, by the byte before them."""
_TWO_BYTES_LEAST: Final = 0x100
"""The least budget that takes two bytes; with another one a leg is shorter or longer."""
_ONE_POSITION: Final = 0x91CF
_skip = Struct(">HQ")
_skip_of, _SKIP = _skip.unpack_from, _skip.size

_pack = msgpack.Packer(autoreset=True).pack
_unpack = msgpack.unpackb
_REPLY_BEGINS: Final = ANSWER + _QUERY_FOLLOWS
_AGES: Final[tuple[bytes, ...]] = tuple([_pack(age) for age in range(AGE_MAX + 1)])

Way = Callable[[bytes, Endpoint, float], list[Datagram] | None]
"""A body, its sender and the time, to the datagrams that follow; None: not taken."""

Leg = tuple[Endpoint, int, int, int, int, int, int]
"""Where answers go, chatter, visits, age, max age, budget in ms, roll: how a query came here."""


def ways(
    relay: Relay, counters: Counters, asker: Asker, heads: Heads, membership: Membership
) -> dict[bytes, Way]:
    """Return the shortest ways into one node, by the first two bytes of a body."""
    asked = asks(relay, counters, asker.listener.is_own, membership)
    return {ASK: asked, ASK_SKIPPING: asked, ANSWER: answers(asker.listener, heads)}


def asks(
    relay: Relay, counters: Counters, is_own: Callable[[bytes], bool], membership: Membership
) -> Way:
    """Return the way into this relay, for bodies that begin with ASK or ASK_SKIPPING.

    Taken is the first ask of a query of somebody else that is well formed, names an ASCII key
    that was never reset, and has nobody late in its arc; by a node that holds nothing of others,
    and not before it is known that this is no old backup.
    """
    own, names, known = counters.own, counters.names, relay.seen
    doubtful = relay.doubtful
    legs: dict[bytes, Leg] = {}

    def answer(body: bytes, sender: Endpoint, now: float) -> list[Datagram] | None:
        query = body[_QUERY_AT:_KEY_SIZE_AT]
        if query in known or counters.others or membership.is_doubted or is_own(query):
            return None
        if now >= relay.mute_at:
            return None
        ask = _laid_out(body, legs) or _plainest(body, legs)
        if ask is None:
            return None
        key, leg, low, high, _ = ask
        if key in doubtful or (names and key in names):
            return None
        value, flags = own.positive.get(key, 0), 0
        if own.negative:
            value = own.value(key)
            flags = DECREASED if own.has_decreased(key) else 0
        to, _, _, age, _, budget_ms, roll = leg
        seen = relay.remember(query, value, flags, budget_ms, now)
        view = membership.view
        stand = relay.stand_in(view)
        onward: list[Datagram] = []
        if not stand.before < low <= stand.position < high <= stand.after:
            seen.arcs = ((low, high),)
            onward = passed_on(relay, seen, view, _to_pass_on(query, ask))
        if roll != stand.roll or stand.place is None or seen.cut or flags:
            reply = _pack(_reply(relay, stand, seen, query, leg))
        else:
            reply = _REPLY_BEGINS + query + stand.told + _pack(value) + _AGES[age]
        if not onward:
            return [(to, reply)]
        onward.insert(0, (to, reply))
        return onward

    return answer


def _reply(relay: Relay, stand: Stand, seen: Seen, query: bytes, leg: Leg) -> tuple[Any, ...]:
    """Return the reply that is not the shortest, as it is packed."""
    _, _, _, age, _, _, roll = leg
    if roll == stand.roll and stand.place is not None and not seen.cut:
        return ShortReply.TAG, query, stand.place, relay.epoch, seen.value, age, seen.flags
    own = relay.position, relay.store, relay.epoch
    return Reply.TAG, query, *own, seen.value, age, seen.flags, seen.cut, (), stand.roll


Asked = tuple[str, Leg, int, int, tuple[int, ...]]
"""Of an ask the key, the leg, the arc and `skip`."""


def _laid_out(body: bytes, legs: dict[bytes, Leg]) -> Asked | None:
    """Return an ask that is laid out as most are, on a leg that is known; None for any other."""
    text = body[_KEY_SIZE_AT] if len(body) > _KEY_AT else 0
    leg_at = _KEY_AT + text - _SHORT_TEXT
    arc_at = leg_at + _LEG_BYTES
    leg = legs.get(body[leg_at:arc_at])
    if leg is None or not _SHORT_TEXT < text < _SHORT_TEXT_END or body[2:4] != _QUERY_FOLLOWS:
        return None
    low, high_at = _end_at(body, arc_at)
    high, skip_at = _end_at(body, high_at)
    behind = len(body) - skip_at
    skip: tuple[int, ...] = ()
    if behind or body[0] != ASK[0]:
        if behind != _SKIP or body[0] == ASK[0]:
            return None
        one, where = _skip_of(body, skip_at)
        if one != _ONE_POSITION:
            return None
        skip = (where,)
    try:
        key = body[_KEY_AT:leg_at].decode()
    except UnicodeDecodeError:
        return None
    if not (0 <= low < high and key.isascii() and key.isprintable()):
        return None
    return key, leg, low, high, skip


def _end_at(body: bytes, at: int) -> tuple[int, int]:
    """Return an end of an arc, and where it ends in a body; -1 for one of another size."""
    size = _END_BYTES.get(body[at], 0) if at < len(body) else 0
    if not size:
        return -1, at
    behind = at + 1 + size
    return int.from_bytes(body[at + 1 : behind], "little") << 64 - 8 * size, behind


def _plainest(body: bytes, legs: dict[bytes, Leg]) -> Asked | None:
    """Return an ask that ends with its arc or with `skip`, however it is laid out, and get to
    know its leg; None for what is not well formed."""
    try:
        values: list[Any] = _unpack(body)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    types = [*map(type, values)]
    if types == _ASK_TYPES:
        values.append(())
    elif types != _ASK_TYPES_SKIPPING:
        return None
    _, query, key, home, chatter, visits, age, age_max, budget_ms, roll, low, high, skip = values
    if (
        body[2:4] != _QUERY_FOLLOWS
        or len(query) != 16
        or not (key.isascii() and key.isprintable() and 0 < len(key) <= KEY_BYTES_MAX)
        or not (0 < chatter <= CHATTER_MAX and 0 < visits <= VISITS_MAX)
        or not (0 <= age <= AGE_MAX and 0 < age_max <= AGE_MAX)
        or not (HOP_MS < budget_ms <= DEADLINE_MS_MAX and 0 <= roll < 2**32)
        or low < 0
        or high < 0
        or (skip and not _are_positions(skip))
    ):
        return None
    low, high = swapped(low), swapped(high) or RING
    if low >= high:
        return None
    try:
        to = place(home)
    except FrameError:
        return None
    leg = to, chatter, visits, age, age_max, budget_ms, roll
    leg_at = _KEY_AT + len(key)
    packed = body[leg_at : leg_at + _LEG_BYTES]
    if budget_ms >= _TWO_BYTES_LEAST and packed not in legs and packed == _packed_leg(leg):
        if len(legs) >= LEGS_MAX:
            legs.clear()
        legs[packed] = leg
    return key, leg, low, high, tuple(skip)


def _are_positions(skip: list[Any]) -> bool:
    return len(skip) <= SKIP_MAX and not [p for p in skip if type(p) is not int or p < 0]


def _packed_leg(leg: Leg) -> bytes:
    home, *numbers = leg
    return b"".join(map(_pack, (wire_place(home), *numbers)))


def _to_pass_on(query: bytes, ask: Asked) -> PlainAsk:
    key, leg, low, high, skip = ask
    home, chatter, visits, age, age_max, budget_ms, roll = leg
    before = _pack((Ask.TAG, query, key, wire_place(home), chatter, visits))[1:]
    after = _pack((age_max, budget_ms - HOP_MS, roll))[1:]
    return PlainAsk(low, high, skip, chatter, visits, age, age_max, before, after)
