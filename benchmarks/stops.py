"""How often a query stops by itself with a member missing that is up, for each mix of faults.

    python -m benchmarks stops                        37, 100 and 1000 nodes, each mix
    python -m benchmarks stops --brief                1000 nodes, 20 seeds of each mix
    python -m benchmarks stops --hard                 other mixes, small clusters, slow and bursty
    python -m benchmarks stops --nodes 37 --mix 20+30 --seeds 1000 --first 5000
    python -m benchmarks stops --nodes 300 --mix 5+10 --hop 1+20 --burst 1000/50
    python -m benchmarks stops --nodes 100 --mix 20+30 --rule given
    python -m benchmarks stops --nodes 100 --mix 20+30 --rule oracle --even

The mixes are those for which the stop rule was chosen, independent loss beside members that are
listed and silent, in per cent; hops take 8 ms and an exponential rest with mean 2 ms (`--hop 8+2`).
In a burst a node hears nothing and is not heard: good and bad times are exponential, with the
means that `--burst` names in ms (Gilbert 1960, Elliott 1963).

The rules `given` and `oracle`, and `--even`, are here to be compared with, up to 1024 nodes
(`benchmarks.rules`). The oracle is what could be done by whoever knew the losses and every ask
(`benchmarks.oracle`).

The rule: a stop is false by what the simulated world knows, not by what the answer says; and the
first seed is told, so that anybody can look at it.
"""

import gc
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from math import ceil
from statistics import median
from time import process_time

from benchmarks import oracle
from benchmarks.rules import RULES
from counter.config import LAN
from counter.query import OwnQuery
from loadtest.bare import BareConfig, BareWorld
from loadtest.goals import FALSE_STOPS_MAX
from loadtest.simulation.bursts import Bursts
from tracker.classes import dataclass, replace
from tracker.daemon import rare_collections
from tracker.errors import ConfigError

SEEDS_BRIEF = 20
SEEDS = {37: 1_000, 100: 600, 300: 400, 1_000: 200}
"""By nodes. One in a hundred is two of 200: a rare thing is looked for more often where a query
costs less."""
HEAD = (
    "  nodes  c loss crashed  hop ms   burst ms |  seeds  false stops (most)  missing  first |"
    "  stop ms  messages  CPU s"
)
HEAD_ORACLE = (
    "  nodes  c loss crashed  hop ms   burst ms |  seeds    way  false stops expected |"
    "  stop ms  messages"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """What is asked again and again. Times in ms, shares from 0 to 1."""

    nodes: int = 1_000
    chatter: int = 10
    loss: float = 0.0
    crashed: float = 0.0
    hop: tuple[float, float] = (8.0, 2.0)
    """What every hop takes, and the mean of an exponential rest."""
    burst: tuple[float, float] | None = None
    """The mean length of a good and of a bad time of each node's way."""
    query: type[OwnQuery] = OwnQuery
    """Whose rule ends it."""

    def config(self, seed: int) -> BareConfig:
        """Return the world of one seed."""
        base_ms, rest_ms = self.hop
        bursts = self.burst and Bursts(good_s=self.burst[0] / 1000, bad_s=self.burst[1] / 1000)
        return BareConfig(
            nodes=self.nodes,
            seed=seed,
            gossip=replace(LAN, chatter=self.chatter),
            base_s=base_ms / 1000,
            jitter_s=rest_ms / 1000,
            loss=self.loss,
            crashed=self.crashed,
            bursts=bursts or None,
            query=self.query,
        )

    def told(self) -> str:
        """Return the first columns of its line."""
        hop, burst = "{:g}+{:g}".format(*self.hop), "{:g}/{:g}".format(*self.burst or (0, 0))
        return (
            f"  {self.nodes:5} {self.chatter:2} {100 * self.loss:3.0f}% {100 * self.crashed:6.0f}%"
            f" {hop:>7} {burst if self.burst else '-':>10} |"
        )


FAULTS = ((0.01, 0.0), (0.05, 0.0), (0.2, 0.0), (0.0, 0.1), (0.05, 0.1), (0.2, 0.3))
BRIEF = tuple([Mix(loss=loss, crashed=crashed) for loss, crashed in FAULTS])
FULL = tuple([replace(mix, nodes=nodes) for nodes in (37, 100, 1_000) for mix in BRIEF])
HARD = (
    *[
        Mix(nodes=nodes, loss=loss, crashed=crashed)
        for nodes in (3, 10, 37, 300)
        for loss, crashed in ((0.2, 0.3), (0.3, 0.1), (0.1, 0.5), (0.4, 0.0))
    ],
    *[Mix(nodes=37, chatter=chatter, loss=0.2, crashed=0.3) for chatter in (1, 2, 3)],
    *[Mix(nodes=300, loss=loss, crashed=0.1, hop=(1, 20)) for loss in (0.05, 0.2)],
    *[
        Mix(nodes=nodes, loss=0.01, crashed=0.1, burst=burst)
        for nodes in (100, 1_000)
        for burst in ((1_000, 10), (1_000, 50))
    ],
)


def main(arguments: Sequence[str]) -> None:
    """Print a line for each mix, or for the one that the arguments tell."""
    parser = ArgumentParser(prog="python -m benchmarks stops")
    parser.add_argument("--brief", action="store_true", help=f"{SEEDS_BRIEF} seeds of each mix")
    parser.add_argument("--hard", action="store_true", help="the other mixes")
    parser.add_argument("--nodes", type=int)
    parser.add_argument("--chatter", type=int, help="at each node, 10 if not told")
    parser.add_argument("--mix", help="per cent lost + per cent silent, as in 20+30", type=_mix)
    parser.add_argument("--hop", help="ms, and mean of a rest, as in 1+20", type=_pair)
    parser.add_argument("--burst", help="mean good/bad ms, as in 1000/50", type=_pair)
    parser.add_argument("--rule", choices=RULES, default="own", help="when to stop")
    parser.add_argument("--even", action="store_true", help="all waves a whole pause apart")
    parser.add_argument("--seeds", type=int, help="how many of each mix")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    told = parser.parse_args(arguments)
    mixes = HARD if told.hard else BRIEF if told.brief else FULL
    changes = {
        name: getattr(told, name)
        for name in ("nodes", "chatter", "hop", "burst")
        if getattr(told, name) is not None
    }
    if told.mix is not None:
        mixes, changes = (Mix(),), {**changes, "loss": told.mix[0], "crashed": told.mix[1]}
    try:
        mixes = tuple(dict.fromkeys([replace(mix, **changes) for mix in mixes]))
        mixes[0].config(0)
    except ConfigError as error:
        parser.error(str(error))
    seeds = told.seeds or (SEEDS_BRIEF if told.brief else None)
    if told.rule == "oracle" and any(mix.burst or not mix.crashed for mix in mixes):
        parser.error("the oracle knows nothing of bursts, and needs somebody silent")
    query = RULES[told.rule][told.even]
    if query is not OwnQuery and any(mix.nodes > LAN.cell_members_max for mix in mixes):
        parser.error(f"above {LAN.cell_members_max} nodes there is no other rule than our own")
    mixes = tuple([replace(mix, query=query) for mix in mixes])
    (foretell if told.rule == "oracle" else measure)(mixes, seeds, told.first)


def _pair(text: str) -> tuple[float, float]:
    first, _, second = text.replace("/", "+").partition("+")
    try:
        return float(first), float(second)
    except ValueError:
        raise ArgumentTypeError(f"wants two numbers, not {text!r}") from None


def _mix(text: str) -> tuple[float, float]:
    lost, silent = _pair(text)
    return lost / 100, silent / 100


def measure(mixes: Sequence[Mix], seeds: int | None = None, first: int = 0) -> None:
    """Print a line for each mix; as many seeds as its size allows if none are told."""
    print("medians of time and messages a node; in brackets one in a hundred of the seeds")
    print(HEAD)
    with rare_collections():
        for mix in mixes:
            print(line(mix, seeds or _seeds(mix), first), flush=True)


def foretell(mixes: Sequence[Mix], seeds: int | None = None, first: int = 0) -> None:
    """Print three lines for each mix: what a rule could do that knew what no node knows."""
    print("each: 1 % in each query; mean: in the mean of all; K: asks of each, the fewest that do")
    print(HEAD_ORACLE)
    with rare_collections():
        for mix in mixes:
            seeds = seeds or _seeds(mix)
            queries = [oracle.watched(mix.config(seed)) for seed in range(first, first + seeds)]
            for row in oracle.rows(queries, mix.nodes):
                print(f"{mix.told()} {seeds:6} {row}", flush=True)


def _seeds(mix: Mix) -> int:
    return next((count for nodes, count in SEEDS.items() if mix.nodes <= nodes), 200)


def line(mix: Mix, seeds: int, first: int) -> str:
    """Ask once with each seed, and return what came of it."""
    began = process_time()
    stops, messages, false, missing = [], [], [], 0
    for seed in range(first, first + seeds):
        outcome = BareWorld(mix.config(seed)).run()
        stops.append(outcome.stop_s * 1000)
        messages.append(outcome.messages / mix.nodes)
        if outcome.is_false_stop:
            false.append(seed)
            missing += outcome.live_missing
        if seed % 10 == 9:
            gc.collect()
    most = ceil(FALSE_STOPS_MAX * seeds)
    mark = " " if len(false) <= most else "!"
    return (
        f"{mix.told()} {seeds:6} {len(false):12} ({most}){mark} {missing:8}"
        f" {false[0] if false else '-':>6} | {median(stops):8.0f}"
        f" {median(messages):9.3f} {process_time() - began:6.0f}"
    )
