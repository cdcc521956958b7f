"""The tracker's machine, message by message: who joins, is suspected, leaves."""

import pytest
from one_tracker import (
    EPOCH,
    beat,
    emitted,
    join,
    make_member,
    make_registry,
    register,
    run,
    sent,
    status,
)

from tracker.config import TrackerConfig
from tracker.machine import (
    Accepted,
    Closed,
)
from tracker.members import ALIVE, AWAY, DEAD, GONE, SUSPECT, View
from tracker.messages import (
    Beat,
    Departed,
    Departing,
    Heartbeat,
    Refused,
    Registered,
    Roster,
    Teach,
    news_from_wire,
)
from tracker.table import COUNT_MAX

# -- joining ----------------------------------------------------------------------------------


def test_a_registration_is_answered_with_reign_incarnation_and_the_digest_of_the_view():
    registry = make_registry()
    member = make_member(incarnation=3)

    effects = register(registry, 7, member)

    assert sent(effects, Registered, 7) == [Registered(EPOCH, 0, 3, View({"n1": member}).digest)]
    assert emitted(effects) == ["joined"]
    assert len(registry) == 1


def test_the_first_beat_of_a_newcomer_brings_it_the_whole_list_at_once():
    registry = make_registry()
    join(registry, 1, make_member("n1"))
    register(registry, 2, make_member("n2"), now=0.01)

    [heartbeat] = sent(beat(registry, 2, 0, now=0.2), Heartbeat, 2)

    assert (heartbeat.since, heartbeat.version) == (0, 2)
    assert {m.name for m in news_from_wire(heartbeat.page)} == {"n1", "n2"}


def test_a_first_change_after_quiet_is_published_in_the_same_breath():
    registry = make_registry()
    join(registry, 1, make_member("n1"))

    effects = register(registry, 2, make_member("n2"), now=5.0)

    [heartbeat] = sent(effects, Heartbeat, 1)
    assert [m.name for m in news_from_wire(heartbeat.page)] == ["n2"]


def test_changes_in_quick_succession_are_published_together_after_the_gap():
    registry = make_registry()
    join(registry, 1, make_member("n1"))
    beat(registry, 1, now=0.5)
    register(registry, 2, make_member("n2"), now=0.5)
    beat(registry, 1, now=0.5)

    effects = register(registry, 3, make_member("n3"), now=0.51)
    effects += register(registry, 4, make_member("n4"), now=0.52)
    assert sent(effects, Heartbeat, 1) == []

    assert 0.55 <= registry.deadline() < 0.56
    [heartbeat] = sent(registry.tick(0.56), Heartbeat, 1)
    assert [m.name for m in news_from_wire(heartbeat.page)] == ["n3", "n4"]


def test_a_second_registration_on_one_link_is_out_of_place():
    registry = make_registry()
    join(registry, 1, make_member("n1"))

    [refused] = sent(register(registry, 1, make_member("n2")), Refused)

    assert refused.code == "unexpected"
    assert len(registry) == 1


@pytest.mark.parametrize(
    "message", [Beat(0, 0, 0), Departing(True), Teach(b"\x90")], ids=["beat", "departing", "teach"]
)
def test_who_has_not_registered_has_nothing_to_say(message):
    [refused] = sent(make_registry().receive(5, message, 0.0), Refused, 5)

    assert refused.code == "not-registered"


def test_what_only_a_tracker_says_is_refused_and_what_is_refused_is_swallowed():
    registry = make_registry()

    [refused] = sent(registry.receive(5, Departed(1), 0.0), Refused)

    assert refused.code == "unexpected"
    assert registry.receive(5, Refused(0, "x", "y"), 0.0) == []
    assert registry.receive(("10.0.0.1", 1), Roster(1), 0.0) == []
    assert registry.submit(Accepted(5, ("10.0.0.1", 1)), 0.0) == []


# -- beats and silence ------------------------------------------------------------------------


def test_a_closed_connection_makes_suspect_at_once_and_dead_later():
    registry = make_registry()
    join(registry, 1, make_member())

    effects = registry.submit(Closed(1, "reset"), 1.0)

    assert emitted(effects) == ["suspect"]
    assert status(registry) == SUSPECT
    assert "dead" not in emitted(run(registry, 10.9))
    assert "dead" in emitted(run(registry, 11.1))
    assert status(registry) == DEAD


def test_a_tracker_that_takes_other_limits_doubts_the_silent_by_them():
    registry = make_registry(suspect_after_s=60.0, dead_after_s=200.0)
    join(registry, 1, make_member())
    for second in range(30):
        run(registry, float(second))
    assert status(registry) == ALIVE

    registry.hold_to(TrackerConfig())
    registry.tick(29.5)

    assert status(registry) == SUSPECT


def test_a_silent_member_is_suspect_after_three_seconds_and_dead_ten_later():
    registry = make_registry()
    join(registry, 1, make_member())
    beat(registry, 1, now=1.0)

    run(registry, 3.9)
    assert status(registry) == ALIVE
    run(registry, 4.1)
    assert status(registry) == SUSPECT
    run(registry, 14.1)
    assert status(registry) == DEAD


def test_a_suspect_that_beats_is_alive_again_only_by_a_higher_incarnation():
    registry = make_registry()
    join(registry, 1, make_member())
    run(registry, 3.5)

    beat(registry, 1, now=3.6)
    assert status(registry) == SUSPECT
    effects = beat(registry, 1, now=3.7, incarnation=1)

    assert status(registry) == ALIVE
    assert registry.table.get("n1").incarnation == 1
    assert emitted(effects) == ["alive"]


def test_a_suspect_that_beats_without_denying_dies_only_when_it_falls_silent():
    registry = make_registry()
    join(registry, 1, make_member())
    run(registry, 3.5)
    for second in range(4, 30):
        run(registry, second)
        beat(registry, 1, now=float(second))

    assert status(registry) == SUSPECT
    run(registry, 29 + 3 + 10.1)
    assert status(registry) == DEAD


def test_a_closing_link_says_nothing_new_of_a_suspect():
    registry = make_registry()
    join(registry, 1, make_member())
    run(registry, 3.5)
    version = registry.table.version

    registry.submit(Closed(1, "reset"), 3.6)

    assert registry.table.version == version


def test_an_incarnation_past_all_use_is_ignored():
    registry = make_registry()
    join(registry, 1, make_member())

    beat(registry, 1, incarnation=COUNT_MAX + 1)

    assert registry.table.get("n1").incarnation == 0


def test_a_tracker_that_was_stopped_itself_suspects_nobody_for_it():
    registry = make_registry()
    join(registry, 1, make_member())

    registry.tick(60.0)

    assert status(registry) == ALIVE
    run(registry, 64.0)
    assert status(registry) == SUSPECT


def test_the_dead_are_forgotten_where_a_time_was_set():
    registry = make_registry(forget_after_s=60.0)
    join(registry, 1, make_member())
    registry.submit(Closed(1, "reset"), 0.0)

    effects = run(registry, 70.5)

    assert status(registry) == GONE
    assert registry.table.get("n1").note == "given up: dead for 60 s"
    assert emitted(effects)[-1] == "gone"


# -- leaving ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("durable", "holds_counts", "becomes", "events"),
    [
        (True, True, AWAY, ["left"]),
        (True, False, GONE, ["left"]),
        (False, False, GONE, ["left"]),
        (False, True, DEAD, ["counts-lost", "left"]),
    ],
    ids=["durable with counts", "durable without", "memory without", "memory with counts"],
)
def test_a_graceful_stop(durable, holds_counts, becomes, events):
    registry = make_registry()
    join(registry, 1, make_member(durable=durable))
    join(registry, 2, make_member("n2"))

    effects = registry.receive(1, Departing(holds_counts), 5.0)

    assert sent(effects, Departed, 1) == [Departed(becomes)]
    assert emitted(effects) == events
    assert status(registry) == becomes
    [told] = sent(effects, Heartbeat, 2)
    assert news_from_wire(told.page)[0].status == becomes
    assert registry.submit(Closed(1, "bye"), 5.1) == []
    run(registry, 100.0)
    assert status(registry) == becomes


def test_who_is_away_comes_back_as_the_same_member():
    registry = make_registry()
    join(registry, 1, make_member())
    registry.receive(1, Departing(True), 1.0)

    register(registry, 2, make_member(epoch=2), now=50.0)

    assert status(registry) == ALIVE
