"""What a ledger writes down: the record of an increment in the log, rows in a snapshot (pure).

The rule: a record holds an increment with its identity, so that no crash can tear them apart.
"""

from collections.abc import Iterator
from typing import Any, Final

from counter.messages import NUL, Increment, key_in
from tracker import wire

ROWS_PER_RECORD: Final = 256


def record_of(message: Increment) -> bytes:
    """Return the log record of an increment: its identity, and what it adds."""
    return wire.packed((message.session, message.sequence, message.pairs))


def as_sent(pairs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what a client sent of which this was counted: the content of its operation."""
    if NUL not in "".join(pairs[::2]):
        return pairs
    sent = list(pairs)
    sent[::2] = [key_in(name) for name in pairs[::2]]
    return tuple(sent)


def pages_of(rows: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield rows by the page, as a snapshot holds them."""
    page: list[Any] = []
    for row in rows:
        page.append(row)
        if len(page) == ROWS_PER_RECORD:
            yield page
            page = []
    if page:
        yield page
