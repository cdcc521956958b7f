"""Who can say what a store counted: itself, or whoever it handed all of it over to. Pure.

    the view has it                       itself, in whatever state it is
    the view says that it handed over     its heir; of an heir that did so as well, that one's
    its name is another store's, or
    nobody's, and its heir is known       that heir, and so on
    the same, and nobody's is             each living member once: whoever holds it says so
    the view has it, and it says that     the same: what was sent to a copy is known where that
    it was not in the life asked for      goes on beside its store, or where it has handed over to

The rule: this is only where to ask. A member that does not hold the counts of a store, all of
them and alone, gives no verdict for it (`counter.fences`); so to ask the wrong one costs a message.
"""

from typing import Final

from tracker.members import ALIVE, Member, View

HEIRS_MAX: Final = 16
"""Heirs of heirs that are looked through."""

SOUGHT_MAX: Final = 1_024
"""Members that are asked whether they hold the counts of a store; of more, some are not."""


class Holder:
    """What one node knows of who holds the counts of one store by now."""

    __slots__ = ("_asked", "_life", "_name", "_seen", "_store", "is_denied", "is_sought")

    def __init__(self, name: str, store: bytes, life: bytes = b"") -> None:
        self._name, self._store, self._life = name, store, life
        self.is_sought = False
        # Whether the last one that was asked said that it is not the one.
        self.is_denied = False
        # By name of those that were asked whether they hold it: which start of them.
        self._asked: dict[str, tuple[bytes, int]] = {}
        # The view in which nobody is left to ask.
        self._seen: View | None = None

    def follow(self, view: View) -> Member | None:
        """Return whom to ask by this view; None for nobody, or for anybody (`is_sought`)."""
        for _ in range(HEIRS_MAX):
            member = view.get_as(self._name, self._store)
            if member is None or member.store != self._store:
                self.is_sought = True
                return None
            self.is_sought = False
            if not member.is_handed_over:
                return member if member.expected else None
            heir = view.get(member.heir)
            if heir is None or heir.reign or member.heir in view.disputed:
                # A name that changed hands, or that two had, may be another store's by now.
                self.is_sought = True
                return None
            # Remembered: a later view may have another store under the name of the first one.
            self._name, self._store = heir.name, heir.store
        return None

    @property
    def is_looked_for(self) -> bool:
        """Whether anybody may be the one."""
        return self.is_sought or (self.is_denied and bool(self._life))

    def heard(self, member: Member, *, is_denied: bool) -> None:
        """Note whether a member that was asked said that it is not the one."""
        self.is_denied = is_denied
        if is_denied and self._life:
            self._asked[member.name] = _start(member)

    def sought(self, view: View) -> Member | None:
        """Return the next living member to ask whether it is the one."""
        if not self.is_looked_for or self._seen is view:
            return None
        for member in view.ring[:SOUGHT_MAX]:
            if member.status == ALIVE and self._asked.get(member.name) != _start(member):
                return member
        self._seen = view
        return None

    def asks(self, member: Member, view: View) -> None:
        """Note that this one is asked, and not again before it starts anew."""
        if self.is_looked_for:
            self._asked[member.name] = _start(member)
            if len(self._asked) > SOUGHT_MAX:
                self._asked = {name: s for name, s in self._asked.items() if view.get(name)}

    def found(self, member: Member) -> None:
        """Note that this one gave verdicts: it holds it."""
        self._name, self._store = member.name, member.store
        self._asked.clear()


def _start(member: Member) -> tuple[bytes, int]:
    return member.store, member.epoch
