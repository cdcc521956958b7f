"""The handful of messages that an increment needs, made without dataclasses.

Importing every message of the door takes a third as long as `counter inc` takes in all, and it
must feel instant, so it speaks with these. The rule: byte for byte what `counter.messages` and
`tracker.messages` say, which a test compares.
"""

from typing import Any, ClassVar

from tracker import wire
from tracker.boots import BOOT_BYTES, BOOTS_BYTES_MAX
from tracker.names import MEMBER_NAME_MAX
from tracker.wire import Schema

ACK_DEFAULT, ACK_MEMORY, ACK_DISK = range(3)
ALIVE, SUSPECT = 0, 1
CANDIDATES_MAX = 32
IN_DOUBT = "in-doubt"


class _Light:
    """A message: its fields in order, and nothing else a dataclass would bring."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *values: Any) -> None:
        for name, value in zip(self.__match_args__, values, strict=True):
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Hello(_Light):
    """First frame of every stream."""

    __slots__ = __match_args__ = ("protocol", "cluster")
    TAG: ClassVar[int] = 96
    WIRE: ClassVar[Schema] = (wire.u16, wire.text(64))


class Welcome(_Light):
    """The stream is open."""

    __slots__ = __match_args__ = ("protocol", "role", "name", "store", "boots")
    TAG: ClassVar[int] = 97
    FIELDS_MIN: ClassVar[int] = 3
    WIRE: ClassVar[Schema] = (
        wire.u16,
        wire.text(16),
        wire.text(MEMBER_NAME_MAX),
        wire.blob(0, 16),
        wire.blob(0, BOOTS_BYTES_MAX),
    )

    def __init__(
        self, protocol: int, role: str, name: str, store: bytes = b"", boots: bytes = b""
    ) -> None:
        super().__init__(protocol, role, name, store, boots)


class Refused(_Light):
    """No, and nothing was changed."""

    __slots__ = __match_args__ = ("request", "code", "text", "common")
    TAG: ClassVar[int] = 98
    FIELDS_MIN: ClassVar[int] = 3
    WIRE: ClassVar[Schema] = (
        wire.u64,
        wire.text(32),
        wire.text(400),
        wire.integer(-2, 2**32),
    )

    def __init__(self, request: int, code: str, text: str, common: int = -1) -> None:
        super().__init__(request, code, text, common)


class Find(_Light):
    """Where is this node, or with an empty name any living one; whose turn it is?"""

    __slots__ = __match_args__ = ("request", "name", "turn")
    TAG: ClassVar[int] = 106
    FIELDS_MIN: ClassVar[int] = 2
    WIRE: ClassVar[Schema] = (wire.u64, wire.text(MEMBER_NAME_MAX), wire.integer(-1, 2**63))

    def __init__(self, request: int, name: str, turn: int = -1) -> None:
        super().__init__(request, name, turn)


class Found(_Light):
    """Nodes to talk to: (name, host, port, status, activity); when one more is judged."""

    __slots__ = __match_args__ = ("request", "candidates", "arriving_s")
    TAG: ClassVar[int] = 107
    FIELDS_MIN: ClassVar[int] = 2
    WIRE: ClassVar[Schema] = (
        wire.u64,
        wire.listing(
            wire.record(wire.text(MEMBER_NAME_MAX), wire.text(64), wire.u16, wire.u8, wire.u64),
            CANDIDATES_MAX,
        ),
        wire.seconds,
    )

    def __init__(self, request: int, candidates: Any, arriving_s: float = -1.0) -> None:
        super().__init__(request, candidates, arriving_s)


class Increment(_Light):
    """Add amounts to keys, all of them or none."""

    __slots__ = __match_args__ = ("session", "sequence", "pairs", "ack")
    TAG: ClassVar[int] = 32
    WIRE: ClassVar[Schema] = (wire.id16, wire.u64, wire.listing(lambda v: v, 1024), wire.u8)


class Counted(_Light):
    """The increment is in the total."""

    __slots__ = __match_args__ = ("sequence", "on_disk", "repeated")
    TAG: ClassVar[int] = 33
    WIRE: ClassVar[Schema] = (wire.u64, wire.flag, wire.flag)


class Park(_Light):
    """Hold an increment whose first node is gone."""

    __slots__ = __match_args__ = (
        "request", "session", "sequence", "pairs", "ack", "home", "name", "life",
    )  # fmt: skip
    TAG: ClassVar[int] = 92
    FIELDS_MIN: ClassVar[int] = 7
    WIRE: ClassVar[Schema] = (
        wire.u64,
        *Increment.WIRE,
        wire.id16,
        wire.text(MEMBER_NAME_MAX),
        wire.blob(0, BOOT_BYTES),
    )


class Parked(_Light):
    """It is held, and counts once."""

    __slots__ = __match_args__ = ("request", "on_disk", "repeated")
    TAG: ClassVar[int] = 93
    WIRE: ClassVar[Schema] = (wire.u64, wire.flag, wire.flag)


class EndSession(_Light):
    """The client is done."""

    __slots__ = __match_args__ = ("request", "session")
    TAG: ClassVar[int] = 80
    WIRE: ClassVar[Schema] = (wire.u64, wire.id16)


class SessionEnded(_Light):
    """What the session held is forgotten."""

    __slots__ = __match_args__ = ("request", "was_known")
    TAG: ClassVar[int] = 81
    WIRE: ClassVar[Schema] = (wire.u64, wire.flag)


LIGHT = wire.Codec(
    *(Hello, Welcome, Refused, Find, Found, Increment, Counted, Park, Parked),
    *(EndSession, SessionEnded),
)
