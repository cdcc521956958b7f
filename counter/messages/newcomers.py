"""Datagrams by which a node finds out whether a newcomer has moved, or is a copy of a member.

And by which a store that tells all of another one as its own hears whether somebody else does.

The rule: each names the one store that it is about, so that what is lost, late or repeated
proves nothing about another.
"""

from typing import Any, ClassVar, Final

from tracker import wire
from tracker.boots import BOOT_BYTES, BOOTS_BYTES_MAX
from tracker.classes import dataclass
from tracker.members import Member
from tracker.messages import STORE_ID_BYTES, member_from_wire, member_to_wire
from tracker.wire import Schema

UNSAID, HOLDS, LACKS = range(3)
"""What whoever is asked says of a part of its share: nothing, as older peers do; that it has all of
that, if it was asked about any; or that it does not."""
_EPOCH_MAX: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Sought:
    """Who runs where this is read? This store is said to have moved from there.

    Or it is there, and whoever asks holds a `part` of its share, up to that epoch
    (`counter.parts`). `boots` are those of the lives that it goes through, the latest first, the
    first of which is number `epoch`, and `begins` behind which record each began, 8 bytes each;
    who was given the part knows no more of them than how the first boot begins. `fork` is that of
    the life that went on from there as another store: the first one's is told under its id.
    """

    store: bytes
    part: int = 0
    epoch: int = 0
    boots: bytes = b""
    begins: bytes = b""
    fork: bytes = b""
    TAG: ClassVar[int] = 13
    FIELDS_MIN: ClassVar[int] = 1
    WIRE: ClassVar[Schema] = (
        wire.id16,
        wire.integer(0, _EPOCH_MAX),
        wire.integer(0, _EPOCH_MAX),
        wire.blob(0, BOOTS_BYTES_MAX),
        wire.blob(0, BOOTS_BYTES_MAX),
        wire.blob(0, BOOT_BYTES),
    )

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as they travel; those of a part do if it is about one."""
        about = (self.part, self.epoch, self.boots, self.begins, self.fork)
        return (self.store, *about) if any(about) else (self.store,)


@dataclass(frozen=True, slots=True)
class Here:
    """This member runs here: the answer to `Sought`, whichever store that was about.

    `says` whether it holds all that is in the `part` that was asked about.
    """

    member: Member
    part: int = 0
    says: int = UNSAID
    TAG: ClassVar[int] = 14
    FIELDS_MIN: ClassVar[int] = 1
    WIRE: ClassVar[Schema] = (
        member_from_wire,
        wire.integer(0, _EPOCH_MAX),
        wire.integer(UNSAID, LACKS),
    )

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as they travel; what it says does if it says anything."""
        told = member_to_wire(self.member)
        return (told, self.part, self.says) if self.part or self.says else (told,)


@dataclass(frozen=True, slots=True)
class Doubled:
    """You introduced yourself as the start `boot` of a store; `member` is another start of it.

    That one runs, or is known to have come later or at the same time. You are not believed.
    """

    boot: bytes
    member: Member
    TAG: ClassVar[int] = 15
    WIRE: ClassVar[Schema] = (wire.blob(0, BOOT_BYTES), member_from_wire)


@dataclass(frozen=True, slots=True)
class Whole:
    """This store tells all that `stores` had counted as its own: do you tell that as well?

    `token` comes back with the answer. It `is_settled` if everybody in its list has answered once.
    """

    store: bytes
    stores: bytes
    token: bytes
    is_settled: bool
    TAG: ClassVar[int] = 18
    WIRE: ClassVar[Schema] = (
        wire.id16,
        wire.blob(STORE_ID_BYTES, 2 * STORE_ID_BYTES),
        wire.blob(BOOT_BYTES, BOOT_BYTES),
        wire.flag,
    )


@dataclass(frozen=True, slots=True)
class WholeTold:
    """The answer to `Whole` of one start: the first 8 bytes of its store, and its boot.

    `is_told` says that it does, and that the one that asks must not. `roll` is that of its list.
    """

    token: bytes
    start: bytes
    is_told: bool
    roll: int
    TAG: ClassVar[int] = 19
    WIRE: ClassVar[Schema] = (
        wire.blob(BOOT_BYTES, BOOT_BYTES),
        wire.blob(8, 8 + BOOT_BYTES),
        wire.flag,
        wire.u32,
    )
