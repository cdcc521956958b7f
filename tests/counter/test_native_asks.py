"""Asks in C: the same bytes, dice, memory and deadlines as in Python, whatever comes."""

import gc
import socket
import sys
import weakref
from contextlib import closing, suppress
from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spoiled import spoiled, spoiled_at_random

from counter import config, relay
from counter.config import GossipConfig
from counter.crdt import Counters
from counter.express import ASK, ASK_SKIPPING, asks
from counter.messages import GOSSIP, RING, SKIP_MAX, Ask
from counter.quick import _ASKS, quick_asks
from counter.relay import Relay
from tracker.members import SUSPECT, Member, View, position
from tracker.transport.plain import Gathering

pytestmark = pytest.mark.skipif(_ASKS is None, reason="NO NATIVE MODULES: not built here")

OWN_QUERY = b"o" * 16
MEMBERS = [
    Member(f"n{i}", i.to_bytes(16, "big"), 0, 1, 0, "127.0.0.1", 1000 + i) for i in range(60)
]
VIEW = View().merged(MEMBERS)
SICK = VIEW.merged([MEMBERS[7].became(SUSPECT)])
ME = position("n1")
SENDER = ("127.0.0.1", 8000)
IP_RECVERR = 11
HEADS = ASK, ASK_SKIPPING
"""What the bodies that are handed to this way begin with."""


class Node:
    """As much of a node as an ask meets, with its own dice of one seed."""

    def __init__(self, *, native, view=VIEW, queries_max=6):
        self.view = view
        self.is_doubted = False
        self.counters = Counters(MEMBERS[1].store, 1)
        self.counters.own.add("views", 70_000)
        self.relay = Relay(
            GossipConfig(queries_max=queries_max), ME, MEMBERS[1].store, 1, self.value, Random(1)
        )
        running = {OWN_QUERY: None}
        self.left = []
        self._python = asks(self.relay, self.counters, running.__contains__, self)
        self.way = self._python
        if native:
            self.way = quick_asks(self._otherwise, self.relay, self.counters, running, self)

    def _otherwise(self, body, sender, now):
        self.left.append(body)
        return self._python(body, sender, now)

    def value(self, key):
        return self.counters.value(key), 0

    @property
    def state(self):
        relay = self.relay
        return (
            list(relay.seen.items()),
            (relay.expiry.line, relay.expiry.strays),
            relay.deadline(),
            relay.dice.getstate(),
        )


def ask(**changes):
    fields = {
        "query": b"q" * 16,
        "key": "views",
        "home": ("127.0.0.1", 9000),
        "chatter": 10,
        "visits": 1,
        "age": 1,
        "age_max": 5,
        "budget_ms": 5_000,
        "roll": VIEW.roll,
        "low": 0,
        "high": RING,
        "skip": (),
        "late": (),
        "flags": 0,
    }
    return GOSSIP.encode(Ask(**{**fields, **changes}))


ends = st.one_of(st.sampled_from([0, ME, ME + 1, RING, *VIEW.positions[::7]]), st.integers(0, RING))
arcs = st.tuples(ends, ends).filter(lambda arc: arc[0] != arc[1]).map(sorted)
skips = st.lists(
    st.one_of(st.sampled_from([ME, *VIEW.positions]), st.integers(0, RING - 1)), max_size=SKIP_MAX
)


@st.composite
def bodies(draw):
    """Draw an ask, valid as a rule, and now and then with bytes changed, cut or added."""
    low, high = draw(arcs)
    body = ask(
        query=draw(st.sampled_from([b"q" * 16, b"r" * 16, b"s" * 16, OWN_QUERY, bytes(16)])),
        key=draw(st.sampled_from(["views", "other", "k" * 31, "k" * 32, "k" * 256, "sér"])),
        home=draw(st.sampled_from([("127.0.0.1", 9000), ("10.9.8.7", 1), ("::1", 9000)])),
        chatter=draw(st.sampled_from([1, 2, 10, 64])),
        visits=draw(st.sampled_from([1, 1, 1, 2])),
        age=draw(st.sampled_from([0, 1, 4, 5, 126, 127, 128, 255])),
        age_max=draw(st.sampled_from([1, 5, 127, 255])),
        budget_ms=draw(st.sampled_from([1, 127, 128, 255, 256, 5_000, 65_535, 65_536, 600_000])),
        roll=draw(st.sampled_from([VIEW.roll, VIEW.roll, VIEW.roll, 0, 1])),
        low=low,
        high=high,
        skip=tuple(draw(skips)),
    )
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=3)) + body[at + draw(st.integers(0, 3)) :]
    return body


@given(st.lists(st.one_of(bodies(), st.binary(max_size=80)), max_size=8), st.sampled_from([1, 9]))
def test_asks_in_c_are_taken_as_in_python_byte_for_byte(sequence, pace_s):
    plain, native = Node(native=False), Node(native=True)

    for number, body in enumerate(sequence):
        now = float(number * pace_s)
        if body[:2] not in HEADS:
            body = HEADS[len(body) % 2] + body[2:]
        assert native.way(body, SENDER, now) == plain.way(body, SENDER, now)
        assert native.state == plain.state


SPOILT = {
    "all of the ring": ask(),
    "with members that are skipped": ask(skip=(ME, *VIEW.positions[3:9]), chatter=2),
    "a part of the ring": ask(low=VIEW.positions[5], high=VIEW.positions[40], age=126, age_max=255),
    "a key of many letters": ask(key="k" * 40, low=ME, high=ME + 1),
}


def compare(plain, native, body):
    """Have both take a body; they forget its query, so that the next may have the same."""
    said = plain.way(body, SENDER, 1.0)
    assert native.way(body, SENDER, 1.0) == said
    if said is not None or native.relay.seen or plain.relay.seen:
        assert native.state == plain.state
        for node in (plain, native):
            node.relay.seen.clear()


@pytest.mark.slow
@pytest.mark.parametrize("name", SPOILT)
def test_an_ask_spoiled_in_any_way_is_taken_by_both_or_by_none(name):
    plain, native = Node(native=False), Node(native=True)
    compare(plain, native, SPOILT[name])
    assert native.left == []

    for body in spoiled(SPOILT[name], len(ASK)):
        compare(plain, native, body)
    assert native.state == plain.state


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8))
def test_asks_spoiled_at_random_are_taken_by_both_or_by_none(seed):
    dice, plain, native = Random(seed), Node(native=False), Node(native=True)

    for _ in range(100_000):
        valid = dice.choice([*SPOILT.values()])
        compare(plain, native, valid[:2] + spoiled_at_random(valid[2:], dice))
    assert native.state == plain.state


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_asks_off_the_wire_are_answered_straight_as_those_that_take_a_way_through_python(
    datagrams, detour, data
):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        view = View().merged([replace(one, port=peer.getsockname()[1]) for one in MEMBERS])
        straight, around = (Node(native=True, view=view) for _ in range(2))
        datagrams.open(dict.fromkeys(HEADS, straight.way))
        # What is no method of a native type is called as any function of Python is.
        detour.open(dict.fromkeys(HEADS, lambda *arguments: around.way(*arguments)))
        for body in data.draw(st.lists(wired(view, peer.getsockname()), max_size=6)):
            found = []
            for one in (datagrams, detour):
                peer.sendto(b"\x01" + body, one.endpoint)
                one.drain()
                found.append([*received(peer), one.counted()])
            assert found[0] == found[1]
            assert straight.left == around.left
            assert list(straight.relay.seen.items()) == list(around.relay.seen.items())
            assert straight.relay.dice.getstate() == around.relay.dice.getstate()


@pytest.mark.skipif(Gathering is None, reason="NO NATIVE MODULES: not built here")
def test_asks_that_are_read_together_are_each_answered_once(datagrams, detour):
    gathering = Gathering()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        body = ask(home=peer.getsockname(), low=ME, high=ME + 1)
        for one in (datagrams, detour):
            one.open(dict.fromkeys(HEADS, Node(native=True).way))
            one.watched_by(gathering)
            peer.sendto(b"\x01" + body, one.endpoint)

        gathering.come()

        assert len(received(peer)) == 2
    assert datagrams.counted() == detour.counted()
    assert datagrams.traffic.datagrams_out == 1


@pytest.mark.skipif(Gathering is None, reason="NO NATIVE MODULES: not built here")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell no refusal")
def test_of_asks_that_are_read_together_one_whose_reply_fails_costs_no_other_its_own(
    datagrams, detour
):
    gathering, helper = Gathering(), type(datagrams)()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, closing(helper):
        peer.bind(("127.0.0.1", 0))
        body = ask(home=peer.getsockname(), low=ME, high=ME + 1)
        datagrams._socket.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)

        def disturb(*arguments):
            # Nobody listens there: who sends from that socket next is told so, and has no ear.
            datagrams._socket.sendto(b"", ("127.0.0.1", 1))
            return []

        for one, way in ((datagrams, None), (detour, None), (helper, disturb)):
            one.open({ASK: way or Node(native=True).way})
            one.watched_by(gathering)
            peer.sendto(b"\x01" + body, one.endpoint)

        with pytest.raises(AttributeError, match="_refused_soon"):
            gathering.come()

        assert len(received(peer)) == 1


@st.composite
def wired(draw, view, home):
    """Draw an ask that is answered to `home` alone, now and then cut off or with bytes behind."""
    low, high = draw(arcs)
    body = ask(
        query=draw(st.sampled_from([b"q" * 16, b"r" * 16, OWN_QUERY])),
        key=draw(st.sampled_from(["views", "other", "k" * 256])),
        home=home,
        age=draw(st.sampled_from([0, 1, 5, 127])),
        roll=draw(st.sampled_from([view.roll, view.roll, 1])),
        low=low,
        high=high,
        skip=tuple(draw(skips)),
    )
    return body[: draw(st.sampled_from([None, None, None, -1, 40]))] + draw(
        st.sampled_from([b"", b"", b"", b"\x00"])
    )


def received(peer):
    """Return what has come; on loopback it is there when it was sent."""
    peer.setblocking(False)
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(peer.recv(2_048))
    return found


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(ask(), id="the whole ring"),
        pytest.param(ask(low=ME, high=ME + 1), id="nobody else"),
        pytest.param(ask(skip=(ME, VIEW.positions[3])), id="two are skipped"),
        pytest.param(ask(key="never counted"), id="a key never counted"),
        pytest.param(ask(low=ME + 1), id="an arc without the node itself"),
    ],
)
def test_the_plainest_asks_are_not_left_to_the_python(body):
    plain, native = Node(native=False), Node(native=True)

    assert native.way(body, SENDER, 1.0) == plain.way(body, SENDER, 1.0) is not None
    assert native.left == []


@pytest.mark.parametrize("view", [SICK, View().merged(MEMBERS[2:]), View()])
def test_whatever_the_view_is_the_answer_is_that_of_the_python(view):
    plain, native = Node(native=False, view=view), Node(native=True, view=view)

    for roll, query in ((VIEW.roll, b"q" * 16), (view.roll, b"r" * 16)):
        body = ask(roll=roll, query=query)
        assert native.way(body, SENDER, 1.0) == plain.way(body, SENDER, 1.0)
        assert native.state == plain.state


def test_queries_past_their_time_and_past_the_limit_are_forgotten_as_in_python():
    plain, native = Node(native=False, queries_max=4), Node(native=True, queries_max=4)

    for number in range(60):
        body, now = ask(query=bytes([number]) * 16), number * (0.5 if number < 30 else 4.0)
        assert native.way(body, SENDER, now) == plain.way(body, SENDER, now)
        assert native.state == plain.state
    assert native.left == []


def test_a_query_that_lives_shorter_than_those_before_it_is_forgotten_first_as_in_python():
    plain, native = Node(native=False, queries_max=9), Node(native=True, queries_max=9)
    dice = Random(3)

    for number in range(60):
        body = ask(query=bytes([number]) * 16, budget_ms=dice.choice([2, 200, 5_000, 600_000]))
        assert native.way(body, SENDER, 0.1 * number) == plain.way(body, SENDER, 0.1 * number)
        assert native.state == plain.state
    assert native.left == []


@pytest.mark.parametrize("change", ["others", "doubted", "mute", "doubtful", "names", "decreased"])
def test_a_node_of_which_there_is_more_to_say_leaves_the_ask_to_the_python(change):
    node = Node(native=True)
    if change == "others":
        node.counters.others[b"x" * 16] = node.counters.own
    elif change == "doubted":
        node.is_doubted = True
    elif change == "mute":
        node.relay.mute_from(1.0)
    elif change == "doubtful":
        node.relay.doubtful = {"views": 1}
    elif change == "names":
        node.counters.names["views"] = "views\0001"
    else:
        node.counters.own.add("views", -1)

    node.way(ask(), SENDER, 1.0)

    assert node.left == [ask()]


def test_the_limits_of_c_are_those_of_python():
    for name in ("CHATTER_MAX", "VISITS_MAX", "AGE_MAX", "DEADLINE_MS_MAX"):
        assert getattr(_ASKS, name) == getattr(config, name)
    for name in ("CHILDREN_MAX", "FORGOTTEN_AT_ONCE_MAX", "HOP_MS"):
        assert getattr(_ASKS, name) == getattr(relay, name)
    assert _ASKS.SKIP_MAX == SKIP_MAX


def test_no_reference_is_kept_or_lost():
    node = Node(native=True)
    held = (node.relay, node.counters, node.view, node.relay.seen, node.relay.dice, SENDER)
    bodies = [ask(query=number.to_bytes(16, "big")) for number in range(300)]
    bodies += [ask(low=ME, high=ME + 1, query=body[4:20][::-1]) for body in bodies]
    node.way(ask(query=b"first" + bytes(11)), SENDER, 0.0)
    # Else nodes of other tests, which hold the same view, go meanwhile.
    gc.collect()
    before = [sys.getrefcount(one) for one in held]

    for number, body in enumerate(bodies):
        node.way(body, SENDER, 1.0 + number)
        node.way(body[:-1], SENDER, 1.0 + number)

    assert [sys.getrefcount(one) for one in held] == before


def test_a_node_that_nobody_holds_is_collected_with_its_way():
    node = Node(native=True)
    node.way(ask(), SENDER, 1.0)
    trace = weakref.ref(node)

    del node
    gc.collect()

    assert trace() is None


@pytest.mark.parametrize("arguments", [(), (b"",), (b"", SENDER, 1.0, 2)])
def test_a_call_with_too_little_or_too_much_is_refused(arguments):
    with pytest.raises(TypeError):
        Node(native=True).way(*arguments)
