"""Snapshots that fail: what is said of it, when they are tried again, how the log grows."""

import asyncio
import errno
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from counter import snapshots
from counter.snapshots import Snapshots
from counter.storage import log
from counter.storage.base import COUNTS, STATE, SnapshotEnd
from counter.storage.durable import DurableStorage
from tracker.errors import StorageError
from tracker.files import Disk
from tracker.machine import Emit, Persist, Persisted

EVENTS_S_MAX = 20.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Snapless(Disk):
    """A disk on which, as long as `error` says so, no snapshot can be written."""

    def __init__(self, error: int = 0) -> None:
        self.error = error
        self.tries = 0

    def sync(self, descriptor: int) -> None:
        if ".snap" in os.readlink(f"/proc/self/fd/{descriptor}"):
            self.tries += 1
            if self.error:
                raise OSError(self.error, os.strerror(self.error))
        super().sync(descriptor)


class Keeper:
    """A store, whoever takes its snapshots, and what was said."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self.kept: list[bytes] = []
        self.said: list[Emit] = []
        self.store = DurableStorage(directory, "n1", disk=disk)
        self.recovered = list(self.store.recover())
        self.snapshots = Snapshots(self.store, lambda: list(self.kept), self.said.append)
        self._heard = asyncio.Event()
        self._ended = asyncio.Event()
        self.store.start(self._hear, self._over)

    def _hear(self, event: Any) -> None:
        assert isinstance(event, Persisted)
        self._heard.set()

    def _over(self, end: SnapshotEnd) -> None:
        self.snapshots.over(end)
        self._ended.set()

    async def keep(self, record: bytes) -> None:
        self._heard.clear()
        self.kept.append(record)
        self.store.write(Persist(self.store.token + 1, COUNTS, record))
        await asyncio.wait_for(self._heard.wait(), EVENTS_S_MAX)

    async def ended(self) -> None:
        """Wait until one more snapshot has ended."""
        self._ended.clear()
        await asyncio.wait_for(self._ended.wait(), EVENTS_S_MAX)

    async def take(self) -> None:
        self.snapshots.take()
        await self.ended()


@asynccontextmanager
async def kept(directory: Path, disk: Disk) -> AsyncIterator[Keeper]:
    keeper = Keeper(directory, disk)
    try:
        yield keeper
    finally:
        await keeper.store.close()
        keeper.snapshots.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PAUSE_S_MIN", 0.001)
    monkeypatch.setattr(snapshots, "PAUSE_S_MAX", 0.002)


def segments(directory: Path) -> list[str]:
    return sorted([name for name in os.listdir(directory) if name.startswith("counts")])


async def test_a_snapshot_that_fails_is_said_once_and_tried_until_it_is_made(
    tmp_path: Path,
) -> None:
    disk = Snapless(errno.EIO)
    async with kept(tmp_path, disk) as keeper:
        await keeper.keep(b"a")
        await keeper.take()
        await keeper.ended()
        await keeper.ended()
        assert [emit.event for emit in keeper.said] == ["snapshot-failed"]
        reason = keeper.said[0].details["reason"]
        assert reason.startswith(f"cannot write {tmp_path}/state-")
        assert reason.endswith(": the disk reports an input/output error")

        disk.error = 0
        while len(keeper.said) == 1:
            await keeper.ended()
        assert keeper.said[1].event == "snapshot-made"
        assert keeper.said[1].details["tries"] >= 3
        disk.tries = 0
        await keeper.keep(b"b")

    assert disk.tries == 0, "well again, nothing is tried any more"
    async with kept(tmp_path, disk) as again:
        assert again.recovered == [(STATE, b"a"), (COUNTS, b"b")]


async def test_another_cause_is_said_as_well_and_so_is_each_doubling_of_the_log(
    tmp_path: Path,
) -> None:
    disk = Snapless(errno.EIO)
    async with kept(tmp_path, disk) as keeper:
        await keeper.keep(b"x" * 1_000)
        await keeper.take()
        disk.error = errno.ENOSPC
        await keeper.ended()
        await keeper.ended()
        await keeper.keep(b"x" * 900)
        await keeper.ended()
        await keeper.ended()
        assert len(keeper.said) == 2
        await keeper.keep(b"x" * 200)
        while len(keeper.said) == 2:
            await keeper.ended()

    causes = [emit.details["reason"].rpartition(": ")[2] for emit in keeper.said]
    assert causes == [
        "the disk reports an input/output error", "the disk is full", "the disk is full",
    ]  # fmt: skip
    logs = [emit.details["log"] for emit in keeper.said]
    assert logs[0] == logs[1] <= logs[2] / 2


async def test_tries_that_fail_leave_no_segment_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SNAPSHOT_RETRY_BYTES", 500)
    disk = Snapless(errno.EIO)
    async with kept(tmp_path, disk) as keeper:
        for _ in range(8):
            await keeper.keep(b"x" * 100)
            await keeper.ended() if keeper.said else await keeper.take()
            await keeper.ended()
        # The first try ends one; another one ends with the first try past 500 bytes.
        assert len(segments(tmp_path)) == 3
        assert not [name for name in os.listdir(tmp_path) if name.startswith("state")]
        disk.error = 0
        while keeper.said[-1].event != "snapshot-made":
            await keeper.ended()
        await keeper.keep(b"last")

    assert len(segments(tmp_path)) == 1
    async with kept(tmp_path, disk) as again:
        records = [record for _, record in again.recovered]
        assert records == [b"x" * 100] * 8 + [b"last"]


async def test_a_directory_in_the_way_of_a_snapshot_is_named_and_harms_nothing(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path, Disk()) as keeper:
        await keeper.keep(b"a")
        way = tmp_path / f"state-{1:020d}.snap.tmp"
        way.mkdir()
        await keeper.take()
        why = f"cannot write {way.with_suffix('')}: it is a directory"
        assert keeper.said[0].details["reason"] == why
        way.rmdir()
        while keeper.said[-1].event != "snapshot-made":
            await keeper.ended()

    async with kept(tmp_path, Disk()) as again:
        assert again.recovered == [(STATE, b"a")]


class Fake:
    """A store of which only snapshots are wanted, and none ends by itself."""

    def __init__(self) -> None:
        self.begun = 0

    def snapshot(self, state: Any) -> None:
        self.begun += 1


async def test_pauses_double_up_to_a_limit_and_nothing_is_begun_in_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "PAUSE_S_MIN", 1.0)
    monkeypatch.setattr(snapshots, "PAUSE_S_MAX", 60.0)
    store, loop = Fake(), asyncio.get_running_loop()
    takes = Snapshots(store, list, lambda emit: None)  # type: ignore[arg-type]
    for pause_s in (1, 2, 4, 8, 16, 32, 60, 60, 60):
        earliest = loop.time() + pause_s
        takes.over(SnapshotEnd(StorageError("no"), 1))
        latest = loop.time() + pause_s
        assert takes._timer is not None
        # The loop keeps whole milliseconds, in floats.
        assert earliest - 0.002 <= takes._timer.when() <= latest + 0.002
        takes.take()
        takes.close()

    assert store.begun == 0


async def test_one_that_was_not_begun_is_tried_again_only_where_some_had_failed() -> None:
    said: list[Emit] = []
    takes = Snapshots(Fake(), list, said.append)  # type: ignore[arg-type]
    takes.over(SnapshotEnd(None, 1, is_begun=False))
    assert takes._timer is None
    takes.over(SnapshotEnd(StorageError("no"), 1))
    takes.close()
    takes._timer = None
    takes.over(SnapshotEnd(None, 1, is_begun=False))
    assert takes._timer is not None
    takes.close()
    assert [emit.event for emit in said] == ["snapshot-failed"]
