"""The data directory: whose it is, who may use it, and the one line that says why not."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from counter.storage.base import Rebirth, forked
from counter.storage.directory import BOOT_BYTES, BOOTS_MAX, IDENTITY_MAGIC, read_owner
from counter.storage.durable import DurableStorage
from tracker.boots import Life
from tracker.errors import DamagedError, LockedError, StorageError
from tracker.files import Disk, write_atomically
from tracker.names import derived

Open = Any

NOBODY = 65_534


def refusal(directory: Path, kind: type[StorageError] = StorageError, **options: Any) -> str:
    name = options.pop("name", "n1")
    with pytest.raises(kind) as caught:
        DurableStorage(directory, name, **options)
    assert type(caught.value) is kind
    return str(caught.value)


async def test_a_missing_directory_is_made_with_its_parents(opened: Open, directory: Path) -> None:
    async with opened(directory / "deeper" / "still") as store:
        await store.keep(b"a")

    assert (directory / "deeper" / "still").stat().st_mode & 0o077 == 0


class WatchedDisk(Disk):
    """Notes of which directories the names were made safe."""

    def __init__(self) -> None:
        self.synced: list[Path] = []

    def sync_directory(self, directory: Path) -> None:
        self.synced.append(directory)
        super().sync_directory(directory)


async def test_every_directory_that_was_made_is_named_on_the_disk(
    opened: Open, directory: Path
) -> None:
    disk = WatchedDisk()
    async with opened(directory / "deeper" / "still", disk=disk):
        pass

    # A power cut that takes one of these names back takes every count below it along.
    assert {directory.parent, directory, directory / "deeper"} <= {*disk.synced}


def test_a_file_in_its_place_is_refused(directory: Path) -> None:
    directory.write_bytes(b"mine")

    assert refusal(directory) == f"cannot use {directory} for data: it is a file, not a directory"
    assert directory.read_bytes() == b"mine"


def test_a_path_through_a_file_is_refused(directory: Path) -> None:
    directory.write_bytes(b"")

    assert "a part of the path is not a directory" in refusal(directory / "below")


def test_a_place_where_nothing_can_be_made_is_refused() -> None:
    assert refusal(Path("/proc/data")).startswith("cannot make the data directory /proc/data: ")


async def test_a_directory_in_use_names_the_process(opened: Open, directory: Path) -> None:
    async with opened():
        text = refusal(directory, LockedError)

    assert text == f"{directory} is used by process {os.getpid()}"


async def test_a_refused_second_process_leaves_the_epoch_alone(
    opened: Open, directory: Path
) -> None:
    async with opened() as store:
        refusal(directory, LockedError)
        assert store.store.identity.epoch == 1
    async with opened() as store:
        assert store.store.identity.epoch == 2


async def test_a_lock_held_by_who_left_no_number_is_said_all_the_same(
    opened: Open, directory: Path
) -> None:
    async with opened():
        (directory / "lock").write_bytes(b"\x1b[31m")

        assert refusal(directory, LockedError) == f"{directory} is used by another process"


HOLDER = """
import sys
from counter.storage.durable import DurableStorage
store = DurableStorage(sys.argv[1], "n1")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_the_lock_holds_between_processes_and_ends_with_the_process(directory: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(directory)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert refusal(directory, LockedError).endswith(f"is used by process {holder.pid}")
        holder.kill()
    store = DurableStorage(directory, "n1")

    assert store.identity.epoch == 2


async def test_a_lock_file_that_is_removed_lets_no_second_process_in(
    opened: Open, directory: Path
) -> None:
    async with opened():
        (directory / "lock").unlink()

        assert "is used by another process, whose lock file was removed" in refusal(
            directory, LockedError
        )


async def test_data_of_another_name_is_refused(opened: Open, directory: Path) -> None:
    async with opened():
        pass

    assert refusal(directory, name="n2") == (
        f"{directory} holds the counts of node n1, not of n2; use another directory"
    )


async def test_whoever_lost_its_name_keeps_the_one_that_is_left_until_it_is_told_another(
    opened: Open, directory: Path
) -> None:
    async with opened():
        pass
    owner = read_owner(directory)
    assert owner is not None
    left = derived("n1", owner.store)
    for asked, called in ((left, left), ("n1", left), (left, left), ("m7", "m7"), ("m7", "m7")):
        store = DurableStorage(directory, asked)
        assert store.identity.name == called
        await store.close()

    assert "holds the counts of node m7, not of n1" in refusal(directory)


async def test_a_name_that_another_store_would_derive_is_refused(
    opened: Open, directory: Path
) -> None:
    async with opened():
        pass

    other = derived("n1", b"z" * 16)
    assert f"holds the counts of node n1, not of {other}" in refusal(directory, name=other)


async def test_data_of_another_cluster_is_refused(opened: Open, directory: Path) -> None:
    async with opened(cluster="east"):
        pass

    assert "holds the counts of cluster east, not of west" in refusal(directory, cluster="west")


async def test_a_refusal_lets_go_of_the_directory(opened: Open, directory: Path) -> None:
    async with opened():
        pass
    refusal(directory, name="n2")

    async with opened() as store:
        assert store.store.identity.epoch == 2


async def test_who_owns_a_directory_can_be_read_without_opening_it(
    opened: Open, directory: Path
) -> None:
    assert read_owner(directory) is None

    async with opened(cluster="east") as store:
        owner = read_owner(directory)

    assert owner is not None
    assert (owner.name, owner.cluster, owner.epoch) == ("n1", "east", 1)
    assert owner.store == store.store.identity.store


async def test_a_damaged_identity_is_refused(opened: Open, directory: Path) -> None:
    async with opened():
        pass
    (directory / "identity").write_bytes(b"GOSSIDE\nxx")

    assert refusal(directory, DamagedError).startswith(f"{directory}/identity is damaged at byte")


@pytest.mark.parametrize("body", [b"\xff", b"[]", b"{}", b'{"store": "xyz", "epoch": 1}'])
def test_an_identity_that_says_something_else_is_refused(directory: Path, body: bytes) -> None:
    directory.mkdir()
    write_atomically(directory / "identity", body, IDENTITY_MAGIC)

    assert "identity is damaged" in refusal(directory, DamagedError)


async def test_an_identity_of_a_newer_version_is_refused_untouched(
    opened: Open, directory: Path
) -> None:
    async with opened():
        pass
    path = directory / "identity"
    write_atomically(path, json.dumps({"new": 1}).encode(), IDENTITY_MAGIC, version=2)
    before = path.read_bytes()

    assert "newer version" in refusal(directory)
    assert path.read_bytes() == before


async def test_counts_without_an_identity_are_refused(opened: Open, directory: Path) -> None:
    async with opened() as store:
        await store.keep(b"a")
    (directory / "identity").unlink()

    assert "identity is missing, though there are counts" in refusal(directory, DamagedError)


async def test_a_crash_in_the_first_moment_of_a_store_leaves_no_trace(
    opened: Open, directory: Path
) -> None:
    async with opened():
        pass
    (directory / "identity").unlink()

    async with opened() as store:
        assert store.store.identity.epoch == 1
        await store.keep(b"a")
    async with opened() as store:
        assert len(store.recovered) == 1


async def test_damaged_members_are_refused(opened: Open, directory: Path) -> None:
    async with opened() as store:
        await store.keep(b"m", kind="members")
    (directory / "members").write_bytes(b"?")

    with pytest.raises(DamagedError, match="members is damaged at byte 0"):
        async with opened():
            pass


# -- other users ----------------------------------------------------------------------------

AS_NOBODY = """
import os, sys
from counter.storage.durable import DurableStorage
from tracker.errors import StorageError
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
try:
    DurableStorage(sys.argv[1], "n1")
except StorageError as error:
    print(error)
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a directory that every user can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def as_nobody(directory: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(directory)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.stderr == ""
    return result.stdout


@pytest.mark.slow
def test_a_read_only_directory_is_refused(public: Path) -> None:
    directory = public / "data"
    directory.mkdir()
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    directory.chmod(0o500)

    assert as_nobody(directory) == f"cannot use {directory} for data: permission denied\n"


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_a_directory_of_another_user_is_refused_by_number(public: Path) -> None:
    directory = public / "data"
    directory.mkdir(mode=0o755)

    assert as_nobody(directory) == (
        f"cannot use {directory} for data: it belongs to another user (uid 0)\n"
    )


# -- boots, and a second birth ----------------------------------------------------------------


async def test_each_start_has_a_boot_of_its_own_and_names_those_before(
    opened: Open, directory: Path
) -> None:
    boots: list[bytes] = []
    for epoch in range(1, BOOTS_MAX + 3):
        async with opened() as store:
            identity = store.store.identity
        assert identity.epoch == epoch
        assert identity.lineage == b"".join(boots[: BOOTS_MAX - 1])
        boots.insert(0, identity.boot)

    assert len(set(boots)) == len(boots)
    assert {len(boot) for boot in boots} == {BOOT_BYTES}


async def test_an_old_backup_is_reborn_with_all_its_records_under_another_identity(
    opened: Open, directory: Path
) -> None:
    async with opened() as store:
        old = store.store.identity
        await store.keep(b"a", b"b")

    async with opened(reborn=Rebirth(0)) as store:
        new = store.store.identity
        assert [record for _, record in store.recovered] == [b"a", b"b"]
        await store.keep(b"c")

    assert new.store != old.store
    assert (new.epoch, new.lineage, new.parent, new.founder) == (1, b"", old.store, old.store)
    async with opened() as store:
        again = store.store.identity
        assert [record for _, record in store.recovered] == [b"a", b"b", b"c"]
    assert (again.store, again.epoch, again.lineage) == (new.store, 2, new.boot)
    assert (again.parent, again.founder) == (old.store, old.store)


async def test_two_copies_of_one_life_become_the_same_store_with_the_lives_since_the_fork(
    opened: Open, directory: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        async with opened():
            pass
    first, other = read_owner(directory), tmp_path / "other"
    assert first is not None
    shutil.copytree(directory, other)
    async with opened(reborn=Rebirth(2)) as store:
        one = store.store.identity
    for reborn in (None, Rebirth(2)):
        async with opened(other, reborn=reborn) as store:
            two = store.store.identity

    assert one.store == two.store == forked(first.store, first.boots[0])
    assert (one.epoch, two.epoch) == (3, 4)
    assert one.lineage == first.boots[0] == two.lineage[BOOT_BYTES:]
    assert [epoch for epoch, _ in two.starts] == [3, 2]


async def test_a_new_store_remembers_the_lives_up_to_each_fork(
    opened: Open, directory: Path
) -> None:
    starts = []
    for name in (b"a", b"b", b"c"):
        async with opened() as store:
            starts.append(store.store.identity)
            await store.keep(name)
    one, two, three = [start.boot for start in starts]
    async with opened(reborn=Rebirth(3)) as store:
        new = store.store.identity
    async with opened() as store:
        assert store.store.identity.pasts == new.pasts == ((Life(2, two, 1), Life(1, one, 0)),)

    async with opened(reborn=Rebirth(5)) as store:
        newer = store.store.identity

    assert newer.pasts == (*new.pasts, (Life(4, new.boot, 3), Life(3, three, 2)))


async def test_a_fork_before_all_starts_that_are_remembered_makes_a_store_like_no_other(
    opened: Open, directory: Path
) -> None:
    for _ in range(BOOTS_MAX + 1):
        async with opened():
            pass
    owner = read_owner(directory)
    assert owner is not None
    async with opened(reborn=Rebirth(1)) as store:
        new = store.store.identity

    assert (new.epoch, new.lineage) == (1, b"")
    assert new.store not in [forked(owner.store, boot) for boot in owner.boots]


async def test_a_store_may_be_reborn_twice_and_its_files_stay_readable(
    opened: Open, directory: Path
) -> None:
    stores = []
    for reborn in (None, Rebirth(0), Rebirth(0)):
        async with opened(reborn=reborn) as store:
            stores.append(store.store.identity)
            await store.keep(bytes([len(stores)]))
            store.store.snapshot([b"state", bytes([len(stores)])])
            await store.until_idle()

    assert len({identity.store for identity in stores}) == 3
    assert stores[2].parent == stores[1].store
    assert stores[2].founder == stores[0].store
    async with opened() as store:
        assert store.recovered == [("state", b"state"), ("state", b"\x03")]


async def test_a_directory_of_before_boots_were_kept_gets_its_first_one(
    opened: Open, directory: Path
) -> None:
    async with opened() as store:
        await store.keep(b"a")
    owner = read_owner(directory)
    assert owner is not None
    fields = {"store": owner.store.hex(), "epoch": 4, "name": "n1", "cluster": "default"}
    write_atomically(directory / "identity", json.dumps(fields).encode(), IDENTITY_MAGIC)

    async with opened() as store:
        identity = store.store.identity

    assert (identity.epoch, identity.lineage, identity.parent) == (5, b"", b"")
    assert len(identity.boot) == BOOT_BYTES
