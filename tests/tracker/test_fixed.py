"""Fixed names: everybody is introduced to everybody, and only then is an answer complete."""

from dataclasses import replace
from random import Random

import pytest

from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.messages import ACK_DEFAULT, UNTIL_ALL, Answer, Counted, Increment, Query
from counter.saving import VIEW_SAVE_S
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker.fixed import TRY_S, FixedMembership
from tracker.machine import Send
from tracker.members import Member
from tracker.messages import Introduce, Introduced

PLACES = {f"n{index}": (f"10.0.0.{index}", 7401) for index in range(1, 6)}
A, B, C = list(PLACES.values())[:3]


def make_member(index, **changes):
    host, port = PLACES[f"n{index}"]
    return replace(Member(f"n{index}", bytes([index]) * 16, 0, 1, 0, host, port), **changes)


def make_fixed(count=3, **changes):
    places = dict(list(PLACES.items())[:count])
    return FixedMembership(make_member(1, **changes), places, Random(1))


def test_it_introduces_itself_to_everybody_until_each_has_confirmed():
    fixed = make_fixed()
    own = Introduce(fixed.member)

    assert fixed.start(0.0) == [Send(B, own), Send(C, own)]
    assert fixed.deadline() == TRY_S
    assert fixed.tick(TRY_S / 2) == []
    fixed.introduction.confirmed(B)
    assert fixed.tick(TRY_S) == [Send(C, own)]
    fixed.introduction.confirmed(C)

    assert fixed.deadline() is None
    assert fixed.tick(2 * TRY_S) == []


@pytest.mark.parametrize(
    ("sender", "store", "deadline"),
    [(B, b"\1" * 16, None), (B, b"x" * 16, TRY_S), (7, b"\1" * 16, TRY_S)],
    ids=["its own store, by a node", "another store", "by a client"],
)
def test_only_the_word_of_a_node_about_this_very_store_confirms_it(sender, store, deadline):
    fixed = make_fixed(2)
    gossip = Gossip(NodeConfig(name="n1"), LAN, fixed.member, (), Random(1), fixed)
    gossip.start(0.0)

    gossip.receive(sender, Introduced(store), 0.1)

    assert fixed.deadline() == deadline


def test_the_view_is_the_cluster_s_once_each_name_has_its_record_and_not_before():
    fixed = make_fixed(3)
    fixed.start(0.0)
    fixed.learn([make_member(2)], 0.1)
    assert (fixed.heard_at, fixed.known_until(0.1, 3.0)) == (None, float("-inf"))

    fixed.learn([make_member(3)], 0.2)

    assert (fixed.heard_at, fixed.known_until(99.0, 3.0)) == (0.0, float("inf"))
    assert fixed.view.expected == 3


def test_a_node_alone_knows_everybody_from_the_start():
    fixed = make_fixed(1)

    assert fixed.start(5.0) == []
    assert (fixed.heard_at, fixed.deadline()) == (5.0, None)


def test_who_began_a_new_life_is_told_again_at_once():
    fixed = make_fixed(2)
    fixed.start(0.0)
    fixed.learn([make_member(2)], 0.1)
    fixed.introduction.confirmed(B)
    assert fixed.learn([make_member(2)], 0.2) == []

    effects = fixed.learn([make_member(2, epoch=2)], 0.3)

    assert effects == [Send(B, Introduce(fixed.member))]
    assert fixed.deadline() == 0.3 + TRY_S


def test_a_second_new_life_does_not_put_off_the_next_try():
    fixed = make_fixed(3)
    fixed.start(0.0)

    fixed.learn([make_member(2)], 0.4)

    assert fixed.deadline() == TRY_S


@pytest.mark.parametrize(
    "stranger",
    [make_member(4), make_member(2, port=9)],
    ids=["a name that is not in the list", "another place"],
)
def test_nobody_joins_who_is_not_in_the_list(stranger):
    fixed = make_fixed(3)
    fixed.start(0.0)

    fixed.learn([stranger], 0.1)

    assert list(fixed.view.members) == ["n1"]


# -- whole nodes ----------------------------------------------------------------------------


def live(world, name, *, forgets=False):
    """Return the machine of a node's next life, from what its disk kept."""
    endpoint = PLACES[name]
    disk = world.disk(endpoint)
    identity = disk.open()
    member = Member(name, identity.store, 0, identity.epoch, 0, *endpoint)
    rng = world.random(f"{name}/{identity.epoch}")
    fixed = FixedMembership(member, PLACES, rng)
    machine = Gossip(NodeConfig(name=name), LAN, member, (), rng, fixed)
    for kind, record in disk.recover():
        if not (forgets and kind == "members"):
            machine.restore(kind, record)
    machine.resume(disk.token)
    return machine


def make_world(seed, **network):
    world = World(seed, NetworkConfig(**network))
    for name, endpoint in PLACES.items():
        world.add(live(world, name), endpoint)
    return world


def ask(world, endpoint, deadline_ms=2_000):
    """Ask a node, and return its answer; pages that name the silent come before it."""
    client = world.connect(endpoint)
    client.send(Query(1, "k", 0, 0, 0, deadline_ms, UNTIL_ALL, 0, 0, False))
    assert world.run_until(lambda: any(isinstance(said, Answer) for said in client.received))
    return client.received[-1]


def count(world, endpoint, amount):
    client = world.connect(endpoint)
    client.send(
        Increment(world.random(f"{endpoint}{amount}").randbytes(16), 1, ("k", amount), ACK_DEFAULT)
    )
    assert world.run_until(lambda: client.received)
    assert isinstance(client.received[0], Counted)


def test_a_cluster_without_a_tracker_counts_and_answers_completely():
    world = make_world(1)
    for amount, endpoint in enumerate(PLACES.values(), 1):
        count(world, endpoint, amount)

    answers = [ask(world, endpoint) for endpoint in PLACES.values()]

    assert [(a.value, a.complete, a.members) for a in answers] == [(15, True, 5)] * 5


def test_an_answer_waits_for_those_whose_store_is_not_known_yet_and_is_incomplete_without_them():
    world = World(1)
    for name in ("n1", "n2"):
        world.add(live(world, name), PLACES[name])
    count(world, A, 1)

    answer = ask(world, A)

    assert (answer.value, answer.complete, answer.members) == (1, False, 2)
    for name in ("n3", "n4", "n5"):
        world.add(live(world, name), PLACES[name])
    assert ask(world, A).complete


def test_a_node_that_forgot_whom_it_knew_is_told_again():
    world = make_world(2)
    count(world, B, 7)
    assert ask(world, A).complete
    world.crash(B)

    world.restart(B, live(world, "n2", forgets=True))

    assert [ask(world, endpoint).value for endpoint in (A, B)] == [7, 7]
    assert ask(world, B).complete


def test_who_knows_fewer_does_not_spoil_the_answer_of_one_who_knows_all():
    world = make_world(5)
    count(world, B, 7)
    assert ask(world, A).complete
    world.crash(B)
    world.restart(B, live(world, "n2", forgets=True))
    world.partition([B], [*PLACES.values()][2:])
    world.run_until(world.now + 2 * TRY_S)

    answer = ask(world, A)

    assert world.machine(B).membership.view.expected == 2
    assert (answer.value, answer.complete) == (7, True)
    assert "Roster" not in world.tallies


def test_a_node_that_kept_whom_it_knew_answers_completely_at_once():
    world = make_world(3)
    count(world, B, 7)
    assert ask(world, B).complete
    world.run_until(world.now + VIEW_SAVE_S + 0.1)
    world.crash(B)

    machine = live(world, "n2")

    assert machine.membership.view.expected == 5
    world.restart(B, machine)
    assert (ask(world, B).value, ask(world, B).complete) == (7, True)


def test_a_wiped_store_under_an_old_name_is_not_taken_for_the_old_one():
    world = make_world(4)
    count(world, B, 7)
    assert ask(world, A).value == 7
    world.crash(B)
    world.disk(B).wipe()

    world.restart(B, live(world, "n2"))
    answer = ask(world, A)

    assert (answer.complete, answer.missing, answer.filled) == (False, 1, 7)


@pytest.mark.parametrize("seed", range(12))
def test_through_loss_partitions_and_crashes_complete_means_exact(seed):
    world = make_world(seed, loss=0.1, duplication=0.1, reordering=0.1)
    draw = world.random("what happens")
    total = 0
    for number in range(1, 8):
        name = draw.choice(list(PLACES))
        cut = world.partition([PLACES[name]])
        for endpoint in PLACES.values():
            count(world, endpoint, 10 * number)
            total += 10 * number
        answer = ask(world, draw.choice(list(PLACES.values())))
        assert not answer.complete or answer.value == total
        assert answer.filled <= total
        if number % 2:
            world.crash(PLACES[name])
            world.restart(PLACES[name], live(world, name, forgets=draw.random() < 0.5))
        world.heal(cut)
    world.run_until(world.now + 2 * TRY_S)

    def is_exact(endpoint):
        answer = ask(world, endpoint)
        assert not answer.complete or answer.value == total
        return answer.complete

    for endpoint in PLACES.values():
        assert any(is_exact(endpoint) for _ in range(5))
