"""What the queries of one setting came to: the fields of a row, of whatever kind of run. Pure.

The rule: a query in the simulator and one on real sockets are the same `Seen`, so that both are
summed up by the same code and may stand in one table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import mean
from typing import Final

from loadtest.bare import BareConfig, BareWorld, Outcome
from loadtest.experiments.tables import Row, middle

VIRTUAL, SOCKETS = "virtual", "sockets"
SHARES: Final = (50, 99, 100)
STOPS_BY_ITSELF: Final = ("complete", "converged")


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One query. Times in ms since it was asked, None for never.

    `heard` of the `live` members that are up answered in time, out of `nodes` on the list.
    `messages` are datagrams of all nodes together, `to_silent` those of them to members that
    are not up; `duplicates` answers that told the origin nothing new.
    """

    nodes: int
    live: int
    heard: int
    reason: str
    hops: int
    messages: int
    to_silent: int
    duplicates: int
    bytes: int
    t50_ms: float | None
    t99_ms: float | None
    t100_ms: float | None
    stop_ms: float

    @property
    def is_false_stop(self) -> bool:
        """Whether it stopped by itself with a member missing that is up."""
        return self.heard < self.live and self.reason in STOPS_BY_ITSELF


def simulated(config: BareConfig, *, chatter: int = 0, visits: int = 0) -> Seen:
    """Ask once, in a world of its own; a wish of 0 is left to the node's settings."""
    return of_outcome(BareWorld(config).run(chatter=chatter, visits=visits), config.nodes)


def of_outcome(outcome: Outcome, nodes: int) -> Seen:
    """Return what the simulator found."""
    return Seen(
        nodes=nodes,
        live=outcome.live,
        heard=outcome.live - outcome.live_missing,
        reason=outcome.answer.reason,
        hops=outcome.answer.hops,
        messages=outcome.messages + outcome.messages_late,
        to_silent=outcome.to_silent,
        duplicates=outcome.duplicates,
        bytes=outcome.bytes + outcome.bytes_late,
        t50_ms=_ms(outcome.t50_s),
        t99_ms=_ms(outcome.t99_s),
        t100_ms=_ms(outcome.t100_s),
        stop_ms=1000 * outcome.stop_s,
    )


def reached(times_ms: Sequence[float], live: int) -> dict[str, float | None]:
    """Return `t50_ms`, `t99_ms`, `t100_ms`: when that share of the `live` had answered."""
    ordered = sorted(times_ms)
    wanted = {share: ceil(share * live / 100) for share in SHARES}
    return {
        f"t{share}_ms": ordered[count - 1] if count <= len(ordered) else None
        for share, count in wanted.items()
    }


def fields(seen: Sequence[Seen]) -> Row:
    """Return what some queries, one at least, sum up to: medians of times, means of messages."""
    false_stops = sum([one.is_false_stop for one in seen])
    return {
        "queries": len(seen),
        "complete": sum([one.reason == "complete" for one in seen]) / len(seen),
        "coverage_min": min([one.heard / one.live for one in seen]),
        "false_stops": false_stops,
        "messages_per_node": mean([one.messages / one.nodes for one in seen]),
        "messages_per_live": mean([(one.messages - one.to_silent) / one.live for one in seen]),
        "duplicates_per_node": mean([one.duplicates / one.nodes for one in seen]),
        "bytes_per_node": mean([one.bytes / one.nodes for one in seen]),
        "hops": middle([one.hops for one in seen]),
        "t50_ms": middle([one.t50_ms for one in seen]),
        "t99_ms": middle([one.t99_ms for one in seen]),
        "t100_ms": middle([one.t100_ms for one in seen]),
        "stop_ms": middle([one.stop_ms for one in seen]),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds
