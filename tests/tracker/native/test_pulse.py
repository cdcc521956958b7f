"""A pulse gives a standing answer where the Python says that it stands, and nowhere else."""

import gc
import weakref
from collections import deque
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.again import Standing, same
from tracker.native import extension

NATIVE: Any = extension("tracker.native.pulse")

pytestmark = pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")

FRAME, REPLY = b"\0\0\0\4beat", b"\0\0\0\2ok"


class Desk:
    """Something that has a state; `price` cannot always be read."""

    def __init__(self) -> None:
        self.state: Any = 10**6
        self.name: Any = "n1"
        self.open: Any = deque()
        self.until: Any = 9.0
        self.heard_at, self.due = 0.0, 0.0
        self.count: Any = 0
        self.has_price = True

    @property
    def price(self) -> int:
        if not self.has_price:
            raise ValueError("there is none")
        return 7

    def standing(self) -> Standing:
        return same(self, "state", "name", "price").joined(
            Standing(
                empty=(self.open,),
                later=((self, "until"),),
                noted=((self, "heard_at", 0.0), (self, "due", 2.5)),
                counted=((self, "count"),),
            )
        )


class Places:
    """Slots, which are read and written where they are, and not by their names."""

    __slots__ = ("count", "due", "has_price", "heard_at", "name", "open", "state", "until")


class Slotted(Places, Desk):
    """The same, and what it is made of has slots."""


class Stream:
    """What a pulse is put before: it notes what reaches it, and what is written."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.now = desk, 1.0
        self.missed: list[bytes] = []
        self.written: list[bytes] = []
        self.received = NATIVE.Pulse(self.missed.append, lambda: self.now)
        self.stand(desk.standing())

    def stand(self, standing: Standing) -> None:
        parts = (standing.same, standing.empty, standing.later, standing.noted, standing.counted)
        self.received.stand(FRAME, REPLY, self.written.append, *parts)


class Twin(Stream):
    """The same in Python."""

    def stand(self, standing: Standing) -> None:
        self.standing: Standing | None = standing
        self.received = self.receive

    def receive(self, data: bytes) -> None:
        standing, self.standing = self.standing, None
        is_held = standing is not None and data == FRAME and holds(standing, self.now)
        if standing is not None and is_held and noted(standing, self.now):
            self.standing = standing
            self.written.append(REPLY)
        else:
            self.missed.append(data)


def holds(standing: Standing, now: float) -> bool:
    """Return whether it holds; what cannot be looked at does not."""
    try:
        return standing.holds(now)
    except (TypeError, ValueError, AttributeError):
        return False


def noted(standing: Standing, now: float) -> bool:
    """Return whether all was noted that an answer changes."""
    try:
        standing.note(now)
    except AttributeError:
        return False
    return True


BACK = {"state": 10**6, "until": 9.0, "count": 0}
"""What may be gone, and what it is when it is put back."""

CHANGES = st.one_of(
    st.tuples(st.just("state"), st.sampled_from([10**6, 10**6 + 1, -1, 1e6, True, None, "1"])),
    st.tuples(st.just("name"), st.sampled_from(["n1", "n2", None, 5])),
    st.tuples(st.just("until"), st.sampled_from([0.5, 1.0, 5.0, float("inf"), float("nan")])),
    st.tuples(st.just("has_price"), st.booleans()),
    st.tuples(st.just("gone"), st.sampled_from(["state", "until", "count"])),
    st.tuples(st.just("open"), st.integers(0, 2)),
    st.tuples(st.just("now"), st.sampled_from([1.0, 2.0, 6.0])),
    st.tuples(st.just("stand"), st.none()),
    st.tuples(st.just("frame"), st.one_of(st.just(FRAME), st.binary(max_size=12))),
    st.tuples(st.just("frame"), st.sampled_from([FRAME, FRAME[:-1], FRAME + b"\0", b""])),
)


@pytest.mark.parametrize("kind", [Desk, Slotted])
@given(changes=st.lists(CHANGES, max_size=25))
def test_a_pulse_answers_misses_and_notes_what_its_python_does(
    kind: type[Desk], changes: list[Any]
):
    native, twin = Stream(kind()), Twin(kind())
    for what, value in changes:
        for stream in (native, twin):
            if what == "frame":
                stream.received(value)
            elif what == "stand":
                stream.desk.has_price = True
                for name, back in BACK.items():
                    setattr(stream.desk, name, getattr(stream.desk, name, back))
                stream.stand(stream.desk.standing())
            elif what == "gone":
                with suppress(AttributeError):
                    delattr(stream.desk, value)
            elif what == "now":
                stream.now = value
            elif what == "open":
                stream.desk.open.clear()
                stream.desk.open.extend(range(value))
            else:
                setattr(stream.desk, what, value)

        assert native.received.stands is (twin.standing is not None)
        assert (native.written, native.missed) == (twin.written, twin.missed)
        for name in ("heard_at", "due", "count"):
            assert getattr(native.desk, name, None) == getattr(twin.desk, name, None)


@pytest.mark.parametrize("kind", [Desk, Slotted])
@pytest.mark.parametrize("name", BACK)
def test_what_is_gone_does_not_hold(kind: type[Desk], name: str):
    stream = Stream(kind())
    delattr(stream.desk, name)

    stream.received(FRAME)

    assert (stream.written, stream.missed) == ([], [FRAME])
    assert not stream.received.stands


def test_what_cannot_be_changed_is_left_to_the_stream():
    stream = Stream(Desk())
    stream.desk.count = None

    stream.received(FRAME)

    assert (stream.written, stream.missed) == ([], [FRAME])
    assert not stream.received.stands


def test_what_the_stream_raises_is_raised():
    def broken(data: bytes) -> None:
        raise RuntimeError("the stream is gone")

    desk = Desk()
    pulse = NATIVE.Pulse(broken, lambda: 1.0)
    with pytest.raises(RuntimeError, match="the stream is gone"):
        pulse(FRAME)

    pulse.stand(FRAME, REPLY, broken, *[()] * 5)
    with pytest.raises(RuntimeError, match="the stream is gone"):
        pulse(FRAME)
    assert desk.count == 0


def test_a_standing_that_is_ended_while_it_is_looked_at_is_safe():
    class Ending(Desk):
        @property
        def price(self) -> int:
            if self.has_price:
                return 7
            stream.stand(Standing())
            stream.received.__init__(stream.missed.append, lambda: 1.0)
            gc.collect()
            return 7

    stream = Stream(Ending())
    stream.desk.has_price = False

    stream.received(FRAME)

    assert stream.written + stream.missed in ([REPLY], [FRAME])
    assert not stream.received.stands or stream.written


def test_a_standing_whose_end_lets_another_stand_is_safe():
    class Last:
        def __del__(self) -> None:
            pulse.stand(FRAME, REPLY, written.append, ((self, "name", None),), *[()] * 4)

        name = None

    written: list[bytes] = []
    missed: list[bytes] = []
    pulse = NATIVE.Pulse(missed.append, lambda: 1.0)
    for data in (FRAME, b"another one"):
        pulse.stand(FRAME, REPLY, written.append, ((Last(), "name", None),), *[()] * 4)
        pulse.stand(FRAME, REPLY, written.append, *[()] * 5)
        pulse.stand(FRAME, REPLY, written.append, ((Last(), "name", None),), *[()] * 4)
        pulse(data)
        pulse(FRAME)

    assert (written, missed) == ([REPLY] * 3, [b"another one"])


@pytest.mark.parametrize(
    "parts",
    [
        (),
        ("no bytes", REPLY, print, (), (), (), (), ()),
        (FRAME, REPLY, print, [], (), (), (), ()),
        (FRAME, REPLY, print, ((1, 2, 3),), (), (), (), ()),
        (FRAME, REPLY, print, ((1, "a"),), (), (), (), ()),
        (FRAME, REPLY, print, (), None, (), (), ()),
        (FRAME, REPLY, print, (), (), ((1, "a", 1),), (), ()),
        (FRAME, REPLY, print, (), (), (), ((1, "a", 1),), ()),
        (FRAME, REPLY, print, (), (), (), (), ("ab",)),
    ],
    ids=str,
)
def test_what_is_no_standing_is_refused(parts: Any):
    pulse = NATIVE.Pulse(print, print)

    with pytest.raises(TypeError):
        pulse.stand(*parts)

    assert not pulse.stands


def test_a_pulse_nobody_has_made_takes_nothing_and_breaks_nothing():
    pulse = NATIVE.Pulse.__new__(NATIVE.Pulse)

    assert pulse(FRAME) is None
    pulse.stand(FRAME, REPLY, print, *[()] * 5)
    assert pulse(FRAME) is None


def test_a_stream_that_holds_its_pulse_is_collected():
    stream = Stream(Desk())
    stream.received = NATIVE.Pulse(stream.stand, lambda: 1.0)
    stream.received.stand(FRAME, REPLY, stream.stand, *[()] * 5)
    trace = weakref.ref(stream)

    del stream
    gc.collect()

    assert trace() is None
