"""Bursts of loss: the two-state model of Gilbert (1960) and Elliott (1963), for each node.

The rule: a node's way to the network is good or bad, and whatever it sends or receives meets
that state. The chain runs in continuous time and is advanced only when it is looked at, so that
a node that sends nothing costs nothing, neither time nor memory:

    good --1/good_s--> bad --1/bad_s--> good

    P(bad after t) = b + (1[bad] - b) · exp(-t/good_s - t/bad_s),   b = bad_s / (good_s + bad_s)

Per node and not per pair: two nodes of a cluster exchange one or two datagrams in a whole query,
and would hardly ever meet the same burst twice. What fails in the field is a cable, a port, a
host; that strikes all of a node's datagrams at once, and a repair just as the ask before it.
"""

from dataclasses import dataclass
from math import exp
from random import Random

from loadtest.simulation.agenda import SimulationError
from tracker.errors import ConfigError
from tracker.machine import Endpoint

WAYS_MAX = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Bursts:
    """How often a node's way is bad, how long, and what it loses. Mean times in seconds."""

    good_s: float
    """Mean time between two bursts of one node; more than 0."""
    bad_s: float
    """Mean length of a burst; more than 0."""
    loss: float = 1.0
    """Share of datagrams lost on a bad way; up to 1."""
    loss_between: float = 0.0
    """Share lost on a good way; below 1."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in plain words."""
        for what in ("good_s", "bad_s"):
            if not getattr(self, what) > 0.0:
                raise ConfigError(f"{what} is {getattr(self, what):g}, needs more than 0")
        if not 0.0 <= self.loss <= 1.0:
            raise ConfigError(f"the loss in a burst is {self.loss:g}, needs 0 to 1")
        if not 0.0 <= self.loss_between < 1.0:
            raise ConfigError(
                f"the loss between bursts is {self.loss_between:g}, needs 0 or more, less than 1"
            )

    @property
    def bad_share(self) -> float:
        """The share of time in which a way is bad."""
        return self.bad_s / (self.good_s + self.bad_s)

    @property
    def mean_loss(self) -> float:
        """The share of datagrams lost over a long time: each passes two ways."""
        one_way = self.bad_share * self.loss + (1.0 - self.bad_share) * self.loss_between
        return 1.0 - (1.0 - one_way) ** 2


class Ways:
    """The state of each node's way, as far as anybody looked at it."""

    __slots__ = ("_random", "_seen", "config")

    def __init__(self, config: Bursts, random: Random) -> None:
        self.config = config
        self._random = random
        self._seen: dict[Endpoint, tuple[float, bool]] = {}

    def __len__(self) -> int:
        """Return how many ways were ever looked at: all that is remembered."""
        return len(self._seen)

    def loses(self, source: Endpoint, target: Endpoint, now: float) -> bool:
        """Draw whether a datagram is lost on the way out of one node, or into the other."""
        return self._strikes(source, now) or self._strikes(target, now)

    def is_bad(self, endpoint: Endpoint, now: float) -> bool:
        """Draw the state of a way, given what it was when it was looked at last."""
        config, seen = self.config, self._seen.get(endpoint)
        chance = config.bad_share
        if seen is None:
            if len(self._seen) >= WAYS_MAX:
                raise SimulationError(f"more than {WAYS_MAX} nodes send datagrams")
        else:
            time, was_bad = seen
            if time == now:
                return was_bad
            rate = 1.0 / config.good_s + 1.0 / config.bad_s
            chance += (was_bad - chance) * exp((time - now) * rate)
        bad = self._random.random() < chance
        self._seen[endpoint] = (now, bad)
        return bad

    def _strikes(self, endpoint: Endpoint, now: float) -> bool:
        config = self.config
        loss = config.loss if self.is_bad(endpoint, now) else config.loss_between
        return loss > 0.0 and self._random.random() < loss
