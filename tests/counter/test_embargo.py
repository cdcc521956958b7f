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
    Lesson,
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


@pytest.mark.parametrize("epoch", [1, 2], ids=["its first life", "a later one"])
@pytest.mark.parametrize("has_counted", [False, True], ids=["blank", "has counted"])
@pytest.mark.parametrize("ack", [ACK_MEMORY, ACK_DEFAULT], ids=["memory", "disk"])
def test_a_store_counts_and_writes_nothing_before_it_may_say_so(epoch, has_counted, ack):
    gossip = Gossip(NodeConfig(name="n0"), LAN, replace(OWN, epoch=epoch), (TRACKER,), Random(1))
    if has_counted:
        gossip.ledger.counters.own.add("k", 1)
    gossip.resume(0)
    gossip.start(0.0)
    assert count(gossip, 1, ack) == []
    gossip.submit(Opened(1, TRACKER), 0.0)

    refused = gossip.receive(1, Refused(0, "in-use", "lives at 10.0.0.9:7401"), 0.0)

    assert code_of(refused) == "displaced"
    assert gossip.ledger.counters.value("k") == has_counted
    assert gossip.records == 0


def test_what_waited_counts_in_order_once_it_may_say_so():
    gossip = unannounced()
    for sequence in (1, 2, 3):
        assert count(gossip, sequence) == []

    kept = [e for e in taken_in(gossip, 1, 0.0) if isinstance(e, Persist)]

    assert said(gossip.submit(Persisted(kept[-1].token), 0.1)) == [
        Counted(sequence, True, False) for sequence in (1, 2, 3)
    ]


def test_no_more_waits_than_may_be_under_way():
    gossip = unannounced()
    for sequence in range(gossip.config.inflight_max):
        assert count(gossip, 1 + sequence) == []

    assert code_of(count(gossip, 2 + gossip.config.inflight_max)) == "busy"


def told_of_a_reset(gossip, key="k"):
    page = Epochs(bytes(16), ((key, 1, packed_marks(((1, b"m" * 8),))),), True, "", "")
    effects = gossip.receive(("127.0.0.1", 7402), page, 0.0)
    [kept] = [effect for effect in effects if isinstance(effect, Persist)]
    gossip.submit(Persisted(kept.token), 0.0)
    return kept


@pytest.mark.parametrize("kind", ["a restart", "an old backup", "after an earlier reset"])
def test_a_store_that_may_have_missed_resets_counts_nothing_before_it_was_told_of_them(kind):
    """It counted in an epoch that was over: acknowledged, and in no complete answer."""
    gossip = Gossip(NodeConfig(name="n0"), LAN, replace(OWN, epoch=3), (TRACKER,), Random(1))
    if kind == "an old backup":
        gossip.membership.parent = b"p" * 16
    elif kind == "after an earlier reset":
        gossip.restore("counts", told_of_a_reset(running(), "another").record)
    else:
        gossip.restore("counts", count(running(), 9)[0].record)
    gossip.resume(0)
    gossip.start(0.0)
    assert count(gossip, 1, ACK_MEMORY) == []

    told_of_a_reset(gossip)
    taken_in(gossip, 1, 0.0)

    assert said(gossip.receive(CLIENT, Get(2, "k"), 9.0)) == [Value(2, 5, True)]


# -- keys that are carried --------------------------------------------------------------------


def taught(gossip, key="k"):
    """Let one who had never heard of this store tell it of a reset; returns the record."""
    row = key, 1, packed_marks(((1, b"m" * 8),))
    lesson = Lesson(bytes(16), (row,), True, "", "", True)
    [kept] = [e for e in gossip.receive(PEER.endpoint, lesson, 0.0) if isinstance(e, Persist)]
    return kept


def records_in(effects):
    return [effect for effect in effects if isinstance(effect, Persist)]


def test_what_is_sent_for_a_key_on_its_way_to_its_present_epoch_waits_and_is_not_refused():
    gossip = unannounced()
    assert count(gossip, 1) == []
    carried = taught(gossip)
    # It has learned of the reset, and is announced before the disk has that.
    assert records_in(taken_in(gossip, 1, 0.0)) == []
    assert count(gossip, 2) == []

    kept = records_in(gossip.submit(Persisted(carried.token), 0.1))

    told = said(gossip.submit(Persisted(kept[-1].token), 0.2))
    assert told == [Counted(1, True, False), Counted(2, True, False)]
    assert gossip.ledger.counters.own.positive == {"k\x001": 10}


def test_so_it_does_at_a_node_that_counts_already_and_nothing_overtakes_it():
    gossip = running()
    [first] = count(gossip, 1)
    carried = taught(gossip)
    assert count(gossip, 2) == []
    other = Increment(b"b" * 16, 1, ("another", 5), ACK_MEMORY)
    assert gossip.receive(CLIENT, other, 9.0) == []

    effects = gossip.submit(Persisted(carried.token), 9.1)
    assert said(effects) == [Counted(1, True, False)]
    [second, third] = records_in(effects)

    told = said(gossip.submit(Persisted(third.token), 9.2))
    assert told == [Counted(2, True, False), Counted(1, False, False)]
    assert gossip.ledger.counters.own.positive == {"k\x001": 10, "another": 5}
    assert first.token < carried.token < second.token


def test_what_waits_is_refused_where_the_disk_takes_nothing_and_taken_once_it_does():
    gossip = running()
    carried = taught(gossip)
    assert count(gossip, 1) == []
    full = "the disk is full"

    failed = gossip.submit(PersistFailed(carried.token, full, definite=True), 9.1)
    assert said(failed) == [Refused(1, "disk", full)]

    [again] = records_in(count(gossip, 1))
    [kept] = records_in(gossip.submit(Persisted(again.token), 9.2))
    assert said(gossip.submit(Persisted(kept.token), 9.3)) == [Counted(1, True, False)]


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
