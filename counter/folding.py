"""Shares of stores that left, made one: so that a node never has too many of them to tell.

    adopted   a share of its own, told by its store: its owner, or another holder, may tell it, too
    final     its giver has said that nobody else holds it, or ever will (`Sole`)
    settled   final, neither owner nor giver is a member, and each query has ended that may have
              heard them: the giver says when (`Sole.quiet_ms`), or FOLD_AFTER_S have passed
    folded    summed up with others into one share, under a new store, in one record

The rule: a share is folded only if no query that goes on has heard it from anybody but this node,
and no answer to come can hold it but this node's. For then it is all the same under which store it
is told. It takes three things. Only what is final is folded: nobody else has it. Of a store with a
disk the holder remembers for ever that it is refused (`retired`): a copy of it may come back. And
not before the longest query could have ended that may have heard the owner (docs/decisions/0018).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from counter.crdt import Share
from counter.ledger import Ledger
from counter.messages import QUIET_MS_MAX
from tracker import wire
from tracker.boots import goes_on, holds
from tracker.digest import blake2b
from tracker.machine import Effect, Emit, Persist, Persisted, PersistFailed
from tracker.members import View

FOLD_AFTER_S: Final = QUIET_MS_MAX / 1000
"""Time after which no query runs that heard the owner, where nobody remembers how long they do."""

FOLD_STORES_MIN: Final = 8
"""Settled shares that are worth being folded."""

MEMBERS_MAX: Final = 1_024
"""Members above which nothing is folded, where no other number is given."""

FOLDED_MAX: Final = 4_096
"""Stores of which a node remembers that it has folded them."""

NO_LIVES: Final[Mapping[bytes, bytes]] = {}

LOOK_GAP_S: Final = 1.0
"""Pause between two looks at what may be folded."""


class Folding:
    """What one node may fold, and has. Times in seconds."""

    def __init__(self, ledger: Ledger, members_max: int) -> None:
        self._ledger = ledger
        # In larger clusters an answer reaches its origin by more than one way.
        self._members_max = members_max
        # By store, who gave it; in the order in which they came.
        self._finals: dict[bytes, bytes] = {}
        # By store, from when on no query runs that heard it elsewhere.
        self._quiet_at: dict[bytes, float] = {}
        self._folded: dict[bytes, bytes] = {}
        # By store that is final, or was: the boots of its lives, if its giver told them.
        self._lives: dict[bytes, bytes] = {}
        self._due: float | None = None
        # Whether what is held may take another form now; the owner may set it.
        self.may_change: Callable[[], bool] = lambda: not ledger.is_leaving
        self._pending: tuple[int, bytes, tuple[bytes, ...]] | None = None

    @property
    def is_pending(self) -> bool:
        """Whether a record of it is on its way to the disk."""
        return self._pending is not None

    @property
    def finals(self) -> tuple[bytes, ...]:
        """The stores that nobody else holds."""
        return tuple(self._finals)

    def is_final(self, store: bytes) -> bool:
        """Whether nobody else holds what this store has counted."""
        return store in self._finals or store in self._folded

    def tells_of(self, store: bytes, life: bytes) -> bool:
        """Whether nobody else holds what this store has counted, and it was in this life.

        That may be one that has another id since, as a copy beside its store. Without a life, or
        where the giver told none, it is taken by its id.
        """
        boots = self._lives.get(store, b"")
        if self.is_final(store) and goes_on(store, boots, store, life):
            return True
        return bool(life) and any(holds(self._lives.get(s, b""), life) for s in self._finals)

    def lives_of(self, store: bytes) -> bytes:
        """Return the boots of a store that is held here; empty if they are not known."""
        return self._lives.get(store, b"")

    def has(self, store: bytes) -> bool:
        """Whether this share is part of a folded one here."""
        return store in self._folded

    def quiet_until(self, now: float) -> float:
        """Return from when on no query runs that heard any final share elsewhere."""
        anew = now + FOLD_AFTER_S
        return max([self._quiet_at.get(s, anew) for s in self._finals], default=float("-inf"))

    def note(
        self,
        giver: bytes,
        stores: Sequence[bytes],
        now: float,
        quiet_s: float = FOLD_AFTER_S,
        lives: Mapping[bytes, bytes] = NO_LIVES,
    ) -> list[Effect]:
        """Note that nobody else holds these, and how long queries may run that heard them there.

        `lives` are the boots of their lives, by store, where they are known.
        """
        held = [s for s in stores if s in self._ledger.counters.others and s not in self._finals]
        if not held:
            return []
        self._take(giver, held)
        told = {store: lives[store] for store in held if lives.get(store)}
        self._lives.update(told)
        self._quiet_at.update(dict.fromkeys(held, now + quiet_s))
        self._plan(now)
        if not self._ledger.durable:
            return []
        # First, so that no crash comes between: without its lives a store would be taken by its id.
        first = [self._persist("lives", *_rows_of(told))] if told else []
        return [*first, self._persist("final", giver, held)]

    def _take(self, giver: bytes, stores: Sequence[bytes]) -> None:
        self._finals.update(dict.fromkeys(stores, giver))

    def _plan(self, at: float) -> None:
        self._due = at if len(self._finals) >= FOLD_STORES_MIN else None

    def _persist(self, *fields: Any) -> Persist:
        self._ledger.token += 1
        return Persist(self._ledger.token, "counts", record(*fields))

    # -- time ---------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """Say when `look` is wanted next."""
        return self._due

    def look(self, view: View, now: float) -> list[Effect]:
        """Fold what is settled, if that is worth it."""
        if self._due is None or now < self._due:
            return []
        self._plan(now + LOOK_GAP_S)
        settled = self._settled(view, now)
        is_free = self.may_change() and self._pending is None
        if not is_free or len(settled) < FOLD_STORES_MIN or view.expected > self._members_max:
            return []
        if not self._fits(settled):
            return []
        group: bytes = blake2b(b"".join([b"folded", *settled]), digest_size=16).digest()
        if not self._ledger.durable:
            return self._fold(group, settled)
        persist = self._persist("folded", group, list(settled))
        self._pending = persist.token, group, settled
        return [persist]

    def _settled(self, view: View, now: float) -> tuple[bytes, ...]:
        """Return the stores of which it is certain that nobody else can tell them."""
        settled = []
        for store, giver in self._finals.items():
            members = [view.owner_of(one[:8]) for one in (store, giver)]
            is_quiet = now >= self._quiet_at.setdefault(store, now + FOLD_AFTER_S)
            if is_quiet and not any(m is not None and m.expected for m in members):
                settled.append(store)
        return tuple(settled)

    def _fits(self, stores: Sequence[bytes]) -> bool:
        """Whether each sum is one that a share may hold."""
        shares = [self._ledger.counters.others[store] for store in stores]
        most = [max(side.values(), default=0) for s in shares for side in (s.positive, s.negative)]
        return sum(most) <= wire.SHARE_MAX

    # -- folding ------------------------------------------------------------------------------

    def _fold(self, group: bytes, stores: Sequence[bytes]) -> list[Effect]:
        others = self._ledger.counters.others
        shares = [others.pop(store) for store in stores if store in others]
        if shares:
            # A new one: whoever is about to read the others sees them as they were.
            others[group] = summed(shares)
        for store in stores:
            self._finals.pop(store, None)
            self._quiet_at.pop(store, None)
            self._folded[store] = group
        while len(self._folded) > FOLDED_MAX:
            first = next(iter(self._folded))
            del self._folded[first]
            self._lives.pop(first, None)
        keys = 0
        if group in others:
            self._finals[group] = group
            self._quiet_at[group] = float("-inf")
            keys = len(others[group])
        return [Emit("folded", {"stores": len(stores), "keys": keys})]

    def persisted(self, event: Persisted) -> list[Effect]:
        """Fold what was written down."""
        if self._pending is None or event.token < self._pending[0]:
            return []
        (_, group, stores), self._pending = self._pending, None
        return self._fold(group, stores)

    def persist_failed(self, event: PersistFailed) -> list[Effect]:
        """Leave everything as it is; where it may be on disk, that changes no sum."""
        if self._pending is not None and event.token == self._pending[0]:
            self._pending = None
        return []

    # -- after a restart ----------------------------------------------------------------------

    def restore(self, what: str, fields: list[Any]) -> None:
        """Take in one record."""
        first, stores = fields
        if what == "lives":
            self._lives.update(zip(first, stores, strict=True))
        elif what == "final":
            self._take(first, [s for s in stores if s in self._ledger.counters.others])
        else:
            self._fold(first, stores)

    def resume(self) -> None:
        """Begin to wait anew: how long it was away nobody knows."""
        self._quiet_at.clear()
        self._plan(float("-inf"))

    def dump(self) -> list[bytes]:
        """Return records that say the same, for a snapshot, behind those of the shares."""
        rows = list(self._lives.items())
        records = [
            record("lives", *_rows_of(dict(rows[first : first + _ROWS])))
            for first in range(0, len(rows), _ROWS)
        ]
        for giver in dict.fromkeys(self._finals.values()):
            stores = [store for store, by in self._finals.items() if by == giver]
            records.append(record("final", giver, stores))
        for group in dict.fromkeys(self._folded.values()):
            stores = [store for store, into in self._folded.items() if into == group]
            records += [
                record("folded", group, stores[first : first + _ROWS])
                for first in range(0, len(stores), _ROWS)
            ]
        if self._pending is not None:
            _, group, pending = self._pending
            records.append(record("folded", group, list(pending)))
        return records


_ROWS = 256


def _rows_of(lives: Mapping[bytes, bytes]) -> tuple[list[bytes], list[bytes]]:
    return list(lives), list(lives.values())


def record(*fields: Any) -> bytes:
    """Return a record of folding, for the log and for snapshots; a hand-over's by its mark."""
    return wire.packed(["handover", *fields])


def summed(shares: Sequence[Share]) -> Share:
    """Return the sum of shares, as a new one."""
    largest = max(shares, key=len)
    total = Share(1)
    total.positive, total.negative = dict(largest.positive), dict(largest.negative)
    for share in shares:
        if share is not largest:
            for side, more in ((total.positive, share.positive), (total.negative, share.negative)):
                for key, amount in more.items():
                    side[key] = side.get(key, 0) + amount
    return total
