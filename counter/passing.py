"""How the plainest ask is passed on: its bytes, with what differs for each who gets it.

The rule: the parts are those of `counter.selection.split`, from the same dice, and the bytes those
that the codec would make; a property test holds both to it. What is not plain is left to `split`:
members that are not alive, several visits, an ask too old to travel on. `counter/native/arc.h` does
the same in C.
"""

from typing import Final

import msgpack

from counter.arcs import chunks
from counter.messages import LEAF, SKIP_MAX, ends_of, swapped
from counter.relay import CHILDREN_MAX, Relay, Seen
from counter.selection import rounded
from tracker.classes import dataclass
from tracker.machine import Endpoint
from tracker.members import View

Datagram = tuple[Endpoint, bytes]
"""Where to, and the body."""

_pack = msgpack.Packer(autoreset=True).pack
_AGE_PACKED_END: Final = 0x80
"""A smaller number is one byte, itself."""


@dataclass(slots=True)
class PlainAsk:
    """The fields of an ask without `late` and flags, and its bytes up to its age and behind it.

    Both stretches begin and end where a field does, so what is packed between and behind them is
    again an ask. `before` begins behind the array's head, `after` ends before the arc.
    """

    low: int
    high: int
    skip: tuple[int, ...]
    chatter: int
    visits: int
    age: int
    age_max: int
    before: bytes
    after: bytes


def passed_on(relay: Relay, seen: Seen, view: View, ask: PlainAsk) -> list[Datagram]:
    """Return the asks for the parts of an arc, and remember who is asked or what is cut off."""
    low, high, skip, hops_left = ask.low, ask.high, ask.skip, ask.age_max - ask.age
    age = ask.age + 1
    if ask.visits != 1 or hops_left <= 0 or not view.is_whole or age >= _AGE_PACKED_END:
        return _commonly(relay, seen, view, ask)
    own = relay.position
    if low <= own < high and own not in skip:
        skip = (*skip, own)
    positions, ring = view.positions, view.ring
    begin, end = view.span(low, high)
    if skip:
        places = [place for place in range(begin, end) if positions[place] not in skip]
    else:
        places = list(range(begin, end))
    count = len(places)
    roll_dice = relay.dice.random
    fields = ask.before + bytes([age]) + ask.after
    shorter, longer = b"\x9c" + fields, b"\x9d" + fields
    first, chunk_high, border = 0, low, packed_end(low)
    onward: list[Datagram] = []
    for _, size in chunks(count, ask.chatter, 1, hops_left):
        chunk_low, chunk_border = chunk_high, border
        chosen = ring[places[first + int(roll_dice() * size)]]
        first += size
        if first < count:
            place = places[first]
            chunk_high = rounded(positions[place - 1], positions[place])
        else:
            chunk_high = high
        border = packed_end(chunk_high)
        body = shorter + chunk_border + border
        inside = [pos for pos in skip if chunk_low <= pos < chunk_high] if skip else ()
        if inside:
            body = longer + chunk_border + border + _pack(inside[1 - SKIP_MAX :])
        onward.append(((chosen.host, chosen.port), body))
    room = CHILDREN_MAX - len(seen.children)
    seen.children += tuple([to for to, _ in onward[:room]])
    return onward


def packed_end(end: int) -> bytes:
    """Return an end of an arc as it travels, packed."""
    packed: bytes = _pack(swapped(end))
    return packed


def _commonly(relay: Relay, seen: Seen, view: View, ask: PlainAsk) -> list[Datagram]:
    """Return the same by way of `split`, which takes whatever may come."""
    arc = (ask.low, ask.high, ask.skip, ())
    onward = []
    hops_left = ask.age_max - ask.age
    for part in relay.share_out(seen, view, arc, ask.chatter, ask.visits, hops_left):
        ends = ends_of(part.skip[:-1], part.late, LEAF if part.is_leaf else 0)
        fields = [
            bytes([0x9C + len(ends)]),
            ask.before,
            _pack(ask.age + part.turn),
            ask.after,
            packed_end(part.low),
            packed_end(part.high),
            *map(_pack, ends),
        ]
        onward.append((part.head.endpoint, b"".join(fields)))
    return onward
