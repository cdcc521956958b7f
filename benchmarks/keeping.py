"""What a million keys cost a node: to hold them, and to read them at its start.

Memory is what the process holds more than before, for each key, beside Redis with the same keys.
Recovery is how much more CPU a start takes than that of an empty node: it waits for nothing else.
What disturbs a start only adds to it, up to a multiple of what a tenth of the keys takes, so the
least of some starts is held against the least of as many empty ones, in turns. The same is done to
Redis, which reads its own log. What one record takes is measured without any file.
"""

import os
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Callable

from benchmarks.load import Node, Redis, Server, cpu_ns, fill, judged, running
from benchmarks.machine import Row, process, rss_mb
from counter import recalling
from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.lives import member_of
from counter.messages import ACK_DISK, Increment
from counter.records import ROWS_PER_RECORD, record_of
from counter.storage.base import Identity
from tracker import wire

COMMAND = "python -m benchmarks keeping"
KEYS = 1_000_000
STARTS = 9
RECORDS = 20_000
CLIENTS = 50


def measure(brief: bool = False) -> list[Row]:
    """Measure all of it; `brief` takes a tenth of the keys."""
    keys = KEYS // 10 if brief else KEYS
    has_redis = shutil.which("redis-server") is not None
    rows = [*_recovery(keys, has_redis), *_records()]
    if has_redis:
        rows.append(_memory(keys))
    else:
        print("keeping: redis-server is not installed: nothing to hold this against")
    return rows


def _recovery(keys: int, has_redis: bool) -> list[Row]:
    ours = _longer_s(Node, keys)
    what = f"recovery of {keys:,} keys, in s of CPU more than an empty start"
    floor, goal = 1.0 * keys / KEYS, 0.6 * keys / KEYS
    rows = [judged(what, ours, floor, goal, COMMAND, less=True)]
    if has_redis:
        theirs = _longer_s(Redis, keys)
        against = f"{ours / theirs:.2f} ({theirs:.2f} s)"
        rows.append(Row("that, against Redis reading its log of the same", against, "", COMMAND))
    return rows


def _longer_s(make: Callable[[str], Server], keys: int) -> float:
    """Return how much more CPU a start with so many keys takes than one with none."""
    with tempfile.TemporaryDirectory() as full, tempfile.TemporaryDirectory() as empty:
        server = make(full)
        with running(server):
            fill(server, keys)
        starts = [(_start_s(make(full)), _start_s(make(empty))) for _ in range(STARTS)]
    return min(own for own, _ in starts) - min(bare for _, bare in starts)


def _start_s(server: Server) -> float:
    with process(server.command, server.port, 0) as pid:
        # A node listens before it has read what it kept, and greets after.
        with server.open() as sock:
            while isinstance(server, Redis) and not _has_loaded(sock):
                time.sleep(0.02)
        return cpu_ns(pid) / 1e9


def _has_loaded(sock: socket.socket) -> bool:
    sock.sendall(b"PING\r\n")
    return sock.recv(256) == b"+PONG\r\n"


def _records() -> list[Row]:
    """What it takes to read again what was counted: each of both ways anew, the least of some."""
    sessions = [os.urandom(16) for _ in range(CLIENTS)]
    singles = [
        ("counts", record_of(Increment(session, sequence, (f"key:{sequence}", 1), ACK_DISK)))
        for sequence in range(1, RECORDS // CLIENTS + 1)
        for session in sessions
    ]
    pages = []
    for first in range(0, RECORDS, ROWS_PER_RECORD):
        numbers = range(first, min(first + ROWS_PER_RECORD, RECORDS))
        rows = [(f"key:{number}", 1, 0) for number in numbers]
        pages.append(("state", wire.packed(["share", bytes(16), 1, rows])))
    kinds = {"an increment of one pair": singles, "a key of a snapshot": pages}
    return [
        Row(f"{what}, read again: in Python, in C", _both_us(records), "", COMMAND)
        for what, records in kinds.items()
    ]


def _both_us(records: list[tuple[str, bytes]]) -> str:
    ways = [_in_python] if recalling._NATIVE is None else [_in_python, recalling.restoring]
    least = [min(_taken_us(way, records) for _ in range(STARTS)) for way in ways]
    return ", ".join([f"{us:.2f} us" for us in least])


def _in_python(machine: Gossip) -> recalling.Restore:
    return machine.restore


def _taken_us(
    way: Callable[[Gossip], recalling.Restore], records: list[tuple[str, bytes]]
) -> float:
    identity = Identity(bytes(16), 1, durable=True)
    member = member_of(identity, "bench", ("127.0.0.1", 1))
    config = NodeConfig(name="bench", cluster="default")
    restore = way(Gossip(config, LAN, member, (), random.Random(1)))
    began = time.process_time()
    for kind, record in records:
        restore(kind, record)
    return (time.process_time() - began) * 1e6 / RECORDS


def _memory(keys: int) -> Row:
    ours, theirs = (_bytes_per_key(server, keys) for server in (Node(None), Redis(None)))
    what = f"memory for each of {keys:,} keys ({ours:.0f} bytes), against Redis ({theirs:.0f})"
    return judged(what, ours / theirs, 2.3, 1.6, COMMAND, less=True)


def _bytes_per_key(server: Server, keys: int) -> float:
    with running(server):
        before = rss_mb(server.pid)
        fill(server, keys)
        return (rss_mb(server.pid) - before) * 1e6 / keys
