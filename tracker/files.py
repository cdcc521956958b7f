"""Small checked files, and the few disk calls whose failure somebody has to answer for.

A small file is a header that never changes shape (magic, format version, checksum) and a
body. The rule: it is replaced whole or not at all, and what is read back is what was
written, or an error that names the file.
"""

import contextlib
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zlib import crc32

from tracker.errors import DamagedError, StorageError, StorageLostError
from tracker.text import printable

MAGIC_BYTES: Final = 8
BODY_BYTES_MAX: Final = 256 * 2**20
TEMPORARY: Final = ".tmp"

_VERSION = struct.Struct(">H")
_CHECKSUM = struct.Struct(">I")
_HEADER_BYTES = MAGIC_BYTES + _VERSION.size + _CHECKSUM.size

_REASONS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOENT: "there is no such file or directory",
    errno.EISDIR: "it is a directory",
    errno.ENOTDIR: "a part of the path is not a directory",
    errno.EEXIST: "something else of that name is there",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the limit on the size of a file is reached",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk reports an input/output error",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "the path is a circle of links",
}


class Disk:
    """The calls that fail on a full or a dying disk. A test hands in one that does fail."""

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        """Write some of `data` at `offset`; return how much."""
        return os.pwrite(descriptor, data, offset)

    def sync(self, descriptor: int) -> None:
        """Return when everything written to this file is on the disk."""
        # Where there is no fdatasync (macOS), fsync does the same and a little more.
        getattr(os, "fdatasync", os.fsync)(descriptor)

    def truncate(self, descriptor: int, length: int) -> None:
        """Cut the file to `length`."""
        os.ftruncate(descriptor, length)

    def sync_directory(self, directory: Path) -> None:
        """Return when the names in this directory are on the disk."""
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


DISK: Final = Disk()

_CALLS: Final = Disk.write, Disk.sync


def is_plain(disk: Disk) -> bool:
    """Whether a disk writes and syncs by the calls of the system, which another may then make."""
    return tuple([getattr(call, "__func__", None) for call in (disk.write, disk.sync)]) == _CALLS


def shown_path(path: Path) -> str:
    """Return a path as it may be printed."""
    return printable(str(path), 4_096)


def reason_of(error: OSError) -> str:
    """Return what the operating system said, in plain words."""
    known = _REASONS.get(error.errno or 0)
    return known or printable(error.strerror or str(error) or type(error).__name__)


def cause_of(error: StorageError) -> str:
    """Return why, without what it befell: the same for all files that one disk refuses."""
    origin = error.__cause__
    return reason_of(origin) if isinstance(origin, OSError) else str(error)


@contextlib.contextmanager
def translated(deed: str, path: Path) -> Iterator[None]:
    """Turn an OSError inside into a StorageError: "cannot `deed` `path`: why"."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot {deed} {shown_path(path)}: {reason_of(error)}") from error


def write_all(disk: Disk, descriptor: int, data: bytes, offset: int) -> None:
    """Write the whole of `data` at `offset`; raises OSError after writing a part of it."""
    rest = memoryview(data)
    while rest:
        count = disk.write(descriptor, rest, offset)
        rest, offset = rest[count:], offset + count


def write_atomically(
    path: Path, body: bytes, magic: bytes, *, version: int = 1, disk: Disk = DISK
) -> None:
    """Replace the file `path`, durably. `magic` is 8 bytes, `version` the format of the body.

    Raises StorageError with the old file untouched, or StorageLostError when the new one is
    there but may not survive a power cut.
    """
    if len(magic) != MAGIC_BYTES:
        raise ValueError(f"a magic has {MAGIC_BYTES} bytes")
    if len(body) > BODY_BYTES_MAX:
        raise StorageError(
            f"cannot write {shown_path(path)}: {len(body)} bytes are more than {BODY_BYTES_MAX}"
        )
    checked = _VERSION.pack(version) + body
    content = magic + checked[: _VERSION.size] + _CHECKSUM.pack(crc32(checked)) + body
    temporary = path.with_name(path.name + TEMPORARY)
    with translated("write", path):
        try:
            _write_new(temporary, content, disk)
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    try:
        disk.sync_directory(path.parent)
    except OSError as error:
        raise StorageLostError(
            f"cannot tell whether {shown_path(path)} is on disk: {reason_of(error)}"
        ) from error


def _write_new(path: Path, content: bytes, disk: Disk) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_all(disk, descriptor, content, 0)
        disk.sync(descriptor)
    finally:
        os.close(descriptor)


def read_checked(path: Path, magic: bytes, *, version: int = 1) -> bytes | None:
    """Return the body of `path`, or None when there is no such file.

    Raises DamagedError when it is not what was written, StorageError when it cannot be read
    or was written by a newer version.
    """
    with translated("read", path):
        try:
            with path.open("rb") as file:
                content = file.read(_HEADER_BYTES + BODY_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
    if content[:MAGIC_BYTES] != magic:
        raise DamagedError(f"{shown_path(path)} is damaged at byte 0: not a file of this kind")
    if len(content) < _HEADER_BYTES:
        raise DamagedError(f"{shown_path(path)} is damaged at byte {len(content)}: it is cut off")
    version_bytes = content[MAGIC_BYTES : MAGIC_BYTES + _VERSION.size]
    expected = _CHECKSUM.unpack_from(content, MAGIC_BYTES + _VERSION.size)[0]
    body = content[_HEADER_BYTES:]
    if crc32(body, crc32(version_bytes)) != expected:
        raise DamagedError(
            f"{shown_path(path)} is damaged at byte {_HEADER_BYTES} or after it:"
            " the checksum does not match"
        )
    found = _VERSION.unpack(version_bytes)[0]
    if found > version:
        raise newer_error(path, found, version)
    return body


def newer_error(path: Path, found: int, known: int) -> StorageError:
    """Return the refusal of a file that a newer version of this program wrote."""
    return StorageError(
        f"{shown_path(path)} was written by a newer version (format {found}, this one reads"
        f" up to {known}); upgrade, or use another directory"
    )
