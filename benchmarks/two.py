"""Two nodes on two cores against one: whether a machine is filled by a process for each core.

The load costs a few hundredths of what the nodes do (`benchmarks.flood`); a row says how much. Two
numbers tell two things. By time is what is promised, and needs both cores: whatever else runs
takes from two nodes twice, so beside it stands what two programs that share nothing reached in
the same run. By CPU tells whether two nodes hinder each other, busy machine or not: twice what an
increment costs alone over what it costs together. The rule: in each round both run alone, then
together, so neither core is compared with the other.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.flood import Flood, flood
from benchmarks.load import Node, cpu_ns, fill, judged
from benchmarks.machine import Row, process
from benchmarks.rounds import Others, spread

COMMAND = "python -m benchmarks two"
CONNECTIONS, SIZE, ROUNDS = 4, 500, 15
INCREMENTS = 1_000_000
FLOOR, GOAL = 1.6, 1.9
SPIN = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
for line in sys.stdin:
    for _ in range(int(line)):
        pass
    print(flush=True)
"""
SPINS = 4
"""Steps of a spinner for each increment of a node: about as long."""


def measure(brief: bool = False) -> list[Row]:
    """Measure both ratios; `brief` takes a quarter of the increments."""
    if len(os.sched_getaffinity(0)) < 2:
        print("two: skipped, there is one core only")
        return []
    load = CONNECTIONS, INCREMENTS // 4 if brief else INCREMENTS, SIZE
    first, second = Node(None), Node(None)
    others = Others()
    with (
        process(first.command, first.port, 0) as first.pid,
        process(second.command, second.port, 1) as second.pid,
        _spinner(0) as left,
        _spinner(1) as right,
    ):
        for node in (first, second):
            fill(node, 1_000)
            flood([node], *load)
        rounds, spins = [], []
        for _ in range(ROUNDS):
            groups = [[first], [second], [first, second]]
            rounds.append([flood(nodes, *load) for nodes in groups])
            spins.append(
                [_spin(some, SPINS * load[1]) for some in ([left], [right], [left, right])]
            )
        used = sum(cpu_ns(one.pid) for one in (first, second, left, right)) / 1e9
    return [*_rows(rounds, spins), others.row(used, COMMAND)]


def _rows(rounds: list[list[Flood]], spins: list[list[float]]) -> list[Row]:
    what = f"two processes on two cores against one, {SIZE} in a message"
    by_time = spread([_gain(*(run.wall_s for run in row)) for row in rounds])
    by_cpu = spread([2 * _gain(*(run.nodes_s for run in row)) for row in rounds])
    nothing_shared = spread([_gain(*row) for row in spins])
    share = statistics.median(both.load_s / both.nodes_s for *_, both in rounds)
    return [
        judged(f"{what}, by time", by_time, FLOOR, GOAL, COMMAND),
        judged(f"{what}, by CPU", by_cpu, FLOOR, GOAL, COMMAND),
        Row(
            "two programs that share nothing, meanwhile, by time", str(nothing_shared), "", COMMAND
        ),
        Row("what the load took of that, against the nodes", f"{share:.2f}", "", COMMAND),
    ]


def _gain(one: float, other: float, both: float) -> float:
    return (one + other) / both


@contextmanager
def _spinner(core: int) -> Iterator[subprocess.Popen[str]]:
    """Run a program that counts for nobody, on one core, until the block ends."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SPIN, str(core)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        yield child
        assert child.stdin is not None
        child.stdin.close()


def _spin(spinners: list[subprocess.Popen[str]], steps: int) -> float:
    """Have each take so many steps; returns how long all of them took, in s."""
    began = time.perf_counter()
    for child in spinners:
        assert child.stdin is not None
        print(steps, file=child.stdin, flush=True)
    for child in spinners:
        assert child.stdout is not None
        if not child.stdout.readline():
            raise SystemExit("a spinner has ended")
    return time.perf_counter() - began
