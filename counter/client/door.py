"""A client of a node's door for programs that run on an asyncio loop: the demo, the load test.

The rule: it adds as little as it can to what goes through it. One connection, one protocol
object, a future for each request; increments are acknowledged in the order they were sent.
"""

import asyncio
import secrets
from collections import deque
from typing import Any, cast

from counter.messages import (
    ACK_DEFAULT,
    DOOR,
    Answer,
    Answered,
    Counted,
    Increment,
    Keyed,
    KeyedRow,
    Missing,
    Query,
)
from tracker import wire
from tracker.classes import dataclass, field
from tracker.errors import ConnectionLostError, RefusedError
from tracker.machine import Endpoint
from tracker.messages import NO_REQUEST, Hello, Refused, Welcome


@dataclass(slots=True)
class Asked:
    """A query under way: its pages so far, and who waits for the last answer."""

    done: asyncio.Future[Answer]
    rows: list[tuple[str, int, int, float]] = field(default_factory=list)
    missing: list[tuple[str, int, int | None, float, str]] = field(default_factory=list)
    partials: list[Answer] = field(default_factory=list)
    keyed: list[KeyedRow] = field(default_factory=list)


class Door(asyncio.Protocol):
    """One connection to one node."""

    def __init__(self, cluster: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = wire.FrameReader()
        self._transport: asyncio.Transport | None = None
        self._welcomed: asyncio.Future[None] = self._loop.create_future()
        self._cluster = cluster
        self._session = secrets.token_bytes(16)
        self._sequence = 0
        self._request = 0
        self._counts: deque[asyncio.Future[Counted]] = deque()
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._asked: dict[int, Asked] = {}

    @classmethod
    async def open(cls, endpoint: Endpoint, cluster: str = "default") -> "Door":
        """Connect to a node. Raises OSError and ClusterError."""
        door = cls(cluster)
        await door._loop.create_connection(lambda: door, *endpoint)
        await door._welcomed
        return door

    def close(self) -> None:
        """End the connection; what is under way is lost."""
        if self._transport is not None:
            self._transport.close()

    def count(self, *pairs: Any) -> asyncio.Future[Counted]:
        """Send one increment of key, amount, …; the future is its acknowledgement."""
        self._sequence += 1
        return self.count_again(self._session, self._sequence, *pairs)

    def count_again(self, session: bytes, sequence: int, *pairs: Any) -> asyncio.Future[Counted]:
        """Send an increment of an earlier connection under its own identity: it counts once."""
        done: asyncio.Future[Counted] = self._loop.create_future()
        self._counts.append(done)
        self._send(Increment(session, sequence, pairs, ACK_DEFAULT))
        return done

    @property
    def last(self) -> tuple[bytes, int]:
        """The identity of the last increment that was sent: session and sequence."""
        return self._session, self._sequence

    async def ask(self, query: Query) -> tuple[Answer, Asked]:
        """Ask a query (its request number is replaced) and wait for its last answer."""
        self._request += 1
        asked = self._asked[self._request] = Asked(self._loop.create_future())
        fields = [getattr(query, name) for name in Query.__match_args__[1:]]
        self._send(Query(self._request, *fields))
        return await asked.done, asked

    # -- asyncio calls these ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._send(Hello(wire.PROTOCOL, self._cluster))

    def data_received(self, data: bytes) -> None:
        """Hand every reply to whoever waits for it."""
        for body in self._reader.feed(data):
            self._take(DOOR.decode(body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits, waits in vain."""
        waiting: list[asyncio.Future[Any]] = [self._welcomed, *self._counts]
        waiting += [asked.done for asked in self._asked.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(ConnectionLostError("the node closed the connection"))
                # Some of these futures nobody looks at any more; that is no error.
                future.exception()
        self._counts.clear()
        self._asked.clear()

    # -- ours ---------------------------------------------------------------------------------

    def _send(self, message: Any) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionLostError("the connection is closed")
        self._transport.write(wire.framed(DOOR.encode(message)))

    def _take(self, message: Any) -> None:
        match message:
            case Counted():
                self._resolve(self._counts.popleft(), message)
            case Answer(request=request):
                if message.end:
                    self._resolve(self._asked.pop(request).done, message)
                else:
                    self._asked[request].partials.append(message)
            case Answered(request, rows):
                self._asked[request].rows.extend(rows)
            case Keyed(request, keyed):
                self._asked[request].keyed.extend(keyed)
            case Missing(request, rows):
                self._asked[request].missing.extend(rows)
            case Welcome():
                self._resolve(self._welcomed, None)
            case Refused():
                self._refused(message)

    def _refused(self, refusal: Refused) -> None:
        error = RefusedError(refusal.code, refusal.text)
        if not self._welcomed.done():
            future: asyncio.Future[Any] = self._welcomed
        elif refusal.request in self._asked:
            future = self._asked.pop(refusal.request).done
        elif self._counts and refusal.request != NO_REQUEST:
            future = self._counts.popleft()
        else:
            return
        if not future.done():
            future.set_exception(error)

    @staticmethod
    def _resolve(future: asyncio.Future[Any], result: Any) -> None:
        if not future.done():
            future.set_result(result)
