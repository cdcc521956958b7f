"""The shortest way is the common way, byte for byte; what it does not take, it leaves alone."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter.config import NodeConfig
from counter.crdt import Counters
from counter.express import increments
from counter.ledger import Ledger
from counter.messages import ACK_DISK, ACK_MEMORY, DOOR, Increment
from tracker.errors import FrameError
from tracker.wire import SHARE_MAX

SESSION = b"s" * 16
LINK = 1


def make_ledger(*, durable=False):
    """Return a ledger that has counted operation 1 of SESSION: 5 for `hits`."""
    ledger = Ledger(NodeConfig(name="n1"), Counters(b"x" * 16, 1), durable=durable)
    ledger.increment(LINK, Increment(SESSION, 1, ("hits", 5), 0))
    return ledger


def body_of(session=SESSION, sequence=2, pairs=("hits", 3), ack=0):
    return DOOR.encode(Increment(session, sequence, pairs, ack))


def commonly(ledger, body):
    """Return the body of the reply on the common way; None where there is none."""
    try:
        message = DOOR.decode(body)
    except FrameError:
        return None
    if not isinstance(message, Increment):
        return None
    [effect] = ledger.increment(LINK, message)
    return DOOR.encode(effect.message)


def state(ledger):
    own = ledger.counters.own
    return own.positive, own.negative, list(ledger.sessions.rows()), ledger.operations


def test_the_next_increment_of_a_known_client_is_counted_at_once():
    ledger = make_ledger()

    reply = increments(ledger)(body_of())

    assert reply == commonly(make_ledger(), body_of())
    assert ledger.counters.value("hits") == 8


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body_of(sequence=1), id="counted before"),
        pytest.param(body_of(sequence=3), id="a gap in the sequence"),
        pytest.param(body_of(session=b"t" * 16), id="an unknown client"),
        pytest.param(body_of(pairs=("new", 1)), id="an unknown key"),
        pytest.param(body_of(pairs=("hits", -1)), id="a decrease"),
        pytest.param(body_of(pairs=("hits", 1, "hits", 1)), id="two pairs"),
        pytest.param(body_of(ack=ACK_DISK), id="wants the disk"),
        pytest.param(msgpack.packb([32, SESSION, 2, ["hits", True], 0]), id="true for 1"),
        pytest.param(msgpack.packb([32, SESSION, 2, ["hits", 1.0], 0]), id="1.0 for 1"),
        pytest.param(msgpack.packb([32, SESSION, 2, ["hits", 2**53], 0]), id="too much"),
        pytest.param(msgpack.packb([32, SESSION, 2, [b"hits", 1], 0]), id="bytes for a key"),
        pytest.param(msgpack.packb([32, SESSION, 2, [["hits"], 1], 0]), id="a list for a key"),
        pytest.param(msgpack.packb([32, SESSION, 2.0, ["hits", 1], 0]), id="2.0 for a sequence"),
        pytest.param(msgpack.packb([32, SESSION, 2, ["hits", 1], False]), id="false for an ack"),
        pytest.param(msgpack.packb([32, SESSION, 2, ["hits", 1], 9]), id="no such ack"),
        pytest.param(msgpack.packb([32, SESSION, 2, "hi", 0]), id="text for pairs"),
        pytest.param(msgpack.packb([32, SESSION, 2, ["hits"], 0]), id="half a pair"),
        pytest.param(msgpack.packb([34, 1, "hits"]), id="another message"),
        pytest.param(body_of()[:-3], id="cut short"),
        pytest.param(body_of() + b"\x00", id="more behind it"),
        pytest.param(b"\x95\x20\xc1", id="no message"),
    ],
)
def test_everything_else_is_left_to_the_common_way_and_changes_nothing(body):
    ledger = make_ledger()
    before = state(make_ledger())

    assert increments(ledger)(body) is None

    assert state(ledger) == before


def test_a_share_at_its_limit_and_a_node_that_leaves_are_left_to_the_common_way():
    full, leaving = make_ledger(), make_ledger()
    full.counters.own.positive["hits"] = SHARE_MAX
    leaving.is_leaving = True

    assert increments(full)(body_of()) is None
    assert increments(leaving)(body_of()) is None


def test_a_durable_node_has_no_short_way():
    ledger = make_ledger(durable=True)

    assert increments(ledger)(body_of()) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from([SESSION, b"t" * 16]),
            st.integers(1, 6),
            st.sampled_from(["hits", "misses"]),
            st.integers(-2, 4),
            st.sampled_from([0, ACK_MEMORY, ACK_DISK]),
        ),
        max_size=30,
    )
)
def test_a_node_with_the_short_way_says_and_holds_what_one_without_does(operations):
    quick, common = make_ledger(), make_ledger()
    short = increments(quick)
    for session, sequence, key, number, ack in operations:
        body = body_of(session, sequence, (key, number), ack)

        reply = short(body) or commonly(quick, body)

        assert reply == commonly(common, body)
        assert state(quick) == state(common)
