"""What one node heads for others: cells, arcs above them, and what it refuses."""

from dataclasses import replace
from random import Random

import pytest

from counter.cells import Cell
from counter.config import LAN
from counter.delegation import AGAIN_PART
from counter.doubtful import Doubted
from counter.heads import SHARES_MAX, Heads
from counter.messages import (
    COLLECTS,
    GOSSIP,
    LEAF,
    REFUSED,
    RING,
    TRACE,
    Ack,
    Ask,
    Back,
    Batch,
    Delegate,
    Reply,
    Stop,
    Traced,
)
from counter.relay import Relay
from tracker.machine import Send
from tracker.members import Member, View, position

ORIGIN = ("10.0.0.1", 1)
ASKER = ("10.0.0.2", 1)
QUERY = b"q" * 16
SMALL = replace(LAN, cell_members_max=32, direct_max=8)


def make_view(count):
    return View(
        {
            f"n{i}": Member(f"n{i}", i.to_bytes(16, "little"), 0, 1, 0, "127.0.0.1", 1000 + i)
            for i in range(count)
        }
    )


VIEW = make_view(30)
WIDE = make_view(300)


def make_heads(config=SMALL, value=5):
    member = WIDE.get("n0")
    relay = Relay(config, position("n0"), member.store, 1, lambda key: (value, 0), Random(2))
    return Heads(config, member, relay, Random(1))


def make_ask(share=5, **changes):
    ask = Delegate(QUERY, share, "k", ORIGIN, 3, 1, 2, 9, 5_000, 0, 0, RING, (), ())
    return replace(ask, **changes)


def kinds(effects):
    return [type(effect.message).__name__ for effect in effects]


def answers(view, names=None):
    for member in view:
        if member.name != "n0" and (names is None or member.name in names):
            yield (
                Reply(QUERY, position(member.name), member.store[:8], 1, 1, 1, 0, (), ()),
                member.endpoint,
            )


def test_it_acknowledges_to_the_asker_and_to_the_origin_then_collects():
    heads = make_heads()

    first, second, *asks = heads.delegate(ASKER, make_ask(), VIEW, 0.0)

    assert (first.to, second.to) == (ASKER, ORIGIN)
    assert first.message == second.message
    assert first.message.flags == COLLECTS
    assert kinds(asks) == ["Ask"] * 3
    assert len(heads) == 1


def test_an_origin_that_asked_itself_is_told_once():
    assert kinds(make_heads().delegate(ORIGIN, make_ask(), VIEW, 0.0)) == ["Ack"] + ["Ask"] * 3


def test_asked_again_it_acknowledges_again_and_does_nothing_more():
    heads = make_heads()
    ack, *_ = heads.delegate(ASKER, make_ask(), VIEW, 0.0)

    assert heads.delegate(ASKER, make_ask(), VIEW, 0.1) == [ack]
    assert len(heads) == 1


def test_a_larger_arc_is_passed_on_and_its_head_answers_by_itself():
    heads = make_heads()

    ack, reply, *onward = heads.delegate(ASKER, make_ask(), WIDE, 0.0)

    assert (ack.message.flags, ack.message.cell) == (0, 0)
    assert (reply.to, reply.message.value, reply.message.age) == (ORIGIN, 5, 2)
    assert kinds(onward) == ["Delegate"] * 3
    assert {send.message.age for send in onward} == {3}


def test_with_no_age_left_a_larger_arc_is_reported_as_cut_off():
    heads = make_heads()

    _, reply = heads.delegate(ASKER, make_ask(age=9, skip=(1, 2)), WIDE, 0.0)

    assert reply.message.cut == (0, RING - 1, 1, 2, position("n0"))


def test_who_was_skipped_already_skips_itself_once():
    heads = make_heads()

    _, reply = heads.delegate(ASKER, make_ask(age=9, skip=(position("n0"),)), WIDE, 0.0)

    assert reply.message.cut == (0, RING - 1, position("n0"))


def test_a_query_that_was_stopped_is_ignored():
    heads = make_heads()
    heads.delegate(ASKER, make_ask(), VIEW, 0.0)
    heads._relay.stop(Stop(QUERY))

    assert heads.delegate(ASKER, make_ask(share=6), VIEW, 0.0) == []


@pytest.mark.parametrize("cells_max", [0, 2])
def test_past_too_many_cells_it_refuses(cells_max):
    heads = make_heads(replace(SMALL, cells_max=cells_max))
    for number in range(cells_max):
        heads.delegate(ASKER, make_ask(query=bytes([number]) * 16), VIEW, 0.0)

    (refusal,) = heads.delegate(ASKER, make_ask(), VIEW, 0.0)

    assert refusal.message.flags == REFUSED
    assert refusal.to == ASKER
    assert heads.refused == 1


def test_for_one_query_it_collects_no_more_than_one_cell_of_members():
    heads = make_heads()
    heads.delegate(ASKER, make_ask(share=1), VIEW, 0.0)

    (refusal,) = heads.delegate(ASKER, make_ask(share=2), VIEW, 0.0)
    other = heads.delegate(ASKER, make_ask(query=b"r" * 16), VIEW, 0.0)

    assert refusal.message.flags == REFUSED
    assert other[0].message.flags == COLLECTS


def test_two_small_cells_of_one_query_fit_and_each_takes_its_own_answers():
    heads = make_heads()
    middle = VIEW.positions[15]
    heads.delegate(ASKER, make_ask(share=1, high=middle), VIEW, 0.0)
    heads.delegate(ASKER, make_ask(share=2, low=middle), VIEW, 0.0)

    sends = [s for reply, sender in answers(VIEW) for s in heads.reply(reply, sender, 0.02)]

    assert {send.message.share for send in sends if isinstance(send.message, Batch)} == {1, 2}
    assert all(cell.is_done for cell in heads.collected[QUERY])


def test_an_answer_from_outside_its_cells_is_not_taken():
    heads = make_heads()
    heads.delegate(ASKER, make_ask(low=5, high=6), VIEW, 0.0)
    reply, sender = next(answers(VIEW))

    assert heads.reply(reply, sender, 0.02) == []


def test_the_acknowledgement_of_a_further_head_ends_its_charge():
    heads = make_heads()
    _, _, *onward = heads.delegate(ASKER, make_ask(), WIDE, 0.0)
    for send in onward:
        message = send.message
        ack = Ack(QUERY, message.share, 1, COLLECTS, message.low, message.high, ())
        assert heads.acknowledged(ack, WIDE, 0.02) == []

    assert heads.acknowledged(replace(ack, query=b"x" * 16), WIDE, 0.02) == []
    assert heads.acknowledged(ack, WIDE, 0.02) == []
    assert heads.tick(WIDE, 1.0, 0.0) == []


def test_the_acknowledgement_of_another_query_ends_no_charge():
    heads = make_heads()
    _, _, *onward = heads.delegate(ASKER, make_ask(), WIDE, 0.0)

    for send in onward:
        share, low, high = send.message.share, send.message.low, send.message.high
        heads.acknowledged(Ack(b"x" * 16, share, 1, COLLECTS, low, high, ()), WIDE, 0.02)

    assert len(heads.tick(WIDE, 1.0, 0.0)) == len(onward) > 0


def test_an_acknowledgement_of_a_repeated_ask_is_no_measure_of_a_hop():
    heads = make_heads()
    _, _, *onward = heads.delegate(ASKER, make_ask(), WIDE, 0.0)
    heads.tick(WIDE, 0.05, 0.0)
    message = onward[0].message

    heads.acknowledged(
        Ack(QUERY, message.share, 1, COLLECTS, message.low, message.high, ()), WIDE, 0.06
    )

    assert heads._hops.weight == 0


def test_silent_further_heads_are_asked_again_unless_its_own_loop_lags():
    heads = make_heads()
    heads.delegate(ASKER, make_ask(), WIDE, 0.0)

    assert heads.tick(WIDE, 1.0, lag_s=0.9) == []
    assert kinds(heads.tick(WIDE, 1.1, lag_s=0.0)) == ["Delegate"] * 3


def test_a_confirmed_batch_is_not_sent_again_and_one_of_nobody_is_ignored():
    heads = make_heads()
    heads.delegate(ASKER, make_ask(), VIEW, 0.0)
    sends = [s for reply, sender in answers(VIEW) for s in heads.reply(reply, sender, 0.02)]
    (batch,) = [s.message for s in sends if isinstance(s.message, Batch)]

    assert heads.back(Back(b"x" * 16, batch.cell, 0, 0)) == []
    assert heads.back(Back(QUERY, batch.cell ^ 1, 0, 0)) == []
    assert heads.collected[QUERY][0].unconfirmed
    assert heads.back(Back(QUERY, batch.cell, 0, 0)) == []
    assert not heads.collected[QUERY][0].unconfirmed


def test_a_cell_that_was_given_up_is_refused_from_then_on():
    heads = make_heads()
    middle = VIEW.positions[15]
    heads.delegate(ASKER, make_ask(share=1, high=middle), VIEW, 0.0)
    heads.delegate(ASKER, make_ask(share=2, low=middle), VIEW, 0.0)
    heads.collected[QUERY][0].is_over = True

    heads.tick(VIEW, 0.01, 0.0)
    (again,) = heads.delegate(ASKER, make_ask(share=1, high=middle), VIEW, 0.02)

    assert again.message.flags == REFUSED
    assert [cell.ask.share for cell in heads.collected[QUERY]] == [2]


def test_a_member_of_a_cell_where_nobody_listens_is_not_asked_again():
    heads = make_heads()
    middle = VIEW.positions[15]
    heads.delegate(ASKER, make_ask(share=1, high=middle), VIEW, 0.0)
    _, _, *asks = heads.delegate(ASKER, make_ask(share=2, low=middle), VIEW, 0.0)
    (cell,) = heads.collected[QUERY][1:]
    first = next(send for send in asks if not send.message.flags)

    again = heads.undelivered(first.message, first.to)
    repair = next(send for send in cell.wave(1.0) if send.to != first.to)
    # As it comes back from the system: in bytes.
    heads.undelivered(GOSSIP.decode(GOSSIP.encode(repair.message)), repair.to)

    assert first.to not in [send.to for send in again]
    refused = {p.member.endpoint for p in cell.pending.values() if p.is_refused}
    assert refused == {first.to, repair.to}


def test_an_ask_that_came_back_and_is_of_no_cell_here_is_left_to_the_relay():
    heads = make_heads()
    _, _, first, *_ = heads.delegate(ASKER, make_ask(), VIEW, 0.0)

    assert heads.undelivered(replace(first.message, home=ORIGIN), first.to) == []
    assert heads.undelivered(replace(first.message, query=b"x" * 16), first.to) == []
    assert heads.undelivered(replace(first.message, flags=LEAF), ("10.9.9.9", 9)) == []


def test_stop_reaches_the_members_of_a_cell_and_the_heads_below():
    heads = make_heads()
    asks = heads.delegate(ASKER, make_ask(share=1), VIEW, 0.0)
    onward = heads.delegate(ASKER, make_ask(share=2), WIDE, 0.0)
    asked = [e.to for e in [*asks, *onward] if isinstance(e.message, Ask | Delegate)]

    told = heads.stop(Stop(QUERY))

    assert told == [Send(to, Stop(QUERY)) for to in asked]
    assert len(heads) == 0
    assert heads.stop(Stop(QUERY)) == []


def test_a_cell_that_is_done_has_nobody_to_stop():
    heads = make_heads()
    heads.delegate(ASKER, make_ask(), VIEW, 0.0)
    for reply, sender in answers(VIEW):
        heads.reply(reply, sender, 0.02)

    assert heads.stop(Stop(QUERY)) == []


def test_a_newer_view_reaches_the_cells():
    heads = make_heads()
    heads.delegate(ASKER, make_ask(), VIEW, 0.0)

    heads.follow(make_view(31))

    assert position("n30") in heads.collected[QUERY][0].pending


def test_everything_is_forgotten_when_the_query_is_over():
    heads = make_heads()
    middle = VIEW.positions[15]
    heads.delegate(ASKER, make_ask(share=1, high=middle, budget_ms=1_000), VIEW, 0.0)
    heads.delegate(ASKER, make_ask(share=2, low=middle), VIEW, 0.0)
    heads.delegate(ASKER, make_ask(share=3), WIDE, 0.0)
    for cell in heads.collected[QUERY]:
        cell.is_done = True
        cell.tell_at = float("inf")

    heads.tick(WIDE, 1.0 + SMALL.memory_s, 5.0)
    assert [cell.ask.share for cell in heads.collected[QUERY]] == [2]
    heads.tick(WIDE, 5.0 + SMALL.memory_s, 5.0)

    assert len(heads) == 0
    assert heads.deadline() is None


def test_its_next_deadline_is_that_of_whatever_is_due_first():
    heads = make_heads()
    assert heads.deadline() is None

    heads.delegate(ASKER, make_ask(share=3), WIDE, 0.0)
    assert heads.deadline() == pytest.approx(SMALL.repair_floor_s / AGAIN_PART)

    heads.delegate(ASKER, make_ask(share=1), VIEW, 0.0)
    (cell,) = heads.collected[QUERY]
    assert isinstance(cell, Cell)
    assert cell.next_due() > heads.deadline()
    cell.tell_at = 0.001
    assert heads.deadline() == cell.next_due() == 0.001


def test_past_too_many_shares_it_refuses():
    heads = make_heads()
    heads._acks = {(QUERY, -number): None for number in range(SHARES_MAX)}

    (refusal,) = heads.delegate(ASKER, make_ask(), VIEW, 0.0)

    assert refusal.message.flags == REFUSED


def test_what_the_next_answer_says_is_in_doubt_reaches_the_cell_that_hears_it():
    heads = make_heads()
    heads.delegate(ASKER, make_ask(), VIEW, 0.0)
    reply, sender = next(answers(VIEW))
    told = Doubted(1, 2, 3, ())

    assert heads.is_own(QUERY)
    heads.offer(QUERY, told, 0.02)
    heads.reply(reply, sender, 0.02)

    (cell,) = heads.collected[QUERY]
    assert cell.told_doubts == {reply.position: told}
    assert not heads.is_own(b"x" * 16)


def test_that_a_store_may_hold_less_than_the_head_does_of_it_stands_in_its_cell():
    heads = make_heads()
    heads._relay.is_unheld = lambda: True

    heads.delegate(ASKER, make_ask(), VIEW, 0.0)

    (cell,) = heads.collected[QUERY]
    assert cell.is_unheld


def test_what_is_in_doubt_at_the_head_itself_stands_in_its_cell():
    heads = make_heads()
    heads.doubted = {QUERY: Doubted(1, 2, 3, ())}.get

    heads.delegate(ASKER, make_ask(), VIEW, 0.0)

    (cell,) = heads.collected[QUERY]
    assert list(cell.told_doubts) == [position("n0")]


def test_the_way_of_a_traced_query_is_told_to_the_origin_with_its_age_from_there():
    heads = make_heads()
    effects = heads.delegate(ASKER, make_ask(flags=TRACE, high=VIEW.positions[15]), VIEW, 0.0)
    inside, outside = [
        next(r for r, _ in answers(VIEW) if (r.position < VIEW.positions[15]) == is_inside)
        for is_inside in (True, False)
    ]
    came = Traced(("10.0.0.3", 1), 1, GOSSIP.encode(inside))

    own = [e.message for e in effects if isinstance(e.message, Traced)]
    assert [(told.asked_by, told.age, told.is_told) for told in own] == [(ASKER, 2, True)]
    assert heads.traced(came, inside) == [
        Send(ORIGIN, Traced(("10.0.0.3", 1), 3, came.reply, True))
    ]
    assert heads.traced(came, outside) == []


def test_an_arc_whose_further_heads_have_all_spoken_is_waited_for_no_more():
    heads = make_heads()
    _, _, *onward = heads.delegate(ASKER, make_ask(budget_ms=1_000), WIDE, 0.0)
    for send in onward:
        message = send.message
        ack = Ack(QUERY, message.share, 1, COLLECTS, message.low, message.high, ())
        heads.acknowledged(ack, WIDE, 0.02)

    assert heads.deadline() == 1.0 + SMALL.memory_s
