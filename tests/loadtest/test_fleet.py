"""What a fleet counts, whatever holds its nodes."""

from loadtest.fleet import Totals, Traffic, added


def test_what_a_node_has_sent_since_is_the_difference_of_its_counters():
    before, after = Traffic(3, 4, 500, 1), Traffic(10, 6, 900, 1)

    assert after.since(before) == Traffic(7, 2, 400, 0)


def test_a_node_that_was_started_anew_has_begun_at_nothing():
    before, after = Traffic(30, 40, 5_000, 9), Traffic(2, 1, 120, 0)

    assert after.since(before) == after


def test_parts_of_a_fleet_are_added_up():
    assert added([Totals(3, 1), Totals(4, 9)]) == Totals(7, 10)
