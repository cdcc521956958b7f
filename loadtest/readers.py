"""Those who ask, on sockets: one query after another, or each at its time.

The rule: a query that is asked alone is counted by the nodes' own counters, around it. Where
queries overlap, no difference of counters belongs to one of them: then what a query cost is what
its own answer says, and the report says that.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from time import monotonic

from counter.client.door import Asked, Door
from counter.messages import Answer, Query
from loadtest.costs import Bill
from loadtest.fleet import Fleet
from loadtest.runs import Question, Run
from loadtest.toll import Toll
from tracker.errors import ClusterError, RefusedError

ANSWER_S_MAX = 30.0
UNDER_WAY_MAX = 200
"""Queries under way at once; those that were to begin beyond that are counted as skipped."""


class Readers:
    """All clients that ask the nodes of a fleet; a connection for each node."""

    def __init__(self, run: Run, fleet: Fleet) -> None:
        self._run = run
        self._fleet = fleet
        self._bill = Bill()
        self._toll = Toll(fleet, run.plan.latency_s)
        self._doors: dict[str, Door] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """End all connections."""
        for door in self._doors.values():
            door.close()

    async def ask_all(self, began: float, until: Callable[[float], Awaitable[object]]) -> None:
        """Ask all queries of the plan; `until` waits for a time."""
        plan, run = self._run.plan, self._run
        questions = islice(self.questions(), plan.queries)
        # Queries that begin at their times need no more than these.
        last = began + (plan.duration_s if plan.queries_overlap else plan.last_query_s)
        for number, (name, key) in enumerate(questions):
            intended = began + number * plan.query_gap_s
            await until(intended)
            if monotonic() >= last or run.stop.is_wished:
                break
            if plan.queries_overlap:
                self._begin(name, key, intended)
            else:
                await self._asked_alone(name, key)
            run.watcher.loading(run.writes.acked, run.queries.count)

    async def all_answered(self) -> None:
        """Wait for the answers of queries that are under way; each ends by itself."""
        if self._under_way:
            await asyncio.wait(list(self._under_way))

    def questions(self) -> Iterator[tuple[str, str]]:
        """Yield (node that is asked, key), of nodes that are up when they are asked."""
        run = self._run
        names = list(run.up)
        for name, key in run.plan.questions(names):
            yield (name if name in run.up else run.up[names.index(name) % len(run.up)]), key

    async def ask(self, name: str, key: str) -> tuple[Answer, Asked]:
        """Ask a node. Raises OSError, ClusterError and TimeoutError."""
        async with asyncio.timeout(ANSWER_S_MAX):
            door = self._doors.get(name)
            if door is None:
                door = await Door.open(self._fleet.endpoints[name], self._fleet.cluster)
                # Somebody else may have been faster.
                if name in self._doors:
                    door.close()
                door = self._doors.setdefault(name, door)
            try:
                return await door.ask(Query(0, key, 0, 0, 0, 0, 0, 0, 0, True))
            except BaseException:
                # Whatever it was, the next query to this node has a connection of its own.
                if self._doors.get(name) is door:
                    del self._doors[name]
                    door.close()
                raise

    # -- one query ------------------------------------------------------------------------------

    async def _asked_alone(self, name: str, key: str) -> None:
        """Ask while nobody else does, and count what that costs."""
        await self._toll.open()
        question = self._run.asked(key)
        heard = await self._heard(question, name, key)
        if heard is not None:
            answer, asked = heard
            cost = await self._toll.paid(name, answer)
            self._run.answered(question, answer, asked.rows, cost)

    async def _heard(self, question: Question, name: str, key: str) -> tuple[Answer, Asked] | None:
        """Ask, and note it if that fails."""
        try:
            return await self.ask(name, key)
        except (OSError, ClusterError, TimeoutError) as error:
            self._run.failed(question, name, why(error))
            return None

    def _begin(self, name: str, key: str, intended: float) -> None:
        if len(self._under_way) >= UNDER_WAY_MAX:
            self._run.generator.queries_skipped += 1
            return
        task = asyncio.create_task(self._asked_among_others(name, key, intended))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _asked_among_others(self, name: str, key: str, intended: float) -> None:
        """Ask, whoever else does; its times are counted from when it was to begin."""
        run = self._run
        question = run.asked(key)
        heard = await self._heard(question, name, key)
        if heard is None:
            return
        answer, asked = heard
        whole_ms = 1000 * (monotonic() - intended)
        # Whoever shares a query with others that ask the same hears times from before its own.
        waited_ms = max(0.0, whole_ms - answer.elapsed_ms)
        run.answered(question, answer, asked.rows, self._bill.cost_of(answer), waited_ms=waited_ms)


def why(error: Exception) -> str:
    """Return in a few words why there is no answer."""
    if isinstance(error, RefusedError):
        return f"refused ({error.code})"
    return "no answer" if isinstance(error, TimeoutError) else "connection lost"
