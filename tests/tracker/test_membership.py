"""Nodes and trackers together: real machines on both ends of a tiny pump with a virtual clock."""

import random
from math import inf

from tracker_world import T1, T2, World, heartbeat, make_member, make_registered, started, statuses

from tracker.arrivals import WAIT_S
from tracker.machine import (
    Close,
    Emit,
    Open,
    Opened,
    Send,
    Unreachable,
)
from tracker.members import ALIVE, AWAY, DEAD, GONE, SUSPECT, Member, View
from tracker.membership import LOOK_GAP_S, Membership
from tracker.messages import (
    Beat,
    Departing,
    Forget,
    Heartbeat,
    Teach,
    news_to_wire,
)
from tracker.names import derived

# -- joining ----------------------------------------------------------------------------------


def test_nodes_find_each_other_through_the_tracker():
    world = started(5)

    everybody = {f"n{i}": ALIVE for i in range(1, 6)}
    assert all(statuses(node) == everybody for node in world.nodes.values())
    assert len({node.view.digest for node in world.nodes.values()}) == 1
    assert all(node.is_registered for node in world.nodes.values())


def test_joining_is_said_once_with_the_tracker_the_time_and_the_members():
    world = started(1)
    world.node("n2")
    world.run(5.0)

    [joined] = world.said("joined", "n2")
    assert joined["tracker"] == "10.0.0.1:7400"
    assert joined["members"] == 2
    assert 0.0 <= joined["ms"] < 1000.0


def test_a_joining_node_is_known_to_all_within_a_tenth_of_a_second():
    world = started(3)
    world.node("n4")

    world.run(0.1)

    assert all("n4" in statuses(node) for node in world.nodes.values())


def test_a_quiet_cluster_exchanges_one_beat_and_one_heartbeat_a_node_and_second():
    world = started(4)
    world.run(3.0)
    world.counted.clear()

    world.run(10.0)

    assert world.counted == {Heartbeat: 40, Beat: 40}


def test_a_node_that_hears_no_heartbeat_beats_unasked_after_two_intervals_and_then_in_each():
    node, _ = make_registered(interval_ms=60_000)
    node.receive(1, heartbeat([make_member()], 1, 0), 0.5)

    beats = [(second, node.tick(float(second))) for second in range(1, 8)]

    assert [second for second, effects in beats if effects] == [3, 4, 5, 6, 7]
    assert all(effects in ([], [Send(1, Beat(1, 0, 0))]) for _, effects in beats)


def test_a_node_that_was_stopped_reads_before_it_gives_a_tracker_up():
    node, _ = make_registered()
    node.receive(1, heartbeat([make_member()], 1, 0), 1.0)

    effects = node.tick(4.0)

    assert effects == [Send(1, Beat(1, 0, 0))]


def test_the_activity_of_a_node_travels_with_its_beat():
    world = started(1)
    world.nodes["n1"].activity = 17

    world.run(1.5)

    assert world.trackers[T1]._links.activity("n1") == 17


def test_a_node_waits_for_a_tracker_that_starts_later():
    world = World()
    node = world.node("n1")
    world.run(60.0)
    assert not node.is_registered
    assert node.is_cut_off
    assert node.known_until(world.now, 3.0) == -inf

    world.tracker()
    world.run(2.0)

    assert node.is_registered
    assert [d["reason"] for d in world.said("tracker-lost")] == ["connection refused"]
    assert len(world.said("tracker-back")) == 1


def test_the_pauses_between_tries_grow_to_their_limit_and_differ():
    node = Membership([T1], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)
    now, pauses = 0.0, []
    assert node.start(0.0) == [Open(T1)]
    for _ in range(50):
        node.submit(Unreachable(T1, "refused"), now)
        assert node.tick(node.deadline() - 0.001) == []
        pauses.append(node.deadline() - now)
        now = node.deadline()
        assert node.tick(now) == [Open(T1)]
        assert node.deadline() is None

    assert all(0.1 <= pause <= 1.5 for pause in pauses)
    assert pauses[0] <= 0.2
    assert max(pauses) > 1.0
    assert len(set(pauses)) == 50


# -- trackers come and go ---------------------------------------------------------------------


def test_with_its_tracker_dead_a_node_keeps_its_view_and_may_call_it_current():
    world = started(3)
    view = world.nodes["n1"].view

    world.kill(T1)
    world.run(30.0)

    node = world.nodes["n1"]
    assert node.view is view
    assert node.known_until(world.now, 3.0) > 0
    assert node.is_cut_off
    assert not node.is_registered


def test_a_lost_tracker_is_looked_for_before_the_view_is_called_current():
    world = started(2)
    node = world.nodes["n1"]
    world.kill(T1)
    lost_at = world.now
    assert node.known_until(world.now, 3.0) < lost_at
    world.tracker()
    world.node("n3")
    assert node.known_until(world.now, 3.0) < lost_at

    world.do("n1", "look")
    world.run(0.1)

    assert statuses(node)["n3"] == ALIVE
    assert node.known_until(world.now, 3.0) == inf


def test_a_dead_tracker_is_looked_for_once_however_many_want_to_know():
    node = Membership([T1], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)
    node.start(0.0)
    node.submit(Unreachable(T1, "refused"), 0.0)

    assert node.look(0.01) == node.look(0.02) == []
    assert node.tick(LOOK_GAP_S) == [Open(T1)]
    assert node.look(LOOK_GAP_S) == []
    node.submit(Unreachable(T1, "refused"), 0.06)
    assert node.look(0.2) == [Open(T1)]


def test_a_tracker_that_restarts_empty_is_taught_within_two_seconds_and_takes_nobody_away():
    world = started(3)
    world.kill("n3")
    world.run(1.0)
    digest = world.nodes["n1"].view.digest
    world.kill(T1)
    world.run(1.0)

    registry = world.tracker()
    world.run(2.0)

    assert statuses(registry) == {"n1": ALIVE, "n2": ALIVE, "n3": SUSPECT}
    assert statuses(world.nodes["n1"]) == {"n1": ALIVE, "n2": ALIVE, "n3": SUSPECT}
    assert world.nodes["n1"].view.digest == digest
    world.run(15.0)
    assert statuses(world.nodes["n1"])["n3"] == DEAD


def test_a_tracker_that_restarts_with_its_list_is_taught_nothing_it_knows():
    world = started(3)
    world.kill(T1)
    world.run(1.0)
    world.counted.clear()

    world.tracker(saved=world.saved[T1])
    world.run(2.0)

    assert world.counted[Teach] == 0
    assert statuses(world.nodes["n1"]) == {"n1": ALIVE, "n2": ALIVE, "n3": ALIVE}


def test_a_restart_of_the_tracker_raises_nobody_to_suspicion():
    world = started(5)
    world.kill(T1)
    world.run(1.0)
    world.events.clear()

    world.tracker()
    world.run(10.0)

    assert world.said("suspect") == []


def test_a_cluster_that_starts_after_a_power_cut_still_knows_who_is_missing():
    world = started(3)
    view = world.nodes["n1"].view
    for key in (T1, "n1", "n2", "n3"):
        world.kill(key)

    world.tracker()
    node = world.node("n1", view=view, epoch=2)
    world.run(WAIT_S + 5.0)

    assert statuses(node) == {"n1": ALIVE, "n2": SUSPECT, "n3": SUSPECT}
    assert node.view.get("n1").epoch == 2


def test_a_single_node_with_an_empty_view_teaches_nothing():
    world = started(3)

    assert world.counted[Teach] == 0


# -- several trackers -------------------------------------------------------------------------


def test_with_one_of_two_trackers_dead_everything_goes_on():
    world = started(3, (T1, T2))
    world.kill(T1)
    world.run(5.0)

    world.node("n4", (T1, T2))
    world.run(2.0)

    assert all(len(node.view) == 4 for node in world.nodes.values())
    assert all(node.known_until(world.now, 3.0) > 0 for node in world.nodes.values())
    assert not any(node.is_cut_off for node in world.nodes.values())


def test_a_tracker_that_was_away_learns_from_the_nodes_who_came_meanwhile():
    world = started(2, (T1, T2))
    world.kill(T2)
    world.node("n3", (T1,))
    world.run(1.0)

    registry = world.tracker(T2)
    world.run(3.0)

    assert sorted(statuses(registry)) == ["n1", "n2", "n3"]


def test_the_same_tracker_given_twice_is_one():
    node = Membership([T1, T1], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)

    assert node.start(0.0) == [Open(T1)]


def test_two_trackers_that_gave_one_name_away_twice_come_to_agree():
    world = World()
    world.tracker(T1)
    world.tracker(T2)
    world.node("n1", (T1,), store="a")
    world.node("n1", (T2,), store="b")
    world.run(2.0)

    world.node("n2", (T1, T2))
    world.run(2.0)
    for key in ("n2",):
        for link, ends in list(world.ends.items()):
            if key in ends:
                world.drop(link, "reset")
    world.run(3.0)

    stores = {r.table.get("n1").store[:1] for r in world.trackers.values()}
    assert stores == {b"b"}
    [lost] = world.said("name-lost", "n1")
    assert lost["as"].startswith("n1~61")
    for registry in world.trackers.values():
        assert registry.table.get(lost["as"]).expected


# -- partition, silence, pause ----------------------------------------------------------------


def test_a_member_cut_off_is_suspect_and_alive_again_when_the_partition_heals():
    world = started(3)
    world.split("n3", T1)
    world.run(5.0)
    assert statuses(world.nodes["n1"])["n3"] == SUSPECT
    world.run(10.0)
    assert statuses(world.nodes["n1"])["n3"] == DEAD

    world.heal()
    world.run(2.0)

    assert all(statuses(node)["n3"] == ALIVE for node in world.nodes.values())
    assert world.nodes["n3"].member.incarnation == 1


def test_a_stream_that_stays_open_but_silent_is_closed_and_opened_anew():
    world = started(2)
    world.mute.add(("n1", T1))

    world.run(3.5)
    node = world.nodes["n1"]
    assert node.known_until(world.now, 3.0) == -inf
    assert not node.is_cut_off
    assert [d["reason"] for d in world.said("tracker-lost", "n1")] == ["silent"]
    world.heal()
    world.run(5.0)

    assert node.known_until(world.now, 3.0) > 0
    assert statuses(world.nodes["n2"]) == {"n1": ALIVE, "n2": ALIVE}


def test_a_flapping_link_leaves_the_member_alive():
    world = started(2)
    for _ in range(10):
        world.split("n1", T1)
        world.run(0.3)
        world.heal()
        world.run(1.7)

    world.run(2.0)

    assert statuses(world.nodes["n2"]) == {"n1": ALIVE, "n2": ALIVE}
    assert world.said("dead") == []


def test_a_paused_node_denies_its_death_when_it_wakes():
    world = started(2)
    world.pause("n1")
    world.run(20.0)
    assert statuses(world.nodes["n2"])["n1"] == DEAD

    world.wake("n1")
    world.run(2.0)

    assert statuses(world.nodes["n2"])["n1"] == ALIVE
    assert world.nodes["n1"].member.incarnation == 1


def test_a_dead_member_is_not_revived_by_a_stale_view():
    world = started(2)
    stale = world.nodes["n2"].view
    world.kill("n1")
    world.run(15.0)

    world.node("n3", view=stale)
    world.run(3.0)

    assert statuses(world.trackers[T1])["n1"] == DEAD
    assert statuses(world.nodes["n3"])["n1"] == DEAD


def test_a_member_that_is_gone_is_not_revived_by_a_stale_view():
    world = started(2)
    stale = world.nodes["n2"].view
    world.kill("n1")
    world.run(1.0)
    world.ask(T1, Forget(1, "n1"))

    world.node("n3", view=stale)
    world.run(3.0)

    assert statuses(world.nodes["n3"])["n1"] == GONE


def test_a_node_that_restarts_right_after_its_death_is_not_declared_dead_again():
    world = started(2)
    world.kill("n1")
    world.run(9.0)
    world.node("n1", epoch=2)
    world.events.clear()

    world.run(20.0)

    assert statuses(world.nodes["n2"])["n1"] == ALIVE
    assert world.said("dead") == []


# -- names ------------------------------------------------------------------------------------


def test_a_name_clash_is_refused_once_and_not_tried_again():
    world = started(1)
    other = world.node("n1", store="x", port=7999)
    world.run(10.0)

    [refusal] = other.refusals
    assert (refusal.tracker, refusal.code) == (T1, "name-taken")
    assert "10.0.1.1:7401" in refusal.text
    assert "10.0.1.1:7999" in refusal.text
    assert len(world.said("registration-refused")) == 1
    assert other.heard_at is None
    assert other.is_cut_off
    assert other.deadline() is None


def test_a_refusal_that_may_pass_is_said_once_and_tried_again():
    world = started(1, members_max=1)
    other = world.node("n2")

    world.run(10.0)

    [refused] = world.said("registration-refused")
    assert refused["code"] == "full"
    assert other.refusals == []
    assert other.deadline() is not None


def test_a_clone_of_a_living_node_is_refused_and_the_node_stays():
    world = started(2)
    clone = world.node("n1", port=7999)
    world.run(5.0)

    assert [r.code for r in clone.refusals] == ["clone"]
    assert statuses(world.nodes["n2"])["n1"] == ALIVE
    assert world.nodes["n2"].view.get("n1").port == 7401


def test_a_moved_node_is_found_at_its_new_address():
    world = started(2)
    world.kill("n1")
    world.run(1.0)

    world.node("n1", epoch=2, port=7999)
    world.run(1.0)

    assert world.nodes["n2"].view.get("n1").endpoint == ("10.0.1.1", 7999)


def test_a_crashed_memory_node_is_replaced_under_a_new_reign_and_everybody_is_told():
    world = started(1)
    world.node("m1", store="old", durable=False)
    world.run(1.0)
    world.kill("m1")
    world.run(1.0)

    again = world.node("m1", store="new", durable=False)
    world.run(1.0)

    seen = world.nodes["n1"].view.get("m1")
    assert (seen.store[:3], seen.reign, seen.status) == (b"new", 1, ALIVE)
    assert seen.note.startswith("counts of its previous store are lost")
    assert again.member.reign == 1
    assert len(world.said("counts-lost")) == 1


def test_a_node_whose_name_was_given_to_another_says_so_once():
    world = started(1)
    node = world.nodes["n1"]
    [link] = node._contacts.by_link
    thief = Member("n1", b"t" * 16, 5, 1, 0, "10.0.9.9", 9, ALIVE)
    told = Heartbeat(node._trackers[0].epoch, 5, 1, news_to_wire([thief]))

    effects = node.receive(link, told, 2.0) + node.receive(link, told, 2.0)

    emits = [e for e in effects if isinstance(e, Emit)]
    assert [e.event for e in emits] == ["name-lost"]
    assert emits[0].details["address"] == "10.0.9.9:9"
    assert emits[0].details["as"] == derived("n1", node.member.store)
    # Its own share is none of that list, so no sum over the list is complete with it.
    assert node.is_usurped
    assert node.known_until(2.0, 3.0) == -inf


# -- leaving and forgetting -------------------------------------------------------------------


def test_a_graceful_stop_is_known_to_all_at_once():
    world = started(3)
    node = world.nodes["n1"]

    effects = node.depart(True, world.now)
    world._queue.append(("n1", effects))
    world.run(0.1)

    assert [type(e.message) for e in effects] == [Departing]
    assert node.is_departed
    assert statuses(world.nodes["n2"])["n1"] == AWAY
    world.run(30.0)
    assert statuses(world.nodes["n2"])["n1"] == AWAY
    assert node.deadline() is None


def test_a_node_without_a_tracker_departs_from_nobody():
    node = Membership([T1], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)
    node.start(0.0)
    assert node.depart(True, 1.0) == []
    assert node.is_departed
    assert node.submit(Opened(1, T1), 1.1) == [Close(1)]


def test_a_tracker_that_dies_while_a_node_departs_is_not_waited_for():
    world = started(1)
    node = world.nodes["n1"]
    world.mute.add(("n1", T1))
    world._queue.append(("n1", node.depart(False, world.now)))
    world.run(0.1)
    assert not node.is_departed

    world.kill(T1)

    assert node.is_departed
    assert node.deadline() is None


def test_who_went_away_comes_back_with_its_old_view():
    world = started(2)
    view = world.nodes["n1"].view
    world._queue.append(("n1", world.nodes["n1"].depart(True, world.now)))
    world.run(1.0)
    world.kill("n1")
    world.run(60.0)

    node = world.node("n1", epoch=2, view=view)
    world.run(1.0)

    assert statuses(node) == statuses(world.nodes["n2"]) == {"n1": ALIVE, "n2": ALIVE}


def test_a_forgotten_member_is_gone_everywhere_even_after_the_tracker_restarts_empty():
    world = started(3)
    world.kill("n3")
    world.run(1.0)
    world.ask(T1, Forget(1, "n3"))
    world.run(1.0)
    world.kill(T1)
    world.tracker()
    world.run(3.0)

    assert statuses(world.trackers[T1])["n3"] == GONE
    assert world.nodes["n1"].view.expected == 2
