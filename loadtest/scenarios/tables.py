"""The tables of a scenario: what may stand in its file, and what each field means.

The rule: these dataclasses are the schema (`fields`). What a field takes, its default and its
help stand in one place, which is where the reader and the reference page find them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Final

from counter.config import AGE_MAX, CHATTER_MAX, LAN, LOCAL, VISITS_MAX, WAN, GossipConfig
from counter.messages import UNTIL_ALL, UNTIL_SHARE, UNTIL_STABLE
from loadtest.scenarios.fields import (
    EVERYBODY,
    FLAG,
    LINE,
    NODES,
    TIME_S_MAX,
    WHO,
    FieldError,
    Kind,
    Who,
    duration,
    entry,
    number,
    one_of,
    read_table,
    share,
    shown,
    whole,
)
from loadtest.simulation.bursts import Bursts
from loadtest.simulation.network import NetworkConfig
from loadtest.workload import SEED_MAX
from tracker.config import parse_duration
from tracker.wire import AMOUNT_MAX

NODES_MAX = 20_000
TRACKERS_MAX = 8
PRESET_S: Final = ((0.002, LOCAL), (0.030, LAN))


def _read_until(value: Any) -> tuple[int, int]:
    if value == "all":
        return UNTIL_ALL, 0
    if type(value) is str and value.startswith("stable:"):
        how = UNTIL_STABLE, round(1000 * parse_duration(value.removeprefix("stable:")))
    elif type(value) is str and value.endswith("%"):
        how = UNTIL_SHARE, round(1000 * share().read(value))
    else:
        how = UNTIL_ALL, 0
    # Nothing is enough of nothing, as on the command line.
    if how[1]:
        return how
    raise ValueError(f'{shown(value)} is none of "all", "95%", "stable:200ms"')


UNTIL = Kind('`"all"`, `"95%"` or `"stable:200ms"`', _read_until)


# -- the tables -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Burst:
    """Bursts of loss: each node's way to the network is bad now and then."""

    every_s: float = entry(duration(0.001), "mean time between two bursts of one node")
    last_s: float = entry(duration(0.001), "mean length of a burst")
    loss: float = entry(share(), "share of a node's datagrams lost in a burst, each way", 1.0)
    between: float = entry(share(0.99), "share lost outside of bursts", 0.0)


def _read_burst(value: Any) -> Burst:
    if type(value) is not dict:
        raise ValueError(f'{shown(value)} is not {{ every = "2s", last = "200ms" }}')
    try:
        return read_table(Burst, value)
    except FieldError as error:
        raise ValueError(str(error)) from error


BURST = Kind("`{ every, last, loss, between }`", _read_burst)


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How good the network is. Streams to clients and trackers lose nothing, they get slow."""

    latency_s: float = entry(duration(50e-6, 5.0), "least time of a hop", 0.008)
    jitter_s: float = entry(duration(0.0, 5.0), "mean of what comes on top, exponential", 0.002)
    loss: float = entry(share(0.99), "datagrams that vanish, each by itself", 0.0)
    duplicates: float = entry(share(0.99), "datagrams that arrive twice", 0.0)
    reordered: float = entry(share(0.99), "datagrams that are held up and overtaken", 0.0)
    held_up_s: float = entry(duration(0.0, 5.0), "scale of their extra time (heavy tail)", 0.05)
    bursts: Burst | None = entry(BURST, "bursts of loss that strike single nodes", None)
    closed_ports: float = entry(
        share(), "datagrams to a process that does not run whose sender is told so at once", 0.0
    )

    @property
    def network(self) -> NetworkConfig:
        """The same for the simulator."""
        burst = self.bursts
        return NetworkConfig(
            base_s=self.latency_s,
            jitter_s=self.jitter_s,
            loss=self.loss,
            duplication=self.duplicates,
            reordering=self.reordered,
            held_up_s=self.held_up_s,
            closed_ports=self.closed_ports,
            bursts=None
            if burst is None
            else Bursts(
                good_s=burst.every_s,
                bad_s=burst.last_s,
                loss=burst.loss,
                loss_between=burst.between,
            ),
        )

    @property
    def preset(self) -> GossipConfig:
        """The preset of the nodes' gossip for this latency."""
        for latency_s, preset in PRESET_S:
            if self.latency_s + self.jitter_s <= latency_s:
                return preset
        return WAN


@dataclass(frozen=True, kw_only=True)
class Writers:
    """Clients that count, one increment after another; one in doubt is sent again, same id."""

    count: int = entry(whole(1, 1_000), "how many", 5)
    who: Who = entry(NODES, "at which nodes; each its own while there are enough", EVERYBODY)
    rate: float = entry(number(0.001, 100_000), "increments a second, all of them together", 50.0)
    keys: int = entry(whole(1, 10_000), "keys they count on: key-0, key-1, …", 2)
    amount: int = entry(whole(1, AMOUNT_MAX), "largest amount of one increment", 1)
    at_s: float = entry(duration(), "when they begin", 0.0)
    until_s: float | None = entry(duration(), "when they end; default: the duration", None)


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Queries, one after another at fixed times, however long each takes."""

    who: Who = entry(NODES, "who is asked: one of these, drawn by the seed", EVERYBODY)
    every_s: float = entry(duration(0.001), "time from one to the next", 0.5)
    at_s: float = entry(duration(), "when the first begins", 0.1)
    last_s: float | None = entry(duration(), "none begins later; default: the duration", None)
    key: str | None = entry(LINE, "which key; default: drawn from those that are counted", None)
    chatter: int = entry(whole(0, CHATTER_MAX), "peers each node asks; 0: the node's default", 0)
    age_max: int = entry(whole(0, AGE_MAX), "hops it may travel; 0: enough", 0, written="max_age")
    visits_max: int = entry(
        whole(0, VISITS_MAX), "rounds of each node; 0: by chatter", 0, written="max_visits"
    )
    until: tuple[int, int] = entry(UNTIL, "what is enough", (UNTIL_ALL, 0))
    deadline_s: float = entry(duration(0.001, 600.0), "when to stop in any case", 2.0)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What must hold at the end, beside what always must."""

    end: str = entry(one_of("complete", "converged"), "how the last reads must end", "complete")
    missing: Who = entry(NODES, "who, and nobody else, the last reads must name missing", Who())
    exact_within_s: float = entry(
        duration(), "time from the last change, or the last write, to the first exact read", 5.0
    )
    complete: float = entry(share(), "least share of the queries that end complete", 0.0)
    false_stops: float = entry(
        share(),
        "share of the queries, rounded up, that may stop with a member unheard that was up and"
        " could be reached all the time",
        0.01,
    )
    stop_s: float | None = entry(duration(), "most time until a query ended", None)
    messages: float | None = entry(number(0, 1_000), "most messages per node and query", None)
    refused: str | None = entry(LINE, "the code with which a tracker must refuse a node", None)


# -- events ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happens."""

    do: ClassVar[str] = ""
    at_s: float = entry(duration(), "when")

    @property
    def ends_s(self) -> float:
        """When it is over."""
        until = getattr(self, "until_s", None)
        return self.at_s if until is None else until

    def named(self) -> Iterator[Who]:
        """Yield those it names."""
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Who):
                yield value


UNTIL_TIME: Final = "when it is over; default: not before the end"


@dataclass(frozen=True, kw_only=True)
class Crash(Event):
    """End processes without a word. What their disks had not synced is lost."""

    do: ClassVar[str] = "crash"
    who: Who = entry(WHO, "nodes, trackers")
    until_s: float | None = entry(
        duration(), "when the same start again; default: not by themselves", None
    )


@dataclass(frozen=True, kw_only=True)
class Restart(Event):
    """Start nodes or trackers again; those that run are ended first, without a word."""

    do: ClassVar[str] = "restart"
    who: Who = entry(WHO, "nodes, trackers; `down` for all that do not run")
    disk: str = entry(
        one_of("same", "wiped", "backup"),
        "what they find there",
        "same",
    )
    moved: bool = entry(FLAG, "whether at another address", False)


@dataclass(frozen=True, kw_only=True)
class Backup(Event):
    """Copy the disks of nodes, to start from them later."""

    do: ClassVar[str] = "backup"
    who: Who = entry(NODES, "which")


@dataclass(frozen=True, kw_only=True)
class Cut(Event):
    """Let nothing pass between two sides, or in one direction only."""

    do: ClassVar[str] = "partition"
    who: Who = entry(WHO, "one side")
    to: Who | None = entry(WHO, "the other side; default: everybody else", None)
    one_way: bool = entry(FLAG, "whether only what goes from `who` to `to` is stopped", False)
    until_s: float | None = entry(duration(), "when it heals; default: not before the end", None)


@dataclass(frozen=True, kw_only=True)
class Flap(Event):
    """Cut and heal again and again."""

    do: ClassVar[str] = "flap"
    who: Who = entry(WHO, "one side")
    to: Who | None = entry(WHO, "the other side; default: everybody else", None)
    one_way: bool = entry(FLAG, "whether only what goes from `who` to `to` is stopped", False)
    down_s: float = entry(duration(0.001), "how long it is cut", 0.3)
    up_s: float = entry(duration(0.001), "how long it is whole", 0.3)
    until_s: float = entry(duration(), "when it is whole for good")


@dataclass(frozen=True, kw_only=True)
class Join(Event):
    """Start new nodes, all at once."""

    do: ClassVar[str] = "join"
    count: int = entry(whole(1, NODES_MAX), "how many; they are named on from the last")


@dataclass(frozen=True, kw_only=True)
class Leave(Event):
    """Stop nodes gracefully: they say so, write what is left, and end."""

    do: ClassVar[str] = "leave"
    who: Who = entry(NODES, "which")


@dataclass(frozen=True, kw_only=True)
class Forget(Event):
    """Give up the counts of members that do not run, as `counter forget` does."""

    do: ClassVar[str] = "forget"
    who: Who = entry(NODES, "which")


@dataclass(frozen=True, kw_only=True)
class Pause(Event):
    """Stop processes as SIGSTOP does: what arrives waits, timers do not fire."""

    do: ClassVar[str] = "pause"
    who: Who = entry(WHO, "nodes, trackers")
    until_s: float | None = entry(duration(), "when they wake; default: not before the end", None)


@dataclass(frozen=True, kw_only=True)
class Slow(Event):
    """Let each message that arrives take longer, one after another: an overloaded process."""

    do: ClassVar[str] = "slow"
    who: Who = entry(WHO, "nodes, trackers")
    by_s: float = entry(duration(1e-6, 10.0), "time for each message")
    until_s: float | None = entry(duration(), UNTIL_TIME, None)


@dataclass(frozen=True, kw_only=True)
class Full(Event):
    """Let disks be full: what is written is refused, and certainly not kept."""

    do: ClassVar[str] = "disk-full"
    who: Who = entry(WHO, "nodes, trackers")
    until_s: float | None = entry(duration(), UNTIL_TIME, None)


@dataclass(frozen=True, kw_only=True)
class Change(Event):
    """Let the network be another one; what is not named stays as it was in `[network]`."""

    do: ClassVar[str] = "weather"
    latency_s: float | None = entry(duration(50e-6, 5.0), "as in [network]", None)
    jitter_s: float | None = entry(duration(0.0, 5.0), "as in [network]", None)
    loss: float | None = entry(share(0.99), "as in [network]", None)
    duplicates: float | None = entry(share(0.99), "as in [network]", None)
    reordered: float | None = entry(share(0.99), "as in [network]", None)
    held_up_s: float | None = entry(duration(0.0, 5.0), "as in [network]", None)
    bursts: Burst | None = entry(BURST, "as in [network]", None)
    closed_ports: float | None = entry(share(), "as in [network]", None)
    until_s: float | None = entry(duration(), UNTIL_TIME, None)

    def applied(self, weather: Weather) -> Weather:
        """Return what the weather becomes."""
        names = [f.name for f in fields(Weather)]
        given = {n: v for n in names if (v := getattr(self, n)) is not None}
        return replace(weather, **given)


@dataclass(frozen=True, kw_only=True)
class Lie(Event):
    """Let members answer queries with lies; what they count stays true."""

    do: ClassVar[str] = "lie"
    who: Who = entry(NODES, "which")
    how: str = entry(
        one_of("name", "twice", "later", "invented", "holder", "cut"),
        "`name`: also answer in others' names. `twice`: answer a second time, with one more. "
        "`later`: for others as if they had started again. `invented`: for members there are not. "
        "`holder`: with the counts of others. `cut`: that it could pass the query on to nobody",
    )
    until_s: float | None = entry(duration(), UNTIL_TIME, None)


@dataclass(frozen=True, kw_only=True)
class Count(Event):
    """Count once at each of some nodes."""

    do: ClassVar[str] = "count"
    who: Who = entry(NODES, "which")
    key: str = entry(LINE, "which key", "key-0")
    amount: int = entry(whole(-AMOUNT_MAX, AMOUNT_MAX), "how much", 1)


EVENTS: Final[dict[str, type[Event]]] = {
    e.do: e
    for e in (
        Crash, Restart, Backup, Cut, Flap, Join, Leave, Forget, Pause, Slow, Full, Change, Lie,
        Count,
    )
}  # fmt: skip


# -- the whole ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is done to a cluster, and what must hold."""

    name: str
    about: str = entry(LINE, "what it shows, in one line")
    nodes: int = entry(whole(1, NODES_MAX), "how many nodes: n1, n2, …", 20)
    trackers: int = entry(whole(1, TRACKERS_MAX), "how many trackers: t1, t2, …", 1)
    durable: bool = entry(FLAG, "whether nodes have disks, or keep everything in memory", True)
    chatter: int = entry(whole(1, CHATTER_MAX), "peers a node passes a query to", 10)
    seed: int | None = entry(
        whole(0, SEED_MAX), "which seed, if `--seed` does not say; default: drawn", None
    )
    duration_s: float = entry(duration(0.1, TIME_S_MAX), "how long writers and queries go on")
    fsync_s: float = entry(duration(0.0, 10.0), "least time of an fsync", 0.001)
    network: Weather = field(default_factory=Weather)
    writers: tuple[Writers, ...] = ()
    queries: tuple[Queries, ...] = ()
    events: tuple[Event, ...] = ()
    expect: Expected = field(default_factory=Expected)

    @property
    def gossip(self) -> GossipConfig:
        """The settings of every node."""
        return replace(self.network.preset, chatter=self.chatter)

    @property
    def changed_s(self) -> float:
        """When the last event is over."""
        return max([event.ends_s for event in self.events], default=0.0)


LISTS: Final = {"writers": Writers, "queries": Queries}
TABLES: Final = {"network": Weather, "expect": Expected}
