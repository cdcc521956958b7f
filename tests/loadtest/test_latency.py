"""The histogram: percentiles within their error, merging, bounded memory."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.latency import BUCKETS_MAX, Histogram

samples = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=300)


@given(samples, st.sampled_from([0.01, 0.5, 0.9, 0.99]))
def test_a_percentile_is_the_sample_of_its_rank_to_within_half_a_percent(found, share):
    rank = max(1, math.ceil(round(share * len(found), 6)))

    assert Histogram(found).percentile(share) == pytest.approx(sorted(found)[rank - 1], rel=0.005)


@given(samples, samples)
def test_merging_two_histograms_is_recording_both(left, right):
    merged = Histogram(left)
    merged.merge(Histogram(right))

    both = Histogram(left + right)
    assert merged.percentiles() == both.percentiles()
    assert merged.count == both.count
    assert merged.mean == pytest.approx(both.mean)


def test_the_largest_sample_is_exact():
    assert Histogram([1.0, 123.456789]).percentiles()["max"] == 123.456789


def test_a_million_to_one_spread_of_samples_stays_within_its_buckets():
    random = Random(4711)
    histogram = Histogram(math.exp(random.uniform(-40, 40)) for _ in range(20_000))

    assert len(histogram._buckets) <= BUCKETS_MAX
    assert len(histogram._buckets) > 1_000


def test_zero_is_a_sample_like_any_other():
    assert Histogram([0.0, 0.0, 0.0, 4.0]).percentile(0.5) == 0.0


def test_samples_beyond_the_range_count_at_its_edge():
    histogram = Histogram([1e-30, 1e30])

    assert histogram.percentile(0.5) == pytest.approx(2**-31, rel=0.01)
    assert histogram.max == 1e30


def test_an_empty_histogram_has_no_percentiles_rather_than_zeros():
    assert Histogram().percentiles() == {
        "p50": None,
        "p90": None,
        "p99": None,
        "p999": None,
        "max": None,
    }
    assert Histogram().mean is None


@pytest.mark.parametrize("sample", [-1.0, math.nan, math.inf], ids=str)
def test_what_is_no_time_is_refused(sample):
    with pytest.raises(ValueError, match="0 or more"):
        Histogram([sample])


def test_what_came_since_is_what_came_since():
    histogram = Histogram([1.0, 2.0])
    before = histogram.copy()
    for sample in (4.0, 4.0, 1.0):
        histogram.record(sample)

    later = histogram.since(before)

    assert (later.count, later.total, later.max) == (3, 9.0, 4.0)
    assert later.percentile(0.3) == pytest.approx(1.0, rel=0.005)
    assert before.count == 2


def test_the_largest_of_what_came_since_is_known_when_there_was_a_larger_one_before():
    histogram = Histogram([100.0])
    before = histogram.copy()
    histogram.record(3.0)

    assert histogram.since(before).max == pytest.approx(3.0, rel=0.005)
    assert histogram.since(histogram).percentiles()["max"] is None


def test_bins_have_no_gaps_and_every_sample():
    bins = Histogram([0.0, 1.0, 1.5, 16.0]).bins(1)

    assert bins == [(1, 2, 3), (2, 4, 0), (4, 8, 0), (8, 16, 0), (16, 32, 1)]
    assert Histogram().bins(4) == []
    assert Histogram([0.0]).bins(4) == [(0.0, 0.0, 1)]
