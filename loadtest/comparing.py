"""`loadtest compare`: ways to ask everybody, tried in the simulator, in one table.

The rule: it prints rows as they come, and what it prints is what `strategies.comparison` found.
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
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


def compare(
    nodes: Nodes = None,
    chatter: Chatter = None,
    loss: Loss = None,
    crash: Crash = None,
    seeds: Seeds = None,
    seed: Seed = None,
    strategies: Chosen = None,
    json: Json = False,
) -> int:
    """Try ways to ask everybody against each other: same nodes, same network, same seeds."""
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
