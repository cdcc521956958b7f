"""What is done to datagrams between the nodes of a load test: late, lost, cut off, held.

The rule: it is done where a datagram leaves or is read, by the process that runs the node, so
it needs no rights on the machine; and a node it is done to cannot tell it from a bad network.
Whether one is lost is decided where it leaves, and how late it is where it is read.
"""

import asyncio
import random
import socket
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from tracker.machine import Endpoint
from tracker.transport.base import DatagramHandler
from tracker.transport.flight import Flight, stamp
from tracker.transport.plain import Gathering
from tracker.transport.udp import UdpDatagrams

CUTS_MAX = 64
"""Partitions at one time."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What is done to each datagram: a delay in s, a chance to be lost."""

    latency_s: float = 0.0
    loss: float = 0.0


class Way:
    """What lies between the nodes of one process and all others; it may change at any time."""

    def __init__(self, faults: Faults, dice: random.Random, sockets: int = 1) -> None:
        """Make a way for so many sockets of this process, at least."""
        self.loss = faults.loss
        self.flight = Flight(faults.latency_s) if faults.latency_s else None
        # Many that are not delayed are read by one `epoll`, one alone as it is in a process of its
        # own: by the event loop.
        is_gathered = self.flight is None and sockets > 1 and Gathering is not None
        self.gathering = Gathering() if is_gathered else None
        self.cuts: list[frozenset[Endpoint]] = []
        self.is_clear = True
        self._dice = dice
        self._sockets: dict[FaultyDatagrams, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look()

    def enter(self, datagrams: "FaultyDatagrams") -> None:
        """Tell a socket of this process what is done to datagrams, until it is to `leave`."""
        if not self._sockets:
            self._loop = asyncio.get_running_loop()
            if self.flight is not None:
                self.flight.begin(self._loop)
            elif self.gathering is not None:
                self._loop.add_reader(self.gathering.fileno(), self.gathering.come)
        self._sockets[datagrams] = None
        datagrams.look()

    def leave(self, datagrams: "FaultyDatagrams") -> None:
        """Forget a socket, and with the last one what is on its way."""
        self._sockets.pop(datagrams, None)
        if self._loop is not None and not self._sockets:
            if self.flight is not None:
                self.flight.end(self._loop)
            elif self.gathering is not None:
                self._loop.remove_reader(self.gathering.fileno())
            self._loop = None

    def set_loss(self, share: float) -> None:
        """Lose each datagram with this chance from now on."""
        self.loss = share
        self._look()

    def cut(self, endpoints: frozenset[Endpoint]) -> None:
        """Let nothing through between these and all others."""
        self.cuts.append(endpoints)
        self._look()

    def heal(self, endpoints: frozenset[Endpoint] | None = None) -> None:
        """End a cut, or all of them."""
        if endpoints is None:
            self.cuts.clear()
        else:
            self.cuts.remove(endpoints)
        self._look()

    def parts(self, one: Endpoint, other: Endpoint) -> bool:
        """Say whether a cut lies between two endpoints."""
        return any((one in cut) != (other in cut) for cut in self.cuts)

    def is_gone(self, one: Endpoint, to: Endpoint) -> bool:
        """Say whether what leaves for `to` now never gets there."""
        if self.cuts and self.parts(one, to):
            return True
        return bool(self.loss) and self._dice.random() < self.loss

    def _look(self) -> None:
        self.is_clear = not (self.cuts or self.loss)
        for datagrams in self._sockets:
            datagrams.look()


class FaultyDatagrams(UdpDatagrams):
    """A UDP socket whose datagrams come late, or never, and that may stop being read."""

    def __init__(self, sock: socket.socket, handler: DatagramHandler, way: Way) -> None:
        self._way = way
        self._flight = way.flight
        self.gathering = way.gathering
        self._is_held = False
        # What was on its way when it stopped being read: when it is due, what, and from whom.
        self._kept: list[tuple[float, int, Any, Any]] = []
        # One object: it is known by this what is on its way here.
        self._take_later = self.hand
        if self._flight is not None:
            stamp(sock)
        way.enter(self)
        super().__init__(sock, handler)
        if self._flight is not None:
            self._refused_now = self._on_refused
            self._on_refused = self._refused_later

    def look(self) -> None:
        """Have a gate stand before the socket while anything is done to what leaves."""
        self.gate = None if self._way.is_clear else self._carry

    def _carry(self, to: Endpoint, body: bytes) -> bool:
        """Send one body, unless it is lost or cut off."""
        return self._way.is_gone(self.endpoint, to) or self.send_now(to, body)

    def _refused_later(self, to: Endpoint, body: bytes) -> None:
        """Hear that nobody listens somewhere no sooner than a datagram gets there."""
        assert self._flight is not None
        due = monotonic() + self._flight.latency_s
        self._flight.push(due, self._hear_refused, to, body)

    def _hear_refused(self, to: Endpoint, body: bytes) -> None:
        if self._socket.fileno() >= 0:
            self._refused_now(to, body)

    def hold(self) -> None:
        """Read nothing more; the system keeps what comes, as far as its buffer goes."""
        if self._is_held:
            return
        self._is_held = True
        if self._socket.fileno() >= 0:
            self._unlisten()
        if self._flight is not None:
            self._kept = self._flight.recall(self._take_later)

    def release(self) -> None:
        """Read again, what was kept first."""
        self._is_held = False
        kept, self._kept = self._kept, []
        if self._flight is not None:
            for due, _, what, whom in kept:
                self._flight.push(due, self._take_later, what, whom)
        self._listen()

    def read_by(self, gathering: Any) -> None:
        """Be read by this gathering from now on, by the event loop if it is None."""
        self._unlisten()
        self.gathering = gathering
        self._listen()

    def drain(self) -> None:
        """Hand over what is waiting and due, unless it is held."""
        if self._is_held:
            return
        if self._flight is None:
            super().drain()
        elif self._socket.fileno() >= 0:
            self._arrived()
            self._flight.deliver()

    def close(self) -> None:
        """Stop receiving and give the port back."""
        if self._socket.fileno() >= 0:
            with suppress(RuntimeError):
                self._unlisten()
        super().close()
        self._way.leave(self)

    def _arrived(self) -> None:
        assert self._flight is not None
        self._flight.arrive(self._socket, self._take_later, self._refused_soon)

    def _listen(self) -> None:
        if self._is_held or self._socket.fileno() < 0:
            return
        if self.gathering is not None:
            self.gathering.watch(self)
        elif self._flight is None:
            super()._listen()
        else:
            self._flight.watch(self._socket, self._take_later, self._refused_soon)

    def _unlisten(self) -> None:
        if self.gathering is not None:
            self.gathering.unwatch(self)
        elif self._flight is None:
            self._loop.remove_reader(self._socket.fileno())
        else:
            self._flight.unwatch(self._socket)
