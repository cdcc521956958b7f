"""Beats and heartbeats at rest, answered in bytes as they are in messages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tracker_world import T1, T2, World, heartbeat, make_member, make_registered

from tracker.membership import Membership
from tracker.messages import (
    MEMBERSHIP,
    Beat,
    Departed,
    Heartbeat,
)
from tracker.registry import Registry


def caught_up(**wishes):
    """Return a node that has taken in version 1 of a tracker's list."""
    node, _ = make_registered(**wishes)
    node.receive(1, heartbeat([make_member()], 1, 0), 0.1)
    return node


def body(members=(), version=1, since=1, epoch=b"tracker1"):
    return MEMBERSHIP.encode(heartbeat(list(members), version, since, epoch))


def test_a_heartbeat_without_news_is_answered_in_bytes_as_it_is_in_messages():
    quick, common = caught_up(), caught_up()
    quick.activity = common.activity = 300

    reply = quick.reflex(1, body(), 1.1)

    [beat] = common.receive(1, heartbeat([], 1, 1), 1.1)
    assert reply == MEMBERSHIP.encode(beat.message)
    assert state_of(quick) == state_of(common)


@pytest.mark.parametrize(
    ("link", "frame"),
    [
        pytest.param(2, body(), id="another link"),
        pytest.param(1, body([make_member("n2")], 2, 1), id="news"),
        pytest.param(1, body(version=2, since=2), id="a version not known yet"),
        pytest.param(1, body(version=0, since=0), id="a version of before"),
        pytest.param(1, body(epoch=b"tracker2"), id="another tracker"),
        pytest.param(1, body()[:-1], id="cut short"),
        pytest.param(1, body() + b"\x00", id="more behind it"),
        pytest.param(1, MEMBERSHIP.encode(Departed(0)), id="another message"),
    ],
)
def test_every_other_frame_is_left_alone_and_changes_nothing(link, frame):
    node = caught_up()

    assert node.reflex(link, frame, 1.1) is None

    assert state_of(node) == state_of(caught_up())


def test_a_node_that_lacks_the_list_or_leaves_has_no_reflex():
    behind, _ = make_registered()
    leaving = caught_up()
    leaving.depart(holds_counts=True, now=0.2)

    assert behind.reflex(1, body(version=0, since=0), 1.1) is None
    assert leaving.reflex(1, body(), 1.1) is None


def test_at_rest_every_beat_and_heartbeat_is_a_reflex():
    world = World(reflexes=True)
    for endpoint in (T1, T2):
        world.tracker(endpoint)
    for number in range(4):
        world.node(f"n{number}", (T1, T2))
    world.run(4.5)
    world.reflected.clear()
    world.counted.clear()

    world.run(10.0)

    assert world.counted == {Heartbeat: 80, Beat: 80}
    assert world.reflected == {Membership: 80, Registry: 80}


def test_at_rest_nearly_every_beat_is_the_last_one_again():
    world = World(reflexes=True, standing=True)
    for endpoint in (T1, T2):
        world.tracker(endpoint)
    for number in range(4):
        world.node(f"n{number}", (T1, T2))
    world.run(4.5)
    world.again = 0

    world.run(10.0)

    assert world.again == 80


def test_a_node_at_rest_is_not_looked_at_and_beats_in_time_once_its_tracker_is_silent():
    worlds = World(), World(reflexes=True, standing=True)
    for world in worlds:
        world.tracker(T1)
        world.node("n0")
        world.run(4.5)
    common, resting = worlds
    before = resting.alarms["n0"].looks

    resting.run(60.0)
    common.run(60.0)
    assert resting.alarms["n0"].looks == before
    for world in worlds:
        world.pause(T1)
        world.counted.clear()
        world.run(2.0)

    assert resting.counted == common.counted
    assert resting.counted[Beat] > 0


def state_of(machine):
    """Return everything a reflex could have changed, or have failed to."""
    if isinstance(machine, Registry):
        publication = machine._publication
        return (
            [(r.name, r.heard_at, r.activity) for r in machine._links.values()],
            [(r.acknowledged, r.sent) for r in publication._readers.values()],
            sorted(machine._detector._due.items()),
            (machine.table.version, machine.table.digest, machine.deadline()),
        )
    trackers = [(t.state, t.version, t.heard_at, t.quiet_since) for t in machine._trackers]
    beats = [t.beat_at for t in machine._trackers]
    return trackers, beats, machine.view.digest, machine.member, machine.deadline()


NAMES = st.sampled_from(["n0", "n1", "n2", "n3"])
STEPS = st.one_of(
    st.tuples(st.just("run"), st.sampled_from([0.01, 0.3, 1.0, 3.5, 12.0])),
    st.tuples(st.just("work"), NAMES, st.sampled_from([0, 1, 127, 128, 70_000, 2**40])),
    st.tuples(st.just("kill"), st.one_of(NAMES, st.sampled_from([T1, T2]))),
    st.tuples(st.just("begin"), st.one_of(NAMES, st.sampled_from([T1, T2]))),
    st.tuples(st.sampled_from(["split", "mute"]), NAMES, st.sampled_from([T1, T2])),
    st.tuples(st.just("heal")),
)


def carry_out(world, step, life, trackers=(T1, T2)):
    match step:
        case ("run", seconds):
            world.run(seconds)
        case ("work", name, activity) if name in world.nodes:
            world.nodes[name].activity = activity
        case ("kill", key) if key in world.nodes or key in world.trackers:
            world.kill(key)
        case ("begin", (_, _) as endpoint) if endpoint not in world.trackers:
            world.tracker(endpoint)
        case ("begin", str(name)) if name not in world.nodes:
            world.node(name, trackers, epoch=life, port=7401 + int(name[1:]))
        case ("split", name, endpoint):
            world.split(name, endpoint)
        case ("mute", name, endpoint):
            world.mute.add((name, endpoint))
        case ("heal",):
            world.heal()


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=12), st.sampled_from([(T1,), (T1, T2)]))
@pytest.mark.slow
def test_machines_with_reflexes_say_and_hold_what_machines_without_do(steps, trackers):
    begin = [("begin", key) for key in (T1, T2, "n0", "n1")]
    worlds = World(reflexes=True), World(reflexes=True, standing=True), World()
    for life, step in enumerate([*begin, ("run", 1.0), *steps, ("run", 2.0)], 1):
        for world in worlds:
            carry_out(world, step, life, trackers)

        quick, quicker, common = worlds
        assert quick.counted == quicker.counted == common.counted
        assert quick.events == quicker.events == common.events
        for machines in ("trackers", "nodes"):
            states = [
                {key: state_of(machine) for key, machine in getattr(world, machines).items()}
                for world in worlds
            ]
            assert states[0] == states[1] == states[2]
