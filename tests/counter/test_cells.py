"""One cell at its head: what it collects, tells and sends again until it is confirmed."""

from dataclasses import replace
from math import inf
from random import Random

import pytest

from counter.cells import ADVICE_FACTOR, BATCH_TRIES_MAX, STRANGE_MAX, Cell
from counter.config import LAN
from counter.doubtful import Doubted
from counter.messages import (
    COLLECTS,
    DECREASED,
    DONE,
    DOUBT,
    GOSSIP,
    HELD,
    OUTDONE,
    RING,
    SEQUENCE_MAX,
    UNHELD,
    UNTIL_ALL,
    Ask,
    Back,
    Batch,
    Delegate,
    Query,
    Reply,
    positions_in,
)
from counter.proof import Spread
from counter.query import Heard, Hops, OwnQuery
from tracker.members import Member, View, position
from tracker.wire import DATAGRAM_BYTES_MAX

ORIGIN = ("10.0.0.1", 1)
HEAD = 0


def make_members(count):
    return [
        Member(f"n{i}", i.to_bytes(16, "little"), 0, 1, 0, "127.0.0.1", 1000 + i)
        for i in range(count)
    ]


MEMBERS = make_members(400)


def make_cell(count=20, *, ask=None, config=LAN, own=7, **fields):
    members = MEMBERS[:count]
    ask = ask or make_delegate()
    head = members[HEAD]
    cell = Cell(
        ask.query,
        Query(0, "k", ask.chatter, ask.visits, 0, ask.budget_ms, UNTIL_ALL, 0, 0, False),
        head.endpoint,
        position(head.name),
        View({m.name: m for m in members}),
        0.0,
        config,
        Hops(0.010, 0.0025),
        Random(1),
        ask=ask,
        origin=ORIGIN,
        cell=99,
        **fields,
    )
    sends = cell.start(Heard(head.name, head.store[:8], 1, own, 0, 0.0, own < 0))
    return cell, sends


def make_delegate(**changes):
    ask = Delegate(b"q" * 16, 5, "k", ORIGIN, 3, 1, 2, 9, 5_000, 0, 0, RING, (), ())
    return replace(ask, **changes)


def reply_of(number, value=1, age=1, **changes):
    member = MEMBERS[number]
    reply = Reply(b"q" * 16, position(member.name), member.store[:8], 1, value, age, 0, (), ())
    return replace(reply, **changes), member.endpoint


def take(cell, *numbers, now=0.02):
    sends = []
    for number in numbers:
        sends += cell.take(*reply_of(number), now)
    return sends


def batches(sends):
    return [send.message for send in sends if isinstance(send.message, Batch)]


def rows(sends):
    return [row for batch in batches(sends) for row in batch.rows()]


def told(cell, now):
    """Let a time come, and the origin confirm what it is told; returns the rows."""
    fresh = cell.tick(now, 0.0)
    for batch in batches(fresh):
        cell.confirmed(Back(batch.query, batch.cell, batch.sequence, 0))
    return rows(fresh)


def run_out(cell, until=3.0, *, confirm=False):
    """Let time pass without an answer; returns everything that was sent."""
    sends, now = [], 0.0
    while now < until and not cell.is_over and cell.next_due() < inf:
        now = max(now + 1e-9, cell.next_due())
        fresh = cell.tick(now, 0.0)
        sends += fresh
        for batch in batches(fresh) if confirm else ():
            cell.confirmed(Back(batch.query, batch.cell, batch.sequence, 0))
    return sends


def test_the_arc_is_split_over_its_members_and_they_are_to_answer_the_head():
    cell, sends = make_cell()

    assert [type(send.message) for send in sends] == [Ask] * 3
    assert {send.message.home for send in sends} == {MEMBERS[HEAD].endpoint}
    assert {send.message.age for send in sends} == {1}
    assert len(cell.pending) == 19


def test_those_outside_the_arc_or_skipped_are_not_waited_for():
    inside = sorted(position(m.name) for m in MEMBERS[:20])
    ask = make_delegate(low=inside[5], high=inside[15], skip=(inside[7], position("n0")))

    cell, _ = make_cell(ask=ask)

    assert set(cell.pending) == set(inside[5:15]) - {inside[7], position("n0")}


def test_the_last_answer_closes_the_cell_with_all_that_was_heard_and_its_own_share():
    cell, _ = make_cell(4)

    assert take(cell, 1, 2) == []
    (send,) = take(cell, 3)

    assert send.to == ORIGIN
    assert send.message.flags == DONE
    assert sorted(row[3] for row in rows([send])) == [1, 1, 1, 7]
    assert (send.message.cell, send.message.share, send.message.sequence) == (99, 5, 0)


def test_ages_in_a_batch_count_from_the_origin():
    cell, _ = make_cell(2)

    (row, other) = rows(take(cell, 1))

    assert {row[4], other[4]} == {2, 3}


def test_a_share_that_was_decreased_is_told_so():
    cell, _ = make_cell(1, own=-3)

    (row,) = rows(cell.look(0.0))

    assert row[3:] == (-3, 2, DECREASED)


def test_whether_a_store_may_hold_less_than_a_part_of_it_is_told_by_the_head_and_of_others():
    cell, _ = make_cell(3, is_unheld=True)
    answer, sender = reply_of(1, flags=UNHELD)

    told = rows([*cell.take(answer, sender, 0.02), *take(cell, 2)])

    assert sorted([row[5] for row in told]) == [0, UNHELD, UNHELD]


def test_an_answer_stands_in_one_batch_and_a_repeated_one_in_none():
    cell, _ = make_cell(4)
    take(cell, 1, 1, 2, 2)

    sends = take(cell, 3, 3)

    assert len(rows(sends)) == 4
    assert cell.tally.duplicates == 3


def test_a_full_batch_leaves_at_once_and_fits_a_datagram():
    cell, _ = make_cell(400)

    sends = take(cell, *range(1, 200))

    assert len(batches(sends)) == 3
    for batch in batches(sends):
        assert 1_000 < len(GOSSIP.encode(batch)) < DATAGRAM_BYTES_MAX - 64


@pytest.mark.parametrize("value", [2**62, -(2**62), 2**31, -40_000, 200])
def test_a_batch_of_the_largest_numbers_fits_a_datagram(value):
    cell, _ = make_cell(400)
    sends = []
    for number in range(1, 400):
        reply, sender = reply_of(number, value=value, epoch=2**32 - 1, flags=255, age=250)
        sends += cell.take(reply, sender, 0.02)

    assert sum(len(batch.rows()) for batch in batches(sends)) == 400
    assert max(len(GOSSIP.encode(b)) for b in batches(sends)) < DATAGRAM_BYTES_MAX - 64
    assert all(GOSSIP.decode(GOSSIP.encode(b)) == b for b in batches(sends))


def test_what_was_heard_first_is_told_half_a_hop_later_though_the_batch_is_not_full():
    cell, _ = make_cell(40)
    take(cell, *range(1, 14), now=0.02)

    assert cell.next_due() == pytest.approx(0.025)
    assert len(rows(cell.tick(0.025, 0.0))) == 14


def test_little_waits_while_much_is_to_be_heard():
    cell, _ = make_cell(40)
    take(cell, *range(1, 12), now=0.02)

    assert rows(cell.tick(cell.next_due(), 0.0)) == []
    take(cell, 12, 13, now=0.03)
    assert len(rows(cell.tick(cell.next_due(), 0.0))) == 14


def test_what_is_at_hand_when_the_first_wave_leaves_is_told_with_it():
    cell, _ = make_cell(40)
    take(cell, *range(1, 12), now=0.02)
    cell.tell_at = cell.next_wave + 0.02

    sends = cell.tick(cell.next_wave, 0.0)

    assert len(rows(sends)) == 12
    assert cell.waves == 1


def test_what_a_wave_brought_is_told_at_once_two_hops_after_it():
    cell, _ = make_cell(40)
    take(cell, *range(1, 14), now=0.02)
    told(cell, cell.tell_at)
    told(cell, cell.next_wave)
    began = cell.asked_at

    take(cell, 14, now=began + 0.016)
    take(cell, 15, now=began + 0.018)

    assert began + 0.018 < cell.tell_at < cell.next_wave
    assert len(told(cell, cell.tell_at)) == 2


def test_what_comes_late_is_told_with_what_the_next_wave_brings():
    cell, _ = make_cell(40)
    take(cell, *range(1, 14), now=0.02)
    told(cell, cell.tell_at)
    told(cell, cell.next_wave)

    take(cell, 14, now=cell.next_wave - 0.001)
    with_the_wave = told(cell, cell.next_wave)
    take(cell, 15, now=cell.asked_at + 0.016)

    assert with_the_wave == []
    assert cell.asked_at < cell.tell_at < cell.next_wave
    assert len(told(cell, cell.tell_at)) == 2


def test_a_batch_is_sent_again_until_it_is_confirmed():
    cell, _ = make_cell(2)
    (first,) = take(cell, 1)

    again = cell.tick(0.1, 0.0)
    cell.confirmed(Back(b"q" * 16, 99, 0, 0))

    assert again == [first]
    assert cell.tick(0.2, 0.0) == []
    assert cell.next_due() == float("inf")


def test_a_confirmation_of_nothing_changes_nothing():
    cell, _ = make_cell(2)

    cell.confirmed(Back(b"q" * 16, 99, 77, 9))

    assert (cell.backs, cell.asks_advised) == (0, 0)


def test_an_origin_that_confirms_nothing_is_taken_to_be_gone():
    cell, _ = make_cell(2)
    take(cell, 1)

    sends = run_out(cell)

    assert cell.is_over
    assert len(batches(sends)) == BATCH_TRIES_MAX


def test_the_silent_are_asked_again_and_at_last_named_with_the_number_of_asks():
    cell, _ = make_cell(5)
    take(cell, 1, 2)

    sends = run_out(cell, until=1.0, confirm=True)

    told = {batch.sequence: batch for batch in batches(sends)}
    (last,) = [batch for batch in told.values() if batch.flags & DONE]
    named = {position("n3"), position("n4")}
    assert set(positions_in(last.silent)) == named
    asked = [send.message for send in sends if isinstance(send.message, Ask)]
    # And one who has answered, to know that this head is heard: it gives no sign here.
    assert len(asked) > 2 * last.asks >= 2 * LAN.waves_min


def test_the_head_asks_no_less_often_than_the_evidence_of_all_cells_wants():
    cell, _ = make_cell(5)
    take(cell, 1)
    cell.tick(cell.tell_at, 0.0)
    own = cell.asks_wanted()

    cell.confirmed(Back(b"q" * 16, 99, 0, own + 3))
    assert cell.asks_wanted() == own + 3

    cell.asks_advised = 255
    assert cell.asks_wanted() == LAN.waves_max


def test_a_head_goes_by_its_own_evidence_where_that_wants_far_more_asks():
    cell, _ = make_cell(60)
    cell.asks_advised = 6
    cell.waves, cell.firsts = 3, [0, 8, 4, 1]
    assert OwnQuery.asks_wanted(cell) > 6
    assert cell.asks_wanted() == 6

    cell.firsts = [0, 10, 20, 40]
    assert cell.asks_wanted() == OwnQuery.asks_wanted(cell) > 9


def test_a_head_that_saw_bursts_asks_as_often_as_they_want_whatever_all_cells_do():
    cell, _ = make_cell(60, config=replace(LAN, cell_members_max=30))
    cell.asks_advised = 6
    cell.waves, cell.spread = 10, Spread(answers=400, ages=600, found=160)

    cell.firsts = [0, 150, 9, 1]
    assert cell.asks_wanted() == 6

    # Of the ten who failed an ask hardly one was found by the next.
    cell.firsts = [0, 150, 2, 2, 1, 1, 1, 1, 1, 1]
    assert OwnQuery.asks_wanted(cell) <= 6 * ADVICE_FACTOR
    assert cell.asks_wanted() > 12


def test_more_silent_members_than_a_batch_can_name_are_named_in_several():
    cell, _ = make_cell(400)

    sends = run_out(cell, until=1.0, confirm=True)

    told = {batch.sequence: batch for batch in batches(sends)}
    named = [pos for batch in told.values() for pos in positions_in(batch.silent)]
    assert len(named) == len(set(named)) == 399
    assert [batch.flags for _, batch in sorted(told.items())][-2:] == [0, DONE]
    assert max(len(GOSSIP.encode(batch)) for batch in told.values()) < DATAGRAM_BYTES_MAX - 64


def test_a_batch_with_no_room_for_a_name_leaves_first():
    cell, _ = make_cell(20)
    take(cell, 1, 2, 3)
    cell.room_bytes = 3

    full, last = batches(cell.look(10.0))

    assert (len(full.rows()), full.flags, full.silent) == (4, 0, b"")
    assert (len(last.rows()), last.flags, len(positions_in(last.silent))) == (0, DONE, 16)


def test_an_answer_after_the_end_is_told_too():
    cell, _ = make_cell(3)
    take(cell, 1)
    run_out(cell, until=0.4)

    (send,) = cell.take(*reply_of(2), 0.5)

    assert send.message.flags == DONE
    assert [row[0] for row in send.message.rows()] == [position("n2")]
    assert cell.take(*reply_of(2), 0.6) == []


def test_with_no_age_left_everybody_is_cut_off():
    cell, sends = make_cell(5, ask=make_delegate(age=9))

    assert sends == []
    (send,) = cell.look(0.0)
    assert len(positions_in(send.message.cut)) == 4
    assert send.message.silent == b""


def test_joiners_are_waited_for_until_all_is_told():
    cell, _ = make_cell(3)
    wider = View({m.name: m for m in MEMBERS[:4]})
    cell.follow(wider)
    assert position("n3") in cell.pending

    take(cell, 1, 2, 3)
    cell.follow(View({m.name: m for m in MEMBERS[:9]}))

    assert cell.is_done
    assert cell.pending == {}


def test_a_head_whose_own_loop_lags_blames_nobody_yet():
    cell, _ = make_cell(5)
    late = cell.next_wave + 0.5

    assert [s for s in cell.tick(late, lag_s=0.5) if isinstance(s.message, Ask)] == []
    assert [s for s in cell.tick(late + 0.5, lag_s=0.0) if isinstance(s.message, Ask)] != []


def test_past_the_last_number_of_a_batch_the_cell_is_over():
    cell, _ = make_cell(3)
    take(cell, 1)
    cell.sequence = SEQUENCE_MAX + 1

    assert batches(cell.tick(cell.tell_at, 0.0)) == []
    assert cell.is_over


def test_it_says_that_it_collects_and_whom_it_leaves_out():
    cell, _ = make_cell(3, ask=make_delegate(skip=(17, position("n0"))))

    ack = cell.ack()

    assert (ack.share, ack.cell, ack.flags, ack.skip) == (5, 99, COLLECTS, (17,))
    assert (ack.low, ack.high) == (0, RING)


def test_batches_tell_of_each_view_that_differs_from_that_of_the_origin_once():
    cell, _ = make_cell(10)
    own = (position(MEMBERS[HEAD].name), cell.view.roll)
    said = [(1, 0), (2, 70), (3, 71), (4, 71), (5, 72), (6, 73), (7, 74)]
    sends = []
    for number, roll in said:
        sends += cell.take(*reply_of(number, roll=roll), 0.02)

    [batch] = batches(sends)
    cell.take(*reply_of(8, roll=72), 0.03)
    [after] = batches(cell.tick(cell.tell_at, 0.0))

    strange = [(position(MEMBERS[number].name), roll) for number, roll in said]
    assert batch.rolls == (own, strange[1], strange[2], strange[4])
    assert after.rolls == (strange[5], strange[6])
    assert not (batch.flags | after.flags) & OUTDONE
    assert len(GOSSIP.encode(batch)) <= DATAGRAM_BYTES_MAX


def test_a_view_that_the_origin_has_not_is_told_with_the_answer_that_said_so():
    cell, _ = make_cell(60)
    sends = []
    for number in range(1, 60):
        sends += cell.take(*reply_of(number, roll=100 + number % 25), 0.02)

    told = set()
    for batch in batches(sends):
        told |= {roll for _, roll in batch.rolls}
        numbers = [int.from_bytes(store, "little") for _, store, *_ in batch.rows()]
        assert {100 + number % 25 for number in numbers if number} <= told
    assert len(told) == 26


def test_what_a_member_holds_of_others_is_told_with_its_own_share():
    cell, _ = make_cell(200)
    sends = []
    for number in range(1, 200):
        others = tuple([(bytes([number, of]) * 4, 1, 2**33) for of in range(number % 5 * 8)])
        sends += cell.take(*reply_of(number, others=others), 0.02)

    shares = 0
    for batch in batches(sends):
        rows = batch.rows()
        own = {pos for pos, *_, flags in rows if not flags & HELD}
        assert {pos for pos, *_, flags in rows if flags & HELD} <= own
        assert len(GOSSIP.encode(batch)) <= DATAGRAM_BYTES_MAX
        shares += len(rows)
    assert shares == 200 + sum([number % 5 * 8 for number in range(200)])


def test_what_fits_no_batch_is_told_in_parts_and_the_origin_hears_that():
    cell, _ = make_cell(2)
    others = tuple([(bytes([of]) * 8, 2**20, 2**40) for of in range(1, 33)])

    own, *told = batches(cell.take(*reply_of(1, value=2**40, epoch=2**20, others=others), 0.02))

    assert len(own.rows()) == 1
    assert [batch.flags for batch in told] == [OUTDONE, OUTDONE | DONE]
    assert all(len(GOSSIP.encode(batch)) <= DATAGRAM_BYTES_MAX for batch in told)
    assert sum([len(batch.rows()) for batch in told]) == 33


def test_before_a_cell_is_done_it_has_told_of_every_view():
    cell, _ = make_cell(20)
    sends = []
    for number in range(1, 20):
        sends += cell.take(*reply_of(number, roll=100 + number), 0.02)

    told = batches(sends)

    rolls = [roll for batch in told for _, roll in batch.rolls]
    assert cell.is_done
    assert sorted(rolls) == sorted([*range(101, 120), cell.view.roll])
    assert [batch.flags for batch in told] == [0, 0, 0, 0, DONE]


def test_a_cell_with_more_views_than_it_tells_of_says_so():
    cell, _ = make_cell(4)
    cell.strange |= dict.fromkeys(range(1000, 1000 + STRANGE_MAX), 1)

    cell.take(*reply_of(1, roll=70), 0.02)

    [batch] = batches(cell.tick(cell.tell_at, 0.0))
    assert batch.flags == OUTDONE
    assert [roll for _, roll in batch.rolls] == [cell.view.roll]


def test_a_head_believes_nobody_who_speaks_from_another_member_s_address():
    cell, _ = make_cell()
    later, _ = reply_of(3, epoch=2)
    ghost, _ = reply_of(300)

    assert not cell.take(later, MEMBERS[4].endpoint, 0.02)
    assert not cell.take(ghost, MEMBERS[4].endpoint, 0.02)
    assert cell.tally.strangers == 2
    cell.take(later, ("127.0.0.1", 9), 0.02)
    assert later.store in cell.answers
    take(cell, 3)
    assert cell.answers[later.store].epoch == 2


def test_a_head_that_knows_more_by_the_end_tells_of_that_too():
    cell, _ = make_cell(5)
    sends = []
    for number in range(1, 4):
        sends += cell.take(*reply_of(number, roll=100 + number), 0.02)
    cell.follow(View({m.name: m for m in MEMBERS[:4]}))

    told = batches([*sends, *cell.look(0.03)])

    rolls = [[roll for _, roll in batch.rolls] for batch in told]
    assert [len(some) for some in rolls] == [4, 1]
    assert rolls[1] == [cell.view.roll]
    assert [batch.flags for batch in told] == [0, DONE]


def test_what_a_member_holds_in_doubt_stands_in_the_batch_of_its_answer():
    cell, _ = make_cell(3)
    where = position("n1")

    cell.offered = Doubted(2, 5, 3, (), faded=((4, 0, 7, 1),))
    sends = take(cell, 1)
    cell.offered = None
    sends += take(cell, 2)

    doubts = [(pos, value, count, age) for pos, _, count, value, age, flags in rows(sends)
              if flags == DOUBT]  # fmt: skip
    # With an octave: what holds as well for queries that began at least 4 ms before.
    assert doubts == [(where, -2, 3, 0), (where, 5, 3, 0), (where, -2, 4, 3), (where, 12, 4, 3)]


def test_a_member_that_can_only_gain_by_its_doubts_has_no_row_of_losses():
    cell, _ = make_cell(3)

    cell.offered = Doubted(0, 5, 1, ())
    sends = take(cell, 1)
    cell.offered = Doubted(4, 0, 1, ())
    sends += take(cell, 2)

    assert sorted([row[3] for row in rows(sends) if row[5] == DOUBT]) == [-4, 5]


def test_doubts_are_kept_of_no_more_members_than_can_answer_a_head(monkeypatch):
    monkeypatch.setattr("counter.cells.UNLISTED_MAX", -2)
    cell, _ = make_cell(3)

    for pos in (1, 2, 3):
        cell.doubt(pos, Doubted(1, 2, 3, ()))

    assert list(cell.told_doubts) == [1]
