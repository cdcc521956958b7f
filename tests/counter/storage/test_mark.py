"""What tells rot in the last acknowledged record from a torn write, and what does not."""

import asyncio
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from counter.storage import durable
from counter.storage.base import Rebirth
from counter.storage.frames import HEADER_BYTES, SECTOR_BYTES, frame_bytes
from counter.storage.log import Log
from counter.storage.mark import NAME, SLOT_BYTES, Known, Mark
from tracker.errors import DamagedError, StorageError
from tracker.files import Disk

Open = Any

STORE = b"s" * 16
SEGMENT = f"counts-{1:020d}.log"
FRAME_BYTES = 28
FIRST, LAST = bytes(range(1, 11)), bytes(range(41, 81))
SECTORS = 4
UNSAFE = bytes([1 + number % 255 for number in range(SECTORS * SECTOR_BYTES)])


class Quick(Disk):
    """A disk on which nothing is synced: these tests say themselves what came."""

    def sync(self, descriptor: int) -> None:
        pass


DISK = Quick()


def written(directory: Path, *records: bytes) -> list[Known]:
    """Write a commit for each record; returns how far the log was safe after each."""
    log = Log(directory, STORE, DISK)
    log.create()
    list(log.recover())
    known = [log.known]
    for token, record in enumerate(records, start=1):
        log.append([(token, record)])
        known.append(log.known)
    log.close()
    return known


def recovered(directory: Path, known: Known | None) -> Log:
    """Recover a log as it is opened after a crash; the records are in `records`."""
    log = Log(directory, STORE, DISK)
    try:
        log.records = [record for _, record in log.recover(0, known)]  # type: ignore[attr-defined]
    finally:
        log.close()
    return log


def flips(content: bytes, begin: int, end: int) -> Any:
    for bit in range(8 * begin, 8 * end):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bit // 8, bytes(flipped)


# -- what is refused ------------------------------------------------------------------------


@pytest.mark.slow
def test_each_flipped_bit_of_the_last_record_is_refused_by_file_and_byte(tmp_path: Path) -> None:
    *_, before, known = written(tmp_path, FIRST, LAST)
    segment = tmp_path / SEGMENT
    whole = segment.read_bytes()
    assert (known.end, known.token) == (len(whole), 2)

    for _, content in flips(whole, before.end, len(whole)):
        segment.write_bytes(content)
        with pytest.raises(DamagedError) as refused:
            recovered(tmp_path, known)
        assert str(refused.value) == (
            f"{segment} is damaged at byte {before.end}: a record is bad that was on disk:"
            f" it went up to record 2, which ended at byte {known.end}"
        )
        assert segment.read_bytes() == content, "a refusal changes nothing"


@pytest.mark.slow
@pytest.mark.parametrize("with_more", [False, True], ids=["last", "with an unsafe one behind"])
def test_a_zeroed_block_that_ends_the_last_record_is_refused(
    tmp_path: Path, with_more: bool
) -> None:
    *_, before, known = written(tmp_path, FIRST, LAST)
    segment = tmp_path / SEGMENT
    whole = segment.read_bytes()
    more = frame_bytes([(3, UNSAFE)], 3)[:-1] if with_more else b""

    for begin in range(before.end, known.end):
        segment.write_bytes(whole[:begin] + bytes(known.end - begin) + more)
        with pytest.raises(DamagedError, match=f"at byte {before.end}: a record is bad that was"):
            recovered(tmp_path, known)


def test_a_segment_that_was_on_disk_and_is_missing_is_refused_by_its_name(tmp_path: Path) -> None:
    written(tmp_path, FIRST)

    with pytest.raises(DamagedError, match=rf"counts-{2:020d}\.log is missing: .* up to record 3"):
        recovered(tmp_path, Known(3, 2, 90))


# -- what is not ----------------------------------------------------------------------------


def marks(known: list[Known]) -> list[Known | None]:
    """Every state of the mark that a crash may leave: none, or of any commit that was safe."""
    return [None, *known]


@pytest.mark.slow
def test_a_commit_that_was_not_safe_is_cut_wherever_it_ends(tmp_path: Path) -> None:
    known = written(tmp_path, FIRST, LAST)
    segment = tmp_path / SEGMENT
    safe = segment.read_bytes()
    unsafe = frame_bytes([(3, UNSAFE[:90])], 3)

    for size in range(len(unsafe)):
        for mark in marks(known):
            segment.write_bytes(safe + unsafe[:size])
            assert recovered(tmp_path, mark).records == [FIRST, LAST]  # type: ignore[attr-defined]
            assert segment.read_bytes() == safe


@pytest.mark.slow
@pytest.mark.parametrize("old", [b"\0", b"old bytes"], ids=["zeros", "old bytes"])
def test_a_commit_that_was_not_safe_is_cut_whichever_of_its_sectors_came(
    tmp_path: Path, old: bytes
) -> None:
    known = written(tmp_path, FIRST, LAST)
    segment = tmp_path / SEGMENT
    safe = segment.read_bytes()
    whole = safe + frame_bytes([(3, UNSAFE)], 3)
    begins = [len(safe), *range(SECTOR_BYTES, len(whole), SECTOR_BYTES)]
    parts = list(zip(begins, [*begins[1:], len(whole)], strict=True))
    assert len(parts) > SECTORS

    for came in product([False, True], repeat=len(parts)):
        content = safe
        for is_here, (begin, end) in zip(came, parts, strict=True):
            missing = (old * (end - begin))[: end - begin]
            content += whole[begin:end] if is_here else missing
        for size in (len(whole), *begins):
            segment.write_bytes(content[:size])
            kept = [FIRST, LAST, UNSAFE] if content[:size] == whole else [FIRST, LAST]
            log = recovered(tmp_path, known[-1])
            assert log.records == kept  # type: ignore[attr-defined]
            assert log.cut is None or old != b"\0" or log.cut.looks == "torn"


def test_a_log_that_is_shorter_than_it_was_is_an_old_one_and_says_so(tmp_path: Path) -> None:
    *_, before, known = written(tmp_path, FIRST, LAST)
    segment = tmp_path / SEGMENT
    whole = segment.read_bytes()

    for size in range(before.end, len(whole)):
        segment.write_bytes(whole[:size])
        log = recovered(tmp_path, known)
        assert log.records == [FIRST]  # type: ignore[attr-defined]
        assert log.is_overtaken
    segment.write_bytes(whole)
    assert not recovered(tmp_path, known).is_overtaken


# -- what cannot be told apart ---------------------------------------------------------------


@pytest.mark.slow
def test_rot_in_a_record_that_no_mark_is_of_is_cut_and_mostly_looks_damaged(
    tmp_path: Path,
) -> None:
    known = written(tmp_path, FIRST, LAST)
    segment = tmp_path / SEGMENT
    whole = segment.read_bytes()
    begin = known[-2].end
    looks: dict[str, set[int]] = {"torn": set(), "damaged": set()}

    for byte, content in flips(whole, begin, len(whole)):
        segment.write_bytes(content)
        log = recovered(tmp_path, known[-2])
        assert log.records == [FIRST]  # type: ignore[attr-defined]
        assert log.cut is not None
        looks[log.cut.looks].add(byte - begin)
    # A length that became longer looks as if the end had not come.
    assert looks["torn"] <= {4, 5, 6, 7}
    assert looks["damaged"] >= set(range(len(whole) - begin)) - {4, 5, 6, 7}


# -- the file -------------------------------------------------------------------------------


def test_a_mark_is_read_as_it_was_written_and_by_its_own_store_only(tmp_path: Path) -> None:
    mark = Mark(tmp_path, STORE)
    assert mark.known is None
    for token in range(1, 6):
        mark.write(Known(token, 1, 100 * token))
        assert Mark(tmp_path, STORE).known == Known(token, 1, 100 * token)
    mark.close()

    assert Mark(tmp_path, b"t" * 16).known is None
    # What an old backup held is written by its new store, though it is less.
    again = Mark(tmp_path, STORE)
    again.write(Known(2, 1, 200))
    again.close()
    assert Mark(tmp_path, STORE).known == Known(2, 1, 200)


@pytest.mark.slow
def test_a_mark_that_was_half_written_or_rots_claims_no_more_than_was_safe(tmp_path: Path) -> None:
    mark = Mark(tmp_path, STORE)
    mark.write(Known(1, 1, 100))
    mark.write(Known(2, 1, 200))
    mark.close()
    path = tmp_path / NAME
    whole = path.read_bytes()

    for _, content in flips(whole, 0, 60):
        path.write_bytes(content)
        assert Mark(tmp_path, STORE).known == Known(1, 1, 100)
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        known = Mark(tmp_path, STORE).known
        assert known in (None, Known(1, 1, 100), Known(2, 1, 200))
    path.write_bytes(bytes(SLOT_BYTES) + b"x" * SLOT_BYTES)
    assert Mark(tmp_path, STORE).known is None


def test_a_mark_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    mark = Mark(tmp_path, STORE)
    mark.write(Known(1, 1, 100))
    mark.close()

    assert mark.known is None


# -- when it is written -----------------------------------------------------------------------


async def test_a_moment_after_a_commit_it_is_noted_that_it_is_safe(
    opened: Open, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, loop, write = asyncio.Event(), asyncio.get_running_loop(), Mark.write

    def told(mark: Mark, known: Known) -> None:
        write(mark, known)
        loop.call_soon_threadsafe(noted.set)

    monkeypatch.setattr(Mark, "write", told)
    monkeypatch.setattr(durable, "MARK_S", 0.001)
    async with opened() as store:
        await store.keep(b"a", b"b")
        files = store.store.identity.store
        while (known := Mark(directory, files).known) is None or known.token < 2:
            await asyncio.wait_for(noted.wait(), 20)
            noted.clear()
    end = (directory / SEGMENT).stat().st_size

    assert known == Known(2, 1, end)
    assert end == HEADER_BYTES + 2 * (FRAME_BYTES + 1)


async def test_what_the_disk_refused_is_not_noted(opened: Open, directory: Path) -> None:
    async with opened() as store:
        await store.keep(b"a")
        store.store._failures = 0
        store.store._committed([], {"counts": StorageError("no room")})
        store.store._mark_now()
        await store.until_idle()
        files = store.store.identity.store

        assert Mark(directory, files).known == Known(1, 1, HEADER_BYTES + FRAME_BYTES + 1)


async def test_an_overtaken_store_goes_on_as_a_new_one_and_is_none_after_that(
    opened: Open, directory: Path
) -> None:
    async with opened() as store:
        await store.keep(b"a", b"b")
        store.store._mark_now()
        await store.until_idle()
        old = store.store.identity.store
    segment = directory / SEGMENT
    segment.write_bytes(segment.read_bytes()[:-1])

    async with opened() as short:
        assert short.store.is_overtaken
    async with opened(reborn=Rebirth(0)) as reborn:
        assert not reborn.store.is_overtaken
        assert reborn.recovered == [("counts", b"a")]
        assert reborn.store.identity.parent == old
    async with opened() as third:
        assert not third.store.is_overtaken
        assert third.recovered == [("counts", b"a")]
