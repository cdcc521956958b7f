"""A plan is played on a fleet that is up: writers, readers, and what happens to nodes meanwhile.

The rule: it knows names, endpoints and counters, never a node, so the same stage serves every
way in which nodes can be run.
"""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic

from counter.client.options import Options
from loadtest.finals import Group, question
from loadtest.fleet import Fleet
from loadtest.readers import Readers
from loadtest.runs import FINAL_PAUSE_S, FINAL_S_MAX, Run
from loadtest.streams import Driven
from loadtest.timeline import CRASH, PARTITION, PAUSE, RESTART, Act
from loadtest.writers import Writer
from tracker.errors import ClusterError

SHOW_S = 0.1
CLIENT_DEADLINE_S = 5.0
"""What an increment may take in all, retries at its node included; that of clients by default."""
SETTLE_S_MAX = 30.0
"""How long increments on their way are waited for when the load is over; each ends by itself."""


class Stage:
    """A fleet that is up, and the plan that is played on it."""

    def __init__(self, run: Run, fleet: Fleet) -> None:
        self.run = run
        self.plan = run.plan
        self.fleet = fleet
        self.readers = Readers(run, fleet)
        self.writers: list[Driven] = []
        self._stopped = asyncio.Event()
        run.stop.on_wish(self._stopped.set)

    async def play(self) -> None:
        """Crash some, let writers and readers loose, and find the exact total at the end."""
        run = self.run
        names = self.plan.crashed()
        await self.fleet.crash(names)
        run.crashed(names)
        await self.open_writers()
        try:
            await self._load()
            await self.bring_back()
            await self.resolve()
            for driven in self.writers:
                await driven.close()
            await self.finish()
        finally:
            await self.close()

    async def open_writers(self) -> None:
        """Make the clients that count, and let each find a node."""
        options = Options(
            trackers=(self.fleet.tracker_endpoint,),
            cluster=self.fleet.cluster,
            pick=self.plan.pick,
            deadline_s=CLIENT_DEADLINE_S,
        )
        books, generator = self.run.books, self.run.generator
        self.writers = [
            Driven(Writer(self.plan, number, options, books, generator))
            for number in range(self.plan.writers)
        ]
        for driven in self.writers:
            driven.connect()
        await self.settled()

    async def close(self) -> None:
        """End all connections."""
        for driven in self.writers:
            await driven.close()
        self.readers.close()

    # -- the load -----------------------------------------------------------------------------

    async def _load(self) -> None:
        run, began = self.run, monotonic()
        run.begun(began, monotonic)
        usage = await self.fleet.usage()
        run.generator.is_shared = usage.has_caller
        cpu_s = _cpu_s()
        for driven in self.writers:
            driven.begin(began)
        happening = asyncio.create_task(self._happen(began))
        try:
            await self.readers.ask_all(began, self._until)
            await self._until(began + self.plan.duration_s)
            run.writes.elapsed_s = monotonic() - began
        finally:
            run.generator.cpu_s, run.generator.elapsed_s = _cpu_s() - cpu_s, monotonic() - began
            for driven in self.writers:
                driven.stop()
            if run.stop.is_wished:
                happening.cancel()
            await asyncio.gather(happening, return_exceptions=True)
            await self.settled()
            await self.readers.all_answered()
        if not happening.cancelled():
            happening.result()

    async def settled(self) -> None:
        """Wait until nothing is on its way; what is in doubt by then is resolved later."""
        waiting = [driven.idle.wait() for driven in self.writers]
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S_MAX):
                await asyncio.gather(*waiting)

    async def _until(self, time: float) -> None:
        """Wait until a time, or until a person wants no more, showing how far the load is."""
        run = self.run
        while not run.stop.is_wished and (left := time - monotonic()) > 0.0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, SHOW_S)):
                    await self._stopped.wait()
            run.watcher.loading(run.writes.acked, run.queries.count)

    async def _happen(self, began: float) -> None:
        """Do to the nodes what the plan says, each at its time."""
        for act in self.plan.acts():
            await asyncio.sleep(max(0.0, began + act.at_s - monotonic()))
            await self._act(act)

    async def _act(self, act: Act) -> None:
        fleet = self.fleet
        if act.kind == CRASH:
            # Whoever ends cannot be expected in an answer any more.
            self.run.acted(act)
            await fleet.crash(act.names)
            return
        if act.kind == RESTART:
            await fleet.restart(act.names)
        elif act.kind == PAUSE:
            await fleet.pause(act.names, act.for_s)
        elif act.kind == PARTITION:
            await fleet.partition(act.names, act.for_s)
        else:
            await fleet.set_loss(act.loss)
        self.run.acted(act)

    # -- the end ------------------------------------------------------------------------------

    async def bring_back(self) -> None:
        """Start those again who were ended on the way: what they hold belongs to the total."""
        names = self.run.down
        if names:
            await self.fleet.restart(names)
            self.run.came_back_at_end(names)

    async def resolve(self) -> None:
        """Send what was never acknowledged again, under its own identity: it counts once."""
        while doubtful := [driven for driven in self.writers if driven.writer.doubts]:
            for driven in doubtful:
                driven.resolve()
            await self.settled()

    async def finish(self) -> None:
        """Read every key once more: nothing is being written, so the total is exact."""
        run = self.run
        run.everybody_is_back()
        until = monotonic() + FINAL_S_MAX
        questions = self.readers.questions()
        for group in run.finals.groups:
            await self._read(group, questions, until)
        for key in run.keys_to_look_at():
            await self._read((key,), questions, until)

    async def _read(self, group: Group, questions: Iterator[tuple[str, str]], until: float) -> None:
        """Read some keys, again and again while somebody who is up is not in the answer."""
        while True:
            name, _ = next(questions)
            with suppress(OSError, ClusterError, TimeoutError):
                answer, asked = await self.readers.ask(name, question(group))
                totals = {row[0]: row[1] for row in asked.keyed}
                if len(group) == 1:
                    totals = {group[0]: answer.value}
                if self.run.total(group, totals, asked.rows):
                    return
            if monotonic() > until:
                return
            await asyncio.sleep(FINAL_PAUSE_S)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
