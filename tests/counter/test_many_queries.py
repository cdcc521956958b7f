"""Very many queries in a row, on real sockets: nothing of them stays.

The rule: what is compared was measured when queries had been asked for a while, so that all that
is made once, or has reached its bound, is there.
"""

import asyncio
import gc
import sys
from pathlib import Path

import pytest

from counter.client.door import Door
from counter.config import LOCAL
from counter.messages import UNTIL_ALL, Query
from counter.query import DEADLINE
from loadtest.cluster import Cluster
from tracker.classes import replace

DEADLINE_MS, MEMORY_S = 300, 0.1
GOSSIP = replace(LOCAL, memory_s=MEMORY_S)
ASK = Query(0, "views", 10, 0, 0, DEADLINE_MS, UNTIL_ALL, 0, 0, False)
FORGETS_LATE_S = 10.0

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def resident_kb():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


async def ask(cluster, count):
    doors = [await Door.open(node.endpoint) for node in cluster.nodes]
    held_up = 0
    for number in range(count):
        answer, _ = await doors[number % len(doors)].ask(ASK)
        # On a machine that stood still it ends with its deadline, and is to be forgotten as well.
        assert answer.complete or answer.reason == DEADLINE
        held_up += not answer.complete
    assert held_up <= count // 100
    for door in doors:
        door.close()


async def left_after(count, *, warm_up):
    """Return (whether all are forgotten in time, tasks more, kB more) after `count` queries."""

    async def look():
        are_forgotten = await cluster.forgets(DEADLINE_MS / 1000 + MEMORY_S + FORGETS_LATE_S)
        gc.collect()
        return are_forgotten, len(asyncio.all_tasks()), resident_kb()

    async with Cluster(3, gossip=GOSSIP) as cluster:
        await ask(cluster, warm_up)
        _, tasks, memory = await look()
        await ask(cluster, count)
        are_forgotten, tasks_after, memory_after = await look()
    return are_forgotten, tasks_after - tasks, memory_after - memory


@on_linux
@pytest.mark.slow
async def test_two_thousand_queries_leave_no_query_no_task_and_hardly_any_memory():
    are_forgotten, tasks, kilobytes = await left_after(2_000, warm_up=1_000)

    assert are_forgotten
    assert tasks == 0
    # One kB that stayed for each would be 2 000 on each of three nodes.
    assert kilobytes < 1_500


@on_linux
@pytest.mark.soak
async def test_twenty_thousand_queries_leave_no_query_no_task_and_hardly_any_memory():
    are_forgotten, tasks, kilobytes = await left_after(20_000, warm_up=4_000)

    assert are_forgotten
    assert tasks == 0
    assert kilobytes < 1_500
