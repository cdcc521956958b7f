"""What is in doubt of each key at one node, and of many together where not all of them fit."""

import pytest

from counter.doubtful import NOTHING, Doubted, InDoubt
from counter.messages import (
    DOUBT_ROWS_MAX,
    DOUBT_ROWS_ROOM_BYTES,
    GOSSIP,
    KEYS_KEPT_MAX,
    UncertainMany,
    named,
    prefixed,
)
from tracker.errors import FrameError
from tracker.wire import SHARE_MAX, packed


def made(*increments):
    known = InDoubt()
    for pairs in increments:
        known.add(pairs, 1)
    return known


def test_what_comes_and_goes_leaves_nothing():
    known = made(("a", 5, "b", -2), ("a", -1))
    assert (known.of("a"), known.of("b"), known.of("c")) == ((1, 5, 2), (2, 0, 1), NOTHING)

    known.add(("a", 5, "b", -2), -1)
    assert (known.of("a"), known.of("b")) == ((1, 0, 1), NOTHING)

    known.add(("a", -1), -1)
    assert known.by_key == {}


def test_a_question_is_answered_with_the_keys_it_asks_for_the_largest_first():
    known = made(("page:a", 1), ("page:b", -9), ("page:c", 4), ("other", 7))

    assert known.about(prefixed("page:")) == Doubted(
        9, 5, 3, (("page:b", 9, 0), ("page:c", 0, 4), ("page:a", 0, 1))
    )
    assert known.about(named("other", "none")) == Doubted(0, 7, 1, (("other", 0, 7),))
    assert known.about(named("none")) is None
    assert known.about(prefixed("none")) is None


@pytest.mark.parametrize("length", [1, 60, 250])
def test_what_finds_no_room_is_bounded_by_the_largest_of_it(length):
    pairs = [(f"{n:03}" + "k" * length, n if n % 2 else -n) for n in range(1, 400)]
    whole = made(*pairs).about(prefixed(""))

    told = whole.fitted()

    assert told.amounts == whole.amounts
    assert sum([len(packed(row)) for row in told.rows]) <= DOUBT_ROWS_ROOM_BYTES
    assert len(told.rows) <= DOUBT_ROWS_MAX
    assert told.left_out == 399 - len(told.rows)
    out = whole.rows[len(told.rows) :]
    assert told.rest_minus == max([minus for _, minus, _ in out])
    assert told.rest_plus == max([plus for _, _, plus in out])


def test_no_more_keys_are_listed_than_an_origin_keeps():
    known = made(*[(f"{n}", 1) for n in range(KEYS_KEPT_MAX + 5)])

    told = known.about(prefixed(""))

    assert (len(told.rows), told.left_out, told.rest_plus) == (KEYS_KEPT_MAX, 5, 1)


def test_of_one_key_no_more_is_held_than_a_share_could():
    known = made(("a", SHARE_MAX - 5))

    assert known.has_room(("a", 5, "b", SHARE_MAX))
    assert not known.has_room(("a", 3, "a", 3))
    assert not known.has_room(("a", -6))


def test_an_answer_with_doubts_travels():
    told = UncertainMany(b"x", 2**70, 2**71, 3, (("k", 2**62, 1),), 4, 5, 6)

    assert GOSSIP.decode(GOSSIP.encode(told)) == told


def test_less_than_nothing_in_doubt_is_refused():
    with pytest.raises(FrameError, match="less than nothing"):
        GOSSIP.decode(GOSSIP.encode(UncertainMany(b"x", -1, 0, 1, (), 0, 0, 0)))
