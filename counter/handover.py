"""Hand-over at one node, both sides: who takes which word, and when this node is gone.

    Offer, Page, Seal              `adoption`    another member leaves, and gives its counts to us
    Take, Stored, Adopted          `leaving`     this node leaves, and gives its counts away
    Drain                          here          a person wants this node to leave

The rule: the order of things is copy, seal, tell the trackers. Whoever has heard that a member is
gone because it handed over can ask anybody, and finds all of its counts with those that are left.
"""

from collections.abc import Callable, Sized
from random import Random
from typing import Any, Final

from counter.adoption import MARK, Adoption, record
from counter.folding import MEMBERS_MAX
from counter.heard import Held
from counter.leaving import Leaving
from counter.ledger import Ledger
from counter.messages import (
    HELD_ROW_BYTES,
    LEAVING,
    OTHERS_MAX,
    QUIET_MS_MAX,
    STEMS_ROOM_BYTES,
    STORE_BYTES,
    Adopted,
    Drain,
    Offer,
    Page,
    Seal,
    Sole,
    Stored,
    Take,
    Whole,
    stored_name,
)
from counter.parts import END_BYTES, furthest, is_part
from counter.retired import told
from counter.wholes import Wholes, said, stores_in_question, stores_told
from tracker import wire
from tracker.admission import HANDED_OVER
from tracker.classes import replace
from tracker.machine import (
    Address,
    Closed,
    Effect,
    Emit,
    Link,
    Opened,
    Persisted,
    PersistFailed,
    Send,
    Unreachable,
)
from tracker.members import Member
from tracker.membership import Membership
from tracker.messages import Refused

GRACE_S: Final = 1.0
"""How long a node that is gone still answers: whoever asks now may not have heard of it."""

TOLD_S: Final = 1.0
"""Longest wait for the trackers to note it."""


HEIRS_MAX: Final = 16
"""Heirs of heirs that are looked through to find who holds a share by now."""


class Handover:
    """What one node gives away and is given. Times in seconds."""

    def __init__(
        self, ledger: Ledger, membership: Membership, rng: Random, members_max: int = MEMBERS_MAX
    ) -> None:
        self.ledger = ledger
        self.membership = membership
        self.leaving = Leaving(ledger, membership.member, rng)
        self.adoption = Adoption(ledger, membership.member.name, members_max)
        self.leaving.soles = lambda: self.adoption.folding.finals
        self.leaving.lives_of = self.adoption.folding.lives_of
        self.leaving.retires = self._retires
        self.leaving.quiet_ms = self._quiet_ms
        folding = self.adoption.folding
        folding.may_change = lambda: not ledger.is_leaving or self.leaving.may_change
        self.leaving.is_changing = lambda: (
            folding.is_pending
            or ledger.is_alone
            or bool(ledger.moving)
            or (self.wholes is not None and self.wholes.is_open)
        )
        self.leaving.retired_pages = lambda: self.adoption.retired.pages()
        # Told when this node is to answer no more.
        self.mute_from: Callable[[float], None] = lambda at: None
        # Until when queries may run that heard anything here; the owner sets it.
        self.heard_until: Callable[[], float] = lambda: float("inf")
        # What is parked here, which nobody takes over; the owner may set it.
        self.parked: Sized = ()
        # Of a store that tells all of another one as its own, once it was restored.
        self.wholes: Wholes | None = None
        self._asked: dict[bytes, list[bytes]] = {}
        self._told_by: float | None = None
        self._grace_until: float | None = None
        self._depart_by: float | None = None
        self._is_mute = False
        # When something happened last that has a time.
        self._now = float("-inf")

    def handlers(self) -> dict[type, Callable[[Any, Any, float], list[Effect]]]:
        """Return who takes which message."""
        leaving, adoption, membership = self.leaving, self.adoption, self.membership
        return {
            Offer: lambda link, offer, now: adoption.offer(link, offer, membership.view, now),
            Page: adoption.page,
            Seal: adoption.seal,
            Take: lambda link, take, now: leaving.take(take, now) if leaving.owns(link) else [],
            Stored: lambda link, stored, now: (
                leaving.stored(stored.number, now) if leaving.owns(link) else []
            ),
            Adopted: self._adopted,
            Sole: self._sole,
            Drain: self._drain,
            Whole: self._whole,
        }

    def held_of(self, key: str) -> Held:
        """Return what is held of other stores, for a key."""
        others = self.ledger.counters.others
        if not others:
            return ()
        name, told = stored_name(key), self._told_stems()
        return tuple(
            [
                (s[:STORE_BYTES], share.epoch, share.value(name), told[s])
                if s in told
                else (s[:STORE_BYTES], share.epoch, share.value(name))
                for s, share in others.items()
            ]
        )

    def _told_stems(self) -> dict[bytes, bytes]:
        """Return of each part its stem, the latest lives first, as far as an answer has room."""
        counters = self.ledger.counters
        parts = [key for key, share in counters.others.items() if is_part(share.epoch)]
        if not parts:
            return {}
        room = STEMS_ROOM_BYTES + HELD_ROW_BYTES * (OTHERS_MAX - len(counters.others))
        # Two bytes more than it has are told of each.
        size = (room // len(parts) - 2) // END_BYTES * END_BYTES
        return {key: counters.stem(key)[:size] for key in parts} if size > 0 else {}

    def answers_for(self, store: bytes) -> bool:
        """Say whether this node tells the share of a store that it holds.

        A leaver that heard nothing of a seal may have gone to another heir, and both hold it: then
        the one that it names tells it, or that one's heir, as long as the cluster waits for it. A
        name that has changed hands, or that two had, proves nothing: it may be another store.
        Of a store that is expected to answer itself nobody tells a part, nor beside a longer one.
        """
        others, owner = self.ledger.counters.others, self._owner_of(store)
        if store in others and is_part(others[store].epoch):
            longest = furthest({k: share.epoch for k, share in others.items()}, store)
            return longest == store and (owner is None or not owner.expected)
        return self._is_nearest(store)

    def _owner_of(self, store: bytes) -> Member | None:
        return self.membership.view.owner_of(store[:STORE_BYTES])

    def _is_nearest(self, store: bytes) -> bool:
        """Whether nobody is nearer to a share by what its owner, and its heirs, said of it."""
        view = self.membership.view
        holder = view.owner_of(store[:STORE_BYTES])
        for _ in range(HEIRS_MAX):
            if holder is None or not holder.is_handed_over:
                break
            if holder.heir in view.disputed:
                break
            holder = view.get(holder.heir)
            if holder is not None and holder.expected and holder.reign == 0:
                counters = self.ledger.counters
                # Whoever was given its own share was given, at once, all those that it held: it
                # tells none of them any more, though the news of its end is still on its way.
                return holder.store == counters.store or holder.store in counters.others
        return True

    def speaks_for(self, store: bytes, life: bytes) -> bool:
        """Say whether this node can tell what a store that left had counted, and give it away.

        It holds all of it, and nobody else ever will (`Sole`), and the store had been in that life:
        what was sent to a copy of it, that one may have counted, and go on with. Not where it was
        made of an old backup: the one that this is a backup of may have given away more than it
        knows.
        """
        return not self.membership.parent and self.adoption.folding.tells_of(store, life)

    # -- those that come back -------------------------------------------------------------------

    def _retires(self) -> tuple[bytes, ...]:
        """Return the stores that a copy of this node's disk may tell."""
        if not self.ledger.durable:
            return ()
        counters, parent = self.ledger.counters, self.membership.parent
        # Of one that is held as a part nothing was summed up with anything.
        is_apart = any(key[:8] == parent[:8] for key in counters.others)
        told = stores_told(parent, self.ledger.founder, is_apart=is_apart)
        return (counters.store, *told)

    def _whole(self, sender: Address, message: Whole, now: float) -> list[Effect]:
        """Say whether this node tells what another one tells of its parent as its own.

        It has it, is given it at the moment, or has made one sum of it and others.
        """
        own, adoption, asked = self.membership.member, self.adoption, stores_in_question(message)
        # Who may be a copy of it, or is one, has no word on it: whoever asks waits.
        is_copy = self.membership.is_doubted or bool(self.membership.displaced)
        if message.store == own.store or (own.store in asked and is_copy):
            return []
        is_told = any(store == own.store or adoption.holds(store) for store in asked)
        is_told |= self.wholes is not None and self.wholes.is_ahead(message)
        return [Send(sender, said(own, message, self.membership.view.roll, is_told=is_told))]

    def _quiet_ms(self) -> int:
        """Return how long queries may run that heard what this node hands over, as of now."""
        until = max(self.heard_until(), self.adoption.folding.quiet_until(self._now))
        return int(min(max(0.0, until - self._now) * 1000 + 1, QUIET_MS_MAX))

    def _sole(self, link: Link, sole: Sole, now: float) -> list[Effect]:
        effects = self.adoption.sole(link, sole, now)
        return effects + self.claimed(now)

    def claimed(self, now: float) -> list[Effect]:
        """Refuse those who are expected by the view with what they have handed over."""
        membership, retired = self.membership, self.adoption.retired
        outdone = self._outdone()
        claims = retired.claims(membership.view, self.adoption.folding.finals)
        if not claims:
            return outdone
        learned = membership.learn(
            [replace(member, incarnation=member.incarnation + 1) for member in claims], now
        )
        return [*outdone, *membership.teach(claims), *learned, *told(claims)]

    def _outdone(self) -> list[Effect]:
        """Let go of the parts of shares that others hold whole, and may have made one sum of."""
        others = self.ledger.counters.others
        done = [
            key
            for key, share in others.items()
            if is_part(share.epoch)
            and (owner := self._owner_of(key)) is not None
            and owner.is_handed_over
        ]
        for key in done:
            del others[key]
        return self.adoption.written("outdone", done) if done else []

    # -- leaving ------------------------------------------------------------------------------

    def _drain(self, link: Link, message: Drain, now: float) -> list[Effect]:
        effects = self.begin(now)
        if isinstance(effects, tuple):
            return [Send(link, Refused(message.request, *effects))]
        return [*effects, Send(link, self.leaving.state(message.request))]

    def begin(self, now: float, *, is_end: bool = False) -> list[Effect] | tuple[str, str]:
        """Begin to leave, if it has not begun; returns why not, if it cannot be.

        What is parked here is handed over to nobody. That is no reason to stay for a process that
        ends (`is_end`): it would take its counts with it as well.
        """
        had_begun = self.leaving.phase is not None
        count = len(self.parked)
        if count and not had_begun and not is_end:
            each = "1 increment is" if count == 1 else f"{count} increments are"
            return "parked", f"{each} parked here for nodes that have not answered (counter parked)"
        if self.adoption.folding.is_pending and not had_begun:
            return "busy", f"{self.membership.member.name} writes down other counts; try again"
        if unfenced := self.leaving.unfenced(now):
            return "disk", unfenced
        begun = self.leaving.begin(self.membership.view)
        if had_begun or isinstance(begun, tuple):
            return begun
        return [*self.adoption.end(), *begun]

    def leave(self, now: float) -> list[Effect]:
        """Take the wish of the person who ends this process; tells at once if it cannot be."""
        effects = self.begin(now, is_end=True)
        if isinstance(effects, tuple):
            return [Emit("drain-failed", {"reason": effects[1]})]
        return effects

    def depart(self, now: float) -> list[Effect]:
        """Leave with whatever is held here, which is told to the trackers.

        Leavers under way are sent to others first: what they sealed afterwards would end with this
        process, and be missed by nobody where it is said now that nothing is held.
        """
        self.ledger.is_leaving = True
        refused = self.adoption.end()
        if not self.membership.is_registered:
            return [*refused, Emit("departed", {"announced": False})]
        self._depart_by = now + TOLD_S
        holds_any = self.ledger.holds_counts or len(self.parked) > 0
        holds_counts = holds_any and not self.leaving.holds_nothing
        return [*refused, *self.membership.depart(holds_counts, now, self.leaving.heir)]

    def departed(self) -> list[Effect]:
        """Say that every tracker has noted the departure, once it has."""
        if self._depart_by is None or not self.membership.is_departed:
            return []
        self._depart_by = None
        return [Emit("departed", {"announced": True})]

    def _adopted(self, link: Link, adopted: Adopted, now: float) -> list[Effect]:
        if not self.leaving.owns(link):
            return []
        self._now = now
        effects = self.leaving.adopted(adopted.store)
        self._fall_silent()
        return effects

    # -- streams ------------------------------------------------------------------------------

    def streamed(self, event: Opened | Unreachable | Closed, now: float) -> list[Effect] | None:
        """Take the life of a stream that belongs to a hand-over; None for any other."""
        effects = self.leaving.streamed(event, now)
        if effects is None and isinstance(event, Closed):
            self.adoption.closed(event.link)
        return effects

    def refused(self, link: Link, refused: Refused, now: float) -> list[Effect] | None:
        """Take a no of a receiver; None if it is somebody else's."""
        return self.leaving.refused(refused, now) if self.leaving.owns(link) else None

    # -- the disk, and time -------------------------------------------------------------------

    def persisted(self, event: Persisted, now: float) -> list[Effect]:
        """Go on with what waited for the disk."""
        effects = self.adoption.persisted(event) + self.adoption.folding.persisted(event)
        self._now = now
        effects += self.leaving.persisted(event, now)
        self._fall_silent()
        return effects

    def _fall_silent(self) -> None:
        """Answer no more once the heir does: it may soon make one sum of this and other shares."""
        if self.leaving.holds_nothing and not self._is_mute:
            self._is_mute = True
            self.mute_from(float("-inf"))

    def persist_failed(self, event: PersistFailed, now: float) -> list[Effect]:
        """Give up what is not on disk."""
        effects = self.adoption.persist_failed(event) + self.adoption.folding.persist_failed(event)
        self._now = now
        effects += self.leaving.persist_failed(event, now)
        self._fall_silent()
        return effects

    def tick(self, now: float) -> list[Effect]:
        """Look for a receiver, tell the trackers, and then say that it is over."""
        membership, leaving = self.membership, self.leaving
        effects = self.adoption.tick(now) + self.adoption.folding.look(membership.view, now)
        if self._depart_by is not None and now >= self._depart_by:
            self._depart_by = None
            effects.append(Emit("departed", {"announced": False}))
        if leaving.phase is None:
            return effects
        effects += leaving.look(membership.view, now)
        if leaving.phase == LEAVING and self._told_by is None and self._may_tell:
            self._told_by = now + TOLD_S
            effects += membership.depart(False, now, leaving.heir)
        elif leaving.phase == LEAVING and self._told_by is not None:
            if membership.is_departed or now >= self._told_by:
                leaving.gone()
                self._grace_until = now + GRACE_S
        elif self._grace_until is not None and now >= self._grace_until:
            self._grace_until = None
            effects.append(Emit("drained", {"to": leaving.heir, "keys": leaving.total}))
        return effects

    @property
    def _may_tell(self) -> bool:
        """Whether a tracker can be told of it, or has refused this node since it knows already."""
        membership = self.membership
        is_known = any(refusal.code == HANDED_OVER for refusal in membership.refusals)
        return membership.is_registered or (is_known and not membership.is_seeking)

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next."""
        due = [self.adoption.deadline(), self.leaving.deadline(), self.adoption.folding.deadline()]
        due += [self._grace_until, self._depart_by]
        if self.leaving.phase == LEAVING:
            if self._told_by is None:
                due.append(float("-inf") if self._may_tell else None)
            else:
                due.append(float("-inf") if self.membership.is_departed else self._told_by)
        return min([time for time in due if time is not None], default=None)

    # -- after a restart ----------------------------------------------------------------------

    def restore(self, kept: bytes) -> bool:
        """Take in a record of the log or of a snapshot, if it is one of a hand-over."""
        if kept[1 : 1 + len(MARK)] != MARK:
            return False
        _, what, *fields = wire.unpacked(kept)
        if what == "asked":
            self._asked.setdefault(fields[0], []).extend(fields[1])
            return True
        side = self.leaving if what in ("fenced", "sealing", "done") else self.adoption
        side.restore(what, fields)
        return True

    def resume(self) -> None:
        """Go on where the last life ended, once everything was restored."""
        self.adoption.resume()
        self.leaving.resume()
        self._fall_silent()
        membership, known = self.membership, self._asked
        if membership.parent and not membership.is_apart and not self.leaving.holds_nothing:
            self.wholes = Wholes(self.ledger, membership, self.adoption.written, known)

    def dump(self) -> list[bytes]:
        """Return what a snapshot has to hold beside the counts."""
        asked = [] if self.wholes is None else self.wholes.records()
        kept = [record(*fields) for fields in asked]
        return [*self.adoption.dump(), *self.leaving.dump(), *kept]
