"""What one commit of a durable store is made of, and what it makes of each of its tokens.

The rule: a token that was refused keeps its place among those that were written, so that what
became of them is told in order.
"""

from collections.abc import Iterator
from typing import Final
from zlib import crc32

from counter.storage.base import COUNTS, MEMBERS, STATE
from counter.storage.frames import RECORD_BYTES_MAX, Record, frame_bytes
from tracker.classes import dataclass
from tracker.errors import StorageError
from tracker.machine import Persist, PersistFailed
from tracker.native import extension

_NATIVE: Final = extension("counter.native.framing")


@dataclass(slots=True)
class Refused:
    """A run of tokens that never reached the queue, kept so that their refusal waits its turn."""

    first: int
    last: int
    reason: str


Entry = Persist | Refused
Outcome = dict[str, StorageError | None]
"""What failed, by the kind of record. STATE is in it once the snapshot is over, well or not."""


def no_room_for(size: int) -> str:
    """Return why a record of so many bytes finds no place in the queue."""
    if size > RECORD_BYTES_MAX:
        return f"a record of {size} bytes is too large ({RECORD_BYTES_MAX} at most)"
    return "busy: the disk is behind; try again later"


def all_failed(error: StorageError) -> Outcome:
    """Return the outcome of a job of which nothing was done."""
    return {COUNTS: error, MEMBERS: error, STATE: error}


def parted(batch: list[Entry]) -> tuple[bytes, int, Persist | None]:
    """Return the log's frame for a batch, empty for none, its last token, its last members.

    `counter/native/framing.c` does the same where there is nothing but the log.
    """
    plain = _NATIVE.frame_of(batch, Persist, crc32) if _NATIVE is not None else None
    if plain is not None:
        return *plain, None
    kept = [entry for entry in batch if entry.__class__ is Persist]
    records: list[Record] = [(e.token, e.record) for e in kept if e.kind == COUNTS]
    members = None
    if len(records) < len(kept):
        members = [entry for entry in kept if entry.kind == MEMBERS][-1]
    if not records:
        return b"", 0, members
    return frame_bytes(records, records[-1][0]), records[-1][0], members


def first_token(entry: Entry) -> int:
    """Return the lowest token that an entry is of."""
    return entry.first if isinstance(entry, Refused) else entry.token


def results(batch: list[Entry], failed: Outcome) -> Iterator[int | PersistFailed]:
    """Yield, in order, each token that is safe and each failure."""
    for entry in batch:
        if isinstance(entry, Refused):
            for token in range(entry.first, entry.last + 1):
                yield PersistFailed(token, entry.reason, definite=True)
        else:
            error = failed.get(entry.kind)
            if error is None:
                yield entry.token
            else:
                yield PersistFailed(entry.token, str(error), error.definite)
