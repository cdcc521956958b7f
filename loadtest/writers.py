"""One client of a load test that counts, and what it keeps for the end.

The rule: an increment that was sent and not acknowledged is in doubt, neither counted nor
lost. Its identity is kept, so that sending it again counts it once.
"""

import asyncio
from dataclasses import dataclass
from time import monotonic

from counter.client.door import Door
from loadtest.fleet import Fleet
from loadtest.runs import Run
from tracker.errors import ClusterError, ConnectionLostError, RefusedError

ACK_S_MAX = 5.0
"""How long an acknowledgement is waited for before its outcome is called unknown."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """An increment that was sent and never acknowledged; `identity` is session and sequence."""

    node: str
    identity: tuple[bytes, int]
    key: str
    amount: int


class Writer:
    """One client that counts on one node, one increment at a time, not faster than its share."""

    def __init__(self, run: Run, fleet: Fleet, number: int, node: str, door: Door) -> None:
        self.door = door
        self.is_counting = False
        self.is_stopped = False
        self.unknown: list[Unknown] = []
        self._run = run
        self._fleet = fleet
        self._number = number
        self._node = node

    @classmethod
    async def open(cls, run: Run, fleet: Fleet, number: int, node: str) -> "Writer":
        """Connect to the node."""
        return cls(run, fleet, number, node, await Door.open(fleet.endpoints[node]))

    async def write(self, began: float) -> None:
        """Count until told to stop; what is not acknowledged is kept to be sent again."""
        arrivals = self._run.plan.arrivals(self._number)
        for key, amount in self._run.plan.increments(self._number):
            await asyncio.sleep(max(0.0, began + next(arrivals) - monotonic()))
            self.is_counting = True
            await self.count(key, amount)
            self.is_counting = False
            if self.is_stopped:
                return

    async def count(self, key: str, amount: int) -> None:
        """Send one increment and wait for what becomes of it."""
        run, door = self._run, self.door
        run.sent(key, amount)
        sent_at = monotonic()
        try:
            async with asyncio.timeout(ACK_S_MAX):
                await door.count(key, amount)
        except RefusedError:
            run.settled(key, amount, is_counted=False)
        except (ConnectionLostError, TimeoutError):
            await self._lose(key, amount)
        else:
            run.counted(key, amount, monotonic() - sent_at)

    async def _lose(self, key: str, amount: int) -> None:
        """Keep what is in doubt for the end, and go on over a new connection."""
        old = self.door
        self.unknown.append(Unknown(self._node, old.last, key, amount))
        old.close()
        try:
            self.door = await Door.open(self._fleet.endpoints[self._node])
        except (OSError, ClusterError):
            self.is_stopped = True
