"""Acknowledged increments at a node's door, one or many in a message, beside Redis in the same run.

In memory the CPU of an increment is compared, which hardly moves when the machine is busy; on
disk, with a sync before each acknowledgement (Redis: `appendfsync always`), increments a second,
since waiting for the disk is part of it. A ratio above 1 says that the node does more.
"""

import shutil
import statistics
import tempfile
from collections.abc import Callable

from benchmarks.load import Node, Redis, Run, drive, judged, running
from benchmarks.machine import Row

COMMAND = "python -m benchmarks increments"
CONNECTIONS = 50
MANY_CONNECTIONS = 500
ROUNDS = 5
# By increments in a message: floor, goal, and how many increments a run counts.
IN_MEMORY = {
    1: (0.65, 0.85, 40_000),
    10: (0.85, 1.1, 200_000),
    100: (1.3, 2.0, 500_000),
    1000: (2.2, 3.0, 1_000_000),
}
ON_DISK = {1: (0.75, 0.9, 20_000), 10: (0.95, 1.15, 100_000), 100: (1.8, 2.4, 300_000)}
ALONE = 5_000
CROWD = 20_000


def measure(brief: bool = False) -> list[Row]:
    """Measure node and Redis in turns; `brief` takes a fifth of the increments."""
    if shutil.which("redis-server") is None:
        print("increments: skipped, redis-server is not installed (apt install redis-server)")
        return []
    share = 5 if brief else 1
    return [*_in_memory(share), *_on_disk(share)]


def _in_memory(share: int) -> list[Row]:
    redis, node = Redis(None), Node(None)
    rows = []
    with running(redis, node):
        for size, (floor, goal, count) in IN_MEMORY.items():
            value = _ratio(redis, node, (CONNECTIONS, count // share, size), lambda run: run.cpu_s)
            what = f"in memory, {size} in a message, 50 connections: against Redis, by CPU"
            rows.append(judged(what, value, floor, goal, COMMAND))
        alone = (1, ALONE // share, 1)
        value = _ratio(redis, node, alone, lambda run: statistics.median(run.waits))
        what = "in memory, one client, one request at a time: against Redis, by latency"
        rows.append(judged(what, value, 0.9, 1.0, COMMAND))
    return rows


def _on_disk(share: int) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        redis, node = Redis(one), Node(other)
        with running(redis, node):
            for size, (floor, goal, count) in ON_DISK.items():
                load = (CONNECTIONS, count // share, size)
                value = _ratio(redis, node, load, lambda run: run.wall_s)
                what = f"on disk, {size} in a message, 50 connections: against Redis, by time"
                rows.append(judged(what, value, floor, goal, COMMAND))
            load = (MANY_CONNECTIONS, CROWD // share, 1)
            value = 1 / _ratio(redis, node, load, lambda run: _p99(run.waits))
            what = "on disk, 500 connections: p99 of a wait against that of Redis"
            rows.append(judged(what, value, 1.0, 0.6, COMMAND, less=True))
    return rows


def _ratio(
    redis: Redis, node: Node, load: tuple[int, int, int], cost: Callable[[Run], float]
) -> float:
    """Return the cost of Redis over that of the node: medians of interleaved rounds."""
    for server in (redis, node):
        drive(server, *load)
    theirs, ours = [], []
    for _ in range(ROUNDS):
        theirs.append(cost(drive(redis, *load)))
        ours.append(cost(drive(node, *load)))
    return statistics.median(theirs) / statistics.median(ours)


def _p99(waits: list[float]) -> float:
    return statistics.quantiles(waits, n=100)[98]
