"""Stores with disks that were handed over: who is refused, when, and that nobody forgets it."""

import pytest

from counter import retired as module
from counter.messages import RETIRED_PER_PAGE
from counter.retired import Retired, told
from tracker import wire
from tracker.errors import FrameError
from tracker.machine import Emit
from tracker.members import GONE, SUSPECT, Member, View

LEFT, OTHER, MEMORY = b"l" * 16, b"o" * 16, b"m" * 16


def make_member(store, **changes):
    return Member(f"n{store[0]}", store, 0, 3, 0, "10.0.0.1", 7000 + store[0], **changes)


def make_view(*members):
    return View().merged([make_member(b"x" * 16), *members])


def test_who_comes_back_with_what_it_handed_over_is_refused():
    holder = Retired("n1")
    holder.note([LEFT])

    [claimed] = holder.claims(make_view(make_member(LEFT), make_member(OTHER)), ())

    assert (claimed.store, claimed.heir, claimed.is_handed_over) == (LEFT, "n1", True)
    assert told([claimed]) == [Emit("handed-over-already", {"name": "n108", "heir": "n1"})]


def test_who_has_nothing_of_others_refuses_nobody():
    assert Retired("n1").claims(make_view(make_member(LEFT)), ()) == []


def test_a_leaver_may_finish_and_is_refused_from_then_on():
    holder = Retired("n1")
    holder.note([LEFT], finishing=True)

    assert holder.claims(make_view(make_member(LEFT)), ()) == []
    assert holder.claims(make_view(make_member(LEFT, status=GONE, heir="n1")), ()) == []
    assert len(holder.claims(make_view(make_member(LEFT)), ())) == 1


def test_a_leaver_that_dies_while_it_finishes_is_said_to_have_handed_over():
    holder = Retired("n1")
    holder.note([LEFT], finishing=True)

    [claimed] = holder.claims(make_view(make_member(LEFT, status=SUSPECT)), ())

    assert claimed.is_handed_over


@pytest.mark.parametrize(("status", "claims"), [(0, 0), (SUSPECT, 1)], ids=["alive", "suspect"])
def test_a_store_in_memory_is_refused_only_once_it_is_missed(status, claims):
    member = make_member(MEMORY, durable=False, status=status)

    assert len(Retired("n1").claims(make_view(member), {MEMORY})) == claims


def test_a_name_with_another_store_is_nobody_who_left():
    holder = Retired("n1")
    holder.note([LEFT], finishing=True)
    holder.claims(make_view(Member("n108", OTHER, 1, 1, 0, "10.0.0.1", 7108)), ())

    assert len(holder.claims(make_view(make_member(LEFT)), ())) == 1


def test_what_is_known_goes_to_the_heir_and_into_the_next_life():
    stores = [number.to_bytes(16, "big") for number in range(RETIRED_PER_PAGE + 1)]
    holder, heir, again = Retired("n1"), Retired("n2"), Retired("n1")
    holder.note(stores)

    for page in holder.pages():
        heir.take(page)
    for what, *fields in holder.records():
        assert what == "retired"
        again.restore(fields)

    assert len(holder.pages()) == 2
    assert (len(heir), len(again)) == (len(stores), len(stores))
    assert len(heir.claims(make_view(make_member(stores[-1])), ())) == 1


@pytest.mark.parametrize("page", [7, ["retired"], ["retired", [b"short"]], ["retired", 5]])
def test_a_page_that_is_none_is_refused(page):
    with pytest.raises(FrameError):
        Retired("n1").take(wire.packed(page))


def test_past_the_limit_the_oldest_is_forgotten(monkeypatch):
    monkeypatch.setattr(module, "RETIRED_MAX", 2)
    holder = Retired("n1")

    holder.note([LEFT, OTHER, MEMORY], finishing=True)

    assert len(holder) == 2
    assert holder.claims(make_view(make_member(LEFT, status=SUSPECT)), ()) == []
