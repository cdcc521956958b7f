"""Resets at the node that was asked for one, and what a node makes of the epochs of others."""

from dataclasses import replace
from random import Random

import pytest

from counter import anew, resets
from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.messages import (
    ACK_DEFAULT,
    CLOSE,
    RING,
    UNTIL_ALL,
    Ack,
    Ask,
    Counted,
    Delegate,
    Epochs,
    Get,
    Increment,
    KillQuery,
    ListQueries,
    Query,
    Recall,
    Recalled,
    Reply,
    Reset,
    Stop,
    Subject,
    Value,
    WasReset,
    packed_marks,
    subject_in,
)
from tracker.digest import blake2b
from tracker.machine import Leave, Opened, Persist, Persisted, PersistFailed, Send
from tracker.members import Member, position
from tracker.messages import Announced, Heartbeat, Refused, Registered, news_to_wire

TRACKER = ("127.0.0.1", 7400)
TRACKER_LINK, CLIENT = 1, 50
EPOCH = b"t" * 8
RESET = Reset(9, b"r" * 16, "k", 1_000, False)
MARK = blake2b(RESET.id, digest_size=8).digest()


def make_member(index, **changes):
    store = index.to_bytes(8, "big") * 2
    return replace(Member(f"n{index}", store, 0, 1, 0, "127.0.0.1", 1000 + index), **changes)


def started(count=2, config=LAN, *, durable=False):
    """Return a node that joined, and knows `count` members, itself among them."""
    member = make_member(0, durable=durable)
    gossip = Gossip(NodeConfig(name="n0"), config, member, (TRACKER,), Random(1))
    gossip.resume(0)
    gossip.start(0.0)
    gossip.submit(Opened(TRACKER_LINK, TRACKER), 0.0)
    gossip.receive(TRACKER_LINK, Registered(EPOCH, 0, 0, 0), 0.0)
    members = [member, *[make_member(i) for i in range(1, count)]]
    gossip.receive(TRACKER_LINK, Heartbeat(EPOCH, 1, 0, news_to_wire(members)), 0.0)
    gossip.receive(TRACKER_LINK, Announced(1), 0.0)
    return gossip


def told(effects, to=CLIENT):
    return [e.message for e in effects if isinstance(e, Send) and e.to == to]


def asks(effects):
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, Ask)]


def answered(gossip, effects, now=0.1, value=0, index=1):
    """Let a member answer the ask among these effects; returns what follows."""
    (ask,) = asks(effects)
    member = make_member(index)
    reply = Reply(ask.query, position(member.name), member.store[:8], 1, value, 1, 0, (), ())
    return gossip.receive(member.endpoint, reply, now)


def epochs(query, key, epoch, *marks):
    return Epochs(query, ((key, epoch, packed_marks(marks)),), False, "", "")


def count(gossip, amount, sequence=1, key="k"):
    increment = Increment(b"c" * 16, sequence, (key, amount), ACK_DEFAULT)
    assert told(gossip.receive(CLIENT, increment, 0.0)) == [Counted(sequence, False, False)]


# -- resets ---------------------------------------------------------------------------------


def test_a_reset_looks_first_and_then_closes():
    gossip = started()
    count(gossip, 5)

    looking = gossip.receive(CLIENT, RESET, 0.1)
    assert subject_in(asks(looking)[0].key) == Subject("k", 0, "?", MARK)
    closing = answered(gossip, looking, value=7)
    assert subject_in(asks(closing)[0].key) == Subject("k", 0, CLOSE, MARK)
    was, answer = told(answered(gossip, closing, value=8))

    assert was == WasReset(9, 1, False)
    assert (answer.request, answer.value, answer.complete) == (9, 13, True)
    assert told(gossip.receive(CLIENT, Get(1, "k"), 0.2)) == [Value(1, 0, False)]
    assert gossip.renewal.resets.under_way == {}


def test_what_is_counted_while_a_reset_closes_is_in_the_new_epoch():
    gossip = started()
    closing = answered(gossip, gossip.receive(CLIENT, RESET, 0.1))

    count(gossip, 3)

    _, answer = told(answered(gossip, closing))
    assert answer.value == 0
    assert told(gossip.receive(CLIENT, Get(1, "k"), 0.2)) == [Value(1, 3, False)]


def test_a_reset_that_somebody_knows_is_not_done_again():
    gossip = started()
    looking = gossip.receive(CLIENT, RESET, 0.1)
    known = epochs(asks(looking)[0].query, "k", 4, (3, b"x" * 8), (4, MARK))

    closing = gossip.receive(make_member(1).endpoint, known, 0.1)

    (ask,) = asks(closing)
    assert subject_in(ask.key) == Subject("k", 3, CLOSE, MARK)
    was, answer = told(answered(gossip, [Send(("", 0), ask)], value=6))
    assert (was, answer.value) == (WasReset(9, 4, True), 6)


def test_a_reset_of_an_epoch_that_is_kept_no_more_is_too_old():
    gossip = started(1)
    gossip.receive(("127.0.0.1", 9), epochs(b"q" * 16, "k", 9, (1, MARK)), 0.1)

    (refused,) = told(gossip.receive(CLIENT, RESET, 0.1))

    assert (refused.request, refused.code) == (9, "too-old")


def test_a_reset_is_too_old_also_where_that_is_known_only_once_the_later_epoch_is_on_disk():
    """It was asked of everybody, with this node's own share of a key that it had just dropped."""
    gossip = started(durable=True)
    looking = gossip.receive(CLIENT, RESET, 0.1)
    known = epochs(asks(looking)[0].query, "k", 9, (1, MARK))

    learned = gossip.receive(make_member(1).endpoint, known, 0.1)
    assert told(learned) == []
    (token,) = [e.token for e in learned if isinstance(e, Persist)]
    effects = gossip.submit(Persisted(token), 0.1)

    assert (asks(effects), [word.code for word in told(effects)]) == ([], ["too-old"])


def test_who_only_wants_to_hear_of_a_reset_again_makes_none_where_it_is_forgotten():
    gossip = started()
    count(gossip, 5)
    again = replace(RESET, is_again=True)

    (refused,) = told(answered(gossip, gossip.receive(CLIENT, again, 0.1), value=7))

    assert (refused.request, refused.code) == (9, "too-old")
    assert told(gossip.receive(CLIENT, Get(1, "k"), 0.2)) == [Value(1, 5, False)]
    assert gossip.renewal.resets.under_way == {}


def test_who_wants_to_hear_of_a_reset_again_is_told():
    gossip = started()
    count(gossip, 5)
    answered(gossip, answered(gossip, gossip.receive(CLIENT, RESET, 0.1)))

    closing = gossip.receive(CLIENT, replace(RESET, is_again=True), 0.2)

    was, answer = told(answered(gossip, closing, now=0.3, value=8))
    assert (was, answer.value) == (WasReset(9, 1, True), 13)


def test_more_resets_than_the_limit_are_told_to_come_back(monkeypatch):
    monkeypatch.setattr(resets, "RESETS_MAX", 1)
    gossip = started()
    gossip.receive(CLIENT, RESET, 0.1)

    (refused,) = told(gossip.receive(CLIENT, replace(RESET, request=10), 0.1))

    assert (refused.request, refused.code) == (10, "busy")


def test_resets_that_a_full_disk_kept_waiting_past_their_time_keep_no_other_one_out(monkeypatch):
    """Sixty-four of them did so for good: nothing but a question for their keys ended them."""
    monkeypatch.setattr(resets, "RESETS_MAX", 1)
    gossip = started(durable=True)
    closing = answered(gossip, gossip.receive(CLIENT, RESET, 0.1))
    (token,) = [e.token for e in closing if isinstance(e, Persist)]
    gossip.submit(PersistFailed(token, "the disk is full", True), 0.2)
    other = replace(RESET, request=10, id=b"o" * 16, key="other")

    in_time = gossip.receive(CLIENT, other, 1.0)
    too_late = gossip.receive(CLIENT, other, 1.2)

    assert [word.code for word in told(in_time)] == ["busy"]
    assert (told(too_late), len(asks(too_late))) == ([], 1)
    assert [made.reset for made in gossip.renewal.resets.under_way.values()] == [other]


def test_with_no_room_for_another_key_nothing_is_reset():
    gossip = started()
    gossip.renewal.moves.epochs.epochs_max = 0

    (refused,) = told(answered(gossip, gossip.receive(CLIENT, RESET, 0.1)))

    assert (refused.request, refused.code) == (9, "full")


def test_a_node_that_is_stopping_resets_nothing():
    gossip = started()
    gossip.submit(Leave(), 0.1)

    (refused,) = told(gossip.receive(CLIENT, RESET, 0.1))

    assert (refused.request, refused.code) == (9, "leaving")


def test_a_reset_whose_look_is_cancelled_changes_nothing():
    gossip = started()
    query = asks(gossip.receive(CLIENT, RESET, 0.1))[0].query

    effects = gossip.receive(CLIENT, KillQuery(1, query.hex()), 0.1)

    assert [(m.request, m.code) for m in told(effects) if isinstance(m, Refused)] == [
        (9, "cancelled")
    ]
    assert told(gossip.receive(CLIENT, Get(1, "k"), 0.2)) == [Value(1, 0, False)]


def test_what_refuses_the_queries_of_a_reset_refuses_the_reset():
    gossip = started(config=replace(LAN, own_queries_max=0))

    (refused,) = told(gossip.receive(CLIENT, RESET, 0.1))

    assert (refused.request, refused.code) == (9, "busy")


def test_a_reset_ends_with_its_deadline_and_names_the_silent():
    gossip = started()
    gossip.receive(CLIENT, RESET, 0.1)
    now, messages = 0.1, []
    while not messages and now < 2.0:
        now = max(now + 0.001, gossip.deadline())
        messages = told(gossip.tick(now))

    was, missing, answer = messages
    assert (was.epoch, [row[0] for row in missing.rows], answer.complete) == (1, ["n1"], False)


def test_the_queries_of_a_reset_are_listed_as_its_own():
    gossip = started()
    gossip.receive(CLIENT, RESET, 0.1)

    (listed,) = told(gossip.receive(CLIENT, ListQueries(3), 0.1))

    assert [(row[1], row[9]) for row in listed.rows] == [("k", "a reset")]


# -- epochs of others -------------------------------------------------------------------------


def make_query(key="k"):
    return Query(1, key, 0, 0, 0, 1_000, UNTIL_ALL, 0, 0, False)


def test_a_query_is_asked_anew_in_the_epoch_that_a_member_tells_of():
    gossip = started(3)
    count(gossip, 5)
    first = gossip.receive(CLIENT, make_query(), 0.1)
    query = asks(first)[0].query
    gossip.receive(*reply_of(1, query, 40), 0.1)

    effects = gossip.receive(make_member(2).endpoint, epochs(query, "k", 1, (1, MARK)), 0.1)

    again = asks(effects)
    assert Stop(query) in told(effects, make_member(1).endpoint)
    assert {ask.key for ask in again} == {"k\x001"}
    fresh = again[0].query
    gossip.receive(*reply_of(1, query, 40), 0.1)
    gossip.receive(*reply_of(1, fresh, 2), 0.1)
    (answer,) = told(gossip.receive(*reply_of(2, fresh, 3), 0.1))
    assert (answer.value, answer.complete, answer.query) == (5, True, fresh)


def reply_of(index, query, value):
    member = make_member(index)
    reply = Reply(query, position(member.name), member.store[:8], 1, value, 1, 0, (), ())
    return member.endpoint, reply


def test_a_query_that_was_asked_anew_too_often_ends_without_those_who_are_further(monkeypatch):
    monkeypatch.setattr(anew, "ANEW_MAX", 2)
    gossip = started()
    effects = gossip.receive(CLIENT, make_query(), 0.1)
    member = make_member(1).endpoint

    effects = gossip.receive(member, epochs(asks(effects)[0].query, "k", 1), 0.1)
    assert gossip.receive(member, epochs(asks(effects)[0].query, "k", 2), 0.1) == []


def test_a_member_that_says_anything_is_waited_for():
    gossip = started(3)
    query = asks(gossip.receive(CLIENT, make_query(), 0.1))[0].query
    (asked,) = gossip.asker.under_way()
    for pending in asked.pending.values():
        pending.asks = 7

    gossip.receive(make_member(2).endpoint, Epochs(query, (), False, "", ""), 0.1)

    assert {p.member.name: p.asks for p in asked.pending.values()} == {"n1": 7, "n2": 0}


def test_a_member_that_says_something_about_one_query_is_waited_for_in_that_one_alone():
    gossip = started(3)
    first, second = [
        asks(gossip.receive(CLIENT + number, replace(make_query(), key=key), 0.1))[0].query
        for number, key in enumerate(["k", "m"])
    ]
    waiting = {query.id: query.pending[position("n2")] for query in gossip.asker.under_way()}
    for pending in waiting.values():
        pending.asks = 7

    gossip.receive(make_member(2).endpoint, Epochs(second, (), False, "", ""), 0.1)

    assert [waiting[first].asks, waiting[second].asks] == [7, 0]


def test_the_head_of_a_cell_passes_on_what_a_member_knows():
    gossip = started(3)
    home, head_of = ("127.0.0.1", 2000), ("127.0.0.1", 2001)
    fields = (b"q" * 16, 7, "k", home, 3, 1, 1, 9, 5_000, 0, 0, RING, (), ())
    effects = gossip.receive(head_of, Delegate(*fields), 0.1)
    assert any(isinstance(message, Ack) for message in told(effects, head_of))
    message = epochs(b"q" * 16, "k", 1, (1, MARK))

    passed = gossip.receive(make_member(1).endpoint, message, 0.1)

    assert passed == [Send(home, message)]
    assert gossip.renewal.moves.epochs.entry("k").epoch == 1
    assert gossip.receive(make_member(1).endpoint, Epochs(b"q" * 16, (), False, "", ""), 0.1) == []


def test_whoever_tells_of_an_earlier_epoch_is_told_of_the_later_one():
    gossip = started()
    stranger = ("127.0.0.1", 9)
    gossip.receive(stranger, epochs(b"q" * 16, "k", 2, (2, MARK)), 0.1)

    (back,) = gossip.receive(stranger, epochs(b"q" * 16, "k", 1), 0.1)

    assert back == Send(stranger, epochs(b"q" * 16, "k", 2, (2, MARK)))
    assert gossip.receive(stranger, back.message, 0.1) == []


def test_of_a_member_given_up_only_values_of_present_epochs_are_recalled():
    gossip = started()
    for key in ("k", "m"):
        gossip.receive(CLIENT, make_query(key), 0.1)
        (asked,) = gossip.asker.under_way()
        gossip.receive(*reply_of(1, asked.id, 4), 0.1)
    gossip.receive(("127.0.0.1", 9), epochs(b"q" * 16, "k", 2), 0.2)

    (recalled,) = told(gossip.receive(CLIENT, Recall(1, "n1"), 0.2))

    assert isinstance(recalled, Recalled)
    assert [row[:2] for row in recalled.rows] == [("m", 4)]


def test_increments_of_several_keys_are_counted_in_the_epoch_of_each():
    gossip = started(1)
    gossip.receive(("127.0.0.1", 9), epochs(b"q" * 16, "k", 2), 0.1)
    pairs = ("k", 1, "m", 2)

    gossip.receive(CLIENT, Increment(b"c" * 16, 1, pairs, ACK_DEFAULT), 0.1)
    (again,) = told(gossip.receive(CLIENT, Increment(b"c" * 16, 1, pairs, ACK_DEFAULT), 0.1))

    assert gossip.ledger.counters.own.positive == {"k\x002": 1, "m": 2}
    assert again == Counted(1, False, True)


@pytest.mark.parametrize("key", ["k", "m"])
def test_a_key_that_was_never_reset_keeps_its_name(key):
    gossip = started(1)
    gossip.receive(("127.0.0.1", 9), epochs(b"q" * 16, "other", 2), 0.1)
    count(gossip, 1, key=key)
    assert list(gossip.ledger.counters.own.positive) == [key]


def test_an_answer_of_nobody_s_reset_is_dropped():
    gossip = started(1)
    gossip.renewal.resets.under_way[1] = None
    answer = [Send(resets.INNER, Refused(77, "busy", ""))]
    assert gossip.renewal.heard(answer, 0.1) == []


def test_ids_that_begin_alike_are_not_the_same():
    gossip = started()
    for number in range(3):
        reset = replace(RESET, request=number + 1, id=b"r" * 15 + bytes([number]))
        closing = answered(gossip, gossip.receive(CLIENT, reset, 0.1))
        was, _ = told(answered(gossip, closing))
        assert was == WasReset(number + 1, number + 1, False)
