"""A whole cluster on real sockets in one process: a tracker and many nodes.

The rule: the nodes are the nodes people run, the same machine, driver and transports. What a
load test adds stands around them: a delay or a loss put on each datagram, and counters.
"""

import asyncio
import random
import resource
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from types import TracebackType

from counter.config import LOCAL, GossipConfig
from counter.node import Node, NodeSettings
from tracker.config import TrackerConfig
from tracker.errors import ConfigError
from tracker.machine import Emit, Endpoint
from tracker.members import retain
from tracker.server import Tracker, TrackerSettings
from tracker.transport.base import DatagramHandler
from tracker.transport.udp import UdpDatagrams

FILES_PER_NODE = 5
FILES_BESIDE = 512
NODES_MAX = 20_000
JOINING_MAX = 300
LOOK_S = 0.02
VIEWS_RETAINED_MAX = 64
TRACKER = TrackerConfig(publish_gap_s=0.05)


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What is done to each datagram: a delay in s, a chance to be lost."""

    latency_s: float = 0.0
    loss: float = 0.0


class Path:
    """What is on its way in one process: each datagram leaves so much later than it was sent.

    All are delayed alike, so they leave in the order in which they came, and one timer does for
    all of them: one for each would cost as much as the datagram itself.
    """

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._on_its_way: deque[tuple[float, Callable[[], object]]] = deque()

    def carry(self, send: Callable[[], object]) -> None:
        """Call `send` when its time has come."""
        if not self._on_its_way:
            self._deliver_after(self._latency_s)
        # Not the loop's own clock: it stands still while the loop is at work.
        self._on_its_way.append((monotonic() + self._latency_s, send))

    def _deliver_after(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(max(0.0, seconds), self._deliver)

    def _deliver(self) -> None:
        waiting = self._on_its_way
        while waiting and waiting[0][0] <= monotonic():
            waiting.popleft()[1]()
        if waiting:
            self._deliver_after(waiting[0][0] - monotonic())


class FaultyDatagrams(UdpDatagrams):
    """A UDP socket whose datagrams leave late, or never."""

    def __init__(
        self,
        sock: socket.socket,
        handler: DatagramHandler,
        faults: Faults,
        dice: random.Random,
        path: Path,
    ) -> None:
        super().__init__(sock, handler)
        self._faults = faults
        self._dice = dice
        self._path = path

    def send(self, to: Endpoint, body: bytes) -> bool:
        """Send one body after the delay, unless it is lost."""
        faults = self._faults
        if faults.loss and self._dice.random() < faults.loss:
            return True
        if faults.latency_s:
            self._path.carry(partial(super().send, to, body))
            return True
        return super().send(to, body)


class Cluster:
    """A tracker and `count` nodes, named n1, n2, …; use as an async context manager."""

    def __init__(
        self,
        count: int,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        gossip: GossipConfig = LOCAL,
        on_up: Callable[[int], None] = lambda up: None,
        tracker: Endpoint | None = None,
    ) -> None:
        """Make a cluster; with `tracker` its nodes join one that runs elsewhere."""
        if not 1 <= count <= NODES_MAX:
            raise ConfigError(f"{count} nodes: one process runs 1 to {NODES_MAX}")
        self.count = count
        self.nodes: list[Node] = []
        self.crashed: set[str] = set()
        self._faults = faults or Faults()
        self._path = Path(self._faults.latency_s)
        self._gossip = gossip
        self._dice = random.Random(f"{seed}/datagrams")
        self._on_up = on_up
        self._elsewhere = tracker
        self._tracker: Tracker | None = None
        self._joined = 0
        self._has_joined = asyncio.Event()

    async def __aenter__(self) -> "Cluster":
        raise_file_limit(self.count)
        retain(VIEWS_RETAINED_MAX)
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    @property
    def tracker_endpoint(self) -> Endpoint:
        """Where the tracker listens."""
        if self._elsewhere is not None:
            return self._elsewhere
        assert self._tracker is not None
        return self._tracker.endpoint

    @property
    def live(self) -> list[Node]:
        """The nodes that have not been crashed."""
        return [node for node in self.nodes if node.settings.name not in self.crashed]

    @property
    def datagrams(self) -> int:
        """Gossip messages sent by all the nodes so far."""
        return sum([node.driver.traffic.datagrams_out for node in self.nodes])

    @property
    def datagram_bytes(self) -> int:
        """Their bytes, without headers."""
        return sum([node.driver.traffic.datagram_bytes_out for node in self.nodes])

    @property
    def remembered(self) -> int:
        """Queries that the nodes hold in mind: their own, those passing through, those headed."""
        machines = [node.machine for node in self.live]
        return sum([len(m.asker) + len(m.relay) + len(m.heads) for m in machines])

    async def forgets(self, within_s: float) -> bool:
        """Wait until no node holds a query in mind; False if one still does after `within_s`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while self.remembered:
            if loop.time() >= until:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def crash(self, names: list[str]) -> None:
        """End nodes without a word."""
        for node in self.nodes:
            if node.settings.name in names:
                self.crashed.add(node.settings.name)
                await node.abandon()

    async def _start(self) -> None:
        if self._elsewhere is None:
            settings = TrackerSettings(listen=("127.0.0.1", 0), config=TRACKER)
            self._tracker = Tracker(settings, lambda emit: None)
            await self._tracker.start()
        for number in range(1, self.count + 1):
            node = Node(
                NodeSettings(
                    name=f"n{number}",
                    listen=("127.0.0.1", 0),
                    trackers=(self.tracker_endpoint,),
                    gossip=self._gossip,
                ),
                self._emitted,
                self._make_datagrams,
            )
            self.nodes.append(node)
            await node.start()
            if number % 10 == 0:
                await asyncio.sleep(0)
            # All at once would keep each other from connecting in time.
            while number - self._joined > JOINING_MAX:
                self._has_joined.clear()
                await self._has_joined.wait()
        # No event says that the slowest node has heard of the newest; its view does.
        while (up := self._up()) < self.count:
            self._on_up(up)
            await asyncio.sleep(LOOK_S)
        self._on_up(self.count)

    def _emitted(self, emit: Emit) -> None:
        """Count who has joined; what else the nodes would say to a person is dropped."""
        if emit.event == "joined":
            self._joined += 1
            self._has_joined.set()

    def _up(self) -> int:
        views = [node.machine.membership.view for node in self.nodes]
        return sum([len(view.members) >= self.count for view in views])

    def _make_datagrams(self, sock: socket.socket, handler: DatagramHandler) -> UdpDatagrams:
        if self._faults == Faults():
            return UdpDatagrams(sock, handler)
        return FaultyDatagrams(sock, handler, self._faults, self._dice, self._path)

    async def _stop(self) -> None:
        retain(0)
        # The tracker first: it would tell all that are left of each that ends.
        if self._tracker is not None:
            await self._tracker.stop()
        for node in self.live:
            with suppress(OSError):
                await node.abandon()


def raise_file_limit(nodes: int) -> None:
    """Allow this process the files so many nodes need. Raises ConfigError with what would fit."""
    needed = nodes * FILES_PER_NODE + FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
    except (ValueError, OSError):
        if hard < needed:
            fits = max(0, (hard - FILES_BESIDE) // FILES_PER_NODE)
            raise ConfigError(
                f"{nodes} nodes need {needed} open files, the limit is {hard}: "
                f"{fits} nodes would fit (ulimit -n)"
            ) from None
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
