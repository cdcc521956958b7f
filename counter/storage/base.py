"""The storage interface: what the driver asks of a store, and what a store promises.

The rule: a store knows nothing of counters. It keeps opaque records in order and says when
they are safe; the machine alone knows what they mean. Records of kind `counts` are a log,
replayed in order, each exactly once; a record of kind `members` replaces the one before.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from tracker.boots import BOOT_BYTES, Life
from tracker.classes import dataclass
from tracker.digest import blake2b
from tracker.errors import StorageError
from tracker.machine import Persist, Persisted, PersistFailed

COUNTS = "counts"
MEMBERS = "members"
STATE = "state"

UNKNOWN = 2**63
"""Stands for where a life began that ended before its log was read: it has written nothing."""

Done = Callable[[Persisted | PersistFailed], None]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this store is: 16 random bytes for life, and how often it was opened (from 1).

    `boot` are 8 random bytes of this opening, `lineage` those of the openings before, the
    latest first. A store made of an old backup names that one as `parent`; `founder` is the
    first of a line of such stores, empty where there is no such line. `name` is what its node is
    called, empty where whoever starts it says so. `starts` are (epoch, token) of openings: all
    records up to the token were there. `splits` are (store, token) of those that it was made of,
    the first of them first: all records up to the token were theirs; `pasts` are the lives that
    each of these had until then, the latest first, as far as they are remembered.
    """

    store: bytes
    epoch: int
    durable: bool
    boot: bytes = b""
    lineage: bytes = b""
    parent: bytes = b""
    founder: bytes = b""
    name: str = ""
    starts: tuple[tuple[int, int], ...] = ()
    splits: tuple[tuple[bytes, int], ...] = ()
    pasts: tuple[tuple[Life, ...], ...] = ()

    @property
    def boots(self) -> bytes:
        """The boots of this opening and of those before it, the latest first."""
        return self.boot + self.lineage if self.boot else b""

    @property
    def marked(self) -> list[int]:
        """The tokens behind which something began, in order, as far as they are known."""
        tokens = {token for _, token in (*self.starts, *self.splits)}
        return sorted([token for token in tokens if token < UNKNOWN])


@dataclass(frozen=True, slots=True)
class Rebirth:
    """How a new store is made of a copy: from the life `fork` on what it counted is its own.

    0: nobody knows. It takes the place of the store that it is a copy of, or goes on `beside` it.
    """

    fork: int
    is_beside: bool = False


def past_of(
    epoch: int, boots: bytes, starts: Iterable[tuple[int, int]], fork: int
) -> tuple[Life, ...]:
    """Return the lives before a fork, the latest first, of a store that is in its life `epoch`.

    `boots` are of that life and of those before it, `starts` (epoch, token) of those remembered.
    """
    tokens, size = dict(starts), BOOT_BYTES
    before = range(fork - 1, epoch - len(boots) // size, -1)
    found = [(life, boots[size * (epoch - life) :][:size]) for life in before]
    return tuple([Life(life, boot, tokens.get(life, -1)) for life, boot in found])


def forked(store: bytes, boot: bytes) -> bytes:
    """Return the store that is made of a copy of this one, whose first life alone drew `boot`.

    Whoever copies that copy makes the same one of it: what both hold of that life is one store's.
    """
    found: bytes = blake2b(b"forked" + store + boot, digest_size=16).digest()
    return found


@dataclass(frozen=True, slots=True)
class SnapshotEnd:
    """How a snapshot ended, None for well, and how many bytes the log has now.

    One that was not begun (`is_begun`) would have held what the disk refused meanwhile.
    """

    error: StorageError | None
    log_bytes: int
    is_begun: bool = True


At = Callable[[int], None]
"""Told while records are recovered that all up to this token were yielded, and none behind it."""

Over = Callable[[SnapshotEnd], None]


@dataclass(frozen=True, slots=True)
class Cut:
    """The end of a log that was no whole frame, and is no more: `size` bytes at `offset`.

    It looks torn if something of it never came. One of which everything came looks `damaged`: it
    may have been acknowledged.
    """

    file: str
    offset: int
    size: int
    looks: str = "torn"


class Storage(Protocol):
    """A place for records. Every method raises StorageError for what the disk refuses."""

    identity: Identity

    def recover(self, at: At | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (kind, record) of what was kept: `members` at most once, then the records of
        the last snapshot as `state`, then the log after it as `counts`, in order.

        `at` is called on the way for each token that the identity marks, from that of the snapshot
        on.

        Called once, before anything else. A torn tail is cut; damage elsewhere raises
        DamagedError, naming file and offset.
        """

    @property
    def token(self) -> int:
        """The highest token recovered or written; 0 in a new store. The next Persist has +1."""

    def start(self, done: Done, over: Over | None = None) -> None:
        """Begin to take writes; `done` is called on the event loop, in the order of tokens.

        `over` is called there when a snapshot has ended.
        """

    def write(self, record: Persist) -> None:
        """Queue one record. Never blocks; what becomes of it is told to `done`."""

    def answered(self, clients: Iterable[int]) -> None:
        """Note which clients were just told that something of theirs is safe.

        A store that serves many of them together may let a commit wait for more of them.
        """

    def heed(self, descriptor: int) -> None:
        """Note, before `start`, a descriptor that the loop must answer at once.

        A store that serves many clients together may have the loop sleep for a moment.
        """

    @property
    def wants_snapshot(self) -> bool:
        """Whether the log has grown so long that a snapshot would pay."""

    def snapshot(self, state: Iterable[bytes]) -> None:
        """Replace the log by these records, which hold everything up to the last `write`.

        Takes the records at once, writes them in the background; on failure the log stays.
        """

    @property
    def cut(self) -> Cut | None:
        """What recovery cut from the end of the log; None after a life that left no torn tail."""

    @property
    def is_overtaken(self) -> bool:
        """Whether more was on this disk than was recovered: it is an old backup, or forgot."""

    @property
    def shortage(self) -> str:
        """Why this opening found no room but what was kept for it; empty where there was some.

        Then most writes will be refused until there is room again.
        """

    async def close(self, *, noted: bool = False) -> None:
        """Finish what was queued, then release the directory.

        With `noted` it is written down how far the log goes, so that the next opening refuses a
        log that ends before that, where it would otherwise take its end for a torn tail.
        """
