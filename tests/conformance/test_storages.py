"""What every store promises, whatever it is made of."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from counter.storage import appending
from counter.storage.base import COUNTS, MEMBERS, Storage
from counter.storage.durable import DurableStorage
from counter.storage.memory import MemoryStorage
from tracker.machine import Persist, Persisted, PersistFailed

Make = Callable[[], Storage]


class Ear:
    """Hears what became of the writes."""

    def __init__(self) -> None:
        self.events: list[Persisted | PersistFailed] = []
        self._heard = asyncio.Event()

    def __call__(self, event: Persisted | PersistFailed) -> None:
        self.events.append(event)
        self._heard.set()

    async def until(self, token: int) -> None:
        while not self.events or self.events[-1].token < token:
            self._heard.clear()
            await self._heard.wait()


@pytest.fixture(params=["memory", "durable", "durable, without the native thread"])
async def make(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Make]:
    """Make new stores of one kind, closed when the test ends."""
    made: list[Storage] = []
    if request.param != "durable":
        monkeypatch.setattr(appending, "_NATIVE", None)

    def new() -> Storage:
        directory = tmp_path / str(len(made))
        made.append(
            MemoryStorage() if request.param == "memory" else DurableStorage(directory, "n1")
        )
        return made[-1]

    yield new
    for store in made:
        await store.close()


@pytest.fixture
def store(make: Make) -> Storage:
    return make()


def begin(store: Storage) -> Ear:
    assert list(store.recover()) == []
    ear = Ear()
    store.start(ear)
    return ear


async def test_a_new_store_is_somebody_new_in_its_first_epoch(make: Make) -> None:
    one, other = make(), make()

    assert one.identity.epoch == other.identity.epoch == 1
    assert len(one.identity.store) == len(other.identity.store) == 16
    assert one.identity.store != other.identity.store


async def test_a_new_store_holds_nothing_and_counts_from_zero(store: Storage) -> None:
    assert list(store.recover()) == []
    assert store.token == 0
    assert not store.wants_snapshot
    assert not store.is_overtaken


async def test_write_tells_nothing_before_it_returns(store: Storage) -> None:
    ear = begin(store)

    store.write(Persist(1, COUNTS, b"a"))

    assert ear.events == []
    await ear.until(1)
    assert ear.events == [Persisted(1)]


async def test_the_token_is_that_of_the_last_write(store: Storage) -> None:
    begin(store)

    store.write(Persist(1, COUNTS, b"a"))
    store.write(Persist(2, MEMBERS, b"m"))

    assert store.token == 2


async def test_results_come_in_the_order_of_tokens(store: Storage) -> None:
    ear = begin(store)

    for token in range(1, 101):
        store.write(Persist(token, MEMBERS if token % 7 == 0 else COUNTS, b"x" * token))
        if token % 10 == 0:
            await asyncio.sleep(0)
    await ear.until(100)

    tokens = [event.token for event in ear.events]
    assert tokens == sorted(set(tokens))
    assert all(type(event) is Persisted for event in ear.events)


async def test_what_one_turn_of_the_loop_writes_is_told_at_once(store: Storage) -> None:
    ear = begin(store)

    for token in range(1, 51):
        store.write(Persist(token, COUNTS, b"x"))
    await ear.until(50)

    assert ear.events == [Persisted(50)]


async def test_close_finishes_what_was_queued(store: Storage) -> None:
    ear = begin(store)
    for token in range(1, 4):
        store.write(Persist(token, COUNTS, b"x"))

    await store.close()

    assert ear.events == [Persisted(3)]


async def test_a_snapshot_does_not_keep_later_writes_from_being_told(store: Storage) -> None:
    ear = begin(store)
    store.write(Persist(1, COUNTS, b"a"))

    store.snapshot([b"all of it"])
    store.write(Persist(2, COUNTS, b"b"))
    await ear.until(2)

    assert [type(event) for event in ear.events] == [Persisted] * len(ear.events)


async def test_a_store_may_be_closed_twice_and_unused(make: Make) -> None:
    unused, used = make(), make()
    begin(used)

    for store in (unused, used, unused, used):
        await store.close()
