"""What nodes ask each other about cells, above the size at which an origin hears everybody.

The rule: nothing here is on the way of a query in a small cluster. These messages are few, one
for dozens of members, so they are frozen, and their schemas are asked for every field.

A `Delegate` is answered by an `Ack`, a `Batch` by a `Back`; either is sent again until it is.
"""

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any, ClassVar, Final

from counter.config import AGE_MAX, CHATTER_MAX, DEADLINE_MS_MAX, VISITS_MAX
from counter.messages.datagrams import LATE_MAX, RING, SKIP_MAX, swapped
from counter.messages.names import subject
from counter.parts import END_BYTES, is_part, part_end
from tracker import wire
from tracker.classes import dataclass
from tracker.errors import FrameError
from tracker.machine import Endpoint
from tracker.members import NOBODY, View
from tracker.wire import Schema

COLLECTS: Final = 1
"""Ack.flags: this head collects the answers of the arc; without it the arc was passed on."""

REFUSED: Final = 2
"""Ack.flags: this node heads too much already; somebody else had better take the arc."""

DONE: Final = 1
"""Batch.flags: with this one and all before it, everything about the cell has been told."""

OUTDONE: Final = 2
"""Batch.flags: the members of the cell had more lists of members than its batches tell of."""

ROWS_MAX: Final = 256

HELD: Final = 4
"""Flags of a row: a share that was handed over, told by whoever holds it; the position is his."""

DOUBT: Final = 8
"""Flags of a row that is no answer: what increments parked at the member of this position may add
to its value (0 or more) or take from it (below 0), in as many increments as the epoch says. It
stands in the same batch as the answer."""

STEM: Final = 32
"""Flags of a row: the position is 8 bytes of the stem of a part (`counter.parts`). Beside HELD they
are its end. Without that the row is no answer: they say how far the part with this epoch goes in an
earlier life, and the value is the beginning of its last one."""

NAMED_MAX: Final = 150
SEQUENCE_MAX: Final = 4_095

BATCH_ROOM_BYTES: Final = 1_080
"""What the rows and the named of one batch may take: 1232 bytes, less the other fields (at most
151 bytes) and the byte of the seal."""

ROLLS_MAX: Final = 4
"""Views of which one batch tells; with 15 bytes each they fit beside the rows. More of them
stand in more batches."""
POSITION_BYTES: Final = 8

Row = tuple[int, bytes, int, int, int, int]
"""One answer in a batch: (position, store, epoch, value, age, flags), as in `Reply`."""

_u32 = wire.u32
_u64 = wire.u64
_IDENTITY = Struct(">Q8s")
_POSITION = Struct(">Q")


def packed_positions(positions: Iterable[int]) -> bytes:
    """Return positions as they stand in a batch: 8 bytes each, end to end."""
    return b"".join([_POSITION.pack(pos) for pos in positions])


def positions_in(packed: bytes) -> list[int]:
    """Return the positions that were packed."""
    return [pos for (pos,) in _POSITION.iter_unpack(packed)]


@wire.travels_as(swapped)
def _begin(value: Any) -> int:
    """Check where an arc begins."""
    return swapped(_u64(value))


@wire.travels_as(swapped)
def _end(value: Any) -> int:
    """Check where an arc ends, at the end of the ring perhaps."""
    return swapped(_u64(value)) or RING


def _check_arc(told: "Delegate | Ack | Batch") -> None:
    if told.low >= told.high:
        raise FrameError("an arc that ends before it begins")


@dataclass(frozen=True, slots=True)
class Delegate:
    """Take charge of the arc [low, high): an `Ask` that wants an `Ack`.

    Who can collect it, answers with `Batch`es to `home`, the origin; an arc too large for a
    cell is cut up and given to further heads. The fields are those of `Ask`, and `share` that
    names the arc; `roll` are all bits of that of the view at the origin (`View.roll_bits`); `age`
    is the hops from the origin to whoever gets this.
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
    roll: int
    low: int
    high: int
    skip: tuple[int, ...]
    late: tuple[int, ...]
    flags: int = 0
    TAG: ClassVar[int] = 7
    FIELDS_MIN: ClassVar[int] = 14
    WIRE: ClassVar[Schema] = (
        wire.id16,
        _u32,
        subject,
        wire.endpoint,
        wire.integer(1, CHATTER_MAX),
        wire.integer(1, VISITS_MAX),
        wire.integer(0, AGE_MAX),
        wire.integer(1, AGE_MAX),
        wire.integer(1, DEADLINE_MS_MAX),
        _u64,
        _begin,
        _end,
        wire.listing(_u64, SKIP_MAX),
        wire.listing(_u64, LATE_MAX),
        wire.u8,
    )

    def to_wire(self) -> Sequence[Any]:
        """Return the fields as they travel; no flags do not."""
        fields = _delegate_fields(self)
        return fields if self.flags else fields[:-1]

    @classmethod
    def from_wire(cls, values: list[Any]) -> "Delegate":
        """Return the message in the decoded array; raises FrameError."""
        delegate = cls(*wire.checked(cls.WIRE, values))
        _check_arc(delegate)
        return delegate


_delegate_fields = wire.fields_of(Delegate)


@dataclass(frozen=True, slots=True)
class Ack:
    """The arc named by `share` has come, and what becomes of it: see the flags.

    `cell` is what its head, in this life, calls it; 0 where nobody collects. It goes to whoever
    asked and, where somebody collects, to the origin, which has to know whom to wait for.
    `skip` are the positions that the cell leaves out: they answer the origin themselves.
    """

    query: bytes
    share: int
    cell: int
    flags: int
    low: int
    high: int
    skip: tuple[int, ...]
    TAG: ClassVar[int] = 3
    WIRE: ClassVar[Schema] = (
        wire.id16,
        _u32,
        _u32,
        wire.u8,
        _begin,
        _end,
        wire.listing(_u64, SKIP_MAX),
    )

    @classmethod
    def from_wire(cls, values: list[Any]) -> "Ack":
        """Return the message in the decoded array; raises FrameError."""
        ack = cls(*wire.checked(cls.WIRE, values))
        _check_arc(ack)
        return ack


@dataclass(frozen=True, slots=True)
class Batch:
    """Answers that a head has collected, each by itself, and who stayed silent.

    Not a sum: an arc that was given away twice is collected twice, and only by position and
    store can the origin tell which answers it has. A head whose view is that of the `Delegate`
    names who answered by their places in its ring: four `numbers` for each, the step from the
    place before (from the first of the arc), the epoch, the value, and the age with the flags
    times 256. For all others `identities` are position and store, 16 bytes end to end, and the
    other three numbers follow at the end. `silent` are positions, 8 bytes each, asked so often
    (`asks`) that silence is proof, `cut` those that aging left out. `again` of `before` is the
    share of members that a further ask still found: the origin judges by that of all cells
    together. `messages` is what the cell has cost so far, as its head can tell. `rolls` are
    pairs of a position and the roll of the view there, where that is not the origin's: each roll
    stands in one batch of the cell.
    """

    query: bytes
    share: int
    cell: int
    sequence: int
    flags: int
    low: int
    high: int
    messages: int
    asks: int
    again: int
    before: int
    identities: bytes
    numbers: tuple[int, ...]
    silent: bytes
    cut: bytes
    rolls: tuple[tuple[int, int], ...] = ()
    TAG: ClassVar[int] = 4
    WIRE: ClassVar[Schema] = (
        wire.id16,
        _u32,
        _u32,
        wire.integer(0, SEQUENCE_MAX),
        wire.u8,
        _begin,
        _end,
        _u32,
        wire.u8,
        _u32,
        _u32,
        wire.blob(0, _IDENTITY.size * ROWS_MAX),
        wire.listing(wire.share, 4 * ROWS_MAX),
        wire.blob(0, POSITION_BYTES * NAMED_MAX),
        wire.blob(0, POSITION_BYTES * NAMED_MAX),
        wire.listing(wire.record(_u64, _u32), ROLLS_MAX),
    )

    @classmethod
    def from_wire(cls, values: list[Any]) -> "Batch":
        """Return the message in the decoded array; raises FrameError."""
        batch = cls(*wire.checked(cls.WIRE, values))
        _check_arc(batch)
        _check_rows(batch.identities, batch.numbers)
        if len(batch.silent) % POSITION_BYTES or len(batch.cut) % POSITION_BYTES:
            raise FrameError("wanted positions of 8 bytes each")
        return batch

    def rows(self, view: View = NOBODY) -> list[Row]:
        """Return the answers, by the view of the `Delegate`; those it has no place for not."""
        numbers = self.numbers
        named = 3 * (len(self.identities) // _IDENTITY.size)
        placed, others = numbers[: len(numbers) - named], numbers[len(numbers) - named :]
        positions, ring = view.positions, view.ring
        place = view.span(self.low, self.high)[0]
        rows: list[Row] = []
        for step, epoch, value, mark in zip(*[iter(placed)] * 4, strict=True):
            place += step
            if place >= len(ring):
                break
            flags, age = divmod(mark, 256)
            rows.append((positions[place], ring[place].store[:8], epoch, value, age, flags))
        identities = _IDENTITY.iter_unpack(self.identities)
        for (pos, store), epoch, value, mark in zip(identities, *[iter(others)] * 3, strict=True):
            flags, age = divmod(mark, 256)
            rows.append((pos, store, epoch, value, age, flags))
        return rows


def place_of(row: Row, view: View) -> int | None:
    """Return the place of an answer in the ring of a view, None if that expects another store."""
    pos, store, *_ = row
    place, _ = view.span(pos, pos)
    known = view.at(pos)
    return place if known is not None and known.store[:8] == store else None


def packed_rows(
    rows: Iterable[Row], view: View | None = None, low: int = 0
) -> tuple[bytes, tuple[int, ...]]:
    """Return answers as they stand in a batch for an arc from `low`: identities and numbers.

    Without a view nobody has a place.
    """
    identities: list[bytes] = []
    numbers: list[int] = []
    others: list[int] = []
    before = 0 if view is None else view.span(low, low)[0]
    for row in sorted(rows):
        pos, store, epoch, value, age, flags = row
        place = None if view is None else place_of(row, view)
        if place is None:
            identities.append(_IDENTITY.pack(pos, store))
            others += (epoch, value, flags << 8 | age)
        else:
            numbers += (place - before, epoch, value, flags << 8 | age)
            before = place
    return b"".join(identities), (*numbers, *others)


def _check_rows(identities: bytes, numbers: tuple[int, ...]) -> None:
    named, left = divmod(len(identities), _IDENTITY.size)
    placed, more = divmod(len(numbers) - 3 * named, 4)
    if left or more or placed < 0:
        raise FrameError(f"wanted rows, got {len(identities)} bytes and {len(numbers)} numbers")
    first = 4 * placed
    if not all(0 <= step < 2**32 for step in numbers[:first:4]):
        raise FrameError("a step backwards, or beyond 2^32")
    if not all(0 <= e < 2**32 for e in (*numbers[1:first:4], *numbers[first::3])):
        raise FrameError("an epoch beyond 2^32")
    if not all(0 <= m < 2**16 for m in (*numbers[3:first:4], *numbers[first + 2 :: 3])):
        raise FrameError("an age or flags beyond 255")


@dataclass(frozen=True, slots=True)
class Back:
    """The batch has come, and need not be sent again.

    `asks` is how many asks make silence a proof, by the evidence of all cells so far; a head
    asks no less often. 0 where the origin has nothing to say.
    """

    query: bytes
    cell: int
    sequence: int
    asks: int
    TAG: ClassVar[int] = 5
    WIRE: ClassVar[Schema] = (wire.id16, _u32, wire.integer(0, SEQUENCE_MAX), wire.u8)


def stem_row(store: bytes, epoch: int, value: int, stem: bytes, age: int) -> Row:
    """Return the row that tells a part of a share."""
    return int.from_bytes(stem[:END_BYTES], "big"), store, epoch, value, age, HELD | STEM


def stem_rows(store: bytes, epoch: int, value: int, stem: bytes, age: int) -> list[Row]:
    """Return the rows that tell how far that goes in earlier lives."""
    life = int.from_bytes(stem[:4], "big")
    earlier = [stem[at : at + END_BYTES] for at in range(END_BYTES, len(stem), END_BYTES)]
    return [(int.from_bytes(end, "big"), store, epoch, life, age, STEM) for end in earlier]


def told_stem(row: Row) -> tuple[bytes, bytes]:
    """Return the end of the part that such a row tells of, and what it tells of its stem."""
    pos, _, epoch, value, _, flags = row
    told = pos.to_bytes(END_BYTES, "big")
    if flags & HELD or not (is_part(epoch) and 0 <= value < 2**32):
        return told, told
    return part_end(epoch, value.to_bytes(4, "big")), told


def row_bytes(row: Row, *, is_placed: bool) -> int:
    """Return the bytes that a row takes in a batch; of a step to the next place those of a short
    one, which is one."""
    _, _, epoch, value, age, flags = row
    numbers = _number_bytes(epoch) + _number_bytes(value) + _number_bytes(flags << 8 | age)
    return numbers + (1 if is_placed else _IDENTITY.size)


def steps_bytes(members: int) -> int:
    """Return the most that the steps of one batch take beyond a byte each, in so many members."""
    return 2 * (members // 128) if members < 2**16 else 4 * (members // 128)


def _number_bytes(value: int) -> int:
    """Return the bytes of an integer in msgpack, or a few more."""
    if -32 <= value < 128:
        return 1
    if -(2**15) <= value < 2**16:
        return 3
    return 5 if -(2**31) <= value < 2**32 else 9
