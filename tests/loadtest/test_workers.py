"""Nodes over several processes: one for each core, and one for each node."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from counter.client.door import Door
from counter.messages import UNTIL_ALL, Query
from counter.node import Node, NodeSettings
from loadtest.faults import Faults
from loadtest.fleet import FleetError
from loadtest.processes import Processes
from loadtest.workers import Workers, spread
from tracker.errors import ConfigError, RefusedError

FOREVER_S = 3_600.0
LOOK_S = 0.02
WAIT_S = 45.0
ASK = Query(0, "views", 0, 0, 0, 20_000, UNTIL_ALL, 0, 0, False)
SOON = replace(ASK, deadline_ms=3_000)
SHOUT_PIDS = """
import asyncio, sys
from loadtest.processes import Processes

async def main():
    async with Processes(3, durable=True) as fleet:
        await fleet.pause(["n2"], 3600)
        print(*fleet.pids, fleet.directory, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

NOTE_IMPORTS = """
import os, sys

def begin(leave=os._exit):
    before = set(sys.modules)

    def ended(code):
        with open({folder!r} + f"/{{os.getpid()}}", "w") as notes:
            notes.write(" ".join(sorted(set(sys.modules) - before)))
        leave(code)

    os._exit = ended

if "loadtest.nursery" in sys.orig_argv:
    os.register_at_fork(after_in_child=begin)
"""

slow = pytest.mark.slow


def make_fleet(kind, count=4, **options):
    given = {} if kind is Processes else {"processes": 2}
    return kind(count, **given, **options)


@pytest.fixture(params=[Workers, Processes], ids=["workers", "processes"])
def kind(request):
    return request.param


async def asked(fleet, name, query=ASK):
    door = await Door.open(fleet.endpoints[name])
    answer, _ = await door.ask(query)
    door.close()
    return answer


@slow
async def test_what_a_process_of_a_fleet_imports_all_of_them_share(tmp_path, monkeypatch):
    """Each had imported anyio for itself: 4 MB of 13."""
    (tmp_path / "sitecustomize.py").write_text(NOTE_IMPORTS.format(folder=str(tmp_path)))
    monkeypatch.syspath_prepend(str(tmp_path))
    async with Processes(2, durable=True) as fleet:
        assert (await asked(fleet, "n1")).complete

    # Of one that had to be killed there is no note.
    assert {file.read_text() for file in tmp_path.glob("[0-9]*")} == {""}


async def test_a_node_that_another_fleet_left_behind_is_refused_and_answers_nothing(kind):
    # Its tracker is gone, and the port of that belongs to a tracker of ours by now.
    refused = asyncio.Event()

    def emitted(emit):
        if "cluster" in str(emit.details):
            refused.set()

    async with make_fleet(kind, 2, cluster="ours") as fleet:
        trackers, anywhere = (fleet.tracker_endpoint,), ("127.0.0.1", 0)
        settings = NodeSettings(name="n9", listen=anywhere, trackers=trackers, cluster="theirs")
        stray = Node(settings, emitted)
        await stray.start()
        async with asyncio.timeout(WAIT_S):
            await refused.wait()
        door = await Door.open(fleet.endpoints["n1"], "ours")
        answer, _ = await door.ask(ASK)
        door.close()
        with pytest.raises(RefusedError, match="cluster"):
            await Door.open(fleet.endpoints["n1"], "theirs")
        await stray.abandon()

    assert (answer.answered, answer.members, answer.complete) == (2, 2, True)


async def until(wish):
    async with asyncio.timeout(WAIT_S):
        while not wish():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await asyncio.Event().wait()


async def count(fleet, name, amount):
    door = await Door.open(fleet.endpoints[name])
    await door.count("views", amount)
    door.close()


def lives(pid):
    """Say whether a process is there, and not only waited for by its parent."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def left_of(pids, directory):
    """Return what is still there of processes and a directory."""
    there = [pid for pid in pids if lives(pid)]
    return [*there, directory] if Path(directory).exists() else there


def test_nodes_are_spread_evenly_and_neighbours_stay_together():
    held = [(holder.what, list(holder.numbers)) for holder in spread(5, 2)]

    assert held == [("nodes n1 to n3", [1, 2, 3]), ("nodes n4 to n5", [4, 5])]


def test_a_process_for_each_node_is_named_after_it():
    assert [holder.what for holder in spread(2, 2)] == ["node n1", "node n2"]


def test_more_nodes_than_the_machine_has_ports_for_are_refused():
    with pytest.raises(ConfigError, match="20001 nodes: one machine runs 1 to 20000"):
        Workers(20_001)


@slow
async def test_nodes_in_different_processes_count_as_one_and_say_what_they_sent(kind):
    ups = []
    async with make_fleet(kind, 5, on_up=ups.append) as fleet:
        await count(fleet, "n1", 4)
        await count(fleet, "n5", 3)
        before = await fleet.traffic()
        answer = await asked(fleet, "n3")
        totals, after, usage = await fleet.totals(), await fleet.traffic(), await fleet.usage()

    assert (answer.reason, answer.value, answer.answered) == ("complete", 7, 5)
    assert ups[-1] == 5
    assert list(after) == ["n1", "n2", "n3", "n4", "n5"]
    assert sum([after[name].since(before[name]).datagrams_out for name in after]) >= 2 * 4
    assert totals.datagrams_out == sum([each.datagrams_out for each in after.values()])
    assert usage.cpu_s > 0.0
    assert usage.rss_bytes > 1_000_000
    assert usage.processes == len(fleet.pids)


@slow
async def test_each_datagram_between_processes_takes_the_latency_of_the_plan(kind):
    async with make_fleet(kind, faults=Faults(latency_s=0.05)) as fleet:
        answer = await asked(fleet, "n1")

    # There and back; the loop's own clock counts whole milliseconds.
    assert answer.elapsed_ms > 98.0


@slow
async def test_a_loss_holds_in_every_process_from_when_it_is_set(kind):
    async with make_fleet(kind) as fleet:
        await fleet.set_loss(1.0)
        lost = await asked(fleet, "n1", SOON)
        await fleet.set_loss(0.0)
        after = await asked(fleet, "n1")

    assert (lost.answered, after.answered) == (1, 4)


@slow
async def test_a_durable_node_comes_back_from_a_crash_where_it_was_with_its_counts(kind):
    async with make_fleet(kind, durable=True) as fleet:
        where = dict(fleet.endpoints)
        await count(fleet, "n2", 5)
        await fleet.crash(["n2"])
        with pytest.raises(OSError, match="refused"):
            await Door.open(where["n2"])
        await fleet.restart(["n2"])
        answer = await asked(fleet, "n2")

    assert dict(fleet.endpoints) == where
    assert answer.value == 5


@slow
async def test_a_partition_lies_between_processes_as_well(kind):
    async with make_fleet(kind) as fleet:
        await fleet.partition(["n1", "n4"], FOREVER_S)
        inside, outside = await asyncio.gather(asked(fleet, "n1", SOON), asked(fleet, "n2", SOON))

    assert (inside.answered, outside.answered) == (2, 2)


@slow
async def test_a_node_that_stands_still_is_missed_and_counted_by_nobody_meanwhile(kind):
    async with make_fleet(kind) as fleet:
        door = await Door.open(fleet.endpoints["n2"])
        await door.count("views", 1)
        await fleet.pause(["n2"], FOREVER_S)
        counting = door.count("views", 5)
        answer = await asked(fleet, "n1", SOON)
        await fleet.totals()

        assert answer.answered == 3
        assert not counting.done()
        door.close()


@slow
async def test_a_node_that_stood_still_goes_on_after_its_time_with_all_that_came(kind):
    async with make_fleet(kind) as fleet:
        door = await Door.open(fleet.endpoints["n2"])
        await fleet.pause(["n2"], 0.2)
        async with asyncio.timeout(WAIT_S):
            await door.count("views", 5)
        door.close()
        answer = await asked(fleet, "n1")

    assert (answer.complete, answer.value) == (True, 5)


@slow
async def test_nothing_is_left_behind_by_a_fleet_that_was_stopped(kind):
    async with make_fleet(kind, durable=True) as fleet:
        pids = fleet.pids
        left = partial(left_of, pids, fleet.directory)
        await fleet.pause(["n2"], FOREVER_S)
        before = left()
    await fleet.stop()

    assert before == [*pids, fleet.directory]
    assert left() == []


@slow
async def test_signals_of_a_terminal_end_no_node(kind):
    async with make_fleet(kind) as fleet:
        for pid in fleet.pids:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        answer = await asked(fleet, "n1")

        assert answer.answered == 4


@slow
@pytest.mark.parametrize(
    ("kind", "what"), [(Workers, "nodes n1 to n2"), (Processes, "node n1")], indirect=["kind"]
)
async def test_a_process_that_is_killed_breaks_the_fleet_in_plain_words(kind, what):
    async with make_fleet(kind) as fleet:
        os.kill(fleet.holders[0].pid, signal.SIGKILL)
        async with asyncio.timeout(WAIT_S):
            why = await fleet.broken()
        with pytest.raises(FleetError, match="was ended by SIGKILL"):
            await fleet.holders[0].ask(lambda request: None)

    assert why == f"the process of {what} was ended by SIGKILL"


@slow
async def test_without_the_process_that_forks_the_fleet_is_broken_and_ends_all_the_same():
    async with make_fleet(Processes) as fleet:
        pids = fleet.pids
        await fleet.pause(["n2"], FOREVER_S)
        os.kill(fleet.forker, signal.SIGKILL)
        async with asyncio.timeout(WAIT_S):
            why = await fleet.broken()

    await until(lambda: not [pid for pid in pids if lives(pid)])
    assert why == "the process that starts all others has ended"


@slow
async def test_an_order_that_cannot_be_carried_out_says_why(tmp_path):
    async with make_fleet(Workers) as fleet:
        for _ in range(64):
            await fleet.partition(["n1"], FOREVER_S)

        with pytest.raises(ConfigError, match="64 partitions at one time"):
            await fleet.partition(["n1"], FOREVER_S)


@slow
def test_nothing_is_left_behind_by_a_load_test_that_was_killed():
    with subprocess.Popen(
        [sys.executable, "-c", SHOUT_PIDS], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        *pids, directory = child.stdout.readline().split()
        left = partial(left_of, pids, directory)
        before = left()
        child.kill()

    assert before == [*pids, directory]
    asyncio.run(until(lambda: not left()))
