"""Which node a client's increments go to, and how another one is come by."""

from itertools import count
from random import Random

import pytest
from client_world import World, failure_of, other, start

from counter.client.choice import PICKS
from counter.client.destination import Destination
from counter.client.lanes import Lanes
from counter.client.options import made
from tracker import wire
from tracker.errors import UnreachableError
from tracker.members import ALIVE
from tracker.messages import Hello, Refused, Welcome


def test_a_node_that_is_being_opened_for_what_is_in_doubt_there_is_not_opened_twice():
    lanes, effects = Lanes(lambda: b"s" * 16), []
    lane = lanes.of("n1", ("127.0.0.1", 7401))
    lanes.opening(lane, 1, until=5.0)
    options = made({}, trackers=None, node=None, pick="random", deadline_s=4.0, ack=None,
                   cluster="default")  # fmt: skip
    destination = Destination(
        options, Random(1), lanes, count(2), effects, wants=lambda: True, refuse=pytest.fail
    )
    destination.search.left = [("n1", "127.0.0.1", 7401, ALIVE, 0)]

    destination.seek(0.0)
    assert (destination.wanted, destination.current, effects) == (lane, None, [])

    assert destination.welcomed(lane)
    assert (destination.wanted, destination.current) == (None, lane)


def test_what_was_not_sent_is_refused_when_three_tries_reached_nobody():
    world = World(count=1)
    world.nodes[0].is_up = False

    batch = world.count()
    world.settle()

    error = failure_of(batch)
    assert isinstance(error, UnreachableError)
    assert "no node n1 at 127.0.0.1:7401 (connection refused) after 3 tries" in str(error)
    assert "nothing was sent" in str(error)
    assert 0.1 < world.now < 1.0


def test_a_node_given_by_its_address_is_tried_again():
    world = World(count=1, node="127.0.0.1:7401")
    world.nodes[0].is_up = False
    batch = world.count()
    world.settle(until=0.05)
    world.nodes[0].is_up = True

    world.settle()

    assert batch.result("views").counted
    assert world.tracker.asked == []


def test_without_a_tracker_nothing_new_is_found_and_that_is_said():
    world = World()
    world.tracker.is_up = False

    batch = world.count()
    world.settle()

    assert "no tracker at 127.0.0.1:7400 (connection refused)" in str(failure_of(batch))


def test_a_tracker_that_does_not_answer_is_given_up():
    world = World()
    world.tracker.is_paused = True

    batch = world.count()
    world.settle()

    assert isinstance(failure_of(batch), UnreachableError)
    assert world.now < 5.0


def test_the_second_tracker_is_asked_if_the_first_is_dead():
    world = World(trackers="127.0.0.1:7399,127.0.0.1:7400")

    batch = world.count()
    world.settle()

    assert batch.result("views").counted


@pytest.mark.parametrize("node", [None, "n2"], ids=["any node", "one node"])
def test_the_second_tracker_is_asked_if_the_first_knows_nobody(node):
    world = World(trackers="127.0.0.1:7398,127.0.0.1:7400", node=node)

    batch = world.count()
    world.settle()

    assert batch.result("views").counted
    assert world.empty.asked == world.tracker.asked == [node or ""]


def test_a_tracker_that_knows_nobody_is_believed_where_the_other_one_is_dead():
    world = World(trackers="127.0.0.1:7398,127.0.0.1:7399")

    batch = world.count()
    world.settle()

    assert "no tracker knows a living node" in str(failure_of(batch))


@pytest.mark.parametrize("node", [None, "n2"], ids=["any node", "one node"])
def test_whoever_a_tracker_is_about_to_let_in_is_waited_for(node):
    world = World(node=node)
    world.tracker.lets_in_at = 2.5

    batch = world.count()
    world.settle()

    assert batch.result("views").counted
    assert len(world.tracker.asked) <= 4
    assert world.check() == 0


def test_whoever_is_let_in_too_late_is_waited_for_up_to_the_deadline():
    world = World()
    world.tracker.lets_in_at = 60.0

    batch = world.count()
    world.settle(until=4.1)

    assert isinstance(failure_of(batch), UnreachableError)
    assert "nothing was sent" in str(failure_of(batch))


def test_a_node_that_was_known_is_found_without_any_tracker():
    world = World()
    node, link = start(world)
    world.tracker.is_up = False
    node.is_up = False
    world.cut(link)

    batch = world.count()
    world.settle()

    assert batch.result("views").node == other(world, node).name


def test_the_only_node_is_found_again_without_any_tracker():
    world = World(count=1)
    _, link = start(world)
    held = world.count()
    world.tracker.is_up = False
    world.cut(link)

    batch = world.count()
    world.settle()

    assert held.result("views").counted
    assert batch.result("views").counted
    assert world.check() == 0


def test_new_increments_wait_for_a_tracker_that_is_asked_for_a_lost_node():
    world = World(count=1)
    node, link = start(world)
    held = world.count()
    node.is_up = False
    world.cut(link)
    world.settle(until=world.now + 0.3)
    world.tracker.is_paused = True
    world.settle(until=world.now + 0.4)
    node.is_up = True

    fresh = world.count()
    world.tracker.is_paused = False
    world.settle()

    assert world.tracker.asked[-1] in ("", "n1")
    assert held.result("views").counted
    assert fresh.result("views").counted
    assert world.check() == 0


@pytest.mark.parametrize(
    ("node", "text"), [("n9", 'no tracker knows a node "n9"'), (None, "knows a living node")]
)
def test_a_tracker_that_knows_nobody_is_believed(node, text):
    world = World(count=0, node=node)

    batch = world.count()
    world.settle()

    assert text in str(failure_of(batch))


def test_a_node_that_is_no_tracker_is_not_believed():
    world = World()
    world.tracker.role = "node"

    batch = world.count()
    world.settle()

    assert "it is a node, not a tracker" in str(failure_of(batch))


def test_a_tracker_is_not_taken_for_a_node():
    world = World(count=0, node="127.0.0.1:7400")

    batch = world.count()
    world.settle()

    assert "it is a tracker, not a node" in str(failure_of(batch))


def test_a_refusing_tracker_knows_nobody():
    world = World()
    world.tracker.answer = lambda message: (
        [Welcome(wire.PROTOCOL, "tracker", "")]
        if isinstance(message, Hello)
        else [Refused(message.request, "unknown", "no")]
    )

    batch = world.count()
    world.settle()

    assert "no tracker knows a living node" in str(failure_of(batch))


@pytest.mark.parametrize("pick", PICKS)
def test_a_client_that_takes_turns_says_whose_turn_it_is_for_it(pick):
    worlds = [World(3, seed, pick=pick) for seed in range(9)]

    for world in worlds:
        world.count()
        world.settle()

    turns = {turn for world in worlds for turn in world.tracker.turns}
    if pick == "round-robin":
        assert len(turns) > 5
        assert min(turns) >= 0
    else:
        assert turns == {-1}
