"""The process from which those that hold nodes are forked, and which sees to it that they end.

Python and this product take a fifth of a second to import; a fork of a process that has done so
is there at once, and shares the memory of what was imported. It is told what to do over one
socket and told nothing else; who told it is gone when that socket ends.

The rule: no process outlives the load test. A child ends by itself when its own socket ends,
and what has not ended soon after (one that stands still hears nothing) is killed from here. So
is everything when the load test was killed. Signals of a terminal do not arrive here: the load
test decides when its nodes end.
"""

import gc
import importlib
import os
import select
import shutil
import signal
import socket
import struct
import sys
from contextlib import suppress
from time import monotonic
from typing import Final

from loadtest import worker
from tracker.daemon import has_uvloop

ORDER: Final = struct.Struct("=Bi")
"""FORK, or the number of a signal; the pid it is for. A socket comes along with FORK."""
FORK: Final = 0
NEWS: Final = struct.Struct("=BiiQ")
"""What happened; a pid; how it ended, as of `os.waitstatus_to_exitcode`; its CPU time in us."""
BORN, STILL, ENDED = 1, 2, 3
END_S_MAX: Final = 2.0
"""How long children may take to end by themselves."""
REAPED_MAX = 1_000_000
"""Children looked at in one turn: there are never so many."""
IMPORTED_LATE: Final = (
    "anyio._backends._asyncio",
    "counter.storage.durable",
    "encodings.ascii",
    "encodings.idna",
)
"""What a store, a loop that begins and a name that is looked up import only then."""


class Nursery:
    """Forks children, and waits for them."""

    def __init__(self, parent: socket.socket) -> None:
        self._parent = parent
        self._children: dict[int, None] = {}
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Serve until nobody tells anything any more."""
        poll = select.poll()
        poll.register(self._parent, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            ready = [number for number, _ in poll.poll()]
            if self._woken in ready:
                self._reap()
            if self._parent.fileno() in ready and not self._obey():
                return

    def end(self) -> None:
        """Wait until all children have ended; kill those that do not."""
        self._parent.close()
        until = monotonic() + END_S_MAX
        while self._children and (left := until - monotonic()) > 0.0:
            select.select([self._woken], [], [], left)
            self._reap()
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        for pid in self._children:
            os.waitpid(pid, 0)

    def _obey(self) -> bool:
        """Take one order; False when there are none to come."""
        data, files, _, _ = socket.recv_fds(self._parent, ORDER.size, 1)
        if len(data) < ORDER.size:
            return False
        what, pid = ORDER.unpack(data)
        if what == FORK:
            self._fork(files[0])
        elif pid in self._children:
            # Not reaped yet, so nobody else can have this pid.
            os.kill(pid, what)
        return True

    def _fork(self, file: int) -> None:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self._forget()
                worker.main(file)
                code = 0
            finally:
                os._exit(code)
        os.close(file)
        self._children[pid] = None
        self._tell(BORN, pid, 0, 0)

    def _forget(self) -> None:
        """Be a child: what belongs to the nursery is not ours."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._parent.close()
        os.close(self._woken)
        os.close(self._wake)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._woken, 4_096)
        for _ in range(REAPED_MAX):
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                self._tell(STILL, pid, 0, 0)
                continue
            self._children.pop(pid, None)
            cpu_us = round(1e6 * (used.ru_utime + used.ru_stime))
            self._tell(ENDED, pid, os.waitstatus_to_exitcode(status), cpu_us)

    def _tell(self, what: int, pid: int, code: int, cpu_us: int) -> None:
        # Nobody may be left to hear it.
        with suppress(OSError):
            self._parent.sendall(NEWS.pack(what, pid, code, cpu_us))


def main(file: int, data: str) -> None:
    """Serve on this socket; at the end remove the directory `data`, unless that is empty."""
    # The system itself sends SIGHUP when the load test is killed while somebody stands still.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # What each child imports first, it shares with the others if it is here before.
    has_uvloop()
    for name in IMPORTED_LATE:
        importlib.import_module(name)
    # Nothing that is here now is ever garbage: a collection in a child would copy all of it.
    gc.collect()
    gc.freeze()
    nursery = Nursery(socket.socket(fileno=file))
    try:
        nursery.run()
    finally:
        nursery.end()
        if data:
            shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
