"""One query at its origin: who is counted, when it repairs, why it ends."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter.asking import ROLLS_TOLD_MAX
from counter.config import AGE_MAX, LAN, LATE_S
from counter.messages import (
    DECREASED,
    LEAF,
    RING,
    UNTIL_ALL,
    UNTIL_SHARE,
    UNTIL_STABLE,
    Query,
    Reply,
)
from counter.proof import LATE_PAUSES
from counter.query import UNLISTED_MAX, Heard, Hops, OwnQuery
from counter.telling import bytes_of, largest
from counter.witnesses import DEAF_WAVES_MAX
from tracker.members import DEAD, GONE, Member, View, position

ID = b"q" * 16
START = 10.0


def make_member(index, **changes):
    store = index.to_bytes(8, "big") * 2
    return replace(Member(f"n{index}", store, 0, 1, 0, "127.0.0.1", 1000 + index), **changes)


def make_view(count=5):
    return View().merged([make_member(i) for i in range(count)])


def begun(count=5, *, config=LAN, view=None, **wishes):
    """Return a query of n0, whose share is 100, and its first asks."""
    no_wishes = {"chatter": 0, "visits": 0, "age_max": 0, "deadline_ms": 2_000}
    until = {"until": UNTIL_ALL, "until_value": 0}
    request = Query(1, "k", **(no_wishes | until | wishes), partial_ms=0, rows=False)
    own = make_member(0)
    view = make_view(count) if view is None else view
    where = (own.endpoint, position(own.name), view, START, config)
    query = OwnQuery(ID, request, *where, Hops(0.010, 0.0025), Random(1))
    return query, query.start(Heard(own.name, own.store[:8], 1, 100, 0, 0.0, False))


def make_reply(index, value=1, **changes):
    member = make_member(index)
    reply = Reply(ID, position(member.name), member.store[:8], 1, value, 1, 0, (), ())
    return replace(reply, **changes)


def hear(query, index, now=START + 0.02, value=1, **changes):
    return query.hear(make_reply(index, value, **changes), make_member(index).endpoint, now)


def verdict(query, now=START + 0.02, current=True, hopeless=False):
    return query.verdict(now, view_is_current=current, view_is_hopeless=hopeless)


def waves_until_the_end(query, signs=None):
    """Let every wave pass; returns (asks in each wave, why it ended).

    The silent stay silent; who has answered gives as many `signs` of life as are told, or any.
    """
    asks, why = [], None
    while why is None:
        now = query.next_deadline()
        why = verdict(query, now)
        if why is None:
            sends = query.wave(now)
            asks.append(len(sends))
            waiting = [pending.member.endpoint for pending in query.pending.values()]
            for send in [send for send in sends if send.to not in waiting]:
                if signs != 0:
                    hear(query, send.to[1] - 1000, now + 0.02)
                    signs = signs and signs - 1
    return asks, why


# -- asking ---------------------------------------------------------------------------------


def test_the_settings_fill_what_the_asker_left_open():
    query, asks = begun(30)

    assert (query.chatter, query.visits, query.age_max) == (10, 1, 2 + 2)
    assert len(asks) == 10
    assert {s.message.budget_ms for s in asks} == {2_000}
    assert {s.message.age for s in asks} == {1}


def test_little_chatter_means_more_visits():
    assert begun(30, chatter=2)[0].visits == 5
    assert begun(30, chatter=3)[0].visits == 1
    assert begun(30, chatter=2, visits=1)[0].visits == 1


def test_without_a_deadline_the_budget_of_the_settings_holds():
    assert begun(5, deadline_ms=0)[0].deadline == START + LAN.budget_s


def test_the_max_age_stays_within_what_can_be_written():
    query, _ = begun(400, chatter=1, visits=1)

    assert query.age_max == AGE_MAX


def test_alone_it_is_complete_before_anybody_is_asked():
    query, asks = begun(1)

    assert asks == []
    assert verdict(query, START) == "complete"
    assert query.value == 100


def test_a_node_that_knows_nobody_answers_for_itself():
    query, asks = begun(view=View())

    assert (asks, verdict(query, START), query.members) == ([], "complete", 1)


# -- hearing --------------------------------------------------------------------------------


def test_each_answer_counts_once():
    query, _ = begun(3)

    assert hear(query, 1, value=7)
    assert not hear(query, 1, value=7)

    assert query.value == 107
    assert query.tally.duplicates == 1


def test_it_is_complete_only_when_nobody_is_pending_and_the_view_is_current():
    query, _ = begun(3)
    hear(query, 1)
    assert verdict(query) is None

    hear(query, 2)

    assert verdict(query) == "complete"
    assert verdict(query, current=False) is None
    assert verdict(query, current=False, hopeless=True) == "converged"


@pytest.mark.parametrize(
    ("changes", "sender"),
    [
        ({"store": b"wrong---"}, 1001),
        ({"position": position("n2")}, 1001),
        ({"position": position("n0")}, 1001),
        ({}, 1002),
    ],
    ids=["another store", "another's position", "the origin's position", "another's address"],
)
def test_an_answer_in_another_s_name_is_dropped_and_counted(changes, sender):
    query, _ = begun(3)

    assert not query.hear(make_reply(1, **changes), ("127.0.0.1", sender), START)

    assert (query.value, query.tally.strangers) == (100, 1)


def test_who_started_again_at_a_new_address_is_known_by_its_store_and_epoch():
    query, _ = begun(3)

    assert query.hear(make_reply(1, epoch=2), ("127.0.0.1", 7), START)


def test_a_restart_during_the_query_keeps_the_first_answer():
    query, _ = begun(3)
    hear(query, 1, value=7)

    assert not hear(query, 1, value=50, epoch=2)
    assert query.value == 107


def test_who_is_not_in_the_view_was_asked_by_one_who_knows_it_and_counts_once():
    query, _ = begun(3)

    assert hear(query, 9, value=5)
    assert not hear(query, 9, value=5)

    assert (query.value, query.members) == (105, 4)
    query.follow(make_view(10))
    assert position("n9") not in query.pending


def test_who_has_left_is_not_counted_for_one_who_is_not_known_yet():
    view = make_view(4).merged([make_member(3, status=GONE)])
    query, _ = begun(view=view)

    assert not hear(query, 3)
    assert query.tally.strangers == 1


def test_answers_of_those_who_are_not_known_are_bounded():
    query, _ = begun(2)

    counted = sum(hear(query, 10 + i) for i in range(UNLISTED_MAX + 5))

    assert counted == UNLISTED_MAX


def test_whether_a_key_decreased_is_kept_with_each_answer():
    query, _ = begun(3)
    hear(query, 1, flags=DECREASED)
    hear(query, 2, value=9)

    assert [(h.name, h.has_decreased) for h in query.heard()] == [
        ("n0", False),
        ("n2", False),
        ("n1", True),
    ]


def test_a_cut_arc_is_not_waited_for_but_still_heard():
    query, _ = begun(6, age_max=2)
    far = [pos for pos in query.pending if pos != position("n1")]
    hear(query, 1, cut=(0, RING - 1, position("n1"), far[0]))
    assert set(query.cut) == set(far[1:])

    index = next(i for i in range(6) if position(f"n{i}") == far[1])
    assert hear(query, index)

    assert set(query.cut) == set(far[2:])
    assert query.members == 6


def test_with_arcs_cut_off_it_ends_as_aged_with_or_without_a_tracker():
    query, _ = begun(3, age_max=2)
    hear(query, 1, cut=(0, RING - 1))

    assert verdict(query) == "aged"
    assert verdict(query, current=False, hopeless=True) == "aged"
    assert query.silent() == [(make_member(2), "cut off by age")]


@pytest.mark.parametrize("wish", [{}, {"chatter": 1}, {"age_max": 3}, {"visits": 2}])
def test_members_are_cut_off_only_where_the_asker_set_a_limit(wish):
    query, _ = begun(6, **wish)
    hear(query, 1, cut=(0, RING - 1))

    is_limited = "age_max" in wish or "visits" in wish
    assert (len(query.cut), len(query.pending)) == ((4, 0) if is_limited else (0, 4))
    assert verdict(query) == ("aged" if is_limited else None)


def test_a_hop_is_measured_from_first_answers_by_their_age():
    query, _ = begun(30)

    hear(query, 1, START + 0.030, age=2)

    assert query.hops.mean_s == pytest.approx(0.010)
    assert query.hops.weight == 1


def test_with_several_visits_only_the_first_round_measures_a_hop():
    query, _ = begun(30, visits=3)

    hear(query, 1, START + 0.4, age=2)
    hear(query, 2, START + 0.04, age=1)

    assert query.hops.weight == 1
    assert query.hops.mean_s == pytest.approx(0.020)


# -- following the view ---------------------------------------------------------------------


def test_a_leaver_leaves_pending_at_once_and_a_joiner_is_waited_for():
    query, _ = begun(3)

    query.follow(make_view(4).merged([make_member(2, status=GONE)]))

    assert set(query.pending) == {position("n1"), position("n3")}


def test_news_about_who_is_pending_or_cut_off_is_taken_in():
    query, _ = begun(4, age_max=2)
    hear(query, 1, cut=(position("n3"), position("n3")))

    query.follow(make_view(4).merged([make_member(i, status=DEAD) for i in (1, 2, 3)]))

    assert set(query.cut) == {position("n3")}
    assert [(m.name, m.status) for m, _ in query.silent()] == [("n2", DEAD), ("n3", DEAD)]
    assert [why for _, why in query.silent()] == ["no answer, and not alive", "cut off by age"]


def test_who_moved_is_repaired_at_its_new_address():
    query, _ = begun(2)
    query.follow(View().merged([make_member(0), make_member(1, epoch=2, port=77)]))

    (ask,) = query.wave(query.next_deadline())

    assert ask.to == ("127.0.0.1", 77)


# -- repairing ------------------------------------------------------------------------------


def test_before_the_first_answer_the_guess_of_a_hop_is_trusted_three_times_less():
    query, _ = begun(30)
    assert query.next_wave == pytest.approx(START + 3 * (2 + 1) * (0.010 + 4 * 0.0025) + 0.0025)

    hear(query, 1, START + 0.020)

    assert query.next_wave == pytest.approx(START + (2 + 1) * (0.010 + 4 * 0.00125) + 0.0025)


@pytest.mark.parametrize(
    ("age", "settle_s"),
    [
        pytest.param(999, LAN.settle_floor_s - 0.001 / 4, id="short hops"),
        pytest.param(99, LAN.settle_floor_s / 2, id="hops of twice the floor"),
        pytest.param(24, 0.040 / 4, id="long hops"),
    ],
)
def test_a_late_answer_puts_the_first_repair_off_by_a_settle_time(age, settle_s):
    query, _ = begun(3)
    hear(query, 1, START + 1.0, age=age)

    assert query.next_wave == pytest.approx(START + 1.0 + settle_s)


def test_a_repair_is_a_plain_ask_to_each_pending_member_with_the_budget_that_is_left():
    query, _ = begun(4)
    hear(query, 1, START + 0.02)
    assert query.wave(query.next_wave - 0.001) == []

    asks = query.wave(START + 0.5)

    assert {a.to for a in asks} == {make_member(2).endpoint, make_member(3).endpoint}
    assert {(a.message.flags, a.message.budget_ms) for a in asks} == {(LEAF, 1_500)}


def test_from_the_third_on_a_repair_ask_names_no_roll():
    query, _ = begun(5)

    rolls = [{s.message.roll for s in query.wave(query.next_wave)} for _ in range(4)]

    assert ROLLS_TOLD_MAX == 2
    assert rolls == [{query.first_view.roll}] * 2 + [{0}] * 2


def test_a_repair_wave_comes_every_three_hops_while_somebody_is_silent():
    query, _ = begun(3)
    hear(query, 1, START + 0.08)
    first = query.next_wave

    query.wave(first)

    assert query.repair_s() == pytest.approx(3 * 0.04)
    assert query.next_wave == pytest.approx(first + 3 * 0.04)


def test_waves_never_follow_each_other_faster_than_the_floor():
    query, _ = begun(30)
    for index in range(1, 20):
        hear(query, index, START + 0.0001)

    assert query.repair_s() == LAN.repair_floor_s


def test_a_hop_that_varies_much_slows_the_waves():
    query, _ = begun(30)
    for index in range(1, 20):
        hear(query, index, START + (0.001 if index % 2 else 0.2))

    hops = query.hops
    assert query.repair_s() == pytest.approx(2 * hops.mean_s + 4 * hops.deviation_s)


def test_a_wave_is_bounded_and_begins_with_who_was_asked_least_and_lives():
    view = make_view(30).merged([make_member(i, status=DEAD) for i in range(1, 20)])
    query, _ = begun(view=view, config=replace(LAN, repair_asks_max=12))

    first = query.wave(query.next_wave)
    second = query.wave(query.next_wave)

    assert len(first) == len(second) == 12
    living = {make_member(i).endpoint for i in range(20, 30)}
    assert living <= {a.to for a in first}
    assert not {a.to for a in first} & {a.to for a in second}


def test_waves_are_halved_when_half_of_the_answers_were_heard_before():
    query, _ = begun(600)
    query.wave(query.next_wave)
    for index in range(1, 6):
        hear(query, index)
        hear(query, index)

    query.wave(query.next_wave)

    assert query.asks_max == LAN.repair_asks_max // 2


def test_what_a_hurried_wave_asks_in_vain_does_not_halve_the_waves():
    query, _ = begun(100)
    for index in [*range(1, 10), *range(1, 10)]:
        hear(query, index)
    query.pause = 2 / 3

    query.pace()

    assert query.asks_max == LAN.repair_asks_max
    assert query.wave_replies == (18, 9)


def test_a_few_answers_heard_before_do_not_halve_the_waves_and_there_is_a_floor():
    query, _ = begun(600)
    query.wave(query.next_wave)
    for _ in range(7):
        hear(query, 1)
    query.wave(query.next_wave)
    assert query.asks_max == LAN.repair_asks_max

    for _ in range(20):
        for _ in range(10):
            hear(query, 1)
        query.wave(query.next_wave)
    assert query.asks_max == 16


def test_a_loop_that_lags_waits_once_more_before_it_blames_anybody():
    query, _ = begun(3)
    now = query.next_wave + 1.0

    query.excuse(now, lag_s=1.0)

    assert query.wave(now) == []
    assert query.next_wave == now + query.repair_s()
    assert len(query.wave(query.next_wave)) == 2


def test_a_loop_that_hardly_lags_or_has_nothing_due_waits_for_nothing():
    query, _ = begun(3)
    planned = query.next_wave

    query.excuse(planned + 0.01, lag_s=0.01)
    query.excuse(planned - 0.01, lag_s=1.0)

    assert query.next_wave == planned


# -- stopping -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "firsts", "waves", "wanted"),
    [
        pytest.param(200, [0], 0, 10, id="nobody answered yet"),
        pytest.param(100, [0, 30, 20, 9], 3, 9, id="heavy loss"),
        pytest.param(100, [0, 1, 40, 40, 40, 40, 40, 40, 40], 3, 30, id="at most 30"),
        pytest.param(2_000, [0, 30, 5, 2], 3, 8, id="cells: from 7.5 of 47"),
        pytest.param(2_000, [0, 90_000, 0], 2, 2, id="cells: at least 2"),
    ],
)
def test_silence_is_proof_after_as_many_asks_as_the_formula_says(members, firsts, waves, wanted):
    query, _ = begun(members)
    query.firsts, query.waves = firsts, waves

    assert query.asks_wanted() == wanted


def test_it_converges_only_after_every_silent_member_was_asked_often_enough():
    query, _ = begun(4)
    hear(query, 1)

    asks, why = waves_until_the_end(query)

    assert why == "converged"
    assert asks == [2] * (query.asks_wanted() - 1) + [2 + 1]
    assert [p.asks for p in query.pending.values()] == [len(asks)] * 2
    assert query.duplicates == 0


def test_while_nobody_at_all_is_heard_silence_may_be_its_own_and_proves_nothing():
    query, _ = begun(4)
    hear(query, 1)
    wanted = query.asks_wanted()

    asks, why = waves_until_the_end(query, signs=0)

    assert why == "converged"
    assert len(asks) == wanted + DEAF_WAVES_MAX
    assert [p.asks for p in query.pending.values()] == [wanted] * 2


def test_a_sign_of_life_after_a_silence_of_its_own_lets_it_end():
    query, _ = begun(4)
    hear(query, 1)
    wanted = query.asks_wanted()
    while query.witnesses.deaf_waves < 2:
        query.wave(query.next_wave)

    hear(query, 1, query.next_wave - 0.001)

    assert verdict(query, query.next_wave) == "converged"
    assert [p.asks for p in query.pending.values()] == [wanted] * 2


def test_where_few_asks_are_wanted_the_last_comes_later_than_the_others():
    query, _ = begun(100, config=replace(LAN, repair_floor_s=0.100))
    for index in range(1, 100):
        if index != 7:
            hear(query, index)
    times = []
    while verdict(query, query.next_wave) is None:
        now = query.next_wave
        for send in query.wave(now)[1:]:
            hear(query, send.to[1] - 1000, now + 0.02)
        times.append(now)

    pauses = [round(later - now, 6) for now, later in pairwise(times)]
    assert pauses == [0.1] * (len(times) - 2) + [pytest.approx(0.1 * LATE_PAUSES)]


def test_an_answer_that_comes_too_soon_is_one_to_the_ask_before():
    query, _ = begun(4)
    hear(query, 1)
    query.wave(query.next_wave)
    query.wave(query.next_wave)

    hear(query, 2, query.waved_at + 0.001)
    hear(query, 3, query.waved_at + 0.021)

    assert query.firsts == [0, 1, 1]


def test_a_wave_with_nobody_left_to_ask_is_none():
    query, _ = begun(2)
    hear(query, 1)

    assert query.wave(query.next_wave) == []
    assert query.waves == 0


def test_with_members_cut_off_silence_ends_it_as_aged():
    query, _ = begun(4, age_max=2)
    hear(query, 1, cut=(position("n2"), position("n2")))

    assert waves_until_the_end(query)[1] == "aged"


def test_the_deadline_ends_it_in_the_middle_of_the_waves():
    query, _ = begun(4, deadline_ms=100)

    _, why = waves_until_the_end(query)

    assert why == "deadline"
    assert query.next_deadline() == START + 0.1


@pytest.mark.parametrize(("answers", "why"), [(1, None), (2, "satisfied")])
def test_it_is_satisfied_by_the_share_of_members_that_was_asked_for(answers, why):
    query, _ = begun(4, until=UNTIL_SHARE, until_value=750)
    for index in range(1, answers + 1):
        hear(query, index)

    assert verdict(query) == why


def test_it_is_satisfied_when_the_value_was_stable_for_long_enough():
    query, _ = begun(4, until=UNTIL_STABLE, until_value=30)
    hear(query, 1, START + 0.02, value=5)
    hear(query, 2, START + 0.04, value=0)

    assert query.next_deadline() <= START + 0.05
    assert verdict(query, START + 0.049) is None
    assert verdict(query, START + 0.051) == "satisfied"


def test_silence_that_is_proven_is_waited_out_where_the_asker_wants_a_time_without_change():
    query, _ = begun(4, until=UNTIL_STABLE, until_value=1_500)
    hear(query, 1)

    assert waves_until_the_end(query)[1] == "satisfied"


def test_a_time_without_change_that_ends_after_the_deadline_is_not_waited_for():
    query, _ = begun(4, until=UNTIL_STABLE, until_value=2_000)
    hear(query, 1)

    assert waves_until_the_end(query)[1] == "converged"
    assert query.next_wave < query.deadline


def test_what_the_asker_called_enough_is_satisfied_though_aging_cut_the_others_off():
    query, _ = begun(4, until=UNTIL_SHARE, until_value=500, age_max=2)
    hear(query, 1, cut=(0, RING - 1, position("n1")))

    assert query.pending == {}
    assert verdict(query) == "satisfied"


def test_all_who_are_known_satisfy_a_share_though_the_list_is_in_doubt():
    query, _ = begun(2, until=UNTIL_SHARE, until_value=900)
    hear(query, 1)

    assert verdict(query, current=False, hopeless=True) == "satisfied"


def test_complete_comes_before_every_other_reason():
    query, _ = begun(2, until=UNTIL_SHARE, until_value=1000)
    hear(query, 1)

    assert verdict(query, query.deadline + LATE_S - 0.1) == "complete"


def test_long_past_its_deadline_no_query_is_complete():
    query, _ = begun(2)
    hear(query, 1)

    # What it heard early may be part of what it heard late: shares are folded by then.
    assert verdict(query, query.deadline + LATE_S) == "deadline"


# -- telling --------------------------------------------------------------------------------


def test_messages_are_replies_the_asks_behind_first_answers_and_all_repair_asks():
    query, _ = begun(4)
    hear(query, 1)
    hear(query, 1)
    query.wave(query.next_wave)
    hear(query, 2)

    assert query.messages == 3 + 1 + 2


def test_datagrams_between_addresses_of_ipv6_weigh_their_longer_headers():
    query, _ = begun(4)
    hear(query, 1)
    weight = bytes_of(query)

    query.home = ("::1", query.home[1])

    longer_addresses = (16 - 4) * (query.messages - query.replies)
    assert bytes_of(query) == weight + 20 * query.messages + longer_addresses


def test_an_answer_to_a_repair_ask_is_counted_by_how_often_it_was_asked():
    query, _ = begun(4)
    query.wave(query.next_wave)
    hear(query, 1, query.waved_at + 0.02)
    query.wave(query.next_wave)
    hear(query, 2, query.waved_at + 0.02)

    assert query.firsts == [0, 1, 1]
    assert query.hops.weight == 0


@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from("abcdefgh")), max_size=12))
def test_the_largest_shares_are_those_that_would_come_first_if_all_were_sorted(told):
    rows = [Heard(name, b"", 1, value, 1, 0.0, False) for value, name in told]

    for most in (1, 3, 8):
        found = largest(rows, most)
        assert found == sorted(rows, key=lambda h: (-h.value, h.name))[:most]
