"""The PN-counter of one origin and of many: values, merging, the range."""

import pytest

from counter.crdt import Counters, Share
from tracker.wire import SHARE_MAX

OWN, OTHER = b"o" * 16, b"x" * 16


def test_a_value_is_increments_less_decrements():
    share = Share(1)

    share.add("hits", 7)
    share.add("hits", -9)

    assert share.value("hits") == -2
    assert share.value("never counted") == 0


def test_only_keys_that_were_decreased_have_a_negative_side():
    share = Share(1)

    share.add("up", 7)
    share.add("down", -1)

    assert share.negative == {"down": 1}
    assert share.has_decreased("down")
    assert not share.has_decreased("up")


def test_a_key_that_was_only_decreased_is_a_row_and_counts_as_a_key():
    share = Share(1)

    share.add("down", -3)

    assert list(share.rows()) == [("down", 0, 3)]
    assert len(share) == 1


@pytest.mark.parametrize("sign", [1, -1], ids=["increments", "decrements"])
def test_each_side_of_a_key_ends_at_the_range_exactly(sign):
    share = Share(1)
    share.add("k", sign * (SHARE_MAX - 10))

    assert share.takes("k", sign * 10)
    assert not share.takes("k", sign * 11)
    assert share.takes("k", sign * 4, reserved=6)
    assert not share.takes("k", sign * 4, reserved=7)
    assert share.takes("k", -sign * 11)


def test_rows_of_a_later_epoch_replace_those_of_an_earlier():
    share = Share(1)
    share.add("old", 5)

    share.merge_rows(2, [("new", 1, 0)])

    assert list(share.rows()) == [("new", 1, 0)]
    assert share.epoch == 2


def test_rows_of_an_earlier_epoch_change_nothing():
    share = Share(2)
    share.add("k", 5)

    share.merge_rows(1, [("k", 100, 100)])

    assert list(share.rows()) == [("k", 5, 0)]


def test_within_an_epoch_the_larger_totals_win_side_by_side():
    share = Share(1)
    share.merge_rows(1, [("k", 5, 9)])

    share.merge_rows(1, [("k", 8, 2)])

    assert list(share.rows()) == [("k", 8, 9)]


def test_the_total_is_that_of_all_origins():
    counters = Counters(OWN, 1)
    counters.own.add("k", 3)

    counters.merge(OTHER, 4, [("k", 10, 1)])

    assert counters.value("k") == 12
    assert counters.share(OTHER).epoch == 4


def test_rows_of_the_own_store_merge_into_the_own_share():
    counters = Counters(OWN, 1)

    counters.merge(OWN, 1, [("k", 3, 0)])

    assert counters.own.value("k") == counters.value("k") == 3
    assert counters.others == {}


def test_nothing_is_held_of_a_store_nobody_told_of():
    assert Counters(OWN, 1).share(OTHER) is None
