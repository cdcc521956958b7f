"""All that a query is to cost and to take, beside what it does: the table, then point by point.

    python -m benchmarks limits            about six CPU minutes, and 2.2 GB for the largest world
    python -m benchmarks limits --brief    without the hundred thousand nodes

In the simulator hops take 8 ms and an exponential rest with mean 2 ms; loss strikes each datagram
by itself; the crashed are listed as alive and silent. Medians over the seeds, but the worst of
coverage, false stops and in-cast. In brackets the numbers to reach, those of `loadtest.goals`; one
that was missed has a mark. `ideal` is when the last answer could be there at the soonest
(`benchmarks.ideal`).

The rule: nothing that is simulated is timed by this machine's clock but its CPU, and each point
says whether it was reached, whatever was found.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time

import uvloop

from benchmarks import gossip, leftovers
from benchmarks.door import FLOOR_INCR_US, redis_incr_us
from benchmarks.ideal import middle_t100_ms
from counter.arcs import reach
from counter.config import LAN
from loadtest.bare import BareConfig, BareWorld, Outcome
from loadtest.goals import (
    BYTES_MAX,
    FALSE_STOPS_MAX,
    HOPS_FACTOR,
    LOSS_JUDGED_MAX,
    MIXES,
    NUMBERS,
    Found,
    Numbers,
    Setting,
    messages_least,
    reach_cases,
    reach_members,
)
from tracker.classes import replace
from tracker.daemon import no_collections, rare_collections

SIZES = ((100, 10, 40), (1_000, 3, 20), (1_000, 10, 20), (10_000, 10, 5), (100_000, 10, 1))
"""Nodes, chatter, seeds."""
BRIEF_NODES_MAX = 10_000
BUSY_S, BUSY_NODES, STORM = 25e-6, 10_000, 2.5
RSS_MB_MAX = 1.0
HEAD = (
    "  nodes  c  loss crashed |  messages        hops       t99           t100          ideal"
    " stop      |"
    " coverage false |  in-cast bytes CPU s"
)


@dataclass(frozen=True)
class Cell:
    """What one mix of faults came to at one size."""

    setting: Setting
    found: Found
    seeds: int
    cpu_s: float
    lies: int = 0
    """Answers called complete with somebody missing who is up."""
    ideal_ms: float | None = None
    """When 100 % could be heard at the soonest, where nothing is lost and nobody silent."""

    @property
    def name(self) -> str:
        """Which cell it is."""
        s = self.setting
        return f"{s.nodes}, {s.gossip.chatter}, {100 * s.loss:g}% + {100 * s.crashed:g}%"

    @property
    def is_judged(self) -> bool:
        """Whether bounds on messages and bytes hold for so much loss."""
        return self.setting.loss <= LOSS_JUDGED_MAX

    @property
    def is_calm(self) -> bool:
        """Whether nothing is lost and nobody silent."""
        return self.setting.loss == self.setting.crashed == 0.0


@dataclass(frozen=True)
class Point:
    """One of the ten points: what was wanted, what was found."""

    number: int
    what: str
    found: str
    bound: str
    is_reached: bool | None

    def line(self) -> str:
        """Return its line."""
        mark = {True: "reached", False: "NOT REACHED", None: "not measured"}[self.is_reached]
        return f"{self.number:2}  {self.what:52} {self.found:>34}  {self.bound:>12}  {mark}"


def measure(*, brief: bool = False) -> None:
    """Print both tables."""
    sizes = [size for size in SIZES if not brief or size[0] <= BRIEF_NODES_MAX]
    print("messages and bytes a node, times in ms; in brackets what is to be reached")
    print(HEAD)
    cells = []
    with rare_collections():
        for nodes, chatter, seeds in sizes:
            for mix, numbers in zip(MIXES, NUMBERS[nodes, chatter], strict=True):
                cell = _cell(nodes, chatter, seeds, *mix)
                print(_line(cell, numbers or Numbers()), flush=True)
                cells.append(cell)
        print()
        points = [*_of_cells(cells), *_reach(), _storm()]
    points += [*_on_sockets(), *_after_queries()]
    points.sort(key=lambda point: point.number)
    for point in points:
        print(point.line())


def _cell(nodes: int, chatter: int, seeds: int, loss: float, crashed: float) -> Cell:
    setting = Setting(nodes=nodes, gossip=replace(LAN, chatter=chatter), loss=loss, crashed=crashed)
    began = process_time()
    outcomes: list[Outcome] = []
    for seed in range(seeds):
        config = BareConfig(
            nodes=nodes, seed=seed, gossip=setting.gossip, loss=loss, crashed=crashed
        )
        with no_collections():
            outcomes.append(BareWorld(config).run())
        gc.collect()
    cpu_s = (process_time() - began) / seeds
    ideal_ms = None if loss or crashed else middle_t100_ms(nodes, chatter)
    lies = sum([o.live_missing > 0 and o.answer.reason == "complete" for o in outcomes])
    return Cell(setting, Found.of(outcomes, setting), seeds, cpu_s, lies, ideal_ms)


def _line(cell: Cell, numbers: Numbers) -> str:
    s, f = cell.setting, cell.found

    def beside(found: float | None, wanted: float | None, digits: int = 0) -> str:
        shown = "-" if found is None else f"{found:.{digits}f}"
        mark = " " if found is None or wanted is None or round(found, digits) <= wanted else "!"
        bound = "" if wanted is None else f"({wanted:.{digits}f}){mark}"
        return f"{shown:>5} {bound:<7}"

    return (
        f"{s.nodes:7} {s.gossip.chatter:2} {100 * s.loss:4.0f}% {100 * s.crashed:6.0f}% |"
        f" {beside(f.messages, numbers.messages, 2)} {beside(f.hops, numbers.hops)}"
        f" {beside(f.t99_ms, numbers.t99_ms)} {beside(f.t100_ms, numbers.t100_ms)}"
        f" {'' if cell.ideal_ms is None else f'{cell.ideal_ms:.0f}':>5}"
        f" {beside(f.stop_ms, numbers.stop_ms)}|"
        f" {f.coverage:8.6f} {round(f.false_stops * cell.seeds):2}/{cell.seeds:2} |"
        f" {f.in_cast:8} {f.bytes:5.0f} {cell.cpu_s:5.1f}"
    )


# -- the points ------------------------------------------------------------------------------


def _of_cells(cells: list[Cell]) -> list[Point]:
    """Return the points that the table decides."""
    lies = sum([c.lies for c in cells])
    runs = sum([c.seeds for c in cells])
    stops = round(sum([c.found.false_stops * c.seeds for c in cells]))
    points = [
        Point(
            1,
            "answers called complete that missed one that is up",
            f"{lies} of {runs}",
            "0",
            not lies,
        ),
        Point(1, "false stops", f"{stops} of {runs}", "1 %", stops <= FALSE_STOPS_MAX * runs),
    ]
    quiet = [c for c in cells if c.is_judged and not c.setting.crashed]
    for what, factor in (("up to 1024 nodes", 1.02), ("with cells", 1.10)):
        some = [c for c in quiet if c.setting.messages_factor == factor]
        points.append(_worst(2, f"messages, times the least, {what}", some, _messages, factor, 3))
    calm = [c for c in cells if c.is_calm]
    points.append(_worst(3, "hops beyond the least age, no loss", calm, _hops, 0.0, 0))
    points += _heard(calm)
    judged = [c for c in cells if c.is_judged]
    points.append(
        _worst(7, "bytes a node, up to 5 % loss", judged, lambda c: c.found.bytes, BYTES_MAX, 0)
    )
    points.append(_worst(8, "in-cast, times 1024 + 5 % of the nodes", cells, _in_cast, 1.0, 2))
    return points


def _messages(cell: Cell) -> float:
    return cell.found.messages / messages_least(cell.setting.loss)


def _hops(cell: Cell) -> float:
    return abs(cell.found.hops - cell.setting.hops)


def _heard(calm: list[Cell]) -> list[Point]:
    """Return how soon everybody is heard: as it was to be, and with cells a hop later."""
    narrow = [c for c in calm if c.setting.hops_heard == c.setting.hops + 1]
    wide = [c for c in calm if c not in narrow]
    what = "100 % heard, times (hops + {}) hops, {}"
    return [
        _worst(4, what.format(1, "up to 1024"), narrow, _t100(1), HOPS_FACTOR, 2),
        _worst(4, what.format(1, "cells"), wide, _t100(1), HOPS_FACTOR, 2),
        _worst(4, what.format(1, "ideal"), wide, _ideal, HOPS_FACTOR, 2),
        _worst(4, what.format(2, "cells"), wide, _t100(2), HOPS_FACTOR, 2),
    ]


def _t100(hops_more: int) -> Callable[[Cell], float]:
    def times(cell: Cell) -> float:
        t100_ms, setting = cell.found.t100_ms, cell.setting
        hops_ms = 1000 * (setting.hops + hops_more) * setting.hop_s
        return float("inf") if t100_ms is None else t100_ms / hops_ms

    return times


def _ideal(cell: Cell) -> float:
    """Return what nobody could do better (`benchmarks.ideal`)."""
    setting = cell.setting
    return (cell.ideal_ms or 0.0) / (1000 * (setting.hops + 1) * setting.hop_s)


def _in_cast(cell: Cell) -> float:
    return cell.found.in_cast / cell.setting.in_cast_max


def _worst(
    number: int,
    what: str,
    cells: list[Cell],
    of: Callable[[Cell], float],
    bound: float,
    digits: int,
) -> Point:
    """Return a point that the worst of some cells decides."""
    worst = max(cells, key=of)
    found = of(worst)
    text = f"{found:.{digits}f} ({worst.name})"
    return Point(number, what, text, f"{bound:.{digits}f}", round(found, digits) <= bound)


def _reach() -> list[Point]:
    """Try the law of reach, without loss and without cells."""
    cases = reach_cases()
    right = 0
    for chatter, visits, age in cases:
        nodes = reach_members(chatter, visits, age)
        world = BareWorld(BareConfig(nodes=nodes, gossip=replace(LAN, cell_members_max=nodes)))
        answer = world.run(chatter=chatter, visits=visits, age_max=age).answer
        wanted = reach(age, chatter, visits)
        right += (answer.answered, answer.cut, answer.hops) == (wanted, nodes - wanted, age)
    found = f"{right} of {len(cases)} cases"
    return [Point(6, "reach = N(age; c, v)", found, "all", right == len(cases))]


def _storm() -> Point:
    """Ask from an origin that is slow to read."""
    outcome = BareWorld(BareConfig(nodes=BUSY_NODES, origin_busy_s=BUSY_S)).run()
    messages = outcome.messages / BUSY_NODES
    found = f"{messages:.2f}, coverage {1 - outcome.live_missing / outcome.live:.4f}"
    is_reached = messages <= STORM and not outcome.live_missing
    return Point(9, "messages a node, 10 000, 25 us at the origin", found, f"{STORM}", is_reached)


def _on_sockets() -> list[Point]:
    """Return what real sockets need, in us and in INCRs of the Redis of this run."""
    incr_us = redis_incr_us()
    points = []
    for nodes, floor_ms in gossip.SIZES:
        with rare_collections():
            r = uvloop.run(gossip.measured(nodes))
        rows = [("answer, ms", r.elapsed_ms, floor_ms, 1000)]
        if nodes == 1_000:
            rows.append(("CPU a message, us", r.cpu_us, gossip.CPU_US_MAX, 1))
        for what, found, bound, us in rows:
            told = f"{nodes} real nodes: {what}"
            points.append(Point(5, told, f"{found:.1f}", f"{bound}", found <= bound))
            if incr_us is None:
                continue
            incrs, most = found * us / incr_us, bound * us / FLOOR_INCR_US
            told = f"{told.rpartition(',')[0]}, in INCRs of Redis"
            points.append(Point(5, told, f"{incrs:.1f}", f"{most:.1f}", incrs <= most))
    return points


def _after_queries() -> list[Point]:
    """Return what twenty queries in a row leave behind on real sockets."""
    left = uvloop.run(leftovers.measured())
    rows = (
        ("datagrams in the second after", left.datagrams, 0, 0),
        ("queries remembered past their time", left.remembered, 0, 0),
        ("tasks", left.tasks, 0, 0),
        ("memory, MB", left.rss_mb, RSS_MB_MAX, 1),
    )
    return [
        Point(10, f"left by 20 queries: {what}", f"{n:.{digits}f}", f"{most:g}", n <= most)
        for what, n, most, digits in rows
    ]
