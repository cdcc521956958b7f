"""Questions for many keys at once, between nodes and at the door.

A question is the text that stands where else one key would stand::

    "=" newline "views" newline "clicks"     these keys, each named
    "*" newline "page:"                      every key that begins so; all keys with nothing behind

Between nodes each named key may stand in an epoch of its own, and a prefix is followed by a
newline and the roll of the epochs that its keys are in (`counter.epochs`), unless that is 0.

The rule: no key holds a newline, so a question can never be taken for a key. A peer that knows
no questions refuses it, and counts as silent; it does not answer for a key of that name.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Final

from counter.config import AGE_MAX
from counter.messages.datagrams import LEAF, OTHERS_MAX, RING, SKIP_MAX, Ask, swapped
from counter.messages.names import epoch_name, key_in
from tracker import wire
from tracker.classes import dataclass
from tracker.errors import FrameError
from tracker.wire import Schema

KEYS_PER_QUERY_MAX: Final = 32
"""Keys named in one query."""

KEYS_BYTES_MAX: Final = 480
"""What the names of those keys may take: then the ask fits a datagram, and so does every answer."""

ROWS_ROOM_BYTES: Final = 900
"""What the rows of one answer may take: 1232 bytes, less the other fields (at most 268 bytes) and
what a seal may come to need."""

ROWS_PER_ANSWER_MAX: Final = 200
"""Rows in one answer; more than fit, of the shortest keys."""

KEYS_KEPT_MAX: Final = 4_096
"""Keys that the origin of a query keeps and tells; at twice as many the smaller half goes."""

KEYS_PER_PAGE: Final = 128

WORKING: Final = 2
"""ReplyMany.flags: still looking for the keys, nothing is answered yet; beside DECREASED."""

STORE_BYTES: Final = 8
"""What names a store in an answer: the first bytes of its id."""

KeyRow = tuple[str, int]
"""(key, value at one node)."""

KeyedRow = tuple[str, int, int | None, int | None]
"""(key, value, low, high), None where nothing is certain."""

ROLL_DIGITS: Final = 16
"""Hex digits of a roll of epochs."""

_NAMED, _PREFIX, _NEXT = "=", "*", "\n"
_DIGITS = frozenset("0123456789abcdef")


def is_question(text: str) -> bool:
    """Say whether this stands for many keys, and is not a key."""
    return text[1:2] == _NEXT


def named(*keys: str) -> str:
    """Return the question for these keys; raises FrameError if it is none that can be asked."""
    return question(_NEXT.join([_NAMED, *keys]))


def prefixed(prefix: str) -> str:
    """Return the question for all keys with this prefix; raises FrameError for what no key has."""
    return question(f"{_PREFIX}{_NEXT}{prefix}")


def question(value: Any) -> str:
    """Check a question."""
    if type(value) is not str or not is_question(value):
        raise FrameError(f"wanted a question for many keys, got {wire.shown(value)}")
    kind, *parts = value.split(_NEXT)
    if kind == _PREFIX and len(parts) == 1:
        if parts[0]:
            wire.key(parts[0])
        return value
    if kind != _NAMED or len(set(parts)) < len(parts):
        raise FrameError(f"wanted a prefix, or keys named once, got {wire.shown(value)}")
    if len(parts) > KEYS_PER_QUERY_MAX:
        raise FrameError(f"one query takes {KEYS_PER_QUERY_MAX} keys, not {len(parts)}")
    length = sum([len(wire.key(part).encode()) for part in parts])
    if length > KEYS_BYTES_MAX:
        raise FrameError(f"the keys of one query take {KEYS_BYTES_MAX} bytes, not {length}")
    return value


def question_in_epochs(value: Any) -> str:
    """Check a question as nodes ask it: with the epochs that the keys are in."""
    if type(value) is not str or not is_question(value):
        raise FrameError(f"wanted a question for many keys, got {wire.shown(value)}")
    kind, *parts = value.split(_NEXT)
    if kind == _NAMED:
        names = [epoch_name(part) for part in parts]
        question(_NEXT.join([kind, *[key_in(name) for name in names]]))
        return value
    prefix, *roll = parts
    question(_NEXT.join([kind, prefix]))
    if roll and (len(roll) > 1 or len(roll[0]) != ROLL_DIGITS or set(roll[0]) - _DIGITS):
        raise FrameError(f"wanted a prefix and a roll, got {wire.shown(value)}")
    return value


def asked(value: Any) -> str:
    """Check what a query may ask for: a key, or a question for many."""
    if type(value) is str and is_question(value):
        return question(value)
    return wire.key(value)


def names_in(text: str) -> tuple[str, ...] | None:
    """Return what a question names, keys in their epochs; None for one that asks for a prefix."""
    kind, *parts = text.split(_NEXT)
    return tuple(parts) if kind == _NAMED else None


def keys_in(text: str) -> tuple[str, ...] | None:
    """Return the keys that a question names; None for one that asks for a prefix."""
    names = names_in(text)
    return None if names is None else tuple([key_in(name) for name in names])


def prefix_in(text: str) -> str:
    """Return the prefix that a question asks for."""
    return text.split(_NEXT)[1]


def roll_in(text: str) -> int:
    """Return the roll that a question for a prefix was asked with; 0 for none."""
    _, _, *roll = text.split(_NEXT)
    return int(roll[0], 16) if roll else 0


def with_epochs(text: str, names: Callable[[str], str], roll: Callable[[str], int]) -> str:
    """Return a question as one node asks it of others: what it calls each key, or its roll."""
    keys = keys_in(text)
    if keys is not None:
        return _NEXT.join([_NAMED, *[names(key) for key in keys]])
    prefix = prefix_in(text)
    number = roll(prefix)
    bare = f"{_PREFIX}{_NEXT}{prefix}"
    return f"{bare}{_NEXT}{number:0{ROLL_DIGITS}x}" if number else bare


def label(text: str) -> str:
    """Return how people write what is asked for: keys with blanks between, a prefix with a star.

    It fits where a key stands.
    """
    if not is_question(text):
        return key_in(text)
    names = keys_in(text)
    told = f"{prefix_in(text)}*" if names is None else " ".join(names)
    room = wire.KEY_BYTES_MAX
    return (
        told
        if len(told.encode()) <= room
        else told.encode()[: room - 3].decode("utf-8", "ignore") + "…"
    )


class AskMany(Ask):
    """What are your shares of the keys that `key` asks for? An `Ask` otherwise.

    It has a tag of its own: whoever knows no questions drops it, and the way of plain asks looks
    at no flag.
    """

    __slots__ = ()
    TAG: ClassVar[int] = 10
    WIRE: ClassVar[Schema] = (Ask.WIRE[0], question_in_epochs, *Ask.WIRE[2:])

    @classmethod
    def from_wire(cls, values: list[Any]) -> "AskMany":
        """Return the message in the decoded array; raises FrameError."""
        ask = cls(*wire.checked(cls.WIRE, values))
        ask.low, ask.high = swapped(ask.low), swapped(ask.high) or RING
        if ask.low >= ask.high and not ask.flags & LEAF:
            raise FrameError("an arc that ends before it begins")
        return ask


@dataclass(frozen=True, slots=True)
class ReplyMany:
    """The shares of the member at `position`, as it found them when it first saw the query.

    `rows` are (key, value), the largest values first, whatever their sign; 0 is left out. Of
    the keys with other values `left_out` found no room, none of them larger than `rest`.
    `value` is the exact sum of all of them. With WORKING it holds nothing yet: the member has
    many keys to look through, and answers when it has. `holds` are the first 8 bytes, end to end,
    of the other stores whose shares are in all of this; `aside` those, one by one, of which it
    holds parts that are not, since they are expected to answer, or since the one that is may lack
    some of another. The other fields are those of `Reply`.
    """

    query: bytes
    position: int
    store: bytes
    epoch: int
    value: int
    age: int
    flags: int
    cut: tuple[int, ...]
    roll: int
    rows: tuple[KeyRow, ...]
    left_out: int
    rest: int
    holds: bytes = b""
    aside: tuple[bytes, ...] = ()
    TAG: ClassVar[int] = 9
    FIELDS_MIN: ClassVar[int] = 12
    WIRE: ClassVar[Schema] = (
        wire.id16,
        wire.u64,
        wire.blob(8, 8),
        wire.u32,
        wire.total,
        wire.integer(0, AGE_MAX),
        wire.u8,
        wire.listing(wire.u64, SKIP_MAX + 2),
        wire.u32,
        wire.listing(wire.record(wire.key, wire.i64), ROWS_PER_ANSWER_MAX),
        wire.u32,
        wire.u64,
        wire.blob(0, STORE_BYTES * (OTHERS_MAX + 1)),
        wire.listing(wire.blob(STORE_BYTES, STORE_BYTES), OTHERS_MAX),
    )

    @classmethod
    def from_wire(cls, values: list[Any]) -> "ReplyMany":
        """Return the message in the decoded array; raises FrameError."""
        reply = cls(*wire.checked(cls.WIRE, values))
        if len(reply.cut) == 1 or (reply.cut and reply.cut[0] > reply.cut[1]):
            raise FrameError("an arc that ends before it begins")
        if len({key for key, _ in reply.rows}) < len(reply.rows):
            raise FrameError("a key with two values")
        if len(reply.holds) % STORE_BYTES:
            raise FrameError(f"wanted stores of {STORE_BYTES} bytes each")
        return reply

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as they travel; what is left aside does if anything is."""
        fields = tuple(_FIELDS(self))
        return fields if self.aside else fields[:-1]

    def held(self) -> list[bytes]:
        """Return the stores, besides the member's own, that its answer counts.

        Those of which it has a part only come last (`counter.parts.told_in`).
        """
        holds = self.holds
        return [holds[at : at + STORE_BYTES] for at in range(0, len(holds), STORE_BYTES)]


_FIELDS: Final = wire.fields_of(ReplyMany)


@dataclass(frozen=True, slots=True)
class Keyed:
    """One page of what a query for many keys found: (key, value, low, high). Sent before the end.

    `value` is the sum of what came. The truth lies from `low` to `high`; None where nothing is
    certain, since members are silent. `keys` counts the keys found, over all pages. `unseen` is
    the most that a key on no page can have among those who answered, and `left_out` how often
    one was left out, each member by itself.
    """

    request: int
    rows: tuple[KeyedRow, ...]
    keys: int
    left_out: int
    unseen: int
    TAG: ClassVar[int] = 50
    WIRE: ClassVar[Schema] = (
        wire.u64,
        wire.listing(
            wire.record(wire.key, wire.total, wire.optional(wire.total), wire.optional(wire.total)),
            KEYS_PER_PAGE,
        ),
        wire.u32,
        wire.u64,
        wire.total,
    )
