"""Long lists are cut into pages that fit a frame, whatever is written in the notes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.members import Member, View
from tracker.messages import LISTED_PER_PAGE, MEMBERSHIP, NEWS_PER_PAGE, Heartbeat, Listed
from tracker.pages import PAGE_MEMBERS_MIN, cut, news_to_wire, pages_of
from tracker.wire import FRAME_BYTES_MAX

HOST = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"
BIG = Member("", b"s" * 16, 2**32 - 1, 2**32 - 1, 2**32 - 1, HOST, 65_535, 4, True)


@pytest.mark.slow
@given(st.integers(0, 400), st.sampled_from(["x", "ü", "\N{SNOWMAN}", "\N{GRINNING FACE}"]))
def test_pages_fit_a_frame_and_only_the_last_is_short(length, character):
    note = character * length
    members = [replace(BIG, name=f"n{i:063}", note=note) for i in range(NEWS_PER_PAGE + 40)]

    pages = list(cut(members))

    assert [m for page in pages for m in page] == members
    for page in pages:
        assert len(page) <= NEWS_PER_PAGE
        heartbeat = Heartbeat(b"tracker1", 2**32 - 1, 2**32 - 1, news_to_wire(page))
        listed = Listed(2**64 - 1, True, tuple([(m, 1.0, 2**63) for m in page]))
        assert len(page) <= LISTED_PER_PAGE
        assert len(MEMBERSHIP.encode(heartbeat)) <= FRAME_BYTES_MAX
        assert len(MEMBERSHIP.encode(listed)) <= FRAME_BYTES_MAX
    assert all(len(page) > PAGE_MEMBERS_MIN for page in pages[:-1])


def test_nobody_fills_no_page():
    assert list(cut([])) == []


def test_equal_views_are_taught_in_the_same_bytes():
    members = [replace(BIG, name=f"n{i}") for i in range(5)]

    view, other = View().merged(members), View().merged(members[::-1])

    assert pages_of(view) == pages_of(other)
