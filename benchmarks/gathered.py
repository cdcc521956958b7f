"""A query over many nodes of one process: their sockets read by one `epoll`, or each by the loop.

The rule: one cluster is asked both ways in turn, each pair one query after the other, so that what
else the machine does meanwhile falls on both alike; what counts is the ratio within the pairs.
"""

import asyncio
import statistics
import time

import uvloop

from benchmarks.door import redis_incr_us
from benchmarks.gossip import ASK
from benchmarks.rounds import spread
from counter.client.door import Door
from loadtest.cluster import Cluster
from loadtest.faults import FaultyDatagrams
from tracker.daemon import rare_collections
from tracker.transport.plain import Gathering

NODES, PAIRS, BRIEF_PAIRS = 1_000, 100, 10
SETTLE_S = 0.02
"""Until what the nodes still had to read by the other way is read: nothing tells of that."""


async def pairs(nodes: int, count: int) -> list[tuple[float, float]]:
    """Return the CPU in us of a message: read by the loop, and gathered."""
    async with Cluster(nodes) as cluster:
        opened = [node.driver.datagrams for node in cluster.nodes]
        sockets = [socket for socket in opened if isinstance(socket, FaultyDatagrams)]
        [gathering] = {socket.gathering for socket in sockets}
        door = await Door.open(cluster.nodes[0].endpoint)
        await door.count("views", 7)
        found = []
        for number in range(count + 1):
            used = {}
            for by in (None, gathering) if number % 2 else (gathering, None):
                for socket in sockets:
                    socket.read_by(by)
                await asyncio.sleep(SETTLE_S)
                before, began = cluster.datagrams, time.process_time()
                answer, _ = await door.ask(ASK)
                took_s = time.process_time() - began
                if not answer.complete or answer.value != 7:
                    raise SystemExit(f"a wrong answer: {answer}")
                used[by is gathering] = took_s / (cluster.datagrams - before) * 1e6
            found.append((used[False], used[True]))
        door.close()
    return found[1:]  # the first query of a node makes plans that are kept


def measure(*, brief: bool = False) -> None:
    """Print both, and the ratio within the pairs."""
    if Gathering is None:
        raise SystemExit("there is no gathering without the native modules, or not on Linux")
    with rare_collections():
        found = uvloop.run(pairs(NODES, BRIEF_PAIRS if brief else PAIRS))
    incr_us = redis_incr_us()
    for what, number in (("each socket by the loop", 0), ("all by one epoll", 1)):
        took = [pair[number] for pair in found]
        shown = f"{spread(took)} us, least {min(took):.2f}"
        if incr_us is not None:
            shown += f", {statistics.median(took) / incr_us:.2f} INCR"
        print(f"{NODES} nodes, {what}: CPU a message {shown}")
    print(f"ratio within {len(found)} pairs: {spread([one / by for by, one in found])}")
