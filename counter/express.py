"""The shortest way for the plainest increment: its bytes in, the bytes of its reply out.

Most of what a node in memory does is one thing: the next operation of a known client raises a
known key. On the common way (decode, machine, effects, encode) that costs twice as much. The
rule: this way takes only what the common way would count without a second look, changes
exactly what it would change, and answers the same bytes; everything else it leaves alone.
"""

from collections.abc import Callable
from typing import Final

import msgpack

from counter.ledger import Ledger
from counter.messages import ACK_MEMORY, Counted, Increment
from tracker.wire import AMOUNT_MAX, SHARE_MAX

# An array of five that begins with the tag of an increment.
_BEGINS: Final = bytes([0x95, Increment.TAG])

_pack = msgpack.Packer(autoreset=True).pack
_unpack = msgpack.unpackb


def express(ledger: Ledger) -> Callable[[bytes], bytes | None]:
    """Return the way into this ledger: what it makes of a frame's body, None for most."""
    totals = ledger.counters.own.positive
    follows = ledger.sessions.follows
    if ledger.durable:
        return lambda body: None

    def count(body: bytes) -> bytes | None:
        if body[:2] != _BEGINS:
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
