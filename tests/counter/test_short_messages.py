"""What the datagrams of a query leave out, and that nothing is lost by it."""

from dataclasses import replace
from random import Random

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter.cells import Cell
from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.heads import Heads
from counter.messages import (
    BATCH_ROOM_BYTES,
    DECREASED,
    GOSSIP,
    LEAF,
    NOWHERE,
    RING,
    ROLLS_MAX,
    ROWS_MAX,
    TRACE,
    UNTIL_ALL,
    Ask,
    AskAgain,
    Batch,
    Delegate,
    Query,
    Reply,
    ShortReply,
    packed_rows,
    row_bytes,
    steps_bytes,
    swapped,
)
from counter.query import Heard, Hops, OwnQuery
from counter.relay import Relay
from counter.selection import rounded
from tracker.errors import FrameError
from tracker.members import Member, View, folded, position
from tracker.wire import DATAGRAM_BYTES_MAX, SHARE_MAX

QUERY = b"q" * 16
HOME = ("127.0.0.1", 9)


def make_members(count):
    return [
        Member(f"n{i}", i.to_bytes(16, "little"), 0, 1, 0, "127.0.0.1", 1000 + i)
        for i in range(count)
    ]


MEMBERS = make_members(400)
VIEW = View().merged(MEMBERS[:40])


def make_relay(number=1, store=None, value=5, flags=0):
    store = store or MEMBERS[number].store
    where = position(MEMBERS[number].name)
    return Relay(LAN, where, store, 3, lambda key: (value, flags), Random(1))


def make_ask(**changes):
    return replace(Ask(QUERY, "k", HOME, 3, 1, 1, 9, 5_000, VIEW.roll, 0, RING), **changes)


def make_query(view=VIEW, *, trace=False):
    own = MEMBERS[0]
    request = Query(1, "k", 0, 0, 0, 2_000, UNTIL_ALL, 0, 0, False, trace=trace)
    parts = (request, own.endpoint, position(own.name), view, 0.0)
    query = OwnQuery(QUERY, *parts, LAN, Hops(0.010, 0.0025), Random(1))
    query.start(Heard(own.name, own.store[:8], 1, 0, 0, 0.0, False))
    return query


def make_delegate(view=VIEW, **changes):
    ask = Delegate(
        QUERY, 5, "k", HOME, 3, 1, 2, 9, 5_000, view.roll_bits, 0, RING, (), ()
    )  # fmt: skip
    return replace(ask, **changes)


def make_cell(count=20, *, ask=None, **changes):
    view = View().merged(MEMBERS[:count])
    ask = ask or make_delegate(view)
    head = MEMBERS[0]
    cell = Cell(
        QUERY,
        Query(0, "k", 3, 1, 0, 5_000, UNTIL_ALL, 0, 0, False),
        head.endpoint,
        position(head.name),
        view,
        0.0,
        replace(LAN, **changes),
        Hops(0.010, 0.0025),
        Random(1),
        ask=ask,
        origin=HOME,
        cell=99,
    )
    cell.start(Heard(head.name, head.store[:8], 1, 7, 0, 0.0, False))
    return cell, view


def batches_of(cell, count, value=1):
    """Let members answer a cell one after another; returns the batches that this filled."""
    sends = []
    for member in MEMBERS[1:count]:
        store = member.store[:8]
        reply = Reply(QUERY, position(member.name), store, 1, value, 1, 0, (), ())
        sends += cell.take(reply, member.endpoint, 0.02)
    return [send.message for send in sends]


# -- the ends of arcs -------------------------------------------------------------------------


@given(st.integers(0, RING - 2), st.integers(1, RING - 1))
def test_a_rounded_end_parts_the_same_two_members(before, gap):
    at = min(before + gap, RING - 1)

    end = rounded(before, at)

    assert before < end <= at
    assert all(end & -end >= other & -other for other in (at, before + 1))


@given(st.integers(0, RING))
def test_an_end_comes_back_as_it_went(end):
    assert swapped(swapped(end)) == end % RING


def test_the_ends_of_the_arcs_of_a_split_are_short():
    _, *asks = make_relay().ask(make_ask(), VIEW, 0.0)

    assert [swapped(send.message.low) < 2**16 for send in asks] == [True] * 3


def test_a_plain_ask_holds_no_field_that_says_nothing():
    plain = len(GOSSIP.encode(make_ask(low=5 << 56, high=6 << 56)))
    changes = {"skip": (1,), "late": (1,), "flags": TRACE}
    sizes = [
        len(GOSSIP.encode(make_ask(low=5 << 56, high=6 << 56, **{name: value}))) - plain
        for name, value in changes.items()
    ]

    assert sizes == [2, 3, 3]
    for name, value in changes.items():
        ask = make_ask(**{name: value})
        assert GOSSIP.decode(GOSSIP.encode(ask)) == ask


# -- asking again -----------------------------------------------------------------------------


def test_repair_asks_with_no_more_than_it_needs():
    query = make_query()

    asks = query.wave(query.next_wave)

    assert {type(send.message) for send in asks} == {AskAgain}
    assert {(send.message.flags, send.message.roll) for send in asks} == {(LEAF, VIEW.roll)}
    assert max(len(GOSSIP.encode(send.message)) for send in asks) < 32


def test_an_ask_that_came_again_is_answered_to_its_sender_alone():
    node = Gossip(NodeConfig(name="n1"), LAN, MEMBERS[1], (), Random(1))
    node.membership.view = VIEW
    ask = GOSSIP.decode(GOSSIP.encode(AskAgain.made(QUERY, "k", HOME, 900, VIEW.roll)))
    assert ask.home is NOWHERE

    [answer] = node.receive(("127.0.0.1", 77), ask, 1.0)

    assert answer.to == ("127.0.0.1", 77)
    assert answer.message == ShortReply(QUERY, VIEW.span(position("n1"), RING)[0], 1, 0, 1)


def test_a_traced_query_asks_again_with_its_flag_and_wants_whole_replies():
    query = make_query(trace=True)

    [ask, *_] = [send.message for send in query.wave(query.next_wave)]

    assert (ask.flags, ask.roll) == (LEAF | TRACE, 0)
    assert GOSSIP.decode(GOSSIP.encode(ask)).flags == LEAF | TRACE


# -- short replies ----------------------------------------------------------------------------


def test_who_has_the_view_of_the_asker_answers_with_its_place_in_it():
    answer, *_ = make_relay(flags=DECREASED).ask(make_ask(), VIEW, 0.0)

    assert answer.message == ShortReply(
        QUERY, VIEW.ring.index(MEMBERS[1]), 3, 5, 1, DECREASED
    )  # fmt: skip
    assert GOSSIP.decode(GOSSIP.encode(answer.message)) == answer.message


@pytest.mark.parametrize(
    ("relay", "ask", "view"),
    [
        pytest.param(make_relay(), make_ask(roll=0), VIEW, id="nobody wants it"),
        pytest.param(make_relay(), make_ask(roll=VIEW.roll ^ 1), VIEW, id="another view"),
        pytest.param(make_relay(300), make_ask(), VIEW, id="not in its own view"),
        pytest.param(make_relay(store=b"x" * 16), make_ask(), VIEW, id="another store there"),
        pytest.param(make_relay(), make_ask(age=9), VIEW, id="an arc was cut off"),
    ],
)
def test_everybody_else_says_who_it_is(relay, ask, view):
    answer, *_ = relay.ask(ask, view, 0.0)

    assert isinstance(answer.message, Reply)
    assert (answer.message.position, answer.message.store) == (relay.position, relay.store)


def test_a_short_reply_says_what_the_long_one_would():
    relay = make_relay()
    short, *_ = relay.ask(make_ask(flags=LEAF), VIEW, 0.0)
    long, *_ = relay.ask(make_ask(flags=LEAF, roll=0), VIEW, 0.0)

    assert short.message.whole(VIEW) == long.message


def make_node(count=40):
    node = Gossip(NodeConfig(name="n0"), LAN, MEMBERS[0], (), Random(1))
    node.membership.view = node._followed = View().merged(MEMBERS[:count])
    request = Query(1, "k", 0, 0, 0, 2_000, UNTIL_ALL, 0, 0, False)
    node.asker.take(7, request, 0.0, view_is_known=True)
    for due in node.asker.released(0.0, view_is_known=True):
        node.origin.begin(due, 0.0)
    return node, node.asker.under_way()[0]


def test_an_answer_is_counted_by_the_place_it_names_even_when_the_view_is_another_by_then():
    node, query = make_node()
    member = VIEW.ring[4] if VIEW.ring[4].name != "n0" else VIEW.ring[5]
    place = VIEW.ring.index(member)
    node.asker.follow(View().merged(MEMBERS[:60]))

    node.receive(member.endpoint, ShortReply(query.id, place, 1, 9, 1), 0.01)

    assert query.answers[member.store[:8]].name == member.name
    assert query.value == 9


@pytest.mark.parametrize("place", [40, 2**32 - 1])
def test_a_place_that_the_view_has_not_is_a_stranger(place):
    node, query = make_node()

    assert node.receive(("127.0.0.1", 1001), ShortReply(query.id, place, 1, 9, 1), 0.01) == []

    assert (len(query.answers), node.asker.listener.strangers) == (1, 1)


def test_a_short_reply_in_the_name_of_another_is_not_counted():
    node, query = make_node()
    place = next(i for i, member in enumerate(VIEW.ring) if member.name != "n0")

    node.receive(("10.9.9.9", 1), ShortReply(query.id, place, 1, 10**9, 1), 0.01)

    assert query.value == 0
    assert query.tally.strangers == 1


def test_a_short_reply_to_nobody_is_a_stranger():
    node, _ = make_node()

    assert node.receive(("127.0.0.1", 1001), ShortReply(b"x" * 16, 0, 1, 9, 1), 0.01) == []
    assert node.asker.listener.strangers == 1


# -- cells ------------------------------------------------------------------------------------


def test_cells_of_one_query_name_the_same_view():
    member = MEMBERS[0]
    relay = make_relay(0)
    heads = Heads(LAN, member, relay, Random(1))
    newer = View().merged(MEMBERS[:60])
    middle = VIEW.positions[20]
    heads.delegate(HOME, make_delegate(share=1, high=middle), VIEW, 0.0)
    _, *asks = heads.delegate(HOME, make_delegate(share=2, low=middle), newer, 0.0)
    other = next(m for m in VIEW.ring[20:] if m.name != "n0")

    reply = heads.whole(ShortReply(QUERY, VIEW.ring.index(other), 1, 4, 1))

    assert {send.message.roll for send in asks if isinstance(send.message, Ask)} == {VIEW.roll}
    assert (reply.position, reply.store) == (position(other.name), other.store[:8])
    assert heads.whole(ShortReply(b"x" * 16, 0, 1, 4, 1)) is None


def test_a_head_with_the_view_of_the_origin_tells_its_rows_by_their_places():
    cell, view = make_cell(20)

    [batch] = batches_of(cell, 20)

    assert batch.identities == b""
    assert (len(batch.numbers), batch.rolls) == (4 * 20, ())
    told = {pos: store for pos, store, *_ in batch.rows(view)}
    assert told == {position(m.name): m.store[:8] for m in view}


def test_a_head_with_another_view_names_its_rows_and_tells_of_its_view():
    cell, view = make_cell(20, ask=make_delegate(VIEW))

    [batch] = batches_of(cell, 20)

    assert (len(batch.identities), len(batch.numbers)) == (16 * 20, 3 * 20)
    assert batch.rolls == ((position("n0"), view.roll),)
    assert folded(view.roll_bits) == view.roll


def test_who_joined_meanwhile_is_named_beside_those_that_have_a_place():
    cell, view = make_cell(20)
    cell.follow(View().merged(MEMBERS[:22]))

    [batch] = batches_of(cell, 22)
    batch = GOSSIP.decode(GOSSIP.encode(batch))

    assert (len(batch.identities), len(batch.numbers)) == (16 * 2, 4 * 20 + 3 * 2)
    assert {pos for pos, *_ in batch.rows(view)} == {position(m.name) for m in MEMBERS[:22]}


@pytest.mark.parametrize("members", [1_024, 40_000, 1_000_000])
@pytest.mark.parametrize("value", [1, 2**40])
def test_batches_fit_a_datagram_however_far_the_next_place_is(value, members):
    apart = max(1, members // 400)
    row = (0, bytes(8), 1, value, 3, 0)
    room = BATCH_ROOM_BYTES - min(BATCH_ROOM_BYTES // 2, steps_bytes(members))
    count = min(ROWS_MAX, room // row_bytes(row, is_placed=True))
    numbers = (apart, 1, value, 3) * count
    rolls = ((2**64 - 1, 2**32 - 1),) * ROLLS_MAX
    most = (2**32 - 1, 2**32 - 1, 4_095, 255, 2**63 - 1, 2**64 - 2, 2**32 - 1, 255)
    batch = Batch(QUERY, *most, 2**32 - 1, 2**32 - 1, b"", numbers, b"", b"", rolls)

    assert len(GOSSIP.encode(batch)) < DATAGRAM_BYTES_MAX


@pytest.mark.parametrize("value", [SHARE_MAX, -SHARE_MAX])
def test_no_answer_holds_more_than_a_share_may(value):
    more = value + (1 if value > 0 else -1)
    made = [
        lambda value: ShortReply(QUERY, 1, 1, value, 1),
        lambda value: Reply(QUERY, 1, bytes(8), 1, value, 1, 0, (), ()),
        lambda value: Reply(QUERY, 1, bytes(8), 1, 0, 1, 0, (), ((bytes(8), 1, value),)),
        lambda value: Batch(
            QUERY, 1, 1, 0, 0, 0, 9, 1, 1, 0, 0, *packed_rows([(1, bytes(8), 1, value, 1, 0)]),
            b"", b"",
        ),
    ]  # fmt: skip
    for make in made:
        assert GOSSIP.decode(GOSSIP.encode(make(value))) == make(value)
        with pytest.raises(FrameError):
            GOSSIP.decode(GOSSIP.encode(make(more)))


def test_a_cell_tells_all_its_rows_in_batches_that_are_nearly_full():
    cell, view = make_cell(400)

    told = batches_of(cell, 400, value=1_000)

    assert [len(batch.rows(view)) for batch in told] == [179, 179, 42]
    assert max(len(GOSSIP.encode(batch)) for batch in told) < DATAGRAM_BYTES_MAX


def test_a_place_that_the_origin_has_not_ends_the_rows():
    rows = [(position(m.name), m.store[:8], 1, 2, 3, 0) for m in MEMBERS[:40]]
    identities, numbers = packed_rows(rows, VIEW, 0)
    parts = (identities, numbers, b"", b"")
    batch = Batch(QUERY, 1, 2, 3, 0, 0, RING, 7, 6, 5, 4, *parts)

    assert len(batch.rows(VIEW)) == 40
    assert len(batch.rows(View().merged(MEMBERS[:30]))) == 30
    assert batch.rows() == []


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((-1, 1, 1, 1), "a step backwards"),
        ((2**32, 1, 1, 1), "a step backwards, or beyond"),
        ((1, -1, 1, 1), "an epoch beyond"),
        ((1, 1, 1, 2**16), "an age or flags beyond"),
        ((1, 1, 1, 1, 1), "wanted rows"),
    ],
)
def test_places_that_do_not_fit_are_refused(numbers, words):
    batch = Batch(QUERY, 1, 2, 3, 0, 0, RING, 7, 6, 5, 4, b"", numbers, b"", b"")

    with pytest.raises(FrameError, match=words):
        GOSSIP.decode(GOSSIP.encode(batch))


@pytest.mark.parametrize(
    ("field", "value"),
    [(1, b"q" * 15), (4, 0), (9, 2**32), (12, None), (12, [-1]), (13, [0] * 17), (14, 256)],
)
def test_an_ask_with_a_field_that_cannot_be_is_refused(field, value):
    values = msgpack.unpackb(GOSSIP.encode(make_ask(flags=TRACE)))
    values[field] = value

    with pytest.raises(FrameError):
        GOSSIP.decode(msgpack.packb(values))
