"""What nodes ask each other in datagrams. Tags 1-31.

The rule: one message, one datagram. `Ask` and `ShortReply` are what a node spends its time on:
they are not frozen, since that makes an object six times as dear, and they check all their fields
in one expression; the schema is asked only for the words when that fails. What is empty at the
end of one does not travel.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from counter.config import AGE_MAX, CHATTER_MAX, DEADLINE_MS_MAX, VISITS_MAX
from counter.messages.names import subject
from counter.parts import STEM_BYTES_MAX
from tracker import wire
from tracker.classes import dataclass
from tracker.errors import FrameError
from tracker.machine import Endpoint
from tracker.members import View
from tracker.wire import Schema

RING = 2**64
SKIP_MAX: Final = 16
LATE_MAX: Final = 16
FadedRow = tuple[int, int, int, int]
"""How long ago, in ms, increments were let go; what they may take and add (≥ 0), how many."""

FADED_ROWS_MAX: Final = 7
FADED_ROW: Final = wire.record(wire.u32, wire.u64, wire.u64, wire.u32)
FADED_ROW_BYTES: Final = 29

OTHERS_MAX: Final = 32
"""Shares of others in one answer: with the longest numbers they take 800 bytes."""

HELD_ROW_BYTES: Final = 25
STEMS_ROOM_BYTES: Final = 120
"""What the stems of parts may take in one answer, besides the room of shares that it has not."""

LEAF: Final = 1
"""Ask.flags: answer, and pass nothing on."""

TRACE: Final = 2
"""Ask.flags: answer with `Traced`, and hand this flag on."""

DECREASED: Final = 1
"""Reply.flags: this key has been decreased here at least once."""

UNHELD: Final = 16
"""Reply.flags: parts are held here of a store whose start, as it is known here, has not said that
it holds all of them, and is not waited for. If it has answered, its word may lack some of that."""

_u32 = wire.u32
_u64 = wire.u64


def swapped(end: int) -> int:
    """Return an end of an arc with its bytes in the opposite order, as it travels, or as it was.

    Ends are rounded (`counter.selection`), so their lower bytes are mostly 0: before the others
    they cost nothing. The end of the ring, 2^64, travels as 0.
    """
    return int.from_bytes((end % RING).to_bytes(8, "big"), "little")


def ends_of(skip: tuple[int, ...], late: tuple[int, ...], flags: int) -> tuple[Any, ...]:
    """Return the last fields of an ask, as far as they travel: up to the last that holds much."""
    if flags:
        return skip, late, flags
    if late:
        return skip, late
    return (skip,) if skip else ()


_held = wire.record(wire.blob(8, 8), _u32, wire.share)
_stem = wire.blob(0, STEM_BYTES_MAX)


def _held_row(value: Any) -> tuple[Any, ...]:
    """Check what is held of another store, with a stem behind it or without one."""
    row = _held(value)
    return row if len(value) == 3 else (*row, _stem(value[3]))


@dataclass(slots=True)
class Ask:
    """What is your share of `key`? And pass the question on to those in [low, high).

    The key may stand in an epoch of its own (`counter.messages.names`).
    `home` is the origin, where the answer goes: the bytes of its IP address and of its port.
    `age` is hops since the origin; `budget_ms` is what is left of the query's life, no clock is
    compared. `roll` is that of the view at home (`View.roll`), for a `ShortReply`; 0 wants none.
    `low` and `high` travel with their bytes in the opposite order. `skip` are positions in the arc
    that were asked already, `late` positions that had better not be given an arc (suspects).
    """

    query: bytes
    key: str
    home: Endpoint
    chatter: int
    visits: int
    age: int
    age_max: int
    budget_ms: int
    roll: int
    low: int
    high: int
    skip: tuple[int, ...] = ()
    late: tuple[int, ...] = ()
    flags: int = 0
    TAG: ClassVar[int] = 1
    FIELDS_MIN: ClassVar[int] = 11
    WIRE: ClassVar[Schema] = (
        wire.id16,
        subject,
        wire.place,
        wire.integer(1, CHATTER_MAX),
        wire.integer(1, VISITS_MAX),
        wire.integer(0, AGE_MAX),
        wire.integer(1, AGE_MAX),
        wire.integer(1, DEADLINE_MS_MAX),
        _u32,
        _u64,
        _u64,
        wire.listing(_u64, SKIP_MAX),
        wire.listing(_u64, LATE_MAX),
        wire.u8,
    )

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as they travel; empty ones at the end do not."""
        return (
            self.query,
            self.key,
            wire.wire_place(self.home),
            self.chatter,
            self.visits,
            self.age,
            self.age_max,
            self.budget_ms,
            self.roll,
            swapped(self.low),
            swapped(self.high),
            *ends_of(self.skip, self.late, self.flags),
        )

    @classmethod
    def from_wire(cls, values: list[Any]) -> "Ask":
        """Return the message in the decoded array; raises FrameError."""
        _, query, key, home, chatter, visits, age, age_max, budget_ms, roll, low, high = values[:12]
        skip, late, flags = (*values[12:15], *_NONE_OF_THESE[len(values) - 12 :])
        if not (
            type(query) is bytes
            and len(query) == 16
            and type(chatter) is int
            and 1 <= chatter <= CHATTER_MAX
            and type(visits) is int
            and 1 <= visits <= VISITS_MAX
            and type(age) is int
            and 0 <= age <= AGE_MAX
            and type(age_max) is int
            and 1 <= age_max <= AGE_MAX
            and type(budget_ms) is int
            and 1 <= budget_ms <= DEADLINE_MS_MAX
            and type(roll) is int
            and 0 <= roll < 2**32
            and type(low) is int
            and 0 <= low < RING
            and type(high) is int
            and 0 <= high < RING
            and type(flags) is int
            and 0 <= flags < 256
        ):
            wire.checked(cls.WIRE, values)
        low, high = swapped(low), swapped(high) or RING
        if low >= high and not flags & LEAF:
            raise FrameError("an arc that ends before it begins")
        return cls(
            query,
            subject(key),
            wire.place(home),
            chatter,
            visits,
            age,
            age_max,
            budget_ms,
            roll,
            low,
            high,
            () if skip == [] else _positions(skip, SKIP_MAX),
            () if late == [] else _positions(late, LATE_MAX),
            flags,
        )


_NONE_OF_THESE: Final[tuple[Any, ...]] = ([], [], 0)
"""`skip`, `late` and `flags` of an ask that ends before them."""


def _positions(values: Any, length_max: int) -> tuple[int, ...]:
    if type(values) is not list or len(values) > length_max:
        raise FrameError(f"wanted at most {length_max} positions, got {wire.shown(values)}")
    for value in values:
        if type(value) is not int or not 0 <= value < RING:
            raise FrameError(f"wanted a position, got {wire.shown(value)}")
    return tuple(values)


NOWHERE: Final[Endpoint] = ("", 0)


class AskAgain(Ask):
    """What is your share of `key`? Tell whoever asks, and pass nothing on.

    The ask of repair: an `Ask` with the flag LEAF whose home is its sender.
    """

    __slots__ = ()
    TAG: ClassVar[int] = 11
    FIELDS_MIN: ClassVar[int] = 4
    __match_args__ = ("query", "key", "budget_ms", "roll", "flags")
    WIRE: ClassVar[Schema] = (
        wire.id16,
        subject,
        wire.integer(1, DEADLINE_MS_MAX),
        _u32,
        wire.u8,
    )

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as they travel; the flags do if they say more than LEAF."""
        fields = (self.query, self.key, self.budget_ms, self.roll)
        return fields if self.flags == LEAF else (*fields, self.flags)

    @classmethod
    def from_wire(cls, values: list[Any]) -> "AskAgain":
        """Return the message in the decoded array, its home still NOWHERE; raises FrameError."""
        query, key, budget_ms, roll, *flags = wire.checked(cls.WIRE, values)
        return cls.made(query, key, NOWHERE, budget_ms, roll, LEAF | (flags[0] if flags else 0))

    @classmethod
    def made(
        cls, query: bytes, key: str, home: Endpoint, budget_ms: int, roll: int, flags: int = LEAF
    ) -> "AskAgain":
        """Return the ask with all that it implies."""
        return cls(query, key, home, 1, 1, 1, 1, budget_ms, roll, 1, 1, (), (), flags)


@dataclass(slots=True)
class Reply:
    """The share of the member at `position`, as it was when it first saw the query.

    `store` is the first 8 bytes of its store id. `cut` is empty, or the arc that aging left
    out there: (low, high, *positions in it that were asked*). `others` are shares of other
    stores that it holds: (store, epoch, value), each counted once, by its highest epoch; behind
    the value of a part stands its stem (`counter.parts`), as far as there is room for it. `roll`
    is that of its view (`View.roll`); 0 says nothing of it.
    """

    query: bytes
    position: int
    store: bytes
    epoch: int
    value: int
    age: int
    flags: int
    cut: tuple[int, ...]
    others: "tuple[tuple[bytes, int, int] | tuple[bytes, int, int, bytes], ...]"
    roll: int = 0
    TAG: ClassVar[int] = 2
    FIELDS_MIN: ClassVar[int] = 9
    WIRE: ClassVar[Schema] = (
        wire.id16,
        _u64,
        wire.blob(8, 8),
        _u32,
        wire.share,
        wire.integer(0, AGE_MAX),
        wire.u8,
        wire.listing(_u64, SKIP_MAX + 2),
        wire.listing(_held_row, OTHERS_MAX),
        _u32,
    )

    @classmethod
    def from_wire(cls, values: list[Any]) -> "Reply":
        """Return the message in the decoded array; raises FrameError."""
        _, query, position, store, epoch, value, age, flags, cut, others, *rest = values
        roll = rest[0] if rest else 0
        if (
            type(query) is bytes
            and len(query) == 16
            and type(position) is int
            and 0 <= position < RING
            and type(store) is bytes
            and len(store) == 8
            and type(epoch) is int
            and 0 <= epoch < 2**32
            and type(value) is int
            and -wire.SHARE_MAX <= value <= wire.SHARE_MAX
            and type(age) is int
            and 0 <= age <= AGE_MAX
            and type(flags) is int
            and 0 <= flags < 256
            and cut == []
            and others == []
            and type(roll) is int
            and 0 <= roll < 2**32
        ):
            return cls(query, position, store, epoch, value, age, flags, (), (), roll)
        reply = cls(*wire.checked(cls.WIRE, values))
        if len(reply.cut) == 1 or (reply.cut and reply.cut[0] > reply.cut[1]):
            raise FrameError("an arc that ends before it begins")
        return reply


@dataclass(slots=True)
class ShortReply:
    """A `Reply` to one who has the same view: the roll in the ask is that of the own view too.

    `place` is that of the member in the ring of the view, which tells its position and its
    store. Nothing was cut off there, and no shares of other stores are held.
    """

    query: bytes
    place: int
    epoch: int
    value: int
    age: int
    flags: int = 0
    TAG: ClassVar[int] = 12
    FIELDS_MIN: ClassVar[int] = 5
    WIRE: ClassVar[Schema] = (
        wire.id16,
        _u32,
        _u32,
        wire.share,
        wire.integer(0, AGE_MAX),
        wire.u8,
    )

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as they travel; flags do if there are any."""
        fields = (self.query, self.place, self.epoch, self.value, self.age)
        return (*fields, self.flags) if self.flags else fields

    @classmethod
    def from_wire(cls, values: list[Any]) -> "ShortReply":
        """Return the message in the decoded array; raises FrameError."""
        _, query, place, epoch, value, age, *rest = values
        if (
            not rest
            and type(query) is bytes
            and len(query) == 16
            and type(place) is int
            and 0 <= place < 2**32
            and type(epoch) is int
            and 0 <= epoch < 2**32
            and type(value) is int
            and -wire.SHARE_MAX <= value <= wire.SHARE_MAX
            and type(age) is int
            and 0 <= age <= AGE_MAX
        ):
            return cls(query, place, epoch, value, age)
        return cls(*wire.checked(cls.WIRE, values))

    def whole(self, view: View) -> Reply | None:
        """Return the reply as it would be without the view; None where the view has no place."""
        if self.place >= len(view.ring):
            return None
        return Reply(
            self.query,
            view.positions[self.place],
            view.ring[self.place].store[:8],
            self.epoch,
            self.value,
            self.age,
            self.flags,
            (),
            (),
            view.roll,
        )


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody waits for this query any more; forget it, and tell those you passed it to."""

    query: bytes
    TAG: ClassVar[int] = 6
    WIRE: ClassVar[Schema] = (wire.id16,)


Amounts = tuple[int, int, int]
"""What may be lost, what may be gained (both ≥ 0), in how many increments."""


@dataclass(frozen=True, slots=True)
class Uncertain:
    """A reply of a node where increments of the key are parked, and what they come to.

    The share may still lose `minus` and gain `plus`, both ≥ 0, in `count` increments, counted
    here or at the nodes they were first sent to. The reply is the body of a `Reply` or `Traced`.
    `faded` is what was parked here until lately, and counts elsewhere, the youngest first.
    """

    reply: bytes
    minus: int
    plus: int
    count: int
    faded: tuple[FadedRow, ...] = ()
    TAG: ClassVar[int] = 24
    FIELDS_MIN: ClassVar[int] = 4
    WIRE: ClassVar[Schema] = (
        wire.blob(1, 1_100),
        wire.total,
        wire.total,
        _u32,
        wire.listing(FADED_ROW, FADED_ROWS_MAX),
    )


@dataclass(frozen=True, slots=True)
class Traced:
    """A reply to an ask that carried TRACE, and how the query first came to whoever answers.

    `asked_by` sent the first datagram of the query that reached it, at the hop `age`. The reply
    is the body of a `Reply`. With `is_told` it is no answer: the head of a cell tells the origin
    how the query came to a member whose answer it collects.
    """

    asked_by: Endpoint
    age: int
    reply: bytes
    is_told: bool = False
    TAG: ClassVar[int] = 8
    FIELDS_MIN: ClassVar[int] = 3
    WIRE: ClassVar[Schema] = (
        wire.endpoint,
        wire.integer(0, AGE_MAX),
        wire.blob(1, 1_150),
        wire.flag,
    )

    def to_wire(self) -> Sequence[Any]:
        """Return the fields as they travel; the last one only if it says something."""
        fields = _traced_fields(self)
        return fields if self.is_told else fields[:-1]


_traced_fields = wire.fields_of(Traced)
