"""The processes of a fleet, as they are seen from the process that plays the plan.

The rule: who gave an order waits for its answer or for the end of the process, whichever comes
first. How a process ended is known from the one that forked it, the nursery.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from loadtest import nursery
from loadtest.fleet import FleetError
from loadtest.orders import ANSWERS, ORDERS, Failed, Order, Told, Up, words
from tracker.errors import ConfigError
from tracker.wire import FrameReader, framed

FORK_S_MAX: Final = 60.0
"""How long the nursery may take to fork, the first time to import all it needs."""
END_S_MAX: Final = 5.0
"""How long the nursery may take to see everybody ended."""
LOOK_S = 0.02


@dataclass(eq=False, slots=True)
class Holder(asyncio.Protocol):
    """One process of a fleet, as it is seen from here."""

    what: str
    """What it holds, for people: "the tracker", "nodes n1 to n500"."""
    first: int = 0
    count: int = 0
    pid: int = 0
    up: int = 0
    known: int = 0
    """Members that its nodes know, added up."""
    ports: list[int] = field(default_factory=list)
    is_given_up: bool = False
    """Whether its end is our own wish."""
    is_stopped: bool = False
    """Whether it stands still, and would not answer."""
    why: str = ""
    end: str = ""
    """How it ended, once it has."""
    still: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _reader: FrameReader = field(default_factory=FrameReader)
    _transport: Any = None
    _request: int = 0
    _pages: dict[int, list[Told]] = field(default_factory=dict)
    _asked: dict[int, asyncio.Future[list[int]]] = field(default_factory=dict)

    @property
    def numbers(self) -> range:
        """The numbers of its nodes."""
        return range(self.first, self.first + self.count)

    async def ask(self, kind: Callable[..., Order], *fields: Any) -> list[int]:
        """Give an order and return the words of the answer. Raises FleetError and ConfigError."""
        if self.end:
            raise FleetError(f"the process of {self.what} {self.end}")
        self._request += 1
        request = self._request
        done = self._asked[request] = asyncio.get_running_loop().create_future()
        self._pages[request] = []
        try:
            if not self._transport.is_closing():
                self._transport.write(framed(ORDERS.encode(kind(request, *fields))))
            found: list[int] = await done
            return found
        finally:
            del self._asked[request], self._pages[request]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand each answer to whoever waits for it."""
        for body in self._reader.feed(data):
            self._take(ANSWERS.decode(body))

    def _take(self, answer: Any) -> None:
        if isinstance(answer, Up):
            self.up, self.known = answer.count, answer.known
        elif isinstance(answer, Failed) and not answer.request:
            self.why = answer.text
        elif (done := self._asked.get(answer.request)) is None or done.done():
            return
        elif isinstance(answer, Failed):
            done.set_exception(ConfigError(answer.text))
        else:
            self._pages[answer.request].append(answer)
            if answer.end:
                done.set_result(words(self._pages[answer.request]))

    def ended(self, how: str) -> None:
        """Hear that the process is no more: nobody waits for it any longer."""
        self.end = how + (f": {self.why}" if self.why else "")
        self.close()
        self.over.set()
        for done in self._asked.values():
            if not done.done():
                done.set_exception(FleetError(f"the process of {self.what} {self.end}"))

    def close(self) -> None:
        """Have it end, unless it stands still."""
        if self._transport is not None:
            self._transport.close()


class Nursery:
    """The process that forks the others, as it is seen from here."""

    def __init__(
        self,
        on_still: Callable[[int], None],
        on_end: Callable[[int, str, int], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._on_still = on_still
        self._on_end = on_end
        self._on_lost = on_lost
        self._ours: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._born: asyncio.Future[int] | None = None

    def start(self, data: str) -> None:
        """Start it; it removes the directory `data` when all is over. Raises OSError."""
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "loadtest.nursery", str(theirs.fileno()), data],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Ctrl-C in a terminal is for the load test alone.
                process_group=0,
            )
        self._ours.setblocking(False)
        asyncio.get_running_loop().add_reader(self._ours.fileno(), self._hear)

    @property
    def pid(self) -> int:
        """Its pid, 0 when there is none."""
        return 0 if self._process is None else self._process.pid

    async def fork(self, holder: Holder) -> None:
        """Fork one process, and connect it with its holder. Raises FleetError."""
        assert self._ours is not None
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._born = loop.create_future()
        try:
            with theirs:
                order = nursery.ORDER.pack(nursery.FORK, 0)
                socket.send_fds(self._ours, [order], [theirs.fileno()])
            async with asyncio.timeout(FORK_S_MAX):
                holder.pid = await self._born
        except (OSError, TimeoutError) as error:
            ours.close()
            raise FleetError(f"no process could be started for {holder.what}") from error
        await loop.create_unix_connection(lambda: holder, sock=ours)

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to one of its children, if that has not ended."""
        assert self._ours is not None
        with suppress(OSError):
            self._ours.send(nursery.ORDER.pack(number, pid))

    def _hear(self) -> None:
        assert self._ours is not None
        try:
            news = self._ours.recv(nursery.NEWS.size)
        except BlockingIOError:
            return
        except OSError:
            news = b""
        if len(news) < nursery.NEWS.size:
            asyncio.get_running_loop().remove_reader(self._ours.fileno())
            if self._born is not None and not self._born.done():
                self._born.set_exception(OSError("nobody forks any more"))
            self._on_lost()
            return
        what, pid, code, cpu_us = nursery.NEWS.unpack(news)
        if what == nursery.BORN and self._born is not None and not self._born.done():
            self._born.set_result(pid)
        elif what == nursery.STILL:
            self._on_still(pid)
        elif what == nursery.ENDED:
            self._on_end(pid, told_end(code), cpu_us)

    async def stop(self) -> None:
        """Have it end, with all it has forked; kill what does not."""
        if self._ours is not None and self._ours.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._ours.fileno())
            self._ours.close()
        process = self._process
        if process is None:
            return
        until = monotonic() + END_S_MAX
        # Nothing tells of it that would not need a thread, or a handler for all children.
        while not has_ended(process.pid) and monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        # Most often there is nobody left. Until it is waited for, its group is nobody else's.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._process = None


def has_ended(pid: int) -> bool:
    """Say whether a child has ended; whoever waits for it finds it still there."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def told_end(code: int) -> str:
    """Say how a process ended, in words that follow its name."""
    if code >= 0:
        return "ended by itself" if code == 0 else f"ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}"
