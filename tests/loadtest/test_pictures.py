"""The charts of a run: there where there are numbers, and true to them."""

from loadtest import pictures
from loadtest.curves import SHARES
from loadtest.latency import Histogram
from loadtest.logbook import Logbook
from loadtest.report import QueryRecord


def make_query(at_s=1.0, stop_ms=20.0, **fields):
    values = {"key": "k", "origin": "n1", "reason": "complete", "value": 1, "coverage": 1.0}
    return QueryRecord(**{**values, "at_s": at_s, "stop_ms": stop_ms, **fields})


def make_rate(at_s, **fields):
    return {"at_s": at_s, "acked": 10, "acked_per_s": 10.0, **fields}


def test_an_empty_log_has_no_chart():
    assert pictures.charts(Logbook(path="x")) == []


def test_the_coverage_of_queries_begins_at_nobody_and_ends_where_they_did():
    curves = [[10.0] * len(SHARES), [30.0] * len(SHARES)]
    book = Logbook(path="x", queries=[make_query(heard_ms=curve) for curve in curves])

    chart = pictures.coverage(book)

    median, _, slowest = chart.lines
    assert median.points[0] == (0.0, 0.0)
    assert round(median.points[-1][0]) == 10
    assert slowest.points[-1] == (30.0, 100.0)


def test_a_rate_stands_over_the_second_it_is_of():
    book = Logbook(
        path="x", rates=[make_rate(1.0), make_rate(2.0, acked_per_s=50.0)],
        happenings=[{"at_s": 1.5, "what": "crash 10%"}, {"at_s": None, "what": "unknown when"}],
    )  # fmt: skip

    chart = pictures.rates(book)

    assert chart.lines[0].points == [(0.0, 10.0), (1.0, 50.0), (2.0, 50.0)]
    assert [(mark.at, mark.label) for mark in chart.marks] == [(1.5, "crash 10%")]


def test_a_percentile_finer_than_one_sample_is_not_told():
    chart = pictures.percentiles({"queries": Histogram([float(n) for n in range(1, 101)])})

    (line,) = chart.lines
    assert [round(x, 3) for x, _ in line.points] == [1.0, 2.0, 4.0, 10.0, 20.0, 100.0, 100.0]
    assert line.points[-1][1] == 100.0
    assert [word for _, word in chart.ticks] == ["0 %", "50 %", "90 %", "99 %"]


def test_who_was_heard_is_drawn_over_time_only_where_somebody_was_missed():
    whole = Logbook(path="x", queries=[make_query()])
    partial = Logbook(path="x", queries=[make_query(), make_query(2.0, coverage=0.9)])

    assert pictures.share_over_time(whole) is None
    assert pictures.share_over_time(partial).lines[0].points == [(1.0, 100.0), (2.0, 90.0)]


def test_the_blocks_of_a_histogram_hold_every_sample():
    chart = pictures.histogram(Histogram([1.0, 2.0, 2.0, 900.0]), "t", "queries", "time (ms)")

    assert sum(height for *_, height in chart.blocks) == 4
    assert pictures.histogram(Histogram([0.0]), "t", "queries", "time (ms)") is None


def test_a_query_that_nobody_answered_is_in_no_chart_of_times():
    lost = make_query(2.0, stop_ms=0.0, coverage=0.0, reason="connection lost")
    book = Logbook(path="x", queries=[make_query(1.0), lost])

    assert pictures.queries_over_time(book).lines[0].points == [(1.0, 20.0)]
    assert pictures.share_over_time(book).lines[0].points == [(1.0, 100.0), (2.0, 0.0)]
