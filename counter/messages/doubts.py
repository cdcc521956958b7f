"""What a member holds in doubt of the keys that a question for many asks for.

The rule: what is not listed is bounded. A key that stands in no row may lose at most `rest_minus`
there and gain at most `rest_plus`; so a datagram that has no room for all keys is still true of
each of them.
"""

from typing import Any, ClassVar, Final

from counter.messages.datagrams import FADED_ROW, FADED_ROWS_MAX, FadedRow
from tracker import wire
from tracker.classes import dataclass
from tracker.errors import FrameError
from tracker.wire import Schema

DOUBT_ROWS_ROOM_BYTES: Final = 300
"""What the rows of one datagram may take; the rows of the answer have that much less room."""

DOUBT_ROOM_BYTES: Final = 70
"""What the other fields may take beside them: the header of the reply within (3 bytes), its own
(3), five numbers of up to 9 bytes, one of 5 and the header of the rows (3), and some in hand."""

DOUBT_ROWS_MAX: Final = 128
"""Rows in one datagram; more than fit, of the shortest keys."""

DoubtRow = tuple[str, int, int]
"""(key, what it may lose, what it may gain), both ≥ 0."""


@dataclass(frozen=True, slots=True)
class UncertainMany:
    """A reply of a node where increments of the keys asked for are parked, and what they come to.

    All of them may still lose `minus` and gain `plus`, both ≥ 0, in `count` increments, as of
    first sight of the question. `rows` are (key, minus, plus), the largest first; `left_out`
    keys found no room, none of which may lose more than `rest_minus` or gain more than
    `rest_plus`. The reply is the body of a `ReplyMany`. `faded` is what was parked here until
    lately, of all keys together, and counts elsewhere.
    """

    reply: bytes
    minus: int
    plus: int
    count: int
    rows: tuple[DoubtRow, ...]
    left_out: int
    rest_minus: int
    rest_plus: int
    faded: tuple[FadedRow, ...] = ()
    TAG: ClassVar[int] = 25
    FIELDS_MIN: ClassVar[int] = 8
    WIRE: ClassVar[Schema] = (
        wire.blob(1, wire.DATAGRAM_BYTES_MAX),
        wire.total,
        wire.total,
        wire.u32,
        wire.listing(wire.record(wire.key, wire.u64, wire.u64), DOUBT_ROWS_MAX),
        wire.u32,
        wire.u64,
        wire.u64,
        wire.listing(FADED_ROW, FADED_ROWS_MAX),
    )

    @classmethod
    def from_wire(cls, values: list[Any]) -> "UncertainMany":
        """Return the message in the decoded array; raises FrameError."""
        told = cls(*wire.checked(cls.WIRE, values))
        if min(told.minus, told.plus) < 0:
            raise FrameError("less than nothing in doubt")
        return told
