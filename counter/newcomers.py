"""Whether a newcomer that introduces itself is believed, where it may be a copy of a member.

Without a tracker a later start of a known store at another address is a move as a rule. But it
may be a copy of its data directory, while the original runs: taken for a move, it would be asked
in the original's place, and answers would be called complete without that. So whoever knows the
member at another address asks there first who runs there::

    nobody listens there          it has moved: believed
    another store, or the same    it has moved, or has two addresses: believed
    start of this one
    another start of this store   two run: not believed, and told so (`Doubled`)
    silence                       not believed, as a stopped process and a cut line are silent too;
                                  believed if that one had said that it stops (`away`)

A start that is older than the one known, or of the same number, is told so without asking. So is
any start of a store that was handed over: whoever holds its counts has them for good.

The rule: no record of a member that is expected moves to another address on a newcomer's word, nor
on a list's while no tracker has this node, before the old address has spoken for it.
"""

from collections.abc import Callable, Sequence
from typing import Final

from counter.messages import Doubled, Here, Sought
from counter.parents import Parents
from counter.wholes import Wholes
from tracker.admission import is_copy
from tracker.config import shown_endpoint
from tracker.machine import Address, Effect, Emit, Endpoint, Send
from tracker.members import ALIVE, AWAY, Member
from tracker.membership import Membership
from tracker.messages import Introduce, Introduced

LOOKS_MAX: Final = 64
"""Moves that are looked into at a time; the introduction of one more is not heard."""
ASKS_MAX: Final = 5
ASK_S: Final = 0.2
"""Seconds until an old address that is silent is asked again."""


class _Look:
    """One move that is looked into: who says that it moved, and what was known of it before."""

    __slots__ = ("asks", "due", "known", "member", "sender")

    def __init__(self, member: Member, known: Member, sender: Address | None) -> None:
        self.member = member
        self.known = known
        # Who waits for a word; nobody where a list told of the move.
        self.sender = sender
        self.asks = 0
        self.due = 0.0


class Newcomers:
    """The moves that one node is told of by others than its trackers. Times in seconds."""

    def __init__(
        self,
        membership: Membership,
        cluster: str,
        parents: Parents,
        *,
        is_fixed: bool,
        followed: Callable[[list[Effect], float], list[Effect]],
    ) -> None:
        """`followed` tells all parts of a newer list. With `is_fixed` nobody ever moves.

        `parents` asks where stores are of which this node holds parts.
        """
        self.parents = parents
        self.wholes: Wholes | None = None
        """Asks whether others tell what this store tells of another one; the owner sets it."""
        self._membership = membership
        self._cluster = cluster
        self._is_fixed = is_fixed
        self._followed = followed
        self._looks: dict[tuple[bytes, Endpoint], _Look] = {}

    @property
    def is_unsure(self) -> bool:
        """Whether a list told of a move that is being looked into: the own one may be outdone.

        Or whether it has a start that may lack some of what is held here of its store.
        """
        is_moving = any(look.sender is None for look in self._looks.values())
        return is_moving or self.is_open

    @property
    def is_open(self) -> bool:
        """Whether this node may tell what others tell as well, or more than they do."""
        return self.parents.is_open or (self.wholes is not None and self.wholes.is_open)

    @property
    def is_any(self) -> bool:
        """Whether it may once somebody is there who is not in the list."""
        return self.parents.is_any or self.wholes is not None

    def is_unasked(self, store: bytes) -> bool:
        """Whether a member has yet to say whether it tells what this one does."""
        return self.wholes is not None and self.wholes.is_unasked(store)

    # -- whoever is told of a newcomer ----------------------------------------------------------

    def introduce(self, sender: Address, message: Introduce, now: float) -> list[Effect]:
        """Take in a newcomer by its own word, unless its name is known as another's, or a copy's.

        One of another cluster may have a member in its list whose port is this node's now. And
        whoever comes is there: that a member is gone, or dead, is not said by a datagram.
        """
        if message.cluster and message.cluster != self._cluster:
            return []
        if message.member.status != ALIVE:
            return []
        return self._followed(self._judged(message.member, sender, now), now)

    def learn(self, news: Sequence[Member], now: float) -> list[Effect]:
        """Take in the list of another node; where no tracker has this one, look into moves."""
        membership = self._membership
        if membership.is_registered or self._is_fixed:
            return membership.learn(news, now)
        moved = [member for member in news if self._has_moved(member)]
        rest = [member for member in news if member not in moved] if moved else news
        effects = membership.learn(rest, now)
        for member in moved:
            effects += self._judged(member, None, now)
        return effects

    def _has_moved(self, member: Member) -> bool:
        known = self._known(member)
        if known is None or known.store != member.store or not member.expected:
            return False
        if member.store == self._membership.member.store:
            # What else others know of this node's own place is judged by `tracker.reputation`.
            return self._stands_against(member)
        # What is no news of it moves nobody.
        is_later = member.epoch > known.epoch or is_copy(member, known)
        return is_later and _is_elsewhere(member, known)

    def _stands_against(self, other: Member) -> bool:
        """Whether this start yields to no other one of its number on the word of nodes.

        A tracker has announced it to all who lived. Whoever has believed the other one since had
        not heard that, or begun with an old list.
        """
        membership = self._membership
        return membership.announcement.is_told and is_copy(other, membership.member)

    def _known(self, member: Member) -> Member | None:
        """Return who is known by its name, or else by its store."""
        view = self._membership.view
        named = view.get(member.name)
        return named if named is not None else view.owner_of(member.store[:8])

    def _judged(self, member: Member, sender: Address | None, now: float) -> list[Effect]:
        known, own = self._known(member), self._membership.member
        if member.store == own.store and not _is_same_start(member, own):
            # Who is not believed yet may be the copy, and accuses nobody.
            is_known = self._membership.introduction.is_over
            return self._refused(member, own, sender) if is_known else []
        left = self._membership.view.owner_of(member.store[:8])
        if left is not None and left.store == member.store and left.is_handed_over:
            return self._refused(member, left, sender)
        if known is None:
            return self._believed(member, sender, now)
        if known.store != member.store:
            return []
        if self._is_fixed:
            return [] if is_copy(member, known) else self._believed(member, sender, now)
        if is_copy(member, known) or member.epoch < known.epoch:
            return self._refused(member, known, sender)
        if not _is_elsewhere(member, known):
            return self._believed(member, sender, now)
        return self._sought(member, known, sender, now)

    def _believed(self, member: Member, sender: Address | None, now: float) -> list[Effect]:
        effects = self._membership.learn((member,), now)
        return effects if sender is None else [*effects, Send(sender, Introduced(member.store))]

    def _refused(self, member: Member, other: Member, sender: Address | None) -> list[Effect]:
        """Tell a newcomer that another start of its store is known."""
        return [Send(sender or member.endpoint, Doubled(member.boot, other))]

    # -- asking where it was --------------------------------------------------------------------

    def _sought(
        self, member: Member, known: Member, sender: Address | None, now: float
    ) -> list[Effect]:
        """Ask at the old address, unless that is done already."""
        key = member.store, member.endpoint
        look = self._looks.get(key)
        if look is not None:
            look.member, look.sender = member, sender or look.sender
            return []
        if len(self._looks) >= LOOKS_MAX:
            return []
        look = self._looks[key] = _Look(member, known, sender)
        return [self._ask(look, now)]

    def _ask(self, look: _Look, now: float) -> Effect:
        look.asks += 1
        look.due = now + ASK_S
        return Send(look.known.endpoint, Sought(look.member.store))

    def here(self, sender: Address, message: Here, now: float) -> list[Effect]:
        """Take the word of whoever runs where a newcomer is said to have been."""
        there, effects = message.member, list[Effect]()
        self.parents.here(sender, message, now)
        for key, look in list(self._looks.items()):
            if look.known.endpoint != sender:
                continue
            del self._looks[key]
            member = look.member
            if there.store != member.store or _is_same_start(there, member):
                effects += self._moved(look, now)
            else:
                effects += self._refused(member, there, look.sender)
        return self._followed(effects, now)

    def undelivered(self, to: Endpoint, message: Sought, now: float) -> list[Effect]:
        """Take it that nobody listens where a store is said to have been."""
        effects: list[Effect] = []
        self.parents.undelivered(to, message, now)
        for key, look in list(self._looks.items()):
            if look.known.endpoint == to and look.member.store == message.store:
                del self._looks[key]
                effects += self._moved(look, now)
        return self._followed(effects, now)

    def _moved(self, look: _Look, now: float) -> list[Effect]:
        """Believe it, unless the store is known to be at a third place by now."""
        known = self._known(look.member)
        if known is None or known.endpoint == look.known.endpoint:
            return self._believed(look.member, look.sender, now)
        return self._judged(look.member, look.sender, now)

    # -- the newcomer itself --------------------------------------------------------------------

    def doubled(self, sender: Address, message: Doubled, now: float) -> list[Effect]:
        """Take it that another start of the own store is known: this is a copy, or that one is.

        What is acknowledged here would be in no total, and nobody is to take an answer of this one
        for the other's. The word of a tracker that has taken this start in stands above it.
        """
        membership, other = self._membership, message.member
        own = membership.member
        is_about_this = message.boot == own.boot and other.store == own.store
        if not is_about_this or _is_same_start(other, own) or membership.is_registered:
            return []
        if self._stands_against(other):
            return []
        is_news = membership.introduction.doubled(other, sender, now)
        membership.disprove()
        return self._followed([_copy_of(own, other)] if is_news else [], now)

    # -- time -----------------------------------------------------------------------------------

    def look(self, now: float) -> list[Effect]:
        """Ask those whom the list has by now what they tell, as far as that is due."""
        effects = self.parents.look(now)
        return effects if self.wholes is None else effects + self.wholes.look(now)

    def tick(self, now: float) -> list[Effect]:
        """Ask again, a few times; what stays silent decides nothing, unless it meant to stop."""
        effects = self.look(now)
        for key, look in list(self._looks.items()):
            if now < look.due:
                continue
            if look.asks < ASKS_MAX:
                effects.append(self._ask(look, now))
                continue
            del self._looks[key]
            if look.known.status == AWAY:
                effects += self._moved(look, now)
        return effects

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next."""
        times = [self.parents.deadline(), *[look.due for look in self._looks.values()]]
        times += [] if self.wholes is None else [self.wholes.deadline()]
        return min([time for time in times if time is not None], default=None)


def _is_same_start(one: Member, other: Member) -> bool:
    return (one.store, one.epoch, one.boot) == (other.store, other.epoch, other.boot)


def _is_elsewhere(member: Member, known: Member) -> bool:
    """Whether a member would be asked at another address, and the one before may yet run."""
    is_moved = member.endpoint != known.endpoint and not _is_same_start(member, known)
    return is_moved and known.expected


def _copy_of(own: Member, other: Member) -> Emit:
    here, there = shown_endpoint(own.endpoint), shown_endpoint(other.endpoint)
    text = (
        f'the data directory of "{own.name}" at {here} is a copy of that of "{other.name}"'
        f" at {there}, which others know: stop one of them, or start this one with a new directory"
    )
    return Emit("introduction-refused", {"name": own.name, "address": there, "text": text})
