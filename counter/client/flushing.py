"""The thread that sends what was added to a `Client`, and when a program's end has it sent.

The rule: sums are taken and sent by this thread alone, wherever it can be started. Python runs
signal handlers, and raises KeyboardInterrupt, in the main thread; here nothing comes between
taking a sum and its being in a message. It holds its client only while something waits to be
sent, so that a client nobody else holds is collected, and ends its thread with it.
"""

import atexit
import os
import sys
import threading
import weakref
from contextlib import suppress
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final, Protocol

from counter.client.adding import FLUSH_S
from counter.client.operations import UncountedError

FORK_S: Final = 0.5
"""How long a fork waits at most for what was added before: the parent may end right after it."""

ALIVE_S: Final = 1.0
"""How often somebody who waits for the thread looks whether it lives."""


class Sending(Protocol):
    """A client, as this thread knows it."""

    def close(self) -> None:
        """Send what was added; raises UncountedError."""

    def _send_sums(self) -> None:
        """Send the sums, and wait until they have ended."""

    def _before_fork(self, within_s: float) -> None:
        """Have sent what was added, if that takes no longer."""


class _Word:
    """A wish, or the end; who waits for something puts an Event instead."""


_WISH: Final = _Word()
_END: Final = _Word()


class Flusher:
    """Begun by the first wish. Its queue is one that a signal handler may put into at any time."""

    def __init__(self) -> None:
        self._client: Sending | None = None
        self._queue: SimpleQueue[_Word | threading.Event] = SimpleQueue()
        self._is_wished = False
        self._thread: threading.Thread | None = None

    @property
    def is_begun(self) -> bool:
        """Whether anything was ever to be sent, and a thread to do it could be had."""
        return self._thread is not None

    def wish(self, client: Sending) -> None:
        """See to it that the sums are sent soon; they are there already."""
        self._client = client
        if not self._is_wished:
            self._is_wished = True
            self._queue.put(_WISH)
        if self._thread is None:
            self._start()

    def sent(self, client: Sending, within_s: float = inf) -> bool:
        """Return when all sums that are there have been sent and have ended.

        False if there is no thread to do that, or if it takes longer.
        """
        thread = self._thread
        if thread is None or thread is threading.current_thread() or not thread.is_alive():
            return False
        done = threading.Event()
        self._client = client
        self._queue.put(done)
        until = monotonic() + within_s
        while not done.wait(min(ALIVE_S, max(0.0, until - monotonic()))):
            if not thread.is_alive() or monotonic() >= until:
                return False
        return True

    def end(self, *, wait: bool) -> None:
        """Have the thread end; with `wait`, return when it has."""
        self._queue.put(_END)
        thread = self._thread
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="counter-flush", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:
            # The program ends, or has as many threads as it may: `close` and `flush` send as well.
            self._thread = None

    def _run(self) -> None:
        is_ending = False
        while not is_ending:
            words = [self._queue.get()]
            with suppress(Empty):
                if words[0] is _WISH:
                    words.append(self._queue.get(timeout=FLUSH_S))
                while True:
                    words.append(self._queue.get_nowait())
            # From here on whoever adds wishes anew, so what is taken now holds all before.
            self._is_wished = False
            client, self._client = self._client, None
            if client is not None:
                client._send_sums()
            del client
            for word in words:
                if isinstance(word, threading.Event):
                    word.set()
                is_ending = is_ending or word is _END


# -- the end of the program -----------------------------------------------------------------

_OPEN: "weakref.WeakSet[Sending]" = weakref.WeakSet()
_ends_with: set[int] = set()
"""The process that is a worker of `multiprocessing` and has been told to close what is open."""


def opened(client: Sending) -> None:
    """Close this client at the end of the program, if nobody has by then."""
    _OPEN.add(client)


def closed(client: Sending) -> None:
    """Forget it."""
    _OPEN.discard(client)


def close_at_the_end() -> None:
    """See to the workers of `multiprocessing`: they end without what `atexit` was told.

    Called in the worker itself, once something was added there: what was told before it began is
    forgotten in it.
    """
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or os.getpid() in _ends_with:
        return
    from multiprocessing.util import Finalize

    _ends_with.clear()
    _ends_with.add(os.getpid())
    Finalize(None, _close_all, exitpriority=0)


def tell(error: UncountedError) -> None:
    """Say what was not counted where nobody is left to be told."""
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(f"error: {error}\n")


def _close_all() -> None:
    """Send what was added before the program ends, and say what could not be."""
    for client in list(_OPEN):
        try:
            client.close()
        except UncountedError as error:
            tell(error)


def _before_fork() -> None:
    until = monotonic() + FORK_S
    for client in list(_OPEN):
        client._before_fork(max(0.0, until - monotonic()))


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)
