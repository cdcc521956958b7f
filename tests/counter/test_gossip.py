"""The node's machine, with a real membership and the words of a tracker fed by hand."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counter.activity import ACTIVITY_S
from counter.config import LAN, NodeConfig
from counter.gossip import UNTIMED, Gossip
from counter.messages import (
    ACK_DEFAULT,
    ACK_DISK,
    ACK_MEMORY,
    DECREASED,
    DOOR,
    RING,
    ROWS_PER_PAGE,
    UNTIL_ALL,
    Answer,
    Ask,
    AskMany,
    Cancel,
    Counted,
    Delegate,
    Get,
    Increment,
    Keyed,
    Query,
    Recall,
    Recalled,
    Reply,
    ReplyMany,
    Stop,
    Value,
    named,
    prefixed,
)
from counter.saving import VIEW_SAVE_FEW_S, VIEW_SAVE_S
from tracker.machine import (
    Accepted,
    Close,
    Closed,
    Emit,
    Leave,
    Open,
    Opened,
    Persist,
    Persisted,
    PersistFailed,
    Send,
    Unreachable,
)
from tracker.members import DEAD, Member, View, position
from tracker.messages import (
    LISTED_PER_PAGE,
    Announced,
    Departed,
    Departing,
    Find,
    Heartbeat,
    Listed,
    Refused,
    Register,
    Registered,
    Roster,
    Wrote,
    news_to_wire,
)
from tracker.pages import members_from_record, members_to_record

TRACKER, SECOND = ("127.0.0.1", 7400), ("127.0.0.1", 7500)
TRACKER_LINK, SECOND_LINK, LIST_LINK, CLIENT = 1, 2, 3, 50
EPOCH = b"t" * 8


def make_member(index, **changes):
    store = index.to_bytes(8, "big") * 2
    return replace(Member(f"n{index}", store, 0, 1, 0, "127.0.0.1", 1000 + index), **changes)


def make_gossip(*, durable=True, trackers=(TRACKER,), epoch=1, config=LAN):
    member = make_member(0, durable=durable, epoch=epoch)
    return Gossip(NodeConfig(name="n0"), config, member, trackers, Random(1))


def make_query(number=1, **changes):
    return replace(Query(number, "k", 0, 0, 0, 1_000, UNTIL_ALL, 0, 0, False), **changes)


def make_ask(**changes):
    ask = Ask(b"q" * 16, "k", ("127.0.0.1", 9), 3, 1, 1, 9, 5_000, 0, 0, RING, (), (), 0)
    return replace(ask, **changes)


def make_heartbeat(*members, version=1, since=0):
    return Heartbeat(EPOCH, version, since, news_to_wire(members))


def join(gossip, link=TRACKER_LINK, tracker=TRACKER, now=0.0):
    """Let a tracker take the node in; no heartbeat has come yet."""
    gossip.submit(Opened(link, tracker), now)
    gossip.receive(link, Registered(EPOCH, 0, 0, 0), now)


def confirmed(gossip, *members, now=0.1):
    """Let the tracker say whom it knows to a node that knows nobody else; returns what follows."""
    gossip.submit(Opened(LIST_LINK, TRACKER), now)
    rows = tuple([(member, -1.0, -1) for member in members])
    close, *effects = gossip.receive(LIST_LINK, Listed(1, True, rows), now)
    assert close == Close(LIST_LINK)
    return effects


def started(count=3, **wishes):
    """Return a node that joined, and knows `count` members, itself among them."""
    gossip = make_gossip(**wishes)
    gossip.resume(0)
    gossip.start(0.0)
    join(gossip)
    members = [gossip.membership.member, *[make_member(i) for i in range(1, count)]]
    gossip.receive(TRACKER_LINK, make_heartbeat(*members), 0.0)
    gossip.receive(TRACKER_LINK, Announced(1), 0.0)
    return gossip


def restored(*records, **wishes):
    gossip = make_gossip(epoch=2, **wishes)
    for kind, record in records:
        gossip.restore(kind, record)
    gossip.resume(9)
    gossip.start(0.0)
    return gossip


def increment(sequence=1, pairs=("k", 5), ack=ACK_DEFAULT):
    return Increment(b"a" * 16, sequence, pairs, ack)


def messages(effects, to=CLIENT):
    return [e.message for e in effects if isinstance(e, Send) and e.to == to]


def emitted(effects):
    return [(e.event, e.details) for e in effects if isinstance(e, Emit)]


def heard_from(gossip, effects, index, now, value=1):
    asks = [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, Ask)]
    member = make_member(index)
    reply = Reply(asks[0].query, position(member.name), member.store[:8], 1, value, 1, 0, (), ())
    return gossip.receive(member.endpoint, reply, now)


# -- counting -------------------------------------------------------------------------------


def test_a_client_s_increment_is_counted_when_it_is_on_disk_and_then_read():
    gossip = started()

    persist = gossip.receive(CLIENT, increment(), 1.0)
    assert messages(gossip.receive(CLIENT, Get(7, "k"), 1.0)) == [Value(7, 0, True)]

    effects = gossip.submit(Persisted(persist[0].token), 1.0)
    assert messages(effects) == [Counted(1, True, False)]
    assert messages(gossip.receive(CLIENT, Get(8, "k"), 1.0)) == [Value(8, 5, True)]


def test_what_the_disk_refuses_is_refused():
    gossip = started()
    (persist,) = gossip.receive(CLIENT, increment(), 1.0)

    effects = gossip.submit(PersistFailed(persist.token, "disk full", True), 1.0)

    assert messages(effects) == [Refused(1, "disk", "disk full")]


def test_counts_survive_a_restart_with_a_snapshot_of_an_earlier_epoch():
    before = started()
    (persist,) = before.receive(CLIENT, increment(), 1.0)
    before.submit(Persisted(persist.token), 1.0)

    after = restored(*[("state", record) for record in before.dump()])

    assert messages(after.receive(CLIENT, Get(1, "k"), 1.0)) == [Value(1, 5, True)]
    after.receive(CLIENT, increment(), 1.0)
    again = after.submit(Unreachable(TRACKER, "connection refused"), 1.0)
    assert messages(again) == [Counted(1, True, True)]


def test_counts_survive_a_restart_from_the_log():
    before = started()
    (persist,) = before.receive(CLIENT, increment(), 1.0)

    after = restored(("counts", persist.record))

    assert messages(after.receive(CLIENT, Get(1, "k"), 1.0)) == [Value(1, 5, True)]
    join(after)
    after.receive(TRACKER_LINK, make_heartbeat(after.membership.member), 1.0)
    after.receive(TRACKER_LINK, Announced(1), 1.0)
    assert after.receive(CLIENT, increment(2), 1.0)[0].token == 10


@pytest.mark.parametrize("message", [increment(), Get(1, "k"), make_ask(budget_ms=1)], ids=repr)
def test_an_untimed_message_makes_nothing_due_before_the_next_beat_would_be(message):
    gossip = started()
    idle = gossip.deadline()
    assert type(message) in UNTIMED

    gossip.receive(CLIENT, message, 0.1)

    assert gossip.deadline() >= min(idle, 0.1 + LAN.memory_s)


# -- peers ----------------------------------------------------------------------------------


def test_a_peer_s_ask_is_answered_at_its_origin_and_passed_on():
    gossip = started(8)
    gossip.receive(CLIENT, increment(1, ("k", -5), ACK_MEMORY), 1.0)

    answer, *onward = gossip.receive(("127.0.0.1", 1001), make_ask(), 1.0)

    assert answer.to == ("127.0.0.1", 9)
    assert (answer.message.value, answer.message.flags) == (-5, DECREASED)
    assert len(onward) == 3
    assert len(gossip.receive(("127.0.0.1", 1001), Stop(b"q" * 16), 1.0)) == 3


def test_an_own_query_that_comes_back_is_not_answered():
    gossip = started(8)
    asks = gossip.receive(CLIENT, make_query(), 1.0)
    query = asks[0].message.query

    assert gossip.receive(("127.0.0.1", 1001), make_ask(query=query), 1.0) == []


def test_a_query_of_a_peer_is_forgotten_in_time():
    gossip = started()
    gossip.receive(("127.0.0.1", 1001), make_ask(budget_ms=1), 0.0)
    assert len(gossip.relay) == 1

    gossip.tick(LAN.memory_s + 0.001)

    assert len(gossip.relay) == 0


# -- queries --------------------------------------------------------------------------------


def test_a_query_asks_the_members_and_its_answer_is_their_sum():
    gossip = started(3)
    gossip.receive(CLIENT, increment(ack=ACK_MEMORY), 1.0)
    asks = gossip.receive(CLIENT, make_query(), 1.0)
    assert {a.to for a in asks} == {make_member(1).endpoint, make_member(2).endpoint}
    assert heard_from(gossip, asks, 1, 1.01, value=30) == []

    (answer,) = messages(heard_from(gossip, asks, 2, 1.02, value=200))

    assert (answer.value, answer.complete, answer.reason) == (235, True, "complete")


def test_a_query_before_the_first_heartbeat_waits_for_it():
    gossip = make_gossip()
    gossip.start(0.0)
    join(gossip)
    assert gossip.receive(CLIENT, make_query(), 0.1) == []

    own = gossip.membership.member
    assert Open(TRACKER) in gossip.receive(TRACKER_LINK, make_heartbeat(own), 0.2)

    (answer,) = messages(confirmed(gossip, own))
    assert (answer.reason, answer.members) == ("complete", 1)


def test_a_node_by_itself_asks_the_newcomer_that_only_the_tracker_knew_of():
    gossip = started(1, durable=False)
    newcomer = make_member(1)

    assert gossip.receive(CLIENT, make_query(), 0.1) == [Open(TRACKER)]
    effects = confirmed(gossip, gossip.membership.member, newcomer)
    assert not any(isinstance(effect.message, Answer) for effect in effects)
    asks = [effect for _ in range(2) for effect in gossip.tick(max(0.1, gossip.deadline()))]

    (answer,) = messages(heard_from(gossip, asks, 1, 0.4, value=4))
    assert (answer.value, answer.complete, answer.members) == (4, True, 2)


def test_a_node_by_itself_whose_tracker_is_gone_calls_nothing_complete():
    gossip = started(1, durable=False)
    gossip.receive(CLIENT, make_query(), 0.1)

    (answer,) = messages(gossip.submit(Unreachable(TRACKER, "refused"), 0.2))

    assert (answer.complete, answer.reason) == (False, "converged")


def test_with_no_tracker_and_nobody_known_a_query_is_refused_with_the_reason():
    gossip = make_gossip()
    gossip.start(0.0)
    gossip.receive(CLIENT, make_query(), 0.1)

    assert messages(gossip.tick(0.59)) == []
    (refused,) = messages(gossip.tick(0.6))

    assert (refused.request, refused.code) == (1, "no-view")
    assert "n0 has heard no tracker yet" in refused.text


def test_with_a_saved_view_and_no_tracker_a_query_is_asked_but_not_called_complete():
    record = members_to_record([make_member(0), make_member(1)])
    gossip = restored(("members", record))
    gossip.submit(Unreachable(TRACKER, "refused"), 0.0)
    gossip.receive(CLIENT, make_query(), 0.1)

    asks = gossip.tick(0.6)
    assert make_member(1).endpoint in [e.to for e in asks if isinstance(e, Send)]
    heard_from(gossip, asks, 1, 0.61)
    gossip.submit(Unreachable(TRACKER, "refused"), 0.62)
    (answer,) = messages(gossip.tick(0.7))

    assert (answer.reason, answer.complete, answer.answered) == ("converged", False, 2)


def test_with_a_tracker_that_fell_silent_it_waits_for_a_word_until_the_deadline():
    gossip = started(2)
    asks = gossip.receive(CLIENT, make_query(), 3.5)

    assert messages(heard_from(gossip, asks, 1, 3.51)) == []
    gossip.receive(TRACKER_LINK, make_heartbeat(version=1, since=1), 3.6)
    (answer,) = messages(gossip.tick(3.6))

    assert answer.reason == "complete"


def test_with_a_tracker_silent_until_the_deadline_it_says_that_the_list_is_in_doubt():
    gossip = started(2)
    asks = gossip.receive(CLIENT, make_query(), 3.5)
    assert messages(heard_from(gossip, asks, 1, 3.51)) == []

    (answer,) = messages(gossip.tick(3.5 + make_query().deadline_ms / 1000))

    assert (answer.reason, answer.answered, answer.missing) == ("deadline", 2, 0)
    assert "who belongs to the cluster could not be confirmed" in answer.why


def test_with_every_tracker_gone_after_it_was_heard_queries_go_on():
    gossip = started(2)
    gossip.submit(Closed(TRACKER_LINK, "killed"), 1.0)
    asks = gossip.receive(CLIENT, make_query(), 20.0)
    assert Open(TRACKER) in asks
    assert messages(heard_from(gossip, asks, 1, 20.01)) == []

    gossip.submit(Unreachable(TRACKER, "refused"), 20.02)
    (answer,) = messages(gossip.tick(20.03))

    assert answer.reason == "complete"


def test_with_its_tracker_lost_nothing_is_complete_before_the_tracker_was_looked_for():
    gossip = started(1)
    gossip.submit(Closed(TRACKER_LINK, "killed"), 1.0)

    assert messages(gossip.receive(CLIENT, make_query(), 1.5)) == []
    join(gossip, SECOND_LINK, now=1.6)
    news = make_heartbeat(gossip.membership.member, make_member(2), version=2)
    asks = [*gossip.receive(SECOND_LINK, news, 1.6), *gossip.tick(1.7), *gossip.tick(1.75)]

    assert make_member(2).endpoint in [e.to for e in asks if isinstance(e, Send)]
    assert messages(asks) == []


def test_a_member_that_joins_is_waited_for_by_queries_under_way():
    gossip = started(2)
    asks = gossip.receive(CLIENT, make_query(), 0.1)
    gossip.receive(TRACKER_LINK, make_heartbeat(make_member(2), version=2, since=1), 0.1)
    assert messages(heard_from(gossip, asks, 1, 0.11)) == []

    (answer,) = messages(heard_from(gossip, asks, 2, 0.12))

    assert (answer.members, answer.reason) == (3, "complete")


def test_a_client_cancels_its_query():
    gossip = started(3)
    gossip.receive(CLIENT, make_query(4), 0.1)

    *_, answer = messages(gossip.receive(CLIENT, Cancel(4), 0.2))

    assert (answer.request, answer.reason) == (4, "cancelled")


def test_a_client_that_goes_away_cancels_its_queries():
    gossip = started(3)
    gossip.receive(CLIENT, make_query(), 0.1)

    effects = gossip.submit(Closed(CLIENT, "reset"), 0.2)

    assert len(gossip.asker) == 0
    assert sum(isinstance(e.message, Stop) for e in effects) == 2


def test_a_client_that_comes_changes_nothing():
    assert started().submit(Accepted(CLIENT, ("127.0.0.1", 1)), 0.1) == []


def test_a_loop_that_comes_late_knows_by_how_much():
    gossip = started()
    due = gossip.deadline()

    gossip.tick(due + 0.25)
    assert gossip.lag_s == pytest.approx(0.25)

    gossip.tick(gossip.deadline() - 0.1)
    assert gossip.lag_s == 0.0


def test_without_anything_due_there_is_no_lag():
    gossip = make_gossip(trackers=())
    gossip.start(0.0)
    assert gossip.deadline() is None

    assert gossip.tick(5.0) == []
    assert gossip.lag_s == 0.0


# -- what clients ask this node -------------------------------------------------------------


def test_last_values_of_a_member_are_recalled_youngest_first_with_their_age():
    gossip = started(2)
    for number, key in enumerate(["a", "b"]):
        asks = gossip.receive(CLIENT, make_query(number, key=key), 1.0 + number)
        heard_from(gossip, asks, 1, 1.0 + number, value=number)

    (recalled,) = messages(gossip.receive(CLIENT, Recall(9, "n1"), 5.0))

    assert recalled == Recalled(9, (("b", 1, 3.0), ("a", 0, 4.0)), 0)


def test_more_last_values_than_fit_are_counted():
    gossip = started(2)
    for number in range(ROWS_PER_PAGE + 3):
        asks = gossip.receive(CLIENT, make_query(number, key=f"k{number}"), 1.0)
        heard_from(gossip, asks, 1, 1.0)

    (recalled,) = messages(gossip.receive(CLIENT, Recall(9, "n1"), 1.0))

    assert (len(recalled.rows), recalled.more) == (ROWS_PER_PAGE, 3)


def test_of_an_unknown_member_nothing_is_recalled():
    effects = started().receive(CLIENT, Recall(9, "nobody"), 1.0)

    assert messages(effects) == [Recalled(9, (), 0)]


def test_a_roster_comes_in_pages_by_name_and_the_last_says_so():
    gossip = make_gossip(trackers=())
    gossip.membership.view = View().merged([make_member(i) for i in range(LISTED_PER_PAGE + 1)])

    pages = messages(gossip.receive(CLIENT, Roster(3), 0.0))

    assert [(len(p.rows), p.end) for p in pages] == [(LISTED_PER_PAGE, False), (1, True)]
    names = [member.name for page in pages for member, *_ in page.rows]
    assert names == sorted(names)


def test_a_roster_of_nobody_is_one_empty_page():
    gossip = make_gossip(trackers=())

    assert messages(gossip.receive(CLIENT, Roster(3), 0.0)) == [Listed(3, True, ())]


# -- messages out of place ------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [Find(1, ""), make_heartbeat(), Registered(EPOCH, 0, 0, 0), Departed(0)],
    ids=lambda message: type(message).__name__,
)
def test_a_message_out_of_place_is_refused_and_counted(message):
    gossip = started(2)
    view = gossip.membership.view

    (refused,) = messages(gossip.receive(CLIENT, message, 1.0))

    assert refused.code == "unexpected"
    assert type(message).__name__ in refused.text
    assert (gossip.unexpected, gossip.membership.view) == (1, view)


def test_a_node_that_is_taken_for_a_tracker_says_what_it_is():
    gossip = started(2)

    (refused,) = messages(gossip.receive(CLIENT, Register(make_member(7)), 1.0))

    assert (refused.code, refused.text) == ("wrong-role", "this is node n0, not a tracker")


@pytest.mark.parametrize("code", ["unexpected", "busy", "x"])
def test_a_refusal_out_of_place_is_counted_and_never_answered_with_a_refusal(code):
    gossip = started(2)

    assert gossip.receive(CLIENT, Refused(0, code, "y"), 1.0) == []
    assert gossip.unexpected == 1


def test_a_datagram_out_of_place_is_counted_and_not_answered():
    gossip = started(2)

    assert gossip.receive(("127.0.0.1", 1001), make_heartbeat(), 1.0) == []
    assert gossip.unexpected == 1


def test_an_answer_to_no_query_is_dropped_and_counted():
    gossip = started(2)
    reply = Reply(b"?" * 16, position("n1"), make_member(1).store[:8], 1, 5, 1, 0, (), ())

    assert gossip.receive(make_member(1).endpoint, reply, 1.0) == []
    assert gossip.asker.listener.strangers == 1


# -- membership -----------------------------------------------------------------------------


def test_it_begins_with_a_stream_to_each_tracker():
    assert make_gossip(trackers=(TRACKER, SECOND)).start(0.0) == [Open(TRACKER), Open(SECOND)]


def test_a_new_view_is_saved_at_once_and_the_next_ones_a_moment_later_in_one_record():
    gossip = started(2)
    (first,) = [e for e in gossip.tick(0.0) if isinstance(e, Persist)]
    gossip.receive(TRACKER_LINK, make_heartbeat(make_member(4), version=2, since=1), 0.001)
    gossip.receive(TRACKER_LINK, make_heartbeat(make_member(5), version=3, since=2), 0.002)
    assert [e for e in gossip.tick(2 * VIEW_SAVE_FEW_S - 0.001) if isinstance(e, Persist)] == []

    (second,) = [e for e in gossip.tick(2 * VIEW_SAVE_FEW_S) if isinstance(e, Persist)]

    assert first.kind == second.kind == "members"
    assert {m.name for m in members_from_record(first.record)} == {"n0", "n1"}
    assert {m.name for m in members_from_record(second.record)} == {"n0", "n1", "n4", "n5"}
    assert [e for e in gossip.tick(5.0) if isinstance(e, Persist)] == []


def test_records_of_views_and_of_counts_share_one_row_of_tokens():
    gossip = started(2)
    (first,) = gossip.receive(CLIENT, increment(1), 0.1)
    (view,) = [e for e in gossip.tick(VIEW_SAVE_S) if isinstance(e, Persist)]
    (second,) = gossip.receive(CLIENT, increment(2), 0.6)

    assert [first.token, view.token, second.token] == [1, 2, 3]
    assert [m.sequence for m in messages(gossip.submit(Persisted(3), 0.7))] == [1, 2]


def test_a_memory_node_saves_no_view():
    gossip = started(2, durable=False)

    assert [e for e in gossip.tick(VIEW_SAVE_S) if isinstance(e, Persist)] == []


def test_beats_tell_how_much_was_done_in_the_last_half_minute():
    gossip = started(1)
    told = []
    for second in range(1, ACTIVITY_S + 20):
        if second < 10:
            gossip.receive(CLIENT, Get(1, "k"), second - 0.5)
        idle = make_heartbeat(version=1, since=1)
        [beat] = messages(gossip.receive(TRACKER_LINK, idle, float(second)), TRACKER_LINK)
        told.append(beat.activity)

    assert max(told) == 9
    assert told[8] == 9
    assert told[-1] == 0


def answered(gossip, body, now, *, by_reflex):
    """Return the body of the answer to a frame of the tracker, None if it has none."""
    if by_reflex and (reply := gossip.reflex(TRACKER_LINK, body, now)) is not None:
        return reply
    beats = messages(gossip.receive(TRACKER_LINK, DOOR.decode(body), now), TRACKER_LINK)
    return DOOR.encode(beats[-1]) if beats else None


def test_a_node_with_reflexes_tells_the_same_activity_as_one_without():
    quick, common = started(1), started(1)
    idle = DOOR.encode(make_heartbeat(version=1, since=1))
    for second in [*range(1, 70), 69.5, 70, 200, 201.9, 202]:
        for gossip in (quick, common):
            for _ in range(int(second) % 7 if int(second) in range(5, 25) else 0):
                gossip.receive(CLIENT, Get(1, "k"), second - 0.5)

        reply = answered(quick, idle, float(second), by_reflex=True)

        assert reply == answered(common, idle, float(second), by_reflex=False)
        assert quick.deadline() == common.deadline()


HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(["beat", "beat", "beat", "get", "add", "ask", "news", "tick"]),
        st.sampled_from([0.01, 1.0, 1.0, 1.0, 31.0, 80_000.0]),
    ),
    min_size=10,
    max_size=60,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(HAPPENINGS)
def test_an_answer_that_stands_is_the_one_that_the_machine_would_give(happenings):
    quick, common = started(3), started(3)
    now, version, again = 1.0, 1, None
    for what, seconds in happenings:
        now += seconds
        idle = DOOR.encode(make_heartbeat(version=version, since=version))
        if what == "beat":
            is_again = again is not None and again[0] == idle and again[2].holds(now)
            if is_again:
                again[2].note(now)
                reply = again[1]
            else:
                reply = quick.reflex(TRACKER_LINK, idle, now)
                standing = quick.stands(TRACKER_LINK) if reply is not None else None
                again = (idle, reply, standing) if standing is not None else None
                if reply is None:
                    reply = answered(quick, idle, now, by_reflex=False)
            assert reply == answered(common, idle, now, by_reflex=True)
        else:
            version += what == "news"
            effects = [happened(gossip, what, version, now) for gossip in (quick, common)]
            assert effects[0] == effects[1]
        assert quick.deadline() == common.deadline()
        looks = [getattr(*gossip.ledger.sessions.aging()) for gossip in (quick, common)]
        assert looks[0] == looks[1]


def happened(gossip, what, version, now):
    """Return what follows from something that ends, or does not end, what stands."""
    if what == "get":
        return gossip.receive(CLIENT, Get(1, "k"), now)
    if what == "add":
        return gossip.receive(CLIENT, increment(), now)
    if what == "ask":
        return len(gossip.receive(CLIENT, make_query(), now))
    if what == "news":
        message = make_heartbeat(version=version, since=version - 1)
        return gossip.receive(TRACKER_LINK, message, now)
    return len(gossip.tick(now))


def test_nothing_stands_while_a_node_does_anything():
    gossip = started(1)
    idle = DOOR.encode(make_heartbeat(version=1, since=1))
    gossip.reflex(TRACKER_LINK, idle, 1.0)
    standing = gossip.stands(TRACKER_LINK)
    assert standing.holds(2.0)

    gossip.receive(CLIENT, Get(1, "k"), 2.5)

    assert not standing.holds(3.0)
    gossip.reflex(TRACKER_LINK, idle, 3.0)
    assert gossip.stands(TRACKER_LINK) is None


IDLE = DOOR.encode(make_heartbeat(version=1, since=1))


def resting():
    """Return a node at rest, while what stands, how long after each answer it is due, and now."""
    gossip, now = started(3), 0.0
    while not (gossip.reflex(TRACKER_LINK, IDLE, now) and (rests := gossip.rests())):
        assert now < 60, "it has no rest"
        now += 0.5
        effects = gossip.receive(TRACKER_LINK, DOOR.decode(IDLE), now) + gossip.tick(now)
        for record in [effect for effect in effects if isinstance(effect, Persist)]:
            gossip.submit(Persisted(record.token), now)
    while_, rest_s = rests
    return gossip, gossip.stands(TRACKER_LINK).joined(while_), rest_s, now


def test_at_rest_a_node_is_due_so_long_after_each_answer():
    gossip, standing, rest_s, begin = resting()

    for now in (begin + 1, begin + 2, begin + 2.5):
        assert standing.holds(now)
        standing.note(now)

        assert gossip.deadline() == pytest.approx(now + rest_s)


def wants_to_save(gossip, now):
    gossip._saved.changed(now)
    gossip.receive(CLIENT, Cancel(7), now)


def heard_of_an_end(gossip, now):
    own = gossip.membership.member
    gossip.membership.learn([replace(make_member(1), status=DEAD, incarnation=3)], now)
    gossip.membership.member = own  # that is another object now, which would do as well


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(lambda g, now: g.relay.remember(b"q" * 16, 0, 0, 100, now), id="an ask"),
        pytest.param(heard_of_an_end, id="an end to be told"),
        pytest.param(wants_to_save, id="a list to be saved"),
        pytest.param(lambda g, now: g.receive(CLIENT, make_query(), now), id="a query"),
        pytest.param(lambda g, now: g.receive(CLIENT, Get(1, "k"), now), id="a share"),
        pytest.param(
            lambda g, now: g.receive(TRACKER_LINK, make_heartbeat(make_member(9), version=2), now),
            id="a newcomer",
        ),
    ],
)
@pytest.mark.parametrize("is_aimed", [True, False], ids=["aimed", "not aimed"])
def test_whatever_may_be_due_ends_the_rest(happens, is_aimed):
    gossip, standing, _, now = resting()

    happens(gossip, now + 0.5)
    if is_aimed:
        gossip.deadline()

    assert not standing.holds(now + 1)
    rests = gossip.reflex(TRACKER_LINK, IDLE, now + 1) and gossip.rests()
    if rests:
        assert rests[0].holds(now + 1)
        assert gossip.deadline() == pytest.approx(now + 1 + rests[1])


def test_a_busy_node_and_a_client_s_frame_have_no_reflex():
    gossip = started(3)
    idle = DOOR.encode(make_heartbeat(version=1, since=1))
    assert gossip.reflex(TRACKER_LINK, idle, 0.9) is not None

    assert gossip.reflex(CLIENT, idle, 1.0) is None
    gossip.receive(CLIENT, make_query(), 1.0)
    assert gossip.reflex(TRACKER_LINK, idle, 1.1) is None


# -- leaving --------------------------------------------------------------------------------


@pytest.mark.parametrize("holds", [True, False], ids=["with counts", "without counts"])
def test_a_node_that_leaves_says_whether_it_holds_counts_and_departs_when_that_is_noted(holds):
    gossip = started(2)
    if holds:
        gossip.receive(CLIENT, increment(), 0.1)

    effects = gossip.submit(Leave(), 0.2)

    assert Departing(holds) in messages(effects, TRACKER_LINK)
    assert [e.kind for e in effects if isinstance(e, Persist)] == ["members"]
    assert emitted(effects) == []
    done = gossip.receive(TRACKER_LINK, Departed(0), 0.3)
    assert emitted(done) == [("departed", {"announced": True})]
    assert emitted(gossip.tick(9.0)) == []


def test_a_node_that_leaves_refuses_increments():
    gossip = started(2)
    gossip.submit(Leave(), 0.2)

    (refused,) = messages(gossip.receive(CLIENT, increment(), 0.3))

    assert refused.code == "leaving"


def test_with_two_trackers_it_departs_when_both_have_noted_it():
    gossip = make_gossip(trackers=(TRACKER, SECOND))
    gossip.start(0.0)
    join(gossip)
    join(gossip, SECOND_LINK, SECOND)
    gossip.submit(Leave(), 0.2)

    assert emitted(gossip.receive(TRACKER_LINK, Departed(0), 0.3)) == []
    done = gossip.receive(SECOND_LINK, Departed(0), 0.4)

    assert emitted(done) == [("departed", {"announced": True})]


def test_a_tracker_that_says_nothing_to_a_leaver_is_waited_for_a_second():
    gossip = started(2)
    gossip.submit(Leave(), 0.2)

    assert emitted(gossip.tick(1.19)) == []
    assert emitted(gossip.tick(1.2)) == [("departed", {"announced": False})]


def test_without_a_tracker_it_departs_at_once_and_saves_nothing_new():
    gossip = restored(("members", members_to_record([make_member(0), make_member(1)])))

    assert gossip.submit(Leave(), 0.2) == [Emit("departed", {"announced": False})]


def test_a_word_of_departure_that_nobody_waits_for_changes_nothing():
    gossip = started(2)

    assert emitted(gossip.receive(TRACKER_LINK, Departed(0), 0.3)) == []


def test_an_acknowledgement_from_disk_needs_one():
    gossip = started(2, durable=False)

    (refused,) = messages(gossip.receive(CLIENT, increment(ack=ACK_DISK), 0.1))

    assert refused.code == "no-disk"


def test_who_is_dead_is_asked_all_the_same_and_named_when_silent():
    gossip = started(2)
    gossip.receive(TRACKER_LINK, make_heartbeat(make_member(1, status=DEAD), version=2, since=1), 0)
    gossip.receive(CLIENT, make_query(), 0.1)
    effects, now = [], 0.1
    while not [m for m in messages(effects) if isinstance(m, Answer)]:
        now = max(now, gossip.deadline())
        gossip.receive(TRACKER_LINK, make_heartbeat(version=2, since=2), now)
        effects += gossip.tick(now)

    missing, answer = messages(effects)
    assert missing.rows == (("n1", DEAD, None, -1.0, "no answer, and not alive"),)
    assert (answer.reason, answer.answered, answer.members) == ("converged", 1, 2)


def test_an_arc_of_its_own_query_is_not_taken_from_another():
    node = started()
    asks = [e.message for e in node.receive(CLIENT, make_query(), 0.0) if isinstance(e, Send)]
    query = next(m.query for m in asks if isinstance(m, Ask))
    home = ("127.0.0.1", 9)
    own = Delegate(query, 1, "k", home, 3, 1, 1, 9, 5_000, 0, 0, RING, (), ())

    assert node.receive(home, own, 0.0) == []
    assert node.receive(home, replace(own, query=b"o" * 16), 0.0) != []


# -- many keys in one query --------------------------------------------------------------------


def make_reply_many(ask, index, *rows):
    member = make_member(index)
    total = sum([value for _, value in rows])
    where = ask.query, position(member.name), member.store[:8], 1
    return ReplyMany(*where, total, 1, 0, (), 0, rows, 0, 0), member.endpoint


def test_a_client_asks_for_many_keys_and_is_told_each_before_the_answer():
    gossip = started(2, durable=False)
    gossip.receive(CLIENT, increment(pairs=("page:a", 5, "b", 1)), 0.0)
    (ask,) = [e for e in gossip.receive(CLIENT, make_query(key=prefixed("page:")), 0.1)
              if isinstance(e, Send) and isinstance(e.message, AskMany)]  # fmt: skip
    reply, sender = make_reply_many(ask.message, 1, ("page:a", 20), ("page:b", 2))

    page, answer = [e.message for e in gossip.receive(sender, reply, 0.2)]

    assert page == Keyed(1, (("page:a", 25, 25, 25), ("page:b", 2, 2, 2)), 2, 0, 0)
    assert (answer.value, answer.complete, answer.end, answer.low) == (27, True, True, 27)


def test_a_node_by_itself_knows_every_key_at_once():
    gossip = started(1, durable=False)
    gossip.receive(CLIENT, increment(pairs=("a", 5, "b", 1)), 0.0)

    gossip.receive(CLIENT, make_query(key=named("a", "c")), 0.1)
    page, answer = messages(confirmed(gossip))

    assert page.rows == (("a", 5, 5, 5), ("c", 0, 0, 0))
    assert (answer.value, answer.complete) == (5, True)


def test_a_node_tells_what_it_holds_of_many_keys():
    gossip = started(3, durable=False)
    gossip.receive(CLIENT, increment(pairs=("page:a", 5, "b", 1)), 0.0)
    fields = [getattr(make_ask(key=prefixed("page:")), name) for name in Ask.__match_args__]

    reply, *_ = gossip.receive(("127.0.0.1", 1001), AskMany(*fields), 0.1)

    assert (reply.to, reply.message.rows) == (("127.0.0.1", 9), (("page:a", 5),))
    assert gossip.deadline() is not None
    gossip.tick(1.0)
    assert AskMany not in UNTIMED


def test_an_answer_for_many_keys_to_a_query_for_one_is_dropped():
    gossip = started(2, durable=False)
    (ask,) = [e.message for e in gossip.receive(CLIENT, make_query(), 0.1) if e.to != CLIENT]
    reply, sender = make_reply_many(ask, 1, ("k", 9))

    assert gossip.receive(sender, reply, 0.2) == []
    assert gossip.receive(sender, replace(reply, query=b"x" * 16), 0.2) == []
    assert gossip.asker.listener.strangers == 2


def test_what_was_last_heard_of_many_keys_fills_the_gap_and_is_no_key_of_a_member():
    gossip = started(2, durable=False)
    ask = gossip.receive(CLIENT, make_query(key=prefixed("")), 0.1)[0].message
    gossip.receive(*reversed(make_reply_many(ask, 1, ("a", 9))), 0.2)
    gossip.receive(CLIENT, make_query(2, key=prefixed("")), 0.3)

    effects = gossip.receive(CLIENT, Cancel(2), 0.4)

    (answer,) = [e.message for e in effects if isinstance(e.message, Answer)]
    assert (answer.value, answer.filled) == (0, 9)
    (recalled,) = gossip.receive(CLIENT, Recall(3, "n1"), 0.5)
    assert recalled.message == Recalled(3, (), 0)


def test_a_key_that_is_called_as_a_question_reads_is_another_one():
    gossip = started(1, durable=False)
    gossip.receive(CLIENT, increment(pairs=("a b", 50, "a", 1)), 0.0)

    totals = []
    for number, key in enumerate(["a b", named("a", "b")], 1):
        gossip.receive(CLIENT, make_query(number, key=key), 0.1)
        totals.append(messages(confirmed(gossip))[-1].value)

    assert totals == [50, 1]


def test_what_a_node_finds_for_a_query_that_is_over_is_dropped():
    gossip = started(1, durable=False)

    gossip.asker.listener.listed(b"x" * 16, None, 0.1)

    assert not gossip.asker.is_busy


# -- what may be an old backup ----------------------------------------------------------------


def test_a_node_answers_no_query_before_a_tracker_has_taken_it_in():
    gossip = make_gossip()
    gossip.resume(0)
    gossip.start(0.0)
    asker = ("127.0.0.1", 9)

    assert gossip.receive(asker, make_ask(), 0.0) == []
    join(gossip)

    assert len(gossip.receive(asker, make_ask(), 0.1)) == 1


def test_a_node_that_is_refused_answers_no_query_and_one_that_reaches_no_tracker_does():
    refused, alone = make_gossip(), make_gossip()
    for gossip in (refused, alone):
        gossip.resume(0)
        gossip.start(0.0)
    refused.submit(Opened(TRACKER_LINK, TRACKER), 0.0)
    refused.receive(TRACKER_LINK, Refused(0, "in-use", "it runs elsewhere"), 0.0)
    alone.submit(Unreachable(TRACKER, "connection refused"), 0.0)

    asker = ("127.0.0.1", 9)
    assert refused.receive(asker, make_ask(), 0.1) == []
    assert len(alone.receive(asker, make_ask(), 0.1)) == 1


def test_what_is_safe_on_disk_is_told_with_the_next_beat():
    gossip = started()
    (persist,) = gossip.receive(5, increment(), 0.1)
    gossip.submit(Persisted(persist.token), 0.2)

    effects = gossip.receive(TRACKER_LINK, make_heartbeat(version=1, since=1), 1.0)

    assert Send(TRACKER_LINK, Wrote(persist.token)) in effects
