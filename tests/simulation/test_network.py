"""The seeded network: delays, loss, duplication, partitions."""

from math import sqrt
from random import Random

import pytest

from loadtest.simulation.network import Network, NetworkConfig, Partition
from tracker.errors import ConfigError

A, B, C, CLIENT = ("10.0.0.1", 1), ("10.0.0.2", 1), ("10.0.0.3", 1), ("198.18.0.0", 40_001)


def make_network(**config):
    return Network(NetworkConfig(**config), Random("4711/network"))


def test_a_hop_takes_the_base_and_an_exponential_rest():
    network = make_network()

    hops = [network.hop_s() for _ in range(5_000)]

    assert min(hops) >= 0.008
    assert sum(hops) / len(hops) == pytest.approx(0.010, rel=0.02)


@pytest.mark.parametrize("share", [0.05, 0.2], ids=["5 %", "20 %"])
def test_the_share_of_lost_datagrams_is_within_five_sigma_of_the_binomial_law(share):
    network, sent = make_network(loss=share), 10_000

    lost = sum(1 for _ in range(sent) if not network.datagram_delays())

    assert abs(lost - sent * share) <= 5 * sqrt(sent * share * (1 - share))


def test_the_share_of_datagrams_that_arrive_twice_is_as_configured():
    network, sent = make_network(duplication=0.1), 10_000

    twice = sum(1 for _ in range(sent) if len(network.datagram_delays()) == 2)

    assert abs(twice - sent * 0.1) <= 5 * sqrt(sent * 0.1 * 0.9)


def test_loss_makes_a_stream_slow_and_loses_nothing():
    network = make_network(loss=0.5)

    hops = [network.stream_hop_s() for _ in range(1_000)]

    assert sum(hops) / len(hops) == pytest.approx(0.01 + 0.2, rel=0.15)


def test_a_partition_stops_both_directions_between_its_sets_and_nothing_else():
    network = make_network()
    network.cut(Partition([A], [B], one_way=False))

    assert [network.is_cut(A, B), network.is_cut(B, A)] == [True, True]
    assert [network.is_cut(A, C), network.is_cut(C, B)] == [False, False]


def test_a_one_way_partition_lets_the_way_back_open():
    network = make_network()
    network.cut(Partition([A], [B], one_way=True))

    assert [network.is_cut(A, B), network.is_cut(B, A)] == [True, False]


def test_a_partition_without_targets_cuts_off_every_machine_outside_but_no_client():
    network = make_network()
    network.clients.add(CLIENT)
    network.cut(Partition([A, B], None, one_way=False))

    assert [network.is_cut(A, C), network.is_cut(C, B)] == [True, True]
    assert [network.is_cut(A, B), network.is_cut(CLIENT, A)] == [False, False]


def test_healing_one_partition_leaves_the_others():
    network = make_network()
    first, second = Partition([A], [B], one_way=False), Partition([A], [C], one_way=False)
    network.cut(first)
    network.cut(second)

    network.heal(first)

    assert [network.is_cut(A, B), network.is_cut(A, C)] == [False, True]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"base_s": 0.0}, "base is 0 s, needs at least 1 µs"),
        ({"loss": 1.0}, "loss is 1, needs 0 or more, less than 1"),
        ({"duplication": -0.1}, "duplication is -0.1"),
        ({"jitter_s": float("nan")}, "jitter_s is nan"),
        ({"backlog_max": 0}, "backlog_max is 0, needs at least 1"),
    ],
    ids=["no time", "all lost", "negative", "no number", "no buffer"],
)
def test_a_network_that_cannot_be_is_refused_in_plain_words(setting, words):
    with pytest.raises(ConfigError, match=words):
        NetworkConfig(**setting)
