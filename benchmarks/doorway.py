"""What the short ways of increments cost in C, beside the Python they stand for; no socket.

The same frames go to both, in turns, of fifty clients on a thousand keys; what the disk says comes
after every twenty messages. The rule: what the kernel does for an increment is in neither number
(`benchmarks.increments` has that), and both ledgers end alike, or nothing is said.
"""

import gc
import random
import statistics
import time
from functools import partial
from typing import Any, Final

from benchmarks.machine import Row
from counter import counting, doorway
from counter.config import NodeConfig
from counter.crdt import Counters
from counter.ledger import Ledger
from counter.messages import ACK_DEFAULT, DOOR, Increment
from tracker.machine import Persisted
from tracker.native import extension
from tracker.wire import framed

COMMAND = "python -m benchmarks doorway"
CLIENTS, AT_ONCE, ROUNDS = 50, 20, 5
KEYS: Final = [f"key:{number}" for number in range(1_000)]
# Increments in a message, and messages in a round.
SIZES = {1: 20_000, 10: 4_000, 100: 1_000}


def measure() -> list[Row]:
    """Measure both in turns; the medians."""
    modules = [extension(f"counter.native.{name}") for name in ("counting", "settling")]
    if None in modules:
        print("doorway: skipped, the native modules are not built")
        return []
    plain = counting.increments, counting.acknowledgements
    native = (
        partial(doorway.native, modules[0]),
        partial(doorway.native_acknowledgements, modules[1]),
    )
    rows = []
    for is_durable, place in ((False, "in memory"), (True, "on disk")):
        for size, messages in SIZES.items():
            frames = _frames(size, messages)
            both = [
                (_used_us(plain, frames, is_durable), _used_us(native, frames, is_durable))
                for _ in range(ROUNDS)
            ]
            theirs, own = (
                statistics.median([us for us, _ in column]) for column in zip(*both, strict=True)
            )
            if len({str(state) for row in both for _, state in row}) != 1:
                raise SystemExit("the two ways have not come to the same")
            what = f"{size} in a message, {place}: in Python, in C"
            rows.append(Row(what, f"{theirs:.1f} us, {own:.1f} us", "", COMMAND))
    return rows


def _ledger(*, durable: bool) -> Ledger:
    """Return a ledger that knows every client, and holds every key."""
    config = NodeConfig(name="bench")
    ledger = Ledger(config, Counters(b"x" * 16, 1), durable=durable)
    for client in range(CLIENTS):
        for part in range(4):
            pairs = tuple([field for key in KEYS[part::4] for field in (key, 1)])
            ledger.increment(client, Increment(_session(client), 1 + part, pairs, ACK_DEFAULT))
    if durable:
        ledger.persisted(Persisted(ledger.token))
    return ledger


def _frames(size: int, messages: int) -> list[tuple[int, bytes]]:
    dice, frames = random.Random(size), []
    for number in range(messages):
        turn, client = divmod(number, CLIENTS)
        pairs = tuple([field for key in dice.sample(KEYS, size) for field in (key, 1)])
        message = Increment(_session(client), 5 + turn, pairs, ACK_DEFAULT)
        frames.append((client, framed(DOOR.encode(message))))
    return frames


def _session(client: int) -> bytes:
    return client.to_bytes(16, "big")


def _used_us(ways: Any, frames: list[tuple[int, bytes]], is_durable: bool) -> tuple[float, Any]:
    """Return the CPU of a message, with its acknowledgement, in us; and what the ledger holds."""
    ledger = _ledger(durable=is_durable)
    take, acknowledge = ways[0](ledger, lambda record: None), ways[1](ledger)
    gc.collect()
    began = time.thread_time()
    for number, (client, frame) in enumerate(frames, start=1):
        take(client, frame)
        if is_durable and number % AT_ONCE == 0:
            acknowledge(Persisted(ledger.token))
    used = time.thread_time() - began
    own = ledger.counters.own
    state = sorted(own.positive.items()), own.ceiling, ledger.operations, ledger.written
    return used / len(frames) * 1e6, state
