"""An id that is sent again and again, by whoever remembers nothing, to nodes that come, crash,
forget, and hand over to one another: it counts once, or not at all where each try was refused.

The rule: real ledgers, fences and hand-overs, and the real choice of a home. A client here is what
`counter inc --id TOKEN --strict` says to nodes, word by word, and anything may happen between two.
"""

from random import Random

import pytest
from doubt_world import NAMES, STORES, World, member_of

from counter.cli.claiming import CANNOT_TELL, rows_of
from counter.cli.homes import home_of
from counter.fences import Fences
from counter.ledger import Ledger
from counter.messages import (
    ACK_DISK,
    COUNTED_THERE,
    UNDERWAY,
    Counted,
    Disown,
    Disowned,
    EndSession,
    Increment,
    Park,
    Parked,
)
from counter.records import recall
from counter.sessions import Sessions
from counter.stamps import new_token, session_of
from tracker.messages import Refused

STEPS = 220
ASKED_AGAIN_MAX = 3
LINES = 3
"""Lines of one input, the first of which goes alone."""
MAYBE = ("too-old", "given-away", "in-doubt")
"""Refusals that do not say that nothing was counted."""
LIMITS = [(2, 3), (3, 9), (50, 200)]


class Sender:
    """One run of the command: what it says next, and what became of each line."""

    def __init__(self, cluster, token):
        self.cluster, self.token = cluster, token
        self.link = None
        self.talk = self._claim()
        self.go_on(None)

    @property
    def is_over(self):
        return self.link is None

    def go_on(self, reply):
        world = self.cluster.world
        try:
            while True:
                name, message = self.talk.send(reply)
                if name in world.machines:
                    self.link = world.client(name, message)
                    return
                reply = None
        except StopIteration:
            self.link = None

    def _claim(self):
        cluster = self.cluster
        members = cluster.roster()
        home = where = home_of(self.token, members)
        if home is None:
            return
        for member in members:
            if not member.expected or member.name == home.name:
                continue
            verdict = yield from self._verdict(member, home.store)
            if verdict == COUNTED_THERE:
                where = member
                break
            if verdict is None or verdict in CANNOT_TELL:
                return
        for line in range(1, LINES + 1):
            key = f"{self.token}/{line}"
            cluster.tries[key] = cluster.tries.get(key, 0) + 1
            message = Increment(session_of(self.token), line, (key, 1), ACK_DISK)
            reply = yield where.name, message
            if isinstance(reply, Counted):
                cluster.acknowledged.add(key)
            elif isinstance(reply, Refused) and reply.code not in MAYBE:
                # Nothing was counted by this try.
                cluster.tries[key] -= 1
                cluster.refusals += 1
                return
            else:
                return

    def _verdict(self, member, by):
        for _ in range(ASKED_AGAIN_MAX):
            message = Disown(1, member.store, by, rows_of(self.token))
            reply = yield member.name, message
            if not isinstance(reply, Disowned) or not reply.verdicts:
                return None
            if reply.verdicts[0] != UNDERWAY:
                break
        return reply.verdicts[0]


class Cluster:
    """Two nodes, a third one to come, and clients."""

    def __init__(self, seed):
        self.dice = dice = Random(f"claims/{seed}")
        sessions_max, operations_max = dice.choice(LIMITS)
        self.world = World(sessions_max=sessions_max, operations_max=operations_max)
        self.late = dice.choice(NAMES)
        self.world.crash(self.late)
        self.born = [name for name in NAMES if name != self.late]
        chance = [bytes([n]) * 10 for n in range(3)]
        tokens = [new_token(1_000 * dice.randint(1, 9), drawn) for drawn in chance]
        self.tokens = [token if dice.random() < 0.5 else f"x{token}" for token in tokens]
        self.senders, self.acknowledged = [], set()
        # Of increments in doubt: by session, the home; by stream, the key; those promised.
        self.homes, self.by_link, self.parked, self.promised = {}, {}, set(), set()
        # By key, how many tries may have counted it.
        self.tries = {}
        self.refusals = 0
        for name in self.born:
            self.fill(name)

    def fill(self, name):
        """Have a node count something of its own, so that it has something to hand over."""
        message = Increment(name.encode().ljust(16), 1, (f"of {name}", 1), ACK_DISK)
        self.world.client(name, message)
        while self.world.step():
            pass

    def roster(self):
        heirs = self.world.heirs
        members = [member_of(name) for name in self.born]
        return [m.handed_over(heirs[m.name]) if m.name in heirs else m for m in members]

    # -- what happens -----------------------------------------------------------------------------

    def send(self):
        self.senders.append(Sender(self, self.dice.choice(self.tokens)))

    def hear(self):
        """Pass on what clients were told; a stream that has ended tells nothing more."""
        world = self.world
        heard, world.heard = dict(world.heard), []
        for link, message in heard.items():
            if link in self.by_link and isinstance(message, Counted | Parked) and message.on_disk:
                self.promised.add(self.by_link[link])
        for sender in self.senders:
            if sender.link in heard:
                sender.go_on(heard[sender.link])
            elif sender.link is not None and sender.link not in world.streams:
                sender.go_on(None)
        self.senders = [sender for sender in self.senders if not sender.is_over]

    def go_on(self):
        for _ in range(self.dice.randint(1, 6)):
            self.world.step()
            self.hear()

    def doubt(self):
        """Have a client of the library send an increment to its home, or leave it elsewhere."""
        number = self.dice.randrange(3)
        session, sequence = bytes([number + 1]) * 16, self.dice.randint(1, 3)
        home = self.homes.setdefault(session, self.dice.choice(self.born))
        name = self.dice.choice([home, *self.born])
        key = f"{number}/{sequence}"
        self.parked.add(key)
        message = Increment(session, sequence, (key, 1), ACK_DISK)
        if name != home:
            at = STORES[home], home
            message = Park(7, session, sequence, (key, 1), ACK_DISK, *at)
        self.by_link[self.world.client(name, message)] = key

    def crash(self):
        name = self.dice.choice(self.born)
        self.world.crash(name, self.dice.randint(0, 2))
        if self.dice.random() < 0.8:
            self.world.start(name)

    def come(self):
        name = self.dice.choice(self.born)
        if name not in self.world.machines:
            self.world.start(name)
        elif self.late not in self.born and self.dice.random() < 0.4:
            self.born.append(self.late)
            self.world.start(self.late)

    def drain(self):
        if len(self.born) - len(self.world.heirs) > 1 and self.dice.random() < 0.4:
            self.world.drain(self.dice.choice(self.born))

    def end_session(self):
        """Have a client say goodbye that is sure of all that it has sent."""
        sure = [t for t in self.tokens if f"{t}/{LINES}" in self.acknowledged]
        if sure:
            session = session_of(self.dice.choice(sure))
            self.world.client(self.dice.choice(self.born), EndSession(1, session))

    def others_come(self):
        """Have other clients count, so that sessions are dropped."""
        name = self.dice.choice(self.born)
        session = self.dice.choice(
            [self.dice.randbytes(16), session_of(new_token(5_000, b"o" * 10))]
        )
        self.world.client(name, Increment(session, 1, ("others", 1), ACK_DISK))

    def snapshot(self):
        self.world.take_snapshot(self.dice.choice(self.born))

    def rest(self):
        self.world.tick(self.dice.choice([0.5, 11.0]))

    def play(self):
        happenings = (
            [self.send] * 4
            + [self.doubt] * 2
            + [self.go_on] * 8
            + [self.crash, self.come, self.drain]
        )
        happenings += [self.end_session, self.others_come, self.snapshot, self.rest, self.rest]
        for _ in range(STEPS):
            self.dice.choice(happenings)()
            self.hear()
            self.check()
        self.born = list(NAMES)
        self.world.settle()
        for token in self.tokens:
            self.senders.append(Sender(self, token))
            for _ in range(STEPS):
                if not self.world.step():
                    self.world.tick(11.0)
                self.hear()
        self.check(is_end=True)

    def check(self, is_end=False):
        for token in self.tokens:
            for line in range(1, LINES + 1):
                key = f"{token}/{line}"
                running, on_disk = [self.world.total(key)], []
                if is_end:
                    running, on_disk = self.world.values(key)
                assert sum(running) <= 1, key
                assert sum(on_disk) <= 1, key
                if is_end and key in self.acknowledged:
                    assert sum(running) == 1, key
                if is_end and not self.tries.get(key):
                    assert sum(running) == 0, key
        machines = self.world.machines.values()
        for key in sorted(self.parked):
            total = self.world.total(key)
            assert total <= 1, key
            if is_end and key in self.promised and not total:
                # Its home cannot tell any more, and nobody guesses.
                assert any(m.failover.parking.uncertain(key)[2] for m in machines), key


def played(seeds):
    """Return the seeds whose world went wrong, how much was acknowledged, and handed over."""
    wrong, acknowledged, handed_over = {}, 0, 0
    for seed in seeds:
        cluster = Cluster(seed)
        try:
            cluster.play()
        except AssertionError as error:
            wrong[seed] = str(error).splitlines()[0]
        acknowledged += len(cluster.acknowledged)
        handed_over += len(cluster.world.heirs)
    return wrong, acknowledged, handed_over


@pytest.mark.slow
def test_an_id_counts_once_whoever_sends_it_wherever_and_whatever_happens_meanwhile():
    wrong, acknowledged, handed_over = played([*range(20), 30, 57, 93, 118])

    assert wrong == {}
    assert acknowledged > 100
    assert handed_over > 20


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_in_five_thousand_worlds_an_id_counts_once():
    wrong, acknowledged, _ = played(range(1_000, 6_000))

    assert wrong == {}
    assert acknowledged > 25_000


def the_latest_word_of_an_operation_stands(patch):
    def absorb(self, records):
        for record in records:
            recall(record, self.counters, self.sessions, self.founder)

    patch.setattr(Ledger, "absorb", absorb)


def fences_outlive_what_their_leaver_knew(patch):
    patch.setattr(Fences, "yield_to", lambda self, other: None)


def fences_stand_beside_counts(patch):
    patch.setattr(Sessions, "allows", lambda self, session, sequence, content: True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [
        the_latest_word_of_an_operation_stands,
        fences_outlive_what_their_leaver_knew,
        fences_stand_beside_counts,
    ],
)
def test_these_worlds_find_each_planted_mistake(plant, monkeypatch):
    plant(monkeypatch)

    assert played([0, 30, 57])[0]
