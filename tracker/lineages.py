"""The starts of each member's store, as it named them when it registered: where a copy parted.

A copy of a data directory knows the starts that were before it was made, and its own. Compared with
those of the store itself, by number and by the bytes that each start drew, the last one that both
have tells what of its counts is the copy's alone (`counter.forks`).

It is noted as well of which stores a member tells parts.

The rule: only starts that both have named are compared; where none is the same nothing is known.
"""

from tracker.boots import BOOT_BYTES
from tracker.messages import DIVIDED, UNTOLD, Register


class Lineages:
    """The starts of `members_max` stores at most; the one unheard for longest goes first."""

    def __init__(self, members_max: int) -> None:
        self._members_max = members_max
        self._by_store: dict[bytes, dict[int, Start]] = {}
        self._parts: dict[bytes, bytes] = {}

    def __contains__(self, store: bytes) -> bool:
        return store in self._by_store

    def note(self, message: Register) -> None:
        """Keep what a member has named."""
        store = message.member.store
        self._by_store.pop(store, None)
        self._by_store[store] = _starts(message)
        self._parts[store] = message.parts
        if len(self._by_store) > self._members_max:
            oldest = next(iter(self._by_store))
            del self._by_store[oldest], self._parts[oldest]

    def parts_at(self, store: bytes) -> bytes:
        """Return of which stores this one told parts when it registered last, 8 bytes each."""
        return self._parts.get(store, b"")

    def common(self, message: Register) -> int:
        """Return the last start that a copy and its store are known to have had; or UNTOLD.

        DIVIDED where the store went on from an earlier record of that start than the copy did: then
        not all that the copy holds of it is the store's.
        """
        known, named = self._by_store.get(message.member.store, {}), _starts(message)
        both = [n for n, (boot, _) in named.items() if n in known and known[n][0] == boot]
        common = max(both, default=UNTOLD)
        ends, ended = known.get(common + 1), named.get(common + 1)
        if common == UNTOLD or ends is None or ended is None:
            return common
        return common if UNTOLD < ended[1] <= ends[1] else DIVIDED


Start = tuple[bytes, int]
"""The bytes that a start drew, and the last record before it; -1 where that was not told."""


def _starts(message: Register) -> dict[int, Start]:
    member, size = message.member, BOOT_BYTES
    boots = member.boot + message.lineage if member.boot else b""
    found: dict[int, Start] = {}
    for back, at in enumerate(range(0, len(boots), size)):
        begin = message.begins[at : at + size]
        token = int.from_bytes(begin, "big") if begin else -1
        found[member.epoch - back] = boots[at : at + size], token
    return found
