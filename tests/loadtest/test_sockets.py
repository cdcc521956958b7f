"""The plan on real sockets: counted by the nodes' own counters, exact at its end."""

import asyncio
import json
from time import monotonic
from typing import ClassVar

import pytest

from counter import asker, crdt
from counter.cli.app import run as run_command
from counter.messages import Answer
from loadtest import cli, sockets, timeline
from loadtest import stage as stages
from loadtest.cluster import Cluster
from loadtest.faults import Faults
from loadtest.plan import Plan
from loadtest.runs import MISSES_NOBODY, Quiet, Run
from loadtest.stage import Stage
from tracker.errors import ConfigError

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

    sockets.run(run)

    assert not run.is_booted


class Forgetful(dict):
    """The sums of a node, one of all of which drops what was just added to it, once."""

    wrong: ClassVar[list] = []

    def __setitem__(self, key, total):
        amount = total - self.get(key, 0)
        # A batch that is not counted in one call takes back what it has added.
        self.sets = getattr(self, "sets", 0) + (amount > 0)
        if self.sets == 10 and amount > 0 and not self.wrong:
            self.wrong.append((key, amount))
            total = self.mistaken(total, amount)
        super().__setitem__(key, total)

    @staticmethod
    def mistaken(total, amount):
        return total - amount


class Stuttering(Forgetful):
    """The same, and adds it twice."""

    wrong: ClassVar[list] = []

    @staticmethod
    def mistaken(total, amount):
        return total + amount


@pytest.fixture
def in_this_process(monkeypatch):
    """Let the nodes of a load test run in this process, where a mistake can be planted in them."""

    def fleet_of(run, mode):
        plan = run.plan
        faults = Faults(latency_s=plan.latency_s, loss=plan.loss)
        return Cluster(plan.nodes, seed=plan.seed, faults=faults, gossip=plan.gossip)

    monkeypatch.setattr(sockets, "fleet_of", fleet_of)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(("sums", "what"), [(Forgetful, "lost"), (Stuttering, "doubled")])
def test_an_increment_that_a_real_node_gets_wrong_is_named_and_ends_with_99(
    monkeypatch, capsys, tmp_path, sums, what
):
    began = crdt.Share.__init__

    def begin_wrong(share, *arguments):
        began(share, *arguments)
        share.positive = sums()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sums, "wrong", [])
    monkeypatch.setattr(crdt.Share, "__init__", begin_wrong)
    options = "--nodes 4 --writers 2 --rate 500 --duration 500ms --queries 2 --latency 0 --json"

    code = run_command(options.split(), cli._dispatch)

    out, err = capsys.readouterr()
    result = json.loads(out)
    ((key, amount),) = sums.wrong
    (finding,) = result["checks"][0]["named"]
    assert code == 99
    assert (finding["what"], finding["key"], finding["amount"]) == (what, key, amount)
    # Increments of one key that are sent together are counted as one.
    (culprits,) = finding["candidates"]
    assert sum([each["amount"] for each in culprits]) == amount
    assert result["writes"][what] == len(culprits)
    assert f"{what}: {amount} of {key} at {finding['node']}: " in err
    assert all(each["id"] in err for each in culprits)


@pytest.mark.usefixtures("in_this_process")
def test_answers_of_real_nodes_that_call_themselves_complete_too_early_are_named(monkeypatch):
    told = asker.answer_of

    def hasty(*arguments, **named):
        answer = told(*arguments, **named)
        if not answer.end:
            return answer
        fields = {name: getattr(answer, name) for name in Answer.__match_args__}
        return Answer(**{**fields, "complete": True, "reason": "complete"})

    monkeypatch.setattr(asker, "answer_of", hasty)
    cut = timeline.parse("partition", "25%:2s@200ms")
    run = make_run(nodes=4, duration_s=2.5, queries_per_s=10.0, queries=25, happenings=(cut,))

    sockets.run(run)

    (struck,) = run.plan.acts()
    assert MISSES_NOBODY in names_of_failed(run)
    named = [each for each in run.sentences() if "called itself complete without" in each]
    assert any(struck.names[0] in each for each in named)


FAULTS = {
    "crash, back before the end": "--crash 25%:300ms@200ms",
    "crash, back at the end": "--crash 25%@300ms",
    "pause": "--pause 25%:300ms@200ms",
    "partition": "--partition 50%:300ms@200ms",
    "loss": "--loss 30%:300ms@200ms",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_whatever_happens_to_nodes_meanwhile_the_total_is_exact_at_the_end(fault):
    option, written = fault.split()
    kind = option.removeprefix("--")
    run = make_run(nodes=4, duration_s=1.0, happenings=(timeline.parse(kind, written),))

    sockets.run(run)

    assert names_of_failed(run) == []
    assert run.writes.unknown == 0
    assert [act.kind for act in run.acts_done] == [act.kind for act in run.plan.acts()]
    assert run.up == run.plan.names


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
    assert run.writes.unknown >= 1


def test_no_two_fleets_are_one_cluster():
    run = make_run(nodes=2)
    fleets = [sockets.fleet_of(run, mode) for mode in ("sockets", "sockets", "processes")]

    names = {fleet.cluster for fleet in fleets}

    assert len(names) == 3
    assert "default" not in names


def test_more_nodes_than_the_machine_has_ports_for_are_refused_with_a_number_that_fits():
    with pytest.raises(ConfigError, match=r"one machine has 20 000 for them: [\d ]+ would fit"):
        sockets.check_fits(Plan(nodes=10**9, seed=1))
