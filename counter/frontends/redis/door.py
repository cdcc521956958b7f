"""The port at which a node speaks the protocol of Redis.

The rule: it adds a way to say things, and no way to count. Whatever it makes of what it hears
goes the way of any other client's, and it holds nothing that would be missed if it fell over:
a client that is cut off knows as much as one of Redis's does then, which is nothing.
"""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from socket import socket
from typing import Any, Final

from counter.frontends.redis.client import RedisClient
from counter.frontends.redis.commands import Talk
from counter.frontends.redis.desk import Desk
from counter.frontends.redis.facts import NodeFacts
from counter.frontends.redis.runs import PlainReckoner, Reckoner, Run
from counter.frontends.redis.straight import Straight
from counter.ledger import Ledger
from counter.node import Node
from counter.stamps import new_session
from tracker.config import shown_endpoint
from tracker.daemon import listening
from tracker.machine import Endpoint
from tracker.native import extension
from tracker.transport.base import CONNECTIONS_MAX
from tracker.transport.tcp import TcpStreams

CLOSE_S: Final = 2.0
TOO_MANY: Final = "max number of clients reached"
"""The words of Redis: libraries know them, and come back later."""

_NATIVE: Final = extension("counter.native.redis")
_RUNS: Final = extension("counter.native.runs")

Read = Callable[[bytes, int], tuple[Run, int]]


class RedisDoor:
    """One port; opened with a node, closed with it."""

    streams: TcpStreams
    straight: Straight | None
    """The shortest way, where a node counts in memory."""
    run: Read
    soon: Callable[..., Any]

    def __init__(
        self, endpoint: Endpoint, *, insecure: bool, connections_max: int = CONNECTIONS_MAX
    ) -> None:
        """Take the port. Raises AddressError and ConfigError."""
        self._insecure = insecure
        self._connections_max = connections_max
        self._sock: socket | None = listening(endpoint, insecure=insecure, option="--redis")
        self.endpoint: Endpoint = self._sock.getsockname()[:2]
        self._server: asyncio.Server | None = None
        self._clients: set[RedisClient] = set()
        self._desk: Desk
        self._facts: NodeFacts
        self._numbers = count(1)
        self._all_left = asyncio.Event()

    @property
    def line(self) -> str:
        """What a person is told of it: where it is, and what to type."""
        host, port = self.endpoint
        place = "" if host == "127.0.0.1" else f" -h {host}"
        return (
            f"redis: {shown_endpoint(self.endpoint)}   try: redis-cli{place} -p {port} incr views"
        )

    async def open(self, node: Node) -> None:
        """Begin to speak for a node. Raises AddressError and ConfigError."""
        loop = asyncio.get_running_loop()
        if self._sock is None:
            # It was open before, with an earlier life of this node.
            self._sock = listening(self.endpoint, insecure=self._insecure, option="--redis")
        self.soon = loop.call_soon
        self.streams = streams = node.streams
        ledger = node.machine.ledger
        self._facts = NodeFacts(node, lambda: len(self._clients), self.endpoint[1])
        way = Straight(ledger) if _NATIVE is None else native(_NATIVE, ledger)
        self.run = way.run
        self.straight = None if ledger.durable else way
        self._desk = Desk(
            reckoner(_RUNS, PlainReckoner(self._facts.value), ledger),
            express=streams.express,
            take=node.driver.on_frame,
            soon=loop.call_soon,
            session=session,
            enter=streams.enter,
            leave=streams.leave,
            # The node sees one client, the desk; its disk is to know how many they are.
            answered=node.storage.answered,
        )
        node.driver.on_accepted(self._desk.link, self.endpoint)
        self._server = await loop.create_server(self._accept, sock=self._sock)

    def _accept(self) -> RedisClient:
        return RedisClient(self, self._desk, Talk(self._facts, next(self._numbers)))

    def entered(self, client: RedisClient) -> str:
        """Take in a connection; returns why not, if it is one too many."""
        is_full = len(self._clients) >= self._connections_max
        self._clients.add(client)
        self._all_left.clear()
        return TOO_MANY if is_full else ""

    def left(self, client: RedisClient) -> None:
        """Let go of a connection that has ended."""
        self._clients.discard(client)
        self._desk.cancel(client)
        if not self._clients:
            self._all_left.set()

    def close(self) -> None:
        """Listen no more, say what is left to be said, end every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._desk.close()
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        for client in list(self._clients):
            client.close()

    async def wait_closed(self) -> None:
        """Wait, after `close`, until the last connection has ended, at most CLOSE_S."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while self._clients:
                    self._all_left.clear()
                    await self._all_left.wait()


def session(renewals: int) -> bytes:
    """Return the name of a new session: stamped, unless a stamp was of no use."""
    chance = os.urandom(16)
    return chance if renewals > 1 else new_session(int(time.time()), chance[:8])


def native(module: Any, ledger: Ledger) -> Straight:
    """Return the way of the native module into a ledger."""
    way: Straight = module.Straight(plain=Straight(ledger), ledger=ledger)
    return way


def reckoner(module: Any, plain: PlainReckoner, ledger: Ledger) -> Reckoner:
    """Return who reckons at a node, the native module if there is one."""
    if module is None:
        return plain
    found: Reckoner = module.Reckoner(plain=plain, counters=ledger.counters)
    return found
