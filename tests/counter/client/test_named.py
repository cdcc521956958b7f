"""Increments under an id of the program's own: once at the node that was named, or not known."""

import pytest
from client_world import World, failure_of

from counter import AsyncClient, Client, ConfigError, RefusedError
from counter.cli.app import run
from counter.client.lane import NOWHERE
from counter.client.operations import Operation, UnknownOutcomeError
from counter.stamps import session_of
from counter.testing import cluster

ORDER = session_of("order-4711")


def sent(world, **more):
    """Send an increment of 3 under an id to n1; returns how it will end."""
    given = {"node": "n1", "endpoint": NOWHERE, "is_named": True, **more}
    operation = Operation(session=ORDER, sequence=1, pairs=("views", 3), ack=0, **given)
    batch = world.dialogue.retry(operation, world.now)
    world.step()
    return batch


# -- the client's machine -----------------------------------------------------------------------


def test_it_goes_to_the_node_that_was_named_and_counts_once():
    world = World(count=2, node="n1")

    first = sent(world)
    world.settle()
    took_s = world.now
    second = sent(world)
    world.settle()

    assert (first.result("views").repeated, second.result("views").repeated) == (False, True)
    assert [node.totals for node in world.nodes] == [{"views": 3}, {}]
    assert took_s < 0.01, "it is sent as soon as a tracker has said where"
    assert (world.tracker.asked, len(world.wires)) == (["n1"], 1), "the stream is kept for the next"


def test_a_store_that_came_meanwhile_is_not_sent_it():
    world = World(count=1, node="n1")
    (node,) = world.nodes
    node.store = b"A" * 16
    world.count("begin")
    world.settle()
    batch = sent(world)
    (link,) = [link for link, stream in world.wires.items() if stream.server is node]
    world.serve(world.wires[link])
    assert node.totals["views"] == 3
    node.begin_anew(b"B" * 16)
    world.cut(link)

    world.settle()

    error = failure_of(batch)
    assert isinstance(error, UnknownOutcomeError)
    assert (error.operation.home, node.totals) == (b"A" * 16, {})


@pytest.mark.parametrize("word", ["given-away", "too-old"])
def test_what_the_node_gave_up_or_forgot_may_be_in_no_total_and_is_unknown(word):
    world = World(count=1, node="n1")
    world.nodes[0].refusals.append(word)

    batch = sent(world)
    world.settle()

    assert isinstance(failure_of(batch), UnknownOutcomeError)
    assert world.nodes[0].totals == {}


def test_it_is_parked_nowhere_since_its_node_cannot_speak_for_others():
    world = World(count=2)
    lost, there = world.nodes
    lost.is_up = False
    lost.store, there.store = b"A" * 16, b"B" * 16

    batch = sent(world, endpoint=lost.endpoint, home=lost.store)
    world.settle()

    # A node of this world understands nothing but increments.
    assert isinstance(failure_of(batch), UnknownOutcomeError)


def test_a_node_that_nobody_knows_is_not_waited_for():
    world = World(count=1, node="n9")

    batch = sent(world, node="n9")
    world.settle()

    assert "no tracker knows node n9; the increment MAY" in str(failure_of(batch))
    assert world.now < 1.0


# -- real nodes ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_id_counts_once_whoever_sends_it_however_and_after_a_crash(tmp_path, capsys):
    with cluster(nodes=2, data=tmp_path) as running:
        with Client(running.trackers, node="n1") as client:
            first = client.incr("orders", 3, id="order-4711")
        running.crash("n1")
        running.start("n1")
        with Client(running.trackers, node=running.nodes["n1"]) as client:
            again = client.incr("orders", 3, id="order-4711")
            with pytest.raises(RefusedError, match="another increment") as refused:
                client.incr("orders", 4, id="order-4711")
            client.incr("orders", 1, id="order-4712")
            total = client.query("orders").value
        words = ["inc", "orders", "3", "--id", "order-4711", "--node", "n1"]
        code = run([*words, "--tracker", running.trackers, "--json"])

    assert (first.counted, first.repeated) == (True, False)
    assert (again.counted, again.repeated) == (True, True)
    assert (total, refused.value.code, code) == (4, "other-content", 0)
    assert '"repeated": true' in capsys.readouterr().out


async def test_tasks_count_under_ids_too():
    with cluster() as running:
        async with AsyncClient(running.trackers, node="n1") as client:
            first = await client.incr("orders", id="a")
            again = await client.incr("orders", id="a")

    assert (first.repeated, again.repeated) == (False, True)


@pytest.mark.parametrize(
    "id", ["", "x" * 129, "\x1b[1m", 7], ids=["empty", "long", "escape", "int"]
)
def test_what_is_no_id_is_refused(id):
    with Client("127.0.0.1:1", node="n1") as client, pytest.raises(ConfigError, match="id needs 1"):
        client.incr("orders", id=id)


def test_without_a_node_there_is_nobody_to_know_the_id():
    with Client("127.0.0.1:1") as client, pytest.raises(ConfigError, match="name one, with node="):
        client.incr("orders", id="a")
