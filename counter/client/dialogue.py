"""A client that counts, without I/O: what to send where, what is in doubt, how each thing ends.

What becomes of an increment::

    waiting ──▶ on its way ──Counted──▶ counted
       │            │  └─────Refused──▶ refused; elsewhere, if another node may take it
       │            └──stream lost────▶ in doubt: held, and sent again to the same node
       └─deadline, three tries─▶ refused   in doubt ──deadline, three sends──▶ unknown

Whatever arrives while a message is on its way goes into the next message; only full messages
travel behind one another. New increments leave a node that is lost or silent at once; what is in
doubt there stays there, or is parked at another node as its deadline comes near
(`counter.client.parking`). The rules: an increment is sent under one identity to one
node, and to another one only after the first has said, at the first try, that it did not count
it. A refusal of a second try proves nothing: the first may still lie unread in a closed stream.

Every method that returns effects returns them in the order in which they are to be carried out.
"""

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from counter.client import light
from counter.client.choice import Dice
from counter.client.destination import Destination
from counter.client.ending import Ending
from counter.client.lane import (
    DOWN,
    GREETING,
    OPENING,
    READY,
    TOO_EARLY,
    Effect,
    Entry,
    Lane,
    Shut,
)
from counter.client.lanes import Lanes
from counter.client.operations import (
    Acknowledgement,
    Batch,
    Failure,
    Operation,
    Sizes,
    checked_amount,
    checked_key,
)
from counter.client.options import Options
from counter.client.parking import GIVEN_AWAY, Parkings, given_away
from counter.client.parting import Parting
from counter.client.search import BY_KEY, TRIES_MAX
from counter.client.session import is_of_request
from tracker.errors import ConfigError, FrameError, RefusedError, UnreachableError
from tracker.text import printable
from tracker.wire import AMOUNT_MAX

PIPELINED_MAX: Final = 16
"""Messages on their way to one node at once."""

BATCHES_MAX: Final = 64
"""Messages that wait to be sent."""

TOO_OLD: Final = "too-old"


class Dialogue:
    """One client's increments, over as many nodes as they need."""

    def __init__(
        self, options: Options, dice: Dice, new_session: Callable[[], bytes] | None = None
    ) -> None:
        """Begin; `new_session` makes the name of a session, 16 bytes of chance without it."""
        self._new_session = new_session or self._unstamped
        self.options = options
        self.is_closed = False
        self._dice = dice
        self._lanes = Lanes(self._new_session)
        self._by_link = self._lanes.by_link
        self._queue: deque[Batch] = deque()
        self._sizes = Sizes()
        self._effects: list[Effect] = []
        self._ending = Ending(self._effects, self._new_session)
        self._settle, self._unknown = self._ending.settle, self._ending.unknown
        self._parkings = Parkings(options, self._settle)
        self._destination = Destination(
            options, dice, self._lanes, count(1), self._effects, self._wants_node, self._refuse_all
        )
        self._lookup, self._search = self._destination.lookup, self._destination.search
        self._parting = Parting()
        # Before this time nothing is due, unless something else happens than a reply.
        self._quiet_until = 0.0

    # -- what the caller wants ----------------------------------------------------------------

    def count(self, key: str, amount: int, now: float) -> Batch:
        """Add an increment to what is sent next. Raises ConfigError, and RefusedError (busy)."""
        if type(amount) is not int or not -AMOUNT_MAX <= amount <= AMOUNT_MAX:
            amount = checked_amount(amount)
        if type(key) is not str:
            key = checked_key(key)
        queue = self._queue
        if queue:
            batch = queue[-1]
            if now <= batch.join_until and batch.takes(key, amount, self._sizes):
                return batch
        size = self._sizes[key]
        self._check_room()
        options = self.options
        batch = Batch(now, now + options.deadline_s, now + options.join_s)
        batch.amounts[key], batch.bytes = amount, size
        self._ending.begin(batch)  # first: this may be broken off, and others join what is there
        queue.append(batch)
        return batch

    def retry(self, operation: Operation, now: float) -> Batch:
        """Send an operation again whose outcome was unknown; its node is asked, nobody else."""
        self._check_room()
        self._quiet_until = 0.0
        batch = Batch(now, now + self.options.deadline_s, float("-inf"))
        batch.amounts = dict.fromkeys(operation.pairs[::2], 0)
        batch.operation = operation
        lane = self._lanes.of(operation.node, operation.endpoint)
        # It was sent before, whoever it was: a refusal proves nothing any more.
        self._ending.begin(batch)
        lane.doubtful.append(Entry(operation, batch, 1))
        lane.retry_at = now
        return batch

    def _unstamped(self) -> bytes:
        return self._dice.randbytes(16)

    def _check_room(self) -> None:
        if self.is_closed:
            raise ConfigError(self._ending.why_closed)
        if len(self._queue) >= BATCHES_MAX:
            text = f"{BATCHES_MAX} messages wait to be sent; come back in 100 ms"
            raise RefusedError("busy", text)

    @property
    def wants_step(self) -> bool:
        """Whether something waits that `step` would send, or look for a way to send."""
        queue = self._queue
        if not queue:
            return False
        lane = self._destination.current
        if lane is None:
            return not self._destination.is_seeking
        return not lane.in_flight or (len(queue) > 1 and len(lane.in_flight) < PIPELINED_MAX)

    @property
    def plain_link(self) -> int | None:
        """The one stream that something may happen on, while all is well and a reply is due."""
        lane = self._destination.current
        if lane is None or len(self._by_link) > 1 or not lane.in_flight or lane.is_silent:
            return None
        is_more_due = lane.doubtful or self._lookup.is_busy or self._parkings
        return None if is_more_due else lane.link

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is on its way."""
        return self._lanes.is_idle and not (self._queue or self._parkings)

    def step(self, now: float) -> list[Effect]:
        """Send what may be sent, and do what is due."""
        if now >= self._quiet_until:
            due = self.deadline()
            if due is not None and due <= now:
                self._do_due(now)
                due = self.deadline()
            # What is sent from now on is due later than that.
            self._quiet_until = now + self.options.silent_s
            if due is not None:
                self._quiet_until = min(due, self._quiet_until)
        return self._pumped(now)

    @property
    def is_parting(self) -> bool:
        """Whether a goodbye was said and has no answer yet."""
        return bool(self._parting)

    def part(self) -> list[Effect]:
        """Say goodbye before `close`, unless anything waits, is on its way or in doubt."""
        return self._parting.begin(self._lanes) if self.is_idle and not self.is_closed else []

    def close(self) -> list[Effect]:
        """End every stream; what waits is refused, what was sent is unknown."""
        self.is_closed = True
        while self._queue:
            self._settle(self._queue.popleft(), (UnreachableError, ("the client was closed",)))
        for lane in self._lanes:
            for entry in list(lane.entries()):
                self._unknown(lane, entry, "the client was closed")
        self._parkings.close()
        return self._hung_up()

    def fail(self, error: BaseException) -> list[Effect]:
        """End everything after a mistake in this very code: nobody waits for what never comes."""
        self.is_closed = True
        self._ending.fail(error)
        self._queue.clear()
        return self._hung_up()

    def _hung_up(self) -> list[Effect]:
        self._effects += [Shut(link) for link in self._by_link]
        self._by_link.clear()
        return self._taken()

    # -- what the network says ----------------------------------------------------------------

    def opened(self, link: int, now: float) -> list[Effect]:
        """Go on: the stream stands."""
        self._quiet_until = 0.0
        lane = self._by_link.get(link)
        if lane is not None:
            self._effects.append(lane.greet(self.options.cluster))
        elif self._lookup.owns(link):
            self._effects += self._lookup.opened(now)
        return self._taken()

    def lost(self, link: int, reason: str, now: float) -> list[Effect]:
        """Take in that a stream cannot be had, or has ended."""
        lane = self._by_link.pop(link, None)
        if lane is not None:
            self._lost(lane, reason, now)
        elif self._lookup.owns(link):
            self._effects += self._lookup.failed(reason, now)
            self._after_lookup(now)
        return self._pumped(now)

    def received(self, link: int, data: bytes, now: float) -> list[Effect]:
        """Take in bytes."""
        lane = self._by_link.get(link)
        if lane is not None and lane.stream is not None:
            self._hear(lane, data, now)
        elif self._lookup.owns(link):
            self._effects += self._lookup.received(data, now)
            self._after_lookup(now)
        return self._pumped(now)

    def _hear(self, lane: Lane, data: bytes, now: float) -> None:
        assert lane.stream is not None
        try:
            replies = lane.stream.received(data)
            if lane.state == GREETING and lane.stream.is_welcome:
                lane.check_who()
        except (FrameError, RefusedError) as error:
            self._shut(lane, str(error), now)
            return
        if lane.state == GREETING and lane.stream.is_welcome:
            self._welcomed(lane, now)
        for reply in replies:
            if reply.TAG != light.Counted.TAG and is_of_request(reply):
                # Where nobody waits for it any more, it says nothing about what is on its way.
                _ = self._parkings.answered(lane, reply) or self._parting.answered(lane, reply)
                continue
            entry = lane.replied(reply, now)
            if reply.TAG == light.Refused.TAG:
                self._refused(lane, entry, reply, now)
            else:
                self._settle(entry.batch, Acknowledgement(
                    True, reply.on_disk, lane.name, reply.repeated, entry.operation.id
                ))  # fmt: skip
        if lane is not self._destination.current:
            self._drop_ended()

    def _welcomed(self, lane: Lane, now: float) -> None:
        lane.state, lane.failures = READY, 0
        if self._destination.welcomed(lane):
            for other in self._lanes:
                self._park(other, now)
        self._resend(lane, now)

    def _resend(self, lane: Lane, now: float) -> None:
        """Send again what is in doubt, under its own identity, in its own order."""
        if lane.is_unsettled:
            self._shut(lane, TOO_EARLY, now)
            return
        waiting = list(lane.doubtful)
        lane.doubtful.clear()
        for entry in waiting:
            if self.options.address is None and self._lanes.of_left(lane, entry, now):
                self._quiet_until = 0.0
                continue
            why_not = lane.why_not_again(entry, TRIES_MAX)
            if why_not:
                lane.doubtful.append(entry)
                self._unknown(lane, entry, why_not)
            else:
                self._effects.append(lane.send(entry, now))

    def _refused(self, lane: Lane, entry: Entry, refusal: Any, now: float) -> None:
        self._quiet_until = 0.0
        code, text = printable(refusal.code), printable(refusal.text, 400)
        batch = entry.batch
        if code == GIVEN_AWAY and not entry.operation.is_named:
            if entry.operation.session == lane.session:
                lane.renew(self._new_session())
            self._settle(batch, given_away(lane, entry))
        elif code == TOO_OLD and entry.sends == 1 and batch.tries + 1 < TRIES_MAX:
            # The node has forgotten this client, or one that was made in the same second. Never
            # sent before, it has not counted; under a name without a stamp nobody takes it for old.
            batch.tries += 1
            if entry.operation.session == lane.session:
                lane.renew(self._unstamped())
            self._queue.appendleft(batch)
        elif code == light.IN_DOUBT or (entry.sends > 1 and code != "other-content"):
            lane.doubtful.append(entry)
            if code in (TOO_OLD, GIVEN_AWAY) or entry.sends >= TRIES_MAX:
                self._unknown(lane, entry, f"{lane.who}: {text}")
            else:
                lane.retry_at = now + self._search.pause_s(entry.sends)
        elif code in BY_KEY and len(batch.amounts) > 1:
            # One key is too much, or one too many: the others must not suffer for it.
            self._queue.extendleft(reversed(self._ending.halves(batch)))
        elif self._search.passes_on(code, lane) and batch.tries + 1 < TRIES_MAX:
            batch.tries += 1
            self._queue.appendleft(batch)
            self._destination.shun(lane, f"refuses ({text})", batch.tries, now)
        else:
            self._settle(batch, (RefusedError, (code, text)))

    # -- streams that come and go -------------------------------------------------------------

    def _shut(self, lane: Lane, reason: str, now: float) -> None:
        """End a lane's stream."""
        self._effects.append(self._lanes.shut(lane))
        self._lost(lane, reason, now)

    def _lost(self, lane: Lane, reason: str, now: float) -> None:
        self._quiet_until = 0.0
        was_ready = lane.state == READY
        self._parkings.lost(lane, reason)
        self._parting.lost(lane)
        lane.lose()
        lane.failures += not was_ready
        lane.retry_at = now + self._search.pause_s(max(1, lane.failures))
        self._destination.lost(lane, reason, now)
        self._drop_ended()

    def _park(self, lane: Lane, now: float) -> None:
        """Leave at another node what is in doubt at one that is gone."""
        if self._parkings.due(lane, now):
            if lane.state == READY:
                self._shut(lane, "no answer", now)
            self._effects += self._parkings.moved(
                lane, self._destination.current, self._new_session, now
            )

    def _drop_ended(self) -> None:
        """Forget lanes that are neither used nor in doubt."""
        self._effects += self._lanes.without_ended(
            lambda lane: self._destination.uses(lane) or self._parkings.uses(lane)
        )

    # -- where new increments go ---------------------------------------------------------------

    def _wants_node(self) -> bool:
        return bool(self._queue) or self._parkings.wants_node(self._lanes)

    def _refuse_all(self, failure: Failure) -> None:
        while self._queue:
            self._settle(self._queue.popleft(), failure)

    def _after_lookup(self, now: float) -> None:
        self._quiet_until = 0.0
        self._destination.after_lookup(now)
        lane = self._destination.told_nowhere()
        for entry in list(lane.doubtful) if lane is not None else ():
            assert lane is not None
            self._unknown(lane, entry, lane.anew_for(entry))

    # -- sending and ending -------------------------------------------------------------------

    def _pumped(self, now: float) -> list[Effect]:
        """Send what may be sent; returns all effects so far."""
        queue, destination = self._queue, self._destination
        if destination.current is None:
            destination.seek(now)
        lane = destination.current
        if lane is not None:
            flying = lane.in_flight
            while queue and (not flying or (len(queue) > 1 and len(flying) < PIPELINED_MAX)):
                entry = lane.begin(queue.popleft(), self.options.ack, self._new_session)
                entry.batch.operation = entry.operation
                self._effects.append(lane.send(entry, now))
        return self._taken()

    def _taken(self) -> list[Effect]:
        effects = self._effects.copy()
        self._effects.clear()
        return effects

    # -- time -----------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """Say when `step` is wanted next, even if nothing happens."""
        times = []
        if self._queue:
            times.append(self._queue[0].deadline)
        times += self._destination.deadlines() + self._parkings.deadlines()
        for lane in self._lanes:
            times += lane.times(self.options.silent_s) + self._parkings.times(lane)
        return min(times, default=None)

    def _do_due(self, now: float) -> None:
        while self._queue and self._queue[0].deadline <= now:
            text = (
                f"{self._search.reason or 'no node was reached'}; nothing was sent within "
                f"{self.options.deadline_s:g} s"
            )
            self._settle(self._queue.popleft(), (UnreachableError, (text,)))
        if self._destination.tick(now):
            self._quiet_until = 0.0
        self._parkings.end_late(now)
        for lane in self._lanes:
            self._park(lane, now)
            self._look_at(lane, now)

    def _look_at(self, lane: Lane, now: float) -> None:
        """Do what is due at one node."""
        late = [entry for entry in lane.entries() if entry.batch.deadline <= now]
        is_stuck = any(entry in lane.in_flight for entry in late)
        for entry in late:
            text = f"{lane.who} did not answer within {self.options.deadline_s:g} s"
            self._unknown(lane, entry, text)
        if is_stuck or (lane.state in (OPENING, GREETING) and lane.until <= now):
            self._shut(lane, "no answer", now)
        if lane.in_flight and not lane.is_silent and (
            now >= lane.waits_since + self.options.silent_s
        ):  # fmt: skip
            lane.is_silent = True
            self._destination.leave(lane, "does not answer", now)
        if lane.doubtful and now >= lane.retry_at:
            if lane.state == READY:
                self._resend(lane, now)
            elif lane.state == DOWN:
                self._destination.ask_for(lane, now)
                if lane.is_sought:
                    lane.retry_at = now + self._search.pause_s(1)
                else:
                    self._destination.open(lane, now)
        self._drop_ended()
