"""One cell at its head: a query over one arc, whose answers go on to the origin in batches.

To those in the cell the head is what an origin is in a small cluster: answers come to it, it
asks the silent again, and it knows when silence is proof (`counter/query.py`). What it hears
goes on::

    answers for a full datagram   -> Batch
    half a hop after an answer    -> Batch, if that is much beside what is waited for
    the first wave leaves         -> Batch with what is at hand
    two hops after a wave         -> Batch with what it brought, and what came late before
    nobody left to wait for       -> Batch with the rest, who stayed silent, and DONE
    an answer after that          -> Batch with it, DONE again
    Batch                         -> again every T, until its Back
    no Back after BATCH_TRIES_MAX -> the origin is taken to be gone: the cell is forgotten

The rule: a batch is acknowledged before it is forgotten, and an answer stands in exactly one,
with all that goes with it: what its member holds of others, has in doubt, and the roll it said. The
batch may be the last one that the origin waits for; another one would come too late.
The ages in a cell count from its head; in a batch they count from the origin.
"""

from collections.abc import Iterable
from math import inf
from typing import Final

from counter.answerers import UNLISTED_MAX
from counter.arcs import least_age
from counter.config import AGE_MAX
from counter.doubtful import Doubted
from counter.heard import Held
from counter.messages import (
    BATCH_ROOM_BYTES,
    COLLECTS,
    DECREASED,
    DONE,
    DOUBT,
    HELD,
    OUTDONE,
    POSITION_BYTES,
    ROLLS_MAX,
    ROWS_MAX,
    SEQUENCE_MAX,
    UNHELD,
    Ack,
    Back,
    Batch,
    Delegate,
    Reply,
    Row,
    packed_positions,
    packed_rows,
    place_of,
    row_bytes,
    stem_row,
    stem_rows,
    steps_bytes,
)
from counter.proof import asks_in_bursts
from counter.query import Heard, OwnQuery
from counter.selection import split
from tracker.classes import dataclass, field
from tracker.machine import Endpoint, Send
from tracker.members import Member, View, folded

PART_TOLD: Final = 2
"""Before the first wave a batch that is not full leaves with one answer for so many waited for."""

ADVICE_FACTOR: Final = 1.5
"""A head goes by its own evidence if that wants so many times the asks that all cells do."""

BATCH_TRIES_MAX: Final = 10

STEM_ROWS_MAX: Final = 16
"""Rows beside one answer that tell of earlier lives in the parts that its member holds."""

STRANGE_MAX: Final = 32
"""Rolls of which the batches of one cell tell; if there are more, that is said."""


@dataclass(slots=True)
class _Unconfirmed:
    """A batch whose `Back` has not come."""

    batch: Batch
    due: float
    tries: int = 1


@dataclass(slots=True, kw_only=True)
class Cell(OwnQuery):
    """The query over one arc, at its head. `home` is the head itself, `origin` the origin."""

    ask: Delegate
    origin: Endpoint
    cell: int
    sequence: int = 0
    is_done: bool = False
    is_over: bool = False
    tell_at: float = inf
    asked_at: float = 0.0
    """When the last wave left."""
    asks_advised: int = 0
    room_bytes: int = 0
    told_view: View | None = None
    """The view by which batches tell who answered, if it is the origin's."""
    strange: dict[int, int] = field(default_factory=dict)
    """By the roll of a view that is not the origin's, the position of one who has it."""
    untold: list[tuple[int, int]] = field(default_factory=list)
    """Of these the ones that stand in no batch yet: (position, roll)."""
    rows: list[Row] = field(default_factory=list)
    holds: Held = ()
    """What the head itself holds of others."""
    told_doubts: dict[int, Doubted] = field(default_factory=dict)
    unconfirmed: dict[int, _Unconfirmed] = field(default_factory=dict)
    batches: int = 0
    backs: int = 0

    # -- asking -------------------------------------------------------------------------------

    def _set_out(self, own: Heard) -> None:
        OwnQuery._set_out(self, own)
        # An arc as a whole is not as deep as the cluster; what is left of the age is given.
        hops_left = self.ask.age_max - self.ask.age
        self.age_max = min(AGE_MAX, hops_left)
        self.depth = min(least_age(len(self.pending) + 1, self.chatter, self.visits), hops_left)
        self._plan_first_repair()
        flags = (DECREASED if own.has_decreased else 0) | (UNHELD if self.is_unheld else 0)
        self.told_view = self.view if self.view.roll_bits == self.ask.roll else None
        self.room_bytes = self._room_bytes()
        row = (self.own_position, own.store, own.epoch, own.value, self.ask.age, flags)
        held = self._held_beside(self.own_position, self.holds, 0, self.started)
        self._add(self.started, self.view.roll, row, *self._doubts_beside(row), *held)
        # Its own share alone is not worth a batch. (What needs more than one goes with the repair.)
        self.tell_at = inf

    def _expected(self) -> dict[int, Member]:
        ask, view = self.ask, self.view
        begin, end = view.span(ask.low, ask.high)
        members = dict(zip(view.positions[begin:end], view.ring[begin:end], strict=True))
        for pos in ask.skip:
            members.pop(pos, None)
        return members

    def _spread(self) -> list[Send]:
        ask = self.ask
        skip = ask.skip if self.own_position in ask.skip else (*ask.skip, self.own_position)
        arc = (ask.low, ask.high, skip, ask.late)
        parts, cut_off = split(self.view, *arc, self.chatter, self.visits, self.age_max, self.rng)
        if cut_off:
            self.cut = {pos: pending.member for pos, pending in self.pending.items()}
            self.pending.clear()
        return self._asks(parts)

    @property
    def is_final(self) -> bool:
        """Whether what was counted can no more be withdrawn: the origin was told, or will be."""
        return True

    def ack(self) -> Ack:
        """Return what tells the asker, and the origin, that this arc is collected here."""
        ask = self.ask
        others = tuple([pos for pos in ask.skip if pos != self.own_position])
        return Ack(ask.query, ask.share, self.cell, COLLECTS, ask.low, ask.high, others)

    # -- hearing ------------------------------------------------------------------------------

    def take(self, reply: Reply, sender: Endpoint, now: float) -> list[Send]:
        """Take one answer; returns the batch it fills, if it does."""
        sends: list[Send] = []
        if OwnQuery.hear(self, reply, sender, now):
            age = min(AGE_MAX, self.ask.age + reply.age)
            row = (reply.position, reply.store, reply.epoch, reply.value, age, reply.flags)
            held = self._held_beside(reply.position, reply.others, reply.age, now)
            sends = self._add(now, reply.roll, row, *self._doubts_beside(row), *held)
        return sends if self.pending and not self.is_done else [*sends, *self.look(now)]

    def _held_beside(self, pos: int, held: Held, age: int, now: float) -> list[Row]:
        """Count what the member at `pos` holds of others; returns the rows that tell it."""
        age = min(AGE_MAX, self.ask.age + age)
        fresh = self.hold(held, age, now)
        rows = [stem_row(*r, age) if len(r) == 4 else (pos, *r, age, HELD) for r in fresh]
        lives = [row for r in fresh if len(r) == 4 for row in stem_rows(*r, age)]
        return rows + lives[:STEM_ROWS_MAX]

    def _is_news(self, roll: int) -> bool:
        """Whether a roll is not that of the origin, and none that it is told of already."""
        return roll not in self.strange and roll not in (0, folded(self.ask.roll))

    def _note_roll(self, pos: int, roll: int) -> None:
        """Note by which roll somebody knows his view, for the origin to read what is in it."""
        if not self._is_news(roll):
            return
        if len(self.strange) >= STRANGE_MAX:
            self.is_outdone = True
            return
        self.strange[roll] = pos
        self.untold.append((pos, roll))

    def _rolls(self) -> tuple[tuple[int, int], ...]:
        """Return views that the next batch tells of; that of the head may be another by now."""
        self._note_roll(self.own_position, self.view.roll)
        told, self.untold = self.untold[:ROLLS_MAX], self.untold[ROLLS_MAX:]
        return tuple(told)

    def confirmed(self, back: Back) -> None:
        """Take the word that a batch has come."""
        if self.unconfirmed.pop(back.sequence, None) is not None:
            self.backs += 1
            self.asks_advised = back.asks

    def asks_wanted(self) -> int:
        """Return K: what the evidence of all cells asks for, or more if that of this one does.

        A cell has little to go by, and asks too often for that alone: only what wants many more
        speaks of links worse than those of others. Of bursts it knows more than the origin.
        """
        own, advised = OwnQuery.asks_wanted(self), min(self.asks_advised, self.config.waves_max)
        wanted = max(own, advised) if own > ADVICE_FACTOR * advised else advised
        in_bursts = asks_in_bursts(self.config, self.firsts, self.spread, self.certain)
        return max(wanted, in_bursts)

    def follow(self, view: View) -> None:
        """Take in a newer view. Once all is told, whoever joins is the origin's business."""
        if not self.is_done:
            OwnQuery.follow(self, view)

    # -- telling ------------------------------------------------------------------------------

    def _room_bytes(self) -> int:
        """Return what the rows of one batch may take."""
        if self.told_view is None:
            return BATCH_ROOM_BYTES
        begin, end = self.told_view.span(self.ask.low, self.ask.high)
        return BATCH_ROOM_BYTES - min(BATCH_ROOM_BYTES // 2, steps_bytes(end - begin))

    def _doubts_beside(self, row: Row) -> list[Row]:
        """Return the rows that say what is in doubt at the member that answers with this one."""
        pos, store, *_ = row
        told = self.told_doubts.get(pos)
        if told is None:
            return []
        rows: list[Row] = []
        for octave, (minus, plus, count) in told.steps():
            rows += [(pos, store, count, -minus, octave, DOUBT)] if minus else []
            rows += [(pos, store, count, plus, octave, DOUBT)] if plus else []
        return rows

    def doubt(self, pos: int, told: Doubted) -> None:
        """Keep what a member holds in doubt: only the origin knows how long its query has run."""
        if len(self.told_doubts) < len(self.view) + UNLISTED_MAX:
            self.told_doubts[pos] = told

    def _add(self, now: float, roll: int, *rows: Row) -> list[Send]:
        """Add what one member says to the next batch, all of it, and by which roll it says that.

        What no batch has room for is told in parts, and that the origin may have missed some.
        """
        size = sum([self._row_bytes(row) for row in rows])
        is_full = size > self.room_bytes or len(self.rows) + len(rows) > ROWS_MAX
        is_full |= self._is_news(roll) and len(self.untold) >= ROLLS_MAX
        sends = self._tell(now) if is_full and self.rows else []
        if size > self.room_bytes and len(rows) > 1:
            self.is_outdone = True
            half = len(rows) // 2
            sends += self._add(now, roll, *rows[:half])
            return sends + self._add(now, roll, *rows[half:])
        self._note_roll(rows[0][0], roll)
        if self.tell_at == inf:
            self.tell_at = self._telling_due(now)
        self.rows += rows
        self.room_bytes -= size
        return sends

    def _row_bytes(self, row: Row) -> int:
        view = self.told_view
        return row_bytes(row, is_placed=view is not None and place_of(row, view) is not None)

    def _telling_due(self, now: float) -> float:
        """Return when what is at hand is looked at: whether to tell it, or wait for more.

        Answers to a wave are told together, two hops after it; those that come later than most
        are told with those to the next wave.
        """
        hops = self.hops.believed()
        if not self.waves:
            return now + max(self.config.settle_floor_s, hops.mean_s / 2)
        answered_s = 2 * hops.mean_s + 4 * hops.deviation_s
        ready = self.asked_at + answered_s
        return ready if ready > now else max(now, self.next_wave) + answered_s

    def _is_worth_telling(self) -> bool:
        """Whether what is at hand is much beside what is waited for; after a wave it always is."""
        return self.waves > 0 or PART_TOLD * len(self.rows) >= len(self.pending)

    def _tell(
        self,
        now: float,
        flags: int = 0,
        silent: Iterable[int] = (),
        cut: Iterable[int] = (),
    ) -> list[Send]:
        """Return a batch with the rows at hand."""
        rows, self.rows = self.rows, []
        self.room_bytes, self.tell_at = self._room_bytes(), inf
        if self.sequence > SEQUENCE_MAX:
            self.is_over = True
            return []
        ask, messages = self.ask, self.messages + self.batches + self.backs + 1
        rolls = self._rolls()
        if self.is_outdone:
            flags |= OUTDONE
        batch = Batch(
            ask.query,
            ask.share,
            self.cell,
            self.sequence,
            flags,
            ask.low,
            ask.high,
            messages,
            self.asks_wanted() if self.is_done else 0,
            *self.evidence(),
            *packed_rows(rows, self.told_view, ask.low),
            packed_positions(silent),
            packed_positions(cut),
            rolls,
        )
        self.unconfirmed[self.sequence] = _Unconfirmed(batch, now + self.repair_s())
        self.sequence += 1
        self.batches += 1
        return [Send(self.origin, batch)]

    def look(self, now: float) -> list[Send]:
        """Tell the rest if nobody is waited for any more, or not with any hope."""
        if self.is_done:
            return self._tell(now, DONE) if self.rows or self.untold else []
        if self.verdict(now, view_is_current=True) is None:
            return []
        self.is_done = True
        self._note_roll(self.own_position, self.view.roll)
        sends: list[Send] = []
        while len(self.untold) > ROLLS_MAX:
            sends += self._tell(now)
        named = [(pos, True) for pos in self.pending] + [(pos, False) for pos in self.cut]
        if not named:
            sends += self._tell(now, DONE)
        while named:
            if self.room_bytes < POSITION_BYTES:
                sends += self._tell(now)
            count = self.room_bytes // POSITION_BYTES
            page, named = named[:count], named[count:]
            silent = [pos for pos, is_silent in page if is_silent]
            cut = [pos for pos, is_silent in page if not is_silent]
            sends += self._tell(now, 0 if named else DONE, silent, cut)
        return sends

    def tick(self, now: float, lag_s: float) -> list[Send]:
        """Repair the cell, say how far it is, and send again what was not confirmed."""
        sends: list[Send] = []
        if not self.is_done:
            self.excuse(now, lag_s)
            sends = self.look(now)
        if now >= self.tell_at:
            if self._is_worth_telling():
                sends += self._tell(now)
            else:
                self.tell_at = self._telling_due(now)
        if not self.is_done and (asks := self.wave(now)):
            self.asked_at = now
            # What came before is told with the first wave, not with what that one brings.
            sends += self._tell(now) + asks if self.rows and self.waves == 1 else asks
            if self.rows:
                self.tell_at = self._telling_due(now)
        for waiting in self.unconfirmed.values():
            if waiting.due <= now:
                self.is_over = self.is_over or waiting.tries >= BATCH_TRIES_MAX
                waiting.tries += 1
                waiting.due = now + self.repair_s()
                self.batches += 1
                sends.append(Send(self.origin, waiting.batch))
        return sends

    def next_due(self) -> float:
        """Say when `tick` is wanted next."""
        due = float("inf") if self.is_done else self.next_deadline()
        return min([due, self.tell_at, *[waiting.due for waiting in self.unconfirmed.values()]])
