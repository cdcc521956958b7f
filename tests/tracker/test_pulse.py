"""The bytes of a pulse: what the codec would make, and what it would read from them."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.errors import FrameError
from tracker.messages import MEMBERSHIP, Beat, Heartbeat
from tracker.pages import EMPTY_PAGE
from tracker.pulse import activity_in, beat_body, heartbeat_body

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
EDGES = st.sampled_from([0, 127, 128, 255, 256, 2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**64 - 1])


def test_a_heartbeat_without_news_is_what_the_codec_makes_of_it():
    assert heartbeat_body(b"tracker1", 300) == MEMBERSHIP.encode(
        Heartbeat(b"tracker1", 300, 300, EMPTY_PAGE)
    )


@given(U32, U32, U64 | EDGES)
def test_a_beat_is_what_the_codec_makes_of_it_and_its_activity_is_read_back(
    version, incarnation, activity
):
    body = beat_body(version, incarnation, activity)

    assert body == MEMBERSHIP.encode(Beat(version, incarnation, activity))
    assert activity_in(body, version, incarnation) == activity
    assert activity_in(body, version + 1, incarnation) is None
    assert activity_in(body, version, incarnation + 1) is None


@given(st.binary(max_size=10))
def test_no_bytes_are_read_otherwise_than_the_codec_reads_them(tail):
    body = beat_body(7, 1, 0)[:-1] + tail

    activity = activity_in(body, 7, 1)

    if activity is not None:
        assert MEMBERSHIP.decode(body) == Beat(7, 1, activity)


@pytest.mark.parametrize("value", [-1, 1.0, True, None, "1", b"1", [1], {}], ids=repr)
def test_what_is_no_activity_is_left_to_the_codec_to_refuse(value):
    body = beat_body(7, 1, 0)[:-1] + msgpack.packb(value)

    assert activity_in(body, 7, 1) is None
    with pytest.raises(FrameError):
        MEMBERSHIP.decode(body)
