"""One connection of a client of Redis: what it sends, what waits, what it is told, in order.

    read ─▶ straight way (nothing waits) ─▶ written
      └───▶ requests ─▶ slots: one for each reply, in order ─▶ written as their turn comes

The rule: replies leave in the order of the requests, and a request is taken only if what came
before it on this connection leaves it the same: increments wait together, and so do questions,
but an increment does not overtake a question nor the other way round. A client that does not
read, or has too much under way, is read from no further.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from counter.frontends.redis import resp
from counter.frontends.redis.commands import (
    AT_ONCE,
    COUNTS,
    LOOKS,
    Add,
    AddOnce,
    Ask,
    End,
    Talk,
)
from counter.frontends.redis.desk import Desk
from counter.frontends.redis.resp import Requests, RespError
from counter.frontends.redis.runs import Run
from tracker.transport.passage import Passage

if TYPE_CHECKING:
    from counter.frontends.redis.door import RedisDoor

REQUESTS_MAX: Final = 1_024
"""Requests of one connection that wait for their reply; past it, it is not read from."""
OUTPUT_BYTES_MAX: Final = 262_144
"""Replies that are collected before they are written, and that wait for a slow reader before no
more of its requests are taken."""
TURN_WORK_MAX: Final = 128
"""Requests that one connection has taken in one turn of the loop; others wait for the next."""
LOOK_WORK: Final = 32
"""For how many of them a look at what the node holds counts: it may be at thousands of keys."""
RUN_WORK: Final = 8
"""For how many a run of plain increments counts."""
UNREAD_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of replies that a client does not read; past it, its connection is ended."""


class Place:
    """The place of one reply, or of those to a run of increments."""

    __slots__ = ("client", "is_last", "protocol", "reply", "weight")

    def __init__(self, client: "RedisClient", protocol: int, weight: int) -> None:
        self.client = client
        self.protocol = protocol
        self.weight = weight
        self.reply: bytes | None = None
        self.is_last = False

    def fill(self, reply: bytes) -> None:
        """Say the reply as soon as its turn has come."""
        self.reply = reply
        self.client.filled(self)


class RedisClient(Passage, asyncio.Protocol):
    """One connection."""

    def __init__(self, door: "RedisDoor", desk: Desk, talk: Talk) -> None:
        self.streams = door.streams
        self.express = door.straight
        self.link = desk.link
        self.transport = None
        self.requests = Requests()
        self.reader = cast(Any, self.requests)
        self.is_greeted = True
        self.is_over = False
        self.is_unread = False
        self.unsent = []
        self.talk = talk
        self._door = door
        self._desk = desk
        self._slots: deque[Place] = deque()
        self._under_way = 0
        # Of which kind those are that wait; what came and has to wait for them.
        self._kind = AT_ONCE
        self._held: list[bytes] | None = None
        self._is_paused = False
        self._is_due = False
        self._has_ended = False
        self._unsent_bytes = 0

    # -- asyncio calls these --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many already."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=OUTPUT_BYTES_MAX)
        refusal = self._door.entered(self)
        if refusal:
            self._last_words(resp.error(refusal))

    def data_came(self, data: bytes) -> None:
        """Take what the straight way did not."""
        if self.is_over:
            return
        if not self._waits_with(data):
            self.requests.feed(data)
            self._work()

    def _waits_with(self, data: bytes) -> bool:
        """Have all of this counted on disk, where it is plain increments and nothing else waits.

        As most often there, and it changes what `_work` would change.
        """
        requests = self.requests
        if self.express is not None or requests.is_midway or not self.is_greeted or self.is_unread:
            return False
        run, end = self._door.run(data, 0)
        if end != len(data) or not run:
            return False
        self._wait_for(run)
        requests.is_midway = True
        return True

    def eof_received(self) -> bool:
        """Answer what was asked before the end."""
        self._has_ended = True
        self._look()
        return not self.is_over

    def connection_lost(self, exc: Exception | None) -> None:
        """End: what was counted stays counted, what was asked is asked no more."""
        self.is_over = True
        self._slots.clear()
        self._door.left(self)

    def pause_writing(self) -> None:
        """The client does not read: take no more of its requests."""
        self.is_unread = True
        self._look()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.is_unread = False
        self._work()

    def wrote_unread(self) -> None:
        """End the connection of a client that leaves too much unread."""
        transport = self.transport
        if transport is not None and transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            transport.abort()

    # -- requests ---------------------------------------------------------------------------------

    def _work(self) -> None:
        """Take requests until there is none, or something has to wait."""
        self._is_due = False
        work = 0
        try:
            while not self._is_blocked() and (took := self._take_next()):
                work += took
                if work >= TURN_WORK_MAX:
                    self._work_soon()
                    break
        except RespError as error:
            self._answer(resp.error(f"Protocol error: {error}"), is_last=True)
            self.is_greeted = False
        self._look()

    def _is_blocked(self) -> bool:
        return (
            self.is_over
            or self._is_due
            or not self.is_greeted
            or self.is_unread
            or self._under_way >= REQUESTS_MAX
            or (self._held is not None and bool(self._slots))
        )

    def _work_soon(self) -> None:
        """Go on in the next turn."""
        if not self._is_due:
            self._is_due = True
            self._door.soon(self._work)

    def _take_next(self) -> int:
        """Take the next request, or a run of them; returns how much work it was, 0 for none."""
        if self._held is None:
            if self.requests.is_empty:
                return 0
            if not self.talk.is_refusing and self._goes_straight():
                return RUN_WORK
        arguments, self._held = self._held or self.requests.next(), None
        if arguments is None:
            return 0
        kind = self.talk.kind(arguments)
        if kind != AT_ONCE:
            if self._slots and kind != self._kind:
                self._held = arguments
                return 0
            self._kind = kind
        self._carry_out(self.talk.take(arguments))
        return LOOK_WORK if kind == LOOKS else 1

    def _goes_straight(self) -> bool:
        """Take plain increments, if such stand first: count them, or have them counted."""
        door = self._door
        if not self._slots:
            if door.straight is not None:
                replies = self.requests.taken(door.straight.take)
                if replies:
                    self._say(replies)
                    return True
        elif self._kind != COUNTS:
            return False
        run = self.requests.taken(door.run)
        if not run:
            return False
        self._wait_for(run)
        return True

    def _wait_for(self, run: Run) -> None:
        """Have a run counted with all others of this turn."""
        self._kind = COUNTS
        self._desk.count_run(run, self._place(len(run)))

    def _place(self, weight: int = 1) -> Place:
        """Return the next place of a reply, or of so many that are made together."""
        place = Place(self, self.talk.protocol, weight)
        self._slots.append(place)
        self._under_way += weight
        return place

    def _carry_out(self, outcome: Any) -> None:
        """Answer a request, or have it counted or asked."""
        if isinstance(outcome, bytes):
            self._answer(outcome)
            return
        if isinstance(outcome, End):
            # Whatever comes behind it is not looked at.
            self.is_greeted = False
            self._answer(outcome.reply, is_last=True)
            return
        place = self._place()
        if isinstance(outcome, Add):
            self._desk.count_run([(outcome.key, outcome.amount)], place)
        elif isinstance(outcome, AddOnce):
            self._desk.count_once(outcome, place)
        elif isinstance(outcome, Ask):
            self._desk.ask(outcome, place)

    # -- replies ----------------------------------------------------------------------------------

    def _answer(self, reply: bytes, *, is_last: bool = False) -> None:
        """Say a reply at once, or behind those that wait."""
        if self._slots:
            place = self._place()
            place.reply, place.is_last = reply, is_last
        elif is_last:
            self._last_words(reply)
        else:
            self._say(reply)

    def filled(self, place: Place) -> None:
        """Say every reply whose turn has come."""
        slots = self._slots
        if not slots or slots[0] is not place or self.is_over:
            return
        while slots and slots[0].reply is not None:
            first = slots.popleft()
            self._under_way -= first.weight
            if first.is_last:
                self._last_words(first.reply or b"")
                return
            self._say(first.reply or b"")
        if self._is_paused or self._held is not None:
            # Not here: whoever fills a place may be about to fill the next one.
            self._work_soon()
        elif self._has_ended:
            self._look()
        elif not slots:
            # Nothing is paused, so that is all that there is to look at.
            requests = self.requests
            requests.is_midway = not requests.is_empty or self.talk.is_refusing

    def _say(self, reply: bytes) -> None:
        self.send(reply)
        self._unsent_bytes += len(reply)
        if self._unsent_bytes >= OUTPUT_BYTES_MAX:
            self._unsent_bytes = 0
            self.flush()

    def _last_words(self, reply: bytes) -> None:
        """Say this and end."""
        self.unsent.append(reply)
        self.flush()
        self.close()

    def close(self) -> None:
        """End the connection after what was said."""
        self.flush()
        self.is_over = True
        if self.transport is not None:
            self.transport.close()

    # -- reading ----------------------------------------------------------------------------------

    def _look(self) -> None:
        """Read on, or not; and let the straight way look at what comes next, or not."""
        waits = bool(self._slots) or self._held is not None
        if self._has_ended and not waits and not self.is_unread and not self._is_due:
            self.close()
            return
        is_midway = waits or not self.requests.is_empty or self.talk.is_refusing
        self.requests.is_midway = is_midway
        is_paused = self._is_blocked()
        transport = self.transport
        if is_paused == self._is_paused or transport is None or transport.is_closing():
            return
        self._is_paused = is_paused
        if is_paused:
            transport.pause_reading()
        else:
            transport.resume_reading()
