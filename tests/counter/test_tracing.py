"""The way of a traced query, among nodes whose datagrams a test carries and loses."""

from collections import deque
from dataclasses import replace
from random import Random

import pytest

from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.messages import (
    ANSWERED,
    CUT,
    GOSSIP,
    SILENT,
    TRACE,
    UNTIL_ALL,
    Answer,
    Ask,
    Query,
    Reply,
    Stop,
    Traced,
    Trail,
)
from counter.tracing import FIRST_ASKS_MAX, FirstAsks, Trace
from tracker.machine import Opened, Send, Undelivered
from tracker.members import Member, View, position
from tracker.messages import Heartbeat, Registered, news_to_wire

CLIENT, TRACKER_LINK = 9, 1
TRACKER, EPOCH = ("127.0.0.1", 7400), b"t" * 8


def make_member(index):
    return Member(f"n{index}", index.to_bytes(8, "big") * 2, 0, 1, 0, "127.0.0.1", 1000 + index)


def make_request(**changes):
    request = Query(1, "k", 3, 0, 0, 2_000, UNTIL_ALL, 0, 0, False, trace=True)
    return replace(request, **changes)


class Peers:
    """Nodes that all know each other; what they send is carried, and written down."""

    def __init__(self, count):
        members = [make_member(i) for i in range(count)]
        self.now = 0.0
        self.carried = []
        self.told = []
        self.nodes = {}
        for index, member in enumerate(members):
            node = Gossip(NodeConfig(name=member.name), LAN, member, (TRACKER,), Random(index))
            node.resume(0)
            node.start(0.0)
            node.submit(Opened(TRACKER_LINK, TRACKER), 0.0)
            node.receive(TRACKER_LINK, Registered(EPOCH, 0, 0, 0), 0.0)
            node.receive(TRACKER_LINK, Heartbeat(EPOCH, 1, 0, news_to_wire(members)), 0.0)
            self.nodes[member.endpoint] = node
        self.names = {member.endpoint: member.name for member in members}
        self.home = members[0].endpoint

    def run(self, effects, lost=lambda sender, to, message: False):
        """Carry datagrams until none is left."""
        waiting = deque((self.home, effect) for effect in effects)
        while waiting:
            sender, effect = waiting.popleft()
            if not isinstance(effect, Send) or effect.to == TRACKER_LINK:
                continue
            if effect.to == CLIENT:
                self.told.append(effect.message)
                continue
            self.now += 0.001
            if lost(sender, effect.to, effect.message):
                continue
            message = GOSSIP.decode(GOSSIP.encode(effect.message))
            self.carried.append((sender, effect.to, message))
            answers = self.nodes[effect.to].receive(sender, message, self.now)
            waiting.extend((effect.to, answer) for answer in answers)

    def ask(self, request=None, **options):
        """Ask at n0, and run to the end of the query."""
        origin = self.nodes[self.home]
        self.run(origin.receive(CLIENT, request or make_request(), self.now), **options)
        self.finish(**options)

    def finish(self, **options):
        """Run to the end of the query."""
        origin = self.nodes[self.home]
        while not any(isinstance(m, Answer) and m.end for m in self.told):
            self.now = origin.asker.deadline()
            self.run(origin.tick(self.now), **options)

    @property
    def rows(self):
        return {row[0]: row for message in self.told if isinstance(message, Trail)
                for row in message.rows}  # fmt: skip

    def first_senders(self):
        """Return (sender, hop) of the first ask that reached each node, as it was carried."""
        first = {}
        for sender, to, message in self.carried:
            if isinstance(message, Ask):
                first.setdefault(self.names[to], (self.names[sender], message.age))
        return first


def parents(rows):
    return {name: (row[2], row[3]) for name, row in rows.items() if row[2]}


def test_the_trace_names_the_real_sender_of_the_first_datagram_to_each_node():
    peers = Peers(60)
    peers.ask()

    assert parents(peers.rows) == peers.first_senders()
    assert len(peers.rows) == 60
    assert {row[8] for row in peers.rows.values()} == {ANSWERED}
    assert peers.rows["n0"][2:5] == ("", 0, -1.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_trace_is_right_when_datagrams_are_lost(seed):
    peers = Peers(40)
    chance = Random(seed)
    peers.ask(lost=lambda sender, to, message: chance.random() < 0.2)

    carried = peers.first_senders()

    assert all(carried[name] == parent for name, parent in parents(peers.rows).items())
    assert sum(row[8] == ANSWERED for row in peers.rows.values()) >= 39


def test_an_answer_that_was_lost_and_repaired_still_names_who_asked_first():
    peers = Peers(12)
    lost = []

    def lose(sender, to, message):
        is_first = isinstance(message, Traced) and message.age == 2 and not lost
        if is_first:
            lost.append(peers.names[sender])
        return is_first

    peers.ask(lost=lose)

    row = peers.rows[lost[0]]
    assert (row[2], row[3]) == peers.first_senders()[lost[0]]
    assert row[2] != "n0"
    assert (row[4], len(row[6]), row[8]) == (-1.0, 1, ANSWERED)
    assert row[6][0] < row[5]


def test_who_is_asked_by_the_origin_has_the_time_of_its_ask():
    peers = Peers(12)
    peers.ask()

    asked = {name for name, row in peers.rows.items() if row[4] == 0.0}

    assert asked == {name for name, row in peers.rows.items() if row[2] == "n0"}
    assert len(asked) == 3


def test_who_stays_silent_has_the_times_of_its_repairs_and_no_made_up_way():
    peers = Peers(12)
    peers.ask(lost=lambda sender, to, message: peers.names[to] == "n5")

    row = peers.rows["n5"]

    assert (row[5], row[8]) == (-1.0, SILENT)
    assert len(row[6]) >= 2
    assert list(row[6]) == sorted(row[6])
    assert row[2] == ("n0" if row[4] == 0.0 else "")


def test_members_left_out_by_age_stand_under_the_one_who_could_not_pass_it_on():
    peers = Peers(40)
    peers.ask(make_request(age_max=2))

    cut = [row for row in peers.rows.values() if row[8] == CUT]

    assert cut
    assert {peers.rows[row[2]][3] for row in cut} == {2}
    assert len(peers.rows) == 40


def test_what_a_repeated_answer_says_of_its_way_is_not_believed():
    peers = Peers(4)
    origin = peers.nodes[peers.home]
    asks = origin.receive(CLIENT, make_request(), 0.0)
    member = make_member(1)
    place = position(member.name)
    reply = GOSSIP.encode(Reply(asks[0].message.query, place, member.store[:8], 1, 1, 1, 0, (), ()))
    for asked_by in (peers.home, ("127.0.0.9", 5)):
        origin.receive(member.endpoint, Traced(asked_by, 1, reply), 0.1)

    (asked,) = origin.asker._by_id.values()

    assert asked.trace.ways == {place: (peers.home, 1)}


def test_an_arc_that_was_handed_to_somebody_else_has_the_time_of_that_and_its_trace():
    peers = Peers(40)
    origin = peers.nodes[peers.home]
    asks = origin.receive(CLIENT, make_request(), 0.0)
    gone = asks[0]

    again = origin.submit(Undelivered(gone.to, gone.message), 0.020)
    peers.now = 0.030
    peers.run([*again, *asks[1:]])
    peers.finish(lost=lambda sender, to, message: to == gone.to)

    row = peers.rows[peers.names[again[0].to]]
    assert row[2:5] == ("n0", 1, 20.0)
    assert parents(peers.rows).items() >= peers.first_senders().items()


def test_a_query_without_a_trace_carries_no_flag_and_gets_plain_replies():
    peers = Peers(12)
    peers.ask(make_request(trace=False))

    assert not any(isinstance(m, Traced) for _, _, m in peers.carried)
    assert not any(m.flags & TRACE for _, _, m in peers.carried if isinstance(m, Ask))
    assert peers.rows == {}


def test_a_node_that_knows_no_traces_answers_plainly_and_has_no_parent():
    peers = Peers(4)
    old = make_member(2).endpoint
    plain = peers.nodes[old].receive

    def receive(sender, message, now):
        if isinstance(message, Ask):
            message.flags &= ~TRACE
        return plain(sender, message, now)

    peers.nodes[old].receive = receive
    peers.ask()

    assert (peers.rows["n2"][2], peers.rows["n2"][8]) == ("", ANSWERED)
    assert next(m for m in peers.told if isinstance(m, Answer)).complete


def test_a_trace_with_no_reply_in_it_is_dropped():
    peers = Peers(2)
    node = peers.nodes[peers.home]
    inner = GOSSIP.encode(Traced(peers.home, 1, b"x"))

    for body in (b"nonsense", inner):
        assert node.receive(("127.0.0.1", 1001), Traced(peers.home, 1, body), 0.0) == []
    assert node.unexpected == 2


def test_a_traced_answer_to_no_query_is_a_stranger_s():
    peers = Peers(2)
    node = peers.nodes[peers.home]
    reply = Reply(b"?" * 16, 5, b"s" * 8, 1, 1, 1, 0, (), ())

    node.receive(("127.0.0.1", 1001), Traced(peers.home, 1, GOSSIP.encode(reply)), 0.0)

    assert node.asker.listener.strangers == 1


def test_an_answerer_from_outside_the_view_is_shown_by_its_position_and_address():
    peers = Peers(3)
    origin = peers.nodes[peers.home]
    origin.membership.view = View().merged([make_member(i) for i in range(2)])
    stranger = ("127.0.0.9", 5)
    asks = origin.receive(CLIENT, make_request(), 0.0)
    query = next(e.message.query for e in asks)
    extra = make_member(2)
    for member, asked_by in ((extra, stranger), (make_member(1), peers.home)):
        place = position(member.name)
        reply = Reply(query, place, member.store[:8], 1, 1, 1, 0, (), ())
        traced = Traced(asked_by, 1, GOSSIP.encode(reply))
        peers.run(origin.receive(member.endpoint, traced, 0.1))

    row = peers.rows[f"?{position('n2'):016x}"]

    assert (row[1], row[2]) == (None, "127.0.0.9:5")


def test_first_asks_are_remembered_up_to_a_number():
    first = FirstAsks()
    for number in range(FIRST_ASKS_MAX + 10):
        ask = Ask(
            number.to_bytes(16, "big"),
            "k",
            ("127.0.0.1", 1),
            3,
            1,
            1,
            3,
            99,
            0,
            0,
            9,
            (),
            (),
            TRACE,
        )
        stop = Send(("127.0.0.1", 3), Stop(ask.query))
        assert first.traced(ask, ("127.0.0.1", 2), [stop]) == [stop]

    assert len(first) == FIRST_ASKS_MAX


def test_a_cut_nobody_reported_or_reported_by_a_stranger_is_told_as_far_as_it_is_known():
    peers = Peers(40)
    origin = peers.nodes[peers.home]
    asks = origin.receive(CLIENT, make_request(age_max=2), 0.0)
    query = next(iter(origin.asker._by_id.values())).query
    place, pending = next(iter(query.pending.items()))
    del query.pending[place]
    query.cut[place] = pending.member
    trace = Trace()

    def way():
        return next(row[2] for row in trace.rows(query, "n0") if row[8] == CUT)

    assert asks
    assert way() == ""
    trace.cuts.append((5, 0, 2**64 - 1))
    assert way() == "?0000000000000005"
    trace.cuts.append((query.own_position, place, place))
    assert way() == "n0"


def test_repairs_of_one_member_are_kept_up_to_a_number():
    trace = Trace()
    ask = Ask(b"q" * 16, "k", ("127.0.0.1", 1), 3, 1, 1, 3, 99, 0, 0, 9, (), (), 0)
    for number in range(50):
        trace.repaired([Send(("127.0.0.1", 2), ask)], float(number))

    assert len(trace.repairs["127.0.0.1", 2]) == 32
