"""The tracker as a running service: its machine, its port, its small file.

The rule: nothing is decided here. Who is a member and who is told what is the registry's
business; this module binds the port, keeps the list on disk and says what happened.
"""

import asyncio
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tracker.classes import dataclass, field
from tracker.config import TRACKER_PORT, TrackerConfig, shown_endpoint
from tracker.daemon import complain, listening, run_daemon, say, tell_manager
from tracker.driver import Driver
from tracker.errors import DamagedError, StorageError
from tracker.files import read_checked, shown_path, write_atomically
from tracker.logs import speaker
from tracker.machine import Emit, Endpoint, Leave, Persist, Persisted, PersistFailed
from tracker.messages import MEMBERSHIP
from tracker.registry import Registry
from tracker.transport.tcp import TcpStreams
from tracker.wire import Codec

MAGIC = b"GCTRACK\n"
LINKS_MAX = 16_384
USUAL_ENDPOINTS = (("127.0.0.1", TRACKER_PORT), ("0.0.0.0", TRACKER_PORT))
"""Where nodes of this machine find a tracker that nobody names."""
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackerSettings:
    """Where a tracker listens and keeps its list. `data` None keeps it in memory only."""

    listen: Endpoint
    data: Path | None = None
    config: TrackerConfig = field(default_factory=TrackerConfig)
    json: bool = False
    insecure: bool = False
    cluster: str = "default"


class ListFile:
    """The list of expected members in one small file, written off the event loop.

    At most one write is under way and at most one waits: the latest list is the only one
    that matters.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "members"
        self._thread = ThreadPoolExecutor(1)
        self._latest: Persist | None = None
        self._is_writing = False
        self._settle: Callable[[Persisted | PersistFailed], None] = lambda event: None
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot use {shown_path(directory)}: {(error.strerror or 'error').lower()}"
            ) from error

    def read(self) -> bytes | None:
        """Return the saved list, None if there is none. Raises StorageError."""
        return read_checked(self._path, MAGIC)

    def start(self, settle: Callable[[Persisted | PersistFailed], None]) -> None:
        """Begin to take writes."""
        self._settle = settle

    def write(self, record: Persist) -> None:
        """Write the list, soon."""
        self._latest = record
        if not self._is_writing:
            self._next()

    def close(self) -> None:
        """Write what is still waiting; blocks for that one write."""
        self._thread.shutdown(wait=True)
        # The write that has just ended must find nothing to go on with.
        record, self._latest = self._latest, None
        if record is not None:
            with suppress(StorageError):
                write_atomically(self._path, record.record, MAGIC)

    def _next(self) -> None:
        record, self._latest = self._latest, None
        if record is None:
            return
        self._is_writing = True
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._thread, write_atomically, self._path, record.record, MAGIC)
        job.add_done_callback(lambda done: self._written(record, done.exception()))

    def _written(self, record: Persist, error: BaseException | None) -> None:
        self._is_writing = False
        if error is None:
            self._settle(Persisted(record.token))
        else:
            self._settle(PersistFailed(record.token, str(error), definite=False))
        self._next()


class NoFile:
    """A list that is kept in memory only: every write is done at once."""

    def __init__(self) -> None:
        self._settle: Callable[[Persisted | PersistFailed], None] = lambda event: None

    def read(self) -> bytes | None:
        """Return nothing: nothing was kept."""
        return None

    def start(self, settle: Callable[[Persisted | PersistFailed], None]) -> None:
        """Begin to take writes."""
        self._settle = settle

    def write(self, record: Persist) -> None:
        """Say that the list is kept, at the next turn of the loop."""
        asyncio.get_running_loop().call_soon(self._settle, Persisted(record.token))

    def close(self) -> None:
        """Keep nothing."""


class Tracker:
    """One running tracker."""

    def __init__(self, settings: TrackerSettings, on_emit: Callable[[Emit], None]) -> None:
        """Bind the port and read the list. Raises AddressError, ConfigError, StorageError."""
        self.settings = settings
        self._file = ListFile(settings.data) if settings.data is not None else NoFile()
        saved = self._saved()
        self._socket = listening(settings.listen, insecure=settings.insecure)
        self.endpoint: Endpoint = self._socket.getsockname()[:2]
        machine = Registry(settings.config, os.urandom(8), saved, random.Random(os.urandom(8)))
        self.machine = machine
        # No word of its is a datagram.
        self.driver = Driver(machine, MEMBERSHIP, Codec(), on_emit, reflex=machine.reflex)
        self._streams = TcpStreams(
            self.driver,
            role="tracker",
            name="",
            cluster=settings.cluster,
            connections_max=LINKS_MAX,
        )

    def _saved(self) -> bytes | None:
        try:
            return self._file.read()
        except DamagedError as error:
            raise DamagedError(
                f"{error}; if it is moved away, the nodes that are up teach the tracker their lists"
            ) from error

    async def start(self) -> None:
        """Begin to listen."""
        await self._streams.listen(self._socket)
        self._file.start(self.driver.settle)
        self.driver.start(self._streams, None, self._file)

    async def stop(self) -> None:
        """Stop listening; what is known stays on disk."""
        self.driver.submit(Leave())
        self.driver.close()
        self._streams.close()
        await self._streams.wait_closed()
        self._file.close()


def run(settings: TrackerSettings) -> int:
    """Run a tracker until it is told to stop. Raises ClusterError for what fails at start."""

    async def serve(stop: asyncio.Event) -> int:
        tracker = Tracker(settings, speaker(complain, as_json=settings.json))
        say(first_lines(settings, tracker.endpoint, len(tracker.machine)))
        await tracker.start()
        tell_manager("READY=1")
        await stop.wait()
        await tracker.stop()
        return 0

    return run_daemon(serve)


def first_lines(settings: TrackerSettings, endpoint: Endpoint, members: int) -> str:
    """Return what a tracker says first: what it is, where, where its list is, what is next."""
    where = shown_endpoint(endpoint)
    kept = f"list {shown_path(settings.data)}" if settings.data else "list in memory only"
    option = "" if endpoint in USUAL_ENDPOINTS else f" --tracker {where}"
    plural = "" if members == 1 else "s"
    return (
        f"counter tracker  {where}   {kept} ({members} member{plural})\n"
        f"next:  counter node --name n1{option}"
    )
