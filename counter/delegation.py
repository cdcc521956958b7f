"""Arcs given away to heads, until each is acknowledged: for one query, at one node.

The life of a charge, which is an arc in the hands of one head::

    asked  -> Ack                    gone from here: the head answers for it
           -> Ack that refuses       another head for the same arc, the refuser at the back
           -> no Ack in T/AGAIN_PART the same once more, and again Ack
           -> no Ack in T after that the arc is split anew over `chatter` new heads, with the
                                     silent one at the back
           -> split anew too often   handed back to the caller: `lost`

The rule: an arc given away is known to somebody until somebody else has acknowledged it, and
nothing is tried without end. Whoever stands *at the back* (`late`) is asked, but heads nothing.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from counter.config import GossipConfig
from counter.messages import LATE_MAX, LEAF, REFUSED, TRACE, Ack, Ask, Delegate, Query
from counter.selection import Part, split
from tracker.classes import dataclass, field
from tracker.machine import Address, Endpoint, Send
from tracker.members import Member, View, folded, position

DIRECT_PART: Final = 64
"""One member in so many may be asked directly by the origin, or it would hear too many."""

DIRECT_LEAST: Final = 512
"""So many may be in any cluster: an origin hears more than a thousand without harm."""

TRIES_MAX: Final = 2
"""Times a head is asked before its arc is split anew."""

AGAIN_PART: Final = 6
"""A head is asked once more after so small a part of T: one message for each thousand members, and
a single loss is no reason to wait. Who says nothing to both is hardly ever there."""

HEADS_PART: Final = 160
"""A new head for a part of a silent arc gets at least half of one member in so many: an origin
that hears many small cells in place of a large one hears too much."""

CHILDREN_MAX: Final = 1_024
"""Heads that are told of a `Stop`."""

GENERATIONS_MAX: Final = 3
"""Times an arc is given to others before it is handed back."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What all asks of one query share. `deadline` is on this node's own clock."""

    query: bytes
    key: str
    home: Endpoint
    chatter: int
    visits: int
    age: int
    """Hops from the origin to this node."""
    age_max: int
    roll: int
    """`View.roll_bits` of the origin."""
    deadline: float
    flags: int = 0

    def budget_ms(self, now: float) -> int:
        """Return what is left of the query's life."""
        return max(1, int((self.deadline - now) * 1000))

    def delegate(self, share: int, turn: int, arc: "Arc", now: float) -> Delegate:
        """Return the message by which a head is given an arc, in that turn of this node's."""
        return Delegate(
            self.query,
            share,
            self.key,
            self.home,
            self.chatter,
            self.visits,
            self.age + turn,
            self.age_max,
            self.budget_ms(now),
            self.roll,
            arc.low,
            arc.high,
            arc.skip,
            arc.late,
            self.flags,
        )


@dataclass(frozen=True, slots=True)
class Arc:
    """Positions [low, high) but for `skip`; nobody in `late` is to head it.

    `generation` counts how often it, or what it was cut from, was given to somebody else.
    """

    low: int
    high: int
    skip: tuple[int, ...]
    late: tuple[int, ...] = ()
    generation: int = 0

    def without(self, head: Member) -> "Arc":
        """Return the same arc for the next try, with a head that failed at the back."""
        late = (*self.late, position(head.name))[-LATE_MAX:]
        return Arc(self.low, self.high, self.skip, late, self.generation + 1)


@dataclass(slots=True)
class Charge:
    """An arc in the hands of a head that has not acknowledged it yet."""

    arc: Arc
    head: Member
    message: Delegate
    sent_at: float
    asked_at: float
    """When it was asked last."""
    due: float
    tries: int = 1

    def measured(self, measure: Callable[[float], None], now: float) -> None:
        """Measure a hop, whose head acknowledges now, unless nobody knows which ask that answers
        (Karn and Partridge 1987). Two that left within a third of the time are as good as one."""
        took_s = now - self.sent_at
        if 3 * (self.asked_at - self.sent_at) <= took_s:
            measure(took_s / 2)


@dataclass(slots=True)
class Delegation:
    """The charges of one query at one node.

    `alone` collects the positions of those who were asked as single members: nobody heads
    them, so only the origin's own repair can ask them again. Whoever is the origin takes it.
    """

    brief: Brief
    charges_max: int
    direct_max: int
    direct_left: int
    rng: Random
    charges: dict[int, Charge] = field(default_factory=dict)
    alone: list[int] = field(default_factory=list)
    lost: list[Arc] = field(default_factory=list)
    children: list[Address] = field(default_factory=list)
    messages: int = 0

    def spread(self, view: View, arc: Arc, now: float, pause_s: float) -> list[Send]:
        """Cut an arc up and give each part to a head."""
        brief = self.brief
        return self._hand_out(view, arc, brief.chatter, brief.visits, now, pause_s)

    def _hand_out(
        self, view: View, arc: Arc, chatter: int, visits: int, now: float, pause_s: float
    ) -> list[Send]:
        if arc.generation > GENERATIONS_MAX:
            self.lost.append(arc)
            return []
        hops_left = self.brief.age_max - self.brief.age
        low, high, skip, late = arc.low, arc.high, arc.skip, arc.late
        begin, end = view.span(low, high)
        if arc.generation:
            if end - begin <= min(self.direct_max, self.direct_left):
                return self._ask_each(view, arc, now)
            # A head of its own for fewer would cost more than it saves.
            fair = max(self.direct_max, len(view) // HEADS_PART)
            chatter = min(chatter, max(1, 2 * (end - begin) // fair))
        parts, _ = split(view, low, high, skip, late, chatter, visits, hops_left, self.rng)
        sends = [self._hand(view, part, arc.generation, now, pause_s) for part in parts]
        sent = [send for send in sends if send is not None]
        self.messages += len(sent)
        room = max(0, CHILDREN_MAX - len(self.children))
        self.children += [send.to for send in sent[:room]]
        return sent

    def _ask_each(self, view: View, arc: Arc, now: float) -> list[Send]:
        """Ask every member of an arc that is too small to look for one more head for it."""
        begin, end = view.span(arc.low, arc.high)
        sends = []
        for pos, member in zip(view.positions[begin:end], view.ring[begin:end], strict=True):
            if pos not in arc.skip:
                self.alone.append(pos)
                self.direct_left -= 1
                part = Part(member, 1, 1, 1, (), (), True)
                sends.append(Send(member.endpoint, self._ask(part, now)))
        self.messages += len(sends)
        return sends

    def _hand(
        self, view: View, part: Part, generation: int, now: float, pause_s: float
    ) -> Send | None:
        """Return the message to the head of a part: a charge, unless it is there alone."""
        head = part.head
        if part.is_leaf or _members_in(view, part) == 0:
            self.alone.append(position(head.name))
            return Send(head.endpoint, self._ask(part, now))
        arc = Arc(part.low, part.high, part.skip[:-1], part.late, generation)
        if len(self.charges) >= self.charges_max:
            self.lost.append(arc)
            return None
        whole = Arc(part.low, part.high, part.skip, part.late)
        message = self.brief.delegate(self.rng.getrandbits(32), part.turn, whole, now)
        again_at = now + pause_s / AGAIN_PART
        self.charges[message.share] = Charge(arc, head, message, now, now, again_at)
        return Send(head.endpoint, message)

    def _ask(self, part: Part, now: float) -> Ask:
        brief = self.brief
        flags = brief.flags | LEAF if part.is_leaf else brief.flags
        return Ask(
            brief.query,
            brief.key,
            brief.home,
            brief.chatter,
            brief.visits,
            brief.age + part.turn,
            brief.age_max,
            brief.budget_ms(now),
            0 if brief.flags & TRACE else folded(brief.roll),
            part.low,
            part.high,
            part.skip[:-1],
            part.late,
            flags,
        )

    def acknowledged(
        self, ack: Ack, view: View, now: float, pause_s: float
    ) -> tuple[Charge | None, list[Send]]:
        """Take an `Ack`; returns the charge it was for, None for an old one, and what follows."""
        charge = self.charges.pop(ack.share, None)
        if charge is None or not ack.flags & REFUSED:
            return charge, []
        # The arc is as good as it was: one other head will do.
        return charge, self._hand_out(view, charge.arc.without(charge.head), 1, 1, now, pause_s)

    def tick(self, view: View, now: float, pause_s: float) -> list[Send]:
        """Ask the silent heads once more, then split what they were to head anew."""
        sends: list[Send] = []
        for share, charge in [(s, c) for s, c in self.charges.items() if c.due <= now]:
            if charge.tries < TRIES_MAX:
                charge.tries += 1
                charge.asked_at = now
                charge.due = now + pause_s
                self.messages += 1
                sends.append(Send(charge.head.endpoint, charge.message))
            else:
                del self.charges[share]
                sends += self.spread(view, charge.arc.without(charge.head), now, pause_s)
        return sends

    def excuse(self, now: float, pause_s: float) -> None:
        """Wait once more for those who are late now: it was this node that came late."""
        for charge in self.charges.values():
            charge.due = max(charge.due, now + pause_s)

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next."""
        return min([charge.due for charge in self.charges.values()], default=None)


def is_wide(view: View, request: Query, config: GossipConfig) -> bool:
    """Whether a query is too wide for its origin to hear everybody.

    A chain (chatter 1, visits 1) has no heads to speak of, and ends at its greatest age.
    """
    is_chain = (request.chatter or config.chatter) == 1 and request.visits == 1
    return view.expected > config.cell_members_max and not is_chain


def asked_directly_max(members: int) -> int:
    """Return how many of so many members their origin may ask by itself, without heads."""
    return max(DIRECT_LEAST, members // DIRECT_PART)


def _members_in(view: View, part: Part) -> int:
    """Return how many members of a part are neither its head nor skipped."""
    begin, end = view.span(part.low, part.high)
    inside = [pos for pos in part.skip if part.low <= pos < part.high and view.at(pos) is not None]
    return end - begin - len(inside)
