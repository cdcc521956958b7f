"""Arcs given to heads: acknowledged, asked again, split anew, handed back."""

from dataclasses import replace
from random import Random

import pytest

from counter.delegation import (
    AGAIN_PART,
    CHILDREN_MAX,
    GENERATIONS_MAX,
    HEADS_PART,
    Arc,
    Brief,
    Delegation,
    asked_directly_max,
)
from counter.messages import COLLECTS, LEAF, REFUSED, RING, Ack, Ask, Delegate
from tracker.members import SUSPECT, Member, View, position

HOME = ("10.0.0.1", 1)
PAUSE_S = 0.03
WHOLE = Arc(0, RING, ())


def make_view(count=200):
    return View(
        {
            f"n{i}": Member(f"n{i}", i.to_bytes(16, "little"), 0, 1, 0, "127.0.0.1", 1000 + i)
            for i in range(count)
        }
    )


VIEW = make_view()


def make_delegation(*, charges_max=100, direct_max=16, direct_left=100, **changes):
    brief = Brief(b"q" * 16, "k", HOME, 10, 1, 1, 9, VIEW.roll_bits, 5.0)
    return Delegation(replace(brief, **changes), charges_max, direct_max, direct_left, Random(1))


def spread(delegation, view=VIEW, arc=WHOLE, now=0.0):
    return delegation.spread(view, arc, now, PAUSE_S)


def ack_of(delegate, flags=COLLECTS):
    return Ack(delegate.query, delegate.share, 1, flags, delegate.low, delegate.high, ())


def delegates(sends):
    return [send.message for send in sends if isinstance(send.message, Delegate)]


def covers(arcs, low=0, high=RING):
    """Say whether arcs cover [low, high) without a gap and without an overlap."""
    ordered = sorted((arc.low, arc.high) for arc in arcs)
    ends = [low, *[end for _, end in ordered]]
    return [begin for begin, _ in ordered] == ends[:-1] and ends[-1] == high


def test_an_arc_is_cut_up_without_a_gap_and_each_part_gets_a_head():
    sends = spread(make_delegation())

    assert len(delegates(sends)) == 10
    assert covers(delegates(sends))
    assert {message.age for message in delegates(sends)} == {2}
    assert {message.home for message in delegates(sends)} == {HOME}


def test_what_was_acknowledged_is_asked_no_more():
    delegation = make_delegation()
    for message in delegates(spread(delegation)):
        charge, sends = delegation.acknowledged(ack_of(message), VIEW, 0.01, PAUSE_S)
        assert charge.message is message
        assert sends == []

    assert delegation.deadline() is None
    assert delegation.tick(VIEW, 1.0, PAUSE_S) == []


def test_an_acknowledgement_of_nothing_changes_nothing():
    delegation = make_delegation()
    message = delegates(spread(delegation))[0]

    assert delegation.acknowledged(
        replace(ack_of(message), share=message.share ^ 1), VIEW, 0.01, PAUSE_S
    ) == (None, [])
    assert len(delegation.charges) == 10


def test_a_silent_head_is_asked_once_more_with_the_same_share():
    delegation = make_delegation()
    first = spread(delegation)
    soon_s = PAUSE_S / AGAIN_PART
    assert delegation.deadline() == soon_s

    again = delegation.tick(VIEW, soon_s, PAUSE_S)

    assert again == first
    assert delegation.deadline() == soon_s + PAUSE_S


@pytest.mark.parametrize(
    ("acked_at", "hops_s"),
    [(0.004, [0.002]), (0.014, []), (0.020, [0.010])],
    ids=["before it was asked again", "nobody knows to which ask", "long after both"],
)
def test_an_acknowledgement_measures_a_hop_if_it_hardly_matters_which_ask_it_answers(
    acked_at, hops_s
):
    delegation = make_delegation()
    spread(delegation)
    charge = next(iter(delegation.charges.values()))
    if acked_at > PAUSE_S / AGAIN_PART:
        delegation.tick(VIEW, PAUSE_S / AGAIN_PART, PAUSE_S)

    measured = []
    charge.measured(measured.append, acked_at)

    assert measured == hops_s


def test_then_its_arc_is_split_anew_with_the_silent_one_at_the_back():
    delegation = make_delegation(direct_max=2)
    messages = delegates(spread(delegation))
    for message in messages[1:]:
        delegation.acknowledged(ack_of(message), VIEW, 0.01, PAUSE_S)
    silent = messages[0]
    delegation.tick(VIEW, 0.03, PAUSE_S)

    anew = delegation.tick(VIEW, 0.06, PAUSE_S)

    low = [s.message for s in anew if isinstance(s.message, Ask) and not s.message.flags & LEAF]
    assert covers([*delegates(anew), *low], silent.low, silent.high)
    (head,) = [m for m in VIEW if position(m.name) == silent.skip[-1]]
    heads = [send.to for send in anew if not (type(send.message) is Ask and send.message.flags)]
    assert head.endpoint not in heads
    assert silent.share not in delegation.charges


def test_in_a_large_cluster_a_small_arc_is_split_over_few_new_heads():
    view = make_view(16 * HEADS_PART)
    arc = Arc(0, view.positions[60], (), (), 1)

    few = spread(make_delegation(direct_max=2), view, arc)
    many = spread(make_delegation(direct_max=2), VIEW, Arc(0, VIEW.positions[60], (), (), 1))

    assert len(few) == 2 * 60 // 16
    assert len(many) == 10
    assert covers(delegates(few), arc.low, arc.high)


def test_an_arc_split_too_often_is_handed_back():
    delegation = make_delegation(direct_left=0)
    spread(delegation)

    now = 0.0
    while delegation.charges:
        now += PAUSE_S
        delegation.tick(VIEW, now, PAUSE_S)

    assert now < PAUSE_S * 2 * (GENERATIONS_MAX + 2)
    assert delegation.lost
    assert all(arc.generation == GENERATIONS_MAX + 1 for arc in delegation.lost)


def test_a_head_that_refuses_is_followed_by_one_other_for_the_same_arc():
    delegation = make_delegation()
    message = delegates(spread(delegation))[0]

    charge, sends = delegation.acknowledged(ack_of(message, REFUSED), VIEW, 0.01, PAUSE_S)

    (other,) = delegates(sends)
    assert (other.low, other.high) == (message.low, message.high)
    assert sends[0].to != charge.head.endpoint
    assert position(charge.head.name) in other.late


def test_a_small_arc_of_a_failed_head_is_asked_member_by_member():
    delegation = make_delegation(direct_max=50)
    messages = delegates(spread(delegation))
    for message in messages[1:]:
        delegation.acknowledged(ack_of(message), VIEW, 0.01, PAUSE_S)
    delegation.tick(VIEW, 0.03, PAUSE_S)
    skipped = VIEW.positions[VIEW.span(messages[0].low, messages[0].high)[0]]
    (charge,) = delegation.charges.values()
    charge.arc = replace(charge.arc, skip=(skipped,))

    asks = delegation.tick(VIEW, 0.06, PAUSE_S)

    begin, end = VIEW.span(messages[0].low, messages[0].high)
    assert {send.message.flags for send in asks} == {LEAF}
    assert delegation.alone == [p for p in VIEW.positions[begin:end] if p != skipped]


def test_past_the_budget_of_direct_asks_a_new_head_is_looked_for():
    delegation = make_delegation(direct_max=50, direct_left=0)
    messages = delegates(spread(delegation))
    for message in messages[1:]:
        delegation.acknowledged(ack_of(message), VIEW, 0.01, PAUSE_S)
    delegation.tick(VIEW, 0.03, PAUSE_S)

    (send,) = delegation.tick(VIEW, 0.06, PAUSE_S)

    assert isinstance(send.message, Delegate)


def test_who_is_alone_in_his_part_is_asked_and_heads_nothing():
    delegation = make_delegation()

    sends = spread(delegation, make_view(8))

    assert [type(send.message) for send in sends] == [Ask] * 8
    assert {send.message.flags for send in sends} == {0}
    assert len(delegation.alone) == 8
    assert delegation.charges == {}


def test_suspects_are_asked_as_leaves_where_nobody_else_is_left():
    view = View({m.name: m.became(SUSPECT) for m in VIEW})
    delegation = make_delegation()

    sends = spread(delegation, view)

    assert {send.message.flags for send in sends} == {LEAF}
    assert len(delegation.alone) == 200


def test_past_too_many_charges_an_arc_is_handed_back():
    delegation = make_delegation(charges_max=3)

    sends = spread(delegation)

    assert len(sends) == len(delegation.charges) == 3
    assert len(delegation.lost) == 7


def test_the_heads_remembered_for_a_stop_are_bounded():
    delegation = make_delegation(charges_max=10**6)
    for _ in range(CHILDREN_MAX // 10 + 5):
        spread(delegation)

    assert len(delegation.children) == CHILDREN_MAX


def test_who_came_late_itself_waits_once_more():
    delegation = make_delegation()
    spread(delegation)

    delegation.excuse(1.0, PAUSE_S)

    assert delegation.deadline() == pytest.approx(1.0 + PAUSE_S)


def test_what_is_left_of_the_budget_is_told_and_never_nothing():
    delegation = make_delegation()

    assert {m.budget_ms for m in delegates(spread(delegation, now=4.0))} == {1_000}
    assert {m.budget_ms for m in delegates(spread(delegation, now=9.0))} == {1}


@pytest.mark.parametrize(
    ("members", "most"), [(1_025, 512), (32_768, 512), (32_832, 513), (100_000, 1_562)]
)
def test_an_origin_may_ask_some_hundreds_and_a_small_part_of_many(members, most):
    assert asked_directly_max(members) == most
