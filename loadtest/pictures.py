"""The charts of a run, made from its log: what `loadtest report` draws.

The rule: a chart shows what stands in the log, and only where there is something. What was done
to the cluster is marked in every chart over time.
"""

from typing import Any, Final

from loadtest.curves import Curves
from loadtest.latency import Histogram
from loadtest.logbook import Logbook
from loadtest.plots import Chart, Line, Mark

MARKS_MAX: Final = 40
PERCENTS: Final = (0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999)
BINS_PER_DOUBLE: Final = 8
SPREAD_LOG: Final = 5.0
_TICKS: Final = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)


def charts(book: Logbook) -> list[Chart]:
    """Return all charts that the log has numbers for, the ones people ask for first."""
    queries_ms = Histogram(record.stop_ms for record in book.queries if record.is_answered)
    found = [
        coverage(book),
        percentiles({"queries": queries_ms, "increments": _in_ms(book.increments)}),
        rates(book),
        latency_over_time(book),
        queries_over_time(book),
        share_over_time(book),
        histogram(queries_ms, "Queries, by the time until they ended", "queries", "time (ms)"),
        histogram(
            book.increments,
            "Increments, by the time until they were acknowledged",
            "increments",
            "time (µs)",
        ),
    ]
    return [chart for chart in found if chart is not None]


def coverage(book: Logbook) -> Chart | None:
    """Return by when which share of the members was heard."""
    curves = Curves()
    for record in book.queries:
        curves.add(record.heard_ms or ())
    half = curves.points(0.5)
    if not half:
        return None
    lines = [Line(name="median query", points=[(0.0, 0.0), *half])]
    for name, share in (("90 % of queries", 0.9), ("slowest query", 1.0)):
        if points := curves.points(share):
            lines.append(Line(name=name, points=[(0.0, 0.0), *points]))
    return Chart(
        title=f"Members heard, over the time of a query ({curves.count} queries)",
        x="time since the query was asked (ms)",
        y="members heard (%)",
        lines=lines,
        y_max=102.0,
    )


def percentiles(times_ms: dict[str, Histogram]) -> Chart | None:
    """Return a latency at each percentile; the axis gives each further nine the same room."""
    lines = []
    for name, times in times_ms.items():
        # A percentile that is finer than one sample of them all would be the slowest again.
        points = [
            (_nines(percent), times.percentile(percent / 100) or 0.0)
            for percent in PERCENTS
            if times.count * (100.0 - percent) >= 100.0
        ]
        if points:
            points.append((max(points[-1][0], float(times.count)), times.max))
            lines.append(Line(name=name, points=points, has_dots=True))
    if not lines:
        return None
    last = max(x for line in lines for x, _ in line.points)
    return Chart(
        title="Latency at each percentile",
        x="percentile",
        y="time (ms)",
        lines=lines,
        log_x=True,
        log_y=all(y > 0.0 for line in lines for _, y in line.points),
        ticks=[(_nines(p), f"{p:g} %") for p in _TICKS if _nines(p) <= 1.01 * last],
    )


def _nines(percent: float) -> float:
    return round(100.0 / (100.0 - percent), 6)


def rates(book: Logbook) -> Chart | None:
    """Return how many increments were acknowledged in each second."""
    if not any(rate["acked"] for rate in book.rates):
        return None
    points = _from_start([(rate["at_s"], rate["acked_per_s"]) for rate in book.rates])
    return Chart(
        title="Increments acknowledged",
        x="time since the load began (s)",
        y="increments per second",
        lines=[Line(name="acknowledged", points=points, is_stepped=True)],
        marks=marks(book),
    )


def _from_start(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return values of stretches of time at their beginning, as a stepped line draws them."""
    starts = [0.0, *[at for at, _ in points]]
    return [*zip(starts, [value for _, value in points], strict=False), points[-1]]


def latency_over_time(book: Logbook) -> Chart | None:
    """Return how long increments took, in each second."""
    lines = []
    for field, name in (("p50_us", "median"), ("p99_us", "p99"), ("slowest_us", "slowest")):
        points = [(r["at_s"], r[field] / 1000.0) for r in book.rates if r.get(field)]
        if points:
            lines.append(Line(name=name, points=_from_start(points), is_stepped=True))
    if not lines:
        return None
    return Chart(
        title="Time until an increment was acknowledged, second by second",
        x="time since the load began (s)",
        y="time (ms)",
        lines=lines,
        # Where all took about as long, powers of ten would make hills of what is none.
        log_y=_spread(lines) >= SPREAD_LOG,
        marks=marks(book),
    )


def _spread(lines: list[Line]) -> float:
    """Return by which factor the greatest value is above the least."""
    values = [y for line in lines for _, y in line.points if y > 0.0]
    return max(values) / min(values) if values else 1.0


def queries_over_time(book: Logbook) -> Chart | None:
    """Return how long each query took, over the time it was asked at."""
    asked = [r for r in book.queries if r.at_s is not None and r.is_answered]
    if not asked:
        return None
    stops = [(record.at_s or 0.0, record.stop_ms) for record in asked]
    whole = [(record.at_s or 0.0, record.t100_ms) for record in asked]
    lines = [Line(name="until it ended", points=sorted(stops))]
    heard = [(at, ms) for at, ms in whole if ms is not None]
    if heard:
        lines.append(Line(name="until all were heard", points=sorted(heard)))
    return Chart(
        title="Queries, over the time they were asked at",
        x="time since the load began (s)",
        y="time (ms)",
        lines=lines,
        marks=marks(book),
    )


def share_over_time(book: Logbook) -> Chart | None:
    """Return whom each query heard, where any of them missed somebody."""
    asked = [(r.at_s, 100.0 * r.coverage) for r in book.queries if r.at_s is not None]
    if not asked or min(share for _, share in asked) >= 100.0:
        return None
    return Chart(
        title="Members heard by each query, of those that were up",
        x="time since the load began (s)",
        y="members heard (%)",
        lines=[Line(name="heard", points=sorted(asked), has_dots=len(asked) < 200)],
        marks=marks(book),
        y_max=102.0,
    )


def histogram(times: Histogram, title: str, of: str, x: str) -> Chart | None:
    """Return how many took how long."""
    bins = [block for block in times.bins(BINS_PER_DOUBLE) if block[1] > block[0]]
    if not bins:
        return None
    return Chart(title=title, x=x, y=of, blocks=bins, log_x=True, log_y=times.count > 100)


def marks(book: Logbook) -> list[Mark]:
    """Return what was done to the cluster, where it is known when."""
    found: list[Mark] = []
    for happening in book.happenings[:MARKS_MAX]:
        at_s: Any = happening.get("at_s")
        if isinstance(at_s, int | float):
            found.append(Mark(at=float(at_s), label=happening["what"]))
    return found


def _in_ms(times_us: Histogram) -> Histogram:
    found = Histogram()
    for value, count in times_us.samples():
        found.record(value / 1000.0, count)
    return found
