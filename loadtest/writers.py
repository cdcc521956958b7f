"""One writer of a load test: what it counts and when, over the client that people use, without I/O.

A writer is a machine: whoever runs it, on sockets or in the simulator, tells it the time and
what the network says, and carries out what it returns, as for the `Dialogue` inside. That one
sends, coalesces, retries, and goes on with another node when its own is lost.

Open loop: an increment begins when the plan says, whatever became of those before, and its
latency is counted from that moment: a stall of the cluster delays every increment that was to
begin meanwhile, and each of them says so (Tene, How not to measure latency, 2013: "coordinated
omission" is to leave them out). Closed loop: one at a time, the next when it is acknowledged.

The rule: every increment of the stream is sent, or counted as skipped; it is never put off.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Final

from counter.client.dialogue import Dialogue
from counter.client.lane import Effect, Settled
from counter.client.operations import Acknowledgement, Batch, Operation, UnknownOutcomeError
from counter.client.options import Options
from loadtest.bookkeeping import Bookkeeping, Word, Work
from loadtest.generator import Generator
from loadtest.plan import Plan
from loadtest.workload import Amount
from tracker.errors import RefusedError

IN_FLIGHT_MAX: Final = 10_000
"""Increments of all writers together that wait for an acknowledgement; beyond, they are skipped."""

GRAIN_S: Final = 0.002
"""A start this little late is on time: no timer of an event loop is finer. See `late_ms`."""

PAUSE_S: Final = 0.1
"""After a refusal a writer in a closed loop waits this long: the same would be refused again."""

DOUBTS_MAX: Final = 1_000
"""Messages of one writer that are sent again at the end; those in doubt beyond stay unknown."""

RETRIES_MAX: Final = 5
"""Times an increment with an unknown outcome is sent again under its own identity."""


@dataclass(slots=True)
class _Doubt:
    """A message whose outcome is unknown, and the increments in it."""

    operation: Operation
    works: list[Work]
    tries: int = 0


@dataclass(slots=True)
class _Waiting:
    """Who waits for a batch: increments, each with the moment from which it is timed."""

    works: list[tuple[Work, float]] = field(default_factory=list)
    doubt: _Doubt | None = None


class Writer:
    """A client that counts what the plan says; see the module."""

    def __init__(
        self,
        plan: Plan,
        number: int,
        options: Options,
        books: Bookkeeping,
        generator: Generator,
    ) -> None:
        self.is_stopped = True
        self.in_flight = 0
        self._number = number
        self._books = books
        self._generator = generator
        dice = plan.dice(number)
        self._dialogue = Dialogue(options, dice, lambda: dice.randbytes(16))
        self._is_open = plan.is_open_loop
        self._in_flight_max = max(1, IN_FLIGHT_MAX // max(1, plan.writers))
        self._first_key = plan.keys[0]
        self._began = 0.0
        self._count = 0
        self._increments: Iterator[Amount] = plan.increments(number)
        self._arrivals = plan.arrivals(number)
        self._next = inf
        self._doubts: list[_Doubt] = []

    # -- what whoever runs it calls -------------------------------------------------------------

    def connect(self, now: float) -> list[Effect]:
        """Find a node and connect to it, by an increment of nothing: that is not measured."""
        batch = self._dialogue.count(self._first_key, 0, now)
        batch.waiters = _Waiting()
        return self._ended(self._dialogue.step(now), now)

    def begin(self, now: float) -> None:
        """Begin to count: the load begins now."""
        self.is_stopped = False
        self._began = now
        self._next = now + next(self._arrivals)

    def stop(self) -> None:
        """Begin no further increments; what is on its way goes on."""
        self.is_stopped = True
        self._next = inf

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self.in_flight and self._dialogue.is_idle

    def deadline(self) -> float | None:
        """Say when `step` is wanted next."""
        due = self._dialogue.deadline()
        if self._next == inf:
            return due
        return self._next if due is None else min(due, self._next)

    def step(self, now: float) -> list[Effect]:
        """Begin what is due, and do what the client has to do."""
        while self._next <= now:
            intended, self._next = self._next, inf
            self._arrive(intended, now)
            if self._is_open:
                self._next = self._began + next(self._arrivals)
        return self._ended(self._dialogue.step(now), now)

    def opened(self, link: int, now: float) -> list[Effect]:
        """Take in that a stream stands."""
        return self._ended(self._dialogue.opened(link, now), now)

    def lost(self, link: int, reason: str, now: float) -> list[Effect]:
        """Take in that a stream cannot be had, or has ended."""
        return self._ended(self._dialogue.lost(link, reason, now), now)

    def received(self, link: int, data: bytes, now: float) -> list[Effect]:
        """Take in bytes."""
        return self._ended(self._dialogue.received(link, data, now), now)

    def close(self, now: float) -> list[Effect]:
        """End all streams; what is in doubt until now stays unknown."""
        effects = self._ended(self._dialogue.close(), now)
        for doubt in self._doubts:
            self._give_up(doubt)
        self._doubts.clear()
        return effects

    @property
    def doubts(self) -> int:
        """How many messages there are whose outcome is unknown."""
        return len(self._doubts)

    def resolve(self, now: float) -> list[Effect]:
        """Send what is in doubt again, under its own identity: it counts once.

        What was sent so `RETRIES_MAX` times stays unknown.
        """
        waiting, self._doubts = self._doubts, []
        for doubt in waiting:
            if doubt.tries == RETRIES_MAX:
                self._give_up(doubt)
                continue
            doubt.tries += 1
            try:
                batch = self._dialogue.retry(doubt.operation, now)
            except RefusedError:
                self._doubts.append(doubt)
                continue
            batch.waiters = _Waiting(doubt=doubt)
            self.in_flight += len(doubt.works)
        return self._ended(self._dialogue.step(now), now)

    # -- increments -----------------------------------------------------------------------------

    def _arrive(self, intended: float, now: float) -> None:
        """Begin the next increment of the stream, which was meant to begin at `intended`."""
        key, amount = next(self._increments)
        self._count += 1
        generator = self._generator
        if self.in_flight >= self._in_flight_max:
            generator.skipped += 1
            return
        work = Work(self._number, self._count, key, amount, intended - self._began)
        self._books.attempted(work)
        late_s = now - intended
        generator.began(late_s)
        try:
            batch = self._dialogue.count(key, amount, now)
        except RefusedError:
            self._books.turned_down(work)
            self._go_on(now + PAUSE_S)
            return
        if batch.waiters is None:
            batch.waiters = _Waiting()
        batch.waiters.works.append((work, intended if late_s > GRAIN_S else now))
        self.in_flight += 1
        generator.in_flight_max = max(generator.in_flight_max, self.in_flight)

    def _ended(self, effects: list[Effect], now: float) -> list[Effect]:
        """Take out of the effects what has ended; return those that are to be carried out."""
        left = [effect for effect in effects if type(effect) is not Settled]
        if len(left) == len(effects):
            return effects
        for effect in effects:
            if type(effect) is Settled:
                self._settled(effect.batch, now)
        return left

    def _settled(self, batch: Batch, now: float) -> None:
        waiting = batch.waiters
        assert isinstance(waiting, _Waiting)
        if waiting.doubt is not None:
            self._settled_again(waiting.doubt, batch, now)
            return
        self.in_flight -= len(waiting.works)
        unknown: dict[str, _Doubt] = {}
        pause_s = 0.0
        for work, since in waiting.works:
            end = batch.end_of(work.key)
            if isinstance(end, Acknowledgement):
                self._acknowledged(work, end, now, now - since)
            elif end[0] is UnknownOutcomeError:
                operation = end[1][1]
                unknown.setdefault(operation.id, _Doubt(operation, [])).works.append(work)
            else:
                self._books.turned_down(work)
                pause_s = PAUSE_S
        for doubt in unknown.values():
            self._keep(doubt)
        self._go_on(now + pause_s)

    def _go_on(self, time: float) -> None:
        """In a closed loop, begin the next increment then: the one before has ended."""
        if not self._is_open and not self.is_stopped and not self.in_flight:
            self._next = time

    def _keep(self, doubt: _Doubt) -> None:
        """Keep what is in doubt for the end of the load."""
        if len(self._doubts) < DOUBTS_MAX:
            self._doubts.append(doubt)
        else:
            self._give_up(doubt)

    def _give_up(self, doubt: _Doubt) -> None:
        for work in doubt.works:
            self._books.lost_track(work)

    def _settled_again(self, doubt: _Doubt, batch: Batch, now: float) -> None:
        """Take in what became of a message that was sent again."""
        self.in_flight -= len(doubt.works)
        end = batch.end_of(doubt.works[0].key)
        if type(end) is not Acknowledgement:
            # Whatever was said: only a node's word ends a doubt.
            self._doubts.append(doubt)
            return
        for work in doubt.works:
            self._acknowledged(work, end, now, None)

    def _acknowledged(
        self, work: Work, end: Acknowledgement, now: float, after_s: float | None
    ) -> None:
        session, _, sequence = end.id.rpartition("-")
        word = Word(end.node, bytes.fromhex(session), int(sequence), now - self._began)
        if end.parked:
            self._books.parked(work, word)
        else:
            self._books.counted(work, word, after_s)
