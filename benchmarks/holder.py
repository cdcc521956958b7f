"""One node that holds keys, in a process of its own: `python -m benchmarks.holder KEYS`.

The rule: it does what a node does and nothing else. It says where it listens and the roll of its
view, and then, for each line that it reads, how much processor time it has used so far.
"""

import asyncio
import sys
from time import process_time

import uvloop

from loadtest.cluster import Cluster
from tracker.daemon import rare_collections


def key(number: int) -> str:
    """Return one of the keys that it holds."""
    return f"page:{number:07}/views"


async def hold(keys: int) -> None:
    """Run until nobody asks any more."""
    loop = asyncio.get_running_loop()
    async with Cluster(1) as cluster:
        [node] = cluster.nodes
        held = node.machine.ledger.counters.own.positive
        held.update({key(number): number for number in range(keys)})
        lines = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        sys.stdout.write(f"{node.endpoint[1]} {node.machine.membership.view.roll}\n")
        sys.stdout.flush()
        while await lines.readline():
            sys.stdout.write(f"{process_time()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    with rare_collections():
        uvloop.run(hold(int(sys.argv[1])))
