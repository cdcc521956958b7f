"""A store that has counted nothing yet and finds nobody: how long it is alone, what it keeps."""

from dataclasses import replace
from random import Random

import pytest

from counter.alone import FOUND_S, Alone
from counter.config import LAN, NodeConfig
from counter.crdt import Counters
from counter.gossip import Gossip
from counter.ledger import Ledger
from counter.messages import (
    ACK_DEFAULT,
    Counted,
    Drain,
    Epochs,
    Increment,
    Offer,
    packed_marks,
)
from tracker.fixed import FixedMembership
from tracker.machine import (
    Opened,
    Persist,
    Persisted,
    PersistFailed,
    Send,
    Unreachable,
)
from tracker.members import DEAD, Member
from tracker.messages import (
    Announced,
    Heartbeat,
    Introduced,
    Refused,
    Registered,
    news_to_wire,
)
from tracker.pages import members_to_record

TRACKER, CLIENT = ("127.0.0.1", 7400), 50
OWN = Member("n0", b"s" * 16, 0, 1, 0, "127.0.0.1", 7401)
OTHER = Member("n1", b"t" * 16, 0, 1, 0, "127.0.0.1", 7402)
LATER = Epochs(bytes(16), (("k", 3, packed_marks(((3, b"m" * 8),))),), False, "", "")


class Node:
    """The machine of a node, its disk, and what it says to a client."""

    def __init__(self, member=OWN, records=(), fixed=None):
        self.gossip = Gossip(NodeConfig(name="n0"), LAN, member, (TRACKER,), Random(1), fixed)
        for kind, record in records:
            self.gossip.restore(kind, record)
        self.gossip.resume(len(records))
        self.queue, self.log, self.links, self.now = [], [*records], 0, 0.0
        self.sequence = 10 * (member.epoch - 1)
        self.said = []
        self.took(self.gossip.start(0.0))

    def took(self, effects):
        self.queue += [e for e in effects if isinstance(e, Persist) and e.kind == "counts"]
        said = [e.message for e in effects if isinstance(e, Send) and e.to == CLIENT]
        self.said += said
        return said

    @property
    def is_alone(self):
        return self.gossip.ledger.is_alone

    @property
    def queued(self):
        return [record.record[1:7] for record in self.queue]

    def submit(self, event):
        return self.took(self.gossip.submit(event, self.now))

    def receive(self, sender, message):
        return self.took(self.gossip.receive(sender, message, self.now))

    def misses_its_tracker(self):
        return self.submit(Unreachable(TRACKER, "refused"))

    def count(self, amount=5):
        self.sequence += 1
        pairs = ("k", amount)
        return self.receive(CLIENT, Increment(b"a" * 16, self.sequence, pairs, ACK_DEFAULT))

    def written(self):
        batch, self.queue = self.queue, []
        self.log += [(record.kind, record.record) for record in batch]
        return self.submit(Persisted(batch[-1].token))

    def refused(self):
        batch, self.queue = self.queue, []
        return [m for r in batch for m in self.submit(PersistFailed(r.token, "full", True))]

    def at(self, now):
        self.now = now
        return self.took(self.gossip.tick(now))

    def announced(self, *members):
        """Let a tracker take it in, with this list, and announce it."""
        self.at(max(self.now, self.gossip.membership.deadline() or 0.0))
        self.links += 1
        self.submit(Opened(self.links, TRACKER))
        self.receive(self.links, Registered(b"tracker1", 0, 0, 0))
        self.listed(1, *members)
        return self.receive(self.links, Announced(1))

    def listed(self, version, *members):
        news = news_to_wire([self.gossip.membership.member, *members])
        self.receive(self.links, Heartbeat(b"tracker1", version, version - 1, news))


def alone(**fields):
    """Return a node that is alone, and has counted 5."""
    node = Node(replace(OWN, **fields))
    node.misses_its_tracker()
    if node.queue:
        node.written()
    node.count()
    if node.queue:
        node.written()
    assert node.is_alone
    return node


def found(node, *, after=FOUND_S):
    """Let a node be announced among others, and some time pass."""
    node.announced(OTHER)
    node.at(node.now + after)
    return node


# -- how it begins ----------------------------------------------------------------------------


def test_nothing_is_acknowledged_before_it_is_on_disk_that_the_store_is_alone():
    node = Node()
    node.count()
    node.misses_its_tracker()
    node.count()

    assert (node.said, node.queued) == ([], [b"\xa5alone"])
    assert not node.is_alone
    node.written()
    assert (node.is_alone, node.said, len(node.queue)) == (True, [], 2)

    assert node.written() == [Counted(1, True, False), Counted(2, True, False)]


def test_where_the_disk_refuses_that_nothing_is_counted_and_the_next_one_tries_again():
    node = Node()
    node.count()
    node.misses_its_tracker()

    assert node.refused() == [Refused(1, "disk", "full")]
    node.count()
    assert node.refused() == [Refused(2, "disk", "full")]
    assert not node.is_alone
    node.count()
    node.written()

    assert node.written() == [Counted(3, True, False)]
    assert node.gossip.ledger.counters.own.positive == {"k": 5}


def test_who_waits_is_counted_once_the_disk_takes_anything_again():
    node = Node()
    node.misses_its_tracker()
    node.refused()
    node.gossip.ledger.token += 1
    node.submit(Persisted(node.gossip.ledger.token))

    assert node.queued == [b"\xa5alone"]


def test_without_a_disk_a_store_is_alone_at_once():
    node = Node(replace(OWN, durable=False))
    node.misses_its_tracker()

    assert node.is_alone
    assert node.count() == [Counted(1, False, False)]


def test_a_store_that_a_tracker_announces_first_is_not_alone():
    node = Node()
    node.announced()
    node.count()

    assert not node.is_alone
    assert b"\xa5alone" not in node.queued


def test_a_store_whose_introduction_is_confirmed_is_not_alone():
    node = Node(records=[("members", members_to_record([OWN, OTHER]))])
    node.misses_its_tracker()
    node.receive(OTHER.endpoint, Introduced(OWN.store))
    node.count()

    assert b"\xa5alone" not in node.queued
    assert len(node.queue) == 1


def test_a_store_that_has_counted_in_a_life_before_is_not_alone():
    before = Node()
    before.announced(OTHER)
    before.count()
    before.written()

    node = Node(replace(OWN, epoch=2), before.log)
    node.misses_its_tracker()
    node.count()

    assert b"\xa5alone" not in node.queued
    assert len(node.queue) == 1


def test_a_store_that_has_lived_and_counted_nothing_is_alone_where_it_finds_nobody():
    node = Node(replace(OWN, epoch=2))
    node.misses_its_tracker()
    node.written()

    assert node.is_alone


def test_a_node_to_which_all_names_were_given_is_not_alone():
    fixed = FixedMembership(OWN, {"n0": OWN.endpoint, "n1": OTHER.endpoint}, Random(1))
    node = Node(fixed=fixed)
    node.count()

    assert b"\xa5alone" not in node.queued
    assert len(node.queue) == 1


# -- how long it lasts ------------------------------------------------------------------------


@pytest.mark.parametrize("kept", ["log", "snapshot"])
def test_the_next_life_of_a_lone_store_is_alone_too(kept):
    node = alone()
    records = node.log if kept == "log" else node.gossip.memory()

    again = Node(replace(OWN, epoch=2), records)

    assert again.is_alone


def test_a_snapshot_says_what_the_record_on_its_way_will_have_said():
    node = Node()
    node.misses_its_tracker()
    assert Node(replace(OWN, epoch=2), node.gossip.memory()).is_alone

    node = found(alone())
    assert node.queued[-1:] == [b"\xa5alone"]
    assert node.is_alone
    assert not Node(replace(OWN, epoch=2), node.gossip.memory()).is_alone


def test_a_lone_store_is_alone_no_more_some_time_after_it_was_announced_to_others():
    node = found(alone(), after=FOUND_S - 0.01)
    assert node.queue == []
    assert node.gossip.embargo.deadline() == pytest.approx(node.now + 0.01)

    node.at(node.gossip.embargo.deadline())
    assert node.is_alone
    node.written()

    assert not node.is_alone
    assert node.gossip.embargo.deadline() is None
    assert not Node(replace(OWN, epoch=2), node.log).is_alone


def test_a_lone_store_is_alone_no_more_after_its_introduction_was_confirmed():
    node = alone(durable=False)
    node.announced(OTHER)
    node.gossip.membership.announcement._is_told = False
    node.at(node.now + 2 * FOUND_S)
    assert node.is_alone

    node.receive(OTHER.endpoint, Introduced(OWN.store))
    node.at(node.now + FOUND_S)

    assert not node.is_alone


@pytest.mark.parametrize(
    "members", [(), (replace(OTHER, status=DEAD),)], ids=["nobody", "a dead one"]
)
def test_a_store_that_is_announced_to_nobody_who_lives_stays_alone(members):
    node = alone(durable=False)
    node.announced(*members)
    node.at(node.now + 2 * FOUND_S)
    assert node.is_alone

    node.listed(2, replace(OTHER, incarnation=1))
    node.at(node.now + FOUND_S)

    assert not node.is_alone


def test_what_is_heard_while_it_is_found_is_carried_before_it_is_alone_no_more():
    node = alone()
    node.announced(OTHER)
    node.receive(OTHER.endpoint, LATER)
    carried = node.queue.pop()
    node.at(node.now + FOUND_S)
    assert (node.queue, node.gossip.embargo.deadline()) == ([], None)
    node.submit(Persisted(carried.token))
    assert node.gossip.ledger.counters.own.positive == {"k\x003": 5}

    node.written()

    assert not node.is_alone


def test_where_the_disk_refuses_the_end_of_it_a_store_stays_alone_until_the_disk_takes_more():
    node = found(alone())
    node.refused()
    node.at(node.now + FOUND_S)
    assert (node.is_alone, node.queue, node.gossip.embargo.deadline()) == (True, [], None)

    node.count()
    node.written()
    assert node.queued == [b"\xa5alone"]
    node.written()

    assert not node.is_alone


# -- what it keeps ----------------------------------------------------------------------------


def test_a_lone_store_takes_no_counts_over():
    node = alone(durable=False)
    node.announced(OTHER)

    [refused] = node.receive(CLIENT, Offer("n1", OTHER.store, ((OTHER.store, 1),), 1))

    assert refused.code == "not-announced"


def test_a_lone_store_hands_its_counts_over_once_it_is_alone_no_more():
    node = alone(durable=False)
    node.announced(replace(OTHER, durable=True))
    node.receive(CLIENT, Drain(1))
    node.at(node.now + 0.1)
    assert node.gossip.handover.leaving._peer is None
    node.receive(OTHER.endpoint, LATER)
    assert node.gossip.ledger.counters.own.positive == {"k\x003": 5}

    node.at(node.now + FOUND_S)
    node.at(node.now + FOUND_S)

    assert not node.is_alone
    assert node.gossip.handover.leaving._peer is not None


def test_what_moves_to_a_later_epoch_is_handed_over_when_it_is_there():
    node = alone(durable=False)
    node.announced(replace(OTHER, durable=True))
    node.gossip.ledger.is_alone = False
    node.gossip.ledger.moving["k"] = ((0, 3),)
    node.receive(CLIENT, Drain(1))
    node.at(node.now + 1.0)
    assert node.gossip.handover.leaving._peer is None

    node.gossip.ledger.moving.clear()
    node.at(node.now + 1.0)

    assert node.gossip.handover.leaving._peer is not None


@pytest.mark.parametrize("when", ["on its way", "on disk"])
def test_a_snapshot_has_carried_all_that_a_record_before_it_carries(when):
    node = Node(replace(OWN, epoch=2), alone().log)
    node.misses_its_tracker()
    node.count(100)
    node.receive(OTHER.endpoint, LATER)
    if when == "on disk":
        node.written()

    again = Node(replace(OWN, epoch=3), node.gossip.memory())

    assert again.gossip.ledger.counters.own.positive == {"k\x003": 105}
    # What a copy that began its life in the one before would have counted by then.
    assert again.gossip.forks._bases[2].share.positive == {"k\x003": 5}


@pytest.mark.parametrize(
    ("store", "is_apart", "is_alone"),
    [
        pytest.param(OWN.store, False, True, id="its own word"),
        pytest.param(b"o" * 16, True, True, id="of one that is held as a part"),
        pytest.param(b"o" * 16, False, False, id="of one whose counts are its own"),
    ],
)
def test_a_store_made_of_another_one_is_alone_with_what_only_itself_has_counted(
    store, is_apart, is_alone
):
    old = Ledger(NodeConfig(name="n0"), Counters(store, 1), durable=True)
    [persist] = Alone(old).begin()
    ledger = Ledger(NodeConfig(name="n0"), Counters(OWN.store, 1), durable=True)
    known = Alone(ledger)

    assert known.restore(persist.record)
    known.resume(is_apart=is_apart)

    assert ledger.is_alone is is_alone
