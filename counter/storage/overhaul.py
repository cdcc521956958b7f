"""The snapshot of a durable store: wanted, begun once all that it holds was told, done in steps.

Between two steps the store commits, so that nobody waits for a long snapshot.

The rule: what was refused never comes back. The wish names the last token that its state may hold,
and the failures until then; if more have failed by the time that token is told, the log stays.
"""

from collections import deque
from collections.abc import Generator, Sequence

from counter.storage.base import STATE, Over, SnapshotEnd
from counter.storage.batches import Entry, Outcome, first_token
from counter.storage.log import Log
from tracker.classes import dataclass
from tracker.errors import StorageError


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A snapshot that waits until everything up to `token` is told."""

    token: int
    failures: int
    state: Sequence[bytes]


class Overhaul:
    """The one snapshot of a log that is wanted or under way, if any."""

    def __init__(self, log: Log) -> None:
        self.over: Over | None = None
        # Whether it is its turn, and no commit's.
        self.is_step_due = False
        self._log = log
        self._wanted: _Wanted | None = None
        self._steps: Generator[None, None, None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether none is wanted or under way."""
        return self._steps is None and self._wanted is None

    @property
    def is_under_way(self) -> bool:
        """Whether there are steps to be done."""
        return self._steps is not None

    @property
    def stop(self) -> int | None:
        """The token up to which is to be told before it begins; None where none waits."""
        return None if self._wanted is None else self._wanted.token

    def want(self, token: int, failures: int, state: Sequence[bytes]) -> None:
        """Note that this state, which holds everything up to a token, is to replace the log."""
        self._wanted = _Wanted(token, failures, state)

    def begin(self, queue: deque[Entry], failures: int, *, is_lost: bool) -> None:
        """Begin what is wanted, if nothing up to its token is queued any more: all is told."""
        wanted = self._wanted
        if wanted is None or (queue and first_token(queue[0]) <= wanted.token):
            return
        self._wanted = None
        if is_lost:
            return
        if wanted.failures != failures:
            # Its state holds something that was refused since: it must not come back.
            self._log.postpone_snapshot()
            self._ended(None, is_begun=False)
            return
        self._steps = self._log.snapshot(wanted.token, wanted.state)
        self.is_step_due = True

    def step(self) -> Outcome:
        """Work on it for a moment; runs in the worker."""
        assert self._steps is not None
        try:
            next(self._steps)
        except StopIteration:
            return {STATE: None}
        except StorageError as error:
            return {STATE: error}
        return {}

    def stepped(self, outcome: Outcome) -> None:
        """Take what became of a step."""
        self.is_step_due = False
        if STATE in outcome:
            self._steps = None
            self._ended(outcome[STATE])

    def close(self) -> None:
        """Give up what is under way."""
        if self._steps is not None:
            self._steps.close()

    def _ended(self, error: StorageError | None, *, is_begun: bool = True) -> None:
        if self.over is not None:
            self.over(SnapshotEnd(error, self._log.log_bytes, is_begun))
