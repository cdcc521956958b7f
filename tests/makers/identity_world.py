"""Backups put back, directories copied and started twice, trackers that lose their lists, stretches
without any, and who asks all the time.

Increments have the amounts 4^0, 4^1, 4^2, ...: written to the base of 4 an answer says of each how
often it is in it.
"""

from random import Random

from counter.config import LAN
from counter.gossip import Gossip
from counter.lives import left_name, rebirth_in
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
from tracker.admission import COPY_CODES
from tracker.boots import goes_on
from tracker.config import TrackerConfig
from tracker.machine import Leave
from tracker.messages import Forget
from tracker.registry import Registry

TRACKER = ("10.255.255.1", 7400)
NAMES = ("n1", "n2", "n3")
HOMES = {name: (f"10.0.0.{number}", 7401) for number, name in enumerate(NAMES, 1)}
SPARE = tuple((f"10.0.1.{number}", 7401) for number in range(1, 5))
INCREMENTS_MAX = 30
ROUNDS = 12
APART_S = 3.2
"""Longer than a node that nobody answers looks for a tracker, and then for others."""
DEADLINE_MS, END_S = 400, 60.0
QUICK = NetworkConfig(base_s=0.001, jitter_s=0.0005, duplication=0.02, loss=0.01, closed_ports=1.0)
RISK = 0.3


def digits(value):
    """Return how often each increment is in a value."""
    found = []
    while value > 0:
        value, digit = divmod(value, 4)
        found.append(digit)
    return found


class Cluster:
    """A tracker, three nodes with disks, and places for copies of these."""

    def __init__(self, seed):
        self.world = World(seed, QUICK, datagram_codec=GOSSIP)
        self.dice = Random(f"identities/{seed}")
        self.names = {place: name for name, place in HOMES.items()}
        # By place: the increments that its disk holds and that were acknowledged there or before.
        self.holds = {place: set() for place in HOMES.values()}
        self.backups, self.ended, self.events, self.wrong = [], set(), [], []
        # Where a copy knows that it is one: what it has written by then is in the copies of it.
        self.seconds = set()
        # Whoever was taken in and is expected back, by place.
        self.expected = set()
        # By number: what was sent, and to which home last; and that of which nothing was heard.
        self.told, self.doubtful = {}, {}
        self.starts = self.sent = self.completes = 0
        for number, place in enumerate((*HOMES.values(), *SPARE)):
            disk = self.world.disk(place, DiskConfig())
            # Two places never draw the same for a start.
            disk._boots = number * 1_000
        self.world.on_emit(self._emitted)
        self.start_tracker()
        for place in HOMES.values():
            self.start(place)
        self.pause(1.0)

    # -- processes --------------------------------------------------------------------------------

    def start_tracker(self):
        if TRACKER not in self.world.endpoints():
            dice = self.world.random(f"t/{self._next()}")
            self.world.add(Registry(TrackerConfig(), dice.randbytes(8), None, dice), TRACKER)

    def start(self, place):
        if self.is_up(place) or place in self.ended or place not in self.names:
            return
        disk = self.world.disk(place)
        name = disk.identity.name or self.names[place]
        dice = self.world.random(f"{place}/{self._next()}")
        node = begun(Gossip, name, place, disk, gossip=LAN, trackers=(TRACKER,), random=dice)
        self.world.add(node, place)

    def _next(self):
        self.starts += 1
        return self.starts

    def is_up(self, place):
        return place in self.world.endpoints()

    def node(self, place):
        return self.world.machine(place)

    def is_taken_in(self, place):
        """Whether a node runs, and whoever asks has heard of it, as a tracker says."""
        if not self.is_up(place):
            return False
        membership, ledger = self.node(place).membership, self.node(place).ledger
        is_heard = membership.is_registered and membership.announcement.is_told
        return is_heard and not ledger.is_held

    def is_believed(self, place):
        """Whether a node is taken in, or was in this life, while no tracker is there any more."""
        if TRACKER in self.world.endpoints() or not self.is_up(place):
            return self.is_taken_in(place)
        node = self.node(place)
        return node.membership.heard_at is not None and not node.ledger.is_held

    def crash(self, place):
        if self.is_up(place):
            self.note_expected()
            self.world.crash(place)

    def note_expected(self):
        for place in self.names:
            if self.is_taken_in(place):
                self.expected.add(place)

    def _emitted(self, emitted):
        now, place, event, details = emitted
        if place == TRACKER:
            return
        self.events.append(event)
        if event == "introduction-refused" or details.get("code") in COPY_CODES:
            self.seconds.add(place)
        node = self.world.machine(place) if self.is_up(place) else None
        left, reborn = left_name(event, details), None
        if node is not None and event == "registration-refused":
            reborn = rebirth_in(event, details, node)
        if reborn is not None:
            self.events.append("beside" if reborn.is_beside else f"reborn {bool(reborn.fork)}")
            self.world.at(now, self._anew, place, self.starts, reborn)
        elif left and self.names[place] != left:
            self.names[place] = left
            self.world.at(now, self._anew, place, self.starts, None)
        elif event == "drained" or (event == "registration-refused" and details["final"]):
            self.world.at(now, self._end, place, event == "drained")

    def _anew(self, place, life, reborn):
        if not self.is_up(place):
            return
        self.world.stop(place)
        disk = self.world.disk(place)
        if reborn is not None:
            disk.rebirth(reborn)
            self.names[place] = disk.identity.name or self.names[place].partition("~")[0]
        self.start(place)

    def _end(self, place, is_drained):
        """Let a process end: what was handed over counts elsewhere, the rest in no total."""
        if not is_drained and self.is_taken_in(place):
            return
        if self.is_up(place):
            self.world.stop(place)
        self.ended.add(place)
        self.expected.discard(place)
        self.holds[place] = set()

    # -- what happens -----------------------------------------------------------------------------

    def pause(self, seconds):
        self.world.run_until(self.world.now + seconds)

    def count(self, *places):
        """Send an increment to a place, and the same again to the others, one by one.

        As a client does: not to a place that does not go on from the life it was sent to last.
        """
        if not self.is_up(places[0]) or self.sent >= INCREMENTS_MAX:
            return
        number, self.sent = self.sent, self.sent + 1
        message = Increment(self.dice.randbytes(16), 1, ("views", 4**number), ACK_DEFAULT)
        self._send(places[0], message, number)
        for place in places[1:]:
            self._send_again(place, message, number)

    def count_again(self, place):
        """Send again to a place what was sent and not acknowledged."""
        for number, (message, _) in [*self.doubtful.items()]:
            self._send_again(place, message, number)

    def _send_again(self, place, message, number):
        if number in self.doubtful and self.is_up(place):
            ledger, (_, home) = self.node(place).ledger, self.doubtful[number]
            if goes_on(ledger.counters.store, ledger.told_boots, *home):
                self._send(place, message, number)

    def _send(self, place, message, number):
        # What comes late says nothing of a backup that was put in that place meanwhile.
        holds, ledger = self.holds[place], self.node(place).ledger
        self.told[number] = message, (ledger.counters.store, ledger.boots[:8])
        self.doubtful[number] = self.told[number]

        def hear(message, now):
            if isinstance(message, Counted):
                holds.add(number)
                self.doubtful.pop(number, None)

        self.world.connect(place, hear).send(message)
        self.pause(0.02)

    def back_up(self, place):
        if place in self.names and place not in self.ended | self.seconds:
            disk = self.world.disk(place)
            self.backups.append((self.names[place], disk.backup(), set(self.holds[place])))

    def copy(self, origin, place):
        """Start a copy of the directory of one place, as it is now, in another one."""
        self._copied(origin, place)
        self.start(place)

    def copy_apart(self, origin, place):
        """The same, where nobody reaches the copy; it has counted before somebody does."""
        self._copied(origin, place)
        self.apart(place, self.pause)

    def _copied(self, origin, place):
        self.names[place], self.holds[place] = self.names[origin], set(self.holds[origin])
        self.world.disk(place).restore(self.world.disk(origin).backup())

    def put_back(self):
        """Put a backup, or what was put aside for one, in a place: its own, or one beside.

        Returns the place, if there was anything to put back.
        """
        if not self.backups:
            return None
        name, backup, held = self.dice.choice(self.backups[-6:])
        homes = [p for p in self.names if self.names[p] == name and p not in SPARE]
        place = self.dice.choice([*homes, *SPARE])
        if place in self.names:
            # Kept aside: it may come back.
            self.crash(place)
            self.back_up(place)
        self.ended.discard(place)
        self.expected.discard(place)
        self.seconds.discard(place)
        self.names[place] = backup.identity.name or name
        self.world.disk(place).restore(backup)
        self.holds[place] = set(held)
        self.come_back(place)
        return place

    def come_back(self, place):
        """Let what was put back in a place run."""
        self.start(place)

    def apart(self, place, between):
        """Start what is in a place while nobody reaches it, for as long as it takes it to count."""
        cut = self.world.partition([place])
        self.start(place)
        self.count(place)
        between(APART_S)
        self.world.heal(cut)

    def forget(self):
        if TRACKER not in self.world.endpoints():
            return
        table = self.world.machine(TRACKER).table
        silent = [m for m in table.members.values() if m.status in (2, 3)]
        if silent:
            member = self.dice.choice(silent)
            client = self.world.connect(TRACKER)
            client.send(Forget(1, member.name))
            for place in self.names:
                if self.world.disk(place).identity.store == member.store:
                    self.expected.discard(place)
            self.pause(0.1)

    def drain(self, place):
        if self.is_taken_in(place):
            self.world.submit(place, Leave(hand_over=True))
            self.expected.discard(place)
            self.pause(0.5)

    # -- who asks ---------------------------------------------------------------------------------

    def wanted(self):
        """Return the increments that no complete answer may lack."""
        self.note_expected()
        places = [p for p in self.names if p in self.expected and p not in self.ended]
        alive = [p for p in places if self.is_believed(p)]
        return set().union(*[self.holds[place] for place in alive], set())

    def ask(self, place):
        before = self.wanted()
        question = self.dice.choice(["views", "views", prefixed("v")])

        def hear(message, now):
            if not isinstance(message, Answer):
                return
            found = digits(message.value)
            twice = [number for number, times in enumerate(found) if times > 1]
            # What was given up meanwhile is in no total, and said to be.
            lacks = [n for n in before & self.wanted() if n >= len(found) or not found[n]]
            self.completes += message.complete
            if twice or (message.complete and lacks):
                self.wrong.append((now, place, question, twice, lacks, message.complete))

        client = self.world.connect(place, hear)
        client.send(Query(1, question, 0, 0, 0, DEADLINE_MS, UNTIL_ALL, 0, 50, False))

    def go_on(self, seconds):
        until = self.world.now + seconds
        while self.world.now < until:
            up = [place for place in self.names if self.is_up(place)]
            for place in self.dice.sample(up, min(2, len(up))):
                self.ask(place)
            self.pause(self.dice.uniform(0.02, 0.2))

    def play(self):
        dice = self.dice
        for _ in range(ROUNDS):
            place = dice.choice([*self.names])
            self.count(place)
            happening = dice.choice(
                [self.back_up, self.crash, self.start, self.count, self.back_up, self.drain]
            )
            if happening != self.drain or dice.random() < RISK:
                happening(dice.choice([*self.names]))
            self.count(dice.choice([*self.names]))
            if dice.random() < RISK and TRACKER in self.world.endpoints():
                self.world.crash(TRACKER)
            if dice.random() < RISK:
                self.put_back()
                self.count(dice.choice([*self.names]))
            if dice.random() < 0.5:
                self.start_tracker()
            if dice.random() < RISK / 3:
                self.forget()
            self.go_on(dice.uniform(0.1, 2.5))
            if self.wrong:
                return
        self.end()

    def end(self):
        """Start all there is, and let it come to rest."""
        self.start_tracker()
        for place in list(self.names):
            self.start(place)
        self.go_on(12.0)

    def final(self):
        """Judge the last answer of whoever is there; returns whether it was complete."""
        heard = []
        up = [place for place in self.names if self.is_taken_in(place)]
        for place in up[:1]:
            wanted = self.wanted()
            client = self.world.connect(
                place, lambda m, now: heard.append(m) if isinstance(m, Answer) and m.end else None
            )
            client.send(Query(2, "views", 0, 0, 0, 3_000, UNTIL_ALL, 0, 50, False))
            self.world.run_until(lambda: heard, time_max=self.world.now + 5.0)
        for answer in heard:
            found = digits(answer.value)
            lacks = [n for n in wanted if n >= len(found) or not found[n]]
            if max(found, default=0) > 1 or (answer.complete and lacks):
                self.wrong.append((self.world.now, "final", found, lacks))
        return bool(heard) and heard[-1].complete


class StricterCluster(Cluster):
    """The same worlds. No complete answer lacks what a node holds that was taken in, and has run
    since, also while a tracker that lost its list has not heard it yet."""

    def __init__(self, seed):
        self.taken_in = {}
        super().__init__(seed)

    def note_expected(self):
        super().note_expected()
        for place in self.names:
            if self.is_taken_in(place):
                self.taken_in[place] = self.node(place)

    def is_believed(self, place):
        return self.is_up(place) and self.taken_in.get(place) is self.node(place)


class UnnoticedCluster(StricterCluster):
    """Worlds in which trackers lose their lists so often that many backups are put back unnoticed:
    several stores are made of one, and what each holds of it differs."""

    def play(self):
        dice = self.dice
        for _ in range(ROUNDS + 2):
            self.count(dice.choice([*self.names]))
            for _ in range(2):
                self.back_up(dice.choice([*self.names]))
            self.count(dice.choice([*self.names]))
            chance = dice.random()
            if chance < 0.6:
                happening = self.crash if chance < 0.25 else self.start
                happening = happening if chance < 0.5 else self.drain
                happening(dice.choice([*self.names]))
            if dice.random() < 0.6 and TRACKER in self.world.endpoints():
                self.world.crash(TRACKER)
            if dice.random() < 0.7:
                self.put_back()
                self.count(dice.choice([*self.names]))
            if dice.random() < 0.7:
                self.start_tracker()
            self.go_on(dice.uniform(0.1, 3.0))
            if self.wrong:
                return
        self.end()


class RestartedCluster(Cluster):
    """The same worlds. Whatever is put back is cut off until it has counted, and may start once
    more: a copy that has counted goes on beside its store."""

    def come_back(self, place):
        self.apart(place, self.go_on)
        if self.dice.random() < 0.5:
            self.crash(place)
            self.start(place)


class RetryingCluster(RestartedCluster):
    """The same worlds. What was not acknowledged is sent again, to whoever goes on from the life
    it was sent to last."""

    def go_on(self, seconds):
        place = self.dice.choice([*self.names]) if self.doubtful else None
        if place is not None and self.is_listed(place):
            self.count_again(place)
        super().go_on(seconds)

    def is_listed(self, place):
        """Whether anybody else has in its list what runs in a place: so clients find it."""
        others = [other for other in self.names if other != place and self.is_up(other)]
        if not self.is_up(place):
            return False
        own = self.node(place).membership.member
        found = [self.node(other).membership.view.owner_of(own.store[:8]) for other in others]
        return any(
            m is not None and (m.boot, m.endpoint) == (own.boot, own.endpoint) for m in found
        )


def played(seeds, kind=Cluster):
    """Return what went wrong by seed, how many answers were complete, and what happened."""
    wrong, completes, events = {}, 0, {}
    for seed in seeds:
        cluster = kind(seed)
        cluster.play()
        if not cluster.wrong:
            cluster.final()
        if cluster.wrong:
            wrong[seed] = cluster.wrong[:3]
        completes += cluster.completes
        events |= dict.fromkeys(cluster.events)
    return wrong, completes, events
