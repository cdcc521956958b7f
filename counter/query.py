"""One query at its origin: what was heard, who is pending, when to repair, when to stop::

    started -> first wave: the whole ring is split over `chatter` peers
            -> answers arrive, each origin counted once
            -> nobody pending:            complete (or aged, if aging cut arcs off)
            -> silence past the expected time: repair waves, a plain ask to each pending member
            -> counts moved meanwhile, or
               too many members came:     asked anew from the start
            -> every pending member asked often enough for silence to be proof: converged
            -> the asker's own condition:  satisfied; its deadline: deadline; its wish: cancelled

The rule: `complete` is said only when every member expected by the view has answered and the
view is current. How many asks prove silence is told by `counter.proof`. Repair by the one who
wants the answer, end to end: Saltzer, Reed and Clark 1984.
"""

from collections.abc import Collection, Iterable

from counter.answerers import UNLISTED_MAX as UNLISTED_MAX
from counter.answerers import name_of, note, withdraw
from counter.asking import Asking
from counter.config import LATE_S
from counter.doubtful import Doubted
from counter.heard import Heard as Heard
from counter.heard import Held, HeldRow, heard_in, who_is_silent
from counter.hops import Hops as Hops
from counter.messages import LEAF, RING, Amounts, Ask, Reply, ReplyMany
from counter.moving import believe, follow, hold
from counter.partial import divided, has_begun_anew, is_counted, is_unsure, withdraw_part
from counter.pending import Pending as Pending
from counter.pending import Tally as Tally
from counter.pending import paced
from counter.proof import Spread, asks_of_cells, asks_wanted, pauses
from counter.selection import asked_anew, head_of, split
from counter.until import is_satisfied, is_soon_satisfied, stable_at
from counter.witnesses import Witnesses
from tracker.classes import dataclass, field
from tracker.machine import Endpoint, Send
from tracker.members import ALIVE, Member, View

COMPLETE, SATISFIED, CONVERGED = "complete", "satisfied", "converged"
AGED, DEADLINE, CANCELLED = "aged", "deadline", "cancelled"
AGAIN = "again"
"""No end: all are asked anew. Counts went from a member to another while both were asked, or
those who answered had more lists of members than are read."""


@dataclass(slots=True)
class OwnQuery(Asking):
    """A query this node asks for somebody."""

    pending: dict[int, Pending] = field(default_factory=dict)
    answers: dict[bytes, Heard] = field(default_factory=dict)
    cut: dict[int, Member] = field(default_factory=dict)
    gone: frozenset[int] | None = None
    elsewhere: dict[Endpoint, bytes] = field(default_factory=dict)
    held: dict[bytes, Heard] = field(default_factory=dict)
    parts: dict[bytes, Heard] = field(default_factory=dict)
    stems: dict[bytes, dict[bytes, bytes]] = field(default_factory=dict)
    tellers: dict[bytes, list[str]] = field(default_factory=dict)
    vouched: dict[bytes, Heard] = field(default_factory=dict)
    moved: dict[bytes, Member] = field(default_factory=dict)
    firsts: list[int] = field(default_factory=lambda: [0])
    spread: Spread = field(default_factory=Spread)
    waves: int = 0
    wave_at: float = 0.0
    waved_at: float = float("-inf")
    pause: float = 1.0
    """From the last wave to the next one, as a part of the usual time."""
    is_plan_due: bool = False
    changed_at: float = 0.0
    heard_at: float = 0.0
    asks_max: int = 0
    value: int = 0
    own_name: str = ""
    hops_seen: int = 0
    tally: Tally = field(default_factory=Tally)
    wave_replies: tuple[int, int] = (0, 0)
    uncertain: dict[int, Amounts] = field(default_factory=dict)
    repaired: dict[Endpoint, Pending] = field(default_factory=dict)
    witnesses: Witnesses = field(default_factory=Witnesses)
    offered: Doubted | None = None
    """What the reply that is being heard says is in doubt."""
    is_outdone: bool = False
    """Whether more was heard of that others know than is learned: who that is is heard anew."""
    is_unheld: bool = False
    """Whether parts were told whose store may hold less than they do, if it has answered."""

    # -- asking -------------------------------------------------------------------------------

    def start(self, own: Heard) -> list[Send]:
        """Count the own share, split the ring and return the first asks."""
        self._set_out(own)
        return self._spread()

    def _set_out(self, own: Heard) -> None:
        """Settle how the query travels, and who is waited for."""
        self._plan_travel()
        self.asks_max = self.config.repair_asks_max
        self.heard_at = self.changed_at = self.started
        self.answers[own.store] = own
        self.value, self.own_name = own.value, own.name
        self.pending = {pos: Pending(member) for pos, member in self._expected().items()}
        self.pending.pop(self.own_position, None)
        self._plan_first_repair()

    def _expected(self) -> dict[int, Member]:
        """Return who is to be counted, by position."""
        return dict(zip(self.view.positions, self.view.ring, strict=True))

    def _spread(self) -> list[Send]:
        """Split the ring and return the first asks."""
        # No age is below 1, so nothing is cut off yet.
        arc = (0, RING, (self.own_position,), ())
        parts, _ = split(self.view, *arc, self.chatter, self.visits, self.age_max, self.rng)
        return self._asks(parts)

    # -- hearing ------------------------------------------------------------------------------

    def hear(self, reply: Reply | ReplyMany, sender: Endpoint, now: float) -> bool:
        """Take one answer; returns whether it was a first one.

        An answer in another's name is not counted: its store must be the member's, and so must
        the address it came from, unless the view's knowledge of the member is the older one.
        Whoever the view does not know yet was asked by an owner that does: only who was asked
        knows the query's id, so it is counted, once.
        """
        tally = self.tally
        tally.replies += 1
        if self.elsewhere and (places := withdraw(self, reply, sender)) is not None:
            self._ask_anew(places, now)
        if is_counted(self, reply.store):
            tally.duplicates += not self.witnesses.is_sign(reply.store)
            return False
        pending = None if reply.store in self.moved else self.pending.get(reply.position)
        name = name_of(self, reply, sender)
        if name is None:
            tally.strangers += 1
            return False
        if pending is None or sender != pending.member.endpoint:
            note(self, name, reply, sender)
        if self.offered is not None:
            self.doubt(reply.position, self.offered)
        withdraw_part(self, reply.store)
        self.count(heard_in(reply, name, now - self.started), reply.position, pending, now)
        if reply.cut:
            self._cut_arc(reply.cut)
        return True

    def _ask_anew(self, places: list[int], now: float) -> None:
        """See to those whose answers were withdrawn: here they are asked by the next wave."""

    def count(self, heard: Heard, place: int, pending: Pending | None, now: float) -> None:
        """Count the first answer of a member (heard.h does it in C); `pending` if waited for."""
        self.answers[heard.store] = heard
        self.value += heard.value
        self.heard_at = now
        age = heard.hops
        if age > self.hops_seen:
            self.hops_seen = age
        if heard.value:
            self.changed_at = now
        asks = pending.asks if pending is not None else 0
        spread = self.spread
        if asks:
            # Sooner than an answer to the last ask can be here, it is one to the ask before.
            answered = asks - (now < self.waved_at + self.hops.mean_s)
            self.firsts[max(1, answered)] += 1
            spread.found += 1
            self.certain.found(place, answered)
        else:
            self.tally.unrepaired += 1
            spread.answers += 1
            spread.ages += -(-age // self.visits)
            if self.visits == 1 or age == 1:
                # The later rounds of several visits leave at once, though their age is higher.
                self.hops.measure(heard.at_s / (age + 1))
        self.is_plan_due = self.waves == 0
        if pending is not None:
            del self.pending[place]
        elif self.moved.pop(heard.store, None) is None:
            self.cut.pop(place, None)

    def hold(self, held: Held, age: int, now: float, teller: str = "") -> list[HeldRow]:
        """Count what somebody who answered holds of others; returns what was not counted before."""
        return hold(self, held, age, now, teller)

    @property
    def held_in_part(self) -> Collection[bytes]:
        """The stores of which those who answered hold parts."""
        return self.parts

    @property
    def divided(self) -> Collection[bytes]:
        """The stores of which parts were told, and the one that counts may lack some of another."""
        return divided(self)

    def offer(self, told: Doubted | None, now: float) -> None:
        """Take what the next reply says is in doubt, before it is heard."""
        self.offered = told and told.heard(now - self.started)

    def doubt(self, pos: int, told: Doubted) -> None:
        """Take in what the member at a position holds in doubt, whose answer is counted."""
        if len(self.uncertain) < len(self.view) + UNLISTED_MAX:
            self.uncertain[pos] = told.amounts

    @property
    def is_final(self) -> bool:
        """Whether what was counted can no more be withdrawn."""
        return False

    def _cut_arc(self, cut: tuple[int, ...]) -> None:
        low, last, asked = cut[0], cut[1], cut[2:]
        self._cut_off([p for p in self.pending if low <= p <= last and p not in asked])

    def _cut_off(self, places: Iterable[int]) -> None:
        """Wait no longer for those whom a limit of the asker left out; without one none are."""
        if not self.is_limited:
            return
        for pos in places:
            pending = self.pending.pop(pos, None)
            if pending is not None:
                self.cut[pos] = pending.member

    def follow(self, view: View) -> None:
        """Take in a newer view: leavers are no longer pending, joiners are.

        A leaver may have handed its counts to somebody who had answered by then. They are waited
        for, from whoever has them: the query is not complete without.
        """
        before, self.view = self.view, view
        self.gone = None
        self._look_at_lives()
        follow(self, self._expected(), before)

    def _look_at_lives(self) -> None:
        """Have all asked anew where a store began another life since, of which parts are held.

        Whoever holds them may have answered by the list by which it was asked, as late as it may.
        Or it has answered, and whoever holds them could not learn that it lacks none of them.
        """
        held = self.held_in_part
        if held and self.view is not self.first_view:
            self.is_outdone |= has_begun_anew(held, self.first_view, self.view)
        if held and self.is_unheld:
            self.is_outdone |= any(store in self.answers for store in held)

    def undelivered(self, ask: Ask, to: Endpoint) -> list[Send]:
        """Take back an ask: its member is not there, and its arc goes to another head.

        Silence need not prove what the system has said. An answer is still taken if one comes.
        """
        dead = head_of(ask, to, self.view)
        if ask.flags & LEAF:
            pending = self.repaired.get(to)
        else:
            self.tally.undelivered += 1
            pending = self.pending.get(dead) if dead is not None else None
        if pending is not None and pending.member.endpoint == to:
            pending.is_refused = True
        again = asked_anew(ask, dead, self.view, self.rng)
        self.children += [to for to, _ in again]
        return [Send(to, other) for to, other in again]

    # -- repairing ----------------------------------------------------------------------------

    def repair_s(self) -> float:
        """Return the time between two repair waves: three hops, as measured."""
        return self.hops.patience_s(self.config.repair_floor_s)

    @property
    def next_wave(self) -> float:
        """When the next wave is due. Until the first one, each answer puts it off."""
        if self.is_plan_due:
            self._plan_first_repair()
        return self.wave_at

    def _plan_first_repair(self) -> None:
        """Aim at the time the deepest answer is due, or a settle time after the last one."""
        self.is_plan_due = False
        expected_s, settle_s = self.hops.first_waits_s(
            self.depth, self.visits, self.config.settle_floor_s, is_heard=len(self.answers) > 1
        )
        self.wave_at = settle_s + max(self.started + expected_s, self.heard_at)

    def asks_wanted(self) -> int:
        """Return K: how many asks make a member's silence a proof."""
        config, members = self.config, self.view.expected
        if members > config.cell_members_max:
            told = self.evidence()
            return asks_of_cells(config, members, *told, self.spread, self.certain)
        return asks_wanted(config, self.firsts, self.spread, self.certain)

    def pace(self) -> None:
        """Halve the waves if the last one brought too much that was heard before.

        After less than a pause that was to be expected.
        """
        if self.pause >= 1.0:
            self.asks_max = paced(self.tally, self.wave_replies, self.asks_max)
        self.wave_replies = (self.tally.replies, self.tally.duplicates)

    def evidence(self) -> tuple[int, int]:
        """Return how many members a second ask or a later one found, and any but the last."""
        return sum(self.firsts[2:]), sum(self.firsts[1 : max(1, self.waves)])

    def excuse(self, now: float, lag_s: float) -> None:
        """Wait once more before anybody is blamed, if this node's own loop comes late by a wave.

        A loop that lags has not read what arrived meanwhile (Lifeguard, Dadgar et al. 2017).
        """
        pause = self.repair_s()
        if lag_s > pause and now >= self.next_wave:
            self.wave_at = now + pause

    def wave(self, now: float) -> list[Send]:
        """Return the repair asks due now: each pending member whose last ask is overdue."""
        if now < self.next_wave:
            return []
        wanted, waiting = self.asks_wanted(), [p for p in self.pending.values() if not p.is_refused]
        if self._is_deaf() and min([p.asks for p in waiting], default=0) >= wanted:
            self.witnesses.deaf_waves += 1
            for pending in waiting:
                pending.asks -= 1
        if not self.waves:
            self.certain.settle(self.pending, self.view, self.chatter)
        self.pace()
        due = [p for p in waiting if p.asks < wanted]
        due.sort(key=lambda p: (p.asks, p.member.status != ALIVE))
        asks = self._repair(due[: self.asks_max], now)
        self.waved_at = now
        left = wanted - min([p.asks for p in waiting], default=wanted)
        self.pause = self._pause(wanted, left)
        self.wave_at = now + self.repair_s() * self.pause
        if asks and left <= 0:
            for other in self.witnesses.chosen(self.answers, self.view, self.own_name, wanted):
                self.tally.repairs += 1
                asks.append(Send(other.endpoint, self._ask_again(now, 1)))
        return asks

    def _pause(self, wanted: int, left: int) -> float:
        """Return how long after a wave the next one leaves, if so many more asks are wanted."""
        members = self.view.expected
        if members > self.config.cell_members_max:
            return 1.0
        told = self.firsts, self.spread, self.certain
        return pauses(wanted, wanted - left, members, *told)

    def _is_deaf(self) -> bool:
        return self.witnesses.is_deaf(self.tally.replies - self.wave_replies[0])

    def _repair(self, due: list[Pending], now: float) -> list[Send]:
        """Ask each of these once more, by itself."""
        self.waves += bool(due)
        asks = []
        for pending in due:
            pending.asks += 1
            while len(self.firsts) <= pending.asks:
                self.firsts.append(0)
            ask = self._ask_again(now, pending.asks)
            self.repaired[pending.member.endpoint] = pending
            asks.append(Send(pending.member.endpoint, ask))
        self.tally.repairs += len(asks)
        return asks

    # -- stopping -----------------------------------------------------------------------------

    def verdict(
        self, now: float, *, view_is_current: bool, view_is_hopeless: bool = False
    ) -> str | None:
        """Return why the query ends now, None while it goes on.

        With a view that is not current the answer of all who are known is not complete; it is
        waited for a tracker's word, unless no tracker can be reached (`view_is_hopeless`).
        What the asker called enough counts for more than what is lacking still.
        """
        if self.vouched:
            # What a cell tells is final: whether to believe a holder is left to the origin.
            believe(self, now, is_silent=not self.is_final and self._silence_is_proof(now))
        is_late = now >= self.deadline + LATE_S
        self._look_at_lives()
        view_is_current &= not is_unsure(self.answers, self.held_in_part, self.view)
        is_over = not self.pending and not is_late and (view_is_current or view_is_hopeless)
        if is_over and (self.moved or (self.is_outdone and view_is_current)):
            return AGAIN
        is_divided = bool(self.held_in_part and self.divided)
        if is_over and view_is_current and not (self.cut or is_divided):
            return COMPLETE
        if is_satisfied(self, now):
            return SATISFIED
        is_known = is_over or (now < self.deadline and self._silence_is_proof(now))
        if is_known and not is_soon_satisfied(self):
            return AGED if self.cut else CONVERGED
        return DEADLINE if now >= self.deadline else None

    def _silence_is_proof(self, now: float) -> bool:
        if self.pending and all(p.is_refused for p in self.pending.values()):
            return True
        # When the next wave is due, the asks of the last one are overdue.
        if not self.pending or self.waves < self.config.waves_min or now < self.next_wave:
            return False
        wanted = self.asks_wanted()
        is_asked = all(p.is_refused or p.asks >= wanted for p in self.pending.values())
        return is_asked and not self._is_deaf()

    def next_deadline(self) -> float:
        """Say when `wave` or `verdict` is wanted next."""
        due = min(self.deadline, self.next_wave)
        return min(due, stable_at(self))

    # -- telling ------------------------------------------------------------------------------

    @property
    def answered(self) -> int:
        """How many have answered."""
        return len(self.answers)

    @property
    def members(self) -> int:
        """How many are known to be asked for: coverage is judged against these."""
        return len(self.answers) + len(self.pending) + len(self.cut) + len(self.moved)

    @property
    def messages(self) -> int:
        """Messages the query cost, as far as its origin can tell."""
        return self.tally.messages

    @property
    def duplicates(self) -> int:
        """Answers that were heard before."""
        return self.tally.duplicates

    @property
    def replies(self) -> int:
        """How many of the messages were replies, the others being asks, or as long as one."""
        return self.tally.replies

    def unheard(self) -> list[Member]:
        """Return who has not answered."""
        waiting = [pending.member for pending in self.pending.values()]
        return [*waiting, *self.cut.values(), *self.moved.values()]

    def silent(self) -> list[tuple[Member, str]]:
        """Return who has not answered, and why that may be, by name."""
        return who_is_silent(self.pending.values(), self.cut.values(), self.moved.values())

    def heard(self) -> list[Heard]:
        """Return the answers, the largest share first; what others hold is named by its owner."""
        rows = [*self.answers.values(), *self.held.values()]
        return sorted(rows, key=lambda h: (-h.value, h.name))
