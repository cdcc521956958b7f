"""The plan in the simulator: repeatable to the byte, and faults planted in it are found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from counter.messages import Counted, Increment
from loadtest import virtual
from loadtest.plan import Plan
from loadtest.runs import Quiet, Run
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


class Forgetful(virtual.WatchedNode):
    """Acknowledges the third increment of each client without counting it."""

    def receive(self, sender, message, now):
        if isinstance(message, Increment) and message.sequence == 3:
            return [Send(sender, Counted(3, False, False))]
        return super().receive(sender, message, now)


class Stuttering(virtual.WatchedNode):
    """Counts the third increment of each client twice."""

    def receive(self, sender, message, now):
        if isinstance(message, Increment) and message.sequence == 3:
            twin = Increment(bytes(16), 3, message.pairs, message.ack)
            super().receive(sender, twin, now)
        return super().receive(sender, message, now)


@pytest.mark.parametrize(
    ("node", "lost", "doubled"), [(Forgetful, 4, 0), (Stuttering, 0, 4)], ids=["lost", "doubled"]
)
def test_a_planted_fault_of_the_nodes_is_found_and_counted(monkeypatch, node, lost, doubled):
    monkeypatch.setattr(virtual, "WatchedNode", node)
    run = play()

    assert "exact total" in names_of_failed(run)
    assert (run.writes.lost, run.writes.doubled) == (lost, doubled)


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
