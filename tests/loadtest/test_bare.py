"""Cells in whole worlds: real machines, lost datagrams, members that are silent, die, come back.

The rule: the world knows who is up and what everybody holds; the answer is compared with that.
"""

import gc
from dataclasses import replace

import pytest

from counter.config import LAN
from counter.messages import UNTIL_ALL, Query, Trail
from loadtest.bare import KEY, NODES_MAX, BareConfig, BareWorld
from loadtest.simulation.bursts import Bursts
from tracker.errors import ConfigError

SMALL = replace(LAN, cell_members_max=32, direct_max=8)
"""Cells so small that a few hundred members need two floors of them."""


def make_world(nodes=300, *, gossip=SMALL, **changes):
    return BareWorld(BareConfig(nodes=nodes, gossip=gossip, **changes))


def heads_of(world):
    """Return the numbers of the nodes that collect a cell."""
    return [n for n, node in sorted(world.nodes.items()) if node.heads.collected]


def cells_of(world):
    return [cell for n in heads_of(world) for cell in world.nodes[n].heads.collected[world.id]]


# -- with nothing lost ------------------------------------------------------------------------


@pytest.mark.parametrize(("chatter", "visits"), [(10, 1), (3, 1), (2, 5), (1, 5)])
def test_every_member_is_counted_once_and_the_answer_is_complete(chatter, visits):
    outcome = make_world().run(chatter=chatter, visits=visits)

    assert outcome.answer.reason == "complete"
    assert outcome.answer.value == outcome.exact
    assert outcome.answer.answered == 300
    assert outcome.answer.duplicates == 0
    assert outcome.by_kind["Batch"] > 0


def test_at_the_size_of_a_cell_the_origin_hears_everybody_by_itself():
    outcome = make_world(32).run()

    assert outcome.by_kind == {"Ask": 31, "ShortReply": 31}


def test_one_above_the_size_of_a_cell_there_are_cells():
    outcome = make_world(33).run(chatter=3)

    # Hops are long there: each head is asked once more before it can have said that it is there.
    assert outcome.by_kind["Delegate"] == outcome.by_kind["Ack"] == 2 * 3
    assert outcome.answer.value == outcome.exact


def test_a_chain_is_asked_as_ever_since_it_has_no_heads():
    outcome = make_world(300).run(chatter=1, visits=1, deadline_ms=1_000)

    assert "Delegate" not in outcome.by_kind


def test_two_floors_of_heads_pass_the_arcs_on_and_nobody_collects_more_than_a_cell():
    world = make_world(1_000)

    outcome = world.run(chatter=4)

    assert outcome.answer.value == outcome.exact
    assert outcome.by_kind["Delegate"] > 4
    assert outcome.busiest_other <= 32 + 32


def test_what_it_said_to_have_cost_is_near_to_what_it_cost():
    outcome = make_world(1_000).run()

    assert outcome.answer.messages == pytest.approx(outcome.messages, rel=0.05)
    assert outcome.answer.bytes == pytest.approx(outcome.bytes, rel=0.15)


def test_with_too_little_age_the_rest_is_reported_as_cut_off_and_not_asked():
    outcome = make_world().run(chatter=4, age_max=2)

    assert outcome.answer.reason == "aged"
    assert outcome.answer.answered == 1 + 4 + 16
    assert outcome.answer.cut == 300 - 21


def test_with_no_age_left_above_the_cells_the_arcs_are_reported_as_cut_off():
    outcome = make_world(1_000).run(chatter=4, age_max=1)

    assert outcome.answer.reason == "aged"
    assert (outcome.answer.answered, outcome.answer.cut) == (5, 995)


def test_the_same_seed_gives_the_same_run():
    first, second = (make_world(loss=0.1, crashed=0.1, seed=5).run() for _ in range(2))

    assert first.answer == second.answer
    assert first.by_kind == second.by_kind
    assert first.stop_s == second.stop_s


# -- with faults ------------------------------------------------------------------------------

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (1, 2))]
"""The worlds of a soak among them are large, and of one kind with the first."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "crashed"), [(0.0, 0.1), (0.05, 0.0), (0.05, 0.1), (0.2, 0.0), (0.2, 0.3)]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_lost_those_that_are_up_are_counted_and_the_others_named(loss, crashed, seed):
    world = make_world(1_000, loss=loss, crashed=crashed, seed=seed)

    outcome = world.run()

    assert outcome.live_missing == 0
    assert outcome.answer.value == outcome.exact
    assert outcome.answer.complete == (crashed == 0)
    assert {name for name, *_ in world.named} == {f"n{n}" for n in world.silent}


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_three_thousand_members_with_loss_and_crashes_are_all_counted(seed):
    outcome = make_world(3_000, gossip=LAN, loss=0.05, crashed=0.1, seed=seed).run()

    assert outcome.live_missing == 0
    assert outcome.answer.value == outcome.exact
    assert outcome.answer.reason == "converged"
    assert outcome.busiest <= 1_024 + 0.05 * 3_000
    assert outcome.messages / 3_000 < 3.1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_doubled_and_lost_datagrams_change_nothing_in_the_sum(seed):
    outcome = make_world(600, doubled=0.3, loss=0.1, seed=seed).run()

    assert outcome.answer.complete
    assert outcome.answer.value == outcome.exact
    assert outcome.answer.answered == 600


def test_where_ways_are_always_bad_nobody_hears_and_where_hardly_ever_everybody():
    never = Bursts(good_s=1e9, bad_s=1e-9)
    always = Bursts(good_s=1e-9, bad_s=1e9)

    assert make_world(30, bursts=never).run().answer.complete
    alone = make_world(30, bursts=always).run()
    assert (alone.answer.answered, alone.live_missing) == (1, 29)
    assert alone.is_false_stop


def test_members_believed_dead_are_asked_and_head_nothing():
    world = make_world(200)
    world.doubt(range(20, 60))

    outcome = world.run()

    assert outcome.answer.complete
    assert not set(heads_of(world)) & set(range(20, 60))


@pytest.mark.parametrize("seed", range(3))
def test_a_head_that_dies_midway_is_replaced(seed):
    world = make_world(seed=seed)
    dead = []

    def kill():
        dead.extend(heads_of(world)[:2])
        world.silent.update(dead)

    world.at(0.0125, kill)

    outcome = world.run()

    assert len(dead) == 2
    assert outcome.live_missing == 0
    assert {name for name, *_ in world.named} == {f"n{n}" for n in dead}
    assert outcome.answer.value == outcome.exact


@pytest.mark.parametrize("seed", range(3))
def test_a_head_that_is_restarted_midway_takes_its_cell_up_again(seed):
    world = make_world(seed=seed)
    again = []

    def restart():
        again.extend(heads_of(world)[:2])
        for number in again:
            world.restart(number)

    world.at(0.025, restart)

    outcome = world.run()

    assert len(again) == 2
    assert outcome.answer.complete
    assert outcome.answer.value == outcome.exact
    assert outcome.answer.answered == 300


def test_who_heads_too_much_refuses_and_another_takes_the_arc():
    world = make_world()
    for number in range(1, 200):
        world.node(number).heads.config = replace(SMALL, cells_max=0)

    outcome = world.run()

    assert outcome.answer.complete
    assert outcome.answer.value == outcome.exact
    assert sum(node.heads.refused for node in world.nodes.values()) > 0
    assert set(heads_of(world)) <= set(range(200, 300))


def test_when_all_refuse_the_origin_asks_each_member_itself():
    world = make_world(100)
    for number in range(1, 100):
        world.node(number).heads.config = replace(SMALL, cells_max=0)

    outcome = world.run()

    assert outcome.answer.complete
    assert outcome.answer.value == outcome.exact
    assert heads_of(world) == []


def test_past_too_many_arcs_the_origin_asks_each_member_itself():
    outcome = make_world(gossip=replace(SMALL, arcs_max=2)).run()

    assert outcome.answer.complete
    assert outcome.answer.value == outcome.exact


def test_a_slow_origin_causes_no_storm():
    outcome = make_world(1_500, gossip=LAN, origin_busy_s=25e-6).run()

    assert outcome.answer.complete
    assert outcome.messages / 1_500 <= 2.2


def test_a_cancelled_query_stops_its_heads_and_their_cells():
    world = make_world(1_000)
    world.at(0.030, lambda: world.cancel())

    outcome = world.run(chatter=4)
    world.drain(0.5)

    assert outcome.answer.reason == "cancelled"
    assert world.sent["Stop"] > 10
    assert all(len(node.heads) == 0 for node in world.nodes.values())


def test_everything_that_was_headed_is_forgotten_when_its_time_is_over():
    world = make_world(1_000, loss=0.1)
    world.run(chatter=4, deadline_ms=2_000)

    world.drain(2.0 + LAN.memory_s + 0.5)

    assert [len(node.heads) for node in world.nodes.values()] == [0] * len(world.nodes)


def test_when_the_origin_dies_its_heads_give_up():
    world = make_world(300)
    world.at(0.020, lambda: world.silent.add(0))

    world.start(deadline_ms=20_000)
    world.drain(3.0)

    assert world.sent["Batch"] > 0
    assert heads_of(world) == []


# -- what cannot be simulated -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nodes": 0}, "nodes is 0, needs 1 to"),
        ({"nodes": NODES_MAX + 1}, "needs 1 to"),
        ({"nodes": 5, "loss": 1.0}, "loss is 1, needs 0 or more, below 1"),
        ({"nodes": 5, "crashed": -0.1}, "crashed is -0.1"),
    ],
)
def test_a_world_that_makes_no_sense_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        BareConfig(**changes)


def test_a_world_of_one_answers_for_itself():
    outcome = make_world(1).run(rows=True)

    assert (outcome.answer.value, outcome.messages) == (0, 0)
    assert outcome.t100_s == 0.0


@pytest.mark.parametrize("chatter", [0, 4])
def test_a_traced_query_shows_the_way_inside_cells_too(chatter, monkeypatch):
    rows = []
    world = make_world(300)
    monkeypatch.setattr(
        BareWorld, "_tell", lambda _, told: rows.extend(told.rows if type(told) is Trail else ())
    )
    query = Query(1, KEY, chatter, 0, 0, 20_000, UNTIL_ALL, 0, 0, False, trace=True)

    world._carry_out(0, world.node(0).ask(query, 0.0))
    world.drain(5.0)

    asked_by = {name: parent for name, _, parent, *_ in rows}
    ages = {row[0]: row[3] for row in rows}
    assert len(asked_by) == 300
    # The way of the very last may be told by a datagram that the last batch has overtaken.
    assert len([name for name, parent in asked_by.items() if not parent]) < 10
    assert all(ages[name] == ages[parent] + 1 for name, parent in asked_by.items() if parent)


# -- what a node takes ------------------------------------------------------------------------


def test_a_node_that_is_asked_and_no_more_is_made_of_few_objects():
    world = make_world(nodes=64)
    world.node(1)
    gc.collect()
    before = len(gc.get_objects())

    for number in range(2, 12):
        world.node(number)
    made = len(gc.get_objects()) - before

    # A table of who takes which message alone would be sixty more of them.
    assert made / 10 < 170
