"""The shortest way of an ask is the common way, byte for byte; the rest it leaves alone."""

from dataclasses import replace
from random import Random

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter.config import GossipConfig
from counter.crdt import Counters, Share
from counter.express import LEGS_MAX, _plainest, asks
from counter.messages import DECREASED, GOSSIP, LEAF, RING, SKIP_MAX, Ask, AskAgain, Stop
from counter.quick import _ASKS, quick_asks
from counter.relay import Relay
from tracker.errors import FrameError
from tracker.members import SUSPECT, Member, View, position

OWN_QUERY = b"o" * 16
MEMBERS = [
    Member(f"n{i}", i.to_bytes(16, "big"), 0, 1, 0, "127.0.0.1", 1000 + i) for i in range(40)
]
VIEW = View().merged(MEMBERS)
ME = position("n1")


in_c = pytest.mark.skipif(_ASKS is None, reason="NO NATIVE MODULES: not built here")


@pytest.fixture(params=["python", pytest.param("native", marks=in_c)], autouse=True, scope="module")
def language(request):
    """What the short way is written in."""
    Side.is_native = request.param == "native"


class Side:
    """One node's relay and counts, with its own dice of one seed."""

    is_native = False

    def __init__(self, view=VIEW, queries_max=3):
        self.view = view
        self.is_doubted = False
        self.counters = Counters(MEMBERS[1].store, 1)
        self.counters.own.add("views", 7)
        config = GossipConfig(queries_max=queries_max)
        self.relay = Relay(config, ME, MEMBERS[1].store, 1, self.share_of, Random(1))
        self.doubtful = self.relay.doubtful = {}
        running = {OWN_QUERY: None}
        self._way = asks(self.relay, self.counters, running.__contains__, self)
        if self.is_native:
            self._way = quick_asks(self._way, self.relay, self.counters, running, self)

    def short(self, body, now):
        """Return the datagrams that the short way leads to, None if it does not take the body."""
        return self._way(body, ("127.0.0.1", 8000), now)

    def share_of(self, key):
        has_decreased = self.counters.own.has_decreased(key)
        return self.counters.value(key), DECREASED if has_decreased else 0

    def commonly(self, body, now=1.0):
        """Return the datagrams that the common way leads to."""
        try:
            message = GOSSIP.decode(body)
        except FrameError:
            return []
        if not isinstance(message, Ask) or message.query == OWN_QUERY:
            return []
        effects = self.relay.ask(message, self.view, now)
        return [(effect.to, GOSSIP.encode(effect.message)) for effect in effects]

    @property
    def state(self):
        relay = self.relay
        return relay.seen, relay.deadline(), relay.dice.random()


def make_ask(**changes):
    home = ("127.0.0.1", 9000)
    plain = Ask(b"q" * 16, "views", home, 3, 1, 1, 6, 900, 0, 0, RING, (ME,), (), 0)
    return replace(plain, **changes)


def raw(place, value):
    """Return the body of an ask that skips somebody, with one field replaced by something else."""
    values = msgpack.unpackb(GOSSIP.encode(make_ask()))
    values[place] = value
    return msgpack.packb(values)


ALONE = {"low": ME, "high": ME + 1}


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(make_ask(), id="the whole ring is passed on"),
        pytest.param(make_ask(skip=()), id="nobody is skipped"),
        pytest.param(make_ask(skip=(ME, VIEW.positions[3])), id="somebody else is skipped"),
        pytest.param(make_ask(visits=3), id="several visits"),
        pytest.param(make_ask(age=6), id="too old to be passed on"),
        pytest.param(make_ask(high=ME), id="an arc that ends before this node"),
        pytest.param(make_ask(**ALONE), id="an arc with nobody else"),
        pytest.param(make_ask(**ALONE, roll=VIEW.roll), id="the same view"),
        pytest.param(make_ask(roll=VIEW.roll), id="the same view, and others to be asked"),
        pytest.param(make_ask(roll=VIEW.roll, age=6), id="the same view, too old"),
        pytest.param(make_ask(roll=VIEW.roll ^ 1), id="another view"),
        pytest.param(make_ask(low=RING - 1), id="one position at the end of the ring"),
        pytest.param(make_ask(key="never counted"), id="a key never counted"),
        pytest.param(make_ask(home=("::1", 9000)), id="a home in IPv6"),
    ],
)
def test_a_first_ask_is_answered_and_passed_on_at_once(ask):
    quick, common = Side(), Side()
    body = GOSSIP.encode(ask)

    sent = quick.short(body, 1.0)

    assert sent is not None
    assert sent == common.commonly(body)
    assert quick.state == common.state


def test_whoever_is_skipped_the_parts_are_those_of_the_common_way():
    quick, common = Side(queries_max=99), Side(queries_max=99)
    for number, skipped in enumerate(VIEW.positions):
        ask = make_ask(query=bytes([number]) * 16, skip=(skipped,), chatter=9)
        body = GOSSIP.encode(ask)

        assert quick.short(body, 1.0) == common.commonly(body)


def test_decreases_are_in_the_answer():
    quick, common = Side(), Side()
    for side in (quick, common):
        side.counters.own.add("views", -9)
    for query, roll in ((b"q" * 16, 0), (b"r" * 16, VIEW.roll)):
        body = GOSSIP.encode(make_ask(query=query, roll=roll))

        assert quick.short(body, 1.0) == common.commonly(body)


def test_a_node_that_holds_shares_of_others_answers_on_the_common_way():
    quick = Side()
    quick.counters.others[b"x" * 16] = Share(1)

    assert quick.short(GOSSIP.encode(make_ask()), 1.0) is None


def test_a_member_that_is_not_well_is_passed_by_alike():
    view = VIEW.merged([MEMBERS[7].became(SUSPECT), MEMBERS[9].became(SUSPECT)])
    quick, common = Side(view), Side(view)
    body = GOSSIP.encode(make_ask(chatter=9))

    assert quick.short(body, 1.0) == common.commonly(body)


def test_a_node_that_may_be_an_old_backup_leaves_every_ask_to_the_common_way():
    side = Side()
    side.is_doubted = True

    assert side.short(GOSSIP.encode(make_ask()), 1.0) is None


def test_a_node_that_is_to_be_mute_leaves_every_ask_to_the_common_way():
    side = Side()
    side.relay.mute_from(5.0)
    body = GOSSIP.encode(make_ask())

    assert side.short(body, 5.0) is None
    assert side.short(body, 4.9) is not None


def test_an_arc_is_judged_by_the_newest_view():
    fewer = View().merged(MEMBERS[1:2])
    quick, common = Side(), Side()

    for number, view in enumerate([VIEW, fewer, VIEW]):
        quick.view = common.view = view
        body = GOSSIP.encode(make_ask(query=bytes([number]) * 16, roll=VIEW.roll))

        assert quick.short(body, 1.0) == common.commonly(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(GOSSIP.encode(make_ask(late=(3,))), id="somebody is late"),
        pytest.param(GOSSIP.encode(make_ask(query=OWN_QUERY)), id="its own query"),
        pytest.param(GOSSIP.encode(make_ask(key="besök")), id="a key beyond ASCII"),
        pytest.param(GOSSIP.encode(Stop(b"q" * 16)), id="another message"),
        pytest.param(GOSSIP.encode(make_ask())[:-2], id="cut short"),
        pytest.param(GOSSIP.encode(make_ask()) + b"\x00", id="more behind it"),
        pytest.param(b"\x9f\x01\xc1", id="no message"),
        pytest.param(raw(1, b"q" * 15), id="a query of 15 bytes"),
        pytest.param(raw(1, "q" * 16), id="text for a query"),
        pytest.param(raw(2, ""), id="an empty key"),
        pytest.param(raw(2, "k" * 257), id="a long key"),
        pytest.param(raw(2, "a\x1b[2J"), id="an escape in a key"),
        pytest.param(raw(2, b"views"), id="bytes for a key"),
        pytest.param(raw(3, b"\x7f\x00\x00\x01"), id="a home without a port"),
        pytest.param(raw(3, b"\x7f\x00\x00\x01\x00\x00"), id="port 0"),
        pytest.param(raw(3, b"\x7f\x23\x28"), id="no address"),
        pytest.param(raw(3, "127.00"), id="text for an address"),
        pytest.param(raw(4, 0), id="chatter 0"),
        pytest.param(raw(4, 10**6), id="too much chatter"),
        pytest.param(raw(5, 0), id="visits 0"),
        pytest.param(raw(5, 1.0), id="1.0 visits"),
        pytest.param(raw(6, -1), id="a negative age"),
        pytest.param(raw(6, 256), id="too old"),
        pytest.param(raw(7, 0), id="max age 0"),
        pytest.param(raw(7, 10**9), id="max age too large"),
        pytest.param(raw(8, 0), id="no budget"),
        pytest.param(raw(8, 10**9), id="too much budget"),
        pytest.param(raw(9, -1), id="a negative roll"),
        pytest.param(raw(9, 2**32), id="a roll too large"),
        pytest.param(raw(9, True), id="true for a roll"),
        pytest.param(raw(10, -1), id="an arc from below"),
        pytest.param(raw(11, -1), id="an arc to below"),
        pytest.param(raw(12, [-1]), id="a negative position"),
        pytest.param(raw(12, [True]), id="true for a position"),
        pytest.param(raw(12, [1] * (SKIP_MAX + 1)), id="too many positions"),
        pytest.param(raw(12, None), id="nil for a list"),
        pytest.param(GOSSIP.encode(make_ask(flags=2)), id="an unknown flag"),
        pytest.param(GOSSIP.encode(make_ask(flags=LEAF)), id="a leaf"),
        pytest.param(GOSSIP.encode(AskAgain.made(b"q" * 16, "views", ("", 0), 9, 0)), id="again"),
        pytest.param(msgpack.packb([1, b"q" * 16]), id="fields missing"),
    ],
)
def test_everything_else_is_left_to_the_common_way_and_changes_nothing(body):
    side, untouched = Side(), Side()

    sent = side.short(body, 1.0)

    assert sent is None
    assert side.state == untouched.state


def test_an_arc_that_ends_before_it_begins_is_left_to_the_common_way():
    body = GOSSIP.encode(make_ask(low=9, high=8))

    assert Side().short(body, 1.0) is None
    assert Side().commonly(body) == []


LAID_OUT = {
    "roll": VIEW.roll,
    "budget_ms": 5_000,
    "low": 0x40000001 << 32,
    "high": 0xC0000001 << 32,
    "skip": (),
}
FIRST = GOSSIP.encode(make_ask(query=b"1" * 16, **LAID_OUT))


def around(number):
    """Return the arc of the member at a place, and nobody else's."""
    low, high = (VIEW.positions[number] & ~0xFFFFFFFF, VIEW.positions[number] + 2**32)
    return {**LAID_OUT, "low": low, "high": high & ~0xFFFFFFFF}


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(make_ask(**LAID_OUT), id="much to pass on"),
        pytest.param(make_ask(**{**LAID_OUT, "skip": (VIEW.positions[9],)}), id="one is skipped"),
        pytest.param(make_ask(**around(VIEW.positions.index(ME))), id="nobody else in the arc"),
        pytest.param(make_ask(**LAID_OUT, key="other"), id="another key"),
        pytest.param(make_ask(**LAID_OUT, key="k" * 31), id="a key as long as may be"),
        pytest.param(make_ask(**LAID_OUT, key="k" * 32), id="a longer key"),
        pytest.param(
            make_ask(**{**LAID_OUT, "low": 1 << 60, "high": 0xC001 << 48}), id="short ends"
        ),
        pytest.param(make_ask(**{**LAID_OUT, "high": 1 << 63 | 1 << 20}), id="a long end"),
        pytest.param(make_ask(**{**LAID_OUT, "low": 0}), id="from the beginning of the ring"),
        pytest.param(make_ask(**{**LAID_OUT, "high": RING}), id="to the end of the ring"),
        pytest.param(make_ask(**LAID_OUT, age=2), id="another age"),
    ],
)
def test_a_second_ask_that_came_the_same_way_is_answered_like_the_first(ask):
    quick, common = Side(), Side()
    for body in (FIRST, GOSSIP.encode(ask)):
        sent = quick.short(body, 1.0)

        assert sent is not None
        assert sent == common.commonly(body)
        assert quick.state == common.state


def changed(at, values):
    """Return the body of an ask on the same leg, with some bytes put in place of others."""
    body = GOSSIP.encode(make_ask(**LAID_OUT))
    return body[:at] + values + body[at + len(values) :]


SECOND = GOSSIP.encode(make_ask(**LAID_OUT))
KEY_AT, ARC_AT = 21, len(SECOND) - 10


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(changed(2, b"\xc5"), id="a query of another kind"),
        pytest.param(changed(KEY_AT, b"\xff"), id="a key that is no text"),
        pytest.param(changed(KEY_AT, "é".encode()), id="a key beyond ASCII"),
        pytest.param(changed(KEY_AT, b"\x1b"), id="an escape in a key"),
        pytest.param(SECOND[:20] + b"\xa0" + SECOND[26:], id="an empty key"),
        pytest.param(changed(ARC_AT, b"\xca"), id="an arc that begins nowhere"),
        pytest.param(changed(ARC_AT + 5, b"\xca"), id="an arc that ends nowhere"),
        pytest.param(changed(ARC_AT + 4, b"\xff"), id="an arc that ends before it begins"),
        pytest.param(SECOND[:-1], id="cut short"),
        pytest.param(SECOND[:10], id="cut very short"),
        pytest.param(SECOND + b"\0", id="more behind it"),
        pytest.param(SECOND + b"\x91\xcf" + b"p" * 8, id="a position behind the last field"),
        pytest.param(changed(0, b"\x9d"), id="a field too few"),
        pytest.param(b"\x9d" + SECOND[1:] + b"\x91\xcf" + b"p" * 7, id="half a position"),
        pytest.param(b"\x9d" + SECOND[1:] + b"\x91\xd3" + b"\xff" * 8, id="a negative position"),
    ],
)
def test_a_known_leg_makes_nothing_good_that_is_not(body):
    quick, untouched = Side(), Side()
    assert quick.short(FIRST, 1.0) == untouched.short(FIRST, 1.0)

    assert quick.short(body, 1.0) is None
    assert quick.state == untouched.state


def test_the_legs_that_are_remembered_are_bounded():
    legs = {}
    for number in range(LEGS_MAX + 10):
        body = GOSSIP.encode(make_ask(**{**LAID_OUT, "roll": 2**31 + number}))
        assert _plainest(body, legs) is not None
        assert len(legs) <= LEGS_MAX
    assert 0 < len(legs) <= 10


@pytest.mark.parametrize("kind", ["doubtful", "began anew"])
def test_a_key_of_which_more_is_to_be_said_is_left_to_the_common_way(kind):
    side = Side()
    if kind == "doubtful":
        side.doubtful["views"] = (1, 0, 1)
    else:
        side.counters.names["views"] = "views\0001"

    assert side.short(GOSSIP.encode(make_ask()), 1.0) is None
    assert side.short(GOSSIP.encode(make_ask(key="other")), 1.0) is not None


asked = st.builds(
    make_ask,
    query=st.sampled_from([bytes([n]) * 16 for n in range(5)]),
    roll=st.sampled_from([0, VIEW.roll, 77]),
    key=st.sampled_from(["views", "other"]),
    chatter=st.integers(1, 12),
    visits=st.integers(1, 3),
    age=st.integers(0, 7),
    low=st.sampled_from([0, ME, VIEW.positions[5], 1 << 62]),
    high=st.sampled_from([ME + 1, VIEW.positions[9], VIEW.positions[30], RING, 3 << 62]),
    skip=st.sampled_from([(), (ME,), (ME, VIEW.positions[8])]),
    late=st.sampled_from([(), (), (VIEW.positions[7],)]),
    flags=st.sampled_from([0, 0, LEAF]),
    budget_ms=st.sampled_from([1, 900, 5_000]),
)


@given(st.lists(asked, max_size=12))
def test_a_node_with_the_short_way_says_and_holds_what_one_without_does(sequence):
    quick, common = Side(), Side()
    for number, ask in enumerate(sequence):
        body = GOSSIP.encode(ask)
        now = float(number)

        sent = quick.short(body, now)
        if sent is None:
            sent = quick.commonly(body, now)

        assert sent == common.commonly(body, now)
        assert quick.state == common.state
