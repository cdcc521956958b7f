"""The durable store: group commit, beside the event loop, back to back.

What the event loop queues while a commit runs becomes the next commit: one write and one sync
for all of it; of a crowd of clients, it waits for some more (`pacing`). The rule: one job at a
time, and what became of it is told, in the order of tokens, before the next one begins; so a
snapshot can know whether all that it holds was kept.
A commit of nothing but the log is done by a native thread where there is one, all else, and
what is left to do after an error, by the worker.

    state of the store        a write is             a snapshot is
    open                      queued                 wanted, begun, worked on step by step
    no room on the disk       tried, refused         tried again when the log has grown
    lost (a sync failed)      refused                not taken
    closing, closed           refused                finished, not taken
"""

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final
from zlib import crc32

from counter.storage.appending import Appender, appender_for
from counter.storage.base import COUNTS, MEMBERS, STATE, Cut, Done, Identity
from counter.storage.directory import Directory
from counter.storage.frames import RECORD_BYTES_MAX, RECORD_HEAD_BYTES, Record, frame_bytes
from counter.storage.log import Log
from counter.storage.pacing import REST_S, Pace
from counter.storage.worker import Worker
from tracker.classes import dataclass
from tracker.errors import StorageError, StorageLostError
from tracker.files import DISK, Disk
from tracker.machine import Persist, Persisted, PersistFailed
from tracker.native import extension

QUEUE_RECORDS_MAX: Final = 200_000
QUEUE_BYTES_MAX: Final = 256 * 2**20
COMMIT_BYTES_MAX: Final = 8 * 2**20

_KINDS: Final = (COUNTS, MEMBERS)
_NATIVE: Final = extension("counter.native.framing")


@dataclass(slots=True)
class _Refused:
    """A run of tokens that never reached the queue, kept so that their refusal waits its turn."""

    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A snapshot that waits until everything up to `token` is told."""

    token: int
    failures: int
    state: Sequence[bytes]


_Entry = Persist | _Refused
_Outcome = dict[str, StorageError | None]
"""What failed, by the kind of record. STATE is in it once the snapshot is over, well or not."""


class DurableStorage:
    """Records in a directory, safe from SIGKILL and power cuts once `done` says so."""

    def __init__(
        self,
        directory: Path | str,
        name: str,
        *,
        cluster: str = "default",
        records_max: int = QUEUE_RECORDS_MAX,
        disk: Disk = DISK,
        reborn: bool = False,
    ) -> None:
        """Lock the directory, made if missing, and raise its boot epoch.

        `records_max` bounds the records that wait for the disk. With `reborn` the directory is
        an old backup, and becomes a new store that begins with its counts. Raises StorageError,
        LockedError (naming the pid) and DamagedError.
        """
        self._directory = Directory(Path(directory), name, cluster, disk, reborn=reborn)
        owner = self._directory.owner
        self.identity = Identity(
            owner.store,
            owner.epoch,
            durable=True,
            boot=owner.boots[0],
            lineage=b"".join(owner.boots[1:]),
            parent=owner.parent,
            founder=owner.founder,
            name=owner.name,
        )
        self._log = Log(self._directory.path, owner.files, disk)
        self._disk = disk
        self._records_max = records_max
        self._token = 0
        self._is_recovered = False
        self._queue: deque[_Entry] = deque()
        self._queued_records = 0
        self._queued_bytes = 0
        self._failures = 0
        self._refusal = ""
        self._lost = ""
        self.snapshot_error = ""
        self._wanted: _Wanted | None = None
        self._steps: Generator[None, None, None] | None = None
        self._is_step_due = False
        self._is_working = False
        self._is_woken = False
        self._pace = Pace()
        # While a commit waits for more clients, with how many records it begins at once.
        self._rest: asyncio.TimerHandle | None = None
        self._enough = 0
        self._worker: Worker | None = None
        self._appender: Appender | None = None
        self._done: Done | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle = asyncio.Event()

    @property
    def token(self) -> int:
        """The highest token recovered or written."""
        return self._token

    def recover(self) -> Iterator[tuple[str, bytes]]:
        """Yield what was kept; see the interface."""
        members = self._directory.read_members()
        if members is not None:
            yield MEMBERS, members
        yield from self._log.recover(self._directory.owner.reach)
        self._token = max(self._directory.members_token, self._log.token)
        self._is_recovered = True

    def start(self, done: Done) -> None:
        """Begin to take writes; call it on the event loop, after `recover` was read to its end."""
        if not self._is_recovered:
            raise RuntimeError("start before everything was recovered")
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._worker = Worker("storage")
        self._appender = appender_for(self._disk)

    def write(self, record: Persist) -> None:
        """Queue one record, or its refusal: `busy`, too large, lost, closed."""
        if record.kind not in _KINDS:
            raise ValueError(f"no such kind of record: {record.kind}")
        size = len(record.record)
        queued = self._queued_bytes + size
        self._token = record.token
        if (
            self._refusal
            or size > RECORD_BYTES_MAX
            or self._queued_records >= self._records_max
            or queued > QUEUE_BYTES_MAX
        ):
            self._refuse(record.token, self._refusal or _no_room_for(size))
        else:
            self._queue.append(record)
            self._queued_records += 1
            self._queued_bytes = queued
        if self._rest is not None:
            if self._queued_records >= self._enough:
                self._end_rest()
        elif not self._is_woken and not self._is_working:
            self._wake()

    def answered(self, clients: Iterable[int]) -> None:
        """Note who was just told; of very many, a commit waits for some more."""
        if self._loop is not None:
            self._pace.answered(clients, self._loop.time())

    @property
    def wants_snapshot(self) -> bool:
        """Whether the log has grown so long that a snapshot would pay."""
        return (
            self._steps is None
            and self._wanted is None
            and not self._refusal
            and self._log.wants_snapshot
        )

    def snapshot(self, state: Iterable[bytes]) -> None:
        """Replace the log by `state`, in the background; on failure the log stays.

        One at a time: while one is under way, another is not taken.
        """
        if self._steps is None and self._wanted is None and not self._refusal:
            self._wanted = _Wanted(self._token, self._failures, tuple(state))
            self._wake()

    @property
    def cut(self) -> Cut | None:
        """What recovery cut from the end of the log."""
        return self._log.cut

    async def close(self, *, noted: bool = False) -> None:
        """Finish what was queued and the snapshot under way, then release the directory.

        With `noted` it is written down how far the log goes, if the disk takes it.
        """
        self._refusal = self._refusal or "this node is stopping"
        worker = self._worker
        try:
            if worker is not None:
                self._wake()
                await self._idle.wait()
                if noted and not self._lost:
                    with suppress(StorageError):
                        self._directory.note_reach(self._log.token)
        finally:
            # Only when this was cancelled is there a job left to wait for.
            appender, self._appender = self._appender, None
            if appender is not None:
                appender.close()
            if worker is not None:
                worker.close()
            self._worker = None
            if self._steps is not None:
                self._steps.close()
            self._log.close()
            self._directory.close()

    # -- the queue --------------------------------------------------------------------------

    def _refuse(self, token: int, reason: str) -> None:
        last = self._queue[-1] if self._queue else None
        if isinstance(last, _Refused) and last.last == token - 1 and last.reason == reason:
            last.last = token
        else:
            self._queue.append(_Refused(token, token, reason))

    def _wake(self) -> None:
        if self._loop is None:
            raise RuntimeError("not started")
        if not self._is_woken and not self._is_working:
            # At the loop's next turn, so that all writes of this turn are one commit.
            self._is_woken = True
            self._idle.clear()
            self._loop.call_soon(self._work)

    def _rests(self) -> bool:
        """Let a commit wait for more clients where there is a crowd of them, see `pacing`."""
        assert self._loop is not None
        enough = self._pace.enough(self._loop.time())
        if self._queued_records >= enough or self._refusal or self._steps is not None:
            return False
        self._is_woken = True
        self._enough = enough
        self._rest = self._loop.call_later(REST_S, self._work, True)
        return True

    def _end_rest(self) -> None:
        """Begin the commit that waits once this turn of the loop has read everything."""
        assert self._loop is not None
        assert self._rest is not None
        self._rest.cancel()
        self._rest = None
        self._loop.call_soon(self._work, True)

    def _work(self, has_rested: bool = False) -> None:
        """Begin the next job: a commit, or a step of the snapshot, in turn when both wait."""
        self._is_woken = False
        self._rest = None
        if self._is_working:
            return
        if self._worker is None:
            self._tell(self._batch(), _all_failed(StorageError(self._refusal)))
            return
        self._begin_snapshot()
        if self._queue and not (self._steps is not None and self._is_step_due):
            if not has_rested and self._rests():
                return
            batch = self._batch()
            # What is not the disk's is done here: a thread that computes holds up the loop.
            frame, token, members = _parted(batch)
            if self._appender is not None and frame and members is None and not self._lost:
                self._append(self._appender, batch, frame, token)
            else:
                job = partial(self._commit, frame, token, members)
                self._run(job, partial(self._committed, batch))
        elif self._steps is not None:
            self._run(partial(self._step, self._steps), self._stepped)
        else:
            self._idle.set()

    def _run(self, job: Callable[[], _Outcome], then: Callable[[_Outcome], None]) -> None:
        assert self._worker is not None
        self._is_working = True

        def finish(outcome: _Outcome, error: BaseException | None) -> None:
            self._is_working = False
            if error is None:
                then(outcome)
            else:
                # A mistake in this program: nobody knows what is on disk, and all must hear it.
                then(_all_failed(StorageLostError(f"the store broke: {error!r}")))
            self._work()
            if error is not None:
                raise error

        self._worker.run(job, finish)

    def _batch(self) -> list[_Entry]:
        """Take what one commit holds; stops where the wanted snapshot ends."""
        batch: list[_Entry]
        if (
            self._wanted is None
            and len(self._queue) == self._queued_records
            and self._queued_bytes < COMMIT_BYTES_MAX // 2
        ):
            # As most often: all of it, and none of it refused.
            batch = list(self._queue)
            self._queue.clear()
            self._queued_records = self._queued_bytes = 0
            return batch
        batch = []
        size = 0
        stop = self._wanted.token if self._wanted is not None else self._token
        while self._queue and size < COMMIT_BYTES_MAX:
            entry = self._queue[0]
            if isinstance(entry, _Refused):
                if entry.first > stop:
                    break
            elif entry.token > stop:
                break
            else:
                size += len(entry.record) + RECORD_HEAD_BYTES
                self._queued_records -= 1
                self._queued_bytes -= len(entry.record)
            batch.append(self._queue.popleft())
        return batch

    # -- commits ----------------------------------------------------------------------------

    def _commit(self, frame: bytes, token: int, members: Persist | None) -> _Outcome:
        """Write a frame for the log, and a members record; runs in the worker."""
        if self._lost:
            return _all_failed(StorageError(self._lost))
        failed: _Outcome = {}
        if frame:
            try:
                self._log.append_frame(frame, token)
            except StorageError as error:
                failed[COUNTS] = error
        if members is not None:
            try:
                self._directory.write_members(members.token, members.record)
            except StorageError as error:
                failed[MEMBERS] = error
        return failed

    def _append(self, appender: Appender, batch: list[_Entry], frame: bytes, token: int) -> None:
        """Have a frame for the log written by the native thread."""
        log, size, committed = self._log, len(frame), partial(self._committed, batch)

        def settle(write_error: OSError | None, sync_error: OSError | None) -> _Outcome:
            try:
                log.appended(size, token, write_error, sync_error)
            except StorageError as error:
                return {COUNTS: error}
            return {}

        def ended(write_error: OSError | None, sync_error: OSError | None) -> None:
            if write_error is not None or sync_error is not None:
                # What is to be done now waits for the disk again.
                self._run(partial(settle, write_error, sync_error), committed)
                return
            self._is_working = False
            committed(settle(None, None))
            self._work()

        self._is_working = True
        appender.append(log.descriptor, frame, log.end, ended)

    def _committed(self, batch: list[_Entry], failed: _Outcome) -> None:
        error = failed.get(COUNTS)
        if isinstance(error, StorageLostError) and not self._lost:
            self._lost = self._refusal = f"refused: an earlier write was lost: {error}"
        self._is_step_due = True
        self._tell(batch, failed)

    def _tell(self, batch: list[_Entry], failed: _Outcome) -> None:
        """Say what became of each token, in order; one word for a run that is safe."""
        assert self._done is not None
        if not failed and {*map(type, batch)} == {Persist}:
            self._done(Persisted(_first_token(batch[-1])))
            return
        safe: int | None = None
        for result in _results(batch, failed):
            if isinstance(result, int):
                safe = result
                continue
            if safe is not None:
                self._done(Persisted(safe))
                safe = None
            self._failures += 1
            self._done(result)
        if safe is not None:
            self._done(Persisted(safe))

    # -- snapshots --------------------------------------------------------------------------

    def _begin_snapshot(self) -> None:
        wanted = self._wanted
        if wanted is None or (self._queue and _first_token(self._queue[0]) <= wanted.token):
            return
        self._wanted = None
        if self._lost:
            return
        if wanted.failures != self._failures:
            # Its state holds something that was refused since: it must not come back.
            self._log.postpone_snapshot()
            return
        self._steps = self._log.snapshot(wanted.token, wanted.state)
        self._is_step_due = True

    def _step(self, steps: Generator[None, None, None]) -> _Outcome:
        """Work on the snapshot for a moment; runs in the worker."""
        try:
            next(steps)
        except StopIteration:
            return {STATE: None}
        except StorageError as error:
            return {STATE: error}
        return {}

    def _stepped(self, outcome: _Outcome) -> None:
        self._is_step_due = False
        if STATE in outcome:
            self._steps = None
            self.snapshot_error = str(outcome[STATE] or "")


def _no_room_for(size: int) -> str:
    if size > RECORD_BYTES_MAX:
        return f"a record of {size} bytes is too large ({RECORD_BYTES_MAX} at most)"
    return "busy: the disk is behind; try again later"


def _all_failed(error: StorageError) -> _Outcome:
    return {COUNTS: error, MEMBERS: error, STATE: error}


def _parted(batch: list[_Entry]) -> tuple[bytes, int, Persist | None]:
    """Return the log's frame for a batch, empty for none, its last token, its last members.

    `counter/native/framing.c` does the same where there is nothing but the log.
    """
    plain = _NATIVE.frame_of(batch, Persist, crc32) if _NATIVE is not None else None
    if plain is not None:
        return *plain, None
    kept = [entry for entry in batch if entry.__class__ is Persist]
    records: list[Record] = [(e.token, e.record) for e in kept if e.kind == COUNTS]
    members = None
    if len(records) < len(kept):
        members = [entry for entry in kept if entry.kind == MEMBERS][-1]
    if not records:
        return b"", 0, members
    return frame_bytes(records, records[-1][0]), records[-1][0], members


def _first_token(entry: _Entry) -> int:
    return entry.first if isinstance(entry, _Refused) else entry.token


def _results(batch: list[_Entry], failed: _Outcome) -> Iterator[int | PersistFailed]:
    """Yield, in order, each token that is safe and each failure."""
    for entry in batch:
        if isinstance(entry, _Refused):
            for token in range(entry.first, entry.last + 1):
                yield PersistFailed(token, entry.reason, definite=True)
        else:
            error = failed.get(entry.kind)
            if error is None:
                yield entry.token
            else:
                yield PersistFailed(entry.token, str(error), error.definite)
