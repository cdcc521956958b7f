"""Epochs of keys, told to whoever has just begun by those who were there before.

A store that begins, or begins again, knows nothing of the resets meanwhile; what it counts in an
epoch that is over is in no total any more. The members next to its place on the ring tell it of
every key that was ever reset, page by page, each again until it is acknowledged::

    a start is met      `Withhold` to the trackers, the first pages to the newcomer
    `Learned`           the next page; past the last, whatever was learned here meanwhile
    nothing is left     or others have told it the rest: it is withheld no longer; who introduced
                        itself gets its word
    it is dead          nothing is sent, until it lives again
    it is gone          or begins once more: this lesson is over

Each of them begins at another page, and so each has to tell a part only.

The rule: a teacher asks the trackers to wait before it acknowledges the news of the newcomer, and
keeps its own word back from whoever has no tracker. So it acknowledges nothing before it was taught
(`tracker.withheld`, `tracker.introduction`).
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from counter.epochs import Epochs
from counter.messages import EpochRow, Learned, Lesson
from counter.messages import Epochs as Told
from counter.moves import Handler, pages_of
from tracker.digest import blake2b
from tracker.machine import Effect, Link, Send
from tracker.members import ALIVE, SUSPECT, Member, View, position
from tracker.membership import Membership
from tracker.messages import Introduced, Withhold

TEACHERS_MAX: Final = 8
"""Members that tell a newcomer: some of them may have missed a reset."""
LOOKED_MAX: Final = 64
"""Places of the ring at which teachers are looked for."""
WINDOW_PAGES: Final = 8
"""Pages on their way to one newcomer: those of all its teachers fit into a socket's buffer."""
AGAIN_MIN_S: Final = 0.05
AGAIN_MAX_S: Final = 1.0
"""Seconds until pages are sent again: at least, and at most, where nothing is acknowledged."""

_UNASKED: Final = bytes(16)
_NUMBER_BYTES: Final = 8


class _Lesson:
    """What one newcomer is told: pages, of which those before `sent` are on their way or there."""

    __slots__ = (
        *("due", "gap_s", "id", "introduced", "is_first", "is_heard", "pages", "pupil", "rows"),
        *("sent", "unlearned"),
    )

    def __init__(self, pupil: Member, teacher: Member, *, is_first: bool, now: float) -> None:
        self.pupil = pupil
        # Whoever knows it is taught by this member, in this life of both.
        about = b"".join([_start(member) for member in (pupil, teacher)])
        self.id = blake2b(about, digest_size=16 - _NUMBER_BYTES).digest()
        self.is_first = is_first
        # Whether it lives, as far as is known.
        self.is_heard = True
        self.rows: list[EpochRow] = []
        self.pages: list[Told] = []
        # When each page on its way was sent; None once that was done again.
        self.unlearned: dict[int, float | None] = {}
        self.sent = 0
        self.introduced: Effect | None = None
        self.gap_s = AGAIN_MIN_S
        self.due = now + AGAIN_MIN_S

    def add(self, rows: list[EpochRow], pages: list[Told], now: float) -> list[Effect]:
        """Take these rows, in these pages, into the lesson; return what is sent of them at once."""
        self.rows, self.pages = rows, self.pages + pages
        return self._more(now)

    def learned(self, number: int, now: float) -> list[Effect]:
        """Take it that a page has come."""
        if number not in self.unlearned:
            return []
        sent_at = self.unlearned.pop(number)
        # A newcomer that is slow is not told all of it twice and thrice, which makes it slower. Of
        # a page that was sent again nobody knows which of both has come (Karn, Partridge 1987).
        if sent_at is not None:
            self.gap_s = min(max(AGAIN_MIN_S, 2 * (now - sent_at)), AGAIN_MAX_S)
        self.due = now + self.gap_s
        return self._more(now)

    def again(self, now: float) -> list[Effect]:
        """Return what is on its way once more, if that is due."""
        if now < self.due or not self.is_heard:
            return []
        self.gap_s = min(2 * self.gap_s, AGAIN_MAX_S)
        self.due = now + self.gap_s
        self.unlearned = dict.fromkeys(self.unlearned)
        return [self._page(number) for number in self.unlearned]

    def _more(self, now: float) -> list[Effect]:
        said: list[Effect] = []
        while self.sent < len(self.pages) and len(self.unlearned) < WINDOW_PAGES:
            said.append(self._page(self.sent))
            self.unlearned[self.sent] = now
            self.sent += 1
        return said

    def _page(self, number: int) -> Effect:
        page, at = self.pages[number], self.id + number.to_bytes(_NUMBER_BYTES, "big")
        lesson = Lesson(at, page.rows, page.is_page, page.after, page.up_to, self.is_first)
        return Send(self.pupil.endpoint, lesson)


class Teaching:
    """The lessons that one member gives. Times in seconds."""

    def __init__(self, epochs: Epochs, membership: Membership) -> None:
        self._epochs = epochs
        self._membership = membership
        # By the store that is taught, and by its id.
        self._lessons: dict[bytes, _Lesson] = {}
        self._by_id: dict[bytes, _Lesson] = {}

    def handlers(self) -> dict[type, Handler]:
        """Return who takes which message."""
        return {Learned: lambda sender, learned, now: self.learned(learned, now)}

    # -- newcomers ----------------------------------------------------------------------------

    def follow(self, before: View, now: float) -> list[Effect]:
        """Begin to tell those who have begun between two lists of this node's; returns it.

        It has to go out before the news of them is acknowledged.
        """
        view, own = self._membership.view, self._membership.member
        effects = self._looked_after(view)
        if not self._epochs.names or before.owner_of(own.store[:8]) is None:
            return effects
        rows, pages = list[EpochRow](), list[Told]()
        for known, pupil in _begun(before, view, own):
            teachers = _teachers(before, own, pupil)
            if own.store not in teachers:
                continue
            if not rows:
                rows, pages = self._all()
            first = len(pages) * teachers.index(own.store) // len(teachers)
            lesson = _Lesson(pupil, own, is_first=known is None, now=now)
            self._lessons[pupil.store] = self._by_id[lesson.id] = lesson
            effects += self._membership.tell(Withhold(pupil.store, True))
            effects += lesson.add(rows, pages[first:] + pages[:first], now)
        return effects

    def _looked_after(self, view: View) -> list[Effect]:
        effects: list[Effect] = []
        for store, lesson in list(self._lessons.items()):
            member = view.owner_of(store[:8])
            if member is None or _start(member) != _start(lesson.pupil) or not member.expected:
                effects += self._ended(lesson)
            else:
                lesson.is_heard = member.status in (ALIVE, SUSPECT)
        return effects

    def _all(self) -> tuple[list[EpochRow], list[Told]]:
        rows = [entry.row() for entry in self._epochs.below("")]
        return rows, list(pages_of(_UNASKED, rows, is_page=True))

    def registered(self, link: Link) -> list[Effect]:
        """Return what a tracker that has just taken this node in has to know first."""
        return [Send(link, Withhold(store, True)) for store in self._lessons]

    def held_back(self, effects: list[Effect]) -> list[Effect]:
        """Return effects without the word to those who introduced themselves and are taught yet."""
        if not self._lessons:
            return effects
        return [effect for effect in effects if not self._is_early(effect)]

    def _is_early(self, effect: Effect) -> bool:
        if not isinstance(effect, Send) or not isinstance(effect.message, Introduced):
            return False
        lesson = self._lessons.get(effect.message.store)
        if lesson is not None:
            lesson.introduced = effect
        return lesson is not None

    # -- what they have learned ---------------------------------------------------------------

    def learned(self, message: Learned, now: float) -> list[Effect]:
        """Take the word of a newcomer that a page has come."""
        about, number = message.page[:-_NUMBER_BYTES], message.page[-_NUMBER_BYTES:]
        lesson = self._by_id.get(about)
        if lesson is None:
            return []
        if message.roll == self._epochs.learned:
            return self._ended(lesson)
        effects = lesson.learned(int.from_bytes(number, "big"), now)
        if lesson.unlearned:
            return effects
        rows, _ = self._all()
        told = {*lesson.rows}
        news = [row for row in rows if row not in told]
        if news:
            return effects + lesson.add(rows, list(pages_of(_UNASKED, news)), now)
        return effects + self._ended(lesson)

    def _ended(self, lesson: _Lesson) -> list[Effect]:
        del self._lessons[lesson.pupil.store], self._by_id[lesson.id]
        effects = self._membership.tell(Withhold(lesson.pupil.store, False))
        return effects if lesson.introduced is None else [*effects, lesson.introduced]

    def tick(self, now: float) -> list[Effect]:
        """Send again what was not acknowledged."""
        return [effect for lesson in self._lessons.values() for effect in lesson.again(now)]

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next."""
        heard = [lesson.due for lesson in self._lessons.values() if lesson.is_heard]
        return min(heard, default=None)


def _start(member: Member) -> bytes:
    return member.store + member.epoch.to_bytes(8, "big") + member.boot


def _begun(before: View, view: View, own: Member) -> Iterator[tuple[Member | None, Member]]:
    """Yield those who have begun, each behind what was known of its store before."""
    for member in view:
        if member.status == ALIVE and member.store != own.store:
            known = before.owner_of(member.store[:8])
            if known is None or (known.epoch, known.boot) != (member.epoch, member.boot):
                yield known, member


def _teachers(before: View, own: Member, newcomer: Member) -> list[bytes]:
    """Return the stores of the next that live on the ring from a newcomer's place."""
    first = bisect_left(before.positions, position(newcomer.name))
    around = chain(islice(before.ring, first, None), islice(before.ring, first))
    stores = [
        member.store
        for member in islice(around, LOOKED_MAX)
        if member.store == own.store or (member.status == ALIVE and member.store != newcomer.store)
    ]
    return stores[:TEACHERS_MAX]
