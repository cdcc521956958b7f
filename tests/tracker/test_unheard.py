"""Ends of members on their way from one tracker, over the nodes, to the others."""

import random
from collections import Counter

import pytest
from tracker_world import T1, T2, World, make_member, started, statuses

from tracker.classes import replace
from tracker.contact import JOINED, Contact
from tracker.machine import Send
from tracker.members import ALIVE, AWAY, DEAD, GONE, SUSPECT, Member, View
from tracker.messages import Forget, Forgotten, Teach, news_from_wire
from tracker.names import derived
from tracker.unheard import TELLERS_MAX, TURN_INTERVALS, Unheard

STORE = b"x" * 16


def make_other(name="x9", status=DEAD, epoch=1):
    return Member(name, STORE, 0, epoch, 0, "10.0.1.9", 7409, status)


def put_into(world, endpoint, *members):
    """Let one tracker, and nobody else, come to know members."""
    registry = world.trackers[endpoint]
    effects = [effect for member in members for effect in registry._take(member, world.now)]
    world._queue.append((endpoint, registry._with_due(effects, world.now)))


def taught_by(world):
    """Count from now on whose Teach reaches which tracker; returns the counter."""
    told = Counter()
    carry_out = world._carry_out

    def counting(key, effect):
        if isinstance(effect, Send) and isinstance(effect.message, Teach):
            told[key, world.ends[effect.to][1]] += 1
        carry_out(key, effect)

    world._carry_out = counting
    return told


# -- what two trackers come to agree about ----------------------------------------------------


@pytest.mark.parametrize("status", [DEAD, AWAY])
def test_an_end_that_one_tracker_alone_knows_reaches_the_other_one(status):
    world = started(5, (T1, T2))
    told = taught_by(world)

    put_into(world, T2, make_other(derived("n5", STORE), status))
    world.run(2 * TURN_INTERVALS + 1)

    assert statuses(world.trackers[T1]) == statuses(world.trackers[T2])
    assert 1 <= sum(told.values()) <= TELLERS_MAX
    assert {endpoint for _, endpoint in told} == {T1}


def test_what_one_tracker_alone_knew_can_be_forgotten_at_the_other_one():
    world = started(5, (T1, T2))
    put_into(world, T2, make_other())
    world.run(5.0)

    [answer] = world.ask(T1, Forget(1, "x9"))
    world.run(5.0)

    assert isinstance(answer, Forgotten)
    assert [statuses(world.trackers[t])["x9"] for t in (T1, T2)] == [GONE, GONE]


def test_an_end_that_a_node_hears_from_another_one_reaches_its_only_tracker():
    world = started(3)

    effects = world.nodes["n1"].learn([make_other()], world.now)
    world.run(5.0)

    assert effects == []
    assert all(statuses(m)["x9"] == DEAD for m in (world.trackers[T1], *world.nodes.values()))


def test_one_node_that_both_trackers_have_is_enough_wherever_its_place_is():
    for number in range(1, 13):
        world = World()
        world.tracker(T1)
        world.tracker(T2)
        for other in range(1, 13):
            world.node(f"n{other}", (T1, T2) if other == number else (T2,))
        world.run(1.0)
        told = taught_by(world)

        put_into(world, T2, make_other())
        world.run(20.0)

        assert statuses(world.trackers[T1])["x9"] == DEAD
        assert told == {(f"n{number}", T1): 1}


def test_a_member_that_dies_is_told_by_the_trackers_and_by_no_node():
    world = started(6, (T1, T2))
    told = taught_by(world)

    world.kill("n3")
    world.run(60.0)

    assert [statuses(registry)["n3"] for registry in world.trackers.values()] == [DEAD, DEAD]
    assert not told


def test_two_hundred_that_join_two_trackers_are_taught_by_nobody():
    world = World()
    world.tracker(T1)
    world.tracker(T2)
    put_into(world, T1, make_other())
    put_into(world, T2, make_other())
    for number in range(200):
        world.node(f"n{number}", (T1, T2))
        world.run(0.02)
    world.run(10.0)

    assert [len(registry.table) for registry in world.trackers.values()] == [201, 201]
    assert world.counted[Teach] == 0


def test_of_two_hundred_three_tell_what_one_tracker_lacks():
    world = started(200, (T1, T2))
    told = taught_by(world)

    put_into(world, T2, make_other())
    world.run(20.0)

    assert statuses(world.trackers[T1])["x9"] == DEAD
    assert 1 <= sum(told.values()) <= TELLERS_MAX


# -- what they need not agree about, or must not ----------------------------------------------


def test_who_registers_with_one_tracker_only_stays_alive_to_all():
    world = started(3, (T1, T2))
    world.node("n4", (T2,))
    told = taught_by(world)

    world.run(60.0)

    assert not told
    assert all(statuses(node)["n4"] == ALIVE for node in world.nodes.values())


def test_a_member_that_one_tracker_misses_denies_it_once_and_is_alive_to_all():
    world = started(3, (T1, T2))
    told = taught_by(world)

    world.split("n3", T2)
    world.run(300.0)

    assert len(world.said("dead", T2)) == 1
    assert len(world.said("dead", T1)) == 1
    assert 1 <= sum(told.values()) <= TELLERS_MAX
    assert world.nodes["n3"].member.incarnation == 1
    assert all(statuses(node)["n3"] == ALIVE for node in world.nodes.values())


def test_trackers_that_hear_one_half_each_call_nobody_dead_to_those_who_hear_both():
    world = started(7, (T1, T2))
    for number in range(1, 7):
        world.split(f"n{number}", T1 if number % 2 else T2)

    world.run(300.0)

    assert all(status == ALIVE for status in statuses(world.nodes["n7"]).values())
    assert len(world.said("dead", T1)) + len(world.said("dead", T2)) <= 12


def test_a_tracker_gives_up_nobody_whom_it_hears_for_anothers_sake():
    world = World()
    world.tracker(T1)
    world.tracker(T2, forget_after_s=10.0)
    for number in range(1, 4):
        world.node(f"n{number}", (T1, T2))
    world.run(1.0)

    world.split("n3", T2)
    world.run(120.0)

    assert world.said("gone", T2)
    assert world.said("gone", T1) == []
    assert all(statuses(node)["n3"] == ALIVE for node in world.nodes.values())


def test_who_was_given_up_at_one_tracker_is_given_up_at_the_other_one():
    world = started(3, (T1, T2))
    world.kill("n3")
    world.run(20.0)

    world.ask(T2, Forget(1, "n3"))
    world.run(5.0)

    assert [statuses(registry)["n3"] for registry in world.trackers.values()] == [GONE, GONE]


@pytest.mark.parametrize("note", ["given up: dead for 60 s", "given up by an operator"])
def test_a_tracker_that_is_told_that_somebody_was_given_up_whom_it_hears_says_that_it_lives(note):
    world = started(2, (T1, T2))
    n2 = world.nodes["n2"].member

    put_into(world, T1, replace(n2, status=GONE, note=note))
    world.run(1.0)

    assert world.said("gone") == []
    assert [statuses(m)["n2"] for m in (world.trackers[T1], *world.nodes.values())] == [ALIVE] * 3
    assert world.trackers[T1].table.get("n2").incarnation == n2.incarnation + 1


# -- one step at a time -----------------------------------------------------------------------


def make_contact(endpoint=T2, link=2, **fields):
    return Contact(endpoint, 3.0, JOINED, link, is_caught_up=True, **fields)


def heard(source, *members, known=(), to=None, **contact):
    """Return what a node that hears of members tells the other tracker, whenever that is."""
    first, second = make_contact(T1, 1), make_contact(**contact)
    unheard = Unheard("n1", 1.0)
    before = View().merged([make_member("n1"), *known])
    view = before.merged(members)
    unheard.note(members, before, view, first if source else None, [first, second], 0.0)
    effects = [e for now in range(200) for e in unheard.due(view, [first, second], float(now))]
    assert unheard.deadline() is None or not second.is_caught_up
    return [(e.to, m.name) for e in effects for m in news_from_wire(e.message.page)]


@pytest.mark.parametrize(
    ("members", "known", "told"),
    [
        ([make_other()], [], ["x9"]),
        ([make_other(status=AWAY)], [], ["x9"]),
        ([make_other(status=ALIVE)], [], []),
        ([make_other(status=SUSPECT)], [], []),
        ([make_other(status=GONE)], [], []),
        ([make_other(status=GONE)], [make_other()], ["x9"]),
        ([make_other()], [make_other()], []),
    ],
    ids=["dead", "away", "alive", "suspect", "long gone", "given up", "known"],
)
def test_ends_are_told_to_the_other_tracker_and_nothing_else(members, known, told):
    assert heard(True, *members, known=known) == [(2, name) for name in told]


def test_what_another_node_says_is_told_to_all_trackers():
    assert heard(False, make_other()) == [(1, "x9"), (2, "x9")]


def test_a_tracker_that_tells_an_older_record_is_told_the_end_itself():
    assert heard(True, make_other(status=ALIVE), known=[make_other()]) == [(1, "x9")]


def test_the_loser_of_a_name_is_told_to_all_and_comes_first():
    winner = Member("x9", b"y" * 16, 1, 1, 0, "10.0.1.9", 7409, DEAD)

    assert heard(True, winner, known=[make_other()]) == [
        (1, derived("x9", STORE)),
        (2, derived("x9", STORE)),
        (2, "x9"),
    ]


def test_a_loser_that_is_told_is_told_on_under_the_name_that_is_left_to_it():
    winner = Member("x9", b"y" * 16, 1, 1, 0, "10.0.1.9", 7409, ALIVE)

    told = heard(True, make_other(), known=[winner])

    assert told == [(1, derived("x9", STORE)), (2, derived("x9", STORE))]


def test_a_tracker_that_has_yet_to_tell_its_list_is_told_nothing():
    contact = make_contact()
    contact.is_caught_up = False
    unheard, view = Unheard("n1", 1.0), View().merged([make_other()])
    unheard.note([make_other()], View(), view, None, [contact], 0.0)

    early = [e for now in range(10) for e in unheard.due(view, [contact], float(now))]
    contact.is_caught_up = True
    late = [e for now in range(10, 20) for e in unheard.due(view, [contact], float(now))]

    assert (early, len(late)) == ([], 1)


def test_a_tracker_that_says_it_meanwhile_is_told_nothing():
    contacts = [make_contact(T1, 1), make_contact(T2, 2)]
    unheard, view = Unheard("n1", 1.0), View().merged([make_other()])
    unheard.note([make_other()], View(), view, contacts[0], contacts, 0.0)
    unheard.note([make_other()], view, view, contacts[1], contacts, 1.0)

    assert [e for now in range(20) for e in unheard.due(view, contacts, float(now))] == []


def test_whoever_lives_again_before_it_is_told_is_not_told():
    contact = make_contact()
    unheard, view = Unheard("n1", 1.0), View().merged([make_other()])
    unheard.note([make_other()], View(), view, None, [contact], 0.0)
    back = view.merged([make_other(status=ALIVE, epoch=2)])

    assert [e for now in range(20) for e in unheard.due(back, [contact], float(now))] == []
    assert unheard.deadline() is None


def test_in_each_turn_twice_as_many_tell_it_until_all_have():
    names = [f"n{number}" for number in range(50)]
    ended = make_other()
    view = View().merged([*[make_member(name) for name in names], ended])
    before = View().merged([make_member(name) for name in names])
    turns = Counter()
    for name in names:
        contact, unheard = make_contact(), Unheard(name, 1.0)
        unheard.note([ended], before, view, None, [contact], 0.0)
        for turn in range(1, 20):
            turns[turn] += len(unheard.due(view, [contact], float(turn * TURN_INTERVALS)))

    assert [turns[turn] for turn in range(1, 20) if turns[turn]] == [3, 3, 6, 12, 24, 2]


# -- drawn worlds -----------------------------------------------------------------------------


WISHES = [(T1, T2), (T1, T2), (T1,), (T2,)]


def forget_the_dead(world, endpoint):
    for name, status in statuses(world.trackers[endpoint]).items():
        if status == DEAD:
            world.ask(endpoint, Forget(1, name))


def meet(world, endpoint, dice):
    """Let a tracker hear of somebody who lost its name, as from nodes that nobody else met."""
    store = dice.randbytes(16)
    status = dice.choice([ALIVE, SUSPECT, DEAD, AWAY])
    lost = Member(derived("n5", store), store, 0, 1, 0, "10.0.9.9", 7999, status)
    put_into(world, endpoint, lost)


def leave(world, name, holds_counts):
    if name > "n1":
        world.do(name, "depart", holds_counts)
        world.run(0.5)
        world.kill(name)


def drawn(seed):
    """Return a world in which whatever happened is over, and how much is taught at rest."""
    dice = random.Random(seed)
    world = World()
    for endpoint in (T1, T2):
        world.tracker(endpoint)
    for number in range(8):
        world.node(f"n{number}", (T1, T2) if number < 2 else dice.choice(WISHES))
    world.run(1.0)
    for step in range(12):
        endpoint, name = dice.choice([T1, T2]), dice.choice(sorted(world.nodes))
        happens = {
            "kill": lambda name=name: world.kill(name) if name > "n1" else None,
            "join": lambda step=step: world.node(f"o{step}", dice.choice(WISHES)),
            "cut": lambda name=name, endpoint=endpoint: world.split(name, endpoint),
            "heal": world.heal,
            "forget": lambda endpoint=endpoint: forget_the_dead(world, endpoint),
            "meet": lambda endpoint=endpoint: meet(world, endpoint, dice),
            "leave": lambda name=name: leave(world, name, dice.random() < 0.5),
        }
        happens[dice.choice(list(happens))]()
        world.run(dice.uniform(0.0, 8.0))
    world.heal()
    world.run(60.0)
    told = taught_by(world)
    world.run(120.0)
    return world, sum(told.values())


def ends_of(registry):
    """Return who is expected and not here, by the word of one tracker."""
    return {m.name: m.store for m in registry.table.members.values() if m.status in (DEAD, AWAY)}


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happened_the_trackers_agree_in_the_end_about_all_who_are_missed(seed):
    world, told = drawn(seed)

    missed = {endpoint: ends_of(registry) for endpoint, registry in world.trackers.items()}
    alive = {
        m.store
        for r in world.trackers.values()
        for m in r.table.members.values()
        if m.status == ALIVE
    }
    first, second = [{n: s for n, s in e.items() if s not in alive} for e in missed.values()]
    assert first == second
    assert told == 0
    for name in ("n0", "n1"):
        known = statuses(world.nodes[name])
        assert [n for n in world.nodes if known[n] != ALIVE] == []
