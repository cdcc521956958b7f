"""An increment in doubt counts at its home, or where it was parked and given to: never at both.

The rule: real ledgers and real failovers, and a world between them that can lose, repeat, delay
and crash at every step; whatever one disk or one running node holds is counted as held. What the
world does is drawn (`run_state_machine_as_test`), or all that can happen once is tried.
"""

from collections import deque
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

from counter.adoption import Stage
from counter.fences import Fences
from counter.folding import Folding
from counter.ledger import Ledger
from counter.messages import (
    GRANTED,
    Counted,
    Disowned,
    EndSession,
    Parked,
)
from counter.parking import Parking
from tracker.machine import Persist, Send
from tracker.messages import Refused

from doubt_world import (  # isort: skip
    B,
    C,
    HOME,
    NAMES,
    SESSIONS,
    STEPS_MAX,
    TIGHT,
    World,
    increment,
    park,
)


def is_promise(message):
    return isinstance(message, Counted | Parked) and message.on_disk


def is_promised(world):
    return any(is_promise(message) for _, message in world.heard)


def counts_once(world):
    running, on_disk = world.values("k")
    return sum(running) <= 1 and sum(on_disk) <= 1


# -- everything that can happen once -------------------------------------------------------------

SAID = {"i": (HOME, increment), "b": (B, park), "c": (C, park), "d": (HOME, None)}
STORIES = ("bi", "ib", "ibi", "ibc", "bci", "ibci", "bcib", "bbi")
LEAVING_STORIES = ("bd", "db", "ibd", "bid", "ibdc", "bcdi", "bdx", "ibdcx")
"""In these the home leaves (`d`), and its name becomes another store's as soon as it has (`x`)."""


def tell(story, gap, *crashes):
    """Run one story with its crashes (when, who, what survives, for how long); returns the world.

    A second crash counts its steps from the first one.
    """
    world = World()
    if "d" in story:
        world.fill()
    is_replaced = story.endswith("x")
    said = deque(story.removesuffix("x"))
    due = [(at, *crash) for at, (_, *crash) in zip(_steps_of(crashes), crashes, strict=True)]
    last = max([at + rest for at, _, _, rest in due])
    for number in range(STEPS_MAX):
        if said and number % (gap + 1) == 0:
            world.say(*SAID[said.popleft()])
        if is_replaced:
            world.replace(HOME)
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
LEAVING_CRASHES = [*product(range(40), NAMES, (0, 1), (0, 6))]
"""The same, for a hand-over, which takes more steps."""


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


def check_leaving(story, gap, *crashes):
    """Check a story in which the home leaves; returns whether everything was settled."""
    world = tell(story, gap, *crashes)
    if is_replaced_late(world, story):
        world.settle()
    machines = world.machines.values()
    in_doubt = [m.failover.parking.uncertain("k")[2] for m in machines]
    assert counts_once(world), (story, gap, crashes)
    held = world.total("k") == 1 or not is_promised(world) or any(in_doubt)
    assert held, (story, gap, crashes)
    return not any(in_doubt)


def is_replaced_late(world, story):
    if story.endswith("x") and HOME in world.heirs:
        world.replace(HOME)
        return True
    return False


def tell_all_leaving(stories, count):
    """Check so many of the crashes in each of these stories; returns which were settled."""
    crashes = Random(1).sample([*product(GAPS, LEAVING_CRASHES)], count)
    return [check_leaving(story, *crash) for story in stories for crash in crashes]


@pytest.mark.slow
@pytest.mark.parametrize("story", LEAVING_STORIES)
def test_whoever_crashes_while_a_home_hands_over_an_increment_that_was_promised_counts_once(story):
    settled = tell_all_leaving([story], 200)

    # Where the last word to the heir was lost, nobody may speak for the home any more.
    assert settled.count(True) > len(settled) / 2


def tell_of_two_heirs():
    """Have an heir crash, with the seal or without, and its home, which then takes another one."""
    for step, survivors in product(range(18, 30), (0, 1)):
        check_leaving("bcdx", 0, (step, C, survivors, 60), (0, HOME, 1, 4))


def test_of_two_heirs_of_one_home_no_two_give_an_increment_away():
    tell_of_two_heirs()


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("story", LEAVING_STORIES)
def test_at_each_step_of_a_hand_over_an_increment_that_was_promised_counts_once(story):
    tell_all_leaving([story], len(GAPS) * len(LEAVING_CRASHES))


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("story", LEAVING_STORIES)
def test_what_is_parked_for_a_home_that_left_counts_where_its_heir_says(story, gap):
    assert check_leaving(story, gap, (STEPS_MAX, B, 0, 0))


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


def takes_no_sessions(monkeypatch):
    """An heir takes counts, and not which operations they are of."""
    whole = Stage.take
    monkeypatch.setattr(
        Stage, "take", lambda self, body: None if b"sessions" in body[:12] else whole(self, body)
    )


def speaks_for_what_it_holds(monkeypatch):
    """An heir speaks for a home that may have another heir, or still be at work."""
    monkeypatch.setattr(
        Folding, "is_final", lambda self, store: store in self._ledger.counters.others
    )


MISTAKES = [counts_without_asking, keeps_no_fence, grants_to_anybody, grants_before_the_disk]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found_among_the_crashes(mistake, monkeypatch):
    mistake(monkeypatch)

    with pytest.raises(AssertionError):
        tell_all()


LEAVING_MISTAKES = [
    *(takes_no_sessions, keeps_no_fence, grants_to_anybody),
    *(grants_before_the_disk, counts_without_asking),
]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", LEAVING_MISTAKES)
def test_a_planted_mistake_is_found_among_the_crashes_of_a_hand_over(mistake, monkeypatch):
    mistake(monkeypatch)

    # The stories that find most of them come first.
    with pytest.raises(AssertionError):
        tell_all_leaving(LEAVING_STORIES[::-1], 60)


def test_a_planted_mistake_is_found_where_a_home_has_two_heirs(monkeypatch):
    speaks_for_what_it_holds(monkeypatch)

    with pytest.raises(AssertionError):
        tell_of_two_heirs()


@pytest.mark.slow
def test_a_home_that_speaks_before_its_disk_loses_an_increment(monkeypatch):
    disowns_what_is_underway(monkeypatch)

    with pytest.raises(AssertionError):
        tell_all(["bbi"])


@pytest.mark.slow
@pytest.mark.parametrize("mistake", [counts_without_asking, grants_to_anybody])
def test_a_planted_mistake_is_found_among_what_is_drawn(mistake, monkeypatch):
    mistake(monkeypatch)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Doubts,
            settings=settings(max_examples=3000, stateful_step_count=40, phases=[Phase.generate]),
        )
