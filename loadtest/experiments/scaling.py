"""`scaling`: write throughput and the time of a query from 1 to 1000 nodes.

Increments are counted by clients that each wait for the acknowledgement before the next one, on
nodes all over the cluster; then nobody counts, and queries are asked one after another.

The rule: all nodes share this machine, so what grows or does not with the cluster is the CPU that
an increment and a query's message cost; a rate says as much of the machine. At the end the cluster
must hold what was acknowledged, to the last increment.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, process_time
from typing import Final

from counter.client.door import Door
from counter.messages import UNTIL_ALL, Query
from loadtest.experiments.asking import SOCKETS
from loadtest.experiments.sockets import started
from loadtest.experiments.tables import Asked, CheckFailedError, Column, Panel, Row, middle
from loadtest.fleet import Fleet
from loadtest.workers import Workers

KEY: Final = "views"
DEADLINE_MS: Final = 20_000
ANSWER_S_MAX: Final = 30.0
COLUMNS: Final = (
    Column("nodes", "nodes"),
    Column("processes", "processes"),
    Column("boot_s", "up after s", 1),
    Column("rest_share", "rest", 1, "%"),
    Column("per_s", "incr/s"),
    Column("increment_us", "CPU µs/incr", 1),
    Column("ack_ms", "ack ms", 2),
    Column("query_ms", "query ms", 1),
    Column("query_max_ms", "max", 1),
    Column("messages_per_node", "msgs", 3),
    Column("message_us", "CPU µs/msg", 1),
)
LEGEND: Final = (
    "rest: share of a core that nodes and tracker take while nothing happens; incr/s, CPU, ack",
    "(median): clients that count one by one, their CPU and that of the nodes, but for that at",
    "rest; query: median and slowest, while nobody counts; msgs: per node and query",
)
PANELS: Final = tuple([
    Panel(title, "nodes", field, "nodes", label, log_x=True, log_y=is_log)
    for title, field, label, is_log in (
        ("CPU of an acknowledged increment", "increment_us", "CPU (µs)", False),
        ("Increments a second, all nodes on one machine", "per_s", "increments a second", False),
        ("Time of a query, no delay between nodes", "query_ms", "time (ms)", True),
        ("CPU of a query's message", "message_us", "CPU (µs)", False),
    )
])  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Which clusters, and what is done to each; times in s."""

    nodes: tuple[int, ...]
    clients: int
    rest_s: float
    load_s: float
    queries: int


FULL: Final = Size(
    nodes=(1, 3, 10, 30, 100, 300, 1_000), clients=32, rest_s=3.0, load_s=5.0, queries=30
)
QUICK: Final = Size(nodes=(1, 5), clients=4, rest_s=0.1, load_s=0.2, queries=3)


async def scale(asked: Asked) -> None:
    """Load one cluster after another. Raises CheckFailedError if one holds not what it should."""
    size = QUICK if asked.is_quick else FULL
    for nodes in size.nodes:
        if asked.is_over():
            return
        asked.say(f"{nodes} nodes come up")
        began = monotonic()
        async with started(Workers(nodes, seed=asked.seed), asked) as fleet:
            row: Row = {"mode": SOCKETS, "nodes": nodes, "boot_s": monotonic() - began}
            meter = Meter(fleet)
            await meter.start()
            await asyncio.sleep(size.rest_s)
            rest = row["rest_share"] = await meter.cpu_share()
            row["processes"] = meter.processes
            asked.say(f"{nodes} nodes: increments")
            row |= await _written(fleet, size, meter, rest)
            asked.say(f"{nodes} nodes: queries")
            row |= await _asked_for(fleet, size, meter, row["acked"])
        asked.found(row)


class Meter:
    """The CPU of everything that takes part: nodes, tracker, and whoever loads them."""

    def __init__(self, fleet: Fleet) -> None:
        self.processes = 1
        self.elapsed_s = self.cpu_s = 0.0
        self._fleet = fleet
        self._before = self._began = 0.0

    async def start(self) -> None:
        """Begin to measure."""
        self._before = await self._used()
        self._began = monotonic()

    async def stop(self) -> None:
        """Measure: `elapsed_s` and `cpu_s` since the start."""
        self.elapsed_s = monotonic() - self._began
        self.cpu_s = await self._used() - self._before

    async def cpu_share(self) -> float:
        """Return the CPU since the start as a share of one core."""
        await self.stop()
        return self.cpu_s / self.elapsed_s

    async def _used(self) -> float:
        usage = await self._fleet.usage()
        self.processes = usage.processes
        return usage.cpu_s + (0.0 if usage.has_caller else process_time())


async def _written(fleet: Fleet, size: Size, meter: Meter, rest: float) -> Row:
    """Count for a while; returns what that cost."""
    nodes = len(fleet.names)
    # As far from each other as can be, and never two at one node before all have one.
    places = [fleet.names[n * max(1, nodes // size.clients) % nodes] for n in range(size.clients)]
    doors = [await Door.open(fleet.endpoints[name]) for name in places]
    await meter.start()
    until = monotonic() + size.load_s
    counted = await asyncio.gather(*[_count(door, until) for door in doors])
    await meter.stop()
    for door in doors:
        door.close()
    waits = [wait for waits in counted for wait in waits]
    count = len(waits)
    return {
        "acked": count,
        "per_s": count / meter.elapsed_s,
        "increment_us": 1e6 * max(0.0, meter.cpu_s - rest * meter.elapsed_s) / count,
        "ack_ms": middle(waits),
    }


async def _count(door: Door, until: float) -> Sequence[float]:
    """Count one by one, once at least, until a time; returns how long each took in ms."""
    waits: list[float] = []
    while not waits or monotonic() < until:
        began = monotonic()
        await door.count(KEY, 1)
        waits.append(1000 * (monotonic() - began))
    return waits


async def _asked_for(fleet: Fleet, size: Size, meter: Meter, acked: int) -> Row:
    """Ask nodes all over the cluster; every answer must be complete and exact."""
    step = max(1, len(fleet.names) // size.queries)
    times = []
    spent_s, messages = 0.0, 0
    for number in range(size.queries + 1):
        name = fleet.names[number * step % len(fleet.names)]
        door = await Door.open(fleet.endpoints[name])
        before = await fleet.totals()
        await meter.start()
        async with asyncio.timeout(ANSWER_S_MAX):
            answer, _ = await door.ask(Query(0, KEY, 0, 0, 0, DEADLINE_MS, UNTIL_ALL, 0, 0, False))
        await meter.stop()
        door.close()
        if not answer.complete or answer.value != acked:
            raise CheckFailedError(f"{answer.value} of {acked} read, {answer.reason}")
        # The first one finds no list sorted yet, and is not counted.
        if number:
            times.append(answer.elapsed_ms)
            spent_s += meter.cpu_s
            messages += (await fleet.totals()).datagrams_out - before.datagrams_out
    return {
        "queries": len(times),
        "query_ms": middle(times),
        "query_max_ms": max(times),
        "messages_per_node": messages / len(times) / len(fleet.names),
        "message_us": 1e6 * spent_s / messages if messages else None,
    }
