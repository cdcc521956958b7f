"""What a query is to cost and to take, and how it is judged."""

import pytest

from counter.config import LAN
from loadtest.bare import BareConfig, BareWorld
from loadtest.goals import (
    MIXES,
    NUMBERS,
    Found,
    Limit,
    Setting,
    limits,
    messages_least,
    reach_cases,
    visits_of,
)
from tracker.classes import replace


def make_found(**changes):
    values = {
        "messages": 2.0, "messages_up": 2.0, "hops": 3, "t99_ms": 50.0, "t100_ms": 57.0,
        "stop_ms": 57.0, "in_cast": 999, "bytes": 150.0, "coverage": 1.0, "false_stops": 0.0,
    }  # fmt: skip
    return Found(**{**values, **changes})


def judged(setting, **changes):
    return {
        (limit.name, limit.why): limit.is_reached
        for limit in limits(setting, make_found(**changes))
    }


def test_the_least_messages_are_an_ask_and_an_answer_each_retried_end_to_end():
    assert messages_least(0.0) == 2.0
    assert messages_least(0.05) == pytest.approx(2.161, abs=0.001)
    assert messages_least(0.2) == pytest.approx(2.813, abs=0.001)


def test_each_size_has_numbers_for_each_mix_of_faults():
    assert all(len(row) == len(MIXES) for row in NUMBERS.values())


def test_numbers_are_those_of_the_next_larger_size_and_the_next_worse_mix():
    assert Setting(nodes=1_000).numbers[0].t99_ms == 51
    assert Setting(nodes=1_001).numbers[0].t99_ms == 76
    worse = Setting(nodes=90_000, loss=0.02, crashed=0.03)
    assert worse.numbers[1] == "100000 nodes, 5% + 10%"


@pytest.mark.parametrize(
    "setting",
    [
        Setting(nodes=100_001),
        Setting(nodes=10, loss=0.5),
        Setting(nodes=10, hop_s=0.05),
        Setting(nodes=10, gossip=replace(LAN, chatter=7)),
    ],
    ids=["more nodes", "more loss", "a slower network", "another chatter"],
)
def test_where_there_are_no_numbers_what_was_measured_is_not_judged(setting):
    assert judged(setting)["messages a node", ""] is None


def test_a_query_that_is_as_good_as_its_numbers_reaches_all_of_them():
    results = judged(Setting(nodes=1_000))

    assert results.pop(("stop (ms)", "1000 nodes, 0% + 0%")) is None
    assert set(results.values()) == {True}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"messages": 2.006}, "messages a node"),
        ({"messages_up": 2.041}, "messages a live node*"),
        ({"hops": 4}, "hops"),
        ({"t99_ms": 51.6}, "99 % heard (ms)"),
        ({"t100_ms": None}, "100 % heard (ms)"),
        ({"in_cast": 1_075}, "heard by the busiest node"),
        ({"bytes": 200.6}, "bytes a node, with headers"),
        ({"coverage": 0.9999999}, "coverage"),
        ({"false_stops": 0.02}, "false stops"),
    ],
)
def test_whatever_is_worse_than_its_bound_is_not_reached(changes, name):
    results = judged(Setting(nodes=1_000), **changes)

    assert {told for (told, _), reached in results.items() if reached is False} == {name}


def test_above_the_cells_a_tenth_more_messages_than_the_least_are_allowed():
    names = judged(Setting(nodes=10_000), messages_up=2.19)

    assert names["messages a live node*", "the least is 2.000"]


def test_with_much_loss_bytes_and_messages_have_no_bound():
    results = judged(Setting(nodes=1_000, loss=0.2))

    assert results["bytes a node, with headers", ""] is None
    assert results["messages a live node*", "the least is 2.812"] is None


def test_the_time_of_everybody_is_told_only_if_most_queries_heard_everybody():
    outcomes = [BareWorld(BareConfig(nodes=20, seed=seed)).run() for seed in range(2)]
    outcomes[0].t100_s = None

    found = Found.of(outcomes, Setting(nodes=20))

    assert found.t100_ms is None
    assert found.t99_ms == pytest.approx(30, abs=15)
    assert found.coverage == 1.0


def test_a_limit_without_a_number_is_shown_as_null():
    assert Limit("x", None, None).as_dict()["found"] is None


def test_few_peers_are_visited_in_several_rounds():
    assert [visits_of(chatter) for chatter in (1, 2, 3, 10)] == [5, 5, 1, 1]


def test_there_are_48_cases_of_the_law_of_reach():
    assert len(reach_cases()) == 48
