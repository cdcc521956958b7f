"""The node's machine: counts for its clients, answers its peers, asks for its clients.

What comes in, and which part takes it::

    Ask, AskAgain, AskMany, Stop   `relay`       a query of another node passes through
    Reply, ShortReply, Traced, …   `asker`       an answer to a query of this node
    Delegate, Ack, Batch, Back     `heads`, `asker`  the same, above the size of a cell
    Increment, EndSession          `ledger`      counts, once, when it is safe
    Query, Cancel, ListQueries, …  `asker`       a client asks the cluster, or about queries
    Get, Recall, Roster            here          a client asks this node
    Reset, Epochs                  `renewal`     a key begins anew, here or elsewhere
    Offer, Page, Take, Drain, …    `handover`    a member leaves, and its counts go to another one
    Park, Disown, Disowned         `failover`    it is in doubt which node counted
    Heartbeat, Registered, …       `membership`  a tracker speaks
    Persisted, PersistFailed       `ledger`, …   the disk speaks

The rule: this machine decides and nothing else. It reads no clock, opens no socket, rolls no
dice of its own, and returns effects in the order in which they are to be carried out.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from counter.activity import Activity
from counter.asker import Asker
from counter.config import GossipConfig, NodeConfig
from counter.crdt import Counters
from counter.doubts import Doubts
from counter.embargo import Embargo
from counter.failover import Failover
from counter.handover import Handover
from counter.heads import Heads
from counter.hearsay import Hearsay
from counter.ledger import Ledger
from counter.messages import (
    DECREASED,
    TRACE,
    Ack,
    Ask,
    AskAgain,
    AskMany,
    Back,
    Batch,
    Delegate,
    Increment,
    Query,
    Recall,
    Reply,
    ReplyMany,
    ShortReply,
    Stop,
    Traced,
    stored_name,
)
from counter.messages import UNTIMED as UNTIMED
from counter.relay import Relay
from counter.renewal import Renewal
from counter.rounds import Round
from counter.saving import SavedView
from counter.tables import Tables
from counter.tracing import FirstAsks, reply_in
from tracker.machine import (
    Accepted,
    Address,
    Closed,
    Effect,
    Endpoint,
    Event,
    Leave,
    Link,
    Opened,
    Persisted,
    PersistFailed,
    Send,
    Undelivered,
    Unreachable,
)
from tracker.members import NOBODY, Member, position
from tracker.membership import Membership
from tracker.messages import (
    Announced,
    Departed,
    Heartbeat,
    Introduce,
    Introduced,
    Listed,
    Refused,
    Registered,
    Roster,
)
from tracker.pages import members_from_record


class Gossip:
    """One node. Made from what its storage recovered; runs under any driver."""

    def __init__(
        self,
        config: NodeConfig,
        gossip: GossipConfig,
        member: Member,
        trackers: tuple[Endpoint, ...],
        rng: Random,
        fixed: Membership | None = None,
    ) -> None:
        self.config = config
        self.gossip = gossip
        # Epoch 0 until `resume`: what an earlier epoch left must not look older than nothing.
        self.ledger = Ledger(config, Counters(member.store, 0), durable=member.durable)
        # Among fixed names nobody knows of a member that is not in the view.
        self._is_fixed = fixed is not None
        pauses_s = config.interval_s, config.reconnect_min_s, config.reconnect_max_s
        self.membership = fixed or Membership(trackers, member, NOBODY, rng, *pauses_s)
        self.asker = Asker(gossip, member, rng)
        where = position(member.name)
        self.relay = Relay(gossip, where, member.store, member.epoch, self._share_of, rng)
        self.tables = Tables(self.ledger.counters, self.relay, self.asker)
        self._first_asks = FirstAsks()
        self.handover = Handover(self.ledger, self.membership, rng)
        self.hearsay = Hearsay(self.membership.view)
        self.failover = Failover(self.ledger, self.membership.view, rng)
        self.heads = Heads(gossip, member, self.relay, rng)
        parts = (self.ledger, self.asker, self.heads, self.tables)
        self.doubts = Doubts(self.failover.parking, self.relay, *parts[1:], self.receive)
        self.renewal = Renewal(*parts, self.receive, self._query, self._begin)
        self.relay.held_of = self.handover.held_of
        self.handover.parked = self.failover.parking
        # A name that was counted under proves its epoch.
        self.handover.adoption.adopted = self.renewal.moves.resume
        self.unexpected, self.lag_s = 0, 0.0
        self._followed, self._saved = self.membership.view, SavedView(self.membership.view)
        self._activity = Activity()
        self.embargo = Embargo(config, self.ledger, self.membership)
        self.membership.stale_s = max(self.membership.stale_s, gossip.view_fresh_s)
        self._handlers = self._table()

    def _table(self) -> dict[type, Callable[[Any, Any, float], list[Effect]]]:
        """Return who takes which message."""
        before, telling = self.renewal.moves.before, self.doubts.telling
        ask = before(telling(self._ask))
        told, names = self.asker.last_values.recalled, self.ledger.counters.names
        return {
            Ask: ask,
            AskAgain: ask,
            AskMany: before(telling(self._ask_many)),
            Reply: self._reply,
            ShortReply: self._short_reply,
            ReplyMany: self._reply_many,
            Stop: lambda sender, stop, now: [*self.relay.stop(stop), *self.heads.stop(stop)],
            Delegate: before(telling(self._delegate)),
            Ack: self._ack,
            Batch: self._batch,
            Back: lambda sender, back, now: self.heads.back(back),
            Increment: lambda link, message, now: self.embargo.increment(link, message),
            Query: self._query,
            Traced: self._traced,
            Recall: lambda link, recall, now: told(link, recall, self.membership.view, names, now),
            Roster: lambda link, roster, now: self.membership.roster(link, roster),
            **dict.fromkeys((Heartbeat, Registered, Departed, Announced), self._membership),
            Listed: self._listed,
            Introduce: self._introduce,
            Introduced: lambda sender, said, now: self.embargo.introduced(sender, said, now),
            **self.ledger.handlers(),
            **self.asker.handlers(),
            **self.renewal.handlers(),
            **self.handover.handlers(),
            **self.failover.handlers(),
            **self.doubts.handlers(),
            Refused: self._refused,
        }

    # -- recovery -----------------------------------------------------------------------------

    def restore(self, kind: str, record: bytes) -> None:
        """Take in what the storage kept: the members known, the counts. Before `start`."""
        if kind == "members":
            self.membership.view = NOBODY.merged(members_from_record(record))
            self._saved.view = self._followed = self.membership.view
            self.failover.parking.follow(self._followed)
            return
        moves, handover, failover = self.renewal.moves, self.handover, self.failover
        if not (
            moves.restore(record) or handover.restore(record) or failover.restore(kind, record)
        ):
            self.ledger.restore(kind, record)

    def resume(self, token: int) -> None:
        """Begin a new boot epoch: everything was restored, up to this token."""
        self.ledger.resume(token, self.membership.member.epoch)
        self.membership.written = token
        self.handover.resume()
        self.renewal.moves.resume()

    def dump(self) -> list[bytes]:
        """Return records that hold every count, for a snapshot."""
        counts = [*self.renewal.moves.dump(), *self.ledger.dump(), *self.handover.dump()]
        return counts + self.failover.dump()

    # -- the machine --------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin: look for the trackers."""
        self._activity.start(self.ledger.operations)
        return self.membership.start(now) + self.embargo.look(now)

    def receive(self, sender: Address, message: Any, now: float) -> list[Effect]:
        """Take a datagram of a peer, a request of a client or the word of a tracker."""
        handler = self._handlers.get(message.__class__)
        if handler is None:
            return self._out_of_place(sender, message)
        return self.renewal.heard(handler(sender, message, now), now)

    def reflex(self, link: Link, body: bytes, now: float) -> bytes | None:
        """Answer a tracker's heartbeat that says nothing new, bytes for bytes.

        None leaves the frame to `receive`, which would change the same and say the same.
        """
        if not self.membership.owns(link) or self.asker.is_busy:
            return None
        self._count_activity(now)
        return self.membership.reflex(link, body, now)

    def submit(self, event: Event, now: float) -> list[Effect]:
        """Take the life of a stream, the word of the disk, or the wish to leave."""
        return self.renewal.heard(self._submitted(event, now), now)

    def _submitted(self, event: Event, now: float) -> list[Effect]:
        kept, ledger = self.embargo.kept, self.ledger
        match event:
            case Persisted():
                effects = kept(ledger.persisted(event)) + self.renewal.moves.persisted(event, now)
                return effects + self.handover.persisted(event, now) + self.failover.settled(event)
            case PersistFailed():
                effects = kept(ledger.persist_failed(event)) + self.renewal.moves.failed(event)
                effects += self.handover.persist_failed(event, now)
                return effects + self.failover.settled(event)
            case Leave(hand_over=True):
                return self.handover.leave(now)
            case Undelivered(to, message):
                return self._undelivered(to, message, now) if isinstance(message, Ask) else []
            case Opened() | Unreachable() | Closed():
                return self._streamed(event, now)
            case Accepted(link, peer):
                self.asker.meet(link, peer)
                return []
        # The one that is left: Leave.
        return self._leave(now)

    def _streamed(self, event: Opened | Unreachable | Closed, now: float) -> list[Effect]:
        """Take the life of a stream to a tracker, to a node that knows more, or of a client."""
        effects = self.handover.streamed(event, now)
        if effects is None:
            effects = self.failover.streamed(event, now)
        if effects is not None:
            return effects
        match event:
            case Opened(link, to) if self.hearsay.opens(to):
                return self.hearsay.opened(link)
            case Unreachable(to) if self.hearsay.opens(to):
                return self._after_hearsay(self.hearsay.failed(now), now)
            case Closed(link) if self.hearsay.owns(link):
                return self._after_hearsay(self.hearsay.failed(now), now)
            case Closed(link) if not self.membership.owns(link):
                return self.asker.closed(link, now)
        return self._after_membership(self.membership.submit(event, now), now)

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        due = self.deadline()
        self.lag_s = max(0.0, now - due) if due is not None else 0.0
        self._count_activity(now)
        effects = self._after_membership(self.membership.tick(now), now)
        self.relay.tick(now)
        effects += self.heads.tick(self.membership.view, now, self.lag_s)
        effects += self.handover.tick(now)
        self.tables.is_mute = self.handover.leaving.holds_nothing
        effects += self.doubts.told(self.tables.tick(now))
        if self.asker.is_busy:
            effects += self._release(now) + self._look(now) + self._tick_asker(now)
        effects += self._wonder(now) + self.failover.parking.look(now)
        if self._saved.is_due(now):
            effects += self._saved.saved(self.membership.view, self.ledger, now)
        return self.renewal.heard(effects, now)

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next."""
        times = (
            self.membership.deadline(),
            self.asker.deadline() if self.asker.is_busy else None,
            self.embargo.deadline(),
            self.hearsay.deadline(),
            self.handover.deadline(),
            self.failover.parking.deadline(),
            self.heads.deadline(),
            self.tables.deadline(),
            self.relay.deadline(),
            self._saved.due,
        )
        return min([time for time in times if time is not None], default=None)

    def _tick_asker(self, now: float) -> list[Effect]:
        return self.asker.tick(
            now,
            self.lag_s,
            view_known_until=self._view_known_until(now),
            view_is_hopeless=self.hearsay.is_hopeless(self.membership),
        )

    # -- peers --------------------------------------------------------------------------------

    def _ask(self, sender: Any, ask: Ask, now: float) -> list[Effect]:
        if self.membership.is_doubted or self.asker.is_own(ask.query):
            return []
        effects = self.relay.ask(ask, self.membership.view, now)
        return self._first_asks.traced(ask, sender, effects) if ask.flags & TRACE else effects

    def _ask_many(self, sender: Any, ask: AskMany, now: float) -> list[Effect]:
        return self.tables.answered(ask, self._ask(sender, ask, now), now)

    def _reply_many(self, sender: Any, reply: Any, now: float) -> list[Effect]:
        return self._reply(sender, reply, now) if self.asker.hears_many(reply) else []

    def _reply(self, sender: Any, reply: Reply, now: float) -> list[Effect]:
        if reply.query in self.heads.collected:
            return self.heads.reply(reply, sender, now)
        if not self.asker.hear(reply, sender, now) and not self.asker.strange:
            return []
        return self._after_answer(reply.query, now)

    def _short_reply(self, sender: Any, short: ShortReply, now: float) -> list[Effect]:
        reply = self.heads.whole(short) or self.asker.whole(short)
        return [] if reply is None else self._reply(sender, reply, now)

    def _after_answer(self, query: bytes, now: float) -> list[Effect]:
        """Ask those who know more than this node, or end the query if the answer ended it."""
        if self.asker.strange:
            return self._wonder(now)
        if not self.asker.is_own(query):
            return []
        return self.asker.conclude(query, now, view_known_until=self._view_known_until(now))

    def _undelivered(self, to: Endpoint, ask: Ask, now: float) -> list[Effect]:
        view = self.membership.view
        if not self.asker.is_own(ask.query):
            return self.heads.undelivered(ask, to) or self.relay.undelivered(ask, to, view)
        return self.asker.undelivered(ask, to, now) or self._after_answer(ask.query, now)

    def _traced(self, sender: Any, traced: Traced, now: float) -> list[Effect]:
        reply = reply_in(traced)
        if reply is None:
            return self._out_of_place(sender, traced)
        self.asker.trace(traced, reply)
        if traced.is_told:
            return []
        return [*self.heads.traced(traced, reply), *self._reply(sender, reply, now)]

    def _delegate(self, sender: Any, ask: Delegate, now: float) -> list[Effect]:
        if self.membership.is_doubted or self.asker.is_own(ask.query):
            return []
        return self.heads.delegate(sender, ask, self.membership.view, now)

    def _ack(self, sender: Any, ack: Ack, now: float) -> list[Effect]:
        if self.asker.is_own(ack.query):
            return self.asker.acknowledged(ack, sender, now)
        return self.heads.acknowledged(ack, self.membership.view, now)

    def _batch(self, sender: Any, batch: Batch, now: float) -> list[Effect]:
        effects = self.asker.batched(batch, sender, now)
        return effects + self._after_answer(batch.query, now)

    def _share_of(self, key: str) -> tuple[int, int]:
        counters, key = self.ledger.counters, stored_name(key)
        return counters.own.value(key), DECREASED if counters.has_decreased(key) else 0

    # -- clients ------------------------------------------------------------------------------

    def _query(self, link: Link, request: Query, now: float) -> list[Effect]:
        known = self.membership.heard_at is not None
        return self.asker.take(link, request, now, view_is_known=known) + self._release(now)

    def _begin(self, due: Round, now: float) -> list[Effect]:
        self.ledger.operations += 1
        if not self.asker.under_way():
            # What was heard by earlier queries is heard again, if anybody still says it.
            self.hearsay.forget()
        if self.membership.view.expected <= 1 and self.membership.tracker is not None:
            self.hearsay.doubt(self.membership.tracker)
        due.asked = self.renewal.asked(due.key)
        value, flags = self._share_of(due.asked)
        effects = self.asker.begin(
            due,
            (value, bool(flags & DECREASED)),
            self.membership.view,
            now,
            held=self.handover.held_of(due.asked),
            view_known_until=self._view_known_until(now),
            view_is_hopeless=self.hearsay.is_hopeless(self.membership),
        )
        if self.tables.own(due.id, due.asked, now):
            effects += self._tick_asker(now)
        return effects + self._look(now)

    def _release(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if not self.asker.is_busy:
            return effects
        heard = self.membership.heard_at is not None
        for due in self.asker.released(now, view_is_known=heard):
            if heard or self.membership.view.expected:
                effects += self._begin(due, now)
            else:
                text = f"{self.config.name} has heard no tracker yet: who belongs is not known"
                effects += self.asker.refuse(due, "no-view", text, now)
        return effects

    def _out_of_place(self, sender: Address, message: Any) -> list[Effect]:
        self.unexpected += 1
        if isinstance(sender, tuple):
            return []
        text = f"a node has no answer to {type(message).__name__}"
        return [Send(sender, Refused(0, "unexpected", text))]

    # -- membership ---------------------------------------------------------------------------

    def _membership(self, link: Link, message: Any, now: float) -> list[Effect]:
        if not self.membership.owns(link):
            return self._out_of_place(link, message)
        self._count_activity(now)
        effects = self.membership.receive(link, message, now) + self.handover.departed()
        return self._after_membership(effects, now)

    def _refused(self, link: Link, refused: Refused, now: float) -> list[Effect]:
        effects = self.handover.refused(link, refused, now)
        return self._membership(link, refused, now) if effects is None else effects

    def _after_membership(self, effects: list[Effect], now: float) -> list[Effect]:
        view = self.membership.view
        if view is not self._followed:
            self._followed = view
            self.asker.follow(view)
            self.hearsay.follow(view)
            self.heads.follow(view)
            self.failover.parking.follow(view)
            self._saved.changed(now)
        effects += self._release(now)
        return effects + self.embargo.look(now)

    def _introduce(self, sender: Any, message: Introduce, now: float) -> list[Effect]:
        """Take in a newcomer by its own word, unless its name is known as another's."""
        member = message.member
        known = self.membership.view.get(member.name)
        if known is not None and known.store != member.store:
            return []
        effects = self._after_membership(self.membership.learn((member,), now), now)
        return [*effects, Send(sender, Introduced(member.store))]

    # -- what others know -----------------------------------------------------------------------

    def _wonder(self, now: float) -> list[Effect]:
        """Learn what those know whose replies came from another view than ours."""
        strange, self.asker.strange = self.asker.strange, []
        if self._is_fixed:
            return []
        for roll, source in strange:
            self.hearsay.hear(roll, source)
        if not self.asker.is_busy:
            self.hearsay.forget()
        effects = self.hearsay.look(now)
        return self._after_hearsay(effects, now) if strange else effects

    def _listed(self, link: Link, page: Listed, now: float) -> list[Effect]:
        if not self.hearsay.owns(link):
            return self._out_of_place(link, page)
        effects, members = self.hearsay.listed(page, now)
        effects += self.membership.learn(members, now)
        return self._after_hearsay(self._after_membership(effects, now), now)

    def _after_hearsay(self, effects: list[Effect], now: float) -> list[Effect]:
        """Let the queries that waited for nothing else end."""
        return effects + self._tick_asker(now)

    def _view_known_until(self, now: float) -> float:
        return self.hearsay.known_until(self.membership, now, self.gossip.view_fresh_s)

    def _look(self, now: float) -> list[Effect]:
        """Look for a tracker if none speaks: without a look no answer may be called complete."""
        if self._view_known_until(now) >= self.asker.youngest:
            return []
        return self.hearsay.look(now) + self.membership.look(now)

    def _count_activity(self, now: float) -> None:
        self.asker.stories.forget(now)
        self.ledger.sessions.grow_older(now)
        self.membership.written = self.ledger.written
        self.membership.activity = self._activity.look(self.ledger.operations, now)

    def _leave(self, now: float) -> list[Effect]:
        saved = self._saved.last(self.membership.view, self.ledger, now)
        return saved + self.handover.depart(now)
