"""The simulated disk of one machine: what was synced survives a crash, and only that.

The rule: a record is kept when its fsync has ended, not when it was written. One fsync runs
at a time; whatever is written meanwhile goes into the next (group commit). A crash loses the
rest, but for a prefix of it that `survival` may let through: a record that was written
without having been acknowledged is what a real disk may hold, too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import log
from random import Random

from counter.storage.base import MEMBERS, At, Identity, Rebirth, forked, past_of
from loadtest.simulation.agenda import Agenda, SimulationError
from tracker.boots import LINEAGE_MAX
from tracker.digest import blake2b
from tracker.errors import ConfigError
from tracker.machine import Persist, Persisted, PersistFailed
from tracker.names import derived

QUEUE_MAX = 1_000_000
BOOTS_MAX = LINEAGE_MAX + 1

Done = Callable[[Persisted | PersistFailed], None]


@dataclass(frozen=True, kw_only=True)
class DiskConfig:
    """How fast and how faithful a disk is. Times in seconds."""

    fsync_s: float = 0.001
    """Least time of an fsync; 0 or more."""
    jitter_s: float = 0.001
    """Mean of what comes on top, exponentially distributed; 0 or more."""
    survival: float = 0.0
    """Chance of each record in turn to survive a crash though its fsync had not ended."""
    durable: bool = True
    """False for a machine that keeps everything in memory: a crash is a new store."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in plain words."""
        if not (self.fsync_s >= 0.0 and self.jitter_s >= 0.0):
            raise ConfigError("the times of an fsync need to be 0 or more")
        if not 0.0 <= self.survival <= 1.0:
            raise ConfigError(f"survival is {self.survival:g}, needs 0 to 1")


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of a disk: who it was then, and the records."""

    identity: Identity
    kept: tuple[Persist, ...]
    starts: tuple[tuple[int, int], ...] = ()


def _tell(at: At | None, token: int) -> None:
    if at is not None:
        at(token)


class Disk:
    """The records of one machine, over all of its lives.

    `open` begins a life and counts the epoch; then `recover` and `token` tell what was kept.
    """

    def __init__(self, config: DiskConfig, random: Random, agenda: Agenda) -> None:
        self.config = config
        self.failure: tuple[str, bool] | None = None
        self._random = random
        self._agenda = agenda
        self._done: Done | None = None
        self._identity = Identity(random.randbytes(16), 0, config.durable)
        self.name = ""
        """What its node was called when it was started last."""
        self._boots = 0
        self._starts: tuple[tuple[int, int], ...] = ()
        self._kept: list[Persist] = []
        self._queue: list[Persist] = []
        self._syncing: list[Persist] | None = None

    @property
    def identity(self) -> Identity:
        """Who this store is; the epoch is 0 before it was ever opened."""
        return self._identity

    @property
    def token(self) -> int:
        """The highest token kept; 0 in a new store."""
        return self._kept[-1].token if self._kept else 0

    def open(self) -> Identity:
        """Begin a life of the machine: one epoch further."""
        old = self._identity
        lineage = (old.boot + old.lineage)[: 8 * LINEAGE_MAX]
        begun = old.epoch + 1, self.token
        boot, self._starts = self._boot(), (begun, *self._starts)[:BOOTS_MAX]
        earlier = self._starts[1:]
        self._identity = replace(
            old, epoch=old.epoch + 1, boot=boot, lineage=lineage, starts=earlier
        )
        return self._identity

    def rebirth(self, reborn: Rebirth | None = None) -> None:
        """Let the next life be a new store that begins with what is kept.

        What was counted before the fork, where it is known, is told apart as the old store's.
        """
        old, fork = self._identity, 0 if reborn is None else reborn.fork
        later = [token for epoch, token in self._starts if epoch >= fork]
        split = [(old.store, min(later, default=self.token))] if fork else []
        past = [past_of(old.epoch, old.boots, self._starts, fork)] if fork else []
        boots = old.boot + old.lineage if fork else b""
        lives = old.epoch - fork + 1
        is_known = 0 < 8 * lives <= len(boots)
        boots = boots[: 8 * lives] if is_known else b""
        store = forked(old.store, boots[-8:] if is_known else self._boot())
        is_beside = reborn is not None and reborn.is_beside
        self._starts = tuple([s for s in self._starts if s[0] >= fork]) if is_known else ()
        self._identity = Identity(
            store,
            old.epoch if is_known else 0,
            old.durable,
            boot=boots[:8],
            lineage=boots[8:],
            parent=b"" if is_beside else old.store,
            founder=old.founder or old.store,
            name=derived(self.name, store) if is_beside else old.name,
            splits=(*old.splits, *split),
            pasts=(*old.pasts, *past),
        )

    def _boot(self) -> bytes:
        """Return bytes that no other life has, restored from a backup or not; no dice rolled."""
        self._boots += 1
        mixed = self._identity.store + self._boots.to_bytes(8, "big")
        boot: bytes = blake2b(mixed, digest_size=8).digest()
        return boot

    def recover(self, at: At | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (kind, record) of what was kept: the last `members` first, then the rest.

        `at` is told, on the way, of each token that the identity marks.
        """
        members = [record for record in self._kept if record.kind == MEMBERS]
        yield from ((record.kind, record.record) for record in members[-1:])
        marked = self._identity.marked
        for record in self._kept:
            while marked and marked[0] < record.token:
                _tell(at, marked.pop(0))
            if record.kind != MEMBERS:
                yield record.kind, record.record
        for token in marked:
            _tell(at, token)

    def connect(self, done: Done) -> None:
        """Tell `done` from now on what became of the records that are written."""
        self._done = done

    def write(self, record: Persist) -> None:
        """Queue a record for the next fsync."""
        if len(self._queue) >= QUEUE_MAX:
            raise SimulationError(f"{QUEUE_MAX} records wait for one disk")
        self._queue.append(record)
        if self._syncing is None:
            self._sync()

    def fail(self, reason: str, *, definite: bool = True) -> None:
        """Let every write from now on fail, until `mend`."""
        self.failure = (reason, definite)

    def mend(self) -> None:
        """Let writes succeed again."""
        self.failure = None

    def crash(self) -> None:
        """Lose what was not synced; the machine hears no more of it."""
        unsynced = [*(self._syncing or ()), *self._queue]
        self._queue, self._syncing, self._done = [], None, None
        if not self.config.durable:
            self.wipe()
            return
        for record in unsynced:
            if self._random.random() >= self.config.survival:
                break
            self._kept.append(record)

    def flush(self) -> None:
        """Keep everything that was written: the process ends gracefully, and waits for it."""
        self._kept += [*(self._syncing or ()), *self._queue]
        self._queue, self._syncing = [], None

    def backup(self) -> "Backup":
        """Return a copy of what is kept at this moment."""
        return Backup(self._identity, tuple(self._kept), self._starts)

    def restore(self, backup: "Backup") -> None:
        """Put a copy in the place of what was kept; the next life begins from that."""
        self._identity = backup.identity
        self._kept = list(backup.kept)
        self._starts = backup.starts

    def wipe(self) -> None:
        """Lose everything: the next life is a new store."""
        self._identity = Identity(self._random.randbytes(16), 0, self.config.durable)
        self._kept.clear()
        self._starts = ()

    def _sync(self) -> None:
        batch, self._queue = self._queue, []
        self._syncing = batch
        config = self.config
        delay = config.fsync_s - config.jitter_s * log(1.0 - self._random.random())
        self._agenda.at(self._agenda.now + delay, self._synced, batch)

    def _synced(self, batch: list[Persist]) -> None:
        if batch is not self._syncing:
            return
        self._syncing = None
        done = self._done
        if self.failure is None:
            self._kept.extend(batch)
            events: list[Persisted | PersistFailed] = [Persisted(batch[-1].token)]
        else:
            reason, definite = self.failure
            events = [PersistFailed(record.token, reason, definite) for record in batch]
        if self._queue:
            self._sync()
        if done is not None:
            for event in events:
                done(event)
