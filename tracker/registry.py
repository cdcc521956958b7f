"""The tracker's machine: it takes nodes in, listens for their beats, and publishes the view.

The rule: the tracker never knows better than the node itself. It raises nobody's incarnation
but that of a node which registers (and so proves that it is here), and takes in whatever
later news it is taught, its own restart included: a table that starts empty only grows.
How a member's status changes stands in `tracker.statuses`.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

from tracker.admission import (
    Admitted,
    Refusal,
    Seen,
    asserted,
    given_up,
    is_copy,
    judge,
    late_news,
    left_behind,
    name_lost,
)
from tracker.arrivals import Arrivals
from tracker.classes import replace
from tracker.config import TrackerConfig
from tracker.directory import Directory
from tracker.entries import Entries
from tracker.errors import FrameError
from tracker.failure import FailureDetector
from tracker.keeping import MEMBERS_KIND as MEMBERS_KIND
from tracker.keeping import Keeping
from tracker.machine import (
    Address,
    Close,
    Closed,
    Effect,
    Emit,
    Event,
    Leave,
    Link,
    Persisted,
    PersistFailed,
    Send,
)
from tracker.members import ALIVE, DEAD, GONE, STATUS_NAMES, SUSPECT, Member, settled
from tracker.messages import (
    NO_REQUEST,
    TEXT_MAX,
    Announced,
    Beat,
    Departed,
    Departing,
    Find,
    Forget,
    Forgotten,
    Refused,
    Register,
    Registered,
    Roster,
    Teach,
    Withhold,
    Wrote,
    news_from_wire,
)
from tracker.pages import marks_from_record, members_from_record
from tracker.publication import Publication
from tracker.pulse import activity_in
from tracker.registrations import Registrations
from tracker.replies import alive, not_registered, shown, unexpected, unknown
from tracker.statuses import forgotten, is_missed, silent, stopped
from tracker.strangers import Strangers
from tracker.table import COUNT_MAX, Table, is_sane
from tracker.text import printable
from tracker.trust import Trust
from tracker.withheld import Withheld
from tracker.written import Written

TAUGHT_MAX: Final = 8
"""Pages remembered as taken in: after a restart, everybody teaches the same ones."""

_Handler = Callable[["Registry", Link, Any, float], list[Effect]]


class Registry:
    """The tracker as a machine; see `tracker.machine`.

    `tracker_epoch` are 8 random bytes made anew at each start; `saved` is the record of the
    last Persist, `token` its token (0: none). Raises FrameError for a record it cannot read.
    """

    def __init__(
        self,
        config: TrackerConfig,
        tracker_epoch: bytes,
        saved: bytes | None,
        rng: Random,
        token: int = 0,
    ) -> None:
        self.table = Table(tracker_epoch)
        self._config = config
        self._epoch = tracker_epoch
        self._saved = members_from_record(saved) if saved is not None else ()
        self._links = Registrations()
        self._keeping = Keeping(token)
        self._written = Written(config.members_max)
        self._strangers = Strangers(self.table)
        self._trust = Trust(config.interval_s)
        self._withheld = Withheld()
        if saved is not None:
            self._written.restore(marks_from_record(saved))
        self._detector = FailureDetector(
            config.suspect_after_s, config.dead_after_s, config.forget_after_s
        )
        self._taught: deque[bytes] = deque(maxlen=TAUGHT_MAX)
        self._publication = Publication(self.table, config.publish_gap_s)
        parts = (self._publication, self._keeping, self._detector, self._written)
        self._entries = Entries(self.table, *parts)
        self._arrivals = Arrivals(self._entries.is_placed, config.members_max)
        self._directory = Directory(self.table, self._arrivals.told, self._links.activity, rng)
        # What was due before the start, or the last tick, was not missed by sleeping.
        self._heartbeat_at = self._listened_at = 0.0

    def __len__(self) -> int:
        """Return how many members are not gone, before the start those of the saved list."""
        return self.table.expected + sum([member.expected for member in self._saved])

    # -- the machine ------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin with the saved members, each watched from now on."""
        self._listened_at = now
        self._heartbeat_at = now + self._config.interval_s
        self._trust.begin(self._saved, now)
        for member in self._saved:
            self._take(member, now)
        self._saved = ()
        self._keeping.begin(self.table.version)
        return [Emit("tracker-started", {"members": len(self.table)})]

    def receive(self, sender: Address, message: Any, now: float) -> list[Effect]:
        """Take one message from a link; datagrams are nothing to a tracker."""
        if not isinstance(sender, int):
            return []
        handler = _HANDLERS.get(message.__class__)
        if handler is None:
            return unexpected(sender, message)
        return self._with_due(handler(self, sender, message, now), now)

    def reflex(self, link: Link, body: bytes, now: float) -> bytes | None:
        """Take a beat that says nothing new, in bytes; None leaves the frame to `receive`.

        Changes exactly what `receive` would change, which would return no effects; nothing is
        due any sooner by it. A beat is not answered.
        """
        registration = self._links.get(link)
        is_saving = self._keeping.is_wanted
        if registration is None or is_saving or not self._publication.is_settled(link):
            return None
        name = registration.name
        activity = activity_in(body, self.table.version, self.table.members[name].incarnation)
        if activity is None:
            return None
        registration.heard_at = now
        registration.activity = activity
        self._detector.heard(name, now)
        return b""

    def submit(self, event: Event, now: float) -> list[Effect]:
        """Take one event: a link's end, what became of a record, the wish to stop."""
        effects: list[Effect] = []
        if isinstance(event, Closed):
            effects = self._closed(event.link, now)
        elif isinstance(event, Persisted):
            self._keeping.written()
        elif isinstance(event, PersistFailed):
            self._keeping.failed(now)
            effects = [Emit("members-not-saved", {"reason": printable(event.reason)})]
        elif isinstance(event, Leave):
            self._keeping.hurry(now)
        return self._with_due(effects, now)

    def hold_to(self, config: TrackerConfig) -> None:
        """Take other limits of silence from now on; the rest of the settings stays."""
        suspect_s, dead_s = config.suspect_after_s, config.dead_after_s
        self._config = replace(self._config, suspect_after_s=suspect_s, dead_after_s=dead_s)
        self._detector.limit(suspect_s, dead_s)

    def tick(self, now: float) -> list[Effect]:
        """Say who has fallen silent, send the heartbeat, publish and save what is due."""
        late_s = now - max(self.deadline(), self._listened_at)
        self._listened_at = now
        if late_s > (self._config.suspect_after_s - self._config.interval_s) / 2:
            # The tracker itself was stopped: the beats it missed may lie in its sockets, and
            # those that answer its heartbeat come as late as that went out.
            self._detector.excuse(late_s)
        effects: list[Effect] = []
        for name, verdict in self._detector.due(now):
            effects += self._judged(name, verdict, now)
        for link, told in self._arrivals.due(now):
            effects += self._register(link, told, now)
        if now >= self._heartbeat_at:
            self._heartbeat_at += self._config.interval_s
            if self._heartbeat_at <= now:
                self._heartbeat_at = now + self._config.interval_s
            effects += self._publication.heartbeat(now)
        return self._with_due(effects, now)

    def deadline(self) -> float:
        """Say when something is due next; there is always a heartbeat to come."""
        at = self._heartbeat_at
        waits = (self._publication, self._detector, self._keeping, self._arrivals)
        for other in [part.deadline() for part in waits]:
            at = at if other is None else min(at, other)
        return at

    # -- a node's life ----------------------------------------------------------------------

    def _register(self, link: Link, message: Register, now: float) -> list[Effect]:
        if link in self._links or link in self._arrivals:
            return unexpected(link, message)
        if self._arrivals.puts_off(link, message, now):
            return []
        verdict, effects = self._judge(message, now), list[Effect]()
        if isinstance(verdict, Refusal) and verdict.clash is not None:
            self._strangers.meet(verdict.clash, self.table.owner_of(verdict.clash.store))
            effects += self._take(verdict.clash, now)
            verdict = self._judge(message, now)
        if isinstance(verdict, Refusal):
            return effects + self._refused(link, message.member, verdict)
        member = verdict.member
        old = self.table.get(member.name)
        is_strange = self._strangers.judge(verdict, old)
        if self._arrivals.is_contested(message):
            self._strangers.contested(member.store)
        effects += self._consequences(verdict, now)
        if old is not None and old.store != member.store:
            self._entries.put(given_up(old, verdict), now)
        for name, told in settled(member, self.table.get):
            self._entries.settle(name, told, now)
        self._links.note(link, member.name, now)
        self._trust.registered(member.name)
        self._withheld.registered(member.name)
        self._entries.note_registered(member, message, now)
        self._publication.add(link)
        self._detector.heard(member.name, now)
        answer = Registered(
            self._epoch,
            member.reign,
            member.incarnation,
            self.table.digest,
            round(self._config.interval_s * 1000),
            is_strange,
        )
        details = {**shown(member), "durable": member.durable, "epoch": member.epoch}
        return [*effects, Send(link, answer), Emit(verdict.event, details)]

    def _judge(self, message: Register, now: float) -> Admitted | Refusal:
        seen, most = (lambda name: self._seen(name, now)), self._config.members_max
        return self._entries.compared(judge(message, self.table, seen, most), message)

    def _refused(self, link: Link, member: Member, refusal: Refusal) -> list[Effect]:
        code, text = refusal.code, printable(refusal.text, TEXT_MAX)
        details = {**shown(member), "code": code, "text": text}
        no = Refused(NO_REQUEST, code, text, refusal.common)
        return [Send(link, no), Close(link), Emit("refused", details)]

    def _consequences(self, verdict: Admitted, now: float) -> list[Effect]:
        """End what an admission ends: the old link, the old name, the old owner's counts."""
        effects: list[Effect] = []
        renamed, lost = verdict.renamed, verdict.lost
        if renamed is not None:
            effects += self._unlinked(renamed.name)
            effects += self._changed(left_behind(renamed, verdict), now)
        effects += self._unlinked(verdict.member.name)
        if lost is not None:
            effects.append(Emit("counts-lost", {**shown(lost), "note": verdict.member.note}))
        return effects

    def _beat(self, link: Link, message: Beat, now: float) -> list[Effect]:
        registration = self._links.get(link)
        if registration is None:
            return not_registered(link)
        registration.heard_at = now
        registration.activity = message.activity
        self._publication.acknowledged(link, message.version)
        name = registration.name
        self._detector.heard(name, now)
        member = self.table.members[name]
        if member.incarnation < message.incarnation <= COUNT_MAX:
            denied = replace(member, status=ALIVE, incarnation=message.incarnation)
            return self._changed(denied, now)
        return []

    def _wrote(self, link: Link, message: Wrote, now: float) -> list[Effect]:
        registration = self._links.get(link)
        if registration is None:
            return not_registered(link)
        self._entries.note_written(self.table.members[registration.name], message.written, now)
        return []

    def _withhold(self, link: Link, message: Withhold, now: float) -> list[Effect]:
        registration = self._links.get(link)
        if registration is None:
            return not_registered(link)
        self._withheld.note(registration.name, message.store, now, is_wanted=message.is_wanted)
        return []

    def _departing(self, link: Link, message: Departing, now: float) -> list[Effect]:
        registration = self._links.get(link)
        if registration is None:
            return not_registered(link)
        member = self.table.members[registration.name]
        left, effects = stopped(member, message), list[Effect]()
        if left.status == DEAD:
            effects.append(Emit("counts-lost", {**shown(member), "note": left.note}))
        self._unlink(link)
        self._entries.put(left, now)
        self._entries.watch(left, now)
        told = {**shown(member), "status": STATUS_NAMES[left.status], "note": left.note}
        return [*effects, Send(link, Departed(left.status)), Emit("left", told)]

    def _closed(self, link: Link, now: float) -> list[Effect]:
        registration = self._links.get(link)
        self._arrivals.remove(link)
        if registration is None:
            return []
        self._unlink(link)
        member = self.table.members[registration.name]
        if member.status != ALIVE:
            return []
        return self._changed(member.became(SUSPECT), now, "its connection closed")

    def _judged(self, name: str, verdict: int, now: float) -> list[Effect]:
        """Act on what the detector says of a name."""
        member = self.table.members[name]
        if verdict == SUSPECT and member.status != ALIVE:
            # It beat, but did not deny; and now it does not even beat.
            self._entries.watch(member, now)
            return []
        judged, why = silent(member, verdict, self._config.forget_after_s)
        return self._changed(judged, now, why)

    # -- news -------------------------------------------------------------------------------

    def _teach(self, link: Link, message: Teach, now: float) -> list[Effect]:
        if link not in self._links:
            return not_registered(link)
        if message.page in self._taught:
            return []
        try:
            news = news_from_wire(message.page)
        except FrameError as error:
            return [Send(link, Refused(NO_REQUEST, "bad-page", printable(str(error), TEXT_MAX)))]
        self._taught.append(message.page)
        effects: list[Effect] = []
        for member in news:
            effects += self._take(member, now)
        return effects

    def _take(self, member: Member, now: float) -> list[Effect]:
        """Take in a record that somebody else vouches for, if it is later than ours."""
        old = self.table.get(member.name)
        late = late_news(member, old)
        if late is not None:
            ousted = self._ousted(*late)
            return ousted + self._changed(late[0], now, "as another node has it")
        if not is_sane(member):
            return []
        is_here = old is not None and self._links.link_of(member.name) is not None
        if old is not None and is_here and (is_copy(member, old) or is_missed(member, old)):
            # The one that is here has the last word, and all hear it.
            return self._changed(asserted(old, member), now)
        changes = settled(member, self.table.get)
        new = sum([told is not None and self.table.get(name) is None for name, told in changes])
        if new and len(self.table) + new > self._config.members_max:
            return []
        if member.status != GONE and self.table.collides(member.name) is not None:
            return []
        effects: list[Effect] = []
        for name, told in changes:
            known = self.table.get(name)
            if told is None:
                effects += self._unlinked(name)
                self._entries.remove(name)
                continue
            if known is not None and known.store != told.store:
                # Two trackers that could not hear each other gave one name away twice.
                effects += self._ousted(known, name_lost(known.without_name(), told))
            effects += self._changed(told, now, "as another tracker has it")
        return effects

    def _ousted(self, member: Member, refusal: Refusal) -> list[Effect]:
        """Refuse the node that is registered under this name, if one is."""
        link = self._links.link_of(member.name)
        if link is None:
            return []
        self._unlink(link)
        return self._refused(link, member, refusal)

    def _changed(self, member: Member, now: float, why: str = "") -> list[Effect]:
        """Put a record into the table, watch it as its status wants, and say what is new."""
        old = self.table.get(member.name)
        self._entries.put(member, now)
        if old is not None and old.status == member.status:
            if self._links.link_of(member.name) is None:
                self._entries.watch(member, now)
            return []
        self._entries.watch(member, now)
        # If it lives after all, it comes back by registering, and is alive again at once.
        effects = self._unlinked(member.name) if member.status == GONE else []
        details = {**shown(member), "why": why} if why else shown(member)
        return [*effects, Emit(STATUS_NAMES[member.status], details)]

    # -- what goes out ----------------------------------------------------------------------

    def _with_due(self, effects: list[Effect], now: float) -> list[Effect]:
        """Return `effects`, and behind them the news and the record that are due by now."""
        effects += self._publication.due(now)
        self._trust.now = now
        for link, version in self._publication.announced(self._may_trust, self._is_kept):
            self._strangers.announced(self._registered(link).store)
            effects.append(Send(link, Announced(version)))
        if self._keeping.is_due(now):
            members, marks = self.table.members.values(), self._written.marks()
            effects.append(self._keeping.record(members, self.table.version, marks, now))
        return effects

    def _may_trust(self, link: Link) -> bool:
        return self._trust.may_trust(self._registered(link), self._links[link].heard_at)

    def _registered(self, link: Link) -> Member:
        return self.table.members[self._links[link].name]

    def _is_kept(self, link: Link, version: int) -> bool:
        """Whether a node is known after a power cut of everything, if its counts survive that."""
        member, is_here = self._registered(link), self._trust.is_everybody_here
        is_kept = is_here and (self._keeping.is_safe(version) or not member.durable)
        if not is_kept or not self._strangers.may_announce(member.store, len(self._links)):
            return False
        return self._withheld.may_announce(member.store, self._trust.now, self.table.may_live)

    # -- clients ----------------------------------------------------------------------------

    def _found(self, link: Link, message: Find | Roster, now: float) -> list[Effect]:
        return [Send(link, page) for page in self._directory.told(message, now)]

    def _forget(self, link: Link, message: Forget, now: float) -> list[Effect]:
        member = self.table.get(message.name)
        if member is None:
            return [Send(link, unknown(message.request, message.name))]
        if member.status == ALIVE:
            return [Send(link, alive(message.request, member))]
        seconds = now - self.table.since(member.name)
        answer = Send(link, Forgotten(message.request, member.status, seconds))
        if member.status == GONE:
            return [answer]
        gone, why = forgotten(member)
        return [answer, *self._changed(gone, now, why)]

    # -- links ------------------------------------------------------------------------------

    def _seen(self, name: str, now: float) -> Seen:
        member, beat_s = self.table.members[name], self._links.silent_s(name, now)
        written, parts = self._written.of(member), self._entries.parts_at(member)
        whole = self._entries.whole_at(member)
        return Seen(beat_s, now - self.table.since(name), written, parts, whole)

    def _unlink(self, link: Link) -> None:
        self._links.drop(link)
        self._publication.remove(link)

    def _unlinked(self, name: str) -> list[Effect]:
        """Close the link on which a name was registered, if there is one."""
        link = self._links.link_of(name)
        if link is None:
            return []
        self._unlink(link)
        return [Close(link)]


_HANDLERS: Final[dict[Any, _Handler]] = {
    Register: Registry._register,
    Beat: Registry._beat,
    Departing: Registry._departing,
    Wrote: Registry._wrote,
    Withhold: Registry._withhold,
    Teach: Registry._teach,
    **dict.fromkeys((Find, Roster), Registry._found),
    Forget: Registry._forget,
    Refused: lambda registry, link, message, now: [],
}
