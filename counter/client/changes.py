"""What changed between two answers to the same question: growth per second, member by member. Pure.

The rule: two answers are compared only if one origin gave both, since their times are of its
clock; and where somebody was silent, only those who were heard both times are compared.
"""

from counter.client.answers import Outcome, grouped
from tracker.classes import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """What was counted in `seconds` by `members` members, and by whom, the busiest first.

    `is_whole` says that both answers were complete: then `amount` is exact.
    """

    seconds: float
    amount: int
    members: int
    is_whole: bool
    by_member: tuple[tuple[str, int], ...]

    @property
    def per_s(self) -> float:
        """Growth in a second."""
        return self.amount / self.seconds


def change_between(before: Outcome | None, after: Outcome) -> Change | None:
    """Return what changed from one answer to the next; None where that cannot be said."""
    if before is None or before.answer.origin != after.answer.origin:
        return None
    first, last = before.answer, after.answer
    seconds = last.begun_s - first.begun_s
    if first.begun_s < 0 or last.begun_s < 0 or seconds <= 0:
        return None
    values = {name: value for name, value, _, _ in before.rows}
    changes = [(name, value - values[name]) for name, value, _, _ in after.rows if name in values]
    is_whole = first.complete and last.complete
    if not is_whole and not changes:
        return None
    amount = last.value - first.value if is_whole else sum([change for _, change in changes])
    moved = sorted([row for row in changes if row[1]], key=lambda row: (-abs(row[1]), row[0]))
    members = last.answered if is_whole else len(changes)
    return Change(seconds, amount, members, is_whole, tuple(moved))


def signed(number: int) -> str:
    """Return a change as people write it: `+1 204`."""
    return f"{'-' if number < 0 else '+'}{grouped(abs(number))}"


def shown_rate(per_s: float) -> str:
    """Return a rate as people write it: `+1 204/s`, `+0.25/s`."""
    size = abs(per_s)
    if size >= 99.95 or size == int(size):
        number = grouped(round(size))
    else:
        number = f"{size:.2g}" if size < 9.95 else f"{size:.1f}"
    return f"{'-' if per_s < 0 else '+'}{number}/s"
