"""A log that is read again, and whoever wants to know on the way how far it is.

The rule: a place is told when all records up to it were yielded, and none behind it; a place that
lies within the snapshot cannot be told, and is not.
"""

from collections.abc import Iterable, Iterator, Sequence

from counter.storage.base import COUNTS, At
from counter.storage.log import Log


def told(
    records: Iterable[tuple[str, bytes]], log: Log, places: Sequence[int], at: At | None
) -> Iterator[tuple[str, bytes]]:
    """Yield the records that `log` recovers, and call `at` for each of `places` on the way."""
    left = [*places]
    for kind, record in records:
        while kind == COUNTS and left and left[0] < log.token:
            _tell(left.pop(0), log, at)
        yield kind, record
    for place in left:
        _tell(place, log, at)


def _tell(place: int, log: Log, at: At | None) -> None:
    if at is not None and place >= log.covered:
        at(place)
