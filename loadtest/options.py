"""What `loadtest run` may be told: each option with its help.

The rule: an option says what it takes and what holds without it; what it means is read in
`loadtest.cli` and `loadtest.timeline`.
"""

from typing import Annotated, Any

import typer

from loadtest import plan as plans

NODES = 1_000


def _option(flag: str, metavar: str, help: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=help)


_VIRTUALLY = (
    "The same in a simulator, exactly repeatable."
    f" Above {plans.BARE_ABOVE} nodes: queries alone, beside their limits."
)
Text = str | None
Nodes = Annotated[Text, _option("--nodes", "N", f"Nodes. [default: {NODES}]")]
Chatter = Annotated[Text, _option("--chatter", "N", "Peers a node asks on. [default: 10]")]
Latency = Annotated[
    Text, _option("--latency", "TIME", "Delay of each gossip message. [default: 10ms]")
]
Loss = Annotated[
    list[str] | None,
    _option(
        "--loss",
        "SHARE%[:FOR@AT]",
        "Gossip messages that vanish: 5%, or 20%:3s@4s, for 3 s from second 4 of the load on."
        " [default: 0%]",
    ),
]
Crash = Annotated[
    list[str] | None,
    _option(
        "--crash",
        "SHARE%[[:FOR]@AT]",
        "Nodes ended without a word: 10% before the load; 10%@5s in its second 5, and they come"
        " back from their disks when it is over, or after FOR. [default: 0%]",
    ),
]
Restart = Annotated[
    Text,
    _option("--restart", "FOR", "How long those are gone that crash at a time and say no FOR."),
]
Partition = Annotated[
    list[str] | None,
    _option(
        "--partition",
        "[SHARE%:]FOR@AT",
        "Nodes cut off from all others and the tracker, like 3s@4s. [default share: 50%]",
    ),
]
Pause = Annotated[
    list[str] | None,
    _option(
        "--pause",
        "[SHARE%:]FOR@AT",
        "Nodes that stand still, like 10%:2s@3s. These five may be repeated. [default share: 10%]",
    ),
]
Writers = Annotated[
    Text, _option("--writers", "N", f"Clients that count. [default: {plans.WRITERS}]")
]
Rate = Annotated[
    Text,
    _option(
        "--rate",
        "PER_S",
        "Increments a second, all writers, each begun at its time whatever became of those"
        " before. 0: each writer sends the next when the one before is acknowledged."
        " [default: 1000]",
    ),
]
Keys = Annotated[Text, _option("--keys", "N", f"Keys that are counted. [default: {plans.KEYS}]")]
Zipf = Annotated[
    Text,
    _option("--zipf", "EXPONENT", f"Their skew; 0 for none. [default: {plans.ZIPF:g}]"),
]
Pick = Annotated[
    Text,
    _option("--pick", "WAY", f"How a writer picks its node. [default: {plans.PICK}]"),
]
Queries = Annotated[
    Text,
    _option(
        "--queries",
        "Q",
        "Queries, one after another, spread over the duration."
        " [default: 50, or 1 where there are only queries]",
    ),
]
QueriesPerS = Annotated[
    Text,
    _option(
        "--queries-per-s",
        "PER_S",
        "Instead: queries at their times, also while others are under way. What one costs is then"
        " what its answer says.",
    ),
]
Duration = Annotated[
    Text,
    _option(
        "--duration",
        "TIME",
        "How long the load lasts; up to half as long again if queries are late. [default: 10s]",
    ),
]
Sockets = Annotated[
    bool, typer.Option("--sockets", help="Real nodes, in a process for each core. [default]")
]
Processes = Annotated[bool, typer.Option("--processes", help="Each node a process of its own.")]
Virtual = Annotated[bool, typer.Option("--virtual", help=_VIRTUALLY)]
Seed = Annotated[Text, _option("--seed", "N", "Repeats the choices of an earlier run.")]
Limits = Annotated[
    list[str] | None,
    _option("--threshold", "'query.p99<100ms'", "Must hold, or exit 99; may be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")]
