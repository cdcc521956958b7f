"""The simulated disk: what survives, in which order it is told, what a new life finds."""

from random import Random

import pytest

from counter.storage.base import COUNTS, MEMBERS
from loadtest.simulation.agenda import Agenda
from loadtest.simulation.disks import Disk, DiskConfig
from tracker.machine import Persist, Persisted, PersistFailed


def make_disk(**config):
    agenda = Agenda()
    disk, told = Disk(DiskConfig(**config), Random("4711/disk"), agenda), []
    disk.connect(told.append)
    return agenda, disk, told


def write(disk, *tokens, kind=COUNTS):
    for token in tokens:
        disk.write(Persist(token, kind, b"r%d" % token))


def test_a_record_is_persisted_only_after_the_time_of_an_fsync():
    agenda, disk, told = make_disk(fsync_s=0.005, jitter_s=0.0)
    write(disk, 1)

    agenda.run_to(0.004)
    early = list(told)
    agenda.run_to(0.006)

    assert (early, told, disk.token) == ([], [Persisted(1)], 1)


def test_what_is_written_during_an_fsync_is_committed_together_by_the_next():
    agenda, disk, told = make_disk()
    write(disk, 1, 2, 3, 4)

    agenda.run_to(1.0)

    assert told == [Persisted(1), Persisted(4)]


def test_a_crash_loses_what_was_not_synced_and_says_nothing_of_it_later():
    agenda, disk, told = make_disk(fsync_s=0.005, jitter_s=0.0)
    write(disk, 1)
    agenda.run_to(0.006)
    write(disk, 2, 3)

    disk.crash()
    agenda.run_to(1.0)

    assert told == [Persisted(1)]
    assert list(disk.recover()) == [(COUNTS, b"r1")]


def test_with_survival_a_crash_leaves_a_prefix_of_what_was_not_synced():
    lengths = set()
    for seed in range(40):
        disk = Disk(DiskConfig(survival=0.5), Random(seed), Agenda())
        write(disk, 1, 2, 3)
        disk.crash()
        kept = [record for _, record in disk.recover()]
        assert kept == [b"r1", b"r2", b"r3"][: len(kept)]
        lengths.add(len(kept))

    assert lengths == {0, 1, 2, 3}


def test_recovery_yields_the_last_members_first_and_then_the_counts_in_order():
    agenda, disk, _ = make_disk()
    write(disk, 1)
    write(disk, 2, kind=MEMBERS)
    write(disk, 3)
    write(disk, 4, kind=MEMBERS)
    agenda.run_to(1.0)

    kept = [(MEMBERS, b"r4"), (COUNTS, b"r1"), (COUNTS, b"r3")]
    assert list(disk.recover()) == kept
    assert disk.token == 4


def test_a_new_life_of_a_durable_disk_is_the_same_store_one_epoch_on():
    _, disk, _ = make_disk()
    first = disk.open()

    disk.crash()
    second = disk.open()

    assert (first.store, first.epoch) == (second.store, second.epoch - 1)
    assert second.durable


def test_a_crash_of_a_machine_in_memory_is_a_new_and_empty_store():
    agenda, disk, _ = make_disk(durable=False)
    first = disk.open()
    write(disk, 1)
    agenda.run_to(1.0)

    disk.crash()

    assert disk.open().store != first.store
    assert (list(disk.recover()), disk.identity.epoch) == ([], 1)


@pytest.mark.parametrize("definite", [True, False], ids=["disk full", "fsync failed"])
def test_a_failing_disk_says_so_of_each_record_and_keeps_none(definite):
    agenda, disk, told = make_disk()
    disk.fail("no space left", definite=definite)
    write(disk, 1, 2)
    agenda.run_to(1.0)

    disk.mend()
    write(disk, 3)
    agenda.run_to(2.0)

    failed = [PersistFailed(token, "no space left", definite) for token in (1, 2)]
    assert told == [*failed, Persisted(3)]
    assert [record for _, record in disk.recover()] == [b"r3"]
