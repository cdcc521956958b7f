"""The shortest way is the common way, byte for byte; what it does not take, it leaves alone."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter import counting
from counter.config import NodeConfig
from counter.counting import increments
from counter.crdt import Counters
from counter.ledger import Ledger
from counter.messages import ACK_DISK, ACK_MEMORY, DOOR, Increment
from tracker.wire import SHARE_MAX, framed

SESSION = b"s" * 16
LINK = 1


def make_ledger(*, durable=False):
    """Return a ledger that has counted operation 1 of SESSION: 5 for `hits`."""
    ledger = Ledger(NodeConfig(name="n1"), Counters(b"x" * 16, 1), durable=durable)
    ledger.increment(LINK, Increment(SESSION, 1, ("hits", 5), 0))
    return ledger


def frame_of(session=SESSION, sequence=2, pairs=("hits", 3), ack=0):
    return framed(DOOR.encode(Increment(session, sequence, pairs, ack)))


def packed_frame(*fields):
    return framed(msgpack.packb(fields))


def commonly(ledger, frame):
    """Return the frame of the reply on the common way."""
    [effect] = ledger.increment(LINK, DOOR.decode(frame[4:]))
    return framed(DOOR.encode(effect.message))


def state(ledger):
    own = ledger.counters.own
    return own.positive, own.negative, list(ledger.sessions.rows()), ledger.operations


def test_the_next_increment_of_a_known_client_is_counted_at_once():
    ledger = make_ledger()

    reply = increments(ledger)(LINK, frame_of())

    assert reply == commonly(make_ledger(), frame_of())
    assert ledger.counters.value("hits") == 8


@pytest.mark.parametrize("sequence", [2, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1])
def test_a_sequence_of_any_width_is_answered_as_on_the_common_way(sequence):
    quick, common = make_ledger(), make_ledger()
    for ledger in (quick, common):
        ledger.sessions.restore(SESSION, sequence - 1, None)

    reply = increments(quick)(LINK, frame_of(sequence=sequence))

    assert reply == commonly(common, frame_of(sequence=sequence))
    assert state(quick) == state(common)


def test_what_is_remembered_of_endings_is_bounded(monkeypatch):
    monkeypatch.setattr(counting, "ENDINGS_MAX", 2)
    endings = counting.Endings()
    frames = [frame_of(pairs=("hits", number)) for number in (1, 2, 3)]

    pairs = [endings.learn(frame, frame[25:]) for frame in frames]

    assert pairs == [("hits", 1), ("hits", 2), ("hits", 3)]
    assert list(endings.known) == [frames[2][25:]]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(frame_of(sequence=1), id="counted before"),
        pytest.param(frame_of(sequence=3), id="a gap in the sequence"),
        pytest.param(frame_of(session=b"t" * 16), id="an unknown client"),
        pytest.param(frame_of(pairs=("new", 1)), id="an unknown key"),
        pytest.param(frame_of(pairs=("hits", -1)), id="a decrease"),
        pytest.param(frame_of(pairs=("hits", 1, "new", 1)), id="a batch with an unknown key"),
        pytest.param(frame_of(pairs=("hits", 1, "hits", -1)), id="a batch with a decrease"),
        pytest.param(frame_of(pairs=("hits", 200, "hits", -1)), id="and with a larger number"),
        pytest.param(frame_of(pairs=("hits", 1) * 2, sequence=3), id="a batch out of turn"),
        pytest.param(frame_of(pairs=("hits", 1) * 2, ack=ACK_DISK), id="a batch for the disk"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", 1, 5, 1], 0), id="5 for a key"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", 1] * 600, 0), id="too many pairs"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", 1, "hits"], 0), id="two and a half"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", 1, "hits", True], 0), id="true in many"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", 1, "hits", None], 0), id="nil in many"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", 1, "hits", 1.0], 0), id="1.0 in many"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", 1, "hits", 2**53], 0), id="over it"),
        pytest.param(frame_of(ack=ACK_DISK), id="wants the disk"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", True], 0), id="true for 1"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", 1.0], 0), id="1.0 for 1"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", 2**53], 0), id="too much"),
        pytest.param(packed_frame(32, SESSION, 2, [b"hits", 1], 0), id="bytes for a key"),
        pytest.param(packed_frame(32, SESSION, 2, [["hits"], 1], 0), id="a list for a key"),
        pytest.param(packed_frame(32, SESSION, 2.0, ["hits", 1], 0), id="2.0 for a sequence"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", 1], False), id="false for an ack"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", 1], 9), id="no such ack"),
        pytest.param(packed_frame(32, SESSION, 2, "hi", 0), id="text for pairs"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits"], 0), id="half a pair"),
        pytest.param(packed_frame(34, 1, "hits"), id="another message"),
        pytest.param(frame_of()[:-3], id="cut short"),
        pytest.param(frame_of() + b"\x00", id="more behind it"),
        pytest.param(framed(b"\x95\x20\xc1"), id="no message"),
        pytest.param(framed(frame_of()[4:24] + b"\x02" + b"\xc1" * 5), id="no pairs"),
        pytest.param(framed(frame_of()[4:24] + b"\xce" + b"\0" * 4), id="nothing behind it"),
        pytest.param(framed(frame_of()[4:24] + b"\xcf" + b"\0" * 14), id="eight bytes of it"),
        pytest.param(framed(frame_of()[4:] + b"\0"), id="a sixth field"),
        pytest.param(frame_of(pairs=("h" * 300, 1)), id="too long a key"),
    ],
)
def test_everything_else_is_left_to_the_common_way_and_changes_nothing(frame):
    ledger = make_ledger()
    before = state(make_ledger())

    assert increments(ledger)(LINK, frame) is None

    assert state(ledger) == before


def test_a_share_at_its_limit_and_a_node_that_leaves_are_left_to_the_common_way():
    full, leaving = make_ledger(), make_ledger()
    full.counters.own.positive["hits"] = SHARE_MAX
    leaving.is_leaving = True

    full.counters.own.positive["misses"] = 0
    before = state(full)

    assert increments(full)(LINK, frame_of()) is None
    assert increments(full)(LINK, frame_of(pairs=("misses", 1, "hits", 1))) is None
    assert state(full) == before
    assert increments(leaving)(LINK, frame_of()) is None
    assert increments(leaving)(LINK, frame_of(pairs=("hits", 1, "hits", 1))) is None


def test_a_durable_node_has_no_short_way():
    ledger = make_ledger(durable=True)

    assert increments(ledger)(LINK, frame_of()) is None


KEYS = st.sampled_from(["hits", "misses", "clics-\u00e9", "k" * 40])


@given(
    st.lists(
        st.tuples(
            st.sampled_from([SESSION, b"t" * 16]),
            st.integers(1, 6),
            st.lists(
                st.tuples(KEYS, st.integers(-1, 2) | st.sampled_from([127, 128, 2**53 - 1])),
                min_size=1,
                max_size=9,
            ),
            st.sampled_from([0, 0, ACK_MEMORY, ACK_DISK]),
        ),
        max_size=30,
    )
)
def test_a_node_with_the_short_way_says_and_holds_what_one_without_does(operations):
    quick, common = make_ledger(), make_ledger()
    short = increments(quick)
    for session, sequence, pairs, ack in operations:
        frame = frame_of(session, sequence, tuple([field for pair in pairs for field in pair]), ack)

        reply = short(LINK, frame) or commonly(quick, frame)

        assert reply == commonly(common, frame)
        assert state(quick) == state(common)


@pytest.mark.parametrize("number", [1, 127, 128, 70_000])
@pytest.mark.parametrize("count", [2, 7, 8, 15, 512])
def test_a_batch_of_known_keys_is_counted_at_once(count, number):
    quick, common = make_ledger(), make_ledger()
    keys = [f"key:{index}" for index in range(count)]
    for ledger in (quick, common):
        ledger.increment(LINK, Increment(SESSION, 2, tuple([f for k in keys for f in (k, 1)]), 0))
    frame = frame_of(sequence=3, pairs=tuple([field for key in keys for field in (key, number)]))

    reply = increments(quick)(LINK, frame)

    assert reply == commonly(common, frame)
    assert state(quick) == state(common)
