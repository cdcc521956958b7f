"""Of what was sent to a copy its original grants nothing, nor does whoever holds its counts."""

from dataclasses import replace
from random import Random

import pytest

from counter.adoption import Adoption
from counter.config import NodeConfig
from counter.crdt import Counters, Share
from counter.failover import Failover
from counter.folding import Folding
from counter.ledger import Ledger
from counter.messages import (
    ACK_DEFAULT,
    COUNTED_THERE,
    GRANTED,
    HOME_MAY_SAY,
    NO_HOME,
    Disown,
    Disowned,
    Increment,
    ListParked,
    Offer,
    Park,
    Seal,
    Sole,
)
from tracker.machine import Open, Opened, Persist, Persisted, Send
from tracker.members import Member, View
from tracker.wire import packed, unpacked

OWN, HOME, BESIDE = b"b" * 16, b"h" * 16, b"f" * 16
X, Y, B, N = b"xxxxxxxx", b"yyyyyyyy", b"bbbbbbbb", b"nnnnnnnn"
LINK = 3
AT = {"home": 7401, "home~6666666666666666": 7402, "n3": 7403}


def make_member(name="home", store=HOME, **changes):
    return replace(Member(name, store, 0, 1, 0, "127.0.0.1", AT[name]), **changes)


def make(store=OWN, boots=N, members=(), durable=False):
    ledger = Ledger(NodeConfig(name="b"), Counters(store, 1), durable=durable)
    ledger.boots = boots
    view = View({member.name: member for member in members})
    return Failover(ledger, view, Random(1)), ledger


def park(life=B, sequence=1):
    return Park(7, b"s" * 16, sequence, ("k", 2), ACK_DEFAULT, HOME, "home", life)


def disown(life, home=HOME, sequence=1, ticket=4):
    return Disown(1, home, OWN, ((b"s" * 16, sequence, ticket),), life)


def said(effects):
    return [effect.message for effect in effects if isinstance(effect, Send)]


@pytest.mark.parametrize(
    ("boots", "life", "verdicts"),
    [
        pytest.param(X, X, (GRANTED,), id="the life itself"),
        pytest.param(Y + X, X, (GRANTED,), id="started again since"),
        pytest.param(X, B, (), id="sent to a copy"),
        pytest.param(b"", B, (GRANTED,), id="a home that draws no boots"),
        pytest.param(X, b"", (GRANTED,), id="a client that was told none"),
    ],
)
def test_a_home_gives_away_only_what_was_sent_to_a_life_that_it_goes_on_from(boots, life, verdicts):
    home, _ = make(HOME, boots)

    assert said(home.fences.disown(LINK, disown(life))) == [Disowned(1, verdicts)]
    assert len(home.fences) == len(verdicts)


def test_a_copy_beside_its_store_is_the_home_of_what_was_sent_to_it_before():
    beside, ledger = make(BESIDE, N + B)
    ledger.increment(LINK, Increment(b"s" * 16, 1, ("k", 2), ACK_DEFAULT))

    assert said(beside.fences.disown(LINK, disown(B))) == [Disowned(1, (COUNTED_THERE,))]
    assert said(beside.fences.disown(LINK, disown(B, sequence=2))) == [Disowned(1, (GRANTED,))]
    assert said(beside.fences.disown(LINK, disown(X))) == [Disowned(1, ())]


# -- heirs ----------------------------------------------------------------------------------------


def heir_of(*lives, durable=False):
    """Return what a node folds that holds the shares of stores, and was told of these lives."""
    ledger = Ledger(NodeConfig(name="n2"), Counters(OWN, 1), durable=durable)
    folding = Folding(ledger, 1_024)
    written = []
    for store, boots in lives:
        ledger.counters.others[store] = Share(1)
        written += folding.note(b"g" * 16, [store], 0.0, lives={store: boots})
    return folding, [effect.record for effect in written if isinstance(effect, Persist)]


def test_an_heir_speaks_for_the_lives_of_its_leaver_and_for_no_copy_of_it():
    folding, _ = heir_of((HOME, Y + X))

    assert folding.tells_of(HOME, X)
    assert folding.tells_of(HOME, Y)
    assert folding.tells_of(HOME, b"")
    assert not folding.tells_of(HOME, B)


def test_an_heir_of_a_copy_that_went_on_beside_its_store_speaks_for_that_life():
    folding, _ = heir_of((HOME, X), (BESIDE, N + B))

    assert folding.tells_of(HOME, B)
    assert folding.lives_of(BESIDE) == N + B


def test_an_heir_that_was_told_no_lives_takes_a_store_by_its_id_as_ever():
    folding, _ = heir_of((HOME, b""))

    assert folding.tells_of(HOME, B)
    assert not folding.tells_of(BESIDE, B)


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_an_heir_knows_the_lives_of_its_leaver_again_after_a_restart(from_snapshot):
    folding, log = heir_of((HOME, Y + X), durable=True)
    again, _ = heir_of()
    again._ledger.counters.others[HOME] = Share(1)

    for record in folding.dump() if from_snapshot else log:
        _, what, *fields = unpacked(record)
        again.restore(what, fields)

    assert again.tells_of(HOME, X)
    assert not again.tells_of(HOME, B)


# -- who holds it ---------------------------------------------------------------------------------


def opened(failover, name, now):
    """Let a member be asked; returns the question."""
    to = ("127.0.0.1", AT[name])
    assert Open(to) in failover.parking.look(now)
    (question,) = said(failover.streamed(Opened(9, to), now))
    return question


def test_what_the_original_cannot_tell_of_is_asked_of_the_copy_that_goes_on_beside_it():
    beside = make_member("home~6666666666666666", BESIDE)
    failover, ledger = make(members=(make_member(), beside))
    failover.parking.park(LINK, park(), 0.0)
    question = opened(failover, "home", 1.0)
    assert (question.home, question.life) == (HOME, B)

    failover.parking.disowned(9, Disowned(question.request, ()), 1.0)
    due = failover.parking.deadline()
    question = opened(failover, beside.name, due)
    failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), due)

    assert (question.home, question.life) == (HOME, B)
    assert ledger.counters.value("k") == 2
    assert not failover.parking


def test_who_was_asked_in_vain_is_asked_again_only_when_nobody_else_is_left():
    failover, _ = make(members=(make_member(), make_member("n3", b"3" * 16)))
    failover.parking.park(LINK, park(), 0.0)
    now, order = 1.0, []
    for _ in range(3):
        (wish,) = [e for e in failover.parking.look(now) if isinstance(e, Open)]
        order.append(wish.to[1])
        (question,) = said(failover.streamed(Opened(9, wish.to), now))
        failover.parking.disowned(9, Disowned(question.request, ()), now)
        now = failover.parking.deadline()

    assert order == [AT["home"], AT["n3"], AT["home"]]
    assert failover.parking.hope_of(failover.parking.ticketed(1)) == NO_HOME


def test_what_was_sent_in_two_lives_is_asked_about_in_two_questions():
    failover, _ = make(members=(make_member(),))
    failover.parking.park(LINK, park(X, 1), 0.0)
    failover.parking.park(LINK, park(B, 2), 0.0)
    first = opened(failover, "home", 1.0)
    effects = failover.parking.disowned(9, Disowned(first.request, (GRANTED,)), 1.0)
    assert Open(("127.0.0.1", AT["home"])) in effects
    (second,) = said(failover.streamed(Opened(9, ("127.0.0.1", AT["home"])), 1.0))

    assert {first.life, second.life} == {X, B}
    assert [len(question.rows) for question in (first, second)] == [1, 1]


def test_the_life_is_kept_on_disk_and_records_of_older_nodes_are_read_without_one():
    failover, ledger = make(durable=True)
    (persist,) = failover.parking.park(LINK, park(), 0.0)
    failover.settled(Persisted(ledger.token))
    for record in (persist.record, failover.dump()[0]):
        again, _ = make(members=(make_member(),))
        again.restore("counts", record)
        assert opened(again, "home", 1.0).life == B

    older, _ = make(members=(make_member(),))
    older.restore("counts", packed((2, 1, HOME, b"s" * 16, 1, ("k", 2), "home")))

    assert opened(older, "home", 1.0).life == b""
    (page,) = said(older.leftovers.handlers()[ListParked](LINK, ListParked(1), 0.0))
    assert page.rows[0][7] == HOME_MAY_SAY


@pytest.mark.parametrize(
    ("store", "boots", "text"),
    [
        (HOME, Y + B, "send it again"),
        (BESIDE, N + B, "send it again"),
        (HOME, X, "a copy of this node"),
    ],
)
def test_neither_the_home_nor_what_has_its_store_holds_an_increment(store, boots, text):
    failover, _ = make(store, boots)

    (refused,) = said(failover.parking.park(LINK, park(), 0.0))

    assert refused.code == "home"
    assert text in refused.text


def test_the_last_word_of_a_leaver_tells_its_heir_the_lives():
    ledger = Ledger(NodeConfig(name="n2"), Counters(OWN, 1), durable=False)
    heir = Adoption(ledger, "n2")
    view = View({"home": make_member()})
    heir.offer(LINK, Offer("home", HOME, ((HOME, 1),), 0), view, 0.0)
    heir.seal(LINK, Seal(0, 0), 0.0)

    heir.sole(LINK, Sole((HOME,), (), 0, (Y + X,)), 0.0)

    assert heir.folding.tells_of(HOME, X)
    assert not heir.folding.tells_of(HOME, B)
