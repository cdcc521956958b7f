"""Lives of one running node that follow each other: which store is open, and what it is called."""

import asyncio

import pytest

from counter.lives import overtaken
from counter.node import NodeSettings
from counter.service import Service
from tracker.members import NOBODY
from tracker.names import derived
from tracker.reputation import name_lost

BEGIN_S = 60.0


class Watch:
    """A door that tells of each life of a node, once it has begun."""

    line = "watched"

    def __init__(self):
        self.lives = asyncio.Queue()

    async def open(self, node):
        self.lives.put_nowait(node)

    def close(self):
        pass

    async def wait_closed(self):
        pass


async def lives(data, *ends, last=None, refused=None):
    """Run a node to which these happen, one life after another; returns who it was in each."""
    watch, stop = Watch(), asyncio.Event()
    settings = NodeSettings(name="n1", listen=("127.0.0.1", 0), trackers=(), data=data)
    service = Service(settings, stop, [watch])
    found = []
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(service.run())
        for end in (*ends, None):
            async with asyncio.timeout(BEGIN_S):
                node = await watch.lives.get()
            found.append((node.member, node.storage.identity))
            if end is not None:
                service._emitted(end(node))
        if last is not None:
            service._emitted(last(node))
            refused += service.refused
        stop.set()
    await running.result().abandon()
    return found


def is_old(node):
    return overtaken("another start is known")


def loses_its_name(node):
    return name_lost(node.member, NOBODY, "another one has it")


@pytest.mark.parametrize("is_kept", [True, False], ids=["on disk", "in memory"])
async def test_a_store_made_of_an_old_backup_goes_on_as_itself_when_it_loses_its_name(
    tmp_path, is_kept
):
    data = tmp_path / "n1" if is_kept else None

    old, new, last = await lives(data, is_old, loses_its_name)

    assert new[0].store != old[0].store
    assert (new[0].name, new[1].parent) == ("n1", old[0].store if is_kept else b"")
    assert (last[0].store, last[1].parent) == (new[0].store, new[1].parent)
    assert last[0].name == derived("n1", new[0].store)


@pytest.mark.parametrize("is_kept", [True, False], ids=["on disk", "in memory"])
async def test_a_node_that_lost_its_name_and_is_an_old_backup_is_called_after_its_new_store(
    tmp_path, is_kept
):
    data = tmp_path / "n1" if is_kept else None

    _, left, new = await lives(data, loses_its_name, is_old)

    assert new[0].store != left[0].store
    # In memory nothing is left of the store that lost the name.
    assert new[0].name == (derived("n1", new[0].store) if is_kept else "n1")


async def test_a_node_that_is_told_twice_that_it_is_an_old_backup_ends_and_says_why(tmp_path):
    refused = []

    await lives(tmp_path / "n1", is_old, loses_its_name, last=is_old, refused=refused)

    assert [error.code for error in refused] == ["old-backup"]
