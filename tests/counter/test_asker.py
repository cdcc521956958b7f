"""The origin's side of its clients' queries: held, told in parts, ended with one last answer."""

from dataclasses import replace
from math import inf

import pytest
from origins import (
    LINK,
    OTHER_LINK,
    Origin,
    last_answer,
    make_member,
    make_request,
    make_view,
    told,
)

from counter.config import LAN
from counter.lastknown import LastValue
from counter.messages import (
    DECREASED,
    DOOR,
    GOSSIP,
    UNTIL_SHARE,
    Answer,
    Answered,
    Missing,
    Stop,
)
from tracker.machine import Send
from tracker.members import GONE
from tracker.messages import Refused

# -- the end --------------------------------------------------------------------------------


def test_the_last_reply_ends_the_query_at_once():
    origin = Origin(3)
    asks = origin.ask()
    origin.now = 0.010
    assert origin.reply(asks, 1, value=20) == []

    answer = last_answer(origin.reply(asks, 2, value=3))

    assert (answer.value, answer.complete, answer.reason) == (123, True, "complete")
    assert (answer.answered, answer.members, answer.missing) == (3, 3, 0)
    assert (answer.low, answer.filled, answer.filled_age_s) == (123, 123, 0.0)
    assert (answer.elapsed_ms, answer.hops, answer.messages) == (10.0, 1, 4)
    assert answer.top == (("n0", 100, 0, 0.0), ("n1", 20, 1, 10.0), ("n2", 3, 1, 10.0))
    assert DOOR.decode(DOOR.encode(answer)) == answer


@pytest.mark.parametrize(("trace", "reply"), [(False, 25), (True, 63)], ids=["plain", "traced"])
def test_the_bytes_are_those_of_its_messages_with_their_headers(trace, reply):
    origin = Origin(3)
    asks = origin.ask(make_request(trace=trace))
    origin.reply(asks, 1)

    answer = last_answer(origin.reply(asks, 2))

    about = sum(len(GOSSIP.encode(a.message)) + 28 for a in asks) + 2 * (reply + 28)
    assert answer.bytes == pytest.approx(about, rel=0.1)


def test_alone_the_answer_comes_in_the_same_step_and_costs_nothing():
    answer = last_answer(Origin(1).ask())

    assert (answer.value, answer.reason, answer.messages, answer.bytes) == (100, "complete", 0, 0)


def test_without_a_tracker_s_word_everybody_answering_is_not_called_complete():
    origin = Origin(2)
    origin.known_until = -inf
    asks = origin.ask()
    assert origin.reply(asks, 1) == []

    origin.is_hopeless = True
    answer = last_answer(origin.tick())

    assert (answer.reason, answer.complete, answer.missing) == ("converged", False, 0)
    assert "no tracker" in answer.why


def test_who_stays_silent_is_named_with_the_last_value_known_before_the_answer():
    origin = Origin(3)
    origin.asker.listener.last_values.note(make_member(2).store[:8], "k", LastValue(40, -5.0, True))
    asks = origin.ask()
    origin.reply(asks, 1)

    effects = origin.ticks_until(3.0)

    answer = last_answer(effects)
    assert (answer.reason, answer.value, answer.filled, answer.low) == ("converged", 101, 141, None)
    (page,) = told(effects, Missing)
    ((name, _, value, age_s, why),) = page.rows
    assert (name, value, why) == ("n2", 40, "no answer")
    assert age_s == answer.filled_age_s == pytest.approx(answer.elapsed_ms / 1000 + 5.0)
    assert answer.why == ""


def test_who_was_never_heard_is_named_without_a_value():
    origin = Origin(2)
    origin.ask()

    (page,) = told(origin.ticks_until(3.0), Missing)

    assert page.rows == (("n1", 0, None, -1.0, "no answer"),)


def test_a_decreased_key_has_no_certain_lower_bound():
    origin = Origin(2)
    asks = origin.ask()

    assert last_answer(origin.reply(asks, 1, flags=DECREASED)).low is None


def test_what_was_heard_fills_the_gap_of_the_next_query():
    origin = Origin(2)
    origin.reply(origin.ask(), 1, value=7)
    origin.ask(make_request(2))

    answer = last_answer(origin.ticks_until(3.0))

    assert (answer.value, answer.filled) == (100, 107)


def test_what_a_member_answered_under_another_name_does_not_fill_its_gap_too():
    origin = Origin(2)
    origin.reply(origin.ask(), 1, value=7)
    asks = origin.ask(make_request(2))
    origin.reply(asks, 1, value=7, position=12345)

    answer = last_answer(origin.ticks_until(3.0))

    assert (answer.value, answer.filled, answer.missing) == (107, 107, 1)


def test_pages_of_rows_and_of_the_missing_come_before_the_end():
    origin = Origin(700, repair_floor_s=9.0)
    asks = origin.ask(make_request(rows=True, deadline_ms=100))
    for index in range(1, 301):
        origin.reply(asks, index)

    effects = origin.ticks_until(1.0)

    kinds = [type(e.message) for e in effects if e.to == LINK]
    assert kinds == [Answered] * 2 + [Missing] * 2 + [Answer]
    assert sum(len(page.rows) for page in told(effects, Answered)) == 301
    assert sum(len(page.rows) for page in told(effects, Missing)) == 399
    assert last_answer(effects).reason == "deadline"


def test_those_who_were_asked_are_told_to_stop_when_somebody_was_not_heard():
    origin = Origin(30)
    asks = origin.ask()

    effects = origin.asker.cancel(LINK, 1, origin.now)

    stops = [e for e in effects if isinstance(e.message, Stop)]
    assert [s.to for s in stops] == [a.to for a in asks]
    assert last_answer(effects).reason == "cancelled"


def test_nobody_is_told_to_stop_when_everybody_was_heard():
    origin = Origin(2)
    asks = origin.ask()

    effects = origin.reply(asks, 1)

    assert [type(e.message) for e in effects] == [Answer]


def test_it_ends_when_the_share_that_was_asked_for_was_heard():
    origin = Origin(4)
    asks = origin.ask(make_request(until=UNTIL_SHARE, until_value=500))

    assert last_answer(origin.reply(asks, 1)).reason == "satisfied"


def test_a_loop_that_lags_reads_first_what_arrived_meanwhile():
    origin = Origin(2)
    asks = origin.ask()
    query = next(iter(origin.asker._by_id.values())).query
    while query.waves < query.asks_wanted():
        origin.now = origin.asker.deadline()
        origin.tick()
    origin.now = origin.asker.deadline() + 0.5

    assert origin.tick(lag_s=0.5) == []
    assert last_answer(origin.reply(asks, 1)).reason == "complete"


# -- partial results ------------------------------------------------------------------------


def test_partial_results_come_ten_times_a_second_at_most():
    origin = Origin(60, repair_floor_s=9.0)
    asks = origin.ask(make_request(partial_ms=1))
    effects = []
    for index in range(1, 50):
        origin.reply(asks, index)
        effects += origin.ticks_until(origin.now + 0.010)

    partials = told(effects, Answer)
    assert len(partials) == 4
    assert not any(p.end or p.reason or p.complete for p in partials)
    assert [p.value for p in partials] == sorted({p.value for p in partials})


def test_a_partial_result_is_sent_only_when_somebody_new_was_heard():
    origin = Origin(3, repair_floor_s=9.0)
    asks = origin.ask(make_request(partial_ms=100, deadline_ms=1_000))
    origin.reply(asks, 1)

    answers = told(origin.ticks_until(0.9), Answer)

    assert len([a for a in answers if not a.end]) == 1


def test_who_asked_for_no_partial_results_gets_none():
    origin = Origin(60)
    asks = origin.ask()
    for index in range(1, 50):
        origin.reply(asks, index)

    assert told(origin.ticks_until(0.050), Answer) == []


# -- holding back ---------------------------------------------------------------------------


def test_a_held_request_is_released_when_the_view_is_known():
    origin = Origin()
    assert origin.hold() == []
    assert origin.asker.released(0.0, view_is_known=False) == []

    (due,) = origin.asker.released(0.1, view_is_known=True)

    assert [viewer.request for viewer in due.viewers.values()] == [make_request()]
    assert len(origin.asker) == 0


@pytest.mark.parametrize(("deadline_ms", "wait_s"), [(600, 0.3), (0, LAN.budget_s / 2)])
def test_a_held_request_waits_for_half_of_its_deadline(deadline_ms, wait_s):
    origin = Origin()
    origin.hold(make_request(deadline_ms=deadline_ms))

    assert origin.asker.deadline() == wait_s
    assert origin.asker.released(wait_s - 0.001, view_is_known=False) == []
    assert len(origin.asker.released(wait_s, view_is_known=False)) == 1


def test_a_held_request_can_be_cancelled():
    origin = Origin()
    origin.hold()

    (effect,) = origin.asker.cancel(LINK, 1, 0.1)

    assert effect == Send(LINK, Refused(1, "cancelled", "cancelled before it began"))
    assert len(origin.asker) == 0


def test_cancelling_what_is_not_asked_changes_nothing():
    origin = Origin()
    origin.ask()

    assert origin.asker.cancel(OTHER_LINK, 1, 0.0) == []
    assert origin.asker.cancel(LINK, 2, 0.0) == []
    assert len(origin.asker) == 1


def test_a_client_that_goes_away_ends_its_own_queries_and_no_others():
    origin = Origin(30)
    origin.ask(make_request(1, key="k1"))
    origin.ask(make_request(2, key="k2"), OTHER_LINK)
    origin.hold(make_request(3, key="k3"))
    origin.hold(make_request(4, key="k4"), OTHER_LINK)

    effects = origin.asker.closed(LINK, 0.0)

    assert len(origin.asker) == 2
    assert sum(isinstance(e.message, Stop) for e in effects) == 10


@pytest.mark.parametrize("held", [True, False], ids=["held", "asked"])
def test_past_too_many_queries_it_is_busy(held):
    origin = Origin(own_queries_max=2)
    origin.ask(make_request(1))
    origin.hold(make_request(2, key="k2"))
    third = make_request(3, key="k3")

    effects = origin.hold(third) if held else origin.ask(third)

    assert [m.code for m in told(effects, Refused)] == ["busy"]
    assert len(origin.asker) == 2


@pytest.mark.parametrize("held", [True, False], ids=["held", "asked"])
def test_a_request_number_in_use_is_refused_and_the_first_goes_on(held):
    origin = Origin()
    begin = origin.hold if held else origin.ask
    begin(make_request(1))

    (effect,) = begin(make_request(1, key="other"))

    assert effect.message.code == "unexpected"
    assert len(origin.asker) == 1


def test_a_newer_view_reaches_every_query():
    origin = Origin(3)
    asks = origin.ask()
    origin.asker.follow(make_view(3).merged([make_member(2).became(GONE)]))

    assert last_answer(origin.reply(asks, 1)).members == 2


def test_a_place_that_is_taken_over_during_a_query_counts_once():
    origin = Origin(3)
    asks = origin.ask()
    origin.reply(asks, 1, value=20)
    reborn = replace(make_member(1), store=b"reborn..reborn..", reign=1)
    parent = make_member(1).handed_over("n1").without_name()
    origin.asker.follow(origin.view.merged([parent, reborn]))

    assert origin.reply(asks, 2, value=3) == []
    answer = last_answer(origin.reply(asks, 1, value=7, store=reborn.store[:8]))

    assert (answer.value, answer.answered, answer.members) == (110, 3, 3)


def test_hops_measured_by_one_query_are_where_the_next_begins():
    origin = Origin(2)
    asks = origin.ask()
    origin.now = 0.2
    origin.reply(asks, 1)

    assert origin.asker.hops.mean_s == pytest.approx(0.1)


def test_a_thousand_queries_leave_nothing_behind():
    origin = Origin(3)
    for number in range(1_000):
        asks = origin.ask(make_request(number, partial_ms=100))
        origin.reply(asks, 1)
        if number % 3 == 0:
            origin.reply(asks, 2)
        elif number % 3 == 1:
            origin.asker.cancel(LINK, number, origin.now)
        else:
            origin.asker.closed(LINK, origin.now)

    assert len(origin.asker) == 0
    assert origin.asker.deadline() is None
    assert len(origin.asker.listener.last_values) == 2
    assert origin.tick() == []
    assert origin.asker.asked_total == 1_000
