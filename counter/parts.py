"""A part of another store's share, as an old backup of its disk has it. Pure.

A store made of an old backup, or of a copy, begins with what the one before had counted up to some
record. It never tells that as its own: it holds it as a *part* of the share of that store, beside
its own share, and hands it over as such. A part looks like a share that was handed over, but for
its epoch, which says up to where it goes.

The rule: of one store the share itself counts before any part of it, and of two parts the one that
goes further, which holds all that the other one does; whoever collects answers need not know how
they came about. A part never changes, so two of one epoch are the same.
"""

from collections.abc import Mapping, Sequence
from typing import Final

PART: Final = 2**31
"""An epoch above this is that of a part: epochs of lives stay below (`tracker.table.COUNT_MAX`)."""
EXACT_BITS: Final = 25
"""Bits of a record's number that are kept; two parts that differ in less are taken for one."""


def part_epoch(token: int) -> int:
    """Return the epoch of a part that holds all up to this record of its store's log.

    It grows with `token`; past 2^25 records only the highest 25 bits of it are told apart.
    """
    shift = max(0, token.bit_length() - EXACT_BITS)
    return PART + 1 + (shift << EXACT_BITS) + (token >> shift)


def is_part(epoch: int) -> bool:
    """Whether a share is held as far as an old backup goes, and its store may have counted more."""
    return epoch > PART


def part_key(store: bytes, epoch: int) -> bytes:
    """Return under what a part is held: 16 bytes, the first 8 of them its store's."""
    return store[:8] + b"part" + (epoch - PART).to_bytes(4, "big")


def furthest(epochs: Mapping[bytes, int], key: bytes) -> bytes:
    """Return under what the most is held of the store of a part: the whole share, if that is.

    `epochs` are those of all shares that are held, by what they are held under.
    """
    found = {k: epoch for k, epoch in epochs.items() if k[:8] == key[:8]}
    return min(found, key=lambda k: (is_part(found[k]), -found[k]))


def parts_in(epochs: Mapping[bytes, int]) -> bytes:
    """Return the first 8 bytes of each store of which a part is held, in order."""
    return b"".join(sorted({key[:8] for key, epoch in epochs.items() if is_part(epoch)}))


PARTS_FOLLOW: Final = bytes(8)
"""Stands, in a list of stores, before those of which an answer has only a part."""


def listed(whole: Sequence[bytes], parts: Sequence[bytes]) -> list[bytes]:
    """Return the stores whose shares, and parts of shares, are in one answer, as it tells them."""
    return [*whole, PARTS_FOLLOW, *parts] if parts else [*whole]


def told_in(stores: Sequence[bytes]) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """Return the stores whose shares are in an answer, and those of which parts are."""
    if PARTS_FOLLOW not in stores:
        return stores, ()
    at = list(stores).index(PARTS_FOLLOW)
    return stores[:at], stores[at + 1 :]
