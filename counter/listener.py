"""What members say to the queries of this node: every word finds the one that it is meant for.

    Reply, ReplyMany, Traced      the answer of a member, heard by its query
    Ack, Batch                    heads of a wide query: that they answer for an arc, and what came
    an ask that came back         nobody listens where it was sent
    what this node itself holds   listed key by key, when it has looked through many

The rule: what answers no query that is under way here changes nothing and is counted as a
stranger's. Whether a query ends by what it heard is decided by its owner (`asker`).
"""

from counter.lastknown import LastValue, LastValues
from counter.many import ManyQuery
from counter.messages import (
    DECREASED,
    UNHELD,
    UNTIL_ALL,
    Ack,
    Ask,
    Back,
    Batch,
    Reply,
    ReplyMany,
    ShortReply,
    Traced,
)
from counter.partial import tells_parts
from counter.rounds import Round
from counter.tables import Table
from counter.wide import WideQuery
from tracker.machine import Effect, Endpoint, Send


class Listener:
    """The ear of one node's own queries. `running` are those under way, by id."""

    def __init__(self, running: dict[bytes, Round], values_max: int) -> None:
        """Keep the last value of `values_max` members and keys, whoever asked for it."""
        self.last_values = LastValues(values_max)
        self.strangers = 0
        # Rolls of other views than the query's, and whose: for the owner to take.
        self.strange: list[tuple[int, Endpoint]] = []
        self.running = running

    def is_own(self, query: bytes) -> bool:
        """Whether this node asked the query."""
        return query in self.running

    def hear(self, reply: Reply, sender: Endpoint, now: float) -> bool:
        """Take one answer to a query of this node; returns whether it may have ended it."""
        asked = self.running.get(reply.query)
        if asked is None:
            self.strangers += 1
            return False
        query = asked.query
        if query.hear(reply, sender, now):
            value = reply.value
            query.is_unheld |= bool(reply.flags & UNHELD)
            if isinstance(reply, Reply) and reply.others:
                query.hold(reply.others, reply.age, now, query.answers[reply.store].name)
                value += sum([row[2] for row in reply.others])
            if sender not in query.elsewhere:
                last = LastValue(value, now, bool(reply.flags & DECREASED))
                self.last_values.note(reply.store, query.request.key, last)
            if reply.roll != query.view.roll and reply.roll:
                self.strange.append((reply.roll, sender))
            if reply.roll != query.first_view.roll and tells_parts(reply):
                # By its list the store of which it holds a part may be another start of it.
                query.is_outdone = True
        # With somebody pending only time can end it, and time is the tick's business.
        return not query.pending or query.request.until != UNTIL_ALL

    def whole(self, short: ShortReply) -> Reply | None:
        """Return the reply that a short one stands for; None if nobody has asked for it here."""
        asked = self.running.get(short.query)
        reply = None if asked is None else short.whole(asked.query.first_view)
        self.strangers += reply is None
        return reply

    def hears_many(self, reply: ReplyMany) -> bool:
        """Whether this is an answer to a query of this node for many keys; others are dropped."""
        asked = self.running.get(reply.query)
        is_wanted = asked is not None and isinstance(asked.query, ManyQuery)
        self.strangers += not is_wanted
        return is_wanted

    def listed(self, query: bytes, table: Table, now: float) -> None:
        """Take what this node itself holds for a query of its own; the next tick may end it."""
        asked = self.running.get(query)
        if asked is not None and isinstance(asked.query, ManyQuery):
            asked.query.listed(table, now)

    def undelivered(self, ask: Ask, to: Endpoint, now: float) -> list[Effect]:
        """Take back an ask of a query of this node: nobody listens there."""
        asked = self.running[ask.query]
        again = asked.query.undelivered(ask, to)
        if asked.trace is not None:
            asked.trace.begun(again, now - asked.query.started)
        return [*again]

    def trace(self, traced: Traced, reply: Reply) -> None:
        """Note by which way a traced query reached one who answers, before it is heard."""
        asked = self.running.get(reply.query)
        if asked is not None and asked.trace is not None:
            asked.trace.heard(traced, reply, asked.query)

    def acknowledged(self, ack: Ack, sender: Endpoint, now: float) -> list[Effect]:
        """Take the word of a head that it answers for an arc, or refuses to."""
        asked = self.running.get(ack.query)
        if asked is None or not isinstance(asked.query, WideQuery):
            self.strangers += 1
            return []
        return list[Effect](asked.query.acknowledged(ack, sender, now))

    def batched(self, batch: Batch, sender: Endpoint, now: float) -> list[Effect]:
        """Take the answers of a cell; nobody needs those of a query that has ended any more."""
        asked = self.running.get(batch.query)
        if asked is None or not isinstance(asked.query, WideQuery):
            self.strangers += 1
            return [Send(sender, Back(batch.query, batch.cell, batch.sequence, 0))]
        query = asked.query
        sends, fresh = query.batched(batch, sender, now)
        for _, store, _, value, _, flags in fresh:
            last = LastValue(value, now, bool(flags & DECREASED))
            self.last_values.note(store, query.request.key, last)
        for pos, roll in batch.rolls:
            if roll not in (0, query.view.roll):
                member = query.view.at(pos)
                self.strange.append((roll, member.endpoint if member is not None else sender))
        return [*sends]
