"""What a store that is alone has counted of a key, when it hears of a later epoch of that."""

import pytest

from counter import carrying as module
from counter.config import NodeConfig
from counter.crdt import CEILING_STEP, Counters
from counter.forks import Forks
from counter.ledger import Ledger
from counter.messages import (
    ACK_DEFAULT,
    ACK_MEMORY,
    CLOSE,
    RING,
    Ask,
    Counted,
    Increment,
    Subject,
    packed_marks,
    stored_name,
)
from counter.moves import Moves
from tracker.machine import Persist, Persisted, PersistFailed, Send
from tracker.messages import Refused
from tracker.wire import ARRAY_MAX, SHARE_MAX

HOME = ("127.0.0.1", 9)
OWN, OLD = b"s" * 16, b"o" * 16
NO_ROOM = "the disk is full"


class Node:
    """A store that is alone, with the log that its disk has taken."""

    def __init__(self, *, durable=True, is_alone=True):
        self.ledger = Ledger(NodeConfig(name="n1"), Counters(OWN, 1), durable=durable)
        self.ledger.is_alone = is_alone
        self.forks = Forks(self.ledger)
        self.moves = Moves(self.ledger, self.receive, lambda now: [])
        self.moves.carrying.beside = self.forks.carry
        self.take = self.moves.before(self.usual)
        self.increment = self.moves.counting(lambda link, m, now: self.ledger.increment(link, m))
        self.told, self.log, self.queue = [], [], []
        self.sequence = 0

    def receive(self, sender, ask, now):
        return self.take(sender, ask, now)

    def usual(self, sender, ask, now):
        self.told.append((ask.key, self.value(ask.key)))
        return []

    def value(self, name):
        return self.ledger.counters.value(stored_name(name))

    def _queued(self, effects):
        self.queue += [effect for effect in effects if isinstance(effect, Persist)]
        return [effect.message for effect in effects if isinstance(effect, Send)]

    def count(self, amount, key="k", ack=ACK_DEFAULT):
        self.sequence += 1
        increment = Increment(b"c" * 16, self.sequence, (key, amount), ack)
        return self._queued(self.increment(1, increment, 0.0))

    def hear(self, *rows):
        return self._queued(self.moves.learn(rows, 0.0))

    def ask(self, name):
        message = Ask(b"q" * 16, name, HOME, 3, 1, 1, 9, 5_000, 0, 0, RING)
        return self._queued(self.take("n2", message, 0.0))

    def close(self, epoch):
        return self.ask(Subject("k", epoch, CLOSE, b"m" * 8).text)

    def written(self, count=None):
        """Let the disk take what waits for it, or the first few of that."""
        batch, self.queue = self.queue[:count], self.queue[count:] if count else []
        self.log += batch
        event = Persisted(batch[-1].token)
        return self._queued([*self.ledger.persisted(event), *self.moves.persisted(event, 0.0)])

    def refused(self):
        """Let the disk refuse what waits for it."""
        batch, self.queue = self.queue, []
        said = []
        for record in batch:
            event = PersistFailed(record.token, NO_ROOM, definite=True)
            said += self._queued([*self.ledger.persist_failed(event), *self.moves.failed(event)])
        return said

    def held(self):
        own = self.ledger.counters.own
        return {name: (own.positive[name], own.negative.get(name, 0)) for name in own.positive}

    def snapshot(self):
        first = [*self.moves.dump(), *self.ledger.dump()]
        return [("state", r) for r in [*first, *self.forks.dump(), *self.moves.dump_moving()]]

    def records(self):
        return [("counts", persist.record) for persist in self.log]


def restarted(records):
    node = Node(is_alone=False)
    for kind, record in records:
        if not (node.forks.restore(record) or node.moves.restore(record)):
            node.ledger.restore(kind, record)
    node.moves.resume()
    return node


def row(key, epoch):
    return key, epoch, packed_marks(((epoch, b"m" * 8),))


def counted(**options):
    """Return a store that holds 7 up and 2 down of k."""
    node = Node(**options)
    node.count(7)
    node.count(-2)
    if node.queue:
        node.written()
    return node


def test_both_sides_of_a_share_are_carried_once_the_epoch_is_on_disk():
    node = counted()

    node.hear(row("k", 3))
    assert node.held() == {"k": (7, 2)}
    node.written()

    assert node.held() == {"k\x003": (7, 2)}
    assert node.ledger.moving == {}


def test_what_was_on_its_way_to_the_disk_is_carried_too_and_what_it_refused_is_not():
    node = Node()
    node.count(1)
    node.refused()
    node.count(10)
    node.count(100, ack=ACK_MEMORY)
    node.hear(row("k", 3))

    node.written()

    assert node.held() == {"k\x003": (110, 0)}
    assert restarted(node.records()).held() == node.held()


def test_a_store_without_a_disk_carries_at_once():
    node = counted(durable=False)

    node.hear(row("k", 3))

    assert node.held() == {"k\x003": (7, 2)}


def test_a_store_that_is_not_alone_carries_nothing():
    node = counted(is_alone=False)
    node.hear(row("k", 3))
    node.written()

    assert node.held() == {"k": (7, 2)}


def test_other_keys_and_shares_of_other_stores_stay_where_they_are():
    node = counted()
    node.count(5, "other")
    node.ledger.counters.merge(OLD, 1, [("k", 50, 0)])
    node.hear(row("k", 3))
    node.written()

    assert node.held() == {"other": (5, 0), "k\x003": (7, 2)}
    assert [*node.ledger.counters.others[OLD].rows()] == [("k", 50, 0)]


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_the_log_tells_the_same_however_often_it_is_read(times):
    node = counted()
    node.hear(row("k", 3))
    node.written()
    node.count(4)
    node.written()

    assert restarted(node.records() * times).held() == node.held() == {"k\x003": (11, 2)}


@pytest.mark.parametrize("when", ["before", "while", "refused", "after"])
def test_a_snapshot_and_the_log_behind_it_tell_the_same(when):
    node = counted()
    at = len(node.log)
    state = node.snapshot()
    node.count(10)
    node.hear(row("k", 3))
    if when == "while":
        state, at = node.snapshot(), len(node.log) + len(node.queue)
    if when == "refused":
        node.refused()
        state, at = node.snapshot(), len(node.log)
        node.count(10)
    node.written()
    if when == "after":
        state, at = node.snapshot(), len(node.log)
    node.count(100)
    if node.queue:
        node.written()

    again = restarted(state + node.records()[at:])

    whole = (107, 2) if when == "refused" else (117, 2)
    assert again.held() == node.held() == {"k\x003": whole}
    assert again.ledger.moving == {}


def test_a_snapshot_over_the_records_of_the_log_before_it_tells_the_same():
    node = counted()
    node.hear(row("k", 3))
    node.written()

    assert restarted(node.snapshot() + node.records()).held() == {"k\x003": (7, 2)}


def test_what_the_disk_refuses_to_carry_stays_where_it_is_until_the_next_ask():
    node = counted()
    node.hear(row("k", 3))
    node.refused()
    assert node.held() == {"k": (7, 2)}
    assert restarted(node.records()).held() == {"k": (7, 2)}

    node.ask("k\x003")
    assert node.told == []
    node.written()

    assert node.told == [("k\x003", 5)]
    assert node.held() == restarted(node.records()).held() == {"k\x003": (7, 2)}


def test_nobody_is_told_anything_from_inside_the_later_epoch_before_it_is_carried():
    node = counted()
    node.hear(row("k", 3))

    node.ask("k\x003")
    node.ask("k")
    assert node.told == []
    node.written()

    assert node.told == [("k\x003", 5)]


def test_until_it_is_carried_the_key_is_not_counted_under_its_later_name():
    node = counted()
    node.hear(row("k", 3))

    [refused] = node.count(1)
    assert (type(refused), refused.code) == (Refused, "busy")
    assert node.count(1, "other") == []
    assert len(node.queue) == 2
    node.written()

    assert node.count(1) == []
    assert Counted(node.sequence, True, False) in node.written()
    assert node.held() == {"k\x003": (8, 2), "other": (1, 0)}


def test_who_comes_back_to_count_has_what_the_disk_had_refused_written_again():
    node = counted()
    node.hear(row("k", 3))
    node.refused()

    [refused] = node.count(1)
    assert refused.code == "busy"
    node.written()

    assert node.held() == {"k\x003": (7, 2)}
    assert node.count(1) == []


def test_what_was_carried_has_its_part_of_the_range():
    node = Node()
    node.ledger.counters.own.add("k", SHARE_MAX - 2)
    node.count(1)
    node.hear(row("k", 3))
    node.written()

    own = node.ledger.counters.own
    assert own.positive == {"k\x003": SHARE_MAX - 1}
    assert own.ceiling >= own.positive["k\x003"] > CEILING_STEP
    [refused] = node.count(2)
    assert refused.code == "range"


def test_leaps_that_come_before_the_disk_has_said_anything_are_carried_one_by_one():
    node = counted()
    node.hear(row("k", 3))
    node.hear(row("k", 5))

    node.written(1)
    assert node.held() == {"k\x003": (7, 2)}
    assert [m.code for m in node.count(1)] == ["busy"]
    node.written(1)

    assert node.held() == restarted(node.records()).held() == {"k\x005": (7, 2)}


def test_the_record_of_a_later_leap_holds_those_before_it():
    node = counted()
    node.hear(row("k", 3))
    first = node.queue.pop()
    node.hear(row("k", 5))
    node.moves.failed(PersistFailed(first.token, NO_ROOM, definite=True))

    node.written()

    assert node.held() == restarted(node.records()).held() == {"k\x005": (7, 2)}
    assert node.ledger.moving == {}


def test_past_their_limit_no_later_epoch_is_heard_of_before_the_disk_has_the_earlier_ones(
    monkeypatch,
):
    monkeypatch.setattr(module, "LEAPS_MAX", 2)
    node = counted()
    for epoch in (3, 5, 7):
        node.hear(row("k", epoch))
    node.written()
    assert node.held() == {"k\x005": (7, 2)}

    node.hear(row("k", 7))
    node.written()

    assert node.held() == {"k\x007": (7, 2)}


def test_a_reset_of_the_very_epoch_is_told_what_was_counted_in_it_and_nothing_is_carried():
    node = counted()
    node.close(0)
    node.written()

    assert node.held() == {"k": (7, 2)}
    assert [value for _, value in node.told] == [5]
    node.hear(row("k", 4))
    node.written()
    assert node.held() == {"k": (7, 2)}


def test_what_is_counted_after_a_reset_is_carried_from_there_and_what_that_was_told_stays():
    node = counted()
    node.close(0)
    node.written()
    node.count(30)
    node.hear(row("k", 4))
    node.written()

    assert node.held() == {"k": (7, 2), "k\x004": (30, 0)}


def test_a_reset_of_a_later_epoch_is_told_that_it_is_behind_and_finds_nothing_of_it():
    node = counted()
    [behind] = node.close(3)
    assert [told[:2] for told in behind.rows] == [("k", 0)]

    node.hear(row("k", 4))
    node.written()

    assert [value for _, value in node.told] == [0]
    assert node.held() == {"k\x004": (7, 2)}


@pytest.mark.parametrize("first", ["taken", "refused"])
def test_a_reset_of_the_epoch_that_it_is_carried_to_is_told_it(first):
    node = counted()
    node.hear(row("k", 3))
    if first == "refused":
        node.refused()
    node.close(3)

    node.written()

    assert [value for _, value in node.told] == [5]
    assert node.held() == restarted(node.records()).held() == {"k\x003": (7, 2)}
    assert node.moves.epochs.entry("k").settled == 4


def test_keys_that_leave_a_share_leave_the_indexes():
    node, forgotten = counted(), []
    node.moves.forget_keys = lambda: forgotten.append(True)

    node.hear(row("k", 3))
    assert forgotten == []
    node.written()

    assert forgotten == [True]


def test_what_was_counted_before_a_fork_and_after_it_is_carried_on_both_sides():
    node = counted()
    node.forks.resume(len(node.log), 2)
    node.count(10)
    node.hear(row("k", 3))
    node.written()
    assert node.forks.has_counted_since(2)

    node.forks.splits = ((OWN, 2),)
    node.forks.resume(len(node.log), 3)

    [part] = node.ledger.counters.others.values()
    assert [*part.rows()] == [("k\x003", 7, 2)]
    assert node.held() == {"k\x003": (10, 0)}


def test_a_copy_that_has_only_carried_has_counted_nothing():
    node = counted()
    node.forks.resume(len(node.log), 2)
    node.hear(row("k", 3))
    node.written()

    assert not node.forks.has_counted_since(2)


def test_what_moves_is_in_as_many_records_of_a_snapshot_as_can_be_read_again():
    node, keys = Node(), [f"k{number}" for number in range(ARRAY_MAX + 1)]
    for key in keys:
        node.ledger.counters.own.add(key, 1)
    node.hear(*[row(key, 1) for key in keys])

    again = restarted(node.snapshot())

    assert again.held() == {f"{key}\x001": (1, 0) for key in keys}
