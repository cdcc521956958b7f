"""Disks that are full for a while, restarts on them, and power cuts: what is acknowledged is there.

A restart on a full disk finds the room that is kept for it (`counter.storage.reserve`), and no
record is taken. So here a full disk refuses every record and still takes starts.
"""

from random import Random

import pytest

from counter.config import LAN
from counter.gossip import Gossip
from counter.lives import wants_rebirth
from counter.messages import (
    ACK_DEFAULT,
    GOSSIP,
    UNTIL_ALL,
    Answer,
    Counted,
    Increment,
    Query,
)
from loadtest.simulation.disks import DiskConfig
from loadtest.simulation.lives import begun
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker.config import TrackerConfig
from tracker.messages import Refused
from tracker.registry import Registry

TRACKER = ("10.255.255.1", 7400)
PLACES = {f"n{number}": (f"10.0.0.{number}", 7401) for number in (1, 2, 3)}
FULL = "cannot write counts: the disk is full"
STEPS = 40


class Cluster:
    """A tracker and three nodes, whose disks are full now and then."""

    def __init__(self, seed):
        network = NetworkConfig(base_s=0.001, jitter_s=0.0005)
        self.world = World(seed, network, datagram_codec=GOSSIP)
        self.dice = Random(f"full/{seed}")
        self.starts = self.truth = self.tried = 0
        self.refusals, self.rebirths = [], []
        self.world.on_emit(self._emitted)
        for place in PLACES.values():
            self.world.disk(place, DiskConfig(survival=0.5))
        dice = self.world.random("t")
        self.world.add(Registry(TrackerConfig(), dice.randbytes(8), None, dice), TRACKER)
        for name in PLACES:
            self.start(name)
        assert self.world.run_until(self.is_settled)

    def _emitted(self, emitted):
        _, place, event, details = emitted
        if wants_rebirth(event, details):
            self.rebirths.append(place)

    def start(self, name):
        self.starts += 1
        dice = self.world.random(f"{name}/{self.starts}")
        disk, place = self.world.disk(PLACES[name]), PLACES[name]
        node = begun(Gossip, name, place, disk, gossip=LAN, trackers=(TRACKER,), random=dice)
        self.world.add(node, place)

    def is_settled(self):
        nodes = [self.world.machine(place) for place in PLACES.values()]
        return all(n.membership.view.expected == 3 and not n.ledger.is_held for n in nodes)

    def count(self, name):
        """Count at a node; returns what it said."""
        self.tried += 7
        client = self.world.connect(PLACES[name])
        client.send(Increment(self.dice.randbytes(16), 1, ("views", 7), ACK_DEFAULT))
        assert self.world.run_until(lambda: client.received)
        told = client.received[0]
        if isinstance(told, Counted):
            self.truth += 7
        else:
            assert isinstance(told, Refused)
            self.tried -= 7
            self.refusals.append((name, told.code))
        return told

    def answer(self, name):
        client = self.world.connect(PLACES[name])
        client.send(Query(1, "views", 0, 0, 0, 3_000, UNTIL_ALL, 0, 0, False))
        assert self.world.run_until(lambda: any(getattr(m, "end", False) for m in client.received))
        return next(m for m in client.received if isinstance(m, Answer) and m.end)

    def cut_power(self, names):
        """Let these crash at one moment, in the middle of what they write, and start again."""
        for name in names:
            client = self.world.connect(PLACES[name])
            client.send(Increment(self.dice.randbytes(16), 1, ("views", 7), ACK_DEFAULT))
        self.tried += 7 * len(names)
        self.world.run_until(self.world.now + self.dice.uniform(0.0, 0.004))
        for name in names:
            self.world.crash(PLACES[name])
        for name in names:
            self.start(name)
        assert self.world.run_until(self.is_settled)

    def play(self):
        """Let things happen; whenever all is quiet the answer is complete, and holds everything."""
        for _ in range(STEPS):
            name = self.dice.choice([*PLACES])
            disk, what = self.world.disk(PLACES[name]), self.dice.randrange(5)
            if what == 0:
                disk.fail(FULL)
            elif what == 1:
                disk.mend()
            elif what == 2:
                self.cut_power([name] if self.dice.random() < 0.7 else [*PLACES])
            else:
                is_full = disk.failure is not None
                assert isinstance(self.count(name), Refused if is_full else Counted)
            answer = self.answer(self.dice.choice([*PLACES]))
            assert answer.complete
            assert self.truth <= answer.value <= self.tried


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_nodes_on_full_disks_answer_start_again_and_lose_nothing(seed):
    cluster = Cluster(seed)
    cluster.play()

    assert {code for _, code in cluster.refusals} == {"disk"}
    assert cluster.rebirths == []
    for place in PLACES.values():
        cluster.world.disk(place).mend()
    for name in PLACES:
        assert isinstance(cluster.count(name), Counted)
    cluster.cut_power([*PLACES])
    answer = cluster.answer("n1")
    assert answer.complete
    assert cluster.truth <= answer.value <= cluster.tried


@pytest.mark.soak
def test_nodes_on_full_disks_lose_nothing_in_two_hundred_worlds():
    for seed in range(100, 300):
        Cluster(seed).play()
