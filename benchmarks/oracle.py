"""What the best stop rule could do, if it knew what no node can know: a bound for the real one.

The oracle knows the share of datagrams that are lost, the share of members that are silent (and
not which), the time of hops, and of every datagram with a question when it left and for whom. So
it knows of each silent member the odds that it lives: those beforehand, times the chance that
each of its asks has brought nothing yet, by loss or by being on its way. The query asks by its
own waves, without end; the oracle only says when it is over. Three ways of that:

    each    the chance that anybody who is pending lives is at most FALSE_STOPS_MAX
    mean    it is at most a limit, by which it is FALSE_STOPS_MAX in the mean over the seeds
    fixed   every member was asked K times, K being the least by which it is that in the mean

No rule that knows less can keep to FALSE_STOPS_MAX in each query and end before *each*; *mean*
is what is gained where one query may make up for another. The number of those who are silent is
not told: whoever knew it would end with the last answer.

The rule: a bound is made of what the simulated world knows, and of no guess.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import exp
from statistics import fmean, median
from typing import NamedTuple

from counter.messages import Ask
from loadtest.bare import BareConfig, BareWorld
from loadtest.goals import FALSE_STOPS_MAX
from tracker.machine import Effect, Send

SURE = 1e-4
"""With less nothing is left to be known of a query."""
WAYS = ("each", "mean", "fixed")


class Moment(NamedTuple):
    """What the oracle knows at one time of a query: in s, messages of all, asks of each."""

    at_s: float
    chance: float
    """That a pending member lives."""
    messages: int
    asks: int
    is_missing: bool
    """Whether one does."""


class OracleWorld(BareWorld):
    """One query, watched until hardly anybody who is pending can live."""

    def __init__(self, config: BareConfig) -> None:
        super().__init__(config)
        self.asked: dict[int, list[float]] = {}
        self.moments: list[Moment] = []
        self.look = self._look

    def _carry_out(self, number: int, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Ask):
                assert not isinstance(effect.to, int), "nobody is asked on a stream"
                self.asked.setdefault(self.by_endpoint[effect.to], []).append(self.agenda.now)
        super()._carry_out(number, effects)

    def _look(self) -> bool:
        query, now = self.query(), self.agenda.now
        silent = [self.by_endpoint[pending.member.endpoint] for pending in query.pending.values()]
        chance = self._chance(silent, now)
        asks = min([pending.asks for pending in query.pending.values()], default=0)
        is_missing = any(number not in self.silent for number in silent)
        self.moments.append(Moment(now, chance, self.messages, asks, is_missing))
        return chance > SURE

    def _chance(self, silent: Sequence[int], now: float) -> float:
        """Return how likely it is that one of these lives, all having been silent until now."""
        crashed = self.config.crashed
        fails = {}
        nobody = 1.0
        for number in silent:
            odds = (1 - crashed) / crashed if crashed else float("inf")
            for at in self.asked.get(number, ()):
                if at not in fails:
                    fails[at] = self._failure(now - at)
                odds *= fails[at]
            nobody /= 1 + odds
        return 1 - nobody

    def _failure(self, waited_s: float) -> float:
        """Return the chance that an ask has brought nothing yet from a member that lives."""
        config = self.config
        rest = max(0.0, waited_s - 2 * config.base_s) / config.jitter_s
        return 1 - (1 - config.loss) ** 2 * (1 - exp(-rest) * (1 + rest))


def watched(config: BareConfig) -> list[Moment]:
    """Return the moments of one query of an endless kind, the last one that of its end."""
    world = OracleWorld(config)
    outcome = world.run()
    if outcome.answer.reason == "complete":
        world.moments.append(Moment(outcome.stop_s, 0.0, outcome.messages, 0, False))
    return world.moments


def ends(queries: Sequence[Sequence[Moment]]) -> Iterator[tuple[str, list[Moment]]]:
    """Yield each way to end, and when the queries end by it."""
    yield "each", _by_chance(queries, FALSE_STOPS_MAX)
    yield "mean", _by_chance(queries, limit_of(queries))
    for asks in range(1, 1 + max([moments[-1].asks for moments in queries])):
        ended = [_asked(moments, asks) for moments in queries]
        if fmean([moment.chance for moment in ended]) <= FALSE_STOPS_MAX:
            break
    yield f"K={asks}", ended


def limit_of(queries: Sequence[Sequence[Moment]]) -> float:
    """Return the highest limit with FALSE_STOPS_MAX in the mean."""
    low, high = FALSE_STOPS_MAX, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        found = fmean([moment.chance for moment in _by_chance(queries, middle)])
        low, high = (middle, high) if found <= FALSE_STOPS_MAX else (low, middle)
    return low


def _by_chance(queries: Sequence[Sequence[Moment]], limit: float) -> list[Moment]:
    return [next((m for m in moments if m.chance <= limit), moments[-1]) for moments in queries]


def _asked(moments: Sequence[Moment], asks: int) -> Moment:
    """Return the last moment before an ask too many, or the end."""
    for before, moment in pairwise(moments):
        if moment.asks > asks:
            return before
    return moments[-1]


def rows(queries: Sequence[Sequence[Moment]], nodes: int) -> Iterator[str]:
    """Yield a line for each way: false stops, seen and expected, and medians."""
    for way, ended in ends(queries):
        false = sum([moment.is_missing for moment in ended])
        expected = 100 * fmean([moment.chance for moment in ended])
        stop_ms = 1000 * median([moment.at_s for moment in ended])
        messages = median([moment.messages for moment in ended]) / nodes
        yield f"{way:>6} {false:12} {expected:8.2f}% | {stop_ms:8.0f} {messages:9.3f}"
