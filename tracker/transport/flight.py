"""Datagrams that are on their way: handed over a fixed time after they came, first come, first out.

A load test gives each hop a delay with it. A datagram goes through the kernel as soon as it is
sent, and is read at once; it waits here, where a network would have it on the wire. So what sending
and reading cost the machine is part of the time that a datagram is on its way, as it would be
between machines, and not added to it.

The rule: nothing is handed over before its time. That counts from the moment at which the kernel
took it from its sender (SO_TIMESTAMPNS of socket(7)); where the kernel does not say, from its
reading. `tracker/native/flight.c` does the same in C, with a timer that is more exact than those
of the event loop, which count whole milliseconds, and one `epoll` for all sockets.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from heapq import heapify, heappop, heappush
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, Protocol

from tracker.native import extension
from tracker.wire import DATAGRAM_BYTES_MAX

IN_FLIGHT_MAX: Final = 262_144
"""Datagrams on their way in one process; what comes beyond them is dropped and counted."""
ARRIVALS_PER_TURN_MAX: Final = 64
"""Read from one socket in one turn of the event loop."""
DELIVERIES_PER_TURN_MAX: Final = 256
"""Handed over in one turn of the event loop."""


class Decider(Protocol):
    """Whoever decides once for all that a turn of deliveries has brought."""

    def decide(self) -> object:
        """Look at what was taken."""


Take = Callable[[Any, Any], Decider | None]
"""Who is called with a datagram and its sender, and says who is to decide when the turn is over."""

_STAMPS: Final = 35 if sys.platform == "linux" else 0
"""SO_TIMESTAMPNS, which is also the kind of what it says; Python has no name for it."""
_STAMP: Final = struct.Struct("@ll")
_ABOUT_BYTES: Final = socket.CMSG_SPACE(_STAMP.size)


class PlainFlight:
    """What is on its way to the sockets of one process."""

    def __init__(self, latency_s: float, /) -> None:
        self.latency_s = latency_s
        self.dropped = 0
        self._heap: list[tuple[float, int, Take, Any, Any]] = []
        self._order = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_delivering = False
        self._deciding: dict[Decider, None] = {}
        self._watched: dict[int, None] = {}

    @property
    def count(self) -> int:
        """How many are on their way."""
        return len(self._heap)

    def begin(self, loop: asyncio.AbstractEventLoop, /) -> None:
        """Have this event loop call when something is due."""
        if self._loop is not None:
            raise RuntimeError("it has begun")
        self._loop = loop
        self._aim()

    def end(self, loop: asyncio.AbstractEventLoop, /) -> None:
        """Call no more, and forget what is on its way and who is watched."""
        self._heap.clear()
        self._deciding.clear()
        for number in self._watched:
            loop.remove_reader(number)
        self._watched.clear()
        self._aim()
        self._loop = None

    def watch(self, sock: socket.socket, take: Take, refused: Callable[[], object], /) -> None:
        """Have what comes to a socket `arrive`, until it is watched no more."""
        if self._loop is None:
            raise RuntimeError("it has not begun")
        self.unwatch(sock)
        self._loop.add_reader(sock.fileno(), self.arrive, sock, take, refused)
        self._watched[sock.fileno()] = None

    def unwatch(self, sock: socket.socket, /) -> None:
        """Read what comes to a socket no more."""
        if self._loop is not None and sock.fileno() in self._watched:
            del self._watched[sock.fileno()]
            self._loop.remove_reader(sock.fileno())

    def arrive(self, sock: socket.socket, take: Take, refused: Callable[[], object], /) -> None:
        """Read what is there; `take` gets each datagram and its sender when it is due.

        `refused` is called when the socket has met an error.
        """
        for _ in range(ARRIVALS_PER_TURN_MAX):
            try:
                datagram, about, _, sender = sock.recvmsg(DATAGRAM_BYTES_MAX + 1, _ABOUT_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                refused()
                return
            age_s = min(max(_age_s(about), 0.0), self.latency_s)
            self.push(monotonic() - age_s + self.latency_s, take, datagram, sender[:2])

    def push(self, due: float, take: Take, what: Any, whom: Any, /) -> None:
        """Call `take(what, whom)` at a time."""
        if len(self._heap) >= IN_FLIGHT_MAX:
            self.dropped += 1
            return
        heappush(self._heap, (due, self._order, take, what, whom))
        self._order += 1
        # It goes off before this one is due, unless this one is the first.
        if not self._is_delivering and self._heap[0][1] == self._order - 1:
            self._aim()

    def deliver(self) -> None:
        """Hand over what is due, then let decide who wants to, each once."""
        if self._is_delivering:
            return
        self._is_delivering = True
        try:
            self._decide()  # those whom an error kept from it
            self._hand_over()
            self._decide()
        finally:
            self._is_delivering = False
            self._aim()

    def _hand_over(self) -> None:
        for _ in range(DELIVERIES_PER_TURN_MAX):
            if not self._heap or self._heap[0][0] > monotonic():
                return
            _, _, take, what, whom = heappop(self._heap)
            decider = take(what, whom)
            if decider is not None:
                self._deciding[decider] = None

    def _decide(self) -> None:
        while self._deciding:
            decider = next(iter(self._deciding))
            del self._deciding[decider]
            decider.decide()

    def recall(self, take: Take, /) -> list[tuple[float, int, Any, Any]]:
        """Return what is on its way to this one, and forget it: rows of due, number, what, whom."""
        found = [(due, order, *rest) for due, order, to, *rest in self._heap if to is take]
        self._heap = [row for row in self._heap if row[2] is not take]
        heapify(self._heap)
        return sorted(found)

    def _aim(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (self._heap or self._deciding) and self._loop is not None:
            wait_s = 0.0 if self._deciding else max(0.0, self._heap[0][0] - monotonic())
            self._timer = self._loop.call_later(wait_s, self.deliver)


def _age_s(about: list[Any]) -> float:
    """Return how long ago a datagram came; 0 where the kernel does not say."""
    for level, kind, data in about:
        if level == socket.SOL_SOCKET and kind == _STAMPS and len(data) >= _STAMP.size:
            seconds, nanoseconds = _STAMP.unpack_from(data)
            age_s: float = time() - (seconds + nanoseconds / 1e9)
            return age_s
    return 0.0


def stamp(sock: socket.socket) -> None:
    """Have the kernel say of each datagram when it came, where it can."""
    if _STAMPS:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _STAMPS, 1)


_NATIVE: Final = extension("tracker.native.flight")

if TYPE_CHECKING or _NATIVE is None or not hasattr(_NATIVE, "Flight"):
    Flight = PlainFlight
else:
    Flight = _NATIVE.Flight
