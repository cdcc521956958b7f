"""`loss`: the share of datagrams that vanish, against messages, times and false stops.

The rule: a stop is false by what the run knows, not by what the answer says. What is lost is
drawn for each datagram by itself; where members are silent, too, they are on everybody's list.
"""

from dataclasses import dataclass
from typing import Final

from loadtest.bare import BareConfig
from loadtest.experiments.asking import VIRTUAL, fields, simulated
from loadtest.experiments.tables import Asked, Column, Panel, Row
from loadtest.goals import messages_least

COLUMNS: Final = (
    Column("nodes", "nodes"),
    Column("silent", "silent", 0, "%"),
    Column("loss", "loss", 0, "%"),
    Column("messages_per_live", "msgs", 3),
    Column("messages_least", "least", 3),
    Column("t99_ms", "t99"),
    Column("t100_ms", "t100"),
    Column("stop_ms", "stop"),
    Column("false_stops", "false"),
    Column("queries", "queries"),
    Column("coverage_min", "cover", 2, "%"),
)
LEGEND: Final = (
    "silent: members that are listed and down; msgs: messages for each node that is up, but for",
    "those to the silent; least: an ask and an answer, each sent until it arrives; t99, t100: ms",
    "until that share of the nodes that are up had answered; stop: ms until the query ended;",
    "false: queries that ended by themselves with one of them missing; cover: the least coverage",
)
PANELS: Final = tuple(
    [
        Panel(title, "loss", field, "loss (%)", label, "silent", "silent members (%)")
        for title, field, label in (
            ("Messages of one query", "messages_per_live", "messages a live node"),
            ("Time until 99 % have answered", "t99_ms", "time (ms)"),
            ("Time until the query stops", "stop_ms", "time (ms)"),
        )
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How many nodes, which shares are lost, which are silent; `queries` of each mix."""

    nodes: int
    losses: tuple[float, ...]
    silent: tuple[float, ...]
    queries: int


FULL: Final = Size(
    nodes=1_000,
    losses=(0.0, 0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30),
    silent=(0.0, 0.10),
    queries=40,
)
QUICK: Final = Size(nodes=60, losses=(0.0, 0.1, 0.3), silent=(0.0, 0.1), queries=2)


def simulate(asked: Asked) -> None:
    """Ask with every mix of loss and silence in the simulator."""
    size = QUICK if asked.is_quick else FULL
    for silent in size.silent:
        for loss in size.losses:
            seen = []
            asked.say(f"{size.nodes} nodes: {100 * loss:g} % lost, {100 * silent:g} % silent")
            for number in range(size.queries):
                if asked.is_over():
                    return
                config = BareConfig(
                    nodes=size.nodes, seed=asked.seed + number, loss=loss, crashed=silent
                )
                seen.append(simulated(config))
            asked.found(row_of(VIRTUAL, size.nodes, loss, silent, fields(seen)))


def row_of(mode: str, nodes: int, loss: float, silent: float, found: Row) -> Row:
    """Return the row of one mix."""
    return {
        "mode": mode,
        "nodes": nodes,
        "silent": silent,
        "loss": loss,
        "messages_least": messages_least(loss),
        **found,
    }
