"""Where the event loop waits while many clients wait for the disk: asleep, not woken by each.

A message wakes a loop that has nothing to do. While a commit is under way that gains nothing: the
increment in it is read, and waits for the next commit. Where many clients count, the processor then
goes to waking up, on both sides. So the loop sleeps here for a moment instead, and what is
sent meanwhile gathers in the sockets, to be read at once, as it does where a server syncs itself.

The rule: it sleeps no longer than it is told, and what is urgent wakes it: the disk's word, and
datagrams, which are what other nodes wait for.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from selectors import EVENT_READ, BaseSelector, DefaultSelector

from counter.storage.appending import Appender
from counter.storage.pacing import LULL_S, REST_S


class Lull:
    """Descriptors that may wake a loop from its sleep."""

    def __init__(self) -> None:
        """Heed nothing yet."""
        self._urgent: BaseSelector | None = None
        # Where the system has no descriptor left nobody sleeps, which is no more than slower.
        with suppress(OSError):
            self._urgent = DefaultSelector()

    def heed(self, descriptor: int) -> None:
        """Have this descriptor end a sleep while there is something to read from it."""
        if self._urgent is not None:
            with suppress(OSError):
                self._urgent.register(descriptor, EVENT_READ)

    def rest(self, loop: asyncio.AbstractEventLoop, then: Callable[[], object]) -> None:
        """Sleep from the next turn of the loop on, and call `then` once it has read what came.

        From the next one, so that what this turn has to say leaves before.
        """

        def rest() -> None:
            self._wait(REST_S)
            loop.call_soon(then)

        loop.call_soon(rest)

    def watch(self, loop: asyncio.AbstractEventLoop, appender: Appender) -> None:
        """Sleep until a frame is on disk and told; the loop looks around in between."""

        def look() -> None:
            if appender.is_busy:
                self._wait(LULL_S)
                appender.hear()
            if appender.is_busy:
                loop.call_soon(look)

        loop.call_soon(look)

    def _wait(self, most_s: float) -> None:
        """Block until something urgent is there, and leave it unread."""
        if self._urgent is not None:
            self._urgent.select(most_s)

    def close(self) -> None:
        """Sleep no more."""
        urgent, self._urgent = self._urgent, None
        if urgent is not None:
            urgent.close()
