"""Nodes in memory that leave and come back again and again: their counts are folded by those who
hold them, while everybody asks and holders crash; what is called complete is the truth.
"""

from random import Random

import pytest

from counter import folding
from counter.config import LAN
from counter.folding import Folding
from counter.gossip import Gossip
from counter.messages import (
    ACK_DEFAULT,
    GOSSIP,
    UNTIL_ALL,
    Answer,
    Counted,
    Increment,
    Query,
    prefixed,
)
from loadtest.simulation.disks import DiskConfig
from loadtest.simulation.lives import begun
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker.config import TrackerConfig
from tracker.machine import Leave
from tracker.registry import Registry

TRACKER = ("10.255.255.1", 7400)
MEMORY = DiskConfig(durable=False)
PLACES = {name: (f"10.0.0.{number}", 7401) for number, name in enumerate(["d1", "d2", "m1", "m2"])}
ROUNDS = 10
FOLD_S, DEADLINE_MS = 1.5, 1_000
QUICK = NetworkConfig(base_s=0.001, jitter_s=0.0005, duplication=0.05)
SLOW = NetworkConfig(base_s=0.01, jitter_s=0.03, loss=0.1)
"""Here a query lasts long enough for its member to leave meanwhile."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Fold in seconds what takes minutes; no query here lives as long as that either."""
    monkeypatch.setattr(folding, "FOLD_AFTER_S", FOLD_S)
    monkeypatch.setattr(folding, "LOOK_GAP_S", 0.2)
    monkeypatch.setattr(folding, "FOLD_STORES_MIN", 3)


class Cluster:
    """A tracker, two nodes with disks and two without, which leave in turns."""

    def __init__(self, seed, *, durable=("d1", "d2"), network=QUICK):
        self.world = World(seed, network, datagram_codec=GOSSIP)
        self.dice = Random(f"story/{seed}")
        self.truth, self.starts, self.folds = 0, 0, []
        self.wrong, self.completes = [], 0
        for name, place in PLACES.items():
            self.world.disk(place, DiskConfig() if name in durable else MEMORY)
        self.world.on_emit(self._emitted)
        dice = self.world.random("t")
        self.world.add(Registry(TrackerConfig(), dice.randbytes(8), None, dice), TRACKER)
        for name in PLACES:
            self.start(name)
        assert self.world.run_until(lambda: all(map(self.is_known, PLACES)))

    def start(self, name):
        self.starts += 1
        place, disk = PLACES[name], self.world.disk(PLACES[name])
        dice = self.world.random(f"{name}/{self.starts}")
        node = begun(Gossip, name, place, disk, gossip=LAN, trackers=(TRACKER,), random=dice)
        self.world.add(node, place)

    def node(self, name):
        return self.world.machine(PLACES[name])

    def is_up(self, name):
        return PLACES[name] in self.world.endpoints()

    def is_known(self, name):
        node = self.node(name)
        return self.is_up(name) and node.membership.view.expected == 4 and not node.ledger.is_held

    def _emitted(self, emitted):
        _, place, event, details = emitted
        if event == "drained":
            self.world.at(self.world.now, self._anew, place)
        elif event == "folded":
            self.folds.append((place, details["stores"]))

    def _anew(self, place):
        self.world.stop(place)
        name = next(name for name, where in PLACES.items() if where == place)
        self.world.at(self.world.now + 0.05, self.start, name)

    def count(self, name):
        client = self.world.connect(PLACES[name])
        client.send(Increment(self.dice.randbytes(16), 1, ("views", 7), ACK_DEFAULT))
        assert self.world.run_until(lambda: client.received)
        assert isinstance(client.received[0], Counted)
        self.truth += 7

    def leave(self, name):
        """Let a node in memory leave and come back; its counts are with somebody else then."""
        store = self.node(name).ledger.counters.store
        self.world.submit(PLACES[name], Leave(hand_over=True))
        assert self.world.run_until(
            lambda: self.node(name).ledger.counters.store != store and self.is_known(name)
        )

    def crash(self, name):
        if self.is_up(name):
            self.world.crash(PLACES[name])
            self.world.at(self.world.now + 0.3, self.start, name)

    def ask_all_the_time(self):
        for name in PLACES:
            if self.is_up(name):
                for question in ("views", prefixed("")):
                    self._ask(name, question)
        self.world.at(self.world.now + 0.15, self.ask_all_the_time)

    def _ask(self, name, question):
        before = self.truth

        def hear(message, now):
            if isinstance(message, Answer):
                self.completes += message.complete
                is_less = message.complete and message.value < before
                if is_less or message.value > self.truth:
                    self.wrong.append((self.world.now, name, question, message))

        client = self.world.connect(PLACES[name], hear)
        client.send(Query(1, question, 0, 0, 0, DEADLINE_MS, UNTIL_ALL, 0, 50, False))

    def play(self, crashes=0):
        self.ask_all_the_time()
        for turn in range(ROUNDS):
            name = "m1" if turn % 2 else "m2"
            self.count(name)
            self.leave(name)
        began = self.world.now
        for _ in range(crashes):
            when = began + self.dice.uniform(0.0, 2 * FOLD_S)
            self.world.at(when, self.crash, self.dice.choice(["d1", "d2"]))
        self.world.run_until(began + 3 * FOLD_S)

    @property
    def held(self):
        return [len(self.node(name).ledger.counters.others) for name in PLACES]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_what_nodes_in_memory_leave_behind_is_folded_and_every_answer_stays_true(seed):
    cluster = Cluster(seed)
    cluster.play()

    assert cluster.wrong == []
    assert cluster.folds
    assert cluster.completes > 100
    assert sum(cluster.held) < ROUNDS


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_holders_that_crash_while_they_fold_make_no_answer_wrong(seed):
    cluster = Cluster(seed)
    cluster.play(crashes=4)

    assert cluster.wrong == []
    assert cluster.folds


@pytest.mark.slow
def test_where_nobody_has_a_disk_folded_shares_are_handed_over_and_folded_again():
    cluster = Cluster(7, durable=())
    cluster.play()
    for name in ("d1", "d2", "m1"):
        cluster.leave(name)
    cluster.world.run_until(cluster.world.now + 3 * FOLD_S)

    assert cluster.wrong == []
    assert len({place for place, _ in cluster.folds}) > 1
    assert sum(cluster.held) < ROUNDS


@pytest.mark.slow
def test_a_node_that_folds_what_its_owner_still_tells_is_found_by_these_worlds(monkeypatch):
    def at_once(self, view, now):
        return tuple(self._finals)

    monkeypatch.setattr(Folding, "_settled", at_once)
    monkeypatch.setattr(folding, "FOLD_STORES_MIN", 1)
    monkeypatch.setattr(folding, "LOOK_GAP_S", 0.01)

    def found(seed):
        cluster = Cluster(seed, network=SLOW)
        cluster.play()
        return cluster.wrong

    assert any(found(seed) for seed in range(8))
