"""One timer of the event loop for all machines of a process that are at rest.

A node that hears from its tracker is called by its own timer only when that falls silent; and each
heartbeat puts that time off (`Driver.stands`). A thousand timers that find nothing due cost more
than the heartbeats themselves.

The rule: whoever rests is looked at by the earliest time at which any of them is due, and only puts
off its own.
"""

import asyncio
from math import inf
from time import monotonic
from typing import Protocol


class Resting(Protocol):
    """A machine's driver."""

    due: float
    """When it is to be woken, by `time.monotonic`; while it rests this only becomes later."""

    def wake(self) -> None:
        """Look at what is due."""


class Rest:
    """Who rests in the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._resting: dict[Resting, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = inf

    def take(self, who: Resting) -> None:
        """Have it woken when it is due, unless it is let go before."""
        self._resting[who] = None
        self._look_by(who.due)

    def let_go(self, who: Resting) -> None:
        """Wake it no more, if it rests."""
        self._resting.pop(who, None)

    def _look_by(self, due: float) -> None:
        if due >= self._looks_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = due
        self._timer = self._loop.call_later(max(0.0, due - monotonic()), self._look)

    def _look(self) -> None:
        self._looks_at, now = inf, monotonic()
        for who in [who for who in self._resting if who.due <= now]:
            del self._resting[who]
            # Each by itself: a mistake in one is nothing to the others.
            self._loop.call_soon(who.wake)
        self._look_by(min([who.due for who in self._resting], default=inf))
