"""`loadtest scenario`, `scenarios`; and which commands there are beside `run`.

The rule: parse, call one function, print. Results go to stdout, the rest to stderr.
"""

import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from counter.cli import screens
from counter.cli.screens import USAGE, CommandError
from counter.cli.settings import whole
from loadtest import comparing, reporting
from loadtest.experiments import commands as experimenting
from loadtest.workload import SEED_MAX
from tracker.text import printable

if TYPE_CHECKING:
    from loadtest.scenarios.tables import Scenario

SEEDS_DRAWN: Final = 1_000_000
SEEDS_MAX = 100_000
LOGS: Final = "logs"
FAILED: Final = 99

Text = str | None
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def scenario(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="One of `loadtest scenarios`, or a file.")
    ],
    seed: Annotated[
        Text, typer.Option("--seed", metavar="N", help="The first seed. [default: drawn]")
    ] = None,
    seeds: Annotated[
        Text, typer.Option("--seeds", metavar="K", help="How many, one after another. [default: 1]")
    ] = None,
    nodes: Annotated[
        Text, typer.Option("--nodes", metavar="N", help="Instead of what the file says.")
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Write every message of one seed beside its log.")
    ] = False,
    json: Json = False,
) -> int:
    """Let things go wrong in a simulated cluster, and check what must hold all the same."""
    from loadtest.scenarios import library

    count = _within(whole(seeds, "seeds") if seeds else 1, 1, SEEDS_MAX, "seeds")
    played = library.load(name, nodes=whole(nodes, "nodes"))
    own = secrets.randbelow(SEEDS_DRAWN) if played.seed is None else played.seed
    first = _within(whole(seed, "seed") if seed else own, 0, SEED_MAX - count, "seed")
    if trace and count > 1:
        raise CommandError("--trace takes one seed: leave out --seeds", code=USAGE)
    repeat = _repeated(name, first, count, nodes)
    result = _played(played, range(first, first + count), repeat, trace=trace, as_json=json)
    for check in result["checks"]:
        if not check["ok"]:
            screens.note(f"failed: {check['name']} ({check['found']} of {check['expected']})")
    if result.get("interrupted"):
        return screens.INTERRUPTED
    return screens.DONE if result["ok"] else FAILED


def _played(
    played: "Scenario", seeds: range, repeat: str, *, trace: bool, as_json: bool
) -> dict[str, Any]:
    """Play a scenario from some seeds, print and log its report; returns that."""
    from loadtest import provenance
    from loadtest.report import RunLog, Situation, json_line
    from loadtest.scenarios import screen
    from loadtest.scenarios.judge import Judge
    from loadtest.scenarios.play import play

    situation = Situation(
        nodes=played.nodes,
        mode=f"scenario-{re.sub('[^A-Za-z0-9._-]', '_', played.name)[:60]}",
        seed=seeds[0],
        chatter=played.chatter,
        latency_ms=round(1000 * played.network.latency_s, 6),
        loss=played.network.loss,
    )
    judge = Judge(played)
    with RunLog(Path(LOGS), situation) as log:
        log.write({"run": {"repeat": repeat, **provenance.facts()}})
        try:
            for seed in seeds:
                lines = play(played, seed, judge, log.write, trace=trace)
                if trace:
                    _write_trace(log.path.with_suffix(".trace"), lines)
        except KeyboardInterrupt:
            screens.note(f"interrupted: {judge.finished} of {len(seeds)} seeds are through")
        result = judge.summary()
        if judge.finished < len(seeds):
            result["interrupted"] = True
        log.write(result)
    if as_json:
        screens.out(json_line(result))
    else:
        for line in screen.table(result, log=printable(str(log.path)), repeat=repeat):
            screens.out(line)
    return result


def _write_trace(path: Path, lines: list[str]) -> None:
    try:
        path.write_text("".join([f"{line}\n" for line in lines]), encoding="utf-8")
    except OSError as error:
        reason = printable((error.strerror or "unknown reason").lower())
        raise CommandError(f"cannot write {printable(str(path))}: {reason}") from error
    screens.note(f"trace {printable(str(path))} ({len(lines)} lines)")


def _repeated(name: str, first: int, count: int, nodes: str | None) -> str:
    words = ["loadtest", "scenario", printable(name, 200), "--seed", str(first)]
    words += ["--seeds", str(count)] if count != 1 else []
    return " ".join(words + (["--nodes", nodes] if nodes is not None else []))


def scenarios(json: Json = False) -> int:
    """List the scenarios that have a name, with one line each."""
    from loadtest.scenarios import library

    known = [(name, library.load(name)) for name in library.names()]
    if json:
        rows = [{"name": name, "about": each.about, "nodes": each.nodes} for name, each in known]
        screens.out_json({"scenarios": rows})
        return screens.DONE
    width = max(len(name) for name, _ in known)
    for name, each in known:
        screens.out(f"{name:<{width}}  {each.about}")
    return screens.DONE


# -- parsing --------------------------------------------------------------------------------


def _within(value: int | None, low: int, high: int, name: str) -> int:
    if value is None or not low <= value <= high:
        raise CommandError(f"--{name} is {value}, needs {low} to {high}", code=USAGE)
    return value


COMMANDS: Final[dict[str, Callable[..., int]]] = {
    "report": reporting.report,
    comparing.COMMAND: comparing.compare,
    "scenario": scenario,
    "scenarios": scenarios,
    "experiment": experimenting.experiment,
    "experiments": experimenting.experiments,
}
