"""What a node says of operations it gave away, once it holds another store's counts as well."""

import pytest

from counter.config import NodeConfig
from counter.crdt import Counters
from counter.fences import Fences
from counter.ledger import Ledger
from counter.messages import (
    ACK_DISK,
    COUNTED_THERE,
    ELSEWHERE,
    GRANTED,
    TOO_OLD,
    UNDERWAY,
    Disown,
    Increment,
)
from counter.records import dump_sessions
from tracker.machine import Persist, Persisted, Send

OWN, LEAVER, THIRD = b"o" * 16, b"l" * 16, b"t" * 16
SESSION, OTHER = b"s" * 16, b"x" * 16
LINK = 3


class Node:
    """A store with a disk, whose log is kept."""

    def __init__(self, store=OWN, **limits):
        config = NodeConfig(name="n1", **limits)
        self.ledger = Ledger(config, Counters(store, 0), durable=True)
        self.fences = Fences(self.ledger)
        self.log = []

    def took(self, effects):
        self.log += [effect.record for effect in effects if isinstance(effect, Persist)]
        return [effect.message for effect in effects if isinstance(effect, Send)]

    def synced(self):
        event = Persisted(self.ledger.token)
        return self.took(self.ledger.persisted(event) + self.fences.persisted(event))

    def asked(self, by=THIRD, ticket=7):
        """Say what is asked of the operation, before the disk has said anything."""
        rows = ((SESSION, 1, ticket),)
        store = self.ledger.counters.store
        return self.took(self.fences.disown(LINK, Disown(1, store, by, rows)))

    def verdict(self, **asking):
        [said] = self.asked(**asking) or self.synced()
        return said.verdicts[0]

    def count(self, session=SESSION):
        message = Increment(session, 1, ("k", 1), ACK_DISK)
        return self.took(self.ledger.increment(LINK, message)) + self.synced()

    def take_over(self, leaver):
        self.ledger.absorb(list(dump_sessions(leaver.ledger.sessions)))


def untouched(leaver):
    """The leaver was never asked."""


def has_counted(leaver):
    leaver.count()


def has_dropped(leaver):
    leaver.count()
    leaver.count(OTHER)


def gave_away(leaver):
    assert leaver.verdict() == GRANTED


@pytest.mark.parametrize(
    ("leaver_did", "verdict"),
    [
        (untouched, ELSEWHERE),
        (gave_away, ELSEWHERE),
        (has_counted, COUNTED_THERE),
        (has_dropped, TOO_OLD),
    ],
)
@pytest.mark.parametrize("is_kept", [True, False], ids=["", "and its own session was dropped"])
def test_an_heir_that_gave_an_operation_away_says_what_its_leaver_did(leaver_did, verdict, is_kept):
    heir, leaver = Node(sessions_max=9 if is_kept else 1), Node(LEAVER, sessions_max=1)
    assert heir.verdict(by=LEAVER) == GRANTED
    if not is_kept:
        heir.count(OTHER)
    leaver_did(leaver)

    heir.take_over(leaver)

    assert heir.verdict() == verdict
    if verdict != ELSEWHERE:
        assert heir.verdict(by=LEAVER) == verdict


def test_an_heir_that_counted_what_its_leaver_gave_away_says_that_it_counted():
    heir, leaver = Node(), Node(LEAVER)
    assert leaver.verdict(by=OWN) == GRANTED
    heir.count()

    heir.take_over(leaver)

    assert heir.verdict() == COUNTED_THERE
    [again] = heir.count()
    assert again.repeated


def test_what_is_about_to_be_given_away_is_not_if_the_leaver_has_counted_it():
    heir, leaver = Node(), Node(LEAVER)
    assert heir.asked() == []
    leaver.count()

    heir.take_over(leaver)

    [said] = heir.synced()
    assert said.verdicts == (UNDERWAY,)
    assert heir.verdict() == COUNTED_THERE


def test_records_written_while_counts_are_taken_over_say_the_same_after_a_restart():
    """The log holds them behind the word that the counts are taken over."""
    leaver, counted, fenced = Node(LEAVER), Node(), Node()
    assert leaver.verdict(by=OWN) == GRANTED
    counted.count()
    assert fenced.verdict() == GRANTED
    after = Node()
    after.take_over(leaver)
    for record in counted.log:
        after.ledger.restore("counts", record)

    assert (after.ledger.counters.value("k"), after.verdict()) == (1, COUNTED_THERE)
    after.fences.restore([(SESSION, 1, THIRD, 7)], is_state=False)
    assert after.verdict() == COUNTED_THERE
