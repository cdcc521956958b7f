"""A plan: what a load test does to a cluster, whichever way the cluster is run.

A share of the nodes is ended without a word. Then writers count, each with a client of its own,
and queries are asked, spread over the time the load lasts; meanwhile things happen to nodes
(`loadtest.timeline`). At the end the writers stop, whoever was ended on the way is started again,
and the last reads must find the exact total of every key.

The rule: everything a plan chooses comes from its seed, each choice from a generator of
its own: what is counted, when, who asks, who is struck. What a run measured may differ from
machine to machine, and so may the node that a client goes on with when its own is lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from random import Random

from counter.client.choice import PICKS
from counter.config import CHATTER_MAX, LAN, LOCAL, WAN, GossipConfig
from loadtest import timeline, workload
from loadtest.report import Situation
from loadtest.timeline import CRASH, Act, Happening
from tracker.errors import ConfigError
from tracker.text import printable

CHATTER, LATENCY_S, DURATION_S, QUERIES = 10, 0.010, 10.0, 50
"""Defaults. Fifty queries leave 0.2 s to each in the default ten seconds."""
RATE = 1_000.0
"""Default of `rate`: the writers take some hundredths of a core, so that queries are measured."""
WRITERS = 20
"""Default of `writers`, at most one for each node."""

LATENCY_S_MAX = 1.0
DURATION_S_MAX = 3_600.0
WRITERS_MAX = 1_000
RATE_MAX = 1_000_000.0
CLOSED_RATE = 50_000.0
"""What a closed loop is reckoned to count a second, where room for it is wanted."""
QUERIES_MAX = 100_000
BARE_ABOVE = 2_000
"""Nodes in the simulator; up to here it runs the whole plan, above it queries alone."""
OVERTIME_SHARE_MAX = 0.5
"""A load whose queries are not through at its end goes on this much longer, and no more."""
KEYS = 4
KEYS_MAX = 10_000
"""Each is read at the end, 32 in one query."""
ZIPF = 1.0
"""Zipf's exponent: the first of four keys gets about half of all increments."""
ZIPF_MAX = 10.0
AMOUNT_MAX = 2**30
"""Amounts are drawn up to here, so that a difference tells which increment it is."""
PICK = "least-active"
QUERIES_PER_S_MAX = 10_000.0

LOCAL_LATENCY_S_MAX = 0.002
LAN_LATENCY_S_MAX = 0.030


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done. Times in seconds; loss and crash are shares; rate is increments a second.

    With a rate of 0 each writer sends its next increment when the one before is acknowledged.
    With `queries_per_s` queries begin at their times whether or not those before have ended;
    `queries` is then how many that makes.
    """

    nodes: int
    seed: int
    chatter: int = CHATTER
    latency_s: float = LATENCY_S
    loss: float = 0.0
    crash: float = 0.0
    writers: int = WRITERS
    rate: float = RATE
    queries: int = QUERIES
    duration_s: float = DURATION_S
    key_count: int = KEYS
    zipf: float = ZIPF
    pick: str = PICK
    queries_per_s: float = 0.0
    happenings: tuple[Happening, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in plain words."""
        if self.nodes < 1:
            raise ConfigError(f"nodes is {self.nodes}, needs at least 1")
        _within("chatter", self.chatter, 1, CHATTER_MAX)
        _within("latency", self.latency_s, 0, LATENCY_S_MAX, " s")
        _within("writers", self.writers, 0, WRITERS_MAX)
        _within("queries", self.queries, 0, QUERIES_MAX)
        _within("seed", self.seed, 0, workload.SEED_MAX)
        for name in ("loss", "crash"):
            share = getattr(self, name)
            if not 0.0 <= share < 1.0:
                raise ConfigError(f"{name} is {100 * share:g}%, needs 0% or more, less than 100%")
        _within("rate", self.rate, 0, RATE_MAX)
        _within("duration", self.duration_s, 0.1, DURATION_S_MAX, " s")
        _within("keys", self.key_count, 1, KEYS_MAX)
        _within("zipf", self.zipf, 0, ZIPF_MAX)
        _within("queries-per-s", self.queries_per_s, 0, QUERIES_PER_S_MAX)
        if self.pick not in PICKS:
            raise ConfigError(
                f"pick is {printable(self.pick, 40)}, needs one of {', '.join(PICKS)}"
            )
        if self.crash and self.nodes < 2:
            raise ConfigError(f"crash is {100 * self.crash:g}%, needs at least 2 nodes: one stays")
        timeline.check(self.happenings, self.nodes, self.duration_s)
        if self.happenings:
            self.acts()

    @property
    def gossip(self) -> GossipConfig:
        """The settings of every node: the preset for this latency, with this chatter."""
        preset = LAN if self.latency_s <= LAN_LATENCY_S_MAX else WAN
        if self.latency_s <= LOCAL_LATENCY_S_MAX:
            preset = LOCAL
        return replace(preset, chatter=self.chatter)

    @property
    def names(self) -> list[str]:
        """The names of all nodes."""
        return [f"n{number}" for number in range(1, self.nodes + 1)]

    @property
    def keys(self) -> list[str]:
        """The keys that are counted, the most popular first."""
        return workload.key_names(self.key_count)

    @property
    def is_open_loop(self) -> bool:
        """Whether increments begin at their times, whatever became of those before."""
        return self.rate > 0.0

    @property
    def queries_overlap(self) -> bool:
        """Whether queries begin at their times, whatever became of those before."""
        return self.queries_per_s > 0.0

    @property
    def is_durable(self) -> bool:
        """Whether nodes keep their counts on disk: those who crash on the way come back."""
        return any(each.kind == CRASH for each in self.happenings)

    @property
    def increments_about(self) -> int:
        """How many increments there will be; in a closed loop nobody knows, and it is a guess."""
        rate = self.rate if self.is_open_loop else CLOSED_RATE
        return round(rate * self.duration_s) if self.writers else 0

    @property
    def crashes(self) -> int:
        """How many are ended before the load."""
        return timeline.struck_of(self.crash, self.nodes)

    @property
    def query_gap_s(self) -> float:
        """The time from one query to the next, if each ends within it."""
        return self.duration_s / max(1, self.queries)

    def situation(self, mode: str) -> Situation:
        """Return what the report says of it."""
        return Situation(
            nodes=self.nodes,
            mode=mode,
            seed=self.seed,
            chatter=self.chatter,
            latency_ms=round(1000 * self.latency_s, 6),
            loss=self.loss,
            crash=self.crash,
        )

    @property
    def last_query_s(self) -> float:
        """The time after which no query begins, since the load began."""
        return self.duration_s * (1.0 + OVERTIME_SHARE_MAX)

    # -- choices ------------------------------------------------------------------------------

    def crashed(self) -> list[str]:
        """Return the names of those who are ended before the load; one node at least stays."""
        return self._random("crash").sample(self.names, self.crashes)

    def acts(self) -> list[Act]:
        """Return what is done to nodes while the load goes on, in its order."""
        gone = set(self.crashed())
        up = [name for name in self.names if name not in gone]
        return timeline.acts(self.happenings, up, loss=self.loss, draw=self._random)

    def increments(self, writer: int) -> Iterator[workload.Amount]:
        """Yield what a writer counts."""
        random = self._random(f"increments/{writer}")
        return workload.increments(random, self.keys, amount_max=AMOUNT_MAX, skew=self.zipf)

    def arrivals(self, writer: int) -> Iterator[float]:
        """Yield when a writer counts, in seconds since the load began; at once without a rate."""
        if not self.is_open_loop:
            return repeat(0.0)
        return workload.arrivals(self._random(f"arrivals/{writer}"), self.rate / self.writers)

    def dice(self, writer: int) -> Random:
        """Return the chance of a writer's client: which node it picks, how long it pauses."""
        return self._random(f"client/{writer}")

    def questions(self, up: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield (node that is asked, key)."""
        for number, key in workload.questions(self._random("questions"), len(up), self.keys):
            yield up[number], key

    def identity(self, what: str) -> bytes:
        """Return 16 bytes that name something in a world without chance: a store, a session."""
        return self._random(f"identity/{what}").randbytes(16)

    def _random(self, name: str) -> Random:
        return Random(f"{self.seed}/{name}")


def writers_for(nodes: int) -> int:
    """Return how many writers there are when nobody said."""
    return min(WRITERS, nodes)


def _within(what: str, value: float, low: float, high: float, unit: str = "") -> None:
    if not low <= value <= high:
        raise ConfigError(
            f"{what} is {_told(value)}{unit}, needs {_told(low)} to {_told(high)}{unit}"
        )


def _told(number: float) -> str:
    """Return a number as people write it: a whole one with all its digits."""
    return str(number) if isinstance(number, int) else f"{number:.12g}"
