"""What a client asks a node about its queries: which there are, their stories, their traces.

The rule: an id may be shortened to its first hex digits, and it is the node that says whether
they name one query; nobody is shown, or cancels, another one than was meant.
"""

from typing import ClassVar, Final

from counter.config import AGE_MAX
from tracker import wire
from tracker.classes import dataclass
from tracker.machine import Endpoint
from tracker.messages import TEXT_MAX
from tracker.names import MEMBER_NAME_MAX
from tracker.wire import Schema

QUERIES_PER_PAGE: Final = 128
STORY_EVENTS_MAX: Final = 96
TRAIL_ROWS_PER_PAGE: Final = 96
REPAIRS_SHOWN_MAX: Final = 32

WAITING, RUNNING, ENDED = range(3)
"""States of a query: not begun yet, asked at this moment, over."""

ANSWERED, SILENT, CUT = range(3)
"""Fates of a member in a trace: it answered, it did not, aging left it out."""

QueryRow = tuple[bytes, str, int, str, float, float, int, int, int, str]
StoryEvent = tuple[float, str, int, str]
TrailRow = tuple[str, Endpoint | None, str, int, float, float, tuple[float, ...], int, int]

_row = wire.record(
    wire.id16,
    wire.key,
    wire.integer(WAITING, ENDED),
    wire.text(16),
    wire.seconds,
    wire.seconds,
    wire.u32,
    wire.u32,
    wire.u32,
    wire.text(64),
)
_u64 = wire.u64


@dataclass(frozen=True, slots=True)
class ListQueries:
    """Which queries does this node ask, and which did it ask a short while ago?"""

    request: int
    TAG: ClassVar[int] = 43
    WIRE: ClassVar[Schema] = (_u64,)


@dataclass(frozen=True, slots=True)
class QueryList:
    """One page of the queries of a node, the youngest first; the last page says `end`.

    A row: id, key, state (0 waiting, 1 running, 2 ended), reason it ended or what it waits
    for, its age in s, how long it ran in s, answered, members, viewers, who asked first.
    """

    request: int
    end: bool
    rows: tuple[QueryRow, ...]
    TAG: ClassVar[int] = 44
    WIRE: ClassVar[Schema] = (_u64, wire.flag, wire.listing(_row, QUERIES_PER_PAGE))


@dataclass(frozen=True, slots=True)
class TellStory:
    """What became of the query whose id begins with these hex digits?"""

    request: int
    id: str
    TAG: ClassVar[int] = 45
    WIRE: ClassVar[Schema] = (_u64, wire.text(32))


@dataclass(frozen=True, slots=True)
class Story:
    """What happened in one query, in order: (s since it was asked for, event, number, text).

    `row` is its row in the list of queries; `left_out` counts events past the limit.
    """

    request: int
    row: QueryRow
    events: tuple[StoryEvent, ...]
    left_out: int
    TAG: ClassVar[int] = 46
    WIRE: ClassVar[Schema] = (
        _u64,
        _row,
        wire.listing(
            wire.record(wire.seconds, wire.text(16), wire.u32, wire.text(TEXT_MAX)),
            STORY_EVENTS_MAX,
        ),
        wire.u32,
    )


@dataclass(frozen=True, slots=True)
class KillQuery:
    """End the query whose id begins with these hex digits, whoever wants its answer."""

    request: int
    id: str
    TAG: ClassVar[int] = 47
    WIRE: ClassVar[Schema] = (_u64, wire.text(32))


@dataclass(frozen=True, slots=True)
class QueryKilled:
    """The query is cancelled; so many viewers were told."""

    request: int
    query: bytes
    key: str
    viewers: int
    TAG: ClassVar[int] = 48
    WIRE: ClassVar[Schema] = (_u64, wire.id16, wire.key, wire.u32)


@dataclass(frozen=True, slots=True)
class Trail:
    """One page of the way a traced query took, a row for each member. Sent before the end.

    A row: name, address or None, who sent it the first datagram (a name, or an address where
    none is known; empty: not known), age, ms since the start at which the origin itself asked
    it in the first wave or -1.0, ms at which it answered or -1.0, ms of the origin's repair
    asks, value, fate (0 answered, 1 silent, 2 cut off by aging).
    """

    request: int
    rows: tuple[TrailRow, ...]
    TAG: ClassVar[int] = 49
    WIRE: ClassVar[Schema] = (
        _u64,
        wire.listing(
            wire.record(
                wire.text(MEMBER_NAME_MAX),
                wire.optional(wire.endpoint),
                wire.text(MEMBER_NAME_MAX),
                wire.integer(0, AGE_MAX),
                wire.seconds,
                wire.seconds,
                wire.listing(wire.seconds, REPAIRS_SHOWN_MAX),
                wire.total,
                wire.integer(ANSWERED, CUT),
            ),
            TRAIL_ROWS_PER_PAGE,
        ),
    )


FOLLOWING: Final = (
    ListQueries,
    QueryList,
    TellStory,
    Story,
    KillQuery,
    QueryKilled,
    Trail,
)
