"""What a query for many keys found, as its asker sees it: JSON, a table, lines. Pure.

The rule: what is shown of a key is certain for the answers that came, and whatever is not shown
is bounded: by what members left out, and by what the reader did not want to see.
"""

from typing import Any

from counter.client.answers import Outcome, grouped
from counter.messages import Keyed, KeyedRow
from tracker.classes import dataclass, field
from tracker.text import printable

SHOWN_WIDTH = 48


@dataclass(slots=True)
class Found:
    """The keys that came: (key, value, low, high), the largest first."""

    rows: list[KeyedRow] = field(default_factory=list)
    keys: int = 0
    left_out: int = 0
    unseen: int = 0

    def take(self, page: Keyed) -> None:
        """Take in one page."""
        self.rows.extend(page.rows)
        self.keys, self.left_out, self.unseen = page.keys, page.left_out, page.unseen

    def cut_off_at(self, top: int | None) -> int | None:
        """Return the most that any key beyond the first `top` can have; None if there is none.

        The size is meant, of either sign, and those who answered.
        """
        beyond = [] if top is None else self.rows[top:]
        if not beyond and not self.left_out:
            return None
        return max([self.unseen, *[self._most(row) for row in beyond]])

    def _most(self, row: KeyedRow) -> int:
        _, value, low, high = row
        if low is None or high is None:
            return abs(value) + self.unseen
        return max(abs(low), abs(high))


def is_exact(row: KeyedRow) -> bool:
    """Say whether the value of a row is the truth, and known to be."""
    return row[1] == row[2] == row[3]


def keys_object(found: Found, top: int | None) -> dict[str, Any]:
    """Return the fields that the JSON of a query for many keys holds beside the usual ones."""
    return {
        "keys": [
            {"key": key, "value": value, "exact": is_exact(row), "low": low, "high": high}
            for row in found.rows[:top]
            for key, value, low, high in [row]
        ],
        "found": found.keys,
        "left_out": found.left_out,
        "cut_off_at": found.cut_off_at(top),
    }


def table_of(found: Found, top: int | None) -> list[str]:
    """Return the lines of the table that a person reads, the largest first."""
    rows = found.rows[:top]
    names = [printable(row[0], SHOWN_WIDTH) for row in rows]
    values = [grouped(row[1]) for row in rows]
    wide = max([len(name) for name in names], default=0)
    long = max([len(value) for value in values], default=0)
    return [
        f"{name:<{wide}}  {value:>{long}}{_range(row)}"
        for name, value, row in zip(names, values, rows, strict=True)
    ]


def _range(row: KeyedRow) -> str:
    """Return between which numbers the truth lies, where that is known and says more."""
    _, value, low, high = row
    if is_exact(row) or low is None or high is None:
        return ""
    return (
        f"   at most {grouped(high)}" if low == value else f"   {grouped(low)} to {grouped(high)}"
    )


def cut_off(outcome: Outcome, found: Found, top: int | None) -> str:
    """Return the line that says what is not shown; empty if that is nothing."""
    most = found.cut_off_at(top)
    if most is None:
        return ""
    shown = len(found.rows[:top])
    others = found.keys - shown
    least = "at least " if found.left_out else ""
    told = f" ({least}{grouped(others)} not shown)" if others else ""
    who = "" if outcome.answer.complete else " on the nodes that answered"
    return f"cut off at {grouped(most)}: no other key has more{who}{told}"
