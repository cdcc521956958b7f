"""A store that keeps nothing: for nodes that may forget, and for tests.

The rule: it answers like a disk that is infinitely fast, later and in order, so that a machine
cannot tell the two apart except by `identity.durable`.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator

from counter.storage.base import At, Cut, Done, Identity, Over
from tracker.machine import Persist, Persisted


class MemoryStorage:
    """A new store each time: whoever restarts with it is somebody else."""

    def __init__(self) -> None:
        """Make up an identity."""
        self.identity = Identity(os.urandom(16), 1, durable=False)
        self._state: list[tuple[str, bytes]] = []
        self._token = 0
        self._told = 0
        self._done: Done | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def carried_on(self, name: str, state: Iterable[tuple[str, bytes]]) -> "MemoryStorage":
        """Return the same store in its next life, under a name, with what it holds now."""
        other = MemoryStorage()
        old = self.identity
        other.identity = Identity(old.store, old.epoch + 1, durable=False, name=name)
        other._state = [*state]
        other._token = other._told = self._token
        return other

    @property
    def token(self) -> int:
        """The highest token written."""
        return self._token

    def recover(self, at: At | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield what another life has left; nothing as a rule."""
        state, self._state = self._state, []
        return iter(state)

    def start(self, done: Done, over: Over | None = None) -> None:
        """Begin to take writes."""
        self._done = done
        self._loop = asyncio.get_running_loop()

    def write(self, record: Persist) -> None:
        """Call it written, at the loop's next turn; one call for all writes of this turn."""
        if self._loop is None:
            raise RuntimeError("write before start")
        if self._token == self._told:
            self._loop.call_soon(self._tell)
        self._token = record.token

    def answered(self, clients: Iterable[int]) -> None:
        """Do nothing: there is no disk that anybody waits for."""

    def heed(self, descriptor: int) -> None:
        """Do nothing: the loop never waits for a disk."""

    @property
    def wants_snapshot(self) -> bool:
        """Never: there is no log."""
        return False

    def snapshot(self, state: Iterable[bytes]) -> None:
        """Do nothing: there is no log to replace."""

    @property
    def cut(self) -> Cut | None:
        """Nothing: there is no log."""
        return None

    @property
    def is_overtaken(self) -> bool:
        """Never: whoever restarts is somebody else."""
        return False

    @property
    def shortage(self) -> str:
        """There is no disk that could be full."""
        return ""

    async def close(self, *, noted: bool = False) -> None:
        """Tell about what was written last."""
        self._tell()

    def _tell(self) -> None:
        if self._done is not None and self._told < self._token:
            self._told = self._token
            self._done(Persisted(self._token))
