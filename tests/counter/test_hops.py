"""The time of a hop: what a query measures, and what it believes of those before it."""

import pytest

from counter.hops import PRIOR_WEIGHT, WEIGHT_MAX, Hops
from counter.messages import UNTIL_ALL, Answer, Query
from loadtest.bare import BareConfig, BareWorld


def measured(*samples, earlier=None):
    hops = Hops(0.010, 0.0025, 0, earlier)
    for sample in samples:
        hops.measure(sample)
    return hops


def test_a_guess_gives_way_to_the_first_sample():
    assert measured(0.050).believed().mean_s == pytest.approx(0.050)
    assert Hops(0.010, 0.002).believed() == Hops(0.010, 0.002)


def test_one_sample_tells_nothing_of_how_much_samples_differ():
    alone, alike = measured(0.008), measured(0.008, 0.008, 0.008, 0.008)

    assert alone.believed().deviation_s == pytest.approx(0.002)
    assert alike.believed().deviation_s == pytest.approx(0.002 / 4)


@pytest.mark.parametrize("nodes", [3, 4, 5, 7, 10])
def test_where_nothing_is_lost_hardly_a_query_of_few_nodes_asks_anybody_twice(nodes):
    worlds = [BareWorld(BareConfig(nodes=nodes, seed=seed)) for seed in range(40)]

    messages = sum([world.run().messages for world in worlds])

    assert messages <= 1.02 * len(worlds) * 2 * (nodes - 1)


def test_what_earlier_queries_measured_weighs_little_and_helps_while_little_is_measured():
    earlier = Hops(0.010, 0.002, 500)

    alone, fresh = earlier.prior(), earlier.prior()
    fresh.measure(0.020)

    assert (alone.believed().mean_s, alone.believed().deviation_s) == (0.010, 0.002)
    assert fresh.believed().mean_s == pytest.approx((PRIOR_WEIGHT * 0.010 + 0.020) / 5)
    assert fresh.believed().weight == PRIOR_WEIGHT + 1


@pytest.mark.parametrize("sample", [0.0099, 0.0901], ids=["a third", "three times"])
def test_what_earlier_queries_measured_is_dropped_if_this_one_measures_something_else(sample):
    fresh = Hops(0.030, 0.001, 4).prior()

    fresh.measure(sample)

    assert fresh.believed().mean_s == pytest.approx(sample)
    assert fresh.prior().believed().mean_s == pytest.approx(sample)


def test_two_groups_of_samples_deviate_from_their_common_mean_by_the_gap_between_them():
    earlier = Hops(0.010, 0.0, 2)
    fresh = Hops(0.020, 0.0, 2, earlier)

    # Each of the four lies 5 ms from 15 ms.
    assert fresh.believed().mean_s == pytest.approx(0.015)
    assert fresh.believed().deviation_s == pytest.approx(0.005)


def test_a_guess_that_nobody_has_answered_stays_a_guess_in_the_next_query():
    assert Hops(0.010, 0.0025).prior() == Hops(0.010, 0.0025)


def test_what_is_measured_on_and_on_forgets_what_was_long_ago():
    hops = Hops(0.010, 0.0025)
    for _ in range(10_000):
        hops.measure_on(0.300)
    for _ in range(5 * WEIGHT_MAX):
        hops.measure_on(0.001)

    assert hops.mean_s < 0.005


def test_where_nobody_answers_any_more_a_hop_of_a_busy_moment_fades():
    hops = Hops(0.500, 0.100, 4).prior()
    for _ in range(10):
        hops = hops.faded(0.010).prior()

    assert hops.believed().mean_s == pytest.approx(0.010, rel=0.1)


class RushedWorld(BareWorld):
    """A world in which n0 asks many things at once, and keeps every answer."""

    def __init__(self, config):
        super().__init__(config)
        self.ends = {}

    def _tell(self, message):
        super()._tell(message)
        if isinstance(message, Answer) and message.end:
            self.ends[message.request] = message

    def ask(self, *numbers):
        """Ask so many things, and return how long the last answer takes."""
        began = self.agenda.now
        for number in numbers:
            query = Query(number, f"key {number}", 0, 0, 0, 5_000, UNTIL_ALL, 0, 0, False)
            self._carry_out(0, self.node(0).ask(query, began))
        assert self.agenda.run_until(lambda: self.ends.keys() >= {*numbers}, began + 10.0)
        return self.agenda.now - began


def rushed_world():
    """Return a world of four of whom one is silent, and whose origin reads slowly."""
    times = {"base_s": 0.0005, "jitter_s": 0.0001, "origin_busy_s": 0.002}
    return RushedWorld(BareConfig(nodes=4, crashed=0.25, **times))


def test_the_query_after_a_rush_waits_for_a_silent_member_no_longer_than_one_before_it():
    usual_s = rushed_world().ask(1_000)
    world = rushed_world()

    rush_s = world.ask(*range(40))
    after_s = world.ask(1_000)

    assert rush_s > 3 * usual_s
    assert after_s < 1.5 * usual_s
    assert world.ends[1_000].reason == "converged"
