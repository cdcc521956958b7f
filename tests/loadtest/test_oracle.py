"""What a stop rule could do that knew everything: the chance it reckons with, and its ends."""

import pytest

from benchmarks.oracle import Moment, OracleWorld, ends, limit_of, watched
from benchmarks.rules import RULES, EndlessQuery, EvenEndlessQuery, GivenQuery
from loadtest.bare import BareConfig, BareWorld


def moments(*chances):
    return [Moment(i / 100, chance, 10 * i, i, False) for i, chance in enumerate(chances)]


def test_who_was_never_asked_lives_as_likely_as_beforehand_and_each_ask_makes_it_less_likely():
    world = OracleWorld(BareConfig(nodes=5, loss=0.2, crashed=0.5))
    never = world._chance([1], 1.0)
    world.asked = {1: [0.0]}

    # One ask fails with 1 - 0.8 ** 2 of the living: odds of 0.36 to 1.
    assert (never, world._chance([1], 1.0)) == (0.5, pytest.approx(1 - 1 / 1.36))
    assert world._chance([1], 0.015) == 0.5


def test_each_query_ends_at_one_per_cent_and_in_the_mean_some_end_sooner():
    queries = [moments(0.5, 0.015, 0.004), moments(0.5, 0.005, 0.001)]

    by_way = dict(ends(queries))

    assert [m.chance for m in by_way["each"]] == [0.004, 0.005]
    assert [m.chance for m in by_way["mean"]] == [0.015, 0.005]
    assert limit_of(queries) > 0.015


def test_a_query_is_watched_until_hardly_anybody_can_live():
    seen = watched(BareConfig(nodes=30, seed=1, crashed=0.1, query=EndlessQuery))

    assert seen[0].chance > 0.9
    assert seen[-1].chance <= 1e-4
    assert not seen[-1].is_missing


def ended(kind, loss=0.0):
    """Return a world and its query of this kind, after a query that some never answered."""
    world = BareWorld(BareConfig(nodes=60, seed=1, loss=loss, crashed=0.1, query=kind))
    query = world.start()
    world.drain()
    return world, query


@pytest.mark.parametrize("kind", dict.fromkeys(sum(RULES.values(), ())))
def test_a_world_asks_as_often_as_the_rule_that_it_is_handed_wants(kind):
    world, query = ended(kind)

    wanted = query.asks_wanted()
    assert (world.answer.reason, query.__class__) == ("converged", kind)
    assert {pending.asks for pending in query.pending.values()} == {wanted}
    assert (wanted == query.config.waves_max) is issubclass(kind, EndlessQuery)
    assert query.witnesses.is_hoped_for is not issubclass(kind, GivenQuery)


def test_even_waves_leave_later_than_those_that_hurry():
    (_, own), (_, even) = ended(EndlessQuery, 0.2), ended(EvenEndlessQuery, 0.2)

    assert own.waves == even.waves
    assert even.waved_at > own.waved_at
