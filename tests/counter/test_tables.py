"""A node's answer to a question for many keys: found step by step, remembered, bounded."""

from random import Random

import pytest

from counter import keyindex, tables
from counter.config import LAN
from counter.crdt import Counters
from counter.messages import (
    DECREASED,
    GOSSIP,
    KEYS_BYTES_MAX,
    KEYS_PER_QUERY_MAX,
    RING,
    ROWS_PER_ANSWER_MAX,
    SKIP_MAX,
    WORKING,
    AskMany,
    ReplyMany,
    Stop,
    named,
    prefixed,
)
from counter.messages.names import name_of
from counter.relay import Relay
from counter.tables import Tables, present
from tracker import wire
from tracker.members import Member, View, position

HOME = ("127.0.0.1", 9)
OWN_STORE, OTHER_STORE = b"s" * 16, b"o" * 16


class Node:
    """A relay and its tables over some counters; `found` is what its own queries were told."""

    def __init__(self, **counts):
        self.counters = Counters(OWN_STORE, 1)
        for key, value in counts.items():
            self.counters.own.add(key, value)
        self.relay = Relay(LAN, position("n1"), OWN_STORE, 1, lambda key: (0, 0), Random(1))
        self.own = {}
        self.found = []
        self.tables = Tables(self.counters, self.relay, self)
        members = [Member(f"n{i}", bytes([i]) * 16, 0, 1, 0, "127.0.0.1", 1000 + i)
                   for i in range(20)]  # fmt: skip
        self.view = View().merged(members)

    def is_own(self, query):
        return query in self.own

    def listed(self, *told):
        self.found.append(told)

    def ask(self, question=None, query=b"q" * 16, low=0):
        question = prefixed("") if question is None else question
        ask = AskMany(query, question, HOME, 3, 1, 1, 9, 5_000, 0, low, RING)
        return self.tables.answered(ask, self.relay.ask(ask, self.view, 0.0), 0.0)

    def answer(self, *arguments, **named_arguments):
        return self.ask(*arguments, **named_arguments)[0].message

    def until_told(self):
        for _ in range(100):
            effects = self.tables.tick(0.1)
            if effects:
                return effects
        raise AssertionError("never told")


@pytest.fixture
def small_steps(monkeypatch):
    monkeypatch.setattr(keyindex, "RUN_KEYS_MAX", 4)
    monkeypatch.setattr(tables, "STEP_KEYS_MAX", 4)


def many(count, prefix="k"):
    return {f"{prefix}{number:03}": number + 1 for number in range(count)}


def test_answers_with_every_key_that_begins_so_the_largest_first():
    node = Node(**{"page:a": 2, "page:b": 9, "other": 5, "page:c": 9})

    reply = node.answer(prefixed("page:"))

    assert reply.rows == (("page:b", 9), ("page:c", 9), ("page:a", 2))
    assert (reply.value, reply.left_out, reply.rest, reply.flags) == (20, 0, 0, 0)


def test_passes_the_question_on_as_it_came():
    _, *onward = Node(a=1).ask(named("a", "b"))

    assert {(type(send.message), send.message.key) for send in onward} == {
        (AskMany, named("a", "b"))
    }
    assert [GOSSIP.decode(GOSSIP.encode(s.message)) == s.message for s in onward] == [True] * 3


def test_of_named_keys_those_with_a_value_are_told():
    reply = Node(a=1, c=3).answer(named("a", "b", "c"))

    assert (reply.rows, reply.value) == ((("c", 3), ("a", 1)), 4)


def test_named_keys_always_find_room():
    keys = [f"{i:02}" + "k" * 13 for i in range(KEYS_PER_QUERY_MAX)]
    assert sum(map(len, keys)) == KEYS_BYTES_MAX

    reply = Node(**dict.fromkeys(keys, 2**61)).answer(named(*keys))

    assert (len(reply.rows), reply.left_out) == (KEYS_PER_QUERY_MAX, 0)


@pytest.mark.parametrize("length", [1, 40, 256])
def test_the_longest_answer_fits_a_datagram(length):
    keys = {f"{i:x}".rjust(min(length, 3), "0").ljust(length, "ä")[: length]: 2**61 + i
            for i in range(400 if length > 1 else 16)}  # fmt: skip
    keys = {key: value for key, value in keys.items() if len(key.encode()) <= 256}
    reply = Node(**keys, **many(300)).answer()
    worst = [getattr(reply, name) for name in ReplyMany.__slots__]
    worst[1], worst[3], worst[4], worst[5] = 2**64 - 1, 2**32 - 1, 2**90, 255
    worst[7], worst[8] = (2**64 - 1,) * (SKIP_MAX + 2), 2**32 - 1
    worst[10], worst[11] = 2**32 - 1, 2**62

    assert len(GOSSIP.encode(ReplyMany(*worst))) < wire.DATAGRAM_BYTES_MAX - 1


def test_what_finds_no_room_is_counted_and_no_larger_than_the_rest():
    counts = many(500)
    reply = Node(**counts).answer()

    shown = len(reply.rows)
    assert reply.left_out == 500 - shown > 0
    assert [value for _, value in reply.rows] == list(range(500, 500 - shown, -1))
    assert reply.rest == 500 - shown
    assert reply.value == sum(counts.values())


def test_no_more_rows_are_told_than_the_schema_takes():
    counts = {chr(0x21 + i): 1 for i in range(90)} | {chr(0xA1 + i) + "": 1 for i in range(1)}
    counts |= {f"{chr(97 + i // 26)}{chr(97 + i % 26)}": 1 for i in range(300)}
    reply = Node(**counts).answer()

    assert len(reply.rows) <= ROWS_PER_ANSWER_MAX
    assert reply.left_out == len(counts) - len(reply.rows)
    assert reply.rest == 1


def test_of_equal_values_the_first_keys_are_told(small_steps, monkeypatch):
    monkeypatch.setattr(tables, "_KEPT", 6)
    monkeypatch.setattr(tables, "_CROWD", 8)
    monkeypatch.setattr(tables, "ROWS_PER_ANSWER_MAX", 5)
    node = Node(**dict.fromkeys([f"k{i * 7 % 30:02}" for i in range(30)], 3), first=4)
    node.ask()

    (told,) = node.until_told()

    assert told.message.rows == (("first", 4), ("k00", 3), ("k01", 3), ("k02", 3), ("k03", 3))
    assert (told.message.left_out, told.message.rest) == (26, 3)


def test_negative_values_are_large_too_and_say_that_they_decreased():
    node = Node(a=5, b=-9, c=2)

    reply = node.answer()

    assert reply.rows == (("b", -9), ("a", 5), ("c", 2))
    assert (reply.value, reply.flags) == (-2, DECREASED)
    assert node.answer(prefixed("a"), query=b"r" * 16).flags == 0


def test_shares_that_were_handed_over_are_counted_with_the_own():
    node = Node(a=5, b=1)
    node.counters.merge(OTHER_STORE, 1, [("a", 10, 0), ("z", 3, 0)])

    reply = node.answer()

    assert reply.rows == (("a", 15), ("z", 3), ("b", 1))
    assert reply.value == 19


def test_a_share_of_a_later_epoch_is_looked_through_anew():
    node = Node(a=5)
    node.counters.merge(OTHER_STORE, 1, [("old", 3, 0)])
    node.answer()
    node.counters.merge(OTHER_STORE, 2, [("new", 4, 0)])

    assert node.answer(query=b"r" * 16).rows == (("a", 5), ("new", 4))


def test_a_share_that_was_folded_into_another_one_is_looked_through_no_more():
    node = Node(a=5)
    node.counters.merge(OTHER_STORE, 1, [("b", 3, 0)])
    node.answer()
    del node.counters.others[OTHER_STORE]

    assert node.answer(query=b"r" * 16).rows == (("a", 5),)
    assert OTHER_STORE not in node.tables._indexes


def test_whoever_is_not_to_answer_passes_the_question_on_all_the_same():
    node = Node(a=5)
    node.tables.is_mute = True

    assert {type(effect.message) for effect in node.ask()} == {AskMany}


def test_a_key_is_told_as_it_is_called_in_the_epoch_it_is_in():
    now, before = "k", name_of("k", 2)

    assert present([now, before], {}) == ([now, before], [now, before])
    assert present([now, before], {"k": before}) == ([before], ["k"])


def test_a_repeated_ask_is_told_the_same_values():
    node = Node(a=5)
    first = node.answer()
    node.counters.own.add("a", 1)

    assert node.answer().rows == first.rows == (("a", 5),)


def test_a_long_search_says_that_it_works_and_tells_when_it_has_found(small_steps):
    node = Node(**many(30))
    reply, *onward = node.ask()
    assert (reply.message.flags, reply.message.rows, len(onward)) == (WORKING, (), 3)
    assert node.tables.deadline() == 0.0
    assert node.answer(low=1).flags == WORKING

    (told,) = node.until_told()

    assert told.to == HOME
    assert (told.message.value, len(told.message.rows)) == (465, 30)
    assert node.tables.deadline() is None
    assert node.answer() == told.message


def test_a_step_does_not_begin_a_run_that_is_too_long_for_it(monkeypatch):
    monkeypatch.setattr(keyindex, "RUN_KEYS_MAX", 64)
    monkeypatch.setattr(tables, "STEP_KEYS_MAX", 64)
    node = Node(**many(104))
    node.ask(prefixed("x"))
    node.until_told()

    assert node.answer(prefixed("x"), query=b"r" * 16).flags == WORKING
    assert node.until_told()[0].message.flags == 0


def test_what_is_counted_while_it_looks_is_told_or_not_but_nothing_older_is_missed(small_steps):
    node = Node(**many(30))
    node.ask()
    node.counters.own.add("k000", 100)
    node.counters.own.add("new", 7)

    (told,) = node.until_told()

    assert 465 <= told.message.value <= 572


def test_a_search_nobody_waits_for_ends(small_steps):
    node = Node(**many(30))
    node.ask()
    node.relay.stop(Stop(b"q" * 16))

    assert node.tables.tick(0.1) == []
    assert len(node.tables) == 0


def test_tables_are_forgotten_with_their_query():
    node = Node(a=1)
    node.ask()
    assert len(node.tables) == 1
    node.relay.tick(100.0)

    node.tables.tick(100.0)

    assert len(node.tables) == 0


def test_no_more_tables_are_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(tables, "TABLES_MAX", 3)
    node = Node(a=1)
    for number in range(5):
        node.ask(query=bytes([number]) * 16)

    assert len(node.tables) == 3


def test_past_too_many_searches_an_ask_is_told_to_come_back(small_steps, monkeypatch):
    monkeypatch.setattr(tables, "SEARCHES_MAX", 1)
    node = Node(**many(30))
    node.ask()

    assert node.answer(query=b"r" * 16).flags == WORKING
    assert len(node.tables) == 1
    node.until_told()
    assert node.answer(query=b"r" * 16).flags == WORKING
    assert [told.message.query for told in node.until_told()] == [b"r" * 16]


def test_an_ask_that_is_answered_by_nobody_finds_nothing():
    node = Node(a=1)
    node.ask()
    node.relay.stop(Stop(b"q" * 16))

    assert node.ask() == []


def test_what_the_own_node_holds_is_found_for_its_own_query(small_steps):
    node = Node(**many(30))
    assert node.tables.own(b"q" * 16, named("k000", "x"), 0.0)
    assert node.found[0][:2] == (b"q" * 16, tables.Table(1, False, (("k000", 1),), 0, 0))

    node.own[b"r" * 16] = True
    node.tables.own(b"r" * 16, prefixed("k"), 0.0)
    while node.tables.deadline() is not None:
        assert node.tables.tick(0.5) == []

    assert (node.found[1][1].total, node.found[1][2]) == (465, 0.5)


def test_an_own_query_that_is_over_is_not_looked_for_any_longer(small_steps):
    node = Node(**many(30))
    node.tables.own(b"r" * 16, prefixed("k"), 0.0)

    node.tables.tick(0.1)

    assert (node.tables.deadline(), node.found) == (None, [])


def test_a_key_is_none_of_its_business():
    assert not Node(a=1).tables.own(b"q" * 16, "a", 0.0)
