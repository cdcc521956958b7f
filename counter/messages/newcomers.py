"""Datagrams by which a node finds out whether a newcomer has moved, or is a copy of a member.

The rule: each names the one store that it is about, so that what is lost, late or repeated
proves nothing about another.
"""

from typing import ClassVar

from tracker import wire
from tracker.boots import BOOT_BYTES
from tracker.classes import dataclass
from tracker.members import Member
from tracker.messages import member_from_wire
from tracker.wire import Schema


@dataclass(frozen=True, slots=True)
class Sought:
    """Who runs where this is read? This store is said to have moved from there."""

    store: bytes
    TAG: ClassVar[int] = 13
    WIRE: ClassVar[Schema] = (wire.id16,)


@dataclass(frozen=True, slots=True)
class Here:
    """This member runs here: the answer to `Sought`, whichever store that was about."""

    member: Member
    TAG: ClassVar[int] = 14
    WIRE: ClassVar[Schema] = (member_from_wire,)


@dataclass(frozen=True, slots=True)
class Doubled:
    """You introduced yourself as the start `boot` of a store; `member` is another start of it.

    That one runs, or is known to have come later or at the same time. You are not believed.
    """

    boot: bytes
    member: Member
    TAG: ClassVar[int] = 15
    WIRE: ClassVar[Schema] = (wire.blob(0, BOOT_BYTES), member_from_wire)
