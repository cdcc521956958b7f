"""What was parked until lately: told as old as it is, or younger, and forgotten in the end."""

from counter import faded as module
from counter.doubtful import Doubted, InDoubt
from counter.faded import FADING_S, SLOT_S, Faded
from counter.messages import FADED_ROWS_MAX, prefixed


def test_what_was_let_go_is_told_with_its_age():
    faded = Faded()
    faded.add(("k", 5, "j", -2), 100.0)

    assert faded.rows(["k"], 101.5) == ((1_500, 0, 5, 1),)
    assert faded.rows(["k", "j"], 101.5) == ((1_500, 2, 5, 2),)
    assert sorted(faded.keys()) == ["j", "k"]


def test_what_was_let_go_in_one_slot_is_as_young_as_the_last_of_it():
    faded = Faded()
    faded.add(("k", 5), 100.0)
    faded.add(("k", 1), 103.0)

    assert faded.rows(["k"], 104.0) == ((1_000, 0, 6, 2),)
    assert len(faded) == 1


def test_there_are_few_rows_whatever_was_let_go_and_none_is_too_old():
    faded = Faded()
    for second in range(600):
        faded.add(("k", 1), float(second))

    rows = faded.rows(["k"], 600.0)

    assert len(rows) <= FADED_ROWS_MAX
    assert sum([row[3] for row in rows]) == 600
    for age_s in (0.5, 5.0, 50.0, 599.0):
        told = Doubted(0, 0, 0, (), faded=rows).heard(age_s)
        assert told.plus >= int(age_s)


def test_what_no_query_can_have_missed_is_forgotten():
    faded = Faded()
    faded.add(("k", 5), 100.0)
    faded.add(("k", 5), 100.0 + SLOT_S)

    assert faded.forget(100.0 + FADING_S) == []
    assert faded.forget(100.0 + SLOT_S + FADING_S) == []
    assert len(faded) == 1
    assert faded.forget(100.0 + 2 * SLOT_S + FADING_S) == ["k"]
    assert "k" not in faded


def test_past_the_limit_the_oldest_are_forgotten(monkeypatch):
    monkeypatch.setattr(module, "FADING_MAX", 2)
    doubts = InDoubt()
    for number, key in enumerate("abc"):
        doubts.add((key, 1), 1)
        doubts.let_go((key, 1), float(number))

    assert sorted(doubts.by_key) == ["b", "c"]


def test_a_key_is_known_as_doubtful_until_nothing_of_it_can_be_missed():
    doubts = InDoubt()
    doubts.add(("k", 3), 1)
    doubts.let_go(("k", 3), 1.0)

    assert doubts.by_key == {"k": (0, 0, 0)}
    assert doubts.about("k") is None
    assert doubts.about("other", 2.0) is None
    doubts.add(("k", 3), 1)
    doubts.forget(1.0 + FADING_S + SLOT_S)
    assert doubts.about("k", 700.0) == Doubted(0, 3, 1, ())
    doubts.add(("k", 3), -1)
    assert doubts.by_key == {}
    assert doubts.about("k", 700.0) is None


def test_of_many_keys_any_may_be_the_one_that_was_let_go():
    doubts = InDoubt()
    for key in ("page:a", "page:b"):
        doubts.add((key, -3), 1)
    doubts.let_go(("page:a", -3), 1.0)

    told = doubts.about(prefixed("page:"), 2.0)

    assert told == Doubted(3, 0, 1, (("page:b", 3, 0),), faded=((1_000, 3, 0, 1),))
    assert told.heard(0.5) == Doubted(3, 0, 1, (("page:b", 3, 0),))
    assert told.heard(1.0) == Doubted(6, 0, 2, (("page:b", 3, 0),), rest_minus=3)


def test_each_step_counts_the_younger_ones_in():
    told = Doubted(1, 0, 1, (), faded=((0, 0, 2, 1), (5, 0, 4, 1), (900, 8, 0, 1)))

    assert list(told.steps()) == [
        (0, (1, 0, 1)),
        (0, (1, 2, 2)),
        (3, (1, 6, 3)),
        (10, (9, 6, 4)),
    ]
