"""The plot of an experiment: a chart for each of its panels, made of its rows.

The rule: nothing is drawn that is not in the rows, and a panel without points is left out.
"""

from collections.abc import Sequence

from loadtest.experiments.tables import Panel, Row
from loadtest.plots import Chart, Line


def charts(panels: Sequence[Panel], rows: Sequence[Row]) -> list[Chart]:
    """Return what is to be drawn."""
    drawn = [(panel, panel.lines(rows)) for panel in panels]
    return [_chart(panel, lines) for panel, lines in drawn if lines]


def _chart(panel: Panel, lines: dict[str, list[tuple[float, float]]]) -> Chart:
    return Chart(
        title=panel.title,
        x=panel.x_label,
        y=panel.y_label,
        lines=[
            Line(name=f"{panel.by_label} {name}".strip(), points=sorted(points), has_dots=True)
            for name, points in lines.items()
        ],
        log_x=panel.log_x,
        log_y=panel.log_y,
    )
