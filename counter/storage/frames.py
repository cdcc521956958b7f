"""The bytes of log segments and snapshots: one header, then frames of records.

A frame is what one commit wrote: a checksum, a length, its last token, and its records. The
rule: a frame is begun only after the one before it is safely on disk, or was cut away again.
So what a power cut leaves half written is always the *last* frame, however many pages of it
arrived; and a bad frame with a good one behind it cannot come from a power cut, it is damage.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final
from zlib import crc32

from tracker.classes import dataclass
from tracker.errors import DamagedError
from tracker.files import newer_error, shown_path

VERSION: Final = 1
SEGMENT_MAGIC: Final = b"GOSSLOG\n"
SNAPSHOT_MAGIC: Final = b"GOSSNAP\n"
RECORD_BYTES_MAX: Final = 16 * 2**20
FRAME_BYTES_MAX: Final = 64 * 2**20
TOKENS_AHEAD_MAX: Final = 2**32
SECTOR_BYTES: Final = 512
STEP_BYTES: Final = 2**20

_HEADER = struct.Struct(">8sH16sQQ")
_CHECKSUM = struct.Struct(">I")
_FRAME = struct.Struct(">IIQ")
_FRAME_CHECKED = struct.Struct(">IQ")
_RECORD = struct.Struct(">IQ")

HEADER_BYTES: Final = _HEADER.size + _CHECKSUM.size
RECORD_HEAD_BYTES: Final = _RECORD.size
_TOKEN_AT = 8
"""Where in a frame its token stands."""

Record = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Header:
    """The first bytes of a file: whose it is and where it belongs.

    Segment: `token` is the lowest it may hold, `link` the last one logged before it.
    Snapshot: `token` is the highest it covers, `link` names the segment that follows it.
    """

    magic: bytes
    store: bytes
    token: int
    link: int

    def to_bytes(self) -> bytes:
        """Return the header as it is written."""
        fields = _HEADER.pack(self.magic, VERSION, self.store, self.token, self.link)
        return fields + _CHECKSUM.pack(crc32(fields))


def damaged(path: Path, offset: int, why: str) -> DamagedError:
    """Return the error for damage in `path` at byte `offset`."""
    return DamagedError(f"{shown_path(path)} is damaged at byte {offset}: {why}")


def read_header(file: BinaryIO, path: Path, magic: bytes, store: bytes) -> Header:
    """Read and check the header; raises DamagedError, StorageError for a newer version."""
    content = file.read(HEADER_BYTES)
    if len(content) < HEADER_BYTES:
        raise damaged(path, len(content), "it is cut off")
    if _CHECKSUM.unpack_from(content, _HEADER.size)[0] != crc32(content[: _HEADER.size]):
        raise damaged(path, 0, "the checksum of its header does not match")
    found_magic, version, found_store, token, link = _HEADER.unpack_from(content)
    if found_magic != magic:
        raise damaged(path, 0, "not a file of this kind")
    if version > VERSION:
        raise newer_error(path, version, VERSION)
    if found_store != store:
        raise damaged(path, 0, "it belongs to another store")
    return Header(magic, found_store, token, link)


# -- frames ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """What one commit wrote; `end` is the offset behind it. No records: the end mark."""

    token: int
    records: list[Record]
    end: int


def frame_bytes(records: Sequence[Record], token: int) -> bytes:
    """Return the frame of `records`, whose last token is `token`."""
    pack = _RECORD.pack
    body = b"".join(
        [part for own, payload in records for part in (pack(len(payload), own), payload)]
    )
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {len(body)} bytes")
    checked = _FRAME_CHECKED.pack(len(body), token)
    return _CHECKSUM.pack(crc32(body, crc32(checked))) + checked + body


def read_frames(file: BinaryIO, path: Path) -> Iterator[Frame]:
    """Yield the valid frames from where `file` stands; ends at the first that is not one."""
    end = file.tell()
    while True:
        head = file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            return
        checksum, length, token = _FRAME.unpack(head)
        if length > FRAME_BYTES_MAX:
            return
        body = file.read(length)
        if len(body) < length or crc32(body, crc32(head[_CHECKSUM.size :])) != checksum:
            return
        begin, end = end, end + _FRAME.size + length
        yield Frame(token, _records(body, path, begin), end)


def _records(body: bytes, path: Path, offset: int) -> list[Record]:
    records: list[Record] = []
    at, size, step = 0, len(body), _RECORD.size
    while at < size:
        if at + step > size:
            raise damaged(path, offset, "a record does not fit into its frame")
        length, token = _RECORD.unpack_from(body, at)
        at += step + length
        records.append((token, body[at - length : at]))
    if at != size:
        raise damaged(path, offset, "a record does not fit into its frame")
    return records


def snapshot_frames(state: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the frames of a snapshot; the last holds no record and says how many there are."""
    batch: list[Record] = []
    batch_bytes = 0
    for number, payload in enumerate(state, start=1):
        batch.append((number, payload))
        batch_bytes += RECORD_HEAD_BYTES + len(payload)
        if batch_bytes >= STEP_BYTES:
            yield frame_bytes(batch, number)
            batch, batch_bytes = [], 0
    if batch:
        yield frame_bytes(batch, len(state))
    yield frame_bytes([], len(state))


def later_frame(data: bytes, token: int) -> int | None:
    """Return where in `data`, past its first byte, a valid frame of a later token begins.

    `data` begins with a frame that is bad; only damage leaves a good one behind it.
    """
    # A frame's token is not 0, so nothing begins in the zeros that end a preallocated file.
    limit = len(data.rstrip(b"\0"))
    for high in sorted({(token + 1) >> 32, (token + TOKENS_AHEAD_MAX) >> 32}):
        mark = high.to_bytes(4, "big")
        at = data.find(mark, _TOKEN_AT + 1, limit)
        while at != -1:
            if _is_frame(data, at - _TOKEN_AT, token):
                return at - _TOKEN_AT
            at = data.find(mark, at + 1, limit)
    return None


def looks_torn(data: bytes, offset: int) -> bool:
    """Whether a bad frame is what a power cut leaves: short, or with sectors that never came.

    `data` is what stands from byte `offset` of its file on. A sector that never came is zeros, in
    a file that only grows; where the file system shows old contents of the disk instead, a torn
    frame does not look it. So this is no more than a hint.
    """
    if len(data) < _FRAME.size:
        return True
    end = _FRAME.size + _FRAME.unpack_from(data)[1]
    if end > len(data):
        return True
    sectors = range(-(offset % SECTOR_BYTES), end, SECTOR_BYTES)
    return any(not any(data[max(0, at) : min(end, at + SECTOR_BYTES)]) for at in sectors)


def _is_frame(data: bytes, start: int, after: int) -> bool:
    if start + _FRAME.size > len(data):
        return False
    checksum, length, token = _FRAME.unpack_from(data, start)
    end = start + _FRAME.size + length
    if not after < token <= after + TOKENS_AHEAD_MAX or end > len(data):
        return False
    return bool(crc32(memoryview(data)[start + _CHECKSUM.size : end]) == checksum)
