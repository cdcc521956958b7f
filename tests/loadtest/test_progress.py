"""How far a run is: plain lines in a pipe, bars on a terminal."""

import io

import pytest
from rich.console import Console

from loadtest import progress
from loadtest.plan import Plan

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
    bars = progress.Bars(PLAN, console)
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
    bars = progress.Bars(PLAN, console)
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
    bars = progress.Bars(PLAN, console)
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
