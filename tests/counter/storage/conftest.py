"""Makers for the tests of the durable store: an ear for results, a store opened and closed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from counter.storage import durable
from counter.storage.base import COUNTS, SnapshotEnd
from counter.storage.durable import DurableStorage
from tracker.machine import Persist, Persisted, PersistFailed


class Opened:
    """A started store, what it recovered, and what it told."""

    def __init__(self, store: DurableStorage) -> None:
        self.store = store
        self.recovered = list(store.recover())
        self.events: list[Persisted | PersistFailed] = []
        self._heard = asyncio.Event()
        self.ends: list[SnapshotEnd] = []
        store.start(self._hear, self.ends.append)

    def _hear(self, event: Persisted | PersistFailed) -> None:
        self.events.append(event)
        self._heard.set()

    async def heard(self) -> list[Persisted | PersistFailed]:
        """Return all events, once the last token written was told."""
        while not self.events or self.events[-1].token < self.store.token:
            self._heard.clear()
            await self._heard.wait()
        return self.events

    async def keep(self, *records: bytes, kind: str = COUNTS) -> None:
        """Write records, one commit each, and see them safe."""
        for record in records:
            self.store.write(Persist(self.store.token + 1, kind, record))
            assert (await self.heard())[-1] == Persisted(self.store.token)

    async def until_idle(self) -> None:
        """Wait for the work in the background, a snapshot above all."""
        await asyncio.wait_for(self.store._idle.wait(), 10)


Open = Callable[..., AbstractAsyncContextManager[Opened]]


@pytest.fixture(autouse=True)
def unmarked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note nowhere how far a log is safe, or a slow test would differ from a quick one."""
    monkeypatch.setattr(durable, "MARK_S", 1e6)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def opened(directory: Path) -> Open:
    """Open the store in `directory`, recover, start; close it at the end of the block."""

    @asynccontextmanager
    async def open_store(path: Path = directory, **options: Any) -> AsyncIterator[Opened]:
        store = DurableStorage(path, "n1", **options)
        try:
            yield Opened(store)
        finally:
            await store.close()

    return open_store
