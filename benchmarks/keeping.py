"""What a million keys cost a node: to hold them, and to read them at its start.

Memory is what the process holds more than before, for each key, beside Redis with the same keys.
Recovery is how much more CPU a start takes than that of an empty node: it waits for nothing else.
What disturbs a start only adds to it, up to a multiple of what a tenth of the keys takes, so the
least of some starts is held against the least of as many empty ones, in turns.
"""

import shutil
import tempfile

from benchmarks.load import Node, Redis, Server, cpu_ns, fill, judged, running
from benchmarks.machine import Row, process, rss_mb

COMMAND = "python -m benchmarks keeping"
KEYS = 1_000_000
STARTS = 9


def measure(brief: bool = False) -> list[Row]:
    """Measure all of it; `brief` takes a tenth of the keys."""
    keys = KEYS // 10 if brief else KEYS
    rows = [_recovery(keys)]
    if shutil.which("redis-server") is None:
        print("keeping: memory is skipped, redis-server is not installed")
    else:
        rows.append(_memory(keys))
    return rows


def _recovery(keys: int) -> Row:
    with tempfile.TemporaryDirectory() as full, tempfile.TemporaryDirectory() as empty:
        node = Node(full)
        with running(node):
            fill(node, keys)
        starts = [(_start_s(full), _start_s(empty)) for _ in range(STARTS)]
    longer = min(own for own, _ in starts) - min(bare for _, bare in starts)
    what = f"recovery of {keys:,} keys, in s of CPU more than an empty start"
    floor, goal = 1.0 * keys / KEYS, 0.6 * keys / KEYS
    return judged(what, longer, floor, goal, COMMAND, less=True)


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
