"""One life of a node: its record, its line of stores, and how it learns that it is a backup."""

import random

import pytest

from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.lives import introduce, member_of, rebirth_in, wants_rebirth
from counter.messages import ACK_DEFAULT, Increment
from counter.storage.base import Identity
from tracker.machine import Persisted

OLD, NEW, FIRST = b"o" * 16, b"n" * 16, b"f" * 16


TRACKER = ("127.0.0.1", 7400)


def make_machine(store=OLD, epoch=2, tracker=None, **fields):
    identity = Identity(store, epoch, durable=True, boot=b"thisboot", **fields)
    member = member_of(identity, "n1", ("10.0.0.1", 7401))
    trackers = () if tracker is None else (tracker,)
    machine = Gossip(NodeConfig(name="n1"), LAN, member, trackers, random.Random(1))
    introduce(machine, identity)
    return machine


def count(machine, *amounts, key="k", first=1):
    """Count amounts under one session; returns the log."""
    records = []
    for sequence, amount in enumerate(amounts, first):
        message = Increment(b"a" * 16, sequence, (key, amount), ACK_DEFAULT)
        persist, *_ = machine.ledger.increment(5, message)
        machine.ledger.persisted(Persisted(persist.token))
        records.append(persist.record)
    return records


def started(machine, state=(), log=()):
    for record in state:
        machine.restore("state", record)
    for record in log:
        machine.restore("counts", record)
    machine.resume(len(state) + len(log))
    return machine


def value(machine, key="k"):
    return machine.ledger.counters.value(key)


def test_a_life_presents_itself_with_its_store_its_boot_and_its_line():
    machine = make_machine(NEW, 3, lineage=b"bootbefo", parent=OLD)
    member = machine.membership.member

    assert (member.store, member.epoch, member.boot) == (NEW, 3, b"thisboot")
    assert (machine.membership.lineage, machine.membership.parent) == (b"bootbefo", OLD)


@pytest.mark.parametrize("shares", ["in the log", "in a snapshot", "in both"])
def test_a_reborn_store_begins_with_what_its_parent_had_counted_as_its_own(shares):
    parent = started(make_machine())
    state, log = [], count(parent, 5, 6)
    if shares != "in the log":
        state, log = parent.dump(), []
    if shares == "in both":
        log = count(parent, 7, first=3)

    reborn = started(make_machine(NEW, 1, parent=OLD, founder=OLD), state, log)

    assert value(reborn) == value(parent)
    assert reborn.ledger.counters.own.value("k") == value(parent)
    assert reborn.ledger.counters.others == {}
    assert reborn.ledger.counters.own.epoch == 1


def test_a_reborn_store_knows_the_operations_that_the_backup_knew_and_no_others():
    parent = started(make_machine())
    log = count(parent, 5)

    reborn = started(make_machine(NEW, 1, parent=OLD, founder=OLD), (), log)

    message = Increment(b"a" * 16, 1, ("k", 5), ACK_DEFAULT)
    (reply,) = reborn.ledger.increment(5, message)
    assert reply.message.repeated
    count(reborn, 6, first=2)
    assert value(reborn) == 11


def test_a_store_reborn_of_a_reborn_one_still_owns_what_the_first_had_counted():
    state = make_machine(FIRST)
    count(started(state), 5)
    second = started(make_machine(OLD, 1, parent=FIRST, founder=FIRST), state.dump())
    log = count(second, 6, first=2)
    third = started(make_machine(NEW, 1, parent=OLD, founder=FIRST), state.dump(), log)
    again = started(make_machine(NEW, 2, parent=OLD, founder=FIRST), third.dump())

    for life in (third, again):
        assert (value(life), life.ledger.counters.others) == (11, {})


def test_shares_that_were_handed_over_stay_those_of_others_in_every_life():
    parent = started(make_machine())
    parent.ledger.counters.merge(FIRST, 4, [("k", 100, 0)])
    count(parent, 5)

    reborn = started(make_machine(NEW, 1, parent=OLD, founder=OLD), parent.dump())
    again = started(make_machine(NEW, 2, parent=OLD, founder=OLD), reborn.dump())

    for life in (reborn, again):
        assert value(life) == 105
        assert list(life.ledger.counters.others) == [FIRST]


def test_a_snapshot_that_does_not_say_who_wrote_it_is_the_founders():
    parent = started(make_machine())
    count(parent, 5)
    older = [record for record in parent.dump() if b"owner" not in record[:8]]

    assert len(older) < len(parent.dump())
    reborn = started(make_machine(NEW, 1, parent=OLD, founder=OLD), older)
    assert (value(reborn), reborn.ledger.counters.others) == (5, {})


@pytest.mark.parametrize(
    ("event", "code", "final", "is_old"),
    [
        ("registration-refused", "old-backup", True, True),
        ("registration-refused", "old-backup", False, False),
        ("registration-refused", "clone", True, False),
        ("refused", "old-backup", True, False),
    ],
)
def test_only_a_final_refusal_as_an_old_backup_lets_a_node_begin_anew(event, code, final, is_old):
    details = {"code": code, "final": final}

    assert wants_rebirth(event, details) is is_old


def test_a_copy_counts_nothing_while_somebody_may_know_its_store_and_ends_once_told():
    machine = started(make_machine(tracker=TRACKER))
    machine.start(0.0)
    message = Increment(b"a" * 16, 1, ("k", 5), ACK_DEFAULT)

    assert machine.embargo.increment(5, message, 0.0) == []

    assert (value(machine), machine.records) == (0, 0)
    assert rebirth_in("registration-refused", COPY, machine) is None


COPY = {"code": "in-use", "final": True, "common": 1}


@pytest.mark.parametrize(
    ("event", "details", "goes_on"),
    [
        ("registration-refused", COPY, True),
        ("write-failed", {"reason": "the disk is full"}, False),
        ("registration-refused", {**COPY, "final": False}, False),
        ("registration-refused", {"code": "in-use", "final": True}, False),
        ("registration-refused", {**COPY, "code": "name-kept"}, False),
    ],
    ids=["a copy", "something else", "no last word", "nobody knows since when", "no copy"],
)
def test_only_the_last_word_of_a_tracker_on_a_copy_makes_a_new_store_of_it(event, details, goes_on):
    machine = started(make_machine())
    machine.start(0.0)
    count(machine, 5)

    assert (rebirth_in(event, details, machine) is not None) is goes_on
