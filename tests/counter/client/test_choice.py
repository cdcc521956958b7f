"""Which node a client talks to."""

from collections import Counter
from random import Random

import pytest

from counter.client.blocking import SystemDice
from counter.client.choice import PICKS, least_active, ordered
from tracker.members import ALIVE, SUSPECT
from tracker.messages import CANDIDATES_MAX


@pytest.mark.parametrize(
    "activities",
    [[0], [7], [0, 0, 0], [5, 5], [0, 10**9], [10**30, 1, 1], [2**64, 2**64]],
    ids=str,
)
def test_a_node_is_always_found(activities):
    for seed in range(30):
        assert 0 <= least_active(activities, Random(seed)) < len(activities)


def test_the_less_active_the_likelier_but_nobody_is_left_out():
    random = Random(1)
    drawn = Counter(least_active([0, 100, 200], random) for _ in range(2_000))

    assert drawn[0] > drawn[1] > drawn[2] > 100


def test_only_the_proportion_of_activities_counts():
    small = [least_active([1, 2, 4], Random(seed)) for seed in range(100)]
    large = [least_active([1_000, 2_000, 4_000], Random(seed)) for seed in range(100)]

    assert small == large


def test_the_last_is_taken_where_rounding_leaves_nobody():
    class Highest(Random):
        def random(self):
            return 1.0

    assert least_active([3, 3, 3], Highest()) == 2


def test_there_must_be_somebody_to_choose_from():
    with pytest.raises(ValueError, match="nobody to choose from"):
        least_active([], Random(1))


def make_candidates(*activities, status=ALIVE):
    return [(f"n{i}", "127.0.0.1", 7401 + i, status, a) for i, a in enumerate(activities, 1)]


def names(candidates):
    return [candidate[0] for candidate in candidates]


@pytest.mark.parametrize("pick", PICKS)
def test_every_candidate_is_tried_once_and_the_suspect_last(pick):
    candidates = [*make_candidates(0, status=SUSPECT), *make_candidates(0, 10**12, 5)[1:]]

    for seed in range(20):
        order = names(ordered(candidates, pick, Random(seed), seed))

        assert sorted(order) == ["n1", "n2", "n3"]
        assert order[-1] == "n1"


def test_round_robin_begins_one_further_each_turn():
    candidates = make_candidates(0, 0, 0)

    orders = [names(ordered(candidates, "round-robin", Random(1), turn)) for turn in range(4)]

    assert [order[0] for order in orders] == ["n1", "n2", "n3", "n1"]


def test_where_a_tracker_names_as_many_as_it_can_its_order_is_that_of_the_turns():
    candidates = make_candidates(*[0] * CANDIDATES_MAX)
    told = candidates[20:] + candidates[:20]

    assert ordered(told, "round-robin", Random(1), 7) == told
    assert ordered(told[1:], "round-robin", Random(1), 0)[0] == min(told[1:])


def test_the_idle_node_is_mostly_tried_first():
    candidates = make_candidates(900, 0, 900)

    first = [names(ordered(candidates, "least-active", Random(seed)))[0] for seed in range(200)]

    assert 100 < first.count("n2") < 200


def test_a_random_pick_does_not_look_at_activity():
    candidates = make_candidates(10**9, 0)

    first = [names(ordered(candidates, "random", Random(seed)))[0] for seed in range(200)]

    assert 60 < first.count("n1") < 140


def test_nobody_is_an_order_too():
    assert ordered([], "round-robin", Random(1)) == []


def test_the_dice_of_the_system_give_what_dice_give():
    dice = SystemDice()

    assert all(0 <= dice.random() < 1 for _ in range(100))
    assert len({dice.randbytes(16) for _ in range(10)}) == 10
