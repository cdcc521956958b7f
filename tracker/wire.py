"""Codec and frames: messages to bytes and back, no I/O.

A message on the wire is a msgpack array: its integer tag, then its fields in order. On a
stream it stands behind a length of four bytes, big end first; in a datagram it is the whole
body. The rule: `decode` turns every way in which bytes can be wrong into one `FrameError`,
checks each field against its schema (True is not 1, 1.0 is not 1), ignores fields beyond
those it knows (a newer peer may send them), and never builds more than the bytes justify.

A message class states its tag and its schema itself::

    @dataclass(frozen=True, slots=True)
    class Get:
        request: int
        key: str
        TAG: ClassVar[int] = 34
        WIRE: ClassVar[Schema] = (wire.u32, wire.key)

What a field becomes for the journey its check knows as well (`travels_as`): an address, a sum
past 64 bits. A message has a `to_wire` of its own only where that is not all, or must be fast.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar

import msgpack

from tracker.address import Endpoint
from tracker.errors import FrameError
from tracker.text import is_printable, printable

PROTOCOL = 1
"""What is spoken on streams; said in the first frame of each."""

GOSSIP_VERSION = 1
"""What is spoken in datagrams; the first byte of each. It is raised when a datagram that is known
already would mean something else: a message or a field more leaves it as it is."""

GOSSIP_VERSION_MAX = 31
"""No datagram of ours begins with a byte above it; nor with 0, but for those that are returned."""

FRAME_BYTES_MAX = 65_536
DATAGRAM_BYTES_MAX = 1_232
ARRAY_MAX = 1_024
KEY_BYTES_MAX = 256
AMOUNT_MAX = 2**53 - 1
SHARE_MAX = 2**62

Check = Callable[[Any], Any]
Form = Callable[[Any], Any]
Schema = tuple[Check, ...]
_Check = TypeVar("_Check", bound=Check)

_LENGTH = struct.Struct(">I")
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_pack = msgpack.Packer(autoreset=True).pack


def travels_as(form: Form) -> Callable[[_Check], _Check]:
    """Say in which form the values that pass a check travel, if not as they are; a decorator."""

    def note(check: _Check) -> _Check:
        check.form = form  # type: ignore[attr-defined]
        return check

    return note


def _form_of(check: Check) -> Form | None:
    return getattr(check, "form", None)


# -- forms in which values travel -------------------------------------------------------------


def wire_total(value: int) -> int | bytes:
    """Return the form in which `total` travels: msgpack's own integers end at 64 bits."""
    return value if _INT64_MIN <= value <= _UINT64_MAX else str(value).encode()


def wire_endpoint(address: Endpoint) -> list[Any]:
    """Return the form in which `endpoint` travels."""
    return [packed_ip(address[0]), address[1]]


def wire_place(address: Endpoint) -> bytes:
    """Return an address in one piece: 4 or 16 bytes of the IP address, then two of the port."""
    host, port = address
    return packed_ip(host) + port.to_bytes(2, "big")


# -- checks: each returns the value a field gets, or raises FrameError ----------------------


def integer(low: int, high: int) -> Check:
    """Make a check for a whole number in [low, high]."""

    def check(value: Any) -> int:
        if type(value) is int and low <= value <= high:
            return value
        raise FrameError(f"wanted a whole number from {low} to {high}, got {shown(value)}")

    return check


def text(length_max: int) -> Check:
    """Make a check for a string of at most `length_max` characters, printable or not."""

    def check(value: Any) -> str:
        if type(value) is str and len(value) <= length_max:
            return value
        raise FrameError(f"wanted a text of at most {length_max}, got {shown(value)}")

    return check


def blob(low: int, high: int) -> Check:
    """Make a check for a byte string of low to high bytes."""

    def check(value: Any) -> bytes:
        if type(value) is bytes and low <= len(value) <= high:
            return value
        raise FrameError(f"wanted {low} to {high} bytes, got {shown(value)}")

    return check


def listing(item: Check, length_max: int) -> Check:
    """Make a check for an array of at most `length_max` items, each passing `item`."""

    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is list and len(value) <= length_max:
            return tuple([item(v) for v in value])
        raise FrameError(f"wanted a list of at most {length_max}, got {shown(value)}")

    form = _form_of(item)
    return check if form is None else travels_as(lambda value: [form(v) for v in value])(check)


def record(*items: Check) -> Check:
    """Make a check for an array with one field per check; more fields are ignored."""
    length = len(items)

    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is list and len(value) >= length:
            return tuple([item(v) for item, v in zip(items, value, strict=False)])
        raise FrameError(f"wanted {length} fields, got {shown(value)}")

    formed = _formed(items)
    return check if formed is None else travels_as(formed)(check)


def optional(item: Check) -> Check:
    """Make a check for nil or what passes `item`."""

    def check(value: Any) -> Any:
        return None if value is None else item(value)

    form = _form_of(item)
    return check if form is None else travels_as(lambda v: None if v is None else form(v))(check)


def _formed(checks: Schema) -> Callable[[Iterable[Any]], list[Any]] | None:
    """Return what puts fields into the forms in which they travel; None: as they are."""
    found = [(place, _form_of(check)) for place, check in enumerate(checks)]
    forms = [(place, form) for place, form in found if form is not None]

    def formed(fields: Iterable[Any]) -> list[Any]:
        values = list(fields)
        for place, form in forms:
            values[place] = form(values[place])
        return values

    return formed if forms else None


def flag(value: Any) -> bool:
    """Check a boolean."""
    if type(value) is bool:
        return value
    raise FrameError(f"wanted true or false, got {shown(value)}")


def seconds(value: Any) -> float:
    """Check a duration for people to read: from 0.0 up, or -1.0 where it is not known."""
    if type(value) is float and (0.0 <= value < 1e15 or value == -1.0):
        return value
    raise FrameError(f"wanted seconds, got {shown(value)}")


def key(value: Any) -> str:
    """Check a counter's key: 1-256 bytes of printable UTF-8."""
    if type(value) is str and value:
        if value.isascii():
            if len(value) <= KEY_BYTES_MAX and value.isprintable():
                return value
        elif is_printable(value) and len(value.encode()) <= KEY_BYTES_MAX:
            return value
    raise FrameError(f"a key is 1-256 bytes of printable text, got {shown(value)}")


@travels_as(wire_total)
def total(value: Any) -> int:
    """Check an exact integer of any size: an int, or past 64 bits its digits as bytes."""
    if type(value) is int:
        return value
    if type(value) is bytes and len(value) <= 64:
        digits = value[1:] if value[:1] == b"-" else value
        if digits.isdigit():
            return int(value)
    raise FrameError(f"wanted a whole number, got {shown(value)}")


@travels_as(wire_endpoint)
def endpoint(value: Any) -> Endpoint:
    """Check `[packed ip, port]`; returns (host, port)."""
    if type(value) is list and len(value) == 2:
        host, port = value
        if type(host) is bytes and type(port) is int and 0 < port < 65_536:
            return _unpacked_ip(host), port
    raise FrameError(f"wanted an address, got {shown(value)}")


@travels_as(wire_place)
def place(value: Any) -> Endpoint:
    """Check an address in one piece, as `wire_place` makes it; returns (host, port)."""
    if type(value) is bytes and len(value) in (6, 18):
        port = value[-2] << 8 | value[-1]
        if port:
            return _unpacked_ip(value[:-2]), port
    raise FrameError(f"wanted an address, got {shown(value)}")


u8 = integer(0, 2**8 - 1)
u16 = integer(0, 2**16 - 1)
u32 = integer(0, 2**32 - 1)
u64 = integer(0, 2**64 - 1)
i64 = integer(-(2**63), 2**63 - 1)
share = integer(-SHARE_MAX, SHARE_MAX)
id16 = blob(16, 16)


def shown(value: Any) -> str:
    """Return a short printable form of a value from outside, for an error message."""
    if type(value) in (list, dict):
        return f"a {type(value).__name__} of {len(value)}"
    return printable(repr(value), 60)


# -- to the wire ----------------------------------------------------------------------------


@lru_cache(maxsize=65_536)
def packed_ip(host: str) -> bytes:
    """Return the 4 or 16 bytes of an IP address; raises FrameError for anything else."""
    try:
        if "%" in host:
            raise ValueError("a scope means nothing to others, and may hold any character")
        from ipaddress import ip_address

        return ip_address(host).packed
    except ValueError as error:
        raise FrameError(f"{shown(host)} is not an IP address") from error


@lru_cache(maxsize=65_536)
def _unpacked_ip(packed: bytes) -> str:
    try:
        from ipaddress import ip_address

        return str(ip_address(packed))
    except ValueError as error:
        raise FrameError(f"{shown(packed)} is not an IP address") from error


def packed(value: Any) -> bytes:
    """Return `value` as msgpack; for parts of a message that are made once and sent often."""
    result: bytes = _pack(value)
    return result


def framed(body: bytes) -> bytes:
    """Put the length before one body; raises FrameError past 64 KiB."""
    if len(body) > FRAME_BYTES_MAX:
        raise FrameError(f"a message of {len(body)} bytes does not fit into a frame")
    return _LENGTH.pack(len(body)) + body


def unpacked(body: bytes) -> Any:
    """Return what `body` holds as msgpack; any fault in it is a FrameError."""
    try:
        if len(body) <= DATAGRAM_BYTES_MAX:
            # By default nothing may be longer than the body, which is limit enough.
            return msgpack.unpackb(body)
        return msgpack.unpackb(
            body,
            max_str_len=FRAME_BYTES_MAX,
            max_bin_len=FRAME_BYTES_MAX,
            max_array_len=ARRAY_MAX,
            max_map_len=16,
            max_ext_len=0,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise FrameError(f"not a message: {printable(str(error), 80) or 'cut short'}") from error


class Codec:
    """The messages one protocol knows, by tag."""

    def __init__(self, *classes: Any) -> None:
        self._by_tag: dict[int, tuple[Any, Schema, Callable[[list[Any]], Any] | None, int]] = {}
        self._fields: dict[Any, tuple[int, Callable[[Any], Sequence[Any]]]] = {}
        for cls in classes:
            if cls.TAG in self._by_tag:
                raise ValueError(f"tag {cls.TAG} is used twice")
            quick = getattr(cls, "from_wire", None)
            # The fields behind these came later; a peer that is older does not send them.
            fewest = getattr(cls, "FIELDS_MIN", len(cls.WIRE))
            self._by_tag[cls.TAG] = (cls, cls.WIRE, quick, fewest)
            self._fields[cls] = (cls.TAG, _field_getter(cls))

    def classes(self) -> Iterable[Any]:
        """Return every message class of this protocol, in the order of the tags."""
        return [self._by_tag[tag][0] for tag in sorted(self._by_tag)]

    def encode(self, message: Any) -> bytes:
        """Return the body of a message; raises FrameError for what does not fit its field."""
        tag, fields = self._fields[message.__class__]
        try:
            body: bytes = _pack((tag, *fields(message)))
        except (OverflowError, TypeError, ValueError) as error:
            raise FrameError(f"cannot be sent: {error}") from error
        return body

    def decode(self, body: bytes) -> Any:
        """Return the message in `body`; raises FrameError, and only that."""
        values = unpacked(body)
        known = None
        if type(values) is list and values and type(values[0]) is int:
            known = self._by_tag.get(values[0])
        if known is None:
            raise FrameError(_unknown(values))
        cls, schema, quick, fewest = known
        if len(values) <= fewest:
            raise FrameError(f"{cls.__name__} has {fewest} fields, got {len(values) - 1}")
        if quick is not None:
            return quick(values)
        return cls(*checked(schema, values))


def _unknown(values: Any) -> str:
    if type(values) is not list or not values:
        return f"not a message: {shown(values)}"
    return f"unknown message {shown(values[0])}"


def checked(schema: Schema, values: list[Any]) -> list[Any]:
    """Return the fields behind the tag, each passed through its check; raises FrameError."""
    return [check(v) for check, v in zip(schema, values[1:], strict=False)]


def _field_getter(cls: Any) -> Callable[[Any], Sequence[Any]]:
    own: Callable[[Any], Sequence[Any]] | None = getattr(cls, "to_wire", None)
    return fields_of(cls) if own is None else own


def fields_of(cls: Any) -> Callable[[Any], Sequence[Any]]:
    """Return what takes the fields of a message, in the forms in which they travel."""
    names = tuple(cls.__match_args__)
    formed = _formed(cls.WIRE)
    if formed is None:
        return _plain_getter(names)
    return lambda message: formed([getattr(message, name) for name in names])


def _plain_getter(names: tuple[str, ...]) -> Callable[[Any], Sequence[Any]]:
    if not names:
        return lambda message: ()
    if len(names) == 1:
        name = names[0]
        return lambda message: (getattr(message, name),)
    return attrgetter(*names)


class FrameReader:
    """Cut a stream of bytes into frame bodies.

    Holds at most one incomplete frame: 4 bytes and then at most 64 KiB.
    """

    __slots__ = ("_buffer", "is_midway")

    is_midway: bool
    """Whether a frame has begun that has not ended."""

    def __init__(self) -> None:
        self._buffer = b""
        self.is_midway = False

    def single(self, data: bytes) -> bytes | None:
        """Return the body if `data` is one whole frame and nothing waits, as most often."""
        if self._buffer or len(data) < 5 or _LENGTH.unpack_from(data)[0] != len(data) - 4:
            return None
        return data[4:] if len(data) - 4 <= FRAME_BYTES_MAX else None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each complete body; raises FrameError at a length no frame has."""
        buffer = self._buffer + data if self._buffer else data
        start, end = 0, len(buffer)
        self._buffer = b""
        self.is_midway = False
        while end - start >= 4:
            length = _LENGTH.unpack_from(buffer, start)[0]
            if not 0 < length <= FRAME_BYTES_MAX:
                raise FrameError(_strange_length(buffer[start : start + 8], length))
            if end - start < 4 + length:
                break
            begin = start + 4
            start = begin + length
            yield buffer[begin:start]
        self._buffer = buffer[start:] if start else buffer
        self.is_midway = start < end


def _strange_length(head: bytes, length: int) -> str:
    if head[:4] in (b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"DELE", b"PRI "):
        return "this is HTTP; this port speaks the gossip-counter protocol"
    if head[:2] == b"\x16\x03":
        return "this is TLS; this port speaks plain gossip-counter frames"
    return f"a frame of {length} bytes; frames have 1 to {FRAME_BYTES_MAX}"
