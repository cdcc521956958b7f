"""When which home is asked about what is parked of it: one at a time, the longest due first.

The rule: a home is asked only while its very store is alive by the view, or whoever holds what
it counted (`counter.holders`); one that says nothing, or nothing new, is asked again later and
later, until it is told of anew. What its verdicts mean is the business of `counter.parking`.
"""

from collections import OrderedDict
from random import Random
from typing import Final

from counter.holders import Holder
from counter.messages import ROWS_PER_DISOWN_MAX, Disown, Disowned
from counter.parked import Entry, Life
from tracker.machine import Close, Effect, Endpoint, Link, Open, Send
from tracker.members import ALIVE, Member, View

ASK_S: Final = 2.0
"""Longest wait for a home's verdicts, in seconds, from the wish for a stream."""
PAUSE_MIN_S: Final = 0.2
PAUSE_MAX_S: Final = 10.0
"""Pause before a home is asked again: doubled each time, with jitter; anew when it restarts."""


class Home:
    """A store that is to be asked, and the tickets it is to be asked about.

    `member` is whom to ask: itself, or who holds what it counted, unless that one said that it
    does not (`holder.is_denied`).
    """

    __slots__ = ("due", "failures", "holder", "member", "waiting")

    def __init__(self, name: str, home: Life, view: View, due: float) -> None:
        self.holder = Holder(name, *home)
        self.member = self.holder.follow(view)
        self.waiting: OrderedDict[int, Entry] = OrderedDict()
        self.due = due
        self.failures = 0


class Question:
    """What one home is asked at this moment."""

    __slots__ = ("entries", "home", "link", "member", "request", "until")

    def __init__(self, request: int, home: Life, member: Member, until: float) -> None:
        self.request = request
        self.home = home
        self.member = member
        self.until = until
        self.link: Link | None = None
        self.entries: list[Entry] = []


class Homes:
    """The homes of what is parked at one node, as many as have anything. Times in seconds.

    `due` is when `look` is wanted; None: only news can change anything.
    """

    def __init__(self, view: View, rng: Random) -> None:
        self.due: float | None = None
        self._view = view
        self._rng = rng
        # What was sent to a store in different lives may be known to different ones.
        self._homes: dict[Life, Home] = {}
        self._request = 0
        self._question: Question | None = None

    # -- what waits ---------------------------------------------------------------------------

    def wait(self, entry: Entry) -> None:
        """Ask the home of an increment about it, from now on."""
        home = self._homes.get(entry.home)
        if home is None:
            home = Home(entry.name, entry.home, self._view, entry.since)
            self._homes[entry.home] = home
        home.waiting[entry.ticket] = entry
        self._plan()

    def rest(self, entry: Entry) -> None:
        """Ask no more about an increment."""
        home = self._homes.get(entry.home)
        if home is not None:
            home.waiting.pop(entry.ticket, None)
            if not home.waiting:
                del self._homes[entry.home]
        self._plan()

    def put_last(self, entry: Entry) -> None:
        """Ask about an increment again after all others of its home."""
        self._homes[entry.home].waiting.move_to_end(entry.ticket)

    def put_off(self, entry: Entry, until: float) -> None:
        """Ask the home of an increment not before a time."""
        self._homes[entry.home].due = until
        self._plan()

    # -- when ---------------------------------------------------------------------------------

    def follow(self, view: View) -> None:
        """Take in who belongs to the cluster now: whoever is told of anew is asked at once."""
        self._view = view
        for home in self._homes.values():
            member = home.holder.follow(view)
            if member != home.member:
                home.member, home.failures, home.due = member, 0, 0.0
                home.holder.is_denied = False
        self._plan()

    def asks_of(self, entry: Entry) -> Member | None:
        """Return whom a verdict is expected of, the home or its heir; None for nobody."""
        home = self._homes.get(entry.home)
        return home.member if home is not None and not home.holder.is_denied else None

    def _asked(self, home: Home) -> Member | None:
        """Return whom to ask now."""
        member = home.holder.sought(self._view) or home.member
        return member if member is not None and member.status == ALIVE else None

    def _askable(self) -> list[tuple[float, Life]]:
        return [(h.due, s) for s, h in self._homes.items() if self._asked(h) is not None]

    def _plan(self) -> None:
        if self._question is not None:
            self.due = self._question.until
        else:
            self.due = min([due for due, _ in self._askable()], default=None)

    def look(self, now: float) -> list[Effect]:
        """Give up a home that does not answer, and ask the one that has waited longest."""
        effects: list[Effect] = []
        if self.due is None or now < self.due:
            return effects
        question = self._question
        if question is not None:
            if question.link is not None:
                effects.append(Close(question.link))
            self.fail(now)
        for due, store in sorted(self._askable()):
            if due > now:
                break
            home = self._homes[store]
            member = self._asked(home)
            assert member is not None
            home.holder.asks(member, self._view)
            self._request += 1
            self._question = Question(self._request, store, member, now + ASK_S)
            effects.append(Open(member.endpoint))
            break
        self._plan()
        return effects

    def pause(self, store: Life, now: float) -> None:
        """Ask a home that had no news again later, and each time later than before."""
        home = self._homes.get(store)
        if home is not None:
            pause = min(PAUSE_MAX_S, PAUSE_MIN_S * 2**home.failures)
            home.failures = min(home.failures + 1, 10)
            home.due = now + pause * (0.5 + self._rng.random() / 2)
        self._plan()

    def go_on(self, store: Life, now: float) -> None:
        """Ask a home that had news for the rest of it, if there is any, at once."""
        home = self._homes.get(store)
        if home is not None:
            home.failures, home.due = 0, now
        self._plan()

    # -- the stream ---------------------------------------------------------------------------

    def opens(self, to: Endpoint) -> bool:
        """Whether a stream to this address was asked for and has not come."""
        question = self._question
        if question is None or question.link is not None:
            return False
        return question.member.endpoint == to

    def owns(self, link: Link) -> bool:
        """Whether a stream is the one on which a home is asked."""
        return self._question is not None and self._question.link == link

    def ask(self, link: Link, by: bytes) -> Effect:
        """Return the question, for the stream that was wanted; `by` is the store that asks."""
        question = self._question
        assert question is not None
        question.link = link
        home = self._homes.get(question.home)
        entries = list(home.waiting.values()) if home is not None else []
        question.entries = entries[:ROWS_PER_DISOWN_MAX]
        rows = tuple([(*entry.identity[1:], entry.ticket) for entry in question.entries])
        store, life = question.home
        return Send(link, Disown(question.request, store, by, rows, life))

    def fail(self, now: float) -> None:
        """Give the question up; its home is asked again after a pause."""
        question, self._question = self._question, None
        assert question is not None
        self.pause(question.home, now)

    def answered(self, message: Disowned) -> Question | None:
        """Return the question that a message answers, and end it; None if it does not fit."""
        question = self._question
        assert question is not None
        home = self._homes.get(question.home)
        was_sought = home is not None and home.holder.is_looked_for
        if home is not None:
            home.holder.heard(question.member, is_denied=not message.verdicts)
        if message.request != question.request or len(message.verdicts) != len(question.entries):
            return None
        self._question = None
        if home is not None and was_sought:
            home.holder.found(question.member)
            home.member = home.holder.follow(self._view)
        return question
