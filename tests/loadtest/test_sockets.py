"""The plan on real sockets: counted by the nodes' own counters, exact at its end."""

import asyncio
from time import monotonic

import pytest

from loadtest import sockets
from loadtest import stage as stages
from loadtest.cluster import Cluster
from loadtest.plan import Plan
from loadtest.runs import Quiet, Run
from loadtest.stage import Stage
from tracker.errors import ConfigError
from tracker.transport.tcp import CLOSE_S

pytestmark = pytest.mark.slow


def make_run(watcher=None, **fields):
    given = {"nodes": 5, "seed": 5, "duration_s": 0.3, "queries": 4, "writers": 3, "rate": 300.0}
    return Run(Plan(**{**given, "latency_s": 0.0, **fields}), watcher=watcher)


def names_of_failed(run):
    return [row["name"] for row in run.checks() if not row["ok"]]


def test_what_was_acknowledged_is_found_and_messages_are_counted_as_they_left():
    run = make_run()

    sockets.run(run)

    queries = run.queries.as_dict()
    assert names_of_failed(run) == []
    assert run.writes.acked > 20
    assert (queries["reasons"], queries["coverage_min"]) == ({"complete": 4}, 1.0)
    assert run.queries.messages == 4 * 2 * 4
    assert queries["t100_ms"]["max"] <= queries["stop_ms"]["max"]


def test_ended_nodes_and_lost_messages_leave_the_total_of_the_others_exact():
    run = make_run(nodes=10, crash=0.2, loss=0.05, queries=1)

    sockets.run(run)

    assert names_of_failed(run) == []
    assert len(run.up) == 8
    assert run.queries.reasons == {"converged": 1}


def test_latency_is_put_on_each_message_of_a_query():
    run = make_run(latency_s=0.05, queries=1)

    sockets.run(run)

    # There and back; the loop's own clock counts whole milliseconds.
    assert run.queries.times["stop_ms"].max > 98.0


def test_a_wish_to_stop_ends_a_long_load_and_what_was_seen_is_checked():
    class Impatient(Quiet):
        def loading(self, acked, queries):
            if queries == 1 and not run.stop.is_wished:
                run.stop.wish()

    run = make_run(Impatient(), duration_s=3_600.0, queries=50_000)

    sockets.run(run)

    assert run.queries.count == 1
    assert names_of_failed(run) == []


def test_a_wish_to_stop_while_nodes_come_up_leaves_nothing_to_report():
    class Impatient(Quiet):
        def booting(self, up):
            if not run.stop.is_wished:
                run.stop.wish()

    run = make_run(Impatient(), nodes=60)
    began = monotonic()

    sockets.run(run)

    assert not run.is_booted
    # Less than what a stream that nobody ended would be waited for.
    assert monotonic() - began < CLOSE_S


async def more_acked(run):
    """Wait until ten more increments are acknowledged."""
    books, wanted, event = run.books, run.writes.acked + 10, asyncio.Event()

    def counted(*arguments):
        type(books).counted(books, *arguments)
        if run.writes.acked >= wanted:
            event.set()

    books.counted = counted
    await event.wait()


async def counting_on(cluster, run):
    """Begin the load on a cluster, and return its stage once increments are on their way."""
    stage = Stage(run, cluster)
    await stage.open_writers()
    for driven in stage.writers:
        driven.begin(monotonic())
    await more_acked(run)
    return stage


async def ended(stage):
    for driven in stage.writers:
        driven.stop()
    await stage.settled()
    await stage.bring_back()
    await stage.resolve()
    await stage.finish()
    await stage.close()


async def test_an_increment_whose_acknowledgement_was_lost_is_sent_again_and_counts_once():
    run = make_run(nodes=2, writers=1, rate=0.0)
    async with Cluster(2) as cluster:
        stage = await counting_on(cluster, run)
        for link in list(stage.writers[0].links.values()):
            link.end()
        await more_acked(run)
        await ended(stage)

    assert names_of_failed(run) == []
    assert run.writes.unknown == 0


async def test_what_cannot_be_resolved_stays_unknown_and_fails_nothing(monkeypatch):
    monkeypatch.setattr(stages, "CLIENT_DEADLINE_S", 0.3)
    run = make_run(nodes=1, writers=1, rate=0.0)
    async with Cluster(2) as cluster:
        stage = await counting_on(cluster, run)
        await cluster.pause(cluster.names, 3_600.0)
        for driven in stage.writers:
            driven.stop()
        await stage.settled()
        await stage.resolve()
        doubts = [driven.writer.doubts for driven in stage.writers]
        await stage.close()

    assert doubts == [0]
    assert run.writes.unknown == 1


def test_more_nodes_than_the_machine_has_ports_for_are_refused_with_a_number_that_fits():
    with pytest.raises(ConfigError, match=r"one machine has 20 000 for them: [\d ]+ would fit"):
        sockets.check_fits(Plan(nodes=10**9, seed=1))
