"""A frame of the screen of a run: what it shows, and that it fits."""

import pytest

from loadtest import frames
from loadtest.curves import SHARES
from loadtest.frames import Seen
from loadtest.plan import Plan
from loadtest.report import QueryRecord
from loadtest.watching import Rate

PLAN = Plan(nodes=1_000, seed=1, queries=50, duration_s=10.0)


def make_record(stop_ms=24.0, **fields):
    values = {"key": "k", "origin": "n1", "reason": "complete", "value": 1, "coverage": 1.0}
    curve = [stop_ms * share / 100 for share in SHARES]
    return QueryRecord(**{**values, "stop_ms": stop_ms, "heard_ms": curve, **fields})


def make_rate(at_s=1.0, **fields):
    values = {
        "period_s": 1.0, "acked": 900, "unknown": 0, "queries": 7, "in_flight": 0, "late": 0,
        "acked_per_s": 900.0, "queries_per_s": 7.0, "p50_us": 41.0, "p99_us": 190.0,
        "slowest_us": 2_110.0,
    }  # fmt: skip
    return Rate(**{**values, "at_s": at_s, **fields})


def make_seen(queries=7):
    seen = Seen(PLAN)
    seen.up, seen.boot_s = 1_000, 2.1
    seen.acked, seen.asked, seen.load_s = 93_412, queries, 5.0
    for number in range(queries):
        seen.ended(make_record(20.0 + number))
    for second in (1, 2, 3):
        seen.rates.append(make_rate(second, acked_per_s=300.0 * second))
    return seen


def test_before_all_are_up_there_is_one_bar():
    seen = Seen(PLAN)
    seen.up = 250

    assert seen.lines(80, 24) == [f"nodes    {'━' * 5}{'─' * 15} 250/1 000 up"]


def test_a_load_shows_rates_percentiles_the_curve_and_the_histogram():
    lines = make_seen().lines(80, 40)

    assert lines[0] == "nodes    ━━━━━━━━━━━━━━━━━━━━ 1 000/1 000 up      2.1 s"
    assert lines[1] == "writes   ━━━━━━━━━━────────── 93 412 counted    900 /s ▃▆█"
    assert lines[2] == f"queries  {'━' * 3}{'─' * 17} 7/50    complete 7"
    assert lines[3].split() == ["p50", "p90", "p99", "p99.9", "max"]
    assert lines[4].split()[:2] == ["query", "(ms)"]
    assert lines[5].split() == [
        "inc", "(µs)", "41", "-", "190", "-", "2", "110", "in", "the", "last", "second",
    ]  # fmt: skip
    assert any("members heard" in line for line in lines)
    assert any("queries, by ms" in line for line in lines)


@pytest.mark.parametrize("columns", [24, 40, 60, 80, 120])
@pytest.mark.parametrize("rows", [1, 3, 10, 24, 60])
def test_a_frame_fits_whatever_the_terminal(columns, rows):
    lines = make_seen().lines(columns, rows)

    assert len(lines) <= rows
    assert max(map(len, lines)) <= columns


def test_a_narrow_terminal_has_all_percentiles():
    lines = make_seen().lines(39, 24)

    assert lines[3].split() == ["p50", "p90", "p99", "p99.9", "max"]
    assert len(lines[4].split()) == 2 + 5


def test_what_was_done_to_the_cluster_is_shown_and_cannot_move_the_cursor():
    seen = make_seen()
    for what in ("crash 10%", "restart", "pause", "loss \x1b[2J"):
        seen.happenings.append(what)

    done = [line for line in seen.lines(80, 40) if line.startswith("done")]

    assert done == ["done     restart", "done     pause", "done     loss \\x1b[2J"]


def test_a_query_that_takes_long_is_shown_by_who_was_heard():
    seen = make_seen()
    seen.heard = 500

    assert seen.lines(80, 24)[1] == "heard    ━━━━━━━━━━────────── 500/1 000"


def test_small_bars_are_as_high_as_the_greatest_of_them_and_the_last_ones():
    assert frames.sparks([0.0, 4.0, 8.0], 9) == "▁▅█"
    assert frames.sparks([9.0, 1.0, 8.0], 2) == "▂█"
    assert frames.sparks([0.0, 0.0], 9) == ""
    assert frames.sparks([1.0], 0) == ""
