"""What a query costs: the fleet's own counters before it, and after its last message.

The rule: one query at a time, and none before the last message of the one before has been
dealt with. Nothing else sends datagrams, so the difference of the nodes' own counters over a
query is what the query cost, by count and not by estimate.
"""

import asyncio
from collections.abc import Mapping
from time import monotonic

from counter.messages import Answer
from loadtest.costs import Cost
from loadtest.fleet import Fleet, Traffic
from loadtest.runs import DRAIN_S_MAX, HEADER_BYTES, SEAL_BYTES

LOOK_S = 0.002
QUIET_S = 0.010


class Toll:
    """The counters of a fleet, read around one query after another."""

    def __init__(self, fleet: Fleet, latency_s: float) -> None:
        self._fleet = fleet
        self._quiet_s = latency_s + QUIET_S
        self._gone = 0
        """Datagrams that left and never came, up to the last query."""
        self._before: Mapping[str, Traffic] = {}

    async def open(self) -> None:
        """Read the counters: a query is about to be asked."""
        self._before = await self._fleet.traffic()

    async def paid(self, origin: str, answer: Answer) -> Cost:
        """Wait for the last message of the query that was answered just now; say what it cost."""
        drain_ms = await self._drained(monotonic())
        nothing = Traffic()
        after = await self._fleet.traffic()
        spent = {name: now.since(self._before.get(name, nothing)) for name, now in after.items()}
        messages = sum([each.datagrams_out for each in spent.values()])
        others = [
            each.datagrams_out + each.datagrams_in for name, each in spent.items() if name != origin
        ]
        return Cost(
            messages=messages,
            bytes=sum([each.bytes_out for each in spent.values()])
            + messages * (HEADER_BYTES + SEAL_BYTES),
            duplicates=answer.duplicates + spent.get(origin, nothing).strangers,
            busiest=max(others, default=0),
            drain_ms=drain_ms,
        )

    async def _drained(self, answered_at: float) -> float | None:
        """Wait until no datagram is under way; returns how many ms after the answer the last came.

        When as many had come by one look as had left by the next, at once: two looks, since
        the parts of a fleet are not read at one moment (Mattern, Algorithms for distributed
        termination detection, 1987: the four counter method). Else (some are lost, some nodes
        are gone) when nothing has moved for longer than a message takes.
        """
        moved_at, last = answered_at, None
        while True:
            total = await self._fleet.totals()
            now = monotonic()
            if last is None or total != last:
                # What had already been dealt with when the answer came moves nothing after it.
                moved_at = now if last is not None else answered_at
            came = last.datagrams_in if last is not None else -1
            last = total
            gone = total.datagrams_out - total.datagrams_in
            if total.datagrams_out == came + self._gone or now - moved_at > self._quiet_s:
                self._gone = gone
                return 1000 * (moved_at - answered_at)
            if now - answered_at > DRAIN_S_MAX:
                return None
            await asyncio.sleep(LOOK_S)
