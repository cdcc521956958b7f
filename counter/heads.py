"""What one node heads for queries of others: cells it collects, arcs above them it passes on.

On a `Delegate`::

    stopped                               nothing
    known already                         Ack again, nothing more
    at most a cell of members in the arc  Ack, to the origin too; collect the cell
    more                                  answer the origin; Ack; give the arc to further heads
    no room for it                        Ack that refuses

The rule: whatever this node has acknowledged it either does or outlives. What it heads is
bounded in number, each cell in members, and all of it in time.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Final

from counter.cells import Cell
from counter.config import AGE_MAX, GossipConfig
from counter.delegation import DIRECT_PART, Arc, Brief, Delegation
from counter.doubtful import Doubted
from counter.messages import (
    DECREASED,
    GOSSIP,
    LEAF,
    NOWHERE,
    REFUSED,
    TRACE,
    UNTIL_ALL,
    Ack,
    Ask,
    Back,
    Delegate,
    Query,
    Reply,
    ShortReply,
    Stop,
    Traced,
)
from counter.query import Heard, Hops
from counter.relay import Relay
from tracker.machine import Effect, Endpoint, Send
from tracker.members import Member, View, folded, position

SHARES_MAX: Final = 4_096

Share = tuple[bytes, int]


class Heads:
    """The cells and the arcs above them that one node answers for."""

    def __init__(self, config: GossipConfig, member: Member, relay: Relay, rng: Random) -> None:
        self.config = config
        self.member = member
        self.collected: dict[bytes, list[Cell]] = {}
        self.refused = 0
        self.doubted: Callable[[bytes], Doubted | None] = lambda query: None
        """What is in doubt here as of first sight of a query; the owner may set it."""
        self._hops = Hops(config.hop_s, config.hop_s / 4)
        self._position = position(member.name)
        self._relay = relay
        self._rng = rng
        self._delegations: dict[Share, Delegation] = {}
        self._acks: dict[Share, Ack] = {}
        self._expiry: list[tuple[float, Share]] = []

    def __len__(self) -> int:
        return len(self._delegations) + sum([len(cells) for cells in self.collected.values()])

    # -- asks ---------------------------------------------------------------------------------

    def delegate(self, sender: Endpoint, ask: Delegate, view: View, now: float) -> list[Effect]:
        """Take charge of an arc, or say no."""
        share = ask.query, ask.share
        known = self._acks.get(share)
        if known is not None:
            return [Send(sender, known)]
        sight = self._relay.sight(ask, now)
        if sight is None:
            return []
        begin, end = view.span(ask.low, ask.high)
        is_cell = end - begin - len(ask.skip) <= self.config.cell_members_max
        if not self._has_room(ask, is_cell, end - begin):
            self.refused += 1
            return [Send(sender, _refusal(ask))]
        heappush(self._expiry, (now + ask.budget_ms / 1000 + self.config.memory_s, share))
        if is_cell:
            return self._collect(sender, ask, sight, view, now)
        return self._pass_on(sender, ask, sight, view, now)

    def _has_room(self, ask: Delegate, is_cell: bool, members: int) -> bool:
        """Whether one more arc can be headed; for one query, no more than a cell is collected."""
        if len(self) >= self.config.cells_max or len(self._acks) >= SHARES_MAX:
            return False
        cells = self.collected.get(ask.query) if is_cell else None
        if cells is None:
            return True
        collected = sum([len(cell.pending) + len(cell.answers) for cell in cells])
        return collected + members <= self.config.cell_members_max

    def _collect(
        self, sender: Endpoint, ask: Delegate, sight: tuple[int, int], view: View, now: float
    ) -> list[Effect]:
        member = self.member
        cell = Cell(
            ask.query,
            _request(ask),
            member.endpoint,
            self._position,
            view,
            now,
            self.config,
            self._hops.prior(),
            self._rng,
            ask=ask,
            origin=ask.home,
            cell=self._rng.getrandbits(32),
            holds=self._relay.others_at_sight(ask.query),
            is_unheld=self._relay.is_unheld(),
        )
        doubted = self.doubted(ask.query)
        if doubted is not None:
            cell.doubt(self._position, doubted)
        for other in self.collected.get(ask.query, ()):
            # A short reply to one of them does not tell to which.
            cell.first_view = other.first_view
        self.collected.setdefault(ask.query, []).append(cell)
        ack = self._acks[ask.query, ask.share] = cell.ack()
        value, flags = sight
        own = Heard(
            member.name, member.store[:8], member.epoch, value, 0, 0.0, bool(flags & DECREASED)
        )
        effects: list[Effect] = [Send(sender, ack)]
        if ask.flags & TRACE:
            reply = self._relay.answer(ask, 0, sight, (), view)
            effects.append(Send(ask.home, _traced(reply, sender, ask.age, is_told=True)))
        if sender != ask.home:
            effects.append(Send(ask.home, ack))
        effects += cell.start(own)
        return [*effects, *cell.look(now)]

    def _pass_on(
        self, sender: Endpoint, ask: Delegate, sight: tuple[int, int], view: View, now: float
    ) -> list[Effect]:
        """Give parts of a large arc to further heads. Who does not collect answers by itself."""
        ack = Ack(ask.query, ask.share, 0, 0, ask.low, ask.high, ask.skip)
        self._acks[ask.query, ask.share] = ack
        skip = ask.skip if self._position in ask.skip else (*ask.skip, self._position)
        is_cut = ask.age >= ask.age_max
        cut = (ask.low, ask.high - 1, *skip) if is_cut else ()
        is_traced = ask.flags & TRACE
        roll = 0 if is_traced else folded(ask.roll)
        reply = self._relay.answer(ask, roll, sight, cut, view)
        told = _traced(reply, sender, ask.age) if is_traced else reply
        effects: list[Effect] = [Send(sender, ack), Send(ask.home, told)]
        if is_cut:
            return effects
        brief = Brief(
            ask.query,
            ask.key,
            ask.home,
            ask.chatter,
            ask.visits,
            ask.age,
            ask.age_max,
            ask.roll,
            now + ask.budget_ms / 1000,
            ask.flags,
        )
        begin, end = view.span(ask.low, ask.high)
        delegation = Delegation(
            brief,
            self.config.arcs_max,
            self.config.direct_max,
            (end - begin) // DIRECT_PART,
            self._rng,
        )
        self._delegations[ask.query, ask.share] = delegation
        arc = Arc(ask.low, ask.high, skip, ask.late)
        return effects + list[Effect](delegation.spread(view, arc, now, self._pause_s()))

    # -- answers ------------------------------------------------------------------------------

    def is_own(self, query: bytes) -> bool:
        """Whether answers to a query are collected here."""
        return query in self.collected

    def reply(self, reply: Reply, sender: Endpoint, now: float) -> list[Effect]:
        """Take an answer to one of the cells collected for its query."""
        cells = self.collected[reply.query]
        for cell in cells:
            if cell.ask.low <= reply.position < cell.ask.high:
                return list[Effect](cell.take(reply, sender, now))
        return []

    def offer(self, query: bytes, told: Doubted | None, now: float) -> None:
        """Take what the next reply to a cell of a query says is in doubt."""
        for cell in self.collected.get(query, ()):
            cell.offered = told

    def traced(self, traced: Traced, reply: Reply) -> list[Effect]:
        """Tell the origin how a query came to a member of a cell of this node."""
        cells = self.collected.get(reply.query, ())
        for cell in [c for c in cells if c.ask.low <= reply.position < c.ask.high]:
            age = min(AGE_MAX, traced.age + cell.ask.age)
            told = Traced(traced.asked_by, age, traced.reply, True)
            return [Send(cell.origin, told)]
        return []

    def whole(self, short: ShortReply) -> Reply | None:
        """Return the reply that a short one to a cell of this node stands for."""
        for cell in self.collected.get(short.query, ()):
            return short.whole(cell.first_view)
        return None

    def undelivered(self, ask: Ask, to: Endpoint) -> list[Effect]:
        """Take back an ask of a cell of this node: nobody listens there."""
        # An ask of repair does not say whose it is: it came back to whoever sent it.
        if ask.home not in (NOWHERE, self.member.endpoint):
            return []
        is_leaf = bool(ask.flags & LEAF)
        for cell in self.collected.get(ask.query, ()):
            # A repair ask has no arc of its own.
            inside = cell.ask.low <= ask.low < cell.ask.high
            if to in cell.repaired if is_leaf else inside:
                return list[Effect](cell.undelivered(ask, to))
        return []

    def acknowledged(self, ack: Ack, view: View, now: float) -> list[Effect]:
        """Take the word of a head that this node gave an arc to."""
        for (query, _), delegation in self._delegations.items():
            if query != ack.query:
                continue
            charge, sends = delegation.acknowledged(ack, view, now, self._pause_s())
            if charge is not None:
                charge.measured(self._hops.measure_on, now)
                return list[Effect](sends)
        return []

    def back(self, back: Back) -> list[Effect]:
        """Take the origin's word that a batch has come."""
        for cell in self.collected.get(back.query, ()):
            if cell.cell == back.cell:
                cell.confirmed(back)
        return []

    def stop(self, stop: Stop) -> list[Effect]:
        """Forget what is headed for a query, and tell those it was given to."""
        effects: list[Effect] = []
        for cell in self.collected.pop(stop.query, ()):
            if not cell.is_done:
                effects += [Send(child, stop) for child in cell.children]
        for share in [share for share in self._delegations if share[0] == stop.query]:
            effects += [Send(to, stop) for to in self._delegations.pop(share).children]
        return effects

    def follow(self, view: View) -> None:
        """Tell every cell of a newer view."""
        for cells in self.collected.values():
            for cell in cells:
                cell.follow(view)

    # -- time ---------------------------------------------------------------------------------

    def tick(self, view: View, now: float, lag_s: float) -> list[Effect]:
        """Repair, ask heads again, send batches again, forget."""
        effects: list[Effect] = []
        for delegation in self._delegations.values():
            if lag_s > self._pause_s():
                delegation.excuse(now, self._pause_s())
            effects += delegation.tick(view, now, self._pause_s())
        for query, cells in list(self.collected.items()):
            for cell in cells:
                effects += cell.tick(now, lag_s)
            for cell in [cell for cell in cells if cell.is_over]:
                # What it has acknowledged it does not do: who asks after it must hear that.
                ask = cell.ask
                self._acks[query, ask.share] = _refusal(ask)
                self._drop(query, [other for other in self.collected[query] if other is not cell])
        while self._expiry and self._expiry[0][0] <= now:
            self._forget(heappop(self._expiry)[1])
        return effects

    def _drop(self, query: bytes, left: list[Cell]) -> None:
        if left:
            self.collected[query] = left
        else:
            del self.collected[query]

    def _forget(self, share: Share) -> None:
        self._acks.pop(share, None)
        self._delegations.pop(share, None)
        query, number = share
        cells = self.collected.get(query)
        if cells is not None:
            self._drop(query, [cell for cell in cells if cell.ask.share != number])

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next."""
        times = [self._expiry[0][0]] if self._expiry else []
        times += [cell.next_due() for cells in self.collected.values() for cell in cells]
        for delegation in self._delegations.values():
            due = delegation.deadline()
            if due is not None:
                times.append(due)
        return min(times, default=None)

    def _pause_s(self) -> float:
        """Return how long an acknowledgement is waited for: three hops, as measured."""
        return self._hops.patience_s(self.config.repair_floor_s)


def _request(ask: Delegate) -> Query:
    """Return what a cell asks for."""
    is_traced = bool(ask.flags & TRACE)
    budget_ms, visits = ask.budget_ms, ask.visits
    return Query(
        0, ask.key, ask.chatter, visits, 0, budget_ms, UNTIL_ALL, 0, 0, False, trace=is_traced
    )


def _traced(
    reply: Reply | ShortReply, sender: Endpoint, age: int, *, is_told: bool = False
) -> Traced:
    return Traced(sender, age, GOSSIP.encode(reply), is_told)


def _refusal(ask: Delegate) -> Ack:
    return Ack(ask.query, ask.share, 0, REFUSED, ask.low, ask.high, ())
