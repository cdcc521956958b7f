"""Merging shares is a maximum: it commutes, associates and may be repeated, whatever comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter.crdt import Counters, Share

pytestmark = pytest.mark.slow

OWN = b"o" * 16
stores = st.sampled_from([OWN, b"a" * 16, b"b" * 16])
totals = st.integers(0, 2**62)
rows = st.lists(st.tuples(st.sampled_from("kmn"), totals, totals), max_size=3)
news = st.lists(st.tuples(stores, st.integers(1, 3), rows), max_size=6)


def merged(pieces):
    counters = Counters(OWN, 1)
    for store, epoch, page in pieces:
        counters.merge(store, epoch, page)
    return counters


def content(counters):
    shares = {counters.store: counters.own, **counters.others}
    return {store: (s.epoch, dict(s.positive), dict(s.negative)) for store, s in shares.items()}


@given(news, st.randoms(use_true_random=False))
def test_shares_merge_to_the_same_in_any_order(pieces, random):
    shuffled = list(pieces)
    random.shuffle(shuffled)

    assert content(merged(pieces)) == content(merged(shuffled))


@given(news)
def test_shares_merged_twice_are_merged_once(pieces):
    assert content(merged(pieces + pieces)) == content(merged(pieces))


@given(news, news)
def test_shares_merge_in_any_grouping(first, second):
    middle = merged(second)
    together = merged(first)
    for store, share in {middle.store: middle.own, **middle.others}.items():
        together.merge(store, share.epoch, list(share.rows()))

    assert content(together) == content(merged(first + second))


@given(st.lists(st.integers(-(2**53), 2**53)))
def test_a_copy_that_follows_a_share_by_its_rows_has_its_value(amounts):
    share, copy = Share(1), Share(1)

    for amount in amounts:
        share.add("k", amount)
        copy.merge_rows(1, share.rows())

        assert copy.value("k") == share.value("k")
    assert share.value("k") == sum(amounts)
