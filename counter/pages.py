"""Shares cut into pages, each a record that fits a frame.

The rule: a page is as long as its bytes allow, never as long as its rows: a key may have one byte
or 256.
"""

from collections.abc import Iterator
from typing import Any

from counter.crdt import Share
from counter.messages import PAGE_BYTES_MAX, PAGE_ROWS_MAX
from tracker import wire

_HEAD_BYTES = 64
_NUMBERS_BYTES = 21
"""Two totals of nine bytes at most, and what stands before a key."""


def pages_of_share(store: bytes, share: Share) -> Iterator[tuple[bytes, int]]:
    """Yield each page of a share, and how many keys it holds."""
    flat: list[Any] = []
    room = PAGE_BYTES_MAX - _HEAD_BYTES
    # Names of closed epochs may be let go of while this goes on.
    for key in list(share.positive):
        positive, negative = share.positive.get(key), share.negative.get(key, 0)
        if positive is None:
            continue
        size = _NUMBERS_BYTES + (len(key) if key.isascii() else len(key.encode()))
        if size > room or len(flat) >= 3 * PAGE_ROWS_MAX:
            yield wire.packed(["share", store, share.epoch, flat]), len(flat) // 3
            flat, room = [], PAGE_BYTES_MAX - _HEAD_BYTES
        room -= size
        flat += (key, positive, negative)
    if flat:
        yield wire.packed(["share", store, share.epoch, flat]), len(flat) // 3
