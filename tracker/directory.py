"""Where to find whom, for clients that ask a tracker: one node, some that live, or everybody.

The rule: it only looks. Nothing a client asks changes what a tracker knows; giving a member up
does, and is `tracker.registry`'s.
"""

from collections.abc import Callable
from random import Random

from tracker.classes import replace
from tracker.members import GONE, Member
from tracker.messages import ARRIVING_MAX, CANDIDATES_MAX, Find, Found, Listed, Refused, Roster
from tracker.pages import roster_of
from tracker.replies import unknown
from tracker.table import Table


class Directory:
    """What clients are told of the members in a table.

    `activity` says what a node did in the last 30 s, -1 if that is not known; `arriving` who has
    come and is judged later (`tracker.arrivals`).
    """

    def __init__(
        self,
        table: Table,
        arriving: Callable[[float], list[tuple[str, str, int, float]]],
        activity: Callable[[str], int],
        rng: Random,
    ) -> None:
        self._table = table
        self._arriving = arriving
        self._activity = activity
        self._rng = rng

    def told(self, message: Find | Roster, now: float) -> list[Found | Refused] | list[Listed]:
        """Answer what a client asks of the members."""
        return (
            self.roster(message, now) if isinstance(message, Roster) else [self.find(message, now)]
        )

    def find(self, message: Find, now: float) -> Found | Refused:
        """Name the node that is looked for; without a name some living ones."""
        waits_s = [row[3] for row in self._arriving(now) if message.name in ("", row[0])]
        arriving_s = min(waits_s, default=-1.0)
        if not message.name:
            if message.turn < 0:
                named = self._table.draw(CANDIDATES_MAX, self._rng)
            else:
                named = self._table.in_turn(CANDIDATES_MAX, message.turn)
            return Found(message.request, tuple(map(self._candidate, named)), arriving_s)
        member = self._table.get(message.name)
        if member is None or member.status == GONE:
            if arriving_s < 0:
                return unknown(message.request, message.name)
            return Found(message.request, (), arriving_s)
        return Found(message.request, (self._candidate(member),), arriving_s)

    def roster(self, message: Roster, now: float) -> list[Listed]:
        """List everybody, in as many pages as that takes."""
        *pages, last = roster_of(
            self._table.members.values(),
            message.request,
            lambda member: (now - self._table.since(member.name), self._activity(member.name)),
        )
        return [*pages, replace(last, arriving=tuple(self._arriving(now)[:ARRIVING_MAX]))]

    def _candidate(self, member: Member) -> tuple[str, str, int, int, int]:
        activity = max(0, self._activity(member.name))
        return member.name, member.host, member.port, member.status, activity
