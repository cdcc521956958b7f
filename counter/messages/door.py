"""What clients ask a node at its door. Tags 32-95, beside those of `tracker.messages`.

The rule: a request carries a number, its replies carry the same one; an increment's sequence is
its number. `Increment` and `Counted` are not frozen, for the reason given in `datagrams`.
"""

from typing import Any, ClassVar, Final

from counter.config import AGE_MAX, CHATTER_MAX, DEADLINE_MS_MAX, PAUSE_MS_MAX, VISITS_MAX
from counter.messages.following import FOLLOWING
from counter.messages.handover import HANDOVER
from counter.messages.many import Keyed, asked
from counter.messages.parking import PARKING
from counter.messages.resets import Reset, WasReset
from tracker import wire
from tracker.classes import dataclass
from tracker.errors import FrameError
from tracker.messages import MEMBERSHIP, TEXT_MAX
from tracker.names import MEMBER_NAME_MAX
from tracker.wire import Schema

PAIRS_MAX: Final = 512
ROWS_PER_PAGE: Final = 256
TOP_ROWS_MAX: Final = 16

ACK_DEFAULT, ACK_MEMORY, ACK_DISK = range(3)

UNTIL_ALL, UNTIL_SHARE, UNTIL_STABLE = range(3)

_u32 = wire.u32
_answered = wire.record(wire.text(MEMBER_NAME_MAX), wire.total, wire.u16, wire.seconds)
_u64 = wire.u64


def _pairs(value: Any) -> tuple[Any, ...]:
    if type(value) is not list or not 2 <= len(value) <= 2 * PAIRS_MAX or len(value) % 2:
        raise FrameError(f"wanted pairs of key and amount, got {wire.shown(value)}")
    for key in value[::2]:
        wire.key(key)
    for number in value[1::2]:
        if type(number) is not int or not -wire.AMOUNT_MAX <= number <= wire.AMOUNT_MAX:
            raise FrameError(f"an amount is a whole number up to 2^53-1, got {wire.shown(number)}")
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
            and 0 <= sequence < 2**64
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
class EndSession:
    """The client is done: it sends nothing more under this session, and repeats nothing."""

    request: int
    session: bytes
    TAG: ClassVar[int] = 80
    WIRE: ClassVar[Schema] = (_u64, wire.id16)


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """What the session held is forgotten; `was_known` is false where there was none of it."""

    request: int
    was_known: bool
    TAG: ClassVar[int] = 81
    WIRE: ClassVar[Schema] = (_u64, wire.flag)


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


@dataclass(frozen=True, slots=True)
class Query:
    """Ask the whole cluster for the total of a key, or of the keys that a question stands for.

    Zeros stand for the node's defaults. `until` is one of UNTIL_*, `until_value` the share in
    thousandths or the quiet time in ms. `partial_ms` is the wish for partial results, 0 for
    none; `rows` asks for one row per member before the last answer, `trace` for its way.
    With `pause_ms` it is begun so much later; or after half of that, with others who then
    ask the same.
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
    pause_ms: int = 0
    trace: bool = False
    TAG: ClassVar[int] = 36
    FIELDS_MIN: ClassVar[int] = 10
    WIRE: ClassVar[Schema] = (
        _u64,
        asked,
        wire.integer(0, CHATTER_MAX),
        wire.integer(0, VISITS_MAX),
        wire.integer(0, AGE_MAX),
        wire.integer(0, DEADLINE_MS_MAX),
        wire.integer(0, 2),
        wire.integer(0, DEADLINE_MS_MAX),
        wire.integer(0, 60_000),
        wire.flag,
        wire.integer(0, PAUSE_MS_MAX),
        wire.flag,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the query has heard so far; with `end`, what it found. CONTRACT: the query's JSON.

    `uncertain` increments are parked somewhere: they may or may not be in the value, which is
    between `low` and `high` whatever becomes of them. `high` is None as long as anybody is
    missing, `low` once the key has decreased anywhere. `top` are the largest shares:
    (name, value, hops, answered after ms). `missing` counts the silent; Rows name them.
    `why` is a sentence for the person, empty where the reason says it all. `begun_s` is when
    the query began by a clock of its origin: only differences between two of them mean anything.
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
    begun_s: float = -1.0
    high: int | None = None
    uncertain: int = 0
    TAG: ClassVar[int] = 37
    FIELDS_MIN: ClassVar[int] = 21
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
        wire.text(MEMBER_NAME_MAX),
        wire.text(TEXT_MAX),
        wire.listing(
            wire.record(wire.text(MEMBER_NAME_MAX), wire.total, wire.u16, wire.seconds),
            TOP_ROWS_MAX,
        ),
        wire.seconds,
        wire.optional(wire.total),
        _u32,
    )


@dataclass(frozen=True, slots=True)
class Answered:
    """One page of who answered: (name, value, hops, answered after ms). Sent before the end."""

    request: int
    rows: tuple[tuple[str, int, int, float], ...]
    TAG: ClassVar[int] = 38
    WIRE: ClassVar[Schema] = (
        _u64,
        wire.listing(
            wire.record(wire.text(MEMBER_NAME_MAX), wire.total, wire.u16, wire.seconds),
            ROWS_PER_PAGE,
        ),
    )


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
                wire.text(MEMBER_NAME_MAX),
                wire.u8,
                wire.optional(wire.total),
                wire.seconds,
                wire.text(64),
            ),
            ROWS_PER_PAGE,
        ),
    )


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
    WIRE: ClassVar[Schema] = (_u64, wire.text(MEMBER_NAME_MAX))


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


DOOR: Final = wire.Codec(
    *MEMBERSHIP.classes(),
    Increment,
    Counted,
    EndSession,
    SessionEnded,
    Get,
    Value,
    Query,
    Answer,
    Answered,
    Missing,
    Cancel,
    Recall,
    Recalled,
    *FOLLOWING,
    Keyed,
    Reset,
    WasReset,
    *HANDOVER,
    *PARKING,
)
