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

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Final

from tracker.introduction import Introduction
from tracker.machine import Address, Effect, Endpoint, Send
from tracker.members import NOBODY, Member
from tracker.membership import Membership
from tracker.messages import Introduce

TRY_S: Final = 0.5


class Introductions(Introduction):
    """The words of all others, where one is not enough; its owner sends what asks for them."""

    __slots__ = ("untold",)

    def __init__(self, others: Iterable[Endpoint]) -> None:
        super().__init__()
        self.untold: dict[Endpoint, None] = dict.fromkeys(others)

    def confirmed(self, sender: Address) -> None:
        """Take the word of one of them."""
        if isinstance(sender, tuple):
            self.untold.pop(sender, None)


class FixedMembership(Membership):
    """A sub-machine of the node's: see `tracker.machine`. Times in seconds.

    `places` are all names with their endpoints, that of `member` among them.
    """

    def __init__(self, member: Member, places: Mapping[str, Endpoint], rng: Random) -> None:
        super().__init__((), member, NOBODY, rng, TRY_S, TRY_S, TRY_S)
        self._places = dict(places)
        others = [place for name, place in places.items() if name != member.name]
        self._told = self.introduction = Introductions(others)
        self._told.end()
        # Everybody was given the name.
        self._told.is_confirmed = True
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
        self._due = now + TRY_S
        return [
            Send(place, Introduce(self.member, self._told.cluster)) for place in self._told.untold
        ]

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next; None when everybody has confirmed."""
        return self._due if self._told.untold else None

    def learn(self, news: Sequence[Member], now: float) -> list[Effect]:
        """Take in what another node knows; who began a new life is told again, at once."""
        fresh = [m for m in self.view.news_in(news) if self._places.get(m.name) == m.endpoint]
        effects = super().learn(fresh, now)
        new = [member.endpoint for member in fresh if member.name != self.member.name]
        if not self._told.untold:
            self._due = now + TRY_S
        self._told.untold.update(dict.fromkeys(new))
        return effects + [Send(place, Introduce(self.member, self._told.cluster)) for place in new]
