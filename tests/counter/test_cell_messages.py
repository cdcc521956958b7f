"""The messages of cells refuse what they do not mean; and how their settings are checked."""

from dataclasses import replace

import pytest

from counter.config import LAN
from counter.messages import GOSSIP, Ack, Batch, Delegate
from tracker import wire
from tracker.errors import ConfigError, FrameError

BATCH = Batch(b"q" * 16, 1, 2, 3, 1, 5, 9, 7, 6, 5, 4, bytes(32), (1, 2, 3, 4, 5, 6), bytes(8), b"")
ACK = Ack(b"q" * 16, 1, 2, 1, 5, 9, (7,))
DELEGATE = Delegate(b"q" * 16, 5, "k", ("10.0.0.1", 1), 3, 1, 2, 9, 5_000, 0, 5, 9, (), ())


def sent(message, **changes):
    return GOSSIP.decode(GOSSIP.encode(replace(message, **changes)))


def test_the_rows_of_a_batch_come_back_as_they_went():
    assert sent(BATCH).rows() == [(0, bytes(8), 1, 2, 3, 0), (0, bytes(8), 4, 5, 6, 0)]


@pytest.mark.parametrize("message", [BATCH, ACK, DELEGATE])
def test_an_arc_that_ends_before_it_begins_is_refused(message):
    assert sent(message, high=2**64) == replace(message, high=2**64)
    with pytest.raises(FrameError, match="an arc that ends before it begins"):
        sent(message, high=5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"identities": bytes(17)}, "wanted rows, got 17 bytes and 6 numbers"),
        ({"numbers": (1, 2, 3)}, "wanted rows, got 32 bytes and 3 numbers"),
        ({"numbers": (-1, 2, 3, 4, 5, 6)}, "an epoch beyond"),
        ({"numbers": (1, 2, 2**16, 4, 5, 6)}, "an age or flags beyond"),
        ({"silent": bytes(9)}, "wanted positions of 8 bytes each"),
        ({"cut": bytes(7)}, "wanted positions of 8 bytes each"),
        ({"sequence": 4_096}, "wanted a whole number"),
    ],
)
def test_a_batch_whose_parts_do_not_fit_is_refused(changes, words):
    with pytest.raises(FrameError, match=words):
        sent(BATCH, **changes)


def test_a_batch_that_ends_too_soon_is_refused():
    *most, _ = wire.unpacked(GOSSIP.encode(BATCH))

    with pytest.raises(FrameError, match="Batch has 16 fields, got 15"):
        GOSSIP.decode(wire.packed(most))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cell_members_max": 1}, "cell-members-max is 1, needs at least 2"),
        ({"cells_max": -1}, "cells-max is -1, needs at least 0"),
        ({"arcs_max": 0}, "arcs-max is 0, needs at least 1"),
        ({"direct_max": 0}, "direct-max is 0, needs at least 1"),
    ],
)
def test_settings_of_cells_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        replace(LAN, **changes)
