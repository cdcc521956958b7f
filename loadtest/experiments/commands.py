"""`loadtest experiment` and `loadtest experiments`: parse, run, print.

The rule: the table goes to stdout and nothing else does; how far it is, what the columns mean and
where the log is go to stderr.
"""

from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Final

import typer

from counter.cli import screens
from counter.cli.screens import USAGE, CommandError
from counter.cli.settings import whole
from loadtest.experiments import library
from loadtest.workload import SEED_MAX
from tracker.errors import ConfigError
from tracker.text import printable

if TYPE_CHECKING:
    from loadtest.experiments.running import Result

SEED: Final = 1
SEEDS_MAX: Final = 10_000
"""Seeds after the first that a run may use."""
FAILED: Final = 99
LEGEND_COLUMNS: Final = 79

Text = str | None


def experiment(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of `loadtest experiments`.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes: seconds instead of minutes.")
    ] = False,
    on_sockets: Annotated[
        bool, typer.Option("--sockets", help="Real nodes and sockets, not the simulator.")
    ] = False,
    seed: Annotated[
        Text, typer.Option("--seed", metavar="N", help=f"The first seed. [default: {SEED}]")
    ] = None,
    svg: Annotated[
        Text,
        typer.Option(
            "--svg", metavar="FILE", help="Where the plot goes. [default: beside the log]"
        ),
    ] = None,
    page: Annotated[
        Text,
        typer.Option("--page", metavar="FILE", help="A page between whose marks the table goes."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Answer one question about how a cluster behaves, with a table and a plot."""
    chosen = _chosen(name)
    mode = _mode(chosen, on_sockets=on_sockets)
    first = SEED if seed is None else whole(seed, "seed")
    if first is None or not 0 <= first <= SEED_MAX - SEEDS_MAX:
        raise CommandError(f"--seed is {first}, needs 0 to {SEED_MAX - SEEDS_MAX}", code=USAGE)
    from loadtest import plots
    from loadtest.experiments import pages, running

    if svg is not None:
        plots.require()
    if page is not None:
        pages.parted(Path(page), chosen.name, mode)
    words = ["loadtest", "experiment", chosen.name, *(["--quick"] if quick else [])]
    words += ["--sockets"] if mode == library.SOCKETS and len(chosen.modes) > 1 else []
    repeat = " ".join([*words, "--seed", str(first)])
    result = running.run(chosen, mode, seed=first, is_quick=quick, repeat=repeat)
    is_whole = "failed" not in result and "interrupted" not in result
    if page is not None and is_whole and svg is None:
        svg = str(Path(page).parent / f"{chosen.name}-{mode}.svg")
    plot = _drawn(chosen, result, svg)
    if page is not None and is_whole:
        pages.keep(Path(page), chosen, result, plot)
    elif page is not None:
        screens.note(f"{printable(page)} is left as it is: the run is not whole")
    return _shown(chosen, result, plot, as_json=json)


def experiments(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """List the experiments, with one line each."""
    if json:
        rows = [{"name": name, "about": about} for name, about in library.ABOUT.items()]
        screens.out_json({"experiments": rows})
        return screens.DONE
    width = max(len(name) for name in library.ABOUT)
    for name, about in library.ABOUT.items():
        screens.out(f"{name:<{width}}  {about}")
    return screens.DONE


def _chosen(name: str) -> library.Experiment:
    if name not in library.ABOUT:
        shown, known = printable(name, 40), ", ".join(library.ABOUT)
        raise CommandError(f'there is no experiment "{shown}"', f"there are: {known}", code=USAGE)
    return library.load(name)


def _mode(chosen: library.Experiment, *, on_sockets: bool) -> str:
    if not on_sockets:
        return next(iter(chosen.modes))
    if library.SOCKETS not in chosen.modes:
        raise CommandError(f"{chosen.name} is not run on sockets", code=USAGE)
    return library.SOCKETS


def _drawn(chosen: library.Experiment, result: "Result", svg: str | None) -> Path | None:
    """Draw the plot; returns where it is. Raises ConfigError if that was asked for and cannot be.

    When nobody asked, it stands beside the log, or is left out where there is no matplotlib.
    """
    from loadtest import plots
    from loadtest.experiments.drawing import charts

    found = charts(chosen.panels, result["rows"])
    if not found:
        return None
    path = Path(result["log"]).with_suffix(".svg") if svg is None else Path(svg)
    try:
        text = plots.svg(*found)
        path.write_text(text, encoding="utf-8")
    except ConfigError as error:
        if svg is not None:
            raise
        screens.note(f"no plot: {error}")
        return None
    except OSError as error:
        reason = printable((error.strerror or "unknown reason").lower())
        raise CommandError(f"cannot write {printable(str(path))}: {reason}") from error
    return path


def _shown(
    chosen: library.Experiment, result: "Result", plot: Path | None, *, as_json: bool
) -> int:
    """Print the result; returns the exit code."""
    from loadtest.experiments.tables import table

    if as_json:
        screens.out_json(result)
    else:
        for line in table(chosen.columns, result["rows"]):
            screens.out(line)
        for line in wrap(" ".join(chosen.legend), LEGEND_COLUMNS):
            screens.note(line)
        drawn = f"   plot {printable(str(plot))}" if plot is not None else ""
        screens.note(f"log {printable(result['log'])}{drawn}")
        screens.note(f"repeat: {result['repeat']}")
    if "failed" in result:
        screens.note(f"failed: {result['failed']}")
        return FAILED
    if "interrupted" in result:
        rows = len(result["rows"])
        screens.note(f"interrupted: {rows} row{'' if rows == 1 else 's'} were measured")
        return screens.INTERRUPTED
    return screens.DONE
