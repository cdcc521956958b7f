"""Who wants which answer: shared by those who ask the same, and never an older one."""

from math import inf

import pytest
from origins import LINK, OTHER_LINK, Origin, ended_in, last_answer, listed, make_request, told

from counter.config import LAN
from counter.messages import (
    ENDED,
    LEAF,
    RUNNING,
    UNTIL_SHARE,
    Answer,
    Answered,
    Ask,
    Missing,
    Stop,
)
from tracker.messages import Refused


def asks_in(effects):
    """Return the asks with which queries begin; repair asks as leaves."""
    return [e for e in effects if isinstance(e.message, Ask) and not e.message.flags & LEAF]


def test_who_asks_what_is_being_asked_waits_for_the_next_query_and_shares_it():
    origin = Origin(2)
    first = origin.ask()
    for link in range(10, 20):
        assert origin.ask(link=link) == []
    assert origin.asker.deadline() < LAN.share_wait_s
    origin.now = 0.010

    assert [link for link, _ in ended_in(origin.reply(first, 1))] == [LINK]
    assert origin.asker.deadline() == origin.now
    second = origin.tick()
    assert len(asks_in(second)) == 1
    ended = ended_in(origin.reply(second, 1, value=9))

    assert [link for link, _ in ended] == list(range(10, 20))
    assert {answer.value for _, answer in ended} == {109}
    assert origin.asker.asked_total == 2


def test_nobody_is_given_an_answer_that_began_before_the_own_request():
    origin = Origin(2)
    first = origin.ask()
    origin.ask(link=OTHER_LINK)

    # Counted on n1 after it had answered the first query, before the second one asked.
    ended = ended_in(origin.reply(first, 1, value=1))
    ended += ended_in(origin.reply(origin.tick(), 1, value=2))

    assert [(link, answer.value) for link, answer in ended] == [(LINK, 101), (OTHER_LINK, 102)]


def test_a_slow_query_of_somebody_else_is_not_waited_for_longer_than_a_share_of_the_deadline():
    origin = Origin(2, repair_floor_s=9.0)
    origin.ask(make_request(deadline_ms=60_000))
    origin.ask(make_request(deadline_ms=400), OTHER_LINK)

    effects = origin.ticks_until(0.099)
    assert asks_in(effects) == []
    asks = asks_in(origin.ticks_until(0.101))
    assert len(asks) == 1
    (ended,) = ended_in(origin.reply(asks, 1))

    assert (ended[0], ended[1].complete) == (OTHER_LINK, True)
    assert len(origin.asker) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"key": "other"}, {"chatter": 2}, {"visits": 3}, {"age_max": 9}, {"trace": True},
        {"until": UNTIL_SHARE, "until_value": 900},
    ],
    ids=str,
)  # fmt: skip
def test_who_asks_something_else_does_not_wait(change):
    origin = Origin(2)
    origin.ask()

    assert len(asks_in(origin.ask(make_request(**change), OTHER_LINK))) == 1


def test_each_viewer_is_told_what_it_wished_for():
    origin = Origin(60, repair_floor_s=9.0)
    first = origin.ask()
    origin.ask(make_request(partial_ms=100), 7)
    origin.ask(make_request(partial_ms=1_000, rows=True), 8)
    for index in range(1, 60):
        origin.reply(first, index)
    second = origin.tick()
    origin.reply(second, 1)
    partials = told(origin.ticks_until(0.5), Answer, 7)
    effects = []
    for index in range(2, 60):
        effects += origin.reply(second, index)

    assert [p.end for p in partials] == [False]
    assert told(effects, Answered, 7) == []
    assert sum(len(page.rows) for page in told(effects, Answered, 8)) == 60
    assert (last_answer(effects[-1:], 8).end, len(told(effects, Answer, 7))) == (True, 1)


def test_a_viewer_s_deadline_is_its_own_and_the_others_go_on():
    origin = Origin(3, repair_floor_s=9.0)
    origin.ask()
    origin.asker.cancel(LINK, 1, 0.0)
    origin.hold(make_request(deadline_ms=300))
    origin.hold(make_request(deadline_ms=3_000), OTHER_LINK)
    asks = origin.tick()
    origin.reply(asks, 1)

    early = origin.ticks_until(0.301)
    late = origin.reply(asks, 2)

    assert [(link, a.reason, a.value) for link, a in ended_in(early)] == [(LINK, "deadline", 101)]
    assert [(link, a.reason, a.value) for link, a in ended_in(late)] == [
        (OTHER_LINK, "complete", 102),
    ]  # fmt: skip
    assert [e for e in early if isinstance(e.message, Stop)] == []


def test_the_last_viewer_that_leaves_ends_the_query():
    origin = Origin(30)
    origin.hold(make_request(1))
    origin.hold(make_request(2), OTHER_LINK)
    asks = origin.tick()

    first = origin.asker.cancel(LINK, 1, 0.1)
    second = origin.asker.closed(OTHER_LINK, 0.2)

    assert [type(e.message) for e in first] == [Missing, Answer]
    assert [e.to for e in second if isinstance(e.message, Stop)] == [a.to for a in asks]
    assert len(origin.asker) == 0


def test_the_last_deadline_before_the_query_s_own_tells_everybody_to_stop():
    origin = Origin(30, repair_floor_s=9.0)
    origin.hold(make_request(1, deadline_ms=100))
    origin.hold(make_request(2, deadline_ms=9_000), OTHER_LINK)
    asks = origin.tick()
    origin.asker.cancel(OTHER_LINK, 2, 0.0)

    effects = origin.ticks_until(0.2)

    assert last_answer(effects).reason == "deadline"
    assert len([e for e in effects if isinstance(e.message, Stop)]) == len(asks)


def test_past_too_many_viewers_one_more_hears_busy():
    origin = Origin(2, viewers_max=2)
    origin.hold(make_request(1))
    origin.hold(make_request(2))

    (refused,) = told(origin.hold(make_request(3)), Refused)

    assert (refused.request, refused.code) == (3, "busy")


def test_a_viewer_of_a_round_that_has_not_begun_may_leave_and_the_round_goes_on():
    origin = Origin(2)
    asks = origin.ask()
    origin.ask(make_request(2))
    origin.ask(make_request(3), OTHER_LINK)

    (refused,) = told(origin.asker.cancel(LINK, 2, 0.0), Refused)
    origin.reply(asks, 1)
    ended = ended_in(origin.reply(origin.tick(), 1))

    assert (refused.code, [link for link, _ in ended]) == ("cancelled", [OTHER_LINK])


# -- watching -------------------------------------------------------------------------------


def test_a_request_with_a_pause_begins_after_it():
    origin = Origin(2)
    assert origin.ask(make_request(pause_ms=1_000)) == []
    assert origin.asker.deadline() == 1.0

    asks = origin.ticks_until(1.0)
    origin.now = 2.9

    # Its deadline of two seconds began to run when it was asked.
    assert last_answer(origin.reply(asks, 1)).complete


def test_those_who_watch_the_same_soon_share_every_round():
    origin = Origin(2)
    watchers = {link: 0.09 * link for link in range(10, 20)}
    rounds = []
    wishes = sorted((at, link) for link, at in watchers.items())
    while wishes[0][0] < 12.0:
        at, link = wishes.pop(0)
        origin.ticks_until(at)
        effects = origin.ask(make_request(link, pause_ms=1_000), link)
        assert effects == []
        while not wishes or (origin.asker.deadline() or inf) <= wishes[0][0]:
            origin.now = origin.asker.deadline()
            asks = origin.tick()
            ended = ended_in(origin.reply(asks, 1))
            rounds.append(len(ended))
            wishes = sorted([*wishes, *[(origin.now, link) for link, _ in ended]])

    assert sum(rounds[:4]) >= 10
    assert rounds[-5:] == [10] * 5


def test_a_watched_round_lets_the_same_query_end_first_but_not_for_long():
    origin = Origin(2, repair_floor_s=9.0)
    origin.ask(make_request(pause_ms=1_000))
    origin.now = 0.99
    origin.ask(make_request(2, deadline_ms=9_000), OTHER_LINK)

    effects = origin.ticks_until(1.2)
    assert asks_in(effects) == []

    assert len(asks_in(origin.ticks_until(1.3))) == 1
    assert origin.asker.asked_total == 2


def test_a_watch_joins_a_round_of_others_in_the_second_half_of_its_pause():
    origin = Origin(2)
    origin.ask(make_request(1, pause_ms=1_000))
    origin.now = 0.6
    origin.ask(make_request(2, pause_ms=500), OTHER_LINK)
    origin.ask(make_request(3, pause_ms=2_000), OTHER_LINK)

    effects = origin.ticks_until(1.0)

    assert len(asks_in(effects)) == 1
    assert [link for link, _ in ended_in(origin.reply(effects, 1))] == [LINK, OTHER_LINK]
    assert origin.asker.deadline() == 2.6


def test_rounds_of_the_same_question_that_are_due_together_are_one():
    origin = Origin(2)
    origin.ask(make_request(1, pause_ms=1_000))
    origin.now = 0.9
    origin.ask(make_request(2, pause_ms=50), OTHER_LINK)
    origin.now = 1.1

    asks = asks_in(origin.tick())

    assert [(row[1], row[2], row[7]) for row in listed(origin)] == [
        (RUNNING, "", 2), (ENDED, "shared", 1),
    ]  # fmt: skip
    assert [link for link, _ in ended_in(origin.reply(asks, 1))] == [LINK, OTHER_LINK]


def test_the_end_of_an_older_query_begins_nothing_while_a_younger_one_runs():
    origin = Origin(2, repair_floor_s=9.0)
    first = origin.ask()
    origin.ask(link=7)
    second = asks_in(origin.ticks_until(0.3))
    origin.ask(link=8)

    origin.reply(first, 1)
    assert asks_in(origin.tick()) == []
    origin.reply(second, 1)
    assert len(asks_in(origin.tick())) == 1


def test_answers_of_one_origin_are_apart_by_its_own_clock():
    origin = Origin(1)
    origin.now = 500.0
    begun = [last_answer(origin.ask()).begun_s]
    origin.now = 502.5
    begun.append(last_answer(origin.ask()).begun_s)

    assert begun == [0.0, 2.5]
