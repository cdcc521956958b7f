"""Which node new increments go to next: who is known, who was tried, how long to wait. Pure.

The rule: three tries that reached nobody are the end for what waits. A try that can go to
another node goes at once; only a try at the same ones waits, and each wait is drawn anew, so
that a thousand clients of a node that died do not come back as one.
"""

from collections.abc import Iterable
from typing import Final

from counter.client import light
from counter.client.choice import NO_TURN, ROUND_ROBIN, Candidate, Dice, ordered
from counter.client.lane import DOWN, Lane
from counter.client.operations import Failure
from counter.client.options import Options
from tracker.config import shown_endpoint
from tracker.errors import UnreachableError

TRIES_MAX: Final = 3
PAUSE_S: Final = 0.1
PAUSE_S_MAX: Final = 1.0

ELSEWHERE: Final = frozenset({"busy", "leaving", "disk", "displaced"})
NO_DISK: Final = "no-disk"
BY_KEY: Final = frozenset({"full", "range"})
"""Refusals after which another node, or the same one later, may take it; after which another one
may, and this one never; after which each key may go by itself."""


class Search:
    """The nodes of one client, as far as it was told of them."""

    def __init__(self, options: Options, dice: Dice) -> None:
        self.reason = ""
        self.pause_until = 0.0
        # When a tracker will have let somebody in who has come, or not.
        self.judged_at = 0.0
        # Who is still to be tried, the best first; None: a tracker must be asked.
        self.left: list[Candidate] | None = None
        self._options = options
        self._dice = dice
        self._known: tuple[Candidate, ...] = ()
        self._tries = 0
        # Who has refused to promise a disk, of those who are known.
        self._diskless: set[tuple[str, int]] = set()
        self._turn = int(dice.random() * 2**16)
        if options.address is not None:
            self._known = ((shown_endpoint(options.address), *options.address, light.ALIVE, 0),)

    @property
    def turn(self) -> int:
        """Whose turn it is, for the tracker; NO_TURN without round robin."""
        return self._turn if self._options.pick == ROUND_ROBIN else NO_TURN

    def pause_s(self, tries: int) -> float:
        """Return a jittered pause that doubles with the tries, in seconds."""
        longest: float = min(PAUSE_S_MAX, PAUSE_S * 2 ** (tries - 1))
        return longest * (0.5 + self._dice.random())

    def turn_away(self, lanes: Iterable[Lane], now: float, reason: str) -> None:
        """Prefer others than a node that is lost, silent or refuses, if others are known."""
        self.reason = reason
        self.left = self._others(list(lanes), now)
        if self.left is not None:
            self.pause_until = now

    def again(self) -> bool:
        """Try the one node there is once more; False if there may be others."""
        if self._options.address is None:
            return False
        self.left = list(self._known)
        return True

    def passes_on(self, code: str, lane: Lane) -> bool:
        """Whether what a node refused so may be taken by another; one without a disk is noted."""
        if code != NO_DISK:
            return code in ELSEWHERE
        known = {candidate[1:3] for candidate in self._known}
        self._diskless = (self._diskless & known) | {lane.endpoint}
        return not known <= self._diskless

    def reached(self) -> None:
        """Note that somebody is there."""
        self._tries = 0

    def told(self, found: tuple[Candidate, ...] | None, lanes: Iterable[Lane], now: float) -> str:
        """Take in what a tracker said, None for nothing; returns why nobody can be tried now."""
        if found:
            # A tracker that has just begun knows nobody; those known before still count.
            self._known = found
        pick, dice = self._options.pick, self._dice
        self.left = self._others(list(lanes), now) or ordered(self._known, pick, dice, self._turn)
        if self.left:
            return ""
        node = self._options.node
        return f'no tracker knows a node "{node}"' if node else "no tracker knows a living node"

    def missed(self, reason: str, now: float) -> Failure | None:
        """Note a try that reached nobody; after the last one, how that ends what waits.

        It does not while somebody has come whom the trackers are about to let in.
        """
        self.reason = reason
        self._tries += 1
        if self._tries < TRIES_MAX:
            if not self.left:
                self.left = None
                self.pause_until = now + self.pause_s(self._tries)
            return None
        self._tries, self.left = 0, None
        if now < self.judged_at:
            # Whoever waits does so up to its deadline, and no longer.
            self.pause_until = self.judged_at
            return None
        return UnreachableError, (f"{reason} after {TRIES_MAX} tries; nothing was sent",)

    def _others(self, lanes: list[Lane], now: float) -> list[Candidate] | None:
        """Return the nodes that may take new increments, the best first; None if there are none."""
        bad = [lane for lane in lanes if _is_bad(lane, now)]
        names = {lane.name for lane in bad}
        places = {*self._diskless, *[lane.endpoint for lane in bad]}
        usable = [c for c in self._known if c[0] not in names and c[1:3] not in places]
        self._turn += 1
        return ordered(usable, self._options.pick, self._dice, self._turn) or None


def _is_bad(lane: Lane, now: float) -> bool:
    is_lost = lane.state == DOWN and bool(lane.doubtful)
    return lane.is_silent or now < lane.shunned_until or is_lost
