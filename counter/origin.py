"""The node as an origin: what its clients ask, what is answered, and the list that both rest on.

    Query                     a round that begins at once, or when it may (`asker`, `rounds`)
    Reply, ShortReply, ...    heard by the query, or by the cell that this node heads (`heads`)
    a reply of another roll   its sender's list is read (`hearsay`), and queries wait for that
    a Listed page             taken in; whoever waited for nothing else ends

The rule: here answers, cells and lists only find their way to each other; what ends a query is
decided in `query`, and whether the list is the cluster's in `hearsay` and `membership`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from counter.asker import Asker
from counter.foreign import Foreigners
from counter.heads import Heads
from counter.hearsay import Hearsay
from counter.ledger import Ledger
from counter.messages import (
    DECREASED,
    Ack,
    Ask,
    Batch,
    Query,
    Reply,
    ReplyMany,
    ShortReply,
    Traced,
    WholeTold,
)
from counter.newcomers import Newcomers
from counter.places import placed
from counter.relay import Relay
from counter.rounds import Round
from counter.tables import Tables
from counter.tracing import reply_in
from tracker.machine import Address, Effect, Endpoint, Foreign, Link
from tracker.members import FIRST_EPOCH, Member
from tracker.membership import Membership
from tracker.messages import Listed

Handler = Callable[[Any, Any, float], list[Effect]]


class Origin:
    """The queries of one node's clients, and of the node itself."""

    def __init__(
        self,
        ledger: Ledger,
        membership: Membership,
        asker: Asker,
        heads: Heads,
        hearsay: Hearsay,
        relay: Relay,
        tables: Tables,
        *,
        is_fixed: bool,
        share_of: Callable[[str], tuple[int, int]],
        followed: Callable[[list[Effect], float], list[Effect]],
        out_of_place: Callable[[Address, Any], list[Effect]],
    ) -> None:
        """Join the parts; `followed` tells all of them of a newer list.

        With `is_fixed` nobody knows of a member that is not in the list.
        """
        self.lag_s = 0.0
        # Whether the list is always the cluster's: in a world without trackers.
        self.is_certain = False
        self.asked: Callable[[str], str] = lambda key: key
        """How others are asked for a key; the owner may set it."""
        self.learn: Callable[[Sequence[Member], float], list[Effect]] = membership.learn
        self.is_unsure: Callable[[], bool] = lambda: False
        """How the lists of others are taken in, and whether that is still going on."""
        self.is_unheld: Callable[[], bool] = lambda: False
        """Whether some of what is held here of others may be more than these tell themselves."""
        self.newcomers: Newcomers
        """Who knows whether some of what is told here may be told by others; the owner sets it."""
        self._ledger = ledger
        self._membership = membership
        self._asker = asker
        self._listener = asker.listener
        self._heads = heads
        self._hearsay = hearsay
        self._foreigners = Foreigners()
        self._relay = relay
        self._tables = tables
        self._is_fixed = is_fixed
        self._share_of = share_of
        self._followed = followed
        self._out_of_place = out_of_place

    def handlers(self) -> dict[type, Handler]:
        """Return who takes which message."""
        return {
            Reply: self._reply,
            ShortReply: self._short_reply,
            ReplyMany: self._reply_many,
            Traced: self._traced,
            Ack: self._ack,
            Batch: self._batch,
            Query: self.query,
            Listed: self._listed,
            WholeTold: self._whole_told,
        }

    def sure(self, handler: Handler) -> Handler:
        """Let asks be heard once nothing is told here that others tell, or know more of."""
        others = self._ledger.counters.others

        def take(sender: Address, ask: Any, now: float) -> list[Effect]:
            newcomers = self.newcomers
            if not others and newcomers.wholes is None:
                return handler(sender, ask, now)
            effects, is_any = newcomers.look(now), newcomers.is_any
            if is_any and not self._knows(ask.roll):
                # Whoever asks may know a start of such a store that was not heard of here.
                return effects + self.catch_up(ask.roll, ask.home, now)
            return effects if newcomers.is_open else effects + handler(sender, ask, now)

        return take

    def _knows(self, roll: int) -> bool:
        """Whether a roll is that of a list that was here."""
        return roll == self._membership.view.roll or self._hearsay.knows(roll)

    def _whole_told(self, sender: Any, message: WholeTold, now: float) -> list[Effect]:
        """Take a member's word on what it tells, and read its list if that is another one."""
        wholes, is_known = self.newcomers.wholes, self._knows(message.roll)
        if wholes is None:
            return []
        read = [] if is_known else self.catch_up(message.roll, sender, now)
        return read + self._followed(wholes.heard(message, is_known=is_known), now)

    # -- clients --------------------------------------------------------------------------------

    def query(self, link: Link, request: Query, now: float) -> list[Effect]:
        """Take a client's request; it begins when nothing is in its way."""
        known = self._may_ask()
        return self._asker.take(link, request, now, view_is_known=known) + self.release(now)

    def begin(self, due: Round, now: float) -> list[Effect]:
        """Begin a round that is due, over the newest list."""
        self._ledger.operations += 1
        if not self._asker.under_way():
            # What was heard by earlier queries is heard again, if anybody still says it.
            self._hearsay.forget()
        if self._membership.view.expected <= 1 and self._membership.tracker is not None:
            self._hearsay.doubt(self._membership.tracker)
        due.asked = self.asked(due.key)
        value, flags = self._share_of(due.asked)
        effects = self._asker.begin(
            due,
            (value, bool(flags & DECREASED)),
            self._membership.view,
            now,
            held=self._relay.held_of(due.asked),
            view_known_until=self.known_until(now),
            view_is_hopeless=self._hearsay.is_hopeless(self._membership),
        )
        if self._tables.own(due.id, due.asked, now):
            effects += self.tick(now)
        return effects + self.look(now)

    def _may_ask(self) -> bool:
        """Whether a list was heard, and whoever may know better of this store knows that list."""
        return self._membership.heard_at is not None and not self._may_count_twice()

    def _may_count_twice(self) -> bool:
        """Whether this node tells as its own what others may tell, and nobody has judged yet.

        A store that was made of an old backup may, and one that has lived before: it may be a copy,
        of which such a store was made as well.
        """
        membership = self._membership
        is_mixed = bool(membership.parent) and not membership.is_apart
        may_be_copy = is_mixed or membership.member.epoch > FIRST_EPOCH
        is_doubted = membership.is_doubted and not membership.is_unheard_of
        announcement = membership.announcement
        is_unasked = announcement.is_strange or announcement.is_unasked
        return is_unasked or (is_doubted and may_be_copy)

    def release(self, now: float) -> list[Effect]:
        """Begin the rounds whose wait is over, or refuse those that wait for nothing."""
        effects: list[Effect] = []
        if not self._asker.is_busy:
            return effects
        heard, membership = self._may_ask(), self._membership
        for due in self._asker.released(now, view_is_known=heard):
            if now >= self._relay.mute_at:
                text = f"{membership.member.name} handed its counts over: ask another node"
                effects += self._asker.refuse(due, "leaving", text, now)
            elif heard or (membership.view.expected and not self._may_count_twice()):
                effects += self.begin(due, now)
            else:
                effects += self._asker.refuse(due, "no-view", self._why_not(), now)
        return effects

    def _why_not(self) -> str:
        """Say why no query begins here."""
        membership = self._membership
        name = membership.member.name
        if not self._may_count_twice():
            return f"{name} has heard no tracker yet: who belongs is not known"
        if membership.displaced:
            return f"{name} may be a copy of a node that counts elsewhere: {membership.displaced}"
        return f"{name} was started a moment ago, and no tracker has said yet that it is no copy"

    # -- answers --------------------------------------------------------------------------------

    def _reply_many(self, sender: Any, reply: Any, now: float) -> list[Effect]:
        return self._reply(sender, reply, now) if self._listener.hears_many(reply) else []

    def _reply(self, sender: Any, reply: Reply, now: float) -> list[Effect]:
        reply = placed(reply, self._membership.view)
        if self.newcomers.is_unasked(reply.store):
            return []
        if reply.query in self._heads.collected:
            return self._heads.reply(reply, sender, now)
        if not self._listener.hear(reply, sender, now) and not self._listener.strange:
            return []
        return self._after_answer(reply.query, now)

    def _short_reply(self, sender: Any, short: ShortReply, now: float) -> list[Effect]:
        reply = self._heads.whole(short) or self._listener.whole(short)
        return [] if reply is None else self._reply(sender, reply, now)

    def _after_answer(self, query: bytes, now: float) -> list[Effect]:
        """Ask those who know more than this node, or end the query if the answer ended it."""
        if self._listener.strange:
            return self.wonder(now)
        if not self._listener.is_own(query):
            return []
        self._mistrust()
        return self._asker.conclude(query, now, view_known_until=self.known_until(now))

    def undelivered(self, to: Endpoint, ask: Ask, now: float) -> list[Effect]:
        """Take back an ask, of whichever query: nobody listens there."""
        view = self._membership.view
        if not self._listener.is_own(ask.query):
            return self._heads.undelivered(ask, to) or self._relay.undelivered(ask, to, view)
        return self._listener.undelivered(ask, to, now) or self._after_answer(ask.query, now)

    def foreign(self, met: Foreign, now: float) -> list[Effect]:
        """Take it that somebody speaks another version of gossip, and take back what was asked."""
        told = self._foreigners.met(met, self._membership.view, self._asker.running)
        back = isinstance(met.message, Ask)
        return [*told, *self.undelivered(met.peer, met.message, now)] if back else told

    def _traced(self, sender: Any, traced: Traced, now: float) -> list[Effect]:
        reply = reply_in(traced)
        if reply is None:
            return self._out_of_place(sender, traced)
        self._listener.trace(traced, reply)
        if traced.is_told:
            return []
        return [*self._heads.traced(traced, reply), *self._reply(sender, reply, now)]

    def _ack(self, sender: Any, ack: Ack, now: float) -> list[Effect]:
        if self._listener.is_own(ack.query):
            return self._listener.acknowledged(ack, sender, now)
        return self._heads.acknowledged(ack, self._membership.view, now)

    def _batch(self, sender: Any, batch: Batch, now: float) -> list[Effect]:
        effects = self._listener.batched(batch, sender, now)
        return effects + self._after_answer(batch.query, now)

    def _mistrust(self) -> None:
        """Let no query end with the word of a store that may hold less than this node does of it.

        As others say of what they hold with their answers, at any time while it is under way.
        """
        if self.is_unheld():
            for query in self._asker.under_way():
                query.is_unheld = True

    # -- what others know -----------------------------------------------------------------------

    def wonder(self, now: float) -> list[Effect]:
        """Learn what those know whose replies came from another view than ours."""
        strange, self._listener.strange = self._listener.strange, []
        if self._is_fixed:
            return []
        for roll, source in strange:
            if not self._hearsay.hear(roll, source):
                for query in self._asker.under_way():
                    query.is_outdone = True
        if not self._asker.is_busy:
            self._hearsay.forget()
        effects = self._hearsay.look(now)
        return self.after_hearsay(effects, now) if strange else effects

    def catch_up(self, roll: int, source: Endpoint, now: float) -> list[Effect]:
        """Read the list of another node that asks by it, and may know more."""
        self._hearsay.hear(roll, source)
        return self._hearsay.look(now)

    def _listed(self, link: Link, page: Listed, now: float) -> list[Effect]:
        if not self._hearsay.owns(link):
            return self._out_of_place(link, page)
        effects, members = self._hearsay.listed(page, now)
        effects += self.learn(members, now)
        return self.after_hearsay(self._followed(effects, now), now)

    def after_hearsay(self, effects: list[Effect], now: float) -> list[Effect]:
        """Let the queries that waited for nothing else end."""
        return effects + self.tick(now)

    def known_until(self, now: float) -> float:
        """Say up to when the list is that of the cluster, as far as anybody knows."""
        if self.is_certain:
            return float("inf")
        if self.is_unsure():
            return float("-inf")
        return self._hearsay.known_until(self._membership, now, self._asker.config.view_fresh_s)

    def look(self, now: float) -> list[Effect]:
        """Look for a tracker if none speaks: without a look no answer may be called complete."""
        if self.known_until(now) >= self._asker.youngest:
            return []
        return self._hearsay.look(now) + self._membership.look(now)

    # -- time -----------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """Repair, tell partial results, stop."""
        self._mistrust()
        return self._asker.tick(
            now,
            self.lag_s,
            view_known_until=self.known_until(now),
            view_is_hopeless=self._hearsay.is_hopeless(self._membership),
        )
