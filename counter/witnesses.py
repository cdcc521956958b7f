"""Whether the node that asks is heard itself: members that have answered are asked once more.

Silence of many at once may be one's own: while the way of the asker is bad, nobody answers, whoever
lives. So beside those whose last ask it is some are asked that have answered already::

    a reply of anybody since the last wave    this node is heard: silence is that of the silent
    none, and witnesses were asked            the wave has proved nothing: it is asked anew
    none so DEAF_WAVES_MAX times              the node is cut off, and says what it knows

The rule: a witness is asked for a sign of life and for nothing else. Its answer is counted already,
and is no duplicate.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from counter.heard import Heard
from tracker.classes import dataclass, field
from tracker.members import ALIVE, Member, View

DEAF_WAVES_MAX: Final = 10
"""Waves asked anew because nothing at all was heard since the last one: as many as are asked where
nobody has ever answered."""
WITNESS_ASKS: Final = 6
"""One witness for so many asks of each of the silent, which tell how much is lost."""


@dataclass(slots=True)
class Witnesses:
    """Who was asked for a sign of life, by store, and how often in vain."""

    asked: dict[bytes, None] = field(default_factory=dict)
    """Whose reply is still to come."""
    deaf_waves: int = 0
    is_hoped_for: bool = False
    """Whether the last wave asked any."""

    def chosen(
        self, answers: Mapping[bytes, Heard], view: View, own_name: str, asks: int
    ) -> list[Member]:
        """Return whom to ask beside a wave that is the last of so many: who answered latest.

        After a wave that nobody answered it is others, as long as there are any.
        """
        count = -(-asks // WITNESS_ASKS)
        fresh = self._members([s for s in answers if s not in self.asked], answers, view, own_name)
        found = list(islice(fresh, count))
        if not found:
            found = list(islice(self._members(list(answers), answers, view, own_name), count))
        self.asked.update(dict.fromkeys([member.store[:8] for member in found]))
        self.is_hoped_for = bool(found)
        return found

    def _members(
        self, stores: list[bytes], answers: Mapping[bytes, Heard], view: View, own_name: str
    ) -> Iterable[Member]:
        for store in reversed(stores):
            member = view.owner_of(store)
            if member is None or member.status != ALIVE or answers[store].name != member.name:
                continue
            if member.name != own_name:
                yield member

    def is_sign(self, store: bytes) -> bool:
        """Whether a reply of somebody who is counted already is one that was asked for."""
        if store not in self.asked:
            return False
        del self.asked[store]
        return True

    def is_deaf(self, replies_since: int) -> bool:
        """Whether the silence since the last wave may be this node's own."""
        return self.is_hoped_for and not replies_since and self.deaf_waves < DEAF_WAVES_MAX
