"""A node that learns that another one counts in its place: what it says of increments then."""

from dataclasses import replace
from random import Random

import pytest

from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.messages import (
    ACK_DEFAULT,
    ACK_MEMORY,
    UNDERWAY,
    Ask,
    Counted,
    Disown,
    Doubled,
    Epochs,
    Get,
    Increment,
    Park,
    Reply,
    Value,
    packed_marks,
)
from tracker.introduction import TRIES_MAX
from tracker.machine import Closed, Opened, Persist, Persisted, PersistFailed, Send, Unreachable
from tracker.members import Member
from tracker.messages import (
    Announced,
    Heartbeat,
    Introduce,
    Introduced,
    Refused,
    Registered,
    news_to_wire,
)
from tracker.pages import members_to_record

TRACKER, CLIENT, OTHER = ("127.0.0.1", 7400), 50, 51
OWN = Member("n0", b"s" * 16, 0, 1, 0, "127.0.0.1", 7401)
PEER = Member("n1", b"t" * 16, 0, 1, 0, "127.0.0.1", 7402)


def taken_in(gossip, link, now):
    gossip.submit(Opened(link, TRACKER), now)
    gossip.receive(link, Registered(b"tracker1", 0, 0, 0), now)
    heartbeat = Heartbeat(b"tracker1", 1, 0, news_to_wire([OWN]))
    said = gossip.receive(link, heartbeat, now)
    return said + gossip.receive(link, Announced(1), now)


def unannounced():
    """Return a node with a disk that has started, and that no tracker has let in."""
    gossip = Gossip(NodeConfig(name="n0"), LAN, OWN, (TRACKER,), Random(1))
    gossip.resume(0)
    gossip.start(0.0)
    return gossip


def running():
    """Return a node with a disk that counts."""
    gossip = unannounced()
    taken_in(gossip, 1, 0.0)
    return gossip


def displaced(gossip, link=2, now=9.0):
    """Let its tracker say that its store is in use elsewhere; returns what follows."""
    gossip.submit(Closed(link - 1, "reset"), now - 8)
    gossip.tick(now)
    gossip.submit(Opened(link, TRACKER), now)
    return gossip.receive(link, Refused(0, "in-use", "lives at 10.0.0.9:7401"), now)


def count(gossip, sequence, ack=ACK_DEFAULT, link=CLIENT):
    return gossip.receive(link, Increment(b"a" * 16, sequence, ("k", 5), ack), 9.0)


def parked(request):
    return Park(request, b"a" * 16, 1, ("k", 5), ACK_DEFAULT, b"h" * 16, "n9")


def disown(gossip):
    return Disown(3, gossip.ledger.counters.store, b"b" * 16, ((b"a" * 16, 1, 4),))


def verdicts(effects):
    [disowned] = said(effects)
    return disowned.verdicts


def said(effects):
    return [e.message for e in effects if isinstance(e, Send) and e.to in (CLIENT, OTHER)]


def code_of(effects):
    [refused] = said(effects)
    assert isinstance(refused, Refused)
    return refused.code


def test_a_displaced_node_refuses_what_would_be_in_no_total():
    gossip = running()
    displaced(gossip)

    for ack in (ACK_DEFAULT, ACK_MEMORY):
        effects = count(gossip, 1, ack)

        assert code_of(effects) == "displaced"
        assert not any(isinstance(effect, Persist) for effect in effects)


def test_a_displaced_node_holds_nothing_for_others():
    gossip = running()
    displaced(gossip)

    assert code_of(gossip.receive(CLIENT, parked(7), 9.0)) == "displaced"


def test_a_node_that_may_be_a_copy_holds_nothing_for_others_until_it_is_announced():
    gossip = unannounced()

    for request in (7, 8):
        effects = gossip.receive(CLIENT, parked(request), 0.0)

        assert code_of(effects) == "not-announced"
        assert len(effects) == 1
    assert len(gossip.failover.parking) == 0


def test_what_a_displaced_node_was_about_to_hold_is_not_promised_nor_what_it_holds():
    gossip = running()
    [persist] = gossip.receive(CLIENT, parked(7), 0.0)
    displaced(gossip)

    assert code_of(gossip.submit(Persisted(persist.token), 9.1)) == "in-doubt"
    assert code_of(gossip.receive(CLIENT, parked(8), 9.2)) == "displaced"


def test_a_node_that_may_be_a_copy_gives_nothing_away_until_it_is_announced():
    gossip = unannounced()

    assert verdicts(gossip.receive(CLIENT, disown(gossip), 0.0)) == (UNDERWAY,)


def test_what_a_node_was_about_to_give_away_when_it_was_displaced_it_does_not():
    gossip = running()
    [persist] = gossip.receive(CLIENT, disown(gossip), 0.0)
    displaced(gossip)

    assert verdicts(gossip.submit(Persisted(persist.token), 9.1)) == (UNDERWAY,)


def test_what_was_on_its_way_to_the_disk_of_a_displaced_node_is_not_acknowledged():
    gossip = running()
    [persist] = count(gossip, 1)
    displaced(gossip)

    assert code_of(gossip.submit(Persisted(persist.token), 9.1)) == "in-doubt"


def test_what_a_displaced_node_knows_is_not_acknowledged_again():
    gossip = running()
    [persist] = count(gossip, 1)
    gossip.submit(Persisted(persist.token), 0.1)
    displaced(gossip)

    assert code_of(count(gossip, 1)) == "in-doubt"


def test_what_the_disk_of_a_displaced_node_refuses_is_refused_for_that():
    gossip = running()
    [persist] = count(gossip, 1)
    displaced(gossip)

    failed = PersistFailed(persist.token, "the disk is full", definite=True)

    assert code_of(gossip.submit(failed, 9.1)) == "disk"


def test_replies_that_were_held_back_are_in_doubt_once_the_node_is_displaced():
    gossip = Gossip(NodeConfig(name="n0"), LAN, replace(OWN, epoch=2), (TRACKER,), Random(1))
    gossip.ledger.counters.own.add("k", 1)
    gossip.resume(0)
    gossip.start(0.0)
    assert said(count(gossip, 1, ACK_MEMORY)) == []
    gossip.submit(Opened(1, TRACKER), 0.0)

    refused = gossip.receive(1, Refused(0, "in-use", "lives at 10.0.0.9:7401"), 0.0)

    assert code_of(refused) == "in-doubt"


@pytest.mark.parametrize("epoch", [1, 2], ids=["first", "next"])
def test_a_store_that_has_counted_nothing_yet_counts_nothing_before_it_may_say_so(epoch):
    member = replace(OWN, epoch=epoch)
    gossip = Gossip(NodeConfig(name="n0"), LAN, member, (TRACKER,), Random(1))
    gossip.resume(0)
    gossip.start(0.0)
    assert count(gossip, 1, ACK_MEMORY) == []
    assert gossip.ledger.counters.value("views") == 0
    gossip.submit(Opened(1, TRACKER), 0.0)

    refused = gossip.receive(1, Refused(0, "in-use", "lives at 10.0.0.9:7401"), 0.0)

    assert code_of(refused) == "displaced"
    assert gossip.ledger.counters.value("views") == 0


def told_of_a_reset(gossip, key="k"):
    page = Epochs(bytes(16), ((key, 1, packed_marks(((1, b"m" * 8),))),), True, "", "")
    effects = gossip.receive(("127.0.0.1", 7402), page, 0.0)
    [kept] = [effect for effect in effects if isinstance(effect, Persist)]
    gossip.submit(Persisted(kept.token), 0.0)
    return kept


@pytest.mark.parametrize(
    "is_backup", [True, False], ids=["an old backup", "after an earlier reset"]
)
def test_a_store_that_may_have_missed_resets_counts_nothing_before_it_was_told_of_them(is_backup):
    """It counted in an epoch that was over: acknowledged, and in no complete answer."""
    gossip = Gossip(NodeConfig(name="n0"), LAN, replace(OWN, epoch=3), (TRACKER,), Random(1))
    if is_backup:
        gossip.membership.parent = b"p" * 16
    else:
        gossip.restore("counts", told_of_a_reset(running(), "another").record)
    gossip.resume(0)
    gossip.start(0.0)
    assert count(gossip, 1, ACK_MEMORY) == []

    told_of_a_reset(gossip)
    taken_in(gossip, 1, 0.0)

    assert said(gossip.receive(CLIENT, Get(2, "k"), 9.0)) == [Value(2, 5, True)]


def test_a_node_that_is_taken_in_again_counts_again():
    gossip = running()
    displaced(gossip)
    gossip.tick(20.0)
    taken_in(gossip, 3, 20.0)

    [persist] = count(gossip, 1)
    assert said(gossip.submit(Persisted(persist.token), 20.1)) == [Counted(1, True, False)]


def restarted(epoch):
    """Return a node in such a life that reaches no tracker, and knows one other member."""
    own = replace(OWN, epoch=epoch, boot=b"boot-now")
    gossip = Gossip(NodeConfig(name="n0"), LAN, own, (TRACKER,), Random(1))
    gossip.restore("members", members_to_record([own, PEER]))
    gossip.resume(0)
    gossip.start(0.0)
    gossip.submit(Unreachable(TRACKER, "refused"), 0.0)
    return gossip


def answered(gossip, now):
    ask = Ask(b"q" * 16, "k", PEER.endpoint, 2, 2, 1, 9, 500, 0, 0, 2**64 - 1)
    return [e for e in gossip.receive(PEER.endpoint, ask, now) if isinstance(e.message, Reply)]


@pytest.mark.parametrize("epoch", [1, 2], ids=["its first life", "a later one"])
def test_a_start_that_nobody_knows_of_answers_nobody_as_another_one_may_be_known(epoch):
    gossip = restarted(epoch)

    assert bool(answered(gossip, 0.1)) is (epoch == 1)
    gossip.receive(PEER.endpoint, Introduced(OWN.store), 0.2)

    assert len(answered(gossip, 0.2)) == 1


def test_where_nobody_can_be_told_of_it_it_answers_at_last():
    gossip = restarted(2)
    for _ in range(TRIES_MAX):
        assert answered(gossip, 0.1) == []
        gossip.tick(gossip.deadline())

    gossip.tick(1.5)

    assert len(answered(gossip, 1.5)) == 1


def test_it_answers_nobody_once_another_start_is_known():
    gossip = restarted(2)
    other = replace(OWN, epoch=2, boot=b"boot-two")

    gossip.receive(PEER.endpoint, Doubled(b"boot-now", other), 0.1)
    gossip.tick(1.5)

    assert answered(gossip, 1.5) == []


def test_a_displaced_node_that_was_making_itself_known_waits_for_a_word_and_for_no_time():
    gossip = Gossip(NodeConfig(name="n0"), LAN, OWN, (TRACKER,), Random(1))
    other = Member("n1", b"t" * 16, 0, 1, 0, "127.0.0.1", 7402)
    gossip.restore("members", members_to_record([OWN, other]))
    gossip.resume(0)
    gossip.start(0.0)
    told = gossip.submit(Unreachable(TRACKER, "refused"), 0.0)
    assert Send(other.endpoint, Introduce(OWN, "default")) in told
    gossip.tick(0.15)
    gossip.submit(Opened(2, TRACKER), 0.15)
    gossip.receive(2, Refused(0, "in-use", "lives at 10.0.0.9:7401"), 0.15)

    gossip.tick(9.0)

    assert code_of(count(gossip, 1)) == "displaced"
    assert (due := gossip.deadline()) is None or due > 9.0
