"""A power cut of everything, a moment after a newcomer's first acknowledgement: who knows of it?"""

import pytest

from counter import saving
from counter.config import LAN
from counter.gossip import Gossip
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
from loadtest.simulation.lives import begun, tracker_begun
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker.registry import Registry

TRACKER = ("10.255.255.1", 7400)
SEEDS = range(8)
SLOW = DiskConfig(fsync_s=0.1, jitter_s=0.1)


def endpoint(name):
    return f"10.0.0.{name[1:]}", 7401


class Cluster:
    """A tracker and n1 to n4, all of them with disks."""

    def __init__(self, seed):
        network = NetworkConfig(base_s=0.001, jitter_s=0.001)
        self.world = World(seed, network, datagram_codec=GOSSIP)
        self.starts = 0
        self.world.disk(TRACKER, SLOW)
        self.start_tracker()
        for number in range(1, 5):
            self.start(f"n{number}")
        self.world.run_until(2.0 + seed / 7)

    def start_tracker(self):
        self.starts += 1
        disk, dice = self.world.disk(TRACKER), self.world.random(f"t{self.starts}")
        self.world.add(tracker_begun(disk, dice), TRACKER)

    def start(self, name):
        self.starts += 1
        dice, place = self.world.random(f"{name}/{self.starts}"), endpoint(name)
        disk = self.world.disk(place)
        node = begun(Gossip, name, place, disk, gossip=LAN, trackers=(TRACKER,), random=dice)
        self.world.add(node, place)

    def acknowledged(self, name):
        """Count once at a node, and return at the very moment of the acknowledgement."""
        client = self.world.connect(endpoint(name))
        client.send(Increment(b"s" * 16, 1, ("views", 5), ACK_DEFAULT))
        assert self.world.run_until(lambda: client.received)
        assert isinstance(client.received[0], Counted)

    def cut_power(self):
        for place in self.world.endpoints():
            self.world.crash(place)

    def answer(self, name):
        client = self.world.connect(endpoint(name))
        client.send(Query(1, "views", 0, 0, 0, 3_000, UNTIL_ALL, 0, 0, False))
        ends = lambda: [m for m in client.received if isinstance(m, Answer) and m.end]  # noqa: E731
        assert self.world.run_until(ends)
        return ends()[0]


def forgotten(seed):
    """Whether somebody calls complete what a newcomer lacks, which was acknowledged before."""
    cluster = Cluster(seed)
    # Somebody else is news already, so that the nodes' own lists are written a moment later.
    cluster.start("n5")
    cluster.world.run_until(cluster.world.now + 0.1)
    cluster.start("n6")
    cluster.acknowledged("n6")
    cluster.cut_power()
    cluster.start_tracker()
    for number in range(1, 6):
        cluster.start(f"n{number}")
    cluster.world.run_until(cluster.world.now + 1.0)
    answer = cluster.answer("n1")
    assert answer.value == 0
    return answer.complete


@pytest.fixture
def slow_lists(monkeypatch):
    """Have nodes write their own lists as late as those of hundreds are written."""
    monkeypatch.setattr(saving, "VIEW_SAVE_FEW_S", saving.VIEW_SAVE_S)


@pytest.mark.slow
@pytest.mark.usefixtures("slow_lists")
@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_power_cut_of_everything_a_newcomer_that_was_acknowledged_is_missed(seed):
    assert not forgotten(seed)


@pytest.mark.slow
@pytest.mark.usefixtures("slow_lists")
def test_a_newcomer_that_no_disk_has_yet_would_be_forgotten_in_some_of_these_worlds(monkeypatch):
    monkeypatch.setattr(Registry, "_is_kept", lambda self, link, version: True)

    assert any(forgotten(seed) for seed in SEEDS)
