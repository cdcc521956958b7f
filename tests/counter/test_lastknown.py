"""Last-known values: bounded, the longest unheard goes first."""

from counter.lastknown import LastValue, LastValues

ONE, TWO = b"1" * 8, b"2" * 8


def last(value, at=0.0):
    return LastValue(value, at, False)


def test_the_latest_word_of_a_member_is_remembered():
    values = LastValues(10)
    values.note(ONE, "k", last(1))

    values.note(ONE, "k", last(2))

    assert values.get(ONE, "k") == last(2)
    assert values.get(TWO, "k") is None
    assert len(values) == 1


def test_past_the_limit_what_was_unheard_for_longest_goes_first():
    values = LastValues(2)
    values.note(ONE, "a", last(1))
    values.note(ONE, "b", last(2))
    values.note(ONE, "a", last(3))

    values.note(TWO, "c", last(4))

    assert values.get(ONE, "b") is None
    assert values.get(ONE, "a") == last(3)
    assert len(values) == 2


def test_the_keys_of_one_member_come_youngest_first_then_by_name():
    values = LastValues(10)
    values.note(ONE, "old", last(1, at=1.0))
    values.note(ONE, "y", last(2, at=5.0))
    values.note(TWO, "other", last(9, at=9.0))
    values.note(ONE, "x", last(3, at=5.0))

    assert [key for key, _ in values.of(ONE, {})] == ["x", "y", "old"]
