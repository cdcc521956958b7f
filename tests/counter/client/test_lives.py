"""A client's increments where a store runs twice: each stays with the life that it was sent to."""

import pytest
from client_world import World, failure_of

from counter.client.operations import UnknownOutcomeError
from counter.storage.base import forked
from tracker.boots import told
from tracker.names import derived

STORE, X, Y, B, N = b"A" * 16, b"xxxxxxxx", b"yyyyyyyy", b"bbbbbbbb", b"nnnnnnnn"
BESIDE = derived("n1", forked(STORE, B))


def in_doubt(boots, *, node="n1", count=2, **options):
    """Return a client with an increment in doubt at n1, which has counted it in this life."""
    world = World(count=count, node=node, **options)
    first, *others = world.nodes
    first.store, first.boots = STORE, boots
    for other in others:
        other.store, other.is_up = other.name.encode() * 8, False
    world.count("first")
    world.settle()
    batch = world.count("second")
    serve_all(world, first)
    assert first.totals["second"] == 1
    return world, first, batch


def serve_all(world, node):
    for stream in [s for s in world.wires.values() if s.server is node]:
        while stream.to_server:
            world.serve(stream)


def cut(world, node):
    for link in [link for link, stream in world.wires.items() if stream.server is node]:
        world.cut(link)


def original_in_place_of(node, boots):
    """Let the original be there from now on, that knows nothing of what its copy was sent."""
    node.begin_anew(STORE)
    node.boots = boots


def test_what_is_in_doubt_is_sent_again_to_the_store_once_it_was_started_again():
    world, node, batch = in_doubt(X)
    node.boots = Y + X
    cut(world, node)

    world.settle()

    assert batch.result("second").repeated
    assert batch.operation.life == Y
    assert node.totals == {"first": 1, "second": 1}


@pytest.mark.parametrize("by_address", [False, True])
def test_what_was_sent_to_a_copy_is_not_sent_to_its_original(by_address):
    address = "127.0.0.1:7401" if by_address else "n1"
    world, node, batch = in_doubt(B + X, node=address)
    original_in_place_of(node, X)
    cut(world, node)

    world.settle()

    error = failure_of(batch, "second")
    assert isinstance(error, UnknownOutcomeError)
    assert "has not seen the start of its store that it was sent to: one is a copy" in str(error)
    assert (error.operation.home, error.operation.life) == (STORE, B)
    assert node.totals == {}
    assert (BESIDE in world.tracker.asked) is not by_address


def test_it_is_sent_again_to_what_the_copy_became_beside_its_store():
    world, node, batch = in_doubt(B + X)
    beside = world.nodes[1]
    beside.operations, beside.totals = node.operations, node.totals
    beside.name, beside.store, beside.boots = BESIDE, forked(STORE, B), N + B
    beside.is_up = True
    original_in_place_of(node, X)
    cut(world, node)

    world.settle()

    assert batch.result("second").repeated
    assert batch.result("second").node == BESIDE
    assert (node.totals, beside.totals["second"]) == ({}, 1)
    assert (batch.operation.home, batch.operation.life) == (forked(STORE, B), N)


def test_what_a_later_life_was_sent_is_not_sent_to_a_copy_of_an_earlier_one():
    world, node, batch = in_doubt(X)
    node.boots = Y + X
    node.operations.clear()
    cut(world, node)
    while not node.operations:
        if not world.move_all():
            world.now = world.dialogue.deadline()
            world.step()
    original_in_place_of(node, B + X)
    cut(world, node)

    world.settle()

    # The life Y may have counted it as well, and this one has not seen that.
    error = failure_of(batch, "second")
    assert (error.operation.life, node.totals) == (Y, {})


def test_a_retry_finds_the_copy_that_it_was_sent_to():
    world, node, batch = in_doubt(B + X)
    kept = node.operations, node.totals
    original_in_place_of(node, X)
    cut(world, node)
    world.settle()
    operation = failure_of(batch, "second").operation
    node.operations, node.totals = kept
    node.boots = N + B + X
    cut(world, node)

    again = world.dialogue.retry(operation, world.now)
    world.step()
    world.settle()

    assert again.result("second").repeated
    assert node.totals["second"] == 1


def test_a_node_that_tells_no_boots_is_taken_by_its_store():
    world, node, batch = in_doubt(X)
    node.boots = b""
    cut(world, node)

    world.settle()

    assert batch.result("second").repeated


@pytest.mark.parametrize("boots", [X, N + B], ids=["the original", "beside its store"])
def test_it_is_parked_neither_at_its_own_store_nor_at_what_that_became(boots):
    world, node, batch = in_doubt(B, node=None)
    other = world.nodes[1]
    other.store, other.boots = (STORE if boots == X else forked(STORE, B)), boots
    node.is_up, other.is_up = False, True
    cut(world, node)

    world.settle()

    assert isinstance(failure_of(batch, "second"), UnknownOutcomeError)
    assert other.totals == {}


def test_a_node_that_cannot_say_yet_whether_it_is_a_copy_is_waited_for():
    world, node, batch = in_doubt(X)
    node.boots = told(Y + X, is_believed=False)
    cut(world, node)
    world.settle(world.now + 1.0)
    assert not batch.is_settled
    assert list(node.operations.values()) == [("first", 1), ("second", 1)]

    node.boots = told(Y + X, is_believed=True)
    world.settle()

    assert batch.result("second").repeated


def test_a_copy_that_is_not_believed_is_sent_nothing_that_its_original_was_sent():
    world, node, batch = in_doubt(X)
    original_in_place_of(node, told(B + X, is_believed=False))
    cut(world, node)

    world.settle()

    assert isinstance(failure_of(batch, "second"), UnknownOutcomeError)
    assert node.totals == {}


def test_a_retry_on_a_stream_that_stood_before_the_node_was_believed_asks_anew():
    world, node, batch = in_doubt(X, node="127.0.0.1:7401")
    original_in_place_of(node, b"zzzzzzzz")
    cut(world, node)
    world.settle()
    operation = failure_of(batch, "second").operation
    node.boots = told(Y + X, is_believed=False)
    cut(world, node)
    world.count("third")
    world.settle()
    node.boots = told(Y + X, is_believed=True)

    again = world.dialogue.retry(operation, world.now)
    world.step()
    world.settle()

    assert again.result("second").counted
    assert node.totals == {"second": 1, "third": 1}
