"""Curves and histograms in letters, for a terminal: braille dots, and blocks of eighths. Pure.

The rule: a picture is never wider than it was told, and says its scale in numbers. Where there
is no room for it there is none, rather than one that misleads.
"""

from collections.abc import Sequence
from typing import Final

Point = tuple[float, float]
Bin = tuple[float, float, int]

COLUMNS_MIN: Final = 24
"""Below this there is no room for a picture with its numbers."""
ROWS_MAX: Final = 12
_BRAILLE: Final = 0x2800
_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The dots of a braille letter, by row and column, as Unicode counts them."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


def dots(
    lines: Sequence[Sequence[Point]], columns: int, rows: int, x_max: float, y_max: float
) -> list[str]:
    """Return lines through points (x, y), from 0 to the given ends, `rows` texts from the top."""
    wide, high = 2 * columns, 4 * rows
    cells = [[0] * columns for _ in range(rows)]
    for points in lines:
        for x, y in _filled(points, wide, high, x_max, y_max):
            cells[(high - 1 - y) // 4][x // 2] |= _DOTS[(high - 1 - y) % 4][x % 2]
    return ["".join([chr(_BRAILLE + cell) for cell in row]) for row in cells]


def _filled(
    points: Sequence[Point], wide: int, high: int, x_max: float, y_max: float
) -> set[tuple[int, int]]:
    """Return the dots of a line, without gaps between one point and the next."""
    found: set[tuple[int, int]] = set()
    placed = [(_placed(x, x_max, wide), _placed(y, y_max, high)) for x, y in points]
    for (x1, y1), (x2, y2) in zip(placed, placed[1:] or placed, strict=False):
        steps = max(1, abs(x2 - x1), abs(y2 - y1))
        for step in range(steps + 1):
            share = step / steps
            found.add((round(x1 + share * (x2 - x1)), round(y1 + share * (y2 - y1))))
    return found


def _placed(value: float, end: float, count: int) -> int:
    share = value / end if end > 0.0 else 0.0
    return round(min(1.0, max(0.0, share)) * (count - 1))


def plot(
    title: str, lines: Sequence[Sequence[Point]], columns: int, rows: int, *, unit: str
) -> list[str]:
    """Return a plot of shares in percent over a time, with its axes; nothing without room.

    Its last row says where the axis of time begins and ends.
    """
    width = columns - 7
    times = [x for points in lines for x, _ in points]
    if columns < COLUMNS_MIN or not times:
        return []
    end = max(times) or 1.0
    heads = ["100 % ┤", *["      │"] * (rows - 2), "  0 % ┤"] if rows > 1 else ["100 % ┤"]
    drawn = dots(lines, width, rows, end, 100.0)
    last = f"{_short(end)} {unit}"
    foot = f"       0{last:>{width - 1}}"
    return [title[:columns], *[h + row for h, row in zip(heads, drawn, strict=True)], foot]


def bars(title: str, bins: Sequence[Bin], columns: int, rows_max: int = ROWS_MAX) -> list[str]:
    """Return a histogram, a line for each bin: from and to, a bar, how many; nothing without room.

    Neighbours are put together until no more than `rows_max` are left.
    """
    if columns < COLUMNS_MIN or not bins:
        return []
    merged = list(bins)
    while len(merged) > max(1, rows_max):
        pairs = range(0, len(merged), 2)
        merged = [
            (merged[n][0], merged[min(n + 1, len(merged) - 1)][1], sum(_counts(merged, n)))
            for n in pairs
        ]
    labels = [f"{_short(low)} - {_short(high)}" for low, high, _ in merged]
    counts = [f"{count:,}".replace(",", " ") for *_, count in merged]
    left, right = max(map(len, labels)), max(map(len, counts))
    room = columns - left - right - 2
    greatest = max(count for *_, count in merged)
    lines = [title[:columns]]
    for label, shown, (*_, count) in zip(labels, counts, merged, strict=True):
        filled = _bar(count / greatest if greatest else 0.0, max(1, room))
        lines.append(f"{label:>{left}} {filled:<{max(1, room)}} {shown:>{right}}"[:columns])
    return lines


def _counts(bins: Sequence[Bin], first: int) -> list[int]:
    return [count for *_, count in bins[first : first + 2]]


def _bar(share: float, cells: int) -> str:
    """Return a bar of `cells` letters, true to an eighth; whatever is not nothing is seen."""
    eighths = round(share * cells * 8)
    if share > 0.0:
        eighths = max(1, eighths)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def _short(number: float) -> str:
    """Return a number in few letters: 0.38, 24.2, 1 300."""
    if number >= 1_000:
        digits = f"{number:.3g}"
        return f"{float(digits):,.0f}".replace(",", " ")
    return f"{number:.3g}"


def beside(left: Sequence[str], right: Sequence[str], columns: int, gap: int = 3) -> list[str]:
    """Return two blocks of text side by side in `columns`, else the second below the first."""
    if not left or not right:
        return [*left, *right]
    width = max(map(len, left))
    if width + gap + max(map(len, right)) > columns:
        return [*left, *right]
    rows = max(len(left), len(right))
    firsts = [*left, *[""] * (rows - len(left))]
    seconds = [*right, *[""] * (rows - len(right))]
    pairs = zip(firsts, seconds, strict=True)
    return [f"{first:<{width + gap}}{second}".rstrip() for first, second in pairs]


def folded(line: str, columns: int, indent: int = 9) -> list[str]:
    """Return a line in pieces of at most `columns` letters, broken where blanks are widest."""
    pieces: list[str] = []
    rest, width = line, max(1, columns)
    while len(rest) > width:
        # What is set apart stays together, if its place is not too far to the left.
        place = max(rest.rfind("  ", width // 3, width + 1), -1)
        if place < 0:
            place = rest.rfind(" ", width // 3, width + 1)
        if place <= 0:
            place = width
        pieces.append(rest[:place].rstrip())
        following = rest[place:].lstrip()
        room = min(indent, width // 4)
        rest = " " * room + following if following else ""
    return [*pieces, rest] if rest else pieces
