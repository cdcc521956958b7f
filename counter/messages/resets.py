"""Resets: what a client asks for, and how nodes tell each other of later epochs of a key.

The rule: an epoch is only ever told together with its key, and whoever is told of a later one than
it knows takes it; so these messages may be lost, repeated and overtaken.
"""

from typing import Any, ClassVar, Final

from counter.config import DEADLINE_MS_MAX
from counter.messages.names import EPOCH_MAX, MARK_BYTES
from tracker import wire
from tracker.classes import dataclass
from tracker.errors import FrameError
from tracker.wire import Schema

MARKS_MAX: Final = 8
"""Resets of one key that are remembered by their id; a retry after so many later ones looks new."""

EPOCH_ROWS_MAX: Final = 64
EPOCH_ROWS_BYTES: Final = 600
"""What the rows of one `Epochs` may take: 1232 bytes, less the other fields (at most 560)."""

_STEP = 4 + MARK_BYTES

Marks = tuple[tuple[int, bytes], ...]
"""Resets of a key: (the epoch that each began, its mark), in order."""

EpochRow = tuple[str, int, bytes]
"""(key, its epoch, its marks packed)."""


def packed_marks(marks: Marks) -> bytes:
    """Return marks as they travel: 4 bytes of epoch and 8 of mark each, end to end."""
    return b"".join([epoch.to_bytes(4, "big") + mark for epoch, mark in marks])


def marks_in(packed: bytes) -> Marks:
    """Return the marks that were packed."""
    parts = [packed[at : at + _STEP] for at in range(0, len(packed), _STEP)]
    return tuple([(int.from_bytes(part[:4], "big"), part[4:]) for part in parts])


def _marks(value: Any) -> bytes:
    if type(value) is bytes and len(value) <= MARKS_MAX * _STEP and len(value) % _STEP == 0:
        return value
    raise FrameError(f"wanted marks of {_STEP} bytes each, got {wire.shown(value)}")


def _bound(value: Any) -> str:
    return "" if value == "" else wire.key(value)


@dataclass(frozen=True, slots=True)
class Epochs:
    """Of these keys I know these epochs; your question was about others.

    It takes the place of a `Reply`. Who knows later ones than its sender sends them back. No rows:
    the answer will come, the epoch has to be on disk before. With `is_page` the rows are all that
    its sender knows of the keys asked for, behind `after` and up to `up_to`, an empty one no bound.
    """

    query: bytes
    rows: tuple[EpochRow, ...]
    is_page: bool
    after: str
    up_to: str
    TAG: ClassVar[int] = 20
    WIRE: ClassVar[Schema] = (
        wire.id16,
        wire.listing(wire.record(wire.key, wire.integer(0, EPOCH_MAX), _marks), EPOCH_ROWS_MAX),
        wire.flag,
        _bound,
        _bound,
    )


@dataclass(frozen=True, slots=True)
class Lesson:
    """A page of all that I know of epochs, for you who have just begun; say that it came.

    The first fields are those of an `Epochs`. `page` is its number behind an id of the lesson.
    With `is_first` nothing had been heard of your store here before.
    """

    page: bytes
    rows: tuple[EpochRow, ...]
    is_page: bool
    after: str
    up_to: str
    is_first: bool
    TAG: ClassVar[int] = 21
    WIRE: ClassVar[Schema] = (*Epochs.WIRE, wire.flag)


@dataclass(frozen=True, slots=True)
class Learned:
    """This page of a lesson has come; `roll` is that of all I know of epochs by now."""

    page: bytes
    roll: int
    TAG: ClassVar[int] = 22
    WIRE: ClassVar[Schema] = (wire.id16, wire.u64)


@dataclass(frozen=True, slots=True)
class Reset:
    """Begin a new epoch of a key, and tell what the one before it came to.

    The same `id` never resets twice. Of a deleted key nothing is kept for long. With `is_again` it
    was done by this id before: where nobody knows that any more, it is refused.
    """

    request: int
    id: bytes
    key: str
    deadline_ms: int
    is_delete: bool
    is_again: bool = False
    TAG: ClassVar[int] = 90
    FIELDS_MIN: ClassVar[int] = 5
    WIRE: ClassVar[Schema] = (
        wire.u64,
        wire.id16,
        wire.key,
        wire.integer(0, DEADLINE_MS_MAX),
        wire.flag,
        wire.flag,
    )


@dataclass(frozen=True, slots=True)
class WasReset:
    """The key is in this epoch now; `repeated`: it was before, by the same id.

    The pages of `Missing` and the `Answer` about the epoch before follow.
    """

    request: int
    epoch: int
    repeated: bool
    TAG: ClassVar[int] = 91
    WIRE: ClassVar[Schema] = (wire.u64, wire.integer(1, EPOCH_MAX), wire.flag)
