"""The shortest way of an answer does what the common way would do; the rest it leaves alone."""

from dataclasses import fields
from random import Random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.hearing import HEAD, answers
from counter.messages import (
    DECREASED,
    GOSSIP,
    UNTIL_ALL,
    UNTIL_SHARE,
    Delegate,
    Query,
    Reply,
    ShortReply,
)
from counter.query import OwnQuery
from counter.quick import _ANSWERS, quick_answers
from tracker.members import Member, View, position
from tracker.wire import SHARE_MAX

REPLY_FIELDS = Reply.__match_args__
CHANGING = {field.name for field in fields(OwnQuery)} - {"config", "rng", "view", "first_view"}
MEMBERS = [
    Member(f"n{i}", (i + 1).to_bytes(16, "little"), 0, 1, 0, "127.0.0.1", 1000 + i)
    for i in range(12)
]
VIEW = View().merged(MEMBERS)
OTHERS = [place for place, member in enumerate(VIEW.ring) if member.name != "n0"]
LINK = 7


in_c = pytest.mark.skipif(_ANSWERS is None, reason="NO NATIVE MODULES: not built here")


@pytest.fixture(params=["python", pytest.param("native", marks=in_c)], autouse=True, scope="module")
def language(request):
    """What the short way is written in."""
    Side.is_native = request.param == "native"


class Side:
    """An origin that has asked one query, with dice of one seed."""

    is_native = False

    def __init__(self, until=UNTIL_ALL, key="views"):
        self.node = Gossip(NodeConfig(name="n0"), LAN, MEMBERS[0], (), Random(1))
        self.node.membership.view = self.node._followed = VIEW
        request = Query(1, key, 3, 0, 0, 2_000, until, 500, 0, False)
        self.node.asker.take(LINK, request, 0.0, view_is_known=True)
        for due in self.node.asker.released(0.0, view_is_known=True):
            self.node.origin.begin(due, 0.0)
        [self.query] = self.node.asker.under_way()
        self._way = answers(self.node.asker.listener, self.node.heads)
        if self.is_native:
            self._way = quick_answers(self._way, self.node.asker.listener, self.node.heads)

    def shortly(self, body, sender, now=0.01):
        return self._way(body, sender, now) if body.startswith(HEAD) else None

    def commonly(self, body, sender, now=0.01):
        return self.node.receive(sender, GOSSIP.decode(body), now)

    def reply(self, place, **changes):
        """Return the body and the sender of the answer of the member at a place."""
        told = {"place": place, "epoch": 1, "value": 5, "age": 1, **changes}
        body = GOSSIP.encode(ShortReply(self.query.id, **told))
        return body, VIEW.ring[place].endpoint

    @property
    def state(self):
        asker, due = self.node.asker, self.node.deadline()
        query = {name: repr(getattr(self.query, name)) for name in CHANGING}
        last = repr(asker.listener.last_values._values)
        others = asker.listener.strangers, asker.listener.strange, asker.under_way() == []
        return query, last, others, due


@pytest.mark.parametrize("value", [0, 5, -5, 2**62, -(2**62)])
def test_an_answer_is_counted_as_on_the_common_way(value):
    quick, common = Side(), Side()
    body, sender = quick.reply(OTHERS[3], value=value)

    assert quick.shortly(body, sender) == []
    assert common.commonly(body, sender) == []
    assert quick.state == common.state
    assert quick.query.value == value


def test_the_answer_that_ends_a_query_goes_the_common_way():
    side = Side()
    taken = [side.shortly(*side.reply(place)) for place in OTHERS]

    assert taken == [[]] * (len(OTHERS) - 1) + [None]


def heard_before(side):
    assert side.shortly(*side.reply(OTHERS[0])) == []
    return side.reply(OTHERS[0])


def another_query(side):
    return GOSSIP.encode(ShortReply(b"x" * 16, OTHERS[0], 1, 5, 1)), VIEW.ring[OTHERS[0]].endpoint


def from_elsewhere(side):
    return side.reply(OTHERS[0])[0], ("127.0.0.1", 5)


def asked_again(side):
    side.query.pending[VIEW.positions[OTHERS[0]]].asks = 1
    side.query.firsts.append(0)
    return side.reply(OTHERS[0])


def after_a_newer_list(side):
    side.query.follow(VIEW.merged([Member("new", b"n" * 16, 0, 1, 0, "127.0.0.1", 9)]))
    return side.reply(OTHERS[0])


def after_an_answer_elsewhere(side):
    side.query.elsewhere[("127.0.0.1", 1)] = b"e" * 8
    return side.reply(OTHERS[0])


def after_counts_moved(side):
    side.query.moved[b"m" * 8] = MEMBERS[3]
    return side.reply(OTHERS[0])


def held_by_another(side):
    member = VIEW.ring[OTHERS[0]]
    side.query.pending[position(member.name)].is_refused = True
    store = member.store[:8]
    side.query.hold(((store, 1, 4),), 1, 0.01)
    return side.reply(OTHERS[0])


def while_somebody_knows_more(side):
    side.node.asker.listener.strange.append((77, ("127.0.0.1", 5)))
    return side.reply(OTHERS[0])


def for_a_cell_headed_here(side):
    brief = (1, "views", ("127.0.0.1", 9), 3, 1, 1, 6, 900, VIEW.roll_bits, 0, 2**64)
    delegate = Delegate(side.query.id, *brief, (), (), 0)
    side.node.heads.delegate(("127.0.0.1", 9), delegate, VIEW, 0.0)
    assert side.query.id in side.node.heads.collected
    return side.reply(OTHERS[0])


@pytest.mark.parametrize(
    "situation",
    [
        heard_before,
        another_query,
        from_elsewhere,
        asked_again,
        after_a_newer_list,
        after_counts_moved,
        after_an_answer_elsewhere,
        held_by_another,
        while_somebody_knows_more,
        for_a_cell_headed_here,
    ],
)
def test_what_is_not_plain_is_left_to_the_common_way_and_changes_nothing(situation):
    side = Side()
    body, sender = situation(side)
    before = side.state

    assert side.shortly(body, sender) is None
    assert side.state == before


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"until": UNTIL_SHARE}, id="half of the members are enough"),
        pytest.param({"key": "\0\np"}, id="a question for many keys"),
    ],
)
def test_only_queries_for_one_key_of_all_are_heard_the_short_way(asked):
    side = Side(**asked)

    assert side.shortly(*side.reply(OTHERS[0])) is None


def raw(side, place, value):
    """Return a body with one field replaced by something else."""
    values = msgpack.unpackb(side.reply(OTHERS[0])[0])
    values[place] = value
    return msgpack.packb(values)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        pytest.param(1, b"q" * 15, id="a query of 15 bytes"),
        pytest.param(1, "q" * 16, id="text for a query"),
        pytest.param(2, 12, id="a place behind the last one"),
        pytest.param(2, -1, id="a place before the first one"),
        pytest.param(2, 1.0, id="no whole place"),
        pytest.param(2, True, id="true for a place"),
        pytest.param(3, -1, id="a negative epoch"),
        pytest.param(3, 2**32, id="an epoch too large"),
        pytest.param(4, SHARE_MAX + 1, id="a value too large"),
        pytest.param(4, -SHARE_MAX - 1, id="a value too small"),
        pytest.param(4, None, id="nil for a value"),
        pytest.param(5, 256, id="too old"),
        pytest.param(5, b"", id="bytes for an age"),
    ],
)
def test_a_field_that_is_wrong_is_left_to_the_common_way(place, value):
    side = Side()
    sender = VIEW.ring[OTHERS[0]].endpoint
    before = side.state

    assert side.shortly(raw(side, place, value), sender) is None
    assert side.state == before


def test_bytes_that_are_no_message_are_left_to_the_common_way():
    side = Side()
    body, sender = side.reply(OTHERS[0])

    assert side.shortly(body[:-1], sender) is None
    assert side.shortly(body + b"\0", sender) is None


answered = st.tuples(
    st.integers(0, len(MEMBERS) - 1),
    st.integers(1, 2),
    st.integers(-9, 9),
    st.integers(0, 4),
    st.sampled_from([0, 0, 0, DECREASED]),
    st.sampled_from([None, None, None, ("127.0.0.1", 5)]),
    st.booleans(),
)


@settings(max_examples=25)
@given(st.lists(answered, max_size=16))
def test_an_origin_with_the_short_way_holds_and_says_what_one_without_does(sequence):
    quick, common = Side(), Side()
    for number, (place, epoch, value, age, flags, elsewhere, is_long) in enumerate(sequence):
        now = 0.01 + number / 1000
        body, sender = quick.reply(place, epoch=epoch, value=value, age=age, flags=flags)
        if is_long:
            short = GOSSIP.decode(body)
            body = GOSSIP.encode(Reply(*[getattr(short.whole(VIEW), f) for f in REPLY_FIELDS]))
        sender = elsewhere or sender

        sent = quick.shortly(body, sender, now)
        if sent is None:
            sent = quick.commonly(body, sender, now)

        assert sent == common.commonly(body, sender, now)
        assert quick.state == common.state
