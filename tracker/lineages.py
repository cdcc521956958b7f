"""The starts of each member's store, as it named them when it registered: where a copy parted.

A copy of a data directory knows the starts that were before it was made, and its own. Compared with
those of the store itself, by number and by the bytes that each start drew, the last one that both
have tells what of its counts is the copy's alone (`counter.forks`).

It is noted as well of which stores a member tells parts, and of which one all as its own.

The rule: only starts that both have named are compared; where none is the same nothing is known.
"""

from collections.abc import Iterable

from tracker.boots import Life, lives_in
from tracker.messages import DIVIDED, UNTOLD, Register


class Lineages:
    """The starts of `members_max` stores at most; the one unheard for longest goes first."""

    def __init__(self, members_max: int) -> None:
        self._members_max = members_max
        self._by_store: dict[bytes, list[Life]] = {}
        self._parts: dict[bytes, bytes] = {}
        self._wholes: dict[bytes, bytes] = {}

    def __contains__(self, store: bytes) -> bool:
        return store in self._by_store

    def note(self, message: Register) -> None:
        """Keep what a member has named."""
        store = message.member.store
        self._by_store.pop(store, None)
        self._by_store[store] = _lives(message)
        self._parts[store] = message.parts
        self._wholes[store] = b"" if message.is_apart else b"".join(message.line[:1])
        if len(self._by_store) > self._members_max:
            oldest = next(iter(self._by_store))
            del self._by_store[oldest], self._parts[oldest], self._wholes[oldest]

    def parts_at(self, store: bytes) -> bytes:
        """Return of which stores this one told parts when it registered last, 8 bytes each."""
        return self._parts.get(store, b"")

    def whole_at(self, store: bytes) -> bytes:
        """Return the store of which this one told all as its own when it registered last."""
        return self._wholes.get(store, b"")

    def common(self, message: Register) -> int:
        """Return the last start that a copy and its store are known to have had; see below."""
        return common_life(self._by_store.get(message.member.store, []), _lives(message))


def common_life(known: Iterable[Life], named: Iterable[Life]) -> int:
    """Return the last start that a store, by these lives, had in common with a copy; or UNTOLD.

    DIVIDED where the store went on from an earlier record of that start than the copy did: then
    not all that the copy holds of it is the store's.
    """
    of_store, of_copy = ({life.epoch: life for life in lives} for lives in (known, named))
    both = [n for n, life in of_copy.items() if n in of_store and of_store[n].boot == life.boot]
    common = max(both, default=UNTOLD)
    ends, ended = of_store.get(common + 1), of_copy.get(common + 1)
    if common == UNTOLD or ends is None or ended is None:
        return common
    return common if UNTOLD < ended.begin <= ends.begin else DIVIDED


def _lives(message: Register) -> list[Life]:
    member = message.member
    boots = member.boot + message.lineage if member.boot else b""
    return lives_in(member.epoch, boots, message.begins)
