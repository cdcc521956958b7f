"""PN-counters, one pair of totals per key and origin: value, add, merge (pure).

After the PN-Counter of Shapiro, Preguica, Baquero and Zawirski, "A comprehensive study of
convergent and commutative replicated data types" (INRIA RR-7506, 2011), section 3.1.3, with
one difference: an origin is a store, and its pair carries the boot epoch in which it was
last written. A store recovers what it acknowledged before it counts again, so a pair of a
later epoch replaces one of an earlier epoch; within one epoch the larger totals win.

The rule: increments only ever raise a total, so merging is a maximum and may be repeated.
"""

from collections.abc import Iterable, Iterator

from tracker.wire import SHARE_MAX

Row = tuple[str, int, int]


class Share:
    """What one origin counted: for each key the sum of increments and of decrements.

    Decrements are rare, so their side holds only the keys that ever had one.
    """

    __slots__ = ("epoch", "negative", "positive")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.positive: dict[str, int] = {}
        self.negative: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.positive)

    def add(self, key: str, amount: int) -> None:
        """Count `amount` (of either sign) for `key`."""
        positive = self.positive
        if amount >= 0:
            positive[key] = positive.get(key, 0) + amount
        else:
            positive.setdefault(key, 0)
            self.negative[key] = self.negative.get(key, 0) - amount

    def takes(self, key: str, amount: int, reserved: int = 0) -> bool:
        """Say whether both totals of `key` stay within 2^62, `reserved` still to come."""
        if amount >= 0:
            return self.positive.get(key, 0) + amount + reserved <= SHARE_MAX
        return self.negative.get(key, 0) - amount + reserved <= SHARE_MAX

    def value(self, key: str) -> int:
        """Return increments less decrements of `key`; 0 for a key never counted."""
        return self.positive.get(key, 0) - self.negative.get(key, 0)

    def has_decreased(self, key: str) -> bool:
        """Say whether `key` was ever decreased here."""
        return key in self.negative

    def rows(self) -> Iterator[Row]:
        """Yield (key, increments, decrements) of every key."""
        negative = self.negative
        for key, positive in self.positive.items():
            yield key, positive, negative.get(key, 0)

    def merge_rows(self, epoch: int, rows: Iterable[Row]) -> None:
        """Take in rows of the same origin, of one epoch. Commutative, idempotent."""
        if epoch < self.epoch:
            return
        if epoch > self.epoch:
            self.epoch = epoch
            self.positive.clear()
            self.negative.clear()
        totals = self.positive
        for key, positive, negative in rows:
            if positive > totals.get(key, -1):
                totals[key] = positive
            if negative:
                self.negative[key] = max(self.negative.get(key, 0), negative)


class Counters:
    """Every share a node holds: its own, and those of other stores handed over to it."""

    __slots__ = ("names", "others", "own", "store")

    def __init__(self, store: bytes, epoch: int) -> None:
        self.store = store
        self.own = Share(epoch)
        self.others: dict[bytes, Share] = {}
        # What keys that were ever reset are counted under now; any other key, under itself.
        self.names: dict[str, str] = {}

    def share(self, store: bytes) -> Share | None:
        """Return what is held of a store, None if nothing."""
        return self.own if store == self.store else self.others.get(store)

    def shares(self) -> list[Share]:
        """Return every share held here, its own first."""
        return [self.own, *self.others.values()]

    def merge(self, store: bytes, epoch: int, rows: Iterable[Row]) -> None:
        """Take in rows of any origin."""
        share = self.share(store)
        if share is None:
            share = self.others.setdefault(store, Share(epoch))
        share.merge_rows(epoch, rows)

    def drop(self, names: Iterable[str]) -> None:
        """Let go of what was counted under these names, in every share."""
        for share in self.shares():
            for name in names:
                share.positive.pop(name, None)
                share.negative.pop(name, None)

    def has_decreased(self, key: str) -> bool:
        """Say whether `key` was ever decreased in any share held here."""
        return any(share.has_decreased(key) for share in self.shares())

    def value(self, key: str) -> int:
        """Return the exact total of all the shares held here."""
        total = self.own.value(key)
        if self.others:
            total += sum(share.value(key) for share in self.others.values())
        return total
