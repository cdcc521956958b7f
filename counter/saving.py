"""When the list of members is written down, so that a node that starts again knows whom to ask.

The rule: a list that differs from the one written last is written within VIEW_SAVE_S, and no
sooner than that after it.
"""

from counter.ledger import Ledger
from tracker.classes import dataclass
from tracker.machine import Effect, Persist
from tracker.members import View
from tracker.pages import members_to_record

VIEW_SAVE_S = 0.5


@dataclass(slots=True)
class SavedView:
    """The list that was written last, and when the next one is due."""

    view: View
    due: float | None = None
    at: float = float("-inf")

    def changed(self, now: float) -> None:
        """Note that the list is another one by now."""
        if self.due is None:
            self.due = max(now, self.at + VIEW_SAVE_S)

    def is_due(self, now: float) -> bool:
        """Whether it is time to write."""
        return self.due is not None and now >= self.due

    def saved(self, view: View, ledger: Ledger, now: float) -> list[Effect]:
        """Write this list, among the records of the ledger."""
        self.view, self.due, self.at = view, None, now
        if not ledger.durable:
            return []
        ledger.token += 1
        return [Persist(ledger.token, "members", members_to_record(view))]

    def last(self, view: View, ledger: Ledger, now: float) -> list[Effect]:
        """Write this list before the end, unless it is written."""
        return [] if self.view is view else self.saved(view, ledger, now)
