"""What a query hears of increments that are parked somewhere, through two whole nodes."""

from random import Random

import pytest

from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.messages import (
    GOSSIP,
    UNTIL_ALL,
    Answer,
    Ask,
    Park,
    Query,
    Reply,
    ShortReply,
    Stop,
    Traced,
    Uncertain,
)
from tracker.machine import Opened, Send
from tracker.members import Member
from tracker.messages import Announced, Heartbeat, Listed, Registered
from tracker.pages import news_to_wire

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


def test_doubts_of_many_queries_are_remembered_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("counter.doubts.DOUBTS_MAX", 2)
    node = make_node(1)
    park(node, 1, 2)

    for number in range(3):
        ask = Ask(
            bytes([number]) * 16, "k", ("127.0.0.1", 9), 3, 1, 1, 9, 5_000, 0, 5, 6, (), (), 0
        )
        assert sent(node.receive(ask.home, ask, 0.1), Uncertain)

    assert len(node.doubts) == 2


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


def test_a_short_reply_about_a_place_that_is_not_in_the_view_says_nothing():
    node = make_node(0)
    request = Query(1, "k", 0, 0, 0, 1_000, UNTIL_ALL, 0, 0, False)
    (ask, *_) = sent(node.receive(CLIENT, request, 0.1), Ask)
    reply = GOSSIP.encode(ShortReply(ask.query, 99, 1, 3, 1))

    assert node.receive(MEMBERS[1].endpoint, Uncertain(reply, 1, 2, 3), 0.1) == []
