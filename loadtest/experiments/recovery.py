"""`recovery`: a node ends without a word under load: when are its clients counted again, and when
is every query complete again?

Clients count all the time, each at the node it picked, and begin an increment every so often
whether the one before is acknowledged or not. Then the node with the most of them *crashes* (its
process is gone, its ports are closed) or *stalls* (it is there and silent, as a machine that lost
its network), and comes back with its directory a while later.

The rule: what was acknowledged must be in the last total, once, and so must whatever is found to
have been counted when an increment of unknown outcome is sent again under its own identity.
"""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from counter import AsyncClient
from counter.client.door import Door
from counter.client.operations import Operation, UnknownOutcomeError
from counter.messages import UNTIL_ALL, Answer, Query
from loadtest.experiments.asking import SOCKETS
from loadtest.experiments.sockets import started
from loadtest.experiments.tables import Asked, CheckFailedError, Column, Panel, Row, middle
from loadtest.fleet import Fleet
from loadtest.processes import Processes
from tracker.config import shown_endpoint
from tracker.errors import ClusterError, InDoubtError

KEY: Final = "views"
CRASHES, STALLS = "crashes", "stalls"
CLIENTS: Final = 10
PERIOD_S: Final = 0.02
"""Time between two increments of one client."""
DEADLINE_S: Final = 20.0
BACK_S_MAX: Final = 60.0
LOOK_S: Final = 0.005
STUCK_S: Final = 0.3
"""An increment that has waited this long waits for a node that is away."""
RETRIES_MAX: Final = 5
PAIRS: Final = 250
RECORDS_MAX: Final = 1_000_000
COLUMNS: Final = (
    Column("kind", "the node", None),
    Column("nodes", "nodes"),
    Column("keys", "keys"),
    Column("runs", "runs"),
    Column("again_ms", "again ms"),
    Column("again_max_ms", "max"),
    Column("in_doubt", "in doubt"),
    Column("down_ms", "query ms"),
    Column("complete_ms", "complete ms"),
    Column("complete_max_ms", "max"),
    Column("unknown", "unknown"),
)
LEGEND: Final = (
    "keys: those that the node held; again: from the fault until the last of its clients was",
    "told that a new increment is counted; in doubt: increments that waited for the node to come",
    "back; query: of one while it was away, which says who is missing; complete: from its start",
    "(its waking) until a query was complete; unknown: increments sent again at the end",
)
PANELS: Final = tuple([
    Panel(title, "keys", field_name, "keys of the node", "time (ms)", "kind", log_x=True)
    for title, field_name in (
        ("Until its clients are counted again", "again_ms"),
        ("From its return until queries are complete again", "complete_ms"),
    )
])  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How many nodes, what the one that ends holds, how long it is away; times in s."""

    nodes: int
    keys: tuple[int, ...]
    runs: int
    before_s: float
    away_s: float


FULL: Final = Size(nodes=5, keys=(10, 1_000, 100_000), runs=5, before_s=1.0, away_s=4.0)
QUICK: Final = Size(nodes=3, keys=(10,), runs=1, before_s=0.3, away_s=1.5)


@dataclass(slots=True)
class Found:
    """What one run found; times in ms."""

    again_ms: float = 0.0
    in_doubt: int = 0
    unknown: int = 0
    down_ms: float | None = None
    complete_ms: float = 0.0


async def recover(asked: Asked) -> None:
    """End a node under load, again and again. Raises CheckFailedError if anything is lost."""
    size = QUICK if asked.is_quick else FULL
    for kind in (CRASHES, STALLS):
        for keys in size.keys:
            found = []
            for number in range(size.runs):
                if asked.is_over():
                    return
                asked.say(f"{size.nodes} nodes, one with {keys} keys {kind}, run {number + 1}")
                found.append(await _run(asked, size, kind, keys, number))
            asked.found(_row(size, kind, keys, found))


def _row(size: Size, kind: str, keys: int, found: list[Found]) -> Row:
    again, complete = [one.again_ms for one in found], [one.complete_ms for one in found]
    return {
        "mode": SOCKETS,
        "kind": kind,
        "nodes": size.nodes,
        "keys": keys,
        "runs": len(found),
        "again_ms": middle(again),
        "again_max_ms": max(again),
        "in_doubt": sum([one.in_doubt for one in found]),
        "unknown": sum([one.unknown for one in found]),
        "down_ms": middle([one.down_ms for one in found]),
        "complete_ms": middle(complete),
        "complete_max_ms": max(complete),
    }


async def _run(asked: Asked, size: Size, kind: str, keys: int, number: int) -> Found:
    seed = asked.seed + number
    async with started(Processes(size.nodes, seed=seed, durable=True), asked) as fleet:
        return await _Trial(fleet, size, kind, keys).run()


class _Trial:
    """One fault on one cluster, from the first increment to the last total."""

    def __init__(self, fleet: Fleet, size: Size, kind: str, keys: int) -> None:
        self._fleet = fleet
        self._size = size
        self._kind = kind
        self._keys = keys
        where = shown_endpoint(fleet.tracker_endpoint)
        picks = [
            AsyncClient(where, node="", pick="random", deadline_s=DEADLINE_S)
            for _ in range(CLIENTS)
        ]
        self._clients = [_Steady(client) for client in picks]
        self._found = Found()

    async def run(self) -> Found:
        """Carry it out."""
        async with AsyncExitStack() as stack:
            for client in self._clients:
                await stack.enter_async_context(client.client)
            tasks = [asyncio.create_task(client.work()) for client in self._clients]
            try:
                for client in self._clients:
                    await client.counted_again(0.0)
                await asyncio.sleep(self._size.before_s)
                await self._fault()
                for client in self._clients:
                    client.is_stopped = True
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
            await self._settle()
        return self._found

    async def _fault(self) -> None:
        fleet, found = self._fleet, self._found
        places = Counter([client.node for client in self._clients])
        victim = places.most_common(1)[0][0]
        other = next(name for name in fleet.names if name != victim)
        await _fill(fleet, victim, self._keys)
        hit = [client for client in self._clients if client.node == victim]
        began = monotonic()
        if self._kind == CRASHES:
            await fleet.crash([victim])
        else:
            await fleet.pause([victim], self._size.away_s)
        for client in hit:
            found.again_ms = max(found.again_ms, await client.counted_again(began))
        answer = await _asked(fleet, other)
        # On a slow machine a node that only stalled may be awake by now.
        if self._kind == CRASHES or monotonic() < began + self._size.away_s:
            found.down_ms = answer.elapsed_ms
            if answer.complete:
                raise CheckFailedError(f"complete without {victim}, which is away")
        await asyncio.sleep(max(0.0, began + self._size.away_s - monotonic()))
        back = monotonic()
        found.in_doubt = sum([client.in_doubt(back - STUCK_S) for client in self._clients])
        if self._kind == CRASHES:
            await fleet.restart([victim])
        while not (await _asked(fleet, other)).complete:
            if monotonic() - back > BACK_S_MAX:
                raise CheckFailedError(f"no query is complete {BACK_S_MAX:g} s after the return")
            await asyncio.sleep(LOOK_S)
        found.complete_ms = 1000 * (monotonic() - back)

    async def _settle(self) -> None:
        """Send what is unknown again, and find exactly what was counted."""
        counted = 0
        for client in self._clients:
            self._found.unknown += len(client.unknown)
            counted += len(client.records) + await client.settled()
        answer = await _asked(self._fleet, self._fleet.names[0])
        if not answer.complete or answer.value != counted:
            raise CheckFailedError(f"{answer.value} held, {counted} counted ({answer.reason})")


@dataclass(slots=True)
class _Record:
    """One acknowledged increment; times on the clock of this process."""

    began: float
    ended: float
    node: str


@dataclass(slots=True)
class _Steady:
    """A client that begins an increment every PERIOD_S."""

    client: AsyncClient
    is_stopped: bool = False
    node: str = ""
    records: list[_Record] = field(default_factory=list)
    unknown: list[Operation] = field(default_factory=list)
    under_way: dict[int, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self) -> None:
        """Count until told to stop, and wait for what is under way then."""
        async with asyncio.TaskGroup() as tasks:
            number = 0
            due = monotonic()
            while not self.is_stopped:
                number += 1
                tasks.create_task(self._count(number))
                due += PERIOD_S
                await asyncio.sleep(max(0.0, due - monotonic()))

    async def _count(self, number: int) -> None:
        began = self.under_way[number] = monotonic()
        try:
            ack = await self.client.incr(KEY)
        except UnknownOutcomeError as error:
            self.unknown.append(error.operation)
        except ClusterError as error:
            self.failed.append(str(error))
        else:
            self.node = ack.node
            self.records.append(_Record(began, monotonic(), ack.node))
        del self.under_way[number]
        self._news.set()
        if len(self.records) > RECORDS_MAX:
            self.is_stopped = True

    async def counted_again(self, since: float) -> float:
        """Return when the first increment begun after a time was counted, in ms after that."""
        async with asyncio.timeout(BACK_S_MAX):
            while True:
                again = [r.ended for r in self.records if r.began > since]
                if again:
                    return 1000 * (min(again) - since)
                self._news.clear()
                await self._news.wait()

    def in_doubt(self, since: float) -> int:
        """Return how many increments begun before a time still wait."""
        return sum([began <= since for began in self.under_way.values()])

    async def settled(self) -> int:
        """Send what is unknown again; returns how many increments of it count."""
        if self.failed:
            raise CheckFailedError(f"an increment was refused: {self.failed[0]}")
        # Increments that shared a message share its fate.
        return sum([count for op, count in self._shared() if await self._is_counted(op)])

    def _shared(self) -> list[tuple[Operation, int]]:
        by_id: dict[str, list[Operation]] = {}
        for operation in self.unknown:
            by_id.setdefault(operation.id, []).append(operation)
        return [(same[0], len(same)) for same in by_id.values()]

    async def _is_counted(self, operation: Operation) -> bool:
        for _ in range(RETRIES_MAX):
            with suppress(InDoubtError):
                await self.client.retry(operation)
                return True
        raise CheckFailedError(f"{operation.id} is unknown after {RETRIES_MAX} more tries")


async def _fill(fleet: Fleet, name: str, keys: int) -> None:
    """Have a node hold so many more keys, each counted once."""
    door = await Door.open(fleet.endpoints[name])
    for first in range(0, keys, PAIRS):
        numbers = range(first, min(first + PAIRS, keys))
        await door.count(*[word for number in numbers for word in (f"key:{number}", 1)])
    door.close()


async def _asked(fleet: Fleet, name: str) -> Answer:
    """Ask a node for the total."""
    door = await Door.open(fleet.endpoints[name])
    try:
        async with asyncio.timeout(BACK_S_MAX):
            answer, _ = await door.ask(Query(0, KEY, 0, 0, 0, 0, UNTIL_ALL, 0, 0, False))
    finally:
        door.close()
    return answer
