"""What its asker calls enough of a query: a share of the members, or a time without change.

The rule: whoever said what is enough is not told of a lack where it was reached, or is sure to be.
"""

from math import inf
from typing import Protocol

from counter.messages import UNTIL_SHARE, UNTIL_STABLE, Query


class Asked(Protocol):
    """What of a query is needed here: `OwnQuery`. Times in seconds."""

    request: Query
    deadline: float
    changed_at: float

    @property
    def answered(self) -> int:
        """How many have answered."""

    @property
    def members(self) -> int:
        """How many are known to be asked for."""


def is_satisfied(query: Asked, now: float) -> bool:
    """Whether there is enough."""
    request = query.request
    if request.until == UNTIL_SHARE:
        return 1000 * query.answered >= request.until_value * query.members
    return now >= stable_at(query)


def is_soon_satisfied(query: Asked) -> bool:
    """Whether a time without change ends before the deadline, if nothing changes any more.

    Then it is waited out where silence is proof: nobody is left who could change anything.
    """
    return stable_at(query) < query.deadline


def stable_at(query: Asked) -> float:
    """Return when nothing will have changed for long enough; never where that is not asked for."""
    request = query.request
    if request.until != UNTIL_STABLE:
        return inf
    return query.changed_at + request.until_value / 1000
