"""Acknowledged increments at a node's door, one or many in a message, beside Redis in the same run.

In memory the CPU of an increment is compared, which hardly moves when the machine is busy; on
disk, with a sync before each acknowledgement (Redis: `appendfsync always`), increments a second,
since waiting for the disk is part of it. A ratio above 1 says that the node does more. How the
rounds are held against each other, and what is said of the machine: `benchmarks.rounds`.
"""

import shutil
import statistics
import tempfile
from collections.abc import Callable

from benchmarks.load import Node, Redis, Run, cpu_ns, drive, judged, running
from benchmarks.machine import Row
from benchmarks.rounds import Others, Ratio, Sync, in_turns, spread

COMMAND = "python -m benchmarks increments"
CONNECTIONS = 50
MANY_CONNECTIONS = 500
ROUNDS = 9
SYNCS = 20
"""Bare syncs between two rounds."""
# By increments in a message: floor, goal, and how many increments a round counts.
IN_MEMORY = {
    1: (0.65, 0.85, 12_000),
    10: (0.85, 1.1, 80_000),
    100: (1.3, 2.0, 200_000),
    1000: (2.2, 3.0, 400_000),
}
ON_DISK = {1: (0.75, 0.9, 8_000), 10: (0.95, 1.15, 40_000), 100: (1.8, 2.4, 120_000)}
ALONE, ALONE_ROUNDS = 1_000, 45
"""Many short rounds: whoever disturbs one of the two for a moment disturbs few of the ratios."""
CROWD = 10_000


def measure(brief: bool = False) -> list[Row]:
    """Measure node and Redis in turns; `brief` takes a fifth of the increments."""
    if shutil.which("redis-server") is None:
        print("increments: skipped, redis-server is not installed (apt install redis-server)")
        return []
    share = 5 if brief else 1
    return [*_in_memory(share), *_on_disk(share)]


def _in_memory(share: int) -> list[Row]:
    redis, node = Redis(None), Node(None)
    rows, others = [], Others()
    with running(redis, node):
        for size, (floor, goal, count) in IN_MEMORY.items():
            value = _ratio(redis, node, (CONNECTIONS, count // share, size), lambda run: run.cpu_s)
            what = f"in memory, {size} in a message, 50 connections: against Redis, by CPU"
            rows.append(judged(what, value, floor, goal, COMMAND))
        load = 1, ALONE // share, 1
        value = _ratio(redis, node, load, lambda run: _median(run.waits), rounds=ALONE_ROUNDS)
        what = "in memory, one client, one request at a time: against Redis, by latency"
        rows.append(judged(what, value, 0.9, 1.0, COMMAND))
        rows.append(others.row(_used_s(redis, node), COMMAND))
    return rows


def _on_disk(share: int) -> list[Row]:
    rows, others = [], Others()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        redis, node, sync = Redis(one), Node(other), Sync(other)
        with running(redis, node):
            for size, (floor, goal, count) in ON_DISK.items():
                load = (CONNECTIONS, count // share, size)
                value = _ratio(redis, node, load, lambda run: run.wall_s, sync)
                what = f"on disk, {size} in a message, 50 connections: against Redis, by time"
                rows.append(judged(what, value, floor, goal, COMMAND))
            load = (MANY_CONNECTIONS, CROWD // share, 1)
            value = _ratio(redis, node, load, lambda run: _p99(run.waits), sync, less=True)
            what = "on disk, 500 connections: p99 of a wait against that of Redis"
            rows.append(judged(what, value, 1.0, 0.6, COMMAND, less=True))
            value = _ratio(redis, node, load, lambda run: run.cpu_s, sync)
            what = "on disk, 500 connections: against Redis, by CPU"
            rows.append(Row(what, str(value), "", COMMAND))
            rows += [sync.row(COMMAND), others.row(_used_s(redis, node), COMMAND)]
        sync.close()
    return rows


def _ratio(
    redis: Redis,
    node: Node,
    load: tuple[int, int, int],
    cost: Callable[[Run], float],
    sync: Sync | None = None,
    *,
    less: bool = False,
    rounds: int = ROUNDS,
) -> Ratio:
    """Return the cost of Redis over that of the node, or with `less` the other way round."""
    for server in (redis, node):
        drive(server, *load)

    def cost_of(server: Redis | Node) -> float:
        if sync is not None:
            sync.measure(SYNCS // 2)
        return cost(drive(server, *load))

    costs = in_turns(lambda: cost_of(redis), lambda: cost_of(node), rounds)
    return spread([own / their if less else their / own for their, own in costs])


def _used_s(*servers: Redis | Node) -> float:
    return sum(cpu_ns(server.pid) for server in servers) / 1e9


def _median(waits: list[float]) -> float:
    return statistics.median(waits)


def _p99(waits: list[float]) -> float:
    return statistics.quantiles(waits, n=100)[98]
