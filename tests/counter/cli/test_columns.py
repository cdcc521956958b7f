"""Tables on terminals of any width: everything is there, and nothing is broken in two."""

import pytest

from counter.cli.columns import cell_width, lines

TABLE = [
    ["name", "address", "note"],
    ["n1", "127.0.0.1:7401", ""],
    ["n2~05ee5e2c", "127.0.0.1:34665", "given up by an operator"],
]


def test_what_fits_stands_in_columns_and_ends_with_its_last_letter():
    assert lines(TABLE, 80) == [
        ["name         address          note"],
        ["n1           127.0.0.1:7401"],
        ["n2~05ee5e2c  127.0.0.1:34665  given up by an operator"],
    ]


def test_on_a_pipe_a_row_is_one_line_however_long():
    assert lines([["n1", "x" * 500]], None) == [["n1  " + "x" * 500]]


def test_a_last_cell_that_is_too_long_goes_on_below_and_no_other_row_does():
    assert lines(TABLE, 40) == [
        ["name         address          note"],
        ["n1           127.0.0.1:7401"],
        ["n2~05ee5e2c  127.0.0.1:34665", "  given up by an operator"],
    ]


def test_where_columns_have_no_room_beside_each_other_all_rows_fold_alike():
    assert lines(TABLE, 24) == [
        ["name", "  address          note"],
        ["n1", "  127.0.0.1:7401"],
        ["n2~05ee5e2c", "  127.0.0.1:34665", "  given up by an", "  operator"],
    ]


@pytest.mark.parametrize("width", range(10, 61))
def test_every_line_fits_and_every_letter_is_there_at_any_width(width):
    table = [*TABLE, ["größe", "日本語:7401", "ключ is 日本語日本語日本語 long"]]

    shown = lines(table, width)

    assert all(cell_width(line) <= width for row in shown for line in row)
    for row, cells in zip(shown, table, strict=True):
        assert "".join("".join(row).split()) == "".join("".join(cells).split())


def test_wide_letters_take_two_columns_and_accents_none():
    assert [cell_width(text) for text in ("n1", "größe", "日本", "e\u0301")] == [2, 5, 4, 1]
    assert lines([["日本", "x"], ["n1", "y"]], 80) == [["日本  x"], ["n1    y"]]


def test_a_table_without_rows_has_no_lines():
    assert lines([], 80) == []
