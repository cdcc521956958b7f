"""Room that is kept for a start, so that a node whose disk is full can be started again.

A start is written down before anything else, since two lives may never share a number
(docs/decisions/0002). On a full disk that takes room which is not there; so some is held by a file
that nobody reads. It is given up for the moment in which `identity` is written, which needs no more
room in the end than the one before, and taken back at once.

The rule: nothing depends on it. Where it cannot be made, or was taken by others meanwhile, a start
on a full disk is refused as it was without it.
"""

import errno
import os
from pathlib import Path
from typing import Final

from tracker.errors import StorageError, StorageLostError
from tracker.files import Disk, reason_of, write_all

NAME: Final = "reserve"
RESERVE_BYTES: Final = 64 * 2**10
"""A few blocks of any file system: one file is written beside its predecessor."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_full(error: StorageError) -> bool:
    """Whether there was no room, and nothing has changed."""
    cause = error.__cause__
    is_definite = not isinstance(error, StorageLostError)
    return is_definite and isinstance(cause, OSError) and cause.errno in _FULL


class Reserve:
    """The file. Used by one thread at a time."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        """Look at nothing yet."""
        self._path = directory / NAME
        self._disk = disk

    def spend(self) -> bool:
        """Give the room up; False where none is held."""
        try:
            held = self._path.stat().st_size
            self._path.unlink()
        except OSError:
            return False
        return held > 0

    def fill(self) -> str:
        """Hold as much room as there is, up to RESERVE_BYTES; returns why it is less."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                held = os.fstat(descriptor).st_size
                if held < RESERVE_BYTES:
                    # Not zeros, of which a file system may keep nothing but their number.
                    write_all(self._disk, descriptor, os.urandom(RESERVE_BYTES - held), held)
                    self._disk.sync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            return reason_of(error)
        return ""
