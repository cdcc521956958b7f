"""Names for what is wrong: the journal, the shares, and which increments a difference is."""

import pytest

from loadtest.bookkeeping import Bookkeeping, Word, Work
from loadtest.journal import Entry, Journal
from loadtest.plan import Plan
from loadtest.shares import Gap, Shares
from loadtest.suspects import CANDIDATES_MAX, TRIPLES_OF_MAX, find, sentence

SESSION = bytes(range(16))


def make_entry(amount, sequence=1, *, key="hits", node="n1", number=1, at_s=0.5):
    return Entry(key, amount, node, SESSION, sequence, 3, number, at_s)


def make_gap(by, place=("hits", "n1")):
    return Gap(place, 100, 100, 100 + by)


def amounts_of(finding):
    return [[entry.amount for entry in each] for each in finding.candidates]


# -- the journal ----------------------------------------------------------------------------


def test_the_journal_gives_back_what_was_acknowledged_of_a_key_in_its_order():
    journal = Journal()
    entries = [make_entry(amount, amount, key=f"key-{amount % 2}") for amount in range(1, 6)]
    for entry in entries:
        journal.note(entry)

    assert list(journal.of(["key-1"])) == entries[::2]
    assert list(journal.of(["key-2"])) == []
    assert (len(journal), journal.forgotten) == (5, 0)


def test_a_full_journal_forgets_the_oldest_and_says_how_many():
    journal = Journal(entries_max=3)
    for sequence in range(1, 6):
        journal.note(make_entry(sequence, sequence))

    assert [entry.amount for entry in journal.of(["hits"])] == [3, 4, 5]
    assert (len(journal), journal.forgotten) == (3, 2)


def test_what_there_are_no_words_for_is_forgotten_and_counted(monkeypatch):
    monkeypatch.setattr("loadtest.journal.WORDS_MAX", 4)
    journal = Journal()
    journal.note(make_entry(1))
    journal.note(make_entry(2, node="n2"))
    journal.note(make_entry(3))

    assert [entry.amount for entry in journal.of(["hits"])] == [1, 2]
    assert (len(journal), journal.forgotten) == (2, 1)


def test_an_increment_is_named_by_the_identity_of_its_message():
    assert make_entry(1, 41).id == "000102030405060708090a0b0c0d0e0f-41"


# -- shares ---------------------------------------------------------------------------------


def make_shares():
    shares = Shares()
    shares.acked("hits", "n1", 5)
    shares.acked("hits", "n1", 2)
    shares.acked("hits", "n2", 4)
    shares.acked("more", "n2", 10)
    return shares


def test_a_share_that_is_not_what_its_node_acknowledged_is_a_gap():
    gaps = list(make_shares().gaps("hits", {"n1": 6, "n2": 4, "n3": 1, "n4": 0}))

    assert [(gap.place, gap.by) for gap in gaps] == [(("hits", "n1"), -1), (("hits", "n3"), 1)]
    assert list(make_shares().gaps("none", {"n1": 0})) == []


def test_who_is_not_in_a_read_lacks_all_of_it():
    assert [gap.by for gap in make_shares().gaps("hits", {"n2": 4})] == [-7]


def test_what_is_in_doubt_may_be_at_any_node():
    shares = make_shares()
    shares.doubted("hits", 3)

    assert list(shares.gaps("hits", {"n1": 10, "n2": 4})) == []
    assert list(shares.gaps("hits", {"n1": 7, "n2": 7, "n3": 3})) == []
    (gap,) = shares.gaps("hits", {"n1": 11, "n2": 4})
    assert gap.by == 1
    assert shares.are_right(["hits", "more"], {"n1": 7, "n2": 17}) == [True, True]


def test_shares_of_several_keys_are_compared_in_one():
    shares = make_shares()

    assert shares.are_right(["hits", "more"], {"n1": 7, "n2": 14, "n3": 0}) == [True] * 3
    assert shares.are_right(["hits", "more"], {"n1": 8, "n2": 14}) == [False, True]
    assert shares.of("hits") == {"n1": 7, "n2": 4}


# -- which increments -----------------------------------------------------------------------


@pytest.mark.parametrize(("by", "what"), [(-7, "lost"), (7, "doubled")])
def test_the_one_increment_of_that_amount_is_named(by, what):
    entries = [make_entry(5, 1), make_entry(7, 2, number=81), make_entry(9, 3)]

    finding = find(make_gap(by), entries)

    assert (finding.what, finding.increments) == (what, 1)
    assert amounts_of(finding) == [[7]]
    told = sentence(finding)
    assert told == (
        f"{what}: 7 of hits at n1: increment 81 of writer 3 (7), id {entries[1].id},"
        " acknowledged 0.500 s into the load"
    )
    assert finding.as_dict()["candidates"][0][0] == {
        "amount": 7, "node": "n1", "id": entries[1].id, "writer": 3, "number": 81, "at_s": 0.5
    }  # fmt: skip


def test_a_message_that_carried_several_increments_is_lost_as_a_whole_or_in_part():
    entries = [make_entry(5, 1), make_entry(8, 1), make_entry(40, 2)]

    assert amounts_of(find(make_gap(-13), entries)) == [[5, 8]]
    assert amounts_of(find(make_gap(-8), entries)) == [[8]]
    assert find(make_gap(-13), entries).increments == 2


def test_two_and_three_messages_that_make_it_up_are_named():
    entries = [make_entry(amount, amount) for amount in (1, 10, 100, 1_000, 10_000)]

    assert amounts_of(find(make_gap(-1_010), entries)) == [[10, 1_000]]
    assert amounts_of(find(make_gap(-10_101), entries)) == [[1, 100, 10_000]]


def test_all_that_fit_are_candidates_but_not_more_than_can_be_read():
    entries = [make_entry(7, sequence) for sequence in range(1, 30)]

    one = find(make_gap(-7), entries[:2])

    assert amounts_of(one) == [[7], [7]]
    assert "one of 2: increment 1 of writer 3" in sentence(one)
    for by in (-7, -14, -21):
        assert len(find(make_gap(by), entries).candidates) == CANDIDATES_MAX


def test_what_nothing_makes_up_is_said_to_be_so_and_is_one_increment_at_least():
    finding = find(make_gap(-3), [make_entry(5)])

    assert (finding.candidates, finding.increments) == ((), 1)
    assert sentence(finding).startswith("lost: 3 of hits at n1, no one, two or three messages")


def test_among_very_many_messages_three_are_not_looked_for():
    entries = [make_entry(3**number, number) for number in range(1, 20)]
    entries += [make_entry(10**12, number) for number in range(100, 100 + TRIPLES_OF_MAX)]

    assert find(make_gap(-(3 + 9 + 27)), entries).candidates == ()
    assert find(make_gap(-(3 + 9 + 27)), entries[:19]).candidates != ()


# -- what the books make of it --------------------------------------------------------------


def make_books(count, *, entries_max=1_000, lost=()):
    """Count what the plan says at n1; returns the books, and what it then holds of each key."""
    plan = Plan(nodes=2, seed=3, writers=1, key_count=2)
    books = Bookkeeping(plan)
    books.journal = Journal(entries_max=entries_max)
    held = dict.fromkeys(plan.keys, 0)
    stream = plan.increments(0)
    for number in range(1, count + 1):
        key, amount = next(stream)
        work = Work(0, number, key, amount, 0.1 * number)
        books.attempted(work)
        books.counted(work, Word("n1", SESSION, number, 0.1 * number), 0.001)
        if number not in lost:
            held[key] += amount
    return books, held


def compared(books, held):
    shares = {(key,): {"n1": value, "n2": 0} for key, value in held.items()}
    books.compare(shares, held)
    return books.rows(held)


def test_books_that_are_right_name_nothing():
    books, held = make_books(50)

    rows = compared(books, held)

    assert [row["ok"] for row in rows] == [True, True]
    assert "named" not in rows[0]
    assert (books.sentences(), books.shares_checked) == ([], 4)


def test_one_lost_increment_of_many_is_named_with_its_identity():
    books, held = make_books(500, lost=[123])

    rows = compared(books, held)

    assert [row["ok"] for row in rows] == [False, False]
    assert (books.writes.lost, books.writes.doubled) == (1, 0)
    assert rows[0]["named"][0]["candidates"][0][0]["id"] == f"{SESSION.hex()}-123"


def test_an_increment_that_another_node_has_counted_as_well_is_named():
    books, held = make_books(50)
    (entry,) = [entry for entry in books.journal.of(held) if entry.number == 17]
    shares = {(key,): {"n1": value, "n2": 0} for key, value in held.items()}
    shares[entry.key,]["n2"] = entry.amount

    books.compare(shares, held)

    assert books.sentences() == [
        f"doubled: {entry.amount} of {entry.key} at n2: increment 17 of writer 0 ({entry.amount})"
        f" at n1, id {entry.id}, acknowledged 1.700 s into the load"
    ]


def test_an_increment_that_the_journal_forgot_is_found_in_the_stream_of_its_writer():
    books, held = make_books(500, entries_max=100, lost=[123])

    compared(books, held)

    assert books.journal.forgotten == 400
    (told,) = books.sentences()
    assert "increment 123 of writer 0" in told
    assert ", id " not in told


def test_what_was_parked_and_never_counted_is_named():
    books, held = make_books(10)
    work = Work(0, 11, "key-0", 77, 1.1)
    books.attempted(work)
    books.parked(work, Word("n2", SESSION, 11, 1.2))
    books.parked_have_counted()
    books.parked_have_counted()

    compared(books, held)

    assert books.sentences()[0].startswith("lost: 77 of key-0 at no node, though one said that it")
    assert compared(books, {**held, "key-0": held["key-0"] + 77})[0]["ok"]


def test_what_is_parked_beyond_the_bound_stays_in_doubt(monkeypatch):
    monkeypatch.setattr("loadtest.bookkeeping.PARKED_MAX", 0)
    books, held = make_books(10)
    work = Work(0, 11, "key-0", 77, 1.1)
    books.attempted(work)
    books.parked(work, Word("n2", SESSION, 11, 1.2))

    assert books.writes.unknown == 1
    assert compared(books, held)[0]["ok"]
