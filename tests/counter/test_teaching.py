"""Who tells a newcomer of the resets that were before it."""

from dataclasses import replace
from random import Random

import pytest

from counter.config import LAN, NodeConfig
from counter.epochs import Epochs
from counter.gossip import Gossip
from counter.messages import ACK_DEFAULT, Counted, Increment
from counter.messages import Epochs as Told
from counter.teaching import TEACHERS_MAX, lessons
from tracker.machine import Opened, Send
from tracker.members import AWAY, Member, View
from tracker.messages import Announced, Beat, Heartbeat, Registered, news_to_wire

TRACKER, LINK, CLIENT = ("127.0.0.1", 7400), 1, 50
EPOCH = b"t" * 8
KEYS = ("views", "errors")


def make_member(index, **changes):
    store = index.to_bytes(8, "big") * 2
    member = Member(f"n{index}", store, 0, 1, 0, "127.0.0.1", 1000 + index, durable=False)
    return replace(member, **changes)


def known(*keys):
    epochs = Epochs({})
    for key in keys:
        epochs.learn(key, 2)
        epochs.settle(key, 2, ())
    return epochs


def view_of(*members):
    return View().merged(members)


OWN, OTHER, NEW = make_member(0), make_member(1), make_member(2)
BEFORE = view_of(OWN, OTHER)


def taught(effects):
    return {e.to: {row[:2] for row in e.message.rows} for e in effects}


def test_whoever_was_there_before_tells_a_newcomer_of_every_reset():
    said = lessons(known(*KEYS), BEFORE, view_of(OWN, OTHER, NEW), OWN)

    assert taught(said) == {NEW.endpoint: {(key, 2) for key in KEYS}}
    assert all(effect.message.is_page for effect in said)


@pytest.mark.parametrize(
    "again", [replace(OTHER, epoch=2), replace(OTHER, boot=b"another!")], ids=["later", "copy"]
)
def test_so_is_one_that_has_started_again(again):
    said = lessons(known(*KEYS), BEFORE, view_of(OWN, again), OWN)

    assert taught(said) == {OTHER.endpoint: {(key, 2) for key in KEYS}}


@pytest.mark.parametrize(
    ("before", "view"),
    [
        (BEFORE, view_of(OWN, replace(OTHER, incarnation=3))),
        (BEFORE, view_of(OWN, OTHER, replace(NEW, status=AWAY))),
        (view_of(OTHER), view_of(OWN, OTHER, NEW)),
    ],
    ids=["no start", "nobody lives there", "was not there itself"],
)
def test_nobody_else_is_told_anything(before, view):
    assert lessons(known(*KEYS), before, view, OWN) == []


def test_in_a_large_ring_the_next_few_that_live_tell_a_newcomer_and_nobody_farther_off():
    ring = [make_member(index) for index in range(3, 203)]
    before = view_of(*ring)

    said = [lessons(known(*KEYS), before, view_of(*ring, NEW), member) for member in ring]

    assert sum(map(bool, said)) == TEACHERS_MAX


@pytest.mark.parametrize(("members", "each"), [(1, 8), (2, 4), (3, 3), (7, 2), (8, 1), (20, 1)])
def test_the_fewer_there_are_the_more_often_each_of_them_tells_it(members, each):
    ring = [make_member(index) for index in range(3, 3 + members)]
    before, view = view_of(*ring), view_of(*ring, NEW)

    said = [len(lessons(known("views"), before, view, member)) for member in ring]

    assert sorted(said)[-TEACHERS_MAX:] == [each] * min(members, TEACHERS_MAX)
    assert TEACHERS_MAX <= sum(said) <= TEACHERS_MAX + members


def test_where_nothing_was_reset_nothing_is_told():
    assert lessons(known(), BEFORE, view_of(OWN, OTHER, NEW), OWN) == []


def test_of_many_members_those_next_to_a_newcomer_tell_it():
    many = [make_member(index) for index in range(40)]
    newcomer = make_member(99)
    before, view = view_of(*many), view_of(*many, newcomer)

    teachers = [own for own in many if lessons(known("views"), before, view, own)]

    assert len(teachers) == TEACHERS_MAX


def node(own, members):
    """Return a node that a tracker has taken in, and what it said to news of these members."""
    gossip = Gossip(NodeConfig(name=own.name), LAN, own, (TRACKER,), Random(1))
    gossip.resume(0)
    gossip.start(0.0)
    gossip.submit(Opened(LINK, TRACKER), 0.0)
    gossip.receive(LINK, Registered(EPOCH, 0, 0, 0), 0.0)
    gossip.receive(LINK, Heartbeat(EPOCH, 1, 0, news_to_wire(members)), 0.0)
    return gossip


def test_a_newcomer_is_told_before_the_news_of_it_is_acknowledged_and_counts_where_all_do():
    teacher, newcomer = node(OWN, [OWN, OTHER]), node(NEW, [OWN, OTHER, NEW])
    teacher.renewal.moves.learn([("views", 2, b"")], 0.1)
    early = Increment(b"c" * 16, 1, ("views", 5), ACK_DEFAULT)
    assert newcomer.receive(CLIENT, early, 0.1) == []

    said = teacher.receive(LINK, Heartbeat(EPOCH, 2, 1, news_to_wire([NEW])), 0.2)
    kinds = [type(e.message) for e in said if isinstance(e, Send)]
    for effect in said:
        if isinstance(effect.message, Told):
            newcomer.receive(OWN.endpoint, effect.message, 0.3)
    acknowledged = newcomer.receive(LINK, Announced(1), 0.4)

    assert kinds.index(Told) < kinds.index(Beat)
    assert [e.message for e in acknowledged if e.to == CLIENT] == [Counted(1, False, False)]
    assert newcomer.ledger.counters.own.positive == {newcomer.renewal.asked("views"): 5}
    assert newcomer.renewal.asked("views") != "views"
