"""A queue that is empty most of the time."""

import sys
from collections import deque

import pytest

from counter.line import Line


def test_what_was_put_in_first_is_taken_out_first():
    line = Line()
    for item in "abc":
        line.append(item)

    assert [line.popleft() for _ in range(3)] == ["a", "b", "c"]
    with pytest.raises(IndexError):
        line.popleft()


def test_an_empty_line_takes_a_small_part_of_what_an_empty_deque_takes():
    assert 4 * sys.getsizeof(Line()) < sys.getsizeof(deque())
