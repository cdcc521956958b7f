"""Pictures in letters: as wide as they were told, with their scale, and to be read."""

import pytest

from loadtest import glyphs, graphs
from loadtest.curves import SHARES, Curves
from loadtest.latency import Histogram


def test_a_rising_line_rises_from_the_lower_left_to_the_upper_right():
    drawn = glyphs.dots([[(0.0, 0.0), (1.0, 1.0)]], 4, 2, 1.0, 1.0)

    assert drawn == ["⠀⠀⡠⠊", "⡠⠊⠀⠀"]


def test_a_line_that_jumps_has_no_gap_and_what_is_outside_stays_at_the_edge():
    (column,) = zip(*glyphs.dots([[(0.0, -5.0), (0.0, 99.0)]], 1, 3, 1.0, 1.0), strict=True)

    assert column == ("⡇", "⡇", "⡇")


def test_a_single_point_is_seen():
    assert glyphs.dots([[(0.0, 0.0)]], 1, 1, 0.0, 1.0) == ["⡀"]


def test_a_plot_tells_where_its_axes_begin_and_end():
    lines = glyphs.plot("heard", [[(0.0, 0.0), (1_234.0, 100.0)]], 40, 4, unit="ms")

    assert lines[0] == "heard"
    assert lines[1].startswith("100 % ┤")
    assert lines[-2].startswith("  0 % ┤")
    assert lines[-1].strip().startswith("0")
    assert lines[-1].endswith(" 1 230 ms")
    assert {len(line) for line in lines[1:]} == {40}


def test_the_bars_of_a_histogram_are_as_long_as_they_are_many():
    lines = glyphs.bars("times", [(1, 2, 10), (2, 4, 5), (4, 8, 0), (8, 16, 1)], 40)

    assert lines[0] == "times"
    lengths = [line.count("█") for line in lines[1:]]
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=1)
    assert lengths[2:] == [0, lengths[0] // 10]
    assert [line.split()[-1] for line in lines[1:]] == ["10", "5", "0", "1"]
    assert {len(line) for line in lines[1:]} == {40}


def test_what_came_once_among_thousands_is_seen():
    lines = glyphs.bars("times", [(1, 2, 100_000), (2, 4, 1)], 40)

    assert "▏" in lines[2]


def test_too_many_bins_are_put_together_and_nothing_is_left_out():
    lines = glyphs.bars("times", [(n, n + 1, 1) for n in range(1, 24)], 40, rows_max=5)

    assert len(lines) == 1 + 3
    assert lines[1].startswith("  1 - 9 ")
    assert sum(int(line.split()[-1]) for line in lines[1:]) == 23


@pytest.mark.parametrize("columns", [0, 1, 10, 23])
def test_where_there_is_no_room_there_is_no_picture(columns):
    assert glyphs.plot("t", [[(0.0, 0.0)]], columns, 4, unit="ms") == []
    assert glyphs.bars("t", [(1, 2, 3)], columns) == []


@pytest.mark.parametrize("columns", [24, 40, 80, 120, 300])
def test_no_picture_of_a_run_is_wider_than_the_terminal(columns):
    curves = Curves()
    curves.add([float(share) for share in SHARES])
    curves.add([40.0 * share for share in SHARES])
    times = Histogram([float(n) for n in range(1, 100_000, 7)])

    lines = graphs.graphs(curves, times, times, columns)

    assert len(lines) > 15 if columns < 76 else len(lines) > 10
    assert max(map(len, lines)) <= columns


def test_a_run_of_nothing_has_no_pictures():
    assert graphs.graphs(Curves(), Histogram(), Histogram(), 80) == []


def test_a_run_whose_queries_were_all_the_same_has_one_line():
    curves = Curves()
    curves.add([float(share) for share in SHARES])

    assert graphs.coverage(curves, 80)[0] == "members heard"


@pytest.mark.parametrize("columns", [1, 10, 20, 40, 79])
def test_a_folded_line_keeps_every_word_and_fits(columns):
    line = "query (ms)     24.0    24.0    58.3      complete 1   " + "x" * 50

    pieces = glyphs.folded(line, columns)

    assert max(map(len, pieces)) <= columns
    assert "".join("".join(pieces).split()) == "".join(line.split())


def test_what_is_set_apart_stays_together_where_a_line_is_folded():
    assert glyphs.folded("query (ms)     24.0    58.3      complete 12", 40) == [
        "query (ms)     24.0    58.3",
        "         complete 12",
    ]
    assert glyphs.folded("short", 40) == ["short"]
