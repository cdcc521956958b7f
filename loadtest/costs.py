"""What a query costs, and who says so.

The rule: what is counted is paid for once. Clients that ask the same at one time share a query.
"""

from dataclasses import dataclass
from typing import Final

from counter.messages import Answer

SHARED_MAX: Final = 10_000
"""Queries that are remembered as paid for."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one query cost all nodes together: messages, their bytes, and the busiest of them.

    `busiest` is the most messages, in and out, of any node but the one that was asked: that
    one hears everybody. `duplicates` are answers that told the origin nothing new.
    """

    messages: int
    bytes: int
    duplicates: int
    busiest: int
    drain_ms: float | None


class Bill:
    """What queries cost that overlap: what their own answers say, each query once.

    Clients that ask the same at the same time share a query.
    """

    def __init__(self) -> None:
        self._paid: dict[bytes, None] = {}

    def cost_of(self, answer: Answer) -> Cost:
        """Return what is to be paid for an answer: what its origin has seen of the query."""
        if answer.query in self._paid:
            return Cost(messages=0, bytes=0, duplicates=0, busiest=0, drain_ms=None)
        self._paid[answer.query] = None
        if len(self._paid) > SHARED_MAX:
            del self._paid[next(iter(self._paid))]
        return Cost(
            messages=answer.messages,
            bytes=answer.bytes,
            duplicates=answer.duplicates,
            busiest=0,
            drain_ms=None,
        )
