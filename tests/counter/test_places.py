"""Whose an answer is: one for each place, and none for a place that has been taken over."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from counter.heard import Heard
from counter.messages import Reply
from counter.places import displaced, is_his, mistaken, placed
from tracker.members import GONE, Member, View, position
from tracker.names import derived

OLD, NEW, OWN = b"o" * 16, b"n" * 16, b"m" * 16
HERE, THERE = ("10.0.0.1", 7401), ("10.0.0.1", 7499)


def make_member(name="n1", store=OLD, epoch=3, status=0):
    return Member(name, store, 0, epoch, 0, *HERE, status)


def make_reply(store=OLD, epoch=3):
    return Reply(b"q" * 16, position("n1"), store[:8], epoch, 5, 1, 0, (), ())


def view_of(*members):
    return View({member.name: member for member in members})


def test_an_answer_is_his_from_his_address_or_from_a_later_life_elsewhere():
    member = make_member()

    assert is_his(member, make_reply(), HERE)
    assert is_his(member, make_reply(epoch=4), THERE)
    assert not is_his(member, make_reply(), THERE)
    assert not is_his(member, make_reply(store=NEW), HERE)


def test_the_answer_of_a_store_whose_place_another_one_took_counts_no_more():
    answers = {OLD[:8]: SimpleNamespace(name="n1"), OWN[:8]: SimpleNamespace(name="me")}
    view = view_of(make_member(store=NEW), make_member("me", NEW))

    assert displaced(answers, view, "me") == [OLD[:8]]


def test_the_answers_of_those_who_left_restarted_or_are_not_known_stay():
    answers = {OLD[:8]: SimpleNamespace(name="n1")}

    assert displaced(answers, view_of(make_member(epoch=9)), "me") == []
    assert displaced(answers, view_of(make_member(store=NEW, status=GONE)), "me") == []
    assert displaced(answers, View(), "me") == []


LEFT = derived("n1", OLD)


def test_who_lost_its_name_unheard_answers_for_the_one_that_is_left_to_it():
    view = view_of(make_member(store=NEW), make_member(LEFT))

    assert placed(make_reply(), view).position == position(LEFT)
    assert placed(make_reply(NEW), view).position == position("n1")


def test_every_other_answer_stays_where_it_is():
    reply = make_reply()

    assert placed(reply, view_of(make_member())) is reply
    assert placed(reply, view_of(make_member(store=NEW))) is reply
    assert placed(reply, view_of(make_member("n2"), make_member(store=NEW))) is reply
    assert placed(reply, view_of(make_member(LEFT, status=GONE))) is reply
    elsewhere = make_member(derived("n3", OLD))
    assert placed(reply, view_of(elsewhere, make_member(store=NEW))) is reply


@pytest.mark.parametrize(
    ("heir", "found"), [("n9", []), ("n1", [b"a" * 8])], ids=["at another one", "at its child"]
)
def test_what_a_store_counted_stays_counted_when_its_name_is_given_away_and_another_has_it(
    heir, found
):
    old = Member("n1", b"a" * 16, 0, 1, 0, "10.0.0.1", 7401)
    left = old.handed_over(heir).without_name()
    view = View({"n1": replace(old, store=b"b" * 16, reign=1), left.name: left})
    heard = {b"a" * 8: Heard("n1", b"a" * 8, 1, 14, 1, 0.0, False)}

    assert displaced(heard, view, "n2") == found


def test_an_answer_is_mistaken_where_another_start_of_that_number_is_in_its_place():
    def member(name="n2", *, boot=b"1" * 8, epoch=2):
        return Member(name, name.encode().ljust(16, b"."), 0, epoch, 0, "10.0.0.2", 7401, boot=boot)

    def view(*members):
        return View({one.name: one for one in members})

    heard, copy = {member().store[:8]: None}, member(boot=b"2" * 8)
    before = view(member())

    assert mistaken(heard, before, view(copy), "me") == [*heard]
    assert mistaken({}, before, view(copy), "me") == mistaken(heard, before, before, "me") == []
    for later in (view(member(epoch=3, boot=b"2" * 8)), view(member(), member("n3")), view()):
        assert mistaken(heard, before, later, "me") == []
    assert mistaken(heard, before, view(copy), "n2") == []
    assert mistaken({b"x" * 8: None}, before, view(copy), "me") == []
