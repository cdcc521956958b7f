"""Queries as they are followed from outside: listed, told of, and ended by somebody else."""

from dataclasses import replace
from random import Random

import pytest
from origins import (
    LINK,
    OTHER_LINK,
    Origin,
    ended_in,
    listed,
    make_member,
    make_request,
    told,
)

from counter.messages import (
    DOOR,
    ENDED,
    RUNNING,
    STORY_EVENTS_MAX,
    WAITING,
    KillQuery,
    ListQueries,
    QueryKilled,
    Stop,
    Story,
    TellStory,
)
from counter.stories import LAST_EVENTS
from tracker.machine import Send
from tracker.members import View
from tracker.messages import Refused


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


@pytest.mark.parametrize("ask", ["story", "kill"])
def test_when_its_time_is_over_a_story_is_refused_in_plain_words(ask):
    origin = Origin(1)
    origin.now = 5.0
    origin.ask()
    (name,) = ids(origin)
    origin.now = 64.9
    assert isinstance(story(origin, name), Story)
    assert "has ended already" in kill(origin, name)[0].message.text

    origin.now = 66.0

    (refused,) = [story(origin, name)] if ask == "story" else told(kill(origin, name), Refused, 6)
    assert refused.code == "unknown"
    assert refused.text == "n0 asks no such query, and did not in the last 60 s"


def test_a_story_that_gave_way_to_others_is_not_said_never_to_have_been():
    origin = Origin(1, stories_max=3)
    origin.ask()
    (gave_way,) = ids(origin)
    for number in range(2, 5):
        origin.now = float(number)
        origin.ask(make_request(number))

    early = story(origin, gave_way)
    origin.now = 60.5
    late = story(origin, gave_way)

    assert early.text == (
        "n0 knows of no such query: it keeps 3 that ended, and more did in the last 60 s"
    )
    assert late.text == "n0 asks no such query, and did not in the last 60 s"


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
