"""Who has to wait at a tracker that has not heard its store yet: whoever may be a copy of it.

A store that has lived before, and whose start no tracker has let in so far, is a restart as a rule.
It may as well be a copy of a directory whose store runs, and is on its way to this tracker, which
has just started, or was out of reach: the first to come would be taken for the store, the other one
be refused, and what only that one has counted be missed by nobody. Whoever runs tries a tracker
that is back at least every 2 s (`NodeConfig.reconnect_max_s`).

The rule: such a start is judged WAIT_S after it first came. Until then it is in no list; so nobody
hears of it, and whoever knows its store goes on waiting for that. No other start waits here: one
that was let in before, one of a store that was heard here, the first one of a store, and one that
comes from where its store is known to be: where two cannot listen, it took the other one's place.
Where several starts of one store have come nobody here can tell which of them is the store: the
first is taken in, and `is_contested`.
"""

from collections.abc import Callable
from typing import Final

from tracker.boots import BOOT_BYTES
from tracker.machine import Link
from tracker.members import Member
from tracker.messages import Register

WAIT_S: Final = 2.5
"""Less than any node waits for the word of a tracker: `tracker.contact.SILENT_INTERVALS`."""


class Arrivals:
    """The registrations that one tracker has put off; `knocks_max` starts are remembered.

    `is_placed` says whether a member's store has registered here before, or is known to be where it
    comes from. Times in seconds.
    """

    def __init__(self, is_placed: Callable[[Member], bool], knocks_max: int) -> None:
        self._is_placed = is_placed
        self._knocks_max = knocks_max
        # By start: when it came first. One that is forgotten waits anew.
        self._knocks: dict[tuple[bytes, bytes], float] = {}
        self._waiting: dict[Link, tuple[float, Register]] = {}
        self._due_at = 0.0

    def __contains__(self, link: Link) -> bool:
        return link in self._waiting

    def puts_off(self, link: Link, message: Register, now: float) -> bool:
        """Say whether a registration is to be judged later, and keep it until then."""
        start = message.member.store, message.member.boot
        if not message.is_back or self._is_placed(message.member):
            self._knocks.pop(start, None)
            return False
        due = self._knocks.setdefault(start, now) + WAIT_S
        if len(self._knocks) > self._knocks_max:
            del self._knocks[next(iter(self._knocks))]
        if now >= due:
            return False
        self._due_at = min(self._due_at, due) if self._waiting else due
        self._waiting[link] = due, message
        return True

    def is_contested(self, message: Register) -> bool:
        """Whether another start of its store has come, which this one did not go on from."""
        store, boots = message.member.store, message.member.boot + message.lineage
        line = [boots[at : at + BOOT_BYTES] for at in range(0, len(boots), BOOT_BYTES)]
        knocked = [boot for known, boot in self._knocks if known == store]
        return message.is_back and any(boot not in line for boot in knocked)

    def remove(self, link: Link) -> None:
        """Judge nothing on a link that is closed."""
        self._waiting.pop(link, None)

    def due(self, now: float) -> list[tuple[Link, Register]]:
        """Return, once, the registrations that are to be judged by now."""
        if not self._waiting or now < self._due_at:
            return []
        found = [(link, told) for link, (due, told) in self._waiting.items() if now >= due]
        for link, _ in found:
            del self._waiting[link]
        self._due_at = min([due for due, _ in self._waiting.values()], default=0.0)
        return found

    def told(self, now: float) -> list[tuple[str, str, int, float]]:
        """Return who is to be judged, and in how many seconds: (name, host, port, seconds)."""
        waiting = [(due, told.member) for due, told in self._waiting.values()]
        return [(m.name, m.host, m.port, max(0.0, due - now)) for due, m in waiting]

    def deadline(self) -> float | None:
        """Say when `due` may have something; None while nobody waits."""
        return self._due_at if self._waiting else None
