"""Increments at one node: counted exactly once, when it is safe, and acknowledged as promised."""

from dataclasses import replace
from random import Random

import pytest

from counter.config import NodeConfig
from counter.crdt import Counters
from counter.ledger import FOLLOWERS_MAX, Ledger
from counter.messages import (
    ACK_DEFAULT,
    ACK_DISK,
    ACK_MEMORY,
    Counted,
    EndSession,
    Get,
    Increment,
    SessionEnded,
    Value,
)
from counter.records import ROWS_PER_RECORD, record_of
from counter.sessions import WINDOW_MAX
from tracker.machine import Persist, Persisted, PersistFailed, Send
from tracker.messages import Refused
from tracker.wire import AMOUNT_MAX, SHARE_MAX

STORE, ANN, BEN = b"s" * 16, b"a" * 16, b"b" * 16
LINK, OTHER_LINK = 5, 6
CONFIG = NodeConfig(name="n1")


def make_ledger(*, durable=True, **limits):
    config = replace(CONFIG, **limits)
    ledger = Ledger(config, Counters(STORE, 0), durable=durable)
    ledger.resume(0, 1)
    return ledger


def make_increment(sequence=1, pairs=("k", 5), ack=ACK_DEFAULT, session=ANN):
    return Increment(session, sequence, pairs, ack)


def count(ledger, *amounts, key="k", first=1):
    """Count amounts, each seen safe on disk, as operations of Ann from `first` upward."""
    for sequence, amount in enumerate(amounts, first):
        ledger.increment(LINK, make_increment(sequence, (key, amount)))
        ledger.persisted(Persisted(ledger.token))


def refusal(effects):
    (effect,) = effects
    assert isinstance(effect.message, Refused), effect
    return effect.message.code


def recovered(ledger, records=()):
    """Return a ledger that was started with what `ledger` dumped, and the log after that."""
    copy = Ledger(ledger.config, Counters(STORE, 0), durable=True)
    for record in ledger.dump():
        copy.restore("state", record)
    for record in records:
        copy.restore("counts", record)
    copy.resume(ledger.token, 2)
    return copy


# -- counting -------------------------------------------------------------------------------


def test_a_memory_store_counts_and_acknowledges_in_one_step():
    ledger = make_ledger(durable=False)

    effects = ledger.increment(LINK, make_increment())

    assert effects == [Send(LINK, Counted(1, False, False))]
    assert ledger.counters.value("k") == 5


def test_a_durable_store_counts_nothing_before_it_is_on_disk():
    ledger = make_ledger()
    message = make_increment()

    assert ledger.increment(LINK, message) == [Persist(1, "counts", record_of(message))]
    assert ledger.counters.value("k") == 0

    assert ledger.persisted(Persisted(1)) == [Send(LINK, Counted(1, True, False))]
    assert ledger.counters.value("k") == 5


def test_an_acknowledgement_from_memory_comes_at_once_but_after_its_record():
    ledger = make_ledger()
    message = make_increment(ack=ACK_MEMORY)

    effects = ledger.increment(LINK, message)

    assert effects == [
        Persist(1, "counts", record_of(message)),
        Send(LINK, Counted(1, False, False)),
    ]
    assert ledger.counters.value("k") == 5
    assert ledger.persisted(Persisted(1)) == []
    assert ledger.counters.value("k") == 5


def test_all_keys_of_a_message_are_counted():
    ledger = make_ledger()

    ledger.increment(LINK, make_increment(pairs=("a", 1, "b", -2, "a", 3)))
    ledger.persisted(Persisted(1))

    assert (ledger.counters.value("a"), ledger.counters.value("b")) == (4, -2)


def test_acknowledgements_come_in_the_order_of_the_increments():
    ledger = make_ledger()
    for sequence in (1, 2, 3):
        ledger.increment(LINK, make_increment(sequence))

    sent = ledger.persisted(Persisted(2)) + ledger.persisted(Persisted(3))

    assert [s.message.sequence for s in sent] == [1, 2, 3]


@pytest.mark.parametrize(
    "early",
    [make_increment(3, ("k", AMOUNT_MAX)), make_increment(1), make_increment(3, ack=ACK_MEMORY)],
    ids=["refused", "known", "counted in memory"],
)
@pytest.mark.parametrize("word", [Persisted(2), PersistFailed(2, "full", True)])
def test_a_reply_that_could_come_at_once_waits_for_those_before_it_on_its_link(early, word):
    ledger = make_ledger()
    count(ledger, 5)
    ledger.counters.own.positive["k"] = SHARE_MAX - 100
    ledger.increment(LINK, make_increment(2))

    now = [e for e in ledger.increment(LINK, early) if isinstance(e, Send)]
    elsewhere = ledger.increment(OTHER_LINK, make_increment(1))
    tell = ledger.persisted if isinstance(word, Persisted) else ledger.persist_failed
    then = tell(replace(word, token=2))

    assert now == []
    assert [e.to for e in elsewhere] == [OTHER_LINK]
    numbers = [getattr(e.message, "sequence", None) or e.message.request for e in then]
    assert numbers == [2, early.sequence]
    assert [type(e) for e in ledger.increment(LINK, make_increment(1))] == [Send]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            Persisted(1),
            [Counted(5, True, False), Counted(2_000, True, False), Counted(5, True, True)],
        ),
        (
            PersistFailed(1, "full", False),
            [Refused(sequence, "in-doubt", "full") for sequence in (5, 2_000, 5)],
        ),
    ],
    ids=["counted", "in doubt"],
)
def test_a_retry_of_what_is_on_its_way_is_answered_behind_what_came_before_it(word, said):
    ledger = make_ledger()
    for sequence in (5, 2_000, 5):
        ledger.increment(LINK, make_increment(sequence))
    tell = ledger.persisted if isinstance(word, Persisted) else ledger.persist_failed

    replies = [e.message for token in (1, 2) for e in tell(replace(word, token=token))]

    assert replies == said


def test_what_is_known_at_once_waits_behind_a_retry_on_its_link():
    ledger = make_ledger()
    count(ledger, 5)
    ledger.increment(LINK, make_increment(2))

    for sequence in (2, 1):
        assert ledger.increment(OTHER_LINK, make_increment(sequence)) == []
    sent = ledger.persisted(Persisted(2))

    assert [(s.to, s.message.sequence) for s in sent] == [
        (LINK, 2), (OTHER_LINK, 2), (OTHER_LINK, 1),
    ]  # fmt: skip
    assert ledger.increment(OTHER_LINK, make_increment(1)) != []


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_sent_on_a_link_is_answered_in_its_order(seed):
    dice, ledger = Random(seed), make_ledger()
    asked, told = {LINK: [], OTHER_LINK: []}, {LINK: [], OTHER_LINK: []}

    def tell(effects):
        for effect in effects:
            if isinstance(effect, Send):
                message = effect.message
                is_refused = isinstance(message, Refused)
                told[effect.to].append(message.request if is_refused else message.sequence)

    for _ in range(200):
        link, sequence = dice.choice([LINK, OTHER_LINK]), dice.choice([5, 2_000, *range(1, 99)])
        asked[link].append(sequence)
        ack = dice.choice([ACK_DEFAULT, ACK_DISK, ACK_DISK, ACK_MEMORY])
        tell(ledger.increment(link, make_increment(sequence, ack=ack)))
        safe = dice.randint(ledger.written, ledger.token)
        if dice.random() < 0.2 and safe > ledger.written:
            shortly = ledger.counted(safe)
            if shortly is None:
                tell(ledger.persisted(Persisted(safe)))
            for to, number in shortly or ():
                told[to].append(number)
    tell(ledger.persisted(Persisted(ledger.token)))

    assert told == asked
    assert (ledger._turns, ledger._behind, ledger._followers, ledger._behind_replies) == (
        {}, {}, {}, 0,
    )  # fmt: skip


def test_the_replies_that_wait_for_their_turn_are_bounded():
    ledger = make_ledger(inflight_max=1)
    ledger.increment(LINK, make_increment(1))

    assert ledger.increment(LINK, make_increment(2)) == []
    assert refusal(ledger.increment(LINK, make_increment(3))) == "busy"


def test_a_word_of_the_disk_about_nothing_that_waits_changes_nothing():
    ledger = make_ledger()

    assert ledger.persisted(Persisted(9)) == []
    assert ledger.persist_failed(PersistFailed(9, "full", True)) == []


# -- exactly once ---------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "memory"])
def test_the_same_increment_again_is_acknowledged_and_not_counted(durable):
    ledger = make_ledger(durable=durable)
    count(ledger, 5)

    effects = ledger.increment(OTHER_LINK, make_increment())

    assert effects == [Send(OTHER_LINK, Counted(1, durable, True))]
    assert ledger.counters.value("k") == 5


def test_other_content_under_a_known_id_is_refused():
    ledger = make_ledger()
    count(ledger, 5)

    assert refusal(ledger.increment(LINK, make_increment(pairs=("k", 6)))) == "other-content"
    assert ledger.counters.value("k") == 5


def test_an_id_far_behind_is_too_old_to_tell():
    ledger = make_ledger(durable=False)
    count(ledger, *[1] * (WINDOW_MAX + 1))

    assert refusal(ledger.increment(LINK, make_increment(1, ("k", 1)))) == "too-old"
    assert ledger.counters.value("k") == WINDOW_MAX + 1


def test_the_same_increment_while_its_record_is_under_way_waits_for_the_same_record():
    ledger = make_ledger()
    ledger.increment(LINK, make_increment())

    assert ledger.increment(OTHER_LINK, make_increment()) == []

    assert ledger.persisted(Persisted(1)) == [
        Send(LINK, Counted(1, True, False)),
        Send(OTHER_LINK, Counted(1, True, True)),
    ]
    assert ledger.counters.value("k") == 5


def test_so_many_retries_wait_for_the_disk_and_no_more():
    ledger = make_ledger()
    ledger.increment(LINK, make_increment())
    for number in range(FOLLOWERS_MAX):
        assert ledger.increment(LINK + number, make_increment()) == []

    assert refusal(ledger.increment(LINK + FOLLOWERS_MAX, make_increment())) == "busy"
    assert len(ledger.persisted(Persisted(ledger.token))) == 1 + FOLLOWERS_MAX


def test_what_waits_for_the_disk_is_not_acknowledged_from_memory():
    ledger = make_ledger()
    ledger.increment(LINK, make_increment(ack=ACK_DISK))

    assert ledger.increment(OTHER_LINK, make_increment(ack=ACK_MEMORY)) == []
    assert ledger.counters.value("k") == 0


def test_what_was_counted_in_memory_is_not_called_on_disk_before_it_is():
    ledger = make_ledger()
    ledger.increment(LINK, make_increment(ack=ACK_MEMORY))

    again = ledger.increment(LINK, make_increment(ack=ACK_MEMORY))
    assert again == [Send(LINK, Counted(1, False, True))]
    assert ledger.increment(OTHER_LINK, make_increment(ack=ACK_DISK)) == []

    assert ledger.persisted(Persisted(1)) == [Send(OTHER_LINK, Counted(1, True, True))]
    assert ledger.counters.value("k") == 5


# -- the disk refuses -----------------------------------------------------------------------


def test_what_the_disk_certainly_refused_is_not_counted_and_may_be_sent_again():
    ledger = make_ledger()
    ledger.increment(LINK, make_increment())
    ledger.increment(OTHER_LINK, make_increment())

    told = ledger.persist_failed(PersistFailed(1, "disk full", True))

    assert told == [
        Send(LINK, Refused(1, "disk", "disk full")),
        Send(OTHER_LINK, Refused(1, "disk", "disk full")),
    ]
    assert ledger.counters.value("k") == 0
    count(ledger, 5)
    assert ledger.counters.value("k") == 5


def test_what_may_be_on_disk_is_called_unknown_and_stays_so():
    ledger = make_ledger()
    ledger.increment(LINK, make_increment())

    told = ledger.persist_failed(PersistFailed(1, "fsync failed", False))

    assert told == [Send(LINK, Refused(1, "in-doubt", "fsync failed"))]
    assert refusal(ledger.increment(LINK, make_increment())) == "in-doubt"
    assert ledger.counters.value("k") == 0


def test_what_was_counted_in_memory_stays_counted_when_the_disk_refuses_it():
    ledger = make_ledger()
    ledger.increment(LINK, make_increment(ack=ACK_MEMORY))
    ledger.increment(OTHER_LINK, make_increment(ack=ACK_DISK))

    told = ledger.persist_failed(PersistFailed(1, "disk full", True))

    assert told == [Send(OTHER_LINK, Refused(1, "in-doubt", "disk full"))]
    assert ledger.counters.value("k") == 5
    again = ledger.increment(LINK, make_increment(ack=ACK_DISK))
    assert again == [Send(LINK, Counted(1, False, True))]


def test_a_failure_refuses_its_own_increment_and_no_later_one():
    ledger = make_ledger()
    ledger.increment(LINK, make_increment(1, ("a", 1)))
    ledger.increment(LINK, make_increment(2, ("b", 1)))

    ledger.persist_failed(PersistFailed(1, "disk full", True))
    ledger.persisted(Persisted(2))

    assert (ledger.counters.value("a"), ledger.counters.value("b")) == (0, 1)


# -- refusals -------------------------------------------------------------------------------


def test_a_memory_store_refuses_an_acknowledgement_from_disk():
    ledger = make_ledger(durable=False)

    assert refusal(ledger.increment(LINK, make_increment(ack=ACK_DISK))) == "no-disk"
    assert ledger.counters.value("k") == 0
    assert not ledger.holds_counts


def test_a_node_that_leaves_counts_no_more_but_knows_what_it_counted():
    ledger = make_ledger()
    count(ledger, 5)
    ledger.is_leaving = True

    assert refusal(ledger.increment(LINK, make_increment(2))) == "leaving"
    assert ledger.increment(LINK, make_increment(1)) == [Send(LINK, Counted(1, True, True))]


def test_past_too_many_increments_under_way_it_is_busy():
    ledger = make_ledger(inflight_max=2)
    for sequence in (1, 2):
        ledger.increment(LINK, make_increment(sequence))

    assert refusal(ledger.increment(OTHER_LINK, make_increment(3))) == "busy"

    ledger.persisted(Persisted(1))
    assert isinstance(ledger.increment(LINK, make_increment(3))[0], Persist)


def test_past_too_many_keys_a_new_one_is_refused_and_a_known_one_is_counted():
    ledger = make_ledger(durable=False, counters_max=2)
    ledger.increment(LINK, make_increment(1, ("a", 1, "b", 1)))

    assert refusal(ledger.increment(LINK, make_increment(2, ("c", 1)))) == "full"
    assert refusal(ledger.increment(LINK, make_increment(3, ("a", 1, "c", 1)))) == "full"
    assert ledger.counters.value("a") == 1

    ledger.increment(LINK, make_increment(4, ("a", 1, "b", 1)))
    assert ledger.counters.value("a") == 2


def test_a_key_named_twice_in_a_message_takes_one_place():
    ledger = make_ledger(durable=False, counters_max=1)

    assert refusal(ledger.increment(LINK, make_increment(1, ("a", 1, "b", 1)))) == "full"
    ledger.increment(LINK, make_increment(1, ("a", 1, "a", 1)))

    assert ledger.counters.value("a") == 2


def near_the_range(sign=1, room=10, **wishes):
    ledger = make_ledger(**wishes)
    ledger.counters.own.add("k", sign * (SHARE_MAX - room))
    return ledger


@pytest.mark.parametrize("sign", [1, -1], ids=["increments", "decrements"])
def test_a_share_never_leaves_its_range(sign):
    ledger = near_the_range(sign, durable=False)

    assert refusal(ledger.increment(LINK, make_increment(1, ("k", sign * 11)))) == "range"
    ledger.increment(LINK, make_increment(2, ("k", sign * 10)))

    assert ledger.counters.value("k") == sign * SHARE_MAX


@pytest.mark.parametrize("sign", [1, -1], ids=["increments", "decrements"])
def test_what_waits_for_the_disk_is_held_against_the_range(sign):
    ledger = near_the_range(sign)
    ledger.increment(LINK, make_increment(1, ("k", sign * 6)))

    assert refusal(ledger.increment(OTHER_LINK, make_increment(2, ("k", sign * 5)))) == "range"
    ledger.persist_failed(PersistFailed(1, "disk full", True))

    assert isinstance(ledger.increment(LINK, make_increment(2, ("k", sign * 10)))[0], Persist)


def test_a_key_named_twice_is_held_against_the_range_with_both():
    ledger = near_the_range(durable=False)

    assert refusal(ledger.increment(LINK, make_increment(1, ("k", 6, "k", 5)))) == "range"
    ledger.increment(LINK, make_increment(1, ("k", 6, "k", 4)))

    assert ledger.counters.value("k") == SHARE_MAX


def test_what_waits_for_other_keys_leaves_a_key_its_range():
    ledger = near_the_range()
    ledger.increment(LINK, make_increment(1, ("other", AMOUNT_MAX)))
    ledger.increment(LINK, make_increment(2, ("memory", AMOUNT_MAX), ACK_MEMORY))

    assert isinstance(ledger.increment(LINK, make_increment(3, ("k", 10)))[0], Persist)
    assert isinstance(ledger.increment(LINK, make_increment(4, ("k", -10)))[0], Persist)


def test_as_many_keys_as_a_message_holds_may_each_take_the_largest_amount():
    ledger = make_ledger(durable=False)
    pairs = tuple(x for i in range(512) for x in (f"k{i}", AMOUNT_MAX))

    ledger.increment(LINK, make_increment(1, (*pairs[2:], "k0", AMOUNT_MAX)))

    assert ledger.counters.value("k0") == AMOUNT_MAX


# -- after a restart ------------------------------------------------------------------------


def test_counts_and_operations_survive_a_restart_from_a_snapshot():
    ledger = make_ledger()
    count(ledger, 5, -7)

    after = recovered(ledger)

    assert after.counters.value("k") == -2
    assert after.counters.own.has_decreased("k")
    assert after.counters.own.epoch == 2
    again = after.increment(LINK, make_increment(1, ("k", 5)))
    assert again == [Send(LINK, Counted(1, True, True))]


def test_a_second_restart_finds_what_the_first_left():
    ledger = make_ledger()
    count(ledger, 5)
    second = recovered(ledger)
    count(second, 6, first=2)

    assert recovered(second).counters.value("k") == 11


def test_the_log_after_a_snapshot_is_counted_on_top_of_it():
    ledger = make_ledger()
    count(ledger, 5)

    later = make_increment(2, ("k", 6, "m", 1))
    after = recovered(ledger, [record_of(later)])

    assert (after.counters.value("k"), after.counters.value("m")) == (11, 1)
    assert after.increment(LINK, later) == [Send(LINK, Counted(2, True, True))]


def test_a_record_that_is_replayed_twice_is_counted_once():
    record = record_of(make_increment(1, ("k", 6)))

    after = recovered(make_ledger(), [record, record])

    assert after.counters.value("k") == 6


def test_a_snapshot_holds_what_waits_for_the_disk():
    ledger = make_ledger()
    count(ledger, 5)
    ledger.increment(LINK, make_increment(2, ("k", 6, "new", -1)))
    ledger.increment(LINK, make_increment(3, ("k", 100), ACK_MEMORY))

    after = recovered(ledger)

    assert ledger.counters.value("k") == 105
    assert after.counters.value("k") == 111
    assert after.counters.value("new") == -1


def test_shares_of_other_stores_survive_a_restart():
    ledger = make_ledger()
    ledger.counters.merge(b"o" * 16, 3, [("k", 9, 1)])

    assert recovered(ledger).counters.value("k") == 8
    assert ledger.holds_counts


def test_more_keys_than_fit_into_a_record_take_several():
    ledger = make_ledger(durable=False)
    for number in range(ROWS_PER_RECORD + 1):
        ledger.increment(LINK, make_increment(number + 1, (f"k{number}", number)))

    assert len(list(ledger.dump())) == 1 + 2 + 2
    assert dict(ledger.counters.own.positive) == recovered(ledger).counters.own.positive


def test_a_record_of_a_kind_that_is_not_known_is_passed_over():
    ledger = make_ledger()

    ledger.restore("state", b"\x92\xa5later\x01")

    assert not ledger.holds_counts


def test_a_node_holds_counts_as_soon_as_one_is_on_its_way():
    ledger = make_ledger()
    assert not ledger.holds_counts

    ledger.increment(LINK, make_increment())

    assert ledger.holds_counts


# -- sessions that end ------------------------------------------------------------------------


def test_a_session_that_ends_is_forgotten_here_and_after_a_restart():
    ledger = make_ledger()
    count(ledger, 5)

    persist, reply = ledger.end_session(LINK, EndSession(9, ANN))

    assert reply == Send(LINK, SessionEnded(9, True))
    assert ledger.sessions.operations == 0
    records = [record_of(make_increment()), persist.record]
    copy = recovered(make_ledger(), records)
    for either in (ledger, copy, recovered(copy)):
        assert refusal(either.increment(LINK, make_increment())) == "too-old"
        assert refusal(either.increment(LINK, make_increment(2))) == "too-old"
        assert either.counters.value("k") == 5


def test_a_session_of_which_nothing_is_known_ends_without_a_record():
    assert make_ledger().end_session(LINK, EndSession(9, ANN)) == [
        Send(LINK, SessionEnded(9, False))
    ]


def test_a_memory_store_ends_sessions_as_well():
    ledger = make_ledger(durable=False)
    ledger.increment(LINK, make_increment())

    assert ledger.end_session(LINK, EndSession(9, ANN)) == [Send(LINK, SessionEnded(9, True))]
    assert refusal(ledger.increment(LINK, make_increment())) == "too-old"


def test_what_its_client_no_longer_asks_about_is_counted_all_the_same_when_it_is_on_disk():
    ledger = make_ledger()
    ledger.increment(LINK, make_increment())
    ledger.end_session(LINK, EndSession(9, ANN))

    assert ledger.persisted(Persisted(2)) == [Send(LINK, Counted(1, True, False))]
    assert ledger.counters.value("k") == 5


def test_a_record_of_the_log_counts_even_where_its_session_was_dropped_meanwhile():
    ledger = make_ledger(sessions_max=1)
    records = [
        record_of(make_increment(session=session, sequence=sequence))
        for session, sequence in [(ANN, 1), (BEN, 1), (ANN, 2)]
    ]

    copy = recovered(ledger, records)

    assert copy.counters.value("k") == 15
    assert refusal(copy.increment(LINK, make_increment(1))) == "too-old"


def test_what_was_dropped_stays_too_old_after_a_snapshot():
    ledger = make_ledger(sessions_max=1)
    count(ledger, 5)
    ledger.increment(LINK, make_increment(session=BEN))
    ledger.persisted(Persisted(2))

    copy = recovered(ledger)

    assert refusal(copy.increment(LINK, make_increment())) == "too-old"


def test_what_a_ledger_takes_by_itself_reaches_it_by_its_handlers():
    ledger = make_ledger()
    count(ledger, 5)
    handlers = ledger.handlers()

    assert handlers[Get](LINK, Get(3, "k"), 0.0) == [Send(LINK, Value(3, 5, True))]
    assert handlers[EndSession](LINK, EndSession(4, BEN), 0.0) == [
        Send(LINK, SessionEnded(4, False))
    ]
