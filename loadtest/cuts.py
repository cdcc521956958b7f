"""A partition on streams: what crosses it is held, and nothing new gets across.

A cut stream behaves as TCP does over a broken network: what is written waits, nothing is read,
neither side hears of an end; when the cut heals, what waited goes on its way. Who connects
meanwhile gets no answer. The rule: a stream is held at the end that opened it, which knows
where it leads; so one end does for both directions, and clients reach a node they could reach.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from counter.node import Node
from loadtest.faults import Way
from tracker.machine import Endpoint, Link
from tracker.transport.tcp import OPEN_S, TcpStreams

HELD_BYTES_MAX = 1024 * 1024
"""What one cut stream keeps to be sent; past it, it is ended."""


class HeldTransport(asyncio.Transport):
    """A transport that neither writes nor reads until it is released."""

    def __init__(self, real: asyncio.Transport) -> None:
        super().__init__()
        self._real = real
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._is_over = False
        self._wants_reading = real.is_reading()
        if self._wants_reading:
            real.pause_reading()

    def write(self, data: Any) -> None:
        """Keep it for later."""
        self._bytes += len(data)
        if self._bytes > HELD_BYTES_MAX:
            self._waiting.clear()
            self._real.abort()
            return
        self._waiting.append(bytes(data))

    def close(self) -> None:
        """End the stream once the other side can hear of it."""
        self._is_over = True

    def abort(self) -> None:
        """End the stream at once; what was not sent is lost."""
        self._waiting.clear()
        self._real.abort()

    def is_closing(self) -> bool:
        """Say whether its end was asked for."""
        return self._is_over or self._real.is_closing()

    def is_reading(self) -> bool:
        """Say whether it reads again when it is released."""
        return self._wants_reading

    def pause_reading(self) -> None:
        """Read nothing when it is released."""
        self._wants_reading = False

    def resume_reading(self) -> None:
        """Read again when it is released."""
        self._wants_reading = True

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait."""
        return self._bytes

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the real one knows."""
        return self._real.get_extra_info(name, default)

    def release(self) -> asyncio.Transport:
        """Send what waited, and return the real transport."""
        real = self._real
        if not real.is_closing():
            for data in self._waiting:
                real.write(data)
            if self._is_over:
                real.close()
            elif self._wants_reading:
                real.resume_reading()
        self._waiting.clear()
        return real


class CutStreams:
    """The streams of one node while there are cuts; it stands before the real ones."""

    def __init__(self, node: Node, way: Way) -> None:
        assert isinstance(node.driver.streams, TcpStreams)
        self.streams = node.driver.streams
        self.endpoint = self.streams.endpoint
        self._node = node
        self._way = way
        self._held: list[Any] = []
        """At most as many as the node has streams: nothing new is opened across a cut."""

    def look(self) -> None:
        """Hold each stream that crosses a cut, let go each that crosses none any more."""
        for stream in list(self.streams.links.values()):
            self._look_at(stream)
        for stream in [stream for stream in self._held if not self._is_cut(stream)]:
            self._release(stream)

    def release(self) -> None:
        """Let every stream go."""
        for stream in list(self._held):
            self._release(stream)

    def _is_cut(self, stream: Any) -> bool:
        to = getattr(stream, "to", None)
        return to is not None and self._way.parts(self.endpoint, to)

    def _look_at(self, stream: Any) -> None:
        if self._is_cut(stream) and stream not in self._held and stream.transport is not None:
            stream.transport = HeldTransport(stream.transport)
            self._held.append(stream)

    def _release(self, stream: Any) -> None:
        # The node may have given it up meanwhile; the system still holds it.
        self._held.remove(stream)
        stream.transport = stream.transport.release()

    def open(self, to: Endpoint) -> None:
        """Begin to open a stream; across a cut nobody answers."""
        if not self._way.parts(self.endpoint, to):
            self.streams.open(to)
            return
        reason = f"no answer in {OPEN_S:g} s"
        asyncio.get_running_loop().call_later(OPEN_S, self._unanswered, to, reason)

    def _unanswered(self, to: Endpoint, reason: str) -> None:
        self._node.driver.on_unreachable(to, reason)

    def send(self, link: Link, body: bytes) -> None:
        """Send one body, or keep it if the stream crosses a cut."""
        stream = self.streams.links.get(link)
        if stream is not None:
            # It may have been under way when the cut was made.
            self._look_at(stream)
        self.streams.send(link, body)

    def send_all(self, links: Iterable[Link], body: bytes) -> None:
        """Send one body on each of these links."""
        for link in links:
            self.send(link, body)

    def close_link(self, link: Link) -> None:
        """End one stream."""
        self.streams.close_link(link)

    def close(self) -> None:
        """Stop listening and end every stream."""
        self.streams.close()


def look(node: Node, way: Way) -> None:
    """Have a node's streams hold to the cuts there are now."""
    streams = node.driver.streams
    if streams is None:
        return
    guard = streams if isinstance(streams, CutStreams) else CutStreams(node, way)
    guard.look()
    node.driver.streams = guard if way.cuts else guard.streams


def let_go(node: Node) -> None:
    """Release what a node's streams hold, whatever cuts there are: it is about to end."""
    streams = node.driver.streams
    if isinstance(streams, CutStreams):
        streams.release()
        node.driver.streams = streams.streams
