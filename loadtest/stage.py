"""A plan is played on a fleet that is up: writers and queries through doors.

The rule: it knows names, endpoints and counters, never a node, so the same stage serves every
way in which nodes can be run.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice
from time import monotonic

from counter.client.door import Asked, Door
from counter.messages import Answer, Query
from loadtest.fleet import Fleet
from loadtest.runs import RESULT_TRIES_MAX, RETRIES_MAX, Run
from loadtest.toll import Toll
from loadtest.writers import ACK_S_MAX, Unknown, Writer
from tracker.errors import ClusterError, RefusedError

ANSWER_S_MAX = 30.0
RETRY_S = 0.2
SHOW_S = 0.1


class Stage:
    """A fleet that is up, and the plan that is played on it."""

    def __init__(self, run: Run, fleet: Fleet) -> None:
        self.run = run
        self.plan = run.plan
        self.fleet = fleet
        self.toll = Toll(fleet, run.plan.latency_s)
        self.doors: dict[str, Door] = {}
        self.writers: list[Writer] = []
        self._stopped = asyncio.Event()
        run.stop.on_wish(self._stopped.set)

    async def play(self) -> None:
        """Crash some, let writers and queries loose, and find the exact total at the end."""
        run, plan = self.run, self.plan
        names = plan.crashed()
        await self.fleet.crash(names)
        run.crashed(names)
        try:
            for number, name in enumerate(plan.written_to(run.up)):
                self.writers.append(await Writer.open(run, self.fleet, number, name))
            await self._load(self.writers)
        finally:
            for writer in self.writers:
                writer.door.close()
        await self.resolve()
        await self.finish()
        for door in self.doors.values():
            door.close()

    async def _load(self, writers: Sequence[Writer]) -> None:
        run, began = self.run, monotonic()
        run.begun(began, monotonic)
        tasks = [asyncio.create_task(writer.write(began)) for writer in writers]
        try:
            await self._ask_all(began)
            await self._until(began + self.plan.duration_s)
            run.writes.elapsed_s = monotonic() - began
        finally:
            for writer, task in zip(writers, tasks, strict=True):
                writer.is_stopped = True
                # Who sleeps need not wake up; who waits for an acknowledgement still gets it.
                if not writer.is_counting:
                    task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    # -- queries ------------------------------------------------------------------------------

    async def _ask_all(self, began: float) -> None:
        run, plan = self.run, self.plan
        last = began + plan.last_query_s
        for number, (name, key) in enumerate(self._questions(plan.queries)):
            await self._until(began + number * plan.query_gap_s)
            if monotonic() >= last or run.stop.is_wished:
                return
            await self._query(name, key)
            run.watcher.loading(run.writes.acked, run.queries.count)

    def _questions(self, count: int) -> Iterator[tuple[str, str]]:
        return islice(self.plan.questions(self.run.up), count)

    async def _until(self, time: float) -> None:
        """Wait for a time or for a person's wish, and show how far the load is meanwhile."""
        run = self.run
        while not run.stop.is_wished and (left := time - monotonic()) > 0.0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, SHOW_S)):
                    await self._stopped.wait()
            run.watcher.loading(run.writes.acked, run.queries.count)

    async def _query(self, name: str, key: str) -> None:
        run = self.run
        await self.toll.open()
        reading = run.asked(key)
        try:
            answer, asked = await self._ask(name, key)
        except (OSError, ClusterError, TimeoutError) as error:
            run.failed(reading, name, _why(error))
            return
        cost = await self.toll.paid(name, answer)
        run.answered(reading, answer, asked.rows, cost)

    async def _ask(self, name: str, key: str) -> tuple[Answer, Asked]:
        async with asyncio.timeout(ANSWER_S_MAX):
            door = self.doors.get(name)
            if door is None:
                door = self.doors[name] = await Door.open(self.fleet.endpoints[name])
            try:
                return await door.ask(Query(0, key, 0, 0, 0, 0, 0, 0, 0, True))
            except BaseException:
                # Whatever it was, the next query to this node has a connection of its own.
                self.doors.pop(name).close()
                raise

    # -- the end ------------------------------------------------------------------------------

    @property
    def unknown(self) -> list[Unknown]:
        """What was sent and never acknowledged, of all writers."""
        return [unknown for writer in self.writers for unknown in writer.unknown]

    async def resolve(self) -> None:
        """Send what was never acknowledged again, under its own identity: it counts once."""
        for unknown in self.unknown:
            for _ in range(RETRIES_MAX):
                if await self._is_counted(unknown):
                    self.run.settled(unknown.key, unknown.amount, is_counted=True)
                    break
                await asyncio.sleep(RETRY_S)
            else:
                self.run.lost_track()

    async def _is_counted(self, unknown: Unknown) -> bool:
        try:
            async with asyncio.timeout(ACK_S_MAX):
                door = await Door.open(self.fleet.endpoints[unknown.node])
                with closing(door):
                    await door.count_again(*unknown.identity, unknown.key, unknown.amount)
        except (OSError, ClusterError, TimeoutError):
            return False
        return True

    async def finish(self) -> None:
        """Read every key once more: nothing is being written, so the total is exact."""
        keys = self.plan.keys
        questions = self._questions(RESULT_TRIES_MAX * len(keys))
        for key in keys:
            for _ in range(RESULT_TRIES_MAX):
                name, _ = next(questions)
                try:
                    answer, asked = await self._ask(name, key)
                except (OSError, ClusterError, TimeoutError):
                    continue
                if self.run.total(key, answer.value, asked.rows):
                    break


def _why(error: Exception) -> str:
    if isinstance(error, RefusedError):
        return f"refused ({error.code})"
    return "no answer" if isinstance(error, TimeoutError) else "connection lost"
