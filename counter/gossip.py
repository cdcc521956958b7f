"""The node's machine: counts for its clients, answers its peers, asks for its clients.

What comes in, and which part takes it::

    Ask, AskAgain, AskMany, Stop   `relay`       a query of another node passes through
    Reply, ShortReply, Traced, …   `origin`      an answer to a query of this node
    Delegate, Ack, Batch, Back     `heads`, `origin`  the same, above the size of a cell
    Increment, EndSession          `ledger`      counts, once, when it is safe
    Query, Cancel, ListQueries, …  `origin`, `asker`  a client asks the cluster, or about queries
    Get, Recall, Roster            here          a client asks this node
    Reset, Epochs                  `renewal`     a key begins anew, here or elsewhere
    Offer, Page, Take, Drain, …    `handover`    a member leaves, and its counts go to another one
    Park, Disown, Disowned         `failover`    it is in doubt which node counted
    Heartbeat, Registered, …       `membership`  a tracker speaks
    Persisted, PersistFailed       `ledger`, …   the disk speaks

The rule: this machine decides and nothing else. It reads no clock, opens no socket, rolls no
dice of its own, and returns effects in the order in which they are to be carried out.
"""

from math import inf
from random import Random
from typing import Any

from counter.activity import Activity
from counter.asker import Asker
from counter.config import GossipConfig, NodeConfig
from counter.crdt import Counters
from counter.doubts import Doubts
from counter.embargo import Embargo
from counter.failover import Failover
from counter.forks import Forks
from counter.handover import Handover
from counter.heads import Heads
from counter.hearsay import Hearsay
from counter.ledger import Ledger
from counter.messages import (
    DECREASED,
    TRACE,
    Ask,
    AskAgain,
    AskMany,
    Back,
    Delegate,
    Doubled,
    Here,
    Increment,
    Recall,
    Sought,
    Stop,
    stored_name,
)
from counter.messages import UNTIMED as UNTIMED
from counter.moves import Handler
from counter.newcomers import Newcomers
from counter.origin import Origin
from counter.parents import Parents
from counter.recovery import Recovery
from counter.relay import Relay
from counter.renewal import Renewal
from counter.saving import SavedView
from counter.tables import Tables
from counter.teaching import Teaching
from counter.tracing import FirstAsks
from tracker.again import Standing, same
from tracker.machine import (
    Accepted,
    Address,
    Closed,
    Effect,
    Effects,
    Endpoint,
    Event,
    Foreign,
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
    Refused,
    Register,
    Registered,
    Roster,
)
from tracker.pages import listed


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
        pauses_s = config.interval_s, config.reconnect_min_s, config.reconnect_max_s
        self.membership = fixed or Membership(trackers, member, NOBODY, rng, *pauses_s)
        self.membership.introduction.cluster = config.cluster
        self.asker = Asker(gossip, member, rng)
        where = position(member.name)
        self.relay = Relay(gossip, where, member.store, member.epoch, self._share_of, rng)
        self.tables = Tables(self.ledger.counters, self.relay, self.asker.listener)
        self._first_asks = FirstAsks()
        self.handover = Handover(self.ledger, self.membership, rng, gossip.cell_members_max)
        self.hearsay = Hearsay(self.membership.view)
        self.forks = Forks(self.ledger)
        self.failover = Failover(self.ledger, self.membership.view, rng)
        self.heads = Heads(gossip, member, self.relay, rng)
        parts = (self.ledger, self.asker, self.heads, self.tables)
        self.doubts = Doubts(self.failover.parking, self.relay, *parts[1:], self.receive)
        self.origin = Origin(
            self.ledger,
            self.membership,
            self.asker,
            self.heads,
            self.hearsay,
            self.relay,
            self.tables,
            is_fixed=fixed is not None,
            share_of=self._share_of,
            followed=self._after_membership,
            out_of_place=self._out_of_place,
        )
        self.newcomers = self._for_newcomers(is_fixed=fixed is not None)
        self.renewal = Renewal(*parts, self.receive, self.origin.query, self.origin.begin)
        self.teaching = Teaching(self.renewal.moves.epochs, self.membership)
        self._acquaint()
        self.unexpected, self.lag_s = 0, 0.0
        # Minus infinity until they are asked, after something was told: at rest nothing is.
        self._others_due: float | None = -inf
        self._followed, self._saved = self.membership.view, SavedView(self.membership.view)
        what = self.forks, self.renewal.moves, self.handover, self.failover, self._saved
        self._recovery = Recovery(self.ledger, self.membership, *what)
        self._activity = Activity()
        self.embargo = Embargo(config, self.ledger, self.membership, self.renewal.moves.alone)
        self.renewal.moves.carried = self.embargo.look
        self.membership.stale_s = max(self.membership.stale_s, gossip.view_fresh_s)
        self._handlers, self._has_table = self._for_asks(), False

    def _acquaint(self) -> None:
        """Tell the parts what others know that are made after them."""
        handover, moves = self.handover, self.renewal.moves
        handover.mute_from = self.relay.mute_from
        handover.heard_until = self._heard_until
        handover.parked = self.failover.parking
        # A name that was counted under proves its epoch.
        handover.adoption.adopted, moves.carrying.beside = moves.resume, self.forks.carry
        self.origin.asked = self.renewal.asked
        self.relay.held_of = handover.held_of
        self.tables.answers_for = handover.answers_for
        self.failover.fences.speaks_for = handover.speaks_for

    def _for_newcomers(self, *, is_fixed: bool) -> Newcomers:
        """Return who looks into moves; queries wait for that where a list tells of one."""
        origin = self.origin

        def followed(effects: Effects, now: float) -> Effects:
            return origin.after_hearsay(self._after_membership(effects, now), now)

        parents = Parents(self.ledger, self.forks, self.membership)
        parts = self.membership, self.config.cluster, parents
        newcomers = Newcomers(*parts, is_fixed=is_fixed, followed=followed)
        origin.learn, origin.is_unsure = newcomers.learn, lambda: newcomers.is_unsure
        origin.is_unheld = self.relay.is_unheld = lambda: parents.is_unheld
        origin.newcomers = newcomers
        return newcomers

    def _for_asks(self) -> dict[type, Handler]:
        """Return who takes asks."""
        ask = self.origin.sure(self.renewal.moves.before(self.doubts.telling(self._ask)))
        return {Ask: ask, AskAgain: ask}

    def _handler(self, kind: type) -> Handler | None:
        """Return who takes such a message. Most members of a large cluster are asked, and no more:
        the table of all the others is made with the first message that is no ask."""
        if not self._has_table:
            self._has_table = True
            self._handlers |= self._table()
        return self._handlers.get(kind)

    def _table(self) -> dict[type, Handler]:
        """Return who takes which message but asks."""
        before, telling = self.renewal.moves.before, self.doubts.telling
        told, names = self.asker.listener.last_values.recalled, self.ledger.counters.names
        return {
            AskMany: self.origin.sure(before(telling(self._ask_many))),
            Stop: lambda sender, stop, now: [*self.relay.stop(stop), *self.heads.stop(stop)],
            Delegate: self.origin.sure(before(telling(self._delegate))),
            Back: lambda sender, back, now: self.heads.back(back),
            Increment: self.renewal.moves.counting(self.embargo.increment),
            Recall: lambda link, recall, now: told(link, recall, self.membership.view, names, now),
            Roster: lambda link, roster, now: listed(self.membership.view, link, roster),
            **dict.fromkeys((Heartbeat, Registered, Departed, Announced), self._membership),
            Introduce: self.newcomers.introduce,
            Sought: self.newcomers.parents.sought,
            Here: self.newcomers.here,
            Doubled: self.newcomers.doubled,
            Introduced: lambda sender, said, now: self.embargo.introduced(sender, said, now),
            **self.ledger.handlers(),
            **self.asker.handlers(),
            **self.origin.handlers(),
            **self.renewal.handlers(),
            **self.teaching.handlers(),
            **self.handover.handlers(),
            **self.failover.handlers(),
            **self.doubts.handlers(),
            Refused: self._refused,
        }

    # -- recovery -----------------------------------------------------------------------------

    def restore(self, kind: str, record: bytes) -> None:
        """Take in what the storage kept: the members known, the counts. Before `start`."""
        self._recovery.restore(kind, record)
        self._followed = self.membership.view

    def resume(self, token: int) -> None:
        """Begin a new boot epoch: everything was restored, up to this token."""
        self._recovery.resume(token)
        self.newcomers.wholes = self.handover.wholes

    def dump(self) -> list[bytes]:
        """Return records that hold every count, for a snapshot."""
        return self._recovery.dump()

    def memory(self) -> list[tuple[str, bytes]]:
        """Return, by kind, the records of all that another life of this node begins with."""
        return self._recovery.memory()

    @property
    def records(self) -> int:
        """How many records this life has written, of whatever it counted."""
        return self._recovery.records

    # -- the machine --------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin: look for the trackers."""
        self._others_due = -inf
        self._activity.start(self.ledger.operations)
        return self.membership.start(now) + self.embargo.start(now)

    def receive(self, sender: Address, message: Any, now: float) -> list[Effect]:
        """Take a datagram of a peer, a request of a client or the word of a tracker."""
        self._others_due = -inf
        kind = message.__class__
        handler = self._handlers.get(kind) or self._handler(kind)
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

    def stands(self, link: Link) -> Standing | None:
        """Say while what `reflex` would do the same again; None while anything else is going on."""
        ledger, idle = self.ledger, self.asker.idle()
        if self.membership.activity or any(idle):
            return None
        # There was no activity, and there is none as long as no operation is done.
        counts = same(ledger, "operations", "written")
        here = Standing(empty=idle, later=(ledger.sessions.aging(),))
        return counts.joined(here).joined(self.membership.stands(link))

    def rests(self) -> tuple[Standing, float] | None:
        """Say how long after each answer that stands this machine is due, and while that is so."""
        resting = self.membership.rests() if self.deadline() is not None else None
        if resting is None or self._others_due is not None or self.relay.expiry:
            return None
        while_, rest_s = resting
        ours = same(self, "_others_due").joined(Standing(empty=self.relay.idle()))
        return while_.joined(ours), rest_s

    def submit(self, event: Event, now: float) -> list[Effect]:
        """Take the life of a stream, the word of the disk, or the wish to leave."""
        self._others_due = -inf
        return self.renewal.heard(self._submitted(event, now), now)

    def _submitted(self, event: Event, now: float) -> list[Effect]:
        match event:
            case Persisted():
                effects = self.embargo.settled(event, now)
                effects += self.renewal.moves.persisted(event, now)
                return effects + self.handover.persisted(event, now) + self.failover.settled(event)
            case PersistFailed():
                effects = self.embargo.settled(event, now) + self.renewal.moves.failed(event)
                effects += self.handover.persist_failed(event, now)
                return effects + self.failover.settled(event)
            case Leave(hand_over=True):
                return self.handover.leave(now)
            case Undelivered(to, Ask() as ask):
                return self.origin.undelivered(to, ask, now)
            case Undelivered(to, message):
                is_look = isinstance(message, Sought)
                return self.newcomers.undelivered(to, message, now) if is_look else []
            case Foreign():
                return self.origin.foreign(event, now)
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
                return self.origin.after_hearsay(self.hearsay.failed(now), now)
            case Closed(link) if self.hearsay.owns(link):
                return self.origin.after_hearsay(self.hearsay.failed(now), now)
            case Closed(link) if not self.membership.owns(link):
                return self.asker.closed(link, now)
        return self._after_membership(self.membership.submit(event, now), now)

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        due = self.deadline()
        self._others_due = -inf
        self.lag_s = self.origin.lag_s = max(0.0, now - due) if due is not None else 0.0
        self._count_activity(now)
        effects = self._after_membership(self.membership.tick(now), now)
        self.relay.tick(now)
        effects += self.newcomers.tick(now) + self.teaching.tick(now)
        effects += self.heads.tick(self.membership.view, now, self.lag_s)
        effects += self.handover.tick(now)
        self.tables.is_mute = self.handover.leaving.holds_nothing
        effects += self.doubts.told(self.tables.tick(now))
        if self.asker.is_busy:
            effects += self.origin.release(now) + self.origin.look(now) + self.origin.tick(now)
        effects += self.origin.wonder(now) + self.failover.parking.look(now)
        if self._saved.is_due(now):
            effects += self._saved.saved(self.membership.view, self.ledger, now)
        return self.renewal.heard(effects, now)

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next."""
        if self._others_due == -inf:
            self._others_due = self._others_deadline()
        due = self._others_due
        # The three whose time also moves without a word to this machine: by a reflex, and by the
        # shortest ways of asks and answers (`counter.express`).
        asker_due = self.asker.deadline() if self.asker.is_busy else None
        for other in (self.membership.deadline(), self.relay.deadline(), asker_due):
            if other is not None and (due is None or other < due):
                due = other
        return due

    def _others_deadline(self) -> float | None:
        """Say when anybody is due whose time moves only with what this machine is told."""
        parking = self.failover.parking
        parts = (self.embargo, self.hearsay, self.newcomers, self.handover, parking, self.heads)
        times = [self.tables.deadline(), self._saved.due, self.teaching.deadline()]
        times += [part.deadline() for part in parts]
        return min([time for time in times if time is not None], default=None)

    # -- peers --------------------------------------------------------------------------------

    def _ask(self, sender: Any, ask: Ask, now: float) -> list[Effect]:
        if self.membership.is_doubted or self.asker.listener.is_own(ask.query):
            return []
        effects = self.relay.ask(ask, self.membership.view, now)
        if now >= self.relay.mute_at:
            # Its heir answers for it, and may have made one sum of that and others.
            return effects[1:]
        return self._first_asks.traced(ask, sender, effects) if ask.flags & TRACE else effects

    def _heard_until(self) -> float:
        """Return when the last query ends that may have heard anything here, its own among them."""
        own = [query.deadline for query in self.asker.under_way()]
        return max([self.relay.heard_until, *own])

    def _ask_many(self, sender: Any, ask: AskMany, now: float) -> list[Effect]:
        effects = self._ask(sender, ask, now)
        is_mute = now >= self.relay.mute_at
        return effects if is_mute else self.tables.answered(ask, effects, now)

    def _delegate(self, sender: Any, ask: Delegate, now: float) -> list[Effect]:
        is_mute = self.membership.is_doubted or now >= self.relay.mute_at
        if is_mute or self.asker.listener.is_own(ask.query):
            return []
        return self.heads.delegate(sender, ask, self.membership.view, now)

    def _share_of(self, key: str) -> tuple[int, int]:
        counters, key = self.ledger.counters, stored_name(key)
        return counters.own.value(key), DECREASED if counters.has_decreased(key) else 0

    def _out_of_place(self, sender: Address, message: Any) -> list[Effect]:
        self.unexpected += 1
        if isinstance(sender, tuple):
            return []
        if isinstance(message, Register):
            text = f"this is node {self.membership.member.name}, not a tracker"
            return [Send(sender, Refused(0, "wrong-role", text))]
        text = f"a node has no answer to {type(message).__name__}"
        return [Send(sender, Refused(0, "unexpected", text))]

    # -- membership ---------------------------------------------------------------------------

    def _membership(self, link: Link, message: Any, now: float) -> list[Effect]:
        if not self.membership.owns(link):
            return self._out_of_place(link, message)
        self._count_activity(now)
        effects = self.membership.receive(link, message, now) + self.handover.departed()
        if isinstance(message, Registered):
            effects = self.teaching.registered(link) + effects
        return self._after_membership(effects, now)

    def _refused(self, link: Link, refused: Refused, now: float) -> list[Effect]:
        effects = self.handover.refused(link, refused, now)
        if effects is not None:
            return effects
        if self.membership.owns(link):
            return self._membership(link, refused, now)
        # Nobody here asked for it, or whoever did gives up in time. To answer a no with a no is to
        # say it to and fro for ever, where the other side is a node as well.
        self.unexpected += 1
        return []

    def _after_membership(self, effects: list[Effect], now: float) -> list[Effect]:
        view = self.membership.view
        if view is not self._followed:
            # Before the beat that acknowledges the news of those whom it refuses.
            effects = self.handover.claimed(now) + effects
            before, view = self._followed, self.membership.view
            self._followed = view
            effects = self.teaching.follow(before, now) + effects
            self.asker.follow(view)
            self.hearsay.follow(view)
            self.heads.follow(view)
            self.failover.parking.follow(view)
            self._saved.changed(now)
            effects = effects + self.newcomers.look(now)
        if self.membership.is_registered and self.membership.announcement.is_told:
            self.forks.follow(view, self.membership.member)
        # First: it may be the word that lets this node ask.
        kept = self.embargo.look(now)
        return self.teaching.held_back([*effects, *self.origin.release(now), *kept])

    def _count_activity(self, now: float) -> None:
        self.asker.stories.forget(now)
        if not self.ledger.is_leaving:
            # What is handed over is read while it is sent, and does not change meanwhile.
            self.ledger.sessions.grow_older(now)
        self.membership.written = self.ledger.written
        self.membership.activity = self._activity.look(self.ledger.operations, now)

    def _leave(self, now: float) -> list[Effect]:
        saved = self._saved.last(self.membership.view, self.ledger, now)
        self.membership.written = self.ledger.written
        return saved + self.handover.depart(now)
