"""Whether nobody can have told this store of resets, so that it counts in epochs that are over.

A store that has counted nothing yet, in its first life as a rule, and finds no tracker and nobody
else, counts all the same. A key may have been reset by then, and what it counts of that is in an
epoch that is over. So it is *alone*, and what it has counted goes along once it hears of the later
epoch (`counter.carrying`)::

    alone        the record of it is on disk, and nothing was acknowledged before that
    found        a tracker has announced it, or another node has confirmed its introduction, and
                 somebody else has lived in its list for FOUND_S
    not alone    found, with all carried that it had heard of; a record says so, too

The rule: it lasts over restarts, until it is said on disk that it is over. Nobody but the store
itself holds what it counted meanwhile: it takes no counts over, and hands none over yet.
"""

from typing import Any, Final

from counter.ledger import Ledger
from tracker import wire
from tracker.machine import Effect, Persist, Persisted, PersistFailed

FOUND_S: Final = 3.0
"""Seconds for which a store that was found stays alone: what others teach it may come late."""

_MARK: Final = b"\xa5alone"
"""What stands behind the first byte of its record."""


class Alone:
    """The word of one store that it is alone; what is true now is `Ledger.is_alone`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        # The token of the record on its way, and what that says.
        self._writing: tuple[int, bool] | None = None
        # Whose word was read.
        self._store = ledger.counters.store
        self._found_at: float | None = None
        self.is_refused = False
        """Whether the disk did not take the last record, and has taken nothing since."""

    def begin(self) -> list[Effect]:
        """Have it written that this store is alone; without a disk it is so at once."""
        return self._written(is_alone=True)

    def found(self, now: float, *, is_found: bool) -> list[Effect]:
        """Take it whether this store is found by now; it is alone no more once that has lasted."""
        if not is_found or not self._ledger.is_alone:
            self._found_at = None
            return []
        if self._found_at is None:
            self._found_at = now
        # What has yet to be carried is done as one that is alone.
        if now < self._found_at + FOUND_S or self._ledger.moving or self.is_refused:
            return []
        return self._written(is_alone=False)

    def deadline(self) -> float | None:
        """Say when `found` is wanted next; None where a word of the disk is waited for."""
        ledger = self._ledger
        waits = ledger.moving or self.is_refused or self._writing is not None
        if self._found_at is None or waits or not ledger.is_alone:
            return None
        return self._found_at + FOUND_S

    def _written(self, *, is_alone: bool) -> list[Effect]:
        ledger = self._ledger
        if self._writing is not None or ledger.is_alone is is_alone:
            return []
        if not ledger.durable:
            ledger.is_alone = is_alone
            return []
        ledger.token += 1
        self._writing = ledger.token, is_alone
        return [Persist(ledger.token, "counts", self._record(is_alone=is_alone))]

    def settled(self, event: Persisted | PersistFailed) -> bool:
        """Take the word of the disk; says whether a record of this is on it, or can be again."""
        is_safe, was_refused = isinstance(event, Persisted), self.is_refused
        self.is_refused = was_refused and not is_safe
        if self._writing is None or event.token < self._writing[0]:
            return was_refused and is_safe
        (_, is_alone), self._writing = self._writing, None
        self.is_refused = not is_safe
        if is_safe:
            self._ledger.is_alone = is_alone
        return True

    # -- after a restart ----------------------------------------------------------------------

    def restore(self, record: bytes) -> bool:
        """Take in one record, if it is one of this."""
        if record[1 : 1 + len(_MARK)] != _MARK:
            return False
        _, self._store, self._ledger.is_alone = wire.unpacked(record)
        return True

    def resume(self, *, is_apart: bool) -> None:
        """Begin a life. Of a store that this one was made of it holds for what came after that.

        `is_apart` says whether nothing else is in the own share. What the one before had counted
        may have been told, by itself, as that of an epoch that is over.
        """
        if self._store != self._ledger.counters.store and not is_apart:
            self._ledger.is_alone = False

    def dump(self) -> list[bytes]:
        """Return the record of it, for a snapshot, if there is anything to say."""
        is_alone = self._ledger.is_alone if self._writing is None else self._writing[1]
        return [self._record(is_alone=True)] if is_alone else []

    def _record(self, *, is_alone: bool) -> bytes:
        record: Any = ["alone", self._ledger.counters.store, is_alone]
        return wire.packed(record)
