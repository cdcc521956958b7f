"""Which epoch each key is in, as one node knows it; a key that was never reset is in epoch 0.

An epoch begins by a reset, or by hearing that others are in it::

    learn     what is counted from now on is counted in it
    settle    it is on disk: this node may say so, and what it holds of earlier epochs is final
    closed    the last epochs before it are kept, to tell what they came to; older ones are dropped

The rule: an epoch only ever rises, so what two nodes know is merged by the maximum, in any order,
any number of times; and an epoch that was told as this node's own is not forgotten.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, Final

from counter.line import Line
from counter.messages import (
    EPOCH_MAX,
    LOOK,
    MARKS_MAX,
    EpochRow,
    Marks,
    Subject,
    is_question,
    marks_in,
    name_of,
    packed_marks,
    subject_in,
    with_epochs,
)
from tracker.classes import dataclass
from tracker.digest import blake2b

EPOCHS_MAX: Final = 16_384
"""Keys whose epoch a node remembers: how many can ever be reset or deleted in one cluster."""

CLOSED_MAX: Final = MARKS_MAX
"""Epochs before the present one of which a node keeps what it counted: whoever was silent at a
reset, and is back, is asked for its part by the id of that, as long as the id is known."""

DELETED_MAX: Final = 64
"""Deleted keys of which that is kept for a retry of the deletion; past it the oldest is dropped."""

ROLLS_MAX: Final = 64
"""Prefixes whose roll is remembered."""


@dataclass(slots=True)
class Entry:
    """One key: its epoch, the one that is on disk, and which resets led here.

    Of the epochs before `kept_from` this node holds nothing any more, whatever it counted.
    """

    key: str
    epoch: int = 0
    settled: int = 0
    marks: Marks = ()
    kept_from: int = 0
    is_deleted: bool = False
    is_safe: bool = True
    digest: int = 0
    row_digest: int = 0

    def made_by(self, mark: bytes) -> int:
        """Return the epoch that a reset began; 0 if it is not known."""
        return max([epoch for epoch, known in self.marks if known == mark], default=0)

    def row(self) -> EpochRow:
        """Return what others are told of it."""
        return self.key, self.epoch, packed_marks(self.marks)


class Epochs:
    """The epochs of one node.

    It keeps `names`, which is `Counters.names`: the same dict for good, so that the hot ways may
    hold on to it.
    """

    def __init__(self, names: dict[str, str], epochs_max: int = EPOCHS_MAX) -> None:
        self.names = names
        self.epochs_max = epochs_max
        self.learned = 0
        """A roll of all that was learned, with the marks, on disk or not."""
        self._entries: dict[str, Entry] = {}
        # In order: others tell and ask page by page.
        self._keys: list[str] = []
        self._rolls: dict[str, int] = {}
        self._deleted: Line[str] = Line()

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, key: str) -> Entry:
        """Return what is known of a key; of an unknown one, that it is in epoch 0."""
        return self._entries.get(key) or Entry(key)

    def entries(self) -> Iterator[Entry]:
        """Yield everything known, in no order that means anything."""
        yield from self._entries.values()

    def below(self, prefix: str, after: str = "", up_to: str = "") -> list[Entry]:
        """Return the entries whose keys begin so, by key; behind one and up to one, if named."""
        keys = self._keys
        first = max(bisect_left(keys, prefix), bisect_right(keys, after))
        last = bisect_right(keys, up_to) if up_to else len(keys)
        found = takewhile(lambda key: key.startswith(prefix), keys[first:last])
        return [self._entries[key] for key in found]

    # -- what is learned ----------------------------------------------------------------------

    def learn(self, key: str, epoch: int, marks: Marks = (), *, is_deleted: bool = False) -> bool:
        """Take in that a key is in an epoch, at least; says whether that was news.

        News is to be kept on disk, and then to be settled. Past the limit nothing is learned.
        """
        entry = self._entries.get(key)
        if entry is None:
            if not 0 < epoch <= EPOCH_MAX or len(self._entries) >= self.epochs_max:
                return False
            entry = self._entries[key] = Entry(key)
            insort(self._keys, key)
        together = _merged(entry.marks, marks)
        if epoch <= entry.epoch and together == entry.marks:
            return False
        self.learned ^= entry.row_digest
        entry.marks, entry.is_safe = together, False
        if epoch > entry.epoch:
            entry.epoch, entry.is_deleted = epoch, is_deleted
            self.names[key] = name_of(key, epoch)
        entry.row_digest = _digest(self.names[key].encode() + packed_marks(together))
        self.learned ^= entry.row_digest
        return True

    def settle(self, key: str, epoch: int, marks: Marks) -> list[str]:
        """Note that this much of a key is on disk; returns the names of what is kept no more."""
        entry = self._entries[key]
        entry.is_safe = entry.epoch == epoch and entry.marks == marks
        if epoch <= entry.settled:
            return []
        before, entry.settled = entry.settled, epoch
        entry.digest = _digest(name_of(key, epoch).encode())
        self._rolls.clear()
        dropped = self._drop(entry, epoch - CLOSED_MAX, before)
        if entry.is_deleted:
            self._deleted.append(key)
            if len(self._deleted) > DELETED_MAX:
                oldest = self._entries[self._deleted.popleft()]
                dropped += self._drop(oldest, oldest.settled * oldest.is_deleted, oldest.settled)
        return dropped

    def _drop(self, entry: Entry, kept_from: int, before: int) -> list[str]:
        """Return the names of the epochs before `kept_from` that were kept until now.

        `before` is the last one that was on disk. Of a leap over more epochs than are ever kept
        nothing was counted in those between, here or by those whose counts are held here.
        """
        first, entry.kept_from = entry.kept_from, max(entry.kept_from, kept_from)
        last = entry.kept_from
        counted = range(first, min(before + 1, last))
        recent = range(max(first, last - 2 * CLOSED_MAX), last)
        return [name_of(entry.key, epoch) for epoch in sorted({*counted, *recent})]

    # -- what is asked ------------------------------------------------------------------------

    def asked(self, text: str) -> str:
        """Return how this node asks others for what a client, or a reset of its own, wants.

        By the epochs that are on disk: its own share counts in the answer.
        """
        if not self._entries:
            return text
        if is_question(text):
            return with_epochs(text, self._settled_name, self.roll)
        wanted = subject_in(text)
        if wanted.kind not in ("", LOOK):
            return text
        settled = self.entry(wanted.key).settled
        return Subject(wanted.key, settled, wanted.kind, wanted.mark).text

    def _settled_name(self, key: str) -> str:
        return name_of(key, self.entry(key).settled)

    def roll(self, prefix: str) -> int:
        """Return what two nodes have in common that are in the same epoch of every such key."""
        known = self._rolls.get(prefix)
        if known is None:
            known = 0
            for entry in self.below(prefix):
                known ^= entry.digest
            if len(self._rolls) >= ROLLS_MAX:
                self._rolls.clear()
            self._rolls[prefix] = known
        return known

    # -- on disk ------------------------------------------------------------------------------

    def rows(self, keys: list[str] | None = None) -> list[Any]:
        """Return what is to be kept of these keys, or of all."""
        entries = self._entries.values() if keys is None else [self._entries[key] for key in keys]
        return [[*entry.row(), entry.kept_from, entry.is_deleted] for entry in entries]

    def restore(self, rows: list[Any]) -> None:
        """Take in what `rows` gave; it is on disk."""
        for key, epoch, packed, kept_from, is_deleted in rows:
            marks = marks_in(packed)
            self.learn(key, epoch, marks, is_deleted=is_deleted)
            entry = self._entries.get(key)
            if entry is not None:
                entry.kept_from = max(entry.kept_from, kept_from)
                self.settle(key, entry.epoch, entry.marks)


def _digest(about: bytes) -> int:
    return int.from_bytes(blake2b(about, digest_size=8).digest(), "big")


def _merged(known: Marks, told: Marks) -> Marks:
    """Return the marks of both, the last MARKS_MAX of them, in order."""
    if not told:
        return known
    return tuple(sorted({*known, *told})[-MARKS_MAX:])
