"""Queries over very many simulated nodes: judged, repeatable, ended by a person."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest import large
from loadtest.large import LargeRun
from loadtest.plan import BARE_ABOVE, Plan
from loadtest.runs import MISSES_NOBODY, Quiet
from tracker.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def thawed():
    """A process that plays once ends with that; this one goes on."""
    yield
    gc.unfreeze()


def play(watcher=None, **fields):
    given = {"nodes": 60, "seed": 7, "writers": 0, "queries": 1}
    run = LargeRun(Plan(**{**given, **fields}), watcher=watcher)
    large.run(run)
    return run


def row_of(rows, name):
    (found,) = [row for row in rows if row["name"] == name]
    return found


def test_each_query_has_a_world_of_its_own_and_its_answer_is_the_sum_of_those_heard():
    run = play(queries=3)

    assert run.queries.reasons == {"complete": 3}
    assert row_of(run.checks(), "exact total") == {
        "name": "exact total", "ok": True, "expected": 3 * sum(range(60)), "found": 5_310,
    }  # fmt: skip
    assert row_of(run.checks(), MISSES_NOBODY)["ok"]
    assert len({outcome.stop_s for outcome in run.outcomes}) == 3


def test_those_that_crashed_are_not_expected_and_an_answer_without_them_is_exact():
    run = play(nodes=100, loss=0.05, crash=0.1)

    (outcome,) = run.outcomes
    assert run.queries.reasons == {"converged": 1}
    assert run.queries.coverage_min == 1.0
    assert outcome.live == 90
    assert [row["ok"] for row in run.checks()] == [True]
    assert outcome.to_silent > 10


def test_no_collection_of_garbage_walks_through_a_world_but_between_two():
    walks = []

    def note(phase, details):
        if phase == "start":
            walks.append(details["generation"])

    gc.callbacks.append(note)
    old = gc.get_threshold()
    gc.set_threshold(100, 1, 1)
    try:
        play(queries=3)
        walked = list(walks)
    finally:
        gc.set_threshold(*old)
        gc.callbacks.remove(note)

    oldest = len(old) - 1
    assert walked.count(oldest) >= 2
    assert len(walked) < 100
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_an_answer_that_is_not_the_sum_of_those_heard_fails_the_check():
    run = play()
    run.outcomes[0].heard -= 1

    assert not row_of(run.checks(), "exact total")["ok"]
    assert run.judge(0, run.outcomes[0]).fault == "1770 read, those who were heard hold 1769"


def test_what_is_sent_after_the_answer_is_part_of_what_a_query_cost():
    run = play(nodes=200, crash=0.1)

    (outcome,) = run.outcomes
    assert run.queries.messages == outcome.messages + outcome.messages_late
    assert run.queries.times["drain_ms"].count == 1


def test_limits_stand_beside_what_was_measured():
    limits = play(nodes=100).limits()

    assert row_of(limits, "coverage")["reached"]
    assert row_of(limits, "messages a node")["bound"] == 2.0
    assert row_of(limits, "hops") == {
        "name": "hops", "found": 2, "sign": "<=", "bound": 2, "reached": True,
        "of": "the least age",
    }  # fmt: skip


class Impatient(Quiet):
    """Wants no more once a second query is under way."""

    def hearing(self, heard, queries):
        if queries == 1 and not self.run.stop.is_wished:
            self.run.stop.wish()


def test_a_wish_to_stop_ends_the_query_under_way_and_those_before_it_are_judged():
    watcher = Impatient()
    watcher.run = run = LargeRun(Plan(nodes=60, seed=7, writers=0, queries=5), watcher=watcher)
    large.run(run)

    assert run.queries.count == len(run.outcomes) == 1
    assert row_of(run.checks(), "exact total")["ok"]


def test_a_wish_to_stop_before_any_query_has_ended_leaves_nothing_to_judge():
    run = LargeRun(Plan(nodes=60, seed=7, writers=0, queries=5))
    run.stop.wish()
    large.run(run)

    assert (run.checks(), run.limits(), run.queries.count) == ([], [], 0)


def test_more_nodes_than_fit_are_refused_with_the_number_that_fits():
    with pytest.raises(ConfigError, match=r"300001 nodes are too many .* 300000 would fit"):
        large.check_fits(300_001)


NODES = ("--virtual", "--nodes", str(BARE_ABOVE + 1), "--seed", "7")


@pytest.mark.slow
def test_above_the_bound_the_report_has_limits_and_writes_that_are_empty(loadtest):
    code, out, err = loadtest(*NODES, "--json", "--writers", "9", "--duration", "1s")
    report = json.loads(out)

    assert code == 0
    assert report["writes"]["acked"] == 0
    assert report["queries"]["count"] == 1
    assert row_of(report["limits"], "coverage")["reached"]
    assert "--writers, --duration changes nothing" in err


@pytest.mark.slow
def test_a_person_reads_the_limits_and_the_command_that_repeats_them(loadtest):
    code, out, _ = loadtest(*NODES, "--queries", "2")

    assert code == 0
    assert "✓ each answer is the sum of what those hold who were heard" in out
    assert "limits   ✓ messages a node" in out
    assert "writes" not in out
    assert out.endswith(
        f"repeat: loadtest --nodes {BARE_ABOVE + 1} --virtual --queries 2 --seed 7\n"
    )


@pytest.mark.slow
def test_a_threshold_that_is_not_reached_ends_with_99(loadtest):
    assert loadtest(*NODES, "--threshold", "query.max<1ms")[0] == 99


PROGRAM = "import sys; sys.path.insert(0, {root!r}); from loadtest.cli import main; main()"
ARGUMENTS = ["--virtual", "--nodes", "3000", "--loss", "5%", "--crash", "10%", "--seed", "9"]


NEEDED = "import anyio, msgpack, rich, typer, uvloop"


def report_of(python, hash_seed, cwd):
    """Return the report of a run by an interpreter, without what the machine had to do for it."""
    done = subprocess.run(
        [python, "-c", PROGRAM.format(root=str(ROOT)), *ARGUMENTS, "--json"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=cwd,
        capture_output=True,
        check=True,
    )
    report = json.loads(done.stdout)
    del report["cpu_s"], report["rss_mb"]
    return json.dumps(report)


def other_pythons():
    """Yield the interpreters of other versions that have what the product needs.

    Those on the PATH, and those named in OTHER_PYTHONS, with `:` between them.
    """
    own = f"python{sys.version_info.major}.{sys.version_info.minor}"
    named = os.environ.get("OTHER_PYTHONS", "").split(os.pathsep)
    found = [shutil.which(f"python3.{minor}") for minor in range(11, 15)]
    for python in [*named, *found]:
        if python and not python.endswith(own):
            tried = subprocess.run([python, "-c", NEEDED], capture_output=True, check=False)
            if tried.returncode == 0:
                yield python


@pytest.mark.slow
def test_one_seed_gives_the_same_report_whatever_the_hash_seed(tmp_path):
    reports = [report_of(sys.executable, hash_seed, tmp_path) for hash_seed in ("1", "2")]

    assert len(reports[0]) > 1_000
    assert reports[0] == reports[1]


@pytest.mark.slow
def test_one_seed_gives_the_same_report_whatever_the_python(tmp_path):
    others = [*other_pythons()]
    if not others:
        pytest.skip("no other Python here has what the product needs; see OTHER_PYTHONS")

    wanted = report_of(sys.executable, "1", tmp_path)

    for number, python in enumerate(others):
        assert report_of(python, str(number), tmp_path) == wanted, python


@pytest.mark.slow
def test_ctrl_c_ends_the_query_under_way_with_130_and_a_report(tmp_path):
    program = PROGRAM.format(root=str(ROOT))
    options = ["--virtual", "--nodes", "5000", "--queries", "1000", "--seed", "7", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stderr is not None
        while b"up after" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        # However slow the machine: it ends the query under way, and not the thousand behind it.
        out, err = process.communicate()

    report = json.loads(out)
    assert process.returncode == 130
    assert report["interrupted"] is True
    assert all(check["ok"] for check in report["checks"])
    assert b"interrupted: " in err
