"""What queries in a row leave behind in a cluster on real sockets, once they are over.

    python -m benchmarks leftovers             20 000 queries over ten nodes: about a minute
    python -m benchmarks leftovers --brief     twenty over a hundred, as `limits` asks them

The rule: what is left is what is more than before; the queries before the first look have made
whatever is made once.
"""

import asyncio
import gc
import os
from dataclasses import dataclass

import uvloop

from benchmarks.machine import rss_mb
from counter.client.door import Door
from counter.config import LOCAL
from counter.messages import UNTIL_ALL, Query
from loadtest.cluster import Cluster
from tracker.classes import replace

NODES, QUERIES = 100, 20
MANY_NODES, MANY_QUERIES = 10, 20_000
DEADLINE_MS, MEMORY_S = 500, 0.5
FORGET_S = DEADLINE_MS / 1000 + MEMORY_S + 4.0
"""By when a query must be forgotten; a node does so when it next looks, some seconds late."""
ASK = Query(0, "views", 10, 0, 0, DEADLINE_MS, UNTIL_ALL, 0, 0, False)


@dataclass(frozen=True)
class Left:
    """What is more than before."""

    datagrams: int
    remembered: int
    tasks: int
    rss_mb: float


async def measured(nodes: int = NODES, queries: int = QUERIES) -> Left:
    """Ask, wait until everything about it may be forgotten, and look what there is."""
    async with Cluster(nodes, gossip=replace(LOCAL, memory_s=MEMORY_S)) as cluster:
        door = await Door.open(cluster.nodes[0].endpoint)
        await _ask(door, max(QUERIES, queries // 10))
        await cluster.forgets(FORGET_S)
        gc.collect()
        tasks, memory = len(asyncio.all_tasks()), rss_mb(os.getpid())
        await _ask(door, queries)
        datagrams = cluster.datagrams
        await asyncio.sleep(1.0)
        datagrams = cluster.datagrams - datagrams
        await cluster.forgets(FORGET_S)
        gc.collect()
        left = Left(
            datagrams,
            cluster.remembered,
            len(asyncio.all_tasks()) - tasks,
            max(0.0, rss_mb(os.getpid()) - memory),
        )
        door.close()
    return left


async def _ask(door: Door, queries: int) -> None:
    for _ in range(queries):
        answer, _ = await door.ask(ASK)
        if not answer.complete:
            raise SystemExit(f"a wrong answer: {answer}")


def measure(*, brief: bool = False) -> None:
    """Print what is left."""
    nodes, queries = (NODES, QUERIES) if brief else (MANY_NODES, MANY_QUERIES)
    left = uvloop.run(measured(nodes, queries))
    print(f"left by {queries} queries over {nodes} nodes, a tenth as many before the first look")
    print(f"  datagrams in the second after         {left.datagrams:8}")
    print(f"  queries remembered past their time    {left.remembered:8}")
    print(f"  tasks                                 {left.tasks:8}")
    print(f"  memory, MB                            {left.rss_mb:8.1f}")
