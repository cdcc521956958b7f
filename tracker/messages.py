"""What trackers, nodes and clients say to each other about membership.

Tags 1-31 belong to gossip datagrams, 32-95 to a node's door, 96-127 to this module. The
rule: news about members travels as `Member` records and nothing else, whoever sends it.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final

from tracker import wire
from tracker.boots import BOOT_BYTES, BOOTS_BYTES_MAX, LINEAGE_MAX
from tracker.classes import dataclass, replace
from tracker.config import is_member_name
from tracker.errors import FrameError
from tracker.members import GONE, HANDED_OVER, Member
from tracker.names import MEMBER_NAME_MAX, derived, is_derived
from tracker.wire import Schema

NEWS_PER_PAGE: Final = 256
LISTED_PER_PAGE: Final = 256
PARTS_BYTES_MAX: Final = 8 * 32
"""A node holds that many shares of others, and parts of them, at most; of each store 8 bytes."""
ARRIVING_MAX: Final = 16
"""Starts that a list names of those that are looked at before they are let in."""
CANDIDATES_MAX: Final = 32
TEXT_MAX: Final = 400
NO_REQUEST: Final = 0
UNTOLD, DIVIDED = -1, -2
"""Stand for the last common start of a store and its copy where nobody knows it, and where it is
known that the store went on from an earlier record of that start than the copy."""


def name(value: Any) -> str:
    """Check a node's name."""
    if type(value) is str and is_member_name(value):
        return value
    raise FrameError(f"not a node name: {wire.shown(value)}")


_name = name  # for schemas of classes that have a field of that name


def _host(value: Any) -> str:
    if type(value) is str:
        wire.packed_ip(value)
        return value
    raise FrameError(f"not an IP address: {wire.shown(value)}")


_port = wire.integer(1, 65_535)
_note = wire.text(TEXT_MAX)
_member_fields = wire.record(
    name,
    wire.id16,
    wire.u32,
    wire.u32,
    wire.u32,
    _host,
    _port,
    wire.integer(0, GONE),
    wire.flag,
    _note,
)
_boot = wire.blob(0, BOOT_BYTES)
STORE_ID_BYTES: Final = 16
HEIR_MAX: Final = MEMBER_NAME_MAX
_heir = wire.text(HEIR_MAX)


def stores_in(line: bytes) -> tuple[bytes, ...]:
    """Return the stores of a line, 16 bytes each."""
    return tuple([line[at : at + STORE_ID_BYTES] for at in range(0, len(line), STORE_ID_BYTES)])


def member_to_wire(member: Member) -> tuple[Any, ...]:
    """Return a member record as it travels."""
    told = (
        member.name,
        member.store,
        member.reign,
        member.epoch,
        member.incarnation,
        member.host,
        member.port,
        member.status,
        member.durable,
        member.note,
        member.boot,
    )
    return (*told, member.heir) if member.heir else told


@wire.travels_as(member_to_wire)
def member_from_wire(value: Any) -> Member:
    """Return the member in a decoded record; raises FrameError.

    Nobody has a name that is derived from another one's store. Older peers tell no boot, and of an
    heir only in the note.
    """
    fields = [*_member_fields(value)]
    for check in (_boot, _heir):
        if len(value) > len(fields):
            fields.append(check(value[len(fields)]))
    member = Member(*fields)
    if is_derived(member.name) and member.name != derived(member.name, member.store):
        raise FrameError(f"not the name of this store: {wire.shown(member.name)}")
    heir = member.note.removeprefix(HANDED_OVER)
    if member.status == GONE and not member.heir and heir != member.note:
        return replace(member, heir=heir[:HEIR_MAX])
    return member


def news_to_wire(members: Iterable[Member]) -> bytes:
    """Return one page of news; the same bytes go to everybody who lacks the same news."""
    return wire.packed([member_to_wire(m) for m in members])


@lru_cache(maxsize=32)
def news_from_wire(page: bytes) -> Sequence[Member]:
    """Return the members in a page of news; raises FrameError.

    Cached: many nodes in one process are told the same bytes.
    """
    values = wire.unpacked(page)
    if type(values) is not list or len(values) > NEWS_PER_PAGE:
        raise FrameError(f"not a page of members: {wire.shown(values)}")
    members = tuple([member_from_wire(value) for value in values])
    if len({member.name for member in members}) != len(members):
        raise FrameError("a page of members names one of them twice")
    return members


@dataclass(frozen=True, slots=True)
class Hello:
    """First frame of every stream: who speaks which protocol, for which cluster."""

    protocol: int
    cluster: str
    TAG: ClassVar[int] = 96
    WIRE: ClassVar[Schema] = (wire.u16, wire.text(64))


@dataclass(frozen=True, slots=True)
class Welcome:
    """The stream is open; `role` is `tracker` or `node`, `name` whose port this is.

    A node tells its store, 16 bytes, and the boots of this life and of those before it, the latest
    first, 8 bytes each; others tell none.
    """

    protocol: int
    role: str
    name: str
    store: bytes = b""
    boots: bytes = b""
    TAG: ClassVar[int] = 97
    FIELDS_MIN: ClassVar[int] = 3
    WIRE: ClassVar[Schema] = (
        wire.u16,
        wire.text(16),
        wire.text(MEMBER_NAME_MAX),
        wire.blob(0, 16),
        wire.blob(0, BOOTS_BYTES_MAX),
    )


@dataclass(frozen=True, slots=True)
class Refused:
    """No, and nothing was changed. `request` is what it answers, 0 for the stream itself.

    Where a copy of a store is refused, `common` is the last start that both are known to have had.
    """

    request: int
    code: str
    text: str
    common: int = UNTOLD
    TAG: ClassVar[int] = 98
    FIELDS_MIN: ClassVar[int] = 3
    WIRE: ClassVar[Schema] = (
        wire.u64,
        wire.text(32),
        wire.text(TEXT_MAX),
        wire.integer(DIVIDED, 2**32),
    )


@dataclass(frozen=True, slots=True)
class Register:
    """A node presents itself to a tracker.

    `lineage` are the boots of its store before this one, the latest first, 8 bytes each. With
    `parent` its store was made of an old backup of that one, and asks for its place; behind it
    stand, latest first, those that one was made of in turn, 16 bytes each. `written`
    is the last record that is safe on its disk, -1 where that is not told. It `has_counted` where
    it was let in under this name before, or has acknowledged anything under it. It `is_back` where
    its store has lived before, and no tracker has let this start in so far. `parts` are the stores
    of which it holds parts, the first 8 bytes of each.
    """

    member: Member
    lineage: bytes = b""
    parent: bytes = b""
    written: int = -1
    has_counted: bool = False
    is_apart: bool = False
    begins: bytes = b""
    is_back: bool = False
    parts: bytes = b""
    TAG: ClassVar[int] = 99
    FIELDS_MIN: ClassVar[int] = 1
    WIRE: ClassVar[Schema] = (
        member_from_wire,
        wire.blob(0, BOOT_BYTES * LINEAGE_MAX),
        wire.blob(0, STORE_ID_BYTES * (LINEAGE_MAX + 1)),
        wire.integer(-1, 2**63),
        wire.flag,
        wire.flag,
        wire.blob(0, BOOTS_BYTES_MAX),
        wire.flag,
        wire.blob(0, PARTS_BYTES_MAX),
    )

    @property
    def line(self) -> tuple[bytes, ...]:
        """The stores in `parent`."""
        return stores_in(self.parent)


@dataclass(frozen=True, slots=True)
class Registered:
    """The tracker took the node in, under this reign and incarnation.

    `digest` is that of the tracker's view: a node whose own differs teaches what it knows.
    `interval_ms` is the time between two of its heartbeats, `is_new` whether this
    store is strange here: it has lived before, and its name was another's meanwhile.
    """

    tracker_epoch: bytes
    reign: int
    incarnation: int
    digest: int
    interval_ms: int = 1_000
    is_strange: bool = False
    TAG: ClassVar[int] = 100
    WIRE: ClassVar[Schema] = (
        wire.blob(8, 8),
        wire.u32,
        wire.u32,
        wire.u64,
        wire.integer(1, 60_000),
        wire.flag,
    )
    FIELDS_MIN: ClassVar[int] = 5


@dataclass(frozen=True, slots=True)
class Teach:
    """A node tells a tracker whom it knows."""

    page: bytes
    TAG: ClassVar[int] = 101
    WIRE: ClassVar[Schema] = (wire.blob(0, wire.FRAME_BYTES_MAX),)


@dataclass(frozen=True, slots=True)
class Beat:
    """A node lives; it has taken in the tracker's news up to `version`.

    `activity` counts its operations in the last 30 s.
    """

    version: int
    incarnation: int
    activity: int
    TAG: ClassVar[int] = 102
    WIRE: ClassVar[Schema] = (wire.u32, wire.u32, wire.u64)


@dataclass(frozen=True, slots=True)
class Wrote:
    """Record `written` of a node is safe on its disk, and all before it. Not answered."""

    written: int
    TAG: ClassVar[int] = 120
    WIRE: ClassVar[Schema] = (wire.u64,)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The tracker lives; this is what changed from version `since` to `version`.

    An empty page with both equal says that nothing did. A large list comes in several
    heartbeats, each beginning at the version at which the one before it ended.
    """

    tracker_epoch: bytes
    version: int
    since: int
    page: bytes
    TAG: ClassVar[int] = 103
    WIRE: ClassVar[Schema] = (
        wire.blob(8, 8),
        wire.u32,
        wire.u32,
        wire.blob(0, wire.FRAME_BYTES_MAX),
    )


@dataclass(frozen=True, slots=True)
class Departing:
    """A node stops gracefully. `holds_counts` is false when nothing is lost by that.

    `heir` is who holds its counts now, empty if it had none.
    """

    holds_counts: bool
    heir: str = ""
    TAG: ClassVar[int] = 104
    FIELDS_MIN: ClassVar[int] = 1
    WIRE: ClassVar[Schema] = (wire.flag, _heir)


@dataclass(frozen=True, slots=True)
class Departed:
    """The tracker has noted the departure; the node may end."""

    status: int
    TAG: ClassVar[int] = 105
    WIRE: ClassVar[Schema] = (wire.integer(0, GONE),)


@dataclass(frozen=True, slots=True)
class Find:
    """A client looks for one node by name, or with an empty name for any living ones.

    With a `turn` from 0 up those are named that have it next: a number that grows by one from
    choice to choice names each node first as often as any other (round robin). -1: whichever.
    """

    request: int
    name: str
    turn: int = -1
    TAG: ClassVar[int] = 106
    FIELDS_MIN: ClassVar[int] = 2
    WIRE: ClassVar[Schema] = (wire.u64, wire.text(MEMBER_NAME_MAX), wire.integer(-1, 2**63))


@dataclass(frozen=True, slots=True)
class Found:
    """Nodes to talk to: (name, host, port, status, activity), at most 32.

    In the order of their turns if a turn was asked for, else in random order. Who is looked for may
    have come, and be judged in `arriving_s` (`tracker.arrivals`); -1.0: nobody has come.
    """

    request: int
    candidates: tuple[tuple[str, str, int, int, int], ...]
    arriving_s: float = -1.0
    TAG: ClassVar[int] = 107
    FIELDS_MIN: ClassVar[int] = 2
    WIRE: ClassVar[Schema] = (
        wire.u64,
        wire.listing(
            wire.record(name, _host, _port, wire.integer(0, GONE), wire.u64), CANDIDATES_MAX
        ),
        wire.seconds,
    )


@dataclass(frozen=True, slots=True)
class Roster:
    """A client asks a tracker, or a node, for everybody it knows."""

    request: int
    TAG: ClassVar[int] = 108
    WIRE: ClassVar[Schema] = (wire.u64,)


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a roster: (member, seconds in this status, activity); `end` with the last.

    Seconds are -1.0 where they are not known, activity is -1 where it is not known. The last page
    names who has come and is on no list yet: (name, host, port, seconds until it is judged).
    """

    request: int
    end: bool
    rows: tuple[tuple[Member, float, int], ...]
    arriving: tuple[tuple[str, str, int, float], ...] = ()
    TAG: ClassVar[int] = 109
    FIELDS_MIN: ClassVar[int] = 3
    WIRE: ClassVar[Schema] = (
        wire.u64,
        wire.flag,
        wire.listing(
            wire.record(member_from_wire, wire.seconds, wire.integer(-1, 2**63)),
            LISTED_PER_PAGE,
        ),
        wire.listing(wire.record(_name, _host, _port, wire.seconds), ARRIVING_MAX),
    )


@dataclass(frozen=True, slots=True)
class Forget:
    """An operator gives up the counts of a member that is not alive."""

    request: int
    name: str
    TAG: ClassVar[int] = 110
    WIRE: ClassVar[Schema] = (wire.u64, _name)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The member is gone; it was in `status` before, for `seconds` (-1.0: not known)."""

    request: int
    status: int
    seconds: float
    TAG: ClassVar[int] = 111
    WIRE: ClassVar[Schema] = (wire.u64, wire.integer(0, GONE), wire.seconds)


@dataclass(frozen=True, slots=True)
class Announced:
    """Every living member has acknowledged `version`, and with it that this node is here."""

    version: int
    TAG: ClassVar[int] = 112
    WIRE: ClassVar[Schema] = (wire.u32,)


@dataclass(frozen=True, slots=True)
class Withhold:
    """Announce this newcomer no sooner than I take this back: I have something to tell it first.

    It comes before the beat that acknowledges the news of the newcomer. Not answered.
    """

    store: bytes
    is_wanted: bool
    TAG: ClassVar[int] = 113
    WIRE: ClassVar[Schema] = (wire.id16, wire.flag)


@dataclass(frozen=True, slots=True)
class Introduce:
    """This member is here, and the tracker that took it in may have told nobody. A datagram.

    A datagram has no `Hello` before it, so it says itself which `cluster` it is for; older peers
    tell none.
    """

    member: Member
    cluster: str = ""
    TAG: ClassVar[int] = 16
    FIELDS_MIN: ClassVar[int] = 1
    WIRE: ClassVar[Schema] = (member_from_wire, wire.text(64))


@dataclass(frozen=True, slots=True)
class Introduced:
    """The store that introduced itself is known here now. A datagram."""

    store: bytes
    TAG: ClassVar[int] = 17
    WIRE: ClassVar[Schema] = (wire.id16,)


MEMBERSHIP: Final = wire.Codec(
    Hello,
    Welcome,
    Refused,
    Register,
    Registered,
    Teach,
    Beat,
    Wrote,
    Heartbeat,
    Departing,
    Departed,
    Find,
    Found,
    Roster,
    Listed,
    Forget,
    Forgotten,
    Announced,
    Withhold,
)
