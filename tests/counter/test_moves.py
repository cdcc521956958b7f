"""How a node moves from epoch to epoch: what it makes of asks, and what waits for its disk."""

from dataclasses import replace

import pytest

from counter import moves as module
from counter.config import NodeConfig
from counter.crdt import Counters
from counter.epochs import CLOSED_MAX
from counter.epochs import Epochs as Known
from counter.ledger import Ledger
from counter.messages import (
    ACK_DISK,
    CLOSE,
    GOSSIP,
    LOOK,
    RING,
    Ask,
    AskMany,
    Epochs,
    Increment,
    Subject,
    packed_marks,
    with_epochs,
)
from counter.moves import Moves, pages_of
from tracker.machine import Persist, Persisted, PersistFailed, Send
from tracker.wire import ARRAY_MAX

HOME = ("127.0.0.1", 9)
A = b"a" * 8
ASK = Ask(b"q" * 16, "k", HOME, 3, 1, 1, 9, 5_000, 0, 0, RING)
CLOSING = Subject("k", 0, CLOSE, A).text
LATE = CLOSED_MAX + 1
"""The first epoch in which nothing of epoch 0 is kept."""
LIVES = Send(HOME, Epochs(ASK.query, (), False, "", ""))


class Node:
    """Moves over a real ledger; `taken` are the asks that went their usual way."""

    def __init__(self, *, durable=True, epochs_max=100):
        self.ledger = Ledger(NodeConfig(name="n1"), Counters(b"s" * 16, 1), durable=durable)
        self.taken = []
        self.moved = 0
        self.moves = Moves(self.ledger, self.receive, self.note)
        self.moves.epochs = Known(self.ledger.counters.names, epochs_max)
        self.take = self.moves.before(self.usual)

    def receive(self, sender, ask, now):
        return self.take(sender, ask, now)

    def usual(self, sender, ask, now):
        self.taken.append(ask.key)
        return []

    def note(self, now):
        self.moved += 1
        return []

    def ask(self, key="k", now=0.0, **fields):
        return self.take("n2", replace(ASK, key=key, **fields), now)

    def ask_many(self, key):
        fields = [getattr(replace(ASK, key=key), name) for name in Ask.__match_args__]
        return self.take("n2", AskMany(*fields), 0.0)

    def count(self, key="k", amount=1, sequence=1):
        increment = Increment(b"c" * 16, sequence, (key, amount), ACK_DISK)
        return self.ledger.increment(1, increment)

    def persisted(self, now=0.0):
        event = Persisted(self.ledger.token)
        return self.ledger.persisted(event) + self.moves.persisted(event, now)

    def settle(self, *rows):
        self.moves.learn(rows, 0.0)
        return self.persisted()


def row(key, epoch, *marks):
    return key, epoch, packed_marks(marks)


def test_while_nothing_was_ever_reset_asks_go_their_usual_way():
    node = Node()
    assert node.ask() == []
    assert node.taken == ["k"]


def test_a_closing_ask_is_answered_once_the_next_epoch_is_on_disk():
    node = Node()

    persist, lives = node.ask(CLOSING)
    assert (type(persist), lives, node.taken) == (Persist, LIVES, [])
    assert node.ask(CLOSING) == [LIVES]

    node.persisted()
    assert node.taken == [CLOSING, CLOSING]


def test_what_was_on_its_way_to_the_disk_is_counted_before_a_closed_epoch_is_told():
    node = Node()
    node.count(amount=5)
    node.ask(CLOSING)
    node.count(amount=7, sequence=2)
    seen = []
    node.usual = lambda sender, ask, now: seen.append(node.ledger.counters.value("k")) or []
    node.take = node.moves.before(node.usual)

    node.moves.persisted(Persisted(0), 0.0)
    assert seen == []
    node.persisted()

    assert seen == [5]
    assert node.ledger.counters.value("k\x001") == 7


def test_the_short_way_leaves_the_word_of_the_disk_to_whoever_waits_for_an_epoch():
    node = Node()
    node.count(amount=5)
    node.ask(CLOSING)

    assert node.ledger.counted(2) is None
    node.persisted()
    node.count(amount=7, sequence=2)
    assert node.ledger.counted(3) == [(1, 2)]
    node.count(amount=1, sequence=3)
    node.ask(Subject("k", 1, CLOSE, A).text)
    node.count(amount=1, sequence=4)
    assert node.ledger.counted(6) is None
    assert node.ledger.counted(4) == [(1, 3)]


def test_a_node_without_a_disk_moves_at_once():
    node = Node(durable=False)

    assert node.ask(CLOSING) == []
    assert node.taken == [CLOSING]
    assert node.moved == 1


def test_a_record_that_was_refused_is_written_again_by_the_next_ask():
    node = Node()
    node.ask(CLOSING)
    assert node.moves.failed(PersistFailed(1, "full", True)) == []

    persist, lives = node.ask(CLOSING)

    assert (persist.token, lives) == (2, LIVES)
    node.persisted()
    assert node.taken == [CLOSING, CLOSING]


def test_however_much_the_disk_has_refused_it_can_be_read_again_once_it_is_written():
    node = Node(epochs_max=2 * ARRAY_MAX)
    rows = [row(f"k{number}", 1) for number in range(ARRAY_MAX + 1)]
    node.moves.learn(rows, 0.0)
    for token in range(1, node.ledger.token + 1):
        node.moves.failed(PersistFailed(token, "full", True))

    records = [effect for effect in node.ask_many("*\nk") if isinstance(effect, Persist)]

    again = Node(epochs_max=2 * ARRAY_MAX)
    assert all(again.moves.restore(persist.record) for persist in records)
    assert len(again.moves.epochs) == len(rows)
    node.persisted()
    assert all(entry.is_safe for entry in node.moves.epochs.entries())


def test_who_asks_about_an_earlier_epoch_is_told_of_the_later_one():
    node = Node()
    node.settle(row("k", 2, (2, A)))

    for key in ("k", "k\x001"):
        (told,) = node.ask(key)
        assert told == Send(HOME, Epochs(ASK.query, (row("k", 2, (2, A)),), False, "", ""))
    assert node.taken == []


def test_a_node_that_is_behind_asks_for_what_it_missed_and_answers_then():
    node = Node()

    (asked,) = node.ask("k\x002")
    assert asked == Send(HOME, Epochs(ASK.query, (row("k", 0),), False, "", ""))
    assert node.taken == []

    node.settle(row("k", 2, (2, A)))
    assert node.taken == ["k\x002"]
    assert node.moves.epochs.entry("k").made_by(A) == 2


def test_a_closing_ask_of_a_later_epoch_is_no_way_to_learn_of_the_ones_before():
    node = Node()

    (asked,) = node.ask(Subject("k", 4, CLOSE, A).text)

    assert asked.message.rows == (row("k", 0),)
    assert node.moves.epochs.entry("k").epoch == 0


def test_an_ask_that_was_held_past_its_life_is_dropped():
    node = Node()
    node.ask(CLOSING, budget_ms=100)

    node.persisted(now=0.2)

    assert node.taken == []


def test_past_their_limit_asks_are_not_held(monkeypatch):
    monkeypatch.setattr(module, "HELD_MAX", 1)
    node = Node()
    node.ask(CLOSING)
    assert node.ask(CLOSING) == [LIVES]

    node.persisted()

    assert node.taken == [CLOSING]


def test_with_no_room_for_another_key_a_node_stays_behind_and_says_so():
    node = Node(epochs_max=0)

    (told,) = node.ask(CLOSING)

    assert told.message.rows == (row("k", 0),)
    assert node.taken == []


def test_what_an_epoch_long_over_came_to_is_told_by_nobody():
    node = Node()
    node.count(amount=5)
    node.persisted()
    node.settle(row("k", LATE, (LATE, A)))

    (told,) = node.ask(CLOSING.replace("=", "-"))[1:]

    assert told.message.rows[0][:2] == ("k", LATE)
    assert node.ledger.counters.own.positive == {}


def test_whoever_knows_a_reset_says_so_when_others_look_for_it():
    node = Node()
    node.settle(row("k", 1, (1, A)))

    (told,) = node.ask(Subject("k", 1, LOOK, A).text)
    assert told.message.rows == (row("k", 1, (1, A)),)
    assert node.ask(Subject("k", 1, LOOK, b"b" * 8).text) == []
    assert len(node.taken) == 1


def test_keys_that_are_named_together_are_looked_at_one_by_one():
    node = Node()
    node.settle(row("k", 1))

    assert node.ask_many("=\nk\x001\nm") == []
    (told,) = node.ask_many("=\nk\nm")
    assert told.message.rows == (row("k", 1),)
    (asked,) = node.ask_many("=\nk\x001\nm\x002")
    assert asked.message.rows == (row("m", 0),)


def test_a_prefix_is_answered_where_all_epochs_agree():
    node = Node()
    node.settle(row("k", 1), row("other", 4))
    epochs = node.moves.epochs

    assert node.ask_many(with_epochs("*\nk", str, epochs.roll)) == []
    (told,) = node.ask_many("*\nk")
    assert told.message == Epochs(ASK.query, (row("k", 1),), True, "", "")
    (none,) = node.ask_many("*\nx\n00000000000000ff")
    assert none.message == Epochs(ASK.query, (), True, "", "")


def test_a_prefix_waits_for_epochs_that_are_not_on_disk():
    node = Node()
    node.moves.learn([row("k", 1)], 0.0)

    assert node.ask_many("*\nk") == [LIVES]


@pytest.mark.parametrize(
    ("told", "better"),
    [
        pytest.param(Epochs(ASK.query, (row("k", 1),), False, "", ""), ["k"], id="earlier"),
        pytest.param(Epochs(ASK.query, (row("k", 2),), False, "", ""), ["k"], id="fewer-marks"),
        pytest.param(Epochs(ASK.query, (row("k", 2, (2, A)),), False, "", ""), [], id="same"),
        pytest.param(Epochs(ASK.query, (row("k", 3, (2, A)),), False, "", ""), [], id="later"),
        pytest.param(Epochs(ASK.query, (), True, "", ""), ["k", "km", "kz"], id="page-of-none"),
        pytest.param(Epochs(ASK.query, (), True, "k", "km"), ["km"], id="part-of-a-prefix"),
        pytest.param(Epochs(ASK.query, (row("km", 1),), True, "k", ""), ["kz"], id="known"),
    ],
)
def test_whoever_knows_less_is_told_what_it_does_not_know(told, better):
    node = Node()
    node.settle(row("k", 2, (2, A)), row("kz", 1), row("km", 1), row("other", 1))

    assert [found[0] for found in node.moves.known_better(told, "k")] == better


def test_many_rows_take_many_datagrams_and_each_fits():
    rows = [row("k" * 200 + f"{number:03}", number + 1, *[(9, A)] * 8) for number in range(9)]

    pages = list(pages_of(ASK.query, rows, is_page=True))

    assert [found for page in pages for found in page.rows] == rows
    assert [page.after for page in pages[1:]] == [page.up_to for page in pages[:-1]]
    assert (pages[0].after, pages[-1].up_to) == ("", "")
    assert max([len(GOSSIP.encode(page)) for page in pages]) < 1_232
    assert [page.rows for page in pages_of(ASK.query, rows)] == [page.rows for page in pages]


def test_no_more_rows_stand_in_a_page_than_may(monkeypatch):
    monkeypatch.setattr(module, "EPOCH_ROWS_MAX", 2)
    rows = [row(key, 1) for key in "abcde"]
    assert [len(page.rows) for page in pages_of(ASK.query, rows)] == [2, 2, 1]


def restarted(records):
    node = Node()
    for kind, record in records:
        if not node.moves.restore(record):
            node.ledger.restore(kind, record)
    node.moves.resume()
    return node


def test_a_restart_knows_every_epoch_and_keeps_what_is_kept(monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_RECORD", 1)
    node = Node()
    node.count(amount=5)
    for number, epoch in enumerate(range(1, LATE + 1), 2):
        node.settle(row("k", epoch, (epoch, A)), row("m", epoch))
        node.count(amount=epoch, sequence=number)
    node.persisted()
    records = [("state", r) for r in [*node.moves.dump(), *node.ledger.dump()]]

    again = restarted(records)

    assert again.moves.epochs.rows() == node.moves.epochs.rows()
    assert again.ledger.counters.own.positive == {
        f"k\x00{epoch}": epoch for epoch in range(1, LATE + 1)
    }


def test_a_name_that_was_counted_under_proves_its_epoch_after_a_restart():
    node = Node()
    node.settle(row("k", 4))
    (persist,) = node.count(amount=5)

    again = restarted([("counts", persist.record)])

    assert again.ledger.counters.names == {"k": "k\x004"}
    assert again.ledger.sessions.look_up(b"c" * 16, 1, ("k", 5)).value == "same"


def test_what_was_let_go_of_is_not_back_after_a_restart():
    node = Node()
    (old,) = node.count(amount=5)
    node.persisted()
    (persist,) = node.moves.learn([row("k", LATE)], 0.0)

    again = restarted([("counts", old.record), ("counts", persist.record)])

    assert again.ledger.counters.own.positive == {}
