"""What one ask costs a node that holds a million keys, over a real socket.

An asker in the same process sends asks of queries that the node has not seen, each for a key
drawn at random, and waits for the answers; its own part is in the numbers, and told by the same
asker at a socket that only sends back what it gets.

The rule: the same asks are answered by a node of ten keys, so that what the keys cost is told
apart from what an ask costs.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from random import Random
from time import process_time

import uvloop

from benchmarks.door import FLOOR_INCR_US, redis_incr_us
from benchmarks.machine import Row
from counter.messages import GOSSIP, Ask
from loadtest.cluster import Cluster
from tracker.daemon import rare_collections
from tracker.machine import Endpoint
from tracker.members import position
from tracker.transport.base import PlainSeal

WITH = "python -m benchmarks held"
ASKS, AT_ONCE = 40_000, 32
FEW_KEYS, MANY_KEYS = 10, 1_000_000
ASK_US_MAX = 20
ANSWER_S_MAX = 10.0


async def measured(keys: int) -> float:
    """Return the CPU in us of an ask of a node with so many keys, the asker's part included."""
    async with Cluster(1) as cluster:
        [node] = cluster.nodes
        held = node.machine.ledger.counters.own.positive
        held.update({f"page:{number:07}/views": number for number in range(keys)})
        where, view = position("n1"), node.machine.membership.view
        dice = Random(1)

        def ask(home: Endpoint) -> bytes:
            key = f"page:{dice.randrange(keys):07}/views"
            arc = (where, where + 1)
            message = Ask(os.urandom(16), key, home, 10, 1, 1, 3, 1, view.roll, *arc)
            return PlainSeal().close(GOSSIP.encode(message))

        return await _asked(node.endpoint, ask)


async def bare() -> float:
    """Return the CPU in us of an ask that is only sent back: the asker's part, and little more."""
    echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    echo.setblocking(False)
    echo.bind(("127.0.0.1", 0))

    def send_back() -> None:
        body, home = echo.recvfrom(2_048)
        echo.sendto(body, home)

    loop = asyncio.get_running_loop()
    loop.add_reader(echo.fileno(), send_back)
    try:
        return await _asked(echo.getsockname(), lambda home: b"-" * 70)
    finally:
        loop.remove_reader(echo.fileno())
        echo.close()


async def _asked(to: Endpoint, ask: Callable[[Endpoint], bytes]) -> float:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.setblocking(False)
        asker.bind(("127.0.0.1", 0))
        home = asker.getsockname()
        rounds = [[ask(home) for _ in range(AT_ONCE)] for _ in range(ASKS // AT_ONCE)]
        began = process_time()
        for bodies in rounds:
            for body in bodies:
                asker.sendto(body, to)
            until = loop.time() + ANSWER_S_MAX
            left = len(bodies)
            while left:
                await asyncio.sleep(0)
                left -= _taken(asker)
                if loop.time() > until:
                    raise SystemExit(f"{left} of {AT_ONCE} asks were not answered")
        return (process_time() - began) / ASKS * 1e6


def _taken(asker: socket.socket) -> int:
    """Take the answers that are there; returns how many."""
    taken = 0
    try:
        while True:
            asker.recv(2_048)
            taken += 1
    except BlockingIOError:
        return taken


def measure() -> list[Row]:
    """Measure a node of few keys and one of many."""
    with rare_collections():
        alone_us = uvloop.run(bare())
        few_us = uvloop.run(measured(FEW_KEYS))
        many_us = uvloop.run(measured(MANY_KEYS))
    what = "ask for one key, the asker's part included"
    rows = [
        Row(f"{what}: only sent back", f"{alone_us:.1f} us", "", WITH),
        Row(f"{what}: node of {FEW_KEYS} keys", f"{few_us:.1f} us", "", WITH),
        Row(f"{what}: node of 1 M keys", f"{many_us:.1f} us", f"{ASK_US_MAX} us", WITH),
    ]
    incr_us = redis_incr_us()
    if incr_us is not None:
        found, most = many_us / incr_us, ASK_US_MAX / FLOOR_INCR_US
        rows.append(
            Row(f"{what}: 1 M keys, in INCRs of Redis", f"{found:.2f}", f"{most:.2f}", WITH)
        )
    return rows
