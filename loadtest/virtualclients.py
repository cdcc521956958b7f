"""A writer in the simulator: the client that people use, over simulated streams.

The rule: what the client writes are bytes, and it is handed bytes; in between they are messages of
a stream in the world. What a transport says of itself, Hello and Welcome, is said here, with a
round trip of its own, since machines in the world have no transport.
"""

from collections.abc import Callable
from math import inf
from typing import Any, Final

from counter.client.lane import Effect, Open, Shut, Write
from counter.messages import DOOR
from loadtest.simulation.links import ClientLink
from loadtest.simulation.world import World
from loadtest.writers import Writer
from tracker import wire
from tracker.machine import Endpoint
from tracker.messages import MEMBERSHIP, Hello, Welcome

ROUND_TRIP_S: Final = 100e-6

Introduced = tuple[str, str, bytes, bytes]
"""What a Welcome says: role, name, store, boots."""

NODE, TRACKER = "node", "tracker"


class Client:
    """One writer, and its streams. `who` says who is at an endpoint at this moment."""

    def __init__(self, world: World, writer: Writer, who: Callable[[Endpoint], Introduced]) -> None:
        self.writer = writer
        self._world = world
        self._who = who
        self._links: dict[int, _Stream] = {}
        self._wakes_at = inf

    def connect(self) -> None:
        """Let it find a node before the load begins."""
        self._go_on(self.writer.connect(self._world.now))

    def begin(self) -> None:
        """Let it count from now on."""
        self.writer.begin(self._world.now)
        self._go_on([])

    def resolve(self) -> None:
        """Let it send again what is in doubt."""
        self._go_on(self.writer.resolve(self._world.now))

    def close(self) -> None:
        """End it, and all that it has open."""
        self._carry_out(self.writer.close(self._world.now))

    def _wake(self, time: float) -> None:
        if time == self._wakes_at:
            self._wakes_at = inf
            self._go_on([])

    def _go_on(self, effects: list[Effect]) -> None:
        """Carry out effects, and what is due by now; put the rest on the agenda."""
        self._carry_out(effects)
        world = self._world
        while (due := self.writer.deadline()) is not None and due <= world.now:
            self._carry_out(self.writer.step(world.now))
        if due is not None and due < self._wakes_at:
            self._wakes_at = due
            world.at(due, self._wake, due)

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is Write:
                stream = self._links.get(effect.link)
                if stream is not None:
                    self._write(stream, effect)
            elif type(effect) is Open:
                self._links[effect.link] = self._opened(effect)
            elif type(effect) is Shut:
                stream = self._links.pop(effect.link, None)
                if stream is not None:
                    stream.link.close()

    def _opened(self, effect: Open) -> "_Stream":
        number = effect.link
        stream = _Stream(self._world.connect(effect.endpoint), effect.endpoint)
        stream.link.on_opened = lambda: self._hear_opened(number)
        stream.link.on_message = lambda message, now: self._hear(number, message)
        stream.link.on_closed = lambda reason: self._lost(number, reason)
        return stream

    def _write(self, stream: "_Stream", effect: Write) -> None:
        for body in stream.reader.feed(effect.data):
            message = DOOR.decode(body) if self._role(stream) == NODE else MEMBERSHIP.decode(body)
            if type(message) is Hello:
                at = self._world.now + ROUND_TRIP_S
                self._world.at(at, self._welcome, effect.link, stream)
            else:
                stream.link.send(message)

    def _role(self, stream: "_Stream") -> str:
        return self._who(stream.endpoint)[0]

    def _welcome(self, number: int, stream: "_Stream") -> None:
        """Say Welcome, once, and before all that the machine says."""
        if stream.is_welcome or not stream.link.is_open:
            return
        stream.is_welcome = True
        welcome = Welcome(wire.PROTOCOL, *self._who(stream.endpoint))
        self._take_in(number, stream, welcome)

    # -- what the world says ----------------------------------------------------------------------

    def _hear_opened(self, number: int) -> None:
        if number in self._links:
            self._go_on(self.writer.opened(number, self._world.now))

    def _hear(self, number: int, message: Any) -> None:
        stream = self._links.get(number)
        if stream is not None:
            self._welcome(number, stream)
            self._take_in(number, stream, message)

    def _take_in(self, number: int, stream: "_Stream", message: Any) -> None:
        codec = DOOR if self._role(stream) == NODE else MEMBERSHIP
        data = wire.framed(codec.encode(message))
        self._go_on(self.writer.received(number, data, self._world.now))

    def _lost(self, number: int, reason: str) -> None:
        if self._links.pop(number, None) is not None:
            self._go_on(self.writer.lost(number, reason, self._world.now))


class _Stream:
    """One stream of a client: its link in the world, and what of a frame is written so far."""

    __slots__ = ("endpoint", "is_welcome", "link", "reader")

    def __init__(self, link: ClientLink, endpoint: Endpoint) -> None:
        self.link = link
        self.endpoint = endpoint
        self.reader = wire.FrameReader()
        self.is_welcome = False
