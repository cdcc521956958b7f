"""Plots as SVG: lines, bands, bars and blocks, with a title, axes and their units.

A caller describes a `Chart`, in numbers and words; `svg` draws one or several below each other.
The same charts give the same text, byte for byte, with one version of matplotlib: no date, no
chance, no settings of whoever runs it. A browser that shows dark pages shows the plot dark.

The rule: whatever a label says was made printable and is text, never markup or mathematics.
matplotlib is imported when something is drawn and not before: who draws nothing needs none.
"""

import io
import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tracker.errors import ConfigError
from tracker.text import printable

POINTS_MAX: Final = 2_000
"""Points of one line that are drawn; of more, the least and the greatest of each stretch are."""
LABEL_MAX: Final = 120
CHARTS_MAX: Final = 40
SERIES_MAX: Final = 40
WIDTH_INCHES: Final = 7.6
HEIGHT_INCHES: Final = 3.2
EXTRA: Final = "plot"

DECADES_FULL: Final = 1_000.0
"""A logarithmic axis over less than this factor has more numbers than the powers of ten."""

INK, GRID, PAPER = "#24292f", "#d0d7de", "#ffffff"
DARK: Final = {INK: "#e6edf3", GRID: "#3d444d", PAPER: "#0d1117"}
COLOURS: Final = ("#2f7fd1", "#d55e00", "#1a9a74", "#c2649a", "#c98a00", "#7a6fd0")
"""Told apart by the colour blind as well (after Okabe and Ito, 2008), on light and on dark."""
DASHES: Final = ("-", "--", ":", "-.")
MARK_COLOUR: Final = "#c93c37"
BESIDE_POINTS, COLUMN_POINTS = 3.0, 9.0
"""Between a line and the word beside it; from one upright word to the next."""

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """Points (x, y) that belong together, in the order of x; `is_stepped` holds y until the next.

    `colour` picks one of COLOURS, by its place; without it each line has the next one.
    """

    name: str
    points: Sequence[Point]
    is_stepped: bool = False
    has_dots: bool = False
    colour: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """An area between two values of y: (x, low, high), in the order of x."""

    name: str
    points: Sequence[tuple[float, float, float]]
    colour: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """One bar for each label of the chart; several of these stand beside each other.

    `errors` is half the height of a whisker at each bar.
    """

    name: str
    heights: Sequence[float]
    errors: Sequence[float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """Something that happened at x: a line from bottom to top, with a word beside it."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One picture. `x` and `y` say what the axes are, with the unit: "time (s)".

    `blocks` are (from x, to x, height): a histogram. `labels` are the places of `bars`, from
    left to right. `ticks` are (x, word) instead of numbers. `y_max` is the top, if not the data's.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line] = ()
    bands: Sequence[Band] = ()
    blocks: Sequence[tuple[float, float, float]] = ()
    bars: Sequence[Bars] = ()
    labels: Sequence[str] = ()
    marks: Sequence[Mark] = ()
    ticks: Sequence[tuple[float, str]] = ()
    log_x: bool = False
    log_y: bool = False
    y_max: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn, in plain words."""
        for bars in self.bars:
            if len(bars.heights) != len(self.labels):
                found = f"{len(bars.heights)} bars for {len(self.labels)} labels"
                raise ConfigError(f"{shown(bars.name)}: {found}")
        count = len(self.lines) + len(self.bands) + len(self.bars)
        if count > SERIES_MAX:
            raise ConfigError(f"{count} series in one chart, at most {SERIES_MAX}")


def svg(*charts: Chart) -> str:
    """Return charts below each other as the text of one SVG file.

    Raises ConfigError where matplotlib is missing, or for more than CHARTS_MAX charts.
    """
    if not 1 <= len(charts) <= CHARTS_MAX:
        raise ConfigError(f"{len(charts)} charts in one picture, needs 1 to {CHARTS_MAX}")
    library = _library()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with library.rc_context(), warnings.catch_warnings():
        # A letter that the font lacks is drawn by whoever shows the picture.
        warnings.simplefilter("ignore")
        library.rcdefaults()
        library.rcParams.update(_SETTINGS)
        size = (WIDTH_INCHES, HEIGHT_INCHES * len(charts))
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        places = figure.subplots(len(charts), 1, squeeze=False)[:, 0]
        for chart, axes in zip(charts, places, strict=True):
            _draw(chart, axes)
        written = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(written, format="svg", metadata=nothing)
    return _finished(written.getvalue())


def require() -> None:
    """Raise ConfigError with what to install, where nothing can be drawn."""
    _library()


def shown(label: str) -> str:
    """Return a label as it is drawn: printable, and not too long."""
    return printable(label, LABEL_MAX)


def thinned(points: Sequence[Point], points_max: int = POINTS_MAX) -> list[Point]:
    """Return at most `points_max` of the points: of each stretch its least and its greatest."""
    if len(points) <= points_max:
        return list(points)
    stretches = max(1, points_max // 2)
    kept: list[Point] = []
    for number in range(stretches):
        first = number * len(points) // stretches
        last = (number + 1) * len(points) // stretches
        stretch = range(first, last)
        least = min(stretch, key=lambda n: points[n][1])
        greatest = max(stretch, key=lambda n: points[n][1])
        kept += [points[n] for n in sorted({least, greatest})]
    return kept


# -- drawing --------------------------------------------------------------------------------

_SETTINGS: Final = {
    # A word, and not an outline of its letters: it is found, copied, and a quarter of the size.
    "svg.fonttype": "none",
    "svg.hashsalt": "gossip-counter",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
}


def _library() -> Any:
    """Return matplotlib; what it has to say of fonts and directories nobody asked for."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        import matplotlib
    except ImportError as error:
        wanted = f"pip install 'gossip-counter[{EXTRA}]'"
        raise ConfigError(f"a plot needs matplotlib, which is missing: {wanted}") from error
    return matplotlib


def _draw(chart: Chart, axes: Any) -> None:
    axes.set_title(shown(chart.title))
    axes.set_xlabel(shown(chart.x))
    axes.set_ylabel(shown(chart.y))
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
    for band in chart.bands:
        _draw_band(band, axes)
    if chart.blocks:
        _draw_blocks(chart, axes)
    _draw_bars(chart, axes)
    for number, line in enumerate(chart.lines):
        _draw_line(line, number, axes)
    _scale(chart, axes)
    _draw_marks(sorted(chart.marks, key=lambda mark: mark.at), axes)
    named = [*chart.lines, *chart.bands, *chart.bars]
    if len(named) > 1:
        axes.legend(loc="best", ncols=1 + len(named) // 5)


def _draw_line(line: Line, number: int, axes: Any) -> None:
    place = number if line.colour is None else line.colour
    points = thinned(line.points)
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        label=shown(line.name),
        color=COLOURS[place % len(COLOURS)],
        # When the colours are used up, the strokes change.
        linestyle=DASHES[place // len(COLOURS) % len(DASHES)],
        linewidth=1.6,
        drawstyle="steps-post" if line.is_stepped else "default",
        marker="o" if line.has_dots or len(points) == 1 else None,
        markersize=4.0,
    )


def _draw_band(band: Band, axes: Any) -> None:
    lows = thinned([(x, low) for x, low, _ in band.points])
    highs = thinned([(x, high) for x, _, high in band.points])
    if len(band.points) > POINTS_MAX:
        # Thinned apart, the two edges have points at different places: drawn as one outline.
        outline = [*lows, *reversed(highs)]
        xs, ys = [x for x, _ in outline], [y for _, y in outline]
        axes.fill(xs, ys, label=shown(band.name), **_area(band.colour))
        return
    xs = [x for x, _ in lows]
    low, high = [y for _, y in lows], [y for _, y in highs]
    axes.fill_between(xs, low, high, label=shown(band.name), **_area(band.colour))


def _area(colour: int) -> dict[str, Any]:
    return {"color": COLOURS[colour % len(COLOURS)], "alpha": 0.2, "linewidth": 0.0}


def _draw_blocks(chart: Chart, axes: Any) -> None:
    axes.bar(
        [low for low, _, _ in chart.blocks],
        [height for _, _, height in chart.blocks],
        width=[high - low for low, high, _ in chart.blocks],
        align="edge",
        color=COLOURS[0],
        linewidth=0.0,
    )


def _draw_bars(chart: Chart, axes: Any) -> None:
    if not chart.bars:
        return
    width = 0.8 / len(chart.bars)
    for number, bars in enumerate(chart.bars):
        offset = (number - (len(chart.bars) - 1) / 2) * width
        axes.bar(
            [place + offset for place in range(len(chart.labels))],
            list(bars.heights),
            width=0.92 * width,
            yerr=None if bars.errors is None else list(bars.errors),
            ecolor=INK,
            label=shown(bars.name),
            color=COLOURS[number % len(COLOURS)],
        )
    axes.set_xticks(range(len(chart.labels)), [shown(label) for label in chart.labels])
    axes.grid(visible=False, axis="x")


def _draw_marks(marks: Sequence[Mark], axes: Any) -> None:
    # In the points in which letters are counted, since it is letters that must not meet.
    width = axes.get_window_extent().width * 72.0 / axes.figure.dpi
    low, high = axes.get_xlim()
    at = [(mark.at - low) / (high - low) * width for mark in marks]
    for mark, x, place in zip(marks, at, columns(at, width), strict=True):
        axes.axvline(mark.at, color=MARK_COLOUR, linewidth=1.0, linestyle="--")
        axes.annotate(
            shown(mark.label),
            (mark.at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(place - x, -2),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=7.0,
            color=MARK_COLOUR,
        )


def columns(at: Sequence[float], width: float) -> list[float]:
    """Return where upright words stand, in points: right of what they belong to, none on another.

    `at` rises. What would leave the chart at its right end moves to the left, with its neighbours.
    """
    places: list[float] = []
    for x in at:
        places.append(max(x + BESIDE_POINTS, places[-1] + COLUMN_POINTS if places else 0.0))
    most = width - COLUMN_POINTS
    for number in reversed(range(len(places))):
        places[number] = min(places[number], most)
        most = places[number] - COLUMN_POINTS
    return places


def _scale(chart: Chart, axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis, is_log in ((axes.xaxis, chart.log_x), (axes.yaxis, chart.log_y)):
        if is_log:
            low, high = axis.get_view_interval()
            # Over few powers of ten, their doubles and halves have room as well.
            between = (1.0, 2.0, 5.0) if high < DECADES_FULL * low else (1.0,)
            axis.set_major_locator(LogLocator(subs=between))
            axis.set_minor_formatter(NullFormatter())
        if axis is axes.yaxis or not chart.bars:
            axis.set_major_formatter(FuncFormatter(_plain))
    if chart.ticks:
        places, words = [x for x, _ in chart.ticks], [shown(word) for _, word in chart.ticks]
        axes.set_xticks(places, words)
        axes.set_xticks([], minor=True)
    if chart.log_y and chart.blocks:
        # A block of one is seen, too.
        axes.set_ylim(bottom=0.5 * min([height for *_, height in chart.blocks if height > 0]))
    elif not chart.log_y and _is_positive(chart):
        axes.set_ylim(bottom=0.0)
    if chart.y_max is not None:
        axes.set_ylim(top=chart.y_max)


def _is_positive(chart: Chart) -> bool:
    values = [y for line in chart.lines for _, y in line.points]
    values += [low for band in chart.bands for _, low, _ in band.points]
    values += [height for bars in chart.bars for height in bars.heights]
    return min(values, default=0.0) >= 0.0


def _plain(value: float, place: int) -> str:
    """Return a number at an axis, with blanks between its thousands."""
    if abs(value) >= 10_000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:g}"


# -- the text -------------------------------------------------------------------------------

_GROUP = re.compile(r'<g id="[a-z_]+[0-9]+">')
_FONT = re.compile(r"'DejaVu Sans'")


def _finished(text: str) -> str:
    """Return what is drawn without names that several pictures on one page would share."""
    begin = text.index("<svg")
    body = _FONT.sub("'DejaVu Sans', Verdana, sans-serif", _GROUP.sub("<g>", text[begin:]))
    head, tail = body.split(">", 1)
    # Whoever shows it decides how wide it is; its own size is in viewBox as well.
    return f"{head}>\n<style>{_dark_rules()}</style>{_without_blanks(tail)}"


def _dark_rules() -> str:
    """Return the rules by which a dark page changes the colours that are neither data nor fault."""
    rules = [
        f'svg [style*="{what}: {light}"] {{ {what}: {dark} !important; }}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
    ]
    return f"@media (prefers-color-scheme: dark) {{ {' '.join(rules)} }}"


def _without_blanks(text: str) -> str:
    return "\n".join([line.rstrip() for line in text.splitlines()]) + "\n"
