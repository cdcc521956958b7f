"""How much of each member was safe on its disk, as the members themselves have told.

The rule: it only ever grows for one store, since what was safe on a disk stays there. Who comes
back with less has lost something: an old backup of the very life that ended was put back, or
its disk has not kept its word.
"""

from collections.abc import Iterable, Iterator

from tracker.members import Member
from tracker.names import base_of


class Written:
    """The last safe record of each member's store; of `members_max` of them at most."""

    def __init__(self, members_max: int) -> None:
        self.members_max = members_max
        self._by_name: dict[str, tuple[bytes, int]] = {}

    def note(self, member: Member, written: int) -> None:
        """Take the word of a member."""
        self._by_name.pop(member.name, None)
        self._by_name[member.name] = member.store, written
        if len(self._by_name) > self.members_max:
            del self._by_name[next(iter(self._by_name))]

    def inherit(self, member: Member) -> None:
        """Keep the word of a member that goes on under the name that it derives."""
        own = base_of(member.name)
        store, written = self._by_name.get(own, (b"", -1))
        if own != member.name and store == member.store and self.of(member) < written:
            self.note(member, written)

    def marks(self) -> Iterator[tuple[str, bytes, int]]:
        """Yield (name, store, written) of each, the one unheard for longest first."""
        for name, (store, written) in self._by_name.items():
            yield name, store, written

    def restore(self, marks: Iterable[tuple[str, bytes, int]]) -> None:
        """Take in what an earlier life was told."""
        for name, store, written in marks:
            self._by_name[name] = store, written

    def of(self, member: Member) -> int:
        """Return what was last told of a member's store; -1 if nothing was."""
        store, written = self._by_name.get(member.name, (b"", -1))
        return written if store == member.store else -1
