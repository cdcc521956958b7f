"""The data directory of one node: who it belongs to, and that one process at a time uses it.

    lock        held with flock for as long as the process lives; holds its pid. So is the
                directory itself, in case somebody takes the file for a stale one and removes it
    identity    store id, boot epoch, node name, cluster, boots: random bytes of the last starts;
                how far the log went when the node was last stopped in order
    members     the last view of the cluster, as the machine wrote it
    reserve     room for one more start on a full disk (`reserve`)

The rule: the boot epoch is raised, and on disk, before anything else is read or written; two
lives of a node never share one (FAULTS: F4, F6).

An old backup becomes a store of its own by its identity alone, in one write: a new store id, an
epoch that begins anew, and the old id as its parent. What it holds stays where it is, in files
that bear the id of the store that founded them.
"""

import errno
import fcntl
import json
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from counter.storage.base import UNKNOWN, Identity, Rebirth, forked, past_of
from counter.storage.log import Log, remove_strays
from counter.storage.reserve import Reserve, is_full
from tracker.boots import Life
from tracker.classes import dataclass, replace
from tracker.errors import DamagedError, LockedError, StorageError
from tracker.files import (
    Disk,
    cause_of,
    read_checked,
    reason_of,
    shown_path,
    translated,
    write_atomically,
)
from tracker.names import base_of, derived, is_derived
from tracker.text import printable

IDENTITY_MAGIC: Final = b"GOSSIDE\n"
MEMBERS_MAGIC: Final = b"GOSSMEM\n"
STORE_BYTES: Final = 16
BOOT_BYTES: Final = 8
LOCK_BYTES: Final = 32
BOOTS_MAX: Final = 17
"""Starts that are remembered: this one, and as many as a node names to a tracker."""

SPLITS_MAX: Final = 17
"""Stores in a row, each made of an old backup of the one before, that are told apart."""

UNWRITTEN_HINT: Final = (
    "\n  a start has to be written down before anything is answered: make room, or mount it anew;"
    "\n  or copy the directory to another disk, and start it there with --data"
)

_TOKEN = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Owner:
    """What the file `identity` says."""

    store: bytes
    epoch: int
    name: str
    cluster: str
    boots: tuple[bytes, ...] = ()
    parent: bytes = b""
    founder: bytes = b""
    reach: int = 0
    """The last token of the log when the store was last closed in order. A log never shrinks."""
    starts: tuple[tuple[int, int], ...] = ()
    """The starts that are remembered, the latest first: (epoch, the last token before it)."""
    is_beside: bool = False
    """Whether its parent stays a member."""
    splits: tuple[tuple[bytes, int], ...] = ()
    """Which stores it was made of, and up to which token of the log it was that one; the first of
    them first."""
    pasts: tuple[tuple[Life, ...], ...] = ()
    """The lives that each of them had until then, the latest first, as far as they are known."""

    @property
    def files(self) -> bytes:
        """The store id that the files of counts bear."""
        return self.founder or self.store

    @property
    def identity(self) -> Identity:
        """Who the store is that was opened just now, its latest boot being this one."""
        return Identity(
            self.store,
            self.epoch,
            durable=True,
            boot=self.boots[0],
            lineage=b"".join(self.boots[1:]),
            parent=b"" if self.is_beside else self.parent,
            founder=self.founder,
            name=self.name,
            starts=self.starts[1:],
            splits=self.splits,
            pasts=self.pasts,
        )


def read_owner(directory: Path) -> Owner | None:
    """Return whose data this is, without a lock; None for a directory never used."""
    path = directory / "identity"
    body = read_checked(path, IDENTITY_MAGIC)
    if body is None:
        return None
    try:
        fields = json.loads(body)
        # The first life of all begins with nothing, which is not written down.
        is_first = fields["epoch"] == 1 and not fields.get("parent")
        starts = fields.get("starts", [(1, 0)] if is_first else [])
        return Owner(
            bytes.fromhex(fields["store"]),
            int(fields["epoch"]),
            str(fields["name"]),
            str(fields["cluster"]),
            tuple([bytes.fromhex(boot) for boot in fields.get("boots", [])]),
            bytes.fromhex(fields.get("parent", "")),
            bytes.fromhex(fields.get("founder", "")),
            int(fields.get("reach", 0)),
            tuple([(int(epoch), int(token)) for epoch, token in starts]),
            bool(fields.get("beside", False)),
            tuple([(bytes.fromhex(store), int(end)) for store, end in fields.get("splits", [])]),
            tuple([_past_in(past) for past in fields.get("pasts", [])]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{shown_path(path)} is damaged at byte 14: not an identity") from error


def _past_in(past: Iterable[tuple[int, str, int]]) -> tuple[Life, ...]:
    return tuple([Life(int(epoch), bytes.fromhex(boot), int(begin)) for epoch, boot, begin in past])


def _called(owner: Owner, name: str) -> str:
    """Return what the node is called that is started under a name; empty if it is another one's.

    Who lost its name keeps the one that it derives, and is still started under the lost one; it may
    take a third one.
    """
    if owner.name == name or name == derived(owner.name, owner.store):
        return name
    if not is_derived(owner.name):
        return ""
    return owner.name if name == base_of(owner.name) else name


def _begin_of(owner: Owner, epoch: int) -> int:
    """Return the last token before a life; of one forgotten, that of the next one known."""
    return min([token for known, token in owner.starts if known >= epoch], default=UNKNOWN)


def _of_the_copy(owner: Owner, fork: int) -> Owner:
    """Return a copy with the lives from the fork on; with none where they are not remembered."""
    lives = owner.epoch - fork + 1 if fork else 0
    if not 0 < lives <= len(owner.boots):
        return replace(owner, epoch=0, boots=(), starts=())
    starts = tuple([start for start in owner.starts if start[0] >= fork])
    return replace(owner, boots=owner.boots[:lives], starts=starts)


def _pasts(owner: Owner, fork: int) -> tuple[tuple[Life, ...], ...]:
    """Return the lives of the stores that a copy was made of, after one more fork."""
    if not fork:
        return owner.pasts
    past = past_of(owner.epoch, b"".join(owner.boots), owner.starts, fork)
    # One for each split, also where an older version has written none.
    earlier = (*owner.pasts, *[()] * len(owner.splits))[: len(owner.splits)]
    return (*earlier, past)[-SPLITS_MAX:]


class Directory:
    """An open data directory. Raises StorageError where it cannot be used."""

    def __init__(
        self,
        path: Path,
        name: str,
        cluster: str,
        disk: Disk,
        *,
        reborn: Rebirth | None = None,
    ) -> None:
        """Make the directory if need be, lock it, and begin a new boot epoch.

        With `reborn` it is an old backup, or a copy, and becomes a new store that begins with its
        counts. What was counted before the fork is told apart from the rest.
        """
        self.path = path
        self.members_token = 0
        self.shortage = ""
        """Why there is no more room than what is kept for a start; empty where there is some."""
        self._disk = disk
        self._reserve = Reserve(path, disk)
        self._make()
        self._lock = self._locked()
        self._own_lock = -1
        try:
            self._own_lock = self._locked_itself()
            with translated("clean up in", path):
                remove_strays(path)
            self.owner = self._started(self._taken(name, cluster), reborn)
            self._write_owner()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let other processes in."""
        for descriptor in (self._lock, self._own_lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._own_lock = -1

    def read_members(self) -> bytes | None:
        """Return the last members record, or None."""
        body = read_checked(self.path / "members", MEMBERS_MAGIC)
        if body is None:
            return None
        if len(body) < _TOKEN.size:
            raise DamagedError(f"{shown_path(self.path / 'members')} is damaged at byte 14")
        self.members_token = _TOKEN.unpack_from(body)[0]
        return body[_TOKEN.size :]

    def write_members(self, token: int, record: bytes) -> None:
        """Replace the members record."""
        body = _TOKEN.pack(token) + record
        write_atomically(self.path / "members", body, MEMBERS_MAGIC, disk=self._disk)

    def note_reach(self, token: int) -> None:
        """Write down that the log is safe up to `token`. Raises StorageError."""
        if token > self.owner.reach:
            self.owner = replace(self.owner, reach=token)
            self._write_owner()

    def _make(self) -> None:
        path = self.path
        if path.is_dir():
            return
        made = [path, *[parent for parent in path.parents if not parent.exists()]]
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Each name on the way was new: one that a power cut takes back takes all below it.
            for directory in made:
                self._disk.sync_directory(directory.parent)
        except FileExistsError as error:
            raise StorageError(
                f"cannot use {shown_path(path)} for data: it is a file, not a directory"
            ) from error
        except OSError as error:
            raise StorageError(
                f"cannot make the data directory {shown_path(path)}: {reason_of(error)}"
            ) from error

    def _locked(self) -> int:
        path = self.path / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(
                f"cannot use {shown_path(self.path)} for data: {self._refusal(error)}"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _name_holder(descriptor)
        except BlockingIOError as error:
            holder = os.pread(descriptor, LOCK_BYTES, 0).strip()
            os.close(descriptor)
            who = f"process {holder.decode()}" if holder.isdigit() else "another process"
            raise LockedError(f"{shown_path(self.path)} is used by {who}") from error
        except OSError as error:
            os.close(descriptor)
            raise StorageError(f"cannot lock {shown_path(path)}: {reason_of(error)}") from error
        return descriptor

    def _locked_itself(self) -> int:
        """Lock the directory, where a directory can be locked; -1 where it cannot."""
        descriptor = -1
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise LockedError(
                f"{shown_path(self.path)} is used by another process, whose lock file was removed"
            ) from error
        except OSError:
            # Some network file systems lock files only: then that file has to do.
            if descriptor >= 0:
                os.close(descriptor)
            return -1
        return descriptor

    def _refusal(self, error: OSError) -> str:
        if isinstance(error, PermissionError):
            user = self.path.stat().st_uid
            if user != os.geteuid():
                return f"it belongs to another user (uid {user})"
        if error.errno == errno.EROFS:
            return f"{reason_of(error)}{UNWRITTEN_HINT}"
        return reason_of(error)

    def _taken(self, name: str, cluster: str) -> Owner:
        owner = read_owner(self.path)
        if owner is None:
            return self._founded(name, cluster)
        called = _called(owner, name)
        for what, found, wanted in (
            ("node", owner.name, owner.name if called else name),
            ("cluster", owner.cluster, cluster),
        ):
            if found != wanted:
                raise StorageError(
                    f"{shown_path(self.path)} holds the counts of {what} {printable(found)},"
                    f" not of {printable(wanted)}; use another directory"
                )
        return replace(owner, name=called)

    def note_start(self, token: int) -> None:
        """Write down what the log held when this life began. Raises StorageError."""
        before = self.owner.starts
        (epoch, _), *others = before
        starts = ((epoch, token), *others)
        # A fork before a life that never wrote anything is here.
        splits = tuple([(store, min(end, token)) for store, end in self.owner.splits])
        if (starts, splits) != (before, self.owner.splits):
            self.owner = replace(self.owner, starts=starts, splits=splits)
            self._write_owner()

    def _started(self, owner: Owner, reborn: Rebirth | None) -> Owner:
        boot = os.urandom(BOOT_BYTES)
        if reborn is not None:
            before = _of_the_copy(owner, reborn.fork)
            store = forked(owner.store, before.boots[-1]) if before.boots else os.urandom(16)
            parent, founder = owner.store, owner.files
            # A name that follows from the store is not that of another store.
            is_long = reborn.is_beside or is_derived(owner.name)
            name = derived(owner.name, store) if is_long else owner.name
            new = replace(owner, store=store, name=name)
            new = replace(new, epoch=before.epoch + 1, boots=(boot, *before.boots)[:BOOTS_MAX])
            split = [(parent, _begin_of(owner, reborn.fork))] if reborn.fork else []
            splits = (*owner.splits, *split)[-SPLITS_MAX:]
            starts = ((new.epoch, UNKNOWN), *before.starts)[:BOOTS_MAX]
            new = replace(new, starts=starts, splits=splits, pasts=_pasts(owner, reborn.fork))
            return replace(new, parent=parent, founder=founder, is_beside=reborn.is_beside)
        boots = (boot, *owner.boots)[:BOOTS_MAX]
        # The first life of all begins with nothing; of any other the log will tell.
        begun = owner.epoch + 1, UNKNOWN if owner.epoch else 0
        starts = (begun, *owner.starts)[:BOOTS_MAX]
        return replace(owner, epoch=owner.epoch + 1, boots=boots, starts=starts)

    def _founded(self, name: str, cluster: str) -> Owner:
        store = os.urandom(STORE_BYTES)
        log = Log(self.path, store, self._disk)
        if log.is_started:
            raise DamagedError(
                f"{shown_path(self.path / 'identity')} is missing, though there are counts"
                " beside it: it cannot be told whose they are"
            )
        # The first segment comes before the identity: from now on a missing log is damage.
        log.create()
        return Owner(store, 0, name, cluster)

    def _write_owner(self) -> None:
        """Write down who this is, also on a full disk. Raises StorageError."""
        try:
            self._write_identity()
        except StorageError as error:
            self._write_without_room(error)
        lack = self._reserve.fill()
        self.shortage = self.shortage or lack

    def _write_without_room(self, error: StorageError) -> None:
        if is_full(error) and self._reserve.spend():
            self.shortage = cause_of(error)
            try:
                self._write_identity()
                return
            except StorageError as second:
                error = second
        if is_full(error):
            raise StorageError(f"{error}{UNWRITTEN_HINT}") from error
        raise error

    def _write_identity(self) -> None:
        owner = self.owner
        fields: dict[str, object] = {
            "store": owner.store.hex(),
            "epoch": owner.epoch,
            "name": owner.name,
            "cluster": owner.cluster,
            "boots": [boot.hex() for boot in owner.boots],
        }
        if owner.parent:
            fields |= {"parent": owner.parent.hex(), "founder": owner.founder.hex()}
        if owner.starts and owner.starts != ((1, 0),):
            fields["starts"] = owner.starts
        if owner.is_beside:
            fields["beside"] = True
        if owner.splits:
            fields["splits"] = [(store.hex(), end) for store, end in owner.splits]
            fields["pasts"] = [
                [(epoch, boot.hex(), begin) for epoch, boot, begin in past] for past in owner.pasts
            ]
        if owner.reach:
            fields["reach"] = owner.reach
        body = json.dumps(fields).encode()
        write_atomically(self.path / "identity", body, IDENTITY_MAGIC, disk=self._disk)


def _name_holder(descriptor: int) -> None:
    """Write into a lock who holds it, in place: a full disk takes that. Else it names nobody."""
    try:
        os.pwrite(descriptor, f"{os.getpid()}\n".encode().ljust(LOCK_BYTES), 0)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
