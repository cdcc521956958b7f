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
from counter.messages import (
    ACK_DEFAULT,
    ACK_DISK,
    ACK_MEMORY,
    NUL,
    PAIRS_MAX,
    Counted,
    Increment,
)
from tracker.machine import Link, Persist, Persisted
from tracker.wire import AMOUNT_MAX, FRAME_BYTES_MAX, KEY_BYTES_MAX, framed, packed

Way = Callable[[Link, bytes], bytes | None]
"""What was read, to what is written; None: not taken."""

Acknowledge = Callable[[Persisted], list[tuple[Link, bytes]] | None]
"""The disk's word, to frames and where to; None: not taken."""

_Batch = Callable[[Link, bytes, int, bytes], bytes | None]
"""The same for many pairs: with session and sequence, and what stands behind them."""

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
_RECORD_BEGINS, _ID_BEGINS = b"\x93", b"\xc4\x10"
_ONE_PAIR: Final = b"\x92"
_ONE, _FALSE, _TRUE = packed(1), packed(False), packed(True)
_IN_MEMORY, _ON_DISK = _FALSE + _FALSE, _TRUE + _FALSE
"""How a `Counted` ends that was not there before."""
_MEMORY_ACKS: Final = (ACK_DEFAULT, ACK_MEMORY)
_DISK_ACKS: Final = (ACK_DEFAULT, ACK_DISK)
_FOR_MEMORY: Final = tuple(map(packed, _MEMORY_ACKS))
_FOR_DISK: Final = tuple(map(packed, _DISK_ACKS))
"""How a batch ends that each way takes."""

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


def _sequence_in(frame: bytes, width: int) -> tuple[int, int]:
    """Return the sequence that is not of two bytes, and where it ends; 0 for what is none."""
    if width == _LONG:
        end = _SEQUENCE_AT + 5
        return int.from_bytes(frame[_SEQUENCE_AT + 1 : end], "big"), end
    if width == _BYTE:
        return frame[_SEQUENCE_AT + 1], _SEQUENCE_AT + 2
    return (width, _SEQUENCE_AT + 1) if width < 0x80 else (0, len(frame))


class Endings:
    """What stood behind the sequence of increments of one pair, and what it means."""

    __slots__ = ("acks", "known")

    def __init__(self, acks: tuple[int, int]) -> None:
        """Learn only those that ask for one of these acks."""
        self.acks = acks
        self.known: dict[bytes, Pair] = {}

    def learn(self, ending: bytes) -> Pair | None:
        """Return the pair of an ending, if it is plain and packed as we would pack it."""
        if not ending.startswith(_ONE_PAIR) or ending[-1] not in self.acks:
            return None
        try:
            key, amount = _unpack(ending[:-1], max_map_len=0, max_ext_len=0)
        except (ValueError, TypeError, msgpack.UnpackException):
            return None
        if type(key) is not str or type(amount) is not int or not 0 <= amount <= AMOUNT_MAX:
            return None
        if NUL in key or ending[:-1] != packed((key, amount)):
            # A key with NUL may be a name of an epoch, which the node holds and nobody sends.
            return None
        if len(self.known) >= ENDINGS_MAX:
            self.known.clear()
        pair = self.known[ending] = (key, amount)
        return pair


_Pairs = tuple[list[str], list[int] | None, bytes, list[Any]]
"""The keys of a batch, its amounts (None: each is 1), both as they were packed, and in turns."""


def _pairs_in(ending: bytes) -> _Pairs | None:
    """Return the pairs that stand behind a sequence; None for what is no batch, or not plain.

    Nothing is left to look at but whether the node holds each key. That a key has no letter
    that none may have is known where it does, but for the names of epochs, which nobody may
    send (`counter.epochs`).
    """
    body = ending[:-1]
    try:
        pairs = _unpack(body, max_map_len=0, max_ext_len=0)
        keys = pairs[::2]
        letters = "".join(keys)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    fields = len(pairs)
    if not 4 <= fields <= 2 * PAIRS_MAX or fields % 2 or NUL in letters:
        return None
    first = 1 if fields < 16 else 3
    if first + fields + len(letters) != len(body):
        amounts = _amounts_of(pairs, body)
    elif body.count(_ONE, first) == len(keys):
        return keys, None, body, pairs
    else:
        amounts = _short_amounts_of(pairs, body, first)
    return None if amounts is None else (keys, amounts, body, pairs)


def _short_amounts_of(pairs: list[Any], body: bytes, first: int) -> list[int] | None:
    """Return the amounts where each key has one byte and its letters, each amount one byte.

    Nothing is shorter, so that is how we would pack them. An amount of one byte is one from 0
    to 127 unless `bytes` refuses it, or it is a bool, whose byte occurs in nothing else here.
    """
    amounts = pairs[1::2]
    try:
        bytes(amounts)
    except (TypeError, ValueError):
        return None
    if body.find(_FALSE, first) >= 0 or body.find(_TRUE, first) >= 0:
        return None
    return amounts


def _amounts_of(pairs: list[Any], body: bytes) -> list[int] | None:
    """Return the amounts if each is one, none is below 0, and all is packed as we pack it."""
    amounts = pairs[1::2]
    if {*map(type, amounts)} != {int} or min(amounts) < 0 or max(amounts) > AMOUNT_MAX:
        return None
    return amounts if packed(pairs) == body else None


def endings_of(ledger: Ledger) -> Endings:
    """Return what the way into this ledger begins to learn from: nothing."""
    return Endings(_DISK_ACKS if ledger.durable else _MEMORY_ACKS)


def increments(
    ledger: Ledger, keep: Callable[[Persist], None], endings: Endings | None = None
) -> Way:
    """Return the way into this ledger: what it makes of a frame, None for most.

    On disk it makes no reply but a record, which is handed to `keep`; see `acknowledgements`.
    `counter/native/counting.c` does the same for the plainest frames, with the same `endings`.
    """
    endings = endings or endings_of(ledger)
    return _on_disk(ledger, keep, endings) if ledger.durable else _in_memory(ledger, endings)


def _in_memory(ledger: Ledger, endings: Endings) -> Way:
    own, names = ledger.counters.own, ledger.counters.names
    totals, follows = own.positive, ledger.sessions.follows
    batch = _batch_in_memory(ledger)
    known, begins_with = endings.known, _HEADS.get
    quick = _SHORT

    def count(link: Link, frame: bytes) -> bytes | None:
        begins = begins_with(len(frame))
        if begins is None:
            return _longer(link, frame, batch)
        head, session, width, sequence = _fields(frame)
        if head != begins:
            return None
        if width == quick:
            ending = frame[_SEQUENCE_AT + 3 :]
        else:
            sequence, begin = _sequence_in(frame, width)
            ending = frame[begin:]
        pair = known.get(ending) or endings.learn(ending)
        if pair is None:
            return batch(link, session, sequence, ending)
        if ledger.is_leaving or ledger.is_held:
            return None
        key, amount = pair
        name = names.get(key, key) if names else key
        total = totals.get(name)
        if total is None or total + amount > own.ceiling or not follows(session, sequence, pair):
            return None
        totals[name] = total + amount
        ledger.operations += 1
        if width == quick and sequence > 0xFF:
            return _short_reply(_SHORT_REPLY, sequence, _IN_MEMORY)
        return counted(sequence, on_disk=False)

    return count


def _longer(link: Link, frame: bytes, batch: _Batch) -> bytes | None:
    """Take a frame that is too long, or too short, for one pair."""
    if not _LONGEST < len(frame) <= 4 + FRAME_BYTES_MAX:
        return None
    head, session, width, sequence = _fields(frame)
    if head != (len(frame) - 4).to_bytes(4, "big") + _BEGINS:
        return None
    begin = _SEQUENCE_AT + 3
    if width != _SHORT:
        sequence, begin = _sequence_in(frame, width)
    return batch(link, session, sequence, frame[begin:])


def _batch_in_memory(ledger: Ledger) -> _Batch:
    own, names = ledger.counters.own, ledger.counters.names
    follows = ledger.sessions.follows

    def count(link: Link, session: bytes, sequence: int, ending: bytes) -> bytes | None:
        if names or ledger.is_leaving or ledger.is_held or ending[-1:] not in _FOR_MEMORY:
            return None
        pairs = _pairs_in(ending)
        if pairs is None:
            return None
        keys, amounts, body, _ = pairs
        if not own.raise_known(keys, amounts):
            return None
        if not follows(session, sequence, crc32(body)):
            own.lower(keys, amounts)
            return None
        ledger.operations += 1
        return counted(sequence, on_disk=False)

    return count


def _on_disk(ledger: Ledger, keep: Callable[[Persist], None], endings: Endings) -> Way:
    totals, names = ledger.counters.own.positive, ledger.counters.names
    batch = _batch_on_disk(ledger, keep)
    known, begins_with = endings.known, _HEADS.get

    def count(link: Link, frame: bytes) -> bytes | None:
        begins = begins_with(len(frame))
        if begins is None:
            return _longer(link, frame, batch)
        head, session, width, sequence = _fields(frame)
        if head != begins:
            return None
        if width == _SHORT:
            ending = frame[_SEQUENCE_AT + 3 :]
        else:
            sequence, begin = _sequence_in(frame, width)
            ending = frame[begin:]
        pair = known.get(ending) or endings.learn(ending)
        if pair is None:
            return batch(link, session, sequence, ending)
        if pair[0] not in totals or (names and pair[0] in names):
            return None
        # What stands before the ack is, but for its first bytes, what `record_of` would pack.
        record = _RECORD_BEGINS + frame[6:-1]
        persist = ledger.followed(link, (session, sequence), pair, pair[1], pair, record)
        if persist is None:
            return None
        keep(persist)
        return b""

    return count


def _batch_on_disk(ledger: Ledger, keep: Callable[[Persist], None]) -> _Batch:
    totals, names = ledger.counters.own.positive, ledger.counters.names

    def count(link: Link, session: bytes, sequence: int, ending: bytes) -> bytes | None:
        if names or ending[-1:] not in _FOR_DISK:
            return None
        pairs = _pairs_in(ending)
        if pairs is None or not totals.keys() >= set(pairs[0]):
            return None
        keys, amounts, body, flat = pairs
        record = b"".join((_RECORD_BEGINS, _ID_BEGINS, session, packed(sequence), body))
        more = len(keys) if amounts is None else sum(amounts)
        operation = session, sequence
        persist = ledger.followed(link, operation, tuple(flat), more, crc32(body), record)
        if persist is None:
            return None
        keep(persist)
        return b""

    return count


def acknowledgements(ledger: Ledger) -> Acknowledge:
    """Return what follows from the disk's word, `counter/native/settling.c` does the same."""

    def acknowledge(event: Persisted) -> list[tuple[Link, bytes]] | None:
        told = ledger.counted(event.token)
        if told is None:
            return None
        return [(link, counted(sequence, on_disk=True)) for link, sequence in told]

    return acknowledge
