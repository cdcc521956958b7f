"""What a node takes to be parked, what it refuses, and what a failing disk makes of it."""

from dataclasses import replace
from random import Random

import pytest

from counter.config import NodeConfig
from counter.crdt import Counters
from counter.failover import Failover
from counter.ledger import Ledger
from counter.messages import (
    ACK_DISK,
    GRANTED,
    TOO_OLD,
    UNDERWAY,
    Disown,
    Disowned,
    Increment,
    Park,
    Parked,
    name_of,
)
from tracker.machine import Close, Emit, Open, Opened, Persist, Persisted, PersistFailed, Send
from tracker.members import GONE, Member, View
from tracker.messages import Refused
from tracker.wire import SHARE_MAX

OWN, HOME = b"b" * 16, b"h" * 16
LINK = 3


def make_member(**changes):
    return replace(Member("home", HOME, 1, 1, 0, "127.0.0.1", 7401), **changes)


def make(durable=True, parked_max=10, member=None):
    config = replace(NodeConfig(name="b"), parked_max=parked_max)
    ledger = Ledger(config, Counters(OWN, 1), durable=durable)
    view = View({"home": make_member() if member is None else member})
    return Failover(ledger, view, Random(1)), ledger


def park(sequence=1, pairs=("k", 2), ack=0, home=HOME):
    return Park(7, b"s" * 16, sequence, pairs, ack, home, "home")


def said(effects):
    return [effect.message for effect in effects if isinstance(effect, Send)]


def test_a_node_in_memory_holds_an_increment_at_once_and_says_so():
    failover, _ = make(durable=False)

    assert said(failover.parking.park(LINK, park(), 0.0)) == [Parked(7, False, False)]


def test_the_same_increment_parked_again_is_held_once_and_another_content_is_refused():
    failover, _ = make()
    first = failover.parking.park(LINK, park(), 0.0)
    again = failover.parking.park(LINK, park(), 0.0)
    other = failover.parking.park(LINK, park(pairs=("k", 3)), 0.0)

    assert isinstance(first[0], Persist)
    assert again == []
    assert said(other)[0].code == "other-content"
    assert said(failover.settled(Persisted(1))) == [Parked(7, True, False), Parked(7, True, True)]
    assert said(failover.parking.park(LINK, park(), 0.0)) == [Parked(7, True, True)]
    assert failover.parking.uncertain("k") == (0, 2, 1)


def test_a_node_does_not_hold_what_was_first_sent_to_itself():
    failover, _ = make()

    assert said(failover.parking.park(LINK, park(home=OWN), 0.0))[0].code == "home"


def test_what_cannot_be_counted_here_is_not_held_either():
    failover, ledger = make()
    ledger.is_leaving = True

    assert said(failover.parking.park(LINK, park(), 0.0))[0].code == "leaving"


def test_without_room_a_client_hears_busy_unless_something_is_held_for_a_node_given_up():
    failover, _ = make(durable=False, parked_max=1)
    failover.parking.park(LINK, park(1), 0.0)
    assert said(failover.parking.park(LINK, park(2), 0.0))[0].code == "busy"

    failover.parking.follow(View({"home": make_member(status=GONE)}))
    effects = failover.parking.park(LINK, park(2), 0.0)

    assert [effect.event for effect in effects if isinstance(effect, Emit)] == ["parked-given-up"]
    assert said(effects) == [Parked(7, False, False)]


@pytest.mark.parametrize(("definite", "code"), [(True, "disk"), (False, "in-doubt")])
def test_what_the_disk_refuses_is_not_held(definite, code):
    failover, _ = make()
    failover.parking.park(LINK, park(), 0.0)

    effects = failover.settled(PersistFailed(1, "no room", definite))

    assert said(effects) == [Refused(7, code, "no room")]
    assert not failover.parking


def asked(failover, now=1.0):
    """Let a home be asked; returns the question."""
    opened = failover.parking.look(now)
    assert opened == [Open(("127.0.0.1", 7401))]
    (question,) = said(failover.streamed(Opened(9, ("127.0.0.1", 7401)), now))
    assert isinstance(question, Disown)
    return question


@pytest.mark.parametrize("definite", [True, False], ids=["certainly", "perhaps"])
def test_what_is_granted_is_not_counted_while_the_disk_refuses_it(definite):
    failover, ledger = make()
    failover.parking.park(LINK, park(), 0.0)
    failover.settled(Persisted(1))
    question = asked(failover)
    failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 1.0)

    event = PersistFailed(2, "no room", definite)
    ledger.persist_failed(event)
    failover.settled(event)

    assert ledger.counters.value("k") == 0
    assert failover.parking.uncertain("k") == (0, 2, 1)
    assert failover.parking.look(1.0) == []


def test_a_home_is_asked_again_later_and_later_and_what_is_too_old_never_more():
    failover, _ = make(durable=False)
    failover.parking.park(LINK, park(pairs=("k", -2)), 0.0)
    question = asked(failover, 1.0)
    assert failover.parking.disowned(9, Disowned(question.request, (UNDERWAY,)), 1.0) == [Close(9)]
    due = failover.parking.deadline()
    assert due > 1.0

    question = asked(failover, due)
    failover.parking.disowned(9, Disowned(question.request, (TOO_OLD,)), due)

    assert failover.parking.deadline() is None
    assert failover.parking.uncertain("k") == (2, 0, 1)


def test_a_home_that_does_not_answer_or_answers_something_else_is_asked_again():
    failover, _ = make(durable=False)
    failover.parking.park(LINK, park(), 0.0)
    asked(failover, 1.0)

    assert failover.parking.look(failover.parking.deadline()) == [Close(9)]
    question = asked(failover, 60.0)
    assert failover.parking.disowned(9, Disowned(question.request, ()), 60.0) == [Close(9)]
    assert failover.parking.deadline() > 60.0


def test_what_is_granted_counts_under_the_name_that_its_key_has_by_then_also_after_a_restart():
    failover, ledger = make()
    parked = failover.parking.park(LINK, park(pairs=("k", 2, "other", 1)), 0.0)
    failover.settled(Persisted(1))
    question = asked(failover)
    ledger.counters.names["k"] = name_of("k", 3)
    settled = failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 1.0)
    ledger.persisted(Persisted(2))
    failover.settled(Persisted(2))
    again, kept = make()
    for persist in [*parked, *settled]:
        if isinstance(persist, Persist):
            again.restore(persist.kind, persist.record)

    for counters in (ledger.counters, kept.counters):
        assert counters.own.positive == {name_of("k", 3): 2, "other": 1}


def test_the_short_way_leaves_a_write_of_which_something_was_parked_to_the_common_one():
    failover, ledger = make()
    failover.parking.park(LINK, park(), 0.0)
    failover.settled(Persisted(1))
    ledger.persisted(Persisted(1))
    ledger.increment(LINK, Increment(b"c" * 16, 1, ("k", 5), ACK_DISK))
    question = asked(failover)
    failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 1.0)

    assert ledger.counted(3) is None
    assert ledger.counted(2) == [(LINK, 1)]
    assert ledger.counted(3) is None
    assert ledger.counters.value("k") == 5
    ledger.persisted(Persisted(3))
    assert ledger.counters.value("k") == 7


def test_what_is_being_adopted_stands_in_a_snapshot_and_is_kept_in_range():
    failover, ledger = make()
    failover.parking.park(LINK, park(), 0.0)
    failover.settled(Persisted(1))
    question = asked(failover)
    failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 1.0)

    again, kept = make()
    for record in [*ledger.dump(), *failover.dump()]:
        if not again.restore("state", record):
            kept.restore("state", record)

    assert ledger.holds_counts
    assert ledger.leaves_range(("k", SHARE_MAX - 1))
    assert not ledger.leaves_range(("k", SHARE_MAX - 2))
    assert kept.counters.value("k") == 2
    assert again.parking.uncertain("k") == (0, 0, 0)


def test_a_home_that_leaves_gives_nothing_away_any_more():
    failover, ledger = make()
    ledger.is_leaving = True

    (said_of_it,) = said(failover.fences.disown(LINK, Disown(1, OWN, HOME, ((b"s" * 16, 1, 5),))))

    assert said_of_it == Disowned(1, (UNDERWAY,))
    assert len(failover.fences) == 0


def test_a_node_that_leaves_holds_nothing_for_others():
    failover, ledger = make()
    ledger.is_leaving = True

    assert said(failover.parking.park(LINK, park(), 0.0))[0].code == "leaving"


def disown(failover, *tickets, home=OWN):
    rows = tuple([(b"s" * 16, number, ticket) for number, ticket in enumerate(tickets, 1)])
    return failover.fences.disown(LINK, Disown(1, home, HOME, rows))


def test_a_store_says_nothing_of_what_was_sent_to_another_one():
    failover, _ = make()

    assert disown(failover, 5, home=b"z" * 16) == [Send(LINK, Disowned(1, ()))]


@pytest.mark.parametrize("definite", [True, False], ids=["certainly", "perhaps"])
def test_a_fence_that_is_not_on_disk_gives_nothing_away(definite):
    failover, ledger = make()
    assert isinstance(disown(failover, 5)[0], Persist)
    assert said(disown(failover, 5)) == [Disowned(1, (UNDERWAY,))]

    effects = failover.settled(PersistFailed(ledger.token, "no room", definite))
    again = disown(failover, 5)

    assert said(effects) == [Disowned(1, (UNDERWAY,))]
    # After a failure that may have been none the fence stays, and nobody hears of it.
    assert isinstance(again[0], Persist) == definite
    assert (b"s" * 16, 1) in ledger.given_away
