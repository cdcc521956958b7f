"""The origin's side of its clients' queries: held, told in parts, ended with one last answer."""

from dataclasses import replace
from math import inf
from random import Random

import pytest

from counter.asker import Asker
from counter.config import LAN
from counter.lastknown import LastValue
from counter.messages import (
    DECREASED,
    DONE,
    DOOR,
    ENDED,
    GOSSIP,
    LEAF,
    RUNNING,
    STORY_EVENTS_MAX,
    UNTIL_ALL,
    UNTIL_SHARE,
    WAITING,
    Ack,
    Answer,
    Answered,
    Ask,
    Back,
    Batch,
    Delegate,
    KillQuery,
    ListQueries,
    Missing,
    Query,
    QueryKilled,
    Reply,
    Stop,
    Story,
    TellStory,
    packed_rows,
)
from counter.stories import LAST_EVENTS
from tracker.machine import Send
from tracker.members import GONE, Member, View, position
from tracker.messages import Refused

LINK, OTHER_LINK = 5, 6


def make_member(index):
    return Member(f"n{index}", index.to_bytes(8, "big") * 2, 0, 1, 0, "127.0.0.1", 1000 + index)


def make_view(count):
    return View().merged([make_member(i) for i in range(count)])


def make_request(number=1, **changes):
    request = Query(number, "k", 0, 0, 0, 2_000, UNTIL_ALL, 0, 0, False)
    return replace(request, **changes)


class Origin:
    """An asker at n0, whose share is 100, with time and a view to hand it."""

    def __init__(self, count=3, **limits):
        self.config = replace(LAN, **limits)
        self.asker = Asker(self.config, make_member(0), Random(1))
        self.view = make_view(count)
        self.now = 0.0
        self.known_until, self.is_hopeless = inf, False

    def ask(self, request=None, link=LINK):
        """Hand in a request, and begin what is due."""
        effects = self.asker.take(link, request or make_request(), self.now, view_is_known=True)
        return effects + self.begin()

    def hold(self, request=None, link=LINK):
        """Hand in a request before anything is known of the cluster."""
        return self.asker.take(link, request or make_request(), self.now, view_is_known=False)

    def begin(self):
        standing = {"view_known_until": self.known_until, "view_is_hopeless": self.is_hopeless}
        effects = []
        for due in self.asker.released(self.now, view_is_known=True):
            effects += self.asker.begin(due, (100, False), self.view, self.now, **standing)
        return effects

    def reply(self, effects, index, value=1, **changes):
        query = next(e.message.query for e in effects if isinstance(e.message, Ask))
        member = make_member(index)
        plain = Reply(query, position(member.name), member.store[:8], 1, value, 1, 0, (), ())
        sent = replace(plain, **changes)
        if not self.asker.hear(sent, member.endpoint, self.now):
            return []
        return self.asker.conclude(sent.query, self.now, view_known_until=self.known_until)

    def tick(self, lag_s=0.0):
        standing = {"view_known_until": self.known_until, "view_is_hopeless": self.is_hopeless}
        return self.begin() + self.asker.tick(self.now, lag_s, **standing)

    def ticks_until(self, end):
        """Tick whenever wanted, up to a time; returns everything that was sent."""
        effects = []
        while (due := self.asker.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            effects += self.tick()
        self.now = end
        return effects


def told(effects, kind, link=LINK):
    return [e.message for e in effects if e.to == link and isinstance(e.message, kind)]


def last_answer(effects, link=LINK):
    assert isinstance(effects[-1].message, Answer), effects
    (answer,) = [a for a in told(effects, Answer, link) if a.end]
    return answer


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


def test_the_age_of_what_is_known_of_the_silent_is_not_known_where_nothing_is():
    origin = Origin(3)
    origin.reply(origin.ask(), 1)

    answer = last_answer(origin.ticks_until(3.0))

    assert (answer.missing, answer.filled, answer.filled_age_s) == (1, 101, -1.0)


def test_who_stays_silent_is_named_with_the_last_value_known_before_the_answer():
    origin = Origin(3)
    origin.asker.last_values.note(make_member(2).store[:8], "k", LastValue(40, -5.0, True))
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


# -- the cluster ----------------------------------------------------------------------------


def test_an_answer_to_an_unknown_query_is_dropped_and_counted():
    origin = Origin(3)
    asks = origin.ask()

    assert origin.reply(asks, 1, query=b"?" * 16) == []
    origin.reply(asks, 1, store=b"wrong---")
    origin.reply(asks, 1)
    origin.reply(asks, 2)

    assert origin.asker.strangers == 2


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


def test_a_query_knows_its_own_asks():
    origin = Origin(3)
    asks = origin.ask()

    assert origin.asker.is_own(asks[0].message.query)
    assert not origin.asker.is_own(b"?" * 16)


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
    assert len(origin.asker.last_values) == 2
    assert origin.tick() == []
    assert origin.asker.asked_total == 1_000


# -- sharing --------------------------------------------------------------------------------


def asks_in(effects):
    """Return the asks with which queries begin; repair asks as leaves."""
    return [e for e in effects if isinstance(e.message, Ask) and not e.message.flags & LEAF]


def ended_in(effects):
    """Return (link, answer) of every last answer."""
    return [(e.to, e.message) for e in effects if isinstance(e.message, Answer) and e.message.end]


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


# -- following from outside -----------------------------------------------------------------


def listed(origin):
    (effect,) = origin.asker.stories.list_to(OTHER_LINK, ListQueries(9), origin.now)
    assert DOOR.decode(DOOR.encode(effect.message)) == effect.message
    return [row[1:] for row in effect.message.rows]


def ids(origin):
    (effect,) = origin.asker.stories.list_to(OTHER_LINK, ListQueries(9), origin.now)
    return [row[0].hex() for row in effect.message.rows]


def story(origin, prefix):
    (effect,) = origin.asker.stories.tell_to(OTHER_LINK, TellStory(9, prefix), origin.now)
    if isinstance(effect.message, Story):
        assert DOOR.decode(DOOR.encode(effect.message)) == effect.message
    return effect.message


def kill(origin, prefix):
    return origin.asker.kill(OTHER_LINK, KillQuery(9, prefix), origin.now)


def test_the_queries_of_a_node_are_listed_with_who_asked_and_those_that_ended_after_them():
    origin = Origin(3)
    origin.asker.meet(LINK, ("127.0.0.1", 5000))
    asks = origin.ask(make_request(1, key="old"))
    origin.reply(asks, 1)
    origin.reply(asks, 2)
    origin.now = 1.0
    asks = origin.ask(make_request(2, key="new"))
    origin.ask(make_request(1, key="new"), OTHER_LINK)
    origin.now = 1.5
    origin.reply(asks, 1)

    assert listed(origin) == [
        ("new", WAITING, "others", 0.5, -1.0, 0, 0, 1, f"client {OTHER_LINK}"),
        ("new", RUNNING, "", 0.5, 0.5, 2, 3, 1, "127.0.0.1:5000"),
        ("old", ENDED, "complete", 1.5, 0.0, 3, 3, 1, "127.0.0.1:5000"),
    ]


def test_many_queries_are_listed_on_several_pages():
    origin = Origin(1, stories_max=300)
    for number in range(300):
        origin.ask(make_request(number))

    pages = origin.asker.stories.list_to(OTHER_LINK, ListQueries(9), origin.now)

    assert [(p.message.end, len(p.message.rows)) for p in pages] == [
        (False, 128), (False, 128), (True, 44),
    ]  # fmt: skip


def test_ended_queries_are_forgotten_in_time_and_past_a_number():
    origin = Origin(1, stories_max=3, story_s=10.0)
    for number in range(5):
        origin.now = float(number)
        origin.ask(make_request(number, key=f"k{number}"))
    assert [row[0] for row in listed(origin)] == ["k4", "k3", "k2"]

    origin.now = 13.5

    assert [row[0] for row in listed(origin)] == ["k4"]
    assert len(origin.asker.stories) == 1


def test_a_killed_query_ends_as_cancelled_for_all_its_viewers_with_who_did_it():
    origin = Origin(30)
    for link in (11, 12):
        origin.hold(link=link)
    asks = origin.tick()
    (name,) = ids(origin)

    effects = kill(origin, name[:4])

    assert len([e for e in effects if isinstance(e.message, Stop)]) == len(asks)
    assert [(link, a.reason, a.why) for link, a in ended_in(effects)] == [
        (link, "cancelled", "another client cancelled it") for link in (11, 12)
    ]
    assert effects[-1] == Send(OTHER_LINK, QueryKilled(9, bytes.fromhex(name), "k", 2))
    assert len(origin.asker) == 0


def test_a_query_that_waits_can_be_killed_too():
    origin = Origin(2)
    origin.hold()

    effects = kill(origin, ids(origin)[0])

    assert [(e.to, type(e.message)) for e in effects] == [
        (LINK, Refused), (OTHER_LINK, QueryKilled),
    ]  # fmt: skip
    assert effects[0].message.code == "cancelled"
    assert len(origin.asker) == 0


def test_the_one_that_goes_on_is_meant_when_another_with_the_same_digits_has_ended():
    origin = Origin(2)
    origin.asker._rng = ConstantBytes()
    origin.reply(origin.ask(), 1)
    origin.ask(make_request(2))

    assert isinstance(kill(origin, "0101")[-1].message, QueryKilled)
    assert "2 queries" in story(origin, "0101").text


class ConstantBytes(Random):
    """Chance that gives every query the same digits at its beginning."""

    def randbytes(self, length):
        return b"\1" * (length - 4) + super().randbytes(4)


@pytest.mark.parametrize("prefix", ["", "abc", "ffffffff", "no hex"])
def test_an_id_that_names_no_query_is_refused(prefix):
    origin = Origin(2)
    origin.ask()

    assert story(origin, prefix).code == "unknown"
    assert [m.code for m in told(kill(origin, prefix), Refused, OTHER_LINK)] == ["unknown"]
    assert len(origin.asker) == 1


def test_what_has_ended_cannot_be_killed():
    origin = Origin(1)
    origin.ask()

    (refused,) = told(kill(origin, ids(origin)[0]), Refused, OTHER_LINK)

    assert "has ended already: complete" in refused.text


def test_a_watch_is_cancelled_by_the_id_of_any_of_its_rounds():
    origin = Origin(1)
    origin.ask(make_request(1, pause_ms=1_000))
    origin.ticks_until(1.0)
    (first,) = ids(origin)
    origin.ask(make_request(2, key="other", pause_ms=1_000))
    assert "has ended already" in kill(origin, first)[0].message.text
    origin.ask(make_request(3))
    origin.ask(make_request(4, pause_ms=1_000))

    effects = kill(origin, first)

    assert [(e.to, e.message.request) for e in effects] == [(LINK, 4), (OTHER_LINK, 9)]
    assert len(origin.asker) == 1


def test_a_story_tells_what_happened_in_order():
    origin = Origin(4, repair_floor_s=0.1)
    origin.hold()
    origin.hold(make_request(2), OTHER_LINK)
    origin.now = 0.5
    asks = origin.begin()
    for index in (1, 2):
        origin.now += 0.010
        origin.reply(asks, index)
    origin.asker.cancel(OTHER_LINK, 2, origin.now)
    origin.ticks_until(3.0)

    told_story = story(origin, ids(origin)[0][:8])

    events = [(round(at, 3), event, number) for at, event, number, _ in told_story.events]
    assert events[:8] == [
        (0.0, "waits", 1000), (0.0, "asked", 1), (0.0, "asked", 2), (0.5, "begun", 4),
        (0.51, "answers", 2), (0.52, "left", 1), (0.52, "answers", 3), (events[7][0], "wave", 1),
    ]  # fmt: skip
    assert [e[1] for e in events[-2:]] == ["ended", "missing"]
    assert told_story.events[-2][3] == "converged"
    assert told_story.events[-1][2:] == (1, "n3")
    assert told_story.left_out == 0


def test_a_story_of_a_query_under_way_ends_where_it_is():
    origin = Origin(2)
    origin.ask()

    told_story = story(origin, ids(origin)[0])

    assert [event for _, event, _, _ in told_story.events] == ["asked", "begun"]


def test_a_story_keeps_room_for_its_end_and_counts_what_it_leaves_out():
    origin = Origin(40)
    asks = origin.ask()
    for number in range(2, 202):
        origin.hold(make_request(number))
    for number in range(2, 202):
        origin.asker.cancel(LINK, number, 0.0)
    origin.asker.cancel(LINK, 1, 0.0)

    (record,) = [r for r in origin.asker.stories if r.begun_at is not None]
    shown = story(origin, record.id.hex())
    other = next(r for r in origin.asker.stories if r.begun_at is None)

    assert asks
    assert [event[1] for event in shown.events] == ["asked", "begun", "ended", "missing"]
    assert shown.events[-1][3].endswith(", n12, n13 …")
    assert other.left_out == 401 - (STORY_EVENTS_MAX - LAST_EVENTS)
    assert len(other.events) <= STORY_EVENTS_MAX


def test_a_story_of_many_silent_members_with_the_longest_names_fits_its_message():
    origin = Origin(1)
    others = [replace(make_member(i), name=f"{'n' * 62}{i}") for i in range(10, 30)]
    origin.view = View().merged([make_member(0), *others])
    origin.ask()
    origin.ticks_until(5.0)

    last = story(origin, ids(origin)[0]).events[-1]

    assert last[1:3] == ("missing", 20)
    assert last[3].count("n" * 62) == 5


@pytest.mark.parametrize("count", [0, 3])
def test_the_words_of_heads_that_nobody_asked_are_dropped_and_their_batches_confirmed(count):
    origin = Origin()
    query = origin.ask()[0].message.query if count else b"x" * 16
    head = ("10.0.0.9", 7401)
    batch = Batch(query, 1, 2, 3, 0, 0, 1, 0, 0, 0, 0, b"", (), b"", b"")

    sends = origin.asker.batched(batch, head, 0.0)
    none = origin.asker.acknowledged(Ack(query, 1, 2, 1, 0, 1, ()), head, 0.0)

    assert sends == [Send(head, Back(query, 2, 3, 0))]
    assert none == []
    assert origin.asker.strangers == 2


def test_what_the_heads_of_a_wide_query_tell_is_remembered_and_ends_it():
    origin = Origin(40, cell_members_max=8)
    asks = origin.ask()
    shares = [e.message for e in asks if isinstance(e.message, Delegate)]
    (query,) = origin.asker.under_way()
    effects = []
    for message in shares:
        begin, end = query.view.span(message.low, message.high)
        inside = [m for m in query.view.ring[begin:end] if position(m.name) in query.pending]
        head = next(m for m in inside if position(m.name) == message.skip[-1]).endpoint
        rows = packed_rows([(position(m.name), m.store[:8], 1, 3, 2, 0) for m in inside])
        arc = (message.low, message.high)
        batch = Batch(query.id, message.share, 9, 0, DONE, *arc, 8, 9, 0, 0, *rows, b"", b"")
        effects += origin.asker.batched(batch, head, 0.01)
    effects += origin.asker.conclude(query.id, 0.01, view_known_until=0.0)

    alone = [m for m in make_view(40) if position(m.name) in query.pending]
    assert {e.to for e in asks if isinstance(e.message, Ask)} == {m.endpoint for m in alone}
    assert last_answer(effects).complete
    assert last_answer(effects).value == 100 + 3 * 39
    assert len(origin.asker.last_values) == 39


def test_a_batch_tells_whose_views_are_not_that_of_the_query():
    origin = Origin(40, cell_members_max=8)
    asks = origin.ask()
    message = next(e.message for e in asks if isinstance(e.message, Delegate))
    (query,) = origin.asker.under_way()
    head = query.view.at(message.skip[-1])
    other = query.view.ring[3]
    own, strange = (position(head.name), query.view.roll), (position(other.name), 77)
    arc = (message.low, message.high)
    batch = Batch(query.id, message.share, 9, 0, 0, *arc, 8, 9, 0, 0, b"", (), b"", b"")
    batch = replace(batch, rolls=(own, strange, (5, 78), (6, 0)))

    origin.asker.batched(batch, head.endpoint, 0.01)

    assert origin.asker.strange == [(77, other.endpoint), (78, head.endpoint)]
