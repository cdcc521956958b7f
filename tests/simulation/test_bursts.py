"""Bursts of loss: how often, how long, how they cluster, and that the idle cost nothing."""

from itertools import groupby
from math import sqrt
from random import Random

import pytest

from loadtest.simulation import bursts
from loadtest.simulation.agenda import SimulationError
from loadtest.simulation.bursts import Bursts, Ways
from loadtest.simulation.network import Network, NetworkConfig
from tracker.errors import ConfigError

A, B, C = (("10.0.0.1", 1), ("10.0.0.2", 1), ("10.0.0.3", 1))


def states(config, step_s, count):
    """Return whether A's way was bad at each of `count` looks, `step_s` apart."""
    ways = Ways(config, Random("4711/ways"))
    return [ways.is_bad(A, number * step_s) for number in range(count)]


def test_a_way_is_bad_for_its_share_of_the_time():
    seen = states(Bursts(good_s=0.9, bad_s=0.1), 0.01, 100_000)

    assert sum(seen) / len(seen) == pytest.approx(0.1, rel=0.1)


def test_bursts_last_as_long_as_they_are_said_to_on_average():
    step_s = 0.005
    seen = states(Bursts(good_s=2.0, bad_s=0.2), step_s, 100_000)

    lengths = {True: [], False: []}
    for bad, group in groupby(seen):
        lengths[bad].append(step_s * len(list(group)))

    assert sum(lengths[True]) / len(lengths[True]) == pytest.approx(0.2, rel=0.12)
    assert sum(lengths[False]) / len(lengths[False]) == pytest.approx(2.0, rel=0.12)


def test_however_rarely_it_is_looked_at_a_way_keeps_its_share():
    config = Bursts(good_s=0.9, bad_s=0.1)

    often, rarely = states(config, 0.05, 40_000), states(config, 50.0, 40_000)

    assert sum(often) / len(often) == pytest.approx(0.1, rel=0.1)
    assert sum(rarely) / len(rarely) == pytest.approx(0.1, rel=0.1)


def test_two_looks_at_one_moment_see_one_state():
    ways = Ways(Bursts(good_s=0.1, bad_s=0.1), Random("4711/ways"))

    assert all(len({ways.is_bad(A, number / 10) for _ in range(20)}) == 1 for number in range(100))


def test_the_datagrams_lost_over_a_long_time_are_the_mean_loss_of_two_ways():
    config = Bursts(good_s=0.9, bad_s=0.1, loss=0.8, loss_between=0.01)
    ways, sent = Ways(config, Random("4711/ways")), 20_000

    lost = sum(ways.loses(A, B, 10.0 * number) for number in range(sent))

    share = config.mean_loss
    assert share == pytest.approx(1 - (1 - 0.089) ** 2)
    assert abs(lost - sent * share) <= 5 * sqrt(sent * share * (1 - share))


def test_a_loss_soon_follows_another_far_more_often_than_by_chance():
    ways, sent = Ways(Bursts(good_s=0.95, bad_s=0.05), Random("4711/ways")), 50_000

    lost = [ways.loses(A, B, 0.005 * number) for number in range(sent)]

    both = sum(1 for now, then in zip(lost[1:], lost, strict=False) if now and then)
    assert both / sum(lost) > 5 * sum(lost) / sent


def test_only_those_who_sent_or_received_are_remembered():
    ways = Ways(Bursts(good_s=1.0, bad_s=0.1, loss=0.5), Random("4711/ways"))

    for number in range(100):
        ways.loses(A, B, float(number))

    assert len(ways) == 2


def test_a_network_without_bursts_draws_what_it_drew_before():
    plain, rough = (Network(NetworkConfig(loss=0.1), Random("4711/network")) for _ in range(2))
    rough.change(NetworkConfig(loss=0.1, reordering=0.5, bursts=Bursts(good_s=1.0, bad_s=1.0)))

    assert not plain.is_rough
    assert rough.is_rough
    rough.change(NetworkConfig(loss=0.1))
    assert not rough.is_rough
    drawn = [[network.datagram_delays() for _ in range(100)] for network in (plain, rough)]
    assert drawn[0] == drawn[1]


def test_the_state_of_the_ways_outlives_a_change_of_the_rest_of_the_weather():
    bursts = Bursts(good_s=1e-9, bad_s=1e9)
    network = Network(NetworkConfig(bursts=bursts), Random("4711/network"))

    before = [network.rough_delays(A, B, 1.0) for _ in range(20)]
    network.change(NetworkConfig(bursts=bursts, loss=0.1))
    after = [network.rough_delays(A, B, 1.0) for _ in range(20)]

    assert {*before, *after} == {()}


def test_a_datagram_that_is_held_up_has_a_heavy_tail_with_an_end():
    config = NetworkConfig(jitter_s=0.0, reordering=0.5, held_up_s=0.05)
    network = Network(config, Random("4711/network"))

    extra = sorted(network.rough_delays(A, C, 0.0)[0] - 0.008 for _ in range(20_000))

    held = [time for time in extra if time > 1e-12]
    assert abs(len(held) - 10_000) <= 5 * sqrt(20_000 * 0.25)
    assert held[len(held) // 2] == pytest.approx(0.0294, rel=0.1)
    assert held[-1] <= 5.0
    assert held[-100] > 8 * held[len(held) // 2]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"good_s": 0.0, "bad_s": 1.0}, "good_s is 0, needs more than 0"),
        ({"good_s": 1.0, "bad_s": -1.0}, "bad_s is -1, needs more than 0"),
        ({"good_s": 1.0, "bad_s": 1.0, "loss": 1.5}, "the loss in a burst is 1.5"),
        ({"good_s": 1.0, "bad_s": 1.0, "loss_between": 1.0}, "the loss between bursts is 1"),
    ],
    ids=["never good", "a negative time", "more than all", "always lost"],
)
def test_bursts_that_make_no_sense_are_refused_in_plain_words(fields, words):
    with pytest.raises(ConfigError, match=words):
        Bursts(**fields)


def test_more_nodes_than_a_world_can_hold_are_reported(monkeypatch):
    monkeypatch.setattr(bursts, "WAYS_MAX", 2)
    ways = Ways(Bursts(good_s=1.0, bad_s=1.0, loss=0.0), Random("4711/ways"))
    ways.loses(A, B, 0.0)

    with pytest.raises(SimulationError, match="more than 2 nodes"):
        ways.loses(A, C, 0.0)
