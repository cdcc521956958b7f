"""The checker: it accepts what may be, and catches what may not."""

import pytest

from loadtest.checker import FAULTS_MAX, Ledger, all_ok, row


def make_ledger(*acked, unknown=(), key="hits"):
    ledger = Ledger()
    for amount in (*acked, *unknown):
        ledger.attempted(key, amount)
    for amount in acked:
        ledger.acked(key, amount)
    return ledger


@pytest.mark.parametrize(
    ("value", "is_complete", "fault"),
    [
        (5, True, None),
        (8, True, None),
        (4, True, "4 read, 5 were acknowledged before it began"),
        (4, False, None),
        (9, True, "9 read, only 8 were ever attempted"),
        (9, False, "9 read, only 8 were ever attempted"),
        (-1, False, "-1 read, 0 were acknowledged before it began"),
    ],
    ids=["low", "high", "below", "below but incomplete", "above", "above, incomplete", "negative"],
)
def test_a_read_lies_between_what_was_acked_before_and_what_was_attempted(
    value, is_complete, fault
):
    ledger = make_ledger(2, 3, unknown=[3])

    found = ledger.end_read(ledger.begin_read("hits"), value, is_complete=is_complete)

    assert found == fault
    assert ledger.reads_wrong == (fault is not None)


def test_what_is_acked_and_attempted_during_a_read_may_be_in_it_or_not():
    ledger = make_ledger(5)
    reading = ledger.begin_read("hits")
    ledger.attempted("hits", 10)
    ledger.acked("hits", 10)

    faults = [ledger.end_read(reading, value, is_complete=True) for value in (5, 15, 4, 16)]

    assert [fault is None for fault in faults] == [True, True, False, False]


def test_what_was_given_up_may_be_read_or_not_even_if_that_was_after_the_read_began():
    before, during = make_ledger(5, 10), make_ledger(5, 10)
    before.given_up("hits", 10)
    readings = [ledger.begin_read("hits") for ledger in (before, during)]
    during.given_up("hits", 10)
    during.attempted("hits", 7)
    during.acked("hits", 7)

    faults = [
        [ledger.end_read(reading, value, is_complete=True) for value in (5, 15, 4)]
        for ledger, reading in zip((before, during), readings, strict=True)
    ]

    assert [[fault is None for fault in each] for each in faults] == [[True, True, False]] * 2
    assert (before.accounts["hits"].low, before.accounts["hits"].high) == (5, 15)


def test_a_refused_increment_may_not_be_read():
    ledger = make_ledger(5, unknown=[2])
    ledger.refused("hits", 2)

    assert ledger.end_read(ledger.begin_read("hits"), 7, is_complete=True) is not None


def test_reads_of_a_key_that_was_decreased_are_not_judged():
    ledger = make_ledger(5, -3)

    assert ledger.end_read(ledger.begin_read("hits"), 99, is_complete=True) is None


def test_a_key_nobody_counted_reads_as_zero():
    ledger = Ledger()

    assert ledger.end_read(ledger.begin_read("none"), 0, is_complete=True) is None
    assert ledger.end_read(ledger.begin_read("none"), 1, is_complete=True) is not None


@pytest.mark.parametrize(
    ("found", "lost", "doubled"),
    [(10, 0, 0), (9, 1, 0), (11, 0, 1)],
    ids=["exact", "one lost", "one doubled"],
)
def test_the_final_total_is_exact_when_every_outcome_is_known(found, lost, doubled):
    ledger = make_ledger(4, 6)

    assert (ledger.lost({"hits": found}), ledger.doubled({"hits": found})) == (lost, doubled)
    (check,) = ledger.rows({"hits": found})
    assert check == row("exact total", 10, found)
    assert all_ok([check]) == (found == 10)


@pytest.mark.parametrize(
    ("found", "ok"),
    [(9, True), (10, True), (12, True), (14, True), (8, False), (15, False)],
)
def test_increments_of_unknown_outcome_widen_the_final_total_to_their_side(found, ok):
    ledger = make_ledger(10, unknown=[4, -1])

    assert all_ok(ledger.rows({"hits": found})) == ok


def test_a_loss_on_one_key_is_not_made_good_by_a_surplus_on_another():
    ledger = make_ledger(5, key="a")
    ledger.attempted("b", 5)
    ledger.acked("b", 5)

    (check,) = ledger.rows({"a": 4, "b": 6})

    assert (check["ok"], check["expected"], check["found"]) == (False, 10, 10)


def test_a_key_that_nobody_ever_counted_is_a_surplus():
    assert make_ledger(1).doubled({"hits": 1, "ghost": 3}) == 3


def test_the_rows_of_a_report_say_how_many_reads_were_right():
    ledger = make_ledger(5)
    for value in (5, 5, 4):
        ledger.end_read(ledger.begin_read("hits"), value, is_complete=True)

    assert ledger.rows({"hits": 5})[1] == {
        "name": "reads within bounds",
        "ok": False,
        "expected": 3,
        "found": 2,
    }


def test_only_so_many_faults_are_kept_but_all_are_counted():
    ledger = make_ledger(1)
    for _ in range(FAULTS_MAX + 5):
        ledger.end_read(ledger.begin_read("hits"), 0, is_complete=True)

    assert (len(ledger.faults), ledger.reads_wrong) == (FAULTS_MAX, FAULTS_MAX + 5)


@pytest.mark.parametrize("amount", [1, -1], ids=["increase", "decrease"])
def test_settling_what_was_never_attempted_is_a_mistake_of_the_load_test(amount):
    ledger = make_ledger(1)

    with pytest.raises(ValueError, match="without having been attempted"):
        ledger.acked("hits", amount)
