"""The durable store at work: what it says is safe, is; what it refuses, is not there."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from counter.storage import batches, durable, log
from counter.storage.base import COUNTS, MEMBERS, STATE
from counter.storage.durable import DurableStorage
from tracker.errors import StorageError
from tracker.files import Disk
from tracker.machine import Persist, Persisted, PersistFailed

Opened = Any
Open = Any


class SickDisk(Disk):
    """A disk that can be told to fail; a real one cannot be had to do it on request."""

    def __init__(self) -> None:
        self.sync_error = 0
        self.write_error = 0
        self.room = 2**62
        self.writes = 0

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        self.writes += 1
        error = self.write_error or (errno.ENOSPC if offset >= self.room else 0)
        if error:
            raise OSError(error, os.strerror(error))
        return super().write(descriptor, data[: max(0, self.room - offset)], offset)

    def sync(self, descriptor: int) -> None:
        if self.sync_error:
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        super().sync(descriptor)


class GatedDisk(Disk):
    """Holds every sync of the worker until the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.syncs = 0

    def sync(self, descriptor: int) -> None:
        assert self.gate.wait(50)
        self.syncs += 1
        super().sync(descriptor)


def counts(*records: bytes) -> list[tuple[str, bytes]]:
    return [(COUNTS, record) for record in records]


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def write_all(opened: Opened, *records: bytes, kind: str = COUNTS) -> None:
    for record in records:
        opened.store.write(Persist(opened.store.token + 1, kind, record))


# -- what is kept ---------------------------------------------------------------------------


async def test_records_survive_in_their_order(opened: Open) -> None:
    async with opened() as first:
        await first.keep(b"a", b"", b"c" * 70_000)

    async with opened() as second:
        assert second.recovered == counts(b"a", b"", b"c" * 70_000)
        assert second.store.token == 3


async def test_of_the_members_records_only_the_last_survives(opened: Open) -> None:
    async with opened() as first:
        await first.keep(b"m1", kind=MEMBERS)
        await first.keep(b"a")
        await first.keep(b"m2", kind=MEMBERS)

    async with opened() as second:
        assert second.recovered == [(MEMBERS, b"m2"), (COUNTS, b"a")]
        assert second.store.token == 3


async def test_the_store_id_stays_and_the_epoch_rises_with_each_opening(opened: Open) -> None:
    identities = []
    for _ in range(3):
        async with opened() as store:
            identities.append(store.store.identity)

    assert {identity.store for identity in identities} == {identities[0].store}
    assert [identity.epoch for identity in identities] == [1, 2, 3]


async def test_the_epoch_rises_even_when_nothing_is_recovered_or_started(directory: Path) -> None:
    for epoch in (1, 2, 3):
        store = DurableStorage(directory, "n1")
        assert store.identity.epoch == epoch
        await store.close()


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lives=st.lists(
        st.lists(
            st.one_of(
                st.tuples(st.sampled_from([COUNTS, MEMBERS]), st.binary(max_size=40)),
                st.sampled_from(["wait", "snapshot"]),
            ),
            max_size=12,
        ),
        min_size=1,
        max_size=4,
    )
)
async def test_what_was_persisted_is_what_is_recovered(
    opened: Open, tmp_path_factory: pytest.TempPathFactory, lives: list[list[Any]]
) -> None:
    path = tmp_path_factory.mktemp("lives")
    members: list[tuple[str, bytes]] = []
    kept: list[bytes] = []
    for life in [*lives, []]:
        async with opened(path) as store:
            assert [r for r in store.recovered if r[0] == MEMBERS] == members
            assert [record for kind, record in store.recovered if kind != MEMBERS] == kept
            for step in life:
                if step == "wait":
                    await store.until_idle() if store.events else None
                elif step == "snapshot":
                    store.store.snapshot(kept)
                elif step[0] == MEMBERS:
                    members = [step]
                    write_all(store, step[1], kind=MEMBERS)
                else:
                    kept.append(step[1])
                    write_all(store, step[1])
        assert not any(isinstance(event, PersistFailed) for event in store.events)


CHILD = """
import asyncio, sys
from counter.storage.durable import DurableStorage
from tracker.machine import Persist, Persisted

async def main(directory):
    store = DurableStorage(directory, "n1")
    print("recovered", len(list(store.recover())), flush=True)

    def done(event):
        assert type(event) is Persisted
        print(event.token, flush=True)
        for _ in range(3):
            token = store.token + 1
            store.write(Persist(token, "counts", str(token).encode() * 40))
        if token % 50 < 3:
            store.snapshot([str(token).encode() * 40 for token in range(1, store.token + 1)])

    store.start(done)
    done(Persisted(0))
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""


def lines_of_a_killed_child(directory: Path, lines_max: int) -> list[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child.stdout as output:
        lines = [output.readline() for _ in range(lines_max + 2)]
        os.kill(child.pid, signal.SIGKILL)
        lines += output.readlines()
    assert child.wait(50) == -signal.SIGKILL
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("lines_max", [1, 20, 90])
async def test_sigkill_loses_nothing_that_was_told(
    opened: Open, directory: Path, lines_max: int
) -> None:
    lines = lines_of_a_killed_child(directory, lines_max)
    told = [int(line) for line in lines[1:] if line.endswith("\n")]

    async with opened() as store:
        found = [record for _, record in store.recovered]
        assert len(found) >= told[-1] >= 1
        assert found == [str(token).encode() * 40 for token in range(1, len(found) + 1)]
        assert store.store.token == len(found)
        assert store.store.identity.epoch == 2


# -- group commit ---------------------------------------------------------------------------


async def test_what_is_written_during_a_commit_is_the_next_commit(opened: Open) -> None:
    disk = GatedDisk()
    async with opened(disk=disk) as store:
        disk.syncs = 0
        disk.gate.clear()
        write_all(store, b"a")
        await asyncio.sleep(0)
        write_all(store, b"b", b"c")
        await asyncio.sleep(0)
        write_all(store, b"d")
        disk.gate.set()

        assert await store.heard() == [Persisted(1), Persisted(4)]
        assert disk.syncs == 2


async def test_the_loop_lives_while_the_disk_is_slow(opened: Open) -> None:
    disk = GatedDisk()
    async with opened(disk=disk) as store:
        disk.gate.clear()
        write_all(store, b"a")
        for _ in range(100):
            await asyncio.sleep(0)

        assert store.events == []
        disk.gate.set()
        assert await store.heard() == [Persisted(1)]


async def test_a_full_queue_refuses_and_says_so_in_the_order_of_tokens(opened: Open) -> None:
    async with opened(records_max=2) as store:
        write_all(store, b"a", b"b", b"c", b"d")

        assert await store.heard() == [
            Persisted(2),
            PersistFailed(3, "busy: the disk is behind; try again later", definite=True),
            PersistFailed(4, "busy: the disk is behind; try again later", definite=True),
        ]
        await store.keep(b"e")

    async with opened() as again:
        assert again.recovered == counts(b"a", b"b", b"e")
        assert again.store.token == 5


async def test_the_bytes_of_the_queue_are_bounded(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "QUEUE_BYTES_MAX", 10)
    async with opened() as store:
        write_all(store, b"x" * 8, b"x" * 3, b"x" * 2)

        events = await store.heard()

    assert [(type(event), event.token) for event in events] == [
        (Persisted, 1),
        (PersistFailed, 2),
        (Persisted, 3),
    ]


async def test_a_record_that_is_too_large_is_refused_alone(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (durable, batches):
        monkeypatch.setattr(module, "RECORD_BYTES_MAX", 10)
    async with opened() as store:
        write_all(store, b"x" * 11, b"x" * 10)

        refused, kept = await store.heard()

    assert refused == PersistFailed(
        1, "a record of 11 bytes is too large (10 at most)", definite=True
    )
    assert kept == Persisted(2)


async def test_an_unknown_kind_is_an_error_of_programming(opened: Open) -> None:
    async with opened() as store:
        with pytest.raises(ValueError, match="no such kind"):
            store.store.write(Persist(1, "else", b""))


async def test_a_mistake_in_the_worker_is_told_and_heard_by_the_loop(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: heard.append(context))
    async with opened(disk=GatedDisk()) as store:
        monkeypatch.setattr(store.store._log, "append_frame", lambda frame, token: 1 / 0)
        write_all(store, b"a")
        (event,) = await store.heard()
        await asyncio.sleep(0)
    asyncio.get_running_loop().set_exception_handler(None)

    assert not event.definite
    assert "division by zero" in event.reason
    assert [type(context["exception"]) for context in heard] == [ZeroDivisionError]


async def test_start_before_recovery_is_an_error_of_programming(directory: Path) -> None:
    store = DurableStorage(directory, "n1")

    with pytest.raises(RuntimeError, match="recovered"):
        store.start(print)
    with pytest.raises(RuntimeError, match="not started"):
        store.write(Persist(1, COUNTS, b""))
    await store.close()


async def test_a_write_after_close_is_refused_and_told(opened: Open) -> None:
    async with opened() as store:
        await store.keep(b"a")
    write_all(store, b"b")

    assert (await store.heard())[-1] == PersistFailed(2, "this node is stopping", definite=True)


async def test_a_cancelled_close_still_lets_go_of_the_directory(opened: Open) -> None:
    disk = GatedDisk()
    async with opened(disk=disk) as store:
        disk.gate.clear()
        write_all(store, b"a")
        closing = asyncio.ensure_future(store.store.close())
        await asyncio.sleep(0)
        write_all(store, b"b")
        await asyncio.sleep(0)
        disk.gate.set()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

        async with opened() as again:
            assert again.recovered == counts(b"a")
        events = await store.heard()
    assert events == [Persisted(1), PersistFailed(2, "this node is stopping", definite=True)]


# -- no room, and worse ---------------------------------------------------------------------


@pytest.mark.parametrize("room", [0, 1, 15, 20, 40])
async def test_a_full_disk_refuses_and_takes_again_when_there_is_room(
    opened: Open, directory: Path, room: int
) -> None:
    disk = SickDisk()
    async with opened(disk=disk) as store:
        await store.keep(b"a" * 50)
        size = store.store._log.log_bytes
        disk.room = size + room
        write_all(store, b"b" * 50, b"c" * 50)
        await store.heard()
        assert os.stat(directory / f"counts-{1:020d}.log").st_size == size
        disk.room = 2**62
        await store.keep(b"d")

    refused = store.events[1:3]
    assert [(event.token, event.definite) for event in refused] == [(2, True), (3, True)]
    assert "the disk is full" in refused[0].reason
    async with opened() as again:
        assert again.recovered == counts(b"a" * 50, b"d")


LIMITED = """
import asyncio, json, resource, sys
from counter.storage.durable import DurableStorage
from tracker.machine import Persist

async def main(directory):
    events = asyncio.Queue()
    store = DurableStorage(directory, "n1")
    list(store.recover())
    store.start(events.put_nowait)

    async def write(record):
        store.write(Persist(store.token + 1, "counts", record))
        event = await events.get()
        print(json.dumps([type(event).__name__, event.token, getattr(event, "reason", "")]))

    await write(b"before")
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    await write(b"too much" * 1_000)
    await write(b"small enough")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await write(b"after" * 1_000)
    await store.close()

asyncio.run(main(sys.argv[1]))
"""


def results_of_a_limited_child(directory: Path) -> list[Any]:
    child = subprocess.run(
        [sys.executable, "-c", LIMITED, str(directory)], capture_output=True, text=True, timeout=30
    )
    assert child.stderr == ""
    return [json.loads(line) for line in child.stdout.splitlines()]


@pytest.mark.slow
async def test_a_real_limit_on_a_file_is_met_and_passed(opened: Open, directory: Path) -> None:
    results = results_of_a_limited_child(directory)

    assert [result[:2] for result in results] == [
        ["Persisted", 1],
        ["PersistFailed", 2],
        ["Persisted", 3],
        ["Persisted", 4],
    ]
    assert "the limit on the size of a file is reached" in results[1][2]
    async with opened() as store:
        assert store.recovered == counts(b"before", b"small enough", b"after" * 1_000)


@pytest.mark.parametrize("what", ["sync", "write"])
async def test_after_a_failed_sync_nothing_is_believed_or_taken(
    opened: Open, directory: Path, what: str
) -> None:
    disk = SickDisk()
    async with opened(disk=disk) as store:
        await store.keep(b"a")
        setattr(disk, f"{what}_error", errno.EIO)
        write_all(store, b"b", b"c")
        await store.heard()
        setattr(disk, f"{what}_error", 0)
        write_all(store, b"d")
        await store.heard()
        store.store.snapshot([b"all"])
        assert not store.store.wants_snapshot

    lost, also_lost, refused = store.events[1:]
    assert (lost.token, lost.definite) == (2, False)
    assert (also_lost.token, also_lost.definite) == (3, False)
    assert (refused.token, refused.definite) == (4, True)
    assert refused.reason.startswith("an earlier write was lost: ")
    assert "input/output error" in refused.reason
    assert "untrusted" in names(directory)


async def test_what_waited_behind_a_failed_sync_is_certainly_not_written(opened: Open) -> None:
    disk, gated = SickDisk(), GatedDisk()
    both = SimpleNamespace(**{n: getattr(disk, n) for n in dir(disk) if not n.startswith("_")})
    async with opened(disk=both) as store:
        gated.gate.clear()

        def failing_sync(descriptor: int) -> None:
            gated.sync(descriptor)
            raise OSError(errno.EIO, "")

        both.sync = failing_sync
        write_all(store, b"a")
        await asyncio.sleep(0)
        write_all(store, b"b")
        both.sync = failing_sync
        gated.gate.set()

        first, second = await store.heard()

    assert (first.definite, second.definite) == (False, True)
    async with opened() as again:
        assert (COUNTS, b"b") not in again.recovered


async def test_a_segment_that_lost_a_sync_is_copied_before_it_is_used_again(
    opened: Open, directory: Path
) -> None:
    disk = SickDisk()
    async with opened(disk=disk) as store:
        await store.keep(b"a")
        disk.sync_error = errno.EIO
        write_all(store, b"b")
        await store.heard()
    segment = directory / f"counts-{1:020d}.log"
    # A second name holds on to the old file, so that its number is not given to the new one.
    os.link(segment, directory / "old")

    async with opened() as again:
        assert segment.stat().st_ino != (directory / "old").stat().st_ino
        assert again.recovered[0] == (COUNTS, b"a")
        await again.keep(b"c")
    async with opened() as third:
        assert third.recovered == [*again.recovered, (COUNTS, b"c")]
    assert "untrusted" not in names(directory)


class SickAtOpening(Disk):
    """Fails the sync of the log that an opening begins with, once."""

    def __init__(self) -> None:
        self.syncs = 0

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        if self.syncs == 2:  # the first one was that of the identity
            raise OSError(errno.EIO, "")
        super().sync(descriptor)


async def test_a_segment_whose_sync_failed_at_opening_is_copied_at_the_next(
    opened: Open, directory: Path
) -> None:
    async with opened() as store:
        await store.keep(b"a")
    segment = directory / f"counts-{1:020d}.log"
    with pytest.raises(StorageError, match="input/output error"):
        async with opened(disk=SickAtOpening()):
            pass
    before = segment.stat().st_ino
    # Holds on to the old file, so that its number is not given to the new one.
    with segment.open("rb"):
        async with opened() as again:
            assert again.recovered == [(COUNTS, b"a")]
            assert segment.stat().st_ino != before
    assert "untrusted" not in names(directory)


async def test_what_is_written_to_a_log_that_was_deleted_is_not_called_safe(
    opened: Open, directory: Path
) -> None:
    async with opened() as store:
        await store.keep(b"a")
        (directory / f"counts-{1:020d}.log").unlink()
        write_all(store, b"b")
        await store.heard()
        write_all(store, b"c")
        lost, refused = (await store.heard())[1:]

    assert "was deleted while this node used it" in lost.reason
    assert (lost.definite, refused.definite) == (False, True)


async def test_a_backup_by_links_gets_nothing_of_what_is_written_later(
    opened: Open, directory: Path, tmp_path: Path
) -> None:
    async with opened() as store:
        await store.keep(b"a")
    linked = tmp_path / "backup"
    linked.mkdir()
    for name in names(directory):
        os.link(directory / name, linked / name)

    async with opened() as store:
        await store.keep(b"b")
    async with opened(linked) as backup:
        assert backup.recovered == counts(b"a")


async def test_a_members_file_that_cannot_be_written_fails_alone(
    opened: Open, directory: Path
) -> None:
    async with opened() as store:
        (directory / "members").mkdir()
        write_all(store, b"a")
        write_all(store, b"m1", b"m2", kind=MEMBERS)
        write_all(store, b"b")
        events = await store.heard()
        (directory / "members").rmdir()

    assert [(type(event), event.token) for event in events] == [
        (Persisted, 1),
        (PersistFailed, 2),
        (PersistFailed, 3),
        (Persisted, 4),
    ]
    assert "it is a directory" in events[1].reason


async def test_members_in_one_commit_are_written_once(opened: Open, directory: Path) -> None:
    disk = SickDisk()
    async with opened(disk=disk) as store:
        disk.writes = 0
        write_all(store, *(b"m%d" % number for number in range(20)), kind=MEMBERS)
        assert await store.heard() == [Persisted(20)]

    assert disk.writes == 1
    async with opened() as again:
        assert again.recovered == [(MEMBERS, b"m19")]


# -- snapshots ------------------------------------------------------------------------------


async def test_a_snapshot_replaces_the_log(opened: Open, directory: Path) -> None:
    async with opened() as store:
        await store.keep(b"a", b"b")
        store.store.snapshot([b"a+b"])
        await store.keep(b"c")

    assert [name for name in names(directory) if name[:5] in ("count", "state")] == [
        f"counts-{3:020d}.log",
        f"state-{2:020d}.snap",
    ]
    async with opened() as again:
        assert again.recovered == [(STATE, b"a+b"), (COUNTS, b"c")]
        assert again.store.token == 3


async def test_a_snapshot_holds_what_is_still_queued(opened: Open) -> None:
    async with opened() as store:
        write_all(store, b"a", b"b")
        store.store.snapshot([b"a+b"])
        write_all(store, b"c")

    async with opened() as again:
        assert again.recovered == [(STATE, b"a+b"), (COUNTS, b"c")]


async def test_a_snapshot_takes_its_records_at_once(opened: Open) -> None:
    state = [b"a"]
    async with opened() as store:
        await store.keep(b"a")
        store.store.snapshot(state)
        state.append(b"later")

    async with opened() as again:
        assert again.recovered == [(STATE, b"a")]


async def test_a_snapshot_that_holds_a_refused_record_is_not_made(opened: Open) -> None:
    disk = SickDisk()
    async with opened(disk=disk) as store:
        await store.keep(b"a")
        disk.room = store.store._log.log_bytes
        write_all(store, b"b")
        store.store.snapshot([b"a+b"])
        await store.heard()
        await store.until_idle()
        assert [(end.error, end.is_begun) for end in store.ends] == [(None, False)]
        disk.room = 2**62

    async with opened() as again:
        assert again.recovered == counts(b"a")


async def test_a_second_snapshot_waits_for_nobody_and_is_not_made(opened: Open) -> None:
    async with opened() as store:
        await store.keep(b"a")
        store.store.snapshot([b"first"])
        store.store.snapshot([b"second"])

    async with opened() as again:
        assert again.recovered == [(STATE, b"first")]


async def test_snapshots_without_writes_between_them_pile_up_nothing(
    opened: Open, directory: Path
) -> None:
    async with opened() as store:
        await store.keep(b"a")
        for number in range(5):
            store.store.snapshot([b"%d" % number])
            await store.until_idle()
    before = names(directory)

    async with opened() as again:
        assert again.recovered == [(STATE, b"4")]
        again.store.snapshot([])
        await again.until_idle()
    async with opened() as third:
        assert third.recovered == []
    assert names(directory) == before


async def test_a_snapshot_of_many_steps_lets_commits_through(opened: Open) -> None:
    state = [bytes([number]) * 400_000 for number in range(12)]
    async with opened() as store:
        await store.keep(b"a")
        store.store.snapshot(state)
        await store.keep(b"b")
        assert store.store._overhaul.is_under_way
        await store.keep(b"c")

    async with opened() as again:
        assert again.recovered == [*((STATE, part) for part in state), *counts(b"b", b"c")]


@pytest.mark.parametrize("room", [10, 60, 100])
async def test_a_snapshot_that_finds_no_room_leaves_the_log(
    opened: Open, directory: Path, room: int
) -> None:
    disk = SickDisk()
    async with opened(disk=disk) as store:
        await store.keep(b"a")
        disk.room = room
        store.store.snapshot([b"x" * 200])
        await store.until_idle()
        assert "the disk is full" in str(store.ends[-1].error)
        disk.room = 2**62
        await store.keep(b"b")

    assert not [name for name in names(directory) if name.startswith("state")]
    async with opened() as again:
        assert again.recovered == counts(b"a", b"b")
        again.store.snapshot([b"a+b"])
    async with opened() as third:
        assert third.recovered == [(STATE, b"a+b")]
    assert len([name for name in names(directory) if name.startswith("counts")]) == 1


async def test_a_snapshot_is_wanted_when_the_log_is_long_and_not_after_it(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SNAPSHOT_AFTER_BYTES", 1_000)
    async with opened() as store:
        await store.keep(b"x" * 800)
        assert not store.store.wants_snapshot
        await store.keep(b"x" * 200)
        assert store.store.wants_snapshot
        store.store.snapshot([b"x" * 500])
        assert not store.store.wants_snapshot
        await store.until_idle()
        await store.keep(b"x" * 1_500)
        assert not store.store.wants_snapshot, "four times the snapshot is more than 1500"
        await store.keep(b"x" * 1_500)
        assert store.store.wants_snapshot

    async with opened() as again:
        assert again.store.wants_snapshot, "what earlier lives left counts too"


async def test_a_failed_snapshot_is_not_wanted_again_at_once(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SNAPSHOT_AFTER_BYTES", 100)
    monkeypatch.setattr(log, "SNAPSHOT_RETRY_BYTES", 300)
    disk = SickDisk()
    async with opened(disk=disk) as store:
        await store.keep(b"x" * 200)
        disk.room = 10
        store.store.snapshot([b"x"])
        await store.until_idle()
        disk.room = 2**62

        assert not store.store.wants_snapshot
        await store.keep(b"x" * 300)
        assert store.store.wants_snapshot


async def test_many_lives_leave_no_more_files_than_one(opened: Open, directory: Path) -> None:
    async with opened() as store:
        await store.keep(b"a")
        store.store.snapshot([b"a"])
    before = names(directory)

    for _ in range(10):
        async with opened() as store:
            await store.keep(b"a")

    assert names(directory) == before
