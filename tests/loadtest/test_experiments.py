"""Experiments as a person runs them, and the pure parts of which their rows are made."""

import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from loadtest.bare import BareConfig
from loadtest.experiments import (
    asking,
    evenness,
    fanout,
    library,
    loss,
    pages,
    recovery,
    scaling,
    spread,
    tables,
)
from loadtest.experiments.tables import Asked, CheckFailedError, Column, Panel
from tracker.classes import replace
from tracker.messages import CANDIDATES_MAX

pytestmark = pytest.mark.usefixtures("empty_directory")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def no_plots(monkeypatch):
    """Take matplotlib away: a picture takes longer than everything else here."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def asked(rows, *, rows_max=1_000, seed=1):
    """Ask for the quick size; it is over once there are so many rows."""
    return Asked(
        seed=seed,
        is_quick=True,
        say=lambda text: None,
        found=rows.append,
        is_over=lambda: len(rows) >= rows_max,
    )


def seen(**fields):
    plain = {
        "nodes": 10, "live": 10, "heard": 10, "reason": "complete", "hops": 2, "messages": 20,
        "to_silent": 0, "duplicates": 0, "bytes": 1_000, "t50_ms": 1.0, "t99_ms": 2.0,
        "t100_ms": 3.0, "stop_ms": 3.0,
    }  # fmt: skip
    return asking.Seen(**{**plain, **fields})


# -- tables ---------------------------------------------------------------------------------


COLUMNS = (
    Column("pick", "pick", None),
    Column("nodes", "nodes"),
    Column("share", "share", 1, "%"),
)
ROWS = [
    {"pick": "random", "nodes": 1_000, "share": 0.125},
    {"pick": "a|b", "nodes": 2, "share": None},
]


def test_a_table_has_words_to_the_left_and_numbers_to_the_right():
    assert tables.table(COLUMNS, ROWS) == [
        "pick    nodes  share",
        "random  1 000  12.5%",
        "a|b         2      –",
    ]


def test_a_table_in_markdown_holds_the_same_cells():
    assert tables.markdown(COLUMNS, ROWS) == [
        "| pick | nodes | share |",
        "| --- | ---: | ---: |",
        "| random | 1 000 | 12.5% |",
        "| a\\|b | 2 | – |",
    ]


def test_a_plot_has_a_line_for_each_kind_and_leaves_out_what_was_not_measured():
    panel = Panel("", "nodes", "share", "nodes", "share in %", "pick")

    assert panel.lines(ROWS) == {"random": [(1_000, 12.5)]}


def test_a_plot_of_some_rows_leaves_the_others_out():
    panel = Panel("", "nodes", "nodes", "nodes", "nodes", where=(("pick", "a|b"),))

    assert panel.lines(ROWS) == {"": [(2, 2)]}


def test_what_was_to_be_expected_is_one_more_line_for_all_kinds():
    rows = [{"kind": kind, "x": 2, "y": 0.5, "chance": 0.25} for kind in ("a", "b")]
    panel = Panel("", "x", "y", "x", "y (%)", "kind", expected="chance")

    assert panel.lines(rows) == {"a": [(2, 50.0)], "b": [(2, 50.0)], "expected": [(2, 25.0)]}


def test_what_is_logged_has_six_digits():
    row = {"share": 1 / 3, "nodes": 1_234_567, "pick": "random", "t": None}

    assert tables.rounded(row) == {**row, "share": 0.333333}


@pytest.mark.parametrize(
    ("values", "found"),
    [([3.0, 1.0, 2.0], 2.0), ([1.0, None, 2.0], 2.0), ([1.0, None], None), ([], None)],
    ids=["odd", "one never came", "half never came", "none"],
)
def test_a_time_that_half_of_the_queries_never_came_to_is_no_time(values, found):
    assert tables.middle(values) == found


# -- evenness -------------------------------------------------------------------------------


def test_the_variation_is_the_standard_deviation_over_the_mean():
    shares = [3, 5, 4, 0]

    assert evenness.variation(shares) == pytest.approx(statistics.pstdev(shares) / 3)
    assert evenness.max_over_mean(shares) == pytest.approx(5 / 3)


def test_nothing_that_was_counted_has_no_spread():
    with pytest.raises(ValueError, match="nothing was counted"):
        evenness.variation([0, 0])


@pytest.mark.parametrize(("nodes", "draws", "per_draw"), [(2, 400, 1), (6, 400, 1), (20, 400, 5)])
def test_the_variation_by_chance_is_that_of_dice(nodes, draws, per_draw):
    dice = Random(1)
    found = []
    for _ in range(300):
        shares = [0] * nodes
        for _ in range(draws // per_draw):
            shares[dice.randrange(nodes)] += per_draw
        found.append(evenness.variation(shares))

    expected = evenness.variation_by_chance(nodes, draws, per_draw)
    assert evenness.root_mean_square(found) == pytest.approx(expected, rel=0.1)


# -- queries --------------------------------------------------------------------------------


def test_a_stop_is_false_if_somebody_is_missing_who_is_up_and_nothing_forced_it():
    assert seen(heard=9, reason="converged").is_false_stop
    assert not seen(heard=9, live=9, reason="converged").is_false_stop
    assert not seen(heard=9, reason="deadline").is_false_stop


def test_queries_are_summed_up_to_means_of_messages_and_medians_of_times():
    found = asking.fields(
        [
            seen(messages=20, t100_ms=3.0),
            seen(messages=30, t100_ms=9.0, to_silent=5, live=5, heard=5),
            seen(messages=40, t100_ms=None, heard=9, reason="converged"),
        ]
    )

    assert found["messages_per_node"] == pytest.approx(3.0)
    assert found["messages_per_live"] == pytest.approx((2 + 5 + 4) / 3)
    assert (found["t100_ms"], found["false_stops"], found["queries"]) == (9.0, 1, 3)
    assert (found["complete"], found["coverage_min"]) == (pytest.approx(2 / 3), 0.9)


def test_a_time_is_that_of_the_last_of_a_share_of_those_who_are_up():
    times = [float(n) for n in range(1, 100)]

    assert asking.reached(times, 100) == {"t50_ms": 50.0, "t99_ms": 99.0, "t100_ms": None}


def test_a_query_in_the_simulator_is_seen_as_the_world_knows_it():
    config = BareConfig(nodes=50, seed=3, crashed=0.2)

    found = asking.simulated(config, chatter=3)

    assert (found.nodes, found.live, found.heard, found.reason) == (50, 40, 40, "converged")
    assert found == asking.simulated(config, chatter=3)
    assert found.to_silent > 0
    assert found.t50_ms < found.t99_ms <= found.t100_ms < found.stop_ms


# -- the experiments ------------------------------------------------------------------------


def test_more_chatter_takes_fewer_hops_and_less_time():
    rows = []

    fanout.simulate(asked(rows))

    of_one_visit = [row for row in rows if row["visits"] == 1]
    assert [row["chatter"] for row in of_one_visit] == [1, 3, 10]
    times = [row["t100_ms"] for row in of_one_visit]
    assert times == sorted(times, reverse=True)
    assert [row["hops"] for row in of_one_visit[1:]] == [
        row["least_hops"] for row in of_one_visit[1:]
    ]
    assert {row["complete"] for row in rows} == {1.0}


def test_loss_costs_messages_and_only_silence_keeps_a_query_from_being_complete():
    rows = []

    loss.simulate(asked(rows))

    all_up = [row for row in rows if row["silent"] == 0.0]
    messages = [row["messages_per_live"] for row in all_up]
    assert messages == sorted(messages)
    assert [row["false_stops"] for row in all_up] == [0] * 3
    assert [row["complete"] for row in rows] == [1.0] * 3 + [0.0] * 3


def test_a_round_robin_is_even_and_the_others_are_not():
    rows = []

    spread.simulate(asked(rows, rows_max=3))

    assert [(row["pick"], row["nodes"]) for row in rows] == [
        ("least-active", 2), ("random", 2), ("round-robin", 2),
    ]  # fmt: skip
    assert rows[2]["variation"] == 0.0
    assert min(row["variation"] for row in rows[:2]) > 0.0
    assert [row["by_chance"] for row in rows] == [pytest.approx(0.05)] * 3


def test_a_round_robin_is_even_over_more_nodes_than_a_tracker_names_at_once():
    size = spread.Size(increments=80, nodes=(40,), per_pick=(1,), runs=1, rate=400.0)

    assert spread.counted(size, CANDIDATES_MAX + 8, "round-robin", 1, 7) == [2] * 40


def test_the_spread_is_that_of_the_seed():
    (size,) = spread.QUICK

    first = spread.counted(size, 3, "random", 20, 7)

    assert sum(first) == size.increments
    assert first == spread.counted(size, 3, "random", 20, 7)
    assert first != spread.counted(size, 3, "random", 20, 8)


def test_an_increment_that_nobody_holds_fails_the_experiment(monkeypatch):
    monkeypatch.setattr(spread._Client, "held", lambda client, where: 1)

    with pytest.raises(CheckFailedError, match="2 of 400 increments are held"):
        spread.counted(spread.QUICK[0], 2, "random", 20, 1)


@pytest.mark.parametrize("experiment", [fanout, loss, spread], ids=["fanout", "loss", "spread"])
def test_an_experiment_that_is_over_begins_no_other_row(experiment):
    rows = []

    experiment.simulate(asked(rows, rows_max=1))

    assert len(rows) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", library.ABOUT)
def test_what_is_shown_and_drawn_of_an_experiment_stands_in_its_rows(name):
    experiment = library.load(name)
    rows = []
    run_it = next(iter(experiment.modes.values()))
    run_it(asked(rows, rows_max=1))

    fields = {column.name for column in experiment.columns}
    for panel in experiment.panels:
        fields |= {panel.x, panel.y, panel.by or panel.x, panel.expected or panel.x} | {
            field for field, _ in panel.where
        }
    assert fields - set(rows[0]) == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spread", "fanout", "loss"])
def test_an_experiment_runs_on_sockets_and_finds_rows_of_the_same_fields(name):
    experiment = library.load(name)
    rows = {mode: [] for mode in experiment.modes}

    for mode, of_mode in rows.items():
        experiment.modes[mode](asked(of_mode, rows_max=1))

    fields = [sorted(of_mode[0]) for of_mode in rows.values()]
    assert fields == [fields[0]] * len(fields)
    assert [of_mode[0]["mode"] for of_mode in rows.values()] == list(rows)


@pytest.mark.slow
def test_sockets_lose_what_the_experiment_says_and_hear_everybody_all_the_same():
    rows = []

    library.load("loss").modes["sockets"](asked(rows))

    assert [row["loss"] for row in rows] == [0.0, 0.2]
    assert [row["coverage_min"] for row in rows] == [1.0, 1.0]
    assert rows[0]["messages_per_live"] == pytest.approx(1.9)
    assert rows[1]["messages_per_live"] > 1.9


@pytest.mark.slow
def test_clients_of_a_node_that_crashes_or_stalls_are_counted_again_and_nothing_is_lost():
    rows = []

    library.load("recovery").modes["sockets"](asked(rows))

    crashed, stalled = rows
    assert (crashed["kind"], stalled["kind"]) == ("crashes", "stalls")
    # Nobody tells of a stall: the clients find out after a second of silence.
    assert crashed["again_ms"] > 0
    assert stalled["again_ms"] > 500
    # A busy machine may have had none on its way to it.
    assert stalled["in_doubt"] >= 0
    assert min(row["complete_ms"] for row in rows) > 0


@pytest.mark.slow
def test_a_total_that_is_not_what_was_counted_fails_the_recovery(monkeypatch):
    async def one_more(client):
        return 1

    monkeypatch.setattr(recovery._Steady, "settled", one_more)

    with pytest.raises(CheckFailedError, match=r"held, \d+ counted"):
        library.load("recovery").modes["sockets"](asked([]))


@pytest.mark.slow
def test_an_answer_that_is_complete_without_the_node_that_crashed_fails_the_recovery(monkeypatch):
    real = recovery._asked

    async def blind(fleet, name):
        return replace(await real(fleet, name), complete=True)

    monkeypatch.setattr(recovery, "_asked", blind)

    with pytest.raises(CheckFailedError, match="complete without n"):
        library.load("recovery").modes["sockets"](asked([]))


@pytest.mark.slow
def test_throughput_and_queries_are_measured_over_every_size_of_cluster():
    rows = []

    library.load("scaling").modes["sockets"](asked(rows))

    assert [row["nodes"] for row in rows] == list(scaling.QUICK.nodes)
    assert min(row["acked"] for row in rows) >= scaling.QUICK.clients
    # A machine that stalls may have used less while it counted than it does at rest.
    assert max(row["increment_us"] for row in rows) > 0
    assert [row["message_us"] for row in rows[:1]] == [None]
    # Eight messages find five nodes; a machine that stalls makes the origin ask again.
    assert rows[1]["messages_per_node"] >= 8 / 5


@pytest.mark.slow
def test_a_read_that_is_not_what_was_acknowledged_fails_the_scaling(monkeypatch):
    async def generous(door, until):
        await door.count(scaling.KEY, 2)
        return [1.0]

    monkeypatch.setattr(scaling, "_count", generous)

    with pytest.raises(CheckFailedError, match="8 of 4 read"):
        library.load("scaling").modes["sockets"](asked([]))


# -- the pages ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", library.ABOUT)
def test_the_page_of_an_experiment_shows_whole_results_with_the_columns_of_today(name):
    experiment = library.load(name)
    page = ROOT / "docs" / "experiments" / f"{name}.md"
    heads = tables.markdown(experiment.columns, [])

    for mode in experiment.modes:
        before, after = pages.parted(page, name, mode)
        kept = page.read_text(encoding="utf-8")[len(before) : -len(after) or None]
        words = f"`loadtest experiment {name}{' --sockets' * (len(experiment.modes) > 1)}"
        command = words if mode == "sockets" else f"`loadtest experiment {name}"
        assert f"\n{command} --seed 1`\n" in kept
        assert "\n".join(heads) in kept
        assert f"]({name}-{mode}.svg)" in kept
        assert (page.parent / f"{name}-{mode}.svg").exists()


# -- the commands ---------------------------------------------------------------------------


def test_the_experiments_are_listed_with_a_line_each(loadtest):
    code, out, err = loadtest("experiments")

    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(library.ABOUT)
    listed = json.loads(loadtest("experiments", "--json")[1])["experiments"]
    assert [row["name"] for row in listed] == list(library.ABOUT)


def test_a_table_goes_to_stdout_and_the_rows_into_the_log(loadtest, tmp_path, no_plots):
    code, out, err = loadtest("experiment", "loss", "--quick", "--seed", "7")

    (log,) = (tmp_path / "logs").glob("*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert code == 0
    assert out.splitlines()[0].split() == [column.title for column in loss.COLUMNS]
    assert len(out.splitlines()) == 7
    assert log.name == "experiment-loss-virtual-quick-7.jsonl"
    assert [next(iter(line)) for line in lines] == ["header", *["row"] * 6, "summary"]
    assert "repeat: loadtest experiment loss --quick --seed 7" in err
    assert "\x1b" not in out + err


def test_the_same_seed_finds_the_same_rows(loadtest, no_plots):
    first, second, other = (
        json.loads(loadtest("experiment", "loss", "--quick", "--json", "--seed", seed)[1])
        for seed in ("3", "3", "4")
    )

    assert first["rows"] == second["rows"] != other["rows"]
    assert (first["experiment"], first["mode"], first["quick"]) == ("loss", "virtual", True)


@pytest.mark.slow
def test_a_page_gets_the_result_between_its_marks_and_nowhere_else(loadtest, tmp_path):
    page = tmp_path / "loss.md"
    begin, end = "<!-- experiment: loss virtual -->", "<!-- /experiment: loss virtual -->"
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")

    code, _, _ = loadtest("experiment", "loss", "--quick", "--page", str(page))

    before, rest = page.read_text().split(begin)
    inside, after = rest.split(end)
    assert (code, before, after) == (0, "before\n", "\nafter\n")
    assert "old" not in inside
    assert "`loadtest experiment loss --quick --seed 1`" in inside
    assert inside.count("\n| ") == 8
    assert "![loss, virtual](loss-virtual.svg)" in inside
    assert (tmp_path / "loss-virtual.svg").exists()


@pytest.mark.slow
def test_the_plot_stands_beside_the_log(loadtest, tmp_path):
    _, _, err = loadtest("experiment", "fanout", "--quick", "--seed", "3")

    drawn = (tmp_path / "logs" / "experiment-fanout-virtual-quick-3.svg").read_text()
    assert "plot logs/experiment-fanout-virtual-quick-3.svg" in err
    assert "Messages of one query" in drawn


def test_without_matplotlib_a_plot_is_left_out_unless_it_was_asked_for(
    loadtest, tmp_path, no_plots
):
    code, out, err = loadtest("experiment", "loss", "--quick")
    refused, nothing, why = loadtest("experiment", "loss", "--quick", "--svg", "here.svg")

    assert (code, len(out.splitlines())) == (0, 7)
    assert "no plot: a plot needs matplotlib" in err
    assert (refused, nothing) == (2, "")
    assert "a plot needs matplotlib" in why
    assert len(list((tmp_path / "logs").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("nothing", 'there is no experiment "nothing"'),
        ("loss --seed -1", "--seed"),
        ("loss --seed x", '--seed: "x" is no whole number'),
        ("loss --bogus", "No such option: --bogus"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(loadtest, tmp_path, arguments, words):
    code, out, err = loadtest("experiment", *arguments.split())

    assert (code, out) == (2, "")
    assert words in err
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("text", ["nothing\n", "<!-- experiment: loss virtual -->\n"])
def test_a_page_without_both_marks_is_refused_before_anything_runs(loadtest, tmp_path, text):
    (tmp_path / "page.md").write_text(text)

    code, _, err = loadtest("experiment", "loss", "--quick", "--page", "page.md")

    assert code == 2
    assert "page.md has no place for this" in err
    assert not (tmp_path / "logs").exists()


def test_a_run_that_is_not_whole_leaves_its_page_as_it_is(
    loadtest, tmp_path, monkeypatch, no_plots
):
    def nothing(*_):
        raise CheckFailedError("0 of 400 increments are held")

    monkeypatch.setattr(spread, "counted", nothing)
    page = tmp_path / "spread.md"
    page.write_text(
        "<!-- experiment: spread virtual -->\nold\n<!-- /experiment: spread virtual -->"
    )
    before = page.read_text()

    code, _, err = loadtest("experiment", "spread", "--quick", "--page", "spread.md")

    assert (code, page.read_text()) == (99, before)
    assert "spread.md is left as it is: the run is not whole" in err


def test_what_must_not_be_ends_with_99_and_keeps_its_rows(
    loadtest, tmp_path, monkeypatch, no_plots
):
    real = spread.counted

    def lossy(size, nodes, *rest):
        if nodes == 5:
            raise CheckFailedError("399 of 400 increments are held")
        return real(size, nodes, *rest)

    monkeypatch.setattr(spread, "counted", lossy)

    code, out, err = loadtest("experiment", "spread", "--quick")

    (log,) = (tmp_path / "logs").glob("*.jsonl")
    assert (code, len(out.splitlines())) == (99, 4)
    assert "failed: 399 of 400 increments are held" in err
    assert json.loads(log.read_text().splitlines()[-1])["summary"]["failed"]


@pytest.mark.slow
def test_an_interrupted_experiment_shows_what_it_has_and_ends_with_130(tmp_path):
    command = "import sys; from loadtest.cli import main; sys.argv[0] = 'loadtest'; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "experiment", "loss"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert "1000 nodes: 0 % lost" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    finally:
        process.kill()

    assert process.returncode == 130
    assert out.splitlines()[0].split()[:2] == ["nodes", "silent"]
    assert "interrupted: " in err
    assert "Traceback" not in err
