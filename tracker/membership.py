"""The node's half of membership: it registers with every tracker, beats, and merges their news.

One stream to each tracker; its states stand in `tracker.contact`.

The rule: the view only learns. Whatever a tracker says is merged by rank, so that a tracker
that knows nobody takes nobody away, and of several trackers the latest news wins. The node
itself has the last word about itself: it denies being suspect with a higher incarnation.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, Final

from tracker.admission import COPY_CODES, FATAL_CODES, IN_USE_TRIES_MAX, NAME_LOST
from tracker.again import Standing, same
from tracker.announcement import Announcement
from tracker.classes import replace
from tracker.config import shown_endpoint
from tracker.contact import (
    BEAT_AFTER_INTERVALS,
    BEAT_LATER_INTERVALS,
    JOINED,
    JOINING,
    OPENING,
    REFUSED,
    SILENT_INTERVALS,
    WAITING,
    Contact,
    Refusal,
)
from tracker.contacts import Contacts
from tracker.errors import FrameError
from tracker.introduction import WAIT_TRIES, Introduction
from tracker.machine import (
    Close,
    Closed,
    Effect,
    Emit,
    Endpoint,
    Event,
    Link,
    Opened,
    Send,
    Unreachable,
)
from tracker.members import FIRST_EPOCH, Member, View
from tracker.messages import (
    NO_REQUEST,
    UNTOLD,
    Announced,
    Beat,
    Departed,
    Departing,
    Heartbeat,
    Refused,
    Register,
    Registered,
    Teach,
    Wrote,
    news_from_wire,
    news_to_wire,
)
from tracker.pages import PAGE_MEMBERS_MIN, pages_of
from tracker.pulse import beat_body, heartbeat_body
from tracker.reputation import (
    corrections,
    denied,
    is_of_this_start,
    knows_more,
    loss_in,
    name_lost,
    outlived,
    remembered,
    succeeding,
    usurped,
)
from tracker.standing import Regarded, known_until
from tracker.text import printable
from tracker.unheard import Unheard

LOOK_GAP_S: Final = 0.05
"""Least pause between two tries at a tracker, however many queries want to know of it."""


class Membership(Regarded):
    """A sub-machine of the node's: see `tracker.machine`. Times in seconds.

    `view` is the newest view, `member` this node's own record, `activity` what the next beat
    says of it; the owner may set `activity` at any time, and `view` before `start`.
    """

    def __init__(
        self,
        trackers: Sequence[Endpoint],
        member: Member,
        view: View,
        rng: Random,
        interval_s: float,
        reconnect_min_s: float,
        reconnect_max_s: float,
    ) -> None:
        self.member = member
        self.view = view
        self.activity = 0
        # The boots of the lives before this one, and the store that this one grew out of.
        self.lineage, self.parent, self.begins, self.is_apart = b"", b"", b"", False
        # The last record that is safe on disk; the owner sets it.
        self.written = -1
        self.is_doubted = self.is_unheard_of = False
        # Whether it has acknowledged anything, in this life or an earlier one; the owner sets it.
        self.has_counted: Callable[[], bool] = lambda: False
        # Of which stores it tells parts, 8 bytes each; the owner sets it.
        self.parts: Callable[[], bytes] = bytes
        self.stale_s = SILENT_INTERVALS * interval_s
        self.refusals: list[Refusal] = []
        self.is_departed = False
        self._interval_s = interval_s
        pauses_s = reconnect_min_s, reconnect_max_s
        self._contacts = Contacts(trackers, SILENT_INTERVALS * interval_s, rng, *pauses_s)
        self._trackers = self._contacts.all
        # For this long whoever may be a copy leaves a tracker to the other one.
        self._yields_s = WAIT_TRIES * reconnect_max_s
        self._started_at = 0.0
        self._has_joined = False
        self._is_departing = False
        self._lost_to: tuple[bytes, int] | None = None
        # Why somebody else is in this node's place by the view, if so.
        self._usurped = self.outdone = ""
        self.announcement = Announcement()
        self.introduction = Introduction()
        self._unheard = Unheard(member.name, interval_s)

    # -- what the owner asks ------------------------------------------------------------------

    def owns(self, link: Link) -> bool:
        """Whether a link is a stream to one of the trackers."""
        return link in self._contacts.by_link

    def known_until(self, now: float, fresh_s: float) -> float:
        """Say up to when the view is that of the cluster; see `tracker.standing`.

        Never for a node that lost its name: the list has another store there, and the sum ours.
        """
        if self.is_usurped:
            return float("-inf")
        return known_until(self._trackers, now, fresh_s, is_cut_off=self.is_cut_off)

    def learn(self, news: Sequence[Member], now: float) -> list[Effect]:
        """Take in what another node knows."""
        if not news:
            return []
        return self._learned(news, None, now) + self._denials(now)

    def _learned(self, news: Sequence[Member], source: Contact | None, now: float) -> list[Effect]:
        """Merge news; tell the trackers of names that two have, and whether this node's is one."""
        before = self.view
        self.view = before.merged(news)
        joined = [tracker for _, tracker in self._contacts.joined()]
        # What the only tracker has told it knows.
        if joined != [source] and not self.announcement.is_strange:
            self._unheard.note(news, before, self.view, source, joined, now)
        told = [] if self.announcement.is_strange else corrections(before, self.view, news)
        return self.teach(told) + self.outlive() + self._name_lost()

    def outlive(self) -> list[Effect]:
        """Give the store up of which this one tells all as its own, as trackers do."""
        is_open = self.announcement.is_unasked
        if not self.parent or self.is_apart or is_open or not self.is_registered:
            return []
        told = [] if self.announcement.is_strange else outlived(self.member, self.view, self.parent)
        self.view = self.view.merged(told)
        return self.teach(told)

    def teach(self, members: Sequence[Member]) -> list[Effect]:
        """Tell every tracker what this node knows better, in this order."""
        return self._taught([news_to_wire((member,)) for member in members])

    def _taught(self, pages: Iterable[bytes]) -> list[Effect]:
        return [effect for page in pages for effect in self.tell(Teach(page))]

    def tell(self, message: Any) -> list[Effect]:
        """Say something to every tracker that has this node."""
        return [Send(link, message) for link, _ in self._contacts.joined()]

    def look(self, now: float) -> list[Effect]:
        """Try every lost tracker now rather than after its pause: somebody wants to know."""
        effects: list[Effect] = []
        for tracker in self._trackers:
            if tracker.state == WAITING:
                soonest = max(now, tracker.tried_at + LOOK_GAP_S)
                tracker.retry_at = min(tracker.retry_at, soonest)
                effects += self._watched(tracker, now)
        return effects

    # -- the machine --------------------------------------------------------------------------

    def recall(self, view: View) -> None:
        """Begin with the list, and the place in it, of an earlier life."""
        self.view = view
        self.member = remembered(self.member, view)

    def start(self, now: float) -> list[Effect]:
        """Begin: open a stream to every tracker."""
        self._started_at = now
        self.is_doubted = bool(self._trackers)
        return [*self._name_lost(), *[tracker.open(now) for tracker in self._trackers]]

    def receive(self, link: Link, message: Any, now: float) -> list[Effect]:
        """Take one message from a tracker."""
        tracker = self._contacts.by_link.get(link)
        if tracker is None:
            return []
        match message:
            case Heartbeat():
                return self._heartbeat(tracker, link, message, now)
            case Registered():
                return self._registered(tracker, link, message, now)
            case Announced():
                self.announcement.heard(tracker.endpoint)
                was_known = self.announcement.believed()
                self.is_doubted = was_known and self.is_doubted
                return [] if was_known else self._taught(pages_of(self.view))
            case Refused():
                return self._refused(tracker, message, now)
            case Departed():
                return self._departed(tracker, link)
        return []

    def reflex(self, link: Link, body: bytes, now: float) -> bytes | None:
        """Answer a heartbeat that says nothing new with the body of a beat, both in bytes.

        None leaves the frame to `receive`, which would change the same and say the same.
        """
        tracker = self._contacts.by_link.get(link)
        if tracker is None or tracker.state != JOINED or not tracker.is_caught_up:
            return None
        if tracker.told != self.written:
            return None
        if self._is_departing or body != heartbeat_body(tracker.epoch, tracker.version):
            return None
        tracker.quiet_since = tracker.heard_at = now
        tracker.beat_at = now + BEAT_AFTER_INTERVALS * self._interval_s
        return beat_body(tracker.version, self.member.incarnation, self.activity)

    def stands(self, link: Link) -> Standing:
        """Say while what `reflex` would do the same again."""
        ours = same(self, "_is_departing", "written", "member", "activity")
        tracker = self._contacts.by_link[link]
        return tracker.stands(BEAT_AFTER_INTERVALS * self._interval_s).joined(ours)

    def submit(self, event: Event, now: float) -> list[Effect]:
        """Take the life of a stream; what belongs to others is ignored, or closed if it opens."""
        by_endpoint, by_link = self._contacts.by_endpoint, self._contacts.by_link
        match event:
            case Opened(link, to) if to in by_endpoint:
                return self._opened(by_endpoint[to], link, now)
            case Opened(link):
                # Whoever wanted it has given it up meanwhile.
                return [Close(link)]
            case Unreachable(to, reason) if to in by_endpoint:
                tracker = by_endpoint[to]
                if tracker.state != OPENING:
                    return []
                tracker.missed_at = tracker.tried_at
                return self._wait(tracker, reason, now)
            case Closed(link, reason) if link in by_link:
                return self._wait(by_link[link], reason, now)
        return []

    def tick(self, now: float) -> list[Effect]:
        """Beat, try again, give up on the silent: whatever is due."""
        due = self.deadline()
        if due is not None and now - due >= (1 - BEAT_LATER_INTERVALS) * self._interval_s:
            # This node itself was stopped: what the trackers said may lie in its sockets.
            for tracker in self._trackers:
                tracker.quiet_since = now
        effects: list[Effect] = []
        for tracker in self._trackers:
            effects += self._watched(tracker, now)
        if not self._is_departing:
            for link, tracker in self._contacts.joined():
                if now >= tracker.beat_at:
                    effects.append(self._beat(tracker, link, now))
                    tracker.beat_at = now + self._interval_s
            effects += self._unheard.due(self.view, self._trackers, now)
        return effects

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next; None when only a tracker can change anything."""
        due = self._contacts.deadline(self._interval_s, is_departing=self._is_departing)
        told_at = None if self._is_departing else self._unheard.deadline()
        return min([at for at in (due, told_at) if at is not None], default=None)

    def depart(self, holds_counts: bool, now: float, heir: str = "") -> list[Effect]:
        """Announce a graceful stop; each tracker says Departed, then `is_departed` is set.

        `heir` is who holds the counts of this node by now. What was written since the last beat
        is told first: no backup from before it passes for what this node leaves on its disk.
        """
        self._is_departing = True
        joined = [t for t in self._trackers if t.state == JOINED]
        self.is_departed = not joined
        effects: list[Effect] = []
        for tracker, link in [(t, t.link) for t in joined if t.link is not None]:
            effects += self._wrote(tracker, link)
            effects.append(Send(link, Departing(holds_counts, heir)))
        return effects

    def _wrote(self, tracker: Contact, link: Link) -> list[Effect]:
        """Tell a tracker how far this node's disk holds everything, if that is news to it."""
        if tracker.told == self.written:
            return []
        tracker.told = self.written
        return [Send(link, Wrote(self.written))]

    # -- streams ------------------------------------------------------------------------------

    def _opened(self, tracker: Contact, link: Link, now: float) -> list[Effect]:
        if tracker.state != OPENING or self._is_departing:
            return [Close(link)]
        if self.is_second and now < tracker.missed_at + self._yields_s:
            return [Close(link), *self._wait(tracker, "left to the other one", now)]
        known = self.view.get(self.member.name)
        was_in = self._has_joined or (known is not None and known.store == self.member.store)
        has_counted, own = was_in or self.has_counted(), (self.member, self.lineage, self.parent)
        is_back = own[0].epoch > FIRST_EPOCH and not self._has_joined
        starts, parts = (self.is_apart, self.begins, is_back), self.parts()
        registration = Register(*own, self.written, has_counted, *starts, parts=parts)
        self._contacts.opened(tracker, link, registration, now)
        return [Send(link, registration)]

    def _wait(self, tracker: Contact, reason: str, now: float) -> list[Effect]:
        """Note that a tracker is lost, and try it again after a pause."""
        effects: list[Effect] = []
        if not tracker.is_missed and not self._is_departing:
            tracker.is_missed = True
            details = {"tracker": shown_endpoint(tracker.endpoint), "reason": printable(reason)}
            effects.append(Emit("tracker-lost", details))
        self._contacts.lost(tracker, now)
        is_deciding = self.introduction.is_doubled or any(t.is_deciding for t in self._trackers)
        self.unjudged(is_doubtful=self.announcement.is_strange or is_deciding)
        self.is_departed = self._is_departing and not self._contacts.by_link
        return effects

    def _watched(self, tracker: Contact, now: float) -> list[Effect]:
        if tracker.state == WAITING and now >= tracker.retry_at and not self._is_departing:
            return [tracker.open(now)]
        link = tracker.link
        if link is None or now < tracker.silent_at:
            return []
        effects = [Close(link), *self._wait(tracker, "silent", now)]
        # It was not refused, only not heard: whether it can be reached is not known.
        tracker.is_down = False
        return effects

    # -- what trackers say --------------------------------------------------------------------

    def _registered(
        self, tracker: Contact, link: Link, message: Registered, now: float
    ) -> list[Effect]:
        if tracker.state != JOINING:
            return []
        was_strange = self.announcement.is_strange
        self.is_doubted = self.announcement.introduced(is_strange=message.is_strange)
        self.introduction.settled()
        effects: list[Effect] = []
        was_missed = tracker.joined(message, self._interval_s, now)
        stale_at = now + max(self.stale_s, tracker.silent_s)
        is_strange = message.is_strange
        self.announcement.registered(tracker.endpoint, stale_at, is_strange=is_strange)
        if was_missed:
            details = {"tracker": shown_endpoint(tracker.endpoint)}
            effects.append(Emit("tracker-back", details))
        own = self.member
        reign = max(own.reign, message.reign)
        self.member = replace(
            own, reign=reign, incarnation=max(own.incarnation, message.incarnation)
        )
        is_raised = self.member.rank > own.rank
        effects += self._beats(now) if is_raised else [self._beat(tracker, link, now)]
        # What it tells as its own nobody is to expect of another one as well.
        effects += self.outlive()
        if was_strange and not self.announcement.is_strange:
            return effects + self._taught(pages_of(self.view))
        # The list of a store that is refused in the end is as old as its disk: nobody hears it.
        if not self.announcement.is_strange and knows_more(self.view, self.member, message.digest):
            effects += [Send(link, Teach(page)) for page in pages_of(self.view)]
        return effects

    def _heartbeat(
        self, tracker: Contact, link: Link, message: Heartbeat, now: float
    ) -> list[Effect]:
        if tracker.state != JOINED or message.tracker_epoch != tracker.epoch:
            return []
        tracker.quiet_since = now
        self.announcement.beaten(tracker.endpoint, now + max(self.stale_s, tracker.silent_s))
        has_come = message.since < message.version <= tracker.version
        if has_come or message.since > tracker.version:
            # It was sent again, or a page before this one is lost: say where we stand.
            return [self._beat(tracker, link, now)]
        try:
            news = news_from_wire(message.page)
        except FrameError as error:
            return [Close(link), *self._wait(tracker, str(error), now)]
        # The first pages of a long list are no view yet. The last one is short, or holds the
        # record of this node: nothing in the list is newer than its registration.
        is_last = len(news) <= PAGE_MEMBERS_MIN or any(m.name == self.member.name for m in news)
        tracker.heard(message.version, now, is_last=is_last)
        effects: list[Effect] = []
        denials: list[Effect] = []
        if news:
            effects += self._learned(news, tracker, now)
            effects += self._joined(tracker, now)
            denials = self._denials(now)
        effects += self._wrote(tracker, link)
        if denials or self._is_departing:
            return effects + denials
        return [*effects, self._beat(tracker, link, now)]

    def _joined(self, tracker: Contact, now: float) -> list[Effect]:
        known = self.view.get(self.member.name)
        own = self.member
        is_known = known is not None and (known.store, known.epoch) == (own.store, own.epoch)
        if self._has_joined or not is_known:
            return []
        self._has_joined = True
        details = {
            "tracker": shown_endpoint(tracker.endpoint),
            "ms": (now - self._started_at) * 1000.0,
            "members": self.view.expected,
        }
        return [Emit("joined", details)]

    def _denials(self, now: float) -> list[Effect]:
        """Compare the view's record of this node with the truth; deny what is wrong in it."""
        told = self.view.get(self.member.name)
        if told is None or not is_of_this_start(self.member, told, self.lineage):
            return []
        self.member, is_denied = denied(self.member, told)
        return self._beats(now) if is_denied else []

    def _name_lost(self) -> list[Effect]:
        """Say, once for each, that a later record gives this node's name to somebody else."""
        self.member = own = succeeding(self.member, self.view, self.parent)
        told = self.view.get(own.name)
        loss = loss_in(own, self.view, self.lineage)
        self._usurped = usurped(own, self.view, self.parent, loss)
        if told is None or loss is None or self._lost_to == (told.store, told.epoch):
            return []
        self._lost_to = told.store, told.epoch
        self.is_doubted = self.is_doubted or loss.event != "name-lost"
        return [loss]

    def _refused(self, tracker: Contact, message: Refused, now: float) -> list[Effect]:
        if message.request != NO_REQUEST or tracker.link is None or self._is_departing:
            return []
        code, text = printable(message.code, 32), printable(message.text, 400)
        tracker.in_use_tries += code == "in-use"
        is_fatal = code in FATAL_CODES or tracker.in_use_tries > IN_USE_TRIES_MAX
        if tracker.state == JOINED and not is_fatal and code != "not-registered":
            return [Emit("tracker-complains", {"code": code, "text": text})]
        address = shown_endpoint(tracker.endpoint)
        details = {"code": code, "text": text, "tracker": address, "final": is_fatal}
        details |= {"common": message.common} if message.common != UNTOLD else {}
        effects: list[Effect] = [Close(tracker.link)]
        if code != "not-registered":
            if code == NAME_LOST:
                effects.append(name_lost(self.member, self.view, text))
            elif tracker.refusal != code or is_fatal:
                effects.append(Emit("registration-refused", details))
            tracker.refusal = code
            self.is_doubted |= code in COPY_CODES and not self.is_registered
            tracker.is_missed = True
        effects += self._wait(tracker, text, now)
        if is_fatal:
            tracker.state = REFUSED
            self.refusals.append(Refusal(tracker.endpoint, code, text))
        return effects

    def _departed(self, tracker: Contact, link: Link) -> list[Effect]:
        if not self._is_departing:
            return []
        self._contacts.unlink(tracker)
        tracker.state = WAITING
        self.is_departed = not any(t.state == JOINED for t in self._trackers)
        return [Close(link)]

    # -- beats --------------------------------------------------------------------------------

    def _beats(self, now: float) -> list[Effect]:
        joined = [] if self._is_departing else self._contacts.joined()
        return [self._beat(tracker, link, now) for link, tracker in joined]

    def _beat(self, tracker: Contact, link: Link, now: float) -> Effect:
        tracker.beat_at = now + BEAT_AFTER_INTERVALS * self._interval_s
        return Send(link, Beat(tracker.version, self.member.incarnation, self.activity))
