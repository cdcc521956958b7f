"""The durable store: group commit, beside the event loop, back to back.

What the event loop queues while a commit runs becomes the next commit: one write and one sync
for all of it; of a crowd of clients, it waits for some more (`pacing`). The rule: one job at a
time, and what became of it is told, in the order of tokens, before the next one begins; so a
snapshot can know whether all that it holds was kept.
A commit of nothing but the log is done by a native thread where there is one, all else, and
what is left to do after an error, by the worker.

    state of the store        a write is             a snapshot is
    open                      queued                 wanted, begun, worked on step by step
    no room on the disk       tried, refused         tried again by whoever wants it (`over`)
    lost (a sync failed)      refused                not taken
    closing, closed           refused                finished, not taken
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from counter.storage.appending import Appender, appender_for
from counter.storage.base import (
    COUNTS,
    MEMBERS,
    At,
    Cut,
    Done,
    Over,
    Rebirth,
)
from counter.storage.batches import (
    Entry,
    Outcome,
    Refused,
    all_failed,
    first_token,
    no_room_for,
    parted,
    results,
)
from counter.storage.directory import Directory
from counter.storage.frames import RECORD_BYTES_MAX, RECORD_HEAD_BYTES
from counter.storage.log import Log
from counter.storage.lull import Lull
from counter.storage.mark import MARK_S, Mark
from counter.storage.overhaul import Overhaul
from counter.storage.pacing import Pace
from counter.storage.reading import told
from counter.storage.worker import Worker
from tracker.errors import StorageError, StorageLostError
from tracker.files import DISK, Disk
from tracker.machine import Persist, Persisted

QUEUE_RECORDS_MAX: Final = 200_000
QUEUE_BYTES_MAX: Final = 256 * 2**20
COMMIT_BYTES_MAX: Final = 8 * 2**20

_KINDS: Final = (COUNTS, MEMBERS)


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
        reborn: Rebirth | None = None,
    ) -> None:
        """Lock the directory, made if missing, and raise its boot epoch.

        `records_max` bounds the records that wait for the disk. With `reborn` the directory is
        an old backup, or a copy, and becomes a new store that begins with its counts. Raises
        StorageError, LockedError (naming the pid) and DamagedError.
        """
        self._directory = Directory(Path(directory), name, cluster, disk, reborn=reborn)
        owner = self._directory.owner
        self.identity = owner.identity
        self._log = Log(self._directory.path, owner.files, disk)
        self._overhaul = Overhaul(self._log)
        self._mark = Mark(self._directory.path, owner.files)
        self._mark_timer: asyncio.TimerHandle | None = None
        self._is_mark_due = False
        self._is_reborn = reborn is not None
        self._disk = disk
        self._records_max = records_max
        self._token = 0
        self._is_recovered = False
        self._queue: deque[Entry] = deque()
        self._queued_records = 0
        self._queued_bytes = 0
        self._failures = 0
        self._refusal = ""
        self._lost = ""
        self._is_working = False
        self._is_woken = False
        self._pace = Pace()
        self._lull = Lull()
        self._worker: Worker | None = None
        self._appender: Appender | None = None
        self._done: Done | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle = asyncio.Event()

    @property
    def token(self) -> int:
        """The highest token recovered or written."""
        return self._token

    def recover(self, at: At | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield what was kept; see the interface."""
        members = self._directory.read_members()
        if members is not None:
            yield MEMBERS, members
        log, owner = self._log, self._directory.owner
        yield from told(log.recover(owner.reach, self._mark.known), log, self.identity.marked, at)
        if self._is_reborn:
            # What it lacks was told, and is no news to the next opening.
            self._mark.write(self._log.known)
        self._token = max(self._directory.members_token, self._log.token)
        self._is_recovered = True
        self._directory.note_start(self._token)

    def start(self, done: Done, over: Over | None = None) -> None:
        """Begin to take writes; call it on the event loop, after `recover` was read to its end."""
        if not self._is_recovered:
            raise RuntimeError("start before everything was recovered")
        self._done, self._overhaul.over = done, over
        self._loop = asyncio.get_running_loop()
        self._worker = Worker("storage")
        self._appender = appender_for(self._disk)
        if self._appender is not None:
            self._lull.heed(self._appender.bell)
        self._mark_later()

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
            self._refuse(record.token, self._refusal or no_room_for(size))
        else:
            self._queue.append(record)
            self._queued_records += 1
            self._queued_bytes = queued
        if not self._is_woken and not self._is_working:
            self._wake()

    def answered(self, clients: Iterable[int]) -> None:
        """Note who was just told; of very many, a commit waits for some more."""
        if self._loop is not None:
            self._pace.answered(clients, self._loop.time())

    def heed(self, descriptor: int) -> None:
        """Have the loop answer this descriptor at once also while it waits for the disk."""
        self._lull.heed(descriptor)

    @property
    def wants_snapshot(self) -> bool:
        """Whether the log has grown so long that a snapshot would pay."""
        return self._overhaul.is_idle and not self._refusal and self._log.wants_snapshot

    def snapshot(self, state: Iterable[bytes]) -> None:
        """Replace the log by `state`, in the background; on failure the log stays.

        One at a time: while one is under way, another is not taken.
        """
        if self._overhaul.is_idle and not self._refusal:
            self._overhaul.want(self._token, self._failures, tuple(state))
            self._wake()

    @property
    def cut(self) -> Cut | None:
        """What recovery cut from the end of the log."""
        return self._log.cut

    @property
    def is_overtaken(self) -> bool:
        """Whether the log is shorter than it once was; a store made of that one is new."""
        return self._log.is_overtaken and not self._is_reborn

    @property
    def shortage(self) -> str:
        """Why this opening found no room but what was kept for it."""
        return self._directory.shortage

    async def close(self, *, noted: bool = False) -> None:
        """Finish what was queued and the snapshot under way, then release the directory.

        With `noted` it is written down how far the log goes, if the disk takes it.
        """
        self._refusal = self._refusal or "this node is stopping"
        worker = self._worker
        if self._mark_timer is not None:
            self._mark_timer.cancel()
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
            self._lull.close()
            self._overhaul.close()
            self._log.close()
            self._mark.close()
            self._directory.close()

    # -- the queue --------------------------------------------------------------------------

    def _refuse(self, token: int, reason: str) -> None:
        last = self._queue[-1] if self._queue else None
        if isinstance(last, Refused) and last.last == token - 1 and last.reason == reason:
            last.last = token
        else:
            self._queue.append(Refused(token, token, reason))

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
        if self._queued_records >= enough or self._refusal or self._overhaul.is_under_way:
            return False
        self._is_woken = True
        self._lull.rest(self._loop, partial(self._work, True))
        return True

    def _go_on(self) -> None:
        """Begin what comes after a commit; of many clients, once the loop has read them."""
        assert self._loop is not None
        if self._pace.is_group(self._loop.time()):
            self._is_woken = True
            self._loop.call_soon(self._work)
        else:
            self._work()

    def _work(self, has_rested: bool = False) -> None:
        """Begin the next job: a commit, or a step of the snapshot, in turn when both wait."""
        self._is_woken = False
        if self._is_working:
            return
        if self._worker is None:
            self._tell(self._batch(), all_failed(StorageError(self._refusal)))
            return
        overhaul = self._overhaul
        overhaul.begin(self._queue, self._failures, is_lost=bool(self._lost))
        if self._queue and not (overhaul.is_under_way and overhaul.is_step_due):
            if not has_rested and self._rests():
                return
            batch = self._batch()
            # What is not the disk's is done here: a thread that computes holds up the loop.
            frame, token, members = parted(batch)
            if self._appender is not None and frame and members is None and not self._lost:
                self._append(self._appender, batch, frame, token)
            else:
                job = partial(self._commit, frame, token, members)
                self._run(job, partial(self._committed, batch))
        elif overhaul.is_under_way:
            self._run(overhaul.step, overhaul.stepped)
        elif self._is_mark_due:
            self._is_mark_due = False
            self._run(self._note, lambda outcome: None)
        else:
            self._idle.set()

    def _run(self, job: Callable[[], Outcome], then: Callable[[Outcome], None]) -> None:
        assert self._worker is not None
        self._is_working = True

        def finish(outcome: Outcome, error: BaseException | None) -> None:
            self._is_working = False
            if error is None:
                then(outcome)
            else:
                # A mistake in this program: nobody knows what is on disk, and all must hear it.
                then(all_failed(StorageLostError(f"the store broke: {error!r}")))
            self._work()
            if error is not None:
                raise error

        self._worker.run(job, finish)

    def _batch(self) -> list[Entry]:
        """Take what one commit holds; stops where the wanted snapshot ends."""
        batch: list[Entry]
        stop = self._overhaul.stop
        if (
            stop is None
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
        stop = self._token if stop is None else stop
        while self._queue and size < COMMIT_BYTES_MAX:
            entry = self._queue[0]
            if isinstance(entry, Refused):
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

    def _commit(self, frame: bytes, token: int, members: Persist | None) -> Outcome:
        """Write a frame for the log, and a members record; runs in the worker."""
        if self._lost:
            return all_failed(StorageError(self._lost))
        failed: Outcome = {}
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

    def _append(self, appender: Appender, batch: list[Entry], frame: bytes, token: int) -> None:
        """Have a frame for the log written by the native thread."""
        log, size, committed = self._log, len(frame), partial(self._committed, batch)

        def settle(write_error: OSError | None, sync_error: OSError | None) -> Outcome:
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
            self._go_on()

        assert self._loop is not None
        self._is_working = True
        appender.append(log.descriptor, frame, log.end, ended)
        if self._pace.is_group(self._loop.time()):
            self._lull.watch(self._loop, appender)

    def _committed(self, batch: list[Entry], failed: Outcome) -> None:
        error = failed.get(COUNTS)
        if isinstance(error, StorageLostError) and not self._lost:
            self._lost = self._refusal = f"an earlier write was lost: {error}"
        self._overhaul.is_step_due = True
        if self._mark_timer is None and not failed:
            self._mark_later()
        self._tell(batch, failed)

    def _mark_later(self) -> None:
        """Note, before long, how far the log is on disk: one word for all commits till then."""
        assert self._loop is not None
        self._mark_timer = self._loop.call_later(MARK_S, self._mark_now)

    def _mark_now(self) -> None:
        self._mark_timer, self._is_mark_due = None, True
        self._wake()

    def _note(self) -> Outcome:
        self._mark.write(self._log.known)
        return {}

    def _tell(self, batch: list[Entry], failed: Outcome) -> None:
        """Say what became of each token, in order; one word for a run that is safe."""
        assert self._done is not None
        if not failed and {*map(type, batch)} == {Persist}:
            self._done(Persisted(first_token(batch[-1])))
            return
        safe: int | None = None
        for result in results(batch, failed):
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
