"""The starts of each member's store, as it named them when it registered: where a copy parted.

A copy of a data directory knows the starts that were before it was made, and its own. Compared with
those of the store itself, by number and by the bytes that each start drew, the last one that both
have tells what of its counts is the copy's alone (`counter.forks`).

The rule: only starts that both have named are compared; where none is the same nothing is known.
"""

from tracker.members import Member
from tracker.messages import BOOT_BYTES, UNTOLD, Register


class Lineages:
    """The starts of `members_max` stores at most; the one unheard for longest goes first."""

    def __init__(self, members_max: int) -> None:
        self._members_max = members_max
        self._by_store: dict[bytes, dict[int, bytes]] = {}

    def note(self, member: Member, lineage: bytes) -> None:
        """Keep what a member has named."""
        self._by_store.pop(member.store, None)
        self._by_store[member.store] = _starts(member, lineage)
        if len(self._by_store) > self._members_max:
            del self._by_store[next(iter(self._by_store))]

    def common(self, message: Register) -> int:
        """Return the last start that a copy and its store are known to have had; or UNTOLD."""
        known = self._by_store.get(message.member.store, {})
        named = _starts(message.member, message.lineage)
        return max([n for n, boot in named.items() if known.get(n) == boot], default=UNTOLD)


def _starts(member: Member, lineage: bytes) -> dict[int, bytes]:
    boots = member.boot + lineage if member.boot else b""
    each = [boots[at : at + BOOT_BYTES] for at in range(0, len(boots), BOOT_BYTES)]
    return {member.epoch - back: boot for back, boot in enumerate(each)}
