"""A query over whole swarms: how far it reaches, whom it counts, when it stops.

The rule: the swarm knows the truth, and the query's answer is compared with it alone.
"""

from dataclasses import replace

import pytest

from counter.arcs import least_age, reach
from counter.config import LAN
from counter.telling import bytes_of
from loadtest.goals import reach_cases, reach_members
from tracker.members import DEAD, GONE, SUSPECT, View


@pytest.mark.parametrize(("chatter", "visits", "age"), reach_cases())
def test_reach_is_the_law(swarm, chatter, visits, age):
    wanted = reach(age, chatter, visits)
    count = reach_members(chatter, visits, age)

    outcome = swarm(count).run(chatter=chatter, visits=visits, age_max=age)

    assert outcome.reason == "aged"
    assert len(outcome.query.answers) == wanted
    assert len(outcome.query.cut) == count - wanted
    assert outcome.query.hops_seen == age


@pytest.mark.parametrize(("chatter", "visits"), [(10, 1), (3, 1), (2, 5), (1, 5)])
def test_with_nothing_lost_two_messages_a_node_are_enough_in_least_age_hops(swarm, chatter, visits):
    outcome = swarm(200).run(chatter=chatter, visits=visits)

    assert outcome.reason == "complete"
    assert outcome.query.value == sum(range(200))
    assert outcome.sent == {"Ask": 199, "Reply": 199}
    assert outcome.query.hops_seen == least_age(200, chatter, visits)
    assert outcome.query.waves == 0


def test_a_query_ends_with_its_last_answer_and_waits_for_nothing(swarm):
    outcome = swarm(111).run(chatter=10)

    assert outcome.ended == pytest.approx(3 * 0.008)


def test_what_aging_cut_off_is_reported_and_never_repaired(swarm):
    outcome = swarm(100).run(chatter=3, visits=1, age_max=2)

    assert outcome.reason == "aged"
    assert outcome.sent["Ask"] == reach(2, 3, 1) - 1
    assert {why for _, why in outcome.query.silent()} == {"cut off by age"}
    assert len(outcome.query.silent()) == 100 - reach(2, 3, 1)


@pytest.mark.parametrize("seed", range(3))
def test_doubled_and_reordered_messages_change_nothing(swarm, seed):
    world = swarm(120, seed)
    world.twice, world.jitter_s = 0.5, 0.02

    outcome = world.run(chatter=4)

    assert outcome.reason == "complete"
    assert outcome.query.value == sum(range(120))
    assert len(outcome.query.answers) == 120
    assert max(outcome.splits.values()) == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_with_messages_lost_the_answer_is_complete_all_the_same(swarm, seed, loss):
    world = swarm(100, seed)
    world.loss, world.jitter_s = loss, 0.002

    outcome = world.run()

    assert outcome.reason == "complete"
    assert outcome.query.value == sum(range(100))


@pytest.mark.slow
def test_a_query_seldom_stops_with_a_living_member_unheard(swarm):
    runs = 100
    false_stops = 0
    for seed in range(runs):
        world = swarm(100, seed)
        world.loss, world.jitter_s = 0.05, 0.002
        world.dead = {m.name for m in world.rng.sample(world.members[1:], 10)}
        outcome = world.run()

        assert outcome.reason == "converged"
        assert not outcome.names & world.dead
        false_stops += len(outcome.names) < 90
    assert false_stops <= 3


def test_each_silent_member_was_asked_often_enough_before_silence_is_proof(swarm):
    world = swarm(100)
    world.dead = {"n7", "n42"}

    outcome = world.run()

    assert outcome.reason == "converged"
    assert {member.name for member, _ in outcome.query.silent()} == world.dead
    wanted = outcome.query.asks_wanted()
    assert [p.asks for p in outcome.query.pending.values()] == [wanted, wanted]
    assert outcome.query.value == sum(range(100)) - 49


def test_a_suspect_that_lives_is_counted_and_one_that_is_dead_is_missing(swarm):
    world = swarm(40)
    world.view = world.view.merged(
        [world.members[5].became(SUSPECT), world.members[6].became(DEAD)]
    )
    world.dead = {"n6"}

    outcome = world.run(chatter=3)

    assert outcome.reason == "converged"
    assert [m.name for m, _ in outcome.query.silent()] == ["n6"]


def test_a_member_that_only_some_owners_know_is_reached_and_counted(swarm):
    reached = 0
    for seed in range(30):
        world = swarm(60, seed)
        without = View().merged(world.members[:-1])
        world.views = {m.name: without for m in world.members[:-1:2]}
        outcome = world.run(chatter=3)

        assert outcome.reason == "complete"
        assert outcome.query.value in {sum(range(59)), sum(range(60))}
        reached += outcome.query.value == sum(range(60))
    assert reached >= 10


def test_a_joiner_during_the_query_is_waited_for(swarm):
    world = swarm(60)
    world.views["n0"] = View().merged(world.members[:-1])
    for name in world.relays:
        world.views[name] = world.views["n0"]
    world.at(0.012, lambda query: query.follow(world.view))

    outcome = world.run(chatter=3)

    assert outcome.reason == "complete"
    assert "n59" in outcome.names


def test_a_leaver_during_the_query_is_not_waited_for(swarm):
    world = swarm(60)
    world.dead = {"n59"}
    left = world.view.merged([world.members[59].became(GONE)])
    world.at(0.012, lambda query: query.follow(left))

    outcome = world.run(chatter=3)

    assert outcome.reason == "complete"
    assert outcome.query.value == sum(range(59))
    assert outcome.query.members == 59


@pytest.mark.parametrize(
    "asked",
    [{}, {"chatter": 1}, {"chatter": 2}, {"chatter": 3, "age_max": 2}],
    ids=["usual", "chatter 1", "chatter 2", "aged"],
)
@pytest.mark.parametrize("count", [12, 100])
def test_the_bytes_that_an_answer_tells_are_those_that_were_sent(swarm, count, asked):
    world = swarm(count)

    outcome = world.run(**asked)

    assert bytes_of(outcome.query) == pytest.approx(world.bytes, rel=0.1)


def test_stop_goes_down_the_whole_tree_and_a_late_ask_is_ignored(swarm):
    world = swarm(100)
    outcome = world.run(chatter=3)
    told = world.sent["Stop"]

    world.stop(outcome)

    # Each of the 99 was asked by one, and hears of the end from the same.
    assert world.sent["Stop"] - told + len(outcome.query.children) == 99
    ask = outcome.query.sample_ask()
    assert [relay.ask(ask, world.view, 1.0) for relay in world.relays.values()] == [[]] * 99


def test_repair_waves_are_bounded(swarm):
    config = replace(LAN, repair_asks_max=10)
    world = swarm(60, config=config)
    world.dead = {m.name for m in world.members[1:]}

    outcome = world.run(deadline_ms=1_000)

    asks = outcome.sent["Ask"] - 10
    assert 0 < asks <= 10 * outcome.query.waves
    assert len(outcome.query.answers) == 1
