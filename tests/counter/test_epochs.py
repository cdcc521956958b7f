"""Which epoch a key is in: merged by the maximum, kept in bounds, asked for by what is on disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter import epochs as module
from counter.epochs import CLOSED_MAX, Epochs
from counter.messages import EPOCH_MAX, LOOK, MARKS_MAX, Subject, marks_in, named, prefixed

A, B = b"a" * 8, b"b" * 8


def make_epochs(**known):
    epochs = Epochs({})
    for key, epoch in known.items():
        settle(epochs, key, epoch)
    return epochs


def settle(epochs, key, epoch, marks=(), **fields):
    epochs.learn(key, epoch, marks, **fields)
    entry = epochs.entry(key)
    return epochs.settle(key, entry.epoch, entry.marks)


def test_a_key_is_counted_under_its_name_as_soon_as_its_epoch_is_learned():
    epochs = make_epochs()

    assert epochs.learn("k", 3, ((3, A),))
    assert epochs.names == {"k": "k\x003"}
    assert (epochs.asked("k"), epochs.entry("k").is_safe) == ("k", False)

    epochs.settle("k", 3, ((3, A),))
    assert (epochs.asked("k"), epochs.entry("k").is_safe) == ("k\x003", True)


def test_what_is_known_already_is_no_news():
    epochs = make_epochs(k=3)

    assert not epochs.learn("k", 3)
    assert not epochs.learn("k", 2)
    assert not epochs.learn("other", 0)
    assert epochs.learn("k", 3, ((2, A),))


def test_an_epoch_past_the_last_or_a_key_past_the_limit_is_not_learned():
    epochs = Epochs({}, epochs_max=1)

    assert not epochs.learn("k", EPOCH_MAX + 1)
    assert epochs.learn("k", EPOCH_MAX)
    assert not epochs.learn("other", 1)
    assert len(epochs) == 1


def test_what_became_safe_meanwhile_does_not_make_later_news_safe():
    epochs = make_epochs()
    epochs.learn("k", 1, ((1, A),))
    epochs.learn("k", 2, ((2, B),))

    epochs.settle("k", 1, ((1, A),))

    assert (epochs.entry("k").settled, epochs.entry("k").is_safe) == (1, False)


def test_the_last_epochs_are_kept_and_older_ones_dropped():
    epochs = make_epochs(k=CLOSED_MAX)

    assert settle(epochs, "k", CLOSED_MAX + 1) == ["k"]
    assert settle(epochs, "k", CLOSED_MAX + 2) == ["k\x001"]
    assert CLOSED_MAX == MARKS_MAX, "an id is known as long as what it asks for is kept"


def test_a_leap_drops_what_was_counted_before_it_and_looks_at_no_more_than_a_few_names():
    epochs = make_epochs(k=CLOSED_MAX)

    dropped = settle(epochs, "k", 10**6)

    assert {"k", f"k\x00{CLOSED_MAX}", f"k\x00{10**6 - CLOSED_MAX - 1}"} <= set(dropped)
    assert len(dropped) == 3 * CLOSED_MAX + 1
    assert epochs.entry("k").kept_from == 10**6 - CLOSED_MAX
    assert settle(epochs, "k", 10**6, ((1, A),)) == []


def test_of_many_deleted_keys_the_first_are_let_go_of(monkeypatch):
    monkeypatch.setattr(module, "DELETED_MAX", 2)
    epochs = make_epochs()

    dropped = [settle(epochs, key, 1, is_deleted=True) for key in "abcd"]

    assert dropped == [[], [], ["a"], ["b"]]
    assert [epochs.entry(key).kept_from for key in "abcd"] == [1, 1, 0, 0]


def test_a_deleted_key_that_was_reset_since_is_kept_like_any_other(monkeypatch):
    monkeypatch.setattr(module, "DELETED_MAX", 1)
    epochs = make_epochs()
    settle(epochs, "a", 1, is_deleted=True)
    settle(epochs, "a", 2)

    assert settle(epochs, "b", 1, is_deleted=True) == []


def test_a_reset_is_known_by_its_mark():
    epochs = make_epochs()
    settle(epochs, "k", 2, ((1, A), (2, B)))

    assert [epochs.entry("k").made_by(mark) for mark in (A, B, b"c" * 8)] == [1, 2, 0]


def test_a_question_is_asked_with_the_epoch_of_each_key_or_the_roll_of_a_prefix():
    epochs = make_epochs(k=2)

    assert epochs.asked(named("k", "m")) == "=\nk\x002\nm"
    assert epochs.asked(prefixed("k")) == f"*\nk\n{epochs.roll('k'):016x}"
    assert epochs.asked(prefixed("m")) == "*\nm"
    assert make_epochs().asked(prefixed("k")) == "*\nk"


def test_looking_follows_the_present_epoch_and_closing_means_its_own():
    epochs = make_epochs(k=2)

    assert epochs.asked(Subject("k", 1, LOOK, A).text) == Subject("k", 2, LOOK, A).text
    assert epochs.asked(Subject("k", 1, "=", A).text) == Subject("k", 1, "=", A).text


def test_rolls_are_the_same_where_epochs_are_the_same_and_bounded_in_number(monkeypatch):
    monkeypatch.setattr(module, "ROLLS_MAX", 1)
    one, two = make_epochs(a=1, b=2), make_epochs(b=2, a=1)

    assert one.roll("") == two.roll("") != make_epochs(a=2, b=1).roll("")
    assert one.roll("a") == make_epochs(a=1).roll("") == one.roll("a")


def test_what_was_kept_is_the_same_after_a_restart():
    before = make_epochs(plain=1)
    settle(before, "k", 5, ((4, A), (5, B)), is_deleted=True)

    after = Epochs({})
    after.restore(before.rows())

    assert after.rows() == before.rows()
    assert after.names == before.names
    assert all(entry.is_safe for entry in after.entries())


def test_past_the_limit_a_kept_row_is_left_out():
    after = Epochs({}, epochs_max=0)
    after.restore([["k", 1, b"", 0, False]])
    assert len(after) == 0


marks = st.lists(st.tuples(st.integers(1, 9), st.sampled_from([A, B])), max_size=12)
news = st.lists(st.tuples(st.sampled_from("km"), st.integers(1, 9), marks), max_size=8)


@given(news, st.randoms(use_true_random=False))
def test_the_order_and_the_number_of_tellings_do_not_matter(told, random):
    one, two = Epochs({}), Epochs({})
    for key, epoch, known in told:
        one.learn(key, epoch, tuple(known))
    again = told * 2
    random.shuffle(again)
    for key, epoch, known in again:
        two.learn(key, epoch, tuple(known))

    assert [one.entry(key).row() for key in "km"] == [two.entry(key).row() for key in "km"]
    assert all(len(marks_in(one.entry(key).row()[2])) <= MARKS_MAX for key in "km")


@pytest.mark.parametrize("prefix", ["", "k", "x"])
def test_entries_below_a_prefix_come_by_key(prefix):
    epochs = make_epochs(m=1, k2=1, k1=1)
    keys = [key for key in ("k1", "k2", "m") if key.startswith(prefix)]
    assert [entry.key for entry in epochs.below(prefix)] == keys


KEYS = st.text("ab\U0010ffff", min_size=1, max_size=3)


@given(st.lists(KEYS, unique=True), st.text("ab", max_size=2), st.text("ab", max_size=2), KEYS)
def test_a_page_of_them_holds_what_is_behind_one_key_and_up_to_another(keys, prefix, after, up_to):
    epochs = Epochs({})
    for key in keys:
        epochs.learn(key, 1)

    found = [entry.key for entry in epochs.below(prefix, after, up_to)]

    below = [key for key in sorted(keys) if key.startswith(prefix)]
    assert found == [key for key in below if after < key <= up_to]
    assert [entry.key for entry in epochs.below(prefix, after)] == [k for k in below if after < k]
