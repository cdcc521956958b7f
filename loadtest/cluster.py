"""A whole cluster on real sockets in one process: a tracker and many nodes.

The rule: the nodes are the nodes people run, the same machine, driver and transports. What a
load test adds stands around them: a delay or a loss put on each datagram, and counters.
"""

import asyncio
import random
import resource
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from counter.config import LOCAL, GossipConfig
from counter.node import Node, NodeSettings
from loadtest import room
from loadtest.cuts import let_go, look
from loadtest.faults import CUTS_MAX, Faults, FaultyDatagrams, Way
from loadtest.fleet import Started, Totals, Traffic, Usage
from loadtest.needs import NODES_MAX, Shape
from loadtest.pauses import pause
from tracker.classes import replace
from tracker.config import TrackerConfig
from tracker.errors import ConfigError
from tracker.machine import Emit, Endpoint
from tracker.members import ALIVE, retain
from tracker.rest import Rest
from tracker.server import Tracker, TrackerSettings
from tracker.transport.base import DatagramHandler
from tracker.transport.udp import UdpDatagrams

CLIENTS = 250
JOINING_MAX = 300
LAG_MAX = 300
"""Members by which a node may be behind another of this process while more nodes join."""
LOOK_S = 0.02
VIEWS_RETAINED_MAX = 64
TRACKER = TrackerConfig(publish_gap_s=0.05)


class Cluster(Started):
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
        data: Path | None = None,
        first: int = 1,
        members: int | None = None,
        ports: Sequence[int] = (),
        look_s: float = LOOK_S,
        joining_max: int = JOINING_MAX,
        cluster: str = "default",
    ) -> None:
        """Make a cluster; with `tracker` its nodes join one that runs elsewhere.

        With `data` each node keeps its counts in a directory of its own below that one. The
        first node is n`first`; it is up when it knows `members`, by default as many as there
        are here, which is looked at every `look_s`. `ports` are where they listen, each anywhere
        if there are none. So many as `joining_max` are on their way to the tracker at a time. All
        of them, and their clients, belong to `cluster`.
        """
        if not 1 <= count <= NODES_MAX:
            raise ConfigError(f"{count} nodes: one process runs 1 to {NODES_MAX}")
        self.count = count
        self.names: Sequence[str] = [f"n{number}" for number in range(first, first + count)]
        self.nodes: list[Node] = []
        self.cluster = cluster
        self._members = count if members is None else members
        self._look_s = look_s
        self._joining_max = joining_max
        self._ports = ports or [0] * count
        self.crashed: set[str] = set()
        self._way = Way(faults or Faults(), random.Random(f"{seed}/datagrams"), count)
        self._gossip = gossip
        self._on_up = on_up
        self._elsewhere = tracker
        self._data = data
        self._tracker: Tracker | None = None
        self._rest: Rest | None = None
        self._heals: list[asyncio.TimerHandle] = []
        self._is_stopped = False
        self._joined = 0

    async def start(self) -> None:
        """Start all, and wait until everybody knows everybody. Raises ClusterError."""
        # The tracker is here as well, and the clients may be.
        room.allowed_files(Shape(nodes=self.count, processes=1, clients=CLIENTS).files + self.count)
        retain(VIEWS_RETAINED_MAX)
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End all of them."""
        retain(0)
        self.heal()
        # The tracker first: it would tell all that are left of each that ends.
        if self._tracker is not None and not self._is_stopped:
            await self._tracker.stop()
        self._is_stopped = True
        for node in self.live:
            self.crashed.add(node.settings.name)
            with suppress(OSError):
                await node.abandon()

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
        return await self._comes(lambda: not self.remembered, within_s)

    async def knows(self, names: Sequence[str], within_s: float) -> bool:
        """Wait until every live node knows these to be alive; False if one does not in time."""

        def is_so() -> bool:
            views = [node.machine.membership.view.members for node in self.live]
            return all(
                name in members and members[name].status == ALIVE
                for members in views
                for name in names
            )

        return await self._comes(is_so, within_s)

    async def _comes(self, is_so: Callable[[], bool], within_s: float) -> bool:
        """Wait until something is so, of which no event tells."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while not is_so():
            if loop.time() >= until:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    # -- what a plan does to it -----------------------------------------------------------------

    async def crash(self, names: Sequence[str]) -> None:
        """End nodes without a word."""
        ended = self._named(names)
        for node in ended:
            let_go(node)
        self.crashed.update([node.settings.name for node in ended])
        await asyncio.gather(*[node.abandon() for node in ended])

    async def restart(self, names: Sequence[str]) -> None:
        """Start crashed nodes where they were, with what they kept. Raises ClusterError."""
        back = self.crashed.intersection(names)
        for index, old in enumerate(self.nodes):
            if old.settings.name in back:
                node = self._made(replace(old.settings, listen=old.endpoint))
                await node.start()
                self.nodes[index] = node
                self.crashed.discard(node.settings.name)
                look(node, self._way)

    async def set_loss(self, share: float) -> None:
        """Have each datagram vanish with this chance from now on."""
        self._way.set_loss(share)

    async def pause(self, names: Sequence[str], seconds: float) -> None:
        """Have nodes stand still from now on, for so long."""
        for node in self._named(names):
            pause(node, seconds)

    async def partition(self, names: Sequence[str], seconds: float) -> None:
        """Let nothing through between these nodes and all others, for so long."""
        endpoints = self.endpoints
        self.cut(frozenset([endpoints[name] for name in names if name in endpoints]), seconds)

    def cut(self, endpoints: frozenset[Endpoint], seconds: float) -> None:
        """Let nothing through between these endpoints and all others, for so long."""
        if len(self._way.cuts) >= CUTS_MAX:
            raise ConfigError(f"{CUTS_MAX} partitions at one time are the most")
        self._way.cut(endpoints)
        self._look_at_streams()
        loop = asyncio.get_running_loop()
        self._heals = [timer for timer in self._heals if timer.when() > loop.time()]
        self._heals.append(loop.call_later(seconds, self._heal, endpoints))

    @property
    def is_cut(self) -> bool:
        """Whether there is a partition now."""
        return bool(self._way.cuts)

    def heal(self) -> None:
        """End all partitions before their time."""
        for timer in self._heals:
            timer.cancel()
        self._way.heal()
        self._look_at_streams()

    def _heal(self, endpoints: frozenset[Endpoint]) -> None:
        self._way.heal(endpoints)
        self._look_at_streams()

    def _look_at_streams(self) -> None:
        for node in self.live:
            look(node, self._way)

    def _named(self, names: Sequence[str]) -> list[Node]:
        wanted = set(names)
        return [node for node in self.live if node.settings.name in wanted]

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """Where each node listens, by name."""
        return {node.settings.name: node.endpoint for node in self.nodes}

    async def traffic(self) -> Mapping[str, Traffic]:
        """Return what each node has sent and heard."""
        result = {}
        for node in self.nodes:
            counted = node.driver.traffic
            result[node.settings.name] = Traffic(
                counted.datagrams_out,
                counted.datagrams_in,
                counted.datagram_bytes_out,
                node.machine.asker.listener.strangers,
            )
        return result

    async def totals(self) -> Totals:
        """Return the sum of what all nodes have sent and heard."""
        traffics = [node.driver.traffic for node in self.nodes]
        return Totals(
            sum([counted.datagrams_out for counted in traffics]),
            sum([counted.datagrams_in for counted in traffics]),
        )

    async def usage(self) -> Usage:
        """Return what this process has used: the nodes are in it."""
        cpu_s, held_bytes = used()
        return Usage(cpu_s, held_bytes, 1, has_caller=True)

    async def broken(self) -> str:
        """Wait for ever: what holds the nodes is the process that asks."""
        await asyncio.get_running_loop().create_future()
        return ""

    async def _start(self) -> None:
        if self._elsewhere is None:
            settings = TrackerSettings(
                listen=("127.0.0.1", 0), config=TRACKER, cluster=self.cluster
            )
            self._tracker = Tracker(settings, lambda emit: None)
            await self._tracker.start()
        self._rest = Rest()
        for number, (name, port) in enumerate(zip(self.names, self._ports, strict=True), 1):
            node = self._made(
                NodeSettings(
                    name=name,
                    listen=("127.0.0.1", port),
                    trackers=(self.tracker_endpoint,),
                    cluster=self.cluster,
                    gossip=self._gossip,
                    data=None if self._data is None else self._data / name,
                )
            )
            self.nodes.append(node)
            await node.start()
            if number % 10 == 0:
                await asyncio.sleep(0)
            # All at once would keep each other from connecting in time; and news that comes
            # faster than it is taken makes a tracker doubt those who take it.
            while self._is_busy(number):  # noqa: ASYNC110
                await asyncio.sleep(self._look_s)
        # No event says that the slowest node has heard of the newest; its view does.
        while (up := self.up()) < self.count:
            self._on_up(up)
            await asyncio.sleep(self._look_s)
        self._on_up(self.count)
        for node in self.nodes:
            # A node sorts its ring when first asked. A thousand of them do it at the same
            # time, each on its own machine; here the first query would wait for all.
            _ = node.machine.membership.view.positions

    def _made(self, settings: NodeSettings) -> Node:
        return Node(settings, self._emitted, self._make_datagrams, rest=self._rest)

    def _emitted(self, emit: Emit) -> None:
        """Count who has joined; what else the nodes would say to a person is dropped."""
        if emit.event == "joined":
            self._joined += 1

    def known(self) -> list[int]:
        """Return how many members each node knows that was started so far."""
        return [len(node.machine.membership.view.members) for node in self.nodes]

    def _is_busy(self, started: int) -> bool:
        """Say whether too many of those who were started have not joined, or are far behind."""
        if started - self._joined > self._joining_max:
            return True
        known = self.known()
        enough = max(known) - LAG_MAX
        return sum([number < enough for number in known]) > self._joining_max

    def up(self) -> int:
        """Return how many nodes know everybody."""
        return sum([known >= self._members for known in self.known()])

    def _make_datagrams(self, sock: socket.socket, handler: DatagramHandler) -> UdpDatagrams:
        return FaultyDatagrams(sock, handler, self._way)


def used() -> tuple[float, int]:
    """Return the processor time of this process in s, and the bytes of memory it holds.

    Pages that several processes share count in part for each of them (PSS of proc(5)), so
    that the sum over all processes is what they hold together.
    """
    spent = resource.getrusage(resource.RUSAGE_SELF)
    held = spent.ru_maxrss * 1024
    # Another system, or an old one, has no such file.
    with suppress(OSError):
        for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                held = int(line.split()[1]) * 1024
    return spent.ru_utime + spent.ru_stime, held
