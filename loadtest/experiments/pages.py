"""A result in the page of a document: its table, its plot, and the command that repeats it.

The rule: what stands between the marks of an experiment is written by a run and by nobody else;
everything around them is left as it is.
"""

import os
from pathlib import Path

from counter.cli.screens import USAGE, CommandError
from loadtest.experiments.library import Experiment
from loadtest.experiments.running import Result
from loadtest.experiments.tables import markdown
from tracker.text import printable


def marks(name: str, mode: str) -> tuple[str, str]:
    """Return what stands before and after the result of an experiment."""
    return f"<!-- experiment: {name} {mode} -->", f"<!-- /experiment: {name} {mode} -->"


def block(experiment: Experiment, result: Result, image: str) -> str:
    """Return what stands between the marks; `image` is the plot as seen from the page, or empty."""
    picture = [f"![{experiment.name}, {result['mode']}]({image})", ""] if image else []
    return "\n".join(
        [
            f"`{result['repeat']}`",
            "",
            f"Measured on {result['machine']}, in {result['elapsed_s']:.0f} s.",
            "",
            *picture,
            *markdown(experiment.columns, result["rows"]),
        ]
    )


def parted(path: Path, name: str, mode: str) -> tuple[str, str]:
    """Return what stands before and after a result. Raises CommandError if it has no place."""
    begin, end = marks(name, mode)
    shown = printable(str(path), 200)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = printable(str(getattr(error, "strerror", "") or "it is no text").lower())
        raise CommandError(f"cannot read {shown}: {reason}", code=USAGE) from error
    before, mark, rest = text.partition(begin)
    _, closing, after = rest.partition(end)
    if not mark or not closing:
        raise CommandError(f"{shown} has no place for this", f"write {begin} … {end}", code=USAGE)
    return before, after


def keep(path: Path, experiment: Experiment, result: Result, plot: Path | None) -> None:
    """Write a result between its marks. Raises CommandError for a page that has none."""
    image = "" if plot is None else os.path.relpath(plot, path.parent)
    before, after = parted(path, experiment.name, result["mode"])
    begin, end = marks(experiment.name, result["mode"])
    whole = f"{before}{begin}\n{block(experiment, result, image)}\n{end}{after}"
    try:
        path.write_text(whole, encoding="utf-8")
    except OSError as error:
        reason = printable((error.strerror or "unknown reason").lower())
        raise CommandError(f"cannot write {printable(str(path), 200)}: {reason}") from error
