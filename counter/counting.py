"""The shortest ways of increments: what was read of a stream in, what is written to it out.

Most of what a node does is one thing: the next operation of a known client raises known keys.
On the common way (decode, machine, effects, encode) that costs three times as much. The rule:
a short way takes only what the common way would take without a second look, changes exactly what
it would change and says the same bytes; everything else it leaves alone.

One pair comes in a frame that differs from the one before it in little more than its sequence,
and so what stands behind the sequence is not decoded twice: `Endings` remembers what it means::

    length · 95 20 c4 10 · session · sequence · key, amount, ack
    `-- one of _HEADS ---'   16 bytes              `-- an ending --'
"""

import struct
from collections.abc import Callable
from typing import Final

import msgpack

from counter.ledger import Ledger
from counter.messages import ACK_MEMORY, Counted, Increment
from tracker.machine import Link
from tracker.wire import AMOUNT_MAX, KEY_BYTES_MAX, SHARE_MAX, framed, packed

Way = Callable[[Link, bytes], bytes | None]
"""What was read, to what is written; None: not taken."""

ENDINGS_MAX: Final = 4_096
"""How many endings of a frame are remembered; at the limit all of them are forgotten."""

_BEGINS: Final = bytes([0x95, Increment.TAG, 0xC4, 16])
_SEQUENCE_AT: Final = 4 + len(_BEGINS) + 16
_BYTE, _SHORT, _LONG = 0xCC, 0xCD, 0xCE
# An ending has at least 4 bytes (one pair of a key of one letter, the ack), and at most these.
_SHORTEST: Final = _SEQUENCE_AT + 1 + 4
_LONGEST: Final = _SEQUENCE_AT + 5 + 1 + 3 + KEY_BYTES_MAX + 9 + 1
_HEADS: Final = {
    size: (size - 4).to_bytes(4, "big") + _BEGINS for size in range(_SHORTEST, _LONGEST + 1)
}
"""By the size of a frame, what it begins with."""

_fields = struct.Struct(">8s16sBH").unpack_from
"""The head, the session, and of the sequence what it is if it has two bytes, as most often."""

_short_reply = struct.Struct(">7sH2s").pack
_long_reply = struct.Struct(">7sI2s").pack
_SHORT_REPLY: Final = bytes([0, 0, 0, 7, 0x94, Counted.TAG, _SHORT])
_LONG_REPLY: Final = bytes([0, 0, 0, 9, 0x94, Counted.TAG, _LONG])
_NEW: Final = packed(False) * 2
"""A `Counted` that is not on disk and was not there before ends like this."""

Pair = tuple[str, int]


def reply_of(sequence: int) -> bytes:
    """Return the frame of the `Counted` that a node in memory says to a new increment."""
    if 0xFF < sequence <= 0xFFFF:
        return _short_reply(_SHORT_REPLY, sequence, _NEW)
    if 0xFFFF < sequence <= 0xFFFFFFFF:
        return _long_reply(_LONG_REPLY, sequence, _NEW)
    return framed(packed((Counted.TAG, sequence, False, False)))


def _sequence_in(frame: bytes, width: int) -> tuple[int, bytes]:
    """Return the sequence that is not of two bytes, and the ending; 0 for what is none."""
    if width == _LONG:
        begin = _SEQUENCE_AT + 5
        return int.from_bytes(frame[_SEQUENCE_AT + 1 : begin], "big"), frame[begin:]
    if width == _BYTE:
        return frame[_SEQUENCE_AT + 1], frame[_SEQUENCE_AT + 2 :]
    return (width, frame[_SEQUENCE_AT + 1 :]) if width < 0x80 else (0, b"")


class Endings:
    """What stood behind the sequence of increments of one pair, and what it means."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[bytes, Pair] = {}

    def learn(self, ending: bytes) -> Pair | None:
        """Return the pair of an ending that asks for no more than memory; None for others."""
        unpacker = msgpack.Unpacker(max_buffer_size=_LONGEST, max_map_len=0, max_ext_len=0)
        unpacker.feed(ending)
        try:
            pairs, ack = unpacker.unpack(), unpacker.unpack()
        except (ValueError, TypeError, msgpack.UnpackException):
            return None
        if unpacker.tell() != len(ending) or type(pairs) is not list or len(pairs) != 2:
            return None
        key, amount = pairs
        if (
            type(key) is not str
            or type(amount) is not int
            or not 0 <= amount <= AMOUNT_MAX
            or type(ack) is not int
            or not 0 <= ack <= ACK_MEMORY
        ):
            return None
        if len(self.known) >= ENDINGS_MAX:
            self.known.clear()
        pair = self.known[ending] = (key, amount)
        return pair


def increments(ledger: Ledger) -> Way:
    """Return the way into this ledger: what it makes of a frame, None for most."""
    if ledger.durable:
        return lambda link, frame: None
    totals = ledger.counters.own.positive
    follows = ledger.sessions.follows
    endings = Endings()
    known, head_of = endings.known, _HEADS.get

    def count(link: Link, frame: bytes) -> bytes | None:
        begins = head_of(len(frame))
        if begins is None:
            return None
        head, session, width, sequence = _fields(frame)
        if head != begins:
            return None
        if width == _SHORT:
            ending = frame[_SEQUENCE_AT + 3 :]
        else:
            sequence, ending = _sequence_in(frame, width)
        pair = known.get(ending) or endings.learn(ending)
        if pair is None or ledger.is_leaving or ledger.is_held:
            return None
        key, amount = pair
        total = totals.get(key)
        if total is None or total + amount > SHARE_MAX:
            return None
        if not follows(session, sequence, pair):
            return None
        totals[key] = total + amount
        ledger.operations += 1
        if width == _SHORT and sequence > 0xFF:
            return _short_reply(_SHORT_REPLY, sequence, _NEW)
        return reply_of(sequence)

    return count
