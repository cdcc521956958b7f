"""Curves: by when each share of the members was heard, of one query and of many."""

from loadtest.curves import SHARES, Curves, curve


def test_a_curve_has_the_time_of_the_answer_that_reached_each_share():
    times = [float(n) for n in range(1, 21)]

    assert curve(times, 20) == times
    assert curve([7.0], 1) == [7.0] * len(SHARES)


def test_a_share_that_was_never_heard_has_no_time():
    found = curve([1.0, 2.0, 3.0], 4)

    assert found[SHARES.index(75)] == 3.0
    assert found[SHARES.index(80) :] == [None] * 5


def test_of_many_queries_a_share_of_them_was_that_far_by_then():
    curves = Curves()
    for offset in (0.0, 10.0, 100.0):
        curves.add([offset + share for share in SHARES])

    assert {y: round(x) for x, y in curves.points(0.5)}[50.0] == 60
    assert {y: x for x, y in curves.points(1.0)}[100.0] == 200.0


def test_where_too_few_queries_got_that_far_the_curve_ends():
    curves = Curves()
    whole = [float(share) for share in SHARES]
    curves.add(whole)
    curves.add([time if time <= 50 else None for time in whole])

    assert curves.points(0.5)[-1][1] == 100.0
    assert curves.points(1.0)[-1][1] == 50.0


def test_what_is_no_curve_adds_nothing_and_nothing_has_no_points():
    curves = Curves()
    curves.add([1.0, 2.0])

    assert curves.count == 0
    assert curves.points(0.5) == []
