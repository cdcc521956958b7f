"""Whether everybody who lives has heard that this node is here.

A tracker says `Announced` once every living member has acknowledged the news of a registration.
Until then somebody may, with a view it may call current, answer for the whole cluster without
this node. The rule: what a node acknowledges before it is announced could be missing from an
answer that is called complete; so its owner holds acknowledgements back until `is_made`.

It is made when each tracker that took the node in has said so. A tracker that hangs after it
registered the node cannot: then the views of those who hear nobody else grow stale, and nobody
calls an answer complete with a stale view. Once made it stays made.
"""

from tracker.machine import Endpoint


class Announcement:
    """The words of the trackers about one start of one node. Times in seconds."""

    __slots__ = ("_missing", "is_made")

    def __init__(self) -> None:
        self.is_made = False
        self._missing: dict[Endpoint, float] = {}

    @property
    def is_doubtful(self) -> bool:
        """Whether a tracker took the node in and may have told nobody."""
        return bool(self._missing)

    def registered(self, tracker: Endpoint, stale_at: float) -> None:
        """Wait for the word of a tracker; by `stale_at` nobody trusts a view without it."""
        self._missing[tracker] = stale_at

    def heard(self, tracker: Endpoint) -> None:
        """Take the word of a tracker."""
        self._missing.pop(tracker, None)

    def look(self, now: float, *, is_seeking: bool) -> bool:
        """Say whether the announcement is made; not while a tracker may yet take the node in."""
        if not self.is_made and not is_seeking:
            self.is_made = max(self._missing.values(), default=now) <= now
        return self.is_made

    def deadline(self) -> float | None:
        """Say when waiting is over at the latest; None when nothing is waited for."""
        return None if self.is_made else max(self._missing.values(), default=None)
