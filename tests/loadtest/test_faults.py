"""Partitions and pauses of real nodes in one process, without any rights on the machine."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from counter.client.door import Door
from counter.messages import UNTIL_ALL, Query
from loadtest import cuts
from loadtest.cluster import Cluster
from loadtest.cuts import HeldTransport
from loadtest.faults import CUTS_MAX
from loadtest.pauses import wake
from tracker.config import TrackerConfig
from tracker.driver import Driver
from tracker.errors import ConfigError

pytestmark = pytest.mark.slow

FOREVER_S = 3_600.0
LOOK_S = 0.02
# A tracker that misses a node soon.
IMPATIENT = TrackerConfig(interval_s=0.2, suspect_after_s=0.5, publish_gap_s=0.05)
ASK = Query(0, "views", 0, 0, 0, 20_000, UNTIL_ALL, 0, 0, False)
SOON = replace(ASK, deadline_ms=3_000)


async def answered(cluster, name, query=ASK):
    door = await Door.open(cluster.endpoints[name])
    answer, _ = await door.ask(query)
    door.close()
    return answer.answered


def states_of(cluster, name, seen_by):
    return cluster.nodes[seen_by - 1].machine.membership.view.members[name].status


async def until(wish):
    async with asyncio.timeout(30.0):
        # No event tells of it; what is waited for is looked at.
        while not wish():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await asyncio.Event().wait()


async def test_those_cut_off_hear_each_other_and_nobody_else_until_it_heals():
    async with Cluster(5) as cluster:
        await cluster.partition(["n1", "n2"], FOREVER_S)
        inside, outside = await asyncio.gather(
            answered(cluster, "n1", SOON), answered(cluster, "n3", SOON)
        )
        cluster.heal()
        after = await answered(cluster, "n1")

    assert (inside, outside, after) == (2, 3, 5)


async def test_a_partition_heals_by_itself_after_its_time():
    async with Cluster(3) as cluster:
        await cluster.partition(["n1"], 0.05)
        await until(lambda: not cluster.is_cut)

        assert await answered(cluster, "n2") == 3


async def test_a_tracker_misses_a_node_that_is_cut_off_until_it_hears_it_again(monkeypatch):
    monkeypatch.setattr("loadtest.cluster.TRACKER", IMPATIENT)
    async with Cluster(3) as cluster:
        before = states_of(cluster, "n1", seen_by=2)
        await cluster.partition(["n1"], FOREVER_S)
        await until(lambda: states_of(cluster, "n1", seen_by=2) != before)
        cluster.heal()
        await until(lambda: states_of(cluster, "n1", seen_by=2) == before)


async def test_a_partition_leaves_the_streams_of_those_it_does_not_cut_alone():
    async with Cluster(2) as cluster:
        await cluster.partition(["n1"], FOREVER_S)

        held = [
            any(isinstance(s.transport, HeldTransport) for s in links.values())
            for links in [node.driver.streams.streams.links for node in cluster.nodes]
        ]

    assert held == [True, False]


async def test_who_connects_across_a_cut_gets_no_answer(monkeypatch):
    monkeypatch.setattr(cuts, "OPEN_S", 0.01)
    async with Cluster(2) as cluster:
        heard = asyncio.get_running_loop().create_future()
        driver = cluster.nodes[0].driver
        await cluster.partition(["n1"], FOREVER_S)
        monkeypatch.setattr(Driver, "on_unreachable", lambda _, *said: heard.set_result(said))

        driver.streams.open(cluster.endpoints["n2"])
        to, reason = await asyncio.wait_for(heard, 30.0)

    assert (to, reason) == (cluster.endpoints["n2"], "no answer in 0.01 s")


async def test_more_partitions_at_one_time_than_allowed_are_refused():
    async with Cluster(2) as cluster:
        for _ in range(CUTS_MAX):
            await cluster.partition(["n1"], FOREVER_S)

        with pytest.raises(ConfigError, match="64 partitions at one time"):
            await cluster.partition(["n1"], FOREVER_S)


async def test_a_node_that_is_cut_off_can_be_crashed_and_started_again_behind_the_cut(tmp_path):
    async with Cluster(3, data=tmp_path) as cluster:
        await cluster.partition(["n1"], FOREVER_S)
        await cluster.crash(["n1"])
        await cluster.restart(["n1"])
        # The tracker behind the cut might yet say that it is a copy.
        await until(lambda: not cluster.nodes[0].machine.membership.is_doubted)
        alone = await answered(cluster, "n1", SOON)
        cluster.heal()
        await until(lambda: len(cluster.nodes[0].machine.membership.view.members) == 3)
        together = await answered(cluster, "n2")

    assert alone == 1
    assert together == 3


async def test_a_node_that_stands_still_answers_nobody_and_loses_nothing():
    async with Cluster(4) as cluster:
        door = await Door.open(cluster.endpoints["n2"])
        await door.count("views", 1)
        await cluster.pause(["n2"], FOREVER_S)
        counting = door.count("views", 5)
        missing = await answered(cluster, "n1", SOON)
        was_silent = not counting.done()
        wake(cluster.nodes[1])
        await asyncio.wait_for(counting, 30.0)
        door.close()
        everybody = await answered(cluster, "n1")

    assert (missing, was_silent, everybody) == (3, True, 4)


async def test_who_connects_to_a_node_that_stands_still_is_served_when_it_wakes():
    async with Cluster(2) as cluster:
        await cluster.pause(["n2"], FOREVER_S)
        door = await Door.open(cluster.endpoints["n2"])
        counting = door.count("views", 5)
        await answered(cluster, "n1", SOON)
        was_silent = not counting.done()
        wake(cluster.nodes[1])
        await asyncio.wait_for(counting, 30.0)
        door.close()

    assert was_silent


async def test_a_node_told_twice_to_stand_still_does_so_until_the_later_time():
    async with Cluster(2) as cluster:
        awake = cluster.nodes[1].driver.machine
        await cluster.pause(["n2"], 0.02)
        await cluster.pause(["n2"], FOREVER_S)
        missing = await answered(cluster, "n1", SOON)
        asleep = cluster.nodes[1].driver.machine

    assert missing == 1
    assert asleep is not awake


async def test_a_node_that_stands_still_wakes_by_itself():
    async with Cluster(2) as cluster:
        awake = cluster.nodes[1].driver.machine
        await cluster.pause(["n2"], 0.05)
        await until(lambda: cluster.nodes[1].driver.machine is awake)

        assert await answered(cluster, "n1") == 2
