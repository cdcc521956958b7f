"""The tracker as a running service: its machine, its port, its small file.

The rule: nothing is decided here. Who is a member and who is told what is the registry's
business; this module binds the port, keeps the list on disk and says what happened.
"""

import asyncio
import gc
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from socket import AI_PASSIVE, SOCK_STREAM, gaierror, getaddrinfo, socket

import anyio

from tracker.config import TrackerConfig, shown_endpoint
from tracker.driver import Driver
from tracker.errors import ConfigError, StorageError
from tracker.files import read_checked, shown_path, write_atomically
from tracker.logs import speaker
from tracker.machine import Emit, Endpoint, Leave, Persist, Persisted, PersistFailed
from tracker.messages import MEMBERSHIP
from tracker.registry import Registry
from tracker.text import printable
from tracker.transport.tcp import TcpStreams, bind_tcp

MAGIC = b"GCTRACK\n"
LINKS_MAX = 16_384
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
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
        """Bind the port and read the list. Raises ConfigError and StorageError."""
        self.settings = settings
        self._file = ListFile(settings.data) if settings.data is not None else NoFile()
        saved = self._file.read()
        self._socket = listening(settings.listen, insecure=settings.insecure)
        self.endpoint: Endpoint = self._socket.getsockname()[:2]
        machine = Registry(settings.config, os.urandom(8), saved, random.Random(os.urandom(8)))
        self.machine = machine
        self.driver = Driver(machine, MEMBERSHIP, None, on_emit)
        self._streams = TcpStreams(
            self.driver,
            role="tracker",
            name="",
            cluster=settings.cluster,
            connections_max=LINKS_MAX,
        )

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


def resolved(endpoint: Endpoint, deed: str) -> Endpoint:
    """Return an address with the IP of its host. Raises ConfigError."""
    host, port = endpoint
    try:
        found = getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_PASSIVE)
    except (gaierror, UnicodeError, OSError) as error:
        raise ConfigError(f"cannot {deed} {printable(host, 80)}: no such host") from error
    return str(found[0][4][0]), port


def listening(
    endpoint: Endpoint, *, insecure: bool, bind: Callable[[Endpoint], socket] = bind_tcp
) -> socket:
    """Return a listening socket. Raises ConfigError with what to do about it."""
    address = resolved(endpoint, "listen on")
    if not ip_address(address[0]).is_loopback and not insecure:
        raise ConfigError(
            f"{shown_endpoint(address)} can be reached from other machines, and nothing there"
            " is protected yet\n  if that network is trusted:  --insecure"
        )
    try:
        return bind(address)
    except OSError as error:
        if address[1] and error.errno is not None and error.strerror == os.strerror(98):
            raise ConfigError(
                f"port {address[1]} is in use            pass --listen HOST:0 to pick a free one"
            ) from error
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"cannot listen on {shown_endpoint(address)}: {reason}") from error


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect cyclic garbage rarely: what lives long here is no garbage, and walking through
    all of it costs more than it frees."""
    old = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*old)


def run_daemon(serve: Callable[[anyio.Event], Awaitable[int]]) -> int:
    """Run a service until SIGTERM or Ctrl-C sets its event; returns its exit code.

    uvloop where it exists.
    """

    async def main() -> int:
        stop = anyio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        return await serve(stop)

    with rare_collections():
        return anyio.run(main, backend="asyncio", backend_options={"use_uvloop": has_uvloop()})


def has_uvloop() -> bool:
    """Whether uvloop can be imported here."""
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    return True


def run(settings: TrackerSettings) -> int:
    """Run a tracker until it is told to stop. Raises ClusterError for what fails at start."""

    async def serve(stop: anyio.Event) -> int:
        tracker = Tracker(settings, speaker(_to_stderr, as_json=settings.json))
        _to_stdout(first_lines(settings, tracker.endpoint, len(tracker.machine)))
        await tracker.start()
        await stop.wait()
        await tracker.stop()
        return 0

    return run_daemon(serve)


def first_lines(settings: TrackerSettings, endpoint: Endpoint, members: int) -> str:
    """Return what a tracker says first: what it is, where, where its list is, what is next."""
    where = shown_endpoint(endpoint)
    kept = f"list {shown_path(settings.data)}" if settings.data else "list in memory only"
    option = "" if endpoint[1] == 7400 else f" --tracker {where}"
    plural = "" if members == 1 else "s"
    return (
        f"counter tracker  {where}   {kept} ({members} member{plural})\n"
        f"next:  counter node --name n1{option}"
    )


def _to_stdout(text: str) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _to_stderr(text: str) -> None:
    with suppress(BrokenPipeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
