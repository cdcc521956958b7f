"""The shortest ways of increments: what was read of a stream in, what is written to it out.

Most of what a node does is one thing: the next operation of a known client raises known keys.
On the common way (decode, machine, effects, encode) that costs three times as much. The rule:
a short way takes only what the common way would take without a second look, changes exactly what
it would change and says the same bytes; everything else it leaves alone. In a batch that is all
keys as soon as one of the node's keys began anew (`counter.epochs`).

One pair comes in a frame that differs from the one before it in little more than its sequence,
and so what stands behind the sequence is not decoded twice: `Endings` remembers what it means::

    length · 95 20 c4 10 · session · sequence · key, amount, ack
    `-- one of _HEADS ---'   16 bytes              `-- an ending --'
"""

import struct
from collections.abc import Callable
from typing import Any, Final
from zlib import crc32

import msgpack

from counter.ledger import Ledger
from counter.messages import ACK_DEFAULT, ACK_DISK, ACK_MEMORY, PAIRS_MAX, Counted, Increment
from tracker.machine import Link, Persist, Persisted
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
_SEQUENCE_BYTES: Final = {_BYTE: 2, _SHORT: 3, _LONG: 5, 0xCF: 9}
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
_RECORD_BEGINS, _ID_BEGINS = b"\x93", b"\xc4\x10"
_ONE_PAIR: Final = b"\x92"
_FALSE, _TRUE = packed(False), packed(True)
_IN_MEMORY, _ON_DISK = _FALSE + _FALSE, _TRUE + _FALSE
"""How a `Counted` ends that was not there before."""

_unpack = msgpack.unpackb

Pair = tuple[str, int]


def counted(sequence: int, *, on_disk: bool) -> bytes:
    """Return the frame of the `Counted` that is said to a new increment."""
    rest = _ON_DISK if on_disk else _IN_MEMORY
    if 0xFF < sequence <= 0xFFFF:
        return _short_reply(_SHORT_REPLY, sequence, rest)
    if 0xFFFF < sequence <= 0xFFFFFFFF:
        return _long_reply(_LONG_REPLY, sequence, rest)
    return framed(packed((Counted.TAG, sequence, on_disk, False)))


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

    __slots__ = ("acks", "known")

    def __init__(self, acks: tuple[int, int]) -> None:
        """Learn only those that ask for one of these acks."""
        self.acks = acks
        self.known: dict[bytes, Pair] = {}

    def learn(self, frame: bytes, ending: bytes) -> Pair | None:
        """Return the pair of a frame, if it is plain and packed as we would pack it."""
        fields = _decoded(frame) if ending.startswith(_ONE_PAIR) else None
        if fields is None or fields[3] not in self.acks:
            return None
        pairs = fields[2]
        key, amount = pairs
        if type(key) is not str or type(amount) is not int or not 0 <= amount <= AMOUNT_MAX:
            return None
        if ending != packed(pairs) + packed(fields[3]):
            return None
        if len(self.known) >= ENDINGS_MAX:
            self.known.clear()
        pair = self.known[ending] = (key, amount)
        return pair


def _decoded(frame: bytes) -> tuple[bytes, int, list[Any], int] | None:
    """Return session, sequence, pairs and ack of an increment, their items not looked at."""
    if frame[4:8] != _BEGINS or int.from_bytes(frame[:4], "big") != len(frame) - 4:
        return None
    try:
        _, session, sequence, pairs, ack = _unpack(frame[4:], max_map_len=0, max_ext_len=0)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    if (
        type(sequence) is not int
        or type(pairs) is not list
        or type(ack) is not int
        or not 0 <= ack <= ACK_DISK
    ):
        return None
    return session, sequence, pairs, ack


def _raise_all(totals: dict[str, int], keys: list[Any], amounts: list[int]) -> bool:
    """Raise every key by its amount, or none where a key is new or a total would be too large."""
    pairs = zip(keys, amounts, strict=True)
    try:
        for key, amount in pairs:
            total = totals[key] + amount
            if total > SHARE_MAX:
                break
            totals[key] = total
        else:
            return True
    except (KeyError, TypeError):
        pass
    # What failed is neither done nor left in `pairs`.
    _lower(totals, keys, amounts, len(keys) - sum(1 for _ in pairs) - 1)
    return False


def _lower(totals: dict[str, int], keys: list[Any], amounts: list[int], count: int) -> None:
    """Take back the first `count` amounts."""
    for key, amount in zip(keys[:count], amounts, strict=False):
        totals[key] -= amount


def _packed_pairs(
    frame: bytes, pairs: list[Any], keys: list[Any], amounts: list[Any]
) -> bytes | None:
    """Return the pairs of a batch as we pack them; None where an amount is none, or below 0."""
    try:
        letters = len("".join(keys))
    except TypeError:
        return None
    fields = len(pairs)
    begin = _SEQUENCE_AT + _SEQUENCE_BYTES.get(frame[_SEQUENCE_AT], 1)
    if begin + (1 if fields < 16 else 3) + fields + letters + 1 == len(frame):
        # One byte for each key, one for each amount, and the letters: nothing is shorter, so
        # that is how we would pack them, and it need not be done again. An amount of one byte
        # is one from 0 to 127 unless `bytes` refuses it, or it is a bool, whose byte occurs in
        # nothing else of all this.
        try:
            bytes(amounts)
        except (TypeError, ValueError):
            return None
        if frame.find(_FALSE, begin + 3) >= 0 or frame.find(_TRUE, begin + 3) >= 0:
            return None
        return frame[begin:-1]
    if {*map(type, amounts)} != {int} or min(amounts) < 0 or max(amounts) > AMOUNT_MAX:
        return None
    return packed(pairs)


def increments(ledger: Ledger, keep: Callable[[Persist], None]) -> Way:
    """Return the way into this ledger: what it makes of a frame, None for most.

    On disk it makes no reply but a record, which is handed to `keep`; see `acknowledgements`.
    """
    return _on_disk(ledger, keep) if ledger.durable else _in_memory(ledger)


def _in_memory(ledger: Ledger) -> Way:
    totals, names = ledger.counters.own.positive, ledger.counters.names
    follows = ledger.sessions.follows
    batches = _batches_in_memory(ledger)
    endings = Endings((ACK_DEFAULT, ACK_MEMORY))
    known, begins_with = endings.known, _HEADS.get
    quick = _SHORT

    def count(link: Link, frame: bytes) -> bytes | None:
        begins = begins_with(len(frame))
        if begins is None:
            return batches(link, frame)
        head, session, width, sequence = _fields(frame)
        if head != begins:
            return None
        if width == quick:
            ending = frame[_SEQUENCE_AT + 3 :]
        else:
            sequence, ending = _sequence_in(frame, width)
        pair = known.get(ending) or endings.learn(frame, ending)
        if pair is None:
            return batches(link, frame)
        if ledger.is_leaving or ledger.is_held:
            return None
        key, amount = pair
        name = names.get(key, key) if names else key
        total = totals.get(name)
        if total is None or total + amount > SHARE_MAX or not follows(session, sequence, pair):
            return None
        totals[name] = total + amount
        ledger.operations += 1
        if width == quick and sequence > 0xFF:
            return _short_reply(_SHORT_REPLY, sequence, _IN_MEMORY)
        return counted(sequence, on_disk=False)

    return count


def _batches_in_memory(ledger: Ledger) -> Way:
    totals, names = ledger.counters.own.positive, ledger.counters.names
    follows = ledger.sessions.follows

    def count(link: Link, frame: bytes) -> bytes | None:
        fields = _decoded(frame)
        if fields is None or names or ledger.is_leaving or ledger.is_held:
            return None
        session, sequence, pairs, ack = fields
        if ack > ACK_MEMORY or not 4 <= len(pairs) <= 2 * PAIRS_MAX or len(pairs) % 2:
            return None
        keys, amounts = pairs[::2], pairs[1::2]
        body = _packed_pairs(frame, pairs, keys, amounts)
        if body is None or not _raise_all(totals, keys, amounts):
            return None
        if not follows(session, sequence, crc32(body)):
            _lower(totals, keys, amounts, len(keys))
            return None
        ledger.operations += 1
        return counted(sequence, on_disk=False)

    return count


def _on_disk(ledger: Ledger, keep: Callable[[Persist], None]) -> Way:
    totals, names = ledger.counters.own.positive, ledger.counters.names
    batches = _batches_on_disk(ledger, keep)
    endings = Endings((ACK_DEFAULT, ACK_DISK))
    known, begins_with = endings.known, _HEADS.get

    def count(link: Link, frame: bytes) -> bytes | None:
        begins = begins_with(len(frame))
        if begins is None:
            return batches(link, frame)
        head, session, width, sequence = _fields(frame)
        if head != begins:
            return None
        if width == _SHORT:
            ending = frame[_SEQUENCE_AT + 3 :]
        else:
            sequence, ending = _sequence_in(frame, width)
        pair = known.get(ending) or endings.learn(frame, ending)
        if pair is None:
            return batches(link, frame)
        if pair[0] not in totals or (names and pair[0] in names):
            return None
        # What stands before the ack is, but for its first bytes, what `record_of` would pack.
        record = _RECORD_BEGINS + frame[6:-1]
        message = Increment(session, sequence, pair, ACK_DISK)
        persist = ledger.followed(link, message, pair, record)
        if persist is None:
            return None
        keep(persist)
        return b""

    return count


def _batches_on_disk(ledger: Ledger, keep: Callable[[Persist], None]) -> Way:
    totals, names = ledger.counters.own.positive, ledger.counters.names

    def count(link: Link, frame: bytes) -> bytes | None:
        fields = _decoded(frame)
        if fields is None or names:
            return None
        session, sequence, pairs, ack = fields
        if ack == ACK_MEMORY or not 4 <= len(pairs) <= 2 * PAIRS_MAX or len(pairs) % 2:
            return None
        keys = pairs[::2]
        body = _packed_pairs(frame, pairs, keys, pairs[1::2])
        if body is None or not totals.keys() >= set(keys):
            return None
        record = b"".join((_RECORD_BEGINS, _ID_BEGINS, session, packed(sequence), body))
        message = Increment(session, sequence, tuple(pairs), ack)
        persist = ledger.followed(link, message, crc32(body), record)
        if persist is None:
            return None
        keep(persist)
        return b""

    return count


def acknowledgements(ledger: Ledger) -> Callable[[Persisted], list[tuple[Link, bytes]] | None]:
    """Return what follows from the disk's word: frames and where to; None for what is not plain."""

    def acknowledge(event: Persisted) -> list[tuple[Link, bytes]] | None:
        told = ledger.counted(event.token)
        if told is None:
            return None
        return [(link, counted(sequence, on_disk=True)) for link, sequence in told]

    return acknowledge
