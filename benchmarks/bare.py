"""Redis, a node, and a server in Python that does next to nothing, in turns: what is out of reach.

The rule: all three are asked the same by the same load in each round (`benchmarks.load`), and the
ratio to Redis is taken within the round. What the bare server does is in `benchmarks.barest`.
"""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable

from benchmarks.load import Node, Redis, Run, Server, drive, running
from benchmarks.rounds import spread

ROUNDS = 9
CONNECTIONS, MANY_CONNECTIONS = 50, 500
# Increments in a message, and how many increments a round counts.
IN_MEMORY = {1: 8_000, 10: 40_000}
CROWD = 4_000


class Bare(Node):
    """A bare server that speaks as much of the protocol as the load needs."""

    def __init__(self, work: str, directory: str | None) -> None:
        """Do this work, see `benchmarks.barest`."""
        super().__init__(directory)
        self.name = f"bare: {work}"
        kept = [] if directory is None else [directory]
        self.command = [sys.executable, "-m", "benchmarks.barest", str(self.port), work, *kept]


def measure(brief: bool = False) -> None:
    """Print the table; `brief` takes a fifth of the increments."""
    if shutil.which("redis-server") is None:
        print("bare: skipped, redis-server is not installed (apt install redis-server)")
        return
    share = 5 if brief else 1
    for size, count in IN_MEMORY.items():
        servers: list[Server] = [Redis(None), Node(None)]
        servers += [Bare(work, None) for work in ("nothing", "decode")]
        load = CONNECTIONS, count // share, size
        print(f"in memory, {size} in a message, {CONNECTIONS} connections, by CPU: more is better")
        _compare(servers, load, lambda run: run.cpu_s)
    with tempfile.TemporaryDirectory() as root:
        paths = [tempfile.mkdtemp(dir=root) for _ in range(4)]
        servers = [Redis(paths[0]), Node(paths[1])]
        servers += [Bare("thread", paths[2]), Bare("loop", paths[3])]
        load = MANY_CONNECTIONS, CROWD // min(share, 2), 1
        print(f"on disk, {MANY_CONNECTIONS} connections: p99 of a wait, less is better")
        _compare(servers, load, lambda run: 1 / statistics.quantiles(run.waits, n=100)[98])


def _compare(
    servers: list[Server], load: tuple[int, int, int], cost: Callable[[Run], float]
) -> None:
    """Print for each server the cost of the first one over its own, within each round."""
    with running(*servers):
        for server in servers:
            drive(server, *load)
        costs = [[cost(drive(server, *load)) for server in servers] for _ in range(ROUNDS)]
    for index, server in enumerate(servers[1:], start=1):
        print(f"  {server.name:16} {spread([row[0] / row[index] for row in costs])} of Redis")
