"""What commands take: options and arguments in words of our own, and those that several share.

A command's parameters are annotated with these. A plain command line is read by them alone
(`counter.cli.plain`); typer is made of the same (`counter.cli.full`) when there is something to
explain, since importing it takes longer than to count. The rule: an option's type is plain text
or None, or bool for a flag (an argument that takes all words left: list[str]); `settings` alone
knows what it means.
"""

from typing import Annotated


class Argument:
    """A parameter that is known by its place on the command line."""

    __slots__ = ("help", "metavar")

    def __init__(self, *, help: str, metavar: str | None = None) -> None:
        self.help = help
        self.metavar = metavar


class Option:
    """A parameter that is known by one of its flags; `metavar` shows what follows it."""

    __slots__ = ("flags", "help", "metavar")

    def __init__(self, *flags: str, help: str, metavar: str | None = None) -> None:
        self.flags = flags
        self.help = help
        self.metavar = metavar


class OfRun:
    """A parameter that is no word of its own: how verbose the whole run is, `-v` counted."""

    __slots__ = ()


Verbosity = Annotated[int, OfRun()]
Tracker = Annotated[
    str | None,
    Option(
        "--tracker",
        metavar="HOST:PORT[,…]",
        help="Where trackers listen; asked in this order. [env: COUNTER_TRACKER]"
        " [default: 127.0.0.1:7400]",
    ),
]
Node = Annotated[
    str | None,
    Option(
        "--node",
        metavar="NAME|HOST:PORT",
        help="The node to talk to; by address no tracker is needed. [env: COUNTER_NODE]",
    ),
]
Strict = Annotated[bool, Option("--strict", help="With --id: send nothing while a member is down.")]
Store = Annotated[
    str | None,
    Option(
        "--store",
        metavar="HEX",
        help="The store an earlier try was sent to; one that began anew, or a copy, is refused.",
    ),
]
Pick = Annotated[
    str | None,
    Option(
        "--pick",
        metavar="HOW",
        help="Which node, if none is named: least-active, random or round-robin."
        " [env: COUNTER_PICK] [default: least-active]",
    ),
]
Cluster = Annotated[
    str | None,
    Option(
        "--cluster",
        metavar="NAME",
        help="The cluster's name; a node of another one refuses. [env: COUNTER_CLUSTER]",
    ),
]
Deadline = Annotated[
    str | None,
    Option(
        "--deadline",
        metavar="TIME",
        help="Longest wait, like 250ms. [env: COUNTER_DEADLINE] [default: 2s for a query, else 5s]",
    ),
]
Watch = Annotated[
    str | None,
    Option("--watch", metavar="[=1s]", help="Repeat until Ctrl-C, this far apart."),
]
Json = Annotated[bool, Option("--json", help="Print one JSON object.")]
Chatter = Annotated[
    str | None,
    Option(
        "--chatter",
        metavar="N",
        help="Peers each node passes a query to, 1-64. [env: COUNTER_CHATTER] [default: 10]",
    ),
]
MaxAge = Annotated[
    str | None,
    Option("--max-age", metavar="HOPS", help="Hops it may travel, 1-255. [default: enough]"),
]
MaxVisits = Annotated[
    str | None,
    Option(
        "--max-visits",
        metavar="N",
        help="Rounds each node gives it, 1-32. [default: 1, or 5 with a chatter below 3]",
    ),
]
Until = Annotated[
    str | None,
    Option("--until", metavar="all|95%|stable:200ms", help="When it may end. [default: all]"),
]
Live = Annotated[bool, Option("--live", help="Show the answer while it comes in.")]
Missing = Annotated[bool, Option("--missing", help="Name who did not answer.")]
PerNode = Annotated[bool, Option("--per-node", help="Show each node's share.")]
Trace = Annotated[bool, Option("--trace", help="Show the way the query took.")]
TraceJson = Annotated[
    str | None,
    Option("--trace-json", metavar="FILE", help="Write that way to a file, whole; - for stdout."),
]
Retry = Annotated[
    str | None,
    Option(
        "--retry",
        metavar="N",
        help="Ask so many other nodes, 0-8, if the one that asks is lost. [default: 0]",
    ),
]
Keys = Annotated[
    list[str],
    Argument(metavar="KEY...", help="What to ask for; PREFIX* for all keys that begin so."),
]
Top = Annotated[
    str | None,
    Option(
        "--top",
        metavar="N",
        help="Of several keys, show the N largest, 1-4096. [default: 20 on a terminal, else all]",
    ),
]
Literal = Annotated[bool, Option("--literal", help="Take a star for a part of the key.")]
