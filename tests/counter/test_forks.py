"""What of the counts on a copy's disk is the store's, and what is the copy's alone."""

import pytest

from counter.config import NodeConfig
from counter.crdt import Counters, Share
from counter.forks import BASES_MAX, Forks
from counter.ledger import Ledger
from counter.messages import OTHERS_MAX
from counter.parts import PART, furthest, is_part, listed, part_epoch, part_key, parts_in, told_in
from tracker import wire
from tracker.boots import Life
from tracker.members import Member, View

OLD, NEW, NEWER = (letter * 16 for letter in (b"o", b"n", b"m"))


def make_forks(store=NEW, *, splits=(), starts=(), durable=True, founder=OLD):
    ledger = Ledger(NodeConfig(name="n1"), Counters(store, 0), durable=durable)
    ledger.founder = founder
    forks = Forks(ledger)
    forks.splits, forks.starts = tuple(splits), tuple(starts)
    return forks


def count(forks, **amounts):
    for key, amount in amounts.items():
        forks._ledger.counters.own.add(key, amount)


def held(forks):
    """Return what is held of others: by store and epoch, the rows."""
    others = forks._ledger.counters.others
    return {(key[:8], share.epoch): sorted(share.rows()) for key, share in others.items()}


def own(forks):
    return sorted(forks._ledger.counters.own.rows())


def make_member(epoch, store=OLD, boot=b"12345678"):
    return Member("n1", store, 0, epoch, 0, "10.0.0.1", 7401, boot=boot)


# -- parts ------------------------------------------------------------------------------------


def test_a_part_that_goes_further_has_the_later_epoch_and_no_life_has_one_like_it():
    tokens = [0, 1, 2, 2**25 - 1, 2**25, 2**25 + 1, 2**26, 2**40, 2**63]

    epochs = [part_epoch(token) for token in tokens]

    assert epochs == sorted(epochs)
    assert len(set(epochs[:5])) == 5
    assert all(is_part(epoch) and epoch < 2**32 for epoch in epochs)
    assert not is_part(PART)


def test_of_one_store_the_whole_share_is_more_than_any_part():
    short, long = (part_key(OLD, part_epoch(token)) for token in (3, 4))
    epochs = {short: part_epoch(3), long: part_epoch(4), NEW: 9}

    assert furthest(epochs, short) == long
    assert furthest({**epochs, OLD: 1}, short) == OLD


def test_a_node_knows_of_which_stores_it_holds_parts():
    epochs = {part_key(s, part_epoch(n)): part_epoch(n) for s, n in ((NEW, 3), (OLD, 3), (OLD, 4))}

    assert parts_in(epochs | {b"w" * 16: 9}) == b"".join(sorted([OLD[:8], NEW[:8]]))


def test_an_answer_tells_of_which_stores_it_has_only_a_part():
    assert told_in(listed([OLD[:8]], [NEW[:8]])) == ([OLD[:8]], [NEW[:8]])
    assert told_in(listed([OLD[:8]], [])) == ([OLD[:8]], ())


# -- a new store ------------------------------------------------------------------------------


def test_what_the_log_holds_up_to_the_fork_is_a_part_of_the_old_one():
    forks = make_forks(splits=[(OLD, 7)])
    count(forks, hits=5, misses=1)
    forks.at(7)
    count(forks, hits=2)
    forks.resume(9, 1)

    assert own(forks) == [("hits", 2, 0)]
    assert held(forks) == {(OLD[:8], part_epoch(7)): [("hits", 5, 0), ("misses", 1, 0)]}
    assert forks.is_apart


def test_a_life_that_ended_before_its_beginning_was_written_down_has_counted_nothing():
    forks = make_forks(splits=[(OLD, 2**63)])
    count(forks, hits=5)
    forks.resume(9, 1)

    assert own(forks) == []
    assert held(forks) == {(OLD[:8], part_epoch(9)): [("hits", 5, 0)]}


def test_two_new_stores_in_a_row_hold_a_part_of_each():
    forks = make_forks(NEWER, splits=[(OLD, 7), (NEW, 9)])
    count(forks, hits=5)
    forks.at(7)
    count(forks, hits=-2)
    forks.at(9)
    count(forks, hits=1)
    forks.resume(10, 1)

    assert own(forks) == [("hits", 1, 0)]
    assert list(held(forks).values()) == [[("hits", 5, 0)], [("hits", 0, 2)]]


def snapshot(*, listed=0):
    """Return a store's snapshot, taken in a life after 5 counts and with 2 of that life."""
    forks = make_forks(OLD)
    forks.listed = listed
    count(forks, hits=5, gone=1)
    forks.resume(7, 6)
    count(forks, hits=2, misses=-1)
    del forks._ledger.counters.own.positive["gone"]
    return forks.dump(), list(forks._ledger.counters.own.rows())


def test_a_snapshot_of_after_the_fork_tells_what_was_there_before():
    records, rows = snapshot()
    forks = make_forks(splits=[(OLD, 7)])
    forks._ledger.counters.own.merge_rows(6, rows)
    assert all(forks.restore(record) for record in records)
    count(forks, hits=10)
    forks.resume(20, 1)

    assert own(forks) == [("hits", 12, 0), ("misses", 0, 1)]
    assert held(forks) == {(OLD[:8], part_epoch(7)): [("hits", 5, 0)]}


def test_what_cannot_be_told_apart_stays_whole_and_is_said_to_be():
    _, rows = snapshot()
    forks = make_forks(splits=[(OLD, 7)])
    forks._ledger.counters.own.merge_rows(6, rows)
    forks.resume(20, 1)

    assert own(forks) == sorted(rows)
    assert not forks.is_apart


@pytest.mark.parametrize(
    "others",
    [{b"x" * 16: Share(3)}, {bytes([n]) * 16: Share(part_epoch(1)) for n in range(OTHERS_MAX)}],
    ids=["of others", "too much"],
)
def test_whoever_holds_shares_of_others_tells_nothing_apart(others):
    forks = make_forks(splits=[(OLD, 7)])
    forks._ledger.counters.others.update(others)
    count(forks, hits=5)
    forks.at(7)

    assert (own(forks), forks.is_apart) == ([("hits", 5, 0)], False)


def test_a_store_that_had_counted_nothing_is_apart():
    forks = make_forks(splits=[(OLD, 7)])
    forks.at(7)

    assert (held(forks), forks.is_apart) == ({}, True)


def test_a_snapshot_of_the_new_store_itself_is_parted_already():
    forks = make_forks(splits=[(OLD, 7)], founder=NEW)
    key = part_key(OLD, part_epoch(7))
    forks._ledger.counters.merge(key, part_epoch(7), [("hits", 5, 0)])
    count(forks, hits=2)
    forks.at(7)

    assert (own(forks), forks.is_apart) == ([("hits", 2, 0)], True)


# -- where they part --------------------------------------------------------------------------


def test_lives_that_a_list_has_held_are_the_stores_and_no_other_is_for_certain():
    forks = make_forks(OLD)
    forks.recall(View({"n1": make_member(5)}), make_member(6))

    assert forks.fork(6) == 6
    assert forks.fork(7) == 0
    assert forks.fork(7, common=5) == 6
    assert forks.fork(7, common=7) == 0


def test_the_list_of_another_store_tells_nothing():
    forks = make_forks(OLD)
    forks.recall(View({"n1": make_member(5, NEW)}), make_member(6))
    forks.recall(View(), make_member(6))

    assert forks.listed == 0


def test_it_is_known_of_each_life_that_no_list_holds_what_came_before():
    forks = make_forks(OLD, starts=[(5, 7), (4, 3)])
    forks.listed = 4
    forks.at(3)
    count(forks, hits=5)
    forks.at(7)
    forks.resume(7, 6)
    assert (forks.can_split(4), forks.can_split(5), forks.can_split(6)) == (False, True, True)
    assert not forks.has_counted_since(6)
    count(forks, hits=1)

    assert (forks.has_counted_since(6), forks.has_counted_since(4)) == (True, False)
    forks.follow(View({"n1": make_member(6, boot=b"87654321")}), make_member(6))
    assert forks.can_split(6)
    forks.follow(View({"n1": make_member(6)}), make_member(6))
    forks.follow(View(), make_member(6))
    assert (forks.listed, forks.can_split(6), forks.dump()) == (6, False, [])


def test_of_very_many_lives_the_first_and_the_last_are_known():
    forks = make_forks(OLD, starts=[(n, n) for n in range(1, 9)])
    for token in range(1, 9):
        forks.at(token)
    forks.resume(9, 9)

    known = [epoch for epoch in range(1, 10) if forks.can_split(epoch)]
    assert known == [1, 7, 8, 9]
    assert len(known) == BASES_MAX


def test_a_node_in_memory_keeps_nothing_and_other_records_are_left_alone():
    forks = make_forks(OLD, durable=False)
    forks.resume(0, 1)

    assert forks.dump() == []
    assert not forks.restore(wire.packed(["share", OLD, 1, []]))


def test_a_life_says_how_far_the_log_went_when_it_and_those_before_it_began():
    forks = make_forks(OLD, starts=[(5, 7), (4, 2**63)])

    ends = forks.begins(9)

    assert [int.from_bytes(ends[at : at + 8], "big") for at in (0, 8, 16)] == [9, 7, 9]


def test_of_each_part_in_line_it_knows_in_which_life_the_next_store_went_on_from_there():
    forks = make_forks(NEWER, splits=[(OLD, 7), (NEW, 9)])
    first, second = Life(2, b"two-boot", 3), Life(3, b"thr-boot", 7)
    forks.pasts = ((first, Life(1, b"one-boot", 0)), (second,))
    own = [Life(5, b"fiv-boot", 11), Life(4, b"fou-boot", 9)]
    of_old, of_new = (
        part_key(store, part_epoch(token), life.boot)
        for store, token, life in ((OLD, 7, first), (NEW, 9, second))
    )

    assert forks.fork_behind(of_old, own) == second.boot
    assert forks.fork_behind(of_new, own) == b"fou-boot"
    assert forks.fork_behind(part_key(OLD, part_epoch(7), b"else"), own) == b""
