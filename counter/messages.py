"""What nodes ask each other in datagrams, and what clients ask a node at its door.

Tags 1-31 are datagrams, 32-95 the door. The rule: a message says what it means in its
docstring, and its schema refuses what it does not mean.

`Ask`, `Reply`, `Increment` and `Counted` are what a node spends its time on. They are not
frozen, since that makes an object six times as dear, and the first three check all their
fields in one expression; the schema is asked only for the words when that fails.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from counter.config import AGE_MAX, CHATTER_MAX, DEADLINE_MS_MAX, VISITS_MAX
from tracker import wire
from tracker.errors import FrameError
from tracker.machine import Endpoint
from tracker.messages import MEMBERSHIP, TEXT_MAX
from tracker.wire import Schema

RING = 2**64
SKIP_MAX: Final = 16
LATE_MAX: Final = 16
OTHERS_MAX: Final = 16
PAIRS_MAX: Final = 512
ROWS_PER_PAGE: Final = 256
TOP_ROWS_MAX: Final = 16

LEAF: Final = 1
"""Ask.flags: answer, and pass nothing on."""

DECREASED: Final = 1
"""Reply.flags: this key has been decreased here at least once."""

ACK_DEFAULT, ACK_MEMORY, ACK_DISK = range(3)

UNTIL_ALL, UNTIL_SHARE, UNTIL_STABLE = range(3)

_u8 = wire.u8
_u32 = wire.u32
_u64 = wire.u64


# -- datagrams ------------------------------------------------------------------------------


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
            _positions(late, LATE_MAX),
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
    stores that it holds: (store, epoch, value), each counted once, by its highest epoch.
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
    TAG: ClassVar[int] = 2
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
    )

    @classmethod
    def from_wire(cls, values: list[Any]) -> "Reply":
        """Return the message in the decoded array; raises FrameError."""
        _, query, position, store, epoch, value, age, flags, cut, others = values[:10]
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
        ):
            return cls(query, position, store, epoch, value, age, flags, (), ())
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


# -- the door -------------------------------------------------------------------------------


def amount(value: Any) -> int:
    """Check what may be added in one increment: a whole number, |n| < 2^53."""
    if type(value) is int and -wire.AMOUNT_MAX <= value <= wire.AMOUNT_MAX:
        return value
    raise FrameError(f"an amount is a whole number up to 2^53-1, got {wire.shown(value)}")


def _pairs(value: Any) -> tuple[Any, ...]:
    if type(value) is not list or not 2 <= len(value) <= 2 * PAIRS_MAX or len(value) % 2:
        raise FrameError(f"wanted pairs of key and amount, got {wire.shown(value)}")
    for key in value[::2]:
        wire.key(key)
    for number in value[1::2]:
        if type(number) is not int or not -wire.AMOUNT_MAX <= number <= wire.AMOUNT_MAX:
            amount(number)
    return tuple(value)


@dataclass(slots=True)
class Increment:
    """Add amounts to keys, all of them or none: `pairs` is key, amount, key, amount, …

    (session, sequence) is the identity of the operation: the same one never counts twice.
    `ack` says what the acknowledgement must promise.
    """

    session: bytes
    sequence: int
    pairs: tuple[Any, ...]
    ack: int
    TAG: ClassVar[int] = 32
    WIRE: ClassVar[Schema] = (wire.id16, _u64, _pairs, wire.integer(0, 2))

    @classmethod
    def from_wire(cls, values: list[Any]) -> "Increment":
        """Return the message in the decoded array; raises FrameError."""
        _, session, sequence, pairs, ack = values[:5]
        if (
            type(session) is bytes
            and len(session) == 16
            and type(sequence) is int
            and 0 <= sequence < RING
            and type(ack) is int
            and 0 <= ack <= 2
        ):
            return cls(session, sequence, _pairs(pairs), ack)
        return cls(*wire.checked(cls.WIRE, values))


@dataclass(slots=True)
class Counted:
    """The increment is in the total. `on_disk` is what is promised; `repeated`: it was before."""

    sequence: int
    on_disk: bool
    repeated: bool
    TAG: ClassVar[int] = 33
    WIRE: ClassVar[Schema] = (_u64, wire.flag, wire.flag)


@dataclass(frozen=True, slots=True)
class Get:
    """What does this one node hold of a key?"""

    request: int
    key: str
    TAG: ClassVar[int] = 34
    WIRE: ClassVar[Schema] = (_u64, wire.key)


@dataclass(frozen=True, slots=True)
class Value:
    """This node's own share of a key, and whether it survives a crash."""

    request: int
    value: int
    durable: bool
    TAG: ClassVar[int] = 35
    WIRE: ClassVar[Schema] = (_u64, wire.total, wire.flag)

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as they travel."""
        return self.request, wire.wire_total(self.value), self.durable


@dataclass(frozen=True, slots=True)
class Query:
    """Ask the whole cluster for the total of a key.

    Zeros stand for the node's defaults. `until` is one of UNTIL_*, `until_value` the share in
    thousandths or the quiet time in ms. `partial_ms` is the wish for partial results, 0 for
    none; `rows` asks for one row per member before the last answer.
    """

    request: int
    key: str
    chatter: int
    visits: int
    age_max: int
    deadline_ms: int
    until: int
    until_value: int
    partial_ms: int
    rows: bool
    TAG: ClassVar[int] = 36
    WIRE: ClassVar[Schema] = (
        _u64,
        wire.key,
        wire.integer(0, CHATTER_MAX),
        wire.integer(0, VISITS_MAX),
        wire.integer(0, AGE_MAX),
        wire.integer(0, DEADLINE_MS_MAX),
        wire.integer(0, 2),
        wire.integer(0, DEADLINE_MS_MAX),
        wire.integer(0, 60_000),
        wire.flag,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the query has heard so far; with `end`, what it found. CONTRACT: the query's JSON.

    `low` is None once the key has decreased anywhere. `top` are the largest shares:
    (name, value, hops, answered after ms). `missing` counts the silent; Rows name them.
    `why` is a sentence for the person, empty where the reason says it all.
    """

    request: int
    query: bytes
    end: bool
    value: int
    complete: bool
    reason: str
    answered: int
    members: int
    low: int | None
    filled: int
    filled_age_s: float
    elapsed_ms: float
    hops: int
    messages: int
    bytes: int
    duplicates: int
    missing: int
    cut: int
    origin: str
    why: str
    top: tuple[tuple[str, int, int, float], ...]
    TAG: ClassVar[int] = 37
    WIRE: ClassVar[Schema] = (
        _u64,
        wire.id16,
        wire.flag,
        wire.total,
        wire.flag,
        wire.text(16),
        _u32,
        _u32,
        wire.optional(wire.total),
        wire.total,
        wire.seconds,
        wire.seconds,
        wire.u16,
        _u64,
        _u64,
        _u64,
        _u32,
        _u32,
        wire.text(64),
        wire.text(TEXT_MAX),
        wire.listing(wire.record(wire.text(64), wire.total, wire.u16, wire.seconds), TOP_ROWS_MAX),
    )

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as they travel."""
        return (
            self.request,
            self.query,
            self.end,
            wire.wire_total(self.value),
            self.complete,
            self.reason,
            self.answered,
            self.members,
            None if self.low is None else wire.wire_total(self.low),
            wire.wire_total(self.filled),
            self.filled_age_s,
            self.elapsed_ms,
            self.hops,
            self.messages,
            self.bytes,
            self.duplicates,
            self.missing,
            self.cut,
            self.origin,
            self.why,
            [(name, wire.wire_total(v), hops, ms) for name, v, hops, ms in self.top],
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """One page of who answered: (name, value, hops, answered after ms). Sent before the end."""

    request: int
    rows: tuple[tuple[str, int, int, float], ...]
    TAG: ClassVar[int] = 38
    WIRE: ClassVar[Schema] = (
        _u64,
        wire.listing(wire.record(wire.text(64), wire.total, wire.u16, wire.seconds), ROWS_PER_PAGE),
    )

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as they travel."""
        rows = [(name, wire.wire_total(v), hops, ms) for name, v, hops, ms in self.rows]
        return self.request, rows


@dataclass(frozen=True, slots=True)
class Missing:
    """One page of who is missing: (name, status, last value or None, its age in s, why)."""

    request: int
    rows: tuple[tuple[str, int, int | None, float, str], ...]
    TAG: ClassVar[int] = 39
    WIRE: ClassVar[Schema] = (
        _u64,
        wire.listing(
            wire.record(
                wire.text(64),
                wire.u8,
                wire.optional(wire.total),
                wire.seconds,
                wire.text(64),
            ),
            ROWS_PER_PAGE,
        ),
    )

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as they travel."""
        rows = [
            (name, status, None if last is None else wire.wire_total(last), age_s, why)
            for name, status, last, age_s, why in self.rows
        ]
        return self.request, rows


@dataclass(frozen=True, slots=True)
class Cancel:
    """The client no longer wants the query it asked as `request`."""

    request: int
    TAG: ClassVar[int] = 40
    WIRE: ClassVar[Schema] = (_u64,)


@dataclass(frozen=True, slots=True)
class Recall:
    """What are the last values known here of the member `name`?"""

    request: int
    name: str
    TAG: ClassVar[int] = 41
    WIRE: ClassVar[Schema] = (_u64, wire.text(64))


@dataclass(frozen=True, slots=True)
class Recalled:
    """The last values known of a member: (key, value, age in s), the youngest first.

    `more` counts those left out.
    """

    request: int
    rows: tuple[tuple[str, int, float], ...]
    more: int
    TAG: ClassVar[int] = 42
    WIRE: ClassVar[Schema] = (
        _u64,
        wire.listing(wire.record(wire.key, wire.i64, wire.seconds), ROWS_PER_PAGE),
        _u32,
    )


GOSSIP: Final = wire.Codec(Ask, Reply, Stop)
DOOR: Final = wire.Codec(
    *MEMBERSHIP.classes(),
    Increment,
    Counted,
    Get,
    Value,
    Query,
    Answer,
    Answered,
    Missing,
    Cancel,
    Recall,
    Recalled,
)
