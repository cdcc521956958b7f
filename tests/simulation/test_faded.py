"""A query that lives longer than a doubt: asks the home before it counts, and the holder after."""

from dataclasses import replace

import pytest

from counter import faded
from counter.config import LAN
from counter.gossip import Gossip
from counter.messages import (
    ACK_DEFAULT,
    GOSSIP,
    UNTIL_ALL,
    Answer,
    Counted,
    Increment,
    Park,
    Parked,
    Query,
    prefixed,
)
from loadtest.simulation.disks import DiskConfig
from loadtest.simulation.lives import begun
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker.config import TrackerConfig
from tracker.registry import Registry

TRACKER = ("10.255.255.1", 7400)
ORIGIN, HOME, HOLDER = "n1", "n2", "n3"
SESSION = b"s" * 16
STOPPED_S = 8.0
CELLS = replace(LAN, cell_members_max=4, direct_max=2)


def make_world(nodes=3, gossip=LAN):
    """Return a world whose node n2 has a disk that takes a second."""
    world = World(1, NetworkConfig(base_s=0.001, jitter_s=0.0), datagram_codec=GOSSIP)
    world.add(Registry(TrackerConfig(), b"e" * 8, None, world.random("t")), TRACKER)
    places = {f"n{number}": ("10.0.0.1", 7400 + number) for number in range(1, nodes + 1)}
    for name, place in places.items():
        disk = world.disk(place, DiskConfig(fsync_s=1.0 if name == HOME else 0.001, jitter_s=0.0))
        parts = {"gossip": gossip, "trackers": (TRACKER,), "random": world.random(name)}
        world.add(begun(Gossip, name, place, disk, **parts), place)
    assert world.run_until(
        lambda: all(
            world.machine(place).membership.view.expected == nodes
            and not world.machine(place).ledger.is_held
            for place in places.values()
        )
    )
    return world, places


def said(world, place, message, kind):
    client = world.connect(place)
    client.send(message)
    assert world.run_until(lambda: client.received)
    assert isinstance(client.received[0], kind)


def asked(world, place, question="k"):
    client = world.connect(place)
    client.send(Query(1, question, 0, 0, 0, 60_000, UNTIL_ALL, 0, 0, False))
    return client.received


def ended(answers):
    return [m for m in answers if isinstance(m, Answer) and m.end]


def doubted(world, places):
    """Send an increment to its home, whose disk takes it, and park it at once elsewhere."""
    late = world.connect(places[HOME])
    late.send(Increment(SESSION, 1, ("k", 5), ACK_DEFAULT))
    world.run_until(world.now + 0.01)
    store = world.machine(places[HOME]).membership.member.store
    parked = Park(1, SESSION, 1, ("k", 5), ACK_DEFAULT, store, HOME)
    said(world, places[HOLDER], parked, Parked)
    return late


def asked_before_and_after(question, nodes=3, gossip=LAN):
    """Let a node ask the home before that counts, and the holder long after; returns its answer."""
    world, places = make_world(nodes, gossip)
    late = doubted(world, places)
    holder = world.machine(places[HOLDER]).failover.parking
    parted = world.partition([places[ORIGIN]], [places[HOLDER]])
    answers = asked(world, places[ORIGIN], question)
    assert world.run_until(lambda: places[ORIGIN] in world.endpoints() and world.now > 0.0)
    world.run_until(world.now + 0.003)
    world.pause(places[ORIGIN])
    assert world.run_until(lambda: late.received and len(holder) == 0)
    assert isinstance(late.received[0], Counted)
    world.run_until(world.now + STOPPED_S)
    world.heal(parted)
    world.resume(places[ORIGIN])
    assert world.run_until(lambda: ended(answers))
    return ended(answers)[-1]


@pytest.mark.parametrize(
    ("question", "nodes", "gossip"),
    [("k", 3, LAN), ("k", 9, CELLS), (prefixed(""), 3, LAN)],
    ids=["one key", "in cells", "many keys"],
)
def test_what_was_promised_before_a_query_began_is_in_its_answer_however_long_it_takes(
    question, nodes, gossip
):
    answer = asked_before_and_after(question, nodes, gossip)

    assert answer.complete
    assert answer.value == 0
    assert (answer.low, answer.high, answer.uncertain) == (0, 5, 1)


@pytest.mark.parametrize("question", ["k", prefixed("")], ids=["one key", "many keys"])
def test_a_holder_that_tells_it_for_three_seconds_only_is_found_by_this_world(
    question, monkeypatch
):
    monkeypatch.setattr(faded, "FADING_S", 3.0)
    monkeypatch.setattr(faded, "SLOT_S", 0.001)

    answer = asked_before_and_after(question)

    assert answer.complete
    assert (answer.value, answer.high, answer.uncertain) == (0, 0, 0)


def test_a_query_that_begins_after_it_was_counted_has_nothing_uncertain():
    world, places = make_world()
    doubted(world, places)
    assert world.run_until(lambda: len(world.machine(places[HOLDER]).failover.parking) == 0)
    world.run_until(world.now + 0.1)

    answers = asked(world, places[ORIGIN])
    assert world.run_until(lambda: ended(answers))

    [answer] = ended(answers)
    assert (answer.complete, answer.value, answer.high, answer.uncertain) == (True, 5, 5, 0)
