"""A commit of a crowd waits for a part of it, a moment at most; any other begins at once."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from counter.storage import durable
from counter.storage.base import COUNTS
from counter.storage.pacing import CROWD, PART, PERIOD_S, SEEN_MAX, Pace
from tracker.files import Disk
from tracker.machine import Persist, Persisted

Open = Callable[..., AbstractAsyncContextManager[Any]]
MANY = 2 * CROWD
ENOUGH = MANY // PART


class CountingDisk(Disk):
    """Counts the syncs; as it is not the plain disk, the worker does them."""

    syncs = 0

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        super().sync(descriptor)


def paced(clients: int, now: float = 10.0) -> Pace:
    """Return the pace of a store that answered so many clients in the period that ends now."""
    pace = Pace()
    pace.answered(range(clients), now - PERIOD_S)
    pace.answered([], now)
    return pace


def test_with_few_clients_a_commit_begins_at_once() -> None:
    assert paced(CROWD).enough(10.0) == 0


def test_of_a_crowd_a_commit_waits_for_a_quarter() -> None:
    assert paced(MANY).enough(10.0) == ENOUGH


def test_a_client_that_is_answered_often_is_no_crowd() -> None:
    pace = Pace()
    for number in range(MANY):
        pace.answered([1, 2, 3], 10.0 + number * PERIOD_S / MANY)
    pace.answered([1], 10.0 + PERIOD_S)

    assert pace.enough(10.0 + PERIOD_S) == 0


def test_a_crowd_of_long_ago_is_none() -> None:
    pace = paced(MANY)

    assert pace.enough(10.0 + 2 * PERIOD_S) == 0

    pace.answered([1], 10.0 + 5 * PERIOD_S)
    assert pace.enough(10.0 + 5 * PERIOD_S) == 0


def test_no_more_clients_are_told_apart_than_its_limit_and_one_commit() -> None:
    pace = Pace()
    for number in range(10):
        pace.answered(range(number * SEEN_MAX, (number + 1) * SEEN_MAX), 10.0)
    pace.answered([], 10.0 + PERIOD_S)

    assert pace.enough(10.0 + PERIOD_S) == SEEN_MAX // PART


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def write(opened: Any, count: int) -> None:
    for _ in range(count):
        opened.store.write(Persist(opened.store.token + 1, COUNTS, b"x"))


async def test_a_commit_of_a_crowd_begins_once_a_part_of_it_is_there(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "REST_S", 60.0)
    disk = CountingDisk()
    async with opened(disk=disk) as store:
        store.store._pace = paced(MANY, asyncio.get_running_loop().time())
        before = disk.syncs
        for _ in range(ENOUGH - 1):
            write(store, 1)
            await turns()
        assert disk.syncs == before
        assert not store.events

        write(store, 1)
        async with asyncio.timeout(30):
            assert await store.heard() == [Persisted(ENOUGH)]
        assert disk.syncs == before + 1


async def test_a_commit_of_a_crowd_waits_a_moment_only(opened: Open) -> None:
    async with opened() as store:
        store.store._pace = paced(MANY, asyncio.get_running_loop().time())
        write(store, 1)

        async with asyncio.timeout(30):
            assert await store.heard() == [Persisted(1)]


async def test_a_store_that_is_closed_while_a_commit_rests_keeps_it(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "REST_S", 0.02)
    async with opened() as store:
        store.store._pace = paced(MANY, asyncio.get_running_loop().time())
        write(store, 1)
        await turns()
    assert store.events == [Persisted(1)]

    async with opened() as again:
        assert again.recovered == [(COUNTS, b"x")]


async def test_a_store_that_answers_a_crowd_has_its_commits_wait(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as store:
        loop, now = asyncio.get_running_loop(), 10.0
        monkeypatch.setattr(store.store, "_loop", Clock(loop, lambda: now))
        store.store.answered(range(MANY))
        now += PERIOD_S
        store.store.answered([])

        assert store.store._rests()
        store.store._end_rest()


class Clock:
    """A loop whose time is told."""

    def __init__(self, loop: asyncio.AbstractEventLoop, time: Callable[[], float]) -> None:
        self._loop = loop
        self.time = time

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)
