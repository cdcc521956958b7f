"""One query as the program did it that this one began as, beside the numbers to beat.

That program was written in Go: all nodes in one process, one query object that they share behind
a lock, no network; each node tells random peers, and nothing tells it when it is over. Ours sends
datagrams through real sockets, shares nothing, and stops by itself.

The rule: the numbers to beat were given (medians of 10 runs, 2 cores, nobody writes), are labelled
so, and were not measured here; ours are, in this run, and the time of an answer hangs on what else
the machine does. What is simulated says so: its time is virtual.
"""

import time
from dataclasses import dataclass
from statistics import median

import uvloop

from benchmarks.machine import Row
from counter.client.door import Door
from counter.config import LAN, LOCAL
from counter.messages import UNTIL_ALL, Query
from loadtest.bare import BareConfig, BareWorld
from loadtest.cluster import Cluster
from loadtest.faults import Faults
from loadtest.toll import Toll
from loadtest.workers import Workers
from tracker.daemon import rare_collections

WITH = "python -m benchmarks seed"
NODES, QUERIES, WARM = 1_000, 10, 2
MANY_NODES, MANY_QUERIES = 10_000, 3
HOLDERS, SHARE = 10, 7
"""Nodes that hold something, and what each holds: an answer must be exact."""
DELAY_S = 0.010
ASK = Query(0, "views", 10, 0, 0, 20_000, UNTIL_ALL, 0, 0, False)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Medians of some queries, None for what is not known.

    Times in ms, `cpu_ms` of all nodes and whoever asks; `messages` of all nodes, `duplicates` a
    share of them. `drained_ms` is when the last one had been dealt with.
    """

    complete_ms: float
    messages: float
    duplicates: float | None = None
    drained_ms: float | None = None
    cpu_ms: float | None = None


GIVEN = Cost(complete_ms=32, messages=8_238, duplicates=0.88, drained_ms=2_200, cpu_ms=133)
GIVEN_DELAYED = Cost(complete_ms=89, messages=12_461)
GIVEN_MANY = Cost(complete_ms=5_600, messages=111_798, drained_ms=38_000)


async def on_sockets(kind: type[Cluster] | type[Workers], delay_s: float) -> Cost:
    """Ask 1000 real nodes; every answer must be complete and exact."""
    gossip = LAN if delay_s else LOCAL
    async with kind(NODES, faults=Faults(latency_s=delay_s), gossip=gossip) as fleet:
        endpoints = fleet.endpoints
        doors = [await Door.open(endpoints[name]) for name in fleet.names[:HOLDERS]]
        for door in doors:
            await door.count("views", SHARE)
        toll = Toll(fleet, delay_s)
        costs = []
        for number in range(WARM + QUERIES):
            await toll.open()
            before = await _cpu_s(fleet)
            answer, _ = await doors[number % HOLDERS].ask(ASK)
            cost = await toll.paid(fleet.names[number % HOLDERS], answer)
            used_s = await _cpu_s(fleet) - before
            if not answer.complete or answer.value != HOLDERS * SHARE:
                raise SystemExit(f"a wrong answer: {answer}")
            if cost.drain_ms is None:
                raise SystemExit("messages were under way for ever")
            costs.append(
                Cost(
                    complete_ms=answer.elapsed_ms,
                    messages=cost.messages,
                    duplicates=cost.duplicates / cost.messages,
                    drained_ms=answer.elapsed_ms + cost.drain_ms,
                    cpu_ms=1000 * used_s,
                )
            )
        for door in doors:
            door.close()
    return _middle(costs[WARM:])


async def _cpu_s(fleet: Cluster | Workers) -> float:
    """Return the CPU of everything that takes part so far, in seconds."""
    usage = await fleet.usage()
    return usage.cpu_s + (0.0 if usage.has_caller else time.process_time())


def simulated() -> Cost:
    """Ask 10 000 simulated nodes: cells, 8 ms a hop and a rest of mean 2 ms."""
    costs = []
    for seed in range(MANY_QUERIES):
        outcome = BareWorld(BareConfig(nodes=MANY_NODES, seed=seed)).run()
        if not outcome.answer.complete or outcome.answer.value != outcome.exact:
            raise SystemExit(f"a wrong answer: {outcome.answer}")
        if outcome.drain_s is None:
            raise SystemExit("messages were under way for ever")
        messages = outcome.messages + outcome.messages_late
        costs.append(
            Cost(
                complete_ms=1000 * outcome.stop_s,
                messages=messages,
                duplicates=outcome.duplicates / messages,
                drained_ms=1000 * (outcome.stop_s + outcome.drain_s),
            )
        )
    return _middle(costs)


def _middle(costs: list[Cost]) -> Cost:
    def middle(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return median(known) if known else None

    return Cost(
        complete_ms=median([cost.complete_ms for cost in costs]),
        messages=median([cost.messages for cost in costs]),
        duplicates=middle([cost.duplicates for cost in costs]),
        drained_ms=middle([cost.drained_ms for cost in costs]),
        cpu_ms=middle([cost.cpu_ms for cost in costs]),
    )


def _rows(where: str, found: Cost, given: Cost) -> list[Row]:
    """Return a row for everything that was measured, beside what was given, if it was."""
    shown = (
        ("100 %", _ms, found.complete_ms, given.complete_ms),
        ("messages", _whole, found.messages, given.messages),
        ("duplicates", _share, found.duplicates, given.duplicates),
        ("drained", _ms, found.drained_ms, given.drained_ms),
        ("CPU", _ms, found.cpu_ms, given.cpu_ms),
    )
    return [
        Row(
            f"one query, {where}: {what}",
            text(ours),
            "" if theirs is None else f"{text(theirs)} (given)",
            WITH,
        )
        for what, text, ours, theirs in shown
        if ours is not None
    ]


def _ms(value: float) -> str:
    return f"{value / 1000:.1f} s" if value >= 1_000 else f"{value:.0f} ms"


def _whole(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


def measure() -> list[Row]:
    """Ask as that program did: without delay, with 10 ms, and 10 000 nodes."""
    rows = []
    for how, kind in (("one process", Cluster), ("a process for each core", Workers)):
        for delay_s, given in ((0.0, GIVEN), (DELAY_S, GIVEN_DELAYED)):
            with rare_collections():
                found = uvloop.run(on_sockets(kind, delay_s))
            hop = f"{1000 * delay_s:g} ms a hop" if delay_s else "no delay"
            rows += _rows(f"{NODES} nodes, {how}, {hop}", found, given)
    where = f"{MANY_NODES} nodes, simulator, 10 ms a hop"
    return rows + _rows(where, simulated(), GIVEN_MANY)
