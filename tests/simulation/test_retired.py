"""Old backups of nodes that had handed their counts over, put back when nobody but the holders can
know it: their names were given away since, and their tombstones forgotten. What is called complete
stays the truth.

As long as its tombstone stands, under the name that it derives, a tracker refuses such a store by
itself. So here tombstones are few, and others come and go until those of the four have made room.
"""

from random import Random

import pytest

from counter import folding
from counter.adoption import ADOPTED_MAX
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
    prefixed,
)
from counter.retired import Retired
from loadtest.simulation.disks import DiskConfig
from loadtest.simulation.lives import begun
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker.config import TrackerConfig
from tracker.machine import Leave
from tracker.members import Member
from tracker.messages import Departed, Departing, Register, Registered
from tracker.names import is_derived
from tracker.registry import Registry
from tracker.strangers import Strangers

TRACKER = ("10.255.255.1", 7400)
NAMES = ("d1", "d2", "d3", "d4")
PLACES = {name: (f"10.0.0.{number}", 7401) for number, name in enumerate(NAMES, 1)}
KEYS = ("views", "clicks")
ROUNDS = 7
TOMBSTONES = 16
FOLD_S, DEADLINE_MS = 0.6, 400
QUICK = NetworkConfig(base_s=0.001, jitter_s=0.0005, duplication=0.02)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Fold in seconds what takes minutes; no query here lives as long as that either."""
    monkeypatch.setattr(folding, "FOLD_AFTER_S", FOLD_S)
    monkeypatch.setattr(folding, "LOOK_GAP_S", 0.1)
    monkeypatch.setattr(folding, "FOLD_STORES_MIN", 2)
    monkeypatch.setattr("tracker.members.TOMBSTONES_MAX", TOMBSTONES)
    monkeypatch.setattr("tracker.table.TOMBSTONES_MAX", TOMBSTONES)


class Cluster:
    """A tracker and four nodes with disks; whoever leaves comes back as a new store."""

    def __init__(self, seed, network=QUICK):
        self.world = World(seed, network, datagram_codec=GOSSIP)
        self.dice = Random(f"story/{seed}")
        self.truth, self.starts, self.completes, self.guests = 0, 0, 0, 0
        self.backups, self.drained, self.wrong = [], {}, []
        self.events = []
        for place in PLACES.values():
            self.world.disk(place, DiskConfig())
        self.world.on_emit(self._emitted)
        dice = self.world.random("t")
        self.world.add(Registry(TrackerConfig(), dice.randbytes(8), None, dice), TRACKER)
        for name in NAMES:
            self.start(name)
        assert self.world.run_until(lambda: all(map(self.is_known, NAMES)))

    # -- nodes ------------------------------------------------------------------------------------

    def start(self, name):
        self.starts += 1
        place = PLACES[name]
        dice = self.world.random(f"{name}/{self.starts}")
        disk = self.world.disk(place)
        node = begun(Gossip, name, place, disk, gossip=LAN, trackers=(TRACKER,), random=dice)
        self.world.add(node, place)

    def node(self, name):
        return self.world.machine(PLACES[name])

    def disk(self, name):
        return self.world.disk(PLACES[name])

    def is_up(self, name):
        return PLACES[name] in self.world.endpoints()

    def is_known(self, name):
        if not self.is_up(name):
            return False
        node = self.node(name)
        return node.membership.view.expected == len(NAMES) and not node.ledger.is_held

    def _emitted(self, emitted):
        _, place, event, details = emitted
        self.events.append(event)
        is_over = event == "registration-refused" and details["final"]
        if event == "drained" or is_over:
            self.world.at(self.world.now, self._anew, place)

    def _anew(self, place):
        """Let a process end, and begin with a new directory under the same name."""
        if place not in self.world.endpoints():
            return
        self.world.stop(place)
        name = next(name for name, where in PLACES.items() if where == place)
        self.drained.setdefault(name, []).append(self.disk(name).identity.store)
        self.disk(name).wipe()
        kept = self.disk(name).identity
        self.world.at(self.world.now + 0.02, self._begin, name, kept)

    def _begin(self, name, identity):
        # Unless a backup was put into its place meanwhile.
        if not self.is_up(name) and self.disk(name).identity == identity:
            self.start(name)

    def crash(self, name):
        if self.is_up(name):
            self.world.crash(PLACES[name])
            self.world.at(self.world.now + 0.1, self._back, name)

    def _back(self, name):
        if not self.is_up(name):
            self.start(name)

    # -- what happens -----------------------------------------------------------------------------

    def count(self, name):
        """Count at a node if it is there; what is acknowledged is the truth from then on."""
        if not self.is_up(name):
            return
        key = self.dice.choice(KEYS)

        def hear(message, now):
            if isinstance(message, Counted):
                self.truth += 7 if key == "views" else 0

        client = self.world.connect(PLACES[name], hear)
        client.send(Increment(self.dice.randbytes(16), 1, (key, 7), ACK_DEFAULT))
        self.world.run_until(self.world.now + 0.02)

    def back_up(self, name):
        if self.is_up(name):
            self.backups.append((name, self.disk(name).backup()))

    def drain(self, name):
        """Let a node hand its counts over and come back as somebody else."""
        if not self.is_known(name):
            return
        store = self.disk(name).identity.store
        self.world.submit(PLACES[name], Leave(hand_over=True))
        self.world.run_until(
            lambda: self.disk(name).identity.store != store and self.is_known(name)
        )

    def put_back(self):
        """Put an old backup of a store that has left in the place of the present one."""
        known = [
            (name, backup)
            for name, backup in self.backups
            if backup.identity.store in self.drained.get(name, ())
        ]
        if not known:
            return
        name, backup = self.dice.choice(known)
        if self.dice.random() < 0.8:
            self.crowd_out()
        # The name is free only once its present store has left as well.
        if self.is_known(name):
            self.world.submit(PLACES[name], Leave(hand_over=True))
            self.world.run_until(lambda: not self.is_up(name))
        if self.is_up(name):
            return
        self.disk(name).restore(backup)
        if self.dice.random() < 0.5:
            self.crash(self.dice.choice([other for other in NAMES if other != name]))
        self.start(name)
        self.count(name)
        self.world.run_until(self.world.now + self.dice.uniform(0.05, 1.0))
        self.settle()

    def crowd_out(self):
        """Let others come and go until nobody remembers who had the four names before."""
        self.settle()
        # Whoever is not there to hear of it would take the forgotten for members yet.
        if not all(map(self.is_known, NAMES)):
            return
        guests = [self._guest() for _ in range(TOMBSTONES)]
        assert self.world.run_until(lambda: all(_has_heard(guest, Registered) for guest in guests))
        for guest in guests:
            guest.send(Departing(holds_counts=False))
        assert self.world.run_until(lambda: all(_has_heard(guest, Departed) for guest in guests))
        assert self.world.run_until(self._is_forgotten)

    def _guest(self):
        """Let one more member in, with a store that nobody has seen before."""
        self.guests += 1
        name, store = f"guest{self.guests}", self.dice.randbytes(16)
        client = self.world.connect(TRACKER)
        client.send(Register(Member(name, store, 0, 1, 0, "10.1.0.1", self.guests, durable=False)))
        return client

    def _is_forgotten(self):
        tables = [self.node(name).membership.view for name in NAMES if self.is_known(name)]
        tables.append(self.world.machine(TRACKER).table.members.values())
        members = [member for table in tables for member in table]
        return len(tables) > len(NAMES) and not any(is_derived(m.name) for m in members)

    def settle(self):
        """Wait until everybody is there and known, if that comes to be."""
        soon = self.world.now + 10.0
        self.world.run_until(lambda: self.wrong or all(map(self.is_known, NAMES)), time_max=soon)

    def ask_all_the_time(self):
        for name in NAMES:
            if self.is_up(name):
                self._ask(name, self.dice.choice(["views", "views", prefixed("v")]))
        self.world.at(self.world.now + 0.05, self.ask_all_the_time)

    def _ask(self, name, question):
        before = self.truth

        def hear(message, now):
            if isinstance(message, Answer) and message.complete:
                self.completes += 1
                if not before <= message.value <= self.truth + 7:
                    self.wrong.append((now, name, question, before, message.value, self.truth))

        client = self.world.connect(PLACES[name], hear)
        client.send(Query(1, question, 0, 0, 0, DEADLINE_MS, UNTIL_ALL, 0, 50, False))

    def play(self):
        self.ask_all_the_time()
        for _ in range(ROUNDS):
            name = self.dice.choice(NAMES)
            self.count(name)
            self.back_up(name)
            self.count(name)
            if self.dice.random() < 0.3:
                self.crash(self.dice.choice(NAMES))
            self.drain(name)
            self.world.run_until(self.world.now + self.dice.uniform(0.0, 3 * FOLD_S))
            if self.dice.random() < 0.5:
                self.put_back()
            if self.wrong:
                return
        self.settle()
        self.world.run_until(self.world.now + 3 * FOLD_S)

    def answer(self):
        """Return what everybody answers in the end."""
        heard = []
        client = self.world.connect(
            PLACES["d1"], lambda m, now: heard.append(m) if isinstance(m, Answer) else None
        )
        client.send(Query(2, "views", 0, 0, 0, 3_000, UNTIL_ALL, 0, 50, False))
        assert self.world.run_until(lambda: heard and heard[-1].end)
        return heard[-1]


def _has_heard(client, kind):
    return any(isinstance(message, kind) for message in client.received)


@pytest.mark.slow
# In 4 an heir is asked for many keys before it hears that its giver has gone; in 107 a name is
# given away while a query runs that has heard from an heir what the one before had counted.
# In 2, 7, 12, 16, 21 and 23 the backup's list expects a store that left with nothing counted, and
# whose tombstone is forgotten: once it was told, every answer was incomplete for good.
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 7, 12, 16, 21, 23, 107])
def test_old_backups_of_stores_that_left_make_no_answer_wrong(seed):
    cluster = Cluster(seed)
    cluster.play()
    final = cluster.answer()

    assert cluster.wrong == []
    assert (final.complete, final.value) == (True, cluster.truth)
    assert cluster.completes > 100


@pytest.mark.slow
def test_in_such_worlds_shares_are_folded():
    cluster = Cluster(0)
    cluster.play()

    assert "folded" in cluster.events


@pytest.mark.soak
def test_old_backups_make_no_answer_wrong_in_a_hundred_worlds():
    for seed in range(100, 200):
        cluster = Cluster(seed)
        cluster.play()

        assert (seed, cluster.wrong) == (seed, [])
        final = cluster.answer()
        assert (seed, final.complete, final.value) == (seed, True, cluster.truth)


def nobody_claims(patch):
    patch.setattr(Retired, "claims", lambda self, view, finals: [])


def nobody_is_strange(patch):
    patch.setattr(Strangers, "judge", lambda self, admitted, before: False)


def the_absent_are_not_waited_for(patch):
    patch.setattr(Strangers, "may_announce", lambda self, store, links: True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "seeds"),
    [
        (nobody_claims, range(4)),
        (nobody_is_strange, range(8)),
        (the_absent_are_not_waited_for, range(8)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_these_worlds_find_each_planted_mistake(plant, seeds, monkeypatch):
    plant(monkeypatch)

    def found(seed):
        cluster = Cluster(seed)
        cluster.play()
        return cluster.wrong

    assert any(found(seed) for seed in seeds)


@pytest.mark.slow
def test_two_hundred_drains_in_a_row_lose_nothing_and_need_no_more_room():
    cluster = Cluster(1)
    for number in range(200):
        name = NAMES[number % len(NAMES)]
        assert cluster.world.run_until(lambda: all(map(cluster.is_known, NAMES)))
        cluster.count(name)
        cluster.drain(name)
    final = cluster.answer()

    assert [len(stores) for stores in cluster.drained.values()] == [50] * 4
    assert (final.complete, final.value) == (True, cluster.truth)
    assert cluster.truth > 0
    held = [len(cluster.node(name).ledger.counters.others) for name in NAMES]
    assert sum(held) < ADOPTED_MAX


@pytest.mark.slow
def test_the_backup_of_a_holder_from_before_it_folded_brings_nothing_back_twice():
    cluster = Cluster(1)
    for name in ("d2", "d3", "d4", "d2", "d3", "d4"):
        cluster.count(name)
        cluster.drain(name)
    holder = max(NAMES, key=lambda name: len(cluster.node(name).ledger.counters.others))
    backup, others = cluster.disk(holder).backup(), cluster.node(holder).ledger.counters.others
    held = len(others)
    assert cluster.world.run_until(lambda: len(others) < held)

    cluster.world.crash(PLACES[holder])
    cluster.disk(holder).restore(backup)
    cluster.disk(holder).rebirth()
    cluster.start(holder)
    assert cluster.world.run_until(lambda: cluster.is_known(holder))
    final = cluster.answer()

    assert (final.complete, final.value) == (True, cluster.truth)
