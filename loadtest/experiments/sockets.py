"""The same experiments on real nodes and sockets, in processes of this machine.

The rule: it knows a fleet, never a node, and whatever is counted of messages is the difference
of the nodes' own counters around one query at a time. Clients are `counter.AsyncClient` and the
load test's door, through the tracker and the streams that people use.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Final

import anyio

from counter import AsyncClient
from counter.client.door import Door
from counter.config import CHATTER_MAX, LAN, VISITS_MAX
from counter.messages import UNTIL_ALL, Query
from loadtest.experiments import fanout, loss, spread
from loadtest.experiments.asking import SOCKETS, Seen, fields, reached
from loadtest.experiments.tables import Asked, CheckFailedError
from loadtest.faults import Faults
from loadtest.fleet import Fleet, FleetError
from loadtest.toll import Toll
from loadtest.workers import Workers
from tracker.config import shown_endpoint
from tracker.daemon import has_uvloop, rare_collections

KEY: Final = "views"
LATENCY_S: Final = 0.010
DEADLINE_MS: Final = 20_000
ANSWER_S_MAX: Final = 30.0
LOOK_S: Final = 0.1

SPREAD_FULL: Final = (
    spread.Size(increments=1_000, nodes=spread.ALL_NODES, per_pick=(1,), runs=1, rate=200.0),
    spread.Size(increments=10_000, nodes=spread.ALL_NODES, per_pick=(100,), runs=1, rate=2_000.0),
)
SPREAD_QUICK: Final = (
    spread.Size(increments=60, nodes=(2,), per_pick=(20,), runs=1, rate=1_000.0),
)
FANOUT_FULL: Final = fanout.Size(
    nodes=1_000, chatters=(1, 2, 3, 6, 10, 32), visits=(1, 2, 5), queries=5
)
FANOUT_QUICK: Final = fanout.Size(nodes=20, chatters=(2, 10), visits=(1,), queries=2)
LOSS_FULL: Final = replace(loss.FULL, silent=(0.0,), queries=10)
LOSS_QUICK: Final = loss.Size(nodes=20, losses=(0.0, 0.2), silent=(0.0,), queries=2)


class OverError(Exception):
    """A person wished for the end while a fleet was starting."""


def run(work: Callable[[Asked], Awaitable[None]], asked: Asked) -> None:
    """Carry an experiment out on the event loop that nodes run on. Raises ClusterError."""
    options = {"use_uvloop": has_uvloop()}
    with rare_collections(), suppress(OverError):
        anyio.run(partial(work, asked), backend="asyncio", backend_options=options)


@asynccontextmanager
async def started(fleet: Fleet, asked: Asked) -> AsyncIterator[Fleet]:
    """Start a fleet, and end it whatever happens.

    Raises FleetError if it breaks meanwhile, OverError if nobody wants it any more.
    """
    try:
        await _start(fleet, asked)
        whoever = asyncio.current_task()
        assert whoever is not None
        broken = asyncio.create_task(fleet.broken())
        broken.add_done_callback(lambda task: task.cancelled() or whoever.cancel())
        try:
            yield fleet
        except asyncio.CancelledError:
            if broken.done() and not broken.cancelled():
                raise FleetError(broken.result()) from None
            raise
        finally:
            broken.cancel()
    finally:
        await fleet.stop()


async def _start(fleet: Fleet, asked: Asked) -> None:
    starting = asyncio.create_task(fleet.start())
    while not starting.done():
        await asyncio.wait([starting], timeout=LOOK_S)
        if asked.is_over():
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            raise OverError
    await starting


# -- queries --------------------------------------------------------------------------------


class Asker:
    """Asks one node of a fleet, one query after another."""

    def __init__(self, fleet: Fleet, origin: str, door: Door) -> None:
        self._fleet = fleet
        self._origin = origin
        self._door = door
        self._toll = Toll(fleet, LATENCY_S)

    @classmethod
    async def of(cls, fleet: Fleet) -> "Asker":
        """Connect to the first node."""
        origin = fleet.names[0]
        return cls(fleet, origin, await Door.open(fleet.endpoints[origin]))

    def close(self) -> None:
        """End the connection."""
        self._door.close()

    async def ask(self, *, chatter: int = 0, visits: int = 0) -> Seen:
        """Ask once, with every node up; a wish of 0 is left to the node's settings."""
        assert chatter <= CHATTER_MAX
        assert visits <= VISITS_MAX
        await self._toll.open()
        query = Query(0, KEY, chatter, visits, 0, DEADLINE_MS, UNTIL_ALL, 0, 0, True)
        async with asyncio.timeout(ANSWER_S_MAX):
            answer, found = await self._door.ask(query)
        cost = await self._toll.paid(self._origin, answer)
        nodes = len(self._fleet.names)
        times = {name: after_ms for name, _, _, after_ms in found.rows}
        return Seen(
            nodes=nodes,
            live=nodes,
            heard=len(times),
            reason=answer.reason,
            hops=answer.hops,
            messages=cost.messages,
            to_silent=0,
            duplicates=cost.duplicates,
            bytes=cost.bytes,
            **reached(list(times.values()), nodes),
            stop_ms=answer.elapsed_ms,
        )


async def _several(asker: Asker, asked: Asked, count: int, **wishes: int) -> list[Seen]:
    """Ask so many times, or until a person wants no more."""
    seen: list[Seen] = []
    while len(seen) < count and not asked.is_over():
        seen.append(await asker.ask(**wishes))
    return seen


async def fan_out(asked: Asked) -> None:
    """Ask every kind of query over one fleet whose datagrams take 10 ms."""
    size = FANOUT_QUICK if asked.is_quick else FANOUT_FULL
    asked.say(f"{size.nodes} nodes come up")
    async with started(_delayed(size.nodes, asked.seed), asked) as fleet:
        asker = await Asker.of(fleet)
        # The first query finds no list sorted yet, and is not counted.
        await asker.ask()
        for visits in size.visits:
            for chatter in size.chatters:
                asked.say(f"{size.nodes} nodes: chatter {chatter}, visits {visits}")
                seen = await _several(asker, asked, size.queries, chatter=chatter, visits=visits)
                if asked.is_over():
                    break
                asked.found(fanout.row_of(SOCKETS, size.nodes, chatter, visits, fields(seen)))
        asker.close()


async def lose(asked: Asked) -> None:
    """Ask while the nodes of one cluster lose more and more of what they send."""
    size = LOSS_QUICK if asked.is_quick else LOSS_FULL
    asked.say(f"{size.nodes} nodes come up")
    async with started(_delayed(size.nodes, asked.seed), asked) as fleet:
        asker = await Asker.of(fleet)
        await asker.ask()
        for share in size.losses:
            asked.say(f"{size.nodes} nodes: {100 * share:g} % lost")
            await fleet.set_loss(share)
            seen = await _several(asker, asked, size.queries)
            if asked.is_over():
                break
            asked.found(loss.row_of(SOCKETS, size.nodes, share, 0.0, fields(seen)))
        asker.close()


def _delayed(nodes: int, seed: int) -> Fleet:
    return Workers(nodes, seed=seed, faults=Faults(latency_s=LATENCY_S), gossip=LAN)


# -- increments -----------------------------------------------------------------------------


async def spread_out(asked: Asked) -> None:
    """Count under every way to pick a node, each run over a cluster that has done nothing yet."""
    for size, per_pick, nodes, pick in spread.cells(
        SPREAD_QUICK if asked.is_quick else SPREAD_FULL
    ):
        shares = []
        for number in range(size.runs):
            if asked.is_over():
                return
            asked.say(f"{nodes} nodes: {pick}, {per_pick} increments a pick")
            async with started(Workers(nodes, seed=asked.seed + number), asked) as fleet:
                shares.append(await _counted(fleet, size, pick, per_pick))
        asked.found(spread.row_of(SOCKETS, pick, per_pick, shares))


async def _counted(fleet: Fleet, size: spread.Size, pick: str, per_pick: int) -> list[int]:
    """Count by one client after another, at the rate; returns what each node holds in the end."""
    where, began = shown_endpoint(fleet.tracker_endpoint), monotonic()
    for first in range(0, size.increments, per_pick):
        async with AsyncClient(where, node="", pick=pick) as client:
            for number in range(first, min(first + per_pick, size.increments)):
                await asyncio.sleep(max(0.0, began + number / size.rate - monotonic()))
                await client.incr(KEY)
    door = await Door.open(fleet.endpoints[fleet.names[0]])
    _, found = await door.ask(Query(0, KEY, 0, 0, 0, DEADLINE_MS, UNTIL_ALL, 0, 0, True))
    door.close()
    held = {name: value for name, value, *_ in found.rows}
    if sum(held.values()) != size.increments:
        raise CheckFailedError(f"{sum(held.values())} of {size.increments} increments are held")
    return [held.get(name, 0) for name in fleet.names]
