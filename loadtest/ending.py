"""The end of a run: it is judged, its log gets the last lines, and a person or a script is told.

The rule: results go to stdout, what else there is to say to stderr; and the exit code says what
the checks said, whatever was printed.
"""

import resource
from collections.abc import Sequence
from typing import Any, Final

from counter.cli import screens
from counter.cli.screens import INTERRUPTED
from loadtest import graphs, reporting
from loadtest.report import NARROW_COLUMNS, RunLog, json_line, last_lines, summary, table
from loadtest.runs import Run
from loadtest.thresholds import Measured, Threshold
from tracker.text import printable

FAILED: Final = 99
SENTENCES_MAX: Final = 20
SENTENCE_MAX: Final = 1_000


def report(
    run: Run, mode: str, asked: Sequence[Threshold], log: RunLog, repeat: str, *, as_json: bool
) -> int:
    """Judge a run that is over, write the end of its log, print its report; returns the code."""
    rows = run.checks()
    found = _measured(run)
    rows += [limit.row(found) for limit in asked]
    result = summary(
        run.plan.situation(mode),
        run.writes,
        run.queries,
        rows,
        boot_s=found.boot_s,
        cpu_s=found.cpu_s,
        rss_mb=found.rss_mb,
    )
    if limits := run.limits():
        result["limits"] = limits
    result |= run.told()
    if run.stop.is_wished:
        result["interrupted"] = True
    for record in last_lines(run.writes, rows):
        log.write(record)
    log.write(result)
    if as_json:
        screens.out(json_line(result))
    else:
        for line in _shown(run, result, log, repeat):
            screens.out(line)
    return _verdict(run, rows)


def _measured(run: Run) -> Measured:
    """Return all that a threshold may be about; what nodes used in their processes is in it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s, rss_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    if (nodes := run.usage) is not None:
        cpu_s, rss_mb = cpu_s + nodes.cpu_s, rss_mb + nodes.rss_bytes / 2**20
    return Measured(
        writes=run.writes,
        queries=run.queries,
        boot_s=run.boot_s,
        cpu_s=cpu_s,
        rss_mb=rss_mb,
        generator=run.generator,
        refused=run.books.refused,
    )


def _shown(run: Run, result: dict[str, Any], log: RunLog, repeat: str) -> list[str]:
    """Return the table, on a terminal with its pictures and as wide as that is."""
    columns = reporting.columns()
    lines = table(result, log=log.path, repeat=repeat, is_narrow=columns < NARROW_COLUMNS)
    if not screens.on_terminal():
        return lines
    queries, times = run.queries, run.writes.latency_us
    drawn = graphs.graphs(queries.curves, queries.times["stop_ms"], times, columns)
    return graphs.framed(drawn, lines, columns)


def _verdict(run: Run, rows: list[dict[str, Any]]) -> int:
    asked, done = run.plan.queries, run.queries.count
    if run.stop.is_wished:
        screens.note(f"interrupted: {done} of {asked} queries were asked")
    elif done < asked:
        screens.note(
            f"note: {done} of {asked} queries fitted into {run.plan.last_query_s:g} s"
            " (a longer --duration takes more)"
        )
    if run.restarted:
        screens.note(
            f"note: {len(run.restarted)} nodes were still down when the load was over, and were"
            " started again for the last reads"
        )
    for warning in run.generator.warnings():
        screens.note(f"warning: {warning}")
    failed = [row for row in rows if not row["ok"]]
    for row in failed:
        found = "nothing was measured" if row["found"] is None else f"found {row['found']:,}"
        screens.note(f"failed: {row['name']} ({found})")
    told = run.sentences()
    for sentence in told[:SENTENCES_MAX]:
        screens.note(f"  {printable(sentence, SENTENCE_MAX)}")
    if len(told) > SENTENCES_MAX:
        screens.note(f"  and {len(told) - SENTENCES_MAX} more, in the log")
    if run.stop.is_wished:
        return INTERRUPTED
    return FAILED if failed else screens.DONE
