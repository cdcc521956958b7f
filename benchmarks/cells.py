"""The query above the size of a cell, in the bare world, as one table: a row for each fault mix.

    python -m benchmarks.cells 10000 10      ten seeds of ten thousand nodes, about two minutes
    python -m benchmarks.cells 100000 2      the same at a hundred thousand, about six minutes

Hops take 8 ms and an exponential rest with mean 2 ms; loss strikes each datagram by itself;
the crashed are listed as alive and silent. Medians over the seeds; the worst for coverage, false
stops and in-cast. The rule: nothing here is timed by this machine's clock but the CPU.
"""

import gc
import sys
from statistics import median
from time import process_time

from loadtest.bare import BareConfig, BareWorld, Outcome
from tracker.daemon import rare_collections

FAULTS = ((0.0, 0.0), (0.05, 0.0), (0.2, 0.0), (0.0, 0.1), (0.05, 0.1), (0.2, 0.3))
HEAD = (
    "loss crashed | messages  hops   t99  t100  stop | coverage false |"
    " at origin elsewhere | bytes  CPU s"
)


def measured(nodes: int, seeds: int, loss: float, crashed: float) -> tuple[list[Outcome], float]:
    """Run one mix of faults over the seeds; returns the outcomes and the CPU of one run in s."""
    began = process_time()
    outcomes = []
    for seed in range(seeds):
        config = BareConfig(nodes=nodes, seed=seed, loss=loss, crashed=crashed)
        outcomes.append(BareWorld(config).run())
        gc.collect()
    return outcomes, (process_time() - began) / seeds


def line(nodes: int, loss: float, crashed: float, outcomes: list[Outcome], cpu_s: float) -> str:
    """Return the row of a table."""

    def middle_ms(times: list[float | None]) -> str:
        known = [1000 * time for time in times if time is not None]
        return f"{median(known):5.0f}" if known else "    -"

    coverage = min([1 - o.live_missing / o.live for o in outcomes])
    false_stops = sum([o.is_false_stop for o in outcomes])
    return (
        f"{100 * loss:3.0f}% {100 * crashed:6.0f}% |"
        f" {median([o.messages / nodes for o in outcomes]):8.3f}"
        f" {median([o.answer.hops for o in outcomes]):5.0f}"
        f" {middle_ms([o.t99_s for o in outcomes])}"
        f" {middle_ms([o.t100_s for o in outcomes])}"
        f" {middle_ms([o.stop_s for o in outcomes])} |"
        f" {coverage:8.6f} {false_stops:2}/{len(outcomes):2} |"
        f" {max([o.busiest_origin for o in outcomes]):9}"
        f" {max([o.busiest_other for o in outcomes]):9} |"
        f" {median([o.bytes / nodes for o in outcomes]):5.0f} {cpu_s:6.1f}"
    )


def main() -> None:
    """Print the table."""
    nodes, seeds = (int(word) for word in (*sys.argv[1:], "10000", "10")[:2])
    print(f"{nodes} nodes, chatter 10, {seeds} seeds; messages and bytes a node, times in ms")
    print(HEAD)
    with rare_collections():
        for loss, crashed in FAULTS:
            outcomes, cpu_s = measured(nodes, seeds, loss, crashed)
            print(line(nodes, loss, crashed, outcomes, cpu_s), flush=True)


if __name__ == "__main__":
    main()
