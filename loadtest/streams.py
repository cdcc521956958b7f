"""A writer on an asyncio loop: its streams, its one timer.

The rule: it adds as little as it can to what is measured. No task and no future for an increment:
bytes go from the protocol into the machine and from the machine into the transport.
"""

import asyncio
from math import inf
from time import monotonic
from typing import Final, cast

from counter.client.lane import Effect, Open, Shut, Write
from loadtest.writers import Writer

OPENING_MAX: Final = 64
"""Streams that one writer may be opening at once; more are refused."""

SPINS_MAX: Final = 100
"""Steps that are taken at once while more is due; then others have their turn."""


class Driven:
    """One writer, and what it has open."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.idle = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.links: dict[int, Link] = {}
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = inf

    def connect(self) -> None:
        """Let it find a node before the load begins."""
        self.idle.clear()
        now = monotonic()
        self._go_on(self.writer.connect(now), now)

    def begin(self, now: float) -> None:
        """Let it count from now on."""
        self.idle.clear()
        self.writer.begin(now)
        self._go_on([], now)

    def stop(self) -> None:
        """Let it begin nothing more."""
        self.writer.stop()
        self._tell_idle()

    def resolve(self) -> None:
        """Let it send again what is in doubt."""
        self.idle.clear()
        now = monotonic()
        self._go_on(self.writer.resolve(now), now)

    async def close(self) -> None:
        """End it, and all that it has open."""
        self._carry_out(self.writer.close(monotonic()))
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._opening.values()):
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for number in list(self.links):
            self._shut(number)

    # -- what the links say ---------------------------------------------------------------------

    def heard(self, number: int, data: bytes) -> None:
        """Take in bytes of a stream."""
        now = monotonic()
        self._go_on(self.writer.received(number, data, now), now)

    def lost(self, number: int, reason: str) -> None:
        """Take in the end of a stream that was not ended here."""
        if self.links.pop(number, None) is not None:
            now = monotonic()
            self._go_on(self.writer.lost(number, reason, now), now)

    # -- steps ------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._timer, self._wakes_at = None, inf
        self._go_on([], monotonic())

    def _go_on(self, effects: list[Effect], now: float) -> None:
        """Carry out effects and whatever is due by now; arrange for the rest."""
        self._carry_out(effects)
        due = self.writer.deadline()
        for _ in range(SPINS_MAX):
            if due is None or due > now:
                break
            self._carry_out(self.writer.step(now))
            due = self.writer.deadline()
        if due is not None and due < self._wakes_at:
            if self._timer is not None:
                self._timer.cancel()
            self._wakes_at = due
            self._timer = self._loop.call_later(max(0.0, due - monotonic()), self._wake)
        self._tell_idle()

    def _tell_idle(self) -> None:
        if self.writer.is_stopped and self.writer.is_idle:
            self.idle.set()

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is Write:
                link = self.links.get(effect.link)
                if link is not None:
                    link.write(effect.data)
            elif type(effect) is Open:
                task = self._loop.create_task(self._open(effect))
                self._opening[effect.link] = task
            elif type(effect) is Shut:
                self._shut(effect.link)

    def _shut(self, number: int) -> None:
        task = self._opening.pop(number, None)
        if task is not None:
            task.cancel()
        link = self.links.pop(number, None)
        if link is not None:
            link.end()

    async def _open(self, effect: Open) -> None:
        number, reason = effect.link, ""
        link = Link(self, number)
        try:
            if len(self._opening) > OPENING_MAX:
                raise OSError(f"{OPENING_MAX} streams are being opened")
            await self._loop.create_connection(lambda: link, *effect.endpoint)
        except OSError as error:
            reason = error.strerror or str(error)
        if self._opening.pop(number, None) is None:
            link.end()
            return
        if link.is_ended:
            reason = reason or "it closed the connection"
        now = monotonic()
        if reason:
            self._go_on(self.writer.lost(number, reason, now), now)
        else:
            self.links[number] = link
            self._go_on(self.writer.opened(number, now), now)


class Link(asyncio.Protocol):
    """One stream of one writer."""

    def __init__(self, driven: Driven, number: int) -> None:
        self._driven = driven
        self._number = number
        self._transport: asyncio.Transport | None = None
        self.is_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; uvloop's are no subclasses of asyncio's."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand on what came."""
        self._driven.heard(self._number, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand on that it has ended."""
        self.is_ended = True
        self._driven.lost(self._number, "it closed the connection")

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._transport is not None:
            self._transport.write(data)

    def end(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()
