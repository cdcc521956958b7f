"""What `Client` and `AsyncClient` do, beside redis-py and redis.asyncio in the same run.

The rule: ours and theirs are measured in turns, each against its server on the same core, so that
a busy machine slows both; the ratio of the medians is what counts. `add` has nothing to be
compared with but an empty call, so its rate stands beside that of a function that does nothing.
"""

import gc
import os
import shutil
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any

from benchmarks.machine import Row, counter_command, free_port, process

COMMAND = "python -m benchmarks clients"
ROUNDS = 7
LATENCY_OPERATIONS = 2_000
TASKS = 50
PER_TASK = 400
REDIS_PER_TASK = 60
ADDS = 1_000_000
LATENCY_FLOOR, ASYNC_FLOOR, ADD_FLOOR = 0.9, 9.0, 8e6


def measure() -> list[Row]:
    """Measure all three rows."""
    port = free_port()
    node = counter_command(
        *("node", "--name", "bench", "--memory", "--listen", f"127.0.0.1:{port}"),
        *("--tracker", f"127.0.0.1:{free_port()}"),
    )
    with process(node, port, 0):
        rows = _added(f"127.0.0.1:{port}")
        missing = _missing()
        if missing:
            print(f"clients: NOT COMPARED with redis: {missing}", file=sys.stderr)
            return rows
        redis_port = free_port()
        redis = ["redis-server", "--port", str(redis_port), "--save", "", "--appendonly", "no"]
        with process(redis, redis_port, 0):
            return [*_latency(f"127.0.0.1:{port}", redis_port), *_tasks(port, redis_port), *rows]


def _missing() -> str:
    if shutil.which("redis-server") is None:
        return "redis-server is not installed (apt install redis-server)"
    return "" if find_spec("redis") else "redis-py is not installed (pip install -e '.[bench]')"


def _pinned() -> set[int]:
    """Leave the first core to the server; returns where this process may run otherwise."""
    anywhere = os.sched_getaffinity(0)
    if len(anywhere) > 1:
        os.sched_setaffinity(0, anywhere - {0})
    return anywhere


def _latency(address: str, redis_port: int) -> list[Row]:
    import redis

    from counter import Client

    anywhere = _pinned()
    theirs, ours = redis.Redis(port=redis_port), Client(node=address)
    took: dict[str, list[tuple[float, float]]] = {"theirs": [], "ours": []}
    for _ in range(ROUNDS):
        took["theirs"].append(_each(theirs.incr))
        took["ours"].append(_each(ours.incr))
    ours.close()
    theirs.close()
    os.sched_setaffinity(0, anywhere)
    (their_us, their_cpu), (our_us, our_cpu) = (_medians(rows) for rows in took.values())
    return [
        Row("one request at a time, redis-py: time (CPU of the client)",
            f"{their_us:.0f} us ({their_cpu:.0f})", "", COMMAND),
        Row("one request at a time, `Client.incr`: time (CPU of the client)",
            f"{our_us:.0f} us ({our_cpu:.0f})", "", COMMAND),
        Row("that, against redis-py: requests a second (for the same CPU)",
            f"{their_us / our_us:.2f} ({their_cpu / our_cpu:.2f})", f"{LATENCY_FLOOR}", COMMAND),
    ]  # fmt: skip


def _each(incr: Callable[[str], Any]) -> tuple[float, float]:
    """Return the us that one request takes, and those of them that are this process's own."""
    incr("views")
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(LATENCY_OPERATIONS):
        incr("views")
    took, used = time.perf_counter() - began, time.process_time() - cpu
    return took / LATENCY_OPERATIONS * 1e6, used / LATENCY_OPERATIONS * 1e6


def _medians(rows: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(r[0] for r in rows), statistics.median(r[1] for r in rows)


def _tasks(port: int, redis_port: int) -> list[Row]:
    import anyio
    import redis.asyncio

    from counter import AsyncClient

    async def at_once(incr: Callable[[str], Awaitable[Any]], each: int) -> tuple[float, float]:
        async def work() -> None:
            for _ in range(each):
                await incr("views")

        await incr("views")
        began, cpu = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as group:
            for _ in range(TASKS):
                group.start_soon(work)
        count = TASKS * each / 1e6
        return (time.perf_counter() - began) / count, (time.process_time() - cpu) / count

    async def both() -> list[list[tuple[float, float]]]:
        theirs, ours = redis.asyncio.Redis(port=redis_port), AsyncClient(node=f"127.0.0.1:{port}")
        took: list[list[tuple[float, float]]] = [[], []]
        async with ours:
            # The first round makes redis.asyncio its fifty connections.
            await at_once(theirs.incr, 2)
            for _ in range(ROUNDS):
                took[0].append(await at_once(theirs.incr, REDIS_PER_TASK))
                took[1].append(await at_once(ours.incr, PER_TASK))
        await theirs.aclose()
        return took

    anywhere = _pinned()
    theirs, ours = [_medians(rows) for rows in anyio.run(both)]
    os.sched_setaffinity(0, anywhere)
    return [
        Row(f"{TASKS} tasks, each acknowledged, redis.asyncio: increments a second",
            f"{1e3 / theirs[0]:.0f} k", "", COMMAND),
        Row(f"{TASKS} tasks, each acknowledged, `AsyncClient.incr`",
            f"{1e3 / ours[0]:.0f} k", "", COMMAND),
        Row("that, against redis.asyncio (for the same CPU)",
            f"{theirs[0] / ours[0]:.1f} ({theirs[1] / ours[1]:.1f})", f"{ASYNC_FLOOR:g}", COMMAND),
    ]  # fmt: skip


def _added(address: str) -> list[Row]:
    from counter import Client

    def nothing(key: str, n: int = 1) -> None:
        """Do nothing."""

    anywhere = _pinned()
    with Client(node=address) as client:
        client.add("views")
        client.flush()
        adds, empty = [], []
        for _ in range(ROUNDS):
            adds.append(_rate(client.add))
            empty.append(_rate(nothing))
        client.flush()
        counted = client.get("views").value
    os.sched_setaffinity(0, anywhere)
    if counted != ROUNDS * ADDS + 1:
        raise SystemExit(f"{ROUNDS * ADDS + 1} were added, and {counted} counted")
    rate, calls = max(adds), max(empty)
    return [
        Row("a function that does nothing: calls in a second of CPU",
            f"{calls / 1e6:.1f} M", "", COMMAND),
        Row("`Client.add`, flushed every 5 ms meanwhile: calls in a second of CPU",
            f"{rate / 1e6:.1f} M", f"{ADD_FLOOR / 1e6:g} M", COMMAND),
    ]  # fmt: skip


def _rate(call: Callable[[str], Any]) -> float:
    """Return the calls in a second of this thread's own time: the flushes have another one."""
    gc.collect()
    began = time.thread_time()
    for _ in range(ADDS):
        call("views")
    return ADDS / (time.thread_time() - began)
