"""What every strategy is given: members, who of them has crashed, a world; and its origin.

The rule: a strategy knows the list of members, as every node of the product does, and nothing of
who is up. The truth is known to whoever judges, and to nobody on the stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any, Final, Protocol

from counter.arcs import least_age
from counter.config import CHATTER_MAX
from counter.messages import Reply
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker.errors import ConfigError
from tracker.machine import Address, Effect, Endpoint, Event, Machine
from tracker.members import Member, View, position
from tracker.wire import Codec

NODES_MAX = 8_000
"""A visited set of one bit for each member still fits a datagram."""
QUERY: Final = b"q" * 16
KEY: Final = "views"
SPARE_AGE: Final = 2
"""Hops that a query may travel beyond the fewest that could do: the product's own default."""
VALUE_MAX = 1_000


@dataclass(frozen=True, kw_only=True)
class Setting:
    """In what a strategy is tried. Times in seconds, loss and crash are shares."""

    nodes: int = 1_000
    chatter: int = 3
    loss: float = 0.0
    """Datagrams that vanish, independent of each other; below 1."""
    crash: float = 0.0
    """Members that are on the list and silent; below 1."""
    base_s: float = 0.008
    """Least time of a hop."""
    jitter_s: float = 0.002
    """Mean of what comes on top, exponentially distributed."""
    quiet_s: float = 0.050
    """Five hops without news, after which the origin of a strategy without a rule stops."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in plain words."""
        if not 2 <= self.nodes <= NODES_MAX:
            raise ConfigError(f"nodes is {self.nodes}, needs 2 to {NODES_MAX}")
        if not 1 <= self.chatter <= CHATTER_MAX:
            raise ConfigError(f"chatter is {self.chatter}, needs 1 to {CHATTER_MAX}")
        for name in ("loss", "crash"):
            share = getattr(self, name)
            if not 0.0 <= share < 1.0:
                raise ConfigError(f"{name} is {100 * share:g}%, needs 0% or more, less than 100%")

    @property
    def age_max(self) -> int:
        """Hops after which a query is passed on no more."""
        return least_age(self.nodes, self.chatter, 1) + SPARE_AGE


@lru_cache(maxsize=8)
def cluster(nodes: int) -> tuple[list[Member], View]:
    """Return the members by number, and the view that all of them hold."""
    members = [
        Member(
            name=f"n{number}",
            store=number.to_bytes(16, "little"),
            reign=0,
            epoch=1,
            incarnation=0,
            host=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            port=7401,
            durable=False,
        )
        for number in range(1, nodes + 1)
    ]
    return members, View().merged(members)


class Stage:
    """A world for one trial. Member 0 is the origin, and up; crashed members have no machine."""

    def __init__(self, setting: Setting, seed: int, codec: Codec) -> None:
        self.setting = setting
        self.members, self.view = cluster(setting.nodes)
        self.endpoints: Sequence[Endpoint] = [member.endpoint for member in self.members]
        self.world = World(
            seed,
            NetworkConfig(
                base_s=setting.base_s,
                jitter_s=setting.jitter_s,
                stream_base_s=50e-6,
                loss=setting.loss,
                retransmit_s=0.0,
            ),
            datagram_codec=codec,
        )
        self.random = self.world.random("strategy")
        chance = self.world.random("situation")
        others = range(1, setting.nodes)
        crashed = frozenset(chance.sample(others, round(setting.crash * len(others))))
        self.up = [number for number in range(setting.nodes) if number not in crashed]
        self.values = [chance.randint(1, VALUE_MAX) for _ in self.members]

    @property
    def truth(self) -> int:
        """The sum over those who are up."""
        return sum([self.values[number] for number in self.up])

    def add(self, number: int, machine: Machine) -> None:
        """Start the machine of a member."""
        self.world.add(machine, self.endpoints[number])

    def reply(self, number: int, age: int) -> Reply:
        """Return a member's answer to a query."""
        member = self.members[number]
        where, store, value = position(member.name), member.store[:8], self.values[number]
        return Reply(QUERY, where, store, 1, value, age, 0, (), ())

    def others(self, number: int, count: int) -> list[Endpoint]:
        """Draw distinct members other than this one, each as likely as any."""
        drawn = draw(self.random, self.setting.nodes, number, count)
        return [self.endpoints[peer] for peer in drawn]


def draw(random: Random, nodes: int, own: int, count: int) -> list[int]:
    """Return `count` distinct numbers below `nodes` other than `own`, or all of them."""
    chosen = random.sample(range(nodes - 1), min(count, nodes - 1))
    return [number + (number >= own) for number in chosen]


class Peer:
    """A machine that hears nothing and does nothing: what a strategy says for itself is added."""

    has_heard = False

    def start(self, now: float) -> list[Effect]:
        """Begin."""
        return []

    def begin(self, now: float) -> list[Effect]:
        """Ask: called for the origin alone."""
        return []

    def receive(self, sender: Address, message: Any, now: float) -> list[Effect]:
        """Take one message."""
        return []

    def submit(self, event: Event, now: float) -> list[Effect]:
        """Take one event."""
        return []

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        return []

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next."""
        return None


class Collector:
    """The answers at an origin, and when it stops listening.

    Without `wait_s` it stops when everybody on the list has answered, or `quiet_s` after the
    last news: the rule of whoever has no better one. With it, when that time is over.
    """

    def __init__(self, stage: Stage, *, wait_s: float | None = None) -> None:
        self.answers: dict[int, float] = {}
        self.value = 0
        self.hops = 0
        self.stopped_at: float | None = None
        self._wanted = stage.setting.nodes
        self._quiet_s = stage.setting.quiet_s
        self._wait_s = wait_s
        self._due = 0.0

    def hear(self, reply: Reply, now: float) -> None:
        """Take one answer; another one of the same member changes nothing."""
        if self.stopped_at is not None or reply.position in self.answers:
            return
        self.answers[reply.position] = now
        self.value += reply.value
        self.hops = max(self.hops, reply.age)
        if self._wait_s is None:
            self._due = now + self._quiet_s
            if len(self.answers) == self._wanted:
                self.stopped_at = now

    def begin(self, own: Reply, now: float) -> None:
        """Count the origin itself."""
        self.hear(own, now)
        if self._wait_s is not None:
            self._due = now + self._wait_s

    def tick(self, now: float) -> None:
        """Stop, if that is due."""
        if self.stopped_at is None and now >= self._due:
            self.stopped_at = now

    def deadline(self) -> float | None:
        """Say when it stops if nothing more comes."""
        return None if self.stopped_at is not None else self._due


class Origin:
    """The machine of the member that asks: a peer, with a collector before it."""

    def __init__(self, peer: Peer, collector: Collector, own: Reply) -> None:
        self.peer = peer
        self.collector = collector
        self._own = own

    def start(self, now: float) -> list[Effect]:
        """Ask."""
        self.collector.begin(self._own, now)
        return self.peer.begin(now)

    def receive(self, sender: Address, message: Any, now: float) -> list[Effect]:
        """Collect answers; the rest is the peer's."""
        if type(message) is Reply:
            self.collector.hear(message, now)
            return []
        return self.peer.receive(sender, message, now)

    def submit(self, event: Event, now: float) -> list[Effect]:
        """Take one event."""
        return self.peer.submit(event, now)

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        due = self.peer.deadline()
        self.collector.tick(now)
        return self.peer.tick(now) if due is not None and due <= now else []

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next."""
        times = [self.peer.deadline(), self.collector.deadline()]
        return min([time for time in times if time is not None], default=None)


class Play(Protocol):
    """A strategy on a stage: what can be seen of it from outside. Times since the query began."""

    def is_over(self) -> bool:
        """Whether the origin has stopped."""

    def found(self) -> "Found":
        """Return what it came to, once it is over."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one query came to, as its origin knows it; times in seconds since it began.

    `times` holds when each answer was there, the origin's own included; None where a strategy
    knows of no single members. `told` is how many others took part in it.
    """

    value: float
    times: list[float] | None
    told: int | None
    hops: int
    stop_s: float


class Cast:
    """The play of a naive strategy: a peer for each member, and a collector at the origin."""

    def __init__(self, stage: Stage, peers: dict[int, Peer], collector: Collector) -> None:
        self.collector = collector
        self._stage = stage
        self._peers = peers
        self._began = stage.world.now
        for number in reversed(stage.up):
            if number:
                stage.add(number, peers[number])
        # The last to start, and it asks at once: everybody else is there.
        stage.add(0, Origin(peers[0], collector, stage.reply(0, 0)))

    def is_over(self) -> bool:
        """Whether the origin has stopped."""
        return self.collector.stopped_at is not None

    def found(self) -> Found:
        """Return what the origin collected."""
        collector = self.collector
        return Found(
            value=collector.value,
            times=[at - self._began for at in collector.answers.values()],
            told=sum([peer.has_heard for number, peer in self._peers.items() if number]),
            hops=collector.hops,
            stop_s=(collector.stopped_at or 0.0) - self._began,
        )
