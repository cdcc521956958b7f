"""The event heap: order, the clock, and the limit."""

import pytest

from loadtest.simulation.agenda import Agenda, SimulationError


def test_actions_happen_by_time_and_at_one_moment_in_the_order_they_were_scheduled():
    agenda, done = Agenda(), []
    for time, name in [(2.0, "c"), (1.0, "a"), (2.0, "d"), (1.0, "b")]:
        agenda.at(time, done.append, name)

    agenda.run_to(3.0)

    assert done == ["a", "b", "c", "d"]
    assert agenda.now == 3.0


def test_running_to_a_time_leaves_what_is_due_later():
    agenda, done = Agenda(), []
    agenda.at(1.0, done.append, "due")
    agenda.at(1.5, done.append, "later")

    agenda.run_to(1.0)

    assert (done, agenda.now, agenda.next_at, len(agenda)) == (["due"], 1.0, 1.5, 1)


def test_running_until_a_condition_stops_right_after_the_action_that_met_it():
    agenda, done = Agenda(), []
    for time in (1.0, 2.0, 3.0):
        agenda.at(time, done.append, time)

    assert agenda.run_until(lambda: len(done) == 2, time_max=9.0)
    assert agenda.now == 2.0


def test_running_until_a_condition_gives_up_at_the_time_it_was_given():
    agenda = Agenda()
    agenda.at(5.0, lambda: None)

    assert not agenda.run_until(lambda: False, time_max=4.0)
    assert (agenda.now, len(agenda)) == (4.0, 1)


def test_more_pending_actions_than_the_limit_are_called_a_storm():
    agenda = Agenda(pending_max=1)
    agenda.at(1.0, lambda: None)

    with pytest.raises(SimulationError, match="storm"):
        agenda.at(1.0, lambda: None)
