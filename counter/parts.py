"""A part of another store's share, as an old backup of its disk has it. Pure.

A store made of an old backup, or of a copy, begins with what the one before had counted up to some
record. It never tells that as its own: it holds it as a *part* of the share of that store, beside
its own share, and hands it over as such. A part looks like a share that was handed over, but for
its epoch, which says up to where it goes, and for what it is held under, which says in which life.

The rule: of one store the share itself counts before any part of it, and of two parts the one that
goes further, which holds all that the other one does; whoever collects answers need not know how
they came about. A part never changes, so two of one epoch are the same.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from tracker.boots import Life

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


UNTOLD_LIFE: Final = b"part"
"""Stands in place of the boot where nobody knows any more in which life a part ends."""


def part_key(store: bytes, epoch: int, boot: bytes = b"") -> bytes:
    """Return under what a part is held: 16 bytes, the first 8 of them its store's.

    The next 4 begin the boot of the life in which it ends, if that is known.
    """
    return store[:8] + (boot[:4] or UNTOLD_LIFE) + (epoch - PART).to_bytes(4, "big")


def life_in(key: bytes) -> bytes:
    """Return how the boot of the life begins in which a part ends; empty if nobody knows."""
    return b"" if key[8:12] == UNTOLD_LIFE else key[8:12]


def is_lacked(epoch: int, boot: bytes, lives: Sequence[Life]) -> bool:
    """Say whether a store lacks some of a part of it that ends with this epoch, in this life.

    `lives` are its own, the latest first. Where the life is earlier than all it remembers, it has
    gone on from there if it had as many records by then, as far as anybody can tell.
    """
    later = None
    for life in lives:
        if life.boot.startswith(boot):
            # The life that goes on has no end yet: what is not in its log was never in it.
            return later is not None and is_short(later.begin, epoch)
        later = life
    return later is not None and is_short(later.begin, epoch)


def is_short(token: int, epoch: int) -> bool:
    """Whether a log that goes up to this record is shorter than a part with this epoch."""
    return token >= 0 and part_epoch(token) < epoch


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
