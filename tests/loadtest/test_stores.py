"""Where the durable nodes of a load test keep their counts: in memory, where that has room."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from loadtest import stores
from loadtest.needs import Shape, store_bytes
from loadtest.workers import Workers

NODES = 1_000


@pytest.fixture
def memory(monkeypatch, tmp_path):
    """A directory that passes for one in memory, with so much room."""
    monkeypatch.delenv("TMPDIR", raising=False)

    def having(free):
        usage = type(shutil.disk_usage("/"))(free, 0, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        return tmp_path

    return having


def test_stores_go_into_memory_where_that_has_room_to_spare(memory):
    wanted = store_bytes(NODES, 10_000)

    assert stores.parent(NODES, 10_000, memory=memory(2 * wanted)) == memory(2 * wanted)


@pytest.mark.parametrize("increments", [0, 10_000_000], ids=["at once", "by what they count"])
def test_stores_that_could_fill_the_memory_go_to_the_disk(memory, increments):
    free = memory(2 * store_bytes(NODES, increments) - 2)

    assert stores.parent(NODES, increments, memory=free) == Path(tempfile.gettempdir())


def test_where_there_is_no_such_directory_stores_go_to_the_disk(memory, tmp_path):
    memory(2**50)

    assert stores.parent(1, memory=tmp_path / "none") == Path(tempfile.gettempdir())


def test_whoever_names_a_directory_gets_it(memory, monkeypatch, tmp_path):
    free = memory(2**50)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)

    assert stores.parent(1, memory=free / "shm") == tmp_path


def test_what_is_kept_in_memory_is_needed_of_it():
    shape = Shape(nodes=NODES, processes=2, is_durable=True, increments=1_000)
    kept = Shape(nodes=NODES, processes=2, is_durable=True, increments=1_000, kept_in="/dev/shm")

    assert kept.memory_bytes - shape.memory_bytes == store_bytes(NODES, 1_000)


async def test_a_durable_fleet_keeps_its_counts_where_they_belong_and_removes_them(
    memory, monkeypatch
):
    place = memory(2**50)
    monkeypatch.setattr(stores.parent, "__kwdefaults__", {"memory": place})

    async with Workers(2, processes=1, durable=True) as fleet:
        assert Path(fleet.directory).parent == place
        assert set(os.listdir(fleet.directory)) == {"n1", "n2"}

    assert os.listdir(place) == []
