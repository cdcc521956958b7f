"""Whatever comes from outside can neither move a cursor nor forge a line."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.text import is_printable, printable

any_text = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain text", "plain text"),
        ("größe ✓", "größe ✓"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r\tc\0", "a\\x0ab\\x0d\\x09c\\x00"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("", ""),
    ],
    ids=["plain", "letters", "escape", "breaks", "csi", "bidi", "line", "surrogate", "tag", "none"],
)
def test_unsafe_characters_are_written_out(raw, shown):
    assert printable(raw) == shown


@given(any_text, st.integers(1, 40))
def test_what_is_printable_is_safe_and_no_wider_than_asked_for(raw, width_max):
    shown = printable(raw, width_max)

    assert len(shown) <= width_max
    assert is_printable(shown)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode()


@given(any_text)
def test_safe_text_is_left_as_it_is(raw):
    assert (printable(raw, 10_000) == raw) == is_printable(raw)


def test_what_is_cut_says_so():
    assert printable("x" * 300) == "x" * 255 + "…"
    assert printable("\0" * 300, 10) == "\\x00\\x00\\…"
