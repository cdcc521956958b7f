"""What one query is to cost and to take: the numbers to reach, and whether they were reached.

Two kinds of bounds. Laws hold at any size: an ask and an answer each retried end to end, the
least age, what one node may hear. Numbers were found for some sizes and mixes of faults by
another simulator, with hops of 8 ms and an exponential rest of mean 2 ms; between them those of
the next larger size and the next worse mix hold. Where there is none, what was measured is shown
and not judged.

The rule: a number is judged as it is shown, rounded to the digits of its bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from counter.arcs import least_age, reach
from counter.config import LAN, GossipConfig
from loadtest.bare import Outcome

HOP_S: Final = 0.010
"""The mean hop of the numbers below."""
HOPS_FACTOR: Final = 1.5
BYTES_MAX: Final = 200
"""Bytes a node, headers in, at a loss of at most `LOSS_JUDGED_MAX`."""
LOSS_JUDGED_MAX: Final = 0.05
FALSE_STOPS_MAX: Final = 0.01
REACH_MEMBERS_MAX: Final = 700


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is to be reached with one mix of faults: messages a node, hops, times in ms."""

    messages: float | None = None
    hops: int | None = None
    t99_ms: int | None = None
    t100_ms: int | None = None
    stop_ms: int | None = None


Mix = tuple[float, float]
"""The share of datagrams that are lost, and that of members that are listed and silent."""

MIXES: Final[tuple[Mix, ...]] = (
    (0.0, 0.0), (0.05, 0.0), (0.2, 0.0), (0.0, 0.1), (0.05, 0.1), (0.2, 0.3),
)  # fmt: skip

N = Numbers
NUMBERS: Final[dict[tuple[int, int], tuple[Numbers | None, ...]]] = {
    (100, 10): (
        N(2.00, 2, 40, 41), N(2.17, None, 81, 92), N(2.84, None, 146, 187),
        N(2.29, None, 60, None, 165), N(2.51, None, 102, 102, 184), N(4.55, None, None, None, 281),
    ),
    (1_000, 3): (
        N(2.00, 6, 83, 90), N(2.16, None, 142, 174), N(2.84, None, 225, 311),
        N(2.17, None, 120, None, 184), N(2.56, None, 147, 182, 259), N(5.50, None, None, None, 438),
    ),
    (1_000, 10): (
        N(2.00, 3, 51, 57), N(2.16, None, 107, 140), N(2.84, None, 188, 268),
        N(2.23, None, 87, None, 166), N(2.60, None, 113, 144, 233), N(5.70, None, None, None, 414),
    ),
    (10_000, 10): (
        N(2.08, 4, 76, 83), N(2.32, None, 135, 193), N(3.73, None, 234, 460),
        N(2.46, None, 146, None, 379), N(2.92, None, 171, 306, 554),
        N(8.00, None, None, None, 1198),
    ),
    (100_000, 10): (
        N(2.08, 5, 88, 104), N(2.46, None, 156, 255), None,
        N(2.55, None, 177, None, 482), N(3.09, None, 204, 437, 717),
        N(10.0, None, None, None, 1861),
    ),
}  # fmt: skip
"""By members and chatter, one for each of `MIXES`."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What was simulated. `hop_s` is the mean time of a hop in s."""

    nodes: int
    gossip: GossipConfig = LAN
    loss: float = 0.0
    crashed: float = 0.0
    hop_s: float = HOP_S

    @property
    def numbers(self) -> tuple[Numbers, str]:
        """The numbers to reach, and for what they were found; none of them where there are none."""
        rows = [] if self.hop_s != HOP_S else [*NUMBERS.items()]
        for (nodes, chatter), row in rows:
            if chatter != self.gossip.chatter or nodes < self.nodes:
                continue
            for (loss, crashed), numbers in zip(MIXES, row, strict=True):
                if numbers is not None and loss >= self.loss and crashed >= self.crashed:
                    return numbers, f"{nodes} nodes, {100 * loss:g}% + {100 * crashed:g}%"
        return Numbers(), ""

    @property
    def hops(self) -> int:
        """The least age that reaches everybody."""
        chatter = self.gossip.chatter
        return least_age(self.nodes, chatter, visits_of(chatter))

    @property
    def messages_factor(self) -> float:
        """By how much more than the least messages a query may take."""
        return 1.02 if self.nodes <= self.gossip.cell_members_max else 1.10

    @property
    def in_cast_max(self) -> float:
        """The most datagrams that any one node may hear."""
        return 1_024 + 0.05 * self.nodes

    @property
    def hops_heard(self) -> int:
        """The hops until the origin has heard the last: there, back, and with cells a batch's."""
        return self.hops + (1 if self.nodes <= self.gossip.cell_members_max else 2)

    @property
    def t100_max_s(self) -> float:
        """How long everybody's answer may take when nothing is lost and nobody silent."""
        return HOPS_FACTOR * self.hops_heard * self.hop_s


@dataclass(frozen=True, kw_only=True)
class Found:
    """What some queries came to: medians, but the worst of coverage, in-cast and false stops."""

    messages: float
    messages_up: float
    """Messages for each member that is up, but for those to the silent."""
    hops: float
    t99_ms: float | None
    t100_ms: float | None
    stop_ms: float
    in_cast: int
    bytes: float
    coverage: float
    false_stops: float

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], setting: Setting) -> "Found":
        """Sum up the outcomes of one setting; at least one."""
        nodes = setting.nodes
        return cls(
            messages=median([o.messages / nodes for o in outcomes]),
            messages_up=median([(o.messages - o.to_silent) / o.live for o in outcomes]),
            hops=median([o.answer.hops for o in outcomes]),
            t99_ms=_middle_ms([o.t99_s for o in outcomes]),
            t100_ms=_middle_ms([o.t100_s for o in outcomes]),
            stop_ms=1000 * median([o.stop_s for o in outcomes]),
            in_cast=max([o.busiest for o in outcomes]),
            bytes=median([o.bytes / nodes for o in outcomes]),
            coverage=min([1 - o.live_missing / o.live for o in outcomes]),
            false_stops=sum([o.is_false_stop for o in outcomes]) / len(outcomes),
        )


@dataclass(frozen=True, slots=True)
class Limit:
    """One measured number beside its bound; `bound` is None where there is none to judge by."""

    name: str
    found: float | None
    bound: float | None
    digits: int = 0
    why: str = ""
    """What the bound is of."""
    is_least: bool = False

    @property
    def is_reached(self) -> bool | None:
        """Whether the bound was reached; None without a bound."""
        if self.bound is None:
            return None
        if self.found is None:
            return False
        # Never rounded up to a bound that is the most there can be.
        if self.is_least:
            return self.found >= self.bound
        return round(self.found, self.digits) <= round(self.bound, self.digits)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of a report."""
        digits = 6 if self.is_least else self.digits
        return {
            "name": self.name,
            "found": None if self.found is None else round(self.found, digits),
            "sign": ">=" if self.is_least else "<=",
            "bound": None if self.bound is None else round(self.bound, self.digits),
            "reached": self.is_reached,
            "of": self.why,
        }


def limits(setting: Setting, found: Found) -> list[Limit]:
    """Return all that is measured of a query, beside its bounds."""
    (numbers, source), loss = setting.numbers, setting.loss
    is_judged = loss <= LOSS_JUDGED_MAX
    least = messages_least(loss)
    most = setting.messages_factor * least if is_judged else None
    rows = [
        Limit("messages a node", found.messages, numbers.messages, 2, source),
        Limit("messages a live node*", found.messages_up, most, 3, f"the least is {least:.3f}"),
        Limit("hops", found.hops, setting.hops, 0, "the least age"),
        Limit("99 % heard (ms)", found.t99_ms, numbers.t99_ms, 0, source),
        Limit("100 % heard (ms)", found.t100_ms, numbers.t100_ms, 0, source),
        Limit("stop (ms)", found.stop_ms, numbers.stop_ms, 0, source),
        Limit("heard by the busiest node", found.in_cast, setting.in_cast_max, 0, "1024 + 5 %"),
        Limit("bytes a node, with headers", found.bytes, BYTES_MAX if is_judged else None),
        Limit("coverage", found.coverage, 1.0, 1, "those that are up", is_least=True),
        Limit("false stops", found.false_stops, FALSE_STOPS_MAX, 3, "share of queries"),
    ]
    if loss == 0.0 and setting.crashed == 0.0:
        most_ms = 1000 * setting.t100_max_s
        why = f"1.5 (hops + {setting.hops_heard - setting.hops}) hops"
        rows.insert(5, Limit("100 % heard (ms)", found.t100_ms, most_ms, 0, why))
    return rows


def messages_least(loss: float) -> float:
    """Return the messages a node that an ask and an answer take, each retried end to end."""
    arrives = 1.0 - loss
    return 1 / arrives**2 + 1 / arrives


def visits_of(chatter: int) -> int:
    """Return the visits of a query that names none: few peers need several rounds."""
    return 5 if chatter <= 2 else 1


def reach_cases() -> list[tuple[int, int, int]]:
    """Return (chatter, visits, age) for which the law of reach is tried: quick, and telling."""
    return [
        (chatter, visits, age)
        for chatter in (1, 2, 3, 5, 10, 16)
        for visits in (1, 2, 3, 5)
        for age in _ages(chatter, visits)
    ]


def reach_members(chatter: int, visits: int, age: int) -> int:
    """Return of how many members a case of the law is tried: more than it says are reached."""
    wanted = reach(age, chatter, visits)
    return wanted + wanted // 2 + 10


def _ages(chatter: int, visits: int) -> list[int]:
    known = [age for age in range(1, 8) if reach(age, chatter, visits) <= REACH_MEMBERS_MAX]
    return known[-2:]


def _middle_ms(times: Sequence[float | None]) -> float | None:
    """Return the median in ms, where more than half of the queries came to it."""
    known = [1000 * time for time in times if time is not None]
    return median(known) if 2 * len(known) > len(times) else None
