"""Who was asked for certain: what tells how often asks fail, beside what repair finds."""

import pytest

from counter.certain import CERTAIN_LEAST, Certain
from counter.selection import Part
from tracker.members import Member, View, position

NAMES = [f"n{i}" for i in range(30)]
VIEW = View().merged(
    [
        Member(name, i.to_bytes(16, "big"), 0, 1, 0, "127.0.0.1", 1000 + i)
        for i, name in enumerate(NAMES)
    ]
)
RING = VIEW.ring


def part(first, last, head, *, is_leaf=False):
    """Return the part of the ring from one place to before another, with a head at a third."""
    low, high = VIEW.positions[first], VIEW.positions[last]
    skip = () if is_leaf else (VIEW.positions[head],)
    low, high = (1, 1) if is_leaf else (low, high)
    return Part(RING[head], 1, low, high, skip, (), is_leaf)


def settled(*parts, silent=(), chatter=10):
    certain = Certain(parts)
    certain.settle([VIEW.positions[place] for place in silent], VIEW, chatter)
    return certain


def test_those_in_an_arc_whose_head_has_answered_were_asked_and_those_of_a_silent_head_were_not():
    certain = settled(part(0, 5, 2), part(5, 10, 6), silent=[3, 6, 7, 8])

    assert list(certain.silent) == [VIEW.positions[3], VIEW.positions[6]]
    assert certain.heard == 4


def test_in_a_larger_arc_only_the_head_was_asked_for_certain():
    certain = settled(part(0, 15, 2), silent=[3, 4], chatter=10)

    assert not certain.silent
    assert certain.heard == 1


def test_a_member_that_is_asked_alone_by_the_origin_was_asked_for_certain():
    certain = settled(part(0, 1, 0, is_leaf=True), part(0, 1, 1, is_leaf=True), silent=[1])

    assert (list(certain.silent), certain.heard) == ([VIEW.positions[1]], 1)


def test_only_who_was_asked_for_certain_counts_when_found_and_each_once():
    certain = settled(part(0, 5, 2), silent=[3, 4, 9])

    for _ in range(2):
        certain.found(VIEW.positions[3], 2)
    certain.found(VIEW.positions[9], 1)

    assert certain.firsts == [0, 0, 1]
    assert certain.failure() == pytest.approx(1 / 4)


def test_an_answer_that_was_only_late_is_no_failure():
    certain = settled(part(0, 5, 2), silent=[3])

    certain.found(VIEW.positions[3], 0)

    assert (certain.firsts, certain.heard, certain.failure()) == ([], 5, 0.0)


def test_few_are_not_taken_for_evidence():
    assert not settled(part(0, CERTAIN_LEAST - 1, 2)).tells
    assert settled(part(0, CERTAIN_LEAST, 2)).tells
    assert position(RING[2].name) == VIEW.positions[2]
