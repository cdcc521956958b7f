"""The native way of increments: the Python one, but faster; what it says, holds and keeps."""

import gc
import struct
import sys
import weakref
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scarce import half_way
from spoiled import spoiled, spoiled_at_random

from counter import counting, doorway
from counter.config import NodeConfig
from counter.crdt import Counters
from counter.ledger import Ledger
from counter.messages import ACK_DISK, ACK_MEMORY, DOOR, PAIRS_MAX, Increment
from counter.sessions import WINDOW_MAX
from tracker.machine import Persisted
from tracker.native import extension
from tracker.wire import SHARE_MAX, framed

NATIVE: Any = extension("counter.native.counting")
SETTLING: Any = extension("counter.native.settling")

pytestmark = pytest.mark.skipif(
    NATIVE is None or SETTLING is None, reason="NO NATIVE MODULES: not built here"
)

SESSION, OTHER = b"s" * 16, b"t" * 16
KEYS = ["hits", "misses", "clics-\u00e9", "k" * 31, "k" * 32, "\u4e16" * 50, "large", "long" * 64]


def make_ledger(*, durable: bool, operations_max: int = 1_000_000) -> Ledger:
    """Return a ledger that holds all KEYS, and has two clients at operation 1."""
    config = NodeConfig(name="n1", inflight_max=6, operations_max=operations_max)
    ledger = Ledger(config, Counters(b"x" * 16, 1), durable=durable)
    pairs = tuple([field for key in KEYS for field in (key, 5)])
    for session in (SESSION, OTHER):
        ledger.increment(1, Increment(session, 1, pairs, 0))
    if durable:
        ledger.persisted(Persisted(2))
    return ledger


class Side:
    """One ledger behind one way, and all that comes out of it."""

    def __init__(self, *, is_native: bool, durable: bool, **options: Any) -> None:
        self.ledger = make_ledger(durable=durable, **options)
        self.kept: list[Any] = []
        keep = self.kept.append
        if is_native:
            self.way = doorway.native(NATIVE, self.ledger, keep)
            self.acknowledge = doorway.native_acknowledgements(SETTLING, self.ledger)
        else:
            self.way = counting.increments(self.ledger, keep)
            self.acknowledge = counting.acknowledgements(self.ledger)

    def state(self) -> Any:
        ledger, own = self.ledger, self.ledger.counters.own
        sessions = ledger.sessions
        return (
            (list(own.positive.items()), own.negative, own.ceiling, ledger.operations),
            (list(sessions.rows()), sessions.operations, list(sessions._sessions)),
            (ledger.token, ledger.written, ledger._reserved, ledger._turns, self.kept),
            (ledger._followers, ledger._behind),
            [_told(one) for one in ledger._waiting],
            {identity: _told(one) for identity, one in ledger._underway.items()},
        )


def _told(one: Any) -> Any:
    return one.token, one.link, one.operation, one.pairs, one.counts_later, one.magnitude


def both(*, durable: bool, **options: Any) -> tuple[Side, Side]:
    return tuple([Side(is_native=flag, durable=durable, **options) for flag in (False, True)])  # type: ignore[return-value]


def frame_of(session: bytes, sequence: int, pairs: tuple[Any, ...], ack: int = 0) -> bytes:
    return framed(DOOR.encode(Increment(session, sequence, pairs, ack)))


amounts = st.integers(0, 3) | st.sampled_from([127, 128, 255, 256, 65_536, 2**32, 2**53 - 1, -1])
pairs = st.lists(st.tuples(st.sampled_from([*KEYS, "new"]), amounts), min_size=1, max_size=20)
steps = st.tuples(
    st.sampled_from([SESSION, OTHER]),
    st.sampled_from([0, 0, 0, 0, 1, -1]),
    pairs,
    st.sampled_from([0, 0, 0, ACK_MEMORY, ACK_DISK]),
)
damages = st.none() | st.tuples(
    st.sampled_from(["set", "cut", "insert", "append"]), st.integers(0, 400), st.binary(max_size=3)
)
events = st.sampled_from(
    [
        *("leave", "stay", "hold", "release", "rename", "fill", "retry", "common", "dropped"),
        *("safe", "safe", "safe", "safe, some of it", "settle all"),
    ]
)


def damaged(frame: bytes, damage: tuple[str, int, bytes] | None) -> bytes:
    """Return a frame with something done to it, half of the time with a fitting length."""
    if damage is None:
        return frame
    kind, where, what = damage
    at = where % len(frame)
    done = {
        "set": frame[:at] + what + frame[at + len(what) :],
        "cut": frame[:at],
        "insert": frame[:at] + what + frame[at:],
        "append": frame + what,
    }[kind]
    fits = where % 2 and len(done) >= 4
    return struct.pack(">I", len(done) - 4) + done[4:] if fits else done


def happen(side: Side, event: str) -> Any:
    """Have something happen to a node; returns what it says to it."""
    ledger = side.ledger
    if event.startswith("safe"):
        # Of all, or of all but the last two: a word in the middle of what waits.
        return side.acknowledge(Persisted(ledger.token - 2 * (event == "safe, some of it")))
    if event == "retry" and ledger.durable and ledger._waiting:
        session, sequence = ledger._waiting[-1].operation
        return ledger.increment(9, Increment(session, sequence, ledger._waiting[-1].pairs, 0))
    if event == "common":
        highest = ledger.sessions._sessions[OTHER].highest
        pairs = ("hits", -1) if highest % 3 else ("brand new", 1, "hits", 2)
        ack = ACK_MEMORY if highest % 2 else 0
        side.kept += ledger.increment(3, Increment(OTHER, highest + 1, pairs, ack))[:1]
    if event == "settle all" and ledger.durable:
        return ledger.persisted(Persisted(ledger.token))
    if event == "dropped":
        ledger.counters.drop(["misses"])
    if event in ("leave", "stay"):
        ledger.is_leaving = event == "leave"
    elif event in ("hold", "release"):
        ledger.is_held = event == "hold"
    elif event == "rename":
        ledger.counters.names["hits"] = "hits\0001"
        ledger.counters.own.add("hits\0001", 1)
    elif event == "fill":
        ledger.counters.own.add("large", SHARE_MAX - 100 - ledger.counters.own.positive["large"])
    return None


@pytest.mark.slow
@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "on disk"])
@given(st.lists(st.tuples(steps, damages) | events, max_size=30))
def test_both_ways_say_hold_and_keep_the_same_whatever_comes(durable: bool, script: list[Any]):
    plain, native = both(durable=durable)
    for step in script:
        if isinstance(step, str):
            assert happen(native, step) == happen(plain, step)
            assert native.state() == plain.state()
            continue
        (session, ahead, some, ack), damage = step
        sequence = plain.ledger.sessions._sessions[session].highest + 1 + ahead
        flat = tuple([field for pair in some for field in pair])
        frame = damaged(frame_of(session, sequence, flat, ack), damage)

        assert native.way(3, frame) == plain.way(3, frame)
        assert native.state() == plain.state()


TWO = b"\x94\xa4hits\x01\xa4hits\x02"
"""Two pairs as they are packed."""


@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize(
    ("sequence", "ending"),
    [
        pytest.param(b"\x02", TWO + b"\0", id="as it should be"),
        pytest.param(b"\xcc\x02", TWO + b"\0", id="a sequence of more bytes than it needs"),
        pytest.param(b"\xcd\0\x02", TWO + b"\0", id="of two more"),
        pytest.param(b"\xce\0\0\0\x02", TWO + b"\0", id="of four more"),
        pytest.param(b"\xcf" + bytes(7) + b"\x02", TWO + b"\0", id="of eight more"),
        pytest.param(b"\x02", TWO + b"\0\0", id="a sixth field"),
        pytest.param(b"\x02", TWO + b"\1\0", id="a field between"),
        pytest.param(b"\x02", TWO[:-1] + b"\0", id="an amount too few"),
        pytest.param(b"\x02", TWO[:-1] + b"\xcc\x02\0", id="an amount of one byte too many"),
        pytest.param(b"\x02", TWO[:-1] + b"\xcd\0\xff\0", id="of one of two"),
        pytest.param(b"\x02", TWO[:-1] + b"\xce\0\0\xff\xff\0", id="of two of four"),
        pytest.param(b"\x02", TWO[:-1] + b"\xcf" + bytes(4) + b"\xff" * 4 + b"\0", id="of four"),
        pytest.param(b"\x02", b"\x94\xd9\4hits\1\xa4hits\2\0", id="a key of one byte too many"),
        pytest.param(b"\x02", b"\x94\xda\0\4hits\1\xa4hits\2\0", id="of two too many"),
        pytest.param(b"\x02", b"\xdc\0\4" + TWO[1:] + b"\0", id="an array of too many bytes"),
        pytest.param(b"\x02", b"\x93" + TWO[1:] + b"\0", id="an odd number of fields"),
        pytest.param(b"\x02", b"\x95" + TWO[1:] + b"\0", id="one field too few"),
        pytest.param(b"\x02", b"\x90\0\0\0", id="no pair"),
        pytest.param(b"\x02", b"\x94\xa4hits\1\xbfhits\2\0", id="a key past the end"),
        pytest.param(b"\x02", b"\x94\xa4hits\1\xd9", id="a key without a length"),
        pytest.param(b"\x02", b"\x94\xa4hits\1\xa4hi\xffs\2\0", id="no text"),
        pytest.param(b"\x02", b"\x94\xa4hits\1\xa5hits\0\2\0", id="a NUL in a key"),
        pytest.param(b"\x02", TWO + b"\3", id="no such ack"),
    ],
)
def test_a_frame_packed_in_another_way_is_taken_by_both_or_by_none(
    durable: bool, sequence: bytes, ending: bytes
):
    plain, native = both(durable=durable)
    frame = framed(frame_of(SESSION, 2, ("hits", 1))[4:24] + sequence + ending)

    assert native.way(1, frame) == plain.way(1, frame)
    assert native.state() == plain.state()


SPOILT = {
    "one pair": ("hits", 1),
    "one pair of large numbers": ("k" * 32, 2**53 - 1),
    "two pairs": ("hits", 127, "clics-\u00e9", 300),
    "as many as take two bytes to say": ("hits", 2**32) + ("misses", 1) * 8,
}


class Clients:
    """Both sides of a node, and the next frame of a client whose operations are taken."""

    def __init__(self, durable: bool) -> None:
        self.durable = durable
        self.renew()

    def renew(self) -> None:
        self.plain, self.native = both(durable=self.durable)
        # What one pair means is learned by the Python, once.
        for pairs in SPOILT.values():
            self.compare(frame_of(OTHER, self.next(OTHER), pairs))

    def next(self, session: bytes) -> int:
        return self.plain.ledger.sessions._sessions[session].highest + 1

    def valid(self, name: str) -> bytes:
        return frame_of(SESSION, self.next(SESSION), SPOILT[name])

    def compare(self, frame: bytes) -> None:
        said = self.plain.way(3, frame)
        assert self.native.way(3, frame) == said
        if said is not None:
            assert self.native.state() == self.plain.state()
            for side in (self.plain, self.native) if self.durable else ():
                happen(side, "safe")


@pytest.mark.slow
@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize("name", SPOILT)
def test_a_frame_spoiled_in_any_way_is_taken_by_both_or_by_none(name: str, durable: bool):
    clients = Clients(durable)
    frame = clients.valid(name)

    for one in spoiled(frame[4:]):
        clients.compare(framed(one))
        clients.compare(frame[:4] + one)
        # What was done behind the sequence is also done to a frame of the client's next one.
        if clients.next(SESSION) > 0x7F:
            clients.renew()
        clients.compare(framed(frame[4:24] + bytes([clients.next(SESSION)]) + one[21:]))
    assert clients.native.state() == clients.plain.state()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8))
def test_frames_spoiled_at_random_are_taken_by_both_or_by_none(seed: int):
    dice, clients = Random(seed), Clients(durable=seed % 2 == 0)

    for number in range(50_000):
        valid = clients.valid(dice.choice([*SPOILT]))
        spoilt = spoiled_at_random(valid, dice, dice.choice([0, 4, 25]))
        clients.compare(dice.choice([spoilt, framed(spoilt[4:])]))
        if number % 200 == 0:
            assert clients.native.state() == clients.plain.state()
            clients.renew()


@pytest.mark.parametrize(
    "pairs",
    [
        ("hits", 300),
        ("hits", 300, "misses", 400),
        ("hits", 2**32, "large", 300) + ("hits", 600) * 9,
    ],
    ids=["one pair", "two pairs", "the same key again"],
)
def test_in_memory_all_of_an_increment_is_counted_or_nothing_where_memory_ends(pairs: Any):
    def make() -> Side:
        side = Side(is_native=True, durable=False)
        # Numbers that Python has not got made already.
        side.ledger.operations = side.ledger.sessions.operations = 1_000
        side.ledger.counters.own.ceiling = 2**40
        for sequence in (2, 3):
            assert side.way(3, frame_of(SESSION, sequence, pairs)) is not None
        side.before = side.state()  # type: ignore[attr-defined]
        return side

    frame, after = frame_of(SESSION, 4, pairs), make()
    after.way(3, frame)
    sides = [*half_way(make, lambda side: side.way(3, frame))]

    for side in sides:
        assert side.state() == side.before
        assert side.way(3, frame) is not None
        assert side.state() == after.state()
    assert len(sides) > 4


@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize("count", [2, 7, 8, 511, 512, 513, 514, 1_025, 10_000])
def test_a_batch_of_more_pairs_than_there_may_be_is_none_to_both(count: int, durable: bool):
    plain, native = both(durable=durable)
    frame = frame_of(SESSION, 2, ("hits", 1) * count)

    assert native.way(3, frame) == plain.way(3, frame)
    assert native.state() == plain.state()
    assert (native.ledger.sessions._sessions[SESSION].highest == 2) == (count <= PAIRS_MAX)


@given(st.binary(max_size=200))
def test_garbage_is_none_to_both(garbage: bytes):
    plain, native = both(durable=False)
    head = frame_of(SESSION, 2, ("hits", 1))[4:24]
    for frame in (garbage, framed(garbage), framed(head + garbage)):
        assert native.way(1, frame) == plain.way(1, frame)
    assert native.state() == plain.state()


@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize(
    "some",
    [
        ("hits", 1),
        ("hits", 300),
        ("hits", 1, "misses", 1),
        ("hits", 7, "hits", 0, "clics-\u00e9", 1),
    ],
    ids=["one", "much", "two", "one twice"],
)
def test_what_is_plain_is_taken_without_the_python(durable: bool, some: tuple[Any, ...]):
    side = Side(is_native=True, durable=durable)
    side.way(1, frame_of(SESSION, 2, some))
    asked: list[bytes] = []
    native = NATIVE.Way(
        plain=lambda link, frame: asked.append(frame),
        ledger=side.ledger,
        known=counting.endings_of(side.ledger).known,
        acks=bytes([0, 1]),
        keep=side.kept.append if durable else None,
        waiting=doorway.Waiting,
        persist=doorway.Persist,
        session=doorway.Session,
        checksum=doorway.crc32,
    )
    first = native(1, frame_of(SESSION, 3, some))

    assert (first is None) == (len(some) == 2)
    assert len(asked) == (len(some) == 2), "one pair has to be learned by the Python first"
    again = side.way(1, frame_of(SESSION, 3 if first is None else 4, some))
    assert again is not None


@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "on disk"])
def test_the_window_of_a_client_moves_on_as_in_python(durable: bool):
    plain, native = both(durable=durable)
    for sequence in range(2, WINDOW_MAX + 50):
        frame = frame_of(SESSION, sequence, ("hits", 1) * (1 + sequence % 2))
        for side in (plain, native):
            side.way(1, frame)
            side.acknowledge(Persisted(side.ledger.token))
    for side in (plain, native):
        side.ledger.sessions.forget(SESSION, 40)
        side.ledger.sessions.forget(SESSION, sequence - WINDOW_MAX + 1)
        side.way(1, frame_of(SESSION, sequence + 1, ("hits", 1)))

    assert native.state() == plain.state()


def test_when_there_are_too_many_operations_the_oldest_client_is_dropped_as_in_python():
    plain, native = both(durable=False, operations_max=5)
    for sequence in range(2, 8):
        for side in (plain, native):
            side.way(1, frame_of(SESSION, sequence, ("hits", 1)))
        assert native.state() == plain.state()

    assert OTHER not in plain.ledger.sessions._sessions


def test_a_call_with_anything_but_a_link_and_a_frame_is_refused_or_left_to_python():
    _, native = both(durable=False)

    for arguments in ((), (1,), (1, b"", 2)):
        with pytest.raises(TypeError):
            native.way(*arguments)
    with pytest.raises(TypeError):
        native.way(1, frame=b"")  # type: ignore[call-arg]
    assert native.way(1, "text") is None  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"ledger": object()}, {"acks": b"\0"}, {"known": []}, {}])
def test_a_way_into_what_is_no_ledger_cannot_be_made(wrong: dict[str, Any]):
    ledger = make_ledger(durable=False)
    parts = {
        **{"plain": print, "ledger": ledger, "known": {}, "acks": b"\0\1", "keep": None},
        **{
            "waiting": doorway.Waiting,
            "persist": doorway.Persist,
            "session": doorway.Session,
            "checksum": doorway.crc32,
        },
    }
    if not wrong:
        ledger.counters.names = []  # type: ignore[assignment]

    with pytest.raises((AttributeError, TypeError, ValueError)):
        NATIVE.Way(**{**parts, **wrong})


def test_a_way_that_nobody_holds_is_collected_though_it_is_part_of_a_circle():
    class Held(Ledger):
        pass

    ledger = Held(NodeConfig(name="n1"), Counters(b"x" * 16, 1), durable=True)
    ledger.way = doorway.native(NATIVE, ledger, lambda record: None)  # type: ignore[attr-defined]
    ledger.desk = SETTLING.Desk(ledger=ledger, reply=print, waiting=doorway.Waiting)  # type: ignore[attr-defined]
    trace = weakref.ref(ledger)

    del ledger
    gc.collect()

    assert trace() is None


@pytest.mark.parametrize("sequence", [2, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32])
def test_a_sequence_of_any_width_is_acknowledged_as_in_python(sequence: int):
    plain, native = both(durable=True)
    said = []
    for side in (plain, native):
        side.ledger.sessions.restore(SESSION, sequence - 1, None)
        frame = frame_of(SESSION, sequence, ("hits", 1))
        if side.way(1, frame) is None:
            side.ledger.increment(1, DOOR.decode(frame[4:]))
        said.append(side.acknowledge(Persisted(3)))

    assert said[0] == said[1] == [(1, counting.counted(sequence, on_disk=True))]
    assert native.state() == plain.state()


@pytest.mark.parametrize("total", [2**40 - 1, 2**40, SHARE_MAX - 1_000], ids=["at", "past", "far"])
@pytest.mark.parametrize("some", [("hits", 1), ("hits", 1) * 2, ("hits", 2) * 2])
def test_past_the_ceiling_of_a_share_it_is_counted_as_in_python(total: int, some: Any):
    plain, native = both(durable=True)
    said = []
    for side in (plain, native):
        side.ledger.counters.own.positive["hits"] = total
        side.way(1, frame_of(SESSION, 2, some))
        said.append(side.acknowledge(Persisted(3)))

    assert said[0] == said[1]
    assert native.state() == plain.state()


def test_a_desk_for_what_is_no_ledger_cannot_be_made_and_a_word_has_a_token():
    ledger = make_ledger(durable=True)
    with pytest.raises(AttributeError):
        SETTLING.Desk(ledger=object(), reply=print, waiting=doorway.Waiting)
    with pytest.raises(TypeError):
        SETTLING.Desk(ledger=ledger)
    with pytest.raises(AttributeError):
        SETTLING.Desk(ledger=ledger, reply=print, waiting=doorway.Waiting).acknowledge(object())
    ledger._turns = []  # type: ignore[assignment]
    with pytest.raises(TypeError, match="no ledger"):
        SETTLING.Desk(ledger=ledger, reply=print, waiting=doorway.Waiting)


@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "on disk"])
def test_nothing_is_left_of_what_was_only_looked_at(durable: bool):
    side = Side(is_native=True, durable=durable)
    frames = [
        frame_of(SESSION, 2, ("hits", 1, "new", 1)),
        frame_of(SESSION, 9, ("hits", 1, "misses", 1)),
        frame_of(SESSION, 9, ("hits", 1)),
        frame_of(SESSION, 2, ("hits", 1))[:-2],
    ]

    def look() -> None:
        for frame in frames:
            assert side.way(1, frame) is None

    look()
    gc.collect()
    before = len(gc.get_objects()), sys.getrefcount(None)
    for _ in range(1_000):
        look()
    gc.collect()

    assert abs(len(gc.get_objects()) - before[0]) < 50
    assert abs(sys.getrefcount(None) - before[1]) < 50
