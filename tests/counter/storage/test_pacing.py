"""A commit of a crowd waits for a part of it, a moment at most; any other begins at once.

And while one of many clients is under way the loop sleeps, but for what is urgent.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from counter.storage import lull
from counter.storage.base import COUNTS
from counter.storage.lull import Lull
from counter.storage.pacing import CROWD, GROUP, PART, PERIOD_S, SEEN_MAX, Pace
from tracker.files import Disk
from tracker.machine import Persist, Persisted
from tracker.native import extension

Open = Callable[..., AbstractAsyncContextManager[Any]]
MANY = 2 * CROWD
ENOUGH = MANY // PART
FOREVER_S = 2_000_000.0
native_only = pytest.mark.skipif(
    extension("counter.native.appending") is None, reason="NO NATIVE MODULES: not built here"
)


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


def test_more_than_a_few_clients_are_a_group() -> None:
    assert not paced(GROUP).is_group(10.0)
    assert paced(GROUP + 1).is_group(10.0)
    assert not paced(MANY).is_group(10.0 + 2 * PERIOD_S)


class Steady(Pace):
    """Of so many clients, however long a test takes."""

    def enough(self, now: float) -> int:
        return ENOUGH

    def is_group(self, now: float) -> bool:
        return True


def write(opened: Any, count: int) -> None:
    for _ in range(count):
        opened.store.write(Persist(opened.store.token + 1, COUNTS, b"x"))


# -- the rest of a crowd --------------------------------------------------------------------


async def test_a_commit_of_a_crowd_waits_a_moment_only(opened: Open) -> None:
    async with opened() as store:
        store.store._pace = Steady()
        write(store, 1)

        async with asyncio.timeout(30):
            assert await store.heard() == [Persisted(1)]


async def test_what_the_loop_reads_after_its_rest_is_part_of_the_commit(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = CountingDisk()
    async with opened(disk=disk) as store:
        store.store._pace = Steady()
        loop, rest, before = asyncio.get_running_loop(), store.store._lull._wait, disk.syncs

        def slept(most_s: float) -> None:
            rest(most_s)
            loop.call_soon(write, store, 2)

        monkeypatch.setattr(store.store._lull, "_wait", slept)
        write(store, 1)

        async with asyncio.timeout(30):
            assert await store.heard() == [Persisted(3)]
        assert disk.syncs == before + 1


async def test_a_part_of_a_crowd_is_enough_to_begin_without_a_rest(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(disk=CountingDisk()) as store:
        store.store._pace = Steady()
        monkeypatch.setattr(store.store._lull, "_wait", pytest.fail)
        write(store, ENOUGH)

        async with asyncio.timeout(30):
            assert await store.heard() == [Persisted(ENOUGH)]


async def test_a_store_that_is_closed_while_a_commit_rests_keeps_it(opened: Open) -> None:
    async with opened() as store:
        store.store._pace = Steady()
        write(store, 1)
        await asyncio.sleep(0)
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


# -- the sleep while the disk works ---------------------------------------------------------


@native_only
async def test_the_word_of_the_disk_wakes_a_loop_that_sleeps(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lull, "LULL_S", FOREVER_S)
    async with opened() as store:
        store.store._pace = Steady()
        for count in range(1, 4):
            write(store, ENOUGH)
            assert await store.heard() == [Persisted(n * ENOUGH) for n in range(1, count + 1)]


@native_only
async def test_what_was_sent_meanwhile_is_read_before_the_next_commit_begins(opened: Open) -> None:
    async with opened() as store:
        store.store._pace = Steady()
        write(store, ENOUGH)
        await asyncio.sleep(0)
        write(store, ENOUGH)
        loop, done, both = asyncio.get_running_loop(), store.store._done, asyncio.Event()

        def told(event: Persisted) -> None:
            done(event)
            if event.token == ENOUGH:
                loop.call_soon(write, store, 1)
            else:
                both.set()

        store.store._done = told
        async with asyncio.timeout(30):
            await both.wait()
        assert store.events == [Persisted(ENOUGH), Persisted(2 * ENOUGH + 1)]


async def test_something_urgent_ends_a_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lull, "REST_S", FOREVER_S)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sleeper, slept = Lull(), asyncio.Event()
        sleeper.heed(ours.fileno())
        theirs.send(b"urgent")
        sleeper.rest(asyncio.get_running_loop(), slept.set)
        await slept.wait()
        sleeper.close()

        assert ours.recv(64) == b"urgent"


class Frames:
    """A disk that takes so many looks for a frame."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.is_over = asyncio.Event()

    @property
    def is_busy(self) -> bool:
        return self.looks > 0

    def hear(self) -> None:
        self.looks -= 1
        if not self.looks:
            self.is_over.set()


async def test_a_loop_that_sleeps_looks_around_in_between() -> None:
    loop, sleeper, disk, seen = asyncio.get_running_loop(), Lull(), Frames(3), list[int]()

    def look() -> None:
        seen.append(disk.looks)
        if disk.is_busy:
            loop.call_soon(look)

    sleeper.watch(loop, disk)  # type: ignore[arg-type]
    loop.call_soon(look)
    await disk.is_over.wait()
    sleeper.close()

    assert {1, 2} <= {*seen}


async def test_a_sleeper_that_is_closed_sleeps_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lull, "REST_S", FOREVER_S)
    sleeper, over = Lull(), asyncio.Event()
    sleeper.close()
    sleeper.rest(asyncio.get_running_loop(), over.set)

    await over.wait()


class Clock:
    """A loop whose time is told."""

    def __init__(self, loop: asyncio.AbstractEventLoop, time: Callable[[], float]) -> None:
        self._loop = loop
        self.time = time

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)
