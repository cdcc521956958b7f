"""A node that stands still for a while, though the process it runs in goes on.

Where a node has a process of its own, that is stopped (SIGSTOP). Here its socket is not read,
its streams are not read, its machine is told nothing and not asked when it wants to be called.
What had begun to leave leaves. One difference remains: who connects meanwhile gets its Welcome
from the streams, and an answer only later. The rule: nothing that came is lost by the pause;
the machine hears all of it when it wakes, in the order in which it came.
"""

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Final

from counter.node import Node
from loadtest.cuts import CutStreams
from loadtest.faults import FaultyDatagrams
from tracker.machine import Accepted, Closed, Effect, Event, Link, Machine, Opened
from tracker.transport.tcp import TcpStreams

WAITING_MAX = 65_536
"""Events that wait for one machine to wake; what comes beyond them is lost to it."""

_NOTHING: Final = Closed(-1, "")
"""Makes a driver look at the deadline of its machine, and tells nothing."""


def pause(node: Node, seconds: float) -> None:
    """Have a node stand still from now on; one that does already, at least so long."""
    machine, until = node.driver.machine, monotonic() + seconds
    if isinstance(machine, Sleeping):
        machine.until = max(machine.until, until)
    else:
        Sleeping(node, until).fall_asleep()


def wake(node: Node) -> None:
    """Let a node go on before its time."""
    machine = node.driver.machine
    if isinstance(machine, Sleeping):
        machine.until = 0.0
        node.driver.submit(_NOTHING)


class Sleeping:
    """Stands in a machine's place until a time, and keeps what it would have been told."""

    def __init__(self, node: Node, until: float) -> None:
        self.until = until
        self._node = node
        self._machine: Machine = node.driver.machine
        self._told: list[Callable[[float], list[Effect]]] = []

    def start(self, now: float) -> list[Effect]:
        """Do nothing: it has started."""
        return []

    def receive(self, sender: Any, message: Any, now: float) -> list[Effect]:
        """Keep a message."""
        return self._keep(partial(self._machine.receive, sender, message))

    def submit(self, event: Event, now: float) -> list[Effect]:
        """Keep an event; a stream that is new is not read either."""
        if event is _NOTHING:
            return []
        if isinstance(event, Accepted | Opened):
            self._read(event.link, wanted=False)
        return self._keep(partial(self._machine.submit, event))

    def deadline(self) -> float:
        """Return when it wakes."""
        return self.until

    def tick(self, now: float) -> list[Effect]:
        """Wake: the machine is told all that came, then looks at its own deadlines."""
        self._node.driver.machine = self._machine
        _datagrams_of(self._node).release()
        for link in list(_streams_of(self._node).links):
            self._read(link, wanted=True)
        effects: list[Effect] = []
        for tell in self._told:
            effects += tell(now)
        return [*effects, *self._machine.tick(now)]

    def fall_asleep(self) -> None:
        """Read nothing more, and take the machine's place."""
        _datagrams_of(self._node).hold()
        for link in list(_streams_of(self._node).links):
            self._read(link, wanted=False)
        self._node.driver.machine = self
        self._node.driver.submit(_NOTHING)

    def _keep(self, tell: Callable[[float], list[Effect]]) -> list[Effect]:
        if len(self._told) < WAITING_MAX:
            self._told.append(tell)
        return []

    def _read(self, link: Link, *, wanted: bool) -> None:
        stream = _streams_of(self._node).links.get(link)
        transport = None if stream is None else stream.transport
        if transport is None or transport.is_closing() or transport.is_reading() == wanted:
            return
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()


def _datagrams_of(node: Node) -> FaultyDatagrams:
    datagrams = node.driver.datagrams
    assert isinstance(datagrams, FaultyDatagrams)
    return datagrams


def _streams_of(node: Node) -> TcpStreams:
    streams = node.driver.streams
    streams = streams.streams if isinstance(streams, CutStreams) else streams
    assert isinstance(streams, TcpStreams)
    return streams
