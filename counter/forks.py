"""Where the history of this store may part from that of a copy of its disk. Pure.

A copy that is started counts under the same identity, until a tracker says that another start of
the store is known. What it counted before they parted is the other one's, what it counted since is
its own: the new store that is made of it (`rebirth`) holds the one as a part (`counter.parts`), and
goes on from the other. They part at the beginning of a life. So this keeps, of each life that no
tracker has announced, what the share was when it began::

    began in the log        its beginning is met while the log is read again
    in a snapshot           a `base` says what the share was then
    taken in, by a list     nobody else can be the store in that life, nor in one before it

The rule: what is the own share before a fork and what after it add up to all that was acknowledged;
nothing is on both sides, and what cannot be told apart makes no new store of a copy that runs.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from counter.crdt import Share
from counter.ledger import Ledger
from counter.messages import OTHERS_MAX
from counter.parts import is_part, part_epoch, part_key, stem_of
from counter.records import pages_of
from tracker import wire
from tracker.boots import Life
from tracker.classes import dataclass
from tracker.members import Member, View
from tracker.messages import UNTOLD

BASES_MAX: Final = 4
"""Lives that no tracker has taken in, of which is kept what the share was when they began."""

MARK: Final = b"\xa4base"
"""What stands behind the first byte of a record of a base."""


@dataclass(slots=True)
class Base:
    """The own share as it was when a life began, behind this record of the log."""

    token: int
    share: Share


class Forks:
    """The beginnings of lives at which one store's history may part from a copy's.

    `starts` are (epoch, token) of earlier lives; `splits` are (store, token) of those this store
    was made of, the first of them first: what stands in the log up to that token was theirs.
    `pasts` are the lives of each of these, the latest first, as far as they are known.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.starts: tuple[tuple[int, int], ...] = ()
        self.splits: tuple[tuple[bytes, int], ...] = ()
        self.pasts: tuple[tuple[Life, ...], ...] = ()
        # The last life that a list has held: a tracker has taken it in.
        self.listed = 0
        self._done = 0
        self.is_apart = False
        """Whether nothing that the last store in that line had counted is in the own share."""
        # Whose share the own one is, as far as the log was read; empty: who wrote the snapshot.
        self._whose = b""
        self._bases: dict[int, Base] = {}

    # -- what lists say -----------------------------------------------------------------------

    def recall(self, view: View, member: Member) -> None:
        """Begin with the list of an earlier life."""
        known = view.get_as(member.name, member.store)
        if known is not None and known.store == member.store:
            self.listed = known.epoch

    def follow(self, view: View, member: Member) -> None:
        """Take in a list once this life is announced: one that stands in it is nobody else's."""
        if not self._bases:
            return
        known = view.get_as(member.name, member.store)
        if known is not None and (known.store, known.boot) == (member.store, member.boot):
            self.listed = max(self.listed, known.epoch)
            self._bases.clear()

    # -- while the log is read again ----------------------------------------------------------

    def at(self, token: int) -> None:
        """Take it that all records up to this one were taken in, and none behind it."""
        self._split_late(token)
        while self._done < len(self.splits) and self.splits[self._done][1] == token:
            self._split(self._ledger.counters.own)
        for epoch, begin in self.starts:
            if begin == token and epoch > self.listed:
                self._keep(epoch, token)

    def restore(self, record: bytes) -> bool:
        """Take in one record of a snapshot, if it is one of a base."""
        if record[1 : 1 + len(MARK)] != MARK:
            return False
        _, epoch, token, rows = wire.unpacked(record)
        base = self._bases.setdefault(epoch, Base(token, Share(epoch)))
        base.share.merge_rows(epoch, rows)
        return True

    def resume(self, token: int, epoch: int) -> None:
        """Begin a life, behind this record."""
        self._split_late(token + 1)
        while self._done < len(self.splits):
            # A crash came before it was written down where that life began: it wrote nothing.
            self.splits = tuple([(store, min(end, token)) for store, end in self.splits])
            self._split(self._ledger.counters.own)
        self._bases = {e: base for e, base in self._bases.items() if self.listed < e < epoch}
        if self._ledger.durable:
            self._keep(epoch, token)
        counters = self._ledger.counters
        for key in [key for key, share in counters.others.items() if is_part(share.epoch)]:
            counters.note_stem(key, stem_of(key, self.past(key)))

    def _keep(self, epoch: int, token: int) -> None:
        own, share = self._ledger.counters.own, Share(epoch)
        share.positive, share.negative = dict(own.positive), dict(own.negative)
        self._bases[epoch] = Base(token, share)
        if len(self._bases) > BASES_MAX:
            # The first is where nobody has any doubt, the last ones are the likeliest.
            del self._bases[sorted(self._bases)[1]]

    def carry(self, name: str, later: str) -> None:
        """Count in each base under a later name what it has under this one, as the own share."""
        for base in self._bases.values():
            base.share.carry(name, later)

    def fork(self, epoch: int, common: int = UNTOLD) -> int:
        """Return the first life of this copy alone, by now in its life `epoch`; 0: nobody knows.

        `common` is the last one that the store itself is known to have had as well. Where nobody
        has told, a life that a list has held was the store's; any other may be anybody's.
        """
        if common == UNTOLD and self.listed == epoch - 1:
            common = self.listed
        return common + 1 if 0 <= common < epoch else 0

    def can_split(self, epoch: int) -> bool:
        """Say whether what was counted before this life can be told apart from what came after."""
        return epoch in self._bases and not self._holds_others

    def has_counted_since(self, epoch: int) -> bool:
        """Say whether the own share is another one than when this life began."""
        own, base = self._ledger.counters.own, self._bases.get(epoch)
        if base is None:
            return False
        then = base.share
        return (own.positive, own.negative) != (then.positive, then.negative)

    @property
    def _holds_others(self) -> bool:
        return any(not is_part(share.epoch) for share in self._ledger.counters.others.values())

    # -- new stores ---------------------------------------------------------------------------

    def _split_late(self, token: int) -> None:
        """Part what a snapshot holds that was made after the fork, by the store before it."""
        while self._done < len(self.splits) and self.splits[self._done][1] < token:
            end = self.splits[self._done][1]
            base = [base.share for base in self._bases.values() if base.token == end]
            self._split(base[0] if base else None)

    def _split(self, before: Share | None) -> None:
        """Part the own share where the next store in line was made, if it holds that one's."""
        store, token = self.splits[self._done]
        self._done += 1
        past = self.pasts[self._done - 1 : self._done]
        self._bases.clear()
        if store != (self._whose or self._ledger.founder):
            # A later one wrote the snapshot: it had parted it, if it could.
            self.is_apart = any(key[:8] == store[:8] for key in self._ledger.counters.others)
            return
        following = self.splits[self._done :]
        self._whose = following[0][0] if following else self._ledger.counters.store
        boot = past[0][0].boot if past and past[0] else b""
        self.is_apart = before is not None and self._part(store, token, before, boot)

    def _part(self, store: bytes, token: int, before: Share, boot: bytes = b"") -> bool:
        """Hold what was counted `before` as a part; what came after it stays this store's own.

        Where there is no room for one more share of others, or shares were handed over to that
        store, which it may make one sum of, all of it stays: then it says no.
        """
        counters, own = self._ledger.counters, self._ledger.counters.own
        epoch = part_epoch(token)
        key = part_key(store, epoch, boot)
        total = list(own.rows())
        part = Share(epoch)
        # Of what was let go of since, as an epoch of its key that is over, nothing is brought back.
        part.merge_rows(epoch, [row for row in before.rows() if row[0] in own.positive])
        if not part:
            return not self._holds_others
        if self._holds_others:
            return False
        if key not in counters.others and len(counters.others) >= OTHERS_MAX:
            return False
        counters.others[key] = part
        own.positive.clear()
        own.negative.clear()
        for name, positive, negative in total:
            up, down = part.positive.get(name, -1), part.negative.get(name, 0)
            if (positive, negative) == (up, down):
                continue
            own.positive[name] = positive - max(up, 0)
            if negative > down:
                own.negative[name] = negative - down
        return True

    def past(self, key: bytes) -> tuple[Life, ...]:
        """Return the lives, the latest first, of the store of which this is a part, up to its end.

        What is known of it: none where this store was not made of that one, but was given the part.
        """
        at = self._made_at(key)
        return () if at is None else self.pasts[at]

    def fork_behind(self, key: bytes, lives: Sequence[Life]) -> bytes:
        """Return the boot of the life that went on from this part as the next store in line.

        `lives` are those of this one. Empty where nobody knows.
        """
        at = self._made_at(key)
        if at is None:
            return b""
        later = self.pasts[at + 1] if at + 1 < len(self.pasts) else lives
        first = self.pasts[at][0].epoch + 1
        return next((life.boot for life in later if life.epoch == first), b"")

    def _made_at(self, key: bytes) -> int | None:
        """Return by which of the splits a part was made; None if it was given to this store."""
        for at, ((store, _), past) in enumerate(zip(self.splits, self.pasts, strict=False)):
            if past and store[:8] == key[:8] and past[0].boot.startswith(key[8:12]):
                return at
        return None

    def begins(self, token: int) -> bytes:
        """Return behind which record this life and those before it began, 8 bytes each."""
        ends = [token, *[min(begin, token) for _, begin in self.starts]]
        return b"".join([end.to_bytes(8, "big") for end in ends])

    # -- snapshots ----------------------------------------------------------------------------

    def dump(self) -> list[bytes]:
        """Return the records of a snapshot that say the same."""
        return [record for epoch, base in self._bases.items() for record in _records(epoch, base)]


def _records(epoch: int, base: Base) -> Iterator[bytes]:
    pages: list[list[Any]] = [*pages_of(base.share.rows())] or [[]]
    for page in pages:
        yield wire.packed(["base", epoch, base.token, page])
