"""Whom a query asks for a sign of life, and what it means if nobody gives one."""

from dataclasses import replace

from counter.heard import Heard
from counter.witnesses import DEAF_WAVES_MAX, WITNESS_ASKS, Witnesses
from tracker.members import SUSPECT, Member, View


def make_member(index, **changes):
    store = index.to_bytes(8, "big") * 2
    return replace(Member(f"n{index}", store, 0, 1, 0, "127.0.0.1", 1000 + index), **changes)


def made(count=5, **changes):
    """Return members, and the answers of all of them in their order; n0 asks."""
    members = [make_member(0), *[make_member(i, **changes) for i in range(1, count)]]
    answers = {m.store[:8]: Heard(m.name, m.store[:8], 1, 1, 1, 0.0, False) for m in members}
    return View().merged(members), answers


def names(members):
    return [member.name for member in members]


def test_those_who_answered_latest_are_asked_and_as_many_as_the_loss_wants():
    view, answers = made()

    assert names(Witnesses().chosen(answers, view, "n0", 2)) == ["n4"]
    assert names(Witnesses().chosen(answers, view, "n0", WITNESS_ASKS + 1)) == ["n4", "n3"]


def test_after_one_who_gave_no_sign_others_are_asked_as_long_as_there_are_any():
    view, answers = made(3)
    witnesses = Witnesses()

    asked = [names(witnesses.chosen(answers, view, "n0", 2)) for _ in range(3)]

    assert asked == [["n2"], ["n1"], ["n2"]]


def test_neither_the_asker_nor_a_suspect_nor_the_holder_of_anothers_share_is_a_witness():
    view, answers = made(3, status=SUSPECT)
    assert names(Witnesses().chosen(answers, view, "n0", 2)) == []

    view, answers = made(2)
    (own, other) = answers
    answers[other] = Heard("n7", other, 1, 1, 1, 0.0, False)
    witnesses = Witnesses()
    assert names(witnesses.chosen(answers, view, "n0", 2)) == []
    assert not witnesses.is_deaf(0)
    assert own == make_member(0).store[:8]


def test_a_sign_of_life_is_one_once_and_any_other_repeated_answer_is_none():
    view, answers = made()
    witnesses = Witnesses()
    (chosen,) = witnesses.chosen(answers, view, "n0", 2)

    assert witnesses.is_sign(chosen.store[:8])
    assert not witnesses.is_sign(chosen.store[:8])
    assert not witnesses.is_sign(make_member(1).store[:8])


def test_it_takes_itself_for_deaf_while_nothing_is_heard_and_not_for_ever():
    view, answers = made()
    witnesses = Witnesses()
    assert not witnesses.is_deaf(0)
    witnesses.chosen(answers, view, "n0", 2)

    assert witnesses.is_deaf(0)
    assert not witnesses.is_deaf(1)
    witnesses.deaf_waves = DEAF_WAVES_MAX
    assert not witnesses.is_deaf(0)
