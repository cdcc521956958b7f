"""Hand-over at one node: what it says to whom, and when it is gone."""

from dataclasses import replace
from random import Random

import pytest

from counter.adoption import STAGE_IDLE_S
from counter.config import LAN, NodeConfig
from counter.crdt import Share
from counter.folding import FOLD_STORES_MIN
from counter.gossip import Gossip
from counter.handover import GRACE_S, TOLD_S
from counter.leaving import UNFENCED_S
from counter.messages import (
    DRAINED,
    FENCING,
    GRANTED,
    LEAVING,
    RING,
    SEEKING,
    Adopted,
    Ask,
    AskMany,
    Delegate,
    Disown,
    Disowned,
    Drain,
    DrainState,
    Offer,
    Page,
    Park,
    Query,
    Seal,
    Sole,
    Stored,
    Take,
)
from counter.parts import part_epoch, part_key
from tracker.machine import (
    Close,
    Closed,
    Emit,
    Leave,
    Open,
    Opened,
    Persisted,
    PersistFailed,
    Send,
    Unreachable,
)
from tracker.members import GONE, Member, View, position
from tracker.messages import (
    Announced,
    Beat,
    Departed,
    Departing,
    Heartbeat,
    Refused,
    Registered,
    Teach,
    news_from_wire,
    news_to_wire,
)

TRACKER, TRACKER_LINK, CLIENT, PEER = ("127.0.0.1", 7400), 1, 50, 60
EPOCH = b"t" * 8


def make_member(index, **changes):
    store = index.to_bytes(8, "big") * 2
    wishes = {"durable": False, **changes}
    return Member(f"n{index}", store, 0, 1, 0, "127.0.0.1", 1000 + index, **wishes)


def make_node(*others, amount=5, durable=False):
    """Return n0, which has joined, is announced and has counted."""
    member = make_member(0, durable=durable)
    node = Gossip(NodeConfig(name="n0"), LAN, member, (TRACKER,), Random(1))
    node.resume(0)
    node.start(0.0)
    node.submit(Opened(TRACKER_LINK, TRACKER), 0.0)
    node.receive(TRACKER_LINK, Registered(EPOCH, 0, 0, 0), 0.0)
    news = news_to_wire([member, *others])
    node.receive(TRACKER_LINK, Heartbeat(EPOCH, 1, 0, news), 0.0)
    node.receive(TRACKER_LINK, Announced(1), 0.0)
    if amount:
        node.ledger.counters.own.add("k", amount)
    return node


def handed_over(node, now=0.0):
    """Bring a node to where a peer has adopted everything."""
    node.receive(CLIENT, Drain(1), now)
    [heir] = [effect.to for effect in node.tick(now) if isinstance(effect, Open)]
    node.submit(Opened(PEER, heir), now)
    node.receive(PEER, Take(False), now)
    node.receive(PEER, Stored(1), now)
    return node.receive(PEER, Adopted(make_member(0).store), now)


def states(effects):
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, DrainState)]


def events(effects):
    return [effect.event for effect in effects if isinstance(effect, Emit)]


def ask(kind=Ask, key="k"):
    return kind(b"q" * 16, key, ("127.0.0.1", 9), 3, 1, 1, 9, 5_000, 0, 1, 1, (), (), 1)


def delegate():
    return Delegate(b"d" * 16, 1, "k", ("127.0.0.1", 9), 3, 1, 1, 9, 5_000, 0, 1, 9, (), ())


def test_a_node_speaks_for_a_store_only_while_it_alone_holds_it_and_is_of_no_old_backup():
    node, left = make_node(make_member(1)), make_member(1).store
    node.ledger.counters.others[left] = Share(1)
    ask_for = Disown(1, left, b"b" * 16, ((b"s" * 16, 1, 1),))
    assert node.receive(PEER, ask_for, 0.0) == [Send(PEER, Disowned(1, ()))]
    node.handover.adoption.folding.note(left, [left], 0.0)

    node.membership.parent = b"p" * 16
    assert node.receive(PEER, ask_for, 0.0) == [Send(PEER, Disowned(1, ()))]
    node.membership.parent = b""
    assert node.receive(PEER, ask_for, 0.0) == [Send(PEER, Disowned(1, (GRANTED,)))]


def test_a_node_is_gone_when_the_trackers_say_so_and_answers_for_a_moment_longer():
    node = make_node(make_member(1))
    assert events(handed_over(node)) == ["handed-over"]

    assert Send(TRACKER_LINK, Departing(False, "n1")) in node.tick(0.1)
    assert states(node.receive(CLIENT, Drain(2), 0.1))[0].phase == LEAVING
    node.receive(TRACKER_LINK, Departed(GONE), 0.2)
    assert node.deadline() <= 0.2
    node.tick(0.2)
    assert states(node.receive(CLIENT, Drain(3), 0.2))[0].phase == DRAINED
    assert node.deadline() <= 0.2 + GRACE_S
    drained = [e for e in node.tick(0.2 + GRACE_S) if isinstance(e, Emit)]

    assert drained == [Emit("drained", {"to": "n1", "keys": 1})]
    assert "departed" in events(node.submit(Leave(), 1.3))


def test_whoever_looks_on_is_told_that_the_disk_took_no_fence_and_later_it_is_tried_again():
    node = make_node(make_member(1, durable=True), durable=True)
    [state] = states(node.receive(CLIENT, Drain(1), 0.0))
    failed = PersistFailed(node.ledger.token, "the disk is full", definite=True)
    assert events(node.submit(failed, 0.1)) == ["drain-failed"]

    said = node.receive(CLIENT, Drain(2), 0.2)
    later = node.receive(CLIENT, Drain(3), 0.1 + UNFENCED_S)

    assert said == [Send(CLIENT, Refused(2, "disk", "the disk is full"))]
    assert [s.phase for s in (state, *states(later))] == [FENCING, FENCING]


@pytest.mark.parametrize("kind", [Ask, AskMany])
def test_a_node_that_has_handed_over_answers_no_more_but_passes_queries_on(kind):
    key = "k" if kind is Ask else "*\n"
    node = make_node(make_member(1), make_member(2))
    handed_over(node, now=1.0)
    peer = ("127.0.0.1", 9)
    onward = kind(b"o" * 16, key, peer, 3, 1, 1, 9, 5_000, 0, 0, RING, (), (), 0)

    assert node.receive(peer, ask(kind, key), 1.0) == []
    assert node.receive(peer, delegate(), 1.0) == []
    passed_on = node.receive(peer, onward, 1.0)
    assert passed_on
    assert {type(effect.message) for effect in passed_on} == {kind}


def test_a_node_that_has_handed_over_sends_who_asks_it_to_others():
    node = make_node(make_member(1))
    handed_over(node, now=1.0)

    [refused] = node.receive(CLIENT, Query(5, "k", 0, 0, 0, 1_000, 0, 0, 50, False), 1.0)

    assert refused.message.code == "leaving"
    assert "handed its counts over" in refused.message.text


def test_a_node_that_writes_down_what_it_folds_leaves_a_moment_later():
    node = make_node(make_member(1))
    node.handover.adoption.folding._pending = (9, b"g" * 16, ())

    effects = node.receive(CLIENT, Drain(1), 0.0)

    (refused,) = [e.message for e in effects if isinstance(e, Send)]
    assert (refused.code, "try again" in refused.text) == ("busy", True)
    node.submit(Persisted(9), 0.1)
    assert states(node.receive(CLIENT, Drain(1), 0.2))


def test_a_word_of_adoption_on_another_stream_is_nothing():
    node = make_node(make_member(1))

    assert node.receive(CLIENT, Adopted(make_member(0).store), 1.0) == []
    assert node.relay.mute_at == float("inf")


def test_a_tracker_that_does_not_answer_is_not_waited_for():
    node = make_node(make_member(1))
    handed_over(node)
    node.tick(0.1)
    node.tick(0.1 + TOLD_S)

    assert states(node.receive(CLIENT, Drain(2), 1.2))[0].phase == DRAINED


def test_without_a_tracker_it_waits_to_tell():
    node = make_node(make_member(1))
    handed_over(node)
    node.submit(Closed(TRACKER_LINK, "gone"), 0.0)
    node.tick(0.1)

    assert states(node.receive(CLIENT, Drain(2), 9.0))[0].phase == LEAVING
    assert node.deadline() > 0.0


def test_a_tracker_that_refuses_it_since_it_knows_need_not_be_told():
    node = make_node(make_member(1))
    node.submit(Closed(TRACKER_LINK, "reset"), 0.0)
    handed_over(node)
    node.tick(9.0)
    node.submit(Opened(2, TRACKER), 9.0)
    assert node.handover._told_by is None

    node.receive(2, Refused(0, "handed-over", "its counts are n1's"), 9.0)

    assert node.deadline() <= 9.0
    node.tick(9.0)
    node.tick(9.0)
    assert "drained" in events(node.tick(9.0 + GRACE_S))


def test_a_stop_before_the_end_says_what_it_takes_along():
    node = make_node(make_member(1))
    node.receive(CLIENT, Drain(1), 0.0)

    assert Send(TRACKER_LINK, Departing(True, "")) in node.submit(Leave(), 0.1)


def test_who_cannot_leave_says_why_to_whoever_wished_it():
    node = make_node()
    text = "no other living member could take the counts of n0"

    assert node.receive(CLIENT, Drain(4), 0.0) == [Send(CLIENT, Refused(4, "nobody", text))]
    assert node.submit(Leave(hand_over=True), 0.0) == [Emit("drain-failed", {"reason": text})]


def test_a_node_where_increments_are_parked_does_not_hand_over_and_stops_with_what_it_holds():
    node = make_node(make_member(1), amount=0)
    node.receive(CLIENT, Park(1, b"s" * 16, 1, ("k", 2), 0, b"h" * 16, "n1"), 0.0)
    text = "1 increment is parked here for nodes that have not answered (counter parked)"

    assert node.receive(CLIENT, Drain(4), 0.0) == [Send(CLIENT, Refused(4, "parked", text))]
    (departing,) = [e.message for e in node.submit(Leave(), 0.0) if isinstance(e, Send)]
    assert departing.holds_counts


def test_a_process_that_ends_hands_its_counts_over_whatever_is_parked_there():
    node = make_node(make_member(1))
    node.receive(CLIENT, Park(1, b"s" * 16, 1, ("k", 2), 0, b"h" * 16, "n1"), 0.0)

    assert events(node.submit(Leave(hand_over=True), 0.0)) == ["draining"]
    assert node.ledger.is_leaving


def test_the_wish_of_the_process_is_like_that_of_a_client():
    node = make_node(make_member(1))

    assert events(node.submit(Leave(hand_over=True), 0.0)) == ["draining"]
    assert states(node.receive(CLIENT, Drain(1), 0.0))[0].phase == SEEKING


def test_a_receiver_that_cannot_be_reached_or_closes_or_refuses_is_left():
    node = make_node(make_member(1))
    node.receive(CLIENT, Drain(1), 0.0)
    peer = make_member(1).endpoint
    for now, failure in (
        (0.0, lambda: node.submit(Unreachable(peer, "refused"), 0.0)),
        (2.0, lambda: node.submit(Closed(PEER, "reset"), 2.0)),
        (4.0, lambda: node.receive(PEER, Refused(0, "full", "no room"), 4.0)),
    ):
        assert Open(peer) in node.tick(now)
        if now:
            node.submit(Opened(PEER, peer), now)
        failure()
        assert "drain-waits" in events(node.tick(now))

    assert states(node.receive(CLIENT, Drain(2), 5.0))[0].why == "no room"


@pytest.mark.parametrize("message", [Take(False), Stored(1), Adopted(b"o" * 16)], ids=str)
def test_the_word_of_one_who_was_not_asked_changes_nothing(message):
    node = make_node(make_member(1))

    assert node.receive(CLIENT, message, 0.0) == []


def test_a_node_that_leaves_drops_what_it_was_given():
    node = make_node(make_member(1), make_member(2))
    giver = make_member(1)
    taken = node.receive(PEER, Offer("n1", giver.store, ((giver.store, 1),), 1), 0.0)
    assert taken == [Send(PEER, Take(False))]

    assert Send(PEER, Refused(0, "leaving", "n0 is stopping itself")) in node.receive(
        CLIENT, Drain(1), 0.0
    )


@pytest.mark.parametrize("is_registered", [True, False], ids=["a tracker is told", "no tracker"])
def test_a_node_that_stops_with_nothing_adopts_nothing_any_more(is_registered):
    node, giver = make_node(make_member(1), amount=0), make_member(1)
    node.receive(PEER, Offer("n1", giver.store, ((giver.store, 3),), 1), 0.0)
    if not is_registered:
        node.submit(Closed(TRACKER_LINK, "end"), 0.0)

    left = node.submit(Leave(), 0.1)

    # The leaver hears it before the word that nothing is held here is sent.
    assert left[0] == Send(PEER, Refused(0, "leaving", "n0 is stopping itself"))
    assert (Send(TRACKER_LINK, Departing(False, "")) in left) is is_registered
    body = b"\x94\xa5share\xc4\x10" + giver.store + b"\x03\x93\xa1k\x09\x02"
    late = node.receive(PEER, Page(1, body), 0.2) + node.receive(PEER, Seal(1, 1), 0.2)
    assert {type(effect.message) for effect in late} == {Refused}
    assert not node.ledger.holds_counts


def test_what_is_adopted_is_told_under_the_store_that_counted_it():
    node = make_node(make_member(1))
    giver = make_member(1)
    node.receive(PEER, Offer("n1", giver.store, ((giver.store, 3),), 1), 0.0)
    body = b"\x94\xa5share\xc4\x10" + giver.store + b"\x03\x93\xa1k\x09\x02"
    node.receive(PEER, Page(1, body), 0.0)
    adopted = node.receive(PEER, Seal(1, 1), 0.0)
    assert Send(PEER, Adopted(giver.store)) in adopted
    node.submit(Closed(PEER, "end"), 0.0)

    [reply] = node.receive(("127.0.0.1", 9), ask(), 0.2)
    assert (reply.message.value, reply.message.others) == (5, ((giver.store[:8], 3, 7),))
    assert reply.message.flags == 1
    assert reply.message.position == position("n0")


def test_a_leaver_that_is_idle_is_closed_by_the_tick():
    node = make_node(make_member(1))
    giver = make_member(1)
    node.receive(PEER, Offer("n1", giver.store, ((giver.store, 1),), 1), 0.0)

    assert Close(PEER) in node.tick(31.0)


def test_a_tombstone_says_who_the_heir_is():
    assert make_member(1).handed_over("n2").is_handed_over
    assert not make_member(1).became(GONE, "given up").is_handed_over


LEAVER = make_member(5)
ME, OTHER, THIRD = (make_member(i) for i in range(3))


@pytest.mark.parametrize(
    ("members", "answers"),
    [
        ([LEAVER], True),
        ([], True),
        ([LEAVER.handed_over("n0")], True),
        ([LEAVER.handed_over("n1")], False),
        ([LEAVER.handed_over("n2"), THIRD.handed_over("n0")], True),
        ([LEAVER.handed_over("n2"), THIRD.handed_over("n1")], False),
        ([LEAVER.handed_over("n9")], True),
        ([LEAVER.handed_over("n2"), THIRD.became(GONE)], True),
        ([LEAVER.handed_over("n2"), THIRD.handed_over("n5")], True),
        ([LEAVER.handed_over("n1"), replace(OTHER, reign=1)], True),
        ([LEAVER.handed_over("n1"), replace(OTHER, store=b"z" * 16).without_name()], True),
    ],
    ids=[
        "it has not gone",
        "nobody knows it",
        "it went here",
        "it went to another one",
        "its heir went here",
        "its heir went to another one",
        "its heir is not known",
        "its heir was given up",
        "in a circle",
        "the name of its heir changed hands",
        "two stores had the name of its heir",
    ],
)
def test_of_all_who_hold_a_share_the_last_heir_answers_for_it(members, answers):
    node = make_node(amount=0)
    known = {member.name: member for member in [ME, OTHER, THIRD, *members]}
    node.membership.view = View(known)

    assert node.handover.answers_for(LEAVER.store) == answers


def test_who_was_given_the_share_of_an_heir_answers_at_once_for_what_that_one_held():
    # It has sealed n1's own share, and with it n5's; that n1 has gone is not told yet.
    node = make_node(amount=0)
    gone = LEAVER.handed_over("n1")
    node.membership.view = View({member.name: member for member in [ME, OTHER, gone]})
    others = node.ledger.counters.others
    others[LEAVER.store] = Share(1)
    assert not node.handover.answers_for(LEAVER.store)

    others[OTHER.store] = Share(1)

    assert node.handover.answers_for(OTHER.store)
    assert node.handover.answers_for(LEAVER.store)


def test_who_comes_back_with_what_it_handed_over_is_refused_before_the_news_is_acknowledged():
    node = make_node()
    old = make_member(3, durable=True)
    node.handover.adoption.retired.note([old.store])

    effects = node.receive(TRACKER_LINK, Heartbeat(EPOCH, 2, 1, news_to_wire([old])), 1.0)

    words = [type(effect.message) for effect in effects if isinstance(effect, Send)]
    assert words.index(Teach) < words.index(Beat)
    [taught] = [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, Teach)]
    assert news_from_wire(taught.page)[0].is_handed_over
    assert "handed-over-already" in events(effects)
    assert not node.membership.view.get("n3").expected


def test_a_leaver_retires_its_store_and_the_one_it_grew_out_of_if_it_has_a_disk():
    node = make_node()
    assert node.handover._retires() == ()

    node.ledger.durable = True
    node.membership.parent = node.ledger.founder = b"p" * 16
    assert node.handover._retires() == (make_member(0).store, b"p" * 16)
    # What it holds goes back to the first of the line.
    node.ledger.founder = b"f" * 16
    assert node.handover._retires() == (make_member(0).store, b"p" * 16, b"f" * 16)


def test_a_leaver_tells_how_long_queries_run_that_heard_it():
    node = make_node(make_member(1))
    node.receive(("127.0.0.1", 9), ask(), 1.0)

    effects = handed_over(node, now=2.0)

    [sole] = [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, Sole)]
    memory_ms = node.gossip.memory_s * 1000
    assert 4_000 <= sole.quiet_ms <= 4_000 + memory_ms + 2


def test_it_is_looked_at_when_the_first_of_what_waits_is_due():
    leaver, stores = make_member(1), [bytes([n]) * 16 for n in range(9, 9 + FOLD_STORES_MIN)]
    node = make_node(leaver)
    node.receive(PEER, Offer("n1", leaver.store, ((leaver.store, 1),), 1), 2.0)
    idle = node.handover.deadline()
    for store in stores:
        node.ledger.counters.merge(store, 1, [("k", 1, 0)])

    node.handover.adoption.folding.note(leaver.store, stores, 3.0)

    assert (idle, node.handover.deadline()) == (2.0 + STAGE_IDLE_S, 3.0)


# -- parts of shares --------------------------------------------------------------------------

SHORT, LONG = part_epoch(3), part_epoch(4)


def with_parts(*others, parts=(LONG, SHORT)):
    """Return a node that holds parts of the share of n5, and knows these members."""
    node = make_node(amount=0)
    node.membership.view = View({member.name: member for member in [ME, OTHER, *others]})
    for epoch in parts:
        node.ledger.counters.merge(part_key(LEAVER.store, epoch), epoch, [("k", 1, 0)])
    return node


def test_of_two_parts_the_one_that_goes_further_is_told():
    node = with_parts()

    told = [node.handover.answers_for(part_key(LEAVER.store, epoch)) for epoch in (SHORT, LONG)]

    assert told == [False, True]


def test_no_part_is_told_of_a_store_that_is_expected_to_answer_or_is_held_whole():
    expected, whole = with_parts(LEAVER), with_parts()
    whole.ledger.counters.merge(LEAVER.store, 1, [("k", 1, 0)])
    key = part_key(LEAVER.store, LONG)

    assert not expected.handover.answers_for(key)
    assert not whole.handover.answers_for(key)
    assert whole.handover.answers_for(LEAVER.store)


def test_a_part_is_let_go_of_for_good_once_its_store_has_handed_over_all_of_it():
    node, again = with_parts(LEAVER), with_parts(LEAVER)
    node.ledger.durable = True
    kept = dict(node.ledger.counters.others)
    assert node.handover.claimed(1.0) == []
    assert node.ledger.counters.others == kept
    node.membership.view = View({m.name: m for m in [ME, OTHER, LEAVER.handed_over("n1")]})

    (written,) = node.handover.claimed(2.0)

    assert node.ledger.counters.others == {}
    again.ledger.counters.merge(THIRD.store, 1, [("k", 1, 0)])
    assert again.handover.restore(written.record)
    assert list(again.ledger.counters.others) == [THIRD.store]
