"""A fleet in which each node is a process of its own, as in the world.

The rule: what is done to a node is done to its process by the system: SIGKILL is the crash,
SIGSTOP and SIGCONT are the pause. Only what is done to the network is done inside.
"""

import asyncio
import signal
from collections.abc import Sequence
from time import monotonic
from typing import Any

from loadtest.holders import Holder
from loadtest.workers import ORDER_S_MAX, Workers


class Processes(Workers):
    """A tracker and `count` nodes, a process for each."""

    def __init__(self, count: int, **options: Any) -> None:
        """Make a fleet; the options are those of `Workers`. Raises ConfigError."""
        super().__init__(count, processes=count, **options)
        self._still_until: dict[int, float] = {}
        """When those that stand still go on, by their place; on the clock of this process."""

    async def crash(self, names: Sequence[str]) -> None:
        """Kill the processes of these nodes."""
        ended = [holder for holder in self._named(names) if not holder.end]
        for holder in ended:
            holder.is_given_up = True
            self.signal(holder, signal.SIGKILL)
        async with asyncio.timeout(ORDER_S_MAX):
            await asyncio.gather(*[holder.over.wait() for holder in ended])

    async def restart(self, names: Sequence[str]) -> None:
        """Start processes for nodes that were crashed. Raises ClusterError."""
        for old in self._named(names):
            if old.end:
                new = Holder(old.what, old.first, old.count, ports=old.ports)
                self.holders[old.first - 1] = new
                await self.start_holder(new)

    async def pause(self, names: Sequence[str], seconds: float) -> None:
        """Stop the processes of these nodes, and have them go on after so long."""
        loop = asyncio.get_running_loop()
        paused = [holder for holder in self._named(names) if not holder.end]
        for holder in paused:
            if not holder.is_stopped:
                holder.is_stopped = True
                holder.still.clear()
                self.signal(holder, signal.SIGSTOP)
        async with asyncio.timeout(ORDER_S_MAX):
            await asyncio.gather(*[holder.still.wait() for holder in paused])
        until = monotonic() + seconds
        for holder in paused:
            still = self._still_until
            still[holder.first] = max(until, still.get(holder.first, 0.0))
            loop.call_later(seconds, self._wake, holder)

    def _wake(self, holder: Holder) -> None:
        if not holder.is_stopped:
            return
        left = self._still_until[holder.first] - monotonic()
        if left > 0.0:
            # A later pause has put it off; or the loop, which counts whole ms, is early.
            asyncio.get_running_loop().call_later(left, self._wake, holder)
            return
        holder.is_stopped = False
        self.signal(holder, signal.SIGCONT)

    async def stop(self) -> None:
        """End all; those that stand still go on first, or they would not hear of it."""
        for holder in self.holders:
            if holder.is_stopped:
                self.signal(holder, signal.SIGCONT)
        await super().stop()

    def _named(self, names: Sequence[str]) -> list[Holder]:
        return [self.holders[int(name[1:]) - 1] for name in names]
