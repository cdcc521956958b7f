"""The log of a durable store: segments that follow each other, and one snapshot behind them.

    state-<T>.snap     everything up to token T
    counts-<F>.log     frames with tokens from F on; the first segment needed is the one that
                       the snapshot names (without a snapshot: the one of token 1)

What happens          what is on disk, at any point of it
append                the frame is whole and synced, or it is cut away when the log is opened
append refused        the file is cut back to what it was; the next append goes to its place
append not synced     the segment is not trusted: nothing is appended, and the next opening
                      copies what can be read of it into a new file
snapshot              a new segment first, then the snapshot under a temporary name; once it
                      has its own name it counts, and all that it covers is deleted
new segment refused   its file is removed; one that comes back with a power cut holds nothing
                      but a header at most, and is passed over

A segment says which record came before it. So a bad end of the one before is damage only if
that record is missing; else it is of a write that was refused, and whose cut was not synced.

The rule: a file is read only if the chain from the snapshot on says that it must be there, and
a file the chain says must be there is never done without. No threads, no event loop.
"""

import contextlib
import errno
import os
import re
from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

from counter.storage.base import COUNTS, STATE, Cut
from counter.storage.frames import (
    HEADER_BYTES,
    SEGMENT_MAGIC,
    SNAPSHOT_MAGIC,
    Header,
    Record,
    damaged,
    frame_bytes,
    later_frame,
    looks_torn,
    read_frames,
    read_header,
    snapshot_frames,
)
from counter.storage.mark import Known
from tracker.errors import DamagedError, StorageError, StorageLostError
from tracker.files import TEMPORARY, Disk, reason_of, shown_path, translated, write_all

FIRST_TOKEN: Final = 1
SNAPSHOT_AFTER_BYTES: Final = 8 * 2**20
SNAPSHOT_RATIO: Final = 4
SNAPSHOT_RETRY_BYTES: Final = 2**20

_SEGMENT_NAME = re.compile(r"counts-([0-9]{20})\.log")
_SNAPSHOT_NAME = re.compile(r"state-([0-9]{20})\.snap")
_UNTRUSTED_NAME = "untrusted"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


class Log:
    """The segments and the snapshot in one directory. Used by one thread at a time."""

    def __init__(self, directory: Path, store: bytes, disk: Disk) -> None:
        """Look at nothing yet; `create` or `recover` comes next."""
        self.token = self.covered = 0
        self.older_bytes = 0
        self.snapshot_bytes = 0
        self._directory = directory
        self._store = store
        self._disk = disk
        self._logged = 0
        self._first = FIRST_TOKEN
        self._size = 0
        self._descriptor = -1
        self._snapshot_floor = SNAPSHOT_AFTER_BYTES
        # A segment as long as this ends with the next snapshot.
        self._segment_floor = HEADER_BYTES
        self.cut: Cut | None = None
        self.is_overtaken = False

    @property
    def log_bytes(self) -> int:
        """The bytes a recovery would have to replay behind the snapshot."""
        return self.older_bytes + self._size

    @property
    def wants_snapshot(self) -> bool:
        """Whether replaying the log costs so much that a snapshot pays."""
        return self.log_bytes > max(self._snapshot_floor, SNAPSHOT_RATIO * self.snapshot_bytes)

    @property
    def is_started(self) -> bool:
        """Whether the directory holds anything of a log that a `create` would destroy."""
        segments, snapshots = self._listed(_SEGMENT_NAME), self._listed(_SNAPSHOT_NAME)
        return bool(snapshots) or any(
            first != FIRST_TOKEN or path.stat().st_size > HEADER_BYTES
            for first, path in segments.items()
        )

    def create(self) -> None:
        """Make the first segment of a new store. Raises StorageError."""
        self._new_segment(FIRST_TOKEN)
        self.close()

    def close(self) -> None:
        """Close the file; what was appended is on disk already."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # -- recovery ---------------------------------------------------------------------------

    def recover(self, reach: int = 0, known: Known | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield the snapshot's records, then the log's; afterwards the log takes appends.

        A log that is known to have gone up to token `reach` and ends before it is damaged, also
        where its end looks torn; so is one in which bytes that are `known` to have been on disk
        are there and bad. Raises DamagedError, naming file and offset, or StorageError.
        """
        snapshots = self._listed(_SNAPSHOT_NAME)
        if snapshots:
            with translated("read", snapshots[max(snapshots)]):
                yield from self._read_snapshot(snapshots[max(snapshots)])
        segments = self._listed(_SEGMENT_NAME)
        chain = [first for first in sorted(segments) if first >= self._first]
        if self._first not in chain:
            why = "the snapshot is newer than its log" if snapshots else "the log has no beginning"
            raise DamagedError(f"{shown_path(self._segment_path(self._first))} is missing: {why}")
        links = {first: self._link_of(segments[first], first) for first in chain[1:]}
        blank = [first for first in links if segments[first].stat().st_size <= HEADER_BYTES]
        used = [first for first in chain if first not in blank]
        for first, following in pairwise([*used, chain[-1] + 1]):
            self.older_bytes += self._size
            behind = max([links[other] for other in links if first < other <= following], default=0)
            with translated("read", segments[first]):
                yield from self._read_segment(segments[first], first, behind, first == used[-1])
        for first in blank:
            if links[first] > self._logged:
                raise damaged(segments[first], 0, self._gap(links[first]))
        self._check_reach(reach)
        self._check_known(known)
        with translated("open", self._segment_path(self._first)):
            self._open_last()
        for first in blank:
            # Nothing was ever appended to it: the one before it goes on.
            with contextlib.suppress(OSError):
                segments[first].unlink()
        self._delete_covered(chain[0], max(snapshots, default=0), is_named=False)

    def _read_snapshot(self, path: Path) -> Iterator[tuple[str, bytes]]:
        with path.open("rb") as file:
            header = read_header(file, path, SNAPSHOT_MAGIC, self._store)
            end, count, is_whole = HEADER_BYTES, 0, False
            for frame in read_frames(file, path):
                if is_whole:
                    break
                end, is_whole = frame.end, not frame.records and frame.token == count
                count += len(frame.records)
                for _, payload in frame.records:
                    yield STATE, payload
        size = path.stat().st_size
        if not is_whole or size != end:
            raise damaged(path, end, "the snapshot does not go on as it was written")
        self.token = self._logged = self.covered = header.token
        self._first, self.snapshot_bytes = header.link, size

    def _link_of(self, path: Path, first: int) -> int:
        """Return the last record before a segment, 0 where it was made but never synced."""
        with translated("read", path), path.open("rb") as file:
            if _is_stillborn(path):
                return 0
            header = read_header(file, path, SEGMENT_MAGIC, self._store)
        if header.token != first:
            raise damaged(path, 0, f"it was written as the segment of token {header.token}")
        return header.link

    def _read_segment(
        self, path: Path, first: int, behind: int, is_last: bool
    ) -> Iterator[tuple[str, bytes]]:
        is_needed = first == self._first
        covered = self.token if is_needed else 0
        with path.open("rb") as file:
            header = read_header(file, path, SEGMENT_MAGIC, self._store)
            self._check_link(header, path, first, is_needed=is_needed)
            end = HEADER_BYTES
            for frame in read_frames(file, path):
                for token, payload in frame.records:
                    if token <= covered:
                        continue
                    if token <= self._logged:
                        raise damaged(path, end, f"record {token} stands behind {self._logged}")
                    self._logged = self.token = token
                    yield COUNTS, payload
                end = frame.end
            is_cut = self._is_torn(file, path, end, behind)
        if is_cut and is_last:
            self.cut = Cut(str(path), end, path.stat().st_size - end, _look_of(path, end))
        self._first, self._size = first, end

    def _check_link(self, header: Header, path: Path, first: int, *, is_needed: bool) -> None:
        if header.token != first:
            raise damaged(path, 0, f"it was written as the segment of token {header.token}")
        follows = header.link <= self._logged if is_needed else header.link == self._logged
        if not follows:
            raise damaged(path, 0, self._gap(header.link))

    def _is_torn(self, file: BinaryIO, path: Path, end: int, behind: int) -> bool:
        """Whether something stands behind the last frame that no acknowledgement can be of.

        `behind` is the last record before what follows. Raises DamagedError for any other.
        """
        file.seek(end)
        rest = file.read()
        if not rest:
            return False
        if behind > self._logged:
            raise damaged(path, end, "a record is bad, and another segment follows")
        later = later_frame(rest, self._logged)
        if later is not None:
            raise damaged(path, end, f"a record is bad, and good ones follow at {end + later}")
        return True

    def _gap(self, link: int) -> str:
        return (
            f"it follows record {link}, but the record before it is {self._logged};"
            " a segment is missing or was cut"
        )

    def _check_reach(self, reach: int) -> None:
        if self.token < reach:
            raise damaged(
                self._segment_path(self._first),
                self._size,
                f"it ends with record {self.token}, but went up to {reach}"
                " when this node was last stopped",
            )

    def _check_known(self, known: Known | None) -> None:
        """Refuse what is damaged for certain; a log that is shorter than it was is overtaken.

        That is a copy made while the node ran, or of a disk that forgot what it had synced.
        """
        if known is None or known.token <= self.token:
            return
        path = self._segment_path(known.first)
        if known.first != self._first:
            raise DamagedError(
                f"{shown_path(path)} is missing: the log was on disk up to record {known.token}"
            )
        with translated("read", path):
            self.is_overtaken = path.stat().st_size < known.end
        if not self.is_overtaken:
            raise damaged(
                path,
                self._size,
                f"a record is bad that was on disk: it went up to record {known.token},"
                f" which ended at byte {known.end}",
            )

    def _open_last(self) -> None:
        path, mark = self._segment_path(self._first), self._directory / _UNTRUSTED_NAME
        # With a second name, of a backup by links, what is appended would stand in both.
        if mark.exists() or path.stat().st_nlink > 1:
            self._rewrite(path)
        self.close()
        self._descriptor = os.open(path, os.O_RDWR)
        try:
            self._disk.truncate(self._descriptor, self._size)
            # What was read may still be in memory only, of a process that was killed.
            self._disk.sync(self._descriptor)
        except OSError:
            # The kernel tells a lost page once: the next opening would hear that all is well.
            mark.touch()
            raise
        mark.unlink(missing_ok=True)

    def _rewrite(self, path: Path) -> None:
        """Copy a segment; one whose sync failed the kernel may think clean, and forget."""
        content = path.read_bytes()[: self._size]
        temporary = path.with_name(path.name + TEMPORARY)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            write_all(self._disk, descriptor, content, 0)
            self._disk.sync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        self._disk.sync_directory(self._directory)

    # -- writing ----------------------------------------------------------------------------

    def append(self, records: Sequence[Record]) -> None:
        """Write the records and return when they are on disk.

        Raises StorageError when there was no room and the log is as it was before, and
        StorageLostError when nobody can tell; after that nothing may be appended.
        """
        self.append_frame(frame_bytes(records, records[-1][0]), records[-1][0])

    def append_frame(self, frame: bytes, token: int) -> None:
        """Do the same with a frame that was made elsewhere, and its last token."""
        write_error = sync_error = None
        try:
            write_all(self._disk, self._descriptor, frame, self._size)
        except OSError as error:
            write_error = error
        else:
            try:
                self._disk.sync(self._descriptor)
            except OSError as error:
                sync_error = error
        self.appended(len(frame), token, write_error, sync_error)

    @property
    def descriptor(self) -> int:
        """The file that the next frame goes to, for whoever writes it."""
        return self._descriptor

    @property
    def known(self) -> Known:
        """How far the log is on disk."""
        return Known(self.token, self._first, self._size)

    @property
    def end(self) -> int:
        """Where in that file the next frame goes."""
        return self._size

    def appended(
        self, size: int, token: int, write_error: OSError | None, sync_error: OSError | None
    ) -> None:
        """Take what the disk said of a frame of `size` bytes: how its write ended, and its sync.

        Raises as `append` does. Without an error it waits for no disk.
        """
        if write_error is not None:
            path = self._segment_path(self._first)
            self._cut_back(path, write_error)
            text = f"cannot write {shown_path(path)}: {reason_of(write_error)}"
            raise StorageError(text) from write_error
        if sync_error is not None:
            raise self._lost(self._segment_path(self._first), sync_error) from sync_error
        if not os.fstat(self._descriptor).st_nlink:
            path = self._segment_path(self._first)
            raise StorageLostError(
                f"{shown_path(path)} was deleted while this node used it; nothing more is written"
                " until the node is restarted"
            )
        self._size += size
        self._logged = self.token = token

    def _cut_back(self, path: Path, error: OSError) -> None:
        if error.errno not in _NO_ROOM:
            raise self._lost(path, error) from error
        try:
            self._disk.truncate(self._descriptor, self._size)
        except OSError as second:
            raise self._lost(path, second) from second

    def _lost(self, path: Path, error: OSError) -> StorageLostError:
        # Without this mark the next opening would believe what the page cache says.
        with contextlib.suppress(OSError):
            (self._directory / _UNTRUSTED_NAME).touch()
        return StorageLostError(
            f"cannot tell what of the last write to {shown_path(path)} is on disk:"
            f" {reason_of(error)}; nothing more is written until the node is restarted"
        )

    def _new_segment(self, first: int) -> None:
        """Begin the segment `first`; the log stays as it was when that fails."""
        path = self._segment_path(first)
        header = Header(SEGMENT_MAGIC, self._store, first, self._logged)
        with translated("make", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                write_all(self._disk, descriptor, header.to_bytes(), 0)
                self._disk.sync(descriptor)
                self._disk.sync_directory(self._directory)
            except OSError:
                os.close(descriptor)
                with contextlib.suppress(OSError):
                    path.unlink()
                raise
        self.close()
        self._descriptor = descriptor
        self._first, self._size = first, HEADER_BYTES

    # -- snapshots --------------------------------------------------------------------------

    def snapshot(self, token: int, state: Sequence[bytes]) -> Generator[None, None, None]:
        """Replace the log up to `token` by `state`: one step of about 1 MiB for each item.

        Appends may come between two steps. Raises StorageError, and the log stays.
        """
        path = self._directory / f"state-{token:020d}.snap"
        temporary = path.with_name(path.name + TEMPORARY)
        self.postpone_snapshot()
        # As long as snapshots fail, tries must not leave a segment each: none is deleted.
        floor, self._segment_floor = self._segment_floor, SNAPSHOT_RETRY_BYTES
        if self._size > floor:
            older_bytes = self.log_bytes
            self._new_segment(token + 1)
            self.older_bytes = older_bytes
        following = self._first
        header = Header(SNAPSHOT_MAGIC, self._store, token, following)
        with translated("write", path):
            try:
                yield from self._write_steps(temporary, header.to_bytes(), state)
                snapshot_bytes = temporary.stat().st_size
                temporary.replace(path)
                self._disk.sync_directory(self._directory)
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
        self.older_bytes, self.snapshot_bytes = 0, snapshot_bytes
        self._snapshot_floor, self._segment_floor = SNAPSHOT_AFTER_BYTES, HEADER_BYTES
        self._delete_covered(following, token)

    def postpone_snapshot(self) -> None:
        """Want none before the log has grown by 1 MiB, or a full disk is asked without end."""
        self._snapshot_floor = max(SNAPSHOT_AFTER_BYTES, self.log_bytes + SNAPSHOT_RETRY_BYTES)

    def _write_steps(self, path: Path, header: bytes, state: Sequence[bytes]) -> Iterator[None]:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            content, size = header, 0
            for frame in snapshot_frames(state):
                content += frame
                write_all(self._disk, descriptor, content, size)
                # A little at a time, or the last sync holds up every commit behind it.
                self._disk.sync(descriptor)
                size, content = size + len(content), b""
                yield
        finally:
            os.close(descriptor)

    def _delete_covered(self, first: int, token: int, *, is_named: bool = True) -> None:
        """Delete the segments before `first` and the snapshots before `token`.

        `is_named` when it is certain that what covers them has its name on the disk.
        """
        segments, snapshots = self._listed(_SEGMENT_NAME), self._listed(_SNAPSHOT_NAME)
        covered = [path for own, path in segments.items() if own < first]
        covered += [path for own, path in snapshots.items() if own < token]
        # A file that stays is harmless: nothing reads it, and the next opening tries again.
        with contextlib.suppress(OSError):
            if covered and not is_named:
                self._disk.sync_directory(self._directory)
            for path in covered:
                path.unlink()

    def _listed(self, pattern: re.Pattern[str]) -> dict[int, Path]:
        with translated("list", self._directory):
            names = os.listdir(self._directory)
        matches = [match for name in names if (match := pattern.fullmatch(name)) is not None]
        return {int(match[1]): self._directory / match[0] for match in matches}

    def _segment_path(self, first: int) -> Path:
        return self._directory / f"counts-{first:020d}.log"


def remove_strays(directory: Path) -> None:
    """Remove the temporary files that a crash left behind; raises OSError."""
    for name in os.listdir(directory):
        stem = name.removesuffix(TEMPORARY)
        is_ours = stem in ("identity", "members")
        is_ours = is_ours or bool(_SEGMENT_NAME.fullmatch(stem) or _SNAPSHOT_NAME.fullmatch(stem))
        if stem != name and is_ours:
            (directory / name).unlink()


def _is_stillborn(path: Path) -> bool:
    size = path.stat().st_size
    return size < HEADER_BYTES or (size == HEADER_BYTES and not any(path.read_bytes()))


def _look_of(path: Path, end: int) -> str:
    with path.open("rb") as file:
        file.seek(end)
        return "torn" if looks_torn(file.read(), end) else "damaged"
