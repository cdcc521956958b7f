"""All nodes of one client: which lane is whose, and which stream belongs to which. Pure.

The rule: a lane is kept as long as it is used or anything there has not ended, and there are
never more of them than LANES_MAX.
"""

from collections.abc import Callable, Iterator
from typing import Final

from counter.client.lane import NOWHERE, Effect, Entry, Lane, Shut
from counter.storage.base import forked
from tracker.address import Endpoint
from tracker.errors import RefusedError
from tracker.names import derived, is_derived

LANES_MAX: Final = 32
"""Nodes with something in doubt, and the one in use."""


class Lanes:
    """The lanes of one client; iterating over them allows for changes meanwhile."""

    def __init__(self, new_session: Callable[[], bytes]) -> None:
        # By the number of its stream, for those that have one.
        self.by_link: dict[int, Lane] = {}
        self._new_session = new_session
        self._lanes: list[Lane] = []

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.copy())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way or in doubt anywhere."""
        return not any(lane.in_flight or lane.doubtful for lane in self._lanes)

    def of(self, name: str, endpoint: Endpoint) -> Lane:
        """Return the lane of a node, a new one if need be; raises RefusedError (busy)."""
        for lane in self._lanes:
            if (lane.name and lane.name == name) or (not name and lane.endpoint == endpoint):
                return lane
        if len(self._lanes) >= LANES_MAX:
            raise RefusedError("busy", f"increments are in doubt at {LANES_MAX} nodes")
        lane = Lane(name, endpoint, self._new_session())
        self._lanes.append(lane)
        return lane

    def of_left(self, lane: Lane, entry: Entry, now: float) -> bool:
        """Hold what is in doubt at a store that has lost its name for the one it is left with.

        Of a copy it is the one under which that goes on beside its store, or would, had it begun
        to count for itself in the life that this was sent to. Says whether it can be looked for:
        not where nobody told its name, nor its store.
        """
        if not (lane.name and lane.is_anew_for(entry)) or is_derived(lane.name):
            return False
        told = entry.operation
        store = forked(told.home, told.life) if lane.home == told.home else told.home
        try:
            left = self.of(derived(lane.name, store), NOWHERE)
        except RefusedError:
            return False
        left.doubtful.append(entry)
        left.retry_at = now
        return True

    def opening(self, lane: Lane, link: int, until: float) -> Effect:
        """Ask for a stream for a lane."""
        self.by_link[link] = lane
        return lane.opening(link, until)

    def shut(self, lane: Lane) -> Effect:
        """End a lane's stream; the lane itself is to be told by `lose`."""
        assert lane.link is not None
        del self.by_link[lane.link]
        return Shut(lane.link)

    def without_ended(self, is_used: Callable[[Lane], bool]) -> list[Effect]:
        """Forget lanes that are neither used nor in doubt; returns what ends their streams."""
        kept: list[Lane] = []
        effects: list[Effect] = []
        for lane in self._lanes:
            if is_used(lane) or lane.doubtful or lane.in_flight:
                kept.append(lane)
            elif lane.link is not None:
                effects.append(self.shut(lane))
        self._lanes = kept
        return effects
