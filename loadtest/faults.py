"""What is done to datagrams between the nodes of a load test: late, lost, cut off, held.

The rule: it is done where a datagram leaves or is read, by the process that runs the node, so
it needs no rights on the machine; and a node it is done to cannot tell it from a bad network.
"""

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic

from tracker.machine import Endpoint
from tracker.transport.base import DatagramHandler
from tracker.transport.udp import UdpDatagrams

CUTS_MAX = 64
"""Partitions at one time."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What is done to each datagram: a delay in s, a chance to be lost."""

    latency_s: float = 0.0
    loss: float = 0.0


class Path:
    """What is on its way in one process: each datagram leaves so much later than it was sent.

    All are delayed alike, so they leave in the order in which they came, and one timer does for
    all of them: one for each would cost as much as the datagram itself.
    """

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._on_its_way: deque[tuple[float, Callable[[], object]]] = deque()

    def carry(self, send: Callable[[], object]) -> None:
        """Call `send` when its time has come."""
        if not self._on_its_way:
            self._deliver_after(self._latency_s)
        # Not the loop's own clock: it stands still while the loop is at work.
        self._on_its_way.append((monotonic() + self._latency_s, send))

    def _deliver_after(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(max(0.0, seconds), self._deliver)

    def _deliver(self) -> None:
        waiting = self._on_its_way
        while waiting and waiting[0][0] <= monotonic():
            waiting.popleft()[1]()
        if waiting:
            self._deliver_after(waiting[0][0] - monotonic())


class Way:
    """What lies between the nodes of one process and all others; it may change at any time."""

    def __init__(self, faults: Faults, dice: random.Random) -> None:
        self.latency_s = faults.latency_s
        self.loss = faults.loss
        self.cuts: list[frozenset[Endpoint]] = []
        self.is_clear = True
        self._dice = dice
        self._path = Path(faults.latency_s)
        self._sockets: dict[FaultyDatagrams, None] = {}
        self._look()

    def enter(self, datagrams: "FaultyDatagrams") -> None:
        """Tell a socket of this process what is done to datagrams, until it is to `leave`."""
        self._sockets[datagrams] = None
        datagrams.look()

    def leave(self, datagrams: "FaultyDatagrams") -> None:
        """Forget a socket."""
        self._sockets.pop(datagrams, None)

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

    def carry(self, one: Endpoint, to: Endpoint, send: Callable[[], object]) -> bool:
        """Let a datagram leave, now or later or never; false when it could not be sent."""
        if self.cuts and self.parts(one, to):
            return True
        if self.loss and self._dice.random() < self.loss:
            return True
        if self.latency_s:
            self._path.carry(send)
            return True
        return bool(send())

    def _look(self) -> None:
        self.is_clear = not (self.cuts or self.loss or self.latency_s)
        for datagrams in self._sockets:
            datagrams.look()


class FaultyDatagrams(UdpDatagrams):
    """A UDP socket whose datagrams leave late, or never, and that may stop being read."""

    def __init__(self, sock: socket.socket, handler: DatagramHandler, way: Way) -> None:
        self._way = way
        self._is_held = False
        super().__init__(sock, handler)
        way.enter(self)

    def look(self) -> None:
        """Have a gate stand before the socket while anything is done to what leaves."""
        self.gate = None if self._way.is_clear else self._carry

    def _carry(self, to: Endpoint, body: bytes) -> bool:
        """Send one body after the delay, unless it is lost or cut off."""
        return self._way.carry(self.endpoint, to, partial(self.send_now, to, body))

    def hold(self) -> None:
        """Read nothing more; the system keeps what comes, as far as its buffer goes."""
        self._is_held = True
        number = self._socket.fileno()
        if number >= 0:
            self._loop.remove_reader(number)

    def release(self) -> None:
        """Read again, what was kept first."""
        self._is_held = False
        self._listen()

    def drain(self) -> None:
        """Hand over what is waiting, unless it is held."""
        if not self._is_held:
            super().drain()

    def close(self) -> None:
        """Stop receiving and give the port back."""
        self._way.leave(self)
        super().close()

    def _listen(self) -> None:
        if not self._is_held:
            super()._listen()
