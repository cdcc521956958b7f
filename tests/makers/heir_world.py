"""A store made of an old backup, and an heir of its parent, who tells the same counts.

It is not known where both part, so the store tells all that its parent had counted by then as its
own. It is made, and ends before anybody hears of it. Its parent goes on, and is drained.
"""

from random import Random

from identity_world import HOMES, SPARE, TRACKER, Cluster

from counter.config import LAN
from counter.gossip import Gossip
from loadtest.simulation.lives import begun
from tracker.config import TrackerConfig
from tracker.machine import Leave
from tracker.registry import Registry

PARENT, HEIR, OTHER = HOMES.values()
MIXED, LATER = SPARE[:2]
SECOND = ("10.255.255.2", 7400)


class HeirCluster(Cluster):
    """Three nodes, and a store that was made of an old backup of the first one, and is not up."""

    trackers = (TRACKER,)

    def __init__(self, seed):
        self.may_start = True
        super().__init__(seed)
        self.draw = Random(f"heirs/{seed}")
        self.count(PARENT)
        self.count(OTHER)
        self.pause(1.5)
        self._back_up_unheard()
        self._make_store()

    def _back_up_unheard(self):
        """Back up a life that no tracker has let in: so nobody can tell where both part."""
        self.world.crash(TRACKER)
        self.again(PARENT)
        self.pause(3.0)
        self.count(PARENT)
        self.back_up(PARENT)
        self.crash(PARENT)
        self.start_tracker()
        self.start(PARENT)
        self.pause(5.0)

    def _make_store(self):
        self.crash(PARENT)
        self.pause(3.0)
        self.forget_all(TRACKER)
        self.pause(4.0)
        ((name, backup, held),) = self.backups
        self.names[MIXED], self.holds[MIXED] = name, set(held)
        self.world.disk(MIXED).restore(backup)
        self.may_start = False
        self.start(MIXED)
        while self.is_up(MIXED):
            self.pause(0.5)
        self.may_start = True
        assert "reborn False" in self.events

    def _anew(self, place, life, reborn):
        if self.may_start:
            super()._anew(place, life, reborn)
        else:
            self.world.stop(place)
            self.world.disk(place).rebirth(reborn)

    def start(self, place):
        if self.is_up(place) or place in self.ended or place not in self.names:
            return
        disk = self.world.disk(place)
        name, dice = self.names[place], self.world.random(f"{place}/{self._next()}")
        parts = disk.identity.name or name, place, disk
        node = begun(Gossip, *parts, gossip=LAN, trackers=self.trackers, random=dice)
        self.world.add(node, place)

    def again(self, place):
        """Let a node crash, and start again."""
        self.crash(place)
        self.start(place)

    def forget_all(self, tracker):
        """Let a tracker begin anew, with an empty list."""
        if tracker in self.world.endpoints():
            self.world.crash(tracker)
        dice = self.world.random(f"t/{self._next()}")
        self.world.add(Registry(TrackerConfig(), dice.randbytes(8), None, dice), tracker)

    def hand_over(self, *away, joins=False):
        """Let the parent come back, count, and be drained while others are away.

        With `joins` its heir is one of whom those never hear. Returns where its counts are.
        """
        self.start(PARENT)
        self.pause(4.0)
        self.count(PARENT)
        for place in away:
            self.crash(place)
        self.pause(4.0)
        if joins:
            self.names[LATER], self.holds[LATER] = "n4", set()
            self.start(LATER)
            self.pause(3.0)
        held = set(self.holds[PARENT])
        self.drain(PARENT)
        self.pause(3.0)
        (heir,) = [place for place in (HEIR, OTHER, LATER) if self._has_adopted(place)]
        self.holds[heir] |= held
        return heir

    def part_before_it_is_over(self, place):
        """Drain a node, and let it crash when its heir has all, before it hears so."""
        self.events.clear()
        self.world.submit(place, Leave(hand_over=True))
        while "adopted" not in self.events:
            self.pause(0.0005)
        self.crash(place)

    def _has_adopted(self, place):
        return self.is_up(place) and bool(self.node(place).ledger.counters.others)

    def is_counting(self, place):
        """Whether a node acknowledges increments."""
        return self.is_up(place) and not self.node(place).ledger.is_held

    def refusals(self):
        return self.events.count("registration-refused")

    # -- drawn worlds -----------------------------------------------------------------------------

    def come_or_go(self, places):
        """Let one of these start, crash or leave, or a tracker end or begin anew."""
        draw = self.draw
        place, what = draw.choice([*places, MIXED]), draw.choice(WHAT)
        if what == "start":
            self.start(place)
        elif what == "crash":
            self.crash(place)
        elif what == "forgetful":
            self.forget_all(TRACKER)
        elif what == "no tracker":
            self.end_tracker()
        elif draw.random() < 0.3:
            self.drain(place)
        if draw.random() < 0.2:
            self.forget()

    def end_tracker(self):
        if TRACKER in self.world.endpoints():
            self.world.crash(TRACKER)


WHAT = ["start", "start", "start", "crash", "forgetful", "no tracker", "drain"]


def drawn(seed):
    """Let all of them come and go, in many ways, while everybody asks; returns the cluster."""
    cluster = HeirCluster(seed)
    draw = cluster.draw
    joins = draw.random() < 0.4
    away = [HEIR, OTHER] if joins else draw.sample([HEIR, OTHER], 1)
    heir = cluster.hand_over(*away, joins=joins)
    cluster.crash(heir)
    places = [HEIR, OTHER, MIXED, *([LATER] if joins else [])]
    for _ in range(draw.randint(4, 10)):
        cluster.come_or_go(places)
        cut = cluster.world.partition([draw.choice(places)]) if draw.random() < 0.2 else None
        cluster.go_on(draw.choice([0.3, 2.0, 5.0]))
        cluster.count(draw.choice(places))
        if cut is not None:
            cluster.world.heal(cut)
    cluster.start_tracker()
    for place in places:
        cluster.start(place)
    cluster.go_on(15.0)
    cluster.is_complete = cluster.final()
    return cluster
