"""Who holds a part of a store answers for itself once that store, as it is known, has all of it."""

from dataclasses import replace
from random import Random

import pytest

from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.lives import rebirth_in
from counter.messages import (
    GOSSIP,
    HOLDS,
    LACKS,
    UNHELD,
    UNSAID,
    UNTIL_ALL,
    Ask,
    AskMany,
    Here,
    Query,
    Reply,
    ReplyMany,
    Sought,
    prefixed,
)
from counter.parents import AGAIN_S, ASK_S, ASKS_MAX
from counter.parts import is_lacked, life_in, part_epoch, part_key
from counter.storage.base import Rebirth
from tracker.admission import OLD_BACKUP
from tracker.boots import Life, lives_in
from tracker.machine import Emit, Open, Send, Undelivered, Unreachable
from tracker.members import DEAD, GONE, Member, View, position
from tracker.messages import DIVIDED, Introduced
from tracker.pages import members_to_record

TRACKER, CLIENT = ("127.0.0.1", 7400), 50
OWN = Member("n0", b"s" * 16, 0, 1, 0, "10.0.0.1", 7401, boot=b"boot-own")
PARENT = Member("n1", b"t" * 16, 0, 5, 0, "10.0.0.2", 7401, boot=b"two-boot")
ORIGIN = Member("n2", b"u" * 16, 0, 1, 0, "10.0.0.3", 7401, boot=b"boot-oth")
ONE, TWO, THREE = Life(3, b"one-boot", 0), Life(4, b"mid-boot", 4), Life(5, b"two-boot", 9)
PART = part_epoch(7)
WHOLE = Here(PARENT, PART, HOLDS)


def holder(*known, past=(ONE,), boot=ONE.boot):
    """Return a node that holds a part of the store of PARENT, and reaches no tracker."""
    gossip = Gossip(NodeConfig(name=OWN.name), LAN, OWN, (TRACKER,), Random(1))
    gossip.restore("members", members_to_record([OWN, *known]))
    gossip.forks.splits, gossip.forks.pasts = ((PARENT.store, 7),), (past,)
    gossip.resume(0)
    gossip.ledger.counters.merge(part_key(PARENT.store, PART, boot), PART, [("k", 5, 0)])
    gossip.start(0.0)
    gossip.submit(Unreachable(TRACKER, "refused"), 0.0)
    gossip.receive(ORIGIN.endpoint, Introduced(OWN.store), 0.0)
    return gossip


def asked(gossip, now=1.0, roll=None):
    """Return what a node does that is asked by an origin with its list, or with this roll."""
    roll = gossip.membership.view.roll if roll is None else roll
    ask = Ask(b"q" * 16, "k", ORIGIN.endpoint, 2, 2, 1, 9, 500, roll, 0, 2**64 - 1)
    return gossip.receive(ORIGIN.endpoint, ask, now)


def asked_many(gossip, now=1.0):
    ask = AskMany(b"q" * 16, prefixed("k"), ORIGIN.endpoint, 2, 2, 1, 9, 500, 0, 0, 2**64 - 1)
    return gossip.receive(ORIGIN.endpoint, ask, now)


def answers(effects):
    return [e for e in effects if isinstance(e, Send) and isinstance(e.message, Reply)]


def looks(effects):
    return [e for e in effects if isinstance(e, Send) and isinstance(e.message, Sought)]


# -- who holds a part -------------------------------------------------------------------------


def test_nobody_is_answered_before_the_store_of_a_part_has_said_that_it_holds_all_of_it():
    gossip = holder(PARENT, ORIGIN)
    question = Sought(PARENT.store, PART, ONE.epoch, ONE.boot, bytes(8))

    assert looks(asked(gossip)) == [Send(PARENT.endpoint, question)]
    assert answers(asked(gossip)) == []
    assert gossip.origin.known_until(1.0) == float("-inf")
    gossip.receive(PARENT.endpoint, WHOLE, 1.1)

    assert len(answers(asked(gossip))) == 1
    assert gossip.newcomers.deadline() is None


def test_neither_is_one_who_asks_for_many_keys():
    gossip = holder(PARENT, ORIGIN)

    assert [type(e.message) for e in asked_many(gossip)] == [Sought]


@pytest.mark.parametrize(
    ("said", "is_answered"),
    [
        (WHOLE, True),
        (Here(PARENT, PART, LACKS), False),
        (Here(PARENT), True),
        (Here(replace(PARENT, epoch=6, boot=b"boot-new"), PART, HOLDS), True),
        (Here(replace(PARENT, epoch=6, boot=b"boot-new"), PART, LACKS), False),
        (Here(PARENT, part_epoch(3), HOLDS), False),
        (Here(replace(ORIGIN, host=PARENT.host), says=HOLDS), True),
    ],
    ids=[
        *("all", "not all", "an older peer", "a later start", "a later one that lacks some"),
        *("about another part", "another store"),
    ],
)
def test_what_runs_where_the_store_is_known_decides(said, is_answered):
    gossip = holder(PARENT, ORIGIN)
    asked(gossip)

    gossip.receive(PARENT.endpoint, said, 1.1)

    assert bool(answers(asked(gossip, 1.1))) is is_answered
    assert gossip.newcomers.parents.is_open is not is_answered


def test_what_another_address_says_decides_nothing():
    gossip = holder(PARENT, ORIGIN)
    asked(gossip)

    gossip.receive(ORIGIN.endpoint, WHOLE, 1.1)
    gossip.submit(Undelivered(ORIGIN.endpoint, Sought(PARENT.store, PART)), 1.1)
    gossip.submit(Undelivered(PARENT.endpoint, Sought(PARENT.store)), 1.1)

    assert answers(asked(gossip, 1.1)) == []


def test_where_nobody_listens_nobody_is_waited_for_but_asked_again():
    gossip = holder(PARENT, ORIGIN)
    (look,) = looks(asked(gossip))

    gossip.submit(Undelivered(PARENT.endpoint, look.message), 1.1)

    assert len(answers(asked(gossip, 1.1))) == 1
    assert gossip.newcomers.deadline() == 1.1 + AGAIN_S
    assert looks(gossip.tick(1.1 + AGAIN_S)) == [look]


@pytest.mark.parametrize("status", [0, DEAD], ids=["alive", "dead"])
def test_a_store_that_is_silent_is_waited_for_as_long_as_it_is_believed_to_live(status):
    gossip = holder(replace(PARENT, status=status), ORIGIN)
    sent = looks(asked(gossip))

    for _ in range(ASKS_MAX):
        sent += looks(gossip.newcomers.tick(gossip.newcomers.deadline()))

    assert len(sent) == ASKS_MAX + 1
    assert bool(answers(asked(gossip, 3.0))) is (status == DEAD)
    # It may be back, or have been silent to this one alone.
    again = 1.0 + (ASKS_MAX - 1) * ASK_S + 2 * AGAIN_S
    assert gossip.newcomers.deadline() == pytest.approx(again)


def test_a_store_that_is_heard_of_again_is_asked_again_and_one_that_has_said_it_is_not():
    gossip = holder(replace(PARENT, status=DEAD), ORIGIN)
    asked(gossip)
    for _ in range(ASKS_MAX):
        gossip.newcomers.tick(gossip.newcomers.deadline())
    back, still = replace(PARENT, incarnation=1), replace(PARENT, incarnation=2, status=DEAD)

    gossip.membership.learn([back], 3.0)
    assert len(looks(asked(gossip, 3.0))) == 1
    gossip.receive(PARENT.endpoint, WHOLE, 3.1)
    gossip.membership.learn([still], 3.2)

    assert looks(asked(gossip, 3.2)) == []


# What ends the wait for a word, and whether the store may have given a query its own before that.
ENDS = [
    (WHOLE, False),
    (Here(PARENT), False),
    (Here(replace(PARENT, epoch=6, boot=b"boot-new"), PART, HOLDS), True),
    (Here(replace(PARENT, boot=b"boot-new"), PART, HOLDS), True),
    (Here(replace(ORIGIN, host=PARENT.host), says=HOLDS), True),
    (None, True),
]
NAMED = ["all", "an older peer", "a later start", "a copy", "another store", "nobody"]


def hears(gossip, said):
    look = Sought(PARENT.store, PART, ONE.epoch, ONE.boot, bytes(8))
    if said is None:
        return gossip.submit(Undelivered(PARENT.endpoint, look), 1.1)
    return gossip.receive(PARENT.endpoint, said, 1.1)


@pytest.mark.parametrize(("said", "is_unheld"), ENDS, ids=NAMED)
@pytest.mark.parametrize("ask", [asked, asked_many], ids=["one key", "many keys"])
def test_an_answer_says_whether_the_store_of_a_part_has_said_that_it_holds_all_of_it(
    said, is_unheld, ask
):
    gossip = holder(PARENT, ORIGIN)
    ask(gossip)
    hears(gossip, said)

    (answer,) = [e.message for e in ask(gossip, 1.1) if isinstance(e.message, Reply | ReplyMany)]

    assert bool(answer.flags & UNHELD) is is_unheld


def answer_of(member, query, view):
    return Reply(query, position(member.name), member.store[:8], 5, 3, 1, 0, (), (), view.roll)


@pytest.mark.parametrize(("said", "is_unheld"), ENDS, ids=NAMED)
def test_a_query_of_the_holder_itself_takes_no_word_of_a_store_that_is_found_out_meanwhile(
    said, is_unheld
):
    gossip, view = holder(PARENT, ORIGIN), View().merged([OWN, PARENT, ORIGIN])
    gossip.receive(CLIENT, Query(1, "k", 0, 0, 0, 500, UNTIL_ALL, 0, 0, False), 0.5)
    gossip.tick(1.0)
    (query,) = gossip.asker.under_way()
    gossip.receive(PARENT.endpoint, answer_of(PARENT, query.id, view), 1.05)

    hears(gossip, said)
    gossip.tick(1.1)

    assert query.is_outdone is is_unheld


def test_each_later_start_of_the_store_is_asked_anew():
    gossip = holder(PARENT, ORIGIN)
    asked(gossip)
    gossip.receive(PARENT.endpoint, WHOLE, 1.1)
    later = replace(PARENT, epoch=6, boot=b"boot-new", host="10.0.0.9")

    gossip.membership.learn([later], 2.0)

    assert [look.to for look in looks(asked(gossip, 2.0))] == [later.endpoint]
    assert answers(asked(gossip, 2.0)) == []


@pytest.mark.parametrize(
    ("known", "boot"),
    [
        ((), ONE.boot),
        ((replace(PARENT, status=GONE),), ONE.boot),
        ((replace(PARENT, boot=b""),), ONE.boot),
        ((PARENT,), b""),
    ],
    ids=["not known", "gone", "an older peer", "a part of which nobody knows the life"],
)
def test_where_nobody_can_be_asked_a_holder_answers_at_once(known, boot):
    gossip = holder(*known, ORIGIN, boot=boot)

    assert len(answers(asked(gossip))) == 1


def test_who_was_given_a_part_names_the_life_in_which_it_ends():
    gossip = holder(PARENT, ORIGIN, past=())

    (look,) = looks(asked(gossip))

    assert look.message == Sought(PARENT.store, PART, 0, ONE.boot[:4])


def test_an_origin_whose_list_is_not_known_here_is_not_answered_before_that_is_read():
    gossip = holder(PARENT, ORIGIN)
    asked(gossip)
    gossip.receive(PARENT.endpoint, WHOLE, 1.1)

    assert asked(gossip, 1.2, roll=4711) == [Open(ORIGIN.endpoint)]
    assert len(answers(asked(gossip, 1.2))) == 1


# -- the store itself -------------------------------------------------------------------------


def parent(*lives, known=()):
    """Return a node with the lives of a store, the latest first, that nobody has let in."""
    own = replace(PARENT, epoch=lives[0].epoch, boot=lives[0].boot)
    gossip = Gossip(NodeConfig(name=own.name), LAN, own, (TRACKER,), Random(1))
    gossip.restore("members", members_to_record([own, *known]))
    gossip.ledger.boots = b"".join([life.boot for life in lives])
    gossip.forks.starts = tuple([(life.epoch, life.begin) for life in lives[1:]])
    gossip.resume(lives[0].begin)
    gossip.start(0.0)
    gossip.submit(Unreachable(TRACKER, "refused"), 0.0)
    return gossip


def question(*past, token=7):
    begins = b"".join([life.begin.to_bytes(8, "big") for life in past])
    boots = b"".join([life.boot for life in past])
    return Sought(PARENT.store, part_epoch(token), past[0].epoch, boots, begins)


def test_a_store_that_went_on_from_a_part_says_so():
    gossip = parent(THREE, TWO, ONE)

    assert gossip.receive(ORIGIN.endpoint, question(TWO, ONE), 1.0) == [
        Send(ORIGIN.endpoint, Here(gossip.membership.member, PART, HOLDS))
    ]


@pytest.mark.parametrize(
    ("past", "common"),
    [
        ([TWO, ONE], TWO.epoch),
        ([Life(4, b"mi2-boot", 4), ONE], ONE.epoch),
        ([Life(4, b"mi2-boot", 3), ONE], DIVIDED),
        ([Life(4, b"mi2-boot", 4), Life(3, b"on2-boot", 0)], DIVIDED),
    ],
    ids=["shorter", "before that life", "divided", "nothing in common is known"],
)
def test_one_that_did_not_is_an_old_backup_and_begins_anew_where_they_part(past, common):
    gossip = parent(THREE, TWO, ONE)

    said, emit = gossip.receive(ORIGIN.endpoint, question(*past, token=12), 1.0)

    assert said.message == Here(gossip.membership.member, part_epoch(12), LACKS)
    assert (emit.event, emit.details["code"]) == ("registration-refused", OLD_BACKUP)
    assert rebirth_in(emit.event, emit.details, gossip) == Rebirth(max(0, common + 1))
    assert asked(gossip) == []
    # Said once; asked again, it only says that it is so.
    assert len(gossip.receive(ORIGIN.endpoint, question(*past, token=12), 1.1)) == 1


def test_one_that_went_through_the_first_life_of_a_store_made_of_it_is_a_copy_of_that():
    gossip = parent(THREE, TWO, ONE)
    asks = replace(question(ONE, token=4), fork=TWO.boot)

    said, emit = gossip.receive(ORIGIN.endpoint, asks, 1.0)

    assert said.message == Here(gossip.membership.member, part_epoch(4), LACKS)
    assert rebirth_in(emit.event, emit.details, gossip) == Rebirth(TWO.epoch)


def test_who_holds_a_part_says_in_which_life_its_own_store_went_on_from_there():
    gossip = holder(PARENT)
    gossip.membership.member = replace(OWN, epoch=5)
    gossip.ledger.boots = b"thr-bootmi2-boot"

    [look] = looks(gossip.newcomers.parents.look(0.0))

    assert look.message.fork == b"mi2-boot"


@pytest.mark.parametrize("is_found_out", [False, True], ids=["not yet", "found out"])
def test_once_it_was_found_out_it_answers_nobody_whoever_knows_of_it(is_found_out):
    gossip = parent(THREE, TWO, ONE, known=[ORIGIN])
    if is_found_out:
        gossip.receive(OWN.endpoint, question(TWO, ONE, token=12), 0.5)

    gossip.receive(ORIGIN.endpoint, Introduced(PARENT.store), 0.6)

    assert bool(asked(gossip)) is not is_found_out


def test_of_a_life_that_is_named_in_short_it_finds_where_it_parts():
    gossip = parent(THREE, TWO, ONE)
    asks = Sought(PARENT.store, part_epoch(12), 0, TWO.boot[:4])

    _, emit = gossip.receive(ORIGIN.endpoint, asks, 1.0)

    assert isinstance(emit, Emit)
    assert emit.details["common"] == TWO.epoch


@pytest.mark.parametrize("store", [b"x" * 16, PARENT.store], ids=["another store", "no part"])
def test_whoever_is_asked_about_no_part_of_its_own_lacks_nothing(store):
    gossip = parent(THREE, TWO, ONE)
    asks = Sought(store, PART if store != PARENT.store else 0, 4, b"mi2-boot", bytes(8))

    assert gossip.receive(ORIGIN.endpoint, asks, 1.0) == [
        Send(ORIGIN.endpoint, Here(gossip.membership.member, says=HOLDS))
    ]


def test_a_store_that_does_not_know_where_its_lives_began_says_nothing():
    gossip = parent(THREE, TWO, ONE)
    gossip.membership.begins = b""

    (said,) = gossip.receive(ORIGIN.endpoint, question(Life(4, b"mi2-boot", 4)), 1.0)

    assert said.message.says == UNSAID


# -- parts and lives --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("boot", "token", "is_short"),
    [
        (TWO.boot, 9, False),
        (TWO.boot, 10, True),
        (THREE.boot, 10**6, False),
        (ONE.boot[:4], 4, False),
        (b"zer-boot", 1, True),
    ],
    ids=["all of it", "less", "the life that goes on", "in short", "a life it never had"],
)
def test_a_store_lacks_a_part_whose_life_ended_there_too_soon(boot, token, is_short):
    assert is_lacked(part_epoch(token), boot, [THREE, TWO, ONE]) is is_short


def test_a_life_earlier_than_all_that_are_remembered_may_have_gone_as_far():
    assert not is_lacked(part_epoch(4), b"zer-boot", [THREE, TWO])
    assert is_lacked(part_epoch(5), b"zer-boot", [THREE, TWO])
    assert not is_lacked(part_epoch(5), b"zer-boot", lives_in(2, b"two-bootone-boot", b""))


def test_a_part_says_in_which_life_it_ends_if_that_is_known():
    assert life_in(part_key(PARENT.store, PART, ONE.boot)) == ONE.boot[:4]
    assert life_in(part_key(PARENT.store, PART)) == b""


@pytest.mark.parametrize(
    "message", [question(TWO, ONE), replace(question(TWO), fork=THREE.boot), WHOLE]
)
def test_an_older_peer_tells_and_reads_as_much_as_it_knows(message):
    first = GOSSIP.encode(type(message)(getattr(message, message.__slots__[0])))

    assert GOSSIP.decode(GOSSIP.encode(message)) == message
    assert GOSSIP.decode(first) == type(message)(getattr(message, message.__slots__[0]))


# -- whoever may be a copy --------------------------------------------------------------------


def test_a_start_that_a_tracker_has_yet_to_judge_tells_its_own_clients_nothing():
    gossip = parent(THREE, TWO, ONE)
    gossip.restore("members", members_to_record([PARENT, ORIGIN]))
    gossip.membership.is_doubted = True

    said = gossip.receive(CLIENT, Query(1, "k", 0, 0, 0, 400, UNTIL_ALL, 0, 50, False), 1.0)
    said += gossip.tick(1.3)

    [refused] = [e.message for e in said if isinstance(e, Send)]
    assert refused.code == "no-view"
    assert (
        "was started a moment ago, and no tracker has said yet that it is no copy" in refused.text
    )
