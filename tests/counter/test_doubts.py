"""What a query hears of increments that are parked somewhere, through two whole nodes."""

from random import Random

import pytest

from counter.config import LAN, NodeConfig
from counter.doubtful import Doubted
from counter.gossip import Gossip
from counter.messages import (
    GOSSIP,
    UNTIL_ALL,
    WORKING,
    Answer,
    Ask,
    AskMany,
    Park,
    Query,
    Reply,
    ReplyMany,
    ShortReply,
    Stop,
    Traced,
    Uncertain,
    UncertainMany,
    prefixed,
)
from tracker.machine import Opened, Send
from tracker.members import Member, position
from tracker.messages import Announced, Heartbeat, Listed, Registered
from tracker.pages import news_to_wire
from tracker.wire import DATAGRAM_BYTES_MAX

TRACKER, TRACKER_LINK, LIST_LINK, CLIENT = ("127.0.0.1", 7400), 1, 2, 50
EPOCH = b"t" * 8
MEMBERS = [
    Member(f"n{i}", bytes([i]) * 16, 1, 1, 0, "127.0.0.1", 1000 + i, durable=False)
    for i in range(3)
]


def make_node(index):
    node = Gossip(NodeConfig(name=f"n{index}"), LAN, MEMBERS[index], (TRACKER,), Random(1))
    node.resume(0)
    node.start(0.0)
    node.submit(Opened(TRACKER_LINK, TRACKER), 0.0)
    node.receive(TRACKER_LINK, Registered(EPOCH, 0, 0, 0), 0.0)
    node.receive(TRACKER_LINK, Heartbeat(EPOCH, 1, 0, news_to_wire(MEMBERS)), 0.0)
    node.receive(TRACKER_LINK, Announced(1), 0.0)
    return node


def park(node, sequence, amount, key="k"):
    home = MEMBERS[2]
    message = Park(sequence, b"s" * 16, sequence, (key, amount), 0, home.store, home.name)
    node.receive(CLIENT, message, 0.0)


def sent(effects, kind):
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, kind)]


def make_request(key="k"):
    return Query(1, key, 0, 0, 0, 1_000, UNTIL_ALL, 0, 0, False)


def asked(nodes, **wishes):
    """Let n0 ask everybody; returns the last answer and what its peers said."""
    fields = [wishes.pop(name, 0) for name in ("chatter", "visits", "age_max")]
    request = Query(1, "k", *fields, 1_000, UNTIL_ALL, 0, 0, False, **wishes)
    effects = nodes[0].receive(CLIENT, request, 0.1)
    effects += nodes[0].submit(Opened(LIST_LINK, TRACKER), 0.1)
    rows = tuple([(member, -1.0, -1) for member in MEMBERS])
    effects += nodes[0].receive(LIST_LINK, Listed(1, True, rows), 0.1)
    heard, replies = [*effects], []
    by_endpoint = {m.endpoint: node for m, node in zip(MEMBERS, nodes, strict=True)}
    waiting = [(MEMBERS[0].endpoint, e) for e in effects]
    while waiting:
        source, effect = waiting.pop(0)
        node = by_endpoint.get(effect.to) if isinstance(effect, Send) else None
        if node is None:
            continue
        if node is nodes[0]:
            replies.append(effect.message)
        made = node.receive(source, effect.message, 0.2)
        heard += made
        waiting += [(effect.to, each) for each in made]
    return sent(heard, Answer)[-1], replies


@pytest.mark.parametrize("trace", [False, True], ids=["short", "traced"])
def test_an_answer_is_between_what_may_be_lost_and_what_may_be_gained(trace):
    nodes = [make_node(i) for i in range(3)]
    for node in nodes:
        node.ledger.counters.own.add("k", 10)
    park(nodes[0], 1, 2)
    park(nodes[1], 2, 5)
    park(nodes[1], 3, -4)
    park(nodes[1], 4, 7, key="another")

    answer, replies = asked(nodes, trace=trace)

    assert (answer.value, answer.low, answer.high, answer.uncertain) == (30, 26, 37, 3)
    assert answer.complete
    assert sorted([type(reply).__name__ for reply in replies]) == sorted(
        ["Uncertain", "Traced" if trace else "ShortReply"]
    )


def test_a_node_says_what_was_in_doubt_when_it_first_saw_the_query():
    node = make_node(1)
    home = ("127.0.0.1", 9)
    ask = Ask(b"q" * 16, "k", home, 3, 1, 1, 9, 5_000, 0, 5, 6, (), (), 0)
    later = Ask(b"r" * 16, "k", home, 3, 1, 1, 9, 5_000, 0, 5, 6, (), (), 0)
    park(node, 1, 2)
    first = sent(node.receive(home, ask, 0.1), Uncertain)
    park(node, 2, 3)

    assert [(told.plus, told.count) for told in first] == [(2, 1)]
    assert sent(node.receive(home, ask, 0.1), Uncertain) == first
    assert [told.plus for told in sent(node.receive(home, later, 0.1), Uncertain)] == [5]


def test_doubts_are_remembered_as_long_as_their_queries_and_not_much_longer():
    node = make_node(1)
    node.doubts.doubts_max = 3
    park(node, 1, 2)

    def told(number):
        home = ("127.0.0.1", 9)
        ask = Ask(bytes([number]) * 16, "k", home, 3, 1, 1, 9, 5_000, 0, 5, 6, (), (), 0)
        return sent(node.receive(home, ask, 0.1), Uncertain)

    assert [len(told(number)) for number in range(4)] == [1, 1, 1, 1]
    assert [len(told(number)) for number in range(4)] == [1, 1, 1, 1]
    for number in (0, 1):
        del node.relay.seen[bytes([number]) * 16]
    assert told(9)
    assert len(node.doubts) == 3


def test_what_is_in_doubt_is_not_kept_for_an_ask_that_is_not_answered():
    node = make_node(1)
    park(node, 1, 2)
    node.membership.is_doubted = True
    home = ("127.0.0.1", 9)

    assert not node.receive(home, Ask(b"q" * 16, "k", home, 3, 1, 1, 9, 9, 0, 5, 6, (), (), 0), 0.1)

    assert len(node.doubts) == 0


@pytest.mark.parametrize("length", [1, 30, 200])
@pytest.mark.parametrize("doubts", [1, 30, 300])
def test_the_longest_answer_for_many_keys_and_its_doubts_fit_a_datagram(doubts, length):
    node = make_node(1)
    for number in range(300):
        key = f"{number:03}" + "x" * length
        node.ledger.counters.own.add(key, 2**60 + number)
    for number in range(doubts):
        for amount in (2**52, -(2**52)):
            park(node, 2 * number + (amount > 0), amount, f"{number:03}" + "y" * length)
    home = ("127.0.0.1", 9)
    ask = AskMany(b"q" * 16, prefixed(""), home, 3, 1, 1, 9, 5_000, 0, 5, 6)

    (told,) = sent(node.receive(home, ask, 0.1), UncertainMany)

    assert len(GOSSIP.encode(told)) < DATAGRAM_BYTES_MAX
    assert (told.plus, told.minus, told.count) == (doubts * 2**52, doubts * 2**52, 2 * doubts)
    assert len(told.rows) + told.left_out == doubts


def test_a_long_look_for_keys_ends_with_what_was_in_doubt_when_it_began(monkeypatch):
    monkeypatch.setattr("counter.tables.STEP_KEYS_MAX", 4)
    monkeypatch.setattr("counter.keyindex.RUN_KEYS_MAX", 4)
    node = make_node(1)
    for number in range(40):
        node.ledger.counters.own.add(f"k{number}", 1)
    park(node, 1, 2)
    home = ("127.0.0.1", 9)
    ask = AskMany(b"q" * 16, prefixed("k"), home, 3, 1, 1, 9, 5_000, 0, 5, 6)
    (working,) = sent(node.receive(home, ask, 0.1), ReplyMany)
    park(node, 2, 3)

    found = sent([effect for _ in range(40) for effect in node.tick(0.2)], UncertainMany)

    assert working.flags == WORKING
    assert [(told.plus, told.count, told.rows) for told in found] == [(2, 1, (("k", 0, 2),))]
    assert sent(node.receive(home, ask, 0.3), UncertainMany) == found


REPLY = Reply(b"q" * 16, 5, b"x" * 8, 1, 3, 1, 0, (), ())


@pytest.mark.parametrize(
    "inner",
    [
        b"\x00",
        GOSSIP.encode(Stop(b"q" * 16)),
        GOSSIP.encode(Traced(MEMBERS[1].endpoint, 1, b"\x00")),
        GOSSIP.encode(REPLY),
        GOSSIP.encode(ShortReply(b"q" * 16, 1, 1, 3, 1)),
    ],
    ids=["nothing", "no reply", "a trace of nothing", "of no query", "of no query, short"],
)
def test_doubts_about_no_query_of_this_node_are_dropped(inner):
    node = make_node(0)

    assert node.receive(MEMBERS[1].endpoint, Uncertain(inner, 1, 2, 3), 0.1) == []


@pytest.mark.parametrize(
    "inner", [b"\x00", GOSSIP.encode(REPLY), GOSSIP.encode(Stop(b"q" * 16))],
    ids=["nothing", "of one key", "no reply"],
)  # fmt: skip
def test_doubts_around_no_answer_for_many_keys_are_dropped(inner):
    told = UncertainMany(inner, 1, 2, 3, (("k", 1, 2),), 0, 0, 0)

    assert make_node(0).receive(MEMBERS[1].endpoint, told, 0.1) == []


def test_a_short_reply_about_a_place_that_is_not_in_the_view_says_nothing():
    node = make_node(0)
    request = Query(1, "k", 0, 0, 0, 1_000, UNTIL_ALL, 0, 0, False)
    (ask, *_) = sent(node.receive(CLIENT, request, 0.1), Ask)
    reply = GOSSIP.encode(ShortReply(ask.query, 99, 1, 3, 1))

    assert node.receive(MEMBERS[1].endpoint, Uncertain(reply, 1, 2, 3), 0.1) == []


@pytest.mark.parametrize("sender", [1, 9], ids=["a member", "a stranger"])
def test_what_is_in_doubt_at_a_member_is_taken_from_nobody_else(sender):
    node = make_node(0)
    (ask, *_) = sent(node.receive(CLIENT, make_request(), 0.1), Ask)
    place = node.membership.view.ring.index(MEMBERS[2])
    forged = Uncertain(GOSSIP.encode(ShortReply(ask.query, place, 1, 3, 1)), 100, 200, 3)

    node.receive(("127.0.0.1", 1000 + sender), forged, 0.11)

    [query] = node.asker.under_way()
    assert (query.answered, query.uncertain) == (1, {})


def test_what_is_in_doubt_at_a_member_is_as_its_counted_answer_said():
    node = make_node(0)
    (ask, *_) = sent(node.receive(CLIENT, make_request(), 0.1), Ask)
    place = node.membership.view.ring.index(MEMBERS[2])
    reply = GOSSIP.encode(ShortReply(ask.query, place, 1, 3, 1))

    node.receive(MEMBERS[2].endpoint, Uncertain(reply, 1, 2, 3), 0.11)
    node.receive(MEMBERS[2].endpoint, Uncertain(reply, 0, 0, 0), 0.12)

    [query] = node.asker.under_way()
    assert list(query.uncertain.values()) == [(1, 2, 3)]


def test_doubts_about_many_keys_are_taken_from_nobody_else():
    node = make_node(0)
    (ask, *_) = sent(node.receive(CLIENT, make_request(prefixed("k")), 0.1), AskMany)
    member = MEMBERS[2]
    reply = ReplyMany(
        ask.query, position(member.name), member.store[:8], 1, 3, 1, 0, (), 0, (), 0, 0
    )
    forged = UncertainMany(GOSSIP.encode(reply), 100, 200, 3, (("k", 100, 200),), 0, 0, 0)

    node.receive(MEMBERS[1].endpoint, forged, 0.11)
    node.receive(member.endpoint, reply, 0.12)

    [query] = node.asker.under_way()
    assert (query.uncertain, query.told) == ({}, {})
    assert query.value == 3


def test_doubts_about_many_keys_count_with_the_answer_they_came_with():
    node = make_node(0)
    (ask, *_) = sent(node.receive(CLIENT, make_request(prefixed("k")), 0.1), AskMany)
    member = MEMBERS[2]
    whose = position(member.name), member.store[:8]
    reply = ReplyMany(ask.query, *whose, 1, 3, 1, 0, (), 0, (("k", 3),), 0, 0)
    told = UncertainMany(GOSSIP.encode(reply), 1, 2, 3, (("k", 1, 2), ("other", 5, 5)), 0, 0, 0)

    node.receive(member.endpoint, told, 0.11)
    node.receive(member.endpoint, told, 0.12)

    [query] = node.asker.under_way()
    assert list(query.uncertain.values()) == [(1, 2, 3)]
    assert query.sums.bounds("k") == (2, 5)
    assert list(query.sums.by_key) == ["k"]


def test_doubts_are_kept_of_no_more_members_than_can_answer(monkeypatch):
    monkeypatch.setattr("counter.query.UNLISTED_MAX", -2)
    node = make_node(0)
    node.receive(CLIENT, make_request(), 0.1)
    [query] = node.asker.under_way()

    for pos in (1, 2, 3):
        query.doubt(pos, Doubted(1, 2, 3, ()))

    assert list(query.uncertain) == [1]
