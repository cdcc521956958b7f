"""Queries of others at one node: answered with the first value, split once, bounded."""

from dataclasses import replace
from random import Random

import pytest

from counter.config import LAN
from counter.messages import DECREASED, GOSSIP, LEAF, RING, SKIP_MAX, Ask, Reply, Stop
from counter.relay import CHILDREN_MAX, FORGET_S, Relay
from tracker.machine import Send
from tracker.members import SUSPECT, Member, View, position

HOME = ("127.0.0.1", 9)


def make_view(count=20):
    return View().merged(
        [
            Member(f"n{i}", i.to_bytes(16, "big"), 0, 1, 0, "127.0.0.1", 1000 + i)
            for i in range(count)
        ]
    )


def make_relay(config=LAN, values=None):
    held = {"k": 5} if values is None else values
    share = lambda key: (held.get(key, 0), 0 if held.get(key, 0) >= 0 else DECREASED)  # noqa: E731
    return Relay(config, position("n1"), b"s" * 16, 3, share, Random(1))


def make_ask(**changes):
    ask = Ask(b"q" * 16, "k", HOME, 3, 1, 1, 9, 5_000, 0, 0, RING, (), (), 0)
    return replace(ask, **changes)


def test_answers_the_origin_before_passing_the_query_on():
    relay = make_relay()

    answer, *onward = relay.ask(make_ask(age=2), make_view(), now=0.0)

    roll = make_view().roll
    reply = Reply(b"q" * 16, position("n1"), b"s" * 8, 3, 5, 2, 0, (), (), roll)
    assert answer == Send(HOME, reply)
    assert len(onward) == 3
    assert {send.message.age for send in onward} == {3}
    assert {send.message.home for send in onward} == {HOME}
    assert relay.position not in {position(f"n{send.to[1] - 1000}") for send in onward}


def test_what_is_passed_on_can_be_sent():
    _, *onward = make_relay().ask(make_ask(), make_view(), now=0.0)

    for send in onward:
        assert GOSSIP.decode(GOSSIP.encode(send.message)) == send.message


def test_answers_with_the_value_at_first_sight():
    values = {"k": 5}
    relay = make_relay(values=values)
    relay.ask(make_ask(), make_view(), now=0.0)
    values["k"] = 99

    (again,) = relay.ask(make_ask(flags=LEAF), make_view(), now=0.1)

    assert again.message.value == 5


def test_says_that_a_key_was_decreased():
    answer, *_ = make_relay(values={"k": -1}).ask(make_ask(), make_view(), now=0.0)

    assert answer.message.flags == DECREASED


def test_a_repeated_arc_is_answered_and_not_split_again():
    relay = make_relay()
    relay.ask(make_ask(), make_view(), now=0.0)

    effects = relay.ask(make_ask(), make_view(), now=0.1)

    assert [type(e.message) for e in effects] == [Reply]


def test_another_arc_of_the_same_query_is_passed_on_too():
    relay = make_relay()
    relay.ask(make_ask(), make_view(), now=0.0)

    assert len(relay.ask(make_ask(low=1), make_view(), now=0.1)) == 4


def test_a_leaf_answers_and_passes_nothing_on():
    assert len(make_relay().ask(make_ask(flags=LEAF), make_view(), now=0.0)) == 1


def test_past_too_many_arcs_it_only_answers():
    relay = make_relay(replace(LAN, shares_per_query_max=2))

    sizes = [len(relay.ask(make_ask(low=s), make_view(), 0.0)) for s in range(4)]

    assert sizes == [4, 4, 1, 1]


def test_suspects_are_asked_as_leaves_where_nobody_else_is_left():
    view = make_view()
    suspects = View().merged([m.became(SUSPECT) for m in view])

    _, *onward = make_relay().ask(make_ask(), suspects, now=0.0)

    assert len(onward) == 19
    assert {send.message.flags for send in onward} == {LEAF}


def test_a_node_outside_the_arc_does_not_skip_itself_in_it():
    view = make_view()
    arc = (position("n1") + 1, RING)

    _, *onward = make_relay().ask(make_ask(low=arc[0], high=arc[1]), view, now=0.0)

    assert all(relay_skip(send) for send in onward)


def relay_skip(send):
    return position("n1") not in send.message.skip


def test_what_aging_cuts_off_is_said_to_the_origin_and_said_again():
    relay = make_relay()
    cut = (0, RING - 1, position("n1"))

    (first,) = relay.ask(make_ask(age=9), make_view(), now=0.0)
    (again,) = relay.ask(make_ask(age=9), make_view(), now=0.1)

    assert first.message.cut == again.message.cut == cut


def test_a_cut_arc_with_as_many_skips_as_there_may_be_can_still_be_sent():
    skip = tuple(range(1, SKIP_MAX + 1))

    (answer,) = make_relay().ask(make_ask(age=9, skip=skip), make_view(), now=0.0)

    assert GOSSIP.decode(GOSSIP.encode(answer.message)) == answer.message
    assert position("n1") in answer.message.cut


def test_stop_is_passed_to_those_who_were_asked_and_only_once():
    relay = make_relay()
    _, *onward = relay.ask(make_ask(), make_view(), now=0.0)
    stop = Stop(b"q" * 16)

    told = relay.stop(stop)

    assert [send.to for send in told] == [send.to for send in onward]
    assert {send.message for send in told} == {stop}
    assert relay.stop(stop) == []


def test_a_stop_for_a_query_never_heard_of_is_ignored():
    assert make_relay().stop(Stop(b"q" * 16)) == []


def test_a_late_ask_for_a_stopped_query_is_ignored():
    relay = make_relay()
    relay.ask(make_ask(), make_view(), now=0.0)
    relay.stop(Stop(b"q" * 16))

    assert relay.ask(make_ask(low=1), make_view(), now=0.1) == []


def test_the_peers_remembered_for_a_stop_are_bounded():
    relay = make_relay()
    for low in range(20):
        relay.ask(make_ask(low=low, chatter=64), make_view(100), now=0.0)

    assert len(relay.stop(Stop(b"q" * 16))) == CHILDREN_MAX


def test_a_query_is_forgotten_when_its_life_is_over():
    relay = make_relay()
    relay.ask(make_ask(budget_ms=3_000), make_view(), now=1.0)
    over = 1.0 + 3.0 + LAN.memory_s

    relay.tick(over - 0.001)
    assert (len(relay), relay.deadline()) == (1, over + FORGET_S)

    relay.tick(over)
    assert (len(relay), relay.deadline()) == (0, None)


def test_what_an_ask_may_still_take_shrinks_with_each_hop():
    _, *onward = make_relay().ask(make_ask(budget_ms=3_000), make_view(), now=0.0)

    assert {effect.message.budget_ms for effect in onward} == {2_999}


def test_an_ask_in_its_last_millisecond_is_answered_and_passed_on_to_nobody():
    [answer] = make_relay().ask(make_ask(budget_ms=1), make_view(), now=0.0)

    assert isinstance(answer.message, Reply)


def test_queries_one_after_another_are_forgotten_by_the_way_and_want_no_timer_for_it():
    relay = make_relay()
    life_s = 1.0 + LAN.memory_s

    for number in range(200):
        now = number / 10
        relay.ask(make_ask(query=number.to_bytes(16, "big"), budget_ms=1_000), make_view(), now)
        assert relay.deadline() > now
        assert len(relay) <= 10 * life_s + 1


@pytest.mark.parametrize("queries_max", [1, 3])
def test_past_too_many_queries_the_one_that_would_end_first_is_forgotten(queries_max):
    relay = make_relay(replace(LAN, queries_max=queries_max))
    for number in range(10):
        relay.ask(make_ask(query=bytes([number]) * 16), make_view(), now=float(number))

    assert len(relay) == queries_max
    assert relay.stop(Stop(bytes([9]) * 16)) != []
    assert relay.stop(Stop(bytes([9 - queries_max]) * 16)) == []
