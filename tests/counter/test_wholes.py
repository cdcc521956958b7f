"""A store that tells all of another one as its own asks everybody whether they tell it, too."""

from dataclasses import replace
from random import Random

import pytest

from counter.adoption import record
from counter.config import LAN, NodeConfig
from counter.crdt import Share
from counter.gossip import Gossip
from counter.messages import (
    ACK_DEFAULT,
    UNTIL_ALL,
    Ask,
    Counted,
    Increment,
    Offer,
    Query,
    Reply,
    Whole,
    WholeTold,
)
from counter.wholes import AGAIN_S, ASK_S, ASKS_MAX, AT_ONCE_MAX, STARTS_PER_PAGE, stores_told
from tracker.admission import HANDED_OVER
from tracker.machine import Close, Emit, Open, Opened, Persist, Send, Unreachable
from tracker.members import ALIVE, AWAY, DEAD, GONE, Member, position
from tracker.messages import Announced, Departing, Introduced, Refused, Registered
from tracker.pages import members_to_record

TRACKER, CLIENT, LINK = ("127.0.0.1", 7400), 50, 7
OWN = Member("n0", b"s" * 16, 0, 1, 0, "10.0.0.1", 7401, boot=b"boot-own")
PARENT = Member("n9", b"p" * 16, 0, 5, 0, "10.0.0.9", 7401, boot=b"boot-par")
ONE = Member("n1", b"t" * 16, 0, 5, 0, "10.0.0.2", 7401, boot=b"boot-one")
TWO = Member("n2", b"u" * 16, 0, 1, 0, "10.0.0.3", 7401, boot=b"boot-two")
NEW = Member("n3", b"v" * 16, 0, 1, 0, "10.0.0.4", 7401, boot=b"boot-new")


def mixed(*known, own=OWN, kept=(), founder=PARENT.store, durable=True):
    """Return a node that tells all of PARENT as its own, and reaches no tracker."""
    own = replace(own, durable=durable)
    gossip = Gossip(NodeConfig(name=own.name), LAN, own, (TRACKER,), Random(1))
    gossip.membership.parent, gossip.ledger.founder = PARENT.store, founder
    gossip.restore("members", members_to_record([own, *known]))
    for fields in kept:
        gossip.restore("counts", record(*fields))
    gossip.resume(0)
    gossip.start(0.0)
    gossip.submit(Unreachable(TRACKER, "refused"), 0.0)
    return gossip


def plain(own=ONE):
    """Return a node that may be asked."""
    gossip = unjudged(own)
    gossip.submit(Unreachable(TRACKER, "refused"), 0.0)
    return gossip


def unjudged(own=ONE):
    """Return a node of which no tracker has said yet that it is no copy."""
    gossip = Gossip(NodeConfig(name=own.name), LAN, own, (TRACKER,), Random(1))
    gossip.resume(0)
    gossip.start(0.0)
    return gossip


def questions(effects):
    return [e for e in effects if isinstance(e, Send) and isinstance(e.message, Whole)]


def asked(gossip, now=0.0):
    """Return whom it asks now, and the token of that."""
    found = questions(gossip.tick(now))
    return [e.to for e in found], found[0].message.token if found else b""


def says(member, token, *, is_told=False, roll=0):
    return WholeTold(token, member.store[:8] + member.boot, is_told, roll)


def answered(gossip, *members, now=0.1):
    """Let members say that they tell none of it; returns what follows."""
    gossip.tick(now)
    token = gossip.handover.wholes._token
    return [e for m in members for e in gossip.receive(m.endpoint, says(m, token), now)]


def ask_of(gossip, now=1.0, roll=None):
    roll = gossip.membership.view.roll if roll is None else roll
    ask = Ask(b"q" * 16, "k", TWO.endpoint, 2, 2, 1, 9, 500, roll, 0, 2**64 - 1)
    return gossip.receive(TWO.endpoint, ask, now)


def answers(effects):
    kinds = ("Reply", "ShortReply")
    return [e for e in effects if isinstance(e, Send) and type(e.message).__name__ in kinds]


def refusals(effects):
    return [e.details for e in effects if isinstance(e, Emit) and "refused" in e.event]


# -- who is asked -----------------------------------------------------------------------------


def test_it_asks_each_start_in_its_list():
    gossip = mixed(ONE, replace(TWO, status=DEAD), replace(NEW, status=GONE))

    to, token = asked(gossip)
    assert sorted(to) == [ONE.endpoint, TWO.endpoint]
    assert token[:4] == OWN.boot[:4]


@pytest.mark.parametrize(
    ("status", "is_registered", "is_asked"),
    [(ALIVE, True, True), (DEAD, True, False), (DEAD, False, True), (GONE, False, False)],
)
def test_it_asks_its_parent_unless_that_has_ended_and_a_tracker_took_this_one_in(
    status, is_registered, is_asked
):
    gossip = mixed(replace(PARENT, status=status))
    if is_registered:
        registered(gossip)
    gossip.tick(20.0)

    assert gossip.newcomers.is_unasked(PARENT.store[:8]) == is_asked


@pytest.mark.parametrize(
    ("founder", "parent", "is_apart", "told"),
    [
        (b"f" * 16, b"p" * 16, False, (b"p" * 16, b"f" * 16)),
        (b"p" * 16, b"p" * 16, False, (b"p" * 16,)),
        (b"f" * 16, b"p" * 16 + b"f" * 16, False, (b"p" * 16,)),
        (b"f" * 16, b"p" * 16, True, ()),
        (b"f" * 16, b"", False, ()),
    ],
    ids=["a line", "one", "a part of the first", "apart", "no backup"],
)
def test_what_a_store_tells_as_its_own_is_its_parents_and_what_that_one_did(
    founder, parent, is_apart, told
):
    assert stores_told(parent, founder, is_apart=is_apart) == told


def test_a_store_that_was_made_of_none_asks_nobody():
    gossip = plain()

    assert gossip.handover.wholes is None
    assert questions(gossip.tick(0.0)) == []


def test_the_silent_are_asked_again_sooner_at_first():
    gossip, now = mixed(ONE), 0.0
    for _ in range(ASKS_MAX):
        assert asked(gossip, now)[0] == [ONE.endpoint]
        now += ASK_S
    assert gossip.newcomers.deadline() == pytest.approx(now - ASK_S + AGAIN_S)
    assert asked(gossip, now)[0] == []


def test_of_many_no_more_than_some_are_asked_at_a_time_and_all_in_turn():
    many = [
        replace(ONE, name=f"m{i}", store=i.to_bytes(8, "big") * 2, port=8000 + i)
        for i in range(1, AT_ONCE_MAX + 20)
    ]
    gossip = mixed(*many)

    first, second = asked(gossip, 0.0)[0], asked(gossip, ASK_S)[0]
    assert len(first) == AT_ONCE_MAX
    assert {*first, *second} == {member.endpoint for member in many}


# -- until all have said no -------------------------------------------------------------------


def test_it_answers_nobody_and_acknowledges_nothing_before_all_have_said_that_they_tell_none():
    gossip = mixed(ONE, TWO)
    gossip.receive(ONE.endpoint, Introduced(OWN.store), 0.0)
    increment = gossip.receive(CLIENT, Increment(b"c" * 16, 1, ("k", 1), ACK_DEFAULT), 0.0)
    answered(gossip, ONE)

    assert answers(ask_of(gossip)) == []
    assert gossip.ledger.is_held
    assert not [e for e in increment if isinstance(e, Send)]
    query = Query(1, "k", 0, 0, 0, 500, UNTIL_ALL, 0, 50, False)
    assert not [e for e in gossip.receive(CLIENT, query, 1.0) if isinstance(e, Send)]
    answered(gossip, TWO, now=1.5)
    assert not gossip.newcomers.is_open
    assert len(answers(ask_of(gossip, 1.6))) == 1
    assert gossip.newcomers.deadline() is None


def test_an_answer_to_another_question_of_another_start_or_with_an_unread_list_proves_nothing():
    gossip = mixed(ONE)
    _, token = asked(gossip)
    later = replace(ONE, epoch=6, boot=b"boot-lat")

    gossip.receive(ONE.endpoint, says(ONE, b"otherone"), 0.1)
    gossip.receive(ONE.endpoint, says(later, token), 0.1)
    read = gossip.receive(ONE.endpoint, says(ONE, token, roll=77), 0.1)
    assert gossip.newcomers.is_open
    assert read == [Open(ONE.endpoint)]
    gossip.receive(ONE.endpoint, says(ONE, token), 0.1)
    assert not gossip.newcomers.is_open


def test_no_answer_of_a_member_that_was_not_asked_counts_in_its_own_queries():
    gossip = mixed(ONE)
    gossip.receive(ONE.endpoint, Introduced(OWN.store), 0.0)
    answered(gossip, ONE)
    gossip.membership.learn((NEW,), 1.0)
    gossip.tick(1.0)
    reply = Reply(b"q" * 16, position(NEW.name), NEW.store[:8], 1, 5, 0, 0, (), (), 0)

    assert gossip.origin._reply(NEW.endpoint, reply, 1.0) == []
    assert gossip.newcomers.is_unasked(NEW.store[:8])
    assert not gossip.newcomers.is_unasked(ONE.store[:8])


def test_whoever_asks_by_a_list_that_was_never_here_is_answered_once_that_is_read():
    gossip = mixed(ONE)
    answered(gossip, ONE)

    effects = ask_of(gossip, roll=77)
    assert answers(effects) == []
    assert Open(TWO.endpoint) in effects


def test_a_new_member_and_a_new_start_are_asked_while_nobody_is_answered():
    gossip = mixed(ONE)
    answered(gossip, ONE)
    for member in (NEW, replace(ONE, epoch=6, boot=b"boot-lat")):
        gossip.membership.learn((member,), 1.0)

        assert answers(ask_of(gossip)) == []
        assert asked(gossip, 2.0)[0] in ([], [member.endpoint])
        token = gossip.handover.wholes._token
        gossip.receive(member.endpoint, says(member, token), 2.0)
        assert not gossip.newcomers.is_open


def test_whoever_was_given_more_by_somebody_who_had_not_answered_is_asked_anew():
    gossip = mixed(ONE, TWO)
    answered(gossip, ONE, TWO)
    gossip.membership.learn((NEW.handed_over(ONE.name),), 1.0)

    assert asked(gossip, 1.0)[0] == [ONE.endpoint]


def test_everybody_is_where_it_is_not_known_who_has_it_by_now():
    gossip = mixed(ONE, TWO)
    answered(gossip, ONE, TWO)
    gossip.membership.learn((NEW.handed_over("n7"),), 1.0)

    assert sorted(asked(gossip, 1.0)[0]) == [ONE.endpoint, TWO.endpoint]


def test_an_answer_from_before_a_hand_over_proves_nothing_behind_it():
    gossip = mixed(ONE)
    _, token = asked(gossip)
    gossip.membership.learn((NEW.handed_over(ONE.name),), 0.1)
    gossip.tick(0.1)
    gossip.receive(ONE.endpoint, says(ONE, token), 0.2)

    assert gossip.newcomers.is_open


def test_who_is_given_up_is_waited_for_no_longer():
    gossip = mixed(ONE, replace(TWO, status=AWAY))
    answered(gossip, ONE)
    assert gossip.newcomers.is_open
    gossip.membership.learn((TWO.became(GONE, "given up"),), 1.0)
    gossip.tick(1.0)

    assert not gossip.newcomers.is_open


# -- on disk ----------------------------------------------------------------------------------


def kept_by(gossip, effects):
    return [e for e in effects if isinstance(e, Persist) and b"asked" in e.record]


def test_a_restart_asks_only_those_who_have_started_since():
    gossip = mixed(ONE, TWO)
    assert len(kept_by(gossip, answered(gossip, ONE, TWO))) == 1
    kept = gossip.handover.wholes.records()
    again = mixed(ONE, replace(TWO, epoch=2, boot=b"boot-lat"), kept=kept)

    assert again.handover.wholes.is_settled
    assert asked(again)[0] == [TWO.endpoint]
    assert not mixed(ONE, TWO, kept=kept).newcomers.is_open


def test_it_asks_all_again_if_somebody_handed_over_since_and_if_another_store_had_asked():
    gossip = mixed(ONE)
    answered(gossip, ONE)
    kept = gossip.handover.wholes.records()

    assert mixed(ONE, NEW.handed_over("n1"), kept=kept).newcomers.is_open
    other = mixed(ONE, own=replace(OWN, store=b"z" * 16), kept=kept)
    assert other.newcomers.is_open
    assert not other.handover.wholes.is_settled


def test_more_members_than_one_record_can_name_are_written_on_several_pages():
    many = [
        replace(ONE, name=f"m{i}", store=i.to_bytes(8, "big") * 2, port=1 + i)
        for i in range(1, STARTS_PER_PAGE + 10)
    ]
    gossip = mixed(*many)
    gossip.handover.wholes._no = {m.store[:8] + m.boot: None for m in many}
    gossip.handover.wholes.is_settled = True
    pages = gossip.handover.wholes.records()

    assert len(pages) == 2
    assert not mixed(*many, kept=pages).newcomers.is_open


def test_what_was_asked_is_in_a_snapshot_once_all_have_answered():
    gossip = mixed(ONE)
    assert not [kept for kept in gossip.dump() if b"asked" in kept]
    answered(gossip, ONE)

    assert len([kept for kept in gossip.dump() if b"asked" in kept]) == 1


# -- one that tells the same ------------------------------------------------------------------


def registered(gossip, *, is_joined=True):
    gossip.tick(10.0)
    gossip.submit(Opened(LINK, TRACKER), 10.0)
    if is_joined:
        gossip.receive(LINK, Registered(b"t" * 8, 0, 0, 0), 10.0)


@pytest.mark.parametrize("is_joined", [True, False])
def test_it_ends_and_leaves_its_trackers_as_one_that_holds_nothing(is_joined):
    gossip = mixed(ONE)
    registered(gossip, is_joined=is_joined)
    token = gossip.handover.wholes._token
    effects = gossip.receive(ONE.endpoint, says(ONE, token, is_told=True), 10.1)

    assert effects[:2] == [Send(LINK, Departing(False)), Close(LINK)]
    ((refusal),) = refusals(effects)
    assert (refusal["code"], refusal["final"]) == (HANDED_OVER, True)
    assert '"n1" at 10.0.0.2:7401' in refusal["text"]
    assert not gossip.membership.is_registered
    assert gossip.membership.is_usurped
    assert answers(ask_of(gossip, 11.0)) == []
    assert gossip.newcomers.deadline() is None
    assert gossip.receive(ONE.endpoint, says(ONE, token, is_told=True), 10.1) == []


def test_one_that_has_acknowledged_anything_stays_expected():
    gossip = mixed(ONE)
    registered(gossip)
    answered(gossip, ONE, now=10.1)
    gossip.receive(LINK, Announced(1), 10.2)
    assert gossip.ledger.has_vouched
    gossip.membership.learn((NEW,), 10.3)
    token = asked(gossip, 10.3)[1]
    effects = gossip.receive(NEW.endpoint, says(NEW, token, is_told=True), 10.4)

    assert Close(LINK) in effects
    assert not [e for e in effects if isinstance(e, Send)]
    increment = gossip.receive(CLIENT, Increment(b"c" * 16, 1, ("k", 1), ACK_DEFAULT), 10.5)
    assert not [e for e in increment if isinstance(e, Send) and isinstance(e.message, Counted)]


def test_so_does_one_that_had_lived_before():
    gossip = mixed(ONE, own=replace(OWN, epoch=2))
    registered(gossip)
    token = gossip.handover.wholes._token

    assert gossip.receive(ONE.endpoint, says(ONE, token, is_told=True), 10.1)[0] == Close(LINK)


def test_the_parent_is_given_up_once_all_have_answered_and_no_sooner():
    gossip = mixed(ONE, replace(PARENT, status=DEAD))
    registered(gossip)
    assert gossip.membership.view.get(PARENT.name).expected
    answered(gossip, ONE, now=10.1)

    assert gossip.membership.view.get(PARENT.name).heir == OWN.name


def test_whoever_leaves_waits_with_that_until_all_have_answered():
    gossip = mixed(ONE)
    assert gossip.handover.leaving.is_changing()
    answered(gossip, ONE)

    assert not gossip.handover.leaving.is_changing()


# -- who is asked by another one ----------------------------------------------------------------


def said_by(gossip, stores=PARENT.store, asker=OWN.store, *, is_settled=False):
    question = Whole(asker, stores, b"12345678", is_settled)
    effects = gossip.receive(OWN.endpoint, question, 1.0)
    assert all(e.message.token == b"12345678" for e in effects)
    return [e.message.is_told for e in effects]


def hold_whole(gossip):
    gossip.ledger.counters.others[PARENT.store] = Share(5)


def hold_in_a_sum(gossip):
    gossip.handover.adoption.retired.note([PARENT.store])


def hold_on_a_stage(gossip):
    gossip.membership.learn((PARENT,), 0.0)
    gossip.ledger.is_held = False
    offer = Offer(PARENT.name, PARENT.store, ((PARENT.store, 5),), 1)
    gossip.handover.adoption.offer(60, offer, gossip.membership.view, 0.0)


@pytest.mark.parametrize("hold", [hold_whole, hold_in_a_sum, hold_on_a_stage])
def test_whoever_holds_it_or_is_given_it_says_so(hold):
    gossip = plain()
    assert said_by(gossip) == [False]
    hold(gossip)

    assert said_by(gossip) == [True]
    assert said_by(gossip, b"f" * 16 + PARENT.store) == [True]
    assert said_by(gossip, b"f" * 16) == [False]


def test_the_store_itself_says_that_it_tells_it_and_a_copy_of_the_one_that_asks_nothing():
    assert said_by(plain(), ONE.store) == [True]
    assert said_by(plain(), asker=ONE.store) == []


def test_who_may_be_a_copy_says_nothing_of_what_its_store_has_counted():
    gossip = unjudged()
    gossip.ledger.counters.others[PARENT.store] = Share(5)

    assert said_by(gossip, ONE.store) == []
    assert said_by(gossip) == [True]

    gossip.submit(Opened(LINK, TRACKER), 0.1)
    gossip.receive(LINK, Refused(0, "in-use", "lives at 10.0.0.9:7401"), 0.1)

    assert said_by(gossip, ONE.store) == []


@pytest.mark.parametrize(
    ("is_settled", "asker", "asker_is_settled", "is_told"),
    [
        (False, b"a" * 16, False, False),
        (False, b"z" * 16, False, True),
        (True, b"a" * 16, False, True),
        (False, b"z" * 16, True, False),
        (True, b"z" * 16, True, True),
        (True, b"a" * 16, True, False),
    ],
)
def test_of_two_that_were_made_of_it_one_goes_on(is_settled, asker, asker_is_settled, is_told):
    gossip = mixed(ONE)
    if is_settled:
        answered(gossip, ONE)

    assert said_by(gossip, asker=asker, is_settled=asker_is_settled) == [is_told]
    assert said_by(gossip, b"x" * 16, asker, is_settled=asker_is_settled) == [False]
