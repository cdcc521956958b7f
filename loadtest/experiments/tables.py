"""What an experiment finds: rows of numbers, the columns they are shown in, their plots. Pure.

The rule: a row holds each number once, under the name it has in JSON, unrounded by its column;
the table for a person, the one in a page and the plot are made of the rows alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

Row = dict[str, Any]

NOTHING: Final = "–"
SIGNIFICANT_DIGITS: Final = 6
ROWS_MAX: Final = 10_000
SHARE: Final = "%"
EXPECTED: Final = "expected"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the field of the row, its head, and the digits behind the point.

    `digits` is None for words. With `unit` `%` the field is a share, and is shown in hundredths.
    """

    name: str
    title: str
    digits: int | None = 0
    unit: str = ""

    def shown(self, row: Row) -> str:
        """Return the cell of a row; a dash where nothing was measured."""
        value = row.get(self.name)
        if value is None:
            return NOTHING
        if self.digits is None:
            return str(value)
        if self.unit == SHARE:
            return f"{100 * value:.{self.digits}f}%"
        return f"{value:,.{self.digits}f}".replace(",", " ")


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot: `y` over `x`, a line for each value of `by`; fields of the rows.

    Where a label says `%`, its field is a share, and is drawn in hundredths.
    """

    title: str
    x: str
    y: str
    x_label: str
    y_label: str
    by: str = ""
    by_label: str = ""
    where: tuple[tuple[str, Any], ...] = ()
    """Only rows that have these values."""
    expected: str = ""
    """A field that is drawn as one more line, the same for all kinds: what was to be expected."""
    log_x: bool = False
    log_y: bool = False

    def lines(self, rows: Sequence[Row]) -> dict[str, list[tuple[float, float]]]:
        """Return the points of each line, in the order of the rows, but for unmeasured ones."""
        found: dict[str, list[tuple[float, float]]] = {}
        expected: dict[float, float] = {}
        for row in rows:
            if any(row.get(name) != value for name, value in self.where):
                continue
            if row.get(self.x) is None or row.get(self.y) is None:
                continue
            name = _named(row[self.by], self.by_label) if self.by else ""
            x, scale = row[self.x] * _scale(self.x_label), _scale(self.y_label)
            found.setdefault(name, []).append((x, row[self.y] * scale))
            if self.expected:
                expected[x] = row[self.expected] * scale
        return found | ({EXPECTED: list(expected.items())} if expected else {})


def _named(value: Any, label: str) -> str:
    return f"{100 * value:g} %" if isinstance(value, float) and SHARE in label else str(value)


def _scale(label: str) -> float:
    return 100.0 if SHARE in label else 1.0


class CheckFailedError(Exception):
    """An experiment found what must never be: something lost, doubled, or called what it is not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What one run of an experiment is given.

    `seed` decides all its choices; `is_quick` asks for sizes that take seconds. `say` tells a
    person how far it is, `found` takes each row, and once `is_over` says yes, it stops.
    A run raises CheckFailedError when what was counted is not what the nodes hold.
    """

    seed: int
    is_quick: bool
    say: Callable[[str], None]
    found: Callable[[Row], None]
    is_over: Callable[[], bool]


def table(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table for a person: words to the left, numbers to the right."""
    cells = [[column.shown(row) for column in columns] for row in rows]
    heads = [column.title for column in columns]
    widths = [max(len(line[n]) for line in [heads, *cells]) for n in range(len(columns))]
    return [_line(columns, line, widths) for line in [heads, *cells]]


def _line(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    shown = [
        cell.ljust(width) if column.digits is None else cell.rjust(width)
        for column, cell, width in zip(columns, cells, widths, strict=True)
    ]
    return "  ".join(shown).rstrip()


def markdown(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """Return the lines of the same table in Markdown."""
    rule = ["---" if column.digits is None else "---:" for column in columns]
    lines = [[column.title for column in columns], rule]
    lines += [[column.shown(row) for column in columns] for row in rows]
    return ["| " + " | ".join([cell.replace("|", "\\|") for cell in line]) + " |" for line in lines]


def rounded(row: Row) -> Row:
    """Return a row as it is logged: six digits are more than anything here was measured to."""
    return {name: _rounded(value) for name, value in row.items()}


def _rounded(value: Any) -> Any:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


# -- of several runs --------------------------------------------------------------------------


def middle(values: Sequence[float | None]) -> float | None:
    """Return the median, where those who never got there are the slowest; None for never."""
    known = sorted([value for value in values if value is not None])
    if 2 * len(known) <= len(values):
        return None
    return known[(len(values) - 1) // 2]
