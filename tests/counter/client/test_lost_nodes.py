"""A client's increments where a node dies, sleeps, or comes back as another: each ends once."""

import pytest
from client_world import World, failure_of, other, start

from counter.client.operations import (
    UnknownOutcomeError,
)
from counter.messages import DOOR, Increment
from tracker import wire
from tracker.errors import UnreachableError
from tracker.names import derived

# -- nodes that begin anew --------------------------------------------------------------------


def begun_anew(**options):
    """Return a world in which an increment is in doubt at a node that has a new store by now."""
    world = World(count=1, node="n1", **options)
    (node,) = world.nodes
    node.store = b"A" * 16
    world.count("first")
    world.settle()
    batch = world.count("second")
    (link,) = [link for link, stream in world.wires.items() if stream.server is node]
    world.serve(world.wires[link])
    assert node.totals["second"] == 1
    node.begin_anew(b"B" * 16)
    world.cut(link)
    return world, node, batch


def test_what_is_in_doubt_is_not_sent_to_another_store_under_the_same_name():
    world, node, batch = begun_anew()

    world.settle()

    error = failure_of(batch, "second")
    assert isinstance(error, UnknownOutcomeError)
    assert "node n1 began anew, with another store; the increment MAY" in str(error)
    assert (error.operation.home, node.totals) == (b"A" * 16, {})


def test_new_increments_count_at_the_new_store():
    world, node, _ = begun_anew()
    later = world.count("third")

    world.settle()

    assert later.result("third").counted
    assert node.totals == {"third": 1}


def test_a_retry_of_what_another_store_was_sent_stays_unknown_though_its_node_is_in_use():
    world, node, batch = begun_anew()
    world.count("third")
    world.settle()
    operation = failure_of(batch, "second").operation

    again = world.dialogue.retry(operation, world.now)
    world.step()
    world.settle()

    assert "began anew" in str(failure_of(again, "second"))
    assert node.totals == {"third": 1}


def test_the_first_store_is_asked_again_when_it_comes_back():
    world, node, batch = begun_anew()
    world.settle()
    operation = failure_of(batch, "second").operation
    for link in [link for link, stream in world.wires.items() if stream.server is node]:
        world.cut(link)
    node.store = b"A" * 16

    again = world.dialogue.retry(operation, world.now)
    world.step()
    world.settle()

    assert again.result("second").counted


# -- nodes that are lost --------------------------------------------------------------------


def test_new_increments_go_elsewhere_at_once_while_the_doubtful_one_is_held():
    world = World()
    node, link = start(world)
    doubtful = world.count()
    world.serve(world.wires[link])
    node.is_up = False
    world.cut(link)
    began = world.now

    fresh = world.count()
    world.settle(until=began)

    assert fresh.result("views").node == other(world, node).name
    assert not doubtful.is_settled
    node.is_up = True
    world.settle()
    ack = doubtful.result("views")
    assert (ack.node, ack.repeated) == (node.name, True)
    assert world.totals["views"] == 2
    assert world.check() == 0


def test_an_increment_that_never_arrived_is_counted_by_its_retry():
    world = World(count=1)
    _, link = start(world)
    batch = world.count()
    world.wires[link].to_server.clear()

    world.cut(link)
    world.settle()

    assert not batch.result("views").repeated
    assert world.totals["views"] == 1


def test_a_node_that_stays_away_leaves_the_outcome_unknown_at_the_deadline():
    world = World()
    node, link = start(world)
    batch = world.count(amount=3)
    node.is_up = False
    world.cut(link)

    world.settle()

    error = failure_of(batch)
    assert isinstance(error, UnknownOutcomeError)
    assert (error.operation.node, error.operation.pairs) == (node.name, ("views", 3))
    assert error.id == error.operation.id
    assert not error.definite
    assert error.retry_safe
    assert "MAY have been counted" in str(error)
    assert "4 s" in str(error)
    world.heal()
    assert world.check() == 1


def test_a_session_with_an_unknown_operation_is_not_continued():
    world = World(count=1)
    node, link = start(world)
    lost = world.count()
    node.is_up = False
    world.cut(link)
    world.settle()
    world.heal()

    for _ in range(3):
        world.count()
        world.settle()

    error = failure_of(lost)
    assert len(node.sequences) == 2
    assert max(node.sequences[error.operation.session]) == 1
    assert world.check() == 1


def test_a_silent_node_keeps_what_it_has_and_gets_nothing_new():
    world = World()
    node, _ = start(world)
    node.is_paused = True
    held = world.count()
    world.settle(until=world.now + 1.5)

    fresh = world.count()
    world.settle(until=world.now)

    assert fresh.result("views").node != node.name
    assert not held.is_settled
    node.is_paused = False
    world.settle()
    assert held.result("views").node == node.name
    assert world.check() == 0


def test_a_silent_node_is_used_all_the_same_if_there_is_no_other():
    world = World(count=1)
    node, _ = start(world)
    node.is_paused = True
    held = world.count()
    world.settle(until=world.now + 1.5)
    fresh = world.count()
    world.settle(until=world.now + 0.1)
    node.is_paused = False

    world.settle()

    assert held.result("views").counted
    assert fresh.result("views").counted
    assert world.check() == 0


def test_a_node_that_sleeps_past_the_deadline_may_count_what_was_unknown():
    world = World(count=1, node="127.0.0.1:7401")
    node, _ = start(world)
    node.is_paused = True
    batch = world.count()
    world.settle()
    assert isinstance(failure_of(batch), UnknownOutcomeError)

    node.is_paused = False
    world.haunt()

    assert world.totals["views"] == 1
    assert world.check() == 1
    assert world.totals["views"] == 1


def test_a_refused_second_try_is_no_proof_that_the_first_was_not_counted():
    world = World(count=1)
    node, link = start(world)
    batch = world.count()
    world.cut(link)
    node.refusals.extend(["busy"] * 2)

    world.settle()

    assert isinstance(failure_of(batch), UnknownOutcomeError)
    world.haunt()
    assert world.totals["views"] == 1
    assert world.check() == 1


def test_an_operation_is_sent_three_times_at_most():
    world = World(count=1)
    node, _ = start(world)
    batch = world.count()
    sent = 0
    while not batch.is_settled:
        for link in list(world.wires):
            if world.wires[link].to_server and world.wires[link].is_open:
                frames = b"".join(world.wires[link].to_server)
                messages = [DOOR.decode(b) for b in wire.FrameReader().feed(frames)]
                if any(isinstance(message, Increment) for message in messages):
                    sent += 1
                    world.cut(link)
                    continue
            world.move(link)
        world.now += 0.01
        world.step()

    assert sent == 3
    assert "3 tries" in str(failure_of(batch))
    assert node.totals["views"] == 0
    assert world.check() == 1


def test_another_node_at_the_old_address_is_not_asked_for_what_is_in_doubt():
    world = World()
    node, link = start(world)
    stranger = other(world, node)
    batch = world.count()
    world.serve(world.wires[link])
    node.endpoint, stranger.endpoint = ("127.0.0.1", 7409), node.endpoint
    world.cut(link)

    world.settle()

    assert (batch.result("views").node, batch.result("views").repeated) == (node.name, True)
    assert node.name in world.tracker.asked
    assert stranger.totals["views"] == 0


def test_a_node_that_swallows_everything_is_given_up_at_the_deadline():
    world = World(count=1, node="127.0.0.1:7401")
    world.nodes[0].is_paused = True

    batch = world.count()
    world.settle()

    assert isinstance(failure_of(batch), UnreachableError)
    assert 3.9 < world.now < 4.5


# -- a store that lost its name -------------------------------------------------------------------


def lost_its_name(*, is_told=True, node="n1"):
    """Return a client with an increment in doubt at n1, whose name another store has by now."""
    world = World(count=3, node=node)
    node, other, third = world.nodes
    node.store, other.store, third.store = b"A" * 16, b"B" * 16, b"C" * 16
    other.is_up = third.is_up = False
    world.count("first")
    world.settle()
    batch = world.count("second")
    (link,) = [link for link, stream in world.wires.items() if stream.server is node]
    world.serve(world.wires[link])
    node.name, other.name = derived("n1", node.store), "n1"
    other.is_up = third.is_up = True
    world.tracker.nodes = [node, other, third] if is_told else [other, third]
    world.cut(link)
    return world, node, other, batch


@pytest.mark.parametrize("name", ["n1", None])
def test_what_is_in_doubt_at_a_store_that_lost_its_name_is_asked_of_it_under_the_other(name):
    world, node, other, batch = lost_its_name(node=name)

    world.settle()

    told = batch.result("second")
    assert (told.counted, told.repeated, told.node) == (True, True, node.name)
    assert (node.totals, other.totals) == ({"first": 1, "second": 1}, {})


def test_what_was_unknown_there_may_be_retried():
    world, node, other, batch = lost_its_name()
    operation = batch.operation
    world.settle()

    again = world.dialogue.retry(operation, world.now)
    world.step()
    world.settle()

    assert again.result("second").repeated
    assert (node.totals["second"], other.totals) == (1, {})


@pytest.mark.parametrize("name", ["n1", None])
def test_where_no_tracker_knows_the_store_any_more_it_is_unknown_at_once_and_parked_nowhere(name):
    # A node of the model takes nothing that is to be parked.
    world, _, other, batch = lost_its_name(is_told=False, node=name)
    began = world.now

    world.settle()

    error = failure_of(batch, "second")
    assert isinstance(error, UnknownOutcomeError)
    assert "began anew" in str(error)
    assert derived("n1", b"A" * 16) in world.tracker.asked
    assert other.totals == {}
    assert world.now < began + world.dialogue.options.deadline_s


@pytest.mark.parametrize("node", ["n1", None])
def test_a_store_is_looked_for_until_the_deadline_where_no_tracker_answers(node):
    world, _, other, batch = lost_its_name(node=node)
    left = derived("n1", b"A" * 16)
    while not any(lane.name == left for lane in world.dialogue._lanes):
        if not world.move_all():
            world.now = world.dialogue.deadline()
            world.step()
    world.tracker.is_up = False

    world.settle()

    assert isinstance(failure_of(batch, "second"), UnknownOutcomeError)
    assert other.totals == {}
