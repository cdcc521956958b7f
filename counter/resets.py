"""Resets at the node that a client asked for one, from the request to what the old epoch came to::

    known by its id        what it closed is asked for again: nothing is reset twice
    looking                an ordinary query of the key brings this node up to the present epoch,
                           and finds whoever knows of this reset already
    moving                 the next epoch is learned here, and kept on disk
    closing                a query that closes the epoch before: whoever is reached moves, keeps
                           that on disk, and tells what it holds of the closed one, which is final

The rule: one reset closes exactly one epoch, the one that its node was in after looking; two at
once close the same one, and both are told what it came to. Who is not reached counts on in the old
epoch until it hears, and is named; so the sum over all epochs is what was acknowledged.
"""

from collections.abc import Callable
from itertools import count
from typing import Any, Final

from counter.asker import Asker
from counter.messages import (
    CLOSE,
    DELETE,
    EPOCH_MAX,
    LOOK,
    MARK_BYTES,
    UNTIL_ALL,
    Answer,
    Missing,
    Query,
    Reset,
    Subject,
    WasReset,
)
from counter.moves import Moves
from counter.query import CANCELLED
from counter.telling import pages_of
from tracker.classes import dataclass, field, replace
from tracker.digest import blake2b
from tracker.machine import Effect, Link, Send
from tracker.messages import Refused

RESETS_MAX: Final = 64
"""Resets that one node has under way; past it a client hears `busy`."""

BUDGET_MS: Final = 5_000
"""Longest life of a reset whose client names no deadline."""

_TOO_OLD: Final = (
    "it was done (epoch {}), and so long ago that what the epoch before came to is not kept any"
    " more; what those have counted in it who were silent then is in no value"
)

_UNKNOWN: Final = (
    "nobody who answered knows of a reset of this key by this id, and none was made; if it was made"
    " long ago, what those had counted who were silent then is in no value"
)

INNER: Final = -1
"""The link of queries that a node asks for itself; those of streams are counted from 0."""


@dataclass(slots=True)
class _Underway:
    """One reset: whose, until when, and the epoch that it closes; -1 while it looks."""

    link: Link
    reset: Reset
    until: float
    closes: int = -1
    is_repeated: bool = False
    is_asked: bool = False
    missing: list[Any] = field(default_factory=list)

    @property
    def mark(self) -> bytes:
        """What stands for its id, of which a part may be the time at which it was made."""
        return blake2b(self.reset.id, digest_size=MARK_BYTES).digest()


class Resets:
    """The resets of one node."""

    def __init__(
        self,
        moves: Moves,
        asker: Asker,
        ask: Callable[[Link, Query, float], list[Effect]],
    ) -> None:
        self.under_way: dict[int, _Underway] = {}
        self._moves = moves
        self._epochs = moves.epochs
        self._asker = asker
        self._ask = ask
        self._numbers = count(1)

    # -- from clients -------------------------------------------------------------------------

    def take(self, link: Link, reset: Reset, now: float) -> list[Effect]:
        """Take a reset."""
        if len(self.under_way) >= RESETS_MAX:
            self._let_go(now)
        if len(self.under_way) >= RESETS_MAX:
            text = f"{len(self.under_way)} resets are under way on this node; come back in 1 s"
            return refused(link, reset, "busy", text)
        until = now + (reset.deadline_ms or BUDGET_MS) / 1000
        number = next(self._numbers)
        made = self.under_way[number] = _Underway(link, reset, until)
        if self._epochs.entry(reset.key).made_by(made.mark):
            return self.heard(self._repeat(number, now), now)
        # Half of the time is kept for the second query.
        look = Subject(reset.key, self._epochs.entry(reset.key).settled, LOOK, made.mark)
        return self.heard(self._query(number, look.text, (until - now) / 2, now), now)

    def _let_go(self, now: float) -> None:
        """Forget those that the disk has kept waiting past their time: nobody waits for them.

        All others end with a query, which has a deadline of its own.
        """
        for number, made in list(self.under_way.items()):
            if made.closes >= 0 and not made.is_asked and now >= made.until:
                del self.under_way[number]

    def _query(self, number: int, key: str, budget_s: float, now: float) -> list[Effect]:
        deadline_ms = max(1, round(budget_s * 1000))
        query = Query(number, key, 0, 0, 0, deadline_ms, UNTIL_ALL, 0, 0, rows=False)
        return self._ask(INNER, query, now)

    # -- what became of its queries -----------------------------------------------------------

    def heard(self, effects: list[Effect], now: float) -> list[Effect]:
        """Return effects with what was said to a reset taken out, and what follows from it."""
        if not self.under_way:
            return effects
        result: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Send) and effect.to == INNER:
                result += self.heard(self._take(effect.message, now), now)
            else:
                result.append(effect)
        return result

    def _take(self, message: Any, now: float) -> list[Effect]:
        made = self.under_way.get(message.request)
        if made is None:
            return []
        if isinstance(message, Refused):
            return self._refused(message.request, message.code, message.text)
        if isinstance(message, Missing):
            made.missing += message.rows
            return []
        assert isinstance(message, Answer)
        if made.closes >= 0:
            return self._told(message.request, message)
        return self._looked(message.request, message, now)

    def _refused(self, number: int, code: str, text: str) -> list[Effect]:
        made = self.under_way.pop(number)
        return refused(made.link, made.reset, code, text)

    def _looked(self, number: int, answer: Answer, now: float) -> list[Effect]:
        """Begin the next epoch, unless this was done before, or nobody can tell whether it was."""
        made = self.under_way[number]
        made.missing.clear()
        key = made.reset.key
        entry = self._epochs.entry(key)
        if entry.made_by(made.mark):
            return self._repeat(number, now)
        if made.reset.is_again:
            return self._refused(number, "too-old", _UNKNOWN)
        if answer.reason == CANCELLED:
            return self._refused(number, "cancelled", "it was cancelled before anything was reset")
        made.closes = entry.epoch
        kind = DELETE if made.reset.is_delete else CLOSE
        effects = self._moves.close(Subject(key, made.closes, kind, made.mark), now)
        entry = self._epochs.entry(key)
        if entry.epoch <= made.closes:
            at = "its last epoch" if entry.epoch >= EPOCH_MAX else "no room"
            text = f"{len(self._epochs)} keys were ever reset, and for this one there is {at}"
            return [*effects, *self._refused(number, "full", text)]
        return [*effects, *self._closed(now)]

    def _repeat(self, number: int, now: float) -> list[Effect]:
        """Ask once more for what a reset closed that was done before."""
        made = self.under_way[number]
        entry = self._epochs.entry(made.reset.key)
        made.closes, made.is_repeated = entry.made_by(made.mark) - 1, True
        return self._closed(now)

    def moved(self, now: float) -> list[Effect]:
        """Go on with the resets for which something has become known, or is on disk now."""
        effects: list[Effect] = []
        for number, made in list(self.under_way.items()):
            if made.closes < 0 and self._epochs.entry(made.reset.key).made_by(made.mark):
                effects += self._asker.cancel(INNER, number, now)
        return self.heard([*effects, *self._closed(now)], now)

    def _closed(self, now: float) -> list[Effect]:
        """Ask for what was closed, where the epoch after it is on disk here."""
        effects: list[Effect] = []
        for number, made in list(self.under_way.items()):
            entry = self._epochs.entry(made.reset.key)
            if made.is_asked or not 0 <= made.closes < entry.settled:
                continue
            if made.closes < entry.kept_from:
                effects += self._refused(number, "too-old", _TOO_OLD.format(made.closes + 1))
                continue
            made.is_asked = True
            kind = DELETE if made.reset.is_delete else CLOSE
            closing = Subject(made.reset.key, made.closes, kind, made.mark)
            effects += self._query(number, closing.text, made.until - now, now)
        return effects

    def _told(self, number: int, answer: Answer) -> list[Effect]:
        """Tell the client what the closed epoch came to."""
        made = self.under_way.pop(number)
        link, request = made.link, made.reset.request
        effects: list[Effect] = [
            Send(link, WasReset(request, made.closes + 1, made.is_repeated)),
        ]
        effects += [Send(link, Missing(request, page)) for page in pages_of(made.missing)]
        return [*effects, Send(link, replace(answer, request=request))]


def refused(link: Link, reset: Reset, code: str, text: str) -> list[Effect]:
    """Return the refusal of a reset: nothing was changed."""
    return [Send(link, Refused(reset.request, code, text))]
