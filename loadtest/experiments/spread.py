"""`spread`: how evenly increments fall on nodes, under each way to pick a node.

In the simulator a client does what `counter inc` does: it asks the tracker who there is and how
active each was, picks by `counter.client.choice`, and counts there. The tracker, the nodes and
their heartbeats are those that people run, so what is known of the activity is as old as it is
in a cluster. `per_pick` increments follow each pick, as of a program whose client stays.

The rule: what counts is what the nodes hold at the end, not what the clients believe they did.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from counter.client.choice import NO_TURN, PICKS, ROUND_ROBIN, ordered
from counter.messages import ACK_DEFAULT, Counted, Get, Increment, Value
from loadtest.experiments.asking import VIRTUAL
from loadtest.experiments.evenness import (
    max_over_mean,
    root_mean_square,
    variation,
    variation_by_chance,
)
from loadtest.experiments.tables import Asked, CheckFailedError, Column, Panel, Row, middle
from loadtest.plan import Plan
from loadtest.runs import Run
from loadtest.simulation.agenda import SimulationError
from loadtest.simulation.links import ClientLink
from loadtest.virtual import TRACKER, Stage
from tracker.machine import Endpoint
from tracker.messages import Find, Found

KEY: Final = "views"
REPLY_S_MAX: Final = 5.0
COLUMNS: Final = (
    Column("per_pick", "per pick"),
    Column("pick", "pick", None),
    Column("nodes", "nodes"),
    Column("idle", "idle"),
    Column("max_over_mean", "max/mean", 3),
    Column("variation", "variation", 4),
    Column("by_chance", "by chance", 4),
    Column("ratio", "ratio", 2),
)
LEGEND: Final = (
    "per pick: increments at a node before the client picks again; idle: nodes that got nothing,",
    "max/mean: of the busiest node; both medians of the runs; variation: standard deviation over",
    "mean, root mean square of the runs; by chance: if every pick fell on each node alike",
)
PANELS: Final = tuple([
    Panel(
        title, "nodes", "variation", "nodes", "standard deviation over mean (%)", "pick",
        where=(("per_pick", per_pick),), expected="by_chance", log_x=True,
    )
    for title, per_pick in (("A pick for each increment", 1), ("A pick for every 100", 100))
])  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How many increments over which clusters; `runs` of each, each with its seed."""

    increments: int
    nodes: tuple[int, ...]
    per_pick: tuple[int, ...]
    runs: int
    rate: float = 1_000.0
    """Increments a second of all clients together."""


ALL_NODES: Final = (2, 3, 4, 5, 6, 100)
FULL: Final = (Size(increments=10_000, nodes=ALL_NODES, per_pick=(1, 100), runs=5),)
QUICK: Final = (Size(increments=400, nodes=(2, 5), per_pick=(1, 20), runs=2, rate=400.0),)


def cells(sizes: Sequence[Size]) -> Iterator[tuple[Size, int, int, str]]:
    """Yield (size, increments a pick, nodes, way to pick) of every row."""
    for size in sizes:
        for per_pick in size.per_pick:
            for nodes in size.nodes:
                for pick in PICKS:
                    yield size, per_pick, nodes, pick


def simulate(asked: Asked) -> None:
    """Count under every way to pick a node, in the simulator."""
    for size, per_pick, nodes, pick in cells(QUICK if asked.is_quick else FULL):
        shares = []
        for number in range(size.runs):
            if asked.is_over():
                return
            asked.say(f"{nodes} nodes: {pick}, {per_pick} increments a pick, run {number + 1}")
            shares.append(counted(size, nodes, pick, per_pick, asked.seed + number))
        asked.found(row_of(VIRTUAL, pick, per_pick, shares))


def row_of(mode: str, pick: str, per_pick: int, shares: Sequence[Sequence[int]]) -> Row:
    """Return the row of several runs, each given as the shares of all its nodes."""
    nodes, increments = len(shares[0]), sum(shares[0])
    found = root_mean_square([variation(one) for one in shares])
    chance = variation_by_chance(nodes, increments, per_pick)
    return {
        "mode": mode,
        "per_pick": per_pick,
        "pick": pick,
        "nodes": nodes,
        "increments": increments,
        "runs": len(shares),
        "idle": middle([sum([share == 0 for share in one]) for one in shares]),
        "max_over_mean": middle([max_over_mean(one) for one in shares]),
        "variation": found,
        "by_chance": chance,
        "ratio": found / chance,
    }


def counted(size: Size, nodes: int, pick: str, per_pick: int, seed: int) -> list[int]:
    """Count once, and return what each node holds in the end.

    Raises CheckFailedError if that is not what was counted.
    """
    stage = Stage(Run(Plan(nodes=nodes, seed=seed, latency_s=0.0, writers=0, queries=0)))
    stage.boot()
    client = _Client(stage, pick)
    began = stage.world.now
    for number in range(size.increments):
        stage.world.run_until(began + number / size.rate)
        if number % per_pick == 0:
            client.pick(number // per_pick)
        client.count()
    held = [client.held(node.membership.member.endpoint) for node in stage.nodes.values()]
    if sum(held) != size.increments:
        raise CheckFailedError(f"{sum(held)} of {size.increments} increments are held")
    return held


class _Client:
    """All clients of the experiment, one after another; connections are kept between them."""

    def __init__(self, stage: Stage, pick: str) -> None:
        self._stage = stage
        self._pick = pick
        self._dice = stage.world.random("dice")
        self._links: dict[Endpoint, ClientLink] = {}
        self._chosen: Endpoint = TRACKER
        self._session = b""
        self._sequence = 0

    def pick(self, turn: int) -> None:
        """Choose a node by what the tracker tells now, and begin a session there."""
        told = turn if self._pick == ROUND_ROBIN else NO_TURN
        found = self._reply(TRACKER, Find(turn + 1, "", told), Found)
        _, host, port, *_ = ordered(found.candidates, self._pick, self._dice, turn)[0]
        self._chosen = (host, port)
        self._session, self._sequence = self._dice.randbytes(16), 0

    def count(self) -> None:
        """Count once at the node that was chosen."""
        self._sequence += 1
        message = Increment(self._session, self._sequence, (KEY, 1), ACK_DEFAULT)
        self._reply(self._chosen, message, Counted)

    def held(self, where: Endpoint) -> int:
        """Return what a node holds."""
        value: int = self._reply(where, Get(1, KEY), Value).value
        return value

    def _reply(self, where: Endpoint, message: Any, kind: type) -> Any:
        world = self._stage.world
        link = self._links.get(where)
        if link is None:
            link = self._links[where] = world.connect(where)
        link.send(message)
        world.run_until(lambda: link.received, time_max=world.now + REPLY_S_MAX)
        reply = link.received.pop() if link.received else None
        if type(reply) is not kind:
            raise SimulationError(f"{where} said {reply!r} to a {type(message).__name__}")
        return reply
