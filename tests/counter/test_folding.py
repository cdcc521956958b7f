"""Shares of stores that left, made one: when that is allowed, and that no crash changes a sum."""

import pytest

from counter.config import NodeConfig
from counter.crdt import Counters, Share
from counter.folding import FOLD_AFTER_S, FOLD_STORES_MIN, LOOK_GAP_S, Folding, summed
from counter.ledger import Ledger
from tracker import wire
from tracker.machine import Emit, Persist, Persisted, PersistFailed
from tracker.members import GONE, Member, View
from tracker.wire import SHARE_MAX

OWN, GIVER = b"o" * 16, b"g" * 16
STORES = [bytes([number]) * 16 for number in range(1, FOLD_STORES_MIN + 1)]
TOTAL = sum(range(1, FOLD_STORES_MIN + 1))


def make_member(store, **fields):
    return Member(f"n{store[0]}", store, 0, 1, 0, "10.0.0.1", 7000 + store[0], **fields)


def make_view(*expected):
    gone = [make_member(s, status=GONE) for s in STORES if s not in expected]
    return View().merged([make_member(OWN), *gone, *map(make_member, expected)])


class Holder:
    """A node that holds shares of others; its disk is the list of what was written."""

    def __init__(self, *, durable=True, stores=STORES, members_max=1_024):
        counters = Counters(OWN, 1)
        counters.own.add("views", 1_000)
        for number, store in enumerate(stores, 1):
            counters.others[store] = share = Share(1)
            share.add("views", number)
            share.add(f"k{number}", -number)
        self.ledger = Ledger(NodeConfig(name="n1"), counters, durable=durable)
        self.folding = Folding(self.ledger, members_max)
        self.disk = []

    def took(self, effects):
        self.disk += [effect.record for effect in effects if isinstance(effect, Persist)]
        return [effect for effect in effects if not isinstance(effect, Persist)]

    def note(self, stores=STORES, giver=GIVER):
        return self.took(self.folding.note(giver, stores, 0.0))

    def look(self, now, view=None):
        return self.took(self.folding.look(view or make_view(), now))

    def look_until(self, until, view=None):
        effects = []
        while (due := self.folding.deadline()) is not None and due <= until:
            effects += self.look(max(0.0, due), view)
        return effects

    def synced(self):
        return self.folding.persisted(Persisted(self.ledger.token))

    @property
    def others(self):
        return self.ledger.counters.others

    def total(self, key="views"):
        return self.ledger.counters.value(key) - 1_000 * (key == "views")

    def again(self, records, stores=STORES):
        """Return the next life, made of its shares and of these records."""
        holder = Holder(stores=stores)
        for record in records:
            _, what, *fields = wire.unpacked(record)
            holder.folding.restore(what, fields)
        holder.folding.resume()
        return holder


def settled(**options):
    """Return a holder whose shares were settled just now, its next look not taken."""
    holder = Holder(**options)
    holder.note()
    holder.look_until(FOLD_AFTER_S - LOOK_GAP_S)
    assert len(holder.others) == len(STORES)
    return holder


# -- when -------------------------------------------------------------------------------------


def test_settled_shares_become_one_with_the_same_sums():
    holder = settled()

    assert holder.look_until(FOLD_AFTER_S) == []
    assert (len(holder.others), holder.folding.is_pending) == (len(STORES), True)
    assert holder.synced() == [Emit("folded", {"stores": 8, "keys": 9})]

    assert (len(holder.others), holder.folding.is_pending) == (1, False)
    assert (holder.total(), holder.total("k3")) == (TOTAL, -3)
    assert all(holder.folding.has(store) for store in STORES)


def test_in_memory_nothing_waits_for_a_disk():
    holder = settled(durable=False)

    assert holder.look_until(FOLD_AFTER_S) == [Emit("folded", {"stores": 8, "keys": 9})]
    assert (len(holder.others), holder.total(), holder.disk) == (1, TOTAL, [])


def test_nothing_is_folded_before_its_time_nor_while_an_owner_is_expected():
    holder = Holder()
    holder.note()
    holder.look_until(FOLD_AFTER_S - 1)
    holder.look_until(FOLD_AFTER_S + LOOK_GAP_S, make_view(STORES[2]))
    assert not holder.folding.is_pending

    holder.look_until(FOLD_AFTER_S + 3 * LOOK_GAP_S)
    assert holder.folding.is_pending


def test_who_knows_how_long_queries_run_that_heard_the_owner_waits_no_longer():
    holder = Holder()
    holder.took(holder.folding.note(GIVER, STORES, 0.0, 3.0))
    assert holder.folding.quiet_until(1.0) == 3.0

    holder.look_until(3.0 - 0.1)
    assert not holder.folding.is_pending
    holder.look_until(3.0 + LOOK_GAP_S)
    assert holder.folding.is_pending


def test_after_a_restart_nobody_knows_how_long_queries_run():
    holder = Holder()
    holder.took(holder.folding.note(GIVER, STORES, 0.0, 3.0))

    assert holder.again(holder.disk).folding.quiet_until(1.0) == 1.0 + FOLD_AFTER_S
    assert Holder().folding.quiet_until(1.0) == float("-inf")


@pytest.mark.parametrize("expected", [STORES[0], GIVER], ids=["an owner", "the giver"])
def test_what_a_member_may_still_tell_is_not_folded(expected):
    holder = Holder()
    holder.note()

    holder.look_until(3 * FOLD_AFTER_S, make_view(expected))

    assert not holder.folding.is_pending


def test_what_others_may_hold_as_well_is_not_folded():
    holder = Holder()
    holder.note(STORES[1:])

    holder.look_until(3 * FOLD_AFTER_S)

    assert (holder.folding.is_pending, holder.folding.deadline()) == (False, None)
    assert holder.folding.finals == tuple(STORES[1:])


def test_a_node_that_leaves_and_one_of_a_large_cluster_fold_nothing():
    leaver, large = settled(), settled(members_max=0)
    leaver.ledger.is_leaving = True

    for holder in (leaver, large):
        holder.look_until(2 * FOLD_AFTER_S)
        assert not holder.folding.is_pending


def test_sums_that_no_share_may_hold_are_left_apart():
    holder = settled()
    for store in STORES:
        holder.others[store].add("much", SHARE_MAX // 4)

    holder.look_until(2 * FOLD_AFTER_S)

    assert not holder.folding.is_pending


def test_word_of_what_is_not_held_or_was_said_before_is_nothing_new():
    holder = Holder()

    assert holder.folding.note(GIVER, [b"?" * 16], 0.0) == []
    holder.note()
    assert holder.folding.note(GIVER, STORES, 0.0) == []
    assert len(holder.disk) == 1


def test_a_folded_share_is_folded_again_with_the_next_ones():
    holder = settled(durable=False)
    holder.look_until(FOLD_AFTER_S)
    more = [bytes([number]) * 16 for number in range(101, 101 + FOLD_STORES_MIN)]
    for store in more:
        holder.others[store] = share = Share(1)
        share.add("views", 10)

    holder.folding.note(GIVER, more, 2_000.0)
    holder.look_until(2_000.0 + FOLD_AFTER_S + LOOK_GAP_S)

    assert (len(holder.others), holder.total()) == (1, TOTAL + 10 * len(more))


# -- the disk ---------------------------------------------------------------------------------


@pytest.mark.parametrize("is_synced", [False, True])
@pytest.mark.parametrize("length", [0, 1, 2])
def test_a_crash_changes_no_sum_wherever_it_falls(length, is_synced):
    holder = settled()
    holder.look_until(FOLD_AFTER_S)
    assert len(holder.disk) == 2
    if is_synced:
        holder.synced()

    again = holder.again(holder.disk[:length])

    assert again.total() == TOTAL
    assert len(again.others) == (1 if length == 2 else len(STORES))
    # It waits anew, and folds nothing else.
    again.look_until(FOLD_AFTER_S / 2)
    assert not again.folding.is_pending
    again.look_until(2 * FOLD_AFTER_S)
    assert again.folding.is_pending == (length == 1)


@pytest.mark.parametrize("moment", ["noted", "pending", "folded"])
def test_a_snapshot_says_the_same_as_the_log(moment):
    holder = settled()
    if moment != "noted":
        holder.look_until(FOLD_AFTER_S)
    if moment == "folded":
        holder.synced()
    again = Holder(stores=[])
    again.others.update(holder.others)

    for record in holder.folding.dump():
        _, what, *fields = wire.unpacked(record)
        again.folding.restore(what, fields)
    again.folding.resume()

    logged = holder.again(holder.disk)
    assert again.total() == logged.total() == TOTAL
    assert {*again.others} == {*logged.others}
    assert (again.folding.finals, again.folding.dump()) == (
        logged.folding.finals,
        logged.folding.dump(),
    )


def test_a_record_that_is_read_twice_folds_once():
    holder = settled()
    holder.look_until(FOLD_AFTER_S)

    again = holder.again([*holder.disk, *holder.disk])

    assert (again.total(), len(again.others), len(again.folding.finals)) == (TOTAL, 1, 1)


def test_a_record_that_was_not_written_is_written_another_time():
    holder = settled()
    holder.look_until(FOLD_AFTER_S)

    assert holder.folding.persist_failed(PersistFailed(1, "full", True)) == []
    assert holder.folding.persist_failed(PersistFailed(holder.ledger.token, "full", True)) == []
    assert (len(holder.others), holder.synced()) == (len(STORES), [])

    holder.look_until(FOLD_AFTER_S + LOOK_GAP_S)
    holder.synced()
    assert (len(holder.others), holder.total()) == (1, TOTAL)


def test_while_a_record_is_on_its_way_no_other_is_written():
    holder = settled()
    holder.look_until(FOLD_AFTER_S + 5 * LOOK_GAP_S)

    assert len(holder.disk) == 2
    assert holder.folding.persisted(Persisted(holder.ledger.token - 1)) == []


def test_what_was_folded_is_remembered_within_bounds(monkeypatch):
    monkeypatch.setattr("counter.folding.FOLDED_MAX", 3)
    holder = settled(durable=False)

    holder.look_until(FOLD_AFTER_S)

    assert [holder.folding.has(store) for store in STORES] == [False] * 5 + [True] * 3


# -- sums -------------------------------------------------------------------------------------


def test_a_sum_is_a_new_share_and_leaves_its_parts_as_they_are():
    parts = [Share(7), Share(9)]
    parts[0].add("a", 5)
    parts[0].add("b", -2)
    parts[1].add("a", 6)

    total = summed(parts)

    assert (total.value("a"), total.value("b"), total.epoch) == (11, -2, 1)
    assert total.has_decreased("b")
    assert [part.value("a") for part in parts] == [5, 6]
