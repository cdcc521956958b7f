"""Small checked files: whole or not at all, and never believed when they were changed."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.errors import DamagedError, StorageError, StorageLostError
from tracker.files import Disk, read_checked, translated, write_atomically

MAGIC = b"TESTING\n"


class FullDisk(Disk):
    """Takes three bytes, then is full."""

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        if offset >= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(descriptor, data[:3], offset)


class DyingDisk(Disk):
    """Fails to sync files, or directories."""

    def __init__(self, what: str) -> None:
        self.what = what

    def sync(self, descriptor: int) -> None:
        if self.what == "file":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync_directory(self, directory: Path) -> None:
        if self.what == "directory":
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class SlowDisk(Disk):
    """Takes one byte at a time."""

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        return super().write(descriptor, data[:1], offset)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "list"


def test_no_file_is_none(path: Path) -> None:
    assert read_checked(path, MAGIC) is None


def test_what_was_written_is_read(path: Path) -> None:
    write_atomically(path, b"one", MAGIC)
    write_atomically(path, b"two", MAGIC)

    assert read_checked(path, MAGIC) == b"two"


@given(body=st.binary(max_size=300))
def test_any_body_comes_back(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-body"

    write_atomically(path, body, MAGIC)

    assert read_checked(path, MAGIC) == body


def test_a_write_in_many_pieces_is_whole(path: Path) -> None:
    write_atomically(path, b"in many pieces", MAGIC, disk=SlowDisk())

    assert read_checked(path, MAGIC) == b"in many pieces"


def test_nothing_else_is_left_in_the_directory(path: Path) -> None:
    write_atomically(path, b"one", MAGIC)

    assert os.listdir(path.parent) == ["list"]


def test_every_flipped_bit_is_noticed_and_the_file_named(path: Path) -> None:
    write_atomically(path, b"counts", MAGIC)
    whole = path.read_bytes()

    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(DamagedError, match=r"list is damaged at byte \d+"):
            read_checked(path, MAGIC)


def test_a_file_cut_anywhere_or_longer_than_written_is_noticed(path: Path) -> None:
    write_atomically(path, b"counts", MAGIC)
    whole = path.read_bytes()

    for content in [*(whole[:end] for end in range(len(whole))), whole + b"\0"]:
        path.write_bytes(content)
        with pytest.raises(DamagedError, match="list is damaged"):
            read_checked(path, MAGIC)


def test_a_file_of_another_kind_is_refused(path: Path) -> None:
    write_atomically(path, b"counts", b"ANOTHER\n")

    with pytest.raises(DamagedError, match="not a file of this kind"):
        read_checked(path, MAGIC)


def test_a_newer_version_is_refused_and_an_older_one_read(path: Path) -> None:
    write_atomically(path, b"counts", MAGIC, version=2)

    assert read_checked(path, MAGIC, version=3) == b"counts"
    with pytest.raises(StorageError, match="newer version") as caught:
        read_checked(path, MAGIC)
    assert not isinstance(caught.value, DamagedError)


def test_a_directory_in_its_place_is_refused_both_ways(path: Path) -> None:
    path.mkdir()

    with pytest.raises(StorageError, match="it is a directory"):
        read_checked(path, MAGIC)
    with pytest.raises(StorageError, match="it is a directory"):
        write_atomically(path, b"counts", MAGIC)


def test_a_path_through_a_file_is_refused(path: Path) -> None:
    path.write_bytes(b"")

    with pytest.raises(StorageError, match="not a directory"):
        write_atomically(path / "below", b"counts", MAGIC)


@pytest.mark.parametrize("disk", [FullDisk(), DyingDisk("file")], ids=["full", "sync fails"])
def test_a_failed_write_leaves_the_old_file_and_no_other(path: Path, disk: Disk) -> None:
    write_atomically(path, b"old", MAGIC)

    with pytest.raises(StorageError) as caught:
        write_atomically(path, b"new", MAGIC, disk=disk)

    assert caught.value.definite
    assert read_checked(path, MAGIC) == b"old"
    assert os.listdir(path.parent) == ["list"]


def test_a_directory_that_cannot_be_synced_leaves_the_outcome_open(path: Path) -> None:
    with pytest.raises(StorageLostError, match="input/output error") as caught:
        write_atomically(path, b"new", MAGIC, disk=DyingDisk("directory"))

    assert not caught.value.definite


def test_an_escape_in_a_path_does_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31mb"
    path.write_bytes(b"?")

    with pytest.raises(DamagedError, match=r"a\\x1b\[31mb is damaged"):
        read_checked(path, MAGIC)


def test_a_reason_the_system_gives_in_other_words_is_passed_on(path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"cannot find .*list: Too many open files"),
        translated("find", path),
    ):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
