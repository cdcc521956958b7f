"""A plan on real sockets: many nodes in this process, writers and queries through doors.

The rule: one query at a time, and none before the last message of the one before has been
dealt with. Nothing else sends datagrams, so the difference of the nodes' own counters over a
query is what the query cost, by count and not by estimate.
"""

import asyncio
import resource
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from itertools import islice
from time import monotonic

import anyio

from counter.client.door import Asked, Door
from counter.messages import Answer, Query
from counter.node import Node
from loadtest.cluster import (
    FILES_BESIDE,
    FILES_PER_NODE,
    NODES_MAX,
    Cluster,
    Faults,
    raise_file_limit,
)
from loadtest.runs import (
    DRAIN_S_MAX,
    HEADER_BYTES,
    RESULT_TRIES_MAX,
    RETRIES_MAX,
    SEAL_BYTES,
    Cost,
    Run,
)
from tracker.daemon import has_uvloop
from tracker.errors import ClusterError, ConfigError, ConnectionLostError, RefusedError

ANSWER_S_MAX = 30.0
ACK_S_MAX = 5.0
"""How long an acknowledgement is waited for before its outcome is called unknown."""
RETRY_S = 0.2
LOOK_S = 0.002
QUIET_S = 0.010
SHOW_S = 0.1


def run(run: Run) -> None:
    """Carry out the plan of a run. Raises ClusterError for what cannot be run here."""
    check_fits(run.plan.nodes)
    options = {"use_uvloop": has_uvloop()}
    anyio.run(_carried_out, run, backend="asyncio", backend_options=options)


def check_fits(nodes: int) -> None:
    """Raise ConfigError with the number of nodes that would fit, if these do not."""
    if nodes > NODES_MAX:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        fits = min(NODES_MAX, max(0, (files - FILES_BESIDE) // FILES_PER_NODE))
        raise ConfigError(f"{nodes} nodes are too many for one process: {fits} would fit")
    raise_file_limit(nodes)


async def _carried_out(run: Run) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.stop.wish)
    plan = run.plan
    cluster = Cluster(
        plan.nodes,
        seed=plan.seed,
        faults=Faults(latency_s=plan.latency_s, loss=plan.loss),
        gossip=plan.gossip,
        on_up=run.watcher.booting,
    )
    began = monotonic()
    try:
        async with booted(cluster, run):
            for node in cluster.nodes:
                # A node sorts its ring when first asked. A thousand of them do it at the same
                # time, each on its own machine; here the first query would wait for all.
                _ = node.machine.membership.view.positions
            run.booted(monotonic() - began)
            await Stage(run, cluster).play()
    except StoppedAtBoot:
        return


class StoppedAtBoot(Exception):
    """A person wished for the end before everybody was up."""


@asynccontextmanager
async def booted(cluster: Cluster, run: Run) -> AsyncIterator[None]:
    """Start a cluster, unless a person ends that; stop it at the end."""
    boot = asyncio.create_task(cluster.__aenter__())
    run.stop.on_wish(boot.cancel)
    try:
        await boot
    except asyncio.CancelledError:
        if run.stop.is_wished:
            raise StoppedAtBoot from None
        raise
    try:
        yield
    finally:
        await cluster.__aexit__(None, None, None)


@dataclass(frozen=True, slots=True)
class Unknown:
    """An increment that was sent and never acknowledged; `identity` is session and sequence."""

    node: str
    identity: tuple[bytes, int]
    key: str
    amount: int


class Stage:
    """A cluster that is up, and the plan that is played on it."""

    def __init__(self, run: Run, cluster: Cluster) -> None:
        self.run = run
        self.plan = run.plan
        self.cluster = cluster
        self.nodes: dict[str, Node] = {node.settings.name: node for node in cluster.nodes}
        self.doors: dict[str, Door] = {}
        self.unknown: list[Unknown] = []
        self._stopped = asyncio.Event()
        run.stop.on_wish(self._stopped.set)

    async def play(self) -> None:
        """Crash some, let writers and queries loose, and find the exact total at the end."""
        run, plan = self.run, self.plan
        names = plan.crashed()
        await self.cluster.crash(names)
        run.crashed(names)
        nodes = plan.written_to(run.up)
        writers = [await Writer.open(self, number, name) for number, name in enumerate(nodes)]
        try:
            await self._load(writers)
        finally:
            for writer in writers:
                writer.door.close()
        await self.resolve()
        await self.finish()
        for door in self.doors.values():
            door.close()

    async def _load(self, writers: Sequence["Writer"]) -> None:
        run, began = self.run, monotonic()
        run.begun(began, monotonic)
        tasks = [asyncio.create_task(writer.write(began)) for writer in writers]
        try:
            await self._ask_all(began)
            await self._until(began + self.plan.duration_s)
            run.writes.elapsed_s = monotonic() - began
        finally:
            for writer, task in zip(writers, tasks, strict=True):
                writer.is_stopped = True
                # Who sleeps need not wake up; who waits for an acknowledgement still gets it.
                if not writer.is_counting:
                    task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    # -- queries ------------------------------------------------------------------------------

    async def _ask_all(self, began: float) -> None:
        run, plan = self.run, self.plan
        last = began + plan.last_query_s
        for number, (name, key) in enumerate(self._questions(plan.queries)):
            await self._until(began + number * plan.query_gap_s)
            if monotonic() >= last or run.stop.is_wished:
                return
            await self._query(name, key)
            run.watcher.loading(run.writes.acked, run.queries.count)

    def _questions(self, count: int) -> Iterator[tuple[str, str]]:
        return islice(self.plan.questions(self.run.up), count)

    async def _until(self, time: float) -> None:
        """Wait for a time or for a person's wish, and show how far the load is meanwhile."""
        run = self.run
        while not run.stop.is_wished and (left := time - monotonic()) > 0.0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, SHOW_S)):
                    await self._stopped.wait()
            run.watcher.loading(run.writes.acked, run.queries.count)

    async def _query(self, name: str, key: str) -> None:
        run, origin = self.run, self.nodes[name]
        strangers = origin.machine.asker.strangers
        before = self._counters()
        reading = run.asked(key)
        try:
            answer, asked = await self._ask(name, key)
        except (OSError, ClusterError, TimeoutError) as error:
            run.failed(reading, name, _why(error))
            return
        drain_ms = await self._drain(monotonic())
        after = self._counters()
        changes = [
            (name, out - o, o_in - i, size - s)
            for (name, out, o_in, size), (_, o, i, s) in zip(after, before, strict=True)
        ]
        messages = sum([out for _, out, _, _ in changes])
        weight = sum([size for _, _, _, size in changes])
        late = origin.machine.asker.strangers - strangers
        cost = Cost(
            messages=messages,
            bytes=weight + messages * (HEADER_BYTES + SEAL_BYTES),
            duplicates=answer.duplicates + late,
            busiest=max([out + came for n, out, came, _ in changes if n != name], default=0),
            drain_ms=drain_ms,
        )
        run.answered(reading, answer, asked.rows, cost)

    async def _ask(self, name: str, key: str) -> tuple[Answer, Asked]:
        async with asyncio.timeout(ANSWER_S_MAX):
            door = self.doors.get(name)
            if door is None:
                door = self.doors[name] = await Door.open(self.nodes[name].endpoint)
            try:
                return await door.ask(Query(0, key, 0, 0, 0, 0, 0, 0, 0, True))
            except BaseException:
                # Whatever it was, the next query to this node has a connection of its own.
                self.doors.pop(name).close()
                raise

    def _counters(self) -> list[tuple[str, int, int, int]]:
        """Return (name, datagrams out, datagrams in, bytes out) of each node."""
        traffics = [(name, node.driver.traffic) for name, node in self.nodes.items()]
        return [(n, t.datagrams_out, t.datagrams_in, t.datagram_bytes_out) for n, t in traffics]

    async def _drain(self, answered_at: float) -> float | None:
        """Wait until no datagram is under way; returns how long after the answer the last came.

        When as many came as left, at once; else (some are lost, some nodes are gone) when
        nothing has moved for longer than a message takes.
        """
        quiet_s = self.plan.latency_s + QUIET_S
        moved_at, last = answered_at, (-1, -1)
        while True:
            traffics = [node.driver.traffic for node in self.nodes.values()]
            moved = (
                sum([t.datagrams_out for t in traffics]),
                sum([t.datagrams_in for t in traffics]),
            )
            now = monotonic()
            if moved != last:
                # What had already been dealt with when the answer came moves nothing after it.
                moved_at = now if last[0] >= 0 else answered_at
                last = moved
            if moved[0] == moved[1] + self._gone or now - moved_at > quiet_s:
                self._gone = moved[0] - moved[1]
                return 1000 * (moved_at - answered_at)
            if now - answered_at > DRAIN_S_MAX:
                return None
            await asyncio.sleep(LOOK_S)

    _gone = 0
    """Datagrams that left and never came, up to the last query."""

    # -- the end ------------------------------------------------------------------------------

    async def resolve(self) -> None:
        """Send what was never acknowledged again, under its own identity: it counts once."""
        for unknown in self.unknown:
            for _ in range(RETRIES_MAX):
                if await self._is_counted(unknown):
                    self.run.settled(unknown.key, unknown.amount, is_counted=True)
                    break
                await asyncio.sleep(RETRY_S)
            else:
                self.run.lost_track()

    async def _is_counted(self, unknown: Unknown) -> bool:
        try:
            async with asyncio.timeout(ACK_S_MAX):
                door = await Door.open(self.nodes[unknown.node].endpoint)
                with closing(door):
                    await door.count_again(*unknown.identity, unknown.key, unknown.amount)
        except (OSError, ClusterError, TimeoutError):
            return False
        return True

    async def finish(self) -> None:
        """Read every key once more: nothing is being written, so the total is exact."""
        keys = self.plan.keys
        questions = self._questions(RESULT_TRIES_MAX * len(keys))
        for key in keys:
            for _ in range(RESULT_TRIES_MAX):
                name, _ = next(questions)
                try:
                    answer, asked = await self._ask(name, key)
                except (OSError, ClusterError, TimeoutError):
                    continue
                if self.run.total(key, answer.value, asked.rows):
                    break


class Writer:
    """One client that counts on one node, one increment at a time, not faster than its share."""

    def __init__(self, stage: Stage, number: int, node: str, door: Door) -> None:
        self.door = door
        self.is_counting = False
        self.is_stopped = False
        self._stage = stage
        self._run = stage.run
        self._number = number
        self._node = node

    @classmethod
    async def open(cls, stage: Stage, number: int, node: str) -> "Writer":
        """Connect to the node."""
        return cls(stage, number, node, await Door.open(stage.nodes[node].endpoint))

    async def write(self, began: float) -> None:
        """Count until told to stop; what is not acknowledged is kept to be sent again."""
        arrivals = self._stage.plan.arrivals(self._number)
        for key, amount in self._stage.plan.increments(self._number):
            await asyncio.sleep(max(0.0, began + next(arrivals) - monotonic()))
            self.is_counting = True
            await self.count(key, amount)
            self.is_counting = False
            if self.is_stopped:
                return

    async def count(self, key: str, amount: int) -> None:
        """Send one increment and wait for what becomes of it."""
        run, door = self._run, self.door
        run.sent(key, amount)
        sent_at = monotonic()
        try:
            async with asyncio.timeout(ACK_S_MAX):
                await door.count(key, amount)
        except RefusedError:
            run.settled(key, amount, is_counted=False)
        except (ConnectionLostError, TimeoutError):
            await self._lose(key, amount)
        else:
            run.counted(key, amount, monotonic() - sent_at)

    async def _lose(self, key: str, amount: int) -> None:
        """Keep what is in doubt for the end, and go on over a new connection."""
        old = self.door
        self._stage.unknown.append(Unknown(self._node, old.last, key, amount))
        old.close()
        try:
            self.door = await Door.open(self._stage.nodes[self._node].endpoint)
        except (OSError, ClusterError):
            self.is_stopped = True


def _why(error: Exception) -> str:
    if isinstance(error, RefusedError):
        return f"refused ({error.code})"
    return "no answer" if isinstance(error, TimeoutError) else "connection lost"
