"""What the machines of strategies tell each other in datagrams. Tags 1-31.

The rule: a strategy's messages carry what that strategy needs and no more, in the codec of the
product, so that bytes may be compared. An answer is the product's own `Reply` everywhere.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from counter.config import AGE_MAX
from counter.messages import Reply
from tracker import wire
from tracker.errors import FrameError
from tracker.machine import Endpoint
from tracker.wire import Schema

VISITED_BYTES_MAX: Final = 1_100
"""What a datagram leaves for a set of visited members: one bit each, on a list all share."""


def real(value: Any) -> float:
    """Check a floating-point number."""
    if type(value) is float:
        return value
    raise FrameError(f"wanted a number, got {wire.shown(value)}")


@dataclass(slots=True)
class Rumour:
    """What is your share of `key`? And tell others. `age` is hops since the origin."""

    query: bytes
    key: str
    home: Endpoint
    age: int
    age_max: int
    TAG: ClassVar[int] = 1
    WIRE: ClassVar[Schema] = (
        wire.id16,
        wire.key,
        wire.endpoint,
        wire.integer(0, AGE_MAX),
        wire.integer(1, AGE_MAX),
    )


@dataclass(slots=True)
class Marked:
    """A rumour with the members it knows to be told already: bit i is member i."""

    query: bytes
    key: str
    home: Endpoint
    age: int
    age_max: int
    visited: bytes
    TAG: ClassVar[int] = 3
    WIRE: ClassVar[Schema] = (*Rumour.WIRE, wire.blob(0, VISITED_BYTES_MAX))


@dataclass(slots=True)
class Halved:
    """Half of what a node held: part of the sum, and of the weight that counts the origin."""

    query: bytes
    total: float
    weight: float
    TAG: ClassVar[int] = 4
    WIRE: ClassVar[Schema] = (wire.id16, real, real)


RUMOURS: Final = wire.Codec(Rumour, Reply, Marked)
AVERAGES: Final = wire.Codec(Halved)
