"""Newcomers whose announcement waits until others have told them something."""

import pytest

from tests.tracker.test_announcement import beat, make_member, make_registry, register, told
from tracker.machine import Closed
from tracker.members import SUSPECT
from tracker.messages import Refused, Withhold
from tracker.withheld import PATIENCE_S, WITHHELD_MAX, Withheld

STORE = make_member(3).store


def anybody(name):
    return True


def waiting(*links):
    """Return a registry with a newcomer at link 3, whom these links have something to tell."""
    registry = make_registry(2)
    register(registry, 3)
    beat(registry, 3)
    for link in links:
        assert registry.receive(link, Withhold(STORE, True), 1.5) == []
    beat(registry, 1)
    assert beat(registry, 2) == ([] if links else [3])
    return registry


def lifted(registry, link, now=2.0):
    return told(registry, registry.receive(link, Withhold(STORE, False), now), now)


def test_a_newcomer_is_announced_once_all_who_asked_have_told_it():
    registry = waiting(1, 2)

    assert lifted(registry, 1) == []
    assert lifted(registry, 2) == [3]


def test_one_who_asked_twice_has_told_it_once_for_all():
    registry = waiting(1, 1)

    assert lifted(registry, 1) == [3]


def test_others_are_announced_meanwhile():
    registry = waiting(1)

    register(registry, 4)

    assert [beat(registry, link) for link in (1, 2, 3, 4)] == [[], [], [], [4]]


def test_who_never_asked_lifts_nothing():
    registry = waiting(1)

    assert lifted(registry, 2) == []
    assert lifted(registry, 1) == [3]


def test_who_is_dead_is_waited_for_no_more_and_until_then_it_may_come_back():
    registry = waiting(1)

    closed = registry.submit(Closed(1, "it ended"), 1.6)

    assert told(registry, closed, 1.6) == []
    assert registry.table.members["n1"].status == SUSPECT
    effects = []
    while registry.table.members["n1"].status == SUSPECT:
        now = registry.deadline()
        beat(registry, 2, now=now)
        effects = registry.tick(now)
    assert told(registry, effects, now) == [3]


@pytest.mark.parametrize("asks_again", [True, False])
def test_who_comes_back_is_waited_for_if_it_asks_for_that_again(asks_again):
    registry = waiting(1)
    registry.submit(Closed(1, "a lost stream"), 1.6)

    assert register(registry, 1, now=1.7) == []
    if asks_again:
        registry.receive(1, Withhold(STORE, True), 1.7)
    beat(registry, 2, now=1.8)
    beat(registry, 3, now=1.8)

    assert beat(registry, 1, now=1.8) == ([] if asks_again else [3])
    assert lifted(registry, 1) == ([3] if asks_again else [])


def test_one_who_has_told_it_is_enough_where_another_cannot():
    registry = waiting(1, 2)
    lifted(registry, 1)

    for step in range(int(PATIENCE_S)):
        assert [beat(registry, link, now=1.4 + step) for link in (1, 2, 3)] == [[], [], []]
    assert beat(registry, 3, now=1.5 + PATIENCE_S) == [3]


def test_nobody_is_let_past_whom_nobody_could_tell():
    registry = waiting(1, 2)

    for step in range(40):
        for link in (1, 2, 3):
            assert beat(registry, link, now=2.0 + step) == []


def test_a_stranger_asks_for_nothing():
    registry = make_registry(1)

    (effect,) = registry.receive(9, Withhold(STORE, True), 1.0)

    assert isinstance(effect.message, Refused)
    assert effect.message.code == "not-registered"


def test_the_list_of_those_who_wait_has_an_end(monkeypatch):
    monkeypatch.setattr("tracker.withheld.WITHHELD_MAX", 2)
    withheld = Withheld()

    for number in range(3):
        withheld.note("n1", bytes([number]) * 16, 0.0, is_wanted=True)

    assert [withheld.may_announce(bytes([n]) * 16, 0.0, anybody) for n in range(3)] == [
        False,
        False,
        True,
    ]
    assert WITHHELD_MAX > 2


@pytest.mark.parametrize("end", ["lifted", "back", "gone"])
def test_nothing_is_remembered_of_what_is_over(end):
    withheld = Withheld()
    withheld.note("n1", STORE, 0.0, is_wanted=True)

    if end == "lifted":
        withheld.note("n1", STORE, 1.0, is_wanted=False)
    elif end == "back":
        withheld.registered("n1")
    else:
        assert withheld.may_announce(STORE, 1.0, lambda name: False)

    assert withheld._waits == {}
