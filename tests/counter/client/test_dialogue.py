"""A client that counts: what travels together, what is refused at once, how it is closed."""

import pytest
from client_world import World, failure_of, start

from counter.client.dialogue import BATCHES_MAX, PIPELINED_MAX
from counter.client.lane import SESSION_SPREAD_MAX, Entry
from counter.client.lanes import LANES_MAX, Lanes
from counter.client.operations import (
    BATCH_BYTES_MAX,
    KNOWN_KEYS_MAX,
    PAIRS_MAX,
    Acknowledgement,
    Batch,
    Operation,
    Sizes,
    UncountedError,
    UnknownOutcomeError,
)
from counter.messages import DOOR
from counter.messages import PAIRS_MAX as PAIRS_OF_A_NODE_MAX
from counter.sessions import WINDOW_MAX
from tracker import wire
from tracker.errors import ConfigError, RefusedError, UnreachableError
from tracker.messages import Hello

# -- the common way -------------------------------------------------------------------------


def test_an_increment_is_acknowledged_by_the_node_that_counted_it():
    world = World()

    batch = world.count(amount=5)
    world.settle()

    ack = batch.result("views")
    assert ack == Acknowledgement(True, True, ack.node, False, ack.id)
    assert world.node(ack.node).totals == {"views": 5}
    assert ack.id.endswith("-1")


def test_nothing_is_sent_before_the_node_has_said_who_it_is():
    world = World(node="n1")
    world.count()
    (tracker_link,) = world.wires
    while tracker_link in world.wires:
        world.move(tracker_link)
    (link,) = world.wires

    world.move(link)

    frames = [DOOR.decode(b) for b in wire.FrameReader().feed(world.wires[link].to_server[0])]
    assert frames == [Hello(wire.PROTOCOL, "default")]
    assert len(world.wires[link].to_server) == 1


def test_what_arrives_while_a_message_is_on_its_way_goes_into_the_next_one():
    world = World(count=1)
    world.count()
    world.settle()

    batches = [world.count(amount=n) for n in (1, 2, 3, 4)]
    world.settle()

    assert batches[0] is not batches[1] is batches[2] is batches[3]
    assert [*world.nodes[0].operations.values()][1:] == [("views", 1), ("views", 9)]
    assert world.check() == 0


def test_a_full_message_travels_behind_another_but_only_so_many_do():
    world = World(count=1)
    world.count()
    world.settle()
    (link,) = world.wires

    for number in range(PAIRS_MAX * (PIPELINED_MAX + 3)):
        world.count(f"key:{number}")

    assert len(world.wires[link].to_server) == PIPELINED_MAX
    assert not world.dialogue.wants_step
    world.settle()
    assert world.check() == 0
    (sequences,) = world.nodes[0].sequences.values()
    assert sequences == list(range(1, len(sequences) + 1))


def test_a_message_is_no_larger_than_a_frame():
    world = World(count=1)

    for number in range(500):
        world.count(f"{number:0>256}")
    world.settle()

    assert len(world.nodes[0].operations) > 1
    assert world.check() == 0


def test_amounts_of_one_key_that_are_too_large_together_travel_apart():
    world = World(count=1)
    first = world.count(amount=2**53 - 1)
    second = world.count(amount=2**53 - 1)

    world.settle()

    assert first is not second
    assert world.totals["views"] == 2**54 - 2
    assert world.check() == 0


def test_who_joins_late_waits_for_a_message_of_its_own():
    world = World(count=0)
    first = world.count()
    world.now += 0.5

    assert world.count() is not first


@pytest.mark.parametrize(
    ("key", "amount", "text"),
    [
        ("", 1, "a key is 1-256 bytes"),
        ("k" * 257, 1, "a key is 1-256 bytes"),
        ("a\nb", 1, "a key is 1-256 bytes"),
        (7, 1, "a key is 1-256 bytes"),
        (["k"], 1, "a key is 1-256 bytes"),
        ("k", 1.0, '"1.0" is not a whole number'),
        ("k", True, '"True" is not a whole number'),
        ("k", "5", '"5" is not a whole number'),
        ("k", 2**53, "9007199254740992 is too large; an amount is at most"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(key, amount, text):
    world = World()

    with pytest.raises(ConfigError, match=text):
        world.dialogue.count(key, amount, 0.0)

    assert not world.dialogue.wants_step


def test_too_much_that_waits_is_refused():
    world = World(count=0)
    world.tracker.is_paused = True

    for number in range(PAIRS_MAX * BATCHES_MAX):
        world.count(f"key:{number}")

    with pytest.raises(RefusedError, match="messages wait") as caught:
        world.count("one more")

    assert caught.value.code == "busy"


def test_keys_that_were_seen_are_remembered_but_not_for_ever():
    sizes = Sizes()
    for number in range(KNOWN_KEYS_MAX + 1):
        assert sizes[f"key:{number}"] > 0

    assert len(sizes) <= KNOWN_KEYS_MAX


def test_the_client_s_limits_are_those_of_the_nodes():
    assert PAIRS_MAX == PAIRS_OF_A_NODE_MAX
    assert BATCH_BYTES_MAX + 64 < wire.FRAME_BYTES_MAX
    assert SESSION_SPREAD_MAX + PIPELINED_MAX < WINDOW_MAX


# -- the end, and the seam ------------------------------------------------------------------


def test_closing_says_what_was_not_counted_and_what_may_have_been():
    world = World(count=1)
    _, link = start(world)
    sent = world.count("sent")
    waiting = world.count("waiting")

    world.carry(world.dialogue.close())

    assert isinstance(failure_of(sent, "sent"), UnknownOutcomeError)
    assert isinstance(failure_of(waiting, "waiting"), UnreachableError)
    assert link not in world.wires
    with pytest.raises(ConfigError, match="closed"):
        world.count()
    assert world.dialogue.lost(link, "late", world.now) == []
    assert world.dialogue.opened(link, world.now) == []
    assert world.dialogue.received(link, b"late", world.now) == []


def test_a_retry_goes_to_the_node_of_the_first_try_though_another_is_in_use():
    world = World()
    node, link = start(world)
    batch = world.count()
    node.is_up = False
    world.cut(link)
    world.settle()
    error = failure_of(batch)
    world.heal()
    world.count()
    world.settle()

    ack = world.retried(error.operation)

    assert ack.node == node.name
    assert ack.id == error.id
    assert world.totals["views"] == 2


def test_a_client_in_doubt_everywhere_counts_nowhere_else():
    world = World(count=1)
    operations = [
        Operation(f"x{number}", ("127.0.0.1", 9000 + number), bytes(16), 1, ("k", 1), 0)
        for number in range(LANES_MAX + 1)
    ]
    for operation in operations[:LANES_MAX]:
        world.dialogue.retry(operation, world.now)

    batch = world.count()
    world.settle(until=world.now + 1.5)

    assert f"in doubt at {LANES_MAX} nodes" in str(failure_of(batch))
    with pytest.raises(RefusedError, match="in doubt"):
        world.dialogue.retry(operations[-1], world.now)


def test_what_was_added_and_lost_is_told_in_words():
    error = UncountedError({"a": 1, "b": 2}, [], ["no node", "no tracker"])

    assert str(error) == "2 keys were not counted (a 1, b 2): no node; no tracker"
    assert (error.uncounted, error.unknown) == ({"a": 1, "b": 2}, ())


def test_a_few_of_many_keys_are_named_with_what_is_missing_of_them():
    pairs = ("long" * 60, 3, "b", -2)
    sent = [Operation("n1", ("127.0.0.1", 7401), bytes(16), at, pairs, 0, b"") for at in (1, 2)]

    error = UncountedError({f"k{n}": n for n in range(9)}, sent, ["no node"])

    assert str(error) == (
        "9 keys were not counted (k0 0, k1 1, k2 2, k3 3, k4 4 and 4 more)"
        f" and 2 messages MAY have been counted ({('long' * 60)[:63]}… 6, b -4): no node"
    )


def test_in_doubt_at_so_many_nodes_one_that_has_lost_its_name_is_not_looked_for():
    home, endpoint = b"h" * 16, ("127.0.0.1", 9000)
    lanes = Lanes(lambda: bytes(16))
    lane = lanes.of("n1", endpoint)
    lane.home = b"another store___"
    entry = Entry(Operation("n1", endpoint, bytes(16), 1, ("k", 1), 0, home), Batch(0.0, 9.0, 0.0))
    for number in range(LANES_MAX - 1):
        lanes.of(f"x{number}", ("127.0.0.1", 9001 + number))

    assert not lanes.of_left(lane, entry, 1.0)
    assert lanes.is_idle
