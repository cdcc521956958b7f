"""The driver: runs one machine on its transports, its storage and its timer.

It decodes what comes in, hands it to the machine with the time, and carries the effects out
in the order in which they were returned. The rule: what has arrived is read before anything
is decided by time, so a timer first drains the datagrams, and `tick` sees the latest news.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from tracker.again import Standing, same
from tracker.classes import dataclass
from tracker.errors import FrameError
from tracker.machine import (
    Accepted,
    Close,
    Closed,
    Effect,
    Emit,
    Endpoint,
    Event,
    Foreign,
    Link,
    Machine,
    Open,
    Opened,
    Persist,
    Persisted,
    PersistFailed,
    Send,
    SendAll,
    Undelivered,
    Unreachable,
)
from tracker.messages import NO_REQUEST, TEXT_MAX, Refused
from tracker.native import extension
from tracker.rest import Rest
from tracker.text import printable
from tracker.transport.base import Datagrams, Streams
from tracker.wire import Codec

Reflex = Callable[[Link, bytes, float], bytes | None]


class Records(Protocol):
    """The storage, as far as the driver needs it."""

    def write(self, record: Persist) -> None:
        """Queue one record; what becomes of it comes back to the driver's `settle`."""


Express = Callable[[bytes, Endpoint, float], list[tuple[Endpoint, bytes]] | None]
"""A datagram's body, its sender and the time, to the datagrams that follow from it; an empty list:
somebody may be due sooner by it; None: not taken."""

NO_WAYS: Mapping[bytes, Express] = {}


@dataclass(slots=True)
class PlainTraffic:
    """What went through one driver; `tracker/native/datagrams.c` has the same."""

    datagrams_in: int = 0
    datagrams_out: int = 0
    datagram_bytes_in: int = 0
    datagram_bytes_out: int = 0
    frames_in: int = 0
    refused: int = 0


_NATIVE: Final = extension("tracker.native.datagrams")

if TYPE_CHECKING or _NATIVE is None:  # noqa: SIM108 - a type checker follows no ternary
    Traffic = PlainTraffic
else:
    Traffic = _NATIVE.Traffic


class Driver:
    """One machine at work. All calls come from one event loop."""

    # Where answers that stand look for what they rest on (`tracker/native/pulse.c`).
    __slots__ = (
        *("machine", "traffic", "streams", "datagrams", "records", "due"),
        *("_frames", "_gossip", "_on_emit", "_untimed", "_express", "_reflex", "_on_reflex"),
        *("_loop", "_timer", "_rest", "_ticks", "_is_aim_due", "_is_closed"),
    )

    def __init__(
        self,
        machine: Machine,
        frames: Codec,
        datagrams: Codec,
        on_emit: Callable[[Emit], None],
        untimed: frozenset[type] = frozenset(),
        express: Mapping[bytes, Express] = NO_WAYS,
        reflex: Reflex = lambda link, body, now: None,
        on_reflex: Callable[[Link, bytes, bytes], None] | None = None,
        rest: Rest | None = None,
    ) -> None:
        """Make a driver of what is said in `frames` and in `datagrams`.

        `untimed` are messages that never bring a deadline nearer than 1 s.

        `express` are shorter ways past messages and machine, for datagrams that need neither, by
        the first two bytes of a body.
        `reflex` is one for frames: it returns the body of the reply, empty for none. Nothing
        may be due sooner by what it takes. `on_reflex` is told of each reply that is made so.
        """
        self.machine = machine
        self.traffic = Traffic()
        self.streams: Streams | None = None
        self.datagrams: Datagrams | None = None
        self.records: Records | None = None
        self._frames = frames
        self._gossip = datagrams
        self._on_emit = on_emit
        self._untimed = untimed
        self._express = express
        self._reflex = reflex
        self._on_reflex = on_reflex
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._rest = Rest() if rest is None else rest
        # By when the machine is asked what is due: by its own timer, or by that of all at rest.
        self.due = inf
        self._ticks = 0
        self._is_aim_due = False
        self._is_closed = False

    def start(
        self, streams: Streams, datagrams: Datagrams | None = None, records: Records | None = None
    ) -> None:
        """Begin: the machine's first effects are carried out at once."""
        self.streams, self.datagrams, self.records = streams, datagrams, records
        shorten = getattr(datagrams, "shorten", None)
        if shorten is not None and self._express:
            # It does what `on_datagram` does, and hands over what has no shorter way.
            shorten(dict(self._express), self.traffic, self._take, self._aim)
        self.carry_out(self.machine.start(monotonic()))
        self._aim()

    def submit(self, event: Event) -> None:
        """Hand the machine an event."""
        self.carry_out(self.machine.submit(event, monotonic()))
        self._aim()

    def settle(self, event: Persisted | PersistFailed) -> None:
        """Hand the machine what became of a record."""
        self.submit(event)

    def close(self) -> None:
        """Stop the timer; nothing is carried out any more."""
        self._is_closed = True
        self._unaim()

    # -- effects --------------------------------------------------------------------------------

    def carry_out(self, effects: Iterable[Effect]) -> None:
        """Do what the machine decided, in its order."""
        if self._is_closed:
            return
        traffic, streams, datagrams = self.traffic, self.streams, self.datagrams
        for effect in effects:
            if effect.__class__ is Send:
                to, message = effect.to, effect.message
                if isinstance(to, tuple):
                    assert datagrams is not None
                    body = self._gossip.encode(message)
                    if datagrams.send(to, body):
                        traffic.datagrams_out += 1
                        traffic.datagram_bytes_out += len(body)
                else:
                    assert streams is not None
                    streams.send(to, self._frames.encode(message))
            elif effect.__class__ is Persist:
                assert self.records is not None
                self.records.write(effect)
            elif effect.__class__ is Emit:
                self._on_emit(effect)
            else:
                self._carry_out_rare(effect)

    def _carry_out_rare(self, effect: Effect) -> None:
        assert self.streams is not None
        if isinstance(effect, SendAll):
            self.streams.send_all(effect.to, self._frames.encode(effect.message))
        elif isinstance(effect, Open):
            self.streams.open(effect.to)
        elif isinstance(effect, Close):
            self.streams.close_link(effect.link)

    # -- datagrams ------------------------------------------------------------------------------

    def on_datagram(self, body: bytes, sender: Endpoint) -> None:
        """Take one datagram."""
        traffic = self.traffic
        traffic.datagrams_in += 1
        traffic.datagram_bytes_in += len(body)
        now = monotonic()
        way = self._express.get(body[:2])
        answers = way(body, sender, now) if way is not None else None
        if answers:
            assert self.datagrams is not None
            send = self.datagrams.send
            for to, answer in answers:
                if send(to, answer):
                    traffic.datagrams_out += 1
                    traffic.datagram_bytes_out += len(answer)
            return
        if answers is not None:
            self._is_aim_due = True
            return
        self._take(body, sender, now)

    def _take(self, body: bytes, sender: Endpoint, now: float) -> None:
        """Hand the machine what has no shorter way."""
        try:
            message = self._gossip.decode(body)
        except FrameError:
            self.traffic.refused += 1
            return
        self.carry_out(self.machine.receive(sender, message, now))
        if message.__class__ not in self._untimed:
            self._is_aim_due = True

    def on_refused(self, to: Endpoint, body: bytes) -> None:
        """Nobody listens where a datagram was sent."""
        with suppress(FrameError):
            message = self._gossip.decode(body)
            self.submit(Undelivered(to, message))

    def on_foreign(self, peer: Endpoint, version: int, body: bytes | None) -> None:
        """Another version of gossip is spoken there."""
        message = None
        if body is not None:
            with suppress(FrameError):
                message = self._gossip.decode(body)
        self.submit(Foreign(peer, version, message))

    def on_drained(self) -> None:
        """Look at the deadline once for all that was taken."""
        if self._is_aim_due:
            self._is_aim_due = False
            self._aim()

    # -- streams --------------------------------------------------------------------------------

    def on_frame(self, link: Link, body: bytes) -> bytes | None:
        """Take one frame; returns the body of the reply where a reflex has one."""
        self.traffic.frames_in += 1
        now = monotonic()
        reply = self._reflex(link, body, now)
        if reply is not None:
            if reply and self._on_reflex is not None:
                self._on_reflex(link, body, reply)
            return None if self._is_closed else reply or None
        try:
            message = self._frames.decode(body)
        except FrameError as error:
            self.traffic.refused += 1
            refusal = Refused(NO_REQUEST, "bad-message", printable(str(error), TEXT_MAX))
            self.carry_out([Send(link, refusal)])
            return None
        self.carry_out(self.machine.receive(link, message, now))
        if message.__class__ not in self._untimed:
            self._aim()
        return None

    def stands(self, rest_s: float | None) -> Standing:
        """Say while a reply of the reflex may be given again, and what `on_frame` counts.

        `rest_s` is how long after each such reply the machine wants to be called, if nothing else
        is due. Then it rests, and each reply puts off when it is woken.
        """
        counts = Standing(counted=((self.traffic, "frames_in"),))
        # After a tick it may rest that could not before.
        standing = same(self, "_is_closed", "_ticks").joined(counts)
        if rest_s is None or self.due == inf:
            return standing
        if self._timer is not None:
            self._unaim()
            self._rest.take(self)
        return standing.joined(Standing(noted=((self, "due", rest_s),)))

    def on_accepted(self, link: Link, peer: Endpoint) -> None:
        """Somebody connected."""
        self.submit(Accepted(link, peer))

    def on_opened(self, link: Link, to: Endpoint) -> None:
        """We connected."""
        self.submit(Opened(link, to))

    def on_unreachable(self, to: Endpoint, reason: str) -> None:
        """We could not connect."""
        self.submit(Unreachable(to, reason))

    def on_closed(self, link: Link, reason: str) -> None:
        """A stream ended."""
        self.submit(Closed(link, reason))

    # -- time -----------------------------------------------------------------------------------

    def _aim(self) -> None:
        """Set the timer if the machine wants it earlier than it is set."""
        self._aim_at(self.machine.deadline())

    def _aim_at(self, due: float | None) -> None:
        if due is None or self._is_closed or self.due <= due:
            return
        self._unaim()
        self.due = due
        # Not the loop's own clock: uvloop's counts whole milliseconds.
        self._timer = self._loop.call_later(max(0.0, due - monotonic()), self.wake)

    def _unaim(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        else:
            self._rest.let_go(self)

    def wake(self) -> None:
        """Do what is due by now."""
        if self._is_closed:
            return
        self.due, self._timer = inf, None
        due = self.machine.deadline()
        # Most often what the timer was set for has moved on meanwhile, and nothing is due.
        if due is not None and due <= monotonic():
            due = self._ticked()
        self._aim_at(due)

    def _ticked(self) -> float | None:
        if self.datagrams is not None:
            self.datagrams.drain()
        due = self.machine.deadline()
        if due is not None and due <= monotonic():
            self._ticks += 1
            self.carry_out(self.machine.tick(monotonic()))
        return self.machine.deadline()
