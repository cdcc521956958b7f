"""What nodes ask each other in datagrams. Tags 1-31.

The rule: one message, one datagram. `Ask` and `Reply` are what a node spends its time on: they
are not frozen, since that makes an object six times as dear, and they check all their fields
in one expression; the schema is asked only for the words when that fails.
"""

from typing import Any, ClassVar, Final

from counter.config import AGE_MAX, CHATTER_MAX, DEADLINE_MS_MAX, VISITS_MAX
from tracker import wire
from tracker.classes import dataclass
from tracker.errors import FrameError
from tracker.machine import Endpoint
from tracker.wire import Schema

RING = 2**64
SKIP_MAX: Final = 16
LATE_MAX: Final = 16
OTHERS_MAX: Final = 16

LEAF: Final = 1
"""Ask.flags: answer, and pass nothing on."""

TRACE: Final = 2
"""Ask.flags: answer with `Traced`, and hand this flag on."""

DECREASED: Final = 1
"""Reply.flags: this key has been decreased here at least once."""

_u32 = wire.u32
_u64 = wire.u64


@dataclass(slots=True)
class Ask:
    """What is your share of `key`? And pass the question on to those in [low, high).

    `home` is the origin, where the answer goes. `skip` are positions in the arc that were
    asked already, `late` positions that had better not be given an arc (suspects). `share`
    names the arc, so that a repeated one is not split twice. `age` is hops since the origin;
    `budget_ms` is what is left of the query's life, no clock is compared.
    """

    query: bytes
    share: int
    key: str
    home: Endpoint
    chatter: int
    visits: int
    age: int
    age_max: int
    budget_ms: int
    low: int
    high: int
    skip: tuple[int, ...]
    late: tuple[int, ...]
    flags: int
    TAG: ClassVar[int] = 1
    WIRE: ClassVar[Schema] = (
        wire.id16,
        _u32,
        wire.key,
        wire.endpoint,
        wire.integer(1, CHATTER_MAX),
        wire.integer(1, VISITS_MAX),
        wire.integer(0, AGE_MAX),
        wire.integer(1, AGE_MAX),
        wire.integer(1, DEADLINE_MS_MAX),
        _u64,
        _u64,
        wire.listing(_u64, SKIP_MAX),
        wire.listing(_u64, LATE_MAX),
        wire.u8,
    )

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as they travel; the end of the ring, 2^64, travels as 0."""
        return (
            self.query,
            self.share,
            self.key,
            wire.wire_endpoint(self.home),
            self.chatter,
            self.visits,
            self.age,
            self.age_max,
            self.budget_ms,
            self.low,
            self.high & (RING - 1),
            self.skip,
            self.late,
            self.flags,
        )

    @classmethod
    def from_wire(cls, values: list[Any]) -> "Ask":
        """Return the message in the decoded array; raises FrameError."""
        _, query, share, key, home, chatter, visits, age, age_max, budget_ms = values[:10]
        low, high, skip, late, flags = values[10:15]
        if not (
            type(query) is bytes
            and len(query) == 16
            and type(share) is int
            and 0 <= share < 2**32
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
            and type(low) is int
            and 0 <= low < RING
            and type(high) is int
            and 0 <= high < RING
            and type(flags) is int
            and 0 <= flags < 256
        ):
            return cls(*wire.checked(cls.WIRE, values))
        if not flags & LEAF:
            high = high or RING
            if low >= high:
                raise FrameError("an arc that ends before it begins")
        return cls(
            query,
            share,
            wire.key(key),
            wire.endpoint(home),
            chatter,
            visits,
            age,
            age_max,
            budget_ms,
            low,
            high,
            _positions(skip, SKIP_MAX),
            () if late == [] else _positions(late, LATE_MAX),
            flags,
        )


def _positions(values: Any, length_max: int) -> tuple[int, ...]:
    if type(values) is not list or len(values) > length_max:
        raise FrameError(f"wanted at most {length_max} positions, got {wire.shown(values)}")
    for value in values:
        if type(value) is not int or not 0 <= value < RING:
            raise FrameError(f"wanted a position, got {wire.shown(value)}")
    return tuple(values)


@dataclass(slots=True)
class Reply:
    """The share of the member at `position`, as it was when it first saw the query.

    `store` is the first 8 bytes of its store id. `cut` is empty, or the arc that aging left
    out there: (low, high, *positions in it that were asked*). `others` are shares of other
    stores that it holds: (store, epoch, value), each counted once, by its highest epoch. `roll`
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
    others: tuple[tuple[bytes, int, int], ...]
    roll: int = 0
    TAG: ClassVar[int] = 2
    FIELDS_MIN: ClassVar[int] = 9
    WIRE: ClassVar[Schema] = (
        wire.id16,
        _u64,
        wire.blob(8, 8),
        _u32,
        wire.i64,
        wire.integer(0, AGE_MAX),
        wire.u8,
        wire.listing(_u64, SKIP_MAX + 2),
        wire.listing(wire.record(wire.blob(8, 8), _u32, wire.i64), OTHERS_MAX),
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
            and -(2**63) <= value < 2**63
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


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody waits for this query any more; forget it, and tell those you passed it to."""

    query: bytes
    TAG: ClassVar[int] = 6
    WIRE: ClassVar[Schema] = (wire.id16,)


@dataclass(frozen=True, slots=True)
class Traced:
    """A reply to an ask that carried TRACE, and how the query first came to whoever answers.

    `asked_by` sent the first datagram of the query that reached it, at the hop `age`. The reply
    is the body of a `Reply`.
    """

    asked_by: Endpoint
    age: int
    reply: bytes
    TAG: ClassVar[int] = 8
    WIRE: ClassVar[Schema] = (wire.endpoint, wire.integer(0, AGE_MAX), wire.blob(1, 1_024))

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as they travel."""
        return wire.wire_endpoint(self.asked_by), self.age, self.reply
