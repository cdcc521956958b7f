"""Members and views: what overrides what, and where everybody stands on the ring."""

import random
from dataclasses import replace
from hashlib import blake2b

import pytest

from tracker.members import (
    ALIVE,
    AWAY,
    DEAD,
    GONE,
    MERGES_MAX,
    NOBODY,
    STATUS_NAMES,
    SUSPECT,
    Member,
    View,
    position,
    retain,
)


def make_member(name="n1", **fields):
    member = Member(name, b"a" * 16, 0, 1, 0, "10.0.0.1", 7401)
    return replace(member, **fields)


def make_view(*members):
    return View().merged(members)


LADDER = [
    make_member(),
    make_member(status=SUSPECT),
    make_member(status=DEAD),
    make_member(status=AWAY),
    make_member(status=GONE),
    make_member(incarnation=1),
    make_member(incarnation=1, status=GONE),
    make_member(epoch=2),
    make_member(epoch=2, incarnation=1),
    make_member(reign=1),
    make_member(reign=1, store=b"b" * 16),
]


@pytest.mark.parametrize("step", range(len(LADDER) - 1))
def test_each_step_of_the_ladder_overrides_all_below_it(step):
    higher = LADDER[step + 1]

    for lower in LADDER[: step + 1]:
        assert higher.overrides(lower)
        assert not lower.overrides(higher)


def test_a_member_does_not_override_itself_nor_its_equal():
    member = make_member()

    assert not member.overrides(member)
    assert not member.overrides(make_member())


def test_a_change_of_status_keeps_everything_else():
    member = make_member(note="old")

    assert member.became(DEAD) == make_member(note="old", status=DEAD)
    assert member.became(GONE, "given up").note == "given up"
    assert make_member().endpoint == ("10.0.0.1", 7401)


def test_positions_are_the_first_64_bits_of_blake2b():
    assert position("n1") == int(blake2b(b"n1", digest_size=8).hexdigest(), 16)
    assert position("n1") != position("n2")


def test_only_the_gone_are_not_expected():
    statuses = range(len(STATUS_NAMES))
    view = make_view(*[make_member(f"n{s}", status=s) for s in statuses])

    assert view.expected == 4
    assert len(view) == 5
    assert {m.status for m in view.ring} == {ALIVE, SUSPECT, DEAD, AWAY}


def test_the_ring_is_sorted_and_members_are_found_by_position():
    view = make_view(*[make_member(f"n{i}") for i in range(20)], make_member("x", status=GONE))

    assert view.positions == sorted(view.positions)
    assert view.at(position("n7")).name == "n7"
    assert view.at(position("n7") + 1) is None
    assert view.at(position("x")) is None
    assert view.at(2**64 - 1) is None


def test_a_span_holds_exactly_the_positions_of_an_arc():
    view = make_view(*[make_member(f"n{i}") for i in range(20)])
    low, high = view.positions[3], view.positions[9]

    assert view.span(low, high) == (3, 9)
    assert view.span(0, 2**64) == (0, 20)


def test_old_news_leaves_the_very_same_view():
    view = make_view(make_member(epoch=2))

    assert view.merged([make_member(epoch=1, status=DEAD)]) is view
    assert view.merged([]) is view


def test_of_two_records_for_one_name_in_one_page_the_later_counts():
    newer, older = make_member(epoch=2), make_member(epoch=1)

    assert make_view(newer, older).get("n1") is newer
    assert make_view(older, newer).get("n1") is newer


def test_those_who_hear_the_same_frame_share_one_view():
    view, news = make_view(make_member()), (make_member("n2"),)

    first, second = view.merged(news), view.merged(news)

    assert first is second


def test_those_who_know_the_same_out_of_other_frames_share_one_view_after_the_next():
    early = make_view(make_member("a")).merged([make_member("b")])
    late = make_view(make_member("b"), make_member("a"))
    fewer = make_view(make_member("a"))
    news = [make_member("c")]

    assert early is not late
    assert early.merged(news) is late.merged(news)
    assert fewer.merged(news) is not early.merged(news)
    assert fewer.merged(news).get("b") is None


def test_views_nobody_holds_are_shared_while_they_are_retained():
    pages = [[make_member(f"m{page}")] for page in range(3)]

    def heard():
        view = NOBODY
        for page in pages:
            view = view.merged(page)
        return view

    retain(8)
    try:
        first = heard()
        assert heard() is first
    finally:
        retain(0)


def test_the_memory_of_merges_is_limited_and_holds_no_view_alive():
    view = make_view(make_member())
    pages = [(make_member(f"m{i}"),) for i in range(20)]

    for page in pages:
        assert page[0].name in view.merged(page).members
        assert len(view._merges) <= MERGES_MAX
    assert view.merged(pages[-1]).get("m19") is not None


def test_tombstones_past_the_limit_are_dropped_the_oldest_first(monkeypatch):
    monkeypatch.setattr("tracker.members.TOMBSTONES_MAX", 2)
    gone = [make_member(f"g{i}", status=GONE) for i in range(4)]

    view = make_view(make_member(), *gone)

    assert sorted(view.members) == ["g2", "g3", "n1"]


def test_who_lived_long_before_it_left_is_not_the_first_to_be_forgotten(monkeypatch):
    """Its tombstone stood where it had joined, and was dropped as soon as it was there."""
    monkeypatch.setattr("tracker.members.TOMBSTONES_MAX", 2)
    old = make_member("old")
    view = make_view(old, *[make_member(f"g{i}", status=GONE) for i in range(2)])

    view = view.merged([old.became(GONE)])

    assert sorted(view.members) == ["g1", "old"]
    assert view.merged([old]).get("old").status == GONE


def test_the_oldest_tombstone_may_be_the_news(monkeypatch):
    monkeypatch.setattr("tracker.members.TOMBSTONES_MAX", 1)
    first, second = make_member("n1"), make_member("n2", status=GONE)
    view = make_view(first, second)
    assert view.ring == [first]

    assert view.merged([first.became(GONE)]).ring == []


def test_digests_tell_apart_what_differs_in_anything():
    digests = {
        make_view(member).digest
        for member in (*LADDER, make_member(port=1), make_member(durable=False), make_member("n2"))
    }

    assert len(digests) == len(LADDER) + 3
    assert View().digest == 0


@pytest.mark.parametrize("life", [{"reign": 1}, {"epoch": 2}, {"incarnation": 1}], ids=str)
def test_a_member_that_was_gone_makes_another_roll_when_it_is_back(life):
    before = View().merged((make_member("n1"), make_member("n2")))
    without = before.merged((make_member("n2", status=GONE),))

    after = without.merged((make_member("n2", **life),))

    assert [m.name for m in after.ring] == [m.name for m in before.ring]
    assert len({before.roll, without.roll, after.roll}) == 3


def test_two_starts_of_one_number_make_two_rolls():
    one, other = make_member("n2", boot=b"boot-one"), make_member("n2", boot=b"boot-two")
    views = [View().merged((make_member("n1"), member)) for member in (one, other)]

    assert views[0].roll != views[1].roll
    assert views[0].merged((other,)).roll in (views[0].roll, views[1].roll)


def test_what_is_thought_of_a_member_changes_no_roll():
    view = View().merged((make_member("n1"), make_member("n2")))

    assert view.merged((make_member("n2", status=SUSPECT),)).roll == view.roll


def test_a_ring_patched_by_news_is_the_ring_sorted_anew():
    dice = random.Random(7)
    view = make_view(*[make_member(f"n{i}") for i in range(40)])
    for step in range(200):
        assert len(view.ring) == view.expected
        name = f"n{dice.randrange(60)}"
        epoch = step + 2
        status = dice.choice([ALIVE, SUSPECT, DEAD, AWAY, GONE])
        view = view.merged([make_member(name, epoch=epoch, status=status)])

        assert view.ring == View(dict(view.members)).ring
        assert view.positions == [position(member.name) for member in view.ring]


@pytest.mark.parametrize("is_first", [True, False], ids=["heard of first", "heard of last"])
def test_of_two_names_of_one_store_the_one_that_is_expected_owns_it(is_first):
    gone, here = make_member("n1", status=GONE), make_member("n2")
    view = make_view(*((here, gone) if is_first else (gone, here)))

    assert view.owner_of(b"a" * 8) == here
