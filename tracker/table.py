"""The tracker's table: every member it knows, and what changed since which version.

The rule: every change gets a version of its own, and whatever lies between two versions is
encoded once and shared by all who lack it. The table decides nothing; it keeps what it is
given, and answers each question without walking over all members.
"""

from itertools import takewhile
from random import Random
from typing import Final

from tracker.members import ALIVE, GONE, SUSPECT, TOMBSTONES_MAX, Member, position
from tracker.messages import Heartbeat, news_to_wire
from tracker.pages import EMPTY_PAGE, cut

PAGES_AT_ONCE_MAX: Final = 8
"""Pages sent ahead of an acknowledgement; about 160 KB."""
RANGES_MAX: Final = 64
"""Ranges of versions whose pages are kept encoded."""
COUNT_MAX: Final = 2**31
"""Reigns, epochs and incarnations above this are nobody's: they leave no room to grow."""


class Table:
    """Members by name, each with the version and the time of its last change."""

    def __init__(self, tracker_epoch: bytes) -> None:
        self.members: dict[str, Member] = {}
        self.version = 0
        self.digest = 0
        self._epoch = tracker_epoch
        # In the order of versions: a name that changes moves to the end.
        self._versions: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._by_store: dict[bytes, str] = {}
        self._by_position: dict[int, str] = {}
        self._tombstones: dict[str, None] = {}
        self._alive: list[str] = []
        self._alive_at: dict[str, int] = {}
        self._ranges: dict[int, tuple[Heartbeat, ...]] = {}
        self._idle = Heartbeat(tracker_epoch, 0, 0, EMPTY_PAGE)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def expected(self) -> int:
        """How many members are not gone."""
        return len(self.members) - len(self._tombstones)

    @property
    def living(self) -> int:
        """How many members are alive."""
        return len(self._alive)

    def get(self, name: str) -> Member | None:
        """Return what is known of a name, tombstones included."""
        return self.members.get(name)

    def since(self, name: str) -> float:
        """Return when a member took on the status it has."""
        return self._since[name]

    def may_live(self, name: str) -> bool:
        """Say whether a member is known that is not known to be dead, away or gone."""
        member = self.members.get(name)
        return member is not None and member.status in (ALIVE, SUSPECT)

    def owner_of(self, store: bytes) -> Member | None:
        """Return the member, not gone, whose store this is."""
        name = self._by_store.get(store)
        return self.members[name] if name is not None else None

    def collides(self, name: str) -> str | None:
        """Return another name, not gone, at the same position of the ring."""
        other = self._by_position.get(position(name), name)
        return other if other != name else None

    def put(self, member: Member, now: float) -> None:
        """Take in a record in place of the one before, whatever their ranks."""
        name = member.name
        old = self.members.get(name)
        if old is None or old.status != member.status or old.store != member.store:
            self._since[name] = now
        if old is not None:
            self._unindex(old)
        # In the order of versions as well: a restart reads tombstones in the order they came to be.
        self.members.pop(name, None)
        self.members[name] = member
        self._index(member)
        self.version += 1
        self._versions.pop(name, None)
        self._versions[name] = self.version
        self._ranges.clear()
        self._idle = Heartbeat(self._epoch, self.version, self.version, EMPTY_PAGE)

    def remove(self, name: str) -> None:
        """Forget a name whose record is told under another one, if it was not forgotten before."""
        if name in self.members:
            self._drop(name)

    def heartbeats(self, since: int) -> tuple[Heartbeat, ...]:
        """Return what changed after `since`: the first few pages, or one that says nothing did."""
        if since == self.version:
            return (self._idle,)
        beats = self._ranges.get(since)
        if beats is None:
            if len(self._ranges) >= RANGES_MAX:
                self._ranges.clear()
            beats = self._ranges[since] = self._encoded(since)
        return beats

    def draw(self, count: int, dice: Random) -> list[Member]:
        """Return up to `count` living members, in random order."""
        among = len(self._alive)
        return [self.members[self._alive[i]] for i in dice.sample(range(among), min(count, among))]

    def in_turn(self, count: int, turn: int) -> list[Member]:
        """Return up to `count` living members, in the order in which they have their turns.

        That order stays as long as the same members live; another tracker has its own.
        """
        alive, among = self._alive, len(self._alive)
        places = range(turn, turn + min(count, among))
        return [self.members[alive[place % among]] for place in places]

    def _encoded(self, since: int) -> tuple[Heartbeat, ...]:
        newest = takewhile(lambda item: item[1] > since, reversed(self._versions.items()))
        names = [name for name, _ in newest]
        names.reverse()
        beats: list[Heartbeat] = []
        begin = since
        for page in cut(map(self.members.__getitem__, names)):
            end = self._versions[page[-1].name]
            beats.append(Heartbeat(self._epoch, end, begin, news_to_wire(page)))
            begin = end
            if len(beats) == PAGES_AT_ONCE_MAX:
                break
        return tuple(beats)

    def _index(self, member: Member) -> None:
        name = member.name
        self.digest ^= member.mark
        if member.status == GONE:
            self._tombstones[name] = None
            if len(self._tombstones) > TOMBSTONES_MAX:
                self._drop(next(iter(self._tombstones)))
            return
        self._by_store[member.store] = name
        self._by_position[position(name)] = name
        if member.status == ALIVE:
            self._alive_at[name] = len(self._alive)
            self._alive.append(name)

    def _unindex(self, member: Member) -> None:
        name = member.name
        self.digest ^= member.mark
        if member.status == GONE:
            del self._tombstones[name]
            return
        if self._by_store.get(member.store) == name:
            del self._by_store[member.store]
        del self._by_position[position(name)]
        if member.status == ALIVE:
            index = self._alive_at.pop(name)
            last = self._alive.pop()
            if last != name:
                self._alive[index] = last
                self._alive_at[last] = index

    def _drop(self, name: str) -> None:
        self._unindex(self.members[name])
        del self.members[name], self._versions[name], self._since[name]


def is_sane(member: Member) -> bool:
    """Whether the numbers of a record leave room to grow."""
    return max(member.reign, member.epoch, member.incarnation) <= COUNT_MAX
