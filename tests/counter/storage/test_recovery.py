"""What a store finds when it is opened: torn tails are cut, damage is refused by file and byte."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from counter.storage.base import COUNTS, STATE, Cut
from counter.storage.directory import read_owner
from counter.storage.durable import DurableStorage
from counter.storage.frames import (
    HEADER_BYTES,
    SEGMENT_MAGIC,
    TOKENS_AHEAD_MAX,
    Header,
    frame_bytes,
    later_frame,
    read_frames,
)
from counter.storage.log import Log
from tracker.errors import DamagedError, StorageError
from tracker.files import DISK, Disk
from tracker.machine import Persist, Persisted

Open = Any

SEGMENT = f"counts-{1:020d}.log"
FRAME_BYTES = 16 + 12
"""What one record of no bytes takes in a file."""


def counts(*records: bytes) -> list[tuple[str, bytes]]:
    return [(COUNTS, record) for record in records]


async def filled(opened: Open, *records: bytes) -> None:
    async with opened() as store:
        await store.keep(*records)


async def snapshotted(opened: Open, directory: Path) -> Path:
    """Keep a snapshot of "ab" up to token 2, and the record "c" after it."""
    async with opened() as store:
        await store.keep(b"a", b"b")
        store.store.snapshot([b"a", b"b"])
        await store.keep(b"c")
    return directory / f"state-{2:020d}.snap"


async def refusal(opened: Open, kind: type[StorageError] = DamagedError) -> str:
    with pytest.raises(kind) as caught:
        async with opened():
            pass
    assert type(caught.value) is kind
    return str(caught.value)


class ForgetfulDisk(Disk):
    """Fails to make names safe: what was renamed may come back under its old name."""

    def sync_directory(self, directory: Path) -> None:
        raise OSError(errno.EIO, "")


def test_nothing_is_deleted_while_what_covers_it_may_lose_its_name(directory: Path) -> None:
    directory.mkdir()
    log = Log(directory, b"s" * 16, DISK)
    log.create()
    list(log.recover())
    log.append([(1, b"a")])
    log.close()
    older = (directory / SEGMENT).read_bytes()
    again = Log(directory, b"s" * 16, DISK)
    list(again.recover())
    list(again.snapshot(1, [b"a"]))
    again.close()
    (directory / SEGMENT).write_bytes(older)

    for disk, is_kept in ((ForgetfulDisk(), True), (DISK, False)):
        opening = Log(directory, b"s" * 16, disk)
        assert list(opening.recover()) == [(STATE, b"a")]
        opening.close()
        assert (directory / SEGMENT).exists() is is_kept


def with_flipped_bit(content: bytes, bit: int) -> bytes:
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


# -- torn tails -----------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_tail_torn_at_any_byte_is_cut_and_written_over(
    opened: Open, directory: Path
) -> None:
    await filled(opened, b"first", b"last")
    segment = directory / SEGMENT
    whole = segment.read_bytes()
    begin = HEADER_BYTES + FRAME_BYTES + len(b"first")
    assert len(whole) == begin + FRAME_BYTES + len(b"last")

    for end in range(begin, len(whole)):
        segment.write_bytes(whole[:end])
        async with opened() as store:
            assert store.recovered == counts(b"first")
            assert store.store.token == 1
            assert segment.stat().st_size == begin
            await store.keep(b"new")
        async with opened() as store:
            assert store.recovered == counts(b"first", b"new")


@pytest.mark.slow
async def test_a_tail_of_which_any_end_is_zeros_is_cut(opened: Open, directory: Path) -> None:
    await filled(opened, b"first", b"last")
    segment = directory / SEGMENT
    whole = segment.read_bytes()
    begin = HEADER_BYTES + FRAME_BYTES + len(b"first")

    for end in range(begin, len(whole)):
        segment.write_bytes(whole[:end] + bytes(5_000))
        async with opened() as store:
            assert store.recovered == counts(b"first")
            assert segment.stat().st_size == begin


async def test_a_commit_whose_first_page_never_arrived_is_torn_not_damaged(
    opened: Open, directory: Path
) -> None:
    async with opened() as store:
        await store.keep(b"first")
        begin = (directory / SEGMENT).stat().st_size
        for token in range(2, 102):
            store.store.write(Persist(token, COUNTS, b"%03d" % token * 30))
        assert await store.heard() == [Persisted(1), Persisted(101)]
    segment = directory / SEGMENT
    whole = segment.read_bytes()
    segment.write_bytes(whole[:begin] + bytes(4_096) + whole[begin + 4_096 :])

    async with opened() as store:
        assert store.recovered == counts(b"first")


async def test_an_empty_log_with_a_torn_first_commit_is_empty(
    opened: Open, directory: Path
) -> None:
    await filled(opened, b"only")
    segment = directory / SEGMENT
    segment.write_bytes(segment.read_bytes()[:-1])

    async with opened() as store:
        assert store.recovered == []
        assert store.store.token == 0


@pytest.mark.parametrize(
    "content", [b"", b"GOSS", bytes(HEADER_BYTES)], ids=["empty", "cut", "zeros"]
)
async def test_a_segment_that_was_only_just_made_is_made_again(
    opened: Open, directory: Path, content: bytes
) -> None:
    await filled(opened, b"a")
    (directory / f"counts-{2:020d}.log").write_bytes(content)

    async with opened() as store:
        assert store.recovered == counts(b"a")
        await store.keep(b"b")
    async with opened() as store:
        assert store.recovered == counts(b"a", b"b")


# -- damage ---------------------------------------------------------------------------------


@pytest.mark.slow
async def test_every_flipped_bit_before_the_last_commit_is_refused_by_file_and_byte(
    opened: Open, directory: Path
) -> None:
    await filled(opened, b"first", b"second", b"last")
    segment = directory / SEGMENT
    whole = segment.read_bytes()
    second = HEADER_BYTES + FRAME_BYTES + len(b"first")
    last = second + FRAME_BYTES + len(b"second")

    for bit in range(0, 8 * last, 9):
        segment.write_bytes(with_flipped_bit(whole, bit))
        text = await refusal(opened)
        begins = [at for at in (0, HEADER_BYTES, second) if at <= bit // 8]
        assert text.startswith(f"{segment} is damaged at byte {begins[-1]}: ")
    segment.write_bytes(whole)

    async with opened() as store:
        assert store.recovered == counts(b"first", b"second", b"last")


async def test_a_refusal_changes_nothing_in_the_log(opened: Open, directory: Path) -> None:
    await filled(opened, b"first", b"second", b"last")
    segment = directory / SEGMENT
    damaged = with_flipped_bit(segment.read_bytes(), 8 * (HEADER_BYTES + 30))
    segment.write_bytes(damaged)

    await refusal(opened)

    assert segment.read_bytes() == damaged


async def test_a_zeroed_block_in_the_middle_is_refused(opened: Open, directory: Path) -> None:
    await filled(opened, *(b"%02d" % number * 20 for number in range(20)))
    segment = directory / SEGMENT
    whole = segment.read_bytes()
    segment.write_bytes(whole[:512] + bytes(512) + whole[1_024:])

    assert "good ones follow at" in await refusal(opened)


@pytest.mark.parametrize("length", [0, 7, 2**26 + 1, 2**32 - 1])
async def test_an_impossible_length_in_the_middle_is_refused(
    opened: Open, directory: Path, length: int
) -> None:
    await filled(opened, b"first", b"second")
    segment = directory / SEGMENT
    content = bytearray(segment.read_bytes())
    content[HEADER_BYTES + 4 : HEADER_BYTES + 8] = length.to_bytes(4, "big")
    segment.write_bytes(content)

    assert f"damaged at byte {HEADER_BYTES}" in await refusal(opened)


async def test_a_bad_end_of_a_segment_that_another_follows_is_refused(
    opened: Open, directory: Path
) -> None:
    await filled(opened, b"a", b"b")
    following = Header(SEGMENT_MAGIC, await store_id(opened), 3, 2).to_bytes()
    (directory / f"counts-{3:020d}.log").write_bytes(following)
    segment = directory / SEGMENT
    segment.write_bytes(segment.read_bytes()[:-1])

    assert "another segment follows" in await refusal(opened)


async def store_id(opened: Open) -> bytes:
    async with opened() as store:
        result: bytes = store.store.identity.store
    return result


@pytest.mark.slow
async def test_every_flipped_bit_of_a_snapshot_is_refused(opened: Open, directory: Path) -> None:
    snapshot = await snapshotted(opened, directory)
    whole = snapshot.read_bytes()

    for bit in range(0, 8 * len(whole), 9):
        snapshot.write_bytes(with_flipped_bit(whole, bit))
        assert f"{snapshot} is damaged at byte " in await refusal(opened)


async def test_a_snapshot_cut_anywhere_or_longer_is_refused(opened: Open, directory: Path) -> None:
    snapshot = await snapshotted(opened, directory)
    whole = snapshot.read_bytes()

    for content in [*(whole[:end] for end in range(0, len(whole), 3)), whole + b"\0"]:
        snapshot.write_bytes(content)
        assert "is damaged at byte" in await refusal(opened)


async def test_records_out_of_order_are_refused(opened: Open, directory: Path) -> None:
    await filled(opened, b"a", b"b")
    segment = directory / SEGMENT
    segment.write_bytes(segment.read_bytes() + frame_bytes([(2, b"again")], 2))

    assert "record 2 stands behind 2" in await refusal(opened)


# -- what is missing, what is left over -----------------------------------------------------


async def test_a_missing_first_segment_is_refused(opened: Open, directory: Path) -> None:
    await filled(opened, b"a")
    (directory / SEGMENT).unlink()

    assert await refusal(opened) == (f"{directory / SEGMENT} is missing: the log has no beginning")


async def test_a_snapshot_newer_than_its_log_is_refused(opened: Open, directory: Path) -> None:
    await filled(opened, b"a")
    old = (directory / SEGMENT).read_bytes()
    async with opened() as store:
        await store.keep(b"b")
        store.store.snapshot([b"ab"])
    (directory / f"counts-{3:020d}.log").unlink()
    (directory / SEGMENT).write_bytes(old)

    assert "is missing: the snapshot is newer than its log" in await refusal(opened)


async def test_a_missing_snapshot_is_refused(opened: Open, directory: Path) -> None:
    (await snapshotted(opened, directory)).unlink()

    assert f"{SEGMENT} is missing" in await refusal(opened)


async def test_a_gap_between_segments_is_refused(opened: Open, directory: Path) -> None:
    await filled(opened, b"a", b"b")
    following = Header(SEGMENT_MAGIC, await store_id(opened), 6, 5).to_bytes()
    (directory / f"counts-{6:020d}.log").write_bytes(following)

    assert "it follows record 5, but the record before it is 2" in await refusal(opened)


async def test_a_renamed_segment_is_refused(opened: Open, directory: Path) -> None:
    await filled(opened, b"a")
    shutil.copy(directory / SEGMENT, directory / f"counts-{2:020d}.log")

    assert "written as the segment of token 1" in await refusal(opened)


async def test_a_segment_of_another_store_is_refused(opened: Open, directory: Path) -> None:
    await filled(opened, b"a")
    other = directory.with_name("other")
    async with opened(other) as store:
        await store.keep(b"not mine")
    shutil.copy(other / SEGMENT, directory / SEGMENT)

    assert "it belongs to another store" in await refusal(opened)


async def test_a_crash_between_a_snapshot_and_its_deletions_counts_nothing_twice(
    opened: Open, directory: Path
) -> None:
    await filled(opened, b"a", b"b")
    old = (directory / SEGMENT).read_bytes()
    async with opened() as store:
        store.store.snapshot([b"ab"])
        await store.until_idle()
        await store.keep(b"c")
    (directory / SEGMENT).write_bytes(old)
    (directory / f"state-{1:020d}.snap").write_bytes(b"an older one")

    async with opened() as store:
        assert store.recovered == [(STATE, b"ab"), (COUNTS, b"c")]
    assert not (directory / SEGMENT).exists()
    assert not (directory / f"state-{1:020d}.snap").exists()


async def test_tokens_that_the_snapshot_covers_are_not_replayed(
    opened: Open, directory: Path
) -> None:
    await snapshotted(opened, directory)
    segment = directory / f"counts-{3:020d}.log"
    header = segment.read_bytes()[:HEADER_BYTES]
    again = [(1, b"a"), (2, b"b"), (3, b"c")]
    segment.write_bytes(header + frame_bytes(again, 3))

    async with opened() as store:
        assert store.recovered == [(STATE, b"a"), (STATE, b"b"), (COUNTS, b"c")]


async def test_stray_temporary_files_are_removed_and_others_left_alone(
    opened: Open, directory: Path
) -> None:
    await filled(opened, b"a")
    strays = ["identity.tmp", "members.tmp", f"{SEGMENT}.tmp", f"state-{9:020d}.snap.tmp"]
    others = ["notes.tmp", "counts-1.log", "state.snap"]
    for name in strays + others:
        (directory / name).write_bytes(b"?")

    await filled(opened, b"b")

    assert [name for name in strays if (directory / name).exists()] == []
    assert [name for name in others if not (directory / name).exists()] == []


async def test_a_newer_format_is_refused_as_newer_not_as_damaged(
    opened: Open, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("counter.storage.frames.VERSION", 2)
        await filled(opened, b"a")

    assert "newer version (format 2, this one reads up to 1)" in await refusal(opened, StorageError)


async def test_a_log_that_cannot_be_read_is_a_plain_error(opened: Open, directory: Path) -> None:
    await filled(opened, b"a")
    (directory / SEGMENT).unlink()
    (directory / SEGMENT).mkdir()

    assert "it is a directory" in await refusal(opened, StorageError)


async def test_an_abandoned_recovery_lets_go_of_the_directory(opened: Open) -> None:
    await filled(opened, b"a")
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with opened():
                raise ZeroDivisionError

    await filled(opened, b"b")


# -- the search behind a bad frame ----------------------------------------------------------


@pytest.mark.parametrize("last", [0, 1, 255, 2**32 - 2, 2**32 - 1, 2**32, 2**63])
@pytest.mark.parametrize("ahead", [1, 2, 1_000, TOKENS_AHEAD_MAX])
@pytest.mark.parametrize("junk", [b"\1", bytes(9), b"\xff" * 30], ids=["one", "zeros", "ones"])
def test_a_good_frame_is_found_behind_any_junk(last: int, ahead: int, junk: bytes) -> None:
    frame = frame_bytes([(last + ahead, b"payload\0\0\0")], last + ahead)

    assert later_frame(junk + frame + bytes(7), last) == len(junk)


def test_a_frame_of_an_earlier_token_or_far_in_the_future_is_not_taken_for_a_good_one() -> None:
    for token in (5, 5 + TOKENS_AHEAD_MAX + 1):
        assert later_frame(b"?" + frame_bytes([(token, b"x")], token), 5) is None


def test_a_frame_with_no_end_is_not_taken_for_a_good_one() -> None:
    assert later_frame(b"?" + frame_bytes([(6, b"xyz")], 6)[:-1], 5) is None


def test_a_frame_with_a_right_checksum_and_wrong_inside_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    good = frame_bytes([(1, b"abc")], 1)
    for body in (good[16:-1], good[16:20], good[16:] + b"?"):
        path.write_bytes(_framed(body))
        with path.open("rb") as file, pytest.raises(DamagedError, match="does not fit"):
            list(read_frames(file, path))


def _framed(body: bytes) -> bytes:
    checked = len(body).to_bytes(4, "big") + (1).to_bytes(8, "big")
    return crc32(checked + body).to_bytes(4, "big") + checked + body


def test_a_store_that_fails_to_open_holds_no_file_open(directory: Path) -> None:
    directory.write_bytes(b"")
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0

    for _ in range(5):
        with pytest.raises(StorageError):
            DurableStorage(directory, "n1")

    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before


# -- a log that was closed in order ---------------------------------------------------------


async def stopped(opened: Open, *records: bytes) -> None:
    """Keep records in a store that is closed as a node that is stopped closes it."""
    async with opened() as store:
        await store.keep(*records)
        await store.store.close(noted=True)


@pytest.mark.parametrize("damage", ["flipped", "shorter", "without the frame", "zeros"])
async def test_a_bad_end_of_a_log_that_was_closed_in_order_is_damage_and_no_torn_tail(
    opened: Open, directory: Path, damage: str
) -> None:
    await stopped(opened, b"first", b"last")
    segment = directory / SEGMENT
    whole = segment.read_bytes()
    begin = HEADER_BYTES + FRAME_BYTES + len(b"first")
    bad = {
        "flipped": with_flipped_bit(whole, 8 * len(whole) - 1),
        "shorter": whole[:-1],
        "without the frame": whole[:begin],
        "zeros": whole[:begin] + bytes(len(whole) - begin),
    }[damage]
    segment.write_bytes(bad)

    # However often: the first refusal changes nothing.
    for _ in range(2):
        text = await refusal(opened)
        assert text == (
            f"{segment} is damaged at byte {begin}: it ends with record 1,"
            " but went up to 2 when this node was last stopped"
        )
    assert segment.read_bytes() == bad

    segment.write_bytes(whole)
    async with opened() as store:
        assert store.recovered == counts(b"first", b"last")


async def test_what_a_later_life_left_half_written_is_cut_and_said(
    opened: Open, directory: Path
) -> None:
    await stopped(opened, b"first")
    async with opened() as store:
        assert store.store.cut is None
        await store.keep(b"second", b"third")
    segment = directory / SEGMENT
    begin = segment.stat().st_size - FRAME_BYTES - len(b"third")
    segment.write_bytes(segment.read_bytes()[:-1])

    async with opened() as store:
        assert store.recovered == counts(b"first", b"second")
        assert store.store.cut == Cut(str(segment), begin, FRAME_BYTES + len(b"third") - 1)


async def test_a_store_that_lost_a_write_notes_no_end(opened: Open, directory: Path) -> None:
    disk = LosingDisk()
    async with opened(disk=disk) as store:
        await store.keep(b"a")
        disk.is_sick = True
        store.store.write(Persist(2, COUNTS, b"b"))
        await store.heard()
        disk.is_sick = False
        await store.store.close(noted=True)

    owner = read_owner(directory)
    assert owner is not None
    assert owner.reach == 0


class LosingDisk(Disk):
    """Fails to sync when it is told to."""

    is_sick = False

    def sync(self, descriptor: int) -> None:
        if self.is_sick:
            raise OSError(errno.EIO, "")
        super().sync(descriptor)


# -- what a full disk and a power cut leave together ----------------------------------------

FOLLOWING = f"counts-{3:020d}.log"


async def test_what_a_refused_write_left_is_no_damage_though_another_segment_follows(
    opened: Open, directory: Path
) -> None:
    await filled(opened, b"a", b"b")
    header = Header(SEGMENT_MAGIC, await store_id(opened), 3, 2).to_bytes()
    # It was cut away at once, but the power went before that was on the disk.
    with (directory / SEGMENT).open("ab") as segment:
        segment.write(frame_bytes([(3, b"refused")], 3)[:-2])
    (directory / FOLLOWING).write_bytes(header + frame_bytes([(3, b"c")], 3))

    async with opened() as store:
        assert store.recovered == counts(b"a", b"b", b"c")
        assert store.store.cut is None
        await store.keep(b"d")
    async with opened() as store:
        assert store.recovered == counts(b"a", b"b", b"c", b"d")


@pytest.mark.parametrize("torn", [0, 1], ids=["whole", "torn"])
@pytest.mark.parametrize("content", ["header", "nothing"])
async def test_a_segment_that_was_given_up_and_came_back_is_passed_over(
    opened: Open, directory: Path, content: str, torn: int
) -> None:
    await filled(opened, b"a", b"b", b"c", b"d", b"e")
    header = Header(SEGMENT_MAGIC, await store_id(opened), 3, 2).to_bytes()
    (directory / FOLLOWING).write_bytes(header if content == "header" else b"")
    segment = directory / SEGMENT
    segment.write_bytes(segment.read_bytes()[: -torn or None])
    left = counts(b"a", b"b", b"c", b"d", b"e")[: -torn or None]

    async with opened() as store:
        assert store.recovered == left
        assert not (directory / FOLLOWING).exists()
        await store.keep(b"new")
    async with opened() as store:
        assert store.recovered == [*left, (COUNTS, b"new")]


async def test_a_segment_that_was_given_up_between_two_that_were_used_is_passed_over(
    opened: Open, directory: Path
) -> None:
    await filled(opened, b"a", b"b", b"c")
    store_bytes = await store_id(opened)
    (directory / FOLLOWING).write_bytes(Header(SEGMENT_MAGIC, store_bytes, 3, 2).to_bytes())
    used = Header(SEGMENT_MAGIC, store_bytes, 4, 3).to_bytes() + frame_bytes([(4, b"d")], 4)
    (directory / f"counts-{4:020d}.log").write_bytes(used)

    async with opened() as store:
        assert store.recovered == counts(b"a", b"b", b"c", b"d")


async def test_a_segment_without_a_record_tells_that_one_before_it_is_missing(
    opened: Open, directory: Path
) -> None:
    await filled(opened, b"a", b"b")
    header = Header(SEGMENT_MAGIC, await store_id(opened), 3, 2).to_bytes()
    (directory / FOLLOWING).write_bytes(header)
    segment = directory / SEGMENT
    segment.write_bytes(segment.read_bytes()[: HEADER_BYTES + FRAME_BYTES + 1])

    assert "it follows record 2, but the record before it is 1" in await refusal(opened)
