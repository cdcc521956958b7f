"""A part of another store's share, as an old backup of its disk has it. Pure.

A store made of an old backup, or of a copy, begins with what the one before had counted up to some
record. It never tells that as its own: it holds it as a *part* of the share of that store, beside
its own share, and hands it over as such. A part looks like a share that was handed over, but for
its epoch, which says up to where it goes, and for what it is held under, which says in which life.

Two parts of one store need not be of one history: a backup that was put back unnoticed has gone on
from less than another one holds. So each part has a *stem*: for every life in it, the latest first,
how its boot begins, and up to which record it goes. What was written in one life is written in
order, so a part holds all of another one if it goes as far in the life in which that one ends.

The rule: of one store the share itself counts before any part of it, and of its parts the one that
holds all the others. Where none is known to do so they are divided, and nothing with them is whole.
A part never changes, so two that end with the same record of one life are the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from tracker.boots import LINEAGE_MAX, Life

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
    return store[:8] + part_end(epoch, boot)


def part_end(epoch: int, boot: bytes = b"") -> bytes:
    """Return with which life, and which record of it, a part ends; 8 bytes of its key."""
    return (boot[:4] or UNTOLD_LIFE) + (epoch - PART).to_bytes(4, "big")


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


END_BYTES: Final = 8
"""How the boot of a life begins, and up to where that goes: 4 bytes each, as in a `part_key`."""
STEM_BYTES_MAX: Final = END_BYTES * (LINEAGE_MAX + 1)
"""The stem of a part: of as many lives as a store remembers."""


def end_in(key: bytes) -> bytes:
    """Return with which life, and which record of it, the part ends that is held under this."""
    return key[8:16]


def stem_of(key: bytes, past: Sequence[Life]) -> bytes:
    """Return the stem of a part, as far as it is known: `past` are its lives, the latest first."""
    ends, goes_to = [end_in(key)], int.from_bytes(key[12:16], "big")
    for later, life in pairwise(past[: LINEAGE_MAX + 1]):
        if later.begin >= 0:
            # A life that wrote nothing may have no beginning of its own.
            goes_to = min(goes_to, part_epoch(later.begin) - PART)
            ends.append(life.boot[:4] + goes_to.to_bytes(4, "big"))
    return b"".join(ends)


def reaches(stem: bytes, end: bytes) -> bool:
    """Say whether a part with this stem is known to hold all of one that ends like this."""
    life, goes_to = end[:4], end[4:]
    found = [stem[at : at + END_BYTES] for at in range(0, len(stem), END_BYTES)]
    # Of lives that nobody names two may be different ones.
    is_named = life != UNTOLD_LIFE
    return any(e == end or (is_named and e[:4] == life and e[4:] >= goes_to) for e in found)


def are_divided(stems: Mapping[bytes, bytes]) -> bool:
    """Say whether none of these parts of one store is known to hold all the others.

    The stems are by the ends of the parts.
    """
    return not any(all(reaches(stem, end) for end in stems) for stem in stems.values())


def outermost(stems: Mapping[bytes, bytes]) -> list[bytes]:
    """Return under what parts are held that no other one is known to hold all of, in order.

    The stems are by what the parts are held under.
    """

    def is_inside(key: bytes) -> bool:
        others = [stem for k, stem in stems.items() if k != key and k[:8] == key[:8]]
        return any(reaches(stem, end_in(key)) for stem in others)

    return sorted([key for key in stems if not is_inside(key)])


def divided_in(held: Iterable[bytes], stems: Mapping[bytes, bytes]) -> set[bytes]:
    """Return the first 8 bytes of each store of which the parts held under these are divided."""
    found: dict[bytes, dict[bytes, bytes]] = {}
    for key in held:
        found.setdefault(key[:8], {})[end_in(key)] = stems.get(key, end_in(key))
    return {store for store, parts in found.items() if are_divided(parts)}


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
