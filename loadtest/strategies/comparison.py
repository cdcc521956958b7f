"""Many seeds of many strategies, summed up in one table.

The rule: a row is made of outcomes alone, and the table of rows alone, so that a person and a
script never read different numbers. A time that fewer than half of the seeds came to is no time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import mean, median, stdev
from typing import Any, Final

from loadtest.strategies import trial
from loadtest.strategies.stage import Setting
from loadtest.strategies.trial import Outcome, Strategy

SEEDS_MAX = 10_000
NOTHING: Final = "–"
COLUMNS: Final = (
    ("strategy", 11),
    ("cover", 5),
    ("error", 5),
    ("msgs", 5),
    ("dups", 5),
    ("bytes", 5),
    ("t50", 5),
    ("t99", 5),
    ("t100", 5),
    ("hops", 4),
    ("stop", 6),
    ("false", 5),
)
"""Heads and least widths: with a blank between them 77 columns."""
LEGEND: Final = (
    "cover: answers over nodes that are up, error: of the sum over them; msgs, dups",
    "(told nobody anything new), bytes: per node; t50 … stop: ms, median of the seeds;",
    "false: seeds that stopped with a node missing that is up; –: never, or no such thing",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One strategy over all seeds: means, but for times and hops, which are medians.

    `coverage_error` and `messages_error` are the standard errors of the two means; None with
    a single seed. The rest is as in `Outcome`, `false_stops` a share of the seeds.
    """

    strategy: str
    coverage: float | None
    coverage_error: float | None
    error: float
    messages_per_node: float
    messages_error: float | None
    duplicates_per_node: float | None
    bytes_per_node: float
    t50_ms: float | None
    t99_ms: float | None
    t100_ms: float | None
    hops: float
    stop_ms: float
    false_stops: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the row for a script, rounded to what a table could show."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def compare(
    setting: Setting, seeds: Sequence[int], strategies: Iterable[Strategy]
) -> Iterator[Row]:
    """Yield a row for each strategy, as soon as its seeds are through."""
    for strategy in strategies:
        yield summed_up(strategy.name, [trial.run(strategy, setting, seed) for seed in seeds])


def summed_up(name: str, outcomes: Sequence[Outcome]) -> Row:
    """Return what all seeds of one strategy came to."""
    coverages = _known([outcome.coverage for outcome in outcomes])
    duplicates = _known([outcome.duplicates for outcome in outcomes])
    false_stops = _known([outcome.is_false_stop for outcome in outcomes])
    messages = [outcome.messages for outcome in outcomes]
    return Row(
        strategy=name,
        coverage=mean(coverages) if coverages else None,
        coverage_error=_standard_error(coverages),
        error=mean([outcome.error for outcome in outcomes]),
        messages_per_node=mean(messages),
        messages_error=_standard_error(messages),
        duplicates_per_node=mean(duplicates) if duplicates else None,
        bytes_per_node=mean([outcome.bytes for outcome in outcomes]),
        t50_ms=_usual([outcome.t50_ms for outcome in outcomes]),
        t99_ms=_usual([outcome.t99_ms for outcome in outcomes]),
        t100_ms=_usual([outcome.t100_ms for outcome in outcomes]),
        hops=median([outcome.hops for outcome in outcomes]),
        stop_ms=median([outcome.stop_ms for outcome in outcomes]),
        false_stops=mean([float(stop) for stop in false_stops]) if false_stops else None,
    )


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _standard_error(values: Sequence[float]) -> float | None:
    return stdev(values) / sqrt(len(values)) if len(values) > 1 else None


def _usual(values: Sequence[float | None]) -> float | None:
    """Return the median, where those who never got there are the slowest; None for never."""
    known = sorted(_known(values))
    if 2 * len(known) <= len(values):
        return None
    return known[(len(values) - 1) // 2]


# -- for a person ---------------------------------------------------------------------------


def head() -> str:
    """Return the line above the rows."""
    return _line([name for name, _ in COLUMNS])


def line(row: Row) -> str:
    """Return a row as it stands in the table."""
    return _line(
        [
            row.strategy,
            _percent(row.coverage),
            _percent(row.error),
            _number(row.messages_per_node, 2),
            _number(row.duplicates_per_node, 2),
            _number(row.bytes_per_node, 0),
            _number(row.t50_ms, 0),
            _number(row.t99_ms, 0),
            _number(row.t100_ms, 0),
            _number(row.hops, 0),
            _number(row.stop_ms, 0),
            _percent(row.false_stops),
        ]
    )


def _line(cells: Sequence[str]) -> str:
    name, *numbers = cells
    (_, width), *widths = COLUMNS
    shown = [cell.rjust(room) for cell, (_, room) in zip(numbers, widths, strict=True)]
    return " ".join([name.ljust(width), *shown])


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _percent(share: float | None) -> str:
    """Return a share in four digits at most; only the whole is 100 %, only nothing 0 %."""
    if share is None:
        return NOTHING
    if share in (0.0, 1.0):
        return f"{100 * share:.0f}%"
    if share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1.0:
        return ">99.9"
    return f"{100 * share:.1f}%" if share < 0.9995 else f"{100 * share:.0f}%"
