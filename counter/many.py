"""A query for many keys at its origin: one gossip, and one sum with its bounds for each key.

Members send their largest values and the size of the largest they left out (`rest`). So a key
that a member did not list has at most that much there: the threshold of Fagin, Lotem and Naor,
"Optimal aggregation algorithms for middleware" (PODS 2001), with one round of sorted access.

    value   the sum of what came
    high    value, and the rest of each member that left keys out and did not list this one
    low     value, less the same for members on which a key was ever decreased

What is parked somewhere may still be added to a key, or taken from it: members say so key by key,
and of those keys that they did not list how much it is at most, which bounds them like a rest.

The rule: the truth lies from low to high whatever was left out or dropped here, and where
members are silent no upper bound is told. Who is asked, repaired and counted is the affair of
`OwnQuery`, each member once; only the way there differs: there are no cells, the origin hears
every member itself at any size of the cluster.
"""

from collections.abc import Collection, Iterable
from typing import Final

from counter.answerers import name_of
from counter.doubtful import Doubted
from counter.messages import (
    DECREASED,
    GOSSIP,
    KEYS_KEPT_MAX,
    KEYS_PER_PAGE,
    LEAF,
    WORKING,
    Ask,
    AskMany,
    DoubtRow,
    Keyed,
    KeyedRow,
    KeyRow,
    Reply,
    ReplyMany,
    UncertainMany,
    keys_in,
    prefix_in,
)
from counter.moving import may_speak
from counter.parts import told_in
from counter.pending import NO_ANSWER
from counter.places import mistaken
from counter.query import AGAIN, COMPLETE, DEADLINE, SATISFIED, UNLISTED_MAX, Heard, Hops, OwnQuery
from counter.tables import Table, by_size
from tracker.classes import dataclass, field
from tracker.machine import Endpoint
from tracker.members import Member, View, position

LOOKING: Final = "is still looking for its keys"


@dataclass(slots=True)
class Sum:
    """What is known of one key.

    `value` is the sum of what came, `minus` and `plus` what may be taken from it and added. The
    other fields are parts of what the bounds of all keys count as unknown, and which is known of
    this one: the rests of members that listed it, and what was dropped before it was first heard
    of.
    """

    value: int = 0
    minus: int = 0
    plus: int = 0
    rest_above: int = 0
    rest_below: int = 0
    dropped_above: int = 0
    dropped_below: int = 0


@dataclass(slots=True)
class Sums:
    """The sum of every key, and how far each may be from the truth."""

    by_key: dict[str, Sum] = field(default_factory=dict)
    rest_above: int = 0
    rest_below: int = 0
    dropped_above: int = 0
    dropped_below: int = 0
    left_out: int = 0

    def add(self, rows: tuple[KeyRow, ...], left_out: int, rest: int, *, decreased: bool) -> None:
        """Take in the table of one member."""
        below = rest if decreased else 0
        self.rest_above += rest
        self.rest_below += below
        self.left_out += left_out
        for key, value in rows:
            found = self._sum_of(key)
            found.value += value
            found.rest_above += rest
            found.rest_below += below
        if len(self.by_key) >= 2 * KEYS_KEPT_MAX:
            self.largest()

    def doubt(self, told: Doubted, rows: Iterable[DoubtRow]) -> None:
        """Take in what one member holds in doubt, of which these rows were asked for."""
        self.rest_above += told.rest_plus
        self.rest_below += told.rest_minus
        self.left_out += told.left_out
        for key, minus, plus in rows:
            found = self._sum_of(key)
            found.minus += minus
            found.plus += plus
            found.rest_above += told.rest_plus
            found.rest_below += told.rest_minus
        if len(self.by_key) >= 2 * KEYS_KEPT_MAX:
            self.largest()

    def _sum_of(self, key: str) -> Sum:
        found = self.by_key.get(key)
        if found is None:
            above, below = self.dropped_above, self.dropped_below
            found = self.by_key[key] = Sum(dropped_above=above, dropped_below=below)
        return found

    def largest(self) -> list[KeyRow]:
        """Return the keys by size, KEYS_KEPT_MAX of them, and drop the others.

        A key that comes back lacks no more than the largest that was dropped with it.
        """
        rows = [(key, found.value) for key, found in self.by_key.items()]
        rows.sort(key=by_size)
        kept, dropped = rows[:KEYS_KEPT_MAX], rows[KEYS_KEPT_MAX:]
        if dropped:
            self.left_out += len(dropped)
            known = self.by_key
            self.dropped_above += max(0, max([value + known[key].plus for key, value in dropped]))
            self.dropped_below -= min(0, min([value - known[key].minus for key, value in dropped]))
            self.by_key = {key: known[key] for key, _ in kept}
        return kept

    @property
    def unseen(self) -> int:
        """The most that a key can have, of either sign, which is not among these."""
        return max(self.rest_above + self.dropped_above, self.rest_below + self.dropped_below)

    def bounds(self, key: str) -> tuple[int, int]:
        """Return between which numbers the truth about a key lies, members silent aside.

        What was dropped counts from the first: a key that was kept ever since lacks nothing.
        """
        found = self.by_key[key]
        above = self.rest_above - found.rest_above + found.dropped_above
        below = self.rest_below - found.rest_below + found.dropped_below
        return found.value - found.minus - below, found.value + found.plus + above


@dataclass(slots=True, kw_only=True)
class ManyQuery(OwnQuery):
    """A query for the keys that a question stands for."""

    sums: Sums = field(default_factory=Sums)
    # The own share takes time where there are many keys: until it is there, the own member is
    # pending like any other, but nobody is asked for it.
    own: Heard | None = None
    # Members that said they are looking: their answers say nothing of the network's time.
    looking: dict[int, None] = field(default_factory=dict)
    # Stores counted as part of what another member answered, and whether all are asked anew.
    covered: dict[bytes, None] = field(default_factory=dict)
    # Those of which a part is in an answer: the whole may be told by somebody else.
    partly: dict[bytes, None] = field(default_factory=dict)
    # Those of which others hold a part that is in no answer, as they are to answer themselves.
    aside: dict[bytes, None] = field(default_factory=dict)
    is_torn: bool = False
    # What the replies weigh without their headers: hardly two of them are alike.
    reply_bytes: int = 0
    # What the reply that is being heard is wrapped in, which says what is in doubt.
    wrapped_in: Doubted | None = None
    # What members hold in doubt, by position, until their answers are counted.
    told: dict[int, Doubted] = field(default_factory=dict)

    # -- asking -------------------------------------------------------------------------------

    def _set_out(self, own: Heard) -> None:
        OwnQuery._set_out(self, own)
        self.own = own
        del self.answers[own.store]
        self.value = 0
        for key in keys_in(self.request.key) or ():
            self.sums.by_key[key] = Sum()

    def _ask(
        self,
        now: float,
        age: int,
        low: int,
        high: int,
        skip: tuple[int, ...],
        late: tuple[int, ...],
        flags: int,
    ) -> Ask:
        ask = OwnQuery._ask(self, now, age, low, high, skip, late, flags)
        ask.roll = 0
        return AskMany(*[getattr(ask, name) for name in Ask.__match_args__])

    def _ask_again(self, now: float, asks: int) -> Ask:
        return self._ask(now, 1, 1, 1, (), (), LEAF)

    # -- hearing ------------------------------------------------------------------------------

    def hear(self, reply: Reply | ReplyMany, sender: Endpoint, now: float) -> bool:
        """Take one answer; returns whether it was a first one.

        A member that is looking lives: its silence so far proves nothing.
        """
        if not isinstance(reply, ReplyMany):
            self.tally.strangers += 1
            return False
        self._weigh(reply)
        if reply.flags & WORKING:
            self.tally.replies += 1
            pending = self.pending.get(reply.position)
            if pending is not None and name_of(self, reply, sender) is not None:
                pending.asks = 0
                self.looking[reply.position] = None
            return False
        if reply.store not in self.answers:
            # Whoever is not believed takes nobody off the list by saying that he holds its counts.
            is_told = name_of(self, reply, sender) is None
            if not is_told and not self._cover(reply.store, reply.held()):
                self.tally.replies += 1
                return False
        hops = self.hops
        if reply.position in self.looking:
            self.hops = Hops(hops.mean_s, hops.deviation_s)
        is_first = OwnQuery.hear(self, reply, sender, now)
        self.hops = hops
        if is_first:
            rows = tuple([row for row in reply.rows if self._is_asked_for(row[0])])
            decreased = bool(reply.flags & DECREASED)
            self.sums.add(rows, reply.left_out, reply.rest, decreased=decreased)
            self._count_doubts(reply.position)
            self._leave(reply.aside)
        return is_first

    def _weigh(self, reply: ReplyMany) -> None:
        body = GOSSIP.encode(reply)
        if self.wrapped_in is not None:
            body = GOSSIP.encode(UncertainMany(body, *self.wrapped_in))
        self.reply_bytes += len(body)

    def _ask_anew(self, places: list[int], now: float) -> None:
        self.is_torn = True

    def offer(self, told: Doubted | None, now: float) -> None:
        """Take what the next reply says is in doubt; whole, it is a part of what that weighs."""
        OwnQuery.offer(self, told, now)
        self.wrapped_in = told

    def doubt(self, pos: int, told: Doubted) -> None:
        """Keep what a member holds in doubt while its answer is being counted."""
        if len(self.told) < len(self.view) + UNLISTED_MAX:
            self.told[pos] = told

    def _count_doubts(self, pos: int) -> None:
        told = self.told.pop(pos, None)
        if told is not None:
            self.uncertain[pos] = told.amounts
            self.sums.doubt(told, [row for row in told.rows if self._is_asked_for(row[0])])

    def _cover(self, store: bytes, held: list[bytes]) -> bool:
        """Note whose shares are in an answer; False if one was counted already, and with it it.

        What is found of many keys is one sum of all shares in one place, and cannot be taken
        apart. If the shares overlap they moved meanwhile, and everybody is asked again.
        """
        if store in self.covered:
            self.tally.duplicates += 1
            # Whoever was waited for is believed before the one who had spoken for it.
            self.is_torn |= may_speak(self, store)
            return False
        whole, parts = told_in(held)
        told = (self.answers, self.covered, self.partly)
        if store in self.partly or any(other in stores for other in held for stores in told):
            self.is_torn = True
            return False
        self.partly.update(dict.fromkeys(parts))
        self._look_at_parts()
        for other in whole:
            self.covered[other] = None
        self._let_go(is_silent=False)
        return True

    def _let_go(self, *, is_silent: bool) -> None:
        """Wait no longer for those who are in another's answer, and will not speak any more."""
        for store in self.covered:
            if not is_silent and may_speak(self, store):
                continue
            self.moved.pop(store, None)
            owner = self.view.owner_of(store)
            if owner is not None:
                for waiting in (self.pending, self.cut):
                    waiting.pop(position(owner.name), None)

    @property
    def held_in_part(self) -> Collection[bytes]:
        """The stores of which those who answered hold parts."""
        return self.aside

    @property
    def divided(self) -> Collection[bytes]:
        """The stores of which a part was counted, and others of which are not all in that one."""
        return self.partly.keys() & self.aside.keys()

    def _leave(self, aside: Iterable[bytes]) -> None:
        """Take it that parts of these stores are held by one who did not count them."""
        self.aside.update(dict.fromkeys(aside))
        self._look_at_parts()

    def _look_at_parts(self) -> None:
        """Ask everybody anew if one is expected to answer of whom a part was counted.

        Or if one is given up of whom a part was not: its holder had not heard of that.
        """
        for owner in [self.view.owner_of(store) for store in self.partly]:
            self.is_torn |= owner is not None and (owner.expected or owner.is_handed_over)
        left = [store for store in self.aside if store not in self.partly]
        for owner in [self.view.owner_of(store) for store in left]:
            self.is_torn |= _is_given_up(owner)

    def follow(self, view: View) -> None:
        """Take in a newer view; whoever is in another's answer is not waited for."""
        told = {**self.answers, **self.covered}
        self.is_torn |= bool(mistaken(told, self.view, view, self.own_name))
        waiting = [*[pending.member for pending in self.pending.values()], *self.cut.values()]
        OwnQuery.follow(self, view)
        for owner in [view.owner_of(member.store[:8]) for member in waiting]:
            # While it was expected nobody told a part of it, as is done from now on.
            self.is_torn |= _is_given_up(owner)
        self._look_at_parts()
        self._let_go(is_silent=False)

    def _is_asked_for(self, key: str) -> bool:
        if keys_in(self.request.key) is not None:
            return key in self.sums.by_key
        return key.startswith(prefix_in(self.request.key))

    def listed(self, table: Table, now: float) -> None:
        """Take what the own node found."""
        own, self.own = self.own, None
        if own is None or not self._cover(own.store, list(table.holds)):
            return
        own.value, own.has_decreased = table.total, table.has_decreased
        own.at_s = now - self.started
        self._leave(table.aside)
        self.answers[own.store] = own
        self.value += own.value
        if own.value:
            self.changed_at = now
        self.sums.add(table.rows, table.left_out, table.rest, decreased=table.has_decreased)
        self._count_doubts(self.own_position)

    # -- stopping -----------------------------------------------------------------------------

    def verdict(
        self, now: float, *, view_is_current: bool, view_is_hopeless: bool = False
    ) -> str | None:
        """Return why the query ends now; without the own share only what the asker wished."""
        if self.is_torn:
            return AGAIN
        if self.covered:
            self._let_go(is_silent=self._silence_is_proof(now))
        why = OwnQuery.verdict(
            self, now, view_is_current=view_is_current, view_is_hopeless=view_is_hopeless
        )
        if self.own is None or why is None or why == SATISFIED:
            return why
        return DEADLINE if now >= self.deadline else None

    # -- telling ------------------------------------------------------------------------------

    @property
    def members(self) -> int:
        """How many are known to be asked for, this node too while it looks for its keys."""
        waiting = len(self.pending) + len(self.cut) + (self.own is not None)
        return len(self.answers) + waiting

    def unheard(self) -> list[Member]:
        """Return who has not answered, this node too while it looks for its keys."""
        return [*OwnQuery.unheard(self), *self._own_member()]

    def silent(self) -> list[tuple[Member, str]]:
        """Return who has not answered, and why that may be; who is still looking is not lost."""
        rows = [
            (member, LOOKING if why == NO_ANSWER and self._is_looking(member) else why)
            for member, why in OwnQuery.silent(self)
        ]
        rows += [(member, LOOKING) for member in self._own_member()]
        return sorted(rows, key=lambda row: row[0].name)

    def _is_looking(self, member: Member) -> bool:
        return position(member.name) in self.looking

    def _own_member(self) -> list[Member]:
        """Return this node while it looks for its keys; nobody once they are counted."""
        member = None if self.own is None else self.view.owner_of(self.own.store)
        return [] if member is None else [member]

    def pages(self, request: int, reason: str) -> list[Keyed]:
        """Return what was found for each key, the largest first; one page at least."""
        rows = self.sums.largest()
        is_complete = reason == COMPLETE
        has_low = is_complete or not any(h.has_decreased for h in self.answers.values())
        told: list[KeyedRow] = []
        for key, value in rows:
            low, high = self.sums.bounds(key)
            told.append((key, value, low if has_low else None, high if is_complete else None))
        facts = (len(told), self.sums.left_out, self.sums.unseen)
        starts = range(0, max(1, len(told)), KEYS_PER_PAGE)
        return [Keyed(request, tuple(told[at : at + KEYS_PER_PAGE]), *facts) for at in starts]


def _is_given_up(owner: Member | None) -> bool:
    """Whether a store is gone, and nobody has all of it: parts of it count from now on."""
    return owner is not None and not owner.expected and not owner.is_handed_over
