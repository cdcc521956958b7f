"""`loadtest compare`: two runs side by side, or ways to ask everybody, tried in the simulator.

The rule: it prints rows as they come, and what it prints is what `differences` or
`strategies.comparison` found.
"""

from typing import Annotated, Any

import typer

from counter.cli import screens
from counter.cli.screens import USAGE, CommandError
from counter.cli.settings import whole
from loadtest.arguments import share
from tracker.errors import ConfigError
from tracker.text import printable

COMMAND = "compare"
SEEDS = 20


def _option(flag: str, metavar: str, help: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=help)


Text = str | None
First = Annotated[Text, typer.Argument(metavar="[A]", help="A log, or a file of --json.")]
Second = Annotated[Text, typer.Argument(metavar="[B]", help="Another one.")]
Within = Annotated[
    Text,
    _option(
        "--within",
        "SHARE%",
        "Exit 99 if any number of B is worse than that of A by more, or a check of B alone failed."
        " [default: 10% is marked]",
    ),
]
Nodes = Annotated[Text, _option("--nodes", "N", "Nodes. [default: 1000]")]
Chatter = Annotated[Text, _option("--chatter", "N", "Peers a node tells. [default: 3]")]
Loss = Annotated[Text, _option("--loss", "SHARE%", "Messages that vanish. [default: 0%]")]
Crash = Annotated[
    Text, _option("--crash", "SHARE%", "Nodes that are listed and silent. [default: 0%]")
]
Seeds = Annotated[Text, _option("--seeds", "N", f"Runs of each strategy. [default: {SEEDS}]")]
Seed = Annotated[Text, _option("--seed", "N", "The first seed. [default: 0]")]
Chosen = Annotated[
    Text, _option("--strategies", "NAME,…", "Some of the strategies. [default: all]")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def compare(
    first: First = None,
    second: Second = None,
    within: Within = None,
    nodes: Nodes = None,
    chatter: Chatter = None,
    loss: Loss = None,
    crash: Crash = None,
    seeds: Seeds = None,
    seed: Seed = None,
    strategies: Chosen = None,
    json: Json = False,
) -> int:
    """Compare two runs: each number, its ratio, and which got worse.

    Without files: ways to ask everybody against each other, same nodes, same network, same seeds.
    """
    strategic = {"nodes": nodes, "chatter": chatter, "loss": loss, "crash": crash}
    strategic |= {"seeds": seeds, "seed": seed, "strategies": strategies}
    if first is not None or within is not None:
        return _runs(first, second, within, strategic, as_json=json)
    from loadtest.strategies.comparison import LEGEND, head, line
    from loadtest.strategies.comparison import compare as rows_of

    given = {
        "nodes": whole(nodes, "nodes"),
        "chatter": whole(chatter, "chatter"),
        "loss": share(loss, "loss"),
        "crash": share(crash, "crash"),
    }
    setting = _setting({name: value for name, value in given.items() if value is not None})
    numbers = _seeds(whole(seeds, "seeds"), whole(seed, "seed"))
    chosen = _chosen(strategies)
    if not json:
        screens.out(head())
    found = []
    for row in rows_of(setting, numbers, chosen):
        found.append(row.as_dict())
        if not json:
            screens.out(line(row))
    if json:
        situation = {name: getattr(setting, name) for name in given}
        screens.out_json({**situation, "seeds": len(numbers), "seed": numbers[0], "rows": found})
        return screens.DONE
    for text in LEGEND:
        screens.note(text)
    return screens.DONE


def _runs(
    first: Text, second: Text, within: Text, strategic: dict[str, Text], *, as_json: bool
) -> int:
    """Compare two runs, unless what was written belongs to strategies."""
    from loadtest.reporting import compare_runs

    if first is None or second is None:
        raise CommandError("compare takes two files, or none", code=USAGE)
    for name, value in strategic.items():
        if value is not None:
            text = f"--{name} is of strategies, not of two files"
            raise CommandError(text, "loadtest compare A B [--within SHARE%]", code=USAGE)
    return compare_runs(first, second, within, as_json=as_json)


def _setting(given: dict[str, Any]) -> Any:
    from loadtest.strategies.stage import Setting

    try:
        return Setting(**given)
    except ConfigError as error:
        raise CommandError(f"--{error}", code=USAGE) from error


def _seeds(count: int | None, first: int | None) -> range:
    from loadtest.strategies.comparison import SEEDS_MAX

    count, first = SEEDS if count is None else count, first or 0
    if not 1 <= count <= SEEDS_MAX:
        raise CommandError(f"--seeds is {count}, needs 1 to {SEEDS_MAX}", code=USAGE)
    if first < 0:
        raise CommandError(f"--seed is {first}, needs 0 or more", code=USAGE)
    return range(first, first + count)


def _chosen(written: str | None) -> list[Any]:
    from loadtest.strategies.trial import BY_NAME

    names = list(BY_NAME) if written is None else written.split(",")
    for name in names:
        if name not in BY_NAME:
            shown, known = printable(name, 40), ", ".join(BY_NAME)
            raise CommandError(f'--strategies: "{shown}" is none of {known}', code=USAGE)
    return [BY_NAME[name] for name in dict.fromkeys(names)]
