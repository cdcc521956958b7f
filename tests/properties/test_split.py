"""Splitting an arc: whatever the view, each position has exactly one owner.

The rule that is tried here: heads, the arcs below them and the leaves share the members of an
arc among themselves, all of them, each once.
"""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter.messages import RING
from counter.selection import split
from tracker.members import ALIVE, DEAD, SUSPECT, Member, View, position

pytestmark = pytest.mark.slow

statuses = st.lists(st.sampled_from([ALIVE, ALIVE, ALIVE, SUSPECT, DEAD]), max_size=60)
arcs = st.tuples(st.integers(0, RING), st.integers(0, RING)).map(sorted)


@st.composite
def situations(draw):
    """Draw a view, an arc, what is to be skipped, and who is late."""
    marks = draw(statuses)
    members = [
        Member(f"n{i}", i.to_bytes(16, "big"), 0, 1, 0, "127.0.0.1", 1000 + i, status)
        for i, status in enumerate(marks)
    ]
    view = View().merged(members)
    low, high = draw(st.just((0, RING)) | arcs)
    some = st.lists(st.sampled_from(view.positions), max_size=5, unique=True)
    skip, late = (draw(some), draw(some)) if view.positions else ([], [])
    return view, low, high, tuple(skip), tuple(late)


knobs = st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 12))


def wanted(view, low, high, skip):
    return [p for p in view.positions if low <= p < high and p not in skip]


@given(situations(), knobs, st.integers(0, 99))
def test_each_member_of_the_arc_has_exactly_one_owner(situation, knob, seed):
    view, low, high, skip, late = situation

    parts, cut_off = split(view, low, high, skip, late, *knob, Random(seed))

    owned = []
    for part in parts:
        owned.append(position(part.head.name))
        if not part.is_leaf:
            taken = {*part.skip, position(part.head.name)}
            owned += [p for p in view.positions if part.low <= p < part.high and p not in taken]
    assert cut_off == 0
    assert sorted(owned) == wanted(view, low, high, skip)


@given(situations(), knobs, st.integers(0, 99))
def test_arcs_are_disjoint_and_lie_inside_the_arc_that_was_split(situation, knob, seed):
    view, low, high, skip, late = situation

    parts, _ = split(view, low, high, skip, late, *knob, Random(seed))

    arcs = [(p.low, p.high) for p in parts if not p.is_leaf]
    assert all(low <= first < end <= high for first, end in arcs)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(arcs))


@given(situations(), knobs, st.integers(0, 99))
def test_heads_are_believed_to_live_and_leaves_are_not_relied_upon(situation, knob, seed):
    view, low, high, skip, late = situation

    parts, _ = split(view, low, high, skip, late, *knob, Random(seed))

    for part in parts:
        is_sound = part.head.status == ALIVE and position(part.head.name) not in late
        assert is_sound != part.is_leaf
        assert set(part.late) <= {p for p in view.positions if part.low <= p < part.high}


@given(situations(), knobs, st.integers(0, 99))
def test_where_all_live_no_gap_is_left_between_the_arcs(situation, knob, seed):
    view, low, high, skip, _ = situation
    view = View().merged([m.became(ALIVE) for m in view])

    parts, _ = split(view, low, high, skip, (), *knob, Random(seed))

    if parts:
        ends = [low, *[p.high for p in parts]]
        assert [p.low for p in parts] == ends[:-1]
        assert ends[-1] == high


@given(situations())
def test_without_a_hop_left_all_are_reported_as_cut_off(situation):
    view, low, high, skip, late = situation

    parts, cut_off = split(view, low, high, skip, late, 3, 1, 0, Random(1))

    assert parts == []
    assert cut_off == len(wanted(view, low, high, skip))
