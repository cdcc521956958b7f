"""Where the counts of a store are asked for: at itself, at its heirs, or at whoever says so."""

from dataclasses import replace

import pytest

from counter import holders
from counter.holders import HEIRS_MAX, Holder
from tracker.members import DEAD, GONE, Member, View


def make(name, **changes):
    store = name[-1].encode() * 16
    return replace(Member(name, store, 0, 1, 0, "127.0.0.1", 7401), **changes)


def view_of(*members):
    return View({member.name: member for member in members})


def holder():
    return Holder("n1", b"1" * 16)


N1, N2, N3 = make("n1"), make("n2"), make("n3")


@pytest.mark.parametrize("member", [N1, replace(N1, status=DEAD)])
def test_a_store_that_belongs_to_the_cluster_holds_its_own_counts(member):
    asked = holder()

    assert asked.follow(view_of(member, N2)) == member
    assert not asked.is_sought


def test_of_one_that_was_given_up_nobody_holds_any():
    asked = holder()

    assert asked.follow(view_of(N1.became(GONE), N2)) is None
    assert asked.sought(view_of(N1.became(GONE), N2)) is None


def test_the_heir_of_an_heir_is_asked_and_remembered_when_their_names_are_others():
    asked = holder()
    assert asked.follow(view_of(N1.handed_over("n2"), N2, N3)) == N2
    assert asked.follow(view_of(N1.handed_over("n2"), N2.handed_over("n3"), N3)) == N3

    later = view_of(replace(N1, store=b"x" * 16, reign=1), N3)

    assert asked.follow(later) == N3
    assert not asked.is_sought


@pytest.mark.parametrize(
    "first",
    [replace(N1, store=b"x" * 16, reign=1), N1.handed_over("n9"), N1.handed_over("n4")],
    ids=["another store", "an heir nobody knows", "an heir whose name changed hands"],
)
def test_where_nobody_knows_the_heir_each_living_member_is_asked_once(first):
    asked, n4 = holder(), make("n4", reign=1)
    view = view_of(first, N2, replace(N3, status=DEAD), n4)
    assert asked.follow(view) is None
    found = []
    while (member := asked.sought(view)) is not None:
        asked.asks(member, view)
        found.append(member.name)
    assert sorted(set(found) - {"n1"}) == ["n2", "n4"]
    assert len(found) == len(set(found))

    # One that starts anew may know it now.
    again = view_of(first, N2, N3, n4)
    assert asked.follow(again) is None
    assert asked.sought(again) == N3
    asked.found(N3)
    assert asked.follow(again) == N3


def test_a_circle_of_heirs_ends():
    asked = holder()

    assert asked.follow(view_of(N1.handed_over("n2"), N2.handed_over("n1"))) is None
    assert HEIRS_MAX > 2


def test_of_very_many_members_some_are_not_asked_and_those_that_left_are_forgotten(monkeypatch):
    monkeypatch.setattr(holders, "SOUGHT_MAX", 2)
    asked, view = holder(), view_of(*[make(f"m{number}") for number in range(5)])
    asked.follow(view)
    while (member := asked.sought(view)) is not None:
        asked.asks(member, view)
    assert len(asked._asked) == 2

    other = view_of(*[make(f"o{number}") for number in range(5)])
    asked.follow(other)
    while (member := asked.sought(other)) is not None:
        asked.asks(member, other)
    assert len(asked._asked) == 2


def test_one_that_is_known_is_not_noted_as_asked():
    asked, view = holder(), view_of(N1, N2)
    asked.follow(view)
    asked.asks(N1, view)

    assert asked._asked == {}
