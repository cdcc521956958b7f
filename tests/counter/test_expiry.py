"""Queries are forgotten in the order in which they are over, in whichever order they came."""

from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter.expiry import Expiry


def test_who_is_over_later_than_all_others_stands_in_the_line():
    expiry = Expiry()

    for number, until in enumerate([1.0, 2.0, 2.0, 1.5, 3.0]):
        expiry.note(until, b"%d" % number)

    assert list(expiry.line) == [(1.0, b"0"), (2.0, b"1"), (2.0, b"2"), (3.0, b"4")]
    assert expiry.strays == [(1.5, b"3")]


def test_where_nobody_is_there_is_no_first_and_no_last():
    expiry = Expiry()

    assert (len(expiry), expiry.first(), expiry.last()) == (0, None, float("-inf"))
    with pytest.raises(IndexError):
        expiry.pop()


def test_strays_alone_are_taken_out_in_their_order():
    expiry = Expiry()
    for until, query in ((9.0, b"line"), (2.0, b"b"), (1.0, b"a")):
        expiry.note(until, query)
    expiry.line.clear()

    assert (expiry.first(), expiry.last(), expiry.pop(), expiry.pop()) == (1.0, 2.0, b"a", b"b")


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=60))
def test_it_says_what_a_heap_would_say(steps):
    expiry, heap, ids = Expiry(), [], {}

    for number, step in enumerate(steps):
        if step is not None:
            ids[query := b"%d" % number] = float(step)
            expiry.note(float(step), query)
            heappush(heap, float(step))
        elif heap:
            assert ids.pop(expiry.pop()) == heappop(heap)
        assert len(expiry) == len(heap)
        assert expiry.first() == (heap[0] if heap else None)
        assert expiry.last() == max(heap, default=float("-inf"))
