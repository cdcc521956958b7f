"""What becomes of a client's increments that a node refuses."""

from functools import partial

import pytest
from client_world import World, failure_of, other, start

from counter.client.lane import SESSION_SPREAD_MAX
from counter.client.operations import (
    PAIRS_MAX,
    UnknownOutcomeError,
)
from counter.messages import Increment
from tracker.errors import RefusedError
from tracker.messages import Refused


@pytest.mark.parametrize("code", ["busy", "leaving", "disk", "no-disk"])
def test_what_one_node_refuses_another_one_counts(code):
    world = World()
    node, _ = start(world)
    node.refusals.append(code)

    batch = world.count()
    world.settle()

    assert batch.result("views").node == other(world, node).name
    assert world.check() == 0


@pytest.mark.parametrize("node", [None, "127.0.0.1:7401"])
def test_the_only_node_is_asked_three_times_with_pauses(node):
    world = World(count=1, node=node)
    server, _ = start(world)
    server.refusals.extend(["busy"] * 3)
    began = world.now

    batch = world.count()
    world.settle()

    error = failure_of(batch)
    assert isinstance(error, RefusedError)
    assert error.code == "busy"
    assert world.now > began + 0.1
    assert world.check() == 0


@pytest.mark.parametrize("seed", range(30))
def test_the_one_node_that_has_a_disk_is_found_among_three(seed):
    world = World(count=3, seed=seed, pick="random")

    def refuse(message, plain):
        is_asked = isinstance(message, Increment)
        return [Refused(message.sequence, "no-disk", "no")] if is_asked else plain(message)

    for node in world.nodes[:2]:
        node.answer = partial(refuse, plain=node.answer)

    batch = world.count()
    world.settle()

    assert batch.result("views").node == world.nodes[2].name
    assert world.check() == 0


@pytest.mark.parametrize("named", ["n1", "127.0.0.1:7401"])
def test_that_the_one_node_that_may_be_asked_has_no_disk_is_final(named):
    world = World(node=named)
    node, _ = start(world)
    node.refusals.append("no-disk")

    batch = world.count()
    world.settle()

    assert failure_of(batch).code == "no-disk"
    assert world.check() == 0


def test_one_key_that_is_too_much_does_not_cost_the_others():
    world = World(count=1)
    node, _ = start(world)

    def answer(message, plain=node.answer):
        if isinstance(message, Increment) and "bad" in message.pairs:
            return [Refused(message.sequence, "full", "no room for bad")]
        return plain(message)

    node.answer = answer
    held = world.count("first")
    batches = {key: world.count(key) for key in ("a", "b", "bad", "c", "d", "e", "f")}

    world.settle()

    assert held.result("first").counted
    assert failure_of(batches["bad"], "bad").code == "full"
    assert len(set(batches.values())) == 1
    assert all(batch.result(key) for key, batch in batches.items() if key != "bad")
    assert world.check() == 0


def test_what_a_node_is_in_doubt_about_is_held_for_its_next_start():
    world = World(count=1)
    node, _ = start(world)
    node.refusals.append("in-doubt")
    batch = world.count()
    world.settle(until=world.now)
    assert not batch.is_settled

    world.settle()

    assert batch.result("views").counted
    assert world.check() == 0


def test_what_is_too_old_to_tell_is_unknown():
    world = World(count=1)
    node, link = start(world)
    batch = world.count()
    world.cut(link)
    node.refusals.append("too-old")

    world.settle()

    error = failure_of(batch)
    assert isinstance(error, UnknownOutcomeError)
    assert "not now" in str(error)


def test_a_client_that_its_node_has_forgotten_begins_another_session():
    world = World(count=1)
    node, _ = start(world)
    node.refusals.append("too-old")

    batch = world.count()
    world.settle()

    assert batch.result("views").counted
    assert len(node.sequences) == 2
    assert world.check() == 0


def test_a_client_that_is_too_old_whatever_it_does_is_refused():
    world = World(count=1)
    node, _ = start(world)
    node.refusals.extend(["too-old"] * 3)

    batch = world.count()
    world.settle()

    assert failure_of(batch).code == "too-old"
    assert world.check() == 0


def test_messages_behind_a_forgotten_session_are_all_counted_under_another():
    world = World(count=1)
    node, _ = start(world)
    node.refusals.extend(["too-old"] * 2)

    for number in range(PAIRS_MAX * 3):
        world.count(f"key:{number}")
    world.settle()

    assert world.check() == 0


def test_a_session_in_which_two_messages_were_given_away_is_left_once():
    world = World(count=1)
    node, _ = start(world)
    node.refusals.extend(["given-away"] * 2)
    new_session, made = world.dialogue._new_session, []
    world.dialogue._new_session = lambda: made.append(new_session()) or made[-1]

    batches = [world.count(f"key:{number}") for number in range(PAIRS_MAX * 3)]
    world.settle()

    ended = [batch.result(f"key:{number}") for number, batch in enumerate(batches)]
    assert {ack.parked for ack in ended} == {True, False}
    assert len(made) == 1
    assert list(node.sequences)[1:] == made


def test_an_id_that_holds_something_else_is_refused():
    world = World(count=1)
    node, link = start(world)
    batch = world.count()
    world.cut(link)
    node.refusals.append("other-content")

    world.settle()

    assert failure_of(batch).code == "other-content"


def test_a_doubtful_operation_does_not_let_its_session_run_away():
    world = World(count=1)
    node, _ = start(world)
    node.refusals.append("in-doubt")
    world.count("doubt")
    world.settle(until=world.now)

    for _ in range(SESSION_SPREAD_MAX + 5):
        world.count()
        world.settle(until=world.now)

    assert len(node.sequences) == 2
    world.settle()
    assert world.check() == 0


def test_a_node_that_talks_nonsense_is_left():
    world = World(count=1)
    _, link = start(world)
    batch = world.count()
    world.wires[link].to_client.append(b"\xff\xff\xff\xff")

    world.settle()

    assert batch.result("views").counted
    assert world.check() == 0
