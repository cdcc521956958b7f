"""What a UDP socket does for every datagram; `tracker/native/datagrams.c` does the same in C.

The rule: both read, count and drop the same, and leave to `udp.UdpDatagrams` what is rare: an
address that is not written in numbers, another seal, what another version of gossip sent, and what
the kernel says of others.
"""

import asyncio
import socket
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self

from tracker.errors import FrameError
from tracker.machine import Endpoint
from tracker.native import extension
from tracker.transport.base import DATAGRAMS_PER_DRAIN_MAX, DatagramHandler
from tracker.wire import DATAGRAM_BYTES_MAX, GOSSIP_VERSION_MAX

BURST_S: Final = 0.002
"""Two calls of the loop within this time: there may be many datagrams waiting."""
SINGLES_MAX: Final = 32
"""Calls in a row that look for one datagram alone, where looking for more found no more."""

Gate = Callable[[Endpoint, bytes], bool]
"""Who is asked to send instead of the socket: an address and a body; false when it was dropped."""


class PlainDatagrams:
    """One socket, as far as every datagram has to do with it."""

    gate: Gate | None = None
    _socket: socket.socket
    _loop: asyncio.AbstractEventLoop

    def _begin(self, number: int, handler: DatagramHandler, is_v6: bool, is_sealed: bool) -> None:
        self.dropped = self.strange = 0
        self._handler = handler
        self._is_v6 = is_v6
        self._is_busy = False
        self._read_at = 0.0
        self._singles = self._singles_left = 0
        self._receive = self._socket.recvfrom

    def _end(self) -> None:
        """Read and send nothing more."""

    def send(self, to: Endpoint, body: bytes) -> bool:
        """Send one body; false when it was dropped."""
        if self.gate is not None:
            return self.gate(to, body)
        return self.send_now(to, body)

    def send_now(self, to: Endpoint, body: bytes) -> bool:
        """Send one body, whoever stands at the gate."""
        datagram = self._sealed(body)
        try:
            self._socket.sendto(datagram, to)
        except ConnectionRefusedError:
            # That is the word of an earlier datagram, and this one was not sent.
            self._refused_soon()
            return self._send_again(datagram, to)
        except OSError:
            self.dropped += 1
            return False
        return True

    def _send_again(self, datagram: bytes, to: Endpoint) -> bool:
        try:
            self._socket.sendto(datagram, to)
        except OSError:
            self.dropped += 1
            return False
        return True

    def drain(self) -> None:
        """Hand over what is waiting, at most 64 datagrams, then let the handler decide."""
        self._take_burst()
        self._handler.on_drained()

    def hand(self, datagram: bytes, sender: Endpoint) -> Self | None:
        """Hand over a datagram that was read before; returns who is to `decide` in the end."""
        if self._socket.fileno() < 0:
            return None
        self._take(datagram, sender)
        return self

    def decide(self) -> None:
        """Let the handler decide on all that was handed over."""
        if self._socket.fileno() >= 0:
            self._handler.on_drained()

    def _readable(self) -> None:
        """Take what the loop says is there.

        A node on a query's way gets one datagram a query: the read that would find nothing
        more is a tenth of what handling it costs. So one is read; if the loop calls again at
        once there were more, and everything is drained until a turn finds a single one. Who is
        asked by one that waits for each answer is called at once as well, and has no more:
        each look for more that was for nothing doubles the calls until the next one.
        """
        now = monotonic()
        gap_s, self._read_at = now - self._read_at, now
        if gap_s >= BURST_S:
            self._singles = self._singles_left = 0
        if self._is_busy:
            self._is_busy = self._take_burst() > 1
            self._singles = 0 if self._is_busy else min(2 * self._singles + 1, SINGLES_MAX)
            self._singles_left = self._singles
        else:
            self._take_one()
            self._is_busy = gap_s < BURST_S and self._singles_left == 0
            self._singles_left = max(0, self._singles_left - 1)
        self._handler.on_drained()

    def _take_burst(self) -> int:
        taken = 0
        while taken < DATAGRAMS_PER_DRAIN_MAX and self._take_one():
            taken += 1
        return taken

    def _take_one(self) -> bool:
        try:
            datagram, sender = self._receive(DATAGRAM_BYTES_MAX + 1)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self._refused_soon()
            return self._socket.fileno() >= 0
        self._take(datagram, sender[:2] if self._is_v6 else sender)
        return True

    def _take(self, datagram: bytes, sender: Endpoint) -> None:
        body = self._opened_or_none(datagram) if len(datagram) <= DATAGRAM_BYTES_MAX else None
        if body is not None:
            self._handler.on_datagram(body, sender)
            return
        self.strange += 1
        if 0 < len(datagram) <= DATAGRAM_BYTES_MAX and datagram[0] <= GOSSIP_VERSION_MAX:
            self._take_foreign(datagram, sender)

    def _sealed(self, body: bytes) -> bytes:
        """Return the datagram that carries a body."""
        raise NotImplementedError

    def _opened(self, datagram: bytes) -> bytes:
        """Return the body of a datagram; raises FrameError."""
        raise NotImplementedError

    def _opened_or_none(self, datagram: bytes) -> bytes | None:
        """Return the body of a datagram, None where it is not sealed as ours are."""
        try:
            return self._opened(datagram)
        except FrameError:
            return None

    def _take_foreign(self, datagram: bytes, sender: Endpoint) -> None:
        """Take a datagram that says it is of another version of gossip."""
        raise NotImplementedError

    def _refused_soon(self) -> None:
        """Hear that the socket has met an error, which is most often the word of another host."""
        raise NotImplementedError


_NATIVE: Final = extension("tracker.native.datagrams")

if TYPE_CHECKING or _NATIVE is None:  # noqa: SIM108 - a type checker follows no ternary
    ReadAndSent = PlainDatagrams
else:
    ReadAndSent = _NATIVE.Datagrams

Gathering: Final[Any] = getattr(_NATIVE, "Gathering", None)
"""One `epoll` for the sockets of many nodes of one process, on Linux and where it was compiled."""
