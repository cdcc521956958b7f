"""A running node: its machine on real sockets, with its storage.

The rule: one port number for everything. Streams (clients) and datagrams (gossip) share it,
so that one address says where a node is.
"""

import asyncio
import random
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from counter.config import LAN, GossipConfig, NodeConfig
from counter.copies import refuse_copy
from counter.doorway import acknowledgements, increments
from counter.express import Way
from counter.gossip import UNTIMED, Gossip
from counter.lives import introduce, member_of, overtaken
from counter.messages import DOOR, GOSSIP
from counter.notices import held_text
from counter.quick import ways
from counter.recalling import restoring
from counter.snapshots import Snapshots
from counter.storage.base import Rebirth, Storage
from counter.storage.memory import MemoryStorage
from counter.unwritten import Unwritten
from tracker.again import Standing
from tracker.classes import dataclass, replace
from tracker.daemon import known, listening
from tracker.driver import Driver
from tracker.errors import AddressError, ConfigError
from tracker.machine import Emit, Endpoint, Leave, Link, Persisted, PersistFailed
from tracker.rest import Rest
from tracker.transport import pulses
from tracker.transport.base import DatagramHandler, Datagrams
from tracker.transport.tcp import TcpStreams, bind_tcp
from tracker.transport.udp import UdpDatagrams, bind_udp

FIRST_PORT = 7401
PORTS_MAX = 64
LEAVE_S = 1.5
HAND_OVER_S = 8.0
"""Longest that a node in memory tries to give its counts away when it is stopped."""
NOBODY_TOOK_MAX = 2
"""Rounds in which nobody took them, after which it stops all the same."""
MakeDatagrams = Callable[[socket.socket, DatagramHandler], Datagrams]


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSettings:
    """What one node is started with. `data` None keeps everything in memory.

    With `reborn` the data is an old backup, or a copy's, and becomes a store of its own.
    """

    name: str
    listen: Endpoint
    trackers: tuple[Endpoint, ...]
    data: Path | None = None
    insecure: bool = False
    cluster: str = "default"
    verbose: int = 0
    json: bool = False
    gossip: GossipConfig = LAN
    port_search: bool = False
    reborn: Rebirth | None = None


class Beside(Protocol):
    """A door beside a node's own, for clients that speak something else (`counter.frontends`)."""

    line: str
    """What a person is told of it."""

    async def open(self, node: "Node") -> None:
        """Begin to speak for a node that has started."""

    def close(self) -> None:
        """Take nothing more, say what is left to be said, end every connection."""

    async def wait_closed(self) -> None:
        """Wait, after `close`, until the last connection has ended, but not for long."""


class Node:
    """One node at work in the running event loop."""

    def __init__(
        self,
        settings: NodeSettings,
        on_emit: Callable[[Emit], None],
        make_datagrams: MakeDatagrams = UdpDatagrams,
        beside: Sequence[Beside] = (),
        storage: Storage | None = None,
        rest: Rest | None = None,
    ) -> None:
        """Open the storage, if none is given; bind. Raises Address-, Config-, StorageError."""
        self._beside = beside
        self.departed, self.drained = asyncio.Event(), asyncio.Event()
        self._nobody_took = 0
        self._on_emit = on_emit
        self._make_datagrams = make_datagrams
        trackers, self._unknown = known(settings.trackers)
        self._tcp, self._udp = bound(settings)
        self.endpoint: Endpoint = self._tcp.getsockname()[:2]
        self.storage = self._opened(settings) if storage is None else storage
        identity = self.storage.identity
        # Who lost its name is started under that, and keeps the one that was left to it.
        self.settings = settings = replace(settings, name=identity.name or settings.name)
        reached_at = advertised(self.endpoint[0], trackers), self.endpoint[1]
        self.member = member_of(identity, settings.name, reached_at)
        self.machine = machine = Gossip(
            NodeConfig(name=settings.name, cluster=settings.cluster),
            settings.gossip,
            self.member,
            trackers,
            random.Random(random.SystemRandom().getrandbits(128)),
        )
        introduce(machine, identity)
        self._snapshots = Snapshots(self.storage, machine.dump, on_emit)
        self._unwritten = Unwritten(on_emit, asyncio.get_running_loop().time)
        self.driver = self._driver(machine, rest)
        self._streams = TcpStreams(
            self.driver,
            role="node",
            name=settings.name,
            cluster=settings.cluster,
            store=identity.store,
            boots=lambda: machine.ledger.told_boots,
            express=increments(machine.ledger, self.storage.write),
        )
        self._acknowledge = acknowledgements(machine.ledger)
        self._datagrams: Datagrams | None = None

    def _driver(self, machine: Gossip, rest: Rest | None) -> Driver:
        """Return what runs the machine, with every shorter way past it that there is."""
        return Driver(
            machine,
            DOOR,
            GOSSIP,
            self._emitted,
            UNTIMED,
            # A store that was made of another one looks at each ask and answer twice.
            {} if machine.membership.parent else self._ways(machine),
            reflex=machine.reflex,
            on_reflex=self._let_stand if pulses.ARE_THERE else None,
            rest=rest,
        )

    def _ways(self, machine: Gossip) -> dict[bytes, Way]:
        parts = machine.relay, machine.ledger.counters, machine.asker, machine.heads
        return ways(*parts, machine.membership)

    def _opened(self, settings: NodeSettings) -> Storage:
        try:
            return opened(settings)
        except BaseException:
            self._close_sockets()
            raise

    def _let_stand(self, link: Link, body: bytes, reply: bytes) -> None:
        """Have the stream give an answer of the machine's reflex again by itself."""
        standing = self.machine.stands(link)
        if standing is None:
            return
        while_, rest_s = self.machine.rests() or (Standing(), None)
        all_of_it = standing.joined(while_).joined(self.driver.stands(rest_s))
        pulses.stand(self._streams.links.get(link), body, reply, all_of_it)

    async def start(self) -> None:
        """Recover what was kept, then begin to listen. Raises StorageError."""
        try:
            restore = restoring(self.machine)
            for kind, record in self.storage.recover(self.machine.forks.at):
                restore(kind, record)
            self.machine.resume(self.storage.token)
            await self._refuse_copy()
        except BaseException:
            self._close_sockets()
            await self.storage.close()
            raise
        for text in self._unknown:
            self._on_emit(Emit("tracker-unknown", {"text": text}))
        cut = self.storage.cut
        if cut is not None:
            details = {"file": cut.file, "byte": cut.offset, "bytes": cut.size, "looks": cut.looks}
            self._on_emit(Emit("log-cut", details))
        if self.storage.is_overtaken:
            self._on_emit(overtaken("its log is shorter than it was"))
        if self.storage.shortage:
            self._on_emit(Emit("disk-full", {"reason": self.storage.shortage}))
        self.storage.heed(self._udp.fileno())
        self.storage.start(self._settle, self._snapshots.over)
        self._datagrams = self._make_datagrams(self._udp, self.driver)
        await self._streams.listen(self._tcp)
        self.driver.start(self._streams, self._datagrams, self.storage)
        for door in self._beside:
            await door.open(self)

    @property
    def streams(self) -> TcpStreams:
        """The streams of its clients, and those to its trackers."""
        return self._streams

    async def _refuse_copy(self) -> None:
        own = self.machine.membership.member
        last = self.machine.membership.view.get(own.name)
        await refuse_copy(own, self.settings.cluster, last, self.settings.trackers)

    @property
    def holds_counts(self) -> bool:
        """Whether counts would end, or rest, with this node."""
        machine = self.machine
        return machine.ledger.holds_counts and not machine.handover.leaving.holds_nothing

    async def hand_over(self) -> None:
        """Give the counts to another node, if one takes them soon enough."""
        self.driver.submit(Leave(hand_over=True))
        with suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_S):
                await self.drained.wait()

    async def stop(self) -> None:
        """Leave the cluster, write what is left, give the port back."""
        self.driver.submit(Leave())
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self.departed.wait()
        if self.machine.ledger.has_gap:
            # What was acknowledged from memory while the disk was full has no record.
            self.storage.snapshot(self.machine.dump())
        await self.abandon(noted=True)

    async def abandon(self, *, noted: bool = False) -> None:
        """End without a word to anybody, as a crash would; only what was queued is written.

        With `noted` so is how far that goes.
        """
        if self._datagrams is not None:
            self._datagrams.close()
        await self.storage.close(noted=noted)
        self._snapshots.close()
        self.driver.close()
        for door in self._beside:
            door.close()
        self._streams.close()
        for door in self._beside:
            await door.wait_closed()
        await self._streams.wait_closed()
        self._close_sockets()

    @property
    def held(self) -> str:
        """What this node holds, for a person."""
        counters = self.machine.ledger.counters
        return held_text(len(counters.own), [len(share) for share in counters.others.values()])

    @property
    def receive_buffer_bytes(self) -> int:
        """The datagram receive buffer that the kernel gave."""
        return self._udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def _settle(self, event: Persisted | PersistFailed) -> None:
        replies = None
        if isinstance(event, PersistFailed):
            self._unwritten.failed(event)
        else:
            replies = self._acknowledge(event)
            if self._unwritten.records:
                self._unwritten.written()
        if replies is None:
            self.driver.settle(event)
        else:
            self._streams.send_frames(replies)
            self.storage.answered([link for link, _ in replies])
        if self.storage.wants_snapshot:
            self._snapshots.take()

    def _emitted(self, emit: Emit) -> None:
        if emit.event == "departed":
            self.departed.set()
        # Where there is no room now there is some in a moment: shares of others become one.
        self._nobody_took += emit.event == "drain-waits" and not emit.details["full"]
        is_over = emit.event in ("drained", "drain-failed")
        if is_over or self._nobody_took >= NOBODY_TOOK_MAX:
            self.drained.set()
        self._on_emit(emit)

    def _close_sockets(self) -> None:
        self._tcp.close()
        self._udp.close()


def bound(settings: NodeSettings) -> tuple[socket.socket, socket.socket]:
    """Return a stream and a datagram socket on one port number.

    Raises AddressError, and ConfigError for a port that is taken, or for an address beyond this
    machine without `insecure`.
    With port 0 the first free number from 7401 up is taken, then whatever the system gives.
    """
    host, port = settings.listen
    searched = range(FIRST_PORT, FIRST_PORT + PORTS_MAX) if settings.port_search else ()
    for candidate in [*searched, *([port] if port else [0] * PORTS_MAX)]:
        if port and candidate != port:
            continue
        try:
            tcp = listening((host, candidate), insecure=settings.insecure, bind=bind_tcp)
        except (AddressError, ConfigError):
            if candidate and not port:
                continue
            raise
        try:
            return tcp, bind_udp(tcp.getsockname()[:2])
        except OSError as error:
            taken = tcp.getsockname()[1]
            tcp.close()
            if port:
                raise ConfigError(
                    f"port {taken} is in use for datagrams            "
                    "pass --listen HOST:0 to pick a free one"
                ) from error
    raise AddressError("no free port was found")


def opened(settings: NodeSettings) -> Storage:
    """Return the storage that the settings name. Raises StorageError."""
    if settings.data is None:
        return MemoryStorage()
    from counter.storage.durable import DurableStorage

    return DurableStorage(
        settings.data, settings.name, cluster=settings.cluster, reborn=settings.reborn
    )


def advertised(host: str, trackers: tuple[Endpoint, ...]) -> str:
    """Return the address that others reach this node at.

    A node that listens everywhere is reached at the address its way to the tracker begins at.
    """
    if host not in ("0.0.0.0", "::") or not trackers:
        return "127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host
    family = socket.AF_INET6 if ":" in trackers[0][0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(trackers[0])
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
