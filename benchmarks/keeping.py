"""What a million keys cost a node: to hold them, to read them at its start; and a second process.

Memory is what the process holds more than before, for each key, beside Redis with the same keys.
Recovery is how much more CPU a start takes than that of an empty node: it waits for nothing else.
"""

import os
import shutil
import statistics
import tempfile

from benchmarks.load import Node, Redis, Server, cpu_ns, drive, fill, judged, running
from benchmarks.machine import Row, process, rss_mb
from benchmarks.rounds import in_turns, spread

COMMAND = "python -m benchmarks keeping"
KEYS = 1_000_000
STARTS = 3
TWO_CONNECTIONS, TWO_INCREMENTS, TWO_SIZE, TWO_ROUNDS = 8, 500_000, 500, 9


def measure(brief: bool = False) -> list[Row]:
    """Measure all of it; `brief` takes a tenth of the keys."""
    keys = KEYS // 10 if brief else KEYS
    rows = [_recovery(keys)]
    if shutil.which("redis-server") is None:
        print("keeping: memory is skipped, redis-server is not installed")
    else:
        rows.append(_memory(keys))
    if len(os.sched_getaffinity(0)) > 1:
        rows.append(_two(TWO_INCREMENTS // 10 if brief else TWO_INCREMENTS))
    return rows


def _recovery(keys: int) -> Row:
    with tempfile.TemporaryDirectory() as full, tempfile.TemporaryDirectory() as empty:
        node = Node(full)
        with running(node):
            fill(node, keys)
        longer = [_start_s(full) - _start_s(empty) for _ in range(STARTS)]
    what = f"recovery of {keys:,} keys, in s of CPU more than an empty start"
    floor, goal = 1.0 * keys / KEYS, 0.6 * keys / KEYS
    return judged(what, statistics.median(longer), floor, goal, COMMAND, less=True)


def _start_s(directory: str) -> float:
    node = Node(directory)
    with process(node.command, node.port, 0) as pid:
        # It listens before it has read what it kept, and greets after.
        node.open().close()
        return cpu_ns(pid) / 1e9


def _memory(keys: int) -> Row:
    ours, theirs = (_bytes_per_key(server, keys) for server in (Node(None), Redis(None)))
    what = f"memory for each of {keys:,} keys ({ours:.0f} bytes), against Redis ({theirs:.0f})"
    return judged(what, ours / theirs, 2.3, 1.6, COMMAND, less=True)


def _bytes_per_key(server: Server, keys: int) -> float:
    with running(server):
        before = rss_mb(server.pid)
        fill(server, keys)
        return (rss_mb(server.pid) - before) * 1e6 / keys


def _two(increments: int) -> Row:
    load = (TWO_CONNECTIONS, increments, TWO_SIZE)
    first, second = Node(None), Node(None)
    with (
        process(first.command, first.port, 0) as first.pid,
        process(second.command, second.port, 1) as second.pid,
    ):
        for node in (first, second):
            fill(node, 1_000)
        walls = in_turns(
            lambda: drive([first], *load).wall_s,
            lambda: drive([first, second], *load).wall_s,
            TWO_ROUNDS,
        )
    what = f"two processes on two cores against one, {TWO_SIZE} in a message, by time"
    value = spread([alone / both for alone, both in walls])
    return judged(what, value, 1.6, 1.9, COMMAND)
