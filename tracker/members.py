"""Who belongs to the cluster: `Member`, its status, and the `View` of all of them.

The rule: news about a member is ordered by `Member.rank` alone, so that views merge to the
same result in any order, from any number of trackers. (SWIM, Das et al. 2002, section 4.2:
a status overrides another at the same incarnation; only the member itself raises its
incarnation. Boot epoch and reign stand above it.)

A view never forgets by omission. A member stops being expected only by a record that says
`GONE`; records of the gone are kept as tombstones so that stale news cannot revive them.

Nor does it forget a store because another one has its name: of two stores under one name the
one of the higher rank keeps it, and the other one's record goes on under the name that
`tracker.names` derives for it (`settled`), as expected as before.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any, Final
from weakref import ReferenceType, ref

from tracker.classes import dataclass, replace
from tracker.digest import blake2b
from tracker.machine import Endpoint
from tracker.names import base_of, derived, is_derived

ALIVE, SUSPECT, DEAD, AWAY, GONE = range(5)
STATUS_NAMES: Final = ("alive", "suspect", "dead", "away", "gone")

FIRST_EPOCH: Final = 1
"""The epoch of a store that has never lived before."""
TOMBSTONES_MAX = 4_096
_MIXER: Final = 0x9E3779B97F4A7C15
"""2^64 / phi, odd (Knuth, TAOCP 6.4): a product of it is no mere XOR of its parts."""
HANDED_OVER: Final = "handed over to "
"""How the note of a member begins, for people, that is gone because others hold its counts now."""
LOST_NOTE: Final = "it lost this name"
"""The note of what stays under a name that its member has left for the one it derives."""
MERGES_MAX = 4
PATCHED_MAX = 64


@lru_cache(maxsize=131_072)
def position(name: str) -> int:
    """Return the place of a name on the ring of 2^64: its blake2b-64, big end first."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class Member:
    """One member, as one piece of news tells it.

    `store` is the 16 random bytes of its data directory, `epoch` counts its starts,
    `incarnation` its denials of being suspect, `reign` how often the name changed hands.
    `boot` are 8 random bytes of this start, which tell two starts of one number apart. `heir` is
    who holds its counts, once it has handed them over; `note` is for people alone.
    """

    name: str
    store: bytes
    reign: int
    epoch: int
    incarnation: int
    host: str
    port: int
    status: int = ALIVE
    durable: bool = True
    note: str = ""
    boot: bytes = b""
    heir: str = ""

    @property
    def endpoint(self) -> Endpoint:
        """Where it takes both datagrams and streams."""
        return self.host, self.port

    @property
    def rank(self) -> tuple[int, bytes, int, int, int]:
        """The order of news about one name: the higher rank is the later truth.

        Of two stores that were given one name in the same reign the bytes of the store decide, and
        nothing that changes while they live: or the name would go to and fro between them.
        """
        return self.reign, self.store, self.epoch, self.incarnation, self.status

    @property
    def life(self) -> tuple[int, int, int]:
        """Up to when its store itself has said something, under whichever name."""
        return self.reign, self.epoch, self.incarnation

    def overrides(self, other: "Member") -> bool:
        """Whether this is the later truth about the same name.

        At the same rank the rest of the record decides, so that all views still come to agree.
        """
        if self is other:
            return False
        own, theirs = self.rank, other.rank
        if own != theirs:
            return own > theirs
        # Above every other end of the same life, or what was told first would decide.
        lost, theirs_lost = self.note == LOST_NOTE, other.note == LOST_NOTE
        return self._rest > other._rest if lost == theirs_lost else lost

    @property
    def _rest(self) -> tuple[str, int, bool, str, bytes]:
        return self.host, self.port, self.durable, self.note, self.boot

    @property
    def mark(self) -> int:
        """64 bits that two records share when they tell the same; a digest is their XOR."""
        told = repr((self.name, self.rank, self._rest)).encode()
        return int.from_bytes(blake2b(told, digest_size=8).digest(), "big")

    @property
    def roll_mark(self) -> int:
        """64 bits of the name, the store that is expected under it, and its life: its rank but the
        status, and its boot.

        Without the rank a member that was gone and is back would make of a list the one that it
        was before, of which everybody thinks that it is long over; without the boot so would a
        start of the same number, of a copy of its directory or an older one.
        """
        life = ((self.reign << 16) + self.epoch << 16) + self.incarnation
        who = int.from_bytes(self.store[:8], "big") ^ int.from_bytes(self.boot, "big")
        told = (position(self.name) ^ who) + life * _MIXER
        return (told ^ told >> 32) * _MIXER % 2**64

    @property
    def expected(self) -> bool:
        """Whether an answer without it is incomplete."""
        return self.status != GONE

    @property
    def is_handed_over(self) -> bool:
        """Whether it is gone, and all it had counted is held by others."""
        return self.status == GONE and bool(self.heir)

    @property
    def held_nothing(self) -> bool:
        """Whether it is gone since it stopped without counts: every other end has a note."""
        return self.status == GONE and not self.note

    def became(self, status: int, note: str | None = None) -> "Member":
        """Return the same member with another status."""
        return replace(self, status=status, note=self.note if note is None else note, heir="")

    def handed_over(self, heir: str) -> "Member":
        """Return the same member, gone, with its counts at another one."""
        return replace(self, status=GONE, note=f"{HANDED_OVER}{heir}", heir=heir)

    def without_name(self) -> "Member":
        """Return the same member under the name that is left to it when another one has its own."""
        return replace(self, name=derived(self.name, self.store))

    def renamed(self) -> "Member":
        """Return what stays under a name that this member has left for the one it derives.

        It tells nothing but the rank, so that all who have seen any record of it agree.
        """
        return Member(
            *(self.name, self.store, self.reign, self.epoch, self.incarnation),
            *("0.0.0.0", 1, GONE, True, LOST_NOTE),
        )


Change = tuple[str, Member | None]
"""A name, and the record that is to stand there; None: nothing is to stand there."""


def settled(told: Member, get: Callable[[str], Member | None]) -> list[Change]:
    """Return, in order, what changes where `get` tells what is known of a name; nothing if no news.

    The loser of a name comes before its winner, so that nobody who hears of both in turn misses it.
    """
    known = get(told.name)
    if is_derived(told.name):
        own = get(base_of(told.name))
        if own is not None and own.store == told.store and told.life <= own.life:
            return _folded(own, told)
        # Two stores that begin with the same 8 bytes are one store to all who count.
        is_news = known is None or told.overrides(known)
        return [(told.name, told), *_renamed(own, told)] if is_news else []
    if known is None or told.store == known.store:
        is_news = known is None or told.overrides(known)
        return [(told.name, told), *_twin(told, get)] if is_news else []
    winner, loser = (told, known) if told.overrides(known) else (known, told)
    changes = settled(
        loser.without_name(), lambda name: winner if name == winner.name else get(name)
    )
    return [*changes, (told.name, told), *_twin(told, get)] if winner is told else changes


def _twin(own: Member, get: Callable[[str], Member | None]) -> list[Change]:
    """Return what becomes of a record under the derived name, if the store has its own name.

    Whoever came by the derived name in a life before that, or in the same, is known by its own name
    alone; whoever had its own in a life before the one with the derived name, by that.
    """
    left = get(derived(own.name, own.store))
    if left is None or left.store != own.store:
        return []
    if left.life > own.life:
        return _renamed(own, left)
    return [(left.name, None), *_folded(own, left)]


def _folded(own: Member, left: Member) -> list[Change]:
    told = replace(left, name=own.name)
    return [(own.name, told)] if told.overrides(own) else []


def _renamed(own: Member | None, left: Member) -> list[Change]:
    if own is None or own.store != left.store:
        return []
    renamed = own.renamed()
    return [(own.name, renamed)] if renamed.overrides(own) else []


class View:
    """An immutable list of members, with the ring of those that are expected.

    Merging returns a new view. A view remembers (weakly) the last few it was merged into, by
    the identity of the news: a thousand nodes in one process that hear the same frame share
    one list instead of making a thousand.
    """

    def __init__(self, members: dict[str, Member] | None = None) -> None:
        self.members: dict[str, Member] = members or {}
        self._merges: dict[int, tuple[Sequence[Member], ReferenceType[View]]] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members.values())

    def __len__(self) -> int:
        return len(self.members)

    def get(self, name: str) -> Member | None:
        """Return what is known of a name, tombstones included."""
        return self.members.get(name)

    def get_as(self, name: str, store: bytes) -> Member | None:
        """Return what is known of a store that had this name, whoever has that now."""
        member = self.members.get(name)
        if member is not None and member.store == store:
            return member
        return self.members.get(derived(name, store), member)

    @cached_property
    def disputed(self) -> frozenset[str]:
        """The names that some store has lost: by whom they were meant before cannot be told."""
        return frozenset([base_of(name) for name in self.members if is_derived(name)])

    @cached_property
    def ring(self) -> list[Member]:
        """The expected members by position."""
        return sorted((m for m in self if m.expected), key=lambda m: position(m.name))

    @cached_property
    def positions(self) -> list[int]:
        """The positions of `ring`, in the same order."""
        return [position(member.name) for member in self.ring]

    @cached_property
    def is_whole(self) -> bool:
        """Whether every expected member is believed to live."""
        return {member.status for member in self.ring} <= {ALIVE}

    @property
    def expected(self) -> int:
        """How many members a complete answer needs."""
        return len(self.positions)

    @cached_property
    def digest(self) -> int:
        """64 bits that two views share when they hold the same news."""
        result = 0
        for member in self:
            result ^= member.mark
        return result

    @cached_property
    def roll(self) -> int:
        """32 bits that two views share when they expect the same stores under the same names.

        The same in the same lives: who was gone meanwhile is in another one. Never 0, which is
        left to those who say nothing of their view.
        """
        return folded(self.roll_bits)

    @cached_property
    def roll_bits(self) -> int:
        """The same in 64 bits: with these no two lists will ever be taken for each other."""
        result = 0
        for member in self:
            if member.expected:
                result ^= member.roll_mark
        return result

    def at(self, pos: int) -> Member | None:
        """Return the expected member at a position."""
        index = bisect_left(self.positions, pos)
        if index < len(self.positions) and self.positions[index] == pos:
            return self.ring[index]
        return None

    @cached_property
    def _owners(self) -> dict[bytes, Member]:
        owners: dict[bytes, Member] = {}
        for member in self:
            if member.expected or member.store[:8] not in owners:
                owners[member.store[:8]] = member
        return owners

    def owner_of(self, store: bytes) -> Member | None:
        """Return whose store begins with these 8 bytes, also if it is gone; None if not known."""
        return self._owners.get(store)

    @cached_property
    def _at_endpoints(self) -> dict[Endpoint, Member]:
        return {member.endpoint: member for member in self.ring if member.status == ALIVE}

    def listed_at(self, endpoint: Endpoint) -> Member | None:
        """Return the living member that is listed at an address, None if nobody is."""
        return self._at_endpoints.get(endpoint)

    def neighbours(self, pos: int) -> tuple[int, int]:
        """Return the positions (before, after) `pos` on the ring, -1 and 2^64 at its ends.

        For a position that nobody has, both are `pos`: no arc lies between them.
        """
        positions = self.positions
        index = bisect_left(positions, pos)
        if index == len(positions) or positions[index] != pos:
            return pos, pos
        before = positions[index - 1] if index else -1
        after = positions[index + 1] if index + 1 < len(positions) else 2**64
        return before, after

    def span(self, low: int, high: int) -> tuple[int, int]:
        """Return the indices [i, j) into `ring` of the positions in [low, high)."""
        return bisect_left(self.positions, low), bisect_left(self.positions, high)

    def news_in(self, news: Iterable[Member]) -> list[Member]:
        """Return those of `news` that this view does not know yet."""
        get = self.members.get
        return [
            m
            for m in news
            if (not is_derived(m.name) and ((old := get(m.name)) is None or m.overrides(old)))
            or settled(m, get)
        ]

    def merged(self, news: Sequence[Member]) -> "View":
        """Return the view after `news`; itself when nothing in it is new."""
        told = self._merges.get(id(news))
        result = told[1]() if told is not None else None
        if result is not None:
            return result
        fresh = self.news_in(news)
        if not fresh:
            return self
        result = _shared(news, self._after(fresh))
        if len(self._merges) >= MERGES_MAX:
            self._merges.clear()
        self._merges[id(news)] = (news, ref(result))
        _retained.append(result)
        return result

    def _after(self, fresh: Sequence[Member]) -> "View":
        """Return the view after news that this one does not know yet."""
        members = dict(self.members)
        changed: dict[str, None] = {}
        gone = self._gone
        for told in fresh:
            for name, member in settled(told, members.get):
                changed[name] = None
                if member is None:
                    del members[name]
                else:
                    if member.status == GONE:
                        # Behind all others: the oldest tombstone is whoever has been gone longest.
                        members.pop(name, None)
                        gone += 1
                    members[name] = member
        patches: dict[str, Any] = {}
        if "ring" in self.__dict__ and len(changed) <= PATCHED_MAX:
            patches["ring"] = _patched(self.ring, self.positions, changed, members)
        if "roll_bits" in self.__dict__:
            patches["roll_bits"] = self.roll_bits ^ _difference(self.members, changed, members)
        if gone > TOMBSTONES_MAX:
            members = _without_oldest_tombstones(members)
        else:
            patches["_gone"] = gone
        result = View(members)
        result.__dict__.update(patches)
        return result

    @cached_property
    def _gone(self) -> int:
        """How many tombstones there are at most: counted once, what came since is added."""
        return sum([member.status == GONE for member in self])


_retained = deque[View](maxlen=0)
"""The latest views, which live though nobody holds them."""


def retain(views_max: int) -> None:
    """Let `views_max` of the latest views live though nobody holds them; 0 at first.

    For a process of many nodes: a long list comes in pages, and each node holds what came of the
    first ones for a moment only. The next node shares that instead of making it anew.
    """
    global _retained
    _retained = deque(_retained, maxlen=views_max)


_LATEST: Final[dict[int, tuple[Sequence[Member], ReferenceType[View]]]] = {}
"""The view that came of a piece of news last, by the identity of the news."""


def _shared(news: Sequence[Member], result: View) -> View:
    """Return the view that came of the same news before, if it is the same as this one.

    Nodes of one process that joined at different times know the same out of different frames.
    With the first frame that all of them hear their lists become one object, and what comes
    next is merged once for all of them.
    """
    known = _LATEST.get(id(news))
    view = known[1]() if known is not None else None
    if view is not None and view.members == result.members:
        return view
    if len(_LATEST) >= MERGES_MAX:
        _LATEST.clear()
    _LATEST[id(news)] = (news, ref(result))
    return result


def folded(bits: int) -> int:
    """Return the roll of a view whose `roll_bits` these are."""
    return (bits ^ bits >> 32) % 2**32 or 1


def _patched(
    ring: list[Member],
    positions: list[int],
    changed: Iterable[str],
    members: dict[str, Member],
) -> list[Member]:
    """Return the ring after some records changed: sorting it anew costs a hundred times more."""
    ring, positions = ring.copy(), positions.copy()
    for name in changed:
        member, pos = members.get(name), position(name)
        index = bisect_left(positions, pos)
        was_there = index < len(positions) and positions[index] == pos
        is_there = member is not None and member.expected
        if was_there and is_there:
            ring[index] = members[name]
        elif was_there:
            del ring[index], positions[index]
        elif is_there:
            ring.insert(index, members[name])
            positions.insert(index, pos)
    return ring


def _difference(before: dict[str, Member], changed: Iterable[str], after: dict[str, Member]) -> int:
    """Return what changed in the bits of the roll, as bits to be flipped."""
    result = 0
    for name in changed:
        for member in (before.get(name), after.get(name)):
            if member is not None and member.expected:
                result ^= member.roll_mark
    return result


NOBODY: Final = View()
"""The view of a node that has heard nothing: shared, so that what it merges into is shared."""


def _without_oldest_tombstones(members: dict[str, Member]) -> dict[str, Member]:
    gone = [name for name, member in members.items() if member.status == GONE]
    for name in gone[: max(0, len(gone) - TOMBSTONES_MAX)]:
        del members[name]
    return members
