"""Of each store an origin counts the share itself, or the longest part of it, however it hears."""

from dataclasses import replace
from itertools import permutations

import pytest

from counter.heard import Heard
from counter.moving import hold
from counter.partial import (
    has_begun_anew,
    is_counted,
    is_unsure,
    withdraw_gone,
    withdraw_part,
    withdraw_share,
)
from counter.parts import part_epoch
from tracker.members import GONE, Member, View

STORE = b"s" * 8
SHORT, LONG, WHOLE = (STORE, part_epoch(3), 5), (STORE, part_epoch(9), 7), (STORE, 4, 20)


class Query:
    """What of a query is needed."""

    own_name, own_position, started, changed_at, value = "me", 0, 0.0, 0.0, 0

    def __init__(self, *members):
        self.view = View({member.name: member for member in members})
        self.pending, self.cut, self.moved = {}, {}, {}
        self.answers, self.held, self.parts, self.vouched = {}, {}, {}, {}
        self.stems, self.tellers = {}, {}


def make_member(**fields):
    return Member("n1", STORE + b"12345678", 0, 1, 0, "10.0.0.1", 7401, **fields)


@pytest.mark.parametrize("rows", [*permutations([SHORT, LONG, WHOLE])])
def test_in_whatever_order_they_come_the_whole_share_counts(rows):
    query = Query()
    for row in rows:
        hold(query, (row,), 1, 1.0)

    assert (query.value, query.held[STORE].epoch) == (20, 4)
    assert is_counted(query, STORE)


@pytest.mark.parametrize("rows", [*permutations([SHORT, LONG, LONG])])
def test_of_parts_the_one_that_goes_further_counts(rows):
    query = Query()
    fresh = [row for row in rows if hold(query, (row,), 1, 1.0)]

    assert query.value == 7
    assert fresh.count(LONG) == 1
    assert not is_counted(query, STORE)


def test_a_part_takes_nobody_off_the_list_of_those_who_are_waited_for():
    query = Query(make_member())
    query.moved[STORE] = make_member()
    hold(query, (SHORT,), 1, 1.0)

    assert (query.value, list(query.moved)) == (5, [STORE])


def test_an_answer_that_is_withdrawn_leaves_the_part():
    query = Query()
    query.answers[STORE], query.value = Heard("n1", STORE, 4, 20, 1, 0.0, False), 20
    hold(query, (SHORT,), 1, 1.0)
    assert query.value == 20

    assert withdraw_share(query, STORE, 2.0).value == 20
    assert query.value == 5
    assert withdraw_share(query, STORE, 2.0) is None
    withdraw_part(query, STORE)
    withdraw_part(query, STORE)
    assert query.value == 0


def test_a_part_of_nothing_changes_no_answer():
    query = Query()
    hold(query, ((STORE, part_epoch(3), 0),), 1, 1.0)

    assert (query.value, query.changed_at) == (0, 0.0)


@pytest.mark.parametrize("is_first", [True, False], ids=["known", "heard later"])
def test_no_part_counts_of_a_share_that_was_handed_over(is_first):
    gone = make_member().handed_over("heir")
    query = Query(gone) if is_first else Query()
    hold(query, (SHORT,), 1, 1.0)
    assert query.value == (0 if is_first else 5)

    withdraw_gone(query, View({gone.name: gone}))

    assert (query.value, query.parts) == (0, {})


def test_what_is_whole_stays_when_its_parts_go():
    query = Query()
    hold(query, (SHORT, WHOLE), 1, 1.0)
    withdraw_gone(query, View())
    assert list(query.parts) == [STORE]
    gone = make_member().handed_over("heir")
    withdraw_gone(query, View({gone.name: gone}))

    assert query.value == 20


@pytest.mark.parametrize(("epoch", "is_doubtful"), [(1, False), (2, True)])
def test_where_a_part_was_told_a_start_that_no_list_has_yet_ends_no_query(epoch, is_doubtful):
    query = Query(make_member())
    query.answers[STORE] = Heard("n1", STORE, epoch, 4, 1, 0.1, False)

    assert not is_unsure(query.answers, query.parts, query.view)
    hold(query, (SHORT,), 1, 1.0)

    assert is_unsure(query.answers, query.parts, query.view) is is_doubtful
    assert is_unsure(query.answers, query.parts, View({}))


def test_where_a_part_was_told_a_later_start_of_its_store_has_everybody_asked_anew():
    old, new, alike = make_member(), make_member(boot=b"12345678"), make_member(note="x")
    query = Query(old)
    views = [View({"n1": member}) for member in (old, new, alike)]

    assert not has_begun_anew(query.parts, views[0], views[1])
    hold(query, (SHORT,), 1, 1.0)

    assert has_begun_anew(query.parts, views[0], views[1])
    assert not has_begun_anew(query.parts, views[0], views[2])
    # Whoever holds the part need not know that start either.
    assert has_begun_anew(query.parts, View({}), views[1])
    # Once it is given up nobody finds out any more whether it held all of the part.
    gone, heired = replace(old, status=GONE), old.handed_over("heir")
    assert has_begun_anew(query.parts, views[0], View({}))
    assert has_begun_anew(query.parts, views[0], View({"n1": gone}))
    assert not has_begun_anew(query.parts, View({"n1": gone}), View({}))
    assert not has_begun_anew(query.parts, views[0], View({"n1": heired}))
