"""Queries of other nodes, as one node on their way handles them.

On an `Ask`::

    stopped                        nothing
    first sight of the query       remember the own value; answer home; pass the arc on
    again, another share           answer home with the remembered value; pass the arc on
    again, the same share          answer home with the remembered value, nothing more
    too many shares                answer home, nothing more

The rule: a node answers every ask with the value it had at first sight, and splits a share
once. What is remembered is bounded in number and in time.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from counter.config import GossipConfig
from counter.messages import LEAF, SKIP_MAX, Ask, Delegate, Reply, Stop
from counter.selection import split
from tracker.machine import Effect, Endpoint, Send
from tracker.members import View

NO_CUT: tuple[int, ...] = ()
CHILDREN_MAX = 1_024


@dataclass(slots=True)
class _Seen:
    """What a node remembers of one query."""

    value: int
    flags: int
    is_stopped: bool = False
    cut: tuple[int, ...] = NO_CUT
    shares: set[int] = field(default_factory=set)
    children: list[Endpoint] = field(default_factory=list)


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
        self.position = position
        self.store = store[:8]
        self.epoch = epoch
        self._value_of = value_of
        self._rng = rng
        self._seen: dict[bytes, _Seen] = {}
        self._expiry: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._seen)

    def ask(self, ask: Ask, view: View, now: float) -> list[Effect]:
        """Answer an ask, and pass it on."""
        seen = self._seen.get(ask.query)
        if seen is None:
            seen = self._remember(ask, now)
        elif seen.is_stopped:
            return []
        onward: list[Effect] = []
        is_new_share = not ask.flags & LEAF and ask.share not in seen.shares
        if is_new_share and len(seen.shares) < self.config.shares_per_query_max:
            seen.shares.add(ask.share)
            if not self._is_alone(ask, view):
                onward = self._pass_on(ask, seen, view)
        reply = Reply(
            ask.query,
            self.position,
            self.store,
            self.epoch,
            seen.value,
            ask.age,
            seen.flags,
            seen.cut,
            (),
        )
        return [Send(ask.home, reply), *onward]

    def sight(self, ask: Delegate, now: float) -> tuple[int, int] | None:
        """Return value and flags as at first sight of a query; None once it was stopped."""
        seen = self._seen.get(ask.query) or self._remember(ask, now)
        return None if seen.is_stopped else (seen.value, seen.flags)

    def stop(self, stop: Stop) -> list[Effect]:
        """Forget a query, and tell those it was passed to. A late ask for it is ignored."""
        seen = self._seen.get(stop.query)
        if seen is None or seen.is_stopped:
            return []
        children, seen.children = seen.children, []
        seen.is_stopped = True
        seen.shares.clear()
        return [Send(child, stop) for child in children]

    def tick(self, now: float) -> None:
        """Forget what is past its life."""
        expiry = self._expiry
        while expiry and expiry[0][0] <= now:
            self._seen.pop(heappop(expiry)[1], None)

    def deadline(self) -> float | None:
        """Say when something is to be forgotten."""
        return self._expiry[0][0] if self._expiry else None

    def _remember(self, ask: Ask | Delegate, now: float) -> _Seen:
        while len(self._seen) >= self.config.queries_max:
            self._seen.pop(heappop(self._expiry)[1], None)
        value, flags = self._value_of(ask.key)
        seen = self._seen[ask.query] = _Seen(value, flags)
        heappush(self._expiry, (now + ask.budget_ms / 1000 + self.config.memory_s, ask.query))
        return seen

    def _is_alone(self, ask: Ask, view: View) -> bool:
        """Say whether the arc holds this node and nobody else, as most arcs do."""
        positions = view.positions
        begin = bisect_left(positions, ask.low)
        return (
            begin < len(positions)
            and positions[begin] == self.position
            and (begin + 1 == len(positions) or positions[begin + 1] >= ask.high)
        )

    def _pass_on(self, ask: Ask, seen: _Seen, view: View) -> list[Effect]:
        skip = ask.skip
        if ask.low <= self.position < ask.high and self.position not in skip:
            skip = (*skip, self.position)
        parts, cut_off = split(
            view,
            ask.low,
            ask.high,
            skip,
            ask.late,
            ask.chatter,
            ask.visits,
            ask.age_max - ask.age,
            self._rng,
        )
        if cut_off:
            seen.cut = (ask.low, ask.high - 1, *skip[-SKIP_MAX:])
        effects: list[Effect] = []
        for part in parts:
            to = part.head.endpoint
            effects.append(
                Send(
                    to,
                    Ask(
                        ask.query,
                        self._rng.getrandbits(32),
                        ask.key,
                        ask.home,
                        ask.chatter,
                        ask.visits,
                        ask.age + part.turn,
                        ask.age_max,
                        ask.budget_ms,
                        part.low,
                        part.high,
                        part.skip,
                        part.late,
                        LEAF if part.is_leaf else 0,
                    ),
                )
            )
            if len(seen.children) < CHILDREN_MAX:
                seen.children.append(to)
        return effects
