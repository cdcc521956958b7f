"""Cells on real sockets: as many nodes as need them, in one process."""

from dataclasses import replace

import pytest

from counter.client.door import Door
from counter.config import LOCAL
from counter.messages import UNTIL_ALL, Query
from loadtest.cluster import Cluster
from loadtest.faults import Faults
from tracker.daemon import rare_collections

pytestmark = pytest.mark.slow

ASK = Query(0, "views", 0, 0, 0, 20_000, UNTIL_ALL, 0, 0, False)


async def asked(cluster, counting=10):
    """Count on some nodes, then ask one of them; returns the answer and the datagrams it cost."""
    doors = [await Door.open(node.endpoint) for node in cluster.live[:counting]]
    for door in doors:
        await door.count("views", 7)
    before = cluster.datagrams
    answer, _ = await doors[0].ask(ASK)
    for door in doors:
        door.close()
    return answer, cluster.datagrams - before


async def test_small_cells_of_real_nodes_answer_exactly_though_datagrams_are_lost():
    small = replace(LOCAL, cell_members_max=16, direct_max=4)

    async with Cluster(120, seed=3, faults=Faults(loss=0.05), gossip=small) as cluster:
        answer, _ = await asked(cluster)

    assert (answer.reason, answer.value, answer.answered) == ("complete", 70, 120)


@pytest.mark.timeout(1_200)
async def test_eleven_hundred_real_nodes_in_one_process_answer_exactly():
    with rare_collections():
        async with Cluster(1_100, seed=3) as cluster:
            answer, datagrams = await asked(cluster)

    assert (answer.reason, answer.value, answer.answered) == ("complete", 70, 1_100)
    assert datagrams >= 2 * 1_099


@pytest.mark.soak
async def test_three_thousand_real_nodes_in_one_process_answer_exactly():
    with rare_collections():
        async with Cluster(3_000) as cluster:
            for number in (1, 2, 3):
                answer, datagrams = await asked(cluster)
                assert (answer.reason, answer.value) == ("complete", 70 * number)
                assert (answer.answered, answer.members) == (3_000, 3_000)
                assert datagrams < 3_000 * 2.5


async def test_a_crashed_node_of_a_durable_cluster_comes_back_where_it_was_with_its_counts(
    tmp_path,
):
    async with Cluster(3, data=tmp_path) as cluster:
        endpoint = cluster.endpoints["n2"]
        door = await Door.open(endpoint)
        await door.count("views", 5)

        await cluster.crash(["n2"])
        await cluster.restart(["n2", "n3"])
        door = await Door.open(cluster.endpoints["n2"])
        answer, _ = await door.ask(ASK)
        door.close()

    assert cluster.endpoints["n2"] == endpoint
    assert (answer.complete, answer.value) == (True, 5)


async def test_a_loss_that_is_set_while_the_nodes_run_holds_from_then_on():
    async with Cluster(4) as cluster:
        door = await Door.open(cluster.endpoints["n1"])
        before, _ = await door.ask(ASK)
        await cluster.set_loss(1.0)
        lost, _ = await door.ask(replace(ASK, deadline_ms=300))
        await cluster.set_loss(0.0)
        after, _ = await door.ask(ASK)
        door.close()

    assert (before.answered, lost.answered, after.answered) == (4, 1, 4)
