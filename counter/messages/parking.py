"""Increments in doubt: what a client leaves at another node, and what nodes ask each other of it.

Tags 92-95, on streams; with 84-87 an operator looks at what is parked, and gives it up.

The rule: an operation is named by the store it was first sent to and the life that was in, never by
a node's name, and a grant names the store that may count it and that store's own ticket.
"""

from typing import Any, ClassVar, Final

from tracker import wire
from tracker.boots import BOOT_BYTES
from tracker.classes import dataclass
from tracker.errors import FrameError
from tracker.names import MEMBER_NAME_MAX
from tracker.wire import Schema

ROWS_PER_DISOWN_MAX: Final = 256
PARKED_PAIRS_MAX: Final = 512

COUNTED_THERE, GRANTED, ELSEWHERE, UNDERWAY, TOO_OLD = range(5)
"""Verdicts of a home. It has the operation; it has not and never will, and whoever asks may count
it; the same, but another one may count it; it cannot say yet; it can say nothing any more."""

HOME_MAY_SAY, NO_HOME, UNKNOWN_HOME, NO_WORD, AT_WORK = range(5)
"""What is to be expected of the home of a parked increment. It belongs to the cluster; it is gone,
or has another store; nobody knows it here; it said that it cannot tell; its word is being done."""

PARKED_ROWS_PER_PAGE: Final = 64
PARKED_PAIRS_SHOWN: Final = 2
"""Amounts told of one parked increment; of more, only their number is."""

_u64 = wire.u64


def _pairs(value: Any) -> tuple[Any, ...]:
    if type(value) is not list or not 2 <= len(value) <= 2 * PARKED_PAIRS_MAX or len(value) % 2:
        raise FrameError(f"wanted pairs of key and amount, got {wire.shown(value)}")
    for key in value[::2]:
        wire.key(key)
    for number in value[1::2]:
        _amount(number)
    return tuple(value)


_amount = wire.integer(-wire.AMOUNT_MAX, wire.AMOUNT_MAX)


@dataclass(frozen=True, slots=True)
class Park:
    """Hold this increment, and count it once the store it was first sent to never will.

    `session`, `sequence`, `pairs` and `ack` are those of the `Increment` whose fate is unknown;
    `home` is the store it was sent to, `name` the name of that node, `life` the boot of the life of
    that store it was first sent to, empty where the node told none.
    """

    request: int
    session: bytes
    sequence: int
    pairs: tuple[Any, ...]
    ack: int
    home: bytes
    name: str
    life: bytes = b""
    TAG: ClassVar[int] = 92
    FIELDS_MIN: ClassVar[int] = 7
    WIRE: ClassVar[Schema] = (
        _u64,
        wire.id16,
        _u64,
        _pairs,
        wire.integer(0, 2),
        wire.id16,
        wire.text(MEMBER_NAME_MAX),
        wire.blob(0, BOOT_BYTES),
    )


@dataclass(frozen=True, slots=True)
class Parked:
    """It is held, or was before (`repeated`), and counts exactly once: here or at its home.

    `on_disk` says whether it survives a crash of this node.
    """

    request: int
    on_disk: bool
    repeated: bool
    TAG: ClassVar[int] = 93
    WIRE: ClassVar[Schema] = (_u64, wire.flag, wire.flag)


@dataclass(frozen=True, slots=True)
class Disown:
    """Which of these operations has the store `home` counted? It is never to count the others.

    A row: session, sequence, and the ticket under which the store `by` holds it. `life` is the boot
    of the life they were first sent to: of a store that has not been in it nobody can tell.
    """

    request: int
    home: bytes
    by: bytes
    rows: tuple[tuple[bytes, int, int], ...]
    life: bytes = b""
    TAG: ClassVar[int] = 94
    FIELDS_MIN: ClassVar[int] = 4
    WIRE: ClassVar[Schema] = (
        _u64,
        wire.id16,
        wire.id16,
        wire.listing(wire.record(wire.id16, _u64, _u64), ROWS_PER_DISOWN_MAX),
        wire.blob(0, BOOT_BYTES),
    )


@dataclass(frozen=True, slots=True)
class Disowned:
    """A verdict for each row, in their order. What it grants is safe from a crash of the home."""

    request: int
    verdicts: tuple[int, ...]
    TAG: ClassVar[int] = 95
    WIRE: ClassVar[Schema] = (
        _u64,
        wire.listing(wire.integer(COUNTED_THERE, TOO_OLD), ROWS_PER_DISOWN_MAX),
    )


ParkedRow = tuple[int, bytes, str, bytes, int, tuple[Any, ...], int, int, float]
"""(ticket, home, its name, session, sequence, the first pairs, how many there are, what is to be
expected, for how many seconds; below 0 for longer than the node runs)."""


@dataclass(frozen=True, slots=True)
class ListParked:
    """Which increments are parked here?"""

    request: int
    TAG: ClassVar[int] = 84
    WIRE: ClassVar[Schema] = (_u64,)


@dataclass(frozen=True, slots=True)
class ParkedList:
    """One page of what is parked at a node, the oldest first; the last page says `end`.

    A row: ticket, home, its name, session, sequence, the first pairs of key and amount, how many
    pairs there are, what is to be expected of the home, for how long it is parked in s.
    """

    request: int
    end: bool
    rows: tuple[ParkedRow, ...]
    TAG: ClassVar[int] = 85
    WIRE: ClassVar[Schema] = (
        _u64,
        wire.flag,
        wire.listing(
            wire.record(
                _u64,
                wire.id16,
                wire.text(MEMBER_NAME_MAX),
                wire.id16,
                _u64,
                _pairs,
                wire.u32,
                wire.integer(HOME_MAY_SAY, AT_WORK),
                wire.seconds,
            ),
            PARKED_ROWS_PER_PAGE,
        ),
    )


@dataclass(frozen=True, slots=True)
class DropParked:
    """Give up this increment, which will be counted by nobody: somebody has decided so.

    It is refused while its home may still say what became of it.
    """

    request: int
    ticket: int
    TAG: ClassVar[int] = 86
    WIRE: ClassVar[Schema] = (_u64, _u64)


@dataclass(frozen=True, slots=True)
class ParkedDropped:
    """It is no longer parked here, and that is safe from a crash as far as anything here is."""

    request: int
    TAG: ClassVar[int] = 87
    WIRE: ClassVar[Schema] = (_u64,)


PARKING: Final = (
    *(Park, Parked, Disown, Disowned),
    *(ListParked, ParkedList, DropParked, ParkedDropped),
)
