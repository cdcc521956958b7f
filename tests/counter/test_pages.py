"""Shares cut into pages: everything in it once, and each fits a frame."""

import pytest

from counter.crdt import Share
from counter.messages import PAGE_BYTES_MAX, PAGE_ROWS_MAX, Page, share_rows
from counter.messages.door import DOOR
from counter.pages import pages_of_share
from tracker import wire
from tracker.errors import FrameError

STORE = b"s" * 16


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda number: f"{number}", id="short keys"),
        pytest.param(lambda number: f"{number:0256}", id="the longest keys"),
        pytest.param(lambda number: "ü" * 100 + f"{number:04}", id="keys of two bytes a letter"),
    ],
)
def test_every_key_is_on_one_page_and_every_page_fits_a_frame(key):
    share = Share(3)
    for number in range(1_100):
        share.add(key(number), 2**61 + number)
        share.add(key(number), -(2**61))

    pages = list(pages_of_share(STORE, share))

    told = {}
    for number, (body, keys) in enumerate(pages):
        store, epoch, rows = share_rows(wire.unpacked(body))
        assert (store, epoch, len(rows)) == (STORE, 3, keys)
        assert len(body) <= PAGE_BYTES_MAX
        assert keys <= PAGE_ROWS_MAX
        assert DOOR.decode(DOOR.encode(Page(number, body))) == Page(number, body)
        told.update({key: (up, down) for key, up, down in rows})
    assert told == {key: (up, down) for key, up, down in share.rows()}


def test_a_name_that_is_let_go_of_meanwhile_is_left_out():
    share = Share(1)
    for number in range(3 * PAGE_ROWS_MAX):
        share.add(f"{number}", 1)
    pages = pages_of_share(STORE, share)
    keys = next(pages)[1]
    del share.positive[f"{3 * PAGE_ROWS_MAX - 1}"]

    assert keys + sum(count for _, count in pages) == 3 * PAGE_ROWS_MAX - 1


def test_an_empty_share_has_no_page():
    assert list(pages_of_share(STORE, Share(1))) == []


BAD = {
    "not a list": 5,
    "too few fields": ["share", STORE, 1],
    "rows that are no list": ["share", STORE, 1, 5],
    "half a row": ["share", STORE, 1, ["k", 1]],
    "a key that is none": ["share", STORE, 1, ["", 1, 0]],
    "a negative total": ["share", STORE, 1, ["k", -1, 0]],
    "a short store": ["share", b"s", 1, ["k", 1, 0]],
    "an epoch that is none": ["share", STORE, -1, ["k", 1, 0]],
}


@pytest.mark.parametrize("values", BAD.values(), ids=BAD)
def test_what_is_no_page_of_counts_is_refused(values):
    with pytest.raises(FrameError):
        share_rows(values)
