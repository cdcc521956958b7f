"""What a person on a terminal sees of a run beside the table: how answers came, how times lie.

The rule: made from the same numbers as the table, and as wide as the terminal, never wider.
"""

from typing import Final

from loadtest import glyphs
from loadtest.curves import Curves
from loadtest.latency import Histogram

ROWS: Final = 6
SIDE_BY_SIDE_COLUMNS: Final = 76
WIDTH_MAX: Final = 120
COMMAND: Final = "repeat: "
_BINS: Final = (32, 16, 8, 4, 2, 1)
"""Bins to each double of a time: as many as find room."""


def graphs(
    curves: Curves, queries_ms: Histogram, increments_us: Histogram, columns: int
) -> list[str]:
    """Return the pictures of a run in `columns`: none where nothing was measured, or no room."""
    width = min(columns, WIDTH_MAX)
    part = (width - 3) // 2 if width >= SIDE_BY_SIDE_COLUMNS else width
    times = [
        histogram(queries_ms, "queries, by ms until the end", part),
        histogram(increments_us, "increments, by µs until acknowledged", part),
    ]
    heard = coverage(curves, width)
    below = glyphs.beside(times[0], times[1], width)
    return [*heard, *([""] if heard and below else []), *below]


def framed(pictures: list[str], table: list[str], columns: int) -> list[str]:
    """Return the pictures, a line of nothing, and the table folded to the width.

    A command is not folded: whoever copies it from the terminal gets it whole.
    """
    folded = [
        piece
        for line in table
        for piece in ([line] if line.startswith(COMMAND) else glyphs.folded(line, columns))
    ]
    return [*pictures, *([""] if pictures else []), *folded]


def coverage(curves: Curves, columns: int, rows: int = ROWS) -> list[str]:
    """Return by when which share of the members was heard."""
    half, every = curves.points(0.5), curves.points(1.0)
    if not half:
        return []
    lines = [half] if every == half else [half, every]
    title = "members heard: by half of the queries (left line), by all of them (right line)"
    if len(lines) == 1 or not every:
        title = "members heard"
    if len(title) > columns:
        title = "members heard: half, all queries"
    started = [[(0.0, 0.0), *points] for points in lines if points]
    return glyphs.plot(title, started, columns, rows, unit="ms")


def histogram(times: Histogram, title: str, columns: int, rows_max: int = ROWS) -> list[str]:
    """Return how many took how long."""
    if not times.count:
        return []
    choices = [times.bins(per_octave) for per_octave in _BINS]
    bins = next((found for found in choices if len(found) <= rows_max), choices[-1])
    return glyphs.bars(title, bins, columns, rows_max)
