"""How soon many nodes are up, what each costs while nobody asks, and queries over all of them.

The rule: the nodes are in one process for each core, as `loadtest --sockets` runs them, and an
answer that is not exact and complete ends the benchmark. Memory is what all processes hold
together, the tracker's among them, what they share counted once.
"""

import asyncio
import statistics
import time
from dataclasses import dataclass

import uvloop

from benchmarks.machine import Row
from counter.client.door import Door
from counter.messages import UNTIL_ALL, Query
from loadtest.faults import Faults
from loadtest.needs import NODE_BYTES, PROCESS_BYTES
from loadtest.processes import Processes
from loadtest.workers import Workers, cores
from tracker.daemon import rare_collections

COMMAND = "python -m benchmarks fleet"
BOOTS = ((1_000, 5), (3_000, 20))
"""Nodes, and the seconds in which they are to be up."""
NODE_KB_MAX = 200
IDLE_NODES, IDLE_S, IDLE_PERCENT_MAX = 1_000, 10.0, 15
ASKED_NODES, QUERIES, ANSWER_MS_MAX = 1_000, 60, 30
DELAY_S, DELAYED_QUERIES, DELAYED_MS_MAX = 0.010, 20, 60
EACH_NODES = 50
ORIGINS = 10
ASK = Query(0, "views", 10, 0, 0, 5_000, UNTIL_ALL, 0, 0, False)


@dataclass(frozen=True)
class Booted:
    """What it took until everybody knew everybody."""

    elapsed_s: float
    cpu_s: float
    node_bytes: float


async def booted(nodes: int) -> Booted:
    """Start so many nodes, and end them again."""
    began = time.monotonic()
    async with Workers(nodes) as fleet:
        elapsed_s = time.monotonic() - began
        used = await fleet.usage()
    return Booted(elapsed_s, used.cpu_s, used.rss_bytes / nodes)


async def idle() -> float:
    """Return the share of one core that nodes and tracker take while nobody asks anything."""
    async with Workers(IDLE_NODES) as fleet:
        before, began = await fleet.usage(), time.monotonic()
        await asyncio.sleep(IDLE_S)
        after, ended = await fleet.usage(), time.monotonic()
    return (after.cpu_s - before.cpu_s) / (ended - began)


async def answers(latency_s: float, queries: int) -> tuple[float, float]:
    """Return the median ms of an exact answer, and the CPU ms that all processes took for it."""
    elapsed = []
    async with Workers(ASKED_NODES, faults=Faults(latency_s=latency_s)) as fleet:
        names = fleet.names[:: ASKED_NODES // ORIGINS]
        doors = [await Door.open(fleet.endpoints[name]) for name in names]
        for door in doors:
            await door.count("views", 7)
            # Each node makes plans for its first query that it keeps.
            await door.ask(ASK)
        before = await fleet.usage()
        for number in range(queries):
            answer, _ = await doors[number % ORIGINS].ask(ASK)
            if not answer.complete or answer.value != 7 * ORIGINS:
                raise SystemExit(f"a wrong answer: {answer}")
            elapsed.append(answer.elapsed_ms)
        after = await fleet.usage()
        for door in doors:
            door.close()
    return statistics.median(elapsed), 1000 * (after.cpu_s - before.cpu_s) / queries


async def each() -> float:
    """Return the bytes of a node that is a process of its own."""
    async with Processes(EACH_NODES) as fleet:
        return (await fleet.usage()).rss_bytes / EACH_NODES


def measure() -> list[Row]:
    """Measure all of them, one after another."""
    rows = []
    where = f"in {cores()} processes"
    with rare_collections():
        for nodes, floor_s in BOOTS:
            up = uvloop.run(booted(nodes))
            what = f"{nodes} real nodes {where}"
            took = f"{up.elapsed_s:.1f} s ({up.cpu_s:.1f} of CPU)"
            held = f"{up.node_bytes / 1000:.0f} KB"
            rows += [
                Row(f"{what}: up after", took, f"{floor_s} s", COMMAND),
                Row(f"{what}: memory a node", held, f"{NODE_KB_MAX} KB", COMMAND),
            ]
        share = uvloop.run(idle())
        what = f"{IDLE_NODES} real nodes {where}, at rest: share of a core"
        rows.append(Row(what, f"{share:.1%}", f"{IDLE_PERCENT_MAX}%", COMMAND))
        for latency_s, queries, floor_ms in (
            (0.0, QUERIES, ANSWER_MS_MAX),
            (DELAY_S, DELAYED_QUERIES, DELAYED_MS_MAX),
        ):
            took_ms, cpu_ms = uvloop.run(answers(latency_s, queries))
            what = f"query over {ASKED_NODES} real nodes {where}"
            if latency_s:
                what += f", {latency_s * 1000:g} ms a hop"
            took = f"{took_ms:.1f} ms ({cpu_ms:.0f} of CPU)"
            rows.append(Row(f"{what}: exact, median", took, f"{floor_ms} ms", COMMAND))
        needed = (PROCESS_BYTES + NODE_BYTES) / 1e6
        what = "a node that is a process of its own: memory"
        rows.append(Row(what, f"{uvloop.run(each()) / 1e6:.1f} MB", f"{needed:.0f} MB", COMMAND))
    return rows
