"""The shortest way is the common way, byte for byte; what it does not take, it leaves alone.

Each test is run on the way in Python, and on the native one in front of it.
"""

from functools import partial

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter import counting, doorway
from counter.config import NodeConfig
from counter.crdt import Counters
from counter.ledger import Ledger
from counter.messages import ACK_DISK, ACK_MEMORY, DOOR, Increment
from tracker.machine import Persist, Persisted, PersistFailed
from tracker.native import extension
from tracker.wire import SHARE_MAX, framed

SESSION = b"s" * 16
LINK = 1
NATIVE = extension("counter.native.counting")
SETTLING = extension("counter.native.settling")

ways = {
    "python": (counting.increments, counting.acknowledgements),
    "native": (partial(doorway.native, NATIVE), partial(doorway.native_acknowledgements, SETTLING)),
}
in_use = [ways["python"]]
not_built = pytest.mark.skipif(
    NATIVE is None or SETTLING is None, reason="NO NATIVE MODULES: not built here"
)


@pytest.fixture(
    scope="module", autouse=True, params=["python", pytest.param("native", marks=not_built)]
)
def _language(request):
    in_use[0] = ways[request.param]


def increments(ledger, keep):
    return in_use[0][0](ledger, keep)


def acknowledgements(ledger):
    return in_use[0][1](ledger)


def make_ledger(*, durable=False):
    """Return a ledger that has counted operation 1 of SESSION: 5 for `hits`."""
    ledger = Ledger(NodeConfig(name="n1"), Counters(b"x" * 16, 1), durable=durable)
    ledger.increment(LINK, Increment(SESSION, 1, ("hits", 5), 0))
    return ledger


def frame_of(session=SESSION, sequence=2, pairs=("hits", 3), ack=0):
    return framed(DOOR.encode(Increment(session, sequence, pairs, ack)))


def way(ledger):
    return increments(ledger, lambda record: None)


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

    reply = way(ledger)(LINK, frame_of())

    assert reply == commonly(make_ledger(), frame_of())
    assert ledger.counters.value("hits") == 8


def test_a_key_that_began_anew_is_counted_under_its_name_of_now():
    ledger, common = make_ledger(), make_ledger()
    for each in (ledger, common):
        each.counters.names["hits"] = "hits\0001"
        each.increment(LINK, Increment(SESSION, 2, ("hits", 1), 0))

    reply = way(ledger)(LINK, frame_of(sequence=3))

    assert reply == commonly(common, frame_of(sequence=3))
    assert state(ledger) == state(common)
    assert (ledger.counters.value("hits"), ledger.counters.value("hits\0001")) == (5, 4)


@pytest.mark.parametrize(
    ("durable", "pairs"),
    [
        (True, ("hits", 3)),
        (True, ("hits", 3, "hits", 4)),
        (False, ("hits", 3, "hits", 4)),
    ],
    ids=["one pair on disk", "a batch on disk", "a batch"],
)
def test_on_disk_and_in_a_batch_a_key_that_began_anew_is_left_to_the_common_way(durable, pairs):
    ledger = make_ledger(durable=durable)
    if durable:
        ledger.persisted(Persisted(1))
    ledger.counters.names["hits"] = "hits\0001"
    before = list(ledger.sessions.rows())

    assert way(ledger)(LINK, frame_of(pairs=pairs)) is None

    assert list(ledger.sessions.rows()) == before


@pytest.mark.parametrize("sequence", [2, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1])
def test_a_sequence_of_any_width_is_answered_as_on_the_common_way(sequence):
    quick, common = make_ledger(), make_ledger()
    for ledger in (quick, common):
        ledger.sessions.restore(SESSION, sequence - 1, None)

    reply = way(quick)(LINK, frame_of(sequence=sequence))

    assert reply == commonly(common, frame_of(sequence=sequence))
    assert state(quick) == state(common)


def test_what_is_remembered_of_endings_is_bounded(monkeypatch):
    monkeypatch.setattr(counting, "ENDINGS_MAX", 2)
    endings = counting.Endings((0, ACK_MEMORY))
    frames = [frame_of(pairs=("hits", number)) for number in (1, 2, 3)]

    pairs = [endings.learn(frame[25:]) for frame in frames]

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
        pytest.param(frame_of(pairs=("hits", 1) * 100)[:-1], id="a long batch cut short"),
    ],
)
def test_everything_else_is_left_to_the_common_way_and_changes_nothing(frame):
    ledger = make_ledger()
    before = state(make_ledger())

    assert way(ledger)(LINK, frame) is None

    assert state(ledger) == before


def test_a_share_at_its_limit_and_a_node_that_leaves_are_left_to_the_common_way():
    full, leaving = make_ledger(), make_ledger()
    full.counters.own.add("hits", SHARE_MAX - 5)
    leaving.is_leaving = True

    full.counters.own.add("misses", 0)
    before = state(full)

    assert way(full)(LINK, frame_of()) is None
    assert way(full)(LINK, frame_of(pairs=("misses", 1, "hits", 1))) is None
    assert state(full) == before
    assert way(leaving)(LINK, frame_of()) is None
    assert way(leaving)(LINK, frame_of(pairs=("hits", 1, "hits", 1))) is None


def make_durable():
    """Return a ledger that has counted, on disk, operation 1 of SESSION: 5 for two keys."""
    ledger = Ledger(NodeConfig(name="n1", inflight_max=8), Counters(b"x" * 16, 1), durable=True)
    ledger.increment(LINK, Increment(SESSION, 1, ("hits", 5, "misses", 5), 0))
    ledger.persisted(Persisted(1))
    return ledger


class Desk:
    """A durable ledger behind its ways: what it keeps, and what it says on each link."""

    def __init__(self, *, is_quick):
        self.ledger, self.kept, self.said = make_durable(), [], []
        never = lambda *_: None  # noqa: E731
        self.count = increments(self.ledger, self.kept.append) if is_quick else never
        self.acknowledge = acknowledgements(self.ledger) if is_quick else never
        self.taken = 0

    def take(self, link, frame):
        reply = self.count(link, frame)
        if reply is None:
            self._carry_out(self.ledger.increment(link, DOOR.decode(frame[4:])))
        else:
            assert reply == b""
            self.taken += 1

    def settle(self, event):
        replies = self.acknowledge(event) if isinstance(event, Persisted) else None
        if replies is not None:
            self.said += replies
        elif isinstance(event, Persisted):
            self._carry_out(self.ledger.persisted(event))
        else:
            self._carry_out(self.ledger.persist_failed(event))

    def _carry_out(self, effects):
        for effect in effects:
            if isinstance(effect, Persist):
                self.kept.append(effect)
            else:
                self.said.append((effect.to, framed(DOOR.encode(effect.message))))

    def state(self):
        held = state(self.ledger), self.ledger.written, list(self.ledger.dump())
        return *held, self.kept, self.said


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(frame_of(ack=0), id="one pair"),
        pytest.param(frame_of(ack=ACK_DISK), id="one pair, for the disk"),
        pytest.param(frame_of(pairs=("hits", 1, "misses", 2)), id="two pairs"),
        pytest.param(frame_of(pairs=("hits", 1, "misses", 2_000)), id="two pairs, a larger number"),
    ],
)
def test_on_disk_the_short_way_counts_and_replies_once_its_record_is_safe(frame):
    quick, common = Desk(is_quick=True), Desk(is_quick=False)

    for desk in (quick, common):
        desk.take(LINK, frame)
        assert desk.ledger.counters.value("hits") == 5
        assert not desk.said
        desk.settle(Persisted(2))

    assert quick.taken == 1
    assert quick.said
    assert quick.state() == common.state()


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(frame_of(sequence=1), id="counted before"),
        pytest.param(frame_of(pairs=("new", 1)), id="an unknown key"),
        pytest.param(frame_of(ack=ACK_MEMORY), id="for memory"),
        pytest.param(frame_of(pairs=("hits", 1, "misses", 1), ack=ACK_MEMORY), id="two of them"),
        pytest.param(frame_of(pairs=("hits", 1, "new", 1)), id="a batch with an unknown key"),
        pytest.param(frame_of(pairs=("hits", 1, "misses", -1)), id="a batch with a decrease"),
        pytest.param(frame_of(pairs=("hits", 1) * 2, sequence=3), id="a batch out of turn"),
        pytest.param(packed_frame(32, SESSION, 2, ["hits", 1, b"hits", 1], 0), id="bytes in many"),
        pytest.param(frame_of()[:24] + b"\x02\x92\xc1", id="cut short"),
        pytest.param(framed(frame_of()[4:24] + b"\x02\x92" + b"\xc1" * 5), id="no pairs"),
        pytest.param(framed(b"\x95\x21" + frame_of()[6:]), id="another message"),
    ],
)
def test_on_disk_everything_else_is_left_to_the_common_way_too(frame):
    ledger, kept = make_durable(), []
    before = state(make_durable())

    assert increments(ledger, kept.append)(LINK, frame) is None

    assert state(ledger) == before
    assert not kept


@pytest.mark.parametrize("sequence", [2, 128, 300, 70_000])
@pytest.mark.parametrize("pairs", [("hits", 1), ("hits", 1, "misses", 1)])
def test_on_disk_a_sequence_of_any_width_is_kept_and_answered_alike(sequence, pairs):
    quick, common = Desk(is_quick=True), Desk(is_quick=False)

    for desk in (quick, common):
        desk.ledger.sessions.restore(SESSION, sequence - 1, None)
        desk.take(LINK, frame_of(sequence=sequence, pairs=pairs))
        desk.settle(Persisted(2))

    assert quick.taken == 1
    assert quick.state() == common.state()


@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize("amount", [1, 2, 200])
@pytest.mark.parametrize("others", [(), ("hits", 1)], ids=["alone", "in a batch"])
def test_the_name_of_an_epoch_that_the_node_holds_cannot_be_sent(durable, amount, others):
    ledger = make_durable() if durable else make_ledger()
    ledger.counters.own.add("hits\0001", 7)
    before = state(ledger)[0].copy()

    assert way(ledger)(LINK, frame_of(pairs=("hits\0001", amount, *others))) is None

    assert state(ledger)[0] == before


def test_a_batch_that_is_larger_than_a_frame_may_be_is_left_to_be_refused():
    ledger = make_ledger()
    ledger.increment(LINK, Increment(SESSION, 2, ("k" * 200, 1), 0))

    assert way(ledger)(LINK, frame_of(sequence=3, pairs=("k" * 200, 1) * 300)) is not None
    body = DOOR.encode(Increment(SESSION, 4, ("k" * 200, 1) * 400, 0))
    assert way(ledger)(LINK, len(body).to_bytes(4, "big") + body) is None


def test_a_number_in_more_bytes_than_it_needs_is_left_to_the_common_way():
    frame = framed(frame_of()[4:-2] + b"\xcc\x03\x00")

    assert way(make_ledger())(LINK, frame) is None
    assert DOOR.decode(frame[4:]) == DOOR.decode(frame_of()[4:])


@pytest.mark.parametrize("pairs", [("hits", 1), ("hits", 1, "misses", 1)])
def test_a_durable_node_that_is_full_leaves_doubts_or_is_busy_looks_twice(pairs):
    full, leaving, doubtful, busy = (make_durable() for _ in range(4))
    full.counters.own.add("hits", SHARE_MAX - 5)
    leaving.is_leaving = True
    doubtful.increment(LINK, Increment(b"d" * 16, 1, ("hits", 1), 0))
    doubtful.persist_failed(PersistFailed(2, "no sync", definite=False))
    for number in range(8):
        busy.increment(LINK, Increment(b"b" * 16, 1 + number, ("hits", 1), 0))

    for ledger in (full, leaving, doubtful, busy):
        assert increments(ledger, lambda record: None)(LINK, frame_of(pairs=pairs)) is None


@given(
    st.lists(
        st.tuples(
            st.integers(1, 2),
            st.sampled_from([SESSION, b"t" * 16]),
            st.integers(1, 5),
            st.sampled_from([("hits", 1), ("misses", 200, "hits", 1), ("new", 1), ("hits", -1)]),
            st.sampled_from([0, 0, ACK_MEMORY, ACK_DISK]),
        )
        | st.sampled_from(["safe", "failed", "lost"]),
        max_size=40,
    )
)
def test_on_disk_too_the_short_way_says_and_holds_what_the_common_one_does(steps):
    quick, common = Desk(is_quick=True), Desk(is_quick=False)
    told = 1
    for step in steps:
        for desk in (quick, common):
            if isinstance(step, tuple):
                link, session, sequence, pairs, ack = step
                desk.take(link, frame_of(session, sequence, pairs, ack))
            elif step == "safe":
                desk.settle(Persisted(desk.ledger.token))
            elif told < desk.ledger.token:
                desk.settle(PersistFailed(told + 1, "the disk", definite=step == "failed"))
        if not isinstance(step, tuple):
            told = common.ledger.token if step == "safe" else min(told + 1, common.ledger.token)

        assert quick.state() == common.state()


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
    short = way(quick)
    for session, sequence, pairs, ack in operations:
        frame = frame_of(session, sequence, tuple([field for pair in pairs for field in pair]), ack)

        reply = short(LINK, frame) or commonly(quick, frame)

        assert reply == commonly(common, frame)
        assert state(quick) == state(common)


@pytest.mark.parametrize("sequence", [3, 200, 300, 70_000])
@pytest.mark.parametrize("number", [1, 127, 128, 70_000])
@pytest.mark.parametrize("count", [2, 7, 8, 15, 512])
def test_a_batch_of_known_keys_is_counted_at_once(count, number, sequence):
    quick, common = make_ledger(), make_ledger()
    keys = [f"key:{index}" for index in range(count)]
    for ledger in (quick, common):
        ledger.increment(LINK, Increment(SESSION, 2, tuple([f for k in keys for f in (k, 1)]), 0))
        ledger.sessions.restore(SESSION, sequence - 1, None)
    pairs = tuple([field for key in keys for field in (key, number)])
    frame = frame_of(sequence=sequence, pairs=pairs)

    reply = way(quick)(LINK, frame)

    assert reply == commonly(common, frame)
    assert state(quick) == state(common)
