"""Members that speak another version of gossip: never misread, told once, not waited for."""

from dataclasses import replace

import pytest
from lone_node import MEMBERS, QUERY, ask_with, make_node

from counter import foreign
from counter.client.door import Door
from counter.messages import Answer, Ask, Missing, Reply
from loadtest.cluster import Cluster
from tracker.machine import Emit, Foreign
from tracker.members import position
from tracker.transport.base import PlainSeal
from tracker.transport.udp import UdpDatagrams

STRANGER = ("10.0.0.9", 9)
THERE = MEMBERS[1].endpoint


def told(effects):
    return [(e.event, e.details["name"]) for e in effects if isinstance(e, Emit)]


def test_a_query_ends_at_the_word_that_its_last_silent_member_speaks_another_version():
    node = make_node(2)
    [send], now = ask_with(node)

    effects = node.submit(Foreign(send.to, 2, send.message), now)

    sent = [e.message for e in effects if not isinstance(e, Emit)]
    [answer] = [m for m in sent if isinstance(m, Answer)]
    assert (answer.reason, answer.complete, answer.answered) == ("converged", False, 1)
    [(name, _, _, _, why)] = [row for m in sent if isinstance(m, Missing) for row in m.rows]
    assert (name, why) == ("n1", "speaks gossip 2, and the node that asked 1")


def test_an_arc_that_came_back_unread_goes_to_another_head_which_skips_the_first():
    node = make_node(30)
    home = ("10.0.0.1", 1)
    ask = Ask(b"q" * 16, "k", home, 3, 1, 1, 9, 5_000, 0, 0, 2**64)
    _, head, *_ = node.receive(home, ask, 0.0)
    member = next(m for m in MEMBERS if m.endpoint == head.to)

    effects = node.submit(Foreign(head.to, 2, head.message), 0.0)

    assert told(effects) == [("other-gossip", member.name)]
    [again] = effects[1:]
    assert again.to != head.to
    assert position(member.name) in again.message.skip


def test_each_start_of_a_member_is_told_of_once():
    node = make_node()

    first, second = [node.submit(Foreign(THERE, 2), 0.0) for _ in range(2)]
    node.membership.view = node.membership.view.merged([replace(MEMBERS[1], epoch=2)])
    third = node.submit(Foreign(THERE, 3), 0.0)

    assert [told(e) for e in (first, second, third)] == [[("other-gossip", "n1")], [], told(first)]
    assert first[0].details == {"name": "n1", "address": "127.0.0.1:1001", "gossip": 2, "here": 1}
    assert third[0].details["gossip"] == 3


def test_who_is_no_member_is_not_told_of():
    assert make_node().submit(Foreign(STRANGER, 2), 0.0) == []


def test_of_more_than_so_many_nothing_is_said(monkeypatch):
    monkeypatch.setattr(foreign, "FOREIGNERS_MAX", 1)
    node = make_node()

    effects = [node.submit(Foreign(MEMBERS[i].endpoint, 2), 0.0) for i in (1, 2)]

    assert [told(e) for e in effects] == [[("other-gossip", "n1")], []]


def test_what_came_back_and_is_no_ask_or_nobodys_is_only_told():
    node = make_node(30)
    reply = Reply(b"q" * 16, 1, b"s" * 8, 1, 1, 1, 0, (), ())
    ask = Ask(b"p" * 16, "k", STRANGER, 3, 1, 1, 9, 5_000, 0, 0, 2**64)

    assert len(node.submit(Foreign(MEMBERS[1].endpoint, 2, reply), 0.0)) == 1
    assert len(node.submit(Foreign(MEMBERS[2].endpoint, 2, ask), 0.0)) == 1


def test_an_ask_of_a_member_that_moved_since_says_nothing_of_who_is_waited_for():
    node = make_node(2)
    [send], now = ask_with(node)
    moved = replace(MEMBERS[1], epoch=2, port=2001)
    node.membership.view = node.membership.view.merged([moved])

    effects = node.submit(Foreign(moved.endpoint, 2, send.message), now)

    assert told(effects) == [("other-gossip", "n1")]
    [asked] = node.asker.under_way()
    assert [pending.speaks for pending in asked.pending.values()] == [0]


# -- on real sockets ------------------------------------------------------------------------


class HalfUpgraded(Cluster):
    """A cluster in which every second node speaks the next version of gossip."""

    def _make_datagrams(self, sock, handler):
        seal = PlainSeal(2) if len(self.nodes) % 2 == 0 else None
        return UdpDatagrams(sock, handler, seal)


@pytest.mark.slow
@pytest.mark.parametrize("asker", [0, 1], ids=["the older", "the newer"])
async def test_two_versions_in_a_cluster_answer_each_for_itself_and_name_the_other(asker):
    async with HalfUpgraded(6) as cluster:
        door = await Door.open(cluster.nodes[asker].endpoint)

        answer, asked = await door.ask(QUERY)

        door.close()
        strange = [node._datagrams.strange for node in cluster.nodes]
    assert (answer.complete, answer.answered, answer.members) == (False, 3, 6)
    others = [f"n{number}" for number in range(1, 7) if number % 2 == asker]
    assert [row[0] for row in asked.missing] == others
    assert all(row[4].startswith(f"speaks gossip {2 - asker}, ") for row in asked.missing)
    assert answer.messages < 2 * 3 + 3 * 3 + 1
    assert sum(strange) > 0
