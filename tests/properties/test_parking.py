"""An increment in doubt counts at its home, or where it was parked and given to: never at both.

The rule: real ledgers and real failovers, and a world between them that can lose, repeat, delay
and crash at every step; whatever one disk or one running node holds is counted as held. What the
world does is drawn (`run_state_machine_as_test`), or all that can happen once is tried.
"""

from collections import deque
from dataclasses import replace
from itertools import accumulate, product
from random import Random

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from counter.config import NodeConfig
from counter.crdt import Counters
from counter.failover import Failover
from counter.fences import Fences
from counter.ledger import Ledger
from counter.messages import (
    ACK_DISK,
    GRANTED,
    Counted,
    Disowned,
    EndSession,
    Increment,
    Park,
    Parked,
)
from counter.parking import Parking
from tracker.machine import Close, Closed, Open, Opened, Persist, Persisted, Send, Unreachable
from tracker.members import Member, View
from tracker.messages import Refused

HOME, B, C = "home", "b", "c"
NAMES = (HOME, B, C)
STORES = {name: name.encode().ljust(16, b"_") for name in NAMES}
PORTS = {name: 7401 + index for index, name in enumerate(NAMES)}
NAMED = {port: name for name, port in PORTS.items()}
# So small that sessions are dropped, and fences forgotten, in almost every run.
TIGHT = {"sessions_max": 2, "operations_max": 3}
SESSIONS = [bytes([n]) * 16 for n in range(1, 4)]
STEPS_MAX = 400


def view_of(names):
    return View(
        {n: Member(n, STORES[n], 1, 1, 0, "127.0.0.1", PORTS[n], durable=True) for n in names}
    )


class Machine:
    """One life of one node: what routes between ledger and failover is `Gossip`'s, in short."""

    def __init__(self, name, kept, snapshot, **limits):
        config = replace(NodeConfig(name=name), **limits)
        self.ledger = Ledger(config, Counters(STORES[name], 0), durable=True)
        self.failover = Failover(self.ledger, View(), Random(1))
        for kind, records in (("state", snapshot), ("counts", kept)):
            for record in records:
                if not self.failover.restore(kind, record):
                    self.ledger.restore(kind, record)
        self.handlers = self.failover.handlers()

    def receive(self, link, message, now):
        if isinstance(message, Increment):
            return self.ledger.increment(link, message)
        if isinstance(message, EndSession):
            return self.ledger.end_session(link, message)
        return self.handlers[type(message)](link, message, now)

    def persisted(self, token):
        event = Persisted(token)
        return self.ledger.persisted(event) + self.failover.settled(event)

    def dump(self):
        return [*self.ledger.dump(), *self.failover.dump()]


class World:
    """Three nodes with disks, streams between them, and a client that may say anything twice."""

    def __init__(self, **limits):
        self.limits = limits
        self.now = 0.0
        self.kept = {name: [] for name in NAMES}
        self.snapshots = {name: [] for name in NAMES}
        self.writing = {name: deque() for name in NAMES}
        self.machines = {}
        self.links = 0
        self.streams = {}
        self.mail = deque()
        self.heard = []
        self.tokens = dict.fromkeys(NAMES, 0)
        self.dead = {}
        self.touched = list(NAMES)
        for name in NAMES:
            self.start(name)

    # -- nodes ------------------------------------------------------------------------------

    def start(self, name):
        machine = Machine(name, self.kept[name], self.snapshots[name], **self.limits)
        machine.ledger.resume(self.tokens[name], 1)
        self.machines[name] = machine
        self.look_around()

    def look_around(self):
        view = view_of(self.machines)
        for machine in self.machines.values():
            machine.failover.parking.follow(view)

    def crash(self, name, survivors=0):
        """End a life: of what was being written, the first `survivors` records are kept."""
        if name not in self.machines:
            return
        del self.machines[name]
        for _ in range(min(survivors, len(self.writing[name]))):
            self.keep(name, self.writing[name].popleft())
        self.writing[name].clear()
        for link in [link for link, ends in self.streams.items() if name in ends]:
            self.cut(link)
        self.mail = deque([m for m in self.mail if m[0] != name])
        self.look_around()

    def keep(self, name, persist):
        self.kept[name].append(persist.record)
        self.touched.append(name)
        self.tokens[name] = persist.token

    def cut(self, link):
        ends = self.streams.pop(link)
        self.mail = deque([m for m in self.mail if m[1] != link])
        for name in ends:
            if name in self.machines:
                effects = self.machines[name].failover.streamed(Closed(link, "cut"), self.now)
                self.carry_out(name, effects or [])

    def carry_out(self, name, effects):
        for effect in effects:
            if isinstance(effect, Persist):
                self.writing[name].append(effect)
            elif isinstance(effect, Open):
                self.mail.append((name, 0, effect.to))
            elif isinstance(effect, Close):
                # What was sent on it is still to arrive.
                continue
            elif isinstance(effect, Send):
                self.post(name, effect.to, effect.message)

    def post(self, source, link, message):
        ends = self.streams.get(link)
        if ends is None:
            return
        target = ends[0] if ends[1] == source else ends[1]
        self.mail.append((target, link, message))

    def client(self, name, message):
        self.links += 1
        self.streams[self.links] = ("client", name)
        self.post("client", self.links, message)
        return self.links

    # -- steps ------------------------------------------------------------------------------

    def deliver(self, index=0):
        target, link, message = self.mail[index]
        del self.mail[index]
        if target == "client":
            self.heard.append((link, message))
            return
        machine = self.machines.get(target)
        if machine is None:
            return
        if link:
            self.carry_out(target, machine.receive(link, message, self.now))
            return
        # The stream that a node asked for.
        other = NAMED[message[1]]
        if other in self.machines:
            self.links += 1
            self.streams[self.links] = (target, other)
            event = Opened(self.links, message)
        else:
            event = Unreachable(message, "nobody")
        self.carry_out(target, machine.failover.streamed(event, self.now) or [])

    def write(self, name):
        machine, writing = self.machines.get(name), self.writing[name]
        if machine is None or not writing:
            return
        for persist in writing:
            self.keep(name, persist)
        token = writing[-1].token
        writing.clear()
        self.carry_out(name, machine.persisted(token))

    def take_snapshot(self, name):
        self.write(name)
        if name in self.machines:
            self.snapshots[name], self.kept[name] = self.machines[name].dump(), []
            self.touched.append(name)

    def tick(self, seconds=0.5):
        self.now += seconds
        for name, machine in self.machines.items():
            self.carry_out(name, machine.failover.parking.look(self.now))

    def step(self):
        """Do the next thing that is due, in the plainest order; False when nothing is."""
        if self.mail:
            self.deliver()
            return True
        for name in NAMES:
            if name in self.machines and self.writing[name]:
                self.write(name)
                return True
        return False

    def settle(self):
        """Let everybody come back, and go on until nothing is uncertain."""
        for name in NAMES:
            if name not in self.machines:
                self.start(name)
        for _ in range(STEPS_MAX):
            if self.step():
                continue
            if not any(machine.failover.parking for machine in self.machines.values()):
                return
            self.tick(11.0)

    # -- what is held ---------------------------------------------------------------------------

    def values(self, key):
        """Return what each node counts for a key: running, and if it died now."""
        running = [m.ledger.counters.value(key) for m in self.machines.values()]
        for name in self.touched:
            self.dead[name] = Machine(name, self.kept[name], self.snapshots[name], **self.limits)
        self.touched = []
        return running, [machine.ledger.counters.value(key) for machine in self.dead.values()]

    def total(self, key):
        return sum(machine.ledger.counters.value(key) for machine in self.machines.values())


def increment(key="k", session=SESSIONS[0], sequence=1):
    return Increment(session, sequence, (key, 1), ACK_DISK)


def park(key="k", session=SESSIONS[0], sequence=1):
    return Park(7, session, sequence, (key, 1), ACK_DISK, STORES[HOME], HOME)


def is_promise(message):
    return isinstance(message, Counted | Parked) and message.on_disk


def is_promised(world):
    return any(is_promise(message) for _, message in world.heard)


def counts_once(world):
    running, on_disk = world.values("k")
    return sum(running) <= 1 and sum(on_disk) <= 1


# -- everything that can happen once -------------------------------------------------------------

SAID = {"i": (HOME, increment), "b": (B, park), "c": (C, park)}
STORIES = ("bi", "ib", "ibi", "ibc", "bci", "ibci", "bcib", "bbi")


def tell(story, gap, *crashes):
    """Run one story with its crashes (when, who, what survives, for how long); returns the world.

    A second crash counts its steps from the first one.
    """
    world = World()
    said = deque(story)
    due = [(at, *crash) for at, (_, *crash) in zip(_steps_of(crashes), crashes, strict=True)]
    last = max([at + rest for at, _, _, rest in due])
    for number in range(STEPS_MAX):
        if said and number % (gap + 1) == 0:
            name, make = SAID[said.popleft()]
            world.client(name, make())
        for at, victim, survivors, rest in due:
            if number == at:
                world.crash(victim, survivors)
            if number == at + rest and victim not in world.machines:
                world.start(victim)
        if not world.step():
            world.tick()
        assert counts_once(world), (story, gap, crashes)
        if not said and number > last and not world.mail:
            break
    world.settle()
    return world


def _steps_of(crashes):
    return accumulate([after for after, *_ in crashes])


GAPS = (0, 2, 9)
CRASHES = [*product(range(14), NAMES, (0, 1), (0, 6))]
"""(step, victim, records that survive, steps until the restart)."""


def check(story, gap, *crashes):
    world = tell(story, gap, *crashes)
    assert not any(m.failover.parking for m in world.machines.values()), (story, gap, crashes)
    assert world.total("k") <= 1, (story, gap, crashes)
    assert world.total("k") == 1 or not is_promised(world), (story, gap, crashes)


def tell_all(stories=STORIES):
    for story, gap, crash in product(stories, GAPS, CRASHES):
        check(story, gap, crash)


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES)
def test_whoever_crashes_at_whichever_step_an_increment_that_was_promised_counts_once(story):
    tell_all([story])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_after_two_crashes_too_an_increment_that_was_promised_counts_once(seed):
    rng = Random(seed)
    for _ in range(400):
        check(rng.choice(STORIES), rng.choice(GAPS), *rng.choices(CRASHES, k=2))


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("story", STORIES)
def test_after_any_two_crashes_an_increment_that_was_promised_counts_once(story):
    for gap, *crashes in product(GAPS, CRASHES, CRASHES):
        check(story, gap, *crashes)


def test_without_a_crash_a_parked_increment_that_never_arrived_counts_where_it_is_parked():
    world = World()
    world.client(B, park())
    while world.step():
        pass
    assert world.machines[B].failover.parking.uncertain("k") == (0, 1, 1)

    world.tick()
    world.settle()

    assert [world.machines[name].ledger.counters.value("k") for name in NAMES] == [0, 1, 0]
    assert world.machines[B].failover.parking.uncertain("k") == (0, 0, 0)


def test_a_retry_at_its_home_is_refused_once_the_increment_was_given_away():
    world = World()
    world.client(B, park())
    world.settle()
    world.client(HOME, increment())
    world.settle()

    assert isinstance(world.heard[-1][1], Refused)
    assert world.heard[-1][1].code == "given-away"
    assert world.total("k") == 1


def test_two_nodes_that_hold_the_same_increment_agree_on_who_counts_it():
    world = World()
    world.client(B, park())
    world.client(C, park())
    world.settle()

    assert world.total("k") == 1


def test_while_its_home_is_away_a_parked_increment_stays_uncertain():
    world = World()
    world.crash(HOME)
    world.client(B, park())
    while world.step():
        pass
    for _ in range(20):
        world.tick(11.0)
        while world.step():
            pass

    assert world.total("k") == 0
    assert world.machines[B].failover.parking.uncertain("k") == (0, 1, 1)
    world.start(HOME)
    world.tick()
    world.settle()
    assert world.total("k") == 1


# -- everything that can be drawn ---------------------------------------------------------------

names = st.sampled_from(NAMES)
operations = st.tuples(st.sampled_from(SESSIONS), st.integers(1, 2))


class Doubts(RuleBasedStateMachine):
    """Clients that repeat everything everywhere, nodes that crash, streams that are cut."""

    def __init__(self):
        super().__init__()
        self.world = World(**TIGHT)
        self.said = set()
        self.by_link = {}

    def say(self, name, make, operation):
        key = f"{operation[0][0]}/{operation[1]}"
        self.said.add(key)
        self.by_link[self.world.client(name, make(key, *operation))] = key

    @rule(operation=operations)
    def send_home(self, operation):
        self.say(HOME, increment, operation)

    @rule(operation=operations, name=st.sampled_from((B, C)))
    def park(self, operation, name):
        self.say(name, park, operation)

    @rule(session=st.sampled_from(SESSIONS))
    def goodbye(self, session):
        self.world.client(HOME, EndSession(1, session))

    @rule(index=st.integers(0, 8))
    def deliver(self, index):
        world = self.world
        if index < len(world.mail):
            # On one stream, nothing overtakes.
            link = world.mail[index][1]
            first = next(n for n, mail in enumerate(world.mail) if mail[1] == link)
            world.deliver(first if link else index)

    @rule(count=st.integers(1, 12))
    def go_on(self, count):
        for _ in range(count):
            self.world.step()

    @rule(name=names)
    def write(self, name):
        self.world.write(name)

    @rule(name=names)
    def snapshot(self, name):
        self.world.take_snapshot(name)

    @rule(name=names, survivors=st.integers(0, 3), is_late=st.booleans())
    def crash(self, name, survivors, is_late):
        self.world.crash(name, survivors)
        if not is_late:
            self.world.start(name)

    @rule(name=names)
    def come_back(self, name):
        if name not in self.world.machines:
            self.world.start(name)

    @rule(number=st.integers(0, 5))
    def cut(self, number):
        streams = list(self.world.streams)
        if number < len(streams):
            self.world.cut(streams[number])

    @rule()
    def rest(self):
        self.world.tick(11.0)
        for _ in range(20):
            self.world.step()

    @rule(seconds=st.sampled_from([0.1, 1.0, 11.0]))
    def time_passes(self, seconds):
        self.world.tick(seconds)

    @invariant()
    def nothing_counts_twice(self):
        for key in sorted(self.said):
            running, on_disk = self.world.values(key)
            assert sum(running) <= 1
            assert sum(on_disk) <= 1

    def teardown(self):
        world = self.world
        world.settle()
        promised = {self.by_link.get(link) for link, said in world.heard if is_promise(said)}
        for key in sorted(self.said):
            assert world.total(key) <= 1
            if key in promised and not world.total(key):
                # Its home has dropped the session, and says so: nobody guesses.
                assert any(m.failover.parking.uncertain(key)[2] for m in world.machines.values())


@pytest.mark.slow
def test_whatever_happens_no_increment_in_doubt_is_ever_counted_twice():
    run_state_machine_as_test(Doubts, settings=settings(max_examples=60, stateful_step_count=40))


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_in_very_long_stories_no_increment_in_doubt_is_ever_counted_twice():
    run_state_machine_as_test(Doubts, settings=settings(max_examples=4_000, stateful_step_count=80))


# -- planted mistakes -----------------------------------------------------------------------------


def counts_without_asking(monkeypatch):
    """A node counts what is parked as soon as it is on disk."""

    def settled_at_once(self, entry):
        entry.state, askers, entry.askers = 1, entry.askers, []
        self._wait(entry)
        return [
            *self._settle(entry, entry.pairs),
            *[Send(link, Parked(request, True, again)) for link, request, again in askers],
        ]

    whole = Parking._safe
    monkeypatch.setattr(
        Parking, "_safe", lambda self, e: (settled_at_once if e.state == 0 else whole)(self, e)
    )


def keeps_no_fence(monkeypatch):
    """A home gives away what it has not counted, and does not write it down."""

    def disown(self, link, message):
        verdicts = []
        for session, sequence, ticket in message.rows:
            verdict = self._verdict(session, sequence, (message.by, ticket))
            if verdict is None:
                self._fence(session, sequence, (message.by, ticket))
                verdict = GRANTED
            verdicts.append(verdict)
        return [Send(link, Disowned(message.request, tuple(verdicts)))]

    monkeypatch.setattr(Fences, "disown", disown)


def grants_to_anybody(monkeypatch):
    """A home does not look at who asks."""
    whole = Fences._verdict

    def verdict(self, session, sequence, wanted):
        fence = self._fence_of(session, sequence)
        return whole(self, session, sequence, fence or wanted)

    monkeypatch.setattr(Fences, "_verdict", verdict)


def grants_before_the_disk(monkeypatch):
    """A home answers while the fence is on its way to the disk."""
    whole = Fences.disown

    def disown(self, link, message):
        effects = whole(self, link, message)
        if self._answers and effects and isinstance(effects[-1], Persist):
            effects.append(Send(link, self._answers[-1].reply))
        return effects

    monkeypatch.setattr(Fences, "disown", disown)


def disowns_what_is_underway(monkeypatch):
    """A home says of an increment that waits for its disk that it counts there."""
    monkeypatch.setattr(Ledger, "is_unsure_of", lambda self, session, sequence: False)


MISTAKES = [counts_without_asking, keeps_no_fence, grants_to_anybody, grants_before_the_disk]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found_among_the_crashes(mistake, monkeypatch):
    mistake(monkeypatch)

    with pytest.raises(AssertionError):
        tell_all()


@pytest.mark.slow
def test_a_home_that_speaks_before_its_disk_loses_an_increment(monkeypatch):
    disowns_what_is_underway(monkeypatch)

    with pytest.raises(AssertionError):
        tell_all()


@pytest.mark.slow
@pytest.mark.parametrize("mistake", [counts_without_asking, grants_to_anybody])
def test_a_planted_mistake_is_found_among_what_is_drawn(mistake, monkeypatch):
    mistake(monkeypatch)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Doubts,
            settings=settings(max_examples=300, stateful_step_count=40, phases=[Phase.generate]),
        )
