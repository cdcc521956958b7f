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


def make_share(**totals):
    share = Share(1)
    for key, total in totals.items():
        share.add(key, total)
    return share


@pytest.mark.parametrize("amounts", [None, [1, 1, 1], [3, 0, 200]])
def test_known_keys_are_raised_together_and_a_key_may_come_twice(amounts):
    share, one_by_one = make_share(a=5, b=7), make_share(a=5, b=7)
    keys = ["a", "b", "a"]

    assert share.raise_known(keys, amounts)

    for key, amount in zip(keys, amounts or [1] * 3, strict=True):
        one_by_one.add(key, amount)
    assert share.positive == one_by_one.positive


@pytest.mark.parametrize("amounts", [None, [1, 2, 3, 4, 5, 6]])
def test_where_one_key_is_new_none_is_raised_and_none_is_made(amounts):
    share = make_share(a=5, b=7)

    assert not share.raise_known(["a", "new", "b", "a", "newer", "new"], amounts)

    assert list(share.rows()) == [("a", 5, 0), ("b", 7, 0)]


@pytest.mark.parametrize("amounts", [None, [1, 1]])
def test_where_a_total_might_leave_its_range_none_is_raised(amounts):
    share = make_share(a=SHARE_MAX - 1, b=7, c=3)

    assert not share.raise_known(["b", "a"], amounts)
    assert share.raise_known(["b", "c"], amounts)

    assert list(share.rows()) == [("a", SHARE_MAX - 1, 0), ("b", 8, 0), ("c", 4, 0)]


def test_what_was_raised_is_taken_back():
    share = make_share(a=5, b=7)
    share.raise_known(["a", "b", "a"], None)
    share.raise_known(["b", "a"], [4, 9])

    share.lower(["a", "b", "a"], None)
    share.lower(["b", "a"], [4, 9])

    assert list(share.rows()) == [("a", 5, 0), ("b", 7, 0)]


@pytest.mark.parametrize(
    "raised",
    [
        lambda share, total: share.add("a", total),
        lambda share, total: share.add_all(("a", total)),
        lambda share, total: share.add_all(("b", 1, "a", total, "c", -2)),
        lambda share, total: share.merge_rows(1, [("a", total, 0)]),
        lambda share, total: share.merge_rows(2, [("a", total, 0)]),
        lambda share, total: share.raise_known(["a", "b"], [total, 1]),
    ],
    ids=["add", "add one", "add many", "merge", "merge a later epoch", "raise"],
)
@pytest.mark.parametrize("total", [1, 2**40, 2**40 + 1, 2**61, SHARE_MAX - 5])
def test_no_total_is_above_the_ceiling_however_it_was_raised(raised, total):
    share = make_share(a=0, b=0)

    raised(share, total)

    assert total <= share.ceiling <= SHARE_MAX


def test_raising_by_one_puts_the_ceiling_higher_too():
    share = make_share(a=0, b=0)
    share.add("a", share.ceiling)
    before = share.ceiling

    share.add_all(("a", 1) * 3)
    share.raise_known(["a"] * 3, None)

    assert share.value("a") == before + 6 <= share.ceiling


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
