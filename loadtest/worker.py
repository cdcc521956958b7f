"""A process of a load test that holds some of its nodes, or the tracker.

The rule: it does what it is told over one socket, and ends when that ends, whatever it is
doing; nothing it holds is worth more than the load test that wanted it.
"""

import asyncio
import gc
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import anyio

from counter.config import GossipConfig
from loadtest import cluster
from loadtest.cluster import Cluster
from loadtest.faults import Faults
from loadtest.orders import (
    ANSWERS,
    ORDERS,
    TEXT_MAX,
    Boot,
    Count,
    Crash,
    Cut,
    Failed,
    Host,
    Lose,
    Order,
    Pause,
    Restart,
    Sum,
    Up,
    Use,
    pages,
    shorts,
)
from tracker.config import TrackerConfig
from tracker.daemon import has_uvloop, rare_collections
from tracker.errors import ClusterError
from tracker.server import Tracker, TrackerSettings
from tracker.text import printable
from tracker.wire import FrameReader, framed

LOOPBACK = "127.0.0.1"
TELL_S = 0.1
DEAD_FACTOR = 3.4
"""So much longer than until it is doubted a node is silent before it is called dead."""
UNSENT_BYTES_MAX = 16 * 2**20
"""Answers that wait for the load test to read them; past it nobody does, and this ends."""


class Worker(asyncio.Protocol):
    """The socket of this process, and what is done about each order."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader = FrameReader()
        self._transport: Any = None
        self._tracker: Tracker | None = None
        self._cluster: Cluster | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- asyncio calls these ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Begin with each order; they are few at a time, and each waits for its answer."""
        for body in self._reader.feed(data):
            task = asyncio.ensure_future(self._obey(ORDERS.decode(body)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        """The load test has ended, or wants no more of this process."""
        if not self.ended.done():
            self.ended.set_result(None)

    # -- ours ---------------------------------------------------------------------------------

    async def _obey(self, order: Order) -> None:
        try:
            words = await self._done(order)
        except ClusterError as error:
            self._say(Failed(order.request, printable(str(error), TEXT_MAX)))
            return
        except OSError as error:
            reason = printable(error.strerror or type(error).__name__, TEXT_MAX).lower()
            self._say(Failed(order.request, reason))
            return
        for page in pages(order.request, words):
            self._say(page)

    async def _done(self, order: Order) -> Sequence[int]:
        if isinstance(order, Host):
            config = TrackerConfig(
                publish_gap_s=order.gap_s,
                suspect_after_s=order.suspect_s,
                dead_after_s=DEAD_FACTOR * order.suspect_s,
            )
            settings = TrackerSettings(listen=(LOOPBACK, 0), config=config, cluster=order.cluster)
            self._tracker = Tracker(settings, lambda emit: None)
            await self._tracker.start()
            return [self._tracker.endpoint[1]]
        if isinstance(order, Boot):
            return await self._boot(order)
        if isinstance(order, Use):
            cpu_s, held_bytes = cluster.used()
            return [round(1_000_000 * cpu_s), held_bytes]
        nodes = self._cluster
        if nodes is None:
            return []
        if isinstance(order, Sum):
            total = await nodes.totals()
            return [total.datagrams_out, total.datagrams_in]
        if isinstance(order, Count):
            return await _counted(nodes)
        await self._do_to(nodes, order)
        return []

    async def _do_to(self, nodes: Cluster, order: Order) -> None:
        if isinstance(order, Crash):
            await nodes.crash(_names(order.numbers))
        elif isinstance(order, Restart):
            await nodes.restart(_names(order.numbers))
        elif isinstance(order, Pause):
            await nodes.pause(_names(order.numbers), order.seconds)
        elif isinstance(order, Lose):
            await nodes.set_loss(order.share)
        elif isinstance(order, Cut) and (left := order.until - monotonic()) > 0.0:
            nodes.cut(frozenset([(LOOPBACK, port) for port in shorts(order.ports)]), left)

    async def _boot(self, order: Boot) -> Sequence[int]:
        nodes = self._cluster = Cluster(
            order.count,
            first=order.first,
            members=order.members,
            look_s=order.look_s,
            joining_max=order.joining_max,
            ports=shorts(order.ports),
            tracker=order.tracker,
            seed=order.seed,
            faults=Faults(latency_s=order.latency_s, loss=order.loss),
            gossip=GossipConfig(**json.loads(order.settings)),
            data=Path(order.data) if order.data else None,
            cluster=order.cluster,
        )
        telling = asyncio.ensure_future(self._tell(nodes, max(TELL_S, order.look_s)))
        try:
            await nodes.start()
        finally:
            telling.cancel()
        gc.collect()
        gc.freeze()
        return [endpoint[1] for endpoint in nodes.endpoints.values()]

    async def _tell(self, nodes: Cluster, gap_s: float) -> None:
        """Say how far the nodes are, until this is cancelled."""
        while True:
            await asyncio.sleep(gap_s)
            self._say(Up(nodes.up(), sum(nodes.known())))

    def _say(self, message: Any) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(framed(ANSWERS.encode(message)))
        if self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._transport.abort()

    def failed(self, context: dict[str, Any]) -> None:
        """End, and say why: something here went wrong that nobody waits for."""
        error = context.get("exception")
        text = f"{type(error).__name__}: {error}" if error else str(context.get("message"))
        self._say(Failed(0, printable(text, TEXT_MAX)))
        self._transport.close()


async def _counted(nodes: Cluster) -> Sequence[int]:
    words: list[int] = []
    for name, traffic in (await nodes.traffic()).items():
        words += (int(name[1:]), traffic.datagrams_out, traffic.datagrams_in)
        words += (traffic.bytes_out, traffic.strangers)
    return words


def _names(numbers: bytes) -> list[str]:
    return [f"n{number}" for number in shorts(numbers)]


async def _served(file: int) -> None:
    loop = asyncio.get_running_loop()
    sock = socket.socket(fileno=file)
    sock.setblocking(False)
    _, served = await loop.create_unix_connection(Worker, sock=sock)
    loop.set_exception_handler(lambda _, context: served.failed(context))
    await served.ended


def main(file: int) -> None:
    """Serve on this socket until it ends."""
    with rare_collections():
        anyio.run(_ended, file, backend="asyncio", backend_options={"use_uvloop": has_uvloop()})


async def _ended(file: int) -> None:
    await _served(file)
    # Nobody is told, nothing is closed: thousands of sockets would take their time.
    os._exit(0)
