"""Membership without a tracker: the names are given once, and are the whole truth.

Whoever starts the nodes tells each of them all names (Maelstrom's `init` does). What a name does
not tell is the store behind it, so each node introduces itself to all others, until each has said
that it knows this life of it::

    untold     introduced every TRY_S, for as long as it takes: a partition has no known end
    told       it has confirmed; untold again once it is heard of in a later life, since that one
               may have forgotten whom it knew

A node that lists fewer, or another store under a name, knows nothing that this one lacks: an
answer is complete with a reply of each store in the own view, one for each name.

The rule: the view is that of the cluster as soon as each name has its record in it, and not
before. Nobody can join, so it cannot grow old; and as nobody calls an answer complete without the
record of a node, that node need not wait to be announced before it acknowledges anything.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from tracker.machine import Address, Effect, Endpoint, Send
from tracker.members import NOBODY, Member
from tracker.membership import Membership
from tracker.messages import Introduce, Introduced

TRY_S: Final = 0.5


class FixedMembership(Membership):
    """A sub-machine of the node's: see `tracker.machine`. Times in seconds.

    `places` are all names with their endpoints, that of `member` among them.
    """

    def __init__(self, member: Member, places: Mapping[str, Endpoint], rng: Random) -> None:
        super().__init__((), member, NOBODY, rng, TRY_S, TRY_S, TRY_S)
        self._places = dict(places)
        self._untold = {place: None for name, place in places.items() if name != member.name}
        self._due: float | None = None
        self._judged = self.view
        self._is_whole = False

    @property
    def is_whole(self) -> bool:
        """Whether the record of each name is known."""
        if self._judged is not self.view:
            self._judged = self.view
            self._is_whole = all(name in self.view.members for name in self._places)
        return self._is_whole

    @property
    def heard_at(self) -> float | None:
        """When the list was heard: at the start, once everybody in it is known."""
        return self._started_at if self.is_whole else None

    def known_until(self, now: float, fresh_s: float) -> float:
        """Say up to when the view is that of the cluster: for ever, or not yet."""
        return float("inf") if self.is_whole else float("-inf")

    def start(self, now: float) -> list[Effect]:
        """Begin: introduce this node to everybody."""
        effects = super().start(now)
        self.view = self.view.merged((self.member,))
        return effects + self.tick(now)

    def tick(self, now: float) -> list[Effect]:
        """Introduce this node again to those who have not confirmed it."""
        if self._due is not None and now < self._due:
            return []
        self._due = now + TRY_S if self._untold else None
        return [Send(place, Introduce(self.member)) for place in self._untold]

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next; None when everybody has confirmed."""
        return self._due

    def learn(self, news: Sequence[Member], now: float) -> list[Effect]:
        """Take in what another node knows; who began a new life is told again, at once."""
        fresh = [m for m in self.view.news_in(news) if self._places.get(m.name) == m.endpoint]
        effects = super().learn(fresh, now)
        new = [member.endpoint for member in fresh if member.name != self.member.name]
        self._untold.update(dict.fromkeys(new))
        if new and self._due is None:
            self._due = now + TRY_S
        return effects + [Send(place, Introduce(self.member)) for place in new]

    def introduced(self, sender: Address, message: Introduced) -> None:
        """Take the word of another node that it knows of this one now."""
        super().introduced(sender, message)
        if message.store == self.member.store and isinstance(sender, tuple):
            self._untold.pop(sender, None)
            if not self._untold:
                self._due = None
