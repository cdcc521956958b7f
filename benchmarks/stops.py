"""How often a query stops by itself with a member missing that is up, for each mix of faults.

    python -m benchmarks stops             1000 nodes, about five minutes
    python -m benchmarks stops --brief     20 seeds of each mix

The mixes are those for which the stop rule was chosen, independent loss beside members that are
listed and silent; hops take 8 ms and an exponential rest with mean 2 ms.

The rule: a stop is false by what the simulated world knows, not by what the answer says; and the
worst seed is told, so that anybody can look at it.
"""

import gc
from math import ceil
from statistics import median
from time import process_time

from loadtest.bare import BareConfig, BareWorld
from loadtest.goals import FALSE_STOPS_MAX
from tracker.daemon import rare_collections

NODES = 1_000
MIXES = (
    (0.01, 0.0, 200), (0.05, 0.0, 200), (0.2, 0.0, 200),
    (0.0, 0.1, 200), (0.05, 0.1, 200), (0.2, 0.3, 600),
)  # fmt: skip
"""Loss, share of the silent, seeds. One in a hundred is two of 200: too few to judge by where it
is not nearly never, so the worst mix is asked more often."""
SEEDS_BRIEF = 20
HEAD = (
    "  loss crashed  seeds |  false stops (most)  missing  first seed |  stop ms  messages  CPU s"
)


def measure(*, brief: bool = False) -> None:
    """Print a line for each mix."""
    print(f"{NODES} nodes; medians of time and messages a node")
    print(HEAD)
    with rare_collections():
        for loss, crashed, seeds in MIXES:
            print(line(loss, crashed, SEEDS_BRIEF if brief else seeds), flush=True)


def line(loss: float, crashed: float, seeds: int) -> str:
    """Ask once with each seed, and return what came of it."""
    began = process_time()
    stops, messages, false, missing = [], [], [], 0
    for seed in range(seeds):
        outcome = BareWorld(BareConfig(nodes=NODES, seed=seed, loss=loss, crashed=crashed)).run()
        stops.append(outcome.stop_s * 1000)
        messages.append(outcome.messages / NODES)
        if outcome.is_false_stop:
            false.append(seed)
            missing += outcome.live_missing
        if seed % 10 == 9:
            gc.collect()
    most = ceil(FALSE_STOPS_MAX * seeds)
    mark = " " if len(false) <= most else "!"
    return (
        f"  {100 * loss:3.0f}% {100 * crashed:6.0f}%  {seeds:5} | {len(false):12} ({most}){mark}"
        f" {missing:9}  {false[0] if false else '-':>10} | {median(stops):8.0f}"
        f" {median(messages):9.3f} {process_time() - began:6.0f}"
    )
