"""Whether everybody who lives has heard that this node is here.

A tracker says `Announced` once every living member has acknowledged the news of a registration.
Until then somebody may, with a view it may call current, answer for the whole cluster without
this node. The rule: what a node acknowledges before it is announced could be missing from an
answer that is called complete; so its owner holds acknowledgements back until `is_made`.

It is made when each tracker that took the node in has said so. A tracker that hangs after it
registered the node cannot: then the views of those who hear nobody else grow stale, and nobody
calls an answer complete with a stale view. One that goes on to beat is waited for. Once made it
stays made.
"""

from tracker.machine import Endpoint


class Announcement:
    """The words of the trackers about one start of one node. Times in seconds."""

    __slots__ = (
        *("_hesitant", "_is_known", "_is_told", "_missing"),
        *("is_made", "is_strange", "is_unasked"),
    )

    def __init__(self) -> None:
        self.is_made = False
        # Whether this store has lived before, its name was another's meanwhile, and not everybody
        # has heard of it: somebody may know that it was handed over.
        self.is_strange = False
        # Whether somebody is yet to say that he does not tell what this store does; its owner sets
        # it.
        self.is_unasked = False
        self._is_known = False
        self._is_told = False
        self._missing: dict[Endpoint, float] = {}
        # Those of them to which the store is strange: one who is not there may hold their word up.
        self._hesitant: set[Endpoint] = set()

    @property
    def is_told(self) -> bool:
        """Whether a tracker has said so."""
        return self._is_told

    @property
    def is_doubtful(self) -> bool:
        """Whether no tracker took the node in, or one did and may have told nobody."""
        return bool(self._missing) or not self._is_told

    def registered(self, tracker: Endpoint, stale_at: float, *, is_strange: bool = False) -> None:
        """Wait for the word of a tracker; by `stale_at` nobody trusts a view without it.

        One to which this store is strange may say nothing for long, while another one knows it.
        """
        self._missing[tracker] = stale_at
        (self._hesitant.add if is_strange else self._hesitant.discard)(tracker)

    def beaten(self, tracker: Endpoint, stale_at: float) -> None:
        """Take it that a tracker goes on: others trust their views for longer."""
        if tracker in self._missing and tracker not in self._hesitant:
            self._missing[tracker] = stale_at

    def introduced(self, *, is_strange: bool) -> bool:
        """Take what a tracker knew of this store; says whether it is strange to all of them."""
        self._is_known = self._is_known or self.is_made or not is_strange
        self.is_strange = not self._is_known
        return self.is_strange

    def believed(self) -> bool:
        """Take it for known by everybody from now on; says whether it had been so before."""
        was_known, self._is_known = not self.is_strange, True
        self.is_strange = False
        return was_known

    def heard(self, tracker: Endpoint) -> None:
        """Take the word of a tracker."""
        self._missing.pop(tracker, None)
        self._is_told = True

    def look(self, now: float, *, is_seeking: bool) -> bool:
        """Say whether the announcement is made; not while a tracker may yet take the node in."""
        if not (self.is_made or is_seeking or self.is_strange or self.is_unasked):
            self.is_made = max(self._missing.values(), default=now) <= now
        return self.is_made

    def deadline(self) -> float | None:
        """Say when waiting is over at the latest; None when nothing is waited for."""
        if self.is_made or self.is_strange or self.is_unasked:
            return None
        return max(self._missing.values(), default=None)
