"""`fanout`: how many peers each node asks, and in how many rounds, against messages and time.

The rule: who is asked how is all that differs between the rows; the members, the network and,
in the simulator, the seeds are the same. `least_hops` is what the law of reach allows at best.
"""

from dataclasses import dataclass
from typing import Final

from counter.arcs import least_age
from loadtest.bare import BareConfig
from loadtest.experiments.asking import VIRTUAL, fields, simulated
from loadtest.experiments.tables import Asked, Column, Panel, Row

ALL_CHATTERS: Final = (1, 2, 3, 4, 6, 8, 10, 16, 24, 32)
COLUMNS: Final = (
    Column("nodes", "nodes"),
    Column("visits", "visits"),
    Column("chatter", "chatter"),
    Column("messages_per_node", "msgs", 3),
    Column("duplicates_per_node", "dups", 3),
    Column("hops", "hops"),
    Column("least_hops", "least"),
    Column("t50_ms", "t50"),
    Column("t99_ms", "t99"),
    Column("t100_ms", "t100"),
    Column("complete", "complete", 0, "%"),
)
LEGEND: Final = (
    "msgs, dups (answers that told nothing new): per node and query, means; least: the hops that",
    "the law of reach allows; hops, t50, t99, t100 (ms until that share of the nodes answered):",
    "medians of the queries; complete: queries that heard everybody",
)
PANELS: Final = tuple([
    Panel(
        title, "chatter", field, "chatter", label, "kind", log_x=True, log_y=field == "t100_ms"
    )
    for title, field, label in (
        ("Time until all have answered", "t100_ms", "time (ms)"),
        ("Messages of one query", "messages_per_node", "messages a node"),
    )
])  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Which queries are asked over so many nodes; `queries` of each kind, each with its seed."""

    nodes: int
    chatters: tuple[int, ...]
    visits: tuple[int, ...]
    queries: int


FULL: Final = (
    Size(nodes=1_000, chatters=ALL_CHATTERS, visits=(1, 2, 3, 4, 5), queries=5),
    Size(nodes=10_000, chatters=(3, 10, 32), visits=(1, 5), queries=1),
)
QUICK: Final = (Size(nodes=60, chatters=(1, 3, 10), visits=(1, 5), queries=2),)


def simulate(asked: Asked) -> None:
    """Ask every kind of query in the simulator: hops of 8 ms and a rest of mean 2 ms."""
    for size in QUICK if asked.is_quick else FULL:
        for visits in size.visits:
            for chatter in size.chatters:
                if asked.is_over():
                    return
                asked.say(f"{size.nodes} nodes: chatter {chatter}, visits {visits}")
                asked.found(_row(size, chatter, visits, asked.seed))


def _row(size: Size, chatter: int, visits: int, seed: int) -> Row:
    seen = [
        simulated(BareConfig(nodes=size.nodes, seed=seed + n), chatter=chatter, visits=visits)
        for n in range(size.queries)
    ]
    return row_of(VIRTUAL, size.nodes, chatter, visits, fields(seen))


def row_of(mode: str, nodes: int, chatter: int, visits: int, found: Row) -> Row:
    """Return the row of one kind of query."""
    return {
        "mode": mode,
        "nodes": nodes,
        "chatter": chatter,
        "visits": visits,
        "kind": f"{visits} visit{'' if visits == 1 else 's'}, {nodes} nodes",
        "least_hops": least_age(nodes, chatter, visits),
        **found,
    }
