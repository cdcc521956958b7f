"""Options that several commands share, each with its help and the variable that sets it.

The rule: an option's type is plain text or None; `settings` alone knows what it means.
"""

from typing import Annotated

import typer

Tracker = Annotated[
    str | None,
    typer.Option(
        "--tracker",
        metavar="HOST:PORT[,…]",
        help="Where trackers listen; asked in this order. [env: COUNTER_TRACKER]"
        " [default: 127.0.0.1:7400]",
    ),
]
Node = Annotated[
    str | None,
    typer.Option(
        "--node",
        metavar="NAME|HOST:PORT",
        help="The node to talk to; by address no tracker is needed. [env: COUNTER_NODE]",
    ),
]
Pick = Annotated[
    str | None,
    typer.Option(
        "--pick",
        metavar="HOW",
        help="Which node, if none is named: least-active, random or round-robin."
        " [env: COUNTER_PICK] [default: least-active]",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="NAME",
        help="The cluster's name; a node of another one refuses. [env: COUNTER_CLUSTER]",
    ),
]
Deadline = Annotated[
    str | None,
    typer.Option(
        "--deadline",
        metavar="TIME",
        help="Longest wait, like 250ms. [env: COUNTER_DEADLINE] [default: 2s for a query, else 5s]",
    ),
]
Watch = Annotated[
    str | None,
    typer.Option("--watch", metavar="[=1s]", help="Repeat until Ctrl-C, this far apart."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Chatter = Annotated[
    str | None,
    typer.Option(
        "--chatter",
        metavar="N",
        help="Peers each node passes a query to, 1-64. [env: COUNTER_CHATTER] [default: 10]",
    ),
]
MaxAge = Annotated[
    str | None,
    typer.Option("--max-age", metavar="HOPS", help="Hops it may travel, 1-255. [default: enough]"),
]
MaxVisits = Annotated[
    str | None,
    typer.Option(
        "--max-visits",
        metavar="N",
        help="Rounds each node gives it, 1-32. [default: 1, or 5 with a chatter below 3]",
    ),
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="all|95%|stable:200ms", help="When it may end. [default: all]"),
]
