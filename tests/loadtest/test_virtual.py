"""The plan in the simulator: repeatable to the byte, and faults planted in it are found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from counter.messages import Answer, Counted, Increment, Query
from loadtest import timeline, virtual, virtualclients, virtualfleet, writers
from loadtest.plan import Plan
from loadtest.runs import MISSES_NOBODY, Quiet, Run
from tracker.classes import replace
from tracker.machine import Send

ROOT = Path(__file__).parents[2]


def play(watcher=None, **fields):
    given = {"nodes": 12, "seed": 5, "duration_s": 0.5, "queries": 5, "writers": 4, "rate": 200.0}
    run = Run(Plan(**{**given, **fields}), watcher=watcher)
    virtual.run(run)
    return run


def names_of_failed(run):
    return [row["name"] for row in run.checks() if not row["ok"]]


def test_everything_is_counted_and_every_query_is_complete_when_nothing_fails():
    run = play()
    queries = run.queries.as_dict()

    assert names_of_failed(run) == []
    assert run.writes.acked == pytest.approx(100, abs=40)
    assert (queries["reasons"], queries["coverage_min"]) == ({"complete": 5}, 1.0)
    assert queries["messages_per_node"] == pytest.approx(2 * 11 / 12, abs=0.001)
    assert queries["duplicates_share"] == 0.0
    assert queries["drain_ms"]["max"] == 0.0


def test_the_busiest_node_is_counted_without_the_one_that_hears_everybody():
    queries = play(nodes=200, queries=2).queries

    # One ask in, ten asks and one answer out.
    assert queries.node_messages_max == 12


def test_bytes_are_counted_with_headers_and_seal():
    queries = play(queries=1, writers=0).queries

    assert 60 < queries.bytes / queries.messages < 140
    bare = queries.bytes - queries.messages * 29
    assert bare > 0


def test_nodes_ended_without_a_word_and_lost_messages_leave_the_total_exact():
    run = play(nodes=40, loss=0.05, crash=0.1, queries=2, duration_s=1.0)
    queries = run.queries.as_dict()

    assert names_of_failed(run) == []
    assert (queries["reasons"], queries["coverage_min"]) == ({"converged": 2}, 1.0)
    assert len(run.up) == 36
    assert queries["messages_per_node"] > 2.0


def test_without_writers_or_queries_there_is_nothing_to_count():
    idle = play(writers=0, queries=0)

    assert names_of_failed(idle) == []
    assert (idle.writes.acked, idle.queries.count) == (0, 0)


def test_a_single_node_answers_itself_without_a_message():
    run = play(nodes=1, writers=1)

    assert run.queries.messages == 0
    assert names_of_failed(run) == []


def third(node, message):
    """Say whether this is the third message of a client that one node is to get wrong."""
    is_third = isinstance(message, Increment) and message.sequence == 3
    return is_third and message.pairs[1] and not node.wrong


class Forgetful(virtualfleet.WatchedNode):
    """Acknowledges one increment without counting it."""

    wrong = ()

    def receive(self, sender, message, now):
        if third(self, message):
            Forgetful.wrong = (self.membership.member.name, message)
            return [Send(sender, Counted(3, False, False))]
        return super().receive(sender, message, now)


class Stuttering(virtualfleet.WatchedNode):
    """Counts one increment twice."""

    wrong = ()

    def receive(self, sender, message, now):
        if third(self, message):
            Stuttering.wrong = (self.membership.member.name, message)
            super().receive(sender, Increment(bytes(16), 1, message.pairs, message.ack), now)
        return super().receive(sender, message, now)


@pytest.mark.parametrize(
    ("node", "lost", "doubled"), [(Forgetful, 1, 0), (Stuttering, 0, 1)], ids=["lost", "doubled"]
)
@pytest.mark.parametrize("keys", [1, 4, 40])
def test_an_increment_that_a_node_gets_wrong_is_named(monkeypatch, node, lost, doubled, keys):
    monkeypatch.setattr(virtualfleet, "WatchedNode", node)
    monkeypatch.setattr(node, "wrong", ())
    run = play(key_count=keys)

    assert "exact total" in names_of_failed(run)
    assert (run.writes.lost, run.writes.doubled) == (lost, doubled)
    name, message = node.wrong
    key, amount = message.pairs
    (finding,) = run.checks()[0]["named"]
    ((culprit,),) = finding["candidates"]
    assert (finding["node"], finding["key"], finding["amount"]) == (name, key, amount)
    assert culprit["id"] == f"{message.session.hex()}-3"
    assert culprit["id"] in run.sentences()[0]


class Hasty(virtualfleet.WatchedNode):
    """Calls its answers complete whoever is in them, after a third of the time they take."""

    def receive(self, sender, message, now):
        if isinstance(message, Query):
            message = replace(message, deadline_ms=15)
        return [self._embellished(effect) for effect in super().receive(sender, message, now)]

    def tick(self, now):
        return [self._embellished(effect) for effect in super().tick(now)]

    def _embellished(self, effect):
        if isinstance(effect, Send) and type(effect.message) is Answer and effect.message.end:
            answer = replace(effect.message, complete=True, reason="complete")
            return Send(effect.to, answer)
        return effect


def test_a_reader_that_is_told_complete_too_early_is_named_with_whom_it_misses(monkeypatch):
    monkeypatch.setattr(virtualfleet, "WatchedNode", Hasty)
    monkeypatch.setattr(virtual, "FINAL_S_MAX", 1.0)
    run = play()
    failed = names_of_failed(run)

    assert {MISSES_NOBODY, "reads within bounds"} <= set(failed)
    told = run.sentences()
    assert any("called itself complete without n" in each for each in told)
    assert any("were acknowledged before it began; n" in each for each in told)


FAULTS = {
    "crash, back before the end": "--crash 25%:200ms@100ms",
    "crash, back at the end": "--crash 25%@200ms",
    "pause": "--pause 25%:200ms@100ms",
    "partition": "--partition 50%:300ms@100ms",
    "loss": "--loss 30%:300ms@100ms",
}


def happenings(*written):
    by_kind = {}
    for each in written:
        option, text = each.split()
        by_kind.setdefault(option.removeprefix("--"), []).append(text)
    return timeline.gathered(by_kind, None)[1]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_whatever_happens_to_nodes_meanwhile_the_total_is_exact_at_the_end(fault):
    run = play(happenings=happenings(fault))

    assert names_of_failed(run) == []
    assert run.writes.unknown == 0
    assert [act.kind for act in run.acts_done] == [act.kind for act in run.plan.acts()]


@pytest.mark.parametrize(
    ("fault", "coverage"),
    [("--partition 50%:500ms@100ms", 0.5), ("--pause 25%:500ms@100ms", 0.75)],
    ids=["partition", "pause"],
)
def test_who_is_cut_off_or_stands_still_is_not_heard(fault, coverage):
    run = play(happenings=happenings(fault), duration_s=1.0)

    assert run.queries.coverage_min == coverage
    assert names_of_failed(run) == []


def test_messages_vanish_for_as_long_as_it_was_said():
    run = play(happenings=happenings("--loss 99%:400ms@100ms"), duration_s=1.0, queries=20)

    assert names_of_failed(run) == []
    assert run.queries.coverage_min < 0.5
    assert run.queries.reasons["complete"] > 5


def test_everything_at_once_leaves_the_total_exact():
    run = play(happenings=happenings(*FAULTS.values()), loss=0.02, duration_s=1.0)

    assert names_of_failed(run) == []
    assert run.queries.reasons.keys() != {"complete"}
    assert run.restarted


def test_who_crashed_meanwhile_comes_back_at_the_end_with_what_it_holds():
    run = play(happenings=happenings("--crash 25%@200ms"))

    (act,) = run.acts_done
    assert sorted(run.restarted) == sorted(act.names)
    assert run.up == run.plan.names
    assert run.told()["durable"] is True
    assert run.told()["restarted_at_end"] == 3


def test_queries_at_their_times_overlap_and_cost_what_their_answers_say():
    run = play(latency_s=0.05, queries_per_s=40.0, queries=20, duration_s=0.5)
    queries = run.queries.as_dict()

    assert names_of_failed(run) == []
    assert queries["reasons"] == {"complete": 20}
    # One after another there would be time for five.
    assert run.writes.elapsed_s < 0.8
    assert 0.0 < queries["messages_per_node"] <= 2.0
    assert run.told()["load"]["query_cost_by"] == "answers"


def test_queries_beyond_the_bound_are_counted_and_told(monkeypatch):
    monkeypatch.setattr(virtual, "UNDER_WAY_MAX", 2)
    run = play(latency_s=0.05, queries_per_s=100.0, queries=50, duration_s=0.5)

    assert run.generator.queries_skipped + run.queries.count == 50
    assert f"{run.generator.queries_skipped} queries were not asked" in run.generator.warnings()[0]


def test_a_stall_is_not_hidden_each_increment_is_timed_from_when_it_was_to_begin():
    run = play(
        nodes=2,
        writers=8,
        duration_s=1.0,
        queries=0,
        happenings=happenings("--pause 50%:500ms@200ms"),
    )

    assert names_of_failed(run) == []
    # About half of all writers count at the node that stands still for half of the time: each of
    # their increments that was to begin then waited for its end.
    assert run.writes.latency_us.percentile(0.90) > 100_000
    assert run.writes.latency_us.percentile(0.50) < 1_000


class Sleepy(virtualclients.Client):
    """A load generator that does not get its turn from 100 to 400 ms of the load on."""

    def _wake(self, time):
        wakes = Sleepy.began + 0.4
        if Sleepy.began + 0.1 < self._world.now < wakes:
            self._world.at(wakes, super()._wake, time)
        else:
            super()._wake(time)

    def begin(self):
        Sleepy.began = self._world.now
        super().begin()


def test_what_the_generator_itself_begins_late_is_timed_from_when_it_was_to_begin(monkeypatch):
    monkeypatch.setattr(virtual, "Client", Sleepy)
    run = play(duration_s=1.0, queries=0)

    assert names_of_failed(run) == []
    # Three tenths of all began up to 300 ms late, and were acknowledged at once.
    assert run.writes.latency_us.max > 200_000
    assert run.writes.latency_us.percentile(0.85) > 50_000
    assert run.generator.late > 0.2 * run.writes.acked
    assert "did not get its turn in time" in run.generator.warnings()[0]


def test_in_a_closed_loop_each_writer_has_one_increment_on_its_way():
    run = play(rate=0.0, writers=1, duration_s=0.1, queries=0)

    assert names_of_failed(run) == []
    assert run.generator.in_flight_max == 1
    # A round trip takes 100 µs.
    assert run.writes.acked == pytest.approx(1_000, rel=0.05)
    assert run.told()["generator"]["loop"] == "closed"


def test_increments_beyond_the_bound_are_counted_as_skipped_and_told(monkeypatch):
    monkeypatch.setattr(writers, "IN_FLIGHT_MAX", 8)
    run = play(nodes=2, writers=8, happenings=happenings("--pause 50%:400ms@50ms"))

    assert names_of_failed(run) == []
    assert run.generator.skipped > 0
    assert f"{run.generator.skipped} increments were not sent" in run.generator.warnings()[0]


def test_a_wish_to_stop_ends_the_load_and_what_was_seen_is_checked():
    class Impatient(Quiet):
        def loading(self, acked, queries):
            if queries == 2 and not run.stop.is_wished:
                run.stop.wish()

    run = Run(Plan(nodes=5, seed=5, duration_s=3_600.0, queries=20_000), watcher=Impatient())
    virtual.run(run)

    assert run.queries.count == 2
    assert names_of_failed(run) == []


def test_a_wish_to_stop_while_nodes_come_up_leaves_nothing_to_report():
    class Impatient(Quiet):
        def booting(self, up):
            run.stop.wish()

    run = Run(Plan(nodes=5, seed=5), watcher=Impatient())
    virtual.run(run)

    assert not run.is_booted


def test_queries_that_are_late_get_half_as_much_time_again_and_no_more():
    run = play(latency_s=0.1, queries=50, duration_s=1.0)

    # Three hops each: four would have begun within the second itself.
    assert run.queries.count == 5
    assert run.writes.elapsed_s == pytest.approx(1.5, abs=0.01)


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from loadtest.cli import main
sys.argv = ["loadtest"] + {arguments!r}
main()
"""
ARGUMENTS = [
    "--virtual",
    "--nodes",
    "30",
    "--loss",
    "5%",
    "--crash",
    "10%",
    "--crash",
    "10%:300ms@200ms",
    "--partition",
    "200ms@300ms",
    "--pause",
    "200ms@100ms",
    "--queries",
    "4",
    "--duration",
    "1s",
    "--seed",
    "9",
    "--json",
]


@pytest.mark.slow
def test_one_seed_gives_the_same_report_to_the_byte_whatever_the_hash_seed(tmp_path):
    reports = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(root=str(ROOT), arguments=ARGUMENTS)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=tmp_path,
            capture_output=True,
            check=True,
        )
        reports.append(done.stdout.partition(b', "cpu_s"')[0])

    assert len(reports[0]) > 500
    assert reports[0] == reports[1]


@pytest.mark.slow
def test_what_was_on_its_way_to_a_node_that_crashed_is_parked_and_counts_once_all_are_back():
    run = play(
        nodes=4, writers=8, duration_s=4.5, rate=300.0, seed=5, queries=0, latency_s=0.0,
        happenings=happenings("--crash 50%@200ms"),
    )  # fmt: skip

    assert names_of_failed(run) == []
    assert run.books.parked_keys
    assert run.writes.unknown == 0
    assert run.ledger.sums().doubt_up == 0
