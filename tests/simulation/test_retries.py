"""A client whose nodes in memory leave, come back with new stores, and lose its replies: real nodes
and the real client in one simulated world.

The rule: each increment has a key of its own, so that whatever counts twice is seen, wherever its
counts went in the meantime.
"""

from random import Random

import pytest

from counter.client.dialogue import Dialogue
from counter.client.lane import Lane, Open, Shut, Write
from counter.client.operations import UnknownOutcomeError
from counter.client.options import made
from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.messages import DOOR, GOSSIP
from loadtest.simulation.disks import DiskConfig
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker import wire
from tracker.config import TrackerConfig
from tracker.errors import ClusterError
from tracker.machine import Leave
from tracker.members import Member
from tracker.messages import Hello, Welcome
from tracker.registry import Registry

TRACKER = ("10.255.255.1", 7400)
NODES = {f"n{number}": (f"10.0.0.{number}", 7401) for number in (1, 2, 3)}
AMOUNT = 7
LOST = 0.6
"""How often a stream of the client ends just before a reply would have come."""


class Client:
    """A client's machine in the world: its streams are links, whose ends its dice draw."""

    def __init__(self, world, stores, seed, **options):
        self.world = world
        self.stores = stores
        self.dice = Random(f"client/{seed}")
        fields = {"node": None, "pick": "random", "deadline_s": 2.0, "ack": None}
        fields |= {"trackers": f"{TRACKER[0]}:{TRACKER[1]}", "cluster": "default", **options}
        self.dialogue = Dialogue(made({}, **fields), self.dice)
        self.links = {}
        self.due = None
        self.lost = LOST

    def do(self, effects):
        for effect in effects:
            match effect:
                case Open(link, endpoint):
                    self._open(link, endpoint)
                case Write(link, data):
                    self._write(link, data)
                case Shut(link):
                    self._end(link)
        due = self.dialogue.deadline()
        if due is not None and due != self.due:
            self.due = due
            self.world.at(due, self._step, due)

    def _step(self, due):
        if due == self.due:
            self.due = None
            self.do(self.dialogue.step(self.world.now))

    def _open(self, link, endpoint):
        stream = self.world.connect(endpoint, lambda message, now: self._hear(link, message))
        stream.on_closed = lambda reason: self._lost(link, reason)
        self.links[link] = (stream, endpoint, wire.FrameReader())
        self.world.at(self.world.now, self._stands, link)

    def _stands(self, link):
        if link in self.links:
            self.do(self.dialogue.opened(link, self.world.now))

    def _write(self, link, data):
        stream, endpoint, reader = self.links[link]
        for body in reader.feed(data):
            message = DOOR.decode(body)
            if isinstance(message, Hello):
                self.world.at(self.world.now + 0.001, self._welcome, link, endpoint)
            else:
                stream.send(message)

    def _welcome(self, link, endpoint):
        if link not in self.links:
            return
        if endpoint == TRACKER:
            self._take(link, Welcome(wire.PROTOCOL, "tracker", ""))
            return
        name = next(name for name, where in NODES.items() if where == endpoint)
        if endpoint not in self.world.endpoints():
            self._lost(link, "refused")
            return
        self._take(link, Welcome(wire.PROTOCOL, "node", name, self.stores[name]))

    def _hear(self, link, message):
        if link not in self.links:
            return
        if self.links[link][1] != TRACKER and self.dice.random() < self.lost:
            self._lost(link, "reset")
            return
        self._take(link, message)

    def _take(self, link, message):
        frame = wire.framed(DOOR.encode(message))
        self.do(self.dialogue.received(link, frame, self.world.now))

    def _lost(self, link, reason):
        if link in self.links:
            self._end(link)
            self.do(self.dialogue.lost(link, reason, self.world.now))

    def _end(self, link):
        stream, _, _ = self.links.pop(link)
        stream.on_closed = None
        stream.close()


class Cluster:
    """A tracker, three nodes in memory, and one client."""

    def __init__(self, seed, **options):
        network = NetworkConfig(base_s=0.001, jitter_s=0.0005)
        self.world = World(seed, network, datagram_codec=GOSSIP, disk=DiskConfig(durable=False))
        self.stores, self.lives = {}, 0
        self.world.on_emit(self._emitted)
        dice = self.world.random("t")
        self.world.add(Registry(TrackerConfig(), dice.randbytes(8), None, dice), TRACKER)
        for name in NODES:
            self.start(name)
        assert self.world.run_until(
            lambda: all(
                node.membership.view.expected == len(NODES) and not node.ledger.is_held
                for node in self.nodes()
            )
        )
        self.client = Client(self.world, self.stores, seed, **options)
        self.batches = {}

    def start(self, name):
        self.lives += 1
        identity = self.world.disk(NODES[name]).open()
        where = (0, identity.epoch, 0, *NODES[name])
        member = Member(name, identity.store, *where, durable=False)
        random = self.world.random(f"{name}/{self.lives}")
        machine = Gossip(NodeConfig(name=name), LAN, member, (TRACKER,), random)
        machine.resume(0)
        self.stores[name] = identity.store
        self.world.add(machine, NODES[name])

    def nodes(self):
        return [self.world.machine(NODES[name]) for name in NODES if self.is_up(name)]

    def is_up(self, name):
        return NODES[name] in self.world.endpoints()

    def leave(self, name):
        if self.is_up(name):
            self.world.submit(NODES[name], Leave(hand_over=True))

    def _emitted(self, emitted):
        _, endpoint, event, _ = emitted
        if event == "drained":
            self.world.at(self.world.now, self._anew, endpoint)

    def _anew(self, endpoint):
        self.world.stop(endpoint)
        name = next(name for name, where in NODES.items() if where == endpoint)
        self.world.at(self.world.now + 0.05, self.start, name)

    def crash(self, name):
        self.world.crash(NODES[name])
        self.world.at(self.world.now + 0.05, self.start, name)

    def count(self, key):
        dialogue, now = self.client.dialogue, self.world.now
        self.batches[key] = dialogue.count(key, AMOUNT, now)
        self.client.do(dialogue.step(now))

    def settle(self):
        assert self.world.run_until(lambda: self.client.dialogue.is_idle)

    def retry_unknown(self):
        """Send once more what is unknown, each for itself."""
        for key, batch in self.batches.items():
            end = ended(batch, key)
            if isinstance(end, UnknownOutcomeError):
                dialogue = self.client.dialogue
                again = dialogue.retry(end.operation, self.world.now)
                self.client.do(dialogue.step(self.world.now))
                self.settle()
                if ended(again, key) is None:
                    self.batches[key] = again

    def found(self, key):
        """Return what is counted of a key, each store once."""
        shares = {}
        for node in self.nodes():
            counters = node.ledger.counters
            shares |= {counters.store: counters.own, **counters.others}
        return sum(share.value(key) for share in shares.values())


def ended(batch, key):
    """Return the error that a batch ended with; None if it was counted."""
    try:
        batch.result(key)
    except ClusterError as error:
        return error
    return None


def played(seed):
    """Let nodes leave and come back while a client counts; returns what counted more than once."""
    cluster = Cluster(seed)
    world, dice = cluster.world, Random(f"story/{seed}")
    began = world.now
    for number in range(60):
        world.at(began + number * 0.05, cluster.count, f"k{number}")
    for number in range(2):
        name = dice.choice([*NODES])
        world.at(began + number * 1.5 + dice.uniform(0.2, 1.2), cluster.leave, name)
    world.run_until(began + 4.0)
    cluster.settle()
    cluster.retry_unknown()
    world.run_until(world.now + 4.0)
    wrong = {}
    for key, batch in cluster.batches.items():
        end, found = ended(batch, key), cluster.found(key)
        if end is None and not batch.result(key).parked:
            is_right = found == AMOUNT
        elif end is not None and end.definite:
            is_right = found == 0
        else:
            is_right = found in (0, AMOUNT)
        if not is_right:
            wrong[key] = found, end
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_nothing_counts_twice_while_nodes_in_memory_leave_and_come_back(seed):
    assert played(seed) == {}


@pytest.mark.slow
def test_a_client_that_believes_the_name_counts_twice_in_some_of_these_worlds(monkeypatch):
    monkeypatch.setattr(Lane, "is_anew_for", lambda self, entry: False)

    assert any(played(seed) for seed in range(12))


@pytest.mark.slow
def test_what_is_in_doubt_at_a_node_in_memory_that_crashed_is_unknown_and_new_ones_count():
    cluster = Cluster(1, node="n1")
    cluster.client.lost = 0.0
    world = cluster.world
    cluster.count("before")
    node = world.machine(NODES["n1"])
    assert world.run_until(lambda: node.ledger.counters.value("before") == AMOUNT)
    for link in [*cluster.client.links]:
        cluster.client._lost(link, "reset")
    cluster.crash("n1")
    cluster.count("after")
    cluster.settle()

    end = ended(cluster.batches["before"], "before")
    assert isinstance(end, UnknownOutcomeError)
    assert "began anew" in str(end)
    assert ended(cluster.batches["after"], "after") is None
    assert (cluster.found("before"), cluster.found("after")) == (0, AMOUNT)
