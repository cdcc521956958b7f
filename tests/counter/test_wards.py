"""Which parts of an arc nobody stands for."""

import pytest

from counter.wards import gaps


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
