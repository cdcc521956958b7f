"""The seeded network: how long a message takes, whether it arrives, who is cut off.

The rule: every draw comes from the one generator handed in, and is made in the order in
which messages are sent. Whether a path is cut is decided when a message is sent: what is
under way arrives.

A hop takes `base_s` and an exponentially distributed rest with mean `jitter_s`. Loss and
duplication are independent for each datagram; bursts of loss strike a node (`bursts`). A share of
the datagrams may be held up and overtaken: their extra time has a heavy tail (Lomax, that is
Pareto from 0, with exponent 1.5), as queues in the field have. A stream loses nothing and keeps
its order; each independent loss costs it a retransmission instead, and bursts do not strike it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log
from random import Random

from loadtest.simulation.bursts import Bursts, Ways
from tracker.errors import ConfigError
from tracker.machine import Endpoint

PARTITIONS_MAX = 1_000
RETRANSMISSIONS_MAX = 8
TAIL_EXPONENT = 1.5
HELD_UP_S_MAX = 5.0
"""What a datagram is held up at most: routers do not keep one for longer."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """How good the network is. Times in seconds, shares from 0 to 1."""

    base_s: float = 0.008
    """Least time of a hop; 1 µs or more, at zero the virtual clock could stand still."""
    jitter_s: float = 0.002
    """Mean of what comes on top; 0 or more."""
    stream_base_s: float | None = None
    """The same for streams, where it differs: clients that sit beside their node."""
    loss: float = 0.0
    """Share of datagrams that vanish; below 1."""
    duplication: float = 0.0
    """Share of datagrams that arrive twice; below 1."""
    bursts: Bursts | None = None
    """Bursts of loss that strike single nodes; None for none."""
    reordering: float = 0.0
    """Share of datagrams that are held up, and overtaken by later ones; below 1."""
    held_up_s: float = 0.05
    """Scale of their extra time: the median is 0.59 of it, the mean twice as long; 0 or more."""
    closed_ports: float = 0.0
    """Share of the datagrams to where nobody runs whose sender is told so, one hop later."""
    retransmit_s: float = 0.2
    """What one loss costs a stream; Linux's least retransmission time."""
    connect_timeout_s: float = 2.0
    """How long an unanswered `Open` waits until it is `Unreachable`."""
    stall_max_s: float = 5.0
    """How long a stream holds back data on a cut path until it is `Closed` at both sides."""
    backlog_max: int = 10_000
    """Datagrams a receive buffer holds for a slow or paused machine."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in plain words."""
        for base_s in (self.base_s, self.stream_base_s):
            if base_s is not None and not base_s >= 1e-6:
                raise ConfigError(f"base is {base_s:g} s, needs at least 1 µs")
        if not 0.0 <= self.closed_ports <= 1.0:
            raise ConfigError(f"closed_ports is {self.closed_ports:g}, needs 0 to 1")
        for what in ("loss", "duplication", "reordering"):
            share = getattr(self, what)
            if not 0.0 <= share < 1.0:
                raise ConfigError(f"{what} is {share:g}, needs 0 or more, less than 1")
        for what in _TIMES:
            if not getattr(self, what) >= 0.0:
                raise ConfigError(f"{what} is {getattr(self, what):g}, needs 0 or more")
        if self.backlog_max < 1:
            raise ConfigError(f"backlog_max is {self.backlog_max}, needs at least 1")


_TIMES = ("jitter_s", "held_up_s", "retransmit_s", "connect_timeout_s", "stall_max_s")


class Partition:
    """Messages from `sources` to `targets` do not pass; without targets, to no one outside.

    "No one outside" means the machines: a client is cut off only where it is named.
    """

    __slots__ = ("_sources", "_targets", "is_one_way")

    def __init__(
        self, sources: Iterable[Endpoint], targets: Iterable[Endpoint] | None, *, one_way: bool
    ) -> None:
        self._sources = frozenset(sources)
        self._targets = None if targets is None else frozenset(targets)
        self.is_one_way = one_way

    def stops(self, source: Endpoint, target: Endpoint, clients: set[Endpoint]) -> bool:
        """Say whether a message from `source` to `target` is stopped here."""
        if self._crosses(source, target, clients):
            return True
        return not self.is_one_way and self._crosses(target, source, clients)

    def _crosses(self, inside: Endpoint, outside: Endpoint, clients: set[Endpoint]) -> bool:
        if inside not in self._sources:
            return False
        if self._targets is not None:
            return outside in self._targets
        return outside not in self._sources and outside not in clients


class Network:
    """Draws the fate of each message."""

    def __init__(self, config: NetworkConfig, random: Random) -> None:
        self.clients: set[Endpoint] = set()
        self._random = random
        self._ways: Ways | None = None
        self.partitions: list[Partition] = []
        self.change(config)

    def change(self, config: NetworkConfig) -> None:
        """Let the network be as good as this from now on; what is under way stays as it was."""
        bursts = config.bursts
        if bursts is None:
            self._ways = None
        elif self._ways is None or self._ways.config != bursts:
            self._ways = Ways(bursts, self._random)
        self.config = config
        self.is_rough = bursts is not None or config.reordering > 0.0

    def cut(self, partition: Partition) -> None:
        """Put a partition in place."""
        if len(self.partitions) >= PARTITIONS_MAX:
            raise ConfigError(f"more than {PARTITIONS_MAX} partitions at once")
        self.partitions.append(partition)

    def heal(self, partition: Partition | None = None) -> None:
        """Take one partition away, or all of them."""
        if partition is None:
            self.partitions.clear()
        elif partition in self.partitions:
            self.partitions.remove(partition)

    def is_cut(self, source: Endpoint, target: Endpoint) -> bool:
        """Say whether messages from `source` to `target` pass at this moment."""
        partitions = self.partitions
        if not partitions:
            return False
        return any(p.stops(source, target, self.clients) for p in partitions)

    def hop_s(self) -> float:
        """Draw the time of one hop."""
        config = self.config
        return config.base_s - config.jitter_s * log(1.0 - self._random.random())

    def datagram_delays(self) -> tuple[float, ...]:
        """Draw when the copies of one datagram arrive: none, one or two delays in seconds."""
        config = self.config
        if config.loss and self._random.random() < config.loss:
            return ()
        if config.duplication and self._random.random() < config.duplication:
            return self.hop_s(), self.hop_s()
        # The same as `hop_s`, without the call: this is the simulator's innermost loop.
        return (config.base_s - config.jitter_s * log(1.0 - self._random.random()),)

    def rough_delays(self, source: Endpoint, target: Endpoint, now: float) -> tuple[float, ...]:
        """Draw the same where bursts strike, or datagrams are held up (`is_rough`)."""
        if self._ways is not None and self._ways.loses(source, target, now):
            return ()
        delays = self.datagram_delays()
        if not self.config.reordering:
            return delays
        return tuple([delay + self._held_up_s() for delay in delays])

    def _held_up_s(self) -> float:
        if self._random.random() >= self.config.reordering:
            return 0.0
        tail: float = (1.0 - self._random.random()) ** (-1.0 / TAIL_EXPONENT)
        return min(HELD_UP_S_MAX, self.config.held_up_s * (tail - 1.0))

    def tells_closed(self) -> bool:
        """Draw whether a sender hears that nobody runs where a datagram arrived."""
        share = self.config.closed_ports
        return share >= 1.0 or self._random.random() < share

    def stream_hop_s(self) -> float:
        """Draw the time of one hop of a stream, retransmissions included."""
        config = self.config
        delay = self.hop_s()
        if config.stream_base_s is not None:
            delay += config.stream_base_s - config.base_s
        loss = config.loss
        if loss:
            for _ in range(RETRANSMISSIONS_MAX):
                if self._random.random() >= loss:
                    break
                delay += config.retransmit_s
        return delay
