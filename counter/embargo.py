"""Increments that wait while somebody may not know of this node.

Who does not know of a node answers for the cluster without it, and may call that complete. The node
itself has yet to be told of the resets that it missed (`counter.teaching`): what it counted in an
epoch that is over would be in no answer. And it may be a copy, or an old backup, and be refused.
The rule: until it is announced (`tracker.announcement`), or has told somebody itself
(`tracker.introduction`), a node writes and counts nothing. What clients send waits, in order, up to
a limit. One that learns later that another has its store, or its name, takes no more: that would be
in no total. A store that has counted nothing yet, and finds nobody at all, counts then, as one that
is `counter.alone`.

What is sent for a key that is on its way into its present epoch (`counter.carrying`) waits as well.
"""

from counter.alone import Alone
from counter.config import NodeConfig
from counter.ledger import Ledger
from counter.messages import Counted, Increment
from tracker.machine import Address, Effect, Link, Persisted, PersistFailed, Send
from tracker.members import ALIVE
from tracker.membership import Membership
from tracker.messages import Introduced, Refused


class Embargo:
    """What one node's clients send, from its start until it may be believed."""

    def __init__(
        self, config: NodeConfig, ledger: Ledger, membership: Membership, alone: Alone
    ) -> None:
        self._inflight_max = config.inflight_max
        self._alone = alone
        self._ledger = ledger
        self._membership = membership
        # What the disk said since, of increments that were on their way there.
        self._held: list[Effect] = []
        self._waiting: list[tuple[Link, Increment]] = []
        # Whether it began with nothing that it had counted in a life before.
        self._is_blank = False
        ledger.is_held = True

    def increment(self, link: Link, message: Increment, now: float) -> list[Effect]:
        """Let the ledger take an increment, if there is room for its reply."""
        if len(self._held) + len(self._waiting) >= self._inflight_max:
            text = "too many increments wait for this node's announcement; come back in 1 s"
            return [Send(link, Refused(message.sequence, "busy", text))]
        ledger = self._ledger
        if ledger.is_moving(message.pairs) and not ledger.takes_nothing:
            ledger.is_held = True
        if ledger.is_held and not ledger.displaced:
            self._waiting.append((link, message))
            return self.look(now) if self._alone.is_refused else []
        return self.kept(ledger.increment(link, message))

    def kept(self, effects: list[Effect]) -> list[Effect]:
        """Keep the replies among these effects, if any have to be kept; return the others."""
        if not self._ledger.is_held:
            return effects
        if self._ledger.displaced:
            return self._doubted(effects)
        self._held += [effect for effect in effects if isinstance(effect, Send)]
        return [effect for effect in effects if not isinstance(effect, Send)]

    def start(self, now: float) -> list[Effect]:
        """Begin, with what was restored."""
        self._is_blank = not self._ledger.counters.own
        return self.look(now)

    def look(self, now: float) -> list[Effect]:
        """Return the replies that were kept, once somebody knows of this node or nobody can.

        Where another one has its store or name by now, nothing is said before that is settled.
        """
        membership, ledger = self._membership, self._ledger
        ledger.displaced = membership.displaced
        if ledger.displaced:
            ledger.is_held = True
            held, self._held = self._held, []
            held += self._counted()
            return self._doubted(held) + membership.introduction.again(membership.member, now)
        if not ledger.is_held:
            return self._found(now) if ledger.is_alone else []
        announcement, introduction = membership.announcement, membership.introduction
        if not announcement.look(now, is_seeking=membership.is_seeking):
            return []
        if not announcement.is_doubtful:
            introduction.end()
        effects = introduction.look(membership.member, membership.view, now)
        if not introduction.is_over:
            return effects
        membership.heard_of()
        if not self._is_found and self._is_blank and not ledger.is_alone:
            begun = self._alone.begin()
            if not ledger.is_alone:
                # Nothing is acknowledged before that is on disk.
                return effects + begun
        if ledger.moving and self._waiting:
            return effects
        ledger.is_held, ledger.has_vouched = False, True
        held, self._held = self._held, []
        return effects + held + self._counted() + self._found(now)

    @property
    def _is_found(self) -> bool:
        membership = self._membership
        return membership.announcement.is_told or membership.introduction.is_confirmed

    def _found(self, now: float) -> list[Effect]:
        """Be alone no more, some time after somebody who lives has heard of this node."""
        own, view = self._membership.member, self._membership.view
        is_found = self._is_found and any(m.status == ALIVE and m.store != own.store for m in view)
        return self._alone.found(now, is_found=is_found)

    def settled(self, event: Persisted | PersistFailed, now: float) -> list[Effect]:
        """Take the word of the disk: to the ledger first, and then whether this store is alone."""
        ledger, is_about_this = self._ledger, self._alone.settled(event)
        if isinstance(event, Persisted):
            effects = self.kept(ledger.persisted(event))
            return effects + self.look(now) if is_about_this or ledger.is_alone else effects
        effects = self.kept(ledger.persist_failed(event))
        if not is_about_this and not ledger.moving:
            return effects
        waiting, self._waiting = self._waiting, []
        # None of them was given to the disk.
        no = [Refused(message.sequence, "disk", event.reason) for _, message in waiting]
        effects += [Send(link, each) for (link, _), each in zip(waiting, no, strict=True)]
        return effects if is_about_this else effects + self.look(now)

    def _counted(self) -> list[Effect]:
        """Let the ledger take what has waited."""
        waiting, self._waiting = self._waiting, []
        return [effect for one in waiting for effect in self._ledger.increment(*one)]

    def _doubted(self, effects: list[Effect]) -> list[Effect]:
        """Return effects in which nothing is acknowledged: it may yet turn out to count."""
        text = f"this increment may be in no total: {self._ledger.displaced}"
        return [
            Send(effect.to, Refused(effect.message.sequence, "in-doubt", text))
            if isinstance(effect, Send) and isinstance(effect.message, Counted)
            else effect
            for effect in effects
        ]

    def introduced(self, sender: Address, message: Introduced, now: float) -> list[Effect]:
        """Take the word of another node that it knows of this one now."""
        if message.store == self._membership.member.store:
            self._membership.introduction.confirmed(sender)
        return self.look(now)

    def deadline(self) -> float | None:
        """Say when `look` is wanted. While a tracker is sought, or another one has this node's
        store or name, an event will tell.
        """
        membership = self._membership
        if membership.introduction.is_doubled:
            return membership.introduction.deadline()
        if self._ledger.displaced:
            return None
        if not self._ledger.is_held:
            return self._alone.deadline()
        if membership.announcement.is_made:
            return membership.introduction.deadline()
        return None if membership.is_seeking else membership.announcement.deadline()
