"""What two nodes say to each other while one hands its counts over, and what a client asks of it.

    leaver      Offer        Page, Page, …        Seal            Sole
    receiver          Take          Stored, …           Adopted

The rule: a page is stored before it is said to be, and nothing of it counts anywhere before the
seal: until `Adopted` the leaver answers for all of it, from then on the receiver does.
"""

from typing import Any, ClassVar, Final

from counter.config import DEADLINE_MS_MAX
from counter.messages.datagrams import OTHERS_MAX
from counter.messages.names import epoch_name
from counter.parts import STEM_BYTES_MAX
from tracker import wire
from tracker.boots import BOOTS_BYTES_MAX
from tracker.classes import dataclass
from tracker.errors import FrameError
from tracker.messages import TEXT_MAX
from tracker.messages import name as node_name
from tracker.names import MEMBER_NAME_MAX
from tracker.wire import Schema

STORES_MAX: Final = OTHERS_MAX + 1
"""Shares that one node hands over: its own, and those it was given."""

RETIRED_PER_SOLE_MAX: Final = 2
"""Stores on disks that a leaver names: its own, and the one it grew out of."""

QUIET_MS_MAX: Final = DEADLINE_MS_MAX + 60_000
"""Time after which no query runs that began before, stopped or not."""

RETIRED_PER_PAGE: Final = 1_000
"""Stores on disks that were handed over before, in one page of a hand-over."""

PAGE_BYTES_MAX: Final = 57_344
"""Longest page; with its message it fits a frame of 64 KiB."""

PAGE_ROWS_MAX: Final = 340
"""Rows of one page: three fields each, in an array of at most `wire.ARRAY_MAX`."""

FENCING, SEEKING, COPYING, SEALING, LEAVING, DRAINED = range(6)
"""How far a node is: no increments any more, wants somebody, copies, waits for its word, tells the
trackers, holds nothing any more."""

PHASE_NAMES: Final = ("fencing", "seeking", "copying", "sealing", "leaving", "gone")

_u32 = wire.u32
_u64 = wire.u64
_store_and_epoch = wire.record(wire.id16, _u32)


@dataclass(frozen=True, slots=True)
class Offer:
    """Will you take all that the store of the node `name` holds? It counts no more."""

    name: str
    store: bytes
    stores: tuple[tuple[bytes, int], ...]
    keys: int
    TAG: ClassVar[int] = 70
    WIRE: ClassVar[Schema] = (
        node_name,
        wire.id16,
        wire.listing(_store_and_epoch, STORES_MAX),
        _u64,
    )


@dataclass(frozen=True, slots=True)
class Take:
    """Yes; with `has_all` there is nothing to send, only the seal was not heard."""

    has_all: bool
    TAG: ClassVar[int] = 71
    WIRE: ClassVar[Schema] = (wire.flag,)


@dataclass(frozen=True, slots=True)
class Page:
    """The next piece of what is handed over: `body` is a record as snapshots hold them."""

    number: int
    body: bytes
    TAG: ClassVar[int] = 72
    WIRE: ClassVar[Schema] = (_u32, wire.blob(1, PAGE_BYTES_MAX))


@dataclass(frozen=True, slots=True)
class Stored:
    """Every page up to this one is kept, on disk where there is one."""

    number: int
    TAG: ClassVar[int] = 73
    WIRE: ClassVar[Schema] = (_u32,)


@dataclass(frozen=True, slots=True)
class Seal:
    """That was all of it, in so many pages: answer for these stores from now on.

    `keys` is how many there were in the end: closed epochs of keys may have been let go of.
    """

    pages: int
    keys: int
    TAG: ClassVar[int] = 74
    WIRE: ClassVar[Schema] = (_u32, _u64)


@dataclass(frozen=True, slots=True)
class Adopted:
    """All of it is kept here, and every query that reaches this node from now on hears it."""

    store: bytes
    TAG: ClassVar[int] = 75
    WIRE: ClassVar[Schema] = (wire.id16,)


@dataclass(frozen=True, slots=True)
class Drain:
    """Hand your counts over, if you have not begun yet, and say how far it is."""

    request: int
    TAG: ClassVar[int] = 76
    WIRE: ClassVar[Schema] = (_u64,)


@dataclass(frozen=True, slots=True)
class DrainState:
    """How far a hand-over is: `done` of `total` keys are stored by `heir`; `why` it waits."""

    request: int
    phase: int
    heir: str
    done: int
    total: int
    why: str
    TAG: ClassVar[int] = 77
    WIRE: ClassVar[Schema] = (
        _u64,
        wire.integer(0, DRAINED),
        wire.text(MEMBER_NAME_MAX),
        _u64,
        _u64,
        wire.text(TEXT_MAX),
    )


@dataclass(frozen=True, slots=True)
class Sole:
    """Of what you have adopted, nobody but you holds these, or ever will.

    This node has sealed them for nobody else, and has written down that it is empty. It tells them
    no more but for a moment. `retired` are stores whose disks, or copies of them, may come back,
    this node's own and what it grew out of: they are to be refused for ever.
    No query that heard any of it from anybody but you ends later than `quiet_ms` from now. `lives`
    are the boots of the lives of each of `stores`, empty where they are not known.
    """

    stores: tuple[bytes, ...]
    retired: tuple[bytes, ...] = ()
    quiet_ms: int = QUIET_MS_MAX
    lives: tuple[bytes, ...] = ()
    TAG: ClassVar[int] = 78
    FIELDS_MIN: ClassVar[int] = 1
    WIRE: ClassVar[Schema] = (
        wire.listing(wire.id16, STORES_MAX),
        wire.listing(wire.id16, RETIRED_PER_SOLE_MAX),
        wire.integer(0, QUIET_MS_MAX),
        wire.listing(wire.blob(0, BOOTS_BYTES_MAX), STORES_MAX),
    )


HANDOVER: Final = (Offer, Take, Page, Stored, Seal, Adopted, Sole, Drain, DrainState)


def retired_in(values: Any) -> list[bytes]:
    """Return the stores of a page ["retired", [store, …]]; raises FrameError."""
    if type(values) is not list or len(values) != 2:
        raise FrameError(f"not a page of stores: {wire.shown(values)}")
    return list(_stores(values[1]))


_stores = wire.listing(wire.id16, RETIRED_PER_PAGE)


def stems_in(values: Any) -> tuple[tuple[bytes, bytes], ...]:
    """Return (key, stem) of each part of a page ["stems", [[key, stem], …]]; raises FrameError."""
    if type(values) is not list or len(values) != 2:
        raise FrameError(f"not a page of stems: {wire.shown(values)}")
    rows: tuple[tuple[bytes, bytes], ...] = _stems(values[1])
    return rows


_stems = wire.listing(wire.record(wire.id16, wire.blob(0, STEM_BYTES_MAX)), OTHERS_MAX)


def share_rows(values: Any) -> tuple[bytes, int, list[tuple[str, int, int]]]:
    """Return (store, epoch, rows) of a page that holds counts; raises FrameError.

    It is ["share", store, epoch, [key, increments, decrements, key, …]].
    """
    if type(values) is not list or len(values) != 4 or type(values[3]) is not list:
        raise FrameError(f"not a page of counts: {wire.shown(values)}")
    flat = values[3]
    if len(flat) % 3:
        raise FrameError(f"wanted rows of three, got {wire.shown(flat)}")
    totals = wire.integer(0, wire.SHARE_MAX)
    rows = [
        (epoch_name(key), totals(positive), totals(negative))
        for key, positive, negative in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]
    return wire.id16(values[1]), wire.u32(values[2]), rows
