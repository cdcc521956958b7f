"""PN-counters, one pair of totals per key and origin: value, add, merge (pure).

After the PN-Counter of Shapiro, Preguica, Baquero and Zawirski, "A comprehensive study of
convergent and commutative replicated data types" (INRIA RR-7506, 2011), section 3.1.3, with
one difference: an origin is a store, and its pair carries the boot epoch in which it was
last written. A store recovers what it acknowledged before it counts again, so a pair of a
later epoch replaces one of an earlier epoch; within one epoch the larger totals win.

The rule: increments only ever raise a total, so merging is a maximum and may be repeated.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from counter.parts import end_in
from tracker.wire import SHARE_MAX

Row = tuple[str, int, int]

CEILING_STEP: Final = 2**40
"""How far above a total that reached it the ceiling of a share is put, so that it is put seldom."""


_raise_each: Callable[[dict[str, int], Iterable[str]], None] = vars(collections).get(
    "_count_elements", collections.Counter.update
)
"""Raise each key by 1: what a `Counter` counts with, one call for all, for any dict.

With few keys, half of what `Counter.update` takes it spends on finding out what it was given.
"""


class Share:
    """What one origin counted: for each key the sum of increments and of decrements.

    Decrements are rare, so their side holds only the keys that ever had one.

    Whether a total stays in its range is asked for every increment, and the answer is always
    yes: so the share knows a `ceiling` that none of its totals of increments is above, unless
    it is at SHARE_MAX already. Whoever raises a total past it puts it higher.
    """

    __slots__ = ("ceiling", "epoch", "negative", "positive")

    def __init__(self, epoch: int) -> None:
        self.ceiling = CEILING_STEP
        self.epoch = epoch
        self.positive: dict[str, int] = {}
        self.negative: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.positive)

    def add(self, key: str, amount: int) -> None:
        """Count `amount` (of either sign) for `key`."""
        positive = self.positive
        if amount >= 0:
            positive[key] = total = positive.get(key, 0) + amount
            if total > self.ceiling:
                self._put_ceiling_above(total)
        else:
            positive.setdefault(key, 0)
            self.negative[key] = self.negative.get(key, 0) - amount

    def add_all(self, pairs: tuple[Any, ...]) -> None:
        """Count every pair of `key, amount, key, amount, ...`."""
        if len(pairs) == 2:
            self.add(*pairs)
            return
        keys, amounts = pairs[::2], pairs[1::2]
        if amounts.count(1) == len(amounts):
            _raise_each(self.positive, keys)
            self.ceiling = min(self.ceiling + len(keys), SHARE_MAX)
            return
        for key, amount in zip(keys, amounts, strict=True):
            self.add(key, amount)

    def raise_known(self, keys: list[Any], amounts: list[int] | None) -> bool:
        """Raise every key by its amount, from 0 up, or by 1 (None).

        Says whether it did; if not, because a key is new or near its limit, nothing has changed.
        A key may come more than once.
        """
        totals, more = self.positive, len(keys) if amounts is None else sum(amounts)
        if self.ceiling + more > SHARE_MAX and not self._has_room(keys, more):
            return False
        if amounts is None:
            before = len(totals)
            _raise_each(totals, keys)
            if len(totals) != before:
                self._forget_latest(len(totals) - before)
                self.lower([key for key in keys if key in totals], None)
                return False
        else:
            pairs = zip(keys, amounts, strict=True)
            try:
                for key, amount in pairs:
                    totals[key] += amount
            except KeyError:
                # What failed is neither done nor left in `pairs`.
                self.lower(keys[: len(keys) - sum(1 for _ in pairs) - 1], amounts)
                return False
        self.ceiling = min(self.ceiling + more, SHARE_MAX)
        return True

    def lower(self, keys: list[str], amounts: list[int] | None) -> None:
        """Take back what `raise_known` did to these keys."""
        totals = self.positive
        for key, amount in zip(keys, amounts or [1] * len(keys), strict=False):
            totals[key] -= amount

    def _has_room(self, keys: list[Any], more: int) -> bool:
        return max([self.positive.get(key, SHARE_MAX) for key in keys]) + more <= SHARE_MAX

    def _forget_latest(self, count: int) -> None:
        for _ in range(count):
            self.positive.popitem()

    def _put_ceiling_above(self, total: int) -> None:
        self.ceiling = min(total + CEILING_STEP, SHARE_MAX)

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

    def carry(self, name: str, later: str) -> None:
        """Count under a later name what is counted under this one, and nothing under this."""
        up, down = self.positive.pop(name, None), self.negative.pop(name, 0)
        if up is not None:
            self.add(later, up)
        if down:
            self.add(later, -down)

    def rows(self) -> Iterator[Row]:
        """Yield (key, increments, decrements) of every key."""
        negative = self.negative
        for key, positive in self.positive.items():
            yield key, positive, negative.get(key, 0)

    def opens(self, epoch: int) -> bool:
        """Be ready for rows of an epoch; False where a later one is known, which replaces it."""
        if epoch > self.epoch:
            self.epoch = epoch
            self.positive.clear()
            self.negative.clear()
        return epoch == self.epoch

    def merge_rows(self, epoch: int, rows: Iterable[Row]) -> None:
        """Take in rows of the same origin, of one epoch. Commutative, idempotent."""
        if not self.opens(epoch):
            return
        totals = self.positive
        for key, positive, negative in rows:
            if positive > totals.get(key, -1):
                totals[key] = positive
                if positive > self.ceiling:
                    self._put_ceiling_above(positive)
            if negative:
                self.negative[key] = max(self.negative.get(key, 0), negative)


NO_STEMS: Final[Mapping[bytes, bytes]] = {}


class Counters:
    """Every share a node holds: its own, and those of other stores handed over to it."""

    __slots__ = ("names", "others", "own", "stems", "store")

    def __init__(self, store: bytes, epoch: int) -> None:
        self.store = store
        self.own = Share(epoch)
        self.others: dict[bytes, Share] = {}
        # Of parts of shares among these, the stems that are known (`counter.parts`). Replaced, and
        # never changed: most nodes have none.
        self.stems: Mapping[bytes, bytes] = NO_STEMS
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
        self.held(store, epoch).merge_rows(epoch, rows)

    def held(self, store: bytes, epoch: int) -> Share:
        """Return what is held of a store, from now on at least an empty share of this epoch."""
        share = self.share(store)
        return self.others.setdefault(store, Share(epoch)) if share is None else share

    def stem(self, key: bytes) -> bytes:
        """Return the stem of a part that is held, of which its end is known at least."""
        return self.stems.get(key) or end_in(key)

    def note_stem(self, key: bytes, stem: bytes) -> None:
        """Know a stem of a part that is held; the longest that was told is the most of it."""
        if key in self.others and len(stem) > len(self.stems.get(key, b"")):
            kept = {known: told for known, told in self.stems.items() if known in self.others}
            self.stems = {**kept, key: stem}

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
