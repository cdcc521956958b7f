"""A disk that is full at each single step, and a power cut at each: what was acknowledged is there.

`Edge` is a real disk that can be told to be full for some steps: a write, a sync, a truncation, a
file made, a file renamed, a directory synced. At each step it keeps what a power cut would leave,
in the worst ways that a file system may choose:

    forgotten   names as of the last sync of their directory, contents as of the last sync of each
    named       all names have come, of the contents only what was synced
    written     all contents have come, of the names only what was synced
    deleted     forgotten, but for the files that were deleted: those are gone
    noted       forgotten, but for the note of how far the log was safe, which nobody synced
"""

import asyncio
import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from counter.storage import durable, mark, reserve
from counter.storage.base import COUNTS, MEMBERS, STATE
from counter.storage.durable import DurableStorage
from tracker.errors import StorageError
from tracker.files import Disk
from tracker.machine import Persist, Persisted, PersistFailed

WAYS = ("forgotten", "named", "written", "deleted", "noted")
RECORD = b"%d:" + b"x" * 40
STEPS_MAX = 120
NEVER = 10**9

Files = dict[str, bytes]


@dataclass(frozen=True)
class Image:
    """What a power cut leaves, and what had been told by then."""

    step: int
    what: str
    files: dict[str, Files]
    acknowledged: frozenset[int]
    refused: frozenset[int]
    epoch: int


class Quick(Disk):
    """A disk on which nothing is waited for: what a power cut leaves is reckoned here."""

    def sync(self, descriptor: int) -> None:
        pass

    def sync_directory(self, directory: Path) -> None:
        pass


class Told:
    """What a store has said so far, over all of its lives."""

    def __init__(self) -> None:
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self.epoch = 0


class Edge(Quick):
    """A directory on a disk without room from one step to another; see above."""

    def __init__(self, directory: Path, told: Told, full: range = range(0)) -> None:
        self.directory, self.told, self.full = directory, told, full
        self.steps = 0
        self.images: list[Image] = []
        self.is_watched = True
        self._held: list[int] = []
        self._synced: dict[int, bytes] = {}
        self._names: dict[str, int] = {}
        if directory.exists():
            for path in directory.iterdir():
                self._synced[self._hold(path)] = path.read_bytes()
            self._names = {path.name: path.stat().st_ino for path in directory.iterdir()}

    def step(self, what: str) -> None:
        if not self.is_watched:
            return
        self.steps += 1
        told = frozenset(self.told.acknowledged), frozenset(self.told.refused)
        self.images.append(Image(self.steps, what, self._left(), *told, self.told.epoch))
        if self.steps in self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        self.step("write")
        return super().write(descriptor, data, offset)

    def sync(self, descriptor: int) -> None:
        self.step("sync")
        # A number that is held is no other file's later.
        self._held.append(os.dup(descriptor))
        inode = os.fstat(descriptor).st_ino
        for path in self.directory.iterdir():
            if path.stat().st_ino == inode:
                self._synced[inode] = path.read_bytes()

    def truncate(self, descriptor: int, length: int) -> None:
        self.step("truncate")
        super().truncate(descriptor, length)

    def sync_directory(self, directory: Path) -> None:
        self.step("sync directory")
        if directory == self.directory:
            self._names = {path.name: self._hold(path) for path in directory.iterdir()}

    def close(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)

    def _hold(self, path: Path) -> int:
        self._held.append(os.open(path, os.O_RDONLY))
        return path.stat().st_ino

    def _left(self) -> dict[str, Files]:
        present = {path.name: path for path in self.directory.iterdir()}
        inodes = {name: path.stat().st_ino for name, path in present.items()}
        contents = {inodes[name]: path.read_bytes() for name, path in present.items()}
        synced = {name: self._synced.get(inode, b"") for name, inode in self._names.items()}
        noted = {mark.NAME: contents[inodes[mark.NAME]]} if mark.NAME in inodes else {}
        return {
            "forgotten": synced,
            "named": {name: self._synced.get(inode, b"") for name, inode in inodes.items()},
            "written": {
                n: contents.get(i, self._synced.get(i, b"")) for n, i in self._names.items()
            },
            "deleted": {name: content for name, content in synced.items() if name in present},
            "noted": synced | noted,
        }


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Let the disk that was made last hear of files made and renamed, too."""
    disks: list[Edge] = []
    plain_open, plain_replace = os.open, os.replace

    def opening(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_CREAT and disks and not os.path.exists(path):
            disks[-1].step(f"make {os.path.basename(path)}")
        return plain_open(path, flags, *rest, **more)

    def replacing(source: Any, target: Any, **more: Any) -> None:
        if disks:
            disks[-1].step(f"rename to {os.path.basename(target)}")
        plain_replace(source, target, **more)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "replace", replacing)
    monkeypatch.setattr(durable, "MARK_S", 0.0)
    monkeypatch.setattr(reserve, "RESERVE_BYTES", 512)

    def made(*arguments: Any) -> Edge:
        disks.append(Edge(*arguments))
        return disks[-1]

    yield made
    for disk in disks:
        disk.close()


async def life(disk: Edge, records: int) -> None:
    """Open the directory, count, take a snapshot half way, and close; go on whatever is refused."""
    told = disk.told
    try:
        store = DurableStorage(disk.directory, "n1", disk=disk)
    except StorageError:
        return
    told.epoch = store.identity.epoch
    try:
        kept = [record for kind, record in store.recover() if kind != MEMBERS]
    except StorageError:
        await store.close()
        return
    events: asyncio.Queue[Persisted | PersistFailed] = asyncio.Queue()
    store.start(events.put_nowait)
    for number in range(records):
        token = store.token + 1
        if number == records // 2:
            store.write(Persist(token, MEMBERS, b"members"))
        else:
            record = RECORD % token
            # The next life gives a number anew that was refused.
            told.refused.discard(token)
            store.write(Persist(token, COUNTS, record))
        event = await events.get()
        if number == records // 2:
            store.snapshot(kept)
            await asyncio.wait_for(store._idle.wait(), 10)
        elif isinstance(event, Persisted):
            told.acknowledged.add(token)
            kept.append(record)
        elif event.definite:
            told.refused.add(token)
    await store.close(noted=True)


def played(watch: Any, directory: Path, full: range = range(0)) -> Edge:
    """Return the disk of a second life, with every power cut that there might have been in it."""
    told = Told()
    first = watch(directory, told)
    asyncio.run(life(first, 4))
    first.is_watched = False
    second: Edge = watch(directory, told, full)
    asyncio.run(life(second, 6))
    second.full = range(0)
    # There is room again: the next life counts on.
    before = len(told.acknowledged)
    asyncio.run(life(second, 2))
    assert len(told.acknowledged) == before + 1
    second.is_watched = False
    return second


def found(image: Image, way: str, place: Path) -> str:
    """Return what is wrong with what is left of a directory after a power cut; nothing, if well."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, content in image.files[way].items():
        (place / name).write_bytes(content)
    try:
        store = DurableStorage(place, "n1", disk=Quick())
    except StorageError as error:
        return f"does not open: {error}"
    try:
        rows = [record for kind, record in store.recover() if kind in (COUNTS, STATE)]
    except StorageError as error:
        return f"is not read: {error}"
    finally:
        asyncio.run(store.close())
    tokens = [int(row.split(b":")[0]) for row in rows]
    if tokens != sorted(set(tokens)):
        return f"not each once, in order: {tokens}"
    if not image.acknowledged <= set(tokens):
        return f"lost: {sorted(image.acknowledged - set(tokens))}"
    if image.refused & set(tokens):
        return f"refused, and counted: {sorted(image.refused & set(tokens))}"
    if store.identity.epoch <= image.epoch:
        return f"start {store.identity.epoch} is told twice"
    return "is overtaken" if store.is_overtaken else ""


def faults(watch: Any, tmp_path: Path, fulls: list[range], share: float) -> list[str]:
    """Return what is wrong after a share of all power cuts, in all these worlds."""
    dice, wrong, place = Random(4711), [], tmp_path / "after"
    for index, full in enumerate(fulls):
        disk = played(watch, tmp_path / f"world{index}", full)
        cuts = [(image, way) for image in disk.images for way in WAYS if dice.random() < share]
        wrong += [
            f"full {full}, step {image.step} ({image.what}), {way}: {error}"
            for image, way in cuts
            if (error := found(image, way, place))
        ]
    return wrong


def test_a_power_cut_at_each_step_of_a_life_loses_nothing_that_was_acknowledged(
    watch: Any, tmp_path: Path
) -> None:
    assert faults(watch, tmp_path, [range(0)], 1.0) == []
    disk = played(watch, tmp_path / "again")
    seen = {image.what for image in disk.images}
    assert {"write", "sync", "truncate", "sync directory", "rename to identity"} <= seen
    assert "rename to members" in seen
    assert any(what.startswith("rename to state-") for what in seen)
    assert any(image.files["noted"] != image.files["forgotten"] for image in disk.images)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 3, NEVER], ids=["one step", "three steps", "for good"])
def test_a_disk_that_is_full_from_any_step_on_loses_nothing_and_counts_again_with_room(
    watch: Any, tmp_path: Path, width: int
) -> None:
    steps = played(watch, tmp_path / "plain").steps
    fulls = [range(first, first + width) for first in range(1, steps + 1)]

    assert 30 < steps < STEPS_MAX
    assert faults(watch, tmp_path, fulls, 0.02) == []


@pytest.mark.soak
@pytest.mark.parametrize("width", [1, 2, 3, 5, NEVER])
def test_a_full_disk_and_a_power_cut_at_every_pair_of_steps_lose_nothing(
    watch: Any, tmp_path: Path, width: int
) -> None:
    steps = played(watch, tmp_path / "plain").steps
    fulls = [range(first, first + width) for first in range(1, steps + 1)]

    assert faults(watch, tmp_path, fulls, 1.0) == []
