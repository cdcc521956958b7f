"""What a client may send and a node may say, held to its bounds where it is decoded."""

import pytest

from counter.messages import DOOR, GOSSIP, Epochs, Increment
from tracker.errors import FrameError
from tracker.wire import AMOUNT_MAX, packed


@pytest.mark.parametrize("amount", [AMOUNT_MAX + 1, -AMOUNT_MAX - 1, True, 1.0, "1"])
def test_an_amount_that_is_none_is_refused_in_plain_words(amount):
    body = packed([Increment.TAG, b"s" * 16, 1, ["k", amount], 0])

    with pytest.raises(FrameError, match="an amount is a whole number up to 2\\^53-1, got"):
        DOOR.decode(body)


@pytest.mark.parametrize("pairs", [[], ["k"], ["k", 1, "m"], "k1"])
def test_what_are_no_pairs_is_refused_in_plain_words(pairs):
    with pytest.raises(FrameError, match="wanted pairs of key and amount, got"):
        DOOR.decode(packed([Increment.TAG, b"s" * 16, 1, pairs, 0]))


@pytest.mark.parametrize("marks", [b"x" * 13, b"x" * 12_000, "marks"])
def test_what_are_no_marks_of_resets_is_refused_in_plain_words(marks):
    body = packed([Epochs.TAG, b"q" * 16, [["k", 1, marks]], False, "", ""])

    with pytest.raises(FrameError, match="wanted marks of 12 bytes each, got"):
        GOSSIP.decode(body)
