"""Tables of text in as much room as there is: rows of cells become lines.

The rule: nothing is left out for want of room. A row that is too wide goes on below itself, between
two of its columns, so that no terminal has to break an address or a number in two.
"""

import unicodedata
from collections.abc import Sequence
from typing import Final

from counter.cli.screens import on_terminal

GAP: Final = "  "
LEAST_WIDTH: Final = 10
"""Columns below which a terminal is taken to have that many."""


def room() -> tuple[int, int]:
    """Return how many columns and how many lines the terminal has."""
    import shutil  # it brings a third of what `counter inc` imports

    size = shutil.get_terminal_size()
    return max(LEAST_WIDTH, size.columns), size.lines


def width() -> int | None:
    """Return how many columns the terminal has; None on a pipe, where any length is right."""
    return room()[0] if on_terminal() else None


def cell_width(text: str) -> int:
    """Return how many columns a terminal takes for a printable text.

    After UAX #11 (East Asian Width): wide and fullwidth take two, combining marks none.
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def lines(table: Sequence[Sequence[str]], columns: int | None) -> list[list[str]]:
    """Return the lines of each row, its cells in columns; the last cell may be of any length.

    Every row is folded between the same columns, but its last cell only where that is too long.
    """
    if not table:
        return []
    widths = [max([cell_width(row[at]) for row in table]) for at in range(len(table[0]) - 1)]
    return [_row(row, widths, columns) for row in table]


def _row(row: Sequence[str], widths: Sequence[int], columns: int | None) -> list[str]:
    result, line = [], ""
    for at, cell in enumerate(row):
        takes = widths[at] if at < len(widths) else cell_width(cell)
        padded = cell + " " * (takes - cell_width(cell))
        if line and columns is not None and takes and cell_width(line + GAP) + takes > columns:
            result.append(line)
            line = GAP + padded
        else:
            line = line + GAP + padded if at else padded
    result.append(line)
    if columns is None:
        return [result[0].rstrip()]
    return [piece for line in result for piece in _pieces(line.rstrip(), columns)]


def _pieces(line: str, columns: int) -> list[str]:
    """Return a line in pieces that fit, broken at spaces where there are any."""
    result = []
    while cell_width(line) > columns:
        end = len(line)
        while cell_width(line[:end]) > columns:
            end -= 1
        space = line.rfind(" ", len(GAP), end + 1)
        end = space if space > len(GAP) else end
        result.append(line[:end].rstrip())
        line = GAP + line[end:].lstrip()
    return [*result, line]
