"""The trace of dropped sessions: it may hold too much, never too little."""

from random import Random

import pytest

from counter.forgotten import BITS_PER_SESSION, HASHES, SLICE_BYTES, Forgotten
from counter.stamps import new_session


def copy_of(forgotten):
    copy = Forgotten()
    for row in forgotten.rows():
        copy.restore(row)
    return copy


def test_nothing_was_dropped_and_nothing_is_held():
    forgotten = Forgotten()

    assert list(forgotten.rows()) == []
    assert not forgotten.may_hold(bytes(16))
    assert not forgotten.may_hold(new_session(1, bytes(8)))


def test_stamped_sessions_are_held_by_the_latest_of_their_stamps_and_take_no_room():
    forgotten = Forgotten()
    for second in (30, 10, 20):
        forgotten.add(new_session(second, bytes(8)))

    for either in (forgotten, copy_of(forgotten)):
        assert [either.may_hold(new_session(s, b"x" * 8)) for s in (29, 30, 31)] == [1, 1, 0]
        assert not either.may_hold(bytes(16))
        assert len(list(either.rows())) == 1


def test_sessions_without_a_stamp_are_held_each():
    forgotten, dice = Forgotten(), Random(4711)
    dropped = [dice.randbytes(16) for _ in range(300)]
    for session in dropped:
        forgotten.add(session)

    for either in (forgotten, copy_of(forgotten)):
        assert all(either.may_hold(session) for session in dropped)
        assert not any(either.may_hold(dice.randbytes(16)) for _ in range(300))
        assert len(either) == 300


def test_sessions_that_differ_in_one_bit_are_told_apart():
    forgotten = Forgotten()
    for number in range(0, 400, 2):
        forgotten.add(number.to_bytes(16, "big"))

    assert not any(forgotten.may_hold(n.to_bytes(16, "big")) for n in range(1, 400, 2))


@pytest.mark.slow
def test_a_full_filter_is_followed_by_a_larger_one_and_both_hold_what_they_held(monkeypatch):
    monkeypatch.setattr("counter.forgotten.FILTER_BITS_MIN", 2**12)
    monkeypatch.setattr("counter.forgotten.FILTER_BITS_MAX", 2**14)
    forgotten, dice = Forgotten(), Random(4711)
    room = (2**12 + 2**13 + 2**14) // BITS_PER_SESSION
    dropped = [dice.randbytes(16) for _ in range(room)]
    strangers = [dice.randbytes(16) for _ in range(4_000)]
    for session in dropped:
        forgotten.add(session)

    copy = copy_of(forgotten)

    assert len(copy) == room
    assert all(copy.may_hold(session) for session in dropped)
    # Three full filters, each mistaken once in 1700: seven in 4000 are expected.
    assert sum(map(copy.may_hold, strangers)) < 30
    for _ in range(room):
        copy.add(dice.randbytes(16))
    assert all(copy.may_hold(session) for session in dropped)
    assert len({row[1] for row in copy.rows()}) == 3


def test_an_empty_part_of_a_filter_is_not_written_down(monkeypatch):
    monkeypatch.setattr("counter.forgotten.FILTER_BITS_MIN", 32 * 8 * SLICE_BYTES)
    forgotten = Forgotten()
    forgotten.add(bytes(16))

    assert 1 <= len(list(forgotten.rows())) <= HASHES
    assert copy_of(forgotten).may_hold(bytes(16))
