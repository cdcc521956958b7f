"""Answers in C: the same books and times as in Python, to the last bit, whatever comes."""

import gc
import socket
import sys
import weakref
from dataclasses import fields
from random import Random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoiled import spoiled, spoiled_at_random

from counter.config import AGE_MAX, LAN, NodeConfig
from counter.gossip import Gossip
from counter.hearing import HEAD, answers
from counter.messages import GOSSIP, UNTIL_ALL, Query, ShortReply
from counter.query import OwnQuery
from counter.quick import _ANSWERS, quick_answers
from tracker.members import Member, View
from tracker.wire import SHARE_MAX

pytestmark = pytest.mark.skipif(_ANSWERS is None, reason="NO NATIVE MODULES: not built here")

CHANGING = {field.name for field in fields(OwnQuery)} - {"config", "rng", "view", "first_view"}
MEMBERS = [
    Member(f"n{i}", (i + 1).to_bytes(16, "little"), 0, 1, 0, "127.0.0.1", 1000 + i)
    for i in range(12)
]
VIEW = View().merged(MEMBERS)
OTHERS = [place for place, member in enumerate(VIEW.ring) if member.name != "n0"]
START = 0.1


class Origin:
    """A node that has asked one query, with dice of one seed."""

    def __init__(self, *, native, visits=1, key="views", values_max=5, view=VIEW):
        self.node = Gossip(NodeConfig(name="n0"), LAN, MEMBERS[0], (), Random(1))
        self.node.membership.view = self.node._followed = view
        self.node.asker.listener.last_values.values_max = values_max
        request = Query(1, key, 3, visits, 0, 2_000, UNTIL_ALL, 500, 0, False)
        self.node.asker.take(7, request, START, view_is_known=True)
        for due in self.node.asker.released(START, view_is_known=True):
            self.node.origin.begin(due, START)
        [self.query] = self.node.asker.under_way()
        self.left = []
        self._python = answers(self.node.asker.listener, self.node.heads)
        self.way = self._python
        if native:
            self.way = quick_answers(self._otherwise, self.node.asker.listener, self.node.heads)

    def _otherwise(self, body, sender, now):
        self.left.append(body)
        return self._python(body, sender, now)

    @property
    def state(self):
        query = {name: repr(getattr(self.query, name)) for name in CHANGING}
        last = repr(self.node.asker.listener.last_values._values)
        return query, last, self.node.asker.listener.strange, self.node.deadline()


def answer(origin, place, **changes):
    told = {"place": place, "epoch": 1, "value": 5, "age": 1, **changes}
    return GOSSIP.encode(ShortReply(origin.query.id, **told))


ends = st.sampled_from([SHARE_MAX, SHARE_MAX + 1, -SHARE_MAX, -SHARE_MAX - 1])
whole = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-200, 300), ends)
told = st.fixed_dictionaries(
    {
        "place": st.sampled_from([*OTHERS, 0, 11, 12, 2**31]),
        "epoch": st.sampled_from([0, 1, 127, 128, 2**32 - 1]),
        "value": whole,
        "age": st.sampled_from([0, 1, 2, 3, 127, 128, 255]),
        "sent_by": st.sampled_from([None, None, None, 3]),
        "changed": st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=2)), max_size=1),
        "pause_s": st.floats(0, 0.3),
    }
)


@settings(max_examples=60)
@given(st.lists(told, max_size=14), st.sampled_from([1, 3]), st.sampled_from(["views", "v\0001"]))
def test_answers_in_c_are_counted_as_in_python_to_the_last_bit(sequence, visits, key):
    plain, native = (Origin(native=way, visits=visits, key=key) for way in (False, True))
    now = START

    for row in sequence:
        now += row["pause_s"]
        fields = {name: row[name] for name in ("place", "epoch", "value", "age")}
        body = answer(plain, **fields)
        for at, junk in row["changed"]:
            body = body[:at] + junk + body[at + 1 :]
        if not body.startswith(HEAD):
            continue
        by = row["place"] % 12 if row["sent_by"] is None else row["sent_by"]
        sender = VIEW.ring[by].endpoint
        assert native.way(body, sender, now) == plain.way(body, sender, now)
        assert native.state == plain.state


SPOILT = [
    {},
    {"place": OTHERS[-1], "epoch": 2**32 - 1, "value": -SHARE_MAX, "age": 255},
    {"epoch": 200, "value": 2**40, "age": 128},
]


class Pair:
    """Two origins, one in C, that are made anew once they have heard an answer."""

    def __init__(self, bodies=SPOILT):
        self.renew()
        self.valid = [answer(self.plain, **{"place": OTHERS[0], **row}) for row in bodies]

    def renew(self):
        self.plain, self.native = Origin(native=False), Origin(native=True)

    def compare(self, body, place):
        sender = VIEW.ring[place].endpoint
        said = self.plain.way(body, sender, 0.2)
        assert self.native.way(body, sender, 0.2) == said
        if said is not None:
            assert self.native.state == self.plain.state
            self.renew()


@pytest.mark.slow
@pytest.mark.parametrize("row", range(len(SPOILT)))
def test_an_answer_spoiled_in_any_way_is_heard_by_both_or_by_none(row):
    pair, place = Pair(), SPOILT[row].get("place", OTHERS[0])
    taken = Origin(native=True)
    assert taken.way(pair.valid[row], VIEW.ring[place].endpoint, 0.2) == []
    assert taken.left == []

    for body in spoiled(pair.valid[row], len(HEAD)):
        pair.compare(body, place)
    assert pair.native.state == pair.plain.state


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8))
def test_answers_spoiled_at_random_are_heard_by_both_or_by_none(seed):
    dice, pair = Random(seed), Pair()

    for _ in range(50_000):
        spoilt = spoiled_at_random(dice.choice(pair.valid)[len(HEAD) :], dice)
        pair.compare(HEAD + spoilt, dice.choice(OTHERS))
    assert pair.native.state == pair.plain.state


@given(st.binary(max_size=30), st.lists(st.one_of(whole, st.floats(), st.booleans()), max_size=5))
def test_bytes_that_are_no_answer_change_nothing(junk, values):
    native = Origin(native=True)
    before = native.state
    sender = VIEW.ring[OTHERS[0]].endpoint
    wrong = [True, 1.0, *values]

    assert native.way(HEAD + junk, sender, 0.2) is None
    for place in range(4):
        row = [12, native.query.id, OTHERS[0], 1, 5, 1]
        row[2 + place] = wrong[place % len(wrong)] if place < 2 else str(values)
        assert native.way(msgpack.packb(row), sender, 0.2) is None
    assert native.state == before


def test_an_answer_off_the_wire_is_heard_straight_if_it_comes_from_its_member(datagrams):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        other = Member("n1", MEMBERS[1].store, 0, 1, 0, *peer.getsockname())
        view = View().merged([MEMBERS[0], other, *MEMBERS[2:]])
        origin = Origin(native=True, view=view)
        place = view.ring.index(other)
        wrong = next(at for at, member in enumerate(view.ring) if member.name == "n2")
        datagrams.open({HEAD: origin.way})
        for told in (wrong, place, place):
            peer.sendto(b"\x01" + answer(origin, told), datagrams.endpoint)

        datagrams.drain()

    assert [heard.name for heard in origin.query.answers.values()] == ["n0", "n1"]
    assert origin.left == [answer(origin, told) for told in (wrong, place)]
    assert [one if one == "aim" else one[0] for one in datagrams.heard] == [*origin.left, "aim"]
    assert datagrams.traffic.datagrams_in == 3


def test_the_plainest_answers_are_not_left_to_the_python():
    native, plain = Origin(native=True), Origin(native=False)

    for number, place in enumerate(OTHERS[:-1]):
        value = (0, 5, -5, -40, -200, -40_000, -(2**40), 200, 2**62, 2**32)[number % 10]
        body, sender = answer(native, place, value=value), VIEW.ring[place].endpoint
        assert native.way(body, sender, 0.2) == plain.way(body, sender, 0.2) == []
        assert native.state == plain.state

    assert native.left == []


def test_the_answer_that_ends_a_query_is_left_to_the_python():
    native = Origin(native=True)
    bodies = [(answer(native, place), VIEW.ring[place].endpoint) for place in OTHERS]

    taken = [native.way(body, sender, 0.2) for body, sender in bodies]

    assert taken == [[]] * (len(OTHERS) - 1) + [None]
    assert native.left == [bodies[-1][0]]


def test_the_limit_of_c_is_that_of_python():
    assert _ANSWERS.AGE_MAX == AGE_MAX


def test_no_reference_is_kept_or_lost():
    native = Origin(native=True)
    query = native.query
    held = (query, query.view, query.pending, query.answers, query.tally, VIEW.ring[OTHERS[9]])
    before = [sys.getrefcount(one) for one in held]

    for _ in range(50):
        for place in OTHERS[:5]:
            native.way(answer(native, place), VIEW.ring[OTHERS[0]].endpoint, 0.2)
    native.way(answer(native, OTHERS[0])[:-1], VIEW.ring[OTHERS[0]].endpoint, 0.2)

    assert [sys.getrefcount(one) for one in held] == before


def test_an_origin_that_nobody_holds_is_collected_with_its_way():
    origin = Origin(native=True)
    origin.way(answer(origin, OTHERS[0]), VIEW.ring[OTHERS[0]].endpoint, 0.2)
    trace = weakref.ref(origin)

    del origin
    gc.collect()

    assert trace() is None


@pytest.mark.parametrize("arguments", [(), (b"",), (b"", ("h", 1), 1.0, 2)])
def test_a_call_with_too_little_or_too_much_is_refused(arguments):
    with pytest.raises(TypeError):
        Origin(native=True).way(*arguments)
