"""When the list of members is written down, so that a node that starts again knows whom to ask.

The rule: a list that differs from the one written last is written within a gap that grows with
its length, and no sooner than that after it: what a change costs the disk does not grow with how
many change at once. Nobody's acknowledgement waits for it (`counter.embargo` waits for trackers).
"""

from functools import lru_cache

from counter.ledger import Ledger
from tracker.classes import dataclass
from tracker.machine import Effect, Persist
from tracker.members import View
from tracker.pages import members_to_record

VIEW_SAVE_S = 0.5
VIEW_SAVE_FEW_S = 0.010
"""For each member, as long as they are few: who learns of the second one writes that at once."""
VIEW_SAVE_EACH_S = 0.002
"""For each member: a list of a thousand is written every 2 s at most, one of ten thousand 20 s."""


@dataclass(slots=True)
class SavedView:
    """The list that was written last, and when the next one is due."""

    view: View
    due: float | None = None
    at: float = float("-inf")
    # How many records of this life were lists.
    written: int = 0

    def changed(self, now: float) -> None:
        """Note that the list is another one by now."""
        if self.due is None:
            members = len(self.view)
            gap_s = max(min(VIEW_SAVE_S, VIEW_SAVE_FEW_S * members), VIEW_SAVE_EACH_S * members)
            self.due = max(now, self.at + gap_s)

    def is_due(self, now: float) -> bool:
        """Whether it is time to write."""
        return self.due is not None and now >= self.due

    def saved(self, view: View, ledger: Ledger, now: float) -> list[Effect]:
        """Write this list, among the records of the ledger."""
        self.view, self.due, self.at = view, None, now
        if not ledger.durable:
            return []
        ledger.token += 1
        self.written += 1
        return [Persist(ledger.token, "members", _record(view))]

    def last(self, view: View, ledger: Ledger, now: float) -> list[Effect]:
        """Write this list before the end, unless it is written."""
        return [] if self.view is view else self.saved(view, ledger, now)


@lru_cache(maxsize=2)
def _record(view: View) -> bytes:
    """Return the record of a list. Cached: many nodes in one process write the same one."""
    return members_to_record(view)
