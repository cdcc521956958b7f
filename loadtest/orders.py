"""What a load test tells the processes that hold its nodes, and what they tell it.

Frames of msgpack, as everywhere in this product; a node is named by its number (n7 is 7), and
many numbers travel as one field of packed words. The rule: each order has a number and is
answered, by pages of `Told` of which the last says so, or by one `Failed`; so whoever gave it
waits for an answer or for the end of the process, and for nothing else.
"""

from array import array
from collections.abc import Iterable, Sequence
from typing import ClassVar

from tracker import wire
from tracker.address import Endpoint
from tracker.classes import dataclass
from tracker.wire import Codec, Schema

NUMBERS_MAX = 20_000
"""Node numbers, or ports, in one order: 40,000 bytes of the 65,536 of a frame."""
WORDS_PER_PAGE = 5_000
"""Numbers of 64 bits in one page of an answer: 40,000 bytes."""
SETTINGS_MAX = 8_192
PATH_MAX = 4_096
TEXT_MAX = 1_000
CLUSTER_MAX = 64

_numbers = wire.blob(0, 2 * NUMBERS_MAX)
_words = wire.blob(0, 8 * WORDS_PER_PAGE)


@dataclass(frozen=True, slots=True)
class Host:
    """Run a tracker. Told: its port.

    It tells its news no more often than every `gap_s`, and doubts a node after `suspect_s`;
    who names another cluster than `cluster` is refused.
    """

    request: int
    gap_s: float
    suspect_s: float
    cluster: str
    TAG: ClassVar[int] = 1
    WIRE: ClassVar[Schema] = (wire.u32, wire.seconds, wire.seconds, wire.text(CLUSTER_MAX))


@dataclass(frozen=True, slots=True)
class Boot:
    """Run `count` nodes from number `first` on, until `members` of the cluster are known to each.

    They look every `look_s`; `joining_max` ask the tracker at a time. `ports` are where they
    listen, none for any. `settings` are those of the gossip, as JSON; `data` the directory in
    which each has one of its own, empty for nodes in memory. `cluster` is what they all belong to.
    Told: their ports.
    """

    request: int
    first: int
    count: int
    members: int
    look_s: float
    joining_max: int
    tracker: Endpoint
    ports: bytes
    seed: int
    latency_s: float
    loss: float
    settings: str
    data: str
    cluster: str
    TAG: ClassVar[int] = 2
    WIRE: ClassVar[Schema] = (
        wire.u32,
        wire.integer(1, 2**31),
        wire.integer(1, NUMBERS_MAX),
        wire.u32,
        wire.seconds,
        wire.u32,
        wire.endpoint,
        _numbers,
        wire.u64,
        wire.seconds,
        wire.seconds,
        wire.text(SETTINGS_MAX),
        wire.text(PATH_MAX),
        wire.text(CLUSTER_MAX),
    )


@dataclass(frozen=True, slots=True)
class Crash:
    """End these nodes without a word."""

    request: int
    numbers: bytes
    TAG: ClassVar[int] = 3
    WIRE: ClassVar[Schema] = (wire.u32, _numbers)


@dataclass(frozen=True, slots=True)
class Restart:
    """Start these nodes again that were crashed."""

    request: int
    numbers: bytes
    TAG: ClassVar[int] = 4
    WIRE: ClassVar[Schema] = (wire.u32, _numbers)


@dataclass(frozen=True, slots=True)
class Pause:
    """Have these nodes stand still for so long."""

    request: int
    numbers: bytes
    seconds: float
    TAG: ClassVar[int] = 5
    WIRE: ClassVar[Schema] = (wire.u32, _numbers, wire.seconds)


@dataclass(frozen=True, slots=True)
class Cut:
    """Let nothing through between these ports and all others, until a time of the machine.

    That is on its monotonic clock, which all processes share: one that stands still when it is
    told hears of the cut late, and must not keep it longer than the others.
    """

    request: int
    ports: bytes
    until: float
    TAG: ClassVar[int] = 6
    WIRE: ClassVar[Schema] = (wire.u32, _numbers, wire.seconds)


@dataclass(frozen=True, slots=True)
class Lose:
    """Have each datagram vanish with this chance from now on."""

    request: int
    share: float
    TAG: ClassVar[int] = 7
    WIRE: ClassVar[Schema] = (wire.u32, wire.seconds)


@dataclass(frozen=True, slots=True)
class Count:
    """Told: five words for each node: its number, and its traffic."""

    request: int
    TAG: ClassVar[int] = 8
    WIRE: ClassVar[Schema] = (wire.u32,)


@dataclass(frozen=True, slots=True)
class Sum:
    """Told: datagrams out and in, of all nodes together."""

    request: int
    TAG: ClassVar[int] = 9
    WIRE: ClassVar[Schema] = (wire.u32,)


@dataclass(frozen=True, slots=True)
class Use:
    """Told: processor time in microseconds, memory in bytes."""

    request: int
    TAG: ClassVar[int] = 10
    WIRE: ClassVar[Schema] = (wire.u32,)


@dataclass(frozen=True, slots=True)
class Told:
    """One page of the answer to an order; most have no more than this one."""

    request: int
    words: bytes
    end: bool
    TAG: ClassVar[int] = 33
    WIRE: ClassVar[Schema] = (wire.u32, _words, wire.flag)


@dataclass(frozen=True, slots=True)
class Failed:
    """An order could not be carried out; with request 0 the whole process ends, and this is why."""

    request: int
    text: str
    TAG: ClassVar[int] = 34
    WIRE: ClassVar[Schema] = (wire.u32, wire.text(TEXT_MAX))


@dataclass(frozen=True, slots=True)
class Up:
    """So many nodes know everybody now; said while they boot, unasked.

    `known` is how many members each knows, added up: it grows as long as anything goes on.
    """

    count: int
    known: int
    TAG: ClassVar[int] = 35
    WIRE: ClassVar[Schema] = (wire.u32, wire.u64)


Order = Host | Boot | Crash | Restart | Pause | Cut | Lose | Count | Sum | Use
ORDERS = Codec(Host, Boot, Crash, Restart, Pause, Cut, Lose, Count, Sum, Use)
ANSWERS = Codec(Told, Failed, Up)


def short(numbers: Iterable[int]) -> bytes:
    """Return numbers below 65,536 in one field; raises OverflowError for others."""
    return array("H", numbers).tobytes()


def shorts(field: bytes) -> list[int]:
    """Return the numbers in such a field; raises ValueError if it was cut."""
    return array("H", field).tolist()


def pages(request: int, words: Sequence[int]) -> list[Told]:
    """Return the answer to an order: all the words, in as many pages as they need."""
    starts = range(0, max(1, len(words)), WORDS_PER_PAGE)
    return [
        Told(
            request,
            array("Q", words[start : start + WORDS_PER_PAGE]).tobytes(),
            start + WORDS_PER_PAGE >= len(words),
        )
        for start in starts
    ]


def words(pages: Iterable[Told]) -> list[int]:
    """Return the words of an answer's pages."""
    found = array("Q")
    for page in pages:
        found.frombytes(page.words)
    return found.tolist()
