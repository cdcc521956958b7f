"""A client that counts and the nodes it meets, which die, sleep, refuse and come back: no sockets.

The nodes are models: they count an operation once, whoever repeats it, and keep that over a
restart. What was written to a stream may still arrive after the stream has ended, as on a real
one. What is checked at the end of every story: an acknowledged increment is in the totals, a
refused one is not, and one that was unknown is once its retry is acknowledged; each exactly once.
"""

from collections import Counter, deque
from random import Random

import pytest

from counter.client.dialogue import Dialogue
from counter.client.lane import Open, Settled, Shut, Write
from counter.client.operations import (
    Operation,
    UnknownOutcomeError,
)
from counter.client.options import made
from counter.messages import DOOR, Counted, Increment
from tracker import wire
from tracker.errors import ClusterError, RefusedError, UnreachableError
from tracker.members import ALIVE
from tracker.messages import Find, Found, Hello, Refused, Welcome

TRACKER = ("127.0.0.1", 7400)
EMPTY = ("127.0.0.1", 7398)


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
        self.store = self.boots = b""

    def begin_anew(self, store):
        """Come back with another store, which knows nothing."""
        self.store = store
        self.operations, self.sequences, self.totals = {}, {}, Counter()

    def answer(self, message):
        if isinstance(message, Hello):
            return [Welcome(wire.PROTOCOL, self.role, self.name, self.store, self.boots)]
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

    def __init__(self, nodes, endpoint=TRACKER, clock=lambda: 0.0) -> None:
        self.endpoint = endpoint
        self.is_up = True
        self.is_paused = False
        self.nodes = nodes
        self.asked: list[str] = []
        self.turns: list[int] = []
        self.role = "tracker"
        # Until then its nodes have come, and none is let in.
        self.lets_in_at = 0.0
        self._clock = clock

    def answer(self, message):
        if isinstance(message, Hello):
            return [Welcome(wire.PROTOCOL, self.role, "")]
        assert isinstance(message, Find)
        self.asked.append(message.name)
        self.turns.append(message.turn)
        if self._clock() < self.lets_in_at:
            return [Found(message.request, (), self.lets_in_at - self._clock())]
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
        self.tracker = Tracker(self.nodes, clock=lambda: self.now)
        # One that has lost its list, for whoever is told of it.
        self.empty = Tracker([], EMPTY)
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
                    servers = [
                        s for s in (*self.nodes, self.tracker, self.empty) if s.endpoint == endpoint
                    ]
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


# -- nodes that are lost --------------------------------------------------------------------


def start(world):
    """Let a client settle at a node; returns the node and its stream."""
    world.count("begin")
    world.settle()
    return world.in_use(), next(iter(world.wires))


def other(world, node):
    return next(one for one in world.nodes if one is not node)
