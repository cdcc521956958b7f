"""`loadtest report` and `loadtest compare A B`: what runs left behind, for a person and a script.

The rule: parse, call one function, print. A log that was cut is said to be, on stderr as well.
"""

import shutil
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from counter.cli import screens
from counter.cli.screens import USAGE, CommandError
from loadtest import differences, logbook
from loadtest.arguments import share
from loadtest.logbook import Logbook
from tracker.errors import ConfigError
from tracker.text import printable

FAILED: Final = 99
PIPE_COLUMNS: Final = 80
CHECKS_SHOWN_MAX: Final = 20
"""Checks of one run that did not hold and are named; a run has fewer."""

Text = str | None


def report(
    log: Annotated[str, typer.Argument(metavar="LOG", help="A log in logs/.")],
    html: Annotated[
        Text, typer.Option("--html", metavar="FILE", help="Write a page with plots, in one file.")
    ] = None,
    svg: Annotated[
        Text, typer.Option("--svg", metavar="FILE", help="Write the plots as one picture.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> int:
    """Show the report of a run from its log, whole or cut. Plots need the extra `plot`."""
    book = _read(log)
    result = _result(book)
    for file, make in ((html, _page), (svg, _picture)):
        if file is not None:
            _write(file, make(book), log)
    if json:
        screens.out_json(result)
    elif html is None and svg is None:
        for line in table(book, result):
            screens.out(line)
    if book.is_cut:
        seen = f"{len(book.queries)} queries seen, nothing was checked"
        screens.note(f"note: this log is cut, its summary is missing: {seen}")
    elif result.get("interrupted"):
        screens.note("note: this run was ended by Ctrl-C")
    if book.broken:
        screens.note(f"note: {book.broken} of its lines could not be read")
    return screens.DONE


def table(book: Logbook, result: dict[str, Any]) -> list[str]:
    """Return the lines a person reads; on a terminal with its pictures, folded to its width."""
    from loadtest import graphs
    from loadtest.report import NARROW_COLUMNS, Queries

    width = columns()
    lines = _table(book, result, is_narrow=width < NARROW_COLUMNS)
    if not screens.on_terminal():
        return lines
    queries = Queries(nodes=1)
    for record in book.queries:
        queries.add(record)
    drawn = graphs.graphs(queries.curves, queries.times["stop_ms"], book.increments, width)
    return graphs.framed(drawn, lines, width)


def columns() -> int:
    """Return how wide the terminal is; a pipe has the width of a table."""
    return shutil.get_terminal_size().columns if screens.on_terminal() else PIPE_COLUMNS


def _table(book: Logbook, result: dict[str, Any], *, is_narrow: bool = False) -> list[str]:
    from loadtest import report
    from loadtest.scenarios import screen

    repeat = book.run.get("repeat")
    shown = printable(repeat, 2_000) if isinstance(repeat, str) else None
    try:
        if book.is_scenario:
            return screen.table(result, log=book.path, repeat=shown or "unknown")
        return report.table(result, log=Path(book.path), repeat=shown, is_narrow=is_narrow)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        text = f"the summary in {book.path} is not one that this version writes"
        raise CommandError(text, code=USAGE) from error


def _page(book: Logbook) -> str:
    from loadtest import page, pictures, plots

    drawings = [plots.svg(chart) for chart in pictures.charts(book)]
    return page.html(book, _table(book, _result(book)), drawings)


def _picture(book: Logbook) -> str:
    from loadtest import pictures, plots

    charts = pictures.charts(book)
    if not charts:
        raise CommandError(f"{book.path} holds a summary alone: nothing to plot", code=USAGE)
    return plots.svg(*charts)


def _write(file: str, content: str, log: str) -> None:
    shown = printable(file, 200)
    try:
        path = Path(file)
        if path.exists() and path.samefile(log):
            raise CommandError(f"{shown} is the log itself", code=USAGE)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        reason = printable((error.strerror or "unknown reason").lower())
        raise CommandError(f"cannot write {shown}: {reason}") from error
    screens.note(f"wrote {shown}")


# -- two runs -------------------------------------------------------------------------------


def compare_runs(first: str, second: str, within: str | None, *, as_json: bool) -> int:
    """Compare two runs, and say what got worse or did not hold; returns the exit code."""
    asked = share(within, "within")
    limit = differences.WORSE_SHARE if asked is None else asked
    ours, theirs = _numbers(first), _numbers(second)
    rows = differences.compare(ours, theirs, limit)
    if len(rows) > differences.NUMBERS_MAX:
        raise CommandError(
            f"{len(rows)} numbers, at most {differences.NUMBERS_MAX} are compared", code=USAGE
        )
    for name, here, there in differences.situations(ours, theirs):
        shown = f"{_value(here)} and {_value(there)}"
        screens.note(f"note: the runs differ in {printable(name, 60)}: {shown}")
    got_worse = [row.name for row in rows if row.verdict == differences.WORSE]
    failed = {"a": differences.failed_checks(ours), "b": differences.failed_checks(theirs)}
    for run, found in failed.items():
        for check in found[:CHECKS_SHOWN_MAX]:
            screens.note(f"note: did not hold in {run.upper()}: {printable(check, 80)}")
    if as_json:
        screens.out_json(
            {
                "a": printable(first, 400),
                "b": printable(second, 400),
                "worse_share": limit,
                "numbers": [row.as_dict() for row in rows],
                "worse": got_worse,
                "failed": {run: [printable(n, 80) for n in found] for run, found in failed.items()},
            }
        )
    else:
        for line in differences.table(rows):
            screens.out(printable(line, 400))
    is_broken = any(name not in failed["a"] for name in failed["b"])
    if within is None or not (got_worse or is_broken):
        return screens.DONE
    if not got_worse:
        screens.note("failed: a check that held in A did not in B")
        return FAILED
    names = ", ".join(printable(name, 80) for name in got_worse[:5])
    more = f" and {len(got_worse) - 5} more" if len(got_worse) > 5 else ""
    screens.note(f"failed: worse by more than {printable(within, 20)}: {names}{more}")
    return FAILED


def _numbers(written: str) -> dict[str, Any]:
    """Return the report in a file of `--json`, or in a log; of a cut log what was seen."""
    book = _read(written)
    result = _result(book)
    if book.is_cut:
        screens.note(f"note: {book.path} is cut: what was seen is compared")
    if not any(True for _ in differences.numbers_in(result)):
        raise _no_report(book.path)
    return result


def _read(written: str) -> Logbook:
    try:
        return logbook.read(written)
    except ConfigError as error:
        if "holds no run report" in str(error):
            raise _no_report(printable(written, 200)) from error
        raise CommandError(str(error), code=USAGE) from error


def _result(book: Logbook) -> dict[str, Any]:
    try:
        return book.result()
    except ConfigError as error:
        raise CommandError(str(error), code=USAGE) from error


def _no_report(shown: str) -> CommandError:
    hint = "give a log in logs/, or what --json printed"
    return CommandError(f"{shown} holds no run report", hint, code=USAGE)


def _value(value: Any) -> str:
    return "nothing" if value is None else printable(str(value), 60)
