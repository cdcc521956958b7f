"""One strategy, one seed: run it to its end and judge it by the truth.

The rule: all strategies are judged by the same code, from what the network carried and what the
origin had at the moment it stopped. The origin's word on how complete it is does not count.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Final

from counter.messages import GOSSIP
from loadtest.simulation.agenda import SimulationError
from loadtest.strategies.averaging import Averaging
from loadtest.strategies.delegation import trees
from loadtest.strategies.messages import AVERAGES, RUMOURS
from loadtest.strategies.production import Production
from loadtest.strategies.rumours import blind_push, carrying_push, sharing_push
from loadtest.strategies.serf import serf_query
from loadtest.strategies.stage import Found, Play, Setting, Stage
from tracker.wire import Codec

RUN_S_MAX = 60.0
DRAIN_S_MAX = 10.0
FEW_ROUNDS, MANY_ROUNDS = 2, 30
"""Rounds of push-sum: as many messages as the product sends, and enough for a good estimate."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to ask everybody: its name, the codec of its datagrams, how it is put on a stage."""

    name: str
    codec: Codec
    play: Callable[[Stage], Play]


OURS: Final = "counter"
STRATEGIES: Final = (
    Strategy("blind-push", RUMOURS, blind_push),
    Strategy("carried-set", RUMOURS, carrying_push),
    Strategy("shared-set", RUMOURS, sharing_push),
    Strategy("one-tree", GOSSIP, lambda stage: trees(stage, 1)),
    Strategy("two-trees", GOSSIP, lambda stage: trees(stage, 2)),
    Strategy("three-trees", GOSSIP, lambda stage: trees(stage, 3)),
    Strategy(f"push-sum-{FEW_ROUNDS}", AVERAGES, lambda stage: Averaging(stage, FEW_ROUNDS)),
    Strategy(f"push-sum-{MANY_ROUNDS}", AVERAGES, lambda stage: Averaging(stage, MANY_ROUNDS)),
    Strategy("serf-like", RUMOURS, serf_query),
    Strategy(OURS, GOSSIP, Production),
)
BY_NAME: Final = {strategy.name: strategy for strategy in STRATEGIES}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one trial came to.

    `coverage` is answers over members that are up, `error` how far the value is from the sum
    over them, as a share of it. `messages`, `bytes` (IP and UDP headers included) and
    `duplicates` (deliveries that told nobody anything new in time) are per member of the list.
    `t50_ms` … `t100_ms`: when that share of those who are up had answered; None for never.
    A false stop is one with a member missing that is up. None where there are no single answers.
    """

    coverage: float | None
    error: float
    messages: float
    duplicates: float | None
    bytes: float
    t50_ms: float | None
    t99_ms: float | None
    t100_ms: float | None
    hops: int
    stop_ms: float
    is_false_stop: bool | None


def run(strategy: Strategy, setting: Setting, seed: int) -> Outcome:
    """Try a strategy once. Raises SimulationError if it does not come to an end."""
    stage = Stage(setting, seed, strategy.codec)
    play = strategy.play(stage)
    world = stage.world
    if not world.run_until(play.is_over, time_max=world.now + RUN_S_MAX):
        raise SimulationError(f"{strategy.name} has not stopped after {RUN_S_MAX:g} s")
    names = [message.__name__ for message in strategy.codec.classes()]
    tallies = [world.tallies[name] for name in names if name in world.tallies]

    def is_drained() -> bool:
        return not any(t.sent + t.duplicated - t.delivered - t.dropped for t in tallies)

    found = play.found()
    world.run_until(is_drained, time_max=world.now + DRAIN_S_MAX)
    nodes, up, truth = setting.nodes, len(stage.up), stage.truth
    times = found.times
    delivered = sum([tally.delivered for tally in tallies])
    return Outcome(
        coverage=None if times is None else len(times) / up,
        error=abs(found.value - truth) / truth,
        messages=sum([tally.sent for tally in tallies]) / nodes,
        duplicates=_duplicates(play.found(), delivered, nodes),
        bytes=sum([tally.bytes for tally in tallies]) / nodes,
        t50_ms=_reached_ms(times, 0.5, up),
        t99_ms=_reached_ms(times, 0.99, up),
        t100_ms=_reached_ms(times, 1.0, up),
        hops=found.hops,
        stop_ms=1000 * found.stop_s,
        is_false_stop=None if times is None else len(times) < up,
    )


def _reached_ms(times: list[float] | None, share: float, up: int) -> float | None:
    """Return when that share of those who are up had answered; None if they never did."""
    wanted = ceil(share * up)
    if times is None or len(times) < wanted:
        return None
    return 1000 * sorted(times)[wanted - 1]


def _duplicates(found: Found, delivered: int, nodes: int) -> float | None:
    """Of what was delivered, what was neither a member's first ask nor an answer in time."""
    if found.times is None or found.told is None:
        return None
    return (delivered - found.told - (len(found.times) - 1)) / nodes
