"""`counter maelstrom`: a node whose network, clients and membership are Maelstrom's.

The machine, its driver, its codecs and its store are those of `counter node`. Only what carries
them differs: datagrams and client requests are lines on stdin and stdout (`frontends.maelstrom`
says which), and who belongs to the cluster stands in `init` (`tracker.fixed`). The rule: stdout
holds messages and nothing else; what a person should know goes to stderr.
"""

import asyncio
import os
import random
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from counter.config import GossipConfig, NodeConfig
from counter.frontends.maelstrom import (
    MALFORMED,
    NOT_SUPPORTED,
    PRECONDITION,
    UNAVAILABLE,
    Clients,
    Lines,
    MaelstromError,
    Message,
    Places,
    datagram_in,
    error_body,
    gossip_body,
    line_of,
    parsed,
    places_of,
    shortfall,
)
from counter.gossip import UNTIMED, Gossip
from counter.messages import DOOR, GOSSIP, Answer
from counter.storage.base import Storage
from counter.storage.memory import MemoryStorage
from tracker.classes import dataclass
from tracker.daemon import complain, run_daemon
from tracker.driver import Driver
from tracker.errors import ClusterError, StorageError
from tracker.files import shown_path
from tracker.fixed import FixedMembership
from tracker.logs import text_line
from tracker.machine import Emit, Endpoint, Leave, Link, Persisted, PersistFailed
from tracker.members import Member
from tracker.text import printable

CLUSTER: Final = "maelstrom"
"""Its data directories belong to this cluster: none of a `counter node` is taken by mistake."""
DEADLINE_S: Final = 3.0
"""Longest wait for the answer to a read; Maelstrom's clients give up after 5 s."""
GOSSIP_CONFIG: Final = GossipConfig(hop_s=0.1, stop_epsilon=1e-6)
"""Maelstrom may delay messages by seconds, so that a shorter first guess would take delay for
silence; and it reads once at the end, so that a false *converged* must be all but ruled out."""
LINGER_S: Final = 2.0
"""Time beyond the deadline of a read in which requests are answered after the end of stdin."""
CHUNK_BYTES: Final = 65_536
CHUNKS_MAX: Final = 16
"""Chunks of stdin that were read and not taken; past it stdin is not read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaelstromSettings:
    """What a process is started with. Without `data`, counts are kept in memory."""

    data: Path | None = None
    deadline_s: float = DEADLINE_S
    is_strict: bool = False
    verbose: int = 0


class Output:
    """Lines to stdout: all those of one turn of the loop in one write."""

    def __init__(self, descriptor: int, on_broken: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._lines: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def write(self, line: bytes) -> None:
        """Let a line leave at the end of this turn."""
        if not self._lines:
            self._loop.call_soon(self.flush)
        self._lines.append(line)

    def flush(self) -> None:
        """Write what waits. A reader that does not read stops this process, and loses nothing."""
        data = memoryview(b"".join(self._lines))
        self._lines.clear()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            self._on_broken()


class Peers:
    """The other nodes, as the driver knows them: datagrams that travel as `gossip`."""

    def __init__(self, places: Places, write: Callable[[bytes], None]) -> None:
        self.endpoint = places.own
        self._places = places
        self._write = write

    def send(self, to: Endpoint, body: bytes) -> bool:
        """Send a datagram to a node; false for an address that is nobody's."""
        name = self._places.by_endpoint.get(to)
        if name is not None:
            self._write(line_of(self._places.name, name, gossip_body(body)))
        return name is not None

    def drain(self) -> None:
        """Do nothing: lines are handed over as they come."""

    def close(self) -> None:
        """Do nothing: stdin and stdout belong to the process."""


class Desk:
    """The clients, as the driver knows them: each a stream on which its replies leave.

    There are no streams between nodes, and no node asks for one: all were told the same list.
    """

    def __init__(self, places: Places, clients: Clients, write: Callable[[bytes], None]) -> None:
        self.endpoint = places.own
        self.on_unreachable: Callable[[Endpoint, str], None] = lambda to, reason: None
        self.on_replied: Callable[[], None] = lambda: None
        self._places = places
        self._clients = clients
        self._write = write

    def open(self, to: Endpoint) -> None:
        """Say that there are no streams between nodes."""
        reason = "Maelstrom carries messages only"
        asyncio.get_running_loop().call_soon(self.on_unreachable, to, reason)

    def send(self, link: Link, body: bytes) -> None:
        """Send a reply to the client that a link stands for."""
        message = DOOR.decode(body)
        reply = self._clients.reply(link, message)
        if reply is None:
            return
        if isinstance(message, Answer) and not message.complete:
            name, number = printable(reply[0], 64), reply[1]["in_reply_to"]
            complain(f"read {number} of {name} is {shortfall(message, self._clients.nodes)}")
        self.say(*reply)
        self.on_replied()

    def send_all(self, links: Iterable[Link], body: bytes) -> None:
        """Send one reply to each of these clients."""
        for link in links:
            self.send(link, body)

    def say(self, dest: str, body: dict[str, Any]) -> None:
        """Send a message of this node to a client."""
        self._write(line_of(self._places.name, dest, body))

    def close_link(self, link: Link) -> None:
        """Do nothing: a client is no stream that could be ended."""

    def close(self) -> None:
        """Do nothing: stdin and stdout belong to the process."""


class Node:
    """One node from `init` on: the machine of `counter node` among fixed names."""

    def __init__(
        self, settings: MaelstromSettings, places: Places, write: Callable[[bytes], None]
    ) -> None:
        """Open the storage and recover what it kept. Raises StorageError, MaelstromError."""
        self.places = places
        self.clients = Clients(
            len(places.by_name), settings.deadline_s, is_strict=settings.is_strict
        )
        self.desk = Desk(places, self.clients, write)
        self._peers = Peers(places, write)
        self._verbose = settings.verbose
        self._storage = opened(settings.data, places.name)
        identity = self._storage.identity
        host, port = places.own
        member = Member(
            name=places.name,
            store=identity.store,
            reign=0,
            epoch=identity.epoch,
            incarnation=0,
            host=host,
            port=port,
            durable=identity.durable,
        )
        rng = random.Random(random.SystemRandom().getrandbits(128))
        self.machine = Gossip(
            NodeConfig(name=places.name, cluster=CLUSTER),
            GOSSIP_CONFIG,
            member,
            (),
            rng,
            FixedMembership(member, places.by_name, rng),
        )
        self._driver = Driver(self.machine, DOOR, GOSSIP, self._emitted, UNTIMED)
        self.desk.on_unreachable = self._driver.on_unreachable

    async def start(self) -> None:
        """Take in what was kept, then begin. Raises StorageError and MaelstromError."""
        try:
            for kind, record in self._storage.recover():
                self.machine.restore(kind, record)
            self._check_view()
            self.machine.resume(self._storage.token)
        except BaseException:
            await self._storage.close()
            raise
        self._storage.start(self._settle)
        self._driver.start(self.desk, self._peers, self._storage)

    def _check_view(self) -> None:
        """Refuse a directory of another list of nodes: its counts belong to another cluster."""
        for member in self.machine.membership.view:
            if self.places.by_name.get(member.name) != member.endpoint:
                raise MaelstromError(
                    PRECONDITION,
                    f"the data of {self.places.name} is of another list of nodes"
                    f" ({printable(member.name)} was in it); use a new directory",
                )

    async def stop(self) -> None:
        """Write what was queued, and release the directory."""
        self._driver.submit(Leave())
        await self._storage.close()
        self._driver.close()

    def take(self, message: Message) -> None:
        """Take one message. Raises MaelstromError for what is answered with an error."""
        if message.type == "gossip":
            sender = self.places.by_name.get(message.src)
            if sender is None:
                raise MaelstromError(MALFORMED, "gossip of nobody in node_ids")
            self._driver.on_datagram(datagram_in(message.body), sender)
        elif message.type == "topology":
            self.desk.say(message.src, replying(message, {"type": "topology_ok"}))
        elif message.type in ("add", "read"):
            self._ask(message)
        elif message.type == "init":
            self._init_again(message)
        elif "in_reply_to" not in message.body:
            text = f'"{printable(message.type, 40)}" is not supported'
            raise MaelstromError(NOT_SUPPORTED, text)

    def drained(self) -> None:
        """Decide: everything that had come was taken."""
        self._driver.on_drained()

    def _ask(self, message: Message) -> None:
        link, forgotten = self.clients.link(message.src)
        if forgotten is not None:
            self._driver.on_closed(forgotten, "another client came")
        request = self.clients.request(link, message)
        if request is not None:
            self._driver.on_frame(link, DOOR.encode(request))

    def _init_again(self, message: Message) -> None:
        places = places_of(message.body)
        if (places.name, places.by_name) != (self.places.name, self.places.by_name):
            text = f"this process is {self.places.name} already, among other nodes"
            raise MaelstromError(PRECONDITION, text)
        self.desk.say(message.src, replying(message, {"type": "init_ok"}))

    def _settle(self, event: Persisted | PersistFailed) -> None:
        self._driver.settle(event)
        if self._storage.wants_snapshot:
            self._storage.snapshot(self.machine.dump())

    def _emitted(self, emit: Emit) -> None:
        if self._verbose:
            complain(text_line(emit.event, emit.details))


class Process:
    """What the lines of stdin do, before and after `init`."""

    def __init__(self, settings: MaelstromSettings, write: Callable[[bytes], None]) -> None:
        self.node: Node | None = None
        self.failure: ClusterError | None = None
        self._settings = settings
        self._write = write
        self._lines = Lines()
        self._number = 0

    async def feed(self, chunk: bytes) -> None:
        """Take what came in; an empty chunk is the end of it."""
        for line in self._lines.feed(chunk) if chunk else self._lines.end():
            self._number += 1
            if self.failure is not None:
                return
            if line is None:
                complain(f"line {self._number} is too long; dropped")
            elif line.strip():
                await self._take(line)
        if self.node is not None:
            self.node.drained()

    async def _take(self, line: bytes) -> None:
        message: Message | None = None
        try:
            message = parsed(line)
            if self.node is not None:
                self.node.take(message)
            elif message.type == "init":
                await self._init(message)
            elif message.type != "gossip":
                # Gossip that comes before this node knows who it is will be sent again.
                raise MaelstromError(UNAVAILABLE, "no init has come yet")
        except MaelstromError as error:
            if message is None or message.number is None or "in_reply_to" in message.body:
                complain(f"line {self._number} is dropped: {error}")
            else:
                self._refuse(message, error)

    async def _init(self, message: Message) -> None:
        places = places_of(message.body)
        try:
            node = Node(self._settings, places, self._write)
            await node.start()
        except (StorageError, MaelstromError) as error:
            # There is nobody else it could be: the process ends with this.
            self.failure = error
            self._refuse(message, MaelstromError(PRECONDITION, str(error)))
            return
        self.node = node
        complain(first_line(self._settings, places))
        node.desk.say(message.src, replying(message, {"type": "init_ok"}))

    def _refuse(self, message: Message, error: MaelstromError) -> None:
        body = replying(message, error_body(error.code, str(error)))
        self._write(line_of(message.dest, message.src, body))


def replying(message: Message, body: dict[str, Any]) -> dict[str, Any]:
    """Return a body as the reply to a message."""
    return {**body, "in_reply_to": message.number} if message.number is not None else body


def opened(data: Path | None, name: str) -> Storage:
    """Return the storage of a node: a directory of its own in `data`. Raises StorageError."""
    if data is None:
        return MemoryStorage()
    from counter.storage.durable import DurableStorage

    return DurableStorage(data / name, name, cluster=CLUSTER)


def first_line(settings: MaelstromSettings, places: Places) -> str:
    """Return what a node says once it knows who it is."""
    if settings.data is None:
        kept = "in memory only (no --data): counts end with this process"
    else:
        kept = f"data {shown_path(settings.data / places.name)}"
    return f"counter maelstrom {places.name} of {len(places.by_name)} nodes   {kept}"


# -- the process ------------------------------------------------------------------------------


def run(settings: MaelstromSettings) -> int:
    """Run one node until stdin ends or it is told to stop. Raises ClusterError."""

    async def serve(stop: asyncio.Event) -> int:
        chunks: asyncio.Queue[bytes] = asyncio.Queue()
        room = threading.BoundedSemaphore(CHUNKS_MAX)
        output = Output(sys.stdout.fileno(), stop.set)
        process = Process(settings, output.write)
        threading.Thread(
            target=read_all,
            args=(sys.stdin.fileno(), room, asyncio.get_running_loop(), chunks.put_nowait),
            daemon=True,
        ).start()

        async def feed() -> None:
            chunk = b"-"
            while chunk and process.failure is None:
                chunk = await chunks.get()
                room.release()
                await process.feed(chunk)
            if process.node is not None:
                await answered(process.node, settings.deadline_s + LINGER_S)
            stop.set()

        feeding = asyncio.create_task(feed())
        await stop.wait()
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding
        if process.node is not None:
            await process.node.stop()
        output.flush()
        if process.failure is not None:
            raise process.failure
        return 0

    return run_daemon(serve)


def read_all(
    descriptor: int,
    room: threading.BoundedSemaphore,
    loop: asyncio.AbstractEventLoop,
    take: Callable[[bytes], None],
) -> None:
    """Hand over what comes in, and an empty chunk at its end; runs in a thread of its own.

    A thread, since stdin may be a file, which no event loop can wait for.
    """
    chunk = b"-"
    while chunk:
        room.acquire()
        try:
            chunk = os.read(descriptor, CHUNK_BYTES)
        except OSError:
            chunk = b""
        with suppress(RuntimeError):  # The loop has ended before stdin did.
            loop.call_soon_threadsafe(take, chunk)


async def answered(node: Node, longest_s: float) -> None:
    """Wait until no request waits for its reply, but no longer than this."""
    done = asyncio.Event()

    def look() -> None:
        if not node.clients.waiting:
            done.set()

    node.desk.on_replied = look
    look()
    with suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await done.wait()
