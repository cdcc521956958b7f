"""Plans: what is refused, and that a seed decides everything that is chosen."""

from itertools import islice, takewhile

import pytest

from counter.config import LAN, LOCAL, WAN
from loadtest import timeline
from loadtest.plan import Plan, writers_for
from tracker.errors import ConfigError


def make_plan(**fields):
    happenings = (timeline.parse("pause", "1s@2s"),)
    return Plan(**{"nodes": 100, "seed": 7, "happenings": happenings, **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"nodes": 0}, "nodes is 0, needs at least 1"),
        ({"chatter": 0}, "chatter is 0, needs 1 to 64"),
        ({"latency_s": 2.0}, "latency is 2 s, needs 0 to 1 s"),
        ({"loss": 1.0}, "loss is 100%, needs 0% or more, less than 100%"),
        ({"crash": -0.1}, "crash is -10%"),
        ({"rate": -1.0}, "rate is -1, needs 0 to 1000000"),
        ({"key_count": 0}, "keys is 0, needs 1 to 10000"),
        ({"zipf": 11.0}, "zipf is 11, needs 0 to 10"),
        ({"pick": "best"}, "pick is best, needs one of least-active, random, round-robin"),
        ({"queries_per_s": -1.0}, "queries-per-s is -1"),
        (
            {"happenings": (timeline.parse("crash", "10%@20s"),)},
            "crash 10%@20s: it does not fit into a load of 10 s",
        ),
        ({"writers": 1_001}, "writers is 1001, needs 0 to 1000"),
        ({"queries": -1}, "queries is -1"),
        ({"duration_s": 0.0}, "duration is 0 s, needs 0.1 to 3600 s"),
        ({"seed": -1}, "seed is -1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_makes_no_sense_is_refused_in_plain_words(fields, words):
    with pytest.raises(ConfigError, match=words):
        make_plan(**fields)


def choices_of(plan):
    up = [name for name in plan.names if name not in plan.crashed()]
    return (
        plan.crashed(),
        plan.acts(),
        plan.dice(0).random(),
        list(islice(plan.increments(0), 20)),
        list(islice(plan.arrivals(0), 20)),
        list(islice(plan.questions(up), 20)),
        plan.identity("n1"),
    )


def test_one_seed_makes_the_same_choices_again_and_another_seed_makes_others():
    ours, other = make_plan(crash=0.2), make_plan(crash=0.2, seed=8)

    assert choices_of(ours) == choices_of(make_plan(crash=0.2))
    assert all(a != b for a, b in zip(choices_of(ours), choices_of(other), strict=True))


@pytest.mark.parametrize(
    ("nodes", "crash", "ended"),
    [
        (100, 0.25, 25),
        (5, 0.1, 1),
        (5, 0.99, 4),
        (2, 0.01, 1),
        (2, 0.99, 1),
        (100, 0.001, 1),
        (1, 0.0, 0),
    ],
)
def test_a_share_that_is_asked_for_ends_somebody_and_never_everybody(nodes, crash, ended):
    plan = make_plan(nodes=nodes, crash=crash, happenings=())

    assert len(set(plan.crashed())) == plan.crashes == ended


def test_what_could_strike_nobody_is_refused():
    late = timeline.parse("pause", "50%:1s@2s")

    with pytest.raises(ConfigError, match=r"pause 50%:1s@2s: it would strike nobody"):
        make_plan(nodes=2, crash=0.4, happenings=(late,))
    with pytest.raises(ConfigError, match=r"crash is 40%, needs at least 2 nodes"):
        make_plan(nodes=1, crash=0.4)


def test_those_who_were_ended_before_the_load_are_not_struck_again():
    plan = make_plan(crash=0.9, happenings=(timeline.parse("partition", "1s@2s"),))

    (act,) = plan.acts()

    assert len(act.names) == 5
    assert not set(act.names) & set(plan.crashed())


def test_nodes_keep_their_counts_on_disk_where_one_may_crash_on_the_way():
    crash, pause = timeline.parse("crash", "10%@1s"), timeline.parse("pause", "1s@1s")

    assert make_plan(happenings=(pause, crash)).is_durable
    assert not make_plan(happenings=(pause,), crash=0.5).is_durable


def test_without_a_rate_there_is_no_time_at_which_an_increment_is_to_begin():
    assert list(islice(make_plan(rate=0.0).arrivals(0), 2)) == [0.0, 0.0]


def test_all_writers_together_count_at_the_rate_that_was_asked_for():
    plan = make_plan(writers=4, rate=400.0)

    times = [plan.arrivals(writer) for writer in range(4)]
    within_10_s = [len(list(takewhile(lambda time: time < 10.0, each))) for each in times]

    assert sum(within_10_s) == pytest.approx(4_000, rel=0.05)


@pytest.mark.parametrize(
    ("latency_s", "preset"), [(0.0, LOCAL), (0.010, LAN), (0.080, WAN)], ids=["0", "10ms", "80ms"]
)
def test_nodes_take_the_preset_of_their_latency_with_the_chatter_asked_for(latency_s, preset):
    gossip = make_plan(latency_s=latency_s, chatter=3).gossip

    assert (gossip.hop_s, gossip.chatter) == (preset.hop_s, 3)


def test_a_small_cluster_has_a_writer_for_each_node_by_default():
    assert [writers_for(nodes) for nodes in (1, 5, 1_000)] == [1, 5, 20]
