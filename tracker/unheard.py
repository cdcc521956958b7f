"""Ends of members that one of a node's trackers may never hear of unless a node tells it.

Trackers do not know each other. Whoever lives registers with each of them and is known there;
whoever is dead, away or gone says nothing any more, and only those know that heard it in time.
A node that hears of an end tells it to the trackers that do not say it themselves meanwhile:

    first      the TELLERS_MAX members whose places follow on the ring of the one that ended
    then       twice as many in each turn of TURN_INTERVALS, up to all of them

A tracker that takes it in publishes it, and whoever hears that says nothing. So a thousand who
hear one end send three messages, and one node that is registered with both trackers is enough.

The rule: only ends are told, never that somebody lives. That a tracker would have to find out for
itself, would miss it, and say so; and its word would go to and fro with that of the one which
hears the member. Nor is a suspicion told: it becomes an end, or it passes.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tracker.contact import JOINED, Contact
from tracker.machine import Effect, Endpoint, Send
from tracker.members import SUSPECT, Member, View, position
from tracker.messages import Teach, news_to_wire
from tracker.names import base_of, derived, is_derived
from tracker.pages import cut

TELLERS_MAX: Final = 3
"""Members that tell a tracker of one end in the first turn."""
TURN_INTERVALS: Final = 2
"""Intervals of a turn. In the one before the first a tracker may say it by itself."""
ENDS_MAX: Final = 100_000
"""Ends that one tracker may yet have to be told of; as many as it takes members."""

_Due = tuple[float, bool]
"""When the turn comes, and whether it is known to be this node's own."""


class Unheard:
    """What a node has heard of ends, and its trackers may not. Times in seconds."""

    __slots__ = ("_ends", "_name", "_turn_s", "due_at")

    def __init__(self, name: str, interval_s: float) -> None:
        self._name = name
        self._turn_s = TURN_INTERVALS * interval_s
        self._ends: dict[Endpoint, dict[str, _Due]] = {}
        self.due_at: float | None = None

    def note(
        self,
        news: Iterable[Member],
        before: View,
        after: View,
        source: Contact | None,
        trackers: Sequence[Contact],
        now: float,
    ) -> None:
        """Note the ends in what a tracker has told (None: another node), for all who lack them."""
        for told in news:
            for name in _touched(told, before, after):
                own = after.get(name)
                if own is None or own.status <= SUSPECT:
                    continue
                is_change = _is_change(before.get(name), own)
                for tracker in trackers:
                    ends = self._ends.setdefault(tracker.endpoint, {})
                    if tracker is not source or name != told.name:
                        is_lacking = is_change
                    elif own.overrides(told):
                        is_lacking = True
                    else:
                        ends.pop(name, None)
                        continue
                    if is_lacking and name not in ends and len(ends) < ENDS_MAX:
                        ends[name] = (now + self._turn_s, False)
                        self.due_at = min(self.due_at or ends[name][0], ends[name][0])

    def due(self, view: View, trackers: Iterable[Contact], now: float) -> list[Effect]:
        """Tell each tracker the ends that it has not spoken of, if it is this node's turn."""
        if self.due_at is None or now < self.due_at:
            return []
        effects: list[Effect] = []
        for tracker in trackers:
            ends = self._ends.pop(tracker.endpoint, {})
            if tracker.state != JOINED or tracker.link is None:
                # It is told the whole list if it comes back, and that differs from its own.
                continue
            left = self._ends[tracker.endpoint] = {}
            told = list(self._turned(ends, left, view, now, is_ready=tracker.is_caught_up))
            # Whoever lost a name comes before the one who has it, as everywhere.
            told.sort(key=lambda member: (not is_derived(member.name), member.name))
            effects += [Send(tracker.link, Teach(news_to_wire(page))) for page in cut(told)]
        times = [at for ends in self._ends.values() for at, _ in ends.values()]
        self.due_at = min(times, default=None)
        return effects

    def deadline(self) -> float | None:
        """Say when `due` is wanted."""
        return self.due_at

    def _turned(
        self,
        ends: dict[str, _Due],
        left: dict[str, _Due],
        view: View,
        now: float,
        *,
        is_ready: bool,
    ) -> Iterator[Member]:
        """Yield what is to be told now, and keep in `left` what is to wait."""
        for name, (at, is_own) in ends.items():
            member = view.get(name)
            if member is None or member.status <= SUSPECT:
                continue
            if now < at:
                left[name] = at, is_own
            elif not is_ready:
                # Its list is on its way, and may hold this.
                left[name] = now + self._turn_s, is_own
            elif not is_own and (turn := _turn(self._name, name, view)):
                left[name] = at + turn * self._turn_s, True
            else:
                yield member


def _touched(told: Member, before: View, after: View) -> list[str]:
    """Return the names under which a piece of news may have changed something that ended."""
    known, own = before.get(told.name), after.get(told.name)
    if known is not None and known.store != told.store:
        return [*[derived(base_of(told.name), m.store) for m in (known, told)], told.name]
    if is_derived(told.name):
        return [told.name, base_of(told.name)]
    return [told.name] if own is None or own.status > SUSPECT else []


def _is_change(known: Member | None, own: Member) -> bool:
    """Whether an end is news to this node; of somebody whom it never expected, it is history."""
    return own is not known and (own.expected or (known is not None and known.expected))


def _turn(own: str, ended: str, view: View) -> int:
    """Return in which turn a member tells of an end: 0 for those next to its place on the ring."""
    places = view.positions
    first, mine = (bisect_left(places, position(name)) for name in (ended, own))
    # Its own place, if it still has one, is nobody else's turn.
    others = (mine - first - (places[first : first + 1] == [position(ended)])) % max(1, len(places))
    return (others // TELLERS_MAX).bit_length()
