"""Stores that may have been handed over under a name that was another's since."""

import pytest

from tracker import strangers as module
from tracker.admission import Admitted
from tracker.members import DEAD, GONE, Member
from tracker.strangers import Strangers
from tracker.table import Table

OLD, NEW = b"o" * 16, b"n" * 16


def make_member(name="n1", store=OLD, epoch=2, **changes):
    return Member(name, store, 0, epoch, 0, "10.0.0.1", 7401, **changes)


BEFORE = make_member(store=NEW, status=GONE, heir="n2")


@pytest.mark.parametrize(
    ("member", "event", "before", "is_strange"),
    [
        (make_member(), "joined", BEFORE, True),
        (make_member(epoch=1), "joined", BEFORE, False),
        (make_member(), "joined", None, False),
        (make_member(), "restarted", make_member(epoch=1), False),
    ],
    ids=["its name was another's", "a new store", "a new name", "a restart"],
)
def test_who_has_lived_before_and_lost_his_name_is_strange(member, event, before, is_strange):
    assert Strangers(Table(b"t" * 8)).judge(Admitted(member, event), before) is is_strange


def test_a_stranger_stays_one_over_its_starts_until_it_is_announced():
    known = Strangers(Table(b"t" * 8))
    known.judge(Admitted(make_member(), "joined"), BEFORE)

    again = Admitted(make_member(epoch=3), "restarted")
    assert known.judge(again, make_member())
    known.announced(OLD)
    assert not known.judge(again, make_member())


@pytest.mark.parametrize(
    ("status", "links", "may"),
    [(0, 2, True), (0, 1, False), (DEAD, 2, False), (GONE, 1, True)],
    ids=["all are here", "one is registered elsewhere", "one is dead", "one is gone"],
)
def test_a_stranger_is_announced_once_nobody_is_missing(status, links, may):
    table = Table(b"t" * 8)
    table.put(make_member(), 0.0)
    table.put(make_member("n2", NEW, status=status), 0.0)
    known = Strangers(table)
    known.judge(Admitted(make_member(), "joined"), BEFORE)

    assert known.may_announce(OLD, links) is may
    assert known.may_announce(NEW, 0)


def test_past_the_limit_the_oldest_is_forgotten(monkeypatch):
    monkeypatch.setattr(module, "STRANGERS_MAX", 1)
    known = Strangers(Table(b"t" * 8))
    known.judge(Admitted(make_member(), "joined"), BEFORE)

    assert known.judge(Admitted(make_member("n3", NEW), "joined"), BEFORE)
    assert not known.judge(Admitted(make_member(epoch=3), "restarted"), make_member())
