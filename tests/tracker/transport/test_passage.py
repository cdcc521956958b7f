"""What every frame passes: the native part of a stream calls, writes and keeps what Python does."""

import gc
import sys
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.native import extension
from tracker.transport.passage import PlainPassage

NATIVE: Any = extension("tracker.native.passing")

pytestmark = pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")


class Streams:
    """What `TcpStreams` is to a stream, noting what it is told."""

    def __init__(self, story: list[Any]) -> None:
        self.story = story
        self._unflushed: list[Any] = []
        self._alone: Any = None

    def is_alone(self, stream: Any) -> bool:
        return stream is self._alone and not self._unflushed

    def flush_soon(self, stream: Any) -> None:
        if not self._unflushed:
            self.story.append("the turn's end is asked for")
        self._unflushed.append(stream)


class Reader:
    is_midway = False


class Transport:
    def __init__(self, story: list[Any]) -> None:
        self.story = story
        self.error: Exception | None = None

    def write(self, frames: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.story.append(("written", frames))


def stream_of(base: Any) -> Any:
    """Return a stream over a base, with all that it stands on."""

    class Stream(base):  # type: ignore[misc]
        def data_came(self, data: bytes) -> None:
            self.story.append(("came", data))

        def wrote_unread(self) -> None:
            self.story.append("unread")

    def express(link: int, frame: bytes) -> bytes | None:
        stream.story.append(("asked", link, frame))
        return {b"n": None, b"e": b""}.get(frame[:1], frame)

    stream = Stream()
    stream.story = []
    stream.streams, stream.reader = Streams(stream.story), Reader()
    stream.express, stream.link, stream.transport = express, 7, Transport(stream.story)
    stream.is_greeted, stream.is_over, stream.is_unread, stream.unsent = True, False, False, []
    return stream


def act(stream: Any, step: Any) -> None:
    if isinstance(step, bytes):
        stream.data_received(step)
        return
    name, what = step
    if name == "call":
        stream.send(b"sent") if what == "send" else getattr(stream, what)()
    elif name == "write":
        stream.write(b"written")
    elif name == "alone":
        stream.streams._alone = stream if what else None
    elif name == "drained":
        stream.streams._unflushed = [object()] if what else []
    elif name == "midway":
        stream.reader.is_midway = what
    elif name == "broken":
        (stream.transport or Transport([])).error = RuntimeError("gone") if what else None
    elif name == "lost":
        stream.transport = None if what else Transport(stream.story)
    elif name == "mute":
        stream.express = None if what else stream.express
    else:
        setattr(stream, name, what)


steps = st.one_of(
    st.sampled_from([b"n", b"e", b"reply", b"", b"another"]),
    st.sampled_from([b"reply", b"again"]),
    st.tuples(st.just("call"), st.sampled_from(["send", "flush"])),
    st.tuples(
        st.sampled_from(
            [
                *("write", "alone", "drained", "midway", "broken", "lost", "mute"),
                *("is_greeted", "is_over", "is_unread"),
            ]
        ),
        st.booleans(),
    ),
)


@given(st.lists(steps, max_size=40))
def test_a_native_stream_does_what_one_in_python_does_in_the_same_order(script: list[Any]):
    plain, native = stream_of(PlainPassage), stream_of(NATIVE.Passage)
    for step in script:
        for stream in (plain, native):
            act(stream, step)

        assert native.story == plain.story
        assert native.unsent == plain.unsent
        assert len(native.streams._unflushed) == len(plain.streams._unflushed)


@pytest.mark.parametrize("name", ["express", "streams", "unsent", "transport", "is_unread"])
@pytest.mark.parametrize("deed", ["data_received", "send", "write"])
def test_a_stream_that_was_not_set_up_says_so(name: str, deed: str):
    stream = stream_of(NATIVE.Passage)
    delattr(stream, name)

    with pytest.raises(AttributeError):
        getattr(stream, deed)(b"reply")
    with pytest.raises(AttributeError):
        stream.flush()


@pytest.mark.parametrize("name", ["unsent", "is_unread", "link"])
def test_a_part_that_is_taken_away_by_whoever_is_called_is_missed(name: str):
    stream = stream_of(NATIVE.Passage)

    def express(link: int, frame: bytes) -> bytes:
        delattr(stream, name)
        return frame

    stream.express = express

    with pytest.raises(AttributeError):
        stream.data_received(b"reply")


@pytest.mark.parametrize("base", ["plain", "native"])
def test_what_goes_wrong_below_is_not_swallowed(base: str):
    stream = stream_of(PlainPassage if base == "plain" else NATIVE.Passage)
    stream.transport.error = ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        stream.write(b"frames")
    stream.express = lambda link, frame: 1 // 0
    with pytest.raises(ZeroDivisionError):
        stream.data_received(b"reply")


def test_a_stream_that_nobody_holds_is_collected_with_all_it_held():
    stream = stream_of(NATIVE.Passage)
    trace, reply = weakref.ref(stream), b"a reply of its own"
    before = sys.getrefcount(reply)
    stream.send(reply)

    del stream
    gc.collect()

    assert trace() is None
    assert sys.getrefcount(reply) == before


def test_nothing_is_left_of_frames_that_passed():
    stream = stream_of(NATIVE.Passage)
    stream.express = lambda link, frame: frame
    before = sys.getrefcount(stream), len(gc.get_objects())
    for _ in range(2_000):
        stream.data_received(b"reply")
        stream.data_received(b"another")
        stream.streams._unflushed.clear()
        stream.flush()
        stream.story.clear()
    gc.collect()

    assert sys.getrefcount(stream) == before[0]
    assert abs(len(gc.get_objects()) - before[1]) < 50
