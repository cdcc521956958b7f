"""What others know and this node does not: heard of in replies, read from them, or lost."""

from itertools import count
from random import Random

import pytest

from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.hearsay import FETCH_S, KNOWN_MAX, SOURCES_MAX, STRANGE_MAX, Hearsay
from counter.messages import UNTIL_ALL, Answer, Ask, Query, Reply
from counter.rounds import AGAINS_MAX
from counter.telling import UNCONFIRMED
from tracker.machine import Close, Closed, Open, Opened, Send, Unreachable
from tracker.members import GONE, NOBODY, Member, View, position
from tracker.messages import (
    Announced,
    Heartbeat,
    Listed,
    Registered,
    Roster,
    news_to_wire,
)

A, B, C, D = [(f"10.0.0.{number}", 7401) for number in range(1, 5)]
TRACKER, TRACKER_LINK, CLIENT, LINK = ("10.0.0.9", 7400), 1, 50, 7


def make_member(index, status=0):
    store = index.to_bytes(8, "big") * 2
    return Member(f"n{index}", store, 0, 1, 0, f"10.0.0.{index}", 7401, status)


MEMBERS = [make_member(index) for index in range(1, 5)]


def make_hearsay(*strange):
    hearsay = Hearsay(NOBODY)
    for roll, source in strange:
        hearsay.hear(roll, source)
    return hearsay


def page(*members, end=True):
    return Listed(1, end, tuple([(member, -1.0, -1) for member in members]))


# -- the list of rolls ----------------------------------------------------------------------


def test_a_roll_of_the_past_is_nothing_strange():
    hearsay = make_hearsay()
    views = [View().merged(MEMBERS[:count]) for count in (1, 2, 3)]
    for view in views:
        hearsay.follow(view)

    for view in views:
        hearsay.hear(view.roll, A)

    assert hearsay.is_settled
    assert hearsay.look(0.0) == []


def test_a_strange_roll_is_read_from_who_said_it():
    hearsay = make_hearsay((5, A))

    assert not hearsay.is_settled
    assert hearsay.look(1.0) == [Open(A)]
    assert hearsay.opens(A)
    assert not hearsay.opens(B)
    assert hearsay.opened(LINK) == [Send(LINK, Roster(1))]
    assert hearsay.owns(LINK)
    assert hearsay.listed(page(MEMBERS[0], end=False), 1.1) == ([], ())
    effects, members = hearsay.listed(page(MEMBERS[1]), 1.2)

    assert effects == [Close(LINK)]
    assert members == MEMBERS[:2]
    assert hearsay.is_settled
    assert not hearsay.owns(LINK)


def test_one_list_is_read_at_a_time():
    hearsay = make_hearsay((5, A), (6, B))

    assert hearsay.look(0.0) == [Open(A)]
    assert hearsay.look(0.1) == []
    hearsay.opened(LINK)
    effects, _ = hearsay.listed(page(), 0.2)

    assert effects == [Close(LINK), Open(B)]


def test_a_view_that_catches_up_by_itself_settles_what_was_strange():
    view = View().merged(MEMBERS)
    hearsay = make_hearsay((view.roll, A))

    hearsay.follow(view)

    assert hearsay.is_settled


def test_whoever_cannot_be_read_is_followed_by_the_next_who_said_the_same():
    hearsay = make_hearsay((5, A), (5, B), (5, B))
    hearsay.look(0.0)

    assert hearsay.failed(0.5) == [Open(B)]
    assert not hearsay.is_lost
    assert hearsay.failed(0.6) == []

    assert hearsay.is_lost
    assert not hearsay.is_settled


def test_only_so_many_are_tried_for_one_roll():
    hearsay = make_hearsay()
    opened = []
    for number in range(SOURCES_MAX + 3):
        hearsay.hear(5, (f"10.0.1.{number}", 7401))
        opened += hearsay.look(0.0) + hearsay.failed(0.0)

    assert len(opened) == SOURCES_MAX
    assert hearsay.is_lost


@pytest.mark.parametrize("is_open", [False, True], ids=["no stream yet", "a silent stream"])
def test_a_list_that_does_not_come_is_given_up(is_open):
    hearsay = make_hearsay((5, A), (5, B))
    hearsay.look(0.0)
    if is_open:
        hearsay.opened(LINK)
    assert hearsay.deadline() == FETCH_S
    assert hearsay.look(FETCH_S - 0.01) == []

    effects = hearsay.look(FETCH_S)

    assert effects == [*([Close(LINK)] if is_open else []), Open(B)]


def test_when_no_query_is_under_way_what_was_strange_is_nobodys_business():
    hearsay = make_hearsay((5, A))

    hearsay.forget()

    assert hearsay.is_settled
    assert hearsay.deadline() is None


def test_what_is_remembered_is_bounded():
    hearsay = make_hearsay(*[(roll, A) for roll in range(1, STRANGE_MAX + 9)])
    for roll in range(10_000, 10_000 + KNOWN_MAX + 9):
        hearsay._learned(roll)

    assert (len(hearsay._strange), len(hearsay._known)) == (STRANGE_MAX, KNOWN_MAX)


def test_it_says_for_which_roll_there_is_no_room():
    hearsay = make_hearsay(*[(100 + index, A) for index in range(STRANGE_MAX - 1)])

    assert hearsay.hear(98, A)
    assert not hearsay.hear(99, B)
    assert hearsay.hear(100, B)
    assert hearsay.hear(NOBODY.roll, B)


def test_a_list_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr("counter.hearsay.MEMBERS_MAX", 3)
    hearsay = make_hearsay((5, A))
    hearsay.look(0.0)
    hearsay.opened(LINK)

    assert hearsay.listed(page(*MEMBERS, end=False), 0.1) == ([Close(LINK)], ())
    assert hearsay.is_lost


# -- in the machine -------------------------------------------------------------------------


def make_node(count=2):
    """Return n1's machine, whose tracker told it of the first `count` members."""
    node = Gossip(NodeConfig(name="n1"), LAN, MEMBERS[0], (TRACKER,), Random(1))
    node.resume(0)
    node.start(0.0)
    node.submit(Opened(TRACKER_LINK, TRACKER), 0.0)
    node.receive(TRACKER_LINK, Registered(b"t" * 8, 0, 0, 0), 0.0)
    news = news_to_wire(MEMBERS[:count])
    node.receive(TRACKER_LINK, Heartbeat(b"t" * 8, 1, 0, news), 0.0)
    node.receive(TRACKER_LINK, Announced(1), 0.0)
    return node


def ask(node):
    """Ask; returns the id of the query."""
    effects = node.receive(CLIENT, Query(1, "k", 3, 0, 0, 2_000, UNTIL_ALL, 0, 0, False), 0.1)
    return next(e.message.query for e in effects if isinstance(getattr(e, "message", None), Ask))


def reply(node, query, index, roll, now=0.11, value=1):
    member = MEMBERS[index - 1]
    message = Reply(query, position(member.name), member.store[:8], 1, value, 1, 0, (), (), roll)
    return node.receive(member.endpoint, message, now)


def answers(effects):
    found = [getattr(e, "message", None) for e in effects]
    return [(m.reason, m.answered, m.members) for m in found if isinstance(m, Answer)]


def test_who_agrees_on_the_members_completes_an_answer_at_once():
    node = make_node()
    query = ask(node)

    assert answers(reply(node, query, 2, node.membership.view.roll)) == [("complete", 2, 2)]


def test_an_answer_is_not_complete_while_somebody_knows_a_member_more():
    node = make_node()
    query = ask(node)
    newer = View().merged(MEMBERS[:3])

    effects = reply(node, query, 2, newer.roll)
    assert effects == [Open(MEMBERS[1].endpoint)]
    node.submit(Opened(LINK, MEMBERS[1].endpoint), 0.12)
    effects = node.receive(LINK, page(*newer), 0.13)
    assert answers(effects) == []
    assert node.membership.view.expected == 3

    assert answers(reply(node, query, 3, newer.roll, 0.2)) == [("complete", 3, 3)]


def asked_ids(effects):
    return {e.message.query for e in effects if isinstance(getattr(e, "message", None), Ask)}


def test_whoever_heard_of_more_lists_than_it_can_read_asks_everybody_anew(monkeypatch):
    monkeypatch.setattr("counter.hearsay.STRANGE_MAX", 1)
    node = make_node(3)
    query = ask(node)
    reply(node, query, 2, 77)
    reply(node, query, 3, 78)
    node.submit(Opened(LINK, MEMBERS[1].endpoint), 0.12)

    effects = node.receive(LINK, page(*MEMBERS[:3]), 0.13)
    effects += node.tick(0.14)

    assert answers(effects) == []
    [anew] = asked_ids(effects)
    assert anew != query
    roll = node.membership.view.roll
    ended = reply(node, anew, 2, roll, 0.15) + reply(node, anew, 3, roll, 0.15)
    assert answers(ended) == [("complete", 3, 3)]


def test_it_says_after_a_few_times_that_others_know_more_than_it_can_read(monkeypatch):
    monkeypatch.setattr("counter.hearsay.STRANGE_MAX", 1)
    node = make_node(3)
    query, effects, rolls = ask(node), [], count(77)
    for _ in range(AGAINS_MAX + 1):
        assert answers(effects) == []
        reply(node, query, 2, next(rolls))
        reply(node, query, 3, next(rolls))
        node.submit(Opened(LINK, MEMBERS[1].endpoint), 0.12)
        effects = node.receive(LINK, page(*MEMBERS[:3]), 0.13) + node.tick(0.14)
        query = next(iter(asked_ids(effects)), None)

    assert answers(effects) == [("converged", 3, 3)]
    [answer] = [e.message for e in effects if isinstance(getattr(e, "message", None), Answer)]
    assert answer.why == UNCONFIRMED


def test_a_list_in_which_nothing_is_new_completes_the_answer():
    node = make_node()
    query = ask(node)
    reply(node, query, 2, 77)
    node.submit(Opened(LINK, MEMBERS[1].endpoint), 0.12)

    assert answers(node.receive(LINK, page(*MEMBERS[:2]), 0.13)) == [("complete", 2, 2)]


def test_who_is_gone_elsewhere_is_not_waited_for():
    node = make_node(3)
    query = ask(node)
    reply(node, query, 2, 77)
    node.submit(Opened(LINK, MEMBERS[1].endpoint), 0.12)

    effects = node.receive(LINK, page(*MEMBERS[:2], make_member(3, GONE)), 0.13)

    assert answers(effects) == [("complete", 2, 2)]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param([Unreachable(MEMBERS[1].endpoint, "refused")], id="unreachable"),
        pytest.param([Opened(LINK, MEMBERS[1].endpoint), Closed(LINK, "gone")], id="closed"),
    ],
)
def test_what_cannot_be_learned_makes_an_answer_incomplete_and_does_not_hold_it_up(end):
    node = make_node()
    query = ask(node)
    reply(node, query, 2, 77)

    effects = [effect for event in end for effect in node.submit(event, 0.12)]

    assert answers(effects) == [("converged", 2, 2)]


def test_a_list_nobody_asked_for_is_refused():
    node = make_node()

    [refused] = node.receive(LINK, page(*MEMBERS), 0.1)

    assert refused.message.code == "unexpected"
    assert node.membership.view.expected == 2


def test_a_list_that_does_not_come_is_given_up_by_the_clock():
    node = make_node()
    query = ask(node)
    reply(node, query, 2, 77)

    assert node.deadline() <= 0.11 + FETCH_S
    effects = node.tick(0.11 + FETCH_S)
    effects += node.tick(0.12 + FETCH_S)

    assert answers(effects) == [("converged", 2, 2)]


def test_after_the_last_query_what_was_strange_is_forgotten():
    node = make_node()
    query = ask(node)
    reply(node, query, 2, 77)
    node.submit(Unreachable(MEMBERS[1].endpoint, "refused"), 0.12)

    node.tick(5.0)

    assert node.hearsay.is_settled


def test_a_query_does_not_pay_for_what_only_an_earlier_one_heard():
    node = make_node()
    reply(node, ask(node), 2, 77)
    ended = node.submit(Unreachable(MEMBERS[1].endpoint, "refused"), 0.12)
    query = ask(node)

    effects = reply(node, query, 2, node.membership.view.roll, 0.13)

    assert answers(ended) == [("converged", 2, 2)]
    assert answers(effects) == [("complete", 2, 2)]


def test_a_watch_does_not_pay_for_what_only_an_earlier_round_heard():
    node = make_node()
    reply(node, ask(node), 2, 77)
    wanted = Query(2, "k", 3, 0, 0, 2_000, UNTIL_ALL, 0, 0, False, pause_ms=500)
    node.receive(CLIENT, wanted, 0.12)
    node.submit(Unreachable(MEMBERS[1].endpoint, "refused"), 0.13)

    [query] = [
        e.message.query for e in node.tick(0.7) if isinstance(getattr(e, "message", None), Ask)
    ]
    effects = reply(node, query, 2, node.membership.view.roll, 0.71)

    assert answers(effects) == [("complete", 2, 2)]


def test_a_stream_that_stands_after_its_list_was_given_up_is_closed():
    node = make_node()
    reply(node, ask(node), 2, 77)
    node.tick(0.12 + FETCH_S)

    assert node.submit(Opened(LINK, MEMBERS[1].endpoint), 0.2 + FETCH_S) == [Close(LINK)]


def test_a_reply_that_says_nothing_of_its_view_makes_nobody_wonder():
    node = make_node()
    query = ask(node)

    assert answers(reply(node, query, 2, 0)) == [("complete", 2, 2)]
