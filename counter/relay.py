"""Queries of other nodes, as one node on their way handles them.

On an `Ask`::

    stopped                        nothing
    first sight of the query       remember the own value; answer home; pass the arc on
    again, another arc             answer home with the remembered value; pass the arc on
    again, the same arc            answer home with the remembered value, nothing more
    too many arcs                  answer home, nothing more
    one of its own came back       somebody else is asked for that arc

The rule: a node answers every ask with the value it had at first sight, and splits an arc
once. What is remembered is bounded in number and in time.
"""

from collections.abc import Callable, Container
from random import Random
from typing import Any, Final

from counter.config import GossipConfig
from counter.expiry import Expiry
from counter.heard import Held
from counter.messages import LEAF, SKIP_MAX, UNHELD, Ask, Delegate, Reply, ShortReply, Stop
from counter.selection import Part, asked_anew, head_of, split
from tracker.classes import dataclass
from tracker.machine import Effect, Endpoint, Send
from tracker.members import View
from tracker.wire import packed

NO_POSITIONS: tuple[int, ...] = ()
NO_ARCS: tuple[tuple[int, int], ...] = ()
NOTHING_HELD: Held = ()
CHILDREN_MAX = 1_024
FORGET_S: Final = 1.0
"""Longest that a query is remembered past its time while nothing else comes."""
HOP_MS: Final = 1
"""What a hop takes off the budget of an ask, in ms. No clocks are compared, so it is the least."""
FORGOTTEN_AT_ONCE_MAX: Final = 2
"""Queries past their time that are forgotten whenever another one is remembered."""


@dataclass(slots=True)
class Seen:
    """What a node remembers of one query; most are passed to nobody."""

    value: int
    flags: int
    arcs: tuple[tuple[int, int], ...] = NO_ARCS
    cut: tuple[int, ...] = NO_POSITIONS
    children: tuple[Endpoint, ...] = ()
    is_stopped: bool = False
    others: Held = NOTHING_HELD


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a node stands in one view: between whom, and what its answers say of that."""

    position: int
    before: int
    after: int
    roll: int
    place: int | None
    """Its place in the ring, if it is there with its own store."""
    told: bytes
    """What a `ShortReply` says between query and value, packed."""


class Relay:
    """The queries a node has been asked, and its part in each."""

    def __init__(
        self,
        config: GossipConfig,
        position: int,
        store: bytes,
        epoch: int,
        value_of: Callable[[str], tuple[int, int]],
        rng: Random,
    ) -> None:
        self.config = config
        self.dice = rng
        self.position = position
        self.store = store[:8]
        self.epoch = epoch
        self.seen: dict[bytes, Seen] = {}
        self.held_of: Callable[[str], Held] = lambda key: NOTHING_HELD
        """What is held of other stores, for a key; the owner may set it."""
        self.is_unheld: Callable[[], bool] = lambda: False
        """Whether some of that may be more than its store tells; the owner may set it."""
        self._value_of = value_of
        # From then on no ask is answered: somebody else does.
        self.mute_at = float("inf")
        self.expiry = Expiry()
        self._view: View | None = None
        self._stand = Stand(position, 0, 0, 0, None, b"")
        # Keys of which something is in doubt here: their replies say so.
        self.doubtful: Container[str] = ()

    def __len__(self) -> int:
        return len(self.seen)

    def ask(self, ask: Ask, view: View, now: float) -> list[Effect]:
        """Answer an ask, and pass it on."""
        seen = self.seen.get(ask.query)
        if seen is None:
            seen = self._sighted(ask, now)
        elif seen.is_stopped:
            return []
        onward: list[Effect] = []
        if not (ask.flags & LEAF or self.is_alone(view, ask.low, ask.high)):
            arc = (ask.low, ask.high)
            if arc not in seen.arcs and len(seen.arcs) < self.config.shares_per_query_max:
                seen.arcs = (*seen.arcs, arc)
                onward = self._pass_on(ask, seen, view)
        reply = self.answer(ask, ask.roll, (seen.value, seen.flags), seen.cut, view)
        return [Send(ask.home, reply), *onward]

    def answer(
        self,
        ask: Ask | Delegate,
        roll: int,
        share: tuple[int, int],
        cut: tuple[int, ...],
        view: View,
    ) -> Reply | ShortReply:
        """Return the answer to an ask, with one's own (value, flags): short to the same roll."""
        value, flags = share
        others = self.others_at_sight(ask.query)
        place = None if cut or others else self.place_in(view, roll)
        if place is not None:
            return ShortReply(ask.query, place, self.epoch, value, ask.age, flags)
        where, store, epoch, own = self.position, self.store, self.epoch, self.stand_in(view).roll
        flags |= UNHELD if others and self.is_unheld() else 0
        return Reply(ask.query, where, store, epoch, value, ask.age, flags, cut, others, own)

    def _sighted(self, ask: Ask | Delegate, now: float) -> Seen:
        seen = self.remember(ask.query, *self._value_of(ask.key), ask.budget_ms, now)
        seen.others = self.held_of(ask.key)
        return seen

    def others_at_sight(self, query: bytes) -> Held:
        """Return what was held of others at first sight of a query."""
        seen = self.seen.get(query)
        return NOTHING_HELD if seen is None else seen.others

    def sight(self, ask: Delegate, now: float) -> tuple[int, int] | None:
        """Return value and flags as at first sight of a query; None once it was stopped."""
        seen = self.seen.get(ask.query)
        if seen is None:
            seen = self._sighted(ask, now)
        return None if seen.is_stopped else (seen.value, seen.flags)

    def mute_from(self, at: float) -> None:
        """Answer no ask that comes at this time or later."""
        self.mute_at = at

    @property
    def heard_until(self) -> float:
        """When the last query ends that was answered here, or earlier than that."""
        return self.expiry.last()

    def stop(self, stop: Stop) -> list[Effect]:
        """Forget a query, and tell those it was passed to. A late ask for it is ignored."""
        seen = self.seen.get(stop.query)
        if seen is None or seen.is_stopped:
            return []
        children, seen.children = seen.children, ()
        seen.is_stopped = True
        return [Send(child, stop) for child in children]

    def undelivered(self, ask: Ask, to: Endpoint, view: View) -> list[Effect]:
        """Ask somebody else for the arc of an ask that reached nobody."""
        seen = self.seen.get(ask.query)
        if seen is None or seen.is_stopped:
            return []
        again = asked_anew(ask, head_of(ask, to, view), view, self.dice)
        room = CHILDREN_MAX - len(seen.children)
        seen.children += tuple([to for to, _ in again[:room]])
        return [Send(to, other) for to, other in again]

    def tick(self, now: float) -> None:
        """Forget what is past its life."""
        self._forget(now, len(self.expiry))

    def _forget(self, now: float, at_most: int) -> None:
        expiry = self.expiry
        while at_most and (first := expiry.first()) is not None and first <= now:
            self.seen.pop(expiry.pop(), None)
            at_most -= 1

    def deadline(self) -> float | None:
        """Say when something is to be forgotten, if nothing comes that drops it by the way.

        A timer for each of them would cost more than the asks that brought them.
        """
        first = self.expiry.first()
        return first + FORGET_S if first is not None else None

    def idle(self) -> tuple[Any, ...]:
        """Return what is empty while no query is known."""
        return self.expiry.line, self.expiry.strays

    def remember(self, query: bytes, value: int, flags: int, budget_ms: int, now: float) -> Seen:
        """Begin to know a query; for a while after its life, and the oldest goes first."""
        expiry = self.expiry
        self._forget(now, FORGOTTEN_AT_ONCE_MAX)
        known, config = self.seen, self.config
        while len(known) >= config.queries_max:
            known.pop(expiry.pop(), None)
        seen = known[query] = Seen(value, flags)
        expiry.note(now + budget_ms / 1000 + config.memory_s, query)
        return seen

    def is_alone(self, view: View, low: int, high: int) -> bool:
        """Say whether [low, high) holds this node and nobody else, as most arcs do."""
        stand = self.stand_in(view)
        return stand.before < low <= self.position < high <= stand.after

    def place_in(self, view: View, roll: int) -> int | None:
        """Return where this node stands in the ring of its view, if that has this roll."""
        stand = self.stand_in(view)
        return stand.place if roll == stand.roll else None

    def stand_in(self, view: View) -> Stand:
        """Return where this node stands in a view, most often the one that was looked at last."""
        if view is self._view:
            return self._stand
        index = view.span(self.position, self.position)[0]
        own = view.at(self.position)
        place = index if own is not None and own.store[:8] == self.store else None
        told = b"" if place is None else packed(place) + packed(self.epoch)
        around = view.neighbours(self.position)
        self._view = view
        self._stand = Stand(self.position, *around, view.roll, place, told)
        return self._stand

    def share_out(
        self,
        seen: Seen,
        view: View,
        arc: tuple[int, int, tuple[int, ...], tuple[int, ...]],
        chatter: int,
        visits: int,
        hops_left: int,
    ) -> list[Part]:
        """Split the arc (low, high, skip, late), and remember who is asked or what is cut off."""
        low, high, skip, late = arc
        if low <= self.position < high and self.position not in skip:
            skip = (*skip, self.position)
        parts, cut_off = split(view, low, high, skip, late, chatter, visits, hops_left, self.dice)
        if cut_off:
            seen.cut = (low, high - 1, *skip[-SKIP_MAX:])
        room = CHILDREN_MAX - len(seen.children)
        seen.children += tuple([part.head.endpoint for part in parts[:room]])
        return parts

    def _pass_on(self, ask: Ask, seen: Seen, view: View) -> list[Effect]:
        if ask.budget_ms <= HOP_MS:
            return []
        arc = (ask.low, ask.high, ask.skip, ask.late)
        hops_left = ask.age_max - ask.age
        return [
            Send(
                part.head.endpoint,
                ask.__class__(
                    ask.query,
                    ask.key,
                    ask.home,
                    ask.chatter,
                    ask.visits,
                    ask.age + part.turn,
                    ask.age_max,
                    ask.budget_ms - HOP_MS,
                    ask.roll,
                    part.low,
                    part.high,
                    part.skip[:-1],
                    part.late,
                    LEAF if part.is_leaf else 0,
                ),
            )
            for part in self.share_out(seen, view, arc, ask.chatter, ask.visits, hops_left)
        ]
