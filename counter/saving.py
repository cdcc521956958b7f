"""When the list of members is written down, so that a node that starts again knows whom to ask.

The rule: a list that differs from the one written last is written within VIEW_SAVE_S, and no
sooner than that after it.
"""

from tracker.classes import dataclass
from tracker.members import View

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

    def saved(self, view: View, now: float) -> None:
        """Note that this list is written now."""
        self.view, self.due, self.at = view, None, now
