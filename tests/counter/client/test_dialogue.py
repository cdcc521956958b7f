"""A client's increments against nodes that die, sleep, refuse and come back: no sockets, no clock.

The nodes are models: they count an operation once, whoever repeats it, and keep that over a
restart. What was written to a stream may still arrive after the stream has ended, as on a real
one. What is checked at the end of every story: an acknowledged increment is in the totals, a
refused one is not, and one that was unknown is once its retry is acknowledged; each exactly once.
"""

from collections import Counter, deque
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from counter.client.choice import PICKS
from counter.client.dialogue import BATCHES_MAX, PIPELINED_MAX, Dialogue
from counter.client.lane import SESSION_SPREAD_MAX, Open, Settled, Shut, Write
from counter.client.lanes import LANES_MAX
from counter.client.operations import (
    BATCH_BYTES_MAX,
    KNOWN_KEYS_MAX,
    PAIRS_MAX,
    Acknowledgement,
    Operation,
    Sizes,
    UncountedError,
    UnknownOutcomeError,
)
from counter.client.options import made
from counter.messages import DOOR, Counted, Increment
from counter.messages import PAIRS_MAX as PAIRS_OF_A_NODE_MAX
from counter.sessions import WINDOW_MAX
from tracker import wire
from tracker.errors import ClusterError, ConfigError, RefusedError, UnreachableError
from tracker.members import ALIVE
from tracker.messages import Find, Found, Hello, Refused, Welcome

TRACKER = ("127.0.0.1", 7400)


class Node:
    """A node that counts each operation once; `refusals` are the codes it refuses with next."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.endpoint = ("127.0.0.1", port)
        self.is_up = True
        self.is_paused = False
        self.refusals: deque[str] = deque()
        self.operations: dict[tuple[bytes, int], tuple] = {}
        self.totals: Counter[str] = Counter()
        self.sequences: dict[bytes, list[int]] = {}
        self.role = "node"
        self.store = b""

    def begin_anew(self, store):
        """Come back with another store, which knows nothing."""
        self.store = store
        self.operations, self.sequences, self.totals = {}, {}, Counter()

    def answer(self, message):
        if isinstance(message, Hello):
            return [Welcome(wire.PROTOCOL, self.role, self.name, self.store)]
        assert isinstance(message, Increment)
        identity = message.session, message.sequence
        known = self.operations.get(identity)
        if known is None and self.refusals:
            return [Refused(message.sequence, self.refusals.popleft(), "not now")]
        if known is None:
            self.operations[identity] = message.pairs
            self.sequences.setdefault(message.session, []).append(message.sequence)
            for key, amount in zip(message.pairs[::2], message.pairs[1::2], strict=True):
                self.totals[key] += amount
        assert known in (None, message.pairs), "another content under an old identity"
        return [Counted(message.sequence, True, known is not None)]


class Tracker:
    """A tracker that tells of the nodes in `nodes`."""

    def __init__(self, nodes) -> None:
        self.endpoint = TRACKER
        self.is_up = True
        self.is_paused = False
        self.nodes = nodes
        self.asked: list[str] = []
        self.turns: list[int] = []
        self.role = "tracker"

    def answer(self, message):
        if isinstance(message, Hello):
            return [Welcome(wire.PROTOCOL, self.role, "")]
        assert isinstance(message, Find)
        self.asked.append(message.name)
        self.turns.append(message.turn)
        rows = [
            (node.name, *node.endpoint, ALIVE, 0)
            for node in self.nodes
            if message.name in ("", node.name)
        ]
        return [Found(message.request, tuple(rows))]


class Wire:
    """One stream: bytes on their way to a server, and those on their way back."""

    def __init__(self, server) -> None:
        self.server = server
        self.is_open = False
        self.to_server: deque[bytes] = deque()
        self.to_client: deque[bytes] = deque()
        self.reader = wire.FrameReader()


class World:
    """A client, its nodes, and the streams between them. Time only passes when it is told to."""

    def __init__(self, count=2, seed=1, **options) -> None:
        self.now = 0.0
        self.nodes = [Node(f"n{i}", 7400 + i) for i in range(1, count + 1)]
        self.tracker = Tracker(self.nodes)
        options = {"trackers": None, "node": None, "pick": "round-robin", "deadline_s": 4.0,
                   "ack": None, "cluster": "default", **options}  # fmt: skip
        self.dialogue = Dialogue(made({}, **options), Random(seed))
        self.wires: dict[int, Wire] = {}
        self.ghosts: list[Wire] = []
        self.wanted: list[tuple[str, int, object]] = []
        self.retries: list[tuple[Operation, object]] = []

    # -- the client ---------------------------------------------------------------------------

    def count(self, key="views", amount=1):
        batch = self.dialogue.count(key, amount, self.now)
        self.wanted.append((key, amount, batch))
        self.step()
        return batch

    def step(self):
        self.carry(self.dialogue.step(self.now))

    def carry(self, effects):
        for effect in effects:
            match effect:
                case Open(link, endpoint):
                    servers = [s for s in (*self.nodes, self.tracker) if s.endpoint == endpoint]
                    self.wires[link] = Wire(servers[0] if servers else None)
                case Write(link, data):
                    self.wires[link].to_server.append(data)
                case Shut(link):
                    self.ghosts.append(self.wires.pop(link))
                case Settled(batch):
                    assert batch.is_settled

    # -- the network --------------------------------------------------------------------------

    def move(self, link) -> bool:
        """Let one thing happen on a stream; False if nothing can."""
        stream = self.wires[link]
        server = stream.server
        if server is None or not server.is_up:
            self.cut(link, "connection refused" if not stream.is_open else "reset")
        elif not stream.is_open:
            if server.is_paused:
                return False
            stream.is_open = True
            self.carry(self.dialogue.opened(link, self.now))
        elif stream.to_client:
            self.carry(self.dialogue.received(link, stream.to_client.popleft(), self.now))
        elif stream.to_server and not server.is_paused:
            self.serve(stream)
        else:
            return False
        return True

    def move_all(self) -> bool:
        """Let one thing happen on each stream; False if nothing can on any."""
        moved = [self.move(link) for link in list(self.wires) if link in self.wires]
        return any(moved)

    def serve(self, stream):
        """Let a server take in what was written to it."""
        for body in stream.reader.feed(stream.to_server.popleft()):
            for reply in stream.server.answer(DOOR.decode(body)):
                stream.to_client.append(wire.framed(DOOR.encode(reply)))

    def cut(self, link, reason="reset"):
        """End a stream; what was written to it may still arrive."""
        stream = self.wires.pop(link)
        self.ghosts.append(stream)
        self.carry(self.dialogue.lost(link, reason, self.now))

    def haunt(self):
        """Let everything arrive that was written to streams which have ended."""
        for ghost in self.ghosts:
            while ghost.to_server and ghost.server is not None and ghost.server.is_up:
                self.serve(ghost)

    def settle(self, until=None):
        """Let everything happen that happens at once, and time pass until nothing is awaited."""
        until = self.now + 60 if until is None else until
        while True:
            while self.move_all():
                pass
            due = self.dialogue.deadline()
            if due is None or due > until:
                self.now = until if due is not None else self.now
                return
            assert due >= self.now - 1e-9 or self.dialogue.wants_step, "it is due again and again"
            self.now = max(self.now + 1e-6, due)
            self.step()

    # -- how it ended -------------------------------------------------------------------------

    @property
    def totals(self):
        totals = Counter()
        for node in self.nodes:
            totals.update(node.totals)
        return {key: value for key, value in totals.items() if value}

    def node(self, name):
        return next(node for node in self.nodes if node.name == name)

    def in_use(self):
        """Return the node that new increments go to now."""
        (stream,) = [w for w in self.wires.values() if w.server in self.nodes and w.is_open]
        return stream.server

    def heal(self):
        self.tracker.is_up, self.tracker.is_paused = True, False
        for node in self.nodes:
            node.is_up, node.is_paused = True, False
            node.refusals.clear()

    def check(self):
        """Check that everything has ended, and that the totals hold exactly what they should."""
        assert self.dialogue.is_idle
        expected: Counter[str] = Counter()
        unknown = {}
        for key, amount, batch in self.wanted:
            try:
                batch.result(key)
                expected[key] += amount
            except UnknownOutcomeError as error:
                unknown[error.id] = error.operation
            except (RefusedError, UnreachableError) as error:
                assert error.definite  # noqa: PT017 - what it says is checked by the totals
        self.haunt()
        for operation, batch in self.retries:
            if operation.id in unknown and self.is_refused(batch, operation.pairs[0]):
                del unknown[operation.id]
        for operation in unknown.values():
            self.retried(operation)
            for key, amount in zip(operation.pairs[::2], operation.pairs[1::2], strict=True):
                expected[key] += amount
        assert self.totals == {key: value for key, value in expected.items() if value}
        return len(unknown)

    def is_refused(self, batch, key):
        """Say whether a batch was certainly not counted."""
        try:
            batch.result(key)
        except UnknownOutcomeError:
            return False
        except ClusterError:
            return True
        return False

    def unknown(self):
        """Return the operations whose outcome is unknown so far, in order."""
        found = {}
        for key, _, batch in self.wanted:
            try:
                if batch.is_settled:
                    batch.result(key)
            except ClusterError as error:
                if isinstance(error, UnknownOutcomeError):
                    found[error.id] = error.operation
        return list(found.values())

    def retried(self, operation):
        """Repeat an operation until it is acknowledged."""
        for _ in range(3):
            batch = self.dialogue.retry(operation, self.now)
            self.step()
            self.settle()
            try:
                return batch.result(operation.pairs[0])
            except UnknownOutcomeError:
                continue
        raise AssertionError("a healthy node does not acknowledge a retry")


def failure_of(batch, key="views"):
    with pytest.raises(ClusterError) as caught:
        batch.result(key)
    return caught.value


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
    assert "node n1 at 127.0.0.1:7401 began anew, with another store; the increment MAY" in str(
        error
    )
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


# -- nodes that are lost --------------------------------------------------------------------


def start(world):
    """Let a client settle at a node; returns the node and its stream."""
    world.count("begin")
    world.settle()
    return world.in_use(), next(iter(world.wires))


def other(world, node):
    return next(one for one in world.nodes if one is not node)


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


def test_a_node_that_swallows_everything_is_given_up_at_the_deadline():
    world = World(count=1, node="127.0.0.1:7401")
    world.nodes[0].is_paused = True

    batch = world.count()
    world.settle()

    assert isinstance(failure_of(batch), UnreachableError)
    assert 3.9 < world.now < 4.5


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


# -- nodes that refuse ----------------------------------------------------------------------


@pytest.mark.parametrize("code", ["busy", "leaving", "disk"])
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


def test_a_refusal_that_no_other_node_would_change_is_final():
    world = World()
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

    assert str(error) == "2 keys were not counted: no node; no tracker"
    assert (error.uncounted, error.unknown) == ({"a": 1, "b": 2}, ())


# -- any story ------------------------------------------------------------------------------


class AnyStory(RuleBasedStateMachine):
    """Whatever happens, in whatever order: each increment ends, and counts as it was told."""

    @initialize(seed=st.integers(0, 2**16), count=st.integers(1, 3))
    def begin(self, seed, count):
        self.world = World(count, seed)

    def pick(self, data, what):
        return data.draw(st.sampled_from(what)) if what else None

    @rule(key=st.sampled_from("abc"), amount=st.integers(-3, 9), times=st.integers(1, 4))
    def count(self, key, amount, times):
        for _ in range(times):
            self.world.count(key, amount)

    @rule(data=st.data(), times=st.integers(1, 6))
    def move(self, data, times):
        for _ in range(times):
            link = self.pick(data, list(self.world.wires))
            if link is not None:
                self.world.move(link)

    @rule(until=st.sampled_from([0.0, 0.2, 1.2]))
    def run(self, until):
        self.world.settle(until=self.world.now + until)

    @rule(data=st.data())
    def cut(self, data):
        link = self.pick(data, list(self.world.wires))
        if link is not None:
            self.world.cut(link)

    @rule(data=st.data(), fate=st.sampled_from(["is_up", "is_paused"]))
    def flip(self, data, fate):
        server = self.pick(data, [*self.world.nodes, self.world.tracker])
        setattr(server, fate, not getattr(server, fate))

    @rule(
        data=st.data(),
        code=st.sampled_from(["busy", "leaving", "disk", "range", "in-doubt", "too-old"]),
    )
    def refuse(self, data, code):
        self.pick(data, self.world.nodes).refusals.append(code)

    @rule(
        code=st.sampled_from(["busy", "leaving", "disk", "range", "too-old"]),
        times=st.integers(1, 2),
    )
    def interrupt(self, code, times):
        """Cut a stream while an increment is on it, at a node that refuses what comes next."""
        world = self.world
        world.count("a")
        for link, stream in list(world.wires.items()):
            if stream.to_server and stream.is_open and stream.server in world.nodes:
                stream.server.refusals.extend([code] * times)
                world.cut(link)

    @rule()
    def exchange_addresses(self):
        """Restart two nodes, each at the address of the other one."""
        nodes = self.world.nodes
        for link, stream in list(self.world.wires.items()):
            if stream.server in nodes:
                self.world.cut(link)
        nodes[0].endpoint, nodes[-1].endpoint = nodes[-1].endpoint, nodes[0].endpoint

    @rule(data=st.data())
    def retry(self, data):
        operation = self.pick(data, self.world.unknown())
        if operation is not None:
            batch = self.world.dialogue.retry(operation, self.world.now)
            self.world.retries.append((operation, batch))
            self.world.step()

    @rule(data=st.data())
    def pass_the_deadline(self, data):
        """Leave an increment unknown: its node sleeps until its deadline is over."""
        world = self.world
        world.count("b")
        for node in world.nodes:
            node.is_paused = True
        world.settle(until=world.now + 5.0)
        for node in world.nodes:
            node.is_paused = False

    @rule()
    def haunt(self):
        self.world.haunt()

    @rule(seconds=st.floats(0.01, 2.0))
    def sleep(self, seconds):
        self.world.now += seconds
        self.world.step()

    @invariant()
    def nothing_counts_twice(self):
        if not hasattr(self, "world"):
            return
        for node in self.world.nodes:
            for sequences in node.sequences.values():
                assert len(set(sequences)) == len(sequences)

    def teardown(self):
        if not hasattr(self, "world"):
            return
        self.world.heal()
        self.world.settle()
        self.world.check()


TestAnyStory = pytest.mark.slow(AnyStory.TestCase)
TestAnyStory.settings = settings(max_examples=100, stateful_step_count=30)


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
