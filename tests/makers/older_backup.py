"""Older backups of a store that is gone, put back while a copy of it holds more of it as a part.

Nobody but that copy can tell that such a backup is older, where no tracker is there to judge. So
whoever asks in the moments before it is found out, while it is and after, may be told less.
"""

from random import Random

from identity_world import HOMES, SPARE, TRACKER, Cluster

HOME, COPY, OLD = HOMES["n1"], SPARE[0], SPARE[1]
BESIDE_S = 20.0
"""Longest until a copy that was refused goes on beside its store."""


def count_beside(cluster):
    """Let a copy count that goes on beside its store; a backup of that store lacks increment 1."""
    cluster.count(HOME)
    cluster.back_up(HOME)
    cluster.count(HOME)
    cluster.pause(1.5)
    cluster.world.crash(TRACKER)
    cluster.copy_apart(HOME, COPY)
    cluster.start_tracker()


def put_back(cluster, place):
    """Start the backup in a place, and what is in that no more."""
    ((name, backup, held),) = cluster.backups
    cluster.ended.discard(place)
    cluster.names[place], cluster.holds[place] = name, set(held)
    cluster.world.disk(place).restore(backup)
    cluster.start(place)


def put_back_older(cluster, restarts=1):
    """Put an older backup of a store back that has died, and no tracker there to judge.

    A copy of it counts beside it, with a part that goes further. Returns the cluster once that has
    been asked for a while, and the place of the backup.
    """
    count_beside(cluster)
    cluster.go_on(BESIDE_S)
    assert "beside" in cluster.events
    cluster.crash(HOME)
    cluster.world.crash(TRACKER)
    put_back(cluster, OLD)
    for _ in range(restarts):
        cluster.count(OLD)
        cluster.crash(OLD)
        cluster.start(OLD)
    # The copy holds all that its store had acknowledged, and is expected.
    assert cluster.holds[HOME] == {0, 1}
    cluster.wanted = lambda: {0, 1}
    cluster.go_on(5.0)
    return cluster, OLD


class DenseCluster(Cluster):
    """The same worlds, asked every few milliseconds while an older backup is found out."""

    def __init__(self, seed):
        super().__init__(seed)
        self.draw = Random(f"older/{seed}")

    def asked(self, seconds, pause_s=0.006):
        """Let somebody ask, again and again, for this time at most, or a part of it."""
        until = self.world.now + seconds * self.draw.random()
        while self.world.now < until:
            self.ask(self.draw.choice([place for place in self.names if self.is_up(place)]))
            self.pause(pause_s * self.draw.random())

    def again(self, place, seconds):
        """Let what runs in a place end, and start again."""
        self.crash(place)
        self.asked(seconds)
        self.start(place)

    def lived(self):
        """Let the store begin another life, or none: the backup may be a start of that number."""
        for _ in range(self.draw.choice([0, 0, 1])):
            self.again(HOME, 0.0)
            self.pause(1.5)

    def put_back_somewhere(self):
        """Put the older backup back, and let something happen before it is found out, or after."""
        draw, place = self.draw, self.draw.choice([OLD, OLD, HOME])
        real = self.world.disk(HOME).backup()
        cuts = [self.world.partition([COPY])] if draw.random() < 0.3 else []
        put_back(self, place)
        for _ in range(draw.choice([0, 0, 1, 2])):
            self.count(place)
            self.again(place, 0.1)
        self.asked(0.5)
        for cut in cuts:
            self.world.heal(cut)
        happening = draw.choice(["nothing", "again", "again", "the copy", "the store", "a tracker"])
        if happening == "again":
            self.again(place, 0.5)
        elif happening == "the copy":
            self.again(COPY, 0.3)
        elif happening == "the store":
            self.crash(HOME)
            self.names[HOME], self.holds[HOME] = "n1", {0, 1}
            self.world.disk(HOME).restore(real)
            self.start(HOME)
        elif happening == "a tracker":
            self.start_tracker()
        self.asked(1.0)


def found_out(seed):
    """Put an older backup back in one of many ways; returns the cluster once all have met.

    None if the copy did not go on beside its store.
    """
    cluster = DenseCluster(seed)
    cluster.lived()
    count_beside(cluster)
    until = cluster.world.now + BESIDE_S
    while "beside" not in cluster.events and cluster.world.now < until:
        cluster.pause(0.5)
    if "beside" not in cluster.events or cluster.holds[HOME] != {0, 1}:
        return None
    cluster.pause(3.0)
    cluster.lived()
    cluster.crash(HOME)
    cluster.asked(cluster.draw.choice([0.0, 0.5]))
    cluster.world.crash(TRACKER)
    # The copy holds all that its store had acknowledged, and is expected.
    cluster.wanted = lambda: {0, 1}
    cluster.put_back_somewhere()
    cluster.start_tracker()
    cluster.asked(8.0, 0.1)
    cluster.pause(12.0)
    cluster.final()
    return cluster
