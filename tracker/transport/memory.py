"""Datagrams and streams inside one event loop: the interface without sockets.

The rule: it keeps the promises of the real ones and no better ones. Datagrams wait in a
bounded buffer and are drained in turns; a body arrives at the next turn of the loop, never in
the middle of the sender's call.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from itertools import count

from tracker.machine import Endpoint, Link
from tracker.transport.base import DATAGRAMS_PER_DRAIN_MAX, DatagramHandler, StreamHandler
from tracker.wire import DATAGRAM_BYTES_MAX

WAITING_MAX = 4_096


class MemoryNetwork:
    """Who can be reached, by address."""

    def __init__(self) -> None:
        self.datagrams: dict[Endpoint, MemoryDatagrams] = {}
        self.streams: dict[Endpoint, MemoryStreams] = {}


class MemoryDatagrams:
    """One datagram socket on a memory network."""

    def __init__(self, network: MemoryNetwork, endpoint: Endpoint, handler: DatagramHandler):
        self.endpoint = endpoint
        self.dropped = 0
        self._network = network
        self._handler = handler
        self._waiting: deque[tuple[bytes, Endpoint]] = deque()
        self._is_called = False
        network.datagrams[endpoint] = self

    def send(self, to: Endpoint, body: bytes) -> bool:
        """Send one body; false when it was dropped before it left."""
        if len(body) > DATAGRAM_BYTES_MAX:
            self.dropped += 1
            return False
        receiver = self._network.datagrams.get(to)
        if receiver is not None:
            receiver._arrive(body, self.endpoint)
        else:
            asyncio.get_running_loop().call_soon(self._handler.on_refused, to, body)
        return True

    def drain(self) -> None:
        """Hand over what is waiting, at most DATAGRAMS_PER_DRAIN_MAX."""
        self._is_called = False
        for _ in range(min(len(self._waiting), DATAGRAMS_PER_DRAIN_MAX)):
            self._handler.on_datagram(*self._waiting.popleft())
        self._handler.on_drained()
        self._call()

    def close(self) -> None:
        """Stop receiving and give the address back."""
        self._network.datagrams.pop(self.endpoint, None)
        self._waiting.clear()

    def _arrive(self, body: bytes, sender: Endpoint) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self.dropped += 1
            return
        self._waiting.append((body, sender))
        self._call()

    def _call(self) -> None:
        if self._waiting and not self._is_called:
            self._is_called = True
            asyncio.get_running_loop().call_soon(self.drain)


class MemoryStreams:
    """The streams of one process on a memory network; no handshake is needed."""

    def __init__(self, network: MemoryNetwork, endpoint: Endpoint, handler: StreamHandler):
        self.endpoint = endpoint
        self._network = network
        self._handler = handler
        self._numbers = count(1)
        self._peers: dict[Link, tuple[MemoryStreams, Link]] = {}
        network.streams[endpoint] = self

    def open(self, to: Endpoint) -> None:
        """Begin to open a stream."""
        asyncio.get_running_loop().call_soon(self._open, to)

    def send(self, link: Link, body: bytes) -> None:
        """Send one body in order."""
        peer = self._peers.get(link)
        if peer is not None:
            asyncio.get_running_loop().call_soon(peer[0]._arrive, peer[1], body)

    def send_all(self, links: Iterable[Link], body: bytes) -> None:
        """Send one body on each of these links."""
        for link in links:
            self.send(link, body)

    def close_link(self, link: Link) -> None:
        """End one stream after what was sent on it."""
        peer = self._peers.pop(link, None)
        if peer is not None:
            asyncio.get_running_loop().call_soon(peer[0]._ended, peer[1])

    def close(self) -> None:
        """Stop listening and end every stream."""
        self._network.streams.pop(self.endpoint, None)
        for link in list(self._peers):
            self.close_link(link)

    def _open(self, to: Endpoint) -> None:
        other = self._network.streams.get(to)
        if other is None:
            self._handler.on_unreachable(to, "connection refused")
            return
        ours, theirs = next(self._numbers), next(other._numbers)
        self._peers[ours] = (other, theirs)
        other._peers[theirs] = (self, ours)
        other._handler.on_accepted(theirs, self.endpoint)
        self._handler.on_opened(ours, to)

    def _arrive(self, link: Link, body: bytes) -> None:
        if link in self._peers:
            reply = self._handler.on_frame(link, body)
            if reply is not None:
                self.send(link, reply)

    def _ended(self, link: Link) -> None:
        if self._peers.pop(link, None) is not None:
            self._handler.on_closed(link, "closed by the other side")
