"""How far the log was on disk, noted beside it a moment later, without waiting for the disk.

What is bad at the very end of a log is a torn write, of which nobody was told, or rot in a record
that was acknowledged. The log alone cannot say which: the proof that a commit was safe is the next
one, and the last has none. This file says it. It is written after the commit was synced, and not
synced itself: it outlives a kill at once, and a power cut as soon as the system writes what is
dirty (on Linux within 35 s).

The rule: it claims nothing but what was synced before, so whichever state of it comes back is
true; one that cannot be read claims nothing. Two slots a page apart are written in turn, so
that one that was half written hides only the latest claim.
"""

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final
from zlib import crc32

from tracker.classes import dataclass

NAME: Final = "acknowledged"
MARK_S: Final = 1.0
"""From a commit to the mark for it, so that many commits share one."""
SLOT_BYTES: Final = 4_096

_MAGIC: Final = b"GOSSACK\n"
_FIELDS = struct.Struct(">8s16sQQQQ")
_CHECKSUM = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Known:
    """The log was on disk up to record `token`, which ends at byte `end` of segment `first`."""

    token: int
    first: int
    end: int


class Mark:
    """The file, of the store whose id the log bears. Used by one thread at a time."""

    def __init__(self, directory: Path, store: bytes) -> None:
        """Read what is known, None where nothing is; nothing is made."""
        self._path = directory / NAME
        self._store = store
        self._descriptor = -1
        self._turn = 0
        self.known: Known | None = None
        self._read()

    def write(self, known: Known) -> None:
        """Note how far the log is on disk; where that fails, it stays unknown."""
        if known == self.known:
            return
        turn = self._turn + 1
        fields = _FIELDS.pack(_MAGIC, self._store, turn, known.token, known.first, known.end)
        with suppress(OSError):
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            os.pwrite(self._descriptor, fields + _CHECKSUM.pack(crc32(fields)), _place(turn))
            self._turn, self.known = turn, known

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file:
                content = file.read(2 * SLOT_BYTES)
        except OSError:
            return
        for at in (0, SLOT_BYTES):
            fields = content[at : at + _FIELDS.size]
            checksum = content[at + _FIELDS.size : at + _FIELDS.size + _CHECKSUM.size]
            if checksum != _CHECKSUM.pack(crc32(fields)):
                continue
            magic, store, turn, token, first, end = _FIELDS.unpack(fields)
            if magic == _MAGIC and store == self._store and turn > self._turn:
                self._turn, self.known = turn, Known(token, first, end)


def _place(turn: int) -> int:
    return turn % 2 * SLOT_BYTES
