"""A store that tells all of its parent, and an heir of that one: nobody is ever told both."""

import pytest
from heir_world import (
    HEIR,
    LATER,
    MIXED,
    OTHER,
    PARENT,
    SECOND,
    TRACKER,
    HeirCluster,
    drawn,
)

from counter import handover
from counter.adoption import Adoption
from counter.newcomers import Newcomers
from tracker.members import DEAD, SUSPECT

pytestmark = pytest.mark.slow


def status_of(cluster, place):
    """Return how a tracker has the store in a place."""
    store = cluster.world.disk(place).identity.store
    members = cluster.world.machine(TRACKER).table.members.values()
    return next(member.status for member in members if member.store == store)


def met_by_a_forgetful_tracker(seed=1):
    """Let a tracker that lost its list take in a store whose parent's heir nobody has heard of.

    The heir is known as a member, and away.
    """
    cluster = HeirCluster(seed)
    heir = cluster.hand_over(OTHER)
    assert heir == HEIR
    cluster.crash(heir)
    cluster.forget_all(TRACKER)
    cluster.start(OTHER)
    cluster.pause(4.0)
    cluster.start(MIXED)
    cluster.go_on(12.0)
    cluster.count(MIXED)
    return cluster


def test_a_store_that_tells_all_of_its_parent_waits_for_who_is_away_and_ends_if_that_is_the_heir():
    cluster = met_by_a_forgetful_tracker()

    assert cluster.node(MIXED).membership.announcement.is_told
    assert not cluster.is_counting(MIXED)
    assert cluster.holds[MIXED] == {0, 2}
    cluster.start(HEIR)
    cluster.go_on(8.0)
    assert not cluster.is_up(MIXED)
    # It had acknowledged nothing, so nobody misses it.
    assert cluster.final()
    assert cluster.wrong == []


def nobody_asks(patch):
    patch.setattr(handover, "Wholes", lambda *parts: None)


def nobody_holds_anything(patch):
    patch.setattr(Adoption, "holds", lambda self, store: False)


def it_answers_before_all_have_said(patch):
    patch.setattr(Newcomers, "is_open", property(lambda self: self.parents.is_open))


@pytest.mark.parametrize(
    "plant", [nobody_asks, nobody_holds_anything, it_answers_before_all_have_said]
)
def test_that_world_counts_twice_with_each_planted_mistake(plant, monkeypatch):
    plant(monkeypatch)
    cluster = met_by_a_forgetful_tracker()
    cluster.start(HEIR)
    cluster.go_on(6.0)

    assert [twice for _, _, _, twice, _, _ in cluster.wrong if twice]


def test_it_ends_at_once_where_the_heir_is_there():
    cluster = HeirCluster(3)
    cluster.hand_over(OTHER)
    cluster.forget_all(TRACKER)
    cluster.start(MIXED)
    cluster.go_on(8.0)
    cluster.start(OTHER)
    cluster.go_on(4.0)

    assert not cluster.is_up(MIXED)
    assert cluster.final()
    assert cluster.wrong == []


def test_where_nobody_had_heard_of_the_heir_what_was_acknowledged_meanwhile_is_missed_not_lost():
    cluster = HeirCluster(1)
    heir = cluster.hand_over(HEIR, OTHER, joins=True)
    assert heir == LATER
    cluster.crash(heir)
    cluster.forget_all(TRACKER)
    for place in (HEIR, OTHER, MIXED):
        cluster.start(place)
        cluster.pause(4.0)
    cluster.go_on(6.0)
    cluster.count(MIXED)
    assert 4 in cluster.holds[MIXED]
    assert cluster.final()
    cluster.start(heir)
    cluster.go_on(4.0)
    assert not cluster.is_up(MIXED)
    assert status_of(cluster, MIXED) in (SUSPECT, DEAD)
    # No answer is complete without what it had acknowledged, until somebody gives it up.
    before = cluster.completes
    cluster.go_on(4.0)

    assert (cluster.completes, cluster.final()) == (before, False)
    assert cluster.wrong == []


def test_without_a_tracker_it_asks_by_the_lists_of_those_whom_it_knows():
    cluster = HeirCluster(2)
    heir = cluster.hand_over(OTHER)
    cluster.world.crash(TRACKER)
    cluster.crash(heir)
    cluster.start(OTHER)
    cluster.start(MIXED)
    cluster.go_on(6.0)
    cluster.count(MIXED)

    assert not cluster.is_counting(MIXED)
    cluster.start(heir)
    cluster.go_on(6.0)
    assert not cluster.is_up(MIXED)
    cluster.start_tracker()
    cluster.go_on(6.0)
    assert cluster.final()
    assert cluster.wrong == []


def test_a_second_tracker_that_did_not_hear_of_the_hand_over_makes_no_difference():
    cluster = HeirCluster(5)
    heir = cluster.hand_over(OTHER)
    cluster.crash(heir)
    cluster.trackers = (SECOND,)
    cluster.forget_all(SECOND)
    cluster.start(OTHER)
    cluster.start(MIXED)
    cluster.go_on(10.0)
    assert cluster.is_up(MIXED)
    assert not cluster.is_counting(MIXED)
    # The two trackers never hear of each other but by this one.
    cluster.trackers = (TRACKER, SECOND)
    cluster.start(heir)
    cluster.go_on(8.0)

    assert not cluster.is_up(MIXED)
    assert cluster.wrong == []


@pytest.mark.parametrize("first", [HEIR, OTHER])
def test_it_ends_whichever_of_two_heirs_comes_back_first(first):
    cluster = HeirCluster(6)
    cluster.start(PARENT)
    cluster.pause(4.0)
    cluster.count(PARENT)
    cluster.crash(OTHER)
    cluster.pause(4.0)
    held = set(cluster.holds[PARENT])
    cluster.part_before_it_is_over(PARENT)
    # The first heir has all of it, the leaver has not heard so, and finds another one.
    cluster.crash(HEIR)
    for place in (OTHER, PARENT):
        cluster.start(place)
    cluster.pause(16.0)
    assert PARENT in cluster.ended
    for place in (HEIR, OTHER):
        cluster.holds[place] |= held
        cluster.crash(place)
    cluster.forget_all(TRACKER)
    cluster.start(MIXED)
    cluster.go_on(4.0)
    assert cluster.is_up(MIXED)
    cluster.start(first)
    cluster.go_on(6.0)
    assert not cluster.is_up(MIXED)
    for place in (HEIR, OTHER):
        cluster.start(place)
    cluster.go_on(6.0)
    assert cluster.wrong == []


@pytest.mark.parametrize("first", [PARENT, MIXED])
def test_where_it_has_another_name_it_does_not_count_beside_its_parent_that_lives(first):
    cluster = HeirCluster(7)
    cluster.names[MIXED] = "n8"
    cluster.start(first)
    cluster.pause(4.0 if first == PARENT else 0.0)
    cluster.world.crash(TRACKER)
    cluster.go_on(3.0)
    for place in (PARENT, MIXED):
        cluster.start(place)
    cluster.go_on(6.0)
    assert not cluster.is_up(MIXED)
    cluster.start_tracker()
    cluster.go_on(6.0)

    assert cluster.is_counting(PARENT)
    assert cluster.final()
    assert cluster.wrong == []


def test_where_nothing_was_handed_over_it_goes_on_and_a_restart_waits_for_nobody():
    cluster = HeirCluster(4)
    cluster.start(MIXED)
    cluster.go_on(10.0)
    cluster.count(MIXED)
    assert 3 in cluster.holds[MIXED]
    assert cluster.final()
    cluster.crash(HEIR)
    cluster.pause(3.0)
    cluster.again(MIXED)
    cluster.pause(4.0)
    cluster.count(MIXED)

    assert 4 in cluster.holds[MIXED]
    cluster.start(HEIR)
    cluster.go_on(3.0)
    assert cluster.final()
    assert cluster.wrong == []


def test_no_answer_counts_twice_however_they_come_and_go():
    worlds = [drawn(seed) for seed in range(12)]

    assert [world.wrong for world in worlds if world.wrong] == []
    assert sum(world.completes for world in worlds) > 1_000
    assert sum(world.is_complete for world in worlds) > 6


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_no_answer_counts_twice_in_a_thousand_worlds():
    assert [seed for seed in range(1_000, 2_000) if drawn(seed).wrong] == []
