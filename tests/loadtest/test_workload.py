"""Streams of work: repeatable, and distributed as they say."""

from collections import Counter
from itertools import islice
from random import Random

import pytest

from loadtest import workload


def test_one_seed_is_one_stream_and_another_seed_another():
    def stream(seed):
        made = workload.increments(Random(seed), workload.key_names(50), amount_max=9, skew=1.1)
        return list(islice(made, 200))

    assert stream(1) == stream(1)
    assert stream(1) != stream(2)


def test_without_skew_every_key_is_as_likely_as_another():
    counts = Counter(islice(workload.choices(Random(1), 10), 10_000))

    assert all(abs(counts[number] - 1_000) < 5 * 30 for number in range(10))


def test_with_skew_the_popularity_of_keys_follows_zipf():
    counts = Counter(islice(workload.choices(Random(1), 100, skew=1.0), 20_000))

    assert counts[0] / counts[1] == pytest.approx(2.0, rel=0.15)
    assert counts[0] / counts[9] == pytest.approx(10.0, rel=0.25)
    assert max(counts) <= 99


def test_amounts_are_from_one_to_their_maximum_and_some_are_decreases():
    made = workload.increments(Random(1), ["k"], amount_max=3, decrease_share=0.25)

    counts = Counter(amount for _, amount in islice(made, 6_000))

    assert set(counts) == {-3, -2, -1, 1, 2, 3}
    assert sum(counts[a] for a in (-3, -2, -1)) == pytest.approx(1_500, rel=0.1)


def test_arrivals_come_in_order_at_the_wanted_rate():
    times = list(islice(workload.arrivals(Random(1), per_s=100.0, start=5.0), 5_000))

    assert times == sorted(times)
    assert times[-1] - 5.0 == pytest.approx(50.0, rel=0.08)


def test_questions_go_to_every_node_about_every_key():
    asked = set(islice(workload.questions(Random(1), 3, ["a", "b"]), 200))

    assert asked == {(node, key) for node in range(3) for key in ("a", "b")}


def test_names_of_keys_sort_in_the_order_of_their_number():
    names = workload.key_names(11)

    assert (names[0], names[10]) == ("key-00", "key-10")
    assert names == sorted(names)


@pytest.mark.parametrize(
    "make",
    [
        lambda: workload.key_names(0),
        lambda: next(workload.choices(Random(1), 0)),
        lambda: next(workload.increments(Random(1), ["k"], amount_max=0)),
        lambda: next(workload.arrivals(Random(1), per_s=0.0)),
    ],
    ids=["no keys", "no choice", "no amount", "no rate"],
)
def test_a_stream_of_nothing_is_refused(make):
    with pytest.raises(ValueError, match=r"needs|nothing"):
        make()
