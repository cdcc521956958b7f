"""What it brings that the loop sleeps while a commit runs: a node that does, and one awake.

    python -m benchmarks lull             nine rounds: some minutes
    python -m benchmarks lull --brief     three

The rule: both are this installation, on the same disk, asked in turns; they differ in nothing but
from how many clients on they sleep (`counter.storage.pacing.GROUP` and `CROWD`).
"""

import sys
import tempfile
from collections.abc import Callable

from benchmarks.load import Node, Run, drive, running
from benchmarks.rounds import spread

ROUNDS, BRIEF_ROUNDS = 9, 3
# Connections, increments in a round, increments in a message.
LOADS = ((50, 4_000, 1), (50, 20_000, 10), (50, 40_000, 100), (500, 5_000, 1))
AWAKE = (
    "from counter.storage import pacing; pacing.GROUP = pacing.CROWD = pacing.SEEN_MAX;"
    "from counter.cli import main; main()"
)
COSTS: tuple[tuple[str, Callable[[Run], float]], ...] = (
    ("time", lambda run: run.wall_s),
    ("CPU", lambda run: run.cpu_s),
    ("p50 of a wait", lambda run: _part(run.waits, 0.5)),
    ("p99 of a wait", lambda run: _part(run.waits, 0.99)),
)


def measure(brief: bool = False) -> None:
    """Print what a node that never sleeps costs over one that does; above 1 the sleep pays."""
    rounds = BRIEF_ROUNDS if brief else ROUNDS
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        asleep, awake = Node(one), Node(other)
        awake.command = [sys.executable, "-c", AWAKE, *awake.command[3:]]
        with running(asleep, awake):
            print(f"awake over asleep, median and quartiles of {rounds} rounds")
            for load in LOADS:
                _compare(asleep, awake, load, rounds)


def _compare(asleep: Node, awake: Node, load: tuple[int, int, int], rounds: int) -> None:
    pairs: list[tuple[Run, Run]] = []
    for node in (asleep, awake):
        drive(node, *load)
    for number in range(rounds):
        first, second = (asleep, awake) if number % 2 else (awake, asleep)
        runs = {node.port: drive(node, *load) for node in (first, second)}
        pairs.append((runs[asleep.port], runs[awake.port]))
    connections, _, size = load
    for name, cost in COSTS:
        ratio = spread([cost(waking) / cost(sleeping) for sleeping, waking in pairs])
        print(f"{connections} connections, {size} in a message, by {name:14} {ratio}")


def _part(waits: list[float], share: float) -> float:
    return sorted(waits)[int(share * len(waits))]
