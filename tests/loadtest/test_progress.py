"""How far a run is: plain lines in a pipe, bars on a terminal."""

import io

import pytest
from rich.console import Console

from loadtest import progress
from loadtest.plan import Plan
from loadtest.watching import Rate

PLAN = Plan(nodes=1_000, seed=1, queries=50)


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that is moved by hand."""
    time = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: time[0])
    return time


def test_a_pipe_gets_one_plain_line_now_and_then(clock):
    stream = io.StringIO()
    lines = progress.Lines(PLAN, stream)
    lines.booting(10)
    clock[0] += 2.5
    lines.booting(500)
    lines.booted()
    lines.loading(1, 0)
    clock[0] += 2.5
    lines.loading(900, 7)
    lines.close()

    assert stream.getvalue().splitlines() == [
        "nodes 500/1000 up",
        "nodes 1000/1000 up after 2.5 s",
        "writes 900 counted, queries 7/50",
    ]


def make_terminal():
    """Return a terminal, and what was written to it."""
    stream = io.StringIO()
    return Console(file=stream, force_terminal=True, width=80), stream.getvalue


def test_a_terminal_gets_bars_that_are_taken_away_at_the_end(clock):
    console, seen = make_terminal()
    bars = progress.Screen(PLAN, console)
    bars.booting(1_000)
    bars.booted()
    clock[0] += 1.0
    bars.loading(93_412, 7)
    shown = seen()
    bars.close()

    assert "1 000/1 000 up" in shown
    assert "93 412 counted" in shown
    assert "7/50" in shown
    assert seen()[len(shown) :].count("\x1b[2K") >= 3


def test_frames_are_few_however_often_something_happens(clock):
    console, seen = make_terminal()
    bars = progress.Screen(PLAN, console)
    bars.booted()
    before = seen().count("writes")
    clock[0] += 1.0
    for acked in range(1_000):
        bars.loading(acked, 0)
        clock[0] += 0.001

    assert seen().count("writes") - before == 5


def test_a_query_that_takes_long_is_told_by_who_was_heard(clock):
    stream = io.StringIO()
    lines = progress.Lines(PLAN, stream)
    clock[0] += 2.5
    lines.hearing(412, 3)

    assert stream.getvalue() == "heard 412/1000, queries 3/50\n"


def test_a_terminal_shows_who_was_heard_in_the_place_of_what_was_counted(clock):
    console, seen = make_terminal()
    bars = progress.Screen(PLAN, console)
    bars.hearing(1, 0)
    bars.booted()
    for heard in (412, 730):
        clock[0] += 1.0
        bars.hearing(heard, 3)
    shown = seen()
    bars.close()

    assert "412/1 000" in shown
    assert "730/1 000" in shown
    assert "3/50" in shown


def make_rate(**fields):
    values = {
        "at_s": 1.0, "period_s": 1.0, "acked": 900, "unknown": 0, "queries": 7,
        "in_flight": 0, "late": 0, "acked_per_s": 987.0, "queries_per_s": 7.0,
        "p50_us": 41.0, "p99_us": 190.0, "slowest_us": 2_110.0,
    }  # fmt: skip
    return Rate(**{**values, **fields})


def test_a_pipe_is_told_the_rate_and_at_once_what_was_done_to_the_cluster(clock):
    stream = io.StringIO()
    lines = progress.Lines(PLAN, stream)
    lines.rated(make_rate())
    lines.happened("crash 10% \x1b[2J")
    clock[0] += 2.5
    lines.loading(900, 7)

    assert stream.getvalue().splitlines() == [
        "crash 10% \\x1b[2J",
        "writes 900 counted (987 /s), queries 7/50",
    ]
    assert lines.cost() is None


def test_whoever_reads_no_longer_does_not_end_the_run(clock):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    lines = progress.Lines(PLAN, Gone())
    lines.booted()
    screen = progress.Screen(PLAN, progress.Terminal(file=Gone(), force_terminal=True, width=80))
    screen.booted()
    screen.close()


def test_a_slow_terminal_gets_so_few_frames_that_they_take_a_fiftieth_of_the_time(clock):
    class Slow(io.StringIO):
        def flush(self):
            clock[0] += 0.05

    console = Console(file=Slow(), force_terminal=True, width=80)
    screen = progress.Screen(PLAN, console)
    screen.booted()
    for acked in range(10_000):
        clock[0] += 0.01
        screen.loading(acked, 0)

    cost = screen.cost()
    assert cost["frames"] > 10
    assert 0.0 < cost["share"] <= 1.1 * progress.SHARE_MAX
    assert cost["took_s"] == pytest.approx(cost["share"] * (clock[0] - 100.0), rel=0.01)


@pytest.mark.parametrize(
    ("term", "columns", "kind"),
    [("xterm", 80, "Screen"), ("dumb", 80, "Lines"), ("xterm", 10, "Lines"), ("", 80, "Screen")],
)
def test_a_terminal_that_cannot_show_a_screen_gets_lines(monkeypatch, term, columns, kind):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(progress.sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = progress.shown(PLAN)
    shown.close()

    assert type(shown).__name__ == kind


def test_no_color_means_no_color(monkeypatch, clock):
    stream = io.StringIO()
    monkeypatch.setenv("NO_COLOR", "1")
    screen = progress.Screen(PLAN, Console(file=stream, force_terminal=True, width=80))
    screen.booted()
    screen.close()

    assert "\x1b[3" not in stream.getvalue()
