"""Room that is kept for a start, on a disk that has so and so much of it."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from counter.storage.directory import read_owner
from counter.storage.durable import DurableStorage
from counter.storage.reserve import NAME, RESERVE_BYTES
from tracker.errors import StorageError
from tracker.files import Disk

Open = Any


class SmallDisk(Disk):
    """A disk with room for so many bytes, those of all the files in one directory counted."""

    def __init__(self, directory: Path, room: int = 2**40) -> None:
        self.directory, self.room = directory, room

    @property
    def used(self) -> int:
        return sum([path.stat().st_size for path in self.directory.iterdir()])

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        left = self.room - self.used
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(descriptor, data[:left], offset)


async def test_a_full_disk_takes_one_start_after_another_and_says_so(
    opened: Open, directory: Path
) -> None:
    disk = SmallDisk(directory)
    async with opened(disk=disk) as store:
        await store.keep(b"a")
        assert store.store.shortage == ""
    disk.room = disk.used
    epochs = []
    for _ in range(5):
        async with opened(disk=disk) as store:
            assert store.store.shortage == "the disk is full"
            assert [record for _, record in store.recovered] == [b"a"]
            epochs.append(store.store.identity.epoch)
        owner = read_owner(directory)
        assert owner is not None
        assert owner.epoch == epochs[-1]
    assert epochs == [2, 3, 4, 5, 6]

    disk.room = 2**40
    async with opened(disk=disk) as store:
        assert store.store.shortage == ""
        await store.keep(b"b")


@pytest.mark.parametrize("taken", ["nothing is held", "others took it"])
async def test_without_that_room_a_start_on_a_full_disk_is_refused_and_changes_nothing(
    opened: Open, directory: Path, taken: str
) -> None:
    disk = SmallDisk(directory)
    async with opened(disk=disk) as store:
        await store.keep(b"a")
    if taken == "nothing is held":
        (directory / NAME).unlink()
        disk.room = disk.used
    else:
        disk.room = 0
    before = read_owner(directory)

    with pytest.raises(StorageError, match="the disk is full\n  a start has to be written down"):
        DurableStorage(directory, "n1", disk=disk)

    assert read_owner(directory) == before
    async with opened() as store:
        assert [record for _, record in store.recovered] == [b"a"]


async def test_what_there_is_no_room_for_is_held_as_soon_as_there_is(
    opened: Open, directory: Path
) -> None:
    disk = SmallDisk(directory)
    async with opened(disk=disk):
        pass
    (directory / NAME).unlink()
    disk.room = disk.used + RESERVE_BYTES // 2
    async with opened(disk=disk) as store:
        assert store.store.shortage == "the disk is full"
    assert (directory / NAME).stat().st_size < RESERVE_BYTES

    disk.room = 2**40
    async with opened(disk=disk) as store:
        assert store.store.shortage == ""
    assert (directory / NAME).stat().st_size == RESERVE_BYTES


async def test_what_is_no_lack_of_room_is_refused_and_the_room_stays(
    opened: Open, directory: Path
) -> None:
    async with opened() as store:
        await store.keep(b"a")

    class Dying(Disk):
        def write(self, descriptor: int, data: memoryview, offset: int) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(StorageError, match=r"input/output error$"):
        DurableStorage(directory, "n1", disk=Dying())

    assert (directory / NAME).stat().st_size == RESERVE_BYTES
