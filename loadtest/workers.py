"""A fleet whose nodes are spread over a few processes, one for each core.

The load generator stays in the process of the caller, the tracker has one of its own; what
they say to each other goes over a socket for each process (`loadtest.orders`), and all of them
are forked from one that has imported what they need (`loadtest.nursery`).

The rule: a process that ends though nobody ended it breaks the fleet, and that is said in plain
words; and whatever happens, `stop` leaves no process and no directory behind.
"""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from counter.config import LOCAL, GossipConfig
from loadtest import stores
from loadtest.faults import Faults
from loadtest.fleet import FleetError, Started, Totals, Traffic, Usage, added
from loadtest.holders import Holder, Nursery
from loadtest.needs import NODES_MAX
from loadtest.orders import (
    Boot,
    Count,
    Crash,
    Cut,
    Host,
    Lose,
    Order,
    Pause,
    Restart,
    Sum,
    Use,
    short,
)
from tracker.errors import ConfigError
from tracker.machine import Endpoint

LOOPBACK: Final = "127.0.0.1"
ORDER_S_MAX: Final = 60.0
"""How long a process may take for an order that needs no more than itself."""
STILL_S_MAX: Final = 120.0
"""How long no node may hear of another while a fleet boots."""
LOOK_S = 0.02
JOINING_MAX: Final = 300
"""Nodes that ask the tracker to be taken in, of all processes together."""
NEWS_GAP_S, NEWS_GAP_S_MAX = 0.05, 1.0
NEWS_EACH_S = 0.0003
"""For each node: every one of them hears all news, and while they come up there always are some."""
SUSPECT_S, SUSPECT_EACH_S, PATIENT_ABOVE = 3.0, 0.01, 1_000
"""The default up to a thousand nodes. Thousands on one machine keep each other waiting while
they come up; and if all are doubted at once, all have to hear that of all."""
LOOK_EACH_S = 0.001
"""For each process: if each of a thousand looked fifty times a second, they would do no more."""
TRAFFIC_WORDS = 5


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


class Workers(Started):
    """A tracker and `count` nodes in `processes` processes; an async context manager, too."""

    def __init__(
        self,
        count: int,
        *,
        processes: int | None = None,
        seed: int = 0,
        faults: Faults | None = None,
        gossip: GossipConfig = LOCAL,
        on_up: Callable[[int], None] = lambda up: None,
        durable: bool = False,
        increments: int = 0,
        cluster: str = "default",
    ) -> None:
        """Make a fleet; with `durable` each node keeps its counts in files while it lasts.

        `increments` are about as many as will be counted; `cluster` is what all belong to.
        `processes` hold nodes, by default one for each core. Raises ConfigError.
        """
        if not 1 <= count <= NODES_MAX:
            raise ConfigError(f"{count} nodes: one machine runs 1 to {NODES_MAX}")
        self.count = count
        self.names: Sequence[str] = [f"n{number}" for number in range(1, count + 1)]
        self.holders = spread(count, min(count, processes or cores()))
        self._tracker = Holder("the tracker")
        self._tracker_endpoint: Endpoint = ("", 0)
        self._seed = seed
        self._faults = faults or Faults()
        self._settings = json.dumps(settings_of(gossip))
        self._on_up = on_up
        self._durable = durable
        self._increments = increments
        self.cluster = cluster
        self._data = ""
        self._nursery = Nursery(self._still, self._ended, self._lost)
        self._broken: asyncio.Future[str] | None = None
        self._endpoints: dict[str, Endpoint] = {}
        self._ended_us = 0
        self._is_stopping = False

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """Where each node listens, by name."""
        return self._endpoints

    @property
    def tracker_endpoint(self) -> Endpoint:
        """Where the tracker listens."""
        return self._tracker_endpoint

    @property
    def pids(self) -> list[int]:
        """The processes of the tracker and of the nodes that have not ended."""
        return [each.pid for each in [self._tracker, *self.holders] if each.pid and not each.end]

    @property
    def forker(self) -> int:
        """The process that forked them."""
        return self._nursery.pid

    @property
    def directory(self) -> str:
        """Where durable nodes keep their counts; empty for nodes in memory."""
        return self._data

    # -- begin and end ------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all, and wait until everybody knows everybody. Raises ClusterError."""
        self._broken = asyncio.get_running_loop().create_future()
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        if self._durable:
            parent = stores.parent(self.count, self._increments)
            self._data = tempfile.mkdtemp(prefix="loadtest-", dir=parent)
        try:
            self._nursery.start(self._data)
        except OSError as error:
            raise FleetError(f"no process could be started: {error.strerror}") from error
        await self._nursery.fork(self._tracker)
        [port] = await self._tracker.ask(
            Host, news_gap_s(self.count), suspect_s(self.count), self.cluster
        )
        self._tracker_endpoint = (LOOPBACK, port)
        for holder in self.holders:
            await self._nursery.fork(holder)
        # All at once: each that joins later is news to all that are there.
        boots = [asyncio.create_task(self._boot(holder)) for holder in self.holders]
        try:
            await self._all_up(boots)
        finally:
            for boot in boots:
                boot.cancel()
            await asyncio.gather(*boots, return_exceptions=True)
        self._show()

    async def start_holder(self, holder: Holder) -> None:
        """Start a process again, with its nodes where they were, and wait until they listen."""
        await self._nursery.fork(holder)
        await self._boot(holder, members=0)

    def signal(self, holder: Holder, number: int) -> None:
        """Send a signal to a process."""
        self._nursery.signal(holder.pid, number)

    async def _boot(self, holder: Holder, members: int | None = None) -> None:
        """Have a process start its nodes, and wait until each knows so many members."""
        ports = await holder.ask(
            Boot,
            holder.first,
            holder.count,
            self.count if members is None else members,
            max(LOOK_S, LOOK_EACH_S * len(self.holders)),
            max(1, JOINING_MAX // len(self.holders)),
            self._tracker_endpoint,
            short(holder.ports),
            self._seed + holder.first,
            self._faults.latency_s,
            self._faults.loss,
            self._settings,
            self._data,
            self.cluster,
        )
        holder.up = holder.count
        holder.ports = ports
        for number, port in zip(holder.numbers, ports, strict=True):
            self._endpoints[f"n{number}"] = (LOOPBACK, port)

    async def _all_up(self, boots: Sequence[asyncio.Task[None]]) -> None:
        moved_at, last = monotonic(), (0, 0)
        waiting: Iterable[asyncio.Task[None]] = boots
        while waiting:
            done, waiting = await asyncio.wait(
                waiting, timeout=LOOK_S, return_when=asyncio.FIRST_EXCEPTION
            )
            for boot in done:
                boot.result()
            far = self._show(), sum([holder.known for holder in self.holders])
            if far != last:
                moved_at, last = monotonic(), far
            elif monotonic() - moved_at > STILL_S_MAX:
                raise FleetError(
                    f"{far[0]} of {self.count} nodes are up, and none heard of another for"
                    f" {STILL_S_MAX:g} s"
                )

    def _show(self) -> int:
        up = sum([holder.up for holder in self.holders])
        self._on_up(up)
        return up

    async def stop(self) -> None:
        """End all, and leave nothing behind."""
        self._is_stopping = True
        for holder in [self._tracker, *self.holders]:
            holder.close()
        await self._nursery.stop()
        if self._data:
            shutil.rmtree(self._data, ignore_errors=True)

    async def broken(self) -> str:
        """Wait until a process ends that nobody ended; returns which, and how."""
        assert self._broken is not None
        return await asyncio.shield(self._broken)

    def _still(self, pid: int) -> None:
        for holder in self.holders:
            if holder.pid == pid:
                holder.still.set()

    def _ended(self, pid: int, how: str, cpu_us: int) -> None:
        for holder in [self._tracker, *self.holders]:
            if holder.pid == pid:
                holder.ended(how)
                self._ended_us += cpu_us
                if not holder.is_given_up:
                    self._break(f"the process of {holder.what} {holder.end}")

    def _lost(self) -> None:
        for holder in [self._tracker, *self.holders]:
            holder.ended("is lost")
        self._break("the process that starts all others has ended")

    def _break(self, why: str) -> None:
        if self._broken is not None and not self._broken.done() and not self._is_stopping:
            self._broken.set_result(why)

    # -- what a plan does to it ---------------------------------------------------------------

    async def crash(self, names: Sequence[str]) -> None:
        """End nodes without a word to anybody."""
        await self._to_holders(names, Crash)

    async def restart(self, names: Sequence[str]) -> None:
        """Start nodes again that were crashed. Raises ClusterError."""
        await self._to_holders(names, Restart)

    async def pause(self, names: Sequence[str], seconds: float) -> None:
        """Have nodes stand still from now on, for so long."""
        await self._to_holders(names, Pause, seconds)

    async def partition(self, names: Sequence[str], seconds: float) -> None:
        """Cut these nodes off from all others and from the tracker, for so long."""
        ports = [self._endpoints[name][1] for name in names if name in self._endpoints]
        await self._to_all(Cut, short(ports), monotonic() + seconds)

    async def set_loss(self, share: float) -> None:
        """Have each datagram between nodes vanish with this chance from now on."""
        self._faults = Faults(latency_s=self._faults.latency_s, loss=share)
        await self._to_all(Lose, share)

    async def _to_holders(
        self, names: Sequence[str], kind: Callable[..., Order], *fields: Any
    ) -> None:
        """Give an order to each process that holds some of these nodes."""
        wanted = {int(name[1:]) for name in names}
        parts = [(holder, wanted.intersection(holder.numbers)) for holder in self.holders]
        async with asyncio.timeout(ORDER_S_MAX):
            await asyncio.gather(
                *[
                    holder.ask(kind, short(sorted(numbers)), *fields)
                    for holder, numbers in parts
                    if numbers
                ]
            )

    async def _to_all(self, kind: Callable[..., Order], *fields: Any) -> list[list[int]]:
        """Give an order to each process; returns the answers of those that are up.

        One that stands still hears of it later, and is not waited for.
        """
        asked = [holder for holder in self.holders if holder.pid and not holder.end]
        tasks = [asyncio.create_task(self._asked(holder, kind, *fields)) for holder in asked]
        answers = []
        for holder, task in zip(asked, tasks, strict=True):
            if not holder.is_stopped and (answer := await task) is not None:
                answers.append(answer)
        return answers

    async def _asked(
        self, holder: Holder, kind: Callable[..., Order], *fields: Any
    ) -> list[int] | None:
        try:
            async with asyncio.timeout(ORDER_S_MAX):
                return await holder.ask(kind, *fields)
        except FleetError:
            if holder.is_given_up:
                return None
            raise
        except TimeoutError:
            if holder.is_stopped:
                return None
            raise FleetError(
                f"the process of {holder.what} does not answer for {ORDER_S_MAX:g} s"
            ) from None

    # -- what is counted ----------------------------------------------------------------------

    async def traffic(self) -> Mapping[str, Traffic]:
        """Return what each node has sent and heard."""
        result = {}
        for answer in await self._to_all(Count):
            for at in range(0, len(answer), TRAFFIC_WORDS):
                number, *counted = answer[at : at + TRAFFIC_WORDS]
                result[f"n{number}"] = Traffic(*counted)
        return result

    async def totals(self) -> Totals:
        """Return the sum of what all nodes have sent and heard."""
        return added([Totals(*answer) for answer in await self._to_all(Sum)])

    async def usage(self) -> Usage:
        """Return what the processes have used: those of the nodes, and that of the tracker."""
        answers = await self._to_all(Use)
        with suppress(FleetError):
            answers.append(await self._tracker.ask(Use))
        return Usage(
            (self._ended_us + sum([cpu_us for cpu_us, _ in answers])) / 1_000_000,
            sum([held for _, held in answers]),
            len(answers),
            has_caller=False,
        )


def news_gap_s(nodes: int) -> float:
    """Return how long a tracker of so many nodes waits before it tells all of them again."""
    return min(NEWS_GAP_S_MAX, max(NEWS_GAP_S, NEWS_EACH_S * nodes))


def suspect_s(nodes: int) -> float:
    """Return how long a node may be silent before such a tracker doubts it."""
    return SUSPECT_S + SUSPECT_EACH_S * max(0, nodes - PATIENT_ABOVE)


def spread(count: int, processes: int) -> list[Holder]:
    """Return who holds which nodes: nearly as many each, neighbours together."""
    least, more = divmod(count, processes)
    result, first = [], 1
    for number in range(processes):
        size = least + (number < more)
        last = first + size - 1
        what = f"node n{first}" if size == 1 else f"nodes n{first} to n{last}"
        result.append(Holder(what, first, size))
        first += size
    return result


def settings_of(gossip: GossipConfig) -> dict[str, Any]:
    """Return the settings by name, as another process takes them."""
    return {name: getattr(gossip, name) for name in GossipConfig.__dataclass_fields__}
