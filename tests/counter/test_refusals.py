"""Members whose port is dead: the system says so, and nobody waits for them."""

import sys
from dataclasses import replace
from random import Random

import pytest
from lone_node import MEMBERS, QUERY, ask_with, make_node

from counter.client.door import Door
from counter.config import LAN
from counter.messages import LEAF, RING, SKIP_MAX, Answer, Ask, Reply
from counter.query import Heard, Hops, OwnQuery
from counter.relay import Relay
from loadtest.cluster import Cluster
from tracker.machine import Undelivered
from tracker.members import View, position

HOME = ("127.0.0.1", 9)
VIEW = View().merged(MEMBERS)
INDEX = {member.endpoint: index for index, member in enumerate(MEMBERS)}


def begun(count=30):
    """Return a query of n0 over `count` members, and what it sent first."""
    own = MEMBERS[0]
    view = View().merged(MEMBERS[:count])
    where = (own.endpoint, position(own.name), view, 0.0, LAN)
    query = OwnQuery(b"q" * 16, QUERY, *where, Hops(0.010, 0.0025), Random(1))
    return query, query.start(Heard(own.name, own.store[:8], 1, 100, 0, 0.0, False))


def hear(query, index, now=0.01):
    member = MEMBERS[index]
    reply = Reply(b"q" * 16, position(member.name), member.store[:8], 1, 1, 1, 0, (), ())
    return query.hear(reply, member.endpoint, now)


def verdict(query, now):
    return query.verdict(now, view_is_current=True)


# -- at the origin --------------------------------------------------------------------------


def test_an_arc_whose_head_is_not_there_goes_to_another_of_its_members():
    query, asks = begun()
    dead = asks[1]

    [again] = query.undelivered(dead.message, dead.to)

    lost, other = dead.message, again.message
    assert again.to != dead.to
    assert lost.low <= position(MEMBERS[INDEX[again.to]].name) < lost.high
    assert (other.low, other.high, other.age) == (lost.low, lost.high, lost.age)
    assert set(lost.skip) < set(other.skip)


def test_an_ask_given_to_another_head_is_in_the_messages_a_query_cost():
    query, asks = begun()
    before = query.messages

    query.undelivered(asks[0].message, asks[0].to)

    assert query.messages == before + 1


def test_when_all_who_are_silent_are_known_to_be_gone_nothing_is_waited_for():
    query, asks = begun(4)
    dead = asks[0]
    gone = INDEX[dead.to]
    for index in {1, 2, 3} - {gone}:
        hear(query, index)
    assert verdict(query, 0.011) is None

    query.undelivered(dead.message, dead.to)

    assert verdict(query, 0.011) == "converged"
    assert query.silent() == [(MEMBERS[gone], "nobody listens at its address")]


def test_a_repair_ask_that_comes_back_ends_the_asking_of_that_member_alone():
    query, _ = begun(4)
    hear(query, 1)
    now = query.next_wave
    first, second = query.wave(now)

    assert query.undelivered(first.message, first.to) == []

    assert verdict(query, now) is None
    assert [send.to for send in query.wave(query.next_wave)] == [second.to]


def test_who_is_there_after_all_is_counted():
    query, asks = begun(2)
    query.undelivered(asks[0].message, asks[0].to)

    assert hear(query, 1)

    assert verdict(query, 0.02) == "complete"


def test_a_member_that_moved_is_asked_again_at_its_new_address():
    query, asks = begun(2)
    query.undelivered(asks[0].message, asks[0].to)
    moved = replace(MEMBERS[1], port=5_000, epoch=2)

    query.follow(View().merged([MEMBERS[0], moved]))

    assert verdict(query, 0.02) is None
    assert [send.to for send in query.wave(query.next_wave)] == [("127.0.0.1", 5_000)]


def test_the_word_of_an_old_address_says_nothing_of_the_new_one():
    query, asks = begun(2)
    query.follow(View().merged([MEMBERS[0], replace(MEMBERS[1], port=5_000, epoch=2)]))

    query.undelivered(asks[0].message, asks[0].to)

    assert verdict(query, 0.02) is None


def test_a_head_that_is_not_there_is_not_asked_by_repair():
    query, asks = begun(4)
    query.undelivered(asks[0].message, asks[0].to)

    assert asks[0].to not in [send.to for send in query.wave(query.next_wave)]


# -- on the way -----------------------------------------------------------------------------


def make_relay():
    return Relay(LAN, position("n1"), b"s" * 16, 3, lambda key: (5, 0), Random(1))


def make_ask(**changes):
    ask = Ask(b"q" * 16, "k", HOME, 3, 1, 1, 9, 5_000, 0, 0, RING, (), (), 0)
    return replace(ask, **changes)


def test_a_node_on_the_way_gives_the_arc_of_a_dead_head_to_another():
    relay = make_relay()
    _, dead, *_ = relay.ask(make_ask(), VIEW, 0.0)

    [again] = relay.undelivered(dead.message, dead.to, VIEW)

    assert again.to != dead.to
    assert again.message.skip == (position(MEMBERS[INDEX[dead.to]].name),)
    assert again.to in relay.seen[b"q" * 16].children


def test_every_head_of_an_arc_is_tried_once_and_no_more():
    relay = make_relay()
    _, dead, *_ = relay.ask(make_ask(chatter=4), VIEW, 0.0)
    inside = [p for p in VIEW.positions if dead.message.low <= p < dead.message.high]
    tried = [dead]

    while again := relay.undelivered(tried[-1].message, tried[-1].to, VIEW):
        tried += again

    assert len({send.to for send in tried}) == len(tried) == len(inside)


def test_an_arc_of_which_many_are_not_there_is_left_to_the_origin():
    relay = make_relay()
    relay.ask(make_ask(), VIEW, 0.0)

    to = MEMBERS[7].endpoint
    assert len(relay.undelivered(make_ask(), to, VIEW)) == 1
    assert relay.undelivered(make_ask(skip=tuple(range(SKIP_MAX))), to, VIEW) == []
    assert relay.undelivered(make_ask(flags=LEAF), to, VIEW) == []


def test_an_arc_whose_head_has_moved_since_is_left_to_the_origin():
    relay = make_relay()
    relay.ask(make_ask(), VIEW, 0.0)

    assert relay.undelivered(make_ask(), ("127.0.0.1", 9_999), VIEW) == []


def test_what_comes_back_of_a_forgotten_query_is_nobodys_business():
    assert make_relay().undelivered(make_ask(), MEMBERS[7].endpoint, VIEW) == []


# -- in the machine -------------------------------------------------------------------------


def test_a_query_ends_at_the_word_that_its_last_silent_member_is_not_there():
    node = make_node(2)
    [send], now = ask_with(node)

    effects = node.submit(Undelivered(send.to, send.message), now)

    [answer] = [e.message for e in effects if isinstance(e.message, Answer)]
    assert (answer.reason, answer.answered, answer.members) == ("converged", 1, 2)


def test_a_machine_gives_on_what_came_back_and_ignores_what_is_no_ask():
    node = make_node(30)
    _, dead, *_ = node.receive(MEMBERS[5].endpoint, make_ask(), 0.0)

    assert len(node.submit(Undelivered(dead.to, dead.message), 0.0)) == 1
    reply = Reply(b"q" * 16, 1, b"s" * 8, 1, 1, 1, 0, (), ())
    assert node.submit(Undelivered(HOME, reply), 0.0) == []


# -- on real sockets ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says that nobody listens")
async def test_a_query_over_dead_ports_ends_without_asking_them_again():
    async with Cluster(30) as cluster:
        door = await Door.open(cluster.nodes[0].endpoint)
        await door.ask(QUERY)
        await cluster.crash([f"n{index}" for index in range(10, 16)])

        answer, asked = await door.ask(QUERY)

        door.close()
    assert (answer.reason, answer.answered, answer.members) == ("converged", 24, 30)
    assert {row[4] for row in asked.missing} == {"nobody listens at its address"}
    assert answer.messages < 2 * 24 + 3 * 6 + 1
