"""Who introduces itself and is known at another address: it has moved, or is a copy."""

from dataclasses import replace
from random import Random

import pytest

from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.messages import (
    ACK_DEFAULT,
    HOLDS,
    UNTIL_ALL,
    Ask,
    Doubled,
    Here,
    Increment,
    Query,
    Sought,
)
from counter.newcomers import ASK_S, ASKS_MAX, LOOKS_MAX
from tracker.fixed import FixedMembership
from tracker.introduction import AGAIN_S, WAIT_TRIES
from tracker.machine import Close, Closed, Emit, Open, Opened, Send, Undelivered, Unreachable
from tracker.members import AWAY, DEAD, GONE, SUSPECT, Member
from tracker.messages import (
    Announced,
    Heartbeat,
    Introduce,
    Introduced,
    Register,
    Registered,
    news_to_wire,
)
from tracker.pages import members_to_record

TRACKER, CLIENT, LINK = ("127.0.0.1", 7400), 50, 7
OWN = Member("n0", b"s" * 16, 0, 1, 0, "10.0.0.1", 7401, boot=b"boot-own")
OLD = Member("n1", b"t" * 16, 0, 4, 0, "10.0.0.2", 7401, boot=b"boot-old")
NEW = replace(OLD, epoch=5, host="10.0.0.9", boot=b"boot-new")
OTHER = Member("n2", b"u" * 16, 0, 1, 0, "10.0.0.3", 7401, boot=b"boot-oth")


def node(*known, own=OWN):
    """Return a node that has a list and reaches no tracker."""
    gossip = Gossip(NodeConfig(name=own.name), LAN, own, (TRACKER,), Random(1))
    own_name = [] if any(member.name == own.name for member in known) else [own]
    gossip.restore("members", members_to_record([*own_name, *known]))
    gossip.resume(0)
    gossip.start(0.0)
    gossip.submit(Unreachable(TRACKER, "refused"), 0.0)
    gossip.receive(OTHER.endpoint, Introduced(own.store), 0.0)
    return gossip


def introduced(gossip, member=NEW, now=1.0):
    return gossip.receive(member.endpoint, Introduce(member, "default"), now)


def place_of(gossip, name="n1"):
    return gossip.membership.view.get(name).endpoint


def test_a_move_is_believed_once_nobody_listens_at_the_old_address():
    gossip = node(OLD)

    assert introduced(gossip) == [Send(OLD.endpoint, Sought(OLD.store))]
    assert place_of(gossip) == OLD.endpoint
    said = gossip.submit(Undelivered(OLD.endpoint, Sought(OLD.store)), 1.1)

    assert Send(NEW.endpoint, Introduced(NEW.store)) in said
    assert place_of(gossip) == NEW.endpoint


@pytest.mark.parametrize(
    "there",
    [replace(OTHER, host=OLD.host), NEW],
    ids=["another store", "the newcomer itself, at both of its addresses"],
)
def test_a_move_is_believed_when_somebody_else_has_its_old_address(there):
    gossip = node(OLD)
    introduced(gossip)

    said = gossip.receive(OLD.endpoint, Here(there), 1.1)

    assert Send(NEW.endpoint, Introduced(NEW.store)) in said
    assert place_of(gossip) == NEW.endpoint


def test_a_copy_is_refused_when_the_original_answers_at_its_address():
    gossip = node(OLD)
    introduced(gossip)

    said = gossip.receive(OLD.endpoint, Here(OLD), 1.1)

    assert said == [Send(NEW.endpoint, Doubled(NEW.boot, OLD))]
    assert place_of(gossip) == OLD.endpoint
    assert gossip.newcomers.deadline() is None


@pytest.mark.parametrize("status", [SUSPECT, DEAD, AWAY, GONE])
def test_no_datagram_says_that_a_member_is_not_there(status):
    gossip = node(OLD)

    assert introduced(gossip, replace(OLD, epoch=9, status=status)) == []
    assert gossip.membership.view.get("n1") == OLD


def test_what_another_address_says_of_itself_decides_nothing():
    gossip = node(OLD)
    introduced(gossip)

    assert gossip.receive(OTHER.endpoint, Here(OTHER), 1.1) == []
    assert gossip.submit(Undelivered(OTHER.endpoint, Sought(OLD.store)), 1.1) == []
    assert gossip.submit(Undelivered(OLD.endpoint, Sought(OTHER.store)), 1.1) == []

    assert place_of(gossip) == OLD.endpoint
    assert gossip.newcomers.deadline() == 1.0 + ASK_S


@pytest.mark.parametrize("status", [0, DEAD], ids=["alive", "dead"])
def test_silence_at_the_old_address_is_asked_again_and_then_decides_nothing(status):
    gossip = node(replace(OLD, status=status))
    asked, now = introduced(gossip), 1.0

    while (due := gossip.newcomers.deadline()) is not None:
        now = due
        gossip.newcomers.tick(now - 0.001)
        asked += gossip.newcomers.tick(now)

    assert asked == [Send(OLD.endpoint, Sought(OLD.store))] * ASKS_MAX
    assert now == pytest.approx(1.0 + ASKS_MAX * ASK_S)
    assert place_of(gossip) == OLD.endpoint


def test_silence_of_one_that_said_that_it_stops_is_believed():
    gossip = node(replace(OLD, status=AWAY))
    introduced(gossip)

    said = []
    while (due := gossip.newcomers.deadline()) is not None:
        said += gossip.newcomers.tick(due)

    assert said[-1] == Send(NEW.endpoint, Introduced(NEW.store))
    assert place_of(gossip) == NEW.endpoint


@pytest.mark.parametrize(
    "known",
    [(), (replace(OLD, host=NEW.host),), (replace(OLD, status=GONE),), (replace(NEW, host="::1"),)],
    ids=["nobody", "the same address", "given up", "the same start"],
)
def test_where_nobody_can_be_in_its_place_a_newcomer_is_believed_at_once(known):
    gossip = node(*known)

    assert introduced(gossip)[-1] == Send(NEW.endpoint, Introduced(NEW.store))
    assert gossip.newcomers.deadline() is None


@pytest.mark.parametrize(
    "known",
    [replace(OLD, epoch=5), replace(OLD, epoch=6), replace(OLD, epoch=6, host=NEW.host)],
    ids=["the same number", "a later one", "a later one in its place"],
)
def test_a_start_that_is_overtaken_is_told_so_at_once(known):
    gossip = node(known)

    assert introduced(gossip) == [Send(NEW.endpoint, Doubled(NEW.boot, known))]
    assert gossip.membership.view.get("n1") == known


@pytest.mark.parametrize(
    "known",
    [(OLD,), (OLD.without_name(), replace(OTHER, name="n1")), (OLD.without_name(),)],
    ids=["under its name", "its name is another's", "its name is nobody's"],
)
def test_a_later_start_of_a_store_that_was_handed_over_is_told_so_at_once(known):
    handed_over = known[0].handed_over("n2")
    gossip = node(handed_over, *known[1:])

    assert introduced(gossip) == [Send(NEW.endpoint, Doubled(NEW.boot, handed_over))]
    assert gossip.membership.view.get(handed_over.name) == handed_over


def test_one_whose_name_is_anothers_is_not_believed():
    gossip = node(replace(OTHER, name="n1"))

    assert introduced(gossip) == []
    assert gossip.membership.view.get("n1").store == OTHER.store


def test_a_newcomer_that_goes_on_asking_is_looked_into_once():
    gossip = node(OLD)
    introduced(gossip)

    assert introduced(gossip, now=1.05) == []
    assert gossip.newcomers.deadline() == 1.0 + ASK_S


def test_moves_that_are_looked_into_have_a_limit():
    gossip = node(OLD)
    for number in range(LOOKS_MAX):
        assert introduced(gossip, replace(NEW, port=8_000 + number)) != []

    assert introduced(gossip, replace(NEW, port=9_000)) == []


def test_of_two_copies_of_one_that_is_gone_the_second_is_asked_about_at_the_first():
    gossip = node(OLD)
    second = replace(NEW, epoch=6, host="10.0.0.8", boot=b"boot-two")
    introduced(gossip)
    introduced(gossip, second)

    said = gossip.submit(Undelivered(OLD.endpoint, Sought(OLD.store)), 1.1)

    assert Send(NEW.endpoint, Introduced(NEW.store)) in said
    assert Send(NEW.endpoint, Sought(OLD.store)) in said
    assert place_of(gossip) == NEW.endpoint


def test_with_fixed_names_nobody_is_asked_for():
    places = {"n0": OWN.endpoint, "n1": OLD.endpoint}
    fixed = FixedMembership(OWN, places, Random(1))
    gossip = Gossip(NodeConfig(name="n0"), LAN, OWN, (), Random(1), fixed)
    gossip.start(0.0)
    introduced(gossip, OLD)

    assert introduced(gossip, replace(OLD, boot=b"boot-new")) == []
    assert Send(NEW.endpoint, Introduced(NEW.store)) in introduced(gossip)
    assert gossip.newcomers.learn((NEW,), 1.0) == []
    assert gossip.newcomers.deadline() is None


# -- lists of others ------------------------------------------------------------------------------


def test_a_list_moves_nobody_before_the_old_address_has_spoken():
    gossip = node(OLD)

    asked = gossip.newcomers.learn((OTHER, NEW), 1.0)

    assert Send(OLD.endpoint, Sought(OLD.store)) in asked
    assert (place_of(gossip), place_of(gossip, "n2")) == (OLD.endpoint, OTHER.endpoint)
    assert gossip.origin.known_until(1.0) == float("-inf")
    assert gossip.newcomers.is_unsure
    gossip.submit(Undelivered(OLD.endpoint, Sought(OLD.store)), 1.1)
    assert place_of(gossip) == NEW.endpoint
    assert not gossip.newcomers.is_unsure


def test_a_copy_of_which_a_list_tells_is_told_at_its_own_address():
    gossip = node(OLD)
    gossip.newcomers.learn((NEW,), 1.0)

    said = gossip.receive(OLD.endpoint, Here(OLD), 1.1)

    assert said == [Send(NEW.endpoint, Doubled(NEW.boot, OLD))]


@pytest.mark.parametrize(
    "news",
    [
        OTHER,
        replace(OLD, epoch=3, host="10.0.0.9"),
        NEW.handed_over("n2"),
        replace(NEW, host=OLD.host),
    ],
    ids=["a stranger", "an older start", "one that is gone", "a restart"],
)
def test_what_is_no_move_is_taken_from_a_list_as_it_is(news):
    gossip = node(OLD)

    gossip.newcomers.learn((news,), 1.0)

    assert gossip.newcomers.deadline() is None
    assert gossip.membership.view.news_in((news,)) == []


def test_one_that_was_gone_may_be_anywhere_when_it_is_back():
    gossip = node(OLD.became(GONE))

    gossip.newcomers.learn((NEW,), 1.0)

    assert gossip.newcomers.deadline() is None
    assert place_of(gossip) == NEW.endpoint


def test_with_a_tracker_lists_are_taken_as_they_are():
    gossip = node(OLD)
    gossip.tick(9.0)
    gossip.submit(Opened(1, TRACKER), 9.0)
    gossip.receive(1, Registered(b"tracker1", 0, 0, 0), 9.0)

    gossip.newcomers.learn((NEW,), 9.1)

    assert place_of(gossip) == NEW.endpoint


# -- the copy -------------------------------------------------------------------------------------


def copy():
    """Return a node that was told that another start of its store runs, and what it did then."""
    gossip = node(OLD, OTHER, own=NEW)
    return gossip, gossip.receive(OTHER.endpoint, Doubled(NEW.boot, OLD), 0.1)


def test_a_copy_says_what_it_is_and_whom_it_collides_with():
    gossip, said = copy()

    [emit] = [effect for effect in said if isinstance(effect, Emit)]
    assert emit.event == "introduction-refused"
    assert "10.0.0.9:7401 is a copy of" in emit.details["text"]
    assert "10.0.0.2:7401" in emit.details["text"]
    assert gossip.receive(OTHER.endpoint, Doubled(NEW.boot, OLD), 0.2) == []


def test_a_copy_counts_nothing_and_answers_nothing():
    gossip, _ = copy()

    [refused] = gossip.receive(CLIENT, Increment(b"a" * 16, 1, ("k", 5), ACK_DEFAULT), 5.0)
    ask = Ask(b"q" * 16, "k", OTHER.endpoint, 2, 2, 1, 9, 500, 0, 0, 2**64 - 1)

    assert refused.message.code == "displaced"
    assert gossip.receive(OTHER.endpoint, ask, 5.0) == []
    assert gossip.membership.known_until(5.0, 3.0) == float("-inf")


def test_a_copy_says_to_its_own_client_why_it_tells_nothing():
    gossip, _ = copy()

    said = gossip.receive(CLIENT, Query(1, "k", 0, 0, 0, 400, UNTIL_ALL, 0, 50, False), 1.0)
    said += gossip.tick(1.3)

    [refused] = [e.message for e in said if isinstance(e, Send) and e.to == CLIENT]
    assert refused.code == "no-view"
    assert "may be a copy of a node that counts elsewhere" in refused.text


def test_a_copy_asks_its_witness_again_and_goes_on_once_that_believes_it():
    gossip, _ = copy()

    assert gossip.embargo.deadline() == 0.1 + AGAIN_S
    assert gossip.embargo.look(AGAIN_S) == []
    again = gossip.embargo.look(0.1 + AGAIN_S)
    gossip.receive(("10.0.0.7", 7401), Introduced(NEW.store), 2.2)
    assert gossip.membership.introduction.is_doubled
    gossip.receive(OTHER.endpoint, Introduced(NEW.store), 2.2)

    assert again == [Send(OTHER.endpoint, Introduce(NEW, "default"))]
    assert not gossip.membership.introduction.is_doubled
    assert gossip.membership.displaced == ""
    assert not gossip.ledger.is_held


@pytest.mark.parametrize(
    "message",
    [
        Doubled(b"boot-old", OLD),
        Doubled(NEW.boot, OTHER),
        Doubled(NEW.boot, NEW),
    ],
    ids=["an earlier start", "another store", "this very start"],
)
def test_what_is_not_about_this_start_doubts_nobody(message):
    gossip = node(OLD, OTHER, own=NEW)

    gossip.receive(OTHER.endpoint, message, 0.1)

    assert not gossip.membership.introduction.is_doubled


def test_a_copy_leaves_a_tracker_that_is_back_to_the_other_one_first():
    gossip, _ = copy()
    [opened] = [e for e in gossip.tick(2.0) if isinstance(e, Open)]
    gossip.submit(Unreachable(opened.to, "refused"), 2.0)
    gossip.tick(4.0)

    early = gossip.submit(Opened(1, TRACKER), 4.0)
    gossip.tick(2.0 + WAIT_TRIES * NodeConfig(name="n").reconnect_max_s)
    late = gossip.submit(Opened(2, TRACKER), 9.0)

    assert early[0] == Close(1)
    assert isinstance(late[0].message, Register)


def test_the_word_of_a_tracker_stands_above_that_of_a_witness():
    gossip, _ = copy()
    gossip.tick(9.0)
    gossip.submit(Opened(1, TRACKER), 9.0)

    gossip.receive(1, Registered(b"tracker1", 0, 0, 0), 9.0)

    assert gossip.membership.displaced == ""
    gossip.receive(OTHER.endpoint, Doubled(NEW.boot, OLD), 9.1)
    assert not gossip.membership.introduction.is_doubled


SAME = replace(NEW, host="10.0.0.7", boot=b"boot-two")
"""Another start of that number."""


def announced():
    """Return a node that a tracker has announced, and lost since."""
    gossip = node(OTHER, own=NEW)
    gossip.tick(9.0)
    gossip.submit(Opened(1, TRACKER), 9.0)
    gossip.receive(1, Registered(b"tracker1", 0, 0, 0), 9.0)
    gossip.receive(1, Heartbeat(b"tracker1", 1, 0, news_to_wire([NEW, OTHER])), 9.0)
    gossip.receive(1, Announced(1), 9.0)
    gossip.submit(Closed(1, "reset"), 9.1)
    return gossip


@pytest.mark.parametrize("is_told_by_a_list", [True, False], ids=["a list", "a witness"])
def test_whom_a_tracker_has_announced_yields_to_no_other_start_of_its_number(is_told_by_a_list):
    gossip = announced()

    if is_told_by_a_list:
        said = gossip.newcomers.learn((SAME,), 9.2)
        assert said == [Send(SAME.endpoint, Doubled(SAME.boot, gossip.membership.member))]
    else:
        assert gossip.receive(OTHER.endpoint, Doubled(NEW.boot, SAME), 9.2) == []

    assert place_of(gossip) == NEW.endpoint
    assert gossip.membership.displaced == ""


def test_it_yields_to_a_later_start():
    gossip = announced()

    gossip.newcomers.learn((replace(SAME, epoch=6),), 9.2)

    assert gossip.membership.displaced != ""


def test_whom_no_tracker_has_announced_yields_to_a_witness_of_another_start_of_its_number():
    gossip = node(OTHER, own=NEW)

    gossip.receive(OTHER.endpoint, Doubled(NEW.boot, SAME), 0.2)

    assert gossip.membership.displaced != ""


def test_a_newcomer_tells_first_whoever_runs_where_its_store_last_was():
    gossip = Gossip(NodeConfig(name="n1"), LAN, NEW, (TRACKER,), Random(1))
    gossip.restore("members", members_to_record([OTHER, OLD]))
    gossip.resume(0)
    gossip.start(0.0)

    told = gossip.submit(Unreachable(TRACKER, "refused"), 0.0)

    told = [effect.to for effect in told if isinstance(effect, Send)]
    assert told == [OLD.endpoint, OTHER.endpoint]


def test_the_original_itself_tells_a_copy_what_it_is():
    gossip = node(OTHER, own=OLD)

    assert introduced(gossip) == [Send(NEW.endpoint, Doubled(NEW.boot, OLD))]
    assert introduced(gossip, OLD) == [Send(OLD.endpoint, Introduced(OLD.store))]
    assert place_of(gossip) == OLD.endpoint


def test_a_copy_accuses_nobody():
    gossip, _ = copy()

    assert gossip.newcomers.introduce(OLD.endpoint, Introduce(OLD, ""), 0.2) == []
    said = gossip.newcomers.learn((OTHER, replace(OLD, epoch=5)), 0.2)

    assert not [e for e in said if isinstance(e, Send)]


def test_a_node_that_may_be_a_copy_itself_accuses_nobody_of_being_one():
    gossip, _ = copy()

    assert gossip.receive(OTHER.endpoint, Sought(NEW.store), 1.0) == []
    assert len(gossip.receive(OTHER.endpoint, Sought(OTHER.store), 1.0)) == 1


def test_a_node_says_who_runs_at_its_address():
    gossip = node(OLD)

    assert gossip.receive(OTHER.endpoint, Sought(OLD.store), 1.0) == [
        Send(OTHER.endpoint, Here(OWN, says=HOLDS))
    ]


def test_nothing_follows_from_anything_else_that_comes_back():
    gossip = node(OLD)

    assert gossip.submit(Undelivered(OLD.endpoint, Introduce(OWN, "default")), 1.0) == []
