"""Which parts of an arc nobody stands for, and when a ward is told."""

import pytest

from counter.delegation import Arc
from counter.messages import DONE, Batch
from counter.wards import Ward, gaps


@pytest.mark.parametrize(
    ("covered", "left"),
    [
        pytest.param([], [(10, 20)], id="nobody"),
        pytest.param([(10, 20)], [], id="all of it"),
        pytest.param([(0, 12), (11, 14)], [(14, 20)], id="the beginning, by two that overlap"),
        pytest.param([(12, 14), (16, 30)], [(10, 12), (14, 16)], id="the end, and a part"),
        pytest.param([(0, 5), (20, 30)], [(10, 20)], id="what lies before and behind it"),
        pytest.param([(0, 5), (25, 30)], [(10, 20)], id="what lies before and further behind"),
    ],
)
def test_what_nobody_stands_for_is_what_the_others_leave(covered, left):
    assert list(gaps(10, 20, covered)) == left


def test_a_ward_is_told_once_every_batch_up_to_the_last_has_come_in_whatever_order():
    ward = Ward(1, Arc(0, 9, ()), ("127.0.0.1", 1), 0.0, True)

    told = [
        ward.told(make_batch(sequence, flags, asks=40), asks_max=30)
        for sequence, flags in ((2, DONE), (0, 0), (0, 0), (1, 0), (1, 0))
    ]

    assert told == [False, False, False, True, False]
    assert (ward.is_open, ward.asks) == (False, 30)


def make_batch(sequence, flags, asks):
    return Batch(b"q" * 16, 1, 2, sequence, flags, 0, 9, 7, asks, 6, 5, b"", (), b"", b"")
