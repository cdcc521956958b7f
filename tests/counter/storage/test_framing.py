"""The native frame of a commit is the Python one, byte for byte."""

import gc
import sys
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter.storage import batches
from counter.storage.base import COUNTS, MEMBERS
from tracker.machine import Persist
from tracker.native import extension

NATIVE: Any = extension("counter.native.framing")

pytestmark = pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")


def refused() -> Any:
    return batches.Refused(1, 2, "busy")


entries = st.builds(
    Persist,
    st.integers(1, 2**63 - 1),
    st.sampled_from([COUNTS, COUNTS, COUNTS, "".join(["cou", "nts"]), MEMBERS]),
    st.binary(max_size=300),
)


@given(st.lists(entries | st.builds(refused), max_size=20))
def test_a_batch_has_the_frame_that_python_makes_or_is_left_to_it(batch: list[Any]):
    kept = [entry for entry in batch if type(entry) is Persist]
    is_plain = kept == batch != [] and all(entry.kind == COUNTS for entry in batch)

    found = NATIVE.frame_of(batch, Persist, crc32)

    native, batches._NATIVE = batches._NATIVE, None
    frame, token, members = batches.parted(batch)
    batches._NATIVE = native
    assert found == ((frame, token) if is_plain else None)
    if is_plain:
        assert batches.parted(batch) == (frame, token, members)


@pytest.mark.parametrize(
    "entry",
    [Persist(2**64, COUNTS, b""), Persist(-1, COUNTS, b""), Persist(1, COUNTS, bytearray(b""))],
    ids=["a token too long", "before the first", "no bytes"],
)
def test_what_is_no_plain_record_is_left_to_python(entry: Persist):
    assert NATIVE.frame_of([Persist(1, COUNTS, b"a"), entry], Persist, crc32) is None


def test_what_it_cannot_be_called_with_is_refused():
    for arguments in ((), ((), Persist, crc32), ([], Persist)):
        with pytest.raises(TypeError):
            NATIVE.frame_of(*arguments)
    with pytest.raises(ZeroDivisionError):
        NATIVE.frame_of([Persist(1, COUNTS, b"a")], Persist, lambda rest: 1 // 0)


@pytest.mark.parametrize("size", [0, 99, 101, 100_000])
def test_a_record_that_is_another_one_when_it_is_written_down_is_refused(size: int):
    class Changing:
        token, kind = 1, COUNTS

        def __init__(self) -> None:
            self.records = [bytes(size), bytes(100)]

        @property
        def record(self) -> bytes:
            return self.records.pop()

    with pytest.raises(RuntimeError, match="has changed while"):
        NATIVE.frame_of([Changing()], Changing, crc32)


def test_nothing_is_left_of_a_frame():
    batch = [Persist(number, COUNTS, b"record") for number in range(1, 9)]
    NATIVE.frame_of(batch, Persist, crc32)
    before = sys.getrefcount(batch[0]), sys.getrefcount(batch[0].record), len(gc.get_objects())
    for _ in range(1_000):
        NATIVE.frame_of(batch, Persist, crc32)
        NATIVE.frame_of([*batch, None], Persist, crc32)

    assert (sys.getrefcount(batch[0]), sys.getrefcount(batch[0].record)) == before[:2]
    assert abs(len(gc.get_objects()) - before[2]) < 50
