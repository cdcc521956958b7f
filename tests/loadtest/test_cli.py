"""`loadtest` as a person runs it: its report, its exit codes, what it refuses."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from counter.messages import Counted, Increment
from loadtest import cli, ending, timeline, virtualfleet
from loadtest.plan import Plan
from loadtest.thresholds import parse
from tracker.machine import Send

pytestmark = pytest.mark.usefixtures("empty_directory")

ROOT = Path(__file__).parents[2]
SMALL = [
    "--virtual",
    "--nodes",
    "10",
    "--queries",
    "3",
    "--duration",
    "500ms",
    "--writers",
    "3",
    "--rate",
    "100",
]


def test_the_report_is_the_last_line_of_stdout_and_of_the_log(loadtest, tmp_path):
    code, out, _ = loadtest(*SMALL, "--seed", "4", "--json")

    (line,) = out.splitlines()
    (log,) = (tmp_path / "logs").iterdir()
    lines = log.read_text().splitlines()
    result = json.loads(line)
    assert code == 0
    assert lines[-1] == line
    assert [next(iter(json.loads(text))) for text in lines[:-1]] == [
        "header", "run", "booted", "query", "query", "query", "rates",
        "check", "check", "check", "check", "histogram",
    ]  # fmt: skip
    assert (result["nodes"], result["mode"], result["seed"]) == (10, "virtual", 4)
    assert all(check["ok"] for check in result["checks"])


def test_a_person_reads_a_table_with_the_log_and_the_command_that_repeats_it(loadtest):
    code, out, err = loadtest(*SMALL, "--seed", "4", "--loss", "1.5%")

    assert code == 0
    assert "✓ every acknowledged increment is in the final total" in out
    assert "nodes 10/10 up" in err
    assert out.endswith(
        "repeat: loadtest --nodes 10 --virtual --loss 1.5% --writers 3 --rate 100"
        " --queries 3 --duration 0.5s --seed 4\n"
    )
    assert "\x1b" not in out + err


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--nodes", "5", "--crash", "10%"], "--crash 10% of 5 nodes is 0.5: 1 is ended"),
        (["--nodes", "5", "--crash", "99%"], "--crash 99% of 5 nodes is 4.95: 4 are ended"),
        (["--nodes", "1", "--loss", "5%"], "a node alone sends no gossip: --loss changes nothing"),
        (["--writers", "0", "--zipf", "2"], "nobody writes: --zipf changes nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_had_as_it_was_asked_for_is_told(loadtest, asked, words):
    code, _, err = loadtest("--virtual", "--nodes", "3", "--duration", "100ms", *asked)

    assert code == 0
    assert f"note: {words}\n" in err


def test_a_share_that_is_a_whole_number_of_nodes_needs_no_word(loadtest):
    _, _, err = loadtest("--virtual", "--nodes", "10", "--duration", "100ms", "--crash", "30%")

    assert "note: --" not in err


def test_the_word_run_may_stand_before_the_options(loadtest):
    assert loadtest("run", *SMALL)[0] == 0


def test_the_command_of_a_report_makes_the_same_scenario_again():
    fields = {"nodes": 7, "seed": 3, "chatter": 3, "latency_s": 0.0015, "loss": 0.005}
    happenings = (timeline.parse("crash", "10%:200ms@1s"), timeline.parse("pause", "1s@0"))
    plan = Plan(
        **fields, writers=2, queries=4, duration_s=1.5, crash=0.25, rate=12.5, key_count=9,
        zipf=0.5, pick="random", happenings=happenings,
    )  # fmt: skip
    limits = [parse("query.p99<100ms")]

    written = cli.command(plan, "sockets", limits)

    assert written == (
        "loadtest --nodes 7 --chatter 3 --latency 1.5ms --loss 0.5% --crash 25% --writers 2"
        " --rate 12.5 --keys 9 --zipf 0.5 --pick random --queries 4 --duration 1.5s"
        " --crash 10%:0.2s@1s --pause 10%:1s@0 --seed 3 --threshold 'query.p99<100ms'"
    )


def test_a_threshold_that_is_not_reached_is_named_and_ends_with_99(loadtest):
    code, out, err = loadtest(
        *SMALL, "--threshold", "messages_per_node<1", "--threshold", "coverage_min>=1", "--json"
    )

    checks = {check["name"]: check["ok"] for check in json.loads(out)["checks"]}
    assert code == 99
    assert checks["messages_per_node<1"] is False
    assert checks["coverage_min>=1"] is True
    assert "failed: messages_per_node<1 (found 1.8)" in err


def test_a_threshold_stands_in_the_table_with_what_was_found(loadtest):
    _, out, _ = loadtest(*SMALL, "--threshold", "messages_per_node<1", "--threshold", "hops_max<9")

    assert "✗ messages_per_node<1 (1.8)" in out
    assert "✓ hops_max<9 (1)" in out


class Forgetful(virtualfleet.WatchedNode):
    """Acknowledges the third message of each client without counting it."""

    def receive(self, sender, message, now):
        if isinstance(message, Increment) and message.sequence == 3:
            return [Send(sender, Counted(3, False, False))]
        return super().receive(sender, message, now)


def test_a_lost_increment_is_named_and_ends_with_99(loadtest, monkeypatch):
    monkeypatch.setattr(virtualfleet, "WatchedNode", Forgetful)

    code, out, err = loadtest(*SMALL)

    assert code == 99
    assert "3 lost  0 doubled" in out
    assert "✗ every acknowledged increment is in the final total" in out
    assert "failed: exact total" in err
    named = [line for line in err.splitlines() if line.startswith("  lost: ")]
    assert sum(line.count(", id ") for line in named) == 3


def test_what_happened_and_what_the_generator_cost_stand_in_the_report(loadtest):
    code, out, _ = loadtest(
        *SMALL, "--crash", "20%@100ms", "--restart", "50ms", "--loss", "10%:100ms@100ms", "--json"
    )

    result = json.loads(out)
    assert code == 0
    assert [each["what"] for each in result["happenings"]] == ["crash", "loss", "restart", "loss"]
    assert (result["durable"], result["restarted_at_end"]) == (True, 0)
    assert result["generator"]["loop"] == "open"
    assert result["generator"]["skipped"] == 0
    assert result["load"]["pick"] == "least-active"


def test_queries_that_did_not_fit_are_said(loadtest):
    code, _, err = loadtest(*SMALL, "--queries", "50", "--latency", "100ms")

    assert code == 0
    assert "note: 4 of 50 queries fitted into 0.75 s" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--nodes 0", "--nodes is 0, needs at least 1"),
        ("--nodes 1e3", '--nodes: "1e3" is no whole number'),
        ("--nodes 1000000000", "one machine has 20 000 for them: "),
        ("--virtual --nodes 1000000000", "are too many for the simulator: 300000 would fit"),
        ("--latency 10", '--latency: "10" is not a duration (250ms, 2s, 1m)'),
        ("--loss 0.05", '--loss: "0.05" is not a share (5%, 0.5%)'),
        ("--crash 100%", "--crash is 100%, needs 0% or more, less than 100%"),
        ("--rate fast", '--rate: "fast" is not a number: increments a second'),
        ("--rate 9999999", "--rate is 9999999, needs 0 to 1000000"),
        ("--queries 5 --queries-per-s 5", "--queries and --queries-per-s exclude each other"),
        ("--queries-per-s 0", "--queries-per-s is 0: leave queries out by --queries 0"),
        ("--keys 0", "--keys is 0, needs 1 to 10000"),
        ("--pick best", "--pick is best, needs one of least-active, random, round-robin"),
        ("--crash 10%@", '--crash: "" is not a duration (250ms, 2s, 1m) (10%@5s, 10%:2s@5s)'),
        ("--crash 10%@1h", "--crash 10%@3600s: it does not fit into a load of 10 s (--duration)"),
        ("--crash 5% --crash 10%", "--crash 10%: one holds from the beginning on"),
        ("--restart 2s", "--restart needs a --crash with a time, like 10%@5s"),
        ("--partition 3s", '--partition: "3s" lacks @ and a time'),
        ("--pause 10%@3s", "--pause 10%@3s: needs to say for how long (10%:2s@3s)"),
        ("--partition 3s@8s", "--partition 50%:3s@8s: it does not fit into a load of 10 s"),
        ("--nodes 1 --pause 1s@1s", "--pause 10%:1s@1s: needs at least 2 nodes"),
        ("--virtual --nodes 2001 --pause 1s@1s", "--virtual: above 2000 virtual nodes there are"),
        ("--virtual --nodes 2001 --queries-per-s 5", "--virtual: above 2000 virtual nodes"),
        ("--duration 0", "--duration is 0 s, needs 0.1 to 3600 s"),
        ("--threshold qery.p99<1s", "did you mean query.p99?"),
        ("--sockets --virtual", "--sockets and --virtual exclude each other"),
        ("--bogus", "No such option"),
        ("walk", "unexpected extra argument"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line_and_nothing_is_started(
    loadtest, tmp_path, arguments, words
):
    code, out, err = loadtest(*arguments.split())

    assert code == 2
    assert words in err.splitlines()[0]
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_is_said_before_anything_runs(loadtest, tmp_path):
    (tmp_path / "logs").write_text("a file")

    code, _, err = loadtest(*SMALL)

    assert code == 2
    assert "cannot write a log into logs" in err


def test_help_and_version_are_results(loadtest):
    assert "--threshold" in loadtest("--help")[1]
    assert loadtest("--version")[1].startswith("loadtest ")


PROGRAM = "import sys; sys.path.insert(0, {root!r}); from loadtest.cli import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["--sockets", "--virtual"])
def test_ctrl_c_ends_with_130_and_a_report_of_what_was_seen(tmp_path, mode):
    command = [sys.executable, "-c", PROGRAM.format(root=str(ROOT))]
    options = [mode, "--nodes", "5", "--duration", "1h", "--queries", "100000", "--json"]
    process = subprocess.Popen(
        [*command, *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    with process:
        assert process.stderr is not None
        while b"up after" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert b"interrupted: " in err
    assert json.loads(out)["interrupted"] is True
    assert all(check["ok"] for check in json.loads(out)["checks"])


def test_ctrl_c_while_the_report_is_made_does_not_take_it_away(loadtest, monkeypatch):
    told = ending.report

    def interrupted(*arguments, **named):
        os.kill(os.getpid(), signal.SIGINT)
        return told(*arguments, **named)

    monkeypatch.setattr(ending, "report", interrupted)

    code, out, err = loadtest(
        "--nodes", "2", "--virtual", "--duration", "200ms", "--queries", "1", "--json"
    )

    assert code == 0
    assert json.loads(out)["queries"]["count"] == 1
    assert "interrupted" not in err


@pytest.mark.slow
def test_sockets_are_the_default_and_end_with_an_exact_total(loadtest):
    code, out, _ = loadtest("--nodes", "5", "--duration", "300ms", "--queries", "2", "--json")

    result = json.loads(out)
    assert code == 0
    assert (result["mode"], result["latency_ms"]) == ("sockets", 10)
    assert result["checks"][0]["expected"] == result["checks"][0]["found"] > 0
