"""Copies and backups of a store that is alone: what each has counted after a reset counts once."""

import pytest
from identity_world import HOMES, SPARE, TRACKER, Cluster, digits

from counter.messages import UNTIL_ALL, Answer, Query, Reset, WasReset

LONE, COPY = SPARE[:2]


def heard(cluster, place, message, kind):
    """Send a client's message, and return what comes of that kind."""
    found = []
    client = cluster.world.connect(place, lambda m, now: found.append(m))
    client.send(message)

    def has_ended():
        return any(isinstance(m, Answer) and m.end for m in found)

    assert cluster.world.run_until(has_ended, time_max=cluster.world.now + 10.0), found
    return [m for m in found if isinstance(m, kind)][-1]


def lone(seed):
    """Return a cluster that has reset its key once, and a new node that finds no tracker."""
    cluster = Cluster(seed)
    for home in HOMES.values():
        cluster.count(home)
    cluster.pause(1.0)
    reset = Reset(1, b"nightly".ljust(16), "views", deadline_ms=2_000, is_delete=False)
    assert heard(cluster, HOMES["n2"], reset, WasReset).epoch == 1
    for home in HOMES.values():
        # That is over, and no answer is to hold it.
        cluster.holds[home].clear()
    cluster.count(HOMES["n1"])
    cluster.world.crash(TRACKER)
    cluster.names[LONE], cluster.holds[LONE] = "n4", set()
    cluster.start(LONE)
    cluster.pause(0.5)
    cluster.count(LONE)
    assert cluster.node(LONE).ledger.is_alone
    return cluster


def total(cluster):
    """Return, once everything has settled, how often each increment is in a complete answer."""
    cluster.start_tracker()
    cluster.go_on(20.0)
    assert not cluster.wrong
    answer = heard(
        cluster, HOMES["n1"], Query(2, "views", 0, 0, 0, 3_000, UNTIL_ALL, 0, 50, False), Answer
    )
    assert answer.complete
    return digits(answer.value)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_what_a_lone_store_and_a_copy_of_it_have_counted_counts_once(seed):
    cluster = lone(seed)
    cluster.copy(LONE, COPY)
    cluster.pause(0.5)
    cluster.count(LONE)
    cluster.count(COPY)
    assert cluster.node(COPY).ledger.is_alone

    assert total(cluster) == [0, 0, 0, 1, 1, 1, 1]
    assert "beside" in cluster.events


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_backup_of_a_lone_store_that_is_put_back_before_it_is_found_counts_once(seed):
    cluster = lone(seed)
    backup = cluster.world.disk(LONE).backup()
    cluster.crash(LONE)
    cluster.world.disk(LONE).restore(backup)
    cluster.start(LONE)
    cluster.pause(0.5)
    cluster.count(LONE)

    assert total(cluster) == [0, 0, 0, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_copy_of_a_lone_store_that_starts_when_that_is_found_counts_nothing_twice(seed):
    cluster = lone(seed)
    backup, held = cluster.world.disk(LONE).backup(), set(cluster.holds[LONE])
    assert total(cluster) == [0, 0, 0, 1, 1]
    cluster.world.crash(TRACKER)
    cluster.names[COPY], cluster.holds[COPY] = "n4", held
    cluster.world.disk(COPY).restore(backup)
    cluster.start(COPY)
    cluster.pause(0.5)
    cluster.count(COPY)

    assert total(cluster)[:5] == [0, 0, 0, 1, 1]
