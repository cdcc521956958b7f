"""A query as it is put to members: how far it travels, until when, and what each ask says.

The rule: all asks of one query say the same of it; they differ in the arc they hand out, and in
what one member has to know of it. So an answer fits whichever ask it is one to.
"""

from random import Random
from typing import Final

from counter.arcs import least_age
from counter.certain import Certain
from counter.config import AGE_MAX, GossipConfig
from counter.hops import Hops
from counter.messages import LEAF, RING, TRACE, Ask, AskAgain, Query
from counter.selection import Part
from tracker.classes import dataclass, field
from tracker.machine import Endpoint, Send
from tracker.members import View

ROLLS_TOLD_MAX: Final = 2
"""Repair asks of one member that name the roll of the view, for a short reply."""


@dataclass(slots=True)
class Asking:
    """What the asks of a query say, and whom the first ones went to."""

    id: bytes
    request: Query
    home: Endpoint
    own_position: int
    view: View
    started: float
    config: GossipConfig
    hops: Hops
    rng: Random
    deadline: float = 0.0
    chatter: int = 0
    visits: int = 0
    age_max: int = 0
    depth: int = 0
    children: list[Endpoint] = field(default_factory=list)
    certain: Certain = field(default_factory=Certain)
    first_view: View = field(init=False)
    """The view at its start, whose roll its asks name."""

    def __post_init__(self) -> None:
        """Keep the view at the start."""
        self.first_view = self.view

    def _plan_travel(self) -> None:
        """Settle how the query travels: what was not asked for follows from the cluster."""
        request, config = self.request, self.config
        members = max(1, self.view.expected)
        self.chatter = request.chatter or config.chatter
        self.visits = request.visits or (5 if self.chatter <= 2 else 1)
        least = least_age(members, self.chatter, self.visits)
        self.age_max = request.age_max or min(AGE_MAX, least + 2)
        budget_s = request.deadline_ms / 1000 if request.deadline_ms else config.budget_s
        self.deadline = self.started + budget_s
        self.depth = min(least, self.age_max)

    @property
    def is_limited(self) -> bool:
        """Whether the asker limits how far it travels, and members may be left out for that."""
        return bool(self.request.age_max or self.request.visits)

    def _asks(self, parts: list[Part]) -> list[Send]:
        """Return the asks that hand out the parts of a split."""
        asks = []
        self.certain.parts = parts
        for part in parts:
            flags = LEAF if part.is_leaf else 0
            arc = (part.low, part.high, part.skip[:-1], part.late)
            ask = self._ask(self.started, part.turn, *arc, flags)
            asks.append(Send(part.head.endpoint, ask))
            self.children.append(part.head.endpoint)
        return asks

    def _ask(
        self,
        now: float,
        age: int,
        low: int,
        high: int,
        skip: tuple[int, ...],
        late: tuple[int, ...],
        flags: int,
    ) -> Ask:
        return Ask(
            self.id,
            self.request.key,
            self.home,
            self.chatter,
            self.visits,
            age,
            self.age_max,
            self._left_ms(now),
            self._roll(),
            low,
            high,
            skip,
            late,
            flags | TRACE if self.request.trace else flags,
        )

    def _ask_again(self, now: float, asks: int) -> Ask:
        """Return an ask for one member alone, who has been asked so often with this one.

        From the third on it names no roll: hardly anybody answers it, so a short reply saves less.
        """
        left_ms, flags = self._left_ms(now), LEAF | TRACE if self.request.trace else LEAF
        roll = self._roll() if asks <= ROLLS_TOLD_MAX else 0
        return AskAgain.made(self.id, self.request.key, self.home, left_ms, roll, flags)

    def _roll(self) -> int:
        """Return the roll that short replies refer to; traced replies name who answers."""
        return 0 if self.request.trace else self.first_view.roll

    def _left_ms(self, now: float) -> int:
        return max(1, int((self.deadline - now) * 1000))

    def sample_ask(self) -> Ask:
        """Return an ask as this query sends them, to measure its size."""
        return self._ask(self.started, 1, 1, RING - 1, (self.own_position, 1), (), 0)
