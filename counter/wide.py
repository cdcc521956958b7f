"""One query at its origin, in a cluster too large for the origin to hear everybody.

The ring is given away in arcs. What becomes of an arc, as the origin sees it::

    charge      given to a head, which has not acknowledged it yet (`counter/delegation.py`)
    ward        acknowledged: collected by its head, or passed on and not yet told by whom
      -> silent for its patience         its head is asked once more, up to PROBES_MAX times
      -> told by a head of its own       a ward of its own
      -> DONE, and no batch is missing   closed; whom its head did not know is an orphan
      -> no answer, refused, or nobody
         told of the passed-on in time   lost: what no other ward or charge covers is given
                                         away anew, or, if that is little, orphaned
    orphan      a member that no arc stands for: asked by the origin itself, as in a small cluster

The rule: every pending member lies in an open charge or ward, was said to be silent by the head
of a closed one, or is an orphan; and answers are counted by store, each once, whichever way and
however often they come. So giving an arc away twice costs messages and never changes the sum.
"""

from math import inf
from typing import Final

from counter.answerers import unlisted_name
from counter.arcs import least_age
from counter.delegation import GENERATIONS_MAX, Arc, Brief, Charge, Delegation, asked_directly_max
from counter.delegation import is_wide as is_wide
from counter.doubtful import NOTHING, Doubted
from counter.messages import (
    COLLECTS,
    DECREASED,
    DOUBT,
    HELD,
    OUTDONE,
    REFUSED,
    RING,
    STEM,
    TRACE,
    UNHELD,
    Ack,
    Back,
    Batch,
    Reply,
    ReplyMany,
    Row,
    positions_in,
    told_stem,
)
from counter.partial import hear_stem, is_counted, withdraw_part
from counter.query import Heard, Hops, OwnQuery, Pending
from counter.wards import Ward, Wards, gaps
from tracker.classes import dataclass, field
from tracker.machine import Endpoint, Send
from tracker.members import View

ASKS_PART: Final = 64
"""One member in so many may be asked by one wave of a very large cluster."""

ENOUGH_SHARE: Final = 0.9
"""A head that asked this share of the asks wanted by now has proven its silent: the wanted
number moves a little with each batch, and may not open again what is settled."""

PROBES_MAX: Final = 3
"""Times a head that fell silent is asked whether it is there."""


@dataclass(slots=True, kw_only=True)
class WideQuery(OwnQuery):
    """A query whose answers come from the heads of cells."""

    delegation: Delegation = field(init=False)
    wards: Wards = field(default_factory=Wards)
    orphans: dict[int, float] = field(default_factory=dict)
    """When each may be asked again."""
    window_until: float = 0.0
    window_left: int = 0
    proven: dict[int, None] = field(default_factory=dict)
    ignored: Hops = field(default_factory=lambda: Hops(0.0, 0.0))
    repeats: int = 0
    relayed: int = 0

    # -- asking -------------------------------------------------------------------------------

    def _set_out(self, own: Heard) -> None:
        OwnQuery._set_out(self, own)
        self.wave_at = inf
        self.is_plan_due = False
        self.asks_max = max(self.asks_max, len(self.pending) // ASKS_PART)
        brief = Brief(
            self.id,
            self.request.key,
            self.home,
            self.chatter,
            self.visits,
            0,
            self.age_max,
            self.first_view.roll_bits,
            self.deadline,
            TRACE if self.request.trace else 0,
        )
        self.delegation = Delegation(
            brief,
            self.config.arcs_max,
            self.config.direct_max,
            asked_directly_max(len(self.pending)),
            self.rng,
        )

    def _spread(self) -> list[Send]:
        return self._give_away(Arc(0, RING, (self.own_position,)), self.started)

    def _give_away(self, arc: Arc, now: float) -> list[Send]:
        return self._settle(self.delegation.spread(self.view, arc, now, self.repair_s()), now)

    def _settle(self, sends: list[Send], now: float) -> list[Send]:
        """Look after what the delegation could not give to anybody who answers for it."""
        delegation = self.delegation
        alone, delegation.alone = delegation.alone, []
        for pos in alone:
            if pos in self.pending and pos not in self.proven:
                # It was asked just now, though not by a repair wave.
                self._orphan(pos, now + self.repair_s())
        lost, delegation.lost = delegation.lost, []
        for arc in lost:
            for pos in self._waiting(arc.low, arc.high):
                self._orphan(pos, now)
        return sends

    def _orphan(self, pos: int, at: float) -> None:
        if self.orphans.setdefault(pos, at) == at:
            self.wave_at = min(self.wave_at, at)

    # -- hearing ------------------------------------------------------------------------------

    def hear(self, reply: Reply | ReplyMany, sender: Endpoint, now: float) -> bool:
        """Take an answer that came by itself.

        It tells nothing of the time of a hop, since nobody knows when it was asked for: that
        is measured by acknowledgements.
        """
        self.hops, measured = self.ignored, self.hops
        is_first = OwnQuery.hear(self, reply, sender, now)
        self.hops = measured
        self.is_plan_due = False
        return is_first

    def _ask_anew(self, places: list[int], now: float) -> None:
        for pos in places:
            self._orphan(pos, now)

    def acknowledged(self, ack: Ack, sender: Endpoint, now: float) -> list[Send]:
        """Take the word of a head: for the origin's own charge, or for one passed on."""
        if not self._is_from_head(ack.share, sender):
            self.tally.strangers += 1
            return []
        pause_s = self.repair_s()
        charge, sends = self.delegation.acknowledged(ack, self.view, now, pause_s)
        self.relayed += 1
        if ack.flags & REFUSED:
            ward = self.wards.get(ack.share)
            if ward is not None and ward.is_open:
                sends += self._lose(ward, now)
            return self._sweep(self._settle(sends, now), now)
        if charge is not None:
            charge.measured(self.hops.measure, now)
        arc = Arc(ack.low, ack.high, ack.skip)
        self._ward(ack.share, ack.cell, arc, sender, charge, bool(ack.flags & COLLECTS), now)
        return sends

    def _is_from_head(self, share: int, sender: Endpoint) -> bool:
        """Whether a share's head speaks, or somebody whom another node gave a share of its own."""
        charge, ward = self.delegation.charges.get(share), self.wards.get(share)
        if charge is not None:
            return sender == charge.head.endpoint
        return ward is None or sender == ward.head

    def batched(self, batch: Batch, sender: Endpoint, now: float) -> tuple[list[Send], list[Row]]:
        """Take a batch; returns what to send, and the rows that were first answers."""
        if not self._is_from_head(batch.share, sender):
            self.tally.strangers += 1
            return [], []
        charge = self.delegation.charges.pop(batch.share, None)
        arc = Arc(batch.low, batch.high, ())
        ward = self._ward(batch.share, batch.cell, arc, sender, charge, True, now)
        self.relayed += 2
        if ward is not None and batch.sequence in ward.heard:
            return [self._back(batch, sender)], []
        self.is_outdone |= bool(batch.flags & OUTDONE)
        fresh = [row for row in batch.rows(self.first_view) if self._count(row, now)]
        is_proof = batch.asks >= self.asks_wanted() * ENOUGH_SHARE
        for pos in positions_in(batch.silent):
            pending = self.pending.get(pos)
            if pending is None or pos in self.proven:
                continue
            if is_proof:
                self.proven[pos] = None
            else:
                # Its head had little evidence of its own: the origin asks what is left to ask.
                self._asked(pending, batch.asks)
                self._orphan(pos, now)
        self._cut_off(positions_in(batch.cut))
        if ward is not None:
            self._note_batch(ward, batch, now)
        return self._sweep([self._back(batch, sender)], now), fresh

    def _back(self, batch: Batch, sender: Endpoint) -> Send:
        asks = self.asks_wanted()
        return Send(sender, Back(self.id, batch.cell, batch.sequence, asks))

    def _note_batch(self, ward: Ward, batch: Batch, now: float) -> None:
        """Keep what a batch says of its cell; the last one that was missing closes it."""
        if not ward.told(batch, self.config.waves_max):
            return
        # Everything about the cell is told: who is neither counted nor silent was not in it.
        for pos in self._waiting(ward.arc.low, ward.arc.high):
            self._orphan(pos, now)
        # What was passed on may all be in the hands of heads by now.
        self.wards.close_passed_on(self._standing())

    def _count(self, row: Row, now: float) -> bool:
        """Take one answer out of a batch; returns whether it was a first one."""
        pos, store, epoch, value, age, flags = row
        if flags & DOUBT:
            # With an age it holds for queries that began so long ago (`Doubted.steps`).
            if not age or 2 ** (age - 1) <= (now - self.started) * 1000:
                minus, plus, count = self.uncertain.get(pos, NOTHING)
                amounts = max(minus, -value), max(plus, value), max(count, epoch)
                self.doubt(pos, Doubted(*amounts, ()))
            return False
        if flags & (HELD | STEM):
            return self._count_held(row, now)
        if is_counted(self, store):
            self.repeats += 1
            return False
        waiting = self.pending.get(pos)
        member = self.moved.get(store, waiting.member if waiting is not None else self.cut.get(pos))
        if member is None:
            name = unlisted_name(self, pos)
            self.tally.unlisted += name is not None
        else:
            name = member.name if member.store[:8] == store else None
        if name is None:
            self.tally.strangers += 1
            return False
        withdraw_part(self, store)
        self.is_unheld |= bool(flags & UNHELD)
        at_s, is_down = now - self.started, bool(flags & DECREASED)
        self.answers[store] = Heard(name, store, epoch, value, age, at_s, is_down)
        self.value += value
        self.heard_at = now
        self.hops_seen = max(self.hops_seen, age)
        if value:
            self.changed_at = now
        if self.moved.pop(store, None) is None and self.pending.pop(pos, None) is None:
            self.cut.pop(pos, None)
        return True

    def _count_held(self, row: Row, now: float) -> bool:
        """Count what somebody holds of another store, or take in more of the stem of a part."""
        _, store, epoch, value, age, flags = row
        if not flags & STEM:
            return bool(self.hold(((store, epoch, value),), age, now))
        end, told = told_stem(row)
        if flags & HELD:
            return bool(self.hold(((store, epoch, value, told),), age, now))
        hear_stem(self, store, end, told)
        return False

    # -- arcs ---------------------------------------------------------------------------------

    def _ward(
        self,
        share: int,
        cell: int,
        arc: Arc,
        sender: Endpoint,
        charge: Charge | None,
        is_collected: bool,
        now: float,
    ) -> Ward | None:
        """Note that a head answers for an arc; None if no more can be noted."""
        ward = self.wards.get(share)
        if ward is None:
            if len(self.wards) >= self.config.arcs_max:
                return None
            before = charge.arc if charge is not None else Arc(0, 0, ())
            arc = Arc(arc.low, arc.high, arc.skip, before.late, before.generation)
            ward = self.wards[share] = Ward(share, arc, sender, 0.0, is_collected)
            self.children.append(sender)
            if charge is None:
                self.relayed += 2  # somebody else asked its head, and heard that it is there
                self._has_spoken(arc, now)
            for pos in arc.skip:
                # Who is left out of a cell has answered the origin by itself, or should have.
                if is_collected and pos in self.pending:
                    self._orphan(pos, now + self.repair_s())
        if cell != ward.cell:
            # Another life of the head: it begins anew, and so do its batches.
            ward.cell, ward.last = cell, None
            ward.heard.clear()
        ward.probes = 0
        ward.due = now + self._patience_s(ward)
        return ward

    def _has_spoken(self, part: Arc, now: float) -> None:
        """Whoever was given a part of a charge was given it by its head, which is there then."""
        for share, charge in list(self.delegation.charges.items()):
            whole = charge.arc
            if whole.low <= part.low and part.high <= whole.high:
                del self.delegation.charges[share]
                arc = Arc(whole.low, whole.high, whole.skip)
                self._ward(share, 0, arc, charge.head.endpoint, charge, False, now)

    def _patience_s(self, ward: Ward) -> float:
        """Return how long a head may say nothing before it is asked whether it is there."""
        begin, end = self.view.span(ward.arc.low, ward.arc.high)
        depth = least_age(max(1, end - begin), self.chatter, self.visits)
        hops = self.hops.believed()
        hop_s = hops.mean_s + 2 * hops.deviation_s
        pauses = 1 if ward.is_collected else 5
        return (depth + 2) * hop_s + pauses * self.repair_s()

    def _lose(self, ward: Ward, now: float) -> list[Send]:
        """Give away anew what a ward stood for, as far as nobody else stands for it."""
        ward.is_lost = True
        arc, sends = ward.arc, list[Send]()
        for low, high in gaps(arc.low, arc.high, self._standing()):
            waiting = self._waiting(low, high)
            if len(waiting) <= self.config.direct_max or arc.generation >= GENERATIONS_MAX:
                for pos in waiting:
                    self._orphan(pos, now)
            else:
                late = tuple([p for p in arc.late if low <= p < high])
                part = Arc(low, high, (self.own_position,), late, arc.generation + 1)
                sends += self._give_away(part, now)
        return sends

    def _standing(self) -> list[tuple[int, int]]:
        """Return the arcs for which somebody stands: collected ones, and the origin's charges."""
        given = [(charge.arc.low, charge.arc.high) for charge in self.delegation.charges.values()]
        return sorted([*self.wards.collected(), *given])

    def _sweep(self, sends: list[Send], now: float) -> list[Send]:
        """When nothing is open any more, whoever fell through the arcs is an orphan; ask on."""
        if not self._is_open():
            for pos in self.pending:
                if pos not in self.proven and pos not in self.orphans:
                    self._orphan(pos, now)
        wanted = self.asks_wanted() if self.wave_at == inf else 0
        if any(p in self.pending and self.pending[p].asks < wanted for p in self.orphans):
            self.wave_at = now  # what was enough before the last batch is so no more
        return sends

    def _asked(self, pending: Pending, asks: int) -> None:
        """Note that a head has asked a member so often."""
        pending.asks = max(pending.asks, asks)
        self.firsts += [0] * (pending.asks + 1 - len(self.firsts))

    def asks_wanted(self) -> int:
        """Return K: how many asks make a member's silence a proof, by the word of all cells."""
        return max(OwnQuery.asks_wanted(self), self.wards.asks_of_ended())

    def evidence(self) -> tuple[int, int]:
        """Return what was found by further asks, in all cells and by the origin itself."""
        own, cells = OwnQuery.evidence(self), self.wards.evidence()
        return own[0] + cells[0], own[1] + cells[1]

    def _is_open(self) -> bool:
        """Whether anybody stands for an arc who has not told everything."""
        return bool(self.delegation.charges or self.wards.open())

    def _waiting(self, low: int, high: int) -> list[int]:
        """Return the positions of an arc that are pending, and nobody called silent."""
        begin, end = self.view.span(low, high)
        pending, proven = self.pending, self.proven
        return [p for p in self.view.positions[begin:end] if p in pending and p not in proven]

    def follow(self, view: View) -> None:
        """Take in a newer view. Whoever joined is asked by the origin itself."""
        before = {pos: pending.member for pos, pending in self.pending.items()}
        OwnQuery.follow(self, view)
        for pos, pending in self.pending.items():
            if pos not in before or (pos in self.proven and pending.member is not before[pos]):
                self.proven.pop(pos, None)
                self._orphan(pos, self.started)

    # -- repairing ----------------------------------------------------------------------------

    @property
    def next_wave(self) -> float:
        """When something is due: a wave over the orphans, a charge, or a ward gone silent."""
        charge_due = self.delegation.deadline()
        wards_due = [ward.due for ward in self.wards.open()]
        return min([self.wave_at, inf if charge_due is None else charge_due, *wards_due])

    def excuse(self, now: float, lag_s: float) -> None:
        """Wait once more before anybody is blamed, if this node's own loop comes late."""
        pause_s = self.repair_s()
        if lag_s <= pause_s or now < self.next_wave:
            return
        self.delegation.excuse(now, pause_s)
        self.wave_at = max(self.wave_at, now + pause_s)
        for ward in self.wards.values():
            ward.due = max(ward.due, now + pause_s)

    def wave(self, now: float) -> list[Send]:
        """Return what is due: asks to heads that are silent, to new heads, and to orphans."""
        pause_s = self.repair_s()
        sends = self._settle(self.delegation.tick(self.view, now, pause_s), now)
        due = [ward for ward in self.wards.open() if ward.due <= now]
        for ward in due:
            if ward.is_collected and ward.probes < PROBES_MAX:
                ward.probes += 1
                ward.due = now + pause_s
                self.relayed += 1
                # A head in good health answers it with an `Ack`, and does nothing more.
                probe = self.delegation.brief.delegate(ward.share, 1, ward.arc, now)
                sends.append(Send(ward.head, probe))
            else:
                sends += self._lose(ward, now)
        self._sweep(sends, now)
        if now >= self.wave_at:
            sends += self._ask_orphans(now, pause_s)
        return sends

    def _ask_orphans(self, now: float, pause_s: float) -> list[Send]:
        """Ask the orphans whose last ask is overdue, at most `asks_max` in each pause."""
        if now >= self.window_until:
            self.window_until, self.window_left = now + pause_s, self.asks_max
            self.pace()
        pending, wanted = self.pending, self.asks_wanted()
        self.orphans = {p: at for p, at in self.orphans.items() if p in pending}
        due = [p for p, at in self.orphans.items() if at <= now and pending[p].asks < wanted]
        due = [p for p in due if not pending[p].is_refused]
        due.sort(key=lambda pos: pending[pos].asks)
        asked = due[: self.window_left]
        sends = self._repair([pending[pos] for pos in asked], now)
        self.window_left -= len(asked)
        for pos in asked:
            self.orphans[pos] = now + pause_s
        self.wave_at = min([at for at in self.orphans.values() if at > now], default=inf)
        if len(asked) < len(due):
            self.wave_at = min(self.wave_at, self.window_until)
        return sends

    def _silence_is_proof(self, now: float) -> bool:
        if self._is_open():
            return False
        wanted, ready_at = self.asks_wanted(), self.orphans
        return all(
            pending.is_refused or (pending.asks >= wanted and ready_at.get(pos, now) <= now)
            for pos, pending in self.pending.items()
            if pos not in self.proven
        )

    # -- telling ------------------------------------------------------------------------------

    @property
    def duplicates(self) -> int:
        """Answers that were heard before, whichever way they came."""
        return self.tally.duplicates + self.repeats

    @property
    def replies(self) -> int:
        """How many of the messages were replies: of those in cells every other one."""
        return self.tally.replies + self.wards.messages() // 2

    @property
    def messages(self) -> int:
        """Messages the query cost, as far as the origin and the heads of cells can tell."""
        tally = self.tally
        own = tally.replies + tally.unrepaired + tally.repairs
        return own + self.wards.messages() + self.relayed + self.delegation.messages
