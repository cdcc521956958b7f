"""Growth between two answers: what is compared, and what is not."""

import pytest

from counter.client.answers import Outcome
from counter.client.changes import change_between, shown_rate, signed


@pytest.fixture
def seen(make_answer):
    """Return a maker of outcomes: a total, when it was asked, and each one's share."""

    def make(value, begun_s, *, complete=True, origin="n1", answered=4, **shares):
        answer = make_answer(
            value=value, begun_s=begun_s, complete=complete, origin=origin, answered=answered
        )
        rows = [(name, share, 1, 1.0) for name, share in shares.items()]
        return Outcome("views", answer, rows=rows)

    return make


def test_growth_is_the_exact_difference_over_the_origin_s_own_time(seen):
    change = change_between(seen(100, 7.0), seen(160, 7.5))

    assert (change.amount, change.seconds, change.per_s) == (60, 0.5, 120.0)
    assert (change.is_whole, change.members, change.by_member) == (True, 4, ())


def test_the_members_that_changed_are_named_the_busiest_first(seen):
    before = seen(30, 1.0, n1=10, n2=10, n3=10, n4=0)
    after = seen(42, 2.0, n1=10, n2=25, n3=7, n4=0)

    assert change_between(before, after).by_member == (("n2", 15), ("n3", -3))


def test_where_somebody_was_silent_only_those_heard_both_times_are_compared(seen):
    before = seen(30, 1.0, n1=10, n2=20)
    after = seen(900, 2.0, complete=False, n1=15, n3=885)

    change = change_between(before, after)

    assert (change.amount, change.members, change.is_whole) == (5, 1, False)


@pytest.mark.parametrize("reason", ["first", "other origin", "no clock", "same round", "nobody"])
def test_where_nothing_can_be_said_nothing_is(seen, reason):
    before, after = seen(1, 1.0), seen(2, 2.0)
    if reason == "first":
        before = None
    elif reason == "other origin":
        before = seen(1, 1.0, origin="n2")
    elif reason == "no clock":
        before = seen(1, -1.0)
    elif reason == "same round":
        after = seen(2, 1.0)
    else:
        after = seen(2, 2.0, complete=False)

    assert change_between(before, after) is None


@pytest.mark.parametrize(
    ("per_s", "shown"),
    [
        (0.0, "+0/s"), (0.25, "+0.25/s"), (1.5, "+1.5/s"), (45.46, "+45.5/s"), (-7.0, "-7/s"),
        (1234.4, "+1 234/s"), (-0.033, "-0.033/s"), (99.96, "+100/s"), (12.0, "+12/s"),
    ],
)  # fmt: skip
def test_a_rate_is_written_as_people_read_it(per_s, shown):
    assert shown_rate(per_s) == shown


def test_a_change_has_its_sign_and_its_digits_in_threes():
    assert (signed(1204), signed(-3), signed(0)) == ("+1 204", "-3", "+0")
