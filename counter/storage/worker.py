"""One thread beside the event loop, for what waits for the disk.

The rule: one job at a time, in order, and what became of each is told on the loop. A pool of
threads would do the same at ten times the calls, and each of them contends for the interpreter.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from tracker.classes import dataclass

Told = Callable[[Any, BaseException | None], None]
"""Whom to tell: of a result, or of the error of programming that a job died of."""


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[], Any]
    told: Told


class Worker:
    """A thread that does jobs. All calls come from the event loop it was made in."""

    def __init__(self, name: str) -> None:
        """Start the thread. It keeps nobody's process alive."""
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(
        self, work: Callable[[], Any], told: Callable[[Any, BaseException | None], None]
    ) -> None:
        """Do `work` in the thread, then call `told` on the loop, with a result or an error."""
        self._jobs.put(_Job(work, told))

    def close(self) -> None:
        """Wait until every job is done, and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = job.work()
            except BaseException as raised:
                error = raised
            # A loop that is closed has nobody left to be told.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(job.told, result, error)
