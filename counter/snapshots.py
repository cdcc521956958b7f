"""When a node's counts are written as a snapshot, and what is said of one that fails.

    what ended                 then
    a snapshot, well           the next one when the log is long; if some had failed, it is said
    a snapshot, failed         tried again after a pause that doubles; said once for each cause,
                               and again whenever the log has doubled meanwhile
    one that was not begun     (the disk refused what it would have held) after failures it is
                               tried again; nothing is said

Without snapshots the log grows with every increment: nothing is lost by it, until the disk is
full and refuses increments. So the rule: as long as snapshots fail they are tried without end and
without a word from anybody, and how long the log has grown is said on the way there.
"""

import asyncio
from collections.abc import Callable, Iterable

from counter.storage.base import SnapshotEnd, Storage
from tracker.errors import StorageError
from tracker.files import cause_of
from tracker.machine import Emit

PAUSE_S_MIN = 1.0
PAUSE_S_MAX = 60.0
"""Between two tries: a snapshot holds all counts, and computing it holds up everything else."""


class Snapshots:
    """The snapshots of one node. All calls come from its event loop."""

    def __init__(
        self,
        storage: Storage,
        dump: Callable[[], Iterable[bytes]],
        on_emit: Callable[[Emit], None],
    ) -> None:
        """Take what to write from `dump`, and tell `on_emit` of failures."""
        self._storage = storage
        self._dump = dump
        self._on_emit = on_emit
        self._timer: asyncio.TimerHandle | None = None
        self._pause_s = 0.0
        self._failures = 0
        self._cause = ""
        self._said_bytes = 0

    def take(self) -> None:
        """Begin one, unless the last one failed and its pause is not over."""
        if self._timer is None:
            self._storage.snapshot(self._dump())

    def over(self, end: SnapshotEnd) -> None:
        """Hear how one ended."""
        if end.error is None and end.is_begun:
            self._went_well(end.log_bytes)
        elif self._failures or end.is_begun:
            if end.error is not None:
                self._say(end.error, end.log_bytes)
            self._pause_s = min(PAUSE_S_MAX, 2 * self._pause_s) if self._failures else PAUSE_S_MIN
            self._failures += 1
            self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._again)

    def close(self) -> None:
        """Try no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _again(self) -> None:
        self._timer = None
        self.take()

    def _went_well(self, log_bytes: int) -> None:
        if self._failures:
            self._on_emit(Emit("snapshot-made", {"tries": self._failures, "log": log_bytes}))
        self._failures, self._cause, self._said_bytes = 0, "", 0

    def _say(self, error: StorageError, log_bytes: int) -> None:
        cause = cause_of(error)
        if cause == self._cause and log_bytes < 2 * self._said_bytes:
            return
        self._cause, self._said_bytes = cause, log_bytes
        self._on_emit(Emit("snapshot-failed", {"reason": str(error), "log": log_bytes}))
