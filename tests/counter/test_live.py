"""The live view, drawn from made-up answers."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from counter.client.answers import Outcome
from counter.client.changes import Change
from counter.live import (
    PanelScreen,
    PlainScreen,
    bars,
    panel,
    picture_svg,
    plain_line,
    sparkline,
    verdict,
)
from tracker.members import DEAD

TOP = (
    ("n418", 41_220, 1, 12.0),
    ("n007", 31_004, 2, 31.4),
    ("n733", 9_857, 3, 44.9),
)
HISTORY = (0, 40, 210, 480, 730, 880, 940, 960, 963)


@pytest.fixture
def large(make_answer):
    """Return the answer of CONTRACT's picture."""
    return make_answer(
        value=1_204_881, filled=1_251_102, filled_age_s=41.0, answered=963, members=1000,
        missing=37, hops=3, elapsed_ms=212.0, messages=2_022, complete=False, reason="converged",
        top=TOP,
    )  # fmt: skip


def drawn(answer, width=80, key="views", history=HISTORY) -> str:
    console = Console(record=True, width=width, file=io.StringIO(), _environ={})
    console.print(panel(key, answer, history, width))
    return console.export_text()


def test_the_picture_says_what_was_seen_first_and_what_is_filled_in(large):
    lines = drawn(large).splitlines()

    assert "views · asked n1" in lines[0]
    assert "seen 1 204 881" in lines[1]
    assert "exact, from 963 nodes" in lines[1]
    assert "filled 1 251 102" in lines[2]
    assert "37 silent nodes at their last known value" in lines[2]
    assert "963/1000  96.3 %" in lines[3]
    assert "hop 3 · age 212 ms · 2.1 messages/node · 0 % duplicate" in lines[4]
    assert "growth" in lines[5]


@pytest.mark.parametrize(
    ("missing", "age_s", "words"),
    [
        (1, 41.0, "1 silent node at its last known value"),
        (37, -1.0, "nothing is known of 37 silent nodes"),
        (1, -1.0, "nothing is known of 1 silent node "),
    ],
)
def test_the_picture_says_what_the_sum_was_filled_with(large, missing, age_s, words):
    assert words in drawn(replace(large, missing=missing, filled_age_s=age_s))


def test_the_largest_shares_are_listed_and_the_rest_summed_up(large):
    picture = drawn(large)

    assert "n418" in picture
    assert "41 220" in picture
    assert "3.4 %" in picture
    assert "… 960 more" in picture
    assert "1 122 800" in picture


@pytest.mark.parametrize("width", [10, 20, 40, 59, 60, 80, 200])
def test_the_picture_fits_the_terminal(large, width):
    assert max(len(line) for line in drawn(large, width).splitlines()) <= width


def test_forty_columns_are_enough_for_what_matters(large):
    picture = drawn(large, 40)

    for part in ("1 204 881", "1 251 102", "963/1000", "96.3 %", "hop 3", "n418"):
        assert part in picture


@pytest.mark.parametrize("width", range(32, 60, 7))
def test_no_number_is_cut_in_a_narrow_terminal(large, width):
    assert "1 204 881" in drawn(large, width)
    assert "963/1000" in drawn(large, width)


def test_the_narrowest_terminal_gets_every_digit_on_as_many_lines_as_it_takes(large):
    assert drawn(large, 10).replace("\n", " ").split()[:4] == ["1", "204", "881", "963/1000"]


def test_nothing_is_called_filled_when_nobody_is_silent(make_answer):
    assert "filled" not in drawn(make_answer())


@pytest.mark.parametrize(
    ("count", "high", "told"),
    [
        (1, 40, "in doubt 1                increment parked, at most 40 in all"),
        (2, None, "in doubt 2                increments parked"),
    ],
)
def test_the_picture_shows_what_is_parked_and_may_yet_count(make_answer, count, high, told):
    lines = drawn(make_answer(uncertain=count, high=high)).splitlines()

    assert [line for line in lines if told in line]
    assert "in doubt" not in drawn(make_answer())


def test_on_a_pipe_a_partial_answer_says_what_is_uncertain(make_answer):
    assert plain_line(make_answer(uncertain=3)).endswith("  3 uncertain")


def test_an_answer_nobody_gave_yet_can_be_drawn(make_answer):
    empty = make_answer(value=0, answered=0, members=0, messages=0, complete=False)

    assert "0/0" in drawn(empty, history=())


def test_negative_totals_can_be_drawn(make_answer):
    top = (("n1", -5, 0, 1.0), ("n2", 3, 1, 2.0))

    assert "-2" in drawn(make_answer(value=-2, top=top))


def test_strings_from_outside_are_harmless(make_answer):
    picture = drawn(
        make_answer(origin="[/nope]\x1b[2J", top=(("\u202e[red]", 1, 1, 1.0),)), key="[b]"
    )

    assert "\x1b" not in picture
    assert "\u202e" not in picture
    assert "[b]" in picture
    assert "[/nope]" in picture


def test_the_same_answer_makes_the_same_picture(large):
    assert drawn(large) == drawn(large)


@pytest.mark.parametrize(
    ("history", "bars"),
    [
        ((), ""),
        ((0, 0), ""),
        ((8, 8, 16), "█▁█"),
        ((1, 3, 7, 15), "▂▃▅█"),
        ((5, 3, 3), "█▁▁"),
    ],
)
def test_growth_is_what_each_frame_brought(history, bars):
    assert sparkline(history, 24) == bars


def test_growth_shows_the_last_frames_only():
    assert len(sparkline(tuple(range(100)), 24)) == 24


def test_the_last_line_says_why_it_ended_and_who_is_missing(large):
    rows = [(f"n{n}", DEAD, None, -1.0, "") for n in (3, 8, 9)]

    assert verdict(Outcome("views", large, rows)).plain == (
        "converged; n3, n8 +35 silent (`--missing` names them)"
    )


def test_the_last_line_of_a_complete_answer_says_that(make_answer):
    assert verdict(Outcome("views", make_answer())).plain.startswith("complete: 37   4/4 nodes")


def test_on_a_pipe_a_partial_answer_is_one_plain_line(large):
    assert plain_line(large) == "1 204 881  963/1000 nodes  96.3 %  212 ms"


@pytest.mark.slow
def test_the_picture_in_the_docs_is_the_one_that_is_drawn(large, recorded):
    rows = [("n733", DEAD, 11_002, 41.0, "no answer"), ("n902", DEAD, 9, 3.0, "no answer")]
    outcome = Outcome("views", large, rows)

    recorded("docs/live.svg", picture_svg(outcome, HISTORY, "counter query views --live"))


def change(per_s, *by_member, is_whole=True):
    return Change(0.5, round(per_s / 2), 3, is_whole, by_member)


def test_the_rounds_of_a_watch_share_one_screen_and_growth_is_what_they_counted(make_answer):
    console = Console(width=80, file=io.StringIO(), force_terminal=True, _environ={})
    screen = PanelScreen("views", console)
    screen.start()
    for value, told in ((100, None), (110, change(10)), (150, change(40))):
        screen.frame(make_answer(value=value, end=False))
        screen.round(Outcome("views", make_answer(value=value)), told)
    screen.stop()

    seen = console.file.getvalue()

    assert "▃█" in seen  # 10, then 40
    assert "complete:" not in seen


def watched(answer, told, width=80) -> str:
    console = Console(record=True, width=width, file=io.StringIO(), _environ={})
    console.print(panel("views", answer, (3.0, 12.5), width, change=told, is_watch=True))
    return console.export_text()


def test_a_watch_shows_the_rate_and_who_counted(large):
    picture = watched(large, change(124, ("n733", 50), ("n418", 10), ("n1", 1), ("n2", 1)))

    assert "rate +124/s" in picture
    assert "exact, over 500 ms" in picture
    assert "changed n733 +50, n418 +10, n1 +1 and 1 more" in picture
    rows = {line.split()[1]: line for line in picture.splitlines() if line[2:3] == "n"}
    assert "9 857     +50" in rows["n733"]
    assert "+" not in rows["n007"]


def test_a_rate_over_some_of_the_nodes_says_so(large):
    picture = watched(large, change(7, is_whole=False))

    assert "of 3 nodes heard both times, over 500 ms" in picture
    assert "changed" not in picture


@pytest.mark.parametrize("width", [32, 40, 59, 60, 80])
def test_the_picture_of_a_watch_fits_the_terminal(large, width):
    lines = watched(large, change(1_240_000, ("n418", 999_999), ("n1", 5)), width).splitlines()

    assert max(len(line) for line in lines) <= width
    assert any("+1 240 000/s" in line for line in lines)


@pytest.mark.parametrize(
    ("rates", "shown"), [((), ""), ((0.0,), ""), ((-5.0, 10.0), "▁█"), ((0.2, 0.1), "█▅")]
)
def test_rates_are_bars_and_what_fell_stands_at_the_bottom(rates, shown):
    assert bars(rates, 24) == shown


def test_on_a_pipe_a_round_is_a_line_with_its_rate(make_answer, capsys):
    PlainScreen().round(Outcome("views", make_answer()), change(124))

    line = "37   4/4 nodes · 8 ms · 2 hops · 8 messages · +124/s"
    assert capsys.readouterr().out == f"{line}\n"
