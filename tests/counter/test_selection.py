"""Whom a query is passed to: the rows worked out by hand."""

from collections import Counter
from random import Random

import pytest

from counter.messages import LATE_MAX, RING, SKIP_MAX
from counter.selection import LEAVES_MAX, split
from tracker.members import ALIVE, DEAD, SUSPECT, Member, View, position


def make_view(count, status=ALIVE):
    return View().merged(
        [
            Member(f"n{i}", i.to_bytes(16, "big"), 0, 1, 0, "127.0.0.1", 1000 + i, status)
            for i in range(count)
        ]
    )


def split_ring(view, *, skip=(), late=(), chatter=3, visits=1, hops=9, seed=1):
    return split(view, 0, RING, skip, late, chatter, visits, hops, Random(seed))


def test_chatter_peers_are_asked_and_their_arcs_cover_the_ring_without_a_gap():
    parts, cut_off = split_ring(make_view(30))

    assert cut_off == 0
    assert len(parts) == 3
    assert parts[0].low == 0
    assert parts[-1].high == RING
    assert [p.high for p in parts[:-1]] == [p.low for p in parts[1:]]


def test_a_head_lies_in_its_own_arc_and_is_skipped_there():
    parts, _ = split_ring(make_view(30))

    for part in parts:
        pos = position(part.head.name)
        assert part.low <= pos < part.high
        assert part.skip == (pos,)


def test_what_is_skipped_travels_only_with_the_arc_it_lies_in():
    view = make_view(30)
    skipped = (view.positions[4], view.positions[25])

    parts, _ = split_ring(view, skip=skipped)

    inside = [[s for s in part.skip if s in skipped] for part in parts]
    assert inside == [[skipped[0]], [], [skipped[1]]]
    assert not {position(p.head.name) for p in parts} & set(skipped)


def test_every_member_of_an_arc_is_drawn_as_its_head_now_and_then():
    view = make_view(9)
    heads = Counter(
        part.head.name for seed in range(300) for part in split_ring(view, seed=seed)[0]
    )

    assert set(heads) == {m.name for m in view}
    assert min(heads.values()) > 60


def test_without_a_hop_left_nobody_is_asked_and_everybody_is_cut_off():
    view = make_view(30)

    assert split_ring(view, hops=0, skip=(view.positions[0],)) == ([], 29)


def test_an_arc_with_nobody_in_it_is_no_work():
    view = make_view(3)

    assert split_ring(view, skip=tuple(view.positions), hops=0) == ([], 0)
    assert split_ring(View()) == ([], 0)


def test_the_suspect_and_the_late_are_no_heads_and_travel_as_late():
    view = make_view(12)
    sick = view.ring[0].became(SUSPECT)
    view = view.merged([sick])
    late = view.positions[1]

    for seed in range(40):
        parts, _ = split_ring(view, late=(late,), seed=seed)

        assert not {position(p.head.name) for p in parts} & {late, view.positions[0]}
        assert parts[0].late == (view.positions[0], late)
        assert parts[1].late == ()


def test_where_nobody_lives_each_is_asked_as_a_leaf():
    view = make_view(6, status=DEAD)

    parts, cut_off = split_ring(view)

    assert cut_off == 0
    assert {p.head.name for p in parts} == {m.name for m in view}
    assert all(p.is_leaf and (p.low, p.high) == (1, 1) for p in parts)


@pytest.mark.parametrize("visits", [1, 32], ids=["one round", "more heads than leaves"])
def test_leaves_are_bounded(visits):
    parts, _ = split_ring(make_view(2_500, status=DEAD), chatter=64, visits=visits)

    assert len(parts) == LEAVES_MAX


def test_what_travels_with_an_arc_is_bounded():
    view = make_view(60)
    suspects = [m.became(SUSPECT) for m in view.ring[20:50]]
    view = view.merged(suspects)

    (part,), _ = split(view, 0, RING, tuple(view.positions[:20]), (), 1, 1, 99, Random(1))

    assert len(part.skip) == SKIP_MAX
    assert part.skip[-1] == position(part.head.name)
    assert len(part.late) == LATE_MAX


def test_rounds_are_spread_over_the_ring():
    firsts = {split_ring(make_view(100), visits=5, seed=seed)[0][0].turn for seed in range(40)}

    assert len(firsts) > 1
